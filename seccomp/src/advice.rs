//! What to change in a profile so that a call it refuses is allowed.
//!
//! The changes are found by making them one after the other and asking the reading of the profile again, so that
//! they do what they promise; they are the ones a person would make, and allow the call whatever its arguments.

use serde_json::{Value, json};

use crate::arch::Arch;
use crate::explain::{Reading, Reason};
use crate::policy::{Action, Policy, Rule};
use crate::simulate::SeccompData;

/// Most rules that are changed; nobody would follow a longer list.
const MAX_CHANGES: usize = 16;

/// One change of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A name is taken out of a rule.
    TakeOut {
        /// Index of the rule.
        rule: usize,
        /// Its place in `names`.
        at: usize,
        /// The name.
        name: String,
    },
    /// A rule whose last name would be taken out goes as a whole.
    Remove {
        /// Index of the rule.
        rule: usize,
    },
    /// A rule that allows the name is added.
    Allow(String),
    /// An architecture is added.
    Architecture(Arch),
}

/// The changes that make `policy` allow the call; empty when it does already.
///
/// `None` when the call has no name, so that no profile can allow it, or when more than a dozen rules refuse it.
pub fn to_allow(policy: &Policy, data: &SeccompData) -> Option<Vec<Change>> {
    let mut policy = policy.clone();
    let mut changes = Vec::new();
    while changes.len() <= MAX_CHANGES {
        let reading = Reading::new(&policy);
        let decision = reading.decide(data);
        if !decision.action.refuses() {
            return Some(in_order(changes));
        }
        match decision.reason {
            Reason::Rule => {
                let index = decision.rule()?;
                let places = reading.names(index, data);
                let rule = policy.rules.get_mut(index)?;
                if places.len() == rule.names.len() {
                    changes.push(Change::Remove { rule: index });
                } else {
                    let taken =
                        |at: &usize| Change::TakeOut { rule: index, at: *at, name: rule.names[*at].clone() };
                    changes.extend(places.iter().map(taken));
                }
                // The rule stays, so that the others keep their numbers.
                let mut at = 0..;
                rule.names.retain(|_| !at.next().is_some_and(|at| places.contains(&at)));
                if places.is_empty() {
                    return None;
                }
            }
            // x32 calls count as newer where x32 is not named.
            Reason::Default | Reason::NewerThanProfile { .. } | Reason::ForeignArchitecture => {
                let arch = Arch::of_call(data.arch, data.nr)?;
                let change = if policy.architectures.contains(&arch) {
                    let name = arch.name_of_call(data.nr, data.args[0])?;
                    policy.rules.push(Rule {
                        names: vec![name.clone()],
                        action: Action::Allow,
                        conditions: Vec::new(),
                    });
                    Change::Allow(name)
                } else {
                    policy.architectures.push(arch);
                    Change::Architecture(arch)
                };
                if changes.contains(&change) {
                    return None;
                }
                changes.push(change);
            }
        }
    }
    None
}

/// Later places first, so that a change does not move what the next one means; additions last.
fn in_order(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by_key(|change| match change {
        Change::TakeOut { rule, at, .. } => (0, std::cmp::Reverse((*rule, *at))),
        Change::Remove { rule } => (0, std::cmp::Reverse((*rule, 0))),
        Change::Architecture(_) => (1, std::cmp::Reverse((0, 0))),
        Change::Allow(_) => (2, std::cmp::Reverse((0, 0))),
    });
    changes
}

impl Change {
    /// The change in words. `base` is the pointer of the profile in its file, empty when it is the whole file.
    pub fn sentence(&self, base: &str) -> String {
        match self {
            Change::TakeOut { rule, name, .. } => {
                format!("take {name:?} out of {base}/syscalls/{rule}/names")
            }
            Change::Remove { rule } => format!("remove {base}/syscalls/{rule}"),
            Change::Allow(name) => {
                let action = Action::Allow.name();
                format!("add {{\"names\":[{name:?}],\"action\":{action:?}}} to {base}/syscalls")
            }
            Change::Architecture(arch) => format!("add {:?} to {base}/architectures", arch.name()),
        }
    }

    /// The change as an operation of a JSON patch (RFC 6902). `section` is the profile before all changes.
    pub fn operation(&self, base: &str, section: &Value) -> Value {
        let add = |list: &str, value: Value| match section.get(list) {
            Some(Value::Array(_)) => json!({"op": "add", "path": format!("{base}/{list}/-"), "value": value}),
            _ => json!({"op": "add", "path": format!("{base}/{list}"), "value": [value]}),
        };
        match self {
            Change::TakeOut { rule, at, .. } => {
                json!({"op": "remove", "path": format!("{base}/syscalls/{rule}/names/{at}")})
            }
            Change::Remove { rule } => json!({"op": "remove", "path": format!("{base}/syscalls/{rule}")}),
            Change::Allow(name) => add("syscalls", allowing(name)),
            Change::Architecture(arch) => add("architectures", json!(arch.name())),
        }
    }
}

fn allowing(name: &str) -> Value {
    json!({"names": [name], "action": Action::Allow.name()})
}
