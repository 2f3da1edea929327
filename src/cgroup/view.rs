//! What the rest of the runtime does with the cgroups: showing them in the container, giving them away, asking
//! what happened in them.

use std::path::PathBuf;

use super::Cgroup;
use super::dir::keyed;
use crate::error::{Errno, Result};
use crate::plan::cgroup::settings::Version;

/// What a mount of type `cgroup` shows in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountView {
    /// One mount for each hierarchy, in a directory of its own.
    V1(Vec<ControllerMount>),
    /// One mount of cgroup2; the container's own cgroup, for a bind mount without cgroup namespace.
    V2(PathBuf),
}

/// One hierarchy of version 1 in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerMount {
    /// The directory it is mounted on, such as `cpu,cpuacct`.
    pub name: String,
    /// Its mount options, separated by commas, such as `cpu,cpuacct` or `name=systemd`.
    pub options: String,
    /// The container's own cgroup on the host.
    pub dir: PathBuf,
    /// Links beside it: name and target, such as `cpu` and `cpu,cpuacct`.
    pub links: Vec<(String, String)>,
}

/// Files of a delegated cgroup on kernels that do not list them.
const DELEGATED: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// What a mount of type `cgroup` shows. Nothing when the container has no cgroup.
    ///
    /// In a hybrid layout these are the hierarchies of version 1, which have the controllers.
    pub fn mount_view(&self) -> Option<MountView> {
        let mut mounts = Vec::new();
        for member in self.members.iter().filter(|member| !member.keys.iter().any(String::is_empty)) {
            let name =
                member.root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let is_other = |key: &&String| **key != name && !key.contains('=');
            let links = member.keys.iter().filter(is_other).map(|key| (key.clone(), name.clone())).collect();
            mounts.push(ControllerMount {
                options: member.keys.join(","),
                dir: member.path.clone(),
                links,
                name,
            });
        }
        if mounts.is_empty() {
            return self.members.first().map(|member| MountView::V2(member.path.clone()));
        }
        Some(MountView::V1(mounts))
    }

    /// Gives the cgroup to a user, who may then make cgroups below it but not change its limits.
    ///
    /// Only on cgroup2: version 1 has no safe delegation. Files that this kernel does not have are left out.
    /// Source: config-linux.md#cgroup-ownership.
    pub fn delegate(&self, uid: u32, gid: Option<u32>) -> Result<()> {
        let Some(dir) = self.v2() else { return Ok(()) };
        let files =
            std::fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_else(|_| DELEGATED.to_owned());
        let plain = |file: &&str| !file.is_empty() && !file.contains('/');
        for file in files.lines().filter(plain).map(Some).chain([None]) {
            match dir.change_owner(file, uid, gid) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => {
                    return Err(dir.error("change the owner of", file.unwrap_or(""), "fchownat(2)", errno));
                }
            }
        }
        Ok(())
    }

    /// How many processes of the container the kernel has killed for lack of memory, when it counts them.
    pub fn oom_kills(&self) -> Option<u64> {
        let dir = self.memory()?;
        let file = match dir.version() {
            Version::V2 => "memory.events",
            Version::V1 => "memory.oom_control",
        };
        keyed(&dir.read(file).ok()?, "oom_kill")
    }

    /// The memory limit in bytes, unless there is none, and the most that was ever used, when it is known.
    pub fn memory_limit_and_peak(&self) -> (Option<u64>, Option<u64>) {
        let Some(dir) = self.memory() else { return (None, None) };
        let (limit, peak) = match dir.version() {
            Version::V2 => ("memory.max", "memory.peak"),
            Version::V1 => ("memory.limit_in_bytes", "memory.max_usage_in_bytes"),
        };
        let number = |file| dir.read(file).ok()?.trim().parse::<u64>().ok();
        // Version 1 shows "no limit" as the largest multiple of a page.
        let limit = number(limit).filter(|limit| *limit < i64::MAX.unsigned_abs() / 4096 * 4096);
        (limit, number(peak))
    }

    /// The cgroup that accounts for memory.
    pub(super) fn memory(&self) -> Option<&super::Dir> {
        self.v1("memory").or_else(|| self.v2())
    }
}
