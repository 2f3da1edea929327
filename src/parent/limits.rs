//! What the host sets of a process that is being set up: resource limits, OOM score, processors.

use super::id_maps;
use crate::error::{Errno, Error, Result};
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

/// Sets the resource limits of a process that is being set up, from outside and with the privileges of here.
pub(super) fn set_limits(limits: &Limits, pid: i32) -> Result<()> {
    for (limit, at) in &limits.rlimits {
        let mut value = Limit { soft: limit.soft, hard: limit.hard };
        if limit.resource == libc::RLIMIT_NOFILE {
            // The child still needs a few; it lowers the limit itself at the end, which anybody may.
            value =
                Limit { soft: limit.hard.max(FEWEST_DESCRIPTORS), hard: limit.hard.max(FEWEST_DESCRIPTORS) };
        }
        process::set_limit(pid, limit.resource, value).map_err(|e| {
            Error::kernel(format!("set {} to {}:{}", limit.name, limit.soft, limit.hard), "prlimit(2)", e)
                .at(at)
                .hint("raising a hard limit needs CAP_SYS_RESOURCE; RLIMIT_NOFILE cannot exceed fs.nr_open")
        })?;
    }
    Ok(())
}

/// What the set-up needs, whatever the container gets.
const FEWEST_DESCRIPTORS: u64 = 256;
