//! The printed plan: who does what, in order, what is still open, and which field asked for it.
//!
//! For people; the format is not stable. Values of environment variables are not shown, they may be secrets.

use std::ffi::CStr;
use std::fmt::Write as _;

use super::Plan;
use super::hooks::Hook;
use super::identity::{Groups, list};
use super::mounts::{Attributes, IdMapping, Kind, Mount, Parameter, attr, propagation};
use super::namespaces::{KINDS, User, flag};
use super::process::{Home, Program};
use super::rootfs::Pivot;
use super::security::Placement;

/// A growing table of four columns.
struct Table(String);

impl Table {
    fn line(&mut self, who: &str, verb: &str, what: &str, at: &str) {
        let what = crate::error::one_line(what);
        let _ = writeln!(self.0, "{who:<7} {verb:<11} {what:<72} {at}");
    }
}

/// Prints the plan.
pub fn show(plan: &Plan) -> String {
    let mut table = Table(String::with_capacity(8192));
    for warning in &plan.warnings {
        table.line("note", "warning", &warning.text, &warning.at);
    }
    before_clone(plan, &mut table);
    host_side(plan, &mut table);
    container_side(plan, &mut table);
    confinement(plan, &mut table);
    last_steps(plan, &mut table);
    table.0
}

fn text(string: &CStr) -> String {
    string.to_string_lossy().into_owned()
}

fn before_clone(plan: &Plan, table: &mut Table) {
    table.line("parent", "reserve", &format!("state directory of {}", plan.id), "");
    for (what, at) in plan.cgroup.lines() {
        table.line("parent", "cgroup", &what, &at);
    }
    let namespaces = &plan.namespaces;
    for join in &namespaces.joined {
        let who = if join.flag == flag::PID { "parent" } else { "child" };
        table.line(who, "setns", &format!("{} {}", kind_name(join.flag), text(&join.path)), &join.at);
    }
    let new: Vec<&str> =
        KINDS.iter().filter(|(flag, ..)| namespaces.cloned & flag != 0).map(|(_, name, ..)| *name).collect();
    let new = if new.is_empty() { "no new namespace".to_owned() } else { format!("new {}", new.join(",")) };
    let stage = if namespaces.stage { ", by a process that joined first" } else { "" };
    table.line("parent", "clone3", &format!("{new}; into the cgroup{stage}"), "/linux/namespaces");
}

fn kind_name(flag: u64) -> &'static str {
    KINDS.iter().find(|(known, ..)| *known == flag).map_or("?", |(_, name, ..)| name)
}

fn host_side(plan: &Plan, table: &mut Table) {
    if let User::New { uids, gids } = &plan.namespaces.user {
        for (map, file, at) in
            [(uids, "uid_map", "/linux/uidMappings"), (gids, "gid_map", "/linux/gidMappings")]
        {
            table.line(
                "parent",
                "write",
                &format!("{file}: {}", map.text().trim_end().replace('\n', ", ")),
                at,
            );
        }
    }
    if let Some(score) = plan.limits.oom_score_adj {
        table.line("parent", "write", &format!("oom_score_adj {score}"), "/process/oomScoreAdj");
    }
    for (limit, at) in &plan.limits.rlimits {
        let show = |value: u64| if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() };
        let what = format!("{} soft {} hard {}", limit.name, show(limit.soft), show(limit.hard));
        table.line("parent", "prlimit", &what, at);
    }
}

fn container_side(plan: &Plan, table: &mut Table) {
    let namespaces = &plan.namespaces;
    for (flag, name) in [(flag::CGROUP, "cgroup"), (flag::TIME, "time")] {
        if namespaces.unshared & flag != 0 {
            table.line("child", "unshare", name, namespaces.pointer(flag));
        }
    }
    if let Some(offsets) = &namespaces.time_offsets {
        let what = format!("timens_offsets: {}", offsets.trim_end().replace('\n', ", "));
        table.line("parent", "write", &what, "/linux/timeOffsets");
    }
    table.line("child", "setsid", "", "");
    if let Some(name) = &plan.keyring {
        table.line("child", "keyring", &text(name), "");
    }
    if namespaces.is_new(flag::NETWORK) {
        table.line("child", "link up", "lo", namespaces.pointer(flag::NETWORK));
    }
    if let Some(name) = &plan.uts.hostname {
        table.line("child", "sethostname", &text(name), "/hostname");
    }
    if let Some(name) = &plan.uts.domainname {
        table.line("child", "setdomain", &text(name), "/domainname");
    }
    let before = match plan.rootfs.propagation {
        Some(p) if matches!(p.bits, propagation::PRIVATE | propagation::UNBINDABLE) => "private",
        _ => "slave",
    };
    table.line("child", "propagation", &format!("/ recursively {before}"), "/linux/rootfsPropagation");
    table.line("child", "rootfs", &plan.rootfs.path.to_string_lossy(), "/root/path");
    for mount in &plan.mounts {
        table.line("child", "mount", &mount_line(mount), &mount.at);
    }
    if plan.devices.populate {
        for node in &plan.devices.nodes {
            let how = if plan.devices.bind_nodes { "bind from the host" } else { "mknod" };
            let (major, minor) = node.numbers;
            let what = format!("{} {major}:{minor} mode {:o} ({how})", node.shown, node.mode & 0o7777);
            table.line("child", "device", &what, &node.at);
        }
        table.line("child", "symlink", "/dev/{fd,stdin,stdout,stderr,core}, /dev/ptmx to pts/ptmx", "");
    }
}

fn mount_line(mount: &Mount) -> String {
    let mut line = match &mount.kind {
        Kind::Bind { source, recursive, .. } => {
            let recursive = if *recursive { "rbind" } else { "bind" };
            format!("{recursive} {} on {} [fd from parent]", text(source), mount.shown)
        }
        Kind::FileSystem { fstype, .. } => format!("{} on {}", text(fstype), mount.shown),
        Kind::Cgroup { .. } => format!("cgroup view on {}", mount.shown),
        Kind::Remount => format!("change {}", mount.shown),
    };
    let mut words = attribute_words(mount.attributes, "");
    words.extend(attribute_words(mount.recursive, "r"));
    for (bits, recursive) in &mount.propagation {
        let name = match *bits {
            propagation::PRIVATE => "private",
            propagation::SLAVE => "slave",
            propagation::SHARED => "shared",
            _ => "unbindable",
        };
        words.push(format!("{}{name}", if *recursive { "r" } else { "" }));
    }
    match &mount.id_mapping {
        Some((IdMapping::OfContainer, _)) => words.push("ids as the container".to_owned()),
        Some((IdMapping::Own { .. }, _)) => words.push("ids mapped".to_owned()),
        None => {}
    }
    if let Kind::FileSystem { parameters, copy_up, .. } = &mount.kind {
        words.extend(parameters.iter().map(|parameter| match parameter {
            Parameter::Flag(name) => text(name),
            Parameter::String(name, value) => format!("{}={}", text(name), text(value)),
        }));
        if *copy_up {
            words.push("with the content of the destination".to_owned());
        }
    }
    if !words.is_empty() {
        let _ = write!(line, ": {}", words.join(","));
    }
    line
}

fn attribute_words(attributes: Attributes, prefix: &str) -> Vec<String> {
    const WORDS: [(u64, &str, &str); 6] = [
        (attr::RDONLY, "ro", "rw"),
        (attr::NOSUID, "nosuid", "suid"),
        (attr::NODEV, "nodev", "dev"),
        (attr::NOEXEC, "noexec", "exec"),
        (attr::NODIRATIME, "nodiratime", "diratime"),
        (attr::NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ];
    let mut words = Vec::new();
    for (bit, set, cleared) in WORDS {
        if attributes.set & bit != 0 {
            words.push(format!("{prefix}{set}"));
        } else if attributes.clear & bit != 0 {
            words.push(format!("{prefix}{cleared}"));
        }
    }
    if attributes.clear & attr::ATIME != 0 {
        let word = match attributes.set & attr::ATIME {
            attr::NOATIME => "noatime",
            attr::STRICTATIME => "strictatime",
            _ => "relatime",
        };
        words.push(format!("{prefix}{word}"));
    }
    words
}

fn hook_lines(who: &str, hooks: &[Hook], table: &mut Table) {
    for hook in hooks {
        let timeout = hook.timeout.map_or(String::new(), |t| format!(" [at most {} s]", t.as_secs()));
        table.line(who, "hook", &format!("{}: {}{timeout}", hook.name, text(&hook.path)), &hook.at);
    }
}

fn confinement(plan: &Plan, table: &mut Table) {
    hook_lines("parent", &plan.hooks.prestart, table);
    hook_lines("parent", &plan.hooks.create_runtime, table);
    hook_lines("child", &plan.hooks.create_container, table);
    let pivot = match plan.rootfs.pivot {
        Pivot::PivotRoot => "pivot_root",
        Pivot::MoveRoot => "move root",
    };
    table.line("child", pivot, "the old root is detached", "/root/path");
    for sysctl in &plan.sysctls {
        table.line(
            "child",
            "sysctl",
            &format!("{} = {}", text(&sysctl.path), text(&sysctl.value)),
            &sysctl.at,
        );
    }
    for item in &plan.rootfs.read_only_paths {
        table.line("child", "read-only", &item.shown, &item.at);
    }
    for item in &plan.rootfs.masked {
        table.line("child", "mask", &item.shown, &item.at);
    }
    if plan.rootfs.read_only {
        table.line("child", "read-only", "/", "/root/readonly");
    }
    if plan.process.terminal.is_some() {
        table.line(
            "child",
            "terminal",
            "from the container's devpts, also /dev/console",
            "/process/terminal",
        );
    }
    if let Some(profile) = &plan.security.apparmor {
        table.line("child", "apparmor", &text(profile), "/process/apparmorProfile");
    }
    if let Some(label) = &plan.security.selinux {
        table.line("child", "selinux", &text(label), "/process/selinuxLabel");
    }
}

fn last_steps(plan: &Plan, table: &mut Table) {
    let (identity, process) = (&plan.identity, &plan.process);
    table.line("child", "chdir", &text(&process.cwd), "/process/cwd");
    let groups = match &identity.groups {
        Groups::Set(groups) => format!("{groups:?}"),
        Groups::Keep => "those of the caller".to_owned(),
    };
    let what =
        format!("uid {} gid {} groups {groups} umask {:04o}", identity.uid, identity.gid, identity.umask);
    table.line("child", "identity", &what, &format!("{}/user", identity.base));
    let sets = &identity.capabilities;
    for (name, set) in [
        ("bounding", sets.bounding),
        ("effective", sets.effective),
        ("permitted", sets.permitted),
        ("inheritable", sets.inheritable),
        ("ambient", sets.ambient),
    ] {
        let names = if set == 0 { "none".to_owned() } else { list(set).replace("CAP_", "") };
        table.line(
            "child",
            "capability",
            &format!("{name}: {names}"),
            &format!("{}/capabilities/{name}", identity.base),
        );
    }
    if identity.no_new_privileges {
        table.line("child", "prctl", "no_new_privs", &format!("{}/noNewPrivileges", identity.base));
    }
    if process.home == Home::Lookup {
        table.line("child", "env", "HOME  [from /etc/passwd inside the rootfs: at apply]", "/process/env");
    }
    let names: Vec<String> = process
        .environment
        .strings()
        .iter()
        .map(|entry| text(entry).split('=').next().unwrap_or_default().to_owned())
        .collect();
    table.line("child", "env", &format!("names: {}", names.join(" ")), "/process/env");
    table.line("child", "wait", "for start", "");
    hook_lines("child", &plan.hooks.start_container, table);
    if let Some(seccomp) = &plan.security.seccomp {
        let when = match seccomp.placement {
            Placement::Last => "last of all",
            Placement::LastWithPrivilege => "last, then CAP_SYS_ADMIN goes",
            Placement::BeforeCreated => "before the container is created, for its listener",
        };
        table.line("child", "seccomp", &format!("filter loaded {when}"), "/linux/seccomp");
    }
    let program = match &process.program {
        Program::Path(path) => format!("{:?}", text(path)),
        Program::Search { name, .. } => {
            format!("{:?}  [searched in PATH inside the rootfs: at apply]", text(name))
        }
    };
    table.line("child", "execve", &program, "/process/args/0");
    hook_lines("parent", &plan.hooks.poststart, table);
    hook_lines("parent", &plan.hooks.poststop, table);
}
