//! Descriptors: what the program gets, and what it must not get.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;

use serde_json::Value;

use crate::harness::console::ConsoleSocket;
use crate::harness::{Caller, Container, Out, Test};

cases![
    program_has_the_standard_descriptors_alone,
    descriptors_of_the_caller_are_closed,
    preserved_descriptors_are_passed_at_their_numbers,
    missing_preserved_descriptor_is_refused,
    preserve_fds_of_no_number_is_refused,
    socket_activation_passes_descriptors_and_names_init,
    socket_activation_for_somebody_else_is_ignored,
    created_init_holds_nothing_of_the_host,
    running_container_holds_nothing_of_the_host,
    closed_standard_descriptors_do_no_harm,
    file_as_stdout_is_passed_itself,
    null_device_of_the_host_becomes_that_of_the_container,
    standard_streams_can_be_opened_again_by_a_user,
    engine_descriptors_are_not_held_by_init,
    pidfd_socket_gets_the_init_process,
];

fn numbers(out: &Out) -> Vec<i64> {
    let report: Value = out.json();
    report["fds"].as_array().unwrap().iter().filter_map(|fd| fd["fd"].as_i64()).collect()
}

/// config.md#process: the standard three.
fn program_has_the_standard_descriptors_alone(t: &Test) {
    let out = t.bundle().probe().run().ok();
    assert_eq!(numbers(&out), [0, 1, 2], "{}", out.report());
}

/// CVE-2024-21626: files and directories that the engine forgot.
fn descriptors_of_the_caller_are_closed(t: &Test) {
    let line = "exec 3</etc 4</etc/passwd 7</ 8</proc 9>/dev/null; exec \"$@\"";
    let out = t.bundle().probe().run_cmd().through(line).run().ok();
    assert_eq!(numbers(&out), [0, 1, 2], "{}", out.report());
}

/// podman: `--preserve-fds`.
fn preserved_descriptors_are_passed_at_their_numbers(t: &Test) {
    t.make_file("three", "3");
    t.make_file("four", "4");
    let line = format!("exec 3<{0}/three 4<{0}/four 5</etc; exec \"$@\"", t.dir().display());
    let bundle = t.bundle().sh("cat <&3; cat <&4; ls /proc/self/fd | tr '\\n' ' '");
    let out = bundle.call("run", &["--preserve-fds", "2"]).through(&line).run().ok();
    assert!(out.stdout.starts_with("340 1 2 3 4"), "{}", out.report());
    let out = bundle.call("run", &["--preserve-fds=2"]).through(&line).run().ok();
    assert!(out.stdout.starts_with("34"), "{}", out.report());
    assert!(!out.stdout.contains(" 6 "), "{}", out.report());
}

/// runc: a descriptor that is not there is a mistake of the caller.
fn missing_preserved_descriptor_is_refused(t: &Test) {
    t.skip_for("crun", "tolerates holes");
    t.skip_older("runc", (1, 2), "tolerates holes");
    let out = t.bundle().call("run", &["--preserve-fds", "5"]).run().fails(&[]);
    assert!(out.message().contains("preserve"), "{}", out.report());
}

/// runc.
fn preserve_fds_of_no_number_is_refused(t: &Test) {
    for value in ["x", "-1", "1x"] {
        if t.is("crun") || (t.is("runc") && value == "-1") {
            continue;
        }
        let out = t.bundle().call("run", &["--preserve-fds", value]).run();
        assert!(out.code.is_some_and(|code| code != 0), "{value}: {}", out.report());
    }
}

/// sd_listen_fds(3).
fn socket_activation_passes_descriptors_and_names_init(t: &Test) {
    t.make_file("three", "3");
    let line = format!(
        "exec 3<{}/three; LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web; export LISTEN_FDS LISTEN_PID; exec \"$@\"",
        t.dir().display()
    );
    let out = t.bundle().sh("cat <&3; echo \" $LISTEN_FDS $LISTEN_PID\"").run_cmd().through(&line).run().ok();
    assert_eq!(out.stdout, "3 1 1\n");
    // Nothing else comes along, and a container that is started later has them as well.
    let line = format!("exec 5</etc; exec 4<{}/three; {line}", t.dir().display());
    let line = line.replace("LISTEN_FDS=1", "LISTEN_FDS=2");
    let bundle = t.bundle().probe();
    let out = bundle.call("create", &[]).through(&line).run().ok();
    let c = Container::new(t, bundle.id(), &out);
    c.start();
    c.wait_stopped();
    let report: Value = serde_json::from_str(&c.stdout()).expect("the report of the probe");
    let open: Vec<i64> =
        report["fds"].as_array().unwrap().iter().filter_map(|fd| fd["fd"].as_i64()).collect();
    assert_eq!(open, [0, 1, 2, 3, 4]);
    let env = report["env"].to_string();
    assert!(env.contains("LISTEN_FDS=2") && env.contains("LISTEN_PID=1"), "{env}");
}

/// sd_listen_fds(3): the pid says whom the descriptors are for.
fn socket_activation_for_somebody_else_is_ignored(t: &Test) {
    t.skip_for("crun", "passes them all the same");
    t.skip_older("runc", (1, 2), "passes them all the same");
    let line = "exec 3</etc; LISTEN_FDS=1 LISTEN_PID=1; export LISTEN_FDS LISTEN_PID; exec \"$@\"";
    let out = t
        .bundle()
        .sh("[ ! -e /proc/$$/fd/3 ] || echo leaked; echo \"<$LISTEN_FDS$LISTEN_PID>\"")
        .run_cmd()
        .through(line)
        .run()
        .ok();
    assert_eq!(out.stdout, "<>\n", "{}", out.report());
}

fn links(c: &Container, dir: &str) -> Vec<String> {
    let dir = format!("/proc/{}/{dir}", c.pid());
    let Ok(entries) = fs::read_dir(&dir) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|to| to.to_string_lossy().into_owned())
        .collect()
}

/// runc's own audit: no directory, no file but the standard streams.
fn created_init_holds_nothing_of_the_host(t: &Test) {
    t.skip_older("runc", (1, 2), "holds its log and a directory");
    t.skip_for("runc", "holds a copy of its program and a procfs of the container");
    t.skip_for("crun", "holds the fifo and a directory");
    let bundle = t.bundle().args(["sleep", "100"]);
    bundle.call("create", &[]).through("exec 7</etc 9</; exec \"$@\"").run().ok();
    let c = Container::new(t, bundle.id(), &t.cmd(["state", bundle.id()]).run());
    for link in links(&c, "fd") {
        let harmless =
            ["socket:", "pipe:", "anon_inode:", "/dev/null"].iter().any(|kind| link.starts_with(kind));
        // Its stdout and stderr are files of the test.
        let own = link.ends_with(".stdout") || link.ends_with(".stderr") || link.ends_with("exec.fifo");
        let of_its_procfs = t.is("runc") && link == "/1/task/1/fd";
        // For the exec of an unprivileged user.
        let own_namespace = links(&c, "ns").contains(&link);
        assert!(harmless || own || of_its_procfs || own_namespace, "init holds {link}");
    }
    for name in ["cwd", "root"] {
        let at = fs::read_link(format!("/proc/{}/{name}", c.pid())).unwrap();
        assert!(
            at == Path::new("/") || at.starts_with(bundle.rootfs()),
            "{name} of init is {}",
            at.display()
        );
    }
}

/// And once it runs nothing at all.
fn running_container_holds_nothing_of_the_host(t: &Test) {
    let c = t.bundle().args(["sleep", "100"]).create();
    c.start();
    t.until("the program", || {
        fs::read_to_string(format!("/proc/{}/comm", c.pid()))
            .is_ok_and(|name| name == "sleep\n" || name == "busybox\n")
    });
    assert_eq!(links(&c, "fd").len(), 3, "{:?}", links(&c, "fd"));
}

/// Some callers start with closed descriptors; the next open must not land there.
fn closed_standard_descriptors_do_no_harm(t: &Test) {
    t.skip_older("runc", (1, 2), "mixes up its descriptors");
    t.skip_for("crun", "mixes up its descriptors");
    let shared = t.make_dir("shared");
    for line in ["exec <&-", "exec >&-", "exec 2>&-", "exec <&- >&-", "exec >&- 2>&-", "exec <&- >&- 2>&-"] {
        let bundle = t
            .bundle()
            .bind(&shared, "/shared", &["bind"])
            .sh("ls -l /proc/$$/fd >/shared/fds; echo fine >/shared/ran");
        bundle.run_cmd().through(&format!("{line}; exec \"$@\"")).run().ok();
        assert!(shared.join("ran").exists(), "{line}");
        let text = fs::read_to_string(shared.join("fds")).unwrap();
        assert!(!text.contains("/state") && !text.contains("anon_inode"), "{line}: {text}");
        fs::remove_file(shared.join("ran")).unwrap();
    }
}

/// The very file, so that its owner may be asked and it may be truncated.
fn file_as_stdout_is_passed_itself(t: &Test) {
    use std::os::unix::fs::MetadataExt;
    let bundle = t.bundle().sh("stat -L -c %i /proc/self/fd/1");
    let out = bundle.call("run", &["--detach"]).run().ok();
    t.until("the number", || fs::read_to_string(&out.stdout_path).is_ok_and(|text| text.ends_with('\n')));
    let number = fs::read_to_string(&out.stdout_path).unwrap();
    assert_eq!(number.trim(), fs::metadata(&out.stdout_path).unwrap().ino().to_string());
}

/// runc: nothing of the host's /dev.
fn null_device_of_the_host_becomes_that_of_the_container(t: &Test) {
    t.skip_for("crun", "leaves it");
    // Differs from runc: nothing that the image controls is opened for stdio, CVE-2026-88265.
    // In a user namespace both are the node of the host.
    let expected = if t.is("teu") && t.caller() == Caller::Root { "1:3\n" } else { "own\n1:3\n" };
    let bundle =
        t.bundle().sh("[ /dev/null -ef /proc/self/fd/0 ] && echo own; stat -L -c %t:%T /proc/self/fd/0");
    let out = bundle.call("run", &["--detach"]).run().ok();
    t.until("the answer", || fs::read_to_string(&out.stdout_path).is_ok_and(|text| text.contains("1:3")));
    assert_eq!(fs::read_to_string(&out.stdout_path).unwrap(), expected);
}

/// Programs that log to /dev/stderr open it.
fn standard_streams_can_be_opened_again_by_a_user(t: &Test) {
    let (mut read, write) = std::io::pipe().unwrap();
    let second = write.try_clone().unwrap();
    let bundle = t.bundle().set("/process/user/uid", 1000).sh("echo out >/dev/stdout; echo err >/dev/stderr");
    bundle.run_cmd().output_to(write.into(), second.into()).run().ok();
    let mut text = String::new();
    use std::io::Read;
    read.read_to_string(&mut text).unwrap();
    // A runtime that copies the streams may change their order.
    assert!(text.contains("out\n") && text.contains("err\n") && text.len() == 8, "{text}");
}

/// containerd waits for the end of what it gave to the runtime.
fn engine_descriptors_are_not_held_by_init(t: &Test) {
    use std::io::Read;
    let (mut read, write) = std::io::pipe().unwrap();
    let bundle = t.bundle().args(["sleep", "100"]);
    // The end of the pipe is descriptor 8 of the call alone.
    use std::os::fd::AsRawFd;
    let line = format!("exec 8>/proc/{}/fd/{}; exec \"$@\"", std::process::id(), write.as_raw_fd());
    bundle.call("run", &["--detach"]).through(&line).run().ok();
    drop(write);
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
}

/// runc: `--pidfd-socket`, before `create` and `run` return.
fn pidfd_socket_gets_the_init_process(t: &Test) {
    t.skip_older("runc", (1, 2), "has no --pidfd-socket");
    t.skip_for("crun", "has no --pidfd-socket");
    for options in [&["create"][..], &["run", "--detach"]] {
        let socket = ConsoleSocket::at(&t.dir().join("pidfd"));
        let path = socket.path.to_string_lossy().into_owned();
        let bundle = t.bundle().args(["sleep", "1000"]);
        let out = bundle.call(options[0], &[&options[1..], &["--pidfd-socket", &path]].concat()).run().ok();
        let c = Container::new(t, bundle.id(), &out);
        let received = socket.receive();
        assert_eq!((received.payload.as_slice(), received.fds.len()), (&b"standard"[..], 1));
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", received.fds[0].as_raw_fd())).unwrap();
        assert!(info.lines().any(|line| line == format!("Pid:\t{}", c.pid())), "{info}");
        c.delete_force();
        fs::remove_file(&socket.path).unwrap();
    }
}
