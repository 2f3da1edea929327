//! Containers without a mount namespace: what they mount is on a private copy of the root file system, and goes
//! with them.

use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::harness::{Bundle, Out, Test, container, report};

cases![
    container_sees_its_root_and_the_mount_namespace_of_the_runtime,
    mounts_are_gone_after_delete,
    mounts_are_gone_after_a_create_that_fails,
    nothing_but_one_mount_is_shared_with_others,
    mount_of_the_host_below_the_root_is_out_of_reach,
    exec_sees_the_root_of_the_container,
    something_mounted_over_it_is_told_by_delete,
    delete_after_a_killed_create_finds_the_mount,
    what_needs_a_mount_namespace_is_refused,
];

/// Other runtimes mount in the namespace of the tests and leave the mounts there.
fn bundle(t: &Test) -> Bundle<'_> {
    t.only_teu("other runtimes would leave their mounts in the namespace of the tests");
    t.bundle().without_namespace("mount")
}

/// The lines of a mountinfo file less the numbers, which differ between namespaces.
fn mounts_of(process: u32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
    text.lines().map(|line| line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned()).collect()
}

/// config-linux.md#namespaces: inherited. chroot(2) makes the root directory.
fn container_sees_its_root_and_the_mount_namespace_of_the_runtime(t: &Test) {
    let source = t.make_dir("source");
    std::fs::write(source.join("file"), "bound").unwrap();
    let bundle = bundle(t)
        .dir_inside("/bound")
        .bind(&source, "/bound", &["rbind", "ro"])
        .tmpfs("/scratch", &["nosuid", "mode=700"])
        .sh("cat /bound/file; touch /bound/x 2>/dev/null || echo read-only; stat -f -c %T /scratch /proc; \
             ls -d /bin/busybox /dev/null /dev/fd; stat -c %a /scratch; pwd; readlink /proc/self/root");
    let out = bundle.run().ok();
    assert_eq!(
        out.stdout,
        "boundread-only\ntmpfs\nproc\n/bin/busybox\n/dev/fd\n/dev/null\n700\n/\n/\n",
        "{}",
        out.report()
    );
    let other = self::bundle(t).set("/process/cwd", "/usr");
    let report = other.report();
    assert_eq!(report["namespaces"]["mnt"], container::namespace_of("self", "mnt"));
}

/// Those of this test in the namespace of all tests, of which several run at a time.
fn own_mounts(t: &Test) -> Vec<String> {
    let mut all = mounts_of(std::process::id());
    all.retain(|line| line.contains(t.token()));
    all
}

/// runtime.md#lifecycle, step 12.
fn mounts_are_gone_after_delete(t: &Test) {
    let container = bundle(t).idle();
    let created = own_mounts(t);
    assert!(created.len() > 5, "{created:?}");
    container.delete_force();
    assert_eq!(own_mounts(t).len(), 0);
}

/// runtime.md#errors.
fn mounts_are_gone_after_a_create_that_fails(t: &Test) {
    let failing = bundle(t).mount("/nowhere", "no-such-fs", "none", &[]);
    failing.try_create().fails(&["/mounts/6", "ENODEV"]);
    assert_eq!(own_mounts(t).len(), 0);
    bundle(t).hook("createContainer", "exit 1").try_create().fails(&["createContainer hook #0"]);
    assert_eq!(own_mounts(t).len(), 0);
}

/// Two mount namespaces that share what is mounted, as a host and a service of it may.
struct Peers {
    host: Child,
    other: Child,
}

impl Drop for Peers {
    fn drop(&mut self) {
        for child in [&mut self.host, &mut self.other] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn holder(t: &Test, arguments: &[&str]) -> Child {
    let (program, rest) = arguments.split_first().expect("a program");
    let child = Command::new(program).args(rest).args(["sleep", "1000"]).spawn().expect("it is there");
    let command = format!("/proc/{}/cmdline", child.id());
    t.until("a mount namespace", || std::fs::read(&command).is_ok_and(|text| text.starts_with(b"sleep")));
    child
}

impl Peers {
    fn new(t: &Test) -> Peers {
        // Cut off from the tests first, so that it does not see what happens there.
        let line = "mount --make-rshared /; exec \"$@\"";
        let cut_off = ["unshare", "--mount", "--propagation", "private", "sh", "-c", line, "sh"];
        let host = holder(t, &cut_off);
        let enter = format!("--mount=/proc/{}/ns/mnt", host.id());
        let other = holder(t, &["nsenter", &enter, "unshare", "--mount", "--propagation", "unchanged"]);
        Peers { host, other }
    }

    /// Makes a call in the first one.
    fn call(&self, call: crate::harness::Cmd) -> Out {
        call.through(&format!("exec nsenter --mount=/proc/{}/ns/mnt -- \"$@\"", self.host.id())).run()
    }

    fn mounts(&self) -> (Vec<String>, Vec<String>) {
        (mounts_of(self.host.id()), mounts_of(self.other.id()))
    }
}

/// mount_namespaces(7): a mount on a shared mount appears at its peers.
fn nothing_but_one_mount_is_shared_with_others(t: &Test) {
    let bundle = bundle(t).set("/linux/cgroupsPath", format!("/{}-shared", t.token()));
    let peers = Peers::new(t);
    let before = peers.mounts();
    peers.call(bundle.call("create", &[])).ok();
    let created = peers.mounts();
    let new = |now: &[String], then: &[String]| -> Vec<String> {
        now.iter().filter(|line| !then.contains(line)).cloned().collect()
    };
    let (ours, theirs) = (new(&created.0, &before.0), new(&created.1, &before.1));
    assert!(ours.len() > 5 && theirs.len() == 1, "{ours:#?}\n{theirs:#?}");
    assert!(ours.iter().all(|line| !line.contains("shared:")), "{ours:#?}");
    // The propagation of the host is as it was.
    assert!(before.0.iter().all(|line| created.0.contains(line)));
    peers.call(t.cmd(["delete", "--force", bundle.id()])).ok();
    assert_eq!(peers.mounts(), before);
}

/// The container gets a copy of it that is no peer.
fn mount_of_the_host_below_the_root_is_out_of_reach(t: &Test) {
    let bundle = bundle(t).dir_inside("/data/inner").tmpfs("/data/inner", &[]);
    let bundle = bundle.set("/linux/cgroupsPath", format!("/{}-below", t.token()));
    let peers = Peers::new(t);
    let data = bundle.inside("/data");
    let host = format!("--mount=/proc/{}/ns/mnt", peers.host.id());
    let in_host = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args([host.as_str(), "--", program]).args(arguments);
        assert!(command.status().unwrap().success(), "{program} {arguments:?}");
    };
    let data = data.to_string_lossy().into_owned();
    in_host("mount", &["-t", "tmpfs", "data", &data]);
    in_host("mkdir", &[&format!("{data}/inner")]);
    let before = peers.mounts();
    peers.call(bundle.call("create", &[])).ok();
    let (_, theirs) = peers.mounts();
    assert!(!theirs.iter().any(|line| line.contains("/data/inner")), "{theirs:#?}");
    peers.call(t.cmd(["delete", "--force", bundle.id()])).ok();
    assert_eq!(peers.mounts(), before);
    in_host("umount", &[&data]);
}

/// Joining namespaces leads nowhere when there is none of mounts.
fn exec_sees_the_root_of_the_container(t: &Test) {
    let container = bundle(t).file("/etc/mark", "inside\n").idle();
    let out = container.exec_sh(&[], "cat /etc/mark; pwd; ls /; ls -l /proc/self/fd | wc -l").ok();
    assert!(out.stdout.starts_with("inside\n/\n"), "{}", out.report());
    assert!(!out.stdout.contains("boot") && !out.stdout.contains("media"), "{}", out.report());
    // The three streams, and the directory that is listed.
    assert!(out.stdout.trim_end().ends_with("\n5"), "{}", out.report());
}

/// What is not the container's is left alone.
fn something_mounted_over_it_is_told_by_delete(t: &Test) {
    let container = bundle(t).idle();
    let rootfs = t.dir().join(format!("bundle-{}/rootfs", container.id));
    let rootfs = rootfs.to_string_lossy();
    assert!(Command::new("mount").args(["-t", "tmpfs", "over", &rootfs]).status().unwrap().success());
    t.cmd(["delete", "--force", &container.id]).run().fails(&["something else is mounted over it"]);
    assert!(Command::new("umount").arg(&*rootfs).status().unwrap().success());
    t.cmd(["delete", "--force", &container.id]).run().ok();
}

/// security: whatever is killed when, `delete --force` finds what to clean up.
fn delete_after_a_killed_create_finds_the_mount(t: &Test) {
    let bundle = bundle(t).hook("createRuntime", "touch reached; until [ -e go ]; do sleep 0.02; done");
    let create = bundle.call("create", &[]).spawn();
    t.until("the hook", || bundle.dir().join("reached").exists());
    create.signal(nix::sys::signal::Signal::SIGKILL);
    drop(create);
    std::fs::write(bundle.dir().join("go"), "").unwrap();
    assert!(own_mounts(t).len() > 5);
    t.cmd(["delete", "--force", bundle.id()]).run().ok();
    assert_eq!(own_mounts(t).len(), 0);
}

/// Nothing is promised that a chroot does not keep.
fn what_needs_a_mount_namespace_is_refused(t: &Test) {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let cases: [(&str, Value, &str); 4] = [
        ("/root/readonly", json!(true), "/root/readonly"),
        ("/linux/maskedPaths", json!(["/proc/keys"]), "/linux/maskedPaths"),
        ("/linux/readonlyPaths", json!(["/proc/sys"]), "/linux/readonlyPaths"),
        ("/linux/rootfsPropagation", json!("slave"), "/linux/rootfsPropagation"),
    ];
    for (pointer, value, at) in cases {
        bundle(t).set(pointer, value).try_create().fails(&[at, "needs a mount namespace"]);
    }
    let user = bundle(t)
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    user.try_create().fails(&["/linux/namespaces/4", "add {\"type\": \"mount\"} to linux.namespaces"]);
    let report = bundle(t).set("/linux/maskedPaths", json!([])).report();
    assert!(report::find_mount(&report, "/proc").is_some());
}
