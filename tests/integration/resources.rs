//! Limits of resources beyond the usual ones: what is written, and what is refused before anything is.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Caller, Container, Test, View, cgroup};

cases![
    swap_is_limited_with_memory,
    mistakes_of_memory_and_cpu_are_refused,
    limit_of_no_process_is_one,
    huge_pages_are_limited,
    throttle_of_block_io_is_set,
    network_classes_are_refused_on_version_2,
    file_of_a_missing_controller_is_refused,
    unified_file_wins_over_its_section,
    cgroup_can_be_used_again_after_delete,
    writing_for_reading_and_writing_is_refused_by_a_rule_about_writing,
    device_rules_with_holes_are_refused,
    writable_cgroup_mount_belongs_to_the_container,
    limits_above_those_of_the_caller_hold_in_a_user_namespace,
];

fn file(c: &Container, controller: &str, v1: &str, v2: &str) -> Option<String> {
    let hierarchy = cgroup::hierarchy(controller)?;
    let path = hierarchy.of(&c.id).join(if hierarchy.v2 { v2 } else { v1 });
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn refused(t: &Test, resources: Value, pointer: &str) {
    let out = t.bundle().set("/linux/resources", resources.clone()).try_create();
    assert!(out.code != Some(0) && out.stderr.contains(pointer), "{resources}: {pointer}\n{}", out.report());
}

/// config-linux.md#memory: version 1 limits both together, version 2 swap alone.
fn swap_is_limited_with_memory(t: &Test) {
    let Some(hierarchy) = cgroup::hierarchy("memory") else {
        t.skip("no hierarchy here has the memory controller")
    };
    let memory = json!({ "limit": 67_108_864, "swap": 100_663_296 });
    let c = t.bundle().set("/linux/resources/memory", memory).args(["sleep", "100"]).run_detached();
    let read = |v1, v2| file(&c, "memory", v1, v2);
    assert_eq!(read("memory.limit_in_bytes", "memory.max").as_deref(), Some("67108864"));
    match read("memory.memsw.limit_in_bytes", "memory.swap.max") {
        None => t.skip("this kernel does not count swap"),
        Some(swap) => assert_eq!(swap, if hierarchy.v2 { "33554432" } else { "100663296" }),
    }
}

/// config-linux.md#memory, #cpu, #block-io.
fn mistakes_of_memory_and_cpu_are_refused(t: &Test) {
    t.only_teu("pointers are teu's");
    for (section, value, member) in [
        ("memory", json!({ "swap": 50_000_000 }), "swap"),
        ("memory", json!({ "limit": 100_000_000, "swap": 50_000_000 }), "swap"),
        ("memory", json!({ "limit": -2 }), "limit"),
        ("memory", json!({ "swappiness": 101 }), "swappiness"),
        ("cpu", json!({ "period": 100 }), "period"),
        ("cpu", json!({ "quota": 5000, "burst": 5001 }), "burst"),
        ("cpu", json!({ "quota": 10 }), "quota"),
        ("cpu", json!({ "idle": 2 }), "idle"),
        ("blockIO", json!({ "weightDevice": [{ "major": 8, "minor": 0 }] }), "weightDevice/0"),
        ("blockIO", json!({ "weight": 1001 }), "weight"),
    ] {
        let mut resources = json!({});
        resources[section] = value;
        refused(t, resources, &format!("/linux/resources/{section}/{member}"));
    }
    if t.view() == View::V2 {
        let real_time = json!({ "cpu": { "realtimeRuntime": 1000, "realtimePeriod": 100_000 } });
        refused(t, real_time, "/linux/resources/cpu/realtime");
    }
}

/// config-linux.md#pids: the init process is there already.
fn limit_of_no_process_is_one(t: &Test) {
    if cgroup::hierarchy("pids").is_none() {
        t.skip("no hierarchy here has the pids controller");
    }
    t.skip_for("runc", "takes 0 for no limit in old versions");
    t.skip_for("crun", "takes 0 for no limit");
    let c = t.bundle().set("/linux/resources/pids/limit", 0).args(["sleep", "100"]).run_detached();
    assert_eq!(file(&c, "pids", "pids.max", "pids.max").as_deref(), Some("1"));
}

/// config-linux.md#huge-page-limits.
fn huge_pages_are_limited(t: &Test) {
    t.skip_for("crun", "does not use version 2 beside version 1");
    t.skip_for("runc", "does not use version 2 beside version 1");
    let Some(hierarchy) = cgroup::hierarchy("hugetlb") else {
        t.skip("no hierarchy here has the hugetlb controller")
    };
    let limit = json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }] });
    let c = t.bundle().set("/linux/resources", limit).args(["sleep", "100"]).run_detached();
    let name = if hierarchy.v2 { "max" } else { "limit_in_bytes" };
    for file in [format!("hugetlb.2MB.{name}"), format!("hugetlb.2MB.rsvd.{name}")] {
        let path = hierarchy.of(&c.id).join(&file);
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), "4194304", "{}", path.display());
    }
    let odd = json!({ "hugepageLimits": [{ "pageSize": "3MB", "limit": 0 }] });
    refused(t, odd, "/linux/resources/hugepageLimits/0");
}

/// config-linux.md#block-io.
fn throttle_of_block_io_is_set(t: &Test) {
    let Some(hierarchy) = cgroup::hierarchy("blkio").or_else(|| cgroup::hierarchy("io")) else {
        t.skip("no hierarchy here has the controller of block io")
    };
    let device = fs::read_dir("/sys/block").ok().and_then(|mut all| all.next()).and_then(|first| first.ok());
    let numbers = device.and_then(|device| fs::read_to_string(device.path().join("dev")).ok());
    let Some(numbers) = numbers.map(|text| text.trim().to_owned()) else {
        t.skip("this machine has no block device")
    };
    let (major, minor) = numbers.split_once(':').expect("two numbers");
    let (major, minor): (u32, u32) = (major.parse().unwrap(), minor.parse().unwrap());
    let rule = json!([{ "major": major, "minor": minor, "rate": 1_048_576 }]);
    let bundle = t.bundle().set("/linux/resources/blockIO", json!({ "throttleReadBpsDevice": rule }));
    let c = bundle.args(["sleep", "100"]).run_detached();
    let name = if hierarchy.v2 { "io.max" } else { "blkio.throttle.read_bps_device" };
    let text = fs::read_to_string(hierarchy.of(&c.id).join(name)).unwrap();
    let expected =
        if hierarchy.v2 { format!("{numbers} rbps=1048576") } else { format!("{numbers} 1048576") };
    assert!(text.starts_with(&expected), "{name}: {text}");
}

/// config-linux.md#network.
fn network_classes_are_refused_on_version_2(t: &Test) {
    t.only_teu("others ignore them");
    if t.view() != View::V2 {
        t.skip("this is version 1");
    }
    refused(t, json!({ "network": { "classID": 7 } }), "/linux/resources/network/classID");
    let priorities = json!({ "network": { "priorities": [{ "name": "lo", "priority": 1 }] } });
    refused(t, priorities, "/linux/resources/network/priorities/0");
}

/// config-linux.md#unified.
fn file_of_a_missing_controller_is_refused(t: &Test) {
    t.only_teu("pointers are teu's");
    if t.view() != View::V2 {
        t.skip("this is version 1");
    }
    refused(t, json!({ "unified": { "nosuch.max": "1" } }), "/linux/resources/unified/nosuch.max");
    refused(t, json!({ "unified": { "foo": "1" } }), "/linux/resources/unified/foo");
}

/// config-linux.md#unified: the section would have written the same file.
fn unified_file_wins_over_its_section(t: &Test) {
    if t.view() != View::V2 {
        t.skip("version 1 has no unified files");
    }
    let pids = json!({ "pids": { "limit": 10 }, "unified": { "pids.max": "77" } });
    let pages = json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }],
        "unified": { "hugetlb.2MB.max": "2097152" } });
    let mut tried = 0;
    for (controller, name, resources, wins) in
        [("pids", "pids.max", pids, "77"), ("hugetlb", "hugetlb.2MB.max", pages, "2097152")]
    {
        if cgroup::hierarchy(controller).is_some() {
            let c = t.bundle().set("/linux/resources", resources).args(["sleep", "100"]).run_detached();
            assert_eq!(file(&c, controller, "", name).as_deref(), Some(wins), "{name}");
            tried += 1;
        }
    }
    if tried == 0 {
        t.skip("no hierarchy here has the controller of processes or of huge pages");
    }
}

/// config-linux.md#cgroups-path.
fn cgroup_can_be_used_again_after_delete(t: &Test) {
    let bundle = t.bundle();
    let path = format!("/{}-again", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", path.as_str());
    for _ in 0..2 {
        bundle.run().ok();
    }
    assert!(cgroup::find(bundle.id()).is_empty());
}

fn kmsg(t: &Test, rules: Value) -> crate::harness::Bundle<'_> {
    let all = json!(["CAP_SYSLOG"]);
    let device = json!([{ "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666 }]);
    t.bundle()
        .set("/process/capabilities", json!({ "bounding": all, "effective": all, "permitted": all }))
        .set("/linux/devices", device)
        .set("/linux/resources/devices", rules)
}

/// config-linux.md#allowed-device-list.
fn writing_for_reading_and_writing_is_refused_by_a_rule_about_writing(t: &Test) {
    t.skip_for("crun", "reads the rules the other way");
    t.skip_for("runc", "cannot express this on version 2");
    let rules = json!([
        { "allow": true, "type": "a", "access": "rwm" },
        { "allow": false, "type": "c", "major": 1, "minor": 11, "access": "w" },
    ]);
    let script =
        "for way in '<' '>>' '<>'; do eval \"(exec 3$way/dev/kmsg) 2>/dev/null && echo '$way'\"; done; true";
    assert_eq!(kmsg(t, rules).sh(script).run().ok().stdout, "<\n");
}

/// config-linux.md#allowed-device-list: version 1 would ignore such a rule.
fn device_rules_with_holes_are_refused(t: &Test) {
    t.only_teu("pointers are teu's");
    let device = |allow: bool, access: &str, number: i64| json!({ "allow": allow, "type": "c", "major": number, "minor": number, "access": access });
    let rules = json!([device(true, "rwm", -1), device(false, "w", 1)]);
    refused(t, json!({ "devices": rules }), "/linux/resources/devices/1");
    refused(t, json!({ "devices": [device(true, "", 1)] }), "/linux/resources/devices/0/access");
    refused(t, json!({ "devices": [device(true, "x", 1)] }), "/linux/resources/devices/0/access");
}

/// config-linux.md#cgroup-ownership.
fn writable_cgroup_mount_belongs_to_the_container(t: &Test) {
    t.skip_for("runc", "changes the owner for systemd alone");
    t.skip_for("crun", "changes it for systemd alone");
    if t.view() != View::V2 {
        t.skip("only version 2 is handed over");
    }
    let bundle = t.bundle().in_user_namespace().namespace("cgroup", None).mount(
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["rw", "nosuid", "noexec", "nodev"],
    );
    let mut bundle =
        bundle.sh("cd /sys/fs/cgroup; mkdir x && stat -c %u . cgroup.procs cgroup.subtree_control \
         cgroup.threads | sort -u && rmdir x; \
         for file in *; do grep -qxF $file /sys/kernel/cgroup/delegate || stat -c %u $file; done | sort -u");
    // An unprivileged caller gives nothing away to another user, and says so.
    let users = if t.caller() == Caller::User { &[0][..] } else { &[0, 1000] };
    for user in users {
        bundle = bundle.set("/process/user", json!({ "uid": user, "gid": user }));
        // The others stay with whoever has limited the container. An unprivileged caller has made all of them.
        let others = if t.caller() == Caller::User { "0" } else { "65534" };
        assert_eq!(bundle.run().ok().stdout, format!("{user}\n{others}\n"));
    }
}

/// prlimit(2): the caller raises it, whatever root in the namespace may do.
fn limits_above_those_of_the_caller_hold_in_a_user_namespace(t: &Test) {
    t.skip_older("runc", (1, 2), "raises the soft limit now and then");
    let bundle = t
        .bundle()
        .in_user_namespace()
        .set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024 }]))
        .sh("ulimit -Sn; ulimit -Hn; sleep 100");
    // The soft limit of the caller is below both.
    let out = bundle.call("run", &["--detach"]).through("ulimit -Sn 256; exec \"$@\"").run().ok();
    let c = Container::new(t, bundle.id(), &out);
    c.wait_for_stdout("1024\n");
    assert_eq!(c.stdout(), "512\n1024\n");
    let exec = t.cmd(["exec", bundle.id(), "sh", "-c", "ulimit -Sn; ulimit -Hn"]).run().ok();
    assert_eq!(exec.stdout, "512\n1024\n");
}
