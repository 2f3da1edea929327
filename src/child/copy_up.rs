//! `tmpcopyup`: the content of the destination is copied into the new tmpfs before it covers it.
//!
//! Everything goes through descriptors; links are copied as links and no file is opened before it is known to be
//! a regular one, so nothing outside the directory is ever read.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::Errno;
use crate::sync::{Call, Failure, In};
use crate::sys::path::{self, resolve};
use crate::sys::{fd, xattr};

use super::procfs::Procfs;

/// The deepest directory tree that is copied.
const DEEPEST: usize = 256;

/// Copies what is below `from` to `to`.
pub fn copy_up(from: BorrowedFd, to: BorrowedFd, procfs: &Procfs) -> Result<(), Failure> {
    copy_attributes(from, to)?;
    copy_directory(from, to, procfs, DEEPEST)
}

fn copy_directory(from: BorrowedFd, to: BorrowedFd, procfs: &Procfs, depth: usize) -> Result<(), Failure> {
    if depth == 0 {
        return Err(Failure::of(Call::Openat, Errno::ELOOP));
    }
    let listed = path::openat2(
        from,
        c".",
        libc::O_RDONLY | libc::O_DIRECTORY,
        0,
        resolve::BENEATH | resolve::NO_SYMLINKS,
    )
    .call(Call::Openat)?;
    let mut names = Vec::new();
    let mut directory = nix::dir::Dir::from_fd(listed).call(Call::Read)?;
    for entry in directory.iter() {
        let name: CString = entry.call(Call::Read)?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    for name in names {
        copy_entry(from, to, &name, procfs, depth).map_err(|failure| match failure.text.is_empty() {
            true => failure.with(name.to_bytes()),
            false => failure,
        })?;
    }
    Ok(())
}

fn copy_entry(
    from: BorrowedFd,
    to: BorrowedFd,
    name: &std::ffi::CStr,
    procfs: &Procfs,
    depth: usize,
) -> Result<(), Failure> {
    let one = resolve::BENEATH | resolve::NO_SYMLINKS | resolve::NO_MAGICLINKS;
    let original =
        path::openat2(from, name, libc::O_PATH | libc::O_NOFOLLOW, 0, resolve::BENEATH).call(Call::Openat)?;
    let stat = path::stat_fd(original.as_fd()).call(Call::Statx)?;
    match stat.kind() {
        libc::S_IFLNK => {
            let mut buffer = [0u8; libc::PATH_MAX as usize];
            let target = path::readlinkat(original.as_fd(), c"", &mut buffer).call(Call::Readlinkat)?;
            let target = CString::new(target).map_err(|_| Failure::of(Call::Readlinkat, Errno::EINVAL))?;
            path::symlinkat(&target, to, name).call(Call::Symlinkat)?;
        }
        libc::S_IFDIR => path::mkdirat(to, name, stat.mode & 0o7777).call(Call::Mkdirat)?,
        kind => path::mknodat(to, name, kind | stat.mode & 0o7777, stat.rdev).call(Call::Mknodat)?,
    }
    let copy =
        path::openat2(to, name, libc::O_PATH | libc::O_NOFOLLOW, 0, resolve::BENEATH).call(Call::Openat)?;
    path::chown_fd(copy.as_fd(), stat.uid, stat.gid).call(Call::Chown)?;
    match stat.kind() {
        libc::S_IFREG => {
            let reading = procfs.reopen(&original, libc::O_RDONLY | libc::O_NONBLOCK).call(Call::Openat)?;
            let writing =
                path::openat2(to, name, libc::O_WRONLY | libc::O_NOFOLLOW, 0, one).call(Call::Openat)?;
            copy_content(reading.as_fd(), writing.as_fd())?;
            xattr::copy(reading.as_fd(), writing.as_fd()).call(Call::Listxattr)?;
            xattr::copy_times(reading.as_fd(), writing.as_fd()).call(Call::Statx)?;
        }
        libc::S_IFDIR => copy_directory(original.as_fd(), copy.as_fd(), procfs, depth - 1)?,
        _ => {}
    }
    // A change of owner clears the set-id bits.
    if stat.kind() != libc::S_IFLNK {
        path::chmodat(to, name, stat.mode & 0o7777).call(Call::Chmod)?;
    }
    Ok(())
}

fn copy_attributes(from: BorrowedFd, to: BorrowedFd) -> Result<(), Failure> {
    let stat = path::stat_fd(from).call(Call::Statx)?;
    path::chown_fd(to, stat.uid, stat.gid).call(Call::Chown)?;
    path::chmodat(to, c".", stat.mode & 0o7777).call(Call::Chmod)
}

fn copy_content(from: BorrowedFd, to: BorrowedFd) -> Result<(), Failure> {
    let mut buffer = [0u8; 64 * 1024];
    loop {
        let length = fd::read(from, &mut buffer).call(Call::Read)?;
        if length == 0 {
            return Ok(());
        }
        let mut written = 0;
        while written < length {
            written += nix::unistd::write(to, &buffer[written..length]).call(Call::Write)?;
        }
    }
}
