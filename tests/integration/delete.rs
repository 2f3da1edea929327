//! `delete`: nothing remains.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Bundle, Container, Driver, HOSTILE, Out, Test, View, cgroup, leaks, patience};

cases![
    delete_removes_a_stopped_container,
    delete_of_a_running_container_is_refused,
    delete_of_a_created_container_kills_it,
    force_kills_and_deletes_a_running_container,
    delete_of_an_unknown_container_is_refused_and_force_is_not,
    force_removes_what_an_aborted_create_left,
    nested_cgroups_are_removed,
    threaded_cgroups_are_removed,
    delete_works_after_the_cgroup_is_gone,
    delete_works_after_the_bundle_is_gone,
    hooks_of_the_stored_config_run_after_the_bundle_is_gone,
    id_cannot_leave_the_state_root,
    force_deletes_a_frozen_container,
    force_deletes_a_stopped_process,
    processes_without_a_private_pid_namespace_are_killed,
    processes_that_nothing_tells_of_are_warned_of,
    force_copes_with_a_damaged_state_file,
    delete_kills_only_its_own,
    delete_spares_a_container_that_has_come_into_the_cgroup,
    run_ends_without_a_word_when_another_command_has_deleted_its_container,
    poststop_hooks_run_once_when_run_and_delete_meet,
];

/// runtime.md#delete: what `create` made is gone.
fn delete_removes_a_stopped_container(t: &Test) {
    let c = t.bundle().run_detached();
    c.wait_stopped();
    c.call("delete", &[]).ok().silent();
    assert!(!t.root().join(&c.id).exists(), "the state directory is still there");
    assert!(cgroup::find(&c.id).is_empty(), "left: {:?}", cgroup::find(&c.id));
    c.call("state", &[]).fails(&["does not exist"]);
    c.call("delete", &[]).fails(&["does not exist"]);
}

/// runtime.md#delete: only a stopped container can be deleted.
fn delete_of_a_running_container_is_refused(t: &Test) {
    let c = t.bundle().args(["sleep", "100"]).run_detached();
    let pid = c.pid();
    let out = c
        .call("delete", &[])
        .fails(&[&format!("cannot delete container {} that is not stopped: running", c.id)]);
    assert_eq!(out.code, Some(1));
    assert_eq!((c.status(), c.pid()), ("running".into(), pid));
}

/// runc: podman and buildah delete a container that they never started.
fn delete_of_a_created_container_kills_it(t: &Test) {
    let c = t.bundle().sh("echo ran").create();
    let pid = c.pid();
    c.delete();
    assert!(!fs::exists(format!("/proc/{pid}/exe")).unwrap() || is_zombie(pid), "init is still alive");
    assert_eq!(c.stdout(), "");
    c.call("state", &[]).fails(&["does not exist"]);
}

/// runc: `--force` kills first; all is gone when it returns.
fn force_kills_and_deletes_a_running_container(t: &Test) {
    let c = t.bundle().sh("trap '' TERM INT HUP; sleep 1000 & echo up; wait; sleep 1000").run_detached();
    c.wait_for_stdout("up");
    c.call("delete", &["-f"]).ok().silent();
    assert!(leaks::find_processes(&c.id).is_empty(), "left: {:?}", leaks::find_processes(&c.id));
    assert!(cgroup::find(&c.id).is_empty(), "left: {:?}", cgroup::find(&c.id));
    c.call("delete", &["--force"]).ok().silent();
}

/// runc: CRI-O expects `--force` to succeed, containerd looks for the words.
fn delete_of_an_unknown_container_is_refused_and_force_is_not(t: &Test) {
    let out = t.cmd(["delete", "unknown"]).run().fails(&["does not exist"]);
    assert_eq!(out.code, Some(1));
    t.cmd(["delete", "--force", "unknown"]).run().ok().silent();
}

/// A state directory without a readable state is what a killed `create` leaves.
fn force_removes_what_an_aborted_create_left(t: &Test) {
    for flag in [Some("--force"), None] {
        let id = format!("{}-half", t.token());
        let dir = t.root().join(&id);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("state-1234"), "{").unwrap();
        let mut cmd = t.cmd(["delete"]);
        if let Some(flag) = flag {
            cmd = cmd.arg(flag);
        }
        let out = cmd.arg(&id).run();
        match flag {
            Some(_) => drop(out.ok()),
            None if t.is("crun") => continue,
            None => drop(out.fails(&["does not exist"])),
        }
        assert!(!dir.exists(), "{} is still there", dir.display());
    }
}

/// cgroups(7): a container may make cgroups below its own; they have to go first.
fn nested_cgroups_are_removed(t: &Test) {
    skip_runc_that_leaves_the_cgroup(t);
    let c = t.bundle().without_namespace("pid").sh("sleep 1000 & echo $!; wait").run_detached();
    c.wait_for_stdout("\n");
    let child: i32 = c.stdout().trim().parse().unwrap();
    for hierarchy in cgroup::hierarchies() {
        let own = hierarchy.of(&c.id);
        if own.is_dir() {
            fs::create_dir_all(own.join("a/b/c")).unwrap();
            fs::create_dir_all(own.join("d")).unwrap();
            if !hierarchy.controllers.iter().any(|controller| controller == "cpuset") {
                fs::write(own.join("a/b/cgroup.procs"), child.to_string()).unwrap();
            }
            t.caller().own(&own, None).unwrap();
        }
    }
    c.delete_force();
    assert!(cgroup::find(&c.id).is_empty(), "left: {:?}", cgroup::find(&c.id));
}

/// cgroups(7): a threaded cgroup does not tell its processes, and the one above it becomes their domain.
fn threaded_cgroups_are_removed(t: &Test) {
    skip_runc_that_leaves_the_cgroup(t);
    let c = t.bundle().without_namespace("pid").sh("sleep 1000 & echo $!; wait").run_detached();
    c.wait_for_stdout("\n");
    let child = c.stdout().trim().to_owned();
    let v2 = cgroup::hierarchies().into_iter().find(|hierarchy| hierarchy.v2);
    let own = v2.map(|hierarchy| hierarchy.of(&c.id)).filter(|own| own.is_dir());
    let Some(own) = own else { t.skip("the container is in no cgroup of version 2") };
    let inner = own.join("a/b");
    fs::create_dir_all(&inner).unwrap();
    for dir in [&own.join("a"), &inner] {
        fs::write(dir.join("cgroup.type"), "threaded").unwrap();
    }
    fs::write(inner.join("cgroup.threads"), &child).unwrap();
    let inside = fs::read_to_string(format!("/proc/{child}/cgroup")).unwrap();
    assert!(inside.contains(&format!("/{}/a/b\n", t.place(&c.id))), "{inside}");
    fs::read_to_string(inner.join("cgroup.procs")).expect_err("the processes of a threaded cgroup are told");
    t.caller().own(&own, None).unwrap();
    c.delete_force();
    assert!(cgroup::find(&c.id).is_empty(), "left: {:?}", cgroup::find(&c.id));
    // It is dead; whoever inherits it has yet to take notice.
    let stat = fs::read_to_string(format!("/proc/{child}/stat"));
    assert!(stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z ")), "a process is left");
}

/// Somebody else may have removed the empty cgroup.
fn delete_works_after_the_cgroup_is_gone(t: &Test) {
    let c = t.bundle().run_detached();
    c.wait_stopped();
    for dir in cgroup::find(&c.id).iter().rev() {
        t.until("the cgroup to be empty", || fs::remove_dir(dir).is_ok());
    }
    assert_eq!(c.status(), "stopped");
    c.delete();
}

/// Engines may unmount or remove the bundle first.
fn delete_works_after_the_bundle_is_gone(t: &Test) {
    let bundle = t.bundle();
    let c = bundle.run_detached();
    c.wait_stopped();
    leaks::remove_tree(bundle.dir()).unwrap();
    assert_eq!(c.status(), "stopped");
    c.delete();
}

/// runtime.md#lifecycle: the configuration is that of `create`.
fn hooks_of_the_stored_config_run_after_the_bundle_is_gone(t: &Test) {
    let told = t.dir().join("told");
    let bundle = t.bundle().hook("poststop", &format!("cat >{}", told.display()));
    let c = bundle.run_detached();
    c.wait_stopped();
    assert!(!told.exists());
    leaks::remove_tree(bundle.dir()).unwrap();
    c.delete();
    let state: serde_json::Value = serde_json::from_str(&fs::read_to_string(&told).unwrap()).unwrap();
    assert_eq!((&state["id"], &state["status"]), (&c.id.as_str().into(), &"stopped".into()));
}

/// An id is a name, never a path.
fn id_cannot_leave_the_state_root(t: &Test) {
    t.only_teu(HOSTILE);
    fs::create_dir_all(t.root().join("x")).unwrap();
    let outside = t.make_dir("outside");
    t.make_file("outside/keep", "");
    t.make_file("outside/state.json", "{}");
    // Absolute, but only ever the canary: a runtime that follows it must not find anything of the host.
    let absolute = outside.to_string_lossy();
    for id in ["../outside", "x/../../outside", "..", ".", "x/..", "./x", &absolute] {
        for flag in ["--force", "-f"] {
            t.cmd(["delete", flag, id]).run().fails(&[]);
        }
        t.cmd(["delete", id]).run().fails(&[]);
    }
    assert!(outside.join("keep").exists(), "delete left the state root");
    assert!(t.root().join("x").exists(), "delete took a path for an id");
    fs::remove_dir(t.root().join("x")).unwrap();
}

/// Nobody waits longer for it than this.
#[track_caller]
fn deleted_in_time(c: &Container) {
    let out = c.call("delete", &["--force"]).ok();
    assert!(out.elapsed < patience(Duration::from_secs(10)), "{}", out.report());
}

/// The freezer holds signals back; `--force` has to get through.
fn force_deletes_a_frozen_container(t: &Test) {
    let c = t.bundle().sh("sleep 1000 & echo up; wait").run_detached();
    c.wait_for_stdout("up");
    cgroup::freeze(&c.id, true);
    t.until("status paused", || c.status() == "paused");
    c.call("delete", &[]).fails(&["paused"]);
    deleted_in_time(&c);
    assert!(leaks::find_processes(&c.id).is_empty(), "left: {:?}", leaks::find_processes(&c.id));
}

/// SIGSTOP does not protect from SIGKILL.
fn force_deletes_a_stopped_process(t: &Test) {
    let c = t.bundle().args(["sleep", "1000"]).run_detached();
    kill(Pid::from_raw(c.pid()), Signal::SIGSTOP).unwrap();
    assert_eq!(c.status(), "running");
    deleted_in_time(&c);
}

/// runtime.md#delete: processes that outlive init in the host's pid namespace belong to the container.
fn processes_without_a_private_pid_namespace_are_killed(t: &Test) {
    skip_runc_that_leaves_the_cgroup(t);
    let c = t.bundle().without_namespace("pid").sh("sleep 1000 & sleep 1000 & echo up").run_detached();
    c.wait_for_stdout("up");
    c.wait_stopped();
    c.delete();
    t.until("no process", || leaks::find_processes(&c.id).is_empty());
    assert!(cgroup::find(&c.id).is_empty(), "left: {:?}", cgroup::find(&c.id));
}

/// runc: neither a cgroup nor a pid namespace tells which processes are the container's.
fn processes_that_nothing_tells_of_are_warned_of(t: &Test) {
    t.only_teu("others have no cgroup manager of this name");
    let words = "cannot be found and may go on";
    let call = |verb: &str, rest: &[&str]| {
        let cmd = t.cmd(["--cgroup-manager", "disabled", verb]);
        rest.iter().fold(cmd, |cmd, word| cmd.arg(word)).run()
    };
    let warned = |out: Out| {
        let levels: Vec<&str> = out.log.iter().filter_map(|record| record["level"].as_str()).collect();
        assert_eq!(levels, ["warning"], "{}", out.report());
        let text = out.log[0]["msg"].as_str().unwrap();
        assert!(text.contains(words) && text.contains("list a pid namespace"), "{text}");
    };
    let started = |bundle: Bundle| {
        let bundle = bundle.unset("/linux/resources").unset("/linux/cgroupsPath");
        let bundle = bundle.sh("sleep 1077 & setsid sleep 1078 & sleep 1079");
        bundle.write();
        call("run", &["--detach", "--bundle", &bundle.dir().to_string_lossy(), bundle.id()]).ok();
        bundle.id().to_owned()
    };
    let plain = || t.bundle().without_namespace("pid");
    let damage = |id: &str| fs::write(t.root().join(id).join("state.json"), "{").unwrap();
    for way in ["delete", "kill", "damaged"] {
        let id = started(plain());
        t.until("the processes", || leaks::find_processes(t.token()).len() == 3);
        if way == "kill" {
            // Another signal is for init alone.
            assert!(call("kill", &[&id, "0"]).ok().log.is_empty());
            warned(call("kill", &[&id, "KILL"]).ok());
            t.until("the end of init", || call("state", &[&id]).ok().json()["status"] == "stopped");
            warned(call("delete", &[&id]).ok());
        } else {
            if way == "damaged" {
                damage(&id);
            }
            warned(call("delete", &["--force", &id]).ok());
        }
        assert_eq!(leaks::find_processes(t.token()).len(), 2, "the warning is not true");
        for (pid, _) in leaks::find_processes(t.token()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    // The end of init is the end of all.
    for damaged in [false, true] {
        let id = started(t.bundle());
        if damaged {
            damage(&id);
        }
        assert!(call("delete", &["--force", &id]).ok().log.is_empty(), "damaged: {damaged}");
    }
}

/// A state file that a crash has cut off must not make the container undeletable.
fn force_copes_with_a_damaged_state_file(t: &Test) {
    t.only_teu("only teu claims that `delete --force` works on any state directory");
    for text in ["", "{", "[]", "{\"id\":7}", "\u{0}\u{0}"] {
        let c = t.bundle().run_detached();
        c.wait_stopped();
        for dir in cgroup::find(&c.id).iter().rev() {
            t.until("the cgroup to be empty", || fs::remove_dir(dir).is_ok());
        }
        fs::write(t.root().join(&c.id).join("state.json"), text).unwrap();
        c.call("delete", &["--force"]).ok();
        assert!(!t.root().join(&c.id).exists(), "the state directory is still there");
    }
}

/// A delete must not reach beyond the container, whatever is recorded.
fn delete_kills_only_its_own(t: &Test) {
    skip_runc_that_leaves_the_cgroup(t);
    let other = t.bundle().without_namespace("pid").args(["sleep", "1000"]).run_detached();
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    let c = t.bundle().without_namespace("pid").sh("sleep 1000 & echo up; wait").run_detached();
    c.wait_for_stdout("up");
    c.delete_force();
    let alive = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(alive, "a process of nobody's container was killed");
    assert_eq!(other.status(), "running");
    assert!(Path::new("/proc").join(other.pid().to_string()).exists());
}

/// A stopped container has no process in its cgroup, so another one may be there meanwhile, or below it.
fn delete_spares_a_container_that_has_come_into_the_cgroup(t: &Test) {
    t.only_teu("others have other words");
    if !t.has_cgroups() || t.driver() == Driver::Systemd {
        t.skip("the cgroups are not chosen by their path");
    }
    for below in ["", "/inner"] {
        let bundle = t.bundle();
        let path = format!("/{}", bundle.id());
        let first = bundle.set("/linux/cgroupsPath", path.as_str()).args(["true"]).run_detached();
        first.wait_stopped();
        let second = t.bundle().set("/linux/cgroupsPath", format!("{path}{below}")).idle();
        let out = first.call("delete", &["--force"]);
        out.fails(&["remove the cgroup", "sleep"]);
        assert_eq!(second.status(), "running");
        second.delete_force();
        first.delete();
    }
}

/// The first is held while the container is deleted and another one of its id is made.
fn run_ends_without_a_word_when_another_command_has_deleted_its_container(t: &Test) {
    t.only_teu("others warn of what they could not remove");
    let bundle = t.bundle().sh("echo up; sleep 1000").hook("poststop", "true");
    let running = bundle.spawn();
    running.wait_for_stdout("up");
    running.signal(Signal::SIGSTOP);
    t.cmd(["delete", "--force", bundle.id()]).run().ok();
    let second = bundle.run_detached();
    running.signal(Signal::SIGCONT);
    let out = running.wait().exits(137);
    assert_eq!(out.stderr, "", "{}", out.report());
    assert_eq!(second.status(), "running");
    second.delete_force();
}

/// runtime.md#lifecycle: once.
fn poststop_hooks_run_once_when_run_and_delete_meet(t: &Test) {
    t.only_teu("others run them twice");
    for round in 0..5 {
        let told = t.dir().join(format!("told-{round}"));
        let bundle = t.bundle().sh("echo up; sleep 1000");
        let bundle = bundle.hook("poststop", &format!("echo ran >>{}", told.display()));
        let running = bundle.spawn();
        running.wait_for_stdout("up");
        t.cmd(["delete", "--force", bundle.id()]).run().ok();
        running.wait().exits(137);
        assert_eq!(fs::read_to_string(&told).unwrap(), "ran\n");
    }
}

/// runc: 1.1 gives up on a version 2 cgroup that is emptied too slowly.
fn skip_runc_that_leaves_the_cgroup(t: &Test) {
    if t.view() == View::V2 {
        t.skip_older("runc", (1, 2), "leaves a version 2 cgroup behind without a private pid namespace");
    }
}

fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}
