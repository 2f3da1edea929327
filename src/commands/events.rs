//! `teu events`: the figures of a container again and again, and each time it runs out of memory.

use std::time::{Duration, Instant};

use super::open_root;
use super::state::print;
use crate::cgroup::stats::{oom_record, stats_record};
use crate::cgroup::{Cgroup, Event};
use crate::cli::watch::Events;
use crate::cli::{Global, units};
use crate::error::{Errno, Error, Result};
use crate::resctrl::{Group, Resctrl};
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
    let counted = Counted { id: &args.id, cgroup: &cgroup, group: group(&container)? };
    let done = if args.stats { counted.print() } else { follow(&counted, interval) };
    match done {
        // Whoever read has seen enough.
        Err(error) if error.errno() == Some(Errno::EPIPE) => Ok(0),
        other => other,
    }
}

/// What has the figures of a container.
struct Counted<'a> {
    id: &'a str,
    cgroup: &'a Cgroup,
    /// Its share of caches and memory bandwidth, when the configuration gives it one.
    group: Option<(Resctrl, Group)>,
}

impl Counted<'_> {
    fn print(&self) -> Result<i32> {
        let mut stats = self.cgroup.stats()?;
        if let Some((resctrl, group)) = &self.group {
            stats.intel_rdt = resctrl.figures(group)?;
        }
        print(&stats_record(self.id, &stats))
    }
}

fn group(container: &Container) -> Result<Option<(Resctrl, Group)>> {
    let Some(held) = &container.record.own.intel_rdt else { return Ok(None) };
    // Whoever has unmounted the file system or removed the group has taken the figures away, and not the others.
    let Some(resctrl) = Resctrl::mounted()? else { return Ok(None) };
    match resctrl.group(held) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
        group => Ok(Some((resctrl, group?))),
    }
}

/// Prints until the container has no process any more.
fn follow(counted: &Counted, interval: Duration) -> Result<i32> {
    let mut events = counted.cgroup.events()?;
    let mut next = Instant::now() + interval;
    loop {
        match events.wait(next.saturating_duration_since(Instant::now()))? {
            Event::Oom => print(&oom_record(counted.id))?,
            Event::Ended => return Ok(0),
            Event::Nothing => {
                // A reader that is slow gets fewer records, not old ones.
                next = Instant::now() + interval;
                counted.print()?
            }
        };
    }
}
