//! A seccomp profile from a file, a config.json or a bundle.

use std::path::Path;

use serde_json::Value;
use teu_seccomp::Policy;

use crate::config;
use crate::error::{Error, Result};

/// Where the profile is in a config.json.
pub const IN_CONFIG: &str = "/linux/seccomp";

/// A profile and where it comes from.
#[derive(Debug)]
pub struct Profile {
    /// The profile as it is written.
    pub section: Value,
    /// The profile, checked.
    pub policy: Policy,
    /// Pointer of the profile in its file: empty, or that of `linux.seccomp`.
    pub base: &'static str,
}

impl Profile {
    /// Reads a file that holds a profile or a config.json, or the config.json of a bundle.
    ///
    /// Errors: those of the profile with their pointers; a file that asks for no filter.
    pub fn read(path: &Path) -> Result<Profile> {
        let bytes = if path.is_dir() { config::read(path)? } else { config::read_file(path)? };
        let document = config::parse(&bytes, &path.display().to_string())?;
        let profile = Profile::of(document).map_err(|e| e.within(path.display()))?;
        profile.ok_or_else(|| {
            Error::config("", format!("{} asks for no seccomp filter: every call runs", path.display()))
        })
    }

    /// The profile in a document that is one or is a config.json. `None` when it asks for no filter.
    pub fn of(mut document: Value) -> Result<Option<Profile>> {
        let is_config = document.get("ociVersion").is_some() || document.get("linux").is_some();
        let (section, base) = match is_config {
            true => (document.pointer_mut(IN_CONFIG).map(Value::take).unwrap_or_default(), IN_CONFIG),
            false => (document, ""),
        };
        refuse_template(&section, base)?;
        let policy = Policy::from_value(&section)
            .map_err(|e| Error::config(format!("{base}{}", e.pointer), e.message))?;
        Ok(policy.map(|policy| Profile { section, policy, base }))
    }
}

/// The files that engines make profiles from look like profiles, and their rules depend on more than the call.
fn refuse_template(section: &Value, base: &str) -> Result<()> {
    let refused = |pointer: String| {
        Err(Error::config(pointer, "this is an engine's template for profiles, not a profile").hint(
            "the engine makes a profile of it for each container, which is in that container's config.json",
        ))
    };
    if section.get("archMap").is_some_and(|map| !map.is_null()) {
        return refused(format!("{base}/archMap"));
    }
    for (index, rule) in section.get("syscalls").and_then(Value::as_array).into_iter().flatten().enumerate() {
        for key in ["includes", "excludes"] {
            if rule.get(key).and_then(Value::as_object).is_some_and(|object| !object.is_empty()) {
                return refused(format!("{base}/syscalls/{index}/{key}"));
            }
        }
    }
    Ok(())
}
