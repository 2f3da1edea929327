//! `teu checkpoint` and `teu restore`: told apart from unknown verbs, and refused.

use crate::error::{Error, Result};

/// Refuses, whatever the options are, so that nobody takes the verb for supported.
pub fn refuse(verb: &str) -> Result<i32> {
    Err(Error::usage(format!("{verb} is not supported"))
        .hint("teu does not use CRIU; containers can be paused and resumed"))
}
