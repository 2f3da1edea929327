//! Freezing a container in a command that may be killed meanwhile.
//!
//! A frozen container whose freezer command has died would hang without anybody knowing why. So a second process,
//! in a session of its own that no key and no signal to the group of the caller reaches, stands by and thaws when
//! the command ends without having said that all went well. It inherits the lock of the container: the next
//! command waits until it is done. Rejected: to wait for signals in the command itself, which SIGKILL gets past.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow};

use super::Cgroup;
use crate::error::{Errno, Error, Result};
use crate::sys::clone::{Child, Parentage, Side, clone_child, exit_now};
use crate::sys::fd;

impl Cgroup {
    /// As [`Cgroup::freeze`]. If the command dies before this returns, the container runs on.
    ///
    /// Errors: as there, and when the caller is in the container itself and would never return.
    pub fn freeze_safely(&self) -> Result<()> {
        self.check_not_ours()?;
        let watcher = Watcher::start(self)
            .map_err(|(call, errno)| Error::kernel("start the process that can thaw", call, errno))?;
        let frozen = self.freeze();
        watcher.end(frozen.is_ok());
        frozen
    }
}

/// The process that stands by.
struct Watcher {
    process: Child,
    socket: OwnedFd,
}

impl Watcher {
    /// Returns when it is ready. Errors: the call that fails, with its errno.
    fn start(cgroup: &Cgroup) -> std::result::Result<Watcher, (&'static str, Errno)> {
        let (ours, theirs) = fd::seqpacket_pair().map_err(|e| ("socketpair(2)", e))?;
        let old =
            SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(|e| ("sigprocmask(2)", e))?;
        let side = clone_child(0, None, Parentage::Mine);
        if matches!(side, Ok(Side::Child)) {
            drop(ours);
            stand_by(cgroup, &theirs);
        }
        old.thread_set_mask().map_err(|e| ("sigprocmask(2)", e))?;
        drop(theirs);
        let process = match side.map_err(|e| ("clone3(2)", e))? {
            Side::Parent(process) => process,
            Side::Child => exit_now(1),
        };
        // Nothing may be frozen before it is out of reach. It can only fail to answer when it was killed.
        match fd::read(ours.as_fd(), &mut [0]) {
            Ok(1) => Ok(Watcher { process, socket: ours }),
            Ok(_) => Err(("recv(2)", Errno::EPIPE)),
            Err(errno) => Err(("recv(2)", errno)),
        }
    }

    /// Lets it go, and waits so that it leaves no zombie.
    fn end(self, all_went_well: bool) {
        if all_went_well {
            // It can only be gone when somebody killed it.
            let _ = fd::send(self.socket.as_fd(), b"-", None);
        }
        drop(self.socket);
        let _ = self.process.wait();
    }
}

/// The life of the process that stands by. It has a copy of everything, and one thread, as its parent.
fn stand_by(cgroup: &Cgroup, socket: &OwnedFd) -> ! {
    // Fails only for the leader of a process group, which a new process is not.
    let _ = nix::unistd::setsid();
    let told = fd::send(socket.as_fd(), b"-", None).and_then(|()| fd::read(socket.as_fd(), &mut [0]));
    if !matches!(told, Ok(1)) {
        let _ = cgroup.thaw();
    }
    exit_now(0)
}
