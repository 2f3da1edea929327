//! A procfs of this process's own, which nothing can be mounted over, or that of the host before it is left.
//!
//! Labels and kernel parameters are written through it. It is made after the pid namespace, is attached nowhere that
//! a process can reach, and is closed before the identity changes. CVE-2019-16884, CVE-2025-52881.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use crate::abi::procfs;
use crate::error::Errno;
use crate::plan::Plan;
use crate::plan::mounts::Kind;
use crate::plan::namespaces::flag;
use crate::sync::{Call, Failure, In};
use crate::sys::fd;
use crate::sys::mount::{attr, fsconfig_create, fsmount, fsopen, move_mount};
use crate::sys::path::{self, resolve};

/// The detached mount.
pub struct Procfs {
    fd: OwnedFd,
    mount_id: u64,
}

impl Procfs {
    /// Makes one when the plan needs it.
    pub fn for_plan(plan: &Plan) -> Result<Option<Procfs>, Failure> {
        let copies = plan.mounts.iter().any(|m| matches!(m.kind, Kind::FileSystem { copy_up: true, .. }));
        let needed = !plan.sysctls.is_empty()
            || plan.security.apparmor.is_some()
            || plan.security.selinux.is_some()
            || plan.namespaces.unshared & flag::TIME != 0
            || plan.process.home == crate::plan::process::Home::Lookup
            || copies;
        if !needed {
            return Ok(None);
        }
        match Procfs::new() {
            // A user namespace gets no procfs of a pid namespace that is not its own, and none while the host's is
            // covered in parts. What the host has shows this process just as well.
            Err(failure) if failure.errno == Errno::EPERM as i32 => Procfs::of_host().map(Some),
            made => made.map(Some),
        }
    }

    /// Makes one.
    pub fn new() -> Result<Procfs, Failure> {
        let context = fsopen(c"proc").call(Call::Fsopen)?;
        fsconfig_create(context.as_fd()).call(Call::Fsconfig)?;
        let fd = fsmount(context.as_fd(), attr::NOSUID | attr::NODEV | attr::NOEXEC).call(Call::Fsmount)?;
        Procfs::verified(fd)
    }

    fn verified(fd: OwnedFd) -> Result<Procfs, Failure> {
        let stat = path::stat_fd(fd.as_fd()).call(Call::Statx)?;
        let magic = path::file_system(fd.as_fd()).call(Call::Statfs)?;
        if magic != procfs::MAGIC || stat.inode != procfs::ROOT_INODE {
            return Err(Failure::found("the procfs is not the root of a procfs"));
        }
        Ok(Procfs { mount_id: stat.mount_id, fd })
    }

    /// The one of the caller, for a process that still sees the tree of the host.
    pub fn of_host() -> Result<Procfs, Failure> {
        let fd = path::openat2(
            path::cwd_fd(),
            c"/proc",
            libc::O_PATH | libc::O_DIRECTORY,
            0,
            resolve::NO_SYMLINKS,
        )
        .call(Call::Openat)?;
        Procfs::verified(fd)
    }

    /// Hangs it into the host's tree, as this namespace still sees it, right before that tree is let go: both are torn
    /// down in one go then, where a detached mount would make the kernel wait for every processor once more.
    pub fn end_with_old_root(&self) {
        let place = path::openat2(path::cwd_fd(), c"/proc", libc::O_PATH | libc::O_DIRECTORY, 0, 0);
        // Where this is not possible nothing is lost but that time.
        let _ = place.and_then(|place| move_mount(self.fd.as_fd(), place.as_fd()));
    }

    /// Opens a file of it; magic links and other mounts are refused.
    pub fn open(&self, path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
        let flags_of_resolve = resolve::BENEATH | resolve::NO_XDEV | resolve::NO_MAGICLINKS;
        let file = path::openat2(self.fd.as_fd(), path, flags, 0, flags_of_resolve)?;
        let verified = path::file_system(file.as_fd())? == procfs::MAGIC
            && path::stat_fd(file.as_fd())?.mount_id == self.mount_id;
        if verified { Ok(file) } else { Err(Errno::EXDEV) }
    }

    /// Opens what a magic link of it leads to, such as a namespace.
    pub fn open_link(&self, path: &CStr) -> Result<OwnedFd, Failure> {
        path::openat2(self.fd.as_fd(), path, libc::O_RDONLY, 0, 0).call(Call::Openat)
    }

    /// Opens the file behind an O_PATH descriptor for reading.
    pub fn reopen(&self, file: impl AsFd, flags: i32) -> Result<OwnedFd, Errno> {
        use std::os::fd::AsRawFd;
        let path = format!("thread-self/fd/{}\0", file.as_fd().as_raw_fd());
        let path = CStr::from_bytes_with_nul(path.as_bytes()).map_err(|_| Errno::EINVAL)?;
        path::openat2(self.fd.as_fd(), path, flags, 0, 0)
    }

    /// Writes a value with one write(2).
    pub fn write(&self, path: &CStr, value: &[u8]) -> Result<(), Failure> {
        let file = self.open(path, libc::O_WRONLY).call(Call::Openat).map_err(|f| f.with(path.to_bytes()))?;
        fd::write_once(file.as_fd(), value).call(Call::Write).map_err(|f| f.with(path.to_bytes()))
    }
}
