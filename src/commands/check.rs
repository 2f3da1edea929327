//! `teu check`: everything that is wrong with a configuration, on this host and for this caller, at once.
//!
//! The validator is that of `create`, told to go on after errors; the examination of the host opens what `create`
//! would open. Nothing is changed.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::state::print;
use super::{filter as seccomp_filter, setup};
use crate::cgroup::Layout;
use crate::cli::{Check, Global};
use crate::config;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::parent::examine;
use crate::plan::{self, Plan, Request};
use crate::report::{Finding, Report, Severity};

/// Exit status when there is an error: the status of a `create` that fails.
const ERRORS: i32 = 1;

/// Exit status when there is a warning and no error.
const WARNINGS: i32 = 3;

/// Checks a bundle or a file and prints what is found.
pub fn check(global: &Global, args: &Check) -> Result<i32> {
    let is_json = match args.format.as_str() {
        "text" => false,
        "json" => true,
        other => return Err(Error::usage(format!("invalid format: {other}, expected text or json"))),
    };
    let (file, bundle) = places(args)?;
    let name = bundle.file_name().map_or_else(|| "bundle".to_owned(), |n| n.to_string_lossy().into_owned());
    let request = Request { id: name, bundle, cgroup_driver: global.cgroup_driver()?, ..Request::default() };
    let mut report = Report::of_everything();
    if let Err(error) = look(&file, &request, &mut report) {
        report.refuse(error)?;
    }
    let findings = report.findings();
    match is_json {
        true => print_json(&file, &findings, report.left_out())?,
        false => print_text(&findings, report.left_out())?,
    };
    Ok(match findings.iter().map(|finding| finding.severity).min() {
        Some(Severity::Error) => ERRORS,
        Some(Severity::Warning) => WARNINGS,
        Some(Severity::Note) | None => 0,
    })
}

/// The file that is read, and the bundle that its relative paths are relative to.
fn places(args: &Check) -> Result<(PathBuf, PathBuf)> {
    let bundle = args.bundle.as_deref().or(args.option.as_deref());
    let Some(file) = &args.config else {
        let bundle = setup::bundle(bundle)?;
        return Ok((bundle.join("config.json"), bundle));
    };
    let beside = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((file.clone(), setup::bundle(bundle.or(beside))?))
}

/// Errors: what leaves nothing to go on with.
fn look(file: &Path, request: &Request, report: &mut Report) -> Result<()> {
    let bytes = config::read_file(file)?;
    let config = config::load_into(&bytes, report)?;
    let layout = Layout::read()?;
    let host = Host::read(&layout)?;
    let plan = plan::plan_into(&config, request, &host, report)?;
    filter(&plan, report)?;
    examine::examine(&plan, &layout, report)
}

/// Compiles the filter, without the cache, which belongs to the state of containers.
fn filter(plan: &Plan, report: &mut Report) -> Result<()> {
    let Some(seccomp) = &plan.security.seccomp else { return Ok(()) };
    let compiled = teu_seccomp::compile(&seccomp.policy)
        .map_err(|e| Error::config(format!("/linux/seccomp{}", e.pointer), e.message));
    let Some(program) = report.keep(compiled)? else { return Ok(()) };
    report.keep(seccomp_filter::refuse_unstartable(plan, &program))?;
    Ok(())
}

fn print_text(findings: &[Finding], left_out: usize) -> Result<i32> {
    let mut text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    let counts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        .map(|severity| (count(findings, severity), severity.name()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}{}", if count == 1 { "" } else { "s" }))
        .collect();
    text.push_str(&match counts.is_empty() {
        true => "nothing found".to_owned(),
        false => counts.join(", "),
    });
    if left_out > 0 {
        text.push_str(&format!("; {left_out} more left out"));
    }
    print(&text)
}

fn print_json(file: &Path, findings: &[Finding], left_out: usize) -> Result<i32> {
    let document = json!({
        "config": file.to_string_lossy(),
        "errors": count(findings, Severity::Error),
        "warnings": count(findings, Severity::Warning),
        "notes": count(findings, Severity::Note),
        "leftOut": left_out,
        "findings": findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
    });
    print(&format!("{document:#}"))
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}
