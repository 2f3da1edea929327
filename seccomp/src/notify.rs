//! What the process behind a listener is told: the `containerProcessState` message.
//!
//! The runtime sends it in one message together with the listener's descriptor (SCM_RIGHTS). Sending is not done
//! here; this module only says what the bytes are.
//!
//! Source: config-linux.md#containerprocessstate.

use std::collections::BTreeMap;

use serde::Serialize;

/// Name of the listener's descriptor in `fds`; its place there is its place among the descriptors sent.
pub const SECCOMP_FD_NAME: &str = "seccompFd";

/// State of the container, as the specification's `state` document has it.
#[derive(Debug, Clone, Serialize)]
pub struct ContainerState<'a> {
    /// Version of the specification.
    #[serde(rename = "ociVersion")]
    pub oci_version: &'a str,
    /// Container id.
    pub id: &'a str,
    /// `creating` when the listener belongs to the container's init, `running` for a further process.
    pub status: &'a str,
    /// Process id of the container's init on the host.
    pub pid: i32,
    /// Absolute path of the bundle.
    pub bundle: &'a str,
    /// Annotations of the container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct ContainerProcessState<'a> {
    #[serde(rename = "ociVersion")]
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: &'a ContainerState<'a>,
}

/// The message about process `pid` (as seen from the host) with the profile's `listenerMetadata`.
pub fn container_process_state(pid: i32, metadata: Option<&str>, state: &ContainerState<'_>) -> Vec<u8> {
    let message = ContainerProcessState {
        oci_version: state.oci_version,
        fds: [SECCOMP_FD_NAME],
        pid,
        metadata: metadata.unwrap_or_default(),
        state,
    };
    // Text and numbers only: nothing that could not be written as JSON.
    serde_json::to_vec(&message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_an_init_has_the_members_of_the_specification() {
        let annotations = BTreeMap::from([("org.example/a", "b \"quoted\"")]);
        let state = ContainerState {
            oci_version: "1.3.0",
            id: "c1",
            status: "creating",
            pid: 42,
            bundle: "/b",
            annotations,
        };
        let text = String::from_utf8(container_process_state(42, Some("box 7"), &state)).expect("UTF-8");
        assert_eq!(
            text,
            r#"{"ociVersion":"1.3.0","fds":["seccompFd"],"pid":42,"metadata":"box 7","state":{"ociVersion":"1.3.0","id":"c1","status":"creating","pid":42,"bundle":"/b","annotations":{"org.example/a":"b \"quoted\""}}}"#
        );
    }

    #[test]
    fn empty_members_are_left_out() {
        let state = ContainerState {
            oci_version: "1.3.0",
            id: "c1",
            status: "running",
            pid: 42,
            bundle: "/b",
            annotations: BTreeMap::new(),
        };
        let text = String::from_utf8(container_process_state(77, None, &state)).expect("UTF-8");
        assert_eq!(
            text,
            r#"{"ociVersion":"1.3.0","fds":["seccompFd"],"pid":77,"state":{"ociVersion":"1.3.0","id":"c1","status":"running","pid":42,"bundle":"/b"}}"#
        );
    }
}
