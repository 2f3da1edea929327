//! `kill`: a signal to the container.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Test, cgroup, leaks};

cases![
    signal_is_that_of_the_image_when_none_is_given,
    signal_is_sigterm_when_none_is_given,
    signal_may_be_a_number_or_a_name_in_any_spelling,
    unknown_signal_is_refused,
    signal_zero_probes,
    real_time_signal_is_delivered_by_number,
    kill_of_a_stopped_container_is_refused,
    kill_of_an_unknown_container_is_refused,
    kill_of_a_created_container_stops_it,
    signal_goes_to_init_alone,
    death_of_init_takes_its_pid_namespace_along,
    sigkill_without_a_private_pid_namespace_reaches_every_process,
    processes_that_outlive_init_are_reached_by_sigkill_and_delete,
    signal_for_all_reaches_init_without_a_cgroup,
    all_is_accepted,
    sigkill_works_on_a_frozen_container,
    too_many_arguments_are_refused,
];

/// runc: buildah calls `kill ID`, which means SIGTERM.
fn signal_is_sigterm_when_none_is_given(t: &Test) {
    let c = t
        .bundle()
        .sh("trap 'echo got TERM; exit' TERM; echo up; while :; do usleep 10000; done")
        .run_detached();
    c.wait_for_stdout("up");
    c.call("kill", &[]).ok().silent();
    c.wait_stopped();
    assert_eq!(c.stdout(), "up\ngot TERM\n");
}

/// config.md#annotations, `org.opencontainers.image.stopSignal`.
fn signal_is_that_of_the_image_when_none_is_given(t: &Test) {
    t.only_teu("others send SIGTERM whatever the image wants");
    let script =
        "for s in TERM QUIT USR1; do trap \"echo got $s\" $s; done; echo up; while :; do usleep 5000; done";
    for (signal, got) in [("SIGQUIT", "got QUIT\n"), ("10", "got USR1\n")] {
        let bundle = t.bundle().set("/annotations/org.opencontainers.image.stopSignal", signal);
        let c = bundle.sh(script).run_detached();
        c.wait_for_stdout("up");
        c.call("kill", &[]).ok().silent();
        c.wait_for_stdout(got);
        // Who names a signal means it.
        c.kill("TERM");
        c.wait_for_stdout("got TERM\n");
        c.delete_force();
    }
}

/// runtime.md#kill: the spelling is the runtime's; engines use numbers, people use names.
fn signal_may_be_a_number_or_a_name_in_any_spelling(t: &Test) {
    let script = "n=0; trap 'n=$((n+1)); echo got $n' USR1; echo up; while :; do usleep 5000; done";
    let c = t.bundle().sh(script).run_detached();
    c.wait_for_stdout("up");
    for (count, signal) in ["10", "USR1", "SIGUSR1", "usr1", "SigUsr1"].iter().enumerate() {
        if t.is_older("crun", 1, 9) && signal.chars().any(char::is_lowercase) {
            break;
        }
        c.kill(signal);
        c.wait_for_stdout(&format!("got {}\n", count + 1));
    }
}

/// runtime.md#kill.
fn unknown_signal_is_refused(t: &Test) {
    t.skip_older("crun", (1, 9), "takes any word as a signal");
    let c = t.bundle().args(["sleep", "100"]).run_detached();
    for signal in ["NOSUCH", "", "9x", "SIG", "1 2", "-1", "999"] {
        if t.is("runc") && matches!(signal, "-1" | "999" | "") {
            // runc: any number is a signal until the kernel refuses it, and nothing is SIGTERM.
            continue;
        }
        t.cmd(["kill", &c.id, signal]).run().fails(&[]);
    }
    assert_eq!(c.status(), "running");
    let out = c.try_kill("NOSUCH").fails(&["unknown signal"]);
    assert_eq!(out.code, Some(1));
}

/// kill(2): signal 0 only asks whether the process is there.
fn signal_zero_probes(t: &Test) {
    let c = t.bundle().args(["sleep", "100"]).run_detached();
    c.kill("0");
    assert_eq!(c.status(), "running");
}

/// signal(7): engines send real-time signals (systemd's SIGRTMIN+3) by number.
fn real_time_signal_is_delivered_by_number(t: &Test) {
    let c = t.bundle().sh("trap 'echo got it' 37; echo up; while :; do usleep 5000; done").run_detached();
    c.wait_for_stdout("up");
    c.kill("37");
    c.wait_for_stdout("got it");
}

/// runtime.md#kill: containerd and CRI-O look for these words.
fn kill_of_a_stopped_container_is_refused(t: &Test) {
    let c = t.bundle().run_detached();
    c.wait_stopped();
    for signal in ["KILL", "TERM", "0"] {
        let out = c.try_kill(signal).fails(&["container not running"]);
        assert_eq!(out.code, Some(1));
    }
}

/// runtime.md#kill: these words too.
fn kill_of_an_unknown_container_is_refused(t: &Test) {
    let out = t.cmd(["kill", "unknown", "KILL"]).run().fails(&["does not exist"]);
    assert_eq!(out.code, Some(1));
}

/// runtime.md#kill: a created container can be signalled.
fn kill_of_a_created_container_stops_it(t: &Test) {
    let c = t.bundle().sh("echo ran").create();
    c.kill("KILL");
    c.wait_stopped();
    assert_eq!(c.stdout(), "");
}

/// runtime.md#kill: the signal is for the container process; its children are its own business.
fn signal_goes_to_init_alone(t: &Test) {
    let script = "(trap 'echo child' USR1; echo ready; while :; do usleep 5000; done) & \
                  trap 'echo init; kill -TERM $!; exit' USR1; while :; do usleep 5000; done";
    let c = t.bundle().sh(script).run_detached();
    c.wait_for_stdout("ready");
    std::thread::sleep(std::time::Duration::from_millis(50));
    c.kill("USR1");
    c.wait_stopped();
    assert_eq!(c.stdout(), "ready\ninit\n");
}

/// pid_namespaces(7): when init dies the kernel kills the rest.
fn death_of_init_takes_its_pid_namespace_along(t: &Test) {
    let c = t.bundle().sh("sleep 1000 & sleep 1000 & echo up; wait").run_detached();
    c.wait_for_stdout("up");
    let dir = cgroup::freezer(&c.id).0;
    t.until("three processes", || cgroup::procs(&dir).len() == 3);
    c.kill("KILL");
    c.wait_stopped();
    t.until("no process", || cgroup::procs(&dir).is_empty());
}

/// Without a pid namespace nothing but the cgroup tells which processes are the container's.
fn sigkill_without_a_private_pid_namespace_reaches_every_process(t: &Test) {
    t.skip_older("runc", (1, 2), "kills init alone unless --all is given");
    t.skip_for("crun", "kills init alone unless --all is given");
    let c = t.bundle().without_namespace("pid").sh("sleep 1000 & sleep 1000 & echo up; wait").run_detached();
    c.wait_for_stdout("up");
    let dir = cgroup::freezer(&c.id).0;
    t.until("three processes", || cgroup::procs(&dir).len() == 3);
    c.kill("KILL");
    c.wait_stopped();
    t.until("no process", || cgroup::procs(&dir).is_empty());
}

/// Somebody else may kill init; what `exec` has started beside it still belongs to the container.
fn processes_that_outlive_init_are_reached_by_sigkill_and_delete(t: &Test) {
    t.skip_older("runc", (1, 2), "kills init alone unless --all is given");
    t.skip_for("crun", "kills init alone unless --all is given");
    for signal in [true, false] {
        let c = t.bundle().without_namespace("pid").idle();
        for _ in 0..5 {
            c.exec(&["--detach"], &["sleep", "1000"]).ok();
        }
        let dir = cgroup::freezer(&c.id).0;
        assert_eq!(cgroup::procs(&dir).len(), 6);
        kill(Pid::from_raw(c.pid()), Signal::SIGKILL).unwrap();
        c.wait_stopped();
        t.until("the others alone", || cgroup::procs(&dir).len() == 5);
        if signal {
            c.kill("KILL");
            t.until("no process", || cgroup::procs(&dir).is_empty());
        }
        c.delete();
        t.until("no process anywhere", || leaks::find_processes(&c.id).is_empty());
        assert!(cgroup::find(&c.id).is_empty(), "left: {:?}", cgroup::find(&c.id));
    }
}

/// On version 1 an unprivileged user has none.
fn signal_for_all_reaches_init_without_a_cgroup(t: &Test) {
    for options in [&["KILL"][..], &["--all", "KILL"]] {
        let c = t.bundle().without_namespace("pid").args(["sleep", "1000"]).run_detached();
        let words = options.iter().fold(t.cmd(["kill"]), |cmd, word| match *word {
            "KILL" => cmd.arg(&c.id).arg("KILL"),
            option => cmd.arg(option),
        });
        words.run().ok();
        c.wait_stopped();
        c.delete();
    }
}

/// runc: `--all` is obsolete but engines send it, also to a container that has stopped.
fn all_is_accepted(t: &Test) {
    let c = t.bundle().without_namespace("pid").sh("sleep 1000 & echo up; wait").run_detached();
    c.wait_for_stdout("up");
    t.cmd(["kill", "--all", &c.id, "9"]).run().ok();
    c.wait_stopped();
    if !t.is("crun") {
        t.cmd(["kill", "-a", &c.id, "KILL"]).run().ok();
    }
    c.delete();
}

/// A frozen version 1 cgroup holds even SIGKILL back, so the runtime has to thaw it.
fn sigkill_works_on_a_frozen_container(t: &Test) {
    let c = t.bundle().args(["sleep", "100"]).run_detached();
    let pid = c.pid();
    cgroup::freeze(&c.id, true);
    let out = c.try_kill("KILL");
    if t.is("crun") || t.is_older("runc", 1, 2) {
        // Those leave a version 1 cgroup frozen.
        cgroup::freeze(&c.id, false);
    }
    out.ok();
    t.until("init to die", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    c.wait_stopped();
}

/// A mistyped call must not send a signal.
fn too_many_arguments_are_refused(t: &Test) {
    let c = t.bundle().args(["sleep", "100"]).run_detached();
    t.cmd(["kill", &c.id, "KILL", "extra"]).run().fails(&[]);
    assert_eq!(c.status(), "running");
}
