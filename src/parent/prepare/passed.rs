//! Descriptors that the caller passes through: `--preserve-fds`, LISTEN_FDS.

use crate::error::{Error, Result};
use crate::sys::fd;

/// Descriptors of the caller that the container gets.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// How many numbers from 3 on are theirs.
    pub count: u32,
    /// Those that are open.
    pub open: Vec<i32>,
}

impl Passed {
    /// Looks which of the `count` descriptors from 3 on are open. To be called first of all, since everything
    /// that is opened later could take a free number.
    ///
    /// A hole is filled, so that nothing of ours lands in it. Errors: the last of the range is not open.
    pub fn take(count: u32) -> Result<Passed> {
        const MOST: u32 = 65_536;
        if count > MOST {
            return Err(Error::usage(format!("--preserve-fds {count} is more than {MOST}")));
        }
        let end = 3 + count as i32;
        let open: Vec<i32> = (3..end).filter(|number| fd::is_open(*number)).collect();
        let missing = (3..end).find(|number| !open.contains(number));
        if let Some(missing) = missing
            && open.last().is_none_or(|last| *last < end - 1)
        {
            return Err(Error::usage(format!("unable to stat preserved-fd {} (of {count})", missing - 2))
                .hint("the descriptor is not open in the caller"));
        }
        for hole in (3..end).filter(|number| !open.contains(number)) {
            fd::fill(hole).map_err(|e| Error::kernel("reserve a descriptor", "dup3(2)", e))?;
        }
        Ok(Passed { count, open })
    }
}
