//! The state document that hooks read.

use serde_json::json;

/// The state document of hooks, less what changes.
#[derive(Clone, Debug)]
pub struct HookState {
    /// Container id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: String,
    /// Annotations, as an object.
    pub annotations: serde_json::Value,
}

impl HookState {
    /// The state document, in two halves between which the pid goes.
    ///
    /// Source: runtime.md#state.
    pub fn halves(&self, status: &str) -> (Vec<u8>, Vec<u8>) {
        let head = json!({"ociVersion": crate::state::OCI_VERSION, "id": self.id, "status": status});
        let mut tail = json!({"bundle": self.bundle});
        if self.annotations.as_object().is_some_and(|a| !a.is_empty()) {
            tail["annotations"] = self.annotations.clone();
        }
        let mut before = head.to_string().into_bytes();
        before.pop();
        before.extend_from_slice(b",\"pid\":");
        let mut after = tail.to_string().into_bytes();
        after[0] = b',';
        (before, after)
    }

    /// The document with this pid.
    pub fn with_pid(&self, status: &str, pid: i32) -> Vec<u8> {
        let (mut text, after) = self.halves(status);
        text.extend_from_slice(pid.to_string().as_bytes());
        text.extend_from_slice(&after);
        text
    }
}
