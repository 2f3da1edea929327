//! Changing the limits of a container that runs.

use super::Cgroup;
use super::dir::Dir;
use crate::error::Result;
use crate::plan::cgroup::settings::Version;
use crate::plan::cgroup::update::{MemoryCheck, Update, refuse};

impl Cgroup {
    /// Writes new limits, also while the container is frozen. Device rules stay as they are.
    ///
    /// Errors: a limit of memory that is used up, when the check was asked for; a value that the kernel refuses.
    /// After an error what was there before is written again, as far as the kernel permits.
    pub fn update(&self, update: &Update) -> Result<()> {
        if let Some(check) = &update.check {
            self.check_memory(check)?;
        }
        self.write_settings(&update.settings).inspect_err(|_| {
            for setting in &update.undo {
                let _ = self.write_settings(std::slice::from_ref(setting));
            }
        })
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

/// A figure of a file; what cannot be read is no reason to refuse.
fn figure(dir: &Dir, file: &str) -> u64 {
    dir.read(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}
