//! The other end of a container's terminal: the console socket of an engine, or the terminal of a person.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::command::Running;
use super::{Cmd, Test, patience, sys};

/// A console socket as engines make it.
pub struct ConsoleSocket {
    listener: UnixListener,
    /// Where it is.
    pub path: PathBuf,
}

/// What arrived on a console socket.
pub struct Received {
    /// The bytes of the message.
    pub payload: Vec<u8>,
    /// Its descriptors.
    pub fds: Vec<OwnedFd>,
}

impl ConsoleSocket {
    /// Listens at a path.
    pub fn at(path: &Path) -> ConsoleSocket {
        let listener = UnixListener::bind(path).expect("a socket can be made in the test directory");
        ConsoleSocket { listener, path: path.to_owned() }
    }

    /// Accepts the connection that the runtime has made and reads its one message.
    pub fn receive(&self) -> Received {
        self.receive_within(Duration::ZERO)
    }

    /// Accepts the connection that the runtime makes within some time and reads its one message.
    pub fn receive_within(&self, limit: Duration) -> Received {
        use std::os::fd::AsFd;
        let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(patience(limit)).expect("a limit of less than a day");
        poll(&mut fds, limit).expect("a listener can be polled");
        self.listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let (stream, _) = self.listener.accept().expect("the runtime has connected to the console socket");
        stream.set_read_timeout(Some(patience(Duration::from_secs(10)))).expect("a socket has a timeout");
        receive(stream.as_raw_fd()).expect("a message is on the console socket")
    }
}

/// Reads one message of a socket, with the descriptors that came along.
pub fn receive(socket: RawFd) -> nix::Result<Received> {
    let mut bytes = [0u8; 4096];
    let mut space = nix::cmsg_space!([RawFd; 8]);
    let mut fds = Vec::new();
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(socket, &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let length = message.bytes;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            fds.extend(received.into_iter().map(sys::own));
        }
    }
    Ok(Received { payload: bytes[..length].to_vec(), fds })
}

/// A person at a terminal.
pub struct Person {
    /// What the person sees and types.
    pub terminal: Terminal,
    /// What the runtime gets.
    pub slave: OwnedFd,
}

impl Person {
    /// At a terminal of this size.
    pub fn at(rows: u16, columns: u16) -> Person {
        let (terminal, slave) = Terminal::open(rows, columns);
        Person { terminal, slave }
    }

    /// Makes a call at this terminal.
    pub fn call<'t>(&self, cmd: Cmd<'t>) -> Running<'t> {
        let copy = || self.slave.try_clone().expect("a descriptor can be duplicated");
        cmd.stdin_fd(copy()).output_to(copy(), copy()).with_controlling_terminal().spawn()
    }

    /// Changes the size of the terminal.
    pub fn resize(&self, rows: u16, columns: u16) {
        // The tool sets the size of its stdin; the kernel tells the foreground group of that terminal.
        let stdin = self.slave.try_clone().expect("a descriptor can be duplicated");
        let words = ["rows".to_owned(), rows.to_string(), "cols".to_owned(), columns.to_string()];
        let status = std::process::Command::new("stty").args(words).stdin(stdin).status();
        assert!(status.is_ok_and(|status| status.success()), "stty fails");
    }
}

/// The master side of a pseudo terminal, read by a thread so that writers never block.
pub struct Terminal {
    master: File,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Takes a master that arrived on a console socket.
    pub fn from_master(master: OwnedFd) -> Terminal {
        let master = File::from(master);
        let text = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone().expect("a descriptor can be duplicated"), text.clone());
        std::thread::spawn(move || {
            let mut bytes = [0u8; 4096];
            // EIO means that the last slave was closed.
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                sink.lock().expect("no reader panics").extend_from_slice(&bytes[..length]);
            }
        });
        Terminal { master, text }
    }

    /// A new pseudo terminal: the master, and the slave to give to a runtime.
    pub fn open(rows: u16, columns: u16) -> (Terminal, OwnedFd) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("the host has a devpts");
        (Terminal::from_master(pair.master), pair.slave)
    }

    /// Types something.
    pub fn type_text(&self, text: &str) {
        (&self.master).write_all(text.as_bytes()).expect("the terminal can be written to");
    }

    /// What has appeared so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("no reader panics")).into_owned()
    }

    /// Waits until a text appears.
    #[track_caller]
    pub fn wait_for(&self, test: &Test, text: &str) {
        let start = Instant::now();
        while !self.text().contains(text) {
            assert!(
                start.elapsed() < patience(Duration::from_secs(10)),
                "`{text}` did not appear; there is: {}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = test;
    }

    /// Whether the other side is closed by everybody.
    pub fn is_hung_up(&self) -> bool {
        use std::os::fd::AsFd;
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}
