//! `teu seccomp`: profiles are recorded, explained, and their refusals reported.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::Test;
use crate::harness::report::status;

cases![
    explain_names_the_rule_the_reason_and_the_remedy,
    explain_prints_json_with_a_patch,
    explain_refuses_what_it_cannot_read,
    spec_contains_the_profile_that_is_asked_for,
];

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("the file exists")).expect("the file is JSON")
}

/// Records a bundle; returns its profile and what the call printed.
/// A shell script forks and executes programs; its profile allows that and nothing else.
/// The profile will confine them too.
/// It could not be seen what it refuses.
/// Every call would fail with ENOSYS then.
/// As `run` does; and a program sees no interrupted calls because of the recording.
fn example(t: &Test) -> std::path::PathBuf {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            { "names": ["read", "statx"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS" },
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW",
              "args": [{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }] },
        ],
    });
    t.make_file("example.json", profile.to_string())
}

fn explain_names_the_rule_the_reason_and_the_remedy(t: &Test) {
    t.only_teu("no other runtime explains");
    let file = example(t);
    let explain = |words: &[&str]| {
        let cmd = t.cmd(["seccomp", "explain"]).arg(&file);
        words.iter().fold(cmd, |cmd, word| cmd.arg(word)).run().ok().stdout
    };
    let arch = if cfg!(target_arch = "x86_64") { "SCMP_ARCH_X86_64" } else { "SCMP_ARCH_AARCH64" };
    let call = |number: i64| format!("({arch}, call {number})");
    assert_eq!(
        explain(&["read"]),
        format!("read {}: runs\n  decided by  /syscalls/0\n", call(libc::SYS_read))
    );
    assert_eq!(
        explain(&["ptrace", "0", "-1"]),
        format!(
            "ptrace {}: kills the process\n  decided by  /syscalls/1\n  to allow    remove /syscalls/1, then add \
             {{\"names\":[\"ptrace\"],\"action\":\"SCMP_ACT_ALLOW\"}} to /syscalls\n",
            call(libc::SYS_ptrace)
        )
    );
    assert!(explain(&["mount"]).contains("decided by  /defaultAction, as no rule names the call"));
    assert!(explain(&["personality", "8"]).contains("/syscalls/2, whose condition holds: argument 0 == 0x8"));
    let text = explain(&["personality"]);
    assert!(text.contains("have conditions that do not hold: /syscalls/2 wants argument 0 == 0x8"), "{text}");
    assert!(text.contains("argument 0 was not given and counts as 0"), "{text}");
    assert!(explain(&["mseal"]).contains("the newest is "));
    assert!(explain(&["4095"]).contains("rules are about names, and the call has none"));
    assert_eq!(explain(&[&libc::SYS_read.to_string()]), explain(&["read"]));
    // The pointer is that of the file.
    let bundle = t.bundle().set("/linux/seccomp", read(&file));
    bundle.write();
    for path in [bundle.dir().to_owned(), bundle.dir().join("config.json")] {
        let out = t.cmd(["seccomp", "explain"]).arg(&path).arg("read").run().ok();
        assert!(out.stdout.contains("/linux/seccomp/syscalls/0"), "{}", out.report());
    }
    // Docker's own profile allows what its containers do.
    let docker = concat!(env!("CARGO_MANIFEST_DIR"), "/seccomp/testdata/docker-28.json");
    let out = t.cmd(["seccomp", "explain", docker, "clone", "0x10000000"]).run().ok();
    assert!(out.stdout.contains("fails with EPERM"), "{}", out.report());
}

fn explain_prints_json_with_a_patch(t: &Test) {
    t.only_teu("no other runtime explains");
    let file = example(t);
    let document =
        t.cmd(["seccomp", "explain", "--format", "json"]).arg(&file).arg("ptrace").run().ok().json();
    assert_eq!(
        document["toAllow"],
        json!([
            { "op": "remove", "path": "/syscalls/1" },
            { "op": "add", "path": "/syscalls/-",
              "value": { "names": ["ptrace"], "action": "SCMP_ACT_ALLOW" } },
        ])
    );
    assert_eq!(
        (&document["syscall"], &document["action"], &document["reason"], &document["refused"]),
        (&json!("ptrace"), &json!("SCMP_ACT_KILL_PROCESS"), &json!("rule"), &json!(true))
    );
    if cfg!(target_arch = "x86_64") {
        // Reached in two ways.
        let out = t.cmd(["seccomp", "explain", "-a", "x86", "-f", "json"]).arg(&file).arg("connect").run();
        let both = out.ok().json();
        assert_eq!((&both[0]["number"], &both[1]["number"]), (&json!(362), &json!(102)));
        assert_eq!((&both[1]["args"][0], &both[1]["reason"]), (&json!(3), &json!("foreign-architecture")));
        assert_eq!(both[0]["toAllow"][0]["path"], "/architectures");
        let out = t.cmd(["seccomp", "explain", "-a", "x86"]).arg(&file).arg("connect").run().ok();
        assert!(
            out.stdout.contains("connect by way of socketcall (SCMP_ARCH_X86, call 102)"),
            "{}",
            out.report()
        );
    }
}

fn explain_refuses_what_it_cannot_read(t: &Test) {
    t.only_teu("no other runtime explains");
    let file = example(t);
    let explain = |path: &Path, words: &[&str]| {
        let cmd = t.cmd(["seccomp", "explain"]).arg(path);
        words.iter().fold(cmd, |cmd, word| cmd.arg(word)).run()
    };
    explain(&file, &["no_such_call"]).fails(&["no system call is named \"no_such_call\""]);
    explain(&file, &["socketcall", "--arch", "x86_64"])
        .fails(&["SCMP_ARCH_X86_64 has no system call socketcall"]);
    explain(&file, &["read", "O_RDONLY"]).fails(&["\"O_RDONLY\" is no number"]);
    explain(&file, &["read", "1", "2", "3", "4", "5", "6", "7"]).fails(&["at most six arguments"]);
    explain(&file, &["read", "--arch", "pdp11"]).fails(&["no architecture is named \"pdp11\""]);
    explain(&file, &["read", "--format", "xml"]).fails(&["invalid format"]);
    explain(&t.dir().join("nothing.json"), &["read"]).fails(&["nothing.json"]);
    let bundle = t.bundle();
    bundle.write();
    explain(bundle.dir(), &["read"]).fails(&["asks for no seccomp filter"]);
    let wrong = |name: &str, text: &str| t.make_file(name, text);
    explain(&wrong("a.json", "{\"defaultAction\": \"SCMP_ACT_FOO\"}"), &["read"]).fails(&["/defaultAction"]);
    explain(&wrong("b.json", "{\"defaultAction\": "), &["read"]).fails(&["b.json"]);
    let template = "{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"archMap\": [], \"syscalls\": []}";
    explain(&wrong("c.json", template), &["read"]).fails(&["template", "/archMap"]);
}

/// Programs such as browsers load filters of their own.
/// Threads, forks and programs come and go while it is watched; nothing of it is changed.
/// The tracers of the threads of a process.
fn spec_contains_the_profile_that_is_asked_for(t: &Test) {
    t.only_teu("no other runtime puts a profile into it");
    let dir = t.make_dir("made");
    t.cmd(["spec", "--seccomp", "default", "--bundle"]).arg(&dir).run().ok();
    let default: Value =
        serde_json::from_str(include_str!("../../seccomp/profiles/default.json")).expect("a JSON file");
    let config = read(&dir.join("config.json"));
    assert_eq!(config["linux"]["seccomp"], default);
    // It is a config that runs, under that profile.
    let bundle = t.bundle().probe();
    let usual = bundle.config().clone();
    let mut config = config;
    config["process"]["args"] = usual["process"]["args"].clone();
    config["process"]["env"] = usual["process"]["env"].clone();
    config["process"]["terminal"] = false.into();
    config["linux"]["cgroupsPath"] = usual["linux"]["cgroupsPath"].clone();
    let report = bundle.with_config(config).run().ok().json();
    assert_eq!((status(&report, "Seccomp"), status(&report, "Seccomp_filters")), ("2", "1"));
    let own = example(t);
    let dir = t.make_dir("own");
    t.cmd(["spec", "-seccomp"]).arg(&own).arg("--rootless").arg("--bundle").arg(&dir).run().ok();
    assert_eq!(read(&dir.join("config.json"))["linux"]["seccomp"], read(&own));
    let dir = t.make_dir("wrong");
    t.cmd(["spec", "--seccomp", "/dev/null", "--bundle"]).arg(&dir).run().fails(&["/dev/null"]);
    assert!(!dir.join("config.json").exists());
}
