//! What the resctrl file system tells about a container, in the JSON of `events`.
//!
//! Field names and units are those that readers know from runc.

use serde::Serialize;

use super::{Group, Resctrl};
use crate::control_dir::ControlDir;
use crate::error::Result;

/// What is not there is left out. Sizes are bytes.
#[derive(Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // the names are those of the output format
pub struct Figures {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<CacheInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<BandwidthInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// By domain of the L3 cache, in the order of their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mbm_stats: Vec<Bandwidth>,
    /// The same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmt_stats: Vec<Occupancy>,
}

/// What the processor offers.
#[derive(Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct CacheInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cbm_mask: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_cbm_bits: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_closids: Option<u64>,
}

/// What the processor offers.
#[derive(Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct BandwidthInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_gran: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_linear: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_bandwidth: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_closids: Option<u64>,
}

/// Bytes that went to memory. A counter that the hardware has no number for just now is left out.
#[derive(Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Bandwidth {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_total_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_local_bytes: Option<u64>,
}

/// Bytes of the cache that are in use.
#[derive(Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Occupancy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llc_occupancy: Option<u64>,
}

impl Resctrl {
    /// The figures of a group: of its monitoring group, if the container has one.
    pub fn figures(&self, group: &Group) -> Result<Figures> {
        let number =
            |dir: &ControlDir, file: &str| dir.read(file).ok().and_then(|text| text.trim().parse().ok());
        let info = |name: &str| self.root.child(format!("info/{name}")).ok();
        let of_root = lines(&self.root.read_file("schemata")?);
        let own = lines(&group.dir.read_file("schemata")?);
        let mut figures = Figures {
            l3_cache_info: info("L3").map(|dir| CacheInfo {
                cbm_mask: dir.read("cbm_mask").ok().map(|mask| mask.trim().to_owned()),
                min_cbm_bits: number(&dir, "min_cbm_bits"),
                num_closids: number(&dir, "num_closids"),
            }),
            l3_cache_schema_root: line(&of_root, "L3:"),
            l3_cache_schema: line(&own, "L3:"),
            mem_bw_info: info("MB").map(|dir| BandwidthInfo {
                bandwidth_gran: number(&dir, "bandwidth_gran"),
                delay_linear: number(&dir, "delay_linear"),
                min_bandwidth: number(&dir, "min_bandwidth"),
                num_closids: number(&dir, "num_closids"),
            }),
            mem_bw_schema_root: line(&of_root, "MB:"),
            mem_bw_schema: line(&own, "MB:"),
            schemata: own,
            ..Figures::default()
        };
        let Ok(data) = group.monitor.as_ref().unwrap_or(&group.dir).child("mon_data") else {
            return Ok(figures); // the processor counts nothing
        };
        let names = data.children().map_err(|e| data.error("list", ".", "getdents64(2)", e))?;
        let mut domains: Vec<String> = names
            .iter()
            .filter_map(|name| name.to_str())
            .filter(|n| n.starts_with("mon_L3_"))
            .map(str::to_owned)
            .collect();
        domains.sort();
        for domain in domains {
            let Ok(domain) = data.child(&domain) else { continue };
            if domain.has("mbm_total_bytes") || domain.has("mbm_local_bytes") {
                figures.mbm_stats.push(Bandwidth {
                    mbm_total_bytes: number(&domain, "mbm_total_bytes"),
                    mbm_local_bytes: number(&domain, "mbm_local_bytes"),
                });
            }
            if domain.has("llc_occupancy") {
                figures.cmt_stats.push(Occupancy { llc_occupancy: number(&domain, "llc_occupancy") });
            }
        }
        Ok(figures)
    }
}

/// The lines of a file of schemata, which the kernel pads.
fn lines(schemata: &str) -> Vec<String> {
    schemata.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn line(lines: &[String], resource: &str) -> Option<String> {
    lines.iter().find(|line| line.starts_with(resource)).cloned()
}
