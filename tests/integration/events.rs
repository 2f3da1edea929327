//! `events`: figures and out-of-memory records.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Container, Test, View, cgroup, patience};

cases![
    stats_are_one_line_that_starts_as_readers_expect,
    stats_have_every_member,
    stats_count_processes,
    stats_have_figures_of_memory_and_processor,
    stats_of_a_created_and_of_a_paused_container_are_there,
    stream_has_a_record_for_each_interval,
    first_record_comes_after_one_interval,
    stream_ends_with_the_container,
    running_out_of_memory_is_a_record,
    waiting_for_memory_is_a_record_too,
    stream_ends_when_nobody_reads,
    interval_is_a_positive_duration,
    events_of_a_stopped_container_are_refused,
    events_of_an_unknown_container_are_refused,
    events_do_not_wait_for_other_commands,
];

fn sleeper(t: &Test) -> Container<'_> {
    t.skip_for("crun", "has no events");
    t.bundle().args(["sleep", "100"]).run_detached()
}

/// The same, for the tests of the stream.
fn streamed(t: &Test) -> Container<'_> {
    if cgroup::hierarchy("memory").is_none() {
        t.skip_for("runc", "needs the memory controller for a stream");
    }
    sleeper(t)
}

/// go-runc and runc's own tests: the bytes at the start.
fn stats_are_one_line_that_starts_as_readers_expect(t: &Test) {
    let c = sleeper(t);
    let out = c.call("events", &["--stats"]).ok();
    let start = format!("{{\"type\":\"stats\",\"id\":\"{}\",\"data\":{{", c.id);
    assert!(out.stdout.starts_with(&start), "{}", out.report());
    assert_eq!(out.lines().len(), 1, "{}", out.report());
    assert!(out.stderr.is_empty(), "{}", out.report());
}

/// go-runc: members are there even when they are empty.
fn stats_have_every_member(t: &Test) {
    let stats = sleeper(t).call("events", &["--stats"]).ok().json();
    for member in ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt"] {
        assert!(stats["data"][member].is_object(), "{member} in {stats}");
    }
    assert!(stats["data"].get("network_interfaces").is_some(), "{stats}");
    for member in ["kernel", "user"] {
        assert!(stats["data"]["cpu"]["usage"][member].is_u64(), "{stats}");
    }
}

/// Also without the pids controller.
fn stats_count_processes(t: &Test) {
    t.skip_for("crun", "has no events");
    let bundle = t.bundle().sh("sleep 100 & sleep 100 & echo up; wait");
    let limited = cgroup::hierarchy("pids").is_some();
    let c = if limited { bundle.set("/linux/resources/pids/limit", 20) } else { bundle }.run_detached();
    c.wait_for_stdout("up");
    let pids = &c.call("events", &["--stats"]).ok().json()["data"]["pids"];
    assert_eq!(pids["current"], 3);
    assert_eq!(pids["limit"], if limited { Value::from(20) } else { Value::Null });
}

/// Where controllers are.
fn stats_have_figures_of_memory_and_processor(t: &Test) {
    t.skip_for("crun", "has no events");
    if cgroup::hierarchy("memory").is_none() {
        t.skip("no hierarchy here has the memory controller");
    }
    let c = t
        .bundle()
        .set("/linux/resources/memory/limit", 64 << 20)
        .sh("head -c 5000000 /dev/zero >/dev/shm/x; echo up; sleep 100")
        .run_detached();
    c.wait_for_stdout("up");
    let data = &c.call("events", &["--stats"]).ok().json()["data"];
    let usage = data["memory"]["usage"]["usage"].as_u64().unwrap_or_default();
    assert!((5_000_000..64 << 20).contains(&usage), "{data}");
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20, "{data}");
    assert!(data["memory"]["raw"].as_object().is_some_and(|raw| raw.len() > 10), "{data}");
    if cgroup::hierarchy("cpuacct").is_some() {
        assert!(data["cpu"]["usage"]["total"].as_u64().is_some_and(|total| total > 0), "{data}");
    }
}

/// runc: only a stopped one has none.
fn stats_of_a_created_and_of_a_paused_container_are_there(t: &Test) {
    t.skip_for("crun", "has no events");
    let c = t.bundle().create();
    // Threads count, and runc has some until the program starts.
    let count = || c.call("events", &["--stats"]).ok().json()["data"]["pids"]["current"].as_u64();
    assert!(if t.is("teu") { count() == Some(1) } else { count() >= Some(1) }, "{:?}", count());
    let before = count();
    c.call("pause", &[]).ok();
    assert_eq!(count(), before);
}

/// runc: `--interval`.
fn stream_has_a_record_for_each_interval(t: &Test) {
    let c = streamed(t);
    let running = t.cmd(["events", "--interval", "50ms", &c.id]).spawn();
    t.until("four records", || running.stdout().lines().count() >= 4);
    c.kill("KILL");
    c.wait_stopped();
    if t.is("runc") {
        // Up to 1.1 it goes on until the container is deleted.
        c.delete();
    }
    let out = running.wait().ok();
    let start = format!("{{\"type\":\"stats\",\"id\":\"{}\",\"data\":", c.id);
    for line in out.lines() {
        assert!(line.starts_with(&start), "{}", out.report());
        serde_json::from_str::<Value>(line).unwrap();
    }
}

/// runc.
fn first_record_comes_after_one_interval(t: &Test) {
    let c = streamed(t);
    let running = t.cmd(["events", "--interval=1s", &c.id]).spawn();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(running.stdout(), "");
    running.wait_for_stdout("\n");
    c.delete_force();
    running.wait();
}

/// There is nothing to tell any more.
fn stream_ends_with_the_container(t: &Test) {
    let c = streamed(t);
    let running = t.cmd(["events", "--interval", "1h", &c.id]).spawn();
    std::thread::sleep(Duration::from_millis(200));
    c.kill("KILL");
    if t.is("runc") {
        c.wait_stopped();
        c.delete();
    }
    let out = running.wait().ok().silent();
    assert!(out.elapsed < patience(Duration::from_secs(5)), "{}", out.report());
}

/// runc: the container waits for memory, and somebody must know.
fn waiting_for_memory_is_a_record_too(t: &Test) {
    t.skip_for("crun", "has no events");
    if t.view() == View::V2 {
        t.skip("version 2 always kills");
    }
    let memory = serde_json::json!({ "limit": 16 << 20, "swap": 16 << 20, "disableOOMKiller": true });
    // The program writes to its memory itself: a call that does so for it, such as read(2), fails and does not wait.
    let script =
        "trap 'x=0123456789; while :; do x=$x$x; done' USR1; echo up; while :; do usleep 10000; done";
    let c = t.bundle().set("/linux/resources/memory", memory).sh(script).run_detached();
    c.wait_for_stdout("up");
    let running = t.cmd(["events", "--interval", "1h", &c.id]).spawn();
    std::thread::sleep(Duration::from_millis(300));
    c.kill("USR1");
    running.wait_for_stdout("\n");
    assert_eq!(running.stdout().lines().next(), Some(&*format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", c.id)));
    c.delete_force();
    running.wait();
}

/// runc: each time the kernel kills a process of the container for want of memory.
fn running_out_of_memory_is_a_record(t: &Test) {
    t.skip_for("crun", "has no events");
    if cgroup::hierarchy("memory").is_none() {
        t.skip("no hierarchy here has the memory controller");
    }
    let script = "trap 'dd if=/dev/zero of=/dev/null bs=200M count=1; echo done' USR1; echo up; \
                  while :; do usleep 10000; done";
    let limit = 20 << 20;
    let c = t.bundle().set("/linux/resources/memory/limit", limit).sh(script).run_detached();
    c.wait_for_stdout("up");
    let running = t.cmd(["events", "--interval", "1h", &c.id]).spawn();
    std::thread::sleep(Duration::from_millis(300));
    c.kill("USR1");
    c.wait_for_stdout("done");
    running.wait_for_stdout("\n");
    assert_eq!(running.stdout().lines().next(), Some(&*format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", c.id)));
    c.delete_force();
    running.wait();
}

/// As in `events ID | head -1`.
fn stream_ends_when_nobody_reads(t: &Test) {
    t.only_teu("others die by SIGPIPE or print an error");
    let c = sleeper(t);
    let line = "{ \"$@\"; echo \"status $?\" >&2; } | head -n 1";
    let out = t.cmd(["events", "--interval", "50ms", &c.id]).through(line).run().ok();
    assert_eq!(out.lines().len(), 1, "{}", out.report());
    assert_eq!(out.stderr, "status 0\n", "{}", out.report());
}

/// runc: these words for what is not positive.
fn interval_is_a_positive_duration(t: &Test) {
    let c = sleeper(t);
    for interval in ["0", "0s", "-1s"] {
        let out = t.cmd(["events", &format!("--interval={interval}"), &c.id]).run();
        out.fails(&["duration interval must be greater than 0"]);
    }
    for interval in ["soon", "5", "", "1x"] {
        let out = t.cmd(["events", &format!("--interval={interval}"), &c.id]).run();
        if t.is("teu") {
            out.fails(&["invalid value for --interval"]);
        } else {
            assert!(out.code.is_some_and(|code| code != 0), "{}", out.report());
        }
    }
    t.cmd(["events", "--stats", "--interval", "1m30s", &c.id]).run().ok();
}

/// runc: these words.
fn events_of_a_stopped_container_are_refused(t: &Test) {
    t.skip_for("crun", "has no events");
    let c = t.bundle().run_detached();
    c.wait_stopped();
    let words = format!("container with id {} is not running", c.id);
    c.call("events", &["--stats"]).fails(&[&words]);
    c.call("events", &[]).fails(&[&words]);
}

/// Engines look for these words.
fn events_of_an_unknown_container_are_refused(t: &Test) {
    t.skip_for("crun", "has no events");
    let out = t.cmd(["events", "--stats", "unknown"]).run().fails(&["does not exist"]);
    assert_eq!(out.code, Some(1));
}

/// A container that is stuck in another command can be looked at.
fn events_do_not_wait_for_other_commands(t: &Test) {
    t.only_teu("the lock is its own");
    let c = sleeper(t);
    let _lock = super::pause::hold_lock(t, &c.id);
    c.call("events", &["--stats"]).ok();
}
