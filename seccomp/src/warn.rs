//! Legal things in a profile that are probably mistakes.

use std::collections::{HashMap, HashSet};

use crate::parse::quoted;
use crate::policy::{Error, Policy, Warning};

/// Most warnings given; a profile full of unknown names should not fill a log.
const MAX_WARNINGS: usize = 100;

/// See [`Policy::warnings`].
pub(crate) fn warnings(policy: &Policy) -> Vec<Warning> {
    let mut all = policy.parse_warnings.clone();
    all.extend(unknown_names(policy).into_iter().map(|unknown| Warning {
        pointer: unknown.pointer,
        message: format!("{} is ignored", unknown.message),
        is_usual: false,
    }));
    all.extend(rules_without_effect(policy));
    let more = all.len().saturating_sub(MAX_WARNINGS);
    if more > 0 {
        all.truncate(MAX_WARNINGS);
        all.push(Warning {
            pointer: String::new(),
            message: format!("{more} more warnings"),
            is_usual: false,
        });
    }
    all
}

/// runc: such names are ignored, so a profile may name calls of newer kernels and of other architectures.
pub(crate) fn unknown_names(policy: &Policy) -> Vec<Error> {
    let mut warned = HashSet::new();
    let mut found = Vec::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        for (at, name) in rule.names.iter().enumerate() {
            if !policy.native.is_name_known(name) && warned.insert(name) {
                found.push(Error {
                    pointer: format!("/syscalls/{index}/names/{at}"),
                    message: format!("unknown system call {}", quoted(name)),
                });
            }
        }
    }
    found
}

/// Rules whose names another rule without conditions has decided already.
fn rules_without_effect(policy: &Policy) -> Vec<Warning> {
    let mut deciders = HashMap::new();
    for (index, rule) in policy.effective_rules().filter(|(_, rule)| rule.conditions.is_empty()) {
        for name in &rule.names {
            deciders.entry(name).or_insert((index, rule.action));
        }
    }
    let mut found = Vec::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        for (at, name) in rule.names.iter().enumerate() {
            let Some((decider, action)) = deciders.get(name).filter(|(_, action)| *action != rule.action)
            else {
                continue;
            };
            found.push(Warning {
                pointer: format!("/syscalls/{index}/names/{at}"),
                message: format!(
                    "without effect: /syscalls/{decider} gives {} {action} in any case",
                    quoted(name)
                ),
                is_usual: true,
            });
        }
    }
    found
}
