//! The unsafe part of the tests: taking ownership of descriptors that arrive as numbers, and raw system calls.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Owns a descriptor that the kernel has just put into a control message.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the number comes from SCM_RIGHTS of a message that was received just now, and its receiver, the
    // only caller of this function, gives it to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Makes a system call without arguments and returns its errno, 0 when it succeeded.
pub fn raw_syscall(number: i64) -> i32 {
    // SAFETY: callers pass numbers that no kernel knows, so no argument is read and nothing happens.
    let result = unsafe { libc::syscall(number) };
    if result == -1 { std::io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
}
