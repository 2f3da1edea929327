//! `linux.resources.memory`.

use oci_spec::runtime::LinuxMemory;

use super::invalid;
use super::settings::{Missing, Section};
use crate::error::Result;

/// The files of a memory section. Values are bytes; -1 is no limit, 0 and absent leave the file alone.
#[allow(deprecated)] // the kernel memory fields still arrive and deserve a warning
pub(super) fn plan(memory: &LinuxMemory, section: &mut Section) -> Result<()> {
    let limit = bytes(memory.limit(), "limit", section)?;
    let swap = bytes(memory.swap(), "swap", section)?;
    let reservation = bytes(memory.reservation(), "reservation", section)?;
    section.report.keep(check_swap(limit, swap, section.pointer))?;
    if section.is_v2() {
        if let Some(value) = swap_on_v2(limit, swap) {
            let setting = section.setting("swap", "memory.swap.max", &value);
            // Without swap accounting there is no swap to limit, so only a real limit needs the file.
            let harmless = matches!(value.as_str(), "max" | "0");
            section.settings.push(if harmless { setting.missing(Missing::Ignore) } else { setting });
        }
        if let Some(limit) = limit {
            section.set("limit", "memory.max", amount_on_v2(limit));
        }
        if let Some(reservation) = reservation {
            section.set("reservation", "memory.low", amount_on_v2(reservation));
        }
    } else {
        if let Some(limit) = limit {
            section.set("limit", "memory.limit_in_bytes", limit);
        }
        match swap {
            Some(swap) => section.set("swap", "memory.memsw.limit_in_bytes", swap),
            // runc: lifting the memory limit lifts the limit of memory and swap together.
            None if limit == Some(-1) => {
                let setting = section.setting("limit", "memory.memsw.limit_in_bytes", -1);
                section.settings.push(setting.missing(Missing::Ignore));
            }
            None => {}
        }
        if let Some(reservation) = reservation {
            section.set("reservation", "memory.soft_limit_in_bytes", reservation);
        }
    }
    if let Some(swappiness) = memory.swappiness() {
        if swappiness > 100 {
            section.refuse("swappiness", format!("swappiness {swappiness} is above 100"))?;
        } else if section.is_v2() {
            section.warn("swappiness", "cgroup v2 has no swappiness of its own, ignored");
        } else {
            section.set("swappiness", "memory.swappiness", swappiness);
        }
    }
    if memory.disable_oom_killer() == Some(true) {
        if section.is_v2() {
            section.warn("disableOOMKiller", "cgroup v2 cannot disable the OOM killer, ignored");
        } else {
            section.set("disableOOMKiller", "memory.oom_control", 1);
        }
    }
    if memory.use_hierarchy() == Some(false) {
        section.warn("useHierarchy", "memory accounting is always hierarchical, ignored");
    }
    for (field, value) in [("kernel", memory.kernel()), ("kernelTCP", memory.kernel_tcp())] {
        if value.is_some_and(|value| value != 0) {
            section.warn(field, "kernel memory has no limit of its own any more, ignored");
        }
    }
    Ok(())
}

fn bytes(value: Option<i64>, field: &str, section: &mut Section) -> Result<Option<i64>> {
    match value {
        None | Some(0) => Ok(None),
        Some(value) if value < -1 => {
            let problem = format!("{value} is neither a number of bytes nor -1 for no limit");
            section.refuse(field, problem).map(|()| None)
        }
        value => Ok(value),
    }
}

fn check_swap(limit: Option<i64>, swap: Option<i64>, pointer: &str) -> Result<()> {
    let at = format!("{pointer}/swap");
    match (limit, swap) {
        (None, Some(swap)) if swap > 0 => Err(invalid(at, "unable to set swap limit without memory limit")),
        (Some(limit), Some(swap)) if swap > 0 && limit > swap => Err(invalid(
            at,
            format!("memory+swap limit should be >= memory limit, and {swap} is less than {limit}"),
        )),
        _ => Ok(()),
    }
}

/// Version 1 limits memory and swap together, cgroup2 swap alone.
fn swap_on_v2(limit: Option<i64>, swap: Option<i64>) -> Option<String> {
    match (limit, swap) {
        (Some(-1), None) | (_, Some(-1)) => Some("max".to_owned()),
        (Some(-1) | None, Some(swap)) => Some(swap.to_string()),
        (Some(limit), Some(swap)) => Some((swap - limit).to_string()),
        (_, None) => None,
    }
}

fn amount_on_v2(bytes: i64) -> String {
    if bytes < 0 { "max".to_owned() } else { bytes.to_string() }
}
