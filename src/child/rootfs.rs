//! The root file system: propagation, attaching, the change of root, the working directory.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use crate::error::Errno;
use crate::parent::prepare::Prepared;
use crate::plan::Plan;
use crate::plan::mounts::propagation;
use crate::plan::rootfs::Pivot;
use crate::sync::{Call, Failure, In};
use crate::sys::mount::{
    Change, detach_here, mount_setattr, move_here_onto_root, move_mount, open_tree_clone, pivot_root_here,
};
use crate::sys::path::{self, resolve};

use super::moved_root::hide_whole_views;
use super::procfs::Procfs;
use super::root::Root;

/// Makes every mount of the host, as this namespace sees it, stop propagating to the host.
///
/// A shared root is made shared after the change of root, so that it gets peers of its own.
pub fn cut_propagation(plan: &Plan) -> Result<(), Failure> {
    if plan.rootfs.pivot == Pivot::Chroot {
        return Ok(()); // these are the mounts of the host itself
    }
    let (bits, recursive) = match plan.rootfs.propagation {
        Some(p) if matches!(p.bits, propagation::PRIVATE | propagation::UNBINDABLE) => {
            (propagation::PRIVATE, p.recursive)
        }
        Some(p) if p.bits == propagation::SLAVE => (propagation::SLAVE, p.recursive),
        _ => (propagation::SLAVE, true),
    };
    let root = path::open_host_path(c"/", libc::O_DIRECTORY).call(Call::Openat)?;
    // Whatever the configuration says about submounts: what is shared with the host must not stay so, or the
    // mounts of the container would appear there.
    let all = Change { propagation: propagation::SLAVE, ..Change::default() };
    mount_setattr(root.as_fd(), true, all).call(Call::MountSetattr)?;
    if bits != propagation::SLAVE {
        let change = Change { propagation: bits, ..Change::default() };
        mount_setattr(root.as_fd(), recursive, change).call(Call::MountSetattr)?;
    }
    Ok(())
}

/// Sees to it that what the host later mounts on the root file system does not appear in the container.
///
/// It looks at directories above the root file system, into which the root of the container may have no way.
pub fn isolate(plan: &Plan, prepared: &Prepared) -> Result<(), Failure> {
    if plan.rootfs.pivot == Pivot::Chroot {
        return Ok(()); // the nearest mount is one of the host itself
    }
    match plan.rootfs.propagation.is_none_or(|p| p.bits == propagation::SHARED) {
        true => isolate_nearest_mount(&here(prepared)?),
        false => Ok(()),
    }
}

/// The working directory, which is the root file system.
fn here(prepared: &Prepared) -> Result<OwnedFd, Failure> {
    let here =
        path::openat2(path::cwd_fd(), c".", libc::O_PATH | libc::O_DIRECTORY, 0, 0).call(Call::Openat)?;
    if !path::stat_fd(here.as_fd()).call(Call::Statx)?.same_inode(&prepared.rootfs_stat) {
        return Err(Failure::found("the working directory is not the root file system"));
    }
    Ok(here)
}

/// Copies the tree at the working directory, which is the root file system, and attaches the copy over it.
pub fn attach(plan: &Plan, prepared: &Prepared) -> Result<Root, Failure> {
    let here = here(prepared)?;
    if let Some(mount) = &prepared.root_mount {
        return Root::new(mount.attach(here.as_fd()).call(Call::MoveMount)?);
    }
    let tree = open_tree_clone(here.as_fd(), c"", true, 0).call(Call::OpenTree)?;
    if plan.rootfs.propagation.is_none_or(|p| p.bits != propagation::SLAVE) {
        let private = Change { propagation: propagation::PRIVATE, ..Change::default() };
        mount_setattr(tree.as_fd(), false, private).call(Call::MountSetattr)?;
    }
    move_mount(tree.as_fd(), here.as_fd()).call(Call::MoveMount)?;
    Root::new(tree)
}

/// The nearest mount at or above a directory receives nothing any more.
fn isolate_nearest_mount(rootfs: &OwnedFd) -> Result<(), Failure> {
    const DEEPEST: usize = 4096;
    let private = Change { propagation: propagation::PRIVATE, ..Change::default() };
    let mut directory = path::openat2(rootfs.as_fd(), c".", libc::O_PATH, 0, 0).call(Call::Openat)?;
    for _ in 0..DEEPEST {
        match mount_setattr(directory.as_fd(), false, private) {
            Ok(()) => return Ok(()),
            // Not the root of a mount.
            Err(Errno::EINVAL) => {}
            Err(errno) => return Err(Failure::of(Call::MountSetattr, errno)),
        }
        directory = path::openat2(directory.as_fd(), c"..", libc::O_PATH, 0, 0).call(Call::Openat)?;
    }
    Err(Failure::of(Call::MountSetattr, Errno::ELOOP))
}

/// Makes the root of the container the root directory, and lets go of the host's tree.
pub fn pivot(plan: &Plan, prepared: &Prepared, root: &Root, procfs: Option<&Procfs>) -> Result<(), Failure> {
    path::fchdir(root.fd.as_fd()).call(Call::Chdir)?;
    match plan.rootfs.pivot {
        Pivot::PivotRoot => {
            if let Some(procfs) = procfs {
                procfs.end_with_old_root();
            }
            pivot_root_here().call(Call::PivotRoot)?;
            // The old root lies on top of the new one; it was made a slave, so this stays in this namespace.
            detach_here().call(Call::Umount)?;
        }
        Pivot::Chroot => path::chroot_here().call(Call::Chroot)?,
        Pivot::MoveRoot => {
            hide_whole_views(&prepared.rootfs_path, root)?;
            move_here_onto_root().call(Call::Mount)?;
            path::chroot_here().call(Call::Chroot)?;
        }
    }
    path::chdir_root().call(Call::Chdir)?;
    let now = path::openat2(path::cwd_fd(), c"/", libc::O_PATH, 0, 0).call(Call::Openat)?;
    let now = path::stat_fd(now.as_fd()).call(Call::Statx)?;
    if now.mount_id != root.stat.mount_id || !now.same_inode(&root.stat) {
        return Err(Failure::found("the root directory is not the root file system"));
    }
    if let Some(asked) = plan.rootfs.propagation
        && matches!(asked.bits, propagation::SHARED | propagation::UNBINDABLE)
    {
        let change = Change { propagation: asked.bits, ..Change::default() };
        mount_setattr(root.fd.as_fd(), asked.recursive, change).call(Call::MountSetattr)?;
    }
    Ok(())
}

/// Opens the working directory, made when missing.
pub fn make_cwd(plan: &Plan, root: &Root) -> Result<OwnedFd, Failure> {
    root.make_directories(&plan.process.cwd)
}

/// Enters the working directory. False when only the user of the container may.
pub fn enter_cwd(cwd: &OwnedFd) -> Result<bool, Failure> {
    match path::fchdir(cwd.as_fd()) {
        Ok(()) => Ok(true),
        Err(Errno::EACCES | Errno::EPERM) => Ok(false),
        Err(errno) => Err(Failure::of(Call::Chdir, errno)),
    }
}

/// Enters `cwd` as the user of the container, after the change of root and of identity.
pub fn enter_cwd_again(cwd: &CStr) -> Result<(), Failure> {
    let here =
        path::openat2(path::cwd_fd(), c"/", libc::O_PATH | libc::O_DIRECTORY, 0, 0).call(Call::Openat)?;
    let rules = resolve::IN_ROOT | resolve::NO_MAGICLINKS;
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let cwd = path::openat2(here.as_fd(), cwd, flags, 0, rules).call(Call::Openat)?;
    path::fchdir(cwd.as_fd()).call(Call::Chdir)
}

/// Makes sure that the working directory is inside the root. CVE-2024-21626.
pub fn verify_cwd() -> Result<(), Failure> {
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    match path::getcwd(&mut buffer) {
        Ok(path) if path.first() == Some(&b'/') => Ok(()),
        Ok(_) => {
            Err(Failure::found("current working directory is outside of container mount namespace root"))
        }
        // Deeper than a path can say, but inside.
        Err(Errno::ERANGE) => Ok(()),
        Err(errno) => Err(Failure::of(Call::Getcwd, errno)),
    }
}
