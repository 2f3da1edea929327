//! What teu needs after the filter is loaded, what a profile costs, and profiles made to hurt.

use std::os::fd::AsFd;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::console::ConsoleSocket;
use crate::harness::{Bundle, Test};

cases![
    list_without_new_privileges_is_enough_and_necessary,
    list_with_new_privileges_is_enough_and_necessary,
    list_with_a_listener_is_enough_and_necessary,
    list_with_hooks_and_limits_is_enough_and_necessary,
    list_of_exec_is_enough_and_necessary,
    arguments_of_needed_calls_are_looked_at,
    listener_may_decide_what_comes_after_the_hand_over,
    profile_of_docker_is_compiled_once,
    profiles_made_to_hurt_get_an_error_soon,
    flags_that_the_kernel_knows_are_told,
    warnings_are_in_the_debug_log,
];

/// A program of one system call, exit(0), so that nothing is hidden by what a program needs itself.
fn tiny(machine_code: &[u8], machine: u16) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let start = 64 + 56;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2u16.to_le_bytes(), machine.to_le_bytes()].concat());
    file.extend(1u32.to_le_bytes());
    file.extend([BASE + start, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).concat());
    file.extend([1u32, 5].map(u32::to_le_bytes).concat());
    let size = start + machine_code.len() as u64;
    file.extend([0, BASE, BASE, size, size, 0x1000].map(u64::to_le_bytes).concat());
    file.extend(machine_code);
    file
}

fn tiny_program() -> Vec<u8> {
    if cfg!(target_arch = "x86_64") {
        // xor edi, edi; mov eax, 60; syscall
        tiny(&[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05], 62)
    } else {
        // mov x0, 0; mov x8, 93; svc 0
        tiny(&[0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4], 183)
    }
}

fn with_tiny(t: &Test) -> Bundle<'_> {
    let bundle = t.bundle().file("/bin/tiny", tiny_program()).mode("/bin/tiny", 0o755);
    bundle.args(["/bin/tiny"])
}

/// Everything but these calls and exit kills.
fn only(names: &[&str]) -> Value {
    let names: Vec<&str> = names.iter().copied().chain(["exit"]).collect();
    json!({ "defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }] })
}

/// Runs with exactly these calls; and without any one of them there is an error that names it, before the start.
fn enough_and_necessary(names: &[&str], bundle: &dyn Fn(Value) -> bool, refusal: &dyn Fn(Value, &str)) {
    assert!(bundle(only(names)), "{names:?} are not enough");
    for name in names {
        let others: Vec<&str> = names.iter().copied().filter(|other| other != name).collect();
        refusal(only(&others), name);
    }
}

fn refused_by_name(out: crate::harness::Out, name: &str) {
    let message = format!("the profile does not allow {name}, which teu needs after the filter is loaded");
    let out = out.fails(&[&message, "(/linux/seccomp/"]);
    assert!(out.stderr.contains(&format!("add {{\"names\":[\"{name}\"]")), "{}", out.report());
}

fn list_without_new_privileges_is_enough_and_necessary(t: &Test) {
    t.only_teu("other runtimes need more");
    let bundle = |profile| with_tiny(t).set("/process/noNewPrivileges", true).set("/linux/seccomp", profile);
    enough_and_necessary(&["execve"], &|profile| bundle(profile).run().code == Some(0), &|profile, name| {
        refused_by_name(bundle(profile).run(), name)
    });
}

fn list_with_new_privileges_is_enough_and_necessary(t: &Test) {
    t.only_teu("other runtimes need more");
    let bundle = |profile| {
        let bundle = with_tiny(t).set("/linux/seccomp", profile);
        bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
    };
    enough_and_necessary(
        &["capset", "execve"],
        &|profile| bundle(profile).run().code == Some(0),
        &|profile, name| refused_by_name(bundle(profile).run(), name),
    );
}

const WITH_LISTENER: [&str; 9] =
    ["sendmsg", "recvmsg", "close", "capset", "prctl", "close_range", "accept4", "dup3", "execve"];

/// A profile with a listener for a call that nobody makes.
fn listening(mut profile: Value, agent: &ConsoleSocket) -> Value {
    let rules = profile["syscalls"].as_array_mut().expect("a list");
    rules.push(json!({ "names": ["sync"], "action": "SCMP_ACT_NOTIFY" }));
    profile["listenerPath"] = agent.path.to_string_lossy().into();
    profile
}

/// Creates and starts, while an agent takes the listener. True when the program has run.
fn starts(t: &Test, bundle: &Bundle, agent: &ConsoleSocket) -> bool {
    let created = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| agent.receive_within(Duration::from_secs(10)));
        let out = bundle.try_create();
        if out.code == Some(0) {
            drop(receiver.join());
        } else {
            // So that the agent does not wait in vain.
            drop(std::os::unix::net::UnixStream::connect(&agent.path));
            drop(receiver.join());
        }
        out.code == Some(0)
    });
    if !created {
        return false;
    }
    let started = t.cmd(["start", bundle.id()]).run().code == Some(0);
    t.until("the end", || t.cmd(["state", bundle.id()]).run().ok().json()["status"] == "stopped");
    t.cmd(["delete", bundle.id()]).run().ok();
    started
}

fn list_with_a_listener_is_enough_and_necessary(t: &Test) {
    t.only_teu("other runtimes need more");
    let agent = ConsoleSocket::at(&t.dir().join("agent"));
    let bundle = |profile| with_tiny(t).set("/linux/seccomp", listening(profile, &agent));
    let names: Vec<&str> = WITH_LISTENER.into_iter().chain(["fcntl"]).collect();
    enough_and_necessary(&names, &|profile| starts(t, &bundle(profile), &agent), &|profile, name| {
        refused_by_name(bundle(profile).try_create(), name)
    });
}

fn list_with_hooks_and_limits_is_enough_and_necessary(t: &Test) {
    t.only_teu("other runtimes need more");
    let agent = ConsoleSocket::at(&t.dir().join("agent"));
    let bundle = |profile| {
        let bundle = with_tiny(t).set("/linux/seccomp", listening(profile, &agent));
        let bundle = bundle.push("/hooks/startContainer", json!({ "path": "/bin/tiny" }));
        bundle.push("/process/rlimits", json!({ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 64 }))
    };
    let mut names: Vec<&str> = WITH_LISTENER.into_iter().chain(["fcntl", "prlimit64"]).collect();
    names.extend(teu_seccomp::needed::HOOK);
    enough_and_necessary(&names, &|profile| starts(t, &bundle(profile), &agent), &|profile, name| {
        refused_by_name(bundle(profile).try_create(), name)
    });
}

/// The container's own start needs the same, so the profile is changed in its copy of the configuration.
fn list_of_exec_is_enough_and_necessary(t: &Test) {
    t.only_teu("other runtimes need more");
    let container = with_tiny(t).args(["sleep", "1000"]).run_detached();
    let copy = t.root().join(&container.id).join("config.json");
    let config: Value = serde_json::from_slice(&std::fs::read(&copy).unwrap()).unwrap();
    let exec = |profile: Value, no_new_privileges: bool| {
        let mut config = config.clone();
        config["linux"]["seccomp"] = profile;
        config["process"]["noNewPrivileges"] = no_new_privileges.into();
        std::fs::write(&copy, config.to_string()).unwrap();
        container.exec(&[], &["/bin/tiny"])
    };
    let refused = |out: crate::harness::Out, name: &str| {
        out.fails(&[&format!("the profile does not allow {name}, which teu needs")]);
    };
    for (names, no_new_privileges) in [(&["execve"][..], true), (&["capset", "execve"], false)] {
        enough_and_necessary(
            names,
            &|profile| exec(profile, no_new_privileges).code == Some(0),
            &|profile, name| refused(exec(profile, no_new_privileges), name),
        );
    }
    let agent = ConsoleSocket::at(&t.dir().join("agent"));
    enough_and_necessary(
        &["sendmsg", "recvmsg", "close_range", "capset", "execve"],
        &|profile| {
            let profile = listening(profile, &agent);
            std::thread::scope(|scope| {
                let receiver = scope.spawn(|| agent.receive_within(Duration::from_secs(10)));
                let out = exec(profile, false);
                drop(receiver.join());
                out.code == Some(0)
            })
        },
        &|profile, name| refused(exec(listening(profile, &agent), false), name),
    );
    container.delete_force();
}

/// A rule that never holds for what teu passes is no reason to refuse, and one that always holds is.
fn arguments_of_needed_calls_are_looked_at(t: &Test) {
    t.only_teu("other runtimes do not look");
    let run = |value: u64, op: &str| {
        let rule = json!({ "names": ["execve"], "action": "SCMP_ACT_ERRNO",
            "args": [{ "index": 1, "value": value, "op": op }] });
        let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
        with_tiny(t).set("/linux/seccomp", profile).run()
    };
    run(0, "SCMP_CMP_EQ").ok();
    run(0, "SCMP_CMP_NE").fails(&["does not allow execve", "(/linux/seccomp/syscalls/0)"]);
}

fn listener_may_decide_what_comes_after_the_hand_over(t: &Test) {
    let agent = ConsoleSocket::at(&t.dir().join("agent"));
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent.path.to_string_lossy(),
        "syscalls": [{ "names": ["execve", "capset"], "action": "SCMP_ACT_NOTIFY" }] });
    let bundle = with_tiny(t).set("/linux/seccomp", profile);
    std::thread::scope(|scope| {
        let decided = scope.spawn(|| {
            let received = agent.receive_within(Duration::from_secs(10));
            crate::harness::sys::let_calls_run(received.fds[0].as_fd())
        });
        bundle.run().ok();
        assert!(decided.join().expect("the agent does not panic") >= 1);
    });
}

/// 100 starts with Docker's profile compile it once.
fn profile_of_docker_is_compiled_once(t: &Test) {
    t.only_teu("other runtimes compile every time");
    let profile: Value =
        serde_json::from_str(include_str!("../../seccomp/testdata/docker-28.json")).expect("a JSON file");
    let bundle = t.bundle().args(["true"]).set("/linux/seccomp", profile);
    bundle.write();
    let (mut compiled, mut cached) = (0, 0);
    for _ in 0..100 {
        let out = t.cmd(["--debug", "run", "--bundle"]).arg(bundle.dir()).arg(bundle.id()).run().ok();
        compiled += out.log_text.matches("seccomp program compiled").count();
        cached += out.log_text.matches("seccomp program taken from the cache").count();
    }
    assert_eq!((compiled, cached), (1, 99));
}

/// Through the program: a clear error, in little time and memory.
fn profiles_made_to_hurt_get_an_error_soon(t: &Test) {
    t.only_teu("hostile input is given to teu alone");
    let allow = |names: Value| json!({ "names": names, "action": "SCMP_ACT_ALLOW" });
    let with = |rules: Value| json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules });
    let condition = |index: u64, value: u64| json!([{ "index": index, "value": value, "op": "SCMP_CMP_EQ" }]);
    let kill = |args: Value, action: &str| json!({ "names": ["kill"], "action": action, "args": args });
    let long = "x\u{202e}\n".repeat(64 * 1024);
    let many: Vec<Value> = vec![allow(json!(["a"])); 300_000];
    let cases = [
        (with(json!([{ "names": ["read"], "action": long }])), "/linux/seccomp/syscalls/0/action"),
        (with(json!(many)), "/linux/seccomp/syscalls"),
        (with(json!([kill(condition(9, 0), "SCMP_ACT_ALLOW")])), "/linux/seccomp/syscalls/0/args/0/index"),
        (
            with(json!([
                kill(condition(1, 9), "SCMP_ACT_KILL"),
                kill(condition(1, 9), "SCMP_ACT_ALLOW"),
                allow(json!(["execve", "capset"])),
            ])),
            "/linux/seccomp/syscalls/1",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/agent" }),
            "/linux/seccomp/defaultAction",
        ),
        (
            with(Value::Array((0..6000).map(|value| kill(condition(1, value), "SCMP_ACT_ALLOW")).collect())),
            "/linux/seccomp/syscalls",
        ),
    ];
    for (profile, pointer) in cases {
        let bundle = t.bundle().set("/linux/seccomp", profile);
        let out = bundle.run_cmd().through("ulimit -v 1000000; exec \"$@\"").run();
        let out = out.fails(&[&format!("({pointer})")]);
        assert!(out.elapsed < Duration::from_secs(10) && out.stderr.len() < 2000, "{}", out.report());
        bundle.write();
        let out = t.cmd(["seccomp", "why"]).arg(format!("{}/", bundle.dir().display()));
        out.through("ulimit -v 1000000; exec \"$@\"").run().fails(&[pointer]);
    }
    // A million rules are more than a config.json may have bytes.
    let rules = vec!["{\"names\":[\"a\"],\"action\":\"SCMP_ACT_ALLOW\"}"; 1_000_000].join(",");
    let text = format!("{{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[{rules}]}}");
    let file = t.make_file("million.json", text);
    let out = t.cmd(["seccomp", "explain"]).arg(&file).arg("read").run().fails(&["bytes, more than"]);
    assert!(out.elapsed < Duration::from_secs(10), "{}", out.report());
    // A name of 64 KiB is an unknown name.
    let file = t.make_file("long.json", with(json!([allow(json!([long, "read"]))])).to_string());
    let out = t.cmd(["seccomp", "explain"]).arg(&file).arg("read").run().ok();
    assert!(out.stdout.contains(": runs"), "{}", out.report());
}

/// features-linux.md: what is known, and what works on this kernel.
fn flags_that_the_kernel_knows_are_told(t: &Test) {
    t.only_teu("the flags of other runtimes are those of their library");
    let features = t.cmd(["features"]).run().ok().json();
    let flags = |member: &str| -> Vec<String> {
        let list = features["linux"]["seccomp"][member].as_array().expect("a list");
        list.iter().map(|flag| flag.as_str().expect("a name").to_owned()).collect()
    };
    let supported = flags("supportedFlags");
    assert!(supported.iter().all(|flag| flags("knownFlags").contains(flag)), "{supported:?}");
    for flag in &supported {
        let mut profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": [flag],
            "syscalls": [{ "names": ["sync"], "action": "SCMP_ACT_ERRNO" }] });
        profile["flags"] = json!([flag]);
        with_tiny(t).set("/linux/seccomp", profile).run().ok();
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut version = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (version.next().unwrap_or(0), version.next().unwrap_or(0));
    let name = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV".to_owned();
    assert_eq!(supported.contains(&name), version >= (5, 19), "{supported:?} on {release}");
}

fn warnings_are_in_the_debug_log(t: &Test) {
    t.only_teu("other runtimes have words of their own");
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["no_such_call"], "action": "SCMP_ACT_ERRNO" }] });
    let bundle = with_tiny(t).set("/linux/seccomp", profile);
    bundle.write();
    let out = t.cmd(["--debug", "run", "--bundle"]).arg(bundle.dir()).arg(bundle.id()).run().ok();
    assert!(out.log_text.contains("(/linux/seccomp/syscalls/0/names/0)"), "{}", out.report());
    assert!(out.log_text.contains("no_such_call"), "{}", out.report());
}
