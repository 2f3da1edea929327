//! Names that differ from a property of the specification in capitals only.
//!
//! Go's decoder takes such a name for the property, so an engine's test may have passed with it; here it means
//! nothing, and a restriction would be lost without a word.

use serde_json::Value;

use super::Warning;
use super::strict::push_key;

/// The properties of Linux containers in specification 1.3.0, sorted.
#[rustfmt::skip]
pub const PROPERTIES: [&str; 149] = [
    "access", "action", "additionalGids", "allow", "ambient", "annotations", "apparmorProfile",
    "architectures", "args", "blockIO", "boottime", "bounding", "burst", "capabilities", "cgroupsPath",
    "checkBeforeUpdate", "class", "classID", "closID", "consoleSize", "containerID", "cpu", "cpus",
    "createContainer", "createRuntime", "cwd", "deadline", "defaultAction", "defaultErrnoRet",
    "destination", "devices", "disableOOMKiller", "domain", "domainname", "effective", "enableMonitoring",
    "env", "errnoRet", "execCPUAffinity", "fileMode", "final", "flags", "gid", "gidMappings", "hard",
    "hcaHandles", "hcaObjects", "height", "hooks", "hostID", "hostname", "hugepageLimits", "idle",
    "index", "inheritable", "initial", "intelRdt", "ioPriority", "kernel", "kernelTCP", "l3CacheSchema",
    "leafWeight", "limit", "linux", "listenerMetadata", "listenerPath", "major", "maskedPaths",
    "memBwSchema", "memory", "memoryPolicy", "mems", "minor", "mode", "monotonic", "mountLabel", "mounts",
    "name", "names", "namespaces", "nanosecs", "netDevices", "network", "nice", "noNewPrivileges",
    "nodes", "ociVersion", "oomScoreAdj", "op", "options", "pageSize", "path", "period", "permitted",
    "personality", "pids", "policy", "poststart", "poststop", "prestart", "priorities", "priority",
    "process", "quota", "rate", "rdma", "readonly", "readonlyPaths", "realtimePeriod", "realtimeRuntime",
    "reservation", "resources", "rlimits", "root", "rootfsPropagation", "runtime", "scheduler",
    "schemata", "seccomp", "secs", "selinuxLabel", "shares", "size", "soft", "source", "startContainer",
    "swap", "swappiness", "syscalls", "sysctl", "terminal", "throttleReadBpsDevice",
    "throttleReadIOPSDevice", "throttleWriteBpsDevice", "throttleWriteIOPSDevice", "timeOffsets",
    "timeout", "type", "uid", "uidMappings", "umask", "unified", "useHierarchy", "user", "value",
    "valueTwo", "weight", "weightDevice", "width",
];

/// Objects whose keys are data; the properties are one level below.
const FREE_KEYS: [&str; 6] = ["annotations", "netDevices", "rdma", "sysctl", "timeOffsets", "unified"];

/// Reports each such name.
pub fn warn_of_misspelled(document: &Value, warnings: &mut Vec<Warning>) {
    walk(document, &mut String::new(), false, warnings);
}

fn walk(value: &Value, at: &mut String, keys_are_free: bool, warnings: &mut Vec<Warning>) {
    let length = at.len();
    match value {
        Value::Object(object) => {
            for (key, member) in object {
                push_key(at, key);
                if let Some(meant) = meant(key).filter(|_| !keys_are_free) {
                    warnings.push(Warning::new(
                        at.clone(),
                        format!("\"{key}\" is ignored; the property is spelled \"{meant}\""),
                    ));
                }
                walk(member, at, FREE_KEYS.contains(&key.as_str()), warnings);
                at.truncate(length);
            }
        }
        Value::Array(list) => {
            for (index, element) in list.iter().enumerate().filter(|(_, element)| element.is_object()) {
                at.push('/');
                at.push_str(&index.to_string());
                walk(element, at, false, warnings);
                at.truncate(length);
            }
        }
        _ => {}
    }
}

/// The property that a name is a misspelling of.
fn meant(name: &str) -> Option<&'static str> {
    // Nearly every name is right.
    if PROPERTIES.binary_search(&name).is_ok() {
        return None;
    }
    PROPERTIES.into_iter().find(|property| property.eq_ignore_ascii_case(name))
}
