//! `teu events`: the figures of a container again and again, and each time it runs out of memory.

use std::time::{Duration, Instant};

use super::open_root;
use super::state::print;
use crate::cgroup::stats::{oom_record, stats_record};
use crate::cgroup::{Cgroup, Event};
use crate::cli::watch::Events;
use crate::cli::{Global, units};
use crate::error::{Errno, Error, Result};
use crate::state::{Container, Id, Status};

/// Prints one record on a line. Takes no lock: it only looks.
pub fn events(global: &Global, args: &Events) -> Result<i32> {
    let interval = units::duration(&args.interval)
        .ok_or_else(|| Error::usage(format!("invalid value for --interval: {:?}", args.interval)))?;
    if interval.is_zero() {
        return Err(Error::usage("duration interval must be greater than 0"));
    }
    let container = Container::load(&open_root(global)?, &Id::new(&args.id)?)?;
    if matches!(container.status, Status::Stopped | Status::Creating) {
        return Err(Error::state(format!("container with id {} is not running", args.id)));
    }
    let cgroup = container.cgroup();
    if !cgroup.exists() {
        return Err(Error::state("the container has no cgroup, so there are no figures"));
    }
    let done = if args.stats { print_stats(&args.id, &cgroup) } else { follow(&args.id, &cgroup, interval) };
    match done {
        // Whoever read has seen enough.
        Err(error) if error.errno() == Some(Errno::EPIPE) => Ok(0),
        other => other,
    }
}

fn print_stats(id: &str, cgroup: &Cgroup) -> Result<i32> {
    print(&stats_record(id, &cgroup.stats()?))
}

/// Prints until the container has no process any more.
fn follow(id: &str, cgroup: &Cgroup, interval: Duration) -> Result<i32> {
    let mut events = cgroup.events()?;
    let mut next = Instant::now() + interval;
    loop {
        match events.wait(next.saturating_duration_since(Instant::now()))? {
            Event::Oom => print(&oom_record(id))?,
            Event::Ended => return Ok(0),
            Event::Nothing => {
                // A reader that is slow gets fewer records, not old ones.
                next = Instant::now() + interval;
                print_stats(id, cgroup)?
            }
        };
    }
}
