//! Hands the listener of a seccomp filter to the agent that the profile names.
//!
//! Source: config-linux.md#containerprocessstate.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use teu_seccomp::notify::{ContainerState, container_process_state};

use super::console::connect_to;
use crate::error::{Errno, Error, Result};
use crate::parent::prepare::HookState;
use crate::plan::security::Seccomp;
use crate::sys::clone::Child;
use crate::sys::fd;

/// Sends the listener, with the state document of the container, in one message.
///
/// `status` and `init` are the state of the container and the pid of its init process.
pub fn hand_over(
    seccomp: &Seccomp,
    child: &Child,
    listener: Option<OwnedFd>,
    state: &HookState,
    (status, init): (&str, i32),
) -> Result<()> {
    let at = "/linux/seccomp/listenerPath";
    let Some(path) = seccomp.policy.listener_path() else {
        return Err(Error::config(at, "a profile with SCMP_ACT_NOTIFY needs listenerPath"));
    };
    let listener = listener
        .ok_or_else(|| Error::kernel("fetch the seccomp listener", "recvmsg(2)", Errno::EBADF).at(at))?;
    let agent = connect_to(Path::new(path), "seccomp agent")
        .map_err(|e| e.within("failed to connect with seccomp agent").at(at))?;
    let annotations = state.annotations.as_object().into_iter().flatten();
    let state = ContainerState {
        oci_version: crate::state::OCI_VERSION,
        id: &state.id,
        status,
        pid: init,
        bundle: &state.bundle,
        annotations: annotations.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect(),
    };
    let message = container_process_state(child.pid, seccomp.policy.listener_metadata(), &state);
    fd::send(agent.as_fd(), &message, Some(listener.as_fd()))
        .map_err(|e| Error::kernel("send the seccomp listener to its agent", "sendmsg(2)", e).at(at))
}
