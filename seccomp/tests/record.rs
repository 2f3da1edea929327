//! Recorded profiles: they allow what was seen, and nothing else that has a name.

use serde_json::{Value, json};
use teu_seccomp::arch::Target;
use teu_seccomp::explain::Reading;
use teu_seccomp::record::{MARK, Recording};
use teu_seccomp::{Action, Arch, Policy, SeccompData, compile, simulate};

fn call(arch: Arch, name: &str, args: [u64; 6]) -> SeccompData {
    let nr = match arch.resolve(name) {
        Some(Target::Number(nr) | Target::Multiplexed { direct: Some(nr), .. }) => nr,
        other => panic!("{name} on {arch}: {other:?}"),
    };
    SeccompData { nr, arch: arch.audit(), instruction_pointer: 0, args }
}

fn native(name: &str) -> SeccompData {
    call(Arch::NATIVE, name, [0; 6])
}

fn policy(profile: &Value) -> Policy {
    Policy::from_value(profile).expect("a good profile").expect("a policy")
}

fn answer(profile: &Value, data: &SeccompData) -> u32 {
    let policy = policy(profile);
    let answer = simulate::run(&compile(&policy).expect("a program").instructions, data);
    assert_eq!(answer, Reading::new(&policy).decide(data).action.value());
    answer
}

/// What every profile allows: without it no program ends, nor does a signal handler.
const NOT_HELD: [&str; 3] = ["exit", "exit_group", "rt_sigreturn"];

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;

#[test]
fn a_recorded_profile_allows_exactly_what_was_seen() {
    let mut recording = Recording::new();
    for name in ["write", "read", "getpid", "read", "mseal"] {
        recording.see(&native(name));
    }
    let profile = recording.profile();
    assert_eq!(
        profile,
        json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": [Arch::NATIVE.name()],
            "syscalls": [{"names": ["exit", "exit_group", "getpid", "mseal", "read", "rt_sigreturn", "write"], "action": "SCMP_ACT_ALLOW", "x-recorded": true}],
            "x-recorded": {
                "observations": 5,
                "note": "allows what was seen, which may be less than the program needs; read it before use",
            },
        })
    );
    for nr in 0..600 {
        let data = SeccompData { nr, arch: Arch::NATIVE.audit(), ..Default::default() };
        let seen = ["read", "write", "getpid", "mseal"].iter().chain(&NOT_HELD);
        let seen = seen.into_iter().any(|name| native(name).nr == nr);
        assert_eq!(answer(&profile, &data) == ALLOW, seen, "{nr}");
    }
    assert!(policy(&profile).warnings().is_empty());
}

#[test]
fn merging_adds_only_what_the_profile_refuses() {
    let base = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "comment": "by hand",
        "syscalls": [
            {"names": ["read", "getpid"], "action": "SCMP_ACT_ALLOW", "comment": "kept"},
            {"names": ["mount", "umount2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["ptrace"], "action": "SCMP_ACT_KILL"},
            {"names": ["kill", "tgkill"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]},
        ],
    });
    let mut recording = Recording::over(&base).expect("a good profile");
    recording.see(&native("read"));
    recording.see(&call(Arch::NATIVE, "tgkill", [1, 9, 0, 0, 0, 0]));
    recording.see(&call(Arch::NATIVE, "kill", [1, 15, 0, 0, 0, 0]));
    recording.see(&native("mount"));
    recording.see(&native("ptrace"));
    recording.see(&native("close"));
    let profile = recording.profile();
    assert_eq!(profile["comment"], "by hand");
    assert_eq!(
        profile["syscalls"],
        json!([
            {"names": ["read", "getpid"], "action": "SCMP_ACT_ALLOW", "comment": "kept"},
            {"names": ["umount2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["tgkill"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]},
            {
                "names": ["close", "exit", "exit_group", "kill", "mount", "ptrace", "rt_sigreturn"],
                "action": "SCMP_ACT_ALLOW",
                "x-recorded": true,
            },
        ])
    );
    for (data, allowed) in [
        (native("close"), ALLOW),
        (native("mount"), ALLOW),
        (native("ptrace"), ALLOW),
        (native("umount2"), Action::Errno(38).value()),
        (call(Arch::NATIVE, "tgkill", [1, 15, 0, 0, 0, 0]), EPERM),
    ] {
        assert_eq!(answer(&profile, &data), allowed, "{data:?}");
    }
    // A second recording over the first one keeps one recorded rule and adds up what was seen.
    let mut second = Recording::over(&profile).expect("a good profile");
    second.see(&native("openat"));
    second.see(&native("close"));
    let profile = second.profile();
    assert_eq!(profile[MARK]["observations"], 8);
    assert_eq!(
        profile["syscalls"][3]["names"],
        json!(["close", "exit", "exit_group", "kill", "mount", "openat", "ptrace", "rt_sigreturn"])
    );
    assert_eq!(profile["syscalls"].as_array().map(Vec::len), Some(4));
}

#[test]
fn a_recording_that_finds_nothing_new_changes_nothing_but_the_count() {
    let base: Value = serde_json::from_str(include_str!("../testdata/docker-28.json")).expect("a JSON file");
    let mut recording = Recording::over(&base).expect("a good profile");
    recording.see(&native("read"));
    let profile = recording.profile();
    assert_eq!(profile["syscalls"], base["syscalls"]);
    assert_eq!(profile[MARK]["observations"], 1);
}

#[test]
fn what_a_listener_or_a_tracer_decides_stays_theirs() {
    let base = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "listenerPath": "/run/agent.sock",
        "syscalls": [
            {"names": ["mount"], "action": "SCMP_ACT_NOTIFY"},
            {"names": ["ptrace"], "action": "SCMP_ACT_TRACE"},
            {"names": NOT_HELD, "action": "SCMP_ACT_ALLOW"},
        ],
    });
    let mut recording = Recording::over(&base).expect("a good profile");
    recording.see(&native("mount"));
    recording.see(&native("ptrace"));
    assert_eq!(recording.profile()["syscalls"], base["syscalls"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_other_architectures_bring_them_into_the_profile() {
    let mut recording = Recording::new();
    recording.see(&native("read"));
    // connect, the third function of socketcall.
    recording.see(&SeccompData {
        nr: 102,
        arch: Arch::X86.audit(),
        args: [3, 0, 0, 0, 0, 0],
        ..Default::default()
    });
    // shmat with a version in the upper half.
    recording.see(&SeccompData {
        nr: 117,
        arch: Arch::X86.audit(),
        args: [0x1_0015, 0, 0, 0, 0, 0],
        ..Default::default()
    });
    recording.see(&SeccompData {
        nr: 117,
        arch: Arch::X86.audit(),
        args: [99, 0, 0, 0, 0, 0],
        ..Default::default()
    });
    let profile = recording.profile();
    assert_eq!(profile["architectures"], json!(["SCMP_ARCH_X86", "SCMP_ARCH_X86_64"]));
    assert_eq!(
        profile["syscalls"][0]["names"],
        json!(["connect", "exit", "exit_group", "ipc", "read", "rt_sigreturn", "shmat", "sigreturn"])
    );
    let data = |function| SeccompData {
        nr: 102,
        arch: Arch::X86.audit(),
        args: [function, 0, 0, 0, 0, 0],
        ..Default::default()
    };
    assert_eq!(answer(&profile, &data(3)), ALLOW);
    assert_eq!(answer(&profile, &data(1)), EPERM);
}

#[test]
fn calls_without_a_name_are_reported_apart() {
    let mut recording = Recording::new();
    recording.see(&SeccompData { nr: 599, arch: Arch::NATIVE.audit(), ..Default::default() });
    recording.see(&SeccompData { nr: 1, arch: 7, ..Default::default() });
    let unnamed: Vec<_> = recording.unnamed().collect();
    assert_eq!(unnamed, ["0x7:1".to_owned(), format!("{}:599", Arch::NATIVE)]);
}

/// A call that is held can be interrupted. Who is interrupted in one of these crashes.
#[test]
fn the_program_that_records_holds_neither_the_end_of_a_process_nor_that_of_a_signal_handler() {
    let program = teu_seccomp::record::program(7).instructions;
    for arch in Arch::ALL.into_iter().filter(|arch| arch.runs_on(Arch::NATIVE)) {
        for name in NOT_HELD.iter().chain(&["sigreturn"]) {
            if arch.resolve(name).is_some() {
                assert_eq!(simulate::run(&program, &call(arch, name, [0; 6])), ALLOW, "{name} on {arch}");
            }
        }
        for name in ["read", "execve", "getpid", "kill", "restart_syscall"] {
            let answer = simulate::run(&program, &call(arch, name, [0; 6]));
            assert_eq!(answer, Action::Notify.value(), "{name} on {arch}");
        }
    }
    // A number means something else elsewhere: 1 is exit on i386, and write on x86_64.
    let other = SeccompData { nr: native("exit").nr, arch: 7, ..Default::default() };
    assert_eq!(simulate::run(&program, &other), Action::Notify.value());
}

#[test]
fn the_program_that_records_lets_only_the_call_with_the_key_pass() {
    let key = 0x1234_5678_9abc_def0;
    let program = teu_seccomp::record::program(key);
    assert!(simulate::is_loadable(&program.instructions));
    let answer = |name, sixth| {
        let data = SeccompData { args: [0, 0, 0, 0, 0, sixth], ..native(name) };
        simulate::run(&program.instructions, &data)
    };
    assert_eq!(answer("sendmsg", key), ALLOW);
    assert_eq!(answer("execve", key), Action::Notify.value());
    for other in [0, key & 0xffff_ffff, key ^ 1, key ^ 1 << 63, u64::MAX] {
        assert_eq!(answer("sendmsg", other), Action::Notify.value(), "{other:#x}");
    }
}

/// A program that goes through all numbers does not fill the memory of whoever records it.
#[test]
fn calls_without_a_name_are_bounded() {
    let mut recording = Recording::new();
    for nr in 10_000..30_000 {
        recording.see(&SeccompData { nr, arch: Arch::NATIVE.audit(), ..Default::default() });
    }
    recording.see(&native("mkdirat"));
    assert_eq!((recording.unnamed().count(), recording.calls(), recording.observations()), (100, 1, 20_001));
    assert_eq!(
        recording.profile()["syscalls"][0]["names"],
        json!(["exit", "exit_group", "mkdirat", "rt_sigreturn"])
    );
}
