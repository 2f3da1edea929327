//! EACCES and EPERM are explained: which component stops whom, which namespace belongs to somebody else, which id is
//! not there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command};

use serde_json::json;

use crate::harness::caller::FIRST;
use crate::harness::{Bundle, Caller, Cmd, Test};
use crate::hints::hinted;

cases![
    supplementary_groups_of_the_caller_count,
    capability_in_a_user_namespace_counts_for_its_ids_alone,
    paths_of_the_command_line_are_explained,
    mount_flags_are_named,
    namespace_of_another_process_is_explained,
    file_system_that_shows_a_namespace_of_others_is_told,
    file_system_of_the_root_of_the_host_is_told,
    ids_that_a_joined_user_namespace_lacks_are_told,
    groups_that_a_joined_user_namespace_denies_are_told,
    own_user_namespace_cannot_be_joined,
    program_in_a_joined_user_namespace_is_explained,
    program_of_exec_is_explained,
    program_below_a_mount_is_not_judged_by_what_it_covers,
    caller_without_an_account_is_told,
];

fn only_user(t: &Test) {
    t.only_teu("hints are teu's");
    if t.caller() != Caller::User {
        t.skip("the caller is root; TEU_AS=user runs it");
    }
}

/// A call by the user after a shell line of root.
fn after<'t>(cmd: Cmd<'t>, line: &str, options: &str) -> Cmd<'t> {
    cmd.starting_as_root()
        .through(&format!("{line}\nexec setpriv --reuid={FIRST} --regid={FIRST} {options} -- \"$@\""))
}

/// A process in a user namespace that root has made.
struct Holder(Child);

impl Holder {
    fn new(t: &Test, options: &[&str], count: &str) -> Holder {
        let mut command = Command::new("unshare");
        let holder = Holder(command.arg("--user").args(options).args(["sleep", "100"]).spawn().unwrap());
        let map = format!("/proc/{}/gid_map", holder.0.id());
        let denied = format!("/proc/{}/setgroups", holder.0.id());
        t.until("a user namespace", || {
            let is_mapped =
                fs::read_to_string(&map).is_ok_and(|map| map.split_whitespace().last() == Some(count));
            is_mapped && fs::read_to_string(&denied).is_ok_and(|text| text.trim() == "deny")
        });
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Closes a directory to all but the root of the host.
fn closed(dir: &Path) -> String {
    format!("chown 0:0 {0}; chmod 700 {0}", dir.display())
}

/// A bundle whose container has a user namespace, in the mode that does not give it one, too.
fn mapped(t: &Test) -> Bundle<'_> {
    if t.caller() == Caller::Root { t.bundle().in_user_namespace() } else { t.bundle() }
}

/// path_resolution(7): the first directory may be passed as a member of its group.
fn supplementary_groups_of_the_caller_count(t: &Test) {
    only_user(t);
    let source = t.make_dir("of-group/private/source");
    let (private, of_group) = (source.parent().unwrap(), source.parent().unwrap().parent().unwrap());
    let line = format!("{}; chown 0:7010 {1}; chmod 750 {1}", closed(private), of_group.display());
    let bundle = t.bundle().bind(&source, "/mnt", &["bind"]);
    let out = after(bundle.run_cmd(), &line, "--groups 7010").run().fails(&["/mounts/6/source", "EACCES"]);
    hinted(
        out,
        &format!(
            "/of-group/private belongs to 0:0 and has mode 0700, so user {FIRST} may not pass through it"
        ),
    );
}

/// capabilities(7), user_namespaces(7): CAP_DAC_OVERRIDE is no power over files of others.
fn capability_in_a_user_namespace_counts_for_its_ids_alone(t: &Test) {
    only_user(t);
    let source = t.make_dir("private/source");
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    let bundle = t.bundle().bind(&source, "/mnt", &["bind"]).namespace("user", None);
    let bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    // Its owner is not mapped.
    let bundle = bundle.without_mounts("/dev/pts");
    let line = closed(source.parent().unwrap());
    let out = after(bundle.run_cmd(), &line, "--clear-groups unshare --user --map-root-user").run();
    hinted(
        out.fails(&["/mounts/5/source", "EACCES"]),
        "/private belongs to 65534:65534 and has mode 0700, so user 0 may not pass through it",
    );
}

/// Paths of the host that no field of the configuration names.
fn paths_of_the_command_line_are_explained(t: &Test) {
    only_user(t);
    let inside = t.make_dir("private/dir");
    fs::write(inside.join("socket"), "").unwrap();
    let private = inside.parent().unwrap();
    let told = |cmd: Cmd<'_>, words: &[&str]| {
        let out = after(cmd, &closed(private), "--clear-groups").run().fails(words);
        hinted(
            out,
            &format!("{} belongs to 0:0 and has mode 0700, so user {FIRST} may not", private.display()),
        );
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    told(t.cmd(["run", "--bundle", &text(&inside), "x"]), &["open the bundle", "EACCES"]);
    told(t.cmd(["run", "--bundle", &text(private), "x"]), &["config.json", "EACCES"]);
    told(t.cmd(["--root", &text(&inside), "list"]), &["open the state directory", "EACCES"]);
    let bundle = t.bundle().args(["true"]);
    let pid_file = text(&private.join("pid"));
    told(bundle.call("create", &["--pid-file", &pid_file]), &["write the pid file", "EACCES"]);
    let socket = text(&inside.join("socket"));
    let terminal = t.bundle().set("/process/terminal", true);
    told(terminal.call("create", &["--console-socket", &socket]), &["--console-socket", "EACCES"]);
    let network =
        |path: &Path| t.bundle().without_namespace("network").namespace("network", Some(&text(path)));
    told(network(&inside.join("socket")).run_cmd(), &["/linux/namespaces/4/path", "EACCES"]);
    let hook = t.bundle().set("/hooks/createRuntime", json!([{ "path": text(&inside.join("socket")) }]));
    told(hook.run_cmd(), &["fork/exec", "permission denied", "/hooks/createRuntime/0"]);
    let log = text(&private.join("log"));
    told(t.cmd(["--log", &log, "list"]).without_log(), &["open the log", "EACCES"]);
}

/// mount(8): who asks does not matter.
fn mount_flags_are_named(t: &Test) {
    only_user(t);
    let dir = t.make_dir("flags");
    let shown = dir.display();
    let told = |cmd: Cmd<'_>, flags: &str, words: &[&str], hint: &str| {
        let line = format!(
            "exec unshare --mount --propagation private sh -ec 'mount -t tmpfs x {shown}; mkdir {shown}/dir
             chmod 777 {shown}/dir; mknod -m 666 {shown}/null c 1 3; ln -s dir {shown}/link
             mount -o remount,{flags} {shown}
             exec setpriv --reuid={FIRST} --regid={FIRST} --clear-groups -- \"$@\"' sh \"$@\""
        );
        hinted(cmd.starting_as_root().through(&line).run().fails(words), hint);
    };
    let pid_file = format!("{shown}/dir/pid");
    let created = t.bundle().args(["true"]).call("create", &["--pid-file", &pid_file]);
    told(
        created,
        "ro",
        &["pid file", "EROFS"],
        &format!("{shown}/dir is on a file system that is mounted ro"),
    );
    let node = format!("{shown}/null");
    let log = t.cmd(["--log", &node, "list"]).without_log();
    told(log, "nodev", &["the log", "EACCES"], &format!("{node} is on a file system that is mounted nodev"));
    let link = dir.join("link");
    let bound = t.bundle().bind(&link, "/mnt", &["bind"]).run_cmd();
    let hint = format!("{} is on a file system that is mounted nosymfollow", link.display());
    told(bound, "nosymfollow", &["/mounts/6/source", "ELOOP"], &hint);
}

/// proc(5), ptrace(2): permission bits have nothing to do with it.
fn namespace_of_another_process_is_explained(t: &Test) {
    only_user(t);
    let bundle = t.bundle().without_namespace("network").namespace("network", Some("/proc/1/ns/net"));
    hinted(bundle.run().fails(&["EACCES", "/path"]), "only who may trace a process");
}

/// Its own user namespace has no power over a namespace that it did not make.
fn file_system_that_shows_a_namespace_of_others_is_told(t: &Test) {
    t.only_teu("hints are teu's");
    let without = |kind: &str| mapped(t).without_namespace(kind);
    let out = without("ipc").run().fails(&["mqueue", "EPERM", "/mounts/"]);
    hinted(out, "mqueue shows the ipc namespace, and that of the caller belongs to another user namespace");
    let bundle = without("network").without_mounts("/sys").mount("/sys", "sysfs", "sysfs", &["nosuid"]);
    let out = bundle.run().fails(&["sysfs", "EPERM", "/mounts/"]);
    hinted(
        out,
        "list {\"type\": \"network\"} without a path in linux.namespaces, or bind the sysfs of the host",
    );
    if t.caller() != Caller::User {
        // A user may not even join it.
        let out = without("pid").namespace("pid", Some("/proc/1/ns/pid")).run().fails(&["proc", "EPERM"]);
        hinted(out, "proc shows the pid namespace, and /proc/1/ns/pid belongs to another user namespace");
    }
}

fn file_system_of_the_root_of_the_host_is_told(t: &Test) {
    t.only_teu("hints are teu's");
    let bundle = mapped(t).mount("/mnt", "debugfs", "debugfs", &[]);
    let out = bundle.run().fails(&["debugfs", "EPERM", "/mounts/6"]);
    hinted(out, "a user namespace may not make this file system: let root mount debugfs on the host");
}

/// setgroups(2), setresuid(2): EINVAL says nothing about which id and which map.
fn ids_that_a_joined_user_namespace_lacks_are_told(t: &Test) {
    t.only_teu("hints are teu's");
    let first = mapped(t).args(["sleep", "100"]).run_detached();
    let joined = || t.bundle().namespace("user", Some(&format!("/proc/{}/ns/user", first.pid())));
    let with = |user: serde_json::Value| joined().set("/process/user", user).args(["true"]).run();
    let out = with(json!({ "uid": 0, "gid": 0, "additionalGids": [5, 88888] }));
    let out = out.fails(&["88888 is not mapped in the user namespace", "/process/user/additionalGids/1"]);
    hinted(out, "its gid_map is \"0 100000");
    let out = with(json!({ "uid": 70_000, "gid": 0 })).fails(&["70000 is not mapped", "/process/user/uid"]);
    hinted(out, "choose an id that it maps");
    with(json!({ "uid": 0, "gid": 70_000 })).fails(&["70000 is not mapped", "/process/user/gid"]);
    with(json!({ "uid": 7, "gid": 8, "additionalGids": [9] })).ok();
    let out = joined().tmpfs("/x", &["mode=755", "gid=70000"]).args(["true"]).run();
    let out = out.fails(&["gid=70000 is not mapped in the user namespace", "/mounts/6/options"]);
    hinted(out, "choose an id that it maps, or leave the option out");
    let second = joined().args(["sleep", "100"]).run_detached();
    let out = second.exec(&["--user", "70000"], &["true"]);
    hinted(out.fails(&["70000 is not mapped", "/process/user/uid"]), "its uid_map is \"0 100000");
}

/// user_namespaces(7): as whoever maps the own id alone has it.
fn groups_that_a_joined_user_namespace_denies_are_told(t: &Test) {
    t.only_teu("hints are teu's");
    if t.caller() != Caller::Root {
        t.skip("joins a user namespace of root; TEU_AS=root runs it");
    }
    let denying = Holder::new(t, &["--map-root-user"], "1");
    let joined =
        |holder: &Holder| t.bundle().namespace("user", Some(&format!("/proc/{}/ns/user", holder.0.id())));
    let out = joined(&denying).set("/process/user/additionalGids", json!([0])).run();
    let out = out.fails(&["setgroups(2) is denied in the user namespace", "/process/user/additionalGids"]);
    hinted(out, "leave additionalGids out");
    let lacking = joined(&denying).set("/process/user/gid", 3).run();
    hinted(lacking.fails(&["3 is not mapped", "/process/user/gid"]), "its gid_map is \"0 0 1\"");
    let without_root = Holder::new(t, &["--map-user=5", "--map-group=5"], "1");
    let out = joined(&without_root).run().fails(&["id 0 is not mapped", "/linux/namespaces/"]);
    hinted(out, "its uid_map is \"5 0 1\": join a user namespace that maps it");
}

/// setns(2).
fn own_user_namespace_cannot_be_joined(t: &Test) {
    t.only_teu("hints are teu's");
    let out = t.bundle().namespace("user", Some("/proc/self/ns/user")).run();
    let out = out.fails(&["the caller's own user namespace", "/linux/namespaces/", "/path"]);
    hinted(out, "out of linux.namespaces to stay in it");
}

/// Its maps are nowhere in the configuration.
fn program_in_a_joined_user_namespace_is_explained(t: &Test) {
    t.only_teu("hints are teu's");
    let first = mapped(t).args(["sleep", "100"]).run_detached();
    let bundle = t.bundle().namespace("user", Some(&format!("/proc/{}/ns/user", first.pid())));
    let bundle = bundle.script("/bin/tool", "#!/bin/sh\n").args(["/bin/tool"]);
    t.hand_over();
    chown(bundle.inside("/bin/tool"), Some(FIRST + 70_000), Some(FIRST + 70_000)).unwrap();
    fs::set_permissions(bundle.inside("/bin/tool"), fs::Permissions::from_mode(0o700)).unwrap();
    hinted(
        bundle.run().fails(&["/process/args/0"]),
        "/bin/tool of the container belongs to 170000:170000 and has mode 0700, so user 0 of the container, who is \
         100000 outside, may not execute it",
    );
}

/// As seen from outside, below the root file system.
fn program_of_exec_is_explained(t: &Test) {
    t.only_teu("hints are teu's");
    let bundle = t.bundle().script("/bin/tool", "#!/bin/sh\n").mode("/bin/tool", 0o600);
    let bundle = bundle.dir_inside("/closed").mode("/closed", 0o700).script("/closed/tool", "#!/bin/sh\n");
    let closed = bundle.inside("/closed");
    let c = bundle.idle();
    let out = c.exec(&[], &["/bin/tool"]);
    hinted(out, "/bin/tool of the container belongs to");
    let out = c.exec(&["--user", "7:7"], &["/closed/tool"]);
    hinted(out, "/closed of the container belongs to");
    if t.caller() != Caller::Root {
        // As the root of the container, of an owner who is not mapped.
        chown(closed, Some(FIRST + 70_000), Some(FIRST + 70_000)).unwrap();
        hinted(c.exec(&["--cwd", "/closed"], &["true"]), "/closed of the container belongs to 170000:170000");
    }
}

/// What lies below a mount cannot be seen from outside, so nothing is said.
fn program_below_a_mount_is_not_judged_by_what_it_covers(t: &Test) {
    t.only_teu("hints are teu's");
    let source = t.make_dir("source");
    fs::write(source.join("tool"), "#!/bin/sh\n").unwrap();
    let bundle =
        t.bundle().dir_inside("/covered").mode("/covered", 0o700).bind(&source, "/covered", &["bind"]);
    let out = bundle.set("/process/user", json!({ "uid": 7, "gid": 7 })).args(["/covered/tool"]).run();
    let out = out.fails(&["/process/args/0"]);
    assert!(!out.stderr.contains("; hint: "), "{}", out.report());
}

/// newuidmap(1) looks the caller up by name.
fn caller_without_an_account_is_told(t: &Test) {
    only_user(t);
    let line = format!(
        "exec unshare --mount --propagation private sh -ec 'mount --bind /dev/null /etc/passwd
         exec setpriv --reuid={FIRST} --regid={FIRST} --clear-groups -- \"$@\"' sh \"$@\""
    );
    let out = t.bundle().run_cmd().starting_as_root().through(&line).run().fails(&["newuidmap"]);
    hinted(out, &format!("needs an account: add a line for the user id {FIRST} to /etc/passwd"));
}
