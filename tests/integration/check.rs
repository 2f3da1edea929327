//! `teu check`: everything that is wrong is told at once, with its place, and nothing is changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Bundle, Out, Test};

cases![
    clean_bundle_is_told_to_be_clean,
    ten_planted_errors_are_all_listed,
    report_for_programs_has_every_part,
    warnings_alone_have_a_status_of_their_own,
    what_the_host_lacks_is_found,
    what_the_kernel_lacks_is_found,
    ids_that_the_caller_may_not_map_are_found,
    file_outside_of_a_bundle_is_checked,
    file_that_cannot_be_read_is_an_error_in_the_report,
    misspelled_properties_are_told_with_what_was_meant,
    hostile_config_gives_a_short_report,
    help_names_the_exit_statuses,
];

fn check(bundle: &Bundle, t: &Test) -> Out {
    t.only_teu("the command is teu's");
    bundle.write();
    t.cmd(["check".as_ref(), bundle.dir().as_os_str()]).run()
}

/// What `--format json` says, and the exit status.
fn report(bundle: &Bundle, t: &Test) -> (Value, Option<i32>) {
    t.only_teu("the command is teu's");
    bundle.write();
    let out = t.cmd(["check", "--format", "json"]).arg(bundle.dir()).run();
    (out.json(), out.code)
}

/// Pointers of the findings of some severity, in the order in which they are told.
fn places<'r>(report: &'r Value, severity: &str) -> Vec<&'r str> {
    let findings = report["findings"].as_array().expect("a list of findings");
    let wanted = findings.iter().filter(|finding| finding["severity"] == severity);
    wanted.map(|finding| finding["pointer"].as_str().expect("a pointer")).collect()
}

#[track_caller]
fn finds_errors(bundle: Bundle, t: &Test, expected: &[&str]) -> Value {
    let (report, code) = report(&bundle, t);
    assert_eq!((places(&report, "error").as_slice(), code), (expected, Some(1)), "{report:#}");
    report
}

fn clean_bundle_is_told_to_be_clean(t: &Test) {
    let out = check(&t.bundle(), t).exits(0);
    assert_eq!(out.stdout.trim_end(), "nothing found");
    assert!(out.stderr.is_empty() && out.log.is_empty(), "{}", out.report());
}

/// The example of docs/check.md.
fn ten_planted_errors_are_all_listed(t: &Test) {
    let bundle = t
        .bundle()
        .set("/process/cwd", "tmp")
        .set("/process/args", json!([]))
        .set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILES", "soft": 1024, "hard": 1024 }]))
        .set("/process/capabilities/bounding/0", "CAP_NET_BIND")
        .set("/root/path", "rootsf")
        .push("/mounts", json!({ "destination": "/data", "source": "/no/such/source", "options": ["rbind"] }))
        .set("/hostname", "x".repeat(65))
        .set("/linux/sysctl", json!({ "kernel.hostname": "web" }))
        .set("/linux/resources/memory", json!({ "limit": "64M" }))
        .set("/hooks/poststop", json!([{ "path": "cleanup.sh" }]));
    let last = bundle.config()["mounts"].as_array().map_or(0, Vec::len) - 1;
    let source = format!("/mounts/{last}/source");
    let expected = [
        "/hooks/poststop/0/path",
        "/hostname",
        "/linux/resources/memory/limit",
        "/linux/sysctl/kernel.hostname",
        source.as_str(),
        "/process/args",
        "/process/capabilities/bounding/0",
        "/process/cwd",
        "/process/rlimits/0/type",
        "/root/path",
    ];
    let out = check(&bundle, t).exits(1);
    let lines = out.lines();
    let told: Vec<&str> =
        lines.iter().filter_map(|line| line.strip_prefix("error ")?.split(": ").next()).collect();
    assert_eq!(told, expected, "{}", out.report());
    assert!(lines.last().is_some_and(|line| line.starts_with("10 errors")), "{}", out.report());
    let documented = include_str!("../../docs/check.md");
    for place in expected {
        assert!(
            documented.contains(&format!("error {place}: ")),
            "docs/check.md lacks {place}\n{}",
            out.report()
        );
    }
    finds_errors(bundle, t, &expected);
}

fn report_for_programs_has_every_part(t: &Test) {
    let bundle = t.bundle().unset("/ociVersion").set("/process/cwd", "tmp");
    let report = finds_errors(bundle, t, &["/ociVersion", "/process/cwd"]);
    let expected = json!({
        "severity": "error",
        "pointer": "/ociVersion",
        "rule": "config.md#specification-version",
        "text": "the version of the specification is missing",
        "hint": "add \"ociVersion\": \"1.3.0\"",
    });
    assert_eq!(report["findings"][0], expected);
    let counts = ["errors", "warnings", "notes", "leftOut"].map(|name| report[name].as_u64());
    assert_eq!(counts, [Some(2), Some(0), Some(0), Some(0)], "{report:#}");
    assert!(report["config"].as_str().is_some_and(|file| file.ends_with("/config.json")));
}

fn warnings_alone_have_a_status_of_their_own(t: &Test) {
    let out = check(&t.bundle().env(&["A=1", "A=2"]), t).exits(3);
    let expected = "set a second time; the program sees this value [config.md#process]\n1 warning";
    assert!(out.stdout.trim_end().ends_with(expected), "{}", out.report());
    let noted = t.bundle().set("/windows", json!({}));
    let out = check(&noted, t).exits(0);
    assert!(out.stdout.starts_with("note /windows: "), "{}", out.report());
}

fn what_the_host_lacks_is_found(t: &Test) {
    let dir = t.make_dir("source");
    let plain = t.make_file("plain", "#!/bin/sh\n");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).expect("a mode can be set");
    let bundle = t
        .bundle()
        .set("/root/path", "config.json")
        .bind(&dir.join("missing"), "/a", &["bind"])
        .bind(&dir, "/b", &["bind"])
        .bind(&dir.join("missing too"), "/c", &["rbind"])
        .namespace("network", Some("/proc/self/ns/uts"))
        .namespace("ipc", Some("/no/such/namespace"))
        .set(
            "/hooks",
            json!({
                "createRuntime": [{ "path": "/no/such/hook" }, { "path": "/bin/true" }],
                "createContainer": [{ "path": plain.to_str() }],
                "startContainer": [{ "path": "/only/in/the/container" }],
                "poststop": [{ "path": dir.to_str() }],
            }),
        );
    let number = |kind: &str| {
        let listed = bundle.config()["linux"]["namespaces"].as_array().expect("a list").iter();
        listed.enumerate().find(|(_, namespace)| namespace["type"] == kind).expect("the kind").0
    };
    let mounts = bundle.config()["mounts"].as_array().map_or(0, Vec::len);
    let mut namespaces = [number("network"), number("ipc")].map(|n| format!("/linux/namespaces/{n}/path"));
    namespaces.sort();
    let (first, third) = (format!("/mounts/{}/source", mounts - 3), format!("/mounts/{}/source", mounts - 1));
    let expected = [
        "/hooks/createContainer/0/path",
        "/hooks/createRuntime/0/path",
        "/hooks/poststop/0/path",
        &namespaces[0],
        &namespaces[1],
        &first,
        &third,
        "/root/path",
    ];
    finds_errors(bundle, t, &expected);
}

fn what_the_kernel_lacks_is_found(t: &Test) {
    t.only_teu("the command is teu's");
    if Path::new("/sys/module/apparmor/parameters/enabled").exists()
        || Path::new("/sys/fs/selinux/enforce").exists()
    {
        t.skip("this kernel has a security module");
    }
    let last = |bundle: &Bundle| bundle.config()["mounts"].as_array().map_or(0, Vec::len) - 1;
    let bundle = t
        .bundle()
        .set("/process/apparmorProfile", "some-profile")
        .set("/process/selinuxLabel", "system_u:system_r:container_t:s0")
        .set("/linux/sysctl", json!({ "net.ipv4.no_such_parameter": "1" }))
        .set("/linux/resources/rdma", json!({ "mlx5_1": { "hcaHandles": 3 } }))
        .mount("/x", "no-such-fs", "x", &[]);
    let fstype = format!("/mounts/{}/type", last(&bundle));
    let (report, code) = report(&bundle, t);
    assert_eq!(code, Some(1), "{report:#}");
    let errors = ["/linux/resources/rdma/mlx5_1", "/process/apparmorProfile", "/process/selinuxLabel"];
    assert_eq!(places(&report, "error"), errors, "{report:#}");
    let warnings = ["/linux/sysctl/net.ipv4.no_such_parameter", fstype.as_str()];
    assert_eq!(places(&report, "warning"), warnings, "{report:#}");
}

/// An unprivileged user may map the own id to anything, and no other.
fn ids_that_the_caller_may_not_map_are_found(t: &Test) {
    t.only_teu("the command is teu's");
    let map = |outside: u32, size: u32| json!([{ "containerID": 0, "hostID": outside, "size": size }]);
    let mapped = |ids: Value| {
        t.bundle()
            .namespace("user", None)
            .set("/linux/uidMappings", ids.clone())
            .set("/linux/gidMappings", ids)
            .unset("/linux/resources")
            .unset("/linux/cgroupsPath")
    };
    let as_user = |bundle: &Bundle| {
        bundle.write();
        let cmd = t.cmd(["check", "--format", "json"]).arg(bundle.dir());
        cmd.through("exec setpriv --reuid=54321 --regid=54321 --clear-groups -- \"$@\"")
            .without_log()
            .run()
            .json()
    };
    // Others must be able to get to the bundle.
    for dir in [t.dir(), t.root()].into_iter().filter(|dir| dir.exists()) {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("a mode can be set");
    }
    let own = as_user(&mapped(map(54321, 1)));
    assert!(!places(&own, "error").iter().any(|place| place.ends_with("Mappings")), "{own:#}");
    let others = as_user(&mapped(map(0, 65536)));
    assert!(places(&others, "error").contains(&"/linux/uidMappings"), "{others:#}");
}

fn file_outside_of_a_bundle_is_checked(t: &Test) {
    t.only_teu("the command is teu's");
    let bundle = t.bundle();
    bundle.write();
    let file = t.make_file("other.json", bundle.config().to_string());
    // Without a bundle the root file system is looked for beside the file.
    let alone = t.cmd(["check", "--config"]).arg(&file).run().exits(1);
    assert!(alone.stdout.starts_with("error /root/path: "), "{}", alone.report());
    t.cmd(["check", "--config"]).arg(&file).arg(bundle.dir()).run().exits(0);
    t.cmd(["check", "-b"]).arg(bundle.dir()).run().exits(0);
    t.cmd(["check"]).in_dir(bundle.dir()).run().exits(0);
}

fn file_that_cannot_be_read_is_an_error_in_the_report(t: &Test) {
    t.only_teu("the command is teu's");
    for (text, words) in [
        (&b"{"[..], "config.json is not valid"),
        (b"[]", "the top must be an object"),
        (b"\xff", "config.json is not valid"),
    ] {
        let file = t.make_file("broken.json", text);
        let out = t.cmd(["check", "--config"]).arg(&file).run().exits(1);
        assert!(out.stdout.starts_with("error /: ") && out.stdout.contains(words), "{}", out.report());
        assert!(out.stdout.trim_end().ends_with("\n1 error"), "{}", out.report());
    }
    let missing =
        t.cmd(["check", "--format", "json", "--config"]).arg(t.dir().join("no.json")).run().exits(1);
    assert_eq!(missing.json()["errors"], 1, "{}", missing.report());
    t.cmd(["check", "/no/such/bundle"]).run().fails(&["open the bundle"]);
    t.cmd(["check", "--format", "yaml"]).run().fails(&["invalid format"]);
}

fn misspelled_properties_are_told_with_what_was_meant(t: &Test) {
    let bundle = t
        .bundle()
        .set("/process/noNewPrivilegs", true)
        .set("/linux/maskedPath", json!(["/proc/x"]))
        .set("/rootfsPropagation", "private")
        .set("/root/ReadOnly", true)
        .set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["mout"], "action": "SCMP_ACT_ERRNO" }],
            }),
        );
    let out = check(&bundle, t).exits(3);
    for words in [
        "/linux/maskedPath: \"maskedPath\" is no property here and ignored; did you mean \"maskedPaths\"?",
        "did you mean \"noNewPrivileges\"?",
        "/rootfsPropagation: \"rootfsPropagation\" is no property here and ignored; it belongs to /linux",
        "/root/ReadOnly: \"ReadOnly\" is ignored; the property is spelled \"readonly\"",
        "/linux/seccomp/syscalls/0/names/0: unknown system call \"mout\" is ignored",
    ] {
        assert!(out.stdout.contains(words), "{words}\n{}", out.report());
    }
}

fn hostile_config_gives_a_short_report(t: &Test) {
    let many = |value: Value| Value::from(vec![value; 60_000]);
    let bundle = t
        .bundle()
        .set("/mounts", many(json!({ "destination": "" })))
        .set("/process/env", many("\u{1b}[2J\n".into()))
        .set("/annotations", json!({ "x".repeat(1_000_000): 7 }));
    let out = check(&bundle, t).exits(1);
    assert!(out.stdout.len() < 200_000, "{} bytes", out.stdout.len());
    assert!(out.stdout.lines().last().is_some_and(|line| line.contains(" more left out")), "{}", out.stdout);
    assert!(!out.stdout.contains('\u{1b}'));
}

fn help_names_the_exit_statuses(t: &Test) {
    t.only_teu("the command is teu's");
    let out = t.cmd(["check", "--help"]).run().ok();
    let text = out.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("Exit status: 0 when nothing or only notes are found, 3 when"), "{}", out.report());
}
