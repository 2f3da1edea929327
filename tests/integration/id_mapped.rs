//! Mounts in user namespaces: whose files they show, and which flags cannot be taken away.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use nix::mount::{MsFlags, mount as mount_fs};
use serde_json::{Value, json};

use crate::harness::report::{has, mount, propagates, status};
use crate::harness::{Bundle, Caller, Test, copy_program};

cases![
    mapping_and_user_namespace_cancel_out,
    mapping_of_the_container_is_used_without_one_of_the_mount,
    recursive_mapping_reaches_submounts_and_a_plain_one_does_not,
    many_mapped_mounts_work_under_a_low_limit_of_descriptors,
    mapped_mount_may_be_shared,
    locked_flags_are_kept_by_a_read_only_bind,
    locked_flag_cannot_be_cleared,
    source_below_a_directory_of_root_alone_works,
    masked_proc_cannot_be_mounted_anew_without_pivot_root,
    set_user_id_and_devices_and_programs_are_refused_by_the_flags,
];

fn map(outside: u32) -> Value {
    json!([{ "containerID": 0, "hostID": outside, "size": 65536 }])
}

/// A directory with a file of user 1, and a mount at `sub` with another one.
struct Tree(PathBuf);

impl Tree {
    fn new(t: &Test) -> Tree {
        let path = t.make_dir("tree");
        let sub = t.make_dir("tree/sub");
        mount_fs(Some("tree"), &sub, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        for name in ["file", "sub/file"] {
            chown(t.make_file(&format!("tree/{name}"), ""), Some(1), Some(1)).unwrap();
        }
        Tree(path)
    }

    /// The same for a bind of the tree alone. Without a mount below it for runc, which makes the copy in the user
    /// namespace of the container, where the kernel lets nobody look under a mount of the host.
    fn alone(t: &Test) -> Tree {
        if !t.is("runc") {
            return Tree::new(t);
        }
        let path = t.make_dir("flat");
        chown(t.make_file("flat/file", ""), Some(1), Some(1)).unwrap();
        Tree(path)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0.join("sub"), nix::mount::MntFlags::MNT_DETACH);
    }
}

fn with_map<'t>(bundle: Bundle<'t>, tree: &Tree, options: &[&str]) -> Bundle<'t> {
    let source = tree.0.to_string_lossy();
    bundle.push(
        "/mounts",
        json!({ "destination": "/mnt", "type": "bind", "source": source, "options": options,
            "uidMappings": map(100_000), "gidMappings": map(100_000) }),
    )
}

fn owners(bundle: Bundle) -> String {
    bundle.args(["stat", "-c", "%u:%g", "/mnt/file", "/mnt/sub/file"]).run().ok().stdout
}

const OLD_RUNC: &str = "has no id-mapped mounts";

/// config.md#posix-platform-mounts.
fn mapping_and_user_namespace_cancel_out(t: &Test) {
    t.skip_older("runc", (1, 2), OLD_RUNC);
    let tree = Tree::alone(t);
    let bundle = with_map(t.bundle().in_user_namespace(), &tree, &["bind", "idmap"]);
    assert_eq!(bundle.args(["stat", "-c", "%u:%g", "/mnt/file"]).run().ok().stdout, "1:1\n");
}

/// config.md#linux-mount-options, `idmap`.
fn mapping_of_the_container_is_used_without_one_of_the_mount(t: &Test) {
    t.skip_older("runc", (1, 2), OLD_RUNC);
    let tree = Tree::alone(t);
    let bundle = t.bundle().in_user_namespace().bind(&tree.0, "/mnt", &["bind", "idmap"]);
    assert_eq!(bundle.args(["stat", "-c", "%u:%g", "/mnt/file"]).run().ok().stdout, "1:1\n");
    let out = t.bundle().bind(&tree.0, "/mnt", &["bind", "idmap"]).try_create().fails(&[]);
    if t.is("teu") {
        out.fails(&["/mounts/6/options"]);
    }
}

/// config.md#linux-mount-options, `ridmap`.
fn recursive_mapping_reaches_submounts_and_a_plain_one_does_not(t: &Test) {
    t.skip_older("runc", (1, 2), OLD_RUNC);
    let tree = Tree::new(t);
    assert_eq!(owners(with_map(t.bundle().in_user_namespace(), &tree, &["rbind", "ridmap"])), "1:1\n1:1\n");
    assert_eq!(
        owners(with_map(t.bundle().in_user_namespace(), &tree, &["rbind", "idmap"])),
        "1:1\n65534:65534\n"
    );
}

/// The limit is the container's, not the runtime's.
fn many_mapped_mounts_work_under_a_low_limit_of_descriptors(t: &Test) {
    t.skip_for("runc", "works under the limits of the container");
    let tree = Tree::alone(t);
    let limit = json!([{ "type": "RLIMIT_NOFILE", "soft": 20, "hard": 20 }]);
    let bundle = (0..20).fold(t.bundle().in_user_namespace().set("/process/rlimits", limit), |bundle, number| {
        // Root of the container may make nothing in the root file system, which belongs to the host's.
        let bundle = bundle.dir_inside(&format!("/m/{number}"));
        bundle.push(
            "/mounts",
            json!({ "destination": format!("/m/{number}"), "source": tree.0.to_string_lossy(), "options": ["bind", "idmap"],
                "uidMappings": map(100_000), "gidMappings": map(100_000) }),
        )
    });
    assert_eq!(
        bundle.sh("stat -c %u /m/*/file | sort -u | tr -d '\\n'; ls /m | wc -l").run().ok().stdout,
        "120\n"
    );
}

/// Both are attributes of one mount.
fn mapped_mount_may_be_shared(t: &Test) {
    t.skip_older("runc", (1, 2), OLD_RUNC);
    let tree = Tree::new(t);
    let report = with_map(t.bundle(), &tree, &["bind", "idmap", "shared"]).report();
    assert!(propagates(mount(&report, "/mnt"), "shared"), "{}", mount(&report, "/mnt"));
}

fn nosuid_source(t: &Test) -> PathBuf {
    let source = t.make_dir("source");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount_fs(Some("flags"), &source, Some("tmpfs"), flags, None::<&str>).unwrap();
    source
}

/// mount_namespaces(7): a remount that forgot them would be refused.
fn locked_flags_are_kept_by_a_read_only_bind(t: &Test) {
    t.skip_older("runc", (1, 2), "forgets them");
    let source = nosuid_source(t);
    let out = t.bundle().in_user_namespace().bind(&source, "/mnt", &["bind", "ro"]).probe().run();
    nix::mount::umount(&source).unwrap();
    let report = out.ok().json();
    let mount = mount(&report, "/mnt");
    assert!(["ro", "nosuid", "noexec"].iter().all(|flag| has(mount, flag)), "{mount}");
}

/// mount_namespaces(7): what a more privileged namespace has set cannot be taken away.
fn locked_flag_cannot_be_cleared(t: &Test) {
    t.only_teu("others clear it before the mount belongs to the container, or ignore the option");
    let source = nosuid_source(t);
    let out = t.bundle().in_user_namespace().bind(&source, "/mnt", &["bind", "exec"]).probe().run();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    nix::mount::umount(&source).unwrap();
    let outside = mounts.lines().find(|line| line.contains(&*source.to_string_lossy())).unwrap();
    assert!(outside.contains("noexec"), "the mount of the host was changed: {outside}");
    if t.caller() == Caller::User {
        out.fails(&["/mounts/6", "EPERM"]);
    } else {
        // A privileged caller clears it on the container's copy, before that is the container's.
        assert!(!has(mount(&out.ok().json(), "/mnt"), "noexec"));
    }
}

/// Root of the container cannot look into it, and need not.
fn source_below_a_directory_of_root_alone_works(t: &Test) {
    let private = t.make_dir("private");
    let source = t.make_dir("private/source");
    t.make_file("private/source/file", "data");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    let bundle = t.bundle().in_user_namespace().bind(&source, "/mnt", &["bind"]);
    assert_eq!(bundle.args(["cat", "/mnt/file"]).run().ok().stdout, "data");
}

/// A new procfs would have nothing masked: in a user namespace the kernel permits it only where a whole one is
/// somewhere in the mount namespace, reachable or not.
fn masked_proc_cannot_be_mounted_anew_without_pivot_root(t: &Test) {
    for option in ["", "--no-pivot"] {
        // With nothing masked it works, so it is the mask that makes the difference. runc needs /proc/sys itself.
        for (masked, expected) in [(json!(["/proc/tty"]), "end\n"), (json!([]), "mounted\nend\n")] {
            for bundle in [t.bundle(), t.bundle().in_user_namespace()] {
                let setfcap = json!(["CAP_SETFCAP"]);
                let setfcap = json!({ "bounding": setfcap, "effective": setfcap, "permitted": setfcap });
                let bundle = bundle.set("/process/capabilities", setfcap);
                let bundle = bundle.set("/linux/maskedPaths", masked.clone()).sh(
                    "mkdir -p /tmp/p; unshare -r -m -p -f mount -t proc proc /tmp/p && echo mounted; echo end",
                );
                let options: Vec<&str> = [option].into_iter().filter(|option| !option.is_empty()).collect();
                let out = bundle.call("run", &options).run();
                assert_eq!(out.stdout, expected, "{option} {masked}: {}", out.report());
            }
        }
    }
}

/// mount(2): what the flags are for.
fn set_user_id_and_devices_and_programs_are_refused_by_the_flags(t: &Test) {
    let source = t.make_dir("source");
    let busybox = t.bundle().inside("/bin/busybox");
    copy_program(&fs::canonicalize(busybox).unwrap(), &source.join("busybox"));
    let run = |option: &str, script: &str| {
        let bundle = t.bundle().bind(&source, "/mnt", &["bind", option]);
        let device = json!([{ "path": "/mnt/null", "type": "c", "major": 1, "minor": 3 }]);
        bundle.set("/linux/devices", device).sh(script).run()
    };
    let out = run("noexec", "/mnt/busybox true");
    assert!(out.code == Some(126) && out.stderr.contains("Permission denied"), "{}", out.report());
    let out = run("nodev", "echo x >/mnt/null");
    assert!(out.stderr.contains("Permission denied"), "{}", out.report());
    run("dev", "echo x >/mnt/null && /mnt/busybox true").ok();
    let probe = source.join("probe");
    copy_program(&std::env::current_exe().unwrap(), &probe);
    fs::set_permissions(&probe, fs::Permissions::from_mode(0o4755)).unwrap();
    let user = |option: &str| {
        let bundle = t.bundle().bind(&source, "/mnt", &["bind", option]).args(["/mnt/probe", "report"]);
        let report = bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 })).run().ok().json();
        status(&report, "Uid").split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!((user("nosuid").as_str(), user("suid").as_str()), ("1000", "0"));
}
