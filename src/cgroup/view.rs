//! What the rest of the runtime does with the cgroups: showing them in the container, giving them away, asking
//! what happened in them.

use std::path::{Path, PathBuf};

use super::dir::keyed;
use super::{Cgroup, Hierarchy, Layout};
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

impl Layout {
    /// What a mount of type `cgroup` shows in a container without cgroups of its own: those of the caller, in
    /// which it stays.
    pub fn mount_view(&self) -> Option<MountView> {
        let own = |hierarchy: &Hierarchy| {
            let names = hierarchy.own.as_ref()?;
            Some(names.iter().fold(hierarchy.mount_point.clone(), |path, name| path.join(name)))
        };
        let v1 = self.hierarchies().iter().filter(|hierarchy| hierarchy.version == Version::V1);
        let mounts = v1.filter_map(|hierarchy| {
            Some(controller_mount(&hierarchy.mount_point, &hierarchy.controllers, &own(hierarchy)?))
        });
        view(mounts.collect(), self.unified().and_then(own))
    }
}

/// In a hybrid layout the hierarchies of version 1 are shown, which have the controllers.
fn view(v1: Vec<ControllerMount>, v2: Option<PathBuf>) -> Option<MountView> {
    if v1.is_empty() { v2.map(MountView::V2) } else { Some(MountView::V1(v1)) }
}

/// The hierarchy of version 1 that is mounted on `root` and has these controllers, and the cgroup `dir` in it.
fn controller_mount(root: &Path, controllers: &[String], dir: &Path) -> ControllerMount {
    let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_other = |key: &&String| **key != name && !key.contains('=');
    let links = controllers.iter().filter(is_other).map(|key| (key.clone(), name.clone())).collect();
    ControllerMount { options: controllers.join(","), dir: dir.to_owned(), links, name }
}

/// Files of a delegated cgroup on kernels that do not list them.
const DELEGATED: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// What a mount of type `cgroup` shows. Nothing when the container has no cgroup.
    pub fn mount_view(&self) -> Option<MountView> {
        let v1 = self.members.iter().filter(|member| !member.keys.iter().any(String::is_empty));
        let mounts = v1.map(|member| controller_mount(&member.root, &member.keys, &member.path)).collect();
        view(mounts, self.members.first().map(|member| member.path.clone()))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As hosts of systemd have them: two controllers in one hierarchy, and a link with the name of each.
    #[test]
    fn controllers_of_one_hierarchy_have_links() {
        let controllers = ["cpu", "cpuacct"].map(str::to_owned);
        let own = Path::new("/sys/fs/cgroup/cpu,cpuacct/own");
        let mount = controller_mount(Path::new("/sys/fs/cgroup/cpu,cpuacct"), &controllers, own);
        let link = |name: &str| (name.to_owned(), "cpu,cpuacct".to_owned());
        assert_eq!((mount.name.as_str(), mount.options.as_str()), ("cpu,cpuacct", "cpu,cpuacct"));
        assert_eq!(mount.links, [link("cpu"), link("cpuacct")]);
    }

    /// A hierarchy that has the name of its controller, or none but a name of its own, needs no link.
    #[test]
    fn hierarchy_of_one_controller_has_no_link() {
        for (root, controller) in [("/sys/fs/cgroup/cpu", "cpu"), ("/sys/fs/cgroup/systemd", "name=systemd")]
        {
            let mount = controller_mount(Path::new(root), &[controller.to_owned()], Path::new(root));
            assert_eq!(mount.links, []);
        }
    }
}
