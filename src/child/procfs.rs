//! A procfs of this process's own, which nothing can be mounted over, or that of the host before it is left.
//!
//! Labels and kernel parameters are written through it. It is made after the pid namespace, is attached nowhere that
//! a process can reach, and is closed before the identity changes. CVE-2019-16884, CVE-2025-52881.

use std::ffi::CStr;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::abi::procfs;
use crate::error::Errno;
use crate::mountinfo::Line;
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
    /// Mounts of the host on its own procfs that show, each at its place, what would be there without them. Containers
    /// have such ones, read-only, on /proc/sys.
    same: Vec<u64>,
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
        Ok(Procfs { mount_id: stat.mount_id, fd, same: Vec::new() })
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
        let procfs = Procfs::verified(fd)?;
        let same = procfs.mounts_of_itself().unwrap_or_default();
        Ok(Procfs { same, ..procfs })
    }

    /// A mount that shows another file of the procfs than the one at its place is not among them.
    fn mounts_of_itself(&self) -> Option<Vec<u64>> {
        let file = self.open(c"thread-self/mountinfo", libc::O_RDONLY).ok()?;
        let mut text = String::new();
        std::fs::File::from(file).read_to_string(&mut text).ok()?;
        let lines = text.lines().filter_map(Line::parse).filter(|line| line.fstype == "proc");
        let same = lines.filter(|line| line.mount_point() == Path::new(&format!("/proc{}", line.root())));
        Some(same.map(|line| line.id).filter(|id| *id != self.mount_id).collect())
    }

    /// Hangs it into the host's tree, as this namespace still sees it, right before that tree is let go: both are torn
    /// down in one go then, where a detached mount would make the kernel wait for every processor once more.
    pub fn end_with_old_root(&self) {
        let place = path::openat2(path::cwd_fd(), c"/proc", libc::O_PATH | libc::O_DIRECTORY, 0, 0);
        // Where this is not possible nothing is lost but that time.
        let _ = place.and_then(|place| move_mount(self.fd.as_fd(), place.as_fd()));
    }

    /// Opens a file of it; magic links are refused, and mounts that show anything else than what is there without them.
    pub fn open(&self, path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
        let flags_of_resolve = resolve::BENEATH | resolve::NO_XDEV | resolve::NO_MAGICLINKS;
        let file = match path::openat2(self.fd.as_fd(), path, flags, 0, flags_of_resolve) {
            Err(Errno::EXDEV) if !self.same.is_empty() => {
                let crossing = resolve::BENEATH | resolve::NO_MAGICLINKS;
                path::openat2(self.fd.as_fd(), path, flags, 0, crossing)?
            }
            opened => opened?,
        };
        let mount_id = path::stat_fd(file.as_fd())?.mount_id;
        let verified = path::file_system(file.as_fd())? == procfs::MAGIC
            && (mount_id == self.mount_id || self.same.contains(&mount_id));
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
