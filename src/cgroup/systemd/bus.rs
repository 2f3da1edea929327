//! A connection to a message bus, or to systemd without one.
//!
//! Every wait has an end: a bus that is stopped or hangs gives an error in time. Written here because the libraries
//! there are start threads, need a C library, or read the greeting of a peer without a time limit.
//! Source: D-Bus specification, "Authentication Protocol", "Message Bus Messages"; unix(7).

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, connect, getsockopt, recv, send, socket, sockopt,
};

use super::message::{FIRST, Kind, Message};
use crate::error::{Errno, Error, Kind as ErrorKind, Result};
use crate::parent::console::address;
use crate::plan::cgroup::systemd::value::Value;

/// How long the peer may take for one answer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The longest line of the greeting.
const LONGEST_LINE: usize = 1024;

/// The bus itself, as a destination.
pub const BUS: (&str, &str, &str) = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus");

/// What a peer answered: the values of a return, or name and text of an error.
pub type Answer = std::result::Result<Vec<Value>, Refusal>;

/// An error that a peer answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its name, such as `org.freedesktop.systemd1.NoSuchUnit`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// One method call: destination, object and interface; method; arguments.
pub struct Call<'a> {
    /// Whom it goes to.
    pub to: (&'a str, &'a str, &'a str),
    /// The method.
    pub method: &'a str,
    /// Its arguments.
    pub arguments: Vec<Value>,
}

/// An open connection.
#[derive(Debug)]
pub struct Bus {
    socket: OwnedFd,
    /// Where it leads, for messages.
    path: PathBuf,
    serial: u32,
    /// Bytes that have arrived and are no whole message yet.
    arrived: Vec<u8>,
    /// Signals that came while an answer was waited for.
    signals: VecDeque<Message>,
}

impl Bus {
    /// Connects to a socket and introduces the caller by the credentials that the kernel tells.
    ///
    /// Errors: nobody listens (ENOENT, ECONNREFUSED), the peer is another user than `owners`, it refuses, or it takes
    /// too long.
    pub fn connect(path: &Path, owners: &[u32]) -> Result<Bus> {
        let deadline = Instant::now() + PATIENCE;
        let failed = |call: &'static str, errno| {
            Error::kernel(format!("connect to {}", path.display()), call, errno).kind_of(ErrorKind::Systemd)
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket =
            socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(|e| failed("socket(2)", e))?;
        let (address, _directory) = address(path).map_err(|e| failed("connect(2)", e))?;
        loop {
            match connect(socket.as_raw_fd(), &address) {
                Ok(()) => break,
                Err(Errno::EINTR) => {}
                // Its queue of connections is full.
                Err(Errno::EAGAIN) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20))
                }
                Err(errno) => return Err(failed("connect(2)", errno)),
            }
        }
        let peer =
            getsockopt(&socket, sockopt::PeerCredentials).map_err(|e| failed("getsockopt(2)", e))?.uid();
        if !owners.contains(&peer) {
            let text = format!("{} belongs to user {peer}, who is not trusted", path.display());
            return Err(Error::new(ErrorKind::Systemd, text));
        }
        let mut bus =
            Bus { socket, path: path.to_owned(), serial: 0, arrived: Vec::new(), signals: VecDeque::new() };
        bus.authenticate(deadline)?;
        Ok(bus)
    }

    /// The descriptor, which no other process needs.
    pub fn number(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// Without an identity in the text the peer takes the one that the kernel tells, which is right in a user
    /// namespace too.
    fn authenticate(&mut self, deadline: Instant) -> Result<()> {
        self.write(b"\0AUTH EXTERNAL\r\n", deadline)?;
        let mut line = self.line(deadline)?;
        if line == "DATA" || line.starts_with("DATA ") {
            self.write(b"DATA\r\n", deadline)?;
            line = self.line(deadline)?;
        }
        if !line.starts_with("OK ") {
            return Err(self.trouble("refuses the caller").detail(line));
        }
        self.write(b"BEGIN\r\n", deadline)
    }

    fn line(&mut self, deadline: Instant) -> Result<String> {
        loop {
            if let Some(end) = self.arrived.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.arrived.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.arrived.len() > LONGEST_LINE {
                return Err(self.trouble("does not speak D-Bus"));
            }
            self.read(deadline)?;
        }
    }

    /// The process that made the socket, 0 when it is in a pid namespace that cannot be seen from here.
    pub fn peer_pid(&self) -> Option<i32> {
        getsockopt(&self.socket, sockopt::PeerCredentials).ok().map(|peer| peer.pid())
    }

    /// Makes one call and waits for the answer.
    pub fn call(&mut self, call: Call) -> Result<Answer> {
        let mut answers = self.call_all(vec![call])?;
        answers.pop().ok_or_else(|| self.trouble("gave no answer"))
    }

    /// Makes several calls at once and waits for every answer, in the order of the calls.
    pub fn call_all(&mut self, calls: Vec<Call>) -> Result<Vec<Answer>> {
        let deadline = Instant::now() + PATIENCE;
        let first = self.serial + 1;
        let mut bytes = Vec::new();
        for call in &calls {
            self.serial += 1;
            let (destination, path, interface) = call.to;
            let message = Message {
                path: Some(path.to_owned()),
                interface: Some(interface.to_owned()),
                member: Some(call.method.to_owned()),
                destination: Some(destination.to_owned()),
                body: call.arguments.clone(),
                ..Message::new(Kind::Call, self.serial)
            };
            bytes.extend(message.encode());
        }
        self.write(&bytes, deadline)?;
        let mut answers: Vec<Option<Answer>> = calls.iter().map(|_| None).collect();
        while answers.iter().any(Option::is_none) {
            let message = self.message(deadline)?;
            let index = message.reply_to.and_then(|serial| serial.checked_sub(first));
            let slot = index.and_then(|index| answers.get_mut(index as usize));
            match (message.kind, slot) {
                (Kind::Signal, _) => self.keep(message),
                (Kind::Return, Some(slot)) => *slot = Some(Ok(message.body)),
                (Kind::Error, Some(slot)) => *slot = Some(Err(refusal(message))),
                // An answer that came too late for a former call, or a call to us: nobody needs those.
                _ => {}
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Waits for the next signal. `None` when the time is over.
    pub fn signal(&mut self, deadline: Instant) -> Result<Option<Message>> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(Some(signal));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            match self.message(deadline) {
                Ok(message) if message.kind == Kind::Signal => return Ok(Some(message)),
                Ok(_) => {}
                Err(error) if error.errno() == Some(Errno::ETIMEDOUT) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// A peer that sends signals without end is no reason to use memory without end: the oldest are dropped.
    fn keep(&mut self, signal: Message) {
        const MOST: usize = 256;
        if self.signals.len() == MOST {
            self.signals.pop_front();
        }
        self.signals.push_back(signal);
    }

    fn message(&mut self, deadline: Instant) -> Result<Message> {
        loop {
            if let Some(first) = self.arrived.first_chunk::<FIRST>() {
                let length = Message::length(first).map_err(|_| self.trouble("sent what is no message"))?;
                if self.arrived.len() >= length {
                    let bytes: Vec<u8> = self.arrived.drain(..length).collect();
                    match Message::decode(&bytes).map_err(|_| self.trouble("sent what is no message"))? {
                        Some(message) => return Ok(message),
                        None => continue,
                    }
                }
            }
            self.read(deadline)?;
        }
    }

    fn read(&mut self, deadline: Instant) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(0) => return Err(self.trouble("closed the connection")),
                Ok(count) => {
                    self.arrived.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                Err(Errno::EAGAIN) => self.wait(PollFlags::POLLIN, deadline)?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.failed("recv(2)", errno)),
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<()> {
        while !bytes.is_empty() {
            match send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EAGAIN) => self.wait(PollFlags::POLLOUT, deadline)?,
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(self.trouble("closed the connection")),
                Err(errno) => return Err(self.failed("send(2)", errno)),
            }
        }
        Ok(())
    }

    fn wait(&self, what: PollFlags, deadline: Instant) -> Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // One more millisecond than whole ones, so that the last part of one is not spent in a tight loop.
            let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            let mut waiting = [PollFd::new(self.as_fd(), what)];
            match poll(&mut waiting, if left.is_zero() { PollTimeout::ZERO } else { timeout }) {
                Ok(0) if left.is_zero() => {
                    return Err(self
                        .failed("poll(2)", Errno::ETIMEDOUT)
                        .hint("the bus or systemd hangs; `busctl status` shows whether it answers others"));
                }
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(self.failed("poll(2)", errno)),
            }
        }
    }

    /// An error of the conversation.
    pub fn trouble(&self, what: &str) -> Error {
        Error::new(ErrorKind::Systemd, format!("{} {what}", self.path.display()))
    }

    fn failed(&self, call: &'static str, errno: Errno) -> Error {
        let doing = format!("talk to {}", self.path.display());
        Error::kernel(doing, call, errno).kind_of(ErrorKind::Systemd)
    }
}

impl AsFd for Bus {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Name and text of an error message. The words of a missing program are left to missing programs.
fn refusal(message: Message) -> Refusal {
    let text = message.body.first().and_then(Value::as_text).unwrap_or_default();
    let text = text.replace("No such file or directory", "nothing at that path");
    let text = text.replace("no such file or directory", "nothing at that path");
    Refusal { name: message.error.unwrap_or_default(), text: text.trim_end_matches('.').to_owned() }
}
