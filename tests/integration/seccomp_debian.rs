//! Profiles of real programs: each runs under the profile that was recorded of it, and not under less.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::debian::debian;
use crate::harness::Test;

cases![
    python_with_threads_and_sockets_runs_under_its_profile,
    signals_while_the_recorder_is_late_crash_nothing,
    nginx_serves_under_its_profile,
];

fn recorded(t: &Test) -> std::path::PathBuf {
    t.dir().join("profile.json")
}

fn profile(t: &Test) -> Value {
    serde_json::from_slice(&std::fs::read(recorded(t)).expect("the profile exists")).expect("it is JSON")
}

/// The profile without one call, which must be in it.
fn without(profile: &Value, name: &str) -> Value {
    let mut profile = profile.clone();
    let names = profile["syscalls"][0]["names"].as_array_mut().expect("a list");
    let before = names.len();
    names.retain(|known| known != name);
    assert_eq!(names.len() + 1, before, "{name} is in the profile");
    profile
}

/// Threads that wait for each other, and sockets of three kinds.
const PYTHON: &str = r#"
import os, socket, threading
lock, done = threading.Lock(), []
def serve(server):
    peer, _ = server.accept()
    peer.sendall(peer.recv(100).upper())
    peer.close()
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen()
thread = threading.Thread(target=serve, args=(server,))
thread.start()
client = socket.create_connection(server.getsockname())
client.sendall(b"tcp")
print(client.recv(100).decode())
thread.join()
def work(number):
    for _ in range(2000):
        with lock:
            done.append(number)
threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(done))
a, b = socket.socketpair()
a.send(b"unix")
print(b.recv(10).decode())
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", 0))
u.sendto(b"udp", u.getsockname())
print(u.recvfrom(10)[0].decode())
"#;

fn python_with_threads_and_sockets_runs_under_its_profile(t: &Test) {
    t.only_teu("no other runtime records");
    let (bundle, _overlay) = debian(t);
    let bundle = bundle.args(["python3", "-c", PYTHON]);
    let expected = "TCP\n16000\nunix\nudp\n";
    bundle.write();
    let record = t.cmd(["seccomp", "record", "--output"]).arg(recorded(t)).arg(bundle.dir());
    assert_eq!(record.run().ok().stdout, expected);
    let profile = profile(t);
    let bundle = bundle.set("/linux/seccomp", profile.clone());
    assert_eq!(bundle.run().ok().stdout, expected);
    let bundle = bundle.set("/linux/seccomp", without(&profile, "socketpair"));
    bundle.write();
    let out = t.cmd(["seccomp", "why"]).arg(format!("{}/", bundle.dir().display())).run().exits(1);
    assert!(out.stderr.contains("PermissionError"), "{}", out.report());
    assert!(
        out.stderr.contains("\nsocketpair (") || out.stderr.starts_with("socketpair ("),
        "{}",
        out.report()
    );
    assert!(out.stderr.contains("called by   python3, process"), "{}", out.report());
    assert!(out.stderr.ends_with("1 call of 1 kind refused\n"), "{}", out.report());
}

/// Makes calls until /go is there. The handler is the interpreter's own, which blocks no other signal.
const HANDLERS: &str = r#"
import os, signal
for number in (signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda *_: None)
print("up", flush=True)
while not os.path.exists("/go"): pass
os._exit(7)
"#;

/// A call that waits for the recorder is interrupted by a signal. The way back from the handler must not be.
fn signals_while_the_recorder_is_late_crash_nothing(t: &Test) {
    t.only_teu("no other runtime records");
    let (bundle, overlay) = debian(t);
    let bundle = bundle.args(["python3", "-c", HANDLERS]);
    bundle.write();
    let running = t.cmd(["seccomp", "record", "--output"]).arg(recorded(t)).arg(bundle.dir()).spawn();
    running.wait_for_stdout("up");
    let id = bundle.dir().file_name().unwrap().to_string_lossy().into_owned();
    let init = pid(t, &id).expect("it runs");
    running.signal(Signal::SIGSTOP);
    t.until("the recorder is stopped", || run_state(running.pid()) == Some('T'));
    t.until("the program waits for it", || run_state(init) == Some('S'));
    for number in [Signal::SIGUSR1, Signal::SIGUSR2] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(init), number).unwrap();
        // Long enough for the handler to begin.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    running.signal(Signal::SIGCONT);
    std::fs::write(overlay.root().join("go"), "").unwrap();
    running.wait().exits(7);
    without(&profile(t), "exit_group");
}

/// R, S, T and so on, of proc_pid_status(5).
fn run_state(pid: i32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("State:"))?.trim().chars().next()
}

/// Asks the server in the network namespace of a process for its page. Empty when nobody answers.
fn request(pid: i32) -> String {
    let script =
        "exec 3<>/dev/tcp/127.0.0.1/80 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && timeout 5 cat <&3";
    let out = Command::new("nsenter")
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .args(["bash", "-c", script])
        .output()
        .expect("util-linux and bash are there");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn pid(t: &Test, id: &str) -> Option<i32> {
    let out = t.cmd(["state", id]).run();
    if out.code != Some(0) || out.json()["status"] != "running" {
        return None;
    }
    out.json()["pid"].as_i64().map(|pid| pid as i32)
}

/// Waits until the server of the container listens; returns its pid.
fn listening(t: &Test, id: &str) -> i32 {
    t.until("the container runs", || pid(t, id).is_some());
    let pid = pid(t, id).expect("it runs");
    t.until("nginx listens", || {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
        table.lines().any(|line| line.contains(":0050 00000000:0000 0A"))
    });
    pid
}

/// Waits for the server, asks it once, and lets it end in good order.
fn serve_one(t: &Test, id: &str) -> String {
    let page = request(listening(t, id));
    t.cmd(["kill", id, "QUIT"]).run().ok();
    page
}

fn nginx_serves_under_its_profile(t: &Test) {
    t.only_teu("no other runtime records");
    let (bundle, _overlay) = debian(t);
    if !std::path::Path::new(bundle.config()["root"]["path"].as_str().unwrap())
        .join("usr/sbin/nginx")
        .exists()
    {
        t.skip("the Debian tree has no nginx");
    }
    let bundle = bundle.args(["nginx", "-g", "daemon off;"]);
    bundle.write();
    let id = bundle.dir().file_name().unwrap().to_string_lossy().into_owned();
    let running = t.cmd(["seccomp", "record", "--output"]).arg(recorded(t)).arg(bundle.dir()).spawn();
    let page = serve_one(t, &id);
    assert!(page.starts_with("HTTP/1.1 200 OK") && page.contains("Welcome to nginx"), "{page}");
    running.wait().ok();
    let profile = profile(t);
    let bundle = bundle.set("/linux/seccomp", profile.clone());
    let running = bundle.spawn();
    assert_eq!(headless(&serve_one(t, bundle.id())), headless(&page));
    running.wait().ok();
    let bundle = bundle.set("/linux/seccomp", without(&profile, "accept4"));
    bundle.write();
    let running = t.cmd(["seccomp", "why"]).arg(format!("{}/", bundle.dir().display())).spawn();
    // The kernel accepts the connection; nginx cannot, and nobody answers.
    assert_eq!(request(listening(t, &id)), "");
    running.signal(Signal::SIGQUIT);
    let out = running.wait();
    assert!(out.stderr.contains("accept4 ("), "{}", out.report());
    assert!(out.stderr.contains("called by   nginx, process"), "{}", out.report());
    assert!(out.stderr.contains("add {\"names\":[\"accept4\"]"), "{}", out.report());
}

/// The page without the header, which has the time in it.
fn headless(page: &str) -> &str {
    page.split_once("\r\n\r\n").map_or("", |(_, page)| page)
}
