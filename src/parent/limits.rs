//! What the host sets of a process that is being set up: resource limits, OOM score, processors.

use super::id_maps;
use crate::error::{Errno, Error, Result};
use crate::hints;
use crate::plan::limits::Limits;
use crate::sys::process::{self, Limit};

/// Lets a process run wherever its cgroup permits, whatever the caller is pinned to.
pub(super) fn reset_affinity(pid: i32) -> Result<()> {
    match process::reset_affinity(pid) {
        // A cpuset without any of the processors has been refused before.
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(e) => Err(Error::kernel("reset the processor affinity", "sched_setaffinity(2)", e)),
    }
}

/// Sets the OOM score when there is one. Before the process gives up the ownership of its files in /proc.
pub(super) fn set_oom_score(limits: &Limits, pid: i32) -> Result<()> {
    let Some(score) = limits.oom_score_adj else { return Ok(()) };
    id_maps::write_file(pid, "oom_score_adj", &score.to_string(), "/process/oomScoreAdj")
        .map_err(|e| e.hint("lowering the score below the caller's needs CAP_SYS_RESOURCE"))
}

/// Sets the resource limits of a process that is being set up, from outside and with the privileges of here, which a
/// process in a user namespace does not have.
pub(super) fn set_limits(limits: &Limits, pid: i32) -> Result<()> {
    for (limit, at) in &limits.rlimits {
        let (soft, hard) = limit.during_setup();
        process::set_limit(pid, limit.resource, Limit { soft, hard })
            .map_err(|e| Error::kernel(limit.setting(), "prlimit(2)", e).at(at).hint(hints::HARD_LIMIT))?;
    }
    Ok(())
}
