//! `start`: the program of a created container runs.

use std::fs;

use crate::harness::Test;

cases![
    start_runs_the_program_to_its_end,
    start_twice_is_refused_without_effect,
    start_of_a_stopped_container_is_refused,
    refused_start_runs_no_hook,
    start_of_an_unknown_container_is_refused,
    start_of_a_container_killed_before_start_is_refused,
    start_succeeds_when_the_program_ends_at_once,
    start_returns_after_the_program_was_executed,
    start_reports_an_execve_that_fails,
    fifo_exists_while_the_container_waits,
    start_is_silent,
    concurrent_starts_run_the_program_once,
];

/// runtime.md#start: created becomes running, the end of the program makes it stopped.
fn start_runs_the_program_to_its_end(t: &Test) {
    let c = t.bundle().sh("echo up; read line; echo down").create();
    c.start();
    c.wait_for_stdout("down");
    c.wait_stopped();
    assert_eq!(c.stdout(), "up\ndown\n");
}

/// runtime.md#start: anything but `created` is an error, with no effect on the container.
fn start_twice_is_refused_without_effect(t: &Test) {
    let c = t.bundle().sh("echo once; sleep 100").create();
    c.start();
    c.wait_for_stdout("once");
    let pid = c.pid();
    c.call("start", &[]).fails(&["cannot start an already running container"]);
    assert_eq!((c.status(), c.pid(), c.stdout()), ("running".into(), pid, "once\n".into()));
}

/// runtime.md#start.
fn start_of_a_stopped_container_is_refused(t: &Test) {
    let c = t.bundle().sh("echo once").run_detached();
    c.wait_stopped();
    c.call("start", &[]).fails(&["cannot start a container that has stopped"]);
    assert_eq!((c.status(), c.stdout()), ("stopped".into(), "once\n".into()));
}

/// runtime.md#start: no effect on the container, so hooks run once.
fn refused_start_runs_no_hook(t: &Test) {
    let shared = t.make_dir("shared");
    let bundle = t.bundle().bind(&shared, "/shared", &["bind"]).args(["sleep", "100"]);
    let bundle = bundle.hook("startContainer", "echo x >>/shared/inside");
    let c = bundle.hook("poststart", &format!("echo x >>{}/outside", shared.display())).create();
    c.start();
    c.call("start", &[]).fails(&[]);
    c.kill("KILL");
    c.wait_stopped();
    c.call("start", &[]).fails(&[]);
    for file in ["inside", "outside"] {
        assert_eq!(fs::read_to_string(shared.join(file)).unwrap(), "x\n", "{file}");
    }
}

/// runtime.md#start; engines look for these words.
fn start_of_an_unknown_container_is_refused(t: &Test) {
    let out = t.cmd(["start", "unknown"]).run().fails(&["does not exist"]);
    assert!(out.stdout.is_empty(), "{}", out.report());
}

/// runtime.md#lifecycle: a created container that dies is stopped.
fn start_of_a_container_killed_before_start_is_refused(t: &Test) {
    let c = t.bundle().sh("echo ran").create();
    c.kill("KILL");
    c.wait_stopped();
    c.call("start", &[]).fails(&["cannot start a container that has stopped"]);
    assert_eq!(c.stdout(), "");
    c.delete();
}

/// runc: a program that has ended by the time `start` returns has still been started.
fn start_succeeds_when_the_program_ends_at_once(t: &Test) {
    for status in ["0", "1"] {
        let c = t.bundle().sh(&format!("exit {status}")).create();
        c.start();
        c.wait_stopped();
        c.delete();
    }
}

/// runtime.md#lifecycle step 8: after `start` the process is the program, not the runtime.
fn start_returns_after_the_program_was_executed(t: &Test) {
    let c = t.bundle().args(["sleep", "12345"]).create();
    let pid = c.pid();
    c.start();
    let command = || fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if t.is("teu") {
        // Differs from runc, whose `start` returns when init has been released.
        assert_eq!(command(), "sleep\x0012345\0");
    } else {
        t.until("the program to be executed", || command() == "sleep\x0012345\0");
    }
}

/// runtime.md#start: when the program cannot be run, `start` must say so.
fn start_reports_an_execve_that_fails(t: &Test) {
    for (script, reason) in
        [("#!/no/such/interpreter\n", "no such file or directory"), ("", "exec format error")]
    {
        let c = t.bundle().script("/bin/broken", script).args(["/bin/broken"]).create();
        let out = c.call("start", &[]);
        if t.is("teu") {
            out.fails(&["/bin/broken", reason]);
        } else {
            // runc: `start` has returned by then; only the container's own stderr tells.
            t.until("init to end", || c.status() == "stopped");
            assert!(c.stderr().to_lowercase().contains(reason), "stderr: {}", c.stderr());
        }
        c.wait_stopped();
        c.delete();
    }
}

/// runc: programs watch for `exec.fifo`, which is there while, and only while, the container waits.
fn fifo_exists_while_the_container_waits(t: &Test) {
    use std::os::unix::fs::FileTypeExt;
    let c = t.bundle().args(["sleep", "100"]).create();
    let fifo = t.root().join(&c.id).join("exec.fifo");
    // Differs from runc: a socket of that name, so that `start` hears what became of the program.
    let is_gate = |kind: fs::FileType| if t.is("teu") { kind.is_socket() } else { kind.is_fifo() };
    assert!(
        fs::symlink_metadata(&fifo).is_ok_and(|m| is_gate(m.file_type())),
        "no gate at {}",
        fifo.display()
    );
    c.start();
    assert!(!fifo.exists(), "the fifo is still there");
}

/// Engines capture both streams of `create` and `start`; a successful call prints nothing.
fn start_is_silent(t: &Test) {
    let c = t.bundle().args(["sleep", "100"]).create();
    c.call("start", &[]).ok().silent();
    c.try_kill("KILL").ok().silent();
    c.wait_stopped();
    c.call("delete", &[]).ok().silent();
}

/// runtime.md#start: only one caller can start a container.
fn concurrent_starts_run_the_program_once(t: &Test) {
    t.skip_older("runc", (1, 2), "lets the second caller wait on the fifo for ever");
    let c = t.bundle().sh("echo once; sleep 100").create();
    let calls: Vec<_> = (0..4).map(|_| t.cmd(["start", &c.id]).spawn()).collect();
    let ended: Vec<_> = calls.into_iter().map(|call| call.wait()).collect();
    let started = ended.iter().filter(|out| out.code == Some(0)).count();
    assert_eq!(started, 1, "{}", ended.iter().map(|out| out.report()).collect::<String>());
    c.wait_for_stdout("once");
    assert_eq!((c.status(), c.stdout()), ("running".into(), "once\n".into()));
}
