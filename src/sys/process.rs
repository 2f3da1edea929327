//! Process attributes that are not identity: prctl(2), setsid(2), prlimit(2), umask(2), names, keyrings.

use std::ffi::CStr;

use crate::abi::SchedulerAttributes;

use super::{Result, check};

fn prctl(option: i32, argument: u64) -> Result<()> {
    // SAFETY: the options used here take numbers only.
    check(unsafe { libc::prctl(option, argument, 0, 0, 0) }.into()).map(drop)
}

/// PR_SET_DUMPABLE: may this process be traced and its /proc files read by its user?
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into())
}

/// PR_SET_PDEATHSIG: the signal that comes when the parent dies; 0 for none.
pub fn set_parent_death_signal(signal: i32) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal as u64)
}

/// PR_SET_CHILD_SUBREAPER.
pub fn become_subreaper() -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// PR_SET_NAME, at most 15 bytes.
pub fn set_name(name: &CStr) -> Result<()> {
    prctl(libc::PR_SET_NAME, name.as_ptr() as u64)
}

/// getppid(2); 0 when the parent is in an outer pid namespace.
pub fn parent_pid() -> i32 {
    // SAFETY: always allowed.
    unsafe { libc::getppid() }
}

/// getpid(2), past any cache.
pub fn pid() -> i32 {
    // SAFETY: always allowed.
    unsafe { libc::syscall(libc::SYS_getpid) as i32 }
}

/// Major and minor version of the running kernel, from uname(2). `None` for a release that does not begin with them.
pub fn kernel_version() -> Option<(u32, u32)> {
    // SAFETY: all zeroes is a valid utsname, which the kernel fills with texts that end in NUL.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes to the struct during the call only.
    if unsafe { libc::uname(&raw mut name) } != 0 {
        return None;
    }
    let release: Vec<u8> = name.release.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
    let release = String::from_utf8(release).ok()?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// setsid(2).
pub fn setsid() -> Result<()> {
    // SAFETY: always allowed.
    check(unsafe { libc::setsid() }.into()).map(drop)
}

/// setpgid(2) of the calling process to a group of its own.
pub fn own_process_group() -> Result<()> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::setpgid(0, 0) }.into()).map(drop)
}

/// kill(2) of a whole process group, which must be a child's.
pub fn kill_group(leader: i32, signal: i32) -> Result<()> {
    if leader <= 1 {
        return Err(super::Errno::ESRCH);
    }
    // SAFETY: only numbers are passed.
    check(unsafe { libc::kill(-leader, signal) }.into()).map(drop)
}

/// sethostname(2).
pub fn set_host_name(name: &CStr) -> Result<()> {
    // SAFETY: the kernel reads exactly the given number of bytes.
    check(unsafe { libc::sethostname(name.as_ptr(), name.count_bytes()) }.into()).map(drop)
}

/// setdomainname(2).
pub fn set_domain_name(name: &CStr) -> Result<()> {
    // SAFETY: the kernel reads exactly the given number of bytes.
    check(unsafe { libc::setdomainname(name.as_ptr(), name.count_bytes()) }.into()).map(drop)
}

/// umask(2); returns the mask that was set.
pub fn umask(mask: u32) -> u32 {
    // SAFETY: always allowed.
    unsafe { libc::umask(mask as libc::mode_t) }
}

/// A soft and a hard limit, in the unit of the resource; `u64::MAX` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Soft.
    pub soft: u64,
    /// Hard.
    pub hard: u64,
}

/// prlimit(2): sets the limits of one resource of `pid` (0: this process).
///
/// Errors: EPERM when a hard limit rises without CAP_SYS_RESOURCE in the initial user namespace.
pub fn set_limit(pid: i32, resource: u32, limit: Limit) -> Result<()> {
    let new = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: `new` lives through the call; the old value is not asked for.
    check(unsafe { libc::prlimit64(pid, resource as _, &raw const new, std::ptr::null_mut()) }.into())
        .map(drop)
}

/// prlimit(2): reads the limits of one resource of `pid` (0: this process).
pub fn limit(pid: i32, resource: u32) -> Result<Limit> {
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `old` lives through the call.
    check(unsafe { libc::prlimit64(pid, resource as _, std::ptr::null(), &raw mut old) }.into())?;
    Ok(Limit { soft: old.rlim_cur, hard: old.rlim_max })
}

/// keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: a session keyring of this name; returns its serial number.
pub fn join_session_keyring(name: &CStr) -> Result<i32> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: the name ends in NUL and is only read.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })
        .map(|serial| serial as i32)
}

/// keyctl(2) KEYCTL_SETPERM: who may do what with a key.
pub fn set_key_permissions(serial: i32, permissions: u32) -> Result<()> {
    const KEYCTL_SETPERM: libc::c_long = 5;
    // SAFETY: only numbers are passed.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, serial, permissions) }).map(drop)
}

/// sched_setaffinity(2) of `pid` (0: this process) to every processor, so that only the cpuset decides.
pub fn reset_affinity(pid: i32) -> Result<()> {
    let all = [u64::MAX; 1024]; // 65,536 processors; the kernel cuts it to what is there
    set_affinity(pid, &all)
}

/// sched_setaffinity(2) of `pid` (0: this process); bit N of the mask is processor N.
pub fn set_affinity(pid: i32, mask: &[u64]) -> Result<()> {
    // SAFETY: the kernel reads exactly the given number of bytes.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, size_of_val(mask), mask.as_ptr()) })
        .map(drop)
}

/// sched_getaffinity(2) of `pid` (0: this process), in the form that [`set_affinity`] takes.
pub fn affinity(pid: i32) -> Result<Vec<u64>> {
    let mut mask = vec![0u64; 1024];
    // SAFETY: the kernel writes at most the given number of bytes into the buffer.
    let length = check(unsafe {
        libc::syscall(libc::SYS_sched_getaffinity, pid, size_of_val(mask.as_slice()), mask.as_mut_ptr())
    })? as usize;
    mask.truncate(length.div_ceil(size_of::<u64>()));
    Ok(mask)
}

/// personality(2); returns the former value.
pub fn personality(persona: u32) -> Result<u32> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::personality(persona.into()) }.into()).map(|old| old as u32)
}

/// ioprio_set(2) of this process; class and level as the manual says.
pub fn set_io_priority(pid: i32, class: u16, level: u16) -> Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_long = 1;
    // SAFETY: only numbers are passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            pid,
            (i64::from(class) << 13) | i64::from(level),
        )
    })
    .map(drop)
}

/// sched_setattr(2) of a process, 0 for this one.
pub fn set_scheduler(pid: i32, attributes: &SchedulerAttributes) -> Result<()> {
    // SAFETY: the struct is read by its own size field during the call only.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const *attributes, 0) }).map(drop)
}

/// set_mempolicy(2) of this process. `nodes` is a bit mask; empty passes none.
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<()> {
    let (pointer, bits) = if nodes.is_empty() {
        (std::ptr::null(), 0)
    } else {
        (nodes.as_ptr(), nodes.len() * 64 + 1) // the kernel takes one off
    };
    // SAFETY: the kernel reads at most the given number of bits.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}

/// True when the program was started with more privileges than its caller (AT_SECURE).
pub fn is_set_user_id() -> bool {
    // SAFETY: always allowed.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Brings the loopback device of the current network namespace up (SIOCSIFFLAGS).
pub fn loopback_up() -> Result<()> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    // SAFETY: only numbers are passed.
    let fd = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }.into())?;
    // SAFETY: the kernel has just made this descriptor for us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `request` lives through the call and is of the type that this ioctl takes.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into()).map(drop)
}
