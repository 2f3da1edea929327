//! The processes of a cgroup: putting them in, listing, freezing and killing them.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;
use nix::unistd::Whence;

use super::dir::{Dir, keyed, read_all};
use super::{Cgroup, tree};
use crate::error::{Errno, Error, Result};
use crate::plan::cgroup::settings::Version;
use crate::sys::clone::{pidfd_open, pidfd_send_signal};

/// How long the kernel may take to freeze or to end every process.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How often version 1 is asked again, as it has no events for these questions.
const PAUSE: Duration = Duration::from_millis(2);

type Outcome<T> = std::result::Result<T, Errno>;

/// Puts one process into a cgroup.
pub(super) fn attach(dir: &Dir, pid: i32) -> Outcome<()> {
    let pid = pid.to_string();
    let mut attempts = 0;
    loop {
        match dir.write("cgroup.procs", &pid) {
            // A threaded cgroup takes threads; a process that is just being started has one.
            Err(Errno::EOPNOTSUPP) if dir.version() == Version::V2 => {
                return dir.write("cgroup.threads", &pid);
            }
            // Version 1 refuses a task that is on its way in or out.
            Err(Errno::EINVAL) if dir.version() == Version::V1 && attempts < 5 => {
                attempts += 1;
                std::thread::sleep(Duration::from_millis(30));
            }
            result => return result,
        }
    }
}

impl Cgroup {
    /// Every process of the container, also in cgroups that it made below its own. Sorted.
    pub fn pids(&self) -> Result<Vec<i32>> {
        match self.main() {
            Some(dir) => tree::pids(dir).map_err(|errno| dir.error("read", "cgroup.procs", "read(2)", errno)),
            None => Ok(Vec::new()),
        }
    }

    /// Sends a signal to every process of the container. SIGKILL also ends a freeze, so that it takes effect.
    ///
    /// Errors: the cgroup contains the caller, or the kernel refuses.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        self.check_not_ours()?;
        if signal != Signal::SIGKILL as i32 {
            return self.dirs().try_for_each(|dir| signal_processes(dir, signal).map(drop));
        }
        if let Some(dir) = self.v2() {
            match dir.write("cgroup.kill", "1") {
                // In a hybrid layout some may be outside of the cgroup2 tree, so the others are looked at too.
                Ok(()) if self.dirs().count() == 1 => return Ok(()),
                // Kernel 5.14: the file is always there.
                Ok(()) | Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(dir.error("write 1 to", "cgroup.kill", "write(2)", errno)),
            }
        }
        self.kill_each()
    }

    /// Kills one by one, and stops the processes meanwhile only when they multiply faster than they are killed:
    /// a command that dies here must not leave a frozen container behind.
    fn kill_each(&self) -> Result<()> {
        let was_frozen = self.is_frozen().unwrap_or(false);
        let kill = || {
            self.dirs().try_fold(true, |all, dir| Ok(signal_processes(dir, Signal::SIGKILL as i32)? && all))
        };
        let mut result = kill();
        let mut is_frozen = was_frozen;
        if matches!(result, Ok(false)) {
            is_frozen = self.freeze().is_ok() || was_frozen;
            result = kill();
        }
        if is_frozen {
            self.thaw()?;
        }
        match result? {
            true => Ok(()),
            false => Err(Error::state("the container's processes multiply faster than they can be killed")),
        }
    }

    /// A wrong state must not make the command kill itself, or whoever called it.
    pub(super) fn check_not_ours(&self) -> Result<()> {
        let own = std::process::id().cast_signed();
        for dir in self.dirs() {
            let pids =
                tree::pids(dir).map_err(|errno| dir.error("read", "cgroup.procs", "read(2)", errno))?;
            if pids.contains(&own) {
                let text = format!("the cgroup {} contains this very command", dir.path().display());
                return Err(
                    Error::state(text).hint("it is not the container's own, or the command runs in it")
                );
            }
        }
        Ok(())
    }

    /// Stops every process of the container and waits until they stand still.
    ///
    /// Errors: no freezer, or it takes too long; then the container runs on.
    pub fn freeze(&self) -> Result<()> {
        let dir = self.freezer().ok_or_else(|| Error::state("the container has no freezer cgroup"))?;
        let result = match dir.version() {
            Version::V2 => freeze_v2(dir),
            Version::V1 => freeze_v1(dir),
        };
        if result.is_err() {
            let _ = thaw(dir);
        }
        result
    }

    /// Lets the processes run again. A cgroup that is gone or cannot be frozen has nothing to thaw.
    pub fn thaw(&self) -> Result<()> {
        match self.freezer() {
            None => Ok(()),
            Some(dir) => match thaw(dir) {
                Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
                Err(errno) => {
                    Err(dir.error("thaw the container through", freezer_file(dir), "write(2)", errno))
                }
            },
        }
    }

    /// Whether the container itself, and not an ancestor, is frozen.
    pub fn is_frozen(&self) -> Result<bool> {
        match self.freezer() {
            None => Ok(false),
            Some(dir) => match is_frozen(dir) {
                Ok(frozen) => Ok(frozen),
                Err(Errno::ENOENT | Errno::ENODEV) => Ok(false),
                Err(errno) => Err(dir.error("read", freezer_file(dir), "read(2)", errno)),
            },
        }
    }

    fn freezer(&self) -> Option<&Dir> {
        self.v1("freezer").or_else(|| self.v2())
    }
}

/// How often new processes are looked for. A process that was killed cannot fork any more.
const ROUNDS: usize = 16;

/// How many processes are held open at once.
const AT_ONCE: usize = 128;

fn open_processes(pids: &[i32]) -> Result<Vec<(i32, OwnedFd)>> {
    let mut opened = Vec::with_capacity(pids.len());
    for pid in pids {
        match pidfd_open(*pid) {
            Ok(pidfd) => opened.push((*pid, pidfd)),
            Err(Errno::ESRCH) => {}
            Err(errno) => return Err(Error::kernel(format!("open process {pid}"), "pidfd_open(2)", errno)),
        }
    }
    Ok(opened)
}

/// Signals every process of a cgroup, each once. False when new ones appeared until the last round.
fn signal_processes(dir: &Dir, signal: i32) -> Result<bool> {
    let list = || tree::pids(dir).map_err(|errno| dir.error("read", "cgroup.procs", "read(2)", errno));
    let mut done: BTreeSet<i32> = BTreeSet::new();
    for _ in 0..ROUNDS {
        let fresh: Vec<i32> = list()?.into_iter().filter(|pid| !done.contains(pid)).collect();
        if fresh.is_empty() {
            return Ok(true);
        }
        for some in fresh.chunks(AT_ONCE) {
            let opened = open_processes(some)?;
            // Who is listed after the descriptor was opened is the one that it means, or that one is dead.
            let now = list()?;
            done.extend(some.iter().filter(|pid| !now.contains(pid)));
            for (pid, pidfd) in opened.iter().filter(|(pid, _)| now.contains(pid)) {
                match pidfd_send_signal(pidfd.as_fd(), signal) {
                    Ok(()) | Err(Errno::ESRCH) => done.insert(*pid),
                    Err(errno) => {
                        let doing = format!("send signal {signal} to process {pid}");
                        return Err(Error::kernel(doing, "pidfd_send_signal(2)", errno));
                    }
                };
            }
        }
    }
    Ok(false)
}

fn freezer_file(dir: &Dir) -> &'static str {
    match dir.version() {
        Version::V1 => "freezer.state",
        Version::V2 => "cgroup.freeze",
    }
}

/// Whether one cgroup was told to freeze.
pub(super) fn is_frozen(dir: &Dir) -> Outcome<bool> {
    match dir.version() {
        Version::V2 => Ok(dir.read("cgroup.freeze")?.trim() == "1"),
        // A version 1 hierarchy of another controller has no such file.
        Version::V1 => match dir.read("freezer.self_freezing") {
            Ok(content) => Ok(content.trim() == "1"),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        },
    }
}

/// Whether processes of a cgroup stand still, because of itself or of an ancestor.
pub(super) fn stands_still(dir: &Dir) -> Outcome<bool> {
    match dir.version() {
        Version::V2 => Ok(is_frozen(dir)? || keyed(&dir.read("cgroup.events")?, "frozen") == Some(1)),
        Version::V1 => match dir.read("freezer.state") {
            Ok(content) => Ok(content.trim() != "THAWED"),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        },
    }
}

fn thaw(dir: &Dir) -> Outcome<()> {
    match dir.version() {
        Version::V2 => dir.write("cgroup.freeze", "0"),
        Version::V1 => dir.write("freezer.state", "THAWED"),
    }
}

fn freeze_v2(dir: &Dir) -> Result<()> {
    dir.write_file("cgroup.freeze", "1")?;
    match wait_for_event(dir, "frozen", 1, PATIENCE) {
        Ok(true) => Ok(()),
        Ok(false) => Err(too_slow(dir)),
        Err(errno) => Err(dir.error("wait for", "cgroup.events", "poll(2)", errno)),
    }
}

fn too_slow(dir: &Dir) -> Error {
    Error::state(format!("the processes of {} do not stand still after {PATIENCE:?}", dir.path().display()))
}

/// Waits until `cgroup.events` of a cgroup2 directory says `key value`. False when that takes too long.
///
/// A cgroup that disappears has neither processes nor frozen ones.
pub(super) fn wait_for_event(dir: &Dir, key: &str, value: u64, patience: Duration) -> Outcome<bool> {
    let deadline = Instant::now() + patience;
    let file = match dir.open_file("cgroup.events", OFlag::O_RDONLY) {
        Err(Errno::ENOENT | Errno::ENODEV) => return Ok(true),
        result => result?,
    };
    loop {
        nix::unistd::lseek(&file, 0, Whence::SeekSet)?;
        match read_all(&file) {
            Ok(content) if keyed(&content, key) == Some(value) => return Ok(true),
            Ok(_) => {}
            Err(Errno::ENODEV) => return Ok(true),
            Err(errno) => return Err(errno),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLPRI)], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Version 1 has no event, and reading the state is what makes the kernel look again.
fn freeze_v1(dir: &Dir) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut rounds = 0_u32;
    loop {
        // Written again each time: it also stops tasks that were forked since.
        dir.write_file("freezer.state", "FROZEN")?;
        for _ in 0..10 {
            match dir.read_file("freezer.state")?.trim() {
                "FROZEN" => return Ok(()),
                "FREEZING" => std::thread::sleep(PAUSE),
                other => return Err(Error::state(format!("unexpected state {other:?} while freezing"))),
            }
            if Instant::now() >= deadline {
                return Err(too_slow(dir));
            }
        }
        // A task may wait for one that is stopped already, so all may run for a moment.
        rounds += 1;
        if rounds.is_multiple_of(5) {
            dir.write_file("freezer.state", "THAWED")?;
            std::thread::sleep(PAUSE);
        }
    }
}
