//! The socket that the terminal's master goes to.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_socket, socket};

use super::access::{self, Use, Who};
use crate::error::{Errno, Error, Result};
use crate::plan::process::Terminal;
use crate::sys::fd;

/// Connects to `--console-socket`, or makes a pair when this process relays the terminal itself: the first end is
/// the child's, the second ours. Without a terminal there is nothing to connect.
pub fn connect(
    terminal: Option<Terminal>,
    console_socket: Option<&Path>,
) -> Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    if terminal.is_none() {
        return Ok((None, None));
    }
    if let Some(path) = console_socket {
        return Ok((Some(connect_to(path, "--console-socket")?), None));
    }
    let (child, ours) =
        fd::seqpacket_pair().map_err(|e| Error::kernel("make a socket pair", "socketpair(2)", e))?;
    Ok((Some(child), Some(ours)))
}

/// Connects to a stream socket of the host.
///
/// A path longer than an address can hold is reached through its directory.
pub fn connect_to(path: &Path, what: &str) -> Result<OwnedFd> {
    let failed =
        |call: &'static str, e| Error::kernel(format!("connect to {what} {}", path.display()), call, e);
    let made = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|e| failed("socket(2)", e))?;
    let (address, _directory) = address(path).map_err(|e| failed("connect(2)", e))?;
    connect_socket(made.as_raw_fd(), &address)
        .map_err(|e| access::explain(failed("connect(2)", e), Some(&Who::caller()), path, Use::Connect))?;
    Ok(made)
}

/// The address of a socket path. A descriptor of its directory must live as long as the address is used.
pub fn address(path: &Path) -> std::result::Result<(UnixAddr, Option<OwnedFd>), Errno> {
    if let Ok(address) = UnixAddr::new(path) {
        return Ok((address, None));
    }
    let (parent, name) = (path.parent().ok_or(Errno::EINVAL)?, path.file_name().ok_or(Errno::EINVAL)?);
    let directory =
        std::fs::File::open(parent).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    Ok((UnixAddr::new(&short)?, Some(directory.into())))
}
