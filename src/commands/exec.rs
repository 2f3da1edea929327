//! `teu exec`: one more process in a container.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::{filter, open_root, setup};
use crate::cgroup::Layout;
use crate::cli::{Exec, Global, given};
use crate::config;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::parent::exec::{self, Options};
use crate::parent::foreground;
use crate::parent::prepare::{Filter, Passed};
use crate::plan::exec::{Arguments, ExecRequest, Source, plan};
use crate::state::{Container, Id, Status};
use crate::sys::signal;

/// Adds a process. The exit status is that of its program, or 0 when it is detached.
pub fn exec(global: &Global, args: &Exec) -> Result<i32> {
    let id = Id::new(&args.id)?;
    let listen_fds = setup::listen_fds();
    let passed = Passed::take(args.preserve_fds.saturating_add(listen_fds))?;
    let root = open_root(global)?;
    let container = Container::load(&root, &id)?;
    refuse_by_status(&container, args.ignore_paused)?;
    let bytes = container.directory.load_config()?;
    let config =
        config::load(&bytes.ok_or_else(|| Error::state("the configuration of the container is gone"))?)?;
    // How cgroups are mounted is no matter of a process, and the list of mounts may be long.
    let host = Host::read(&Layout::default())?;
    let request = ExecRequest {
        keyring: keyring(&container),
        console_socket: given(&args.console_socket).is_some(),
        detached: args.detach,
        listen_fds,
        source: source(args)?,
    };
    let mut plan = plan(&config, request, &host)?;
    let recorder = match container.record.own.recording {
        true => Some(recorder(&container)?),
        false => None,
    };
    let filter = match recorder {
        Some(_) => {
            plan.security.seccomp = None;
            Some(Filter::recording()?)
        }
        None => filter::of_process(&plan, &root)?,
    };
    let signals = match args.detach {
        true => None,
        false => Some(signal::block_all().map_err(|e| Error::kernel("block signals", "signalfd(2)", e))?),
    };
    let executed = exec::exec(
        &plan,
        &Options {
            container: &container,
            rootless: host.is_rootless(),
            filter,
            recorder,
            passed,
            console_socket: setup::absolute(given(&args.console_socket))?,
            sub_cgroups: &args.cgroup,
            pid_file: setup::absolute(given(&args.pid_file))?,
            pidfd_socket: setup::absolute(given(&args.pidfd_socket))?,
            signals: signals.as_ref(),
        },
    )?;
    setup::report(&plan.warnings);
    match signals {
        None => Ok(0),
        Some(signals) => {
            Ok(foreground::wait(&executed.process, &signals, executed.relay, None, None, None)?.status())
        }
    }
}

/// The session keyring of the container. One that the record does not name is new: never that of the caller.
fn keyring(container: &Container) -> Option<String> {
    let record = &container.record;
    let unnamed = || (!record.config.no_new_keyring).then(|| format!("_ses.{}", record.id));
    record.own.keyring.clone().or_else(unnamed)
}

/// Connects to the command that records the container: what it does not see would be missing in the profile.
fn recorder(container: &Container) -> Result<OwnedFd> {
    container.directory.connect_recorder().map_err(|e| {
        Error::kernel("connect to the recording of the container", "connect(2)", e)
            .hint("`teu seccomp record` has not begun yet, or was killed")
    })
}

fn refuse_by_status(container: &Container, ignore_paused: bool) -> Result<()> {
    match container.status {
        Status::Created | Status::Running => Ok(()),
        Status::Paused if ignore_paused => Ok(()),
        Status::Paused => {
            Err(Error::state("cannot exec in a paused container (use --ignore-paused to override)"))
        }
        Status::Stopped => Err(Error::state("cannot exec in a stopped container")),
        Status::Creating => Err(Error::state("cannot exec in a container that is still being created")),
    }
}

fn source(args: &Exec) -> Result<Source> {
    if let Some(path) = given(&args.process) {
        let (process, extras, _) = config::load_process(&read(path)?)?;
        return Ok(Source::File { process: Box::new(process), extras });
    }
    if args.command.is_empty() {
        return Err(Error::usage("process args cannot be empty").hint("exec ID PROGRAM [ARGUMENT...]"));
    }
    Ok(Source::Arguments(Arguments {
        command: args.command.clone(),
        cwd: args.cwd.clone(),
        env: args.env.clone(),
        user: args.user.clone(),
        additional_gids: args.additional_gids.clone(),
        terminal: args.tty,
        selinux_label: args.process_label.clone(),
        apparmor_profile: args.apparmor.clone(),
        no_new_privileges: args.no_new_privs,
        capabilities: args.cap.clone(),
    }))
}

/// Reads the file of a process object, which may be a pipe.
fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |call: &'static str, e: &std::io::Error| {
        Error::io(format!("read the process from {}", path.display()), call, e)
    };
    let file = std::fs::File::open(path).map_err(|e| failed("openat(2)", &e))?;
    let mut bytes = Vec::new();
    file.take(config::LARGEST + 1).read_to_end(&mut bytes).map_err(|e| failed("read(2)", &e))?;
    if bytes.len() as u64 > config::LARGEST {
        return Err(Error::config("", format!("{} has more than {} bytes", path.display(), config::LARGEST)));
    }
    Ok(bytes)
}
