//! seccomp_unotify(2): calls that wait for the process behind a listener.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Errno, Result, check};

/// A call that waits (`struct seccomp_notif`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Notification {
    /// Names the call until it is answered.
    pub id: u64,
    /// Thread that made it, as this process numbers it; 0 when it cannot be seen from here.
    pub pid: u32,
    /// Without meaning so far.
    pub flags: u32,
    /// Number of the call.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Where it was made.
    pub instruction_pointer: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

const RECV: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const SET_FLAGS: libc::c_ulong = 0x4008_2104;

/// The next call that waits.
///
/// Errors: ENOENT when it does not wait any more, since its thread was killed or got a signal.
pub fn receive(listener: BorrowedFd) -> Result<Notification> {
    // The kernel wants zeroes.
    let mut notification = Notification::default();
    // SAFETY: `notification` has the size that is part of the request, and lives through the call.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), RECV as _, &raw mut notification) }.into())?;
    Ok(notification)
}

/// Lets a call run as if nobody had looked at it (SECCOMP_USER_NOTIF_FLAG_CONTINUE). Errors: ENOENT, as above.
pub fn let_run(listener: BorrowedFd, id: u64) -> Result<()> {
    const CONTINUE: u32 = 1;
    let response = Response { id, value: 0, error: 0, flags: CONTINUE };
    loop {
        // SAFETY: `response` has the size that is part of the request, and lives through the call.
        match check(unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw const response) }.into()) {
            // A call without an answer would wait for ever.
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Asks for quicker hand-over between the two processes. A kernel before 6.6 does not know it, which does no harm.
pub fn hurry(listener: BorrowedFd) {
    const SYNC_WAKE_UP: u64 = 1;
    // SAFETY: the argument is a number.
    let _ = check(unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS as _, SYNC_WAKE_UP) }.into());
}
