//! The door to the kernel: wrappers named after manual pages, and all unsafe code of the project.
//!
//! Nothing here knows a word of the OCI specification. Functions return [`Errno`] so that callers can decide.
#![allow(unsafe_code)] // the one place where it is needed

pub mod bpf;
pub mod clone;
pub mod entry;
pub mod exec;
pub mod fd;
pub mod identity;
pub mod mount;
pub mod netlink;
pub mod notify;
pub mod path;
pub mod process;
pub mod ptrace;
pub mod seccomp;
pub mod self_exe;
pub mod signal;
pub mod tty;
pub mod xattr;

pub use nix::errno::Errno;

/// What a system call returns.
pub type Result<T> = std::result::Result<T, Errno>;

/// Turns the return value of a raw system call into a result.
pub(crate) fn check(returned: libc::c_long) -> Result<libc::c_long> {
    if returned < 0 { Err(Errno::last()) } else { Ok(returned) }
}
