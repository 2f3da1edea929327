//! The steps inside, in order. The order is the security argument.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use crate::error::Errno;
use crate::hooks::{self, Setting};
use crate::parent::prepare::Prepared;
use crate::plan::Plan;
use crate::plan::hooks::Hook;
use crate::plan::namespaces::{User as UserNamespace, flag};
use crate::plan::security::Placement;
use crate::sync::{Call, During, Failure, FromChild, In, Phase, Stream, TEXT, wait_for_go, wait_for_go_with};
use crate::sys::clone::exit_now;
use crate::sys::{exec, fd, process, signal};

use super::filter::Confinement;
use super::gate::{self, Gate};
use super::mounts::LateReadOnly;
use super::root::Root;
use super::user::{User, become_user};
use super::{devices, home, identity, keyring, mounts, namespaces, paths, procfs, rootfs, terminal};

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
    let umask = setup(plan, prepared, parent).during(Phase::Setup)?;
    // 2. Namespaces; the cgroup namespace now that the process is in its final cgroup.
    let sources = namespaces::enter(plan, prepared)?;
    let procfs = procfs::Procfs::for_plan(plan).during(Phase::Procfs)?;
    namespaces::enter_time(plan, procfs.as_ref(), parent).during(Phase::TimeOffsets)?;
    let handles = gate.handles(plan, procfs.as_ref());
    // 3. Session, keyring, network device, names.
    session(plan, prepared, procfs.as_ref())?;
    // 4. Mounts and devices, all by descriptor.
    rootfs::cut_propagation(plan).during(Phase::Propagation)?;
    let null = paths::null_mount(plan, prepared).during(Phase::MaskedPaths)?;
    let root = rootfs::attach(plan, prepared).during(Phase::Rootfs)?;
    let mut late = LateReadOnly::default();
    let scene =
        mounts::Scene { plan, prepared, sources: &sources, root: &root, procfs: procfs.as_ref(), parent };
    for (index, mount) in plan.mounts.iter().enumerate() {
        mounts::mount(&scene, index, mount, &mut late).item(Phase::Mounts, index)?;
    }
    if prepared.begins_at_once {
        // What the parent had to do is done: the filter of devices is in force.
        wait_for_go(parent).call(Call::Receive).during(Phase::Setup)?;
    }
    devices::make(plan, &sources, &root)?;
    drop(sources);
    // 5. Hooks of the runtime's namespaces run now, in the parent. Those that make a network open ours.
    if plan.hooks.has_any_of_host() {
        namespaces::ask_visibly(FromChild::Mounted, parent, plan.may_show_itself()).during(Phase::Setup)?;
    }
    // 6. Hooks of the container's namespaces, which still see the host's tree.
    hooks_before_pivot(plan, prepared, umask, parent)?;
    // 7. The root.
    rootfs::pivot(plan, prepared, &root, procfs.as_ref()).during(Phase::Pivot)?;
    // 8. What is written or hidden below it.
    paths::write_sysctls(plan, procfs.as_ref())?;
    paths::make_read_only(plan, &root)?;
    paths::mask(plan, null, &root)?;
    // 9. Terminal, before /dev becomes read-only.
    let terminal = open_terminal(plan, prepared, &root).during(Phase::Terminal)?;
    terminal::attach(terminal).during(Phase::Stdio)?;
    let cwd = rootfs::make_cwd(plan, &root).during(Phase::Cwd)?;
    late.apply(plan, &root).during(Phase::ReadOnlyRoot)?;
    // 10. What must be set with privilege; then nothing of the host is open any more.
    let mapped = plan.namespaces.has_user() || plan.rootless;
    identity::schedule(&plan.process, &plan.security, mapped, parent).during(Phase::Scheduling)?;
    identity::label(&plan.security, plan.identity.no_new_privileges, procfs.as_ref())
        .during(Phase::Labels)?;
    let environment =
        home::environment(&plan.process, plan.identity.uid, &root, procfs.as_ref()).during(Phase::Home)?;
    let entered = rootfs::enter_cwd(&cwd).during(Phase::Cwd)?;
    drop((procfs, late, cwd, root));
    // Nothing of the host is open from here on: only streams, the container's own, channel and gate.
    let (parent, gate) = gate::keep_descriptors(prepared, gate, handles, channel).during(Phase::Gate)?;
    // 11. and 12. Limits, identity, and the program, so that a missing one is an error of create and not of start.
    let user = User {
        process: &plan.process,
        limits: &plan.limits,
        identity: &plan.identity,
        in_user_namespace: mapped,
        keep_for_filter: prepared.filter_needs_privilege(),
        watched: plan.namespaces.user == UserNamespace::Joined || !plan.namespaces.is_new(flag::PID),
    };
    let program = become_user(&user, parent, entered)?;
    // 13. The filter with a listener, which must be handed over while the parent lives.
    if prepared.placement() == Some(Placement::BeforeCreated) {
        confinement(plan, prepared).enter_with_listener(parent)?;
    }
    // 14. Created. Only this process and the gate remain. A tracer takes hold of it before the gate opens.
    let traced = prepared.traced && plan.may_show_itself();
    if traced {
        process::set_dumpable(true).call(Call::Prctl).during(Phase::Gate)?;
    }
    FromChild::Ready.send(parent, None).call(Call::Send).during(Phase::Gate)?;
    wait_for_go(parent).call(Call::Receive).during(Phase::Gate)?;
    if !prepared.is_recorded() {
        // Without the process that records, every call of a recorded container would fail.
        process::set_parent_death_signal(0).call(Call::Prctl).during(Phase::Gate)?;
    }
    let channel = gate::pass(prepared, parent, gate, channel).during(Phase::Gate)?;
    if traced {
        // Hooks that come from the image run before the filter is loaded, and could trace this process, too.
        process::set_dumpable(false).call(Call::Prctl).during(Phase::Gate)?;
    }
    // 15. Hooks in full confinement, the filter, the program.
    hooks_before_exec(plan, prepared, channel)?;
    identity::limit_descriptors(&plan.limits).during(Phase::Identity)?;
    FromChild::Executing.send(channel, None).call(Call::Send).during(Phase::Execve).or_else(peer_is_gone)?;
    if prepared.placement() != Some(Placement::BeforeCreated) {
        confinement(plan, prepared).enter(channel)?;
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
fn setup(plan: &Plan, prepared: &Prepared, parent: BorrowedFd) -> Result<u32, Failure> {
    process::set_parent_death_signal(libc::SIGKILL).call(Call::Prctl)?;
    signal::reset_all();
    // The parent writes id maps and says go. Had it died before the signal above was armed, the socket would be
    // closed then. A cgroup of systemd exists only since the process does.
    if !prepared.begins_at_once {
        wait_for_go_with(parent, |index, own| prepared.cgroup_view.complete(index, own))
            .call(Call::Receive)?;
    }
    if plan.rootless {
        // Until now an unprivileged parent needed to write files of this process.
        process::set_dumpable(false).call(Call::Prctl)?;
    }
    Ok(process::umask(0))
}

fn session(plan: &Plan, prepared: &Prepared, procfs: Option<&procfs::Procfs>) -> Result<(), Failure> {
    process::setsid().call(Call::Setsid).during(Phase::Setup)?;
    if let Some(name) = &prepared.keyring {
        identity::label_keys(&plan.security, procfs).during(Phase::Labels)?;
        keyring::make(name, plan.namespaces.has_user()).during(Phase::Keyring)?;
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

/// The terminal of the container, which is its console too.
fn open_terminal(plan: &Plan, prepared: &Prepared, root: &Root) -> Result<Option<OwnedFd>, Failure> {
    let socket = prepared.console.as_ref().map(AsFd::as_fd);
    terminal::open(plan.process.terminal, plan.identity.uid, plan.devices.populate, socket, root)
}

fn confinement<'a>(plan: &'a Plan, prepared: &'a Prepared) -> Confinement<'a> {
    Confinement {
        identity: &plan.identity,
        filter: prepared.filter.as_ref(),
        privilege_was_kept: prepared.filter_needs_privilege(),
    }
}

fn hooks_before_pivot(
    plan: &Plan,
    prepared: &Prepared,
    umask: u32,
    parent: BorrowedFd,
) -> Result<(), Failure> {
    let printed = teller(plan, parent);
    let setting = Setting { umask: Some(umask), ..Setting::in_directory(&prepared.bundle, &printed) };
    for (index, hook) in plan.hooks.create_container.iter().enumerate() {
        run_hook(hook, &prepared.state_of_hook("creating"), &setting)
            .item(Phase::CreateContainerHooks, index)?;
    }
    Ok(())
}

/// These programs come from the image, so each runs with everything that confines the container's process.
fn hooks_before_exec(plan: &Plan, prepared: &Prepared, channel: BorrowedFd) -> Result<(), Failure> {
    let confine = || {
        if prepared.placement() == Some(Placement::BeforeCreated) {
            return Ok(()); // inherited
        }
        identity::limit_descriptors(&plan.limits)
            .and_then(|()| confinement(plan, prepared).enter(channel))
            .map_err(|failure| Errno::from_raw(failure.errno))
    };
    let printed = teller(plan, channel);
    let setting = Setting { directory: None, umask: None, confine: &confine, printed: &printed };
    for (index, hook) in plan.hooks.start_container.iter().enumerate() {
        run_hook(hook, &prepared.state_of_hook("created"), &setting)
            .item(Phase::StartContainerHooks, index)?;
    }
    Ok(())
}

/// Tells what hooks print to whoever has the files it goes to, where somebody wants it. One who is gone needs nothing.
fn teller(plan: &Plan, channel: BorrowedFd) -> impl Fn(Stream, &[u8]) {
    let [(_, stdout), (_, stderr)] = plan.hooks.output.files();
    let (stdout, stderr) = (stdout.is_some(), stderr.is_some());
    move |stream, text| {
        let wanted = match stream {
            Stream::Out => stdout,
            Stream::Err => stderr,
        };
        for part in text.chunks(TEXT).filter(|_| wanted) {
            let _ = FromChild::Printed(stream, part.to_vec()).send(channel, None);
        }
    }
}

fn run_hook(hook: &Hook, state: &(Vec<u8>, Vec<u8>), setting: &Setting) -> Result<(), Failure> {
    // The pid as it is seen in here goes between the two halves.
    let mut text = state.0.clone();
    text.extend_from_slice(process::pid().to_string().as_bytes());
    text.extend_from_slice(&state.1);
    hooks::run(hook, &text, setting).map_err(|failed| Failure::found(&failed.text))
}
