//! Where the runtime specification speaks of a field.

/// Fields and sections of the specification; the longest beginning of a pointer counts.
#[rustfmt::skip]
const SECTIONS: [(&str, &str); 53] = [
    ("/annotations", "config.md#annotations"),
    ("/domainname", "config.md#domainname"),
    ("/hooks", "config.md#posix-platform-hooks"),
    ("/hostname", "config.md#hostname"),
    ("/linux", "config-linux.md#linux-container-configuration"),
    ("/linux/cgroupsPath", "config-linux.md#cgroups-path"),
    ("/linux/devices", "config-linux.md#devices"),
    ("/linux/gidMappings", "config-linux.md#user-namespace-mappings"),
    ("/linux/intelRdt", "config-linux.md#intelrdt"),
    ("/linux/maskedPaths", "config-linux.md#masked-paths"),
    ("/linux/memoryPolicy", "config-linux.md#memory-policy"),
    ("/linux/mountLabel", "config-linux.md#mount-label"),
    ("/linux/namespaces", "config-linux.md#namespaces"),
    ("/linux/netDevices", "config-linux.md#network-devices"),
    ("/linux/personality", "config-linux.md#personality"),
    ("/linux/readonlyPaths", "config-linux.md#readonly-paths"),
    ("/linux/resources", "config-linux.md#control-groups"),
    ("/linux/resources/blockIO", "config-linux.md#block-io"),
    ("/linux/resources/cpu", "config-linux.md#cpu"),
    ("/linux/resources/devices", "config-linux.md#allowed-device-list"),
    ("/linux/resources/hugepageLimits", "config-linux.md#huge-page-limits"),
    ("/linux/resources/memory", "config-linux.md#memory"),
    ("/linux/resources/network", "config-linux.md#network"),
    ("/linux/resources/pids", "config-linux.md#pids"),
    ("/linux/resources/rdma", "config-linux.md#rdma"),
    ("/linux/resources/unified", "config-linux.md#unified"),
    ("/linux/rootfsPropagation", "config-linux.md#rootfs-mount-propagation"),
    ("/linux/seccomp", "config-linux.md#seccomp"),
    ("/linux/sysctl", "config-linux.md#sysctl"),
    ("/linux/timeOffsets", "config-linux.md#offset-for-time-namespace"),
    ("/linux/uidMappings", "config-linux.md#user-namespace-mappings"),
    ("/mounts", "config.md#mounts"),
    ("/mounts/*/gidMappings", "config.md#posix-platform-mounts"),
    ("/mounts/*/options", "config.md#linux-mount-options"),
    ("/mounts/*/uidMappings", "config.md#posix-platform-mounts"),
    ("/ociVersion", "config.md#specification-version"),
    ("/process", "config.md#process"),
    ("/process/apparmorProfile", "config.md#linux-process"),
    ("/process/capabilities", "config.md#linux-process"),
    ("/process/execCPUAffinity", "config.md#linux-process"),
    ("/process/ioPriority", "config.md#linux-process"),
    ("/process/noNewPrivileges", "config.md#linux-process"),
    ("/process/oomScoreAdj", "config.md#linux-process"),
    ("/process/rlimits", "config.md#posix-process"),
    ("/process/scheduler", "config.md#linux-process"),
    ("/process/selinuxLabel", "config.md#linux-process"),
    ("/process/user", "config.md#posix-platform-user"),
    ("/root", "config.md#root"),
    ("/freebsd", "config.md#platform-specific-configuration"),
    ("/solaris", "config.md#platform-specific-configuration"),
    ("/vm", "config.md#platform-specific-configuration"),
    ("/windows", "config.md#platform-specific-configuration"),
    ("/zos", "config.md#platform-specific-configuration"),
];

/// Of everything that is no field.
const ANY: &str = "config.md#extensibility";

/// Of the document as a whole.
const DOCUMENT: &str = "config.md#configuration-schema-example";

/// The section of a field.
pub fn section(pointer: &str) -> &'static str {
    if pointer.is_empty() {
        return DOCUMENT;
    }
    let best =
        SECTIONS.iter().filter(|(field, _)| begins(pointer, field)).max_by_key(|(field, _)| field.len());
    best.map_or(ANY, |(_, section)| section)
}

/// True when the parts of `field` are the first parts of `pointer`; a star stands for any one part.
fn begins(pointer: &str, field: &str) -> bool {
    let mut parts = pointer.split('/');
    field.split('/').all(|wanted| parts.next().is_some_and(|part| wanted == "*" || wanted == part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_precise_section_is_named() {
        for (pointer, expected) in [
            ("", DOCUMENT),
            ("/mounts/12/options/3", "config.md#linux-mount-options"),
            ("/mounts/12/source", "config.md#mounts"),
            ("/linux", "config-linux.md#linux-container-configuration"),
            ("/linux/resources/memory/limit", "config-linux.md#memory"),
            ("/linux/resourcesX", "config-linux.md#linux-container-configuration"),
            ("/process/user/uid", "config.md#posix-platform-user"),
            ("/nothing", ANY),
        ] {
            assert_eq!(section(pointer), expected, "{pointer}");
        }
    }

    #[test]
    fn every_field_has_a_section() {
        for field in crate::config::FIELDS.iter() {
            assert!(section(field) != ANY && section(field) != DOCUMENT, "{field}");
        }
    }
}
