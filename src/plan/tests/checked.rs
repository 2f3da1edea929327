//! The validator when it goes on after errors finds what it finds when it ends with the first one, and more.

use std::path::Path;

use serde_json::{Value, json};

use super::facts::{changed_request, host};
use super::{TESTDATA, engines, files, patched, planned, read};
use crate::config;
use crate::host::Host;
use crate::plan::{Request, plan_into};
use crate::report::{Finding, MOST, Report, Severity};

/// Everything that is found in a document.
pub(crate) fn findings_of(text: &[u8], request: &Request, host: &Host) -> (Vec<Finding>, usize) {
    let mut report = Report::of_everything();
    let planned = config::load_into(text, &mut report)
        .and_then(|config| plan_into(&config, request, host, &mut report));
    if let Err(error) = planned {
        report.refuse(error).unwrap();
    }
    (report.findings(), report.left_out())
}

fn findings(config: &Value) -> Vec<Finding> {
    findings_of(config.to_string().as_bytes(), &changed_request(&Value::Null), &host("root-v2")).0
}

fn errors(findings: &[Finding]) -> Vec<&str> {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| finding.pointer.as_str()).collect()
}

/// Every case of the test data, refused or not.
#[test]
fn everything_that_is_refused_is_found_at_the_same_place() {
    let (mut refused, mut accepted) = (0, 0);
    for path in files(Path::new(TESTDATA), "json") {
        if path.ends_with("base.json") {
            continue;
        }
        let document = read(&path);
        let cases: Vec<&Value> = match path.ends_with("refused.json") {
            true => document.as_object().unwrap().values().collect(),
            false => vec![&document],
        };
        for case in cases {
            let config = match case["file"].as_str() {
                Some(name) => engines::read(name),
                None => patched(&case["config"]),
            };
            let host = case["host"].as_str().unwrap_or("root-v2");
            let (found, _) = findings_of(
                config.to_string().as_bytes(),
                &changed_request(&case["request"]),
                &super::facts::host(host),
            );
            match planned(&config, host, &case["request"]) {
                Ok(_) => {
                    assert_eq!(errors(&found), [""; 0], "{}: {found:?}", path.display());
                    accepted += 1;
                }
                Err(line) => {
                    let is_told = |finding: &Finding| {
                        let pointer = if finding.pointer.is_empty() { "/" } else { &finding.pointer };
                        finding.severity == Severity::Error && line.contains(&format!(" ({pointer})"))
                    };
                    assert!(found.iter().any(is_told), "{line}: {found:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused >= 218 && accepted >= 75, "only {refused} refused and {accepted} accepted");
}

/// Wrong types, wrong values, and what is missing, in all sections.
#[test]
fn all_errors_are_found_at_once() {
    let config = patched(&json!({
        "ociVersion": "2.0.0",
        "hostname": "h".repeat(65),
        "process": {
            "cwd": "relative",
            "args": ["sh", 5],
            "env": ["=x", "A=1"],
            "rlimits": [{ "type": "RLIMIT_FOO", "soft": 1, "hard": 2 }, { "type": "RLIMIT_CPU", "soft": 2, "hard": 1 }],
            "capabilities": { "bounding": ["CAP_FOO", "CAP_KILL", "CAP_BAR"], "ambient": [1] },
            "scheduler": { "policy": "SCHED_FOO" },
            "oomScoreAdj": 1001,
        },
        "mounts": [
            { "destination": 7 },
            { "destination": "/a", "type": "tmpfs" },
            { "destination": "/b" },
            { "destination": "/proc/x", "source": "/x", "options": ["bind"] },
            { "destination": 8 },
            { "destination": "/c", "type": "none" },
        ],
        "linux": {
            "maskedPaths": ["a", "/b", "c"],
            "sysctl": { "a": "b", "kernel.hostname": "x" },
            "resources": {
                "memory": { "limit": -2, "swappiness": 101 },
                "cpu": { "period": 1, "cpus": "x" },
                "devices": [{ "allow": true, "type": "c", "access": "x" }, { "type": "b" }],
                "pids": { "limit": "many" },
            },
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    { "names": [], "action": "SCMP_ACT_ERRNO" },
                    { "names": ["read"], "action": "SCMP_ACT_FOO" },
                ],
            },
        },
        "hooks": { "poststop": [{ "path": "x" }, { "path": "/y", "timeout": 0 }] },
    }));
    let found = findings(&config);
    assert_eq!(
        errors(&found),
        [
            "/hooks/poststop/0/path",
            "/hooks/poststop/1/timeout",
            "/hostname",
            "/linux/maskedPaths/0",
            "/linux/maskedPaths/2",
            "/linux/resources/cpu/cpus",
            "/linux/resources/cpu/period",
            "/linux/resources/devices/0/access",
            "/linux/resources/devices/1/access",
            "/linux/resources/devices/1/allow",
            "/linux/resources/memory/limit",
            "/linux/resources/memory/swappiness",
            "/linux/resources/pids/limit",
            "/linux/seccomp/syscalls/0/names",
            "/linux/seccomp/syscalls/1/action",
            "/linux/sysctl/a",
            "/linux/sysctl/kernel.hostname",
            "/mounts/0/destination",
            "/mounts/2/type",
            "/mounts/3/destination",
            "/mounts/4/destination",
            "/mounts/5/options",
            "/ociVersion",
            "/process/args/1",
            "/process/capabilities/ambient/0",
            "/process/capabilities/bounding/0",
            "/process/capabilities/bounding/2",
            "/process/cwd",
            "/process/env/0",
            "/process/oomScoreAdj",
            "/process/rlimits/0/type",
            "/process/rlimits/1",
            "/process/scheduler/policy",
        ],
        "{found:#?}"
    );
}

/// What cannot be read is not missed: it would be one mistake told twice.
#[test]
fn a_consequence_of_an_error_is_not_told() {
    for (patch, expected) in [
        (
            json!({ "linux": { "namespaces": [{ "type": "mount" }, { "type": "utss" }] }, "hostname": "h" }),
            "/linux/namespaces/1/type",
        ),
        (json!({ "process": 5 }), "/process"),
        (json!({ "process": { "cwd": 5 } }), "/process/cwd"),
        (json!({ "root": { "path": [] } }), "/root/path"),
        (json!({ "linux": 5 }), "/linux"),
        (json!({ "linux": { "namespaces": 5 } }), "/linux/namespaces"),
        (
            json!({ "linux": {
                "namespaces": [{ "type": "mount" }, { "type": "user" }],
                "uidMappings": [{ "containerID": 0, "hostID": "x", "size": 1 }],
                "gidMappings": [{ "containerID": 0, "hostID": 0, "size": 1 }],
            } }),
            "/linux/uidMappings/0/hostID",
        ),
    ] {
        let found = findings(&patched(&patch));
        assert_eq!(errors(&found), [expected], "{found:#?}");
    }
}

/// Places are those of the file, also behind elements that could not be read.
#[test]
fn places_do_not_move() {
    let bad = json!({ "destination": 1 });
    let wrong = json!({ "destination": "/x", "type": "none" });
    let fine = json!({ "destination": "/x", "type": "tmpfs" });
    let config = patched(&json!({ "mounts": [bad, wrong, bad, bad, fine, wrong, bad, wrong] }));
    assert_eq!(
        errors(&findings(&config)),
        [
            "/mounts/0/destination",
            "/mounts/1/options",
            "/mounts/2/destination",
            "/mounts/3/destination",
            "/mounts/5/options",
            "/mounts/6/destination",
            "/mounts/7/options",
        ]
    );
}

#[test]
fn every_duplicate_key_is_found() {
    let text = r#"{"ociVersion":"1.0.0","root":{"path":"a","path":"b"},"ociVersion":"1.0.0","mounts":[{"destination":"/x","type":"tmpfs","type":"proc"}],
        "process":{"cwd":"/","args":["a"]},"linux":{"namespaces":[{"type":"mount"}]}}"#;
    let (found, _) = findings_of(text.as_bytes(), &changed_request(&Value::Null), &host("root-v2"));
    assert_eq!(errors(&found), ["/mounts/0/type", "/ociVersion", "/root/path"], "{found:#?}");
}

#[test]
fn text_that_is_no_json_is_one_error() {
    for text in ["", "{", "[]", "{\"a\":}", "{} x"] {
        let (found, _) = findings_of(text.as_bytes(), &changed_request(&Value::Null), &host("root-v2"));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(found[0].severity, Severity::Error);
    }
}

#[test]
fn hooks_that_others_can_look_into_are_told() {
    let told = |kinds: &[&str]| {
        let namespaces: Vec<Value> = ["user", "pid", "mount"]
            .iter()
            .map(|kind| match kinds.contains(kind) {
                true => json!({ "type": kind, "path": format!("/proc/7/ns/{kind}") }),
                false => json!({ "type": kind, "path": "" }),
            })
            .collect();
        let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
        let config = patched(&json!({
            "hooks": { "createContainer": [{ "path": "/x" }] },
            "linux": { "namespaces": namespaces, "uidMappings": map, "gidMappings": map },
        }));
        findings(&config).iter().any(|finding| finding.to_string().contains("see the host's files"))
    };
    assert!(told(&["user", "pid"]));
    assert!(!told(&["user"]) && !told(&["pid"]) && !told(&["mount"]));
}

#[test]
fn advice_names_the_place_and_what_was_meant() {
    let config = patched(&json!({
        "windows": {},
        "root": { "readonyl": true },
        "process": { "noNewPrivilege": true, "env": ["A=1", "B=1", "A=2"], "hostname": "x" },
        "annotations": { "run.oci.keep_original_groups": "1", "anything": "x" },
        "hooks": { "prestart": [{ "path": "/x" }] },
        "linux": { "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
            "syscalls": [{ "names": ["reed"], "action": "SCMP_ACT_ERRNO" }],
        } },
        "something": { "inside": 1 },
    }));
    let found = findings(&config);
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "warning /annotations/run.oci.keep_original_groups: the annotation weakens the container [config.md#annotations]",
            "note /hooks/prestart: deprecated; createRuntime, createContainer and startContainer hooks take its place \
             [config.md#posix-platform-hooks]",
            "note /linux/seccomp/flags: SECCOMP_FILTER_FLAG_SPEC_ALLOW switches the mitigation of speculative attacks \
             off [config-linux.md#seccomp]",
            "warning /linux/seccomp/syscalls/0/names/0: unknown system call \"reed\" is ignored [config-linux.md#seccomp]",
            "warning /process/env/2: set a second time; the program sees this value [config.md#process]",
            "warning /process/hostname: \"hostname\" is no property here and ignored; it belongs to / [config.md#process]",
            "warning /process/noNewPrivilege: \"noNewPrivilege\" is no property here and ignored; did you mean \
             \"noNewPrivileges\"? [config.md#process]",
            "warning /root/readonyl: \"readonyl\" is no property here and ignored; did you mean \"readonly\"? [config.md#root]",
            "warning /something: \"something\" is no property here and ignored [config.md#extensibility]",
            "note /windows: for another operating system, ignored [config.md#platform-specific-configuration]",
        ],
        "{told:#?}"
    );
}

/// Engines know what they write.
#[test]
fn configurations_of_engines_are_clean() {
    for name in ["docker-28.json", "podman-4.3.json", "containerd-2.1.json"] {
        let found = findings(&engines::read(&format!("tests/integration/testdata/{name}")));
        let serious = found.iter().filter(|finding| finding.severity != Severity::Note);
        assert_eq!(serious.map(ToString::to_string).collect::<Vec<_>>(), [""; 0], "{name}");
    }
    assert_eq!(findings(&engines::read("src/commands/spec.json")), []);
}

/// A configuration with an error in each of its bytes must fill neither the memory nor the terminal.
#[test]
fn what_is_told_is_bounded() {
    let many = |value: Value| Value::from(vec![value; 20_000]);
    let config = patched(&json!({
        "mounts": many(json!({ "destination": 1 })),
        "process": { "env": many("".into()), "capabilities": { "bounding": many("CAP_X".into()) } },
        "x".repeat(100_000): 1,
        "linux": { "maskedPaths": many("relative".into()) },
    }));
    let start = std::time::Instant::now();
    let (found, left_out) =
        findings_of(config.to_string().as_bytes(), &changed_request(&Value::Null), &host("root-v2"));
    assert!(found.len() <= 3 * MOST && left_out > 1000, "{} and {left_out}", found.len());
    assert!(found.iter().all(|finding| finding.to_string().len() < 2000));
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
