//! Opens everything that the plan names on the host, each once, and changes nothing.
//!
//! After this no path of the host is used by name. Sources of bind mounts become detached copies, which the child
//! only has to attach.

use std::cell::OnceCell;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde_json::json;

use super::access::{self, Use, Who};
use super::console;
use super::root_mount::RootMount;
use crate::cgroup::{Cgroup, Layout, MountView};
use crate::error::{Errno, Error, Result};
use crate::plan::Plan;
use crate::plan::cgroup::{Driver, Mode};
use crate::plan::devices::Node;
use crate::plan::mounts::{IdMapping, Kind, Mount};
use crate::plan::namespaces::{Join, KINDS, flag};
use crate::plan::rootfs::Pivot;
use crate::plan::security::Placement;
use crate::sys::mount::open_tree_clone;
use crate::sys::path::{self, Stat};
use crate::sys::{clone, fd, seccomp};

/// The source of a bind mount.
#[derive(Debug)]
pub enum Source {
    /// A detached copy of the tree.
    Tree(OwnedFd),
    /// Copying needs privilege that only the child will have, in its own mount namespace: it opens the path again
    /// and compares.
    Path {
        /// Absolute path.
        path: CString,
        /// What was found there.
        stat: Stat,
    },
    /// A symbolic link that is made again at the destination: its target.
    Link(CString),
}

/// Descriptors of the caller that the container gets.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// How many numbers from 3 on are theirs.
    pub count: u32,
    /// Those that are open.
    pub open: Vec<i32>,
}

/// A compiled filter.
#[derive(Debug)]
pub struct Filter {
    /// Instructions.
    pub instructions: Vec<seccomp::Instruction>,
    /// Flags of seccomp(2).
    pub flags: u32,
    /// The filter refuses nothing and has a listener that records; the one call with this key passes unseen.
    pub key: Option<u64>,
}

impl Filter {
    /// The program as the kernel takes it.
    pub fn of(program: &teu_seccomp::Program) -> Filter {
        let instruction =
            |i: &teu_seccomp::Instruction| seccomp::Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k };
        Filter {
            instructions: program.instructions.iter().map(instruction).collect(),
            flags: program.flags,
            key: None,
        }
    }

    /// The filter that records.
    pub fn recording() -> Result<Filter> {
        let key = fd::random().map_err(|e| Error::kernel("make a random number", "getrandom(2)", e))?;
        let mut filter = Filter { key: Some(key), ..Filter::of(&teu_seccomp::record::program(key)) };
        if seccomp::knows_flag(seccomp::WAIT_KILLABLE_RECV) {
            // Signals do not interrupt calls that are merely being looked at.
            filter.flags |= seccomp::WAIT_KILLABLE_RECV;
        }
        Ok(filter)
    }
}

/// What a cgroup mount shows, with the container's own cgroups copied as detached mounts.
#[derive(Debug)]
pub enum CgroupView {
    /// There is no cgroup.
    None,
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

/// The plan's handles.
#[derive(Debug)]
pub struct Prepared {
    /// The root file system (O_PATH).
    pub rootfs: OwnedFd,
    /// What it is.
    pub rootfs_stat: Stat,
    /// Its path without links, for a joined mount namespace.
    pub rootfs_path: CString,
    /// A copy of it, for a container without a mount namespace.
    pub root_mount: Option<RootMount>,
    /// The bundle, working directory of hooks.
    pub bundle: CString,
    /// By mount.
    pub sources: Vec<Option<Source>>,
    /// User namespaces that map the ids of mounts, by mount.
    pub id_maps: Vec<Option<OwnedFd>>,
    /// By joined namespace.
    pub namespaces: Vec<OwnedFd>,
    /// By device, when nodes are bound.
    pub device_nodes: Vec<Option<Source>>,
    /// The host's /dev/null as a detached mount; `None` without the privilege to copy it.
    pub null: Option<OwnedFd>,
    /// Compiled filter.
    pub filter: Option<Filter>,
    placement: Option<Placement>,
    needs_privilege: bool,
    /// Socket that gets the terminal.
    pub console: Option<OwnedFd>,
    /// Descriptors of the caller.
    pub passed: Passed,
    /// The cgroup, once it exists.
    pub cgroup: Option<Cgroup>,
    /// What the container sees of it.
    pub cgroup_view: CgroupView,
    hook_state: HookState,
}

/// The state document of hooks, less what changes.
#[derive(Clone, Debug)]
pub struct HookState {
    /// Container id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: String,
    /// Annotations, as an object.
    pub annotations: serde_json::Value,
}

impl HookState {
    /// The state document, in two halves between which the pid goes.
    ///
    /// Source: runtime.md#state.
    pub fn halves(&self, status: &str) -> (Vec<u8>, Vec<u8>) {
        let head = json!({"ociVersion": crate::state::OCI_VERSION, "id": self.id, "status": status});
        let mut tail = json!({"bundle": self.bundle});
        if self.annotations.as_object().is_some_and(|a| !a.is_empty()) {
            tail["annotations"] = self.annotations.clone();
        }
        let mut before = head.to_string().into_bytes();
        before.pop();
        before.extend_from_slice(b",\"pid\":");
        let mut after = tail.to_string().into_bytes();
        after[0] = b',';
        (before, after)
    }

    /// The document with this pid.
    pub fn with_pid(&self, status: &str, pid: i32) -> Vec<u8> {
        let (mut text, after) = self.halves(status);
        text.extend_from_slice(pid.to_string().as_bytes());
        text.extend_from_slice(&after);
        text
    }
}

impl Prepared {
    /// When the filter is loaded.
    pub fn placement(&self) -> Option<Placement> {
        self.placement
    }

    /// The container is being recorded.
    pub fn is_recorded(&self) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.key.is_some())
    }

    /// Loading the filter needs CAP_SYS_ADMIN.
    pub fn filter_needs_privilege(&self) -> bool {
        self.needs_privilege
    }

    /// The directory into which the init process is cloned. Not by a process that has joined a cgroup namespace, in
    /// which the directory need not be: then the parent moves the init process.
    pub fn cgroup_of_init(&self, plan: &Plan) -> Option<BorrowedFd<'_>> {
        let hidden = plan.namespaces.stage && plan.namespaces.join_of(flag::CGROUP).is_some();
        if hidden { None } else { self.cgroup_fd() }
    }

    /// The directory for CLONE_INTO_CGROUP.
    fn cgroup_fd(&self) -> Option<BorrowedFd<'_>> {
        self.cgroup.as_ref().and_then(Cgroup::into_fd)
    }

    /// The state document of hooks.
    pub fn hook_state(&self) -> &HookState {
        &self.hook_state
    }

    /// The state document of hooks in two halves, see [`HookState::halves`].
    pub fn state_of_hook(&self, status: &str) -> (Vec<u8>, Vec<u8>) {
        self.hook_state.halves(status)
    }
}

/// What the command adds to the plan.
#[derive(Debug, Default)]
pub struct Inputs {
    /// `--console-socket`, absolute.
    pub console_socket: Option<PathBuf>,
    /// Descriptors of the caller.
    pub passed: Passed,
    /// The compiled filter of the plan.
    pub filter: Option<Filter>,
}

/// Opens everything. The second value is the end of the pair that gets the terminal when it is relayed.
pub fn prepare(plan: &Plan, inputs: Inputs) -> Result<(Prepared, Option<OwnedFd>)> {
    let (rootfs, rootfs_path) = rootfs(plan)?;
    let rootfs_stat = path::stat_fd(rootfs.as_fd())
        .map_err(|e| Error::kernel("inspect the root file system", "statx(2)", e).at("/root/path"))?;
    let sources = plan
        .mounts
        .iter()
        .enumerate()
        .map(|(index, mount)| if plan.notify == Some(index) { Ok(None) } else { source(mount) })
        .collect::<Result<Vec<_>>>()?;
    let namespaces = plan.namespaces.joined.iter().map(namespace).collect::<Result<Vec<_>>>()?;
    for (join, opened) in plan.namespaces.joined.iter().zip(&namespaces) {
        refuse_own_namespace(plan, join, opened)?;
    }
    let (console, relay) = console::connect(plan.process.terminal, inputs.console_socket.as_deref())?;
    let null = if plan.rootfs.masked.is_empty() { None } else { null_mount()? };
    let placement = plan.security.seccomp.as_ref().map(|s| s.placement);
    let root_mount = match plan.rootfs.pivot {
        Pivot::Chroot => Some(RootMount::copy(rootfs.as_fd())?),
        _ => None,
    };
    let prepared = Prepared {
        root_mount,
        sources,
        id_maps: plan.mounts.iter().map(own_id_map).collect::<Result<_>>()?,
        namespaces,
        device_nodes: device_nodes(plan)?,
        null,
        needs_privilege: inputs.filter.is_some() && !plan.identity.no_new_privileges,
        filter: inputs.filter,
        placement,
        console,
        passed: inputs.passed,
        cgroup: None,
        cgroup_view: CgroupView::None,
        hook_state: HookState {
            id: plan.id.clone(),
            bundle: plan.bundle.to_string_lossy().into_owned(),
            annotations: json!(plan.annotations),
        },
        bundle: CString::new(plan.bundle.as_os_str().as_bytes())
            .map_err(|_| Error::usage("the path of the bundle contains a NUL byte"))?,
        rootfs,
        rootfs_stat,
        rootfs_path,
    };
    Ok((prepared, relay))
}

/// Opens the root file system; the second value is its path without links.
pub(super) fn rootfs(plan: &Plan) -> Result<(OwnedFd, CString)> {
    let at = "/root/path";
    let shown = plan.rootfs.path.display();
    let failed = |call: &'static str, errno| {
        Error::kernel(format!("open the root file system {shown}"), call, errno).at(at)
    };
    let real = std::fs::canonicalize(&plan.rootfs.path).map_err(|e| {
        let error = failed("openat2(2)", Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)));
        access::explain(error, Some(&Who::caller()), &plan.rootfs.path, Use::Reach)
            .hint("root.path is relative to the bundle unless it is absolute")
    })?;
    let real = CString::new(real.into_os_string().into_encoded_bytes())
        .map_err(|_| Error::config(at, "the string contains a NUL byte"))?;
    let rootfs = path::open_host_path(&real, libc::O_DIRECTORY).map_err(|e| failed("openat2(2)", e))?;
    let host = path::open_host_path(c"/", libc::O_DIRECTORY).map_err(|e| failed("openat2(2)", e))?;
    let ours = path::stat_fd(rootfs.as_fd()).map_err(|e| failed("statx(2)", e))?;
    let hosts = path::stat_fd(host.as_fd()).map_err(|e| failed("statx(2)", e))?;
    if ours.same_inode(&hosts) && ours.mount_id == hosts.mount_id {
        return Err(Error::config(at, "the root directory of the host cannot be the root of a container"));
    }
    Ok((rootfs, real))
}

/// The source of a mount, when it has one on the host.
pub(super) fn source(mount: &Mount) -> Result<Option<Source>> {
    let Kind::Bind { source, recursive, no_follow, copy_symlink } = &mount.kind else {
        return Ok(None);
    };
    let failed = |call: &'static str, errno: Errno| {
        let what = format!("open the source {} of the mount on {}", source.to_string_lossy(), mount.shown);
        let error = Error::kernel(what, call, errno).at(format!("{}/source", mount.at));
        let path = std::path::Path::new(OsStr::from_bytes(source.to_bytes()));
        access::explain(error, Some(&Who::caller()), path, Use::Reach)
    };
    if *copy_symlink {
        let stat = path::statx(path::cwd_fd(), source, libc::AT_SYMLINK_NOFOLLOW)
            .map_err(|e| failed("statx(2)", e))?;
        if stat.is_symlink() {
            let mut buffer = [0u8; libc::PATH_MAX as usize];
            let link = path::readlinkat(path::cwd_fd(), source, &mut buffer)
                .map_err(|e| failed("readlinkat(2)", e))?;
            let link = CString::new(link).map_err(|_| failed("readlinkat(2)", Errno::EINVAL))?;
            return Ok(Some(Source::Link(link)));
        }
    }
    let found = Source::at(source, *recursive, *no_follow).map_err(|(call, errno)| failed(call, errno))?;
    if let (Source::Path { .. }, Some(_)) = (&found, &mount.id_mapping) {
        let what = format!("map the ids of the mount on {}", mount.shown);
        return Err(Error::kernel(what, "mount_setattr(2)", Errno::EPERM).at(&mount.at).hint(
            "it needs privilege where the file system was mounted, which an unprivileged user does not have; the owner \
             of the files can be changed instead (:U of podman)",
        ));
    }
    Ok(Some(found))
}

impl Source {
    /// Copies the tree at `path`, or remembers what is there when the caller may not copy it.
    fn at(
        path: &CString,
        recursive: bool,
        no_follow: bool,
    ) -> std::result::Result<Source, (&'static str, Errno)> {
        let flags = if no_follow { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
        match open_tree_clone(path::cwd_fd(), path, recursive, flags) {
            Ok(tree) => Ok(Source::Tree(tree)),
            Err(Errno::EPERM) => {
                let flags = if no_follow { libc::O_NOFOLLOW } else { 0 };
                let found = path::open_host_path(path, flags).map_err(|e| ("openat2(2)", e))?;
                let stat = path::stat_fd(found.as_fd()).map_err(|e| ("statx(2)", e))?;
                Ok(Source::Path { path: path.clone(), stat })
            }
            Err(errno) => Err(("open_tree(2)", errno)),
        }
    }

    /// What it is.
    fn stat(&self) -> std::result::Result<Stat, Errno> {
        match self {
            Source::Tree(tree) => path::stat_fd(tree.as_fd()),
            Source::Path { stat, .. } => Ok(*stat),
            Source::Link(_) => Err(Errno::ELOOP),
        }
    }
}

/// Makes the user namespace that maps the ids of a mount.
pub(super) fn own_id_map(mount: &Mount) -> Result<Option<OwnedFd>> {
    match &mount.id_mapping {
        Some((IdMapping::Own { uids, gids }, _)) => super::id_maps::namespace_with(uids, gids)
            .map(Some)
            .map_err(|e| e.at(format!("{}/uidMappings", mount.at))),
        _ => Ok(None),
    }
}

/// Opens a namespace that is joined.
pub(super) fn namespace(join: &Join) -> Result<OwnedFd> {
    let at = format!("{}/path", join.at);
    let shown = join.path.to_string_lossy();
    let name = KINDS.iter().find(|(flag, ..)| *flag == join.flag).map_or("?", |(_, name, ..)| name);
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = path::openat2(path::cwd_fd(), &join.path, flags, 0, 0)
        .map_err(|e| Error::kernel(format!("open the {name} namespace {shown}"), "openat2(2)", e).at(&at))?;
    match clone::namespace_kind(opened.as_fd()) {
        Ok(kind) if kind == join.flag => Ok(opened),
        Ok(_) => Err(Error::config(at, format!("{shown} is a namespace of another kind, not {name}"))),
        Err(_) => Err(Error::config(at, format!("{shown} is no namespace"))),
    }
}

/// A namespace that is the caller's own is none: what is done in it would be done to the host.
///
/// Joining the own mount namespace would change the root directory of every process in it.
pub(super) fn refuse_own_namespace(plan: &Plan, join: &Join, opened: &OwnedFd) -> Result<()> {
    let changes =
        |prefix: &str| plan.sysctls.iter().any(|s| s.path.as_bytes().starts_with(prefix.as_bytes()));
    let matters = match join.flag {
        flag::MOUNT => true,
        flag::NETWORK => changes("net/") || !plan.net_devices.is_empty(),
        flag::IPC => changes("kernel/msg") || changes("kernel/s") || changes("fs/mqueue/"),
        flag::UTS => {
            plan.uts.hostname.is_some() || plan.uts.domainname.is_some() || changes("kernel/domainname")
        }
        _ => false,
    };
    if matters && is_own(join, opened)? {
        let shown = join.path.to_string_lossy();
        let problem = format!("{shown} is the caller's own namespace, and the host would be changed");
        return Err(Error::config(format!("{}/path", join.at), problem));
    }
    Ok(())
}

fn is_own(join: &Join, fd: &OwnedFd) -> Result<bool> {
    let failed = |call: &'static str, e| Error::kernel("compare namespaces", call, e).at(&join.at);
    let file = KINDS.iter().find(|(flag, ..)| *flag == join.flag).map_or("", |(_, _, file, _)| file);
    let own =
        CString::new(format!("/proc/self/ns/{file}")).map_err(|_| failed("openat2(2)", Errno::EINVAL))?;
    let own =
        path::openat2(path::cwd_fd(), &own, libc::O_RDONLY, 0, 0).map_err(|e| failed("openat2(2)", e))?;
    let own = path::stat_fd(own.as_fd()).map_err(|e| failed("statx(2)", e))?;
    Ok(path::stat_fd(fd.as_fd()).map_err(|e| failed("statx(2)", e))?.same_inode(&own))
}

/// The host's /dev/null, verified, as a mount that can be attached anywhere. `None` without the privilege.
pub(super) fn null_mount() -> Result<Option<OwnedFd>> {
    let failed =
        |call: &'static str, e| Error::kernel("open /dev/null of the host", call, e).at("/linux/maskedPaths");
    match open_tree_clone(path::cwd_fd(), c"/dev/null", false, 0) {
        Ok(tree) => {
            let stat = path::stat_fd(tree.as_fd()).map_err(|e| failed("statx(2)", e))?;
            if stat.is_char_device(1, 3) { Ok(Some(tree)) } else { Err(failed("statx(2)", Errno::ENODEV)) }
        }
        Err(Errno::EPERM) => Ok(None),
        Err(errno) => Err(failed("open_tree(2)", errno)),
    }
}

/// In a user namespace nodes cannot be made; those of the host are bound, if they are the same devices.
fn device_nodes(plan: &Plan) -> Result<Vec<Option<Source>>> {
    if !plan.devices.bind_nodes || !plan.devices.populate {
        return Ok(Vec::new());
    }
    plan.devices.nodes.iter().map(device_node).collect()
}

/// A node of the host, if it is the device that is meant. Fifos are made in any case.
pub(super) fn device_node(node: &Node) -> Result<Option<Source>> {
    if node.mode & libc::S_IFMT == libc::S_IFIFO {
        return Ok(None);
    }
    let failed = |call: &'static str, e| {
        let what = format!("open {} of the host, to bind it into the user namespace", node.shown);
        Error::kernel(what, call, e).at(&node.at)
    };
    let host = CString::new(node.shown.as_str()).map_err(|_| failed("open_tree(2)", Errno::EINVAL))?;
    let source = Source::at(&host, false, false).map_err(|(call, e)| failed(call, e))?;
    let stat = source.stat().map_err(|e| failed("statx(2)", e))?;
    if stat.kind() != node.mode & libc::S_IFMT || stat.rdev != node.numbers {
        return Err(Error::config(&node.at, format!("{} of the host is another device", node.shown)));
    }
    Ok(Some(source))
}

/// What is shown by a mount of type cgroup: the container's own cgroups, which exist or will exist, or, without any,
/// those of the caller.
pub fn shown_cgroups(plan: &Plan, cgroup: &Cgroup, layout: &Layout) -> Option<MountView> {
    if plan.cgroup.driver == Driver::Disabled { layout.mount_view() } else { cgroup.mount_view() }
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
        None => CgroupView::None,
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
            CgroupView::None => None,
            CgroupView::V2 { own, .. } => Some(own),
            CgroupView::V1(views) => views.get(usize::from(index)).map(|view| &view.own),
        };
        if let Some(place) = place {
            let _ = place.set(own);
        }
    }
}

impl Passed {
    /// Looks which of the `count` descriptors from 3 on are open. To be called first of all, since everything
    /// that is opened later could take a free number.
    ///
    /// A hole is filled, so that nothing of ours lands in it. Errors: the last of the range is not open.
    pub fn take(count: u32) -> Result<Passed> {
        const MOST: u32 = 65_536;
        if count > MOST {
            return Err(Error::usage(format!("--preserve-fds {count} is more than {MOST}")));
        }
        let end = 3 + count as i32;
        let open: Vec<i32> = (3..end).filter(|number| fd::is_open(*number)).collect();
        let missing = (3..end).find(|number| !open.contains(number));
        if let Some(missing) = missing
            && open.last().is_none_or(|last| *last < end - 1)
        {
            return Err(Error::usage(format!("unable to stat preserved-fd {} (of {count})", missing - 2))
                .hint("the descriptor is not open in the caller"));
        }
        for hole in (3..end).filter(|number| !open.contains(number)) {
            fd::fill(hole).map_err(|e| Error::kernel("reserve a descriptor", "dup3(2)", e))?;
        }
        Ok(Passed { count, open })
    }
}
