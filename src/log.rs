//! The log sink of `--log`: one record for each line, text or JSON, appended.
//!
//! Errors are written here and printed by `main` once; warnings are kept back until the command has succeeded,
//! because engines read a log with a warning in front of an error as no error at all.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result, one_line};
use crate::sys::identity::effective_uid;
use crate::sys::path::readlinkat;

/// Form of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=error msg="…"`.
    #[default]
    Text,
    /// One JSON object on a line.
    Json,
}

/// Where records go.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// File; standard error when absent.
    pub file: Option<PathBuf>,
    /// Form.
    pub format: Format,
    /// Debug records are written too.
    pub debug: bool,
}

thread_local! {
    // The process has one thread; this is its one log.
    static LOG: RefCell<Log> = RefCell::default();
}

#[derive(Default)]
struct Log {
    settings: Settings,
    warnings: Vec<String>,
}

/// Sets the sink, which must be writable.
pub fn open(settings: Settings) -> Result<()> {
    if let Some(path) = &settings.file {
        file(path).map_err(|e| Error::io(format!("open the log {}", path.display()), "openat(2)", &e))?;
    }
    LOG.with_borrow_mut(|log| log.settings = settings);
    Ok(())
}

/// Opens a log. A link to it is followed, such as /dev/stderr, unless another user has made it: in a directory that
/// others may write to, it would choose which file of the caller's grows.
fn file(path: &Path) -> std::io::Result<File> {
    match appending(path, libc::O_NOFOLLOW) {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            let link =
                OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
            let owner = link.metadata()?.uid();
            if owner != effective_uid() && !crate::host::is_root(owner) {
                return Err(error);
            }
            let mut buffer = [0u8; libc::PATH_MAX as usize];
            let target = readlinkat(link.as_fd(), c"", &mut buffer)?;
            appending(&path.with_file_name(OsStr::from_bytes(target)), 0)
        }
        opened => opened,
    }
}

fn appending(path: &Path, flags: i32) -> std::io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | flags)
        .open(path)
}

/// Keeps a warning until the command has succeeded.
pub fn warn(text: &str) {
    LOG.with_borrow_mut(|log| log.warnings.push(text.to_owned()));
}

/// Writes the warnings that were kept.
///
/// On standard error they would end up in the output of the container, or within JSON that somebody parses, so
/// they are only written to a file, or when debugging.
pub fn flush_warnings() {
    let warnings = LOG.with_borrow_mut(|log| std::mem::take(&mut log.warnings));
    let wanted = LOG.with_borrow(|log| log.settings.debug || log.settings.file.is_some());
    for warning in warnings.iter().filter(|_| wanted) {
        write("warning", warning);
    }
}

/// True with `--debug`.
pub fn is_debugging() -> bool {
    LOG.with_borrow(|log| log.settings.debug)
}

/// Writes a debug record, with `--debug`.
pub fn debug(text: impl FnOnce() -> String) {
    if is_debugging() {
        write("debug", &text());
    }
}

/// Says on standard error, and in the log, what the caller would not guess from the exit status of the container.
pub fn tell(text: &str) {
    if !error(text) {
        // Nobody may be reading any more.
        let _ = writeln!(std::io::stderr(), "{}", one_line(text));
    }
}

/// Writes the error that ends the command. True when it is on standard error with that, which then needs no other
/// text: a record in JSON, for whoever reads records there.
pub fn error(text: &str) -> bool {
    let (to_file, is_json) =
        LOG.with_borrow(|log| (log.settings.file.is_some(), log.settings.format == Format::Json));
    if to_file || is_json {
        write("error", text);
    }
    !to_file && is_json
}

fn write(level: &str, text: &str) {
    let settings = LOG.with_borrow(|log| log.settings.clone());
    let line = record(settings.format, level, text, SystemTime::now());
    // One write(2), so that records of several processes do not mix. A log that cannot be written is no reason
    // to fail: the error is printed as well.
    let _ = match &settings.file {
        Some(path) => file(path).and_then(|mut file| file.write_all(line.as_bytes())),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

/// One record. Source: the JSON formatter of logrus, which engines parse.
fn record(format: Format, level: &str, text: &str, time: SystemTime) -> String {
    let time = humantime::format_rfc3339_seconds(time);
    let text = one_line(text);
    match format {
        Format::Json => {
            let message = serde_json::Value::from(text.as_ref());
            format!("{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{time}\"}}\n")
        }
        Format::Text => format!("time=\"{time}\" level={level} msg={text:?}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_record_has_the_keys_and_the_order_that_engines_parse() {
        let line = record(Format::Json, "error", "a \"b\"\nc", SystemTime::UNIX_EPOCH);
        assert_eq!(
            line,
            "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\\\\nc\",\"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
    }

    #[test]
    fn a_text_record_is_one_line() {
        let line = record(Format::Text, "warning", "a\nb", SystemTime::UNIX_EPOCH);
        assert_eq!(line, "time=\"1970-01-01T00:00:00Z\" level=warning msg=\"a\\\\nb\"\n");
    }
}
