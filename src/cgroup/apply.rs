//! Writing the limits.

use super::dir::Dir;
use super::{Cgroup, Layout, devices};
use crate::error::{Errno, Error, Kind, Result};
use crate::plan::cgroup::settings::{Missing, Version};
use crate::plan::cgroup::{CgroupPlan, Controller, Driver, Setting};

const V1_LIMIT: &str = "memory.limit_in_bytes";
const V1_LIMIT_WITH_SWAP: &str = "memory.memsw.limit_in_bytes";

impl Cgroup {
    /// Sets every limit and the device filter. Before any program of the container or of its owner runs.
    ///
    /// Errors: the first limit that cannot be set, with its pointer.
    pub fn apply(&self, plan: &CgroupPlan) -> Result<()> {
        self.apply_limits(plan)?;
        self.apply_devices(plan)
    }

    /// Of [`Cgroup::apply`] what limits and counts.
    pub fn apply_limits(&self, plan: &CgroupPlan) -> Result<()> {
        if self.is_unmanaged(plan) { Ok(()) } else { self.write_settings(&plan.settings) }
    }

    /// Of [`Cgroup::apply`] which devices can be used. On version 1 nobody may be in the cgroup yet.
    pub fn apply_devices(&self, plan: &CgroupPlan) -> Result<()> {
        if self.is_unmanaged(plan) { Ok(()) } else { devices::apply(self, &plan.devices, plan.rootless) }
    }

    fn is_unmanaged(&self, plan: &CgroupPlan) -> bool {
        plan.driver == Driver::Disabled || self.members.is_empty()
    }

    /// Writes a list of settings, in its order as far as the kernel permits.
    pub(super) fn write_settings(&self, settings: &[Setting]) -> Result<()> {
        let mut last: Vec<&Setting> = Vec::new();
        for setting in self.in_order(settings) {
            match self.write_setting(setting) {
                Err(error) if setting.retry_last && error.errno() == Some(Errno::EINVAL) => {
                    last.push(setting)
                }
                result => result?,
            }
        }
        last.into_iter().try_for_each(|setting| self.write_setting(setting))
    }

    /// On version 1 the limit of memory must never be above the limit of memory and swap, so the one that makes
    /// room goes first.
    fn in_order<'a>(&self, settings: &'a [Setting]) -> Vec<&'a Setting> {
        let mut order: Vec<&Setting> = settings.iter().collect();
        let place = |file| settings.iter().position(|setting| setting.file == file);
        if let (Some(limit), Some(both)) = (place(V1_LIMIT), place(V1_LIMIT_WITH_SWAP)) {
            let current = self.v1("memory").and_then(|dir| dir.read(V1_LIMIT).ok());
            let current = current.and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(i64::MAX);
            let wanted = settings[both].value.parse::<i64>().unwrap_or(-1);
            if (wanted == -1 || wanted > current) && limit < both {
                order.swap(limit, both);
            }
        }
        order
    }

    /// The cgroup that has the file of a setting.
    pub(super) fn dir_of(&self, setting: &Setting) -> Option<&Dir> {
        match setting.version {
            Version::V2 => self.v2(),
            Version::V1 => self.v1(setting.controller.v1_name()),
        }
    }

    fn write_setting(&self, setting: &Setting) -> Result<()> {
        let Some(dir) = self.dir_of(setting) else {
            if setting.missing == Missing::Ignore {
                return Ok(());
            }
            return Err(no_controller(setting));
        };
        let result = match (&setting.missing, dir.write(&setting.file, &setting.value)) {
            (Missing::Ignore, Err(Errno::ENOENT)) => Ok(()),
            (Missing::Instead(file, value), Err(Errno::ENOENT)) => dir.write(file, value),
            (_, result) => result,
        };
        result.map_err(|errno| explain(dir, setting, errno))
    }
}

/// The settings of a plan that no hierarchy of this host has a controller for, as errors with their pointers.
///
/// Whether a controller that is there has the file is seen when the cgroup exists.
pub fn without_controller(plan: &CgroupPlan, layout: &Layout) -> Vec<Error> {
    if plan.driver == Driver::Disabled {
        return Vec::new();
    }
    let unified = layout.unified().map(|hierarchy| hierarchy.mount_point.join("cgroup.controllers"));
    let unified = unified.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let is_there = |setting: &Setting| match setting.version {
        Version::V1 => layout
            .hierarchies()
            .iter()
            .any(|hierarchy| hierarchy.controllers.iter().any(|name| name == setting.controller.v1_name())),
        // Files of the hierarchy itself need none.
        Version::V2 => {
            let controller = controller_of(setting);
            controller == "cgroup" || unified.split_whitespace().any(|name| name == controller)
        }
    };
    let lacking = plan.settings.iter().filter(|s| s.missing != Missing::Ignore && !is_there(s));
    lacking.map(no_controller).collect()
}

/// The controller that a setting needs, by its name on that hierarchy.
fn controller_of(setting: &Setting) -> &str {
    match (setting.controller, setting.version) {
        // A file of `unified` that no section knows: its name starts with that of its controller.
        (Controller::Other, _) => setting.file.split('.').next().unwrap_or(&setting.file),
        (controller, Version::V1) => controller.v1_name(),
        (controller, Version::V2) => controller.v2_name(),
    }
}

fn no_controller(setting: &Setting) -> Error {
    let text = format!("cannot set {}: controller {} is not available", setting.file, controller_of(setting));
    Error::new(Kind::Kernel, text).at(setting.pointer.clone())
}

/// The error of a file that is not there. The words of ENOENT are left to missing programs, which engines look for.
fn no_file(dir: &Dir, setting: &Setting) -> Error {
    let enabled = dir.read("cgroup.controllers").unwrap_or_default();
    let is_enabled = match setting.version {
        Version::V1 => true,
        Version::V2 => enabled.split_whitespace().any(|name| name == controller_of(setting)),
    };
    if is_enabled {
        let text = format!("cannot set {}: the kernel of this host has no such limit", setting.file);
        return Error::new(Kind::Kernel, text).at(setting.pointer.clone());
    }
    let parent = dir.path().parent().unwrap_or(dir.path()).display().to_string();
    no_controller(setting).hint(format!("see {parent}/cgroup.subtree_control"))
}

/// Says what the refusal of one value means.
fn explain(dir: &Dir, setting: &Setting, errno: Errno) -> Error {
    if errno == Errno::ENOENT {
        return no_file(dir, setting);
    }
    let what = format!("write {:?} to", setting.value);
    let error = dir.error(&what, &setting.file, "write(2)", errno).at(setting.pointer.clone());
    match (errno, setting.file.as_str()) {
        (Errno::EBUSY, V1_LIMIT | V1_LIMIT_WITH_SWAP) => {
            let figure =
                |file: &str| dir.read(file).map_or_else(|_| "?".to_owned(), |text| text.trim().to_owned());
            let (usage, peak) = (figure("memory.usage_in_bytes"), figure("memory.max_usage_in_bytes"));
            error.hint(format!(
                "unable to set memory limit to {} (current usage: {usage}, peak usage: {peak})",
                setting.value
            ))
        }
        (Errno::EINVAL, "cpu.rt_runtime_us" | "cpu.rt_period_us") => {
            error.hint("the parent cgroup has no real-time budget to give")
        }
        _ => error,
    }
}
