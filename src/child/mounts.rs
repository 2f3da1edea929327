//! Makes one mount: built and configured while detached, then attached to a resolved descriptor.
//!
//! No mount is ever visible with the wrong attributes, and no target is resolved twice.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::abi::procfs;
use crate::error::Errno;
use crate::parent::prepare::Prepared;
use crate::plan::Plan;
use crate::plan::mounts::{Attributes, IdMapping, Kind, Mount, Parameter, attr, propagation};
use crate::sync::{Call, Failure, FromChild, In, wait_for_go};
use crate::sys::mount::{
    Change, context_message, fsconfig_create, fsconfig_flag, fsconfig_string, fsmount, fsopen, mount_setattr,
    mount_setattr_idmap, move_mount,
};
use crate::sys::path::{self, resolve};
use crate::sys::xattr;

use super::cgroups;
use super::copy_up::copy_up;
use super::host_bind;
use super::long_options;
use super::procfs::Procfs;
use super::root::{Root, open_child};
use super::sources::{Found, Sources};

/// Mounts that become read-only at the end.
#[derive(Default)]
pub struct LateReadOnly(Vec<OwnedFd>);

impl LateReadOnly {
    /// Adds a mount.
    pub fn push(&mut self, mount: OwnedFd) {
        self.0.push(mount);
    }

    /// Sets the attribute, and that of the root when the plan says so.
    pub fn apply(&self, plan: &Plan, root: &Root) -> Result<(), Failure> {
        let read_only = Change { set: attr::RDONLY, ..Change::default() };
        for mount in &self.0 {
            mount_setattr(mount.as_fd(), false, read_only).call(Call::MountSetattr)?;
        }
        if plan.rootfs.read_only {
            mount_setattr(root.fd.as_fd(), false, read_only).call(Call::MountSetattr)?;
        }
        Ok(())
    }
}

/// What all mounts are made with.
pub struct Scene<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// What the parent has opened.
    pub prepared: &'a Prepared,
    /// What mounts are made of.
    pub sources: &'a Sources<'a>,
    /// The root of the container.
    pub root: &'a Root,
    /// The private procfs, when anything needs it.
    pub procfs: Option<&'a Procfs>,
    /// The socket to the parent.
    pub parent: BorrowedFd<'a>,
}

/// Makes mount number `index`.
pub fn mount(scene: &Scene, index: usize, mount: &Mount, late: &mut LateReadOnly) -> Result<(), Failure> {
    let Scene { plan, prepared, root, procfs, .. } = *scene;
    match &mount.kind {
        Kind::Bind { .. } => {
            let source = scene.sources.mounts[index].as_ref();
            bind(plan, root, mount, source.ok_or_else(|| Failure::of(Call::OpenTree, Errno::ENOENT))?)
        }
        Kind::Remount => {
            let target = root.open(&mount.destination, 0).call(Call::Openat)?;
            refuse_covering(root, mount, &target)?;
            set_attributes(target.as_fd(), mount)?;
            propagate(target.as_fd(), mount)
        }
        Kind::Cgroup { parameters } => cgroups::mount(scene, mount, parameters, late),
        Kind::FileSystem { fstype, source, parameters, copy_up: copies, keep_mode, label } => {
            let special = matches!(fstype.to_bytes(), b"proc" | b"sysfs");
            // A directory that had to be made gets the mode of the file system.
            let existed = *keep_mode && root.open(&mount.destination, 0).is_ok();
            let target = target(root, mount, true, special)?;
            let mode = if existed { Some(existing_mode(&target)?) } else { None };
            let attributes = attributes_of(mount);
            let made = if long_options::is_long(source, parameters) {
                long_options::file_system(root, mount, &target, (fstype, source), parameters, attributes)?
            } else {
                match file_system(fstype, source, parameters, mode, attributes) {
                    Err(failure) if host_bind::can_replace(plan, fstype, mount, &failure) => {
                        FromChild::BoundInstead(index as u32).send(scene.parent, None).call(Call::Send)?;
                        wait_for_go(scene.parent).call(Call::Receive)?;
                        host_bind::copy(fstype, attributes)?
                    }
                    made => made?,
                }
            };
            finish(prepared, index, made.as_fd(), mount)?;
            if let Some(label) = label {
                xattr::set_label(made.as_fd(), label).call(Call::Fsetxattr)?;
            }
            if *copies {
                let procfs = procfs.ok_or_else(|| Failure::of(Call::Openat, Errno::ENOSYS))?;
                copy_up(target.as_fd(), made.as_fd(), procfs)?;
            }
            refuse_covering(root, mount, &target)?;
            move_mount(made.as_fd(), target.as_fd()).call(Call::MoveMount)?;
            propagate(made.as_fd(), mount)?;
            if mount.late_read_only {
                late.push(made);
            }
            Ok(())
        }
    }
}

/// Attributes that a new mount gets at once; read-only may have to wait.
fn attributes_of(mount: &Mount) -> u64 {
    let late = if mount.late_read_only { attr::RDONLY } else { 0 };
    (mount.attributes.set | mount.recursive.set) & !late & !attr::NOSYMFOLLOW
}

/// Builds a file system instance and a detached mount of it.
///
/// The failure carries the kernel's own message.
pub fn file_system(
    fstype: &CStr,
    source: &CStr,
    parameters: &[Parameter],
    mode: Option<u32>,
    attributes: u64,
) -> Result<OwnedFd, Failure> {
    let context = fsopen(fstype).call(Call::Fsopen)?;
    let context = context.as_fd();
    explained(context, fsconfig_string(context, c"source", source))?;
    if let Some(mode) = mode {
        let text = CString::new(format!("{mode:o}")).unwrap_or_default();
        explained(context, fsconfig_string(context, c"mode", &text))?;
    }
    for parameter in parameters {
        let done = match parameter {
            Parameter::Flag(name) => fsconfig_flag(context, name),
            Parameter::String(name, value) => fsconfig_string(context, name, value),
        };
        explained(context, done)?;
    }
    explained(context, fsconfig_create(context))?;
    fsmount(context, attributes).call(Call::Fsmount)
}

/// A failed fsconfig(2) with the words of the kernel.
pub(super) fn explained(context: BorrowedFd, result: Result<(), Errno>) -> Result<(), Failure> {
    result.call(Call::Fsconfig).map_err(|failure| {
        let mut buffer = [0u8; 1024];
        failure.with(context_message(context, &mut buffer))
    })
}

fn existing_mode(target: &OwnedFd) -> Result<u32, Failure> {
    Ok(path::stat_fd(target.as_fd()).call(Call::Statx)?.mode & 0o7777)
}

/// Attributes beyond those of creation, and the id mapping, of a detached mount.
fn finish(prepared: &Prepared, index: usize, made: BorrowedFd, mount: &Mount) -> Result<(), Failure> {
    let mut own = mount.attributes;
    if mount.late_read_only {
        own.set &= !attr::RDONLY;
    }
    change(made, own, false)?;
    change(made, mount.recursive, true)?;
    match &mount.id_mapping {
        None => Ok(()),
        Some((IdMapping::Own { .. }, recursive)) => {
            let namespace = prepared.id_maps[index]
                .as_ref()
                .ok_or_else(|| Failure::of(Call::MountSetattr, Errno::ENOENT))?;
            mount_setattr_idmap(made, *recursive, namespace.as_fd()).call(Call::MountSetattr)
        }
        // A new instance already belongs to the user namespace of the container.
        Some((IdMapping::OfContainer, _)) => Ok(()),
    }
}

fn set_attributes(mount_fd: BorrowedFd, mount: &Mount) -> Result<(), Failure> {
    change(mount_fd, mount.attributes, false)?;
    change(mount_fd, mount.recursive, true)
}

fn change(mount_fd: BorrowedFd, attributes: Attributes, recursive: bool) -> Result<(), Failure> {
    if attributes.is_empty() {
        return Ok(());
    }
    let change = Change { set: attributes.set, clear: attributes.clear, propagation: 0 };
    mount_setattr(mount_fd, recursive, change).call(Call::MountSetattr)
}

/// One change after the other: `shared` after `slave` means both.
fn propagate(mount_fd: BorrowedFd, mount: &Mount) -> Result<(), Failure> {
    for (bits, recursive) in &mount.propagation {
        let change = Change { propagation: *bits, ..Change::default() };
        mount_setattr(mount_fd, *recursive, change).call(Call::MountSetattr)?;
    }
    Ok(())
}

fn bind(plan: &Plan, root: &Root, mount: &Mount, source: &Found) -> Result<(), Failure> {
    let tree = match source {
        Found::Link(link) => return copy_symlink(root, mount, link),
        Found::OfParent(tree) => *tree,
        Found::Own(tree) => tree.as_fd(),
    };
    let wants_shared = mount.propagation.iter().any(|(bits, _)| *bits == propagation::SHARED);
    if !(plan.rootfs.is_shared() && wants_shared) {
        // What the host mounts later may arrive here, but nothing goes back.
        let slave = Change { propagation: propagation::SLAVE, ..Change::default() };
        mount_setattr(tree, true, slave).call(Call::MountSetattr)?;
    }
    set_attributes(tree, mount)?;
    let is_directory = path::stat_fd(tree).call(Call::Statx)?.is_dir();
    let target = target(root, mount, is_directory, false)?;
    refuse_covering(root, mount, &target)?;
    if mount.is_at("proc") {
        let magic = path::file_system(tree).call(Call::Statfs)?;
        let inode = path::stat_fd(tree).call(Call::Statx)?.inode;
        if magic != procfs::MAGIC || inode != procfs::ROOT_INODE {
            return Err(Failure::found("only a procfs can be mounted on /proc"));
        }
    }
    let there = path::stat_fd(target.as_fd()).call(Call::Statx)?;
    if there.is_dir() != is_directory {
        return Err(Failure::found(if is_directory {
            "the source is a directory, the destination is not"
        } else {
            "the destination is a directory, the source is not"
        }));
    }
    move_mount(tree, target.as_fd()).call(Call::MoveMount)?;
    propagate(tree, mount)
}

/// Opens the destination, made when missing. `special` ones must be real directories, reached without links.
pub fn target(root: &Root, mount: &Mount, directory: bool, special: bool) -> Result<OwnedFd, Failure> {
    if special {
        return match root.open_real_directory(&mount.destination) {
            Ok(target) => Ok(target),
            Err(Errno::ENOENT) => {
                // A link on the way would have been ELOOP, so nothing of the image is followed here.
                root.make_directories(&mount.destination)
            }
            Err(Errno::ELOOP | Errno::ENOTDIR) => {
                Err(Failure::found("the destination is not a real directory"))
            }
            Err(errno) => Err(Failure::of(Call::Openat, errno)),
        };
    }
    if mount.dest_no_follow {
        let (parent, name) = root.parent_of(&mount.destination)?;
        return path::openat2(
            parent.as_fd(),
            &name,
            libc::O_PATH | libc::O_NOFOLLOW,
            0,
            resolve::BENEATH | resolve::NO_MAGICLINKS,
        )
        .call(Call::Openat);
    }
    root.make_mount_point(&mount.destination, directory)
}

/// The root itself, and whatever turns out to be a procfs, must not be covered. CVE-2019-16884.
pub fn refuse_covering(root: &Root, mount: &Mount, target: &OwnedFd) -> Result<(), Failure> {
    let there = path::stat_fd(target.as_fd()).call(Call::Statx)?;
    if there.mount_id == root.stat.mount_id && there.same_inode(&root.stat) {
        return Err(Failure::found("the destination is the root of the container"));
    }
    let is_planned = mount.is_at("proc") || mount.destination.as_bytes().starts_with(b"proc/");
    if !is_planned && path::file_system(target.as_fd()).call(Call::Statfs)? == procfs::MAGIC {
        return Err(Failure::found("the destination is inside a procfs"));
    }
    Ok(())
}

/// Makes the symbolic link again at the destination.
fn copy_symlink(root: &Root, mount: &Mount, link: &CStr) -> Result<(), Failure> {
    let (parent, name) = root.parent_of(&mount.destination)?;
    match path::symlinkat(link, parent.as_fd(), &name) {
        Err(Errno::EEXIST) => {}
        other => return other.call(Call::Symlinkat),
    }
    let there = path::statx(parent.as_fd(), &name, libc::AT_SYMLINK_NOFOLLOW).call(Call::Statx)?;
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    if there.is_symlink()
        && path::readlinkat(parent.as_fd(), &name, &mut buffer).call(Call::Readlinkat)? == link.to_bytes()
    {
        return Ok(());
    }
    Err(Failure::found("the destination exists and is not the same link"))
}

/// Attaches an empty regular file or directory `name` of `parent`, used by sibling modules.
pub fn attach_at(tree: BorrowedFd, parent: BorrowedFd, name: &CStr) -> Result<(), Failure> {
    let target = open_child(parent, name, 0)?;
    move_mount(tree, target.as_fd()).call(Call::MoveMount)
}
