//! Host name, sysctls, masked and read-only paths, devices.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::harness::report::{has, mount};
use crate::harness::{Caller, Test, View};

cases![
    host_name_is_set_inside_alone,
    domain_name_is_set_inside_alone,
    host_name_without_a_uts_namespace_is_refused,
    joined_uts_namespace_gets_the_host_name,
    sysctl_of_the_network_is_set_inside_alone,
    sysctls_of_ipc_are_set,
    sysctl_with_slashes_is_the_same,
    sysctl_of_the_host_is_refused,
    sysctl_with_a_path_in_it_is_refused,
    masked_file_is_empty,
    masked_directory_is_empty_and_read_only,
    masked_path_may_be_missing_or_named_twice,
    masked_paths_work_with_a_read_only_root,
    read_only_path_refuses_writes,
    read_only_path_keeps_its_other_flags,
    read_only_path_may_be_missing,
    paths_that_engines_mask_are_masked,
    default_devices_are_there,
    default_links_are_there,
    device_of_the_config_is_made,
    device_of_the_config_replaces_a_default,
    fifo_of_the_config_is_made,
    device_outside_dev_is_made,
    file_in_the_way_of_a_device_is_refused,
    default_devices_may_be_used_and_no_others,
    allowed_device_may_be_used_as_far_as_allowed,
    device_rules_apply_in_order,
    bound_dev_is_left_alone,
    mqueue_sysctl_is_set,
    missing_resctrl_file_system_is_an_error,
    class_of_service_holds_the_container,
];

/// config.md#hostname.
fn host_name_is_set_inside_alone(t: &Test) {
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(
        t.bundle().set("/hostname", "inside.example").args(["hostname"]).run().ok().stdout,
        "inside.example\n"
    );
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
}

/// config.md#domainname.
fn domain_name_is_set_inside_alone(t: &Test) {
    t.skip_older("runc", (1, 2), "does not know it");
    t.skip_older("crun", (1, 9), "does not know it");
    let before = std::fs::read_to_string("/proc/sys/kernel/domainname").unwrap();
    let out =
        t.bundle().set("/domainname", "example.org").args(["cat", "/proc/sys/kernel/domainname"]).run().ok();
    assert_eq!(out.stdout, "example.org\n");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/domainname").unwrap(), before);
}

/// config.md#hostname.
fn host_name_without_a_uts_namespace_is_refused(t: &Test) {
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let out = t.bundle().without_namespace("uts").set("/hostname", "outside").try_create().fails(&[]);
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
    if t.is("teu") {
        out.fails(&["/hostname"]);
    }
}

/// runc.
fn joined_uts_namespace_gets_the_host_name(t: &Test) {
    let first = t.bundle().args(["sleep", "100"]).run_detached();
    let path = format!("/proc/{}/ns/uts", first.pid());
    let out = t
        .bundle()
        .namespace("uts", Some(&path))
        .in_pod_of(&first)
        .set("/hostname", "joined")
        .args(["hostname"])
        .run()
        .ok();
    assert_eq!(out.stdout, "joined\n");
}

/// config-linux.md#sysctl.
fn sysctl_of_the_network_is_set_inside_alone(t: &Test) {
    let file = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let before = std::fs::read_to_string(file).unwrap();
    let bundle = t.bundle().set("/linux/sysctl", json!({ "net.ipv4.ip_unprivileged_port_start": "77" }));
    assert_eq!(bundle.args(["cat", file]).run().ok().stdout, "77\n");
    assert_eq!(std::fs::read_to_string(file).unwrap(), before);
}

/// config-linux.md#sysctl.
fn sysctls_of_ipc_are_set(t: &Test) {
    let sysctl = json!({ "kernel.msgmax": "4097", "kernel.shmmni": "99", "kernel.sem": "10 20 30 40" });
    let bundle = t.bundle().set("/linux/sysctl", sysctl).set("/linux/readonlyPaths", json!(["/proc/sys"]));
    let out = bundle.sh("cd /proc/sys/kernel; cat msgmax shmmni; tr '\\t' ' ' <sem").run().ok();
    assert_eq!(out.stdout, "4097\n99\n10 20 30 40\n");
}

/// sysctl.d(5): names of interfaces may have dots.
fn sysctl_with_slashes_is_the_same(t: &Test) {
    let bundle = t.bundle().set("/linux/sysctl", json!({ "net/ipv4/ip_unprivileged_port_start": "78" }));
    assert_eq!(
        bundle.args(["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]).run().ok().stdout,
        "78\n"
    );
}

/// What is not of a namespace is the host's.
fn sysctl_of_the_host_is_refused(t: &Test) {
    t.only_teu(crate::harness::HOSTILE);
    let before = std::fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
    for key in ["vm.swappiness", "kernel.hostname", "kernel.core_pattern", "fs.file-max"] {
        let value = if key == "vm.swappiness" { before.trim() } else { "x" };
        let mut sysctl = json!({});
        sysctl[key] = value.into();
        t.bundle().set("/linux/sysctl", sysctl).try_create().fails(&["/linux/sysctl", key]);
    }
    let net = json!({ "net.ipv4.ip_forward": "0" });
    let bundle = t.bundle().without_namespace("network").without_mounts("/sys");
    bundle.set("/linux/sysctl", net).try_create().fails(&["/linux/sysctl/net.ipv4.ip_forward"]);
    let ipc = json!({ "kernel.msgmax": "8192" });
    let bundle = t.bundle().without_namespace("ipc").without_mounts("/dev/mqueue");
    bundle.set("/linux/sysctl", ipc).try_create().fails(&["/linux/sysctl/kernel.msgmax"]);
}

/// CVE-2022-0811 class.
fn sysctl_with_a_path_in_it_is_refused(t: &Test) {
    t.only_teu(crate::harness::HOSTILE);
    let before = std::fs::read_to_string("/proc/sys/kernel/domainname").unwrap();
    for key in [
        "net/../kernel/domainname",
        "net.ipv4/../../kernel/domainname",
        "net.",
        ".",
        "",
        "net..x",
        "kernel.domainname+x",
    ] {
        let mut sysctl = json!({});
        sysctl[key] = "taken".into();
        t.bundle().set("/linux/sysctl", sysctl).try_create().fails(&["/linux/sysctl"]);
    }
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/domainname").unwrap(), before);
}

/// config-linux.md#masked-paths.
fn masked_file_is_empty(t: &Test) {
    let bundle = t
        .bundle()
        .file("/etc/secret", "secret")
        .set("/linux/maskedPaths", json!(["/etc/secret", "/proc/keys"]));
    let out = bundle
        .sh("cat /etc/secret /proc/keys; stat -c %F:%t:%T /etc/secret; echo x >/etc/secret; cat /etc/secret")
        .run()
        .ok();
    assert_eq!(out.stdout, "character special file:1:3\n");
}

/// config-linux.md#masked-paths.
fn masked_directory_is_empty_and_read_only(t: &Test) {
    let bundle = t
        .bundle()
        .file("/opt/secret/file", "secret")
        .set("/linux/maskedPaths", json!(["/opt/secret", "/sys/firmware"]));
    let out = bundle.sh("ls -A /opt/secret; ls -A /sys/firmware; touch /opt/secret/x").run();
    assert_eq!(out.stdout, "");
    assert!(out.stderr.contains("Read-only file system"), "{}", out.report());
}

/// Kernels differ in what they have.
fn masked_path_may_be_missing_or_named_twice(t: &Test) {
    let masked = json!(["/proc/no-such-file", "/no/such/dir/at/all", "/etc/group", "/etc/group"]);
    t.bundle().set("/linux/maskedPaths", masked).sh("cat /etc/group").run().ok().silent();
}

/// config.md#root.
fn masked_paths_work_with_a_read_only_root(t: &Test) {
    let bundle =
        t.bundle().set("/root/readonly", true).set("/linux/maskedPaths", json!(["/etc/group", "/usr"]));
    bundle
        .set("/linux/readonlyPaths", json!(["/proc", "/etc"]))
        .sh("cat /etc/group; ls /usr")
        .run()
        .ok()
        .silent();
}

/// config-linux.md#readonly-paths.
fn read_only_path_refuses_writes(t: &Test) {
    let bundle = t.bundle().set("/linux/readonlyPaths", json!(["/proc/sys", "/opt", "/etc/group"]));
    let out = bundle.sh("echo x >/proc/sys/kernel/domainname; touch /opt/x; echo x >/etc/group; touch /etc/fine && echo fine").run();
    assert_eq!(out.stderr.matches("Read-only file system").count(), 3, "{}", out.report());
    assert_eq!(out.stdout, "fine\n");
}

/// mount(2): a remount sets all flags.
fn read_only_path_keeps_its_other_flags(t: &Test) {
    let report = t
        .bundle()
        .without_mounts("/proc")
        .mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])
        .set("/linux/readonlyPaths", json!(["/proc/sys"]))
        .report();
    let mount = mount(&report, "/proc/sys");
    assert!(["ro", "nosuid", "noexec", "nodev"].iter().all(|flag| has(mount, flag)), "{mount}");
}

/// Kernels differ in what they have.
fn read_only_path_may_be_missing(t: &Test) {
    t.bundle().set("/linux/readonlyPaths", json!(["/proc/no-such", "/no/such/dir"])).run().ok();
}

/// The list of every engine.
fn paths_that_engines_mask_are_masked(t: &Test) {
    let masked = [
        "/proc/asound",
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ];
    let bundle = t.bundle().set("/linux/maskedPaths", json!(masked));
    let script = "for p in \"$@\"; do [ -d $p ] && ls -A $p; [ -f $p ] && cat $p; done; true";
    let mut arguments = vec!["sh", "-c", script, "sh"];
    arguments.extend(masked);
    bundle.args(arguments).run().ok().silent();
}

/// config-linux.md#default-devices.
fn default_devices_are_there(t: &Test) {
    let script =
        "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a %u:%g' /dev/$d; done";
    let out = t.bundle().sh(script).run_cmd().through("umask 077; exec \"$@\"").run().ok();
    // In a user namespace they are those of the host, whose owner is not mapped.
    let owner = if t.caller() == Caller::Root { "0:0" } else { "65534:65534" };
    let expected: String = [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ]
    .map(|(name, numbers)| format!("/dev/{name} character special file {numbers} 666 {owner}\n"))
    .concat();
    assert_eq!(out.stdout, expected);
}

/// runtime-linux.md#dev-symbolic-links; `core` where the kernel has what it leads to.
fn default_links_are_there(t: &Test) {
    let out = t.bundle().sh("cd /dev; for l in fd stdin stdout stderr ptmx; do readlink $l; done").run().ok();
    assert_eq!(out.stdout, "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n");
    let core = t.bundle().sh("readlink /dev/core; true").run().ok().stdout;
    if std::path::Path::new("/proc/kcore").exists() {
        assert_eq!(core, "/proc/kcore\n");
    } else if t.is("teu") {
        assert_eq!(core, "");
    }
}

/// A container that may open /dev/kmsg as far as capabilities go, so that only the device rules refuse it.
fn with_syslog(t: &Test) -> crate::harness::Bundle<'_> {
    let capabilities =
        json!({ "bounding": ["CAP_SYSLOG"], "effective": ["CAP_SYSLOG"], "permitted": ["CAP_SYSLOG"] });
    t.bundle().set("/process/capabilities", capabilities)
}

fn device(value: Value) -> Value {
    json!([value])
}

/// config-linux.md#devices.
fn device_of_the_config_is_made(t: &Test) {
    let device = device(
        json!({ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 5, "gid": 6 }),
    );
    let bundle =
        t.bundle().set("/linux/devices", device).args(["stat", "-c", "%F %t:%T %a %u:%g", "/dev/fuse"]);
    let out = bundle.run_cmd().through("umask 077; exec \"$@\"").run().ok();
    assert_eq!(out.stdout, "character special file a:e5 640 5:6\n");
}

/// config-linux.md#devices.
fn device_of_the_config_replaces_a_default(t: &Test) {
    let device = device(
        json!({ "path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 1, "gid": 2 }),
    );
    let rules = json!([{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" }]);
    let bundle = t.bundle().set("/linux/devices", device).set("/linux/resources/devices", rules);
    let out = bundle.args(["stat", "-c", "%t:%T %a %u:%g", "/dev/null"]).run().ok();
    assert_eq!(out.stdout, "1:3 600 1:2\n");
}

/// config-linux.md#devices.
fn fifo_of_the_config_is_made(t: &Test) {
    let device = device(json!({ "path": "/dev/pipe", "type": "p", "fileMode": 0o600 }));
    let out = t.bundle().set("/linux/devices", device).args(["stat", "-c", "%F %a", "/dev/pipe"]).run().ok();
    assert_eq!(out.stdout, "fifo 600\n");
}

/// config-linux.md#devices: `path` is any path.
fn device_outside_dev_is_made(t: &Test) {
    let device = device(json!({ "path": "/opt/deep/zero", "type": "c", "major": 1, "minor": 5 }));
    let bundle =
        t.bundle().set("/linux/devices", device).args(["stat", "-c", "%F %t:%T %a", "/opt/deep/zero"]);
    assert_eq!(bundle.run().ok().stdout, "character special file 1:5 666\n");
    assert!(bundle.inside("/opt/deep").is_dir());
}

/// config-linux.md#devices: a file of that name that does not match is an error.
fn file_in_the_way_of_a_device_is_refused(t: &Test) {
    t.skip_for("runc", "uses what is there");
    t.skip_for("crun", "uses what is there");
    let device = device(json!({ "path": "/opt/zero", "type": "c", "major": 1, "minor": 5 }));
    let bundle = t.bundle().file("/opt/zero", "a file").set("/linux/devices", device);
    bundle.try_create().fails(&["/linux/devices/0", "/opt/zero"]);
    assert!(std::fs::metadata(bundle.inside("/opt/zero")).unwrap().mode() & 0o170000 == 0o100000);
}

/// config-linux.md#allowed-device-list: deny is the rule.
fn default_devices_may_be_used_and_no_others(t: &Test) {
    let capabilities = json!(["CAP_MKNOD", "CAP_SYSLOG"]);
    let capabilities =
        json!({ "bounding": capabilities, "effective": capabilities, "permitted": capabilities });
    for resources in [json!({ "devices": [{ "allow": false, "access": "rwm" }] }), json!({})] {
        let script = "echo x >/dev/null && head -c 1 /dev/zero | wc -c; head -c 1 /dev/urandom | wc -c; \
                      mknod /tmp/kmsg c 1 11 && echo made; head -c 1 /tmp/kmsg && echo read";
        let bundle =
            t.bundle().set("/process/capabilities", capabilities.clone()).set("/linux/resources", resources);
        let out = bundle.sh(script).run();
        assert_eq!(out.stdout, "1\n1\nmade\n", "{}", out.report());
        assert!(out.stderr.contains("Operation not permitted"), "{}", out.report());
    }
}

/// config-linux.md#allowed-device-list.
fn allowed_device_may_be_used_as_far_as_allowed(t: &Test) {
    let kmsg =
        device(json!({ "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666 }));
    let with = |access: &str| {
        let rules = json!([{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 11, "access": access }]);
        let script = "(exec 3</dev/kmsg) 2>/dev/null && echo r; (exec 3>>/dev/kmsg) 2>/dev/null && echo w; (exec 3<>/dev/kmsg) 2>/dev/null && echo rw; true";
        with_syslog(t)
            .set("/linux/devices", kmsg.clone())
            .set("/linux/resources/devices", rules)
            .sh(script)
            .run()
            .ok()
            .stdout
    };
    assert_eq!(with("r"), "r\n");
    assert_eq!(with("w"), "w\n");
    assert_eq!(with("rw"), "r\nw\nrw\n");
    assert_eq!(with("m"), "");
}

/// config-linux.md#allowed-device-list: each rule changes what the ones before have made.
fn device_rules_apply_in_order(t: &Test) {
    t.skip_for("crun", "reads the rules the other way");
    let rules = json!([
        { "allow": true, "access": "rwm" },
        { "allow": false, "type": "c", "major": 1, "minor": 11, "access": "w" },
    ]);
    let kmsg =
        device(json!({ "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666 }));
    let script = "(exec 3</dev/kmsg) 2>/dev/null && echo r; (exec 3>>/dev/kmsg) 2>/dev/null && echo w; true";
    let bundle = with_syslog(t).set("/linux/devices", kmsg).set("/linux/resources/devices", rules).sh(script);
    if t.is("runc") && t.view() == View::V2 {
        t.skip("runc cannot express this on version 2");
    }
    assert_eq!(bundle.run().ok().stdout, "r\n");
}

/// runc: what the caller binds is the caller's.
fn bound_dev_is_left_alone(t: &Test) {
    let dev = t.make_dir("dev");
    t.make_file("dev/mine", "");
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        t.make_file(&format!("dev/{name}"), "");
    }
    let bundle = t.bundle().without_mounts("/dev").bind(&dev, "/dev", &["bind"]);
    bundle.sh("[ -e /dev/mine ]").run().ok();
    let mut names: Vec<String> = std::fs::read_dir(&dev)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["full", "mine", "null", "random", "tty", "urandom", "zero"]);
}

/// config-linux.md#sysctl: `fs.mqueue.*`.
fn mqueue_sysctl_is_set(t: &Test) {
    let bundle = t.bundle().set("/linux/sysctl", json!({ "fs.mqueue.msg_max": "33" }));
    assert_eq!(bundle.args(["cat", "/proc/sys/fs/mqueue/msg_max"]).run().ok().stdout, "33\n");
}

fn has_resctrl() -> bool {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ")
}

/// config-linux.md#intelrdt. What happens in the file system is shown by the unit tests of `resctrl`.
fn missing_resctrl_file_system_is_an_error(t: &Test) {
    if has_resctrl() {
        t.skip("this machine has the resctrl file system");
    }
    for asked in [json!({}), json!({ "closID": "gold" }), json!({ "enableMonitoring": true })] {
        let out = t.bundle().set("/linux/intelRdt", asked).try_create();
        if t.is("teu") {
            out.fails(&["/linux/intelRdt", "the resctrl file system is not mounted"]);
        }
    }
}

/// config-linux.md#intelrdt.
fn class_of_service_holds_the_container(t: &Test) {
    if !has_resctrl() {
        t.skip("the processor or the kernel of this machine has no resctrl file system");
    }
    let bundle = t.bundle().set("/linux/intelRdt", json!({ "enableMonitoring": true }));
    let group = std::path::Path::new("/sys/fs/resctrl").join(bundle.id());
    let container = bundle.idle();
    let tasks = std::fs::read_to_string(group.join("tasks")).unwrap();
    assert!(tasks.lines().any(|line| line == container.pid().to_string()), "{tasks}");
    container.delete_force();
    assert!(!group.exists());
}
