//! Cgroups: where the container is, its limits, and what remains.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::harness::{Bundle, Caller, Container, Test, View, cgroup};

cases![
    container_is_in_the_cgroup_of_its_path,
    container_without_a_path_has_a_cgroup_named_after_its_id,
    memory_limit_is_set,
    pids_limit_is_set_and_holds,
    cpu_limits_are_set,
    cpuset_is_set,
    unlimited_values_are_accepted,
    nested_cgroups_of_the_container_are_removed,
    parent_of_the_cgroup_is_left,
    container_without_cgroups_shows_those_of_the_caller,
    empty_cgroup_that_is_there_is_used,
    frozen_cgroup_is_refused,
    init_without_memory_is_told_from_other_ends,
    unified_is_refused_on_version_1,
    device_program_is_attached_on_version_2,
    cgroup_path_cannot_leave_the_hierarchy,
    failing_create_leaves_no_cgroup,
];

fn file(t: &Test, c: &Container, controller: &str, v1: &str, v2: &str) -> String {
    let Some(hierarchy) = cgroup::hierarchy(controller) else {
        t.skip(format!("no hierarchy here has the {controller} controller"))
    };
    let path = hierarchy.of(&c.id).join(if hierarchy.v2 { v2 } else { v1 });
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

fn all(id: &str) -> Vec<PathBuf> {
    cgroup::find(id)
}

/// podman's `--cgroups disabled`, which goes to runtimes that know the option; it mounts them all the same.
fn container_without_cgroups_shows_those_of_the_caller(t: &Test) {
    t.skip_for("runc", "has no such option");
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let bundle = t
        .bundle()
        .without_mounts("/sys/fs/cgroup")
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro"])
        .sh("cat /proc/self/cgroup; find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs | head -n 1 | grep -c .; \
             mkdir /sys/fs/cgroup/x 2>/dev/null || echo read-only");
    let run = |bundle: &Bundle| {
        bundle.write();
        let out =
            t.cmd(["--cgroup-manager=disabled", "run", "--bundle"]).arg(bundle.dir()).arg(bundle.id()).run();
        assert!(all(bundle.id()).is_empty());
        out.ok().stdout
    };
    let bundle = bundle.without_namespace("cgroup");
    assert_eq!(run(&bundle), format!("{own}1\nread-only\n"));
    let bundle = bundle.namespace("cgroup", None);
    let text = run(&bundle);
    assert!(text.ends_with(":/\n1\nread-only\n"), "{text}");
}

/// runc: nobody would ever know why the container hangs.
fn frozen_cgroup_is_refused(t: &Test) {
    t.skip_for("crun", "hangs");
    let bundle = t.bundle();
    let hierarchy = cgroup::hierarchy("freezer").filter(|_| t.view() != View::V2);
    let (point, file, frozen, thawed) = match &hierarchy {
        Some(hierarchy) => (hierarchy.point.clone(), "freezer.state", "FROZEN", "THAWED"),
        None => (PathBuf::from("/sys/fs/cgroup"), "cgroup.freeze", "1", "0"),
    };
    let dir = point.join(bundle.id());
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(file), frozen).unwrap();
    let out = bundle.try_create();
    fs::write(dir.join(file), thawed).unwrap();
    fs::remove_dir(&dir).unwrap();
    out.fails(&["container's cgroup unexpectedly frozen"]);
}

/// runc; people and kubelet look for the word.
fn init_without_memory_is_told_from_other_ends(t: &Test) {
    t.skip_for("crun", "has words of its own");
    t.skip_for("runc", "needs more memory for itself, and says that");
    if cgroup::hierarchy("memory").is_none() {
        t.skip("no hierarchy here has the memory controller");
    }
    let bundle = t.bundle().set("/linux/resources/memory", json!({ "limit": 4096, "swap": 4096 }));
    bundle.try_create().fails(&["OOM-killed"]);
}

/// config-linux.md#cgroups-path.
fn container_is_in_the_cgroup_of_its_path(t: &Test) {
    let bundle = t.bundle();
    let path = format!("/{}-a/b/c", bundle.id());
    let c = bundle.set("/linux/cgroupsPath", path.as_str()).args(["sleep", "100"]).run_detached();
    let text = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    for line in text.lines() {
        let controllers = line.split(':').nth(1).unwrap_or_default();
        // In a hierarchy that is not mounted nothing can be made.
        let is_v2 = line.starts_with("0:");
        if t.view() == View::V2 && !is_v2 || t.view() == View::V1 && is_v2 {
            continue;
        }
        assert!(line.ends_with(&path), "{controllers}: {line}");
    }
    c.delete_force();
    for dir in all(&c.id).iter().rev() {
        fs::remove_dir(dir).unwrap();
    }
}

/// runc.
fn container_without_a_path_has_a_cgroup_named_after_its_id(t: &Test) {
    let c = t.bundle().unset("/linux/cgroupsPath").args(["sleep", "100"]).run_detached();
    let text = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    assert!(text.contains(&c.id), "{text}");
    c.delete_force();
    assert!(all(&c.id).is_empty(), "left: {:?}", all(&c.id));
}

/// config-linux.md#memory.
fn memory_limit_is_set(t: &Test) {
    let bundle = t.bundle().args(["sleep", "100"]);
    if cgroup::hierarchy("memory").is_some() {
        let bundle =
            bundle.set("/linux/resources/memory", json!({ "limit": 67_108_864, "reservation": 33_554_432 }));
        let c = bundle.run_detached();
        assert_eq!(file(t, &c, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
        assert_eq!(file(t, &c, "memory", "memory.soft_limit_in_bytes", "memory.low"), "33554432");
    } else if t.is("teu") {
        bundle
            .set("/linux/resources/memory/limit", 67_108_864)
            .try_create()
            .fails(&["/linux/resources/memory"]);
    } else {
        t.skip("no hierarchy here has the memory controller");
    }
}

/// config-linux.md#pids.
fn pids_limit_is_set_and_holds(t: &Test) {
    if cgroup::hierarchy("pids").is_none() {
        t.skip("no hierarchy here has the pids controller");
    }
    let bundle = t.bundle().set("/linux/resources/pids/limit", 4);
    let c = bundle.sh("echo up; sleep 100").run_detached();
    c.wait_for_stdout("up");
    assert_eq!(file(t, &c, "pids", "pids.max", "pids.max"), "4");
    let out = t
        .bundle()
        .set("/linux/resources/pids/limit", 4)
        .sh("for i in 1 2 3 4 5 6; do sleep 1 & done; wait")
        .run();
    assert!(out.stderr.contains("Resource temporarily unavailable"), "{}", out.report());
}

/// config-linux.md#cpu.
fn cpu_limits_are_set(t: &Test) {
    if cgroup::hierarchy("cpu").is_none() {
        t.skip("no hierarchy here has the cpu controller");
    }
    let cpu = json!({ "shares": 512, "quota": 50_000, "period": 100_000 });
    let c = t.bundle().set("/linux/resources/cpu", cpu).args(["sleep", "100"]).run_detached();
    let read = |v1, v2| file(t, &c, "cpu", v1, v2);
    if cgroup::hierarchy("cpu").is_some_and(|hierarchy| hierarchy.v2) {
        assert_eq!(read("", "cpu.max"), "50000 100000");
        // Others have the older of two formulas.
        let weight = read("", "cpu.weight");
        assert!(weight == "59" || weight == "20" && !t.is("teu"), "{weight}");
    } else {
        assert_eq!(read("cpu.shares", ""), "512");
        assert_eq!(read("cpu.cfs_quota_us", ""), "50000");
        assert_eq!(read("cpu.cfs_period_us", ""), "100000");
    }
    for (cpu, quota, period) in
        [(json!({ "quota": 5000 }), "5000", "100000"), (json!({ "period": 1_000_000 }), "max", "1000000")]
    {
        let c = t.bundle().set("/linux/resources/cpu", cpu).args(["sleep", "100"]).run_detached();
        if cgroup::hierarchy("cpu").is_some_and(|hierarchy| hierarchy.v2) {
            assert_eq!(file(t, &c, "cpu", "", "cpu.max"), format!("{quota} {period}"));
        } else {
            let quota = if quota == "max" { "-1" } else { quota };
            assert_eq!(file(t, &c, "cpu", "cpu.cfs_quota_us", ""), quota);
            assert_eq!(file(t, &c, "cpu", "cpu.cfs_period_us", ""), period);
        }
    }
}

/// config-linux.md#cpu.
fn cpuset_is_set(t: &Test) {
    if cgroup::hierarchy("cpuset").is_none() {
        t.skip("no hierarchy here has the cpuset controller");
    }
    let out = t
        .bundle()
        .set("/linux/resources/cpu", json!({ "cpus": "0", "mems": "0" }))
        .sh("grep Cpus_allowed_list /proc/self/status")
        .run()
        .ok();
    assert_eq!(out.stdout, "Cpus_allowed_list:\t0\n");
}

/// config-linux.md: -1.
fn unlimited_values_are_accepted(t: &Test) {
    if cgroup::hierarchy("memory").is_none() {
        t.skip("no hierarchy here has the memory controller");
    }
    let resources = json!({ "memory": { "limit": -1 }, "pids": { "limit": -1 }, "cpu": { "quota": -1 } });
    let c = t.bundle().set("/linux/resources", resources).args(["sleep", "100"]).run_detached();
    assert_eq!(file(t, &c, "pids", "pids.max", "pids.max"), "max");
    let memory = file(t, &c, "memory", "memory.limit_in_bytes", "memory.max");
    assert!(memory == "max" || memory.parse::<u64>().is_ok_and(|bytes| bytes > 1 << 62), "{memory}");
}

/// systemd in a container makes cgroups of its own.
fn nested_cgroups_of_the_container_are_removed(t: &Test) {
    if t.caller() != Caller::Root && t.view() != View::V2 {
        t.skip("version 1 cannot be delegated to the root of a user namespace");
    }
    let capabilities = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    let capabilities =
        json!({ "bounding": capabilities, "effective": capabilities, "permitted": capabilities });
    let dir = if t.view() == View::V2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
    let c = t
        .bundle()
        .set("/process/capabilities", capabilities)
        .namespace("cgroup", None)
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw", "nosuid", "noexec", "nodev"])
        .sh(&format!(
            "cd {dir} && mkdir -p a/b c && (sleep 100 & echo $! >a/b/cgroup.procs; echo moved; wait)"
        ))
        .run_detached();
    c.wait_for_stdout("moved");
    assert!(all(&c.id).iter().any(|dir| dir.ends_with("a/b")), "{:?}", all(&c.id));
    c.delete_force();
    assert!(all(&c.id).is_empty(), "left: {:?}", all(&c.id));
}

/// Directories above the own one may be shared.
fn parent_of_the_cgroup_is_left(t: &Test) {
    let bundle = t.bundle();
    let parent = format!("{}-parent", bundle.id());
    let hierarchy = cgroup::hierarchies().remove(0).point;
    fs::create_dir(hierarchy.join(&parent)).unwrap();
    t.caller().own(&hierarchy.join(&parent), None).unwrap();
    bundle.set("/linux/cgroupsPath", format!("/{parent}/child")).run().ok();
    assert!(hierarchy.join(&parent).is_dir(), "a cgroup that the runtime did not make is gone");
    for dir in all(&parent).iter().rev() {
        fs::remove_dir(dir).unwrap();
    }
}

/// An engine may make it to set what no runtime sets.
fn empty_cgroup_that_is_there_is_used(t: &Test) {
    let bundle = t.bundle().args(["sleep", "100"]);
    let hierarchy = cgroup::hierarchies().into_iter().next_back().unwrap();
    fs::create_dir(hierarchy.of(bundle.id())).unwrap();
    t.caller().own(&hierarchy.of(bundle.id()), None).unwrap();
    let c = bundle.run_detached();
    assert_eq!(cgroup::procs(&hierarchy.of(&c.id)), [c.pid()]);
    c.delete_force();
    let _ = fs::remove_dir(hierarchy.of(bundle.id()));
}

/// config-linux.md#unified.
fn unified_is_refused_on_version_1(t: &Test) {
    t.skip_for("crun", "ignores it");
    if t.view() == View::V2 {
        t.skip("this is version 2");
    }
    let out =
        t.bundle().set("/linux/resources/unified", json!({ "memory.high": "32M" })).try_create().fails(&[]);
    if t.is("teu") {
        out.fails(&["/linux/resources/unified"]);
    }
}

/// The same rules hold without a devices hierarchy.
fn device_program_is_attached_on_version_2(t: &Test) {
    if t.view() != View::V2 {
        t.skip("version 1 has a hierarchy for devices");
    }
    let capabilities =
        json!({ "bounding": ["CAP_MKNOD"], "effective": ["CAP_MKNOD"], "permitted": ["CAP_MKNOD"] });
    let script = "mknod /tmp/mem c 1 1 && echo made; (exec 3</tmp/mem) || echo refused; echo x >/dev/null && echo null";
    let out = t.bundle().set("/process/capabilities", capabilities).sh(script).run();
    assert_eq!(out.stdout, "made\nrefused\nnull\n", "{}", out.report());
}

/// A path is a list of names.
fn cgroup_path_cannot_leave_the_hierarchy(t: &Test) {
    t.only_teu(crate::harness::HOSTILE);
    for form in ["../../../tmp/ID", "/a/../../../../tmp/ID", "/ID/../../../../../../tmp/ID-x"] {
        let bundle = t.bundle();
        let path = form.replace("ID", bundle.id());
        let bundle = bundle.set("/linux/cgroupsPath", path.as_str());
        let out = bundle.try_create();
        let inside = all(bundle.id());
        t.cmd(["delete", "--force", bundle.id()]).run().ok();
        for dir in all(bundle.id()).iter().rev() {
            fs::remove_dir(dir).unwrap();
        }
        assert!(!fs::exists(format!("/tmp/{}", bundle.id())).unwrap(), "{path} left the hierarchy");
        assert!(out.code != Some(0) || !inside.is_empty(), "{}", out.report());
    }
}

/// runtime.md#errors.
fn failing_create_leaves_no_cgroup(t: &Test) {
    for bundle in [
        t.bundle().args(["/nowhere"]),
        t.bundle().mount("/x", "bind", "/nowhere", &["bind"]),
        t.bundle().hook("createRuntime", "exit 1"),
        t.bundle().set("/process/user/uid", 0).set("/process/cwd", "/proc/version"),
    ] {
        bundle.try_create().fails(&[]);
        assert!(all(bundle.id()).is_empty(), "left: {:?}", all(bundle.id()));
    }
}
