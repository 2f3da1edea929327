//! Readiness of a service: what the container tells its NOTIFY_SOCKET reaches whoever supervises teu.
//!
//! The container has a socket of its own, below the state directory. Of what arrives there only READY=1 counts, and
//! it is told on in our words: nothing that the container writes reaches the supervisor.
//! Source: sd_notify(3), systemd.service(5) (`Type=notify`).

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, setsockopt, socket,
};
use nix::sys::time::TimeVal;

use super::console;
use crate::error::{Errno, Error, Result};
use crate::state::Directory;
use crate::sys::clone::Child;
use crate::sys::fd;

/// How long the supervisor may take to read what it was told.
const PATIENCE: Duration = Duration::from_secs(30);

/// The address of the supervisor, from the environment. `None` when nobody waits for readiness.
pub fn supervisor() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())
}

/// The socket of one container, until the command ends.
pub struct Readiness {
    socket: OwnedFd,
    supervisor: OsString,
    is_told: bool,
    barrier: Option<OwnedFd>,
}

impl Readiness {
    /// Makes the socket. To be called before the program can run.
    ///
    /// `None` when nobody waits, or when `create` did not know that somebody would: the container has no way to it.
    pub fn listen(directory: &Directory) -> Result<Option<Readiness>> {
        let Some(supervisor) = supervisor() else { return Ok(None) };
        let Some(socket) = directory.bind_notify()? else {
            crate::log::warn("NOTIFY_SOCKET is set, and was not when the container was created");
            return Ok(None);
        };
        Ok(Some(Readiness { socket, supervisor, is_told: false, barrier: None }))
    }

    /// What to wait for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what has arrived. The first READY=1 is told on, with `main_pid` as the process to look after.
    ///
    /// Everything later is read and dropped, so that a program that waits for an answer is not kept waiting.
    pub fn serve(&mut self, main_pid: i32) {
        // A container that never stops talking must not keep us from everything else.
        const MOST_AT_ONCE: usize = 64;
        let mut buffer = [0u8; 4096];
        for _ in 0..MOST_AT_ONCE {
            // Without room for descriptors the kernel closes those that come along, which is the answer to a barrier.
            let Ok(length) = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) else {
                return;
            };
            let is_ready = buffer[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
            if is_ready && !self.is_told {
                self.is_told = true;
                // The container runs whether or not anybody is there to hear of it.
                match tell(&self.supervisor, main_pid) {
                    Ok(barrier) => self.barrier = Some(barrier),
                    Err(error) => crate::log::warn(&error.to_string()),
                }
            }
        }
    }

    /// Waits until the container is ready or has ended, for a command that returns while it runs.
    pub fn wait(&mut self, init: &Child) -> Result<()> {
        while !self.is_told {
            let mut waiting = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(init.pidfd.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut waiting, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(Error::kernel("wait for the readiness of the container", "poll(2)", e)),
            }
            let has_ended = waiting[1].any().unwrap_or(false);
            self.serve(init.pid);
            if has_ended {
                break;
            }
        }
        Ok(())
    }

    /// Waits until the supervisor has read what it was told: it looks up who told it, and we are about to end.
    pub fn settle(self) {
        let Some(barrier) = self.barrier else { return };
        let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        let mut waiting = [PollFd::new(barrier.as_fd(), PollFlags::empty())];
        while let Err(Errno::EINTR) = poll(&mut waiting, patience) {}
    }
}

/// Tells the supervisor. Returns the end of a pipe that hangs up when it has read everything.
fn tell(supervisor: &OsString, main_pid: i32) -> Result<OwnedFd> {
    let failed = |call: &'static str, e| {
        Error::kernel(format!("tell {} about the readiness", supervisor.to_string_lossy()), call, e)
    };
    let (address, _directory) = match supervisor.as_bytes() {
        [b'@', name @ ..] => (UnixAddr::new_abstract(name), None),
        [b'/', ..] => match console::address(Path::new(supervisor)) {
            Ok((address, directory)) => (Ok(address), directory),
            Err(e) => (Err(e), None),
        },
        _ => (Err(Errno::EAFNOSUPPORT), None),
    };
    let host = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|e| failed("socket(2)", e))?;
    let address = address.map_err(|e| failed("connect(2)", e))?;
    setsockopt(&host, SendTimeout, &TimeVal::new(PATIENCE.as_secs() as i64, 0))
        .map_err(|e| failed("setsockopt(2)", e))?;
    connect(host.as_raw_fd(), &address).map_err(|e| failed("connect(2)", e))?;
    let (kept, handed) = fd::pipe().map_err(|e| failed("pipe2(2)", e))?;
    let main = format!("MAINPID={main_pid}\n");
    let messages: [(&[u8], Option<BorrowedFd>); 3] =
        [(b"READY=1\n", None), (main.as_bytes(), None), (b"BARRIER=1", Some(handed.as_fd()))];
    for (text, descriptor) in messages {
        fd::send(host.as_fd(), text, descriptor).map_err(|e| failed("sendmsg(2)", e))?;
    }
    Ok(kept)
}
