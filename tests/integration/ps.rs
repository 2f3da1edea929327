//! `ps`: the processes of a container, as pids and as the host's ps shows them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Container, Out, Test, cgroup};

cases![
    json_lists_every_process,
    json_lists_processes_of_cgroups_below,
    json_of_a_stopped_container_is_an_empty_list,
    json_is_all_that_is_printed,
    format_may_be_spelled_in_every_way,
    unknown_format_is_refused,
    table_has_the_header_and_the_rows_of_the_container,
    table_of_a_stopped_container_is_its_header,
    options_after_the_id_are_for_the_ps_of_the_host,
    options_of_the_host_that_look_like_ours_are_passed_on,
    output_without_a_pid_column_is_refused,
    failing_ps_of_the_host_is_reported,
    table_needs_no_environment,
    created_container_has_one_process,
    paused_container_is_listed,
    unknown_container_is_refused,
    ps_does_not_wait_for_other_commands,
];

/// Three processes: a shell and two that it has started.
fn three(t: &Test) -> Container<'_> {
    let c = t.bundle().sh("sleep 100 & sleep 100 & echo up; wait").run_detached();
    c.wait_for_stdout("up");
    c
}

/// The pids in the JSON, sorted.
fn json(c: &Container) -> Vec<i64> {
    let list = c.call("ps", &["--format", "json"]).ok().json();
    let mut pids: Vec<i64> = list.as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
    pids.sort_unstable();
    pids
}

fn need_ps(t: &Test) {
    t.skip_for("crun", "prints a table of its own");
    if !["/usr/bin/ps", "/bin/ps"].iter().any(|path| Path::new(path).exists()) {
        t.skip("this host has no ps");
    }
}

/// The PID column of a table, without its header.
fn pids(out: &Out) -> Vec<i64> {
    let lines = out.lines();
    let column = lines[0].split_whitespace().position(|name| name == "PID").expect("a column PID");
    let pid = |line: &&str| line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
    lines[1..].iter().filter_map(pid).collect()
}

/// containerd: all of them, as the host numbers them.
fn json_lists_every_process(t: &Test) {
    let c = three(t);
    let listed = json(&c);
    let mut expected: Vec<i64> =
        cgroup::procs(&cgroup::freezer(&c.id).0).into_iter().map(i64::from).collect();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    assert_eq!(listed.len(), 3);
    assert!(listed.contains(&i64::from(c.pid())));
}

/// systemd in a container moves its processes.
fn json_lists_processes_of_cgroups_below(t: &Test) {
    let c = three(t);
    let before = json(&c);
    let init = i64::from(c.pid());
    let moved = before.iter().find(|pid| **pid != init).expect("a child");
    let tops = cgroup::find(&c.id);
    for top in &tops {
        let below = top.join("a/b");
        // cpuset refuses processes until it is filled; there the process simply stays.
        if fs::create_dir_all(&below).is_ok() {
            let _ = fs::write(below.join("cgroup.procs"), moved.to_string());
        }
    }
    let is_below = cgroup::procs(&cgroup::freezer(&c.id).0.join("a/b")) == [*moved as i32];
    let after = json(&c);
    let _ = c.try_kill("KILL");
    c.wait_stopped();
    for top in &tops {
        // Some runtimes leave what they have not made.
        t.until("the cgroups below to be empty", || {
            let _ = fs::remove_dir(top.join("a/b"));
            let _ = fs::remove_dir(top.join("a"));
            !top.join("a").exists()
        });
    }
    assert!(is_below, "the process was not moved");
    assert_eq!(after, before);
}

/// go-runc takes `null` and `[]` for no process.
fn json_of_a_stopped_container_is_an_empty_list(t: &Test) {
    let c = t.bundle().run_detached();
    c.wait_stopped();
    let out = c.call("ps", &["--format", "json"]).ok();
    assert!(matches!(out.json().as_array().map(Vec::len), None | Some(0)), "{}", out.report());
    if t.is("teu") {
        assert_eq!(out.stdout, "[]\n");
    }
}

/// go-runc reads both streams as one.
fn json_is_all_that_is_printed(t: &Test) {
    let out = three(t).call("ps", &["--format", "json"]).ok();
    assert!(out.stderr.is_empty(), "{}", out.report());
    if !t.is("crun") {
        assert_eq!(out.lines().len(), 1, "{}", out.report());
        assert!(!out.stdout.contains(' '), "{}", out.report());
    }
}

/// Engines and people.
fn format_may_be_spelled_in_every_way(t: &Test) {
    let c = three(t);
    for options in [&["--format=json"][..], &["-f", "json"], &["--format", "table", "--format", "json"]] {
        assert_eq!(c.call("ps", options).ok().json().as_array().map(Vec::len), Some(3), "{options:?}");
    }
    if !t.is("crun") {
        c.call("ps", &["-format", "json"]).ok().json();
    }
}

/// runc.
fn unknown_format_is_refused(t: &Test) {
    let out = three(t).call("ps", &["--format", "yaml"]).fails(&[]);
    if t.is("teu") {
        out.fails(&["invalid format option"]);
    }
}

/// runc: `ps -ef` of the host, less what is not the container's.
fn table_has_the_header_and_the_rows_of_the_container(t: &Test) {
    need_ps(t);
    let c = three(t);
    let out = c.call("ps", &[]).ok();
    assert!(out.lines()[0].starts_with("UID"), "{}", out.report());
    let mut listed = pids(&out);
    listed.sort_unstable();
    assert_eq!(listed, json(&c), "{}", out.report());
    assert!(out.stdout.contains("sleep 100"), "{}", out.report());
    assert_eq!(c.call("ps", &["--format", "table"]).ok().lines()[0], out.lines()[0]);
}

/// runc: exit code 0.
fn table_of_a_stopped_container_is_its_header(t: &Test) {
    need_ps(t);
    let c = t.bundle().run_detached();
    c.wait_stopped();
    let out = c.call("ps", &[]).ok();
    assert_eq!(out.lines().len(), 1, "{}", out.report());
    assert!(out.stdout.contains("PID"), "{}", out.report());
}

/// runc: `ps ID -e -x`.
fn options_after_the_id_are_for_the_ps_of_the_host(t: &Test) {
    need_ps(t);
    let c = three(t);
    for (options, columns) in
        [(&["-e", "-x"][..], "PID TTY"), (&["-e", "-o", "pid,comm"], "PID COMMAND"), (&["aux"], "USER PID")]
    {
        let mut cmd = t.cmd(["ps", &c.id]);
        for option in options {
            cmd = cmd.arg(option);
        }
        let out = cmd.run().ok();
        let header = out.lines()[0].split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(header.starts_with(columns), "{}", out.report());
        assert_eq!(pids(&out).len(), 3, "{}", out.report());
    }
}

/// `--format` of the host's ps means something else than ours.
fn options_of_the_host_that_look_like_ours_are_passed_on(t: &Test) {
    need_ps(t);
    let c = three(t);
    let out = t.cmd(["ps", &c.id, "-e", "--format", "pid,comm"]).run().ok();
    assert_eq!(out.lines()[0].split_whitespace().collect::<Vec<_>>(), ["PID", "COMMAND"], "{}", out.report());
    assert_eq!(pids(&out).len(), 3, "{}", out.report());
}

/// runc: these words.
fn output_without_a_pid_column_is_refused(t: &Test) {
    need_ps(t);
    let c = three(t);
    t.cmd(["ps", &c.id, "-e", "-o", "comm"]).run().fails(&["couldn't find PID field in ps output"]);
}

/// With what it says.
fn failing_ps_of_the_host_is_reported(t: &Test) {
    need_ps(t);
    let c = three(t);
    t.cmd(["ps", &c.id, "--no-such-option"]).run().fails(&["exit status", "unknown gnu long option"]);
}

/// Engines call with nothing but XDG_RUNTIME_DIR.
fn table_needs_no_environment(t: &Test) {
    need_ps(t);
    t.skip_for("runc", "does not find ps without PATH");
    let c = three(t);
    let out = t.cmd(["ps", &c.id]).empty_env().run().ok();
    assert_eq!(pids(&out).len(), 3, "{}", out.report());
    let out = t.cmd(["ps", &c.id]).empty_env().env("PATH", "").run().ok();
    assert_eq!(pids(&out).len(), 3, "{}", out.report());
}

/// The one that waits for `start`.
fn created_container_has_one_process(t: &Test) {
    let c = t.bundle().create();
    assert_eq!(json(&c), [i64::from(c.pid())]);
}

/// runc.
fn paused_container_is_listed(t: &Test) {
    let c = three(t);
    c.call("pause", &[]).ok();
    assert_eq!(json(&c).len(), 3);
}

/// Engines look for these words.
fn unknown_container_is_refused(t: &Test) {
    for arguments in [&["ps", "unknown"][..], &["ps", "--format", "json", "unknown"]] {
        let out = t.cmd(arguments).run().fails(&["does not exist"]);
        assert!(out.code == Some(1) || t.is("crun"), "{}", out.report());
    }
}

/// A container that is stuck in another command can be looked at.
fn ps_does_not_wait_for_other_commands(t: &Test) {
    t.only_teu("the lock is its own");
    let c = three(t);
    let _lock = super::pause::hold_lock(t, &c.id);
    assert_eq!(json(&c).len(), 3);
}
