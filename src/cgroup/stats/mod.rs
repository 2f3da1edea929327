//! The figures of a container, in the JSON that `events` prints and containerd's tools read.
//!
//! Field names and units are those that readers know from runc. A file that this kernel or hierarchy does not
//! have leaves its field out; only a cgroup that cannot be read at all is an error.

mod v1;
mod v2;

use std::collections::BTreeMap;

use serde::Serialize;

use super::Cgroup;
use super::dir::Dir;
use crate::error::{Errno, Result};
use crate::resctrl::stats::Figures;

/// One record of the stream.
#[derive(Debug, Serialize)]
struct Record<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Stats>,
}

/// The line of a record of figures, without the end of line.
pub fn stats_record(id: &str, stats: &Stats) -> String {
    record("stats", id, Some(stats))
}

/// The line that says that the kernel killed a process of the container for lack of memory.
pub fn oom_record(id: &str) -> String {
    record("oom", id, None)
}

fn record(kind: &str, id: &str, data: Option<&Stats>) -> String {
    // Maps have string keys and numbers are finite, so there is nothing that JSON could not express.
    serde_json::to_string(&Record { kind, id, data }).unwrap_or_default()
}

/// Everything that is known. Members are always present, possibly empty.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)] // the names are those of the output format
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: Cpuset,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    pub hugetlb: BTreeMap<String, Hugetlb>,
    pub intel_rdt: Figures,
    pub network_interfaces: Option<Vec<NetworkInterface>>,
}

/// Times are nanoseconds.
#[derive(Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Cpu {
    pub usage: CpuUsage,
    #[serde(skip_serializing_if = "is_default")]
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Times are nanoseconds.
#[derive(Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "is_default")]
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

/// Periods are counts, the time is nanoseconds.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Throttling {
    #[serde(skip_serializing_if = "is_default")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub throttled_periods: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub throttled_time: u64,
}

/// Shares of time in percent, totals in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Pressure {
    pub some: PressureLine,
    pub full: PressureLine,
}

/// One line of a pressure file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct PressureLine {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

/// What version 1 tells about its cpuset; zeros on cgroup2.
#[derive(Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Bytes.
#[derive(Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Memory {
    #[serde(skip_serializing_if = "is_default")]
    pub cache: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub usage: MemoryEntry,
    #[serde(skip_serializing_if = "is_default")]
    pub swap: MemoryEntry,
    #[serde(skip_serializing_if = "is_default")]
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP", skip_serializing_if = "is_default")]
    pub kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Bytes, and how often the limit was hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct MemoryEntry {
    pub limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub max: u64,
    pub failcnt: u64,
}

/// Counts; a limit of 0 is none.
#[derive(Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Pids {
    #[serde(skip_serializing_if = "is_default")]
    pub current: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub limit: u64,
}

/// Figures of each block device.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    // Not "ioQueued": this is the name that readers know.
    #[serde(skip_serializing_if = "Vec::is_empty", rename = "ioQueueRecursive")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One figure of one block device.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "is_default")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "is_default")]
    pub value: u64,
}

/// Bytes, and how often the limit was hit.
#[derive(Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "is_default")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub max: u64,
    pub failcnt: u64,
}

/// Bytes and packets of one interface.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct NetworkInterface {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Cgroup {
    /// The figures of now.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        // In a hybrid layout each controller counts in one of the hierarchies only.
        if let Some(dir) = self.v2() {
            v2::collect(dir, &mut stats)
                .map_err(|errno| dir.error("read figures of", "", "read(2)", errno))?;
        }
        for member in &self.members {
            let Some(dir) = member.dir.as_ref().filter(|_| !member.has_key("")) else { continue };
            for controller in &member.keys {
                v1::collect(controller, dir, &mut stats)
                    .map_err(|errno| dir.error("read figures of", "", "read(2)", errno))?;
            }
        }
        if stats.pids == Pids::default() {
            stats.pids.current = self.pids()?.len() as u64;
        }
        Ok(stats)
    }
}

/// The content of a file, or nothing when there is no such file or the kernel does not support it.
fn optional(dir: &Dir, file: &str) -> std::result::Result<Option<String>, Errno> {
    match dir.read(file) {
        Ok(content) => Ok(Some(content)),
        Err(Errno::ENOENT | Errno::EOPNOTSUPP | Errno::ENODEV | Errno::EACCES) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A number in a file of its own; `max` is the largest number.
fn number(dir: &Dir, file: &str) -> std::result::Result<Option<u64>, Errno> {
    Ok(optional(dir, file)?.and_then(|content| parse_number(&content)))
}

fn parse_number(content: &str) -> Option<u64> {
    match content.trim() {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// Every `key value` line.
fn pairs(content: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    content.lines().filter_map(pair).collect()
}

/// The page sizes of huge pages, from the names of files such as `hugetlb.2MB.max`.
fn page_sizes(dir: &Dir, suffix: &str) -> std::result::Result<Vec<String>, Errno> {
    let names = dir.files()?;
    let size = |name: &String| {
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
        (!size.contains('.')).then(|| size.to_owned())
    };
    Ok(names.iter().filter_map(size).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_start_as_readers_expect() {
        let line = stats_record("c\"1", &Stats::default());
        assert!(
            line.starts_with(r#"{"type":"stats","id":"c\"1","data":{"cpu":{"usage":{"kernel":0,"user":0}}"#),
            "{line}"
        );
        for member in [
            "cpuset",
            "memory\":{}",
            "pids\":{}",
            "blkio\":{}",
            "hugetlb\":{}",
            "intel_rdt\":{}",
            "network_interfaces\":null",
        ] {
            assert!(line.contains(member), "{member} in {line}");
        }
        assert_eq!(oom_record("c1"), r#"{"type":"oom","id":"c1"}"#);
    }

    #[test]
    fn a_limit_stands_even_when_nothing_is_used() {
        let memory =
            Memory { usage: MemoryEntry { limit: 5, ..MemoryEntry::default() }, ..Memory::default() };
        assert_eq!(serde_json::to_string(&memory).unwrap(), r#"{"usage":{"limit":5,"failcnt":0}}"#);
    }
}
