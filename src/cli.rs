//! All verbs and flags, spelled as runc spells them.
//!
//! `normal` brings the command line into the form of the parser, `parse` takes it apart.
#![forbid(unsafe_code)]

pub mod limits;
pub mod migrate;
mod normal;
mod parse;
pub mod seccomp;
pub mod units;
pub mod watch;

use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::log::Format;
use crate::plan::cgroup::Driver;
pub use normal::{before_the_verb, go_bool, normalize};
pub use parse::{Stopped, definition, parse};

/// A path; an empty one is none, as in Go programs.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// The value of an option that takes a path, when there is one.
pub fn given(path: &Option<PathBuf>) -> Option<&Path> {
    path.as_deref().filter(|path| !path.as_os_str().is_empty())
}

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "teu",
    about = "run containers from OCI bundles",
    disable_version_flag = true,
    args_override_self = true,
    help_template = parse::HELP
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
    #[arg(long, value_name = "DIR", value_parser = path())]
    pub root: Option<PathBuf>,
    /// Log file, appended to; standard error by default
    #[arg(long, value_name = "FILE", value_parser = path())]
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
    #[arg(long, value_name = "PATH", hide = true, value_parser = path())]
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
#[command(defer = true)]
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
    /// Write, explain and debug seccomp profiles
    #[command(subcommand)]
    Seccomp(seccomp::Seccomp),
    /// Print what this runtime supports
    Features,
    /// Print the version
    Version,
}

/// Options of `create`, which `run` has too.
#[derive(Clone, Debug, Default, Args)]
#[command(args_override_self = true)]
pub struct Create {
    /// The bundle, a directory with a config.json
    #[arg(short, long, value_name = "DIR", value_parser = path())]
    pub bundle: Option<PathBuf>,
    /// Socket that gets the terminal
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub console_socket: Option<PathBuf>,
    /// Socket that gets the pidfd of the init process
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub pidfd_socket: Option<PathBuf>,
    /// File that gets the pid of the init process
    #[arg(long, value_name = "PATH", value_parser = path())]
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
#[derive(Clone, Debug, Default, Args)]
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
    #[arg(short, long, value_name = "FILE", value_parser = path())]
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
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub pid_file: Option<PathBuf>,
    /// Socket that gets the terminal
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub console_socket: Option<PathBuf>,
    /// Socket that gets the pidfd of the process
    #[arg(long, value_name = "PATH", value_parser = path())]
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
    #[arg(short = 'b', long = "bundle", value_name = "DIR", value_parser = path())]
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
    #[arg(short = 'b', long = "bundle", value_name = "DIR", value_parser = path())]
    pub option: Option<PathBuf>,
    /// Check this file; relative paths in it are relative to the bundle, or else to its directory
    #[arg(long, value_name = "FILE", value_parser = path())]
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
    #[arg(short, long, value_name = "DIR", value_parser = path())]
    pub bundle: Option<PathBuf>,
    /// For an unprivileged user
    #[arg(long)]
    pub rootless: bool,
    /// Put a seccomp profile into it: `default` for teu's own, or a file
    #[arg(long, value_name = "PROFILE")]
    pub seccomp: Option<PathBuf>,
}
