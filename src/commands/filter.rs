//! From the profile of a plan to a program for seccomp(2), checked against what the start needs.

use teu_seccomp::cache::Cache;
use teu_seccomp::explain::Reading;
use teu_seccomp::needed::{self, Needed, Situation};
use teu_seccomp::{Arch, Policy, Program, SeccompData, advice};

use super::seccomp::words;
use crate::error::{Error, Result};
use crate::parent::prepare::Filter;
use crate::plan::Plan;
use crate::plan::exec::ExecPlan;
use crate::plan::identity::Identity;
use crate::plan::security::{Placement, Seccomp};
use crate::state::Root;

/// The filter of a container's first process.
pub fn of_container(plan: &Plan, root: &Root) -> Result<Option<Filter>> {
    let Some(seccomp) = &plan.security.seccomp else { return Ok(None) };
    let program = program(&seccomp.policy, root)?;
    refuse_unstartable(plan, &program)?;
    Ok(Some(Filter::of(&program)))
}

/// The filter of a process that is added to a container.
pub fn of_process(plan: &ExecPlan, root: &Root) -> Result<Option<Filter>> {
    let Some(seccomp) = &plan.security.seccomp else { return Ok(None) };
    let program = program(&seccomp.policy, root)?;
    refuse(seccomp, &plan.identity, Situation { is_exec: true, ..Situation::default() }, &program)?;
    Ok(Some(Filter::of(&program)))
}

/// Refuses a filter that would stop the container from starting.
pub fn refuse_unstartable(plan: &Plan, program: &Program) -> Result<()> {
    let Some(seccomp) = &plan.security.seccomp else { return Ok(()) };
    let situation = Situation {
        limits_descriptors: plan
            .limits
            .rlimits
            .iter()
            .any(|(limit, _)| limit.resource == libc::RLIMIT_NOFILE),
        hooks: !plan.hooks.start_container.is_empty(),
        ..Situation::default()
    };
    refuse(seccomp, &plan.identity, situation, program)
}

/// Compiles the filter, or takes it from the cache below the state directory.
fn program(policy: &Policy, root: &Root) -> Result<Program> {
    if crate::log::is_debugging() {
        for warning in policy.warnings() {
            crate::log::debug(|| format!("{} (/linux/seccomp{})", warning.message, warning.pointer));
        }
    }
    // No id starts with a dot.
    let cache = Cache::new(root.path().join(".seccomp"));
    let (program, cached) = cache
        .program(policy)
        .map_err(|e| Error::config(format!("/linux/seccomp{}", e.pointer), e.message))?;
    crate::log::debug(|| {
        format!("seccomp program {}", if cached { "taken from the cache" } else { "compiled" })
    });
    Ok(program)
}

/// What is known of the process besides its filter is filled in here.
fn refuse(seccomp: &Seccomp, identity: &Identity, situation: Situation, program: &Program) -> Result<()> {
    let needed = needed::calls(Situation {
        no_new_privileges: identity.no_new_privileges,
        listener: seccomp.placement == Placement::BeforeCreated,
        ..situation
    });
    match program.first_refused(&needed) {
        Some(call) => Err(refused(&seccomp.policy, call)),
        None => Ok(()),
    }
}

/// The call, what refuses it, and what would allow it.
fn refused(policy: &Policy, call: &Needed) -> Error {
    let base = "/linux/seccomp";
    let text =
        format!("the profile does not allow {}, which teu needs after the filter is loaded", call.name);
    let Some(nr) = Arch::NATIVE.resolve(call.name).and_then(|target| target.own_number()) else {
        return Error::config(base, text);
    };
    let data = SeccompData { nr, arch: Arch::NATIVE.audit(), instruction_pointer: 0, args: call.args };
    let decision = Reading::new(policy).decide(&data);
    let hint = match decision.action.refuses() {
        true => words::advice(advice::to_allow(policy, &data).as_deref(), true, base),
        false => "it is made before somebody listens, and must be allowed without SCMP_ACT_NOTIFY".to_owned(),
    };
    Error::config(format!("{base}{}", decision.pointer), text).hint(hint)
}
