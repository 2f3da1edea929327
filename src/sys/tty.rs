//! Pseudo terminals: ptmx and its peer, window size, controlling terminal, raw mode.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::termios::{self, SetArg, Termios};

use super::{Result, check};

/// Unlocks the other side of a ptmx (TIOCSPTLCK).
pub fn unlock(master: BorrowedFd) -> Result<()> {
    let unlocked: libc::c_int = 0;
    // SAFETY: the ioctl reads one int, which lives through the call.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) }.into()).map(drop)
}

/// Opens the other side of a ptmx without looking at any path (TIOCGPTPEER).
pub fn peer(master: BorrowedFd) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the ioctl takes open flags as a number.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The number of the terminal in its devpts (TIOCGPTN).
pub fn number(master: BorrowedFd) -> Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the ioctl writes one unsigned int, which lives through the call.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) }.into())?;
    Ok(number)
}

/// Rows and columns of a terminal (TIOCGWINSZ).
pub fn size(terminal: BorrowedFd) -> Result<(u16, u16)> {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the ioctl writes one winsize, which lives through the call.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }.into())?;
    Ok((size.ws_row, size.ws_col))
}

/// Sets rows and columns of a terminal (TIOCSWINSZ).
pub fn set_size(terminal: BorrowedFd, rows: u16, columns: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the ioctl reads one winsize, which lives through the call.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }.into()).map(drop)
}

/// Makes it the controlling terminal of this session (TIOCSCTTY).
pub fn make_controlling(terminal: BorrowedFd) -> Result<()> {
    // SAFETY: the ioctl takes a number.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// True for a terminal.
pub fn is_terminal(fd: BorrowedFd) -> bool {
    // SAFETY: only numbers are passed.
    unsafe { libc::isatty(fd.as_raw_fd()) == 1 }
}

/// Puts the terminal into raw mode and returns its former settings. What it shows it still translates: others, such
/// as this program with an error, may write to it meanwhile.
pub fn make_raw(terminal: BorrowedFd) -> Result<Termios> {
    let before = termios::tcgetattr(terminal)?;
    let mut raw = before.clone();
    termios::cfmakeraw(&mut raw);
    raw.output_flags = before.output_flags;
    termios::tcsetattr(terminal, SetArg::TCSANOW, &raw)?;
    Ok(before)
}

/// Restores settings that [`make_raw`] returned.
pub fn restore(terminal: BorrowedFd, settings: &Termios) -> Result<()> {
    termios::tcsetattr(terminal, SetArg::TCSANOW, settings)
}

/// Switches off the translation of newlines on output (ONLCR), so that the outer terminal does it once.
pub fn clear_newline_translation(master: BorrowedFd) -> Result<()> {
    let mut settings = termios::tcgetattr(master)?;
    settings.output_flags.remove(termios::OutputFlags::ONLCR);
    termios::tcsetattr(master, SetArg::TCSANOW, &settings)
}
