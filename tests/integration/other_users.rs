//! Nothing that a user can say to teu touches what belongs to another user: state, processes, cgroups, files, sockets.
//!
//! The caller is an unprivileged user; the other one is one more.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::harness::caller::FIRST;
use crate::harness::{Bundle, Caller, Cmd, Out, Test, View};

cases![
    container_of_another_user_is_out_of_reach,
    same_id_of_two_users_means_two_containers,
    namespaces_of_another_user_are_not_joined,
    state_root_of_another_user_is_refused,
    state_below_a_directory_of_another_user_is_refused,
    links_in_the_state_root_are_not_followed,
    runtime_directory_of_another_user_is_refused,
    ids_with_slashes_reach_nothing,
    cgroup_of_another_user_is_out_of_reach,
    record_that_names_a_cgroup_of_another_user_changes_nothing,
    files_that_are_named_by_the_caller_are_not_followed,
    sockets_of_another_user_are_left_alone,
    program_with_set_user_id_refuses_everything,
];

/// Not mapped in any container of the caller.
const OTHER: u32 = 300_000;

/// Every command that takes an id.
const VERBS: [&[&str]; 11] = [
    &["state"],
    &["start"],
    &["kill", "ID", "KILL"],
    &["delete"],
    &["delete", "--force"],
    &["exec", "ID", "true"],
    &["ps"],
    &["pause"],
    &["resume"],
    &["update", "--pids-limit", "5"],
    &["events", "--stats"],
];

fn only_user(t: &Test) {
    if t.caller() != Caller::User {
        t.skip("the caller is root; TEU_AS=user runs it");
    }
    t.only_teu(crate::harness::HOSTILE);
}

/// A call by the other user.
fn as_other(cmd: Cmd) -> Cmd {
    cmd.starting_as_root()
        .through(&format!("exec setpriv --reuid={OTHER} --regid={OTHER} --clear-groups -- \"$@\""))
}

fn with<'t>(cmd: Cmd<'t>, arguments: &[&str]) -> Cmd<'t> {
    arguments.iter().fold(cmd, |cmd, argument| cmd.arg(argument))
}

/// Each command, with this id and state root. The exit statuses are not judged.
fn every_command(t: &Test, root: &Path, id: &str) -> Vec<(String, Out)> {
    let call = |verb: &&[&str]| {
        let mut arguments: Vec<&str> =
            verb.iter().map(|word| if *word == "ID" { id } else { *word }).collect();
        if !verb.contains(&"ID") {
            arguments.push(id);
        }
        (verb.join(" "), with(t.cmd(["--root"]).bare().arg(root), &arguments).run())
    };
    VERBS.iter().map(call).collect()
}

/// A directory of the other user, which everybody may look into.
fn directory(t: &Test, name: &str) -> PathBuf {
    let dir = t.make_dir(name);
    chown(&dir, Some(OTHER), Some(OTHER)).unwrap();
    dir
}

/// A bundle of the other user, who has one id.
fn bundle_of_other<'t>(t: &'t Test, id: &str) -> Bundle<'t> {
    let map = json!([{ "containerID": 0, "hostID": OTHER, "size": 1 }]);
    let bundle = t.bundle().with_id(id).namespace("user", None);
    let bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let bundle = bundle.without_mounts("/dev/pts").unset("/linux/resources");
    let bundle = bundle.unset("/linux/cgroupsPath").sh("sleep 100");
    bundle.write();
    t.hand_over();
    let owner = format!("{OTHER}:{OTHER}");
    assert!(Command::new("chown").args(["-R", &owner]).arg(bundle.dir()).status().unwrap().success());
    bundle
}

/// A running container of the other user: its state root and pid. That is in no directory of the caller's, which could
/// exchange it.
fn container_of_other(t: &Test, id: &str) -> (PathBuf, u32) {
    let root = Path::new("/tmp").join(format!("{}-other", t.token()));
    fs::create_dir(&root).unwrap();
    chown(&root, Some(OTHER), Some(OTHER)).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
    let bundle = bundle_of_other(t, id);
    let cmd = with(t.cmd(["--root"]).bare().arg(&root), &["run", "--detach", "--bundle"]).arg(bundle.dir());
    as_other(cmd.arg(id)).run().ok();
    let state = as_other(with(t.cmd(["--root"]).bare().arg(&root), &["state", id])).run().ok().json();
    assert_eq!(state["status"], "running");
    (root, state["pid"].as_u64().unwrap() as u32)
}

/// The other user ends it; proof that it was there all the time.
fn end_of_other(t: &Test, root: &Path, id: &str) {
    let state = as_other(with(t.cmd(["--root"]).bare().arg(root), &["state", id])).run().ok().json();
    assert_eq!(state["status"], "running");
    as_other(with(t.cmd(["--root"]).bare().arg(root), &["delete", "--force", id])).run().ok();
    fs::remove_dir_all(root).unwrap();
}

fn container_of_another_user_is_out_of_reach(t: &Test) {
    only_user(t);
    let (root, pid) = container_of_other(t, "box");
    // Even if its directories can be read.
    for path in [root.clone(), root.join("box")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (verb, out) in every_command(t, &root, "box") {
        assert_ne!(out.code, Some(0), "{verb}: {}", out.report());
        assert!(out.message().contains("another user"), "{}", out.report());
    }
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    fs::set_permissions(root.join("box"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
    end_of_other(t, &root, "box");
}

fn same_id_of_two_users_means_two_containers(t: &Test) {
    only_user(t);
    let (root, _) = container_of_other(t, "box");
    let bundle = t.bundle().with_id("box").sh("sleep 100");
    let own = bundle.run_detached();
    own.kill("KILL");
    own.wait_stopped();
    own.delete();
    end_of_other(t, &root, "box");
}

fn namespaces_of_another_user_are_not_joined(t: &Test) {
    only_user(t);
    let (root, pid) = container_of_other(t, "box");
    for (kind, file) in
        [("user", "user"), ("network", "net"), ("pid", "pid"), ("ipc", "ipc"), ("mount", "mnt")]
    {
        let bundle = t.bundle().namespace(kind, Some(&format!("/proc/{pid}/ns/{file}")));
        let bundle = if kind == "user" {
            bundle.unset("/linux/uidMappings").unset("/linux/gidMappings")
        } else {
            bundle
        };
        let out = bundle.sh("echo inside").run();
        assert_ne!(out.code, Some(0), "{kind}: {}", out.report());
        assert_eq!(out.stdout, "", "{kind}");
    }
    end_of_other(t, &root, "box");
}

fn state_root_of_another_user_is_refused(t: &Test) {
    only_user(t);
    let bundle = t.bundle().args(["true"]);
    bundle.write();
    for mode in [0o700, 0o755, 0o777, 0o1777] {
        let root = directory(t, &format!("root{mode:o}"));
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
        let link = t.dir().join(format!("link{mode:o}"));
        symlink(&root, &link).unwrap();
        for path in [&root, &link] {
            let cmd = with(t.cmd(["--root"]).bare().arg(path), &["run", "--bundle"]).arg(bundle.dir());
            let out = cmd.arg(bundle.id()).run();
            assert_ne!(out.code, Some(0), "{mode:o}: {}", out.report());
        }
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "{mode:o}");
    }
}

/// Whoever owns a directory may exchange what is in it.
fn state_below_a_directory_of_another_user_is_refused(t: &Test) {
    only_user(t);
    let bundle = t.bundle().args(["true"]);
    bundle.write();
    for (mode, made) in [(0o755, true), (0o777, false), (0o777, true), (0o1777, true)] {
        let above = directory(t, &format!("above{mode:o}{made}"));
        fs::set_permissions(&above, fs::Permissions::from_mode(mode)).unwrap();
        let root = above.join("state");
        if made {
            fs::create_dir(&root).unwrap();
            chown(&root, Some(FIRST), Some(FIRST)).unwrap();
            fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let cmd = with(t.cmd(["--root"]).bare().arg(&root), &["run", "--bundle"]).arg(bundle.dir());
        let out = cmd.arg(bundle.id()).run();
        out.fails(&["can be exchanged by another user", &format!("belongs to user {OTHER}")]);
        assert_eq!(fs::read_dir(&root).map_or(0, |entries| entries.count()), 0, "{mode:o}");
        assert_eq!(root.exists(), made, "{mode:o}");
    }
}

/// A record of the other user, reached by way of the caller's own directory.
fn links_in_the_state_root_are_not_followed(t: &Test) {
    only_user(t);
    let bait = directory(t, "bait");
    fs::write(bait.join("state.json"), "{\"id\":\"link\",\"init_process_pid\":1}").unwrap();
    chown(bait.join("state.json"), Some(OTHER), Some(OTHER)).unwrap();
    fs::set_permissions(&bait, fs::Permissions::from_mode(0o777)).unwrap();
    t.bundle().args(["true"]).run().ok();
    symlink(&bait, t.root().join("link")).unwrap();
    fs::write(t.root().join("file"), "").unwrap();
    nix::unistd::mkfifo(&t.root().join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    for id in ["link", "file", "fifo"] {
        for (verb, out) in every_command(t, t.root(), id) {
            // Forced, what is not there is gone.
            assert!(out.code != Some(0) || verb.contains("--force"), "{id}: {}", out.report());
        }
    }
    let list = t.cmd(["list", "--quiet"]).run().ok();
    assert_eq!(list.stdout, "", "{}", list.report());
    assert!(bait.join("state.json").exists());
    for id in ["link", "file", "fifo"] {
        let _ = fs::remove_file(t.root().join(id));
    }
}

fn runtime_directory_of_another_user_is_refused(t: &Test) {
    only_user(t);
    let bundle = t.bundle().args(["true"]);
    bundle.write();
    let run = |dir: &Path| {
        let cmd = t.cmd(["run", "--bundle"]).bare().arg(bundle.dir()).arg(bundle.id());
        let out = cmd.env("XDG_RUNTIME_DIR", dir).run();
        assert_ne!(out.code, Some(0), "{}: {}", dir.display(), out.report());
    };
    // Theirs, and one that everybody may write to in which they were first.
    for (name, mode, made) in [("private", 0o700, false), ("open", 0o777, true), ("sticky", 0o1777, true)] {
        let dir = directory(t, name);
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        if made {
            let inner = dir.join("teu");
            fs::create_dir(&inner).unwrap();
            chown(&inner, Some(OTHER), Some(OTHER)).unwrap();
            fs::set_permissions(&inner, fs::Permissions::from_mode(0o777)).unwrap();
        }
        run(&dir);
        let inner = dir.join("teu");
        assert_eq!(inner.exists(), made, "{name}");
        assert!(!made || fs::read_dir(inner).unwrap().count() == 0, "{name}");
    }
}

fn ids_with_slashes_reach_nothing(t: &Test) {
    only_user(t);
    t.bundle().args(["true"]).run().ok();
    let bait = t.make_dir("bait");
    fs::write(bait.join("state.json"), "{}").unwrap();
    for id in ["../bait", "./../bait", "a/../../bait", &bait.to_string_lossy(), "..", "."] {
        for (verb, out) in every_command(t, t.root(), id) {
            assert_ne!(out.code, Some(0), "{verb} {id}: {}", out.report());
        }
    }
    assert!(bait.join("state.json").exists());
}

/// A cgroup of the other user with a process of it. `None` where the caller has no part in the cgroups.
fn cgroup_of_other(t: &Test) -> (PathBuf, Child) {
    if t.view() != View::V2 {
        t.skip("version 1 has no cgroups for an unprivileged user");
    }
    let dir = Path::new("/sys/fs/cgroup").join(format!("other-{}", t.token()));
    fs::create_dir(&dir).unwrap();
    let victim = Command::new("sleep").arg("100").spawn().unwrap();
    fs::write(dir.join("cgroup.procs"), victim.id().to_string()).unwrap();
    (dir, victim)
}

/// Checks that it is as it was, and removes it.
fn end_of_cgroup(dir: &Path, mut victim: Child) {
    assert!(victim.try_wait().unwrap().is_none(), "a process of another user was killed");
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(read("cgroup.procs").trim(), victim.id().to_string());
    assert_eq!(read("cgroup.freeze").trim(), "0");
    assert_eq!(fs::metadata(dir).unwrap().uid(), 0);
    victim.kill().unwrap();
    victim.wait().unwrap();
    fs::remove_dir(dir).unwrap();
}

fn cgroup_of_another_user_is_out_of_reach(t: &Test) {
    only_user(t);
    let (dir, victim) = cgroup_of_other(t);
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    for path in [format!("/{name}"), format!("/{name}/below"), format!("/x/../{name}"), format!("../{name}")]
    {
        let out = t.bundle().set("/linux/cgroupsPath", path.as_str()).sh("echo inside").run();
        // A path that leads upwards may also be taken for one that does not, below the caller's own part.
        assert!(out.code != Some(0) || path.contains(".."), "{path}: {}", out.report());
        assert!(!dir.join("below").exists());
    }
    let c = t.bundle().idle();
    for path in [format!("/{name}"), format!("../{name}"), format!("../../{name}")] {
        let out = c.exec(&["--cgroup", &path], &["true"]);
        assert_ne!(out.code, Some(0), "{path}: {}", out.report());
    }
    c.delete_force();
    end_of_cgroup(&dir, victim);
}

/// The record is the caller's own to forge.
fn record_that_names_a_cgroup_of_another_user_changes_nothing(t: &Test) {
    only_user(t);
    let (dir, victim) = cgroup_of_other(t);
    let c = t.bundle().idle();
    let file = t.root().join(&c.id).join("state.json");
    let text = fs::read_to_string(&file).unwrap();
    let mut record: Value = serde_json::from_str(&text).unwrap();
    for path in record["cgroup_paths"].as_object_mut().unwrap().values_mut() {
        *path = json!(dir);
    }
    fs::write(&file, record.to_string()).unwrap();
    for verb in [&["pause"][..], &["kill", "--all"], &["update", "--pids-limit", "3"], &["delete", "--force"]]
    {
        c.call(verb[0], &verb[1..]);
    }
    end_of_cgroup(&dir, victim);
    // What the forged record hid is removed with the true one.
    if t.root().join(&c.id).exists() {
        fs::write(&file, &text).unwrap();
        c.delete_force();
    } else {
        let own: Value = serde_json::from_str(&text).unwrap();
        for path in own["cgroup_paths"].as_object().unwrap().values().filter_map(Value::as_str) {
            t.until("the cgroup is empty", || fs::remove_dir(path).is_ok() || !Path::new(path).exists());
        }
    }
}

/// Root itself may be the one that is misled, by a link in a directory of a user.
fn files_that_are_named_by_the_caller_are_not_followed(t: &Test) {
    t.only_teu(crate::harness::HOSTILE);
    let target = t.make_file("precious", "precious");
    let link = |name: &str| {
        let path = t.dir().join(name);
        symlink(&target, &path).unwrap();
        path
    };
    let pid_file = link("pid");
    let bundle = t.bundle().args(["true"]);
    bundle.call("run", &["--pid-file", &pid_file.to_string_lossy()]).run().ok();
    let log = link("log");
    std::os::unix::fs::lchown(&log, Some(OTHER), Some(OTHER)).unwrap();
    with(t.cmd(["--log"]).bare().arg(&log), &["state", "nobody"]).run().fails(&["open the log", "ELOOP"]);
    // Where every container has a user namespace, the files of a test belong to a user of its.
    if t.caller() != Caller::Mapped {
        let own = t.make_file("own-log", "");
        symlink(&own, t.dir().join("own-link")).unwrap();
        let out = with(t.cmd(["--log"]).bare().arg(t.dir().join("own-link")), &["state", "nobody"]).run();
        assert!(fs::read_to_string(&own).unwrap().contains("does not exist"), "{}", out.report());
    }
    let c = t.bundle().idle();
    let second = link("pid2");
    c.exec(&["--pid-file", &second.to_string_lossy()], &["true"]).ok();
    c.delete_force();
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
}

fn sockets_of_another_user_are_left_alone(t: &Test) {
    only_user(t);
    let dir = directory(t, "sockets");
    let path = |name: &str| dir.join(name);
    let console = UnixListener::bind(path("console")).unwrap();
    let notify = UnixDatagram::bind(path("notify")).unwrap();
    console.set_nonblocking(true).unwrap();
    notify.set_nonblocking(true).unwrap();
    fs::write(path("file"), "precious").unwrap();
    for name in ["console", "notify", "file"] {
        chown(path(name), Some(OTHER), Some(OTHER)).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let terminal = t.bundle().set("/process/terminal", true).args(["true"]);
    for name in ["console", "file"] {
        let out = terminal.call("create", &["--console-socket", &path(name).to_string_lossy()]).run();
        assert_ne!(out.code, Some(0), "{name}: {}", out.report());
    }
    assert!(console.accept().is_err(), "somebody connected");
    let ready = t.bundle().sh("exit 0");
    for name in ["notify", "file"] {
        ready.run_cmd().env("NOTIFY_SOCKET", path(name)).run();
    }
    assert!(notify.recv(&mut [0; 64]).is_err(), "something was sent");
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "precious");
    for name in ["console", "notify", "file"] {
        let metadata = fs::metadata(path(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (OTHER, 0o600), "{name}");
    }
}

/// CVE-2022-47952 and its like: a helper with privilege that users call.
fn program_with_set_user_id_refuses_everything(t: &Test) {
    only_user(t);
    let program = t.dir().join("privileged");
    crate::harness::copy_program(&t.runtime().path, &program);
    let line = format!(
        "chown 0:0 {0}; chmod 4755 {0}; exec setpriv --reuid={FIRST} --regid={FIRST} --clear-groups -- \"$@\"",
        program.display()
    );
    let bundle = t.bundle().args(["true"]);
    bundle.write();
    for arguments in
        [vec!["--version"], vec!["list"], vec!["spec"], vec!["state", "x"], vec!["run", bundle.id()]]
    {
        let cmd = t.cmd(&arguments).bare().program(&program).in_dir(bundle.dir());
        let out = cmd.starting_as_root().through(&line).run();
        out.fails(&["must not be installed with set-user-id"]);
    }
}
