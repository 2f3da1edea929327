//! Scheduler and I/O priority: a process of the container sets its own, or its parent does where it may not.

use crate::plan::process::Process;
use crate::sync::{Call, During, Failure, In, Phase};
use crate::sys::process;

/// Sets scheduler and I/O priority of a process, 0 for the own one.
pub fn set(pid: i32, planned: &Process) -> Result<(), Failure> {
    if let Some(attributes) = &planned.scheduler {
        process::set_scheduler(pid, attributes).call(Call::SchedSetattr).during(Phase::Scheduling)?;
    }
    if let Some((class, level)) = planned.io_priority {
        process::set_io_priority(pid, class, level).call(Call::IoprioSet).during(Phase::Scheduling)?;
    }
    Ok(())
}
