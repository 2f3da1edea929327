//! The conversation with the init process while it sets itself up: what it asks for on its way.

use std::os::fd::BorrowedFd;

use super::host_hooks::run_hook;
use super::limits::set_limits;
use super::prepare::Prepared;
use super::{failure, id_maps, seccomp_agent, vanished};
use crate::error::{Errno, Error, Kind, Result};
use crate::plan::Plan;
use crate::priorities;
use crate::sync::{FromChild, receive, send_go};
use crate::sys::clone::Child;

/// The conversation with the child.
pub(super) struct Talk<'a> {
    pub(super) plan: &'a Plan,
    pub(super) prepared: &'a Prepared,
    pub(super) init: &'a Child,
    pub(super) sync: BorrowedFd<'a>,
}

impl Talk<'_> {
    pub(super) fn go(&self) -> Result<()> {
        match send_go(self.sync) {
            Ok(()) => Ok(()),
            // It has died; why is in the message it may have left.
            Err(Errno::EPIPE) => Err(self.last_words().unwrap_or_else(vanished::died)),
            Err(e) => Err(Error::kernel("talk to the init process", "sendmsg(2)", e)),
        }
    }

    /// Why the init process gave up, when it has ended and said so.
    pub(super) fn last_words(&self) -> Option<Error> {
        loop {
            match receive(self.sync) {
                Ok(Some((FromChild::Printed(stream, text), _))) => {
                    self.prepared.hook_output.append(stream, &text)
                }
                Ok(Some((FromChild::Failure(failure), _))) => {
                    return Some(failure::error(self.plan, &failure, Some(self.init)));
                }
                _ => return None,
            }
        }
    }

    pub(super) fn until_ready(&self) -> Result<()> {
        loop {
            let message = receive(self.sync)
                .map_err(|e| Error::kernel("listen to the init process", "recvmsg(2)", e))?;
            let (message, passed) = message.map_or((None, None), |(message, passed)| (Some(message), passed));
            match message {
                // Nobody waits for an answer.
                Some(FromChild::Printed(stream, text)) => {
                    self.prepared.hook_output.append(stream, &text);
                    continue;
                }
                Some(FromChild::TimeOffsets) => {
                    let offsets = self.plan.namespaces.time_offsets.as_deref().unwrap_or_default();
                    id_maps::write_file(self.init.pid, "timens_offsets", offsets, "/linux/timeOffsets")?;
                }
                Some(FromChild::BoundInstead(index)) => self.tell_bound(index as usize),
                Some(FromChild::Mounted) => self.run_host_hooks()?,
                Some(FromChild::Schedule) => priorities::set(self.init.pid, &self.plan.process)
                    .map_err(|failure| failure::error(self.plan, &failure, Some(self.init)))?,
                Some(FromChild::Limits) => set_limits(&self.plan.limits, self.init.pid)?,
                Some(FromChild::Listener) => {
                    if let Some(seccomp) = &self.plan.security.seccomp {
                        let state = self.prepared.hook_state();
                        let now = ("creating", self.init.pid);
                        seccomp_agent::hand_over(seccomp, self.init, passed, state, now)?;
                    }
                }
                Some(FromChild::Ready) => return Ok(()),
                Some(FromChild::Failure(failure)) => {
                    return Err(failure::error(self.plan, &failure, Some(self.init)));
                }
                Some(FromChild::Cloned | FromChild::Executing | FromChild::Recording) => {
                    return Err(Error::new(Kind::Bug, "the init process spoke out of turn"));
                }
                None => return Err(vanished::died()),
            }
            self.go()?;
        }
    }

    fn tell_bound(&self, index: usize) {
        let Some(mount) = self.plan.mounts.get(index) else { return };
        crate::log::warn(&format!(
            "the user namespace may not mount a file system of its own on {}: that of the host is bound there ({})",
            mount.shown, mount.at
        ));
    }

    fn run_host_hooks(&self) -> Result<()> {
        let state = self.prepared.hook_state().with_pid("creating", self.init.pid);
        for hook in self.plan.hooks.prestart.iter().chain(&self.plan.hooks.create_runtime) {
            run_hook(hook, &state, &self.prepared.bundle, &self.prepared.hook_output)?;
        }
        Ok(())
    }
}
