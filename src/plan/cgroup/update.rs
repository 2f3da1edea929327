//! Changing the limits of a container that runs.
//!
//! Pure: what is stored and what is asked for become what is written and what is stored from now on. Only the
//! sections that the change names are written. Devices are never touched: others add rules behind our back.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};
use serde_json::Value;

use super::settings::settings;
use super::{Controller, Mode, Setting, invalid};
use crate::config::Warning;
use crate::error::{Error, Kind, Result};
use crate::report::Report;

/// What an update does.
#[derive(Clone, Debug)]
pub struct Update {
    /// What the state keeps afterwards.
    pub stored: LinuxResources,
    /// What is written, in order.
    pub settings: Vec<Setting>,
    /// What is written when that fails halfway.
    pub undo: Vec<Setting>,
    /// Fields without effect.
    pub warnings: Vec<Warning>,
    /// Refuse limits of memory that are used up already.
    pub check: Option<MemoryCheck>,
}

/// Limits that are compared with what is in use before anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryCheck {
    /// New limit of memory in bytes, when it is a limit.
    pub limit: Option<u64>,
    /// New limit of memory and swap together in bytes, when it is a limit.
    pub limit_with_swap: Option<u64>,
}

/// Reads the JSON of an update. A `null` is an absent field, and so is `pids` without limit.
///
/// Errors: not the form of `linux.resources`.
pub fn read_change(mut value: Value) -> Result<LinuxResources> {
    strip_nulls(&mut value);
    if let Some(members) = value.as_object_mut()
        && members.get("pids").is_some_and(|pids| pids.get("limit").is_none())
    {
        members.remove("pids");
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer: String = error.path().iter().map(|part| format!("/{part}")).collect();
        Error::new(Kind::Usage, "the resources are not valid")
            .at(pointer)
            .detail(error.into_inner().to_string())
    })
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// Decides what an update writes and stores.
///
/// Errors: a value that is invalid by itself or together with what is stored.
pub fn plan_update(
    stored: Option<&LinuxResources>,
    change: &LinuxResources,
    mode: Mode,
    unified: &[Controller],
) -> Result<Update> {
    let before = stored.cloned().unwrap_or_default();
    let mut after = before.clone();
    let mut touched = LinuxResources::default();
    let mut previous = LinuxResources::default();
    let mut report = Report::of_first_error();
    let mut check = None;
    if let Some(memory) = change.memory() {
        let merged = merge_memory(before.memory().unwrap_or_default(), memory);
        check = memory.check_before_update().filter(|check| *check).map(|_| MemoryCheck {
            limit: memory.limit().and_then(positive),
            limit_with_swap: merged.swap().and_then(positive),
        });
        after.set_memory(Some(merged));
        touched.set_memory(Some(applicable_memory(&merged)));
        previous.set_memory(before.memory().as_ref().map(applicable_memory));
    }
    // These are replaced: what the change does not carry is forgotten.
    let empty = LinuxCpu::default();
    let cpu = merge_cpu(before.cpu().as_ref().unwrap_or(&empty), change.cpu().as_ref().unwrap_or(&empty));
    if change.cpu().is_some() {
        touched.set_cpu(Some(cpu.clone()));
        previous.set_cpu(before.cpu().clone());
    }
    after.set_cpu((cpu != empty).then_some(cpu));
    if let Some(block_io) = change.block_io() {
        let merged = merge_block_io(before.block_io().clone().unwrap_or_default(), block_io);
        after.set_block_io(Some(merged.clone()));
        touched.set_block_io(Some(merged));
        previous.set_block_io(before.block_io().clone());
    }
    after.set_pids(*change.pids());
    touched.set_pids(*change.pids());
    if change.pids().is_some() {
        previous.set_pids(*before.pids());
    }
    after.set_unified(change.unified().clone());
    touched.set_unified(change.unified().clone());
    if change.unified().is_some() {
        previous.set_unified(before.unified().clone());
    }
    let settings_now = settings(&touched, mode, unified, &mut report)?;
    let undo = settings(&previous, mode, unified, &mut Report::of_first_error()).unwrap_or_default();
    warn_about_others(change, &mut report);
    Ok(Update { stored: after, settings: settings_now, undo, warnings: report.into_warnings(), check })
}

fn positive(bytes: i64) -> Option<u64> {
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

/// Sections that a running container keeps.
fn warn_about_others(change: &LinuxResources, report: &mut Report) {
    let others = [
        ("hugepageLimits", change.hugepage_limits().is_some()),
        ("network", change.network().is_some()),
        ("rdma", change.rdma().is_some()),
        ("devices", change.devices().as_ref().is_some_and(|rules| !rules.is_empty())),
    ];
    for (section, _) in others.iter().filter(|(_, given)| *given) {
        let pointer = format!("/linux/resources/{section}");
        report.warn(pointer, "not changed by an update");
    }
}

/// Limit, reservation and swap are taken over one by one, and 0 leaves each as it is.
///
/// Lifting the limit without a word about swap lifts both, for a limit of both below it would be an error.
fn merge_memory(mut memory: LinuxMemory, change: &LinuxMemory) -> LinuxMemory {
    let given = |bytes: Option<i64>| bytes.is_some_and(|bytes| bytes != 0);
    if given(change.limit()) {
        memory.set_limit(change.limit());
        if change.limit() == Some(-1) {
            memory.set_swap(Some(-1));
        }
    }
    if given(change.swap()) {
        memory.set_swap(change.swap());
    }
    if given(change.reservation()) {
        memory.set_reservation(change.reservation());
    }
    memory
}

/// The part of a memory section that an update writes.
fn applicable_memory(memory: &LinuxMemory) -> LinuxMemory {
    let mut applicable = LinuxMemory::default();
    applicable.set_limit(memory.limit()).set_swap(memory.swap()).set_reservation(memory.reservation());
    applicable
}

/// Quota and period belong together, so one that is not given stays. An idle cgroup has no shares to set, and
/// gets new ones only when they are named.
fn merge_cpu(stored: &LinuxCpu, change: &LinuxCpu) -> LinuxCpu {
    let mut cpu = change.clone();
    let stays_idle = stored.idle() == Some(1) && change.shares().is_none();
    let shares = match change.idle() {
        None if !stays_idle => change.shares().or(stored.shares()),
        _ => change.shares(),
    };
    cpu.set_shares(shares);
    if change.idle().is_none() && stays_idle {
        cpu.set_idle(stored.idle());
    }
    cpu.set_quota(change.quota().filter(|quota| *quota != 0).or(stored.quota()));
    cpu.set_period(change.period().filter(|period| *period != 0).or(stored.period()));
    cpu.set_realtime_runtime(change.realtime_runtime().or(stored.realtime_runtime()));
    cpu.set_realtime_period(change.realtime_period().or(stored.realtime_period()));
    cpu
}

/// Devices are told apart by their numbers.
fn merge_block_io(mut stored: LinuxBlockIo, change: &LinuxBlockIo) -> LinuxBlockIo {
    if change.weight().is_some() {
        stored.set_weight(change.weight());
    }
    if change.leaf_weight().is_some() {
        stored.set_leaf_weight(change.leaf_weight());
    }
    let weights = merge_devices(stored.weight_device(), change.weight_device(), |d| (d.major(), d.minor()));
    stored.set_weight_device(weights);
    macro_rules! merge_throttle {
        ($get:ident, $set:ident) => {
            let devices = merge_devices(stored.$get(), change.$get(), |d| (d.major(), d.minor()));
            stored.$set(devices);
        };
    }
    merge_throttle!(throttle_read_bps_device, set_throttle_read_bps_device);
    merge_throttle!(throttle_write_bps_device, set_throttle_write_bps_device);
    merge_throttle!(throttle_read_iops_device, set_throttle_read_iops_device);
    merge_throttle!(throttle_write_iops_device, set_throttle_write_iops_device);
    stored
}

fn merge_devices<T: Clone>(
    stored: &Option<Vec<T>>,
    change: &Option<Vec<T>>,
    number: impl Fn(&T) -> (i64, i64),
) -> Option<Vec<T>> {
    let Some(change) = change else { return stored.clone() };
    let mut devices = stored.clone().unwrap_or_default();
    for device in change {
        match devices.iter_mut().find(|old| number(old) == number(device)) {
            Some(old) => *old = device.clone(),
            None => devices.push(device.clone()),
        }
    }
    Some(devices)
}

/// The error of a limit that is used up already.
///
/// Engines and users know these words.
pub fn refuse(what: &str, limit: u64, usage: u64) -> Error {
    let field = if what == "memory" { "limit" } else { "swap" };
    invalid(
        format!("/linux/resources/memory/{field}"),
        format!("rejecting {what} limit {limit} <= usage {usage}"),
    )
    .kind_of(Kind::State)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is written and what is kept, for a change of what is stored.
    fn update(stored: Value, change: Value, mode: Mode) -> std::result::Result<(Vec<String>, Value), String> {
        let stored: LinuxResources = serde_json::from_value(stored).unwrap();
        let change = read_change(change).map_err(|error| error.to_string())?;
        let update = plan_update(Some(&stored), &change, mode, &[]).map_err(|error| error.to_string())?;
        let lines = update.settings.iter().map(ToString::to_string).collect();
        Ok((lines, serde_json::to_value(&update.stored).unwrap()))
    }

    #[track_caller]
    fn check(stored: Value, change: Value, written: &[&str], kept: Value) {
        let (lines, stored) = update(stored, change, Mode::V2).unwrap();
        assert_eq!(lines, written);
        assert_eq!(stored, kept);
    }

    #[test]
    fn nothing_changes_nothing_but_forgets_what_is_replaced() {
        let stored = json!({"memory": {"limit": 4096}, "cpu": {"shares": 512, "cpus": "0", "burst": 1}, "pids": {"limit": 3}});
        check(stored, json!({}), &[], json!({"memory": {"limit": 4096}, "cpu": {"shares": 512}}));
    }

    #[test]
    fn nulls_and_an_empty_pids_section_are_absent() {
        check(json!({}), json!({"pids": {}, "memory": null, "cpu": {"shares": null}}), &[], json!({}));
        check(json!({}), json!({"pids": {"limit": 0}}), &["pids.max = 1"], json!({"pids": {"limit": 0}}));
    }

    #[test]
    fn a_wrong_type_is_named() {
        let error = update(json!({}), json!({"memory": {"limit": "1G"}}), Mode::V2).unwrap_err();
        assert!(error.contains("(/memory/limit)"), "{error}");
    }

    #[test]
    fn quota_and_period_keep_each_other() {
        let stored = json!({"cpu": {"quota": 5000, "period": 50000}});
        let kept = json!({"cpu": {"quota": 6000, "period": 50000}});
        check(stored.clone(), json!({"cpu": {"quota": 6000}}), &["cpu.max = 6000 50000"], kept);
        let kept = json!({"cpu": {"quota": 5000, "period": 70000}});
        check(stored.clone(), json!({"cpu": {"period": 70000}}), &["cpu.max = 5000 70000"], kept);
        let kept = json!({"cpu": {"quota": -1, "period": 50000}});
        check(stored, json!({"cpu": {"quota": -1}}), &["cpu.max = max 50000"], kept);
    }

    #[test]
    fn an_idle_cgroup_is_not_given_its_old_shares() {
        let stored = json!({"cpu": {"shares": 512}});
        check(stored.clone(), json!({"cpu": {"idle": 1}}), &["cpu.idle = 1"], json!({"cpu": {"idle": 1}}));
        let (lines, _) = update(stored, json!({"cpu": {"idle": 0, "shares": 1024}}), Mode::V2).unwrap();
        assert_eq!(lines, ["cpu.idle = 0", "cpu.weight = 100"]);
    }

    #[test]
    fn lifting_memory_lifts_swap() {
        let stored = json!({"memory": {"limit": 4096, "swap": 8192}});
        let kept = json!({"memory": {"limit": -1, "swap": -1}});
        let written = ["memory.swap.max = max [when the file is there]", "memory.max = max"];
        check(stored, json!({"memory": {"limit": -1}}), &written, kept);
    }

    #[test]
    fn a_limit_above_the_stored_total_is_refused() {
        let stored = json!({"memory": {"limit": 4096, "swap": 8192}});
        let error = update(stored.clone(), json!({"memory": {"limit": 16384}}), Mode::V2).unwrap_err();
        assert!(error.contains("memory+swap limit should be >= memory limit"), "{error}");
        let (lines, _) =
            update(stored, json!({"memory": {"limit": 16384, "swap": 16384}}), Mode::V1).unwrap();
        assert_eq!(lines, ["memory.limit_in_bytes = 16384", "memory.memsw.limit_in_bytes = 16384"]);
    }

    #[test]
    fn devices_are_merged_by_number() {
        let device = |minor: i64, rate: u64| json!({"major": 8, "minor": minor, "rate": rate});
        let stored =
            json!({"blockIO": {"weight": 100, "throttleReadBpsDevice": [device(0, 1), device(16, 2)]}});
        let change = json!({"blockIO": {"throttleReadBpsDevice": [device(16, 3), device(32, 4)]}});
        let (lines, kept) = update(stored, change, Mode::V1).unwrap();
        let file = "blkio.throttle.read_bps_device";
        assert_eq!(
            lines[1..],
            [format!("{file} = 8:0 1"), format!("{file} = 8:16 3"), format!("{file} = 8:32 4")]
        );
        assert_eq!(
            kept["blockIO"]["throttleReadBpsDevice"],
            json!([device(0, 1), device(16, 3), device(32, 4)])
        );
        assert_eq!(kept["blockIO"]["weight"], 100);
    }

    #[test]
    fn what_an_update_does_not_change_is_warned_about_and_kept() {
        let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"});
        let stored: LinuxResources = serde_json::from_value(json!({"devices": [rule]})).unwrap();
        let change =
            read_change(json!({"devices": [{"allow": false, "access": "rwm"}], "rdma": {}})).unwrap();
        let update = plan_update(Some(&stored), &change, Mode::V2, &[]).unwrap();
        assert!(update.settings.is_empty());
        assert_eq!(update.stored.devices(), stored.devices());
        let pointers: Vec<&str> = update.warnings.iter().map(|warning| warning.at.as_str()).collect();
        assert_eq!(pointers, ["/linux/resources/rdma", "/linux/resources/devices"]);
    }

    #[test]
    fn the_check_looks_at_new_limits_only_when_asked() {
        let plan = |change: Value| {
            let stored: LinuxResources =
                serde_json::from_value(json!({"memory": {"limit": 5, "swap": 9}})).unwrap();
            plan_update(Some(&stored), &read_change(change).unwrap(), Mode::V2, &[]).unwrap().check
        };
        assert_eq!(plan(json!({"memory": {"limit": 6}})), None);
        let check = MemoryCheck { limit: Some(6), limit_with_swap: Some(9) };
        assert_eq!(plan(json!({"memory": {"limit": 6, "checkBeforeUpdate": true}})), Some(check));
        let check = MemoryCheck { limit: None, limit_with_swap: None };
        assert_eq!(plan(json!({"memory": {"limit": -1, "checkBeforeUpdate": true}})), Some(check));
    }

    #[test]
    fn a_failure_brings_back_what_was_there() {
        let stored: LinuxResources =
            serde_json::from_value(json!({"memory": {"limit": 4096}, "pids": {"limit": 3}})).unwrap();
        let change = read_change(json!({"memory": {"limit": 8192}, "cpu": {"shares": 2}})).unwrap();
        let update = plan_update(Some(&stored), &change, Mode::V2, &[]).unwrap();
        let undo: Vec<String> = update.undo.iter().map(ToString::to_string).collect();
        assert_eq!(undo, ["memory.max = 4096"]);
    }
}
