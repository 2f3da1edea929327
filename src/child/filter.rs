//! The last confinement before the program: no_new_privs, the seccomp filter, and the privilege that loading took.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::parent::prepare::Filter;
use crate::plan::identity::Identity;
use crate::sync::{Call, During, Failure, FromChild, In, Phase, wait_for_go};
use crate::sys::{fd, seccomp};

use super::identity;

/// What the program is confined by.
pub struct Confinement<'a> {
    /// Whether new privileges are forbidden, and which capabilities remain at the end.
    pub identity: &'a Identity,
    /// The compiled filter.
    pub filter: Option<&'a Filter>,
    /// CAP_SYS_ADMIN is still there, because loading the filter needs it.
    pub privilege_was_kept: bool,
}

impl Confinement<'_> {
    /// Enters it. The filter may refuse everything after this but capset(2) and execve(2).
    ///
    /// The listener of a filter that records goes over `channel`, with the one call that it lets pass; every other
    /// one waits until somebody serves the listener.
    pub fn enter(&self, channel: BorrowedFd) -> Result<(), Failure> {
        let listener = self.load()?;
        if let (Some(listener), Some(key)) = (listener, self.filter.and_then(|filter| filter.key)) {
            // Closing it would be recorded; execve(2) does.
            let listener = ManuallyDrop::new(listener);
            FromChild::Recording
                .send_with_key(channel, listener.as_fd(), key)
                .call(Call::Send)
                .during(Phase::Seccomp)?;
        }
        self.drop_privilege()
    }

    /// Enters it with a filter whose listener the parent gets before anything else is done.
    pub fn enter_with_listener(&self, parent: BorrowedFd) -> Result<(), Failure> {
        if let Some(listener) = self.load()? {
            let listener = ManuallyDrop::new(listener);
            let number = listener.as_raw_fd();
            FromChild::Listener
                .send(parent, Some(listener.as_fd()))
                .call(Call::Send)
                .during(Phase::Seccomp)?;
            wait_for_go(parent).call(Call::Receive).during(Phase::Seccomp)?;
            // One call in every build: closing by value asks fcntl(2) first when it is built for debugging.
            fd::close_range(number as u32, number as u32).call(Call::CloseRange).during(Phase::Seccomp)?;
        }
        self.drop_privilege()
    }

    fn load(&self) -> Result<Option<OwnedFd>, Failure> {
        identity::forbid_new_privileges(self.identity).during(Phase::Identity)?;
        let Some(filter) = self.filter else { return Ok(None) };
        seccomp::load(&filter.instructions, filter.flags).call(Call::Seccomp).during(Phase::Seccomp)
    }

    fn drop_privilege(&self) -> Result<(), Failure> {
        identity::drop_last_privilege(self.identity, self.privilege_was_kept).during(Phase::Identity)
    }
}
