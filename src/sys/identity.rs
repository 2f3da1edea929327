//! Who a process is: setgroups(2), setresgid(2), setresuid(2), capabilities(7), no_new_privs.
//!
//! These are raw system calls: the wrappers of the C library signal other threads, and there are none.

use super::{Result, check};

/// A set of capabilities, bit N for capability N.
pub type CapabilitySet = u64;

/// setgroups(2).
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the kernel reads exactly the given number of ids.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// setresgid(2) of all three ids.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// setresuid(2) of all three ids.
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// The real, effective and saved user and group ids.
pub fn ids() -> ([u32; 3], [u32; 3]) {
    let (mut uids, mut gids) = ([0; 3], [0; 3]);
    let [r, e, s] = &mut uids;
    // SAFETY: the three variables live through the call, which cannot fail then.
    unsafe { libc::getresuid(r, e, s) };
    let [r, e, s] = &mut gids;
    // SAFETY: as above.
    unsafe { libc::getresgid(r, e, s) };
    (uids, gids)
}

/// geteuid(2).
pub fn effective_uid() -> u32 {
    // SAFETY: always allowed.
    unsafe { libc::geteuid() }
}

/// getegid(2).
pub fn effective_gid() -> u32 {
    // SAFETY: always allowed.
    unsafe { libc::getegid() }
}

fn prctl(option: i32, a: u64, b: u64) -> Result<i64> {
    // SAFETY: the options used here take numbers only.
    check(unsafe { libc::prctl(option, a, b, 0, 0) }.into())
}

/// PR_CAPBSET_DROP. Errors: EINVAL for a capability that the kernel does not know.
pub fn drop_from_bounding_set(capability: u32) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, capability.into(), 0).map(drop)
}

/// PR_CAPBSET_READ.
pub fn is_in_bounding_set(capability: u32) -> Result<bool> {
    prctl(libc::PR_CAPBSET_READ, capability.into(), 0).map(|bit| bit == 1)
}

/// PR_SET_KEEPCAPS: do the permitted capabilities survive a change of user id?
pub fn keep_capabilities(keep: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, keep.into(), 0).map(drop)
}

/// PR_CAP_AMBIENT_CLEAR_ALL.
pub fn clear_ambient_set() -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).map(drop)
}

/// PR_CAP_AMBIENT_RAISE. Errors: EPERM when it is not both permitted and inheritable.
pub fn raise_ambient(capability: u32) -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, capability.into()).map(drop)
}

/// PR_SET_NO_NEW_PRIVS.
pub fn set_no_new_privileges() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// PR_GET_SECUREBITS.
pub fn secure_bits() -> Result<i64> {
    prctl(libc::PR_GET_SECUREBITS, 0, 0)
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// capset(2).
///
/// Errors: EPERM when the permitted set would grow, when effective is no subset of permitted, or when a
/// capability outside the bounding set would become inheritable.
pub fn set_capabilities(
    effective: CapabilitySet,
    permitted: CapabilitySet,
    inheritable: CapabilitySet,
) -> Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 takes a header and two data structs, which live through the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// capget(2) of this process: effective, permitted, inheritable.
pub fn capabilities() -> Result<(CapabilitySet, CapabilitySet, CapabilitySet)> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 takes a header and two data structs, which live through the call.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok((
        join(data[0].effective, data[1].effective),
        join(data[0].permitted, data[1].permitted),
        join(data[0].inheritable, data[1].inheritable),
    ))
}
