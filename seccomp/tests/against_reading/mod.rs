//! Holds a compiled program against the reading of its policy, call by call.

use std::collections::BTreeSet;

use serde_json::Value;
use teu_seccomp::explain::Reading;
use teu_seccomp::{Arch, Instruction, Policy, Program, SeccompData, compile, simulate};

/// Numbers compared on every architecture, counted from its first one: more than any kernel has.
const NUMBERS: u32 = 600;

/// Parses a section that must be good.
pub fn policy(section: &Value, native: Arch) -> Policy {
    match Policy::from_value_for(section, native) {
        Ok(Some(policy)) => policy,
        other => panic!("{section}: {other:?}"),
    }
}

/// Compiles a section that must be good and compares every call; returns how many calls were compared.
#[allow(dead_code)]
pub fn check(section: &Value, native: Arch) -> (Program, u64) {
    let policy = policy(section, native);
    let program = compile(&policy).unwrap_or_else(|error| panic!("{section}: {error}"));
    let compared = compare(section, &policy, &program.instructions);
    (program, compared)
}

/// Panics at the first call on which the program and the reading differ.
pub fn compare(section: &Value, policy: &Policy, program: &[Instruction]) -> u64 {
    assert!(simulate::is_loadable(program), "the kernel would refuse the program of {section}");
    let reading = Reading::new(policy);
    let tested = tested_numbers(section, policy);
    let arguments = arguments(section);
    let mut compared = 0;
    for (audit, nr) in calls(policy) {
        let sets: &[[u64; 6]] = if tested.contains(&(audit, nr)) { &arguments } else { &PLAIN };
        for args in sets {
            let data = SeccompData { nr, arch: audit, instruction_pointer: 0x1234, args: *args };
            let decision = reading.decide(&data);
            let answer = simulate::run(program, &data);
            assert_eq!(
                answer,
                decision.action.value(),
                "arch {audit:#x} nr {nr:#x} ({:?}) args {args:x?}: {decision:?}\nof {section}",
                Arch::of_call(audit, nr).and_then(|arch| arch.name_of(nr)),
            );
            compared += 1;
        }
    }
    compared
}

/// For numbers that no rule looks into.
const PLAIN: [[u64; 6]; 2] = [[0; 6], [u64::MAX; 6]];
/// Sets of arguments with several edges at once.
const COMBINATIONS: usize = 300;

/// Every number of every architecture of the native kernel, named by the policy or not, and of a foreign one.
fn calls(policy: &Policy) -> BTreeSet<(u32, u32)> {
    let native = policy.architectures()[0];
    let mut calls = BTreeSet::new();
    for arch in Arch::ALL.into_iter().filter(|arch| arch.runs_on(native)) {
        let first = arch.first_number();
        calls.extend((first.saturating_sub(8)..first + NUMBERS).map(|nr| (arch.audit(), nr)));
        let edges =
            [0, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, 0xc000_0000, u32::MAX - 1, u32::MAX];
        calls.extend(edges.map(|nr| (arch.audit(), nr)));
    }
    calls.extend((0..20).map(|nr| (0x1234_5678, nr)));
    calls
}

/// Numbers whose rules look at arguments, multiplexers included.
fn tested_numbers(section: &Value, policy: &Policy) -> BTreeSet<(u32, u32)> {
    let mut numbers = BTreeSet::new();
    let rules = section["syscalls"].as_array().map_or(&[][..], Vec::as_slice);
    for name in rules.iter().flat_map(|rule| {
        let has_arguments = rule["args"].as_array().is_some_and(|args| !args.is_empty());
        rule["names"].as_array().into_iter().flatten().filter(move |_| has_arguments)
    }) {
        for arch in policy.architectures() {
            match name.as_str().and_then(|name| arch.resolve(name)) {
                Some(teu_seccomp::arch::Target::Number(nr)) => drop(numbers.insert((arch.audit(), nr))),
                Some(teu_seccomp::arch::Target::Multiplexed { direct, .. }) => {
                    numbers.extend(direct.map(|nr| (arch.audit(), nr)));
                }
                None => {}
            }
        }
    }
    for arch in policy.architectures() {
        for name in ["socketcall", "ipc"] {
            if let Some(teu_seccomp::arch::Target::Number(nr)) = arch.resolve(name) {
                numbers.insert((arch.audit(), nr));
            }
        }
    }
    numbers
}

/// Sets of arguments at the edges of every value of the section: each argument alone, and combinations.
fn arguments(section: &Value) -> Vec<[u64; 6]> {
    let mut edges: [BTreeSet<u64>; 6] = Default::default();
    for edges in &mut edges {
        edges.extend([0, 1, u64::MAX]);
    }
    // Functions of socketcall and ipc, with and without a version.
    edges[0].extend((0..26).chain([0x1_0001, 0x1_0015, 0x1_0000_0001]));
    let rules = section["syscalls"].as_array().map_or(&[][..], Vec::as_slice);
    for argument in rules.iter().flat_map(|rule| rule["args"].as_array().into_iter().flatten()) {
        let at = argument["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
        for key in ["value", "valueTwo"] {
            let value = argument[key].as_u64().unwrap_or(0);
            edges[at].extend([value, value.wrapping_sub(1), value.wrapping_add(1), !value]);
            edges[at].extend([
                value & 0xffff_ffff,
                value | 1 << 32,
                value ^ (1 << 31),
                value.rotate_left(32),
            ]);
        }
    }
    let mut sets = BTreeSet::new();
    for (at, edges) in edges.iter().enumerate() {
        for (edge, others) in edges.iter().flat_map(|edge| [(*edge, 0), (*edge, u64::MAX)]) {
            let mut args = [others; 6];
            args[at] = edge;
            sets.insert(args);
        }
    }
    // Combinations, drawn by a fixed sequence so that a failure comes again.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..COMBINATIONS {
        sets.insert(std::array::from_fn(|at| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pick = (state >> 33) as usize % edges[at].len();
            edges[at].iter().nth(pick).copied().unwrap_or(0)
        }));
    }
    sets.into_iter().collect()
}
