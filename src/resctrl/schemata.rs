//! The file `schemata`: one line for each resource, one value for each cache.

use crate::error::{Error, Result};
use crate::plan::intel_rdt::IntelRdt;

/// Compares the schemata of a group that exists with those that are asked for.
///
/// Errors: one of them differs, or the group has none for that cache.
pub fn compare(existing: &str, asked: &IntelRdt) -> Result<()> {
    for (schema, member) in [(&asked.l3, "l3CacheSchema"), (&asked.bandwidth, "memBwSchema")] {
        for (resource, cache, value) in schema.iter().flat_map(|text| entries(text)) {
            let found = entries(existing).find(|(r, c, _)| (*r, *c) == (resource, cache));
            if found.is_some_and(|(_, _, found)| is_same(resource, found, value)) {
                continue;
            }
            let has = found.map_or("nothing".to_owned(), |(_, _, found)| found.to_owned());
            return Err(Error::config(
                format!("/linux/intelRdt/{member}"),
                format!("the group exists, and has {has} where {resource}:{cache}={value} is asked for"),
            ));
        }
    }
    Ok(())
}

/// Resource, cache and value of each entry: `L3:0=7f0;1=1f` has two.
fn entries(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    text.lines().filter_map(|line| line.split_once(':')).flat_map(|(resource, values)| {
        let pair = |value| -> Option<(&str, &str)> { str::split_once(value, '=') };
        values
            .split(';')
            .filter_map(pair)
            .map(move |(cache, value)| (resource.trim(), cache.trim(), value.trim()))
    })
}

/// Masks of caches are hexadecimal, with or without leading zeros; bandwidths are decimal.
fn is_same(resource: &str, one: &str, other: &str) -> bool {
    let number = |text: &str| match resource {
        "MB" => text.parse::<u64>().ok(),
        _ => u64::from_str_radix(text, 16).ok(),
    };
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
