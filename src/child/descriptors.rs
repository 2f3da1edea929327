//! Which descriptors remain: those of the program, and a few of ours right above them.

use std::os::fd::{AsFd, IntoRawFd, OwnedFd, RawFd};

use crate::parent::prepare::Passed;
use crate::sync::{Call, Failure, In};
use crate::sys::fd;

/// Puts the descriptors in `kept` at consecutive numbers right above what the program gets, close-on-exec, makes the
/// program's own inheritable, and closes everything else. Returns the first of those numbers.
///
/// Every other descriptor that the caller owns or has borrowed is gone afterwards.
pub fn keep(passed: &Passed, kept: &[RawFd]) -> Result<RawFd, Failure> {
    let first = 3 + passed.count as RawFd;
    let end = first + kept.len() as RawFd;
    // All are first moved out of the way of their final places.
    let moved = kept
        .iter()
        .map(|fd| fd::duplicate_at_least(*fd, end).call(Call::Dup))
        .collect::<Result<Vec<OwnedFd>, Failure>>()?;
    for (number, fd) in (first..).zip(&moved) {
        fd::dup_onto_cloexec(fd.as_fd(), number).call(Call::Dup)?;
    }
    // From here on these numbers mean nothing; nobody may close them again.
    for fd in moved {
        let _ = fd.into_raw_fd();
    }
    fd::close_range(end as u32, u32::MAX).call(Call::CloseRange)?;
    for number in 3..first {
        if passed.open.contains(&number) {
            fd::keep_on_exec(number).call(Call::Dup)?;
        } else {
            fd::close_range(number as u32, number as u32).call(Call::CloseRange)?;
        }
    }
    Ok(first)
}
