//! The systemd cgroup driver, against a systemd of the test that writes down what it is asked.
//!
//! What a real systemd makes of the same calls: `make systemd`.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Bundle, Cmd, Container, Fault, Out, Systemd, Test, View, cgroup};

cases![
    container_is_in_its_unit,
    program_starts_inside_of_its_unit,
    unit_has_the_properties_of_a_container,
    limits_are_properties_and_files,
    raw_files_are_mirrored,
    annotations_are_properties,
    annotations_that_are_no_properties_are_refused,
    older_systemd_is_not_told_what_it_does_not_know,
    slice_of_slices_is_expanded,
    container_can_be_a_slice,
    unit_is_below_the_cgroup_of_the_manager,
    failed_unit_of_the_same_name_is_forgotten,
    unit_that_runs_is_refused,
    path_that_is_no_unit_is_refused,
    systemd_that_comes_late_to_its_bus_is_waited_for,
    update_tells_systemd_and_writes_files,
    update_that_systemd_refuses_changes_nothing,
    update_that_the_kernel_refuses_is_taken_back,
    unit_that_is_gone_does_not_keep_a_container,
    bus_that_is_gone_does_not_keep_a_container,
    container_is_paused_and_entered_by_its_cgroup,
    cgroup_mount_shows_the_unit,
    cgroup_mount_in_a_user_namespace_shows_the_unit,
];

/// A bundle whose unit is in a slice of this test.
pub fn bundle<'t>(t: &'t Test) -> Bundle<'t> {
    t.only_teu("others are not made to speak with the systemd of a test");
    let bundle = t.bundle();
    let path = format!("{}.slice:teu:{}", t.token(), bundle.id());
    bundle.set("/linux/cgroupsPath", path).args(["sleep", "100"])
}

/// The name of its unit.
pub fn unit(bundle: &Bundle) -> String {
    format!("teu-{}.scope", bundle.id())
}

/// A verb that takes a bundle, with the driver.
pub fn call<'t>(t: &'t Test, systemd: &Systemd, verb: &[&str], bundle: &Bundle<'t>) -> Cmd<'t> {
    bundle.write();
    let words = ["--systemd-cgroup"].iter().chain(verb);
    systemd.serves(t.cmd(words)).arg("--bundle").arg(bundle.dir()).arg(bundle.id())
}

fn start<'t>(t: &'t Test, systemd: &Systemd, bundle: &Bundle<'t>) -> Container<'t> {
    let out = call(t, systemd, &["run", "--detach"], bundle).run().ok();
    Container::new(t, bundle.id(), &out)
}

/// Deletes a container by force.
pub fn delete(t: &Test, systemd: &Systemd, id: &str) -> Out {
    systemd.serves(t.cmd(["delete", "--force", id])).run()
}

/// The cgroup of a process by hierarchy, without those that no runtime joins.
fn cgroups_of(t: &Test, pid: i32) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process is there");
    let lines = text.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    lines
        .filter(|fields| t.view() != View::V2 || fields[1].is_empty())
        .map(|fields| (fields[1].to_owned(), fields[2].to_owned()))
        .collect()
}

/// Where the unit of a bundle is in the hierarchy of a controller.
fn directory(t: &Test, controller: &str, bundle: &Bundle) -> PathBuf {
    let Some(hierarchy) = cgroup::hierarchy(controller) else {
        t.skip(format!("no hierarchy here has the {controller} controller"))
    };
    hierarchy.point.join(format!("{}.slice", t.token())).join(unit(bundle))
}

fn file(dir: PathBuf, name: &str) -> String {
    let path = dir.join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

/// The unit is around the process in every hierarchy, also in those that systemd leaves alone.
fn container_is_in_its_unit(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t);
    let c = start(t, &systemd, &bundle);
    let path = format!("/{}.slice/{}", t.token(), unit(&bundle));
    for (controllers, own) in cgroups_of(t, c.pid()) {
        assert_eq!(own, path, "{controllers}");
    }
    let body = systemd.asked("StartTransientUnit");
    assert_eq!((&body[0], &body[1], &body[3]), (&json!(unit(&bundle)), &json!("replace"), &json!([])));
    assert_eq!(systemd.properties("StartTransientUnit")["PIDs"], json!([c.pid()]));
    assert_eq!(systemd.methods(), ["StartTransientUnit"]);
    assert_eq!(c.status(), "running");
    delete(t, &systemd, &c.id).ok().silent();
    assert_eq!(systemd.methods(), ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]);
    assert!(systemd.units().is_empty());
    assert!(cgroup::find(&unit(&bundle)).is_empty(), "left: {:?}", cgroup::find(&unit(&bundle)));
    for dir in cgroup::find(t.token()).iter().rev() {
        // Slices above are not the container's.
        fs::remove_dir(dir).unwrap();
    }
}

/// The first thing that it sees is where it is.
fn program_starts_inside_of_its_unit(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t).args(["cat", "/proc/self/cgroup"]);
    let out = call(t, &systemd, &["run"], &bundle).run().ok();
    let wanted = format!("/{}.slice/{}", t.token(), unit(&bundle));
    let lines = out.lines();
    let ours = lines.iter().filter(|line| t.view() != View::V2 || line.starts_with("0::"));
    assert!(ours.clone().count() > 0 && ours.clone().all(|line| line.ends_with(&wanted)), "{}", out.report());
    clear(t);
}

/// Removes the slices that were made in hierarchies which the systemd of the test does not know.
pub fn clear(t: &Test) {
    for dir in cgroup::find(t.token()).iter().rev() {
        fs::remove_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    }
}

/// runc: what a scope of a container is.
fn unit_has_the_properties_of_a_container(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t);
    let c = start(t, &systemd, &bundle);
    let properties = systemd.properties("StartTransientUnit");
    let block_io = if t.view() == View::V2 { "IOAccounting" } else { "BlockIOAccounting" };
    let expected = json!({
        "Description": format!("teu container {}", bundle.id()),
        "Slice": format!("{}.slice", t.token()),
        "Delegate": true,
        "DefaultDependencies": false,
        "CollectMode": "inactive-or-failed",
        "MemoryAccounting": true,
        "CPUAccounting": true,
        block_io: true,
        "TasksAccounting": true,
        "DevicePolicy": "strict",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(properties[name], *value, "{name}");
    }
    let devices = properties["DeviceAllow"].as_array().unwrap();
    for device in [json!(["/dev/char/1:3", "rwm"]), json!(["char-136", "rwm"]), json!(["char-*", "m"])] {
        assert!(devices.contains(&device), "{device} is not in {devices:?}");
    }
    delete(t, &systemd, &c.id).ok().silent();
    clear(t);
}

/// config-linux.md#control-groups.
fn limits_are_properties_and_files(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t)
        .set("/linux/resources/memory", json!({ "limit": 67_108_864 }))
        .set("/linux/resources/pids", json!({ "limit": 20 }))
        .set(
            "/linux/resources/cpu",
            json!({ "shares": 512, "quota": 33_333, "period": 100_000, "cpus": "0" }),
        );
    for controller in ["memory", "pids", "cpu", "cpuset"] {
        directory(t, controller, &bundle);
    }
    let c = start(t, &systemd, &bundle);
    let properties = systemd.properties("StartTransientUnit");
    let is_v2 = t.view() == View::V2;
    let mut expected = json!({
        "TasksMax": 20, "CPUQuotaPerSecUSec": 340_000, "CPUQuotaPeriodUSec": 100_000, "AllowedCPUs": [1],
    });
    let (memory, cpu) =
        if is_v2 { ("MemoryMax", ("CPUWeight", 59)) } else { ("MemoryLimit", ("CPUShares", 512)) };
    expected[memory] = 67_108_864.into();
    expected[cpu.0] = cpu.1.into();
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(properties[name], *value, "{name}");
    }
    let dir = |controller| directory(t, controller, &bundle);
    let memory = if is_v2 { "memory.max" } else { "memory.limit_in_bytes" };
    assert_eq!(file(dir("memory"), memory), "67108864");
    assert_eq!(file(dir("pids"), "pids.max"), "20");
    let (quota, exact) = if is_v2 { ("cpu.max", "33333 100000") } else { ("cpu.cfs_quota_us", "33333") };
    assert_eq!(file(dir("cpu"), quota), exact, "the file has the exact value");
    assert_eq!(file(dir("cpuset"), "cpuset.cpus"), "0");
    delete(t, &systemd, &c.id).ok().silent();
    clear(t);
}

/// config-linux.md#unified.
fn raw_files_are_mirrored(t: &Test) {
    if t.view() != View::V2 {
        t.skip("version 1 has no such files");
    }
    let systemd = Systemd::start(t);
    // Every cgroup has the first, no systemd knows it, and the other one has no controller here.
    let bundle = bundle(t).set("/linux/resources/unified", json!({ "cgroup.max.descendants": "7" }));
    let c = start(t, &systemd, &bundle);
    let dir = cgroup::find(&unit(&bundle)).remove(0);
    assert_eq!(file(dir, "cgroup.max.descendants"), "7");
    delete(t, &systemd, &c.id).ok().silent();
    let bundle = bundle.set("/linux/resources/unified", json!({ "memory.high": "64M" }));
    if cgroup::hierarchy("memory").is_none() {
        call(t, &systemd, &["create"], &bundle).run().fails(&["/linux/resources/unified/memory.high"]);
        assert_eq!(systemd.properties("StartTransientUnit")["MemoryHigh"], 67_108_864);
        assert!(systemd.units().is_empty(), "a limit that cannot be set leaves no unit");
    }
    clear(t);
}

/// runc: org.systemd.property.*.
fn annotations_are_properties(t: &Test) {
    let systemd = Systemd::start(t);
    let annotations = json!({
        "org.systemd.property.TimeoutStopSec": "1.5",
        "org.systemd.property.After": "['a.service', 'b.service']",
        "org.systemd.property.RuntimeMaxUSec": "uint64 1000000",
        "org.systemd.property.CollectMode": "'inactive'",
        "org.systemd.property.OOMScoreAdjust": "int32 -5",
        "org.systemd.propertyless": "what",
    });
    let bundle = bundle(t).set("/annotations", annotations);
    let c = start(t, &systemd, &bundle);
    let properties = systemd.properties("StartTransientUnit");
    assert_eq!(properties["TimeoutStopUSec"], 1_500_000);
    assert_eq!(properties["RuntimeMaxUSec"], 1_000_000);
    assert_eq!(properties["After"], json!(["a.service", "b.service"]));
    assert_eq!(properties["CollectMode"], "inactive", "an annotation takes the place of what is usual");
    assert_eq!(properties["OOMScoreAdjust"], -5);
    delete(t, &systemd, &c.id).ok().silent();
    clear(t);
}

/// CVE-2024-3154: an annotation must not become what nobody checked.
fn annotations_that_are_no_properties_are_refused(t: &Test) {
    let systemd = Systemd::start(t);
    for (name, value) in [
        ("ab", "1"),
        ("Exec\nStart", "'x'"),
        ("MemoryMax", "lots"),
        ("MemoryMax", "1\nExecStart=/bin/sh"),
        ("TimeoutStopSec", "'5'"),
        ("PIDs", "[uint32 1]"),
        ("DeviceAllow", "[('char-*', 'rwm')]"),
    ] {
        let key = format!("org.systemd.property.{name}");
        let bundle = bundle(t).set("/annotations", json!({ key: value }));
        call(t, &systemd, &["create"], &bundle).run().fails(&["/annotations/org.systemd.property."]);
    }
    assert!(systemd.methods().is_empty());
}

/// A property that is not known would be an error of systemd.
fn older_systemd_is_not_told_what_it_does_not_know(t: &Test) {
    let systemd = Systemd::start(t).version("v243 (243.8)");
    let bundle = bundle(t).set("/linux/resources/cpu", json!({ "cpus": "0", "quota": 50_000 }));
    directory(t, "cpuset", &bundle);
    let c = start(t, &systemd, &bundle);
    let properties = systemd.properties("StartTransientUnit");
    assert_eq!(
        (&properties["AllowedCPUs"], &properties["CPUQuotaPeriodUSec"]),
        (&Value::Null, &json!(100_000))
    );
    assert_eq!(file(directory(t, "cpuset", &bundle), "cpuset.cpus"), "0", "the file holds it all the same");
    delete(t, &systemd, &c.id).ok().silent();
    clear(t);
}

/// systemd.slice(5).
fn slice_of_slices_is_expanded(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t);
    let token = t.token();
    let bundle = bundle.set("/linux/cgroupsPath", format!("{token}-b-c.slice::{token}"));
    let c = start(t, &systemd, &bundle);
    let path = format!("/{token}.slice/{token}-b.slice/{token}-b-c.slice/{token}.scope");
    assert!(cgroups_of(t, c.pid()).iter().all(|(_, own)| *own == path), "{:?}", cgroups_of(t, c.pid()));
    delete(t, &systemd, &c.id).ok().silent();
    clear(t);
}

/// runc: a name that ends in .slice.
fn container_can_be_a_slice(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t);
    let token = t.token();
    let bundle = bundle.set("/linux/cgroupsPath", format!("{token}.slice::{token}-own.slice"));
    let c = start(t, &systemd, &bundle);
    let path = format!("/{token}.slice/{token}-own.slice");
    assert!(cgroups_of(t, c.pid()).iter().all(|(_, own)| *own == path), "{:?}", cgroups_of(t, c.pid()));
    let properties = systemd.properties("StartTransientUnit");
    assert_eq!(properties["Wants"], json!([format!("{token}.slice")]));
    for name in ["PIDs", "Slice", "Delegate"] {
        assert_eq!(properties[name], Value::Null, "a slice has no {name}");
    }
    delete(t, &systemd, &c.id).ok().silent();
    assert!(systemd.units().is_empty());
    clear(t);
}

/// As the manager of a user, or of a container without a cgroup namespace.
fn unit_is_below_the_cgroup_of_the_manager(t: &Test) {
    let root = format!("/{}-manager/init", t.token());
    let systemd = Systemd::start(t).root(&root);
    let bundle = bundle(t);
    let c = start(t, &systemd, &bundle);
    let path = format!("{root}/{}.slice/{}", t.token(), unit(&bundle));
    assert!(cgroups_of(t, c.pid()).iter().all(|(_, own)| *own == path), "{:?}", cgroups_of(t, c.pid()));
    delete(t, &systemd, &c.id).ok().silent();
    clear(t);
}

/// It would keep its name for ever.
fn failed_unit_of_the_same_name_is_forgotten(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t);
    systemd.has_failed(&unit(&bundle));
    let c = start(t, &systemd, &bundle);
    assert_eq!(systemd.methods(), ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]);
    delete(t, &systemd, &c.id).ok().silent();
    clear(t);
}

/// runc: SLICE:PREFIX:NAME.
fn path_that_is_no_unit_is_refused(t: &Test) {
    let systemd = Systemd::start(t);
    for path in ["/a/b", "a.slice:teu", "a.slice:teu:b:c", "a:teu:b", "../a.slice:teu:b", "a.slice:teu:b/c"] {
        let bundle = bundle(t).set("/linux/cgroupsPath", path);
        call(t, &systemd, &["create"], &bundle).run().fails(&["/linux/cgroupsPath"]);
    }
    assert!(systemd.methods().is_empty(), "{:?}", systemd.methods());
}

/// Two containers cannot be one unit, and the first must not be harmed.
fn unit_that_runs_is_refused(t: &Test) {
    let systemd = Systemd::start(t);
    let first = bundle(t);
    let path = format!("{}.slice:teu:{}", t.token(), first.id());
    let c = start(t, &systemd, &first);
    let second = bundle(t).set("/linux/cgroupsPath", path);
    call(t, &systemd, &["create"], &second).run().fails(&["UnitExists", "/linux/cgroupsPath"]);
    assert_eq!(systemd.units(), [unit(&first)]);
    assert_eq!(c.status(), "running");
    delete(t, &systemd, &c.id).ok().silent();
    clear(t);
}

/// The bus of a user is started by the first who connects.
fn systemd_that_comes_late_to_its_bus_is_waited_for(t: &Test) {
    let systemd = Systemd::start(t);
    systemd.fault(Fault::Late);
    let bundle = bundle(t);
    let c = start(t, &systemd, &bundle);
    assert_eq!(systemd.count("Ping"), 1);
    delete(t, &systemd, &c.id).ok().silent();
    clear(t);
}

/// runc: properties until the unit ends, then files. The driver comes from the state.
fn update_tells_systemd_and_writes_files(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t);
    let pids = directory(t, "pids", &bundle);
    let c = start(t, &systemd, &bundle);
    systemd.serves(t.cmd(["update", "--pids-limit", "30", "--cpu-share", "100", &c.id])).run().ok().silent();
    let body = systemd.asked("SetUnitProperties");
    assert_eq!((&body[0], &body[1]), (&json!(unit(&bundle)), &json!(true)));
    let is_v2 = t.view() == View::V2;
    let (name, value) = if is_v2 { ("CPUWeight", 17) } else { ("CPUShares", 100) };
    assert_eq!(systemd.properties("SetUnitProperties"), json!({ "TasksMax": 30, name: value }));
    assert_eq!(file(pids, "pids.max"), "30");
    // What has no property needs no systemd.
    let calls = systemd.methods().len();
    if !is_v2 {
        t.cmd(["update", "--memory-reservation", "33554432", &c.id]).run().ok().silent();
    }
    assert_eq!(systemd.methods().len(), calls);
    delete(t, &systemd, &c.id).ok().silent();
    clear(t);
}

/// All or nothing.
fn update_that_systemd_refuses_changes_nothing(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t).set("/linux/resources/pids", json!({ "limit": 20 }));
    let pids = directory(t, "pids", &bundle);
    let c = start(t, &systemd, &bundle);
    let error = "org.freedesktop.DBus.Error.InvalidArgs";
    systemd.fault(Fault::Refuses("SetUnitProperties", error, "Value for TasksMax is odd"));
    let update = || systemd.serves(t.cmd(["update", "--pids-limit", "30", &c.id])).run();
    update().fails(&["Value for TasksMax is odd", "/linux/resources/pids/limit"]);
    assert_eq!(file(pids.clone(), "pids.max"), "20");
    systemd.fault(Fault::HangsUp("SetUnitProperties"));
    update().fails(&["closed the connection"]);
    assert_eq!(file(pids, "pids.max"), "20");
    systemd.fault(Fault::None);
    delete(t, &systemd, &c.id).ok().silent();
    clear(t);
}

/// The properties too are what they were.
fn update_that_the_kernel_refuses_is_taken_back(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t).set("/linux/resources/pids", json!({ "limit": 20 }));
    let pids = directory(t, "pids", &bundle);
    directory(t, "cpuset", &bundle);
    let c = start(t, &systemd, &bundle);
    let change = json!({ "pids": { "limit": 30 }, "cpu": { "cpus": "4000" } }).to_string();
    let cmd = systemd.serves(t.cmd(["update", "--resources", "-", &c.id])).stdin(change);
    cmd.run().fails(&["/linux/resources/cpu/cpus"]);
    assert_eq!(file(pids, "pids.max"), "20");
    assert_eq!(systemd.properties("SetUnitProperties")["TasksMax"], 20);
    delete(t, &systemd, &c.id).ok().silent();
    clear(t);
}

/// A scope ends by itself when its last process does.
fn unit_that_is_gone_does_not_keep_a_container(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t);
    let c = start(t, &systemd, &bundle);
    let name = "org.freedesktop.systemd1.NoSuchUnit";
    systemd.fault(Fault::Refuses("StopUnit", name, "Unit not loaded."));
    delete(t, &systemd, &c.id).ok().silent();
    assert!(cgroup::find(&unit(&bundle)).is_empty());
    clear(t);
}

/// What is left of it are cgroups, which the kernel removes.
fn bus_that_is_gone_does_not_keep_a_container(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t);
    let c = start(t, &systemd, &bundle);
    let out =
        t.cmd(["delete", "--force", &c.id]).env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere").run().ok();
    assert!(out.log.iter().any(|record| record["level"] == "warning"), "{}", out.report());
    assert!(cgroup::find(&unit(&bundle)).is_empty());
    clear(t);
}

/// Everything after the start works by the cgroup alone.
fn container_is_paused_and_entered_by_its_cgroup(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t);
    let c = start(t, &systemd, &bundle);
    let out = c.exec_sh(&[], "cat /proc/self/cgroup").ok();
    assert!(out.stdout.contains(&unit(&bundle)), "{}", out.report());
    c.call("pause", &[]).ok();
    assert_eq!(c.status(), "paused");
    c.call("resume", &[]).ok();
    assert_eq!(c.status(), "running");
    let own = c.pid().to_string();
    assert!(c.call("ps", &[]).ok().stdout.contains(&own));
    c.kill("KILL");
    c.wait_stopped();
    systemd.serves(t.cmd(["delete", &c.id])).run().ok().silent();
    clear(t);
}

/// Its own cgroup is made after the clone, so the child is given what it cannot have inherited.
fn cgroup_mount_shows_the_unit(t: &Test) {
    let systemd = Systemd::start(t);
    for own_namespace in [false, true] {
        let bundle = bundle(t)
            .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"])
            .sh(&show_cgroup(t, own_namespace));
        let bundle = if own_namespace { bundle.namespace("cgroup", None) } else { bundle };
        let out = call(t, &systemd, &["run"], &bundle).run().ok();
        assert_eq!(out.stdout, "1\n", "own namespace: {own_namespace}\n{}", out.report());
    }
    clear(t);
}

/// A shell line that prints 1 when process 1 is in the cgroup that is mounted.
fn show_cgroup(t: &Test, own_namespace: bool) -> String {
    match (t.view(), own_namespace) {
        (View::V2, true) => "grep -cx 1 /sys/fs/cgroup/cgroup.procs".to_owned(),
        // The tree of the host, in which the own cgroup is at its path.
        (View::V2, false) => format!("ls /sys/fs/cgroup | grep -cx {}.slice", t.token()),
        _ => "grep -cx 1 /sys/fs/cgroup/pids/cgroup.procs".to_owned(),
    }
}

/// The same when the mount is made with fewer privileges.
fn cgroup_mount_in_a_user_namespace_shows_the_unit(t: &Test) {
    let systemd = Systemd::start(t);
    let bundle = bundle(t)
        .in_user_namespace()
        .namespace("cgroup", None)
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"])
        .sh(&show_cgroup(t, true));
    let out = call(t, &systemd, &["run"], &bundle).run().ok();
    assert_eq!(out.stdout, "1\n", "{}", out.report());
    clear(t);
}
