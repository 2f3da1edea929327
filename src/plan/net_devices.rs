//! `linux.netDevices`: devices of the host that move into the network namespace of the container.
//!
//! Source: config-linux.md#network-devices.

use std::collections::BTreeMap;

use oci_spec::runtime::Linux;

use super::namespaces::{Namespaces, flag};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::report::Report;

/// A device that moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Name in the namespace of the runtime.
    pub name: String,
    /// Name in the container when it is another one. A template such as `eth%d` gets the first free number.
    pub new_name: Option<String>,
    /// JSON pointer.
    pub at: String,
}

impl NetDevice {
    /// The name in the container, or its template.
    pub fn target(&self) -> &str {
        self.new_name.as_deref().unwrap_or(&self.name)
    }
}

/// True for a name in which the kernel puts a number.
pub fn is_template(name: &str) -> bool {
    name.contains('%')
}

/// Plans the moves, sorted by the name on the host.
pub fn plan(
    linux: Option<&Linux>,
    namespaces: &Namespaces,
    host: &Host,
    report: &mut Report,
) -> Result<Vec<NetDevice>> {
    const BASE: &str = "/linux/netDevices";
    let asked: BTreeMap<_, _> = linux.and_then(|l| l.net_devices().as_ref()).into_iter().flatten().collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    if !namespaces.has(flag::NETWORK) {
        report.refuse(
            Error::config(BASE, "a network device needs a network namespace to move to")
                .hint("add {\"type\": \"network\"} to linux.namespaces"),
        )?;
    }
    if host.is_rootless() {
        report.refuse(Error::config(BASE, "only the root of the host can move network devices"))?;
    }
    let mut planned: Vec<NetDevice> = Vec::with_capacity(asked.len());
    for (name, device) in asked {
        let mut at = BASE.to_owned();
        crate::config::push_key(&mut at, name);
        report.keep(check_name(name, &at))?;
        let new_name = device.name().clone().filter(|new| !new.is_empty());
        if let Some(new) = &new_name {
            report.keep(check_name(new, &format!("{at}/name")))?;
        }
        let device = NetDevice { name: name.clone(), new_name, at };
        let twin = planned.iter().find(|other| other.target() == device.target());
        if let Some(twin) = twin.filter(|_| !is_template(device.target())) {
            let problem =
                format!("two devices cannot both be \"{}\", the other one is {}", device.target(), twin.at);
            report.refuse(Error::config(&device.at, problem))?;
        }
        planned.push(device);
    }
    Ok(planned)
}

/// The kernel's rules for names of devices; `%d` is the only use of a percent sign.
fn check_name(name: &str, at: &str) -> Result<()> {
    const LONGEST: usize = 15;
    let bad = |why: &str| Err(Error::config(at, format!("\"{name}\" is no name of a network device: {why}")));
    if name.is_empty() || name.len() > LONGEST {
        return bad("it must have 1 to 15 bytes");
    }
    if matches!(name, "." | "..") {
        return bad("it is a directory");
    }
    if name.contains(|c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace()) {
        return bad("slashes, colons and blanks are not allowed");
    }
    match name.split_once('%') {
        None => Ok(()),
        Some((_, rest)) if rest.starts_with('d') && !rest.contains('%') => Ok(()),
        Some(_) => bad("a percent sign only stands in %d, once"),
    }
}
