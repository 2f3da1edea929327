//! The proc and sysfs of the host, bound in place of new ones that a user namespace may not make.
//!
//! A procfs belongs to a pid namespace, a sysfs to a network namespace: who does not own those gets no new instance,
//! and neither does who sees those of the host only in parts. Nothing is loosened: the copy has every attribute that
//! was asked for, on the mounts below it too. CVE-2023-25809.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use crate::error::Errno;
use crate::plan::Plan;
use crate::plan::mounts::{Mount, attr, propagation};
use crate::plan::namespaces::flag;
use crate::sync::{Call, Failure, In};
use crate::sys::mount::{Change, mount_setattr, open_tree_clone};
use crate::sys::path;

const PROC_SUPER_MAGIC: i64 = 0x9fa0;
const SYSFS_MAGIC: i64 = 0x6265_6572;

/// True when the failure is the refusal that is meant here, and the one of the host can stand in.
///
/// A procfs can when it shows the same processes. A sysfs shows other network devices at most, but mounts below it
/// come along, so it must have been asked for read-only.
pub fn can_replace(plan: &Plan, fstype: &CStr, mount: &Mount, failure: &Failure) -> bool {
    let in_user_namespace = plan.namespaces.has_user() || plan.rootless;
    let refused = failure.errno == Errno::EPERM as i32;
    let read_only = (mount.attributes.set | mount.recursive.set) & attr::RDONLY != 0;
    let fits = match fstype.to_bytes() {
        b"proc" => !plan.namespaces.has(flag::PID),
        b"sysfs" => read_only,
        _ => false,
    };
    in_user_namespace && refused && fits
}

/// A detached copy of the one of the host, with these attributes everywhere. It receives what the host mounts below
/// it later, and gives nothing back.
pub fn copy(fstype: &CStr, attributes: u64) -> Result<OwnedFd, Failure> {
    let (path, magic) = match fstype.to_bytes() {
        b"proc" => (c"/proc", PROC_SUPER_MAGIC),
        _ => (c"/sys", SYSFS_MAGIC),
    };
    // With what is mounted below it, which may cover what must not be seen.
    let tree = open_tree_clone(path::cwd_fd(), path, true, 0).call(Call::OpenTree)?;
    if path::file_system(tree.as_fd()).call(Call::Statfs)? != magic {
        return Err(Failure::found("the one of the host is no such file system"));
    }
    let change = Change { set: attributes, propagation: propagation::PRIVATE, ..Change::default() };
    mount_setattr(tree.as_fd(), true, change).call(Call::MountSetattr)?;
    Ok(tree)
}
