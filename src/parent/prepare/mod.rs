//! Opens everything that the plan names on the host, each once, and changes nothing.
//!
//! After this no path of the host is used by name. Sources of bind mounts become detached copies, which the child
//! only has to attach.

mod cgroup_view;
mod filter;
mod hook_state;
mod namespaces;
mod passed;
mod sources;

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::json;

pub use self::cgroup_view::{CgroupView, HierarchyView, cgroup_view, own_cgroups, shown_cgroups};
pub use self::filter::Filter;
pub use self::hook_state::HookState;
pub(super) use self::namespaces::{namespace, refuse_own_namespace};
pub use self::passed::Passed;
pub use self::sources::Source;
pub(super) use self::sources::UNPRIVILEGED_MAPPING;
pub(super) use self::sources::{device_node, null_mount, own_id_map, source};
use super::access::{self, Use, Who};
use super::console;
use super::hook_output::HookOutput;
use super::root_mount::RootMount;
use crate::cgroup::Cgroup;
use crate::error::{Errno, Error, Kind, Result};
use crate::plan::Plan;
use crate::plan::namespaces::flag;
use crate::plan::rootfs::Pivot;
use crate::plan::security::Placement;
use crate::sys::fd;
use crate::sys::path::{self, Stat};

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
    /// Where what hooks print goes.
    pub hook_output: Rc<HookOutput>,
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
    /// The init process makes its mounts while the parent still works for it, and waits for the parent only then.
    pub begins_at_once: bool,
    /// What the container sees of it.
    pub cgroup_view: CgroupView,
    /// The caller traces the init process from before it executes its program.
    pub traced: bool,
    /// The name of the session keyring that is made.
    pub keyring: Option<CString>,
    hook_state: HookState,
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
    /// The caller traces the container.
    pub traced: bool,
}

/// Opens everything. The second value is the end of the pair that gets the terminal when it is relayed.
pub fn prepare(plan: &Plan, inputs: Inputs) -> Result<(Prepared, Option<OwnedFd>)> {
    if !plan.has_the_privilege() {
        return Err(Error::new(Kind::Kernel, "the caller lacks CAP_SYS_ADMIN, which a container without a user namespace takes")
            .at("/linux/namespaces")
            .hint("use a user namespace, as `teu spec --rootless` writes it; an outer container can grant it (--privileged)"));
    }
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
        keyring: plan.keyring.as_deref().map(unknown_name).transpose()?,
        hook_output: Rc::new(HookOutput::first(&plan.hooks.output)?),
        sources,
        id_maps: plan.mounts.iter().map(own_id_map).collect::<Result<_>>()?,
        namespaces,
        device_nodes: sources::device_nodes(plan)?,
        null,
        needs_privilege: inputs.filter.is_some() && !plan.identity.no_new_privileges,
        filter: inputs.filter,
        placement,
        console,
        passed: inputs.passed,
        traced: inputs.traced,
        cgroup: None,
        begins_at_once: false,
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

/// A name that nobody can know. Whoever knows the name of a session keyring can have made it before, and may read what
/// is put there: the names of a user namespace are for all of its users. Source: keyrings(7), session-keyring(7).
fn unknown_name(beginning: &CStr) -> Result<CString> {
    let number = fd::random().map_err(|e| Error::kernel("make a random number", "getrandom(2)", e))?;
    let name = [beginning.to_bytes(), format!("-{number:016x}").as_bytes()].concat();
    CString::new(name).map_err(|_| Error::usage("the id contains a NUL byte"))
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
