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

pub use properties::FIELDS;
pub use strict::{first_value, push_key};

use std::path::Path;

use oci_spec::runtime::Spec;
use serde_json::Value;
use teu_seccomp::Policy;

use crate::error::{Error, Result};
use crate::report::Report;

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
    read_file(&bundle.join("config.json"))
}

/// The same for a configuration by its own name.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let doing = || format!("read {}", path.display());
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path);
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

/// A JSON object, read strictly: no member twice, nothing after the end. `what` names it in errors.
pub fn parse(bytes: &[u8], what: &str) -> Result<Value> {
    strict::parse_named(bytes, what, &mut Report::of_first_error())
}

/// Reads a `config.json` from its bytes.
///
/// Errors carry the JSON pointer of the first value that does not fit.
pub fn load(bytes: &[u8]) -> Result<Config> {
    let mut report = Report::of_first_error();
    let config = load_into(bytes, &mut report)?;
    Ok(Config { warnings: report.into_warnings(), ..config })
}

/// The same with everything that is to be said told to `report`.
///
/// Where the report goes on after errors, the configuration lacks what could not be read. Errors that are returned
/// nonetheless leave nothing to go on with.
pub fn load_into(bytes: &[u8], report: &mut Report) -> Result<Config> {
    let mut document = strict::parse(bytes, report)?;
    properties::tell_unknown(&document, "", report);
    let repaired = repair::repair(&mut document, report)?;
    let spec = typed_part(document, "", report)?
        .ok_or_else(|| Error::config("", "config.json is not valid: nothing of it can be read"))?;
    Ok(Config { spec, process: repaired.process, seccomp: repaired.seccomp, warnings: Vec::new() })
}

/// Gives a JSON value its type; errors carry the pointer, below `base`, of the value that does not fit.
pub fn typed<T: serde::de::DeserializeOwned>(value: Value, base: &str) -> Result<T> {
    serde_path_to_error::deserialize(exact::Exact(value)).map_err(|error| {
        let pointer = strict::pointer(base, error.path());
        Error::config(pointer, error.into_inner().to_string())
    })
}

/// [`typed`] as far as `report` wants it: see [`readable`].
fn typed_part<T: serde::de::DeserializeOwned>(
    value: Value,
    base: &str,
    report: &mut Report,
) -> Result<Option<T>> {
    if !report.goes_on() {
        return typed(value, base).map(Some);
    }
    readable(value, base, report, |value| typed(value.clone(), base))
}

/// How many values are read again at most, all readings together, before larger parts are taken out.
const MOST_READ_AGAIN: usize = 1_000_000;

/// Reads a value. Where the report goes on after an error, what could not be read is taken out and the rest is read
/// again; `None` when nothing is left.
fn readable<T>(
    mut value: Value,
    base: &str,
    report: &mut Report,
    read: impl Fn(&Value) -> Result<T>,
) -> Result<Option<T>> {
    let mut read_again = 0;
    loop {
        let error = match read(&value) {
            Ok(read) => return Ok(Some(read)),
            Err(error) => error,
        };
        let mut pointer = error.pointer().unwrap_or(base).strip_prefix(base).unwrap_or_default().to_owned();
        report.refuse(error)?;
        read_again += size(&value);
        if report.is_full() || read_again > MOST_READ_AGAIN {
            // A whole list, or a member of a section.
            let keys = pointer.split('/').take(3).take_while(|part| part.parse::<usize>().is_err());
            pointer = keys.collect::<Vec<_>>().join("/");
            report.leave_out();
        }
        if !report.take_out(&mut value, base, &pointer) {
            return Ok(None);
        }
    }
}

/// How many values there are in a value.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(size).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// A `process` object that comes alone, in the file of `exec --process`.
///
/// Errors carry pointers into that file.
pub fn load_process(bytes: &[u8]) -> Result<(oci_spec::runtime::Process, process::Extras, Vec<Warning>)> {
    let mut report = Report::of_first_error();
    let mut document = strict::parse_named(bytes, "the process file", &mut report)?;
    properties::tell_unknown(&document, "/process", &mut report);
    let extras = repair::process(&mut document, "", &mut report)?;
    Ok((typed(document, "")?, extras, report.into_warnings()))
}
