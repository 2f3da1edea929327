//! The picture of cgroups that the tests see.

use std::fmt;
use std::fs;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

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
    /// What is mounted now.
    pub fn now() -> Result<View, String> {
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

    /// Mounts the view that `TEU_VIEW` names, or leaves the one of the host.
    ///
    /// Call it in a private mount namespace. Errors: a sentence; also when the host cannot show that view.
    pub fn enter() -> Result<View, String> {
        let host = View::now()?;
        let wanted = match std::env::var("TEU_VIEW").as_deref() {
            Err(_) | Ok("") => host,
            Ok("hybrid") => View::Hybrid,
            Ok("v1") => View::V1,
            Ok("v2") => View::V2,
            Ok(other) => return Err(format!("TEU_VIEW is `{other}`, not hybrid, v1 or v2")),
        };
        match (host, wanted) {
            (host, wanted) if host == wanted => {}
            (View::Hybrid, View::V1) => {
                let mounts = mountinfo::of("self").map_err(|error| error.to_string())?;
                detach("/sys/fs/cgroup")?;
                mount_on("tmpfs", "/sys/fs/cgroup", "mode=755")?;
                for hierarchy in mounts.iter().filter(|m| m.fs == "cgroup") {
                    fs::create_dir(&hierarchy.point)
                        .map_err(|error| format!("{}: {error}", hierarchy.point))?;
                    let controllers: Vec<&str> =
                        hierarchy.super_options.iter().map(String::as_str).filter(|o| *o != "rw").collect();
                    mount_on("cgroup", &hierarchy.point, &controllers.join(","))?;
                }
            }
            (_, View::V2) => {
                detach("/sys/fs/cgroup")?;
                mount_on("cgroup2", "/sys/fs/cgroup", "")?;
            }
            (host, wanted) => return Err(format!("a {host} host cannot show the {wanted} view")),
        }
        Ok(wanted)
    }
}

fn detach(path: &str) -> Result<(), String> {
    umount2(path, MntFlags::MNT_DETACH).map_err(|errno| format!("umount {path}: {errno}"))
}

fn mount_on(kind: &str, point: &str, options: &str) -> Result<(), String> {
    mount(Some(kind), point, Some(kind), MsFlags::empty(), Some(options))
        .map_err(|errno| format!("mount {kind} on {point}: {errno}"))
}
