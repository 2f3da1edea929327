//! Cgroups of the test containers, in every hierarchy that is mounted.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Driver, driver, mountinfo, session};

/// One mounted hierarchy.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Its controllers; for version 2 those in `cgroup.controllers`. `name=systemd` counts as one.
    pub controllers: Vec<String>,
    /// Whether it is version 2.
    pub v2: bool,
}

impl Hierarchy {
    /// The cgroup of a container of the tests, which is named after its id.
    pub fn of(&self, id: &str) -> PathBuf {
        self.at(&format!("/{id}"))
    }

    /// The cgroup of a container with this `cgroupsPath`.
    pub fn at(&self, path: &str) -> PathBuf {
        self.point.join(session().driver.place(path, session().caller))
    }
}

/// All hierarchies, in the order of mountinfo.
pub fn hierarchies() -> Vec<Hierarchy> {
    let mounts = mountinfo::of("self").expect("own mountinfo can be read");
    mounts
        .iter()
        .filter(|m| m.point.starts_with("/sys/fs/cgroup"))
        .filter_map(|m| {
            let point = PathBuf::from(&m.point);
            match m.fs.as_str() {
                "cgroup" => Some(Hierarchy { point, controllers: m.super_options.clone(), v2: false }),
                "cgroup2" => {
                    let from = match session().driver {
                        Driver::Systemd => point.join(driver::manager(session().caller)),
                        Driver::Cgroupfs => point.clone(),
                    };
                    let text = fs::read_to_string(from.join("cgroup.controllers")).unwrap_or_default();
                    let controllers = text.split_whitespace().map(str::to_owned).collect();
                    Some(Hierarchy { point, controllers, v2: true })
                }
                _ => None,
            }
        })
        .collect()
}

/// The hierarchy that has a controller, if any.
pub fn hierarchy(controller: &str) -> Option<Hierarchy> {
    hierarchies().into_iter().find(|h| h.controllers.iter().any(|c| c == controller))
}

/// All cgroups below the mounted hierarchies whose own name contains `part`, parents before children.
pub fn find(part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        walk(&hierarchy.point, part, false, &mut found);
    }
    found
}

fn walk(dir: &Path, part: &str, inside: bool, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let inside = inside || entry.file_name().to_string_lossy().contains(part);
            if inside {
                found.push(entry.path());
            }
            walk(&entry.path(), part, inside, found);
        }
    }
}

/// The pids in a cgroup directory; none when it is gone.
pub fn procs(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Freezes or thaws a container's cgroup, with the version 2 file where there is one.
pub fn freeze(id: &str, frozen: bool) {
    let (dir, v2) = freezer(id);
    let (file, value) = match (v2, frozen) {
        (true, true) => ("cgroup.freeze", "1"),
        (true, false) => ("cgroup.freeze", "0"),
        (false, true) => ("freezer.state", "FROZEN"),
        (false, false) => ("freezer.state", "THAWED"),
    };
    fs::write(dir.join(file), value).unwrap_or_else(|error| panic!("{}/{file}: {error}", dir.display()));
}

/// The directory of a container in the hierarchy that freezes, and whether that is version 2.
pub fn freezer(id: &str) -> (PathBuf, bool) {
    match hierarchy("freezer") {
        Some(v1) => (v1.of(id), false),
        None => {
            let v2 = hierarchies().into_iter().find(|h| h.v2).expect("a freezer is mounted");
            (v2.of(id), true)
        }
    }
}
