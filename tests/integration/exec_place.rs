//! `exec`: where the process is: namespaces, cgroups, descriptors, and what a hostile container can make of it.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::harness::container::namespace_of;
use crate::harness::{Caller, Container, HOSTILE, Out, Test, View, cgroup};

cases![
    process_is_in_every_namespace_of_the_container,
    process_is_in_the_user_namespace,
    user_namespace_with_namespaces_of_the_host_is_joined,
    process_that_joins_a_user_namespace_stays_hidden,
    namespace_of_the_host_stays_that_of_the_host,
    time_namespace_is_joined,
    root_directory_is_that_of_the_container,
    process_is_in_the_cgroups_of_the_container,
    option_names_a_cgroup_below,
    cgroup_outside_or_missing_is_refused,
    process_follows_an_init_that_has_moved_itself,
    standard_descriptors_alone_are_passed,
    preserved_descriptors_are_passed_at_their_numbers,
    missing_preserved_descriptor_is_refused,
    socket_activation_names_the_process,
    null_device_of_the_host_keeps_its_owner,
    closed_standard_descriptors_do_no_harm,
    working_directory_through_a_descriptor_is_refused,
    program_through_a_descriptor_is_refused,
    own_executable_cannot_be_the_program,
    watcher_in_the_container_sees_nothing_of_the_host,
    watcher_sees_nothing_of_a_container_that_joins_its_namespaces,
];

const KINDS: [&str; 6] = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];

fn namespaces(c: &Container, options: &[&str]) -> Value {
    c.exec_report(options)["namespaces"].clone()
}

/// config-linux.md#namespaces.
fn process_is_in_every_namespace_of_the_container(t: &Test) {
    let c = t.bundle().namespace("cgroup", None).idle();
    let report = namespaces(&c, &[]);
    for kind in KINDS {
        assert_eq!(report[kind], c.namespace(kind), "{kind}");
        assert_ne!(report[kind], namespace_of("self", kind), "{kind}");
    }
}

fn first_id(report: &Value) -> &str {
    report["status"]["Uid"].as_str().unwrap_or_default().split('\t').next().unwrap_or_default()
}

/// user_namespaces(7): with all that belongs to it.
fn process_is_in_the_user_namespace(t: &Test) {
    let limits = json!([{ "type": "RLIMIT_NOFILE", "soft": 20, "hard": 30 }]);
    let c = t.bundle().in_user_namespace().set("/process/rlimits", limits).idle();
    let file = t.dir().join("pid");
    c.exec(&["-d", "-u", "1000:1000", "--pid-file", &file.to_string_lossy()], &["sleep", "1000"]).ok();
    let pid = fs::read_to_string(&file).unwrap();
    let outside = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(outside.contains("Uid:\t101000\t101000\t101000\t101000\n"), "{outside}");
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts"] {
        assert_eq!(namespace_of(&pid, kind), c.namespace(kind), "{kind}");
    }
    let report = c.exec_report(&[]);
    assert_eq!(first_id(&report), "0");
    assert_eq!(report["status"]["CapInh"], "0000000000000000");
    assert!(report["env"].as_array().unwrap().contains(&json!("HOME=/root")), "{}", report["env"]);
    c.exec(&["-u", "70000"], &["true"]).fails(&[]);
}

/// Some belong to the user namespace of the host, some to the container's.
fn user_namespace_with_namespaces_of_the_host_is_joined(t: &Test) {
    t.skip_older("runc", (1, 2), "joins the user namespace first");
    let first = t.bundle().idle();
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid());
    let bundle = t
        .bundle()
        .in_user_namespace()
        .namespace("network", Some(&path("net")))
        .namespace("ipc", Some(&path("ipc")));
    let c = bundle.without_mounts("/sys").without_mounts("/dev/mqueue").idle();
    let report = namespaces(&c, &[]);
    for kind in ["net", "ipc"] {
        assert_eq!(report[kind], first.namespace(kind), "{kind}");
    }
    for kind in ["user", "mnt", "pid", "uts"] {
        assert_eq!(report[kind], c.namespace(kind), "{kind}");
    }
}

/// Where fs.suid_dumpable is 1, every change of ids and every user namespace of somebody else lets others trace a
/// process: so nothing comes between such a call and the one that takes it back. The setting is one of the machine.
fn process_that_joins_a_user_namespace_stays_hidden(t: &Test) {
    t.only_teu("others hide at other points");
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        t.skip("strace is missing");
    }
    let first = t.bundle().in_user_namespace().idle();
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid());
    let second = t.bundle().namespace("user", Some(&path("user"))).namespace("pid", Some(&path("pid")));
    let exec = t.cmd(["exec", "--user", "5:6", &first.id, "true"]);
    for (what, cmd) in [("exec", exec), ("run", second.args(["true"]).run_cmd())] {
        let trace = t.dir().join(format!("trace-{what}"));
        let line = format!(
            "exec strace -f -qq -e trace=setns,setresuid,setresgid,prctl -o {} \"$@\"",
            trace.display()
        );
        cmd.through(&line).run().ok();
        let text = fs::read_to_string(&trace).unwrap();
        let calls: Vec<(&str, &str)> = text
            .lines()
            .filter(|line| !line.contains(" resumed>") && !line.contains("= -1 "))
            .filter_map(|line| line.split_once(' '))
            .collect();
        let mut changes = 0;
        for (index, (pid, call)) in calls.iter().enumerate() {
            let joins = call.contains("setns(") && call.contains("CLONE_NEWUSER");
            if !joins && !call.contains("setresuid(") && !call.contains("setresgid(") {
                continue;
            }
            changes += 1;
            let next = calls[index + 1..].iter().find(|(other, _)| other == pid);
            let hides = next.is_some_and(|(_, next)| next.contains("PR_SET_DUMPABLE, SUID_DUMP_DISABLE"));
            assert!(hides, "{what}: {pid} {call}, then {next:?}\n{text}");
        }
        assert!(changes >= 5, "{what}:\n{text}");
    }
}

/// What is not listed is not made, and not joined.
fn namespace_of_the_host_stays_that_of_the_host(t: &Test) {
    let bundle = t.bundle().without_namespace("network").without_namespace("pid").without_namespace("uts");
    let c = bundle.idle();
    let report = namespaces(&c, &[]);
    for kind in ["net", "pid", "uts"] {
        assert_eq!(report[kind], namespace_of("self", kind), "{kind}");
    }
    assert_eq!(report["mnt"], c.namespace("mnt"));
}

/// time_namespaces(7).
fn time_namespace_is_joined(t: &Test) {
    t.only_teu("old runtimes have none");
    let offsets = json!({ "boottime": { "secs": 1_000_000 } });
    let c = t.bundle().namespace("time", None).set("/linux/timeOffsets", offsets).idle();
    assert_eq!(namespaces(&c, &[])["time"], c.namespace("time"));
    let out = c.exec_sh(&[], "cut -d . -f 1 /proc/uptime").ok();
    assert!(out.stdout.trim().parse::<u64>().unwrap() > 1_000_000, "{}", out.report());
}

/// setns(2) of a mount namespace.
fn root_directory_is_that_of_the_container(t: &Test) {
    let bundles = [t.bundle(), t.bundle()];
    let [plain, moved] = bundles.map(|bundle| bundle.file("/etc/mark", "here\n").args(["sleep", "1000"]));
    let plain = plain.run_detached();
    let out = moved.call("run", &["--detach", "--no-pivot"]).run().ok();
    for c in [plain, Container::new(t, moved.id(), &out)] {
        let out = c.exec_sh(&["--cwd", "/"], "cat /../../etc/mark; cd ..; pwd; ls -d /proc/1").ok();
        assert_eq!(out.stdout, "here\n/\n/proc/1\n");
    }
}

fn cgroups_of(pid: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap()
}

fn detached_pid(t: &Test, c: &Container, options: &[&str]) -> String {
    let file = t.dir().join(format!("pid{}", t.next_number()));
    let path = file.to_string_lossy().into_owned();
    let options: Vec<&str> = ["-d", "--pid-file", &path].into_iter().chain(options.iter().copied()).collect();
    c.exec(&options, &["sleep", "1000"]).ok();
    fs::read_to_string(file).unwrap()
}

/// All of them, from the first moment.
fn process_is_in_the_cgroups_of_the_container(t: &Test) {
    let c = t.bundle().idle();
    let expected = cgroups_of(&c.pid().to_string());
    assert!(expected.contains(&c.id), "{expected}");
    // crun does not use version 2 beside version 1.
    assert_eq!(cgroups_of(&detached_pid(t, &c, &[])), expected);
}

fn below(t: &Test, c: &Container) -> (std::path::PathBuf, String) {
    match t.view() {
        View::V2 => {
            let root = cgroup::hierarchies().into_iter().find(|h| h.v2).unwrap();
            (root.of(&c.id).join("below"), "below".to_owned())
        }
        _ => (cgroup::hierarchy("pids").unwrap().of(&c.id).join("below"), "pids:below".to_owned()),
    }
}

/// runc: `--cgroup`.
fn option_names_a_cgroup_below(t: &Test) {
    t.skip_for("crun", "knows no controllers");
    let c = t.bundle().idle();
    let (dir, option) = below(t, &c);
    fs::create_dir(&dir).unwrap();
    t.caller().own(&dir, None).unwrap();
    let pid = detached_pid(t, &c, &["--cgroup", &option]);
    assert!(cgroups_of(&pid).contains(&format!("/{}/below\n", t.place(&c.id))), "{}", cgroups_of(&pid));
    assert_eq!(cgroup::procs(&dir), [pid.parse::<i32>().unwrap()]);
}

/// runc: never a silent stay somewhere else.
fn cgroup_outside_or_missing_is_refused(t: &Test) {
    t.only_teu("old runtimes take some of them");
    let c = t.bundle().idle();
    let prefix = if t.view() == View::V2 { "" } else { "pids:" };
    for (path, text) in [
        ("../", "bad sub cgroup path"),
        ("../../x", "bad sub cgroup path"),
        ("a/../../b", "bad sub cgroup path"),
        ("nowhere", "missing cgroup"),
    ] {
        let out = c.exec(&["--cgroup", &format!("{prefix}{path}")], &["true"]).exits(255).fails(&[text]);
        assert!(!out.message().contains("no such file"), "{}", out.report());
    }
    if t.view() != View::V2 {
        c.exec(&["--cgroup", "nothing:x"], &["true"]).exits(255).fails(&["unknown controller nothing"]);
        c.exec(&["--cgroup", "x"], &["true"]).exits(255).fails(&["missing <controller>: prefix"]);
        c.exec(&["--cgroup", ":x"], &["true"]).exits(255).fails(&["empty <controller> prefix"]);
        let twice = ["--cgroup", "pids:/", "--cgroup", "pids:x"];
        c.exec(&twice, &["true"]).exits(255).fails(&["controller pids specified multiple times"]);
    } else {
        let out = c.exec(&["--cgroup", "/", "--cgroup", "/"], &["true"]).exits(255);
        out.fails(&["more than one, and cgroup2 has one hierarchy"]);
    }
}

/// cgroups(7): one that has given controllers on takes no process any more, as with systemd in the container.
fn process_follows_an_init_that_has_moved_itself(t: &Test) {
    if t.view() != View::V2 {
        t.skip("only cgroup2 has the rule");
    }
    t.skip_older("runc", (1, 2), "fails");
    let c = t.bundle().idle();
    let root = cgroup::hierarchies().into_iter().find(|h| h.v2).unwrap().of(&c.id);
    fs::create_dir(root.join("init")).unwrap();
    t.caller().own(&root.join("init"), None).unwrap();
    fs::write(root.join("init/cgroup.procs"), c.pid().to_string()).unwrap();
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap();
    let Some(controller) = controllers.split_whitespace().next() else {
        t.skip("no controller is available")
    };
    fs::write(root.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
    let pid = detached_pid(t, &c, &[]);
    assert!(cgroups_of(&pid).contains(&format!("0::/{}/init\n", t.place(&c.id))), "{}", cgroups_of(&pid));
    let words = if t.is("teu") { "adding the process to the cgroups" } else { "to cgroups" };
    c.exec(&["--cgroup", "/"], &["true"]).exits(255).fails(&[words]);
}

fn numbers(out: &Out) -> Vec<i64> {
    out.json()["fds"].as_array().unwrap().iter().filter_map(|fd| fd["fd"].as_i64()).collect()
}

/// CVE-2016-9962, CVE-2024-21626: descriptors that the engine forgot do not come along.
fn standard_descriptors_alone_are_passed(t: &Test) {
    let c = t.bundle().idle();
    let line =
        "exec 3</etc 4</etc/passwd 5</ 6</proc 7</sys/fs/cgroup 8>/dev/null 9</proc/self/ns/mnt; exec \"$@\"";
    let cmd = |options: &[&str]| c.exec_cmd(options, &["probe", "report"]);
    assert_eq!(numbers(&cmd(&[]).run().ok()), [0, 1, 2]);
    assert_eq!(numbers(&cmd(&[]).through(line).run().ok()), [0, 1, 2]);
    assert_eq!(numbers(&cmd(&["-u", "1000"]).through(line).run().ok()), [0, 1, 2]);
}

/// podman: `exec --preserve-fds`.
fn preserved_descriptors_are_passed_at_their_numbers(t: &Test) {
    let c = t.bundle().idle();
    t.make_file("three", "3");
    t.make_file("four", "4");
    let line = format!("exec 3<{0}/three 4<{0}/four 5</etc; exec \"$@\"", t.dir().display());
    for option in [&["--preserve-fds", "2"][..], &["--preserve-fds=2"]] {
        let script = "cat <&3; cat <&4; ls /proc/self/fd | tr '\\n' ' '";
        let out = c.exec_cmd(option, &["sh", "-c", script]).through(&line).run().ok();
        assert!(out.stdout.starts_with("340 1 2 3 4 ") && !out.stdout.contains(" 6 "), "{}", out.report());
    }
}

/// runc.
fn missing_preserved_descriptor_is_refused(t: &Test) {
    t.skip_for("crun", "tolerates holes");
    t.skip_older("runc", (1, 2), "tolerates holes");
    let c = t.bundle().idle();
    c.exec(&["--preserve-fds", "5"], &["true"]).fails(&["preserve"]);
}

/// sd_listen_fds(3).
fn socket_activation_names_the_process(t: &Test) {
    t.only_teu("runc ignores it");
    let c = t.bundle().idle();
    t.make_file("three", "3");
    let line = format!(
        "exec 3<{}/three; LISTEN_FDS=1 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID; exec \"$@\"",
        t.dir().display()
    );
    let script = "cat <&3; [ $LISTEN_PID = $$ ] && echo \" $LISTEN_FDS own\"";
    let out = c.exec_cmd(&[], &["sh", "-c", script]).through(&line).run().ok();
    assert_eq!(out.stdout, "3 1 own\n");
    let out = c
        .exec_cmd(&[], &["sh", "-c", "echo $LISTEN_PID$LISTEN_FDS"])
        .env("LISTEN_FDS", "1")
        .env("LISTEN_PID", "1");
    assert_eq!(out.run().ok().stdout, "\n");
}

/// runc: a user of a container owns no device of the host.
fn null_device_of_the_host_keeps_its_owner(t: &Test) {
    use std::os::unix::fs::MetadataExt;
    let c = t.bundle().idle();
    c.exec(&["-u", "1000"], &["true"]).ok();
    assert_eq!(fs::metadata("/dev/null").unwrap().uid(), 0);
}

/// Nothing of ours may land in the number of a missing stream.
fn closed_standard_descriptors_do_no_harm(t: &Test) {
    let shared = t.make_dir("shared");
    let c = t.bundle().bind(&shared, "/shared", &["bind"]).idle();
    for line in ["exec <&-", "exec >&-", "exec 2>&-", "exec <&- >&- 2>&-"] {
        let script = "ls -l /proc/$$/fd >/shared/fds; echo fine >/shared/ran";
        c.exec_cmd(&[], &["sh", "-c", script]).through(&format!("{line}; exec \"$@\"")).run().ok();
        assert!(shared.join("ran").exists(), "{line}");
        let text = fs::read_to_string(shared.join("fds")).unwrap();
        assert!(!text.contains("/state") && !text.contains("anon_inode"), "{line}: {text}");
        fs::remove_file(shared.join("ran")).unwrap();
    }
}

/// CVE-2024-21626: by number, by a link of the image, and through the process of somebody else.
fn working_directory_through_a_descriptor_is_refused(t: &Test) {
    t.only_teu(HOSTILE);
    let mut bundle = t.bundle();
    for number in 3..12 {
        bundle = bundle.link(format!("/proc/self/fd/{number}"), &format!("/link{number}"));
    }
    let c = bundle.idle();
    let line = "exec 3</ 7</ 9</etc 8</sys/fs/cgroup; exec \"$@\"";
    for number in 3..12 {
        for cwd in [
            format!("/proc/self/fd/{number}"),
            format!("/proc/thread-self/fd/{number}"),
            format!("/proc/self/fd/{number}/../.."),
            format!("/link{number}"),
        ] {
            let out = c.exec_cmd(&["--cwd", &cwd], &["/bin/probe", "report"]).through(line).run();
            out.exits(255).fails(&["chdir to cwd"]);
        }
    }
    c.exec(&["--cwd", "/proc/1/root"], &["true"]).exits(255).fails(&["chdir to cwd"]);
}

/// CVE-2024-21626: a program of the host.
fn program_through_a_descriptor_is_refused(t: &Test) {
    t.only_teu(HOSTILE);
    let c = t.bundle().idle();
    for number in 3..12 {
        let program = format!("/proc/self/fd/{number}/bin/sh");
        let cmd = c.exec_cmd(&[], &[&program, "-c", "exit 0"]);
        let out = cmd.through("exec 3</ 7</ 9</etc 8</sys/fs/cgroup; exec \"$@\"").run();
        out.exits(255).fails(&["exec: "]);
    }
}

/// CVE-2019-5736.
fn own_executable_cannot_be_the_program(t: &Test) {
    t.only_teu(HOSTILE);
    let all = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH"]);
    let c = t
        .bundle()
        .set("/process/capabilities", json!({ "bounding": all, "effective": all, "permitted": all }))
        .script("/bin/script", "#!/proc/self/exe\n")
        .link("/proc/self/exe", "/link")
        .idle();
    for program in ["/proc/self/exe", "/link", "/bin/script"] {
        let out = c.exec(&[], &[program, "--version"]);
        out.exits(255).fails(&["permission denied"]);
    }
}

/// CVE-2016-9962, CVE-2019-5736: a process with every right in the container looks at each new process.
fn watcher_in_the_container_sees_nothing_of_the_host(t: &Test) {
    let c = watcher(t);
    for _ in 0..150 {
        c.exec(&[], &["true"]).ok();
    }
    has_seen_nothing(t);
}

/// The same for the init process of another container, which never gets as far as its program.
fn watcher_sees_nothing_of_a_container_that_joins_its_namespaces(t: &Test) {
    if t.caller() == Caller::Root {
        t.skip("with CAP_SYS_PTRACE the root of the host may look at everything; TEU_AS=user and TEU_AS=userns run it");
    }
    let c = watcher(t);
    let pids = format!("/proc/{}/ns/pid", c.pid());
    for _ in 0..30 {
        let joins = t.bundle().in_pod_of(&c).namespace("pid", Some(&pids)).args(["true"]).create();
        joins.delete_force();
    }
    // Something that it does see.
    c.exec(&[], &["sleep", "0.5"]).ok();
    has_seen_nothing(t);
}

/// A container that looks at every process of its pid namespace all the time.
fn watcher(t: &Test) -> Container<'_> {
    t.only_teu(HOSTILE);
    let all = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH"]);
    let shared = t.make_dir("shared");
    // A directory of the host is called / as well, but it is another one. What is gone by the time of the
    // comparison was not seen.
    let script = "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || for f in $p/fd/* $p/cwd $p/root; do \
                  [ -L $f ] && { readlink $f; [ -d $f ] && ! [ $f -ef / ] && [ -d $f ] && echo foreign $f; } \
                  >>/shared/seen; done; done; done";
    t.bundle()
        .set("/process/capabilities", json!({ "bounding": all, "effective": all, "permitted": all }))
        .bind(&shared, "/shared", &["bind"])
        .sh(script)
        .run_detached()
}

#[track_caller]
fn has_seen_nothing(t: &Test) {
    let seen = fs::read_to_string(t.dir().join("shared/seen")).unwrap_or_default();
    let kinds: BTreeSet<&str> = seen.lines().collect();
    // The streams of the caller are a null device and two files of the test, which are passed on purpose. The
    // watcher sees its own file as well.
    let ours =
        |link: &&&str| link.ends_with(".stdout") || link.ends_with(".stderr") || **link == "/shared/seen";
    let known =
        |link: &&&str| **link == "/" || **link == "/dev/null" || link.starts_with("socket:[") || ours(link);
    let strange: Vec<_> = kinds.iter().filter(|link| !known(link)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(!kinds.is_empty(), "the watcher has seen nothing at all");
}
