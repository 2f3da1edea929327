//! Groups of the resctrl file system: shares of caches and memory bandwidth, and their use.
//!
//! Source: config-linux.md#intelrdt; https://docs.kernel.org/filesystems/resctrl.html.
#![forbid(unsafe_code)]

mod schemata;
pub mod stats;
#[cfg(test)]
mod tests;

use nix::sys::statfs::FsType;
use serde::{Deserialize, Serialize};

use crate::control_dir::ControlDir;
use crate::error::{Errno, Error, Result};
use crate::mountinfo::Line;
use crate::plan::intel_rdt::{IntelRdt, Origin};

const RDTGROUP_SUPER_MAGIC: FsType = FsType(0x0765_5821);
const MONITORS: &str = "mon_groups";
const BASE: &str = "/linux/intelRdt";

/// What the state keeps of a container's group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Directory of the group below the root of the file system; empty for the root itself.
    pub group: String,
    /// The group goes with the container.
    pub own: bool,
    /// Name of the monitoring group, which goes with the container.
    pub monitor: Option<String>,
    /// The directories have been made. Before that they are only planned, and may be somebody else's.
    pub made: bool,
}

impl Held {
    /// What will exist.
    pub fn planned(asked: &IntelRdt) -> Held {
        Held {
            group: asked.group.clone(),
            own: asked.origin == Origin::Own,
            monitor: asked.monitor.clone(),
            made: false,
        }
    }

    /// True when something is to be removed with the container.
    pub fn goes(&self) -> bool {
        self.own || self.monitor.is_some()
    }
}

/// The mounted file system.
#[derive(Debug)]
pub struct Resctrl {
    root: ControlDir,
}

/// A group that a container is in.
#[derive(Debug)]
pub struct Group {
    dir: ControlDir,
    monitor: Option<ControlDir>,
}

/// What making a group has changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// Directories that were made: the parent and the name.
    made: Vec<(ControlDir, String)>,
    /// What the schemata of a group that was there before were.
    before: Option<(ControlDir, String)>,
}

impl Resctrl {
    /// Finds where it is mounted. Errors: it is not.
    pub fn find() -> Result<Resctrl> {
        Resctrl::mounted()?.ok_or_else(|| {
            Error::config(BASE, "the resctrl file system is not mounted")
                .hint("mount -t resctrl resctrl /sys/fs/resctrl, on a processor that supports it")
        })
    }

    /// Finds where it is mounted, if it is. When it is not, no group exists.
    pub fn mounted() -> Result<Option<Resctrl>> {
        let table = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(|e| Error::io("read /proc/self/mountinfo", "openat(2)", &e))?;
        // The last one may cover an earlier one at the same place.
        let mount = table.lines().filter_map(Line::parse).rfind(|line| line.fstype == "resctrl");
        let Some(path) = mount.map(|line| line.mount_point()) else { return Ok(None) };
        match ControlDir::open_root(&path) {
            Ok((root, RDTGROUP_SUPER_MAGIC)) => Ok(Some(Resctrl { root })),
            Ok(_) => Err(Error::config(BASE, format!("{} is no resctrl file system", path.display()))),
            Err(e) => Err(Error::kernel(format!("open {}", path.display()), "openat2(2)", e).at(BASE)),
        }
    }

    /// Makes what is asked for, or takes what is there and fits, and writes the schemata. `changes` can be taken
    /// back, also after an error.
    pub fn enter(&self, asked: &IntelRdt, changes: &mut Changes) -> Result<Group> {
        let dir = match self.fitting(asked)? {
            Some(dir) => {
                let lines: Vec<&str> = asked.schemata.iter().map(String::as_str).collect();
                if !lines.is_empty() {
                    self.write_kept(&dir, &lines, changes)?;
                }
                dir
            }
            None => {
                let dir = self.make(&self.root, &asked.group, changes)?;
                self.write(&dir, &asked.lines())?;
                dir
            }
        };
        let monitor = match &asked.monitor {
            None => None,
            Some(name) => {
                let at = format!("{BASE}/enableMonitoring");
                let parent = dir.child(MONITORS).map_err(|e| {
                    dir.error("open", MONITORS, "openat2(2)", e)
                        .at(&at)
                        .hint("the processor does not support monitoring")
                })?;
                Some(self.make(&parent, name, changes).map_err(|error| error.at(at))?)
            }
        };
        Ok(Group { dir, monitor })
    }

    /// Tells what `enter` would meet, without doing anything.
    pub fn examine(&self, asked: &IntelRdt) -> Result<()> {
        self.fitting(asked).map(drop)
    }

    /// The group that is there and fits; `None` when it is to be made.
    fn fitting(&self, asked: &IntelRdt) -> Result<Option<ControlDir>> {
        self.check_support(asked)?;
        let at = format!("{BASE}/closID");
        let dir = match (self.open(&asked.group), asked.origin) {
            (Ok(dir), Origin::Shared | Origin::Existing) => dir,
            (Ok(dir), Origin::Own) => {
                let text = format!("the group {} exists already", dir.path().display());
                return Err(Error::config(at, text).hint("a group that containers share is named by closID"));
            }
            (Err(error), Origin::Existing) => {
                return Err(error.at(at).hint("without a schema the group must exist"));
            }
            (Err(error), _) if error.errno() == Some(Errno::ENOENT) => return Ok(None),
            (Err(error), _) => return Err(error),
        };
        if !dir.has("tasks") {
            let text = format!("{} is no group of the resctrl file system", dir.path().display());
            return Err(Error::config(at, text));
        }
        if asked.origin == Origin::Shared {
            schemata::compare(&dir.read_file("schemata")?, asked)?;
        }
        Ok(Some(dir))
    }

    /// The group of a container that exists.
    pub fn group(&self, held: &Held) -> Result<Group> {
        let dir = self.open(&held.group)?;
        let monitor = match &held.monitor {
            None => None,
            Some(name) => Some(
                dir.child(MONITORS)
                    .and_then(|parent| parent.child(name))
                    .map_err(|e| dir.error("open", &format!("{MONITORS}/{name}"), "openat2(2)", e))?,
            ),
        };
        Ok(Group { dir, monitor })
    }

    /// Removes what goes with the container. What is missing is removed; what was only planned is removed when
    /// nobody is in it.
    pub fn remove(&self, held: &Held) -> Result<()> {
        let monitors = || self.open(&held.group).and_then(|dir| self.child(&dir, MONITORS));
        if let Some(name) = &held.monitor {
            match monitors() {
                Ok(parent) => remove(&parent, name, held.made)?,
                Err(error) if error.errno() == Some(Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        if held.own { remove(&self.root, &held.group, held.made) } else { Ok(()) }
    }

    /// Writes other schemata, as `update` does. `changes` can be taken back, also after an error.
    pub fn update(&self, held: &Held, asked: &IntelRdt, changes: &mut Changes) -> Result<()> {
        self.check_support(asked)?;
        let dir = self.open(&held.group)?;
        self.write_kept(&dir, &asked.lines(), changes)
    }

    /// Errors: the processor or the kernel cannot control what is asked for.
    fn check_support(&self, asked: &IntelRdt) -> Result<()> {
        let has = |name: &str| self.root.child(format!("info/{name}")).is_ok();
        let missing = |member: &str, what: &str| {
            Err(Error::config(
                format!("{BASE}/{member}"),
                format!("{what} cannot be controlled on this host"),
            )
            .hint("info of the resctrl file system lists what the processor supports"))
        };
        if asked.l3.is_some() && !has("L3") && !has("L3CODE") {
            return missing("l3CacheSchema", "the L3 cache");
        }
        if asked.bandwidth.is_some() && !has("MB") {
            return missing("memBwSchema", "memory bandwidth");
        }
        Ok(())
    }

    fn open(&self, group: &str) -> Result<ControlDir> {
        if group.is_empty() {
            return self.root.reopen().map_err(|e| self.root.error("open", ".", "openat2(2)", e));
        }
        self.child(&self.root, group)
    }

    fn child(&self, parent: &ControlDir, name: &str) -> Result<ControlDir> {
        parent.child(name).map_err(|e| parent.error("open", name, "openat2(2)", e))
    }

    fn make(&self, parent: &ControlDir, name: &str, changes: &mut Changes) -> Result<ControlDir> {
        let failed = |call: &'static str, e| parent.error("make", name, call, e);
        parent.make_child(name).map_err(|e| {
            let error = failed("mkdirat(2)", e).detail(self.last_status());
            if e == Errno::ENOSPC { error.hint("the processor has no more groups") } else { error }
        })?;
        #[cfg(test)]
        tests::furnish(&parent.path().join(name));
        let kept = parent.reopen().map_err(|e| failed("openat2(2)", e))?;
        changes.made.push((kept, name.to_owned()));
        self.child(parent, name)
    }

    /// Writes lines into a group that was there before, and keeps what it had.
    fn write_kept(&self, dir: &ControlDir, lines: &[&str], changes: &mut Changes) -> Result<()> {
        let kept = dir.reopen().map_err(|e| dir.error("open", ".", "openat2(2)", e))?;
        changes.before = Some((kept, dir.read_file("schemata")?));
        self.write(dir, lines)
    }

    /// Writes lines with one write; none are not written at all.
    fn write(&self, dir: &ControlDir, lines: &[&str]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let text = format!("{}\n", lines.join("\n"));
        dir.write_file("schemata", &text).map_err(|error| error.detail(self.last_status()))
    }

    /// The kernel's words about the last failure.
    fn last_status(&self) -> String {
        self.root.read("info/last_cmd_status").unwrap_or_default().trim().to_owned()
    }
}

impl Group {
    /// Where the group is, for the state.
    pub fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Puts a process into the group. What it starts from then on is in it too.
    pub fn add(&self, pid: i32) -> Result<()> {
        for dir in std::iter::once(&self.dir).chain(&self.monitor) {
            dir.write_file("tasks", &pid.to_string())?;
        }
        Ok(())
    }

    /// The same for a process that may have ended.
    pub fn add_if_alive(&self, pid: i32) -> Result<()> {
        match self.add(pid) {
            Err(error) if error.errno() == Some(Errno::ESRCH) => Ok(()),
            other => other,
        }
    }
}

impl Changes {
    /// Takes everything back, last first.
    pub fn undo(&self) -> Result<()> {
        if let Some((dir, before)) = &self.before {
            dir.write_file("schemata", before)?;
        }
        for (parent, name) in self.made.iter().rev() {
            remove(parent, name, true)?;
        }
        Ok(())
    }
}

/// Removes a group; only one without processes when it is not known to be ours.
fn remove(parent: &ControlDir, name: &str, ours: bool) -> Result<()> {
    let is_empty = || parent.read(&format!("{name}/tasks")).is_ok_and(|tasks| tasks.trim().is_empty());
    if !ours && !is_empty() {
        return Ok(());
    }
    #[cfg(test)]
    tests::empty(&parent.path().join(name));
    match parent.remove_child(name) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(e) => Err(parent.error("remove", name, "unlinkat(2)", e)),
    }
}
