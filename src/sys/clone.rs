//! clone3(2), the only call here that returns in two processes, and waiting for its child.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{Errno, Result, check};

pub use crate::abi::namespace as ns;

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_PARENT: u64 = 0x8000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which side of the clone this is.
pub enum Side {
    /// The new process.
    Child,
    /// The process that called, with a handle on the new one.
    Parent(Child),
}

/// A process that this one started, held by pidfd so that its number cannot come to mean another.
#[derive(Debug)]
pub struct Child {
    /// Its number in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// Who becomes the parent of a cloned process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Parentage {
    /// The caller.
    Mine,
    /// The caller's parent (CLONE_PARENT).
    MyParents,
}

/// clone3(2) without sharing memory: a fork into new namespaces (`flags` of [`ns`]) and, when given, straight
/// into a cgroup v2.
///
/// The process must have one thread only, so that the child may use everything a process may.
pub fn clone_child(flags: u64, cgroup: Option<BorrowedFd>, parentage: Parentage) -> Result<Side> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if parentage == Parentage::MyParents {
        args.flags |= CLONE_PARENT;
        args.exit_signal = 0; // clone3 takes the caller's own then
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child gets copies of everything, as after fork(2); the process has one
    // thread, so no lock can be held by a thread that is missing in the child. `pidfd` outlives the call.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Side::Child);
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(Side::Parent(Child { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }))
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(i32),
    /// This signal killed it.
    Signaled(i32),
}

impl Ended {
    /// The exit status as a shell shows it: 128 + N for signal N.
    pub fn status(self) -> i32 {
        match self {
            Ended::Exited(status) => status,
            Ended::Signaled(signal) => 128 + signal,
        }
    }
}

impl Child {
    /// Opens another process, which is no child: only its handle is used then. Errors: ESRCH.
    pub fn open(pid: i32) -> Result<Child> {
        Ok(Child { pid, pidfd: pidfd_open(pid)? })
    }

    /// A number that no other process of this boot has or will have. `None` before Linux 6.9, where pidfds were all
    /// of one inode.
    pub fn identity(&self) -> Option<u64> {
        const PID_FS_MAGIC: i64 = 0x5049_4446;
        let is_own = super::path::file_system(self.pidfd.as_fd()).ok()? == PID_FS_MAGIC;
        super::path::stat_fd(self.pidfd.as_fd()).ok().filter(|_| is_own).map(|stat| stat.inode)
    }

    /// Waits for the end and reaps the process.
    pub fn wait(&self) -> Result<Ended> {
        loop {
            match wait_pidfd(self.pidfd.as_fd(), 0) {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Reaps the process if it has ended.
    pub fn try_wait(&self) -> Result<Option<Ended>> {
        wait_pidfd(self.pidfd.as_fd(), libc::WNOHANG)
    }

    /// pidfd_send_signal(2).
    pub fn kill(&self, signal: i32) -> Result<()> {
        pidfd_send_signal(self.pidfd.as_fd(), signal)
    }
}

fn wait_pidfd(pidfd: BorrowedFd, flags: i32) -> Result<Option<Ended>> {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` lives through the call.
    check(
        unsafe {
            libc::waitid(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, &raw mut info, libc::WEXITED | flags)
        }
        .into(),
    )?;
    // SAFETY: after waitid(2) these fields of the union are the valid ones.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok(match (pid, info.si_code) {
        (0, _) => None,
        (_, libc::CLD_EXITED) => Some(Ended::Exited(status)),
        _ => Some(Ended::Signaled(status)),
    })
}

/// Reaps every ended child except `kept`, for a subreaper.
pub fn reap_others(kept: i32) {
    loop {
        // SAFETY: all-zero is a valid value of this plain struct.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: `info` lives through the call.
        let found = check(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) }.into());
        // SAFETY: after waitid(2) this field of the union is the valid one.
        let pid = unsafe { info.si_pid() };
        if found.is_err() || pid == 0 || pid == kept {
            // An ended init is seen by its pidfd; the others are reaped when it is gone.
            return;
        }
        let mut status = 0;
        // SAFETY: `status` lives through the call.
        unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    }
}

/// pidfd_open(2).
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: only numbers are passed.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// pidfd_send_signal(2). Signal 0 only asks whether the process is there.
pub fn pidfd_send_signal(pidfd: BorrowedFd, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo is allowed; only numbers are passed besides.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// unshare(2) of namespaces.
pub fn unshare(flags: u64) -> Result<()> {
    // SAFETY: only numbers are passed; no memory or descriptor table is unshared.
    check(unsafe { libc::unshare(flags as i32) }.into()).map(drop)
}

/// setns(2): joins the namespace, or with a pidfd the namespaces of a process, of the kinds in `flags`.
///
/// The kernel checks that a namespace descriptor is of that kind (EINVAL).
pub fn setns(fd: BorrowedFd, flags: u64) -> Result<()> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::setns(fd.as_raw_fd(), flags as i32) }.into()).map(drop)
}

/// _exit(2): leaves without running anything of the parent's.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(status) }
}

/// ioctl_ns(2) NS_GET_NSTYPE: which kind of namespace a descriptor is. Errors: ENOTTY when it is none.
pub fn namespace_kind(fd: BorrowedFd) -> Result<u64> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: the ioctl takes no argument.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) }.into()).map(|kind| kind as u64)
}
