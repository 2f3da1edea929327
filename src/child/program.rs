//! Finds the program as the user of the container, so that a missing one is an error of `create`.
//!
//! The wording is what engines derive exit codes 126 and 127 from.

use std::ffi::{CStr, CString};

use crate::error::Errno;
use crate::plan::process::{Process, Program};
use crate::sync::{Call, Failure};
use crate::sys::path;

/// Returns the path to execute.
pub fn find(process: &Process) -> Result<CString, Failure> {
    match &process.program {
        Program::Path(path) => match check(path) {
            Ok(()) => Ok(path.clone()),
            Err((call, errno)) => Err(Failure::of(call, errno).with(path.to_bytes())),
        },
        Program::Search { name, candidates } => {
            let found = candidates.iter().find(|candidate| check(candidate).is_ok());
            // A file of that name that may not be executed is no program, as for execvp(3) without one.
            found.cloned().ok_or_else(|| Failure::of(Call::None, Errno::ENOENT).with(name.to_bytes()))
        }
    }
}

fn check(program: &CStr) -> Result<(), (Call, Errno)> {
    let stat = path::statx(path::cwd_fd(), program, 0).map_err(|errno| (Call::Statx, errno))?;
    if stat.is_dir() {
        return Err((Call::None, Errno::EISDIR));
    }
    if stat.kind() != libc::S_IFREG {
        return Err((Call::None, Errno::EACCES));
    }
    path::may_execute(path::cwd_fd(), program).map_err(|errno| (Call::Faccessat, errno))
}
