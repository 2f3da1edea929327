//! The two processes of `exec`, in order: one that joins, and the one that becomes the program.
//!
//! The first stays outside of the container's pid namespace, so that nobody in there can look at it while it still
//! has handles of the host: the labels, the home directory and the terminal are its work. It makes the second as a
//! sibling, a child of `teu exec` itself, which from its birth has nothing of the host but the standard streams,
//! what the caller passes on, and the socket to the parent. CVE-2016-9962, CVE-2024-21626.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use crate::abi::StringList;
use crate::error::Errno;
use crate::parent::prepare::{Filter, Passed};
use crate::plan::exec::ExecPlan;
use crate::plan::namespaces::flag;
use crate::plan::process::Home;
use crate::plan::security::Placement;
use crate::sync::{Call, During, Failure, FromChild, In, Phase, wait_for_go};
use crate::sys::clone::{Parentage, Side, clone_child, exit_now};
use crate::sys::{exec, fd, path, process, signal};

use super::filter::Confinement;
use super::procfs::Procfs;
use super::root::Root;
use super::user::{User, become_user};
use super::{descriptors, home, identity, keyring, namespaces, rootfs, terminal};

/// Everything that the first process was born with.
pub struct ExecTask<'a> {
    /// What to do.
    pub plan: &'a ExecPlan,
    /// The namespaces to join: those of the container that are not the caller's own.
    pub namespaces: u64,
    /// The container's init process, by pidfd.
    pub init: BorrowedFd<'a>,
    /// The namespaces themselves, when that process is hidden.
    pub handles: &'a [(u64, OwnedFd)],
    /// The root directory of that process, when joining its namespaces does not lead there.
    pub root: Option<BorrowedFd<'a>>,
    /// Socket that gets the terminal.
    pub console: Option<BorrowedFd<'a>>,
    /// Descriptors of the caller.
    pub passed: &'a Passed,
    /// Compiled filter.
    pub filter: Option<&'a Filter>,
    /// The parent's end of the socket, of which this process must not keep a copy.
    pub foreign: RawFd,
    /// The socket to the parent.
    pub sync: OwnedFd,
}

/// What the first process prepares for the second.
struct Inherited {
    environment: StringList,
    terminal: Option<OwnedFd>,
}

/// Joins the container and becomes the program. Reports a failure to the parent, and never returns.
pub fn exec(task: ExecTask) -> ! {
    let ExecTask { plan, namespaces, init, handles, root, console, passed, filter, foreign, sync } = task;
    // With its own copy of that end it would never see that the parent is gone. The number is not used again.
    let _ = fd::close_range(foreign as u32, foreign as u32);
    let mut channel = sync.into_raw_fd();
    let number = |fd: Option<BorrowedFd>| fd.map(|fd| fd.as_raw_fd());
    let handles = Handles {
        namespaces,
        init: init.as_raw_fd(),
        root: number(root),
        console: number(console),
        each: handles.iter().map(|(kind, handle)| (*kind, handle.as_raw_fd())).collect(),
    };
    let done = join(plan, passed, &handles, &mut channel)
        .and_then(|inherited| become_program(plan, filter, inherited, channel));
    let Err(failure) = done;
    if let Some(channel) = fd::borrow(channel) {
        let _ = FromChild::Failure(failure).write(channel);
    }
    exit_now(255)
}

/// Numbers, because arranging the descriptors gives them new ones.
struct Handles {
    namespaces: u64,
    init: RawFd,
    root: Option<RawFd>,
    console: Option<RawFd>,
    each: Vec<(u64, RawFd)>,
}

/// The first process. Returns in the second one only.
fn join(
    plan: &ExecPlan,
    passed: &Passed,
    handles: &Handles,
    channel: &mut RawFd,
) -> Result<Inherited, Failure> {
    let missing = || Failure::of(Call::Dup, Errno::EBADF);
    // 1. The parent has brought this process into the cgroup; a parent that dies takes it along.
    process::set_parent_death_signal(libc::SIGKILL).call(Call::Prctl)?;
    wait_for_go(fd::borrow(*channel).ok_or_else(missing)?).call(Call::Receive)?;
    // Order: before anything of the container can see this process. A privileged parent is so itself already; an
    // unprivileged one had to write files of this process until now.
    process::set_dumpable(false).call(Call::Prctl)?;
    // 2. No handle of the host goes along but those that are needed.
    let each = handles.each.iter().map(|(_, number)| *number);
    let kept: Vec<RawFd> =
        [*channel, handles.init].into_iter().chain(handles.root).chain(handles.console).chain(each).collect();
    *channel = descriptors::keep(passed, &kept)?;
    let parent = fd::borrow(*channel).ok_or_else(missing)?;
    let mut others = *channel + 1..;
    let mut next = || others.next().and_then(fd::adopt).ok_or_else(missing);
    let init = next()?;
    let root = handles.root.map(|_| next()).transpose()?;
    let console = handles.console.map(|_| next()).transpose()?;
    let each = handles.each.iter().map(|(kind, _)| Ok((*kind, next()?)));
    let each = each.collect::<Result<Vec<(u64, OwnedFd)>, Failure>>()?;
    // 3. Labels take effect at execve(2) and are inherited; written while /proc is still the host's.
    let procfs = host_procfs(plan).during(Phase::Procfs)?;
    identity::label(&plan.security, plan.identity.no_new_privileges, procfs.as_ref())
        .during(Phase::Labels)?;
    // 4. Namespaces.
    if handles.namespaces & flag::USER != 0 {
        namespaces::leave_groups(&plan.identity.groups).during(Phase::Namespaces)?;
    }
    let joined = match each.is_empty() {
        true => namespaces::join_process(init.as_fd(), handles.namespaces),
        false => namespaces::join_each(each.iter().map(|(kind, handle)| (*kind, handle.as_fd()))),
    };
    joined.call(Call::Setns).during(Phase::Namespaces)?;
    drop((init, each));
    if let Some(root) = root {
        path::fchdir(root.as_fd()).call(Call::Chdir).during(Phase::Rootfs)?;
        path::chroot_here().call(Call::Chroot).during(Phase::Rootfs)?;
    }
    let root = own_root().during(Phase::Rootfs)?;
    if handles.namespaces & flag::USER != 0 {
        namespaces::become_root(&plan.identity.groups, true).during(Phase::Namespaces)?;
    }
    // 5. What is read or opened in the container before anybody there can look at a process of ours.
    let environment =
        home::environment(&plan.process, plan.identity.uid, &root, procfs.as_ref()).during(Phase::Home)?;
    let socket = console.as_ref().map(AsFd::as_fd);
    let terminal = terminal::open(plan.process.terminal, plan.identity.uid, false, socket, &root)
        .during(Phase::Terminal)?;
    // 6. Nothing of the host is left, and the second process is born in the pid namespace.
    drop((procfs, console, root));
    let born = clone_child(0, None, Parentage::MyParents).call(Call::Clone).during(Phase::Namespaces)?;
    match born {
        Side::Child => Ok(Inherited { environment, terminal }),
        Side::Parent(child) => {
            let told = FromChild::Cloned.send(parent, Some(child.pidfd.as_fd()));
            exit_now(if told.is_ok() { 0 } else { 255 })
        }
    }
}

/// The procfs of the caller, where something must be written or opened through it.
fn host_procfs(plan: &ExecPlan) -> Result<Option<Procfs>, Failure> {
    let labels = plan.security.apparmor.is_some() || plan.security.selinux.is_some();
    if labels || plan.process.home == Home::Lookup { Procfs::of_host().map(Some) } else { Ok(None) }
}

/// The root directory, which joining the mount namespace has set.
fn own_root() -> Result<Root, Failure> {
    path::chdir_root().call(Call::Chdir)?;
    rootfs::verify_cwd()?;
    Root::new(path::openat2(path::cwd_fd(), c"/", libc::O_PATH | libc::O_DIRECTORY, 0, 0).call(Call::Openat)?)
}

/// The second process.
fn become_program(
    plan: &ExecPlan,
    filter: Option<&Filter>,
    inherited: Inherited,
    channel: RawFd,
) -> Result<Infallible, Failure> {
    let parent = fd::borrow(channel).ok_or_else(|| Failure::of(Call::Receive, Errno::EBADF))?;
    let Inherited { mut environment, terminal } = inherited;
    // 1. As in the first process; the socket tells when the parent died before this.
    process::set_parent_death_signal(libc::SIGKILL).call(Call::Prctl)?;
    signal::reset_all();
    wait_for_go(parent).call(Call::Receive)?;
    // 2. Session, keyring, terminal.
    process::setsid().call(Call::Setsid)?;
    if let Some(name) = &plan.keyring {
        keyring::join(name).during(Phase::Keyring)?;
    }
    terminal::attach(terminal).during(Phase::Stdio)?;
    // 3. The working directory, which must exist.
    let root = own_root().during(Phase::Rootfs)?;
    let cwd = root.open(&plan.process.cwd, libc::O_DIRECTORY).call(Call::Openat).during(Phase::Cwd)?;
    let entered = rootfs::enter_cwd(&cwd).during(Phase::Cwd)?;
    drop((cwd, root));
    fd::close_range(channel as u32 + 1, u32::MAX).call(Call::CloseRange)?;
    // 4. What must be set with privilege.
    identity::schedule(&plan.process, &plan.security, plan.in_user_namespace, parent)
        .during(Phase::Scheduling)?;
    // 5. Limits, identity, the program.
    let keep_for_filter = filter.is_some() && !plan.identity.no_new_privileges;
    let user = User {
        process: &plan.process,
        limits: &plan.limits,
        identity: &plan.identity,
        in_user_namespace: plan.in_user_namespace,
        keep_for_filter,
        watched: true,
    };
    let program = become_user(&user, parent, entered)?;
    if plan.listen_fds > 0 {
        name_listener(&mut environment);
    }
    identity::limit_descriptors(&plan.limits).during(Phase::Identity)?;
    process::set_parent_death_signal(0).call(Call::Prctl)?;
    // 6. The filter, the program. Without a parent nobody wants it any more.
    let confinement = Confinement { identity: &plan.identity, filter, privilege_was_kept: keep_for_filter };
    let listener = plan.security.seccomp.as_ref().is_some_and(|s| s.placement == Placement::BeforeCreated);
    if listener {
        confinement.enter_with_listener(parent)?;
    }
    FromChild::Executing.send(parent, None).call(Call::Send).during(Phase::Execve)?;
    if !listener {
        confinement.enter(parent)?;
    }
    let errno = exec::execve(&program, &plan.process.arguments, &environment);
    Err(Failure::of(Call::Execve, errno).with(program.to_bytes())).during(Phase::Execve)
}

/// Socket activation is for the process that `LISTEN_PID` names, as it is numbered in the container.
fn name_listener(environment: &mut StringList) {
    if let Ok(entry) = CString::new(format!("LISTEN_PID={}", process::pid())) {
        environment.push(entry);
    }
}
