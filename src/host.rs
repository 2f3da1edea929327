//! A dozen cheap facts about the host and the caller that change the shape of a plan.
//!
//! No feature probes: whether the kernel supports a call shows when it is made.
#![forbid(unsafe_code)]

use crate::cgroup::Layout;
use crate::error::{Error, Result};
use crate::plan::cgroup::Mode;
use crate::plan::cgroup::settings::Controller;
use crate::sys::identity;

/// The facts.
#[derive(Clone, Debug)]
pub struct Host {
    /// Effective user id of the caller.
    pub uid: u32,
    /// Effective group id of the caller.
    pub gid: u32,
    /// The caller is in a user namespace other than the initial one.
    pub in_user_namespace: bool,
    /// How cgroups are mounted.
    pub cgroup_mode: Mode,
    /// Controllers of the cgroup2 tree of a hybrid layout.
    pub unified_controllers: Vec<Controller>,
    /// Highest capability of the running kernel.
    pub last_capability: u32,
    /// Capabilities the caller has and can hand on.
    pub permitted: u64,
    /// AppArmor is enabled.
    pub apparmor: bool,
    /// SELinux is enabled.
    pub selinux: bool,
}

impl Host {
    /// Reads the facts.
    pub fn read(layout: &Layout) -> Result<Host> {
        let read = |path: &str| crate::sys::path::read_text(path);
        let last_capability = read("/proc/sys/kernel/cap_last_cap")
            .map_err(|e| Error::io("read /proc/sys/kernel/cap_last_cap", "openat(2)", &e))?
            .trim()
            .parse()
            .ok()
            .filter(|last| *last < 64)
            .ok_or_else(|| Error::io("read /proc/sys/kernel/cap_last_cap", "read(2)", &invalid()))?;
        let (_, permitted, _) =
            identity::capabilities().map_err(|e| Error::kernel("read own capabilities", "capget(2)", e))?;
        Ok(Host {
            uid: identity::effective_uid(),
            gid: identity::effective_gid(),
            in_user_namespace: in_user_namespace(),
            cgroup_mode: layout.mode(),
            unified_controllers: layout.unified_controllers().to_vec(),
            last_capability,
            permitted,
            apparmor: read("/sys/module/apparmor/parameters/enabled").is_ok_and(|on| on.starts_with('Y')),
            selinux: std::path::Path::new("/sys/fs/selinux/enforce").exists(),
        })
    }

    /// True when the caller is not the root of the host.
    pub fn is_rootless(&self) -> bool {
        self.uid != 0 || self.in_user_namespace
    }

    /// What a process in the container can have: everything in a user namespace of its own, else no more than
    /// the caller has.
    pub fn grantable(&self, own_user_namespace: bool) -> u64 {
        let all = u64::MAX >> (63 - self.last_capability);
        if own_user_namespace { all } else { self.permitted & all }
    }
}

/// True when the caller is in a user namespace other than the initial one.
pub fn in_user_namespace() -> bool {
    crate::sys::path::read_text("/proc/self/uid_map").is_ok_and(|map| is_partial(&map))
}

/// How ids that are not mapped appear, see user_namespaces(7).
const OVERFLOW_ID: u32 = 65_534;

/// Whether the owner of a file is root: of this user namespace, or of one around it, whose id is not mapped and cannot
/// be told from those of other users there.
pub fn is_root(owner: u32) -> bool {
    owner == 0 || (owner == OVERFLOW_ID && in_user_namespace())
}

fn invalid() -> std::io::Error {
    std::io::Error::from_raw_os_error(libc::EINVAL)
}

/// The initial user namespace maps every id to itself.
fn is_partial(uid_map: &str) -> bool {
    let mut fields = uid_map.split_ascii_whitespace();
    !(fields.next() == Some("0") && fields.next() == Some("0") && fields.next() == Some("4294967295"))
}
