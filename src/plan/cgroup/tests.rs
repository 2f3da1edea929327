//! The tables of `testdata`, and what does not fit into a table.

use oci_spec::runtime::{Linux, LinuxResources};

use super::settings::settings;
use super::*;

/// One case of `resources.table`.
#[derive(Default)]
pub(crate) struct Case<'a> {
    pub name: &'a str,
    pub input: &'a str,
    v1: Vec<&'a str>,
    v2: Vec<&'a str>,
}

/// Every case of `resources.table`.
pub(crate) fn cases() -> Vec<Case<'static>> {
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("testdata/resources.table")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (word, rest) = line.split_once(' ').unwrap();
        if word == "case" {
            cases.push(Case { name: rest, ..Case::default() });
            continue;
        }
        let case = cases.last_mut().unwrap();
        match word {
            "in" => case.input = rest,
            "v1" => case.v1.push(rest),
            "v2" => case.v2.push(rest),
            other => panic!("{other} in the table"),
        }
    }
    cases
}

/// What the plan says, in the words of the table.
fn outcome(resources: &LinuxResources, mode: Mode) -> Vec<String> {
    let mut report = Report::of_first_error();
    let below = |pointer: &str| pointer.strip_prefix("/linux/resources/").unwrap().to_owned();
    match settings(resources, mode, &[], &mut report) {
        Err(error) => vec![format!("! {} {}", below(error.pointer().unwrap()), error.doing())],
        Ok(settings) => {
            let mut lines: Vec<String> = settings.iter().map(ToString::to_string).collect();
            if lines.is_empty() {
                lines.push("nothing".to_owned());
            }
            lines.extend(report.parts().1.iter().map(|warning| format!("warn {}", below(&warning.at))));
            lines
        }
    }
}

fn agrees(actual: &[String], expected: &[&str]) -> bool {
    match (actual, expected) {
        ([actual], [expected]) if expected.starts_with('!') => {
            let mut words = expected.splitn(3, ' ');
            let (start, text) = (format!("! {} ", words.nth(1).unwrap()), words.next().unwrap());
            actual.starts_with(&start) && actual.contains(text)
        }
        _ => actual == expected,
    }
}

#[test]
fn resources_become_the_files_of_the_table() {
    let cases = cases();
    assert!(cases.len() > 90);
    for case in cases {
        let resources: LinuxResources = serde_json::from_str(case.input).unwrap();
        for (mode, expected) in [(Mode::V1, &case.v1), (Mode::V2, &case.v2)] {
            let actual = outcome(&resources, mode);
            assert!(
                agrees(&actual, expected),
                "{} ({mode:?}): {actual:#?}, expected {expected:#?}",
                case.name
            );
        }
        // A hybrid host without controllers on its cgroup2 tree is like version 1.
        assert!(agrees(&outcome(&resources, Mode::Hybrid), &case.v1), "{} (hybrid)", case.name);
    }
}

#[test]
fn a_hybrid_host_uses_the_tree_that_has_the_controller() {
    let input = r#"{"pids":{"limit":5},"hugepageLimits":[{"pageSize":"2MB","limit":1}]}"#;
    let resources: LinuxResources = serde_json::from_str(input).unwrap();
    let settings =
        settings(&resources, Mode::Hybrid, &[Controller::Hugetlb], &mut Report::of_first_error()).unwrap();
    let files: Vec<_> = settings.iter().map(|setting| (setting.version, setting.file.as_str())).collect();
    use super::settings::Version::{V1, V2};
    assert_eq!(files, [(V1, "pids.max"), (V2, "hugetlb.2MB.max"), (V2, "hugetlb.2MB.rsvd.max")]);
}

#[test]
fn no_share_weighs_more_than_a_larger_one() {
    let mut last = 0;
    for shares in 0..=262_200 {
        let weight = cpu::weight(shares);
        assert!((1..=10_000).contains(&weight) && weight >= last, "{shares} shares weigh {weight}");
        last = weight;
    }
}

#[test]
fn an_unprivileged_caller_who_asks_for_nothing_may_go_without() {
    let plan = |json: &str, rootless| {
        let linux: Linux = serde_json::from_str(json).unwrap();
        let request = Request { id: "c", linux: Some(&linux), rootless, ..Request::default() };
        plan_cgroup(&request, &mut Report::of_first_error()).unwrap()
    };
    assert!(plan("{}", true).may_go_without());
    assert!(plan(r#"{"resources":{"pids":{}}, "cgroupsPath":""}"#, false).settings.len() == 1);
    assert!(!plan("{}", false).may_go_without());
    assert!(!plan(r#"{"resources":{"memory":{"limit":1}}}"#, true).may_go_without());
    assert!(!plan(r#"{"cgroupsPath":"/a"}"#, true).may_go_without());
    assert!(plan(r#"{"resources":{"devices":[{"allow":false,"access":"rwm"}]}}"#, true).may_go_without());
}

#[test]
fn the_printed_plan_names_path_files_and_devices() {
    let linux: Linux =
        serde_json::from_str(r#"{"cgroupsPath":"/a/b","resources":{"pids":{"limit":7}}}"#).unwrap();
    let request = Request { id: "c", linux: Some(&linux), ..Request::default() };
    let plan = plan_cgroup(&request, &mut Report::of_first_error()).unwrap();
    let lines = plan.lines();
    assert_eq!(lines[0], ("cgroup /a/b".to_owned(), "/linux/cgroupsPath".to_owned()));
    assert_eq!(lines[1], ("pids.max = 7".to_owned(), "/linux/resources/pids/limit".to_owned()));
    assert_eq!(lines.len(), 2);
    let devices = plan.device_lines();
    assert_eq!(devices[0], ("devices: deny a *:* rwm".to_owned(), "/linux/resources/devices".to_owned()));
    assert!(devices.iter().any(|(line, _)| line == "devices: allow c 1:3 rwm"));
    let disabled = Request { driver: Driver::Disabled, ..request };
    let plan = plan_cgroup(&disabled, &mut Report::of_first_error()).unwrap();
    assert_eq!(plan.lines(), [("no cgroup".to_owned(), String::new())]);
    assert!(plan.device_lines().is_empty());
}
