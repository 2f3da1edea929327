//! Configurations as engines write them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::facts::HOSTS;
use super::planned;
use crate::config;
use crate::plan::plan;
use crate::plan::security::Placement;

/// The files that the integration tests run, and what the engine asks for besides.
const ENGINES: [(&str, &str); 3] = [
    ("tests/integration/testdata/docker-28.json", "{}"),
    ("tests/integration/testdata/podman-4.3.json", r#"{ "detached": true, "console_socket": true }"#),
    ("tests/integration/testdata/containerd-2.1.json", "{}"),
];

/// A configuration by its name from the root of the project, with something in its blanks.
pub fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = text.replace("@SOURCES@", "/srv").replace("@ID@", "c1");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whatever a privileged host is like, these are planned. An unprivileged user needs a user namespace.
#[test]
fn configurations_of_engines_are_planned_on_every_host() {
    for (name, request) in ENGINES {
        let request: Value = serde_json::from_str(request).unwrap();
        for host in HOSTS {
            match planned(&read(name), host, &request) {
                Ok(plan) => {
                    assert!(plan.lines().count() > 60 && host != "rootless", "{name} on {host}: {plan}")
                }
                Err(error) => {
                    assert_eq!(host, "rootless", "{name}: {error}");
                    let told = "rootless containers require user namespaces (/linux/namespaces)";
                    assert!(error.starts_with(told), "{error}");
                }
            }
        }
    }
}

/// The engines' seccomp profiles are read whole: 375 names of Docker's, 437 of podman's.
#[test]
fn seccomp_profiles_of_engines_are_read_and_loaded_at_the_end() {
    for ((name, request), (names, errno)) in ENGINES.into_iter().zip([(375, 1), (437, 38)]) {
        let document = read(name);
        let seccomp = &document["linux"]["seccomp"];
        let rules = seccomp["syscalls"].as_array().unwrap();
        let all: usize = rules.iter().map(|rule| rule["names"].as_array().unwrap().len()).sum();
        assert_eq!((all, seccomp["defaultErrnoRet"].as_u64()), (names, Some(errno)), "{name}");

        let config = config::load(document.to_string().as_bytes()).unwrap();
        let request = super::facts::changed_request(&serde_json::from_str(request).unwrap());
        let plan = plan(&config, &request, &super::facts::host("root-v2")).unwrap();
        let seccomp = plan.security.seccomp.unwrap();
        assert_eq!(seccomp.placement, Placement::LastWithPrivilege, "{name} has no noNewPrivileges");
        let action = seccomp.policy.default_action();
        assert_eq!(action, teu_seccomp::Action::Errno(u16::try_from(errno).unwrap()), "{name}");
        assert!(seccomp.policy.architectures().len() >= 3, "{name} is for three architectures");
    }
}

/// The configuration that `teu spec` writes is one that teu plans, as root and without privileges.
#[test]
fn the_configuration_that_teu_writes_is_planned() {
    let document = read("src/commands/spec.json");
    for host in HOSTS.into_iter().filter(|host| *host != "rootless") {
        let plan = planned(&document, host, &Value::Null);
        assert!(plan.is_ok(), "{host}: {plan:?}");
    }
}
