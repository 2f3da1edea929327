//! Figures from the files of version 1, one controller at a time.

use super::{Blkio, BlkioEntry, CpuUsage, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Stats};
use super::{number, optional, page_sizes, pairs};
use crate::cgroup::dir::Dir;
use crate::error::Errno;

type Outcome<T> = Result<T, Errno>;

pub(super) fn collect(controller: &str, dir: &Dir, stats: &mut Stats) -> Outcome<()> {
    match controller {
        "cpu" => {
            let stat = pairs(&optional(dir, "cpu.stat")?.unwrap_or_default());
            let count = |key: &str| stat.get(key).copied().unwrap_or_default();
            stats.cpu.throttling.periods = count("nr_periods");
            stats.cpu.throttling.throttled_periods = count("nr_throttled");
            stats.cpu.throttling.throttled_time = count("throttled_time");
        }
        "cpuacct" => stats.cpu.usage = cpu_usage(dir)?,
        "cpuset" => stats.cpuset = cpuset(dir)?,
        "memory" => stats.memory = memory(dir)?,
        "pids" => {
            let limit = number(dir, "pids.max")?.filter(|limit| *limit != u64::MAX).unwrap_or_default();
            stats.pids = Pids { current: number(dir, "pids.current")?.unwrap_or_default(), limit };
        }
        "blkio" => stats.blkio = blkio(dir)?,
        "hugetlb" => {
            for size in page_sizes(dir, ".limit_in_bytes")? {
                let figure = |name: &str| number(dir, &format!("hugetlb.{size}.{name}"));
                let entry = Hugetlb {
                    usage: figure("usage_in_bytes")?.unwrap_or_default(),
                    max: figure("max_usage_in_bytes")?.unwrap_or_default(),
                    failcnt: figure("failcnt")?.unwrap_or_default(),
                };
                stats.hugetlb.insert(size, entry);
            }
        }
        _ => {}
    }
    Ok(())
}

fn cpu_usage(dir: &Dir) -> Outcome<CpuUsage> {
    let ticks = pairs(&optional(dir, "cpuacct.stat")?.unwrap_or_default());
    let nanoseconds =
        |key: &str| ticks.get(key).copied().unwrap_or_default().saturating_mul(nanoseconds_of_tick());
    let percpu = optional(dir, "cpuacct.usage_percpu")?.unwrap_or_default();
    let (percpu_user, percpu_kernel) =
        parse_usage_all(&optional(dir, "cpuacct.usage_all")?.unwrap_or_default());
    Ok(CpuUsage {
        total: number(dir, "cpuacct.usage")?.unwrap_or_default(),
        percpu: percpu.split_whitespace().filter_map(|text| text.parse().ok()).collect(),
        percpu_kernel,
        percpu_user,
        kernel: nanoseconds("system"),
        user: nanoseconds("user"),
    })
}

/// The unit of `cpuacct.stat`.
fn nanoseconds_of_tick() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    1_000_000_000 / u64::try_from(ticks).unwrap_or(100).max(1)
}

/// A head line, then number, user time and kernel time of each processor. Returns user and kernel times.
fn parse_usage_all(content: &str) -> (Vec<u64>, Vec<u64>) {
    let row = |line: &str| {
        let mut fields = line.split_whitespace().skip(1).map(|field| field.parse::<u64>().ok());
        Some((fields.next()??, fields.next()??))
    };
    content.lines().skip(1).filter_map(row).unzip()
}

fn cpuset(dir: &Dir) -> Outcome<Cpuset> {
    let list = |file: &str| Ok::<_, Errno>(parse_list(&optional(dir, file)?.unwrap_or_default()));
    let flag = |file: &str| Ok::<_, Errno>(number(dir, &format!("cpuset.{file}"))?.unwrap_or_default());
    let level = optional(dir, "cpuset.sched_relax_domain_level")?.and_then(|text| text.trim().parse().ok());
    Ok(Cpuset {
        cpus: list("cpuset.cpus")?,
        cpu_exclusive: flag("cpu_exclusive")?,
        mems: list("cpuset.mems")?,
        mem_hardwall: flag("mem_hardwall")?,
        mem_exclusive: flag("mem_exclusive")?,
        memory_migrate: flag("memory_migrate")?,
        memory_spread_page: flag("memory_spread_page")?,
        memory_spread_slab: flag("memory_spread_slab")?,
        memory_pressure: flag("memory_pressure")?,
        sched_load_balance: flag("sched_load_balance")?,
        sched_relax_domain_level: level.unwrap_or_default(),
    })
}

/// The numbers of a list such as `0-2,7`.
fn parse_list(content: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse().ok()?)
    };
    content.trim().split(',').filter_map(range).flatten().collect()
}

fn memory(dir: &Dir) -> Outcome<Memory> {
    let raw = pairs(&optional(dir, "memory.stat")?.unwrap_or_default());
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or_default(),
        usage: memory_entry(dir, "memory")?,
        swap: memory_entry(dir, "memory.memsw")?,
        kernel: memory_entry(dir, "memory.kmem")?,
        kernel_tcp: memory_entry(dir, "memory.kmem.tcp")?,
        raw,
        psi: None,
    })
}

fn memory_entry(dir: &Dir, prefix: &str) -> Outcome<MemoryEntry> {
    let figure = |name: &str| Ok::<_, Errno>(number(dir, &format!("{prefix}.{name}"))?.unwrap_or_default());
    Ok(MemoryEntry {
        limit: figure("limit_in_bytes")?,
        usage: figure("usage_in_bytes")?,
        max: figure("max_usage_in_bytes")?,
        failcnt: figure("failcnt")?,
    })
}

/// The scheduler that counts has figures; the others show empty files, or none.
fn blkio(dir: &Dir) -> Outcome<Blkio> {
    for scheduler in ["bfq.", ""] {
        let list = |name: &str| entries(dir, &format!("blkio.{scheduler}{name}_recursive"));
        let blkio = Blkio {
            io_service_bytes_recursive: list("io_service_bytes")?,
            io_serviced_recursive: list("io_serviced")?,
            io_queued_recursive: list("io_queued")?,
            io_service_time_recursive: list("io_service_time")?,
            io_wait_time_recursive: list("io_wait_time")?,
            io_merged_recursive: list("io_merged")?,
            io_time_recursive: list("time")?,
            sectors_recursive: list("sectors")?,
            psi: None,
        };
        if !blkio.io_serviced_recursive.is_empty() {
            return Ok(blkio);
        }
    }
    let throttled = |name: &str| {
        let recursive = entries(dir, &format!("blkio.throttle.{name}_recursive"))?;
        if recursive.is_empty() { entries(dir, &format!("blkio.throttle.{name}")) } else { Ok(recursive) }
    };
    Ok(Blkio {
        io_service_bytes_recursive: throttled("io_service_bytes")?,
        io_serviced_recursive: throttled("io_serviced")?,
        ..Blkio::default()
    })
}

fn entries(dir: &Dir, file: &str) -> Outcome<Vec<BlkioEntry>> {
    Ok(parse_entries(&optional(dir, file)?.unwrap_or_default()))
}

/// Lines such as `8:0 Read 4096`, or `8:0 4096` for figures without operation; the sum at the end is left out.
fn parse_entries(content: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (device, op, value) = match fields[..] {
            [device, op, value] => (device, op, value),
            [device, value] => (device, "", value),
            _ => return None,
        };
        let (major, minor) = device.split_once(':')?;
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    };
    content.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_device_and_operation() {
        let entries = parse_entries("8:0 Read 10\n8:0 Total 10\n8:16 5\nTotal 10\n");
        let entry = |minor, op: &str, value| BlkioEntry { major: 8, minor, op: op.to_owned(), value };
        assert_eq!(entries, [entry(0, "Read", 10), entry(0, "Total", 10), entry(16, "", 5)]);
    }

    #[test]
    fn lists_and_tables_are_read() {
        assert_eq!(parse_list("0-2,7\n"), [0, 1, 2, 7]);
        assert_eq!(parse_list("\n"), Vec::<u16>::new());
        let table = "cpu user system\n0 11 12\n1 21 22\n";
        assert_eq!(parse_usage_all(table), (vec![11, 21], vec![12, 22]));
    }
}
