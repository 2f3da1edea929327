//! Device nodes and the links in /dev, by descriptor: the image's /dev may hold anything. CVE-2026-41579.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::Errno;
use crate::plan::Plan;
use crate::plan::devices::{LINKS, Node};
use crate::sync::{Call, During, Failure, In, Phase};
use crate::sys::mount::move_mount;
use crate::sys::path;

use super::root::{Root, open_child};
use super::sources::{Found, Sources};

/// Makes everything, unless /dev is a bind mount.
pub fn make(plan: &Plan, sources: &Sources, root: &Root) -> Result<(), Failure> {
    if !plan.devices.populate {
        return Ok(());
    }
    let dev = dev_directory(root).during(Phase::DeviceLinks)?;
    for (index, node) in plan.devices.nodes.iter().enumerate() {
        let bound = sources.nodes.get(index).and_then(Option::as_ref).and_then(Found::tree);
        one(root, &dev, node, bound).item(Phase::Devices, index)?;
    }
    links(root, &dev).during(Phase::DeviceLinks)
}

/// /dev itself must be a directory of the root, not a link to another place.
fn dev_directory(root: &Root) -> Result<OwnedFd, Failure> {
    match root.open_real_directory(c"dev") {
        Err(Errno::ENOENT) => root.make_directories(c"dev"),
        Err(Errno::ELOOP | Errno::ENOTDIR) => Err(Failure::found("/dev is not a real directory")),
        other => other.call(Call::Openat),
    }
}

fn one(root: &Root, dev: &OwnedFd, node: &Node, bound: Option<BorrowedFd>) -> Result<(), Failure> {
    let in_dev = node.path.to_bytes().strip_prefix(b"dev/").filter(|name| !name.contains(&b'/'));
    let outside;
    let (parent, name) = match in_dev {
        Some(name) => {
            outside = std::ffi::CString::new(name).unwrap_or_default();
            (dev.as_fd(), outside.as_c_str())
        }
        None => {
            let (parent, name) = root.parent_of(&node.path)?;
            return one_at(parent.as_fd(), &name, node, bound);
        }
    };
    one_at(parent, name, node, bound)
}

fn one_at(parent: BorrowedFd, name: &CStr, node: &Node, bound: Option<BorrowedFd>) -> Result<(), Failure> {
    if let Some(tree) = bound {
        match path::mknodat(parent, name, libc::S_IFREG | 0o666, (0, 0)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(Failure::of(Call::Mknodat, errno)),
        }
        let place = open_child(parent, name, 0)?;
        return move_mount(tree, place.as_fd()).call(Call::MoveMount);
    }
    match path::mknodat(parent, name, node.mode, node.numbers) {
        Ok(()) => {
            if (node.uid, node.gid) == (0, 0) {
                return Ok(()); // the umask is 0 and the owner is root: nothing is left to do
            }
        }
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(Failure::of(Call::Mknodat, errno)),
    }
    let place = open_child(parent, name, 0)?;
    let there = path::stat_fd(place.as_fd()).call(Call::Statx)?;
    let is_numbered = node.mode & libc::S_IFMT != libc::S_IFIFO;
    if there.kind() != node.mode & libc::S_IFMT || is_numbered && there.rdev != node.numbers {
        return Err(Failure::found("something else exists at that path"));
    }
    if (there.uid, there.gid) != (node.uid, node.gid) {
        path::chown_fd(place.as_fd(), node.uid, node.gid).call(Call::Chown)?;
    }
    if there.mode & 0o7777 != node.mode & 0o7777 {
        path::chmodat(parent, name, node.mode & 0o7777).call(Call::Chmod)?;
    }
    Ok(())
}

fn links(root: &Root, dev: &OwnedFd) -> Result<(), Failure> {
    for (name, target) in LINKS {
        // A link to nothing helps nobody: without procfs, or without /proc/kcore, it is left out.
        let checked = if name == c"core" { c"proc/kcore" } else { c"proc" };
        if root.open(checked, 0).is_err() {
            continue;
        }
        match path::symlinkat(target, dev.as_fd(), name) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(Failure::of(Call::Symlinkat, errno).with(name.to_bytes())),
        }
    }
    match path::unlinkat(dev.as_fd(), c"ptmx", 0) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(Failure::of(Call::Unlinkat, errno).with(b"ptmx")),
    }
    path::symlinkat(c"pts/ptmx", dev.as_fd(), c"ptmx").call(Call::Symlinkat)
}
