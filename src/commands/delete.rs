//! `teu delete`.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::open_root;
use crate::cgroup::{Cgroup, systemd};
use crate::cli::{Delete, Global};
use crate::error::{Errno, Error, Result};
use crate::log;
use crate::parent::hook_output::HookOutput;
use crate::parent::host_hooks::{c_path, run_poststop};
use crate::plan;
use crate::resctrl::Resctrl;
use crate::state::{Container, Directory, Id, Lock, Root, Status, is_missing, missing};
use crate::sys::clone::Child;

/// How long a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes a container.
pub fn delete(global: &Global, args: &Delete) -> Result<i32> {
    let id = Id::new(&args.id)?;
    let not_there = |error: Error| if args.force && is_missing(&error) { Ok(0) } else { Err(error) };
    let root = match open_root(global) {
        Ok(root) => root,
        Err(error) => return not_there(error),
    };
    let directory = match root.directory(&id) {
        Ok(directory) => directory,
        Err(error) => return not_there(error),
    };
    let record = match directory.load() {
        Ok(record) => record,
        // Nothing may be concluded from a damaged record; what is in the cgroups is known all the same, and without any
        // which process init is.
        Err(error) if !args.force => return Err(error),
        Err(_) => {
            let cgroup = Cgroup::open(&directory.load_cgroups());
            if cgroup.exists() {
                cgroup.kill_all(libc::SIGKILL)?;
                cgroup.remove()?;
            } else if let Some(init) = directory.load_init() {
                if !is_first_of_its_namespace(&init) {
                    warn_of_the_unseen(&id);
                }
                let _ = init.kill(libc::SIGKILL);
                wait_for_end(&init)?;
            } else {
                let id = id.as_str();
                log::warn(&format!(
                    "the record of {id} is damaged: a process of it may be left without a cgroup"
                ));
            }
            root.remove(&id)?;
            return Ok(0);
        }
    };
    let Some(record) = record else {
        // `create` was killed before it had written anything, or is about to.
        if directory.try_lock().is_ok() {
            root.remove(&id)?;
        }
        return if args.force { Ok(0) } else { Err(missing()) };
    };
    if record.own.creating && directory.try_lock().is_err() {
        // Its `create` is at work: it holds the lock until it has succeeded or undone everything.
        if !args.force {
            return Err(refused(&id, Status::Creating));
        }
        if let Some(init) = record.live_init() {
            let _ = init.kill(libc::SIGKILL);
        }
    }
    let _lock = match take_lock(&directory) {
        Ok(lock) => lock,
        // Another delete was faster.
        Err(error) if error.errno() == Some(Errno::ENOENT) => return not_there(missing()),
        Err(error) => return Err(error),
    };
    let record = match directory.load() {
        Ok(Some(record)) => record,
        // Undone meanwhile.
        Ok(None) | Err(_) if args.force => return Ok(0),
        Ok(None) => return Err(missing()),
        Err(error) => return Err(error),
    };
    let container = Container::of(directory, record);
    let may = match container.status {
        Status::Stopped | Status::Created => true,
        Status::Creating => args.force || container.init.is_none(),
        Status::Running | Status::Paused => args.force,
    };
    if !may {
        return Err(refused(&id, container.status));
    }
    if has_the_unseen(&container) {
        warn_of_the_unseen(&id);
    }
    destroy(&root, &container)?;
    Ok(0)
}

/// Whether neither a pid namespace nor a cgroup tells which processes beside init are the container's.
pub fn has_the_unseen(container: &Container) -> bool {
    let record = &container.record;
    !record.own.private_pid_namespace && !record.own.creating && record.cgroup_paths.is_empty()
}

/// Says that they may go on after init.
pub fn warn_of_the_unseen(id: &Id) {
    log::warn(&format!(
        "other processes of {} cannot be found and may go on, as it has no cgroup and no pid namespace of its own: \
         list a pid namespace in its configuration, or give its user a delegated cgroup (docs/rootless.md)",
        id.as_str()
    ));
}

/// Whether the end of a process is the end of its pid namespace. Source: proc_pid_status(5).
fn is_first_of_its_namespace(process: &Child) -> bool {
    let status = crate::sys::path::read_text(format!("/proc/{}/status", process.pid)).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| {
        let mut numbers = numbers.split_ascii_whitespace().rev();
        // With one number it is the first of the caller's own.
        numbers.next() == Some("1") && numbers.next().is_some()
    })
}

/// Takes the lock within some time: a hook of `create` that deletes the container waits for its own command.
fn take_lock(directory: &Directory) -> Result<Lock> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match directory.try_lock() {
            Err(error) if error.errno() == Some(Errno::EAGAIN) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

fn refused(id: &Id, status: Status) -> Error {
    Error::state(format!("cannot delete container {} that is not stopped: {}", id.as_str(), status.text()))
        .hint("stop it first, or pass --force")
}

/// The same for a command that has not held the lock since it read the record: another one may have destroyed the
/// container meanwhile, and made a new one of this id.
pub fn destroy_if_there(root: &Root, mut container: Container) -> Result<()> {
    let _lock = match container.directory.lock_again() {
        Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(()),
        lock => lock?,
    };
    match container.directory.load() {
        Ok(None) => Ok(()),
        Ok(Some(record)) => {
            container.record = record;
            destroy(root, &container)
        }
        // What this command knows of its own container is still true.
        Err(_) => destroy(root, &container),
    }
}

/// Ends what runs, removes what the runtime has made, then runs the poststop hooks.
///
/// Can be repeated: the directory, which names everything else, goes last. The caller has the lock.
pub fn destroy(root: &Root, container: &Container) -> Result<()> {
    let cgroup = container.cgroup();
    if let Some(init) = &container.init {
        end(init, container)?;
    }
    if !container.record.own.owns_cgroups {
        // Only planned: what is there may be somebody else's.
        if let Some(unit) = &container.record.own.unit
            && !unit.is_slice()
            && cgroup.pids().is_ok_and(|pids| pids.is_empty())
        {
            // A scope without processes has ended whoever made it. Without its cgroup systemd would never see that.
            systemd::stop(&unit.name, unit.of_user);
        }
        cgroup.remove_unused();
    } else {
        let exists = cgroup.exists();
        // With the init process of a pid namespace all of them have ended: who is here now belongs to another
        // container.
        let has_processes = !container.record.own.private_pid_namespace || container.init.is_some();
        if exists && has_processes {
            cgroup.kill_all(libc::SIGKILL)?;
        } else if exists && container.record.own.unit.is_some() {
            // systemd would end them.
            cgroup.wait_until_unused()?;
        }
        let unit = container.record.own.unit.as_ref();
        let hangs = unit.is_some_and(|unit| systemd::stop(&unit.name, unit.of_user) && !unit.is_slice());
        match (exists, hangs) {
            (false, _) => {}
            (true, false) if has_processes => cgroup.remove()?,
            (true, false) => cgroup.remove_without_killing()?,
            (true, true) => cgroup.remove_but_for_systemd()?,
        }
    }
    if let Some(mount) = &container.record.own.root_mount {
        mount.remove()?;
    }
    if let Some(held) = container.record.own.intel_rdt.as_ref().filter(|held| held.goes())
        && let Some(resctrl) = Resctrl::mounted()?
    {
        resctrl.remove(held)?;
    }
    let mut record = container.record.clone();
    let hooks = plan::hooks::later(&record.own.hooks)?;
    let run = !hooks.poststop.is_empty() && !record.own.poststop_ran;
    if run {
        record.own.poststop_ran = true;
        container.directory.save(&record)?;
    }
    root.remove(container.directory.id())?;
    if run {
        let state = record.hook_state().with_pid("stopped", 0);
        let output = HookOutput::again_or_none(&hooks.output);
        run_poststop(&hooks.poststop, &state, &c_path(&record.own.bundle)?, &output);
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
    wait_for_end(init)
}

/// Waits until the init process has ended.
pub fn wait_for_end(init: &Child) -> Result<()> {
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
