//! `teu`: a low-level OCI container runtime for Linux.
//!
//! The folder says which process you are in: `config`, `host` and `plan` run before anything happens, `parent`
//! on the host, `child` after the clone, and `sys` is the door to the kernel. docs/architecture.md shows the way.

pub mod cgroup;
pub mod error;
pub mod plan;
pub mod sys;
