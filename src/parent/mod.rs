//! The host's side of creating a container. Runs in the process that the engine started.

mod access;
mod announce;
mod birth;
pub mod console;
pub mod create;
pub mod examine;
pub mod exec;
pub mod failure;
pub mod foreground;
pub mod host_hooks;
mod id_helpers;
pub mod id_maps;
mod limits;
pub mod net_devices;
mod outer_filter;
pub mod prepare;
pub mod readiness;
pub mod recorder;
pub mod relay;
pub mod root_mount;
pub mod seccomp_agent;
mod talk;
pub mod tracer;
pub mod undo;
mod user_namespaces;
pub mod vanished;
