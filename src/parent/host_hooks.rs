//! Hooks that run in the namespaces of the runtime.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::access::{self, Use, Who};
use super::hook_output::HookOutput;
use crate::error::{Error, Kind, Result};
use crate::hooks::{self, Setting};
use crate::plan::hooks::Hook;
use crate::sys::path;

/// Runs a hook in the namespaces of the runtime, with the bundle as its working directory.
pub fn run_hook(hook: &Hook, state: &[u8], bundle: &CString, output: &HookOutput) -> Result<()> {
    let printed = |stream, text: &[u8]| output.append(stream, text);
    hooks::run(hook, state, &Setting::in_directory(bundle, &printed)).map_err(|failed| {
        let error =
            Error::new(Kind::Hook, format!("error running {}: {}", hook.name, failed.text)).at(&hook.at);
        match failed.errno {
            Some(errno) if access::is_denial(Some(errno)) => {
                let path = Path::new(OsStr::from_bytes(hook.path.to_bytes()));
                access::explain_denied(error, Some(&Who::caller()), path, Use::Execute)
            }
            _ => error,
        }
    })
}

/// Runs every poststop hook. A failing one is reported and the next one runs.
///
/// Source: runtime.md#lifecycle, step 13.
pub fn run_poststop(list: &[Hook], state: &[u8], bundle: &CString, output: &HookOutput) {
    let root = c"/".to_owned();
    let gone = path::open_host_path(bundle, libc::O_DIRECTORY).is_err();
    for hook in list {
        if let Err(error) = run_hook(hook, state, if gone { &root } else { bundle }, output) {
            crate::log::warn(&error.to_string());
        }
    }
}

/// A path as the kernel takes it.
pub fn c_path(path: &std::path::Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::usage("a path contains a NUL byte"))
}
