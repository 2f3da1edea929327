//! The clone of the init process, into its namespaces and its cgroup.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::prepare::Prepared;
use super::{failure, user_namespaces};
use crate::child::{self, Gate, Task};
use crate::error::{Errno, Error, Result};
use crate::plan::Plan;
use crate::plan::namespaces::flag;
use crate::sync::{Failure, FromChild, receive};
use crate::sys::clone::{Child, Parentage, Side, clone_child, setns};
use crate::sys::{fd, path, process};

/// Clones the init process. Does not return in it.
pub(super) fn clone_init(
    plan: &Plan,
    prepared: &Prepared,
    (ours, theirs): (&OwnedFd, OwnedFd),
    gate: Option<OwnedFd>,
    state: &[RawFd],
) -> Result<Child> {
    let foreign: Vec<RawFd> = state.iter().copied().chain([ours.as_raw_fd()]).collect();
    let failed =
        |call: &'static str, e| Error::kernel("create the init process", call, e).at("/linux/namespaces");
    let before = match path::open_host_path(c".", 0) {
        Ok(before) => Some(before),
        // A user who was root a moment ago: no relative path leads anywhere from there.
        Err(Errno::EACCES) => None,
        Err(errno) => return Err(failed("openat2(2)", errno)),
    };
    // The clone translates the working directory into the new mount namespace: that is how the child gets to the
    // root file system without a path.
    path::fchdir(prepared.rootfs.as_fd()).map_err(|e| failed("fchdir(2)", e))?;
    // The child must not be readable for a container whose namespaces it joins.
    if plan.hides_from_birth() {
        process::set_dumpable(false).map_err(|e| failed("prctl(2)", e))?;
    }
    let own_pids = join_pid_namespace(plan, prepared)?;
    let flags = if plan.namespaces.stage { 0 } else { plan.namespaces.cloned };
    let cgroup = if plan.namespaces.stage { None } else { prepared.cgroup_of_init(plan) };
    let side = clone_child(flags, cgroup, Parentage::Mine).map_err(|e| match e {
        Errno::EPERM | Errno::ENOSPC | Errno::EUSERS if flags & flag::USER != 0 => {
            user_namespaces::explain_clone(failed("clone3(2)", e), e)
        }
        Errno::EINVAL | Errno::ENOSPC => failed("clone3(2)", e)
            .hint("the kernel lacks a namespace, or a limit in /proc/sys/user is reached"),
        _ => failed("clone3(2)", e),
    })?;
    let child = match side {
        Side::Parent(child) => child,
        Side::Child => {
            // With its own copy of our end the child would never see that we are gone.
            for number in foreign {
                let _ = fd::close_range(number as u32, number as u32);
            }
            if plan.namespaces.stage {
                child::pass_stage(plan, prepared, theirs.as_fd());
            }
            let gate = gate.map_or(Gate::Parent, Gate::Socket);
            child::create(Task { plan, prepared, sync: theirs, gate })
        }
    };
    drop((theirs, gate));
    if let Some(own) = own_pids {
        setns(own.as_fd(), flag::PID).map_err(|e| failed("setns(2)", e))?;
    }
    let back = before.map_or_else(path::chdir_root, |before| path::fchdir(before.as_fd()));
    back.map_err(|e| failed("fchdir(2)", e))?;
    if plan.namespaces.stage {
        sibling_of(&child, ours.as_fd(), |failure| failure::error(plan, failure, None))
    } else {
        Ok(child)
    }
}

/// A pid namespace can only be joined for children, so the parent does it around the clone, unless there is a process
/// in between.
fn join_pid_namespace(plan: &Plan, prepared: &Prepared) -> Result<Option<OwnedFd>> {
    let joined = plan.namespaces.joined.iter().position(|join| join.flag == flag::PID);
    let Some(index) = joined.filter(|_| !plan.namespaces.stage) else {
        return Ok(None);
    };
    let failed = |call: &'static str, e| {
        Error::kernel("enter the pid namespace", call, e).at(&plan.namespaces.joined[index].at)
    };
    let own = path::openat2(path::cwd_fd(), c"/proc/self/ns/pid", libc::O_RDONLY, 0, 0)
        .map_err(|e| failed("openat2(2)", e))?;
    setns(prepared.namespaces[index].as_fd(), flag::PID).map_err(|e| failed("setns(2)", e))?;
    Ok(Some(own))
}

/// The process in between sends the pidfd of the process that it made for its own parent, and ends.
pub(super) fn sibling_of(
    stage: &Child,
    sync: BorrowedFd,
    sentence: impl Fn(&Failure) -> Error,
) -> Result<Child> {
    let gone = || Error::kernel("create the process", "recvmsg(2)", Errno::EPIPE).at("/linux/namespaces");
    let answer = receive(sync).map_err(|_| gone())?;
    stage.wait().map_err(|e| Error::kernel("wait for a process", "waitid(2)", e))?;
    match answer {
        Some((FromChild::Cloned, Some(pidfd))) => {
            let pid = pid_of(&pidfd).ok_or_else(gone)?;
            Ok(Child { pid, pidfd })
        }
        Some((FromChild::Failure(failure), _)) => Err(sentence(&failure)),
        _ => Err(gone()),
    }
}

/// The number of a process in this pid namespace, from its pidfd.
pub(super) fn pid_of(pidfd: &OwnedFd) -> Option<i32> {
    let info = path::read_text(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok().filter(|pid| *pid > 0)
}
