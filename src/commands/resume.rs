//! `teu resume`.

use super::locked;
use crate::cli::Global;
use crate::error::{Error, Result};

/// Lets the processes of a paused container go on.
///
/// The freezer decides, not the life of init: engines resume a container whose processes were killed while it was
/// paused, and on cgroup v1 they end only then.
pub fn resume(global: &Global, id: &str) -> Result<i32> {
    let (container, _lock) = locked(global, id)?;
    let cgroup = container.cgroup();
    if !cgroup.is_frozen()? {
        return Err(Error::state("container not paused"));
    }
    cgroup.thaw()?;
    Ok(0)
}
