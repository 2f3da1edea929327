//! What each action, operator and flag of a seccomp profile does to a program.

use serde_json::{Value, json};

use crate::harness::{Bundle, Test};

cases![
    default_errno_of_the_profile_is_given,
    trapped_call_raises_a_signal,
    logged_call_is_made,
    logged_call_is_in_the_log_of_the_kernel,
    traced_call_without_a_tracer_does_not_exist,
    masked_bits_are_compared,
    conditions_on_two_arguments_must_both_hold,
    conditions_on_one_argument_are_alternatives,
    flags_are_accepted,
    kernel_gets_the_bits_of_the_flags,
    listener_that_no_rule_uses_is_ignored,
    filter_that_refuses_the_way_to_the_program_is_refused_without_no_new_privileges,
    failing_start_container_hook_in_the_filter_fails_start,
    default_of_allow_hides_no_newer_call,
];

fn profile(rules: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })
}

fn with(t: &Test, rules: Value) -> Bundle<'_> {
    t.bundle().set("/linux/seccomp", profile(rules))
}

const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

/// config-linux.md#seccomp, `defaultErrnoRet`.
fn default_errno_of_the_profile_is_given(t: &Test) {
    t.skip_older("runc", (1, 1), "does not know it");
    // All calls are allowed but one group, which is left to the default.
    let library = (0..500).filter_map(|number| teu_seccomp::Arch::NATIVE.name_of(number));
    let names: Vec<String> = library.filter(|name| !MKDIR.contains(&name.as_str())).collect();
    let filter = json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }] });
    let out = t.bundle().set("/linux/seccomp", filter).sh("mkdir /tmp/x || touch /tmp/y && echo fine").run();
    assert!(out.stderr.contains("Function not implemented") && out.stdout == "fine\n", "{}", out.report());
}

/// seccomp(2): SECCOMP_RET_TRAP.
fn trapped_call_raises_a_signal(t: &Test) {
    let rules = json!([{ "names": ["kill"], "action": "SCMP_ACT_TRAP" }]);
    let out = with(t, rules).sh("trap 'echo trapped' SYS; kill -0 $$; echo after").run();
    assert_eq!(out.stdout, "trapped\nafter\n", "{}", out.report());
}

/// seccomp(2): SECCOMP_RET_LOG.
fn logged_call_is_made(t: &Test) {
    with(t, json!([{ "names": MKDIR, "action": "SCMP_ACT_LOG" }]))
        .sh("mkdir /tmp/x && [ -d /tmp/x ]")
        .run()
        .ok();
}

/// seccomp(2): SECCOMP_RET_LOG. What kills is always recorded, so it shows whether records can be seen here.
fn logged_call_is_in_the_log_of_the_kernel(t: &Test) {
    let is_recorded = |action: &str, tries: u32| {
        // The log outlives this run, and a process has at most 15 characters of a name.
        let name = format!("{}{}", &action[9..10], t.token().trim_start_matches("teuit"));
        let name = &name[..name.len().min(15)];
        let script = format!("printf {name} >/proc/$$/comm; kill -0 $$");
        // The kernel leaves records out when there are many.
        (0..tries).any(|_| {
            with(t, json!([{ "names": ["kill"], "action": action }])).sh(&script).run();
            let log = std::process::Command::new("dmesg").output().map(|out| out.stdout).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let found = log.lines().any(|line| line.contains("type=1326") && line.contains(name));
            if !found {
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
            found
        })
    };
    if !is_recorded("SCMP_ACT_KILL_PROCESS", 6) {
        t.skip("records of seccomp are not in the log of this kernel");
    }
    assert!(is_recorded("SCMP_ACT_LOG", 12));
    assert!(!is_recorded("SCMP_ACT_ALLOW", 1));
}

/// seccomp(2): SECCOMP_RET_TRACE.
fn traced_call_without_a_tracer_does_not_exist(t: &Test) {
    let out = with(t, json!([{ "names": MKDIR, "action": "SCMP_ACT_TRACE" }])).sh("mkdir /tmp/x").run();
    assert!(out.stderr.contains("Function not implemented"), "{}", out.report());
}

fn kill_with(t: &Test, args: Value) -> Bundle<'_> {
    with(t, json!([{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": args }]))
}

/// config-linux.md#seccomp: SIGUSR1 is 0b1010 and SIGUSR2 0b1100.
fn masked_bits_are_compared(t: &Test) {
    let args = json!([{ "index": 1, "value": 2, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ" }]);
    let out =
        kill_with(t, args).sh("kill -USR1 $$ || echo USR1; kill -USR2 $$ || echo USR2; true").run().ok();
    assert_eq!(out.stdout, "USR1\n");
}

/// config-linux.md#seccomp.
fn conditions_on_two_arguments_must_both_hold(t: &Test) {
    let is = |index: u32, value: u32| json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" });
    let script = "kill -USR1 1 || echo both; kill -USR2 1 || echo process; sleep 9 & kill -USR1 $! || echo signal; true";
    assert_eq!(kill_with(t, json!([is(0, 1), is(1, 10)])).sh(script).run().ok().stdout, "both\n");
}

/// runc: libseccomp cannot express it, so each becomes a rule of its own.
fn conditions_on_one_argument_are_alternatives(t: &Test) {
    let is = |value: u32| json!({ "index": 1, "value": value, "op": "SCMP_CMP_EQ" });
    let script = "for s in USR1 USR2 WINCH; do kill -$s 1 || echo $s; done; true";
    assert_eq!(kill_with(t, json!([is(10), is(12)])).sh(script).run().ok().stdout, "USR1\nUSR2\n");
}

/// config-linux.md#seccomp, `flags`.
fn flags_are_accepted(t: &Test) {
    t.skip_older("runc", (1, 2), "does not know them all");
    for flags in [
        json!([]),
        json!(["SECCOMP_FILTER_FLAG_LOG"]),
        json!(["SECCOMP_FILTER_FLAG_TSYNC"]),
        json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"]),
    ] {
        let mut filter = profile(json!([{ "names": MKDIR, "action": "SCMP_ACT_ERRNO" }]));
        filter["flags"] = flags.clone();
        let out = t.bundle().set("/linux/seccomp", filter).sh("mkdir /tmp/x").run();
        assert!(out.stderr.contains("Operation not permitted"), "{flags}: {}", out.report());
    }
}

/// seccomp(2). Without the member speculation is allowed, with an empty list it is not. TSYNC is about other threads of
/// the caller, of which there are none.
fn kernel_gets_the_bits_of_the_flags(t: &Test) {
    t.only_teu("others ask for threads to be synchronised, or not, by version");
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        t.skip("strace is missing");
    }
    for (flags, bits) in [
        (Value::Null, "0x4"),
        (json!([]), "0"),
        (json!(["SECCOMP_FILTER_FLAG_LOG"]), "0x2"),
        (json!(["SECCOMP_FILTER_FLAG_TSYNC"]), "0"),
        (json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]), "0x2"),
        (json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"]), "0x6"),
    ] {
        let mut filter = profile(json!([{ "names": MKDIR, "action": "SCMP_ACT_ERRNO" }]));
        filter["flags"] = flags.clone();
        let trace = t.dir().join(format!("trace{}", t.next_number()));
        let line =
            format!("exec strace -f -qq -e trace=seccomp -e raw=seccomp -o {} \"$@\"", trace.display());
        t.bundle().set("/linux/seccomp", filter).run_cmd().through(&line).run().ok();
        let text = std::fs::read_to_string(&trace).unwrap();
        // SECCOMP_SET_MODE_FILTER that succeeds; calls without a program only ask what the kernel knows.
        let loaded = text.lines().filter(|line| line.contains("seccomp(0x1, ") && line.ends_with(" = 0"));
        let given: Vec<&str> = loaded.filter_map(|line| line.split(", ").nth(1)).collect();
        assert_eq!(given, [bits], "{flags}:\n{text}");
    }
}

/// config-linux.md#seccomp, `listenerPath`.
fn listener_that_no_rule_uses_is_ignored(t: &Test) {
    let mut filter = profile(json!([{ "names": MKDIR, "action": "SCMP_ACT_ERRNO" }]));
    filter["listenerPath"] = "/no/such/agent".into();
    t.bundle().set("/linux/seccomp", filter).run().ok();
}

/// Without no_new_privs the filter comes before the change of identity, which it must permit.
fn filter_that_refuses_the_way_to_the_program_is_refused_without_no_new_privileges(t: &Test) {
    t.only_teu("others fail at another point");
    let identity = ["setuid", "setgroups", "setresuid", "capset"];
    for (names, name) in [(&["capset"][..], "capset"), (&["execve"], "execve"), (&identity, "capset")] {
        let bundle = with(t, json!([{ "names": names, "action": "SCMP_ACT_ERRNO" }]));
        let bundle = bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        bundle.set("/process/noNewPrivileges", false).try_create().fails(&["/linux/seccomp", name]);
    }
}

/// runtime.md: an error of a startContainer hook.
fn failing_start_container_hook_in_the_filter_fails_start(t: &Test) {
    t.skip_for("crun", "runs it before the filter");
    t.skip_older("runc", (1, 2), "tells it otherwise");
    let shared = t.make_dir("shared");
    let bundle = with(t, json!([{ "names": MKDIR, "action": "SCMP_ACT_ERRNO" }]))
        .bind(&shared, "/shared", &["bind"])
        .hook("startContainer", "mkdir /shared/made")
        .sh("touch /shared/ran");
    let c = bundle.create();
    let out = c.call("start", &[]);
    if t.is("runc") {
        // runc: lets go and does not look back.
        t.until("the end of the container", || c.status() == "stopped");
    } else {
        out.fails(&["startContainer"]);
    }
    assert!(!shared.join("made").exists() && !shared.join("ran").exists());
    t.cmd(["delete", "--force", bundle.id()]).run();
}

/// What may do all may do what is new.
fn default_of_allow_hides_no_newer_call(t: &Test) {
    // A call that every kernel has and that is above the highest number of the profile.
    let bundle = with(
        t,
        json!([{ "names": ["read"], "action": "SCMP_ACT_ERRNO", "args":
        [{ "index": 2, "value": 12_345_678, "op": "SCMP_CMP_EQ" }] }]),
    );
    let out = bundle.args(["probe", "syscall", &libc::SYS_sync.to_string()]).run().ok();
    assert_eq!(out.stdout, "0\n");
}
