//! Random policies: the compiled program answers as the policy reads.
//!
//! 300 policies in a normal run; `TEU_SECCOMP_POLICIES=10000` for more.

mod against_reading;

use std::cell::Cell;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use serde_json::{Value, json};
use teu_seccomp::explain::Reading;
use teu_seccomp::{ACTIONS, Arch, OPERATORS, SeccompData, advice, compile};

/// Names of every kind: common, multiplexed, of some architectures only, newer than the library, unknown.
const NAMES: &[&str] = &[
    "read",
    "write",
    "clone",
    "clone3",
    "kill",
    "personality",
    "socket",
    "connect",
    "recv",
    "accept4",
    "socketcall",
    "semop",
    "shmat",
    "msgctl",
    "semtimedop",
    "ipc",
    "setup",
    "getpid",
    "_newselect",
    "futex_time64",
    "arch_prctl",
    "mseal",
    "statmount",
    "uretprobe",
    "riscv_hwprobe",
    "listns",
    "memfd_secret",
    "set_tls",
    "no_such_call",
    "swapcontext",
];

/// Values around which comparisons change: halves, signs, masks.
const VALUES: &[u64] = &[
    0,
    1,
    2,
    5,
    16,
    0xff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0005,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_0000_0000,
    0xffff_ffff_8000_0000,
    0xffff_ffff_ffff_ff80,
    u64::MAX,
];

const NATIVES: &[Arch] =
    &[Arch::X86_64, Arch::X86_64, Arch::Aarch64, Arch::S390X, Arch::Mips64, Arch::Ppc64Le, Arch::Riscv64];

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![4 => select(VALUES), 1 => any::<u64>()]
}

fn condition() -> impl Strategy<Value = Value> {
    (0..6_u8, value(), value(), select(OPERATORS)).prop_map(
        |(index, value, two, op)| json!({"index": index, "value": value, "valueTwo": two, "op": op}),
    )
}

fn action(key: &'static str, errno: &'static str) -> impl Strategy<Value = Value> {
    (select(ACTIONS), prop::option::of(0..=4095_u16)).prop_map(move |(action, number)| {
        let takes_errno = matches!(action, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
        json!({key: action, errno: number.filter(|_| takes_errno)})
    })
}

fn rule() -> impl Strategy<Value = Value> {
    let names = subsequence(NAMES, 1..6);
    let args = prop_oneof![1 => Just(Vec::new()), 2 => prop::collection::vec(condition(), 1..4)];
    (names, action("action", "errnoRet"), args).prop_map(|(mut names, mut rule, args)| {
        if rule["action"] == "SCMP_ACT_NOTIFY" {
            names.retain(|name| *name != "write");
            names.push("getppid");
        }
        rule["names"] = json!(names);
        rule["args"] = json!(args);
        rule
    })
}

fn section() -> impl Strategy<Value = Value> {
    let known: Vec<&str> =
        Arch::ALL.into_iter().filter(|arch| arch.is_in_library()).map(Arch::name).collect();
    let some = (0..=known.len()).prop_flat_map(move |count| subsequence(known.clone(), count));
    (action("defaultAction", "defaultErrnoRet"), some, prop::collection::vec(rule(), 0..12)).prop_map(
        |(mut section, architectures, rules)| {
            if section["defaultAction"] == "SCMP_ACT_NOTIFY" {
                section["defaultAction"] = json!("SCMP_ACT_ALLOW");
            }
            section["architectures"] = json!(architectures);
            section["listenerPath"] = json!("/run/agent.sock");
            section["syscalls"] = json!(rules);
            section
        },
    )
}

fn cases() -> u32 {
    std::env::var("TEU_SECCOMP_POLICIES").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

fn runner(cases: u32) -> TestRunner {
    let failure_persistence = Some(Box::new(FileFailurePersistence::Off) as _);
    TestRunner::new(Config { cases, failure_persistence, ..Config::default() })
}

#[test]
fn programs_of_random_policies_answer_as_the_policies_read() {
    let cases = cases();
    let (compiled, contradictory, compared) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let add = |counter: &Cell<u64>, more| counter.set(counter.get() + more);
    let outcome = runner(cases).run(&(section(), select(NATIVES)), |(section, native)| {
        let policy = against_reading::policy(&section, native);
        match compile(&policy) {
            Ok(program) => {
                add(&compared, against_reading::compare(&section, &policy, &program.instructions));
                add(&compiled, 1);
            }
            Err(error) if error.message.contains("contradicts") => add(&contradictory, 1),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let (compiled, contradictory, compared) = (compiled.get(), contradictory.get(), compared.get());
    println!("{compiled} policies, {compared} calls compared; {contradictory} contradictory policies");
    assert!(compiled > u64::from(cases) / 2, "only {compiled} policies of {cases} could be compiled");
}

/// Whoever follows the advice, as a person or as a JSON patch, has a profile that lets the call run.
#[test]
fn advice_about_random_policies_lets_the_call_run() {
    let (advised, hopeless) = (Cell::new(0_u32), Cell::new(0_u32));
    let call = (select(NAMES), 0..26_u64, value());
    let outcome = runner(cases()).run(
        &(section(), select(NATIVES), call),
        |(section, native, (name, first, second))| {
            let policy = against_reading::policy(&section, native);
            for arch in Arch::ALL.into_iter().filter(|arch| arch.runs_on(native)) {
                for nr in arch.resolve(name).into_iter().flat_map(|target| target.numbers()) {
                    let args = [first, second, second, second, second, second];
                    let data = SeccompData { nr, arch: arch.audit(), instruction_pointer: 0, args };
                    let Some(changes) = advice::to_allow(&policy, &data) else {
                        hopeless.set(hopeless.get() + 1);
                        continue;
                    };
                    advised.set(advised.get() + 1);
                    let patched = apply(&section, &changes);
                    let policy = against_reading::policy(&patched, native);
                    let decision = Reading::new(&policy).decide(&data);
                    prop_assert!(
                        !decision.action.refuses(),
                        "{name} on {arch}: {changes:?}: {decision:?}\n{patched}"
                    );
                }
            }
            Ok(())
        },
    );
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    println!("{} calls advised, {} without advice", advised.get(), hopeless.get());
    assert!(advised.get() > 200 && advised.get() > 100 * hopeless.get());
}

fn apply(section: &Value, changes: &[advice::Change]) -> Value {
    let mut patched = section.clone();
    for change in changes {
        let operation = change.operation("", section);
        let path = operation["path"].as_str().expect("a pointer");
        let (parent, last) = path.rsplit_once('/').expect("a pointer");
        let parent = patched.pointer_mut(parent).expect("a place that exists");
        match (operation["op"].as_str(), parent) {
            (Some("add"), Value::Array(list)) => list.push(operation["value"].clone()),
            (Some("add"), parent) => parent[last] = operation["value"].clone(),
            (_, Value::Array(list)) => drop(list.remove(last.parse().expect("an index"))),
            other => panic!("{operation} at {other:?}"),
        }
    }
    patched
}
