//! The undo list: each step of `create` that leaves something behind says how it is taken back.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};

/// Steps to take back, run last first unless [`Undo::forget`] is called.
#[derive(Default)]
pub struct Undo<'a> {
    steps: Vec<Box<dyn FnOnce() -> Result<()> + 'a>>,
}

impl<'a> Undo<'a> {
    /// Adds a step.
    pub fn push(&mut self, step: impl FnOnce() -> Result<()> + 'a) {
        self.steps.push(Box::new(step));
    }

    /// Takes everything back and returns `error`. A step that fails does not keep the others from running; what
    /// could not be undone becomes part of the text.
    pub fn undo(self, error: Error) -> Error {
        let mut left: Vec<String> = Vec::new();
        for step in self.steps.into_iter().rev() {
            if let Err(failed) = step() {
                left.push(failed.to_string());
            }
        }
        if left.is_empty() {
            return error;
        }
        error.detail_also(&format!("and the clean-up is incomplete: {}", left.join("; ")))
    }

    /// The container exists, nothing is taken back.
    pub fn forget(mut self) {
        self.steps.clear();
    }
}
