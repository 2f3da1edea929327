//! `NOTIFY_SOCKET`: a service tells its supervisor that it is ready. Source: sd_notify(3).

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::supervisor::Supervisor;
use crate::harness::{Bundle, Cmd, Container, Test};

cases![
    program_has_a_socket_of_its_own,
    program_of_a_user_may_write_to_the_socket,
    without_a_supervisor_there_is_no_socket,
    foreground_run_tells_on_and_names_itself,
    detached_run_returns_when_the_program_is_ready,
    start_returns_when_the_program_is_ready,
    end_of_the_program_ends_the_waiting,
    container_that_is_waited_for_can_be_deleted,
    start_that_waits_can_be_killed,
    nothing_but_readiness_is_told_on,
    readiness_may_be_one_of_several_lines,
    barrier_of_the_program_is_answered,
    command_waits_until_the_supervisor_has_read,
    supervisor_may_have_an_abstract_socket,
    supervisor_that_is_gone_does_not_stop_the_container,
    start_with_a_supervisor_that_create_did_not_have_does_not_wait,
];

/// A program that says these things and then stays.
fn that_tells<'t>(t: &'t Test, messages: &[&str]) -> Bundle<'t> {
    t.bundle().sh(&format!("probe notify {}; sleep 1000", messages.join(" ")))
}

/// A program that says so once a file of this name appears at its root.
fn that_waits<'t>(t: &'t Test, name: &str) -> Bundle<'t> {
    let wait = format!("echo up; while [ ! -e /{name} ]; do usleep 1000; done");
    t.bundle().sh(&format!("{wait}; probe notify READY=1; sleep 1000"))
}

fn supervised<'t>(cmd: Cmd<'t>, by: &Supervisor) -> Cmd<'t> {
    cmd.env("NOTIFY_SOCKET", &by.address)
}

/// Hears what is told of one container: the pid of its main process.
#[track_caller]
fn hear_readiness(supervisor: &Supervisor) -> i32 {
    assert_eq!(supervisor.hear(), "READY=1");
    let main = supervisor.hear();
    let barrier = supervisor.next();
    assert_eq!((barrier.payload.as_slice(), barrier.fds.len()), (&b"BARRIER=1"[..], 1));
    main.strip_prefix("MAINPID=").and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("{main}"))
}

fn skip_crun(t: &Test) {
    t.skip_for("crun", "relays in another way, and only where it was built with systemd");
}

/// runc: the directory of the socket is mounted at /run/notify, so that the socket of the host is out of reach.
fn program_has_a_socket_of_its_own(t: &Test) {
    skip_crun(t);
    let supervisor = Supervisor::new(t);
    let script = "echo $NOTIFY_SOCKET; grep ' /run/notify ' /proc/self/mountinfo; stat -c %F%a /run/notify/notify.sock";
    let bundle = t.bundle().env(&["NOTIFY_SOCKET=/somewhere"]).sh(&format!("{script}; probe notify READY=1"));
    let running = supervised(bundle.run_cmd(), &supervisor).spawn();
    hear_readiness(&supervisor);
    let out = running.wait().ok();
    let lines = out.lines();
    assert_eq!((lines[0], lines[2]), ("/run/notify/notify.sock", "socket777"), "{}", out.report());
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        let options = lines[1].split(' ').nth(5).unwrap_or_default();
        assert!(options.split(',').any(|o| o == option), "{option}: {}", out.report());
    }
    assert!(!out.stdout.contains(&supervisor.address), "{}", out.report());
}

/// Services give up their privilege before they are ready. The umask of the caller is not theirs.
fn program_of_a_user_may_write_to_the_socket(t: &Test) {
    skip_crun(t);
    t.skip_for("runc", "makes the directory with the umask of the caller");
    let supervisor = Supervisor::new(t);
    let bundle = that_tells(t, &["READY=1"]).set("/process/user/uid", 1000).set("/process/user/gid", 1000);
    let out =
        supervised(bundle.call("run", &["--detach"]), &supervisor).through("umask 077; exec \"$@\"").spawn();
    assert!(hear_readiness(&supervisor) > 0);
    Container::new(t, bundle.id(), &out.wait().ok()).delete_force();
}

/// Neither when the variable is there and empty, as podman passes variables.
fn without_a_supervisor_there_is_no_socket(t: &Test) {
    let bundle = t.bundle().sh("echo \"[$NOTIFY_SOCKET]\"; ls /run/notify 2>&1 | tail -n 1");
    for cmd in [bundle.run_cmd(), bundle.run_cmd().env("NOTIFY_SOCKET", "")] {
        let out = cmd.run().ok();
        assert!(out.stdout.starts_with("[]\n") && out.stdout.contains("No such file"), "{}", out.report());
    }
}

/// runc: the supervisor looks after the process that stays in its cgroup and ends with the container.
fn foreground_run_tells_on_and_names_itself(t: &Test) {
    skip_crun(t);
    let supervisor = Supervisor::new(t);
    let bundle = that_tells(t, &["READY=1"]);
    let running = supervised(bundle.run_cmd(), &supervisor).spawn();
    assert_eq!(hear_readiness(&supervisor), running.pid());
    t.cmd(["kill", bundle.id(), "KILL"]).run().ok();
    running.wait().exits(137);
    assert!(supervisor.heard_all());
}

/// runc: `ExecStart=runtime run --detach` has ended when the service is ready.
fn detached_run_returns_when_the_program_is_ready(t: &Test) {
    skip_crun(t);
    let supervisor = Supervisor::new(t);
    let bundle = that_waits(t, "go");
    let pid_file = t.dir().join("pid");
    let options = ["--detach", "--pid-file", &pid_file.to_string_lossy()];
    let mut running = supervised(bundle.call("run", &options), &supervisor).spawn();
    running.wait_for_stdout("up");
    std::thread::sleep(Duration::from_millis(50));
    assert!(!running.has_ended() && supervisor.heard_all(), "it did not wait");
    assert!(pid_file.exists(), "the pid file comes first");
    fs::write(bundle.inside("/go"), "").unwrap();
    let main = hear_readiness(&supervisor);
    let c = Container::new(t, bundle.id(), &running.wait().ok());
    assert_eq!(c.pid(), main);
    c.delete_force();
}

/// runc: `create` mounts the directory, `start` listens.
fn start_returns_when_the_program_is_ready(t: &Test) {
    skip_crun(t);
    let supervisor = Supervisor::new(t);
    let bundle = that_waits(t, "go");
    let c = Container::new(t, bundle.id(), &supervised(bundle.call("create", &[]), &supervisor).run().ok());
    let mut running = supervised(t.cmd(["start", &c.id]), &supervisor).spawn();
    c.wait_for_stdout("up");
    std::thread::sleep(Duration::from_millis(50));
    assert!(!running.has_ended() && supervisor.heard_all(), "it did not wait");
    assert_eq!(c.status(), "running");
    fs::write(bundle.inside("/go"), "").unwrap();
    assert_eq!(hear_readiness(&supervisor), c.pid());
    running.wait().ok().silent();
    c.delete_force();
    assert!(!t.root().join(&c.id).exists());
}

/// Somebody would wait for ever.
fn end_of_the_program_ends_the_waiting(t: &Test) {
    skip_crun(t);
    t.skip_for("runc", "waits as long as nobody has reaped the program");
    let supervisor = Supervisor::new(t);
    let bundle = t.bundle().args(["true"]);
    supervised(bundle.call("run", &["--detach"]), &supervisor).run().ok();
    t.cmd(["delete", bundle.id()]).run().ok();
    assert!(supervisor.heard_all());
}

/// No lock is held while a service takes its time.
fn container_that_is_waited_for_can_be_deleted(t: &Test) {
    skip_crun(t);
    let supervisor = Supervisor::new(t);
    let bundle = that_waits(t, "never");
    let c = Container::new(t, bundle.id(), &supervised(bundle.call("create", &[]), &supervisor).run().ok());
    let running = supervised(t.cmd(["start", &c.id]), &supervisor).spawn();
    c.wait_for_stdout("up");
    c.delete_force();
    running.wait().ok();
}

/// The next command removes what the killed one has made.
fn start_that_waits_can_be_killed(t: &Test) {
    skip_crun(t);
    let supervisor = Supervisor::new(t);
    let bundle = that_waits(t, "never");
    let c = Container::new(t, bundle.id(), &supervised(bundle.call("create", &[]), &supervisor).run().ok());
    let running = supervised(t.cmd(["start", &c.id]), &supervisor).spawn();
    c.wait_for_stdout("up");
    running.signal(Signal::SIGKILL);
    let _ = running.wait();
    assert_eq!(c.status(), "running");
    c.delete_force();
    assert!(!t.root().join(&c.id).exists());
}

/// A container must not speak to the supervisor: it could name any process, or store descriptors.
fn nothing_but_readiness_is_told_on(t: &Test) {
    skip_crun(t);
    t.skip_for("runc", "tells on READY=0 too, and takes it for the answer");
    let supervisor = Supervisor::new(t);
    let bundle = that_tells(
        t,
        &["STATUS=up", "MAINPID=1", "READY=0", "FDSTORE=1", "READY=1", "READY=1", "STOPPING=1"],
    );
    let running = supervised(bundle.run_cmd(), &supervisor).spawn();
    running.wait_for_stdout("told");
    assert_eq!(hear_readiness(&supervisor), running.pid());
    t.cmd(["kill", bundle.id(), "KILL"]).run().ok();
    running.wait().exits(137);
    assert!(supervisor.heard_all());
}

/// sd_notify(3) sends several assignments in one message.
fn readiness_may_be_one_of_several_lines(t: &Test) {
    skip_crun(t);
    t.skip_for("runc", "looks at the first line alone");
    let supervisor = Supervisor::new(t);
    let bundle = that_tells(t, &["\"STATUS=up\nREADY=1\nMAINPID=1\""]);
    let running = supervised(bundle.run_cmd(), &supervisor).spawn();
    assert_eq!(hear_readiness(&supervisor), running.pid());
    t.cmd(["kill", bundle.id(), "KILL"]).run().ok();
    running.wait().exits(137);
    assert!(supervisor.heard_all());
}

/// sd_notify_barrier(3) waits until everything before it has been read, before and after the program is ready.
fn barrier_of_the_program_is_answered(t: &Test) {
    skip_crun(t);
    t.skip_for("runc", "does not read any more once the program is ready");
    let supervisor = Supervisor::new(t);
    let bundle =
        t.bundle().args(["probe", "notify", "BARRIER=1", "READY=1", "BARRIER=1", "STATUS=x", "BARRIER=1"]);
    let out = supervised(bundle.run_cmd(), &supervisor).spawn();
    hear_readiness(&supervisor);
    assert_eq!(out.wait().ok().stdout, "told\n");
}

/// sd_notify_barrier(3): systemd finds out who sent a message when it reads it, which is too late once we are gone.
fn command_waits_until_the_supervisor_has_read(t: &Test) {
    skip_crun(t);
    for options in [&["--detach"][..], &[]] {
        let supervisor = Supervisor::new(t);
        let bundle = t.bundle().args(["probe", "notify", "READY=1"]);
        let mut running = supervised(bundle.call("run", options), &supervisor).spawn();
        let (ready, main, barrier) = (supervisor.next(), supervisor.next(), supervisor.next());
        assert_eq!((ready.fds.len(), main.fds.len(), barrier.fds.len()), (0, 0, 1));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!running.has_ended(), "{options:?}: it did not wait");
        drop(barrier);
        running.wait().ok();
        if !options.is_empty() {
            t.cmd(["delete", "--force", bundle.id()]).run().ok();
        }
        fs::remove_file(&supervisor.address).unwrap();
    }
}

/// sd_notify(3): an address that starts with `@`.
fn supervisor_may_have_an_abstract_socket(t: &Test) {
    skip_crun(t);
    let supervisor = Supervisor::without_file(t);
    let bundle = that_tells(t, &["READY=1"]);
    let running = supervised(bundle.run_cmd(), &supervisor).spawn();
    assert_eq!(hear_readiness(&supervisor), running.pid());
    t.cmd(["kill", bundle.id(), "KILL"]).run().ok();
    running.wait().exits(137);
}

/// A shell that was started by a service has its variable for ever.
fn supervisor_that_is_gone_does_not_stop_the_container(t: &Test) {
    skip_crun(t);
    for address in ["/no/such/socket", "@nobody", "vsock:2:1", "nonsense"] {
        let bundle = t.bundle().args(["probe", "notify", "READY=1"]);
        let out = bundle.run_cmd().env("NOTIFY_SOCKET", address).run().ok();
        assert_eq!(out.stdout, "told\n", "{address}: {}", out.report());
        assert!(out.stderr.is_empty() && out.errors().is_empty(), "{address}: {}", out.report());
        if t.is("teu") {
            assert!(out.log_text.contains("warning") && out.log_text.contains(address), "{}", out.report());
        }
    }
}

/// Nothing of it leads into the container.
fn start_with_a_supervisor_that_create_did_not_have_does_not_wait(t: &Test) {
    t.only_teu("runc refuses to start, crun listens for nothing");
    let supervisor = Supervisor::new(t);
    let c = t.bundle().args(["sleep", "1000"]).create();
    supervised(t.cmd(["start", &c.id]), &supervisor).run().ok();
    assert_eq!(c.status(), "running");
    assert!(supervisor.heard_all());
}
