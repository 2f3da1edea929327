//! `teu delete`.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::open_root;
use crate::cli::{Delete, Global};
use crate::error::{Errno, Error, Result};
use crate::parent::create::{c_path, run_poststop};
use crate::plan;
use crate::state::{Container, Id, Root, Status, missing};
use crate::sys::clone::Child;

/// How long a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes a container.
pub fn delete(global: &Global, args: &Delete) -> Result<i32> {
    let id = Id::new(&args.id)?;
    let not_there = |error: Error| if args.force && error.errno().is_none() { Ok(0) } else { Err(error) };
    let root = match open_root(global) {
        Ok(root) => root,
        Err(error) => return not_there(error),
    };
    let directory = match root.directory(&id) {
        Ok(directory) => directory,
        Err(error) => return not_there(error),
    };
    let _lock = directory.lock()?;
    let Some(record) = directory.load()? else {
        // `create` was killed before it had written anything.
        root.remove(&id)?;
        return if args.force { Ok(0) } else { Err(missing()) };
    };
    let container = Container::of(directory, record);
    let may = match container.status {
        Status::Stopped | Status::Created => true,
        Status::Creating => args.force || container.init.is_none(),
        Status::Running | Status::Paused => args.force,
    };
    if !may {
        let status = container.status.text();
        return Err(Error::state(format!(
            "cannot delete container {} that is not stopped: {status}",
            id.as_str()
        ))
        .hint("stop it first, or pass --force"));
    }
    destroy(&root, container)?;
    Ok(0)
}

/// Ends what runs, removes what the runtime has made, then runs the poststop hooks.
///
/// Can be repeated: the directory, which names everything else, goes last.
pub fn destroy(root: &Root, container: Container) -> Result<()> {
    let cgroup = container.cgroup();
    if let Some(init) = &container.init {
        end(init, &container)?;
    }
    if cgroup.exists() {
        if !container.record.own.private_pid_namespace || container.init.is_some() {
            cgroup.kill_all(libc::SIGKILL)?;
        }
        cgroup.remove()?;
    }
    let mut record = container.record.clone();
    let hooks = plan::hooks::later(&record.own.hooks)?.poststop;
    let run = !hooks.is_empty() && !record.own.poststop_ran;
    if run {
        record.own.poststop_ran = true;
        container.directory.save(&record)?;
    }
    root.remove(container.directory.id())?;
    if run {
        run_poststop(&hooks, &record.hook_state().with_pid("stopped", 0), &c_path(&record.own.bundle)?);
    }
    Ok(())
}

/// Kills the init process and waits for its end.
fn end(init: &Child, container: &Container) -> Result<()> {
    match init.kill(libc::SIGKILL) {
        Ok(()) => {}
        Err(Errno::ESRCH) => return Ok(()),
        Err(e) => return Err(Error::kernel("kill the init process", "pidfd_send_signal(2)", e)),
    }
    let cgroup = container.cgroup();
    if cgroup.is_frozen().unwrap_or(false) {
        cgroup.thaw()?;
    }
    let mut waiting = [PollFd::new(init.pidfd.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut waiting, patience) {
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::kernel("wait for the init process", "poll(2)", e)),
            Ok(0) => {
                return Err(Error::state("container init still running")
                    .hint("the process does not react to SIGKILL; /proc/PID/stack tells what it waits for"));
            }
            Ok(_) => break,
        }
    }
    // It may be our own child, which nobody else would reap.
    let _ = init.try_wait();
    Ok(())
}
