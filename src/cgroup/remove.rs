//! Taking the cgroups of a container away, with whatever is left in them.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::dir::Dir;
use super::process::{PATIENCE, wait_for_event};
use super::tree::{self, Tree};
use super::{Cgroup, open_below_root};
use crate::error::{Errno, Error, Result};
use crate::plan::cgroup::settings::Version;

impl Cgroup {
    /// Kills what is left and removes the cgroups, those of the container's own making first.
    ///
    /// A cgroup that is gone is fine. Every hierarchy is tried; the first error is returned.
    pub fn remove(&self) -> Result<()> {
        self.remove_those(|_| true, true)
    }

    /// The same when every process of the container has ended: one that is left belongs to somebody else.
    ///
    /// Errors: there is one.
    pub fn remove_without_killing(&self) -> Result<()> {
        self.remove_those(|_| true, false)
    }

    /// The same, but the cgroups stay by which systemd sees that a unit has ended, and which it then removes.
    pub fn remove_but_for_systemd(&self) -> Result<()> {
        self.remove_those(|keys| !keys.iter().any(|key| key.is_empty() || key == "name=systemd"), true)
    }

    /// Waits a little until no process is there: one that was about to enter the container sees that it has ended, and
    /// goes.
    ///
    /// Errors: one stays.
    pub fn wait_until_unused(&self) -> Result<()> {
        let (deadline, mut pause) = (Instant::now() + PASSING, Duration::from_millis(1));
        while let Some(dir) = self.used() {
            if Instant::now() >= deadline {
                return Err(still_used(dir));
            }
            wait_until_empty(dir, deadline, &mut pause);
        }
        Ok(())
    }

    /// A cgroup with processes in it or below it.
    fn used(&self) -> Option<&Dir> {
        self.dirs().find(|dir| tree::pids(dir).is_ok_and(|pids| !pids.is_empty()))
    }

    /// Removes the cgroups in those hierarchies whose controllers `goes` accepts, and before that the processes in them
    /// when they may be killed.
    fn remove_those(&self, goes: impl Fn(&[String]) -> bool, kill: bool) -> Result<()> {
        let members = self.members.iter().filter(|member| goes(&member.keys));
        let dirs: Vec<&Dir> = members.filter_map(|member| member.dir.as_ref()).collect();
        // Most often everything has ended, and removing is all there is to do.
        if dirs.iter().all(|dir| remove_leaf(dir).is_ok()) {
            return Ok(());
        }
        let mut first = None;
        if !kill {
            self.wait_until_unused()?;
        }
        if self.used().is_some() {
            // Refused when the command itself is inside, and then nothing may be removed either.
            self.kill_all(Signal::SIGKILL as i32)?;
        } else {
            // Frozen leftovers cannot be removed from a frozen parent on some kernels, and nothing is lost.
            let _ = self.thaw();
        }
        for dir in dirs {
            if let Err(error) = remove_tree(dir) {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Whether there is one cgroup, in a tree of version 2 without hierarchies of version 1 beside it.
    pub fn is_unified(&self) -> bool {
        self.members.len() == 1 && self.v2().is_some()
    }

    /// Removes cgroups that were only planned when their maker was killed: those that are empty, since what has
    /// processes or cgroups in it is somebody else's.
    pub fn remove_unused(&self) {
        for dir in self.dirs() {
            let _ = remove_leaf(dir);
        }
    }
}

/// How long a process may take to leave a container that has ended.
const PASSING: Duration = Duration::from_secs(2);

/// Removes a cgroup and everything below it.
fn remove_tree(dir: &Dir) -> Result<()> {
    let failed = |errno| dir.error("remove the cgroup", "", "unlinkat(2)", errno);
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    loop {
        match try_remove(dir) {
            Ok(()) => return Ok(()),
            Err(Errno::EBUSY) if Instant::now() < deadline => wait_until_empty(dir, deadline, &mut pause),
            Err(Errno::EBUSY) => return Err(still_used(dir)),
            Err(errno) => return Err(failed(errno)),
        }
    }
}

/// Waits for the next chance: the event of cgroup2, or on version 1 a moment that grows.
fn wait_until_empty(dir: &Dir, deadline: Instant, pause: &mut Duration) {
    let left = deadline.saturating_duration_since(Instant::now());
    let is_populated = tree::pids(dir).is_ok_and(|pids| !pids.is_empty());
    if dir.version() == Version::V2 && is_populated {
        let _ = wait_for_event(dir, "populated", 0, left);
    } else {
        // The last task is gone from the lists but not yet from the kernel's books.
        std::thread::sleep((*pause).min(left));
        *pause = (*pause * 2).min(Duration::from_millis(50));
    }
}

fn try_remove(dir: &Dir) -> std::result::Result<(), Errno> {
    let tree = Tree::read(dir)?;
    for index in (0..tree.len()).rev() {
        tree::present(tree.remove(index))?;
    }
    remove_leaf(dir)
}

/// Removes one cgroup that has nothing below it.
fn remove_leaf(dir: &Dir) -> std::result::Result<(), Errno> {
    // The parent is looked up anew: the directory was opened by its path, and a name is needed to remove it.
    let (Some(parent), Some(name)) =
        (dir.path().parent(), dir.path().file_name().and_then(|name| name.to_str()))
    else {
        return Err(Errno::EINVAL);
    };
    let parent = match open_below_root(parent) {
        // The parent may be the root of the hierarchy.
        Err(Errno::EINVAL) => Dir::open_root(parent),
        result => result.map(|(_, dir)| dir),
    };
    match tree::present(parent) {
        Ok(Some(parent)) => tree::present(parent.remove_child(name)).map(drop),
        Ok(None) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Names what keeps the cgroup alive.
fn still_used(dir: &Dir) -> Error {
    let pids = tree::pids(dir).unwrap_or_default();
    let doing = format!("remove the cgroup {}", dir.path().display());
    let error = Error::kernel(doing, "unlinkat(2)", Errno::EBUSY);
    match pids.first() {
        None => error,
        Some(pid) => error.detail(format!("{} process(es) left, {}", pids.len(), describe(*pid))),
    }
}

/// The number, name and state of a process.
fn describe(pid: i32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may contain anything, also a parenthesis.
    let name = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or("?", |(name, _)| name);
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next()).unwrap_or('?');
    format!("pid {pid} ({name}) in state {state}")
}
