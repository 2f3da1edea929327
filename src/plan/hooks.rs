//! `hooks`.
//!
//! Source: config.md#posix-platform-hooks.

use std::ffi::CString;
use std::time::Duration;

use oci_spec::runtime::{Hook as ConfigHook, Hooks as ConfigHooks};

use super::{c_string, item};
use crate::error::{Error, Result};
use crate::sys::exec::StringList;

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
}

/// Plans all hooks; `environment` is that of the container's process, which startContainer hooks get when they
/// have none of their own.
pub fn plan(hooks: Option<&ConfigHooks>, environment: &StringList) -> Result<Hooks> {
    let Some(hooks) = hooks else { return Ok(Hooks::default()) };
    #[allow(deprecated)] // prestart still has to be supported
    let prestart = hooks.prestart();
    Ok(Hooks {
        prestart: list(prestart, "prestart", None)?,
        create_runtime: list(hooks.create_runtime(), "createRuntime", None)?,
        create_container: list(hooks.create_container(), "createContainer", None)?,
        start_container: list(hooks.start_container(), "startContainer", Some(environment))?,
        poststart: list(hooks.poststart(), "poststart", None)?,
        poststop: list(hooks.poststop(), "poststop", None)?,
    })
}

/// Plans the hooks that run after `create`, from the record of a container.
pub fn later(hooks: &crate::state::HookLists) -> Result<Hooks> {
    Ok(Hooks {
        poststart: list(&hooks.poststart, "poststart", None)?,
        poststop: list(&hooks.poststop, "poststop", None)?,
        ..Hooks::default()
    })
}

fn list(hooks: &Option<Vec<ConfigHook>>, kind: &str, default: Option<&StringList>) -> Result<Vec<Hook>> {
    let hooks = hooks.as_deref().unwrap_or_default();
    hooks.iter().enumerate().map(|(index, hook)| one(hook, kind, index, default)).collect()
}

fn one(hook: &ConfigHook, kind: &str, index: usize, default: Option<&StringList>) -> Result<Hook> {
    let at = item(&format!("/hooks/{kind}"), index);
    if !hook.path().is_absolute() {
        return Err(Error::config(format!("{at}/path"), "the path of a hook must be absolute"));
    }
    let path = c_string(&hook.path().to_string_lossy(), &format!("{at}/path"))?;
    let strings = |list: &[String], member: &str| -> Result<Vec<CString>> {
        list.iter().enumerate().map(|(i, s)| c_string(s, &format!("{at}/{member}/{i}"))).collect()
    };
    let arguments = match hook.args().as_deref().unwrap_or_default() {
        [] => vec![path.clone()],
        listed => strings(listed, "args")?,
    };
    let environment = match (hook.env().as_deref().unwrap_or_default(), default) {
        ([], Some(default)) => default.clone(),
        (listed, _) => StringList::new(strings(listed, "env")?),
    };
    let timeout = match hook.timeout() {
        None => None,
        Some(seconds) => Some(Duration::from_secs(
            u64::try_from(seconds)
                .ok()
                .filter(|s| *s > 0)
                .ok_or_else(|| Error::config(format!("{at}/timeout"), "must be greater than zero"))?,
        )),
    };
    Ok(Hook {
        path,
        arguments: StringList::new(arguments),
        environment,
        timeout,
        name: format!("{kind} hook #{index}"),
        at,
    })
}
