//! The small sections of `linux.resources`: pids, huge pages, network, rdma, and raw files of cgroup2.

use std::collections::{BTreeMap, HashMap};

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxPids, LinuxRdma};

use super::settings::{Controller, Missing, Section, Setting, Version};
use super::{Mode, invalid};
use crate::error::Result;
use crate::report::Report;

/// `pids`. A limit of zero would refuse the init process itself, which is there already: the same as one.
pub(super) fn plan_pids(pids: &LinuxPids, section: &mut Section) -> Result<()> {
    let limit = pids.limit();
    let value = if limit < 0 { "max".to_owned() } else { limit.max(1).to_string() };
    section.set("limit", "pids.max", value);
    Ok(())
}

/// `hugepageLimits`: bytes of pages in use, and of pages set aside where the kernel counts those.
pub(super) fn plan_hugepages(limits: &[LinuxHugepageLimit], section: &mut Section) -> Result<()> {
    for (index, limit) in limits.iter().enumerate() {
        let size = limit.page_size();
        if !is_page_size(size) {
            let problem = format!("{size:?} is no size of a page");
            section.refuse(&format!("{index}/pageSize"), problem)?;
            continue;
        }
        let (file, value) = match (section.is_v2(), limit.limit()) {
            (true, bytes) if bytes < 0 => ("max", "max".to_owned()),
            (true, bytes) => ("max", bytes.to_string()),
            (false, bytes) => ("limit_in_bytes", bytes.max(-1).to_string()),
        };
        let field = index.to_string();
        let reserved = section.setting(&field, format!("hugetlb.{size}.rsvd.{file}"), &value);
        section.set(&field, format!("hugetlb.{size}.{file}"), &value);
        section.settings.push(reserved.missing(Missing::Ignore));
    }
    Ok(())
}

/// `64KB`, `2MB`, `1GB`: digits without leading zero and a unit. It becomes a part of a file name.
fn is_page_size(text: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit));
    number.is_some_and(|digits| {
        !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// `network.classID`.
pub(super) fn plan_net_cls(network: &LinuxNetwork, section: &mut Section) -> Result<()> {
    match network.class_id() {
        None | Some(0) => Ok(()),
        Some(_) if section.is_v2() => section.refuse("classID", "cgroup v2 has no network classes"),
        Some(class) => {
            section.set("classID", "net_cls.classid", class);
            Ok(())
        }
    }
}

/// `network.priorities`, by interfaces of the host.
pub(super) fn plan_net_prio(network: &LinuxNetwork, section: &mut Section) -> Result<()> {
    for (index, priority) in network.priorities().iter().flatten().enumerate() {
        let field = format!("priorities/{index}");
        if section.is_v2() {
            section.refuse(&field, "cgroup v2 has no network priorities")?;
            continue;
        }
        let name = priority.name();
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            section.refuse(&format!("{field}/name"), format!("{name:?} is no interface"))?;
            continue;
        }
        section.set(&field, "net_prio.ifpriomap", format!("{name} {}", priority.priority()));
    }
    Ok(())
}

/// `rdma`: limits of each device, in the order of their names.
pub(super) fn plan_rdma(devices: &HashMap<String, LinuxRdma>, section: &mut Section) -> Result<()> {
    for (device, limits) in devices.iter().collect::<BTreeMap<_, _>>() {
        let field = escaped(device);
        if device.is_empty() || device.chars().any(|c| c.is_whitespace() || c.is_control()) {
            section.refuse(&field, format!("{device:?} is no device"))?;
            continue;
        }
        let handles = limits.hca_handles().map(|limit| format!(" hca_handle={limit}"));
        let objects = limits.hca_objects().map(|limit| format!(" hca_object={limit}"));
        if handles.is_none() && objects.is_none() {
            section.refuse(&field, "neither hcaHandles nor hcaObjects is given")?;
            continue;
        }
        let value = format!("{device}{}{}", handles.unwrap_or_default(), objects.unwrap_or_default());
        section.set(&field, "rdma.max", value);
    }
    Ok(())
}

/// Files that are not limits: writing them would move, kill or stop processes behind the runtime's back.
const NOT_LIMITS: &[&str] = &["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze"];

/// `unified`: files of cgroup2 by name, one write for each line. Last, so that they win over the other sections.
pub(super) fn plan_unified(
    files: &HashMap<String, String>,
    mode: Mode,
    report: &mut Report,
) -> Result<Vec<Setting>> {
    const POINTER: &str = "/linux/resources/unified";
    let mut settings = Vec::new();
    if mode != Mode::V2 && !files.is_empty() {
        report.refuse(invalid(POINTER, "unified requires cgroup v2"))?;
        return Ok(settings);
    }
    for (file, value) in files.iter().collect::<BTreeMap<_, _>>() {
        let pointer = format!("{POINTER}/{}", escaped(file));
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let Some((controller, _)) = file.split_once('.').filter(|_| file.chars().all(is_name)) else {
            report.refuse(invalid(pointer, format!("{file:?} is no name of a cgroup file")))?;
            continue;
        };
        if NOT_LIMITS.contains(&file.as_str()) || controller.is_empty() {
            report.refuse(invalid(pointer, format!("{file} cannot be set here")))?;
            continue;
        }
        let known = Controller::from_v2_name(controller).unwrap_or(Controller::Other);
        for line in value.lines().map(str::trim).filter(|line| !line.is_empty()) {
            settings.push(Setting {
                controller: known,
                version: Version::V2,
                file: file.clone(),
                value: line.to_owned(),
                pointer: pointer.clone(),
                missing: Missing::Error,
                retry_last: false,
            });
        }
    }
    Ok(settings)
}

/// One part of a JSON pointer (RFC 6901).
pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
