//! An unprivileged caller: what only it meets. `TEU_AS=user` runs these, and all other files as such a caller too.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::{Value, json};

use crate::harness::caller::FIRST;
use crate::harness::{Bundle, Caller, Cmd, Out, Test, View, cgroup};

cases![
    single_id_needs_no_helper,
    single_id_denies_additional_groups,
    additional_groups_of_a_range_are_set,
    other_users_of_a_range_work,
    owner_of_a_mount_must_be_mapped,
    cgroups_that_are_not_permitted_are_told,
    hierarchies_of_version_1_can_be_mounted_one_by_one,
    default_root_is_below_the_runtime_directory,
    default_root_without_a_runtime_directory_is_that_of_the_login,
    spec_for_rootless_runs,
    host_without_user_namespaces_is_told,
    forbidden_user_namespaces_are_told,
    missing_ranges_are_told,
    missing_helper_is_told,
    helper_without_privilege_is_told,
    helper_that_others_may_write_to_is_refused,
    locked_flags_are_told,
    directory_with_mounts_is_told,
    idmapped_mount_is_refused,
    sysfs_of_the_host_is_bound_read_only,
    procfs_of_the_host_is_bound,
    parameter_behind_a_mount_of_the_same_procfs_is_set,
    state_of_another_user_is_out_of_reach,
    process_of_another_user_is_out_of_reach,
    devices_are_verified,
    component_that_stops_the_way_is_named,
    bundle_in_a_private_directory_works,
    working_directory_of_another_user_is_no_obstacle,
];

/// The tests of this file are about an unprivileged caller.
fn only_user(t: &Test) {
    if t.caller() != Caller::User {
        t.skip("the caller is root; TEU_AS=user runs it");
    }
}

/// Checks that a call fails and that its hint contains the text.
#[track_caller]
fn hinted(out: Out, text: &str) {
    assert_ne!(out.code, Some(0), "{}", out.report());
    let hint = out.stderr.split_once("; hint: ").map(|(_, hint)| hint.to_owned());
    assert!(hint.is_some_and(|hint| hint.contains(text)), "{text:?} is not hinted at\n{}", out.report());
}

/// tmpfs(5), devpts: ids of the container, which this one does not have.
fn owner_of_a_mount_must_be_mapped(t: &Test) {
    only_user(t);
    t.only_teu("the words are teu's");
    for option in ["uid=7", "gid=5"] {
        let out = single(t.bundle()).mount("/mnt", "tmpfs", "tmpfs", &[option]).run();
        let out = out.fails(&[&format!("{option} is not mapped"), "/mounts/6/options"]);
        hinted(out, "or leave the option out");
    }
    single(t.bundle()).mount("/mnt", "tmpfs", "tmpfs", &["uid=0", "gid=0"]).args(["true"]).run().ok();
    let ranges = t.bundle().mount("/mnt", "tmpfs", "tmpfs", &["uid=7", "gid=5"]).sh("stat -c '%u %g' /mnt");
    assert_eq!(ranges.run().ok().stdout, "7 5\n");
}

/// podman's --systemd: there is no cgroup to show, but a place for each hierarchy of the host.
fn hierarchies_of_version_1_can_be_mounted_one_by_one(t: &Test) {
    only_user(t);
    if t.view() == View::V2 {
        t.skip("this view has no hierarchies of version 1");
    }
    t.skip_for("crun", "knows no hybrid cgroups");
    let dir = t.make_dir("shown");
    fs::write(dir.join("file"), "").unwrap();
    let bundle = t.bundle().unset("/linux/resources").unset("/linux/cgroupsPath");
    let bundle = bundle.without_mounts("/sys/fs/cgroup").mount(
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["nosuid", "noexec", "nodev", "ro"],
    );
    let script = "ls /sys/fs/cgroup/memory; mkdir /sys/fs/cgroup/x 2>&1; true";
    let out = bundle.bind(&dir, "/sys/fs/cgroup/memory", &["bind"]).sh(script).run().ok();
    assert!(out.stdout.starts_with("file\n") && out.stdout.contains("Read-only"), "{}", out.report());
}

/// A config whose container has one id, that of the caller.
fn single(bundle: Bundle) -> Bundle {
    let map = json!([{ "containerID": 0, "hostID": FIRST, "size": 1 }]);
    bundle
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .without_mounts("/dev/pts")
        .mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666", "mode=0620"])
}

/// A call by the user in a mount namespace that root has prepared with a shell line.
fn prepared<'t>(cmd: Cmd<'t>, line: &str) -> Cmd<'t> {
    cmd.starting_as_root().through(&format!(
        "exec unshare --mount --propagation private sh -ec '{line}
         exec setpriv --reuid={FIRST} --regid={FIRST} --clear-groups -- \"$@\"' sh \"$@\""
    ))
}

/// user_namespaces(7): anybody may map the own ids.
fn single_id_needs_no_helper(t: &Test) {
    only_user(t);
    let bundle = single(t.bundle()).sh("tr -s ' ' </proc/self/uid_map; cat /proc/self/setgroups; id -u");
    let cmd = prepared(bundle.run_cmd(), "mount --bind /dev/null /usr/bin/newuidmap");
    assert_eq!(cmd.run().ok().stdout, format!(" 0 {FIRST} 1\ndeny\n0\n"));
}

/// user_namespaces(7): setgroups(2) is denied then.
fn single_id_denies_additional_groups(t: &Test) {
    only_user(t);
    let bundle = single(t.bundle()).set("/process/user/additionalGids", json!([0]));
    let out = bundle.run().fails(&["/process/user/additionalGids", "cannot set any additional groups"]);
    hinted(out, "only the own group is mapped");
    let bundle = single(t.bundle()).set("/process/user/additionalGids", json!([1]));
    bundle.run().fails(&["/process/user/additionalGids"]);
}

/// config.md#posix-platform-user: with a range the groups can be set, and are.
fn additional_groups_of_a_range_are_set(t: &Test) {
    only_user(t);
    let user = json!({ "uid": 1000, "gid": 1000, "additionalGids": [5, 7] });
    let out = t.bundle().set("/process/user", user).sh("id -G; cat /proc/self/setgroups").run().ok();
    assert_eq!(out.stdout, "1000 5 7\nallow\n");
}

/// newuidmap(1): what such a user makes belongs to an id of the range.
fn other_users_of_a_range_work(t: &Test) {
    only_user(t);
    let bundle = t.bundle().dir_inside("/open").mode("/open", 0o777);
    let bundle = bundle.set("/process/user", json!({ "uid": 1000, "gid": 1001 }));
    let bundle = bundle.sh("id -u; id -g; touch /open/new");
    assert_eq!(bundle.run().ok().stdout, "1000\n1001\n");
    let made = fs::metadata(bundle.inside("/open/new")).unwrap();
    assert_eq!((made.uid(), made.gid()), (FIRST + 1000, FIRST + 1001));
}

/// runc: without permission a container has no cgroup of its own, unless one, or a limit, is asked for.
fn cgroups_that_are_not_permitted_are_told(t: &Test) {
    only_user(t);
    t.only_teu("pointers are teu's");
    // Version 1 permits nothing anyway, and of version 2 a part is the user's.
    let line =
        if t.view() == View::V2 { "mount --read-only --bind /sys/fs/cgroup /sys/fs/cgroup" } else { ":" };
    let asking_nothing = || t.bundle().unset("/linux/cgroupsPath").unset("/linux/resources");
    let bundle = asking_nothing().args(["sleep", "100"]);
    prepared(bundle.call("run", &["--detach"]), line).run().ok();
    assert!(cgroup::find(bundle.id()).is_empty(), "{:?}", cgroup::find(bundle.id()));
    let path = format!("/{}-path", bundle.id());
    for (pointer, value) in
        [("/linux/resources/pids/limit", json!(5)), ("/linux/cgroupsPath", json!(path.as_str()))]
    {
        let bundle = asking_nothing().set(pointer, value);
        let words = "rootless needs no limits + no cgrouppath when no permission is granted";
        let out = prepared(bundle.call("create", &[]), line).run();
        assert!(out.code == Some(1) && out.stderr.contains(words), "{pointer}: {}", out.report());
        assert!(!t.root().join(bundle.id()).exists(), "{pointer}: the state directory is still there");
    }
    assert!(cgroup::find(&path[1..]).is_empty());
}

/// runc: and a sticky bit keeps it from being tidied up.
fn default_root_is_below_the_runtime_directory(t: &Test) {
    only_user(t);
    let dir = t.make_dir("runtime");
    let bundle = t.bundle().sh("sleep 100");
    bundle.write();
    let call = |verb: &str, rest: &[&str]| {
        let cmd = t.cmd([verb]).bare().env("XDG_RUNTIME_DIR", &dir);
        rest.iter().fold(cmd, |cmd, word| cmd.arg(word))
    };
    let id = bundle.id();
    call("run", &["--detach", "--bundle", &bundle.dir().to_string_lossy(), id]).run().ok();
    let root = dir.join(t.runtime().name.as_str());
    let mode = fs::metadata(&root).unwrap().permissions().mode() & 0o7777;
    assert_eq!(format!("{mode:o}"), "1700");
    assert!(root.join(id).is_dir());
    assert_eq!(call("list", &["--quiet"]).run().ok().stdout.trim(), id);
    call("delete", &["--force", id]).run().ok();
    assert!(!root.join(id).exists());
}

/// podman calls with an empty variable; a login has the directory all the same.
fn default_root_without_a_runtime_directory_is_that_of_the_login(t: &Test) {
    only_user(t);
    t.only_teu("others refuse or use a directory of root");
    let bundle = t.bundle().sh("sleep 100");
    bundle.write();
    let call = |runtime: &str, verb: &str, rest: &[&str]| {
        let cmd = t.cmd([verb]).bare().env("XDG_RUNTIME_DIR", runtime);
        rest.iter().fold(cmd, |cmd, word| cmd.arg(word))
    };
    // XDG Base Directory Specification: a relative path is invalid and to be ignored.
    for runtime in ["", "relative", "./relative"] {
        call(runtime, "run", &["--detach", "--bundle", &bundle.dir().to_string_lossy(), bundle.id()])
            .run()
            .ok();
        let made = format!("/run/user/{FIRST}/teu/{}", bundle.id());
        assert!(fs::metadata(made).is_ok_and(|dir| dir.is_dir()), "{runtime:?}");
        assert!(!t.dir().join("relative").exists(), "{runtime:?}");
        call(runtime, "delete", &["--force", bundle.id()]).run().ok();
    }
}

/// `teu spec --rootless` writes what works.
fn spec_for_rootless_runs(t: &Test) {
    only_user(t);
    let bundle = t.bundle();
    t.hand_over();
    t.cmd(["spec", "--rootless", "--bundle"]).arg(bundle.dir()).run().ok();
    let path = bundle.dir().join("config.json");
    let text = fs::read_to_string(&path).unwrap().replace("\"terminal\": true", "\"terminal\": false");
    fs::write(&path, text.replace("\"sh\"", "\"id\"")).unwrap();
    let out = t.cmd(["run", "--bundle"]).arg(bundle.dir()).arg(bundle.id()).run().ok();
    assert!(out.stdout.starts_with("uid=0(root) gid=0(root)"), "{}", out.report());
    if t.is("teu") {
        // The cgroups of the host are below it, covered only by those of the container.
        let config: Value = serde_json::from_str(&text).unwrap();
        let mounts = config["mounts"].as_array().unwrap();
        let sys = mounts.iter().find(|mount| mount["destination"] == "/sys").unwrap();
        assert!(sys["options"].as_array().unwrap().contains(&json!("rro")), "{sys}");
    }
}

/// namespaces(7): the limit is one of each user namespace, so it can be lowered in one.
fn host_without_user_namespaces_is_told(t: &Test) {
    only_user(t);
    t.only_teu("hints are teu's");
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    let bundle = single(t.bundle()).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let line = "exec unshare --user --map-root-user \
                sh -ec 'echo 0 >/proc/sys/user/max_user_namespaces; exec \"$@\"' sh \"$@\"";
    let out = bundle.run_cmd().through(line).run().fails(&["ENOSPC", "/linux/namespaces"]);
    hinted(out, "user.max_user_namespaces is 0");
}

/// The kernel refuses in a chroot as it does where a setting forbids it; the settings themselves are those of other
/// kernels, so files stand in for them.
fn forbidden_user_namespaces_are_told(t: &Test) {
    only_user(t);
    t.only_teu("hints are teu's");
    let bundle = single(t.bundle());
    let refused = |setting: &str, hint: &str| {
        let root = t.dir().join(format!("root{}", t.next_number()));
        let line = format!(
            "cap=$(cat /proc/sys/kernel/cap_last_cap); boot=$(cat /proc/sys/kernel/random/boot_id); mkdir {0}; mount --rbind / {0}; cd {0}/proc/sys/kernel
             mount -t tmpfs settings .; cd {0}/proc/sys/kernel; echo $cap >cap_last_cap; mkdir random; echo $boot >random/boot_id; {setting}; cd {0}",
            root.display()
        );
        let cmd = bundle.run_cmd().starting_as_root().through(&format!(
            "exec unshare --mount --propagation private sh -ec '{line}
             exec chroot --userspec={FIRST}:{FIRST} . \"$@\"' sh \"$@\""
        ));
        hinted(cmd.run().fails(&["EPERM", "/linux/namespaces"]), hint);
    };
    refused(":", "neither in a chroot nor under a seccomp filter");
    refused("echo 0 >unprivileged_userns_clone", "kernel.unprivileged_userns_clone is 0");
    refused(
        "echo 1 >apparmor_restrict_unprivileged_userns",
        "kernel.apparmor_restrict_unprivileged_userns is 1",
    );
}

/// subuid(5).
fn missing_ranges_are_told(t: &Test) {
    only_user(t);
    t.only_teu("hints are teu's");
    let out = prepared(t.bundle().run_cmd(), "mount --bind /dev/null /etc/subuid").run();
    hinted(out.fails(&["newuidmap", "/linux/uidMappings"]), "the ranges of the user are in /etc/subuid");
    let out = prepared(t.bundle().run_cmd(), "mount --bind /dev/null /etc/subgid").run();
    hinted(out.fails(&["newgidmap", "/linux/gidMappings"]), "usermod --add-subgids");
}

/// The package that nobody thinks of.
fn missing_helper_is_told(t: &Test) {
    only_user(t);
    t.only_teu("hints are teu's");
    let out = prepared(t.bundle().run_cmd(), "mount --bind /dev/null /usr/bin/newuidmap").run();
    hinted(out.fails(&["newuidmap", "ENOENT"]), "install the package uidmap");
}

/// Copies of the helper in place of it.
fn with_helper(t: &Test, change: &str) -> Out {
    let copy = t.dir().join(format!("newuidmap{}", t.next_number()));
    let copy = copy.display();
    let line =
        format!("cp -p /usr/bin/newuidmap {copy}; {change} {copy}; mount --bind {copy} /usr/bin/newuidmap");
    prepared(t.bundle().run_cmd(), &line).run()
}

/// An image without set-user-id bits, a file system mounted nosuid.
fn helper_without_privilege_is_told(t: &Test) {
    only_user(t);
    t.only_teu("hints are teu's");
    hinted(with_helper(t, "chmod u-s").fails(&["newuidmap"]), "has lost its privilege: chmod u+s");
    let out = t.bundle().run_cmd().through("exec setpriv --no-new-privs \"$@\"").run();
    hinted(out.fails(&["newuidmap"]), "permitted to gain privileges");
}

/// A program that others may change is not run.
fn helper_that_others_may_write_to_is_refused(t: &Test) {
    only_user(t);
    t.only_teu("others run it");
    hinted(
        with_helper(t, "chmod o+w").fails(&["newuidmap", "EACCES"]),
        "must belong to root and be writable",
    );
    // Only in a user namespace root of the host has this number.
    hinted(
        with_helper(t, "chown 65534").fails(&["newuidmap", "EACCES"]),
        "must belong to root and be writable",
    );
}

/// mount_namespaces(7).
fn locked_flags_are_told(t: &Test) {
    only_user(t);
    t.only_teu("hints are teu's");
    let dir = t.make_dir("source");
    let bundle = t.bundle().bind(&dir, "/mnt", &["bind", "rw"]);
    let line = format!("mount --bind {0} {0}; mount -o remount,bind,ro {0}", dir.display());
    let out = prepared(bundle.run_cmd(), &line).run().fails(&["mount_setattr(2)", "/mounts/6"]);
    hinted(out, "cannot be taken back in a user namespace");
}

/// mount_namespaces(7).
fn directory_with_mounts_is_told(t: &Test) {
    only_user(t);
    t.only_teu("hints are teu's");
    let dir = t.make_dir("source/below");
    let bundle = t.bundle().bind(dir.parent().unwrap(), "/mnt", &["bind"]);
    let out = prepared(bundle.run_cmd(), &format!("mount -t tmpfs x {}", dir.display())).run();
    hinted(out.fails(&["open_tree(2)", "/mounts/6"]), "can only be bound with them");
}

/// mount_setattr(2): never without privilege over the file system, so it must not be left out in silence.
fn idmapped_mount_is_refused(t: &Test) {
    only_user(t);
    t.only_teu("the text is teu's");
    let dir = t.make_dir("source");
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    let mount = json!({ "destination": "/mnt", "type": "bind", "source": dir.to_string_lossy(), "options": ["bind"],
        "uidMappings": map, "gidMappings": map });
    let out = t.bundle().push("/mounts", mount).run().fails(&["map the ids", "/mounts/6", "EPERM"]);
    hinted(out, "it needs privilege where the file system was mounted");
}

/// CVE-2023-25809: whatever comes along with the host's sysfs is read-only.
fn sysfs_of_the_host_is_bound_read_only(t: &Test) {
    only_user(t);
    t.only_teu("runc fails");
    let bundle = t.bundle().without_namespace("network");
    let bound = t.bundle().without_mounts("/sys").mount("/sys", "none", "/sys", &["rbind", "nosuid", "ro"]);
    let script = "grep \" /sys\" /proc/self/mountinfo | cut -d\" \" -f6; \
                  for dir in $(grep \" /sys/fs/cgroup\" /proc/self/mountinfo | cut -d\" \" -f5); do \
                  mkdir $dir/x 2>&1; done; true";
    let all_is_read_only = |bundle: Bundle| {
        let out = bundle.sh(script).run().ok();
        let mut attributes = out.stdout.lines().filter(|line| !line.contains("mkdir"));
        assert!(attributes.all(|line| line.starts_with("ro,")), "{}", out.report());
        assert!(out.stdout.contains("Read-only file system"), "{}", out.report());
        out
    };
    let out = all_is_read_only(bundle);
    // As podman and `spec --rootless` of runc write it.
    all_is_read_only(bound);
    let told = out.log_text.contains("that of the host is bound there (/mounts/5)");
    assert!(told, "the log does not say so: {}", out.report());
    let writable = t.bundle().without_namespace("network").without_mounts("/sys");
    writable.mount("/sys", "sysfs", "sysfs", &["nosuid"]).run().fails(&["/mounts/5"]);
}

/// The processes of the host are what was asked for.
fn procfs_of_the_host_is_bound(t: &Test) {
    only_user(t);
    t.only_teu("runc fails");
    let out = t.bundle().without_namespace("pid").sh("readlink /proc/self; echo $$").run().ok();
    let lines = out.lines();
    assert!(lines[0].parse::<i32>().unwrap() > 1 && lines[1].parse::<i32>().unwrap() > 1, "{}", out.report());
    assert!(out.log_text.contains("that of the host is bound there (/mounts/0)"), "{}", out.report());
}

/// Containers have such mounts on /proc/sys; one that shows another file would send the value there. CVE-2025-52881.
fn parameter_behind_a_mount_of_the_same_procfs_is_set(t: &Test) {
    only_user(t);
    t.only_teu("others refuse or trust every mount");
    let set = |name: &str, value: &str, line: &str| {
        let bundle = t.bundle().without_namespace("pid").set("/linux/sysctl", json!({ name: value }));
        let bundle = bundle.sh("cat /proc/sys/kernel/msgmax; hostname");
        prepared(bundle.run_cmd(), line).run()
    };
    let same = "mount --bind /proc/sys/kernel /proc/sys/kernel";
    assert!(set("kernel.msgmax", "4321", same).ok().stdout.starts_with("4321\n"));
    // Every namespace has the same file of this name.
    let other = "cd /proc/sys/kernel; mount --bind hostname domainname";
    set("kernel.domainname", "elsewhere", other).fails(&["/linux/sysctl/kernel.domainname", "EXDEV"]);
    // Along with one that is harmless.
    let both = format!("{same}; {other}");
    set("kernel.domainname", "elsewhere", &both).fails(&["/linux/sysctl/kernel.domainname"]);
}

/// What belongs to root is neither read nor changed.
fn state_of_another_user_is_out_of_reach(t: &Test) {
    only_user(t);
    let other = t.make_dir("other");
    fs::create_dir(other.join("box")).unwrap();
    fs::write(other.join("box/state.json"), "{\"id\":\"box\",\"init_process_pid\":1}").unwrap();
    for verb in ["state", "kill", "delete", "start"] {
        let cmd = t.cmd(["--root"]).bare().arg(&other).arg(verb).arg("box");
        let line = format!("chown -R 0:0 {0}; chmod 755 {0} {0}/box", other.display());
        let out = prepared(cmd, &line).run();
        assert_ne!(out.code, Some(0), "{verb}: {}", out.report());
        if t.is("teu") {
            assert!(out.message().contains("another user"), "{verb}: {}", out.report());
        }
    }
    assert!(other.join("box/state.json").exists());
    assert_eq!(fs::metadata(other.join("box")).unwrap().uid(), 0);
}

/// A record that names a process of root does not reach it.
fn process_of_another_user_is_out_of_reach(t: &Test) {
    only_user(t);
    t.only_teu(crate::harness::HOSTILE);
    let mut victim = std::process::Command::new("sleep").arg("100").spawn().unwrap();
    let c = t.bundle().idle();
    let path = t.root().join(&c.id).join("state.json");
    let own = c.pid();
    let text = fs::read_to_string(&path).unwrap();
    let start = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap().to_owned()
    };
    let forged = text
        .replace(&format!("\"init_process_pid\":{own}"), &format!("\"init_process_pid\":{}", victim.id()))
        .replace(&start(own as u32), &start(victim.id()));
    assert_ne!(forged, text);
    fs::write(&path, forged).unwrap();
    c.try_kill("KILL").fails(&[]);
    c.call("delete", &["--force"]);
    assert!(victim.try_wait().unwrap().is_none(), "a process of root was killed");
    fs::write(&path, text).ok();
    // Without a cgroup nothing tells that it belongs to the forged record.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(own), nix::sys::signal::Signal::SIGKILL);
    victim.kill().unwrap();
    victim.wait().unwrap();
}

/// A node of the host that is another device is not bound.
fn devices_are_verified(t: &Test) {
    only_user(t);
    t.only_teu("others bind what is there");
    let out = prepared(t.bundle().run_cmd(), "mount --bind /dev/zero /dev/full").run();
    out.fails(&["/dev/full of the host is another device"]);
    if t.view() == View::V2 {
        let device = json!([{ "path": "/dev/null", "type": "c", "major": 1, "minor": 5 }]);
        t.bundle().set("/linux/devices", device).run().fails(&["/dev/null of the host is another device"]);
    }
}

/// The path is not enough to see what is wrong with it.
fn component_that_stops_the_way_is_named(t: &Test) {
    if t.caller() == Caller::Root {
        t.skip("root of the host is stopped by nothing; TEU_AS=user and TEU_AS=userns run it");
    }
    t.only_teu("hints are teu's");
    let first = t.caller().outside(0);
    // Of the root of the host, and closed to others.
    let private = t.make_dir("private/dir");
    let closed =
        "chown 0:0 PRIVATE; chmod 700 PRIVATE".replace("PRIVATE", &t.dir().join("private").to_string_lossy());
    if t.caller() == Caller::User {
        let bundle = t.bundle().bind(&private, "/mnt", &["bind"]);
        let out = prepared(bundle.run_cmd(), &closed).run().fails(&["/mounts/6/source", "EACCES"]);
        hinted(
            out,
            &format!("/private belongs to 0:0 and has mode 0700, so user {FIRST} may not pass through it"),
        );
    }
    // In the image, of an owner who is not mapped.
    let unmapped = |bundle: &Bundle, path: &str, mode: u32| {
        t.hand_over();
        std::os::unix::fs::chown(bundle.inside(path), Some(FIRST + 70_000), Some(FIRST + 70_000)).unwrap();
        fs::set_permissions(bundle.inside(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    let who = format!("so user 0 of the container, who is {first} outside,");
    let bundle = t.bundle().dir_inside("/srv/private").tmpfs("/srv/private/below", &[]);
    unmapped(&bundle, "/srv/private", 0o755);
    let out = bundle.run().fails(&["/mounts/6", "EACCES"]);
    hinted(
        out,
        &format!(
            "/srv/private of the container belongs to 170000:170000 and has mode 0755, {who} may not make anything in it"
        ),
    );
    let bundle = t.bundle().dir_inside("/srv/private").set("/process/cwd", "/srv/private");
    unmapped(&bundle, "/srv/private", 0o700);
    hinted(bundle.run().fails(&["chdir to cwd"]), &format!("{who} may not pass through it"));
    let bundle = t.bundle().script("/bin/tool", "#!/bin/sh\n").args(["/bin/tool"]);
    unmapped(&bundle, "/bin/tool", 0o700);
    hinted(bundle.run().fails(&["/process/args/0"]), &format!("{who} may not execute it"));
}

/// The root of the container may not pass, but need not: the way there is the caller's.
fn bundle_in_a_private_directory_works(t: &Test) {
    if t.caller() != Caller::Mapped {
        t.skip("another user may never have such a directory; TEU_AS=userns runs it");
    }
    let bundle = t.bundle().sh("echo fine");
    let (dir, id) = (t.dir().to_string_lossy().into_owned(), bundle.id());
    let cmd = bundle.run_cmd();
    let private = format!("chmod 700 {dir}; chown 0:0 {dir}; exec \"$@\"");
    let out = cmd.through(&private).run().ok();
    assert_eq!(out.stdout, "fine\n", "{id}");
}

/// As after `sudo -u` in the home directory of root.
fn working_directory_of_another_user_is_no_obstacle(t: &Test) {
    only_user(t);
    let private =
        format!("cd /root && exec setpriv --reuid={FIRST} --regid={FIRST} --clear-groups -- \"$@\"");
    let as_after_sudo = |cmd: Cmd<'_>| cmd.starting_as_root().through(&private).run().ok();
    let root = fs::metadata("/root").unwrap();
    assert!(root.uid() == 0 && root.mode() & 0o005 == 0, "anybody may enter /root");
    let bundle = t.bundle().args(["sleep", "1000"]);
    as_after_sudo(bundle.call("run", &["--detach"]));
    assert_eq!(as_after_sudo(t.cmd(["exec", bundle.id(), "pwd"])).stdout, "/\n");
    as_after_sudo(t.cmd(["delete", "--force", bundle.id()]));
}
