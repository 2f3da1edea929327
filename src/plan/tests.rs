//! Plans as data: each `testdata/SECTION/NAME.json` with the plan or the error that it must give.
//!
//! A case is an object with these members:
//! - `about`: what it shows, and the section of the specification that says so;
//! - `config`: a merge patch (RFC 7396) over `testdata/base.json`, or `"file"`: a whole config.json, named from the
//!   root of the project;
//! - `host`: one of [`facts::host`], `root-v2` when it is left out;
//! - `request`: what differs from `teu create --bundle /b c1`, in the words of [`super::Request`].
//!
//! `NAME.plan` has what `teu plan` prints: the lines that differ from `base.plan` for a patch, and all of them for
//! a file. The refusals of a section are together in `refused.json`, cases by name, and their error lines in
//! `refused.errors`. `UPDATE_PLANS=1 cargo test --lib plan` writes both anew; the difference is to be read before
//! it is committed.

mod checked;
mod diff;
mod engines;
pub(crate) mod facts;
mod mounts;
mod mutated;
mod namespaces;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{plan, show};
use crate::config;
use diff::diff;

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/plan/testdata");

/// First line of a plan that has only what differs from the base.
const AS_BASE: &str = "as base.plan, except:\n";

/// The lines of the plan of a configuration, or its error line.
pub(crate) fn planned(config: &Value, host: &str, request: &Value) -> Result<String, String> {
    let shown = config::load(config.to_string().as_bytes())
        .and_then(|config| plan(&config, &facts::changed_request(request), &facts::host(host)))
        .map(|plan| show::show(&plan));
    shown.map_err(|error| error.to_string())
}

/// The configuration that patches apply to.
pub(crate) fn base() -> Value {
    read(&Path::new(TESTDATA).join("base.json"))
}

/// The base with a merge patch (RFC 7396): `null` takes a member away, objects are merged, all else replaces.
pub(crate) fn patched(patch: &Value) -> Value {
    let mut config = base();
    merge(&mut config, patch);
    config
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    for (name, value) in members {
        if value.is_null() {
            target.as_object_mut().map(|object| object.remove(name));
        } else {
            merge(&mut target[name], value);
        }
    }
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The plan of a case as its file has it, or the error line.
fn outcome(case: &Value) -> Result<String, String> {
    for name in case.as_object().expect("a case is an object").keys() {
        assert!(
            ["about", "config", "file", "host", "request"].contains(&name.as_str()),
            "unknown \"{name}\""
        );
    }
    let file = case["file"].as_str();
    let config = match file {
        Some(name) => engines::read(name),
        None => patched(&case["config"]),
    };
    let plan = planned(&config, case["host"].as_str().unwrap_or("root-v2"), &case["request"])?;
    if file.is_some() {
        return Ok(plan);
    }
    let base = fs::read_to_string(format!("{TESTDATA}/base.plan")).unwrap_or_default();
    Ok(format!("{AS_BASE}{}", diff(&base, &plan)))
}

/// Every file below `directory` with this extension, sorted.
fn files(directory: &Path, extension: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.insert(path);
        }
    }
    found
}

/// Compares a text with the file that says what it must be, or writes that file. What differs is told.
fn check(path: &Path, actual: &str) -> Option<String> {
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return None;
    }
    if std::env::var_os("UPDATE_PLANS").is_some() {
        fs::write(path, actual).unwrap();
        return None;
    }
    let name = path.strip_prefix(TESTDATA).unwrap_or(path).display();
    Some(format!("{name}:\n{}", diff(&expected, actual)))
}

/// config.md and config-linux.md, section by section.
#[test]
fn every_case_gives_its_plan_or_its_error() {
    let testdata = Path::new(TESTDATA);
    let base_config = testdata.join("base.json");
    let base_plan = planned(&base(), "root-v2", &Value::Null).unwrap();
    let mut wrong: Vec<String> = check(&testdata.join("base.plan"), &base_plan).into_iter().collect();
    let mut expected = BTreeSet::from([testdata.join("base.plan")]);
    let (mut plans, mut errors) = (0, 0);
    for path in files(testdata, "json").into_iter().filter(|path| *path != base_config) {
        let document = read(&path);
        let shown = path.display();
        let own = if path.ends_with("refused.json") {
            let mut lines = String::new();
            for (name, case) in document.as_object().expect("cases by name") {
                match outcome(case) {
                    Ok(_) => wrong.push(format!("{shown}: {name} is accepted")),
                    Err(error) => lines.push_str(&format!("{name}: {error}\n")),
                }
                errors += 1;
            }
            wrong.extend(check(&path.with_extension("errors"), &lines));
            path.with_extension("errors")
        } else {
            assert!(document["about"].is_string(), "{shown} does not say what it is about");
            match outcome(&document) {
                Ok(plan) => wrong.extend(check(&path.with_extension("plan"), &plan)),
                Err(error) => wrong.push(format!("{shown} is refused: {error}")),
            }
            plans += 1;
            path.with_extension("plan")
        };
        expected.insert(own);
    }
    for extension in ["plan", "errors"] {
        for path in files(testdata, extension).difference(&expected) {
            match std::env::var_os("UPDATE_PLANS") {
                Some(_) => fs::remove_file(path).unwrap(),
                None => wrong.push(format!("{} belongs to no case", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of the cases differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(plans >= 75 && errors >= 35, "only {plans} plans and {errors} errors");
}

/// execve(2): 128 KiB with the NUL byte at the end.
#[test]
fn strings_are_as_long_as_the_kernel_takes() {
    let planned = |length: usize| {
        let config = patched(&serde_json::json!({ "process": { "args": ["sh", "x".repeat(length)] } }));
        planned(&config, "root-v2", &Value::Null)
    };
    assert!(planned(131_071).is_ok());
    let error = planned(131_072).unwrap_err();
    assert_eq!(error, "the string has 131072 bytes, the kernel takes 131071 (/process/args/1)");
}
