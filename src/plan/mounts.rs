//! `mounts`: option strings become attributes, propagation, file system parameters and switches.
//!
//! Source: config.md#mounts, config.md#linux-mount-options; mount_setattr(2), fsconfig(2), mount(8).

mod options;
mod overlay;
pub mod owner;

use std::ffi::CString;
use std::path::Path;

use oci_spec::runtime::{LinuxIdMapping, Mount as ConfigMount, Spec};

use super::namespaces::{IdMap, Namespaces, User, flag, id_map};
use super::{Request, c_string, item};
use crate::error::{Error, Result};
use crate::report::Report;
pub use options::option_names;
use options::{Options, read_options};

pub use crate::abi::{attr, propagation};

/// Attributes to set and to clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Set.
    pub set: u64,
    /// Cleared first.
    pub clear: u64,
}

impl Attributes {
    fn set(&mut self, bits: u64) {
        self.set |= bits;
        self.clear &= !bits;
    }

    /// Sets what nothing was said about.
    fn set_unless_cleared(&mut self, bits: u64) {
        self.set |= bits & !self.clear;
    }

    fn clear(&mut self, bits: u64) {
        self.clear |= bits;
        self.set &= !bits;
    }

    /// An access time value: the three exclude each other, so the mask is cleared. 0 is relatime.
    fn atime(&mut self, value: u64) {
        self.set = self.set & !attr::ATIME | value;
        self.clear |= attr::ATIME;
    }

    /// Takes an access time value back: relatime, which is the default, unless another one was asked for.
    fn not_atime(&mut self, value: u64) {
        if self.clear & attr::ATIME == 0 || self.set & attr::ATIME == value {
            self.atime(0);
        }
    }

    /// This change and then another one, as one.
    fn then(self, later: Attributes) -> Attributes {
        let set = self.set & !later.clear | later.set;
        Attributes { set, clear: (self.clear | later.clear) & !(set & !attr::ATIME) }
    }

    /// True when nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        *self == Attributes::default()
    }
}

/// One parameter of a file system context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// A word.
    Flag(CString),
    /// `key=value`.
    String(CString, CString),
}

/// Ids of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdMapping {
    /// Mapped as the container's user namespace maps.
    OfContainer,
    /// Mapped by these ranges.
    Own {
        /// User ids.
        uids: IdMap,
        /// Group ids.
        gids: IdMap,
    },
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A part of the host's tree.
    Bind {
        /// Absolute path on the host.
        source: CString,
        /// With the mounts below it.
        recursive: bool,
        /// The source itself may be a symbolic link, which is bound.
        no_follow: bool,
        /// A symbolic link at the source is made again at the destination instead.
        copy_symlink: bool,
    },
    /// A new instance of a file system.
    FileSystem {
        /// Type.
        fstype: CString,
        /// Name of the source, shown in mountinfo.
        source: CString,
        /// Parameters, in order.
        parameters: Vec<Parameter>,
        /// The content of the destination is copied into the new tmpfs.
        copy_up: bool,
        /// The mode of an existing destination is kept, unless the parameters say `mode=`.
        keep_mode: bool,
        /// The label of its root, where the file system takes none as a parameter.
        label: Option<CString>,
    },
    /// The container's view of the cgroups, whatever the host has.
    Cgroup {
        /// Parameters for cgroup v2.
        parameters: Vec<Parameter>,
    },
    /// Only the attributes of what is mounted there change.
    Remount,
}

/// One mount.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Path inside the root, without leading slash and without `.`; links are resolved when it is done.
    pub destination: CString,
    /// The destination as written, for messages.
    pub shown: String,
    /// What.
    pub kind: Kind,
    /// Attributes of the mount.
    pub attributes: Attributes,
    /// Attributes of the mount and everything below it.
    pub recursive: Attributes,
    /// Propagation changes, in order: bits, and whether recursive.
    pub propagation: Vec<(u64, bool)>,
    /// The final component of the destination is not followed.
    pub dest_no_follow: bool,
    /// Read-only is set at the end, because device nodes and mount points must be made first.
    pub late_read_only: bool,
    /// Id mapping, and whether recursive.
    pub id_mapping: Option<(IdMapping, bool)>,
    /// JSON pointer.
    pub at: String,
}

impl Mount {
    /// True when the destination is exactly this path (without leading slash).
    pub fn is_at(&self, path: &str) -> bool {
        self.destination.as_bytes() == path.as_bytes()
    }

    /// True when making it opens no device and makes no node, so that the filter of devices has no say in it. Only the
    /// file systems that every container has are known to be like that.
    pub fn is_without_devices(&self) -> bool {
        match &self.kind {
            Kind::Bind { .. } | Kind::Cgroup { .. } | Kind::Remount => true,
            Kind::FileSystem { fstype, copy_up, .. } => {
                let known: [&[u8]; 5] = [b"proc", b"sysfs", b"tmpfs", b"devpts", b"mqueue"];
                !copy_up && known.contains(&fstype.to_bytes())
            }
        }
    }

    /// True for a bind.
    pub fn is_bind(&self) -> bool {
        matches!(self.kind, Kind::Bind { .. })
    }
}

/// Plans `mounts`.
pub fn plan(
    spec: &Spec,
    request: &Request,
    namespaces: &Namespaces,
    report: &mut Report,
) -> Result<Vec<Mount>> {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let mut planned = Vec::with_capacity(mounts.len() + 1);
    for (index, mount) in mounts.iter().enumerate() {
        planned.extend(one(mount, item("/mounts", index), request, namespaces, report)?);
    }
    if let Some(directory) = &request.notify_directory {
        planned.push(notify_mount(directory)?);
    }
    Ok(planned)
}

fn one(
    mount: &ConfigMount,
    at: String,
    request: &Request,
    namespaces: &Namespaces,
    report: &mut Report,
) -> Result<Option<Mount>> {
    let pointer = |member: &str| format!("{at}/{member}");
    let shown = mount.destination().to_string_lossy().into_owned();
    let destination = destination(&shown, &pointer("destination"), report);
    let destination = report.keep(destination)?;
    let words = mount.options().as_deref().unwrap_or_default();
    let options = read_options(words);
    let mut made = Mount {
        destination: destination.clone().unwrap_or_default(),
        shown,
        kind: Kind::Remount,
        attributes: options.attributes,
        recursive: options.recursive,
        propagation: options.propagation.clone(),
        dest_no_follow: options.dest_no_follow.is_some(),
        late_read_only: false,
        id_mapping: id_mapping(mount, &options, namespaces, &at, report)?,
        at: at.clone(),
    };
    let fstype = mount.typ().as_deref().unwrap_or_default();
    if let Some(recursive) = options.bind.filter(|_| !options.remount) {
        let kind = report.keep(bind(mount, &options, recursive, request, &at))?;
        made.kind = kind.clone().unwrap_or(Kind::Remount);
        if is_sysfs_of_the_host(&made) && options.attributes.set & attr::RDONLY != 0 {
            made.recursive.set_unless_cleared(attr::RDONLY);
        }
        report.keep(check_special_destination(&made, fstype, &pointer("destination"), true))?;
        return Ok(destination.and(kind).map(|_| made));
    }
    if options.remount {
        let possible = only_for_binds(&options, &at)
            .and_then(|()| refuse_in_remount(&options, made.id_mapping.is_some(), &at));
        let possible = report.keep(possible)?;
        return Ok(destination.and(possible).map(|()| made));
    }
    let filled = report.keep(file_system(mount, &options, &mut made, fstype, &request.bundle))?;
    report.keep(check_special_destination(&made, fstype, &pointer("destination"), false))?;
    owner::check(&made.kind, namespaces, &pointer("options"), report)?;
    if namespaces.has_user()
        && let Some((IdMapping::Own { .. }, _)) = &made.id_mapping
    {
        let problem = "a user namespace has no power over other ids for a file system of its own";
        report.refuse(
            Error::config(pointer("uidMappings"), problem)
                .hint("without mappings its ids are those of the container"),
        )?;
    }
    if fstype == "mqueue" && !namespaces.has(flag::IPC) && namespaces.has_user() {
        report.warn(at, "mqueue needs an ipc namespace of its own in a user namespace");
    }
    Ok(destination.and(filled).map(|()| made))
}

/// Fills in what is mounted, when it is a new instance of a file system.
fn file_system(
    mount: &ConfigMount,
    options: &Options,
    made: &mut Mount,
    fstype: &str,
    bundle: &Path,
) -> Result<()> {
    let at = made.at.as_str();
    let pointer = |member: &str| format!("{at}/{member}");
    only_for_binds(options, at)?;
    match fstype {
        "" => {
            return Err(Error::config(pointer("type"), "a mount needs a type, or the option \"bind\"")
                .hint("add \"rbind\" to the options to mount a directory of the host"));
        }
        "bind" | "none" => {
            return Err(Error::config(
                pointer("options"),
                format!("type \"{fstype}\" mounts nothing by itself"),
            )
            .hint("add \"bind\" or \"rbind\" to the options"));
        }
        _ => {}
    }
    if fstype != "tmpfs"
        && let Some(index) = options.copy_up
    {
        return Err(Error::config(pointer(&format!("options/{index}")), "\"tmpcopyup\" is only for tmpfs"));
    }
    let mut parameters = parameters(options, at, fstype)?;
    if fstype == "overlay" {
        overlay::resolve(&mut parameters, bundle, &pointer("options"))?;
    }
    // Nothing is below a new file system yet, and the recursive options come last.
    made.attributes = options.attributes.then(options.recursive);
    made.recursive = Attributes::default();
    made.late_read_only = fstype == "tmpfs" && made.attributes.set & attr::RDONLY != 0;
    let source = mount.source().as_ref().map_or(fstype.to_owned(), |s| s.to_string_lossy().into_owned());
    made.kind = match fstype {
        "cgroup" => Kind::Cgroup { parameters },
        _ => Kind::FileSystem {
            keep_mode: fstype == "tmpfs" && !parameters.iter().any(is_mode),
            fstype: c_string(fstype, &pointer("type"))?,
            source: c_string(if source.is_empty() { fstype } else { &source }, &pointer("source"))?,
            parameters,
            copy_up: options.copy_up.is_some(),
            label: None,
        },
    };
    Ok(())
}

fn only_for_binds(options: &Options, at: &str) -> Result<()> {
    for (present, what) in
        [(options.copy_symlink, "copy-symlink"), (options.source_no_follow, "src-nofollow")]
    {
        if let Some(index) = present {
            let problem = format!("\"{what}\" is only for bind mounts");
            return Err(Error::config(format!("{at}/options/{index}"), problem));
        }
    }
    Ok(())
}

/// A remount changes attributes of the mount and nothing else: what belongs to the file system might be the host's.
fn refuse_in_remount(options: &Options, has_id_mapping: bool, at: &str) -> Result<()> {
    let refused = |index: usize, word: &str| {
        Err(Error::config(
            format!("{at}/options/{index}"),
            format!("\"{word}\" cannot be changed by a remount"),
        ))
    };
    if let Some((index, word)) = options.data.first() {
        return refused(*index, word);
    }
    if let Some((index, word)) = options.superblock.first() {
        return refused(*index, word);
    }
    if let Some(index) = options.copy_up {
        return refused(index, "tmpcopyup");
    }
    if has_id_mapping {
        return Err(Error::config(at, "the ids of a mount cannot be mapped by a remount"));
    }
    Ok(())
}

/// /sys of the host with all that is mounted there. Read-only is meant for the cgroups below it too: through them
/// a container would leave its own (CVE-2023-25809).
fn is_sysfs_of_the_host(mount: &Mount) -> bool {
    matches!(&mount.kind, Kind::Bind { source, recursive: true, .. }
        if source.to_bytes().strip_suffix(b"/").unwrap_or(source.to_bytes()) == b"/sys")
}

fn is_mode(parameter: &Parameter) -> bool {
    matches!(parameter, Parameter::String(key, _) if key.as_c_str() == c"mode")
}

fn bind(
    mount: &ConfigMount,
    options: &Options,
    recursive: bool,
    request: &Request,
    at: &str,
) -> Result<Kind> {
    if let Some((index, word)) = options.data.first() {
        return Err(Error::config(
            format!("{at}/options/{index}"),
            format!("\"{word}\" is an option of a file system and cannot be given for a bind mount"),
        ));
    }
    if let Some((index, name)) = options.superblock.first() {
        return Err(Error::config(
            format!("{at}/options/{index}"),
            format!("\"{name}\" would change the mounted file system for the whole host"),
        ));
    }
    if let Some(index) = options.copy_up {
        return Err(Error::config(format!("{at}/options/{index}"), "\"tmpcopyup\" is only for tmpfs"));
    }
    if options.copy_symlink.is_some()
        && let Some(index) = options.source_no_follow.or(options.dest_no_follow)
    {
        return Err(Error::config(
            format!("{at}/options/{index}"),
            "cannot be combined with \"copy-symlink\"",
        ));
    }
    let source = match mount.source() {
        Some(source) if !source.as_os_str().is_empty() => request.bundle.join(source),
        _ => return Err(Error::config(format!("{at}/source"), "a bind mount needs a source")),
    };
    Ok(Kind::Bind {
        source: c_string(&source.to_string_lossy(), &format!("{at}/source"))?,
        recursive,
        no_follow: options.source_no_follow.is_some(),
        copy_symlink: options.copy_symlink.is_some(),
    })
}

/// What is not an option of mounts is a parameter of the file system. A word with commas is split as mount(8)
/// would, except that labels keep theirs.
fn parameters(options: &Options, at: &str, fstype: &str) -> Result<Vec<Parameter>> {
    let mut all = Vec::new();
    // A block device that is mounted read-only must not be written to by its file system either.
    let virtual_fs =
        matches!(fstype, "tmpfs" | "proc" | "sysfs" | "devpts" | "mqueue" | "cgroup" | "cgroup2");
    if !virtual_fs && options.attributes.set & attr::RDONLY != 0 {
        all.push(Parameter::Flag(c"ro".to_owned()));
    }
    for (_, name) in &options.superblock {
        all.push(Parameter::Flag(c_string(name, at)?));
    }
    for (index, word) in &options.data {
        let pointer = format!("{at}/options/{index}");
        let quoted = word.contains('"') || fstype == "overlay";
        let pieces: Vec<&str> = if quoted { vec![word] } else { word.split(',').collect() };
        for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
            all.push(match piece.split_once('=') {
                Some((key, value)) => {
                    let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
                    Parameter::String(c_string(key, &pointer)?, c_string(value, &pointer)?)
                }
                None => Parameter::Flag(c_string(piece, &pointer)?),
            });
        }
    }
    Ok(all)
}

fn id_mapping(
    mount: &ConfigMount,
    options: &Options,
    namespaces: &Namespaces,
    at: &str,
    report: &mut Report,
) -> Result<Option<(IdMapping, bool)>> {
    let recursive = options.id_map == Some(true);
    let mut map = |list: &Option<Vec<LinuxIdMapping>>, member: &str| {
        let list = list.as_deref().filter(|list| !list.is_empty());
        list.map(|list| id_map(Some(list), &format!("{at}/{member}"), report)).transpose()
    };
    let (uids, gids) = (map(mount.uid_mappings(), "uidMappings")?, map(mount.gid_mappings(), "gidMappings")?);
    let chosen = match (uids, gids) {
        (Some(uids), Some(gids)) => Ok(Some((IdMapping::Own { uids, gids }, recursive))),
        (Some(_), None) => {
            Err(Error::config(format!("{at}/gidMappings"), "uidMappings and gidMappings go together"))
        }
        (None, Some(_)) => {
            Err(Error::config(format!("{at}/uidMappings"), "uidMappings and gidMappings go together"))
        }
        (None, None) if options.id_map.is_none() => Ok(None),
        (None, None) if namespaces.user == User::Inherited => Err(Error::config(
            format!("{at}/options"),
            "an id-mapped mount needs mappings of its own or a user namespace",
        )),
        (None, None) => Ok(Some((IdMapping::OfContainer, recursive))),
    };
    Ok(report.keep(chosen)?.flatten())
}

/// The path without leading slash, see [`normalize`]. Links are resolved in the root, when it is mounted.
fn destination(shown: &str, pointer: &str, report: &mut Report) -> Result<CString> {
    if shown.is_empty() {
        return Err(Error::config(pointer, "the destination of a mount must not be empty"));
    }
    if !shown.starts_with('/') {
        report.warn(pointer, "a relative destination is deprecated, taken as relative to /");
    }
    let clean = normalize(shown);
    if clean.is_empty() {
        return Err(Error::config(pointer, format!("the destination {shown} is the root of the container")));
    }
    c_string(&clean, pointer)
}

/// Resolves `.` and `..` in the text, as far as text can tell; `..` at the top stays at the top.
pub fn normalize(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The files below /proc that lxcfs and others may cover.
const PROC_FILES: [&str; 9] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "sys/kernel/ns_last_pid",
];

/// Nothing may cover /proc or a part of it, except procfs itself: labels and masks are written there.
///
/// CVE-2019-16884. The child checks again what the destination really is.
fn check_special_destination(mount: &Mount, fstype: &str, pointer: &str, is_bind: bool) -> Result<()> {
    let Ok(path) = mount.destination.to_str() else { return Ok(()) };
    let Some(below) = path.strip_prefix("proc").filter(|rest| rest.is_empty() || rest.starts_with('/'))
    else {
        return Ok(());
    };
    let below = below.trim_start_matches('/');
    if below.is_empty() {
        // A bind onto /proc must bind a procfs; that can only be seen on the descriptor.
        if fstype == "proc" || is_bind {
            return Ok(());
        }
        return Err(Error::config(
            pointer,
            format!("\"{fstype}\" cannot be mounted on /proc, only proc can"),
        ));
    }
    if is_bind && (PROC_FILES.contains(&below) || below == "sys/crypto/fips_enabled") {
        return Ok(());
    }
    Err(Error::config(pointer, format!("{} cannot be mounted because it is inside /proc", mount.shown)))
}

/// The directory that holds the readiness socket, mounted read-only at /run/notify.
fn notify_mount(directory: &std::path::Path) -> Result<Mount> {
    Ok(Mount {
        destination: c"run/notify".to_owned(),
        shown: "/run/notify".to_owned(),
        kind: Kind::Bind {
            source: c_string(&directory.to_string_lossy(), "")?,
            recursive: false,
            no_follow: false,
            copy_symlink: false,
        },
        attributes: Attributes { set: attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC, clear: 0 },
        recursive: Attributes::default(),
        propagation: Vec::new(),
        dest_no_follow: false,
        late_read_only: false,
        id_mapping: None,
        at: "/mounts".to_owned(),
    })
}
