//! What a configuration may say and should not: fields that are deprecated, ignored or weaken the container.
//!
//! Only `check` tells it. What is an error, or changes what `create` does, is said where the field is planned.

use oci_spec::runtime::Spec;

use super::process::UNSAFE_ANNOTATIONS;
use crate::config::{Config, push_key};
use crate::report::{Report, Severity};

/// Tells it.
pub fn advise(config: &Config, report: &mut Report) {
    deprecated_hooks(&config.spec, report);
    unsafe_annotations(&config.spec, report);
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
