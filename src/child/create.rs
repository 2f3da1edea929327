//! The steps inside, in order. The order is the security argument.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use crate::error::Errno;
use crate::hooks::{self, Setting};
use crate::parent::prepare::Prepared;
use crate::plan::Plan;
use crate::plan::hooks::Hook;
use crate::plan::namespaces::flag;
use crate::plan::security::Placement;
use crate::sync::{Call, During, Failure, FromChild, In, Phase, wait_for_go};
use crate::sys::clone::exit_now;
use crate::sys::{exec, fd, process, seccomp, signal};

use super::mounts::LateReadOnly;
use super::{devices, home, identity, mounts, namespaces, paths, procfs, program, rootfs, terminal};

/// Where the process waits until the program may run.
pub enum Gate {
    /// A listening socket in the state directory: `teu start` connects and hears how the execution went.
    Socket(OwnedFd),
    /// The parent, which stays: `teu run`.
    Parent,
}

/// Everything that the init process was born with.
pub struct Task<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// What the parent has opened.
    pub prepared: &'a Prepared,
    /// The socket to the parent.
    pub sync: OwnedFd,
    /// Where to wait for `start`.
    pub gate: Gate,
}

/// Sets the container up and becomes its program. Reports a failure to whoever listens, and never returns.
pub fn create(task: Task) -> ! {
    let Task { plan, prepared, sync, gate } = task;
    // The descriptor must outlive the routine, whose failure is sent over it.
    let mut channel = sync.into_raw_fd();
    let Err(failure) = become_container(plan, prepared, gate, &mut channel);
    if let Some(channel) = fd::borrow(channel) {
        let _ = FromChild::Failure(failure).write(channel);
    }
    exit_now(255)
}

/// The routine itself. `channel` is the descriptor over which a failure must be told: the socket to the parent,
/// later the caller of `start`.
fn become_container(
    plan: &Plan,
    prepared: &Prepared,
    gate: Gate,
    channel: &mut RawFd,
) -> Result<Infallible, Failure> {
    let parent = fd::borrow(*channel).ok_or_else(|| Failure::of(Call::Receive, Errno::EBADF))?;
    // 1. Nothing of the runtime's may leak in; a parent that dies takes this process along.
    let umask = setup(plan, parent).during(Phase::Setup)?;
    // 2. Namespaces; the cgroup namespace now that the process is in its final cgroup.
    namespaces::enter(plan, prepared)?;
    let procfs = procfs::Procfs::for_plan(plan).during(Phase::Procfs)?;
    namespaces::enter_time(plan, procfs.as_ref(), parent).during(Phase::TimeOffsets)?;
    // 3. Session, keyring, network device, names.
    session(plan)?;
    // 4. Mounts and devices, all by descriptor.
    rootfs::cut_propagation(plan).during(Phase::Propagation)?;
    let null = paths::null_mount(plan, prepared).during(Phase::MaskedPaths)?;
    let root = rootfs::attach(plan, prepared).during(Phase::Rootfs)?;
    let mut late = LateReadOnly::default();
    for (index, mount) in plan.mounts.iter().enumerate() {
        mounts::mount(plan, prepared, &root, procfs.as_ref(), index, mount, &mut late)
            .item(Phase::Mounts, index)?;
    }
    devices::make(plan, prepared, &root)?;
    // 5. Hooks of the runtime's namespaces run now, in the parent.
    FromChild::Mounted.send(parent, None).call(Call::Send).during(Phase::Setup)?;
    wait_for_go(parent).call(Call::Receive).during(Phase::Setup)?;
    // 6. Hooks of the container's namespaces, which still see the host's tree.
    hooks_before_pivot(plan, prepared, umask)?;
    // 7. The root.
    rootfs::pivot(plan, &root).during(Phase::Pivot)?;
    // 8. What is written or hidden below it.
    paths::write_sysctls(plan, procfs.as_ref())?;
    paths::make_read_only(plan, &root)?;
    paths::mask(plan, null, &root)?;
    // 9. Terminal, before /dev becomes read-only.
    let terminal = terminal::open(plan, prepared, &root).during(Phase::Terminal)?;
    terminal::attach(terminal).during(Phase::Stdio)?;
    let cwd = rootfs::make_cwd(plan, &root).during(Phase::Cwd)?;
    late.apply(plan, &root).during(Phase::ReadOnlyRoot)?;
    // 10. What must be set with privilege; then nothing of the host is open any more.
    identity::schedule(plan).during(Phase::Scheduling)?;
    identity::label(plan, procfs.as_ref()).during(Phase::Labels)?;
    let environment = home::environment(plan, &root, procfs.as_ref()).during(Phase::Home)?;
    let entered = rootfs::enter_cwd(&cwd).during(Phase::Cwd)?;
    drop((procfs, late, cwd, root));
    // Nothing of the host is open from here on: only streams, the container's own, channel and gate.
    let (parent, gate) = keep_descriptors(prepared, gate, channel).during(Phase::Gate)?;
    // 11. Resource limits, which only the parent may raise and only while the ids are still its own; identity.
    if !plan.limits.rlimits.is_empty() {
        FromChild::Limits.send(parent, None).call(Call::Send).during(Phase::Identity)?;
        wait_for_go(parent).call(Call::Receive).during(Phase::Identity)?;
    }
    identity::assume(plan, prepared.filter_needs_privilege()).during(Phase::Identity)?;
    if !entered {
        rootfs::enter_cwd_again(plan).during(Phase::Cwd)?;
    }
    rootfs::verify_cwd().during(Phase::Cwd)?;
    process::umask(plan.identity.umask);
    // 12. The program, so that a missing one is an error of create and not of start.
    let program = program::find(&plan.process).during(Phase::Program)?;
    // 13. The filter with a listener, which must be handed over while the parent lives.
    if prepared.placement() == Some(Placement::BeforeCreated) {
        identity::forbid_new_privileges(plan).during(Phase::Identity)?;
        let listener = load_filter(prepared).during(Phase::Seccomp)?;
        if let Some(listener) = listener {
            FromChild::Listener(listener.as_raw_fd())
                .send(parent, None)
                .call(Call::Send)
                .during(Phase::Seccomp)?;
            wait_for_go(parent).call(Call::Receive).during(Phase::Seccomp)?;
        }
        identity::drop_last_privilege(plan).during(Phase::Identity)?;
    }
    // 14. Created. Only this process and the gate remain.
    FromChild::Ready.send(parent, None).call(Call::Send).during(Phase::Gate)?;
    wait_for_go(parent).call(Call::Receive).during(Phase::Gate)?;
    process::set_parent_death_signal(0).call(Call::Prctl).during(Phase::Gate)?;
    let channel = pass_gate(prepared, parent, gate, channel)?;
    // 15. Hooks in full confinement, the filter, the program.
    hooks_before_exec(plan, prepared)?;
    identity::limit_descriptors(plan).during(Phase::Identity)?;
    FromChild::Executing.send(channel, None).call(Call::Send).during(Phase::Execve).or_else(peer_is_gone)?;
    if prepared.placement() != Some(Placement::BeforeCreated) {
        identity::forbid_new_privileges(plan).during(Phase::Identity)?;
        load_filter(prepared).during(Phase::Seccomp)?;
        identity::drop_last_privilege(plan).during(Phase::Identity)?;
    }
    let errno = exec::execve(&program, &plan.process.arguments, &environment);
    Err(Failure::of(Call::Execve, errno).with(program.to_bytes())).during(Phase::Execve)
}

/// Who asked for the start may have been killed meanwhile; the container starts all the same.
fn peer_is_gone(failure: Failure) -> Result<(), Failure> {
    let gone = [Errno::EPIPE as i32, Errno::ECONNRESET as i32];
    if gone.contains(&failure.errno) { Ok(()) } else { Err(failure) }
}

/// Returns the file mode creation mask of the caller.
fn setup(plan: &Plan, parent: BorrowedFd) -> Result<u32, Failure> {
    process::set_parent_death_signal(libc::SIGKILL).call(Call::Prctl)?;
    signal::reset_all();
    // The parent writes id maps and says go. Had it died before the signal above was armed, the socket would be
    // closed now.
    wait_for_go(parent).call(Call::Receive)?;
    if plan.rootless {
        // Until now an unprivileged parent needed to write files of this process.
        process::set_dumpable(false).call(Call::Prctl)?;
    }
    Ok(process::umask(0))
}

fn session(plan: &Plan) -> Result<(), Failure> {
    process::setsid().call(Call::Setsid).during(Phase::Setup)?;
    if let Some(name) = &plan.keyring {
        join_keyring(name, plan.namespaces.has_user()).during(Phase::Keyring)?;
    }
    if plan.namespaces.is_new(flag::NETWORK) {
        process::loopback_up().call(Call::Ioctl).during(Phase::Loopback)?;
    }
    if let Some(name) = &plan.uts.hostname {
        process::set_host_name(name).call(Call::Sethostname).during(Phase::HostName)?;
    }
    if let Some(name) = &plan.uts.domainname {
        process::set_domain_name(name).call(Call::Setdomainname).during(Phase::DomainName)?;
    }
    Ok(())
}

/// A kernel without keyrings has none to leak; every other failure is one.
fn join_keyring(name: &std::ffi::CStr, in_user_namespace: bool) -> Result<(), Failure> {
    const OTHER_SEARCH: u32 = 0x8;
    const USER_SEARCH: u32 = 0x8_0000;
    let serial = match process::join_session_keyring(name) {
        Err(Errno::ENOSYS) => return Ok(()),
        other => other.call(Call::Keyctl)?,
    };
    let extra = if in_user_namespace { OTHER_SEARCH } else { USER_SEARCH };
    process::widen_key_permissions(serial, extra).call(Call::Keyctl)
}

fn hooks_before_pivot(plan: &Plan, prepared: &Prepared, umask: u32) -> Result<(), Failure> {
    let setting = Setting { umask: Some(umask), ..Setting::in_directory(&prepared.bundle) };
    for (index, hook) in plan.hooks.create_container.iter().enumerate() {
        run_hook(hook, &prepared.state_of_hook("creating"), &setting)
            .item(Phase::CreateContainerHooks, index)?;
    }
    Ok(())
}

/// These programs come from the image, so each runs with everything that confines the container's process.
fn hooks_before_exec(plan: &Plan, prepared: &Prepared) -> Result<(), Failure> {
    let confine = || {
        if prepared.placement() == Some(Placement::BeforeCreated) {
            return Ok(()); // inherited
        }
        let confined = identity::limit_descriptors(plan)
            .and_then(|()| identity::forbid_new_privileges(plan))
            .and_then(|()| load_filter(prepared))
            .and_then(|_| identity::drop_last_privilege(plan));
        confined.map_err(|failure| Errno::from_raw(failure.errno))
    };
    let setting = Setting { directory: None, umask: None, confine: &confine };
    for (index, hook) in plan.hooks.start_container.iter().enumerate() {
        run_hook(hook, &prepared.state_of_hook("created"), &setting)
            .item(Phase::StartContainerHooks, index)?;
    }
    Ok(())
}

fn run_hook(hook: &Hook, state: &(Vec<u8>, Vec<u8>), setting: &Setting) -> Result<(), Failure> {
    // The pid as it is seen in here goes between the two halves.
    let mut text = state.0.clone();
    text.extend_from_slice(process::pid().to_string().as_bytes());
    text.extend_from_slice(&state.1);
    hooks::run(hook, &text, setting).map_err(|failed| Failure::found(&failed.0))
}

fn load_filter(prepared: &Prepared) -> Result<Option<OwnedFd>, Failure> {
    match &prepared.filter {
        Some(filter) => seccomp::load(&filter.instructions, filter.flags).call(Call::Seccomp),
        None => Ok(None),
    }
}

/// Puts the channel right above what the container gets and the gate above it, makes the container's own
/// descriptors inheritable, and closes everything else.
fn keep_descriptors(
    prepared: &Prepared,
    gate: Gate,
    channel: &mut RawFd,
) -> Result<(BorrowedFd<'static>, Gate), Failure> {
    let number = 3 + prepared.passed.count as RawFd;
    // Both are first moved out of the way of their final places.
    let high = |fd: RawFd| fd::duplicate_at_least(fd, number + 2).call(Call::Dup);
    let parent = high(*channel)?;
    let gate = match gate {
        Gate::Socket(listener) => Some(high(listener.into_raw_fd())?),
        Gate::Parent => None,
    };
    fd::dup_onto_cloexec(parent.as_fd(), number).call(Call::Dup)?;
    *channel = number;
    if let Some(gate) = &gate {
        fd::dup_onto_cloexec(gate.as_fd(), number + 1).call(Call::Dup)?;
    }
    let first = number + 1 + RawFd::from(gate.is_some());
    // From here on these numbers mean nothing; nobody may close them again.
    let _ = (parent.into_raw_fd(), gate.as_ref().map(AsRawFd::as_raw_fd));
    let gate = match gate {
        Some(moved) => {
            let _ = moved.into_raw_fd();
            Gate::Socket(fd::adopt(number + 1).ok_or_else(|| Failure::of(Call::Dup, Errno::EBADF))?)
        }
        None => Gate::Parent,
    };
    fd::close_range(first as u32, u32::MAX).call(Call::CloseRange)?;
    for passed in 3..number {
        if prepared.passed.open.contains(&passed) {
            fd::keep_on_exec(passed).call(Call::Dup)?;
        } else {
            fd::close_range(passed as u32, passed as u32).call(Call::CloseRange)?;
        }
    }
    let parent = fd::borrow(number).ok_or_else(|| Failure::of(Call::Dup, Errno::EBADF))?;
    Ok((parent, gate))
}

/// Waits for `start`. Returns the descriptor over which the rest is told, under the number of the channel.
fn pass_gate(
    prepared: &Prepared,
    parent: BorrowedFd<'static>,
    gate: Gate,
    channel: &mut RawFd,
) -> Result<BorrowedFd<'static>, Failure> {
    let Gate::Socket(listener) = gate else {
        wait_for_go(parent).call(Call::Receive).during(Phase::Gate)?;
        return Ok(parent);
    };
    // The parent of `create` is not waited for any more.
    let number = 3 + prepared.passed.count as RawFd;
    fd::close_range(number as u32, number as u32).call(Call::CloseRange).during(Phase::Gate)?;
    *channel = -1;
    loop {
        let caller = fd::accept(listener.as_fd()).call(Call::Accept).during(Phase::Gate)?;
        // Whoever connected and went away without a word did not start anything.
        if wait_for_go(caller.as_fd()).is_ok() {
            if caller.as_raw_fd() != number {
                fd::dup_onto_cloexec(caller.as_fd(), number).call(Call::Dup).during(Phase::Gate)?;
            } else {
                let _ = caller.into_raw_fd();
            }
            *channel = number;
            return fd::borrow(number).ok_or_else(|| Failure::of(Call::Dup, Errno::EBADF));
        }
    }
}
