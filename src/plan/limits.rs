//! `process.rlimits` and `process.oomScoreAdj`.
//!
//! Source: config.md#posix-process, config-linux.md (oomScoreAdj); prlimit(2).

use oci_spec::runtime::{PosixRlimitType, Process};

use super::item;
use crate::error::{Error, Result};
use crate::report::Report;

/// One resource limit.
#[derive(Clone, Copy, Debug)]
pub struct Rlimit {
    /// RLIMIT_*.
    pub resource: u32,
    /// Name in the configuration.
    pub name: &'static str,
    /// Soft.
    pub soft: u64,
    /// Hard.
    pub hard: u64,
}

impl Rlimit {
    /// Soft and hard limit while the process is set up. The set-up needs some descriptors, whatever the program gets;
    /// that limit is lowered at the end, which anybody may.
    pub fn during_setup(&self) -> (u64, u64) {
        const FEWEST_DESCRIPTORS: u64 = 256;
        if self.resource == libc::RLIMIT_NOFILE {
            let least = self.hard.max(FEWEST_DESCRIPTORS);
            (least, least)
        } else {
            (self.soft, self.hard)
        }
    }

    /// What setting it is called in errors.
    pub fn setting(&self) -> String {
        format!("set {} to {}:{}", self.name, self.soft, self.hard)
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Limits with their JSON pointers.
    pub rlimits: Vec<(Rlimit, String)>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
}

/// Plans the limits of the process object at `base`.
pub fn plan(process: &Process, base: &str, report: &mut Report) -> Result<Limits> {
    let mut rlimits: Vec<(Rlimit, String)> = Vec::new();
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let at = item(&format!("{base}/rlimits"), index);
        let (resource, name) = resource(limit.typ());
        if rlimits.iter().any(|(known, _)| known.resource == resource) {
            report.refuse(Error::config(at, format!("{name} is listed twice")))?;
            continue;
        }
        let (soft, hard) = (limit.soft(), limit.hard());
        if soft > hard {
            let problem = format!("the soft limit {soft} exceeds the hard limit {hard}");
            report.refuse(Error::config(at, problem))?;
            continue;
        }
        rlimits.push((Rlimit { resource, name, soft, hard }, at));
    }
    let oom_score_adj = process.oom_score_adj();
    if oom_score_adj.is_some_and(|score| !(-1000..=1000).contains(&score)) {
        report.refuse(Error::config(format!("{base}/oomScoreAdj"), "must be from -1000 to 1000"))?;
    }
    Ok(Limits { rlimits, oom_score_adj })
}

fn resource(typ: PosixRlimitType) -> (u32, &'static str) {
    use PosixRlimitType::*;
    match typ {
        RlimitCpu => (libc::RLIMIT_CPU, "RLIMIT_CPU"),
        RlimitFsize => (libc::RLIMIT_FSIZE, "RLIMIT_FSIZE"),
        RlimitData => (libc::RLIMIT_DATA, "RLIMIT_DATA"),
        RlimitStack => (libc::RLIMIT_STACK, "RLIMIT_STACK"),
        RlimitCore => (libc::RLIMIT_CORE, "RLIMIT_CORE"),
        RlimitRss => (libc::RLIMIT_RSS, "RLIMIT_RSS"),
        RlimitNproc => (libc::RLIMIT_NPROC, "RLIMIT_NPROC"),
        RlimitNofile => (libc::RLIMIT_NOFILE, "RLIMIT_NOFILE"),
        RlimitMemlock => (libc::RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"),
        RlimitAs => (libc::RLIMIT_AS, "RLIMIT_AS"),
        RlimitLocks => (libc::RLIMIT_LOCKS, "RLIMIT_LOCKS"),
        RlimitSigpending => (libc::RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"),
        RlimitMsgqueue => (libc::RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"),
        RlimitNice => (libc::RLIMIT_NICE, "RLIMIT_NICE"),
        RlimitRtprio => (libc::RLIMIT_RTPRIO, "RLIMIT_RTPRIO"),
        RlimitRttime => (libc::RLIMIT_RTTIME, "RLIMIT_RTTIME"),
    }
}
