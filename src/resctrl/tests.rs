//! Groups in a directory that looks like the file system. What the kernel does in it, [`furnish`] and [`empty`] do.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// The files of a new group: in the real file system they come with the directory.
pub(super) fn furnish(group: &Path) {
    fs::write(group.join("tasks"), "").unwrap();
    if group.parent().is_some_and(|parent| !parent.ends_with(MONITORS)) {
        fs::write(group.join("schemata"), "MB:0=100;1=100\nL3:0=7ff;1=7ff\n").unwrap();
        fs::create_dir(group.join(MONITORS)).unwrap();
    }
}

/// They go with the directory too.
pub(super) fn empty(group: &Path) {
    let _ = fs::remove_file(group.join("tasks"));
    let _ = fs::remove_file(group.join("schemata"));
    let _ = fs::remove_dir(group.join(MONITORS));
}

/// A file system of a processor that has everything.
struct Fake(PathBuf);

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Fake {
    fn new() -> Fake {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("teu-resctrl-{}-{number}", std::process::id()));
        for directory in ["info/L3", "info/MB", "info/L3_MON"] {
            fs::create_dir_all(path.join(directory)).unwrap();
        }
        furnish(&path);
        fs::write(path.join("info/last_cmd_status"), "ok\n").unwrap();
        Fake(path)
    }

    fn resctrl(&self) -> Resctrl {
        Resctrl { root: ControlDir::open_root(&self.0).unwrap().0 }
    }

    fn with_group(self, name: &str) -> Fake {
        fs::create_dir(self.0.join(name)).unwrap();
        furnish(&self.0.join(name));
        self
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    fn enter(&self, asked: &IntelRdt) -> (Result<Group>, Changes) {
        let mut changes = Changes::default();
        (self.resctrl().enter(asked, &mut changes), changes)
    }

    /// The error line of a group that cannot be entered; nothing may have changed.
    fn refuses(&self, asked: &IntelRdt) -> String {
        let (result, changes) = self.enter(asked);
        changes.undo().unwrap();
        result.map(drop).unwrap_err().to_string()
    }
}

/// Everything of the container `c1` in a class `gold`.
fn everything() -> IntelRdt {
    IntelRdt {
        group: "gold".to_owned(),
        origin: Origin::Shared,
        l3: Some("L3:0=7f0;1=1f".to_owned()),
        bandwidth: Some("MB:0=20".to_owned()),
        schemata: vec!["L2:0=f".to_owned()],
        monitor: Some("c1".to_owned()),
    }
}

/// Figures as the kernel writes them; a number that it has not is a word.
fn count(group: &Path, domain: &str, figures: [&str; 3]) {
    let domain = group.join("mon_data").join(domain);
    fs::create_dir_all(&domain).unwrap();
    for (file, figure) in ["llc_occupancy", "mbm_total_bytes", "mbm_local_bytes"].iter().zip(figures) {
        fs::write(domain.join(file), format!("{figure}\n")).unwrap();
    }
}

/// runc: the names of the members.
#[test]
fn figures_have_the_names_that_readers_know() {
    let fake = Fake::new().with_group("gold");
    for (file, text) in [
        ("info/L3/cbm_mask", "7ff"),
        ("info/L3/min_cbm_bits", "1"),
        ("info/L3/num_closids", "16"),
        ("info/MB/bandwidth_gran", "10"),
        ("info/MB/delay_linear", "1"),
        ("info/MB/min_bandwidth", "10"),
        ("info/MB/num_closids", "8"),
    ] {
        fs::write(fake.0.join(file), format!("{text}\n")).unwrap();
    }
    let gold = fake.0.join("gold");
    fs::write(gold.join("schemata"), "    L3:0=7f0;1=1f\n    MB:0= 20;1=100\n").unwrap();
    count(&gold, "mon_L3_01", ["4", "5", "6"]);
    count(&gold, "mon_L3_00", ["1", "2", "3"]);
    let resctrl = fake.resctrl();
    let held = Held { group: "gold".to_owned(), own: false, monitor: None, made: true };
    let figures = || resctrl.figures(&resctrl.group(&held).unwrap()).unwrap();
    let expected = serde_json::json!({
        "l3_cache_info": {"cbm_mask": "7ff", "min_cbm_bits": 1, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=7ff;1=7ff",
        "l3_cache_schema": "L3:0=7f0;1=1f",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0= 20;1=100",
        "schemata": ["L3:0=7f0;1=1f", "MB:0= 20;1=100"],
        "mbm_stats": [{"mbm_total_bytes": 2, "mbm_local_bytes": 3}, {"mbm_total_bytes": 5, "mbm_local_bytes": 6}],
        "cmt_stats": [{"llc_occupancy": 1}, {"llc_occupancy": 4}],
    });
    assert_eq!(serde_json::to_value(figures()).unwrap(), expected);
    // What the hardware cannot say now, or the processor does not count at all, is left out.
    count(&gold, "mon_L3_01", ["Unavailable", "Error", "6"]);
    fs::remove_file(gold.join("mon_data/mon_L3_00/llc_occupancy")).unwrap();
    let told = serde_json::to_value(figures()).unwrap();
    assert_eq!(told["mbm_stats"][1], serde_json::json!({"mbm_local_bytes": 6}));
    assert_eq!(told["cmt_stats"], serde_json::json!([{}]));
    fs::remove_dir_all(gold.join("mon_data")).unwrap();
    for directory in ["info/L3", "info/MB"] {
        fs::remove_dir_all(fake.0.join(directory)).unwrap();
    }
    let told = serde_json::to_value(figures()).unwrap();
    for member in ["mbm_stats", "cmt_stats", "l3_cache_info", "mem_bw_info"] {
        assert!(told.get(member).is_none(), "{told}");
    }
}

/// A container that is monitored has counters of its own; the others of its class are not its use.
#[test]
fn figures_are_those_of_the_monitoring_group() {
    let fake = Fake::new();
    let (group, _) = fake.enter(&everything());
    let group = group.unwrap();
    count(&fake.0.join("gold"), "mon_L3_00", ["100", "200", "300"]);
    count(&fake.0.join("gold/mon_groups/c1"), "mon_L3_00", ["1", "2", "3"]);
    let told = serde_json::to_value(fake.resctrl().figures(&group).unwrap()).unwrap();
    assert_eq!(told["cmt_stats"], serde_json::json!([{"llc_occupancy": 1}]));
    assert_eq!(told["mbm_stats"], serde_json::json!([{"mbm_total_bytes": 2, "mbm_local_bytes": 3}]));
    assert_eq!(told["l3_cache_schema"], "L3:0=7f0;1=1f");
}

/// The order is L3, MB, and the others last.
#[test]
fn a_group_that_is_missing_is_made_and_written_once() {
    let fake = Fake::new();
    let (group, _) = fake.enter(&everything());
    group.unwrap().add(77).unwrap();
    assert!(fake.read("gold/schemata").starts_with("L3:0=7f0;1=1f\nMB:0=20\nL2:0=f\n"));
    assert_eq!(fake.read("gold/tasks"), "77");
    assert_eq!(fake.read("gold/mon_groups/c1/tasks"), "77");
    assert_eq!(fake.read("schemata"), "MB:0=100;1=100\nL3:0=7ff;1=7ff\n");
}

#[test]
fn without_a_class_the_group_has_the_name_of_the_container_and_goes_with_it() {
    let fake = Fake::new();
    let asked = IntelRdt { monitor: Some("c1".to_owned()), ..IntelRdt::own("c1") };
    let (group, _) = fake.enter(&asked);
    assert_eq!(group.unwrap().path(), fake.0.join("c1"));
    // Nothing was asked for, so nothing is written.
    assert_eq!(fake.read("c1/schemata"), "MB:0=100;1=100\nL3:0=7ff;1=7ff\n");
    let held = Held { made: true, ..Held::planned(&asked) };
    assert!(held.goes());
    fake.resctrl().remove(&held).unwrap();
    assert!(!fake.has("c1"));
    fake.resctrl().remove(&held).unwrap();
}

#[test]
fn a_class_stays_and_only_its_monitoring_group_goes() {
    let fake = Fake::new();
    fake.enter(&everything()).0.unwrap();
    fake.resctrl().remove(&Held { made: true, ..Held::planned(&everything()) }).unwrap();
    assert!(fake.has("gold") && !fake.has("gold/mon_groups/c1"));
    assert!(!Held::planned(&IntelRdt { monitor: None, ..everything() }).goes());
}

#[test]
fn a_class_that_exists_must_have_the_same_shares() {
    let fake = Fake::new().with_group("gold");
    let same = IntelRdt {
        l3: Some("L3:1=07ff;0=7FF".to_owned()),
        bandwidth: Some("MB:0=100".to_owned()),
        ..everything()
    };
    let (group, changes) = fake.enter(&same);
    group.unwrap();
    // What was compared is there; the rest is written.
    assert!(fake.read("gold/schemata").starts_with("L2:0=f\n"));
    changes.undo().unwrap();
    assert_eq!(fake.read("gold/schemata"), "MB:0=100;1=100\nL3:0=7ff;1=7ff\n");
    assert!(fake.has("gold") && !fake.has("gold/mon_groups/c1"));

    let other = IntelRdt { l3: Some("L3:0=7f".to_owned()), ..everything() };
    assert_eq!(
        fake.refuses(&other),
        "the group exists, and has 7ff where L3:0=7f is asked for (/linux/intelRdt/l3CacheSchema)"
    );
    let elsewhere = IntelRdt { l3: None, bandwidth: Some("MB:7=100".to_owned()), ..everything() };
    assert_eq!(
        fake.refuses(&elsewhere),
        "the group exists, and has nothing where MB:7=100 is asked for (/linux/intelRdt/memBwSchema)"
    );
}

#[test]
fn a_class_without_a_schema_must_exist() {
    let asked = IntelRdt { l3: None, bandwidth: None, schemata: Vec::new(), monitor: None, ..everything() };
    let asked = IntelRdt { origin: Origin::Existing, ..asked };
    let error = Fake::new().refuses(&asked);
    assert!(error.contains("gold (/linux/intelRdt/closID): openat2(2): ENOENT"), "{error}");
    let fake = Fake::new().with_group("gold");
    fake.enter(&asked).0.unwrap();
    assert_eq!(fake.read("gold/schemata"), "MB:0=100;1=100\nL3:0=7ff;1=7ff\n");
}

#[test]
fn the_root_is_a_group_too() {
    let fake = Fake::new();
    let asked = IntelRdt { group: String::new(), origin: Origin::Existing, ..IntelRdt::own("c1") };
    fake.enter(&asked).0.unwrap().add(5).unwrap();
    assert_eq!(fake.read("tasks"), "5");
}

#[test]
fn a_group_of_that_name_is_somebody_elses() {
    let fake = Fake::new().with_group("c1");
    let error = fake.refuses(&IntelRdt::own("c1"));
    assert!(error.contains("exists already") && fake.has("c1"), "{error}");
}

#[test]
fn a_directory_that_is_no_group_is_refused() {
    let fake = Fake::new();
    fs::create_dir(fake.0.join("odd")).unwrap();
    let asked = IntelRdt { group: "odd".to_owned(), origin: Origin::Existing, ..IntelRdt::own("c1") };
    assert!(fake.refuses(&asked).contains("is no group"));
}

#[test]
fn what_the_processor_lacks_is_refused_and_nothing_stays() {
    let fake = Fake::new();
    fs::remove_dir(fake.0.join("info/MB")).unwrap();
    let error = fake.refuses(&everything());
    assert!(error.starts_with("memory bandwidth cannot be controlled on this host"), "{error}");
    fs::remove_dir(fake.0.join("info/L3")).unwrap();
    let error = fake.refuses(&IntelRdt { bandwidth: None, ..everything() });
    assert!(error.starts_with("the L3 cache cannot be controlled on this host"), "{error}");
    assert!(!fake.has("gold"));
}

#[test]
fn a_monitoring_group_that_cannot_be_made_leaves_nothing() {
    let fake = Fake::new().with_group("gold");
    fs::create_dir(fake.0.join("gold/mon_groups/c1")).unwrap();
    let asked = IntelRdt { l3: None, bandwidth: None, ..everything() };
    let error = fake.refuses(&asked);
    assert!(error.contains("(/linux/intelRdt/enableMonitoring): mkdirat(2): EEXIST"), "{error}");
    assert!(error.contains(": ok"), "the words of the kernel are missing: {error}");
    assert_eq!(fake.read("gold/schemata"), "MB:0=100;1=100\nL3:0=7ff;1=7ff\n");
}

/// `create` was killed: the directories may be of another container that was faster.
#[test]
fn what_was_only_planned_is_removed_when_nobody_is_in_it() {
    let fake = Fake::new().with_group("c1");
    let held = Held::planned(&IntelRdt::own("c1"));
    fs::write(fake.0.join("c1/tasks"), "77\n").unwrap();
    fake.resctrl().remove(&held).unwrap();
    assert!(fake.has("c1"));
    fs::write(fake.0.join("c1/tasks"), "").unwrap();
    fake.resctrl().remove(&held).unwrap();
    assert!(!fake.has("c1"));
}

#[test]
fn an_update_writes_what_it_names_and_can_be_taken_back() {
    let fake = Fake::new();
    fake.enter(&everything()).0.unwrap();
    let before = fake.read("gold/schemata");
    let held = Held { made: true, ..Held::planned(&everything()) };
    let asked = IntelRdt { bandwidth: Some("MB:0=50;1=50".to_owned()), ..IntelRdt::own("c1") };
    let mut changes = Changes::default();
    fake.resctrl().update(&held, &asked, &mut changes).unwrap();
    assert!(fake.read("gold/schemata").starts_with("MB:0=50;1=50\n"));
    changes.undo().unwrap();
    assert_eq!(fake.read("gold/schemata"), before);
}

/// A later process of the container.
#[test]
fn a_group_is_found_again() {
    let fake = Fake::new();
    fake.enter(&everything()).0.unwrap();
    let held = Held { made: true, ..Held::planned(&everything()) };
    let group = fake.resctrl().group(&held).unwrap();
    group.add(9).unwrap();
    assert_eq!((fake.read("gold/tasks"), fake.read("gold/mon_groups/c1/tasks")), ("9".into(), "9".into()));
    fs::remove_file(fake.0.join("gold/mon_groups/c1/tasks")).unwrap();
    assert!(group.add_if_alive(9).is_err());
}
