//! seccomp(2).

use std::os::fd::{FromRawFd, OwnedFd};

use super::{Errno, Result, check};

/// SECCOMP_FILTER_FLAG_NEW_LISTENER: the call returns a descriptor for user notifications.
pub const NEW_LISTENER: u32 = 8;

/// One instruction of classic BPF, as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Jump when true.
    pub jt: u8,
    /// Jump when false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

#[repr(C)]
struct Program {
    length: u16,
    filter: *const Instruction,
}

/// seccomp(2) with SECCOMP_SET_MODE_FILTER. Returns the listener when `flags` asks for one.
///
/// Errors: EACCES without CAP_SYS_ADMIN and no_new_privs; EINVAL for a bad program or unknown flags.
pub fn load(filter: &[Instruction], flags: u32) -> Result<Option<OwnedFd>> {
    const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
    let length = u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?;
    let program = Program { length, filter: filter.as_ptr() };
    // SAFETY: seccomp(2) copies the program during the call; `filter` outlives it.
    let returned = check(unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    if flags & NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with this flag the kernel returns a new descriptor.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(returned as i32) }))
}
