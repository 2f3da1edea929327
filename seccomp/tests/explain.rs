//! The reading of a profile, as `teu seccomp explain` shows it: what decides a call, and where that stands.

use serde_json::{Value, json};
use teu_seccomp::arch::Target;
use teu_seccomp::{Action, Arch, Decision, Policy, Reason, SeccompData, advice, explain};

fn policy(section: &Value, native: Arch) -> Policy {
    Policy::from_value_for(section, native).expect("a good section").expect("a policy")
}

fn engine(text: &str) -> Policy {
    policy(&serde_json::from_str(text).expect("a JSON file"), Arch::X86_64)
}

fn docker() -> Policy {
    engine(include_str!("../testdata/docker-28.json"))
}

fn number(arch: Arch, name: &str) -> u32 {
    match arch.resolve(name) {
        Some(Target::Number(nr) | Target::Multiplexed { direct: Some(nr), .. }) => nr,
        other => panic!("{name} on {arch}: {other:?}"),
    }
}

fn check(policy: &Policy, arch: Arch, nr: u32, args: &[u64], action: Action, pointer: &str, reason: Reason) {
    let mut six = [0; 6];
    six[..args.len()].copy_from_slice(args);
    let expected = Decision { action, pointer: pointer.to_owned(), reason };
    assert_eq!(explain(policy, arch, nr, &six), expected, "{nr} on {arch} with {args:x?}");
}

#[test]
fn the_deciding_rule_of_dockers_profile_is_named() {
    let policy = docker();
    let check = |name, args: &[u64], action, pointer, reason| {
        check(&policy, Arch::X86_64, number(Arch::X86_64, name), args, action, pointer, reason);
    };
    check("read", &[], Action::Allow, "/syscalls/0", Reason::Rule);
    check("ptrace", &[], Action::Allow, "/syscalls/1", Reason::Rule);
    check("personality", &[8], Action::Allow, "/syscalls/4", Reason::Rule);
    check("personality", &[9], Action::Errno(1), "/defaultAction", Reason::Default);
    check("socket", &[40], Action::Errno(1), "/defaultAction", Reason::Default);
    check("socket", &[41], Action::Allow, "/syscalls/2", Reason::Rule);
    check("clone", &[0x1000_0000], Action::Errno(1), "/defaultAction", Reason::Default);
    check("clone3", &[], Action::Errno(38), "/syscalls/11", Reason::Rule);
    check("mount", &[], Action::Errno(1), "/defaultAction", Reason::Default);
    check("removexattrat", &[], Action::Allow, "/syscalls/0", Reason::Rule);
}

/// The newest call that Docker's profile names is removexattrat, 466.
#[test]
fn calls_newer_than_the_profile_are_told_from_refused_ones() {
    let newer = |last| Reason::NewerThanProfile { last };
    let policy = docker();
    check(&policy, Arch::X86_64, 467, &[], Action::Errno(38), "/syscalls", newer(466));
    check(&policy, Arch::X86, 467, &[], Action::Errno(38), "/syscalls", newer(466));
    check(&policy, Arch::X86, 466, &[], Action::Allow, "/syscalls/0", Reason::Rule);
    // x32 has variants of old calls from 512 to 547, which do not make the profile look newer.
    let x32 = |nr: u32| 0x4000_0000 + nr;
    check(&policy, Arch::X32, x32(467), &[], Action::Errno(38), "/syscalls", newer(x32(466)));
    check(&policy, Arch::X32, x32(548), &[], Action::Errno(38), "/syscalls", newer(x32(466)));
    check(&policy, Arch::X32, x32(520), &[], Action::Allow, "/syscalls/0", Reason::Rule);
    check(&policy, Arch::X32, x32(528), &[], Action::Errno(1), "/defaultAction", Reason::Default);
    check(&policy, Arch::X86_64, u32::MAX, &[], Action::Errno(38), "/syscalls", newer(466));
}

#[test]
fn only_refusing_defaults_hide_newer_calls() {
    for (default, action) in [
        (json!({"defaultAction": "SCMP_ACT_ALLOW"}), Action::Allow),
        (json!({"defaultAction": "SCMP_ACT_LOG"}), Action::Log),
        (json!({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 7}), Action::Trace(7)),
    ] {
        let mut section = default;
        section["syscalls"] = json!([{"names": ["read"], "action": "SCMP_ACT_KILL"}]);
        check(
            &policy(&section, Arch::X86_64),
            Arch::X86_64,
            500,
            &[],
            action,
            "/defaultAction",
            Reason::Default,
        );
    }
    for default in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO"] {
        let section =
            json!({"defaultAction": default, "syscalls": [{"names": ["write"], "action": "SCMP_ACT_ALLOW"}]});
        let reason = Reason::NewerThanProfile { last: 1 };
        check(&policy(&section, Arch::X86_64), Arch::X86_64, 2, &[], Action::Errno(38), "/syscalls", reason);
    }
    // A profile that names nothing knows no newest call.
    let section = json!({"defaultAction": "SCMP_ACT_KILL", "syscalls": []});
    check(
        &policy(&section, Arch::X86_64),
        Arch::X86_64,
        500,
        &[],
        Action::KillThread,
        "/defaultAction",
        Reason::Default,
    );
}

#[test]
fn architectures_that_are_not_named_kill() {
    let section = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO"}]});
    let policy = policy(&section, Arch::X86_64);
    let foreign = |arch, nr| {
        check(&policy, arch, nr, &[], Action::KillThread, "/architectures", Reason::ForeignArchitecture)
    };
    foreign(Arch::X86, 3);
    foreign(Arch::X32, 0x4000_0000);
    foreign(Arch::Aarch64, 63);
}

/// arm's five private calls have very high numbers, which say nothing about the age of a profile.
#[test]
fn private_calls_of_arm_do_not_count_as_newest() {
    let section = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_ARM"],
        "syscalls": [{"names": ["openat2", "set_tls"], "action": "SCMP_ACT_ALLOW"}],
    });
    let policy = policy(&section, Arch::Aarch64);
    check(&policy, Arch::Arm, 0xf_0005, &[], Action::Allow, "/syscalls/0", Reason::Rule);
    check(
        &policy,
        Arch::Arm,
        438,
        &[],
        Action::Errno(38),
        "/syscalls",
        Reason::NewerThanProfile { last: 437 },
    );
    check(&policy, Arch::Arm, 436, &[], Action::Errno(1), "/defaultAction", Reason::Default);
}

/// podman 4.3 refuses audit sockets of netlink and allows all others, in four overlapping rules.
#[test]
fn overlapping_rules_of_podmans_profile_are_read_as_meant() {
    let policy = engine(include_str!("../testdata/podman-4.3.json"));
    let socket = number(Arch::X86_64, "socket");
    check(&policy, Arch::X86_64, socket, &[16, 3, 9], Action::Errno(22), "/syscalls/18", Reason::Rule);
    check(&policy, Arch::X86_64, socket, &[16, 3, 0], Action::Allow, "/syscalls/19", Reason::Rule);
    check(&policy, Arch::X86_64, socket, &[2, 1, 9], Action::Allow, "/syscalls/20", Reason::Rule);
    check(
        &policy,
        Arch::X86_64,
        number(Arch::X86_64, "setns"),
        &[],
        Action::Allow,
        "/syscalls/1",
        Reason::Rule,
    );
}

#[test]
fn of_overlapping_rules_the_strictest_decides() {
    let range = |op: &str, value: u64| json!([{"index": 0, "value": value, "op": op}]);
    let section = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 9,
        "syscalls": [
            {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": range("SCMP_CMP_GE", 10)},
            {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": range("SCMP_CMP_EQ", 12)},
            {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 6, "args": range("SCMP_CMP_LE", 12)},
            {"names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS", "args": range("SCMP_CMP_EQ", 11)},
            // The default action is no rule, so it does not stand against the first one.
            {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 9, "args": range("SCMP_CMP_EQ", 20)},
        ],
    });
    let policy = policy(&section, Arch::X86_64);
    let kill = |pid, action, rule| check(&policy, Arch::X86_64, 62, &[pid], action, rule, Reason::Rule);
    kill(9, Action::Errno(6), "/syscalls/2");
    kill(11, Action::KillProcess, "/syscalls/3");
    kill(12, Action::Errno(5), "/syscalls/1");
    kill(13, Action::Allow, "/syscalls/0");
    kill(20, Action::Allow, "/syscalls/0");
}

/// runc: two arguments are "and"; the same argument twice makes every condition of the rule an "or".
#[test]
fn conditions_of_one_rule_combine() {
    let section = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]},
            {"names": ["tkill"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"},
                {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]},
            {"names": ["open"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 1, "value": 0x80000, "valueTwo": 0x80000, "op": "SCMP_CMP_MASKED_EQ"}]},
        ],
    });
    let policy = policy(&section, Arch::X86_64);
    let refused = |name: &str, args: [u64; 6]| {
        explain(&policy, Arch::X86_64, number(Arch::X86_64, name), &args).action == Action::Errno(1)
    };
    let two = |a, b| [a, b, 0, 0, 0, 0];
    for (name, args, expected) in [
        ("kill", two(1, 9), true),
        ("kill", two(1, 8), false),
        ("kill", two(2, 9), false),
        ("tkill", two(1, 0), true),
        ("tkill", two(2, 0), true),
        ("tkill", two(3, 9), true),
        ("tkill", two(3, 0), false),
        ("open", two(0, 0x80002), true),
        ("open", two(0, 0x2), false),
        ("open", two(0, 0x1_0008_0000), true),
    ] {
        assert_eq!(refused(name, args), expected, "{name} {args:x?}");
    }
}

/// CVE-2019-9893: comparisons beyond 32 bits; and on 32-bit architectures what such values mean.
#[test]
fn values_beyond_32_bits_compare_as_numbers() {
    let section = |op: &str, value: u64| {
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": value, "op": op}]}],
        })
    };
    for (arch, op, value, argument, expected) in [
        (Arch::X86_64, "SCMP_CMP_GT", 0x1_0000_0000_u64, 0x2_0000_0000_u64, true),
        (Arch::X86_64, "SCMP_CMP_GT", 0x1_0000_0005, 0x2_0000_0000, true),
        (Arch::X86_64, "SCMP_CMP_GE", 0x1_0000_0005, 0x2_0000_0000, true),
        (Arch::X86_64, "SCMP_CMP_LT", 0x2_0000_0000, 0x1_ffff_ffff, true),
        (Arch::X86_64, "SCMP_CMP_EQ", 1, 0x1_0000_0001, false),
        // 32 bits: a number above all that can come is above it, and -1 is the 32-bit -1.
        (Arch::X86, "SCMP_CMP_GE", 0x1_0000_0000, 5, false),
        (Arch::X86, "SCMP_CMP_LT", 0x1_0000_0000, 5, true),
        (Arch::X86, "SCMP_CMP_EQ", 0x1_0000_0005, 5, false),
        (Arch::X86, "SCMP_CMP_EQ", u64::MAX, 0xffff_ffff, true),
    ] {
        let policy = policy(&section(op, value), Arch::X86_64);
        let refused =
            explain(&policy, arch, number(arch, "kill"), &[0, argument, 0, 0, 0, 0]).action != Action::Allow;
        assert_eq!(refused, expected, "{argument:#x} {op} {value:#x} on {arch}");
    }
}

/// Functions of socketcall and ipc follow the rules for the calls of their names.
#[test]
fn functions_of_multiplexers_follow_their_names() {
    let section = |default: &str, action: &str| {
        json!({
            "defaultAction": default, "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [
                {"names": ["connect", "shmat"], "action": action},
                {"names": ["socket"], "action": action, "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
            ],
        })
    };
    let decide = |section: &Value, parent: &str, first| {
        let policy = policy(section, Arch::X86_64);
        explain(&policy, Arch::X86, number(Arch::X86, parent), &[first, 0, 0, 0, 0, 0]).action
    };
    let allowing = section("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW");
    assert_eq!(decide(&allowing, "socketcall", 3), Action::Allow, "connect");
    assert_eq!(decide(&allowing, "ipc", 0x1_0015), Action::Allow, "shmat, version 1");
    assert_eq!(decide(&allowing, "socketcall", 1), Action::Errno(1), "the family of a socket cannot be seen");
    let refusing = section("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO");
    assert_eq!(decide(&refusing, "socketcall", 3), Action::Errno(1), "connect");
    assert_eq!(decide(&refusing, "socketcall", 1), Action::Errno(1), "any socket may be the refused one");
    assert_eq!(decide(&refusing, "socketcall", 2), Action::Allow, "bind");
}

fn advice_for(section: &Value, name: &str, args: [u64; 6]) -> Vec<String> {
    let data = SeccompData {
        nr: number(Arch::X86_64, name),
        arch: Arch::X86_64.audit(),
        instruction_pointer: 0,
        args,
    };
    let changes = advice::to_allow(&policy(section, Arch::X86_64), &data).expect("a call with a name");
    changes.iter().map(|change| change.sentence("/linux/seccomp")).collect()
}

/// The changes a person would make, in the order in which they can be made.
#[test]
fn advice_names_the_changes_that_allow_a_call() {
    let section = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL"},
            {"names": ["mkdirat", "read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["rmdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2},
            {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]},
        ],
    });
    let add = |name: &str| {
        format!("add {{\"names\":[\"{name}\"],\"action\":\"SCMP_ACT_ALLOW\"}} to /linux/seccomp/syscalls")
    };
    let take = |name: &str, rule: u32| format!("take \"{name}\" out of /linux/seccomp/syscalls/{rule}/names");
    assert_eq!(advice_for(&section, "read", [0; 6]), [""; 0]);
    assert_eq!(advice_for(&section, "mkdir", [0; 6]), [take("mkdir", 0), add("mkdir")]);
    assert_eq!(advice_for(&section, "mkdirat", [0; 6]), [take("mkdirat", 0)]);
    assert_eq!(
        advice_for(&section, "rmdir", [0; 6]),
        ["remove /linux/seccomp/syscalls/2".to_owned(), add("rmdir")]
    );
    assert_eq!(advice_for(&section, "kill", [0, 15, 0, 0, 0, 0]), [add("kill")]);
    assert_eq!(advice_for(&section, "mseal", [0; 6]), [add("mseal")]);
}

#[test]
fn no_profile_can_allow_a_call_without_a_name() {
    let section = json!({"defaultAction": "SCMP_ACT_ERRNO"});
    let data = SeccompData { nr: 4000, arch: Arch::X86_64.audit(), ..Default::default() };
    assert_eq!(advice::to_allow(&policy(&section, Arch::X86_64), &data), None);
}

/// Which rules somebody looks at who wonders why a rule did not help.
#[test]
fn rules_whose_conditions_do_not_hold_are_near() {
    let policy = docker();
    let data = |name, first| SeccompData {
        nr: number(Arch::X86_64, name),
        arch: Arch::X86_64.audit(),
        instruction_pointer: 0,
        args: [first, 0, 0, 0, 0, 0],
    };
    let reading = teu_seccomp::explain::Reading::new(&policy);
    assert_eq!(reading.near(&data("personality", 9)), [3, 4, 5, 6, 7]);
    assert_eq!(reading.near(&data("mount", 0)), [0; 0]);
}
