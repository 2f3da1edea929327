//! `linux.resources.cpu`: shares, bandwidth, real time, and the sets of processors and memory nodes.

use oci_spec::runtime::LinuxCpu;

use super::settings::{Missing, Section};
use crate::error::Result;

const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;
const PERIOD_USEC: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
const SMALLEST_QUOTA_USEC: i64 = 1_000;
/// The period of a cgroup that was never told one.
pub(super) const DEFAULT_PERIOD_USEC: u64 = 100_000;

/// The files of the cpu controller.
pub(super) fn plan(cpu: &LinuxCpu, section: &mut Section) -> Result<()> {
    let shares = cpu.shares().filter(|shares| *shares != 0);
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    check_bandwidth(quota, period, cpu.burst(), section)?;
    if let Some(idle) = cpu.idle() {
        if !matches!(idle, 0 | 1) {
            section.refuse("idle", format!("{idle} is neither 0 nor 1"))?;
        } else {
            section.set("idle", "cpu.idle", idle);
        }
    }
    if let Some(shares) = shares {
        plan_shares(shares, cpu.idle() == Some(1), section)?;
    }
    plan_realtime(cpu, section)?;
    if let Some(burst) = cpu.burst() {
        let file = if section.is_v2() { "cpu.max.burst" } else { "cpu.cfs_burst_us" };
        let setting = section.setting("burst", file, burst).retry_last();
        // A kernel that cannot burst gives none, which is what 0 asks for.
        section.settings.push(if burst == 0 { setting.missing(Missing::Ignore) } else { setting });
    }
    if section.is_v2() {
        if quota.is_some() || period.is_some() {
            let quota =
                quota.filter(|quota| *quota > 0).map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            let field = if cpu.quota().is_some() { "quota" } else { "period" };
            section.set(field, "cpu.max", format!("{quota} {}", period.unwrap_or(DEFAULT_PERIOD_USEC)));
        }
    } else {
        if let Some(period) = period {
            let setting = section.setting("period", "cpu.cfs_period_us", period).retry_last();
            section.settings.push(setting);
        }
        if let Some(quota) = quota {
            section.set("quota", "cpu.cfs_quota_us", quota.max(-1));
        }
    }
    Ok(())
}

fn plan_shares(shares: u64, idle: bool, section: &mut Section) -> Result<()> {
    if idle {
        section.warn("shares", "an idle cgroup has no shares, ignored");
    } else if section.is_v2() {
        section.set("shares", "cpu.weight", weight(shares));
    } else if SHARES.contains(&shares) {
        section.set("shares", "cpu.shares", shares);
    } else {
        let (low, high) = (SHARES.start(), SHARES.end());
        section.refuse("shares", format!("{shares} shares are not within {low} and {high}"))?;
    }
    Ok(())
}

fn check_bandwidth(
    quota: Option<i64>,
    period: Option<u64>,
    burst: Option<u64>,
    section: &mut Section,
) -> Result<()> {
    if let Some(period) = period.filter(|period| !PERIOD_USEC.contains(period)) {
        let (low, high) = (PERIOD_USEC.start(), PERIOD_USEC.end());
        section.refuse("period", format!("{period} microseconds are not within {low} and {high}"))?;
    }
    let Some(quota) = quota.filter(|quota| *quota > 0) else { return Ok(()) };
    if quota < SMALLEST_QUOTA_USEC {
        section.refuse("quota", format!("{quota} microseconds are less than {SMALLEST_QUOTA_USEC}"))?;
    }
    match burst {
        Some(burst) if burst > quota.unsigned_abs() => {
            section.refuse("burst", format!("the burst of {burst} is larger than the quota of {quota}"))
        }
        _ => Ok(()),
    }
}

/// Period before runtime: the kernel compares the pair with what the parent has.
fn plan_realtime(cpu: &LinuxCpu, section: &mut Section) -> Result<()> {
    let period = cpu.realtime_period().filter(|period| *period != 0);
    let runtime = cpu.realtime_runtime().filter(|runtime| *runtime != 0);
    let field = if period.is_some() { "realtimePeriod" } else { "realtimeRuntime" };
    if section.is_v2() && (period.is_some() || runtime.is_some()) {
        return section.refuse(field, "cgroup v2 has no real-time limits");
    }
    if let Some(period) = period {
        section.set("realtimePeriod", "cpu.rt_period_us", period);
    }
    if let Some(runtime) = runtime {
        section.set("realtimeRuntime", "cpu.rt_runtime_us", runtime);
    }
    Ok(())
}

/// The files of the cpuset controller.
pub(super) fn plan_cpuset(cpu: &LinuxCpu, section: &mut Section) -> Result<()> {
    for (field, file, list) in [("cpus", "cpuset.cpus", cpu.cpus()), ("mems", "cpuset.mems", cpu.mems())] {
        let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else { continue };
        if !is_list(list) {
            section.refuse(field, format!("{list:?} is no list of numbers and ranges"))?;
            continue;
        }
        section.set(field, file, list);
    }
    Ok(())
}

/// Whether `text` is a list such as `0-3,7`, or with strides such as `0-30:1/2`.
pub(super) fn is_list(text: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok();
    text.trim_end_matches('\n').split(',').all(|part| {
        let (range, stride) = match part.split_once(':') {
            Some((range, stride)) => (range, Some(stride)),
            None => (part, None),
        };
        let stride_is_valid = match stride.map(|stride| stride.split_once('/')) {
            None => true,
            Some(Some((used, group))) => {
                matches!((number(used), number(group)), (Some(u), Some(g)) if u <= g && g > 0)
            }
            Some(None) => false,
        };
        let range_is_valid = match range.trim().split_once('-') {
            None => number(range.trim()).is_some() && stride.is_none(),
            Some((first, last)) => matches!((number(first), number(last)), (Some(f), Some(l)) if f <= l),
        };
        stride_is_valid && range_is_valid
    })
}

/// The weight on cgroup2 that corresponds to shares on version 1: 2 gives 1, 1024 gives 100, 262144 gives 10000.
///
/// The exponent is the quadratic in log2(shares) through these three points, so that the defaults of both
/// hierarchies meet; a straight line would make a default container 39.
pub fn weight(shares: u64) -> u64 {
    if shares <= *SHARES.start() {
        return 1;
    }
    if shares >= *SHARES.end() {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // 1024 shares must be exactly 100, whatever the last bit of the power is.
    let weight = 10_f64.powf(exponent);
    let rounded = weight.round();
    let weight = if (weight - rounded).abs() < 1e-6 { rounded } else { weight.ceil() };
    (weight as u64).clamp(1, 10_000)
}
