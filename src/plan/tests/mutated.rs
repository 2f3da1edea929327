//! Configurations with random changes: whatever comes in, the answer is a plan that can be printed or an error that
//! can be read.
//!
//! `PROPTEST_CASES` sets how many are tried, 200 unless it says otherwise.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};
use serde_json::{Map, Number, Value, json};

use super::checked::findings_of;
use super::facts::{self, HOSTS};
use super::{engines, patched};
use crate::error::one_line;
use crate::report::{MOST, Severity};
use crate::{config, plan};

/// What the changes start from: real files, and one with every section.
fn originals() -> &'static [Value] {
    static ORIGINALS: OnceLock<Vec<Value>> = OnceLock::new();
    ORIGINALS.get_or_init(|| {
        let files = ["docker-28.json", "podman-4.3.json", "containerd-2.1.json"];
        let mut all: Vec<Value> =
            files.iter().map(|name| engines::read(&format!("tests/integration/testdata/{name}"))).collect();
        all.push(engines::read("src/commands/spec.json"));
        all.push(patched(&super::read(&Path::new(super::TESTDATA).join("everything.json"))["config"]));
        all
    })
}

/// Words that mean something somewhere, so that a change is not refused at once.
const WORDS: [&str; 38] = [
    "",
    "/",
    ".",
    "..",
    "/proc",
    "/proc/../x",
    "/dev",
    "/dev/null",
    "a:b:c",
    "a\0b",
    "ro",
    "rbind",
    "bind",
    "rro",
    "idmap",
    "noatime",
    "tmpcopyup",
    "size=1%",
    "a=\"b,c\",d",
    "tmpfs",
    "proc",
    "cgroup",
    "none",
    "user",
    "time",
    "pid",
    "shared",
    "CAP_KILL",
    "CAP_FOO",
    "RLIMIT_CPU",
    "SCHED_DEADLINE",
    "MPOL_BIND",
    "SCMP_ACT_NOTIFY",
    "0-3,7",
    "9-1",
    "1.3.0",
    "\u{202e}\u{1b}[0m\n",
    "net/ipv4/conf/eth0.1/x",
];

const NUMBERS: [i64; 14] =
    [0, 1, -1, 2, 7, 511, 512, 4096, 65_536, 2_147_483_647, 4_294_967_295, 4_294_967_296, i64::MAX, i64::MIN];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(&WORDS[..]).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
        1 => (1usize..300_000).prop_map(|length| "x".repeat(length)),
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        3 => prop::sample::select(&NUMBERS[..]).prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(|n| Number::from_f64(n).map_or(Value::Null, Value::Number)),
        4 => word().prop_map(Value::String),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((word(), inner), 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// One change.
#[derive(Clone, Debug)]
enum Change {
    /// Another value of the same sort.
    Same(String, i64),
    /// Any other value.
    Replace(Value),
    /// Nothing there any more.
    Remove,
    /// A copy of the value at another place.
    Copy(Way),
    /// The list twice as long, the object with one member more.
    Grow(String, Value),
}

/// The way to a place: which member to take at each step down.
type Way = Vec<prop::sample::Index>;

fn way() -> impl Strategy<Value = Way> {
    prop::collection::vec(any::<prop::sample::Index>(), 1..8)
}

fn change() -> impl Strategy<Value = (Way, Change)> {
    let number = prop::sample::select(&NUMBERS[..]);
    let change = prop_oneof![
        6 => (word(), number).prop_map(|(word, number)| Change::Same(word, number)),
        1 => value().prop_map(Change::Replace),
        1 => Just(Change::Remove),
        1 => way().prop_map(Change::Copy),
        2 => (word(), value()).prop_map(|(name, value)| Change::Grow(name, value)),
    ];
    (way(), change)
}

/// The pointer of a place, found step by step, so that a long list is not changed more often than a short one.
fn pointer(document: &Value, way: &Way) -> String {
    let (mut place, mut pointer) = (document, String::new());
    for step in way {
        let key = match place {
            Value::Object(object) if !object.is_empty() => {
                let keys: Vec<&String> = object.keys().collect();
                step.get(&keys).to_string()
            }
            Value::Array(list) if !list.is_empty() => step.index(list.len()).to_string(),
            _ => break,
        };
        config::push_key(&mut pointer, &key);
        match document.pointer(&pointer) {
            Some(next) => place = next,
            None => break,
        }
    }
    pointer
}

fn apply(document: &mut Value, way: &Way, change: &Change) {
    let pointer = pointer(document, way);
    let copied = match change {
        Change::Copy(other) => document.pointer(&self::pointer(document, other)).cloned(),
        _ => None,
    };
    if let Change::Remove = change {
        let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
        match document.pointer_mut(parent) {
            Some(Value::Object(object)) => drop(object.remove(&key.replace("~1", "/").replace("~0", "~"))),
            Some(Value::Array(list)) => drop(key.parse().map(|index: usize| list.remove(index))),
            _ => {}
        }
        return;
    }
    let Some(target) = document.pointer_mut(&pointer) else { return };
    match (change, target) {
        (Change::Replace(value), target) => *target = value.clone(),
        (Change::Copy(_), target) => *target = copied.unwrap_or_default(),
        (Change::Same(word, _), Value::String(text)) => *text = word.clone(),
        (Change::Same(_, number), Value::Number(old)) => *old = (*number).into(),
        (Change::Same(..), Value::Bool(flag)) => *flag = !*flag,
        (Change::Same(..), Value::Array(list)) => list.reverse(),
        (Change::Grow(name, _), Value::Array(list)) if list.first().is_some_and(Value::is_string) => {
            list.push(name.clone().into());
        }
        (Change::Grow(..), Value::Array(list)) => list.extend(list.first().cloned()),
        (Change::Grow(name, value), Value::Object(object)) => {
            drop(object.insert(name.clone(), value.clone()))
        }
        (Change::Grow(name, _), Value::String(text)) => text.push_str(name),
        (Change::Grow(..) | Change::Same(..) | Change::Remove, _) => {}
    }
}

/// What a line may look like that ends up in a log or on a terminal.
fn is_one_harmless_line(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c))
}

fn cases() -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(200);
    // A failure that was found is to become a case of its own, not a file of seeds.
    let failure_persistence = Some(Box::new(FileFailurePersistence::Off) as _);
    Config { cases, failure_persistence, ..Config::default() }
}

/// What looks for duplicates must not compare each with each: lists may be as long as this.
#[test]
fn long_lists_are_planned_in_time() {
    const COUNT: usize = 65_536;
    let list = |make: &dyn Fn(usize) -> Value| Value::from((0..COUNT).map(make).collect::<Vec<_>>());
    let config = patched(&json!({
        "linux": {
            "maskedPaths": list(&|n| format!("/a/{n}").into()),
            "devices": list(&|n| json!({ "path": format!("/a/{n}"), "type": "p" })),
        },
    }));
    let config = config::load(config.to_string().as_bytes()).unwrap();
    let start = Instant::now();
    let plan = plan::plan(&config, &facts::request(), &facts::host("root-v2")).unwrap();
    assert_eq!((plan.rootfs.masked.len(), plan.devices.nodes.len()), (COUNT, COUNT + 6));
    assert!(start.elapsed().as_secs() < 8, "{:?}", start.elapsed());
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_changed_configuration_is_planned_or_refused(
        original in 0..5usize,
        host in 0..HOSTS.len(),
        changes in prop::collection::vec(change(), 1..5),
    ) {
        let mut document = originals()[original].clone();
        for (way, change) in &changes {
            apply(&mut document, way, change);
        }
        let (request, host) = (facts::request(), facts::host(HOSTS[host]));
        let text = document.to_string();
        let outcome = config::load(text.as_bytes()).and_then(|config| plan::plan(&config, &request, &host));
        let (findings, left_out) = findings_of(text.as_bytes(), &request, &host);
        prop_assert!(findings.len() <= 3 * MOST);
        prop_assert!(findings.iter().all(|finding| is_one_harmless_line(&finding.to_string())));
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        let places: Vec<&str> = errors.map(|finding| finding.pointer.as_str()).collect();
        match &outcome {
            Ok(_) => prop_assert!(places.is_empty(), "check alone refuses {places:?}"),
            Err(error) => {
                // Pointers are escaped in a report, and those that are too long are cut.
                let at = one_line(error.pointer().unwrap_or_default());
                let is_told = at.len() > 400 || left_out > 0 || places.contains(&at.as_ref());
                prop_assert!(is_told, "check does not find: {error}; it finds {places:?}");
            }
        }
        match outcome {
            Ok(plan) => {
                let shown = plan::show::show(&plan);
                prop_assert!(shown.lines().count() > 20);
                prop_assert!(shown.lines().all(is_one_harmless_line), "{shown}");
            }
            Err(error) => {
                prop_assert!(is_one_harmless_line(&error.to_string()), "{error}");
                prop_assert!(error.pointer().is_some(), "no pointer: {error}");
            }
        }
    }

    /// Bytes that are no document at all.
    #[test]
    fn changed_bytes_are_read_or_refused(
        original in 0..5usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = originals()[original].to_string().into_bytes();
        for (place, byte) in &flips {
            *place.get_mut(&mut bytes) = *byte;
        }
        for text in [&bytes[..], &bytes[..end.index(bytes.len())]] {
            if let Err(error) = config::load(text) {
                prop_assert!(is_one_harmless_line(&error.to_string()), "{error}");
                prop_assert!(error.pointer().is_some(), "no pointer: {error}");
                let (findings, _) = findings_of(text, &facts::request(), &facts::host("root-v2"));
                prop_assert!(findings.iter().any(|finding| finding.severity == Severity::Error), "{error}");
            }
        }
    }
}
