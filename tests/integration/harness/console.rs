//! The other end of a container's terminal: the console socket of an engine, or the terminal of a person.

use std::fs::File;
use std::io::{ErrorKind, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::command::Running;
use super::pattern::Checker;
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
        set_size(self.slave.try_clone().expect("a descriptor can be duplicated"), rows, columns);
    }

    /// At a terminal whose output is not kept, but checked.
    pub fn checking() -> (Person, Arc<Mutex<Checker>>) {
        let pair = openpty(None, None).expect("the host has a devpts");
        let (terminal, checker) = Terminal::checked(pair.master);
        (Person { terminal, slave: pair.slave }, checker)
    }
}

/// The tool sets the size of its stdin; the kernel tells the foreground group of that terminal.
fn set_size(stdin: OwnedFd, rows: u16, columns: u16) {
    let words = ["rows".to_owned(), rows.to_string(), "cols".to_owned(), columns.to_string()];
    let status = std::process::Command::new("stty").args(words).stdin(stdin).status();
    assert!(status.is_ok_and(|status| status.success()), "stty fails");
}

/// Reads in a thread, until the last slave is closed.
fn read_with(master: OwnedFd, mut sink: impl FnMut(&[u8]) + Send + 'static) -> File {
    fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK)).expect("a descriptor has flags");
    let master = File::from(master);
    let mut reader = master.try_clone().expect("a descriptor can be duplicated");
    std::thread::spawn(move || {
        let mut bytes = [0u8; 4096];
        loop {
            match reader.read(&mut bytes) {
                Ok(length @ 1..) => sink(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::new(reader.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
                }
                _ => return,
            }
        }
    });
    master
}

/// The master side of a pseudo terminal, read by a thread so that writers never block.
pub struct Terminal {
    master: File,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Takes a master that arrived on a console socket.
    pub fn from_master(master: OwnedFd) -> Terminal {
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = text.clone();
        let keep = move |bytes: &[u8]| sink.lock().expect("no reader panics").extend_from_slice(bytes);
        Terminal { master: read_with(master, keep), text }
    }

    /// Takes a master whose output is not kept, but checked.
    pub fn checked(master: OwnedFd) -> (Terminal, Arc<Mutex<Checker>>) {
        let checker = Arc::new(Mutex::new(Checker::default()));
        let sink = checker.clone();
        let check = move |bytes: &[u8]| sink.lock().expect("no reader panics").feed(bytes);
        (Terminal { master: read_with(master, check), text: Arc::default() }, checker)
    }

    /// Changes the size, as an engine does.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(self.master.try_clone().expect("a descriptor can be duplicated").into(), rows, columns);
    }

    /// A new pseudo terminal: the master, and the slave to give to a runtime.
    pub fn open(rows: u16, columns: u16) -> (Terminal, OwnedFd) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("the host has a devpts");
        (Terminal::from_master(pair.master), pair.slave)
    }

    /// Types something. Fails the test when nobody reads it.
    #[track_caller]
    pub fn type_text(&self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match (&self.master).write(rest) {
                Ok(length) => rest = &rest[length..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLOUT)];
                    let ready =
                        poll(&mut fds, PollTimeout::from(10_000u16)).expect("a terminal can be polled");
                    assert!(ready > 0, "nobody reads what is typed: {} bytes are left", rest.len());
                }
                Err(error) => panic!("the terminal cannot be written to: {error}"),
            }
        }
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
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}
