//! The namespaces and the root directory of a container that exists, for one more process.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

use super::exec::until_heard;
use crate::error::{Errno, Error, Result};
use crate::plan::namespaces::{KINDS, flag};
use crate::state::{Container, Status};
use crate::sync::{ask_for_namespaces, wait_for_go_with};
use crate::sys::clone::Child;
use crate::sys::path::{self, Stat};

/// The namespaces in which the container's init process is and this process is not.
pub struct Foreign {
    /// Their kinds.
    pub kinds: u64,
    /// The namespaces themselves, when the process is hidden: by its pidfd they could not be joined.
    pub handles: Vec<(u64, OwnedFd)>,
}

/// Finds them, of the kinds that the container was given.
///
/// Until it executes the program, the init process of an unprivileged user is hidden from that user. It hands its
/// namespaces out where it waits for `start`. Errors: the container has stopped; a signal came while it was waited for.
pub fn namespaces(
    given: u64,
    container: &Container,
    init: &Child,
    signals: Option<&SignalFd>,
) -> Result<Foreign> {
    let shown = shown(given, init);
    let is_hidden = shown.as_ref().is_err_and(|error| error.errno() == Some(Errno::EACCES));
    let may_wait =
        matches!(container.status, Status::Created | Status::Paused) && container.directory.has_gate();
    let found = if is_hidden && may_wait {
        match handed_out(given, container, signals)? {
            Some(found) => Ok(found),
            // It was started meanwhile.
            None => self::shown(given, init),
        }
    } else {
        shown
    };
    // Held by pidfd and alive: the number did not come to mean another process meanwhile.
    if has_ended(init) { Err(stopped()) } else { found }
}

/// As procfs shows them.
fn shown(given: u64, init: &Child) -> Result<Foreign> {
    let mut kinds = 0;
    for (flag, name, file, _) in KINDS.iter().filter(|(flag, ..)| given & flag != 0) {
        let own = namespace("self", file).map_err(|e| unseen("the own", name, e))?;
        let other = namespace(&init.pid.to_string(), file).map_err(|e| unseen("the container's", name, e))?;
        if !other.same_inode(&own) {
            kinds |= flag;
        }
    }
    Ok(Foreign { kinds, handles: Vec::new() })
}

/// As the process that waits for `start` hands them out. `None` when it does not, or waits no more.
fn handed_out(given: u64, container: &Container, signals: Option<&SignalFd>) -> Result<Option<Foreign>> {
    let Ok(gate) = container.directory.connect_gate() else { return Ok(None) };
    if ask_for_namespaces(gate.as_fd()).is_err() {
        return Ok(None);
    }
    until_heard(gate.as_fd(), signals)?;
    let mut received = Vec::new();
    if wait_for_go_with(gate.as_fd(), |index, handle| received.push((usize::from(index), handle))).is_err() {
        return Ok(None);
    }
    let mut found = Foreign { kinds: 0, handles: Vec::new() };
    for (index, (flag, name, file, _)) in KINDS.iter().enumerate().filter(|(_, kind)| given & kind.0 != 0) {
        let Some(place) = received.iter().position(|(of, _)| *of == index) else { return Ok(None) };
        let (_, handle) = received.swap_remove(place);
        let own = namespace("self", file).map_err(|e| unseen("the own", name, e))?;
        let other = path::stat_fd(handle.as_fd()).map_err(|e| unseen("the container's", name, e))?;
        if !other.same_inode(&own) {
            found.kinds |= flag;
            found.handles.push((*flag, handle));
        }
    }
    Ok(Some(found))
}

fn namespace(process: &str, file: &str) -> std::result::Result<Stat, Errno> {
    let path = CString::new(format!("/proc/{process}/ns/{file}")).map_err(|_| Errno::EINVAL)?;
    path::statx(path::cwd_fd(), &path, 0)
}

fn unseen(whose: &str, name: &str, errno: Errno) -> Error {
    Error::kernel(format!("look up {whose} {name} namespace"), "statx(2)", errno)
}

/// The root directory of the container's init process, when the container has no mount namespace that leads there.
pub fn root(given: u64, init: &Child) -> Result<Option<OwnedFd>> {
    if given & flag::MOUNT != 0 {
        return Ok(None);
    }
    let failed = |e| Error::kernel("open the root directory of the container", "openat2(2)", e);
    let path = CString::new(format!("/proc/{}/root", init.pid)).map_err(|_| failed(Errno::EINVAL))?;
    let root = path::open_host_path(&path, libc::O_DIRECTORY).map_err(failed)?;
    if has_ended(init) { Err(stopped()) } else { Ok(Some(root)) }
}

/// True when the process is dead.
pub fn has_ended(process: &Child) -> bool {
    let mut fds = [PollFd::new(process.pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// What is said about a container whose init process is dead.
pub fn stopped() -> Error {
    Error::state("cannot exec in a stopped container")
}
