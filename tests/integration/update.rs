//! `update`: other limits for a container that exists.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Container, Out, Test, View, cgroup};

cases![
    pids_limit_is_set,
    memory_limits_take_suffixes,
    lifting_memory_lifts_swap,
    memory_of_zero_changes_nothing,
    idle_cgroup_stays_idle_over_other_changes,
    weight_that_others_set_comes_back_after_an_error,
    quota_and_period_keep_each_other,
    shares_are_set,
    burst_is_set,
    idle_is_set,
    cpuset_is_set,
    weight_of_block_io_is_set,
    long_options_may_have_one_dash,
    resources_come_from_a_file,
    resources_come_from_standard_input,
    standard_input_is_read_up_to_the_end_of_the_value,
    resources_take_the_place_of_other_options,
    nothing_to_change_succeeds,
    null_is_absent,
    resources_that_are_no_json_are_refused,
    wrong_type_is_named,
    value_that_is_no_amount_is_refused,
    previous_values_come_back_after_an_error,
    values_that_were_never_set_come_back_after_an_error,
    limit_below_the_usage_is_refused,
    unified_is_set_on_version_2,
    unified_files_come_back_after_an_error,
    unified_is_refused_on_version_1,
    devices_stay_as_others_have_made_them,
    devices_of_the_change_are_ignored,
    kernel_memory_is_accepted_without_effect,
    schemata_without_a_resctrl_file_system_are_refused,
    created_container_can_be_updated,
    paused_container_can_be_updated_and_stays_paused,
    stopped_container_cannot_be_updated,
    unknown_container_cannot_be_updated,
    driver_comes_from_the_state,
    limits_are_remembered_in_the_state,
    update_waits_for_other_commands,
    updates_at_the_same_time_all_count,
];

/// The content of a file of the container's cgroup; the test is skipped where the controller or the file is not.
fn file(t: &Test, c: &Container, controller: &str, v1: &str, v2: &str) -> String {
    let Some(hierarchy) = cgroup::hierarchy(controller) else {
        t.skip(format!("no hierarchy here has the {controller} controller"))
    };
    let path = hierarchy.of(&c.id).join(if hierarchy.v2 { v2 } else { v1 });
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().to_owned(),
        Err(_) => t.skip(format!("this kernel has no {}", path.file_name().unwrap().display())),
    }
}

fn need(t: &Test, controller: &str) {
    if cgroup::hierarchy(controller).is_none() {
        t.skip(format!("no hierarchy here has the {controller} controller"));
    }
}

fn pids_max(t: &Test, c: &Container) -> String {
    file(t, c, "pids", "pids.max", "pids.max")
}

/// A limit that can be set in this view, as JSON: that of processes, or one that every cgroup of version 2 has.
fn change(t: &Test, limit: u32) -> String {
    let change = if t.view() == View::V2 {
        json!({ "unified": { "cgroup.max.descendants": limit.to_string() } })
    } else {
        json!({ "pids": { "limit": limit } })
    };
    change.to_string()
}

/// What that limit is now.
fn limit(t: &Test, c: &Container) -> String {
    if t.view() == View::V2 { core_file(t, c, "cgroup.max.descendants") } else { pids_max(t, c) }
}

fn sleeper(t: &Test) -> Container<'_> {
    t.bundle().args(["sleep", "100"]).run_detached()
}

fn from_stdin(t: &Test, c: &Container, text: impl Into<Vec<u8>>) -> Out {
    t.cmd(["update", "--resources", "-", &c.id]).stdin(text).run()
}

/// runc: -1 is no limit, and 0 the one process that is there.
fn pids_limit_is_set(t: &Test) {
    need(t, "pids");
    let c = sleeper(t);
    for (given, expected) in [("20", "20"), ("-1", "max"), ("5", "5")] {
        c.call("update", &["--pids-limit", given]).ok().silent();
        assert_eq!(pids_max(t, &c), expected, "{given}");
    }
    if t.is("teu") {
        c.call("update", &["--pids-limit=0"]).ok().silent();
        assert_eq!(pids_max(t, &c), "1");
    }
}

/// runc: binary suffixes in any case.
fn memory_limits_take_suffixes(t: &Test) {
    t.skip_for("crun", "takes numbers alone");
    need(t, "memory");
    let c = sleeper(t);
    let limit = || file(t, &c, "memory", "memory.limit_in_bytes", "memory.max");
    for (given, megabytes) in [("64m", 64), ("0.125G", 128), ("32MiB", 32), ("50331648", 48), ("65536 k", 64)]
    {
        c.call("update", &["--memory", given]).ok().silent();
        assert_eq!(limit(), (megabytes << 20).to_string(), "{given}");
    }
    c.call("update", &["--memory-reservation", "16M"]).ok();
    assert_eq!(file(t, &c, "memory", "memory.soft_limit_in_bytes", "memory.low"), (16 << 20).to_string());
    c.call("update", &["--memory-swap=128M"]).ok();
    let (both, alone) = ((128 << 20).to_string(), (64 << 20).to_string());
    let swap = file(t, &c, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    assert!(swap == both || swap == alone, "{swap}");
    assert_eq!(limit(), (64 << 20).to_string());
    // Beyond the old limit of both: both go up.
    c.call("update", &["--memory", "256m", "--memory-swap", "256m"]).ok();
    assert_eq!(limit(), (256 << 20).to_string());
}

/// A limit of both below no limit would be an error.
fn lifting_memory_lifts_swap(t: &Test) {
    need(t, "memory");
    let memory = json!({ "limit": 64 << 20, "swap": 64 << 20 });
    let c = t.bundle().set("/linux/resources/memory", memory).args(["sleep", "100"]).run_detached();
    c.call("update", &["--memory", "-1"]).ok();
    for (v1, v2) in
        [("memory.limit_in_bytes", "memory.max"), ("memory.memsw.limit_in_bytes", "memory.swap.max")]
    {
        let value = file(t, &c, "memory", v1, v2);
        let lifted = value == "max" || value.parse::<u64>().is_ok_and(|bytes| bytes > 1 << 62);
        assert!(lifted, "{v1}: {value}");
    }
}

/// runc: 0 leaves a value as it is, and is not remembered.
fn memory_of_zero_changes_nothing(t: &Test) {
    need(t, "memory");
    t.skip_older("runc", (1, 2), "takes 0 for a limit");
    let c = t.bundle().set("/linux/resources/memory/limit", 64 << 20).args(["sleep", "100"]).run_detached();
    c.call("update", &["--memory", "0", "--memory-reservation", "0"]).ok();
    c.call("update", &["--memory-swap", "100m"]).ok();
    assert_eq!(file(t, &c, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    let swap = if t.view() == View::V2 { 36 << 20 } else { 100 << 20 };
    assert_eq!(file(t, &c, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max"), swap.to_string());
}

/// An idle cgroup has no shares, also not those of the config.
fn idle_cgroup_stays_idle_over_other_changes(t: &Test) {
    t.only_teu("runc writes the shares, and fails");
    need(t, "cpu");
    let cpu = json!({ "idle": 1, "shares": 512 });
    let c = t.bundle().set("/linux/resources/cpu", cpu).args(["sleep", "100"]).run_detached();
    c.call("update", &["--cpu-quota", "5000"]).ok();
    assert_eq!(file(t, &c, "cpu", "cpu.idle", "cpu.idle"), "1");
    c.call("update", &["--cpu-idle", "0", "--cpu-share", "2048"]).ok();
    assert_eq!(file(t, &c, "cpu", "cpu.idle", "cpu.idle"), "0");
}

/// The kernel takes the weight of a cgroup that is made idle.
fn weight_that_others_set_comes_back_after_an_error(t: &Test) {
    t.only_teu("others do not take back what fails halfway");
    need(t, "cpu");
    let c = t.bundle().args(["sleep", "100"]).run_detached();
    let hierarchy = cgroup::hierarchy("cpu").unwrap();
    let name = if hierarchy.v2 { "cpu.weight" } else { "cpu.shares" };
    fs::write(hierarchy.of(&c.id).join(name), "700").unwrap();
    let change = json!({ "cpu": { "idle": 1, "quota": 5000, "burst": 6000 } }).to_string();
    let out = t.cmd(["update", "--resources", "-", &c.id]).stdin(change).run();
    assert_ne!(out.code, Some(0), "{}", out.report());
    assert_eq!(file(t, &c, "cpu", "cpu.shares", "cpu.weight"), "700");
}

/// runc: what is not given stays, also over several updates.
fn quota_and_period_keep_each_other(t: &Test) {
    need(t, "cpu");
    let cpu = json!({ "quota": 50_000, "period": 100_000 });
    let c = t.bundle().set("/linux/resources/cpu", cpu).args(["sleep", "100"]).run_detached();
    let pair = || {
        if t.view() == View::V2 {
            return file(t, &c, "cpu", "", "cpu.max");
        }
        let read = |name| file(t, &c, "cpu", name, "");
        format!("{} {}", read("cpu.cfs_quota_us"), read("cpu.cfs_period_us"))
    };
    c.call("update", &["--cpu-quota", "20000"]).ok();
    assert_eq!(pair(), "20000 100000");
    c.call("update", &["--cpu-period", "50000"]).ok();
    assert_eq!(pair(), "20000 50000");
    c.call("update", &["--cpu-quota", "-1"]).ok();
    assert!(matches!(pair().as_str(), "-1 50000" | "max 50000"), "{}", pair());
}

/// runc.
fn shares_are_set(t: &Test) {
    need(t, "cpu");
    let c = sleeper(t);
    c.call("update", &["--cpu-share", "512"]).ok();
    let shares = file(t, &c, "cpu", "cpu.shares", "cpu.weight");
    assert!(shares == "512" || shares == "59" || shares == "20", "{shares}");
}

/// runc since 1.2.
fn burst_is_set(t: &Test) {
    need(t, "cpu");
    t.skip_older("runc", (1, 2), "has no such option");
    t.skip_for("crun", "has no such option");
    let cpu = json!({ "quota": 50_000, "period": 100_000 });
    let c = t.bundle().set("/linux/resources/cpu", cpu).args(["sleep", "100"]).run_detached();
    for burst in ["10000", "0"] {
        c.call("update", &["--cpu-burst", burst]).ok();
        assert_eq!(file(t, &c, "cpu", "cpu.cfs_burst_us", "cpu.max.burst"), burst);
    }
}

/// runc since 1.2.
fn idle_is_set(t: &Test) {
    need(t, "cpu");
    t.skip_older("runc", (1, 2), "has no such option");
    t.skip_for("crun", "has no such option");
    let c = sleeper(t);
    for idle in ["1", "0"] {
        c.call("update", &["--cpu-idle", idle]).ok();
        assert_eq!(file(t, &c, "cpu", "cpu.idle", "cpu.idle"), idle);
    }
    let out = c.call("update", &["--cpu-idle", "2"]).fails(&[]);
    if t.is("teu") {
        out.fails(&["/linux/resources/cpu/idle"]);
    }
}

/// A running process moves at once.
fn cpuset_is_set(t: &Test) {
    need(t, "cpuset");
    let c = sleeper(t);
    c.call("update", &["--cpuset-cpus", "0", "--cpuset-mems", "0"]).ok();
    assert_eq!(file(t, &c, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(file(t, &c, "cpuset", "cpuset.mems", "cpuset.mems"), "0");
    let status = fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    c.call("update", &["--cpuset-cpus", "zero"]).fails(&[]);
    assert_eq!(file(t, &c, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
}

/// runc.
fn weight_of_block_io_is_set(t: &Test) {
    let c = sleeper(t);
    let hierarchy = cgroup::hierarchy("blkio").or_else(|| cgroup::hierarchy("io"));
    let Some(hierarchy) = hierarchy else { t.skip("no hierarchy here has the controller of block io") };
    let names = ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight"];
    let dir = hierarchy.of(&c.id);
    let Some(name) = names.iter().find(|name| dir.join(name).exists()) else {
        if t.is("teu") {
            c.call("update", &["--blkio-weight", "500"]).fails(&["/linux/resources/blockIO/weight"]);
        }
        t.skip("this kernel has no weights of block io");
    };
    c.call("update", &["--blkio-weight", "500"]).ok();
    let value = fs::read_to_string(dir.join(name)).unwrap();
    assert!(value.contains("500") || value.contains("4950"), "{name}: {value}");
}

/// Go's parser.
fn long_options_may_have_one_dash(t: &Test) {
    t.skip_for("crun", "has another parser");
    need(t, "pids");
    let c = sleeper(t);
    c.call("update", &["-pids-limit", "30"]).ok();
    assert_eq!(pids_max(t, &c), "30");
    c.call("update", &["-pids-limit=-1"]).ok();
    assert_eq!(pids_max(t, &c), "max");
}

/// podman: `--resources=/tmp/podmanN`.
fn resources_come_from_a_file(t: &Test) {
    let c = sleeper(t);
    for (option, number) in [("--resources=", 40), ("-r", 41), ("--resources", 42)] {
        let path = t.make_file("resources", change(t, number));
        let path = path.to_string_lossy();
        match option.strip_suffix('=') {
            Some(_) => c.call("update", &[&format!("{option}{path}")]),
            None => c.call("update", &[option, &path]),
        }
        .ok()
        .silent();
        assert_eq!(limit(t, &c), number.to_string());
    }
    c.call("update", &["--resources", "/nowhere/resources"]).fails(&[]);
}

/// containerd: `--resources=-`, CRI-O: `--resources -`.
fn resources_come_from_standard_input(t: &Test) {
    let c = sleeper(t);
    let mut all: Value = serde_json::from_str(&change(t, 50)).unwrap();
    if !t.is("crun") {
        // crun asks for the controllers of empty sections too.
        for member in ["memory", "cpu", "blockIO"] {
            all[member] = json!({});
        }
    }
    t.cmd(["update", "--resources=-", &c.id]).stdin(all.to_string()).run().ok().silent();
    assert_eq!(limit(t, &c), "50");
    from_stdin(t, &c, change(t, 51)).ok().silent();
    assert_eq!(limit(t, &c), "51");
    t.cmd(["update", "-r", "-", &c.id]).stdin(change(t, 52)).run().ok();
    assert_eq!(limit(t, &c), "52");
}

/// runc: whoever writes may keep the pipe open.
fn standard_input_is_read_up_to_the_end_of_the_value(t: &Test) {
    t.skip_for("crun", "reads to the end");
    let c = sleeper(t);
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let mut writer = File::from(writer);
    let running = t.cmd(["update", "--resources", "-", &c.id]).stdin_fd(reader).spawn();
    let text = change(t, 60);
    let (first, second) = text.split_at(12);
    writer.write_all(first.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    writer.write_all(second.as_bytes()).unwrap();
    running.wait().ok().silent();
    drop(OwnedFd::from(writer));
    assert_eq!(limit(t, &c), "60");
}

/// runc.
fn resources_take_the_place_of_other_options(t: &Test) {
    let c = sleeper(t);
    let path = t.make_file("resources", change(t, 70));
    c.call("update", &["--pids-limit", "71", "--resources", &path.to_string_lossy()]).ok();
    assert_eq!(limit(t, &c), "70");
}

/// podman calls it without any option.
fn nothing_to_change_succeeds(t: &Test) {
    let c = sleeper(t);
    c.call("update", &[]).ok().silent();
    from_stdin(t, &c, "{}").ok().silent();
    if !t.is("crun") {
        from_stdin(t, &c, r#"{"memory":{},"cpu":{},"pids":{},"blockIO":{}}"#).ok().silent();
    }
    assert_eq!(c.status(), "running");
}

/// Go writes null for what is empty.
fn null_is_absent(t: &Test) {
    t.skip_for("crun", "refuses it");
    t.skip_for("runc", "panics");
    let c = sleeper(t);
    from_stdin(t, &c, r#"{"memory":null,"cpu":{"shares":null,"cpus":""},"pids":null,"devices":null}"#)
        .ok()
        .silent();
}

/// Nothing must be read into them.
fn resources_that_are_no_json_are_refused(t: &Test) {
    t.skip_for("crun", "takes some of it for nothing to change");
    let c = sleeper(t);
    for text in ["", "lots", "[]", "\"x\"", "{\"memory\":", "{\"pids\":{\"limit\":1}"] {
        from_stdin(t, &c, text).fails(&[]);
    }
    if t.is("teu") {
        from_stdin(t, &c, r#"{"pids":{"limit":1},"pids":{"limit":2}}"#).fails(&["duplicate key"]);
    }
}

/// With its place.
fn wrong_type_is_named(t: &Test) {
    t.only_teu("others name the type of their own language");
    let c = sleeper(t);
    from_stdin(t, &c, r#"{"memory":{"limit":"64m"}}"#).fails(&["/memory/limit"]);
    from_stdin(t, &c, r#"{"cpu":{"cpus":5}}"#).fails(&["/cpu/cpus"]);
}

/// runc: exit code 1.
fn value_that_is_no_amount_is_refused(t: &Test) {
    t.skip_for("crun", "takes what strtoll takes");
    let c = sleeper(t);
    for options in [
        &["--memory", "lots"][..],
        &["--memory", "1x"],
        &["--memory-swap", "-2"],
        &["--pids-limit", "many"],
        &["--cpu-quota", "1.5"],
        &["--cpu-period", "-1"],
        &["--blkio-weight", "70000"],
    ] {
        let out = c.call("update", options).fails(&[]);
        assert_eq!(out.code, Some(1), "{}", out.report());
    }
}

/// runc: all or nothing. No host has processor 4000.
fn previous_values_come_back_after_an_error(t: &Test) {
    need(t, "pids");
    need(t, "cpuset");
    let c = t.bundle().set("/linux/resources/pids/limit", 30).args(["sleep", "100"]).run_detached();
    c.call("update", &["--pids-limit", "7", "--cpuset-cpus", "4000"]).fails(&[]);
    assert_eq!(pids_max(t, &c), "30");
    c.call("update", &["--pids-limit", "8"]).ok();
    c.call("update", &["--pids-limit", "9", "--cpuset-cpus", "4000"]).fails(&[]);
    assert_eq!(pids_max(t, &c), "8");
}

/// What the config does not name has a value all the same.
fn values_that_were_never_set_come_back_after_an_error(t: &Test) {
    t.only_teu("others bring back what the config names");
    for controller in ["pids", "cpuset", "cpu", "memory"] {
        need(t, controller);
    }
    let c = sleeper(t);
    let files = || {
        [
            pids_max(t, &c),
            file(t, &c, "cpu", "cpu.shares", "cpu.weight"),
            file(t, &c, "cpu", "cpu.cfs_quota_us", "cpu.max"),
            file(t, &c, "memory", "memory.limit_in_bytes", "memory.max"),
            file(t, &c, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
        ]
    };
    let before = files();
    let options = [
        "--pids-limit=7",
        "--cpu-share=500",
        "--cpu-quota=50000",
        "--memory=64m",
        "--memory-swap=80m",
        "--cpuset-cpus=4000",
    ];
    c.call("update", &options).fails(&["/linux/resources/cpu/cpus"]);
    assert_eq!(files(), before);
    let state: Value =
        serde_json::from_slice(&fs::read(t.root().join(&c.id).join("state.json")).unwrap()).unwrap();
    assert!(state["own"]["resources"].is_null(), "{state}");
}

/// spec: checkBeforeUpdate; version 1 always refuses.
fn limit_below_the_usage_is_refused(t: &Test) {
    need(t, "memory");
    let c = t.bundle().sh("head -c 20000000 /dev/zero >/dev/shm/x; echo up; sleep 100").run_detached();
    c.wait_for_stdout("up");
    c.call("update", &["--memory", "67108864"]).ok();
    let text = r#"{"memory": {"limit": 4194304, "checkBeforeUpdate": true}}"#;
    let out = from_stdin(t, &c, text).fails(&[]);
    let words = if t.view() == View::V2 { "rejecting memory limit" } else { "unable to set memory limit" };
    out.fails(&[words]);
    assert_eq!(file(t, &c, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(c.status(), "running");
}

fn core_file(t: &Test, c: &Container, name: &str) -> String {
    if t.view() != View::V2 {
        t.skip("version 1 has no unified files");
    }
    fs::read_to_string(cgroup::freezer(&c.id).0.join(name)).unwrap().trim().to_owned()
}

/// spec: config-linux.md#unified.
fn unified_is_set_on_version_2(t: &Test) {
    let c = sleeper(t);
    assert_eq!(core_file(t, &c, "cgroup.max.depth"), "max");
    from_stdin(t, &c, r#"{"unified": {"cgroup.max.depth": "5", "cgroup.max.descendants": "6"}}"#)
        .ok()
        .silent();
    assert_eq!(core_file(t, &c, "cgroup.max.depth"), "5");
    assert_eq!(core_file(t, &c, "cgroup.max.descendants"), "6");
    from_stdin(t, &c, r#"{"unified": {"no-dot": "5"}}"#).fails(&[]);
}

/// Whatever was there.
fn unified_files_come_back_after_an_error(t: &Test) {
    t.only_teu("others bring back what the config names");
    let c = sleeper(t);
    let out = from_stdin(t, &c, r#"{"unified": {"cgroup.max.depth": "5", "cgroup.max.descendants": "x"}}"#);
    assert_eq!(core_file(t, &c, "cgroup.max.depth"), "max");
    out.fails(&["/linux/resources/unified/cgroup.max.descendants"]);
}

/// As create does.
fn unified_is_refused_on_version_1(t: &Test) {
    t.skip_for("crun", "ignores it");
    if t.view() == View::V2 {
        t.skip("this is version 2");
    }
    let c = sleeper(t);
    let out = from_stdin(t, &c, r#"{"unified": {"memory.high": "32M"}}"#).fails(&[]);
    if t.is("teu") {
        out.fails(&["/linux/resources/unified"]);
    }
}

/// A container that tries a device at each SIGUSR1: the memory of the host, which nobody may read.
fn trier<'t>(t: &'t Test) -> Container<'t> {
    let capabilities =
        json!({ "bounding": ["CAP_MKNOD"], "effective": ["CAP_MKNOD"], "permitted": ["CAP_MKNOD"] });
    let script = "mknod /tmp/mem c 1 1; trap '(exec 3</tmp/mem) 2>/dev/null && echo opened || echo refused; \
                  (exec 3</dev/null) && echo null' USR1; echo up; while :; do usleep 10000; done";
    let c = t.bundle().set("/process/capabilities", capabilities).sh(script).run_detached();
    c.wait_for_stdout("up\n");
    c
}

/// Device plugins add rules behind the runtime's back.
fn devices_stay_as_others_have_made_them(t: &Test) {
    t.skip_for("crun", "may apply those of the change");
    need(t, "pids");
    let Some(devices) = cgroup::hierarchy("devices") else { t.skip("version 2 does not show its rules") };
    let c = trier(t);
    let dir = devices.of(&c.id);
    fs::write(dir.join("devices.allow"), "c 240:7 rw").unwrap();
    let rules = fs::read_to_string(dir.join("devices.list")).unwrap();
    assert!(rules.contains("c 240:7 rw"), "{rules}");
    c.call("update", &["--pids-limit", "33"]).ok();
    from_stdin(t, &c, r#"{"pids": {"limit": 34}, "devices": [{"allow": false, "access": "rwm"}]}"#).ok();
    assert_eq!(pids_max(t, &c), "34");
    assert_eq!(fs::read_to_string(dir.join("devices.list")).unwrap(), rules);
    c.kill("USR1");
    c.wait_for_stdout("refused\nnull\n");
}

/// A change of limits is none of devices.
fn devices_of_the_change_are_ignored(t: &Test) {
    t.skip_for("crun", "may apply them");
    let c = trier(t);
    from_stdin(t, &c, r#"{"devices": [{"allow": true, "access": "rwm"}]}"#).ok();
    c.kill("USR1");
    c.wait_for_stdout("refused\nnull\n");
}

/// runc: a warning.
fn kernel_memory_is_accepted_without_effect(t: &Test) {
    t.skip_for("crun", "may apply it");
    let c = sleeper(t);
    let out = c.call("update", &["--kernel-memory", "64m", "--kernel-memory-tcp=1g"]).ok();
    if t.is("teu") {
        let warnings: Vec<_> = out.log.iter().filter(|record| record["level"] == "warning").collect();
        assert_eq!(warnings.len(), 2, "{}", out.report());
        assert!(out.log_text.contains("--kernel-memory-tcp is ignored"), "{}", out.report());
        out.silent();
    }
}

/// The other limits are those of before.
fn schemata_without_a_resctrl_file_system_are_refused(t: &Test) {
    t.skip_for("crun", "has no such options");
    if fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
        t.skip("this machine has the resctrl file system");
    }
    let c = sleeper(t);
    from_stdin(t, &c, change(t, 30)).ok();
    for (option, schema) in [("--l3-cache-schema", "L3:0=f"), ("--mem-bw-schema", "MB:0=20")] {
        let out = t.cmd(["update", option, schema, "-r", "-", &c.id]).stdin(change(t, 31)).run().fails(&[]);
        if t.is("teu") {
            out.fails(&["the resctrl file system is not mounted"]);
            assert_eq!(limit(t, &c), "30");
        }
    }
    if t.is("teu") {
        t.cmd(["update", "--mem-bw-schema", "L3:0=f", &c.id]).run().fails(&["--mem-bw-schema"]);
    }
}

/// runc: only a stopped one cannot.
fn created_container_can_be_updated(t: &Test) {
    let c = t.bundle().sh("sleep 100").create();
    from_stdin(t, &c, change(t, 20)).ok().silent();
    assert_eq!(limit(t, &c), "20");
    c.start();
    assert_eq!(limit(t, &c), "20");
}

/// runc.
fn paused_container_can_be_updated_and_stays_paused(t: &Test) {
    let c = sleeper(t);
    c.call("pause", &[]).ok();
    c.call("update", &[]).ok().silent();
    assert_eq!(c.status(), "paused");
    from_stdin(t, &c, change(t, 20)).ok().silent();
    assert_eq!(limit(t, &c), "20");
    assert_eq!(c.status(), "paused");
}

/// runc: these words.
fn stopped_container_cannot_be_updated(t: &Test) {
    t.skip_for("crun", "says that all is well");
    let c = t.bundle().run_detached();
    c.wait_stopped();
    c.call("update", &["--pids-limit", "10"]).fails(&["container not running"]);
    let out = from_stdin(t, &c, "{}").fails(&["container not running"]);
    assert_eq!(out.code, Some(1));
}

/// Engines look for these words. It does not take the end of standard input to find out.
fn unknown_container_cannot_be_updated(t: &Test) {
    let out = t.cmd(["update", "--pids-limit", "10", "unknown"]).run().fails(&["does not exist"]);
    assert_eq!(out.code, Some(1));
    if t.is("teu") {
        let (reader, _writer) = nix::unistd::pipe().unwrap();
        t.cmd(["update", "-r", "-", "unknown"]).stdin_fd(reader).run().fails(&["does not exist"]);
    }
}

/// CRI-O says nothing of systemd at an update, others say it always.
fn driver_comes_from_the_state(t: &Test) {
    t.only_teu("others ask for a systemd that is not there");
    let c = sleeper(t);
    t.cmd(["--systemd-cgroup", "update", "-r", "-", &c.id]).stdin(change(t, 20)).run().ok().silent();
    assert_eq!(limit(t, &c), "20");
}

/// The next update starts from them. The bundle stays as it is.
fn limits_are_remembered_in_the_state(t: &Test) {
    t.only_teu("the state has its own form");
    let bundle = t.bundle().args(["sleep", "100"]);
    let c = bundle.run_detached();
    let config = fs::read(bundle.dir().join("config.json")).unwrap();
    let state = || -> Value {
        serde_json::from_slice(&fs::read(t.root().join(&c.id).join("state.json")).unwrap()).unwrap()
    };
    let before = state();
    assert!(before["own"]["resources"].is_null(), "{before}");
    from_stdin(t, &c, change(t, 12)).ok();
    let after = state();
    assert_eq!(after["own"]["resources"].to_string(), change(t, 12));
    for member in ["id", "init_process_pid", "init_process_start", "created", "cgroup_paths", "config"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    assert_eq!(fs::read(bundle.dir().join("config.json")).unwrap(), config);
    assert_eq!(c.status(), "running");
}

/// Two commands must not work on one container at a time.
fn update_waits_for_other_commands(t: &Test) {
    t.only_teu("the lock is its own");
    let c = sleeper(t);
    let lock = super::pause::hold_lock(t, &c.id);
    let mut running = t.cmd(["update", &c.id]).spawn();
    std::thread::sleep(Duration::from_millis(100));
    assert!(!running.has_ended(), "it did not wait");
    drop(lock);
    running.wait().ok().silent();
}

/// Each starts from what the one before has left.
fn updates_at_the_same_time_all_count(t: &Test) {
    t.only_teu("others have no lock");
    need(t, "memory");
    need(t, "cpu");
    let c = sleeper(t);
    let calls = [
        ["--memory", "64m"],
        ["--memory-reservation", "32m"],
        ["--cpu-quota", "50000"],
        ["--cpu-share", "300"],
        ["--cpu-period", "200000"],
    ];
    let running: Vec<_> =
        calls.iter().map(|[name, value]| t.cmd(["update", name, value, &c.id]).spawn()).collect();
    for running in running {
        running.wait().ok().silent();
    }
    let state: Value =
        serde_json::from_slice(&fs::read(t.root().join(&c.id).join("state.json")).unwrap()).unwrap();
    assert_eq!(
        state["own"]["resources"],
        json!({
            "memory": { "limit": 64 << 20, "reservation": 32 << 20 },
            "cpu": { "quota": 50_000, "shares": 300, "period": 200_000 },
        })
    );
}
