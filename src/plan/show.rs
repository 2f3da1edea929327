//! The printed plan: who does what, in order, what is still open, and which field asked for it.
//!
//! For people; the format is not stable. Values of environment variables are not shown, they may be secrets.

use std::ffi::CStr;
use std::fmt::Write as _;

use super::Plan;
use super::cgroup::{Driver, Mode};
use super::devices::Node;
use super::hooks::Hook;
use super::identity::{Groups, Set, list};
use super::intel_rdt::{IntelRdt, Origin};
use super::mounts::{Attributes, IdMapping, Kind, Mount, Parameter, attr, propagation};
use super::namespaces::{KINDS, Namespaces, User, flag};
use super::process::{Home, Program, scheduler_words};
use super::rootfs::Pivot;
use super::security::{Placement, memory_policy_words};

/// A growing table of four columns.
struct Table(String);

impl Table {
    fn line(&mut self, who: &str, verb: &str, what: &str, at: &str) {
        let line = format!("{who:<7} {verb:<11} {what:<72} {at}");
        let _ = writeln!(self.0, "{}", crate::error::one_line(line.trim_end()));
    }
}

/// Prints the plan.
pub fn show(plan: &Plan) -> String {
    let mut table = Table(String::with_capacity(8192));
    for warning in &plan.warnings {
        table.line("note", "warning", &warning.text, &warning.at);
    }
    clone(plan, &mut table);
    namespaces(plan, &mut table);
    mounts(plan, &mut table);
    root(plan, &mut table);
    identity(plan, &mut table);
    start(plan, &mut table);
    table.0
}

fn text(string: &CStr) -> String {
    string.to_string_lossy().into_owned()
}

/// Up to the init process, and what only the host can give it.
fn clone(plan: &Plan, table: &mut Table) {
    let namespaces = &plan.namespaces;
    table.line("parent", "reserve", &format!("state directory of {}", plan.id), "");
    // A unit is made around a process, so it follows the clone.
    let unit = plan.cgroup.unit();
    if unit.is_none() {
        cgroup(plan, table);
    }
    if let Some(asked) = &plan.intel_rdt {
        for what in resctrl(asked) {
            table.line("parent", "resctrl", &what, "/linux/intelRdt");
        }
    }
    joins("parent", namespaces, table, |flag| flag == flag::PID && !namespaces.stage);
    let mut who = "parent";
    if namespaces.stage {
        table.line("parent", "clone3", "a process that joins namespaces first", "/linux/namespaces");
        // What belongs to the user namespace is refused before it, and tried again after it.
        joins("stage", namespaces, table, |flag| flag != flag::USER);
        joins("stage", namespaces, table, |flag| flag == flag::USER);
        who = "stage";
        if namespaces.stage_makes_time() {
            time("stage", "stage", namespaces, table);
        }
    }
    let new: Vec<&str> =
        KINDS.iter().filter(|(flag, ..)| namespaces.cloned & flag != 0).map(|(_, name, ..)| *name).collect();
    let new = if new.is_empty() { "no new namespace".to_owned() } else { format!("new {}", new.join(",")) };
    let place = match (plan.cgroup.driver, plan.cgroup.mode) {
        (Driver::Disabled, _) => "",
        (Driver::Systemd, _) => "; then into the unit",
        (_, Mode::V1) => "; then into the cgroup",
        (_, Mode::V2 | Mode::Hybrid) => "; into the cgroup",
    };
    table.line(who, "clone3", &format!("the init process: {new}{place}"), "/linux/namespaces");
    if unit.is_some() {
        cgroup(plan, table);
    }
    for (what, at) in plan.cgroup.device_lines() {
        table.line("parent", "cgroup", &what, &at);
    }
    if let User::New { uids, gids } = &namespaces.user {
        for (map, file, at) in
            [(uids, "uid_map", "/linux/uidMappings"), (gids, "gid_map", "/linux/gidMappings")]
        {
            table.line("parent", "write", &format!("{file}: {}", lines(&map.text())), at);
        }
    }
    if plan.delegates_cgroup {
        table.line("parent", "chown", &format!("the cgroup to user {}", plan.identity.uid), "/mounts");
    }
    if let Some(score) = plan.limits.oom_score_adj {
        table.line("parent", "write", &format!("oom_score_adj {score}"), "/process/oomScoreAdj");
    }
    for device in &plan.net_devices {
        let renamed = device.new_name.as_ref().map_or(String::new(), |new| format!(" as {new}"));
        let what = format!("{}{renamed} into the network namespace, with its addresses", device.name);
        table.line("parent", "link move", &what, &device.at);
    }
}

/// The group of the resctrl file system and what is written there.
fn resctrl(asked: &IntelRdt) -> Vec<String> {
    let name = if asked.group.is_empty() { "the default group" } else { &asked.group };
    let how = match asked.origin {
        Origin::Own => "made, and removed with the container",
        Origin::Shared => "made if it is missing, else it must have the same l3CacheSchema and memBwSchema",
        Origin::Existing => "must exist",
    };
    let mut lines = vec![format!("{name}: {how}")];
    lines.extend(asked.lines().into_iter().map(|line| format!("schemata {line}")));
    lines.extend(asked.monitor.iter().map(|name| format!("mon_groups/{name}")));
    lines
}

fn cgroup(plan: &Plan, table: &mut Table) {
    for (what, at) in plan.cgroup.lines() {
        table.line("parent", "cgroup", &what, &at);
    }
}

fn joins(who: &str, namespaces: &Namespaces, table: &mut Table, which: impl Fn(u64) -> bool) {
    for join in namespaces.joined.iter().filter(|join| which(join.flag)) {
        table.line(who, "setns", &format!("{} {}", kind_name(join.flag), text(&join.path)), &join.at);
    }
}

fn kind_name(flag: u64) -> &'static str {
    KINDS.iter().find(|(known, ..)| *known == flag).map_or("?", |(_, name, ..)| name)
}

/// Several lines of a file as one.
fn lines(text: &str) -> String {
    text.trim_end().replace('\n', ", ")
}

/// Namespaces that the clone did not make, and what is set in them.
fn namespaces(plan: &Plan, table: &mut Table) {
    let namespaces = &plan.namespaces;
    if !namespaces.stage {
        joins("child", namespaces, table, |flag| flag & (flag::PID | flag::CGROUP) == 0);
    }
    joins("child", namespaces, table, |flag| flag == flag::CGROUP && !namespaces.stage);
    if namespaces.unshared & flag::CGROUP != 0 {
        table.line("child", "unshare", "cgroup", namespaces.pointer(flag::CGROUP));
    }
    if namespaces.unshared & flag::TIME != 0 && !namespaces.stage_makes_time() {
        time("child", "parent", namespaces, table);
    }
    table.line("child", "setsid", "", "");
    if let Some(name) = &plan.keyring {
        table.line("child", "keyring", &format!("{}-*", text(name)), "");
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
}

/// The time namespace: who makes it, and who writes its offsets.
fn time(maker: &str, writer: &str, namespaces: &Namespaces, table: &mut Table) {
    table.line(maker, "unshare", "time", namespaces.pointer(flag::TIME));
    if let Some(offsets) = &namespaces.time_offsets {
        let what = format!("timens_offsets: {}", lines(offsets));
        table.line(writer, "write", &what, "/linux/timeOffsets");
    }
}

/// The tree of the container.
fn mounts(plan: &Plan, table: &mut Table) {
    let at = "/linux/rootfsPropagation";
    let own_mounts = plan.rootfs.pivot != Pivot::Chroot;
    if own_mounts {
        table.line("child", "propagation", "/ recursively slave", at);
    }
    if let Some(asked) = plan.rootfs.propagation
        && matches!(asked.bits, propagation::PRIVATE | propagation::UNBINDABLE)
    {
        let below = if asked.recursive { " recursively" } else { "" };
        table.line("child", "propagation", &format!("/{below} private"), at);
    }
    let receives = match plan.rootfs.propagation {
        Some(asked) if asked.bits == propagation::SLAVE => "  [what the host mounts there later arrives]",
        _ if !own_mounts => "  [a copy, mounted in the namespace of the host until delete]",
        _ => "",
    };
    table.line("child", "rootfs", &format!("{}{receives}", plan.rootfs.path.display()), "/root/path");
    for mount in &plan.mounts {
        table.line("child", "mount", &mount_line(mount), &mount.at);
    }
    if plan.devices.populate {
        devices(plan, table);
    }
}

fn devices(plan: &Plan, table: &mut Table) {
    let how = if plan.devices.bind_nodes { "bind from the host" } else { "mknod" };
    let (configured, default): (Vec<&Node>, Vec<&Node>) =
        plan.devices.nodes.iter().partition(|node| node.configured);
    let names: Vec<&str> = default.iter().map(|node| node.shown.trim_start_matches("/dev/")).collect();
    table.line("child", "device", &format!("/dev/{{{}}} ({how})", names.join(",")), "/linux/devices");
    for node in configured {
        let (major, minor) = node.numbers;
        let what = match node.mode & libc::S_IFMT {
            libc::S_IFIFO => format!("fifo{} (mknod)", owner(node, false)),
            libc::S_IFBLK => format!("block {major}:{minor}{} ({how})", owner(node, plan.devices.bind_nodes)),
            _ => format!("char {major}:{minor}{} ({how})", owner(node, plan.devices.bind_nodes)),
        };
        table.line("child", "device", &format!("{} {what}", node.shown), &node.at);
    }
    table.line("child", "symlink", "/dev/{fd,stdin,stdout,stderr,core}, /dev/ptmx to pts/ptmx", "");
}

/// Mode and owner, which a node that is bound brings along.
fn owner(node: &Node, bound: bool) -> String {
    match bound {
        true => String::new(),
        false => format!(" mode {:04o} owner {}:{}", node.mode & 0o7777, node.uid, node.gid),
    }
}

fn mount_line(mount: &Mount) -> String {
    let mut line = match &mount.kind {
        Kind::Bind { source, recursive, no_follow, copy_symlink } => {
            let how = if *recursive { "rbind" } else { "bind" };
            let what = match (copy_symlink, no_follow) {
                (true, _) => " or the same link",
                (_, true) => " itself, even a link,",
                _ => "",
            };
            format!("{how} {}{what} on {} [fd from parent]", text(source), mount.shown)
        }
        Kind::FileSystem { fstype, source, .. } if source == fstype => {
            format!("{} on {}", text(fstype), mount.shown)
        }
        Kind::FileSystem { fstype, source, .. } => {
            format!("{} {} on {}", text(fstype), text(source), mount.shown)
        }
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
    if !words.is_empty() {
        let _ = write!(line, ": {}", words.join(","));
    }
    if let Kind::FileSystem { parameters, .. } | Kind::Cgroup { parameters } = &mount.kind
        && !parameters.is_empty()
    {
        let parameters: Vec<String> = parameters.iter().map(parameter_text).collect();
        let _ = write!(line, "; {}", parameters.join(","));
    }
    for note in notes(mount) {
        let _ = write!(line, " [{note}]");
    }
    line
}

fn parameter_text(parameter: &Parameter) -> String {
    match parameter {
        Parameter::Flag(name) => text(name),
        Parameter::String(name, value) => format!("{}={}", text(name), text(value)),
    }
}

/// What is done around the mount itself.
fn notes(mount: &Mount) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some((mapping, recursive)) = &mount.id_mapping {
        let below = if *recursive { ", below too" } else { "" };
        notes.push(match mapping {
            IdMapping::OfContainer => format!("ids as the container{below}"),
            IdMapping::Own { uids, gids } => {
                format!("uids {}; gids {}{below}", lines(&uids.text()), lines(&gids.text()))
            }
        });
    }
    if let Kind::FileSystem { copy_up, keep_mode, label, .. } = &mount.kind {
        if let Some(label) = label {
            notes.push(format!("root labelled {}", text(label)));
        }
        if *copy_up {
            notes.push("with the content of the destination".to_owned());
        }
        if *keep_mode {
            notes.push("mode of the destination: at apply".to_owned());
        }
    }
    if mount.dest_no_follow {
        notes.push("over the destination itself, even a link".to_owned());
    }
    if mount.late_read_only {
        notes.push("read-only at the end".to_owned());
    }
    notes
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

/// From the hooks that may change the tree to the finished tree.
fn root(plan: &Plan, table: &mut Table) {
    for (annotation, file) in plan.hooks.output.files() {
        if let Some(file) = file {
            let (_, stream) = annotation.rsplit_once('.').unwrap_or_default();
            let what = format!("what hooks print to {stream}, to {}", file.display());
            table.line("parent", "append", &what, &format!("/annotations/{annotation}"));
        }
    }
    hook_lines("parent", &plan.hooks.prestart, table);
    hook_lines("parent", &plan.hooks.create_runtime, table);
    hook_lines("child", &plan.hooks.create_container, table);
    let (pivot, then) = match plan.rootfs.pivot {
        Pivot::PivotRoot => ("pivot_root", "the old root is detached"),
        Pivot::MoveRoot => ("move root", "the old root is detached"),
        Pivot::Chroot => ("chroot", "the mounts of the host stay"),
    };
    table.line("child", pivot, then, "/root/path");
    if let Some(asked) = plan.rootfs.propagation
        && let Some(word) = match asked.bits {
            propagation::SHARED => Some("shared"),
            propagation::UNBINDABLE => Some("unbindable"),
            _ => None,
        }
    {
        let below = if asked.recursive { " recursively" } else { "" };
        table.line("child", "propagation", &format!("/{below} {word}"), "/linux/rootfsPropagation");
    }
    for sysctl in &plan.sysctls {
        let what = format!("{} = {}", text(&sysctl.path), text(&sysctl.value));
        table.line("child", "sysctl", &what, &sysctl.at);
    }
    for item in &plan.rootfs.read_only_paths {
        table.line("child", "read-only", &item.shown, &item.at);
    }
    for item in &plan.rootfs.masked {
        table.line("child", "mask", &item.shown, &item.at);
    }
    for parameter in plan.security.labelling.iter().filter(|_| !plan.rootfs.masked.is_empty()) {
        table.line(
            "child",
            "label",
            &format!("masks of directories: {}", parameter_text(parameter)),
            "/linux/mountLabel",
        );
    }
    if let Some(terminal) = plan.process.terminal {
        let console = if plan.devices.populate { ", also /dev/console" } else { "" };
        let size = terminal
            .size
            .map_or(String::new(), |(rows, columns)| format!(", {rows} rows, {columns} columns"));
        let what = format!("from the container's devpts{console}{size}");
        table.line("child", "terminal", &what, "/process/terminal");
    }
    if plan.rootfs.read_only {
        table.line("child", "read-only", "/", "/root/readonly");
    }
}

/// As what and as whom the process runs.
fn identity(plan: &Plan, table: &mut Table) {
    let (identity, process, security) = (&plan.identity, &plan.process, &plan.security);
    if let Some(scheduler) = &process.scheduler {
        table.line("child", "scheduler", &scheduler_words(scheduler), "/process/scheduler");
    }
    if let Some((class, level)) = process.io_priority {
        let class = ["none", "real time", "best effort", "idle"].get(usize::from(class)).unwrap_or(&"?");
        table.line("child", "ioprio_set", &format!("{class}, level {level}"), "/process/ioPriority");
    }
    if let Some(personality) = security.personality {
        table.line("child", "personality", &format!("{personality:#x}"), "/linux/personality");
    }
    if let Some(policy) = &security.memory_policy {
        table.line("child", "mempolicy", &memory_policy_words(policy), "/linux/memoryPolicy");
    }
    if let Some(profile) = &security.apparmor {
        table.line("child", "apparmor", &text(profile), "/process/apparmorProfile");
    }
    if let Some(label) = &security.selinux {
        table.line("child", "selinux", &text(label), "/process/selinuxLabel");
    }
    if process.home == Home::Lookup {
        table.line("child", "env", "HOME  [from /etc/passwd inside the rootfs: at apply]", "/process/env");
    }
    table.line("child", "chdir", &text(&process.cwd), "/process/cwd");
    for (limit, at) in &plan.limits.rlimits {
        let show = |value: u64| if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() };
        let what = format!("{} soft {} hard {}", limit.name, show(limit.soft), show(limit.hard));
        let who = if plan.namespaces.has_user() { "parent" } else { "child" };
        table.line(who, "prlimit", &what, at);
    }
    let capability = |table: &mut Table, name: &str, set: Set| {
        let names = if set == 0 { "none".to_owned() } else { list(set).replace("CAP_", "") };
        let at = format!("{}/capabilities/{name}", identity.base);
        table.line("child", "capability", &format!("{name}: {names}"), &at);
    };
    let sets = &identity.capabilities;
    capability(table, "bounding", sets.bounding);
    let groups = match &identity.groups {
        Groups::Set(groups) => format!("{groups:?}"),
        Groups::Keep => "those of the caller".to_owned(),
    };
    let what =
        format!("uid {} gid {} groups {groups} umask {:04o}", identity.uid, identity.gid, identity.umask);
    table.line("child", "identity", &what, &format!("{}/user", identity.base));
    capability(table, "effective", sets.effective);
    capability(table, "permitted", sets.permitted);
    capability(table, "inheritable", sets.inheritable);
    capability(table, "ambient", sets.ambient);
}

/// From the finished process to its program.
fn start(plan: &Plan, table: &mut Table) {
    let process = &plan.process;
    let names: Vec<String> = process
        .environment
        .strings()
        .iter()
        .map(|entry| text(entry).split('=').next().unwrap_or_default().to_owned())
        .collect();
    table.line("child", "env", &format!("names: {}", names.join(" ")), "/process/env");
    if plan.passed_fds > 0 {
        let what = format!("3 to {} stay open", plan.passed_fds.saturating_add(2));
        table.line("child", "descriptors", &what, "");
    }
    let early = matches!(&plan.security.seccomp, Some(s) if s.placement == Placement::BeforeCreated);
    if early {
        filter(plan, table);
    }
    table.line("child", "wait", "for start", "");
    hook_lines("child", &plan.hooks.start_container, table);
    if !early {
        filter(plan, table);
    }
    let program = match &process.program {
        Program::Path(path) => format!("{:?}", text(path)),
        Program::Search { name, .. } => {
            format!("{:?}  [searched in PATH inside the rootfs: at apply]", text(name))
        }
    };
    table.line("child", "execve", &program, &format!("{}/args/0", process.base));
    hook_lines("parent", &plan.hooks.poststart, table);
    hook_lines("parent", &plan.hooks.poststop, table);
}

fn filter(plan: &Plan, table: &mut Table) {
    let identity = &plan.identity;
    if identity.no_new_privileges {
        table.line("child", "prctl", "no_new_privs", &format!("{}/noNewPrivileges", identity.base));
    }
    let Some(seccomp) = &plan.security.seccomp else { return };
    let mut what = "filter".to_owned();
    if seccomp.placement == Placement::BeforeCreated {
        what.push_str(" with a listener, which is handed over now");
    }
    if !identity.no_new_privileges {
        what.push_str("; then CAP_SYS_ADMIN, which loading it needs, goes");
    }
    table.line("child", "seccomp", &what, "/linux/seccomp");
}

fn hook_lines(who: &str, hooks: &[Hook], table: &mut Table) {
    for hook in hooks {
        let timeout = hook.timeout.map_or(String::new(), |t| format!(" [at most {} s]", t.as_secs()));
        table.line(who, "hook", &format!("{}: {}{timeout}", hook.name, text(&hook.path)), &hook.at);
    }
}
