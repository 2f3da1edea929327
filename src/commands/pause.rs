//! `teu pause`.

use super::locked;
use crate::cli::Global;
use crate::error::{Error, Result};
use crate::state::Status;

/// Freezes every process of a container. The freezer is the state: nothing else remembers that it is paused.
pub fn pause(global: &Global, id: &str) -> Result<i32> {
    let (container, _lock) = locked(global, id)?;
    if !matches!(container.status, Status::Running | Status::Created) {
        return Err(not_running(container.status));
    }
    let cgroup = container.cgroup();
    cgroup.freeze_safely()?;
    // An init that ended meanwhile leaves nothing to pause, and others in the way of `delete`.
    if container.record.live_init().is_none() {
        cgroup.thaw()?;
        return Err(not_running(Status::Stopped));
    }
    Ok(0)
}

/// The refusal that engines take for "already gone".
pub fn not_running(status: Status) -> Error {
    let error = Error::state("container not running");
    if status == Status::Stopped { error } else { error.detail(format!("it is {}", status.text())) }
}
