//! `exec` with a terminal: that of a person, and that of an engine.

use std::fs;
use std::os::fd::AsFd;

use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, OutputFlags, tcgetattr};
use serde_json::json;

use crate::harness::console::{ConsoleSocket, Person, Terminal};
use crate::harness::{Container, HOSTILE, Test};

cases![
    foreground_exec_relays_the_terminal,
    program_sees_the_size_of_the_outer_terminal_at_once,
    size_of_a_process_file_is_set,
    foreground_exec_follows_size_changes,
    outer_terminal_is_restored,
    outer_terminal_is_restored_when_exec_fails,
    exit_code_comes_through_a_foreground_terminal,
    interrupt_key_signals_the_program,
    large_output_comes_through_completely,
    terminal_of_the_config_does_not_count,
    console_socket_gets_one_message_with_one_descriptor,
    terminal_is_the_controlling_one,
    terminal_belongs_to_the_user,
    terminal_in_a_user_namespace_works,
    console_of_the_container_is_left_alone,
    terminal_hangs_up_when_the_process_ends,
    detached_terminal_needs_a_console_socket,
    console_socket_without_detached_terminal_is_refused,
    error_with_a_terminal_reaches_the_caller,
    container_without_devpts_gets_no_terminal,
    fake_devpts_of_the_container_is_refused,
];

fn attached<'t>(c: &Container<'t>, script: &str) -> crate::harness::Cmd<'t> {
    c.exec_cmd(&["--tty"], &["sh", "-c", script])
}

/// `docker exec -it`.
fn foreground_exec_relays_the_terminal(t: &Test) {
    let c = t.bundle().idle();
    let person = Person::at(24, 80);
    let running = person.call(attached(&c, "tty; read line; echo got $line"));
    person.terminal.wait_for(t, "/dev/pts/0");
    person.terminal.type_text("hello\n");
    person.terminal.wait_for(t, "got hello");
    running.wait().ok();
}

/// A program asks once, at its start.
fn program_sees_the_size_of_the_outer_terminal_at_once(t: &Test) {
    let c = t.bundle().idle();
    let person = Person::at(33, 99);
    let script = if t.is("teu") { "stty size" } else { "usleep 200000; stty size" };
    let running = person.call(attached(&c, script));
    person.terminal.wait_for(t, "33 99");
    running.wait().ok();
}

/// config.md#process: `consoleSize`.
fn size_of_a_process_file_is_set(t: &Test) {
    let c = t.bundle().idle();
    let process = json!({
        "args": ["/bin/stty", "size"], "cwd": "/", "user": {}, "terminal": true,
        "consoleSize": { "height": 11, "width": 123 },
    });
    let file = t.make_file("process.json", process.to_string()).to_string_lossy().into_owned();
    let (terminal, _) = console(t, &c, &["-p", &file], &[]);
    terminal.wait_for(t, "11 123");
}

/// SIGWINCH.
fn foreground_exec_follows_size_changes(t: &Test) {
    let c = t.bundle().idle();
    let person = Person::at(24, 80);
    let running = person.call(attached(&c, "trap 'stty size' WINCH; echo up; while :; do usleep 5000; done"));
    person.terminal.wait_for(t, "up");
    person.resize(40, 132);
    running.signal(Signal::SIGWINCH);
    person.terminal.wait_for(t, "40 132");
    running.signal(Signal::SIGKILL);
}

/// A shell must be usable afterwards, whatever ended the program.
fn outer_terminal_is_restored(t: &Test) {
    let c = t.bundle().idle();
    let person = Person::at(24, 80);
    let modes = || tcgetattr(person.slave.as_fd()).unwrap();
    let before = modes();
    let running = person.call(attached(&c, "echo up; read line; kill -9 $$"));
    person.terminal.wait_for(t, "up");
    t.until("raw mode", || !modes().local_flags.contains(LocalFlags::ICANON));
    person.terminal.type_text("\n");
    running.wait().exits(137);
    assert_eq!((modes().local_flags, modes().output_flags), (before.local_flags, before.output_flags));
    assert!(modes().output_flags.contains(OutputFlags::OPOST));
}

/// Also when there never was a program.
fn outer_terminal_is_restored_when_exec_fails(t: &Test) {
    let c = t.bundle().idle();
    let person = Person::at(24, 80);
    let modes = || tcgetattr(person.slave.as_fd()).unwrap();
    let before = modes();
    let out = person.call(c.exec_cmd(&["-t"], &["nowhere"])).wait();
    assert!(out.code.is_some_and(|code| code != 0), "{}", out.report());
    assert_eq!((modes().local_flags, modes().output_flags), (before.local_flags, before.output_flags));
    person.terminal.wait_for(t, "nowhere");
}

/// The status is that of the program.
fn exit_code_comes_through_a_foreground_terminal(t: &Test) {
    let c = t.bundle().idle();
    Person::at(24, 80).call(attached(&c, "exit 17")).wait().exits(17);
}

/// termios(3): VINTR.
fn interrupt_key_signals_the_program(t: &Test) {
    let c = t.bundle().idle();
    let person = Person::at(24, 80);
    let script = "trap 'echo interrupted; exit 3' INT; echo up; while :; do usleep 5000; done";
    let running = person.call(attached(&c, script));
    person.terminal.wait_for(t, "up");
    person.terminal.type_text("\u{3}");
    person.terminal.wait_for(t, "interrupted");
    running.wait().exits(3);
}

/// Nothing is lost, neither in between nor at the end.
fn large_output_comes_through_completely(t: &Test) {
    let c = t.bundle().idle();
    let person = Person::at(24, 80);
    person.call(attached(&c, "seq 1 200000; echo last")).wait().ok();
    person.terminal.wait_for(t, "last");
    let text = person.terminal.text().replace('\r', "");
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).chain(["last\n".to_owned()]).collect();
    assert!(text == expected, "{} bytes instead of {}", text.len(), expected.len());
}

/// runc: `exec` asks for its own.
fn terminal_of_the_config_does_not_count(t: &Test) {
    let socket = ConsoleSocket::at(&t.dir().join("console"));
    let bundle = t.bundle().set("/process/terminal", true).args(["sleep", "1000"]);
    let out = bundle.call("run", &["-d", "--console-socket", &socket.path.to_string_lossy()]).run().ok();
    let held = socket.receive();
    let c = Container::new(t, bundle.id(), &out);
    let out = c.exec_sh(&[], "[ -t 0 ] || [ -t 1 ] || echo none").ok();
    assert_eq!(out.stdout, "none\n");
    drop(held);
}

/// A detached exec as engines make it: the terminal, and the payload of the message.
fn console(t: &Test, c: &Container, options: &[&str], command: &[&str]) -> (Terminal, Vec<u8>) {
    let socket = ConsoleSocket::at(&t.dir().join(format!("console{}", t.next_number())));
    let path = socket.path.to_string_lossy().into_owned();
    let all: Vec<&str> =
        ["--detach", "--console-socket", &path].into_iter().chain(options.iter().copied()).collect();
    c.exec(&all, command).ok().silent();
    // Engines accept only after the runtime has ended.
    let mut received = socket.receive();
    assert_eq!(received.fds.len(), 1);
    (Terminal::from_master(received.fds.remove(0)), received.payload)
}

/// go-runc and conmon insist on it.
fn console_socket_gets_one_message_with_one_descriptor(t: &Test) {
    let c = t.bundle().idle();
    let script = "tty; for i in 0 1 2; do readlink /proc/self/fd/$i; done; echo end; sleep 1000";
    let (terminal, payload) = console(t, &c, &["-t"], &["sh", "-c", script]);
    assert!(!payload.is_empty() && payload.len() < 4096);
    terminal.wait_for(t, "end");
    assert_eq!(terminal.text().matches("/dev/pts/0").count(), 4, "{}", terminal.text());
}

/// setsid(2), TIOCSCTTY.
fn terminal_is_the_controlling_one(t: &Test) {
    let c = t.bundle().idle();
    let (terminal, _) =
        console(t, &c, &["-t"], &["sh", "-c", "echo through >/dev/tty; read line; echo got $line"]);
    terminal.wait_for(t, "through");
    terminal.type_text("typed\n");
    terminal.wait_for(t, "got typed");
}

/// An ordinary user must be able to open it again; the group is that of the devpts.
fn terminal_belongs_to_the_user(t: &Test) {
    let c = t.bundle().idle();
    let script = "stat -c '%u:%g %a' $(tty); echo again >$(tty); sleep 1000";
    let (terminal, _) = console(t, &c, &["-t", "-u", "1000:1000"], &["sh", "-c", script]);
    terminal.wait_for(t, "again");
    assert!(terminal.text().starts_with("1000:5 620"), "{}", terminal.text());
}

/// The owner of the terminal is one that the user namespace knows.
fn terminal_in_a_user_namespace_works(t: &Test) {
    let c = t.bundle().in_user_namespace().idle();
    for (user, owner) in [("0", "0:5 620"), ("1000", "1000:5 620")] {
        let script = "stat -c '%u:%g %a' $(tty); echo again >$(tty); sleep 1000";
        let (terminal, _) = console(t, &c, &["-t", "-u", user], &["sh", "-c", script]);
        terminal.wait_for(t, "again");
        assert!(terminal.text().starts_with(owner), "{}", terminal.text());
    }
}

/// /dev/console is the terminal of the first process.
fn console_of_the_container_is_left_alone(t: &Test) {
    let c = t.bundle().idle();
    let (terminal, _) =
        console(t, &c, &["-t"], &["sh", "-c", "[ -e /dev/console ] || echo none; sleep 1000"]);
    terminal.wait_for(t, "none");
    assert!(!fs::read_to_string(format!("/proc/{}/mountinfo", c.pid())).unwrap().contains("/dev/console"));
}

/// Nobody else holds the other side.
fn terminal_hangs_up_when_the_process_ends(t: &Test) {
    let c = t.bundle().idle();
    let (terminal, _) = console(t, &c, &["-t"], &["sh", "-c", "echo up; read line"]);
    terminal.wait_for(t, "up");
    assert!(!terminal.is_hung_up());
    terminal.type_text("\n");
    t.until("the hang-up", || terminal.is_hung_up());
}

/// runc.
fn detached_terminal_needs_a_console_socket(t: &Test) {
    t.skip_for("crun", "has other words");
    let c = t.bundle().idle();
    let words = "cannot allocate tty if runc will detach without setting console socket";
    c.exec(&["-d", "-t"], &["true"]).fails(&[words]);
}

/// runc: the engine would wait for a descriptor that never comes.
fn console_socket_without_detached_terminal_is_refused(t: &Test) {
    t.skip_for("crun", "ignores it");
    let c = t.bundle().idle();
    let socket = ConsoleSocket::at(&t.dir().join("console"));
    let path = socket.path.to_string_lossy().into_owned();
    for option in ["-d", "-t"] {
        let out = c.exec(&[option, "--console-socket", &path], &["true"]);
        out.fails(&["cannot use console socket if runc will not detach or allocate tty"]);
    }
    c.exec(&["-d", "-t", "--console-socket", "/tmp/nobody-listens"], &["true"]).fails(&["nobody-listens"]);
}

/// crun's issue 1823: the words of exit code 127 must survive.
fn error_with_a_terminal_reaches_the_caller(t: &Test) {
    let c = t.bundle().idle();
    let socket = ConsoleSocket::at(&t.dir().join("console"));
    let path = socket.path.to_string_lossy().into_owned();
    let options = ["-d", "-t", "--console-socket", &path];
    c.exec(&options, &["nowhere"]).fails(&["executable file not found in $PATH"]);
    let options = [&options[..], &["--cwd", "/nowhere"]].concat();
    c.exec(&options, &["true"]).fails(&["no such file or directory"]);
}

/// A terminal of the host is none for a container.
fn container_without_devpts_gets_no_terminal(t: &Test) {
    t.only_teu(HOSTILE);
    let c = t.bundle().without_mounts("/dev/pts").idle();
    let person = Person::at(24, 80);
    let out = person.call(attached(&c, "echo never")).wait().exits(255);
    person.terminal.wait_for(t, "no devpts is mounted on /dev/pts");
    assert!(!person.terminal.text().contains("never\r"), "{}", out.report());
}

/// CVE-2025-52565: what the container has put in the place of its devpts.
fn fake_devpts_of_the_container_is_refused(t: &Test) {
    t.only_teu(HOSTILE);
    let decoy = t.make_file("decoy", "untouched");
    let fakes = [
        "mkdir /dev/pts; ln -s /decoy /dev/pts/ptmx; for i in 0 1 2 3; do ln -s /decoy /dev/pts/$i; done",
        "mkdir /dev/pts; cp /decoy /dev/pts/ptmx; cp /decoy /dev/pts/0",
        "ln -s /other /dev/pts",
        "mkdir /dev/pts; ln -s /other/ptmx /dev/pts/ptmx; ln -s /other/ptmx /dev/ptmx",
    ];
    for fake in fakes {
        let bundle = t.bundle().without_mounts("/dev/pts").bind(&decoy, "/decoy", &["bind"]);
        let bundle = bundle.mount("/other", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]);
        let c = bundle.sh(&format!("{fake}; echo ready; exec sleep 1000")).run_detached();
        c.wait_for_stdout("ready");
        let socket = ConsoleSocket::at(&t.dir().join(format!("console{}", t.next_number())));
        let path = socket.path.to_string_lossy().into_owned();
        let out = c.exec(&["-d", "-t", "--console-socket", &path], &["sh", "-c", "echo never"]);
        out.exits(255).fails(&["/dev/pts"]);
        assert_eq!(fs::read_to_string(&decoy).unwrap(), "untouched", "{fake}");
    }
}
