//! Extended attributes and times of open files: flistxattr(2), fgetxattr(2), fsetxattr(2), futimens(3).

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Errno, Result, check};

/// The kernel's limits: 64 KiB of names, 64 KiB for a value.
const LARGEST: usize = 64 * 1024;

/// Copies every extended attribute that the target accepts. File systems without any have none to copy.
pub fn copy(from: BorrowedFd, to: BorrowedFd) -> Result<()> {
    let mut names = vec![0u8; LARGEST];
    // SAFETY: the kernel writes at most `names.len()` bytes into the buffer.
    let length =
        check(unsafe { libc::flistxattr(from.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) }
            as libc::c_long);
    let length = match length {
        Err(Errno::EOPNOTSUPP) => return Ok(()),
        other => other? as usize,
    };
    for name in names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        copy_one(from, to, &name)?;
    }
    Ok(())
}

fn copy_one(from: BorrowedFd, to: BorrowedFd, name: &CStr) -> Result<()> {
    let mut value = vec![0u8; LARGEST];
    // SAFETY: the kernel writes at most `value.len()` bytes into the buffer; the name ends in NUL.
    let length = check(unsafe {
        libc::fgetxattr(from.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    } as libc::c_long)? as usize;
    // SAFETY: the kernel reads exactly `length` bytes, which were filled above; the name ends in NUL.
    let set = check(
        unsafe { libc::fsetxattr(to.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), length, 0) }.into(),
    );
    match set {
        // A tmpfs without support for this kind of attribute, or one that only a security module may set.
        Err(Errno::EOPNOTSUPP | Errno::EPERM) => Ok(()),
        other => other.map(drop),
    }
}

/// Whether the file at `path` has this attribute.
pub fn has(path: &std::path::Path, name: &CStr) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: both strings end in NUL, and with a size of 0 nothing is written.
    unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) >= 0 }
}

/// Copies access and modification time.
pub fn copy_times(from: BorrowedFd, to: BorrowedFd) -> Result<()> {
    let stat = nix::sys::stat::fstat(from)?;
    let time = |seconds, nanoseconds| nix::sys::time::TimeSpec::new(seconds, nanoseconds);
    nix::sys::stat::futimens(
        to,
        &time(stat.st_atime, stat.st_atime_nsec),
        &time(stat.st_mtime, stat.st_mtime_nsec),
    )
}
