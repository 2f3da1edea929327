//! Id-mapped mounts, seen from both sides: owners on disk, and owners in the container.
//!
//! In a mapping of a mount `containerID` is the id on disk and `hostID` the id that the mount shows.
//! Source: config-linux.md#mount, mount_setattr(2).

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use crate::harness::{Bundle, Caller, Test, sys};

cases![
    files_are_shown_and_made_with_mapped_owners,
    mapping_of_the_container_shows_the_owners_on_disk,
    recursive_mapping_reaches_submounts,
    plain_mapping_leaves_submounts_out,
    mapped_tmpfs_shows_mapped_owners,
    mapped_root_belongs_to_the_container,
    as_many_lines_as_the_kernel_takes_work,
];

const BASE: u32 = 100_000;

/// Old runtimes have none, and with shifted files the numbers below would be others.
fn only_root(t: &Test) {
    if t.caller() != Caller::Root {
        t.skip("the owners on disk are chosen by the test; TEU_AS=root runs it");
    }
    t.skip_older("runc", (1, 2), "has no id-mapped mounts");
    t.skip_older("crun", (1, 9), "writes the option otherwise");
}

fn lines(list: impl IntoIterator<Item = (u32, u32, u32)>) -> Value {
    list.into_iter()
        .map(|(on_disk, shown, size)| json!({ "containerID": on_disk, "hostID": shown, "size": size }))
        .collect()
}

fn one_range() -> Value {
    lines([(0, BASE, 65_536)])
}

/// Adds a bind mount, with mappings of its own when given.
fn bind<'t>(bundle: Bundle<'t>, source: &Path, options: &[&str], map: Option<Value>) -> Bundle<'t> {
    let mut mount = json!({ "destination": "/mnt", "type": "bind", "source": source.to_string_lossy(), "options": options });
    if let Some(map) = map {
        mount["uidMappings"] = map.clone();
        mount["gidMappings"] = map;
    }
    bundle.push("/mounts", mount)
}

fn as_user(bundle: Bundle, id: u32) -> Bundle {
    bundle.set("/process/user", json!({ "uid": id, "gid": id }))
}

fn in_user_namespace(bundle: Bundle) -> Bundle {
    bundle
        .namespace("user", None)
        .set("/linux/uidMappings", one_range())
        .set("/linux/gidMappings", one_range())
}

/// A directory that everybody may write to, with a file of owner 5:6 on disk.
fn source(t: &Test, name: &str) -> std::path::PathBuf {
    let dir = t.make_dir(name);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let file = t.make_file(&format!("{name}/there"), "");
    chown(file, Some(5), Some(6)).unwrap();
    dir
}

fn owner(path: &Path) -> String {
    let metadata = fs::metadata(path).unwrap();
    format!("{}:{}", metadata.uid(), metadata.gid())
}

/// The example of the specification, in both directions.
fn files_are_shown_and_made_with_mapped_owners(t: &Test) {
    only_root(t);
    for options in [&["bind", "idmap"][..], &["bind"], &["rbind", "ridmap"]] {
        let name = format!("source{}", t.next_number());
        let dir = source(t, &name);
        let bundle = as_user(bind(t.bundle(), &dir, options, Some(one_range())), BASE + 7);
        let out = bundle.sh("stat -c %u:%g /mnt/there; >/mnt/made; stat -c %u:%g /mnt/made").run().ok();
        assert_eq!(out.stdout, "100005:100006\n100007:100007\n", "{options:?}");
        assert_eq!(owner(&dir.join("made")), "7:7", "{options:?}");
    }
    // Who is not mapped makes nothing.
    let dir = source(t, "source");
    let out = bind(t.bundle(), &dir, &["bind", "idmap"], Some(one_range())).sh(">/mnt/made").run();
    assert!(out.code != Some(0) && !dir.join("made").exists(), "{}", out.report());
}

/// podman: `:idmap`. What is 0 on disk is 0 in the container.
fn mapping_of_the_container_shows_the_owners_on_disk(t: &Test) {
    only_root(t);
    let dir = source(t, "source");
    let bundle = as_user(bind(in_user_namespace(t.bundle()), &dir, &["bind", "idmap"], None), 7);
    let out = bundle.sh("stat -c %u:%g /mnt/there; >/mnt/made; stat -c %u:%g /mnt/made").run().ok();
    assert_eq!(out.stdout, "5:6\n7:7\n");
    assert_eq!(owner(&dir.join("made")), "7:7");
    let plain = bind(in_user_namespace(t.bundle()), &dir, &["bind"], None);
    assert_eq!(plain.args(["stat", "-c", "%u:%g", "/mnt/there"]).run().ok().stdout, "65534:65534\n");
}

/// What a mount of the tests is on, as long as it is needed.
struct Below(std::path::PathBuf);

impl Drop for Below {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn with_submount(t: &Test) -> (std::path::PathBuf, Below) {
    let dir = source(t, "tree");
    let below = t.make_dir("tree/below");
    mount(Some("below"), &below, Some("tmpfs"), MsFlags::empty(), Some("mode=777")).unwrap();
    let file = t.make_file("tree/below/there", "");
    chown(file, Some(8), Some(9)).unwrap();
    (dir, Below(below))
}

const LOOK: &str =
    "stat -c %u:%g /mnt/there /mnt/below/there; >/mnt/below/made; stat -c %u:%g /mnt/below/made";

/// config-linux.md#mount: `ridmap`.
fn recursive_mapping_reaches_submounts(t: &Test) {
    only_root(t);
    let (dir, below) = with_submount(t);
    let bundle = as_user(bind(t.bundle(), &dir, &["rbind", "ridmap"], Some(one_range())), BASE + 7);
    let out = bundle.sh(LOOK).run().ok();
    assert_eq!(out.stdout, "100005:100006\n100008:100009\n100007:100007\n");
    assert_eq!(owner(&below.0.join("made")), "7:7");
}

/// config-linux.md#mount: `idmap`.
fn plain_mapping_leaves_submounts_out(t: &Test) {
    only_root(t);
    let (dir, below) = with_submount(t);
    let bundle = as_user(bind(t.bundle(), &dir, &["rbind", "idmap"], Some(one_range())), BASE + 7);
    let out = bundle.sh(LOOK).run().ok();
    assert_eq!(out.stdout, "100005:100006\n8:9\n100007:100007\n");
    assert_eq!(owner(&below.0.join("made")), "100007:100007");
}

/// A file system that was made for the container is mapped too.
fn mapped_tmpfs_shows_mapped_owners(t: &Test) {
    only_root(t);
    t.only_teu("runc refuses a mapping of what is not bound");
    let tmpfs = json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["mode=777"],
        "uidMappings": one_range(), "gidMappings": one_range() });
    let script = "stat -c %u:%g /mnt; >/mnt/made; stat -c %u:%g /mnt/made";
    let out = as_user(t.bundle().push("/mounts", tmpfs.clone()), BASE + 7).sh(script).run().ok();
    assert_eq!(out.stdout, "100000:100000\n100007:100007\n");
    // In a user namespace its ids are those of the container already, and others are out of reach.
    let own = json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["mode=777", "idmap"] });
    let out = as_user(in_user_namespace(t.bundle()).push("/mounts", own), 7).sh(script).run().ok();
    assert_eq!(out.stdout, "0:0\n7:7\n");
    let out = in_user_namespace(t.bundle()).push("/mounts", tmpfs).run();
    out.fails(&["/mounts/6/uidMappings", "without mappings its ids are those of the container"]);
}

/// What engines do for the root file system of a container with a user namespace, in place of changing its owners.
fn mapped_root_belongs_to_the_container(t: &Test) {
    only_root(t);
    let holder = in_user_namespace(t.bundle()).args(["sleep", "100"]).run_detached();
    let namespace = fs::File::open(format!("/proc/{}/ns/user", holder.pid())).unwrap();
    let bundle = t.bundle();
    let (on_disk, mapped) = (bundle.rootfs(), Below(t.make_dir("mapped")));
    sys::bind_mapped(&on_disk, &mapped.0, namespace.as_fd()).unwrap();
    let bundle = in_user_namespace(bundle).set("/root/path", mapped.0.to_string_lossy());
    let script = "stat -c %u:%g / /bin/busybox; mkdir -m 777 /mine; stat -c %u:%g /mine";
    let bundle = bundle.sh(script);
    assert_eq!(bundle.run().ok().stdout, "0:0\n0:0\n0:0\n");
    let bundle = as_user(bundle, 7).sh(">/mine/made; stat -c %u:%g /mine/made");
    assert_eq!(bundle.run().ok().stdout, "7:7\n");
    assert_eq!(owner(&on_disk.join("mine")), "0:0");
    assert_eq!(owner(&on_disk.join("mine/made")), "7:7");
}

/// user_namespaces(7).
fn as_many_lines_as_the_kernel_takes_work(t: &Test) {
    only_root(t);
    // Short ones: all lines must be less than a page of memory.
    let base = 1000;
    let map = lines((0..340).map(|id| (id, base + 2 * id, 1)));
    let dir = source(t, "source");
    let last = t.make_file("source/last", "");
    chown(&last, Some(339), Some(339)).unwrap();
    let bundle = as_user(bind(t.bundle(), &dir, &["bind", "idmap"], Some(map.clone())), base + 2 * 338);
    let out = bundle.sh("stat -c %u:%g /mnt/there /mnt/last; >/mnt/made").run().ok();
    assert_eq!(out.stdout, "1010:1012\n1678:1678\n");
    assert_eq!(owner(&dir.join("made")), "338:338");
    // With what is mounted below, a tmpfs.
    let (tree, below) = with_submount(t);
    let bundle = bind(t.bundle(), &tree, &["rbind", "ridmap"], Some(map.clone()));
    let out = as_user(bundle, base + 2 * 338).sh(LOOK).run().ok();
    assert_eq!(out.stdout, "1010:1012\n1016:1018\n1676:1676\n");
    assert_eq!(owner(&below.0.join("made")), "338:338");
    // A file system that is made for the container.
    if t.is("teu") {
        let tmpfs = json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["mode=777"],
            "uidMappings": map, "gidMappings": map });
        let bundle = as_user(t.bundle().push("/mounts", tmpfs), base + 2 * 338);
        let out = bundle.sh("stat -c %u:%g /mnt; >/mnt/made; stat -c %u:%g /mnt/made").run().ok();
        assert_eq!(out.stdout, "1000:1000\n1676:1676\n");
    }
    // The same for a user namespace.
    let bundle = t.bundle().namespace("user", None).set("/linux/uidMappings", map.clone());
    let bundle = as_user(bundle.set("/linux/gidMappings", map), 339);
    let bundle = bundle.bind(&dir, "/mnt", &["bind"]).sh("wc -l </proc/self/uid_map; >/mnt/mapped");
    assert_eq!(bundle.run().ok().stdout, "340\n");
    assert_eq!(owner(&dir.join("mapped")), "1678:1678");
    let long = lines((0..340).map(|id| (id, BASE + 2 * id, 1)));
    let out = bind(t.bundle(), &dir, &["bind", "idmap"], Some(long)).run();
    if t.is("teu") {
        out.fails(&["EINVAL", "less than a page of memory"]);
    }
}
