//! All verbs and flags, spelled as runc spells them.
//!
//! The command line is first brought into the form that the parser takes: Go programs accept `-bundle` for
//! `--bundle`, `--flag=true` for a switch, and the last of repeated options, and engines use all three.
#![forbid(unsafe_code)]

pub mod limits;
pub mod migrate;
pub mod units;
pub mod watch;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::log::Format;
use crate::plan::cgroup::Driver;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "teu",
    about = "run containers from OCI bundles",
    disable_version_flag = true,
    args_override_self = true,
    help_template = "NAME:\n   {name} - {about}\n\nUSAGE:\n   {usage}\n\n{all-args}"
)]
pub struct CommandLine {
    /// Options of all verbs.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// Options in front of the verb.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// Directory for the state of containers
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Log file, appended to; standard error by default
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Form of the log: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: String,
    /// Write debug records
    #[arg(long)]
    pub debug: bool,
    /// Least level that is written: error, warning or debug
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Let systemd make the cgroup
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Who makes the cgroup: cgroupfs, systemd or disabled
    #[arg(long, value_name = "MANAGER")]
    pub cgroup_manager: Option<String>,
    /// Tolerate missing privileges over cgroups: true, false or auto
    #[arg(long, value_name = "BOOL", default_value = "auto")]
    pub rootless: String,
    /// Ignored; kept for callers that pass it
    #[arg(long, value_name = "PATH", hide = true)]
    pub criu: Option<PathBuf>,
    /// Print the version
    #[arg(short = 'v', short_alias = 'V', long)]
    pub version: bool,
}

impl Global {
    /// The form of the log.
    pub fn log_format(&self) -> Result<Format> {
        match self.log_format.as_str() {
            "text" | "" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            other => Err(Error::usage(format!("invalid log-format: {other}"))),
        }
    }

    /// Debug records are wanted.
    pub fn debug_level(&self) -> bool {
        self.debug || self.log_level.as_deref().is_some_and(|level| matches!(level, "debug" | "trace"))
    }

    /// The driver of the cgroup.
    pub fn cgroup_driver(&self) -> Result<Driver> {
        match self.cgroup_manager.as_deref() {
            None if self.systemd_cgroup => Ok(Driver::Systemd),
            None => Ok(Driver::Cgroupfs),
            Some("systemd") => Ok(Driver::Systemd),
            Some("cgroupfs") => Ok(Driver::Cgroupfs),
            Some("disabled") => Ok(Driver::Disabled),
            Some(other) => Err(Error::usage(format!("unknown cgroup manager \"{other}\""))),
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create a container
    Create(Create),
    /// Start a created container
    Start(OnlyId),
    /// Create and start a container
    Run(Run),
    /// Run one more process in a container
    Exec(Box<Exec>),
    /// Print the state of a container
    State(OnlyId),
    /// Send a signal to a container
    Kill(Kill),
    /// Delete a container
    Delete(Delete),
    /// List containers
    List(List),
    /// List the processes of a container
    Ps(watch::Ps),
    /// Freeze a container
    Pause(OnlyId),
    /// Let a frozen container go on
    Resume(OnlyId),
    /// Change the limits of a container
    Update(Box<limits::Update>),
    /// Print the figures of a container, and when it runs out of memory
    Events(watch::Events),
    /// Not supported
    #[command(hide = true, disable_help_flag = true)]
    Checkpoint(Box<migrate::Checkpoint>),
    /// Not supported
    #[command(hide = true, disable_help_flag = true)]
    Restore(Box<migrate::Restore>),
    /// Print what create would do, in order
    Plan(Plan),
    /// Print everything that is wrong with a configuration
    Check(Check),
    /// Write a config.json to start from
    Spec(Spec),
    /// Print what this runtime supports
    Features,
    /// Print the version
    Version,
}

/// Options of `create`, which `run` has too.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Create {
    /// The bundle, a directory with a config.json
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Socket that gets the terminal
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// Socket that gets the pidfd of the init process
    #[arg(long, value_name = "PATH")]
    pub pidfd_socket: Option<PathBuf>,
    /// File that gets the pid of the init process
    #[arg(long, value_name = "PATH")]
    pub pid_file: Option<PathBuf>,
    /// Change the root without pivot_root, for initial ramdisks
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the session keyring of the caller
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Pass so many more descriptors
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Do not become the parent of orphans of the container
    #[arg(long)]
    pub no_subreaper: bool,
    /// Name of the container
    #[arg(value_name = "CONTAINER-ID")]
    pub id: String,
}

/// Options of `run`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Run {
    /// The same as for create
    #[command(flatten)]
    pub create: Create,
    /// Return while the container runs
    #[arg(short, long)]
    pub detach: bool,
    /// Keep the container when it has ended
    #[arg(long)]
    pub keep: bool,
}

/// Options of `exec`. They come before the name of the container; what follows it is the program's.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Exec {
    /// File with the process object; other options about the process are ignored then
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub cwd: Option<String>,
    /// Add a variable to the environment
    #[arg(short, long, value_name = "NAME=VALUE", allow_hyphen_values = true)]
    pub env: Vec<String>,
    /// User and group by number
    #[arg(short, long, value_name = "UID[:GID]", allow_hyphen_values = true)]
    pub user: Option<String>,
    /// Add a supplementary group by number
    #[arg(short = 'g', long, value_name = "GID", allow_hyphen_values = true)]
    pub additional_gids: Vec<String>,
    /// Make a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Return while the process runs
    #[arg(short, long)]
    pub detach: bool,
    /// File that gets the pid of the process once its program runs
    #[arg(long, value_name = "PATH")]
    pub pid_file: Option<PathBuf>,
    /// Socket that gets the terminal
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// Socket that gets the pidfd of the process
    #[arg(long, value_name = "PATH")]
    pub pidfd_socket: Option<PathBuf>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Forbid new privileges
    #[arg(long)]
    pub no_new_privs: bool,
    /// Add a capability
    #[arg(short, long, value_name = "CAP")]
    pub cap: Vec<String>,
    /// Pass so many more descriptors
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Cgroup below that of the container: PATH, or CONTROLLER[,CONTROLLER...]:PATH on version 1
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    pub cgroup: Vec<String>,
    /// Go on when the container is paused: the process starts when it is resumed
    #[arg(long)]
    pub ignore_paused: bool,
    /// Ignored; kept for callers that pass it
    #[arg(long, hide = true)]
    pub no_subreaper: bool,
    /// Name of the container
    #[arg(value_name = "CONTAINER-ID")]
    pub id: String,
    /// Program and arguments
    #[arg(value_name = "PROGRAM", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// A verb that only takes a container.
#[derive(Clone, Debug, Args)]
pub struct OnlyId {
    /// Name of the container
    #[arg(value_name = "CONTAINER-ID")]
    pub id: String,
}

/// Options of `kill`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Kill {
    /// Signal every process of the container
    #[arg(short, long)]
    pub all: bool,
    /// Name of the container
    #[arg(value_name = "CONTAINER-ID")]
    pub id: String,
    /// Signal by name or number
    #[arg(value_name = "SIGNAL", allow_hyphen_values = true)]
    pub signal: Option<String>,
}

/// Options of `delete`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Delete {
    /// Kill it if it runs, and succeed if it does not exist
    #[arg(short, long)]
    pub force: bool,
    /// Name of the container
    #[arg(value_name = "CONTAINER-ID")]
    pub id: String,
}

/// Options of `list`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct List {
    /// table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: String,
    /// Print the ids only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Options of `plan`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Plan {
    /// The bundle
    #[arg(short = 'b', long = "bundle", value_name = "DIR")]
    pub option: Option<PathBuf>,
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub bundle: Option<PathBuf>,
}

/// Options of `check`.
#[derive(Clone, Debug, Args)]
#[command(
    args_override_self = true,
    after_help = "Exit status: 0 when nothing or only notes are found, 3 when there are warnings, 1 when there are \
                  errors: create would fail."
)]
pub struct Check {
    /// The bundle
    #[arg(short = 'b', long = "bundle", value_name = "DIR")]
    pub option: Option<PathBuf>,
    /// Check this file; relative paths in it are relative to the bundle, or else to its directory
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// text or json
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub format: String,
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub bundle: Option<PathBuf>,
}

/// Options of `spec`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Spec {
    /// Where to write config.json
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// For an unprivileged user
    #[arg(long)]
    pub rootless: bool,
}

/// Long options that take a value.
const VALUED: [&str; 23] = [
    "root",
    "log",
    "log-format",
    "log-level",
    "cgroup-manager",
    "rootless",
    "criu",
    "bundle",
    "config",
    "console-socket",
    "pidfd-socket",
    "pid-file",
    "preserve-fds",
    "format",
    "process",
    "cwd",
    "env",
    "user",
    "additional-gids",
    "process-label",
    "apparmor",
    "cap",
    "cgroup",
];

/// Long options that are switches.
const SWITCHES: [&str; 15] = [
    "debug",
    "systemd-cgroup",
    "version",
    "help",
    "no-pivot",
    "no-new-keyring",
    "no-subreaper",
    "detach",
    "keep",
    "all",
    "force",
    "quiet",
    "tty",
    "no-new-privs",
    "ignore-paused",
];

/// Brings the arguments into the form of the parser; the first one is the program and stays.
pub fn normalize(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut out = Vec::new();
    let mut arguments = arguments.peekable();
    out.extend(arguments.next());
    let mut verb: Option<OsString> = None;
    while let Some(argument) = arguments.next() {
        let Some(text) = argument.to_str() else {
            out.push(argument);
            continue;
        };
        let stripped = text.strip_prefix('-').filter(|rest| !rest.is_empty() && *rest != "-");
        let Some(option) = stripped else {
            // The words after the id belong to `kill`'s signal, the ps of the host and the program of `exec`.
            let is = |name: &str| verb.as_deref().is_some_and(|verb| verb == name);
            let takes_the_rest = is("ps") || is("exec");
            let ends = is("kill") && text != "--" || takes_the_rest;
            if takes_the_rest && text != "--" {
                out.push("--".into());
            }
            verb.get_or_insert_with(|| argument.clone());
            out.push(argument);
            if ends {
                out.extend(arguments);
                return out;
            }
            continue;
        };
        let (name, value) = match option.trim_start_matches('-').split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option.trim_start_matches('-'), None),
        };
        if is_listed(&[&SWITCHES, watch::SWITCHES, migrate::SWITCHES], name) {
            match value.and_then(go_bool) {
                Some(false) => {}
                Some(true) => out.push(format!("--{name}").into()),
                None if value.is_none() => out.push(format!("--{name}").into()),
                None => out.push(argument),
            }
        } else if is_listed(&[&VALUED, watch::VALUED, limits::VALUED, migrate::VALUED], name) {
            match value {
                Some(value) => out.push(format!("--{name}={value}").into()),
                None => {
                    out.push(format!("--{name}").into());
                    out.extend(arguments.next());
                }
            }
        } else {
            let short = |verb_of: &str, options: &[&str]| {
                verb.as_deref().is_some_and(|v| v == verb_of) && options.contains(&name)
            };
            // Go also takes a value after `=` for a short switch.
            if let (true, Some(value)) = (short("exec", &["t", "d"]), value.and_then(go_bool)) {
                if value {
                    out.push(format!("-{name}").into());
                }
                continue;
            }
            // A short option with a value of its own.
            let takes_next = matches!(text, "-b")
                || value.is_none() && short("list", &["f"])
                || value.is_none() && short("check", &["f"])
                || value.is_none() && short("ps", &["f"])
                || value.is_none() && short("update", &["r"])
                || value.is_none() && short("exec", &["p", "e", "u", "g", "c"]);
            out.push(argument);
            if takes_next {
                out.extend(arguments.next());
            }
        }
    }
    out
}

fn is_listed(lists: &[&[&str]], name: &str) -> bool {
    lists.iter().any(|list| list.contains(&name))
}

/// Go's idea of a boolean.
pub fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// How parsing ended without a command line.
#[derive(Debug)]
pub enum Stopped {
    /// Help was asked for: the text for standard output.
    Help(String),
    /// The command line is wrong.
    Wrong(Error),
}

/// Parses normalized arguments.
pub fn parse(arguments: Vec<OsString>) -> std::result::Result<CommandLine, Stopped> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    CommandLine::try_parse_from(arguments).map_err(|error| {
        let named = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => text.clone(),
            Some(ContextValue::Strings(texts)) => texts.join(", "),
            _ => String::new(),
        };
        let argument = named(ContextKind::InvalidArg);
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Stopped::Help(error.to_string())
            }
            // The wording that podman searches for.
            ErrorKind::InvalidValue if named(ContextKind::InvalidValue).is_empty() => {
                Stopped::Wrong(Error::usage(format!("flag needs an argument: {argument}")))
            }
            ErrorKind::MissingRequiredArgument => {
                Stopped::Wrong(Error::usage(format!("required argument is missing: {argument}")))
            }
            ErrorKind::UnknownArgument => {
                Stopped::Wrong(Error::usage(format!("unexpected argument: {argument}")))
            }
            ErrorKind::InvalidSubcommand => Stopped::Wrong(Error::usage(format!(
                "no such command: {}",
                named(ContextKind::InvalidSubcommand)
            ))),
            _ => {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
                Stopped::Wrong(Error::usage(first.to_owned()))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let arguments = line.split(' ').map(OsString::from);
        normalize(arguments).into_iter().map(|a| a.into_string().unwrap()).collect()
    }

    #[test]
    fn go_spellings_become_ours() {
        assert_eq!(
            words("teu -root /x create -bundle /b c1").join(" "),
            "teu --root /x create --bundle /b c1"
        );
        assert_eq!(words("teu --debug=true --systemd-cgroup=false list").join(" "), "teu --debug list");
        assert_eq!(words("teu run -no-subreaper c1").join(" "), "teu run --no-subreaper c1");
    }

    #[test]
    fn what_follows_the_id_of_kill_is_left_alone() {
        assert_eq!(words("teu kill --all=1 c1 -all").join(" "), "teu kill --all c1 -all");
    }

    #[test]
    fn what_follows_the_id_of_ps_is_for_the_ps_of_the_host() {
        assert_eq!(words("teu ps -format json c1").join(" "), "teu ps --format json -- c1");
        let line = parse(words("teu ps -f table c1 -e --format x").into_iter().map(Into::into).collect());
        let Some(Verb::Ps(ps)) = line.unwrap().verb else { panic!("another verb") };
        assert_eq!((ps.format.as_str(), ps.id.as_str()), ("table", "c1"));
        assert_eq!(ps.options, ["-e", "--format", "x"]);
    }

    #[test]
    fn values_of_update_may_be_negative_or_a_dash() {
        let update = |text: &str| {
            let line = parse(words(text).into_iter().map(Into::into).collect()).unwrap();
            let Some(Verb::Update(update)) = line.verb else { panic!("another verb") };
            *update
        };
        let args = update("teu update --cpu-quota -1 -memory -1 --pids-limit=-1 c1");
        assert_eq!(
            (args.cpu_quota, args.memory.as_deref(), args.pids_limit),
            (Some(-1), Some("-1"), Some(-1))
        );
        for text in ["teu update -r - c1", "teu update --resources=- c1", "teu update c1 --resources -"] {
            let args = update(text);
            assert_eq!((args.resources, args.id.as_str()), (Some(PathBuf::from("-")), "c1"), "{text}");
        }
    }

    #[test]
    fn options_of_unsupported_verbs_are_understood() {
        for text in [
            "teu restore --image-path /i --work-path /w --detach --pid-file /p -no-subreaper --bundle /b c1",
            "teu checkpoint --image-path /i --status-fd -1 --empty-ns a --empty-ns b --tcp-close --help",
        ] {
            let line = parse(words(text).into_iter().map(Into::into).collect());
            assert!(matches!(line.unwrap().verb, Some(Verb::Restore(_) | Verb::Checkpoint(_))), "{text}");
        }
    }

    #[test]
    fn the_last_of_repeated_options_wins() {
        let line = parse(
            words("teu --root /a --root /b --debug --debug state c1").into_iter().map(Into::into).collect(),
        );
        assert_eq!(line.unwrap().global.root, Some(PathBuf::from("/b")));
    }

    #[test]
    fn a_missing_value_is_told_in_the_words_that_podman_searches() {
        let stopped = parse(vec!["teu".into(), "list".into(), "--format".into()]).unwrap_err();
        let Stopped::Wrong(error) = stopped else { panic!("help instead of an error") };
        assert!(error.to_string().starts_with("flag needs an argument"), "{error}");
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }
}
