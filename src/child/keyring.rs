//! The session keyring, so that none of the caller's keys can be reached.

use std::ffi::CStr;

use crate::error::Errno;
use crate::sync::{Call, Failure, In};
use crate::sys::process;

/// Joins the session keyring of this name, made when missing. `widen`: it is the container's first process, in a
/// user namespace or not, and the others must find the keyring by its name.
///
/// A kernel without keyrings has none to leak; every other failure is one.
pub fn join(name: &CStr, widen: Option<bool>) -> Result<(), Failure> {
    const OTHER_SEARCH: u32 = 0x8;
    const USER_SEARCH: u32 = 0x8_0000;
    let serial = match process::join_session_keyring(name) {
        Err(Errno::ENOSYS) => return Ok(()),
        other => other.call(Call::Keyctl)?,
    };
    let Some(in_user_namespace) = widen else { return Ok(()) };
    let extra = if in_user_namespace { OTHER_SEARCH } else { USER_SEARCH };
    process::widen_key_permissions(serial, extra).call(Call::Keyctl)
}
