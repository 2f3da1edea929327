//! What is bound into the container: copies of the host's trees, of its devices and of /dev/null.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::error::{Errno, Error, Result};
use crate::parent::access::{self, Use, Who};
use crate::parent::id_maps;
use crate::plan::Plan;
use crate::plan::devices::Node;
use crate::plan::mounts::{IdMapping, Kind, Mount};
use crate::sys::mount::open_tree_clone;
use crate::sys::path::{self, Stat};

/// The source of a bind mount.
#[derive(Debug)]
pub enum Source {
    /// A detached copy of the tree.
    Tree(OwnedFd),
    /// Copying needs privilege that only the child will have, in its own mount namespace: it opens the path again
    /// and compares.
    Path {
        /// Absolute path.
        path: CString,
        /// What was found there.
        stat: Stat,
    },
    /// A symbolic link that is made again at the destination: its target.
    Link(CString),
}

/// The source of a mount, when it has one on the host.
pub(in crate::parent) fn source(mount: &Mount) -> Result<Option<Source>> {
    let Kind::Bind { source, recursive, no_follow, copy_symlink } = &mount.kind else {
        return Ok(None);
    };
    let failed = |call: &'static str, errno: Errno| {
        let what = format!("open the source {} of the mount on {}", source.to_string_lossy(), mount.shown);
        let error = Error::kernel(what, call, errno).at(format!("{}/source", mount.at));
        let path = std::path::Path::new(OsStr::from_bytes(source.to_bytes()));
        access::explain(error, Some(&Who::caller()), path, Use::Reach)
    };
    if *copy_symlink {
        let stat = path::statx(path::cwd_fd(), source, libc::AT_SYMLINK_NOFOLLOW)
            .map_err(|e| failed("statx(2)", e))?;
        if stat.is_symlink() {
            let mut buffer = [0u8; libc::PATH_MAX as usize];
            let link = path::readlinkat(path::cwd_fd(), source, &mut buffer)
                .map_err(|e| failed("readlinkat(2)", e))?;
            let link = CString::new(link).map_err(|_| failed("readlinkat(2)", Errno::EINVAL))?;
            return Ok(Some(Source::Link(link)));
        }
    }
    let found = Source::at(source, *recursive, *no_follow).map_err(|(call, errno)| failed(call, errno))?;
    if let (Source::Path { .. }, Some(_)) = (&found, &mount.id_mapping) {
        let what = format!("map the ids of the mount on {}", mount.shown);
        return Err(Error::kernel(what, "mount_setattr(2)", Errno::EPERM)
            .at(&mount.at)
            .hint(UNPRIVILEGED_MAPPING));
    }
    Ok(Some(found))
}

/// Why the ids of a mount cannot be mapped by an unprivileged user, or in the user namespace of one.
pub(in crate::parent) const UNPRIVILEGED_MAPPING: &str = "it needs privilege where the file system was mounted, which an unprivileged \
    user does not have; the owner of the files can be changed instead (:U of podman)";

impl Source {
    /// Copies the tree at `path`, or remembers what is there when the caller may not copy it.
    pub(super) fn at(
        path: &CString,
        recursive: bool,
        no_follow: bool,
    ) -> std::result::Result<Source, (&'static str, Errno)> {
        let flags = if no_follow { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
        match open_tree_clone(path::cwd_fd(), path, recursive, flags) {
            Ok(tree) => Ok(Source::Tree(tree)),
            Err(Errno::EPERM) => {
                let flags = if no_follow { libc::O_NOFOLLOW } else { 0 };
                let found = path::open_host_path(path, flags).map_err(|e| ("openat2(2)", e))?;
                let stat = path::stat_fd(found.as_fd()).map_err(|e| ("statx(2)", e))?;
                Ok(Source::Path { path: path.clone(), stat })
            }
            Err(errno) => Err(("open_tree(2)", errno)),
        }
    }

    /// What it is.
    fn stat(&self) -> std::result::Result<Stat, Errno> {
        match self {
            Source::Tree(tree) => path::stat_fd(tree.as_fd()),
            Source::Path { stat, .. } => Ok(*stat),
            Source::Link(_) => Err(Errno::ELOOP),
        }
    }
}

/// Makes the user namespace that maps the ids of a mount.
pub(in crate::parent) fn own_id_map(mount: &Mount) -> Result<Option<OwnedFd>> {
    match &mount.id_mapping {
        Some((IdMapping::Own { uids, gids }, _)) => id_maps::namespace_with(uids, gids)
            .map(Some)
            .map_err(|e| e.at(format!("{}/uidMappings", mount.at))),
        _ => Ok(None),
    }
}

/// The host's /dev/null, verified, as a mount that can be attached anywhere. `None` without the privilege.
pub(in crate::parent) fn null_mount() -> Result<Option<OwnedFd>> {
    let failed =
        |call: &'static str, e| Error::kernel("open /dev/null of the host", call, e).at("/linux/maskedPaths");
    match open_tree_clone(path::cwd_fd(), c"/dev/null", false, 0) {
        Ok(tree) => {
            let stat = path::stat_fd(tree.as_fd()).map_err(|e| failed("statx(2)", e))?;
            if stat.is_char_device(1, 3) { Ok(Some(tree)) } else { Err(failed("statx(2)", Errno::ENODEV)) }
        }
        Err(Errno::EPERM) => Ok(None),
        Err(errno) => Err(failed("open_tree(2)", errno)),
    }
}

/// In a user namespace nodes cannot be made; those of the host are bound, if they are the same devices.
pub(in crate::parent) fn device_nodes(plan: &Plan) -> Result<Vec<Option<Source>>> {
    if !plan.devices.bind_nodes || !plan.devices.populate {
        return Ok(Vec::new());
    }
    plan.devices.nodes.iter().map(device_node).collect()
}

/// A node of the host, if it is the device that is meant. Fifos are made in any case.
pub(in crate::parent) fn device_node(node: &Node) -> Result<Option<Source>> {
    if node.mode & libc::S_IFMT == libc::S_IFIFO {
        return Ok(None);
    }
    let failed = |call: &'static str, e| {
        let what = format!("open {} of the host, to bind it into the user namespace", node.shown);
        Error::kernel(what, call, e).at(&node.at)
    };
    let host = CString::new(node.shown.as_str()).map_err(|_| failed("open_tree(2)", Errno::EINVAL))?;
    let source = Source::at(&host, false, false).map_err(|(call, e)| failed(call, e))?;
    let stat = source.stat().map_err(|e| failed("statx(2)", e))?;
    if stat.kind() != node.mode & libc::S_IFMT || stat.rdev != node.numbers {
        return Err(Error::config(&node.at, format!("{} of the host is another device", node.shown)));
    }
    Ok(Some(source))
}
