//! `teu features`: what this runtime supports, from the tables that the code itself uses.
//!
//! Source: features.md, features-linux.md.

use serde_json::json;

use super::state::print;
use crate::error::{Error, Kind, Result};
use crate::plan::mounts::option_names;
use crate::plan::namespaces::KINDS;
use crate::plan::{self, hooks, process, security};
use crate::sys::seccomp;

/// Prints the document. Needs no privilege and no state directory.
pub fn features() -> Result<i32> {
    let mut capabilities: Vec<_> = caps::all().into_iter().collect();
    capabilities.sort_by_key(|capability| capability.index());
    let capabilities: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
    let mut namespaces: Vec<&str> = KINDS.iter().map(|(_, name, ..)| *name).collect();
    namespaces.sort_unstable();
    let flags: Vec<&str> = teu_seccomp::FLAGS.iter().map(|(name, _)| *name).collect();
    let (major, minor, micro) = teu_seccomp::library_version();
    let mut mount_options: Vec<&str> = option_names().collect();
    mount_options.sort_unstable();
    let document = json!({
        "ociVersionMin": plan::OLDEST_VERSION,
        "ociVersionMax": crate::state::OCI_VERSION,
        "hooks": hooks::kind::ALL,
        "mountOptions": mount_options,
        "linux": {
            "namespaces": namespaces,
            "capabilities": capabilities,
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": teu_seccomp::ACTIONS,
                "operators": teu_seccomp::OPERATORS,
                "archs": *teu_seccomp::ARCHITECTURES,
                "knownFlags": flags,
                "supportedFlags": teu_seccomp::supported_flags(seccomp::knows_flag),
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
            "memoryPolicy": {"modes": security::memory_policy_modes(), "flags": security::memory_policy_flags()},
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": true},
        },
        "annotations": {
            "io.github.seccomp.libseccomp.version": format!("{major}.{minor}.{micro}"),
            "io.github.teu.checkpoint.enabled": "false",
            "io.github.teu.version": env!("CARGO_PKG_VERSION"),
        },
        "potentiallyUnsafeConfigAnnotations": process::UNSAFE_ANNOTATIONS,
    });
    let text = serde_json::to_string_pretty(&document);
    print(&text.map_err(|e| Error::new(Kind::Bug, format!("print the features: {e}")))?)
}
