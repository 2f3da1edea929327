//! config.json files as engines write them: the whole file at once.
//!
//! Changed in them are the sources of bind mounts (`@SOURCES@`), the id (`@ID@`) and names of machines.

use std::fs;

use serde_json::Value;

use crate::harness::console::{ConsoleSocket, Terminal};
use crate::harness::report::{has, mount, status};
use crate::harness::{Bundle, Caller, Test, View, cgroup};

cases![
    config_of_docker_works,
    config_of_podman_works,
    config_of_containerd_works,
    config_of_docker_confines_as_docker_promises,
    life_of_a_docker_container_works,
    seccomp_profiles_refuse_what_they_should,
];

fn bundle<'t>(t: &'t Test, name: &str) -> Bundle<'t> {
    let text = match name {
        "docker" => include_str!("testdata/docker-28.json"),
        "podman" => include_str!("testdata/podman-4.3.json"),
        _ => include_str!("testdata/containerd-2.1.json"),
    };
    let sources = t.make_dir("sources");
    for dir in ["shm", "data", "_data"] {
        fs::create_dir_all(sources.join(dir)).unwrap();
    }
    for file in ["resolv.conf", "hostname", "hosts", ".containerenv"] {
        fs::write(sources.join(file), format!("this is {file}\n")).unwrap();
    }
    let bundle = t.bundle();
    let text = text.replace("@SOURCES@", &sources.to_string_lossy()).replace("@ID@", bundle.id());
    let mut config: Value = serde_json::from_str(&text).unwrap();
    // Not every machine lets root raise these; what is tested is the file, not the number.
    if let Some(limits) = config["process"]["rlimits"].as_array_mut() {
        for limit in limits {
            let (soft, hard) = match limit["type"].as_str() {
                Some("RLIMIT_NOFILE") => (512, 1024),
                _ => (500, 1000),
            };
            limit["soft"] = soft.into();
            limit["hard"] = hard.into();
        }
    }
    if t.caller() != Caller::Root {
        // The groups that are not mapped cannot be in the range, so dockerd does not set it in a user namespace.
        config["linux"]["sysctl"]["net.ipv4.ping_group_range"] = "0 65535".into();
    }
    bundle.with_config(config).with_cgroups_if_permitted()
}

/// The parent of the cgroup is the engine's; the runtime must leave it, the test must not.
fn remove_parent(bundle: &Bundle) {
    for dir in cgroup::find(&format!("{}-parent", bundle.id())).iter().rev() {
        fs::remove_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    }
}

/// dockerd 28.
fn config_of_docker_works(t: &Test) {
    let bundle = bundle(t, "docker")
        .sh("cat /etc/hosts; hostname; cat /proc/sys/net/ipv4/ping_group_range | tr '\\t' ' '");
    let out = bundle.run();
    remove_parent(&bundle);
    let groups = if t.caller() == Caller::Root { "2147483647" } else { "65535" };
    assert_eq!(out.ok().stdout, format!("this is hosts\nbox\n0 {groups}\n"));
}

/// podman 4.3, with a terminal.
fn config_of_podman_works(t: &Test) {
    let bundle = bundle(t, "podman");
    let limits = !(t.view() == View::V2 && cgroup::hierarchy("memory").is_none());
    let bundle = if limits { bundle } else { bundle.set("/linux/resources", serde_json::json!({})) };
    let socket = ConsoleSocket::at(&t.dir().join("console"));
    let path = socket.path.to_string_lossy().into_owned();
    bundle.call("create", &["--console-socket", &path]).run().ok();
    let terminal = Terminal::from_master(socket.receive().fds.remove(0));
    t.cmd(["start", bundle.id()]).run().ok();
    terminal.type_text("cat /etc/hostname; ls -d /t /data /vol; umask; tty; exit 0\n");
    terminal.wait_for(t, "/dev/pts/0");
    let text = terminal.text();
    assert!(text.contains("this is hostname") && text.contains("0022"), "{text}");
    t.until("the end", || t.cmd(["state", bundle.id()]).run().ok().json()["status"] == "stopped");
    t.cmd(["delete", bundle.id()]).run().ok();
    remove_parent(&bundle);
}

/// containerd 2.1.
fn config_of_containerd_works(t: &Test) {
    let limits = !(t.view() == View::V2 && cgroup::hierarchy("memory").is_none());
    let bundle = bundle(t, "containerd").args(["probe", "report"]);
    let bundle = if limits { bundle } else { bundle.set("/linux/resources", serde_json::json!({})) };
    let out = bundle.run();
    remove_parent(&bundle);
    let report = out.ok().json();
    assert_eq!(status(&report, "NoNewPrivs"), "1");
    assert_eq!(mount(&report, "/run")["fs"], "tmpfs");
}

/// The promises of docker's documentation.
fn config_of_docker_confines_as_docker_promises(t: &Test) {
    let bundle = bundle(t, "docker").args(["probe", "report"]);
    let out = bundle.run();
    remove_parent(&bundle);
    let report = out.ok().json();
    assert_eq!(
        (status(&report, "CapEff"), status(&report, "CapInh")),
        ("00000000a80425fb", "0000000000000000")
    );
    assert_eq!((status(&report, "Seccomp"), status(&report, "NoNewPrivs")), ("2", "0"));
    // runc leaves the tmpfs that holds the version 1 hierarchies writable.
    let cgroup = if t.is("runc") && t.view() != View::V2 { "/sys/fs/cgroup/pids" } else { "/sys/fs/cgroup" };
    for point in ["/proc/sys", "/proc/bus", "/proc/irq", "/sys", cgroup] {
        assert!(has(mount(&report, point), "ro"), "{}", mount(&report, point));
    }
    assert_eq!(mount(&report, "/etc/hosts")["propagation"], serde_json::json!([]));
}

/// What dockerd does through containerd: create, start, signal, delete.
fn life_of_a_docker_container_works(t: &Test) {
    let bundle = bundle(t, "docker");
    let c = bundle.create();
    c.start();
    assert_eq!(c.status(), "running");
    t.cmd(["kill", "--all", &c.id, "15"]).run().ok();
    t.cmd(["kill", &c.id, "9"]).run().ok();
    c.wait_stopped();
    c.delete();
    remove_parent(&bundle);
}

/// Ordinary programs work; what needs the host does not, whatever capabilities there are.
fn seccomp_profiles_refuse_what_they_should(t: &Test) {
    let script = "ls / >/dev/null && mkdir /tmp/x && (sleep 0; true) && echo fine; hostname x || echo refused; \
                  mount -t tmpfs x /mnt || echo refused";
    // Docker's profile was written for a container without CAP_SYS_ADMIN; podman's lets mount(2) through.
    for (name, expected) in [("docker", "fine\nrefused\nrefused\n"), ("podman", "fine\nrefused\n")] {
        let profile = bundle(t, name).config()["linux"]["seccomp"].clone();
        let all = serde_json::json!(["CAP_SYS_ADMIN", "CAP_SYS_TIME"]);
        let capabilities = serde_json::json!({ "bounding": all, "effective": all, "permitted": all });
        let bundle = t.bundle().set("/process/capabilities", capabilities).set("/linux/seccomp", profile);
        let out = bundle.sh(script).run();
        assert_eq!(out.stdout, expected, "{name}: {}", out.report());
    }
}
