//! A seccomp filter, compiled.

use crate::error::{Error, Result};
use crate::sys::{fd, seccomp};

/// A compiled filter.
#[derive(Debug)]
pub struct Filter {
    /// Instructions.
    pub instructions: Vec<seccomp::Instruction>,
    /// Flags of seccomp(2).
    pub flags: u32,
    /// The filter refuses nothing and has a listener that records; the one call with this key passes unseen.
    pub key: Option<u64>,
}

impl Filter {
    /// The program as the kernel takes it.
    pub fn of(program: &teu_seccomp::Program) -> Filter {
        let instruction =
            |i: &teu_seccomp::Instruction| seccomp::Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k };
        Filter {
            instructions: program.instructions.iter().map(instruction).collect(),
            flags: program.flags,
            key: None,
        }
    }

    /// The filter that records.
    pub fn recording() -> Result<Filter> {
        let key = fd::random().map_err(|e| Error::kernel("make a random number", "getrandom(2)", e))?;
        let mut filter = Filter { key: Some(key), ..Filter::of(&teu_seccomp::record::program(key)) };
        if seccomp::knows_flag(seccomp::WAIT_KILLABLE_RECV) {
            // Signals do not interrupt calls that are merely being looked at.
            filter.flags |= seccomp::WAIT_KILLABLE_RECV;
        }
        Ok(filter)
    }
}
