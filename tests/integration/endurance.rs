//! Much of everything: nothing is lost, and nobody works for nothing.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::harness::console::{ConsoleSocket, Person, Terminal};
use crate::harness::pattern::Checker;
use crate::harness::{Bundle, Test, patience};

cases![
    much_output_of_run_comes_through_a_terminal_that_changes_its_size,
    much_output_of_exec_comes_through_a_terminal_that_changes_its_size,
    much_output_comes_through_a_console_socket_that_changes_its_size,
    much_input_comes_through_a_terminal,
    command_without_anything_to_do_does_nothing,
    command_whose_output_nobody_reads_does_nothing,
    command_whose_terminal_was_closed_by_the_program_does_nothing,
    outer_terminal_is_restored_whatever_ends_the_container,
];

const MEGABYTES: usize = 200;

/// How long so much may take on a machine that does other things too; alone it is a few seconds.
const PATIENCE: Duration = Duration::from_secs(150);

/// A program that pours in raw mode, as one does that draws the whole screen.
const POUR: &str = "stty raw -echo; exec probe pour 200";

fn with_terminal(t: &Test) -> Bundle<'_> {
    t.bundle().set("/process/terminal", true)
}

/// Runs `work` while the size changes all the time.
fn in_a_storm(resize: impl Fn(u16, u16) + Sync, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for size in (0..100).cycle() {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                resize(20 + size, 80 + size);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        // Also when the work fails, or the storm would never end.
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _done = Done(&done);
        work();
    });
}

#[track_caller]
fn all_has_arrived(t: &Test, checker: &Arc<Mutex<Checker>>) {
    let length = || checker.lock().expect("no reader panics").length;
    t.until_within(PATIENCE, "the last byte", || length() >= MEGABYTES * 1024 * 1024);
    let checker = checker.lock().expect("no reader panics");
    assert_eq!((checker.length, checker.wrong), (MEGABYTES * 1024 * 1024, None));
}

/// `docker run -it` of a program with much to say, in a window that somebody drags.
fn much_output_of_run_comes_through_a_terminal_that_changes_its_size(t: &Test) {
    t.skip_for("crun", "loses the end");
    let (person, checker) = Person::checking();
    let bundle = with_terminal(t).sh(POUR);
    in_a_storm(
        |rows, columns| person.resize(rows, columns),
        || {
            person.call(bundle.run_cmd()).wait_within(patience(PATIENCE)).ok();
        },
    );
    all_has_arrived(t, &checker);
}

/// The same for `docker exec -it`.
fn much_output_of_exec_comes_through_a_terminal_that_changes_its_size(t: &Test) {
    t.skip_for("crun", "loses the end");
    let c = t.bundle().idle();
    let (person, checker) = Person::checking();
    in_a_storm(
        |rows, columns| person.resize(rows, columns),
        || {
            person.call(c.exec_cmd(&["--tty"], &["sh", "-c", POUR])).wait_within(patience(PATIENCE)).ok();
        },
    );
    all_has_arrived(t, &checker);
}

/// The same for an engine, which has the terminal itself.
fn much_output_comes_through_a_console_socket_that_changes_its_size(t: &Test) {
    let socket = ConsoleSocket::at(&t.dir().join("console"));
    let bundle = with_terminal(t).sh(POUR);
    bundle.call("create", &["--console-socket", &socket.path.to_string_lossy()]).run().ok();
    let master = socket.receive().fds.pop().expect("a terminal was sent");
    let (terminal, checker) = Terminal::checked(master);
    in_a_storm(
        |rows, columns| terminal.resize(rows, columns),
        || {
            t.cmd(["start", bundle.id()]).run().ok();
            all_has_arrived(t, &checker);
        },
    );
    t.until("the end", || t.cmd(["state", bundle.id()]).run().ok().json()["status"] == "stopped");
    t.cmd(["delete", bundle.id()]).run().ok();
}

/// A terminal takes what its reader has read; the rest waits with whoever types.
fn much_input_comes_through_a_terminal(t: &Test) {
    const LINES: usize = 50_000;
    let person = Person::at(24, 80);
    let script = format!("stty raw -echo; echo up; head -c {} >/typed; echo done", LINES * 80);
    let bundle = with_terminal(t).sh(&script);
    let running = person.call(bundle.run_cmd());
    person.terminal.wait_for(t, "up");
    let text: String = (0..LINES).map(|number| format!("{number:079}\n")).collect();
    person.terminal.type_text(&text);
    person.terminal.wait_for(t, "done");
    running.wait().ok();
    assert!(fs::read_to_string(bundle.inside("/typed")).unwrap() == text, "what arrived is something else");
}

/// The time that a process has worked, in hundredths of a second.
fn worked(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the command is still running");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    [fields[11], fields[12]].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// A process that spins works for all of the time; one that waits for none of it.
#[track_caller]
fn does_nothing(pid: i32) {
    let before = worked(pid);
    std::thread::sleep(Duration::from_millis(400));
    let ticks = worked(pid) - before;
    assert!(ticks <= 4, "it has worked for {ticks} hundredths of 40");
}

/// With a terminal and without, and when the standard input has ended.
fn command_without_anything_to_do_does_nothing(t: &Test) {
    let person = Person::at(24, 80);
    let (input, _) = std::io::pipe().unwrap();
    for (bundle, terminal) in [(with_terminal(t), true), (t.bundle(), false)] {
        let bundle = bundle.sh("echo up; exec sleep 1000");
        let running = match terminal {
            true => person.call(bundle.run_cmd()),
            false => bundle.run_cmd().stdin_fd(input.try_clone().unwrap().into()).spawn(),
        };
        match terminal {
            true => person.terminal.wait_for(t, "up"),
            false => running.wait_for_stdout("up"),
        }
        does_nothing(running.pid());
        t.cmd(["kill", bundle.id(), "KILL"]).run().ok();
        running.wait().exits(137);
    }
}

/// The reader of a pipeline has ended, the program goes on: what it says now and then is dropped.
fn command_whose_output_nobody_reads_does_nothing(t: &Test) {
    let bundle = with_terminal(t).sh("while :; do echo something; usleep 50000; done");
    let (reader, writer) = std::io::pipe().unwrap();
    let (input, _) = std::io::pipe().unwrap();
    let copy: OwnedFd = writer.try_clone().unwrap().into();
    let cmd = bundle.run_cmd().stdin_fd(input.into()).output_to(copy, writer.into());
    let running = cmd.spawn();
    t.until("the container", || t.cmd(["kill", bundle.id(), "0"]).run().code == Some(0));
    drop(reader);
    std::thread::sleep(Duration::from_millis(100));
    does_nothing(running.pid());
    t.cmd(["kill", bundle.id(), "KILL"]).run().ok();
    running.wait().exits(137);
}

/// The other side hangs up although the program runs.
fn command_whose_terminal_was_closed_by_the_program_does_nothing(t: &Test) {
    let person = Person::at(24, 80);
    let bundle = with_terminal(t).sh("echo up; exec sleep 1000 <&- >&- 2>&-");
    let running = person.call(bundle.run_cmd());
    person.terminal.wait_for(t, "up");
    std::thread::sleep(Duration::from_millis(100));
    person.terminal.type_text("nobody reads this");
    does_nothing(running.pid());
    t.cmd(["kill", bundle.id(), "KILL"]).run().ok();
    running.wait().exits(137);
}

/// By itself, by a signal from outside, by one that the command passes on, deleted by somebody else.
fn outer_terminal_is_restored_whatever_ends_the_container(t: &Test) {
    use nix::sys::signal::Signal;
    let person = Person::at(24, 80);
    let modes = || tcgetattr(person.slave.as_fd()).unwrap();
    let before = modes();
    for end in ["exit", "KILL", "TERM", "HUP", "QUIT", "delete", "missing program"] {
        let script = match end {
            "exit" => "echo up; read line",
            "missing program" => "",
            _ => "echo up; trap 'exit 1' TERM HUP QUIT; while :; do usleep 1000; done",
        };
        let bundle = match end {
            "missing program" => with_terminal(t).args(["nowhere"]),
            _ => with_terminal(t).sh(script),
        };
        let running = person.call(bundle.run_cmd());
        if end != "missing program" {
            t.until("raw mode", || !modes().local_flags.contains(LocalFlags::ICANON));
            t.until("the program", || t.cmd(["exec", bundle.id(), "true"]).run().code == Some(0));
        }
        match end {
            "exit" => person.terminal.type_text("\n"),
            "KILL" => drop(t.cmd(["kill", bundle.id(), "KILL"]).run().ok()),
            "TERM" => running.signal(Signal::SIGTERM),
            "HUP" => running.signal(Signal::SIGHUP),
            "QUIT" => running.signal(Signal::SIGQUIT),
            "delete" => drop(t.cmd(["delete", "--force", bundle.id()]).run().ok()),
            _ => {}
        }
        let out = running.wait();
        assert!(out.signal.is_none(), "{end}: {}", out.report());
        let now = modes();
        assert_eq!(
            (now.local_flags, now.output_flags, now.input_flags),
            (before.local_flags, before.output_flags, before.input_flags),
            "{end}"
        );
    }
}
