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

/// Whether the kernel knows a flag of SECCOMP_SET_MODE_FILTER: a call without a program fails with EFAULT then.
pub fn takes_flag(flag: u32) -> bool {
    const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
    let no_program = std::ptr::null::<Program>();
    // SAFETY: seccomp(2) reads a program from the pointer, which is null: it fails and changes nothing.
    let returned =
        check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flag, no_program) });
    flag == 0 || returned == Err(Errno::EFAULT)
}

/// Whether the kernel knows the action of a filter's return value.
pub fn takes_action(value: u32) -> bool {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_long = 2;
    const SECCOMP_RET_ACTION_FULL: u32 = 0xffff_0000;
    let action = value & SECCOMP_RET_ACTION_FULL;
    // SAFETY: seccomp(2) reads the number during the call.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) }).is_ok()
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

/// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: a call that was received is interrupted by fatal signals only.
pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Whether the kernel knows a `SECCOMP_FILTER_FLAG_*`: it looks at the flags before it misses the program.
pub fn knows_flag(flag: u32) -> bool {
    const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
    // This one is only known beside the other.
    let flags = if flag == WAIT_KILLABLE_RECV { flag | NEW_LISTENER } else { flag };
    // SAFETY: there is no program, so nothing is read and nothing can be loaded.
    let returned = check(unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, std::ptr::null::<Program>())
    });
    returned == Err(Errno::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags of a profile are all older than the oldest kernel that teu runs on, but for the last one (5.19).
    #[test]
    fn known_flags_are_told_from_unknown_ones() {
        for flag in [1 << 1, 1 << 2, NEW_LISTENER] {
            assert!(knows_flag(flag), "{flag:#x}");
        }
        assert!(!knows_flag(1 << 30));
    }
}
