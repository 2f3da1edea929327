//! The processes of a cgroup: putting them in, listing, freezing and killing them.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, Whence};

use super::dir::{Dir, keyed, read_all};
use super::{Cgroup, tree};
use crate::error::{Errno, Error, Result};
use crate::plan::cgroup::settings::Version;

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

    /// Sends a signal to every process of the container.
    ///
    /// Errors: the cgroup contains the caller, or the kernel refuses.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        self.check_not_ours()?;
        if signal == Signal::SIGKILL as i32
            && let Some(dir) = self.v2()
        {
            match dir.write("cgroup.kill", "1") {
                // In a hybrid layout some may be outside of the cgroup2 tree, so the others are looked at too.
                Ok(()) if self.dirs().count() == 1 => return Ok(()),
                // Kernel 5.14: the file is always there.
                Ok(()) | Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(dir.error("write 1 to", "cgroup.kill", "write(2)", errno)),
            }
        }
        self.signal_each(signal)
    }

    /// Stops the processes meanwhile, so that none can fork away or give its number to another.
    fn signal_each(&self, signal: i32) -> Result<()> {
        let was_frozen = self.is_frozen().unwrap_or(false);
        // A cgroup that cannot be frozen is signalled in rounds until nothing new appears.
        let is_frozen = was_frozen || self.freeze().is_ok();
        let result = self.signal_in_rounds(signal);
        if is_frozen && (!was_frozen || signal == Signal::SIGKILL as i32) {
            self.thaw()?;
        }
        result
    }

    fn signal_in_rounds(&self, signal: i32) -> Result<()> {
        let signal = Signal::try_from(signal)
            .map(Some)
            .map_err(|errno| Error::kernel("signal the container's processes", "kill(2)", errno))?;
        let mut done = Vec::new();
        for dir in self.dirs() {
            loop {
                let pids =
                    tree::pids(dir).map_err(|errno| dir.error("read", "cgroup.procs", "read(2)", errno))?;
                let fresh: Vec<i32> = pids.into_iter().filter(|pid| !done.contains(pid)).collect();
                if fresh.is_empty() {
                    break;
                }
                for pid in fresh {
                    match nix::sys::signal::kill(Pid::from_raw(pid), signal) {
                        Ok(()) | Err(Errno::ESRCH) => done.push(pid),
                        Err(errno) => {
                            return Err(Error::kernel(format!("signal process {pid}"), "kill(2)", errno));
                        }
                    }
                }
            }
        }
        Ok(())
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
