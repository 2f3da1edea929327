//! The table of resources against the kernel: what is written is read back.

use oci_spec::runtime::LinuxResources;

use super::tests::Trial;
use super::{Cgroup, Layout};
use crate::plan::cgroup::Setting;
use crate::plan::cgroup::settings::{Missing, Version, settings};
use crate::plan::cgroup::tests::cases;
use crate::plan::cgroup::update::plan_update;
use crate::report::Report;

/// Values that are fine in a config and that a kernel may refuse, with the file and the reason.
const REFUSED: &[(&str, &str)] = &[
    ("cpuset.cpus", "the machine lacks the processor"),
    ("cpu.rt_period_us", "the parent has no real-time budget"),
    ("cpu.rt_runtime_us", "the parent has no real-time budget"),
    ("memory.memsw.limit_in_bytes", "below the limit of memory"),
    ("cpu.idle", "the parent of an idle cgroup must not be the root on some kernels"),
    ("cpu.cfs_burst_us", "a burst needs a quota on some kernels"),
    ("hugetlb.64KB.max", "the machine has no pages of that size"),
    ("hugetlb.64KB.limit_in_bytes", "the machine has no pages of that size"),
    ("net_prio.ifpriomap", "the machine lacks the interface"),
    ("rdma.max", "the machine lacks the device"),
    ("io.max", "the machine lacks the device"),
    ("blkio.throttle.read_bps_device", "the machine lacks the device"),
    ("blkio.throttle.read_iops_device", "the machine lacks the device"),
    ("blkio.throttle.write_iops_device", "the machine lacks the device"),
    ("blkio.weight_device", "the machine lacks the device"),
    ("io.bfq.weight", "the machine lacks the device"),
];

/// What a file shows for a value that was written.
///
/// Sizes are cut to whole pages, and version 1 shows no limit as the largest number of pages.
fn shown(file: &str, value: &str, content: &str) -> bool {
    let content = content.trim();
    if file == "memory.max" && value.parse() == Ok(i64::MAX) {
        return content == "max";
    }
    let page_limit = |value: i64| if value < 0 { i64::MAX / 4096 * 4096 } else { value / 4096 * 4096 };
    if let Some((device, limits)) = value.split_once(' ').filter(|(device, _)| device.contains(':')) {
        let line = content.lines().find_map(|line| line.strip_prefix(device)?.strip_prefix(' '));
        return match line {
            Some(line) => limits.split(' ').all(|limit| line.split(' ').any(|word| word == limit)),
            // Nothing is shown of a device without limits.
            None => limits.split(' ').all(|limit| limit == "0" || limit.ends_with("=max")),
        };
    }
    // The weight of those that have none of their own.
    let content = content.strip_prefix("default ").unwrap_or(content);
    let (value, unit) = value.strip_suffix('M').map_or((value, 1), |millions| (millions, 1 << 20));
    let (Ok(wanted), Ok(actual)) = (value.parse::<i64>().map(|value| value * unit), content.parse::<i64>())
    else {
        return match file {
            "memory.oom_control" => content.contains(&format!("oom_kill_disable {value}")),
            "cpuset.cpus" => content == value || value.contains(':'),
            // Per-device files have one line for each device.
            _ => content == value || content.lines().any(|line| line.starts_with(value)),
        };
    };
    if file.starts_with("memory.") && file != "memory.swappiness" || file.starts_with("hugetlb.") {
        let huge = if file.contains("2MB") { 2 << 20 } else { 1 << 30 };
        let by_huge_page = file.starts_with("hugetlb.") && actual == wanted / huge * huge;
        return actual == page_limit(wanted) || by_huge_page;
    }
    actual == wanted
}

fn read_back(cgroup: &Cgroup, setting: &Setting) -> Option<String> {
    let dir = match setting.version {
        Version::V2 => cgroup.v2(),
        Version::V1 => cgroup.v1(setting.controller.v1_name()),
    }?;
    match (dir.read(&setting.file), &setting.missing) {
        (Err(_), Missing::Instead(file, _)) => dir.read(file).ok(),
        (content, _) => content.ok(),
    }
}

/// Checks the last value of each file, as a file may be written more than once. Returns how many were right.
fn check(cgroup: &Cgroup, settings: &[Setting], case: &str, wrong: &mut Vec<String>) -> usize {
    let mut checked = 0;
    for (index, setting) in settings.iter().enumerate() {
        let is_last = !settings[index + 1..].iter().any(|later| later.file == setting.file);
        let Some(content) = read_back(cgroup, setting).filter(|_| is_last) else { continue };
        let value = match &setting.missing {
            Missing::Instead(file, value) if cgroup.dirs().any(|dir| dir.has(file)) => value,
            _ => &setting.value,
        };
        if shown(&setting.file, value, &content) {
            checked += 1;
        } else {
            wrong.push(format!("{case}: {setting}, but the file shows {content:?}"));
        }
    }
    checked
}

/// The resources of a case with two block devices of this machine in place of those of the table.
fn with_real_devices(input: &str) -> String {
    let blocks = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut devices: Vec<String> =
        blocks.filter_map(|entry| std::fs::read_to_string(entry.path().join("dev")).ok()).collect();
    // Loop devices, 7:N, come last: limits of those that have no file yet are accepted, but not by every controller.
    devices.sort_by_key(|device| device.starts_with("7:"));
    let mut text = input.to_owned();
    for (old, new) in ["8:0", "8:16"].iter().zip(&devices) {
        let in_json = |device: &str| {
            let (major, minor) = device.trim().split_once(':').unwrap();
            format!("\"major\":{major},\"minor\":{minor}")
        };
        text = text
            .replace(&in_json(old), &in_json(new))
            .replace(&format!("{old} "), &format!("{} ", new.trim()));
    }
    text.replace("\"major\":253,\"minor\":1", "\"major\":7,\"minor\":0")
}

#[test]
#[ignore = "needs root and cgroups"]
fn what_the_table_writes_is_read_back() {
    let layout = Layout::read().unwrap();
    let (mut checked, mut wrong, mut skipped) = (0, Vec::new(), Vec::new());
    for (index, case) in cases().iter().enumerate() {
        let input = with_real_devices(case.input);
        let resources: LinuxResources = serde_json::from_str(&input).unwrap();
        let mode = (layout.mode(), layout.unified_controllers());
        let Ok(settings) = settings(&resources, mode.0, mode.1, &mut Report::of_first_error()) else {
            continue;
        };
        match Trial::new(&format!("table{index}"), &input) {
            Ok(trial) => {
                checked += check(&trial.cgroup, &settings, case.name, &mut wrong);
                // The same values once more, as an update of a container that has none.
                let update = plan_update(None, &resources, mode.0, mode.1).unwrap();
                trial.cgroup.update(&update).unwrap();
                checked += check(&trial.cgroup, &update.settings, case.name, &mut wrong);
            }
            Err(error) => {
                let is_missing =
                    ["is not available", "no such limit"].iter().any(|text| error.doing().contains(text));
                let is_known = REFUSED.iter().any(|(file, _)| error.doing().contains(file));
                let list = if is_missing || is_known { &mut skipped } else { &mut wrong };
                list.push(format!("{}: {error}", case.name));
            }
        }
    }
    println!("{checked} files read back, {} cases not possible here:", skipped.len());
    skipped.iter().for_each(|line| println!("  {line}"));
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 0);
}
