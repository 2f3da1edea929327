//! The unit of systemd that holds a container: which properties it is started with.
//!
//! Pure: the properties are typed values, never text that somebody parses. The process is added when it exists.
//! Not here: names of units (that is `path`), talking to systemd.

pub mod devices;
pub mod limits;
pub mod text;
pub mod value;

use std::collections::BTreeMap;
use std::fmt;

use super::path::{self, Unit};
use super::{Mode, invalid, rest};
use crate::error::Result;
use crate::report::Report;
use value::Value;

/// Annotations that start with this name a property, and their values are values of it.
pub const ANNOTATION: &str = "org.systemd.property.";

/// What a unit of ours is described as, followed by the id of the container.
pub const DESCRIPTION: &str = "teu container ";

/// The longest type that a message can name.
const LONGEST_SIGNATURE: usize = 255;

/// One property of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Its name, such as `MemoryMax`.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// Where `config.json` asks for it.
    pub pointer: String,
    /// The first version of systemd that knows it, 0 for all. Earlier ones are not told.
    pub since: u32,
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, self.value)?;
        match self.since {
            0 => Ok(()),
            since => write!(f, " [since systemd {since}]"),
        }
    }
}

/// What the properties are made from.
pub(super) struct Facts<'a> {
    pub id: &'a str,
    pub unit: &'a Unit,
    pub mode: Mode,
    pub rootless: bool,
    pub annotations: &'a BTreeMap<String, String>,
    pub settings: &'a [super::Setting],
    pub policy: &'a super::devices::Policy,
}

/// Every property, in the order in which systemd takes them: the last of a name counts.
///
/// Errors: an annotation that is no property.
pub(super) fn properties(facts: &Facts, report: &mut Report) -> Result<Vec<Property>> {
    let mut properties = base(facts);
    for property in annotated(facts.annotations, report)? {
        properties.retain(|other| other.name != property.name);
        properties.push(property);
    }
    // An unprivileged manager cannot filter devices, as its caller cannot.
    if !facts.rootless {
        properties.extend(devices::properties(facts.policy, facts.mode, report));
    }
    for property in limits::properties(facts.settings) {
        properties.retain(|other| other.name != property.name);
        properties.push(property);
    }
    Ok(properties)
}

fn base(facts: &Facts) -> Vec<Property> {
    let mut properties = Vec::new();
    let mut add = |name: &str, value, since| {
        let pointer = path::POINTER.to_owned();
        properties.push(Property { name: name.to_owned(), value, pointer, since });
    };
    let is_slice = facts.unit.is_slice();
    add("Description", Value::String(format!("{DESCRIPTION}{}", facts.id)), 0);
    if is_slice {
        // Its place follows from its name.
        add("Wants", Value::strings([facts.unit.slice.as_str()]), 0);
    } else {
        add("Slice", Value::string(facts.unit.slice.as_str()), 0);
        // What is below is the container's, and systemd keeps away from it.
        add("Delegate", Value::Bool(true), 0);
    }
    // It must not be stopped before the engine is, at shutdown.
    add("DefaultDependencies", Value::Bool(false), 0);
    // A unit that has failed would keep its name.
    add("CollectMode", Value::string("inactive-or-failed"), 236);
    let block_io = if facts.mode == Mode::V2 { "IOAccounting" } else { "BlockIOAccounting" };
    for name in ["MemoryAccounting", "CPUAccounting", block_io, "TasksAccounting"] {
        add(name, Value::Bool(true), 0);
    }
    properties
}

/// Properties that decide which processes are in the unit, where it is, and what they may do: those are not left
/// to annotations, which come from whoever may label a container.
const OURS: &[&str] = &[
    "PIDs",
    "PIDFDs",
    "Slice",
    "Wants",
    "Delegate",
    "DelegateSubgroup",
    "DevicePolicy",
    "DeviceAllow",
    "BPFProgram",
];

/// The properties that annotations ask for, in the order of their names.
fn annotated(annotations: &BTreeMap<String, String>, report: &mut Report) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(ANNOTATION) else { continue };
        let pointer = format!("/annotations/{}", rest::escaped(key));
        let Some(property) = report.keep(property(name, text, pointer))? else { continue };
        properties.retain(|other: &Property| other.name != property.name);
        properties.push(property);
    }
    Ok(properties)
}

fn property(name: &str, text: &str, pointer: String) -> Result<Property> {
    if name.len() < 3 || !name.chars().all(|c| c.is_ascii_alphabetic()) {
        return Err(invalid(pointer, format!("{name:?} is no name of a property of systemd")));
    }
    if OURS.contains(&name) {
        return Err(invalid(pointer, format!("the property {name} is set by teu alone")));
    }
    let value = text::parse(text).map_err(|wrong| invalid(&pointer, wrong))?;
    if value.signature().len() > LONGEST_SIGNATURE {
        return Err(invalid(pointer, "the type of the value is too long for D-Bus"));
    }
    let (name, value) = in_microseconds(name, value).map_err(|wrong| invalid(&pointer, wrong))?;
    Ok(Property { name, value, pointer, since: 0 })
}

/// `TimeoutStopSec` is what unit files have; over D-Bus it is `TimeoutStopUSec`, in microseconds.
fn in_microseconds(name: &str, value: Value) -> std::result::Result<(String, Value), String> {
    let Some(stem) = name.strip_suffix("Sec").filter(|stem| stem.ends_with(|c: char| c.is_ascii_lowercase()))
    else {
        return Ok((name.to_owned(), value));
    };
    let wrong = || format!("{value} is no number of seconds");
    let seconds = match &value {
        Value::Byte(number) => Some(u64::from(*number)),
        Value::Int16(number) => u64::try_from(*number).ok(),
        Value::Uint16(number) => Some(u64::from(*number)),
        Value::Int32(number) => u64::try_from(*number).ok(),
        Value::Uint32(number) => Some(u64::from(*number)),
        Value::Int64(number) => u64::try_from(*number).ok(),
        Value::Uint64(number) => Some(*number),
        Value::Double(number) if *number >= 0.0 && *number < 1e12 => {
            return Ok((format!("{stem}USec"), Value::Uint64((number * 1e6) as u64)));
        }
        _ => None,
    };
    let microseconds = seconds.and_then(|seconds| seconds.checked_mul(1_000_000)).ok_or_else(wrong)?;
    Ok((format!("{stem}USec"), Value::Uint64(microseconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(name: &str, text: &str) -> std::result::Result<String, String> {
        let annotations = BTreeMap::from([(format!("{ANNOTATION}{name}"), text.to_owned())]);
        annotated(&annotations, &mut Report::of_first_error())
            .map(|found| found[0].to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn annotations_become_properties() {
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(annotation("CPUWeight", "uint64 5"), ok("CPUWeight = uint64 5"));
        assert_eq!(annotation("After", "['a.service']"), ok("After = ['a.service']"));
        assert_eq!(annotation("TimeoutStopUSec", "uint64 1"), ok("TimeoutStopUSec = uint64 1"));
        assert_eq!(annotation("TimeoutStopSec", "5"), ok("TimeoutStopUSec = uint64 5000000"));
        assert_eq!(annotation("TimeoutStopSec", "uint64 5"), ok("TimeoutStopUSec = uint64 5000000"));
        assert_eq!(annotation("TimeoutStopSec", "1.5"), ok("TimeoutStopUSec = uint64 1500000"));
        assert_eq!(annotation("ParSEC", "true"), ok("ParSEC = true"));
        assert_eq!(annotation("Sec", "5"), ok("Sec = 5"));
    }

    #[test]
    fn what_is_no_property_is_refused() {
        for (name, text) in [
            ("ab", "1"),
            ("", "1"),
            ("Memory Max", "1"),
            ("Memory\nMax", "1"),
            ("MemoryMax1", "1"),
            ("CPUWeight", ""),
            ("CPUWeight", "rm -rf"),
            ("TimeoutStopSec", "'5'"),
            ("TimeoutStopSec", "-5"),
            ("TimeoutStopSec", "-5.0"),
            ("TimeoutStopSec", "nan"),
            ("TimeoutStopSec", "uint64 99999999999999999"),
            ("After", &format!("({})", "1, ".repeat(254))),
            ("PIDs", "[uint32 1]"),
            ("DeviceAllow", "[('char-*', 'rwm')]"),
            ("Slice", "'a.slice'"),
        ] {
            let error = annotation(name, text).unwrap_err();
            assert!(error.contains("(/annotations/org.systemd.property."), "{error}");
        }
    }

    #[test]
    fn other_annotations_have_nothing_to_do_with_systemd() {
        let annotations = BTreeMap::from([("org.systemd.propertyX".to_owned(), "1".to_owned())]);
        assert_eq!(annotated(&annotations, &mut Report::of_first_error()).unwrap(), []);
    }
}
