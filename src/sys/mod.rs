//! The door to the kernel: wrappers named after manual pages, and all unsafe code of the project.
//!
//! Nothing here knows a word of the OCI specification. Functions return [`Errno`] so that callers can decide.
#![allow(unsafe_code)] // the one place where it is needed

pub mod bpf;

pub use nix::errno::Errno;

/// What a system call returns.
pub type Result<T> = std::result::Result<T, Errno>;
