//! The reading of a policy: which entry decides one call, and with what action.
//!
//! This is the meaning that programs are held against, so it walks the profile as it is written and shares no
//! code with the compiler. The order of the profile does not matter, except where it says "first":
//!
//! 1. A call of an architecture that the profile does not name kills the thread.
//! 2. Rules whose action is the default action are no rules (as in runc).
//! 3. A rule without conditions decides alone, the first of them when there are several (as in libseccomp).
//! 4. Of the rules whose conditions hold, the one with the strictest action decides, the first among equals.
//! 5. A call above the highest number the profile names gets ENOSYS, unless the default action rules that out.
//! 6. Otherwise the default action.
//!
//! Function calls through socketcall and ipc: a rule for `socket` counts for that function of socketcall too.
//! The function's arguments are in memory, where a filter cannot look, so a rule with conditions counts as
//! fulfilled when it is stricter than the default action, and as unfulfilled otherwise. A rule without
//! conditions for socketcall itself overrules both.

use crate::arch::{Arch, Target};
use crate::policy::{Action, ENOSYS, Policy, Rule};
use crate::simulate::SeccompData;

/// What becomes of a call, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What the filter answers.
    pub action: Action,
    /// Pointer, relative to `linux.seccomp`, of what decided.
    pub pointer: String,
    /// How it came to decide.
    pub reason: Reason,
}

/// How a decision came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A rule names the call, and its conditions, if it has any, hold.
    Rule,
    /// No rule names the call, or no rule's conditions hold.
    Default,
    /// The call is newer than the newest one the profile names.
    NewerThanProfile {
        /// Highest number that the profile names on the architecture.
        last: u32,
    },
    /// The profile does not name the architecture.
    ForeignArchitecture,
}

impl Decision {
    /// Index of the rule that decided, when one did.
    pub fn rule(&self) -> Option<usize> {
        let index = self.pointer.strip_prefix("/syscalls/")?;
        index.parse().ok().filter(|_| self.reason == Reason::Rule)
    }
}

/// Decides one call of `arch`; `nr` is what the kernel reports, x32 bit included.
pub fn explain(policy: &Policy, arch: Arch, nr: u32, args: &[u64; 6]) -> Decision {
    Reading::new(policy).decide(&SeccompData { nr, arch: arch.audit(), instruction_pointer: 0, args: *args })
}

/// A policy with its names resolved, for many questions.
#[derive(Debug)]
pub struct Reading<'p> {
    policy: &'p Policy,
    architectures: Vec<ArchReading>,
}

#[derive(Debug)]
struct ArchReading {
    arch: Arch,
    /// Per rule of the profile, in its order.
    targets: Vec<Vec<Target>>,
    /// Highest number that any rule names.
    last: Option<u32>,
}

/// How a rule relates to a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Unconditional,
    Holds,
    No,
}

impl<'p> Reading<'p> {
    /// Resolves the names of a policy on each of its architectures.
    pub fn new(policy: &'p Policy) -> Reading<'p> {
        let read = |arch: &Arch| ArchReading::new(*arch, policy);
        Reading { policy, architectures: policy.architectures.iter().map(read).collect() }
    }

    /// Decides one call.
    pub fn decide(&self, data: &SeccompData) -> Decision {
        let Some(reading) = self.architecture(data) else { return self.foreign(data) };
        let matches = || {
            self.policy
                .effective_rules()
                .map(|(index, rule)| (index, rule, reading.matches(self.policy, index, rule, data)))
        };
        let decided = matches().find(|(.., matched)| *matched == Match::Unconditional).or_else(|| {
            matches()
                .filter(|(.., matched)| *matched == Match::Holds)
                .min_by_key(|(_, rule, _)| rule.action.strictness())
        });
        match decided {
            Some((index, rule, _)) => {
                Decision { action: rule.action, pointer: format!("/syscalls/{index}"), reason: Reason::Rule }
            }
            None => self.undecided(reading, data.nr),
        }
    }

    /// Rules that name the call and do not apply, because their conditions do not hold for its arguments.
    pub fn near(&self, data: &SeccompData) -> Vec<usize> {
        let Some(reading) = self.architecture(data) else { return Vec::new() };
        let names_it = |rule: usize| !reading.names(self.policy, rule, data).is_empty();
        self.policy
            .effective_rules()
            .filter(|(index, rule)| {
                reading.matches(self.policy, *index, rule, data) == Match::No && names_it(*index)
            })
            .map(|(index, _)| index)
            .collect()
    }

    /// Places of the names in rule `index` that mean the call, whatever its arguments.
    pub fn names(&self, index: usize, data: &SeccompData) -> Vec<usize> {
        self.architecture(data).map_or_else(Vec::new, |reading| reading.names(self.policy, index, data))
    }

    /// The architecture of a call, when the profile names it.
    fn architecture(&self, data: &SeccompData) -> Option<&ArchReading> {
        let arch = Arch::of_call(data.arch, data.nr)?;
        self.architectures.iter().find(|reading| reading.arch == arch)
    }

    /// A call that no rule decides.
    fn undecided(&self, reading: &ArchReading, nr: u32) -> Decision {
        match reading.last {
            Some(last) if self.policy.hides_newer_calls() && reading.is_newer(nr, last) => newer(last),
            _ => Decision {
                action: self.policy.default_action,
                pointer: "/defaultAction".to_owned(),
                reason: Reason::Default,
            },
        }
    }

    /// A call of an architecture the profile does not name.
    ///
    /// runc: the kernel reports x32 calls as calls of x86_64 with very high numbers, so where newer calls are
    /// hidden and x32 is not named, x32 calls are hidden too.
    fn foreign(&self, data: &SeccompData) -> Decision {
        let sibling = self.architectures.iter().find(|reading| reading.arch.audit() == data.arch);
        match sibling.and_then(|reading| reading.last) {
            Some(last) if self.policy.hides_newer_calls() && data.nr > last => newer(last),
            _ => Decision {
                action: Action::KillThread,
                pointer: "/architectures".to_owned(),
                reason: Reason::ForeignArchitecture,
            },
        }
    }
}

fn newer(last: u32) -> Decision {
    Decision {
        action: Action::Errno(ENOSYS),
        pointer: "/syscalls".to_owned(),
        reason: Reason::NewerThanProfile { last },
    }
}

impl ArchReading {
    fn new(arch: Arch, policy: &Policy) -> ArchReading {
        let resolve = |rule: &Rule| rule.names.iter().filter_map(|name| arch.resolve(name)).collect();
        let targets: Vec<Vec<Target>> = policy.rules.iter().map(resolve).collect();
        let last = targets
            .iter()
            .flatten()
            .filter_map(|target| target.own_number())
            .filter(|nr| !arch.private_numbers().contains(nr))
            .max();
        ArchReading { arch, targets, last }
    }

    fn is_newer(&self, nr: u32, last: u32) -> bool {
        let is_above = nr > last && !self.arch.private_numbers().contains(&nr);
        is_above || (nr == 0 && self.arch.reports_unknown_calls_as_zero())
    }

    fn names(&self, policy: &Policy, index: usize, data: &SeccompData) -> Vec<usize> {
        let names = policy.rules.get(index).map_or(&[][..], |rule| &rule.names);
        let means_it = |name: &String| match self.arch.resolve(name) {
            Some(target) if target.own_number() == Some(data.nr) => true,
            Some(Target::Multiplexed { parent, call, call_mask, .. }) => {
                parent == data.nr && data.args[0] & u64::from(call_mask) == u64::from(call)
            }
            _ => false,
        };
        names.iter().enumerate().filter(|(_, name)| means_it(name)).map(|(at, _)| at).collect()
    }

    fn matches(&self, policy: &Policy, index: usize, rule: &Rule, data: &SeccompData) -> Match {
        let targets = self.targets.get(index).map_or(&[][..], Vec::as_slice);
        targets.iter().fold(Match::No, |best, target| {
            match (best, self.matches_target(policy, rule, *target, data)) {
                (Match::Unconditional, _) | (_, Match::Unconditional) => Match::Unconditional,
                (Match::Holds, _) | (_, Match::Holds) => Match::Holds,
                _ => Match::No,
            }
        })
    }

    fn matches_target(&self, policy: &Policy, rule: &Rule, target: Target, data: &SeccompData) -> Match {
        match target {
            target if target.own_number() == Some(data.nr) => self.matches_conditions(rule, &data.args),
            Target::Multiplexed { parent, call, call_mask, .. }
                if parent == data.nr && data.args[0] & u64::from(call_mask) == u64::from(call) =>
            {
                // Never Unconditional: that word is left to a rule for the multiplexer itself.
                let fulfilled = rule.conditions.is_empty()
                    || rule.action.strictness() < policy.default_action.strictness();
                if fulfilled { Match::Holds } else { Match::No }
            }
            _ => Match::No,
        }
    }

    fn matches_conditions(&self, rule: &Rule, args: &[u64; 6]) -> Match {
        if rule.conditions.is_empty() {
            return Match::Unconditional;
        }
        let holds = rule
            .alternatives()
            .iter()
            .any(|set| set.iter().all(|condition| condition.holds(self.arch, args)));
        if holds { Match::Holds } else { Match::No }
    }
}
