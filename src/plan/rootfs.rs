//! `root`, `linux.rootfsPropagation`, `linux.maskedPaths` and `linux.readonlyPaths`.
//!
//! Source: config.md#root, config-linux.md#rootfs-mount-propagation, #masked-paths, #readonly-paths.

use std::collections::HashSet;
use std::ffi::CString;
use std::path::PathBuf;

use oci_spec::runtime::{Root, Spec};

use super::mounts::{normalize, propagation};
use super::namespaces::{Namespaces, flag};
use super::{Request, c_string, item};
use crate::error::{Error, Result};
use crate::report::Report;

/// How the root of the container becomes the root directory of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pivot {
    /// pivot_root(2), in a mount namespace.
    PivotRoot,
    /// MS_MOVE and chroot(2), in a mount namespace: for initial ramdisks, where pivot_root does not work.
    MoveRoot,
    /// chroot(2), without a mount namespace: a copy of the root file system that is mounted over it, in the
    /// namespace of the host, and holds all other mounts. `delete` takes it away.
    Chroot,
}

/// Propagation of the root mount: bits of mount_setattr(2), and whether everything below it is meant too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// Bits.
    pub bits: u64,
    /// Recursive.
    pub recursive: bool,
}

/// A path inside the container that is masked or made read-only.
#[derive(Clone, Debug)]
pub struct Item {
    /// Without leading slash.
    pub path: CString,
    /// As written.
    pub shown: String,
    /// JSON pointer.
    pub at: String,
}

/// The root file system.
#[derive(Clone, Debug)]
pub struct Rootfs {
    /// Absolute path on the host, links not resolved yet. Empty when the configuration has none that is right.
    pub path: PathBuf,
    /// Read-only in the end.
    pub read_only: bool,
    /// How to get there.
    pub pivot: Pivot,
    /// What `rootfsPropagation` says.
    pub propagation: Option<Propagation>,
    /// `maskedPaths`.
    pub masked: Vec<Item>,
    /// `readonlyPaths`.
    pub read_only_paths: Vec<Item>,
}

impl Rootfs {
    /// The mounts of the host stay peers of those in the container, which the configuration wants when it makes
    /// the root shared.
    pub fn is_shared(&self) -> bool {
        self.propagation.is_some_and(|p| p.bits == propagation::SHARED)
    }
}

/// Plans the root file system.
pub fn plan(spec: &Spec, request: &Request, namespaces: &Namespaces, report: &mut Report) -> Result<Rootfs> {
    let root = spec.root().as_ref();
    let path = report.keep(path_of(root, request))?.unwrap_or_default();
    let own_mounts = namespaces.has(flag::MOUNT);
    if !own_mounts {
        refuse_without_mount_namespace(spec, namespaces, report)?;
    }
    let linux = spec.linux().as_ref();
    let masked = linux.and_then(|l| l.masked_paths().as_deref()).unwrap_or_default();
    let read_only = linux.and_then(|l| l.readonly_paths().as_deref()).unwrap_or_default();
    let propagation = linux
        .and_then(|l| l.rootfs_propagation().as_deref())
        .filter(|word| !word.is_empty())
        .map(root_propagation)
        .transpose();
    let mut planned = Rootfs {
        path,
        read_only: root.and_then(Root::readonly).unwrap_or(false),
        pivot: match (own_mounts, request.no_pivot) {
            (false, _) => Pivot::Chroot,
            (true, true) => Pivot::MoveRoot,
            (true, false) => Pivot::PivotRoot,
        },
        propagation: report.keep(propagation)?.flatten(),
        masked: paths(masked, "/linux/maskedPaths", report)?,
        read_only_paths: paths(read_only, "/linux/readonlyPaths", report)?,
    };
    let is_private = planned.propagation.is_some_and(|p| p.bits == propagation::PRIVATE);
    if request.no_pivot && is_private {
        let problem = "a private root is not safe without pivot_root";
        report.refuse(Error::config("/linux/rootfsPropagation", problem).hint(
            "leave --no-pivot out: without it the mounts of the host stay reachable for a privileged process",
        ))?;
    }
    for item in planned.masked.iter().filter(|item| item.path.is_empty()) {
        report.refuse(Error::config(&item.at, "the root directory of the container cannot be masked"))?;
    }
    // Nothing can cover the root directory of a process, but the root itself can be read-only.
    if planned.read_only_paths.iter().any(|item| item.path.is_empty()) {
        planned.read_only_paths.retain(|item| !item.path.is_empty());
        planned.read_only = true;
    }
    Ok(planned)
}

fn path_of(root: Option<&Root>, request: &Request) -> Result<PathBuf> {
    let Some(root) = root else {
        return Err(Error::config("/root", "root must be specified"));
    };
    if root.path().as_os_str().is_empty() {
        return Err(Error::config("/root/path", "the path of the root file system must not be empty"));
    }
    let path = request.bundle.join(root.path());
    if path.to_string_lossy().contains('\0') {
        return Err(Error::config("/root/path", "the string contains a NUL byte"));
    }
    Ok(path)
}

/// What a container that has the mounts of the host can have no say in. Its root directory is nothing that confines
/// a privileged process, so what is there to confine must not be promised.
fn refuse_without_mount_namespace(spec: &Spec, namespaces: &Namespaces, report: &mut Report) -> Result<()> {
    let linux = spec.linux().as_ref();
    let has = |list: Option<&[String]>| list.is_some_and(|list| !list.is_empty());
    let word = linux.and_then(|l| l.rootfs_propagation().as_deref()).unwrap_or_default();
    let asked = [
        (
            "a read-only root",
            "/root/readonly",
            spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false),
        ),
        ("a masked path", "/linux/maskedPaths", has(linux.and_then(|l| l.masked_paths().as_deref()))),
        ("a read-only path", "/linux/readonlyPaths", has(linux.and_then(|l| l.readonly_paths().as_deref()))),
        ("the propagation of the root", "/linux/rootfsPropagation", !word.is_empty()),
        ("a user namespace", namespaces.pointer(flag::USER), namespaces.has_user()),
    ];
    for (what, pointer, _) in asked.into_iter().filter(|(.., asked)| *asked) {
        report.refuse(
            Error::config(pointer, format!("{what} needs a mount namespace too"))
                .hint("add {\"type\": \"mount\"} to linux.namespaces"),
        )?;
    }
    Ok(())
}

fn root_propagation(word: &str) -> Result<Propagation> {
    let (bits, recursive) = match word {
        "shared" => (propagation::SHARED, false),
        "rshared" => (propagation::SHARED, true),
        "slave" => (propagation::SLAVE, false),
        "rslave" => (propagation::SLAVE, true),
        "private" => (propagation::PRIVATE, false),
        "rprivate" => (propagation::PRIVATE, true),
        "unbindable" => (propagation::UNBINDABLE, false),
        "runbindable" => (propagation::UNBINDABLE, true),
        _ => {
            return Err(Error::config(
                "/linux/rootfsPropagation",
                format!("\"{word}\" is no propagation: shared, slave, private or unbindable"),
            ));
        }
    };
    Ok(Propagation { bits, recursive })
}

fn paths(list: &[String], base: &str, report: &mut Report) -> Result<Vec<Item>> {
    let mut items: Vec<Item> = Vec::with_capacity(list.len());
    let mut seen = HashSet::with_capacity(list.len());
    for (index, path) in list.iter().enumerate() {
        let at = item(base, index);
        let clean = match path.starts_with('/') {
            true => c_string(&normalize(path), &at),
            false => Err(Error::config(&at, format!("\"{path}\" is not an absolute path"))),
        };
        let Some(clean) = report.keep(clean)? else { continue };
        if seen.insert(clean.clone()) {
            items.push(Item { path: clean, shown: path.clone(), at });
        }
    }
    Ok(items)
}
