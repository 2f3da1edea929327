//! The steps of `exec` on the host side, in order. Whatever fails, no process is left.
//!
//! No lock is taken and the state is not changed: many of these run at once in one container.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

use super::announce::{send_pidfd, write_pid_file};
use super::birth::sibling_of;
use super::limits::{reset_affinity, set_limits, set_oom_score};

use super::foreign::{self, has_ended, stopped};
use super::prepare::{Filter, Passed};
use super::relay::Relay;
use super::{console, failure, id_maps, seccomp_agent};
use crate::cgroup::{Cgroup, systemd};
use crate::child::{self, ExecTask};
use crate::error::{Errno, Error, Kind, Result};
use crate::plan::exec::ExecPlan;
use crate::plan::namespaces::User;
use crate::priorities;
use crate::resctrl::Resctrl;
use crate::state::{Container, Status};
use crate::sync::{Call, FromChild, Phase, receive, send_go};
use crate::sys::clone::{Child, Ended, Parentage, Side, clone_child};
use crate::sys::{fd, process, signal};

/// What the command decides.
pub struct Options<'a> {
    /// The container.
    pub container: &'a Container,
    /// The caller is not the root of the host.
    pub rootless: bool,
    /// Compiled filter.
    pub filter: Option<Filter>,
    /// The command that records the container, when one does.
    pub recorder: Option<OwnedFd>,
    /// Descriptors of the caller.
    pub passed: Passed,
    /// `--console-socket`, absolute.
    pub console_socket: Option<PathBuf>,
    /// `--cgroup`.
    pub sub_cgroups: &'a [String],
    /// `--pid-file`, absolute.
    pub pid_file: Option<PathBuf>,
    /// `--pidfd-socket`, absolute.
    pub pidfd_socket: Option<PathBuf>,
    /// The signals of a command that stays in the foreground, blocked.
    pub signals: Option<&'a SignalFd>,
}

/// A process whose program runs.
pub struct Executed {
    /// The process, a child of this one.
    pub process: Child,
    /// Its terminal, when this process relays it.
    pub relay: Option<Relay>,
}

/// Adds a process to the container and returns when its program was executed.
pub fn exec(plan: &ExecPlan, options: &Options) -> Result<Executed> {
    let init = options.container.init.as_ref().ok_or_else(stopped)?;
    // 1. Everything is found before anything is started.
    let (console, relay) = console::connect(plan.process.terminal, options.console_socket.as_deref())?;
    let namespaces = foreign::namespaces(plan.namespaces, options.container, init, options.signals)?;
    let root = foreign::root(plan.namespaces, init)?;
    let own = options.container.cgroup();
    let cgroup = choose_cgroup(&own, init, options.sub_cgroups)?;
    let watch = cgroup.watch_oom();
    let (ours, theirs) =
        fd::seqpacket_pair().map_err(|e| Error::kernel("make a socket pair", "socketpair(2)", e))?;
    let task = ExecTask {
        plan,
        namespaces: namespaces.kinds,
        init: init.pidfd.as_fd(),
        handles: &namespaces.handles,
        root: root.as_ref().map(AsFd::as_fd),
        console: console.as_ref().map(AsFd::as_fd),
        passed: &options.passed,
        filter: options.filter.as_ref(),
        foreign: ours.as_raw_fd(),
        sync: theirs,
    };
    // No process of ours may be looked at by one that shares a pid namespace with it. An unprivileged parent could
    // not write files of its child then; its child becomes so a little later.
    if !options.rootless {
        process::set_dumpable(false).map_err(|e| Error::kernel("hide the own process", "prctl(2)", e))?;
    }
    // 2. The process that joins, in the cgroup from birth where that is possible.
    let Born { stage, cgroup } = clone_into(plan, task, cgroup, &own, init, options)?;
    let mut attempt = Attempt { plan, options, init, sync: ours.as_fd(), stage: Some(stage), process: None };
    let done = attempt.bring_in(&cgroup).and_then(|()| attempt.execute(relay.as_ref()));
    match done {
        Ok(relay) => {
            let process = attempt.process.ok_or_else(|| Error::new(Kind::Bug, "the process is missing"))?;
            Ok(Executed { process, relay })
        }
        Err(error) => {
            let ended = attempt.abandon();
            Err(explain(error, init, ended, &cgroup, &watch))
        }
    }
}

fn died() -> Error {
    Error::new(Kind::Kernel, "the process died while it was set up")
}

/// The cgroups of the container, those below that `--cgroup` names, or where init has moved itself.
fn choose_cgroup(own: &Cgroup, init: &Child, sub_cgroups: &[String]) -> Result<Cgroup> {
    if !sub_cgroups.is_empty() {
        return own.sub_cgroups(sub_cgroups);
    }
    if own.is_complete() { own.sub_cgroups(&[]) } else { own.of_process(init.pid) }
}

/// The first process, and the cgroups that it must be in.
struct Born {
    stage: Child,
    cgroup: Cgroup,
}

/// Clones the process that joins. Does not return in it.
///
/// A container that has given controllers to cgroups below its own takes no process in that one any more (EBUSY);
/// its init process is in one of those below then, and that is where this one goes too, unless the caller has
/// named a cgroup.
fn clone_into(
    plan: &ExecPlan,
    task: ExecTask,
    cgroup: Cgroup,
    own: &Cgroup,
    init: &Child,
    options: &Options,
) -> Result<Born> {
    let failed = |e| Error::kernel("create the process", "clone3(2)", e);
    let before = process::affinity(0).ok().filter(|_| plan.affinity.initial.is_some());
    if let Some(mask) = &plan.affinity.initial {
        set_affinity(plan, 0, mask, "initial")?;
    }
    let mut cgroup = cgroup;
    let mut side = clone_child(0, cgroup.into_fd(), Parentage::Mine);
    if matches!(side, Err(Errno::EBUSY | Errno::ENODEV | Errno::ENOENT)) && options.sub_cgroups.is_empty() {
        cgroup = own.of_process(init.pid)?;
        side = clone_child(0, cgroup.into_fd(), Parentage::Mine);
    }
    if matches!(side, Err(Errno::EOPNOTSUPP | Errno::EBUSY)) {
        // A threaded cgroup takes processes only in another way, which says what is wrong when it fails too.
        side = clone_child(0, None, Parentage::Mine).and_then(|side| match side {
            Side::Parent(stage) => match cgroup.attach(stage.pid, false) {
                Ok(()) => Ok(Side::Parent(stage)),
                Err(_) => {
                    let _ = stage.kill(libc::SIGKILL).and_then(|()| stage.wait());
                    Err(Errno::EBUSY)
                }
            },
            side => Ok(side),
        });
    }
    let mut brought = Ok(());
    let unit = options.container.record.own.unit.as_ref();
    if let (Err(Errno::EACCES), Some(unit)) = (&side, unit) {
        // Between two cgroups a process is moved by who may write to one above both; systemd may.
        side = clone_child(0, None, Parentage::Mine);
        if let Ok(Side::Parent(stage)) = &side {
            brought = systemd::attach(&unit.name, unit.of_user, &cgroup.below(own), stage.pid);
            if brought.is_err() {
                let _ = stage.kill(libc::SIGKILL).and_then(|()| stage.wait());
            }
        }
    }
    if let Ok(Side::Child) = side {
        child::exec(task);
    }
    if let Some(mask) = &before {
        let _ = process::set_affinity(0, mask);
    }
    brought?;
    let cgroup_failed =
        |errno| Error::kernel("adding the process to the cgroups of the container", "clone3(2)", errno);
    match side {
        Ok(Side::Parent(stage)) => Ok(Born { stage, cgroup }),
        Ok(Side::Child) => Err(Error::new(Kind::Bug, "the clone returned twice in one process")),
        Err(errno @ (Errno::EBUSY | Errno::EOPNOTSUPP | Errno::EACCES)) => Err(cgroup_failed(errno)),
        Err(errno) => Err(failed(errno)),
    }
}

fn set_affinity(plan: &ExecPlan, pid: i32, mask: &[u64], member: &str) -> Result<()> {
    process::set_affinity(pid, mask).map_err(|e| {
        Error::kernel("set the processor affinity", "sched_setaffinity(2)", e)
            .at(format!("{}/execCPUAffinity/{member}", plan.process.base))
            .hint("none of these processors exists, or the cpuset of the container has none of them")
    })
}

/// One attempt, and the processes that it has made so far.
struct Attempt<'a> {
    plan: &'a ExecPlan,
    options: &'a Options<'a>,
    init: &'a Child,
    sync: BorrowedFd<'a>,
    stage: Option<Child>,
    process: Option<Child>,
}

impl Attempt<'_> {
    /// 3. Cgroups, processors and OOM score, before the process that joins does anything; then the one that it makes.
    fn bring_in(&mut self, cgroup: &Cgroup) -> Result<()> {
        let stage = self.stage.as_ref().ok_or_else(died)?;
        cgroup.attach(stage.pid, cgroup.into_fd().is_some())?;
        if let Some(held) = &self.options.container.record.own.intel_rdt {
            Resctrl::find().and_then(|resctrl| resctrl.group(held)?.add(stage.pid))?;
        }
        match (&self.plan.affinity.last, &self.plan.affinity.initial) {
            (Some(mask), _) => set_affinity(self.plan, stage.pid, mask, "final")?,
            (None, Some(_)) => {}
            (None, None) => reset_affinity(stage.pid)?,
        }
        set_oom_score(&self.plan.limits, stage.pid)?;
        self.go()?;
        self.wait_for_message()?;
        let made = sibling_of(stage, self.sync, |failure| self.sentence(failure));
        self.stage = None;
        self.process = Some(made?);
        Ok(())
    }

    /// 4. The way to the program, and what tells others about it.
    fn execute(&self, relay: Option<&OwnedFd>) -> Result<Option<Relay>> {
        let process = self.process.as_ref().ok_or_else(died)?;
        if has_ended(self.init) {
            return Err(stopped());
        }
        // The terminal has its size before the program looks.
        let sized = self.plan.process.terminal.is_some_and(|terminal| terminal.size.is_some());
        let relay = relay.map(|socket| Relay::receive(socket, sized)).transpose()?;
        self.go()?;
        self.until_executed(process)?;
        if let Some(path) = &self.options.pidfd_socket {
            send_pidfd(path, b"setns", process)?;
        }
        if let Some(path) = &self.options.pid_file {
            // conmon takes the file for success, so it comes last of all.
            write_pid_file(path, process.pid)?;
        }
        Ok(relay)
    }

    fn go(&self) -> Result<()> {
        match send_go(self.sync) {
            Ok(()) => Ok(()),
            // It has died; why is in the message it may have left.
            Err(Errno::EPIPE) => Err(match receive(self.sync) {
                Ok(Some((FromChild::Failure(failure), _))) => self.sentence(&failure),
                _ => died(),
            }),
            Err(e) => Err(Error::kernel("talk to the process", "sendmsg(2)", e)),
        }
    }

    fn until_executed(&self, process: &Child) -> Result<()> {
        let mut about_to = false;
        loop {
            self.wait_for_message()?;
            let message =
                receive(self.sync).map_err(|e| Error::kernel("listen to the process", "recvmsg(2)", e))?;
            let (message, passed) = message.map_or((None, None), |(message, passed)| (Some(message), passed));
            match message {
                Some(FromChild::Schedule) => priorities::set(process.pid, &self.plan.process)
                    .map_err(|failure| self.sentence(&failure))?,
                Some(FromChild::Limits) => set_limits(&self.plan.limits, process.pid)?,
                Some(FromChild::Recording) => {
                    // Whoever records lets the process go on.
                    self.hand_to_recorder(passed)?;
                    continue;
                }
                Some(FromChild::Listener) => self.hand_over(process, passed)?,
                Some(FromChild::Executing) => {
                    about_to = true;
                    continue;
                }
                Some(FromChild::Failure(failure)) => return Err(self.sentence(&failure)),
                Some(_) => return Err(Error::new(Kind::Bug, "the process spoke out of turn")),
                // execve(2) has closed the socket.
                None if about_to => return Ok(()),
                None => return Err(died()),
            }
            self.go()?;
        }
    }

    fn hand_over(&self, process: &Child, listener: Option<OwnedFd>) -> Result<()> {
        let Some(seccomp) = &self.plan.security.seccomp else { return Ok(()) };
        let state = self.options.container.record.hook_state();
        seccomp_agent::hand_over(seccomp, process, listener, &state, ("running", self.init.pid))
    }

    fn hand_to_recorder(&self, listener: Option<OwnedFd>) -> Result<()> {
        let (Some(recorder), Some(listener)) = (&self.options.recorder, listener) else {
            return Err(Error::new(Kind::Bug, "nobody records the container"));
        };
        fd::send(recorder.as_fd(), b"listener", Some(listener.as_fd()))
            .map_err(|e| Error::kernel("hand the process to the recording", "sendmsg(2)", e))
    }

    fn sentence(&self, failure: &crate::sync::Failure) -> Error {
        match (failure.phase, failure.errno) {
            // The container has ended meanwhile: its namespaces are gone, or nothing can be born in them.
            (Phase::Namespaces, _) if has_ended(self.init) => stopped(),
            _ => self.told(failure),
        }
    }

    fn told(&self, failure: &crate::sync::Failure) -> Error {
        let plan = self.plan;
        let place = failure::Place {
            user: &plan.user,
            init: Some(self.init),
            rootfs: &self.options.container.record.config.rootfs,
            covered: plan.mount_points.iter().map(CString::as_c_str).collect(),
        };
        let of_ids = matches!(failure.call, Call::Setgroups | Call::Setresgid | Call::Setresuid);
        match (of_ids, &plan.user) {
            (true, User::Joined) => id_maps::refuse_unmapped(self.init, &plan.identity, ""),
            _ => Ok(()),
        }
        .err()
        .unwrap_or_else(|| failure::exec_error(plan, failure, &place))
    }

    /// Waits until the process says something or is gone. In the foreground a signal that asks for the end gives up:
    /// in a paused container there may be nothing to hear for a long time.
    fn wait_for_message(&self) -> Result<()> {
        until_heard(self.sync, self.options.signals)
    }

    /// Ends what has been started. Returns how the process that was to run the program ended.
    fn abandon(self) -> Option<Ended> {
        // A process that is frozen on cgroup v1 dies when it is thawed, and nobody waits for that.
        let is_paused = self.options.container.status == Status::Paused;
        [self.stage, self.process].into_iter().flatten().fold(None, |last, child| {
            // One that has reported ends by itself, with a status that tells nothing.
            let _ = child.kill(libc::SIGKILL);
            if is_paused { child.try_wait().ok().flatten() } else { child.wait().ok() }.or(last)
        })
    }
}

/// Waits for the next word on a socket. A process of a container that is paused may keep one waiting for good, which
/// `signals`, if there are any, end: the command fails then.
pub(super) fn until_heard(socket: BorrowedFd, signals: Option<&SignalFd>) -> Result<()> {
    let Some(signals) = signals else { return Ok(()) };
    loop {
        let mut fds =
            [PollFd::new(socket, PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::kernel("listen to the process", "poll(2)", e)),
        }
        if fds[0].any().unwrap_or(false) {
            return Ok(());
        }
        while let Ok(Some(number)) = signal::next(signals) {
            if matches!(number, libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT) {
                return Err(Error::state(format!("interrupted by signal {number}")));
            }
        }
    }
}

/// Evidence beats errno: a process that vanished under a memory limit was killed by it, and one that vanished with
/// the container was killed by that.
fn explain(
    error: Error,
    init: &Child,
    ended: Option<Ended>,
    cgroup: &Cgroup,
    watch: &crate::cgroup::OomWatch,
) -> Error {
    if error.doing() != died().doing() {
        return error;
    }
    if let Some(text) = cgroup.explain_oom(watch) {
        return Error::new(Kind::Kernel, format!("the process was {text}"));
    }
    if has_ended(init) {
        return stopped();
    }
    match ended {
        Some(Ended::Signaled(number)) => error.detail(format!("signal {number}")),
        Some(Ended::Exited(status)) => error.detail(format!("exit status {status}")),
        None => error,
    }
}
