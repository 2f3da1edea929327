//! The process: who it is, what it may do, and what it is started with.

use serde_json::{Value, json};

use crate::harness::{Bundle, Test, own_nice};

cases![
    memory_policy_of_a_node_that_is_missing_is_refused,
    user_and_group_are_set,
    additional_groups_are_set_exactly,
    groups_of_the_caller_are_dropped,
    groups_of_the_caller_stay_out_of_a_user_namespace_that_is_joined,
    umask_is_set_and_022_without_one,
    capabilities_are_exactly_the_listed_ones,
    absent_capabilities_are_none,
    empty_capabilities_are_none,
    ambient_capabilities_survive_for_an_ordinary_user,
    inheritable_capabilities_are_empty_unless_listed,
    ordinary_user_keeps_permitted_capabilities,
    unknown_capability_is_no_capability,
    no_new_privileges_is_set,
    no_new_privileges_is_off_otherwise,
    rlimits_are_set,
    oom_score_is_set,
    oom_score_is_inherited_without_one,
    working_directory_is_set,
    working_directory_is_created,
    working_directory_of_the_user_alone_works,
    working_directory_through_a_descriptor_is_refused,
    environment_is_exactly_the_listed_one,
    last_of_two_equal_variables_wins,
    home_comes_from_passwd,
    home_is_the_root_for_an_unknown_user,
    value_of_a_variable_may_have_newlines_and_equals_signs,
    arguments_are_verbatim,
    program_is_searched_in_path,
    program_missing_in_path_has_dockers_words,
    missing_absolute_program_has_dockers_words,
    program_without_permission_has_dockers_words,
    directory_as_program_has_dockers_words,
    program_that_the_user_may_not_execute_is_refused,
    relative_program_is_relative_to_the_working_directory,
    script_is_executed_by_its_interpreter,
    signals_have_their_default_actions_and_none_is_blocked,
    process_leads_its_own_session,
    personality_is_the_default,
    priority_and_scheduler_are_inherited,
    keyring_of_the_caller_is_left_behind,
    keyring_of_a_container_is_for_nobody_else,
];

fn status<'v>(report: &'v Value, name: &str) -> &'v str {
    report["status"][name].as_str().unwrap_or_default()
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn capability_sets(report: &Value) -> [String; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|name| {
        let mask = u64::from_str_radix(status(report, name), 16).unwrap_or(u64::MAX);
        format!("{mask:x}")
    })
}

fn with_capabilities<'t>(bundle: Bundle<'t>, names: &[&str], sets: &[&str]) -> Bundle<'t> {
    let mut capabilities = json!({});
    for set in sets {
        capabilities[*set] = json!(names);
    }
    bundle.set("/process/capabilities", capabilities)
}

/// config.md#posix-platform-user.
fn user_and_group_are_set(t: &Test) {
    let report = t.bundle().set("/process/user", json!({ "uid": 1000, "gid": 1001 })).report();
    assert_eq!(words(status(&report, "Uid")), ["1000"; 4]);
    assert_eq!(words(status(&report, "Gid")), ["1001"; 4]);
}

/// config.md#posix-platform-user.
fn additional_groups_are_set_exactly(t: &Test) {
    let user = json!({ "uid": 1000, "gid": 1000, "additionalGids": [100, 65534, 5] });
    let report = t.bundle().set("/process/user", user).report();
    let mut groups = words(status(&report, "Groups"));
    groups.sort_unstable();
    assert_eq!(groups, ["100", "5", "65534"]);
}

/// CVE-2022-36109 class: nothing of the caller's groups remains.
fn groups_of_the_caller_are_dropped(t: &Test) {
    let bundle = t.bundle().probe().set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let out = bundle.run_cmd().through("exec setpriv --groups 4,24,27 \"$@\"").run().ok();
    let report = out.json();
    let groups = words(status(&report, "Groups"));
    assert!(groups.is_empty() || groups == ["1000"], "{groups:?}");
}

/// user_namespaces(7): where setgroups(2) is denied it is too late, and a group of the host opens files of the host.
fn groups_of_the_caller_stay_out_of_a_user_namespace_that_is_joined(t: &Test) {
    t.only_teu("others keep them");
    let other =
        "exec setpriv --reuid 12345 --regid 12345 --clear-groups unshare --user --map-root-user sleep 1000";
    let mut owner = std::process::Command::new("sh").args(["-c", other]).spawn().unwrap();
    let path = format!("/proc/{}/ns/user", owner.id());
    let groups = format!("/proc/{}/setgroups", owner.id());
    t.until("the namespace", || std::fs::read_to_string(&groups).is_ok_and(|text| text.trim() == "deny"));
    let bundle = t.bundle().namespace("user", Some(&path)).without_mounts("/dev/pts").probe();
    let out = bundle.run_cmd().through("exec setpriv --groups 6,42 -- \"$@\"").run();
    let container = t.bundle().namespace("user", Some(&path)).without_mounts("/dev/pts").idle();
    let added = container.exec_cmd(&[], &["probe", "report"]);
    let added = added.through("exec setpriv --groups 6,42 -- \"$@\"").run();
    container.delete_force();
    owner.kill().unwrap();
    owner.wait().unwrap();
    for out in [out, added] {
        assert_eq!(status(&out.ok().json(), "Groups").trim(), "");
    }
}

/// config.md#posix-platform-user; runc: 022 when there is none, whatever the caller's.
fn umask_is_set_and_022_without_one(t: &Test) {
    let report = t.bundle().set("/process/user/umask", 0o077).report();
    assert_eq!(status(&report, "Umask"), "0077");
    let out = t.bundle().probe().run_cmd().through("umask 0117; exec \"$@\"").run().ok();
    assert_eq!(status(&out.json(), "Umask"), "0022");
}

/// config.md#linux-process: five sets.
fn capabilities_are_exactly_the_listed_ones(t: &Test) {
    let sets = ["bounding", "effective", "permitted"];
    // CAP_SYS_ADMIN is 21, CAP_NET_RAW is 13.
    let report = with_capabilities(t.bundle(), &["CAP_SYS_ADMIN", "CAP_NET_RAW"], &sets).report();
    assert_eq!(capability_sets(&report), ["0", "202000", "202000", "202000", "0"]);
}

/// youki's issue 3434: what is not listed is not there.
fn absent_capabilities_are_none(t: &Test) {
    // Differs from runc, which leaves its own capabilities to the container.
    t.skip_for("runc", "leaves all capabilities");
    let report = t.bundle().unset("/process/capabilities").report();
    assert_eq!(capability_sets(&report), ["0"; 5]);
    let report = t.bundle().unset("/process/capabilities").set("/process/user/uid", 1000).report();
    assert_eq!(capability_sets(&report), ["0"; 5]);
}

/// config.md#linux-process.
fn empty_capabilities_are_none(t: &Test) {
    let report = t.bundle().set("/process/capabilities", json!({})).report();
    assert_eq!(capability_sets(&report), ["0"; 5]);
}

/// capabilities(7): ambient needs permitted and inheritable.
fn ambient_capabilities_survive_for_an_ordinary_user(t: &Test) {
    let sets = ["bounding", "effective", "permitted", "inheritable", "ambient"];
    let bundle =
        with_capabilities(t.bundle(), &["CAP_NET_BIND_SERVICE"], &sets).set("/process/user/uid", 1000);
    assert_eq!(capability_sets(&bundle.report()), ["400"; 5]);
}

/// CVE-2022-29162: inheritable is what the config says, and it says nothing.
fn inheritable_capabilities_are_empty_unless_listed(t: &Test) {
    let report =
        with_capabilities(t.bundle(), &["CAP_KILL"], &["bounding", "effective", "permitted"]).report();
    assert_eq!(capability_sets(&report), ["0", "20", "20", "20", "0"]);
}

/// execve(2) without ambient capabilities empties the sets of an ordinary user, not the bounding set.
fn ordinary_user_keeps_permitted_capabilities(t: &Test) {
    let sets = ["bounding", "effective", "permitted"];
    let bundle = with_capabilities(t.bundle(), &["CAP_KILL"], &sets).set("/process/user/uid", 1000);
    assert_eq!(capability_sets(&bundle.report()), ["0", "0", "0", "20", "0"]);
}

/// config.md#linux-process asks for a warning; for teu a name that no kernel knows is a mistake in the config.
fn unknown_capability_is_no_capability(t: &Test) {
    let sets = ["bounding", "effective", "permitted"];
    let bundle = with_capabilities(t.bundle(), &["CAP_KILL", "CAP_NO_SUCH"], &sets);
    if t.is("teu") {
        bundle.run().fails(&["\"CAP_NO_SUCH\" (/process/capabilities/bounding/1)"]);
        return;
    }
    assert_eq!(capability_sets(&bundle.report()), ["0", "20", "20", "20", "0"]);
}

/// config.md#linux-process.
fn no_new_privileges_is_set(t: &Test) {
    let report = t.bundle().set("/process/noNewPrivileges", true).report();
    assert_eq!(status(&report, "NoNewPrivs"), "1");
}

/// A filter does not set it in passing.
fn no_new_privileges_is_off_otherwise(t: &Test) {
    assert_eq!(status(&t.bundle().report(), "NoNewPrivs"), "0");
    let report = t
        .bundle()
        .set(
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["swapon"], "action": "SCMP_ACT_ERRNO" }] }),
        )
        .report();
    assert_eq!((status(&report, "NoNewPrivs"), status(&report, "Seccomp")), ("0", "2"));
}

/// config.md#posix-process.
fn rlimits_are_set(t: &Test) {
    let limits = json!([
        { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        { "type": "RLIMIT_STACK", "soft": 1048576, "hard": 2097152 },
    ]);
    let report = t.bundle().set("/process/rlimits", limits).report();
    let text = report["limits"].as_str().unwrap_or_default();
    let limit = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        words(&line[name.len()..]).into_iter().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max open files"), ["100", "200"]);
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    assert_eq!(limit("Max stack size"), ["1048576", "2097152"]);
}

/// config.md#linux-process.
fn oom_score_is_set(t: &Test) {
    assert_eq!(t.bundle().set("/process/oomScoreAdj", 321).report()["oom_score_adj"], "321");
}

/// config.md#linux-process: when it is not set the runtime must not change it.
fn oom_score_is_inherited_without_one(t: &Test) {
    let bundle = t.bundle().probe();
    let out = bundle.run_cmd().through("echo 123 >/proc/self/oom_score_adj; exec \"$@\"").run().ok();
    assert_eq!(out.json()["oom_score_adj"], "123");
}

/// config.md#process.
fn working_directory_is_set(t: &Test) {
    assert_eq!(t.bundle().set("/process/cwd", "/usr/bin").report()["cwd"], "/usr/bin");
}

/// runc.
fn working_directory_is_created(t: &Test) {
    let out = t.bundle().set("/process/cwd", "/new/deep/dir").sh("pwd; stat -c %a:%u . ..").run().ok();
    assert_eq!(out.stdout, "/new/deep/dir\n755:0\n755:0\n");
}

/// A directory that root without capabilities could not enter.
fn working_directory_of_the_user_alone_works(t: &Test) {
    let bundle = t.bundle().dir_inside("/home/user/own").mode("/home/user/own", 0o700);
    std::os::unix::fs::chown(bundle.inside("/home/user/own"), Some(1000), Some(1000)).unwrap();
    let out = bundle
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .set("/process/capabilities", json!({}))
        .set("/process/cwd", "/home/user/own")
        .args(["pwd"])
        .run()
        .ok();
    assert_eq!(out.stdout, "/home/user/own\n");
}

/// CVE-2024-21626.
fn working_directory_through_a_descriptor_is_refused(t: &Test) {
    t.only_teu(crate::harness::HOSTILE);
    let outside = t.make_dir("outside");
    let line = format!("exec 7<{} 9<{}; exec \"$@\"", outside.display(), outside.display());
    for number in 3..16 {
        for proc in ["self", "thread-self"] {
            let bundle = t.bundle().set("/process/cwd", format!("/proc/{proc}/fd/{number}")).args(["pwd"]);
            let out = bundle.run_cmd().through(&line).run();
            assert!(out.code != Some(0) && out.stdout.is_empty(), "{number}: {}", out.report());
        }
    }
    let bundle = t.bundle().link("/proc/self/fd/7", "/work").set("/process/cwd", "/work").args(["pwd"]);
    let out = bundle.run_cmd().through(&line).run();
    assert!(out.code != Some(0) && out.stdout.is_empty(), "{}", out.report());
}

/// config.md#process: nothing of the runtime's environment.
fn environment_is_exactly_the_listed_one(t: &Test) {
    let bundle = t.bundle().env(&["A=1", "EMPTY=", "HOME=/somewhere"]).probe();
    let out =
        bundle.run_cmd().env("LEAK", "1").env("LD_LIBRARY_PATH", "/x").env("RUST_LOG", "trace").run().ok();
    assert_eq!(out.json()["env"], json!(["PATH=/usr/bin:/bin", "A=1", "EMPTY=", "HOME=/somewhere"]));
}

/// runc.
fn last_of_two_equal_variables_wins(t: &Test) {
    t.skip_for("crun", "keeps both");
    t.skip_older("runc", (1, 3), "keeps both");
    let report = t.bundle().env(&["A=1", "B=x", "A=2", "HOME=/"]).report();
    let env = report["env"].as_array().unwrap();
    let of_a: Vec<&Value> = env.iter().filter(|v| v.as_str().is_some_and(|v| v.starts_with("A="))).collect();
    assert_eq!(of_a, [&json!("A=2")]);
}

/// runc: from the passwd file of the container.
fn home_comes_from_passwd(t: &Test) {
    let user = |uid: u32| t.bundle().set("/process/user/uid", uid).sh("echo $HOME").run().ok().stdout;
    assert_eq!(user(0), "/root\n");
    assert_eq!(user(1000), "/home/user\n");
}

/// runc.
fn home_is_the_root_for_an_unknown_user(t: &Test) {
    let out = t.bundle().set("/process/user/uid", 4711).sh("echo $HOME").run().ok();
    assert_eq!(out.stdout, "/\n");
    let out = t.bundle().remove("/etc/passwd").sh("echo $HOME").run().ok();
    assert_eq!(out.stdout, "/\n");
}

/// environ(7).
fn value_of_a_variable_may_have_newlines_and_equals_signs(t: &Test) {
    let report = t.bundle().env(&["A=x=y\nz ü", "HOME=/"]).report();
    assert!(report["env"].as_array().unwrap().contains(&json!("A=x=y\nz ü")), "{}", report["env"]);
}

/// config.md#process.
fn arguments_are_verbatim(t: &Test) {
    let arguments = ["probe", "report"];
    assert_eq!(t.bundle().args(arguments).run().ok().json()["argv"], json!(arguments));
    let out = t.bundle().args(["printf", "%s|", "", "a b", "$HOME", "*", "\n", "ü", "-x"]).run().ok();
    assert_eq!(out.stdout, "|a b|$HOME|*|\n|ü|-x|");
}

/// config.md#process: execvp semantics, with PATH of the container.
fn program_is_searched_in_path(t: &Test) {
    let bundle =
        t.bundle().script("/opt/tool", "#!/bin/sh\necho opt\n").script("/srv/tool", "#!/bin/sh\necho srv\n");
    let out = bundle.set("/process/env", json!(["PATH=/nowhere:/srv:/opt"])).args(["tool"]).run().ok();
    assert_eq!(out.stdout, "srv\n");
}

fn refused_program(t: &Test, bundle: Bundle, reason: &str) {
    let out = bundle.try_create().fails(&[reason]);
    if t.is("teu") {
        assert!(out.message().contains("/process/args/0"), "no pointer\n{}", out.report());
    }
    assert!(!t.root().join(bundle.id()).exists(), "the state directory is still there");
}

/// docker and podman make exit code 127 of these words.
fn program_missing_in_path_has_dockers_words(t: &Test) {
    refused_program(t, t.bundle().args(["no-such-program"]), "executable file not found in $PATH");
}

/// docker and podman make exit code 127 of these words.
fn missing_absolute_program_has_dockers_words(t: &Test) {
    refused_program(t, t.bundle().args(["/no/such/program"]), "no such file or directory");
}

/// docker and podman make exit code 126 of these words.
fn program_without_permission_has_dockers_words(t: &Test) {
    refused_program(t, t.bundle().args(["/etc/passwd"]), "permission denied");
}

/// docker makes exit code 126 of the first words, before version 24 of the second ones alone.
fn directory_as_program_has_dockers_words(t: &Test) {
    let both = ["is a directory", "permission denied"];
    let reasons = if t.is("teu") { &both[..] } else { &both[usize::from(t.is_older("runc", 1, 2))..][..1] };
    for reason in reasons {
        refused_program(t, t.bundle().args(["/etc"]), reason);
    }
}

/// The search is made as the user of the process.
fn program_that_the_user_may_not_execute_is_refused(t: &Test) {
    let bundle = t.bundle().script("/bin/mine", "#!/bin/sh\n").mode("/bin/mine", 0o700);
    refused_program(t, bundle.set("/process/user/uid", 1000).args(["/bin/mine"]), "permission denied");
}

/// execve(2).
fn relative_program_is_relative_to_the_working_directory(t: &Test) {
    let bundle = t.bundle().script("/opt/tool", "#!/bin/sh\necho here\n").set("/process/cwd", "/opt");
    assert_eq!(bundle.args(["./tool"]).run().ok().stdout, "here\n");
}

/// execve(2).
fn script_is_executed_by_its_interpreter(t: &Test) {
    let out =
        t.bundle().script("/opt/tool", "#!/bin/sh -e\necho $0 $1\n").args(["/opt/tool", "x"]).run().ok();
    assert_eq!(out.stdout, "/opt/tool x\n");
}

/// Rust ignores SIGPIPE, callers block signals: none of it may reach the program.
fn signals_have_their_default_actions_and_none_is_blocked(t: &Test) {
    let bundle = t.bundle().args(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
    let out = bundle.run_cmd().through("trap '' INT USR1 PIPE; exec \"$@\"").run().ok();
    let mask = |line: usize| {
        out.lines().get(line).and_then(|l| u64::from_str_radix(l.split_whitespace().last()?, 16).ok())
    };
    assert_eq!(mask(0), Some(0), "{}", out.report());
    if t.is("teu") {
        // 32 and 33 belong to the C library, whose posix_spawn(3) leaves them ignored in the caller.
        assert_eq!(mask(1).map(|ignored| ignored & !(3 << 31)), Some(0), "{}", out.report());
    }
}

/// setsid(2), always: no process of the caller's session can be reached through its terminal.
fn process_leads_its_own_session(t: &Test) {
    let report = t.bundle().report();
    assert_eq!((report["pid"].as_i64(), report["session"].as_i64()), (Some(1), Some(1)));
}

/// personality(2) is inherited; the caller's must not be.
fn personality_is_the_default(t: &Test) {
    t.only_teu("other runtimes pass the personality of the caller on");
    let bundle = t.bundle().probe();
    let out = bundle.run_cmd().through("exec setarch --addr-no-randomize \"$@\"").run().ok();
    assert_eq!(out.json()["personality"], "00000000");
}

/// config.md: what is not asked for stays as it is.
fn priority_and_scheduler_are_inherited(t: &Test) {
    let out = t
        .bundle()
        .sh("cut -d ' ' -f 19 /proc/self/stat")
        .run_cmd()
        .through("exec nice -n 5 \"$@\"")
        .run()
        .ok();
    assert_eq!(out.stdout, format!("{}\n", (own_nice() + 5).min(19)));
}

/// keyrings(7): a session keyring of the caller may hold secrets.
fn keyring_of_the_caller_is_left_behind(t: &Test) {
    let bundle = t.bundle().sh("cat /proc/keys");
    let out = bundle.run();
    if out.code != Some(0) {
        t.skip("the kernel has no /proc/keys");
    }
    // "1c2e7dbb I--Q---     2 perm 3f080000     0     0 keyring   NAME: empty"
    let name = format!("_ses.{}", bundle.id());
    let sessions: Vec<&str> = out.stdout.lines().filter(|line| line.contains(" _ses")).collect();
    if sessions.is_empty() && !t.is("teu") {
        t.skip("its keyrings cannot be seen from inside");
    }
    // Others show the keyrings of all containers of the same user.
    let expected = if t.is("teu") { 1..=1 } else { 1..=usize::MAX };
    let is_own = sessions.iter().any(|line| line.contains(&name));
    assert!(expected.contains(&sessions.len()) && is_own, "{}", out.report());
}

/// keyrings(7): whoever knows the name of a session keyring can have made it before, or can join it.
fn keyring_of_a_container_is_for_nobody_else(t: &Test) {
    t.only_teu("others use a name that can be guessed, and show it");
    let bundle = t.bundle().sh("cat /proc/keys; sleep 100");
    let c = bundle.run_detached();
    let name = format!("_ses.{}-", bundle.id());
    c.wait_for_stdout(&name);
    let number = c.stdout().split(&name).nth(1).unwrap().split(':').next().unwrap().to_owned();
    assert!(number.len() == 16 && number.bytes().all(|b| b.is_ascii_hexdigit()), "{number}");
    assert_ne!(number, "0000000000000000");
    // Not even those who are the same user see it, here and in another container.
    let outside = std::fs::read_to_string("/proc/keys").unwrap_or_default();
    assert!(!outside.contains(&name), "{outside}");
    let other = t.bundle().in_pod_of(&c).sh("cat /proc/keys").run().ok();
    assert!(other.stdout.contains("_ses.") && !other.stdout.contains(&name), "{}", other.report());
}

/// set_mempolicy(2).
fn memory_policy_of_a_node_that_is_missing_is_refused(t: &Test) {
    t.skip_older("runc", (1, 4), "does not know it");
    t.skip_older("crun", (1, 26), "does not know it");
    let bundle = t.bundle().set("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "900" }));
    let out = bundle.try_create().fails(&[]);
    if t.is("teu") {
        out.fails(&["set the memory policy (/linux/memoryPolicy): set_mempolicy(2): EINVAL"]);
    }
}
