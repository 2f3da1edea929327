//! Profiles written to hurt: a clear error, in little time, and messages of bounded length.

mod against_reading;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use teu_seccomp::needed::Needed;
use teu_seccomp::{Error, Policy, Program, compile};

/// Generous, for debug builds on a busy machine; without a bound these take minutes or all memory.
const LIMIT: Duration = Duration::from_secs(20);

/// Parses and compiles within the limit, and looks at the warnings too.
fn program(section: &Value) -> Result<Program, Error> {
    let start = Instant::now();
    let policy = Policy::from_value(section);
    let outcome = policy.and_then(|policy| {
        let policy = policy.expect("a section with rules");
        let warnings = policy.warnings();
        assert!(warnings.len() <= 101, "{} warnings", warnings.len());
        assert!(warnings.iter().all(|warning| warning.message.len() < 500));
        compile(&policy)
    });
    assert!(start.elapsed() < LIMIT, "took {:?}", start.elapsed());
    if let Err(error) = &outcome {
        assert!(error.message.len() < 500, "a message of {} bytes", error.message.len());
    }
    outcome
}

fn refused(rules: Value) -> Error {
    let section = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules});
    program(&section).expect_err("the profile is accepted")
}

fn compiled(rules: Value) -> Program {
    let section = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules});
    program(&section).unwrap_or_else(|error| panic!("{error}"))
}

fn condition(index: u64, value: u64) -> Value {
    json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"})
}

#[test]
fn a_name_of_64_kib_is_an_unknown_name() {
    let name = "a\u{202e}\n".repeat(64 << 10);
    let program = compiled(json!([{"names": [name, "read"], "action": "SCMP_ACT_ALLOW"}]));
    let call = |name| Needed { name, args: [0; 6], may_notify: false };
    assert_eq!(program.first_refused(&[call("read")]), None);
    assert_eq!(program.first_refused(&[call("read"), call("close")]), Some(&call("close")));
    let error = refused(json!([{"names": ["read"], "action": name}]));
    assert_eq!(error.pointer, "/syscalls/0/action");
    assert!(error.message.contains("\\n") && !error.message.contains('\n'), "{error}");
}

#[test]
fn a_million_rules_are_too_many() {
    let rule = json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"});
    let error = refused(Value::Array(vec![rule; 1_000_000]));
    assert_eq!(error.pointer, "/syscalls");
    assert!(error.message.contains("65536"), "{error}");
}

#[test]
fn a_million_names_are_too_many() {
    let names = Value::Array(vec![json!("read"); 1_000_000]);
    assert_eq!(refused(json!([{"names": names, "action": "SCMP_ACT_ALLOW"}])).pointer, "/syscalls/0/names");
}

#[test]
fn as_many_rules_as_are_taken_compile() {
    let rule = json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"});
    compiled(Value::Array(vec![rule; 32_768]));
    let names: Vec<String> = (0..65_000).map(|number| format!("call{number}")).collect();
    compiled(json!([{"names": names, "action": "SCMP_ACT_ALLOW"}]));
}

/// Each name with each condition: the product is bounded, not only its factors.
#[test]
fn names_times_conditions_are_bounded() {
    let names: Vec<String> = (0..450).filter_map(|nr| teu_seccomp::Arch::NATIVE.name_of(nr)).collect();
    let conditions: Vec<Value> = (0..60_000).map(|value| condition(0, value)).collect();
    let error = refused(json!([{"names": names, "action": "SCMP_ACT_ALLOW", "args": conditions}]));
    assert!(error.message.contains("tests of arguments"), "{error}");
}

#[test]
fn a_program_longer_than_the_kernel_takes_is_refused() {
    let conditions: Vec<Value> = (0..3_000).map(|value| condition(0, value * 0x1_0000_0001)).collect();
    let error = refused(json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": conditions}]));
    assert_eq!(error.pointer, "/syscalls");
    assert!(error.message.contains("4096 instructions"), "{error}");
}

/// Far jumps: blocks of tests so long that conditional jumps cannot reach over them.
#[test]
fn long_programs_that_fit_are_right() {
    let rules: Vec<Value> = ["read", "write", "close", "kill", "clone", "personality"]
        .iter()
        .map(|name| {
            let conditions: Vec<Value> =
                (0..110).map(|value| condition(value % 6, value << 30 | value)).collect();
            json!({"names": [name], "action": "SCMP_ACT_LOG", "args": conditions})
        })
        .chain([json!({"names": ["open", "getpid", "mount"], "action": "SCMP_ACT_ALLOW"})])
        .collect();
    let section = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules});
    let (program, _) = against_reading::check(&section, teu_seccomp::Arch::NATIVE);
    assert!(program.instructions.len() > 2_000, "{} instructions", program.instructions.len());
}

#[test]
fn an_argument_that_does_not_exist_is_refused() {
    for index in [6, 9, 255, 256, u64::from(u32::MAX), u64::MAX] {
        let error =
            refused(json!([{"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [condition(index, 1)]}]));
        assert_eq!(error.pointer, "/syscalls/0/args/0/index", "{index}");
    }
}

#[test]
fn contradictory_rules_are_refused_with_both_places() {
    let error = refused(json!([
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["kill"], "action": "SCMP_ACT_LOG", "args": [condition(0, 1), condition(1, 2)]},
        {"names": ["close", "kill"], "action": "SCMP_ACT_TRAP", "args": [condition(1, 2), condition(0, 1)]},
    ]));
    assert_eq!(error.pointer, "/syscalls/2");
    assert_eq!(error.message, "contradicts /syscalls/1: kill with the same conditions and another action");
}

#[test]
fn notify_as_default_is_refused() {
    let section = json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/agent.sock"});
    let error = Policy::from_value(&section).expect_err("accepted");
    assert_eq!(error.pointer, "/defaultAction");
}

/// libseccomp 2.5 does not return from adding these two rules.
#[test]
fn rules_that_hang_libseccomp_compile() {
    let below = |index: u64, value: u64| json!({"index": index, "value": value, "op": "SCMP_CMP_LT"});
    let section = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 5, "op": "SCMP_CMP_GE"}, below(0, 1 << 32)]},
            {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [below(1, 0x1_0000_0005), below(0, 1 << 32)]},
        ],
    });
    against_reading::check(&section, teu_seccomp::Arch::NATIVE);
}
