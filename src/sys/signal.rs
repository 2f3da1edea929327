//! Signals: dispositions and mask before execve(2), signalfd(2) for the foreground.

use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::Result;

/// Makes writing to a pipe or socket that nobody reads an error of the call, EPIPE, and not the end of the process.
pub fn ignore_broken_pipes() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Sets every signal to its default and empties the mask.
///
/// Ignored signals survive execve(2), and teu ignores SIGPIPE ([`ignore_broken_pipes`]). The C library does not let two
/// signals of its own be changed, which a caller may have left ignored all the same, so this is the raw call.
pub fn reset_all() {
    #[repr(C)]
    #[derive(Default)]
    struct Action {
        handler: usize,
        flags: libc::c_ulong,
        restorer: usize,
        mask: u64,
    }
    let default = Action::default();
    for number in 1..=64 {
        // SAFETY: an all-zero action is SIG_DFL without flags; it lives through the call and the old one is not
        // asked for. Signals that cannot be changed give an error, which is as good.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                &raw const default,
                std::ptr::null::<Action>(),
                size_of::<u64>(),
            )
        };
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Blocks every signal and returns a descriptor to read them from.
pub fn block_all() -> Result<SignalFd> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Reads one pending signal: its number and, for SIGCHLD, whose it is.
pub fn next(signals: &SignalFd) -> Result<Option<i32>> {
    Ok(signals.read_signal()?.map(|info| info.ssi_signo as i32))
}

/// A descriptor that becomes readable after `timeout` (timerfd_create(2)).
pub fn timer(timeout: std::time::Duration) -> Result<OwnedFd> {
    use std::os::fd::{AsRawFd, FromRawFd};
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: only numbers are passed.
    let fd = super::check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) }.into())?;
    // SAFETY: the kernel has just made this descriptor for us.
    let timer = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let when = libc::itimerspec {
        it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: libc::timespec {
            tv_sec: timeout.as_secs().min(i64::MAX as u64) as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        },
    };
    // SAFETY: `when` lives through the call; the old value is not asked for.
    super::check(
        unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &raw const when, std::ptr::null_mut()) }.into(),
    )?;
    Ok(timer)
}
