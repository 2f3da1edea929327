//! `state`: what a container is doing now.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Container, Test, cgroup, container};

cases![
    state_has_what_the_specification_demands,
    state_keeps_to_the_schema_at_every_stage,
    state_of_an_unknown_container_is_refused,
    status_follows_the_life_cycle,
    pid_is_the_host_pid_of_init,
    stopped_container_has_pid_zero_and_stays_readable,
    annotations_are_copied,
    creation_time_is_a_timestamp_in_utc,
    frozen_container_is_paused,
    zombie_init_counts_as_stopped,
    recycled_pid_counts_as_stopped_and_is_never_signalled,
    pid_recycled_within_a_tick_is_told_apart,
    recycled_pid_is_spared_by_delete,
    state_file_has_the_names_that_others_read,
    state_prints_nothing_but_json,
];

/// runtime.md#state.
fn state_has_what_the_specification_demands(t: &Test) {
    let bundle = t.bundle();
    let state = bundle.create().state();
    assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), "{state}");
    assert_eq!(state["id"], bundle.id());
    assert_eq!(state["status"], "created");
    assert!(state["pid"].as_i64().is_some_and(|pid| pid > 1), "{state}");
    assert_eq!(state["bundle"], bundle.dir().to_string_lossy().as_ref());
    // runc: engines read these two as well.
    if !t.is_older("crun", 1, 9) {
        assert_eq!(state["rootfs"], bundle.rootfs().to_string_lossy().as_ref());
    }
    assert!(state["created"].is_string(), "{state}");
}

/// runtime.md#state, state-schema.json: the types of the members, whatever the status.
fn state_keeps_to_the_schema_at_every_stage(t: &Test) {
    let bundle = t.bundle().set("/annotations", json!({ "com.example.key": "value" })).args(["sleep", "100"]);
    let c = bundle.create();
    let keeps = |status: &str| {
        let state = c.state();
        for member in ["ociVersion", "id", "status", "bundle"] {
            assert!(state[member].is_string(), "{member}: {state}");
        }
        assert!(Path::new(state["bundle"].as_str().unwrap()).is_absolute(), "{state}");
        assert_eq!((state["status"].as_str(), state["id"].as_str()), (Some(status), Some(bundle.id())));
        assert!(state["pid"].is_u64(), "{state}");
        assert_eq!(state["annotations"], json!({ "com.example.key": "value" }));
    };
    keeps("created");
    c.start();
    keeps("running");
    c.kill("KILL");
    c.wait_stopped();
    keeps("stopped");
}

/// runtime.md#query-state: an unknown id is an error; containerd and CRI-O look for these words.
fn state_of_an_unknown_container_is_refused(t: &Test) {
    let out = t.cmd(["state", "unknown"]).run().fails(&["does not exist"]);
    assert_eq!(out.code, Some(1));
    assert!(out.stdout.is_empty(), "{}", out.report());
}

/// runtime.md#lifecycle.
fn status_follows_the_life_cycle(t: &Test) {
    let c = t.bundle().args(["sleep", "100"]).create();
    assert_eq!(c.status(), "created");
    c.start();
    assert_eq!(c.status(), "running");
    c.kill("KILL");
    c.wait_stopped();
    c.delete();
    c.call("state", &[]).fails(&["does not exist"]);
}

/// runtime.md#state: `pid` is the process as seen from the runtime's pid namespace.
fn pid_is_the_host_pid_of_init(t: &Test) {
    let c = t.bundle().sh("echo $$; sleep 100").run_detached();
    c.wait_for_stdout("\n");
    assert_eq!(c.stdout(), "1\n");
    let pid = c.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains(&format!("NSpid:\t{pid}\t1\n")), "{status}");
}

/// runc: a stopped container has pid 0, as long as nobody deletes it.
fn stopped_container_has_pid_zero_and_stays_readable(t: &Test) {
    let c = t.bundle().run_detached();
    c.wait_stopped();
    for _ in 0..3 {
        let state = c.state();
        assert_eq!((state["status"].as_str(), state["pid"].as_i64()), (Some("stopped"), Some(0)));
    }
}

/// config.md#annotations, runtime.md#state.
fn annotations_are_copied(t: &Test) {
    let bundle = t
        .bundle()
        .set("/annotations/com.example.key", "value with \"quotes\"\nand lines")
        .set("/annotations/com.example.empty", "")
        .set("/annotations/io.kubernetes.cri.container-type", "sandbox");
    let state = bundle.create().state();
    assert_eq!(state["annotations"], bundle.config()["annotations"]);
}

/// go-runc decodes `created` as a time: another form is an error for the engine.
fn creation_time_is_a_timestamp_in_utc(t: &Test) {
    let state = t.bundle().create().state();
    let created = state["created"].as_str().unwrap_or_default();
    let pattern = "dddd-dd-ddTdd:dd:dd";
    let matches = created.len() > pattern.len()
        && pattern
            .chars()
            .zip(created.chars())
            .all(|(p, c)| if p == 'd' { c.is_ascii_digit() } else { p == c });
    assert!(matches && created.ends_with('Z'), "created is {created:?}");
}

/// runc: a container whose cgroup is frozen is `paused`, whoever froze it.
fn frozen_container_is_paused(t: &Test) {
    let c = t.bundle().args(["sleep", "100"]).run_detached();
    cgroup::freeze(&c.id, true);
    t.until("status paused", || c.status() == "paused");
    cgroup::freeze(&c.id, false);
    t.until("status running", || c.status() == "running");
}

/// runtime.md#state: a process that has exited is stopped, also when its parent does not wait for it.
fn zombie_init_counts_as_stopped(t: &Test) {
    let bundle = t.bundle().args(["sleep", "100"]);
    bundle.write();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .arg0("probe")
        .arg("adopt")
        .arg(&t.runtime().path)
        .args([
            "--root".as_ref(),
            t.root().as_os_str(),
            "run".as_ref(),
            "--detach".as_ref(),
            "--bundle".as_ref(),
        ])
        .arg(bundle.dir())
        .arg(bundle.id())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = || t.cmd(["state", bundle.id()]).run();
    t.until("the container to run", || status().code == Some(0) && status().json()["status"] == "running");
    let pid = status().json()["pid"].as_i64().unwrap();
    t.cmd(["kill", bundle.id(), "KILL"]).run().ok();
    let is_zombie = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") Z ");
    t.until("init to be a zombie", is_zombie);
    let state = status().ok().json();
    assert!(is_zombie(), "nobody was to reap init");
    let killed = t.cmd(["kill", bundle.id(), "KILL"]).run();
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert_eq!(state["status"], "stopped");
    killed.fails(&["container not running"]);
}

/// A saved pid may belong to somebody else by now; the start time beside it tells.
fn recycled_pid_counts_as_stopped_and_is_never_signalled(t: &Test) {
    t.skip_for("crun", "keeps its state in another form");
    let c = t.bundle().args(["sleep", "100"]).run_detached();
    // Start times count in hundredths of a second.
    std::thread::sleep(std::time::Duration::from_millis(30));
    let mut stranger = Command::new("sleep").arg("100").spawn().unwrap();
    let path = t.root().join(&c.id).join("state.json");
    let real: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let mut fake = real.clone();
    fake["init_process_pid"] = stranger.id().into();
    is_stopped_with(&c, &path, &real, &fake, &mut stranger);
}

/// pidfd_open(2): from Linux 6.9 on a process has a number that no other one gets.
fn pid_recycled_within_a_tick_is_told_apart(t: &Test) {
    t.only_teu("other runtimes compare start times alone");
    let c = t.bundle().args(["sleep", "100"]).run_detached();
    let path = t.root().join(&c.id).join("state.json");
    let real: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    if real["own"]["init_identity"] == 0 {
        t.skip("the kernel is older than Linux 6.9");
    }
    let mut stranger = Command::new("sleep").arg("100").spawn().unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", stranger.id())).unwrap();
    let start: u64 = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap().parse().unwrap();
    let mut fake = real.clone();
    fake["init_process_pid"] = stranger.id().into();
    fake["init_process_start"] = start.into();
    is_stopped_with(&c, &path, &real, &fake, &mut stranger);
}

/// Nobody is killed who is not known to be the container's: neither a stranger, nor who is in its cgroup after its end.
fn recycled_pid_is_spared_by_delete(t: &Test) {
    t.skip_for("crun", "keeps its state in another form");
    t.skip_for("runc", "removes the state all the same");
    let c = t.bundle().args(["sleep", "100"]).run_detached();
    let init = c.pid();
    // Start times count in hundredths of a second.
    std::thread::sleep(std::time::Duration::from_millis(30));
    let mut stranger = Command::new("sleep").arg("100").spawn().unwrap();
    let path = t.root().join(&c.id).join("state.json");
    let real = fs::read_to_string(&path).unwrap();
    let mut state: Value = serde_json::from_str(&real).unwrap();
    state["init_process_pid"] = stranger.id().into();
    fs::write(&path, state.to_string()).unwrap();
    let out = c.call("delete", &["--force"]);
    fs::write(&path, &real).unwrap();
    let alive = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(alive, "a process that is not the container's was killed");
    out.fails(&["remove the cgroup", &format!("pid {init} (sleep)")]);
    assert_eq!(c.status(), "running");
    c.delete_force();
    assert!(cgroup::find(&c.id).is_empty(), "left: {:?}", cgroup::find(&c.id));
}

/// With a record that names a stranger the container has stopped, and the stranger is left alone.
#[track_caller]
fn is_stopped_with(c: &Container, path: &Path, real: &Value, fake: &Value, stranger: &mut Child) {
    fs::write(path, fake.to_string()).unwrap();
    let status = c.status();
    let kill = c.try_kill("KILL");
    let alive = stranger.try_wait().unwrap().is_none();
    fs::write(path, real.to_string()).unwrap();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(status, "stopped");
    kill.fails(&["container not running"]);
    assert!(alive, "a process that is not the container's was killed");
}

/// runc: third parties read these members of state.json.
fn state_file_has_the_names_that_others_read(t: &Test) {
    t.skip_for("crun", "keeps its state in another form");
    let bundle = t.bundle().set("/annotations/com.example.key", "value");
    let c = bundle.create();
    let text = fs::read_to_string(t.root().join(&c.id).join("state.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let pid = c.pid();
    assert_eq!(file["id"], bundle.id());
    assert_eq!(file["init_process_pid"], pid);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let start =
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(19)).and_then(|s| s.parse().ok());
    assert_eq!(file["init_process_start"].as_u64(), start, "field 22 of stat");
    assert_eq!(file["namespace_paths"]["NEWNET"], format!("/proc/{pid}/ns/net"));
    assert_eq!(file["namespace_paths"]["NEWNS"], format!("/proc/{pid}/ns/mnt"));
    assert_eq!(file["config"]["rootfs"], bundle.rootfs().to_string_lossy().as_ref());
    let labels = file["config"]["labels"].as_array().unwrap();
    for label in ["com.example.key=value".to_owned(), format!("bundle={}", bundle.dir().display())] {
        assert!(labels.iter().any(|l| *l == label.as_str()), "{label} is not in {labels:?}");
    }
    let paths = file["cgroup_paths"].as_object().unwrap();
    assert!(!paths.is_empty() && paths.values().all(|p| p.as_str().is_some_and(|p| p.contains(bundle.id()))));
    assert_ne!(container::namespace_of(&pid.to_string(), "net"), container::namespace_of("self", "net"));
}

/// go-runc reads stdout and stderr of `state` as one document.
fn state_prints_nothing_but_json(t: &Test) {
    let c = t.bundle().create();
    let out = c.call("state", &[]).ok();
    assert!(out.json().is_object() && out.stderr.is_empty() && out.errors().is_empty(), "{}", out.report());
}
