//! The steps on the host side, in order. A step that leaves something behind pushes its undo.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use super::announce::{send_pidfd, write_pid_file};
use super::birth::clone_init;
use super::host_hooks::run_poststop;
use super::limits::{reset_affinity, set_oom_score};
use super::prepare::{self, Prepared, Source};
use super::talk::Talk;
use super::undo::Undo;
use super::vanished::{died, explain};
use super::{failure, id_maps, net_devices, outer_filter, user_namespaces};
use crate::cgroup::{Cgroup, Layout, OomWatch, systemd};
use crate::child;
use crate::error::{Errno, Error, Kind, Result};
use crate::plan::Plan;
use crate::plan::intel_rdt::IntelRdt;
use crate::plan::mounts::{IdMapping, Kind as MountKind};
use crate::plan::namespaces::{User, flag};
use crate::resctrl::{Changes, Group, Held, Resctrl};
use crate::state::{Directory, HookLists, Id, Record, Root};
use crate::sync::{FromChild, receive, send_handle};
use crate::sys::clone::Child;
use crate::sys::fd;
use crate::sys::mount::mount_setattr_idmap;

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
    let output = Rc::clone(&prepared.hook_output);
    let lock = directory.lock()?;
    let mut undo = Undo::default();
    // Last of all, when nothing is left: poststop hooks undo what the other hooks did.
    undo.push(|| {
        if cloned.get() {
            run_poststop(&plan.hooks.poststop, &state.with_pid("stopped", 0), &bundle, &output);
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
        Err(error) if plan.rootless => {
            Err(undo.undo(outer_filter::explain(user_namespaces::explain_denial(error))))
        }
        Err(error) => Err(undo.undo(outer_filter::explain(error))),
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
    let hooks = HookLists { output: prepared.hook_output.real.clone(), ..options.hooks.clone() };
    let mut record = Record::of_plan(plan, hooks, paths, options.rootless)?;
    record.own.recording = prepared.is_recorded();
    record.own.keyring = prepared.keyring.as_ref().map(|name| name.to_string_lossy().into_owned());
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
    let paths = planned.paths();
    undo.push(move || {
        let stopped = unit.map_or(Ok(()), |(unit, manager)| {
            let mut manager = manager.borrow_mut();
            systemd::undo(&mut manager, unit, plan.cgroup.rootless, &Cgroup::open(&paths))
        });
        Cgroup::open(&of_undo.borrow()).remove().and(stopped)
    });
    let setting = CgroupSetting { directory, made: &made };
    if manager.is_none() {
        let cgroup = Cgroup::create(&plan.cgroup, options.layout)?;
        setting.write_down(&cgroup, &mut record)?;
        cgroup.apply_limits(&plan.cgroup)?;
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
    let mut watch = prepared.cgroup.as_ref().map(Cgroup::watch_oom);
    // 3. The child, in its namespaces and in the cgroup. When it is where it belongs from birth, it begins at once.
    let is_settled = |cgroup: &Cgroup| cgroup.is_unified() && prepared.cgroup_of_init(plan).is_some();
    prepared.begins_at_once =
        plan.has_independent_mounts() && prepared.cgroup.as_ref().is_some_and(is_settled);
    let (ours, theirs) =
        fd::seqpacket_pair().map_err(|e| Error::kernel("make a socket pair", "socketpair(2)", e))?;
    let ours_alone = [options.root.number(), directory.number()];
    let ours_alone: Vec<RawFd> = manager
        .iter()
        .map(|manager| manager.borrow().number())
        .chain(prepared.hook_output.numbers())
        .chain(ours_alone)
        .collect();
    let init = clone_init(plan, prepared, (&ours, theirs), gate, &ours_alone)?;
    let of_undo = made.clone();
    let pidfd = init.pidfd.try_clone().map_err(|e| Error::io("keep the init process", "fcntl(2)", &e))?;
    let pid = init.pid;
    undo.push(move || kill_all(Child { pid, pidfd }, &Cgroup::open(&of_undo.borrow())));
    cloned.set(true);
    record.set_init(&init).map_err(|error| match (&prepared.cgroup, &watch) {
        (Some(cgroup), Some(watch)) => {
            explain(error, &Talk { plan, prepared, init: &init, sync: ours.as_fd() }, cgroup, watch)
        }
        _ => error,
    })?;
    directory.save(&record)?;
    if manager.is_none() && record.cgroup_paths.is_empty() {
        directory.save_init(&record)?;
    }
    // 4. Into the cgroup whoever is not born there. systemd makes its unit around the process.
    if let Some(manager) = &manager {
        let cgroup = systemd::start(&mut manager.borrow_mut(), &plan.cgroup, options.layout, init.pid)?;
        setting.write_down(&cgroup, &mut record)?;
        watch = Some(cgroup.watch_oom());
        cgroup.apply(&plan.cgroup)?;
        for (index, own) in prepare::own_cgroups(plan, &prepared.cgroup_view, cgroup.mount_view())? {
            send_handle(ours.as_fd(), index, own.as_fd())
                .map_err(|e| Error::kernel("talk to the init process", "sendmsg(2)", e))?;
        }
        prepared.cgroup = Some(cgroup);
    }
    let cgroup = prepared.cgroup.as_ref().ok_or_else(|| Error::new(Kind::Bug, "the cgroup is missing"))?;
    let watch = watch.unwrap_or_else(|| cgroup.watch_oom());
    let talk = Talk { plan, prepared, init: &init, sync: ours.as_fd() };
    let explained = |error| explain(error, &talk, cgroup, &watch);
    let bring_up = |undo: &mut Undo<'a>| {
        if manager.is_none() {
            cgroup.apply_devices(&plan.cgroup)?;
            cgroup.attach(init.pid, prepared.cgroup_of_init(plan).is_some())?;
        }
        if let Some(group) = group {
            group.add(init.pid).map_err(|error| error.at("/linux/intelRdt"))?;
        }
        reset_affinity(init.pid)?;
        // 5. Id maps, and the mounts that need them.
        id_maps::write(init.pid, &plan.namespaces.user)?;
        id_maps::compare(init.pid, plan.namespaces.expected.as_ref())?;
        if plan.namespaces.user == User::Joined {
            id_maps::refuse_unmapped(&init, &plan.identity, plan.namespaces.pointer(flag::USER))?;
            id_maps::refuse_unmapped_owners(&init, &plan.mounts)?;
        }
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
            Ok(Some((FromChild::Failure(failure), _))) => {
                return Err(failure::error(plan, &failure, Some(&init)));
            }
            _ => return Err(explained(died())),
        }
    }
    *kept.borrow_mut() = Some(record);
    let cgroup = prepared.cgroup.take().ok_or_else(|| Error::new(Kind::Bug, "the cgroup is missing"))?;
    Ok((init, ours, cgroup, watch))
}

/// Where a new cgroup is written down.
struct CgroupSetting<'a> {
    directory: &'a Directory,
    /// The paths that the undo list removes.
    made: &'a RefCell<BTreeMap<String, PathBuf>>,
}

impl CgroupSetting<'_> {
    /// Writes down that it exists.
    fn write_down(&self, cgroup: &Cgroup, record: &mut Record) -> Result<()> {
        record.cgroup_paths = cgroup.paths();
        record.own.owns_cgroups = true;
        *self.made.borrow_mut() = cgroup.paths();
        self.directory.save(record)?;
        self.directory.save_cgroups(&record.cgroup_paths)
    }
}

/// Gives the cgroup to the user of the process. An unprivileged caller can give it to itself alone.
fn delegate(plan: &Plan, cgroup: &Cgroup, pid: i32) -> Result<()> {
    let owner = match plan.namespaces.has_user() {
        true => id_maps::outer_uid(pid, plan.identity.uid)?,
        // The map of the own user namespace leads out of it.
        false => plan.identity.uid,
    };
    match cgroup.delegate(owner, None) {
        Err(error) if plan.rootless && error.errno() == Some(Errno::EPERM) => {
            crate::log::warn(&format!("{error}"));
            Ok(())
        }
        done => done,
    }
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

/// Id-maps the detached trees that follow the container's user namespace. The child has the same trees open.
fn map_mounts(plan: &Plan, prepared: &Prepared, pid: i32) -> Result<()> {
    let mut container = None;
    for (index, mount) in plan.mounts.iter().enumerate() {
        let Some((mapping, recursive)) = &mount.id_mapping else { continue };
        let (MountKind::Bind { .. }, Some(Source::Tree(tree))) = (&mount.kind, &prepared.sources[index])
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
            error.at(&mount.at).hint(match e {
                Errno::EPERM if plan.rootless => prepare::UNPRIVILEGED_MAPPING,
                _ => "the file system must support id-mapped mounts and not be mapped already",
            })
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
