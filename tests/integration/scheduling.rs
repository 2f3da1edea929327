//! How the process of a container is scheduled, which memory it prefers, and what it takes the machine for.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Caller, Container, Out, Test};

cases![
    scheduler_of_the_config_is_that_of_the_program,
    deadline_scheduler_with_a_cpuset_is_refused,
    deadline_scheduler_is_set,
    priority_of_io_is_that_of_the_program,
    personality_of_the_config_is_that_of_every_process,
    filter_that_refuses_personality_does_not_stop_the_start,
    memory_policy_holds_for_every_process,
    processors_of_the_caller_are_not_inherited,
    init_is_not_bound_to_the_processors_of_exec,
];

const OLD_RUNC: &str = "does not know it";

/// What a program of the host says about a process of a container.
fn host(t: &Test, line: &str) -> String {
    let out = std::process::Command::new("sh").args(["-c", line]).current_dir(t.dir()).output();
    let out = out.expect("the host has a shell");
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

fn sleeper<'t>(t: &'t Test, pointer: &str, value: Value) -> Container<'t> {
    t.bundle().set(pointer, value).args(["sleep", "100"]).run_detached()
}

/// config.md#linux-process, `scheduler`.
fn scheduler_of_the_config_is_that_of_the_program(t: &Test) {
    t.skip_older("runc", (1, 2), OLD_RUNC);
    let batch = sleeper(t, "/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 19 }));
    let told = host(t, &format!("chrt -p {0}; ps -o ni= -p {0}", batch.pid()));
    assert!(told.contains("SCHED_BATCH") && told.trim_end().ends_with("19"), "{told}");

    let fifo = t.bundle().set("/process/scheduler", json!({ "policy": "SCHED_FIFO", "priority": 5 }));
    let fifo = fifo.args(["sleep", "100"]);
    let out = fifo.try_create();
    if out.code != Some(0) {
        out.fails(&[if t.is("teu") { "EPERM" } else { "operation not permitted" }]);
        t.skip("real-time scheduling is not permitted in the cgroup of these tests");
    }
    let state = t.cmd(["state", fifo.id()]).run().ok().json();
    t.cmd(["start", fifo.id()]).run().ok();
    let told = host(t, &format!("chrt -p {}", state["pid"]));
    assert!(told.contains("SCHED_FIFO") && told.contains("priority: 5"), "{told}");
    t.cmd(["delete", "--force", fifo.id()]).run().ok();
}

/// sched(7): a deadline and a set of processors exclude each other.
fn deadline_scheduler_with_a_cpuset_is_refused(t: &Test) {
    t.only_teu("the words are teu's");
    if crate::harness::cgroup::hierarchy("cpuset").is_none() {
        t.skip("no hierarchy here has the cpuset controller");
    }
    let deadline = json!({
        "policy": "SCHED_DEADLINE", "runtime": 10_000_000, "deadline": 30_000_000, "period": 30_000_000,
        "flags": ["SCHED_FLAG_RESET_ON_FORK"],
    });
    let bundle = t.bundle().set("/process/scheduler", deadline);
    let out = bundle.set("/linux/resources/cpu", json!({ "cpus": "0" })).try_create();
    out.fails(&["/process/scheduler", "SCHED_DEADLINE cannot be combined with a cpuset"]);
}

/// sched(7): a thread with a deadline may only fork with the flag.
fn deadline_scheduler_is_set(t: &Test) {
    t.only_teu("old runtimes have none");
    let c = t.bundle().idle();
    let scheduler = json!({
        "policy": "SCHED_DEADLINE", "runtime": 3_000_000, "deadline": 30_000_000, "period": 30_000_000,
        "flags": ["SCHED_FLAG_RESET_ON_FORK"],
    });
    // Field 41 of the shell itself; what it forks has an ordinary policy again.
    let script =
        "read line </proc/$$/stat; set -- ${line##*) }; echo ${39}; cut -d ' ' -f 41 /proc/self/stat; true";
    let process = json!({ "args": ["/bin/sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/", "scheduler": scheduler });
    let path = t.make_file("process.json", process.to_string());
    let out = c.exec(&["-p", &path.to_string_lossy()], &[]);
    if out.code == Some(255) {
        out.fails(&["EPERM", "/scheduler"]);
        t.skip("deadlines are not permitted in the cgroup of these tests");
    }
    assert_eq!(out.ok().stdout, "6\n0\n");
}

/// config.md#linux-process, `ioPriority`; ioprio_set(2).
fn priority_of_io_is_that_of_the_program(t: &Test) {
    t.skip_older("runc", (1, 2), OLD_RUNC);
    let mut cases = vec![
        ("IOPRIO_CLASS_BE", 4, "best-effort: prio 4"),
        ("IOPRIO_CLASS_BE", 0, "best-effort: prio 0"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ];
    if t.caller() != Caller::User {
        // ioprio_set(2): for a privilege over the whole host, which a container with a user namespace does not have.
        cases.push(("IOPRIO_CLASS_RT", 7, "realtime: prio 7"));
    }
    for (class, priority, expected) in cases {
        let c = sleeper(t, "/process/ioPriority", json!({ "class": class, "priority": priority }));
        let told = |pid: &str| host(t, &format!("ionice -p {pid}")).trim().to_owned();
        assert_eq!(told(&c.pid().to_string()), expected);
        // Later processes of the container have it too.
        let file = t.dir().join(format!("pid-{class}-{priority}"));
        c.exec(&["--detach", "--pid-file", &file.to_string_lossy()], &["sleep", "100"]).ok();
        assert_eq!(told(&std::fs::read_to_string(file).unwrap()), expected, "exec");
        c.delete_force();
    }
}

/// config-linux.md#personality; personality(2).
fn personality_of_the_config_is_that_of_every_process(t: &Test) {
    t.skip_older("runc", (1, 2), OLD_RUNC);
    if !cfg!(target_arch = "x86_64") {
        t.skip("the name of the machine is that of x86");
    }
    let bundle = t.bundle().set("/linux/personality", json!({ "domain": "LINUX32" }));
    let c = bundle.sh("uname -m; sleep 100").run_detached();
    c.wait_for_stdout("\n");
    assert_eq!(c.stdout(), "i686\n");
    assert_eq!(c.exec(&[], &["uname", "-m"]).ok().stdout, "i686\n");
    if t.is("teu") {
        let flags = json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] });
        t.bundle().set("/linux/personality", flags).try_create().fails(&["/linux/personality/flags"]);
    }
}

/// Its call comes before the filter.
fn filter_that_refuses_personality_does_not_stop_the_start(t: &Test) {
    t.skip_for("runc", "makes the call when the filter is loaded");
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["personality"], "action": "SCMP_ACT_ERRNO" }] });
    let bundle = t.bundle().set("/linux/personality", json!({ "domain": "LINUX32" }));
    bundle.set("/linux/seccomp", filter).args(["uname", "-m"]).run().ok();
}

/// config-linux.md#memory-policy; set_mempolicy(2), numa(7).
fn memory_policy_holds_for_every_process(t: &Test) {
    t.skip_older("runc", (1, 4), "has no memory policies");
    t.skip_for("crun", "has none in old versions");
    if !Path::new("/proc/self/numa_maps").exists() {
        t.skip("this kernel has no memory policies");
    }
    for (policy, expected) in [
        (json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0" }), "interleave:0"),
        (json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] }), "bind=static:0"),
    ] {
        let bundle = t.bundle().set("/linux/memoryPolicy", policy);
        let c = bundle.sh("head -n 1 /proc/self/numa_maps; sleep 100").run_detached();
        c.wait_for_stdout("\n");
        assert!(c.stdout().contains(expected), "{expected}: {}", c.stdout());
        let more = c.exec(&[], &["cat", "/proc/self/numa_maps"]).ok().stdout;
        assert!(more.contains(expected), "{expected} by exec: {more}");
    }
    let refused = |policy: Value, pointer: &str| -> Out {
        t.bundle().set("/linux/memoryPolicy", policy).try_create().fails(&[pointer])
    };
    if t.is("teu") {
        refused(json!({ "mode": "MPOL_DEFAULT", "nodes": "0" }), "/linux/memoryPolicy/nodes");
        let unknown = json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_FOO"] });
        refused(unknown, "/linux/memoryPolicy/flags/0");
        refused(json!({ "mode": "MPOL_BIND", "nodes": "4294967296" }), "/linux/memoryPolicy/nodes");
        refused(json!({ "mode": "MPOL_BIND", "nodes": "1000" }), "(/linux/memoryPolicy): set_mempolicy(2)");
    }
}

fn processors_of(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap_or_default().trim().to_owned()
}

/// sched_setaffinity(2) is inherited, and an engine may be bound to one processor.
fn processors_of_the_caller_are_not_inherited(t: &Test) {
    t.skip_older("runc", (1, 2), "leaves them");
    t.skip_for("crun", "leaves them");
    let all = processors_of(std::process::id() as i32);
    if all == "0" {
        t.skip("this machine has one processor");
    }
    let bundle = t.bundle().args(["grep", "Cpus_allowed_list", "/proc/self/status"]);
    let out = bundle.run_cmd().through("exec taskset -c 0 \"$@\"").run().ok();
    assert_eq!(out.stdout.split_whitespace().last(), Some(all.as_str()));
}

/// config.md#linux-process, `execCPUAffinity`.
fn init_is_not_bound_to_the_processors_of_exec(t: &Test) {
    t.skip_older("runc", (1, 3), OLD_RUNC);
    t.skip_for("crun", OLD_RUNC);
    let all = processors_of(std::process::id() as i32);
    let c = sleeper(t, "/process/execCPUAffinity", json!({ "initial": "", "final": "0" }));
    assert_eq!(processors_of(c.pid()), all);
    let out = c.exec(&[], &["grep", "Cpus_allowed_list", "/proc/self/status"]).ok();
    assert_eq!(out.stdout.split_whitespace().last(), Some("0"));
}
