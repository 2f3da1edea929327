//! `pause` and `resume`.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Container, Test, cgroup, leaks, patience};

cases![
    paused_container_stands_still_until_it_is_resumed,
    pause_and_resume_print_nothing,
    created_container_can_be_paused_and_started_later,
    every_process_is_frozen,
    container_that_forks_all_the_time_can_be_paused,
    pause_of_a_paused_container_is_refused,
    pause_of_a_stopped_container_is_refused,
    resume_of_a_running_container_is_refused,
    resume_of_a_stopped_container_is_refused,
    pause_and_resume_of_an_unknown_container_are_refused,
    container_that_others_froze_can_be_resumed,
    resume_of_a_container_that_died_while_it_was_paused_succeeds,
    delete_of_a_paused_container_needs_force,
    stopped_by_a_signal_it_is_deleted_by_force,
    pause_killed_at_any_moment_leaves_all_or_nothing,
    pause_interrupted_at_any_moment_leaves_all_or_nothing,
    pause_killed_halfway_is_undone,
    pause_leaves_no_process_behind,
    pause_from_inside_the_cgroup_is_refused,
    pause_and_resume_wait_for_other_commands,
];

/// Takes the lock that commands which change a container hold.
pub fn hold_lock(t: &Test, id: &str) -> Flock<File> {
    let path = t.root().join(id).join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(path).unwrap();
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).unwrap()
}

/// Whether the freezer was told to freeze, and whether everything stands still.
fn freezer(id: &str) -> (bool, bool) {
    let (dir, v2) = cgroup::freezer(id);
    let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap();
    if v2 {
        (read("cgroup.freeze").trim() == "1", read("cgroup.events").contains("frozen 1"))
    } else {
        (read("freezer.self_freezing").trim() == "1", read("freezer.state").trim() == "FROZEN")
    }
}

/// Counts on stdout as long as it runs.
fn counter(t: &Test) -> Container<'_> {
    let c = t.bundle().sh("n=0; while :; do n=$((n+1)); echo $n; usleep 5000; done").run_detached();
    c.wait_for_stdout("\n3\n");
    c
}

#[track_caller]
fn counts_on(t: &Test, c: &Container) {
    let before = c.stdout().len();
    t.until("the container to count on", || c.stdout().len() > before);
}

/// runc; spec: nothing is said of it but the names.
fn paused_container_stands_still_until_it_is_resumed(t: &Test) {
    let c = counter(t);
    c.call("pause", &[]).ok();
    assert_eq!(c.status(), "paused");
    assert_eq!(freezer(&c.id), (true, true));
    let before = c.stdout();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(c.stdout(), before);
    c.call("resume", &[]).ok();
    assert_eq!(c.status(), "running");
    assert_eq!(freezer(&c.id), (false, false));
    counts_on(t, &c);
}

/// go-runc reads both streams.
fn pause_and_resume_print_nothing(t: &Test) {
    let c = counter(t);
    for _ in 0..3 {
        c.call("pause", &[]).ok().silent();
        c.call("resume", &[]).ok().silent();
    }
    counts_on(t, &c);
}

/// runc: the program must not start meanwhile.
fn created_container_can_be_paused_and_started_later(t: &Test) {
    t.skip_for("crun", "calls it created and starts it");
    let c = t.bundle().sh("echo ran; sleep 100").create();
    c.call("pause", &[]).ok();
    assert_eq!(c.status(), "paused");
    c.call("start", &[]).fails(&["paused"]);
    c.call("resume", &[]).ok();
    assert_eq!(c.status(), "created");
    c.start();
    c.wait_for_stdout("ran");
}

/// Children and cgroups below too.
fn every_process_is_frozen(t: &Test) {
    let script = "for i in 1 2 3 4; do (while :; do usleep 1000; echo x; done) & done; echo up; wait";
    let c = t.bundle().sh(script).run_detached();
    c.wait_for_stdout("up");
    let (dir, _) = cgroup::freezer(&c.id);
    let below = dir.join("below");
    fs::create_dir(&below).unwrap();
    let child = *cgroup::procs(&dir).iter().find(|pid| **pid != c.pid()).unwrap();
    fs::write(below.join("cgroup.procs"), child.to_string()).unwrap();
    c.call("pause", &[]).ok();
    let before = c.stdout().len();
    std::thread::sleep(Duration::from_millis(50));
    let still = c.stdout().len() == before;
    c.call("resume", &[]).ok();
    c.kill("KILL");
    c.wait_stopped();
    t.until("the cgroup below to be empty", || !below.exists() || fs::remove_dir(&below).is_ok());
    assert!(still, "a process ran on");
}

/// New processes must not slip through.
fn container_that_forks_all_the_time_can_be_paused(t: &Test) {
    t.skip_for("crun", "does not wait until everything stands still");
    let c = t.bundle().sh("echo up; while :; do true & true & wait; done").run_detached();
    c.wait_for_stdout("up");
    for _ in 0..10 {
        c.call("pause", &[]).ok();
        assert_eq!(freezer(&c.id), (true, true));
        let (dir, _) = cgroup::freezer(&c.id);
        let before = cgroup::procs(&dir);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(cgroup::procs(&dir), before);
        c.call("resume", &[]).ok();
    }
}

/// runc: these words.
fn pause_of_a_paused_container_is_refused(t: &Test) {
    let c = counter(t);
    c.call("pause", &[]).ok();
    let out = c.call("pause", &[]);
    if t.is("crun") {
        return;
    }
    out.fails(&["container not running"]);
    assert_eq!(c.status(), "paused");
}

/// containerd takes these words for "already gone".
fn pause_of_a_stopped_container_is_refused(t: &Test) {
    let c = t.bundle().run_detached();
    c.wait_stopped();
    let out = c.call("pause", &[]).fails(&["container not running"]);
    assert_eq!(out.code, Some(1));
}

/// runc: these words.
fn resume_of_a_running_container_is_refused(t: &Test) {
    t.skip_for("crun", "thaws what is not frozen");
    let c = counter(t);
    c.call("resume", &[]).fails(&["container not paused"]);
    let c = t.bundle().create();
    c.call("resume", &[]).fails(&["container not paused"]);
}

/// runc: these words.
fn resume_of_a_stopped_container_is_refused(t: &Test) {
    t.skip_for("crun", "has words of its own");
    let c = t.bundle().run_detached();
    c.wait_stopped();
    c.call("resume", &[]).fails(&["container not paused"]);
}

/// Engines look for these words.
fn pause_and_resume_of_an_unknown_container_are_refused(t: &Test) {
    for verb in ["pause", "resume"] {
        let out = t.cmd([verb, "unknown"]).run().fails(&["does not exist"]);
        assert_eq!(out.code, Some(1));
    }
}

/// The freezer is the state.
fn container_that_others_froze_can_be_resumed(t: &Test) {
    let c = counter(t);
    cgroup::freeze(&c.id, true);
    t.until("status paused", || c.status() == "paused");
    c.call("resume", &[]).ok();
    counts_on(t, &c);
}

/// containerd resumes a container that was killed while it was paused.
fn resume_of_a_container_that_died_while_it_was_paused_succeeds(t: &Test) {
    t.only_teu("runc refuses when the kernel has ended a frozen process, which version 2 does at once");
    let c = counter(t);
    c.call("pause", &[]).ok();
    kill(Pid::from_raw(c.pid()), Signal::SIGKILL).unwrap();
    if cgroup::freezer(&c.id).1 {
        t.until("status stopped", || c.status() == "stopped");
    }
    c.call("resume", &[]).ok().silent();
    c.wait_stopped();
    assert!(!freezer(&c.id).0, "the cgroup is still frozen");
    c.call("resume", &[]).fails(&["container not paused"]);
    c.delete();
}

/// runc; frozen processes do not see SIGKILL on version 1.
fn delete_of_a_paused_container_needs_force(t: &Test) {
    let c = counter(t);
    c.call("pause", &[]).ok();
    c.call("delete", &[]).fails(&[]);
    assert_eq!(c.status(), "paused");
    let start = Instant::now();
    c.delete_force();
    assert!(start.elapsed() < patience(Duration::from_secs(10)), "it took {:?}", start.elapsed());
    assert!(cgroup::find(&c.id).is_empty());
}

/// SIGKILL ends a process that SIGSTOP has stopped.
fn stopped_by_a_signal_it_is_deleted_by_force(t: &Test) {
    let c = counter(t);
    kill(Pid::from_raw(c.pid()), Signal::SIGSTOP).unwrap();
    assert_eq!(c.status(), "running");
    c.call("pause", &[]).ok();
    assert_eq!(c.status(), "paused");
    let start = Instant::now();
    c.delete_force();
    assert!(start.elapsed() < patience(Duration::from_secs(10)), "it took {:?}", start.elapsed());
}

/// Whatever happens to the command: paused and frozen, or running and not frozen.
fn all_or_nothing(t: &Test, signal: Signal) {
    t.only_teu("others leave a container half frozen");
    let c = counter(t);
    let whole = {
        let start = Instant::now();
        c.call("pause", &[]).ok();
        let whole = start.elapsed();
        c.call("resume", &[]).ok();
        whole
    };
    const MOMENTS: u32 = 40;
    let mut thawed = 0;
    for moment in 0..MOMENTS {
        let running = t.cmd(["pause", &c.id]).spawn();
        std::thread::sleep(whole * moment / MOMENTS);
        running.signal(signal);
        let out = running.wait();
        // The process that thaws holds the lock as long as it works.
        drop(hold_lock(t, &c.id));
        let (told, still) = freezer(&c.id);
        assert_eq!(c.status(), if told { "paused" } else { "running" }, "moment {moment}");
        assert_eq!(told, still, "moment {moment}: half frozen after {}", out.report());
        if out.code == Some(0) {
            assert!(told, "moment {moment}: it said that all went well");
        }
        if told {
            c.call("resume", &[]).ok();
        } else {
            thawed += 1;
        }
        counts_on(t, &c);
    }
    assert!(thawed > 0, "no moment was early enough");
}

/// SIGKILL.
fn pause_killed_at_any_moment_leaves_all_or_nothing(t: &Test) {
    all_or_nothing(t, Signal::SIGKILL);
}

/// As with the keyboard.
fn pause_interrupted_at_any_moment_leaves_all_or_nothing(t: &Test) {
    all_or_nothing(t, Signal::SIGINT);
}

/// The freezer is told to freeze, the command dies, and the container runs on.
fn pause_killed_halfway_is_undone(t: &Test) {
    t.only_teu("others leave a container half frozen");
    // So many that they need a moment to stop.
    let script = "n=0; while [ $n -lt 100 ]; do sleep 1000 & n=$((n+1)); done; echo up; wait";
    let c = t.bundle().sh(script).run_detached();
    c.wait_for_stdout("up");
    let mut undone = 0;
    // How often the kill is early enough is up to the scheduler.
    let deadline = Instant::now() + patience(Duration::from_secs(60));
    while Instant::now() < deadline {
        let mut running = t.cmd(["pause", &c.id]).spawn();
        let mut ended = false;
        while !ended && !freezer(&c.id).0 {
            ended = running.has_ended();
        }
        if !ended {
            running.signal(Signal::SIGKILL);
        }
        let out = running.wait();
        drop(hold_lock(t, &c.id));
        if freezer(&c.id).0 {
            // Too late: it was done.
            assert_eq!(freezer(&c.id), (true, true), "half frozen after {}", out.report());
            c.call("resume", &[]).ok();
        } else {
            assert_eq!((c.status().as_str(), out.signal), ("running", Some(9)), "{}", out.report());
            undone += 1;
        }
        if undone == 3 {
            return;
        }
    }
    panic!("undone {undone} times in a minute");
}

/// The process that stands by ends with the command.
fn pause_leaves_no_process_behind(t: &Test) {
    let c = counter(t);
    c.call("pause", &[]).ok();
    let left: Vec<_> =
        leaks::find_processes(&c.id).into_iter().filter(|(_, command)| command.contains("pause")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// It would freeze itself and never return.
fn pause_from_inside_the_cgroup_is_refused(t: &Test) {
    t.only_teu("others freeze themselves");
    let c = counter(t);
    let procs = cgroup::freezer(&c.id).0.join("cgroup.procs");
    let line = format!("echo $$ >{} && exec \"$@\"", procs.display());
    t.cmd(["pause", &c.id]).through(&line).run().fails(&["contains this very command"]);
    assert_eq!(c.status(), "running");
    counts_on(t, &c);
}

/// Two commands must not work on one container at a time.
fn pause_and_resume_wait_for_other_commands(t: &Test) {
    t.only_teu("the lock is its own");
    let c = counter(t);
    for (verb, status) in [("pause", "paused"), ("resume", "running")] {
        let lock = hold_lock(t, &c.id);
        let mut running = t.cmd([verb, &c.id]).spawn();
        std::thread::sleep(Duration::from_millis(100));
        assert!(!running.has_ended(), "{verb} did not wait");
        drop(lock);
        running.wait().ok();
        assert_eq!(c.status(), status);
    }
}
