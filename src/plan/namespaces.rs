//! Which namespaces are made or joined, and in which process and order.
//!
//! One clone3(2) makes all new namespaces at once: the kernel makes the user namespace first and gives it the
//! others. What that call cannot do is planned here as well:
//! - a pid namespace can only be joined for children: whoever clones the init process does it before;
//! - the cgroup namespace must be made once inside the final cgroup: the child unshares it;
//! - a time namespace gets its offsets before anybody is in it: the child unshares it, the parent writes the
//!   offsets, the child enters it;
//! - namespaces that belong to a user namespace which is joined, or that are joined before a new user namespace
//!   is made, need a process in between (`stage`): it joins, then clones the init process as its sibling. So does a
//!   pid namespace from which the parent could not go back to its own.

use std::ffi::CString;
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};

use super::{c_string, item};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::report::Report;

pub use crate::abi::namespace as flag;

/// The kinds by flag, with the name in `config.json`, in /proc/PID/ns and in state.json.
pub const KINDS: [(u64, &str, &str, &str); 8] = [
    (flag::CGROUP, "cgroup", "cgroup", "NEWCGROUP"),
    (flag::IPC, "ipc", "ipc", "NEWIPC"),
    (flag::MOUNT, "mount", "mnt", "NEWNS"),
    (flag::NETWORK, "network", "net", "NEWNET"),
    (flag::PID, "pid", "pid", "NEWPID"),
    (flag::TIME, "time", "time", "NEWTIME"),
    (flag::USER, "user", "user", "NEWUSER"),
    (flag::UTS, "uts", "uts", "NEWUTS"),
];

/// A namespace that exists and is joined.
#[derive(Clone, Debug)]
pub struct Join {
    /// Which kind.
    pub flag: u64,
    /// Path of the namespace on the host.
    pub path: CString,
    /// JSON pointer.
    pub at: String,
}

/// One line of a uid_map or gid_map file (user_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// A list of ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap(pub Vec<IdRange>);

impl IdMap {
    /// The outer id of an inner one.
    pub fn outside(&self, inside: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let offset = inside.checked_sub(range.inside)?;
            (offset < range.count).then(|| range.outside + offset)
        })
    }

    /// The inner id of an outer one.
    pub fn inside(&self, outside: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let offset = outside.checked_sub(range.outside)?;
            (offset < range.count).then(|| range.inside + offset)
        })
    }

    /// True when it maps this outer id and no other.
    pub fn is_only(&self, outside: u32) -> bool {
        matches!(self.0.as_slice(), [range] if range.outside == outside && range.count == 1)
    }

    /// The text that is written to /proc/PID/uid_map.
    pub fn text(&self) -> String {
        self.0.iter().map(|r| format!("{} {} {}\n", r.inside, r.outside, r.count)).collect()
    }
}

/// The user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// The one of the caller.
    Inherited,
    /// A new one with these maps.
    New {
        /// uid_map.
        uids: IdMap,
        /// gid_map.
        gids: IdMap,
    },
    /// An existing one.
    Joined,
}

/// What happens to namespaces.
#[derive(Clone, Debug)]
pub struct Namespaces {
    /// Kinds that clone3(2) makes for the init process.
    pub cloned: u64,
    /// Kinds that the child unshares later: cgroup, time.
    pub unshared: u64,
    /// Namespaces that are joined, in the order of the configuration.
    pub joined: Vec<Join>,
    /// The user namespace.
    pub user: User,
    /// uid_map and gid_map that a joined user namespace must have; an empty one may be anything.
    pub expected: Option<(IdMap, IdMap)>,
    /// `monotonic` and `boottime` offsets as /proc/PID/timens_offsets takes them.
    pub time_offsets: Option<String>,
    /// A process in between is needed.
    pub stage: bool,
    /// Pointer of each kind that the configuration lists.
    listed: Vec<(u64, String)>,
    /// The list could not be read as a whole: any kind may be in it.
    is_incomplete: bool,
}

impl Namespaces {
    /// True when the configuration lists the kind, new or joined.
    pub fn has(&self, flag: u64) -> bool {
        self.is_incomplete || self.is_listed(flag)
    }

    /// True when the configuration is known to list the kind.
    pub fn is_listed(&self, flag: u64) -> bool {
        self.listed.iter().any(|(listed, _)| *listed == flag)
    }

    /// True when the kind is made new.
    pub fn is_new(&self, flag: u64) -> bool {
        (self.cloned | self.unshared) & flag != 0
    }

    /// True when the process in between makes the time namespace, which its child then lives in.
    ///
    /// In a user namespace that is joined the init process is hidden from an unprivileged parent, which could not write
    /// the offsets. The process in between can open its own file before it hides.
    pub fn stage_makes_time(&self) -> bool {
        self.user == User::Joined && self.unshared & flag::TIME != 0
    }

    /// The path by which the kind is joined.
    pub fn join_of(&self, flag: u64) -> Option<&Join> {
        self.joined.iter().find(|join| join.flag == flag)
    }

    /// The pointer of the kind, or that of the list.
    pub fn pointer(&self, flag: u64) -> &str {
        self.listed.iter().find(|(listed, _)| *listed == flag).map_or("/linux/namespaces", |(_, at)| at)
    }

    /// True when a process in the container is not the user that it seems to be outside.
    pub fn has_user(&self) -> bool {
        self.user != User::Inherited
    }

    /// True when the kernel will deny setgroups(2): the maps are written without privilege over groups.
    pub fn denies_groups(&self, host: &Host) -> bool {
        const CAP_SETGID: u64 = 1 << 6;
        match &self.user {
            User::New { gids, .. } => host.permitted & CAP_SETGID == 0 && gids.is_only(host.gid),
            _ => false,
        }
    }

    /// The id outside of user 0 inside, as far as the configuration tells.
    pub fn root_ids(&self) -> (u32, u32) {
        match &self.user {
            User::New { uids, gids } => (uids.outside(0).unwrap_or(0), gids.outside(0).unwrap_or(0)),
            _ => (0, 0),
        }
    }
}

/// Plans `linux.namespaces`, `linux.uidMappings`, `linux.gidMappings` and `linux.timeOffsets`.
pub fn plan(linux: Option<&Linux>, host: &Host, report: &mut Report) -> Result<Namespaces> {
    let mut planned = Namespaces {
        cloned: 0,
        unshared: 0,
        joined: Vec::new(),
        expected: None,
        user: User::Inherited,
        time_offsets: None,
        stage: false,
        listed: Vec::new(),
        is_incomplete: report.is_incomplete("/linux/namespaces"),
    };
    let Some(linux) = linux else { return Ok(planned) };
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let at = item("/linux/namespaces", index);
        let (flag, name) = kind(namespace.typ());
        if planned.is_listed(flag) {
            report.refuse(Error::config(at, format!("namespace \"{name}\" is listed twice")))?;
            continue;
        }
        planned.listed.push((flag, at.clone()));
        match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => {
                if let Some(path) = report.keep(path_of(path, &format!("{at}/path")))? {
                    planned.joined.push(Join { flag, path, at });
                }
            }
            None if flag == flag::CGROUP || flag == flag::TIME => planned.unshared |= flag,
            None => planned.cloned |= flag,
        }
    }
    user(linux, &mut planned, host, report)?;
    planned.time_offsets = time_offsets(linux, &planned, report)?;
    planned.stage = needs_stage(&planned, host);
    Ok(planned)
}

fn path_of(path: &Path, at: &str) -> Result<CString> {
    if !path.is_absolute() {
        return Err(Error::config(at, "the path of a namespace must be absolute"));
    }
    c_string(&path.to_string_lossy(), at)
}

fn kind(typ: LinuxNamespaceType) -> (u64, &'static str) {
    match typ {
        LinuxNamespaceType::Mount => (flag::MOUNT, "mount"),
        LinuxNamespaceType::Cgroup => (flag::CGROUP, "cgroup"),
        LinuxNamespaceType::Uts => (flag::UTS, "uts"),
        LinuxNamespaceType::Ipc => (flag::IPC, "ipc"),
        LinuxNamespaceType::User => (flag::USER, "user"),
        LinuxNamespaceType::Pid => (flag::PID, "pid"),
        LinuxNamespaceType::Network => (flag::NETWORK, "network"),
        LinuxNamespaceType::Time => (flag::TIME, "time"),
    }
}

/// A joined user namespace owns what is made after it, and what is joined before a new one must be joined with
/// the privileges outside. The pid namespace is joined by the parent, so it does not count for the second rule, unless
/// the parent could not go back to its own, which may belong to a user namespace around it.
fn needs_stage(planned: &Namespaces, host: &Host) -> bool {
    let one_way = host.is_rootless() && planned.join_of(flag::PID).is_some();
    match planned.user {
        User::Inherited => one_way,
        User::Joined => true,
        User::New { .. } => one_way || planned.joined.iter().any(|join| join.flag != flag::PID),
    }
}

fn user(linux: &Linux, planned: &mut Namespaces, host: &Host, report: &mut Report) -> Result<()> {
    let uids = id_map(linux.uid_mappings().as_deref(), "/linux/uidMappings", report)?;
    let gids = id_map(linux.gid_mappings().as_deref(), "/linux/gidMappings", report)?;
    if planned.is_incomplete {
        return Ok(()); // whatever would be said about the maps might be wrong
    }
    let given = !uids.0.is_empty() || !gids.0.is_empty();
    let pointer = if uids.0.is_empty() { "/linux/gidMappings" } else { "/linux/uidMappings" };
    if !planned.has(flag::USER) {
        if given {
            let problem = "id mappings are given, but no user namespace is listed";
            report.refuse(Error::config(pointer, problem))?;
        }
        if host.is_rootless() && !host.in_user_namespace {
            report.refuse(
                Error::config("/linux/namespaces", "rootless containers require user namespaces")
                    .hint("`teu spec --rootless` writes a configuration for an unprivileged user"),
            )?;
        }
        return Ok(());
    }
    if planned.join_of(flag::USER).is_some() {
        if given {
            report.warn(
                pointer,
                "a user namespace that is joined has its maps; these are only compared with them",
            );
            planned.expected = Some((uids, gids));
        }
        planned.user = User::Joined;
        return Ok(());
    }
    for (map, pointer) in [(&uids, "/linux/uidMappings"), (&gids, "/linux/gidMappings")] {
        if map.0.is_empty() {
            report.refuse(
                Error::config(pointer, "a new user namespace needs id mappings")
                    .hint("give uidMappings and gidMappings, or the path of a namespace to join"),
            )?;
        } else if map.outside(0).is_none() {
            let problem = "id 0 is not mapped, as which the container is set up";
            report.refuse(Error::config(pointer, problem))?;
        }
    }
    planned.user = User::New { uids, gids };
    Ok(())
}

/// Checks a list of mappings at pointer `base` the way the kernel will (user_namespaces(7)).
pub(super) fn id_map(lines: Option<&[LinuxIdMapping]>, base: &str, report: &mut Report) -> Result<IdMap> {
    const MOST_LINES: usize = 340;
    let lines = lines.unwrap_or_default();
    if lines.len() > MOST_LINES {
        report.refuse(Error::config(base, format!("more than {MOST_LINES} id mappings")))?;
    }
    let mut ranges: Vec<IdRange> = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate().take(MOST_LINES) {
        let at = item(base, index);
        let range = IdRange { inside: line.container_id(), outside: line.host_id(), count: line.size() };
        if range.count == 0 {
            report.refuse(Error::config(format!("{at}/size"), "a mapping of size 0 maps nothing"))?;
            continue;
        }
        if range.inside.checked_add(range.count).is_none() || range.outside.checked_add(range.count).is_none()
        {
            report.refuse(Error::config(at, "the mapping exceeds the largest id"))?;
            continue;
        }
        let overlaps = |a: u32, b: u32, other: u32, count: u32| a < other + count && other < b;
        if ranges.iter().any(|r| {
            overlaps(range.inside, range.inside + range.count, r.inside, r.count)
                || overlaps(range.outside, range.outside + range.count, r.outside, r.count)
        }) {
            report.refuse(Error::config(at, "the mapping overlaps an earlier one"))?;
            continue;
        }
        ranges.push(range);
    }
    Ok(IdMap(ranges))
}

fn time_offsets(linux: &Linux, planned: &Namespaces, report: &mut Report) -> Result<Option<String>> {
    let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else {
        return Ok(None);
    };
    let base = "/linux/timeOffsets";
    if !planned.is_new(flag::TIME) && !planned.is_incomplete {
        report.refuse(
            Error::config(base, "time offsets need a new time namespace")
                .hint("add {\"type\": \"time\"} to linux.namespaces"),
        )?;
    }
    let mut clocks: Vec<_> = offsets.iter().collect();
    clocks.sort_by_key(|(clock, _)| clock.as_str());
    let mut text = String::new();
    for (clock, offset) in clocks {
        let mut at = base.to_owned();
        crate::config::push_key(&mut at, clock);
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            report.refuse(Error::config(at, format!("\"{clock}\" is no clock of a time namespace")))?;
            continue;
        }
        let (secs, nanosecs) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        if nanosecs >= 1_000_000_000 {
            report.refuse(Error::config(format!("{at}/nanosecs"), "must be less than a second"))?;
        }
        text.push_str(&format!("{clock} {secs} {nanosecs}\n"));
    }
    Ok(Some(text))
}
