//! The root file system: pivot, read-only, propagation.

use serde_json::json;

use crate::harness::{Caller, Test, report};

cases![
    root_is_the_rootfs_and_nothing_else,
    root_is_a_mount_of_its_own,
    mounts_of_the_host_are_gone,
    read_only_root_refuses_writes,
    read_only_root_leaves_its_mounts_writable,
    writable_root_may_be_written_to,
    writes_stay_after_the_container,
    absolute_root_path_works,
    rootfs_may_be_the_bundle_itself,
    relative_root_path_is_relative_to_the_bundle,
    missing_rootfs_is_refused,
    file_as_rootfs_is_refused,
    no_pivot_changes_the_root_too,
    root_is_private_towards_the_host_by_default,
    root_can_be_shared_slave_or_unbindable,
    nothing_mounted_inside_reaches_the_host,
    parent_of_the_root_is_the_root,
    mount_points_of_the_config_do_not_survive_the_container,
];

/// config.md#root.
fn root_is_the_rootfs_and_nothing_else(t: &Test) {
    let bundle = t.bundle().file("/only-here", "");
    let mut expected: Vec<String> = std::fs::read_dir(bundle.rootfs())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    expected.sort();
    assert_eq!(bundle.args(["ls", "-A", "/"]).run().ok().lines(), expected);
}

/// pivot_root(2).
fn root_is_a_mount_of_its_own(t: &Test) {
    let report = t.bundle().report();
    let mounts = report["mounts"].as_array().unwrap();
    assert_eq!(mounts.iter().filter(|mount| mount["point"] == "/").count(), 1, "{mounts:?}");
    assert_eq!((report["root"].as_str(), report["cwd"].as_str()), (Some("/"), Some("/")));
}

/// The old root is not left somewhere below the new one.
fn mounts_of_the_host_are_gone(t: &Test) {
    let report = t.bundle().report();
    let mut points: Vec<&str> =
        report["mounts"].as_array().unwrap().iter().filter_map(|mount| mount["point"].as_str()).collect();
    points.sort_unstable();
    if t.caller() != Caller::Root {
        let devices = ["full", "null", "random", "tty", "urandom", "zero"];
        points.retain(|point| !devices.iter().any(|name| *point == format!("/dev/{name}")));
    }
    assert_eq!(points, ["/", "/dev", "/dev/mqueue", "/dev/pts", "/dev/shm", "/proc", "/sys"]);
}

/// config.md#root.
fn read_only_root_refuses_writes(t: &Test) {
    let bundle = t.bundle().set("/root/readonly", true);
    let out = bundle.sh("touch /new 2>&1; echo x >/etc/passwd; mkdir /dir").run();
    assert_ne!(out.code, Some(0), "{}", out.report());
    assert!(out.message().contains("Read-only file system"), "{}", out.report());
    assert!(report::has(report::mount(&t.bundle().set("/root/readonly", true).report(), "/"), "ro"));
}

/// config.md#root: the mounts have their own options.
fn read_only_root_leaves_its_mounts_writable(t: &Test) {
    let bundle = t.bundle().set("/root/readonly", true).tmpfs("/created/by/runtime", &[]);
    bundle.sh("touch /created/by/runtime/x /dev/shm/x && echo fine >/dev/null").run().ok().silent();
}

/// config.md#root.
fn writable_root_may_be_written_to(t: &Test) {
    assert_eq!(t.bundle().sh("echo data >/new; cat /new").run().ok().stdout, "data\n");
}

/// The rootfs is the caller's.
fn writes_stay_after_the_container(t: &Test) {
    let bundle = t.bundle().sh("echo data >/kept");
    bundle.run().ok();
    assert_eq!(std::fs::read_to_string(bundle.inside("/kept")).unwrap(), "data\n");
}

/// config.md#root.
fn absolute_root_path_works(t: &Test) {
    let bundle = t.bundle().file("/only-here", "");
    let path = bundle.rootfs().to_string_lossy().into_owned();
    bundle.set("/root/path", path).args(["ls", "/only-here"]).run().ok();
}

/// runc.
fn rootfs_may_be_the_bundle_itself(t: &Test) {
    let bundle = t.bundle().sh("cd /; ls config.json");
    let inner = bundle.rootfs();
    bundle.write();
    let config =
        std::fs::read_to_string(bundle.dir().join("config.json")).unwrap().replace("\"rootfs\"", "\".\"");
    std::fs::write(inner.join("config.json"), config).unwrap();
    let out = t.cmd(["run", "--bundle"]).arg(&inner).arg(bundle.id()).run().ok();
    assert_eq!(out.stdout, "config.json\n");
}

/// config.md#root: not to where the caller is.
fn relative_root_path_is_relative_to_the_bundle(t: &Test) {
    let bundle = t.bundle().file("/mark", "of the bundle").args(["cat", "/mark"]);
    let elsewhere = t.make_dir("elsewhere");
    t.make_dir("elsewhere/rootfs");
    t.make_file("elsewhere/rootfs/mark", "of the caller");
    assert_eq!(bundle.run_cmd().in_dir(&elsewhere).run().ok().stdout, "of the bundle");
}

/// config.md#root.
fn missing_rootfs_is_refused(t: &Test) {
    let out = t.bundle().set("/root/path", "nowhere").try_create().fails(&[]);
    if t.is("teu") {
        out.fails(&["/root/path", "nowhere"]);
    }
}

/// config.md#root: a directory.
fn file_as_rootfs_is_refused(t: &Test) {
    let bundle = t.bundle();
    std::fs::write(bundle.dir().join("file"), "").unwrap();
    let out = bundle.set("/root/path", "file").try_create().fails(&[]);
    if t.is("teu") {
        out.fails(&["/root/path"]);
    }
}

/// runc: `--no-pivot`, for hosts that run from a ramdisk.
fn no_pivot_changes_the_root_too(t: &Test) {
    let bundle = t.bundle().file("/only-here", "").args(["ls", "/only-here"]);
    assert_eq!(bundle.call("run", &["--no-pivot"]).run().ok().stdout, "/only-here\n");
}

/// config-linux.md#rootfs-mount-propagation.
fn root_is_private_towards_the_host_by_default(t: &Test) {
    let report = t.bundle().report();
    assert!(!report::propagates(report::mount(&report, "/"), "shared"), "{report}");
}

/// config-linux.md#rootfs-mount-propagation.
fn root_can_be_shared_slave_or_unbindable(t: &Test) {
    t.skip_older("runc", (1, 2), "sets it before pivot_root alone");
    for (value, field) in [("shared", "shared"), ("unbindable", "unbindable")] {
        let report = t.bundle().set("/linux/rootfsPropagation", value).report();
        assert!(
            report::propagates(report::mount(&report, "/"), field),
            "{value}: {}",
            report::mount(&report, "/")
        );
    }
    for value in ["private", "slave", "rslave", "rprivate"] {
        let report = t.bundle().set("/linux/rootfsPropagation", value).report();
        assert!(!report::propagates(report::mount(&report, "/"), "shared"), "{value}");
    }
    // mount_namespaces(7): an unbindable mount cannot be bound.
    let all = json!(["CAP_SYS_ADMIN"]);
    let capabilities = json!({ "bounding": all, "effective": all, "permitted": all });
    let bundle = t.bundle().set("/process/capabilities", capabilities);
    let bundle = bundle.set("/linux/rootfsPropagation", "unbindable");
    let out = bundle.sh("mount --bind / /mnt").run();
    assert!(out.code != Some(0) && out.stderr.contains("Invalid argument"), "{}", out.report());
}

/// Whatever the container does with its mounts, `/` of the host here is shared.
fn nothing_mounted_inside_reaches_the_host(t: &Test) {
    let capabilities = json!(["CAP_SYS_ADMIN"]);
    let capabilities =
        json!({ "bounding": capabilities, "effective": capabilities, "permitted": capabilities });
    for value in ["shared", "slave", "private"] {
        let c = t
            .bundle()
            .set("/process/capabilities", capabilities.clone())
            .set("/linux/rootfsPropagation", value)
            .sh("mount -t tmpfs inside /mnt && echo mounted; sleep 100")
            .run_detached();
        c.wait_for_stdout("mounted");
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!text.contains("- tmpfs inside "), "{value}: {text}");
    }
}

/// There is no way up.
fn parent_of_the_root_is_the_root(t: &Test) {
    let out =
        t.bundle().file("/only-here", "").sh("cd /../../..; ls only-here; pwd; stat -c %i / /..").run().ok();
    let lines = out.lines();
    assert_eq!(lines[..2], ["only-here", "/"]);
    assert_eq!(lines[2], lines[3]);
}

/// Only the empty mount points stay in the rootfs.
fn mount_points_of_the_config_do_not_survive_the_container(t: &Test) {
    let bundle = t.bundle().tmpfs("/new/point", &[]).sh("touch /new/point/file /dev/shm/file");
    bundle.run().ok();
    let left = |path: &str| std::fs::read_dir(bundle.inside(path)).unwrap().count();
    assert_eq!((left("/new/point"), left("/dev"), left("/proc"), left("/sys")), (0, 0, 0, 0));
}
