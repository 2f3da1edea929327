//! The parts of `process` for which the types of the `oci-spec` crate do not fit the specification.

use serde::Deserialize;

/// Capabilities by name, as written. Unknown names are a warning in the specification, so they must survive
/// reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// `capabilities.bounding`.
    pub bounding: Vec<String>,
    /// `capabilities.effective`.
    pub effective: Vec<String>,
    /// `capabilities.inheritable`.
    pub inheritable: Vec<String>,
    /// `capabilities.permitted`.
    pub permitted: Vec<String>,
    /// `capabilities.ambient`.
    pub ambient: Vec<String>,
}

/// `process.scheduler`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Scheduler {
    /// SCHED_*.
    pub policy: String,
    /// Nice value.
    #[serde(default)]
    pub nice: i32,
    /// Static priority.
    #[serde(default)]
    pub priority: i32,
    /// SCHED_FLAG_*.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Nanoseconds.
    #[serde(default)]
    pub runtime: u64,
    /// Nanoseconds.
    #[serde(default)]
    pub deadline: u64,
    /// Nanoseconds.
    #[serde(default)]
    pub period: u64,
}

/// `process.execCPUAffinity`: lists of processors such as `0-3,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ExecCpuAffinity {
    /// While the process is brought into the cgroup.
    pub initial: Option<String>,
    /// Afterwards.
    #[serde(rename = "final")]
    pub last: Option<String>,
}

/// What [`super::Config`] keeps of `process` besides the type of the crate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// `process.capabilities`; absent and empty mean different things.
    pub capabilities: Option<Capabilities>,
    /// `process.scheduler`.
    pub scheduler: Option<Scheduler>,
    /// `process.execCPUAffinity`.
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
}
