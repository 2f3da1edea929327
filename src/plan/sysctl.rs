//! `linux.sysctl`: only kernel parameters that belong to a namespace of the container.
//!
//! Source: config.md#sysctl; sysctl(8) for the two spellings.

use std::collections::BTreeMap;
use std::ffi::CString;

use oci_spec::runtime::Linux;

use super::c_string;
use super::namespaces::{Namespaces, flag};
use crate::error::{Error, Result};
use crate::report::Report;

/// One parameter.
#[derive(Clone, Debug)]
pub struct Sysctl {
    /// Path below /proc/sys.
    pub path: CString,
    /// Value, written as it is.
    pub value: CString,
    /// JSON pointer.
    pub at: String,
}

/// Plans the parameters, sorted by name.
pub fn plan(linux: Option<&Linux>, namespaces: &Namespaces, report: &mut Report) -> Result<Vec<Sysctl>> {
    let mut planned: Vec<Sysctl> = Vec::new();
    // In the order of their names, so that the same error comes up each time.
    let asked: BTreeMap<_, _> = linux.and_then(|l| l.sysctl().as_ref()).into_iter().flatten().collect();
    for (key, value) in asked {
        planned.extend(report.keep(one(key, value, namespaces, &planned))?);
    }
    planned.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(planned)
}

fn one(key: &str, value: &str, namespaces: &Namespaces, planned: &[Sysctl]) -> Result<Sysctl> {
    let mut at = "/linux/sysctl".to_owned();
    crate::config::push_key(&mut at, key);
    let path = path(key, &at)?;
    if let Some(missing) = missing_namespace(&path, namespaces) {
        return Err(Error::config(at, format!("sysctl \"{key}\" {missing}")));
    }
    if value.contains(['\n', '\r']) {
        return Err(Error::config(at, "the value of a sysctl must be one line"));
    }
    let path = c_string(&path, &at)?;
    if let Some(other) = planned.iter().find(|other| other.path == path) {
        return Err(Error::config(at, format!("the parameter is set twice, the other time at {}", other.at)));
    }
    Ok(Sysctl { path, value: c_string(value, &at)?, at })
}

/// The path of a key. Whichever of `.` and `/` comes first separates; the other one then stands for it within
/// a component, as in `net.ipv4.conf.eth0/100.rp_filter`.
fn path(key: &str, at: &str) -> Result<String> {
    let bad = |why: &str| Error::config(at, format!("\"{key}\" is no name of a sysctl: {why}"));
    let separator =
        key.chars().find(|c| matches!(c, '.' | '/')).ok_or_else(|| bad("it has one component"))?;
    let (from, to) = if separator == '.' { ('/', '.') } else { ('.', '.') };
    let mut components = Vec::new();
    for component in key.split(separator) {
        let component: String = component.chars().map(|c| if c == from { to } else { c }).collect();
        let is_plain = component.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != '+');
        if component.is_empty() || matches!(component.as_str(), "." | "..") || !is_plain {
            return Err(bad("a component is empty, a dot, or has unusual characters"));
        }
        components.push(component);
    }
    Ok(components.join("/"))
}

fn missing_namespace(path: &str, namespaces: &Namespaces) -> Option<&'static str> {
    const IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    let need = |flag: u64, text: &'static str| (!namespaces.has(flag)).then_some(text);
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        need(flag::IPC, "is not allowed as it is not in a separate ipc namespace")
    } else if path.starts_with("net/") {
        need(flag::NETWORK, "is not allowed as it is not in a separate network namespace")
    } else if path.starts_with("user/") {
        need(flag::USER, "is not allowed as it is not in a separate user namespace")
    } else if path == "kernel/domainname" {
        need(flag::UTS, "is not allowed as it is not in a separate uts namespace")
    } else if path == "kernel/hostname" {
        Some("is not allowed, use the field hostname")
    } else {
        Some("is not in a separate kernel namespace")
    }
}
