//! Which hierarchies this host has, where they are mounted, and where the caller is in them.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::mountinfo::Line;
use crate::plan::cgroup::settings::Version;
use crate::plan::cgroup::{Controller, Mode};

/// The hierarchies as the caller sees them.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    mode: Mode,
    hierarchies: Vec<Hierarchy>,
    unified_controllers: Vec<Controller>,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Which kind it is.
    pub version: Version,
    /// Its controllers: `cpu` and `cpuacct` when mounted together, `name=systemd`, or nothing for cgroup2.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The cgroup of the caller, as names below the mount point; nothing when it lies outside of the mount.
    pub own: Option<Vec<String>>,
}

impl Layout {
    /// Reads what the caller sees.
    pub fn read() -> Result<Layout> {
        Layout::read_with("/proc/self/cgroup")
    }

    /// The hierarchies as the caller sees them, with the cgroups of another process.
    pub(super) fn of_process(pid: i32) -> Result<Layout> {
        Layout::read_with(&format!("/proc/{pid}/cgroup"))
    }

    fn read_with(own: &str) -> Result<Layout> {
        let read = |path: &str| {
            crate::sys::path::read_text(path)
                .map_err(|error| Error::io(format!("read {path}"), "read(2)", &error))
        };
        let mut layout = parse(&read("/proc/self/mountinfo")?, &read(own)?);
        if layout.mode == Mode::Hybrid
            && let Some(unified) = layout.unified()
        {
            let path = unified.mount_point.join("cgroup.controllers");
            // The file is missing on a mount of a cgroup namespace that is gone; then there are none.
            let names = std::fs::read_to_string(path).unwrap_or_default();
            layout.unified_controllers =
                names.split_whitespace().filter_map(Controller::from_v2_name).collect();
        }
        Ok(layout)
    }

    /// How the hierarchies are mounted.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// In a hybrid layout the controllers that sit on the cgroup2 tree.
    pub fn unified_controllers(&self) -> &[Controller] {
        &self.unified_controllers
    }

    /// The mounted hierarchies.
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// The cgroup2 hierarchy, when there is one.
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V2)
    }
}

impl Hierarchy {
    /// The keys under which the state names the hierarchy: one for each controller, empty for cgroup2.
    pub fn keys(&self) -> Vec<String> {
        match self.version {
            Version::V2 => vec![String::new()],
            Version::V1 => self.controllers.clone(),
        }
    }
}

/// The names of a path below a mount point.
pub(super) fn names_below(path: &Path, root: &Path) -> Option<Vec<String>> {
    let names = path.strip_prefix(root).ok()?;
    names.iter().map(|name| name.to_str().map(str::to_owned)).collect()
}

/// Controllers that a container joins; others (`debug`) are left alone.
const KNOWN: &[&str] = &[
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "misc",
    "name=systemd",
];

struct Mount {
    root: String,
    mount_point: PathBuf,
    version: Version,
    options: String,
}

fn parse(mountinfo: &str, own: &str) -> Layout {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(parse_mount).collect();
    let unified_at_usual_place = mounts
        .iter()
        .rfind(|mount| mount.mount_point == Path::new("/sys/fs/cgroup"))
        .is_some_and(|mount| mount.version == Version::V2);
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let version = if controllers.is_empty() { Version::V2 } else { Version::V1 };
        let controllers: Vec<String> =
            controllers.split(',').filter(|name| KNOWN.contains(name)).map(str::to_owned).collect();
        if version == Version::V1 && (controllers.is_empty() || unified_at_usual_place) {
            continue;
        }
        if let Some(mount) = best_mount(&mounts, version, &controllers) {
            let own = below(path, &mount.root);
            let mount_point = mount.mount_point.clone();
            hierarchies.push(Hierarchy { version, controllers, mount_point, own });
        }
    }
    let has = |version| hierarchies.iter().any(|hierarchy| hierarchy.version == version);
    let mode = match (has(Version::V1), has(Version::V2)) {
        (true, true) => Mode::Hybrid,
        (true, false) => Mode::V1,
        (false, _) => Mode::V2,
    };
    Layout { mode, hierarchies, unified_controllers: Vec::new() }
}

/// The mount that shows most of the hierarchy: the root of it below the usual place, if there is such a mount.
fn best_mount<'a>(mounts: &'a [Mount], version: Version, controllers: &[String]) -> Option<&'a Mount> {
    let fits = |mount: &&Mount| {
        mount.version == version
            && (version == Version::V2
                || controllers.iter().all(|name| mount.options.split(',').any(|option| option == name)))
    };
    let usual = |mount: &Mount| mount.mount_point.starts_with("/sys/fs/cgroup");
    let rank = |mount: &&Mount| (mount.root == "/", usual(mount));
    // The later of equals, because it may cover the earlier.
    mounts.iter().filter(fits).max_by_key(rank)
}

fn parse_mount(line: &str) -> Option<Mount> {
    let line = Line::parse(line)?;
    let version = match line.fstype {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let options = line.super_options.to_owned();
    Some(Mount { root: line.root(), mount_point: line.mount_point(), version, options })
}

/// The names of `path` below `root`; nothing when it is not below it.
fn below(path: &str, root: &str) -> Option<Vec<String>> {
    let mut names = path.split('/').filter(|name| !name.is_empty());
    for expected in root.split('/').filter(|name| !name.is_empty()) {
        if names.next() != Some(expected) {
            return None;
        }
    }
    let names: Vec<String> = names.map(str::to_owned).collect();
    // A cgroup namespace shows what is outside of it with dots.
    if names.iter().any(|name| name == "..") { None } else { Some(names) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_hybrid_host_has_both_kinds() {
        let own = "9:name=systemd:/a\n4:memory:/b/c\n1:cpu,cpuacct:/\n7:debug:/\n0::/\n";
        let layout = parse(HYBRID, own);
        assert_eq!(layout.mode(), Mode::Hybrid);
        let cpu = layout.hierarchies().iter().find(|hierarchy| hierarchy.controllers[0] == "cpu").unwrap();
        assert_eq!(cpu.keys(), names(&["cpu", "cpuacct"]));
        assert_eq!(cpu.mount_point, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        let memory =
            layout.hierarchies().iter().find(|hierarchy| hierarchy.controllers == ["memory"]).unwrap();
        assert_eq!(memory.own, Some(names(&["b", "c"])));
        assert_eq!(layout.unified().unwrap().mount_point, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(layout.hierarchies().len(), 4);
    }

    #[test]
    fn without_cgroup2_the_mode_is_v1() {
        let mounts = HYBRID.lines().filter(|line| !line.contains("cgroup2")).collect::<Vec<_>>().join("\n");
        assert_eq!(parse(&mounts, "4:memory:/\n0::/\n").mode(), Mode::V1);
    }

    #[test]
    fn cgroup2_at_the_usual_place_decides() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n\
                      31 30 0:40 / /mnt/net\\040cls rw - cgroup cgroup rw,net_cls\n";
        let layout = parse(mounts, "2:net_cls:/\n0::/user.slice/a.scope\n");
        assert_eq!(layout.mode(), Mode::V2);
        assert_eq!(layout.hierarchies().len(), 1);
        assert_eq!(layout.unified().unwrap().own, Some(names(&["user.slice", "a.scope"])));
    }

    #[test]
    fn a_mount_of_a_part_hides_what_is_above() {
        let mounts = "30 23 0:26 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(parse(mounts, "0::/docker/x/y\n").unified().unwrap().own, Some(names(&["y"])));
        assert_eq!(parse(mounts, "0::/other\n").unified().unwrap().own, None);
        assert_eq!(parse(mounts, "0::/docker/x/../y\n").unified().unwrap().own, None);
    }
}
