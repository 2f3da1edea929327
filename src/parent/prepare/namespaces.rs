//! Namespaces that are joined: opened, and compared with those of the caller.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Errno, Error, Result};
use crate::parent::access::{self, Use, Who};
use crate::plan::Plan;
use crate::plan::namespaces::{Join, KINDS, flag};
use crate::sys::{clone, path};

/// Opens a namespace that is joined.
pub(in crate::parent) fn namespace(join: &Join) -> Result<OwnedFd> {
    let at = format!("{}/path", join.at);
    let shown = join.path.to_string_lossy();
    let name = KINDS.iter().find(|(flag, ..)| *flag == join.flag).map_or("?", |(_, name, ..)| name);
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = path::openat2(path::cwd_fd(), &join.path, flags, 0, 0).map_err(|e| {
        let error = Error::kernel(format!("open the {name} namespace {shown}"), "openat2(2)", e).at(&at);
        let path = Path::new(OsStr::from_bytes(join.path.to_bytes()));
        let error = access::explain(error, Some(&Who::caller()), path, Use::Read);
        // No permission bits decide about the files of a process, see proc(5).
        match access::is_denial(Some(e)) && path.starts_with("/proc") {
            true => error.hint(
                "only who may trace a process, its user or one with CAP_SYS_PTRACE, may open its namespaces",
            ),
            false => error,
        }
    })?;
    match clone::namespace_kind(opened.as_fd()) {
        Ok(kind) if kind == join.flag => Ok(opened),
        Ok(_) => Err(Error::config(at, format!("{shown} is a namespace of another kind, not {name}"))),
        Err(_) => Err(Error::config(at, format!("{shown} is no namespace"))),
    }
}

/// A namespace that is the caller's own is none: what is done in it would be done to the host.
///
/// Joining the own mount namespace would change the root directory of every process in it.
pub(in crate::parent) fn refuse_own_namespace(plan: &Plan, join: &Join, opened: &OwnedFd) -> Result<()> {
    let changes =
        |prefix: &str| plan.sysctls.iter().any(|s| s.path.as_bytes().starts_with(prefix.as_bytes()));
    if join.flag == flag::USER && is_own(join, opened)? {
        let problem = format!(
            "{} is the caller's own user namespace, which nobody can join",
            join.path.to_string_lossy()
        );
        return Err(Error::config(format!("{}/path", join.at), problem)
            .hint("leave {\"type\": \"user\"} out of linux.namespaces to stay in it"));
    }
    let matters = match join.flag {
        flag::MOUNT => true,
        flag::NETWORK => changes("net/") || !plan.net_devices.is_empty(),
        flag::IPC => changes("kernel/msg") || changes("kernel/s") || changes("fs/mqueue/"),
        flag::UTS => {
            plan.uts.hostname.is_some() || plan.uts.domainname.is_some() || changes("kernel/domainname")
        }
        _ => false,
    };
    if matters && is_own(join, opened)? {
        let shown = join.path.to_string_lossy();
        let problem = format!("{shown} is the caller's own namespace, and the host would be changed");
        return Err(Error::config(format!("{}/path", join.at), problem));
    }
    Ok(())
}

fn is_own(join: &Join, fd: &OwnedFd) -> Result<bool> {
    let failed = |call: &'static str, e| Error::kernel("compare namespaces", call, e).at(&join.at);
    let file = KINDS.iter().find(|(flag, ..)| *flag == join.flag).map_or("", |(_, _, file, _)| file);
    let own =
        CString::new(format!("/proc/self/ns/{file}")).map_err(|_| failed("openat2(2)", Errno::EINVAL))?;
    let own =
        path::openat2(path::cwd_fd(), &own, libc::O_RDONLY, 0, 0).map_err(|e| failed("openat2(2)", e))?;
    let own = path::stat_fd(own.as_fd()).map_err(|e| failed("statx(2)", e))?;
    Ok(path::stat_fd(fd.as_fd()).map_err(|e| failed("statx(2)", e))?.same_inode(&own))
}
