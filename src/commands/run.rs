//! `teu run`: create and start in one, in the foreground unless told otherwise.

use std::os::fd::AsFd;

use super::delete::destroy;
use super::start::{gone_before_the_program, poststart, undone};
use super::{make_root, setup};
use crate::cli::{Create, Global, Run};
use crate::error::{Error, Kind, Result};
use crate::log;
use crate::parent::create::{self, Created, Options};
use crate::parent::failure;
use crate::parent::foreground::{self, Relay};
use crate::parent::prepare::{self, Passed};
use crate::plan::Plan;
use crate::state::{Container, Id, Root, Status};
use crate::sync::{Outcome, executed, send_go};
use crate::sys::clone::Ended;
use crate::sys::{process, signal};

/// Runs a container. The exit status is that of its program.
pub fn run(global: &Global, args: &Run) -> Result<i32> {
    let args = Run { create: bundle_as_id(&args.create), ..args.clone() };
    let id = Id::new(&args.create.id)?;
    let listen_fds = setup::listen_fds();
    let passed = Passed::take(args.create.preserve_fds.saturating_add(listen_fds))?;
    let root = make_root(global)?;
    root.refuse_taken(&id)?;
    let bundle = setup::bundle(args.create.bundle.as_deref())?;
    let request = setup::request(&args.create, bundle.clone(), args.detach, &passed, listen_fds);
    let setup = setup::setup(global, &bundle, request)?;
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
    let (prepared, relay) =
        prepare::prepare(&setup.plan, setup::inputs(&setup, &args.create, passed, &root)?)?;
    let options = Options {
        root: &root,
        id: &id,
        config: &setup.bytes,
        hooks: setup::later_hooks(&setup.config),
        layout: &setup.layout,
        rootless: setup::is_rootless(global, &setup.host)?,
        pid_file: setup::absolute(args.create.pid_file.as_deref())?,
        pidfd_socket: setup::absolute(args.create.pidfd_socket.as_deref())?,
        gated: false,
    };
    let created = create::create(&setup.plan, prepared, options)?;
    setup::report_warnings(&setup.plan);
    let sized = setup.plan.process.terminal.is_some_and(|terminal| terminal.size.is_some());
    let relay = match relay.map(|socket| Relay::receive(&socket, sized)).transpose() {
        Ok(relay) => relay,
        Err(error) => return Err(undone(&root, of(created), error)),
    };
    let created = execute(&setup.plan, &root, created)?;
    poststart(&root, Container::load(&root, &id)?)?;
    let Some(signals) = signals else { return Ok(0) };
    let ended = foreground::wait(&created.init, &signals, relay)?;
    if let Ended::Signaled(libc::SIGKILL) = ended
        && let Some(text) = created.cgroup.explain_oom(&created.watch)
    {
        // Which process it was is not told, and it may have been another one long before.
        let told = Error::new(Kind::Kernel, format!("killed by SIGKILL; the container had a process {text}"))
            .at("/linux/resources/memory/limit");
        log::tell(&format!("teu: run {}: {told}", args.create.id));
    }
    if !args.keep {
        destroy(&root, of(created))?;
    }
    Ok(ended.status())
}

/// An id cannot contain a slash: such an argument is a bundle, and the id is made from its name.
fn bundle_as_id(args: &Create) -> Create {
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
fn execute(plan: &Plan, root: &Root, created: Created) -> Result<Created> {
    let sent = send_go(created.sync.as_fd()).map_err(|e| Error::kernel("start the program", "sendmsg(2)", e));
    let error = match sent.map(|()| executed(created.sync.as_fd())) {
        Ok(Outcome::Executed) => return Ok(created),
        Ok(Outcome::Failed(failed)) => failure::error(plan, &failed),
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
