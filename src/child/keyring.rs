//! The session keyring, so that none of the caller's keys can be reached.

use std::ffi::CStr;

use crate::error::Errno;
use crate::sync::{Call, Failure, In};
use crate::sys::process;

/// Makes and joins a session keyring that nobody has yet, and lets those who know its name find it: who enters the
/// container later is no possessor. In a user namespace they have other ids outside.
///
/// Nobody else sees it, not even other processes of the same user.
///
/// A kernel without keyrings has none to leak; every other failure is one.
pub fn make(name: &CStr, in_user_namespace: bool) -> Result<(), Failure> {
    const POSSESSOR_ALL: u32 = 0x3f00_0000;
    const OTHER_SEARCH: u32 = 0x8;
    const USER_SEARCH: u32 = 0x8_0000;
    let Some(serial) = joined(name)? else { return Ok(()) };
    let search = if in_user_namespace { OTHER_SEARCH } else { USER_SEARCH };
    process::set_key_permissions(serial, POSSESSOR_ALL | search).call(Call::Keyctl)
}

/// Joins the session keyring of the container.
pub fn join(name: &CStr) -> Result<(), Failure> {
    joined(name).map(drop)
}

fn joined(name: &CStr) -> Result<Option<i32>, Failure> {
    match process::join_session_keyring(name) {
        Err(Errno::ENOSYS) => Ok(None),
        other => other.call(Call::Keyctl).map(Some),
    }
}
