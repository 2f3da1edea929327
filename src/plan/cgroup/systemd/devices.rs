//! The device policy in the words of systemd, so that it does not undo ours when it sets a unit up anew.

use super::Property;
use super::value::Value;
use crate::plan::cgroup::Mode;
use crate::plan::cgroup::devices::{Access, DeviceType, Exception, POINTER, Policy};
use crate::report::Report;

/// `DevicePolicy` and `DeviceAllow`.
///
/// systemd permits lists, by one number, by major number, or for all of a sort. On version 2 its filter is one more
/// beside ours and both must permit, so what it cannot say is permitted there for all of the sort and narrowed by
/// ours. On version 1 there is one list, and what is not said may be lost: a warning.
pub fn properties(policy: &Policy, mode: Mode, report: &mut Report) -> Vec<Property> {
    let property =
        |name: &str, value| Property { name: name.to_owned(), value, pointer: POINTER.to_owned(), since: 0 };
    let mut warn = |text: String| report.warn(POINTER, text);
    let mut allowed: Vec<(String, Access)> = Vec::new();
    // Of several entries for one name systemd takes the last alone.
    let mut allow =
        |specifier: String, access: Access| match allowed.iter_mut().find(|(other, _)| *other == specifier) {
            Some((_, both)) => *both = Access::from_bits(both.bits() | access.bits()),
            None => allowed.push((specifier, access)),
        };
    if policy.allow_by_default {
        if mode != Mode::V2 && !policy.exceptions.is_empty() {
            warn("systemd cannot deny single devices: a reload of it may permit them".to_owned());
        }
    } else {
        for exception in &policy.exceptions {
            match specifier(exception) {
                Some(specifier) => allow(specifier, exception.access),
                None if mode == Mode::V2 => allow(every(exception.kind).to_owned(), exception.access),
                None => warn(format!("systemd cannot express \"{exception}\": a reload of it may deny that")),
            }
        }
    }
    let allowed = allowed.into_iter().map(|(specifier, access)| {
        Value::Struct(vec![Value::String(specifier), Value::string(access.to_string())])
    });
    vec![
        property("DevicePolicy", Value::string(if policy.allow_by_default { "auto" } else { "strict" })),
        property("DeviceAllow", Value::Array("(ss)".to_owned(), allowed.collect())),
    ]
}

/// How systemd names a set of devices; nothing when it cannot.
///
/// A major number takes the place of the name of a group: not every major number has a name in /proc/devices, and
/// one may have several.
fn specifier(devices: &Exception) -> Option<String> {
    let directory = match devices.kind {
        DeviceType::Block => "block",
        DeviceType::Char => "char",
    };
    match (devices.major, devices.minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{directory}/{major}:{minor}")),
        (Some(major), None) => Some(format!("{directory}-{major}")),
        (None, None) => Some(every(devices.kind).to_owned()),
        (None, Some(_)) => None,
    }
}

fn every(kind: DeviceType) -> &'static str {
    match kind {
        DeviceType::Block => "block-*",
        DeviceType::Char => "char-*",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cgroup::devices::Rule;

    fn told(rules: &[Rule], mode: Mode) -> (Vec<String>, usize) {
        let mut policy = Policy::default();
        rules.iter().for_each(|rule| policy.add(*rule).unwrap());
        let mut report = Report::of_first_error();
        let properties = properties(&policy, mode, &mut report);
        (properties.iter().map(ToString::to_string).collect(), report.into_warnings().len())
    }

    fn some(kind: DeviceType, major: Option<u32>, minor: Option<u32>, access: Access) -> Rule {
        Rule::Some(true, Exception { kind, major, minor, access })
    }

    #[test]
    fn a_list_is_named_as_systemd_names_devices() {
        let rules = [
            some(DeviceType::Char, Some(1), Some(3), Access::ALL),
            some(DeviceType::Block, Some(8), None, Access::READ),
            some(DeviceType::Char, None, None, Access::MKNOD),
            some(DeviceType::Block, None, None, Access::MKNOD),
        ];
        let list = "[('/dev/char/1:3', 'rwm'), ('block-8', 'r'), ('char-*', 'm'), ('block-*', 'm')]";
        let expected = vec!["DevicePolicy = 'strict'".to_owned(), format!("DeviceAllow = {list}")];
        assert_eq!(told(&rules, Mode::V2), (expected.clone(), 0));
        assert_eq!(told(&rules, Mode::V1), (expected, 0));
    }

    #[test]
    fn a_minor_number_of_every_major_one_is_left_to_our_filter() {
        let every = some(DeviceType::Char, None, None, Access::MKNOD);
        let rules = [some(DeviceType::Char, None, Some(5), Access::READ)];
        let (lines, warnings) = told(&[rules[0], every], Mode::V2);
        assert_eq!((lines[1].as_str(), warnings), ("DeviceAllow = [('char-*', 'rm')]", 0));
        let (lines, warnings) = told(&rules, Mode::Hybrid);
        assert_eq!((lines[1].as_str(), warnings), ("DeviceAllow = @a(ss) []", 1));
    }

    #[test]
    fn denials_are_left_to_our_filter() {
        let deny = Exception { kind: DeviceType::Char, major: Some(1), minor: Some(1), access: Access::ALL };
        let rules = [Rule::All(true), Rule::Some(false, deny)];
        let expected = vec!["DevicePolicy = 'auto'".to_owned(), "DeviceAllow = @a(ss) []".to_owned()];
        assert_eq!(told(&rules, Mode::V2), (expected.clone(), 0));
        assert_eq!(told(&rules, Mode::V1), (expected, 1));
    }
}
