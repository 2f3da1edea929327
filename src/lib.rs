//! `teu`: a low-level OCI container runtime for Linux.
//!
//! The folder says which process you are in: `config`, `host` and `plan` run before anything happens, `parent`
//! on the host, `child` after the clone, and `sys` is the door to the kernel. docs/architecture.md shows the way.

pub mod abi;
pub mod cgroup;
pub mod child;
pub mod cli;
pub mod commands;
pub mod config;
pub mod control_dir;
pub mod error;
pub mod hints;
pub mod hooks;
pub mod host;
pub mod log;
pub mod mountinfo;
pub mod parent;
pub mod plan;
pub mod priorities;
pub mod report;
pub mod resctrl;
pub mod state;
pub mod sync;
pub mod sys;
