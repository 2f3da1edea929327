//! Tests against the real hierarchies of the machine they run on, as root: `cargo test -- --ignored cgroup`.
//!
//! They work in any mode. For a look at cgroup2 alone on a hybrid machine run them in a mount namespace with
//! cgroup2 on /sys/fs/cgroup.

use std::process::{Child, Command};

use oci_spec::runtime::{Linux, LinuxResources};

use super::*;
use crate::plan::cgroup::{Driver, Request, plan_cgroup};

/// A container's worth of cgroup with sleeping processes, removed at the end whatever happens.
struct Trial {
    cgroup: Cgroup,
    children: Vec<Child>,
}

impl Trial {
    fn new(name: &str, resources: &str) -> Result<Trial> {
        let layout = Layout::read()?;
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let mut linux = Linux::default();
        linux.set_resources(Some(resources));
        linux.set_cgroups_path(Some(format!("/teu-test-{}/{name}", std::process::id()).into()));
        let request = Request {
            id: name,
            linux: Some(&linux),
            driver: Driver::Cgroupfs,
            mode: layout.mode(),
            unified: layout.unified_controllers(),
            ..Request::default()
        };
        let plan = plan_cgroup(&request)?;
        let cgroup = Cgroup::create(&plan, &layout)?;
        assert_eq!(Cgroup::paths_before_create(&plan, &layout)?, cgroup.paths());
        let trial = Trial { cgroup, children: Vec::new() };
        trial.cgroup.apply(&plan)?;
        Ok(trial)
    }

    fn add_process(&mut self) -> i32 {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().cast_signed();
        self.children.push(child);
        self.cgroup.attach(pid, false).unwrap();
        pid
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = self.cgroup.remove();
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for path in self.cgroup.paths().values() {
            let _ = std::fs::remove_dir(path.parent().unwrap());
        }
    }
}

#[test]
#[ignore = "needs root and cgroups"]
fn processes_are_listed_frozen_killed_and_the_cgroup_is_removed() {
    let mut trial = Trial::new("life", "{}").unwrap();
    let first = trial.add_process();
    let second = trial.add_process();
    let mut pids = vec![first, second];
    pids.sort_unstable();
    assert_eq!(trial.cgroup.pids().unwrap(), pids);
    assert!(!trial.cgroup.is_frozen().unwrap());
    trial.cgroup.freeze().unwrap();
    assert!(trial.cgroup.is_frozen().unwrap());
    let reopened = Cgroup::open(&trial.cgroup.paths());
    assert!(reopened.exists() && reopened.is_frozen().unwrap());
    assert_eq!(reopened.pids().unwrap(), pids);
    reopened.thaw().unwrap();
    assert!(!trial.cgroup.is_frozen().unwrap());
    trial.cgroup.freeze().unwrap();
    reopened.kill_all(9).unwrap();
    for child in &mut trial.children {
        assert!(!child.wait().unwrap().success());
    }
    assert_eq!(trial.cgroup.pids().unwrap(), Vec::<i32>::new());
    reopened.remove().unwrap();
    assert!(!trial.cgroup.exists());
    reopened.remove().unwrap();
}

#[test]
#[ignore = "needs root and cgroups"]
fn a_cgroup_in_use_or_frozen_is_refused() {
    let mut trial = Trial::new("used", "{}").unwrap();
    trial.add_process();
    let error = Trial::new("used", "{}").err().unwrap().to_string();
    assert!(error.contains("container's cgroup is not empty: 1 process(es) found"), "{error}");
    trial.cgroup.kill_all(9).unwrap();
    trial.children[0].wait().unwrap();
    trial.cgroup.freeze().unwrap();
    let error = Trial::new("used", "{}").err().unwrap().to_string();
    assert!(error.contains("container's cgroup unexpectedly frozen"), "{error}");
}

#[test]
#[ignore = "needs root and cgroups"]
fn nested_cgroups_are_removed_with_their_processes() {
    let mut trial = Trial::new("nested", "{}").unwrap();
    trial.add_process();
    for dir in trial.cgroup.dirs() {
        dir.make_child("a").unwrap();
        dir.child("a").unwrap().make_child("b").unwrap();
        dir.make_child("c").unwrap();
    }
    let pid = trial.children[0].id().cast_signed();
    for dir in trial.cgroup.dirs() {
        if !dir.path().to_string_lossy().contains("cpuset") {
            dir.child("a/b").unwrap().write("cgroup.procs", &pid.to_string()).unwrap();
        }
    }
    assert_eq!(trial.cgroup.pids().unwrap(), [pid]);
    trial.cgroup.remove().unwrap();
    assert!(!trial.cgroup.exists());
}

#[test]
#[ignore = "needs root and cgroups"]
fn the_commands_own_cgroup_is_neither_killed_nor_removed() {
    let layout = Layout::read().unwrap();
    let roots = layout
        .hierarchies()
        .iter()
        .map(|hierarchy| (hierarchy.keys().remove(0), hierarchy.mount_point.clone()));
    let cgroup = Cgroup::open(&roots.collect());
    assert!(cgroup.dirs().next().is_none(), "the root of a hierarchy is never opened");
    let mut trial = Trial::new("own", "{}").unwrap();
    // A child that stands in for the command: the guard compares with its own process number.
    let pid = trial.add_process();
    assert!(trial.cgroup.check_not_ours().is_ok());
    let own = std::process::id().cast_signed();
    assert_ne!(pid, own);
    let back: Vec<(PathBuf, String)> = layout
        .hierarchies()
        .iter()
        .map(|hierarchy| (hierarchy.mount_point.clone(), hierarchy.own.clone().unwrap_or_default().join("/")))
        .collect();
    trial.cgroup.attach(own, false).unwrap();
    let refused = (trial.cgroup.kill_all(9), trial.cgroup.remove());
    for (mount_point, path) in back {
        std::fs::write(mount_point.join(path).join("cgroup.procs"), own.to_string()).unwrap();
    }
    assert!(refused.0.unwrap_err().to_string().contains("contains this very command"));
    assert!(refused.1.is_err());
    assert!(trial.cgroup.exists());
}
