//! The root file system of a container without a mount namespace: a private copy, mounted over the original.
//!
//! Everything that the container mounts is on the copy, so that taking it away leaves the host as it was. Mounts of
//! the host that are below the original are in the copy too, where nothing reaches them. The copy itself lies on a
//! cover without any of them: where the host shares its mounts with others, they get the cover too, and it can only
//! be taken away from them while nothing is mounted on it.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Errno, Error, Result};
use crate::sys::fd;
use crate::sys::mount::{Change, detach, exists, mount_setattr, move_mount, open_tree_clone, propagation};
use crate::sys::path;

/// Both, while they are mounted nowhere.
#[derive(Debug)]
pub struct RootMount {
    cover: OwnedFd,
    tree: OwnedFd,
    /// Of the cover and of the tree.
    numbers: [u64; 2],
}

/// What the state keeps of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountedRoot {
    /// The numbers of the mounts, which no other ones get.
    numbers: [u64; 2],
    /// Where they are mounted: the root file system, without links.
    path: PathBuf,
}

fn failed(call: &'static str, errno: Errno) -> Error {
    Error::kernel("copy the root file system", call, errno).at("/root/path")
}

const PRIVATE: Change = Change { set: 0, clear: 0, propagation: propagation::PRIVATE };

impl RootMount {
    /// Copies the mount of the root file system with everything below it, and without for the cover.
    pub fn copy(rootfs: BorrowedFd) -> Result<RootMount> {
        let copy = |recursive| {
            let tree = open_tree_clone(rootfs, c"", recursive, 0).map_err(|e| failed("open_tree(2)", e))?;
            mount_setattr(tree.as_fd(), recursive, PRIVATE).map_err(|e| failed("mount_setattr(2)", e))?;
            let number = path::lasting_mount_id(tree.as_fd()).map_err(|e| failed("statx(2)", e))?;
            let number = number.ok_or_else(|| {
                Error::config(
                    "/linux/namespaces",
                    "the kernel cannot tell the mounts of the container from others",
                )
                .hint("a container without a mount namespace needs Linux 6.8 or later")
            })?;
            Ok((tree, number))
        };
        let ((cover, below), (tree, above)) = (copy(false)?, copy(true)?);
        Ok(RootMount { cover, tree, numbers: [below, above] })
    }

    /// What is to be remembered, before they are mounted at `path`.
    pub fn at(&self, path: PathBuf) -> MountedRoot {
        MountedRoot { numbers: self.numbers, path }
    }

    /// Mounts both over `rootfs`. Returns the tree. Used by the child.
    pub fn attach(&self, rootfs: BorrowedFd) -> std::result::Result<OwnedFd, Errno> {
        move_mount(self.cover.as_fd(), rootfs)?;
        // Where the host shares its mounts, this has made the cover shared.
        mount_setattr(self.cover.as_fd(), false, PRIVATE)?;
        move_mount(self.tree.as_fd(), self.cover.as_fd())?;
        fd::duplicate(self.tree.as_fd())
    }

    /// A second handle.
    pub fn duplicate(&self) -> Result<RootMount> {
        let failed = |e| failed("fcntl(2)", e);
        Ok(RootMount {
            cover: fd::duplicate(self.cover.as_fd()).map_err(failed)?,
            tree: fd::duplicate(self.tree.as_fd()).map_err(failed)?,
            numbers: self.numbers,
        })
    }

    /// Takes away what has been mounted.
    pub fn undo(&self) -> Result<()> {
        for mount in [&self.tree, &self.cover] {
            match detach(mount.as_fd()) {
                // EINVAL: it was not mounted yet.
                Ok(()) | Err(Errno::EINVAL) => {}
                Err(errno) => {
                    return Err(Error::kernel("unmount the root file system", "umount2(2)", errno));
                }
            }
        }
        Ok(())
    }
}

impl MountedRoot {
    /// Takes both away, as far as they are still mounted.
    ///
    /// Errors: something else has been mounted over them.
    pub fn remove(&self) -> Result<()> {
        let failed = |call: &'static str, errno| {
            Error::kernel(format!("unmount the root file system {}", self.path.display()), call, errno)
        };
        let name = CString::new(self.path.as_os_str().as_bytes())
            .map_err(|_| failed("openat2(2)", Errno::EINVAL))?;
        for _ in self.numbers {
            let found = match path::open_host_path(&name, libc::O_DIRECTORY) {
                Ok(found) => found,
                Err(Errno::ENOENT) => break,
                Err(e) => return Err(failed("openat2(2)", e)),
            };
            let number = path::lasting_mount_id(found.as_fd()).map_err(|e| failed("statx(2)", e))?;
            if number.is_none_or(|number| !self.numbers.contains(&number)) {
                break;
            }
            detach(found.as_fd()).map_err(|e| failed("umount2(2)", e))?;
        }
        for number in self.numbers {
            if exists(number).map_err(|e| failed("statmount(2)", e))? {
                return Err(Error::state(format!("{} cannot be unmounted", self.path.display()))
                    .hint("something else is mounted over it; unmount that first"));
            }
        }
        Ok(())
    }
}
