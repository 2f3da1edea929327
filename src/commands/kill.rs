//! `teu kill`.

use super::delete::{has_the_unseen, warn_of_the_unseen};
use super::{open_root, signals};
use crate::cli::{Global, Kill};
use crate::error::{Errno, Error, Result};
use crate::state::{Container, Id, Status};

/// Signals the init process, or everything where that would leave somebody alive.
///
/// Takes no lock: a container that is stuck in another command must be killable.
pub fn kill(global: &Global, args: &Kill) -> Result<i32> {
    let id = Id::new(&args.id)?;
    let container = Container::load(&open_root(global)?, &id)?;
    let number = match &args.signal {
        Some(text) => signals::number(text)?,
        None => default_signal(&container)?,
    };
    let everything = number == libc::SIGKILL && !container.record.own.private_pid_namespace;
    let cgroup = container.cgroup();
    match (&container.init, everything) {
        (Some(_), true) if cgroup.exists() => cgroup.kill_all(number)?,
        // Without a cgroup it is the only process that is known.
        (Some(init), _) => match init.kill(number) {
            Ok(()) if everything && has_the_unseen(&container) => warn_of_the_unseen(&id),
            Ok(()) => {}
            Err(Errno::ESRCH) => return not_running(args),
            Err(e) => return Err(Error::kernel(format!("send signal {number}"), "pidfd_send_signal(2)", e)),
        },
        // Processes outlive an init without a pid namespace of its own.
        (None, true) if cgroup.exists() => cgroup.kill_all(number)?,
        (None, _) => return not_running(args),
    }
    if number == libc::SIGKILL && container.status == Status::Paused {
        // On cgroup v1 a frozen process does not see the signal.
        cgroup.thaw()?;
    }
    Ok(0)
}

fn not_running(args: &Kill) -> Result<i32> {
    if args.all { Ok(0) } else { Err(Error::state("container not running")) }
}

/// SIGTERM, or what the image asks for. Source: config.md#annotations (org.opencontainers.image.stopSignal).
fn default_signal(container: &Container) -> Result<i32> {
    match container.record.own.annotations.get("org.opencontainers.image.stopSignal") {
        Some(text) => signals::number(text),
        None => Ok(libc::SIGTERM),
    }
}
