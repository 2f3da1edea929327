//! `teu run`: create and start in one, in the foreground unless told otherwise.

use std::os::fd::AsFd;
use std::rc::Rc;

use teu_seccomp::Instruction;
use teu_seccomp::record::Recording;

use super::creation::Creation;
use super::delete::destroy_if_there;
use super::setup;
use super::start::{gone_before_the_program, poststart, undone};
use crate::cgroup::{Cgroup, OomNotice};
use crate::cli::{Create, Global, Run};
use crate::error::{Error, Kind, Result};
use crate::log;
use crate::parent::create::{self, Created};
use crate::parent::failure;
use crate::parent::foreground::{self, Companion};
use crate::parent::hook_output::HookOutput;
use crate::parent::readiness::Readiness;
use crate::parent::recorder::Recorder;
use crate::parent::relay::Relay;
use crate::parent::tracer::{Tracer, Witness};
use crate::plan::Plan;
use crate::state::{Container, Root, Status};
use crate::sync::{Outcome, executed, send_go};
use crate::sys::clone::Ended;
use crate::sys::{process, signal};

/// Runs a container. The exit status is that of its program.
pub fn run(global: &Global, args: &Run) -> Result<i32> {
    let args = Run { create: bundle_as_id(&args.create), ..args.clone() };
    run_watched(global, &args, Watch::Nothing)
}

/// What is watched besides the end of the container.
pub enum Watch<'a> {
    /// Nothing.
    Nothing,
    /// Every system call, without a seccomp profile.
    Calls(&'a mut Recording),
    /// System calls that are refused.
    Refusals {
        /// Hears about them.
        witness: &'a mut dyn Witness,
        /// The program of the profile, for filters that cannot be read.
        assumed: Option<Vec<Instruction>>,
    },
}

/// Whoever watches.
enum Watcher<'a> {
    Nobody,
    Recorder(Recorder<'a>),
    Tracer(Tracer<'a>),
}

impl<'a> Watcher<'a> {
    /// Begins to watch a container whose program has not been executed yet.
    fn new(watch: Watch<'a>, created: &Created) -> Result<Watcher<'a>> {
        Ok(match watch {
            Watch::Nothing => Watcher::Nobody,
            Watch::Calls(recording) => {
                Watcher::Recorder(Recorder::new(recording, created.directory.open_recorder()?))
            }
            Watch::Refusals { witness, assumed } => {
                let cgroup = Cgroup::open(&created.record.cgroup_paths);
                let mut tracer = Tracer::new(witness, assumed, cgroup, created.init.pid)?;
                tracer.await_execution()?;
                Watcher::Tracer(tracer)
            }
        })
    }

    fn companion(&mut self) -> Option<&mut dyn Companion> {
        match self {
            Watcher::Nobody => None,
            Watcher::Recorder(recorder) => Some(recorder),
            Watcher::Tracer(tracer) => Some(tracer),
        }
    }
}

/// The same for a bundle and an id that are told apart, with somebody who watches.
pub fn run_watched(global: &Global, args: &Run, watch: Watch) -> Result<i32> {
    let mut creation = Creation::read(global, &args.create, args.detach)?;
    match watch {
        Watch::Nothing => {}
        Watch::Calls(_) => creation.record_calls(),
        Watch::Refusals { .. } => creation.trace(),
    }
    let (plan, root) = (creation.plan(), &creation.root);
    // From here on every signal waits, so that none is lost between the clone and the relay.
    let signals = if args.detach {
        None
    } else {
        if !args.create.no_subreaper {
            process::become_subreaper()
                .map_err(|e| Error::kernel("become the parent of orphans", "prctl(2)", e))?;
        }
        Some(signal::block_all().map_err(|e| Error::kernel("block signals", "signalfd(2)", e))?)
    };
    let (prepared, relay) = creation.prepare()?;
    let output = Rc::clone(&prepared.hook_output);
    let created = create::create(plan, prepared, creation.options(false))?;
    setup::report_warnings(plan);
    let sized = plan.process.terminal.is_some_and(|terminal| terminal.size.is_some());
    let relay = match relay.map(|socket| Relay::receive(&socket, sized)).transpose() {
        Ok(relay) => relay,
        Err(error) => return Err(undone(root, of(created), error)),
    };
    let mut readiness = match Readiness::listen(&created.directory) {
        Ok(readiness) => readiness,
        Err(error) => return Err(undone(root, of(created), error)),
    };
    let mut watcher = match Watcher::new(watch, &created) {
        Ok(watcher) => watcher,
        Err(error) => return Err(undone(root, of(created), error)),
    };
    let created = execute(plan, root, created, &mut watcher, &output)?;
    if let Err(error) = poststart(&Container::load(root, &creation.id)?, &output) {
        return Err(undone(root, of(created), error));
    }
    let Some(signals) = signals else {
        if let Some(readiness) = &mut readiness {
            readiness.wait(&created.init)?;
        }
        readiness.into_iter().for_each(Readiness::settle);
        return Ok(0);
    };
    // Who removes cgroups other than this process does so at once.
    let hurried = created.record.own.systemd_cgroup;
    let mut notice = if hurried { OomNotice::new(&created.cgroup, &created.watch) } else { None };
    let ended =
        foreground::wait(&created.init, &signals, relay, readiness, notice.as_mut(), watcher.companion())?;
    drop(watcher);
    let seen = || notice.and_then(OomNotice::explain);
    if let Ended::Signaled(libc::SIGKILL) = ended
        && let Some(text) = created.cgroup.explain_oom(&created.watch).or_else(seen)
    {
        // Which process it was is not told, and it may have been another one long before.
        let told = Error::new(Kind::Kernel, format!("killed by SIGKILL; the container had a process {text}"))
            .at("/linux/resources/memory/limit");
        log::tell(&format!("teu: run {}: {told}", creation.id.as_str()));
    }
    if !args.keep {
        destroy_if_there(root, Container { init: None, status: Status::Stopped, ..of(created) })?;
    }
    Ok(ended.status())
}

/// An id cannot contain a slash: such an argument is a bundle, and the id is made from its name.
pub fn bundle_as_id(args: &Create) -> Create {
    let mut args = args.clone();
    if args.bundle.is_none() && args.id.contains('/') {
        let path = std::path::PathBuf::from(&args.id);
        let real = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        let name = real.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let plain =
            |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.') { c } else { '-' };
        args.id = name.trim_start_matches('.').chars().map(plain).take(255).collect();
        args.bundle = Some(path);
    }
    args
}

/// Lets the program follow, and hears whether it could be executed.
fn execute(
    plan: &Plan,
    root: &Root,
    created: Created,
    watcher: &mut Watcher,
    output: &HookOutput,
) -> Result<Created> {
    let printed = |stream, text: &[u8]| output.append(stream, text);
    let sent = send_go(created.sync.as_fd()).map_err(|e| Error::kernel("start the program", "sendmsg(2)", e));
    let outcome = sent.and_then(|()| match watcher {
        Watcher::Recorder(recorder) => recorder.until_executed(created.sync.as_fd(), printed),
        Watcher::Tracer(tracer) => tracer.until_executed(created.sync.as_fd(), printed),
        Watcher::Nobody => Ok(executed(created.sync.as_fd(), printed)),
    });
    let error = match outcome {
        Ok(Outcome::Executed) => return Ok(created),
        Ok(Outcome::Failed(failed)) => failure::error(plan, &failed, Some(&created.init)),
        Ok(Outcome::Gone) => gone_before_the_program(&created.cgroup, &created.watch),
        Err(error) => error,
    };
    Err(undone(root, of(created), error))
}

fn of(created: Created) -> Container {
    Container {
        directory: created.directory,
        record: created.record,
        init: Some(created.init),
        status: Status::Running,
    }
}
