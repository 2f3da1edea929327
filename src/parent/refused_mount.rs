//! Why the kernel refuses to make a file system in a user namespace.
//!
//! Some show a namespace, and are made by who has power over that one. Most are made by the root of the host alone.
//! Source: user_namespaces(7), namespaces(7), FS_USERNS_MOUNT of the kernel.
#![forbid(unsafe_code)]

use crate::error::{Errno, Error};
use crate::plan::Plan;
use crate::plan::mounts::{Kind, Mount};
use crate::plan::namespaces::{KINDS, flag};
use crate::sync::{Call, Failure};

/// The file systems that show a namespace, and its kind.
const SHOWN: &[(&str, u64)] = &[
    ("proc", flag::PID),
    ("sysfs", flag::NETWORK),
    ("mqueue", flag::IPC),
    ("cgroup", flag::CGROUP),
    ("cgroup2", flag::CGROUP),
];

/// Others that are made in a user namespace.
const HARMLESS: &[&str] = &["tmpfs", "ramfs", "devpts", "overlay", "fuse", "fuseblk", "binder", "bpf"];

/// Adds to the error of a mount why its file system could not be made, when that is known.
pub fn explain(error: Error, plan: &Plan, mount: &Mount, failure: &Failure) -> Error {
    let refused =
        failure.errno == Errno::EPERM as i32 && matches!(failure.call, Call::Fsopen | Call::Fsconfig);
    if !refused || !(plan.namespaces.has_user() || plan.rootless) {
        return error;
    }
    let fstype = match &mount.kind {
        Kind::FileSystem { fstype, .. } => fstype.to_string_lossy(),
        Kind::Cgroup { .. } => "cgroup".into(),
        _ => return error,
    };
    let Some((_, kind)) = SHOWN.iter().find(|(name, _)| *name == fstype) else {
        let name = fstype.split('.').next().unwrap_or_default();
        return match HARMLESS.contains(&name) {
            true => error,
            false => error.hint(format!(
                "a user namespace may not make this file system: let root mount {fstype} on the host, and bind it"
            )),
        };
    };
    let name = KINDS.iter().find(|(flag, ..)| flag == kind).map_or("", |(_, name, ..)| name);
    let whose = match plan.namespaces.join_of(*kind) {
        Some(join) => join.path.to_string_lossy(),
        None if plan.namespaces.is_new(*kind) => return error,
        None => "that of the caller".into(),
    };
    error.hint(format!(
        "{fstype} shows the {name} namespace, and {whose} belongs to another user namespace: list \
         {{\"type\": \"{name}\"}} without a path in linux.namespaces, or bind the {fstype} of the host"
    ))
}
