//! `hooks`.
//!
//! Source: config.md#posix-platform-hooks.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::{Hook as ConfigHook, Hooks as ConfigHooks};
use serde::{Deserialize, Serialize};

use super::{c_string, item};
use crate::abi::StringList;
use crate::error::{Error, Result};
use crate::report::Report;

/// The kinds, in the order of the life of a container.
pub mod kind {
    /// Deprecated, but required.
    pub const PRESTART: &str = "prestart";
    /// In the namespaces of the runtime, before the change of root.
    pub const CREATE_RUNTIME: &str = "createRuntime";
    /// In those of the container, before the change of root.
    pub const CREATE_CONTAINER: &str = "createContainer";
    /// In the container, before its program.
    pub const START_CONTAINER: &str = "startContainer";
    /// After its program has been started.
    pub const POSTSTART: &str = "poststart";
    /// After the container has been deleted.
    pub const POSTSTOP: &str = "poststop";
    /// All of them, for `features`.
    pub const ALL: [&str; 6] =
        [PRESTART, CREATE_RUNTIME, CREATE_CONTAINER, START_CONTAINER, POSTSTART, POSTSTOP];
}

/// One program.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Absolute path.
    pub path: CString,
    /// argv.
    pub arguments: StringList,
    /// envp, complete: what the caller of teu has in its environment is not passed on.
    pub environment: StringList,
    /// After this time the hook is killed.
    pub timeout: Option<Duration>,
    /// Kind and number, as errors name it: `createRuntime hook #0`.
    pub name: String,
    /// JSON pointer.
    pub at: String,
}

/// The annotation that names the file to which the standard output of hooks is appended.
pub const STDOUT: &str = "run.oci.hooks.stdout";
/// The same for their standard error.
pub const STDERR: &str = "run.oci.hooks.stderr";

/// Files to which what hooks print is appended, absolute. crun: these annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Of their standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<PathBuf>,
    /// Of their standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<PathBuf>,
}

impl Output {
    /// True when nobody wants what hooks print.
    pub fn is_none(&self) -> bool {
        *self == Output::default()
    }

    /// The files and the annotations that name them.
    pub fn files(&self) -> [(&'static str, Option<&Path>); 2] {
        [(STDOUT, self.stdout.as_deref()), (STDERR, self.stderr.as_deref())]
    }
}

/// Plans where what hooks print goes. Relative paths are in the bundle, as all paths of the configuration.
pub fn output(annotations: &BTreeMap<String, String>, bundle: &Path, report: &mut Report) -> Result<Output> {
    let file = |name: &str| -> Result<Option<PathBuf>> {
        let Some(path) = annotations.get(name) else { return Ok(None) };
        let at = format!("/annotations/{name}");
        c_string(path, &at)?;
        if path.ends_with('/') || Path::new(path).file_name().is_none() {
            return Err(Error::config(at, format!("\"{path}\" is no path of a file")));
        }
        Ok(Some(bundle.join(path)))
    };
    let stdout = report.keep(file(STDOUT))?.flatten();
    Ok(Output { stdout, stderr: report.keep(file(STDERR))?.flatten() })
}

/// The six kinds, each in order.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// `prestart`.
    pub prestart: Vec<Hook>,
    /// `createRuntime`.
    pub create_runtime: Vec<Hook>,
    /// `createContainer`.
    pub create_container: Vec<Hook>,
    /// `startContainer`.
    pub start_container: Vec<Hook>,
    /// `poststart`.
    pub poststart: Vec<Hook>,
    /// `poststop`.
    pub poststop: Vec<Hook>,
    /// Where what they print goes.
    pub output: Output,
}

impl Hooks {
    /// Some run in the namespaces of the runtime while the container is created.
    pub fn has_any_of_host(&self) -> bool {
        !self.prestart.is_empty() || !self.create_runtime.is_empty()
    }
}

/// Plans all hooks; `environment` is that of the container's process, which startContainer hooks get when they
/// have none of their own.
pub fn plan(
    hooks: Option<&ConfigHooks>,
    output: Output,
    environment: &StringList,
    report: &mut Report,
) -> Result<Hooks> {
    let Some(hooks) = hooks else { return Ok(Hooks { output, ..Hooks::default() }) };
    #[allow(deprecated)] // prestart still has to be supported
    let prestart = hooks.prestart();
    Ok(Hooks {
        prestart: list(prestart, kind::PRESTART, None, report)?,
        create_runtime: list(hooks.create_runtime(), kind::CREATE_RUNTIME, None, report)?,
        create_container: list(hooks.create_container(), kind::CREATE_CONTAINER, None, report)?,
        start_container: list(hooks.start_container(), kind::START_CONTAINER, Some(environment), report)?,
        poststart: list(hooks.poststart(), kind::POSTSTART, None, report)?,
        poststop: list(hooks.poststop(), kind::POSTSTOP, None, report)?,
        output,
    })
}

/// Plans the hooks that run after `create`, from the record of a container.
pub fn later(hooks: &crate::state::HookLists) -> Result<Hooks> {
    let report = &mut Report::of_first_error();
    Ok(Hooks {
        poststart: list(&hooks.poststart, kind::POSTSTART, None, report)?,
        poststop: list(&hooks.poststop, kind::POSTSTOP, None, report)?,
        output: hooks.output.clone(),
        ..Hooks::default()
    })
}

fn list(
    hooks: &Option<Vec<ConfigHook>>,
    kind: &str,
    default: Option<&StringList>,
    report: &mut Report,
) -> Result<Vec<Hook>> {
    let mut planned = Vec::new();
    for (index, hook) in hooks.iter().flatten().enumerate() {
        planned.extend(one(hook, kind, index, default, report)?);
    }
    Ok(planned)
}

fn one(
    hook: &ConfigHook,
    kind: &str,
    index: usize,
    default: Option<&StringList>,
    report: &mut Report,
) -> Result<Option<Hook>> {
    let at = item(&format!("/hooks/{kind}"), index);
    let path = report.keep(path_of(hook, &format!("{at}/path")))?;
    let arguments = match hook.args().as_deref().unwrap_or_default() {
        [] => path.iter().cloned().collect(),
        listed => strings(listed, &format!("{at}/args"), report)?,
    };
    let environment = match (hook.env().as_deref().unwrap_or_default(), default) {
        ([], Some(default)) => default.clone(),
        (listed, _) => StringList::new(strings(listed, &format!("{at}/env"), report)?),
    };
    let timeout = hook.timeout().map(|seconds| {
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        seconds.ok_or_else(|| Error::config(format!("{at}/timeout"), "must be greater than zero"))
    });
    let timeout = report.keep(timeout.transpose())?.flatten().map(Duration::from_secs);
    Ok(path.map(|path| Hook {
        path,
        arguments: StringList::new(arguments),
        environment,
        timeout,
        name: format!("{kind} hook #{index}"),
        at,
    }))
}

fn path_of(hook: &ConfigHook, at: &str) -> Result<CString> {
    if !hook.path().is_absolute() {
        return Err(Error::config(at, "the path of a hook must be absolute"));
    }
    c_string(&hook.path().to_string_lossy(), at)
}

fn strings(list: &[String], base: &str, report: &mut Report) -> Result<Vec<CString>> {
    let mut strings = Vec::with_capacity(list.len());
    for (index, text) in list.iter().enumerate() {
        strings.extend(report.keep(c_string(text, &item(base, index)))?);
    }
    Ok(strings)
}
