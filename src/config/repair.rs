//! Takes out of the document what the types of the `oci-spec` crate would read wrongly.
//!
//! Each case is a trap of that crate, pinned by a test: should the crate change, the test says so.

use serde_json::{Map, Value, json};
use teu_seccomp::Policy;

use super::process::Extras;
use super::{readable, typed_part};
use crate::error::{Error, Result};
use crate::report::Report;

/// Members that the specification requires and that the crate reads as 0, "" or false when they are missing: a
/// limit of nothing, a mapping of root, a permission that was never given. The first column is a list of objects.
const REQUIRED: [(&str, &[&str]); 10] = [
    ("/linux/uidMappings", ID_MAPPING),
    ("/linux/gidMappings", ID_MAPPING),
    ("/linux/resources/devices", &["allow"]),
    ("/linux/resources/hugepageLimits", &["pageSize", "limit"]),
    ("/linux/resources/network/priorities", &["name", "priority"]),
    ("/linux/resources/blockIO/weightDevice", &["major", "minor"]),
    ("/linux/resources/blockIO/throttleReadBpsDevice", THROTTLE),
    ("/linux/resources/blockIO/throttleWriteBpsDevice", THROTTLE),
    ("/linux/resources/blockIO/throttleReadIOPSDevice", THROTTLE),
    ("/linux/resources/blockIO/throttleWriteIOPSDevice", THROTTLE),
];
const ID_MAPPING: &[&str] = &["containerID", "hostID", "size"];
const THROTTLE: &[&str] = &["major", "minor", "rate"];

/// Sections for other systems, and two lists that only the crate has at the top: properties that mean nothing here
/// must be ignored, whatever is in them.
const FOREIGN: [&str; 7] = ["freebsd", "solaris", "vm", "windows", "zos", "uidMappings", "gidMappings"];

/// What was taken out.
pub struct Repaired {
    pub process: Extras,
    pub seccomp: Option<Policy>,
}

pub fn repair(document: &mut Value, report: &mut Report) -> Result<Repaired> {
    // The crate reads a missing version as "".
    if document.get("ociVersion").is_none() {
        report.refuse_missing(
            Error::config("/ociVersion", "the version of the specification is missing")
                .hint("add \"ociVersion\": \"1.3.0\""),
        )?;
    }
    if let Some(Value::Object(root)) = document.get_mut("root")
        && !root.contains_key("path")
    {
        report.refuse_missing(Error::config("/root/path", "the path of the root file system is missing"))?;
        root.insert("path".to_owned(), "rootfs".into());
    }
    if let Some(document) = document.as_object_mut() {
        document.retain(|name, _| !FOREIGN.contains(&name.as_str()));
    }
    for (list, names) in REQUIRED {
        require_in_list(document.pointer(list), names, list, report)?;
    }
    let mounts = document.get("mounts").and_then(Value::as_array);
    for (index, mount) in mounts.into_iter().flatten().enumerate() {
        for name in ["uidMappings", "gidMappings"] {
            require_in_list(mount.get(name), ID_MAPPING, &format!("/mounts/{index}/{name}"), report)?;
        }
    }
    let process = match document.get_mut("process") {
        Some(value) => process(value, "/process", report)?,
        None => Extras::default(),
    };
    let seccomp = match document.get_mut("linux").and_then(Value::as_object_mut) {
        Some(linux) => linux_section(linux, report)?,
        None => None,
    };
    Ok(Repaired { process, seccomp })
}

/// The traps within a `process` object at pointer `base`.
pub fn process(value: &mut Value, base: &str, report: &mut Report) -> Result<Extras> {
    let Some(process) = value.as_object_mut() else {
        return Ok(Extras::default()); // the wrong type is reported when the document gets its types
    };
    // The crate wants a user; the specification makes every member of it default to 0.
    process.entry("user").or_insert_with(|| json!({}));
    if let Some(user) = process.get_mut("user").and_then(Value::as_object_mut) {
        user.entry("uid").or_insert(0.into());
        user.entry("gid").or_insert(0.into());
        user.remove("username"); // for Windows
    }
    if !process.contains_key("cwd") {
        report.refuse_missing(Error::config(format!("{base}/cwd"), "Cwd property must not be empty"))?;
        process.insert("cwd".to_owned(), "/".into());
    }
    // The crate defaults a missing class to best effort and a missing priority to 0.
    if let Some(Value::Object(priority)) = process.get("ioPriority") {
        require(priority, &["class", "priority"], &format!("{base}/ioPriority"), report)?;
    }
    if let Some(Value::Object(size)) = process.get("consoleSize") {
        require(size, &["height", "width"], &format!("{base}/consoleSize"), report)?;
    }
    let mut extras = Extras::default();
    // The crate fails on unknown names and accepts other spellings.
    if let Some(capabilities) = process.remove("capabilities") {
        extras.capabilities = typed_part(capabilities, &format!("{base}/capabilities"), report)?;
    }
    // The crate spells the flags differently from the specification.
    if let Some(scheduler) = process.remove("scheduler") {
        extras.scheduler = typed_part(scheduler, &format!("{base}/scheduler"), report)?;
    }
    // The crate refuses lists that the specification permits.
    if let Some(affinity) = process.remove("execCPUAffinity") {
        extras.exec_cpu_affinity = typed_part(affinity, &format!("{base}/execCPUAffinity"), report)?;
    }
    let rlimits = process.get("rlimits");
    require_in_list(rlimits, &["type", "soft", "hard"], &format!("{base}/rlimits"), report)?;
    for name in ["commandLine"] {
        if process.remove(name).is_some() {
            report.warn(format!("{base}/{name}"), "only meaningful on Windows, ignored");
        }
    }
    Ok(extras)
}

fn linux_section(linux: &mut Map<String, Value>, report: &mut Report) -> Result<Option<Policy>> {
    // The crate reads missing numbers of a device as 0.
    if let Some(Value::Array(devices)) = linux.get("devices") {
        for (index, device) in devices.iter().enumerate().filter_map(|(i, d)| Some((i, d.as_object()?))) {
            if device.get("type").and_then(Value::as_str) != Some("p") {
                require(device, &["type", "major", "minor"], &format!("/linux/devices/{index}"), report)?;
            }
        }
    }
    // The crate reads a rule without "allow" as one that denies.
    if let Some(Value::Array(rules)) = linux.get("resources").and_then(|r| r.get("devices")) {
        for (index, rule) in rules.iter().enumerate().filter_map(|(i, r)| Some((i, r.as_object()?))) {
            require(rule, &["allow"], &format!("/linux/resources/devices/{index}"), report)?;
        }
    }
    if let Some(resources) = linux.get_mut("resources").and_then(Value::as_object_mut) {
        // The crate reads a missing limit as 0, which would mean "no process at all".
        if resources.get("pids").is_some_and(|pids| pids.is_object() && pids.get("limit").is_none()) {
            resources.remove("pids");
        }
    }
    if let Some(rdt) = linux.get_mut("intelRdt").and_then(Value::as_object_mut) {
        for name in ["enableCMT", "enableMBM"] {
            if rdt.remove(name).is_some() {
                let text = "removed from the specification in 1.3.0, ignored";
                report.warn(format!("/linux/intelRdt/{name}"), text);
            }
        }
    }
    let Some(seccomp) = linux.remove("seccomp") else {
        return Ok(None);
    };
    let read = |section: &Value| {
        Policy::from_value(section)
            .map_err(|e| Error::config(format!("/linux/seccomp{}", e.pointer), e.message))
    };
    Ok(readable(seccomp, "/linux/seccomp", report, read)?.flatten())
}

/// Looks for the members in each object of a list. What is no list or no object is left to the types.
fn require_in_list(list: Option<&Value>, names: &[&str], base: &str, report: &mut Report) -> Result<()> {
    let objects = list.and_then(Value::as_array).into_iter().flatten().enumerate();
    for (index, object) in objects.filter_map(|(index, object)| Some((index, object.as_object()?))) {
        require(object, names, &format!("{base}/{index}"), report)?;
    }
    Ok(())
}

fn require(object: &Map<String, Value>, names: &[&str], base: &str, report: &mut Report) -> Result<()> {
    for name in names.iter().filter(|name| !object.contains_key(**name)) {
        report.refuse_missing(Error::config(format!("{base}/{name}"), format!("\"{name}\" is missing")))?;
    }
    Ok(())
}
