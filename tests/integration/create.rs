//! `create`: everything is made, the program waits.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::harness::{Caller, HOSTILE, Test, cgroup};

cases![
    created_container_waits_for_start,
    second_create_with_the_same_id_is_refused_and_the_first_survives,
    id_of_a_stopped_container_is_still_taken,
    id_may_have_letters_digits_and_punctuation,
    id_that_is_no_file_name_is_refused,
    missing_bundle_and_missing_config_are_refused,
    bundle_is_the_working_directory_when_none_is_given,
    relative_bundle_becomes_absolute_in_the_state,
    bundle_may_be_a_symbolic_link,
    config_is_frozen_at_create,
    unknown_properties_are_ignored,
    null_is_the_same_as_absent,
    every_optional_object_and_list_may_be_null,
    newer_minor_versions_of_the_specification_are_accepted,
    create_after_a_refused_create_works,
    leftover_state_directory_keeps_its_id,
    populated_cgroup_is_refused,
    failing_create_calls_no_program,
    state_directory_is_private,
];

/// runtime.md#lifecycle steps 2 and 8: resources exist after `create`, the program runs only after `start`.
fn created_container_waits_for_start(t: &Test) {
    let shared = t.make_dir("shared");
    let c = t.bundle().bind(&shared, "/shared", &["bind"]).sh("touch /shared/ran").create();
    let state = c.state();
    assert_eq!(state["status"], "created");
    let pid = state["pid"].as_i64().unwrap_or_default();
    assert!(fs::exists(format!("/proc/{pid}")).unwrap(), "init {pid} is not alive");
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!shared.join("ran").exists(), "the program ran before start");
    c.start();
    c.wait_stopped();
    assert!(shared.join("ran").exists(), "the program did not run");
}

/// runtime.md#create: an id that is in use is an error, and the container that has it is not touched.
fn second_create_with_the_same_id_is_refused_and_the_first_survives(t: &Test) {
    let bundle = t.bundle().args(["sleep", "100"]);
    let c = bundle.create();
    let pid = c.pid();
    bundle.try_create().fails(&["exist"]);
    assert_eq!(c.status(), "created");
    assert_eq!(c.pid(), pid);
    c.start();
    bundle.try_create().fails(&["exist"]);
    bundle.run().fails(&["exist"]);
    assert_eq!((c.status(), c.pid()), ("running".into(), pid));
}

/// runtime.md#state: an id is unique until the container is deleted.
fn id_of_a_stopped_container_is_still_taken(t: &Test) {
    let bundle = t.bundle();
    let c = bundle.run_detached();
    c.wait_stopped();
    bundle.try_create().fails(&["exist"]);
    c.delete();
    bundle.create();
}

/// How the runtime says that something is missing that is not the program. docker makes exit code 127 of the
/// words that are for the program alone.
fn missing(t: &Test) -> &'static str {
    if t.is("teu") { "nothing at that path" } else { "no such file or directory" }
}

/// runc: ids are `[A-Za-z0-9_+.-]+`; engines use all of these characters.
fn id_may_have_letters_digits_and_punctuation(t: &Test) {
    let id = format!("{}_A.b+c-1", t.token());
    let c = t.bundle().with_id(&id).create();
    assert_eq!(c.state()["id"], id);
    c.delete();
}

/// runc: an id is checked before any path is made from it, by every verb.
fn id_that_is_no_file_name_is_refused(t: &Test) {
    t.only_teu(HOSTILE);
    let outside = t.make_dir("outside");
    fs::create_dir_all(t.root()).unwrap();
    t.make_file("outside/keep", "");
    // Differs from runc: a leading dot would hide the container, and no file name has 256 bytes.
    let long = "x".repeat(256);
    let bundle = t.bundle();
    bundle.write();
    for id in ["", ".", "..", "a/b", "../outside", "a\nb", " a", "a b", "a%2f", "ä", ".hidden", &long] {
        t.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(id).run().fails(&[]);
        for verb in ["start", "state", "kill", "delete"] {
            t.cmd([verb, id]).run().fails(&[]);
        }
    }
    assert!(outside.join("keep").exists(), "a verb followed an id out of the state root");
    assert_eq!(fs::read_dir(t.root()).unwrap().count(), 0, "something was made in the state root");
}

/// runtime.md#create: the bundle must exist and hold a config.json.
fn missing_bundle_and_missing_config_are_refused(t: &Test) {
    let nowhere = t.dir().join("nowhere");
    let id = format!("{}-n", t.token());
    t.cmd(["create", "--bundle"]).arg(&nowhere).arg(&id).run().fails(&[missing(t)]);
    let empty = t.make_dir("empty");
    let out = t.cmd(["create", "--bundle"]).arg(&empty).arg(&id).run().fails(&["config.json"]);
    assert!(out.stdout.is_empty(), "stdout is for data\n{}", out.report());
    t.cmd(["state", &id]).run().fails(&["does not exist"]);
}

/// runc: `--bundle` defaults to the working directory.
fn bundle_is_the_working_directory_when_none_is_given(t: &Test) {
    let bundle = t.bundle().sh("echo here");
    bundle.write();
    let out = t.cmd(["run", bundle.id()]).in_dir(bundle.dir()).run().ok();
    assert_eq!(out.stdout, "here\n");
}

/// runtime.md#state: `bundle` is an absolute path.
fn relative_bundle_becomes_absolute_in_the_state(t: &Test) {
    let bundle = t.bundle();
    bundle.write();
    let name = bundle.dir().file_name().unwrap();
    t.cmd(["create", "--bundle"]).arg(name).arg(bundle.id()).in_dir(t.dir()).run().ok();
    let state = t.cmd(["state", bundle.id()]).run().ok().json();
    assert_eq!(state["bundle"], bundle.dir().to_string_lossy().as_ref());
}

/// config.md#root: the path of the rootfs is relative to the bundle, wherever a link to the bundle is.
fn bundle_may_be_a_symbolic_link(t: &Test) {
    let bundle = t.bundle().sh("echo linked");
    bundle.write();
    let link = t.dir().join("link");
    symlink(bundle.dir(), &link).unwrap();
    let out = t.cmd(["run", "--bundle"]).arg(&link).arg(bundle.id()).run().ok();
    assert_eq!(out.stdout, "linked\n");
}

/// runtime.md#lifecycle step 2: updates of config.json after `create` have no effect.
fn config_is_frozen_at_create(t: &Test) {
    let bundle = t.bundle().sh("echo original");
    let c = bundle.create();
    bundle.sh("echo edited").set("/process/cwd", "/tmp").write();
    c.start();
    c.wait_stopped();
    assert_eq!(c.stdout(), "original\n");
}

/// config.md#extensibility: unknown properties must be ignored.
fn unknown_properties_are_ignored(t: &Test) {
    t.bundle()
        .set("/unknown", json!({ "a": [1, 2, 3] }))
        .set("/linux/unknown", true)
        .set("/process/unknown", "x")
        .set("/linux/resources/unknown", 7)
        .set("/mounts/0/unknown", "x")
        .run()
        .ok()
        .silent();
}

/// Engines written in Go print empty members as null; runc reads them as absent.
fn null_is_the_same_as_absent(t: &Test) {
    let mut bundle = t.bundle();
    for pointer in [
        "/hooks",
        "/annotations",
        "/hostname",
        "/linux/sysctl",
        "/linux/seccomp",
        "/linux/maskedPaths",
        "/linux/readonlyPaths",
        "/linux/devices",
        "/linux/intelRdt",
        "/linux/resources/memory",
        "/linux/resources/pids",
        "/process/rlimits",
        "/process/consoleSize",
        "/process/oomScoreAdj",
        "/process/user/additionalGids",
        "/mounts/0/options",
        "/root/readonly",
        "/linux/rootfsPropagation",
    ] {
        if t.is("crun") && pointer == "/linux/intelRdt" {
            continue;
        }
        bundle = bundle.set(pointer, Value::Null);
    }
    bundle.run().ok().silent();
}

/// The same for every object and every list that may be absent.
fn every_optional_object_and_list_may_be_null(t: &Test) {
    t.only_teu("others refuse some of them");
    let pointers = [
        "/domainname",
        "/hooks/prestart",
        "/hooks/createRuntime",
        "/hooks/createContainer",
        "/hooks/startContainer",
        "/hooks/poststart",
        "/hooks/poststop",
        "/process/capabilities/inheritable",
        "/process/capabilities/ambient",
        "/process/scheduler",
        "/process/ioPriority",
        "/process/execCPUAffinity",
        "/process/apparmorProfile",
        "/process/selinuxLabel",
        "/process/noNewPrivileges",
        "/process/terminal",
        "/process/user/umask",
        "/mounts/0/uidMappings",
        "/mounts/0/gidMappings",
        "/linux/cgroupsPath",
        "/linux/timeOffsets",
        "/linux/memoryPolicy",
        "/linux/netDevices",
        "/linux/personality",
        "/linux/mountLabel",
        "/linux/resources/blockIO",
        "/linux/resources/cpu",
        "/linux/resources/devices",
        "/linux/resources/hugepageLimits",
        "/linux/resources/network",
        "/linux/resources/rdma",
        "/linux/resources/unified",
    ];
    let bundle = pointers.iter().fold(t.bundle(), |bundle, pointer| bundle.set(pointer, Value::Null));
    bundle.run().ok().silent();
    // What is around them, and what they are without which nothing could run.
    for pointer in ["/linux/resources", "/process/capabilities", "/process/env"] {
        t.bundle().set(pointer, Value::Null).args(["/bin/true"]).run().ok().silent();
    }
    if t.caller() == Caller::Root {
        let bundle = t.bundle().set("/linux/uidMappings", Value::Null).set("/linux/gidMappings", Value::Null);
        bundle.run().ok().silent();
    }
}

/// config.md#specification-version: a runtime accepts what it can; engines are often newer than the runtime.
fn newer_minor_versions_of_the_specification_are_accepted(t: &Test) {
    t.skip_older("crun", (1, 15), "knows a list of versions");
    for version in ["1.0.0", "1.0.2-dev", "1.2.1", "1.3.0", "1.9.0+build.5"] {
        t.bundle().set("/ociVersion", version).run().ok();
    }
}

/// runtime.md#errors: a failed operation leaves the environment as if it had never been tried.
fn create_after_a_refused_create_works(t: &Test) {
    let bundle = t.bundle().args(["/nowhere/program"]);
    bundle.try_create().fails(&["no such file or directory"]);
    t.cmd(["state", bundle.id()]).run().fails(&["does not exist"]);
    assert!(cgroup::find(bundle.id()).is_empty(), "the refused create left {:?}", cgroup::find(bundle.id()));
    bundle.sh("echo second").run().ok();
}

/// The directory of an id is its reservation; an aborted `create` is for `delete` to clean up.
fn leftover_state_directory_keeps_its_id(t: &Test) {
    let bundle = t.bundle();
    fs::create_dir_all(t.root().join(bundle.id())).unwrap();
    bundle.try_create().fails(&["exist"]);
    t.cmd(["delete", "--force", bundle.id()]).run().ok();
    bundle.create();
}

/// runc: two containers never share a cgroup by accident.
fn populated_cgroup_is_refused(t: &Test) {
    t.skip_older("runc", (1, 2), "only warns about a populated cgroup");
    t.skip_for("crun", "joins a populated cgroup");
    let first = t.bundle().args(["sleep", "100"]);
    let c = first.run_detached();
    let path = format!("/{}", first.id());
    t.bundle().set("/linux/cgroupsPath", path).try_create().fails(&["container's cgroup is not empty"]);
    assert_eq!(c.status(), "running");
}

/// runtime.md#errors: a program that is not there is an error of `create`, before the rest of the life cycle.
fn failing_create_calls_no_program(t: &Test) {
    let shared = t.make_dir("shared");
    let bundle = t.bundle().bind(&shared, "/shared", &["bind"]).sh("touch /shared/ran").push(
        "/mounts",
        json!({ "destination": "/x", "type": "bind", "source": "/nowhere", "options": ["bind"] }),
    );
    bundle.try_create().fails(&[missing(t)]);
    bundle.run().fails(&[missing(t)]);
    assert!(!shared.join("ran").exists(), "the program ran although a mount failed");
}

/// CVE-2021-41103, CVE-2024-25621: other users learn nothing from the state root, whatever the caller's umask.
fn state_directory_is_private(t: &Test) {
    use std::os::unix::fs::PermissionsExt;
    let bundle = t.bundle();
    bundle.call("create", &[]).through("umask 0; exec \"$@\"").run().ok();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(t.root()) & 0o077 & !0o011, 0, "the state root can be listed by others");
    let dir = t.root().join(bundle.id());
    assert_eq!(mode(&dir) & 0o066, 0, "the directory of the container can be listed by others");
    if t.is("teu") {
        assert_eq!((mode(t.root()), mode(&dir)), (0o700, 0o700));
        assert_eq!(mode(&dir.join("state.json")), 0o600);
    }
}
