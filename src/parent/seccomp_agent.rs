//! Hands the listener of a seccomp filter to the agent that the profile names.
//!
//! Source: config-linux.md#containerprocessstate.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde_json::json;

use super::console::connect_to;
use crate::error::{Error, Result};
use crate::plan::security::Seccomp;
use crate::sys::clone::{Child, pidfd_getfd};
use crate::sys::fd;

/// Takes descriptor `number` of the child and sends it, with the state document of the container, in one message.
pub fn hand_over(seccomp: &Seccomp, child: &Child, number: i32, state: &[u8]) -> Result<()> {
    let at = "/linux/seccomp/listenerPath";
    let Some(path) = seccomp.policy.listener_path() else {
        return Err(Error::config(at, "a profile with SCMP_ACT_NOTIFY needs listenerPath"));
    };
    let listener: OwnedFd = pidfd_getfd(child.pidfd.as_fd(), number)
        .map_err(|e| Error::kernel("fetch the seccomp listener", "pidfd_getfd(2)", e).at(at))?;
    let agent = connect_to(Path::new(path), "seccomp agent")
        .map_err(|e| e.within("failed to connect with seccomp agent").at(at))?;
    let own_state: serde_json::Value = serde_json::from_slice(state).unwrap_or_default();
    let mut message = json!({
        "ociVersion": crate::state::OCI_VERSION,
        "fds": ["seccompFd"],
        "pid": child.pid,
        "state": own_state,
    });
    if let Some(metadata) = seccomp.policy.listener_metadata() {
        message["metadata"] = metadata.into();
    }
    fd::send(agent.as_fd(), message.to_string().as_bytes(), Some(listener.as_fd()))
        .map_err(|e| Error::kernel("send the seccomp listener to its agent", "sendmsg(2)", e).at(at))
}
