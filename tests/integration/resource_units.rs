//! The table of resources with systemd: what it tells about the unit and what the kernel has in the files agree.
//!
//! systemd writes the files of a unit again when it reloads, with what it knows, so this is looked at after a reload
//! too. The expectations are those of the table; here is only which property says the same as a file.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::harness::{Bundle, Container, Driver, Test, View, cgroup, driver};
use crate::resource_table::{Case, cases};

cases![units_and_files_agree, quota_stays_exact_when_something_else_changes];

/// Why a case of the table cannot be set: words of the error, and what the machine lacks.
const IMPOSSIBLE: &[(&str, &str)] = &[
    ("OOM-killed", "init does not fit into the limit"),
    ("is not available", "the controller is not here"),
    ("no such limit", "the kernel does not have the file"),
    ("cpuset.cpus", "the processors are not here"),
    ("rdma.max", "the device is not here"),
    ("io.bfq.weight", "the scheduler of the device has no weights"),
    ("io.max", "the device is not here"),
    ("hugetlb.64KB", "pages of that size are not here"),
    ("cannot fork", "the limit of processes is used up by init"),
];

/// Sections of a config that an update leaves alone; it warns about them.
const NOT_UPDATED: &[&str] = &["hugepageLimits", "rdma", "network"];

/// A container that was made from a case, or has been updated to it.
struct Trial<'t> {
    case: Case,
    container: Container<'t>,
    expected: BTreeMap<String, String>,
}

/// config-linux.md#control-groups.
fn units_and_files_agree(t: &Test) {
    need_systemd(t);
    let all: Vec<Case> = cases().into_iter().map(|case| with_real_devices(&case)).collect();
    let count = all.len();
    let mut report = Report::default();

    let mut created = Vec::new();
    let mut updated = Vec::new();
    for case in all {
        let bundle = limited(t, &case.resources);
        let out = bundle.try_create();
        if case.is_refused_on_v2 {
            assert!(out.code != Some(0), "{}: {}", case.name, out.report());
            report.refused += 1;
            continue;
        }
        if out.code != Some(0) {
            report.impossible(case.name, &out.message());
            continue;
        }
        let container = Container::new(t, bundle.id(), &out);
        // The same as an update of one that has no limits.
        let other = limited(t, &json!({})).create();
        let text = case.resources.to_string();
        t.cmd(["update", "--resources", "-", &other.id]).stdin(text).run().ok();
        let left_alone = NOT_UPDATED.iter().any(|section| case.resources.get(section).is_some());
        let expected = case.expected_on_v2();
        let on_update = if left_alone { BTreeMap::new() } else { expected.clone() };
        updated.push(Trial { case: case.clone(), container: other, expected: on_update });
        created.push(Trial { case, container, expected });
    }
    for (trials, when) in [(&created, "create"), (&updated, "update")] {
        report.compare(trials, when);
    }
    driver::systemctl(&["daemon-reload"]);
    for (trials, when) in [(&created, "create and reload"), (&updated, "update and reload")] {
        report.compare(trials, when);
    }
    for trial in created.iter().chain(&updated) {
        trial.container.delete_force();
    }
    if report.files == 0 && report.wrong.is_empty() {
        t.skip("no hierarchy here has a controller of the table");
    }
    report.print(count, created.len());
}

/// Quotas are told to systemd in whole steps of ten milliseconds, and it writes the file anew.
fn quota_stays_exact_when_something_else_changes(t: &Test) {
    need_systemd(t);
    let Some(hierarchy) = cgroup::hierarchy("cpu") else {
        t.skip("no hierarchy here has the cpu controller")
    };
    let c = limited(t, &json!({ "cpu": { "quota": 33_333, "period": 100_000 } })).create();
    let quota = || fs::read_to_string(hierarchy.of(&c.id).join("cpu.max")).unwrap();
    assert_eq!(quota(), "33333 100000\n");
    for change in [&["--cpu-share", "512"][..], &["--pids-limit", "50"], &["--memory", "200000000"]] {
        c.call("update", change).ok();
        assert_eq!(quota(), "33333 100000\n", "{change:?}");
    }
    c.delete_force();
}

fn need_systemd(t: &Test) {
    if t.driver() != Driver::Systemd {
        t.skip("the systemd of the machine makes no cgroups here: TEU_DRIVER=systemd");
    }
    if t.view() != View::V2 {
        t.skip("the properties are those of version 2");
    }
}

fn limited<'t>(t: &'t Test, resources: &Value) -> Bundle<'t> {
    let bundle = t.bundle().args(["true"]);
    let mut resources = resources.clone();
    resources["devices"] = bundle.config()["linux"]["resources"]["devices"].clone();
    bundle.set("/linux/resources", resources)
}

/// The case with block devices of this machine in place of those of the table.
fn with_real_devices(case: &Case) -> Case {
    let blocks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let numbers = blocks.filter_map(|entry| fs::read_to_string(entry.path().join("dev")).ok());
    let mut devices: Vec<String> = numbers.map(|text| text.trim().to_owned()).collect();
    devices.sort_by_key(|device| device.starts_with("7:"));
    let mut case = case.clone();
    let mut text = case.resources.to_string();
    for (old, new) in ["8:0", "8:16", "253:1"].iter().zip(&devices) {
        // serde_json sorts the members.
        let in_json = |device: &str| {
            let (major, minor) = device.split_once(':').unwrap();
            format!("\"major\":{major},\"minor\":{minor}")
        };
        text = text.replace(&in_json(old), &in_json(new)).replace(&format!("{old} "), &format!("{new} "));
        for (_, value) in &mut case.lines_of_v2 {
            *value = value.replace(&format!("{old} "), &format!("{new} "));
        }
    }
    case.resources = serde_json::from_str(&text).unwrap();
    case
}

#[derive(Default)]
struct Report {
    refused: usize,
    files: usize,
    properties: usize,
    impossible: Vec<String>,
    wrong: Vec<String>,
}

impl Report {
    fn impossible(&mut self, case: &str, message: &str) {
        match IMPOSSIBLE.iter().find(|(words, _)| message.contains(words)) {
            Some((_, reason)) => self.impossible.push(format!("{case}: {reason}")),
            None => self.wrong.push(format!("{case}: {message}")),
        }
    }

    fn compare(&mut self, trials: &[Trial], when: &str) {
        let units: Vec<String> =
            trials.iter().map(|trial| format!("teu-{}.scope", trial.container.id)).collect();
        let told = show(&units);
        let hierarchy = cgroup::hierarchies().into_iter().find(|hierarchy| hierarchy.v2).unwrap();
        for (trial, unit) in trials.iter().zip(&units) {
            let dir = hierarchy.of(&trial.container.id);
            for (file, value) in &trial.expected {
                let Ok(content) = fs::read_to_string(dir.join(file)) else { continue };
                if agrees(file, value, content.trim()) {
                    self.files += 1;
                } else {
                    self.wrong
                        .push(format!("{when}: {}: {file} is {content:?}, not {value}", trial.case.name));
                }
                for (property, value) in properties(file, value) {
                    let actual = told.get(unit).and_then(|all| all.get(property)).map_or("", String::as_str);
                    if actual == value {
                        self.properties += 1;
                    } else {
                        self.wrong.push(format!(
                            "{when}: {}: {property} is {actual:?}, not {value:?}",
                            trial.case.name
                        ));
                    }
                }
            }
        }
    }

    fn print(self, cases: usize, made: usize) {
        println!(
            "{cases} cases: {made} set, {} refused, {} not possible here; {} files and {} properties are right",
            self.refused,
            self.impossible.len(),
            self.files,
            self.properties
        );
        self.impossible.iter().for_each(|line| println!("  not possible: {line}"));
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert!(self.files > 0 && self.properties > 0, "nothing was compared");
    }
}

/// Every property of the units that is compared, by unit and name.
fn show(units: &[String]) -> BTreeMap<String, BTreeMap<String, String>> {
    const NAMES: &str = "--property=Id,TasksMax,MemoryMax,MemoryHigh,MemoryLow,MemoryMin,MemorySwapMax,CPUWeight,\
                         CPUQuotaPerSecUSec,CPUQuotaPeriodUSec,AllowedCPUs,AllowedMemoryNodes,IOWeight";
    let arguments: Vec<&str> = ["show", NAMES].into_iter().chain(units.iter().map(String::as_str)).collect();
    let text = driver::systemctl(&arguments);
    let blocks = text.split("\n\n").map(|block| {
        let pairs = block.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>()
    });
    blocks.filter_map(|block| Some((block.get("Id")?.clone(), block))).collect()
}

/// The properties that say what a file says, as systemctl prints them; systemd.resource-control(5).
fn properties(file: &str, value: &str) -> Vec<(&'static str, String)> {
    let limit = |name| vec![(name, amount(value).map_or("infinity".to_owned(), |bytes| bytes.to_string()))];
    let plain = |name, value: &str| vec![(name, value.to_owned())];
    match file {
        "pids.max" => limit("TasksMax"),
        "memory.max" => limit("MemoryMax"),
        "memory.high" => limit("MemoryHigh"),
        "memory.low" => limit("MemoryLow"),
        "memory.min" => limit("MemoryMin"),
        "memory.swap.max" => limit("MemorySwapMax"),
        "cpu.weight" => plain("CPUWeight", value),
        "cpu.idle" if value == "1" => plain("CPUWeight", "idle"),
        "io.weight" => plain("IOWeight", value),
        "cpuset.cpus" => plain("AllowedCPUs", value),
        "cpuset.mems" => plain("AllowedMemoryNodes", value),
        "cpu.max" => {
            let (quota, period) = value.split_once(' ').unwrap_or((value, "100000"));
            let period: u64 = period.parse().unwrap();
            let share = match quota.parse::<u64>() {
                Ok(quota) => time((quota * 1_000_000 / period).div_ceil(10_000) * 10_000),
                Err(_) => "infinity".to_owned(),
            };
            vec![("CPUQuotaPerSecUSec", share), ("CPUQuotaPeriodUSec", time(period))]
        }
        _ => Vec::new(),
    }
}

/// A number with the suffixes that the kernel reads; none for no limit.
fn amount(text: &str) -> Option<u64> {
    let (digits, unit) = match text.strip_suffix('M') {
        Some(digits) => (digits, 1 << 20),
        None => (text, 1),
    };
    digits.parse::<u64>().ok().map(|number| number * unit)
}

/// Whole milliseconds as systemd prints them: `1s 500ms`.
fn time(usec: u64) -> String {
    let (seconds, rest) = (usec / 1_000_000, usec % 1_000_000 / 1000);
    let parts = [(seconds, "s"), (rest, "ms")];
    let parts =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}"));
    parts.collect::<Vec<_>>().join(" ")
}

/// Whether the kernel shows what was written.
fn agrees(file: &str, value: &str, content: &str) -> bool {
    if let Some((device, limits)) = value.split_once(' ').filter(|(device, _)| device.contains(':')) {
        let line = content.lines().find_map(|line| line.strip_prefix(device)?.strip_prefix(' '));
        let is_unlimited = |limit: &str| limit == "0" || limit.ends_with("=max");
        // Nothing is shown of a device without limits.
        return match line {
            Some(line) => limits.split(' ').all(|limit| line.split(' ').any(|word| word == limit)),
            None => limits.split(' ').all(is_unlimited),
        };
    }
    let content = content.strip_prefix("default ").unwrap_or(content);
    let unit = match file {
        _ if file.starts_with("memory.") => 4096,
        _ if file.starts_with("hugetlb.2MB") => 2 << 20,
        _ if file.starts_with("hugetlb.1GB") => 1 << 30,
        _ => 1,
    };
    match amount(value) {
        // The largest number is none.
        Some(number) if unit == 4096 && number == i64::MAX as u64 => content == "max",
        Some(number) => content.parse() == Ok(number / unit * unit),
        None => content == value || file == "cpuset.cpus" && value.contains(':'),
    }
}
