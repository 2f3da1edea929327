//! `linux.seccomp`, `process.apparmorProfile`, `process.selinuxLabel`, `linux.mountLabel`, `linux.personality`,
//! `linux.memoryPolicy`: what confines the process besides its identity.
//!
//! Source: config-linux.md#seccomp, #mount-label, #personality, #memory-policy; config.md#linux-process.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use oci_spec::runtime::{Linux, LinuxMemoryPolicy, LinuxPersonalityDomain, Process};
use teu_seccomp::Policy;

use super::c_string;
use super::mounts::{Kind, Mount, Parameter};
use super::namespaces::{Namespaces, flag};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::report::Report;

/// When the filter is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Last of all, after everything privileged is done: with no_new_privs.
    Last,
    /// Last but for giving up CAP_SYS_ADMIN, which loading needs without no_new_privs.
    LastWithPrivilege,
    /// Before the container is `created`, because a listener must get its descriptor while the parent lives.
    BeforeCreated,
}

/// The seccomp filter.
#[derive(Clone, Debug)]
pub struct Seccomp {
    /// The policy; the parent compiles it while the child mounts.
    pub policy: Policy,
    /// When.
    pub placement: Placement,
}

/// A memory policy for set_mempolicy(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// MPOL_* with MPOL_F_*.
    pub mode: i32,
    /// Bit mask of nodes.
    pub nodes: Vec<u64>,
}

/// Everything of this section.
#[derive(Clone, Debug)]
pub struct Security {
    /// `linux.seccomp`.
    pub seccomp: Option<Seccomp>,
    /// `process.apparmorProfile`.
    pub apparmor: Option<CString>,
    /// `process.selinuxLabel`.
    pub selinux: Option<CString>,
    /// `linux.mountLabel`, when SELinux is there.
    pub mount_label: Option<CString>,
    /// The parameters that give the label to what is mounted besides `mounts`: masks, and what holds hierarchies.
    pub labelling: Vec<Parameter>,
    /// Value for personality(2).
    pub personality: Option<u32>,
    /// `linux.memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
}

/// The annotation that makes an error of a name in the profile that is no system call.
pub const KNOWN_CALLS: &str = "run.oci.seccomp_fail_unknown_syscall";

/// crun: any value but "0" asks for it.
fn refuse_unknown_calls(
    policy: Option<&Policy>,
    annotations: &BTreeMap<String, String>,
    report: &mut Report,
) -> Result<()> {
    if annotations.get(KNOWN_CALLS).is_none_or(|value| value == "0") {
        return Ok(());
    }
    for unknown in policy.into_iter().flat_map(Policy::unknown_names) {
        report.refuse(Error::config(format!("/linux/seccomp{}", unknown.pointer), unknown.message))?;
    }
    Ok(())
}

/// Plans the section.
pub fn plan(
    config: &Config,
    process: &Process,
    annotations: &BTreeMap<String, String>,
    host: &Host,
    report: &mut Report,
) -> Result<Security> {
    refuse_unknown_calls(config.seccomp.as_ref(), annotations, report)?;
    let linux = config.spec.linux().as_ref();
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    let seccomp = config.seccomp.as_ref().map(|policy| {
        let placement = match (policy.uses_notify(), no_new_privileges) {
            (true, _) => Placement::BeforeCreated,
            (false, true) => Placement::Last,
            (false, false) => Placement::LastWithPrivilege,
        };
        Seccomp { policy: policy.clone(), placement }
    });
    let label =
        |value: Option<&str>, at: &str, active: bool, name: &str| match value.filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(_) if !active => Err(Error::config(at, format!("{name} is not enabled on this host"))
                .hint("remove the label, or boot with the security module")),
            Some(value) => c_string(value, at).map(Some),
        };
    let apparmor =
        label(process.apparmor_profile().as_deref(), "/process/apparmorProfile", host.apparmor, "AppArmor");
    let selinux = label(process.selinux_label().as_deref(), "/process/selinuxLabel", host.selinux, "SELinux");
    Ok(Security {
        seccomp,
        apparmor: report.keep(apparmor)?.flatten(),
        selinux: report.keep(selinux)?.flatten(),
        mount_label: match linux.and_then(|l| l.mount_label().as_deref()).filter(|l| !l.is_empty()) {
            Some(label) if host.selinux => report.keep(c_string(label, "/linux/mountLabel"))?,
            Some(_) => {
                report.warn("/linux/mountLabel", "SELinux is not enabled on this host, ignored");
                None
            }
            None => None,
        },
        labelling: Vec::new(),
        personality: report.keep(linux.map(personality).transpose())?.flatten().flatten(),
        memory_policy: match linux.and_then(|l| l.memory_policy().as_ref()) {
            Some(asked) => memory_policy(asked, report)?,
            None => None,
        },
    })
}

/// The annotation that chooses what `linux.mountLabel` labels.
pub const MOUNT_CONTEXT: &str = "run.oci.mount_context_type";

/// Parameters of file systems that take a label (mount(8)); the first one by default.
const CONTEXTS: [&CStr; 4] = [c"context", c"fscontext", c"defcontext", c"rootcontext"];

/// Gives new file systems the label of `linux.mountLabel`. File systems that label by themselves take none.
pub fn label_mounts(
    security: &mut Security,
    annotations: &BTreeMap<String, String>,
    namespaces: &Namespaces,
    mounts: &mut [Mount],
    report: &mut Report,
) -> Result<()> {
    let asked = annotations.get(MOUNT_CONTEXT);
    let known = |word: &String| CONTEXTS.into_iter().find(|name| name.to_bytes() == word.as_bytes());
    let context = match asked.map(|word| known(word).ok_or(word)) {
        None => CONTEXTS[0],
        Some(Ok(context)) => context,
        Some(Err(word)) => {
            let problem =
                format!("\"{word}\" is no kind of label: context, fscontext, defcontext or rootcontext");
            report.refuse(Error::config(format!("/annotations/{MOUNT_CONTEXT}"), problem))?;
            CONTEXTS[0]
        }
    };
    let Some(label) = &security.mount_label else { return Ok(()) };
    let labelling = Parameter::String(context.to_owned(), label.clone());
    for mount in mounts {
        let Kind::FileSystem { fstype, parameters, label: of_root, .. } = &mut mount.kind else { continue };
        match fstype.to_bytes() {
            b"proc" | b"sysfs" | b"cgroup" | b"cgroup2" => {}
            // The file system of message queues has no parameters, and one instance in each ipc namespace.
            b"mqueue" if namespaces.has(flag::IPC) => *of_root = Some(label.clone()),
            b"mqueue" => report.warn(&mount.at, "the message queues of the host keep their label"),
            _ => parameters.push(labelling.clone()),
        }
    }
    security.labelling.push(labelling);
    Ok(())
}

fn personality(linux: &Linux) -> Result<Option<u32>> {
    const PER_LINUX32: u32 = 8;
    let Some(asked) = linux.personality() else { return Ok(None) };
    if asked.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        return Err(Error::config("/linux/personality/flags", "no flags are defined for personalities"));
    }
    Ok(Some(match asked.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    }))
}

/// How many nodes a mode takes.
#[derive(Clone, Copy, PartialEq)]
enum Nodes {
    None,
    Any,
    Some,
}

/// MPOL_* by name.
const MODES: [(&str, i32, Nodes); 7] = [
    ("MPOL_DEFAULT", 0, Nodes::None),
    ("MPOL_PREFERRED", 1, Nodes::Any),
    ("MPOL_BIND", 2, Nodes::Some),
    ("MPOL_INTERLEAVE", 3, Nodes::Some),
    ("MPOL_LOCAL", 4, Nodes::None),
    ("MPOL_PREFERRED_MANY", 5, Nodes::Some),
    ("MPOL_WEIGHTED_INTERLEAVE", 6, Nodes::Some),
];

/// MPOL_F_* by name.
const FLAGS: [(&str, i32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

/// The modes, for `features`.
pub fn memory_policy_modes() -> Vec<&'static str> {
    MODES.iter().map(|(name, ..)| *name).collect()
}

/// The flags, for `features`.
pub fn memory_policy_flags() -> Vec<&'static str> {
    FLAGS.iter().map(|(name, _)| *name).collect()
}

fn memory_policy(asked: &LinuxMemoryPolicy, report: &mut Report) -> Result<Option<MemoryPolicy>> {
    let value = serde_json::to_value(asked).unwrap_or_default();
    let at = "/linux/memoryPolicy";
    let mode_name = value.get("mode").and_then(|m| m.as_str()).unwrap_or_default();
    let Some((_, number, wanted)) = MODES.iter().find(|(name, _, _)| *name == mode_name) else {
        let problem = format!("\"{mode_name}\" is no memory policy mode");
        report.refuse(Error::config(format!("{at}/mode"), problem))?;
        return Ok(None);
    };
    let mut mode = *number;
    for (index, flag) in value.get("flags").and_then(|f| f.as_array()).into_iter().flatten().enumerate() {
        let name = flag.as_str().unwrap_or_default();
        let known = FLAGS.iter().find(|(known, _)| *known == name);
        let Some((_, bit)) = known else {
            let problem = format!("\"{name}\" is no memory policy flag");
            report.refuse(Error::config(format!("{at}/flags/{index}"), problem))?;
            continue;
        };
        mode |= bit;
    }
    check_memory_flags(mode, mode_name, &format!("{at}/flags"))?;
    let text = value.get("nodes").and_then(|n| n.as_str()).unwrap_or_default();
    let at = format!("{at}/nodes");
    let Some(nodes) = report.keep(bit_mask(text, &at))? else { return Ok(None) };
    match (wanted, nodes.is_empty()) {
        (Nodes::None, false) => report.refuse(Error::config(at, format!("{mode_name} takes no nodes")))?,
        (Nodes::Some, true) => report.refuse(Error::config(at, format!("{mode_name} needs nodes")))?,
        _ => {}
    }
    Ok(Some(MemoryPolicy { mode, nodes }))
}

/// Flags that exclude each other, or that the mode does not take. Source: set_mempolicy(2).
fn check_memory_flags(mode: i32, name: &str, at: &str) -> Result<()> {
    const NUMA_BALANCING: i32 = FLAGS[0].1;
    const RELATIVE: i32 = FLAGS[1].1;
    const STATIC: i32 = FLAGS[2].1;
    if mode & (STATIC | RELATIVE) == STATIC | RELATIVE {
        return Err(Error::config(at, "nodes cannot be both relative and static"));
    }
    let balances = matches!(name, "MPOL_BIND" | "MPOL_PREFERRED_MANY");
    if mode & NUMA_BALANCING != 0 && !balances {
        return Err(Error::config(at, format!("{name} cannot be balanced")));
    }
    if mode & (STATIC | RELATIVE) != 0 && name == "MPOL_LOCAL" {
        return Err(Error::config(at, format!("{name} has no nodes that could be static or relative")));
    }
    Ok(())
}

/// The policy in the words of the configuration.
pub fn memory_policy_words(policy: &MemoryPolicy) -> String {
    let flags = FLAGS.iter().filter(|(_, bit)| policy.mode & bit != 0);
    let number = FLAGS.iter().fold(policy.mode, |mode, (_, bit)| mode & !bit);
    let mut words: Vec<String> =
        MODES.iter().filter(|(_, mode, _)| *mode == number).map(|(name, ..)| (*name).to_owned()).collect();
    words.extend(flags.map(|(name, _)| (*name).to_owned()));
    let nodes: Vec<String> = (0..policy.nodes.len() * 64)
        .filter(|node| policy.nodes[node / 64] & 1 << (node % 64) != 0)
        .map(|node| node.to_string())
        .collect();
    if !nodes.is_empty() {
        words.push(format!("nodes {}", nodes.join(" ")));
    }
    words.join(", ")
}

/// A list such as `0-3,7` as a bit mask; blanks and empty elements are tolerated.
pub fn bit_mask(text: &str, at: &str) -> Result<Vec<u64>> {
    const LARGEST: usize = 65_535;
    let bad = || Error::config(at, format!("\"{text}\" is no list of numbers such as 0-3,7"));
    let mut mask: Vec<u64> = Vec::new();
    for element in text.split(',').map(str::trim).filter(|element| !element.is_empty()) {
        let (first, last) = element.split_once('-').unwrap_or((element, element));
        let number = |digits: &str| digits.trim().parse::<usize>().map_err(|_| bad());
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last > LARGEST {
            return Err(bad());
        }
        if mask.len() <= last / 64 {
            mask.resize(last / 64 + 1, 0);
        }
        for bit in first..=last {
            mask[bit / 64] |= 1 << (bit % 64);
        }
    }
    Ok(mask)
}
