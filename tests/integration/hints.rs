//! Every hint is told where it helps: each is provoked here.
//!
//! `every_hint_of_the_sources_is_provoked` reads the sources, so that a new hint without a test is noticed.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::apparmor;
use crate::harness::{Bundle, Caller, Out, Test, View};

/// Checks that a call fails and that its hint contains the text.
#[track_caller]
pub fn hinted(out: Out, text: &str) {
    assert_ne!(out.code, Some(0), "{}", out.report());
    let hint = out.stderr.split_once("; hint: ").map(|(_, hint)| hint.to_owned());
    assert!(hint.is_some_and(|hint| hint.contains(text)), "{text:?} is not hinted at\n{}", out.report());
}

/// A process without a capability, whatever the caller has. A user has none, and may not lower the bounding set.
fn without(t: &Test, capability: &str) -> String {
    if t.caller() == Caller::User {
        return "exec \"$@\"".to_owned();
    }
    format!("exec setpriv --bounding-set=-{capability} --inh-caps=-{capability} -- \"$@\"")
}

fn hints_about_mounts(t: &Test) {
    t.only_teu("hints are teu's");
    let refused = |bundle: Bundle, text: &str| hinted(bundle.run(), text);
    refused(t.bundle().mount("/x", "nofs", "x", &[]), "the kernel has no such file system type");
    refused(t.bundle().tmpfs("/x", &["bogus"]), "an option is not one of this file system");
    refused(t.bundle().mount("/x", "", "x", &[]), "add \"rbind\" to the options to mount a directory");
    refused(t.bundle().mount("/x", "bind", "/tmp", &[]), "add \"bind\" or \"rbind\" to the options");
    refused(t.bundle().link("a", "/a").tmpfs("/a/b", &[]), "too many symbolic links of the image");
    refused(t.bundle().file("/etc/f", "").tmpfs("/etc/f/x", &[]), "a file of the image is in the way");
    let dir = t.make_dir("source");
    let read_only = t.bundle().bind(&dir, "/m", &["bind", "ro"]).tmpfs("/m/x", &[]);
    refused(read_only, "the file system around it is read-only");
    let mapping = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    let mapped = |bundle: Bundle, text: &str| {
        let last = bundle.config()["mounts"].as_array().map_or(0, |m| m.len()) - 1;
        let bundle = bundle
            .set(&format!("/mounts/{last}/uidMappings"), mapping.clone())
            .set(&format!("/mounts/{last}/gidMappings"), mapping.clone());
        refused(bundle, text);
    };
    mapped(t.bundle().mount("/x", "mqueue", "x", &[]), "does not support one of the attributes");
    mapped(t.bundle().bind(Path::new("/sys/kernel"), "/x", &["bind"]), "must support id-mapped mounts");
}

fn hints_about_exec(t: &Test) {
    t.only_teu("hints are teu's");
    let c = t.bundle().set("/process/execCPUAffinity", json!({ "final": "9999" })).idle();
    hinted(c.exec(&[], &[]), "exec ID PROGRAM [ARGUMENT...]");
    hinted(c.exec(&["-u", "root"], &["true"]), "a user is UID or UID:GID");
    hinted(c.exec(&["-d", "-t"], &["true"]), "pass --console-socket, or ask for no terminal");
    hinted(c.exec(&[], &["true"]), "none of these processors exists");
}

fn hints_about_sysfs_in_a_user_namespace(t: &Test) {
    t.only_teu("hints are teu's");
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    let bundle = t
        .bundle()
        .without_namespace("network")
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .without_mounts("/sys")
        .mount("/sys", "sysfs", "sysfs", &["nosuid"]);
    hinted(bundle.run(), "sysfs shows the network namespace");
}

fn hints_about_kernel_parameters_and_devices(t: &Test) {
    t.only_teu("hints are teu's");
    let sysctl = |name: &str, value: &str| t.bundle().set("/linux/sysctl", json!({name: value})).run();
    hinted(sysctl("net.ipv4.nosuch", "1"), "the kernel has no such parameter");
    hinted(sysctl("net.ipv4.ip_forward", "x"), "the parameter does not take this value");
    let out = t.bundle().run_cmd().through(&without(t, "mknod")).run();
    hinted(out, "making device nodes needs CAP_MKNOD");
}

fn hints_about_the_process(t: &Test) {
    t.only_teu("hints are teu's");
    let refused = |bundle: Bundle, text: &str| hinted(bundle.run(), text);
    refused(t.bundle().args(["nope"]), "PATH of process.env is searched inside");
    refused(
        t.bundle().file("/bin/odd", "text").mode("/bin/odd", 0o755).args(["/bin/odd"]),
        "no program of this",
    );
    refused(
        t.bundle().script("/bin/odd", "#!/nope\n").args(["/bin/odd"]),
        "the interpreter that the file names",
    );
    refused(t.bundle().unset("/process"), "a container without a process");
    let hint = if apparmor::is_enabled() { "no such profile is loaded" } else { "remove the label, or boot" };
    refused(t.bundle().set("/process/apparmorProfile", "x"), hint);
    let terminal = || t.bundle().set("/process/terminal", true);
    hinted(terminal().try_create(), "pass --console-socket, or set");
    refused(terminal().without_mounts("/dev/pts"), "mount devpts on /dev/pts");
    let real_time = t.bundle().set("/process/scheduler", json!({"policy": "SCHED_FIFO", "priority": 5}));
    hinted(
        real_time.run_cmd().through(&without(t, "sys_nice")).run(),
        "real-time policies need CAP_SYS_NICE",
    );
    let score = t.bundle().set("/process/oomScoreAdj", -1000);
    hinted(
        score.run_cmd().through(&without(t, "sys_resource")).run(),
        "lowering the score below the caller's",
    );
    let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 2_000_000_000u64, "hard": 2_000_000_000u64}]);
    refused(t.bundle().set("/process/rlimits", limit), "RLIMIT_NOFILE cannot exceed fs.nr_open");
    let fds = t.bundle().call("run", &["--preserve-fds", "9"]).run();
    hinted(fds, "the descriptor is not open in the caller");
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"}]});
    refused(
        t.bundle().set("/linux/seccomp", profile),
        "\"action\":\"SCMP_ACT_ALLOW\"} to /linux/seccomp/syscalls",
    );
}

fn hints_about_seccomp(t: &Test) {
    t.only_teu("hints are teu's");
    let file = |name: &str, text: &str| {
        let path = t.dir().join(name);
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let profile = file("profile.json", r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}"#);
    let explain = |arguments: &[&str]| t.cmd([&["seccomp", "explain"], arguments].concat()).run();
    hinted(explain(&[&profile, "read", "x"]), "arguments are decimal or 0x hexadecimal");
    hinted(explain(&[&profile, "socketcall", "--arch", "x86_64"]), "--arch chooses another one");
    hinted(explain(&["--format", "xml", &profile, "read"]), "text or json");
    let template = r#"{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{}], "syscalls": []}"#;
    hinted(explain(&[&file("template.json", template), "read"]), "the engine makes a profile of it");
    hinted(t.cmd(["seccomp", "record"]).run(), "teu seccomp record BUNDLE, or teu seccomp record -- COMMAND");
}

fn hints_about_tracing(t: &Test) {
    t.only_teu("hints are teu's");
    let all = json!(["CAP_SYS_PTRACE"]);
    let watched = t
        .bundle()
        .set("/process/capabilities", json!({ "bounding": all, "effective": all, "permitted": all }))
        .idle();
    let why = t.cmd(["seccomp", "why", &watched.id]).through(&without(t, "sys_ptrace")).run();
    hinted(why, "another tracer may be at work");
}

fn hints_about_id_maps(t: &Test) {
    t.only_teu("hints are teu's");
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    let bundle = t.bundle().namespace("user", None);
    let bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let bundle = bundle.without_mounts("/dev/pts");
    hinted(bundle.run_cmd().through(&without(t, "setfcap")).run(), "id 0 of the host needs CAP_SETFCAP");
}

fn hints_about_versions_and_namespaces(t: &Test) {
    t.only_teu("hints are teu's");
    let refused = |bundle: Bundle, text: &str| hinted(bundle.run(), text);
    refused(t.bundle().unset("/ociVersion"), "add \"ociVersion\": \"1.3.0\"");
    refused(t.bundle().set("/ociVersion", "2.0.0"), "teu reads versions 1.0.0 to 1.3.0");
    refused(t.bundle().set("/root/path", "nope"), "root.path is relative to the bundle");
    let masked = t.bundle().set("/linux/maskedPaths", json!(["/proc/keys"]));
    refused(masked.without_namespace("mount"), "add {\"type\": \"mount\"}");
    refused(t.bundle().without_namespace("uts").set("/hostname", "x"), "add {\"type\": \"uts\"}");
    let private = t.bundle().set("/linux/rootfsPropagation", "private");
    hinted(private.call("run", &["--no-pivot"]).run(), "leave --no-pivot out: without it");
    let offsets = json!({"monotonic": {"secs": 1}});
    refused(t.bundle().set("/linux/timeOffsets", offsets), "add {\"type\": \"time\"}");
    refused(t.bundle().namespace("user", None), "give uidMappings and gidMappings");
    // Written by the parent, and by the process that joins a user namespace.
    let first = t.bundle().in_user_namespace().args(["sleep", "100"]).run_detached();
    let path = format!("/proc/{}/ns/user", first.pid());
    for offset in [i64::MAX, -1 << 40] {
        let offsets = json!({ "boottime": { "secs": offset } });
        for bundle in [t.bundle(), t.bundle().namespace("user", Some(&path))] {
            let bundle = bundle.namespace("time", None).set("/linux/timeOffsets", offsets.clone());
            refused(bundle, "with its offset a clock must not be below zero");
        }
    }
}

fn hints_about_the_state(t: &Test) {
    t.only_teu("hints are teu's");
    let bundle = t.bundle().args(["sleep", "100"]);
    let container = bundle.create();
    hinted(bundle.try_create(), "removes it once it has stopped");
    container.start();
    hinted(container.call("delete", &[]), "stop it first, or pass --force");
    container.delete_force();
    hinted(t.cmd(["state", ".x"]).run(), "letters, digits and _");
    hinted(
        t.cmd(["run", "--bundle", "/nope", "x"]).run(),
        "a bundle is a directory with a config.json; --bundle",
    );
    hinted(t.cmd(["checkpoint", "x"]).run(), "teu does not use CRIU; containers");
    let living = t.bundle().args(["sleep", "100"]).run_detached();
    if t.has_cgroups() {
        hinted(t.cmd(["ps", &living.id, "-o", "comm"]).run(), "let ps print a column named PID");
    }
    if !fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
        hinted(living.call("update", &["--l3-cache-schema", "L3:0=f"]), "mount -t resctrl resctrl");
    }
    hinted(living.call("update", &["--memory", "1x"]), "or a number with suffix k, m, g");
    hinted(living.call("exec", &[]), "exec ID PROGRAM [ARGUMENT...]");
    living.delete_force();
    let affinity = json!({"final": "4000"});
    let nowhere = t.bundle().set("/process/execCPUAffinity", affinity).args(["sleep", "100"]).run_detached();
    hinted(t.cmd(["exec", &nowhere.id, "true"]).run(), "none of these processors exists");
    nowhere.delete_force();
    let damaged = t.bundle().args(["sleep", "100"]).create();
    fs::write(t.root().join(&damaged.id).join("state.json"), "{").unwrap();
    hinted(damaged.call("delete", &[]), "`teu delete --force` kills");
    damaged.delete_force();
    let empty = t.make_dir("empty");
    hinted(t.cmd(["run", "--bundle", &empty.to_string_lossy(), "x"]).run(), "`teu spec` writes one");
    let open = t.make_dir("open");
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    hinted(t.cmd(["--root", &open.to_string_lossy(), "state", "x"]).run(), "choose another one with --root");
    let below = open.join("state");
    hinted(
        t.cmd(["--root", &below.to_string_lossy(), "list"]).run(),
        "or choose another directory with --root",
    );
    std::os::unix::fs::chown(&open, Some(7002), None).unwrap();
    hinted(t.cmd(["--root", &below.to_string_lossy(), "list"]).run(), "must belong to root or to the caller");
    hinted(t.cmd::<[&str; 0], &str>([]).run(), "`teu --help` lists them");
}

fn hints_for_an_ordinary_user(t: &Test) {
    t.only_teu("hints are teu's");
    let as_user = "exec setpriv --reuid 12345 --regid 12345 --clear-groups -- \"$@\"";
    let nowhere = t.cmd(["list"]).bare().env("XDG_RUNTIME_DIR", "").through(as_user).run();
    hinted(nowhere, "set XDG_RUNTIME_DIR, or pass --root");
}

fn hints_about_cgroups(t: &Test) {
    t.only_teu("hints are teu's");
    if t.view() == View::V2 {
        let limit = t.bundle().set("/linux/resources/unified", json!({"nosuch.max": "1"}));
        hinted(limit.run(), "cgroup.subtree_control");
    }
    if !t.has_cgroups() {
        t.skip("the caller cannot have a cgroup");
    }
    let first = t.bundle().args(["sleep", "100"]);
    let path = format!("/{}", first.id());
    let first = first.set("/linux/cgroupsPath", path.as_str());
    let container = first.run_detached();
    hinted(t.bundle().set("/linux/cgroupsPath", path.as_str()).run(), "cgroup.procs");
    container.delete_force();
}

/// Hints that no machine of the tests can provoke, by their first words, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "the kernel lacks a namespace, or a limit",
        "the limits of /proc/sys/user are those of the whole machine",
    ),
    ("Linux 5.12 or later is needed", "needs an old kernel"),
    ("a container without a mount namespace needs Linux 6.8", "needs an old kernel"),
    ("`teu seccomp record` has not begun yet", "a container ends with its recording"),
    ("{} stop {}", "needs a systemd that goes away between the start of a slice and the failure of create"),
    ("the process does not react to SIGKILL", "needs a process that hangs in the kernel"),
    ("`teu spec --rootless` writes", "needs a bundle and a state directory of an ordinary user"),
    ("it is not the container's own, or the command", "needs a state file that was tampered with"),
    ("a device filter needs CAP_SYS_ADMIN", "everything before it needs the same capability"),
    ("mount cgroup2 on /sys/fs/cgroup", "needs a machine without cgroups"),
    ("the parent cgroup has no real-time budget", "the machine's kernel has no real-time groups"),
    ("install procps; --format json", "needs a machine without ps"),
    ("unable to set memory limit to", "only an update can shrink a limit below what is used"),
    ("{} or a cgroup above it is frozen", "covered by the unit tests of the cgroups, which may freeze one"),
];

/// The start of each text that the sources give as a hint.
fn hints_of_the_sources(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            hints_of_the_sources(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let table = path.ends_with("hints.rs");
        let starts: Vec<&str> = if table {
            text.split("Some(Errno::").chain(text.split("Call::None,\n        None")).skip(1).collect()
        } else {
            text.split(".hint(").skip(1).collect()
        };
        for start in starts {
            let Some(quoted) = start.split_once('"').map(|(_, rest)| rest) else { continue };
            let before = start.split('"').next().unwrap_or_default();
            if !table && !matches!(before.trim(), "" | "format!(") {
                continue; // a variable, not a text
            }
            let plain = quoted.replace("\\\"", "\u{1}");
            let hint = plain.split('"').next().unwrap_or_default().replace('\u{1}', "\"");
            if hint.contains(' ') {
                found.push(hint.replace("\\\n", ""));
            }
        }
    }
}

fn every_hint_of_the_sources_is_provoked(t: &Test) {
    t.only_teu("hints are teu's");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    if !sources.is_dir() {
        t.skip("the sources are not on this machine");
    }
    let mut hints = Vec::new();
    hints_of_the_sources(&sources, &mut hints);
    assert!(hints.len() > 30, "only {} hints were found, the search is broken", hints.len());
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let tests = [
        include_str!("hints.rs"),
        include_str!("diagnosis.rs"),
        include_str!("net_devices.rs"),
        include_str!("no_mounts.rs"),
        include_str!("idmaps.rs"),
        include_str!("rootless.rs"),
        include_str!("nested.rs"),
        include_str!("systemd_trouble.rs"),
    ]
    .concat();
    let tests = squeeze(&tests.replace("\\\"", "\""));
    let provoked = |hint: &str| {
        let hint = squeeze(hint);
        // Any run of a few words of the hint, as the tests quote it.
        let words: Vec<&str> = hint.split(' ').collect();
        let quoted = hint.contains("{}/cgroup.procs") || hint.contains("{parent}/cgroup.subtree_control");
        let quoted = quoted || words.windows(words.len().min(3)).any(|run| tests.contains(&run.join(" ")));
        quoted || EXCEPTIONS.iter().any(|(start, _)| hint.starts_with(start))
    };
    let missing: Vec<&String> = hints.iter().filter(|hint| !provoked(hint)).collect();
    assert!(missing.is_empty(), "hints without a test: {missing:#?}");
    for (start, reason) in EXCEPTIONS {
        println!("hint not provoked: \"{start}...\": {reason}");
    }
}

cases![
    hints_about_mounts,
    hints_about_exec,
    hints_about_sysfs_in_a_user_namespace,
    hints_about_kernel_parameters_and_devices,
    hints_about_the_process,
    hints_about_seccomp,
    hints_about_tracing,
    hints_about_id_maps,
    hints_about_versions_and_namespaces,
    hints_about_the_state,
    hints_for_an_ordinary_user,
    hints_about_cgroups,
    every_hint_of_the_sources_is_provoked,
];
