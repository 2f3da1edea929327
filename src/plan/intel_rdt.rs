//! `linux.intelRdt`: the share of caches and memory bandwidth, as a group of the resctrl file system.
//!
//! Source: config-linux.md#intelrdt; https://docs.kernel.org/filesystems/resctrl.html.

use oci_spec::runtime::Linux;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::report::Report;

/// What the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntelRdt {
    /// Directory of the group below the root of the file system; empty for the root itself.
    pub group: String,
    /// Where the group comes from.
    pub origin: Origin,
    /// `l3CacheSchema`, which may have several lines.
    pub l3: Option<String>,
    /// `memBwSchema`.
    pub bandwidth: Option<String>,
    /// `schemata`, line by line.
    pub schemata: Vec<String>,
    /// A monitoring group of this name is made in the group.
    pub monitor: Option<String>,
}

/// Where a group comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is the container's: made for it, and removed with it.
    Own,
    /// It is made when it is missing, and stays.
    Shared,
    /// Somebody else has made it.
    Existing,
}

impl IntelRdt {
    /// The group of a container that nothing else is known of.
    pub fn own(id: &str) -> IntelRdt {
        IntelRdt {
            group: id.to_owned(),
            origin: Origin::Own,
            l3: None,
            bandwidth: None,
            schemata: Vec::new(),
            monitor: None,
        }
    }

    /// The lines for the file `schemata` in the order in which they count.
    pub fn lines(&self) -> Vec<&str> {
        let single = self.l3.iter().chain(&self.bandwidth).flat_map(|text| text.lines());
        single.chain(self.schemata.iter().map(String::as_str)).filter(|line| !line.is_empty()).collect()
    }
}

const BASE: &str = "/linux/intelRdt";

/// Plans the group of the container `id`.
pub fn plan(linux: Option<&Linux>, id: &str, host: &Host, report: &mut Report) -> Result<Option<IntelRdt>> {
    let Some(asked) = linux.and_then(|l| l.intel_rdt().as_ref()) else { return Ok(None) };
    if host.is_rootless() {
        report.refuse(Error::config(BASE, "only the root of the host can use the resctrl file system"))?;
    }
    let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let mut planned = IntelRdt {
        l3: given(asked.l3_cache_schema()),
        bandwidth: given(asked.mem_bw_schema()),
        schemata: asked.schemata().clone().unwrap_or_default(),
        monitor: asked.enable_monitoring().unwrap_or(false).then(|| id.to_owned()),
        ..IntelRdt::own(id)
    };
    if let Some(name) = given(asked.clos_id()) {
        let has_schema = planned.l3.is_some() || planned.bandwidth.is_some() || !planned.schemata.is_empty();
        planned.origin = if has_schema { Origin::Shared } else { Origin::Existing };
        planned.group = report.keep(group(&name))?.unwrap_or_default();
    }
    check_l3(planned.l3.as_deref(), &format!("{BASE}/l3CacheSchema"), report);
    report.keep(check_bandwidth(planned.bandwidth.as_deref(), &format!("{BASE}/memBwSchema")))?;
    for (index, line) in planned.schemata.iter().enumerate() {
        if line.contains('\n') {
            report.refuse(Error::config(format!("{BASE}/schemata/{index}"), "a schema is one line"))?;
        }
    }
    Ok(Some(planned))
}

/// The directory of a class of service.
fn group(name: &str) -> Result<String> {
    /// What else is in the root of the file system.
    const TAKEN: [&str; 3] = ["info", "mon_data", "mon_groups"];
    if name == "/" {
        return Ok(String::new());
    }
    let is_name = !name.contains(['/', '\n', '\0']) && !matches!(name, "." | "..") && name.len() <= 255;
    if !is_name || TAKEN.contains(&name) {
        return Err(Error::config(
            format!("{BASE}/closID"),
            format!("\"{name}\" is no name of a class of service: a file name, or / for the default class"),
        ));
    }
    Ok(name.to_owned())
}

/// A processor that tells code from data has other names for its schemas.
fn check_l3(schema: Option<&str>, at: &str, report: &mut Report) {
    let Some(schema) = schema else { return };
    if !schema.starts_with("L3:") {
        report.warn(at, "a schema of the L3 cache should start with L3:");
    }
    if schema.contains('\n') {
        report.warn(at, "a schema of the L3 cache should be one line");
    }
}

/// Checks a schema of the memory bandwidth at pointer or option `at`.
pub fn check_bandwidth(schema: Option<&str>, at: &str) -> Result<()> {
    let problem = match schema {
        Some(schema) if !schema.starts_with("MB:") => "a schema of the memory bandwidth starts with MB:",
        Some(schema) if schema.contains('\n') => "a schema of the memory bandwidth is one line",
        _ => return Ok(()),
    };
    Err(Error::config(at, problem))
}
