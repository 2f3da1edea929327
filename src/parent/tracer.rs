//! Watches the threads of a container with ptrace(2), and tells which system calls their seccomp filters refuse.
//!
//! The filters stay in force and nothing in the container is changed: a thread is stopped before each call, its
//! filters are read from the kernel and run here on the same numbers that the kernel will run them on, and it goes on.
//! Stops for `SECCOMP_RET_TRACE` are not asked for, so a call that a profile leaves to a tracer still fails.
//!
//! When this process ends, for whatever reason, the kernel lets go of every thread and it runs on.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use teu_seccomp::{Action, Instruction, SeccompData, simulate};

use super::foreground::Companion;
use crate::cgroup::Cgroup;
use crate::error::{Errno, Error, Result};
use crate::sync::{Heard, Outcome, Stream, hear};
use crate::sys::clone::{Child, Ended};
use crate::sys::ptrace::{self, Change, Edge, Options, Stop};
use crate::sys::signal;

/// How often the cgroup is looked at for processes that were added from outside.
const RESCAN: Duration = Duration::from_millis(250);
/// How long a thread that does not run the program yet may stay stopped, in milliseconds.
const STOPPED_FOR: u16 = 10;
/// How long threads may take to stop when they are let go. One that does not is let go by the end of this process.
const PATIENCE: Duration = Duration::from_secs(3);

/// The instructions of one filter.
pub type Instructions = Rc<Vec<Instruction>>;

/// A call that is about to be refused.
pub struct Refused<'a> {
    /// Thread that makes it.
    pub thread: i32,
    /// The call.
    pub call: SeccompData,
    /// What the filter answers, `SECCOMP_RET_*`.
    pub answer: u32,
    /// The filter.
    pub filter: &'a [Instruction],
}

/// Whoever is told about refused calls.
pub trait Witness {
    /// Hears about one.
    fn refused(&mut self, refused: &Refused);

    /// Hears that the filters of the container cannot be read, and why.
    fn unreadable(&mut self, errno: Errno);
}

/// The threads that are watched.
pub struct Tracer<'a> {
    witness: &'a mut dyn Witness,
    /// What is taken for the filter of a thread that has one which cannot be read.
    assumed: Option<Instructions>,
    threads: BTreeMap<i32, Thread>,
    /// Filters that some thread has; many have the same ones.
    known: Vec<Instructions>,
    cgroup: Cgroup,
    init: i32,
    ended: Option<Ended>,
    /// What the init process would have died of, if it was not watched.
    fault: Option<i32>,
    timer: OwnedFd,
    letting_go: bool,
}

#[derive(Default)]
struct Thread {
    /// Oldest first; `None` when they must be read.
    filters: Option<Vec<Instructions>>,
    /// The call that it is in may add a filter.
    may_add: bool,
}

impl<'a> Tracer<'a> {
    /// Watches nothing yet. `assumed` is the program of the container's profile, `cgroup` where its processes are.
    pub fn new(
        witness: &'a mut dyn Witness,
        assumed: Option<Vec<Instruction>>,
        cgroup: Cgroup,
        init: i32,
    ) -> Result<Tracer<'a>> {
        Ok(Tracer {
            witness,
            assumed: assumed.map(Rc::new),
            threads: BTreeMap::new(),
            known: Vec::new(),
            cgroup,
            init,
            ended: None,
            fault: None,
            timer: timer()?,
            letting_go: false,
        })
    }

    /// Watches a process that is about to execute its program, from the first call of the program on.
    pub fn await_execution(&mut self) -> Result<()> {
        // No stops before that: there would be nobody to end them.
        ptrace::seize(self.init, Options::Execution).map_err(|e| seize_failed(self.init, e))?;
        self.threads.insert(self.init, Thread::default());
        Ok(())
    }

    /// Listens until the program is executed or cannot be. Until then the process stops for signals, such as those
    /// about the end of its hooks.
    ///
    /// Errors: poll(2) fails.
    pub fn until_executed(
        &mut self,
        channel: BorrowedFd,
        printed: impl Fn(Stream, &[u8]),
    ) -> Result<Outcome> {
        let mut about_to = false;
        loop {
            let mut waiting = [PollFd::new(channel, PollFlags::POLLIN)];
            match poll(&mut waiting, STOPPED_FOR) {
                Ok(0) | Err(Errno::EINTR) => self.work(),
                Ok(_) => match hear(channel, &mut about_to) {
                    Heard::Last(outcome) => return Ok(outcome),
                    Heard::Printed(stream, text) => printed(stream, &text),
                    Heard::Progress | Heard::Listener(_) => {}
                },
                Err(e) => return Err(Error::kernel("wait for the program", "poll(2)", e)),
            }
        }
    }

    /// Watches every process of the container.
    ///
    /// Errors: the init process cannot be watched.
    pub fn attach(&mut self) -> Result<()> {
        self.attach_process(self.init).map_err(|e| seize_failed(self.init, e))?;
        self.rescan();
        Ok(())
    }

    /// Watches processes of the cgroup that are not watched yet, such as those that `exec` has added.
    fn rescan(&mut self) {
        let pids = self.cgroup.pids().unwrap_or_default();
        let new: Vec<i32> = pids.into_iter().filter(|pid| !self.threads.contains_key(pid)).collect();
        let mut attached = Vec::new();
        for pid in new {
            if self.attach_process(pid).is_ok() {
                attached.push(pid);
            }
        }
        if attached.is_empty() {
            return;
        }
        // A number can come to mean another process until it is traced. It cannot afterwards, so now it is compared.
        let pids = self.cgroup.pids().unwrap_or_default();
        for pid in attached.into_iter().filter(|pid| !pids.contains(pid)) {
            self.forget_process(pid);
        }
    }

    /// Watches all threads of a process; those that they make meanwhile are watched from their birth.
    fn attach_process(&mut self, pid: i32) -> std::result::Result<(), Errno> {
        loop {
            let threads = threads_of(pid);
            let new: Vec<i32> =
                threads.into_iter().filter(|thread| !self.threads.contains_key(thread)).collect();
            let mut seized = 0;
            for thread in new {
                match ptrace::seize(thread, Options::Family).and_then(|()| ptrace::interrupt(thread)) {
                    Ok(()) => {
                        self.threads.insert(thread, Thread::default());
                        seized += 1;
                    }
                    // It has ended, or was born traced and has not said so yet.
                    Err(_) if thread != pid => {}
                    Err(errno) => return Err(errno),
                }
            }
            if seized == 0 {
                return Ok(());
            }
        }
    }

    /// Lets a process go that turned out to be none of the container's.
    fn forget_process(&mut self, pid: i32) {
        let deadline = Instant::now() + PATIENCE;
        let mut left: Vec<i32> =
            threads_of(pid).into_iter().filter(|thread| self.threads.remove(thread).is_some()).collect();
        while !left.is_empty() && Instant::now() < deadline {
            // It was told to stop; before it has, there is ESRCH.
            left.retain(|thread| ptrace::detach(*thread, 0) == Err(Errno::ESRCH) && is_there(*thread));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Deals with everything that has happened to children and watched threads.
    pub fn work(&mut self) {
        while let Ok(Some((thread, change))) = ptrace::next_change() {
            match change {
                Change::Ended(ended) => {
                    self.threads.remove(&thread);
                    if thread == self.init {
                        self.ended = Some(self.fault.map_or(ended, Ended::Signaled));
                    }
                }
                // Errors mean that the thread is being killed.
                Change::Stopped(stop) if self.letting_go => self.let_go(thread, stop),
                Change::Stopped(stop) => drop(self.stopped(thread, stop)),
            }
        }
    }

    fn stopped(&mut self, thread: i32, stop: Stop) -> std::result::Result<(), Errno> {
        self.threads.entry(thread).or_default();
        match stop {
            Stop::Call => {
                self.look(thread)?;
                ptrace::resume(thread, 0)
            }
            Stop::Executed => {
                // The thread that executes a program takes over the number of its process.
                let former = ptrace::event_message(thread)?;
                let known = self.threads.remove(&former).unwrap_or_default();
                self.threads.insert(thread, known);
                ptrace::set_options(thread, Options::Family)?;
                ptrace::resume(thread, 0)
            }
            Stop::Cloned | Stop::Interrupted => ptrace::resume(thread, 0),
            Stop::Group => ptrace::listen(thread),
            Stop::Signal(number) => {
                if would_kill_first(thread, number) {
                    self.kill_in_its_place(thread, number);
                }
                ptrace::resume(thread, number)
            }
        }
    }

    /// The kernel lets no fault kill the first process of a pid namespace while somebody traces it. It would go on
    /// where it should have died, so it is killed from here.
    fn kill_in_its_place(&mut self, thread: i32, number: i32) {
        let process: Option<i32> = status(thread, "Tgid:").parse().ok();
        if let Some(process) = process.and_then(|pid| Child::open(pid).ok())
            && process.kill(libc::SIGKILL).is_ok()
            && process.pid == self.init
        {
            self.fault = Some(number);
        }
    }

    fn look(&mut self, thread: i32) -> std::result::Result<(), Errno> {
        match ptrace::edge(thread)? {
            Edge::Entry { arch, instruction_pointer, nr, args } => {
                let call = SeccompData { nr: nr as u32, arch, instruction_pointer, args };
                let filters = self.filters(thread)?;
                if let Some((answer, filter)) = strictest(&filters, &call)
                    && is_refusal(answer)
                {
                    self.witness.refused(&Refused { thread, call, answer, filter });
                }
                if let Some(known) = self.threads.get_mut(&thread) {
                    known.may_add = may_add_filter(&call);
                }
            }
            Edge::Exit { is_error } => {
                let added = self.threads.get(&thread).is_some_and(|known| known.may_add) && !is_error;
                if added {
                    // Perhaps to all threads of the process.
                    self.threads.values_mut().for_each(|known| known.filters = None);
                }
            }
            Edge::Neither => {}
        }
        Ok(())
    }

    /// The filters of a stopped thread.
    fn filters(&mut self, thread: i32) -> std::result::Result<Vec<Instructions>, Errno> {
        if let Some(filters) = self.threads.get(&thread).and_then(|known| known.filters.clone()) {
            return Ok(filters);
        }
        let filters = self.read_filters(thread)?;
        if let Some(known) = self.threads.get_mut(&thread) {
            known.filters = Some(filters.clone());
        }
        Ok(filters)
    }

    fn read_filters(&mut self, thread: i32) -> std::result::Result<Vec<Instructions>, Errno> {
        let mut filters = Vec::new();
        if !has_filter(thread) {
            return Ok(filters);
        }
        loop {
            match ptrace::filter(thread, filters.len()) {
                Ok(instructions) => filters.push(self.share(&instructions)),
                Err(Errno::ENOENT) => return Ok(filters),
                Err(Errno::ESRCH) => return Err(Errno::ESRCH),
                Err(errno) => {
                    self.witness.unreadable(errno);
                    return Ok(self.assumed.iter().cloned().collect());
                }
            }
        }
    }

    /// One copy of equal filters is kept.
    fn share(&mut self, read: &[crate::sys::seccomp::Instruction]) -> Instructions {
        let same =
            |i: &crate::sys::seccomp::Instruction| Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k };
        let instructions: Vec<Instruction> = read.iter().map(same).collect();
        if let Some(known) = self.known.iter().find(|known| ***known == instructions) {
            return known.clone();
        }
        // Those of threads that are gone.
        self.known.retain(|known| Rc::strong_count(known) > 1);
        let shared = Rc::new(instructions);
        self.known.push(shared.clone());
        shared
    }

    /// How the init process ended, once it has.
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Lets every thread go on unwatched.
    pub fn detach(mut self) {
        self.letting_go = true;
        let deadline = Instant::now() + PATIENCE;
        // The first thread of a process that has only others left never stops again.
        self.threads.retain(|thread, _| !is_zombie(*thread));
        for thread in self.threads.keys() {
            let _ = ptrace::interrupt(*thread);
        }
        while !self.threads.is_empty() && Instant::now() < deadline {
            self.work();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn let_go(&mut self, thread: i32, stop: Stop) {
        if stop == Stop::Cloned
            && let Ok(new) = ptrace::event_message(thread)
        {
            // It has not been seen yet, and must be let go too.
            self.threads.entry(new).or_default();
        }
        let signal = if let Stop::Signal(number) = stop { number } else { 0 };
        let _ = ptrace::detach(thread, signal);
        self.threads.remove(&thread);
    }
}

impl Companion for Tracer<'_> {
    fn watched(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.timer.as_fd()]
    }

    fn serve(&mut self, ready: &[PollFlags]) {
        if ready.first().is_some_and(|flags| flags.contains(PollFlags::POLLIN)) {
            if let Ok(timer) = timer() {
                self.timer = timer;
            }
            self.rescan();
            self.work();
        }
    }

    fn children(&mut self, _init: &Child) {
        self.work();
    }

    fn end(&mut self, init: &Child) -> std::result::Result<Ended, Errno> {
        self.work();
        match self.ended {
            Some(ended) => Ok(ended),
            None => init.wait(),
        }
    }
}

fn timer() -> Result<OwnedFd> {
    signal::timer(RESCAN).map_err(|e| Error::kernel("make a timer", "timerfd_create(2)", e))
}

fn seize_failed(pid: i32, errno: Errno) -> Error {
    Error::kernel(format!("watch process {pid}"), "ptrace(2)", errno)
        .hint("another tracer may be at work; watching takes CAP_SYS_PTRACE and what /proc/sys/kernel/yama/ptrace_scope asks for")
}

fn threads_of(pid: i32) -> Vec<i32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn is_there(thread: i32) -> bool {
    std::path::Path::new(&format!("/proc/{thread}")).exists()
}

/// Whether a thread has any filter: then `Seccomp` in its status is 2.
fn has_filter(thread: i32) -> bool {
    status(thread, "Seccomp:").starts_with('2')
}

fn is_zombie(thread: i32) -> bool {
    status(thread, "State:").starts_with('Z')
}

/// A line of the status of a thread, see proc_pid_status(5); empty when the thread is gone.
fn status(thread: i32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default().to_owned()
}

/// Whether a fault is about to hit the first process of a pid namespace, which does not catch it.
fn would_kill_first(thread: i32, number: i32) -> bool {
    const FAULTS: [i32; 6] =
        [libc::SIGSYS, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];
    let is_first = || status(thread, "NStgid:").split_whitespace().last() == Some("1");
    let catches = || {
        let caught = u64::from_str_radix(&status(thread, "SigCgt:"), 16).unwrap_or(0);
        caught & 1 << (number - 1) != 0
    };
    FAULTS.contains(&number) && ptrace::is_from_kernel(thread) == Ok(true) && is_first() && !catches()
}

/// Of filters that disagree the strictest answer counts, and of equally strict ones that of the newest.
///
/// Source: seccomp(2); kernel/seccomp.c, `seccomp_run_filters`.
fn strictest<'f>(filters: &'f [Instructions], call: &SeccompData) -> Option<(u32, &'f [Instruction])> {
    let answers = filters.iter().rev().map(|filter| (simulate::run(filter, call), &filter[..]));
    answers.min_by_key(|(answer, _)| (answer & 0xffff_0000).cast_signed())
}

fn is_refusal(answer: u32) -> bool {
    let passes = [Action::Allow, Action::Log, Action::Notify].map(Action::value);
    !passes.contains(&(answer & 0xffff_0000))
}

/// seccomp(2), or prctl(2) with PR_SET_SECCOMP.
fn may_add_filter(call: &SeccompData) -> bool {
    const PR_SET_SECCOMP: u64 = 22;
    let name = teu_seccomp::Arch::of_call(call.arch, call.nr).and_then(|arch| arch.name_of(call.nr));
    match name.as_deref() {
        Some("seccomp") => true,
        Some("prctl") => call.args[0] == PR_SET_SECCOMP,
        _ => false,
    }
}
