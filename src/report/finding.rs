//! What a report has, in the form in which it is printed.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::sections::section;
use super::{Report, Severity};
use crate::error::{Error, one_line};

/// One thing that is wrong, suspicious or good to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// JSON pointer into `config.json` as it was written; empty for the whole document.
    pub pointer: String,
    /// The section of the runtime specification that has the field, as `FILE#ANCHOR`.
    pub rule: &'static str,
    /// One line, lower case.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Longest text, pointer and hint that are printed, in characters: values come from the configuration.
const LONGEST: usize = 500;

impl Finding {
    fn new(severity: Severity, pointer: &str, text: &str, hint: Option<&str>) -> Finding {
        Finding {
            severity,
            pointer: short(pointer),
            rule: section(pointer),
            text: short(text),
            hint: hint.map(short),
        }
    }

    /// The finding as an object.
    pub fn to_json(&self) -> Value {
        json!({
            "severity": self.severity.name(),
            "pointer": self.pointer,
            "rule": self.rule,
            "text": self.text,
            "hint": self.hint,
        })
    }
}

impl std::fmt::Display for Finding {
    /// `severity pointer: text [rule]; hint: ...` on one line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pointer = if self.pointer.is_empty() { "/" } else { &self.pointer };
        write!(f, "{} {pointer}: {} [{}]", self.severity.name(), self.text, self.rule)?;
        self.hint.iter().try_for_each(|hint| write!(f, "; hint: {hint}"))
    }
}

impl Report {
    /// Everything that was told, by place in the configuration, errors first.
    ///
    /// Advice about a place that has an error or a warning is left out: that says more.
    pub fn findings(&self) -> Vec<Finding> {
        let (errors, warnings, advice) = self.parts();
        let mut all: Vec<Finding> = errors
            .iter()
            .map(|e| Finding::new(Severity::Error, e.pointer().unwrap_or(""), &e.problem(), e.hint_text()))
            .collect();
        let said: HashSet<&str> = errors.iter().filter_map(Error::pointer).collect();
        let warned = warnings.iter().filter(|warning| !said.contains(warning.at.as_str()));
        all.extend(warned.map(|w| Finding::new(Severity::Warning, &w.at, &w.text, None)));
        let said: HashSet<&str> = said.into_iter().chain(warnings.iter().map(|w| w.at.as_str())).collect();
        let advised = advice.iter().filter(|(_, advice)| !said.contains(advice.at.as_str()));
        all.extend(advised.map(|(severity, a)| Finding::new(*severity, &a.at, &a.text, None)));
        all.sort_by(|a, b| {
            (place(&a.pointer), a.severity, &a.text).cmp(&(place(&b.pointer), b.severity, &b.text))
        });
        all
    }
}

/// The parts of a pointer, with those that are numbers in their order.
fn place(pointer: &str) -> Vec<(u64, &str)> {
    pointer.split('/').map(|part| (part.parse().unwrap_or(u64::MAX), part)).collect()
}

fn short(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.into_owned(),
    }
}
