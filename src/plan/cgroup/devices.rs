//! `linux.resources.devices`: which devices may be opened and made.
//!
//! The list is read the way the device controller of version 1 reads writes to its files, on both hierarchies, so
//! that a config means the same everywhere. What that controller silently ignores is an error here.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::invalid;
use crate::error::Result;
use crate::report::Report;

/// Where `config.json` has the list.
pub const POINTER: &str = "/linux/resources/devices";

/// Sort of a device node. The numbers are those of the kernel's device programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceType {
    /// A block device.
    Block = 1,
    /// A character device.
    Char = 2,
}

impl DeviceType {
    fn letter(self) -> char {
        match self {
            DeviceType::Block => 'b',
            DeviceType::Char => 'c',
        }
    }
}

/// A set of accesses. The bits are those of the kernel's device programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access(u8);

impl Access {
    /// Making a node.
    pub const MKNOD: Access = Access(1);
    /// Opening for reading.
    pub const READ: Access = Access(2);
    /// Opening for writing.
    pub const WRITE: Access = Access(4);
    /// All of them.
    pub const ALL: Access = Access(7);

    /// The set with these bits, others dropped.
    pub fn from_bits(bits: u8) -> Access {
        Access(bits & Access::ALL.0)
    }

    /// The bits of the set.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Reads letters out of `rwm`.
    pub fn parse(text: &str) -> Option<Access> {
        text.chars().try_fold(Access::default(), |access, letter| {
            let bit = match letter {
                'r' => Access::READ,
                'w' => Access::WRITE,
                'm' => Access::MKNOD,
                _ => return None,
            };
            Some(Access(access.0 | bit.0))
        })
    }

    /// Whether every access of `other` is in the set.
    pub fn contains(self, other: Access) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether any access of `other` is in the set.
    pub fn overlaps(self, other: Access) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (access, letter) in [(Access::READ, "r"), (Access::WRITE, "w"), (Access::MKNOD, "m")] {
            if self.overlaps(access) {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// Devices that are treated unlike the default. `None` stands for every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exception {
    /// Sort of the node.
    pub kind: DeviceType,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
    /// The accesses in question.
    pub access: Access,
}

impl Exception {
    fn same_devices(&self, other: &Exception) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    fn is_wider_than(&self, other: &Exception) -> bool {
        let covers = |wide: Option<u32>, narrow: Option<u32>| wide.is_none() || wide == narrow;
        self.kind == other.kind
            && covers(self.major, other.major)
            && covers(self.minor, other.minor)
            && !self.same_devices(other)
    }

    fn matches(&self, kind: DeviceType, major: u32, minor: u32) -> bool {
        self.kind == kind
            && self.major.is_none_or(|wanted| wanted == major)
            && self.minor.is_none_or(|wanted| wanted == minor)
    }
}

impl fmt::Display for Exception {
    /// The form of the files of version 1: `c 1:* rw`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        write!(f, "{} {}:{} {}", self.kind.letter(), number(self.major), number(self.minor), self.access)
    }
}

/// What is permitted: a default, and the devices that are treated the other way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether a device without exception is permitted.
    pub allow_by_default: bool,
    /// The others, in the order in which they came up.
    pub exceptions: Vec<Exception>,
}

/// A rule as the config has it, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Everything is permitted, or nothing, and no exceptions.
    All(bool),
    /// These accesses are permitted, or not.
    Some(bool, Exception),
}

impl Policy {
    /// Applies one more rule.
    ///
    /// Errors: the rule takes a part out of a wider exception, which the controller of version 1 would ignore.
    pub fn add(&mut self, rule: Rule) -> std::result::Result<(), Exception> {
        let (allow, devices) = match rule {
            Rule::All(allow) => {
                *self = Policy { allow_by_default: allow, exceptions: Vec::new() };
                return Ok(());
            }
            Rule::Some(allow, devices) => (allow, devices),
        };
        if allow == self.allow_by_default {
            self.subtract(devices)
        } else {
            match self.exceptions.iter_mut().find(|exception| exception.same_devices(&devices)) {
                Some(exception) => exception.access.0 |= devices.access.0,
                None => self.exceptions.push(devices),
            }
            Ok(())
        }
    }

    fn subtract(&mut self, devices: Exception) -> std::result::Result<(), Exception> {
        let wider = self
            .exceptions
            .iter()
            .find(|exception| exception.is_wider_than(&devices) && exception.access.overlaps(devices.access));
        if let Some(wider) = wider {
            return Err(*wider);
        }
        if let Some(exception) = self.exceptions.iter_mut().find(|exception| exception.same_devices(&devices))
        {
            exception.access.0 &= !devices.access.0;
        }
        self.exceptions.retain(|exception| !exception.access.is_empty());
        Ok(())
    }

    /// Whether one access, which may ask for several things at once, is permitted.
    ///
    /// A permission must come from one exception as a whole; a prohibition strikes when it concerns any part.
    pub fn permits(&self, kind: DeviceType, major: u32, minor: u32, access: Access) -> bool {
        let mut matching = self.exceptions.iter().filter(|exception| exception.matches(kind, major, minor));
        if self.allow_by_default {
            !matching.any(|exception| exception.access.overlaps(access))
        } else {
            matching.any(|exception| exception.access.contains(access))
        }
    }

    /// The policy in words, one line for each exception.
    pub fn to_lines(&self) -> Vec<String> {
        let (default, others) = if self.allow_by_default { ("allow", "deny") } else { ("deny", "allow") };
        let mut lines = vec![format!("{default} a *:* rwm")];
        lines.extend(self.exceptions.iter().map(|exception| format!("{others} {exception}")));
        lines
    }
}

/// What every container may use: the path of the default node, when there is one, and the rule.
///
/// Source: config-linux.md#default-devices; the rest is what runc permits besides: making any node (opening it is
/// another matter), pseudo terminals, tun.
const DEFAULTS: &[(Option<&str>, Exception)] = &[
    (None, exception(DeviceType::Char, None, None, Access::MKNOD)),
    (None, exception(DeviceType::Block, None, None, Access::MKNOD)),
    (Some("/dev/null"), exception(DeviceType::Char, Some(1), Some(3), Access::ALL)),
    (Some("/dev/random"), exception(DeviceType::Char, Some(1), Some(8), Access::ALL)),
    (Some("/dev/full"), exception(DeviceType::Char, Some(1), Some(7), Access::ALL)),
    (Some("/dev/tty"), exception(DeviceType::Char, Some(5), Some(0), Access::ALL)),
    (Some("/dev/zero"), exception(DeviceType::Char, Some(1), Some(5), Access::ALL)),
    (Some("/dev/urandom"), exception(DeviceType::Char, Some(1), Some(9), Access::ALL)),
    (None, exception(DeviceType::Char, Some(136), None, Access::ALL)),
    (None, exception(DeviceType::Char, Some(5), Some(2), Access::ALL)),
    (None, exception(DeviceType::Char, Some(10), Some(200), Access::ALL)),
];

const fn exception(kind: DeviceType, major: Option<u32>, minor: Option<u32>, access: Access) -> Exception {
    Exception { kind, major, minor, access }
}

/// Reads the list of the config and adds what every container may use.
///
/// A configured device at the path of a default one (`configured_paths`) takes its place and its permission away.
/// Errors: an invalid rule, or one that would take a part out of a wider one.
pub fn plan_devices(
    rules: &[LinuxDeviceCgroup],
    configured_paths: &[&str],
    report: &mut Report,
) -> Result<Policy> {
    let mut policy = Policy::default();
    for (index, rule) in rules.iter().enumerate() {
        let pointer = format!("{POINTER}/{index}");
        let Some(read) = report.keep(read_rule(rule, &pointer))? else { continue };
        if let Err(wider) = policy.add(read) {
            let problem =
                format!("the rule {rule} would be ignored: \"{wider}\" covers it, cannot punch a hole");
            report.refuse(invalid(&pointer, problem))?;
        }
    }
    if policy.allow_by_default {
        return Ok(policy);
    }
    for (path, devices) in DEFAULTS {
        if path.is_some_and(|path| configured_paths.contains(&path)) {
            continue;
        }
        // Adding to the exceptions of a denying policy cannot be refused.
        let _ = policy.add(Rule::Some(true, *devices));
    }
    Ok(policy)
}

/// Checks one rule of the config.
pub fn read_rule(rule: &LinuxDeviceCgroup, pointer: &str) -> Result<Rule> {
    let access = match rule.access().as_deref() {
        Some(text) => Access::parse(text).ok_or_else(|| {
            invalid(format!("{pointer}/access"), format!("access {text:?} has letters other than \"rwm\""))
        })?,
        None => Access::default(),
    };
    let kind = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => return Ok(Rule::All(rule.allow())),
        LinuxDeviceType::B => DeviceType::Block,
        LinuxDeviceType::C => DeviceType::Char,
        other => {
            return Err(invalid(
                format!("{pointer}/type"),
                format!("type {:?} has no rules", other.as_str()),
            ));
        }
    };
    if access.is_empty() {
        return Err(invalid(format!("{pointer}/access"), "the access is empty"));
    }
    let number = |number: Option<i64>, field: &str| match number {
        None | Some(-1) => Ok(None),
        // The largest number stands for all of them in the kernel's lists.
        Some(number) => match u32::try_from(number) {
            Ok(number) if number != u32::MAX => Ok(Some(number)),
            _ => Err(invalid(format!("{pointer}/{field}"), format!("{number} is no device number"))),
        },
    };
    let (major, minor) = (number(rule.major(), "major")?, number(rule.minor(), "minor")?);
    Ok(Rule::Some(rule.allow(), Exception { kind, major, minor, access }))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::cgroup::device_table::lists;

    type Devices = (DeviceType, Option<u32>, Option<u32>);

    /// The rules read another way: for each set of devices only the rules about that very set count, and they
    /// count one after the other.
    fn permits(rules: &[Rule], kind: DeviceType, major: u32, minor: u32, access: Access) -> bool {
        let start = rules.iter().rposition(|rule| matches!(rule, Rule::All(_)));
        let default = match start.map(|at| rules[at]) {
            Some(Rule::All(allow)) => allow,
            _ => false,
        };
        let rules = &rules[start.map_or(0, |at| at + 1)..];
        let sets: [Devices; 4] = [
            (kind, Some(major), Some(minor)),
            (kind, Some(major), None),
            (kind, None, Some(minor)),
            (kind, None, None),
        ];
        let exceptional = sets.map(|set| {
            rules.iter().fold(0, |bits, rule| match rule {
                Rule::Some(allow, e) if (e.kind, e.major, e.minor) == set => {
                    if *allow == default {
                        bits & !e.access.bits()
                    } else {
                        bits | e.access.bits()
                    }
                }
                _ => bits,
            })
        });
        if default {
            exceptional.iter().all(|bits| bits & access.bits() == 0)
        } else {
            exceptional.iter().any(|bits| bits & access.bits() == access.bits())
        }
    }

    #[test]
    fn lists_mean_what_the_rules_say_one_by_one() {
        let lists = lists();
        assert!(lists.iter().filter(|list| !list.is_refused).count() >= 40);
        for list in lists {
            let Ok(policy) = plan_devices(&list.rules, &[], &mut Report::of_first_error()) else {
                assert!(list.is_refused, "{} is refused", list.text);
                continue;
            };
            assert!(!list.is_refused, "{} is accepted", list.text);
            let mut rules: Vec<Rule> = list.rules.iter().map(|rule| read_rule(rule, "").unwrap()).collect();
            if !policy.allow_by_default {
                rules.extend(DEFAULTS.iter().map(|(_, devices)| Rule::Some(true, *devices)));
            }
            for_every_access(|kind, major, minor, access| {
                let expected = permits(&rules, kind, major, minor, access);
                let actual = policy.permits(kind, major, minor, access);
                assert_eq!(actual, expected, "{}: {kind:?} {major}:{minor} {access}", list.text);
            });
        }
    }

    /// Calls `check` with every access to devices inside and around those of the table.
    pub(crate) fn for_every_access(mut check: impl FnMut(DeviceType, u32, u32, Access)) {
        for kind in [DeviceType::Block, DeviceType::Char] {
            for major in [0, 1, 2, 5, 10, 136, 240, 241, 1 << 31, u32::MAX] {
                for minor in [0, 1, 2, 3, 11, 200, 229, u32::MAX] {
                    (1..=7).for_each(|bits| check(kind, major, minor, Access::from_bits(bits)));
                }
            }
        }
    }

    #[test]
    fn without_a_list_the_default_devices_work() {
        let policy = plan_devices(&[], &[], &mut Report::of_first_error()).unwrap();
        assert!(policy.permits(DeviceType::Char, 1, 3, Access::ALL));
        assert!(policy.permits(DeviceType::Block, 8, 0, Access::MKNOD));
        assert!(!policy.permits(DeviceType::Block, 8, 0, Access::READ));
        assert!(!policy.permits(DeviceType::Char, 1, 1, Access::READ));
    }

    #[test]
    fn a_configured_device_takes_the_permission_of_the_default_one_away() {
        let policy = plan_devices(&[], &["/dev/null", "/dev/mine"], &mut Report::of_first_error()).unwrap();
        assert!(!policy.permits(DeviceType::Char, 1, 3, Access::READ));
        assert!(policy.permits(DeviceType::Char, 1, 5, Access::READ));
    }

    #[test]
    fn errors_point_at_the_field() {
        let pointer = |list: &str| {
            let list = lists().into_iter().find(|other| other.text == list).unwrap();
            plan_devices(&list.rules, &[], &mut Report::of_first_error())
                .unwrap_err()
                .pointer()
                .unwrap()
                .to_owned()
        };
        assert_eq!(pointer("! allow c 240:1 x"), "/linux/resources/devices/0/access");
        assert_eq!(pointer("! allow c -2:1 rwm"), "/linux/resources/devices/0/major");
        assert_eq!(pointer("! allow p 240:1 rwm"), "/linux/resources/devices/0/type");
        assert_eq!(pointer("! allow c 240:* rwm, deny c 240:1 r"), "/linux/resources/devices/1");
    }
}
