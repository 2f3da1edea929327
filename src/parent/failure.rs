//! Turns the four numbers that the child sends into a sentence: the parent has the same plan.
#![forbid(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::access::{self, Use, Who};
use super::refused_mount;
use crate::error::{Errno, Error, Kind};
use crate::hints;
use crate::plan::Plan;
use crate::plan::exec::ExecPlan;
use crate::plan::identity::Identity;
use crate::plan::limits::Limits;
use crate::plan::mounts::{Kind as MountKind, Mount};
use crate::plan::namespaces::User;
use crate::plan::process::{Process, Program};
use crate::plan::security::Security;
use crate::sync::{Call, Failure, Phase};
use crate::sys::clone::Child;

/// The error of a failure in the child. `init` is that one, as long as nobody has waited for it.
pub fn error(plan: &Plan, failure: &Failure, init: Option<&Child>) -> Error {
    if let Some(error) = of_program(&plan.process, failure) {
        return diagnosed(plan, failure, init, error);
    }
    let item = failure.item as usize;
    if let Some(hook) = hook(plan, failure.phase, item) {
        let text = format!("error running {}: {}", hook.name, text(failure));
        return Error::new(Kind::Hook, text).at(&hook.at);
    }
    diagnosed(plan, failure, init, sentence(place(plan, failure.phase, item, failure.call), failure))
}

/// Adds whose way ended where, when that can be seen from here.
fn diagnosed(plan: &Plan, failure: &Failure, init: Option<&Child>, error: Error) -> Error {
    if !access::is_denial(errno(failure)) {
        return error;
    }
    let root = || Who::root_of(&plan.namespaces.user, init);
    let rootfs = &plan.rootfs.path;
    match failure.phase {
        Phase::Rootfs => access::explain(error, root().as_ref(), rootfs, Use::Enter),
        Phase::Mounts => match plan.mounts.get(failure.item as usize) {
            Some(Mount { kind: MountKind::Bind { source, .. }, .. }) if failure.call == Call::OpenTree => {
                access::explain(error, Some(&Who::caller()), path(source.to_bytes()), Use::Reach)
            }
            Some(mount) if is_about_a_path(failure.call) => {
                let destination = path(mount.destination.to_bytes());
                access::explain_inside(error, root().as_ref(), rootfs, destination, Use::Make)
            }
            Some(mount) => refused_mount::explain(error, plan, mount, failure),
            None => error,
        },
        _ => {
            let mounts = plan.mounts.iter().map(|mount| mount.destination.as_c_str());
            let place = Place { user: &plan.namespaces.user, init, rootfs, covered: mounts.collect() };
            place.diagnosed(&plan.process, &plan.identity, failure, error)
        }
    }
}

/// The calls that find or make what a path names. About a mount others say no, too.
fn is_about_a_path(call: Call) -> bool {
    use Call::{Chmod, Mkdirat, Mknodat, Openat, Readlinkat, Statx, Symlinkat};
    matches!(call, Openat | Mkdirat | Mknodat | Symlinkat | Readlinkat | Statx | Chmod)
}

/// A container in which a process is to run, as far as it can be seen from outside.
pub struct Place<'a> {
    /// Its user namespace.
    pub user: &'a User,
    /// A process in that one.
    pub init: Option<&'a Child>,
    /// The root file system on the host, which lacks the mounts of the container.
    pub rootfs: &'a Path,
    /// Where those are.
    pub covered: Vec<&'a CStr>,
}

impl Place<'_> {
    /// Adds where the way to the working directory or to the program ended.
    fn diagnosed(&self, process: &Process, identity: &Identity, failure: &Failure, error: Error) -> Error {
        if !access::is_denial(errno(failure)) {
            return error;
        }
        let makes = failure.call == Call::Mkdirat;
        let (asked, purpose) = match (failure.phase, &process.program) {
            (Phase::Cwd, _) if makes => (&process.cwd, Use::Make),
            (Phase::Cwd, _) => (&process.cwd, Use::Enter),
            (Phase::Program | Phase::Execve, Program::Path(program)) => (program, Use::Execute),
            _ => return error,
        };
        let asked = path(asked.to_bytes());
        if self.covers(asked) {
            return error;
        }
        let who = match makes {
            true => Who::root_of(self.user, self.init),
            false => Who::user_of(self.user, self.init, identity),
        };
        access::explain_inside(error, who.as_ref(), self.rootfs, asked, purpose)
    }

    /// Whether the path leads into a mount of the container: what lies below it is not what it finds.
    fn covers(&self, asked: &Path) -> bool {
        let plain = |path: &Path| path.strip_prefix("/").unwrap_or(path).to_owned();
        let asked = plain(asked);
        let mounts = self.covered.iter().map(|mount| plain(path(mount.to_bytes())));
        // A mount on the root itself only changes how that one is mounted.
        mounts.filter(|mount| !mount.as_os_str().is_empty()).any(|mount| asked.starts_with(mount))
    }
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// The error of a failure in a process that was to be added to a container.
pub fn exec_error(plan: &ExecPlan, failure: &Failure, place: &Place) -> Error {
    let error = of_program(&plan.process, failure).unwrap_or_else(|| {
        let place = match failure.phase {
            Phase::Limits => limit(&plan.limits, failure.item as usize),
            phase => place_in_process(&plan.process, &plan.security, phase, failure.call),
        };
        sentence(place, failure)
    });
    place.diagnosed(&plan.process, &plan.identity, failure, error)
}

fn text(failure: &Failure) -> String {
    String::from_utf8_lossy(&failure.text).into_owned()
}

fn errno(failure: &Failure) -> Option<Errno> {
    (failure.errno != 0).then(|| Errno::from_raw(failure.errno))
}

/// The program could not be found or executed.
fn of_program(process: &Process, failure: &Failure) -> Option<Error> {
    let (text, errno) = (text(failure), errno(failure));
    match (failure.phase, failure.call) {
        (Phase::Program, call) => Some(program(process, call, errno, &text)),
        (Phase::Execve, Call::Execve) => {
            let error =
                Error::new(Kind::Program, format!("exec {text}")).at(format!("{}/args/0", process.base));
            Some(hinted(with_call(error, failure.call, errno), failure, errno))
        }
        _ => None,
    }
}

fn sentence((doing, at): (String, String), failure: &Failure) -> Error {
    let (text, errno) = (text(failure), errno(failure));
    let kind = if failure.phase == Phase::Cwd { Kind::Program } else { Kind::Kernel };
    let mut error = Error::new(kind, doing);
    if !at.is_empty() {
        error = error.at(at);
    }
    let error = with_call(error, failure.call, errno).detail(text);
    hinted(error, failure, errno)
}

fn with_call(error: Error, call: Call, errno: Option<Errno>) -> Error {
    match errno {
        Some(errno) => error.call(call.text(), errno),
        None => error,
    }
}

fn hinted(error: Error, failure: &Failure, errno: Option<Errno>) -> Error {
    match hints::of_child(failure.phase, failure.call, errno) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Engines derive exit codes 126 and 127 from these texts.
fn program(process: &Process, call: Call, errno: Option<Errno>, name: &str) -> Error {
    let at = format!("{}/args/0", process.base);
    let error = match (&process.program, errno) {
        (Program::Search { .. }, _) => {
            Error::new(Kind::Program, format!("exec: \"{name}\": executable file not found in $PATH"))
        }
        (_, Some(errno)) => {
            let stat = if call == Call::Statx { format!("stat {name}: ") } else { String::new() };
            let text = format!("exec: \"{name}\": {stat}{}", crate::error::sentence(errno, Kind::Program));
            Error::new(Kind::Program, text)
        }
        (_, None) => Error::new(Kind::Program, format!("exec: \"{name}\"")),
    };
    let error = error.at(at);
    match hints::of_child(Phase::Program, call, errno) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn limit(limits: &Limits, item: usize) -> (String, String) {
    match limits.rlimits.get(item) {
        Some((limit, at)) => (limit.setting(), at.clone()),
        None => (Phase::Limits.text().to_owned(), String::new()),
    }
}

fn hook(plan: &Plan, phase: Phase, item: usize) -> Option<&crate::plan::hooks::Hook> {
    match phase {
        Phase::CreateContainerHooks => plan.hooks.create_container.get(item),
        Phase::StartContainerHooks => plan.hooks.start_container.get(item),
        _ => None,
    }
}

/// What was being done, and the pointer of the field that asked for it.
fn place(plan: &Plan, phase: Phase, item: usize, call: Call) -> (String, String) {
    let general = phase.text().to_owned();
    let at_item = |list: Option<(String, &String)>| {
        list.map(|(doing, at)| (doing, at.clone())).unwrap_or((general.clone(), String::new()))
    };
    let fixed = |at: &str| (general.clone(), at.to_owned());
    match phase {
        Phase::Mounts => at_item(plan.mounts.get(item).map(|mount| {
            let what = match &mount.kind {
                MountKind::Bind { source, .. } => source.to_string_lossy().into_owned(),
                MountKind::FileSystem { fstype, .. } => fstype.to_string_lossy().into_owned(),
                MountKind::Cgroup { .. } => "cgroup".to_owned(),
                MountKind::Remount => return (format!("remount {}", mount.shown), &mount.at),
            };
            (format!("mount {what} at {}", mount.shown), &mount.at)
        })),
        Phase::Devices => {
            at_item(plan.devices.nodes.get(item).map(|n| (format!("make the device {}", n.shown), &n.at)))
        }
        Phase::Sysctls => at_item(plan.sysctls.get(item).map(|s| {
            (format!("set the sysctl {} to {}", s.path.to_string_lossy(), s.value.to_string_lossy()), &s.at)
        })),
        Phase::ReadOnlyPaths => at_item(
            plan.rootfs.read_only_paths.get(item).map(|p| (format!("make {} read-only", p.shown), &p.at)),
        ),
        Phase::MaskedPaths => {
            at_item(plan.rootfs.masked.get(item).map(|p| (format!("mask {}", p.shown), &p.at)))
        }
        Phase::Namespaces => match plan.namespaces.joined.get(item) {
            Some(join) => (format!("enter the namespace {}", join.path.to_string_lossy()), join.at.clone()),
            None => fixed("/linux/namespaces"),
        },
        Phase::Limits => limit(&plan.limits, item),
        Phase::OomScore => fixed("/process/oomScoreAdj"),
        Phase::TimeOffsets => fixed("/linux/timeOffsets"),
        Phase::HostName => fixed("/hostname"),
        Phase::DomainName => fixed("/domainname"),
        Phase::Propagation => fixed("/linux/rootfsPropagation"),
        Phase::Rootfs | Phase::Pivot => fixed("/root/path"),
        Phase::ReadOnlyRoot => fixed("/root/readonly"),
        Phase::DeviceLinks => fixed("/linux/devices"),
        _ => place_in_process(&plan.process, &plan.security, phase, call),
    }
}

/// The same for what every process has, the first of a container and later ones.
fn place_in_process(process: &Process, security: &Security, phase: Phase, call: Call) -> (String, String) {
    let below = |member: &str| (phase.text().to_owned(), format!("{}/{member}", process.base));
    match phase {
        Phase::Terminal => below("terminal"),
        Phase::Cwd => {
            let (_, at) = below("cwd");
            (format!("chdir to cwd (\"{}\")", process.cwd.to_string_lossy()), at)
        }
        // podman tells these failures by the path, and only between back-ticks.
        Phase::Labels => match &security.apparmor {
            Some(profile) => {
                let (_, at) = below("apparmorProfile");
                let profile = profile.to_string_lossy();
                (format!("set the AppArmor profile \"{profile}\" through `/proc/thread-self/attr/exec`"), at)
            }
            None => {
                let (what, at) = below("selinuxLabel");
                (format!("{what} through `/proc/thread-self/attr/exec`"), at)
            }
        },
        Phase::Identity => below("user"),
        Phase::Scheduling => match call {
            Call::IoprioSet => below("ioPriority"),
            Call::Personality => (phase.text().to_owned(), "/linux/personality".to_owned()),
            Call::SetMempolicy => ("set the memory policy".to_owned(), "/linux/memoryPolicy".to_owned()),
            _ => below("scheduler"),
        },
        Phase::Seccomp => (phase.text().to_owned(), "/linux/seccomp".to_owned()),
        _ => (phase.text().to_owned(), String::new()),
    }
}
