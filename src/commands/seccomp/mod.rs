//! `teu seccomp`: profiles that people can write.

mod explain;
mod profile;
mod record;
mod shown;
mod throw_away;
mod why;
pub mod words;

use crate::cli::Global;
use crate::cli::seccomp::Seccomp;
use crate::error::Result;

pub use profile::Profile;

/// Does what the command line says. Returns the exit status.
pub fn seccomp(global: &Global, verb: &Seccomp) -> Result<i32> {
    match verb {
        Seccomp::Explain(args) => explain::explain(args),
        Seccomp::Record(args) => record::record(global, args),
        Seccomp::Why(args) => why::why(global, args),
    }
}

/// The verb in front of its errors.
pub fn name_of(verb: &Seccomp) -> &'static str {
    match verb {
        Seccomp::Record(_) => "seccomp record",
        Seccomp::Explain(_) => "seccomp explain",
        Seccomp::Why(_) => "seccomp why",
    }
}
