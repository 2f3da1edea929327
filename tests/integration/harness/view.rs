//! The mount namespace of the tests and the picture of cgroups in it.
//!
//! The tests run in a mount namespace of their own, so that nothing they mount reaches the machine. In it
//! `/` is made shared, as systemd has it on most hosts: a runtime that lets a mount propagate out is then seen
//! by the leak check.

use std::fmt;
use std::fs;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::mountinfo;

/// Which cgroup hierarchies are visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Version 1 hierarchies, and version 2 below `unified`.
    Hybrid,
    /// Version 1 hierarchies alone.
    V1,
    /// Version 2 alone, at /sys/fs/cgroup.
    V2,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            View::Hybrid => "hybrid",
            View::V1 => "v1",
            View::V2 => "v2",
        })
    }
}

impl View {
    /// What this host shows now.
    fn of_host() -> Result<View, String> {
        let mounts = mountinfo::of("self").map_err(|error| format!("mountinfo: {error}"))?;
        let v2_root = mounts.iter().any(|m| m.fs == "cgroup2" && m.point == "/sys/fs/cgroup");
        let v2 = mounts.iter().any(|m| m.fs == "cgroup2");
        let v1 = mounts.iter().any(|m| m.fs == "cgroup");
        match (v1, v2, v2_root) {
            (_, _, true) => Ok(View::V2),
            (true, true, false) => Ok(View::Hybrid),
            (true, false, false) => Ok(View::V1),
            _ => Err("no cgroup hierarchy is mounted".into()),
        }
    }

    /// Enters a mount namespace that shows the view named by `TEU_VIEW`, or the one of the host.
    ///
    /// Call it while the process has one thread. Errors: a sentence; also when the host cannot show that view.
    pub fn enter() -> Result<View, String> {
        let host = View::of_host()?;
        let wanted = match std::env::var("TEU_VIEW").as_deref() {
            Err(_) | Ok("") => host,
            Ok("hybrid") => View::Hybrid,
            Ok("v1") => View::V1,
            Ok("v2") => View::V2,
            Ok(other) => return Err(format!("TEU_VIEW is `{other}`, not hybrid, v1 or v2")),
        };
        unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| format!("unshare(CLONE_NEWNS): {errno}"))?;
        propagation("/", MsFlags::MS_PRIVATE)?;
        match (host, wanted) {
            (host, wanted) if host == wanted => {}
            (View::Hybrid, View::V1) => {
                for mount in mountinfo::of("self").map_err(|error| error.to_string())? {
                    if mount.fs == "cgroup2" {
                        detach(&mount.point)?;
                    }
                }
            }
            (_, View::V2) => {
                detach("/sys/fs/cgroup")?;
                mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), None::<&str>)
                    .map_err(|errno| format!("mount cgroup2: {errno}"))?;
            }
            (host, wanted) => return Err(format!("a {host} host cannot show the {wanted} view")),
        }
        propagation("/", MsFlags::MS_SHARED)?;
        Ok(wanted)
    }
}

fn propagation(path: &str, flag: MsFlags) -> Result<(), String> {
    mount(None::<&str>, path, None::<&str>, flag | MsFlags::MS_REC, None::<&str>)
        .map_err(|errno| format!("propagation of {path}: {errno}"))
}

fn detach(path: &str) -> Result<(), String> {
    umount2(path, MntFlags::MNT_DETACH).map_err(|errno| format!("umount {path}: {errno}"))
}

/// Mounts the tmpfs that holds the bundles of this run. It vanishes with the mount namespace.
pub fn mount_work_dir(dir: &Path) -> Result<(), String> {
    fs::create_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    mount(Some("teu-tests"), dir, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .map_err(|errno| format!("mount tmpfs on {}: {errno}", dir.display()))
}

/// Unmounts the work directory and removes its mount point.
pub fn remove_work_dir(dir: &Path) -> Result<(), String> {
    umount2(dir, MntFlags::MNT_DETACH).map_err(|errno| format!("umount {}: {errno}", dir.display()))?;
    fs::remove_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))
}
