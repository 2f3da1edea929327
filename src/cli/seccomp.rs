//! Options of `seccomp` and its verbs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do about seccomp profiles.
#[derive(Clone, Debug, Subcommand)]
pub enum Seccomp {
    /// Run a container without a profile and write one that allows what it did
    ///
    /// While it records nothing is refused: the container runs without any seccomp profile, its own included. Record
    /// programs that you trust. The profile allows what one run did, which may be less than the program needs.
    Record(Record),
    /// Say what a profile does with a system call, which rule decides, and what would allow it
    Explain(Explain),
    /// Report each system call that the profile of a container refuses, and what would allow it
    ///
    /// The profile stays in force. With a BUNDLE (an argument with a slash) the container is run as `teu run` does
    /// and the exit status is its own. With the ID of a running container its processes are watched until the
    /// command gets a signal, and go on after that.
    Why(Why),
}

/// Options of `seccomp record`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Record {
    /// File for the profile; standard output by default, after the output of the program
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Profile to add to; what it allows already stays as it is
    #[arg(short, long, value_name = "PROFILE")]
    pub merge: Option<PathBuf>,
    /// The bundle to run; its own seccomp profile is not loaded
    #[arg(value_name = "BUNDLE")]
    pub bundle: Option<PathBuf>,
    /// Run this instead, in a container made for it that sees the file system of the host read-only
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<String>,
}

/// Options of `seccomp explain`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Explain {
    /// text or json
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub format: String,
    /// Architecture of the call, such as x86 or SCMP_ARCH_X86; that of the host by default
    #[arg(short, long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// A profile, a config.json or a bundle
    #[arg(value_name = "PROFILE")]
    pub profile: PathBuf,
    /// Name or number of the call
    #[arg(value_name = "SYSCALL")]
    pub syscall: String,
    /// Its arguments as numbers, decimal or 0x; 0 where there are none
    #[arg(value_name = "ARGS", allow_negative_numbers = true)]
    pub args: Vec<String>,
}

/// Options of `seccomp why`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Why {
    /// The id of a running container, or a bundle to run, which is written with a slash: box/
    #[arg(value_name = "ID|BUNDLE")]
    pub target: String,
}

/// Long options that take a value.
pub const VALUED: &[&str] = &["output", "merge", "arch", "seccomp"];
