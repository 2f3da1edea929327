//! Making the cgroups of a container, and taking them away again when that fails halfway.

use super::dir::Dir;
use super::layout::{Hierarchy, Layout};
use super::systemd::Manager;
use super::{Cgroup, Member, process, tree};
use crate::error::{Errno, Error, Kind, Result};
use crate::plan::cgroup::path::POINTER;
use crate::plan::cgroup::settings::Version;
use crate::plan::cgroup::{CgroupPath, CgroupPlan, Controller, Driver, Mode};

/// What engines and users look for when an unprivileged caller asks for limits.
const ROOTLESS_HINT: &str =
    "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";

/// A directory that was made here: where, and its name.
struct Made {
    parent: Dir,
    name: String,
}

impl Cgroup {
    /// What will be made, so that it can be written down before. `manager` is that of the systemd driver.
    pub fn planned(plan: &CgroupPlan, layout: &Layout, manager: Option<&Manager>) -> Cgroup {
        let mut members = Vec::new();
        if plan.driver != Driver::Disabled {
            for hierarchy in layout.hierarchies() {
                let mut path = hierarchy.mount_point.clone();
                path.extend(names_in(plan, layout.mode(), hierarchy, manager));
                let root = hierarchy.mount_point.clone();
                members.push(Member { keys: hierarchy.keys(), root, path, dir: None });
            }
        }
        Cgroup { members }
    }

    /// Makes the directories and enables controllers down to them. Nothing is limited yet.
    ///
    /// An unprivileged caller who asks for nothing gets what is permitted, possibly nothing at all.
    /// Errors: the cgroup is in use or frozen; the kernel refuses. What was made before the error is removed.
    pub fn create(plan: &CgroupPlan, layout: &Layout) -> Result<Cgroup> {
        make_all(plan, layout, &|hierarchy| names_in(plan, layout.mode(), hierarchy, None), None)
    }
}

/// Makes, or opens what systemd has made: in each hierarchy the directory with these names.
///
/// `tenant` is a process that may be in it already.
pub(super) fn make_all(
    plan: &CgroupPlan,
    layout: &Layout,
    names: &dyn Fn(&Hierarchy) -> Vec<String>,
    tenant: Option<i32>,
) -> Result<Cgroup> {
    let mut cgroup = Cgroup::default();
    if plan.driver == Driver::Disabled {
        return Ok(cgroup);
    }
    if layout.hierarchies().is_empty() && !plan.may_go_without() {
        return Err(Error::new(Kind::Kernel, "no cgroup hierarchy is mounted")
            .hint("mount cgroup2 on /sys/fs/cgroup"));
    }
    let mut made = Vec::new();
    for hierarchy in layout.hierarchies() {
        match make(hierarchy, &names(hierarchy), plan, tenant, &mut made) {
            Ok(dir) => cgroup.members.push(Member {
                keys: hierarchy.keys(),
                root: hierarchy.mount_point.clone(),
                path: dir.path().to_owned(),
                dir: Some(dir),
            }),
            Err(error) if plan.rootless && !plan.path_requested && is_refusal(&error) => {}
            Err(error) => {
                undo(made);
                let error = error.within("unable to apply cgroup configuration");
                return Err(match error.errno() {
                    _ if plan.rootless && is_refusal(&error) => error.hint(ROOTLESS_HINT),
                    Some(Errno::EROFS) => error.hint(
                        "an outer container that is to have containers needs its cgroups writable (--privileged); \
                         --cgroup-manager disabled goes without them",
                    ),
                    _ => error,
                });
            }
        }
    }
    if cgroup.members.is_empty() && !plan.may_go_without() {
        return Err(Error::new(Kind::Kernel, ROOTLESS_HINT).at(POINTER));
    }
    Ok(cgroup)
}

/// Whether the caller lacks permission, or the hierarchy is mounted read-only.
fn is_refusal(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS))
}

/// The names from the root of a hierarchy to the cgroup of the container.
fn names_in(plan: &CgroupPlan, mode: Mode, hierarchy: &Hierarchy, manager: Option<&Manager>) -> Vec<String> {
    match &plan.path {
        CgroupPath::Absolute(names) => names.clone(),
        CgroupPath::Relative(names) => {
            let mut start = hierarchy.own.clone().unwrap_or_default();
            // The caller is in its own cgroup, so controllers cannot be enabled below it.
            if mode == Mode::V2 {
                start.pop();
            }
            start.extend(names.iter().cloned());
            start
        }
        CgroupPath::Unit(unit) => {
            let mut names = manager.map(|manager| manager.root().to_owned()).unwrap_or_default();
            names.extend(unit.components());
            names
        }
    }
}

/// Makes one directory after the other and returns the last, checked.
fn make(
    hierarchy: &Hierarchy,
    names: &[String],
    plan: &CgroupPlan,
    tenant: Option<i32>,
    made: &mut Vec<Made>,
) -> Result<Dir> {
    let mut dir = Dir::open_root(&hierarchy.mount_point).map_err(|errno| {
        Error::kernel(
            format!("open the cgroup hierarchy {}", hierarchy.mount_point.display()),
            "openat2(2)",
            errno,
        )
    })?;
    let is_cpuset = hierarchy.controllers.iter().any(|name| name == "cpuset");
    let mut was_there = true;
    for name in names {
        if hierarchy.version == Version::V2 {
            enable_controllers(&dir)?;
        }
        match dir.make_child(name) {
            Ok(()) => {
                let parent = dir.reopen().map_err(|errno| dir.error("open", ".", "openat2(2)", errno))?;
                made.push(Made { parent, name: name.clone() });
                was_there = false;
            }
            Err(Errno::EEXIST) => was_there = true,
            Err(errno) => return Err(dir.error("make the cgroup", name, "mkdirat(2)", errno).at(POINTER)),
        }
        let child =
            dir.child(name).map_err(|errno| dir.error("open the cgroup", name, "openat2(2)", errno))?;
        if is_cpuset {
            inherit_cpuset(&dir, &child)?;
        }
        dir = child;
    }
    if was_there {
        check_unused(&dir, tenant)?;
    }
    check_thawed(&dir)?;
    if hierarchy.version == Version::V2 {
        check_type(&dir, plan)?;
    }
    Ok(dir)
}

/// A container must not share its cgroup: what is there would be limited and killed with it.
fn check_unused(dir: &Dir, tenant: Option<i32>) -> Result<()> {
    let mut pids = tree::pids(dir).map_err(|errno| dir.error("read", "cgroup.procs", "read(2)", errno))?;
    pids.retain(|pid| Some(*pid) != tenant);
    if !pids.is_empty() {
        return Err(Error::state(format!(
            "container's cgroup is not empty: {} process(es) found",
            pids.len()
        ))
        .at(POINTER)
        .hint(format!("see {}/cgroup.procs", dir.path().display())));
    }
    Ok(())
}

/// In a cgroup that is frozen, by itself or through one above it, nothing would ever run.
fn check_thawed(dir: &Dir) -> Result<()> {
    if process::stands_still(dir).unwrap_or(false) {
        return Err(Error::state("container's cgroup unexpectedly frozen")
            .at(POINTER)
            .hint(format!("{} or a cgroup above it is frozen", dir.path().display())));
    }
    Ok(())
}

/// Enables for the children of `dir` whatever is available in it.
///
/// A controller that cannot be enabled is not an error here: a limit that needs it is, when its file is missing.
fn enable_controllers(dir: &Dir) -> Result<()> {
    let available = dir.read_file("cgroup.controllers")?;
    let enabled = dir.read_file("cgroup.subtree_control")?;
    let wanted: Vec<String> = available
        .split_whitespace()
        .filter(|name| !enabled.split_whitespace().any(|other| other == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if !wanted.is_empty() && dir.write("cgroup.subtree_control", &wanted.join(" ")).is_err() {
        for name in &wanted {
            let _ = dir.write("cgroup.subtree_control", name);
        }
    }
    Ok(())
}

/// Below a threaded cgroup only threaded cgroups hold processes, and those have no limits of memory and the like.
fn check_type(dir: &Dir, plan: &CgroupPlan) -> Result<()> {
    let kind = dir.read_file("cgroup.type")?;
    let kind = kind.trim();
    if kind == "domain" || kind == "domain threaded" && domain_setting(plan).is_none() {
        return Ok(());
    }
    if let Some(setting) = domain_setting(plan) {
        let problem =
            format!("a cgroup of type \"{kind}\" has no controller {}", setting.controller.v2_name());
        return Err(Error::config(setting.pointer.clone(), problem));
    }
    if kind == "domain invalid" {
        dir.write_file("cgroup.type", "threaded")?;
    }
    Ok(())
}

/// A setting that only a domain can have.
fn domain_setting(plan: &CgroupPlan) -> Option<&crate::plan::cgroup::Setting> {
    use Controller::{Blkio, Hugetlb, Memory, Misc, Rdma};
    plan.settings.iter().find(|setting| matches!(setting.controller, Memory | Blkio | Hugetlb | Rdma | Misc))
}

/// On version 1 a cpuset starts without processors and memory nodes, and no process can enter it.
fn inherit_cpuset(parent: &Dir, child: &Dir) -> Result<()> {
    // A hierarchy mounted with `noprefix` has short names.
    let prefix = if child.has("cpuset.cpus") { "cpuset." } else { "" };
    for name in ["cpus", "mems"] {
        let file = format!("{prefix}{name}");
        if child.read_file(&file)?.trim().is_empty() {
            child.write_file(&file, parent.read_file(&file)?.trim())?;
        }
    }
    Ok(())
}

/// Removes what was made, the last first. It is empty, and an ancestor that someone else uses by now stays.
fn undo(made: Vec<Made>) {
    for Made { parent, name } in made.into_iter().rev() {
        let _ = parent.remove_child(&name);
    }
}
