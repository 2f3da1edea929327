//! Where the types of the `oci-spec` crate do not say what the specification says.
//!
//! Each test first shows what the crate alone does, so that it fails when a release of the crate does otherwise and
//! the repair can go; then it shows what the loader makes of the same document.

use oci_spec::runtime::{
    ContainerState, Hook, IOPriorityClass, LinuxDeviceType, LinuxNamespaceType, LinuxSchedulerFlag, Process,
    Root, Spec,
};
use serde_json::{Value, json};

use super::{base, loaded, refusal, with};
use crate::config::properties::{FIELDS, FOREIGN};
use crate::config::{Warning, load_process};
use crate::plan::tests::facts;
use crate::state::Status;

/// The document as the crate alone reads it.
fn alone(document: &Value) -> Result<Spec, String> {
    serde_json::from_value(document.clone()).map_err(|error| error.to_string())
}

/// The base for the crate alone, which wants a user.
fn with_user(pointer: &str, value: Value) -> Value {
    let mut document = with(pointer, value);
    if document["process"].is_object() && document["process"]["user"].is_null() {
        document["process"]["user"] = json!({ "uid": 0, "gid": 0 });
    }
    document
}

/// The refusal of the plan, for what has a type but no meaning: `pointer: text`.
fn planned_refusal(document: &Value) -> String {
    let config = loaded(document).expect("the loader leaves it to the plan");
    let error = crate::plan::plan(&config, &facts::request(), &facts::host("root-v2")).expect_err("planned");
    format!("{}: {}", error.pointer().expect("a pointer"), error.doing())
}

fn linux(spec: &Spec) -> &oci_spec::runtime::Linux {
    spec.linux().as_ref().expect("linux")
}

fn process(spec: &Spec) -> &Process {
    spec.process().as_ref().expect("a process")
}

/// config.md#linux-process: a name that is not known is for the plan to judge, with its pointer.
#[test]
fn names_of_capabilities_survive_as_they_are_written() {
    let document =
        |name: &str| with_user("/process/capabilities", json!({ "bounding": [name, "CAP_KILL", name] }));
    assert!(alone(&document("CAP_FOO")).unwrap_err().contains("FOO"));
    for spelling in ["sys_admin", "CAP_CAP_SYS_ADMIN", "Sys_Admin"] {
        let spec = alone(&document(spelling)).unwrap();
        let read = process(&spec).capabilities().as_ref().unwrap().bounding().as_ref().unwrap();
        assert!(read.contains(&oci_spec::runtime::Capability::SysAdmin), "{spelling}");
    }

    for name in ["CAP_FOO", "sys_admin", "CAP_CAP_SYS_ADMIN"] {
        let config = loaded(&document(name)).unwrap();
        assert_eq!(config.process.capabilities.unwrap().bounding, [name, "CAP_KILL", name]);
        assert!(process(&config.spec).capabilities().is_none());
        let problem = format!("/process/capabilities/bounding/0: unknown capability \"{name}\"");
        assert_eq!(planned_refusal(&document(name)), problem);
    }
    let none = loaded(&base()).unwrap().process.capabilities;
    let empty = loaded(&with("/process/capabilities", json!({}))).unwrap().process.capabilities;
    assert_eq!((none, empty), (None, Some(Default::default())), "absent and empty are different things");
}

/// config.md#linux-process: `SCHED_FLAG_RESET_ON_FORK` and the others.
#[test]
fn flags_of_the_scheduler_have_the_names_of_the_specification() {
    let document = |flag: &str| {
        with_user("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 3, "flags": [flag] }))
    };
    for flag in ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"] {
        assert!(alone(&document(flag)).unwrap_err().contains("unknown variant"), "{flag}");
        let scheduler = loaded(&document(flag)).unwrap().process.scheduler.unwrap();
        assert_eq!((scheduler.policy.as_str(), scheduler.nice, scheduler.priority), ("SCHED_BATCH", 3, 0));
        assert_eq!(scheduler.flags, [flag]);
    }
    let spelled = serde_json::to_value(LinuxSchedulerFlag::SchedResetOnFork).unwrap();
    assert_eq!(spelled, "SCHED_RESET_ON_FORK");
    let problem = "/process/scheduler/flags/0: \"SCHED_RESET_ON_FORK\" is no scheduler flag";
    assert_eq!(planned_refusal(&document("SCHED_RESET_ON_FORK")), problem);
    assert_eq!(refusal(&with("/process/scheduler", json!({}))), "/process/scheduler: missing field `policy`");
}

/// config-schema.json takes any string, and an empty one asks for nothing.
#[test]
fn processor_lists_may_be_empty_or_have_blanks() {
    for list in ["", "0-1, 3", "0,,1", " 2"] {
        let document = with_user("/process/execCPUAffinity", json!({ "initial": list, "final": "7" }));
        assert!(alone(&document).unwrap_err().contains("Invalid execCPUAffinity format"), "{list:?}");
        let affinity = loaded(&document).unwrap().process.exec_cpu_affinity.unwrap();
        assert_eq!((affinity.initial.as_deref(), affinity.last.as_deref()), (Some(list), Some("7")));
    }
    let document = with("/process/execCPUAffinity", json!({ "final": "a-b" }));
    let problem = "/process/execCPUAffinity/final: \"a-b\" is no list of numbers such as 0-3,7";
    assert_eq!(planned_refusal(&document), problem);
}

/// config.md#posix-platform-user: every member has a default.
#[test]
fn a_process_without_a_user_is_that_of_root() {
    for document in [base(), with("/process/user", json!({})), with("/process/user", json!({ "umask": 7 }))] {
        if document["process"]["user"].is_null() {
            assert_eq!(alone(&document).unwrap_err(), "missing field `user`");
        }
        let spec = loaded(&document).unwrap().spec;
        assert_eq!((process(&spec).user().uid(), process(&spec).user().gid()), (0, 0));
    }
    let spec = loaded(&with("/process/user", json!({ "gid": 5 }))).unwrap().spec;
    assert_eq!((process(&spec).user().uid(), process(&spec).user().gid()), (0, 5));
}

/// config.md#specification-version: required.
#[test]
fn a_missing_version_is_not_an_empty_one() {
    let document = with_user("/ociVersion", Value::Null);
    let mut without = document.clone();
    without.as_object_mut().unwrap().remove("ociVersion");
    assert_eq!(alone(&without).unwrap().version(), "");
    for document in [document, without] {
        assert_eq!(refusal(&document), "/ociVersion: the version of the specification is missing");
    }
    assert_eq!(planned_refusal(&with("/ociVersion", json!(""))), "/ociVersion: \"\" is no semantic version");
}

/// config.md#root: required.
#[test]
fn a_missing_root_path_is_not_an_empty_one() {
    let document = with_user("/root", json!({ "readonly": true }));
    assert_eq!(alone(&document).unwrap().root().as_ref().unwrap().path().as_os_str(), "");
    assert_eq!(refusal(&document), "/root/path: the path of the root file system is missing");
}

/// The samples that the crate has for defaults never stand in for what a document leaves out.
#[test]
fn defaults_of_the_crate_do_not_leak_in() {
    assert_eq!(Root::default().readonly(), Some(true));
    assert_eq!(Spec::default().hostname().as_deref(), Some("youki"));
    assert_eq!(Process::default().no_new_privileges(), Some(true));

    let spec = loaded(&base()).unwrap().spec;
    assert_eq!(spec.root().as_ref().unwrap().readonly(), None);
    assert_eq!((spec.hostname(), spec.mounts()), (&None, &None));
    let read = process(&spec);
    assert_eq!((read.no_new_privileges(), read.rlimits(), read.env()), (None, &None, &None));
    let linux = linux(&spec);
    assert_eq!((linux.masked_paths(), linux.readonly_paths(), linux.resources()), (&None, &None, &None));
}

/// config-linux.md#pids: a section that sets nothing limits nothing.
#[test]
fn pids_without_a_limit_are_not_limited_to_none() {
    let document = with_user("/linux/resources", json!({ "pids": {} }));
    assert_eq!(linux(&alone(&document).unwrap()).resources().as_ref().unwrap().pids().unwrap().limit(), 0);
    assert_eq!(linux(&loaded(&document).unwrap().spec).resources().as_ref().unwrap().pids(), &None);
    let zero = with("/linux/resources", json!({ "pids": { "limit": 0 } }));
    let spec = loaded(&zero).unwrap().spec;
    assert_eq!(
        linux(&spec).resources().as_ref().unwrap().pids().unwrap().limit(),
        0,
        "a limit that is given stays"
    );
}

/// config.md#linux-process: class and priority are required.
#[test]
fn an_io_priority_names_class_and_level() {
    let document = with_user("/process/ioPriority", json!({ "priority": 4 }));
    let spec = alone(&document).unwrap();
    assert_eq!(process(&spec).io_priority().unwrap().class(), IOPriorityClass::IoprioClassBe);
    assert_eq!(refusal(&document), "/process/ioPriority/class: \"class\" is missing");
    let document = with_user("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_RT" }));
    assert_eq!(process(&alone(&document).unwrap()).io_priority().unwrap().priority(), 0);
    assert_eq!(refusal(&document), "/process/ioPriority/priority: \"priority\" is missing");
}

/// What the crate reads as 0, "" or false when it is missing, although the specification requires it.
#[test]
fn numbers_that_are_missing_are_not_zero() {
    let mapping = ["containerID", "hostID", "size"];
    let throttle = ["major", "minor", "rate"];
    let cases: [(&str, Value, &[&str]); 15] = [
        ("/process/rlimits/0", json!({ "type": "RLIMIT_CORE", "soft": 1, "hard": 1 }), &["soft", "hard"]),
        ("/process/consoleSize", json!({ "height": 1, "width": 1 }), &["height", "width"]),
        ("/linux/uidMappings/0", json!({ "containerID": 1, "hostID": 1, "size": 1 }), &mapping),
        ("/linux/gidMappings/0", json!({ "containerID": 1, "hostID": 1, "size": 1 }), &mapping),
        ("/mounts/0/uidMappings/0", json!({ "containerID": 1, "hostID": 1, "size": 1 }), &mapping),
        ("/mounts/0/gidMappings/0", json!({ "containerID": 1, "hostID": 1, "size": 1 }), &mapping),
        (
            "/linux/devices/0",
            json!({ "path": "/dev/x", "type": "c", "major": 1, "minor": 1 }),
            &["major", "minor"],
        ),
        ("/linux/resources/devices/0", json!({ "allow": true, "access": "r" }), &["allow"]),
        (
            "/linux/resources/hugepageLimits/0",
            json!({ "pageSize": "2MB", "limit": 1 }),
            &["pageSize", "limit"],
        ),
        (
            "/linux/resources/network/priorities/0",
            json!({ "name": "eth0", "priority": 1 }),
            &["name", "priority"],
        ),
        (
            "/linux/resources/blockIO/weightDevice/0",
            json!({ "major": 8, "minor": 1, "weight": 10 }),
            &["major", "minor"],
        ),
        (
            "/linux/resources/blockIO/throttleReadBpsDevice/0",
            json!({ "major": 8, "minor": 1, "rate": 1 }),
            &throttle,
        ),
        (
            "/linux/resources/blockIO/throttleWriteBpsDevice/0",
            json!({ "major": 8, "minor": 1, "rate": 1 }),
            &throttle,
        ),
        (
            "/linux/resources/blockIO/throttleReadIOPSDevice/0",
            json!({ "major": 8, "minor": 1, "rate": 1 }),
            &throttle,
        ),
        (
            "/linux/resources/blockIO/throttleWriteIOPSDevice/0",
            json!({ "major": 8, "minor": 1, "rate": 1 }),
            &throttle,
        ),
    ];
    for (pointer, whole, members) in cases {
        let document = |object: Value| {
            let (list, index) = pointer.rsplit_once('/').unwrap();
            let Some(mount) = list.strip_prefix("/mounts/0/") else {
                return match index {
                    "0" => with_user(list, json!([object])),
                    _ => with_user(pointer, object),
                };
            };
            with_user("/mounts", json!([{ "destination": "/a", mount: [object] }]))
        };
        loaded(&document(whole.clone())).unwrap_or_else(|error| panic!("{pointer}: {error}"));
        for member in members {
            let mut without = whole.clone();
            without.as_object_mut().unwrap().remove(*member);
            alone(&document(without.clone())).unwrap_or_else(|error| panic!("{pointer}/{member}: {error}"));
            let expected = format!("{pointer}/{member}: \"{member}\" is missing");
            assert_eq!(refusal(&document(without)), expected);
        }
    }
}

/// config-linux.md#devices: a FIFO has no numbers, and a node has a path.
#[test]
fn nodes_have_what_their_type_needs() {
    let document = |device: Value| with_user("/linux/devices", json!([device]));
    loaded(&document(json!({ "path": "/dev/fifo", "type": "p" }))).unwrap();
    let nameless = document(json!({ "type": "p" }));
    let spec = alone(&nameless).unwrap();
    assert_eq!(linux(&spec).devices().as_ref().unwrap()[0].path().as_os_str(), "");
    assert_eq!(planned_refusal(&nameless), "/linux/devices/0/path: the path of a device must be absolute");
    // `a` stands for all devices, in the list of permissions only.
    let all = document(json!({ "path": "/dev/x", "type": "a", "major": 1, "minor": 1 }));
    let spec = alone(&all).unwrap();
    assert_eq!(linux(&spec).devices().as_ref().unwrap()[0].typ(), LinuxDeviceType::A);
    assert!(planned_refusal(&all).starts_with("/linux/devices/0/type: \"a\" is no type of a device node"));
}

/// The crate refuses unknown words, as the specification wants; the error must name the word and the place.
#[test]
fn unknown_words_are_named_with_their_place() {
    for (pointer, value, at, word) in [
        ("/linux/namespaces", json!([{ "type": "mnt" }]), "/linux/namespaces/0/type", "mnt"),
        ("/linux/namespaces", json!([{ "type": "PID" }]), "/linux/namespaces/0/type", "PID"),
        (
            "/process/rlimits",
            json!([{ "type": "NOFILE", "soft": 1, "hard": 1 }]),
            "/process/rlimits/0/type",
            "NOFILE",
        ),
        ("/linux/personality", json!({ "domain": "linux" }), "/linux/personality/domain", "linux"),
        ("/linux/memoryPolicy", json!({ "mode": "MPOL_FOO" }), "/linux/memoryPolicy/mode", "MPOL_FOO"),
        (
            "/process/ioPriority",
            json!({ "class": "IOPRIO_CLASS_NONE", "priority": 0 }),
            "/process/ioPriority/class",
            "IOPRIO_CLASS_NONE",
        ),
    ] {
        let document = with_user(pointer, value);
        assert!(alone(&document).unwrap_err().contains(&format!("unknown variant `{word}`")), "{word}");
        let refusal = refusal(&document);
        assert!(refusal.starts_with(&format!("{at}: unknown variant `{word}`, expected ")), "{refusal}");
    }
    let pid: LinuxNamespaceType = serde_json::from_value(json!("pid")).unwrap();
    assert_eq!(pid, LinuxNamespaceType::Pid);
}

/// runtime.md#state: the crate's state has no word for a frozen container.
#[test]
fn a_frozen_container_has_a_state() {
    assert!(serde_json::from_value::<ContainerState>(json!("paused")).is_err());
    assert_eq!(Status::Paused.text(), "paused");
    for status in [Status::Creating, Status::Created, Status::Running, Status::Stopped] {
        serde_json::from_value::<ContainerState>(json!(status.text())).unwrap();
    }
}

/// config.md#posix-platform-hooks: a timeout is greater than zero.
#[test]
fn timeouts_of_hooks_are_positive() {
    for seconds in [0, -1, i64::MIN] {
        let hook: Hook = serde_json::from_value(json!({ "path": "/a", "timeout": seconds })).unwrap();
        assert_eq!(hook.timeout(), Some(seconds));
        let document = with("/hooks/prestart", json!([{ "path": "/a", "timeout": seconds }]));
        assert_eq!(planned_refusal(&document), "/hooks/prestart/0/timeout: must be greater than zero");
    }
}

/// config.md#posix-platform-mounts: one mapping without the other is an error, which only the crate's builder knows.
#[test]
fn mappings_of_a_mount_go_together() {
    let map = json!([{ "containerID": 0, "hostID": 1, "size": 1 }]);
    for (given, missing) in [("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")] {
        let mount = json!({ "destination": "/a", "source": "/b", "options": ["bind", "idmap"], given: map });
        let document = with_user("/mounts", json!([mount]));
        alone(&document).unwrap();
        assert_eq!(
            planned_refusal(&document),
            format!("/mounts/0/{missing}: uidMappings and gidMappings go together")
        );
    }
}

/// config-linux.md#offset-for-time-namespace: two clocks.
#[test]
fn time_offsets_are_of_the_clocks_that_a_namespace_has() {
    let offsets = json!({ "a/b": { "secs": 1 } });
    let mut document = with_user("/linux/timeOffsets", offsets);
    document["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "time" }]);
    assert!(linux(&alone(&document).unwrap()).time_offsets().as_ref().unwrap().contains_key("a/b"));
    let problem = "/linux/timeOffsets/a~1b: \"a/b\" is no clock of a time namespace";
    assert_eq!(planned_refusal(&document), problem);
}

/// Removed from the specification in 1.3.0, when `enableMonitoring` came. The crate knows them by other names.
#[test]
#[allow(deprecated)]
fn old_monitoring_flags_are_ignored_with_a_warning() {
    let document = with_user("/linux/intelRdt", json!({ "enableCMT": true, "enableMBM": 7 }));
    let spec = alone(&document).unwrap();
    let read = linux(&spec).intel_rdt().as_ref().unwrap();
    assert_eq!((read.enable_cmt(), read.enable_mbm()), (&None, &None));
    let other = alone(&with_user("/linux/intelRdt", json!({ "enableCmt": true }))).unwrap();
    assert_eq!(linux(&other).intel_rdt().as_ref().unwrap().enable_cmt(), &Some(true));

    let config = loaded(&document).unwrap();
    let told = |name: &str| {
        Warning::new(format!("/linux/intelRdt/{name}"), "removed from the specification in 1.3.0, ignored")
    };
    assert_eq!(config.warnings, [told("enableCMT"), told("enableMBM")]);
}

/// A property that no type has would be ignored as an unknown one. config-schema.json of 1.3.0 has these.
#[test]
fn every_property_of_the_specification_has_a_place() {
    let hook = json!([{ "path": "/a", "args": ["a"], "env": ["A=b"], "timeout": 1 }]);
    let map = json!([{ "containerID": 1, "hostID": 2, "size": 3 }]);
    let throttle = json!([{ "major": 8, "minor": 1, "rate": 9 }]);
    let affinity = json!({ "initial": "0", "final": "1" });
    let scheduler = json!({
        "policy": "SCHED_DEADLINE", "nice": 1, "priority": 2, "flags": ["SCHED_FLAG_RECLAIM"], "runtime": 3,
        "deadline": 4, "period": 5,
    });
    let capabilities = json!({
        "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "permitted": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    });
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/s", "listenerMetadata": "m",
        "syscalls": [
            { "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
              "args": [{ "index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ" }] },
            { "names": ["rmdir"], "action": "SCMP_ACT_NOTIFY" },
        ],
    });
    let mut document = json!({
        "ociVersion": "1.3.0",
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "h",
        "domainname": "d",
        "annotations": { "a": "b" },
        "mounts": [{ "destination": "/a", "type": "t", "source": "s", "options": ["o"], "uidMappings": map, "gidMappings": map }],
        "hooks": {
            "prestart": hook, "createRuntime": hook, "createContainer": hook, "startContainer": hook, "poststart": hook,
            "poststop": hook,
        },
        "process": {
            "terminal": true, "consoleSize": { "height": 1, "width": 2 }, "cwd": "/", "env": ["A=b"], "args": ["a"],
            "user": { "uid": 1, "gid": 2, "umask": 3, "additionalGids": [4] },
            "rlimits": [{ "type": "RLIMIT_CPU", "soft": 1, "hard": 2 }],
            "noNewPrivileges": true, "apparmorProfile": "a", "selinuxLabel": "s", "oomScoreAdj": 1,
            "ioPriority": { "class": "IOPRIO_CLASS_RT", "priority": 1 },
        },
        "linux": {
            "namespaces": [{ "type": "pid", "path": "/p" }],
            "uidMappings": map, "gidMappings": map,
            "timeOffsets": { "monotonic": { "secs": 1, "nanosecs": 2 }, "boottime": { "secs": 1, "nanosecs": 2 } },
            "devices": [{ "path": "/d", "type": "c", "major": 1, "minor": 2, "fileMode": 3, "uid": 4, "gid": 5 }],
            "netDevices": { "eth0": { "name": "n" } },
            "cgroupsPath": "/c",
            "resources": {
                "devices": [{ "allow": true, "type": "c", "major": 1, "minor": 2, "access": "r" }],
                "memory": {
                    "limit": 1, "reservation": 2, "swap": 3, "kernel": 4, "kernelTCP": 5, "swappiness": 6,
                    "disableOOMKiller": true, "useHierarchy": true, "checkBeforeUpdate": true,
                },
                "cpu": {
                    "shares": 1, "quota": 2, "burst": 3, "period": 4, "realtimeRuntime": 5, "realtimePeriod": 6,
                    "cpus": "0", "mems": "0", "idle": 1,
                },
                "pids": { "limit": 1 },
                "blockIO": {
                    "weight": 1, "leafWeight": 2,
                    "weightDevice": [{ "major": 1, "minor": 2, "weight": 3, "leafWeight": 4 }],
                    "throttleReadBpsDevice": throttle, "throttleWriteBpsDevice": throttle,
                    "throttleReadIOPSDevice": throttle, "throttleWriteIOPSDevice": throttle,
                },
                "hugepageLimits": [{ "pageSize": "2MB", "limit": 1 }],
                "network": { "classID": 1, "priorities": [{ "name": "eth0", "priority": 1 }] },
                "rdma": { "m": { "hcaHandles": 1, "hcaObjects": 2 } },
                "unified": { "a.b": "c" },
            },
            "intelRdt": {
                "closID": "c", "schemata": ["s"], "l3CacheSchema": "l", "memBwSchema": "m", "enableMonitoring": true,
            },
            "memoryPolicy": { "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] },
            "personality": { "domain": "LINUX", "flags": ["f"] },
            "sysctl": { "a.b": "c" },
            "maskedPaths": ["/m"], "readonlyPaths": ["/r"], "mountLabel": "l", "rootfsPropagation": "slave",
        },
    });
    let typed = serde_json::to_value(loaded(&document).unwrap().spec).unwrap();
    assert_eq!(typed, document);

    // These have types of their own.
    document["process"]["capabilities"] = capabilities;
    document["process"]["scheduler"] = scheduler;
    document["process"]["execCPUAffinity"] = affinity;
    document["linux"]["seccomp"] = seccomp;
    let config = loaded(&document).unwrap();
    assert_eq!(serde_json::to_value(&config.spec).unwrap(), typed, "taken out");
    let bounding = config
        .process
        .capabilities
        .map(|sets| [sets.bounding, sets.effective, sets.inheritable, sets.permitted, sets.ambient].concat());
    assert_eq!(bounding, Some(vec!["CAP_KILL".to_owned(); 5]));
    let scheduler = config.process.scheduler.unwrap();
    assert_eq!(
        (scheduler.nice, scheduler.priority, scheduler.runtime, scheduler.deadline, scheduler.period),
        (1, 2, 3, 4, 5)
    );
    assert_eq!(config.process.exec_cpu_affinity.unwrap().last.as_deref(), Some("1"));
    assert_eq!(config.seccomp.unwrap().listener_metadata(), Some("m"));

    let text = document.to_string();
    let own = FIELDS.iter().filter(|field| !FOREIGN.contains(field) && !field.ends_with('*'));
    for property in own.filter_map(|field| field.rsplit('/').next()) {
        assert!(text.contains(&format!("\"{property}\":")), "the document has no {property}");
    }
}

/// The derived code takes a list for an object, member after member, and leaves the rest at its defaults.
#[test]
fn a_list_is_no_object() {
    for (pointer, list) in [
        ("/root", json!(["rootfs", true])),
        ("/process/consoleSize", json!([10, 20])),
        ("/process/user", json!([1000, 1000])),
        ("/linux", json!([])),
        ("/linux/resources", json!([])),
        ("/linux/resources/pids", json!([7])),
        ("/linux/resources/memory", json!([1, 2, 3, 4, 5, 6, true, true, true])),
        ("/linux/personality", json!(["LINUX32"])),
        ("/hooks", json!([])),
    ] {
        let document = with_user(pointer, list);
        let alone = alone(&document).unwrap_or_else(|error| panic!("{pointer}: {error}"));
        assert_eq!(alone.version(), "1.3.0");
        assert_eq!(refusal(&document), format!("{pointer}: invalid type: sequence, expected an object"));
    }
    let document = with_user("/mounts", json!([["/a", "tmpfs"]]));
    assert_eq!(alone(&document).unwrap().mounts().as_ref().unwrap()[0].typ().as_deref(), Some("tmpfs"));
    assert_eq!(refusal(&document), "/mounts/0: invalid type: sequence, expected an object");
    for (value, found) in
        [(json!("x"), "string \"x\""), (json!(7), "number"), (json!(true), "boolean `true`")]
    {
        let refusal = refusal(&with("/root", value));
        assert_eq!(refusal, format!("/root: invalid type: {found}, expected an object"));
    }
}

/// config.md#platform: sections of other systems are unknown properties here, whatever they contain.
#[test]
fn sections_of_other_systems_are_ignored() {
    for section in ["windows", "vm", "solaris", "zos"] {
        let document = with_user(&format!("/{section}"), json!("not for us"));
        assert!(alone(&document).is_err(), "{section}");
        assert_eq!(loaded(&document).unwrap().warnings, []);
    }
    loaded(&with("/freebsd", json!(1))).unwrap();
    // The crate has these at the top, where the specification has none.
    for name in ["uidMappings", "gidMappings"] {
        let document = with_user(&format!("/{name}"), json!({ "x": 1 }));
        assert!(alone(&document).is_err(), "{name}");
        loaded(&document).unwrap();
    }
    let document = with_user("/process/user", json!({ "uid": 1, "gid": 1, "username": 7 }));
    assert!(alone(&document).is_err());
    assert_eq!(process(&loaded(&document).unwrap().spec).user().uid(), 1);
    let document = with_user("/process/commandLine", json!({}));
    assert!(alone(&document).is_err());
    let told = Warning::new("/process/commandLine", "only meaningful on Windows, ignored");
    assert_eq!(loaded(&document).unwrap().warnings, [told]);
}

/// Go leaves members alone that are null; the crate does so for some of them only.
#[test]
fn null_is_absent_for_the_members_where_the_crate_wants_a_value() {
    for (pointer, problem) in [
        ("/process/user/uid", "invalid type: null, expected u32"),
        ("/linux/resources/pids/limit", "invalid type: null, expected i64"),
        ("/linux/resources/devices/0/allow", "invalid type: null, expected a boolean"),
    ] {
        let mut document = with_user("/linux/resources", json!({ "pids": {}, "devices": [{}] }));
        *document.pointer_mut(pointer.rsplit_once('/').unwrap().0).unwrap() =
            json!({ pointer.rsplit_once('/').unwrap().1: null });
        assert_eq!(alone(&document).unwrap_err(), problem, "{pointer}");
    }
    loaded(&with("/process/user/uid", Value::Null)).unwrap();
    loaded(&with("/linux/resources/pids/limit", Value::Null)).unwrap();
    let rule = with("/linux/resources/devices", json!([{ "allow": null }]));
    assert_eq!(refusal(&rule), "/linux/resources/devices/0/allow: \"allow\" is missing");
}

/// What `exec --process` reads has the same traps.
#[test]
fn a_process_alone_is_repaired_too() {
    let text = json!({
        "cwd": "/",
        "capabilities": { "ambient": ["CAP_FOO"] },
        "scheduler": { "policy": "SCHED_IDLE", "flags": ["SCHED_FLAG_RESET_ON_FORK"] },
        "execCPUAffinity": { "initial": "" },
    });
    assert!(serde_json::from_value::<Process>(text.clone()).is_err());
    let (process, extras, _) = load_process(text.to_string().as_bytes()).unwrap();
    assert!(process.capabilities().is_none() && process.scheduler().is_none());
    assert_eq!(extras.capabilities.unwrap().ambient, ["CAP_FOO"]);
    assert_eq!(extras.scheduler.unwrap().flags, ["SCHED_FLAG_RESET_ON_FORK"]);
    assert_eq!(extras.exec_cpu_affinity.unwrap().initial.as_deref(), Some(""));
}
