//! Decisions of a profile in words.

use teu_seccomp::advice::Change;
use teu_seccomp::explain::Reading;
use teu_seccomp::{Arch, Condition, Decision, Policy, Reason, SeccompData};

/// Most rules that one sentence lists.
const MOST: usize = 5;

/// What decided, with its pointer, and why. `base` is the pointer of the profile in its file.
pub fn because(
    policy: &Policy,
    reading: &Reading,
    data: &SeccompData,
    decision: &Decision,
    base: &str,
) -> String {
    let at = format!("{base}{}", decision.pointer);
    match decision.reason {
        Reason::Rule => {
            let rule = decision.rule().and_then(|index| policy.rule(index));
            match rule.map(|(_, conditions)| conditions).filter(|conditions| !conditions.is_empty()) {
                Some(conditions) => format!("{at}, whose condition holds: {}", joined(conditions)),
                None => at,
            }
        }
        Reason::Default => match near(policy, reading, data, base) {
            Some(rules) => {
                format!("{at}, as the rules that name the call have conditions that do not hold: {rules}")
            }
            None => format!("{at}, as no rule names the call"),
        },
        Reason::NewerThanProfile { last } => {
            let name = Arch::of_call(data.arch, last).and_then(|arch| arch.name_of(last));
            let newest = name.map_or_else(|| format!("call {last}"), |name| format!("{name}, call {last}"));
            format!("{at}, where no call is as new as this one; the newest is {newest}")
        }
        Reason::ForeignArchitecture => {
            let arch = Arch::of_call(data.arch, data.nr).map_or("the architecture of the call", Arch::name);
            format!("{at}, which does not name {arch}")
        }
    }
}

/// Rules that name the call under conditions that do not hold.
fn near(policy: &Policy, reading: &Reading, data: &SeccompData, base: &str) -> Option<String> {
    let near = reading.near(data);
    let rules = near.iter().take(MOST).filter_map(|index| {
        let (_, conditions) = policy.rule(*index)?;
        Some(format!("{base}/syscalls/{index} wants {}", joined(conditions)))
    });
    let mut rules: Vec<String> = rules.collect();
    if near.len() > MOST {
        rules.push(format!("and {} more", near.len() - MOST));
    }
    (!rules.is_empty()).then(|| rules.join("; "))
}

/// Conditions must all hold, unless one argument is named twice: then one suffices.
fn joined(conditions: &[Condition]) -> String {
    let repeats =
        conditions.iter().enumerate().any(|(at, c)| conditions[..at].iter().any(|d| d.index == c.index));
    let words: Vec<String> = conditions.iter().map(ToString::to_string).collect();
    words.join(if repeats { " or " } else { " and " })
}

/// What allows the call, in words. `has_name`: somebody has a name for it.
pub fn advice(changes: Option<&[Change]>, has_name: bool, base: &str) -> String {
    match changes {
        Some(changes) => {
            let sentences: Vec<String> = changes.iter().map(|change| change.sentence(base)).collect();
            sentences.join(", then ")
        }
        None if has_name => format!("change the rules below {base}/syscalls, too many of which refuse it"),
        None => "nothing does: rules are about names, and the call has none".to_owned(),
    }
}

/// `1 call`, `2 calls`.
pub fn counted(number: u64, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {what}{s}")
}
