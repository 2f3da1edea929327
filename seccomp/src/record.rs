//! From calls that were seen to the smallest profile that allows them.
//!
//! A recording knows what one run did, not what the program may need tomorrow; the profile says so itself. It is
//! made to be read and edited, and never used to enforce anything while it is being made.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::arch::{Arch, Target};
use crate::assemble::{Assembler, OFFSET_ARCH, OFFSET_NR};
use crate::compile::{Program, compile};
use crate::policy::{Action, Condition, Error, FLAG_NEW_LISTENER, FLAG_SPEC_ALLOW, Operator, Policy};
use crate::simulate::{self, SeccompData};

/// Property that marks a recorded profile; unknown properties are ignored by every runtime.
pub const MARK: &str = "x-recorded";

/// Most calls without a name that are kept.
const MAX_UNNAMED: usize = 100;

const NOTE: &str = "allows what was seen, which may be less than the program needs; read it before use";

/// Calls that are not held, and that every profile allows.
///
/// A signal interrupts a call that waits to be looked at. Most calls can fail so, but programs do not expect it of these:
/// who is to end goes on, and who comes back from a signal handler crashes. Every program needs them.
const NOT_HELD: [&str; 4] = ["exit", "exit_group", "rt_sigreturn", "sigreturn"];

/// Numbers of the calls that are not held, among those of an audit architecture.
fn numbers_not_held(audit: u32) -> BTreeSet<u32> {
    let own = |arch: Arch| NOT_HELD.iter().filter_map(move |name| arch.resolve(name)?.own_number());
    Arch::ALL.into_iter().filter(|arch| arch.audit() == audit).flat_map(own).collect()
}

/// A program that hands every call to a listener, except those that end a process or a signal handler, and a
/// sendmsg(2) whose sixth argument is `key`.
///
/// The process that loads it has to say where its listener is, and could not if that call waited as well. The call
/// has fewer arguments, so the key changes nothing; it should be random, so that no program can hide a call from the
/// recording. Other calls are held even with the key, which may be left in the register where it was put.
pub fn program(key: u64) -> Program {
    let mut assembler = Assembler::default();
    let (pass, wait) = (assembler.ret(Action::Allow.value()), assembler.ret(Action::Notify.value()));
    let has_key = Condition { index: 5, operator: Operator::Equal, value: key, value_two: 0 };
    let with_key = assembler.test(Arch::NATIVE, &has_key, pass, wait);
    let sendmsg = Arch::NATIVE.resolve("sendmsg").and_then(Target::own_number).unwrap_or(u32::MAX);
    let is_sendmsg = assembler.jump_equal(sendmsg, with_key, wait);
    let local = Arch::ALL.into_iter().filter(|arch| arch.runs_on(Arch::NATIVE)).map(Arch::audit);
    let mut otherwise = wait;
    // The native architecture comes first in the program.
    let audits: BTreeSet<u32> = local.filter(|audit| *audit != Arch::NATIVE.audit()).collect();
    for audit in audits.into_iter().chain([Arch::NATIVE.audit()]) {
        let held = if audit == Arch::NATIVE.audit() { is_sendmsg } else { wait };
        let numbers = numbers_not_held(audit);
        let tests = numbers.into_iter().fold(held, |no, number| assembler.jump_equal(number, pass, no));
        let numbers = assembler.load(OFFSET_NR, tests);
        otherwise = assembler.jump_equal(audit, numbers, otherwise);
    }
    assembler.load(OFFSET_ARCH, otherwise);
    // So few instructions are never too many.
    let instructions = assembler.finish().unwrap_or_default();
    Program { instructions, flags: FLAG_NEW_LISTENER | FLAG_SPEC_ALLOW }
}

/// Calls seen so far, and the profile they are added to.
#[derive(Debug, Default)]
pub struct Recording {
    base: Map<String, Value>,
    /// The existing profile, and its program, which answers a call faster than the reading does.
    existing: Option<(Policy, Program)>,
    /// Calls with a name that were seen, by audit architecture and number.
    seen: BTreeSet<(u32, u32)>,
    observations: u64,
    /// What the profile has to allow in addition.
    missing: BTreeSet<String>,
    /// Calls that nobody has a name for, which no profile can allow.
    unnamed: BTreeSet<String>,
    architectures: BTreeSet<Arch>,
}

impl Recording {
    /// A recording that starts with nothing allowed.
    pub fn new() -> Recording {
        Recording::default()
    }

    /// A recording that adds to an existing profile.
    ///
    /// Errors: those of [`Policy::from_value`] and [`compile`].
    pub fn over(profile: &Value) -> Result<Recording, Error> {
        let Some(policy) = Policy::from_value(profile)? else { return Ok(Recording::new()) };
        let program = compile(&policy)?;
        let base = profile.as_object().cloned().unwrap_or_default();
        Ok(Recording { base, existing: Some((policy, program)), ..Recording::default() })
    }

    /// Adds one call.
    pub fn see(&mut self, data: &SeccompData) {
        self.observations = self.observations.saturating_add(1);
        let Some(arch) = Arch::of_call(data.arch, data.nr) else {
            self.see_unnamed(format!("{:#x}:{}", data.arch, data.nr));
            return;
        };
        self.architectures.insert(arch);
        let Some(name) = arch.name_of_call(data.nr, data.args[0]) else {
            self.see_unnamed(format!("{arch}:{}", data.nr));
            return;
        };
        self.seen.insert((data.arch, data.nr));
        if !self.is_covered(data) {
            self.missing.insert(name);
        }
    }

    /// A program can make up as many of these as there are numbers, so not all are kept.
    fn see_unnamed(&mut self, call: String) {
        if self.unnamed.len() < MAX_UNNAMED {
            self.unnamed.insert(call);
        }
    }

    /// Number of different calls seen, without those that nobody has a name for.
    pub fn calls(&self) -> usize {
        self.seen.len()
    }

    /// How often a call was seen.
    pub fn observations(&self) -> u64 {
        self.observations
    }

    /// Calls seen that have no name and therefore are in no profile, as `SCMP_ARCH_X86_64:999`.
    pub fn unnamed(&self) -> impl Iterator<Item = &str> {
        self.unnamed.iter().map(String::as_str)
    }

    /// The profile: the existing one with what it refused added, or a new one.
    ///
    /// Names are sorted; the architectures are those seen and those named before; the default is EPERM. A name
    /// that was seen on one architecture is allowed on all of them, since a profile cannot say less. What ends a process
    /// or a signal handler is allowed unseen.
    pub fn profile(&self) -> Value {
        let mut profile = self.base.clone();
        if self.existing.is_none() {
            profile.insert("defaultAction".to_owned(), json!(Action::Errno(1).name()));
            profile.insert("defaultErrnoRet".to_owned(), json!(1));
        }
        let mut architectures = self.architectures.clone();
        architectures.extend(self.existing.iter().flat_map(|(policy, _)| policy.architectures()));
        let architectures: Vec<&str> = architectures.into_iter().map(Arch::name).collect();
        profile.insert("architectures".to_owned(), json!(architectures));
        profile.insert("syscalls".to_owned(), Value::Array(self.rules()));
        let before = self.base.get(MARK).and_then(|mark| mark["observations"].as_u64()).unwrap_or(0);
        let observations = before.saturating_add(self.observations());
        profile.insert(MARK.to_owned(), json!({"observations": observations, "note": NOTE}));
        Value::Object(profile)
    }

    /// Whether the existing profile lets the call run, or leaves it to somebody who decides.
    fn is_covered(&self, data: &SeccompData) -> bool {
        let Some((_, program)) = &self.existing else { return false };
        let answer = simulate::run(&program.instructions, data) & 0xffff_0000;
        [Action::Allow, Action::Log, Action::Notify, Action::Trace(0)].map(Action::value).contains(&answer)
    }

    /// Names of the calls that are not held and that the existing profile refuses on an architecture that was seen.
    fn uncovered_not_held(&self) -> impl Iterator<Item = String> {
        let refused = |arch: Arch, name: &str| {
            let number = arch.resolve(name).and_then(Target::own_number);
            number.is_some_and(|nr| {
                !self.is_covered(&SeccompData { nr, arch: arch.audit(), ..Default::default() })
            })
        };
        let is_missing = move |name: &&str| self.architectures.iter().any(|arch| refused(*arch, name));
        NOT_HELD.into_iter().filter(is_missing).map(str::to_owned)
    }

    /// The rules of the existing profile without what they say about the missing calls, and one that allows those.
    fn rules(&self) -> Vec<Value> {
        let mut rules: Vec<Value> =
            self.base.get("syscalls").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut missing = self.missing.clone();
        missing.extend(self.uncovered_not_held());
        if missing.is_empty() {
            return rules;
        }
        for names in rules.iter_mut().filter_map(|rule| rule.get_mut("names")?.as_array_mut()) {
            names.retain(|name| name.as_str().is_none_or(|name| !missing.contains(name)));
        }
        rules.retain(|rule| rule["names"].as_array().is_some_and(|names| !names.is_empty()));
        if let Some(at) = rules.iter().position(|rule| rule.get(MARK).is_some()) {
            let earlier = rules.remove(at);
            let names = earlier["names"].as_array().into_iter().flatten();
            missing.extend(names.filter_map(Value::as_str).map(str::to_owned));
        }
        rules.push(json!({"names": missing, "action": Action::Allow.name(), MARK: true}));
        rules
    }
}
