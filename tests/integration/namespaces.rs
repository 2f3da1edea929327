//! Namespaces: new ones, joined ones, and the ones of the runtime.

use serde_json::json;

use crate::harness::{Bundle, Caller, Test, View, container, report};

cases![
    listed_namespaces_are_new,
    namespaces_that_are_not_listed_are_the_runtimes,
    namespaces_of_another_container_can_be_joined,
    pid_namespace_of_another_container_can_be_joined,
    cgroup_namespace_starts_at_the_own_cgroup,
    time_namespace_has_its_offsets,
    time_namespace_below_a_joined_user_namespace_has_its_offsets,
    new_network_namespace_has_a_loopback_that_is_up,
    init_is_process_one_of_a_new_pid_namespace,
    user_namespace_maps_the_ids,
    user_namespace_owns_the_others,
    user_namespace_has_usable_devices,
    joined_user_namespace_is_compared_with_the_mappings,
    file_of_another_kind_of_namespace_is_refused,
    missing_namespace_file_is_refused,
    network_of_the_host_is_seen_without_a_network_namespace,
];

/// The listed kinds of the usual config, as /proc/PID/ns names them.
const LISTED: &[&str] = &["pid", "net", "ipc", "uts", "mnt"];

/// config-linux.md#namespaces.
fn listed_namespaces_are_new(t: &Test) {
    let report = t.bundle().report();
    for kind in LISTED {
        let own = container::namespace_of("self", kind);
        let inside = report["namespaces"][*kind].as_str().unwrap_or_default();
        assert!(inside.starts_with(&format!("{kind}:[")) && inside != own, "{kind}: {inside}");
    }
    if t.is_older("runc", 1, 2) || t.is_older("crun", 1, 9) {
        return; // They have no time namespaces.
    }
    let report = t.bundle().in_user_namespace().namespace("cgroup", None).namespace("time", None).report();
    for kind in ["cgroup", "user", "time"] {
        let own = container::namespace_of("self", kind);
        let inside = report["namespaces"][kind].as_str().unwrap_or_default();
        assert!(inside.starts_with(&format!("{kind}:[")) && inside != own, "{kind}: {inside}");
    }
}

/// config-linux.md#namespaces: inherited.
fn namespaces_that_are_not_listed_are_the_runtimes(t: &Test) {
    let bundle =
        ["pid", "network", "ipc", "uts"].into_iter().fold(t.bundle(), |b, kind| b.without_namespace(kind));
    // Those file systems belong to namespaces that are not the container's.
    let report = bundle.without_mounts("/sys").without_mounts("/dev/mqueue").report();
    let without_user = ["pid", "net", "ipc", "uts", "cgroup"];
    let user = if t.caller() == Caller::Root { &["user"][..] } else { &[] };
    for kind in without_user.iter().chain(user) {
        let kind = *kind;
        assert_eq!(report["namespaces"][kind], container::namespace_of("self", kind), "{kind}");
    }
}

/// config-linux.md#namespaces: `path`. A pod is made of this.
fn namespaces_of_another_container_can_be_joined(t: &Test) {
    let first = t.bundle().set("/hostname", "first").args(["sleep", "100"]).run_detached();
    let pid = first.pid();
    let path = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    let report = t
        .bundle()
        .namespace("network", Some(&path("net")))
        .namespace("ipc", Some(&path("ipc")))
        .namespace("uts", Some(&path("uts")))
        .in_pod_of(&first)
        .report();
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(report["namespaces"][kind], first.namespace(kind), "{kind}");
    }
    assert_ne!(report["namespaces"]["mnt"], first.namespace("mnt"));
}

/// podman: `--pid container:X`.
fn pid_namespace_of_another_container_can_be_joined(t: &Test) {
    let first = t.bundle().args(["sleep", "4321"]).run_detached();
    let path = format!("/proc/{}/ns/pid", first.pid());
    let second = t
        .bundle()
        .namespace("pid", Some(&path))
        .in_pod_of(&first)
        .sh("cat /proc/1/cmdline; echo; sleep 100")
        .run_detached();
    second.wait_for_stdout("\n");
    assert!(second.stdout().contains("4321"), "{}", second.stdout());
    assert_eq!(second.namespace("pid"), first.namespace("pid"));
    second.delete_force();
    assert_eq!(first.status(), "running");
}

/// cgroup_namespaces(7).
fn cgroup_namespace_starts_at_the_own_cgroup(t: &Test) {
    let report = t.bundle().namespace("cgroup", None).report();
    let text = report["cgroup"].as_str().unwrap_or_default();
    assert!(!text.is_empty() && text.lines().all(|line| line.ends_with(":/")), "{text}");
    if t.view() == View::V2 {
        // The hierarchies of version 1 that the machine has are not in the view, and are told all the same.
        assert!(text.lines().any(|line| line == "0::/"), "{text}");
    }
    // It is the namespace that hides the way to it.
    let report = t.bundle().without_namespace("cgroup").report();
    let text = report["cgroup"].as_str().unwrap_or_default();
    if t.caller() != Caller::User {
        assert!(text.lines().any(|line| !line.ends_with(":/")), "{text}");
    }
    let report = t.bundle().namespace("cgroup", None).report();
    assert_ne!(report["namespaces"]["cgroup"], container::namespace_of("self", "cgroup"));
}

/// config-linux.md#offset-for-time-namespace.
fn time_namespace_has_its_offsets(t: &Test) {
    t.skip_older("runc", (1, 2), "has no time namespaces");
    t.skip_older("crun", (1, 9), "has no time namespaces");
    offsets_are_those_asked_for(t.bundle());
}

/// config-linux.md#offset-for-time-namespace: the user namespace has others in it, who must not see the init process.
fn time_namespace_below_a_joined_user_namespace_has_its_offsets(t: &Test) {
    t.skip_older("runc", (1, 2), "has no time namespaces");
    t.skip_older("crun", (1, 9), "has no time namespaces");
    let first = t.bundle().in_user_namespace().args(["sleep", "100"]).run_detached();
    let path = format!("/proc/{}/ns/user", first.pid());
    offsets_are_those_asked_for(t.bundle().namespace("user", Some(&path)));
}

fn offsets_are_those_asked_for(bundle: Bundle) {
    let offsets = json!({
        "monotonic": { "secs": 7881, "nanosecs": 2718281 },
        "boottime": { "secs": 1_000_000, "nanosecs": 0 },
    });
    let out = bundle
        .namespace("time", None)
        .set("/linux/timeOffsets", offsets)
        .sh("cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime")
        .run()
        .ok();
    let lines: Vec<Vec<&str>> = out.lines().iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["monotonic", "7881", "2718281"]);
    assert_eq!(lines[1], ["boottime", "1000000", "0"]);
    assert!(lines[2][0].parse::<u64>().is_ok_and(|up| up > 1_000_000), "{}", out.stdout);
}

/// runc: a loopback that is down surprises everybody.
fn new_network_namespace_has_a_loopback_that_is_up(t: &Test) {
    let out = t.bundle().sh("tail -n +3 /proc/net/dev | cut -d: -f1; ip addr show lo").run().ok();
    assert_eq!(out.lines()[0].trim(), "lo");
    assert!(out.stdout.contains("UP") && out.stdout.contains("127.0.0.1/8"), "{}", out.stdout);
    // Something answers, if only that nobody listens.
    let out = t.bundle().sh("echo x | nc 127.0.0.1 7777").run();
    assert!(out.stderr.contains("Connection refused"), "{}", out.report());
}

/// pid_namespaces(7).
fn init_is_process_one_of_a_new_pid_namespace(t: &Test) {
    let out = t.bundle().sh("echo $$; ls -d /proc/[0-9]* | wc -l").run().ok();
    assert_eq!(out.lines()[0], "1");
    // The shell, ls and wc.
    assert!(out.lines()[1].parse::<u32>().is_ok_and(|count| count <= 3), "{}", out.stdout);
}

/// config-linux.md#user-namespace-mappings.
fn user_namespace_maps_the_ids(t: &Test) {
    let shared = t.make_dir("shared");
    std::os::unix::fs::chown(&shared, Some(100_000), Some(100_000)).unwrap();
    let out = t.bundle().in_user_namespace()
        .dir_inside("/shared")
        .bind(&shared, "/shared", &["bind"])
        .sh("id -u; cat /proc/self/uid_map | tr -s ' '; touch /shared/new; stat -c %u:%g /shared/new /dev/null")
        .run()
        .ok();
    assert_eq!(out.stdout, "0\n 0 100000 65536\n0:0\n65534:65534\n");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(shared.join("new")).unwrap().uid(), 100_000);
}

/// user_namespaces(7): who owns a namespace may change it.
fn user_namespace_owns_the_others(t: &Test) {
    let capabilities = json!(["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]);
    let capabilities =
        json!({ "bounding": capabilities, "effective": capabilities, "permitted": capabilities });
    let out = t.bundle().in_user_namespace()
        .set("/process/capabilities", capabilities)
        .sh("hostname renamed && hostname; ip link set lo down && ip link set lo up && echo net; mount -t tmpfs x /mnt && echo mount; \
             stat -f -c %T /sys; ls -d /sys/class/net/lo")
        .run()
        .ok();
    assert_eq!(out.stdout, "renamed\nnet\nmount\nsysfs\n/sys/class/net/lo\n");
}

/// mknod(2) is refused there, so the nodes are those of the host.
fn user_namespace_has_usable_devices(t: &Test) {
    let out = t.bundle().in_user_namespace()
        .sh("echo x >/dev/null && for d in null zero full random urandom tty; do stat -c %t:%T /dev/$d; done; head -c 3 /dev/zero | wc -c")
        .run()
        .ok();
    assert_eq!(out.stdout, "1:3\n1:5\n1:7\n1:8\n1:9\n5:0\n3\n");
}

/// runc: engines that share a user namespace in a pod give both the path and the mappings.
fn joined_user_namespace_is_compared_with_the_mappings(t: &Test) {
    t.skip_older("runc", (1, 2), "refuses every mapping");
    t.skip_for("crun", "does not compare them");
    let pod = t.bundle().in_user_namespace().idle();
    let path = format!("/proc/{}/ns/user", pod.pid());
    let report = t.bundle().in_user_namespace().namespace("user", Some(&path)).probe().run().ok().json();
    assert_eq!(report["namespaces"]["user"], pod.namespace("user"));
    let other = json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]);
    for member in ["uidMappings", "gidMappings"] {
        let bundle = t
            .bundle()
            .in_user_namespace()
            .namespace("user", Some(&path))
            .set(&format!("/linux/{member}"), other.clone());
        let out = bundle.try_create().fails(&[]);
        if t.is("teu") {
            out.fails(&["has another map: 0 100000 65536", &format!("/linux/{member}")]);
        }
    }
}

/// config-linux.md#namespaces: the file must be of that kind.
fn file_of_another_kind_of_namespace_is_refused(t: &Test) {
    let bundle = t.bundle().namespace("network", Some("/proc/self/ns/uts"));
    let out = bundle.try_create().fails(&[]);
    if t.is("teu") {
        out.fails(&["/linux/namespaces/4", "/proc/self/ns/uts"]);
    }
}

/// config-linux.md#namespaces.
fn missing_namespace_file_is_refused(t: &Test) {
    let out = t.bundle().namespace("network", Some("/nowhere/net")).try_create().fails(&[]);
    if t.is("teu") {
        let out = out.fails(&["/linux/namespaces/4", "/nowhere/net", "nothing at that path"]);
        assert!(
            !out.message().contains("no such file or directory"),
            "docker would say 127\n{}",
            out.report()
        );
    }
}

/// docker: `--network host`.
fn network_of_the_host_is_seen_without_a_network_namespace(t: &Test) {
    let mine = std::fs::read_to_string("/proc/net/dev").unwrap().lines().count();
    let report =
        t.bundle().without_namespace("network").without_mounts("/sys").sh("wc -l </proc/net/dev").run().ok();
    assert_eq!(report.stdout.trim(), mine.to_string());
    let inside = t.bundle().without_namespace("network").without_mounts("/sys").report();
    assert!(report::find_mount(&inside, "/sys").is_none());
}
