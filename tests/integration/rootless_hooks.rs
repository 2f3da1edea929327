//! What an unprivileged caller, or a program of it, must look into while a container is made: its namespaces, for a
//! network, and its process, to watch its system calls.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::harness::caller::FIRST;
use crate::harness::{Bundle, Caller, Cmd, Test, patience};

cases![
    hook_enters_the_namespaces_of_the_container,
    init_process_is_hidden_again_after_the_hooks,
    init_process_stays_hidden_in_a_user_namespace_of_others,
    network_of_slirp4netns_works,
    network_of_pasta_works,
    hook_of_the_image_cannot_trace_a_watched_process,
];

const KINDS: [&str; 2] = ["prestart", "createRuntime"];

/// A shell that finds the pid of the init process in the state that it reads.
const PID: &str = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); PATH=/usr/sbin:/sbin:/usr/bin:/bin";

fn only_user(t: &Test) {
    if t.caller() != Caller::User {
        t.skip("root may look into every process; TEU_AS=user runs it");
    }
}

/// config.md#prestart: what network plugins do, and those of unprivileged users by way of the user namespace.
fn hook_enters_the_namespaces_of_the_container(t: &Test) {
    for kind in KINDS {
        if t.is_older("crun", 1, 9) && kind == "createRuntime" {
            continue;
        }
        let user = if t.caller() == Caller::Root { "" } else { "--user=/proc/$pid/ns/user" };
        let script =
            format!("{PID}; exec nsenter {user} --net=/proc/$pid/ns/net ip address add 10.9.8.7/32 dev lo");
        let bundle = t.bundle().hook(kind, &script).args(["ip", "address", "show", "dev", "lo"]);
        let out = bundle.run().ok();
        assert!(out.stdout.contains("10.9.8.7"), "{kind}: {}", out.report());
    }
}

/// A call of the unprivileged user: can it open a namespace of the process?
fn user_can_open(pid: &str) -> bool {
    let id = FIRST.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "readlink"]);
    command.arg(format!("/proc/{pid}/ns/net")).output().unwrap().status.success()
}

/// It holds handles of the host until the root is changed, and hooks of the container run before that.
fn init_process_is_hidden_again_after_the_hooks(t: &Test) {
    only_user(t);
    t.only_teu("others show the process longer");
    let dir = t.make_dir("seen");
    let path = dir.display().to_string();
    let first = format!("{PID}; echo $pid >{path}/pid; readlink /proc/$pid/ns/net >{path}/net");
    let second = format!("PATH=/usr/bin:/bin; : >{path}/waits; until test -e {path}/go; do sleep 0.05; done");
    let bundle = t.bundle().hook("createRuntime", &first).hook("createContainer", &second).sh("echo fine");
    let running = bundle.spawn();
    t.until("the second hook runs", || dir.join("waits").exists());
    let pid = fs::read_to_string(dir.join("pid")).unwrap();
    let seen_later = user_can_open(pid.trim());
    fs::write(dir.join("go"), "").unwrap();
    let out = running.wait().ok();
    assert_eq!(out.stdout, "fine\n");
    assert!(fs::read_to_string(dir.join("net")).unwrap().starts_with("net:["), "the first hook sees nothing");
    assert!(!seen_later, "the process is not hidden while hooks of the container run");
}

/// A process of another container in the same user namespace might have CAP_SYS_PTRACE.
fn init_process_stays_hidden_in_a_user_namespace_of_others(t: &Test) {
    only_user(t);
    t.only_teu("others do not hide the process");
    let first = t.bundle().idle();
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid());
    let bundle = t.bundle().namespace("user", Some(&path("user"))).namespace("pid", Some(&path("pid")));
    let script = format!("{PID}; ! readlink /proc/$pid/ns/net");
    bundle.unset("/linux/uidMappings").unset("/linux/gidMappings").hook("createRuntime", &script).run().ok();
}

/// A call by the user on a machine on which everybody may make network devices, as distributions have it.
fn with_tun<'t>(t: &Test, cmd: Cmd<'t>) -> Cmd<'t> {
    let node = t.dir().join("tun");
    let made = Command::new("mknod").args(["-m", "666"]).arg(&node).args(["c", "10", "200"]).status();
    assert!(made.unwrap().success(), "mknod {}", node.display());
    let line = format!("mount --bind {} /dev/net/tun", node.display());
    cmd.starting_as_root().through(&format!(
        "exec unshare --mount --propagation private sh -ec '{line}
         exec setpriv --reuid={FIRST} --regid={FIRST} --clear-groups -- \"$@\"' sh \"$@\""
    ))
}

/// How often what must come is looked for, ten times a second or less.
fn tries() -> u64 {
    patience(Duration::from_secs(10)).as_secs() * 10
}

/// A bundle whose network is made by a program that goes on until the container is deleted, in the background.
///
/// `$pid` in the command is the init process, and a line in `ready` says that the device is there.
fn with_network<'t>(t: &'t Test, command: &str) -> Bundle<'t> {
    let dir = t.make_dir("network").display().to_string();
    let tries = tries();
    let start = format!(
        "{PID}; cd {dir}; {command} >log 2>&1 & echo $! >helper
         for i in $(seq {tries}); do test -s ready && exit; sleep 0.1; done; cat log >&2; exit 1"
    );
    let end = format!(
        "PATH=/usr/bin:/bin; for pid in $(cat {dir}/helper {dir}/daemon 2>/dev/null); do kill $pid; done 2>/dev/null; true"
    );
    t.bundle().hook("createRuntime", &start).hook("poststop", &end)
}

fn needs(t: &Test, program: &str) {
    only_user(t);
    if !Path::new("/usr/bin").join(program).exists() {
        t.skip(format!("this machine has no {program}"));
    }
    if !Path::new("/dev/net/tun").exists() {
        t.skip("this machine has no /dev/net/tun");
    }
}

/// slirp4netns(1): the network of an unprivileged user.
fn network_of_slirp4netns_works(t: &Test) {
    needs(t, "slirp4netns");
    let bundle =
        with_network(t, "slirp4netns --configure --disable-host-loopback --ready-fd=3 $pid tap0 3>ready");
    let bundle = bundle.args(["ip", "address", "show", "dev", "tap0"]);
    let out = with_tun(t, bundle.run_cmd()).run().ok();
    assert!(out.stdout.contains("10.0.2.100/24"), "{}", out.report());
}

/// pasta(1): the same, without addresses of its own.
fn network_of_pasta_works(t: &Test) {
    needs(t, "pasta");
    let command = "pasta --config-net --address 10.7.7.7 --netmask 24 --gateway 10.7.7.1 --ipv4-only \
                   --ns-ifname tap0 --foreground --userns /proc/$pid/ns/user --netns /proc/$pid/ns/net";
    // It says nothing when it is ready, so its device is looked for.
    let tries = tries();
    let waiting = format!(
        "for i in $(seq {tries}); do nsenter --user=/proc/$pid/ns/user --net=/proc/$pid/ns/net ip address \
         show dev tap0 | grep 'inet ' >ready && break; sleep 0.1; done"
    );
    let bundle = with_network(t, &format!("({waiting}) & {command}"));
    let bundle = bundle.args(["ip", "address", "show", "dev", "tap0"]);
    let out = with_tun(t, bundle.run_cmd()).run().ok();
    // On a machine without a network newer versions choose an address themselves.
    assert!(
        ["inet 10.7.7.7/24", "inet 169.254."].iter().any(|text| out.stdout.contains(text)),
        "{}",
        out.report()
    );
}

/// A profile without one call.
fn refusing<'t>(bundle: Bundle<'t>, call: &str) -> Bundle<'t> {
    let rule = json!({ "names": [call], "action": "SCMP_ACT_ERRNO" });
    bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }))
}

/// It has loaded no filter yet, so whoever traces it would have none.
fn hook_of_the_image_cannot_trace_a_watched_process(t: &Test) {
    only_user(t);
    t.only_teu("`seccomp why` is teu's");
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "readlink /proc/1/cwd >/tmp/seen; true"] });
    let bundle = refusing(t.bundle(), "mkdir").tmpfs("/tmp", &[]).push("/hooks/startContainer", hook);
    // Else it has kept a capability for the filter, which the hook does not have.
    let bundle = bundle.set("/process/noNewPrivileges", true);
    let bundle = bundle.sh("echo \"seen: $(cat /tmp/seen)\"");
    bundle.write();
    let out = t.cmd(["seccomp", "why"]).arg(format!("{}/", bundle.dir().display())).run().ok();
    assert_eq!(out.stdout, "seen: \n", "{}", out.report());
}
