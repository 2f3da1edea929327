//! `teu start`: opens the gate and hears whether the program could be executed.

use std::os::fd::AsFd;

use super::delete::{destroy_if_there, wait_for_end};
use super::open_root;
use crate::cgroup::{Cgroup, OomWatch};
use crate::cli::Global;
use crate::config;
use crate::error::{Errno, Error, Kind, Result};
use crate::host::Host;
use crate::parent::failure;
use crate::parent::hook_output::HookOutput;
use crate::parent::host_hooks::{c_path, run_hook};
use crate::parent::readiness::Readiness;
use crate::parent::vanished::killed_for_memory;
use crate::plan::{self, Request};
use crate::state::{Container, Id, Root, Status};
use crate::sync::{Failure, Outcome, Phase, executed, send_go};

/// Starts a created container.
pub fn start(global: &Global, id: &str) -> Result<i32> {
    let id = Id::new(id)?;
    let root = open_root(global)?;
    let lock = root.directory(&id)?.lock()?;
    let container = Container::load(&root, &id)?;
    match container.status {
        Status::Created => {}
        Status::Stopped => return Err(Error::state("cannot start a container that has stopped")),
        Status::Running => return Err(Error::state("cannot start an already running container")),
        Status::Paused => return Err(Error::state("cannot start a container in the paused state")),
        Status::Creating => return Err(Error::state("cannot start a container that is still being created")),
    }
    let gate = match container.directory.connect_gate() {
        Ok(gate) => gate,
        // A former start was killed between the execution and its last step.
        Err(Errno::ECONNREFUSED) => {
            container.directory.remove_gate()?;
            return Err(Error::state("cannot start an already running container"));
        }
        Err(e) => return Err(Error::kernel("open the start gate", "connect(2)", e)),
    };
    let output = HookOutput::again(&container.record.own.hooks.output)?;
    let mut readiness = Readiness::listen(&container.directory)?;
    // Written first, so that a start that is killed does not leave a running container that seems created.
    let mut record = container.record.clone();
    record.own.starting = true;
    container.directory.save(&record)?;
    let cgroup = container.cgroup();
    let watch = cgroup.watch_oom();
    send_go(gate.as_fd()).map_err(|e| Error::kernel("open the start gate", "sendmsg(2)", e))?;
    let outcome = executed(gate.as_fd(), |stream, text| output.append(stream, text));
    if let (Outcome::Failed(_) | Outcome::Gone, Some(init)) = (&outcome, &container.init) {
        // It is on its way out; whoever reads the error must not find it running.
        wait_for_end(init)?;
    }
    container.directory.remove_gate()?;
    match outcome {
        Outcome::Executed => {}
        Outcome::Failed(failure) => {
            let error = sentence(&container, &failure);
            // A hook that fails ends the container; a program that cannot be executed leaves a stopped one.
            if failure.phase != Phase::Execve {
                drop(lock);
                return Err(undone(&root, container, error));
            }
            return Err(error);
        }
        Outcome::Gone => return Err(gone_before_the_program(&cgroup, &watch)),
    }
    if let Err(error) = poststart(&container, &output) {
        drop(lock);
        return Err(undone(&root, container, error));
    }
    // A service may take long to become ready, and may be killed or deleted meanwhile.
    drop(lock);
    if let (Some(readiness), Some(init)) = (&mut readiness, &container.init) {
        readiness.wait(init)?;
    }
    readiness.into_iter().for_each(Readiness::settle);
    Ok(0)
}

/// Why there is no program, when the init process did not tell.
pub fn gone_before_the_program(cgroup: &Cgroup, watch: &OomWatch) -> Error {
    killed_for_memory(cgroup, watch)
        .unwrap_or_else(|| Error::state("the init process ended before it executed the program"))
}

/// Runs the poststart hooks. A failing one is the end of the container, which is left to the caller.
pub fn poststart(container: &Container, output: &HookOutput) -> Result<()> {
    let hooks = plan::hooks::later(&container.record.own.hooks)?.poststart;
    let state = container.record.hook_state().with_pid("running", container.record.init_process_pid);
    let bundle = c_path(&container.record.own.bundle)?;
    for hook in &hooks {
        run_hook(hook, &state, &bundle, output)?;
    }
    Ok(())
}

/// Destroys the container and returns the error that made it necessary. The caller has no lock.
pub fn undone(root: &Root, container: Container, error: Error) -> Error {
    match destroy_if_there(root, container) {
        Ok(()) => error,
        Err(also) => error.detail_also(&format!("and the clean-up is incomplete: {also}")),
    }
}

/// The sentence of a failure. The plan is made again, from the configuration that the container was created with.
fn sentence(container: &Container, failure: &Failure) -> Error {
    let again = || -> Result<Error> {
        let bytes = container.directory.load_config()?.unwrap_or_default();
        let config = config::load(&bytes)?;
        let host = Host::read(&crate::cgroup::Layout::read()?)?;
        let request = Request {
            id: container.record.id.clone(),
            bundle: container.record.own.bundle.clone(),
            console_socket: config.spec.process().as_ref().is_some_and(|p| p.terminal().unwrap_or(false)),
            ..Request::default()
        };
        Ok(failure::error(&plan::plan(&config, &request, &host)?, failure, container.init.as_ref()))
    };
    again().unwrap_or_else(|_| {
        Error::new(Kind::Kernel, failure.phase.text())
            .call(failure.call.text(), Errno::from_raw(failure.errno))
    })
}
