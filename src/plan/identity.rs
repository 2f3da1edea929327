//! `process.user`, `process.capabilities`, `process.noNewPrivileges`: as whom the process runs.
//!
//! Source: config.md#user, config.md#linux-process; capabilities(7).

use std::collections::BTreeMap;

use caps::Capability;
use oci_spec::runtime::Process;

use super::namespaces::{Namespaces, User};
use crate::config::process::{Capabilities, Extras};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::report::Report;

/// The annotation that keeps the supplementary groups of the caller.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// Bit N for capability N.
pub type Set = u64;

/// The five sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// Bounding.
    pub bounding: Set,
    /// Effective.
    pub effective: Set,
    /// Inheritable.
    pub inheritable: Set,
    /// Permitted.
    pub permitted: Set,
    /// Ambient.
    pub ambient: Set,
}

/// What happens to supplementary groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// Exactly these.
    Set(Vec<u32>),
    /// Those of the caller stay, since setgroups(2) is denied or an annotation says so.
    Keep,
}

/// The identity of a process.
#[derive(Clone, Debug)]
pub struct Identity {
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Groups,
    /// File mode creation mask.
    pub umask: u32,
    /// Capabilities.
    pub capabilities: CapabilitySets,
    /// Highest capability of the running kernel; all up to it leave the bounding set unless listed.
    pub last_capability: u32,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// JSON pointer of the process object.
    pub base: String,
}

/// Plans the identity of the process object at pointer `base`.
pub fn plan(
    process: &Process,
    extras: &Extras,
    base: &str,
    annotations: &BTreeMap<String, String>,
    namespaces: &Namespaces,
    host: &Host,
    report: &mut Report,
) -> Result<Identity> {
    const DEFAULT_UMASK: u32 = 0o022; // what runc sets; the specification says nothing
    let user = process.user();
    for (member, id) in [("uid", user.uid()), ("gid", user.gid())] {
        if id == u32::MAX {
            report.refuse(Error::config(format!("{base}/user/{member}"), "4294967295 is no id"))?;
        }
    }
    let umask = user.umask().unwrap_or(DEFAULT_UMASK);
    if umask > 0o777 {
        report.refuse(Error::config(format!("{base}/user/umask"), "must be at most 511 (0777)"))?;
    }
    let additional = user.additional_gids().as_deref().unwrap_or_default();
    for (index, _) in additional.iter().enumerate().filter(|(_, gid)| **gid == u32::MAX) {
        report.refuse(Error::config(format!("{base}/user/additionalGids/{index}"), "4294967295 is no id"))?;
    }
    if let User::New { uids, gids } = &namespaces.user {
        let groups =
            additional.iter().enumerate().map(|(i, gid)| (format!("additionalGids/{i}"), *gid, gids));
        let ids = [("uid".to_owned(), user.uid(), uids), ("gid".to_owned(), user.gid(), gids)];
        for (member, id, map) in ids.into_iter().chain(groups) {
            if map.outside(id).is_none() {
                let problem = format!("{id} is not mapped in the user namespace");
                report.refuse(Error::config(format!("{base}/user/{member}"), problem))?;
            }
        }
    }
    let keep = annotations.get(KEEP_GROUPS).is_some_and(|value| value == "1");
    let denied = namespaces.denies_groups(host);
    if denied && !additional.is_empty() {
        let problem = "cannot set any additional groups in a rootless container";
        report.refuse(Error::config(format!("{base}/user/additionalGids"), problem).hint(
            "only the own group is mapped; with a range of /etc/subgid in gidMappings it is possible",
        ))?;
    }
    let names = |set: &str| format!("{base}/capabilities/{set}");
    let capabilities = match &extras.capabilities {
        Some(listed) => sets(listed, &names, host.grantable(namespaces.has_user()), host, report)?,
        // No list means no capability: leaving the caller's would be a hole (GHSA of a peer, 2026).
        None => CapabilitySets::default(),
    };
    Ok(Identity {
        uid: user.uid(),
        gid: user.gid(),
        groups: if keep || denied { Groups::Keep } else { Groups::Set(additional.to_vec()) },
        umask,
        capabilities,
        last_capability: host.last_capability,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        base: base.to_owned(),
    })
}

fn sets(
    listed: &Capabilities,
    at: &dyn Fn(&str) -> String,
    available: Set,
    host: &Host,
    report: &mut Report,
) -> Result<CapabilitySets> {
    let mut read = |list: &[String], set: &str| {
        let mut bits: Set = 0;
        for (index, name) in list.iter().enumerate() {
            let pointer = format!("{}/{index}", at(set));
            match number(name) {
                Some(number) if number <= host.last_capability => bits |= 1 << number,
                // A capability that this kernel is too old for cannot be granted, which is no error.
                Some(_) => report.warn(pointer, format!("this kernel has no {name}")),
                None => report.refuse(Error::config(pointer, format!("unknown capability \"{name}\"")))?,
            }
        }
        Ok(bits)
    };
    let bounding = read(&listed.bounding, "bounding")?;
    let effective = read(&listed.effective, "effective")?;
    let inheritable = read(&listed.inheritable, "inheritable")?;
    let permitted = read(&listed.permitted, "permitted")?;
    let ambient = read(&listed.ambient, "ambient")?;
    // The kernel refuses what cannot be had, as a whole; the specification wants a warning and the rest.
    let mut fit = |bits: Set, within: Set, set: &str, why: &str| {
        if bits & !within != 0 {
            report.warn(at(set), format!("{} {why}", list(bits & !within)));
        }
        bits & within
    };
    let bounding = fit(bounding, available, "bounding", "cannot be granted by this caller");
    let permitted = fit(permitted, available, "permitted", "cannot be granted by this caller");
    let inheritable = fit(inheritable, available, "inheritable", "cannot be granted by this caller");
    let effective = fit(effective, permitted, "effective", "not permitted, left out of the effective set");
    let ambient = fit(
        ambient,
        permitted & inheritable,
        "ambient",
        "not both permitted and inheritable, cannot be ambient",
    );
    Ok(CapabilitySets { bounding, effective, inheritable, permitted, ambient })
}

/// The number of a capability by its name `CAP_*`.
pub fn number(name: &str) -> Option<u32> {
    name.parse::<Capability>().ok().map(|capability| capability.index().into())
}

/// The names of the capabilities in a set, separated by blanks; numbers where no name is known.
pub fn list(set: Set) -> String {
    let names: Vec<String> = (0..64)
        .filter(|n| set & 1 << n != 0)
        .map(|n| {
            caps::all()
                .into_iter()
                .find(|c| u32::from(c.index()) == n)
                .map_or_else(|| n.to_string(), |c| c.to_string())
        })
        .collect();
    names.join(" ")
}
