//! Who the process becomes. The order follows capabilities(7): what a step needs is given up after it.

use std::os::fd::{AsFd, BorrowedFd};

use crate::error::Errno;
use crate::plan::identity::{Groups, Identity, Set};
use crate::plan::limits::Limits;
use crate::plan::process::Process;
use crate::plan::security::Security;
use crate::priorities;
use crate::sync::{Call, During, Failure, FromChild, In, Phase, wait_for_go};
use crate::sys::{fd, identity, process};

use super::procfs::Procfs;
use super::user::User;

const CAP_SYS_ADMIN: Set = 1 << 21;

/// Scheduler, I/O priority, personality, memory policy: all of them survive execve(2).
pub fn schedule(
    planned: &Process,
    security: &Security,
    in_user_namespace: bool,
    parent: BorrowedFd,
) -> Result<(), Failure> {
    match priorities::set(0, planned) {
        // Real-time ones are for a privilege over the whole host, which the parent may have.
        Err(failure) if in_user_namespace && failure.errno == Errno::EPERM as i32 => {
            FromChild::Schedule.send(parent, None).call(Call::Send)?;
            wait_for_go(parent).call(Call::Receive)?;
        }
        set => set?,
    }
    // Without a request the flags that the caller runs with, such as no address randomization, are cleared.
    process::personality(security.personality.unwrap_or(0)).call(Call::Personality)?;
    if let Some(policy) = &security.memory_policy {
        process::set_memory_policy(policy.mode, &policy.nodes).call(Call::SetMempolicy)?;
    }
    Ok(())
}

/// Labels that take effect with execve(2), written through the private procfs while still privileged.
///
/// Without new privileges a confined process cannot leave its profile; the other one is put on top of it then.
pub fn label(security: &Security, no_new_privileges: bool, procfs: Option<&Procfs>) -> Result<(), Failure> {
    let Some(procfs) = procfs else { return Ok(()) };
    if let Some(profile) = &security.apparmor {
        let stacked = no_new_privileges && is_confined(procfs)?;
        let verb: &[u8] = if stacked { b"stack " } else { b"exec " };
        let command = [verb, profile.to_bytes()].concat();
        let written = match procfs.write(c"thread-self/attr/apparmor/exec", &command) {
            // Before Linux 5.8 there was one directory for all modules.
            Err(failure) if is_missing(&failure) => procfs.write(c"thread-self/attr/exec", &command),
            other => other,
        };
        written?;
    }
    if let Some(label) = &security.selinux {
        procfs.write(c"thread-self/attr/exec", label.to_bytes())?;
    }
    Ok(())
}

/// The label of keyrings that are made from here on, until execve(2).
pub fn label_keys(security: &Security, procfs: Option<&Procfs>) -> Result<(), Failure> {
    match (&security.selinux, procfs) {
        (Some(label), Some(procfs)) => procfs.write(c"thread-self/attr/keycreate", label.to_bytes()),
        _ => Ok(()),
    }
}

/// The file is not there.
fn is_missing(failure: &Failure) -> bool {
    failure.errno == Errno::ENOENT as i32 && failure.call == Call::Openat
}

/// Whether AppArmor confines this process already: what it inherited is another profile than `unconfined`.
fn is_confined(procfs: &Procfs) -> Result<bool, Failure> {
    let mut buffer = [0u8; 256];
    let files = [c"thread-self/attr/apparmor/current", c"thread-self/attr/current"];
    for file in files {
        match procfs.open(file, libc::O_RDONLY) {
            Err(Errno::ENOENT) => {}
            opened => {
                let opened = opened.call(Call::Openat)?;
                let length = fd::read(opened.as_fd(), &mut buffer).call(Call::Read)?;
                return Ok(!is_unconfined(&buffer[..length]));
            }
        }
    }
    Ok(false)
}

fn is_unconfined(current: &[u8]) -> bool {
    current.trim_ascii_end() == b"unconfined"
}

/// Bounding set, groups, ids, capabilities. CAP_SYS_ADMIN stays for a moment when the filter still needs it.
///
/// A change of ids lets others trace the process where fs.suid_dumpable is 1, so it is taken back at once.
pub fn assume(user: &User) -> Result<(), Failure> {
    let User { identity: wanted, in_user_namespace, keep_for_filter, watched, .. } = *user;
    let sets = &wanted.capabilities;
    for capability in 0..=wanted.last_capability {
        if sets.bounding & (1 << capability) == 0 {
            match identity::drop_from_bounding_set(capability) {
                Ok(()) => {}
                // Without CAP_SETPCAP nothing can be dropped, which matters only where it is in the set.
                Err(Errno::EPERM) if identity::is_in_bounding_set(capability) == Ok(false) => {}
                Err(errno) => return Err(Failure::of(Call::Prctl, errno)),
            }
        }
    }
    if identity::secure_bits().call(Call::Prctl)? != 0 {
        return Err(Failure::found("securebits are set, capabilities would not behave as configured"));
    }
    identity::keep_capabilities(true).call(Call::Prctl)?;
    own_stdio(wanted.uid)?;
    if let Groups::Set(groups) = &wanted.groups {
        match identity::set_groups(groups) {
            Ok(()) => {}
            // setgroups(2) is denied in the user namespace of an unprivileged user; none were asked for.
            Err(Errno::EPERM) if groups.is_empty() && in_user_namespace => {}
            Err(errno) => return Err(Failure::of(Call::Setgroups, errno)),
        }
    }
    identity::set_gid(wanted.gid).call(Call::Setresgid)?;
    if watched {
        process::set_dumpable(false).call(Call::Prctl)?;
    }
    identity::set_uid(wanted.uid).call(Call::Setresuid)?;
    process::set_dumpable(false).call(Call::Prctl)?;
    if identity::ids() != ([wanted.uid; 3], [wanted.gid; 3]) {
        return Err(Failure::found("the ids are not those that were set"));
    }
    identity::keep_capabilities(false).call(Call::Prctl)?;
    // A change of ids has cleared it.
    process::set_parent_death_signal(libc::SIGKILL).call(Call::Prctl)?;
    let kept = if keep_for_filter { CAP_SYS_ADMIN } else { 0 };
    identity::set_capabilities(sets.effective | kept, sets.permitted | kept, sets.inheritable)
        .call(Call::Capset)?;
    identity::clear_ambient_set().call(Call::Prctl)?;
    for capability in (0..=wanted.last_capability).filter(|c| sets.ambient & (1 << c) != 0) {
        identity::raise_ambient(capability).call(Call::Prctl)?;
    }
    Ok(())
}

/// The streams belong to the user of the container, so that /dev/stderr can be opened again.
fn own_stdio(uid: u32) -> Result<(), Failure> {
    use crate::sys::{fd, path, tty};
    for number in 0..=2 {
        let stream = fd::stdio(number);
        let Ok(stat) = path::stat_fd(stream) else { continue };
        let is_pipe = stat.kind() == libc::S_IFIFO;
        if stat.uid == uid || !(is_pipe || tty::is_terminal(stream)) {
            continue;
        }
        match path::chown_fd(stream, uid, u32::MAX) {
            Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL) => {}
            Err(errno) => return Err(Failure::of(Call::Chown, errno)),
        }
    }
    Ok(())
}

/// The resource limits, as far as the set-up can live with them.
pub fn set_limits(limits: &Limits) -> Result<(), Failure> {
    for (index, (limit, _)) in limits.rlimits.iter().enumerate() {
        let (soft, hard) = limit.during_setup();
        process::set_limit(0, limit.resource, process::Limit { soft, hard })
            .call(Call::Prlimit)
            .item(Phase::Limits, index)?;
    }
    Ok(())
}

/// The limit of open files, which was left larger for the set-up.
pub fn limit_descriptors(limits: &Limits) -> Result<(), Failure> {
    for (limit, _) in limits.rlimits.iter().filter(|(limit, _)| limit.resource == libc::RLIMIT_NOFILE) {
        let value = process::Limit { soft: limit.soft, hard: limit.hard };
        process::set_limit(0, limit.resource, value).call(Call::Prlimit)?;
    }
    Ok(())
}

/// PR_SET_NO_NEW_PRIVS, when the plan says so.
pub fn forbid_new_privileges(wanted: &Identity) -> Result<(), Failure> {
    if wanted.no_new_privileges {
        identity::set_no_new_privileges().call(Call::Prctl)?;
    }
    Ok(())
}

/// After the filter: exactly the capabilities of the plan.
pub fn drop_last_privilege(wanted: &Identity, kept_for_filter: bool) -> Result<(), Failure> {
    if !kept_for_filter {
        return Ok(());
    }
    let sets = &wanted.capabilities;
    identity::set_capabilities(sets.effective, sets.permitted, sets.inheritable).call(Call::Capset)
}
