//! Why an init process ended before there was a program.

use super::talk::Talk;
use crate::cgroup::{Cgroup, OomWatch};
use crate::error::{Error, Kind};
use crate::sys::clone::Ended;

pub(super) fn died() -> Error {
    Error::new(Kind::Kernel, "the init process died while it was set up")
}

/// Why the init process ended before there was a program, if it was for lack of memory: nobody else was there to be
/// killed.
pub fn killed_for_memory(cgroup: &Cgroup, watch: &OomWatch) -> Option<Error> {
    let text = cgroup.explain_oom(watch)?;
    Some(Error::new(Kind::Kernel, format!("container init was {text}")).at("/linux/resources/memory/limit"))
}

/// Evidence beats errno: a process that gave up has said why, and one that vanished under a memory limit was killed by
/// it, whatever failed here for that.
pub(super) fn explain(error: Error, talk: &Talk, cgroup: &Cgroup, watch: &OomWatch) -> Error {
    let is_riddle = error.doing() == died().doing();
    // Before the wait: systemd removes the cgroup of a unit when its last process has ended.
    let killed = killed_for_memory(cgroup, watch);
    let ended = if is_riddle { talk.init.wait().map(Some) } else { talk.init.try_wait() };
    if !matches!(ended, Ok(None))
        && let Some(error) = talk.last_words().or(killed)
    {
        return error;
    }
    if !is_riddle {
        return error;
    }
    match ended {
        Ok(Some(Ended::Signaled(signal))) => error.detail(format!("signal {signal}")),
        Ok(Some(Ended::Exited(status))) => error.detail(format!("exit status {status}")),
        Ok(None) | Err(_) => error,
    }
}
