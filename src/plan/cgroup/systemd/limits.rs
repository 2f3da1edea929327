//! The files of `linux.resources` as properties of a unit.
//!
//! systemd writes the files of a unit again whenever it sees fit, with the values that it knows. What it does not
//! know would be lost then, so every limit that has a property is told to it. The files are written all the same,
//! afterwards: not every limit has a property, and some are rounded.
//! Source: systemd.resource-control(5), org.freedesktop.systemd1(5).

use super::Property;
use super::value::Value;
use crate::plan::cgroup::cpu::DEFAULT_PERIOD_USEC;
use crate::plan::cgroup::settings::{Missing, Setting};

/// "No limit".
const INFINITY: u64 = u64::MAX;

/// systemd counts quotas in steps of 10 ms for each second of time.
const QUOTA_STEP_USEC: u64 = 10_000;

/// How many processors and memory nodes systemd knows, as does the kernel. It refuses (ERANGE) a unit with more of
/// them; left to the file they are refused with the name of the field.
const LARGEST_SET: u32 = 8192;

/// The properties that say what `settings` say. The last setting of a file counts, as for the kernel.
pub fn properties(settings: &[Setting]) -> Vec<Property> {
    let mut properties: Vec<Property> = Vec::new();
    for setting in settings {
        for (name, value, since) in property(setting, settings) {
            properties.retain(|property| property.name != name);
            properties.push(Property {
                name: name.to_owned(),
                value,
                pointer: setting.pointer.clone(),
                since,
            });
        }
    }
    properties
}

type Found = (&'static str, Value, u32);

fn property(setting: &Setting, all: &[Setting]) -> Vec<Found> {
    let value = setting.value.trim();
    let amount = |name, since| amount(value).map(|bytes| (name, Value::Uint64(bytes), since));
    let one = match setting.file.as_str() {
        "pids.max" => amount("TasksMax", 0),
        "memory.max" => amount("MemoryMax", 0),
        "memory.high" => amount("MemoryHigh", 0),
        "memory.low" => amount("MemoryLow", 0),
        "memory.min" => amount("MemoryMin", 240),
        "memory.swap.max" => amount("MemorySwapMax", 0),
        "memory.zswap.max" => amount("MemoryZSwapMax", 253),
        "memory.limit_in_bytes" => amount("MemoryLimit", 0),
        "memory.oom.group" => oom_policy(value),
        "cpu.weight" => plain("CPUWeight", value, 0),
        // Leaving the idle class brings the usual weight back.
        "cpu.idle" => Some(("CPUWeight", Value::Uint64(if value == "1" { 0 } else { 100 }), 252)),
        "cpu.shares" => plain("CPUShares", value, 0),
        "io.weight" => plain("IOWeight", value.strip_prefix("default ").unwrap_or(value), 0),
        "io.bfq.weight" => io_weight(setting),
        "blkio.weight" => plain("BlockIOWeight", value, 0),
        "cpuset.cpus" => set("AllowedCPUs", value),
        "cpuset.mems" => set("AllowedMemoryNodes", value),
        "cpu.max" => return bandwidth_of_v2(value),
        "cpu.cfs_quota_us" | "cpu.cfs_period_us" => return bandwidth_of_v1(all),
        _ => None,
    };
    one.into_iter().collect()
}

/// A number of bytes or tasks with the suffixes that the kernel reads; `max` and -1 are no limit.
fn amount(text: &str) -> Option<u64> {
    if matches!(text, "max" | "-1") {
        return Some(INFINITY);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        "p" | "P" => 50,
        "e" | "E" => 60,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn plain(name: &'static str, text: &str, since: u32) -> Option<Found> {
    text.parse().ok().map(|number| (name, Value::Uint64(number), since))
}

/// The weight in the units of `io.weight`, which is what the property means whatever the scheduler.
fn io_weight(setting: &Setting) -> Option<Found> {
    match &setting.missing {
        Missing::Instead(file, value) if file == "io.weight" => plain("IOWeight", value, 0),
        _ => None,
    }
}

fn oom_policy(text: &str) -> Option<Found> {
    let policy = match text {
        "0" => "continue",
        "1" => "kill",
        _ => return None,
    };
    Some(("OOMPolicy", Value::string(policy), 253))
}

fn bandwidth_of_v2(text: &str) -> Vec<Found> {
    let mut fields = text.split_ascii_whitespace();
    let quota = match fields.next() {
        Some("max") => None,
        Some(quota) => match quota.parse() {
            Ok(quota) => Some(quota),
            Err(_) => return Vec::new(),
        },
        None => return Vec::new(),
    };
    let period = fields.next().and_then(|period| period.parse().ok()).unwrap_or(DEFAULT_PERIOD_USEC);
    bandwidth(quota, period)
}

fn bandwidth_of_v1(settings: &[Setting]) -> Vec<Found> {
    let number = |file| {
        let setting = settings.iter().rfind(|setting| setting.file == file)?;
        setting.value.parse::<u64>().ok().filter(|number| *number > 0)
    };
    bandwidth(number("cpu.cfs_quota_us"), number("cpu.cfs_period_us").unwrap_or(DEFAULT_PERIOD_USEC))
}

fn bandwidth(quota: Option<u64>, period: u64) -> Vec<Found> {
    let per_second = match quota {
        None => INFINITY,
        Some(quota) => {
            let per_second = quota.saturating_mul(1_000_000) / period.max(1);
            per_second.div_ceil(QUOTA_STEP_USEC).saturating_mul(QUOTA_STEP_USEC)
        }
    };
    vec![
        ("CPUQuotaPerSecUSec", Value::Uint64(per_second), 0),
        ("CPUQuotaPeriodUSec", Value::Uint64(period), 242),
    ]
}

/// A list such as `0-3,7` as a mask: bit 0 of the first byte is number 0.
fn set(name: &'static str, text: &str) -> Option<Found> {
    let mut mask: Vec<u8> = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (range, stride) =
            part.split_once(':').map_or((part, None), |(range, stride)| (range, Some(stride)));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let (used, group): (u32, u32) = match stride.map(|stride| stride.split_once('/')) {
            None => (1, 1),
            Some(stride) => {
                stride.and_then(|(used, group)| Some((used.parse().ok()?, group.parse().ok()?)))?
            }
        };
        if last >= LARGEST_SET || group == 0 {
            return None;
        }
        for number in (first..=last).filter(|number| (number - first) % group < used) {
            let byte = number as usize / 8;
            if mask.len() <= byte {
                mask.resize(byte + 1, 0);
            }
            mask[byte] |= 1 << (number % 8);
        }
    }
    Some((name, Value::bytes(mask), 244))
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxResources;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::plan::cgroup::{Mode, settings};

    #[track_caller]
    fn check(resources: Json, mode: Mode, expected: &[&str]) {
        let resources: LinuxResources = serde_json::from_value(resources).unwrap();
        let settings =
            settings::settings(&resources, mode, &[], &mut crate::report::Report::of_first_error()).unwrap();
        let lines: Vec<String> = properties(&settings).iter().map(ToString::to_string).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn limits_of_version_2() {
        let resources = json!({
            "memory": {"limit": 1000, "swap": 3000, "reservation": -1},
            "pids": {"limit": 0},
            "cpu": {"shares": 1024, "quota": 33_333, "period": 100_000, "cpus": "0-2,9", "mems": "0"},
            "blockIO": {"weight": 1000},
        });
        let expected = [
            "TasksMax = uint64 1",
            "MemorySwapMax = uint64 2000",
            "MemoryMax = uint64 1000",
            "MemoryLow = uint64 18446744073709551615",
            "IOWeight = uint64 10000",
            "CPUWeight = uint64 100",
            "CPUQuotaPerSecUSec = uint64 340000",
            "CPUQuotaPeriodUSec = uint64 100000 [since systemd 242]",
            "AllowedCPUs = [byte 0x07, 0x02] [since systemd 244]",
            "AllowedMemoryNodes = [byte 0x01] [since systemd 244]",
        ];
        check(resources, Mode::V2, &expected);
    }

    #[test]
    fn limits_of_version_1() {
        let resources = json!({
            "memory": {"limit": -1, "swap": -1, "reservation": 500},
            "pids": {"limit": -1},
            "cpu": {"shares": 512, "quota": -1, "period": 50_000, "cpus": "0"},
            "blockIO": {"weight": 10},
        });
        let expected = [
            "TasksMax = uint64 18446744073709551615",
            "MemoryLimit = uint64 18446744073709551615",
            "BlockIOWeight = uint64 10",
            "CPUShares = uint64 512",
            "CPUQuotaPerSecUSec = uint64 18446744073709551615",
            "CPUQuotaPeriodUSec = uint64 50000 [since systemd 242]",
            "AllowedCPUs = [byte 0x01] [since systemd 244]",
        ];
        check(resources, Mode::V1, &expected);
        check(
            json!({"cpu": {"quota": 5000}}),
            Mode::V1,
            &["CPUQuotaPerSecUSec = uint64 50000", "CPUQuotaPeriodUSec = uint64 100000 [since systemd 242]"],
        );
    }

    #[test]
    fn raw_files_are_mirrored_and_win() {
        let resources = json!({
            "memory": {"limit": 1000},
            "unified": {
                "memory.max": "2M", "memory.high": "max", "memory.min": "1K", "memory.oom.group": "1",
                "memory.zswap.max": "0", "cpu.max": "5000", "cpu.idle": "1", "cpuset.cpus": "0-6:1/2",
                "io.weight": "default 50", "io.max": "8:0 rbps=5", "hugetlb.2MB.max": "0", "misc.max": "x 5",
            },
        });
        let expected = [
            "CPUWeight = uint64 0 [since systemd 252]",
            "CPUQuotaPerSecUSec = uint64 50000",
            "CPUQuotaPeriodUSec = uint64 100000 [since systemd 242]",
            "AllowedCPUs = [byte 0x55] [since systemd 244]",
            "IOWeight = uint64 50",
            "MemoryHigh = uint64 18446744073709551615",
            "MemoryMax = uint64 2097152",
            "MemoryMin = uint64 1024 [since systemd 240]",
            "OOMPolicy = 'kill' [since systemd 253]",
            "MemoryZSwapMax = uint64 0 [since systemd 253]",
        ];
        check(resources, Mode::V2, &expected);
    }

    #[test]
    fn what_cannot_be_said_is_left_to_the_file() {
        let unified = json!({"unified": {
            "memory.max": "much", "cpu.max": "some", "cpu.weight": "idle", "cpuset.cpus": "0-99999999",
            "io.weight": "8:0 50", "pids.max": "99999999999999999999",
        }});
        check(unified, Mode::V2, &[]);
    }
}
