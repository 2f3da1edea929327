//! Changing the limits of a container that runs.

use super::Cgroup;
use super::dir::Dir;
use crate::error::{Errno, Result};
use crate::plan::cgroup::settings::{Missing, Version};
use crate::plan::cgroup::update::{MemoryCheck, Update, refuse};
use crate::plan::cgroup::{Controller, Setting};

/// What the files held before an update.
#[derive(Debug, Default)]
pub struct Before(Vec<Setting>);

impl Before {
    /// The settings that bring it back.
    pub fn settings(&self) -> &[Setting] {
        &self.0
    }
}

impl Cgroup {
    /// What the files hold that an update is going to write.
    ///
    /// Errors: a limit of memory that is used up, when the check was asked for.
    pub fn before(&self, update: &Update) -> Result<Before> {
        if let Some(check) = &update.check {
            self.check_memory(check)?;
        }
        let mut before: Vec<Setting> =
            update.settings.iter().filter_map(|setting| self.previous(setting)).collect();
        before.extend(self.weight_of_active(&before));
        // What the files say comes first: others may have changed them, and not every limit was set by us.
        for setting in &update.undo {
            if !before.iter().any(|read| read.file == setting.file) {
                before.push(setting.clone());
            }
        }
        Ok(Before(before))
    }

    /// The weight that a cgroup loses when it is made idle, if it is not idle now and the update does not name it.
    fn weight_of_active(&self, before: &[Setting]) -> Option<Setting> {
        let active = before.iter().find(|setting| setting.file == "cpu.idle" && setting.value == "0")?;
        let file = if active.version == Version::V2 { "cpu.weight" } else { "cpu.shares" };
        let is_known = before.iter().any(|setting| setting.file == file);
        let weight = Setting { file: file.to_owned(), ..active.clone() };
        if is_known { None } else { self.previous(&weight) }
    }

    /// The settings that the quota of processor time has now; none when there is no quota.
    pub fn quota(&self) -> Vec<Setting> {
        let (dir, version, files) = match (self.v1("cpu"), self.v2()) {
            (Some(dir), _) => (dir, Version::V1, &["cpu.cfs_period_us", "cpu.cfs_quota_us"][..]),
            (None, Some(dir)) => (dir, Version::V2, &["cpu.max"][..]),
            (None, None) => return Vec::new(),
        };
        let setting = |file: &&str| {
            let value = dir.read(file).ok()?.trim().to_owned();
            let pointer = "/linux/resources/cpu/quota".to_owned();
            let (file, missing) = ((*file).to_owned(), Missing::Ignore);
            Some(Setting {
                controller: Controller::Cpu,
                version,
                pointer,
                file,
                value,
                missing,
                retry_last: false,
            })
        };
        let settings: Vec<Setting> = files.iter().filter_map(setting).collect();
        let is_limited =
            settings.last().is_some_and(|quota| quota.value.starts_with(|c: char| c.is_ascii_digit()));
        if is_limited { settings } else { Vec::new() }
    }

    /// Writes new limits, also while the container is frozen. Device rules stay as they are.
    ///
    /// Errors: a value that the kernel refuses. [`Cgroup::put_back`] is the caller's to do then.
    pub fn update(&self, update: &Update) -> Result<()> {
        self.write_settings(&update.settings)
    }

    /// Writes again what was there before an update, as far as the kernel permits.
    pub fn put_back(&self, before: &Before) {
        if self.write_settings(&before.0).is_ok() {
            return;
        }
        // One by one, and in both directions, since some values are refused until another one is back.
        for setting in before.0.iter().chain(before.0.iter().rev()) {
            let _ = self.write_settings(std::slice::from_ref(setting));
        }
    }

    /// The setting that brings back what the file of `setting` holds now; nothing when it cannot be read.
    fn previous(&self, setting: &Setting) -> Option<Setting> {
        let dir = self.dir_of(setting)?;
        let (file, value, content) = match (dir.read(&setting.file), &setting.missing) {
            (Ok(content), _) => (&setting.file, &setting.value, content),
            (Err(Errno::ENOENT), Missing::Instead(file, value)) => (file, value, dir.read(file).ok()?),
            _ => return None,
        };
        let value = previous_value(&content, value);
        Some(Setting { file: file.clone(), value, missing: Missing::Ignore, ..setting.clone() })
    }

    /// Compares new limits with what is in use. Version 1 does this itself and refuses with EBUSY.
    fn check_memory(&self, check: &MemoryCheck) -> Result<()> {
        let Some(dir) = self.memory().filter(|dir| dir.version() == Version::V2) else { return Ok(()) };
        let usage = figure(dir, "memory.current");
        let with_swap = usage.saturating_add(figure(dir, "memory.swap.current"));
        match (check.limit_with_swap, check.limit) {
            (Some(limit), _) if limit <= with_swap => Err(refuse("memory+swap", limit, with_swap)),
            (_, Some(limit)) if limit <= usage => Err(refuse("memory", limit, usage)),
            _ => Ok(()),
        }
    }
}

/// What to write into a file with this content, so that a new value has no effect any more.
///
/// Files with a line for each device list only those that have a limit: for the others it is lifted.
fn previous_value(content: &str, new: &str) -> String {
    let device = new.split_once(' ').filter(|(device, _)| device.contains(':'));
    let Some((device, rest)) = device else {
        // An empty write would never reach the kernel.
        return content.lines().next().filter(|line| !line.is_empty()).unwrap_or("\n").to_owned();
    };
    let line = content.lines().find(|line| line.split(' ').next() == Some(device));
    line.map_or_else(
        || {
            let lifted = rest.split(' ').map(|pair| match pair.split_once('=') {
                Some((key, _)) => format!("{key}=max"),
                None => "0".to_owned(),
            });
            format!("{device} {}", lifted.collect::<Vec<_>>().join(" "))
        },
        str::to_owned,
    )
}

/// A figure of a file; what cannot be read is no reason to refuse.
fn figure(dir: &Dir, file: &str) -> u64 {
    dir.read(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::previous_value;

    #[test]
    fn what_a_file_holds_is_brought_back() {
        assert_eq!(previous_value("max 100000\n", "5000 100000"), "max 100000");
        assert_eq!(previous_value("\n", "0-1"), "\n");
        assert_eq!(previous_value("", "0-1"), "\n");
        assert_eq!(previous_value("default 100\n8:0 200\n", "300"), "default 100");
    }

    #[test]
    fn a_device_without_a_line_gets_no_limit() {
        let listed = "8:0 rbps=1 wbps=max riops=max wiops=max";
        assert_eq!(previous_value(&format!("8:16 rbps=9\n{listed}\n"), "8:0 rbps=5"), listed);
        assert_eq!(previous_value("", "8:0 rbps=5"), "8:0 rbps=max");
        assert_eq!(previous_value("8:16 5\n", "8:0 7"), "8:0 0");
    }
}
