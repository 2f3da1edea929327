//! What a mistake, a crash or another user must not be able to turn against the host or another container.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Test, View};

/// Changes the state file of a container.
fn edit_state(t: &Test, id: &str, change: impl FnOnce(&mut Value)) {
    let path = t.root().join(id).join("state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut state);
    fs::write(&path, state.to_string()).unwrap();
}

/// The root directory of every process in the caller's mount namespace would become the container's.
fn own_mount_namespace_cannot_be_joined(t: &Test) {
    t.only_teu("other runtimes would change the root of the harness");
    let bundle = t.bundle().without_namespace("mount").namespace("mount", Some("/proc/self/ns/mnt"));
    bundle.try_create().fails(&["the caller's own namespace", "/linux/namespaces/"]);
    assert!(Path::new("/usr/bin/env").exists(), "the root of the harness has changed");
}

/// A host name is set in the namespace that is joined.
fn own_uts_namespace_cannot_be_renamed(t: &Test) {
    t.only_teu("other runtimes would rename the harness");
    let bundle = t.bundle().without_namespace("uts").namespace("uts", Some("/proc/self/ns/uts"));
    bundle.set("/hostname", "stolen").try_create().fails(&["the caller's own namespace"]);
}

/// Nothing is concluded from a record that cannot be read.
fn damaged_state_does_not_orphan_the_container(t: &Test) {
    t.only_teu("the state file is teu's");
    let container = t.bundle().args(["sleep", "100"]).run_detached();
    let pid = container.pid();
    edit_state(t, &container.id, |state| state["own"] = json!({}));
    container.call("delete", &[]).fails(&["cannot be read"]);
    assert!(Path::new(&format!("/proc/{pid}")).exists(), "the container was killed");
    container.delete_force();
    t.until("the end of the process", || !Path::new(&format!("/proc/{pid}")).exists());
}

/// A later version of the record may mean anything.
fn state_of_a_later_version_is_refused(t: &Test) {
    t.only_teu("the state file is teu's");
    let container = t.bundle().args(["sleep", "100"]).create();
    edit_state(t, &container.id, |state| state["own"]["version"] = json!(99));
    container.call("state", &[]).fails(&["version 99 is later"]);
    container.delete_force();
}

/// Killed before its cgroup existed, a create has named one that may be another container's.
fn planned_cgroup_of_another_container_survives(t: &Test) {
    t.only_teu("the state file is teu's");
    let living = t.bundle().args(["sleep", "100"]).run_detached();
    let killed = t.bundle().args(["sleep", "100"]).create();
    let state = t.root().join(&living.id).join("state.json");
    let paths = serde_json::from_slice::<Value>(&fs::read(state).unwrap()).unwrap()["cgroup_paths"].clone();
    killed.kill("KILL");
    killed.wait_stopped();
    let own =
        serde_json::from_slice::<Value>(&fs::read(t.root().join(&killed.id).join("state.json")).unwrap())
            .unwrap()["cgroup_paths"]
            .clone();
    edit_state(t, &killed.id, |state| {
        state["cgroup_paths"] = paths;
        state["own"]["owns_cgroups"] = json!(false);
        state["own"]["creating"] = json!(true);
    });
    killed.delete_force();
    assert_eq!(living.status(), "running");
    living.delete_force();
    for path in own.as_object().unwrap().values().filter_map(Value::as_str) {
        let _ = fs::remove_dir(path);
    }
}

/// Whoever may write to the root may put a record there, with hooks that would run as its reader.
fn state_root_that_others_may_write_to_is_refused(t: &Test) {
    t.only_teu("others trust their state directory");
    for mode in [0o777, 0o1777, 0o770] {
        let root = t.make_dir(&format!("root{mode:o}"));
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
        let out = t.cmd(["--root", &root.to_string_lossy(), "delete", "--force", "x"]).run();
        out.fails(&["can be written by other users"]);
    }
}

/// Whoever may exchange a directory on the way decides where the records are.
fn state_root_that_others_could_exchange_is_refused(t: &Test) {
    t.only_teu("others trust the way to their state directory");
    const SOMEBODY: u32 = 7002;
    let bundle = t.bundle().args(["true"]);
    bundle.write();
    let dir = bundle.dir().to_string_lossy().into_owned();
    let run =
        |root: &Path| t.cmd(["--root", &root.to_string_lossy(), "run", "--bundle", &dir, bundle.id()]).run();
    let cases = [
        (None, 0o755, true),
        (None, 0o1777, true),
        // A group was let in by who owns the directory.
        (None, 0o2775, true),
        (None, 0o777, false),
        (None, 0o702, false),
        (Some(SOMEBODY), 0o755, false),
        (Some(SOMEBODY), 0o777, false),
        (Some(SOMEBODY), 0o1777, false),
    ];
    for (index, (owner, mode, fits)) in cases.into_iter().enumerate() {
        let above = t.make_dir(&format!("above{index}"));
        std::os::unix::fs::chown(&above, owner, None).unwrap();
        fs::set_permissions(&above, fs::Permissions::from_mode(mode)).unwrap();
        let out = run(&above.join("inner/state"));
        if fits {
            out.ok();
            continue;
        }
        let named = format!("{} belongs to user", above.display());
        out.fails(&["can be exchanged by another user", &named, &format!("mode {mode:04o}")]);
        assert!(!above.join("inner").exists(), "{owner:?} {mode:o}");
    }
    // A link is as good as who has made it, and leads to what is looked at in its turn.
    let good = t.make_dir("good");
    let link = |name: &str, target: &Path, owner: Option<u32>| {
        let link = t.dir().join(name);
        std::os::unix::fs::symlink(target, &link).unwrap();
        std::os::unix::fs::lchown(&link, owner, None).unwrap();
        link.join("state")
    };
    run(&link("to-good", &good, None)).ok();
    run(&link("of-another", &good, Some(SOMEBODY)))
        .fails(&["can be exchanged by another user", "of-another"]);
    let bad = t.dir().join("above3");
    run(&link("to-bad", &bad, None)).fails(&["can be exchanged by another user", "above3"]);
    assert!(!bad.join("state").exists());
}

/// A directory of another user in the root is none of ours.
fn state_of_another_user_is_refused(t: &Test) {
    t.only_teu("others trust their state directory");
    let container = t.bundle().args(["sleep", "100"]).create();
    let directory = t.root().join(&container.id);
    std::os::unix::fs::chown(&directory, Some(65534), None).unwrap();
    container.call("state", &[]).fails(&["another user"]);
    std::os::unix::fs::chown(&directory, Some(0), None).unwrap();
    container.delete_force();
}

/// config.md#posix-platform-hooks: any number of seconds.
fn time_limit_beyond_every_clock_is_no_limit(t: &Test) {
    t.only_teu("other runtimes count in nanoseconds");
    let hook = json!({"path": "/bin/true", "timeout": i64::MAX});
    let bundle = t.bundle().push("/hooks/createRuntime", hook.clone()).push("/hooks/poststop", hook);
    bundle.args(["true"]).run().ok();
}

/// The mask of the runtime, not the one that it needs to make device nodes.
fn hooks_have_the_mask_of_the_caller(t: &Test) {
    let dir = t.make_dir("masks");
    let mut bundle = t.bundle();
    for kind in ["createRuntime", "createContainer"] {
        bundle = bundle.hook(kind, &format!("umask >{}/{kind}", dir.display()));
    }
    bundle.args(["true"]).run_cmd().through("umask 027; exec \"$@\"").run().ok();
    for kind in ["createRuntime", "createContainer"] {
        assert_eq!(fs::read_to_string(dir.join(kind)).unwrap(), "0027\n", "{kind}");
    }
}

/// A listener cannot be handed over by calls that wait for the listener.
fn notification_of_the_hand_over_itself_is_refused(t: &Test) {
    t.only_teu("other runtimes hang");
    for (name, words) in [
        ("sendmsg", "does not allow sendmsg"),
        ("recvmsg", "does not allow recvmsg"),
        ("write", "cannot be used for the write syscall"),
    ] {
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock",
            "syscalls": [{"names": [name], "action": "SCMP_ACT_NOTIFY"}]});
        let out = t.bundle().set("/linux/seccomp", profile).try_create();
        out.fails(&[words, "/linux/seccomp"]);
    }
}

/// A reader that has gone away is no reason to abort.
fn closed_output_is_no_crash(t: &Test) {
    t.only_teu("exit codes of other runtimes differ");
    let out = t.cmd(["state", "nope"]).through("exec \"$@\" 2>/dev/full").run();
    assert_eq!(out.code, Some(1), "{}", out.report());
    let out = t.cmd(["--help"]).bare().through("exec \"$@\" >/dev/full").run();
    assert_eq!(out.signal, None, "{}", out.report());
}

/// An error after the filter is still told when the filter refuses sendmsg(2).
fn failure_is_told_through_the_filter(t: &Test) {
    t.only_teu("other runtimes say it on the stderr of the container");
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["sendmsg"], "action": "SCMP_ACT_ERRNO"}]});
    let bundle = t.bundle().script("/bin/bad", "#!/nonexistent\n").args(["/bin/bad"]);
    let container = bundle.set("/linux/seccomp", profile).create();
    container.call("start", &[]).fails(&["exec /bin/bad", "no such file or directory"]);
    container.delete();
}

/// Without a cgroup namespace the container's view is a copy of the host's mount, which must not propagate back.
fn mount_below_the_cgroup_view_stays_inside(t: &Test) {
    let below = if t.view() == View::V2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
    let name = t.token();
    let script = format!(
        "mkdir {below}/{name}-x && mount -t tmpfs {name}-leak {below}/{name}-x && echo mounted; sleep 100"
    );
    let options = ["nosuid", "noexec", "nodev", "relatime"];
    let sets = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    let bundle = t
        .bundle()
        .without_namespace("cgroup")
        .without_mounts("/sys/fs/cgroup")
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &options)
        .set("/process/capabilities", json!({"bounding": sets, "effective": sets, "permitted": sets}))
        .sh(&script);
    let container = bundle.run_detached();
    container.wait_for_stdout("mounted");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    container.delete_force();
    if t.view() == View::V2 {
        let _ = fs::remove_dir(format!("{below}/{name}-x"));
    }
    assert!(!mounts.contains(&format!("{name}-leak")), "the mount has reached the host");
}

cases![
    mount_below_the_cgroup_view_stays_inside,
    own_mount_namespace_cannot_be_joined,
    own_uts_namespace_cannot_be_renamed,
    damaged_state_does_not_orphan_the_container,
    state_of_a_later_version_is_refused,
    planned_cgroup_of_another_container_survives,
    state_root_that_others_may_write_to_is_refused,
    state_root_that_others_could_exchange_is_refused,
    state_of_another_user_is_refused,
    time_limit_beyond_every_clock_is_no_limit,
    hooks_have_the_mask_of_the_caller,
    notification_of_the_hand_over_itself_is_refused,
    closed_output_is_no_crash,
    failure_is_told_through_the_filter,
];
