//! Options of `checkpoint` and `restore`, which engines pass and which this runtime only understands.
//!
//! Parsed, so that a caller hears that the verb is not supported, and not that one of its options is unknown.
//! The help switches are ours: podman takes a `checkpoint --help` that succeeds for a runtime that can do it.

use std::path::PathBuf;

use clap::Args;

/// What both verbs have.
#[derive(Clone, Debug, Args)]
pub struct Image {
    /// Directory of the image
    #[arg(long, value_name = "DIR")]
    pub image_path: Option<PathBuf>,
    /// Directory of the logs
    #[arg(long, value_name = "DIR")]
    pub work_path: Option<PathBuf>,
    /// Connections may be open
    #[arg(long)]
    pub tcp_established: bool,
    /// Connections are closed
    #[arg(long)]
    pub tcp_close: bool,
    /// Sockets of the host may be open
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// The terminal is the caller's
    #[arg(long)]
    pub shell_job: bool,
    /// Files may be locked
    #[arg(long)]
    pub file_locks: bool,
    /// Memory is fetched when it is needed
    #[arg(long)]
    pub lazy_pages: bool,
    /// Pages of former images are dropped
    #[arg(long)]
    pub auto_dedup: bool,
    /// Treatment of cgroups
    #[arg(long, value_name = "MODE")]
    pub manage_cgroups_mode: Option<String>,
    /// How the network is kept still
    #[arg(long, value_name = "METHOD")]
    pub network_lock: Option<String>,
    /// Namespaces that are left empty
    #[arg(long, value_name = "NAMESPACE")]
    pub empty_ns: Vec<String>,
    /// Name of the container
    #[arg(value_name = "CONTAINER-ID")]
    pub id: Option<String>,
    /// No help, see above
    #[arg(short, long)]
    pub help: bool,
}

/// Options of `checkpoint`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Checkpoint {
    /// What both verbs have
    #[command(flatten)]
    pub image: Image,
    /// Former image
    #[arg(long, value_name = "PATH")]
    pub parent_path: Option<PathBuf>,
    /// The container runs on
    #[arg(long)]
    pub leave_running: bool,
    /// Unfinished connections are left out
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// Unlinked files are linked
    #[arg(long)]
    pub link_remap: bool,
    /// Descriptor that hears when pages can be fetched
    #[arg(long, value_name = "FD", allow_negative_numbers = true)]
    pub status_fd: Option<i32>,
    /// Where pages go
    #[arg(long, value_name = "ADDRESS")]
    pub page_server: Option<String>,
    /// Memory alone
    #[arg(long)]
    pub pre_dump: bool,
}

/// Options of `restore`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Restore {
    /// What both verbs have
    #[command(flatten)]
    pub image: Image,
    /// The bundle
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Socket that gets the terminal
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// File that gets the pid
    #[arg(long, value_name = "PATH")]
    pub pid_file: Option<PathBuf>,
    /// Return while the container runs
    #[arg(short, long)]
    pub detach: bool,
    /// Do not become the parent of orphans
    #[arg(long)]
    pub no_subreaper: bool,
    /// Change the root without pivot_root
    #[arg(long)]
    pub no_pivot: bool,
    /// Label of the processes
    #[arg(long, value_name = "TYPE:NAME")]
    pub lsm_profile: Option<String>,
    /// Label of the mounts
    #[arg(long, value_name = "CONTEXT")]
    pub lsm_mount_context: Option<String>,
}

/// Long options that take a value.
pub const VALUED: &[&str] = &[
    "image-path",
    "work-path",
    "manage-cgroups-mode",
    "network-lock",
    "empty-ns",
    "parent-path",
    "status-fd",
    "page-server",
    "lsm-profile",
    "lsm-mount-context",
];

/// Long options that are switches.
pub const SWITCHES: &[&str] = &[
    "tcp-established",
    "tcp-close",
    "ext-unix-sk",
    "shell-job",
    "file-locks",
    "lazy-pages",
    "auto-dedup",
    "leave-running",
    "tcp-skip-in-flight",
    "link-remap",
    "pre-dump",
];
