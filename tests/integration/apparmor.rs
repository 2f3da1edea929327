//! AppArmor profiles, on a machine that has them. The virtual machine of the tests does.

use std::fs;

use serde_json::json;

use crate::harness::{Bundle, Test};

cases![
    profile_holds_from_the_first_instruction,
    profile_holds_with_no_new_privileges,
    without_a_profile_a_container_is_unconfined,
    processes_that_are_added_have_the_profile_of_the_container,
    processes_that_are_added_may_have_another_profile,
    profile_that_is_not_loaded_is_refused,
];

/// A profile that forbids nothing but `FORBIDDEN`; loaded before the tests start, which cannot: their view of the
/// security file system is read-only.
const PROFILE: &str = "teu-test";

/// See tests/env/guest/apparmor-profile.
const FORBIDDEN: &str = "/etc/forbidden";

/// Prints the own profile, then tries the file.
const SCRIPT: &str = "cat /proc/self/attr/current /etc/forbidden";

/// Whether the kernel applies profiles.
pub fn is_enabled() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|on| on.starts_with('Y'))
}

fn bundle(t: &Test) -> Bundle<'_> {
    if !is_enabled() {
        t.skip("AppArmor is not enabled on this machine");
    }
    let profiles = fs::read_to_string("/sys/kernel/security/apparmor/profiles");
    if !profiles.is_ok_and(|all| all.lines().any(|line| line.starts_with("teu-test "))) {
        t.skip("the profile teu-test is not loaded");
    }
    t.bundle().file(FORBIDDEN, "content\n").sh(SCRIPT)
}

/// config.md#linux-process.
fn profile_holds_from_the_first_instruction(t: &Test) {
    let out = bundle(t).set("/process/apparmorProfile", PROFILE).run();
    assert_eq!(out.stdout, "teu-test (enforce)\n", "{}", out.report());
    assert!(out.stderr.contains("Permission denied"), "{}", out.report());
    assert_eq!(out.code, Some(1));
}

/// A profile that is asked for is no gain of privileges.
fn profile_holds_with_no_new_privileges(t: &Test) {
    let bundle = bundle(t).set("/process/noNewPrivileges", true);
    let out = bundle.set("/process/apparmorProfile", PROFILE).run();
    assert_eq!(out.stdout, "teu-test (enforce)\n", "{}", out.report());
    assert!(out.stderr.contains("Permission denied"), "{}", out.report());
}

fn without_a_profile_a_container_is_unconfined(t: &Test) {
    for bundle in [bundle(t), bundle(t).set("/process/apparmorProfile", "")] {
        assert_eq!(bundle.run().ok().stdout, "unconfined\ncontent\n");
    }
}

fn processes_that_are_added_have_the_profile_of_the_container(t: &Test) {
    let c = bundle(t).set("/process/apparmorProfile", PROFILE).idle();
    let out = c.exec(&[], &["sh", "-c", SCRIPT]);
    assert_eq!(out.stdout, "teu-test (enforce)\n", "{}", out.report());
    assert!(out.stderr.contains("Permission denied"), "{}", out.report());
}

/// By the option, and by the process file of engines.
fn processes_that_are_added_may_have_another_profile(t: &Test) {
    let c = bundle(t).idle();
    assert_eq!(c.exec(&[], &["sh", "-c", SCRIPT]).ok().stdout, "unconfined\ncontent\n");
    let out = c.exec(&["--apparmor", PROFILE], &["sh", "-c", SCRIPT]);
    assert_eq!(out.stdout, "teu-test (enforce)\n", "{}", out.report());
    let process = json!({
        "args": ["sh", "-c", SCRIPT], "cwd": "/", "env": ["PATH=/bin"], "apparmorProfile": PROFILE,
        "user": { "uid": 0, "gid": 0 },
    });
    let file = t.make_file("process.json", process.to_string());
    let out = c.call("exec", &["--process", &file.to_string_lossy()]);
    assert_eq!(out.stdout, "teu-test (enforce)\n", "{}", out.report());
}

/// Nothing runs with less confinement than was asked for.
fn profile_that_is_not_loaded_is_refused(t: &Test) {
    let bundle = bundle(t).set("/process/apparmorProfile", "teu-absent").sh("echo ran");
    let out = bundle.run().fails(&[]);
    assert!(!out.stdout.contains("ran"), "{}", out.report());
    if t.is("teu") {
        out.fails(&["AppArmor profile \"teu-absent\"", "/process/apparmorProfile", "ENOENT"]);
    }
    let c = t.bundle().idle();
    let out = c.exec(&["--apparmor", "teu-absent"], &["echo", "ran"]).fails(&[]);
    assert!(!out.stdout.contains("ran"), "{}", out.report());
    assert_eq!(c.status(), "running");
}
