//! Images that want out. Given to `teu` alone; everything they point at is made by the test.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::harness::console::{ConsoleSocket, Terminal};
use crate::harness::report::{find_mount, mount, status};
use crate::harness::{Bundle, HOSTILE, Out, Test, patience};

cases![
    proc_behind_a_link_is_refused,
    sys_behind_a_link_is_refused,
    proc_that_is_no_directory_is_refused,
    proc_below_a_link_is_refused,
    mount_on_proc_is_refused,
    mount_inside_proc_is_refused_but_for_the_known_files,
    destination_behind_links_stays_inside,
    too_many_links_are_refused,
    missing_targets_are_made_inside,
    dev_behind_a_link_touches_nothing_outside,
    dev_that_is_a_file_is_refused,
    links_in_dev_are_not_followed,
    console_behind_a_link_makes_nothing_outside,
    null_behind_a_link_leaves_stdio_and_its_target_alone,
    masks_do_not_trust_the_null_device_of_the_image,
    mask_of_a_link_masks_what_it_names_inside,
    terminals_of_the_image_are_not_trusted,
    passwd_of_the_image_is_read_with_care,
    working_directory_behind_a_link_stays_inside,
    device_behind_a_link_is_made_inside,
    links_made_after_create_change_nothing,
    swapped_directories_never_lead_outside,
    files_of_the_image_that_look_like_ours_are_ignored,
    cleanup_does_not_follow_links,
    destination_of_the_root_is_refused,
    rootfs_of_the_host_is_refused,
];

/// A directory outside every rootfs, and how it looked.
struct Outside {
    path: PathBuf,
    before: Vec<String>,
}

impl Outside {
    fn new(t: &Test) -> Outside {
        t.only_teu(HOSTILE);
        let path = t.make_dir("outside");
        for name in ["ptmx", "keep", "null", "self"] {
            t.make_file(&format!("outside/{name}"), "untouched");
        }
        t.hand_over();
        let before = look(&path);
        Outside { path, before }
    }

    #[track_caller]
    fn is_untouched(&self) {
        assert_eq!(look(&self.path), self.before, "something outside the rootfs was changed");
    }

    /// The way there for a link of the rootfs: absolute, relative through the root, and through /proc.
    fn ways(&self) -> Vec<PathBuf> {
        let absolute = self.path.clone();
        let up = Path::new("../../../../../../../../..").join(self.path.strip_prefix("/").unwrap());
        vec![absolute, up, PathBuf::from("../../outside")]
    }
}

fn look(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|entry| {
            let m = fs::symlink_metadata(entry.path()).unwrap();
            let content = if m.is_file() {
                fs::read_to_string(entry.path()).unwrap_or_default()
            } else {
                String::new()
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            format!(
                "{name} {} {:o} {}:{} {} {}.{} {content}",
                m.ino(),
                m.mode(),
                m.uid(),
                m.gid(),
                m.rdev(),
                m.ctime(),
                m.ctime_nsec()
            )
        })
        .collect();
    all.sort();
    all
}

/// Without a mount on /dev the image's own is used.
fn without_dev(bundle: Bundle) -> Bundle {
    bundle.without_mounts("/dev")
}

#[track_caller]
fn refused(out: Out) {
    out.fails(&[]);
}

/// CVE-2019-19921, CVE-2023-27561.
fn proc_behind_a_link_is_refused(t: &Test) {
    let outside = Outside::new(t);
    for way in outside.ways().into_iter().chain(["/bad-proc".into(), "bad-proc".into(), "/nowhere".into()]) {
        let bundle = t.bundle().dir_inside("/bad-proc").link(&way, "/proc");
        let out = bundle.try_create().fails(&["/mounts/0"]);
        assert!(out.message().contains("directory") || out.message().contains("link"), "{}", out.report());
        assert_eq!(fs::read_dir(bundle.inside("/bad-proc")).unwrap().count(), 0);
        outside.is_untouched();
    }
}

/// CVE-2025-54867.
fn sys_behind_a_link_is_refused(t: &Test) {
    let outside = Outside::new(t);
    for way in outside.ways().into_iter().chain(["tmp".into()]) {
        t.bundle().link(&way, "/sys").try_create().fails(&["/mounts/5"]);
        outside.is_untouched();
    }
}

/// CVE-2019-19921.
fn proc_that_is_no_directory_is_refused(t: &Test) {
    let outside = Outside::new(t);
    refused(t.bundle().remove("/proc").file("/proc", "a file").try_create());
    let bundle = t.bundle().remove("/proc");
    nix::unistd::mkfifo(&bundle.inside("/proc"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    refused(bundle.try_create());
    outside.is_untouched();
}

/// CVE-2023-28642.
fn proc_below_a_link_is_refused(t: &Test) {
    let outside = Outside::new(t);
    for way in outside.ways().into_iter().chain(["/".into(), "/tmp".into()]) {
        let bundle =
            t.bundle().link(&way, "/a").without_mounts("/proc").mount("/a/proc", "proc", "proc", &[]);
        let out = bundle.try_create();
        assert!(out.code != Some(0), "{}", out.report());
        outside.is_untouched();
    }
}

/// CVE-2019-16884.
fn mount_on_proc_is_refused(t: &Test) {
    let outside = Outside::new(t);
    let fake = t.make_dir("fake/self/attr");
    fs::write(fake.join("exec"), "").unwrap();
    let fake = t.dir().join("fake");
    for destination in ["/proc", "/proc/", "//proc", "/tmp/../proc", "/p"] {
        let bundle = t.bundle().link("/proc", "/p");
        refused(bundle.bind(&fake, destination, &["bind"]).try_create());
        let bundle = t.bundle().link("/proc", "/p");
        refused(bundle.tmpfs(destination, &[]).try_create());
    }
    assert_eq!(fs::read_to_string(fake.join("self/attr/exec")).unwrap(), "");
    outside.is_untouched();
}

/// CVE-2019-16884; lxcfs puts its files there.
fn mount_inside_proc_is_refused_but_for_the_known_files(t: &Test) {
    t.only_teu(HOSTILE);
    let file = t.make_file("file", "from outside");
    for destination in [
        "/proc/self/attr/exec",
        "/proc/sys/kernel/domainname",
        "/proc/1/status",
        "/proc/sysrq-trigger",
        "/p/self/status",
    ] {
        let bundle = t.bundle().link("/proc", "/p");
        refused(bundle.bind(&file, destination, &["bind"]).try_create());
    }
    for destination in ["/proc/meminfo", "/proc/uptime", "/proc/cpuinfo", "/proc/loadavg"] {
        let out = t.bundle().bind(&file, destination, &["bind"]).args(["cat", destination]).run().ok();
        assert_eq!(out.stdout, "from outside", "{destination}");
    }
}

/// CVE-2019-18837.
fn destination_behind_links_stays_inside(t: &Test) {
    let outside = Outside::new(t);
    for way in
        outside.ways().into_iter().chain(["/proc/self/root".into(), "//".into(), ".".into(), "..".into()])
    {
        for destination in ["/l/x", "/a/l/x", "/l"] {
            let bundle = t
                .bundle()
                .link(&way, "/l")
                .dir_inside("/a")
                .link(&way, "/a/l")
                .tmpfs(destination, &["size=64k"])
                .probe();
            let out = bundle.run();
            outside.is_untouched();
            if out.code == Some(0) {
                let report = out.json();
                assert!(
                    report["mounts"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .all(|m| m["point"].as_str().is_some_and(|p| p.starts_with('/')))
                );
            }
        }
    }
}

/// path_resolution(7): forty.
fn too_many_links_are_refused(t: &Test) {
    t.only_teu(HOSTILE);
    let chain = |length: usize| {
        let bundle = (1..length).fold(t.bundle(), |b, n| b.link(format!("/l{}", n - 1), &format!("/l{n}")));
        bundle.link("/opt", "/l0").tmpfs(&format!("/l{}/x", length - 1), &[])
    };
    assert!(find_mount(&chain(30).report(), "/opt/x").is_some());
    chain(41).try_create().fails(&["too many levels of symbolic links"]);
    refused(t.bundle().link("/loop", "/loop").tmpfs("/loop/x", &[]).try_create());
}

/// CVE-2024-45310.
fn missing_targets_are_made_inside(t: &Test) {
    let outside = Outside::new(t);
    let file = t.make_file("file", "data");
    for way in outside.ways() {
        for destination in ["/l/created", "/l/deep/created"] {
            let bundle = t.bundle().link(&way, "/l").bind(&file, destination, &["bind"]);
            let out = bundle.run();
            outside.is_untouched();
            assert!(out.code == Some(0) || !out.stderr.is_empty());
        }
    }
}

/// CVE-2026-41579, CVE-2026-47766.
fn dev_behind_a_link_touches_nothing_outside(t: &Test) {
    let outside = Outside::new(t);
    for way in outside.ways().into_iter().chain(["/".into(), "..".into(), "proc".into()]) {
        let bundle = without_dev(t.bundle().link(&way, "/dev"));
        let before: Vec<_> =
            fs::read_dir(bundle.rootfs()).unwrap().flatten().map(|e| e.file_name()).collect();
        let out = bundle.run();
        outside.is_untouched();
        let after: Vec<_> = fs::read_dir(bundle.rootfs()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(after.len(), before.len(), "nodes were made in the root: {after:?}\n{}", out.report());
    }
}

/// CVE-2026-41579.
fn dev_that_is_a_file_is_refused(t: &Test) {
    let outside = Outside::new(t);
    refused(without_dev(t.bundle().remove("/dev").file("/dev", "a file")).try_create());
    outside.is_untouched();
}

/// CVE-2026-41579: every name that the runtime makes or replaces.
fn links_in_dev_are_not_followed(t: &Test) {
    let outside = Outside::new(t);
    for name in ["pts", "shm", "mqueue", "fd", "ptmx", "stdin", "core", "null", "zero", "tty", "console"] {
        for way in outside.ways() {
            let target = if name == "ptmx" { way.join("ptmx") } else { way.clone() };
            let bundle = without_dev(t.bundle().link(&target, &format!("/dev/{name}")));
            let _ = bundle.run();
            outside.is_untouched();
        }
    }
}

fn with_terminal<'t>(t: &'t Test, bundle: &Bundle<'t>, number: usize) -> (Out, Option<Terminal>) {
    let socket = ConsoleSocket::at(&t.dir().join(format!("console{number}")));
    let path = socket.path.to_string_lossy().into_owned();
    let out = bundle.call("create", &["--console-socket", &path]).run();
    let terminal = (out.code == Some(0)).then(|| Terminal::from_master(socket.receive().fds.remove(0)));
    (out, terminal)
}

/// CVE-2026-88264.
fn console_behind_a_link_makes_nothing_outside(t: &Test) {
    let outside = Outside::new(t);
    for (number, way) in outside.ways().into_iter().enumerate() {
        let bundle = t
            .bundle()
            .set("/process/terminal", true)
            .without_mounts("/dev")
            .link(way.join("created"), "/dev/console");
        let bundle = bundle.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]);
        let _ = with_terminal(t, &bundle.args(["sleep", "100"]), number);
        outside.is_untouched();
    }
}

/// CVE-2026-88265.
fn null_behind_a_link_leaves_stdio_and_its_target_alone(t: &Test) {
    let outside = Outside::new(t);
    let bundle = without_dev(t.bundle().file("/etc/decoy", "decoy").link("/etc/decoy", "/dev/null"))
        .set("/process/user/uid", 1000);
    t.hand_over();
    let before = look(&bundle.inside("/etc"));
    let bundle = bundle.sh("echo out; echo err >&2");
    let out = bundle.run();
    if out.code == Some(0) {
        assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("out\n", "err\n"), "{}", out.report());
    }
    assert_eq!(look(&bundle.inside("/etc")), before, "the target of the link was changed");
    outside.is_untouched();
}

/// CVE-2025-31133.
fn masks_do_not_trust_the_null_device_of_the_image(t: &Test) {
    let outside = Outside::new(t);
    let masked = |bundle: Bundle| {
        let bundle = bundle.file("/etc/maskme", "secret").set("/linux/maskedPaths", json!(["/etc/maskme"]));
        let bundle = bundle.sh("stat -c %t:%T /etc/maskme; echo written >/etc/maskme; cat /etc/maskme");
        let out = bundle.run();
        if out.code == Some(0) {
            assert_eq!(out.stdout, "1:3\n", "{}", out.report());
        }
        assert_eq!(fs::read_to_string(bundle.inside("/etc/maskme")).unwrap(), "secret");
    };
    let decoy = without_dev(t.bundle().file("/decoy", "decoy").link("/decoy", "/dev/null"));
    masked(decoy);
    masked(without_dev(t.bundle().file("/dev/null", "a file")));
    masked(without_dev(t.bundle().link(outside.path.join("null"), "/dev/null")));
    let bundle = without_dev(t.bundle());
    nix::unistd::mkfifo(&bundle.inside("/dev/null"), nix::sys::stat::Mode::from_bits_truncate(0o666))
        .unwrap();
    masked(bundle);
    outside.is_untouched();
}

/// CVE-2025-31133.
fn mask_of_a_link_masks_what_it_names_inside(t: &Test) {
    let outside = Outside::new(t);
    let bundle = t
        .bundle()
        .file("/etc/real", "secret")
        .link("/etc/real", "/etc/masked")
        .link(outside.path.join("keep"), "/etc/away");
    let bundle =
        bundle.set("/linux/maskedPaths", json!(["/etc/masked", "/etc/away"])).sh("cat /etc/real /etc/masked");
    assert_eq!(bundle.run().ok().stdout, "");
    outside.is_untouched();
}

/// CVE-2025-52565.
fn terminals_of_the_image_are_not_trusted(t: &Test) {
    let outside = Outside::new(t);
    let mut bundle = t.bundle().set("/process/terminal", true).without_mounts("/dev").file("/decoy", "decoy");
    for number in 0..16 {
        bundle = bundle.link("/decoy", &format!("/dev/pts/{number}"));
    }
    bundle = bundle.link(outside.path.join("ptmx"), "/dev/pts/ptmx");
    let (out, _) = with_terminal(t, &bundle, 0);
    assert!(out.code != Some(0), "a terminal without a devpts\n{}", out.report());
    assert_eq!(fs::read_to_string(bundle.inside("/decoy")).unwrap(), "decoy");
    outside.is_untouched();
}

/// CVE-2024-9676 class: HOME is not worth a hang or an answer from outside.
fn passwd_of_the_image_is_read_with_care(t: &Test) {
    let outside = Outside::new(t);
    fs::write(outside.path.join("keep"), "root:x:0:0:root:/from-outside:/bin/sh\n").unwrap();
    let home = |bundle: Bundle| {
        let out = bundle.sh("echo $HOME").run().ok();
        assert_eq!(out.stdout, "/\n", "{}", out.report());
        assert!(out.elapsed < patience(Duration::from_secs(5)), "{}", out.report());
    };
    home(t.bundle().link(outside.path.join("keep"), "/etc/passwd"));
    home(t.bundle().link("/dev/zero", "/etc/passwd"));
    home(t.bundle().link("/nowhere", "/etc/passwd"));
    home(t.bundle().remove("/etc/passwd").dir_inside("/etc/passwd"));
    let fifo = t.bundle().remove("/etc/passwd");
    nix::unistd::mkfifo(&fifo.inside("/etc/passwd"), nix::sys::stat::Mode::from_bits_truncate(0o666))
        .unwrap();
    home(fifo);
    let huge = t.bundle().remove("/etc/passwd").file("/etc/passwd", "");
    fs::File::options().write(true).open(huge.inside("/etc/passwd")).unwrap().set_len(10 << 30).unwrap();
    home(huge);
    home(t.bundle().file("/etc/passwd", [b"root:x:0:0:".as_slice(), &[0xff; 9000], b":/x:\n"].concat()));
}

/// CVE-2024-21626 class.
fn working_directory_behind_a_link_stays_inside(t: &Test) {
    let outside = Outside::new(t);
    for way in outside.ways() {
        let bundle = t.bundle().link(&way, "/work").set("/process/cwd", "/work/new").args(["pwd", "-P"]);
        let out = bundle.run();
        assert!(out.code != Some(0) || !out.stdout.contains("(unreachable)"), "{}", out.report());
        outside.is_untouched();
    }
}

/// mknod(2) follows no last link; its directory might be one.
fn device_behind_a_link_is_made_inside(t: &Test) {
    let outside = Outside::new(t);
    for way in outside.ways() {
        for path in ["/l/node", "/l/deep/node", "/l/keep"] {
            let device = json!([{ "path": path, "type": "c", "major": 1, "minor": 5 }]);
            let _ = t.bundle().link(&way, "/l").set("/linux/devices", device).run();
            outside.is_untouched();
        }
    }
}

/// CVE-2015-3629: `start` and `delete` touch no path of the rootfs.
fn links_made_after_create_change_nothing(t: &Test) {
    let outside = Outside::new(t);
    let bundle =
        t.bundle().file("/etc/own", "own").sh("cat /etc/own; ls /outside-link >/dev/null 2>&1; sleep 100");
    let c = bundle.create();
    for dir in ["/dev", "/proc", "/sys", "/tmp"] {
        let path = bundle.inside(dir);
        if fs::rename(&path, bundle.inside(&format!("{dir}-away"))).is_ok() {
            symlink(&outside.path, &path).unwrap();
        }
    }
    c.start();
    c.wait_for_stdout("own");
    c.delete_force();
    outside.is_untouched();
}

/// CVE-2021-30465: a neighbour exchanges a directory for a link all the time.
fn swapped_directories_never_lead_outside(t: &Test) {
    let outside = Outside::new(t);
    let volume = t.make_dir("volume");
    fs::create_dir(volume.join("x")).unwrap();
    symlink(&outside.path, volume.join("y")).unwrap();
    /// Ends the neighbour also when the test fails.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
            let (x, y) = (volume.join("x"), volume.join("y"));
            while !stop.load(Ordering::Relaxed) {
                let _ = renameat2(AT_FDCWD, &x, AT_FDCWD, &y, RenameFlags::RENAME_EXCHANGE);
                std::thread::sleep(std::time::Duration::from_micros(20));
            }
        });
        let file = t.make_file("file", "data");
        for _ in 0..40 {
            let bundle = t
                .bundle()
                .bind(&volume, "/v", &["bind"])
                .tmpfs("/v/x/m", &["size=64k"])
                .bind(&file, "/v/x/f/file", &["bind"])
                .set("/linux/devices", json!([{ "path": "/v/x/node", "type": "c", "major": 1, "minor": 5 }]))
                .probe();
            // A link that is found there leads to a directory of that name below the root of the container.
            let out = bundle.run();
            if out.code == Some(0) {
                assert_eq!(out.json()["root"], "/");
            }
            assert!(!outside.path.join("m").exists() && !outside.path.join("f").exists());
        }
    });
    outside.is_untouched();
}

/// Nothing in an image is a setting.
fn files_of_the_image_that_look_like_ours_are_ignored(t: &Test) {
    t.only_teu(HOSTILE);
    let bundle = t.bundle();
    let evil = json!({ "process": { "user": { "uid": 4711 } } }).to_string();
    let mut bundle = bundle.probe();
    for name in [
        "/config.json",
        "/.teu",
        "/teu.json",
        "/state.json",
        "/etc/teu.json",
        "/.nspawn",
        "/.krun_config.json",
    ] {
        bundle = bundle.file(name, &evil);
    }
    let out = bundle.run().ok();
    assert!(status(&out.json(), "Uid").starts_with("0"));
    assert_eq!(fs::read_to_string(bundle.inside("/.krun_config.json")).unwrap(), evil);
}

/// CVE-2024-23652: what is removed is what was made.
fn cleanup_does_not_follow_links(t: &Test) {
    let outside = Outside::new(t);
    let shared = t.bundle();
    let root = shared.rootfs();
    let script = format!(
        "cd {} && mv mnt/point mnt/away && ln -s {} mnt/point",
        root.display(),
        outside.path.display()
    );
    let bundle =
        shared.tmpfs("/mnt/point/keep", &[]).hook("createRuntime", &script).hook("createRuntime", "exit 1");
    refused(bundle.try_create());
    t.cmd(["delete", "--force", bundle.id()]).run().ok();
    outside.is_untouched();
}

/// A mount over the root would hide what was prepared.
fn destination_of_the_root_is_refused(t: &Test) {
    t.only_teu(HOSTILE);
    for destination in ["/", "//", "/.", "/tmp/..", "/l"] {
        t.bundle().link("/", "/l").tmpfs(destination, &[]).try_create().fails(&["/mounts/6"]);
    }
}

/// The root of the host is no rootfs.
fn rootfs_of_the_host_is_refused(t: &Test) {
    t.only_teu(HOSTILE);
    let out =
        t.bundle().set("/root/path", "/").set("/root/readonly", true).without_mounts("/dev").try_create();
    let out = out.fails(&["/root/path"]);
    assert!(mount(&t.bundle().report(), "/")["fs"] == "tmpfs", "{}", out.report());
}
