//! `state.json`: a small record with the field names that third parties read, and our own part beside them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::{Hook, LinuxResources};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::parent::prepare::HookState;
use crate::parent::root_mount::MountedRoot;
use crate::plan::Plan;
use crate::plan::hooks::Output;
use crate::plan::namespaces::{KINDS, flag};
use crate::resctrl::Held;
use crate::sys::clone::Child;

/// Version of our part.
pub const VERSION: u32 = 1;

/// The record of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Container id.
    pub id: String,
    /// Process id of init in the pid namespace of `create`.
    pub init_process_pid: i32,
    /// Start time of init, field 22 of /proc/PID/stat, in clock ticks since boot.
    pub init_process_start: u64,
    /// When the container was created, RFC 3339.
    pub created: String,
    /// The caller was not the root of the host.
    pub rootless: bool,
    /// Controller (`""` for cgroup v2) to path.
    pub cgroup_paths: BTreeMap<String, PathBuf>,
    /// The group of the resctrl file system, or nothing.
    #[serde(default)]
    pub intel_rdt_path: PathBuf,
    /// `NEWPID` and so on to path.
    pub namespace_paths: BTreeMap<String, PathBuf>,
    /// What the standard streams of init lead to.
    pub external_descriptors: Vec<String>,
    /// A part of what runc stores here.
    pub config: RecordConfig,
    /// What only teu reads.
    pub own: Own,
}

/// Fields of runc's `config` that third parties read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecordConfig {
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// Host name.
    pub hostname: String,
    /// `ociVersion` of the configuration.
    pub version: String,
    /// Annotations as `key=value`, and `bundle=PATH` at the end.
    pub labels: Vec<String>,
    /// Namespaces.
    pub namespaces: Vec<Namespace>,
    /// No session keyring was made.
    pub no_new_keyring: bool,
    /// Set by `noNewPrivileges`.
    pub no_new_privileges: bool,
}

/// One namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Namespace {
    /// `NEWPID` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// Path, when it was joined.
    pub path: String,
}

/// Hooks that run after `create`, as the configuration has them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HookLists {
    /// `poststart`.
    pub poststart: Option<Vec<Hook>>,
    /// `poststop`.
    pub poststop: Option<Vec<Hook>>,
    /// Where what they print goes, by names without links.
    #[serde(skip_serializing_if = "Output::is_none")]
    pub output: Output,
}

/// A unit of systemd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name, such as `teu-c1.scope`.
    pub name: String,
    /// It belongs to the manager of the calling user, and not to that of the system.
    pub of_user: bool,
}

impl Unit {
    /// Whether it may hold other units.
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }
}

/// What tells a process from every other one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Process id in the pid namespace of `create`.
    pid: i32,
    /// Start time, in clock ticks since boot.
    start: u64,
    /// The boot of the host.
    boot: String,
    /// The kernel's own number, where it has one; else 0.
    number: u64,
}

impl Identity {
    /// The process, if it is still the same one: same boot, same start time, not a zombie.
    ///
    /// A pid can be given again within one tick of the clock; where the kernel numbers processes, that tells them apart.
    pub fn live(&self) -> Option<Child> {
        if self.pid <= 0 || boot_id().ok()? != self.boot {
            return None;
        }
        // Held first and compared after, so that the pid cannot change hands in between.
        let process = Child::open(self.pid).ok()?;
        let same = start_time(self.pid).ok()? == Some(self.start);
        let other = self.number != 0 && process.identity().is_some_and(|number| number != self.number);
        (same && !other).then_some(process)
    }
}

/// Our own part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Own {
    /// Version of this part.
    pub version: u32,
    /// `create` has not finished.
    pub creating: bool,
    /// This boot of the host.
    pub boot_id: String,
    /// What tells init from every other process of this boot, where the kernel has such a number; else 0.
    #[serde(default)]
    pub init_identity: u64,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Hooks of later commands.
    pub hooks: HookLists,
    /// `start` has begun: the gate says nothing any more.
    #[serde(default)]
    pub starting: bool,
    /// The cgroups are the container's. Before that they are only planned, and may be somebody else's.
    #[serde(default)]
    pub owns_cgroups: bool,
    /// What a container without a mount namespace has mounted, in the one of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_mount: Option<MountedRoot>,
    /// The group of the resctrl file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<Held>,
    /// The init process has a pid namespace of its own, so that its end is the end of all.
    pub private_pid_namespace: bool,
    /// The cgroup is made by systemd.
    pub systemd_cgroup: bool,
    /// The unit that it is made as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// poststop hooks have been started once.
    pub poststop_ran: bool,
    /// The name of the session keyring that was made. Who may not read this record does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
    /// `seccomp record` looks at every system call; processes that are added must be seen too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recording: bool,
    /// The limits as the last `update` left them; until then those of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<LinuxResources>,
}

impl Record {
    /// The record of a container that is being created and whose init process does not exist yet.
    pub fn of_plan(
        plan: &Plan,
        hooks: HookLists,
        cgroups: BTreeMap<String, PathBuf>,
        rootless: bool,
    ) -> Result<Record> {
        let namespaces = &plan.namespaces;
        let listed =
            KINDS.iter().filter(|(flag, ..)| namespaces.has(*flag)).map(|(flag, _, _, name)| Namespace {
                kind: (*name).to_owned(),
                path: namespaces
                    .join_of(*flag)
                    .map_or(String::new(), |j| j.path.to_string_lossy().into_owned()),
            });
        let mut labels: Vec<String> = plan.annotations.iter().map(|(k, v)| format!("{k}={v}")).collect();
        labels.push(format!("bundle={}", plan.bundle.display()));
        Ok(Record {
            id: plan.id.clone(),
            init_process_pid: 0,
            init_process_start: 0,
            created: humantime::format_rfc3339_nanos(std::time::SystemTime::now()).to_string(),
            rootless,
            cgroup_paths: cgroups,
            intel_rdt_path: PathBuf::new(),
            namespace_paths: BTreeMap::new(),
            external_descriptors: (0..=2)
                .map(|n| std::fs::read_link(format!("/proc/self/fd/{n}")).unwrap_or_default())
                .map(|link| link.to_string_lossy().into_owned())
                .collect(),
            config: RecordConfig {
                rootfs: plan.rootfs.path.clone(),
                hostname: plan
                    .uts
                    .hostname
                    .as_ref()
                    .map_or(String::new(), |h| h.to_string_lossy().into_owned()),
                version: plan.oci_version.clone(),
                labels,
                namespaces: listed.collect(),
                no_new_keyring: plan.keyring.is_none(),
                no_new_privileges: plan.identity.no_new_privileges,
            },
            own: Own {
                version: VERSION,
                creating: true,
                boot_id: boot_id()?,
                init_identity: 0,
                bundle: plan.bundle.clone(),
                annotations: plan.annotations.clone(),
                hooks,
                starting: false,
                owns_cgroups: false,
                root_mount: None,
                intel_rdt: None,
                private_pid_namespace: namespaces.is_new(flag::PID),
                systemd_cgroup: plan.cgroup.driver == crate::plan::cgroup::Driver::Systemd,
                unit: plan
                    .cgroup
                    .unit()
                    .map(|unit| Unit { name: unit.name.clone(), of_user: plan.cgroup.rootless }),
                poststop_ran: false,
                keyring: None,
                recording: false,
                resources: None,
            },
        })
    }

    /// Names the init process.
    pub fn set_init(&mut self, init: &Child) -> Result<()> {
        let pid = init.pid;
        self.init_process_start = start_time(pid)?.ok_or_else(|| {
            Error::kernel("read the start time of the init process", "openat(2)", crate::error::Errno::ESRCH)
        })?;
        self.init_process_pid = pid;
        self.own.init_identity = init.identity().unwrap_or(0);
        self.namespace_paths = KINDS
            .iter()
            .map(|(_, _, file, name)| ((*name).to_owned(), PathBuf::from(format!("/proc/{pid}/ns/{file}"))))
            .collect();
        Ok(())
    }

    /// The init process, if it is still the same one.
    pub fn live_init(&self) -> Option<Child> {
        self.identity().live()
    }

    /// What tells the init process from every other one.
    pub fn identity(&self) -> Identity {
        Identity {
            pid: self.init_process_pid,
            start: self.init_process_start,
            boot: self.own.boot_id.clone(),
            number: self.own.init_identity,
        }
    }

    /// The state document of hooks.
    pub fn hook_state(&self) -> HookState {
        HookState {
            id: self.id.clone(),
            bundle: self.own.bundle.to_string_lossy().into_owned(),
            annotations: serde_json::json!(self.own.annotations),
        }
    }
}

/// Identifies this boot of the host.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    crate::sys::path::read_text(path)
        .map(|id| id.trim().to_owned())
        .map_err(|e| Error::io(format!("read {path}"), "openat(2)", &e))
}

/// Start time of a process in clock ticks since boot. `None` for one that is gone, a zombie, or dead.
pub fn start_time(pid: i32) -> Result<Option<u64>> {
    use procfs::FromRead;
    use procfs::process::{ProcState, Stat};
    let text = match crate::sys::path::read_unsized(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => return Ok(None),
        Err(error) => return Err(Error::io(format!("read the state of process {pid}"), "read(2)", &error)),
    };
    let stat = Stat::from_read(text.as_slice())
        .map_err(|error| Error::state(format!("read the state of process {pid}: {error}")))?;
    match stat.state() {
        Ok(ProcState::Zombie | ProcState::Dead) => Ok(None),
        _ => Ok(Some(stat.starttime)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn record() -> Value {
        json!({
            "id": "c1", "init_process_pid": 1, "init_process_start": 2, "created": "2025-01-01T00:00:00Z",
            "rootless": false, "cgroup_paths": {}, "namespace_paths": {}, "external_descriptors": [],
            "config": {
                "rootfs": "/r", "hostname": "", "version": "1.0.2", "labels": [], "namespaces": [],
                "no_new_keyring": false, "no_new_privileges": false,
            },
            "own": {
                "version": 1, "creating": false, "boot_id": "b", "bundle": "/b", "annotations": {}, "hooks": {},
                "private_pid_namespace": true, "systemd_cgroup": false, "poststop_ran": false,
            },
        })
    }

    #[test]
    fn a_record_from_before_the_first_update_can_be_read() {
        let record: Record = serde_json::from_value(record()).unwrap();
        assert_eq!(record.own.resources, None);
        assert!(!serde_json::to_string(&record).unwrap().contains("resources"));
    }

    #[test]
    fn limits_survive_the_record() {
        let resources = json!({
            "memory": {"limit": -1, "swap": 5, "reservation": 4, "swappiness": 3, "checkBeforeUpdate": true},
            "cpu": {"shares": 2, "quota": -1, "period": 5, "burst": 1, "idle": 1, "cpus": "0-1", "mems": "0"},
            "pids": {"limit": -1},
            "blockIO": {
                "weight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": -1}],
            "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 1}]},
            "rdma": {"mlx": {"hcaHandles": 1}},
            "unified": {"memory.high": "5"},
        });
        let mut record: Record = serde_json::from_value(record()).unwrap();
        record.own.resources = Some(serde_json::from_value(resources).unwrap());
        let again: Record = serde_json::from_slice(&serde_json::to_vec(&record).unwrap()).unwrap();
        assert_eq!(again.own.resources, record.own.resources);
    }
}
