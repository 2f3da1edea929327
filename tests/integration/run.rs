//! `run`: create, start, wait and delete in one call.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Test, cgroup, patience};

cases![
    exit_code_of_the_program_is_the_exit_code_of_run,
    program_killed_by_a_signal_gives_128_and_its_number,
    nothing_remains_after_a_foreground_run,
    stdin_reaches_the_program_and_its_end_too,
    stdout_and_stderr_stay_apart,
    large_output_is_complete,
    standard_streams_are_passed_straight_through,
    signals_are_forwarded_to_the_program,
    every_forwarded_signal_arrives_as_itself,
    run_does_not_end_before_the_program,
    keep_leaves_the_container_for_delete,
    keep_leaves_the_cgroup_for_the_engine,
    detached_run_returns_while_the_program_runs,
    detached_run_is_never_deleted_by_itself,
    failing_run_leaves_nothing,
    pid_file_holds_the_pid_alone,
    pid_file_is_replaced_at_once,
    pid_file_that_cannot_be_written_is_an_error,
    relative_pid_file_is_relative_to_the_caller,
    refused_create_writes_no_pid_file,
    orphans_of_the_container_do_not_hold_run_back,
    orphans_are_reaped_by_run_and_not_without_subreaper,
    program_that_cannot_be_executed_gives_a_failure,
    directory_with_a_slash_is_a_bundle,
    engine_that_reads_until_the_end_is_not_held_by_a_detached_run,
];

/// runc: engines take the status of the program from the exit code.
fn exit_code_of_the_program_is_the_exit_code_of_run(t: &Test) {
    for code in [0, 1, 42, 255] {
        t.bundle().sh(&format!("exit {code}")).run().exits(code);
    }
}

/// runc: as a shell does.
fn program_killed_by_a_signal_gives_128_and_its_number(t: &Test) {
    for (name, number) in [("KILL", 9), ("TERM", 15)] {
        let bundle = t.bundle().without_namespace("pid").sh("echo up; sleep 100");
        let running = bundle.spawn();
        running.wait_for_stdout("up");
        t.cmd(["kill", bundle.id(), name]).run().ok();
        running.wait().exits(128 + number);
    }
}

/// runtime.md#delete.
fn nothing_remains_after_a_foreground_run(t: &Test) {
    let bundle = t.bundle().sh("exit 3");
    bundle.run().exits(3);
    assert!(!t.root().join(bundle.id()).exists(), "the state directory is still there");
    assert!(cgroup::find(bundle.id()).is_empty(), "left: {:?}", cgroup::find(bundle.id()));
    t.cmd(["state", bundle.id()]).run().fails(&["does not exist"]);
}

/// runc: `echo data | runc run`.
fn stdin_reaches_the_program_and_its_end_too(t: &Test) {
    let out = t.bundle().sh("cat; echo end").run_cmd().stdin("one\ntwo\n").run().ok();
    assert_eq!(out.stdout, "one\ntwo\nend\n");
}

/// Engines log the two streams apart.
fn stdout_and_stderr_stay_apart(t: &Test) {
    let out = t.bundle().sh("echo out; echo err >&2").run().ok();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("out\n", "err\n"));
}

/// What is still in a pipe when the program ends must not be lost.
fn large_output_is_complete(t: &Test) {
    let out = t.bundle().sh("seq 1 100000; seq 1 1000 >&2").run().ok();
    assert_eq!(out.lines().len(), 100_000);
    assert!(out.stdout.ends_with("\n100000\n"));
    assert_eq!(out.stderr.lines().count(), 1000);
}

/// The streams of a container without a terminal are the very files that the caller gave.
fn standard_streams_are_passed_straight_through(t: &Test) {
    // Differs from runc, which copies through pipes of its own when it runs in the foreground.
    t.only_teu("other runtimes copy the streams of a foreground run");
    let out = t.bundle().sh("readlink /proc/self/fd/1; readlink /proc/self/fd/2").run().ok();
    let expected = format!("{}\n{}\n", out.stdout_path.display(), out.stderr_path.display());
    // The files are outside the container, so their names may be told with another beginning.
    for (line, whole) in out.lines().iter().zip(expected.lines()) {
        assert!(whole.ends_with(line.trim_start_matches('/')) || line == &whole, "{line} is not {whole}");
    }
}

/// runc: a foreground run passes on what it gets, so that ctrl-c and `docker stop` work.
fn signals_are_forwarded_to_the_program(t: &Test) {
    let bundle = t.bundle().sh("trap 'echo got TERM; exit 7' TERM; echo up; while :; do usleep 5000; done");
    let running = bundle.spawn();
    running.wait_for_stdout("up");
    running.signal(Signal::SIGTERM);
    let out = running.wait().exits(7);
    assert_eq!(out.stdout, "up\ngot TERM\n");
}

/// runc: every signal that can be caught, but SIGCHLD, SIGWINCH and SIGURG.
fn every_forwarded_signal_arrives_as_itself(t: &Test) {
    use Signal::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};
    let script = "for s in HUP INT QUIT USR1 USR2 CONT; do trap \"echo got $s\" $s; done; trap 'exit 5' TERM; \
                  echo up; while :; do usleep 5000; done";
    let bundle = t.bundle().sh(script);
    let running = bundle.spawn();
    running.wait_for_stdout("up");
    let signals = [
        (SIGHUP, "HUP"),
        (SIGINT, "INT"),
        (SIGQUIT, "QUIT"),
        (SIGUSR1, "USR1"),
        (SIGUSR2, "USR2"),
        (SIGCONT, "CONT"),
    ];
    for (signal, name) in signals {
        running.signal(signal);
        running.wait_for_stdout(&format!("got {name}\n"));
    }
    running.signal(Signal::SIGTERM);
    running.wait().exits(5);
}

/// A foreground run lasts as long as the program.
fn run_does_not_end_before_the_program(t: &Test) {
    let bundle = t.bundle().sh("echo up; read line; exit 9");
    let (read, write) = std::io::pipe().unwrap();
    let mut running = bundle.run_cmd().stdin_fd(read.into()).spawn();
    running.wait_for_stdout("up");
    assert!(!running.has_ended(), "run has ended");
    drop(write);
    running.wait().exits(9);
}

/// BuildKit runs with `--keep` and deletes later.
fn keep_leaves_the_container_for_delete(t: &Test) {
    t.skip_older("runc", (1, 1), "has no --keep");
    t.skip_older("crun", (1, 15), "has no --keep");
    let bundle = t.bundle().sh("exit 4");
    bundle.call("run", &["--keep"]).run().exits(4);
    let state = t.cmd(["state", bundle.id()]).run().ok().json();
    assert_eq!((state["status"].as_str(), state["pid"].as_i64()), (Some("stopped"), Some(0)));
    t.cmd(["delete", bundle.id()]).run().ok();
}

/// BuildKit reads `memory.events` of the cgroup between the end of the run and the delete.
fn keep_leaves_the_cgroup_for_the_engine(t: &Test) {
    t.skip_older("runc", (1, 1), "has no --keep");
    t.skip_older("crun", (1, 15), "has no --keep");
    let bundle = t.bundle();
    bundle.call("run", &["--keep"]).run().ok();
    assert!(!cgroup::find(bundle.id()).is_empty(), "the cgroup is gone");
    t.cmd(["delete", bundle.id()]).run().ok();
    assert!(cgroup::find(bundle.id()).is_empty(), "left: {:?}", cgroup::find(bundle.id()));
}

/// runc.
fn detached_run_returns_while_the_program_runs(t: &Test) {
    let c = t.bundle().args(["sleep", "100"]).run_detached();
    assert_eq!(c.status(), "running");
}

/// runc: an engine wants to see how it ended.
fn detached_run_is_never_deleted_by_itself(t: &Test) {
    let c = t.bundle().run_detached();
    c.wait_stopped();
    assert_eq!(c.status(), "stopped");
}

/// runtime.md#errors.
fn failing_run_leaves_nothing(t: &Test) {
    for options in [&[][..], &["--detach"]] {
        let bundle = t.bundle().args(["/nowhere"]);
        bundle.call("run", options).run().fails(&["no such file or directory"]);
        assert!(!t.root().join(bundle.id()).exists(), "the state directory is still there");
        assert!(cgroup::find(bundle.id()).is_empty(), "left: {:?}", cgroup::find(bundle.id()));
    }
}

/// go-runc converts the whole file to a number: no newline.
fn pid_file_holds_the_pid_alone(t: &Test) {
    let path = t.dir().join("pid");
    let bundle = t.bundle().args(["sleep", "100"]);
    bundle.call("run", &["--detach", "--pid-file", &path.to_string_lossy()]).run().ok();
    let pid = t.cmd(["state", bundle.id()]).run().ok().json()["pid"].as_i64().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), pid.to_string());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o111, 0, "a pid file is no program");
}

/// Readers poll for the file, so it must never be seen empty; a stale one is in nobody's way.
fn pid_file_is_replaced_at_once(t: &Test) {
    let path = t.make_file("pid", "stale and longer than a pid");
    let before = fs::metadata(&path).unwrap();
    let bundle = t.bundle();
    bundle.call("create", &["--pid-file", &path.to_string_lossy()]).run().ok();
    let pid = t.cmd(["state", bundle.id()]).run().ok().json()["pid"].as_i64().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), pid.to_string());
    if t.is("teu") {
        use std::os::unix::fs::MetadataExt;
        assert_ne!(fs::metadata(&path).unwrap().ino(), before.ino(), "the file was written in place");
    }
}

/// An engine that waits for the file must be told.
fn pid_file_that_cannot_be_written_is_an_error(t: &Test) {
    let path = t.dir().join("nowhere/pid");
    let bundle = t.bundle();
    let out = bundle.call("create", &["--pid-file", &path.to_string_lossy()]).run().fails(&[]);
    assert!(out.message().contains("pid"), "{}", out.report());
    assert!(!t.root().join(bundle.id()).exists(), "the container is still there");
}

/// runc.
fn relative_pid_file_is_relative_to_the_caller(t: &Test) {
    let here = t.make_dir("here");
    t.bundle().call("create", &["--pid-file", "pid"]).in_dir(&here).run().ok();
    assert!(here.join("pid").exists(), "there is no pid file beside the caller");
}

/// conmon takes the file for success.
fn refused_create_writes_no_pid_file(t: &Test) {
    let path = t.dir().join("pid");
    t.bundle().args(["/nowhere"]).call("create", &["--pid-file", &path.to_string_lossy()]).run().fails(&[]);
    assert!(!path.exists(), "there is a pid file");
}

/// A daemon that outlives init in the host's pid namespace ends with the container.
fn orphans_of_the_container_do_not_hold_run_back(t: &Test) {
    t.skip_older("runc", (1, 2), "waits for the pipes that the orphan holds");
    t.skip_for("crun", "leaves the orphan");
    let out = t.bundle().without_namespace("pid").sh("sleep 1000 & exit 6").run().exits(6);
    assert!(out.elapsed < patience(Duration::from_secs(8)), "{}", out.report());
}

/// runtime.md#start.
fn program_that_cannot_be_executed_gives_a_failure(t: &Test) {
    let bundle = t.bundle().script("/bin/broken", "#!/no/such/interpreter\n").args(["/bin/broken"]);
    let out = bundle.run();
    assert!(out.code.is_some_and(|code| code != 0), "{}", out.report());
    assert!(out.message().to_lowercase().contains("no such file or directory"), "{}", out.report());
    assert!(!t.root().join(bundle.id()).exists(), "the state directory is still there");
}

/// `teu run BUNDLE/`: a person need not think of an id.
fn directory_with_a_slash_is_a_bundle(t: &Test) {
    t.only_teu("only teu takes a directory in place of the id");
    let bundle = t.bundle().unset("/linux/cgroupsPath").sh("echo by name");
    bundle.write();
    let path = format!("{}/", bundle.dir().display());
    assert_eq!(t.cmd(["run", &path]).run().ok().stdout, "by name\n");
}

/// containerd reads both streams of `create` to their end: nobody but the container may hold them.
fn engine_that_reads_until_the_end_is_not_held_by_a_detached_run(t: &Test) {
    use std::io::Read;
    let (mut read, write) = std::io::pipe().unwrap();
    let bundle = t.bundle().sh("exec >/dev/null 2>&1 </dev/null; sleep 100");
    let second = write.try_clone().unwrap();
    bundle.call("run", &["--detach"]).output_to(write.into(), second.into()).run().ok();
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    assert_eq!(t.cmd(["state", bundle.id()]).run().ok().json()["status"], "running");
    assert_eq!(text, "");
}

/// prctl(2), PR_SET_CHILD_SUBREAPER: what the program has left behind becomes a child of `run`, which reaps it.
fn orphans_are_reaped_by_run_and_not_without_subreaper(t: &Test) {
    let children =
        |pid: i32| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for (options, adopts) in [(&[][..], true), (&["--no-subreaper"], false)] {
        if t.is("crun") && !adopts {
            continue;
        }
        let script = "(sh -c 'while [ ! -e /go ]; do usleep 1000; done' &); echo up; exec sleep 1000";
        let bundle = t.bundle().without_namespace("pid").sh(script);
        let running = bundle.call("run", options).spawn();
        running.wait_for_stdout("up");
        let count = || children(running.pid()).split_whitespace().count();
        t.until("the orphan's parent", || count() == if adopts { 2 } else { 1 });
        fs::write(bundle.inside("/go"), "").unwrap();
        t.until("the end of the orphan", || count() == 1);
        t.cmd(["kill", bundle.id(), "KILL"]).run().ok();
        running.wait().exits(137);
    }
}
