//! Options of `seccomp` and its verbs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do about seccomp profiles.
#[derive(Clone, Debug, Subcommand)]
pub enum Seccomp {
    /// Say what a profile does with a system call, which rule decides, and what would allow it
    Explain(Explain),
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

/// Long options that take a value.
pub const VALUED: &[&str] = &["arch", "seccomp"];
