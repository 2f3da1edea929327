//! Runs one hook: a program with exact argv and envp, the state on its standard input, a time limit.
//!
//! Used by the parent for hooks in the namespaces of the runtime and by the child for those of the container.
//! Source: config.md#posix-platform-hooks.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::Errno;
use crate::plan::hooks::Hook;
use crate::sync::Stream;
use crate::sys::clone::{Child, Ended, Parentage, Side, clone_child, exit_now};
use crate::sys::exec::execve;
use crate::sys::{fd, path, process, signal};

/// How much of what a hook prints is kept, in bytes for each stream.
const KEPT: usize = 900;

/// Status with which the process of a hook ends when it cannot execute the program.
const CANNOT_EXECUTE: i32 = 255;

/// Where and as what a hook runs.
pub struct Setting<'a> {
    /// Working directory; as it is when absent.
    pub directory: Option<&'a CStr>,
    /// File mode creation mask; as it is when absent.
    pub umask: Option<u32>,
    /// Called in the process of the hook before it executes the program.
    pub confine: &'a dyn Fn() -> Result<(), Errno>,
    /// Called with what the hook prints, until it ends.
    pub printed: &'a dyn Fn(Stream, &[u8]),
}

impl Setting<'_> {
    /// In this directory, without confinement.
    pub fn in_directory<'a>(directory: &'a CStr, printed: &'a dyn Fn(Stream, &[u8])) -> Setting<'a> {
        Setting { directory: Some(directory), umask: None, confine: &|| Ok(()), printed }
    }
}

/// How a hook failed, as a sentence that engines and administrators know: what it returned and what it printed.
#[derive(Debug)]
pub struct Failed {
    /// What happened.
    pub text: String,
    /// Why its program could not be executed.
    pub errno: Option<Errno>,
}

impl Failed {
    fn new(text: String) -> Failed {
        Failed { text, errno: None }
    }
}

/// Runs `hook` with `state` on its standard input and waits for it.
///
/// Errors: it could not be started, returned something else than 0, or ran longer than its time limit, in which
/// case its process group has been killed.
pub fn run(hook: &Hook, state: &[u8], setting: &Setting) -> Result<(), Failed> {
    let failed =
        |what: &str, errno: Errno| Failed::new(format!("{what}: {}", crate::error::sentence(errno, KIND)));
    let input = fd::memfd_with(c"state", state).map_err(|e| failed("memfd_create", e))?;
    let (out, out_end) = fd::pipe().map_err(|e| failed("pipe", e))?;
    let (err, err_end) = fd::pipe().map_err(|e| failed("pipe", e))?;
    let (report, report_end) = fd::pipe().map_err(|e| failed("pipe", e))?;
    let child = match clone_child(0, None, Parentage::Mine).map_err(|e| failed("clone3", e))? {
        Side::Child => {
            become_hook(hook, setting, [input.as_fd(), out_end.as_fd(), err_end.as_fd()], &report_end)
        }
        Side::Parent(child) => child,
    };
    drop((out_end, err_end, report_end));
    let mut output = [Tail::new(Stream::Out, setting.printed), Tail::new(Stream::Err, setting.printed)];
    let ended = supervise(&child, hook.timeout, [&out, &err], &mut output);
    let mut errno = [0u8; 4];
    if fd::read(report.as_fd(), &mut errno) == Ok(4) {
        let errno = Errno::from_raw(i32::from_le_bytes(errno));
        let path = hook.path.to_string_lossy();
        let text = format!("fork/exec {path}: {}", crate::error::sentence(errno, KIND));
        return Err(Failed { text, errno: Some(errno) });
    }
    let what = match ended {
        Ok(Ended::Exited(0)) => return Ok(()),
        Ok(Ended::Exited(status)) => format!("exit status {status}"),
        Ok(Ended::Signaled(number)) => format!("signal: {number}"),
        Err(Errno::ETIMEDOUT) => {
            let limit = hook.timeout.unwrap_or_default().as_secs_f64();
            format!("hook ran past specified timeout of {limit:.1}s")
        }
        Err(errno) => format!("wait: {}", crate::error::sentence(errno, KIND)),
    };
    Err(Failed::new(format!("{what}, stdout: {}, stderr: {}", output[0].text(), output[1].text())))
}

/// Engines take the usual words for a missing file to mean the program of the container.
const KIND: crate::error::Kind = crate::error::Kind::Hook;

/// In the process of the hook: standard streams, nothing else open, then the program.
fn become_hook(hook: &Hook, setting: &Setting, streams: [BorrowedFd; 3], report: &OwnedFd) -> ! {
    let attempt = || -> Result<std::convert::Infallible, Errno> {
        signal::reset_all();
        process::own_process_group()?;
        process::set_parent_death_signal(0)?;
        if let Some(umask) = setting.umask {
            process::umask(umask);
        }
        if let Some(directory) = setting.directory {
            path::fchdir(path::open_host_path(directory, libc::O_DIRECTORY)?.as_fd())?;
        }
        for (number, stream) in streams.into_iter().enumerate() {
            fd::dup_onto(stream, number as i32)?;
        }
        fd::close_range_on_exec(3)?;
        (setting.confine)()?;
        Err(execve(&hook.path, &hook.arguments, &hook.environment))
    };
    let Err(errno) = attempt();
    let _ = fd::write_once(report.as_fd(), &(errno as i32).to_le_bytes());
    exit_now(CANNOT_EXECUTE)
}

/// Reads what the hook prints until it has ended. A background child that keeps the pipes is not waited for.
fn supervise(
    child: &Child,
    timeout: Option<Duration>,
    pipes: [&OwnedFd; 2],
    output: &mut [Tail; 2],
) -> Result<Ended, Errno> {
    for pipe in pipes {
        fd::set_nonblocking(pipe.as_fd())?;
    }
    // A time that no clock can show never comes.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut open = [true, true];
    loop {
        let left = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => {
                let _ = process::kill_group(child.pid, libc::SIGKILL);
                let _ = child.kill(libc::SIGKILL);
                child.wait()?;
                return Err(Errno::ETIMEDOUT);
            }
            // One millisecond more, since poll(2) rounds down.
            Some(left) => {
                PollTimeout::try_from(left.as_millis().min(1 << 30) as u32 + 1).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let mut waiting = vec![PollFd::new(child.pidfd.as_fd(), PollFlags::POLLIN)];
        let listened: Vec<usize> = (0..2).filter(|i| open[*i]).collect();
        waiting.extend(listened.iter().map(|i| PollFd::new(pipes[*i].as_fd(), PollFlags::POLLIN)));
        match poll(&mut waiting, left) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let ended = waiting[0].any().unwrap_or(false);
        for index in listened {
            open[index] = output[index].take(pipes[index].as_fd());
        }
        if ended {
            return child.wait();
        }
    }
}

/// The last bytes of a stream, all of which somebody may want to have.
struct Tail<'a> {
    stream: Stream,
    kept: Vec<u8>,
    printed: &'a dyn Fn(Stream, &[u8]),
}

impl<'a> Tail<'a> {
    fn new(stream: Stream, printed: &'a dyn Fn(Stream, &[u8])) -> Tail<'a> {
        Tail { stream, kept: Vec::new(), printed }
    }

    /// Reads what is there; false at the end of the stream.
    fn take(&mut self, pipe: BorrowedFd) -> bool {
        let mut buffer = [0u8; 4096];
        loop {
            match fd::read(pipe, &mut buffer) {
                Ok(0) => return false,
                Ok(length) => {
                    (self.printed)(self.stream, &buffer[..length]);
                    self.kept.extend_from_slice(&buffer[..length]);
                    let excess = self.kept.len().saturating_sub(KEPT);
                    self.kept.drain(..excess);
                }
                Err(Errno::EAGAIN) => return true,
                Err(_) => return false,
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).trim_end().to_owned()
    }
}
