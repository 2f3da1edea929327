//! The plan: what will be done, in what order, and which field of `config.json` asked for it.
//!
//! [`plan`] reads three values and does no I/O: `config.json`, the command with what it inherited, and a dozen
//! facts about the host. It validates, fills in defaults, translates words into kernel constants and builds the
//! strings that system calls take. The order of phases is not here: it is code, in `parent::create` and
//! `child::create`. What each phase does is a slice of the plan, and each item knows its JSON pointer.
//!
//! Questions that only the container's own tree can answer (symbolic links, the program in PATH, the home
//! directory) stay questions here, as types; the child answers each once, on a file descriptor.
#![forbid(unsafe_code)]

mod advice;
pub mod cgroup;
pub mod devices;
pub mod exec;
pub mod hooks;
pub mod identity;
pub mod intel_rdt;
pub mod limits;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod process;
pub mod rootfs;
pub mod security;
pub mod show;
pub mod sysctl;
#[cfg(test)]
pub(crate) mod tests;
pub mod uts;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;

use crate::config::{Config, Warning};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::report::Report;

/// The oldest version of the specification whose configurations are understood.
pub const OLDEST_VERSION: &str = "1.0.0";

/// What the command line and the calling process contribute to a plan.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The container id, already validated.
    pub id: String,
    /// Absolute path of the bundle, links resolved.
    pub bundle: PathBuf,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--console-socket` was given.
    pub console_socket: bool,
    /// The command returns while the container lives (`create`, `run --detach`).
    pub detached: bool,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// Descriptors passed by socket activation, counted only when LISTEN_PID names this process.
    pub listen_fds: u32,
    /// `--systemd-cgroup`, or the driver that `--cgroup-manager` names.
    pub cgroup_driver: cgroup::Driver,
    /// `--rootless`: the caller may lack privilege over cgroups, or may not. `None` when that is to be found out.
    pub rootless: Option<bool>,
    /// The relay directory for NOTIFY_SOCKET, when the caller waits for readiness.
    pub notify_directory: Option<PathBuf>,
}

/// Everything that `create` will do.
#[derive(Debug)]
pub struct Plan {
    /// Container id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// `ociVersion` of the configuration.
    pub oci_version: String,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
    /// Namespaces, and how they are entered.
    pub namespaces: namespaces::Namespaces,
    /// The cgroup and its limits.
    pub cgroup: cgroup::CgroupPlan,
    /// The share of caches and memory bandwidth.
    pub intel_rdt: Option<intel_rdt::IntelRdt>,
    /// Network devices of the host that move into the container, in order.
    pub net_devices: Vec<net_devices::NetDevice>,
    /// Host and domain name.
    pub uts: uts::Uts,
    /// Root file system, propagation, masked and read-only paths.
    pub rootfs: rootfs::Rootfs,
    /// Mounts, in order.
    pub mounts: Vec<mounts::Mount>,
    /// The mount of the readiness socket, whose source is made with the state directory.
    pub notify: Option<usize>,
    /// Device nodes and links in /dev.
    pub devices: devices::Devices,
    /// Kernel parameters.
    pub sysctls: Vec<sysctl::Sysctl>,
    /// Resource limits and OOM score, set from outside.
    pub limits: limits::Limits,
    /// What runs.
    pub process: process::Process,
    /// As whom it runs.
    pub identity: identity::Identity,
    /// Seccomp filter and LSM labels.
    pub security: security::Security,
    /// Hooks.
    pub hooks: hooks::Hooks,
    /// A session keyring is made, whose name begins so.
    pub keyring: Option<CString>,
    /// How many descriptors from 3 on the container gets.
    pub passed_fds: u32,
    /// The caller is not the root of the host.
    pub rootless: bool,
    /// The capabilities that the caller has in its own user namespace.
    pub of_caller: u64,
    /// The cgroup is given to the user of the process, who may make cgroups below it.
    pub delegates_cgroup: bool,
    /// What is suspicious but no error.
    pub warnings: Vec<Warning>,
}

const CAP_SYS_PTRACE: u64 = 1 << 19;
const CAP_SYS_ADMIN: u64 = 1 << 21;

impl Plan {
    /// Whether the caller may make the namespaces and mounts of the container: the root of a container around this one
    /// often may not.
    pub fn has_the_privilege(&self) -> bool {
        self.namespaces.has_user() || self.of_caller & CAP_SYS_ADMIN != 0
    }

    /// Whether the init process is hidden before it exists: no container may look into it, and it has the root and the
    /// handles of the host.
    ///
    /// The files in /proc of a hidden process belong to root, so an unprivileged parent could not write its id maps; its
    /// child hides a little later, or before it joins a user namespace. A parent that is root of a user namespace can.
    /// There its containers mostly have no user namespace of their own, so they are the owner of each one that it
    /// makes, and have every capability over what is in it, although they have none themselves.
    ///
    /// Source: user_namespaces(7), capabilities in a child namespace; proc(5), ownership of /proc/PID.
    pub fn hides_from_birth(&self) -> bool {
        !self.rootless || self.of_caller & CAP_SYS_PTRACE != 0
    }

    /// Whether the init process makes itself dumpable while its unprivileged caller, or a program of the caller, must
    /// look into it.
    ///
    /// A process hides as soon as it has handles that no container may get. The kernel then hides it from its own user
    /// too, and hooks that set up a network cannot open its namespaces. Where it has a user namespace of its own, it
    /// can show itself without being seen by any container: whoever is in another one has no CAP_SYS_PTRACE over it.
    /// The user who has made it has, outside of any container; the root of a user namespace, whose containers may be
    /// that user, has CAP_SYS_PTRACE as a rule and need not show anything. A user namespace that is joined may have
    /// processes that are watching.
    ///
    /// Source: ptrace(2), access mode checking; prctl(2), PR_SET_DUMPABLE.
    pub fn may_show_itself(&self) -> bool {
        self.of_caller & CAP_SYS_PTRACE == 0 && matches!(self.namespaces.user, namespaces::User::New { .. })
    }

    /// The init process can make its namespaces and mounts while the parent still works for it, because nothing of what
    /// the parent does to it has a part in them: no id map, no offset of a clock, no device of a network, no owner of
    /// the cgroup, no filter of devices.
    pub fn has_independent_mounts(&self) -> bool {
        let namespaces = &self.namespaces;
        let awaits_ids = self.rootless || namespaces.stage || namespaces.has_user() || self.delegates_cgroup;
        let independent = |mount: &mounts::Mount| mount.id_mapping.is_none() && mount.is_without_devices();
        !awaits_ids
            && namespaces.time_offsets.is_none()
            && self.net_devices.is_empty()
            && self.mounts.iter().all(independent)
    }
}

/// Makes the plan of `create` and `run`.
///
/// Errors: the first thing that is wrong with the configuration or that this host cannot do.
pub fn plan(config: &Config, request: &Request, host: &Host) -> Result<Plan> {
    let mut report = Report::of_first_error();
    let mut plan = plan_into(config, request, host, &mut report)?;
    plan.warnings = config.warnings.iter().cloned().chain(report.into_warnings()).collect();
    Ok(plan)
}

/// The same with everything that is to be said told to `report`, and nothing in `warnings`.
///
/// Where the report goes on after errors, the plan lacks what is wrong and cannot be carried out.
pub fn plan_into(config: &Config, request: &Request, host: &Host, report: &mut Report) -> Result<Plan> {
    let spec = &config.spec;
    report.keep(version(spec.version()))?;
    let linux = spec.linux().as_ref();
    let annotations = annotations(spec, report)?;
    let namespaces = namespaces::plan(linux, host, report)?;
    let model = oci_spec::runtime::Process::default();
    let process = match spec.process() {
        Some(process) => process,
        None => {
            let error = Error::config("/process", "process property must be set");
            report.refuse(error.hint("a container without a process cannot be started"))?;
            &model
        }
    };
    let rootfs = rootfs::plan(spec, request, &namespaces, report)?;
    let mut mounts = mounts::plan(spec, request, &namespaces, report)?;
    let devices = devices::plan(linux, process, &mounts, &namespaces, host, report)?;
    let planned_process = process::plan(process, &config.process, request, report)?;
    let identity =
        identity::plan(process, &config.process, "/process", &annotations, &namespaces, host, report)?;
    let nodes: Vec<&str> = devices.configured_paths().collect();
    let cgroup_request = cgroup::Request {
        id: &request.id,
        linux,
        driver: request.cgroup_driver,
        mode: host.cgroup_mode,
        // A root without CAP_SYS_ADMIN is that of a container, whose cgroups are seldom its own.
        rootless: request
            .rootless
            .unwrap_or(host.is_rootless() || namespaces.has_user() && host.permitted & CAP_SYS_ADMIN == 0),
        unified: &host.unified_controllers,
        device_nodes: &nodes,
        annotations: Some(&annotations),
    };
    let cgroup = cgroup::plan_cgroup(&cgroup_request, report)?;
    if report.goes_on() {
        advice::advise(config, report);
    }
    let mut security = security::plan(config, process, &annotations, host, report)?;
    security::label_mounts(&mut security, &annotations, &namespaces, &mut mounts, report)?;
    let output = hooks::output(&annotations, &request.bundle, report)?;
    let intel_rdt = intel_rdt::plan(linux, &request.id, host, report)?;
    Ok(Plan {
        id: request.id.clone(),
        bundle: request.bundle.clone(),
        oci_version: spec.version().clone(),
        intel_rdt,
        net_devices: net_devices::plan(linux, &namespaces, host, report)?,
        uts: uts::plan(spec, &namespaces, report)?,
        sysctls: sysctl::plan(linux, &namespaces, report)?,
        limits: limits::plan(process, "/process", report)?,
        hooks: hooks::plan(spec.hooks().as_ref(), output, &planned_process.environment, report)?,
        keyring: if request.no_new_keyring {
            None
        } else {
            Some(c_string(&format!("_ses.{}", request.id), "/")?)
        },
        rootless: host.is_rootless(),
        of_caller: host.permitted,
        delegates_cgroup: delegates(&cgroup, &namespaces, &mounts),
        passed_fds: request.preserve_fds.saturating_add(request.listen_fds),
        process: planned_process,
        annotations,
        namespaces,
        cgroup,
        rootfs,
        notify: request.notify_directory.as_ref().map(|_| mounts.len() - 1),
        mounts,
        devices,
        identity,
        security,
        warnings: Vec::new(),
    })
}

/// Source: config-linux.md#cgroup-ownership.
fn delegates(
    cgroup: &cgroup::CgroupPlan,
    namespaces: &namespaces::Namespaces,
    mounts: &[mounts::Mount],
) -> bool {
    let writable = |mount: &&mounts::Mount| {
        (mount.attributes.set | mount.recursive.set) & mounts::attr::RDONLY == 0
            && matches!(mount.kind, mounts::Kind::Cgroup { .. })
    };
    cgroup.mode == cgroup::Mode::V2
        && cgroup.driver != cgroup::Driver::Disabled
        && namespaces.is_new(namespaces::flag::CGROUP)
        && mounts.iter().filter(|mount| mount.is_at("sys/fs/cgroup")).any(|mount| writable(&mount))
}

/// The version must be SemVer of major 1; newer minors are fine, since unknown properties are ignored.
fn version(version: &str) -> Result<()> {
    let wrong = |text: String| {
        Err(Error::config("/ociVersion", text)
            .hint("teu reads versions 1.0.0 to 1.3.0 and later ones of major 1"))
    };
    let (core, rest) = version.split_at(version.find(['-', '+']).unwrap_or(version.len()));
    let (pre_release, build) = rest.split_once('+').map_or((rest, None), |(pre, build)| (pre, Some(build)));
    let is_list = |list: &str| {
        let is_letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        list.split('.').all(|identifier| !identifier.is_empty() && identifier.bytes().all(is_letter))
    };
    let is_rest = (pre_release.is_empty() || pre_release.strip_prefix('-').is_some_and(is_list))
        && build.is_none_or(is_list);
    let numbers: Vec<&str> = core.split('.').collect();
    let is_number = |n: &&str| {
        !n.is_empty()
            && n.len() < 10
            && n.bytes().all(|b| b.is_ascii_digit())
            && (*n == "0" || !n.starts_with('0'))
    };
    if numbers.len() != 3 || !numbers.iter().all(is_number) || !is_rest {
        return wrong(format!("\"{version}\" is no semantic version"));
    }
    if numbers[0] != "1" {
        return wrong(format!("version {version} of the specification is not supported"));
    }
    Ok(())
}

fn annotations(spec: &oci_spec::runtime::Spec, report: &mut Report) -> Result<BTreeMap<String, String>> {
    let mut sorted = BTreeMap::new();
    for (key, value) in spec.annotations().iter().flatten() {
        if key.is_empty() {
            report.refuse(Error::config("/annotations/", "the key of an annotation must not be empty"))?;
        }
        sorted.insert(key.clone(), value.clone());
    }
    Ok(sorted)
}

/// A string for a system call; a NUL byte inside is an error at `pointer`.
pub fn c_string(text: &str, pointer: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::config(pointer, "the string contains a NUL byte"))
}

/// The pointer of element `index` below `base`.
pub fn item(base: &str, index: usize) -> String {
    format!("{base}/{index}")
}
