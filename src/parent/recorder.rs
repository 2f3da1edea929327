//! Looks at every system call of a container, and lets it run.
//!
//! Each process was started with a filter that makes all its calls wait for whoever holds the listener, which is
//! this process. Nothing is ever refused here, and nothing that is seen is believed to be more than a number and six
//! words: this is for writing profiles, never for enforcing one. See seccomp_unotify(2) on why it could not.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags};
use teu_seccomp::SeccompData;
use teu_seccomp::record::Recording;

use super::foreground::{Companion, wait_with};
use crate::error::Result;
use crate::sync::{Heard, Outcome, Stream, hear};
use crate::sys::{fd, notify};

/// Listeners, and what was heard.
pub struct Recorder<'a> {
    recording: &'a mut Recording,
    /// Where other commands hand over the listeners of processes that they have added.
    door: OwnedFd,
    listeners: Vec<OwnedFd>,
}

impl Recorder<'_> {
    /// Sees nothing yet. `door` is a listening socket.
    pub fn new(recording: &mut Recording, door: OwnedFd) -> Recorder<'_> {
        Recorder { recording, door, listeners: Vec::new() }
    }

    /// Serves the container until its program was executed, or was not.
    pub fn until_executed(
        &mut self,
        channel: BorrowedFd,
        printed: impl Fn(Stream, &[u8]),
    ) -> Result<Outcome> {
        let mut about_to = false;
        loop {
            let (ready, listeners) = wait_with(self, vec![PollFd::new(channel, PollFlags::POLLIN)])?;
            self.serve(&listeners);
            if ready[0].is_empty() {
                continue;
            }
            match hear(channel, &mut about_to) {
                Heard::Progress => {}
                Heard::Printed(stream, text) => printed(stream, &text),
                Heard::Listener(listener) => self.add(listener),
                Heard::Last(outcome) => return Ok(outcome),
            }
        }
    }

    fn add(&mut self, listener: OwnedFd) {
        notify::hurry(listener.as_fd());
        self.listeners.push(listener);
    }

    /// Whoever can connect can write to the state directory, so it is another command of the same user.
    fn admit(&mut self) {
        let Ok(caller) = fd::accept(self.door.as_fd()) else { return };
        let mut word = [0u8; 16];
        if let Ok((_, Some(listener))) = fd::receive(caller.as_fd(), &mut word) {
            self.add(listener);
        }
    }

    /// One call: noted, and let run.
    fn note(&mut self, index: usize) {
        let listener = self.listeners[index].as_fd();
        // A thread that was killed meanwhile, or will make the call again, does not wait any more.
        let Ok(call) = notify::receive(listener) else { return };
        self.recording.see(&SeccompData {
            nr: call.nr,
            arch: call.arch,
            instruction_pointer: call.instruction_pointer,
            args: call.args,
        });
        let _ = notify::let_run(listener, call.id);
    }
}

impl Companion for Recorder<'_> {
    fn watched(&self) -> Vec<BorrowedFd<'_>> {
        std::iter::once(&self.door).chain(&self.listeners).map(AsFd::as_fd).collect()
    }

    fn serve(&mut self, ready: &[PollFlags]) {
        let (door, listeners) = ready.split_first().map_or((PollFlags::empty(), ready), |(d, l)| (*d, l));
        let mut ended = Vec::new();
        for (index, flags) in listeners.iter().enumerate() {
            if flags.contains(PollFlags::POLLIN) {
                self.note(index);
            } else if flags.contains(PollFlags::POLLHUP) {
                // No process has the filter any more. POLLERR alone means only that the kernel was interrupted in looking.
                ended.push(index);
            }
        }
        for index in ended.into_iter().rev() {
            self.listeners.swap_remove(index);
        }
        if door.contains(PollFlags::POLLIN) {
            self.admit();
        }
    }
}
