//! Calls that a seccomp filter refuses to teu itself, such as that of a container in which it runs.

use crate::error::{Errno, Error};

/// Adds that a filter is in force to a failure that may be its doing and says nothing better.
pub fn explain(error: Error) -> Error {
    let refused = matches!(error.errno(), Some(Errno::EPERM | Errno::ENOSYS));
    if !refused || !is_filtered() {
        return error;
    }
    error.hint(
        "a seccomp filter is in force here, such as that of an outer container, and may forbid the call: Docker and \
         podman leave it out with --security-opt seccomp=unconfined",
    )
}

/// Source: proc_pid_status(5).
fn is_filtered() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}
