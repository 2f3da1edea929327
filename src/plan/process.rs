//! `process`: what runs, where, with which environment, and how it is scheduled.
//!
//! Source: config.md#process, #posix-process, #linux-process.

use std::ffi::CString;

use oci_spec::runtime::{IOPriorityClass, Process as ConfigProcess};

use super::security::bit_mask;
use super::{Request, c_string, item};
use crate::abi::{SchedulerAttributes, StringList};
use crate::config::process::{Extras, Scheduler};
use crate::error::{Error, Kind, Result};
use crate::report::{Report, Severity};

/// Annotations that change what the runtime does, for `features`.
pub const UNSAFE_ANNOTATIONS: [&str; 5] = [
    super::cgroup::systemd::ANNOTATION,
    super::hooks::STDERR,
    super::hooks::STDOUT,
    super::identity::KEEP_GROUPS,
    super::security::MOUNT_CONTEXT,
];

/// How the program is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// The name contains a slash.
    Path(CString),
    /// The name is looked up in these directories of the container, as execvp(3) does.
    Search {
        /// Name.
        name: CString,
        /// Each directory with the name appended, in the order of PATH.
        candidates: Vec<CString>,
    },
}

/// Where HOME comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// The environment sets it.
    Given,
    /// From /etc/passwd of the container, `/` when it does not say.
    Lookup,
}

/// Terminal of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Rows and columns, when both are given.
    pub size: Option<(u16, u16)>,
}

/// The process of the container.
#[derive(Clone, Debug)]
pub struct Process {
    /// What to execute.
    pub program: Program,
    /// argv.
    pub arguments: StringList,
    /// envp, each name once.
    pub environment: StringList,
    /// Whether HOME must be added.
    pub home: Home,
    /// Absolute path in the container.
    pub cwd: CString,
    /// A terminal is made.
    pub terminal: Option<Terminal>,
    /// Scheduling policy.
    pub scheduler: Option<SchedulerAttributes>,
    /// I/O priority: class and level.
    pub io_priority: Option<(u16, u16)>,
    /// Pointer of the process object.
    pub base: &'static str,
}

/// Plans `process` of a container.
pub fn plan(
    process: &ConfigProcess,
    extras: &Extras,
    request: &Request,
    report: &mut Report,
) -> Result<Process> {
    let mut planned = plan_at(process, extras, "/process", report)?;
    match (planned.terminal.is_some(), request.console_socket) {
        (true, false) if request.detached => {
            let problem = "cannot allocate tty if runc will detach without setting console socket";
            report.refuse(
                Error::config("/process/terminal", problem)
                    .hint("pass --console-socket, or set process.terminal to false"),
            )?;
        }
        (false, true) => {
            let problem = "cannot use console socket if runc will not detach or allocate tty";
            report.refuse(Error::config("/process/terminal", problem))?;
        }
        _ => {}
    }
    let mut added = Vec::new();
    if request.listen_fds > 0 {
        added.push(c_string(&format!("LISTEN_FDS={}", request.listen_fds), "")?);
        added.push(c"LISTEN_PID=1".to_owned());
    }
    if request.notify_directory.is_some() {
        added.push(c"NOTIFY_SOCKET=/run/notify/notify.sock".to_owned());
    }
    if !added.is_empty() {
        planned.environment = with_added(&planned.environment, added);
    }
    Ok(planned)
}

/// The environment with entries of the runtime's, which take the place of those of the same name: a program sees
/// the first one of two.
fn with_added(environment: &StringList, added: Vec<CString>) -> StringList {
    let name = |entry: &CString| entry.to_bytes().split(|byte| *byte == b'=').next().map(<[u8]>::to_vec);
    let is_added = |entry: &&CString| added.iter().any(|own| name(own) == name(entry));
    let kept: Vec<CString> = environment.strings().iter().filter(|entry| !is_added(entry)).cloned().collect();
    StringList::new(kept.into_iter().chain(added).collect())
}

/// Plans a process object with the pointer `base`; shared with `exec`.
pub fn plan_at(
    process: &ConfigProcess,
    extras: &Extras,
    base: &'static str,
    report: &mut Report,
) -> Result<Process> {
    let args = process.args().as_deref().unwrap_or_default();
    let args_at = format!("{base}/args");
    let name = report.keep(name_of(args, &args_at))?.unwrap_or("/");
    let mut arguments = Vec::with_capacity(args.len());
    for (index, argument) in args.iter().enumerate() {
        arguments.extend(report.keep(string_of_exec(argument, &item(&args_at, index)))?);
    }
    let environment = environment(process.env().as_deref().unwrap_or_default(), base, report)?;
    let path = environment.iter().find_map(|entry| entry.to_str().ok()?.strip_prefix("PATH="));
    let program = report.keep(program(name, path, &format!("{args_at}/0")))?;
    let home = match environment.iter().any(|e| e.to_bytes().starts_with(b"HOME=") && e.count_bytes() > 5) {
        true => Home::Given,
        false => Home::Lookup,
    };
    let environment: Vec<CString> = match home {
        Home::Given => environment,
        Home::Lookup => environment.into_iter().filter(|e| e.to_bytes() != b"HOME=").collect(),
    };
    if let Some(affinity) = &extras.exec_cpu_affinity {
        // Meant for `exec`, but a mistake should not wait until then.
        for (member, list) in [("initial", &affinity.initial), ("final", &affinity.last)] {
            let at = format!("{base}/execCPUAffinity/{member}");
            report.keep(bit_mask(list.as_deref().unwrap_or_default(), &at))?;
        }
    }
    Ok(Process {
        program: program.unwrap_or_else(|| Program::Path(c"/".to_owned())),
        arguments: StringList::new(arguments),
        environment: StringList::new(environment),
        home,
        cwd: report.keep(cwd(process, base))?.unwrap_or_default(),
        terminal: terminal(process, base, report)?,
        scheduler: match &extras.scheduler {
            Some(asked) => report.keep(scheduler(asked, &format!("{base}/scheduler")))?,
            None => None,
        },
        io_priority: report.keep(io_priority(process, base))?.flatten(),
        base,
    })
}

/// The name of the program.
fn name_of<'a>(args: &'a [String], at: &str) -> Result<&'a str> {
    match args.first().map(String::as_str) {
        None => Err(Error::config(at, "args must not be empty")),
        Some("") => {
            let problem = "exec: executable path is empty: executable file not found in $PATH";
            Err(Error::config(format!("{at}/0"), problem).kind_of(Kind::Program))
        }
        Some(name) => Ok(name),
    }
}

/// A string that execve(2) takes: at most 128 KiB, no NUL byte.
fn string_of_exec(text: &str, at: &str) -> Result<CString> {
    const LONGEST: usize = 128 * 1024 - 1;
    if text.len() > LONGEST {
        return Err(Error::config(
            at,
            format!("the string has {} bytes, the kernel takes {LONGEST}", text.len()),
        ));
    }
    c_string(text, at)
}

/// The environment with each name once: the last value wins and keeps the first one's place.
fn environment(entries: &[String], base: &str, report: &mut Report) -> Result<Vec<CString>> {
    let mut kept: Vec<(&str, CString)> = Vec::with_capacity(entries.len());
    let mut places: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let at = format!("{base}/env/{index}");
        let Some((name, _)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            report.refuse(Error::config(at, "an entry of the environment must be NAME=VALUE"))?;
            continue;
        };
        let Some(string) = report.keep(string_of_exec(entry, &at))? else { continue };
        match places.get(name) {
            Some(&place) => {
                report.advise(Severity::Warning, at, "set a second time; the program sees this value");
                kept[place].1 = string;
            }
            None => {
                places.insert(name, kept.len());
                kept.push((name, string));
            }
        }
    }
    Ok(kept.into_iter().map(|(_, string)| string).collect())
}

fn program(name: &str, path: Option<&str>, at: &str) -> Result<Program> {
    if name.contains('/') {
        return Ok(Program::Path(c_string(name, at)?));
    }
    // What execvp(3) takes when PATH is not set; it is not added to the environment.
    let path = path.unwrap_or("/bin:/usr/bin");
    let candidates = path
        .split(':')
        .map(|directory| if directory.is_empty() { "." } else { directory })
        .map(|directory| c_string(&format!("{directory}/{name}"), at))
        .collect::<Result<_>>()?;
    Ok(Program::Search { name: c_string(name, at)?, candidates })
}

fn cwd(process: &ConfigProcess, base: &str) -> Result<CString> {
    let at = format!("{base}/cwd");
    let cwd = process.cwd();
    if cwd.as_os_str().is_empty() {
        return Err(Error::config(at, "Cwd property must not be empty"));
    }
    if !cwd.is_absolute() {
        return Err(Error::config(at, "Cwd must be an absolute path"));
    }
    c_string(&cwd.to_string_lossy(), &at)
}

fn terminal(process: &ConfigProcess, base: &str, report: &mut Report) -> Result<Option<Terminal>> {
    if !process.terminal().unwrap_or(false) {
        return Ok(None);
    }
    let Some(size) = process.console_size() else {
        return Ok(Some(Terminal { size: None }));
    };
    let side = |name: &str, value: u64| {
        u16::try_from(value)
            .map_err(|_| Error::config(format!("{base}/consoleSize/{name}"), "must be at most 65535"))
    };
    let (rows, columns) = (side("height", size.height()), side("width", size.width()));
    let size = report.keep(rows)?.zip(report.keep(columns)?);
    Ok(Some(Terminal { size: size.filter(|(rows, columns)| *rows != 0 && *columns != 0) }))
}

/// SCHED_* by name.
const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

/// SCHED_FLAG_* by name.
const SCHEDULER_FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x1),
    ("SCHED_FLAG_RECLAIM", 0x2),
    ("SCHED_FLAG_DL_OVERRUN", 0x4),
    ("SCHED_FLAG_KEEP_POLICY", 0x8),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// Plans `scheduler`.
pub fn scheduler(scheduler: &Scheduler, at: &str) -> Result<SchedulerAttributes> {
    let Some((name, policy)) = POLICIES.iter().find(|(name, _)| *name == scheduler.policy) else {
        return Err(Error::config(
            format!("{at}/policy"),
            format!("\"{}\" is no scheduling policy", scheduler.policy),
        ));
    };
    let real_time = matches!(*name, "SCHED_FIFO" | "SCHED_RR");
    let deadline = *name == "SCHED_DEADLINE";
    if matches!(*name, "SCHED_OTHER" | "SCHED_BATCH") && !(-20..=19).contains(&scheduler.nice) {
        return Err(Error::config(format!("{at}/nice"), "must be from -20 to 19"));
    }
    if scheduler.priority != 0 && !real_time {
        return Err(Error::config(format!("{at}/priority"), "only SCHED_FIFO and SCHED_RR have a priority"));
    }
    for (member, value) in
        [("runtime", scheduler.runtime), ("deadline", scheduler.deadline), ("period", scheduler.period)]
    {
        if value != 0 && !deadline {
            return Err(Error::config(
                format!("{at}/{member}"),
                format!("only SCHED_DEADLINE has a {member}"),
            ));
        }
    }
    let mut flags = 0;
    for (index, word) in scheduler.flags.iter().enumerate() {
        let known = SCHEDULER_FLAGS.iter().find(|(name, _)| name == word);
        let Some((_, bit)) = known else {
            return Err(Error::config(
                format!("{at}/flags/{index}"),
                format!("\"{word}\" is no scheduler flag"),
            ));
        };
        flags |= bit;
    }
    let priority = u32::try_from(scheduler.priority)
        .map_err(|_| Error::config(format!("{at}/priority"), "must not be negative"))?;
    Ok(SchedulerAttributes {
        size: size_of::<SchedulerAttributes>() as u32,
        policy: *policy,
        flags,
        nice: scheduler.nice,
        priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
    })
}

/// The attributes in the words of the configuration.
pub fn scheduler_words(attributes: &SchedulerAttributes) -> String {
    let policy =
        POLICIES.iter().find(|(_, number)| *number == attributes.policy).map_or("?", |(name, _)| name);
    let mut words = vec![policy.to_owned()];
    for (name, value) in [
        ("priority", u64::from(attributes.priority)),
        ("runtime", attributes.runtime),
        ("deadline", attributes.deadline),
        ("period", attributes.period),
    ] {
        if value != 0 {
            words.push(format!("{name} {value}"));
        }
    }
    if attributes.nice != 0 {
        words.push(format!("nice {}", attributes.nice));
    }
    let flags = SCHEDULER_FLAGS.iter().filter(|(_, bit)| attributes.flags & bit != 0);
    words.extend(flags.map(|(name, _)| (*name).to_owned()));
    words.join(", ")
}

fn io_priority(process: &ConfigProcess, base: &str) -> Result<Option<(u16, u16)>> {
    let Some(asked) = process.io_priority() else { return Ok(None) };
    let level = u16::try_from(asked.priority())
        .ok()
        .filter(|level| *level <= 7)
        .ok_or_else(|| Error::config(format!("{base}/ioPriority/priority"), "must be from 0 to 7"))?;
    let class = match asked.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    Ok(Some((class, level)))
}
