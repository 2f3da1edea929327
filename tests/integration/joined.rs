//! Namespaces of others, devices of the network for them, and what cannot be combined.

use serde_json::json;

use crate::harness::Test;

cases![
    six_namespaces_of_another_container_are_joined_at_once,
    joined_network_is_left_as_it_is,
    own_network_of_the_host_gets_no_parameters,
    mistakes_of_joined_namespaces_are_refused,
    hook_moves_a_device_into_the_network_of_the_container,
    private_root_without_pivot_root_is_refused,
    queues_of_another_container_are_not_seen,
];

/// config-linux.md#namespaces.
fn six_namespaces_of_another_container_are_joined_at_once(t: &Test) {
    t.skip_older("runc", (1, 2), "has no time namespaces");
    t.skip_older("crun", (1, 9), "has no time namespaces");
    let first = t.bundle().in_user_namespace().namespace("time", None).args(["sleep", "4321"]).run_detached();
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid());
    let kinds = [
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("pid", "pid"),
        ("user", "user"),
        ("time", "time"),
    ];
    let bundle = kinds.iter().fold(t.bundle(), |b, (kind, file)| b.namespace(kind, Some(&path(file))));
    let second = bundle.sh("ps; sleep 100").run_detached();
    second.wait_for_stdout("4321");
    for (_, file) in kinds {
        assert_eq!(second.namespace(file), first.namespace(file), "{file}");
    }
    assert_ne!(second.namespace("mnt"), first.namespace("mnt"));
    second.delete_force();
    assert_eq!(first.status(), "running");
}

/// Only a new network gets its loopback device up.
fn joined_network_is_left_as_it_is(t: &Test) {
    let all = json!(["CAP_NET_ADMIN"]);
    let first = t
        .bundle()
        .set("/process/capabilities", json!({ "bounding": all, "effective": all, "permitted": all }))
        .sh("ip link set lo down; echo down; sleep 100")
        .run_detached();
    first.wait_for_stdout("down");
    let path = format!("/proc/{}/ns/net", first.pid());
    let out = t.bundle().namespace("network", Some(&path)).args(["ip", "link", "show", "lo"]).run().ok();
    assert!(out.stdout.contains("<LOOPBACK>") && !out.stdout.contains("UP"), "{}", out.stdout);
    // Nor is it up for whoever was there before, once the other container has come and gone.
    let out = first.exec(&[], &["ip", "link", "show", "lo"]).ok();
    assert!(out.stdout.contains("<LOOPBACK>") && !out.stdout.contains("UP"), "{}", out.stdout);
}

/// config-linux.md#sysctl: a namespace that is listed by the path of the own one is the host's.
fn own_network_of_the_host_gets_no_parameters(t: &Test) {
    t.only_teu(crate::harness::HOSTILE);
    let file = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let before = std::fs::read_to_string(file).unwrap();
    let bundle = t.bundle().namespace("network", Some("/proc/self/ns/net")).without_mounts("/sys");
    let bundle = bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_unprivileged_port_start": "7" }));
    bundle.try_create().fails(&["/linux/namespaces/4/path", "the caller's own namespace"]);
    assert_eq!(std::fs::read_to_string(file).unwrap(), before);
}

/// config-linux.md#user-namespace-mappings, #offset-for-time-namespace.
fn mistakes_of_joined_namespaces_are_refused(t: &Test) {
    t.only_teu("pointers are teu's");
    let first = t.bundle().in_user_namespace().namespace("time", None).args(["sleep", "100"]).run_detached();
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid());
    let offsets = json!({ "monotonic": { "secs": 1, "nanosecs": 0 } });
    let bundle = t.bundle().namespace("time", Some(&path("time"))).set("/linux/timeOffsets", offsets);
    bundle.try_create().fails(&["/linux/timeOffsets"]);
    let other = json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]);
    let bundle = t
        .bundle()
        .in_user_namespace()
        .namespace("user", Some(&path("user")))
        .set("/linux/uidMappings", other);
    bundle.try_create().fails(&["/linux/uidMappings"]);
    let twice = json!([
        { "containerID": 0, "hostID": 100_000, "size": 10 },
        { "containerID": 10, "hostID": 100_005, "size": 10 },
    ]);
    t.bundle()
        .in_user_namespace()
        .set("/linux/uidMappings", twice)
        .try_create()
        .fails(&["/linux/uidMappings/1"]);
    t.bundle()
        .in_user_namespace()
        .set("/process/user/additionalGids", json!([70_000]))
        .try_create()
        .fails(&["/process/user/additionalGids/0", "not mapped"]);
}

/// config.md#prestart: what network plugins do.
fn hook_moves_a_device_into_the_network_of_the_container(t: &Test) {
    for kind in ["prestart", "createRuntime"] {
        if t.is_older("crun", 1, 9) && kind == "createRuntime" {
            continue;
        }
        let script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); PATH=/usr/sbin:/sbin:/usr/bin:/bin; \
                      ip link add moved7 type veth peer name stays7 && ip link set moved7 netns $pid && \
                      ! ip link show moved7 && ip link show stays7";
        let bundle = t.bundle().hook(kind, script).args(["ls", "/sys/class/net"]);
        // The runtime has a network of its own, so that the host's stays as it is.
        let out = bundle.run_cmd().through("exec unshare --net -- \"$@\"").run();
        if out.stderr.contains("Unknown device type") || out.stderr.contains("not supported") {
            t.skip("this kernel has no veth devices");
        }
        assert!(out.ok().stdout.split_whitespace().any(|name| name == "moved7"), "{kind}");
    }
}

/// config-linux.md#rootfs-mount-propagation.
fn private_root_without_pivot_root_is_refused(t: &Test) {
    t.only_teu("the words are teu's");
    let bundle = t.bundle().set("/linux/rootfsPropagation", "private");
    bundle.call("run", &["--no-pivot"]).run().fails(&["/linux/rootfsPropagation"]);
}

/// mq_overview(7).
fn queues_of_another_container_are_not_seen(t: &Test) {
    let first = t.bundle().sh("touch /dev/mqueue/mine && ls /dev/mqueue; sleep 100").run_detached();
    first.wait_for_stdout("mine");
    // Nor are those of the host.
    let queues = t.make_dir("queues");
    nix::mount::mount(Some("mqueue"), &queues, Some("mqueue"), nix::mount::MsFlags::empty(), None::<&str>)
        .unwrap();
    let queue = queues.join(t.token());
    std::fs::write(&queue, "").unwrap();
    let out = t.bundle().args(["ls", "/dev/mqueue"]).run();
    std::fs::remove_file(&queue).unwrap();
    nix::mount::umount(&queues).unwrap();
    assert_eq!(out.ok().stdout, "");
}
