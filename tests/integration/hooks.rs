//! Hooks: when, where, with what, and what their failure undoes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Bundle, Out, Test, cgroup, container, leaks, patience};

cases![
    hooks_run_in_the_order_of_the_life_cycle,
    hooks_of_one_kind_run_in_the_listed_order,
    state_on_stdin_tells_where_the_container_is,
    state_on_stdin_has_the_pid_of_the_hooks_view,
    create_hooks_run_in_the_namespaces_of_the_runtime,
    create_container_hook_runs_in_the_container_before_pivot,
    start_container_hook_sees_the_rootfs_of_the_container,
    mount_of_a_create_container_hook_is_in_the_container_alone,
    environment_of_a_hook_is_what_it_lists,
    hook_without_environment_gets_none,
    start_container_hook_without_environment_gets_that_of_the_process,
    arguments_of_a_hook_are_verbatim,
    hook_without_arguments_is_called_by_its_path,
    hook_runs_in_the_bundle,
    hook_gets_the_standard_descriptors_alone,
    hook_may_ignore_its_stdin,
    hook_that_prints_a_lot_does_not_block,
    hook_that_outlives_its_leader_does_not_block,
    hook_that_takes_too_long_is_killed_with_its_children,
    hook_of_any_kind_is_killed_when_it_takes_too_long,
    failing_create_hook_undoes_the_container,
    message_of_a_failing_hook_has_its_stderr,
    failing_hook_stops_the_ones_after_it,
    failing_start_container_hook_fails_start,
    failing_poststart_hook_stops_the_container,
    failing_poststop_hook_does_not_stop_the_others,
    hook_killed_by_a_signal_is_a_failure,
    missing_hook_program_is_a_failure,
    hook_may_ask_for_the_state,
    prestart_hook_may_change_the_rootfs,
    poststop_hooks_run_after_the_container_is_gone,
    poststop_hooks_run_after_a_foreground_run,
    poststop_hooks_run_after_a_container_that_was_never_started,
];

const POSTSTART_IN_CREATE: &str = "runs poststart hooks at the end of create";

/// All six kinds, in the order in which they run.
const KINDS: &[&str] =
    &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A bundle whose hooks of every kind run a script; `$LOG` in it is a directory that all of them see.
fn with_hooks<'t>(t: &'t Test, kinds: &[&str], script: &str) -> (Bundle<'t>, PathBuf) {
    let shared = t.make_dir("shared");
    let mut bundle = t.bundle().bind(&shared, "/shared", &["bind"]);
    for kind in kinds {
        let log = log_of(kind, &shared);
        bundle = bundle.hook(kind, &format!("KIND={kind}; LOG={}; {script}", log.display()));
    }
    (bundle, shared)
}

/// Where a hook of some kind sees the directory that all of them see.
fn log_of<'p>(kind: &str, shared: &'p Path) -> &'p Path {
    if kind == "startContainer" { Path::new("/shared") } else { shared }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn gone(t: &Test, bundle: &Bundle) {
    assert!(!t.root().join(bundle.id()).exists(), "the state directory is still there");
    assert!(cgroup::find(bundle.id()).is_empty(), "left: {:?}", cgroup::find(bundle.id()));
}

/// runtime.md#lifecycle.
fn hooks_run_in_the_order_of_the_life_cycle(t: &Test) {
    t.skip_older("runc", (1, 5), POSTSTART_IN_CREATE);
    let (bundle, shared) = with_hooks(t, KINDS, "echo $KIND >>$LOG/order");
    // Some hooks are another user than others.
    fs::write(shared.join("order"), "").unwrap();
    fs::set_permissions(shared.join("order"), fs::Permissions::from_mode(0o666)).unwrap();
    let bundle = bundle.sh("echo program >>/shared/order; sleep 100");
    let order = || read(&shared.join("order")).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let c = bundle.create();
    assert_eq!(order(), ["prestart", "createRuntime", "createContainer"]);
    c.start();
    t.until("the program and poststart", || order().len() == 6);
    assert_eq!(order()[..4], ["prestart", "createRuntime", "createContainer", "startContainer"]);
    c.delete_force();
    assert_eq!(order().last().unwrap(), "poststop");
}

/// config.md#posix-platform-hooks: entries of an array run in order.
fn hooks_of_one_kind_run_in_the_listed_order(t: &Test) {
    let (mut bundle, shared) = with_hooks(t, KINDS, "echo 0 >>$LOG/$KIND");
    for kind in KINDS {
        for number in 1..5 {
            let file = log_of(kind, &shared).join(kind);
            bundle = bundle.hook(kind, &format!("echo {number} >>{}", file.display()));
        }
    }
    bundle.run().ok();
    for kind in KINDS {
        assert_eq!(read(&shared.join(kind)), "0\n1\n2\n3\n4\n", "{kind}");
    }
}

/// runtime.md#state: what every hook reads.
fn state_on_stdin_tells_where_the_container_is(t: &Test) {
    let (bundle, shared) = with_hooks(t, KINDS, "cat >$LOG/$KIND");
    let bundle = bundle.set("/annotations/com.example.key", "a \"value\"");
    let c = bundle.create();
    c.start();
    c.wait_stopped();
    c.delete();
    let expected = ["creating", "creating", "creating", "created", "running", "stopped"];
    for (kind, status) in KINDS.iter().zip(expected) {
        let text = read(&shared.join(kind));
        let state: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{kind}: {error}: {text}"));
        assert_eq!(state["id"], bundle.id(), "{kind}");
        assert_eq!(state["annotations"]["com.example.key"], "a \"value\"", "{kind}");
        assert!(
            state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")),
            "{kind}: {text}"
        );
        if !t.is("crun") {
            assert_eq!(state["bundle"], bundle.dir().to_string_lossy().as_ref(), "{kind}");
            if !(t.is_older("runc", 1, 5) && *kind == "poststart") {
                assert_eq!(state["status"], status, "{kind}");
            }
        }
    }
}

/// runtime.md#state: `pid` is as the reader sees it.
fn state_on_stdin_has_the_pid_of_the_hooks_view(t: &Test) {
    t.skip_for("crun", "gives 0 or the host's pid");
    let (bundle, shared) = with_hooks(t, KINDS, "cat >$LOG/$KIND");
    let bundle = bundle.args(["sleep", "100"]);
    let c = bundle.create();
    let pid = i64::from(c.pid());
    c.start();
    // runc and crun do not wait for them.
    let written = |kind: &str| serde_json::from_str::<Value>(&read(&shared.join(kind))).is_ok();
    t.until("the hooks of start", || written("startContainer") && written("poststart"));
    c.delete_force();
    for (kind, expected) in KINDS.iter().zip([pid, pid, 1, 1, pid, 0]) {
        let state: Value = serde_json::from_str(&read(&shared.join(kind))).unwrap();
        assert_eq!(state["pid"].as_i64().unwrap_or(0), expected, "{kind}: {state}");
    }
}

/// config.md#posix-platform-hooks.
fn create_hooks_run_in_the_namespaces_of_the_runtime(t: &Test) {
    let (bundle, shared) = with_hooks(
        t,
        &["prestart", "createRuntime", "poststart", "poststop"],
        "\
        for n in mnt pid net uts ipc; do readlink /proc/self/ns/$n; done >$LOG/$KIND",
    );
    let c = bundle.create();
    c.start();
    c.wait_stopped();
    c.delete();
    let own: String =
        ["mnt", "pid", "net", "uts", "ipc"].map(|kind| container::namespace_of("self", kind) + "\n").concat();
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        assert_eq!(read(&shared.join(kind)), own, "{kind}");
    }
}

/// config.md#createcontainer-hooks: the container's namespaces, the runtime's root.
fn create_container_hook_runs_in_the_container_before_pivot(t: &Test) {
    let (bundle, shared) = with_hooks(
        t,
        &["createContainer"],
        "for n in mnt pid net uts ipc; do readlink /proc/self/ns/$n; done >$LOG/namespaces; \
         stat -c %d:%i / >$LOG/root",
    );
    let c = bundle.args(["sleep", "100"]).create();
    let kinds = ["mnt", "pid", "net", "uts", "ipc"];
    let of_init: String = kinds.map(|kind| c.namespace(kind) + "\n").concat();
    assert_eq!(read(&shared.join("namespaces")), of_init);
    for kind in kinds {
        assert_ne!(c.namespace(kind), container::namespace_of("self", kind), "{kind}");
    }
    let host = fs::metadata("/").unwrap();
    assert_eq!(read(&shared.join("root")), format!("{}:{}\n", host.dev(), host.ino()), "not the host's root");
}

/// config.md#startcontainer-hooks: inside, after everything is prepared.
fn start_container_hook_sees_the_rootfs_of_the_container(t: &Test) {
    let (bundle, shared) =
        with_hooks(t, &["startContainer"], "ls -A / >$LOG/root; readlink /proc/self/ns/mnt >$LOG/mnt");
    let c = bundle.file("/only-here", "").args(["sleep", "100"]).create();
    assert!(!shared.join("root").exists(), "the hook ran before start");
    c.start();
    if !t.is("teu") {
        t.until("the hook, for which others do not wait", || !read(&shared.join("mnt")).is_empty());
    }
    assert!(
        read(&shared.join("root")).lines().any(|name| name == "only-here"),
        "{}",
        read(&shared.join("root"))
    );
    assert_eq!(read(&shared.join("mnt")).trim(), c.namespace("mnt"));
}

/// NVIDIA's hooks mount into the rootfs here.
fn mount_of_a_create_container_hook_is_in_the_container_alone(t: &Test) {
    let source = t.make_dir("source");
    t.make_file("source/from-hook", "");
    let bundle = t.bundle();
    let script = format!("mount --bind {} {}/mnt", source.display(), bundle.rootfs().display());
    let bundle = bundle.hook("createContainer", &script).sh("ls /mnt; sleep 100");
    let c = bundle.run_detached();
    c.wait_for_stdout("from-hook\n");
    let outside = bundle.inside("/mnt");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "it is seen outside");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&*outside.to_string_lossy()), "it is a mount outside: {mounts}");
}

/// config.md#posix-platform-hooks: `env` has execve semantics.
fn environment_of_a_hook_is_what_it_lists(t: &Test) {
    let shared = t.make_dir("shared");
    let mut bundle = t.bundle().bind(&shared, "/shared", &["bind"]);
    let listed = ["A=b", "EMPTY=", "PATH=/usr/bin:/bin"];
    for kind in KINDS {
        // No shell, which adds variables of its own.
        let copy = log_of(kind, &shared).join(kind);
        let args = json!(["cp", "/proc/self/environ", copy.to_string_lossy()]);
        bundle =
            bundle.push(&format!("/hooks/{kind}"), json!({ "path": "/bin/cp", "args": args, "env": listed }));
    }
    bundle.run().ok();
    for kind in KINDS {
        let text = read(&shared.join(kind));
        assert_eq!(text.split_terminator('\0').collect::<Vec<_>>(), listed, "{kind}");
    }
}

/// CVE-2025-23266: neither the environment of the runtime nor that of the container reaches a hook on the host.
fn hook_without_environment_gets_none(t: &Test) {
    t.only_teu("other runtimes pass their own environment on");
    let shared = t.make_dir("shared");
    let mut bundle = t.bundle().env(&["LD_PRELOAD=/evil.so", "LEAK=1"]);
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        bundle = bundle.push(
            &format!("/hooks/{kind}"),
            json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("exec /bin/cat /proc/self/environ >{}/{kind}", shared.display())] }),
        );
    }
    bundle.run_cmd().env("LEAK2", "1").run().ok();
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        let text = fs::read_to_string(shared.join(kind)).unwrap();
        // The shell may add where it is.
        let all: Vec<&str> = text.split_terminator('\0').filter(|v| !v.starts_with("PWD=")).collect();
        assert!(all.is_empty(), "{kind}: {all:?}");
    }
}

/// The hook of the inside may have the environment of the inside.
fn start_container_hook_without_environment_gets_that_of_the_process(t: &Test) {
    t.skip_for("crun", "passes its own environment on");
    t.skip_older("runc", (1, 2), "passes its own environment on");
    let (bundle, shared) = with_hooks(t, &["startContainer"], "echo $MINE >$LOG/mine");
    bundle.env(&["MINE=yes"]).run().ok();
    assert_eq!(read(&shared.join("mine")), "yes\n");
}

/// config.md#posix-platform-hooks: `args` has execv semantics, the first is argv[0].
fn arguments_of_a_hook_are_verbatim(t: &Test) {
    let out = t.dir().join("argv");
    let script = format!("cat /proc/self/cmdline >/dev/null; printf '%s|' \"$0\" \"$@\" >{}", out.display());
    let hook =
        json!({ "path": "/bin/sh", "args": ["another name", "-c", script, "zero", "a b", "", "$HOME", "*"] });
    t.bundle().push("/hooks/createRuntime", hook).run().ok();
    assert_eq!(read(&out), "zero|a b||$HOME|*|");
}

/// config.md#posix-platform-hooks: without `args` argv is the path alone.
fn hook_without_arguments_is_called_by_its_path(t: &Test) {
    // What the kernel gives to the interpreter of a script is not argv[0], so no script can tell. This program's
    // error is about the arguments that it does not get, and names argv[0].
    let out = t.bundle().push("/hooks/createRuntime", json!({ "path": "/bin/cp" })).try_create().fails(&[]);
    if !t.is("crun") {
        assert!(out.message().contains("missing file operand\\nTry '/bin/cp"), "{}", out.report());
    }
    // Inside, one program has many names.
    t.bundle().push("/hooks/startContainer", json!({ "path": "/bin/true" })).run().ok();
    let out = t.bundle().push("/hooks/startContainer", json!({ "path": "/bin/false" })).run();
    if t.is("teu") {
        out.fails(&["startContainer hook #0", "status 1"]);
    }
}

/// The bundle is the one place that both sides know; never the rootfs, which the image fills.
fn hook_runs_in_the_bundle(t: &Test) {
    t.only_teu("other runtimes run createContainer hooks in the rootfs");
    let kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    let (bundle, shared) = with_hooks(t, &kinds, "pwd -P >$LOG/$KIND");
    bundle.run().ok();
    for kind in kinds {
        assert_eq!(read(&shared.join(kind)).trim(), bundle.dir().to_string_lossy(), "{kind}");
    }
}

/// CVE-2024-21626 class: a hook in the container must not get the runtime's descriptors.
fn hook_gets_the_standard_descriptors_alone(t: &Test) {
    t.only_teu("runc 1.1 leaks three descriptors into createContainer hooks");
    let (bundle, shared) = with_hooks(t, KINDS, "ls /proc/self/fd/ >$LOG/$KIND; true");
    bundle.run_cmd().through("exec 7</ 9</etc; exec \"$@\"").run().ok();
    for kind in KINDS {
        let text = read(&shared.join(kind));
        let open: Vec<&str> = text.split_whitespace().collect();
        // `ls` has the directory open as 3; shells keep a copy of what they redirect at 10 and above.
        let open: Vec<&str> = open.into_iter().filter(|fd| fd.parse().is_ok_and(|fd: i32| fd < 10)).collect();
        assert_eq!(open, ["0", "1", "2", "3"], "{kind}");
    }
}

/// A hook that does not read must not fail the container.
fn hook_may_ignore_its_stdin(t: &Test) {
    let mut bundle = t.bundle().set("/annotations/big", "x".repeat(200_000));
    for kind in KINDS {
        bundle = bundle.push(&format!("/hooks/{kind}"), json!({ "path": "/bin/true" }));
    }
    bundle.run().ok();
}

/// What a hook prints is drained.
fn hook_that_prints_a_lot_does_not_block(t: &Test) {
    let script = "head -c 1048576 /dev/zero | tr '\\0' a; head -c 1048576 /dev/zero | tr '\\0' b >&2";
    let (bundle, _) = with_hooks(t, KINDS, script);
    assert_eq!(bundle.run().ok().stdout, "");
}

/// A daemon that a hook leaves keeps its stdout open; nobody waits for it.
fn hook_that_outlives_its_leader_does_not_block(t: &Test) {
    t.skip_for("runc", "waits until the captured pipes are closed");
    let pid = t.dir().join("pid");
    let out = t.bundle().hook("createRuntime", &format!("sleep 20 & echo $! >{}", pid.display())).run();
    let daemon: i32 = read(&pid).trim().parse().unwrap();
    let alive = nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon), nix::sys::signal::Signal::SIGKILL);
    out.ok();
    assert!(alive.is_ok(), "run waited for the daemon or killed it");
}

/// config.md#posix-platform-hooks: `timeout` in seconds.
fn hook_that_takes_too_long_is_killed_with_its_children(t: &Test) {
    let pid = t.dir().join("pid");
    // Other runtimes kill the leader alone, and runc then waits for the pipes.
    let script = match t.is("teu") {
        true => format!("sleep 50 & echo $! >{}; wait", pid.display()),
        false => format!("echo $$ >{}; exec sleep 50", pid.display()),
    };
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 1 });
    let bundle = t.bundle().push("/hooks/createRuntime", hook);
    let out = bundle.run();
    let child: i32 = read(&pid).trim().parse().unwrap();
    // Killed with the group, it may still have to be reaped by whoever inherits it, which is not the runtime.
    let ended = || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    };
    let out = if t.is("crun") { out.fails(&[]) } else { out.fails(&["hook"]) };
    assert!(
        (Duration::from_millis(900)..patience(Duration::from_secs(9))).contains(&out.elapsed),
        "{}",
        out.report()
    );
    if t.is("teu") {
        t.until("the end of the hook's child", ended);
        assert!(out.message().contains("timeout") || out.message().contains("1 s"), "{}", out.report());
    }
    gone(t, &bundle);
}

/// The time is that of the hook, whoever waits for it.
fn hook_of_any_kind_is_killed_when_it_takes_too_long(t: &Test) {
    t.only_teu("the words are teu's");
    for kind in KINDS {
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "exec sleep 50"], "timeout": 1 });
        let bundle = t.bundle().push(&format!("/hooks/{kind}"), hook).args(["sleep", "100"]);
        let out = bundle.call("run", &["--detach"]).run();
        let out = if *kind == "poststop" {
            out.ok();
            t.cmd(["delete", "--force", bundle.id()]).run().ok()
        } else {
            out.fails(&["timeout of 1.0s", &format!("/hooks/{kind}/0")])
        };
        let limits = Duration::from_millis(900)..patience(Duration::from_secs(9));
        assert!(limits.contains(&out.elapsed), "{kind}: {}", out.report());
        gone(t, &bundle);
        t.until("the end of the hook", || leaks::find_processes(bundle.id()).is_empty());
    }
}

/// runtime.md#lifecycle steps 3 to 5: the container is stopped and destroyed, then poststop hooks run.
fn failing_create_hook_undoes_the_container(t: &Test) {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let poststop = t.dir().join(format!("poststop-{kind}"));
        let bundle = t
            .bundle()
            .hook(kind, "exit 3")
            .hook("poststop", &format!("cat >{}", poststop.display()))
            .sh("echo ran");
        let out = bundle.try_create().fails(&[]);
        gone(t, &bundle);
        assert!(!out.stdout.contains("ran"), "{}", out.report());
        if t.is("teu") {
            let out = out.fails(&[kind, &format!("/hooks/{kind}/0")]);
            assert!(poststop.exists(), "poststop did not run after {kind}\n{}", out.report());
        }
    }
}

/// The reason is what the hook said.
fn message_of_a_failing_hook_has_its_stderr(t: &Test) {
    t.skip_for("crun", "does not capture");
    let bundle = t.bundle().hook("createRuntime", "echo the disk is on fire >&2; exit 7");
    bundle.try_create().fails(&[hook_word(t), "the disk is on fire", "7"]);
}

/// runtime.md#lifecycle: the first failure ends the phase.
fn failing_hook_stops_the_ones_after_it(t: &Test) {
    let after = t.dir().join("after");
    let touch = format!("touch {}", after.display());
    let bundle = t
        .bundle()
        .hook("createRuntime", "true")
        .hook("createRuntime", "exit 1")
        .hook("createRuntime", &touch)
        .hook("createContainer", &touch);
    let out = bundle.try_create().fails(&[]);
    if t.is("teu") {
        out.fails(&["createRuntime hook #1", "/hooks/createRuntime/1"]);
    }
    assert!(!after.exists(), "a hook ran after the failure");
}

/// runtime.md#lifecycle step 7: `start` fails, the program does not run, the container is destroyed.
fn failing_start_container_hook_fails_start(t: &Test) {
    let poststop = t.dir().join("poststop");
    let bundle = t
        .bundle()
        .hook("startContainer", "exit 3")
        .hook("poststop", &format!("touch {}", poststop.display()))
        .sh("echo ran");
    let c = bundle.create();
    let out = c.call("start", &[]);
    if t.is("teu") {
        // Differs from runc, whose `start` has returned by then and which leaves a stopped container.
        out.fails(&["startContainer", "/hooks/startContainer/0"]);
        gone(t, &bundle);
        t.until("the end of init", || leaks::find_processes(bundle.id()).is_empty());
        assert!(poststop.exists(), "poststop did not run");
    } else {
        t.until("init to end", || c.status() == "stopped");
    }
    assert_eq!(c.stdout(), "");
}

/// runtime.md#lifecycle step 9, since 1.3.0.
fn failing_poststart_hook_stops_the_container(t: &Test) {
    t.skip_older("runc", (1, 5), POSTSTART_IN_CREATE);
    t.skip_for("crun", "only warns");
    let poststop = t.dir().join("poststop");
    let bundle = t
        .bundle()
        .hook("poststart", "exit 3")
        .hook("poststop", &format!("touch {}", poststop.display()))
        .args(["sleep", "100"]);
    let c = bundle.create();
    let out = c.call("start", &[]);
    if t.is("runc") {
        // runc: kills the program and leaves a stopped container.
        out.fails(&["poststart"]);
        t.until("the program to end", || c.status() == "stopped");
        return;
    }
    out.fails(&["poststart", "/hooks/poststart/0"]);
    gone(t, &bundle);
    t.until("the end of the program", || leaks::find_processes(bundle.id()).is_empty());
    assert!(poststop.exists(), "poststop did not run");
}

/// runtime.md#lifecycle step 13: a warning, and the rest still runs.
fn failing_poststop_hook_does_not_stop_the_others(t: &Test) {
    t.skip_for("runc", "stops at the first");
    let after = t.dir().join("after");
    let bundle =
        t.bundle().hook("poststop", "exit 3").hook("poststop", &format!("touch {}", after.display()));
    let c = bundle.run_detached();
    c.wait_stopped();
    let out = c.call("delete", &[]).ok();
    assert!(after.exists(), "the second hook did not run");
    if t.is("teu") {
        let told = |record: &Value| {
            record["level"] == "warning"
                && record["msg"].as_str().is_some_and(|text| text.contains("/hooks/poststop/0"))
        };
        assert!(out.log.iter().any(told), "no warning\n{}", out.report());
    }
    gone(t, &bundle);
}

/// A signal is no success.
fn hook_killed_by_a_signal_is_a_failure(t: &Test) {
    let bundle = t.bundle().hook("createRuntime", "kill -9 $$");
    let out = bundle.try_create().fails(&[hook_word(t)]);
    if t.is("teu") {
        assert!(out.message().contains("SIGKILL") || out.message().contains("signal"), "{}", out.report());
    }
    gone(t, &bundle);
}

/// An engine's mistake must not pass.
fn missing_hook_program_is_a_failure(t: &Test) {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = t.bundle().push(&format!("/hooks/{kind}"), json!({ "path": "/nowhere/hook" }));
        let out = bundle.try_create().fails(&[]);
        if t.is("teu") {
            // docker takes "no such file or directory" for a missing program of the container.
            let out = out.fails(&[&format!("/hooks/{kind}/0")]);
            assert!(!out.message().contains("no such file or directory"), "{}", out.report());
        }
        gone(t, &bundle);
    }
}

/// A hook may call the runtime; nothing is locked against it.
fn hook_may_ask_for_the_state(t: &Test) {
    t.skip_older("runc", (1, 5), POSTSTART_IN_CREATE);
    t.skip_for("crun", "has no state file yet");
    let out = t.dir().join("told");
    let bundle = t.bundle();
    let script = format!(
        "{} --root {} state {} >{} 2>&1",
        t.runtime().path.display(),
        t.root().display(),
        bundle.id(),
        out.display()
    );
    let bundle = bundle.hook("poststart", &script).args(["sleep", "100"]);
    let c = bundle.create();
    c.start();
    let state: Value =
        serde_json::from_str(&read(&out)).unwrap_or_else(|error| panic!("{error}: {}", read(&out)));
    assert_eq!(state["status"], "running");
}

/// config.md#prestart: older hooks put libraries into the rootfs.
fn prestart_hook_may_change_the_rootfs(t: &Test) {
    let bundle = t.bundle();
    let script = format!("echo from hook >{}/etc/new", bundle.rootfs().display());
    let out = bundle.hook("prestart", &script).args(["cat", "/etc/new"]).run().ok();
    assert_eq!(out.stdout, "from hook\n");
}

/// What a message about a createRuntime hook contains.
fn hook_word(t: &Test) -> &'static str {
    if t.is_older("runc", 1, 2) { "hook #0" } else { "createRuntime" }
}

fn delete_with_poststop(t: &Test, by: impl Fn(&Bundle) -> Out) {
    let log = t.dir().join("seen");
    let bundle = t.bundle();
    let script = format!("ls -d {}/{} >{} 2>&1; true", t.root().display(), bundle.id(), log.display());
    let bundle = bundle.hook("poststop", &script);
    by(&bundle).ok();
    assert!(read(&log).contains("No such file"), "{}", read(&log));
    gone(t, &bundle);
}

/// runtime.md#lifecycle steps 12 and 13.
fn poststop_hooks_run_after_the_container_is_gone(t: &Test) {
    t.skip_for("crun", "runs them before");
    delete_with_poststop(t, |bundle| {
        let c = bundle.run_detached();
        c.wait_stopped();
        c.call("delete", &[])
    });
}

/// The same when `run` deletes.
fn poststop_hooks_run_after_a_foreground_run(t: &Test) {
    t.skip_for("crun", "runs them before");
    delete_with_poststop(t, |bundle| bundle.run());
}

/// The same when the program was never started.
fn poststop_hooks_run_after_a_container_that_was_never_started(t: &Test) {
    t.skip_for("crun", "runs them before");
    delete_with_poststop(t, |bundle| bundle.create().call("delete", &[]));
}
