//! The table of resources, as other runtimes write it: files and values are the same, but for the listed differences.
//!
//! Against the kernel alone the table is a unit test of the cgroups, which reads back every file for teu.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Test, cgroup};

cases![others_write_the_same];

const TABLE: &str = include_str!("../../src/plan/cgroup/testdata/resources.table");

/// What runc does otherwise: the case, and how.
const DIFFERENCES: &[(&str, &str)] = &[
    ("pids limit of zero leaves the init process", "sets no limit"),
    ("pids limit below minus one is none too", "writes it as it is on version 2"),
    ("unlimited memory with a limit on swap", "refuses it on version 2"),
    ("weight of a device", "is silent where the kernel has no such weights"),
    ("idle excludes shares", "writes a weight beside them, which the kernel refuses"),
    ("huge pages", "does not find the controller beside version 1"),
    ("real time", "what one takes of the budget of the machine, the next one lacks"),
    ("real-time runtime alone", "what one takes of the budget of the machine, the next one lacks"),
];

/// Files that runc below 1.2 fills in another way: it has the older formula for weights, and knows neither of the others.
const OLDER: &[&str] = &["cpu.weight", "cpu.max.burst", "cpu.idle"];

#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    pub resources: Value,
    /// Every file that the table names for it, and whether it is one of version 2.
    files: Vec<(bool, &'static str)>,
    /// teu refuses it in one version or the other. Some of these would be harmful when they are followed.
    is_refused: bool,
    /// The same of version 2 alone.
    pub is_refused_on_v2: bool,
    /// The files of version 2, with what the table says is written there.
    pub lines_of_v2: Vec<(&'static str, String)>,
}

/// Every case of the table.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in TABLE.lines() {
        let Some((word, rest)) = line.split_once(' ') else { continue };
        match (word, cases.last_mut()) {
            ("case", _) => {
                cases.push(Case {
                    name: rest,
                    resources: Value::Null,
                    files: Vec::new(),
                    is_refused: false,
                    is_refused_on_v2: false,
                    lines_of_v2: Vec::new(),
                });
            }
            ("in", Some(case)) => case.resources = serde_json::from_str(rest).expect("the table has JSON"),
            ("v1" | "v2", Some(case)) => {
                case.is_refused |= rest.starts_with('!');
                case.is_refused_on_v2 |= word == "v2" && rest.starts_with('!');
                if let Some(line) = rest.split_once(" = ").filter(|_| word == "v2") {
                    case.lines_of_v2.push((line.0, line.1.to_owned()));
                }
                let names =
                    rest.split([' ', '[', ']']).filter(|word| word.contains('.') && !word.contains('='));
                case.files.extend(names.map(|name| (word == "v2", name)));
            }
            _ => {}
        }
    }
    cases
}

/// What the files of a case hold after the container was made and updated by a runtime, or why it was not made.
fn outcome(t: &Test, case: &Case, by_teu: bool) -> Result<BTreeMap<PathBuf, String>, String> {
    let mut resources = case.resources.clone();
    // Without rules crun does not limit devices, and runc refuses some of the cases for that.
    let bundle = t.bundle();
    resources["devices"] = bundle.config()["linux"]["resources"]["devices"].clone();
    let bundle = bundle.set("/linux/resources", resources).args(["true"]);
    let with = |cmd: crate::harness::Cmd<'_>| if by_teu { cmd.program(&teu()).run() } else { cmd.run() };
    let created = with(bundle.call("create", &[]));
    if created.code != Some(0) {
        // Old ones leave it behind.
        cgroup::find(bundle.id()).iter().rev().for_each(|dir| drop(fs::remove_dir(dir)));
        return Err(created.stderr);
    }
    let mut contents = BTreeMap::new();
    for file in &case.files {
        let Some(hierarchy) = Case::place(file) else { continue };
        let file = file.1;
        let dir = hierarchy.of(bundle.id());
        if t.is_older("runc", 1, 2) && OLDER.contains(&file) {
            continue;
        }
        if let Ok(text) = fs::read_to_string(dir.join(file)) {
            contents.insert(hierarchy.point.join(file), text);
        }
    }
    // runc gives up early when the machine is busy.
    t.until("the end of the container", || with(t.cmd(["delete", "--force", bundle.id()])).code == Some(0));
    Ok(contents)
}

impl Case {
    /// What the files of version 2 hold in the end. A file may be written more than once.
    pub fn expected_on_v2(&self) -> BTreeMap<String, String> {
        let mut expected = BTreeMap::new();
        for (file, rest) in &self.lines_of_v2 {
            // `500 [without that file: io.weight = 4950]`, `max [when the file is there]`.
            let (value, remark) = rest.split_once(" [").unwrap_or((rest, ""));
            expected.insert((*file).to_owned(), value.to_owned());
            if let Some(other) = remark.strip_prefix("without that file: ") {
                let (file, value) = other.trim_end_matches(']').split_once(" = ").expect("FILE = VALUE");
                expected.insert(file.to_owned(), value.to_owned());
            }
        }
        expected
    }

    /// The hierarchy of a file, if it is mounted in the version that the file is of.
    fn place(&(v2, file): &(bool, &str)) -> Option<cgroup::Hierarchy> {
        let controller = file.split('.').next().unwrap_or_default();
        cgroup::hierarchy(controller).filter(|hierarchy| hierarchy.v2 == v2)
    }

    /// Whether runc may be asked: nothing in it is refused by teu, and the machine has a controller for it.
    fn is_possible(&self) -> bool {
        !self.is_refused
            && (self.files.is_empty() || self.files.iter().any(|file| Case::place(file).is_some()))
    }
}

/// The teu that was built with these tests, or the one in PATH where that is not.
fn teu() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_teu"));
    if built.exists() { built } else { crate::harness::runtime::find("teu").expect("teu is somewhere") }
}

/// config-linux.md#control-groups.
fn others_write_the_same(t: &Test) {
    if t.is("teu") {
        t.skip("teu is what runc is compared with: RUNTIME=runc");
    }
    t.skip_for("crun", "does not run beside version 1, and has words of its own for much of the rest");
    let (mut same, mut other) = (0, Vec::new());
    for case in cases().iter().filter(|case| case.is_possible()) {
        let (by_teu, by_other) = (outcome(t, case, true), outcome(t, case, false));
        let is_same = match (&by_teu, &by_other) {
            (Ok(by_teu), Ok(by_other)) => by_teu == by_other,
            // What this machine does not have.
            (by_teu, by_other) => by_teu.is_err() && by_other.is_err(),
        };
        if is_same {
            same += 1;
        } else if !DIFFERENCES.iter().any(|(name, _)| case.name == *name) {
            other.push(format!("{}: teu {by_teu:?}, {} {by_other:?}", case.name, t.runtime().name));
        }
    }
    assert!(other.is_empty(), "{same} cases are the same, these are not:\n{}", other.join("\n"));
    assert!(same > 10, "only {same} cases are the same");
    println!("{same} cases are the same");
}
