//! `teu seccomp`: profiles are recorded, explained, and their refusals reported.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::report::status;
use crate::harness::{Bundle, Out, Test};

cases![
    recorded_script_runs_under_its_profile_and_a_missing_call_is_named,
    recording_sees_processes_that_exec_adds,
    recording_sees_start_container_hooks,
    recording_adds_to_a_profile,
    recording_does_not_load_the_profile_of_the_bundle,
    recorded_container_ends_with_the_recording,
    recording_of_a_command_sees_the_host_read_only,
    recording_that_cannot_be_written_does_not_run,
    recording_of_what_does_not_start_writes_nothing,
    recording_passes_signals_on,
    explain_names_the_rule_the_reason_and_the_remedy,
    explain_prints_json_with_a_patch,
    explain_refuses_what_it_cannot_read,
    explain_needs_no_privilege,
    why_reports_each_refused_call_once,
    why_reports_calls_that_kill,
    why_tells_the_filter_of_a_program_from_the_profile,
    why_watches_a_running_container_and_lets_it_go,
    why_can_be_killed,
    why_sees_processes_that_exec_adds,
    why_ends_with_the_container,
    why_refuses_containers_that_it_cannot_watch,
    spec_contains_the_profile_that_is_asked_for,
];

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("the file exists")).expect("the file is JSON")
}

fn names(profile: &Value) -> Vec<String> {
    let rules = profile["syscalls"].as_array().expect("a list");
    let names = rules.iter().flat_map(|rule| rule["names"].as_array().into_iter().flatten());
    names.map(|name| name.as_str().expect("a name").to_owned()).collect()
}

/// Records a bundle; returns its profile and what the call printed.
fn record(t: &Test, bundle: &Bundle, status: i32) -> (Value, Out) {
    let file = t.dir().join(format!("profile-{}.json", t.next_number()));
    bundle.write();
    let out = t.cmd(["seccomp", "record", "--output"]).arg(&file).arg(bundle.dir()).run().exits(status);
    (read(&file), out)
}

/// The profile without one name.
fn without(profile: &Value, name: &str) -> Value {
    let mut profile = profile.clone();
    for rule in profile["syscalls"].as_array_mut().expect("a list") {
        rule["names"].as_array_mut().expect("a list").retain(|known| known != name);
    }
    profile
}

fn why(t: &Test, bundle: &Bundle) -> Out {
    bundle.write();
    t.cmd(["seccomp", "why"]).arg(format!("{}/", bundle.dir().display())).run()
}

fn refusing(names: &[&str]) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": names, "action": "SCMP_ACT_ERRNO" }] })
}

const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

/// A shell script forks and executes programs; its profile allows that and nothing else.
fn recorded_script_runs_under_its_profile_and_a_missing_call_is_named(t: &Test) {
    t.only_teu("no other runtime records");
    let script = "mkdir /tmp/a && ls /tmp && (sleep 0.01 & wait) && cat /proc/self/comm; exit 3";
    let bundle = t.bundle().sh(script);
    let (profile, out) = record(t, &bundle, 3);
    assert_eq!(out.stdout, "a\ncat\n");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let recorded = names(&profile);
    assert!(recorded.is_sorted() && recorded.contains(&"execve".to_owned()), "{recorded:?}");
    assert!(!recorded.contains(&"mount".to_owned()), "{recorded:?}");
    let observations = profile["x-recorded"]["observations"].as_u64().unwrap();
    assert!(out.stderr.contains(&format!("{observations} calls of")), "{}", out.report());
    let bundle = t.bundle().sh(script).set("/linux/seccomp", profile.clone());
    let out = bundle.run().exits(3);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("a\ncat\n", ""));
    let out = why(t, &bundle).exits(3);
    assert!(out.stderr.contains("no system call was refused"), "{}", out.report());
    let gone = recorded.iter().find(|name| MKDIR.contains(&name.as_str())).unwrap();
    let bundle = t.bundle().sh(script).set("/linux/seccomp", without(&profile, gone));
    let out = why(t, &bundle).exits(3);
    assert!(
        out.stderr.contains(&format!("\n{gone} (")) || out.stderr.starts_with(gone.as_str()),
        "{}",
        out.report()
    );
    assert!(
        out.stderr.contains("/linux/seccomp/defaultAction, as no rule names the call"),
        "{}",
        out.report()
    );
    assert!(out.stderr.contains(&format!("add {{\"names\":[\"{gone}\"]")), "{}", out.report());
}

fn recording_sees_processes_that_exec_adds(t: &Test) {
    t.only_teu("no other runtime records");
    let bundle = t.bundle().sh("echo ready; until [ -e /tmp/done ]; do sleep 0.01; done");
    bundle.write();
    let file = t.dir().join("profile.json");
    let running = t.cmd(["seccomp", "record", "--output"]).arg(&file).arg(bundle.dir()).spawn();
    running.wait_for_stdout("ready");
    let id = bundle.dir().file_name().unwrap().to_string_lossy().into_owned();
    let exec = |script: &str| t.cmd(["exec", &id, "sh", "-c", script]).run();
    exec("(mkdir /tmp/x; ln -s a /tmp/b); exit 5").exits(5);
    let out = t.cmd(["exec", &id, "no-such-program"]).run();
    out.exits(255);
    t.cmd(["seccomp", "why", &id]).run().fails(&["being recorded"]);
    exec("touch /tmp/done").ok();
    running.wait().ok();
    let recorded = names(&read(&file));
    for pair in [["mkdir", "mkdirat"], ["symlink", "symlinkat"]] {
        assert!(pair.iter().any(|name| recorded.contains(&(*name).to_owned())), "{pair:?} in {recorded:?}");
    }
    // Those that teu itself makes on the way into a container.
    for name in ["setns", "pidfd_open", "clone3"] {
        assert!(!recorded.contains(&name.to_owned()), "{recorded:?}");
    }
}

/// The profile will confine them too.
fn recording_sees_start_container_hooks(t: &Test) {
    t.only_teu("no other runtime records");
    let bundle = t.bundle().args(["true"]).hook("startContainer", "mkdir /tmp/made");
    let (profile, _) = record(t, &bundle, 0);
    let recorded = names(&profile);
    assert!(MKDIR.iter().any(|name| recorded.contains(&(*name).to_owned())), "{recorded:?}");
    let bundle = t.bundle().args(["true"]).hook("startContainer", "mkdir /tmp/made");
    bundle.set("/linux/seccomp", profile).run().ok();
}

fn recording_adds_to_a_profile(t: &Test) {
    t.only_teu("no other runtime records");
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "comment": "by hand",
        "syscalls": [{ "names": ["execve", "sync"], "action": "SCMP_ACT_ALLOW" }, { "names": MKDIR, "action": "SCMP_ACT_KILL" }],
    });
    let file = t.make_file("by-hand.json", profile.to_string());
    let bundle = t.bundle().sh("mkdir /tmp/x");
    bundle.write();
    t.cmd(["seccomp", "record", "--merge"])
        .arg(&file)
        .arg("--output")
        .arg(&file)
        .arg(bundle.dir())
        .run()
        .ok();
    let merged = read(&file);
    assert_eq!(merged["comment"], "by hand");
    assert_eq!(merged["syscalls"][0], profile["syscalls"][0]);
    let bundle = t.bundle().sh("mkdir /tmp/x").set("/linux/seccomp", merged);
    bundle.run().ok();
}

/// It could not be seen what it refuses.
fn recording_does_not_load_the_profile_of_the_bundle(t: &Test) {
    t.only_teu("no other runtime records");
    let bundle = t.bundle().sh("mkdir /tmp/x && echo made").set("/linux/seccomp", refusing(&MKDIR));
    let (profile, out) = record(t, &bundle, 0);
    assert_eq!(out.stdout, "made\n");
    assert!(out.stderr.contains("the profile of the bundle is not in force"), "{}", out.report());
    assert!(names(&profile).iter().any(|name| MKDIR.contains(&name.as_str())));
}

/// Every call would fail with ENOSYS then.
fn recorded_container_ends_with_the_recording(t: &Test) {
    t.only_teu("no other runtime records");
    let bundle = t.bundle().sh("echo ready; while :; do sleep 0.01; done");
    bundle.write();
    let file = t.dir().join("profile.json");
    let running = t.cmd(["seccomp", "record", "--output"]).arg(&file).arg(bundle.dir()).spawn();
    running.wait_for_stdout("ready");
    let id = bundle.dir().file_name().unwrap().to_string_lossy().into_owned();
    running.signal(Signal::SIGKILL);
    running.wait();
    t.until("the end", || t.cmd(["state", &id]).run().ok().json()["status"] == "stopped");
    t.cmd(["exec", &id, "true"]).run().fails(&["stopped"]);
    t.cmd(["delete", &id]).run().ok();
    assert!(!file.exists());
}

fn recording_of_a_command_sees_the_host_read_only(t: &Test) {
    t.only_teu("no other runtime records");
    let dir = t.make_dir("work");
    fs::write(dir.join("input"), "from the host").unwrap();
    let file = t.dir().join("profile.json");
    let script = "cat input; touch /usr/x /etc/x input 2>&1 | grep -c Read-only; touch /tmp/x /run/y && echo written; \
                  grep -c . /proc/self/mountinfo >/dev/null; echo \"$MARK\"; exit 6";
    let out = t.cmd(["seccomp", "record", "--output"]).arg(&file);
    let out = ["--", "sh", "-c", script].iter().fold(out, |cmd, word| cmd.arg(word));
    let out = out.in_dir(&dir).env("MARK", "from outside").run().exits(6);
    assert_eq!(out.stdout, "from the host3\nwritten\nfrom outside\n", "{}", out.report());
    assert!(names(&read(&file)).contains(&"execve".to_owned()));
    let left: Vec<_> = fs::read_dir(std::env::temp_dir())
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("teu-record-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    t.cmd(["seccomp", "record", "--", "no-such-program"])
        .run()
        .fails(&["no-such-program", "not found in $PATH"]);
    t.cmd(["seccomp", "record"]).run().fails(&["a bundle or a command is wanted"]);
    t.cmd(["seccomp", "record", ".", "--", "true"]).run().fails(&["a bundle or a command is wanted"]);
}

fn recording_that_cannot_be_written_does_not_run(t: &Test) {
    t.only_teu("no other runtime records");
    let bundle = t.bundle().sh("echo ran");
    bundle.write();
    let nowhere = t.dir().join("nowhere/profile.json");
    let out = t.cmd(["seccomp", "record", "--output"]).arg(&nowhere).arg(bundle.dir()).run();
    assert_eq!(out.fails(&["nowhere/profile.json"]).stdout, "");
    let out = t.cmd(["seccomp", "record", "--merge"]).arg(&nowhere).arg(bundle.dir()).run();
    assert_eq!(out.fails(&["nowhere/profile.json"]).stdout, "");
}

fn recording_of_what_does_not_start_writes_nothing(t: &Test) {
    t.only_teu("no other runtime records");
    let file = t.make_file("profile.json", "kept");
    let bundle = t.bundle().script("/bin/bad", "#!/nonexistent\n").args(["/bin/bad"]);
    bundle.write();
    let out = t.cmd(["seccomp", "record", "--output"]).arg(&file).arg(bundle.dir()).run();
    out.fails(&["exec /bin/bad", "no such file or directory"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    let hidden = fs::read_dir(t.dir()).unwrap().flatten();
    let hidden: Vec<_> = hidden.filter(|e| e.file_name().to_string_lossy().starts_with(".profile")).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

/// As `run` does; and a program sees no interrupted calls because of the recording.
fn recording_passes_signals_on(t: &Test) {
    t.only_teu("no other runtime records");
    let bundle = t.bundle().sh("trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.01; done");
    bundle.write();
    let file = t.dir().join("profile.json");
    let running = t.cmd(["seccomp", "record", "--output"]).arg(&file).arg(bundle.dir()).spawn();
    running.wait_for_stdout("ready");
    running.signal(Signal::SIGTERM);
    let out = running.wait().exits(9);
    assert!(out.stdout.ends_with("caught\n"), "{}", out.report());
    assert!(names(&read(&file)).contains(&"rt_sigreturn".to_owned()));
}

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
    let docker = t.make_file("docker.json", include_str!("../../seccomp/testdata/docker-28.json"));
    let out = t.cmd(["seccomp", "explain"]).arg(&docker).arg("clone").arg("0x10000000").run().ok();
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

/// Not even that of protecting the own program, since it enters no container.
fn explain_needs_no_privilege(t: &Test) {
    t.only_teu("no other runtime explains");
    let profile = t.make_file("default.json", include_str!("../../seccomp/profiles/default.json"));
    let cmd = t.cmd(["seccomp", "explain"]).arg(&profile).arg("mount").bare();
    let line = "exec setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all \"$@\"";
    let out = cmd.through(line).run().ok();
    assert!(out.stdout.contains("fails with EPERM"), "{}", out.report());
}

fn why_reports_each_refused_call_once(t: &Test) {
    t.only_teu("no other runtime says why");
    let script = "for i in 1 2 3; do mkdir /tmp/$i 2>/dev/null || echo refused; done; exit 4";
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["sync"], "action": "SCMP_ACT_ERRNO" },
        { "names": MKDIR, "action": "SCMP_ACT_ERRNO", "errnoRet": 13 },
    ]});
    let out = why(t, &t.bundle().sh(script).set("/linux/seccomp", profile)).exits(4);
    assert_eq!(out.stdout, "refused\nrefused\nrefused\n");
    assert_eq!(out.stderr.matches("fails with EACCES").count(), 1, "{}", out.report());
    assert!(out.stderr.contains("decided by  /linux/seccomp/syscalls/1\n"), "{}", out.report());
    assert!(out.stderr.contains("called by   mkdir, process "), "{}", out.report());
    assert!(out.stderr.contains("to allow    take \"mkdir"), "{}", out.report());
    assert!(out.stderr.ends_with("3 calls of 1 kind refused\n"), "{}", out.report());
}

fn why_reports_calls_that_kill(t: &Test) {
    t.only_teu("no other runtime says why");
    for (action, effect) in
        [("SCMP_ACT_KILL_PROCESS", "kills the process"), ("SCMP_ACT_TRAP", "the process gets SIGSYS")]
    {
        let profile =
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": MKDIR, "action": action }] });
        let out = why(t, &t.bundle().args(["mkdir", "/tmp/x"]).set("/linux/seccomp", profile));
        let out = out.exits(128 + libc::SIGSYS);
        assert!(out.stderr.contains(effect), "{}", out.report());
    }
}

/// Programs such as browsers load filters of their own.
fn why_tells_the_filter_of_a_program_from_the_profile(t: &Test) {
    t.only_teu("no other runtime says why");
    let bundle = t.bundle().args(["probe", "refuse-sync-itself"]).set("/linux/seccomp", refusing(&MKDIR));
    let out = why(t, &bundle).ok();
    assert_eq!(out.stdout, "0 42\n");
    assert!(out.stderr.starts_with("sync ("), "{}", out.report());
    assert!(out.stderr.contains("a filter that is not the profile of the container"), "{}", out.report());
    // Also where the container has none.
    let out = why(t, &t.bundle().args(["probe", "refuse-sync-itself"])).ok();
    assert!(out.stderr.contains("the container has no seccomp profile"), "{}", out.report());
    assert!(out.stderr.contains("\nsync ("), "{}", out.report());
}

/// Threads, forks and programs come and go while it is watched; nothing of it is changed.
fn why_watches_a_running_container_and_lets_it_go(t: &Test) {
    t.only_teu("no other runtime says why");
    let bundle = t.bundle().args(["probe", "busy"]).set("/linux/seccomp", refusing(&["sync"]));
    let container = bundle.run_detached();
    container.wait_for_stdout("round 3\n");
    let pid = container.pid();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let watching = t.cmd(["seccomp", "why", &container.id]).spawn();
        t.until("the tracer", || !tracers(pid).is_empty());
        let rounds = container.stdout().lines().count();
        t.until("more rounds", || container.stdout().lines().count() > rounds + 5);
        let own = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(own.contains(&format!("TracerPid:\t{}", watching.pid())), "{own}");
        assert!(own.contains("Seccomp:\t2"), "{own}");
        watching.signal(signal);
        let out = watching.wait().ok();
        assert_eq!(out.stderr.matches("\nsync (").count(), 1, "{}", out.report());
        assert!(out.stderr.contains("calls of 1 kind refused"), "{}", out.report());
        assert_eq!(tracers(pid), [0; 0], "{}", out.report());
        let rounds = container.stdout().lines().count();
        t.until("more rounds", || container.stdout().lines().count() > rounds + 5);
    }
    assert!(!container.stdout().contains("wrong"), "{}", container.stdout());
    container.delete_force();
}

/// The tracers of the threads of a process.
fn tracers(pid: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let tracer = |entry: fs::DirEntry| -> Option<i32> {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("TracerPid:")?.trim().parse().ok())
    };
    threads.filter_map(tracer).filter(|tracer| *tracer != 0).collect()
}

fn why_can_be_killed(t: &Test) {
    t.only_teu("no other runtime says why");
    let bundle = t.bundle().args(["probe", "busy"]).set("/linux/seccomp", refusing(&["sync"]));
    let container = bundle.run_detached();
    container.wait_for_stdout("round 1\n");
    let watching = t.cmd(["seccomp", "why", &container.id]).spawn();
    t.until("the tracer", || !tracers(container.pid()).is_empty());
    watching.signal(Signal::SIGKILL);
    watching.wait();
    let rounds = container.stdout().lines().count();
    t.until("more rounds", || container.stdout().lines().count() > rounds + 5);
    assert!(!container.stdout().contains("wrong"), "{}", container.stdout());
    assert_eq!(container.status(), "running");
    container.delete_force();
}

fn why_sees_processes_that_exec_adds(t: &Test) {
    t.only_teu("no other runtime says why");
    let bundle = t.bundle().sh("echo ready; sleep 1000").set("/linux/seccomp", refusing(&MKDIR));
    let container = bundle.run_detached();
    container.wait_for_stdout("ready");
    let watching = t.cmd(["seccomp", "why", &container.id]).spawn();
    t.until("the tracer", || !tracers(container.pid()).is_empty());
    let pid_file = t.dir().join("pid");
    let script = "until [ -e /tmp/go ]; do sleep 0.01; done; mkdir /tmp/x; exit 5";
    let added =
        container.exec_cmd(&["--pid-file", &pid_file.to_string_lossy()], &["sh", "-c", script]).spawn();
    let pid = || fs::read_to_string(&pid_file).ok()?.parse().ok();
    t.until("the tracer of the added process", || pid().is_some_and(|pid| !tracers(pid).is_empty()));
    container.exec_sh(&[], "touch /tmp/go").ok();
    added.wait().exits(5);
    watching.signal(Signal::SIGINT);
    let out = watching.wait().ok();
    assert!(out.stderr.contains("called by   mkdir, process"), "{}", out.report());
    assert_eq!(container.status(), "running");
    container.delete_force();
}

fn why_ends_with_the_container(t: &Test) {
    t.only_teu("no other runtime says why");
    let bundle =
        t.bundle().sh("until [ -e /tmp/end ]; do sleep 0.01; done").set("/linux/seccomp", refusing(&MKDIR));
    let container = bundle.create();
    let watching = t.cmd(["seccomp", "why", &container.id]).spawn();
    t.until("the tracer", || !tracers(container.pid()).is_empty());
    // The gate of a created container works while it is watched.
    container.start();
    container.exec_sh(&[], "touch /tmp/end").ok();
    let out = watching.wait().ok();
    assert!(out.stderr.contains("no system call was refused"), "{}", out.report());
    container.wait_stopped();
    container.delete();
}

fn why_refuses_containers_that_it_cannot_watch(t: &Test) {
    t.only_teu("no other runtime says why");
    t.cmd(["seccomp", "why", "nobody"]).run().fails(&["container does not exist"]);
    let bundle = t.bundle();
    bundle.write();
    let name = bundle.dir().file_name().unwrap().to_string_lossy().into_owned();
    t.cmd(["seccomp", "why", &name]).run().fails(&["a bundle is written with a slash"]);
    let container = t.bundle().args(["true"]).run_detached();
    container.wait_stopped();
    t.cmd(["seccomp", "why", &container.id]).run().fails(&["cannot watch a container that is stopped"]);
    container.delete();
}

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
