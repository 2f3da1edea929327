//! Standard output, written to without ever waiting for whoever reads it.
//!
//! Its open file belongs to others too, so it cannot simply be made non-blocking.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{MsgFlags, send};

use crate::error::Errno;
use crate::sys::path::{self, Stat};
use crate::sys::{fd, tty};

/// Standard output. A write of it takes what fits, and is EAGAIN when nothing does.
pub enum Outlet {
    /// A pipe or terminal: the same one, opened again for this process alone.
    Own(OwnedFd),
    /// A socket: each call says that it must not wait.
    Socket,
    /// A pipe or terminal of another user, which cannot be opened again. A pipe has room for a small piece when poll(2)
    /// says so; a terminal may have less, and make its writer wait.
    Pieces,
    /// A file, which never makes its writer wait.
    File,
}

impl Outlet {
    /// Finds out what standard output is.
    pub fn of_stdout() -> Outlet {
        let stdout = fd::stdio(1);
        let Ok(stat) = path::stat_fd(stdout) else { return Outlet::Pieces };
        match stat.kind() {
            libc::S_IFSOCK => Outlet::Socket,
            libc::S_IFIFO => Outlet::again(&stat),
            // The master side of a terminal would be a new one.
            libc::S_IFCHR if stat.is_char_device(5, 2) => Outlet::Pieces,
            libc::S_IFCHR if tty::is_terminal(stdout) => Outlet::again(&stat),
            _ => Outlet::File,
        }
    }

    fn again(stat: &Stat) -> Outlet {
        let flags = libc::O_WRONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let opened = path::openat2(path::cwd_fd(), c"/proc/self/fd/1", flags, 0, 0);
        let same = |opened: &OwnedFd| path::stat_fd(opened.as_fd()).is_ok_and(|found| found.same_inode(stat));
        opened.ok().filter(same).map_or(Outlet::Pieces, Outlet::Own)
    }

    /// What to wait for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Outlet::Own(own) => own.as_fd(),
            Outlet::Socket | Outlet::Pieces | Outlet::File => fd::stdio(1),
        }
    }

    /// Writes once. Returns how much. Errors: EAGAIN when there is no room.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        use std::os::fd::AsRawFd;
        match self {
            Outlet::Own(own) => nix::unistd::write(own, bytes),
            Outlet::Socket => {
                send(self.fd().as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
            }
            Outlet::Pieces => nix::unistd::write(self.fd(), &bytes[..bytes.len().min(libc::PIPE_BUF)]),
            Outlet::File => nix::unistd::write(self.fd(), bytes),
        }
    }
}
