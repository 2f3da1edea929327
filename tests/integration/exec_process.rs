//! `exec`: who the process is, what it may do, and what it inherits from the container's configuration.

use serde_json::{Value, json};

use crate::harness::report::status;
use crate::harness::{Bundle, Test, own_nice};

cases![
    user_is_set_and_the_group_of_the_config_stays,
    user_that_is_no_pair_of_numbers_is_refused,
    user_number_is_not_looked_up_as_a_name,
    groups_of_the_config_stay_and_more_can_be_added,
    groups_of_the_caller_are_dropped,
    environment_is_that_of_the_config_and_the_options,
    entry_of_the_environment_without_a_value_is_refused,
    home_is_that_of_the_user,
    home_does_not_depend_on_a_proc_of_the_container,
    working_directory_is_that_of_the_config_or_the_option,
    missing_working_directory_is_refused_and_not_made,
    relative_working_directory_is_refused,
    working_directory_of_the_user_alone_works,
    capabilities_are_those_of_the_config,
    added_capability_is_never_inheritable,
    added_capability_is_ambient_where_the_config_has_inheritable_ones,
    unknown_capability_is_refused,
    capabilities_of_a_process_file_are_taken_and_else_those_of_the_config,
    absent_capabilities_are_none,
    no_new_privileges_comes_from_the_config_or_the_option,
    no_new_privileges_of_a_process_file_stands_alone,
    filter_of_the_config_is_loaded,
    filter_is_loaded_after_everything_that_it_could_refuse,
    notify_hands_the_listener_of_the_process_to_the_agent,
    rlimits_of_the_config_are_set,
    rlimits_of_a_process_file_replace_them,
    umask_of_the_config_is_set,
    oom_score_of_the_config_is_set,
    personality_of_the_config_is_set,
    scheduler_of_the_config_or_the_file_is_set,
    processors_of_the_config_are_taken_by_exec_alone,
    labels_of_a_security_module_that_is_off_are_refused,
    process_leads_its_own_session_with_default_signals,
    session_keyring_is_that_of_the_container,
];

fn sets(report: &Value) -> [String; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|name| {
        let mask = u64::from_str_radix(status(report, name), 16).unwrap_or(u64::MAX);
        format!("{mask:x}")
    })
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn capable<'t>(bundle: Bundle<'t>, names: &[&str], of: &[&str]) -> Bundle<'t> {
    let listed = of.iter().map(|set| ((*set).to_owned(), json!(names))).collect();
    bundle.set("/process/capabilities", Value::Object(listed))
}

const THREE: [&str; 3] = ["bounding", "effective", "permitted"];

fn file(t: &Test, process: Value) -> String {
    let name = format!("process{}.json", t.next_number());
    t.make_file(&name, process.to_string()).to_string_lossy().into_owned()
}

fn report_of_file(t: &Test, members: Value) -> String {
    let mut process = json!({ "args": ["/bin/probe", "report"], "cwd": "/", "user": { "uid": 0, "gid": 0 } });
    for (name, value) in members.as_object().into_iter().flatten() {
        process[name] = value.clone();
    }
    file(t, process)
}

/// runc: `--user UID[:GID]`.
fn user_is_set_and_the_group_of_the_config_stays(t: &Test) {
    t.skip_for("crun", "takes group 0");
    let c = t.bundle().set("/process/user", json!({ "uid": 3, "gid": 7 })).idle();
    for (user, expected) in
        [("1000", "1000:7"), ("1000:5", "1000:5"), ("0:0", "0:0"), ("2147483647", "2147483647:7")]
    {
        let out = c.exec_sh(&["--user", user], "echo $(id -u):$(id -g)").ok();
        assert_eq!(out.stdout.trim(), expected, "{user}");
    }
    assert_eq!(c.exec_sh(&[], "echo $(id -u):$(id -g)").ok().stdout, "3:7\n");
}

/// CVE-2016-3697, CVE-2024-40635, CVE-2026-30892: nothing is root by mistake.
fn user_that_is_no_pair_of_numbers_is_refused(t: &Test) {
    t.only_teu("old runtimes read some of them as 0");
    let c = t.bundle().idle();
    for user in
        ["", " 1", "+1", "-1", "1:", ":1", "0x1", "1e3", "4294967295", "4294967296", "root", "1:root", "１"]
    {
        c.exec(&["--user", user], &["true"]).exits(255).fails(&["bad "]);
    }
    for group in ["-1", "x", "4294967295", ""] {
        c.exec(&["--additional-gids", group], &["true"]).exits(255).fails(&["bad additional gid"]);
    }
}

/// CVE-2016-3697: a user of the image whose name is a number.
fn user_number_is_not_looked_up_as_a_name(t: &Test) {
    let c = t.bundle().file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n1000:x:0:0::/fake:/bin/sh\n").idle();
    let report = c.exec_report(&["-u", "1000"]);
    assert_eq!(words(status(&report, "Uid")), ["1000"; 4]);
}

fn groups(report: &Value) -> Vec<String> {
    let mut groups: Vec<String> = words(status(report, "Groups")).into_iter().map(str::to_owned).collect();
    groups.sort();
    groups
}

/// runc.
fn groups_of_the_config_stay_and_more_can_be_added(t: &Test) {
    t.skip_for("crun", "has no --additional-gids");
    let user = json!({ "uid": 1000, "gid": 1000, "additionalGids": [100, 5] });
    let c = t.bundle().set("/process/user", user).idle();
    assert_eq!(groups(&c.exec_report(&["-u", "7"])), ["100", "5"]);
    let report = c.exec_report(&["-g", "65534", "-g", "9"]);
    assert_eq!(groups(&report), ["100", "5", "65534", "9"]);
}

/// CVE-2022-36109 class.
fn groups_of_the_caller_are_dropped(t: &Test) {
    let c = t.bundle().idle();
    let cmd = c.exec_cmd(&["-u", "1000:1000"], &["probe", "report"]);
    let report = cmd.through("exec setpriv --groups 4,24,27 \"$@\"").run().ok().json();
    assert!(groups(&report).is_empty() || groups(&report) == ["1000"], "{:?}", groups(&report));
}

/// runc: appended, and the last of two equal names wins. Nothing comes from the caller.
fn environment_is_that_of_the_config_and_the_options(t: &Test) {
    let c = t.bundle().env(&["A=config", "B=config", "HOME=/h"]).idle();
    let cmd = c.exec_cmd(&["-e", "B=first", "-e", "C=a=b", "-e", "B=last"], &["env"]);
    let out = cmd.env("OF_CALLER", "1").env("LD_PRELOAD", "/x").run().ok();
    let mut lines = out.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["A=config", "B=last", "C=a=b", "HOME=/h", "PATH=/usr/bin:/bin"]);
}

/// runc.
fn entry_of_the_environment_without_a_value_is_refused(t: &Test) {
    t.only_teu("old runtimes pass it on");
    let c = t.bundle().idle();
    c.exec(&["-e", "NOTHING"], &["true"]).exits(255).fails(&["NAME=VALUE", "/process/env/1"]);
}

/// runc: of the user of this process, and an empty one counts as none.
fn home_is_that_of_the_user(t: &Test) {
    t.skip_for("crun", "sets no HOME for an unknown user");
    let passwd = "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/srv/app:/bin/sh\n";
    let c = t.bundle().file("/etc/passwd", passwd).idle();
    for (user, home) in [("0", "/root"), ("1000", "/srv/app"), ("7", "/")] {
        assert_eq!(c.exec_sh(&["-u", user], "echo $HOME").ok().stdout.trim(), home, "{user}");
    }
    assert_eq!(c.exec_sh(&["-e", "HOME=/mine"], "echo $HOME").ok().stdout, "/mine\n");
    if t.is("teu") {
        assert_eq!(c.exec_sh(&["-e", "HOME="], "echo $HOME").ok().stdout, "/root\n");
    }
}

/// CVE-2015-1334: what is on /proc of the container is the container's.
fn home_does_not_depend_on_a_proc_of_the_container(t: &Test) {
    t.only_teu(crate::harness::HOSTILE);
    let fake = "mount -t tmpfs none /proc; mkdir -p /proc/thread-self/attr; ln -s /etc /proc/thread-self/fd; \
                echo untouched >/proc/thread-self/attr/exec; ln -s thread-self /proc/self; echo ready; \
                exec sleep 1000";
    let c = capable(t.bundle(), &["CAP_SYS_ADMIN"], &THREE).sh(fake).run_detached();
    c.wait_for_stdout("ready");
    let out = c.exec_sh(&["-u", "0"], "echo $HOME; ls /proc; cat /proc/self/attr/exec").ok();
    assert_eq!(out.stdout, "/root\nself\nthread-self\nuntouched\n");
}

/// runc.
fn working_directory_is_that_of_the_config_or_the_option(t: &Test) {
    let c = t.bundle().set("/process/cwd", "/etc").idle();
    assert_eq!(c.exec(&[], &["pwd"]).ok().stdout, "/etc\n");
    assert_eq!(c.exec(&["--cwd", "/tmp"], &["pwd"]).ok().stdout, "/tmp\n");
}

/// runc: `exec` is no reason to change the image. podman makes exit code 127 of the words.
fn missing_working_directory_is_refused_and_not_made(t: &Test) {
    let bundle = t.bundle();
    let made = bundle.inside("/nowhere");
    let c = bundle.idle();
    c.exec(&["--cwd", "/nowhere"], &["true"])
        .fails(&["chdir to cwd (\"/nowhere\")", "no such file or directory"]);
    assert!(!made.exists(), "the directory was made");
    c.exec(&["--cwd", "/etc/passwd"], &["true"]).fails(&["not a directory"]);
}

/// config.md#process.
fn relative_working_directory_is_refused(t: &Test) {
    let c = t.bundle().idle();
    c.exec(&["--cwd", "tmp"], &["true"]).fails(&["absolute"]);
}

/// A directory that root without CAP_DAC_OVERRIDE may not enter.
fn working_directory_of_the_user_alone_works(t: &Test) {
    let bundle = t.bundle().dir_inside("/home/own").mode("/home/own", 0o700);
    std::os::unix::fs::chown(bundle.inside("/home/own"), Some(1000), Some(1000)).unwrap();
    let c = bundle.idle();
    assert_eq!(c.exec(&["-u", "1000:1000", "--cwd", "/home/own"], &["pwd"]).ok().stdout, "/home/own\n");
}

/// config.md#linux-process.
fn capabilities_are_those_of_the_config(t: &Test) {
    let c = capable(t.bundle(), &["CAP_NET_RAW"], &THREE).idle();
    assert_eq!(sets(&c.exec_report(&[])), ["0", "2000", "2000", "2000", "0"]);
    assert_eq!(sets(&c.exec_report(&["-u", "1000"])), ["0", "0", "0", "2000", "0"]);
}

/// CVE-2022-29162.
fn added_capability_is_never_inheritable(t: &Test) {
    t.skip_for("crun", "replaces the others");
    let c = capable(t.bundle(), &["CAP_NET_RAW"], &THREE).idle();
    // CAP_KILL is 5, CAP_SYS_ADMIN is 21.
    let report = c.exec_report(&["-c", "CAP_KILL", "-c", "CAP_SYS_ADMIN"]);
    assert_eq!(sets(&report), ["0", "202020", "202020", "202020", "0"]);
}

/// runc.
fn added_capability_is_ambient_where_the_config_has_inheritable_ones(t: &Test) {
    t.only_teu("old runtimes do otherwise");
    let all = ["bounding", "effective", "permitted", "inheritable", "ambient"];
    let c = capable(t.bundle(), &["CAP_KILL"], &all).idle();
    // Ambient needs inheritable, which an option never widens.
    assert_eq!(sets(&c.exec_report(&["--cap", "CAP_NET_RAW"])), ["20", "2020", "2020", "2020", "20"]);
    assert_eq!(
        sets(&c.exec_report(&["--cap", "CAP_NET_RAW", "-u", "1000"])),
        ["20", "20", "20", "2020", "20"]
    );
}

/// A typing error must not silently change what a process may do.
fn unknown_capability_is_refused(t: &Test) {
    t.only_teu("other runtimes warn");
    let c = t.bundle().idle();
    c.exec(&["--cap", "CAP_NO_SUCH"], &["true"]).exits(255).fails(&["\"CAP_NO_SUCH\""]);
}

/// runc.
fn capabilities_of_a_process_file_are_taken_and_else_those_of_the_config(t: &Test) {
    t.skip_for("crun", "takes none");
    let c = capable(t.bundle(), &["CAP_NET_RAW"], &THREE).idle();
    let own = json!({ "capabilities": { "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] } });
    let path = report_of_file(t, own);
    assert_eq!(sets(&c.exec(&["-p", &path], &[]).ok().json()), ["0", "20", "20", "20", "0"]);
    let path = report_of_file(t, json!({}));
    assert_eq!(sets(&c.exec(&["-p", &path], &[]).ok().json()), ["0", "2000", "2000", "2000", "0"]);
}

/// youki's issue 3434: what is not listed is not there.
fn absent_capabilities_are_none(t: &Test) {
    t.skip_for("runc", "leaves all capabilities");
    let c = t.bundle().unset("/process/capabilities").idle();
    assert_eq!(sets(&c.exec_report(&[])), ["0"; 5]);
    assert_eq!(sets(&c.exec_report(&["-u", "1000"])), ["0"; 5]);
}

/// runc.
fn no_new_privileges_comes_from_the_config_or_the_option(t: &Test) {
    let c = t.bundle().idle();
    assert_eq!(status(&c.exec_report(&[]), "NoNewPrivs"), "0");
    assert_eq!(status(&c.exec_report(&["--no-new-privs"]), "NoNewPrivs"), "1");
    let c = t.bundle().set("/process/noNewPrivileges", true).idle();
    assert_eq!(status(&c.exec_report(&[]), "NoNewPrivs"), "1");
}

/// runc: engines say it in the file.
fn no_new_privileges_of_a_process_file_stands_alone(t: &Test) {
    t.only_teu("old runtimes merge it");
    let c = t.bundle().set("/process/noNewPrivileges", true).idle();
    let asked = |value: Value| c.exec(&["-p", &report_of_file(t, value)], &[]).ok().json();
    assert_eq!(status(&asked(json!({})), "NoNewPrivs"), "0");
    assert_eq!(status(&asked(json!({ "noNewPrivileges": true })), "NoNewPrivs"), "1");
}

fn profile(names: &[&str], action: &str) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{ "names": names, "action": action }],
    })
}

/// config-linux.md#seccomp: for every process of the container.
fn filter_of_the_config_is_loaded(t: &Test) {
    let c = t.bundle().set("/linux/seccomp", profile(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO")).idle();
    for options in [&[][..], &["--no-new-privs"], &["-u", "1000"]] {
        let out = c.exec_sh(options, "mkdir /tmp/x || echo refused; grep ^Seccomp: /proc/self/status").ok();
        assert_eq!(out.stdout, "refused\nSeccomp:\t2\n", "{options:?}");
    }
}

/// With no_new_privs the filter is the last step, so it may refuse all that comes before.
fn filter_is_loaded_after_everything_that_it_could_refuse(t: &Test) {
    let names = [
        "setuid",
        "setgid",
        "setgroups",
        "setresuid",
        "setresgid",
        "capset",
        "setns",
        "chdir",
        "fchdir",
        "setsid",
    ];
    let c = t
        .bundle()
        .set("/linux/seccomp", profile(&names, "SCMP_ACT_KILL_PROCESS"))
        .set("/process/noNewPrivileges", true)
        .idle();
    assert_eq!(status(&c.exec_report(&["-u", "1000:1000"]), "Seccomp"), "2");
}

/// config-linux.md#containerprocessstate: `pid` is the new process, `state` is the container.
fn notify_hands_the_listener_of_the_process_to_the_agent(t: &Test) {
    use crate::harness::console::ConsoleSocket;
    let agent = ConsoleSocket::at(&t.dir().join("agent"));
    let mut profile = profile(&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY");
    profile["listenerPath"] = agent.path.to_string_lossy().into();
    let bundle = t.bundle().set("/linux/seccomp", profile);
    let file = t.dir().join("pid");
    // The agent waits, since old runtimes send the descriptor in a message of its own.
    let patience = std::time::Duration::from_secs(10);
    let (c, first, received) = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| agent.receive_within(patience));
        let c = bundle.idle();
        let first = receiver.join().expect("the agent does not panic");
        let receiver = scope.spawn(|| agent.receive_within(patience));
        c.exec(&["-d", "--pid-file", &file.to_string_lossy()], &["sleep", "1000"]).ok();
        (c, first, receiver.join().expect("the agent does not panic"))
    });
    drop(first);
    let state: Value = serde_json::from_slice(&received.payload).unwrap();
    assert_eq!(received.fds.len(), 1);
    assert_eq!(state["pid"].to_string(), std::fs::read_to_string(&file).unwrap());
    assert_eq!(
        (state["state"]["status"].as_str(), state["state"]["pid"].as_i64()),
        (Some("running"), Some(c.pid().into()))
    );
}

fn limit(report: &Value, name: &str) -> Vec<String> {
    let text = report["limits"].as_str().unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    words(line.strip_prefix(name).unwrap_or_default()).into_iter().take(2).map(str::to_owned).collect()
}

fn limits(soft: u32, hard: u32) -> Value {
    json!([
        { "type": "RLIMIT_NOFILE", "soft": soft, "hard": hard },
        { "type": "RLIMIT_STACK", "soft": 1048576, "hard": 2097152 },
    ])
}

/// config.md#posix-process.
fn rlimits_of_the_config_are_set(t: &Test) {
    t.skip_older("runc", (1, 2), "raises the soft limit now and then");
    let c = t.bundle().set("/process/rlimits", limits(20, 30)).idle();
    let report = c.exec_report(&["-u", "1000"]);
    assert_eq!(limit(&report, "Max open files"), ["20", "30"]);
    assert_eq!(limit(&report, "Max stack size"), ["1048576", "2097152"]);
}

/// runc: the list of the file, unless it is empty.
fn rlimits_of_a_process_file_replace_them(t: &Test) {
    t.skip_older("runc", (1, 2), "raises the soft limit now and then");
    t.skip_for("crun", "takes none");
    let c = t.bundle().set("/process/rlimits", limits(20, 30)).idle();
    let asked = |value: Value| c.exec(&["-p", &report_of_file(t, value)], &[]).ok().json();
    let report = asked(json!({ "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 25, "hard": 26 }] }));
    assert_eq!(limit(&report, "Max open files"), ["25", "26"]);
    if t.is_older("runc", 1, 5) {
        t.skip("gives the process none when the file has none");
    }
    assert_eq!(limit(&asked(json!({ "rlimits": [] })), "Max open files"), ["20", "30"]);
}

/// runc.
fn umask_of_the_config_is_set(t: &Test) {
    t.skip_older("runc", (1, 2), "takes that of the caller");
    let c = t.bundle().set("/process/user/umask", 0o077).idle();
    let out = c.exec_cmd(&[], &["probe", "report"]).through("umask 0117; exec \"$@\"").run().ok();
    assert_eq!(status(&out.json(), "Umask"), "0077");
    let report = c.exec(&["-p", &report_of_file(t, json!({}))], &[]).ok().json();
    assert_eq!(status(&report, "Umask"), "0077");
    t.skip_for("runc", "takes that of the caller when the config has none");
    let c = t.bundle().idle();
    let out = c.exec_cmd(&[], &["probe", "report"]).through("umask 0117; exec \"$@\"").run().ok();
    assert_eq!(status(&out.json(), "Umask"), "0022");
}

/// runc: that of the container, and none of the caller's when it has none.
fn oom_score_of_the_config_is_set(t: &Test) {
    t.skip_for("crun", "leaves it");
    let c = t.bundle().set("/process/oomScoreAdj", 321).idle();
    assert_eq!(c.exec_report(&[])["oom_score_adj"], "321");
    let c = t.bundle().idle();
    let line = "echo 123 >/proc/$$/oom_score_adj; exec \"$@\"";
    assert_eq!(c.exec_cmd(&[], &["probe", "report"]).through(line).run().ok().json()["oom_score_adj"], "123");
}

/// config-linux.md#personality.
fn personality_of_the_config_is_set(t: &Test) {
    t.only_teu("old runtimes have none");
    let c = t.bundle().set("/linux/personality", json!({ "domain": "LINUX32" })).idle();
    assert_eq!(c.exec_report(&[])["personality"], "00000008");
    let c = t.bundle().idle();
    let cmd = c.exec_cmd(&[], &["probe", "report"]).through("exec setarch --addr-no-randomize \"$@\"");
    assert_eq!(cmd.run().ok().json()["personality"], "00000000");
}

/// config.md#linux-process: `scheduler`.
fn scheduler_of_the_config_or_the_file_is_set(t: &Test) {
    t.only_teu("old runtimes have none");
    let c = t.bundle().set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 7 })).idle();
    // Field 19 is the nice value, 41 the policy: 3 is SCHED_BATCH, 5 is SCHED_IDLE.
    let script = "cut -d ' ' -f 19,41 /proc/self/stat";
    assert_eq!(c.exec_sh(&[], script).ok().stdout, "7 3\n");
    let args = ["/bin/sh", "-c", script];
    let path = file(
        t,
        json!({ "args": args, "env": ["PATH=/bin"], "cwd": "/", "scheduler": { "policy": "SCHED_IDLE" } }),
    );
    // sched(7): this policy leaves the nice value of the caller.
    assert_eq!(c.exec(&["-p", &path], &[]).ok().stdout, format!("{} 5\n", own_nice()));
}

/// config.md#linux-process: `execCPUAffinity`. The first process and the runtime keep theirs.
fn processors_of_the_config_are_taken_by_exec_alone(t: &Test) {
    t.only_teu("old runtimes have none");
    let allowed = |text: &Value| status(text, "Cpus_allowed_list").to_owned();
    let plain = t.bundle().idle();
    let all = allowed(&plain.exec_report(&[]));
    let pinned =
        plain.exec_cmd(&[], &["probe", "report"]).through("exec taskset -c 0 \"$@\"").run().ok().json();
    assert_eq!(allowed(&pinned), all, "the processor of the caller is inherited");
    let c = t.bundle().set("/process/execCPUAffinity", json!({ "initial": "0", "final": "0" })).idle();
    assert_eq!(allowed(&c.exec_report(&[])), "0");
    let of_init = std::fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
    assert!(of_init.contains(&format!("Cpus_allowed_list:\t{all}\n")), "{of_init}");
    let path = report_of_file(t, json!({ "execCPUAffinity": { "final": "a-b" } }));
    c.exec(&["-p", &path], &[]).exits(255).fails(&["/execCPUAffinity/final"]);
    for member in ["initial", "final"] {
        let path = report_of_file(t, json!({ "execCPUAffinity": { member: "9999" } }));
        c.exec(&["-p", &path], &[]).exits(255).fails(&[&format!("/execCPUAffinity/{member}")]);
    }
}

/// A label that has no effect would be a promise that is not kept.
fn labels_of_a_security_module_that_is_off_are_refused(t: &Test) {
    t.only_teu("crun ignores them");
    let c = t.bundle().idle();
    if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        c.exec(&["--process-label", "a:b:c"], &["true"]).exits(255).fails(&["SELinux is not enabled"]);
    }
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if !enabled.is_ok_and(|on| on.starts_with('Y')) {
        c.exec(&["--apparmor", "some"], &["true"]).exits(255).fails(&["AppArmor is not enabled"]);
    }
}

/// setsid(2) and signal(7): nothing of the caller's habits.
fn process_leads_its_own_session_with_default_signals(t: &Test) {
    let c = t.bundle().idle();
    let script = "cut -d ' ' -f 1,6 /proc/$$/stat; grep -E '^Sig(Blk|Ign)' /proc/self/status; true";
    let out = c.exec_cmd(&[], &["sh", "-c", script]).through("trap '' HUP USR1; exec \"$@\"").run().ok();
    let lines = out.lines();
    let ids = words(lines[0]);
    assert_eq!(ids[0], ids[1], "{}", out.report());
    if t.is("teu") {
        assert_eq!(lines[1..], ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"]);
    }
}

/// keyrings(7): the one that the container was created with, and never the caller's.
fn session_keyring_is_that_of_the_container(t: &Test) {
    let c = t.bundle().idle();
    let name = format!("_ses.{}", c.id);
    let out = c.exec_sh(&[], "cat /proc/keys");
    if out.code != Some(0) || !out.stdout.contains("keyring") {
        t.skip("the kernel has no /proc/keys");
    }
    assert!(out.stdout.contains(&name), "{}", out.report());
}
