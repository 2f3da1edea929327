//! `teu state`.

use serde::Serialize;
use std::collections::BTreeMap;

use super::open_root;
use crate::cli::Global;
use crate::error::{Error, Result};
use crate::state::{Container, Id, OCI_VERSION};

/// The state of a container as engines read it; the order of the members is runc's.
#[derive(Serialize)]
pub struct Shown {
    #[serde(rename = "ociVersion")]
    version: &'static str,
    id: String,
    pid: i32,
    status: &'static str,
    bundle: String,
    rootfs: String,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: String,
}

impl Shown {
    /// The state of `container`.
    pub fn of(container: &Container, owner: String) -> Shown {
        let record = &container.record;
        Shown {
            version: OCI_VERSION,
            id: record.id.clone(),
            pid: container.pid(),
            status: container.status.text(),
            bundle: record.own.bundle.to_string_lossy().into_owned(),
            rootfs: record.config.rootfs.to_string_lossy().into_owned(),
            created: record.created.clone(),
            annotations: record.own.annotations.clone(),
            owner,
        }
    }

    /// Values of the table of `list`, in the order of its columns.
    pub fn columns(&self) -> [String; 6] {
        [
            self.id.clone(),
            self.pid.to_string(),
            self.status.to_owned(),
            self.bundle.clone(),
            self.created.clone(),
            self.owner.clone(),
        ]
    }
}

/// Prints the state as JSON.
pub fn state(global: &Global, id: &str) -> Result<i32> {
    let root = open_root(global)?;
    let container = Container::load(&root, &Id::new(id)?)?;
    let text = serde_json::to_string_pretty(&Shown::of(&container, String::new()));
    print(&text.map_err(|e| Error::new(crate::error::Kind::Bug, format!("print the state: {e}")))?)
}

/// Prints one text and a newline.
pub fn print(text: &str) -> Result<i32> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|e| Error::io("print", "write(2)", &e))?;
    Ok(0)
}
