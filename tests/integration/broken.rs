//! Configs with one mistake: each is refused with one line that says where, and nothing is left.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Bundle, Caller, Test, cgroup, patience};

cases![
    mistakes_of_the_top_level_are_refused,
    mistakes_of_the_process_are_refused,
    mistakes_of_users_and_limits_are_refused,
    mistakes_of_mounts_are_refused,
    idmapped_mount_without_ids_is_refused,
    mistakes_of_namespaces_are_refused,
    mistakes_of_id_mappings_are_refused,
    mistakes_of_devices_and_paths_are_refused,
    mistakes_of_resources_are_refused,
    mistakes_of_sysctls_are_refused,
    mistakes_of_seccomp_are_refused,
    mistakes_of_hooks_and_annotations_are_refused,
    mistakes_of_newer_sections_are_refused,
    file_that_is_no_config_is_refused,
    duplicate_keys_are_refused,
    config_that_is_no_regular_file_is_refused,
    huge_config_is_refused_at_once,
];

/// One mistake: where something is set, to what (`REMOVED` takes it away), and the pointer that must be named.
type Mistake = (&'static str, Value, &'static str);

/// Stands for a member that is taken away.
const REMOVED: &str = "\u{0}removed";

fn removed() -> Value {
    REMOVED.into()
}

/// What `check` cannot know, since only the container's own tree, a kernel call that changes something, or the command
/// shows it: words of the errors.
const NOT_KNOWN_BEFORE: [&str; 7] = [
    "cannot allocate tty",
    "chdir to cwd (\"/etc/passwd\")",
    "mount tmpfs at",
    "mount nosuchfs at",
    "make the device /etc/passwd",
    "set the sysctl net/ipv4/ip_unprivileged_port_start to not a number",
    "write \"9999\" to",
];

fn check(t: &Test, mistakes: Vec<Mistake>) {
    check_on(t, mistakes, |bundle| bundle);
}

/// Where there is a user namespace its ids are meant.
fn idmapped_mount_without_ids_is_refused(t: &Test) {
    let mount = json!({ "destination": "/x", "source": "/tmp", "options": ["bind", "idmap"] });
    check(t, vec![("/mounts/6", mount, "/mounts/6")]);
}

/// All mistakes are tried, then all that were not refused as they should be are told.
fn check_on(t: &Test, mistakes: Vec<Mistake>, prepare: impl for<'b> Fn(Bundle<'b>) -> Bundle<'b>) {
    t.only_teu("pointers are teu's, and a mistake that is not noticed may do damage");
    let mut wrong = Vec::new();
    for (place, value, pointer) in mistakes {
        let bundle = prepare(t.bundle());
        let name = format!("{place} = {value}");
        let bundle = if value == REMOVED { bundle.unset(place) } else { bundle.set(place, value) };
        let out = bundle.try_create();
        let mut say = |text: &str| wrong.push(format!("{name}: {text}\n{}", out.report()));
        if out.code.is_none_or(|code| code == 0) {
            say("was not refused");
        } else if !out.stderr.contains(pointer) {
            say(&format!("{pointer} is not named"));
        } else if out.stderr.lines().count() != 1 || out.errors().len() != 1 {
            say("not exactly one line");
        } else if !out.stdout.is_empty() {
            say("printed on stdout");
        }
        let check = t.cmd(["check", "--format", "json"]).arg(bundle.dir()).run();
        let found = check.json();
        let found = found["findings"].as_array().into_iter().flatten();
        let mut places = found.map(|finding| finding["pointer"].as_str().unwrap_or_default());
        // The list of profiles is for root alone.
        let is_readable = t.caller() != Caller::User || pointer != "/process/apparmorProfile";
        if is_readable
            && !NOT_KNOWN_BEFORE.iter().any(|words| out.stderr.contains(words))
            && !places.any(|place| out.stderr.contains(&format!(" ({place})")))
        {
            say(&format!("is not found by check\n{}", check.report()));
        }
        if t.root().join(bundle.id()).exists() || !cgroup::find(bundle.id()).is_empty() {
            say("something is left");
        }
        t.cmd(["delete", "--force", bundle.id()]).run();
    }
    assert!(wrong.is_empty(), "{} mistakes:\n{}", wrong.len(), wrong.join("\n"));
}

fn mistakes_of_the_top_level_are_refused(t: &Test) {
    check(
        t,
        vec![
            ("/ociVersion", removed(), "/ociVersion"),
            ("/ociVersion", json!(""), "/ociVersion"),
            ("/ociVersion", json!("2.0.0"), "/ociVersion"),
            ("/ociVersion", json!("1"), "/ociVersion"),
            ("/ociVersion", json!("1.0"), "/ociVersion"),
            ("/ociVersion", json!(1), "/ociVersion"),
            ("/root", removed(), "/root"),
            ("/root", json!("rootfs"), "/root"),
            ("/root/path", removed(), "/root/path"),
            ("/root/path", json!(""), "/root/path"),
            ("/root/path", json!("nowhere"), "/root/path"),
            ("/root/path", json!("config.json"), "/root/path"),
            ("/root/readonly", json!("yes"), "/root/readonly"),
            ("/process", removed(), "/process"),
            ("/mounts", json!({}), "/mounts"),
            ("/linux", json!([]), "/linux"),
            ("/hostname", json!(7), "/hostname"),
            ("/hostname", json!("x".repeat(65)), "/hostname"),
            ("/domainname", json!("x".repeat(65)), "/domainname"),
            ("/hostname", json!("a\u{0}b"), "/hostname"),
        ],
    );
}

fn mistakes_of_the_process_are_refused(t: &Test) {
    check(
        t,
        vec![
            ("/process/args", removed(), "/process/args"),
            ("/process/args", json!([]), "/process/args"),
            ("/process/args", json!("sh"), "/process/args"),
            ("/process/args/0", json!(""), "/process/args"),
            ("/process/args/0", json!("a\u{0}b"), "/process/args/0"),
            ("/process/args/0", json!("/no/such/program"), "/process/args/0"),
            ("/process/cwd", removed(), "/process/cwd"),
            ("/process/cwd", json!(""), "/process/cwd"),
            ("/process/cwd", json!("relative"), "/process/cwd"),
            ("/process/cwd", json!("/etc/passwd"), "/process/cwd"),
            ("/process/env/1", json!("NO_EQUALS_SIGN"), "/process/env/1"),
            ("/process/env/1", json!("=value"), "/process/env/1"),
            ("/process/env/1", json!("A=\u{0}"), "/process/env/1"),
            ("/process/env/1", json!(7), "/process/env/1"),
            ("/process/terminal", json!(true), "/process/terminal"),
            ("/process/terminal", json!("yes"), "/process/terminal"),
            ("/process/apparmorProfile", json!("no-such-profile"), "/process/apparmorProfile"),
            ("/process/selinuxLabel", json!("system_u:system_r:container_t:s0"), "/process/selinuxLabel"),
        ],
    );
}

fn mistakes_of_users_and_limits_are_refused(t: &Test) {
    let limits = |list: Value| ("/process/rlimits", list);
    let (place, unknown) = limits(json!([{ "type": "RLIMIT_FOO", "soft": 1, "hard": 1 }]));
    check(
        t,
        vec![
            (place, unknown, "/process/rlimits/0"),
            (
                place,
                json!([{ "type": "RLIMIT_CORE", "soft": 1, "hard": 1 }, { "type": "RLIMIT_CORE", "soft": 2, "hard": 2 }]),
                "/process/rlimits/1",
            ),
            (place, json!([{ "type": "RLIMIT_CORE", "soft": 2, "hard": 1 }]), "/process/rlimits/0"),
            (place, json!([{ "type": "RLIMIT_CORE", "soft": -1, "hard": 1 }]), "/process/rlimits/0"),
            (place, json!([{ "soft": 1, "hard": 1 }]), "/process/rlimits/0"),
            ("/process/user/uid", json!(-1), "/process/user/uid"),
            ("/process/user/uid", json!(4_294_967_296_u64), "/process/user/uid"),
            ("/process/user/uid", json!("root"), "/process/user/uid"),
            ("/process/user/gid", json!(1.5), "/process/user/gid"),
            ("/process/user/additionalGids", json!([1, "two"]), "/process/user/additionalGids/1"),
            ("/process/user/umask", json!(0o1000), "/process/user/umask"),
            ("/process/oomScoreAdj", json!(1001), "/process/oomScoreAdj"),
            ("/process/oomScoreAdj", json!(-1001), "/process/oomScoreAdj"),
            ("/process/capabilities/bounding", json!("CAP_KILL"), "/process/capabilities/bounding"),
            ("/process/scheduler", json!({ "policy": "SCHED_FOO" }), "/process/scheduler"),
            ("/process/scheduler", json!({ "policy": "SCHED_OTHER", "nice": 20 }), "/process/scheduler"),
            ("/process/scheduler", json!({ "policy": "SCHED_OTHER", "priority": 3 }), "/process/scheduler"),
            ("/process/scheduler", json!({ "policy": "SCHED_BATCH", "runtime": 3 }), "/process/scheduler"),
            (
                "/process/scheduler",
                json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_FOO"] }),
                "/process/scheduler",
            ),
            ("/process/ioPriority", json!({ "priority": 1 }), "/process/ioPriority/class"),
            ("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE" }), "/process/ioPriority/priority"),
            (
                "/process/ioPriority",
                json!({ "class": "IOPRIO_CLASS_BE", "priority": -1 }),
                "/process/ioPriority/priority",
            ),
            (
                "/process/ioPriority",
                json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }),
                "/process/ioPriority",
            ),
            (
                "/process/ioPriority",
                json!({ "class": "IOPRIO_CLASS_FOO", "priority": 1 }),
                "/process/ioPriority",
            ),
        ],
    );
}

fn mistakes_of_mounts_are_refused(t: &Test) {
    let mount = |value: Value, pointer: &'static str| ("/mounts/6", value, pointer);
    check(
        t,
        vec![
            mount(json!({ "type": "tmpfs", "source": "x" }), "/mounts/6"),
            mount(json!({ "destination": "", "type": "tmpfs" }), "/mounts/6/destination"),
            mount(json!({ "destination": "/", "type": "tmpfs" }), "/mounts/6"),
            mount(json!({ "destination": "/a\u{0}b", "type": "tmpfs" }), "/mounts/6/destination"),
            mount(json!({ "destination": "/x" }), "/mounts/6"),
            mount(json!({ "destination": "/x", "type": "nosuchfs", "source": "x" }), "/mounts/6"),
            mount(
                json!({ "destination": "/x", "type": "bind", "source": "/nowhere", "options": ["bind"] }),
                "/mounts/6",
            ),
            mount(json!({ "destination": "/x", "type": "bind", "options": ["bind"] }), "/mounts/6"),
            mount(json!({ "destination": "/x", "type": "bind", "source": "/tmp" }), "/mounts/6"),
            mount(
                json!({ "destination": "/x", "source": "/tmp", "options": ["bind", "size=1m"] }),
                "/mounts/6",
            ),
            mount(
                json!({ "destination": "/x", "type": "tmpfs", "options": ["no_such_option=1"] }),
                "/mounts/6",
            ),
            mount(json!({ "destination": "/x", "type": "tmpfs", "options": "ro" }), "/mounts/6/options"),
            mount(
                json!({ "destination": "/x", "source": "/tmp", "options": ["bind", "idmap"], "uidMappings": [{ "containerID": 0, "hostID": 1, "size": 1 }] }),
                "/mounts/6",
            ),
            mount(
                json!({ "destination": "/x", "source": "/tmp", "options": ["bind", "tmpcopyup"] }),
                "/mounts/6",
            ),
            mount(json!({ "destination": "/proc/1/attr", "type": "tmpfs" }), "/mounts/6"),
            mount(json!({ "destination": "/etc/passwd/x", "type": "tmpfs" }), "/mounts/6"),
        ],
    );
}

fn mistakes_of_namespaces_are_refused(t: &Test) {
    let last = "/linux/namespaces/5";
    check(
        t,
        vec![
            (last, json!({ "type": "pid" }), last),
            (last, json!({ "type": "foo" }), last),
            (last, json!({ "path": "/proc/self/ns/net" }), last),
            (last, json!({ "type": "cgroup", "path": "proc/self/ns/cgroup" }), last),
            (last, json!({ "type": "cgroup", "path": "/nowhere" }), last),
            (last, json!({ "type": "cgroup", "path": "/proc/self/ns/net" }), last),
            (last, json!({ "type": "cgroup", "path": "/etc/hostname" }), last),
            ("/linux/namespaces", json!("pid"), "/linux/namespaces"),
            (
                "/linux/timeOffsets",
                json!({ "monotonic": { "secs": 1, "nanosecs": 0 } }),
                "/linux/timeOffsets",
            ),
        ],
    );
    let without_uts: for<'b> fn(Bundle<'b>) -> Bundle<'b> = |bundle| bundle.without_namespace("uts");
    check_on(
        t,
        vec![("/hostname", json!("x"), "/hostname"), ("/domainname", json!("x"), "/domainname")],
        without_uts,
    );
    let with_time: for<'b> fn(Bundle<'b>) -> Bundle<'b> = |bundle| bundle.namespace("time", None);
    check_on(
        t,
        vec![
            ("/linux/timeOffsets", json!({ "foo": { "secs": 1, "nanosecs": 0 } }), "/linux/timeOffsets"),
            (
                "/linux/timeOffsets",
                json!({ "monotonic": { "secs": 1, "nanosecs": 1_000_000_000 } }),
                "/linux/timeOffsets/monotonic",
            ),
        ],
        with_time,
    );
}

fn mistakes_of_id_mappings_are_refused(t: &Test) {
    let map = |size: u64| json!([{ "containerID": 0, "hostID": 100_000, "size": size }]);
    check(
        t,
        vec![
            ("/linux/uidMappings", map(10), "/linux/uidMappings"),
            ("/linux/gidMappings", map(10), "/linux/gidMappings"),
        ],
    );
    let with_user: for<'b> fn(Bundle<'b>) -> Bundle<'b> = |bundle| {
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 10 }]);
        bundle.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    };
    check_on(
        t,
        vec![
            ("/linux/uidMappings", map(0), "/linux/uidMappings/0"),
            ("/linux/uidMappings", removed(), "/linux/uidMappings"),
            ("/linux/gidMappings", removed(), "/linux/gidMappings"),
            ("/linux/uidMappings/0/hostID", removed(), "/linux/uidMappings/0"),
            (
                "/linux/uidMappings/1",
                json!({ "containerID": 5, "hostID": 200_000, "size": 10 }),
                "/linux/uidMappings/1",
            ),
            ("/process/user/uid", json!(4711), "/process/user/uid"),
            ("/process/user/gid", json!(4711), "/process/user/gid"),
        ],
        with_user,
    );
}

fn mistakes_of_devices_and_paths_are_refused(t: &Test) {
    let device = |value: Value| ("/linux/devices/0", value, "/linux/devices/0");
    check(
        t,
        vec![
            device(json!({ "path": "/dev/x", "type": "c", "minor": 1 })),
            device(json!({ "path": "/dev/x", "type": "c", "major": 1 })),
            device(json!({ "path": "/dev/x", "type": "x", "major": 1, "minor": 5 })),
            device(json!({ "path": "/dev/x", "type": "a", "major": 1, "minor": 5 })),
            device(json!({ "path": "dev/x", "type": "c", "major": 1, "minor": 5 })),
            device(json!({ "type": "c", "major": 1, "minor": 5 })),
            device(json!({ "path": "/etc/passwd", "type": "c", "major": 1, "minor": 5 })),
            ("/linux/maskedPaths", json!(["/etc/group", "relative"]), "/linux/maskedPaths/1"),
            ("/linux/readonlyPaths", json!(["relative"]), "/linux/readonlyPaths/0"),
            ("/linux/maskedPaths", json!("/proc/keys"), "/linux/maskedPaths"),
            ("/linux/rootfsPropagation", json!("bogus"), "/linux/rootfsPropagation"),
            ("/linux/personality", json!({ "domain": "FOO" }), "/linux/personality"),
            ("/linux/cgroupsPath", json!(7), "/linux/cgroupsPath"),
        ],
    );
}

fn mistakes_of_resources_are_refused(t: &Test) {
    let resources = "/linux/resources";
    check(
        t,
        vec![
            ("/linux/resources/devices/0/access", json!("x"), "/linux/resources/devices/0"),
            ("/linux/resources/devices/0", json!({ "access": "rwm" }), "/linux/resources/devices/0"),
            ("/linux/resources/devices/0/type", json!("p"), "/linux/resources/devices/0"),
            (
                "/linux/resources/memory",
                json!({ "limit": 100_000_000, "swap": 50_000_000 }),
                "/linux/resources/memory",
            ),
            ("/linux/resources/memory/limit", json!("64M"), "/linux/resources/memory/limit"),
            ("/linux/resources/pids/limit", json!("x"), "/linux/resources/pids/limit"),
            ("/linux/resources/cpu", json!({ "cpus": "9999" }), "/linux/resources/cpu"),
            ("/linux/resources/cpu", json!({ "cpus": "a-b" }), "/linux/resources/cpu"),
            (
                "/linux/resources/hugepageLimits",
                json!([{ "pageSize": "3XB", "limit": 1 }]),
                "/linux/resources/hugepageLimits/0",
            ),
            ("/linux/resources/blockIO", json!({ "weight": 5 }), "/linux/resources/blockIO"),
            ("/linux/resources/unified", json!({ "no_dot": "1" }), "/linux/resources/unified"),
            ("/linux/resources/unified", json!({ "../memory.max": "1" }), "/linux/resources/unified"),
            (resources, json!("none"), resources),
        ],
    );
}

fn mistakes_of_sysctls_are_refused(t: &Test) {
    let sysctl = "/linux/sysctl";
    check(
        t,
        vec![
            (sysctl, json!({ "vm.swappiness": "60" }), "/linux/sysctl/vm.swappiness"),
            (sysctl, json!({ "kernel.hostname": "x" }), "/linux/sysctl/kernel.hostname"),
            (sysctl, json!({ "net.no_such.setting": "1" }), "/linux/sysctl/net.no_such.setting"),
            (sysctl, json!({ "net.ipv4.ip_forward": 1 }), "/linux/sysctl/net.ipv4.ip_forward"),
            (sysctl, json!({ "net/../kernel/domainname": "x" }), "/linux/sysctl/net~1..~1kernel~1domainname"),
            (
                sysctl,
                json!({ "net.ipv4.ip_unprivileged_port_start": "not a number" }),
                "/linux/sysctl/net.ipv4.ip_unprivileged_port_start",
            ),
        ],
    );
}

fn mistakes_of_seccomp_are_refused(t: &Test) {
    let seccomp = "/linux/seccomp";
    let rule = |rule: Value| json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    let first = "/linux/seccomp/syscalls/0";
    check(
        t,
        vec![
            (
                seccomp,
                json!({ "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }] }),
                "/linux/seccomp",
            ),
            (seccomp, json!({ "defaultAction": "SCMP_ACT_FOO" }), "/linux/seccomp/defaultAction"),
            (
                seccomp,
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_FOO"] }),
                "/linux/seccomp/architectures/0",
            ),
            (
                seccomp,
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_FOO"] }),
                "/linux/seccomp/flags/0",
            ),
            (seccomp, rule(json!({ "names": [], "action": "SCMP_ACT_ERRNO" })), first),
            (seccomp, rule(json!({ "names": ["mkdir"], "action": "SCMP_ACT_FOO" })), first),
            (seccomp, rule(json!({ "names": ["mkdir"] })), first),
            (seccomp, rule(json!({ "names": ["mkdir"], "action": "SCMP_ACT_KILL", "errnoRet": 1 })), first),
            (
                seccomp,
                rule(
                    json!({ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }] }),
                ),
                first,
            ),
            (
                seccomp,
                rule(
                    json!({ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_FOO" }] }),
                ),
                first,
            ),
            (seccomp, rule(json!({ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" })), "/linux/seccomp"),
            (
                seccomp,
                json!({ "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/tmp/x" }),
                "/linux/seccomp",
            ),
        ],
    );
}

fn mistakes_of_hooks_and_annotations_are_refused(t: &Test) {
    check(
        t,
        vec![
            ("/hooks/createRuntime/0", json!({ "path": "relative" }), "/hooks/createRuntime/0"),
            ("/hooks/createRuntime/0", json!({ "path": "" }), "/hooks/createRuntime/0"),
            ("/hooks/createRuntime/0", json!({ "args": ["x"] }), "/hooks/createRuntime/0"),
            ("/hooks/poststop/0", json!({ "path": "/bin/true", "timeout": 0 }), "/hooks/poststop/0"),
            ("/hooks/prestart/0", json!({ "path": "/bin/true", "timeout": -1 }), "/hooks/prestart/0"),
            ("/hooks/startContainer/0", json!({ "path": "/bin/tr\u{0}ue" }), "/hooks/startContainer/0"),
            ("/hooks/poststart", json!({ "path": "/bin/true" }), "/hooks/poststart"),
            ("/annotations", json!({ "": "value" }), "/annotations"),
            ("/annotations", json!({ "fine": "x", "key": 7 }), "/annotations/key"),
            ("/annotations", json!({ "key": true }), "/annotations/key"),
            ("/annotations", json!({ "key": ["value"] }), "/annotations/key"),
            ("/annotations", json!({ "key": { "a": "b" } }), "/annotations/key"),
            ("/annotations", json!(["key"]), "/annotations"),
        ],
    );
}

fn mistakes_of_newer_sections_are_refused(t: &Test) {
    // Whatever they are called, an unprivileged caller may move none.
    let name = |at: &'static str| if t.caller() == Caller::User { "/linux/netDevices" } else { at };
    check(
        t,
        vec![
            ("/linux/netDevices", json!({ "no_such_dev": {} }), "/linux/netDevices"),
            ("/linux/netDevices", json!({ "a/b": {} }), name("/linux/netDevices/a~1b")),
            ("/linux/netDevices", json!({ "v0": { "name": "a/b" } }), name("/linux/netDevices/v0/name")),
            ("/linux/netDevices", json!({ "v0": { "name": "a b" } }), name("/linux/netDevices/v0/name")),
            ("/linux/netDevices", json!({ "v0": { "name": ".." } }), name("/linux/netDevices/v0/name")),
            (
                "/linux/netDevices",
                json!({ "v0": { "name": "longer-than-15-b" } }),
                name("/linux/netDevices/v0/name"),
            ),
            ("/linux/memoryPolicy", json!({}), "/linux/memoryPolicy"),
            ("/linux/memoryPolicy", json!({ "mode": "MPOL_FOO" }), "/linux/memoryPolicy"),
            ("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND" }), "/linux/memoryPolicy"),
            ("/linux/intelRdt", json!({ "closID": "../x" }), "/linux/intelRdt"),
            ("/linux/intelRdt", json!({ "closID": "x", "memBwSchema": "L3:0=ff" }), "/linux/intelRdt"),
        ],
    );
}

fn refuse_text(t: &Test, text: &[u8], word: &str) {
    let bundle = t.bundle();
    bundle.write();
    fs::write(bundle.dir().join("config.json"), text).unwrap();
    let out = t.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(bundle.id()).run().fails(&[word]);
    assert!(out.elapsed < patience(Duration::from_secs(3)), "{}", out.report());
    assert!(!t.root().join(bundle.id()).exists(), "the state directory is still there");
}

/// config.md: a JSON object in UTF-8.
fn file_that_is_no_config_is_refused(t: &Test) {
    t.only_teu("other runtimes find other words");
    for text in ["", "{", "[]", "null", "7", "\"text\"", "{} {}", "{\"ociVersion\":\"1.0.2\",}", "{'a':1}"] {
        refuse_text(t, text.as_bytes(), "config.json");
    }
    refuse_text(t, b"{\"ociVersion\":\"1.0.2\",\"hostname\":\"\xff\xfe\"}", "config.json");
    let deep = format!("{{\"annotations\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    refuse_text(t, deep.as_bytes(), "config.json");
}

/// Two readers of one file must not see two things.
fn duplicate_keys_are_refused(t: &Test) {
    t.only_teu("other runtimes take the last");
    let config = t.bundle().config().to_string();
    let twice = config.replacen('{', "{\"hostname\":\"a\",\"hostname\":\"b\",", 1);
    refuse_text(t, twice.as_bytes(), "hostname");
    let twice = config.replacen("\"process\":{", "\"process\":{\"cwd\":\"/tmp\",", 1);
    assert_ne!(twice, config);
    refuse_text(t, twice.as_bytes(), "cwd");
}

/// open(2) of a FIFO waits, of a device does things.
fn config_that_is_no_regular_file_is_refused(t: &Test) {
    t.only_teu("other runtimes wait for a writer");
    for kind in ["fifo", "zero", "directory", "dangling"] {
        let bundle = t.bundle();
        let path = bundle.dir().join("config.json");
        match kind {
            "fifo" => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap(),
            "zero" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
            "directory" => fs::create_dir(&path).unwrap(),
            _ => std::os::unix::fs::symlink("/nowhere", &path).unwrap(),
        }
        let out =
            t.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(bundle.id()).run().fails(&["config.json"]);
        assert!(out.elapsed < patience(Duration::from_secs(3)), "{kind}: {}", out.report());
    }
}

/// What is not bounded is a way to stop the host.
fn huge_config_is_refused_at_once(t: &Test) {
    t.only_teu("other runtimes read it all");
    let config = t.bundle().config().to_string();
    let huge = config.replacen('{', &format!("{{\"x\":\"{}\",", "x".repeat(17 << 20)), 1);
    refuse_text(t, huge.as_bytes(), "config.json");
}
