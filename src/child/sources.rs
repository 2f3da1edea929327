//! What mounts and device nodes are made of: the copies of the parent, or without its privilege copies made here.
//!
//! Only who has privilege over a mount namespace may copy its mounts. An unprivileged parent has none over that of
//! the host, the child has it over its own copy of that namespace. So it opens each such path again, as its first
//! act there and still with the ids of the caller, and makes sure that it finds what the parent has found.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::parent::prepare::{CgroupView, Prepared, Source};
use crate::plan::Plan;
use crate::plan::mounts::Kind;
use crate::sync::{Call, During, Failure, In, Phase};
use crate::sys::mount::open_tree_clone;
use crate::sys::path;

/// One source.
pub enum Found<'a> {
    /// The parent's copy.
    OfParent(BorrowedFd<'a>),
    /// A copy made here.
    Own(OwnedFd),
    /// The target of a symbolic link.
    Link(&'a CStr),
}

impl Found<'_> {
    /// The copy, when it is one.
    pub fn tree(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Found::OfParent(tree) => Some(*tree),
            Found::Own(tree) => Some(tree.as_fd()),
            Found::Link(_) => None,
        }
    }
}

/// All of them.
pub struct Sources<'a> {
    /// By mount.
    pub mounts: Vec<Option<Found<'a>>>,
    /// By device, when nodes are bound.
    pub nodes: Vec<Option<Found<'a>>>,
    /// The top of the cgroup2 hierarchy, for a container that sees it as the host does.
    pub cgroup_top: Option<Found<'a>>,
}

/// Opens what the parent could not copy.
pub fn open<'a>(plan: &Plan, prepared: &'a Prepared) -> Result<Sources<'a>, Failure> {
    let mut mounts = Vec::with_capacity(plan.mounts.len());
    for (index, (mount, source)) in plan.mounts.iter().zip(&prepared.sources).enumerate() {
        let (recursive, no_follow) = match &mount.kind {
            Kind::Bind { recursive, no_follow, .. } => (*recursive, *no_follow),
            _ => (false, false),
        };
        mounts.push(found(source.as_ref(), recursive, no_follow).item(Phase::Mounts, index)?);
    }
    let mut nodes = Vec::with_capacity(prepared.device_nodes.len());
    for (index, source) in prepared.device_nodes.iter().enumerate() {
        nodes.push(found(source.as_ref(), false, false).item(Phase::Devices, index)?);
    }
    let cgroup_top = match &prepared.cgroup_view {
        CgroupView::V2 { top, .. } => {
            let at = plan.mounts.iter().position(|m| matches!(m.kind, Kind::Cgroup { .. })).unwrap_or(0);
            found(top.as_ref(), true, false).item(Phase::Mounts, at)?
        }
        _ => None,
    };
    Ok(Sources { mounts, nodes, cgroup_top })
}

fn found(source: Option<&Source>, recursive: bool, no_follow: bool) -> Result<Option<Found<'_>>, Failure> {
    Ok(Some(match source {
        None => return Ok(None),
        Some(Source::Tree(tree)) => Found::OfParent(tree.as_fd()),
        Some(Source::Link(target)) => Found::Link(target),
        Some(Source::Path { path, stat }) => {
            let flags = if no_follow { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
            let tree = open_tree_clone(path::cwd_fd(), path, recursive, flags).call(Call::OpenTree)?;
            let now = path::stat_fd(tree.as_fd()).call(Call::Statx)?;
            if !now.same_inode(stat) || now.rdev != stat.rdev {
                return Err(Failure::found("the source has been replaced"));
            }
            Found::Own(tree)
        }
    }))
}
