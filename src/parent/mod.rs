//! The host's side of creating a container. Runs in the process that the engine started.

mod access;
pub mod console;
pub mod create;
pub mod examine;
pub mod exec;
pub mod failure;
pub mod foreground;
mod id_helpers;
pub mod id_maps;
pub mod net_devices;
pub mod prepare;
pub mod readiness;
pub mod recorder;
pub mod root_mount;
pub mod seccomp_agent;
pub mod tracer;
pub mod undo;
mod user_namespaces;
