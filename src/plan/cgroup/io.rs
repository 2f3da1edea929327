//! `linux.resources.blockIO`.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::settings::{Missing, Section};
use crate::error::Result;

const WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;

/// The files of a block I/O section.
pub(super) fn plan(block_io: &LinuxBlockIo, section: &mut Section) -> Result<()> {
    plan_weight(block_io, section)?;
    plan_weight_devices(block_io, section)?;
    let throttles = [
        ("throttleReadBpsDevice", "rbps", "read_bps", block_io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", "wbps", "write_bps", block_io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", "riops", "read_iops", block_io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", "wiops", "write_iops", block_io.throttle_write_iops_device()),
    ];
    for (field, v2_key, v1_file, devices) in throttles {
        for (index, device) in devices.iter().flatten().enumerate() {
            plan_throttle(device, &format!("{field}/{index}"), v2_key, v1_file, section)?;
        }
    }
    Ok(())
}

fn plan_weight(block_io: &LinuxBlockIo, section: &mut Section) -> Result<()> {
    if let Some(weight) = checked_weight(block_io.weight(), "weight", section)? {
        let setting = if section.is_v2() {
            let instead = Missing::Instead("io.weight".to_owned(), io_weight(weight).to_string());
            section.setting("weight", "io.bfq.weight", weight).missing(instead)
        } else {
            let instead = Missing::Instead("blkio.bfq.weight".to_owned(), weight.to_string());
            section.setting("weight", "blkio.weight", weight).missing(instead)
        };
        section.settings.push(setting);
    }
    if let Some(weight) = checked_weight(block_io.leaf_weight(), "leafWeight", section)? {
        if section.is_v2() {
            section.warn("leafWeight", "cgroup v2 has no leaf weight, ignored");
        } else {
            section.set("leafWeight", "blkio.leaf_weight", weight);
        }
    }
    Ok(())
}

fn plan_weight_devices(block_io: &LinuxBlockIo, section: &mut Section) -> Result<()> {
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        let field = format!("weightDevice/{index}");
        let Some(number) = device_number(device.major(), device.minor(), &field, section)? else { continue };
        let weight = checked_weight(device.weight(), &format!("{field}/weight"), section)?;
        let leaf_weight = checked_weight(device.leaf_weight(), &format!("{field}/leafWeight"), section)?;
        if is_unset(device.weight()) && is_unset(device.leaf_weight()) {
            section.refuse(&field, "neither weight nor leafWeight is given")?;
        }
        if let Some(weight) = weight {
            let value = format!("{number} {weight}");
            let setting = if section.is_v2() {
                section.setting(&field, "io.bfq.weight", value)
            } else {
                let instead = Missing::Instead("blkio.bfq.weight_device".to_owned(), value.clone());
                section.setting(&field, "blkio.weight_device", value).missing(instead)
            };
            section.settings.push(setting);
        }
        match leaf_weight {
            Some(_) if section.is_v2() => section.warn(&field, "cgroup v2 has no leaf weight, ignored"),
            Some(leaf_weight) => {
                section.set(&field, "blkio.leaf_weight_device", format!("{number} {leaf_weight}"))
            }
            None => {}
        }
    }
    Ok(())
}

/// A rate of 0 takes the limit away: version 1 reads it so, cgroup2 wants the word.
fn plan_throttle(
    device: &LinuxThrottleDevice,
    field: &str,
    v2_key: &str,
    v1_file: &str,
    section: &mut Section,
) -> Result<()> {
    let Some(number) = device_number(device.major(), device.minor(), field, section)? else { return Ok(()) };
    if section.is_v2() {
        let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
        section.set(field, "io.max", format!("{number} {v2_key}={rate}"));
    } else {
        let file = format!("blkio.throttle.{v1_file}_device");
        section.set(field, file, format!("{number} {}", device.rate()));
    }
    Ok(())
}

fn is_unset(weight: Option<u16>) -> bool {
    weight.is_none_or(|weight| weight == 0)
}

fn checked_weight(weight: Option<u16>, field: &str, section: &mut Section) -> Result<Option<u16>> {
    match weight {
        None | Some(0) => Ok(None),
        Some(weight) if WEIGHTS.contains(&weight) => Ok(Some(weight)),
        Some(weight) => {
            let (low, high) = (WEIGHTS.start(), WEIGHTS.end());
            section.refuse(field, format!("weight {weight} is not within {low} and {high}")).map(|()| None)
        }
    }
}

fn device_number(major: i64, minor: i64, field: &str, section: &mut Section) -> Result<Option<String>> {
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) => Ok(Some(format!("{major}:{minor}"))),
        _ => section.refuse(field, format!("{major}:{minor} is no device number")).map(|()| None),
    }
}

/// 10 to 1000 of version 1 on the scale 1 to 10000 of `io.weight`.
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9_999 / 990
}
