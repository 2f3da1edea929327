//! `teu spec`: a config.json to start from.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::seccomp::Profile;
use crate::cli::{Spec, given};
use crate::error::{Error, Kind, Result};
use crate::sys::identity;

/// The default configuration, as data.
const DEFAULT: &str = include_str!("spec.json");

/// Writes config.json into the bundle. An existing one is not touched.
pub fn spec(args: &Spec) -> Result<i32> {
    let path = given(&args.bundle).unwrap_or(Path::new(".")).join("config.json");
    let text = text(args)?;
    let failed =
        |call: &'static str, e: &std::io::Error| Error::io(format!("write {}", path.display()), call, e);
    let mut file = match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::usage("File config.json exists. Remove it first"));
        }
        other => other.map_err(|e| failed("openat(2)", &e))?,
    };
    file.write_all(text.as_bytes()).map_err(|e| failed("write(2)", &e))?;
    Ok(0)
}

fn text(args: &Spec) -> Result<String> {
    if !args.rootless && args.seccomp.is_none() {
        return Ok(DEFAULT.to_owned());
    }
    let mut config = document(args.rootless)?;
    if let Some(profile) = &args.seccomp {
        config["linux"]["seccomp"] = match profile.to_str() {
            Some("default") => serde_json::from_str(teu_seccomp::DEFAULT_PROFILE).map_err(bug)?,
            _ => Profile::read(profile)?.section,
        };
    }
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    config.serialize(&mut serializer).map_err(bug)?;
    text.push(b'\n');
    String::from_utf8(text)
        .map_err(|e| Error::new(Kind::Bug, format!("write the default configuration: {e}")))
}

/// The default as a document, for an unprivileged user or not.
pub fn document(rootless: bool) -> Result<Value> {
    let mut config = serde_json::from_str(DEFAULT).map_err(bug)?;
    if rootless {
        make_rootless(&mut config);
    }
    Ok(config)
}

/// Changes the default for an unprivileged user: a user namespace with one id, what needs privilege left out.
fn make_rootless(config: &mut Value) {
    let linux = &mut config["linux"];
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "user"}));
    }
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": identity::effective_uid(), "size": 1}]);
    linux["gidMappings"] = json!([{"containerID": 0, "hostID": identity::effective_gid(), "size": 1}]);
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/sys" {
            // A sysfs of its own needs a network namespace of its own.
            *mount = json!({
                "destination": "/sys",
                "type": "none",
                "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "rro"],
            });
        }
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| !option.as_str().is_some_and(|o| o.starts_with("gid=")));
        }
    }
}

fn bug(error: serde_json::Error) -> Error {
    Error::new(Kind::Bug, format!("write the default configuration: {error}"))
}
