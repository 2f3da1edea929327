//! From a bundle to a plan: what `create`, `run` and `plan` have in common.

use std::path::{Path, PathBuf};

use crate::cgroup::Layout;
use crate::cli::{Global, go_bool};
use crate::config::{self, Config, Warning};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::parent::access::{self, Use, Who};
use crate::plan::{self, Plan, Request};
use crate::state::HookLists;

/// A bundle, read and planned.
pub struct Setup {
    /// `config.json` as it is.
    pub bytes: Vec<u8>,
    /// `config.json` with types.
    pub config: Config,
    /// The hierarchies of the host.
    pub layout: Layout,
    /// Facts of the host.
    pub host: Host,
    /// The plan.
    pub plan: Plan,
}

/// Reads and plans. Nothing is changed.
pub fn setup(global: &Global, bundle: &Path, mut request: Request) -> Result<Setup> {
    let bytes = config::read(bundle).map_err(|error| {
        access::explain(error, Some(&Who::caller()), &bundle.join("config.json"), Use::Read)
    })?;
    let config = config::load(&bytes)?;
    let layout = Layout::read()?;
    let host = Host::read(&layout)?;
    request.cgroup_driver = global.cgroup_driver()?;
    request.rootless = rootless(global)?;
    let plan = plan::plan(&config, &request, &host)?;
    Ok(Setup { bytes, config, layout, host, plan })
}

/// The bundle as an absolute path without links. The working directory by default.
pub fn bundle(path: Option<&Path>) -> Result<PathBuf> {
    let path = path.unwrap_or(Path::new("."));
    std::fs::canonicalize(path).map_err(|e| {
        let error = Error::io(format!("open the bundle {}", path.display()), "openat2(2)", &e);
        access::explain(error, Some(&Who::caller()), path, Use::Reach)
            .hint("a bundle is a directory with a config.json; --bundle names it")
    })
}

/// A path of the caller, made absolute.
pub fn absolute(path: Option<&Path>) -> Result<Option<PathBuf>> {
    path.map(|path| {
        std::path::absolute(path).map_err(|e| Error::io("find the working directory", "getcwd(2)", &e))
    })
    .transpose()
}

/// Descriptors of socket activation, counted only when they are meant for this process.
pub fn listen_fds() -> u32 {
    let variable = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    match (variable("LISTEN_PID"), variable("LISTEN_FDS")) {
        (Some(pid), Some(count)) if pid == std::process::id() => count,
        _ => 0,
    }
}

/// Hooks of later commands, as the configuration has them.
pub fn later_hooks(config: &Config) -> HookLists {
    config.spec.hooks().as_ref().map_or_else(HookLists::default, |hooks| HookLists {
        poststart: hooks.poststart().clone(),
        poststop: hooks.poststop().clone(),
        ..HookLists::default()
    })
}

/// `--rootless`: whether missing privilege over cgroups is tolerated. `None` for `auto`.
fn rootless(global: &Global) -> Result<Option<bool>> {
    match global.rootless.as_str() {
        "" => Ok(None),
        text if text.eq_ignore_ascii_case("auto") => Ok(None),
        text => match go_bool(text) {
            None => Err(Error::usage(format!("invalid value for --rootless: {text:?}"))),
            known => Ok(known),
        },
    }
}

/// Keeps the warnings of the plan for the log.
pub fn report_warnings(plan: &Plan) {
    report(&plan.warnings);
}

/// Keeps warnings for the log.
pub fn report(warnings: &[Warning]) {
    for warning in warnings {
        crate::log::warn(&format!("{} ({})", warning.text, warning.at));
    }
}
