//! Options of the verbs that look at a container: `ps` and `events`.

use std::ffi::OsString;

use clap::Args;

/// Options of `ps`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Ps {
    /// table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: String,
    /// Name of the container
    #[arg(value_name = "CONTAINER-ID")]
    pub id: String,
    /// Options of the ps of the host, -ef by default; for the table
    #[arg(value_name = "PS-OPTIONS", allow_hyphen_values = true, trailing_var_arg = true)]
    pub options: Vec<OsString>,
}

/// Options of `events`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Events {
    /// Time between two records of figures, such as 500ms or 1m30s
    #[arg(long, value_name = "DURATION", default_value = "5s", allow_hyphen_values = true)]
    pub interval: String,
    /// Print the figures once
    #[arg(long)]
    pub stats: bool,
    /// Name of the container
    #[arg(value_name = "CONTAINER-ID")]
    pub id: String,
}

/// Long options that take a value.
pub const VALUED: &[&str] = &["interval"];

/// Long options that are switches.
pub const SWITCHES: &[&str] = &["stats"];
