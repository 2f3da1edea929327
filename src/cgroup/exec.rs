//! Where a process goes that is added to a running container.

use std::path::{Component, Path};

use super::dir::Dir;
use super::layout::{Layout, names_below};
use super::{Cgroup, Member};
use crate::error::{Errno, Error, Result};
use crate::plan::cgroup::settings::Version;

impl Cgroup {
    /// The cgroups that `--cgroup` asks for: `PATH` on cgroup2 alone, else `CONTROLLER[,CONTROLLER...]:PATH`.
    ///
    /// Hierarchies that are not named keep the container's own cgroup. Errors: a path that leaves the container, a
    /// controller that is unknown or named twice, a cgroup that is not there.
    pub fn sub_cgroups(&self, arguments: &[String]) -> Result<Cgroup> {
        let only_v2 = self.v2().is_some() && self.dirs().count() == 1;
        let mut wanted: Vec<(usize, &str)> = Vec::new();
        for argument in arguments {
            if only_v2 && !argument.contains(':') {
                wanted.push((0, argument));
                continue;
            }
            let Some((controllers, path)) = argument.split_once(':') else {
                let text = format!("invalid --cgroup argument: {argument} (missing <controller>: prefix)");
                return Err(Error::usage(text));
            };
            if controllers.is_empty() {
                let text = format!("invalid --cgroup argument: {argument} (empty <controller> prefix)");
                return Err(Error::usage(text));
            }
            for controller in controllers.split(',') {
                let index = self.members.iter().position(|member| member.has_key(controller));
                let index = index.ok_or_else(|| Error::usage(format!("unknown controller {controller}")))?;
                wanted.push((index, path));
            }
        }
        let mut members = Vec::new();
        for (index, member) in self.members.iter().enumerate() {
            let mut paths = wanted.iter().filter(|(at, _)| *at == index).map(|(_, path)| *path);
            let path = paths.next().unwrap_or("");
            if paths.any(|other| only_v2 || other != path) {
                let text = match member.keys.join(",").as_str() {
                    "" => {
                        "invalid --cgroup argument: more than one, and cgroup2 has one hierarchy".to_owned()
                    }
                    name => format!("invalid --cgroup argument: controller {name} specified multiple times"),
                };
                return Err(Error::usage(text));
            }
            members.push(member.below(path)?);
        }
        Ok(Cgroup { members })
    }

    /// Where the cgroup2 directory lies below that of `own`, as a path that starts with a slash.
    pub fn below(&self, own: &Cgroup) -> String {
        let path = |cgroup: &Cgroup| cgroup.v2().map(|dir| dir.path().to_owned()).unwrap_or_default();
        let (path, own) = (path(self), path(own));
        format!("/{}", path.strip_prefix(own).unwrap_or(Path::new("")).display())
    }

    /// Whether every cgroup of the container is still there. One is not after init has moved itself and removed it.
    pub fn is_complete(&self) -> bool {
        self.members.iter().all(|member| member.dir.as_ref().is_some_and(|dir| dir.has("cgroup.procs")))
    }

    /// The cgroups in which a process of the container is now; for a container that moved its init process.
    ///
    /// What /proc says is the container's choice, so it is looked up below the container's own cgroups.
    /// Errors: the process is outside of them, or is gone.
    pub fn of_process(&self, pid: i32) -> Result<Cgroup> {
        let layout = Layout::of_process(pid)?;
        let mut members = Vec::new();
        for member in &self.members {
            let key = member.keys.first().map_or("", String::as_str);
            let hierarchy = layout.hierarchies().iter().find(|hierarchy| {
                if key.is_empty() {
                    hierarchy.version == Version::V2
                } else {
                    hierarchy.controllers.iter().any(|name| name == key)
                }
            });
            let own = names_below(&member.path, &member.root);
            let current = hierarchy.and_then(|hierarchy| hierarchy.own.as_deref());
            let (Some(own), Some(current)) = (own, current) else {
                return Err(Error::state(format!("cannot tell the cgroup of process {pid}")));
            };
            let Some(rest) = current.strip_prefix(own.as_slice()) else {
                let path = member.path.display();
                return Err(Error::state(format!(
                    "process {pid} is outside of the container's cgroup {path}"
                )));
            };
            members.push(member.below(&rest.join("/"))?);
        }
        Ok(Cgroup { members })
    }
}

impl Member {
    /// The same hierarchy, further down.
    fn below(&self, path: &str) -> Result<Member> {
        let names = Path::new(path).components();
        let names: Vec<Component> =
            names.filter(|name| !matches!(name, Component::RootDir | Component::CurDir)).collect();
        if !names.iter().all(|name| matches!(name, Component::Normal(_))) {
            return Err(Error::usage(format!("bad sub cgroup path: {path}")));
        }
        let relative: std::path::PathBuf = names.iter().collect();
        let open = |dir: &Dir| if names.is_empty() { dir.reopen() } else { dir.child(&relative) };
        let path = self.path.join(&relative);
        let dir = self.dir.as_ref().ok_or(Errno::ENOENT).and_then(open);
        let dir = dir.map_err(|errno| match errno {
            Errno::ENOENT => Error::state(format!("missing cgroup {}", path.display())),
            errno => Error::kernel(format!("open the cgroup {}", path.display()), "openat2(2)", errno),
        })?;
        Ok(Member { keys: self.keys.clone(), root: self.root.clone(), path, dir: Some(dir) })
    }
}
