//! Joins and makes the namespaces that the clone did not.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::Errno;
use crate::parent::prepare::Prepared;
use crate::plan::Plan;
use crate::plan::identity::Groups;
use crate::plan::namespaces::{KINDS, Namespaces, User, flag};
use crate::sync::{Call, During, Failure, FromChild, In, Phase, wait_for_go};
use crate::sys::{clone, identity, path, process};

use super::procfs::Procfs;
use super::rootfs;
use super::sources::{self, Sources};

/// Enters everything but the time namespace. Returns what could only be opened on the way.
pub fn enter<'a>(plan: &Plan, prepared: &'a Prepared) -> Result<Sources<'a>, Failure> {
    let namespaces = &plan.namespaces;
    if !namespaces.stage {
        for (index, join) in namespaces.joined.iter().enumerate() {
            // The parent joined the pid namespace around the clone; the cgroup namespace comes last.
            if join.flag & (flag::PID | flag::CGROUP) == 0 {
                clone::setns(prepared.namespaces[index].as_fd(), join.flag)
                    .call(Call::Setns)
                    .item(Phase::Namespaces, index)?;
            }
        }
    }
    if namespaces.join_of(flag::MOUNT).is_some() {
        return_to_rootfs(prepared).during(Phase::Rootfs)?;
    }
    // Before the ids change: those of the caller may open what the configuration names, and pass what is above it.
    let sources = sources::open(plan, prepared)?;
    rootfs::isolate(plan, prepared).during(Phase::Rootfs)?;
    if namespaces.has_user() {
        let watched = namespaces.user == User::Joined;
        become_root(&plan.identity.groups, watched).during(Phase::Namespaces)?;
    }
    let cgroup = namespaces.joined.iter().enumerate().filter(|(_, join)| join.flag == flag::CGROUP);
    for (index, join) in cgroup.filter(|_| !namespaces.stage) {
        clone::setns(prepared.namespaces[index].as_fd(), join.flag)
            .call(Call::Setns)
            .item(Phase::Namespaces, index)?;
    }
    if namespaces.unshared & flag::CGROUP != 0 {
        clone::unshare(flag::CGROUP).call(Call::Unshare).during(Phase::Namespaces)?;
    }
    Ok(sources)
}

/// Joining a mount namespace moves the working directory to its root, so the way back is by path: this process
/// is still on the host's side of the configuration, no container has run.
fn return_to_rootfs(prepared: &Prepared) -> Result<(), Failure> {
    let rootfs = path::open_host_path(&prepared.rootfs_path, libc::O_DIRECTORY)
        .call(Call::Openat)
        .map_err(|failure| failure.with(prepared.rootfs_path.to_bytes()))?;
    path::fchdir(rootfs.as_fd()).call(Call::Chdir)
}

/// In a user namespace everything that follows is done as its root. `watched`: others may be in it already.
pub(super) fn become_root(groups: &Groups, watched: bool) -> Result<(), Failure> {
    identity::set_gid(0).call(Call::Setresgid)?;
    if watched {
        process::set_dumpable(false).call(Call::Prctl)?;
    }
    if *groups != Groups::Keep {
        match identity::set_groups(&[]) {
            // setgroups(2) is denied in the namespace of an unprivileged user.
            Ok(()) | Err(Errno::EPERM) => {}
            Err(errno) => return Err(Failure::of(Call::Setgroups, errno)),
        }
    }
    identity::set_uid(0).call(Call::Setresuid)?;
    // A change of ids sets the one to fs.suid_dumpable and clears the other.
    process::set_dumpable(false).call(Call::Prctl)?;
    process::set_parent_death_signal(libc::SIGKILL).call(Call::Prctl)
}

/// Gives the groups of the caller up while that is permitted: the user namespace that is joined may deny setgroups(2).
pub(super) fn leave_groups(groups: &Groups) -> Result<(), Failure> {
    if *groups == Groups::Keep {
        return Ok(());
    }
    match identity::set_groups(&[]) {
        // An unprivileged caller cannot.
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(Failure::of(Call::Setgroups, errno)),
    }
}

/// Joins the namespaces of a process that are of the kinds in `flags`, with one call where the kernel permits it.
///
/// Some may belong to another user namespace than the process's own; then each is tried before the user namespace
/// is joined, and what could not be joined before is joined after. All of it is through one pidfd, so that they
/// cannot be those of two processes. Errors: ESRCH when the process is gone.
pub fn join_process(pidfd: BorrowedFd, flags: u64) -> Result<(), Errno> {
    let joined = if flags & flag::USER != 0 { join_hidden(pidfd, flags) } else { clone::setns(pidfd, flags) };
    match joined {
        Err(Errno::EPERM) if flags & flag::USER != 0 => {}
        // No flag at all is none to join.
        Err(Errno::EINVAL) if flags == 0 => return Ok(()),
        other => return other,
    }
    let kinds = KINDS.iter().map(|(kind, ..)| *kind).filter(|kind| flags & kind != 0);
    join_each(kinds.map(|kind| (kind, pidfd)))
}

/// Joins namespaces one by one: each is tried before the user namespace, and what could not be joined before is
/// joined after.
pub fn join_each<'a>(namespaces: impl Iterator<Item = (u64, BorrowedFd<'a>)> + Clone) -> Result<(), Errno> {
    let mut left = 0;
    for (kind, namespace) in namespaces.clone().filter(|(kind, _)| *kind != flag::USER) {
        match clone::setns(namespace, kind) {
            Ok(()) => {}
            Err(Errno::EPERM) => left |= kind,
            Err(errno) => return Err(errno),
        }
    }
    for (kind, namespace) in namespaces.clone().filter(|(kind, _)| *kind == flag::USER) {
        join_hidden(namespace, kind)?;
    }
    for (kind, namespace) in namespaces.filter(|(kind, _)| left & kind != 0) {
        clone::setns(namespace, kind)?;
    }
    Ok(())
}

/// Joins a user namespace, with or without others, and stays hidden from those who are in it.
///
/// Unless the caller has made it, that changes whether a process can be traced to fs.suid_dumpable, which is 1 on some
/// machines. Source: commit_creds() of the kernel; proc_sys_fs(5).
fn join_hidden(namespaces: BorrowedFd, flags: u64) -> Result<(), Errno> {
    clone::setns(namespaces, flags)?;
    process::set_dumpable(false)
}

/// Makes the time namespace, has its offsets written, and enters it, unless the process in between has done so.
///
/// unshare(2) only affects children; entering one's own `time_for_children` makes a fork unnecessary.
pub fn enter_time(plan: &Plan, procfs: Option<&Procfs>, parent: BorrowedFd) -> Result<(), Failure> {
    if plan.namespaces.unshared & flag::TIME == 0 || plan.namespaces.stage_makes_time() {
        return Ok(());
    }
    let procfs = procfs.ok_or_else(|| Failure::of(Call::Openat, Errno::ENOSYS))?;
    clone::unshare(flag::TIME).call(Call::Unshare)?;
    if plan.namespaces.time_offsets.is_some() {
        // An unprivileged parent can only open the files of a process that it could trace.
        ask_visibly(FromChild::TimeOffsets, parent, plan.may_show_itself())?;
    }
    let own = procfs.open_link(c"thread-self/ns/time_for_children")?;
    clone::setns(own.as_fd(), flag::TIME).call(Call::Setns)
}

/// Asks the parent for something and waits until it is done, meanwhile dumpable when `shown`.
pub(super) fn ask_visibly(message: FromChild, parent: BorrowedFd, shown: bool) -> Result<(), Failure> {
    if shown {
        process::set_dumpable(true).call(Call::Prctl)?;
    }
    message.send(parent, None).call(Call::Send)?;
    wait_for_go(parent).call(Call::Receive)?;
    process::set_dumpable(false).call(Call::Prctl)
}

/// The process in between: joins what must be joined first, clones the init process as its sibling, and ends.
pub mod stage {
    use super::*;
    use crate::sys::clone::{Parentage, Side, clone_child, exit_now};

    /// Returns in the init process only.
    pub fn pass(plan: &Plan, prepared: &Prepared, parent: BorrowedFd) {
        let failure = match joined_and_cloned(plan, prepared, parent) {
            Ok(true) => return,
            Ok(false) => exit_now(0),
            Err(failure) => failure,
        };
        let _ = FromChild::Failure(failure).send(parent, None);
        exit_now(255)
    }

    fn joined_and_cloned(plan: &Plan, prepared: &Prepared, parent: BorrowedFd) -> Result<bool, Failure> {
        let namespaces = &plan.namespaces;
        own_oom_score(plan)?;
        let offsets = open_time_offsets(namespaces).during(Phase::TimeOffsets)?;
        if namespaces.user == User::Joined {
            // Whoever is in it has its privileges over what joins it, handles of the host included.
            process::set_dumpable(false).call(Call::Prctl).during(Phase::Namespaces)?;
            leave_groups(&plan.identity.groups).during(Phase::Namespaces)?;
        }
        let outer = namespaces.joined.iter().enumerate();
        let mut left: Vec<usize> = Vec::new();
        // Some namespaces belong to the outer user namespace, some to the one that is joined: what cannot be
        // joined before is tried again after.
        for (index, join) in outer {
            if join.flag == flag::USER {
                continue;
            }
            match clone::setns(prepared.namespaces[index].as_fd(), join.flag) {
                Ok(()) => {}
                Err(Errno::EPERM) => left.push(index),
                Err(errno) => return Err(Failure::of(Call::Setns, errno)).item(Phase::Namespaces, index),
            }
        }
        if let Some(index) = namespaces.joined.iter().position(|join| join.flag == flag::USER) {
            join_hidden(prepared.namespaces[index].as_fd(), flag::USER)
                .call(Call::Setns)
                .item(Phase::Namespaces, index)?;
        }
        for index in left {
            clone::setns(prepared.namespaces[index].as_fd(), namespaces.joined[index].flag)
                .call(Call::Setns)
                .item(Phase::Namespaces, index)?;
        }
        make_time(namespaces, offsets).during(Phase::TimeOffsets)?;
        let cgroup = prepared.cgroup_of_init(plan);
        match clone_child(namespaces.cloned, cgroup, Parentage::MyParents)
            .call(Call::Clone)
            .during(Phase::Namespaces)?
        {
            Side::Child => Ok(true),
            Side::Parent(init) => {
                FromChild::Cloned
                    .send(parent, Some(init.pidfd.as_fd()))
                    .call(Call::Send)
                    .during(Phase::Namespaces)?;
                Ok(false)
            }
        }
    }

    /// The own file of the offsets of children, while this process can still be seen. Whoever opens it must have
    /// CAP_SYS_TIME over the namespace, which the owner of the user namespace has from outside too.
    ///
    /// Source: time_namespaces(7), user_namespaces(7).
    fn open_time_offsets(namespaces: &Namespaces) -> Result<Option<OwnedFd>, Failure> {
        if !namespaces.stage_makes_time() || namespaces.time_offsets.is_none() {
            return Ok(None);
        }
        path::openat2(path::cwd_fd(), c"/proc/self/timens_offsets", libc::O_WRONLY, 0, 0)
            .call(Call::Openat)
            .map(Some)
    }

    /// The time namespace of the child that is cloned next.
    fn make_time(namespaces: &Namespaces, offsets: Option<OwnedFd>) -> Result<(), Failure> {
        if !namespaces.stage_makes_time() {
            return Ok(());
        }
        clone::unshare(flag::TIME).call(Call::Unshare)?;
        let text = namespaces.time_offsets.as_deref().unwrap_or_default();
        let Some(file) = offsets else { return Ok(()) };
        crate::sys::fd::write_once(file.as_fd(), text.as_bytes()).call(Call::Write)
    }

    /// Joining a user namespace hides the files of a process from an unprivileged parent, which therefore leaves
    /// this to the process itself; the init process inherits it.
    fn own_oom_score(plan: &Plan) -> Result<(), Failure> {
        let Some(score) = plan.limits.oom_score_adj.filter(|_| sets_own_oom_score(plan)) else {
            return Ok(());
        };
        let file = path::openat2(path::cwd_fd(), c"/proc/self/oom_score_adj", libc::O_WRONLY, 0, 0)
            .call(Call::Openat)
            .during(Phase::OomScore)?;
        crate::sys::fd::write_once(file.as_fd(), score.to_string().as_bytes())
            .call(Call::Write)
            .during(Phase::OomScore)
    }
}

/// Whether the child sets its OOM score, not the parent.
pub fn sets_own_oom_score(plan: &Plan) -> bool {
    plan.rootless && plan.namespaces.user == User::Joined
}
