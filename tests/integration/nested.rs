//! The caller is root of a user namespace, as in podman of an unprivileged user, or in a container.

use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::harness::caller::FIRST;
use crate::harness::{Bundle, Caller, Cmd, Test, View};

cases![
    container_of_the_root_of_a_user_namespace_works,
    user_namespace_in_a_user_namespace_works,
    single_id_of_the_caller_is_enough,
    pid_namespace_of_another_container_is_joined,
    container_without_capabilities_does_not_see_into_another_one,
    cgroup_belongs_to_the_user_of_the_process,
    container_in_a_container_works,
    what_the_outer_container_forbids_is_named,
];

/// A user namespace with a mount namespace in which everything is called.
struct Outer<'t> {
    test: &'t Test,
    holder: Child,
}

impl Drop for Outer<'_> {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl<'t> Outer<'t> {
    /// With `count` ids from [`FIRST`] on.
    fn new(test: &'t Test, count: u32) -> Outer<'t> {
        if test.caller() != Caller::User {
            test.skip("the caller is the root of the host; TEU_AS=user runs it");
        }
        let script = "mount --make-rprivate / && echo ready && exec sleep 1000";
        let mut command = Command::new("setpriv");
        let id = FIRST.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "unshare", "--mount"]);
        if count == 1 {
            command.args(["--map-root-user"]);
        } else {
            // The first two are those of podman: the caller, then the subordinate ids.
            let rest = format!("{},1,{}", FIRST + 1, count - 1);
            command.args(["--map-root-user", "--map-users", &rest, "--map-groups", &rest]);
        }
        let mut holder =
            command.args(["sh", "-c", script]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let output = holder.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        assert_eq!(line, "ready\n");
        Outer { test, holder }
    }

    /// A call in it.
    fn call(&self, cmd: Cmd<'t>) -> Cmd<'t> {
        let target = self.holder.id();
        cmd.through(&format!(
            "exec nsenter --user --mount --preserve-credentials --target {target} -- \"$@\""
        ))
    }

    fn verb(&self, verb: &str, words: &[&str]) -> Cmd<'t> {
        let cmd = words.iter().fold(self.test.cmd([verb]), |cmd, word| cmd.arg(word));
        self.call(cmd)
    }
}

/// Without a user namespace of its own: an empty list keeps the harness from adding one.
fn plain(t: &Test) -> Bundle<'_> {
    let bundle = t.bundle().without_namespace("user");
    bundle.set("/linux/uidMappings", Value::Array(vec![])).set("/linux/gidMappings", Value::Array(vec![]))
}

/// The nodes of the host are bound, since such a root cannot make any.
fn container_of_the_root_of_a_user_namespace_works(t: &Test) {
    let outer = Outer::new(t, 65536);
    let script = "id -u; tr -s ' ' </proc/self/uid_map; echo x >/dev/null; head -c 3 /dev/zero | wc -c; stat -c '%t:%T' /dev/null";
    let out = outer.call(plain(t).sh(script).run_cmd()).run().ok();
    assert_eq!(out.stdout, format!("0\n 0 {FIRST} 1\n 1 {} 65535\n3\n1:3\n", FIRST + 1));
    // The whole life.
    let bundle = plain(t).sh("echo up; sleep 100");
    outer.call(bundle.call("create", &[])).run().ok();
    let id = bundle.id();
    let created = outer.verb("exec", &[id, "id", "-u"]).run();
    assert_eq!(created.ok().stdout, "0\n");
    outer.verb("start", &[id]).run().ok();
    let groups = outer.verb("exec", &["--user", "1000:7", "--additional-gids", "9", id, "id", "-G"]).run();
    assert_eq!(groups.ok().stdout, "7 9\n");
    assert_eq!(outer.verb("state", &[id]).run().ok().json()["status"], "running");
    outer.verb("kill", &[id, "KILL"]).run().ok();
    t.until("the end", || outer.verb("state", &[id]).run().ok().json()["status"] == "stopped");
    outer.verb("delete", &[id]).run().ok();
}

fn user_namespace_in_a_user_namespace_works(t: &Test) {
    let outer = Outer::new(t, 65536);
    let mapped = |map: Value| {
        let bundle = t.bundle().namespace("user", None).set("/linux/uidMappings", map.clone());
        let bundle =
            bundle.set("/linux/gidMappings", map).sh("tr -s ' ' </proc/self/uid_map; echo x >/dev/null");
        outer.call(bundle.run_cmd()).run()
    };
    let out = mapped(json!([
        { "containerID": 0, "hostID": 0, "size": 1 },
        { "containerID": 1, "hostID": 1, "size": 999 },
    ]));
    assert_eq!(out.ok().stdout, " 0 0 1\n 1 1 999\n");
    // Across the two ranges of the caller.
    let out = mapped(json!([{ "containerID": 0, "hostID": 0, "size": 1000 }]));
    if t.is("teu") {
        let out = out.fails(&["write uid_map", "/linux/uidMappings", "EPERM"]);
        assert!(out.stderr.contains("within one line of /proc/self/uid_map"), "{}", out.report());
    }
}

/// setgroups(2) is denied in such a namespace; no groups are asked for.
fn single_id_of_the_caller_is_enough(t: &Test) {
    let outer = Outer::new(t, 1);
    // The group of terminals is not mapped.
    let options = &["newinstance", "ptmxmode=0666", "mode=0620"];
    let bundle = plain(t).without_mounts("/dev/pts").mount("/dev/pts", "devpts", "devpts", options);
    let bundle = bundle.sh("id -u; cat /proc/self/setgroups; sleep 100");
    outer.call(bundle.call("run", &["--detach"])).run().ok();
    let out = outer.verb("exec", &[bundle.id(), "id", "-u"]).run().ok();
    assert_eq!(out.stdout, "0\n");
    outer.verb("delete", &["--force", bundle.id()]).run().ok();
}

/// The way back to the pid namespace of the host is closed, so the parent cannot go there and return.
fn pid_namespace_of_another_container_is_joined(t: &Test) {
    let outer = Outer::new(t, 65536);
    let first = plain(t).sh("sleep 4321");
    outer.call(first.call("run", &["--detach"])).run().ok();
    let pid = outer.verb("state", &[first.id()]).run().ok().json()["pid"].to_string();
    let second = plain(t).namespace("pid", Some(&format!("/proc/{pid}/ns/pid"))).sh("ps -o args");
    let hooked = second.hook("poststart", "readlink /proc/self/ns/pid >&2; exit 0");
    let out = outer.call(hooked.run_cmd()).run().ok();
    assert!(out.stdout.contains("sleep 4321"), "{}", out.report());
    outer.verb("delete", &["--force", first.id()]).run().ok();
}

/// user_namespaces(7): the owner of a user namespace has every capability in it, and here each container is the owner.
fn container_without_capabilities_does_not_see_into_another_one(t: &Test) {
    t.only_teu(crate::harness::HOSTILE);
    let outer = Outer::new(t, 65536);
    let (shared, secret) = (t.make_dir("shared"), t.make_dir("secret"));
    let script = format!(
        "echo up; while :; do for p in /proc/[0-9]*; do [ -d $p/root{} ] && echo $p >>/shared/seen; done; done",
        secret.display()
    );
    let none = json!({ "bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": [] });
    let watcher = plain(t).set("/process/capabilities", none).bind(&shared, "/shared", &["bind"]).sh(&script);
    outer.call(watcher.call("run", &["--detach"])).run().ok();
    let pid = outer.verb("state", &[watcher.id()]).run().ok().json()["pid"].to_string();
    let map = json!([{ "containerID": 0, "hostID": 1, "size": 1000 }]);
    for _ in 0..30 {
        let bundle = t
            .bundle()
            .namespace("user", None)
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map.clone())
            .namespace("pid", Some(&format!("/proc/{pid}/ns/pid")))
            .without_mounts("/proc")
            .args(["true"]);
        outer.call(bundle.call("create", &[])).run().ok();
        outer.verb("delete", &["--force", bundle.id()]).run().ok();
    }
    outer.verb("delete", &["--force", watcher.id()]).run().ok();
    let seen = std::fs::read_to_string(shared.join("seen")).unwrap_or_default();
    assert!(seen.is_empty(), "the tree of the host was seen through {} times: {seen}", seen.lines().count());
}

/// config-linux.md#cgroup-ownership.
fn cgroup_belongs_to_the_user_of_the_process(t: &Test) {
    let outer = Outer::new(t, 65536);
    if t.view() != View::V2 {
        t.skip("only cgroups of version 2 are given to the user");
    }
    let bundle = plain(t).namespace("cgroup", None).without_mounts("/sys/fs/cgroup");
    let bundle = bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev"]);
    let user = json!({ "uid": 1000, "gid": 1000 });
    let out = outer
        .call(bundle.set("/process/user", user).sh("stat -c %u /sys/fs/cgroup/cgroup.procs").run_cmd())
        .run()
        .ok();
    assert_eq!(out.stdout, "1000\n");
}

/// A container in which the runtime is /bin/teu, and a bundle is /inner. Nothing is masked.
fn around<'t>(t: &'t Test, inner: &Bundle, script: &str) -> Bundle<'t> {
    inner.write();
    t.bundle()
        .bind(&t.runtime().path, "/bin/teu", &["bind", "ro"])
        .bind(inner.dir(), "/inner", &["rbind"])
        .tmpfs("/run", &[])
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
        .sh(script)
}

fn capable<'t>(bundle: Bundle<'t>, without: &[&str]) -> Bundle<'t> {
    let all: Vec<&str> = ALL.iter().filter(|name| !without.contains(name)).copied().collect();
    let sets = json!({ "bounding": all, "effective": all, "permitted": all });
    bundle.set("/process/capabilities", sets)
}

/// What an inner runtime and its container need.
const ALL: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RESOURCE",
];

/// With and without a user namespace of the inner container.
fn inner_bundles<'t>(t: &'t Test, script: &str) -> [Bundle<'t>; 2] {
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    let pts = ["newinstance", "ptmxmode=0666", "mode=0620"];
    let mapped = t.bundle().namespace("user", None);
    let mapped = mapped.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    [plain(t), mapped].map(|bundle| {
        let bundle = bundle.without_mounts("/dev/pts").mount("/dev/pts", "devpts", "devpts", &pts);
        bundle.unset("/linux/resources").unset("/linux/cgroupsPath").sh(script)
    })
}

fn container_in_a_container_works(t: &Test) {
    t.only_teu("the runtime must be one file");
    for inner in inner_bundles(t, "id -u; echo x >/dev/null && echo inner; sleep 100") {
        let script = "teu() { command /bin/teu --cgroup-manager disabled \"$@\"; }; set -e; cd /inner
                      teu create c1 >/run/out; teu start c1
                      until grep -q inner /run/out; do sleep 0.05; done; cat /run/out
                      teu exec c1 sh -c 'echo exec $(id -u)'; teu state c1 | grep -o running
                      teu kill c1 KILL; until teu state c1 | grep -q stopped; do sleep 0.05; done
                      teu delete c1; teu list -q";
        let out = capable(around(t, &inner, script), &[]).run().ok();
        assert_eq!(out.stdout, "0\ninner\nexec 0\nrunning\n", "{}", out.report());
    }
}

/// One line says it, with the option of the engine that is around.
fn what_the_outer_container_forbids_is_named(t: &Test) {
    t.only_teu("hints are teu's");
    let [plain, mapped] = inner_bundles(t, "true");
    let run = "/bin/teu --cgroup-manager disabled run --bundle /inner c1";
    let refused = |bundle: Bundle, text: &str| {
        let out = bundle.run();
        assert_ne!(out.code, Some(0), "{}", out.report());
        assert!(out.stderr.contains(text), "{text:?} is not hinted at\n{}", out.report());
    };
    refused(
        capable(around(t, &plain, run), &["CAP_SYS_ADMIN"]),
        "hint: use a user namespace, as `teu spec --rootless` writes it",
    );
    refused(capable(around(t, &plain, run), &["CAP_NET_ADMIN"]), "it takes CAP_NET_ADMIN");
    refused(
        capable(around(t, &mapped, run), &[]).set("/linux/maskedPaths", json!(["/proc/keys"])),
        "proc and sysfs are refused where those outside are covered",
    );
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }] });
    refused(
        capable(around(t, &mapped, run), &[]).set("/linux/seccomp", filter),
        "a seccomp filter is in force here",
    );
    if t.view() == View::V2 && t.caller() == Caller::Root {
        let run = "/bin/teu run --bundle /inner c1";
        let options = ["nosuid", "noexec", "nodev", "ro"];
        let bundle = capable(around(t, &plain, run), &[]).namespace("cgroup", None);
        let bundle =
            bundle.without_mounts("/sys/fs/cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", &options);
        refused(bundle, "needs its cgroups writable (--privileged)");
    }
}
