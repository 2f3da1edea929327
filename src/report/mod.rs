//! Who is told what is wrong with a configuration: `create` wants the first error, `check` wants all of them.
//!
//! There is one validator, [`crate::config`] with [`crate::plan`], and it tells a [`Report`] whatever it finds. The
//! report says whether to go on: a function that takes one goes on with the next part after `refuse(...)?`, which
//! returns the error in `create` and nothing in `check`. What it returns in spite of an error is only good for
//! looking further.
#![forbid(unsafe_code)]

mod finding;
mod masks;
mod sections;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::config::Warning;
use crate::error::{Error, Result};
pub use finding::Finding;
use masks::Masks;

/// Most findings that are kept of each sort. A hostile configuration could have one in each of its bytes.
pub const MOST: usize = 100;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// `create` would refuse, or fail.
    Error,
    /// It would work, but probably not as it was meant.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct Report {
    all: bool,
    errors: Vec<Error>,
    /// What `create` tells too.
    warnings: Vec<Warning>,
    /// What only `check` tells.
    advice: Vec<(Severity, Warning)>,
    told: HashSet<(String, String)>,
    masks: Masks,
    left_out: usize,
}

impl Report {
    /// Ends the work with the first error and keeps the warnings.
    pub fn of_first_error() -> Report {
        Report::default()
    }

    /// Keeps everything.
    pub fn of_everything() -> Report {
        Report { all: true, ..Report::default() }
    }

    /// True when the work goes on after an error.
    pub fn goes_on(&self) -> bool {
        self.all
    }

    /// Tells an error. Returns it where the first one ends the work.
    pub fn refuse(&mut self, error: Error) -> Result<()> {
        if !self.all {
            return Err(error);
        }
        let error = match error.pointer() {
            Some(pointer) => {
                let original = self.masks.original(pointer);
                // What is taken out is wrong already; that it is missing says nothing new.
                if self.masks.is_above_mask(&original) {
                    return Ok(());
                }
                error.moved_to(original)
            }
            None => error,
        };
        if self.is_new(error.pointer().unwrap_or_default(), error.doing()) {
            match self.errors.len() < MOST {
                true => self.errors.push(error),
                false => self.left_out += 1,
            }
        }
        Ok(())
    }

    /// The same about a member that is missing: what is said later about its place, or what is around it, follows
    /// from that.
    pub fn refuse_missing(&mut self, error: Error) -> Result<()> {
        let original = error.pointer().map(|pointer| self.masks.original(pointer));
        self.refuse(error)?;
        self.masks.note(original.unwrap_or_default());
        Ok(())
    }

    /// The value, or `None` when it could not be had and the work goes on.
    pub fn keep<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.refuse(error).map(|()| None),
        }
    }

    /// Tells what is suspicious but no error; `create` passes it on to the log.
    pub fn warn(&mut self, at: impl Into<String>, text: impl Into<String>) {
        if !self.all {
            return self.warnings.push(Warning::new(at, text));
        }
        let (at, text) = (self.masks.original(&at.into()), text.into());
        if self.is_new(&at, &text) {
            match self.warnings.len() < MOST {
                true => self.warnings.push(Warning::new(at, text)),
                false => self.left_out += 1,
            }
        }
    }

    /// Tells what only somebody who asks for advice should know. Nothing is made or kept for others.
    pub fn advise(&mut self, severity: Severity, at: impl Into<String>, text: impl Into<String>) {
        if !self.all {
            return;
        }
        let (at, text) = (self.masks.original(&at.into()), text.into());
        if self.is_new(&at, &text) {
            match self.advice.len() < MOST {
                true => self.advice.push((severity, Warning::new(at, text))),
                false => self.left_out += 1,
            }
        }
    }

    /// The warnings that `create` tells, in the order in which they came.
    pub fn into_warnings(self) -> Vec<Warning> {
        self.warnings
    }

    /// The errors, what `create` warns of, and the rest.
    pub fn parts(&self) -> (&[Error], &[Warning], &[(Severity, Warning)]) {
        (&self.errors, &self.warnings, &self.advice)
    }

    /// How many findings were not kept, or parts not looked at.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// True when no more errors are kept, so that looking for them is idle.
    pub fn is_full(&self) -> bool {
        self.errors.len() >= MOST
    }

    /// True when something at this place, above or below it was taken out because it cannot be read: what is absent
    /// there was perhaps meant to be present.
    pub fn is_incomplete(&self, pointer: &str) -> bool {
        self.masks.touches(pointer)
    }

    /// Notes that something was not looked at, so that there may be more to find.
    pub fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// Takes the part out of the document that an error points at, so that the rest can be read.
    ///
    /// Returns false when nothing but the document itself is left to take out.
    pub fn take_out(&mut self, document: &mut serde_json::Value, base: &str, pointer: &str) -> bool {
        self.masks.take_out(document, base, pointer)
    }

    /// Errors and warnings come from several readings of the same parts, so each is kept once.
    fn is_new(&mut self, at: &str, text: &str) -> bool {
        self.told.len() >= 4 * MOST || self.told.insert((at.to_owned(), text.to_owned()))
    }
}
