//! Seccomp: the filter is the profile.

use serde_json::{Value, json};

use crate::harness::report::status;
use crate::harness::{Bundle, Test};

cases![
    unknown_call_is_refused_where_an_annotation_asks_for_it,
    refused_call_gives_eperm,
    refused_call_gives_the_errno_of_the_profile,
    default_errno_is_given_to_all_others,
    arguments_are_compared,
    call_newer_than_the_profile_gives_enosys,
    x32_calls_of_a_refusing_profile_are_hidden_or_refused,
    killed_process_dies_by_sigsys,
    unknown_call_of_a_profile_is_ignored,
    filter_is_loaded_after_everything_that_it_could_refuse,
    filter_without_no_new_privileges_is_loaded,
    start_container_hook_runs_in_the_filter,
    notify_hands_the_listener_to_the_agent,
    notify_without_an_agent_is_refused,
];

fn profile(default: &str, rules: Value) -> Value {
    json!({ "defaultAction": default, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"], "syscalls": rules })
}

fn with(t: &Test, rules: Value) -> Bundle<'_> {
    t.bundle().set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rules))
}

const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

/// config-linux.md#seccomp.
fn refused_call_gives_eperm(t: &Test) {
    let out = with(t, json!([{ "names": MKDIR, "action": "SCMP_ACT_ERRNO" }]))
        .sh("mkdir /tmp/x; touch /tmp/y && echo fine")
        .run()
        .ok();
    assert!(out.stderr.contains("Operation not permitted"), "{}", out.report());
    assert_eq!(out.stdout, "fine\n");
}

/// config-linux.md#seccomp: `errnoRet`.
fn refused_call_gives_the_errno_of_the_profile(t: &Test) {
    let rules = json!([{ "names": MKDIR, "action": "SCMP_ACT_ERRNO", "errnoRet": 100 }]);
    let out = with(t, rules).sh("mkdir /tmp/x").run();
    assert!(out.stderr.contains("Network is down"), "{}", out.report());
}

/// config-linux.md#seccomp: `defaultErrnoRet`.
fn default_errno_is_given_to_all_others(t: &Test) {
    let bundle = t.bundle().probe();
    let mut profile =
        profile("SCMP_ACT_ALLOW", json!([{ "names": ["sync"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99 }]));
    profile["defaultErrnoRet"] = Value::Null;
    // sync(2) takes no arguments and cannot fail by itself.
    let out = bundle
        .set("/linux/seccomp", profile)
        .args(["probe", "syscall", &libc::SYS_sync.to_string()])
        .run()
        .ok();
    assert_eq!(out.stdout, "99\n");
}

/// config-linux.md#seccomp: `args`.
fn arguments_are_compared(t: &Test) {
    // kill(2) with SIGUSR1 alone.
    let rules = json!([{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 1, "value": 10, "op": "SCMP_CMP_EQ" }] }]);
    let out = with(t, rules).sh("kill -0 $$ && echo zero; kill -USR1 $$ || echo refused").run().ok();
    assert_eq!(out.stdout, "zero\nrefused\n");
}

/// All that a small program needs, and nothing that is new.
const SMALL_PROGRAM: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "capget",
    "capset",
    "chdir",
    "clone",
    "close",
    "dup2",
    "dup3",
    "epoll_ctl",
    "execve",
    "exit",
    "exit_group",
    "faccessat",
    "fchdir",
    "fchown",
    "fcntl",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "geteuid",
    "getpid",
    "getppid",
    "getrandom",
    "gettid",
    "getuid",
    "ioctl",
    "lseek",
    "mmap",
    "mprotect",
    "munmap",
    "nanosleep",
    "newfstatat",
    "open",
    "openat",
    "pipe2",
    "poll",
    "prctl",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "setgid",
    "setgroups",
    "setresgid",
    "setresuid",
    "setuid",
    "sigaltstack",
    "stat",
    "statfs",
    "sysinfo",
    "tgkill",
    "uname",
    "wait4",
    "write",
    "writev",
    "rseq",
    "epoll_pwait",
    "tkill",
    "getegid",
    "getgid",
    "close_range",
    "statx",
    "clone3",
    "faccessat2",
    "openat2",
];

/// runc: programs fall back on ENOSYS, and give up on EPERM.
fn call_newer_than_the_profile_gives_enosys(t: &Test) {
    t.skip_for("crun", "gives EPERM");
    let profile = profile("SCMP_ACT_ERRNO", json!([{ "names": SMALL_PROGRAM, "action": "SCMP_ACT_ALLOW" }]));
    let answer = |number: i64| {
        let bundle = t.bundle().set("/linux/seccomp", profile.clone());
        bundle.args(["probe", "syscall", &number.to_string()]).run().ok().stdout
    };
    assert_eq!(answer(4095), format!("{}\n", libc::ENOSYS));
    assert_eq!(answer(libc::SYS_sync), format!("{}\n", libc::EPERM));
}

/// runc: x32 calls are calls of x86_64 with very high numbers, so a profile that does not name x32 has never heard of
/// them. One that names it treats them by their own numbers.
fn x32_calls_of_a_refusing_profile_are_hidden_or_refused(t: &Test) {
    t.skip_for("runc", "kills whoever makes calls of x32 that the profile does not name");
    t.skip_for("crun", "gives EPERM");
    if !cfg!(target_arch = "x86_64") {
        t.skip("x32 is a second way to call a kernel of x86_64");
    }
    const X32: i64 = 0x4000_0000;
    let answers = |architectures: Value| -> [i32; 3] {
        let profile = json!({ "defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures,
            "syscalls": [{ "names": SMALL_PROGRAM, "action": "SCMP_ACT_ALLOW" }] });
        [libc::SYS_sync, X32 | libc::SYS_sync, X32 | 4095].map(|number| {
            let bundle = t.bundle().set("/linux/seccomp", profile.clone());
            bundle.args(["probe", "syscall", &number.to_string()]).run().ok().stdout.trim().parse().unwrap()
        })
    };
    // The filter comes before the kernel looks whether it has x32 at all.
    assert_eq!(answers(json!(["SCMP_ARCH_X86_64"])), [libc::EPERM, libc::ENOSYS, libc::ENOSYS]);
    assert_eq!(
        answers(json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"])),
        [libc::EPERM, libc::EPERM, libc::ENOSYS]
    );
}

/// seccomp(2).
fn killed_process_dies_by_sigsys(t: &Test) {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD"] {
        let rules = json!([{ "names": MKDIR, "action": action }]);
        let out = with(t, rules).args(["mkdir", "/tmp/x"]).run();
        out.exits(128 + libc::SIGSYS);
    }
}

/// Profiles list calls of every kernel and architecture.
fn unknown_call_of_a_profile_is_ignored(t: &Test) {
    with(t, json!([{ "names": ["no_such_call", "_llseek", "mkdir"], "action": "SCMP_ACT_ERRNO" }]))
        .run()
        .ok();
}

/// A typing error in a list of what is forbidden would forbid nothing.
fn unknown_call_is_refused_where_an_annotation_asks_for_it(t: &Test) {
    t.skip_for("runc", "the annotation is of crun");
    const STRICT: &str = "/annotations/run.oci.seccomp_fail_unknown_syscall";
    let rules = |name: &str| {
        let first = json!({ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" });
        json!([first, { "names": ["rmdir", name], "action": "SCMP_ACT_ERRNO" }])
    };
    let out = with(t, rules("no_such_call")).set(STRICT, "1").try_create().fails(&["no_such_call"]);
    if t.is("teu") {
        out.fails(&["unknown system call \"no_such_call\"", "(/linux/seccomp/syscalls/1/names/1)"]);
    }
    // Calls of other architectures are known ones.
    with(t, rules("_llseek")).set(STRICT, "1").run().ok();
    with(t, rules("no_such_call")).set(STRICT, "0").run().ok();
}

/// With no_new_privs the filter is the last step, so it may refuse all that comes before.
fn filter_is_loaded_after_everything_that_it_could_refuse(t: &Test) {
    let names = json!([
        "setuid",
        "setgid",
        "setgroups",
        "setresuid",
        "setresgid",
        "capset",
        "mount",
        "pivot_root",
        "umount2",
        "sethostname",
        "chdir",
        "setsid"
    ]);
    let bundle = with(t, json!([{ "names": names, "action": "SCMP_ACT_KILL_PROCESS" }]))
        .set("/process/noNewPrivileges", true)
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .probe();
    let report = bundle.run().ok().json();
    assert_eq!((status(&report, "Seccomp"), status(&report, "Uid")), ("2", "1000\t1000\t1000\t1000"));
}

/// seccomp(2): without no_new_privs it needs CAP_SYS_ADMIN, which the process then does not have.
fn filter_without_no_new_privileges_is_loaded(t: &Test) {
    let bundle = with(t, json!([{ "names": MKDIR, "action": "SCMP_ACT_ERRNO" }]))
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .set("/process/capabilities", json!({}))
        .probe();
    let report = bundle.run().ok().json();
    assert_eq!(
        (status(&report, "Seccomp"), status(&report, "NoNewPrivs"), status(&report, "CapEff")),
        ("2", "0", "0000000000000000")
    );
}

/// Its program is content of the container.
fn start_container_hook_runs_in_the_filter(t: &Test) {
    t.skip_for("crun", "runs it before");
    let shared = t.make_dir("shared");
    let bundle = with(t, json!([{ "names": MKDIR, "action": "SCMP_ACT_ERRNO" }]))
        .bind(&shared, "/shared", &["bind"])
        .hook("startContainer", "mkdir /shared/made; grep ^Seccomp: /proc/self/status >/shared/status; true");
    bundle.run().ok();
    assert!(!shared.join("made").exists(), "the hook ran without the filter");
    assert!(std::fs::read_to_string(shared.join("status")).unwrap().contains('2'));
}

fn notify_profile(listener: &str) -> Value {
    let mut profile = profile("SCMP_ACT_ALLOW", json!([{ "names": MKDIR, "action": "SCMP_ACT_NOTIFY" }]));
    profile["listenerPath"] = listener.into();
    profile["listenerMetadata"] = "some data".into();
    profile
}

/// config-linux.md#containerprocessstate.
fn notify_hands_the_listener_to_the_agent(t: &Test) {
    use crate::harness::console::ConsoleSocket;
    let agent = ConsoleSocket::at(&t.dir().join("agent"));
    let bundle = t
        .bundle()
        .set("/linux/seccomp", notify_profile(&agent.path.to_string_lossy()))
        .args(["sleep", "100"]);
    let receiver = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| agent.receive_within(std::time::Duration::from_secs(10)));
        let out = bundle.try_create();
        (out, receiver.join())
    });
    receiver.0.ok();
    let received = receiver.1.expect("the agent does not panic");
    let state: Value = serde_json::from_slice(&received.payload).unwrap();
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(received.fds.len(), 1);
    assert_eq!(
        (state["metadata"].as_str(), state["state"]["id"].as_str()),
        (Some("some data"), Some(bundle.id()))
    );
    assert_eq!(state["pid"], t.cmd(["state", bundle.id()]).run().ok().json()["pid"]);
    assert_eq!(state["state"]["status"], "creating");
}

/// config-linux.md#seccomp: the runtime must fail.
fn notify_without_an_agent_is_refused(t: &Test) {
    let nowhere = t.dir().join("nobody").to_string_lossy().into_owned();
    let out = t.bundle().set("/linux/seccomp", notify_profile(&nowhere)).try_create().fails(&[]);
    if t.is("teu") {
        out.fails(&["/linux/seccomp"]);
    }
}
