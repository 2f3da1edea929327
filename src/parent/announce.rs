//! Tells the caller which process was made: pid file, pidfd socket.

use std::os::fd::AsFd;

use super::access::{self, Use, Who};
use crate::error::{Error, Result};
use crate::sys::clone::Child;
use crate::sys::fd;

/// Sends the pidfd to the socket of the caller, in one message whose text tells which kind of process it is.
pub(super) fn send_pidfd(path: &std::path::Path, kind: &[u8], init: &Child) -> Result<()> {
    let socket = super::console::connect_to(path, "--pidfd-socket")?;
    fd::send(socket.as_fd(), kind, Some(init.pidfd.as_fd()))
        .map_err(|e| Error::kernel("send the pidfd of the init process", "sendmsg(2)", e))
}

/// Writes the pid file: the number and nothing else, complete at any moment.
pub fn write_pid_file(target: &std::path::Path, pid: i32) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |call: &'static str, e: &std::io::Error| {
        Error::io(format!("write the pid file {}", target.display()), call, e)
    };
    let name = target.file_name().ok_or_else(|| Error::usage("--pid-file names no file"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = target.with_file_name(temporary);
    let _ = std::fs::remove_file(&temporary);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o666)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&temporary)
        .map_err(|e| access::explain(failed("openat(2)", &e), Some(&Who::caller()), &temporary, Use::Make))?;
    let done = file
        .write_all(pid.to_string().as_bytes())
        .map_err(|e| failed("write(2)", &e))
        .and_then(|()| std::fs::rename(&temporary, target).map_err(|e| failed("rename(2)", &e)));
    if done.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    done
}
