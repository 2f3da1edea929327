//! The steps on the host side, in order. A step that leaves something behind pushes its undo.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use super::prepare::Prepared;
use super::undo::Undo;
use super::{failure, id_maps, net_devices, prepare, seccomp_agent, user_namespaces};
use crate::cgroup::{Cgroup, Layout, OomWatch, systemd};
use crate::child::{self, Gate, Task};
use crate::error::{Errno, Error, Kind, Result};
use crate::hooks::{self, Setting};
use crate::plan::Plan;
use crate::plan::hooks::Hook;
use crate::plan::intel_rdt::IntelRdt;
use crate::plan::limits::Limits;
use crate::plan::mounts::{IdMapping, Kind as MountKind};
use crate::plan::namespaces::flag;
use crate::resctrl::{Changes, Group, Held, Resctrl};
use crate::state::{Directory, HookLists, Id, Record, Root};
use crate::sync::{Failure, FromChild, receive, send_go, send_handle};
use crate::sys::clone::{Child, Ended, Parentage, Side, clone_child, setns};
use crate::sys::mount::mount_setattr_idmap;
use crate::sys::process::{self, Limit};
use crate::sys::{fd, path};

/// What the commands decide about a creation.
pub struct Options<'a> {
    /// The state directory.
    pub root: &'a Root,
    /// The container's id.
    pub id: &'a Id,
    /// The configuration as read, for the copy.
    pub config: &'a [u8],
    /// Hooks of later commands, as the configuration has them.
    pub hooks: HookLists,
    /// The hierarchies of the host.
    pub layout: &'a Layout,
    /// The caller is not the root of the host.
    pub rootless: bool,
    /// `--pid-file`, absolute.
    pub pid_file: Option<PathBuf>,
    /// `--pidfd-socket`, absolute.
    pub pidfd_socket: Option<PathBuf>,
    /// The container waits for `teu start`; otherwise the program follows at once.
    pub gated: bool,
}

/// A container that waits for its start.
pub struct Created {
    /// The init process.
    pub init: Child,
    /// The socket to it; closed when the container is gated.
    pub sync: OwnedFd,
    /// Its directory.
    pub directory: Directory,
    /// Its record.
    pub record: Record,
    /// Its cgroups.
    pub cgroup: Cgroup,
    /// The figures of its memory before it had a process.
    pub watch: OomWatch,
}

/// Creates the container. Whatever fails, nothing is left.
pub fn create(plan: &Plan, mut prepared: Prepared, options: Options) -> Result<Created> {
    // 1. The id is taken, and the record names what will exist.
    let directory = options.root.reserve(options.id)?;
    let record = RefCell::new(None);
    let cloned = Cell::new(false);
    let (state, bundle) = (prepared.hook_state().clone(), prepared.bundle.clone());
    let lock = directory.lock()?;
    let mut undo = Undo::default();
    // Last of all, when nothing is left: poststop hooks undo what the other hooks did.
    undo.push(|| {
        if cloned.get() {
            run_poststop(&plan.hooks.poststop, &state.with_pid("stopped", 0), &bundle);
        }
        Ok(())
    });
    undo.push(|| options.root.remove(options.id));
    let done = steps(plan, &mut prepared, &options, &directory, &record, &cloned, &mut undo);
    drop(lock);
    match done {
        Ok((init, sync, cgroup, watch)) => {
            // 10. The container exists.
            undo.forget();
            let record = record.into_inner().ok_or_else(|| Error::new(Kind::Bug, "the record is missing"))?;
            Ok(Created { init, sync, directory, record, cgroup, watch })
        }
        Err(error) if plan.rootless => Err(undo.undo(user_namespaces::explain_denial(error))),
        Err(error) => Err(undo.undo(error)),
    }
}

fn steps<'a>(
    plan: &'a Plan,
    prepared: &mut Prepared,
    options: &'a Options,
    directory: &Directory,
    kept: &'a RefCell<Option<Record>>,
    cloned: &'a Cell<bool>,
    undo: &mut Undo<'a>,
) -> Result<(Child, OwnedFd, Cgroup, OomWatch)> {
    let manager = systemd::connect(&plan.cgroup)?.map(|manager| Rc::new(RefCell::new(manager)));
    let planned =
        Cgroup::planned(&plan.cgroup, options.layout, manager.as_ref().map(|m| m.borrow()).as_deref());
    let mut paths = planned.paths();
    // What exists already is not ours to remove.
    paths.retain(|_, path| !path.exists());
    let mut record = Record::of_plan(plan, options.hooks.clone(), paths, options.rootless)?;
    record.own.recording = prepared.is_recorded();
    if let Some(mount) = &prepared.root_mount {
        let path = OsStr::from_bytes(prepared.rootfs_path.to_bytes());
        record.own.root_mount = Some(mount.at(path.into()));
        let kept = mount.duplicate()?;
        undo.push(move || kept.undo());
    }
    directory.save(&record)?;
    directory.save_config(options.config)?;
    if let Some(index) = plan.notify {
        directory.make_notify()?;
        prepared.sources[index] = prepare::source(&plan.mounts[index])?;
    }
    let gate = if options.gated { Some(directory.open_gate()?) } else { None };
    // 2. The cgroup and its limits, before anything runs in it. A unit of systemd has to wait for the process.
    let made = Rc::new(RefCell::new(BTreeMap::new()));
    let (of_undo, unit) = (made.clone(), plan.cgroup.unit().zip(manager.clone()));
    undo.push(move || {
        let stopped = unit.map_or(Ok(()), |(unit, manager)| systemd::undo(&mut manager.borrow_mut(), unit));
        Cgroup::open(&of_undo.borrow()).remove().and(stopped)
    });
    let setting = CgroupSetting { plan, directory, made: &made };
    if manager.is_none() {
        let cgroup = Cgroup::create(&plan.cgroup, options.layout)?;
        setting.limit(&cgroup, &mut record)?;
        let shown = prepare::shown_cgroups(plan, &cgroup, options.layout);
        prepared.cgroup_view = prepare::cgroup_view(plan, shown.clone(), options.layout)?;
        for (index, own) in prepare::own_cgroups(plan, &prepared.cgroup_view, shown)? {
            prepared.cgroup_view.complete(index, own);
        }
        prepared.cgroup = Some(cgroup);
    } else {
        prepared.cgroup_view = prepare::cgroup_view(plan, planned.mount_view(), options.layout)?;
    }
    let group = match &plan.intel_rdt {
        Some(asked) => Some(enter_group(asked, directory, &mut record, undo)?),
        None => None,
    };
    let watch = prepared.cgroup.as_ref().map(Cgroup::watch_oom);
    // 3. The child, in its namespaces and in the cgroup.
    let (ours, theirs) =
        fd::seqpacket_pair().map_err(|e| Error::kernel("make a socket pair", "socketpair(2)", e))?;
    let ours_alone = [options.root.number(), directory.number()];
    let ours_alone: Vec<RawFd> =
        manager.iter().map(|manager| manager.borrow().number()).chain(ours_alone).collect();
    let init = clone_init(plan, prepared, (&ours, theirs), gate, &ours_alone)?;
    let of_undo = made.clone();
    let pidfd = init.pidfd.try_clone().map_err(|e| Error::io("keep the init process", "fcntl(2)", &e))?;
    let pid = init.pid;
    undo.push(move || kill_all(Child { pid, pidfd }, &Cgroup::open(&of_undo.borrow())));
    cloned.set(true);
    record.set_init(&init).map_err(|error| match (&prepared.cgroup, &watch) {
        (Some(cgroup), Some(watch)) => explain(error, &init, cgroup, watch),
        _ => error,
    })?;
    directory.save(&record)?;
    // 4. Into the cgroup whoever is not born there. systemd makes its unit around the process.
    if let Some(manager) = &manager {
        let cgroup = systemd::start(&mut manager.borrow_mut(), &plan.cgroup, options.layout, init.pid)?;
        setting.limit(&cgroup, &mut record)?;
        for (index, own) in prepare::own_cgroups(plan, &prepared.cgroup_view, cgroup.mount_view())? {
            send_handle(ours.as_fd(), index, own.as_fd())
                .map_err(|e| Error::kernel("talk to the init process", "sendmsg(2)", e))?;
        }
        prepared.cgroup = Some(cgroup);
    }
    let cgroup = prepared.cgroup.as_ref().ok_or_else(|| Error::new(Kind::Bug, "the cgroup is missing"))?;
    let watch = watch.unwrap_or_else(|| cgroup.watch_oom());
    let explained = |error| explain(error, &init, cgroup, &watch);
    let talk = Talk { plan, prepared, init: &init, sync: ours.as_fd() };
    let bring_up = |undo: &mut Undo<'a>| {
        if manager.is_none() {
            cgroup.attach(init.pid, prepared.cgroup_of_init(plan).is_some())?;
        }
        if let Some(group) = group {
            group.add(init.pid).map_err(|error| error.at("/linux/intelRdt"))?;
        }
        reset_affinity(init.pid)?;
        // 5. Id maps, and the mounts that need them.
        id_maps::write(init.pid, &plan.namespaces.user)?;
        id_maps::compare(init.pid, plan.namespaces.expected.as_ref())?;
        map_mounts(plan, prepared, init.pid)?;
        if plan.delegates_cgroup {
            delegate(plan, cgroup, init.pid)?;
        }
        // 6. What only the host may set.
        if !child::sets_own_oom_score(plan) {
            set_oom_score(&plan.limits, init.pid)?;
        }
        if !plan.net_devices.is_empty() {
            let namespace = Rc::new(network_namespace(plan, prepared, init.pid)?);
            net_devices::move_all(&plan.net_devices, &namespace, undo)?;
        }
        talk.go()?;
        // 7. and 8. What the child asks for on its way, until it is ready.
        talk.until_ready()
    };
    bring_up(undo).map_err(explained)?;
    // 9. Created: written first, so that a killed parent leaves something `delete` can find.
    record.own.creating = false;
    directory.save(&record)?;
    if let Some(path) = &options.pidfd_socket {
        send_pidfd(path, b"standard", &init)?;
    }
    if let Some(path) = &options.pid_file {
        write_pid_file(path, init.pid)?;
        undo.push(move || {
            let _ = std::fs::remove_file(path);
            Ok(())
        });
    }
    talk.go()?;
    if options.gated {
        // The child stops dying with its parent and then closes the socket; ending before that would kill it.
        match receive(ours.as_fd()) {
            Ok(None) => {}
            Ok(Some((FromChild::Failure(failure), _))) => return Err(failure::error(plan, &failure)),
            _ => return Err(explained(died())),
        }
    }
    *kept.borrow_mut() = Some(record);
    let cgroup = prepared.cgroup.take().ok_or_else(|| Error::new(Kind::Bug, "the cgroup is missing"))?;
    Ok((init, ours, cgroup, watch))
}

/// What turns a new cgroup into that of the container.
struct CgroupSetting<'a> {
    plan: &'a Plan,
    directory: &'a Directory,
    /// The paths that the undo list removes.
    made: &'a RefCell<BTreeMap<String, PathBuf>>,
}

impl CgroupSetting<'_> {
    /// Writes down that it exists, then sets its limits.
    fn limit(&self, cgroup: &Cgroup, record: &mut Record) -> Result<()> {
        record.cgroup_paths = cgroup.paths();
        record.own.owns_cgroups = true;
        *self.made.borrow_mut() = cgroup.paths();
        self.directory.save(record)?;
        self.directory.save_cgroups(&record.cgroup_paths)?;
        cgroup.apply(&self.plan.cgroup)
    }
}

/// Gives the cgroup to the user of the process. An unprivileged caller can give it to itself alone.
fn delegate(plan: &Plan, cgroup: &Cgroup, pid: i32) -> Result<()> {
    let owner = id_maps::outer_uid(pid, plan.identity.uid)?;
    match cgroup.delegate(owner, None) {
        Err(error) if plan.rootless && error.errno() == Some(Errno::EPERM) => {
            crate::log::warn(&format!("{error}"));
            Ok(())
        }
        done => done,
    }
}

/// Clones the init process. Does not return in it.
fn clone_init(
    plan: &Plan,
    prepared: &Prepared,
    (ours, theirs): (&OwnedFd, OwnedFd),
    gate: Option<OwnedFd>,
    state: &[RawFd],
) -> Result<Child> {
    let foreign: Vec<RawFd> = state.iter().copied().chain([ours.as_raw_fd()]).collect();
    let failed =
        |call: &'static str, e| Error::kernel("create the init process", call, e).at("/linux/namespaces");
    let before = path::open_host_path(c".", 0).map_err(|e| failed("openat2(2)", e))?;
    // The clone translates the working directory into the new mount namespace: that is how the child gets to the
    // root file system without a path.
    path::fchdir(prepared.rootfs.as_fd()).map_err(|e| failed("fchdir(2)", e))?;
    // The child must not be readable for a container whose namespaces it joins. An unprivileged parent could not
    // write its id maps then, and its child becomes so a little later.
    if !plan.rootless {
        process::set_dumpable(false).map_err(|e| failed("prctl(2)", e))?;
    }
    let own_pids = join_pid_namespace(plan, prepared)?;
    let flags = if plan.namespaces.stage { 0 } else { plan.namespaces.cloned };
    let cgroup = if plan.namespaces.stage { None } else { prepared.cgroup_of_init(plan) };
    let side = clone_child(flags, cgroup, Parentage::Mine).map_err(|e| match e {
        Errno::EPERM | Errno::ENOSPC | Errno::EUSERS if flags & flag::USER != 0 => {
            user_namespaces::explain_clone(failed("clone3(2)", e), e)
        }
        Errno::EINVAL | Errno::ENOSPC => failed("clone3(2)", e)
            .hint("the kernel lacks a namespace, or a limit in /proc/sys/user is reached"),
        _ => failed("clone3(2)", e),
    })?;
    let child = match side {
        Side::Parent(child) => child,
        Side::Child => {
            // With its own copy of our end the child would never see that we are gone.
            for number in foreign {
                let _ = fd::close_range(number as u32, number as u32);
            }
            if plan.namespaces.stage {
                child::pass_stage(plan, prepared, theirs.as_fd());
            }
            let gate = gate.map_or(Gate::Parent, Gate::Socket);
            child::create(Task { plan, prepared, sync: theirs, gate })
        }
    };
    drop((theirs, gate));
    if let Some(own) = own_pids {
        setns(own.as_fd(), flag::PID).map_err(|e| failed("setns(2)", e))?;
    }
    path::fchdir(before.as_fd()).map_err(|e| failed("fchdir(2)", e))?;
    if plan.namespaces.stage {
        sibling_of(&child, ours.as_fd(), |failure| failure::error(plan, failure))
    } else {
        Ok(child)
    }
}

/// A pid namespace can only be joined for children, so the parent does it around the clone, unless there is a process
/// in between.
fn join_pid_namespace(plan: &Plan, prepared: &Prepared) -> Result<Option<OwnedFd>> {
    let joined = plan.namespaces.joined.iter().position(|join| join.flag == flag::PID);
    let Some(index) = joined.filter(|_| !plan.namespaces.stage) else {
        return Ok(None);
    };
    let failed = |call: &'static str, e| {
        Error::kernel("enter the pid namespace", call, e).at(&plan.namespaces.joined[index].at)
    };
    let own = path::openat2(path::cwd_fd(), c"/proc/self/ns/pid", libc::O_RDONLY, 0, 0)
        .map_err(|e| failed("openat2(2)", e))?;
    setns(prepared.namespaces[index].as_fd(), flag::PID).map_err(|e| failed("setns(2)", e))?;
    Ok(Some(own))
}

/// The process in between sends the pidfd of the process that it made for its own parent, and ends.
pub(super) fn sibling_of(
    stage: &Child,
    sync: BorrowedFd,
    sentence: impl Fn(&Failure) -> Error,
) -> Result<Child> {
    let gone = || Error::kernel("create the process", "recvmsg(2)", Errno::EPIPE).at("/linux/namespaces");
    let answer = receive(sync).map_err(|_| gone())?;
    stage.wait().map_err(|e| Error::kernel("wait for a process", "waitid(2)", e))?;
    match answer {
        Some((FromChild::Cloned, Some(pidfd))) => {
            let pid = pid_of(&pidfd).ok_or_else(gone)?;
            Ok(Child { pid, pidfd })
        }
        Some((FromChild::Failure(failure), _)) => Err(sentence(&failure)),
        _ => Err(gone()),
    }
}

/// The number of a process in this pid namespace, from its pidfd.
fn pid_of(pidfd: &OwnedFd) -> Option<i32> {
    let info = path::read_text(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Kills the init process and whatever else is in the cgroup, and waits for the end of init.
fn kill_all(init: Child, cgroup: &Cgroup) -> Result<()> {
    match init.kill(libc::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(e) => return Err(Error::kernel("kill the init process", "pidfd_send_signal(2)", e)),
    }
    let _ = init.wait();
    if cgroup.exists() { cgroup.kill_all(libc::SIGKILL) } else { Ok(()) }
}

/// Lets a process run wherever its cgroup permits, whatever the caller is pinned to.
pub(super) fn reset_affinity(pid: i32) -> Result<()> {
    match process::reset_affinity(pid) {
        // A cpuset without any of the processors has been refused before.
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(e) => Err(Error::kernel("reset the processor affinity", "sched_setaffinity(2)", e)),
    }
}

/// Id-maps the detached trees that follow the container's user namespace. The child has the same trees open.
fn map_mounts(plan: &Plan, prepared: &Prepared, pid: i32) -> Result<()> {
    let mut container = None;
    for (index, mount) in plan.mounts.iter().enumerate() {
        let Some((mapping, recursive)) = &mount.id_mapping else { continue };
        let (MountKind::Bind { .. }, Some(prepare::Source::Tree(tree))) =
            (&mount.kind, &prepared.sources[index])
        else {
            continue;
        };
        let namespace = match mapping {
            IdMapping::Own { .. } => prepared.id_maps[index].as_ref().map(AsFd::as_fd),
            IdMapping::OfContainer => {
                if container.is_none() {
                    container = Some(id_maps::open_namespace(pid, "user")?);
                }
                container.as_ref().map(AsFd::as_fd)
            }
        };
        let Some(namespace) = namespace else { continue };
        mount_setattr_idmap(tree.as_fd(), *recursive, namespace).map_err(|e| {
            let error =
                Error::kernel(format!("map the ids of the mount on {}", mount.shown), "mount_setattr(2)", e);
            error
                .at(&mount.at)
                .hint("the file system must support id-mapped mounts and not be mapped already")
        })?;
    }
    Ok(())
}

/// Makes or finds the group of the resctrl file system, which the record names before it exists.
fn enter_group(
    asked: &IntelRdt,
    directory: &Directory,
    record: &mut Record,
    undo: &mut Undo<'_>,
) -> Result<Group> {
    let resctrl = Resctrl::find()?;
    record.own.intel_rdt = Some(Held::planned(asked));
    directory.save(record)?;
    let changes = Rc::new(RefCell::new(Changes::default()));
    let made = Rc::clone(&changes);
    undo.push(move || made.borrow().undo());
    let group =
        resctrl.enter(asked, &mut changes.borrow_mut()).map_err(|error| error.at("/linux/intelRdt"))?;
    record.intel_rdt_path = group.path().to_owned();
    record.own.intel_rdt = Some(Held { made: true, ..Held::planned(asked) });
    directory.save(record)?;
    Ok(group)
}

/// The network namespace of the container, which its process may not have entered yet.
fn network_namespace(plan: &Plan, prepared: &Prepared, pid: i32) -> Result<OwnedFd> {
    match plan.namespaces.joined.iter().position(|join| join.flag == flag::NETWORK) {
        Some(index) => prepared.namespaces[index]
            .try_clone()
            .map_err(|e| Error::io("keep the network namespace", "fcntl(2)", &e)),
        None => id_maps::open_namespace(pid, "net"),
    }
}

/// Sets the OOM score when there is one. Before the process gives up the ownership of its files in /proc.
pub(super) fn set_oom_score(limits: &Limits, pid: i32) -> Result<()> {
    let Some(score) = limits.oom_score_adj else { return Ok(()) };
    id_maps::write_file(pid, "oom_score_adj", &score.to_string(), "/process/oomScoreAdj")
        .map_err(|e| e.hint("lowering the score below the caller's needs CAP_SYS_RESOURCE"))
}

/// Sets the resource limits of a process that is being set up, from outside and with the privileges of here.
pub(super) fn set_limits(limits: &Limits, pid: i32) -> Result<()> {
    for (limit, at) in &limits.rlimits {
        let mut value = Limit { soft: limit.soft, hard: limit.hard };
        if limit.resource == libc::RLIMIT_NOFILE {
            // The child still needs a few; it lowers the limit itself at the end, which anybody may.
            value =
                Limit { soft: limit.hard.max(FEWEST_DESCRIPTORS), hard: limit.hard.max(FEWEST_DESCRIPTORS) };
        }
        process::set_limit(pid, limit.resource, value).map_err(|e| {
            Error::kernel(format!("set {} to {}:{}", limit.name, limit.soft, limit.hard), "prlimit(2)", e)
                .at(at)
                .hint("raising a hard limit needs CAP_SYS_RESOURCE; RLIMIT_NOFILE cannot exceed fs.nr_open")
        })?;
    }
    Ok(())
}

/// What the set-up needs, whatever the container gets.
const FEWEST_DESCRIPTORS: u64 = 256;

/// The conversation with the child.
struct Talk<'a> {
    plan: &'a Plan,
    prepared: &'a Prepared,
    init: &'a Child,
    sync: BorrowedFd<'a>,
}

impl Talk<'_> {
    fn go(&self) -> Result<()> {
        match send_go(self.sync) {
            Ok(()) => Ok(()),
            // It has died; why is in the message it may have left.
            Err(Errno::EPIPE) => Err(self.last_words()),
            Err(e) => Err(Error::kernel("talk to the init process", "sendmsg(2)", e)),
        }
    }

    fn last_words(&self) -> Error {
        match receive(self.sync) {
            Ok(Some((FromChild::Failure(failure), _))) => failure::error(self.plan, &failure),
            _ => died(),
        }
    }

    fn until_ready(&self) -> Result<()> {
        loop {
            let message = receive(self.sync)
                .map_err(|e| Error::kernel("listen to the init process", "recvmsg(2)", e))?;
            let (message, passed) = message.map_or((None, None), |(message, passed)| (Some(message), passed));
            match message {
                Some(FromChild::TimeOffsets) => {
                    let offsets = self.plan.namespaces.time_offsets.as_deref().unwrap_or_default();
                    id_maps::write_file(self.init.pid, "timens_offsets", offsets, "/linux/timeOffsets")?;
                }
                Some(FromChild::BoundInstead(index)) => self.tell_bound(index as usize),
                Some(FromChild::Mounted) => self.run_host_hooks()?,
                Some(FromChild::Limits) => set_limits(&self.plan.limits, self.init.pid)?,
                Some(FromChild::Listener) => {
                    if let Some(seccomp) = &self.plan.security.seccomp {
                        let state = self.prepared.hook_state();
                        let now = ("creating", self.init.pid);
                        seccomp_agent::hand_over(seccomp, self.init, passed, state, now)?;
                    }
                }
                Some(FromChild::Ready) => return Ok(()),
                Some(FromChild::Failure(failure)) => return Err(failure::error(self.plan, &failure)),
                Some(FromChild::Cloned | FromChild::Executing | FromChild::Recording) => {
                    return Err(Error::new(Kind::Bug, "the init process spoke out of turn"));
                }
                None => return Err(died()),
            }
            self.go()?;
        }
    }

    fn tell_bound(&self, index: usize) {
        let Some(mount) = self.plan.mounts.get(index) else { return };
        crate::log::warn(&format!(
            "the user namespace may not mount a file system of its own on {}: that of the host is bound there ({})",
            mount.shown, mount.at
        ));
    }

    fn run_host_hooks(&self) -> Result<()> {
        let state = self.prepared.hook_state().with_pid("creating", self.init.pid);
        for hook in self.plan.hooks.prestart.iter().chain(&self.plan.hooks.create_runtime) {
            run_hook(hook, &state, &self.prepared.bundle)?;
        }
        Ok(())
    }
}

/// Runs a hook in the namespaces of the runtime, with the bundle as its working directory.
pub fn run_hook(hook: &Hook, state: &[u8], bundle: &CString) -> Result<()> {
    hooks::run(hook, state, &Setting::in_directory(bundle)).map_err(|failed| {
        Error::new(Kind::Hook, format!("error running {}: {}", hook.name, failed.0)).at(&hook.at)
    })
}

/// Runs every poststop hook. A failing one is reported and the next one runs.
///
/// Source: runtime.md#lifecycle, step 13.
pub fn run_poststop(list: &[Hook], state: &[u8], bundle: &CString) {
    let root = c"/".to_owned();
    let gone = path::open_host_path(bundle, libc::O_DIRECTORY).is_err();
    for hook in list {
        if let Err(error) = run_hook(hook, state, if gone { &root } else { bundle }) {
            crate::log::warn(&error.to_string());
        }
    }
}

fn died() -> Error {
    Error::new(Kind::Kernel, "the init process died while it was set up")
}

/// Why the init process ended before there was a program, if it was for lack of memory: nobody else was there to be
/// killed.
pub fn killed_for_memory(cgroup: &Cgroup, watch: &OomWatch) -> Option<Error> {
    let text = cgroup.explain_oom(watch)?;
    Some(Error::new(Kind::Kernel, format!("container init was {text}")).at("/linux/resources/memory/limit"))
}

/// Evidence beats errno: a process that vanished under a memory limit was killed by it, whatever failed for that.
fn explain(error: Error, init: &Child, cgroup: &Cgroup, watch: &OomWatch) -> Error {
    let is_riddle = error.doing() == died().doing();
    let ended = if is_riddle { init.wait().map(Some) } else { init.try_wait() };
    if !matches!(ended, Ok(None))
        && let Some(error) = killed_for_memory(cgroup, watch)
    {
        return error;
    }
    if !is_riddle {
        return error;
    }
    match ended {
        Ok(Some(Ended::Signaled(signal))) => error.detail(format!("signal {signal}")),
        Ok(Some(Ended::Exited(status))) => error.detail(format!("exit status {status}")),
        Ok(None) | Err(_) => error,
    }
}

/// Sends the pidfd to the socket of the caller, in one message whose text tells which kind of process it is.
pub(super) fn send_pidfd(path: &std::path::Path, kind: &[u8], init: &Child) -> Result<()> {
    let socket = super::console::connect_to(path, "--pidfd-socket")?;
    fd::send(socket.as_fd(), kind, Some(init.pidfd.as_fd()))
        .map_err(|e| Error::kernel("send the pidfd of the init process", "sendmsg(2)", e))
}

/// Writes the pid file: the number and nothing else, complete at any moment.
pub fn write_pid_file(target: &std::path::Path, pid: i32) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |call: &'static str, e: &std::io::Error| {
        Error::io(format!("write the pid file {}", target.display()), call, e)
    };
    let name = target.file_name().ok_or_else(|| Error::usage("--pid-file names no file"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = target.with_file_name(temporary);
    let _ = std::fs::remove_file(&temporary);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o666)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&temporary)
        .map_err(|e| failed("openat(2)", &e))?;
    let done = file
        .write_all(pid.to_string().as_bytes())
        .map_err(|e| failed("write(2)", &e))
        .and_then(|()| std::fs::rename(&temporary, target).map_err(|e| failed("rename(2)", &e)));
    if done.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    done
}

/// A path as the kernel takes it.
pub fn c_path(path: &std::path::Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::usage("a path contains a NUL byte"))
}
