//! Descriptors: close_range(2), dup3(2), fcntl(2), socketpair(2), memfd_create(2), SCM_RIGHTS messages.

use std::ffi::CStr;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg,
    sendmsg, socketpair,
};

use super::{Errno, Result, check};

/// close_range(2): closes every descriptor from `first` to `last`.
pub fn close_range(first: u32, last: u32) -> Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: only numbers are passed. Callers own nothing in that range that they use afterwards.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// close_range(2) with CLOSE_RANGE_CLOEXEC: marks instead of closing.
pub fn close_range_on_exec(first: u32) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: only numbers are passed.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// True when the number is an open descriptor (fcntl(2) F_GETFD).
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: only numbers are passed.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Clears close-on-exec of `fd`.
pub fn keep_on_exec(fd: RawFd) -> Result<()> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }.into()).map(drop)
}

/// fcntl(2) F_DUPFD_CLOEXEC: the same open file under a number of at least `lowest`; `fd` is closed.
pub fn move_to_at_least(fd: OwnedFd, lowest: RawFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() >= lowest {
        return Ok(fd);
    }
    // SAFETY: only numbers are passed.
    let new = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) }.into())?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(new as RawFd) })
}

/// fcntl(2) F_DUPFD_CLOEXEC: a second descriptor for the same open file, under a number of at least `lowest`.
pub fn duplicate_at_least(fd: RawFd, lowest: RawFd) -> Result<OwnedFd> {
    // SAFETY: only numbers are passed.
    let new = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, lowest) }.into())?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(new as RawFd) })
}

/// fcntl(2) F_DUPFD_CLOEXEC: a second descriptor for the same open file.
pub fn duplicate(fd: BorrowedFd) -> Result<OwnedFd> {
    duplicate_at_least(fd.as_raw_fd(), 3)
}

/// dup2(2) without close-on-exec: the open file of `fd` under `number`, whatever was there.
pub fn dup_onto(fd: BorrowedFd, number: RawFd) -> Result<()> {
    if fd.as_raw_fd() == number {
        return keep_on_exec(number);
    }
    // SAFETY: only numbers are passed; `number` is a standard stream or reserved by the caller.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into()).map(drop)
}

/// dup3(2) with close-on-exec onto a reserved number. Nothing to do when it is that number, close-on-exec already.
pub fn dup_onto_cloexec(fd: BorrowedFd, number: RawFd) -> Result<()> {
    if fd.as_raw_fd() == number {
        return Ok(());
    }
    // SAFETY: only numbers are passed; `number` is reserved by the caller.
    check(unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) }.into()).map(drop)
}

/// A borrowed standard stream.
pub fn stdio(number: RawFd) -> BorrowedFd<'static> {
    debug_assert!((0..=2).contains(&number));
    // SAFETY: `open_missing_stdio` has made sure that 0 to 2 are open, and nothing closes them.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Takes over descriptor `number`, which the caller knows to be open and owned by nobody else.
pub fn adopt(number: RawFd) -> Option<OwnedFd> {
    if !is_open(number) {
        return None;
    }
    // SAFETY: it is open, and the caller promises that nothing else will close it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Borrows descriptor `number` of the caller of the program for the whole run.
pub fn borrow(number: RawFd) -> Option<BorrowedFd<'static>> {
    if !is_open(number) {
        return None;
    }
    // SAFETY: inherited descriptors stay open until the final close_range.
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Opens /dev/null on each of 0, 1 and 2 that is closed, so that no other file can get such a number.
pub fn open_missing_stdio() -> Result<()> {
    loop {
        // SAFETY: the path is a constant.
        let fd = check(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_NOCTTY) }.into())?;
        if fd > 2 {
            // SAFETY: this descriptor was just made here.
            drop(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
            return Ok(());
        }
    }
}

/// A connected pair of datagram-preserving sockets, close-on-exec.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// pipe2(2) with O_CLOEXEC: the reading and the writing end.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
}

/// Sends `bytes` as one message, with a descriptor as SCM_RIGHTS when given. SIGPIPE is not raised.
pub fn send(socket: BorrowedFd, bytes: &[u8], fd: Option<BorrowedFd>) -> Result<()> {
    let raw = fd.map(|fd| [fd.as_raw_fd()]);
    let rights = raw.as_ref().map(|fds| ControlMessage::ScmRights(fds));
    loop {
        let sent = sendmsg::<UnixAddr>(
            socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            rights.as_slice(),
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        match sent {
            Ok(length) if length == bytes.len() => return Ok(()),
            Ok(_) => return Err(Errno::EMSGSIZE),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// sendmsg(2) of `bytes` and a descriptor with `key` as a sixth argument, which the call does not have: a seccomp filter
/// can see the key, and tell this call from all others.
pub fn send_with_key(socket: BorrowedFd, bytes: &[u8], fd: BorrowedFd, key: u64) -> Result<()> {
    /// A control message with one descriptor, as long as CMSG_SPACE says.
    #[repr(C)]
    struct Rights {
        header: libc::cmsghdr,
        fd: RawFd,
        padding: u32,
    }
    // SAFETY: all-zero is a valid value of these plain structs.
    let (mut rights, mut message) = unsafe { std::mem::zeroed::<(Rights, libc::msghdr)>() };
    rights.header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<RawFd>()) as _;
    rights.header.cmsg_level = libc::SOL_SOCKET;
    rights.header.cmsg_type = libc::SCM_RIGHTS;
    rights.fd = fd.as_raw_fd();
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut rights).cast();
    message.msg_controllen = size_of::<Rights>() as _;
    // SAFETY: everything that the message points to lives through the call and is only read.
    let sent = check(unsafe {
        libc::syscall(
            libc::SYS_sendmsg,
            socket.as_raw_fd(),
            &raw const message,
            libc::MSG_NOSIGNAL,
            0,
            0,
            key,
        )
    })?;
    if sent as usize == bytes.len() { Ok(()) } else { Err(Errno::EMSGSIZE) }
}

/// A number that nobody can guess (getrandom(2)).
pub fn random() -> Result<u64> {
    let mut bytes = [0u8; 8];
    // SAFETY: the kernel writes at most the given number of bytes.
    let length =
        check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } as libc::c_long)?;
    if length as usize == bytes.len() { Ok(u64::from_ne_bytes(bytes)) } else { Err(Errno::EIO) }
}

/// Receives one message; 0 bytes mean that the other side is gone. A descriptor that came along is returned;
/// more than one, or a truncated message, is EBADMSG.
pub fn receive(socket: BorrowedFd, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut space = cmsg_space!([RawFd; 4]);
    loop {
        let mut slices = [IoSliceMut::new(buffer)];
        let message = match recvmsg::<UnixAddr>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Ok(message) => message,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
        };
        let truncated = message.flags.intersects(MsgFlags::MSG_CTRUNC | MsgFlags::MSG_TRUNC);
        let mut fds: Vec<OwnedFd> = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = part {
                // SAFETY: the kernel has just installed these descriptors for us.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        if truncated || fds.len() > 1 {
            return Err(Errno::EBADMSG);
        }
        return Ok((message.bytes, fds.pop()));
    }
}

/// An anonymous file with this content, readable from its start, close-on-exec.
pub fn memfd_with(name: &CStr, content: &[u8]) -> Result<OwnedFd> {
    // SAFETY: the name ends in NUL and is only read.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) }.into())?;
    // SAFETY: the kernel has just made this descriptor for us.
    let file = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let mut written = 0;
    while written < content.len() {
        written += nix::sys::uio::pwrite(&file, &content[written..], written as libc::off_t)?;
    }
    Ok(file)
}

/// read(2), retried on EINTR.
pub fn read(fd: BorrowedFd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match nix::unistd::read(fd, buffer) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// One write(2) of all bytes, retried on EINTR; a short write is EIO, for files of procfs and cgroups.
pub fn write_once(fd: BorrowedFd, bytes: &[u8]) -> Result<()> {
    loop {
        match nix::unistd::write(fd, bytes) {
            Ok(length) if length == bytes.len() => return Ok(()),
            Ok(_) => return Err(Errno::EIO),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// write(2) until all bytes are written.
pub fn write_all(fd: BorrowedFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(fd, bytes) {
            Ok(0) => return Err(Errno::EIO),
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Sets O_NONBLOCK.
pub fn set_nonblocking(fd: BorrowedFd) -> Result<()> {
    // SAFETY: only numbers are passed.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }.into())? as i32;
    // SAFETY: only numbers are passed.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) }.into()).map(drop)
}

/// accept4(2) with SOCK_CLOEXEC, retried on EINTR.
pub fn accept(listener: BorrowedFd) -> Result<OwnedFd> {
    loop {
        // SAFETY: no address is asked for; only numbers are passed.
        let fd = check(
            unsafe {
                libc::accept4(
                    listener.as_raw_fd(),
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    libc::SOCK_CLOEXEC,
                )
            }
            .into(),
        );
        match fd {
            // SAFETY: the kernel has just made this descriptor for us.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }),
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Occupies the free descriptor `number` until execve(2), so that no other file gets it.
pub fn fill(number: RawFd) -> Result<()> {
    dup_onto_cloexec(stdio(0), number)
}
