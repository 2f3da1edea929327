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

/// Gives the root of the mount that `mount` is the label of SELinux that is written there.
///
/// Errors: EOPNOTSUPP where neither the file system nor a security module takes it.
pub fn set_label(mount: BorrowedFd, label: &CStr) -> Result<()> {
    // fsetxattr(2) takes no O_PATH descriptor, which that of a mount is.
    let root =
        super::path::openat2(mount, c".", libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NONBLOCK, 0, 0)?;
    let value = label.to_bytes_with_nul();
    // SAFETY: the name ends in NUL, and the kernel reads exactly the bytes of the value.
    check(
        unsafe {
            libc::fsetxattr(
                root.as_raw_fd(),
                c"security.selinux".as_ptr(),
                value.as_ptr().cast(),
                value.len(),
                0,
            )
        }
        .into(),
    )
    .map(drop)
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

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::sys::mount::{fsconfig_create, fsmount, fsopen};

    /// A mount that is nowhere.
    fn detached(fstype: &CStr) -> (OwnedFd, PathBuf) {
        let context = fsopen(fstype).unwrap();
        fsconfig_create(context.as_fd()).unwrap();
        let mount = fsmount(context.as_fd(), 0).unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        (mount, path)
    }

    #[test]
    #[ignore = "needs root"]
    fn the_root_of_a_mount_gets_its_label() {
        let (mount, path) = detached(c"tmpfs");
        assert!(!has(&path, c"security.selinux"));
        let label = c"system_u:object_r:container_file_t:s0:c1,c2";
        match set_label(mount.as_fd(), label) {
            // A policy that does not know the type, where there is one.
            Err(Errno::EINVAL) if Path::new("/sys/fs/selinux/enforce").exists() => {}
            other => {
                other.unwrap();
                assert!(has(&path, c"security.selinux"));
            }
        }
    }

    #[test]
    #[ignore = "needs root"]
    fn message_queues_take_a_label_from_the_security_module_alone() {
        if Path::new("/sys/fs/selinux/enforce").exists() {
            return;
        }
        let (mount, _) = detached(c"mqueue");
        assert_eq!(
            set_label(mount.as_fd(), c"system_u:object_r:container_file_t:s0"),
            Err(Errno::EOPNOTSUPP)
        );
    }
}
