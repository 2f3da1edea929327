//! `linux.resources` as a list of files and values.

use std::fmt;

use oci_spec::runtime::LinuxResources;

use super::{Mode, cpu, invalid, io, memory, rest};
use crate::error::Result;
use crate::report::Report;

/// A controller, by its name on version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the names say it
pub enum Controller {
    Pids,
    Memory,
    Blkio,
    Cpu,
    Cpuset,
    Hugetlb,
    Rdma,
    NetCls,
    NetPrio,
    Misc,
    /// A file of cgroup2 that no section of the config knows.
    Other,
}

impl Controller {
    /// Its name in a v1 mount.
    pub fn v1_name(self) -> &'static str {
        match self {
            Controller::Pids => "pids",
            Controller::Memory => "memory",
            Controller::Blkio => "blkio",
            Controller::Cpu => "cpu",
            Controller::Cpuset => "cpuset",
            Controller::Hugetlb => "hugetlb",
            Controller::Rdma => "rdma",
            Controller::NetCls => "net_cls",
            Controller::NetPrio => "net_prio",
            Controller::Misc => "misc",
            Controller::Other => "cgroup",
        }
    }

    /// Its name in `cgroup.controllers`.
    pub fn v2_name(self) -> &'static str {
        match self {
            Controller::Blkio => "io",
            other => other.v1_name(),
        }
    }

    /// The controller with this name in `cgroup.controllers`, among those that have settings.
    pub fn from_v2_name(name: &str) -> Option<Controller> {
        use Controller::*;
        [Pids, Memory, Blkio, Cpu, Cpuset, Hugetlb, Rdma, Misc]
            .into_iter()
            .find(|controller| controller.v2_name() == name)
    }
}

/// The version of a hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller.
    V1,
    /// The one cgroup2 hierarchy.
    V2,
}

/// What a missing file means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The limit cannot be set: an error.
    Error,
    /// Nothing is lost.
    Ignore,
    /// Another file takes the value, in its own form.
    Instead(String, String),
}

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Which controller has the file.
    pub controller: Controller,
    /// Which kind of hierarchy it sits on.
    pub version: Version,
    /// The name of the file.
    pub file: String,
    /// What is written, in one write.
    pub value: String,
    /// Where `config.json` asks for it.
    pub pointer: String,
    /// What a missing file means.
    pub missing: Missing,
    /// The kernel may refuse the value until the later values of the same controller are set: try again then.
    pub retry_last: bool,
}

impl Setting {
    pub(super) fn missing(mut self, missing: Missing) -> Setting {
        self.missing = missing;
        self
    }

    pub(super) fn retry_last(mut self) -> Setting {
        self.retry_last = true;
        self
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.file, self.value)?;
        match &self.missing {
            Missing::Error => Ok(()),
            Missing::Ignore => write!(f, " [when the file is there]"),
            Missing::Instead(file, value) => write!(f, " [without that file: {file} = {value}]"),
        }
    }
}

/// Collects settings of one controller.
pub(super) struct Section<'a> {
    pub controller: Controller,
    pub version: Version,
    /// The pointer of the part of the config, such as `/linux/resources/memory`.
    pub pointer: &'static str,
    pub settings: &'a mut Vec<Setting>,
    pub report: &'a mut Report,
}

impl Section<'_> {
    /// The pointer of one field.
    pub fn at(&self, field: &str) -> String {
        format!("{}/{field}", self.pointer)
    }

    /// Adds one setting that must succeed.
    pub fn set(&mut self, field: &str, file: impl Into<String>, value: impl fmt::Display) {
        let setting = self.setting(field, file, value);
        self.settings.push(setting);
    }

    /// One setting that must succeed, to be refined.
    pub fn setting(&self, field: &str, file: impl Into<String>, value: impl fmt::Display) -> Setting {
        Setting {
            controller: self.controller,
            version: self.version,
            file: file.into(),
            value: value.to_string(),
            pointer: self.at(field),
            missing: Missing::Error,
            retry_last: false,
        }
    }

    /// Tells an error, or ends with it.
    pub fn refuse(&mut self, field: &str, problem: impl Into<String>) -> Result<()> {
        let error = invalid(self.at(field), problem);
        self.report.refuse(error)
    }

    /// Notes a field without effect.
    pub fn warn(&mut self, field: &str, text: impl Into<String>) {
        let pointer = self.at(field);
        self.report.warn(pointer, text);
    }

    /// Whether the files are those of cgroup2.
    pub fn is_v2(&self) -> bool {
        self.version == Version::V2
    }
}

/// Every file that `resources` asks for, in the order in which they are written.
///
/// `unified` names the controllers that a hybrid host has on its cgroup2 tree.
/// Errors: a value that is invalid, or that has no file in these hierarchies.
pub fn settings(
    resources: &LinuxResources,
    mode: Mode,
    unified: &[Controller],
    report: &mut Report,
) -> Result<Vec<Setting>> {
    let version = |controller: Controller| match mode {
        Mode::V1 => Version::V1,
        Mode::Hybrid if unified.contains(&controller) => Version::V2,
        Mode::Hybrid => Version::V1,
        Mode::V2 => Version::V2,
    };
    let mut settings = Vec::new();
    let mut section = |controller, pointer, fill: &mut dyn FnMut(&mut Section) -> Result<()>| {
        fill(&mut Section {
            controller,
            version: version(controller),
            pointer,
            settings: &mut settings,
            report: &mut *report,
        })
    };
    if let Some(pids) = resources.pids() {
        section(Controller::Pids, "/linux/resources/pids", &mut |section| rest::plan_pids(pids, section))?;
    }
    if let Some(memory) = resources.memory() {
        section(Controller::Memory, "/linux/resources/memory", &mut |section| memory::plan(memory, section))?;
    }
    if let Some(block_io) = resources.block_io() {
        section(Controller::Blkio, "/linux/resources/blockIO", &mut |section| io::plan(block_io, section))?;
    }
    if let Some(cpu) = resources.cpu() {
        section(Controller::Cpu, "/linux/resources/cpu", &mut |section| cpu::plan(cpu, section))?;
        section(Controller::Cpuset, "/linux/resources/cpu", &mut |section| cpu::plan_cpuset(cpu, section))?;
    }
    if let Some(limits) = resources.hugepage_limits() {
        let pointer = "/linux/resources/hugepageLimits";
        section(Controller::Hugetlb, pointer, &mut |section| rest::plan_hugepages(limits, section))?;
    }
    if let Some(devices) = resources.rdma() {
        section(Controller::Rdma, "/linux/resources/rdma", &mut |section| rest::plan_rdma(devices, section))?;
    }
    if let Some(network) = resources.network() {
        let pointer = "/linux/resources/network";
        section(Controller::NetCls, pointer, &mut |section| rest::plan_net_cls(network, section))?;
        section(Controller::NetPrio, pointer, &mut |section| rest::plan_net_prio(network, section))?;
    }
    if let Some(files) = resources.unified() {
        settings.extend(rest::plan_unified(files, mode, report)?);
    }
    Ok(settings)
}
