//! Kernel parameters, read-only paths and masked paths, after the change of root.

use std::os::fd::{AsFd, OwnedFd};

use crate::error::Errno;
use crate::parent::prepare::Prepared;
use crate::plan::Plan;
use crate::plan::mounts::{Parameter, attr};
use crate::sync::{Call, During, Failure, In, Phase};
use crate::sys::mount::{Change, mount_setattr, move_mount, open_tree_clone};
use crate::sys::path::{self, resolve};

use super::mounts::file_system;
use super::procfs::Procfs;
use super::root::Root;

/// Writes every sysctl through the private procfs.
pub fn write_sysctls(plan: &Plan, procfs: Option<&Procfs>) -> Result<(), Failure> {
    let Some(procfs) = procfs else { return Ok(()) };
    for (index, sysctl) in plan.sysctls.iter().enumerate() {
        let mut path = b"sys/".to_vec();
        path.extend_from_slice(sysctl.path.to_bytes());
        let path = std::ffi::CString::new(path).unwrap_or_default();
        procfs.write(&path, sysctl.value.to_bytes()).item(Phase::Sysctls, index)?;
    }
    Ok(())
}

/// Opens a listed path. `None` when there is none; everything else that fails is an error.
fn existing(root: &Root, path: &std::ffi::CStr) -> Result<Option<OwnedFd>, Failure> {
    match root.open(path, 0) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(Failure::of(Call::Openat, errno)),
    }
}

/// Covers each path with a read-only view of itself. The attributes it has are kept.
pub fn make_read_only(plan: &Plan, root: &Root) -> Result<(), Failure> {
    for (index, item) in plan.rootfs.read_only_paths.iter().enumerate() {
        read_only(root, &item.path).item(Phase::ReadOnlyPaths, index)?;
    }
    Ok(())
}

fn read_only(root: &Root, path: &std::ffi::CStr) -> Result<(), Failure> {
    let Some(found) = existing(root, path)? else { return Ok(()) };
    let tree = open_tree_clone(found.as_fd(), c"", true, 0).call(Call::OpenTree)?;
    let change = Change { set: attr::RDONLY, ..Change::default() };
    mount_setattr(tree.as_fd(), false, change).call(Call::MountSetattr)?;
    move_mount(tree.as_fd(), found.as_fd()).call(Call::MoveMount)
}

/// Hides each path: files behind the host's /dev/null, directories behind an empty read-only tmpfs.
///
/// All directories share one tmpfs, and all files one node. CVE-2025-31133.
pub fn mask(plan: &Plan, null: Option<OwnedFd>, root: &Root) -> Result<(), Failure> {
    let Some(null) = null else { return Ok(()) };
    let mut masks = Masks { labelling: &plan.security.labelling, fresh: Some(null), null: None, empty: None };
    for (index, item) in plan.rootfs.masked.iter().enumerate() {
        masks.hide(root, &item.path).item(Phase::MaskedPaths, index)?;
    }
    Ok(())
}

/// The host's /dev/null as a detached mount, when anything is masked: the parent's, or without privilege over the
/// host's mounts a copy made here, before the change of root.
pub fn null_mount(plan: &Plan, prepared: &Prepared) -> Result<Option<OwnedFd>, Failure> {
    if plan.rootfs.masked.is_empty() {
        return Ok(None);
    }
    if let Some(tree) = &prepared.null {
        return tree.try_clone().map(Some).map_err(|_| Failure::of(Call::OpenTree, Errno::EMFILE));
    }
    let tree = open_tree_clone(path::cwd_fd(), c"/dev/null", false, 0).call(Call::OpenTree)?;
    if !path::stat_fd(tree.as_fd()).call(Call::Statx)?.is_char_device(1, 3) {
        return Err(Failure::found("/dev/null of the host is not the null device"));
    }
    Ok(Some(tree))
}

/// The first mount of each sort, from which the others are copied once it is attached.
struct Masks<'a> {
    labelling: &'a [Parameter],
    fresh: Option<OwnedFd>,
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
}

impl Masks<'_> {
    fn hide(&mut self, root: &Root, path: &std::ffi::CStr) -> Result<(), Failure> {
        let Some(found) = existing(root, path)? else { return Ok(()) };
        let is_directory = path::stat_fd(found.as_fd()).call(Call::Statx)?.is_dir();
        let first = if is_directory { &mut self.empty } else { &mut self.null };
        let mask = match first {
            Some(first) => open_tree_clone(first.as_fd(), c"", false, 0).call(Call::OpenTree)?,
            None if is_directory => empty_directory(self.labelling)?,
            None => self.fresh.take().ok_or_else(|| Failure::of(Call::OpenTree, Errno::ENOENT))?,
        };
        move_mount(mask.as_fd(), found.as_fd()).call(Call::MoveMount)?;
        self.verify(root, path, &mask, is_directory)?;
        let first = if is_directory { &mut self.empty } else { &mut self.null };
        first.get_or_insert(mask);
        Ok(())
    }

    /// The path must now lead to the mask and nothing else.
    fn verify(
        &self,
        root: &Root,
        path: &std::ffi::CStr,
        mask: &OwnedFd,
        is_directory: bool,
    ) -> Result<(), Failure> {
        let there =
            path::openat2(root.fd.as_fd(), path, libc::O_PATH, 0, resolve::IN_ROOT | resolve::NO_MAGICLINKS)
                .call(Call::Openat)?;
        let (seen, meant) =
            (path::stat_fd(there.as_fd()).call(Call::Statx)?, path::stat_fd(mask.as_fd()).call(Call::Statx)?);
        let is_mask = seen.mount_id == meant.mount_id && (is_directory || seen.is_char_device(1, 3));
        if is_mask { Ok(()) } else { Err(Failure::found("the path leads past its mask")) }
    }
}

/// An empty read-only file system; `labelling` are the parameters for its label.
pub(super) fn empty_directory(labelling: &[Parameter]) -> Result<OwnedFd, Failure> {
    let one = |name: &std::ffi::CStr| Parameter::String(name.to_owned(), c"1".to_owned());
    let parameters = [&[one(c"nr_blocks"), one(c"nr_inodes")][..], labelling].concat();
    let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    file_system(c"tmpfs", c"tmpfs", &parameters, None, attributes)
}
