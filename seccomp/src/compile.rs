//! From a [`Policy`] to a [`Program`]: one binary tree over call numbers per audit architecture.
//!
//! The whole range of numbers is cut into runs with one answer: Docker's 375 names are some forty runs on x86_64,
//! so the program is short, which is what loading it costs. A run is an answer, or, for a single number, tests of
//! arguments. x32 needs no special case: its numbers are a range of their own in the tree of x86_64.
//!
//! Architectures that a kernel of the native one cannot run are left out; the filter would never see them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::arch::{Arch, Target, X32_BIT};
use crate::assemble::{Assembler, Label, OFFSET_ARCH, OFFSET_NR};
use crate::needed::Needed;
use crate::policy::{Action, Condition, ENOSYS, Error, FLAG_NEW_LISTENER, Operator, Policy, Rule};
use crate::simulate::{self, SeccompData};

/// One instruction of classic BPF, in the layout of `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// A program ready for seccomp(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// At most 4096 instructions.
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` for seccomp(2), NEW_LISTENER included when a listener is asked for.
    pub flags: u32,
}

/// Most tests of arguments over all calls; far more than fit into a program, few enough to collect.
const MAX_TESTS: usize = 16_384;

/// Compiles a policy.
///
/// Errors: two rules with the same conditions and different actions, and a program longer than the kernel takes.
pub fn compile(policy: &Policy) -> Result<Program, Error> {
    let mut assembler = Assembler::default();
    let mut next = assembler.ret(Action::KillThread.value());
    let mut bodies = Vec::new();
    // Order: the program is written from its end, so the native architecture comes last to be tested first.
    for audit in audit_architectures(policy).into_iter().rev() {
        let runs = runs(policy, audit)?;
        let tree = tree(&mut assembler, &runs)?;
        bodies.push((audit, assembler.load(OFFSET_NR, tree)));
    }
    for (audit, body) in bodies {
        next = assembler.jump_equal(audit, body, next);
    }
    assembler.load(OFFSET_ARCH, next);
    let listener = if policy.uses_notify() { FLAG_NEW_LISTENER } else { 0 };
    Ok(Program { instructions: assembler.finish()?, flags: policy.flags | listener })
}

/// Audit architectures the filter distinguishes, the native one first.
fn audit_architectures(policy: &Policy) -> Vec<u32> {
    let mut audits: Vec<u32> = Vec::new();
    for arch in policy.architectures.iter().filter(|arch| arch.runs_on(policy.native)) {
        if !audits.contains(&arch.audit()) {
            audits.push(arch.audit());
        }
    }
    audits
}

/// Numbers from `start` up to the next run, which all get the same answer.
#[derive(Debug, PartialEq, Eq)]
struct Run<'p> {
    start: u32,
    answer: Answer<'p>,
}

#[derive(Debug, PartialEq, Eq)]
enum Answer<'p> {
    Return(u32),
    /// The first test that holds decides, else the value.
    Tests(Arch, Vec<Test<'p>>, u32),
}

/// Conditions that must hold together, and what follows then.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Test<'p> {
    conditions: Cow<'p, [Condition]>,
    action: Action,
    /// Index of the rule in the profile.
    rule: usize,
    /// Whether it recognises a function of a multiplexer, and stands for conditions that cannot be tested there.
    is_function: bool,
}

/// What the rules say about one number.
#[derive(Debug)]
enum Entry<'p> {
    Always(Action),
    Tests(Vec<Test<'p>>),
}

/// The numbers of one calling convention.
struct Space<'p> {
    arch: Arch,
    entries: BTreeMap<u32, Entry<'p>>,
    /// Highest number any rule names.
    last: Option<u32>,
}

/// Cuts the numbers of one audit architecture into runs.
fn runs(policy: &Policy, audit: u32) -> Result<Vec<Run<'_>>, Error> {
    let spaces = policy
        .architectures
        .iter()
        .filter(|arch| arch.audit() == audit)
        .map(|arch| Space::new(policy, *arch))
        .collect::<Result<Vec<_>, _>>()?;
    // 1, because on s390 number 0 alone may stand for an unknown call.
    let mut starts = BTreeSet::from([0, 1, X32_BIT, u32::MAX]);
    for space in &spaces {
        starts.extend(space.last.iter().map(|last| last + 1));
        let private = space.arch.private_numbers();
        starts.extend([private.start, private.end]);
        starts.extend(space.entries.keys().flat_map(|nr| [*nr, nr + 1]));
    }
    let mut runs: Vec<Run<'_>> = Vec::new();
    for start in starts {
        let answer = answer(policy, &spaces, audit, start);
        if runs.last().is_none_or(|run| run.answer != answer) {
            runs.push(Run { start, answer });
        }
    }
    Ok(runs)
}

fn answer<'p>(policy: &Policy, spaces: &[Space<'p>], audit: u32, nr: u32) -> Answer<'p> {
    let arch = Arch::of_call(audit, nr);
    let hides = policy.hides_newer_calls();
    let Some(space) = spaces.iter().find(|space| Some(space.arch) == arch) else {
        // x32 beside an x86_64 that alone is named: its numbers are above all that the profile knows.
        let hidden = hides && spaces.iter().any(|space| space.last.is_some());
        return Answer::Return(if hidden { Action::Errno(ENOSYS) } else { Action::KillThread }.value());
    };
    let above = |last| nr > last && !space.arch.private_numbers().contains(&nr);
    let unknown = space.last.is_some_and(above) || (nr == 0 && space.arch.reports_unknown_calls_as_zero());
    let hidden = hides && space.last.is_some() && unknown;
    let otherwise = if hidden { Action::Errno(ENOSYS) } else { policy.default_action }.value();
    match space.entries.get(&nr) {
        None => Answer::Return(otherwise),
        Some(Entry::Always(action)) => Answer::Return(action.value()),
        Some(Entry::Tests(tests)) => Answer::Tests(space.arch, tests.clone(), otherwise),
    }
}

impl<'p> Space<'p> {
    fn new(policy: &'p Policy, arch: Arch) -> Result<Space<'p>, Error> {
        let mut space = Space { arch, entries: BTreeMap::new(), last: None };
        let mut tests = 0;
        for (index, rule) in policy.rules.iter().enumerate() {
            let is_default = rule.action == policy.default_action;
            let names: BTreeSet<&str> = rule.names.iter().map(String::as_str).collect();
            for target in names.into_iter().filter_map(|name| arch.resolve(name)) {
                let direct = target.own_number();
                space.last = space.last.max(direct.filter(|nr| !arch.private_numbers().contains(nr)));
                if is_default {
                    continue;
                }
                if let Target::Multiplexed { parent, call, call_mask, .. } = target
                    && (rule.conditions.is_empty()
                        || rule.action.strictness() < policy.default_action.strictness())
                {
                    tests += 1;
                    space.add(parent, Test::of_function(index, rule, call, call_mask));
                }
                let Some(nr) = direct else { continue };
                if rule.conditions.is_empty() {
                    space.decide(nr, rule.action);
                    continue;
                }
                for conditions in rule.alternatives() {
                    tests += 1;
                    space.add(
                        nr,
                        Test {
                            conditions: conditions.into(),
                            action: rule.action,
                            rule: index,
                            is_function: false,
                        },
                    );
                }
                if tests > MAX_TESTS {
                    let message = format!("the rules make more than {MAX_TESTS} tests of arguments");
                    return Err(Error { pointer: format!("/syscalls/{index}"), message });
                }
            }
        }
        space.order_tests()?;
        Ok(space)
    }

    /// A rule without conditions: it decides alone, the first one.
    fn decide(&mut self, nr: u32, action: Action) {
        match self.entries.get(&nr) {
            Some(Entry::Always(_)) => {}
            _ => drop(self.entries.insert(nr, Entry::Always(action))),
        }
    }

    fn add(&mut self, nr: u32, test: Test<'p>) {
        match self.entries.entry(nr).or_insert_with(|| Entry::Tests(Vec::new())) {
            Entry::Always(_) => {}
            Entry::Tests(tests) => tests.push(test),
        }
    }

    /// Strictest action first, so that the first test that holds may decide; equal tests once.
    ///
    /// Errors: the same conditions with different actions, where libseccomp refuses too.
    fn order_tests(&mut self) -> Result<(), Error> {
        for (nr, entry) in &mut self.entries {
            let Entry::Tests(tests) = entry else { continue };
            let mut written: HashMap<Vec<Condition>, (Action, usize)> = HashMap::new();
            for test in tests.iter().filter(|test| !test.is_function) {
                let mut conditions = test.conditions.to_vec();
                conditions.sort_unstable();
                let (action, rule) = *written.entry(conditions).or_insert((test.action, test.rule));
                if action != test.action {
                    return Err(contradiction(self.arch, *nr, rule, test.rule));
                }
            }
            tests.sort_by_key(|test| test.action.strictness());
            let mut seen = HashSet::new();
            tests.retain(|test| seen.insert(test.conditions.clone()));
        }
        Ok(())
    }
}

impl<'p> Test<'p> {
    /// A function of socketcall or ipc, recognised by the first argument, which the kernel takes as an int.
    fn of_function(rule: usize, written: &Rule, call: u32, call_mask: u32) -> Test<'p> {
        let condition = Condition {
            index: 0,
            operator: Operator::MaskedEqual,
            value: u64::from(call_mask),
            value_two: u64::from(call),
        };
        Test { conditions: vec![condition].into(), action: written.action, rule, is_function: true }
    }
}

fn contradiction(arch: Arch, nr: u32, first: usize, second: usize) -> Error {
    let name = arch.name_of(nr).unwrap_or_else(|| nr.to_string());
    Error {
        pointer: format!("/syscalls/{second}"),
        message: format!("contradicts /syscalls/{first}: {name} with the same conditions and another action"),
    }
}

/// A binary search over runs.
fn tree(assembler: &mut Assembler, runs: &[Run<'_>]) -> Result<Label, Error> {
    assembler.check_length()?;
    match runs {
        [] => Ok(assembler.ret(Action::KillThread.value())),
        [run] => Ok(leaf(assembler, &run.answer)),
        // A single number amid others: one test for equality instead of two for order.
        [before, one, after] if before.answer == after.answer && after.start == one.start + 1 => {
            let around = leaf(assembler, &after.answer);
            let label = leaf(assembler, &one.answer);
            Ok(assembler.jump_equal(one.start, label, around))
        }
        _ => {
            let (below, above) = runs.split_at(runs.len() / 2);
            let start = above.first().map_or(0, |run| run.start);
            let above = tree(assembler, above)?;
            let below = tree(assembler, below)?;
            Ok(assembler.jump_at_least(start, above, below))
        }
    }
}

fn leaf(assembler: &mut Assembler, answer: &Answer<'_>) -> Label {
    match answer {
        Answer::Return(value) => assembler.ret(*value),
        Answer::Tests(arch, tests, otherwise) => {
            let mut next = assembler.ret(*otherwise);
            for test in tests.iter().rev() {
                let decided = assembler.ret(test.action.value());
                let conditions = test.conditions.iter().rev();
                next = conditions.fold(decided, |yes, condition| assembler.test(*arch, condition, yes, next));
            }
            next
        }
    }
}

impl Program {
    /// The first of `calls` that the program would not let run on the native architecture.
    ///
    /// A call that waits for a listener counts as refused unless it may; so does a name the architecture lacks.
    pub fn first_refused<'a>(&self, calls: &'a [Needed]) -> Option<&'a Needed> {
        calls.iter().find(|call| {
            let Some(nr) = Arch::NATIVE.resolve(call.name).and_then(Target::own_number) else { return true };
            let data =
                SeccompData { nr, arch: Arch::NATIVE.audit(), instruction_pointer: 0, args: call.args };
            let answer = simulate::run(&self.instructions, &data);
            let runs = answer == Action::Allow.value() || answer == Action::Log.value();
            !(runs || (call.may_notify && answer == Action::Notify.value()))
        })
    }

    /// Flags and instructions, little-endian: four bytes, then eight per instruction.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + 8 * self.instructions.len());
        bytes.extend(self.flags.to_le_bytes());
        for Instruction { code, jt, jf, k } in &self.instructions {
            bytes.extend(code.to_le_bytes());
            bytes.extend([*jt, *jf]);
            bytes.extend(k.to_le_bytes());
        }
        bytes
    }

    /// The inverse of [`Program::to_bytes`]; `None` for anything the kernel would not load.
    pub fn from_bytes(bytes: &[u8]) -> Option<Program> {
        let (flags, rest) = bytes.split_first_chunk::<4>()?;
        let (chunks, remainder) = rest.as_chunks::<8>();
        let instructions: Vec<Instruction> = chunks
            .iter()
            .map(|&[c0, c1, jt, jf, k0, k1, k2, k3]| Instruction {
                code: u16::from_le_bytes([c0, c1]),
                jt,
                jf,
                k: u32::from_le_bytes([k0, k1, k2, k3]),
            })
            .collect();
        let is_whole = remainder.is_empty() && simulate::is_loadable(&instructions);
        is_whole.then(|| Program { instructions, flags: u32::from_le_bytes(*flags) })
    }
}
