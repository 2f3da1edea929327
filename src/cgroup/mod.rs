//! The cgroups of one container, on version 1, version 2 and both together.
//!
//! Runs in the parent process only. A hierarchy is entered through its verified root, and everything below is
//! looked up from open directories; a path is text for messages and for the state. Not here: what the limits are
//! (that is `plan::cgroup`), the life cycle of the container.
#![forbid(unsafe_code)]

mod apply;
mod create;
#[cfg(test)]
mod device_tests;
pub mod devices;
mod dir;
mod exec;
mod freeze_safely;
mod layout;
mod oom;
mod oom_notice;
mod process;
mod remove;
pub mod stats;
pub mod systemd;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
mod tree;
pub mod update;
mod view;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};

pub use self::apply::without_controller;
use self::dir::Dir;
pub use self::layout::{Hierarchy, Layout};
pub use self::oom::{Event, Events, OomWatch};
pub use self::oom_notice::OomNotice;
pub use self::update::Before;
pub use self::view::{ControllerMount, MountView};
use crate::error::{Errno, Error, Result};
use crate::plan::cgroup::settings::Version;

/// The cgroups of one container, one for each hierarchy.
#[derive(Debug, Default)]
pub struct Cgroup {
    members: Vec<Member>,
}

/// The cgroup of a container in one hierarchy.
#[derive(Debug)]
struct Member {
    /// What the state calls it: controllers, or nothing for cgroup2.
    keys: Vec<String>,
    /// Where its hierarchy is mounted.
    root: PathBuf,
    /// Where it is or was.
    path: PathBuf,
    /// Open, unless it is gone.
    dir: Option<Dir>,
}

impl Member {
    fn has_key(&self, key: &str) -> bool {
        self.keys.iter().any(|own| own == key)
    }
}

impl Cgroup {
    /// Opens the cgroups that the state names. What is gone is left out, what is no cgroup is ignored.
    ///
    /// The root of a hierarchy is never opened this way, whatever the state says.
    pub fn open(paths: &BTreeMap<String, PathBuf>) -> Cgroup {
        let mut members: Vec<Member> = Vec::new();
        for (key, path) in paths {
            match members.iter_mut().find(|member| member.path == *path) {
                Some(member) => member.keys.push(key.clone()),
                None => {
                    let (root, dir) =
                        open_below_root(path).map_or((PathBuf::new(), None), |(r, d)| (r, Some(d)));
                    members.push(Member { keys: vec![key.clone()], root, path: path.clone(), dir });
                }
            }
        }
        Cgroup { members }
    }

    /// What the state keeps: cgroup2 under an empty name, version 1 under each controller.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        let entries = self
            .members
            .iter()
            .flat_map(|member| member.keys.iter().map(|key| (key.clone(), member.path.clone())));
        entries.collect()
    }

    /// Whether any cgroup of the container is still there.
    pub fn exists(&self) -> bool {
        self.members.iter().any(|member| member.dir.as_ref().is_some_and(|dir| dir.has("cgroup.procs")))
    }

    /// The directory in the cgroup2 tree, for a clone straight into it.
    pub fn into_fd(&self) -> Option<BorrowedFd<'_>> {
        self.v2().map(Dir::as_fd)
    }

    /// Puts a process into every cgroup of the container; `skip_v2` when the clone put it into that one.
    pub fn attach(&self, pid: i32, skip_v2: bool) -> Result<()> {
        for dir in self.dirs() {
            if skip_v2 && dir.version() == Version::V2 {
                continue;
            }
            process::attach(dir, pid).map_err(|errno| {
                let doing = format!("adding pid {pid} to cgroups {}", dir.path().display());
                Error::kernel(doing, "write(2)", errno)
            })?;
        }
        Ok(())
    }

    /// The same for a caller without privileges: systemd has put the process where it counts.
    fn attach_where_permitted(&self, pid: i32) {
        for dir in self.dirs() {
            let _ = process::attach(dir, pid);
        }
    }

    fn dirs(&self) -> impl Iterator<Item = &Dir> {
        self.members.iter().filter_map(|member| member.dir.as_ref())
    }

    fn v2(&self) -> Option<&Dir> {
        self.dirs().find(|dir| dir.version() == Version::V2)
    }

    /// The cgroup of a controller of version 1.
    fn v1(&self, controller: &str) -> Option<&Dir> {
        let members = self.members.iter().filter(|member| member.has_key(controller));
        members.filter_map(|member| member.dir.as_ref()).find(|dir| dir.version() == Version::V1)
    }

    /// The cgroup whose list of processes is taken for that of the container.
    fn main(&self) -> Option<&Dir> {
        self.v2().or_else(|| self.v1("freezer")).or_else(|| self.v1("devices")).or_else(|| self.dirs().next())
    }
}

/// Opens a directory of a hierarchy that is not its root, and tells where the root is.
fn open_below_root(path: &Path) -> std::result::Result<(PathBuf, Dir), Errno> {
    let mut components = path.components();
    let mut prefix = PathBuf::new();
    // No hierarchy is mounted above the usual place, so that nothing above it needs to be looked at.
    if path.starts_with("/sys/fs/cgroup") {
        prefix.extend(components.by_ref().take(Path::new("/sys/fs").components().count()));
    }
    // The first directory that belongs to a hierarchy is the root of its mount.
    let root = loop {
        match components.next() {
            Some(part @ (Component::RootDir | Component::Normal(_))) => prefix.push(part),
            _ => return Err(Errno::EINVAL),
        }
        match Dir::open_root(&prefix) {
            Err(Errno::ENODEV) => {}
            result => break result?,
        }
    };
    let rest = components.as_path();
    let is_plain = rest.components().all(|part| matches!(part, Component::Normal(_)));
    match rest.to_str() {
        Some(rest) if !rest.is_empty() && is_plain => Ok((prefix, root.child(rest)?)),
        _ => Err(Errno::EINVAL),
    }
}
