//! One directory of a hierarchy, held open.

use std::ffi::OsStr;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC};

use crate::control_dir::ControlDir;
pub use crate::control_dir::read_all;
use crate::error::Errno;
use crate::plan::cgroup::settings::Version;

/// An open directory of a hierarchy.
#[derive(Debug)]
pub struct Dir {
    dir: ControlDir,
    version: Version,
}

impl Deref for Dir {
    type Target = ControlDir;

    fn deref(&self) -> &ControlDir {
        &self.dir
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Dir {
    /// Opens the root of a mounted hierarchy and makes sure that it is one.
    pub fn open_root(path: &Path) -> std::result::Result<Dir, Errno> {
        let (dir, kind) = ControlDir::open_root(path)?;
        let version = if kind == CGROUP2_SUPER_MAGIC {
            Version::V2
        } else if kind == CGROUP_SUPER_MAGIC {
            Version::V1
        } else {
            return Err(Errno::ENODEV);
        };
        Ok(Dir { dir, version })
    }

    /// Which kind of hierarchy the directory belongs to.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Opens a directory below, given by one name or several.
    pub fn child(&self, name: impl AsRef<OsStr>) -> std::result::Result<Dir, Errno> {
        Ok(Dir { dir: self.dir.child(name)?, version: self.version })
    }

    /// Opens the directory once more, so that two holders can each close theirs.
    pub fn reopen(&self) -> std::result::Result<Dir, Errno> {
        Ok(Dir { dir: self.dir.reopen()?, version: self.version })
    }
}

/// The value of `key` in a file with one `key value` pair a line.
pub fn keyed(content: &str, key: &str) -> Option<u64> {
    content.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        if name == key { value.trim().parse().ok() } else { None }
    })
}
