//! The cgroup of a container: where it lies and what is written into its files.
//!
//! Pure: runs before anything happens and reads nothing. Conversions that depend on what a directory contains
//! (the name of the weight file, say) are written down as alternatives that `cgroup::apply` chooses from.
//! Chosen: one flat list of file settings for both hierarchies, so that the printed plan, the tests and the code
//! that writes all read the same thing. Not here: opening directories, talking to systemd, the order of create.

pub mod cpu;
#[cfg(test)]
pub(crate) mod device_table;
pub mod devices;
pub mod io;
pub mod memory;
pub mod path;
mod rest;
pub mod settings;
pub mod systemd;
#[cfg(test)]
pub(crate) mod tests;
pub mod update;

use std::collections::BTreeMap;

use oci_spec::runtime::{Linux, LinuxResources};

use crate::error::{Error, Result};
use crate::report::Report;
pub use path::CgroupPath;
pub use settings::{Controller, Setting};

/// How the host has mounted its cgroup hierarchies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One hierarchy for each controller, no cgroup2.
    V1,
    /// Controllers on version 1, processes also in a cgroup2 tree.
    Hybrid,
    /// One cgroup2 tree with every controller.
    #[default]
    V2,
}

/// Who makes the cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// The runtime makes directories itself.
    #[default]
    Cgroupfs,
    /// systemd makes a scope or slice unit.
    Systemd,
    /// No cgroup is made.
    Disabled,
}

/// What a plan of a cgroup is made from.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// The id of the container.
    pub id: &'a str,
    /// `linux` of `config.json`.
    pub linux: Option<&'a Linux>,
    /// Who makes the cgroup.
    pub driver: Driver,
    /// How the host has mounted its hierarchies.
    pub mode: Mode,
    /// In a hybrid layout the controllers that sit on the cgroup2 tree; see `Layout::unified_controllers`.
    pub unified: &'a [Controller],
    /// The caller lacks the privileges of the host's root.
    pub rootless: bool,
    /// Paths in `linux.devices`: a configured device takes the place of the default one and of its access rule.
    pub device_nodes: &'a [&'a str],
    /// `annotations`, some of which are properties of a systemd unit.
    pub annotations: Option<&'a BTreeMap<String, String>>,
}

/// Where the cgroup lies and what it is set to.
#[derive(Clone, Debug)]
pub struct CgroupPlan {
    /// Who makes the cgroup.
    pub driver: Driver,
    /// How the host has mounted its hierarchies.
    pub mode: Mode,
    /// In a hybrid layout the controllers that sit on the cgroup2 tree.
    pub unified: Vec<Controller>,
    /// Where it lies.
    pub path: CgroupPath,
    /// The resources as the config has them.
    pub resources: Option<LinuxResources>,
    /// What to write, in order.
    pub settings: Vec<Setting>,
    /// The device accesses that are permitted.
    pub devices: devices::Policy,
    /// With systemd: the properties of the unit, but for the process in it.
    pub properties: Vec<systemd::Property>,
    /// The caller lacks the privileges of the host's root.
    pub rootless: bool,
    /// The config names a path, so going without a cgroup is an error.
    pub path_requested: bool,
}

/// Decides where the cgroup of a container lies and what it is set to.
///
/// Errors: a value that is invalid or that this host's hierarchies cannot express, with its pointer.
/// Source: config-linux.md#cgroups-path, config-linux.md#control-groups.
pub fn plan_cgroup(request: &Request, report: &mut Report) -> Result<CgroupPlan> {
    let configured = request.linux.and_then(|linux| linux.cgroups_path().as_ref());
    let resources = request.linux.and_then(|linux| linux.resources().clone());
    let path = report.keep(path::plan_path(request, configured))?;
    let settings = match &resources {
        Some(resources) => settings::settings(resources, request.mode, request.unified, report)?,
        None => Vec::new(),
    };
    let rules = resources.as_ref().and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    let devices = devices::plan_devices(rules, request.device_nodes, report)?;
    let none = BTreeMap::new();
    let properties = match &path {
        Some(CgroupPath::Unit(unit)) => {
            let facts = systemd::Facts {
                id: request.id,
                unit,
                mode: request.mode,
                rootless: request.rootless,
                annotations: request.annotations.unwrap_or(&none),
                settings: &settings,
                policy: &devices,
            };
            systemd::properties(&facts, report)?
        }
        Some(CgroupPath::Absolute(_) | CgroupPath::Relative(_)) | None => Vec::new(),
    };
    Ok(CgroupPlan {
        driver: request.driver,
        mode: request.mode,
        unified: request.unified.to_vec(),
        path: path.unwrap_or(CgroupPath::Relative(Vec::new())),
        resources,
        settings,
        devices,
        properties,
        rootless: request.rootless,
        path_requested: configured.is_some_and(|path| !path.as_os_str().is_empty()),
    })
}

impl CgroupPlan {
    /// Whether a container may run without a cgroup when the caller is not permitted to make one.
    pub fn may_go_without(&self) -> bool {
        self.rootless && self.settings.is_empty() && !self.path_requested
    }

    /// The unit of systemd that the cgroup belongs to, when systemd makes it.
    pub fn unit(&self) -> Option<&path::Unit> {
        match &self.path {
            CgroupPath::Unit(unit) => Some(unit),
            CgroupPath::Absolute(_) | CgroupPath::Relative(_) => None,
        }
    }

    /// One line for each thing that would be made or written before the process exists, with the pointer that asks for
    /// it.
    pub fn lines(&self) -> Vec<(String, String)> {
        if self.driver == Driver::Disabled {
            return vec![("no cgroup".to_owned(), String::new())];
        }
        let mut lines = vec![(format!("cgroup {}", self.path), path::POINTER.to_owned())];
        lines.extend(
            self.properties.iter().map(|property| (format!("property {property}"), property.pointer.clone())),
        );
        if self.unit().is_some_and(|unit| !unit.is_slice()) {
            lines.push(("property PIDs = [the init process]".to_owned(), path::POINTER.to_owned()));
        }
        lines.extend(self.settings.iter().map(|setting| (setting.to_string(), setting.pointer.clone())));
        lines
    }

    /// The same for the filter of devices, which follows when the process exists.
    pub fn device_lines(&self) -> Vec<(String, String)> {
        if self.driver == Driver::Disabled {
            return Vec::new();
        }
        let lines = self.devices.to_lines().into_iter();
        lines.map(|line| (format!("devices: {line}"), devices::POINTER.to_owned())).collect()
    }
}

/// An invalid value of `config.json` at `pointer`.
pub(crate) fn invalid(pointer: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::config(pointer, problem.into())
}
