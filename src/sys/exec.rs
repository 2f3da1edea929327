//! execve(2) and execveat(2).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Errno;
use crate::abi::StringList;

/// execve(2). Returns only when it failed.
pub fn execve(path: &CStr, arguments: &StringList, environment: &StringList) -> Errno {
    // SAFETY: the path and every string end in NUL, both lists end in a null pointer, and all of them are owned
    // by arguments that outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers().as_ptr(), environment.pointers().as_ptr()) };
    Errno::last()
}

/// execveat(2) of an open file. Returns only when it failed.
pub fn execve_fd(file: BorrowedFd, arguments: &StringList, environment: &StringList) -> Errno {
    // SAFETY: as for execve; the empty path is a constant.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers().as_ptr(),
            environment.pointers().as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}
