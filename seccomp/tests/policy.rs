//! Reading a section: what is accepted, what is refused and with which pointer (spec: config-linux.md#seccomp).

use serde_json::{Value, json};
use teu_seccomp::{
    Arch, Error, FLAG_LOG, FLAG_NEW_LISTENER, FLAG_SPEC_ALLOW, FLAG_WAIT_KILLABLE_RECV, Policy, compile,
};

/// A section with one rule, changed by `change`.
fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut section = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read", "close"], "action": "SCMP_ACT_ALLOW"}],
    });
    change(&mut section);
    section
}

fn with_rule(rule: Value) -> Value {
    with(|section| section["syscalls"] = json!([rule]))
}

fn with_argument(argument: Value) -> Value {
    with_rule(json!({"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [argument]}))
}

fn error(section: &Value) -> Error {
    match Policy::from_value(section) {
        Err(error) => error,
        Ok(policy) => panic!("{section} is accepted: {policy:?}"),
    }
}

fn good(section: &Value) -> Policy {
    match Policy::from_value(section) {
        Ok(Some(policy)) => policy,
        other => panic!("{section}: {other:?}"),
    }
}

#[test]
fn a_section_that_asks_for_nothing_is_no_policy() {
    for section in [
        json!(null),
        json!({}),
        json!({"defaultAction": null, "syscalls": null}),
        json!({"defaultAction": "", "syscalls": []}),
        json!({"architectures": ["SCMP_ARCH_X86"]}),
    ] {
        assert!(matches!(Policy::from_value(&section), Ok(None)), "{section}");
    }
}

#[test]
fn every_refusal_names_its_field() {
    let notify = |names: Value| {
        with(|section| {
            section["listenerPath"] = json!("/run/agent.sock");
            section["syscalls"] = json!([{"names": names, "action": "SCMP_ACT_NOTIFY"}]);
        })
    };
    let cases = [
        (json!(7), "", "not an object"),
        (with(|s| s["defaultAction"] = json!(null)), "/defaultAction", "missing"),
        (with(|s| s["defaultAction"] = json!("SCMP_ACT_DENY")), "/defaultAction", "\"SCMP_ACT_DENY\""),
        (with(|s| s["defaultAction"] = json!(1)), "/defaultAction", "not a string"),
        (
            with(|s| s["defaultAction"] = json!("SCMP_ACT_NOTIFY")),
            "/defaultAction",
            "SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (with(|s| s["defaultErrnoRet"] = json!(4096)), "/defaultErrnoRet", "0 to 4095"),
        (with(|s| s["defaultErrnoRet"] = json!(-1)), "/defaultErrnoRet", "not a whole number"),
        (
            with(|s| {
                s["defaultAction"] = json!("SCMP_ACT_KILL");
                s["defaultErrnoRet"] = json!(1)
            }),
            "/defaultErrnoRet",
            "takes no errno",
        ),
        (
            with(|s| {
                s["defaultAction"] = json!("SCMP_ACT_TRACE");
                s["defaultErrnoRet"] = json!(65536)
            }),
            "/defaultErrnoRet",
            "0 to 65535",
        ),
        (with(|s| s["architectures"] = json!("SCMP_ARCH_X86")), "/architectures", "not an array"),
        (
            with(|s| s["architectures"] = json!(["SCMP_ARCH_X86", "SCMP_ARCH_Z80"])),
            "/architectures/1",
            "\"SCMP_ARCH_Z80\"",
        ),
        (with(|s| s["architectures"] = json!([4])), "/architectures/0", "not a string"),
        (
            with(|s| s["flags"] = json!(["SECCOMP_FILTER_FLAG_NEW_LISTENER"])),
            "/flags/0",
            "SECCOMP_FILTER_FLAG_NEW_LISTENER",
        ),
        (with(|s| s["listenerPath"] = json!("/a\0b")), "/listenerPath", "NUL"),
        (with(|s| s["listenerMetadata"] = json!("m")), "/listenerMetadata", "without listenerPath"),
        (with(|s| s["syscalls"][0] = json!("read")), "/syscalls/0", "not an object"),
        (with(|s| s["syscalls"][0]["names"] = json!([])), "/syscalls/0/names", "at least one"),
        (with(|s| s["syscalls"][0]["names"] = json!(null)), "/syscalls/0/names", "at least one"),
        (with(|s| s["syscalls"][0]["names"][1] = json!("")), "/syscalls/0/names/1", "empty"),
        (with(|s| s["syscalls"][0]["names"][1] = json!(null)), "/syscalls/0/names/1", "not a string"),
        (with(|s| s["syscalls"][0]["action"] = json!(null)), "/syscalls/0/action", "missing"),
        (with(|s| s["syscalls"][0]["action"] = json!("allow")), "/syscalls/0/action", "\"allow\""),
        (
            with(|s| s["syscalls"][0]["errnoRet"] = json!(1)),
            "/syscalls/0/errnoRet",
            "SCMP_ACT_ALLOW takes no errno",
        ),
        (
            with_rule(json!({"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 1})),
            "/syscalls/0/errnoRet",
            "takes no errno",
        ),
        (
            with_rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5000})),
            "/syscalls/0/errnoRet",
            "5000",
        ),
        (
            with_argument(json!({"index": 6, "value": 1, "op": "SCMP_CMP_EQ"})),
            "/syscalls/0/args/0/index",
            "6",
        ),
        (
            with_argument(json!({"index": 9, "value": 1, "op": "SCMP_CMP_EQ"})),
            "/syscalls/0/args/0/index",
            "9",
        ),
        (with_argument(json!({"value": 1, "op": "SCMP_CMP_EQ"})), "/syscalls/0/args/0/index", "missing"),
        (with_argument(json!({"index": 0, "op": "SCMP_CMP_EQ"})), "/syscalls/0/args/0/value", "missing"),
        (
            with_argument(json!({"index": 0, "value": -1, "op": "SCMP_CMP_EQ"})),
            "/syscalls/0/args/0/value",
            "integer",
        ),
        (
            with_argument(json!({"index": 0, "value": 1.5, "op": "SCMP_CMP_EQ"})),
            "/syscalls/0/args/0/value",
            "integer",
        ),
        (
            with_argument(json!({"index": 0, "value": 1, "valueTwo": "2", "op": "SCMP_CMP_EQ"})),
            "/syscalls/0/args/0/valueTwo",
            "integer",
        ),
        (with_argument(json!({"index": 0, "value": 1})), "/syscalls/0/args/0/op", "missing"),
        (with_argument(json!({"index": 0, "value": 1, "op": "=="})), "/syscalls/0/args/0/op", "\"==\""),
        (with_rule(json!({"names": ["read"], "action": "SCMP_ACT_NOTIFY"})), "/listenerPath", "missing"),
        (
            notify(json!(["read", "write"])),
            "/syscalls/0/names/1",
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
    ];
    for (section, pointer, message) in cases {
        let error = error(&section);
        assert_eq!(error.pointer, pointer, "{section}: {error}");
        assert!(error.message.contains(message), "{section}: {error}");
        assert!(!error.message.contains('\n') && !error.message.ends_with('.'), "{error}");
    }
}

#[test]
fn null_counts_as_absent() {
    let section = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": null, "architectures": null, "flags": null,
        "listenerPath": null, "listenerMetadata": null,
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": null, "args": null}],
    });
    let policy = good(&section);
    assert_eq!(compile(&policy).expect("a program").flags, FLAG_SPEC_ALLOW);
    assert!(policy.warnings().is_empty());
}

#[test]
fn flags_become_bits_of_seccomp() {
    let cases = [
        (json!(null), FLAG_SPEC_ALLOW),
        (json!([]), 0),
        (json!(["SECCOMP_FILTER_FLAG_LOG"]), FLAG_LOG),
        (json!(["SECCOMP_FILTER_FLAG_TSYNC"]), 0),
        (json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"]), FLAG_SPEC_ALLOW | FLAG_LOG),
        (json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]), 0),
    ];
    for (flags, bits) in cases {
        let policy = good(&with(|section| section["flags"] = flags.clone()));
        assert_eq!(compile(&policy).expect("a program").flags, bits, "{flags}");
    }
}

#[test]
fn a_listener_is_asked_for_when_a_rule_notifies() {
    let section = with(|section| {
        section["listenerPath"] = json!("/run/agent.sock");
        section["listenerMetadata"] = json!("box 7");
        section["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
        section["syscalls"][0]["action"] = json!("SCMP_ACT_NOTIFY");
    });
    let policy = good(&section);
    assert!(policy.uses_notify());
    assert_eq!(policy.listener_path(), Some("/run/agent.sock"));
    assert_eq!(policy.listener_metadata(), Some("box 7"));
    let program = compile(&policy).expect("a program");
    assert_eq!(program.flags, FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV);
}

#[test]
fn a_listener_nobody_uses_is_ignored() {
    let policy = good(&with(|section| section["listenerPath"] = json!("/run/agent.sock")));
    assert!(!policy.uses_notify());
    assert_eq!(compile(&policy).expect("a program").flags & FLAG_NEW_LISTENER, 0);
}

#[test]
fn the_native_architecture_is_always_included() {
    let policy = good(&with(|section| section["architectures"] = json!(["SCMP_ARCH_ARM", "SCMP_ARCH_ARM"])));
    assert_eq!(policy.architectures(), [Arch::NATIVE, Arch::Arm]);
    assert_eq!(good(&with(|_| ())).architectures(), [Arch::NATIVE]);
}

#[test]
fn odd_but_legal_things_are_warned_about() {
    let section = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "Architectures": ["SCMP_ARCH_X86"],
        "comment": "unknown properties are nobody's business",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [
            {"names": ["read", "reed", "reed"], "action": "SCMP_ACT_ALLOW", "errnoret": 3},
            {"names": ["close", "read"], "action": "SCMP_ACT_LOG"},
            {"names": ["socketcall", "_newselect", "mseal"], "action": "SCMP_ACT_ALLOW"},
        ],
    });
    let policy = good(&section);
    let found: Vec<_> = policy.warnings().iter().map(|w| format!("{} {}", w.pointer, w.message)).collect();
    assert_eq!(
        found,
        [
            " \"Architectures\" is ignored: the property is spelled architectures",
            "/syscalls/0 \"errnoret\" is ignored: the property is spelled errnoRet",
            "/flags SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is ignored: no rule uses SCMP_ACT_NOTIFY",
            "/syscalls/0/names/1 unknown system call \"reed\" is ignored",
            "/syscalls/1/names/1 without effect: /syscalls/0 gives \"read\" SCMP_ACT_ALLOW in any case",
        ]
    );
}

/// What `teu features` shows comes from the tables the parser uses.
#[test]
fn every_word_of_the_tables_is_accepted() {
    for action in teu_seccomp::ACTIONS.iter().filter(|action| **action != "SCMP_ACT_NOTIFY") {
        good(&json!({"defaultAction": action}));
    }
    good(&with(|section| {
        section["listenerPath"] = json!("/run/agent.sock");
        section["syscalls"][0]["action"] = json!("SCMP_ACT_NOTIFY");
    }));
    for operator in teu_seccomp::OPERATORS {
        good(&with_argument(json!({"index": 0, "value": 1, "valueTwo": 1, "op": operator})));
    }
    for arch in teu_seccomp::ARCHITECTURES.iter() {
        good(&with(|section| section["architectures"] = json!([arch])));
    }
    assert!(teu_seccomp::ARCHITECTURES.contains(&Arch::NATIVE.name()));
    let flags: Vec<&str> = teu_seccomp::FLAGS.iter().map(|(name, _)| *name).collect();
    good(&with(|section| section["flags"] = json!(flags)));
    let old_kernel = teu_seccomp::supported_flags(|bit| bit != FLAG_WAIT_KILLABLE_RECV);
    assert_eq!(old_kernel, &flags[..3]);
    for words in [teu_seccomp::ACTIONS, teu_seccomp::OPERATORS] {
        assert!(words.is_sorted());
    }
    assert!(teu_seccomp::library_version() >= (2, 5, 0));
}
