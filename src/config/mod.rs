//! `config.json` as the specification writes it, and how it is read.
//!
//! Runs before anything happens. The types are those of the `oci-spec` crate where they say what the
//! specification says; where they do not, [`repair`] takes the part out first and [`process`] has its own.
//! No kernel constant, no fact of the host and no default that the specification does not give lives here.
#![forbid(unsafe_code)]

mod exact;
pub mod process;
mod properties;
mod repair;
mod strict;
#[cfg(test)]
mod tests;

pub use strict::{first_value, push_key};

use std::path::Path;

use oci_spec::runtime::Spec;
use serde_json::Value;
use teu_seccomp::Policy;

use crate::error::{Error, Result};

/// The largest `config.json` that is read, in bytes.
pub const LARGEST: u64 = 16 * 1024 * 1024;

/// A read and well-typed `config.json`. Nothing about its meaning has been checked yet, except seccomp.
#[derive(Debug)]
pub struct Config {
    /// The document, less what follows.
    pub spec: Spec,
    /// The parts of `process` that need types of their own.
    pub process: process::Extras,
    /// `linux.seccomp`.
    pub seccomp: Option<Policy>,
    /// What is suspicious but no error.
    pub warnings: Vec<Warning>,
}

/// Something that the user should know although it is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// JSON pointer into `config.json`.
    pub at: String,
    /// One line, lower case.
    pub text: String,
}

impl Warning {
    /// A warning about the field at `at`.
    pub fn new(at: impl Into<String>, text: impl Into<String>) -> Warning {
        Warning { at: at.into(), text: text.into() }
    }
}

/// Reads `config.json` of a bundle: a regular file of at most [`LARGEST`] bytes.
///
/// Returns the bytes too, since the state directory keeps a copy.
pub fn read(bundle: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let path = bundle.join("config.json");
    let doing = || format!("read {}", path.display());
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(&path);
    let file = match file {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::config("", format!("JSON specification file {} not found", path.display()))
                .hint("a bundle is a directory with a config.json; `teu spec` writes one"));
        }
        other => other.map_err(|e| Error::io(doing(), "openat(2)", &e).at(""))?,
    };
    let metadata = file.metadata().map_err(|e| Error::io(doing(), "fstat(2)", &e).at(""))?;
    if !metadata.is_file() {
        return Err(Error::config("", format!("{} is no regular file", path.display())));
    }
    if metadata.len() > LARGEST {
        return Err(Error::config(
            "",
            format!("{} has {} bytes, more than {LARGEST}", path.display(), metadata.len()),
        ));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|e| Error::io(doing(), "read(2)", &e).at(""))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::config("", format!("{} grew beyond {LARGEST} bytes", path.display())));
    }
    Ok(bytes)
}

/// Reads a `config.json` from its bytes.
///
/// Errors carry the JSON pointer of the first value that does not fit.
pub fn load(bytes: &[u8]) -> Result<Config> {
    let mut document = strict::parse(bytes)?;
    let mut warnings = Vec::new();
    properties::warn_of_misspelled(&document, &mut warnings);
    let repaired = repair::repair(&mut document, &mut warnings)?;
    let spec = typed(document, "")?;
    Ok(Config { spec, process: repaired.process, seccomp: repaired.seccomp, warnings })
}

/// Gives a JSON value its type; errors carry the pointer, below `base`, of the value that does not fit.
pub fn typed<T: serde::de::DeserializeOwned>(value: Value, base: &str) -> Result<T> {
    serde_path_to_error::deserialize(exact::Exact(value)).map_err(|error| {
        let pointer = strict::pointer(base, error.path());
        Error::config(pointer, error.into_inner().to_string())
    })
}

/// A `process` object that comes alone, in the file of `exec --process`.
///
/// Errors carry pointers into that file.
pub fn load_process(bytes: &[u8]) -> Result<(oci_spec::runtime::Process, process::Extras, Vec<Warning>)> {
    let mut document = strict::parse_named(bytes, "the process file")?;
    let mut warnings = Vec::new();
    properties::warn_of_misspelled(&document, &mut warnings);
    let extras = repair::process(&mut document, "", &mut warnings)?;
    Ok((typed(document, "")?, extras, warnings))
}
