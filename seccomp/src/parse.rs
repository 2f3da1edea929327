//! From the JSON value of `linux.seccomp` to a [`Policy`], field by field, so that every error has its pointer.
//!
//! `null` counts as absent, as Go's decoder has it, and unknown properties are ignored, as the specification says.
//! Sizes are bounded before anything is built from them: a profile is text from somebody else.

use std::fmt;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::arch::Arch;
use crate::policy::{
    Action, Condition, EPERM, Error, FLAG_SPEC_ALLOW, FLAG_WAIT_KILLABLE_RECV, FLAGS, MAX_ERRNO, Operator,
    Policy, Rule, Warning,
};

/// Most rules, and most names, conditions and architectures taken together.
const MAX_ITEMS: usize = 65_536;
/// Longest piece of a profile that a message quotes, in characters.
const MAX_QUOTED: usize = 64;

const SECTION_KEYS: &[&str] = &[
    "defaultAction",
    "defaultErrnoRet",
    "architectures",
    "flags",
    "listenerPath",
    "listenerMetadata",
    "syscalls",
];
const RULE_KEYS: &[&str] = &["names", "action", "errnoRet", "args"];
const CONDITION_KEYS: &[&str] = &["index", "value", "valueTwo", "op"];

/// See [`Policy::from_value_for`].
pub(crate) fn policy(section: &Value, native: Arch) -> Result<Option<Policy>, Error> {
    if section.is_null() {
        return Ok(None);
    }
    let root = At::Root;
    let mut parser = Parser { items: 0, warnings: Vec::new() };
    let section = parser.object(section, root, SECTION_KEYS)?;
    let rules = list(section, root, "syscalls")?;
    let default = text(section, root, "defaultAction")?.filter(|name| !name.is_empty());
    let Some(default) = default else {
        return if rules.is_empty() {
            Ok(None)
        } else {
            Err(root.key("defaultAction").error("missing, although there are rules"))
        };
    };
    let default_action = action(default, root.key("defaultAction"), section, root.key("defaultErrnoRet"))?;
    if default_action == Action::Notify {
        return Err(root.key("defaultAction").error("SCMP_ACT_NOTIFY cannot be used as default action"));
    }
    let mut policy = Policy {
        native,
        default_action,
        architectures: parser.architectures(section, native)?,
        flags: flags(section)?,
        listener_path: path(section)?,
        listener_metadata: text(section, root, "listenerMetadata")?
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
        rules: parser.rules(rules)?,
        parse_warnings: Vec::new(),
        all_warnings: OnceLock::new(),
    };
    check_listener(&mut policy, &mut parser)?;
    policy.parse_warnings = parser.warnings;
    Ok(Some(policy))
}

/// What parsing has counted and noticed so far.
struct Parser {
    items: usize,
    warnings: Vec<Warning>,
}

impl Parser {
    fn rules(&mut self, rules: &[Value]) -> Result<Vec<Rule>, Error> {
        let root = At::Root;
        let all = root.key("syscalls");
        self.count(rules.len(), all)?;
        rules.iter().enumerate().map(|(index, rule)| self.rule(rule, all.index(index))).collect()
    }

    fn rule(&mut self, rule: &Value, at: At<'_>) -> Result<Rule, Error> {
        let rule = self.object(rule, at, RULE_KEYS)?;
        let at_names = at.key("names");
        let names = list(rule, at, "names")?;
        if names.is_empty() {
            return Err(at_names.error("no names: a rule needs at least one system call"));
        }
        self.count(names.len(), at_names)?;
        let name = text(rule, at, "action")?.unwrap_or_default();
        let action = action(name, at.key("action"), rule, at.key("errnoRet"))?;
        let names = names
            .iter()
            .enumerate()
            .map(|(index, name)| syscall_name(name, at_names.index(index), action))
            .collect::<Result<_, _>>()?;
        let at_args = at.key("args");
        let args = list(rule, at, "args")?;
        self.count(args.len(), at_args)?;
        let conditions = args
            .iter()
            .enumerate()
            .map(|(index, condition)| self.condition(condition, at_args.index(index)))
            .collect::<Result<_, _>>()?;
        Ok(Rule { names, action, conditions })
    }

    fn condition(&mut self, condition: &Value, at: At<'_>) -> Result<Condition, Error> {
        let condition = self.object(condition, at, CONDITION_KEYS)?;
        let required = |key| number(condition, at, key)?.ok_or_else(|| at.key(key).error("missing"));
        let index = required("index")?;
        let op = text(condition, at, "op")?.ok_or_else(|| at.key("op").error("missing"))?;
        let operator = Operator::from_name(op)
            .ok_or_else(|| at.key("op").error(format!("unknown operator {}", quoted(op))))?;
        Ok(Condition {
            index: u8::try_from(index).ok().filter(|index| *index < 6).ok_or_else(|| {
                at.key("index").error(format!("{index}: a system call has arguments 0 to 5"))
            })?,
            operator,
            value: required("value")?,
            value_two: match operator {
                Operator::MaskedEqual => number(condition, at, "valueTwo")?.unwrap_or(0),
                // Checked for its type only: other operators ignore it, and equal conditions must compare equal.
                _ => number(condition, at, "valueTwo").map(|_| 0)?,
            },
        })
    }

    fn architectures(&mut self, section: &Map<String, Value>, native: Arch) -> Result<Vec<Arch>, Error> {
        let root = At::Root;
        let at = root.key("architectures");
        let names = list(section, root, "architectures")?;
        self.count(names.len(), at)?;
        let mut all = vec![native];
        for (index, name) in names.iter().enumerate() {
            let at = at.index(index);
            let name = name.as_str().ok_or_else(|| at.error("not a string"))?;
            let arch = Arch::from_name(name)
                .ok_or_else(|| at.error(format!("unknown architecture {}", quoted(name))))?;
            if !arch.is_in_library() {
                return Err(at.error(format!("{arch} is not known to the linked libseccomp")));
            }
            if !all.contains(&arch) {
                all.push(arch);
            }
        }
        Ok(all)
    }

    /// The members of an object; notes keys that differ from a known one in case only.
    ///
    /// Go's decoder would take such a key; here it has no effect, and silence would lose a restriction.
    fn object<'v>(
        &mut self,
        value: &'v Value,
        at: At<'_>,
        known: &[&str],
    ) -> Result<&'v Map<String, Value>, Error> {
        let object = value.as_object().ok_or_else(|| at.error("not an object"))?;
        for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
            if let Some(meant) = known.iter().find(|known| known.eq_ignore_ascii_case(key)) {
                self.warn(at, format!("{} is ignored: the property is spelled {meant}", quoted(key)));
            }
        }
        Ok(object)
    }

    fn warn(&mut self, at: At<'_>, message: String) {
        self.warnings.push(Warning { pointer: at.to_string(), message, is_usual: false });
    }

    fn count(&mut self, more: usize, at: At<'_>) -> Result<(), Error> {
        self.items = self.items.saturating_add(more);
        if self.items > MAX_ITEMS {
            return Err(at.error(format!("the profile has more than {MAX_ITEMS} rules, names and arguments")));
        }
        Ok(())
    }
}

/// An action with its errno or tracer message.
fn action(name: &str, at: At<'_>, object: &Map<String, Value>, at_return: At<'_>) -> Result<Action, Error> {
    let key = at_return.last_key();
    let given = match object.get(key).filter(|value| !value.is_null()) {
        Some(value) => Some(value.as_u64().ok_or_else(|| at_return.error("not a whole number"))?),
        None => None,
    };
    let up_to = |limit: u64| match given {
        None => Ok(EPERM),
        Some(value) => u16::try_from(value)
            .ok()
            .filter(|value| u64::from(*value) <= limit)
            .ok_or_else(|| at_return.error(format!("{value}: {name} takes 0 to {limit}"))),
    };
    let plain = match name {
        "SCMP_ACT_ERRNO" => return up_to(MAX_ERRNO).map(Action::Errno),
        "SCMP_ACT_TRACE" => return up_to(u64::from(u16::MAX)).map(Action::Trace),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_NOTIFY" => Action::Notify,
        "" => return Err(at.error("missing")),
        _ => return Err(at.error(format!("unknown action {}", quoted(name)))),
    };
    match given {
        Some(_) => Err(at_return.error(format!("{name} takes no errno"))),
        None => Ok(plain),
    }
}

fn syscall_name(name: &Value, at: At<'_>, action: Action) -> Result<String, Error> {
    match name.as_str() {
        None => Err(at.error("not a string")),
        Some("") => Err(at.error("an empty name")),
        // The call that tells the parent where the listener is must not wait for the listener.
        Some("write") if action == Action::Notify => {
            Err(at.error("SCMP_ACT_NOTIFY cannot be used for the write syscall"))
        }
        Some(name) => Ok(name.to_owned()),
    }
}

/// runc: without the property the filter allows speculation, with an empty list it does not.
fn flags(section: &Map<String, Value>) -> Result<u32, Error> {
    let root = At::Root;
    let at = root.key("flags");
    if section.get("flags").is_none_or(Value::is_null) {
        return Ok(FLAG_SPEC_ALLOW);
    }
    let mut bits = 0;
    for (index, name) in list(section, root, "flags")?.iter().enumerate() {
        let at = at.index(index);
        let name = name.as_str().ok_or_else(|| at.error("not a string"))?;
        let (_, bit) = FLAGS
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| at.error(format!("unknown flag {}", quoted(name))))?;
        bits |= bit;
    }
    Ok(bits)
}

fn path(section: &Map<String, Value>) -> Result<Option<String>, Error> {
    let root = At::Root;
    let path = text(section, root, "listenerPath")?.filter(|path| !path.is_empty());
    if path.is_some_and(|path| path.contains('\0')) {
        return Err(root.key("listenerPath").error("contains a NUL byte"));
    }
    Ok(path.map(str::to_owned))
}

fn check_listener(policy: &mut Policy, parser: &mut Parser) -> Result<(), Error> {
    let root = At::Root;
    if policy.uses_notify() && policy.listener_path.is_none() {
        return Err(root.key("listenerPath").error("missing, although a rule uses SCMP_ACT_NOTIFY"));
    }
    if policy.listener_metadata.is_some() && policy.listener_path.is_none() {
        return Err(root.key("listenerMetadata").error("given without listenerPath"));
    }
    if policy.flags & FLAG_WAIT_KILLABLE_RECV != 0 && !policy.uses_notify() {
        // The kernel refuses the flag without a listener.
        policy.flags &= !FLAG_WAIT_KILLABLE_RECV;
        parser.warn(
            root.key("flags"),
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is ignored: no rule uses SCMP_ACT_NOTIFY".to_owned(),
        );
    }
    Ok(())
}

fn list<'v>(object: &'v Map<String, Value>, at: At<'_>, key: &'static str) -> Result<&'v [Value], Error> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(at.key(key).error("not an array")),
    }
}

fn text<'v>(object: &'v Map<String, Value>, at: At<'_>, key: &'static str) -> Result<Option<&'v str>, Error> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(at.key(key).error("not a string")),
    }
}

fn number(object: &Map<String, Value>, at: At<'_>, key: &'static str) -> Result<Option<u64>, Error> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) => Ok(Some(number)),
            None => Err(at.key(key).error("not an integer from 0 to 2^64 - 1")),
        },
    }
}

/// A piece of the profile for a message: escaped, and cut when it is long.
pub(crate) fn quoted(text: &str) -> String {
    let start: String = text.chars().take(MAX_QUOTED).collect();
    if start.len() == text.len() { format!("{start:?}") } else { format!("{start:?} and more") }
}

/// A place in the section, kept as steps so that only an error pays for its text.
#[derive(Clone, Copy)]
enum At<'a> {
    Root,
    Key(&'a At<'a>, &'static str),
    Index(&'a At<'a>, usize),
}

impl<'a> At<'a> {
    fn key(&'a self, key: &'static str) -> At<'a> {
        At::Key(self, key)
    }

    fn index(&'a self, index: usize) -> At<'a> {
        At::Index(self, index)
    }

    fn last_key(&self) -> &'static str {
        match self {
            At::Key(_, key) => key,
            At::Root | At::Index(..) => "",
        }
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error { pointer: self.to_string(), message: message.into() }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Root => Ok(()),
            At::Key(parent, key) => write!(f, "{parent}/{key}"),
            At::Index(parent, index) => write!(f, "{parent}/{index}"),
        }
    }
}
