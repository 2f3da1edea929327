//! `teu update`: other limits for a container that exists.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::pause::not_running;
use super::{locked, open_root};
use crate::cgroup::{Layout, systemd};
use crate::cli::limits::Update;
use crate::cli::{Global, given, units};
use crate::config;
use crate::error::{Error, Result};
use crate::plan::cgroup::update::{plan_update, read_change};
use crate::plan::intel_rdt::{IntelRdt, check_bandwidth};
use crate::resctrl::{Changes, Held, Resctrl};
use crate::state::{Container, Id, Status};

/// Writes the limits that are asked for, and remembers them. Everything else stays as it is, devices in particular.
pub fn update(global: &Global, args: &Update) -> Result<i32> {
    // Whoever feeds standard input should not have to wait for the end of it to hear that the id is wrong.
    open_root(global)?.directory(&Id::new(&args.id)?)?;
    let schemata = Schemata::of(args)?;
    let change = read_change(asked(args)?)?;
    let (mut container, _lock) = locked(global, &args.id)?;
    if matches!(container.status, Status::Stopped | Status::Creating) {
        return Err(not_running(container.status));
    }
    let layout = Layout::read()?;
    let mut plan =
        plan_update(stored(&container)?.as_ref(), &change, layout.mode(), layout.unified_controllers())?;
    let cgroup = container.cgroup();
    if container.record.own.unit.is_some() && !plan.settings.is_empty() {
        // Whatever it is told, systemd writes every file of the unit, and rounds this one.
        plan.settings.splice(0..0, cgroup.quota());
    }
    let before = cgroup.before(&plan)?;
    let mut change = match &container.record.own.unit {
        Some(unit) => systemd::update(&plan, &unit.name, unit.of_user)?,
        None => systemd::Change::default(),
    };
    let written = cgroup.update(&plan);
    let mut stored = plan.stored;
    // Others change these behind our back, so what is written here would only be what they once were.
    stored.set_devices(None);
    container.record.own.resources = Some(stored);
    let mut changes = Changes::default();
    let done = written
        .and_then(|()| schemata.apply(&mut container, &mut changes))
        .and_then(|()| container.directory.save(&container.record));
    if let Err(error) = done {
        change.put_back(&before);
        cgroup.put_back(&before);
        return changes.undo().and(Err(error));
    }
    for warning in plan.warnings {
        crate::log::warn(&format!("{} ({})", warning.text, warning.at));
    }
    Ok(0)
}

/// Schemas for the group of the resctrl file system.
struct Schemata(IntelRdt);

impl Schemata {
    fn of(args: &Update) -> Result<Schemata> {
        let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        let asked = IntelRdt {
            l3: given(&args.l3_cache_schema),
            bandwidth: given(&args.mem_bw_schema),
            ..IntelRdt::own(&args.id)
        };
        check_bandwidth(asked.bandwidth.as_deref(), "--mem-bw-schema")?;
        Ok(Schemata(asked))
    }

    /// Writes them. A container without a group gets one of its own.
    fn apply(&self, container: &mut Container, changes: &mut Changes) -> Result<()> {
        let asked = &self.0;
        if asked.lines().is_empty() {
            return Ok(());
        }
        let resctrl = Resctrl::find()?;
        if let Some(held) = &container.record.own.intel_rdt {
            return resctrl.update(held, asked, changes);
        }
        let group = resctrl.enter(asked, changes)?;
        let cgroup = container.cgroup();
        // What a process starts after it was moved is in the group; the second time finds what it started before.
        for _ in 0..2 {
            for pid in cgroup.pids()? {
                group.add_if_alive(pid)?;
            }
        }
        container.record.intel_rdt_path = group.path().to_owned();
        container.record.own.intel_rdt = Some(Held { made: true, ..Held::planned(asked) });
        Ok(())
    }
}

/// The limits of now: those of the last update, else those that the container was created with.
fn stored(container: &Container) -> Result<Option<LinuxResources>> {
    if let Some(resources) = &container.record.own.resources {
        return Ok(Some(resources.clone()));
    }
    let Some(bytes) = container.directory.load_config()? else { return Ok(None) };
    let spec = config::load(&bytes)?.spec;
    Ok(spec.linux().as_ref().and_then(|linux| linux.resources().clone()))
}

/// What the command line asks for, in the form of `linux.resources`.
fn asked(args: &Update) -> Result<Value> {
    let kernel = [("--kernel-memory", &args.kernel_memory), ("--kernel-memory-tcp", &args.kernel_memory_tcp)];
    for (option, _) in kernel.iter().filter(|(_, value)| value.is_some()) {
        crate::log::warn(&format!("kernel memory has no limit of its own any more, {option} is ignored"));
    }
    match given(&args.resources) {
        None => flags(args),
        Some(path) if path == Path::new("-") => {
            config::first_value(std::io::stdin().lock(), "standard input")
        }
        Some(path) => {
            let shown = path.display().to_string();
            let file = File::open(path).map_err(|e| Error::io(format!("open {shown}"), "openat(2)", &e))?;
            config::first_value(BufReader::new(file), &shown)
        }
    }
}

/// The options that are no file.
fn flags(args: &Update) -> Result<Value> {
    let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let amount = |option: &str, value: &Option<String>| match text(value) {
        None => Ok(None),
        Some(text) => match units::bytes(&text) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(Error::usage(format!("invalid value for {option}: {text:?}"))
                .hint("bytes, or a number with suffix k, m, g, t or p, or -1 for no limit")),
        },
    };
    let memory = [
        ("limit", json!(amount("--memory", &args.memory)?)),
        ("reservation", json!(amount("--memory-reservation", &args.memory_reservation)?)),
        ("swap", json!(amount("--memory-swap", &args.memory_swap)?)),
    ];
    let cpu = [
        ("shares", json!(args.cpu_share)),
        ("quota", json!(args.cpu_quota)),
        ("period", json!(args.cpu_period)),
        ("burst", json!(args.cpu_burst)),
        ("realtimeRuntime", json!(args.cpu_rt_runtime)),
        ("realtimePeriod", json!(args.cpu_rt_period)),
        ("idle", json!(args.cpu_idle)),
        ("cpus", json!(text(&args.cpuset_cpus))),
        ("mems", json!(text(&args.cpuset_mems))),
    ];
    let sections = [
        ("memory", section(&memory)),
        ("cpu", section(&cpu)),
        ("pids", section(&[("limit", json!(args.pids_limit))])),
        ("blockIO", section(&[("weight", json!(args.blkio_weight))])),
    ];
    Ok(match section(&sections) {
        Value::Null => json!({}),
        given => given,
    })
}

/// An object of the members that are there, or nothing.
fn section(members: &[(&str, Value)]) -> Value {
    let given = members.iter().filter(|(_, value)| !value.is_null());
    let object: Map<String, Value> = given.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    if object.is_empty() { Value::Null } else { Value::Object(object) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_the_members_they_mean() {
        let args = Update {
            memory: Some("64m".to_owned()),
            memory_swap: Some("-1".to_owned()),
            cpu_quota: Some(-1),
            cpuset_cpus: Some(String::new()),
            pids_limit: Some(0),
            ..Update::default()
        };
        assert_eq!(
            asked(&args).unwrap(),
            json!({"memory": {"limit": 67_108_864, "swap": -1}, "cpu": {"quota": -1}, "pids": {"limit": 0}})
        );
    }

    #[test]
    fn no_option_changes_nothing() {
        assert_eq!(read_change(asked(&Update::default()).unwrap()).unwrap(), LinuxResources::default());
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        let args = Update { memory_swap: Some("lots".to_owned()), ..Update::default() };
        let error = asked(&args).unwrap_err().to_string();
        assert!(error.starts_with("invalid value for --memory-swap: \"lots\""), "{error}");
    }
}
