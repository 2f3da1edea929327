//! Reads what the probe has printed.

use serde_json::Value;

/// The topmost mount at a path of the container; the test fails when there is none.
#[track_caller]
pub fn mount<'v>(report: &'v Value, point: &str) -> &'v Value {
    find_mount(report, point).unwrap_or_else(|| panic!("nothing is mounted on {point}: {}", points(report)))
}

/// The topmost mount at a path of the container.
pub fn find_mount<'v>(report: &'v Value, point: &str) -> Option<&'v Value> {
    report["mounts"].as_array()?.iter().rev().find(|mount| mount["point"] == point)
}

/// Whether the mount, not its file system, has an option.
pub fn has(mount: &Value, option: &str) -> bool {
    contains(&mount["options"], option)
}

/// Whether the file system of a mount has an option.
pub fn super_has(mount: &Value, option: &str) -> bool {
    contains(&mount["super"], option)
}

/// Whether a mount has a kind of propagation: `shared`, `master`, `unbindable`.
pub fn propagates(mount: &Value, kind: &str) -> bool {
    let Some(fields) = mount["propagation"].as_array() else { return false };
    fields.iter().filter_map(Value::as_str).any(|field| field.split(':').next() == Some(kind))
}

/// A field of /proc/self/status.
pub fn status<'v>(report: &'v Value, name: &str) -> &'v str {
    report["status"][name].as_str().unwrap_or_default()
}

fn contains(list: &Value, option: &str) -> bool {
    list.as_array().is_some_and(|all| all.iter().any(|o| o == option))
}

fn points(report: &Value) -> String {
    let Some(mounts) = report["mounts"].as_array() else { return String::new() };
    mounts.iter().filter_map(|mount| mount["point"].as_str()).collect::<Vec<_>>().join(" ")
}
