//! The policy: a checked `linux.seccomp` section, and the words it is written in.
//!
//! A [`Policy`] says what was asked, in the profile's own order; [`crate::explain`] says what that means for one
//! call, and [`crate::compile`] turns it into a program. Nothing here does I/O.

use std::fmt;
use std::sync::OnceLock;

use serde_json::Value;

use crate::arch::Arch;
use crate::{parse, warn};

/// A checked `linux.seccomp` section.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) native: Arch,
    pub(crate) default_action: Action,
    /// Native first, then the named ones in the order of the profile, each once.
    pub(crate) architectures: Vec<Arch>,
    /// `SECCOMP_FILTER_FLAG_*` bits the profile asks for.
    pub(crate) flags: u32,
    pub(crate) listener_path: Option<String>,
    pub(crate) listener_metadata: Option<String>,
    pub(crate) rules: Vec<Rule>,
    /// Found while parsing; the costlier ones are found when somebody asks.
    pub(crate) parse_warnings: Vec<Warning>,
    pub(crate) all_warnings: OnceLock<Vec<Warning>>,
}

/// One entry of `syscalls`.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub names: Vec<String>,
    pub action: Action,
    pub conditions: Vec<Condition>,
}

/// A comparison of one argument of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub operator: Operator,
    /// What it is compared with; the mask of [`Operator::MaskedEqual`].
    pub value: u64,
    /// What the masked argument is compared with; without meaning for the other operators.
    pub value_two: u64,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The calling thread dies.
    KillThread,
    /// The whole process dies.
    KillProcess,
    /// The process gets SIGSYS.
    Trap,
    /// The call fails with this errno.
    Errno(u16),
    /// A tracer decides and gets this message; without a tracer the call fails with ENOSYS.
    Trace(u16),
    /// The call runs and is written to the audit log.
    Log,
    /// The call runs.
    Allow,
    /// The process behind the listener decides.
    Notify,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// Differs from the value.
    NotEqual,
    /// Is below the value, unsigned.
    Less,
    /// Is at most the value, unsigned.
    LessOrEqual,
    /// Is the value.
    Equal,
    /// Is at least the value, unsigned.
    GreaterOrEqual,
    /// Is above the value, unsigned.
    Greater,
    /// Is `value_two` after masking both with the value.
    MaskedEqual,
}

/// Something in a profile that is legal and probably not what its author meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// RFC 6901 pointer relative to `linux.seccomp`.
    pub pointer: String,
    /// One line, lower case.
    pub message: String,
    /// Something that profiles for many hosts often have, and that changes nothing.
    pub is_usual: bool,
}

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// RFC 6901 pointer relative to `linux.seccomp`; empty for the section as a whole.
    pub pointer: String,
    /// One line, lower case.
    pub message: String,
}

/// `SECCOMP_FILTER_FLAG_LOG`: refused calls are written to the audit log.
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: no speculation mitigation on account of the filter.
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: seccomp(2) returns the listener's descriptor.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: once received, only a fatal signal interrupts a notified call.
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Action names a profile may use, sorted.
pub const ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// Operator names a profile may use, sorted.
pub const OPERATORS: &[&str] = &[
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// Flag names a profile may use, each with the bit it sets in [`crate::Program::flags`].
///
/// TSYNC sets none: the process that loads the filter has one thread, so there is nothing to synchronise.
pub const FLAGS: &[(&str, u32)] = &[
    ("SECCOMP_FILTER_FLAG_TSYNC", 0),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", FLAG_SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_LOG", FLAG_LOG),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", FLAG_WAIT_KILLABLE_RECV),
];

/// Largest errno the kernel passes on (`MAX_ERRNO`).
pub(crate) const MAX_ERRNO: u64 = 4095;
pub(crate) const EPERM: u16 = 1;
pub(crate) const ENOSYS: u16 = 38;

impl Policy {
    /// Checks the value of `linux.seccomp` for the architecture this crate was built for.
    ///
    /// `None` when the section asks for nothing: no default action and no rules, which runc takes as "no filter".
    /// Errors: the first thing that is wrong, with its pointer. Unknown system call names are not errors.
    /// Source: config-linux.md#seccomp.
    pub fn from_value(section: &Value) -> Result<Option<Policy>, Error> {
        Self::from_value_for(section, Arch::NATIVE)
    }

    /// The same for a host of another architecture.
    pub fn from_value_for(section: &Value, native: Arch) -> Result<Option<Policy>, Error> {
        parse::policy(section, native)
    }

    /// Whether some rule hands calls to a listener.
    pub fn uses_notify(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == Action::Notify)
    }

    /// Socket of the process that gets the listener; always there when [`Policy::uses_notify`].
    pub fn listener_path(&self) -> Option<&str> {
        self.listener_path.as_deref()
    }

    /// Text for the process that gets the listener.
    pub fn listener_metadata(&self) -> Option<&str> {
        self.listener_metadata.as_deref()
    }

    /// `SECCOMP_FILTER_FLAG_*` that the profile asks for.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// The action of each rule, in the order of the profile.
    pub fn actions(&self) -> impl Iterator<Item = Action> {
        self.rules.iter().map(|rule| rule.action)
    }

    /// What becomes of calls that no rule names.
    pub fn default_action(&self) -> Action {
        self.default_action
    }

    /// The native architecture and those the profile names.
    pub fn architectures(&self) -> &[Arch] {
        &self.architectures
    }

    /// Names of system calls in the rules, in the order of the profile, repeated where it repeats them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().flat_map(|rule| rule.names.iter().map(String::as_str))
    }

    /// Names and conditions of rule `index`.
    pub fn rule(&self, index: usize) -> Option<(&[String], &[Condition])> {
        self.rules.get(index).map(|rule| (&rule.names[..], &rule.conditions[..]))
    }

    /// Numbers that arguments are compared with.
    pub fn values(&self) -> impl Iterator<Item = u64> {
        self.rules
            .iter()
            .flat_map(|rule| &rule.conditions)
            .flat_map(|condition| [condition.value, condition.value_two])
    }

    /// Names that are no system call of any architecture, each where it comes first, as errors for whoever wants them
    /// to be some. runc: they are ignored.
    pub fn unknown_names(&self) -> Vec<Error> {
        warn::unknown_names(self)
    }

    /// Legal things that are probably mistakes: unknown names, rules that never decide.
    ///
    /// Found at the first call, since a start that logs nothing should not pay for it.
    pub fn warnings(&self) -> &[Warning] {
        self.all_warnings.get_or_init(|| warn::warnings(self))
    }

    /// Rules that differ from the default action, with their index in the profile.
    ///
    /// runc: a rule whose action is the default, errno included, is skipped, so it does not stand against another.
    pub(crate) fn effective_rules(&self) -> impl Iterator<Item = (usize, &Rule)> {
        self.rules.iter().enumerate().filter(|(_, rule)| rule.action != self.default_action)
    }

    /// Whether calls newer than the profile get ENOSYS instead of the default action.
    ///
    /// runc: not where the default lets the call run or leaves it to a tracer, and not where it is ENOSYS anyway.
    pub(crate) fn hides_newer_calls(&self) -> bool {
        !matches!(self.default_action, Action::Allow | Action::Log | Action::Trace(_) | Action::Errno(ENOSYS))
    }
}

impl Rule {
    /// Sets of conditions of which one must hold: one set, or one per condition when an argument is named twice.
    ///
    /// runc: with a repeated argument every condition of the rule becomes a rule of its own.
    pub fn alternatives(&self) -> Vec<&[Condition]> {
        let mut seen = [false; 6];
        let repeated = self.conditions.iter().any(|condition| {
            seen.get_mut(usize::from(condition.index)).is_some_and(|seen| std::mem::replace(seen, true))
        });
        if repeated { self.conditions.chunks(1).collect() } else { vec![&self.conditions[..]] }
    }
}

impl Condition {
    /// Whether the whole 64-bit argument is compared; otherwise its low half with the low half of the value.
    ///
    /// On a 32-bit ABI a value that fits is compared with the low half, and so is a negative number that its
    /// author, or a JSON encoder, sign-extended. A value beyond that is compared with the whole argument, whose
    /// upper half is zero there. libseccomp cuts such values off instead, so that `> 0x1_0000_0000` holds for 1.
    pub fn is_wide(&self, arch: Arch) -> bool {
        let fits = |value: u64| value >> 32 == 0 || (value >> 31) == 0x1_ffff_ffff;
        arch.is_64_bit()
            || !fits(self.value)
            || (self.operator == Operator::MaskedEqual && !fits(self.masked_value()))
    }

    /// Whether the condition holds for the arguments of a call on `arch`.
    pub fn holds(&self, arch: Arch, args: &[u64; 6]) -> bool {
        let Some(argument) = args.get(usize::from(self.index)) else { return false };
        let cut = |value: u64| if self.is_wide(arch) { value } else { value & 0xffff_ffff };
        let (argument, value) = (cut(*argument), cut(self.value));
        match self.operator {
            Operator::NotEqual => argument != value,
            Operator::Less => argument < value,
            Operator::LessOrEqual => argument <= value,
            Operator::Equal => argument == value,
            Operator::GreaterOrEqual => argument >= value,
            Operator::Greater => argument > value,
            Operator::MaskedEqual => argument & value == cut(self.masked_value()),
        }
    }

    /// What a masked argument is compared with: seccomp_rule_add(3) masks both sides.
    pub(crate) fn masked_value(&self) -> u64 {
        self.value_two & self.value
    }
}

impl Action {
    /// Value a filter returns for the action.
    ///
    /// Source: seccomp(2), `SECCOMP_RET_*`.
    pub fn value(self) -> u32 {
        match self {
            Action::KillProcess => 0x8000_0000,
            Action::KillThread => 0x0000_0000,
            Action::Trap => 0x0003_0000,
            Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Action::Notify => 0x7fc0_0000,
            Action::Trace(message) => 0x7ff0_0000 | u32::from(message),
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        }
    }

    /// Action of a value that a filter returns. The kernel takes values that it does not know for `KILL_PROCESS`.
    pub fn of_value(value: u32) -> Action {
        let data = (value & 0xffff) as u16;
        match value & 0xffff_0000 {
            0x0000_0000 => Action::KillThread,
            0x0003_0000 => Action::Trap,
            0x0005_0000 => Action::Errno(data),
            0x7fc0_0000 => Action::Notify,
            0x7ff0_0000 => Action::Trace(data),
            0x7ffc_0000 => Action::Log,
            0x7fff_0000 => Action::Allow,
            _ => Action::KillProcess,
        }
    }

    /// Whether the call is kept from running. A listener decides by itself; a tracer is not there, as a rule.
    pub fn refuses(self) -> bool {
        !matches!(self, Action::Allow | Action::Log | Action::Notify)
    }

    /// What the caller notices, after the name of the call: `fails with EPERM`.
    pub fn effect(self) -> String {
        match self {
            Action::KillThread => "kills the calling thread".to_owned(),
            Action::KillProcess => "kills the process".to_owned(),
            Action::Trap => "is not made, and the process gets SIGSYS".to_owned(),
            Action::Errno(0) => "is not made, and seems to succeed".to_owned(),
            Action::Errno(number) => match nix::errno::Errno::from_raw(i32::from(number)) {
                nix::errno::Errno::UnknownErrno => format!("fails with errno {number}"),
                known => format!("fails with {known:?}"),
            },
            Action::Trace(_) => "is left to a tracer, and fails with ENOSYS without one".to_owned(),
            Action::Log => "runs, and is written to the audit log".to_owned(),
            Action::Allow => "runs".to_owned(),
            Action::Notify => "is left to the process behind the listener".to_owned(),
        }
    }

    /// Place in the kernel's order among filters that disagree: the lower one wins.
    pub fn strictness(self) -> i32 {
        (self.value() & 0xffff_0000).cast_signed()
    }

    /// OCI name.
    pub fn name(self) -> &'static str {
        match self {
            Action::KillThread => "SCMP_ACT_KILL_THREAD",
            Action::KillProcess => "SCMP_ACT_KILL_PROCESS",
            Action::Trap => "SCMP_ACT_TRAP",
            Action::Errno(_) => "SCMP_ACT_ERRNO",
            Action::Trace(_) => "SCMP_ACT_TRACE",
            Action::Log => "SCMP_ACT_LOG",
            Action::Allow => "SCMP_ACT_ALLOW",
            Action::Notify => "SCMP_ACT_NOTIFY",
        }
    }
}

impl Operator {
    /// As it is written in most languages.
    fn sign(self) -> &'static str {
        match self {
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Equal | Operator::MaskedEqual => "==",
            Operator::GreaterOrEqual => ">=",
            Operator::Greater => ">",
        }
    }

    /// Operator of an OCI name.
    pub fn from_name(name: &str) -> Option<Operator> {
        Some(match name {
            "SCMP_CMP_NE" => Operator::NotEqual,
            "SCMP_CMP_LT" => Operator::Less,
            "SCMP_CMP_LE" => Operator::LessOrEqual,
            "SCMP_CMP_EQ" => Operator::Equal,
            "SCMP_CMP_GE" => Operator::GreaterOrEqual,
            "SCMP_CMP_GT" => Operator::Greater,
            "SCMP_CMP_MASKED_EQ" => Operator::MaskedEqual,
            _ => return None,
        })
    }
}

impl fmt::Display for Condition {
    /// `argument 1 == 0xa`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Condition { index, value, .. } = self;
        match self.operator {
            Operator::MaskedEqual => write!(f, "argument {index} & {value:#x} == {:#x}", self.masked_value()),
            operator => write!(f, "argument {index} {} {value:#x}", operator.sign()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Errno(number) | Action::Trace(number) => write!(f, "{}({number})", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if self.pointer.is_empty() { Ok(()) } else { write!(f, " ({})", self.pointer) }
    }
}

impl std::error::Error for Error {}
