//! Bytes read as choices from the words of the specification: a well-formed section whose rules may be anything.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use teu_seccomp::{ACTIONS, Arch, OPERATORS, Policy};

#[path = "against_reading.rs"]
mod against_reading;

const NAMES: &[&str] = &[
    "read",
    "write",
    "close",
    "kill",
    "clone",
    "clone3",
    "socket",
    "connect",
    "accept4",
    "socketcall",
    "shmat",
    "ipc",
    "personality",
    "mount",
    "mseal",
    "statmount",
    "uretprobe",
    "set_tls",
    "_newselect",
    "nobody_knows",
];
const NATIVES: &[Arch] =
    &[Arch::X86_64, Arch::Aarch64, Arch::S390X, Arch::Mips64, Arch::Riscv64, Arch::Ppc64Le];

struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.byte() % all.len()]
    }

    /// Small numbers, sums of powers of two, or eight bytes as they come.
    fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..100 => small as u64,
            power @ 100..164 => 1 << (power - 100),
            power @ 164..228 => u64::MAX << (power - 164),
            _ => (0..8).fold(0, |number, _| number << 8 | self.byte() as u64),
        }
    }

    fn action(&mut self, name: &str, errno: &str) -> Value {
        let action = self.of(ACTIONS);
        let takes_errno = matches!(action, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
        let number = takes_errno.then(|| self.byte());
        json!({name: action, errno: number})
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes);
    let native = choices.of(NATIVES);
    let mut section = choices.action("defaultAction", "defaultErrnoRet");
    let architectures: Vec<&str> = (0..choices.byte() % 4).map(|_| choices.of(&Arch::ALL).name()).collect();
    section["architectures"] = json!(architectures);
    section["listenerPath"] = json!("/agent");
    let mut rules = Vec::new();
    while !choices.0.is_empty() && rules.len() < 200 {
        let mut rule = choices.action("action", "errnoRet");
        let names: Vec<&str> = (0..=choices.byte() % 4).map(|_| choices.of(NAMES)).collect();
        let conditions: Vec<Value> = (0..choices.byte() % 5)
            .map(|_| {
                let (index, op) = (choices.byte() % 6, choices.of(OPERATORS));
                json!({"index": index, "op": op, "value": choices.number(), "valueTwo": choices.number()})
            })
            .collect();
        rule["names"] = json!(names);
        rule["args"] = json!(conditions);
        rules.push(rule);
    }
    section["syscalls"] = json!(rules);
    if let Ok(Some(policy)) = Policy::from_value_for(&section, native) {
        against_reading::check(&policy, native);
    }
});
