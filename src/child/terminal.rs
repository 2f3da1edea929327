//! The terminal of the process: from the container's own devpts, by descriptor.
//!
//! The other side is opened through the master, never by a name that the image could have made. CVE-2025-52565.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::Errno;
use crate::plan::process::Terminal;
use crate::sync::{Call, Failure, In};
use crate::sys::mount::{move_mount, open_tree_clone};
use crate::sys::path::{self, resolve};
use crate::sys::{fd, tty};

use super::root::{Root, open_child};

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Makes the terminal of `uid`, binds its side of the program on /dev/console when `is_console`, and sends the
/// master over `socket`. Returns the side of the program.
pub fn open(
    terminal: Option<Terminal>,
    uid: u32,
    is_console: bool,
    socket: Option<BorrowedFd>,
    root: &Root,
) -> Result<Option<OwnedFd>, Failure> {
    let Some(terminal) = terminal else { return Ok(None) };
    let (master, peer) = open_pair(root)?;
    if let Some((rows, columns)) = terminal.size {
        tty::set_size(master.as_fd(), rows, columns).call(Call::Ioctl)?;
    }
    path::chown_fd(peer.as_fd(), uid, u32::MAX).call(Call::Chown)?;
    if is_console {
        bind_console(root, &peer)?;
    }
    let socket = socket.ok_or_else(|| Failure::found("no socket to send the terminal to"))?;
    let number = tty::number(master.as_fd()).call(Call::Ioctl)?;
    fd::send(socket, format!("/dev/pts/{number}").as_bytes(), Some(master.as_fd())).call(Call::Send)?;
    Ok(Some(peer))
}

/// The ptmx of the devpts that is mounted in the container, and its other side.
fn open_pair(root: &Root) -> Result<(OwnedFd, OwnedFd), Failure> {
    let not_there = || Failure::found("no devpts is mounted on /dev/pts in the container");
    let pts = root.open_real_directory(c"dev/pts").map_err(|_| not_there())?;
    if path::file_system(pts.as_fd()).call(Call::Statfs)? != DEVPTS_SUPER_MAGIC {
        return Err(not_there());
    }
    let master = path::openat2(
        pts.as_fd(),
        c"ptmx",
        libc::O_RDWR | libc::O_NOCTTY | libc::O_NOFOLLOW,
        0,
        resolve::BENEATH | resolve::NO_XDEV | resolve::NO_SYMLINKS | resolve::NO_MAGICLINKS,
    )
    .call(Call::Openat)?;
    let stat = path::stat_fd(master.as_fd()).call(Call::Statx)?;
    if !stat.is_char_device(5, 2) || stat.inode != 2 {
        return Err(Failure::found("/dev/pts/ptmx is not the multiplexer of a devpts"));
    }
    tty::unlock(master.as_fd()).call(Call::Ioctl)?;
    let peer = tty::peer(master.as_fd()).call(Call::Ioctl)?;
    Ok((master, peer))
}

fn bind_console(root: &Root, peer: &OwnedFd) -> Result<(), Failure> {
    let dev = root.open_real_directory(c"dev").call(Call::Openat)?;
    match path::mknodat(dev.as_fd(), c"console", libc::S_IFREG | 0o666, (0, 0)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(Failure::of(Call::Mknodat, errno)),
    }
    let console = open_child(dev.as_fd(), c"console", 0)?;
    let kind = path::stat_fd(console.as_fd()).call(Call::Statx)?.kind();
    if kind != libc::S_IFREG && kind != libc::S_IFCHR {
        return Err(Failure::found("/dev/console is no file to bind the terminal on"));
    }
    let tree = open_tree_clone(peer.as_fd(), c"", false, 0).call(Call::OpenTree)?;
    move_mount(tree.as_fd(), console.as_fd()).call(Call::MoveMount)
}

/// Makes the terminal the controlling one of this session and puts it on the standard streams.
pub fn attach(terminal: Option<OwnedFd>) -> Result<(), Failure> {
    let Some(terminal) = terminal else { return Ok(()) };
    tty::make_controlling(terminal.as_fd()).call(Call::Ioctl)?;
    for number in 0..=2 {
        fd::dup_onto(terminal.as_fd(), number).call(Call::Dup)?;
    }
    Ok(())
}
