//! What a mount of type `cgroup` shows.

use std::cell::OnceCell;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use super::sources::Source;
use crate::cgroup::{Cgroup, Layout, MountView};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::plan::cgroup::{Driver, Mode};
use crate::plan::mounts::{Kind, Mount};
use crate::plan::namespaces::flag;
use crate::sys::mount::open_tree_clone;
use crate::sys::path;

/// What a cgroup mount shows, with the container's own cgroups copied as detached mounts.
#[derive(Debug)]
pub enum CgroupView {
    /// There is no cgroup.
    None,
    /// Nor any that could be shown, but the hierarchies of the host have these names. Engines mount some of them one by
    /// one.
    Places(Vec<CString>),
    /// One tree.
    V2 {
        /// The container's own directory, where making a new mount may be refused.
        own: OnceCell<OwnedFd>,
        /// The top of the host's hierarchy, for a container that sees it as the host does: without a cgroup namespace.
        top: Option<Source>,
    },
    /// One hierarchy for each group of controllers.
    V1(Vec<HierarchyView>),
}

/// One hierarchy of cgroup v1.
#[derive(Debug)]
pub struct HierarchyView {
    /// Directory name in the container.
    pub name: CString,
    /// Mount options.
    pub options: String,
    /// The container's own directory, when it is what the mount shows: without a cgroup namespace.
    pub own: OnceCell<OwnedFd>,
    /// Links beside it: name and target.
    pub links: Vec<(CString, CString)>,
}

/// What is shown by a mount of type cgroup: the container's own cgroups, which exist or will exist, or, without any,
/// those of the caller.
pub fn shown_cgroups(plan: &Plan, cgroup: &Cgroup, layout: &Layout) -> Option<MountView> {
    if plan.cgroup.driver == Driver::Disabled {
        return layout.mount_view();
    }
    // An unprivileged caller cannot copy his own; in a namespace they need no copy.
    let callers = || layout.mount_view().filter(|_| plan.namespaces.has(flag::CGROUP));
    cgroup.mount_view().or_else(callers)
}

/// What the mount needs to show them. Copies of them are not in it yet.
pub fn cgroup_view(plan: &Plan, shown: Option<MountView>, layout: &Layout) -> Result<CgroupView> {
    let Some(mount) = cgroup_mount(plan) else { return Ok(CgroupView::None) };
    let string = |text: &str| {
        CString::new(text).map_err(|_| Error::config(&mount.at, "a cgroup path contains a NUL byte"))
    };
    let own_view = plan.namespaces.has(flag::CGROUP);
    let top = || {
        let hierarchy = layout.unified().filter(|_| !own_view)?;
        Source::at(&string(&hierarchy.mount_point.to_string_lossy()).ok()?, false, false).ok()
    };
    Ok(match shown {
        // The container stays in the cgroup of the caller.
        None if layout.mode() == Mode::V2 => CgroupView::V2 { own: OnceCell::new(), top: top() },
        None => {
            let Some(MountView::V1(hierarchies)) = layout.mount_view() else { return Ok(CgroupView::None) };
            let names = hierarchies.iter().map(|hierarchy| string(&hierarchy.name));
            CgroupView::Places(names.collect::<Result<_>>()?)
        }
        Some(MountView::V2(_)) => CgroupView::V2 { own: OnceCell::new(), top: top() },
        Some(MountView::V1(hierarchies)) => {
            let mut views = Vec::with_capacity(hierarchies.len());
            for hierarchy in hierarchies {
                let links = hierarchy
                    .links
                    .iter()
                    .map(|(name, target)| Ok((string(name)?, string(target)?)))
                    .collect::<Result<_>>()?;
                views.push(HierarchyView {
                    name: string(&hierarchy.name)?,
                    options: hierarchy.options,
                    own: OnceCell::new(),
                    links,
                });
            }
            CgroupView::V1(views)
        }
    })
}

/// Copies of the cgroups that are shown, as detached mounts, each with its index for [`CgroupView::complete`].
///
/// A copy that is not attached in the end is torn down, and the kernel waits for every processor then; so only what
/// the mount can need is copied.
pub fn own_cgroups(plan: &Plan, view: &CgroupView, shown: Option<MountView>) -> Result<Vec<(u8, OwnedFd)>> {
    let Some(mount) = cgroup_mount(plan) else { return Ok(Vec::new()) };
    let own_view = plan.namespaces.has(flag::CGROUP);
    let may_be_refused = plan.namespaces.has_user() || plan.rootless;
    let mut copies = Vec::new();
    match (view, shown) {
        (CgroupView::V1(views), Some(MountView::V1(hierarchies))) if !own_view => {
            for (index, view) in views.iter().enumerate() {
                let name = view.name.to_string_lossy();
                if let Some(hierarchy) = hierarchies.iter().find(|hierarchy| hierarchy.name == name) {
                    copies.push((index as u8, copy_cgroup(mount, &hierarchy.dir)?));
                }
            }
        }
        // Only one way of making the mount needs it, and that one says when it is missing.
        (CgroupView::V2 { .. }, Some(MountView::V2(dir))) if !own_view || may_be_refused => {
            copies.extend(copy_cgroup(mount, &dir).ok().map(|copy| (0, copy)));
        }
        _ => {}
    }
    Ok(copies)
}

fn cgroup_mount(plan: &Plan) -> Option<&Mount> {
    plan.mounts.iter().find(|mount| matches!(mount.kind, Kind::Cgroup { .. }))
}

fn copy_cgroup(mount: &Mount, dir: &std::path::Path) -> Result<OwnedFd> {
    let path = CString::new(dir.as_os_str().as_bytes())
        .map_err(|_| Error::config(&mount.at, "a cgroup path contains a NUL byte"))?;
    open_tree_clone(path::cwd_fd(), &path, false, 0).map_err(|e| {
        Error::kernel(format!("open the cgroup {}", dir.display()), "open_tree(2)", e).at(&mount.at)
    })
}

impl CgroupView {
    /// Puts a copy of one of the container's own cgroups in its place.
    pub fn complete(&self, index: u8, own: OwnedFd) {
        let place = match self {
            CgroupView::None | CgroupView::Places(_) => None,
            CgroupView::V2 { own, .. } => Some(own),
            CgroupView::V1(views) => views.get(usize::from(index)).map(|view| &view.own),
        };
        if let Some(place) = place {
            let _ = place.set(own);
        }
    }
}
