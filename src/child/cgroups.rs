//! The mount of type `cgroup`: what the container sees of its cgroups, whatever the host has.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::Errno;
use crate::parent::prepare::CgroupView;
use crate::plan::Plan;
use crate::plan::mounts::{Mount, Parameter, attr, propagation};
use crate::plan::namespaces::flag;
use crate::sync::{Call, Failure, In};
use crate::sys::mount::{Change, mount_setattr, move_mount};
use crate::sys::path;

use super::mounts::{LateReadOnly, Scene, attach_at, file_system, refuse_covering, target};
use super::sources::Found;

const NO_CGROUP: &str = "the container has no cgroup";

/// Makes the mount.
pub fn mount(
    scene: &Scene,
    mount: &Mount,
    parameters: &[Parameter],
    late: &mut LateReadOnly,
) -> Result<(), Failure> {
    let Scene { plan, prepared, sources, root, .. } = scene;
    let own_view = plan.namespaces.has(flag::CGROUP);
    let attributes = mount.attributes.set | mount.recursive.set;
    let place = target(root, mount, true, false)?;
    refuse_covering(root, mount, &place)?;
    match &prepared.cgroup_view {
        CgroupView::None if plan.rootless => show_nothing(plan, &[], attributes, place.as_fd(), late),
        CgroupView::Places(names) if plan.rootless => {
            show_nothing(plan, names, attributes, place.as_fd(), late)
        }
        CgroupView::None | CgroupView::Places(_) => Err(Failure::found(NO_CGROUP)),
        CgroupView::V2 { own, .. } => {
            let own = own.get().map(AsFd::as_fd);
            let top = sources.cgroup_top.as_ref().and_then(Found::tree);
            let made = match (own_view, top) {
                // A mount made outside a cgroup namespace would set the flags of the whole host's hierarchy anew,
                // and wait for every processor to notice.
                (false, Some(top)) => copy(top, attributes)?,
                _ => match (file_system(c"cgroup2", c"cgroup", parameters, None, attributes), own) {
                    // In a user namespace the kernel may refuse; the own directory shows what matters.
                    (Err(f), Some(own))
                        if f.errno == Errno::EPERM as i32 || f.errno == Errno::EBUSY as i32 =>
                    {
                        copy(own, attributes)?
                    }
                    (made, _) => made?,
                },
            };
            move_mount(made.as_fd(), place.as_fd()).call(Call::MoveMount)
        }
        CgroupView::V1(hierarchies) => {
            let fixed = attr::NOSUID | attr::NODEV | attr::NOEXEC;
            let mode = Parameter::String(c"mode".to_owned(), c"755".to_owned());
            let mode = [&[mode][..], &plan.security.labelling].concat();
            let cover = file_system(c"tmpfs", c"tmpfs", &mode, None, fixed)?;
            for hierarchy in hierarchies {
                path::mkdirat(cover.as_fd(), &hierarchy.name, 0o755).call(Call::Mkdirat)?;
                for (name, to) in &hierarchy.links {
                    match path::symlinkat(to, cover.as_fd(), name) {
                        Ok(()) | Err(Errno::EEXIST) => {}
                        Err(errno) => return Err(Failure::of(Call::Symlinkat, errno)),
                    }
                }
            }
            move_mount(cover.as_fd(), place.as_fd()).call(Call::MoveMount)?;
            for hierarchy in hierarchies {
                let made = if own_view {
                    let options = options(&hierarchy.options);
                    file_system(c"cgroup", c"cgroup", &options, None, attributes | fixed)?
                } else {
                    let own = hierarchy.own.get();
                    copy(own.ok_or_else(|| Failure::found(NO_CGROUP))?.as_fd(), attributes | fixed)?
                };
                attach_at(made.as_fd(), cover.as_fd(), &hierarchy.name)?;
            }
            if attributes & attr::RDONLY != 0 {
                late.push(cover);
            }
            Ok(())
        }
    }
}

/// Nothing of the host's is shown in place of what the container does not have: empty directories at most.
fn show_nothing(
    plan: &Plan,
    names: &[CString],
    attributes: u64,
    place: BorrowedFd,
    late: &mut LateReadOnly,
) -> Result<(), Failure> {
    let mode = Parameter::String(c"mode".to_owned(), c"755".to_owned());
    let mode = [&[mode][..], &plan.security.labelling].concat();
    let empty = file_system(c"tmpfs", c"tmpfs", &mode, None, attributes & !attr::RDONLY)?;
    for name in names {
        path::mkdirat(empty.as_fd(), name, 0o555).call(Call::Mkdirat)?;
    }
    move_mount(empty.as_fd(), place).call(Call::MoveMount)?;
    late.push(empty);
    Ok(())
}

/// A directory of the host's hierarchy, which the parent has copied as a detached mount.
///
/// The copy is a peer of the host's mount until it is made private: without that, what a privileged process mounts
/// below it would appear on the host.
fn copy(directory: BorrowedFd, attributes: u64) -> Result<OwnedFd, Failure> {
    let change = Change { set: attributes, propagation: propagation::PRIVATE, ..Change::default() };
    mount_setattr(directory, true, change).call(Call::MountSetattr)?;
    directory.try_clone_to_owned().map_err(|_| Failure::of(Call::OpenTree, Errno::EMFILE))
}

/// `cpu,cpuacct` or `name=systemd` as parameters of a file system context.
fn options(text: &str) -> Vec<Parameter> {
    let string = |text: &str| CString::new(text).unwrap_or_default();
    text.split(',')
        .map(|word| match word.split_once('=') {
            Some((key, value)) => Parameter::String(string(key), string(value)),
            None => Parameter::Flag(string(word)),
        })
        .collect()
}
