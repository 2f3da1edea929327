//! The container's side: everything that happens between clone3(2) and execve(2).
//!
//! Runs in the init process. Until the root is changed it takes no path of the host: the parent has opened what
//! is needed, and its working directory, which the clone translates into the new mount namespace, is the root
//! file system. What the image controls is resolved below the root's descriptor with openat2(2). Nothing here
//! decides: the plan says what, [`create`] says in which order.

mod cgroups;
mod copy_up;
pub mod create;
mod descriptors;
mod devices;
pub mod exec;
mod filter;
mod gate;
mod home;
mod host_bind;
mod identity;
mod keyring;
mod long_options;
mod mounts;
mod moved_root;
mod namespaces;
mod paths;
mod procfs;
mod program;
mod root;
mod rootfs;
mod sources;
mod terminal;
mod user;

pub use create::{Task, create};
pub use exec::{ExecTask, exec};
pub use gate::Gate;
pub use namespaces::sets_own_oom_score;
pub use namespaces::stage::pass as pass_stage;
