//! Figures from the files of cgroup2.

use super::{Blkio, BlkioEntry, Cpu, Hugetlb, Memory, MemoryEntry, Pids, Pressure, PressureLine, Stats};
use super::{number, optional, page_sizes, pairs};
use crate::cgroup::dir::{Dir, keyed};
use crate::error::Errno;

type Outcome<T> = Result<T, Errno>;

pub(super) fn collect(dir: &Dir, stats: &mut Stats) -> Outcome<()> {
    stats.cpu = cpu(dir)?;
    stats.memory = memory(dir)?;
    stats.pids = pids(dir)?;
    stats.blkio = blkio(dir)?;
    for size in page_sizes(dir, ".max")? {
        let entry = hugetlb(dir, &size)?;
        stats.hugetlb.insert(size, entry);
    }
    Ok(())
}

fn cpu(dir: &Dir) -> Outcome<Cpu> {
    let mut cpu = Cpu { psi: pressure(dir, "cpu.pressure")?, ..Cpu::default() };
    let stat = pairs(&optional(dir, "cpu.stat")?.unwrap_or_default());
    let count = |key: &str| stat.get(key).copied().unwrap_or_default();
    let nanoseconds = |key: &str| count(key).saturating_mul(1000);
    cpu.usage.total = nanoseconds("usage_usec");
    cpu.usage.user = nanoseconds("user_usec");
    cpu.usage.kernel = nanoseconds("system_usec");
    cpu.throttling.periods = count("nr_periods");
    cpu.throttling.throttled_periods = count("nr_throttled");
    cpu.throttling.throttled_time = nanoseconds("throttled_usec");
    Ok(cpu)
}

/// The figures for swap are those of memory and swap together, as on version 1.
fn memory(dir: &Dir) -> Outcome<Memory> {
    let Some(usage) = number(dir, "memory.current")? else { return Ok(Memory::default()) };
    let limit = number(dir, "memory.max")?.unwrap_or_default();
    let raw = pairs(&optional(dir, "memory.stat")?.unwrap_or_default());
    let peak = number(dir, "memory.peak")?.unwrap_or_default();
    let swap_usage = number(dir, "memory.swap.current")?;
    let swap_limit = number(dir, "memory.swap.max")?;
    let swap = match (swap_usage, swap_limit) {
        (Some(swap_usage), Some(swap_limit)) => MemoryEntry {
            // `max` is the largest number, and stays it.
            limit: swap_limit.saturating_add(limit),
            usage: swap_usage.saturating_add(usage),
            ..MemoryEntry::default()
        },
        _ => MemoryEntry { limit, usage, ..MemoryEntry::default() },
    };
    Ok(Memory {
        cache: raw.get("file").copied().unwrap_or_default(),
        usage: MemoryEntry { limit, usage, max: peak, failcnt: 0 },
        swap,
        raw,
        psi: pressure(dir, "memory.pressure")?,
        ..Memory::default()
    })
}

fn pids(dir: &Dir) -> Outcome<Pids> {
    let current = number(dir, "pids.current")?.unwrap_or_default();
    let limit = number(dir, "pids.max")?.filter(|limit| *limit != u64::MAX).unwrap_or_default();
    Ok(Pids { current, limit })
}

fn blkio(dir: &Dir) -> Outcome<Blkio> {
    let mut blkio = parse_io_stat(&optional(dir, "io.stat")?.unwrap_or_default());
    blkio.psi = pressure(dir, "io.pressure")?;
    Ok(blkio)
}

/// Lines such as `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`; discards have no place in the format.
fn parse_io_stat(content: &str) -> Blkio {
    let mut blkio = Blkio::default();
    for line in content.lines() {
        let mut fields = line.split(' ');
        let Some((major, minor)) = fields.next().and_then(device_number) else { continue };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
    blkio
}

fn device_number(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Pages set aside, where the kernel counts them, else pages in use.
fn hugetlb(dir: &Dir, size: &str) -> Outcome<Hugetlb> {
    let usage = match number(dir, &format!("hugetlb.{size}.rsvd.current"))? {
        Some(usage) => Some(usage),
        None => number(dir, &format!("hugetlb.{size}.current"))?,
    };
    let events = optional(dir, &format!("hugetlb.{size}.events"))?.unwrap_or_default();
    Ok(Hugetlb {
        usage: usage.unwrap_or_default(),
        max: 0,
        failcnt: keyed(&events, "max").unwrap_or_default(),
    })
}

fn pressure(dir: &Dir, file: &str) -> Outcome<Option<Pressure>> {
    Ok(optional(dir, file)?.as_deref().and_then(parse_pressure))
}

/// Lines such as `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn parse_pressure(content: &str) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    for line in content.lines() {
        let mut fields = line.split(' ');
        let to = match fields.next()? {
            "some" => &mut pressure.some,
            "full" => &mut pressure.full,
            _ => continue,
        };
        *to = parse_pressure_line(fields)?;
    }
    Some(pressure)
}

fn parse_pressure_line<'a>(fields: impl Iterator<Item = &'a str>) -> Option<PressureLine> {
    let mut line = PressureLine::default();
    for (key, value) in fields.filter_map(|field| field.split_once('=')) {
        match key {
            "avg10" => line.avg10 = value.parse().ok()?,
            "avg60" => line.avg60 = value.parse().ok()?,
            "avg300" => line.avg300 = value.parse().ok()?,
            "total" => line.total = value.parse().ok()?,
            _ => {}
        }
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_stat_is_split_by_operation() {
        let blkio = parse_io_stat("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n253:1\nbroken\n");
        let entry = |op: &str, value| BlkioEntry { major: 8, minor: 0, op: op.to_owned(), value };
        assert_eq!(blkio.io_service_bytes_recursive, [entry("Read", 1), entry("Write", 2)]);
        assert_eq!(blkio.io_serviced_recursive, [entry("Read", 3), entry("Write", 4)]);
    }

    #[test]
    fn pressure_has_two_lines() {
        let content = "some avg10=1.50 avg60=0.00 avg300=0.25 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
        let pressure = parse_pressure(content).unwrap();
        assert_eq!(pressure.some, PressureLine { avg10: 1.5, avg60: 0.0, avg300: 0.25, total: 77 });
        assert_eq!(pressure.full.total, 3);
        assert_eq!(parse_pressure("some avg10=x"), None);
    }
}
