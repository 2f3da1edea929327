//! What to look at when a call fails: one sentence for each known cause, keyed by phase, call and errno.
#![forbid(unsafe_code)]

use crate::error::Errno;
use crate::sync::{Call, Phase};

/// A resource limit could not be set, by whichever process.
pub const HARD_LIMIT: &str =
    "raising a hard limit needs CAP_SYS_RESOURCE; RLIMIT_NOFILE cannot exceed fs.nr_open";

/// An offset of a clock that the kernel does not take, whichever process writes it. Source: time_namespaces(7).
pub const OFFSET: &str =
    "with its offset a clock must not be below zero, nor beyond half of what the kernel counts to, 146 years";

/// The table, first match wins. `None` as errno matches every one.
const HINTS: &[(Phase, Call, Option<Errno>, &str)] = &[
    (Phase::Limits, Call::Prlimit, None, HARD_LIMIT),
    (Phase::TimeOffsets, Call::Write, Some(Errno::ERANGE), OFFSET),
    (
        Phase::Mounts,
        Call::Fsopen,
        Some(Errno::ENODEV),
        "the kernel has no such file system type; a bind mount needs the option \"bind\" or \"rbind\"",
    ),
    (
        Phase::Mounts,
        Call::Fsmount,
        Some(Errno::EPERM),
        "in a user namespace proc and sysfs are refused where those outside are covered in parts or read-only: an outer \
         container must not mask them (podman: --security-opt unmask=ALL, Docker: systempaths=unconfined)",
    ),
    (
        Phase::Loopback,
        Call::Ioctl,
        Some(Errno::EPERM),
        "without a user namespace it takes CAP_NET_ADMIN, which an outer container must grant",
    ),
    (
        Phase::Mounts,
        Call::Fsconfig,
        Some(Errno::EINVAL),
        "an option is not one of this file system; options of mounts are listed by `teu features`",
    ),
    (
        Phase::Mounts,
        Call::MountSetattr,
        Some(Errno::EINVAL),
        "the kernel or the file system does not support one of the attributes, such as an id mapping",
    ),
    (
        Phase::Mounts,
        Call::MountSetattr,
        Some(Errno::EPERM),
        "what root has set on the source (ro, nosuid, nodev, noexec, access times) cannot be taken back in a user \
         namespace",
    ),
    (
        Phase::Mounts,
        Call::OpenTree,
        Some(Errno::EINVAL),
        "in a user namespace a directory with mounts below it can only be bound with them: \"rbind\"",
    ),
    (
        Phase::Mounts,
        Call::Openat,
        Some(Errno::ELOOP),
        "the destination leads through too many symbolic links of the image",
    ),
    (
        Phase::Mounts,
        Call::Mkdirat,
        Some(Errno::EROFS),
        "the mount point does not exist and the file system around it is read-only",
    ),
    (
        Phase::Mounts,
        Call::Openat,
        Some(Errno::ENOTDIR),
        "a file of the image is in the way of the mount point",
    ),
    (
        Phase::Devices,
        Call::Mknodat,
        Some(Errno::EPERM),
        "making device nodes needs CAP_MKNOD and a device cgroup that permits it",
    ),
    (Phase::Sysctls, Call::Openat, Some(Errno::ENOENT), "the kernel has no such parameter"),
    (Phase::Sysctls, Call::Write, Some(Errno::EINVAL), "the parameter does not take this value"),
    (
        Phase::Labels,
        Call::Write,
        Some(Errno::ENOENT),
        "no such profile is loaded; `apparmor_parser --replace FILE` loads one",
    ),
    (Phase::Terminal, Call::None, None, "mount devpts on /dev/pts, or set process.terminal to false"),
    (
        Phase::Execve,
        Call::Execve,
        Some(Errno::ENOEXEC),
        "the file is no program of this architecture, or a script without #! line",
    ),
    (
        Phase::Execve,
        Call::Execve,
        Some(Errno::ENOENT),
        "the interpreter that the file names does not exist in the root file system",
    ),
    (
        Phase::Program,
        Call::None,
        Some(Errno::ENOENT),
        "PATH of process.env is searched inside the root file system",
    ),
    (
        Phase::Scheduling,
        Call::SchedSetattr,
        Some(Errno::EPERM),
        "real-time policies need CAP_SYS_NICE, and on cgroup v1 a budget, cpu.realtimeRuntime; SCHED_DEADLINE cannot be \
         combined with a cpuset",
    ),
];

/// The hint for a failure of the child.
pub fn of_child(phase: Phase, call: Call, errno: Option<Errno>) -> Option<&'static str> {
    HINTS
        .iter()
        .find(|(p, c, e, _)| *p == phase && *c == call && (e.is_none() || *e == errno))
        .map(|(.., hint)| *hint)
}
