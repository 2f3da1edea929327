//! Hosts and requests that the tests plan for: the facts that change the shape of a plan.

use std::path::PathBuf;

use serde_json::Value;

use crate::host::Host;
use crate::plan::Request;
use crate::plan::cgroup::settings::Controller;
use crate::plan::cgroup::{Driver, Mode};

/// Docker's default set, as an example of a caller who has only some capabilities.
const SOME_CAPABILITIES: u64 = 0xa804_25fb;

/// A host by its name.
///
/// | name | what it is |
/// |---|---|
/// | `root-v2` | root of a host with one cgroup2 tree and no security module |
/// | `root-v1` | the same with version 1 only |
/// | `root-hybrid` | version 1, and a cgroup2 tree with hugetlb |
/// | `rootless` | user 1000 |
/// | `nested` | id 0 in a user namespace |
/// | `weak-root` | root with the capabilities of a Docker container |
/// | `old-kernel` | a kernel whose last capability is 37, before CAP_PERFMON |
/// | `apparmor`, `selinux` | `root-v2` with that module |
pub fn host(name: &str) -> Host {
    let root = Host {
        uid: 0,
        gid: 0,
        in_user_namespace: false,
        cgroup_mode: Mode::V2,
        unified_controllers: Vec::new(),
        last_capability: 40,
        permitted: u64::MAX >> (63 - 40),
        apparmor: false,
        selinux: false,
    };
    match name {
        "root-v2" => root,
        "root-v1" => Host { cgroup_mode: Mode::V1, ..root },
        "root-hybrid" => {
            Host { cgroup_mode: Mode::Hybrid, unified_controllers: vec![Controller::Hugetlb], ..root }
        }
        "rootless" => Host { uid: 1000, gid: 1000, permitted: 0, ..root },
        "nested" => Host { in_user_namespace: true, ..root },
        "weak-root" => Host { permitted: SOME_CAPABILITIES, ..root },
        "old-kernel" => Host { last_capability: 37, permitted: u64::MAX >> (63 - 37), ..root },
        "apparmor" => Host { apparmor: true, ..root },
        "selinux" => Host { selinux: true, ..root },
        other => panic!("no host \"{other}\""),
    }
}

/// Every name that [`host`] knows.
pub const HOSTS: [&str; 9] = [
    "root-v2",
    "root-v1",
    "root-hybrid",
    "rootless",
    "nested",
    "weak-root",
    "old-kernel",
    "apparmor",
    "selinux",
];

/// What `teu create --bundle /b c1` asks for.
pub fn request() -> Request {
    Request { id: "c1".to_owned(), bundle: PathBuf::from("/b"), ..Request::default() }
}

/// [`request`] with some members changed, which are named as in [`Request`].
pub fn changed_request(changes: &Value) -> Request {
    let mut request = request();
    for (name, value) in changes.as_object().into_iter().flatten() {
        let flag = || value.as_bool().expect("a boolean");
        let count = || u32::try_from(value.as_u64().expect("a number")).expect("a small number");
        let text = || value.as_str().expect("a string");
        match name.as_str() {
            "id" => request.id = text().to_owned(),
            "no_pivot" => request.no_pivot = flag(),
            "no_new_keyring" => request.no_new_keyring = flag(),
            "console_socket" => request.console_socket = flag(),
            "detached" => request.detached = flag(),
            "preserve_fds" => request.preserve_fds = count(),
            "listen_fds" => request.listen_fds = count(),
            "notify_directory" => request.notify_directory = Some(PathBuf::from(text())),
            "cgroup_driver" => {
                request.cgroup_driver = match text() {
                    "cgroupfs" => Driver::Cgroupfs,
                    "systemd" => Driver::Systemd,
                    "disabled" => Driver::Disabled,
                    other => panic!("no driver \"{other}\""),
                }
            }
            other => panic!("a request has no \"{other}\""),
        }
    }
    request
}
