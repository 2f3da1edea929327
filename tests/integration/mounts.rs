//! Mounts: kinds, options, order, and what is made for them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::report::{has, mount, propagates, super_has};
use crate::harness::{Bundle, Test, View, cgroup, report};

cases![
    directory_that_is_made_does_not_inherit_a_set_group_id_bit,
    many_layers_of_an_overlay_work,
    five_hundred_layers_of_an_overlay_work,
    layers_with_long_and_odd_names_work,
    layer_that_is_missing_among_many_is_named,
    more_layers_than_an_overlay_can_have_are_refused,
    relative_layers_are_in_the_bundle,
    flags_of_a_mount_are_set,
    cleared_flags_are_cleared,
    last_of_two_opposite_options_wins,
    access_time_options_are_set,
    options_of_the_superblock_are_set,
    options_without_effect_are_accepted,
    defaults_changes_nothing,
    empty_option_says_nothing,
    data_goes_to_the_file_system,
    links_are_not_followed_on_a_nosymfollow_mount,
    recursive_read_only_reaches_submounts,
    recursive_flags_reach_submounts,
    recursive_access_time_reaches_submounts,
    plain_read_only_bind_leaves_submounts_alone,
    bind_leaves_submounts_out,
    rbind_brings_submounts,
    bind_of_a_file_works,
    bind_shows_and_changes_the_source,
    read_only_bind_keeps_the_source_writable,
    bind_keeps_the_flags_of_its_source,
    relative_bind_source_is_relative_to_the_bundle,
    bind_type_is_ignored,
    missing_bind_source_is_refused_with_its_pointer,
    missing_directory_is_made,
    missing_file_is_made_for_a_file,
    directory_on_a_file_is_refused,
    relative_destination_is_relative_to_the_root,
    destination_is_resolved_inside_the_rootfs,
    ordinary_links_of_an_image_work,
    dangling_link_is_made_inside_the_rootfs,
    mounts_are_made_in_the_listed_order,
    propagation_of_a_mount_is_set,
    host_mount_reaches_a_slave_and_not_a_private_mount,
    tmpfs_takes_the_mode_of_its_directory,
    tmpfs_of_a_new_directory_is_for_everybody,
    tmpfs_copies_up,
    copied_up_links_stay_links,
    read_only_tmpfs_is_read_only,
    proc_shows_the_processes_of_the_container,
    sysfs_shows_the_network_of_the_container,
    mqueue_belongs_to_the_ipc_namespace,
    devpts_is_an_own_instance,
    cgroup_mount_shows_the_own_cgroup_read_only,
    cgroup_mount_has_every_controller,
    unknown_file_system_is_refused,
    bind_type_without_the_option_is_refused,
    bind_with_data_is_refused,
    idmapped_bind_shows_other_owners,
    many_mounts_work,
    source_with_odd_characters_works,
];

/// A tree with a file, and with a mount on `sub` that lives as long as the guard.
struct Tree {
    path: std::path::PathBuf,
}

impl Tree {
    fn new(t: &Test) -> Tree {
        let path = t.make_dir("tree");
        t.make_file("tree/file", "top");
        let sub = t.make_dir("tree/sub");
        use nix::mount::{MsFlags, mount};
        mount(Some("tree"), &sub, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).unwrap();
        fs::write(sub.join("file"), "sub").unwrap();
        Tree { path }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.path.join("sub"), nix::mount::MntFlags::MNT_DETACH);
    }
}

fn tmpfs_with(t: &Test, options: &[&str]) -> Value {
    mount(&t.bundle().tmpfs("/mnt", options).report(), "/mnt").clone()
}

/// config.md#linux-mount-options.
fn flags_of_a_mount_are_set(t: &Test) {
    let source = t.make_dir("source");
    for option in ["ro", "nosuid", "nodev", "noexec", "nodiratime"] {
        assert!(has(&tmpfs_with(t, &[option]), option), "tmpfs {option}");
        let report = t.bundle().bind(&source, "/mnt", &["bind", option]).report();
        assert!(has(mount(&report, "/mnt"), option), "bind {option}: {}", mount(&report, "/mnt"));
    }
}

/// config.md#linux-mount-options.
fn cleared_flags_are_cleared(t: &Test) {
    t.skip_older("runc", (1, 2), "cannot clear a flag");
    let source = t.make_dir("source");
    use nix::mount::{MsFlags, mount as mount_fs};
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_fs(Some("flags"), &source, Some("tmpfs"), flags, None::<&str>).unwrap();
    let report = t.bundle().bind(&source, "/mnt", &["bind", "suid", "dev", "exec", "rw"]).report();
    nix::mount::umount(&source).unwrap();
    let mount = mount(&report, "/mnt");
    assert!(!["nosuid", "nodev", "noexec", "ro"].iter().any(|option| has(mount, option)), "{mount}");
}

/// fstab(5), mount(8).
fn last_of_two_opposite_options_wins(t: &Test) {
    let mount =
        tmpfs_with(t, &["ro", "rw", "nosuid", "suid", "exec", "noexec", "dev", "nodev", "async", "atime"]);
    assert!(
        has(&mount, "rw") && !has(&mount, "nosuid") && has(&mount, "noexec") && has(&mount, "nodev"),
        "{mount}"
    );
}

/// mount(2): one of three, and directories apart.
fn access_time_options_are_set(t: &Test) {
    assert!(has(&tmpfs_with(t, &["noatime"]), "noatime"));
    assert!(has(&tmpfs_with(t, &["relatime"]), "relatime"));
    let strict = tmpfs_with(t, &["strictatime"]);
    assert!(!has(&strict, "relatime") && !has(&strict, "noatime"), "{strict}");
    let source = t.make_dir("source");
    let report = t.bundle().bind(&source, "/mnt", &["bind", "noatime", "nodiratime"]).report();
    let mount = mount(&report, "/mnt");
    assert!(has(mount, "noatime") && has(mount, "nodiratime") && !has(mount, "relatime"), "{mount}");
}

/// mount(2): these belong to the file system.
fn options_of_the_superblock_are_set(t: &Test) {
    for option in ["sync", "dirsync", "lazytime"] {
        if t.is("crun") && option == "lazytime" {
            continue;
        }
        assert!(super_has(&tmpfs_with(t, &[option]), option), "{option}");
    }
}

/// config.md#linux-mount-options: every one of the list must be known.
fn options_without_effect_are_accepted(t: &Test) {
    t.skip_for("crun", "takes some of them for data");
    t.skip_older("runc", (1, 2), "takes some of them for data");
    for option in [
        "async",
        "atime",
        "dev",
        "diratime",
        "exec",
        "loud",
        "mand",
        "nomand",
        "noiversion",
        "nolazytime",
        "norelatime",
        "nostrictatime",
        "rw",
        "silent",
        "suid",
        "symfollow",
    ] {
        let report = t.bundle().tmpfs("/mnt", &[option]).report();
        assert_eq!(mount(&report, "/mnt")["fs"], "tmpfs", "{option}");
    }
}

/// fstab(5): rw, suid, dev, exec, async.
fn defaults_changes_nothing(t: &Test) {
    t.skip_for("runc", "passes the word to the file system");
    t.skip_for("crun", "passes the word to the file system");
    let source = t.make_dir("source");
    let report =
        t.bundle().tmpfs("/mnt", &["defaults"]).bind(&source, "/opt", &["bind", "defaults"]).report();
    assert!(has(mount(&report, "/mnt"), "rw") && has(mount(&report, "/opt"), "rw"));
}

/// buildah 1.28 writes one for every volume.
fn empty_option_says_nothing(t: &Test) {
    let source = t.make_dir("source");
    let report =
        t.bundle().tmpfs("/mnt", &["", "size=1m", ""]).bind(&source, "/opt", &["", "rbind", "ro"]).report();
    assert!(has(mount(&report, "/mnt"), "rw") && has(mount(&report, "/opt"), "ro"));
}

/// config.md#mounts.
fn data_goes_to_the_file_system(t: &Test) {
    t.skip_older("runc", (1, 2), "overrides the mode");
    let out = t
        .bundle()
        .tmpfs("/mnt", &["size=1m", "mode=0710", "uid=3", "gid=4"])
        .sh("df -k /mnt | tail -n 1 | tr -s ' ' | cut -d' ' -f2; stat -c %a:%u:%g /mnt")
        .run()
        .ok();
    assert_eq!(out.stdout, "1024\n710:3:4\n");
}

/// mount(2): MS_NOSYMFOLLOW, Linux 5.10.
fn links_are_not_followed_on_a_nosymfollow_mount(t: &Test) {
    t.skip_older("runc", (1, 2), "does not know the option");
    t.skip_older("crun", (1, 9), "does not know the option");
    let source = t.make_dir("source");
    t.make_file("source/file", "data");
    symlink("file", source.join("link")).unwrap();
    let bundle = t.bundle().bind(&source, "/mnt", &["bind", "nosymfollow"]);
    let out = bundle.sh("cat /mnt/file; echo; cat /mnt/link").run();
    assert_eq!(out.stdout, "data\n");
    assert!(out.code == Some(1) && out.stderr.contains("Too many levels"), "{}", out.report());
}

/// config.md#linux-mount-options: `rro`.
fn recursive_read_only_reaches_submounts(t: &Test) {
    let tree = Tree::new(t);
    let out = t
        .bundle()
        .bind(&tree.path, "/mnt", &["rbind", "rro"])
        .sh("touch /mnt/x; touch /mnt/sub/x; cat /mnt/sub/file")
        .run();
    assert_eq!(out.stderr.matches("Read-only file system").count(), 2, "{}", out.report());
    assert_eq!(out.stdout, "sub");
}

/// config.md#linux-mount-options.
fn recursive_flags_reach_submounts(t: &Test) {
    let tree = Tree::new(t);
    for (option, flag) in
        [("rnosuid", "nosuid"), ("rnodev", "nodev"), ("rnoexec", "noexec"), ("rnodiratime", "nodiratime")]
    {
        let report = t.bundle().bind(&tree.path, "/mnt", &["rbind", option]).report();
        assert!(has(mount(&report, "/mnt"), flag) && has(mount(&report, "/mnt/sub"), flag), "{option}");
    }
    if t.is("teu") {
        let report = t.bundle().bind(&tree.path, "/mnt", &["rbind", "rnosymfollow"]).report();
        assert!(has(mount(&report, "/mnt/sub"), "nosymfollow"));
    }
}

/// mount_setattr(2).
fn recursive_access_time_reaches_submounts(t: &Test) {
    t.skip_older("runc", (1, 2), "makes an invalid call");
    let tree = Tree::new(t);
    for (option, expected) in [
        ("rnoatime", Some("noatime")),
        ("ratime", Some("relatime")),
        ("rrelatime", Some("relatime")),
        ("rnorelatime", Some("relatime")),
        ("rstrictatime", None),
        ("rnostrictatime", Some("relatime")),
    ] {
        let report = t.bundle().bind(&tree.path, "/mnt", &["rbind", option]).report();
        let sub = mount(&report, "/mnt/sub");
        let found = ["noatime", "relatime"].into_iter().find(|flag| has(sub, flag));
        assert_eq!(found, expected, "{option}: {sub}");
    }
}

/// mount(8): `ro` is for the one mount.
fn plain_read_only_bind_leaves_submounts_alone(t: &Test) {
    let tree = Tree::new(t);
    let out = t
        .bundle()
        .bind(&tree.path, "/mnt", &["rbind", "ro"])
        .sh("touch /mnt/sub/x && echo sub; touch /mnt/x")
        .run();
    assert_eq!(out.stdout, "sub\n");
    assert!(out.stderr.contains("Read-only file system"), "{}", out.report());
}

/// mount(2).
fn bind_leaves_submounts_out(t: &Test) {
    let tree = Tree::new(t);
    let out = t.bundle().bind(&tree.path, "/mnt", &["bind"]).sh("ls -A /mnt/sub; cat /mnt/file").run().ok();
    assert_eq!(out.stdout, "top");
}

/// mount(2).
fn rbind_brings_submounts(t: &Test) {
    let tree = Tree::new(t);
    let out = t.bundle().bind(&tree.path, "/mnt", &["rbind"]).sh("cat /mnt/sub/file /mnt/file").run().ok();
    assert_eq!(out.stdout, "subtop");
}

/// Engines bind /etc/hosts and its like.
fn bind_of_a_file_works(t: &Test) {
    let file = t.make_file("hosts", "127.0.0.1 localhost\n");
    let out = t
        .bundle()
        .file("/etc/hosts", "image")
        .bind(&file, "/etc/hosts", &["rbind", "rprivate"])
        .args(["cat", "/etc/hosts"])
        .run()
        .ok();
    assert_eq!(out.stdout, "127.0.0.1 localhost\n");
}

/// mount(2).
fn bind_shows_and_changes_the_source(t: &Test) {
    let source = t.make_dir("source");
    t.make_file("source/in", "from outside");
    let out = t
        .bundle()
        .bind(&source, "/mnt", &["bind", "rw"])
        .sh("cat /mnt/in; echo from inside >/mnt/out")
        .run()
        .ok();
    assert_eq!(out.stdout, "from outside");
    assert_eq!(fs::read_to_string(source.join("out")).unwrap(), "from inside\n");
}

/// A flag of the bind is not one of the file system.
fn read_only_bind_keeps_the_source_writable(t: &Test) {
    let source = t.make_dir("source");
    let c = t.bundle().bind(&source, "/mnt", &["bind", "ro"]).sh("touch /mnt/x; sleep 100").run_detached();
    t.until("the refusal", || c.stderr().contains("Read-only"));
    fs::write(source.join("outside"), "").unwrap();
}

/// Options that nobody named stay.
fn bind_keeps_the_flags_of_its_source(t: &Test) {
    let source = t.make_dir("source");
    use nix::mount::{MsFlags, mount as mount_fs};
    mount_fs(Some("flags"), &source, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, None::<&str>)
        .unwrap();
    let report = t.bundle().bind(&source, "/mnt", &["bind"]).report();
    nix::mount::umount(&source).unwrap();
    let mount = mount(&report, "/mnt");
    assert!(has(mount, "nosuid") && has(mount, "noexec"), "{mount}");
}

/// config.md#mounts.
fn relative_bind_source_is_relative_to_the_bundle(t: &Test) {
    let bundle = t.bundle();
    fs::create_dir(bundle.dir().join("data")).unwrap();
    fs::write(bundle.dir().join("data/file"), "relative").unwrap();
    let out = bundle.mount("/mnt", "bind", "data", &["bind"]).args(["cat", "/mnt/file"]).run().ok();
    assert_eq!(out.stdout, "relative");
}

/// config.md#mounts: for a bind `type` is a dummy.
fn bind_type_is_ignored(t: &Test) {
    let source = t.make_dir("source");
    for kind in ["none", "bind", "ext4", ""] {
        if t.is_older("runc", 1, 2) && kind == "ext4" {
            continue;
        }
        let path = source.to_string_lossy().into_owned();
        let report = t.bundle().mount("/mnt", kind, &path, &["bind"]).report();
        assert_eq!(mount(&report, "/mnt")["fs"], "tmpfs", "{kind}");
    }
}

/// docker would say that the program is missing if it read the usual words.
fn missing_bind_source_is_refused_with_its_pointer(t: &Test) {
    let out = t.bundle().mount("/mnt", "bind", "/nowhere/source", &["bind"]).try_create().fails(&[]);
    if t.is("teu") {
        let out = out.fails(&["/mounts/6", "/nowhere/source", "nothing at that path"]);
        assert!(!out.message().contains("no such file or directory"), "{}", out.report());
    }
}

/// config.md#mounts.
fn missing_directory_is_made(t: &Test) {
    let bundle = t.bundle().tmpfs("/a/b/c", &["mode=0700"]).sh("stat -c %F:%a:%u /a /a/b /a/b/c");
    // Other runtimes let the umask of the caller through.
    let umask = if t.is("teu") { "umask 077" } else { "umask 022" };
    let out = bundle.run_cmd().through(&format!("{umask}; exec \"$@\"")).run().ok();
    assert_eq!(out.stdout, "directory:755:0\ndirectory:755:0\ndirectory:700:0\n");
    assert!(bundle.inside("/a/b/c").is_dir());
}

/// A bind of a file needs a file.
fn missing_file_is_made_for_a_file(t: &Test) {
    let file = t.make_file("source", "data");
    let bundle = t.bundle().bind(&file, "/a/b/file", &["bind"]).args(["cat", "/a/b/file"]);
    assert_eq!(bundle.run().ok().stdout, "data");
    assert_eq!(fs::metadata(bundle.inside("/a/b/file")).unwrap().len(), 0);
}

/// mount(2).
fn directory_on_a_file_is_refused(t: &Test) {
    let source = t.make_dir("source");
    let out = t.bundle().bind(&source, "/etc/passwd", &["bind"]).try_create().fails(&[]);
    if t.is("teu") {
        out.fails(&["/mounts/6", "ENOTDIR"]);
    }
}

/// config.md#mounts: deprecated, and still in use.
fn relative_destination_is_relative_to_the_root(t: &Test) {
    let report = t.bundle().tmpfs("mnt", &[]).set("/process/cwd", "/usr").report();
    assert_eq!(mount(&report, "/mnt")["fs"], "tmpfs");
}

/// Links of the image are links of the image: absolute ones start at its root.
fn destination_is_resolved_inside_the_rootfs(t: &Test) {
    let bundle =
        t.bundle().dir_inside("/real").link("/real", "/absolute").link("../../../real", "/opt/relative");
    let report = bundle.tmpfs("/absolute/one", &[]).tmpfs("/opt/relative/two", &[]).report();
    assert_eq!(mount(&report, "/real/one")["fs"], "tmpfs");
    assert_eq!(mount(&report, "/real/two")["fs"], "tmpfs");
}

/// bubblewrap's too strict fix: Debian images have these.
fn ordinary_links_of_an_image_work(t: &Test) {
    let bundle = t
        .bundle()
        .link("/run", "/var/run")
        .link("usr/lib", "/lib")
        .dir_inside("/usr/lib")
        .link("var/run/", "/short");
    let report = bundle.tmpfs("/var/run/lock", &[]).tmpfs("/lib/x/", &[]).tmpfs("/short/three", &[]).report();
    for point in ["/run/lock", "/usr/lib/x", "/run/three"] {
        assert_eq!(mount(&report, point)["fs"], "tmpfs", "{point}");
    }
}

/// runc.
fn dangling_link_is_made_inside_the_rootfs(t: &Test) {
    t.only_teu(crate::harness::HOSTILE);
    let bundle = t.bundle().link("/made/here", "/dangling");
    let report = bundle.tmpfs("/dangling/x", &[]).report();
    assert_eq!(mount(&report, "/made/here/x")["fs"], "tmpfs");
}

/// config.md#mounts: in the listed order.
fn mounts_are_made_in_the_listed_order(t: &Test) {
    let report = t.bundle().tmpfs("/mnt", &["size=1m"]).tmpfs("/mnt/inner", &["size=2m"]).report();
    assert_eq!(mount(&report, "/mnt/inner")["fs"], "tmpfs");
    let out = t.bundle().tmpfs("/mnt/inner", &[]).tmpfs("/mnt", &[]).args(["ls", "-A", "/mnt"]).run().ok();
    assert_eq!(out.stdout, "");
}

/// A mount of its own as a source, shared as that around it. It goes when this is dropped.
struct Separate(PathBuf);

impl Separate {
    fn new(t: &Test, name: &str) -> Separate {
        use nix::mount::{MsFlags, mount as mount_fs};
        let path = t.make_dir(name);
        mount_fs(Some("separate"), &path, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        Separate(path)
    }
}

impl Drop for Separate {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// Directories of the mount that the root file system is on, and of another one. The first loses its propagation in
/// runc, which makes that mount private before it binds anything.
fn sources(t: &Test, name: &str) -> (Separate, Vec<PathBuf>) {
    let separate = Separate::new(t, &format!("{name}-separate"));
    let mut sources = vec![separate.0.clone()];
    if !t.is("runc") {
        sources.push(t.make_dir(name));
    }
    (separate, sources)
}

/// mount(2): propagation.
fn propagation_of_a_mount_is_set(t: &Test) {
    let (_separate, sources) = sources(t, "source");
    for source in sources {
        propagation_of_a_bind_is_set(t, &source);
    }
}

fn propagation_of_a_bind_is_set(t: &Test, source: &Path) {
    let with =
        |option: &str| mount(&t.bundle().bind(source, "/mnt", &["bind", option]).report(), "/mnt").clone();
    for option in ["shared", "rshared"] {
        assert!(propagates(&with(option), "shared"), "{option}");
    }
    for option in ["slave", "rslave"] {
        assert!(propagates(&with(option), "master"), "{option}: {}", with(option));
        assert!(!propagates(&with(option), "shared"), "{option}");
    }
    for option in ["private", "rprivate"] {
        assert_eq!(with(option)["propagation"], json!([]), "{option}");
    }
    for option in ["unbindable", "runbindable"] {
        assert!(propagates(&with(option), "unbindable"), "{option}");
    }
}

/// docker: `--mount bind-propagation=rslave`.
fn host_mount_reaches_a_slave_and_not_a_private_mount(t: &Test) {
    for (option, expected) in [("rslave", "late\n"), ("rprivate", "nothing\n")] {
        let (_separate, sources) = sources(t, option);
        for source in sources {
            fs::create_dir(source.join("sub")).unwrap();
            let seen = late_mount_of_the_host(t, &source, option);
            assert_eq!(seen, format!("up\n{expected}"), "{option}");
        }
    }
}

/// What a container sees of a mount that is made below a bound directory when it runs already.
fn late_mount_of_the_host(t: &Test, source: &Path, option: &str) -> String {
    let c = t
            .bundle()
            .set("/linux/rootfsPropagation", "rslave")
            .bind(source, "/mnt", &["rbind", option])
            .sh("echo up; while [ ! -e /tmp/go ]; do usleep 5000; done; [ -e /mnt/sub/late ] && echo late || echo nothing")
            .run_detached();
    c.wait_for_stdout("up");
    use nix::mount::{MsFlags, mount as mount_fs};
    mount_fs(Some("late"), &source.join("sub"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    fs::write(source.join("sub/late"), "").unwrap();
    fs::write(format!("/proc/{}/root/tmp/go", c.pid()), "").unwrap();
    t.until("the answer", || c.stdout().lines().count() == 2);
    nix::mount::umount(&source.join("sub")).unwrap();
    c.stdout()
}

/// runc.
fn tmpfs_takes_the_mode_of_its_directory(t: &Test) {
    t.skip_older("runc", (1, 2), "overrides the mode");
    t.skip_for("crun", "always uses 755");
    let bundle = t
        .bundle()
        .dir_inside("/special")
        .mode("/special", 0o7775)
        .tmpfs("/special", &[])
        .tmpfs("/tmp", &["mode=0444"]);
    assert_eq!(bundle.args(["stat", "-c", "%a", "/special", "/tmp"]).run().ok().stdout, "7775\n444\n");
}

/// tmpfs(5).
fn tmpfs_of_a_new_directory_is_for_everybody(t: &Test) {
    t.skip_older("runc", (1, 2), "uses 755");
    t.skip_for("crun", "uses 755");
    assert_eq!(
        t.bundle().tmpfs("/brand/new", &[]).args(["stat", "-c", "%a", "/brand/new"]).run().ok().stdout,
        "1777\n"
    );
}

/// podman: `--tmpfs` copies what the image has there.
fn tmpfs_copies_up(t: &Test) {
    let bundle =
        t.bundle().file("/data/dir/file", "content").mode("/data/dir/file", 0o644).mode("/data/dir", 0o750);
    std::os::unix::fs::chown(bundle.inside("/data/dir/file"), Some(7), Some(8)).unwrap();
    let bundle = bundle
        .tmpfs("/data", &["tmpcopyup"])
        .sh("cd /data; cat dir/file; echo; stat -c %a:%u:%g dir dir/file; rm dir/file; touch new");
    let out = bundle.run().ok();
    assert_eq!(out.stdout, "content\n750:0:0\n644:7:8\n");
    assert_eq!(fs::read_to_string(bundle.inside("/data/dir/file")).unwrap(), "content");
    assert!(!bundle.inside("/data/new").exists(), "a write reached the image");
}

/// CVE-2022-23648: nothing outside is read.
fn copied_up_links_stay_links(t: &Test) {
    t.only_teu(crate::harness::HOSTILE);
    let outside = t.make_dir("outside");
    t.make_file("outside/secret", "secret");
    let bundle = t
        .bundle()
        .link(outside.join("secret"), "/data/absolute")
        .link("../../../../../../outside/secret", "/data/relative")
        .link(&outside, "/data/dir")
        .tmpfs("/data", &["tmpcopyup"])
        .sh("cd /data; readlink absolute; readlink dir; cat absolute relative dir/secret 2>/dev/null; stat -c %F *");
    let out = bundle.run().ok();
    let expected =
        format!("{0}/secret\n{0}\nsymbolic link\nsymbolic link\nsymbolic link\n", outside.display());
    assert_eq!(out.stdout, expected);
}

/// config.md#mounts.
fn read_only_tmpfs_is_read_only(t: &Test) {
    let out = t.bundle().tmpfs("/mnt", &["ro"]).sh("touch /mnt/x").run();
    assert!(out.stderr.contains("Read-only file system"), "{}", out.report());
    // The runtime fills /dev although the container may not.
    let bundle = t.bundle().push("/mounts/1/options", "ro");
    let out = bundle.sh("[ -c /dev/null ] && echo there; touch /dev/new").run();
    assert_eq!(out.stdout, "there\n", "{}", out.report());
    assert!(out.stderr.contains("Read-only file system"), "{}", out.report());
}

/// proc(5).
fn proc_shows_the_processes_of_the_container(t: &Test) {
    let out =
        t.bundle().sh("cat /proc/1/cmdline | tr '\\0' ' '; ls /proc/sys >/dev/null && echo sys").run().ok();
    assert!(out.stdout.starts_with("sh -c") && out.stdout.ends_with("sys\n"), "{}", out.stdout);
}

/// sysfs is bound to the network namespace.
fn sysfs_shows_the_network_of_the_container(t: &Test) {
    assert_eq!(t.bundle().args(["ls", "/sys/class/net"]).run().ok().stdout, "lo\n");
}

/// mq_overview(7).
fn mqueue_belongs_to_the_ipc_namespace(t: &Test) {
    let out = t.bundle().sh("touch /dev/mqueue/q && ls /dev/mqueue").run().ok();
    assert_eq!(out.stdout, "q\n");
    assert_eq!(t.bundle().args(["ls", "/dev/mqueue"]).run().ok().stdout, "");
}

/// devpts(5).
fn devpts_is_an_own_instance(t: &Test) {
    let out = t.bundle().sh("ls /dev/pts; readlink /dev/ptmx; stat -c %t:%T /dev/pts/ptmx").run().ok();
    assert_eq!(out.stdout, "ptmx\npts/ptmx\n5:2\n");
}

fn with_cgroup_mount(bundle: Bundle) -> Bundle {
    bundle.namespace("cgroup", None).mount(
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["ro", "nosuid", "noexec", "nodev", "relatime"],
    )
}

/// Engines mount it so.
fn cgroup_mount_shows_the_own_cgroup_read_only(t: &Test) {
    let dir = if t.view() == View::V2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
    let script = format!("cd {dir}; head -n 1 cgroup.procs; mkdir x; echo 1 >cgroup.procs");
    let out = with_cgroup_mount(t.bundle()).sh(&script).run();
    assert_eq!(out.stdout, "1\n", "{}", out.report());
    assert_eq!(out.stderr.matches("Read-only file system").count(), 2, "{}", out.report());
}

/// config-linux.md: what the host has.
fn cgroup_mount_has_every_controller(t: &Test) {
    let report = with_cgroup_mount(t.bundle()).report();
    if t.view() == View::V2 {
        assert_eq!(mount(&report, "/sys/fs/cgroup")["fs"], "cgroup2");
        return;
    }
    let mut links = Vec::new();
    for hierarchy in cgroup::hierarchies().iter().filter(|hierarchy| !hierarchy.v2) {
        let name = hierarchy.point.file_name().unwrap().to_string_lossy().into_owned();
        let mount = mount(&report, &format!("/sys/fs/cgroup/{name}"));
        assert!(mount["fs"] == "cgroup" && has(mount, "ro"), "{mount}");
        let others = ["cpu", "cpuacct", "net_cls", "net_prio"].into_iter().filter(|other| *other != name);
        let others = others.filter(|other| hierarchy.controllers.iter().any(|own| own == other));
        links.extend(others.map(|other| (other, name.clone())));
    }
    // None can be written to, and on top of them nothing can be made.
    let script = "cd /sys/fs/cgroup; for d in $(ls); do [ -L $d ] || mkdir $d/x; done; mkdir x";
    let out = with_cgroup_mount(t.bundle()).sh(script).run();
    let refused = out.stderr.matches("Read-only file system").count();
    let script = "cd /sys/fs/cgroup; for d in $(ls); do [ -L $d ] || echo $d; done | wc -l";
    let hierarchies: usize =
        with_cgroup_mount(t.bundle()).sh(script).run().ok().stdout.trim().parse().unwrap();
    // runc leaves what holds the hierarchies writable.
    assert_eq!(refused, hierarchies + usize::from(t.is("teu")), "{}", out.report());
    assert!(hierarchies >= cgroup::hierarchies().iter().filter(|hierarchy| !hierarchy.v2).count());
    // Hosts of systemd mount two controllers together and have links with the name of each.
    for (link, to) in links {
        let bundle = with_cgroup_mount(t.bundle()).args(["readlink", &format!("/sys/fs/cgroup/{link}")]);
        assert_eq!(bundle.run().ok().stdout, format!("{to}\n"));
    }
}

/// mount(2): ENODEV.
fn unknown_file_system_is_refused(t: &Test) {
    let out = t.bundle().mount("/mnt", "nosuchfs", "x", &[]).try_create().fails(&[]);
    if t.is("teu") {
        out.fails(&["/mounts/6", "nosuchfs"]);
    }
}

/// runc: `type: bind` alone is a mistake that mount(2) answers with ENODEV.
fn bind_type_without_the_option_is_refused(t: &Test) {
    let source = t.make_dir("source").to_string_lossy().into_owned();
    let out = t.bundle().mount("/mnt", "bind", &source, &["ro"]).try_create().fails(&[]);
    if t.is("teu") {
        out.fails(&["/mounts/6", "bind"]);
    }
}

/// Data of a bind would change the file system of the host, or be lost in silence.
fn bind_with_data_is_refused(t: &Test) {
    t.skip_older("runc", (1, 2), "drops it");
    t.skip_for("crun", "drops it");
    let source = t.make_dir("source").to_string_lossy().into_owned();
    let out = t.bundle().mount("/mnt", "none", &source, &["bind", "size=1m"]).try_create().fails(&[]);
    if t.is("teu") {
        out.fails(&["/mounts/6", "size=1m"]);
    }
}

/// config.md#mounts: id mappings, the example of the specification.
fn idmapped_bind_shows_other_owners(t: &Test) {
    t.skip_older("runc", (1, 2), "has none");
    t.skip_older("crun", (1, 9), "writes the option otherwise");
    let source = t.make_dir("source");
    let file = t.make_file("source/file", "");
    std::os::unix::fs::chown(&file, Some(1), Some(1)).unwrap();
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let bundle = t.bundle().push(
        "/mounts",
        json!({ "destination": "/mnt", "type": "bind", "source": source.to_string_lossy(), "options": ["bind", "idmap"],
            "uidMappings": map, "gidMappings": map }),
    );
    assert_eq!(bundle.args(["stat", "-c", "%u:%g", "/mnt/file"]).run().ok().stdout, "100001:100001\n");
}

/// Nothing is counted in small numbers.
fn many_mounts_work(t: &Test) {
    let source = t.make_dir("source");
    let bundle = (0..120).fold(t.bundle(), |b, n| b.bind(&source, &format!("/m/{n}"), &["bind", "ro"]));
    let bundle = bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 20, "hard": 20 }]));
    assert_eq!(bundle.sh("grep -c ' /m/' /proc/self/mountinfo").run().ok().stdout, "120\n");
}

/// Names are bytes.
fn source_with_odd_characters_works(t: &Test) {
    let source = t.make_dir("a b,c:d\\e'f\"g\u{e4}");
    fs::write(source.join("file"), "odd").unwrap();
    let destination = "/odd name,with:all\\of\"it";
    let bundle = t.bundle().bind(&source, destination, &["bind"]);
    assert_eq!(bundle.args(["cat", &format!("{destination}/file")]).run().ok().stdout, "odd");
    assert!(report::find_mount(&json!({}), "/").is_none());
}

/// An overlay of this many layers, each with a file of its own.
fn with_layers(t: &Test, count: usize) -> Bundle<'_> {
    let layers: Vec<String> = (0..count)
        .map(|n| {
            let layer = t.make_dir(&format!("layers/a-name-as-long-as-those-that-engines-give-{n:03}"));
            fs::write(layer.join(format!("file{n}")), "").unwrap();
            layer.to_string_lossy().into_owned()
        })
        .collect();
    let path = |name: &str| t.make_dir(name).to_string_lossy().into_owned();
    let options = [
        format!("lowerdir={}", layers.join(":")),
        format!("upperdir={}", path("upper")),
        format!("workdir={}", path("work")),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).chain(["nosuid", "nodev"]).collect();
    t.bundle().mount("/layered", "overlay", "overlay", &options)
}

/// fsconfig(2) takes 255 bytes for each option, mount(2) 4095 for all.
fn many_layers_of_an_overlay_work(t: &Test) {
    let bundle = with_layers(t, 25);
    let script = "ls /layered | wc -l; touch /layered/new; grep -c ' /layered ' /proc/self/mountinfo; \
                  grep ' /layered ' /proc/self/mountinfo | cut -d' ' -f6; pwd";
    assert_eq!(bundle.sh(script).run().ok().stdout, "25\n1\nrw,nosuid,nodev,relatime\n/\n");
    assert!(t.dir().join("upper/new").exists());
}

/// Longer than what mount(2) takes for all options: Linux 6.5 takes the layers one by one.
fn five_hundred_layers_of_an_overlay_work(t: &Test) {
    t.only_teu("others hand all layers to mount(2) at once");
    let bundle = with_layers(t, 500);
    let script =
        "ls /layered | wc -l; test -e /layered/file0 -a -e /layered/file499 && touch /layered/new; pwd";
    assert_eq!(bundle.sh(script).run().ok().stdout, "500\n/\n");
    assert!(t.dir().join("upper/new").exists());
}

/// A name is a name, whatever separates names elsewhere. One of more than 255 bytes goes to the kernel as a descriptor,
/// and before Linux 6.13 as the working directory.
fn layers_with_long_and_odd_names_work(t: &Test) {
    t.only_teu("others hand all layers to mount(2) at once");
    let odd = t.make_dir("layers/odd:name,with\\all");
    fs::write(odd.join("odd"), "").unwrap();
    let long = t.make_dir(&format!("layers/{0}/{0}", "long".repeat(50)));
    fs::write(long.join("long"), "").unwrap();
    let bundle = with_layers(t, 60);
    let escaped = odd.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:");
    let layers = bundle.config()["mounts"].as_array().unwrap().last().unwrap()["options"][0].clone();
    let layers = format!("{}:{escaped}:{}", layers.as_str().unwrap(), long.display());
    let last = bundle.config()["mounts"].as_array().unwrap().len() - 1;
    let bundle = bundle.set(&format!("/mounts/{last}/options/0"), layers);
    let script = "cd /layered; ls | wc -l; ls long odd";
    assert_eq!(bundle.sh(script).run().ok().stdout, "62\nlong\nodd\n");
}

/// One of five hundred is looked for in vain by somebody who is told only that there is none.
fn layer_that_is_missing_among_many_is_named(t: &Test) {
    t.only_teu("others hand all layers to mount(2) at once");
    let bundle = with_layers(t, 100);
    let missing = t.dir().join("layers/a-name-as-long-as-those-that-engines-give-057");
    fs::remove_dir_all(&missing).unwrap();
    let out = bundle.try_create().fails(&["/mounts/6", "mount overlay at /layered", "fsconfig(2)"]);
    assert!(out.message().contains(&*missing.to_string_lossy()), "{}", out.report());
}

/// The kernel stops at 500.
fn more_layers_than_an_overlay_can_have_are_refused(t: &Test) {
    let out = with_layers(t, 501).try_create().fails(&[]);
    if t.is("teu") {
        out.fails(&["/mounts/6", "mount overlay at /layered", "limit is 500"]);
    }
}

/// config.md#mounts: sources are relative to the bundle, and so is what an overlay is made of.
fn relative_layers_are_in_the_bundle(t: &Test) {
    t.skip_for("runc", "looks for them in the root file system of the image");
    let bundle = t.bundle();
    for name in ["lower a", "lower b", "upper", "work"] {
        fs::create_dir_all(bundle.dir().join(name)).unwrap();
        fs::create_dir_all(bundle.rootfs().join(name)).unwrap();
        fs::write(bundle.dir().join(name).join(format!("of {name}")), "").unwrap();
    }
    fs::remove_file(bundle.dir().join("work/of work")).unwrap();
    let options = ["lowerdir=lower a:lower b", "upperdir=upper", "workdir=work"];
    let script = "ls /layered; touch /layered/new";
    let bundle = bundle.mount("/layered", "overlay", "overlay", &options).sh(script);
    let out = bundle.run().ok();
    assert_eq!(out.lines(), ["of lower a", "of lower b", "of upper"]);
    assert!(bundle.dir().join("upper/new").exists());
}

/// mkdir(2).
fn directory_that_is_made_does_not_inherit_a_set_group_id_bit(t: &Test) {
    t.only_teu("other runtimes let it inherit the bit");
    let bundle = t.bundle().dir_inside("/group").mode("/group", 0o2775).tmpfs("/group/a/b", &["mode=700"]);
    let out = bundle.args(["stat", "-c", "%a", "/group", "/group/a", "/group/a/b"]).run().ok();
    assert_eq!(out.stdout, "2775\n755\n700\n");
}
