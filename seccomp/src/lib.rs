//! OCI seccomp profiles to BPF programs.
//!
//! A profile, the JSON value of `linux.seccomp`, becomes a checked [`Policy`] and then a [`Program`] for seccomp(2).
//! What a policy means for one call is written down once, in [`explain`], and programs are tested against it with
//! a simulator of the kernel's machine, [`simulate`].
//!
//! [`record`] makes profiles from calls that were seen, [`advice`] says what to change so that a call is allowed, and
//! [`needed`] lists the calls that a runtime makes itself after loading, which every profile must let run.
//!
//! The crate loads nothing, needs no privileges and has no unsafe code. libseccomp supplies system call names;
//! the program is written here. docs/seccomp.md says why.
#![forbid(unsafe_code)]

use std::sync::LazyLock;

pub mod advice;
pub mod arch;
mod assemble;
pub mod cache;
mod compile;
pub mod explain;
pub mod needed;
pub mod notify;
mod parse;
mod policy;
pub mod record;
pub mod simulate;
pub mod tables;
mod warn;

pub use arch::Arch;
pub use compile::{Instruction, Program, compile};
pub use explain::{Decision, Reason, explain};
pub use policy::{
    ACTIONS, Action, Condition, Error, FLAG_LOG, FLAG_NEW_LISTENER, FLAG_SPEC_ALLOW, FLAG_WAIT_KILLABLE_RECV,
    FLAGS, OPERATORS, Operator, Policy, Warning,
};
pub use simulate::SeccompData;

/// The project's own default profile, a value for `linux.seccomp`; profiles/README.md says why it allows what it does.
pub const DEFAULT_PROFILE: &str = include_str!("../profiles/default.json");

/// Architecture names a profile may use: those the linked libseccomp resolves names for.
pub static ARCHITECTURES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| Arch::ALL.into_iter().filter(|arch| arch.is_in_library()).map(Arch::name).collect());

/// Names of [`FLAGS`] that can be used here; `takes` asks the kernel about a `SECCOMP_FILTER_FLAG_*` bit.
///
/// Asking takes seccomp(2) with the bit and no program: EFAULT says that the kernel knows the bit, EINVAL that it
/// does not. A bit of 0 needs no kernel.
pub fn supported_flags(takes: impl Fn(u32) -> bool) -> Vec<&'static str> {
    FLAGS.iter().filter(|(_, bit)| *bit == 0 || takes(*bit)).map(|(name, _)| *name).collect()
}

/// Version of the linked libseccomp: major, minor, micro.
pub fn library_version() -> (u32, u32, u32) {
    libseccomp::ScmpVersion::current()
        .map_or((0, 0, 0), |version| (version.major, version.minor, version.micro))
}
