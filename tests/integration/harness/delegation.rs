//! A part of the cgroup2 tree that belongs to the unprivileged caller, as a user manager would delegate it.
//!
//! The tests and the runtime see it as the whole tree, in a cgroup namespace of their own.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::caller::FIRST;
use super::{Caller, driver};

const ROOT: &str = "/sys/fs/cgroup";

/// The files that are delegated; cgroups(7).
const FILES: &[&str] = &["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];

/// The name of the delegated cgroup of a run.
pub fn name(outer_pid: u32) -> String {
    format!("teuit-delegated-{outer_pid}")
}

/// Makes the cgroup, enters a cgroup below it, and makes it the root of what is seen from now on.
pub fn enter(name: &str) -> Result<(), String> {
    let told = |what: &str, error: &dyn std::fmt::Display| format!("{what} of the delegated cgroup: {error}");
    let dir = Path::new(ROOT).join(name);
    let join = |dir: &Path| fs::write(dir.join("cgroup.procs"), "0");
    fs::create_dir_all(&dir).map_err(|error| told("directory", &error))?;
    chown(&dir, Some(FIRST), Some(FIRST)).map_err(|error| told("owner", &error))?;
    for file in FILES {
        chown(dir.join(file), Some(FIRST), Some(FIRST)).map_err(|error| told(file, &error))?;
    }
    join(&dir).map_err(|error| told("process", &error))?;
    unshare(CloneFlags::CLONE_NEWCGROUP).map_err(|error| told("namespace", &error))?;
    let tests = dir.join("tests");
    fs::create_dir(&tests).map_err(|error| told("directory", &error))?;
    chown(tests.join("cgroup.procs"), Some(FIRST), Some(FIRST)).map_err(|error| told("owner", &error))?;
    join(&tests).map_err(|error| told("process", &error))?;
    umount2(ROOT, MntFlags::MNT_DETACH).map_err(|error| told("mount", &error))?;
    mount(Some("cgroup2"), ROOT, Some("cgroup2"), MsFlags::empty(), None::<&str>)
        .map_err(|error| told("mount", &error))
}

/// Enters a cgroup of the user's own manager, as whatever the user has started there. systemd leaves it alone.
pub fn enter_manager(caller: Caller, name: &str) -> Result<(), String> {
    let dir = Path::new(ROOT).join(driver::manager(caller)).join(name);
    let made = fs::create_dir(&dir).and_then(|()| fs::write(dir.join("cgroup.procs"), "0"));
    made.map_err(|error| format!("{}, which takes a user manager: {error}", dir.display()))
}

/// Removes what [`enter_manager`] has made.
pub fn leave_manager(caller: Caller, name: &str) -> Result<(), String> {
    let dir = Path::new(ROOT).join(driver::manager(caller)).join(name);
    remove_tree(&dir).map_err(|error| format!("{}: {error}", dir.display()))
}

/// Removes what [`enter`] has made, if it has, when all its processes are gone. To be called outside of the cgroup namespace.
pub fn remove(name: &str) -> Result<(), String> {
    // A fresh mount, because the one at the usual place shows the delegated part alone.
    mount(Some("cgroup2"), "/tmp", Some("cgroup2"), MsFlags::empty(), None::<&str>)
        .map_err(|error| format!("mount the cgroups once more: {error}"))?;
    let dir = Path::new("/tmp").join(name);
    let removed = remove_tree(&dir).map_err(|error| format!("{}: {error}", dir.display()));
    umount2("/tmp", MntFlags::MNT_DETACH).map_err(|error| format!("umount: {error}"))?;
    removed
}

fn remove_tree(dir: &Path) -> std::io::Result<()> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path())?;
    }
    fs::remove_dir(dir)
}
