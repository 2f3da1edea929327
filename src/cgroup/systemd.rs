//! The systemd cgroup driver: a transient unit around the init process instead of directories of our own making.
//!
//! A scope cannot exist without a process, so it is made after the clone, and the child waits until it is inside.
//! Limits are properties of the unit and are written into its files too. Not here: which properties those are (that
//! is `plan::cgroup::systemd`).

mod address;
mod bus;
mod manager;
mod message;

pub use self::manager::Manager;
use super::create::make_all;
use super::layout::Layout;
use super::{Before, Cgroup};
use crate::error::{Errno, Error, Kind, Result};
use crate::plan::cgroup::path::{POINTER, Unit};
use crate::plan::cgroup::settings::Version;
use crate::plan::cgroup::systemd::limits;
use crate::plan::cgroup::update::Update;
use crate::plan::cgroup::{CgroupPlan, Driver};

/// How long systemd may take to stop a unit whose processes are dead.
const STOPPED_SOON: std::time::Duration = bus::PATIENCE;

/// Connects to the manager that makes the cgroup; nothing for other drivers.
pub fn connect(plan: &CgroupPlan) -> Result<Option<Manager>> {
    match plan.driver {
        Driver::Systemd => Manager::connect(plan.rootless).map(Some),
        Driver::Cgroupfs | Driver::Disabled => Ok(None),
    }
}

/// Starts the unit around the process `pid` and puts that into the hierarchies that systemd does not manage.
///
/// Errors: systemd refuses, fails or does not answer; the process is not where it should be.
pub fn start(manager: &mut Manager, plan: &CgroupPlan, layout: &Layout, pid: i32) -> Result<Cgroup> {
    let unit = plan.unit().ok_or_else(|| Error::new(Kind::Bug, "the plan has no unit"))?;
    let first = if unit.is_slice() { None } else { u32::try_from(pid).ok() };
    manager.start(&unit.name, &plan.properties, first)?;
    let names = if unit.is_slice() {
        let mut names = manager.root().to_owned();
        names.extend(unit.components());
        names
    } else {
        names_of(unit, pid)?
    };
    let cgroup = make_all(plan, layout, &|_| names.clone(), Some(pid))?;
    if plan.rootless {
        cgroup.attach_where_permitted(pid);
    } else {
        cgroup.attach(pid, false).inspect_err(|_| cgroup.remove_unused())?;
    }
    Ok(cgroup)
}

/// Where the kernel says that the process is, which must be in the unit.
fn names_of(unit: &Unit, pid: i32) -> Result<Vec<String>> {
    let layout = Layout::of_process(pid)?;
    let managed = layout
        .hierarchies()
        .iter()
        .find(|hierarchy| hierarchy.controllers.iter().any(|name| name == "name=systemd"))
        .or_else(|| layout.hierarchies().iter().find(|hierarchy| hierarchy.version == Version::V2));
    let names = managed.and_then(|hierarchy| hierarchy.own.clone()).unwrap_or_default();
    if names.ends_with(&unit.components()) {
        return Ok(names);
    }
    let doing = format!("systemd did not put the process into the unit {}", unit.name);
    Err(Error::new(Kind::Systemd, doing).at(POINTER).detail(format!("it is in /{}", names.join("/"))))
}

/// Lets systemd put one more process into a unit, at the path `below` in it.
///
/// For callers who may not move a process between cgroups themselves.
pub fn attach(unit: &str, of_user: bool, below: &str, pid: i32) -> Result<()> {
    let mut manager = Manager::connect(of_user)?;
    manager.attach(unit, below, u32::try_from(pid).unwrap_or_default())?;
    let layout = Layout::of_process(pid)?;
    let is_inside = layout
        .hierarchies()
        .iter()
        .any(|hierarchy| hierarchy.own.as_ref().is_some_and(|names| names.iter().any(|name| name == unit)));
    if is_inside {
        return Ok(());
    }
    Err(Error::new(Kind::Systemd, format!("systemd did not put the process into the unit {unit}")))
}

/// Takes a unit away that could not be completed. Its processes are dead; `planned` are the cgroups it was to have.
///
/// When the connection is lost a new one is tried: systemd may have made the unit without being able to say so, and
/// not every version sees that such a scope has ended. One with processes is somebody else's.
pub fn undo(manager: &mut Manager, unit: &Unit, of_user: bool, planned: &Cgroup) -> Result<()> {
    if !manager.is_lost() {
        return if manager.has_started() { manager.stop(&unit.name, STOPPED_SOON) } else { Ok(()) };
    }
    if unit.is_slice() {
        let doing = format!("the unit {} may be left", unit.name);
        return Err(Error::new(Kind::Systemd, doing).hint(format!(
            "{} stop {}",
            manager::of("systemctl", of_user),
            unit.name
        )));
    }
    if planned.pids().is_ok_and(|pids| pids.is_empty())
        && let Ok(mut again) = Manager::connect(of_user)
    {
        // The error that made this necessary is the one to tell.
        let _ = again.stop(&unit.name, STOPPED_SOON);
    }
    Ok(())
}

/// Stops the unit of a container whose processes are dead. What systemd cannot do is warned about.
///
/// Returns whether systemd is there and does not answer: then it ends the scope when it runs again, if only its cgroup
/// is still there to tell it. Without that the unit would stay for ever, and keep its name.
pub fn stop(unit: &str, of_user: bool) -> bool {
    let attempt = || {
        let mut manager = Manager::connect(of_user).map_err(|error| (error, false))?;
        manager.stop(unit, manager::PATIENCE).map_err(|error| (error, manager.is_lost()))
    };
    let timed_out = |error: &Error| error.errno() == Some(Errno::ETIMEDOUT);
    let stopped = match attempt() {
        // A bus that ends takes the question or the answer with it, and is started again.
        Err((error, _)) if !timed_out(&error) => attempt(),
        other => other,
    };
    let Err((error, was_lost)) = stopped else { return false };
    let hangs = was_lost || timed_out(&error);
    crate::log::warn(&error.within(format!("stop the unit {unit}")).to_string());
    hangs
}

/// Tells systemd the new limits of a container, before they are written into the files.
///
/// Errors: systemd refuses, or does not answer.
pub fn update(update: &Update, unit: &str, of_user: bool) -> Result<Change> {
    let properties = limits::properties(&update.settings);
    if properties.is_empty() {
        return Ok(Change(None));
    }
    let mut manager = Manager::connect(of_user)?;
    manager.set(unit, &properties)?;
    Ok(Change(Some((manager, unit.to_owned()))))
}

/// What systemd was told by an update.
#[derive(Debug, Default)]
pub struct Change(Option<(Manager, String)>);

impl Change {
    /// Tells systemd again what the files held before.
    pub fn put_back(&mut self, before: &Before) {
        if let Some((manager, unit)) = &mut self.0 {
            // The error that made this necessary is the one to tell.
            let _ = manager.set(unit, &limits::properties(before.settings()));
        }
    }
}
