//! `--no-pivot`: the old root stays in the mount namespace, below the new one, so what it would allow is taken away.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use super::paths::empty_directory;
use super::root::Root;
use crate::error::Errno;
use crate::mountinfo::Line;
use crate::sync::{Call, Failure, In};
use crate::sys::mount::{detach_here, move_mount};
use crate::sys::path;

const PROC_SUPER_MAGIC: i64 = 0x9fa0;
const SYSFS_MAGIC: i64 = 0x6265_6572;

/// Takes every whole procfs and sysfs of the host out of this mount namespace, or covers it.
///
/// The kernel lets a user namespace mount one of its own when a whole one is somewhere in the mount namespace, whether
/// it can be reached or not; in that one nothing would be masked. The working directory is that of the new root again
/// when it is done. Source: mount_namespaces(7), user_namespaces(7).
pub fn hide_whole_views(rootfs: &CStr, root: &Root) -> Result<(), Failure> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|e| Failure::of(Call::Openat, Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))))?;
    let own = std::path::Path::new(std::ffi::OsStr::from_bytes(rootfs.to_bytes()));
    // The last one may lie on an earlier one at the same place.
    for line in table.lines().rev().filter_map(Line::parse) {
        let point = line.mount_point();
        if matches!(line.fstype, "proc" | "sysfs") && line.root() == "/" && !point.starts_with(own) {
            let point = CString::new(point.as_os_str().as_bytes())
                .map_err(|_| Failure::of(Call::Openat, Errno::EINVAL))?;
            hide(&point).map_err(|failure| failure.with(point.to_bytes()))?;
        }
    }
    path::fchdir(root.fd.as_fd()).call(Call::Chdir)
}

fn hide(point: &CStr) -> Result<(), Failure> {
    let place = match path::openat2(path::cwd_fd(), point, libc::O_PATH | libc::O_DIRECTORY, 0, 0) {
        Ok(place) => place,
        // It went with what it was mounted on.
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        Err(errno) => return Err(Failure::of(Call::Openat, errno)),
    };
    if !matches!(path::file_system(place.as_fd()).call(Call::Statfs)?, PROC_SUPER_MAGIC | SYSFS_MAGIC) {
        return Ok(());
    }
    path::fchdir(place.as_fd()).call(Call::Chdir)?;
    match detach_here() {
        Ok(()) => Ok(()),
        // A user namespace cannot take mounts of the host away. A namespace that is made in it cannot take the
        // cover away.
        Err(Errno::EINVAL | Errno::EPERM) => {
            move_mount(empty_directory(&[])?.as_fd(), place.as_fd()).call(Call::MoveMount)
        }
        Err(errno) => Err(Failure::of(Call::Umount, errno)),
    }
}
