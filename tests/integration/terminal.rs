//! The terminal of a container: through a console socket, or of a person.

use std::fs;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, OutputFlags, tcgetattr};
use serde_json::json;

use crate::harness::console::{ConsoleSocket, Person, Terminal};
use crate::harness::{Bundle, Container, Test};

cases![
    console_socket_gets_one_message_with_one_descriptor,
    terminal_comes_from_the_devpts_of_the_container,
    terminal_is_the_controlling_one,
    size_of_the_config_is_set,
    console_is_the_terminal,
    terminal_belongs_to_the_user,
    typed_text_reaches_the_program,
    interrupt_key_signals_the_program,
    create_with_a_terminal_needs_a_console_socket,
    console_socket_without_a_terminal_is_refused,
    console_socket_that_is_not_there_is_refused,
    long_console_socket_path_works,
    relative_console_socket_path_works,
    error_of_create_with_a_terminal_reaches_the_caller,
    terminal_hangs_up_when_the_container_ends,
    foreground_run_relays_the_terminal,
    foreground_run_takes_the_size_of_the_outer_terminal,
    foreground_run_restores_the_outer_terminal,
    foreground_run_follows_size_changes,
    exit_code_comes_through_a_foreground_terminal,
    lines_end_as_a_terminal_needs_it,
    redirected_run_follows_the_controlling_terminal,
    signal_arrives_while_nobody_reads_the_output,
];

fn create<'t>(t: &'t Test, bundle: &Bundle<'t>) -> (Container<'t>, Terminal) {
    let socket = ConsoleSocket::at(&t.dir().join("console"));
    let path = socket.path.to_string_lossy().into_owned();
    let out = bundle.call("create", &["--console-socket", &path]).run().ok();
    let mut received = socket.receive();
    (Container::new(t, bundle.id(), &out), Terminal::from_master(received.fds.remove(0)))
}

fn with_terminal(t: &Test) -> Bundle<'_> {
    t.bundle().set("/process/terminal", true)
}

/// go-runc and conmon insist on it.
fn console_socket_gets_one_message_with_one_descriptor(t: &Test) {
    let socket = ConsoleSocket::at(&t.dir().join("console"));
    let path = socket.path.to_string_lossy().into_owned();
    let bundle = with_terminal(t).args(["sleep", "100"]);
    bundle.call("create", &["--console-socket", &path]).run().ok().silent();
    let received = socket.receive();
    assert_eq!(received.fds.len(), 1);
    assert!(!received.payload.is_empty() && received.payload.len() < 4096);
    assert!(tcgetattr(received.fds[0].as_fd()).is_ok(), "the descriptor is no terminal");
}

/// config.md#process.
fn terminal_comes_from_the_devpts_of_the_container(t: &Test) {
    let bundle = with_terminal(t)
        .sh("tty; ls /dev/pts; for i in 0 1 2; do readlink /proc/self/fd/$i; done; echo end; sleep 100");
    let (c, terminal) = create(t, &bundle);
    c.start();
    terminal.wait_for(t, "end");
    assert!(terminal.text().starts_with("/dev/pts/0\r\n"), "{}", terminal.text());
    assert_eq!(terminal.text().matches("/dev/pts/0").count(), 4, "{}", terminal.text());
}

/// setsid(2), TIOCSCTTY.
fn terminal_is_the_controlling_one(t: &Test) {
    let (c, terminal) =
        create(t, &with_terminal(t).sh("echo through >/dev/tty; ps -o pid,tty,args; echo end; sleep 100"));
    c.start();
    terminal.wait_for(t, "end");
    assert!(terminal.text().starts_with("through"), "{}", terminal.text());
    assert!(terminal.text().contains("136,0"), "{}", terminal.text());
}

/// config.md#process: `consoleSize`.
fn size_of_the_config_is_set(t: &Test) {
    let bundle = with_terminal(t).set("/process/consoleSize", json!({ "height": 11, "width": 123 }));
    let (c, terminal) = create(t, &bundle.sh("stty size; sleep 100"));
    c.start();
    terminal.wait_for(t, "11 123");
}

/// config-linux.md#default-devices.
fn console_is_the_terminal(t: &Test) {
    let (c, terminal) = create(
        t,
        &with_terminal(t).sh("stat -L -c '%F %t:%T' /dev/console; echo to console >/dev/console; sleep 100"),
    );
    c.start();
    terminal.wait_for(t, "to console");
    assert!(terminal.text().starts_with("character special file 88:0"), "{}", terminal.text());
}

/// An ordinary user must be able to open it again.
fn terminal_belongs_to_the_user(t: &Test) {
    let bundle = with_terminal(t).set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let (c, terminal) =
        create(t, &bundle.sh("stat -c '%u:%g %a' /dev/pts/0; echo again >/dev/pts/0; sleep 100"));
    c.start();
    terminal.wait_for(t, "again");
    assert!(terminal.text().starts_with("1000:5 620"), "{}", terminal.text());
}

/// As at a desk.
fn typed_text_reaches_the_program(t: &Test) {
    let (c, terminal) = create(t, &with_terminal(t).sh("read line; echo got $line; sleep 100"));
    c.start();
    terminal.type_text("hello\n");
    terminal.wait_for(t, "got hello");
}

/// termios(3): VINTR.
fn interrupt_key_signals_the_program(t: &Test) {
    let (c, terminal) = create(
        t,
        &with_terminal(t).sh("trap 'echo interrupted; exit' INT; echo up; while :; do usleep 5000; done"),
    );
    c.start();
    terminal.wait_for(t, "up");
    terminal.type_text("\u{3}");
    terminal.wait_for(t, "interrupted");
    c.wait_stopped();
}

/// runc.
fn create_with_a_terminal_needs_a_console_socket(t: &Test) {
    for (verb, options) in [("create", &[][..]), ("run", &["--detach"])] {
        let out = with_terminal(t).call(verb, options).run().fails(&[]);
        if t.is("teu") {
            out.fails(&["/process/terminal"]);
        }
    }
}

/// runc: the engine would wait for a descriptor that never comes.
fn console_socket_without_a_terminal_is_refused(t: &Test) {
    t.skip_for("crun", "ignores it");
    let socket = ConsoleSocket::at(&t.dir().join("console"));
    t.bundle().call("create", &["--console-socket", &socket.path.to_string_lossy()]).run().fails(&[]);
}

/// An engine that has died.
fn console_socket_that_is_not_there_is_refused(t: &Test) {
    let bundle = with_terminal(t);
    let out = bundle.call("create", &["--console-socket", "/tmp/nobody-listens"]).run().fails(&[]);
    if t.is("teu") {
        out.fails(&["/tmp/nobody-listens"]);
    }
    assert!(!t.root().join(bundle.id()).exists(), "the state directory is still there");
}

/// unix(7): 108 bytes are not enough for the directories of engines.
fn long_console_socket_path_works(t: &Test) {
    t.skip_older("runc", (1, 4), "fails on it");
    t.skip_older("crun", (1, 9), "fails on it");
    let dir = t.make_dir(&"d".repeat(120));
    // bind(2) has the same limit, so the test uses a short way to the same place.
    let short = format!("/proc/{}/fd", std::process::id());
    let handle = fs::File::open(&dir).unwrap();
    use std::os::fd::AsRawFd;
    let socket = ConsoleSocket::at(std::path::Path::new(&format!("{short}/{}/console", handle.as_raw_fd())));
    let path = dir.join("console").to_string_lossy().into_owned();
    with_terminal(t).call("create", &["--console-socket", &path]).run().ok();
    assert_eq!(socket.receive().fds.len(), 1);
}

/// As every other path on the command line.
fn relative_console_socket_path_works(t: &Test) {
    t.only_teu("other runtimes look for it in the bundle");
    let here = t.make_dir("here");
    let socket = ConsoleSocket::at(&here.join("console"));
    with_terminal(t).call("create", &["--console-socket", "console"]).in_dir(&here).run().ok();
    assert_eq!(socket.receive().fds.len(), 1);
}

/// crun's issue 1524.
fn error_of_create_with_a_terminal_reaches_the_caller(t: &Test) {
    let socket = ConsoleSocket::at(&t.dir().join("console"));
    let bundle = with_terminal(t).args(["/no/such/program"]);
    bundle
        .call("create", &["--console-socket", &socket.path.to_string_lossy()])
        .run()
        .fails(&["no such file or directory"]);
}

/// Nobody else holds the other side.
fn terminal_hangs_up_when_the_container_ends(t: &Test) {
    let (c, terminal) = create(t, &with_terminal(t).sh("echo up; read line"));
    c.start();
    terminal.wait_for(t, "up");
    assert!(!terminal.is_hung_up());
    terminal.type_text("\n");
    c.wait_stopped();
    t.until("the hang-up", || terminal.is_hung_up());
}

/// runc: `run` in a shell.
fn foreground_run_relays_the_terminal(t: &Test) {
    let person = Person::at(24, 80);
    let running = person.call(with_terminal(t).sh("tty; read line; echo got $line").run_cmd());
    person.terminal.wait_for(t, "/dev/pts/0");
    person.terminal.type_text("hello\n");
    person.terminal.wait_for(t, "got hello");
    running.wait().ok();
}

/// A program draws for the terminal that is there.
fn foreground_run_takes_the_size_of_the_outer_terminal(t: &Test) {
    let person = Person::at(33, 99);
    let running = person.call(with_terminal(t).sh("usleep 100000; stty size").run_cmd());
    person.terminal.wait_for(t, "33 99");
    running.wait().ok();
}

/// A shell must be usable afterwards, whatever ended the container.
fn foreground_run_restores_the_outer_terminal(t: &Test) {
    let person = Person::at(24, 80);
    let modes = || tcgetattr(person.slave.as_fd()).unwrap();
    let before = modes();
    let bundle = with_terminal(t).sh("echo up; sleep 100");
    let running = person.call(bundle.run_cmd());
    person.terminal.wait_for(t, "up");
    t.until("raw mode", || !modes().local_flags.contains(LocalFlags::ICANON));
    t.cmd(["kill", bundle.id(), "KILL"]).run().ok();
    running.wait().exits(137);
    let after = modes();
    assert_eq!((after.local_flags, after.output_flags), (before.local_flags, before.output_flags));
    assert!(after.output_flags.contains(OutputFlags::OPOST));
}

/// SIGWINCH.
fn foreground_run_follows_size_changes(t: &Test) {
    let person = Person::at(24, 80);
    let running = person.call(
        with_terminal(t).sh("trap 'stty size' WINCH; echo up; while :; do usleep 5000; done").run_cmd(),
    );
    person.terminal.wait_for(t, "up");
    person.resize(40, 132);
    running.signal(Signal::SIGWINCH);
    person.terminal.wait_for(t, "40 132");
    running.signal(Signal::SIGKILL);
}

/// The status is that of the program.
fn exit_code_comes_through_a_foreground_terminal(t: &Test) {
    let person = Person::at(24, 80);
    person.call(with_terminal(t).sh("exit 17").run_cmd()).wait().exits(17);
}

/// termios(3): ONLCR. Done by neither terminal, each line would begin below the end of the last one; done by both, there
/// would be one carriage return too many.
fn lines_end_as_a_terminal_needs_it(t: &Test) {
    let person = Person::at(24, 80);
    person.call(with_terminal(t).sh("echo one; echo two").run_cmd()).wait().ok();
    person.terminal.wait_for(t, "one\r\ntwo\r\n");
}

/// runc: /dev/tty, when no stream is a terminal.
fn redirected_run_follows_the_controlling_terminal(t: &Test) {
    t.skip_for("crun", "looks at the streams alone");
    let person = Person::at(33, 99);
    let modes = || tcgetattr(person.slave.as_fd()).unwrap();
    let before = modes();
    // The tool that sets the size sets rows and columns one after the other.
    let bundle = with_terminal(t).sh("usleep 200000; trap 'stty size' WINCH; stty size; \
                                      until stty size | grep 132; do usleep 5000; done; exit 3");
    let shown = t.make_file("shown", "");
    let line = format!("exec \"$@\" </dev/null >{0} 2>{0}", shown.display());
    let running = person.call(bundle.run_cmd().through(&line));
    let text = || fs::read_to_string(&shown).unwrap();
    t.until("the size of the terminal", || text().contains("33 99"));
    assert!(!modes().local_flags.contains(LocalFlags::ICANON), "the terminal is not in raw mode");
    person.resize(40, 132);
    running.wait().exits(3);
    assert!(text().contains("40 132"), "{}", text());
    assert_eq!((modes().local_flags, modes().output_flags), (before.local_flags, before.output_flags));
}

/// signal(7). Whoever reads the output may have stopped without closing it, as a pager does.
fn signal_arrives_while_nobody_reads_the_output(t: &Test) {
    t.skip_for("runc", "runs nothing with a terminal where there is none");
    let pipe = nix::unistd::pipe().unwrap();
    let pty = openpty(None, None).unwrap();
    t.caller().own(&nix::unistd::ttyname(&pty.slave).unwrap(), None).unwrap();
    for (reader, writer) in [pipe, (pty.master, pty.slave)] {
        let dir = t.make_dir("shared");
        let script = "trap 'touch /mnt/arrived; exit 3' TERM; yes & while :; do usleep 5000; done";
        let bundle = with_terminal(t).sh(script).bind(&dir, "/mnt", &["bind", "rw"]);
        let errors = fs::File::create(t.dir().join("errors")).unwrap();
        let cmd = bundle.run_cmd().output_to(writer.try_clone().unwrap(), errors.into());
        let running = cmd.spawn();
        let is_full =
            || poll(&mut [PollFd::new(writer.as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO) == Ok(0);
        t.until("the output is full", is_full);
        running.signal(Signal::SIGTERM);
        t.until("the arrival of the signal", || dir.join("arrived").exists());
        drop((reader, writer));
        running.wait().exits(3);
        fs::remove_file(dir.join("arrived")).unwrap();
    }
}
