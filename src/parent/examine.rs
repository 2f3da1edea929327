//! What a plan would meet on this host, without doing anything: for `check`.
//!
//! Handles that [`prepare`](super::prepare) would open are opened by the same code and closed again. What only the
//! creation itself shows is looked for where the kernel tells it beforehand.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::access::{self, Use, Who};
use super::root_mount::RootMount;
use super::{hook_output, id_maps, net_devices, prepare};
use crate::cgroup::{self, Layout};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::plan::Plan;
use crate::plan::hooks::Hook;
use crate::plan::mounts::Kind;
use crate::plan::namespaces::{KINDS, User};
use crate::plan::process::Program;
use crate::plan::rootfs::Pivot;
use crate::report::{Report, Severity};
use crate::resctrl::Resctrl;
use crate::sys::{path, seccomp};

/// Tells everything that this host and this caller cannot do.
///
/// The plan may lack what is wrong with the configuration. Errors: none where the report goes on.
pub fn examine(plan: &Plan, layout: &Layout, report: &mut Report) -> Result<()> {
    // Without a path there is an error about it already.
    let rootfs = match plan.rootfs.path.as_os_str().is_empty() {
        true => None,
        false => report.keep(prepare::rootfs(plan))?,
    };
    if let Some((rootfs, _)) = &rootfs {
        program(plan, rootfs.as_fd(), report);
        if plan.rootfs.pivot == Pivot::Chroot {
            report.keep(RootMount::copy(rootfs.as_fd()))?;
        }
    }
    namespaces(plan, report)?;
    mounts(plan, report)?;
    nodes(plan, report)?;
    cgroups(plan, layout, report)?;
    hooks(plan, report)?;
    for device in &plan.net_devices {
        report.keep(net_devices::find(device))?;
    }
    if let Some(asked) = &plan.intel_rdt {
        report.keep(Resctrl::find().and_then(|resctrl| resctrl.examine(asked)))?;
    }
    sysctls(plan, report);
    seccomp_of_kernel(plan, report)?;
    report.keep(apparmor_profile(plan))?;
    Ok(())
}

/// Kinds that the kernel has, those that are joined, and whether the caller may map the ids.
fn namespaces(plan: &Plan, report: &mut Report) -> Result<()> {
    let namespaces = &plan.namespaces;
    for (flag, name, file, _) in KINDS {
        if namespaces.is_listed(flag) && !Path::new("/proc/self/ns").join(file).exists() {
            let problem = format!("this kernel has no {name} namespaces");
            report.refuse(Error::new(ErrorKind::Kernel, problem).at(namespaces.pointer(flag)))?;
        }
    }
    for join in &namespaces.joined {
        let opened = prepare::namespace(join)
            .and_then(|opened: OwnedFd| prepare::refuse_own_namespace(plan, join, &opened));
        report.keep(opened)?;
    }
    let is_whole = |map: &crate::plan::namespaces::IdMap| map.outside(0).is_some();
    if let User::New { uids, gids } = &namespaces.user
        && is_whole(uids)
        && is_whole(gids)
        && !report.is_incomplete("/linux/uidMappings")
        && !report.is_incomplete("/linux/gidMappings")
    {
        let made = id_maps::namespace_of(&namespaces.user);
        report.keep(made.map_err(|e| e.at(namespaces.pointer(crate::plan::namespaces::flag::USER))))?;
    }
    Ok(())
}

fn mounts(plan: &Plan, report: &mut Report) -> Result<()> {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let is_known = |name: &str| known.lines().any(|line| line.split_whitespace().last() == Some(name));
    for mount in &plan.mounts {
        report.keep(prepare::source(mount))?;
        report.keep(prepare::own_id_map(mount))?;
        let Kind::FileSystem { fstype, .. } = &mount.kind else { continue };
        let fstype = fstype.to_string_lossy();
        // A file system of its own kind may have a subtype: fuse.sshfs.
        if !is_known(fstype.split('.').next().unwrap_or(&fstype)) {
            let text =
                format!("this kernel has no file system \"{fstype}\", unless it loads a module for it");
            report.advise(Severity::Warning, format!("{}/type", mount.at), text);
        }
    }
    if !plan.rootfs.masked.is_empty() {
        report.keep(prepare::null_mount())?;
    }
    Ok(())
}

fn nodes(plan: &Plan, report: &mut Report) -> Result<()> {
    if plan.devices.bind_nodes && plan.devices.populate {
        for node in &plan.devices.nodes {
            report.keep(prepare::device_node(node))?;
        }
    }
    Ok(())
}

fn cgroups(plan: &Plan, layout: &Layout, report: &mut Report) -> Result<()> {
    for error in cgroup::without_controller(&plan.cgroup, layout) {
        report.refuse(error)?;
    }
    Ok(())
}

/// Programs of hooks. Those of startContainer are files of the container, which may come with a mount.
fn hooks(plan: &Plan, report: &mut Report) -> Result<()> {
    let hooks = &plan.hooks;
    report.keep(hook_output::real(&hooks.output))?;
    let of_host =
        [&hooks.prestart, &hooks.create_runtime, &hooks.create_container, &hooks.poststart, &hooks.poststop];
    for hook in of_host.into_iter().flatten() {
        report.keep(hook_program(hook))?;
    }
    Ok(())
}

fn hook_program(hook: &Hook) -> Result<()> {
    let failed = |call: &'static str, e| {
        let what = format!("execute the {} {}", hook.name, hook.path.to_string_lossy());
        let error = Error::kernel(what, call, e).kind_of(ErrorKind::Hook).at(format!("{}/path", hook.at));
        let path = Path::new(OsStr::from_bytes(hook.path.to_bytes()));
        access::explain(error, Some(&Who::caller()), path, Use::Execute)
    };
    let stat = path::statx(path::cwd_fd(), &hook.path, 0).map_err(|e| failed("statx(2)", e))?;
    if stat.kind() != libc::S_IFREG {
        return Err(failed("execve(2)", crate::error::Errno::EACCES).detail("it is no regular file"));
    }
    path::may_execute(path::cwd_fd(), &hook.path).map_err(|e| failed("faccessat2(2)", e))
}

/// The program of the process, in the root file system as it is without mounts.
fn program(plan: &Plan, rootfs: BorrowedFd, report: &mut Report) {
    let candidates: Vec<&CString> = match &plan.process.program {
        Program::Path(path) => vec![path],
        Program::Search { candidates, .. } => candidates.iter().collect(),
    };
    let is_wrong = report.parts().0.iter().filter_map(Error::pointer).any(|at| {
        at == "/process"
            || at == "/process/args"
            || at == "/process/args/0"
            || at.starts_with("/process/env/")
    });
    // A relative path depends on the working directory.
    if is_wrong || candidates.iter().any(|path| !path.as_bytes().starts_with(b"/")) {
        return;
    }
    let is_there =
        |path: &CString| path::openat2(rootfs, path, libc::O_PATH, 0, libc::RESOLVE_IN_ROOT).is_ok();
    if !candidates.into_iter().any(is_there) {
        let text = "there is no such program in the root file system, unless a mount brings it";
        report.advise(Severity::Warning, format!("{}/args/0", plan.process.base), text);
    }
}

/// Parameters that no kernel module or configuration of this kernel has.
fn sysctls(plan: &Plan, report: &mut Report) {
    for sysctl in &plan.sysctls {
        if !Path::new("/proc/sys").join(sysctl.path.to_string_lossy().as_ref()).exists() {
            let text =
                "this kernel has no such parameter, unless the container's network has more interfaces";
            report.advise(Severity::Warning, sysctl.at.clone(), text);
        }
    }
}

fn seccomp_of_kernel(plan: &Plan, report: &mut Report) -> Result<()> {
    let Some(planned) = &plan.security.seccomp else { return Ok(()) };
    let policy = &planned.policy;
    for (name, bit) in teu_seccomp::FLAGS {
        if policy.flags() & bit != 0 && !seccomp::takes_flag(*bit) {
            let problem = format!("this kernel has no {name}");
            report.refuse(Error::new(ErrorKind::Kernel, problem).at("/linux/seccomp/flags"))?;
        }
    }
    let places = policy.actions().enumerate();
    let places = places.map(|(index, action)| (format!("/linux/seccomp/syscalls/{index}/action"), action));
    let default = ("/linux/seccomp/defaultAction".to_owned(), policy.default_action());
    for (at, action) in places.chain([default]) {
        if !seccomp::takes_action(action.value()) {
            let problem = format!("this kernel has no {action}");
            report.refuse(Error::new(ErrorKind::Kernel, problem).at(at))?;
        }
    }
    if let Some(listener) = policy.listener_path()
        && !Path::new(listener).exists()
    {
        let text = "nothing listens there; the container cannot be created without its agent";
        report.advise(Severity::Warning, "/linux/seccomp/listenerPath", text);
    }
    Ok(())
}

/// Profiles that are loaded can be listed by root alone.
fn apparmor_profile(plan: &Plan) -> Result<()> {
    let Some(profile) = &plan.security.apparmor else { return Ok(()) };
    let profile = profile.to_string_lossy();
    let Ok(loaded) = std::fs::read_to_string("/sys/kernel/security/apparmor/profiles") else { return Ok(()) };
    let is_loaded =
        loaded.lines().any(|line| line.rsplit_once(" (").is_some_and(|(name, _)| name == profile));
    if is_loaded || profile == "unconfined" {
        return Ok(());
    }
    let problem = format!("the AppArmor profile \"{profile}\" is not loaded");
    Err(Error::new(ErrorKind::Kernel, problem).at("/process/apparmorProfile"))
}
