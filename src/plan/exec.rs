//! The plan of `exec`: one more process for a container that exists.
//!
//! What confines the process comes from the container's configuration, who and what it is from the command line or
//! from a file with a process object. No I/O, as for the plan of `create`.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use oci_spec::runtime::Process as ConfigProcess;

use super::identity::Identity;
use super::limits::Limits;
use super::namespaces::{Namespaces, User};
use super::process::{Process, plan_at};
use super::security::{Security, bit_mask};
use super::{annotations, c_string, identity, limits, namespaces, security};
use crate::config::process::{ExecCpuAffinity, Extras};
use crate::config::{Config, Warning};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::report::Report;

/// What the command line and the record of the container contribute.
#[derive(Debug)]
pub struct ExecRequest {
    /// The session keyring of the container, if it has its own.
    pub keyring: Option<String>,
    /// `--console-socket` was given.
    pub console_socket: bool,
    /// The command returns while the process runs.
    pub detached: bool,
    /// Descriptors passed by socket activation.
    pub listen_fds: u32,
    /// The process.
    pub source: Source,
}

/// Where the process object comes from.
#[derive(Debug)]
pub enum Source {
    /// A file. What it leaves out of confinement is that of the container.
    File {
        /// As read.
        process: Box<ConfigProcess>,
        /// The rest of it.
        extras: Extras,
    },
    /// The process of the configuration, changed by arguments.
    Arguments(Arguments),
}

/// What the command line changes.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// More variables.
    pub env: Vec<String>,
    /// `UID` or `UID:GID`.
    pub user: Option<String>,
    /// More supplementary groups.
    pub additional_gids: Vec<String>,
    /// A terminal is wanted; that of the configuration does not count.
    pub terminal: bool,
    /// SELinux label.
    pub selinux_label: Option<String>,
    /// AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// New privileges are forbidden, also when the configuration permits them.
    pub no_new_privileges: bool,
    /// More capabilities.
    pub capabilities: Vec<String>,
}

/// On which processors the process runs, as bit masks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// While it is brought into the cgroup.
    pub initial: Option<Vec<u64>>,
    /// Afterwards.
    pub last: Option<Vec<u64>>,
}

/// What `exec` will do.
#[derive(Debug)]
pub struct ExecPlan {
    /// What runs.
    pub process: Process,
    /// As whom it runs.
    pub identity: Identity,
    /// Seccomp filter and labels.
    pub security: Security,
    /// Resource limits and OOM score.
    pub limits: Limits,
    /// Processors.
    pub affinity: Affinity,
    /// The kinds of namespaces that the configuration lists.
    pub namespaces: u64,
    /// The user namespace of the container.
    pub user: User,
    /// Where the mounts of the container are.
    pub mount_points: Vec<CString>,
    /// The container, or the caller, is in a user namespace other than the initial one.
    pub in_user_namespace: bool,
    /// The session keyring of this name is joined.
    pub keyring: Option<CString>,
    /// Number of passed descriptors that are named in the environment.
    pub listen_fds: u32,
    /// What is suspicious but no error.
    pub warnings: Vec<Warning>,
}

/// Makes the plan.
pub fn plan(config: &Config, request: ExecRequest, host: &Host) -> Result<ExecPlan> {
    let report = &mut Report::of_first_error();
    let listed = namespaces::plan(config.spec.linux().as_ref(), host, report)?;
    let (process, extras, base) = match request.source {
        Source::File { process, extras } => of_file(config, *process, extras),
        Source::Arguments(arguments) => of_arguments(config, &arguments)?,
    };
    let mut planned = plan_at(&process, &extras, base, report)?;
    match (planned.terminal.is_some(), request.detached, request.console_socket) {
        (true, true, false) => {
            return Err(Error::usage(
                "cannot allocate tty if runc will detach without setting console socket",
            )
            .hint("pass --console-socket, or ask for no terminal"));
        }
        (true, true, true) | (_, _, false) => {}
        _ => {
            return Err(Error::usage("cannot use console socket if runc will not detach or allocate tty"));
        }
    }
    if request.listen_fds > 0 {
        planned.environment.push(c_string(&format!("LISTEN_FDS={}", request.listen_fds), "")?);
    }
    let annotations = annotations(&config.spec, report)?;
    let mut own = Report::of_first_error();
    let identity = identity::plan(&process, &extras, base, &annotations, &listed, host, &mut own)?;
    Ok(ExecPlan {
        identity,
        // What there was to say about the container was said when it was created.
        security: security::plan(config, &process, &annotations, host, report)?,
        limits: limits::plan(&process, base, report)?,
        affinity: affinity(extras.exec_cpu_affinity.as_ref(), base)?,
        namespaces: kinds(&listed),
        mount_points: mount_points(config),
        in_user_namespace: listed.has_user() || host.in_user_namespace,
        keyring: request.keyring.map(|name| c_string(&name, "")).transpose()?,
        listen_fds: request.listen_fds,
        process: planned,
        user: listed.user,
        warnings: own.into_warnings(),
    })
}

fn mount_points(config: &Config) -> Vec<CString> {
    let mounts = config.spec.mounts().iter().flatten();
    mounts.filter_map(|mount| CString::new(mount.destination().as_os_str().as_bytes()).ok()).collect()
}

fn kinds(listed: &Namespaces) -> u64 {
    namespaces::KINDS.iter().map(|(flag, ..)| *flag).filter(|flag| listed.has(*flag)).sum()
}

/// The file says everything about what runs. Where it is silent about how it is confined, the container's own
/// process is the model; umask, OOM score and all that is not of the process object are always the container's.
fn of_file(
    config: &Config,
    mut process: ConfigProcess,
    mut extras: Extras,
) -> (ConfigProcess, Extras, &'static str) {
    let Some(own) = config.spec.process().as_ref() else { return (process, extras, "") };
    if process.apparmor_profile().as_deref().is_none_or(str::is_empty) {
        process.set_apparmor_profile(own.apparmor_profile().clone());
    }
    if process.selinux_label().as_deref().is_none_or(str::is_empty) {
        process.set_selinux_label(own.selinux_label().clone());
    }
    if process.rlimits().as_deref().is_none_or(<[_]>::is_empty) {
        process.set_rlimits(own.rlimits().clone());
    }
    if process.io_priority().is_none() {
        process.set_io_priority(*own.io_priority());
    }
    process.set_oom_score_adj(own.oom_score_adj());
    process.user_mut().set_umask(own.user().umask());
    extras.capabilities = extras.capabilities.or_else(|| config.process.capabilities.clone());
    extras.scheduler = extras.scheduler.or_else(|| config.process.scheduler.clone());
    extras.exec_cpu_affinity = extras.exec_cpu_affinity.or_else(|| config.process.exec_cpu_affinity.clone());
    (process, extras, "")
}

fn of_arguments(config: &Config, arguments: &Arguments) -> Result<(ConfigProcess, Extras, &'static str)> {
    let base = "/process";
    let Some(own) = config.spec.process().as_ref() else {
        return Err(Error::config(base, "the container has no process to take as a model"));
    };
    let (mut process, mut extras) = (own.clone(), config.process.clone());
    process.set_args(Some(arguments.command.clone())).set_terminal(Some(arguments.terminal));
    if let Some(cwd) = arguments.cwd.as_ref().filter(|cwd| !cwd.is_empty()) {
        process.set_cwd(PathBuf::from(cwd));
    }
    let mut environment = own.env().clone().unwrap_or_default();
    environment.extend(arguments.env.iter().cloned());
    process.set_env(Some(environment));
    if let Some(text) = arguments.user.as_deref() {
        let (uid, gid) = user(text)?;
        process.user_mut().set_uid(uid);
        if let Some(gid) = gid {
            process.user_mut().set_gid(gid);
        }
    }
    if !arguments.additional_gids.is_empty() {
        let mut groups = own.user().additional_gids().clone().unwrap_or_default();
        for text in &arguments.additional_gids {
            groups.push(id(text).ok_or_else(|| Error::usage(format!("bad additional gid: {text:?}")))?);
        }
        process.user_mut().set_additional_gids(Some(groups));
    }
    if arguments.selinux_label.is_some() {
        process.set_selinux_label(arguments.selinux_label.clone());
    }
    if arguments.apparmor_profile.is_some() {
        process.set_apparmor_profile(arguments.apparmor_profile.clone());
    }
    if arguments.no_new_privileges {
        process.set_no_new_privileges(Some(true));
    }
    add_capabilities(&mut extras, &arguments.capabilities);
    Ok((process, extras, base))
}

/// Never the inheritable set: programs of the image with inheritable capabilities would gain them.
/// CVE-2022-29162. Ambient needs inheritable, so it is tried only where the container has some.
fn add_capabilities(extras: &mut Extras, more: &[String]) {
    if more.is_empty() {
        return;
    }
    let sets = extras.capabilities.get_or_insert_default();
    let mut wider = vec![&mut sets.bounding, &mut sets.effective, &mut sets.permitted];
    if !sets.inheritable.is_empty() {
        wider.push(&mut sets.ambient);
    }
    wider.into_iter().for_each(|set| set.extend_from_slice(more));
}

/// `UID` or `UID:GID`, numbers only: names would be looked up in a file of the image. CVE-2016-3697.
fn user(text: &str) -> Result<(u32, Option<u32>)> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let hint = "a user is UID or UID:GID, numbers from 0 to 4294967294";
    let number = |what: &str, text: &str| {
        id(text).ok_or_else(|| Error::usage(format!("bad {what}: {text:?}")).hint(hint))
    };
    Ok((number("uid", uid)?, gid.map(|gid| number("gid", gid)).transpose()?))
}

fn id(text: &str) -> Option<u32> {
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

/// Empty and absent are the same.
fn affinity(asked: Option<&ExecCpuAffinity>, base: &str) -> Result<Affinity> {
    let Some(asked) = asked else { return Ok(Affinity::default()) };
    let mask = |text: &Option<String>, member: &str| {
        let mask =
            bit_mask(text.as_deref().unwrap_or_default(), &format!("{base}/execCPUAffinity/{member}"))?;
        Ok::<_, Error>(Some(mask).filter(|mask| !mask.is_empty()))
    };
    Ok(Affinity { initial: mask(&asked.initial, "initial")?, last: mask(&asked.last, "final")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_one_or_two_plain_numbers() {
        let good = [
            ("1", (1, None)),
            ("1:2", (1, Some(2))),
            ("0:0", (0, Some(0))),
            ("4294967294", (4294967294, None)),
        ];
        for (text, expected) in good {
            assert_eq!(user(text).unwrap(), expected, "{text}");
        }
        let bad = [
            "",
            " 1",
            "1 ",
            "+1",
            "-1",
            "1:",
            ":1",
            ":",
            "1:2:3",
            "0x1",
            "1e3",
            "4294967295",
            "4294967296",
            "00000000001",
            "root",
            "1:root",
            "１",
        ];
        for text in bad {
            assert!(user(text).is_err(), "{text}");
        }
    }

    #[test]
    fn more_capabilities_never_become_inheritable() {
        let mut extras = Extras::default();
        add_capabilities(&mut extras, &["CAP_KILL".to_owned()]);
        let sets = extras.capabilities.as_ref().unwrap();
        assert_eq!((sets.bounding.len(), sets.effective.len(), sets.permitted.len()), (1, 1, 1));
        assert!(sets.inheritable.is_empty() && sets.ambient.is_empty());
        extras.capabilities.as_mut().unwrap().inheritable.push("CAP_CHOWN".to_owned());
        add_capabilities(&mut extras, &["CAP_KILL".to_owned()]);
        let sets = extras.capabilities.unwrap();
        assert_eq!((sets.inheritable.len(), sets.ambient.len()), (1, 1));
    }

    #[test]
    fn affinity_is_a_list_of_processors() {
        let asked = |text: &str| ExecCpuAffinity { initial: None, last: Some(text.to_owned()) };
        assert_eq!(affinity(Some(&asked("0,2-3")), "").unwrap().last, Some(vec![0b1101]));
        assert_eq!(affinity(Some(&asked("")), "").unwrap(), Affinity::default());
        let error = affinity(Some(&asked("a-b")), "/process").unwrap_err();
        assert_eq!(error.pointer(), Some("/process/execCPUAffinity/final"));
    }
}
