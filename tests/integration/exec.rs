//! `exec`: one more process in a container: its command line, its streams, its end, and what refuses it.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::console::ConsoleSocket;
use crate::harness::{Container, Test, cgroup};

cases![
    process_file_that_is_no_json_is_named,
    exit_code_of_the_program_is_the_exit_code_of_exec,
    program_killed_by_a_signal_gives_128_and_its_number,
    streams_reach_the_program,
    what_follows_the_id_belongs_to_the_program,
    options_are_spelled_as_go_programs_take_them,
    process_file_says_everything_about_what_runs,
    options_are_ignored_beside_a_process_file,
    process_file_may_be_a_pipe,
    process_file_without_program_or_directory_is_refused,
    exec_without_a_program_is_refused,
    wrong_command_line_is_no_failure_of_exec,
    unknown_container_is_refused,
    stopped_container_is_refused,
    paused_container_is_refused,
    process_waits_for_the_end_of_a_pause_when_asked_to,
    exec_that_waits_for_a_resume_can_be_interrupted,
    created_container_gets_a_process_and_stays_created,
    process_that_waits_for_start_is_hidden_from_what_is_added,
    program_missing_in_path_has_dockers_words,
    missing_absolute_program_has_dockers_words,
    program_without_permission_has_dockers_words,
    directory_as_program_has_dockers_words,
    missing_interpreter_is_a_failure_of_exec,
    signals_are_forwarded_to_the_program,
    detached_exec_returns_while_the_program_runs,
    engine_that_reads_until_the_end_is_not_held_by_a_detached_exec,
    detached_process_belongs_to_nobody_of_the_runtime,
    pid_file_names_the_process,
    pid_file_is_written_only_when_the_program_runs,
    pid_file_that_cannot_be_written_ends_the_process,
    pidfd_socket_gets_the_process,
    failure_leaves_nothing,
    thousand_in_a_row_leave_nothing,
    sixty_four_at_once_all_end_well,
    end_of_init_ends_the_process,
];

/// runc: engines take the status of the program from the exit code.
fn exit_code_of_the_program_is_the_exit_code_of_exec(t: &Test) {
    let c = t.bundle().idle();
    for code in [0, 1, 42, 255] {
        c.exec_sh(&[], &format!("exit {code}")).exits(code);
    }
}

/// runc: as a shell does.
fn program_killed_by_a_signal_gives_128_and_its_number(t: &Test) {
    let c = t.bundle().idle();
    for (name, number) in [("KILL", 9), ("TERM", 15)] {
        c.exec_sh(&[], &format!("kill -{name} $$")).exits(128 + number);
    }
}

/// config.md#process: the streams of the caller.
fn streams_reach_the_program(t: &Test) {
    let c = t.bundle().idle();
    let out = c.exec_cmd(&[], &["sh", "-c", "cat; echo end; echo err >&2"]).stdin("one\ntwo\n").run().ok();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("one\ntwo\nend\n", "err\n"));
    let out = c.exec(&[], &["seq", "1", "100000"]).ok();
    assert_eq!(out.lines().len(), 100_000);
}

/// runc: options of the program are not those of the runtime.
fn what_follows_the_id_belongs_to_the_program(t: &Test) {
    let c = t.bundle().idle();
    let words = ["printf", "%s\n", "-x", "--tty", "--help", "-d", "--", "-u", "--env=A=1"];
    let out = c.exec(&[], &words).ok();
    assert_eq!(out.lines(), &words[2..]);
    c.exec(&[], &["true", "--help"]).ok().silent();
}

/// Engines and wrappers use all of these.
fn options_are_spelled_as_go_programs_take_them(t: &Test) {
    let c = t.bundle().idle();
    let script = "echo $A,$B,$C $(id -u) $(pwd); [ -t 0 ] || echo no terminal";
    let same = [
        "--env",
        "A=1",
        "--env=B=x=y",
        "-env",
        "C=3",
        "-tty=false",
        "--detach=false",
        "-u=1000",
        "-cwd",
        "/tmp",
    ];
    // runc: an option in two spellings at once is refused.
    let mixed = [
        "-e",
        "A=1",
        "--env=B=x=y",
        "-e=C=3",
        "-t=false",
        "-tty=0",
        "-d=f",
        "-u=7",
        "--user",
        "1000",
        "--cwd=/tmp",
    ];
    for options in [&same[..], &mixed].into_iter().take(if t.is("teu") { 2 } else { 1 }) {
        let out = c.exec_sh(options, script).ok();
        assert_eq!(out.stdout, "1,x=y,3 1000 /tmp\nno terminal\n", "{options:?}");
    }
}

fn process_file(t: &Test, process: serde_json::Value) -> String {
    t.make_file(&format!("process{}.json", t.next_number()), process.to_string())
        .to_string_lossy()
        .into_owned()
}

/// runc: nothing of the config's args, environment, directory and user is merged in.
fn process_file_says_everything_about_what_runs(t: &Test) {
    let c = t.bundle().env(&["OF_CONFIG=1"]).set("/process/user/uid", 7).set("/process/cwd", "/root").idle();
    let file = process_file(
        t,
        json!({
            "args": ["sh", "-c", "echo $OF_CONFIG$OF_FILE $(id -u):$(id -g) $(pwd)"],
            "env": ["OF_FILE=2", "PATH=/bin"], "cwd": "/tmp", "user": { "uid": 1000, "gid": 1001 },
        }),
    );
    for options in [["--process", &file], ["-p", &file]] {
        assert_eq!(c.exec(&options, &[]).ok().stdout, "2 1000:1001 /tmp\n");
    }
}

/// runc.
fn options_are_ignored_beside_a_process_file(t: &Test) {
    let c = t.bundle().idle();
    let args = ["sh", "-c", "echo $A $(id -u) $(pwd)"];
    let file =
        process_file(t, json!({ "args": args, "env": ["PATH=/bin"], "cwd": "/", "user": { "uid": 5 } }));
    let out = c.exec(&["-p", &file, "-e", "A=1", "-u", "1000", "--cwd", "/tmp", "-t"], &["false"]).ok();
    assert_eq!(out.stdout, "5 /\n");
}

/// A shell's `<(...)`.
fn process_file_may_be_a_pipe(t: &Test) {
    let c = t.bundle().idle();
    let process = json!({ "args": ["/bin/echo", "from a pipe"], "cwd": "/", "user": {} });
    let out = c.exec_cmd(&["-p", "/dev/stdin"], &[]).stdin(process.to_string()).run().ok();
    assert_eq!(out.stdout, "from a pipe\n");
}

/// runc.
fn process_file_without_program_or_directory_is_refused(t: &Test) {
    let c = t.bundle().idle();
    let cases = [
        (json!({ "args": ["true"], "user": {} }), "Cwd property must not be empty"),
        (json!({ "args": [], "cwd": "/", "user": {} }), "args must not be empty"),
        (json!({ "args": ["true"], "cwd": "tmp", "user": {} }), "Cwd must be an absolute path"),
    ];
    for (process, words) in cases {
        let file = process_file(t, process);
        c.exec(&["-p", &file], &[]).exits(255).fails(&[words]);
    }
    c.exec(&["-p", "/nowhere"], &[]).exits(255).fails(&["/nowhere"]);
}

/// runc.
fn exec_without_a_program_is_refused(t: &Test) {
    let c = t.bundle().idle();
    c.exec(&[], &[]).fails(&["process args cannot be empty"]);
}

/// runc: 255 says that the program was not executed, 1 that the command line makes no sense.
fn wrong_command_line_is_no_failure_of_exec(t: &Test) {
    t.only_teu("other runtimes print more than one line");
    t.cmd(["exec"]).run().exits(1).fails(&["\"exec\" requires a minimum of 1 argument(s)"]);
    t.cmd(["exec", "--no-such-option", "c1", "true"]).run().exits(1).fails(&["unexpected argument"]);
    t.cmd(["exec", "--preserve-fds", "x", "c1", "true"]).run().exits(1).fails(&["preserve-fds"]);
}

/// The words that engines search for, and the status.
fn unknown_container_is_refused(t: &Test) {
    let out = t.cmd(["exec", "nobody", "true"]).run().fails(&["does not exist"]);
    if !t.is("crun") {
        out.exits(255).fails(&["exec failed: "]);
    }
}

/// runc.
fn stopped_container_is_refused(t: &Test) {
    let c = t.bundle().run_detached();
    c.wait_stopped();
    c.exec(&[], &["true"]).fails(&["exec failed: cannot exec in a stopped container"]);
}

/// runc: it would hang.
fn paused_container_is_refused(t: &Test) {
    t.skip_for("crun", "has other words");
    let c = t.bundle().idle();
    cgroup::freeze(&c.id, true);
    t.until("status paused", || c.status() == "paused");
    let words = "cannot exec in a paused container (use --ignore-paused to override)";
    c.exec(&[], &["true"]).exits(255).fails(&[words]);
    cgroup::freeze(&c.id, false);
}

/// runc: `--ignore-paused`.
fn process_waits_for_the_end_of_a_pause_when_asked_to(t: &Test) {
    t.skip_for("crun", "has no --ignore-paused");
    let c = t.bundle().idle();
    cgroup::freeze(&c.id, true);
    t.until("status paused", || c.status() == "paused");
    let mut running = c.exec_cmd(&["--ignore-paused"], &["echo", "after"]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!running.has_ended(), "a frozen process has ended");
    cgroup::freeze(&c.id, false);
    assert_eq!(running.wait().ok().stdout, "after\n");
}

/// Nobody may be caught by a container that is paused for good.
fn exec_that_waits_for_a_resume_can_be_interrupted(t: &Test) {
    t.only_teu("runc waits");
    let c = t.bundle().idle();
    cgroup::freeze(&c.id, true);
    t.until("status paused", || c.status() == "paused");
    let running = c.exec_cmd(&["--ignore-paused"], &["echo", "never"]).spawn();
    t.until("the process that waits", || members(&c).len() > 1);
    running.signal(Signal::SIGTERM);
    running.wait().exits(255).fails(&["interrupted by signal 15"]);
    cgroup::freeze(&c.id, false);
    t.until("the end of what was started", || members(&c).len() == 1);
}

/// runc: and the program still waits for `start`.
fn created_container_gets_a_process_and_stays_created(t: &Test) {
    t.skip_for("crun", "refuses");
    let c = t.bundle().sh("echo started; sleep 100").create();
    assert_eq!(c.exec(&[], &["echo", "beside"]).ok().stdout, "beside\n");
    assert_eq!((c.status().as_str(), c.stdout().as_str()), ("created", ""));
    c.start();
    c.wait_for_stdout("started");
}

/// ptrace(2): its filter is not loaded yet, and it holds the namespaces of the container.
fn process_that_waits_for_start_is_hidden_from_what_is_added(t: &Test) {
    t.only_teu("others can be seen before their filter is loaded");
    let c = t.bundle().sh("sleep 100").create();
    for (file, tool) in [("fd/0", "readlink"), ("environ", "cat"), ("maps", "cat"), ("ns/mnt", "readlink")] {
        let out = c.exec(&[], &[tool, &format!("/proc/1/{file}")]);
        assert!(out.code != Some(0) && out.stdout.is_empty(), "{file}: {}", out.report());
    }
    c.start();
}

/// docker: exit code 127.
fn program_missing_in_path_has_dockers_words(t: &Test) {
    let c = t.bundle().idle();
    let out = c.exec(&[], &["nowhere"]);
    if !t.is("crun") {
        out.exits(255).fails(&["exec failed: ", "exec: \"nowhere\": executable file not found in $PATH"]);
    }
}

/// docker: exit code 127.
fn missing_absolute_program_has_dockers_words(t: &Test) {
    let c = t.bundle().idle();
    let out = c.exec(&[], &["/bin/nowhere"]);
    if !t.is("crun") {
        out.exits(255).fails(&["exec: \"/bin/nowhere\": stat /bin/nowhere: no such file or directory"]);
    }
}

/// docker: exit code 126.
fn program_without_permission_has_dockers_words(t: &Test) {
    let c = t.bundle().idle();
    let out = c.exec(&[], &["/etc/passwd"]).fails(&["exec: \"/etc/passwd\": permission denied"]);
    assert!(!out.message().contains("no such file"), "{}", out.report());
}

/// docker: exit code 126.
fn directory_as_program_has_dockers_words(t: &Test) {
    t.skip_older("runc", (1, 2), "says permission denied");
    let c = t.bundle().idle();
    let reason = if t.is("teu") { "is a directory: permission denied" } else { "is a directory" };
    c.exec(&[], &["/etc"]).fails(&[&format!("exec: \"/etc\": {reason}")]);
}

/// The kernel tells only when it executes; the caller must hear it all the same.
fn missing_interpreter_is_a_failure_of_exec(t: &Test) {
    let c = t.bundle().script("/bin/broken", "#!/no/such/interpreter\n").idle();
    for options in [&[][..], &["--detach"]] {
        if options.is_empty() || t.is("teu") {
            let out = c.exec(options, &["/bin/broken"]);
            assert!(out.code.is_some_and(|code| code != 0), "{}", out.report());
            assert!(out.message().to_lowercase().contains("no such file or directory"), "{}", out.report());
        }
    }
}

/// runc: a foreground exec passes on what it gets.
fn signals_are_forwarded_to_the_program(t: &Test) {
    let c = t.bundle().idle();
    let script = "for s in HUP INT QUIT USR1 USR2; do trap \"echo got $s\" $s; done; trap 'exit 5' TERM; echo up; \
                  while :; do usleep 5000; done";
    let running = c.exec_cmd(&[], &["sh", "-c", script]).spawn();
    running.wait_for_stdout("up");
    use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};
    for (signal, name) in
        [(SIGHUP, "HUP"), (SIGINT, "INT"), (SIGQUIT, "QUIT"), (SIGUSR1, "USR1"), (SIGUSR2, "USR2")]
    {
        running.signal(signal);
        running.wait_for_stdout(&format!("got {name}\n"));
    }
    running.signal(Signal::SIGTERM);
    running.wait().exits(5);
}

/// runc.
fn detached_exec_returns_while_the_program_runs(t: &Test) {
    let c = t.bundle().idle();
    for option in ["--detach", "-d"] {
        c.exec(&[option], &["sh", "-c", "sleep 1000; exit 3"]).ok().silent();
    }
    // A shell may have one child each.
    assert!(members(&c).len() >= 3, "{:?}", members(&c));
}

/// containerd reads both streams to their end.
fn engine_that_reads_until_the_end_is_not_held_by_a_detached_exec(t: &Test) {
    use std::io::Read;
    let c = t.bundle().idle();
    let (mut read, write) = std::io::pipe().unwrap();
    let second = write.try_clone().unwrap();
    let script = "exec >/dev/null 2>&1 </dev/null; sleep 1000";
    c.exec_cmd(&["-d"], &["sh", "-c", script]).output_to(write.into(), second.into()).run().ok();
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    assert_eq!(text, "");
}

/// Everything of the container, as the host sees it.
fn members(c: &Container) -> Vec<i32> {
    let mut pids: Vec<i32> = cgroup::find(&c.id).iter().flat_map(|dir| cgroup::procs(dir)).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn status_of(pid: i32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

fn pid_in(path: &std::path::Path) -> i32 {
    let text = fs::read_to_string(path).expect("the pid file is there");
    text.parse().unwrap_or_else(|_| panic!("the pid file is no number: {text:?}"))
}

/// Shims wait for the process themselves: when the runtime has ended, it is the child of a subreaper.
fn detached_process_belongs_to_nobody_of_the_runtime(t: &Test) {
    let c = t.bundle().idle();
    let file = t.dir().join("pid");
    c.exec(&["-d", "--pid-file", &file.to_string_lossy()], &["sleep", "1000"]).ok();
    let pid = pid_in(&file);
    let parent: i32 = status_of(pid, "PPid").parse().unwrap();
    let name = status_of(parent, "Name");
    assert!(parent > 0 && !name.contains(&t.runtime().name), "the parent of {pid} is {parent}, {name}");
    assert_eq!(members(&c).len(), 2, "{:?}", members(&c));
}

/// conmon, shims.
fn pid_file_names_the_process(t: &Test) {
    let c = t.bundle().idle();
    let file = t.make_file("pid", "stale and longer than a pid");
    c.exec(&["-d", "--pid-file", &file.to_string_lossy()], &["sleep", "77"]).ok();
    let pid = pid_in(&file);
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap(), "sleep\x0077\0");
    assert_eq!(fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap().to_string_lossy(), c.namespace("pid"));
    let here = t.make_dir("here");
    c.exec_cmd(&["-d", "--pid-file", "relative"], &["sleep", "78"]).in_dir(&here).run().ok();
    assert!(here.join("relative").exists(), "there is no pid file beside the caller");
}

/// conmon takes the file for success.
fn pid_file_is_written_only_when_the_program_runs(t: &Test) {
    let c = t.bundle().script("/bin/broken", "#!/no/such/interpreter\n").idle();
    let file = t.dir().join("pid");
    let path = file.to_string_lossy().into_owned();
    let mut programs = vec!["/nowhere", "nowhere", "/etc/passwd"];
    if t.is("teu") {
        programs.push("/bin/broken");
    }
    for program in programs {
        for option in ["--detach", "--detach=false"] {
            let out = c.exec(&[option, "--pid-file", &path], &[program]);
            assert!(out.code.is_some_and(|code| code != 0), "{}", out.report());
            assert!(!file.exists(), "there is a pid file for {program}");
        }
    }
}

/// An engine that waits for the file must be told, and the process is of no use to it.
fn pid_file_that_cannot_be_written_ends_the_process(t: &Test) {
    let c = t.bundle().idle();
    let path = t.dir().join("nowhere/pid").to_string_lossy().into_owned();
    let out = c.exec(&["-d", "--pid-file", &path], &["sleep", "1000"]).fails(&[]);
    assert!(out.message().contains("pid"), "{}", out.report());
    t.until("the end of the process", || members(&c).len() == 1);
}

/// runc: one message with the text `setns`.
fn pidfd_socket_gets_the_process(t: &Test) {
    t.skip_older("runc", (1, 2), "has no --pidfd-socket");
    t.skip_for("crun", "has no --pidfd-socket");
    let c = t.bundle().idle();
    let socket = ConsoleSocket::at(&t.dir().join("pidfd"));
    let file = t.dir().join("pid");
    let options =
        ["-d", "--pidfd-socket", &socket.path.to_string_lossy(), "--pid-file", &file.to_string_lossy()];
    c.exec(&options, &["sleep", "1000"]).ok();
    let received = socket.receive();
    assert_eq!((received.payload.as_slice(), received.fds.len()), (&b"setns"[..], 1));
    use std::os::fd::AsRawFd;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", received.fds[0].as_raw_fd())).unwrap();
    assert!(info.contains(&format!("Pid:\t{}\n", pid_in(&file))), "{info}");
}

/// runtime.md: a failure changes nothing.
fn failure_leaves_nothing(t: &Test) {
    let c = t.bundle().idle();
    let before = members(&c);
    for _ in 0..5 {
        c.exec(&[], &["/nowhere"]).fails(&[]);
        c.exec(&["--cwd", "/nowhere"], &["true"]).fails(&[]);
    }
    assert_eq!(members(&c), before);
}

fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// A day of health checks.
fn thousand_in_a_row_leave_nothing(t: &Test) {
    // Longer than a slow machine takes.
    let c = t.bundle().args(["sleep", "100000"]).run_detached();
    let pid = c.pid();
    let before = (members(&c), descriptors(pid), cgroup::find(&c.id), state_files(t, &c));
    for number in 0..1000 {
        c.exec_sh(&[], &format!("exit {}", number % 200)).exits(number % 200);
    }
    assert_eq!((members(&c), descriptors(pid), cgroup::find(&c.id), state_files(t, &c)), before);
    // The shell itself and init; nothing is forked for this.
    let out = c.exec_sh(&[], "for p in /proc/[0-9]*; do echo $p; done").ok();
    assert_eq!(out.lines().len(), 2, "zombies in the container: {}", out.report());
}

fn state_files(t: &Test, c: &Container) -> Vec<String> {
    let Ok(entries) = fs::read_dir(t.root().join(&c.id)) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Engines run health checks and probes in parallel: no lock may be in the way.
fn sixty_four_at_once_all_end_well(t: &Test) {
    let c = t.bundle().idle();
    let before = (members(&c), cgroup::find(&c.id), state_files(t, &c));
    let script = |number: i32| format!("read line; echo {number}; exit {number}");
    let started: Vec<_> = (1..=64)
        .map(|number| {
            let (read, write) = std::io::pipe().unwrap();
            (number, c.exec_cmd(&[], &["sh", "-c", &script(number)]).stdin_fd(read.into()).spawn(), write)
        })
        .collect();
    t.until("all of them", || members(&c).len() == before.0.len() + 64);
    for (number, running, write) in started {
        drop(write);
        assert_eq!(running.wait().exits(number).stdout, format!("{number}\n"));
    }
    assert_eq!((members(&c), cgroup::find(&c.id), state_files(t, &c)), before);
}

/// pid_namespaces(7): its end is the end of all.
fn end_of_init_ends_the_process(t: &Test) {
    let c = t.bundle().idle();
    let running = c.exec_cmd(&[], &["sh", "-c", "echo up; sleep 1000"]).spawn();
    running.wait_for_stdout("up");
    kill(Pid::from_raw(c.pid()), Signal::SIGKILL).unwrap();
    running.wait().exits(137);
}

/// The mistake is in the file of the caller, not in the configuration.
fn process_file_that_is_no_json_is_named(t: &Test) {
    t.only_teu("the words are teu's");
    let c = t.bundle().idle();
    let file = t.make_file("mistake.json", "{\"args\": [\"true\"],}");
    let out =
        c.exec(&["-p", &file.to_string_lossy()], &[]).exits(255).fails(&["the process file is not valid"]);
    assert!(!out.message().contains("config.json"), "{}", out.report());
}
