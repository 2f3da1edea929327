//! `run` and `exec` in the foreground: signals go to the container, and the exit status comes back.

use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

use super::readiness::Readiness;
use super::relay::{Interest, Relay};
use crate::cgroup::OomNotice;
use crate::error::{Errno, Error, Result};
use crate::sys::clone::{Child, Ended, reap_others};
use crate::sys::signal;

/// What else is looked after while a container runs in the foreground.
pub trait Companion {
    /// Descriptors to wait for.
    fn watched(&self) -> Vec<BorrowedFd<'_>>;

    /// Does what there is to do; `ready` has an element for each descriptor, in the same order.
    fn serve(&mut self, ready: &[PollFlags]);

    /// Children have changed; all but the container's init process are reaped.
    fn children(&mut self, init: &Child) {
        reap_others(init.pid);
    }

    /// The init process has ended: reaps it.
    fn end(&mut self, init: &Child) -> std::result::Result<Ended, Errno> {
        init.wait()
    }
}

/// What is done when there is nothing else to look after.
struct Alone;

impl Companion for Alone {
    fn watched(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    fn serve(&mut self, _: &[PollFlags]) {}
}

/// Waits for the end of the container. `signals` has blocked every signal since before the container was made.
///
/// What the container tells about its readiness is told on; this process is the one to look after then. `memory` looks
/// at the cgroup when there may have been a kill.
pub fn wait(
    init: &Child,
    signals: &SignalFd,
    mut relay: Option<Relay>,
    mut readiness: Option<Readiness>,
    mut memory: Option<&mut OomNotice>,
    companion: Option<&mut dyn Companion>,
) -> Result<Ended> {
    let mut alone = Alone;
    let companion: &mut dyn Companion = companion.unwrap_or(&mut alone);
    let ended = loop {
        let mut interests = relay.as_ref().map(Relay::interests).unwrap_or_default();
        let mut waiting = vec![
            PollFd::new(init.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        waiting.extend(interests.iter_mut().map(|(_, poll)| poll.clone()));
        waiting.extend(readiness.as_ref().map(|readiness| PollFd::new(readiness.fd(), PollFlags::POLLIN)));
        let notice = memory.as_ref().and_then(|memory| memory.fd());
        let notice_at = notice.map(|fd| {
            waiting.push(PollFd::new(fd, PollFlags::POLLPRI));
            waiting.len() - 1
        });
        let (ready, others) = wait_with(companion, waiting)?;
        let fired: Vec<bool> = ready.iter().map(|flags| !flags.is_empty()).collect();
        let served: Vec<Interest> =
            interests.iter().zip(&fired[2..]).filter(|(_, fired)| **fired).map(|((i, _), _)| *i).collect();
        drop(interests);
        if let (Some(memory), Some(true)) = (&mut memory, notice_at.map(|at| fired[at])) {
            memory.look();
        }
        companion.serve(&others);
        if fired[1] {
            forward(init, signals, relay.as_ref(), companion);
        }
        if let Some(relay) = &mut relay {
            served.into_iter().for_each(|interest| relay.serve(interest));
        }
        if let Some(readiness) = &mut readiness {
            readiness.serve(std::process::id() as i32);
        }
        if fired[0] {
            break companion
                .end(init)
                .map_err(|e| Error::kernel("wait for the container", "waitid(2)", e))?;
        }
    };
    if let Some(relay) = &mut relay {
        relay.drain(signals);
    }
    readiness.into_iter().for_each(Readiness::settle);
    Ok(ended)
}

/// Waits until there is something to do for the caller, which waits for `own`, or for `companion`. Returns what is
/// ready, for each of them.
///
/// Errors: poll(2) fails. A signal is none.
pub fn wait_with<C: Companion + ?Sized>(
    companion: &C,
    own: Vec<PollFd>,
) -> Result<(Vec<PollFlags>, Vec<PollFlags>)> {
    let count = own.len();
    let mut waiting = own;
    waiting.extend(companion.watched().into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    match poll(&mut waiting, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(e) => return Err(Error::kernel("wait for the container", "poll(2)", e)),
    }
    let mut ready: Vec<PollFlags> =
        waiting.iter().map(|w| w.revents().unwrap_or(PollFlags::empty())).collect();
    let others = ready.split_off(count);
    Ok((ready, others))
}

/// Passes every pending signal on, except those that concern this process itself.
fn forward(init: &Child, signals: &SignalFd, relay: Option<&Relay>, companion: &mut dyn Companion) {
    while let Ok(Some(number)) = signal::next(signals) {
        match number {
            libc::SIGCHLD => companion.children(init),
            libc::SIGWINCH if relay.is_some() => {
                if let Some(relay) = relay {
                    relay.resize();
                }
            }
            libc::SIGPIPE | libc::SIGURG => {}
            number => {
                let _ = init.kill(number);
            }
        }
    }
}
