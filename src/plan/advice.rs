//! What a configuration may say and should not: fields that are deprecated, ignored or weaken the container.
//!
//! Only `check` tells it. What is an error, or changes what `create` does, is said where the field is planned.

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};

use super::process::UNSAFE_ANNOTATIONS;
use crate::config::{Config, push_key};
use crate::report::{Report, Severity};

/// Tells it.
pub fn advise(config: &Config, report: &mut Report) {
    deprecated_hooks(&config.spec, report);
    unsafe_annotations(&config.spec, report);
    watched_hooks(&config.spec, report);
    let Some(policy) = &config.seccomp else { return };
    if policy.flags() & teu_seccomp::FLAG_SPEC_ALLOW != 0 {
        let text = "SECCOMP_FILTER_FLAG_SPEC_ALLOW switches the mitigation of speculative attacks off";
        report.advise(Severity::Note, "/linux/seccomp/flags", text);
    }
    for warning in policy.warnings() {
        let at = format!("/linux/seccomp{}", warning.pointer);
        let severity = if warning.is_usual { Severity::Note } else { Severity::Warning };
        report.advise(severity, at, warning.message.clone());
    }
}

/// config.md#prestart.
fn deprecated_hooks(spec: &Spec, report: &mut Report) {
    let Some(hooks) = spec.hooks() else { return };
    #[allow(deprecated)] // it is what is looked for
    if hooks.prestart().as_ref().is_some_and(|hooks| !hooks.is_empty()) {
        let text = "deprecated; createRuntime, createContainer and startContainer hooks take its place";
        report.advise(Severity::Note, "/hooks/prestart", text);
    }
}

/// A hook becomes visible when it is executed, and one of createContainer has the tree of the host: other processes see
/// it where they share its pid namespace, and look into it where they have power over its user namespace.
fn watched_hooks(spec: &Spec, report: &mut Report) {
    let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.create_container().as_ref());
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let joins = |kind| {
        let by_path = |namespace: &LinuxNamespace| {
            namespace.typ() == kind
                && namespace.path().as_ref().is_some_and(|path| !path.as_os_str().is_empty())
        };
        namespaces.is_some_and(|list| list.iter().any(by_path))
    };
    if hooks.is_some_and(|hooks| !hooks.is_empty())
        && joins(LinuxNamespaceType::Pid)
        && joins(LinuxNamespaceType::User)
    {
        let text = "these hooks see the host's files, and so do processes of the user and pid namespaces that are joined, through them";
        report.advise(Severity::Warning, "/hooks/createContainer", text);
    }
}

/// features.md: annotations that make the runtime do something that the configuration alone does not ask for.
fn unsafe_annotations(spec: &Spec, report: &mut Report) {
    for name in spec.annotations().iter().flat_map(|all| all.keys()) {
        if UNSAFE_ANNOTATIONS.contains(&name.as_str()) {
            let mut at = "/annotations".to_owned();
            push_key(&mut at, name);
            report.advise(Severity::Warning, at, "the annotation weakens the container");
        }
    }
}
