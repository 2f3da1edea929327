//! The terminal of a container in the foreground: bytes go both ways, and so does its size.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::sys::termios::Termios;

use super::outlet::Outlet;
use crate::error::{Errno, Error, Result};
use crate::sys::{fd, path, signal, tty};

/// The most that is buffered in one direction, in bytes; beyond it the writer has to wait.
const MOST: usize = 64 * 1024;

/// The caller's terminal in raw mode. Its settings come back when this is dropped.
pub struct RawTerminal {
    fd: OwnedFd,
    before: Termios,
}

impl RawTerminal {
    /// Switches the first of standard input, output and error that is a terminal, else the controlling terminal.
    pub fn of_caller() -> Option<RawTerminal> {
        let stream = (0..=2).map(fd::stdio).find(|stream| tty::is_terminal(*stream));
        let fd = match stream {
            Some(stream) => fd::duplicate(stream),
            None => path::openat2(path::cwd_fd(), c"/dev/tty", libc::O_RDWR | libc::O_NOCTTY, 0, 0),
        };
        let fd = fd.ok()?;
        let before = tty::make_raw(fd.as_fd()).ok()?;
        Some(RawTerminal { fd, before })
    }

    /// Rows and columns.
    fn size(&self) -> Option<(u16, u16)> {
        tty::size(self.fd.as_fd()).ok()
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tty::restore(self.fd.as_fd(), &self.before);
    }
}

/// The terminal of the container, relayed by this process.
pub struct Relay {
    master: OwnedFd,
    outer: Option<RawTerminal>,
    outlet: Outlet,
    to_container: Buffer,
    to_caller: Buffer,
    input_open: bool,
    master_open: bool,
}

impl Relay {
    /// Takes the master that the child has sent over `socket`. `sized`: the configuration sets a size.
    pub fn receive(socket: &OwnedFd, sized: bool) -> Result<Relay> {
        let failed =
            |call: &'static str, e| Error::kernel("receive the terminal", call, e).at("/process/terminal");
        let mut name = [0u8; 64];
        let (_, master) = fd::receive(socket.as_fd(), &mut name).map_err(|e| failed("recvmsg(2)", e))?;
        let master = master.ok_or_else(|| failed("recvmsg(2)", Errno::EBADMSG))?;
        fd::set_nonblocking(master.as_fd()).map_err(|e| failed("fcntl(2)", e))?;
        let outer = RawTerminal::of_caller();
        if outer.is_some() {
            // The outer terminal still translates what it shows, and would show what both translate.
            let _ = tty::clear_newline_translation(master.as_fd());
        }
        let relay = Relay {
            master,
            outer,
            outlet: Outlet::of_stdout(),
            to_container: Buffer::new(),
            to_caller: Buffer::new(),
            input_open: true,
            master_open: true,
        };
        if !sized {
            relay.resize();
        }
        Ok(relay)
    }

    pub(super) fn resize(&self) {
        if let Some((rows, columns)) = self.outer.as_ref().and_then(RawTerminal::size) {
            let _ = tty::set_size(self.master.as_fd(), rows, columns);
        }
    }

    /// What to wait for. A direction whose buffer is full is not read.
    pub(super) fn interests(&self) -> Vec<(Interest, PollFd<'_>)> {
        let mut list = Vec::with_capacity(3);
        let mut of_master = PollFlags::empty();
        if !self.to_caller.is_full() {
            of_master |= PollFlags::POLLIN;
        }
        if !self.to_container.is_empty() {
            of_master |= PollFlags::POLLOUT;
        }
        if self.master_open && !of_master.is_empty() {
            list.push((Interest::Master, PollFd::new(self.master.as_fd(), of_master)));
        }
        if self.input_open && self.master_open && !self.to_container.is_full() {
            list.push((Interest::Input, PollFd::new(fd::stdio(0), PollFlags::POLLIN)));
        }
        if !self.to_caller.is_empty() {
            list.push((Interest::Output, PollFd::new(self.outlet.fd(), PollFlags::POLLOUT)));
        }
        list
    }

    pub(super) fn serve(&mut self, interest: Interest) {
        match interest {
            Interest::Master => {
                let master = &self.master;
                if let Err(errno) = self.to_container.pour(|bytes| nix::unistd::write(master, bytes))
                    && errno != Errno::EAGAIN
                {
                    self.to_container.clear();
                }
                self.master_open = self.to_caller.fill(self.master.as_fd());
            }
            Interest::Input => self.input_open = self.to_container.fill_once(fd::stdio(0)),
            Interest::Output => {
                let outlet = &self.outlet;
                if let Err(errno) = self.to_caller.pour_once(|bytes| outlet.write(bytes))
                    && errno != Errno::EAGAIN
                {
                    // Nobody reads any more; the container must not be blocked by that.
                    self.to_caller.clear();
                }
            }
        }
    }

    /// After the end of the container: everything that it has written still gets out, unless nobody reads it and
    /// a signal says to stop. What other processes go on writing is bounded.
    pub(super) fn drain(&mut self, signals: &SignalFd) {
        const MOST_AFTER_THE_END: usize = 1024 * 1024;
        let mut passed = 0;
        while passed < MOST_AFTER_THE_END {
            if self.master_open {
                self.master_open = self.to_caller.fill(self.master.as_fd());
            }
            if self.to_caller.is_empty() {
                return;
            }
            let outlet = &self.outlet;
            match self.to_caller.pour_once(|bytes| outlet.write(bytes)) {
                Ok(length) => passed += length,
                Err(Errno::EAGAIN) => {
                    let mut waiting = [
                        PollFd::new(self.outlet.fd(), PollFlags::POLLOUT),
                        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                    ];
                    let _ = poll(&mut waiting, PollTimeout::NONE);
                    while let Ok(Some(number)) = signal::next(signals) {
                        if matches!(number, libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT) {
                            return;
                        }
                    }
                }
                Err(_) => return,
            }
        }
    }
}

/// One way of a byte that the relay waits for.
#[derive(Clone, Copy)]
pub(super) enum Interest {
    Master,
    Input,
    Output,
}

/// How much was written.
type Written = std::result::Result<usize, Errno>;

/// Bytes on their way in one direction.
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn new() -> Buffer {
        Buffer { bytes: vec![0; MOST].into_boxed_slice(), start: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn is_full(&self) -> bool {
        self.start == 0 && self.end == MOST
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Reads once. False at the end: EIO is how a terminal says it.
    fn fill_once(&mut self, from: BorrowedFd) -> bool {
        if self.end == MOST {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        match fd::read(from, &mut self.bytes[self.end..]) {
            Ok(0) => false,
            Ok(length) => {
                self.end += length;
                true
            }
            Err(Errno::EAGAIN) => true,
            Err(_) => false,
        }
    }

    /// Reads until there is nothing or the buffer is full. False at the end.
    fn fill(&mut self, from: BorrowedFd) -> bool {
        while !self.is_full() {
            let before = self.end - self.start;
            if !self.fill_once(from) {
                return false;
            }
            if self.end - self.start == before {
                return true;
            }
        }
        true
    }

    /// Writes once. Returns how much.
    fn pour_once(&mut self, write: impl Fn(&[u8]) -> Written) -> Written {
        match write(&self.bytes[self.start..self.end]) {
            Ok(length) => {
                self.start += length;
                if self.is_empty() {
                    self.clear();
                }
                Ok(length)
            }
            Err(Errno::EINTR) => Ok(0),
            Err(errno) => Err(errno),
        }
    }

    /// Writes everything.
    fn pour(&mut self, write: impl Fn(&[u8]) -> Written) -> std::result::Result<(), Errno> {
        while !self.is_empty() {
            self.pour_once(&write)?;
        }
        Ok(())
    }
}
