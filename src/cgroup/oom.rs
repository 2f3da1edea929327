//! Processes that the kernel killed for lack of memory: which limit it was, and the event when it happens.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::Whence;

use super::Cgroup;
use super::dir::{Dir, keyed, read_all};
use crate::error::{Errno, Error, Result};
use crate::plan::cgroup::settings::Version;

/// How often limits of memory were hit so far, in the container's cgroup and in those above it.
#[derive(Debug)]
pub struct OomWatch {
    levels: Vec<Level>,
    kills: u64,
}

/// A cgroup with signs that its limit was in the way.
#[derive(Debug)]
struct Level {
    path: PathBuf,
    /// How often the limit was in the way. Only its growth means something.
    refused: u64,
    /// Version 1 does not count every refusal, so there a peak that has grown to the limit is taken for a sign too.
    peak: u64,
    is_at_limit: bool,
}

impl Level {
    fn was_hit_since(&self, before: &[Level]) -> bool {
        let before = before.iter().find(|level| level.path == self.path);
        let (refused, peak) = before.map_or((0, 0), |level| (level.refused, level.peak));
        self.refused > refused || self.is_at_limit && self.peak > peak
    }
}

impl Cgroup {
    /// Remembers the figures of now, to tell later what happened since.
    pub fn watch_oom(&self) -> OomWatch {
        OomWatch { levels: self.memory_levels(), kills: self.oom_kills().unwrap_or_default() }
    }

    /// Says why a process died, if memory was the reason: which limit was hit, its size and the peak.
    ///
    /// Nothing when the kernel has killed nobody in the container since `watch`.
    pub fn explain_oom(&self, watch: &OomWatch) -> Option<String> {
        (self.oom_kills()? > watch.kills).then(|| self.limit_that_was_hit(watch))
    }

    /// The words about a kill: which limit was hit, its size and the peak.
    pub(super) fn limit_that_was_hit(&self, watch: &OomWatch) -> String {
        let (limit, peak) = self.memory_limit_and_peak();
        let mut text = "OOM-killed (memory limit too low?)".to_owned();
        if let Some(limit) = limit {
            text.push_str(&format!(": limit {limit} bytes"));
        }
        if let Some(peak) = peak {
            text.push_str(&format!(", peak {peak} bytes"));
        }
        let levels = self.memory_levels();
        let hit = levels
            .iter()
            .find(|level| level.was_hit_since(&watch.levels))
            .or_else(|| levels.iter().find(|level| level.is_at_limit));
        if let Some(level) = hit {
            text.push_str(&format!(", the limit of {} was hit", level.path.display()));
        }
        text
    }

    /// The cgroups that can limit the container's memory, from its own upwards.
    fn memory_levels(&self) -> Vec<Level> {
        let Some(dir) = self.memory() else { return Vec::new() };
        let Some(member) = self.members.iter().find(|member| member.path == dir.path()) else {
            return Vec::new();
        };
        let Ok(root) = Dir::open_root(&member.root) else { return Vec::new() };
        let mut levels = vec![level(dir)];
        let mut path = dir.path();
        while let Some(parent) = path.parent() {
            let Ok(names) = parent.strip_prefix(root.path()) else { break };
            if names.as_os_str().is_empty() {
                break;
            }
            levels.extend(root.child(names).map(|dir| level(&dir)));
            path = parent;
        }
        levels
    }
}

fn level(dir: &Dir) -> Level {
    let path = dir.path().to_owned();
    if dir.version() == Version::V2 {
        // Counted where the limit is, not where the process was.
        let refused = keyed(&dir.read("memory.events.local").unwrap_or_default(), "oom").unwrap_or(0);
        return Level { path, refused, peak: 0, is_at_limit: false };
    }
    let mut level = Level { path, refused: 0, peak: 0, is_at_limit: false };
    for prefix in ["memory", "memory.memsw"] {
        let figure = |name: &str| dir.read(&format!("{prefix}.{name}")).ok()?.trim().parse::<u64>().ok();
        let peak = figure("max_usage_in_bytes").unwrap_or(0);
        level.refused += figure("failcnt").unwrap_or(0);
        level.peak = level.peak.max(peak);
        level.is_at_limit |= figure("limit_in_bytes").is_some_and(|limit| peak + LARGEST_CHARGE >= limit);
    }
    level
}

/// The kernel refuses what would exceed the limit, so the peak stays below it by less than one charge, in bytes.
const LARGEST_CHARGE: u64 = 8 * 4096;

/// What happened while waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The kernel killed a process of the container for lack of memory.
    Oom,
    /// The container has no process any more, or its cgroup is gone.
    Ended,
    /// Nothing, for as long as was asked for.
    Nothing,
}

/// The events of one container.
#[derive(Debug)]
pub struct Events<'a> {
    cgroup: &'a Cgroup,
    source: Source,
    /// Kills that were told.
    kills: u64,
    /// On version 1 what the kernel has reported and nobody was told yet, whether somebody was killed or all wait.
    reported: u64,
}

#[derive(Debug)]
enum Source {
    /// `memory.events` and `cgroup.events`, whose changes poll(2) reports.
    V2 { memory: Option<OwnedFd>, cgroup: OwnedFd },
    /// A counter that the kernel raises at an OOM, and when the cgroup is removed.
    V1 { dir: Dir, counter: EventFd },
    /// Nothing counts memory here.
    Nothing,
}

/// How often version 1 is asked whether the container is still there.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Cgroup {
    /// Starts to listen.
    pub fn events(&self) -> Result<Events<'_>> {
        let source = match (self.v1("memory"), self.v2()) {
            (Some(dir), _) => v1_source(dir)?,
            (None, Some(dir)) => {
                let open = |file| dir.open_file(file, OFlag::O_RDONLY);
                let cgroup =
                    open("cgroup.events").map_err(|e| dir.error("open", "cgroup.events", "openat2(2)", e))?;
                Source::V2 { memory: open("memory.events").ok(), cgroup }
            }
            (None, None) => Source::Nothing,
        };
        Ok(Events { cgroup: self, source, kills: self.oom_kills().unwrap_or_default(), reported: 0 })
    }
}

fn v1_source(dir: &Dir) -> Result<Source> {
    let failed = |errno| dir.error("listen to", "memory.oom_control", "write(2)", errno);
    let counter = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(failed)?;
    let control = dir.open_file("memory.oom_control", OFlag::O_RDONLY).map_err(failed)?;
    use std::os::fd::AsRawFd;
    let line = format!("{} {}", counter.as_fd().as_raw_fd(), control.as_raw_fd());
    dir.write("cgroup.event_control", &line).map_err(failed)?;
    Ok(Source::V1 { dir: dir.reopen().map_err(failed)?, counter })
}

impl Events<'_> {
    /// Waits for the next event, at most for `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<Event> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(event) = self.happened()? {
                return Ok(event);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Event::Nothing);
            }
            self.sleep(left)
                .map_err(|errno| Error::kernel("wait for events of the container", "poll(2)", errno))?;
        }
    }

    /// What has happened since the last look.
    fn happened(&mut self) -> Result<Option<Event>> {
        // Also makes poll(2) wait for the next change: it reports what was not read yet.
        let is_over = match &self.source {
            Source::V2 { memory, cgroup } => {
                if let Some(memory) = memory {
                    let _ = read_again(memory);
                }
                !matches!(read_again(cgroup), Ok(content) if keyed(&content, "populated") == Some(1))
            }
            Source::V1 { counter, dir } => {
                let reports = counter.read().unwrap_or(0);
                // The last report is about the removal of the cgroup.
                self.reported += if dir.has("cgroup.procs") { reports } else { 0 };
                if self.reported > 0 {
                    self.reported -= 1;
                    return Ok(Some(Event::Oom));
                }
                return Ok(self.cgroup.pids()?.is_empty().then_some(Event::Ended));
            }
            Source::Nothing => self.cgroup.pids()?.is_empty(),
        };
        let kills = self.cgroup.oom_kills().unwrap_or(self.kills);
        if kills > self.kills {
            // One event for each kill, as readers count them.
            self.kills += 1;
            return Ok(Some(Event::Oom));
        }
        Ok(is_over.then_some(Event::Ended))
    }

    fn sleep(&self, left: Duration) -> std::result::Result<(), Errno> {
        let (mut fds, longest) = match &self.source {
            Source::V2 { memory, cgroup } => {
                let files = memory.iter().chain([cgroup]);
                (files.map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI)).collect::<Vec<_>>(), left)
            }
            Source::V1 { counter, dir } => {
                // The counter says nothing about the end of the last process.
                let longest = if dir.has("cgroup.procs") { left.min(LOOK_AGAIN) } else { Duration::ZERO };
                (vec![PollFd::new(counter.as_fd(), PollFlags::POLLIN)], longest)
            }
            Source::Nothing => (Vec::new(), left.min(LOOK_AGAIN)),
        };
        let timeout = PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

pub(super) fn read_again(file: &OwnedFd) -> std::result::Result<String, Errno> {
    nix::unistd::lseek(file, 0, Whence::SeekSet)?;
    read_all(file)
}
