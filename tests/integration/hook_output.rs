//! The annotations `run.oci.hooks.stdout` and `run.oci.hooks.stderr`: files to which what hooks print is appended.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::harness::{Bundle, Test};

cases![
    output_of_every_hook_is_appended_in_the_order_of_the_life_cycle,
    output_of_a_foreground_run_is_appended_too,
    file_that_is_missing_is_made_for_its_owner_alone,
    relative_file_is_in_the_bundle,
    long_output_is_complete,
    output_of_a_failing_hook_is_appended_and_told,
    streams_of_the_caller_can_be_named,
    file_that_cannot_be_appended_to_is_refused_and_leaves_nothing,
    link_that_appears_later_is_not_followed,
    neither_hooks_nor_the_container_hold_the_file,
];

const STDOUT: &str = "/annotations/run.oci.hooks.stdout";
const STDERR: &str = "/annotations/run.oci.hooks.stderr";

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A bundle whose hooks of every kind say which they are.
fn talkative<'t>(t: &'t Test, stdout: &Path, stderr: &Path) -> Bundle<'t> {
    let mut bundle = t.bundle();
    for kind in KINDS {
        bundle = bundle.hook(kind, &format!("echo {kind}; echo {kind} complains >&2"));
    }
    bundle.set(STDOUT, stdout.to_string_lossy()).set(STDERR, stderr.to_string_lossy())
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn only_crun_too(t: &Test) {
    t.skip_for("runc", "the annotation is of crun");
}

fn output_of_every_hook_is_appended_in_the_order_of_the_life_cycle(t: &Test) {
    only_crun_too(t);
    let (stdout, stderr) = (t.make_file("out", "before\n"), t.make_file("err", ""));
    let c = talkative(t, &stdout, &stderr).sh("true").create();
    assert_eq!(lines(&stdout), ["before", "prestart", "createRuntime", "createContainer"]);
    c.start();
    t.until("the hooks of start", || lines(&stdout).len() == 6);
    assert_eq!(lines(&stdout)[4..], ["startContainer", "poststart"]);
    c.wait_stopped();
    c.delete();
    assert_eq!(lines(&stdout)[6..], ["poststop"]);
    assert_eq!(lines(&stderr), KINDS.map(|kind| format!("{kind} complains")));
}

fn output_of_a_foreground_run_is_appended_too(t: &Test) {
    only_crun_too(t);
    // Both into one file, and neither into the streams of the caller.
    let file = t.make_file("both", "");
    let out = talkative(t, &file, &file).sh("echo program").run().ok();
    assert_eq!(out.stdout, "program\n");
    let expected: Vec<String> =
        KINDS.iter().flat_map(|kind| [(*kind).to_owned(), format!("{kind} complains")]).collect();
    let mut found = lines(&file);
    if t.is("teu") {
        // Which of two streams of one hook is read first is left to chance.
        for pair in found.chunks_mut(2) {
            pair.sort();
        }
    }
    assert_eq!(found, expected);
}

fn file_that_is_missing_is_made_for_its_owner_alone(t: &Test) {
    t.only_teu("others let everybody read it");
    let directory = t.make_dir("logs");
    let (stdout, stderr) = (directory.join("out"), directory.join("err"));
    talkative(t, &stdout, &stderr).sh("true").run().ok();
    assert_eq!(lines(&stdout), KINDS);
    for file in [stdout, stderr] {
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600, "{}", file.display());
    }
}

/// As every path of the configuration, wherever the callers of the commands are.
fn relative_file_is_in_the_bundle(t: &Test) {
    t.only_teu("for others it is relative to each caller");
    let bundle = talkative(t, Path::new("out"), Path::new("./err")).sh("true");
    let c = bundle.create();
    t.cmd(["start", bundle.id()]).in_dir(Path::new("/")).run().ok();
    c.wait_stopped();
    c.delete();
    assert_eq!(lines(&bundle.dir().join("out")), KINDS);
    assert_eq!(lines(&bundle.dir().join("err")).len(), 6);
}

fn long_output_is_complete(t: &Test) {
    only_crun_too(t);
    let file = t.make_file("out", "");
    let mut bundle = t.bundle().set(STDOUT, file.to_string_lossy());
    for kind in KINDS {
        bundle = bundle.hook(kind, "yes hook | head -c 300000");
    }
    bundle.sh("true").run().ok();
    assert_eq!(fs::metadata(&file).unwrap().len(), 6 * 300_000);
    assert_eq!(lines(&file).iter().find(|line| *line != "hook"), None);
}

fn output_of_a_failing_hook_is_appended_and_told(t: &Test) {
    only_crun_too(t);
    for kind in ["createRuntime", "createContainer", "startContainer"] {
        let file = t.make_file(&format!("err-{kind}"), "");
        let bundle =
            t.bundle().hook(kind, "echo it went wrong >&2; exit 3").set(STDERR, file.to_string_lossy());
        let out = bundle.run().fails(&[]);
        assert_eq!(lines(&file), ["it went wrong"], "{kind}");
        if t.is("teu") {
            out.fails(&[&format!("error running {kind} hook #0"), "exit status 3", "it went wrong"]);
        }
    }
}

/// Others write `/dev/stdout` and `/dev/stderr` there: the streams of whoever calls the command.
fn streams_of_the_caller_can_be_named(t: &Test) {
    t.only_teu("others open what the link leads to");
    let out = talkative(t, Path::new("/dev/stderr"), Path::new("/dev/stdout")).sh("true").run().ok();
    assert_eq!(out.lines(), KINDS.map(|kind| format!("{kind} complains")));
    let told: Vec<&str> = out.stderr.lines().filter(|line| KINDS.contains(line)).collect();
    assert_eq!(told, KINDS, "{}", out.report());
}

/// A file that an attacker chose would be written to as root.
fn file_that_cannot_be_appended_to_is_refused_and_leaves_nothing(t: &Test) {
    t.only_teu("others follow links and wait for pipes");
    let directory = t.make_dir("logs");
    let target = t.make_file("target", "");
    symlink(&target, directory.join("link")).unwrap();
    symlink(t.dir().join("not there"), directory.join("dangling")).unwrap();
    nix::unistd::mkfifo(&directory.join("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let cases = [
        (directory.join("link"), "ELOOP"),
        (directory.join("dangling"), "ELOOP"),
        (directory.clone(), "EISDIR"),
        (directory.join("missing/file"), "ENOENT"),
        (directory.join("pipe"), "ENXIO"),
        ("/proc/self/fd/1".into(), "ELOOP"),
        ("".into(), "is no path of a file"),
        ("/".into(), "is no path of a file"),
    ];
    for (file, why) in cases {
        let bundle = t.bundle().set(STDERR, file.to_string_lossy());
        bundle.try_create().fails(&["/annotations/run.oci.hooks.stderr", why]);
        assert!(!t.root().join(bundle.id()).exists(), "{}", file.display());
    }
    assert_eq!(fs::metadata(target).unwrap().len(), 0);
    assert!(!t.dir().join("not there").exists());
}

/// What is on the way to the file when a container runs may be the container's work.
fn link_that_appears_later_is_not_followed(t: &Test) {
    t.only_teu("others follow links");
    let (logs, elsewhere) = (t.make_dir("logs"), t.make_dir("elsewhere"));
    // A link that is there from the start may be used: it is the caller's.
    symlink(&logs, t.dir().join("way")).unwrap();
    let (stdout, stderr) = (t.dir().join("way/out"), t.dir().join("way/err"));
    let bundle = talkative(t, &stdout, &stderr).sh("true");
    let c = bundle.create();
    fs::rename(&logs, t.dir().join("moved")).unwrap();
    symlink(&elsewhere, &logs).unwrap();
    c.call("start", &[]).fails(&["/annotations/run.oci.hooks.stdout", "ELOOP"]);
    assert_eq!(c.status(), "created");
    // It can be deleted all the same, and its hooks run.
    let out = c.call("delete", &[]).ok();
    assert!(out.errors().is_empty(), "{}", out.report());
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert_eq!(lines(&t.dir().join("moved/out")), KINDS[..3]);
}

/// No hook could change what was written, and no container what will be.
fn neither_hooks_nor_the_container_hold_the_file(t: &Test) {
    t.only_teu("others hand the file itself to the hooks");
    let file = t.make_file("only-the-runtime-has-it", "");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut bundle = t.bundle().set(STDOUT, file.to_string_lossy());
    for kind in KINDS {
        bundle = bundle.hook(kind, "readlink /proc/self/fd/* /proc/$PPID/fd/1; true");
    }
    let c = bundle.sh("sleep 100").create();
    let held = |pid: i32| -> Vec<String> {
        let all = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        all.filter_map(|entry| fs::read_link(entry.path()).ok())
            .map(|link| link.to_string_lossy().into_owned())
            .filter(|link| link.contains("only-the-runtime"))
            .collect()
    };
    assert_eq!(held(c.pid()), [""; 0]);
    c.start();
    assert_eq!(held(c.pid()), [""; 0]);
    c.delete_force();
    let told = lines(&file);
    assert!(told.iter().filter(|line| line.contains("pipe:")).count() >= 6, "{told:?}");
    assert!(!told.iter().any(|line| line.contains("only-the-runtime")), "{told:?}");
}
