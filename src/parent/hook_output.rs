//! The files to which what hooks print is appended, as annotations ask for it.
//!
//! Their names come from whoever may label a container. They are resolved once, before anything of the container
//! exists, and what was found is written down; a later command follows no link on the way to it, since what is there
//! then may be the container's work. No hook and no process of the container ever holds one of these descriptors.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Errno, Error, Result};
use crate::plan::hooks::Output;
use crate::sync::Stream;
use crate::sys::fd;
use crate::sys::path::{self, resolve};

/// The streams of whoever called teu, by the names that programs use for them.
const OWN_STREAMS: [(&str, RawFd); 2] = [("/dev/stdout", 1), ("/dev/stderr", 2)];

/// The files, open.
#[derive(Debug, Default)]
pub struct HookOutput {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// The names without links, for later commands.
    pub real: Output,
    /// Whether a file that takes no more has been told of.
    told: Cell<bool>,
}

impl HookOutput {
    /// Opens the files that the configuration names; what is missing is made, readable and writable by its owner.
    ///
    /// Errors: the directory is missing; the last part of the name is a symbolic link; it is neither a regular file
    /// nor a pipe that somebody reads nor a character device.
    pub fn first(named: &Output) -> Result<HookOutput> {
        HookOutput::again(&real(named)?)
    }

    /// Opens what [`HookOutput::first`] has found.
    pub fn again(real: &Output) -> Result<HookOutput> {
        let [stdout, stderr] = real.files().map(|(name, file)| file.map(|file| open(file, name)).transpose());
        Ok(HookOutput { stdout: stdout?, stderr: stderr?, real: real.clone(), told: Cell::new(false) })
    }

    /// The same for commands that must go on without it: the reason is a warning.
    pub fn again_or_none(real: &Output) -> HookOutput {
        HookOutput::again(real).unwrap_or_else(|error| {
            crate::log::warn(&error.to_string());
            HookOutput::default()
        })
    }

    /// Appends what a hook has printed. A file that takes no more is a warning, not the fault of the hook.
    pub fn append(&self, stream: Stream, text: &[u8]) {
        let (name, file) = match stream {
            Stream::Out => (&self.real.stdout, &self.stdout),
            Stream::Err => (&self.real.stderr, &self.stderr),
        };
        let (Some(name), Some(file)) = (name, file) else { return };
        if let Err(errno) = fd::write_all(file.as_fd(), text)
            && !self.told.replace(true)
        {
            let what = format!("append what a hook printed to {}", name.display());
            crate::log::warn(&Error::kernel(what, "write(2)", errno).to_string());
        }
    }

    /// The numbers of the descriptors, which the child must not have.
    pub fn numbers(&self) -> impl Iterator<Item = RawFd> {
        [&self.stdout, &self.stderr].into_iter().flatten().map(AsRawFd::as_raw_fd)
    }
}

/// The same files by names without links. The last part, which need not exist, is taken as it is.
pub fn real(named: &Output) -> Result<Output> {
    let [stdout, stderr] =
        named.files().map(|(name, file)| file.map(|file| real_path(file, name)).transpose());
    Ok(Output { stdout: stdout?, stderr: stderr? })
}

fn own_stream(path: &Path) -> Option<RawFd> {
    OWN_STREAMS.iter().find(|(name, _)| path == Path::new(name)).map(|(_, number)| *number)
}

fn real_path(path: &Path, annotation: &str) -> Result<PathBuf> {
    let (Some(directory), Some(name), None) = (path.parent(), path.file_name(), own_stream(path)) else {
        return Ok(path.to_owned());
    };
    let directory = std::fs::canonicalize(directory).map_err(|e| {
        Error::io(format!("open {}", path.display()), "openat2(2)", &e)
            .at(format!("/annotations/{annotation}"))
    })?;
    Ok(directory.join(name))
}

fn open(path: &Path, annotation: &str) -> Result<OwnedFd> {
    let failed = |call: &'static str, errno| {
        let error = Error::kernel(format!("open {}", path.display()), call, errno);
        error.at(format!("/annotations/{annotation}"))
    };
    if let Some(number) = own_stream(path) {
        return fd::duplicate(fd::stdio(number)).map_err(|e| failed("fcntl(2)", e));
    }
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| failed("openat2(2)", Errno::EINVAL))?;
    // A pipe without a reader must not be waited for, and a terminal must not become the one of teu.
    let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = path::openat2(path::cwd_fd(), &name, flags, 0o600, resolve::NO_SYMLINKS)
        .map_err(|e| failed("openat2(2)", e))?;
    let kind = kind(file.as_fd()).map_err(|e| failed("statx(2)", e))?;
    match kind {
        libc::S_IFREG | libc::S_IFIFO | libc::S_IFCHR => Ok(file),
        _ => Err(failed("openat2(2)", Errno::EINVAL).detail("it is no file that can be appended to")),
    }
}

fn kind(file: BorrowedFd) -> std::result::Result<u32, Errno> {
    path::stat_fd(file).map(|stat| stat.kind())
}
