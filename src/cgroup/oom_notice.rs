//! A kill for lack of memory, noticed while the cgroup is still there.
//!
//! systemd removes the cgroup of a unit, and the figures with it, when the last process has ended. The kernel reports
//! changes of `memory.events` earlier, but no more often than every 10 ms: the report about a limit in the way can come
//! before the kill that follows, and the report about the kill after the cgroup is gone. So what is seen of the first
//! is kept, and the cgroup above tells of the second.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;

use super::Cgroup;
use super::dir::{Dir, keyed};
use super::oom::{OomWatch, read_again};

/// Looks at the memory of a container on cgroup2 whenever something happens to it.
#[derive(Debug)]
pub struct OomNotice<'a> {
    cgroup: &'a Cgroup,
    watch: &'a OomWatch,
    /// `memory.events`, until it is gone.
    changes: Option<OwnedFd>,
    /// How often a limit was in the way at the last look.
    refused: u64,
    /// The cgroup above, which counts every kill below it.
    above: Option<Dir>,
    /// That count at the last look.
    kills_above: u64,
    /// A kill that was seen.
    seen: Option<String>,
    /// What to say if there was a kill since the last look, because a limit was in the way then.
    suspected: Option<String>,
}

impl<'a> OomNotice<'a> {
    /// Starts to listen. Nothing when version 2 does not count the container's memory.
    pub fn new(cgroup: &'a Cgroup, watch: &'a OomWatch) -> Option<OomNotice<'a>> {
        let dir = cgroup.v2()?;
        let changes = dir.open_file(EVENTS, OFlag::O_RDONLY).ok()?;
        let member = cgroup.members.iter().find(|member| member.path == dir.path())?;
        let root = Dir::open_root(&member.root).ok()?;
        let names = dir.path().parent().and_then(|parent| parent.strip_prefix(root.path()).ok());
        let above = names.and_then(|names| root.child(names).ok());
        let mut notice = OomNotice {
            cgroup,
            watch,
            changes: Some(changes),
            refused: 0,
            above,
            kills_above: 0,
            seen: None,
            suspected: None,
        };
        notice.look();
        notice.suspected = None;
        Some(notice)
    }

    /// What poll(2) reports with POLLPRI when there is something to look at.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(AsFd::as_fd)
    }

    /// Looks. The next change is reported again.
    pub fn look(&mut self) {
        let Some(content) = self.changes.as_ref().and_then(|changes| read_again(changes).ok()) else {
            self.changes = None;
            return;
        };
        self.kills_above = self.count_kills_above();
        let count = |key| keyed(&content, key).unwrap_or(0);
        let refused = count("max") + count("oom");
        let is_in_the_way = std::mem::replace(&mut self.refused, refused) < refused;
        self.suspected = is_in_the_way.then(|| self.cgroup.limit_that_was_hit(self.watch));
        if let Some(text) = self.cgroup.explain_oom(self.watch) {
            self.seen = Some(text);
        }
    }

    /// Says why a process was killed, if memory was the reason, as [`Cgroup::explain_oom`] would with the cgroup.
    pub fn explain(self) -> Option<String> {
        let kills_above = self.count_kills_above();
        self.seen.or_else(|| self.suspected.filter(|_| kills_above > self.kills_above))
    }

    fn count_kills_above(&self) -> u64 {
        let content = self.above.as_ref().and_then(|dir| dir.read(EVENTS).ok()).unwrap_or_default();
        keyed(&content, "oom_kill").unwrap_or(0)
    }
}

const EVENTS: &str = "memory.events";
