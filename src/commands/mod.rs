//! One file for each verb: the story in a dozen lines, made of the other modules.
#![forbid(unsafe_code)]

mod check;
mod create;
mod creation;
mod delete;
mod events;
mod exec;
mod features;
mod filter;
mod kill;
mod list;
mod migrate;
mod pause;
mod plan;
mod ps;
mod resume;
mod run;
mod seccomp;
mod setup;
mod signals;
mod spec;
mod start;
mod state;
mod update;
mod version;

use std::path::{Path, PathBuf};

use crate::cli::{Global, Verb};
use crate::error::{Error, Result};
use crate::parent::access::{self, Use, Who};
use crate::state::{Container, Id, Root, missing};

/// Does what the command line says. Returns the exit status.
pub fn execute(global: &Global, verb: Verb) -> Result<i32> {
    match verb {
        Verb::Create(args) => create::create(global, &args),
        Verb::Start(args) => start::start(global, &args.id),
        Verb::Run(args) => run::run(global, &args),
        Verb::Exec(args) => exec::exec(global, &args),
        Verb::State(args) => state::state(global, &args.id),
        Verb::Kill(args) => kill::kill(global, &args),
        Verb::Delete(args) => delete::delete(global, &args),
        Verb::List(args) => list::list(global, &args),
        Verb::Ps(args) => ps::ps(global, &args),
        Verb::Pause(args) => pause::pause(global, &args.id),
        Verb::Resume(args) => resume::resume(global, &args.id),
        Verb::Update(args) => update::update(global, &args),
        Verb::Events(args) => events::events(global, &args),
        Verb::Checkpoint(_) => migrate::refuse("checkpoint"),
        Verb::Restore(_) => migrate::refuse("restore"),
        Verb::Plan(args) => plan::plan(global, &args),
        Verb::Check(args) => check::check(global, &args),
        Verb::Spec(args) => spec::spec(&args),
        Verb::Seccomp(verb) => seccomp::seccomp(global, &verb),
        Verb::Features => features::features(),
        Verb::Version => version::version(),
    }
}

/// Prints the version, for the option.
pub fn print_version() -> Result<i32> {
    version::version()
}

/// The verb and the container of a command, in front of its errors.
pub fn name_of(verb: &Verb) -> String {
    match verb {
        Verb::Create(args) => format!("create {}", args.id),
        Verb::Start(args) => format!("start {}", args.id),
        Verb::Run(args) => format!("run {}", args.create.id),
        Verb::Exec(args) => format!("exec {}: exec failed", args.id),
        Verb::State(args) => format!("state {}", args.id),
        Verb::Kill(args) => format!("kill {}", args.id),
        Verb::Delete(args) => format!("delete {}", args.id),
        Verb::List(_) => "list".to_owned(),
        Verb::Ps(args) => format!("ps {}", args.id),
        Verb::Pause(args) => format!("pause {}", args.id),
        Verb::Resume(args) => format!("resume {}", args.id),
        Verb::Update(args) => format!("update {}", args.id),
        Verb::Events(args) => format!("events {}", args.id),
        // The error says which verb it is.
        Verb::Checkpoint(_) | Verb::Restore(_) => String::new(),
        Verb::Plan(_) => "plan".to_owned(),
        Verb::Check(_) => "check".to_owned(),
        Verb::Spec(_) => "spec".to_owned(),
        Verb::Seccomp(verb) => seccomp::name_of(verb).to_owned(),
        Verb::Features => "features".to_owned(),
        Verb::Version => "version".to_owned(),
    }
}

/// The exit status of a command that fails. That of `exec` must not be taken for one of its program.
pub fn failure_status(verb: &Verb) -> i32 {
    match verb {
        Verb::Exec(_) => 255,
        _ => 1,
    }
}

/// The directory of all containers, for the root of the host.
const ROOT_OF_HOST: &str = "/run/teu";

/// The directory of all containers.
///
/// The root of the host always uses /run/teu; everybody else a directory below XDG_RUNTIME_DIR.
fn root_path(global: &Global) -> Result<PathBuf> {
    let explicit = global.root.as_ref().filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = explicit {
        let absolute =
            std::path::absolute(path).map_err(|e| Error::io("find the state directory", "getcwd(2)", &e))?;
        let clean: PathBuf = absolute.components().collect();
        if std::fs::canonicalize(&clean).unwrap_or(clean.clone()) == std::path::Path::new("/") {
            return Err(Error::usage("Option --root argument should not be set to /"));
        }
        return Ok(clean);
    }
    if global.root.is_some() {
        return Err(Error::usage("Option --root argument should not be set to /"));
    }
    let user = crate::sys::identity::effective_uid();
    // A relative one, as an empty one, is none (XDG Base Directory Specification).
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let in_namespace = crate::host::in_user_namespace();
    match (user, runtime) {
        (0, _) if !in_namespace => Ok(PathBuf::from(ROOT_OF_HOST)),
        (_, Some(dir)) => Ok(dir.join("teu")),
        (0, None) => Ok(PathBuf::from(ROOT_OF_HOST)),
        (user, None) => {
            let dir = PathBuf::from(format!("/run/user/{user}"));
            if dir.is_dir() {
                return Ok(dir.join("teu"));
            }
            Err(Error::usage("no directory for the state of containers")
                .hint("set XDG_RUNTIME_DIR, or pass --root DIR"))
        }
    }
}

/// Opens the directory of all containers. Errors tell who is stopped where on the way.
fn directory_of_all(path: &Path, create: bool) -> Result<Root> {
    Root::open(path, create).map_err(|error| {
        let caller = Who::caller();
        let error = access::explain(error, Some(&caller), path, Use::Read);
        access::explain(error, Some(&caller), path, Use::Make)
    })
}

/// Opens the directory of all containers for a command that needs one of them. One that is not there has none.
fn open_root(global: &Global) -> Result<Root> {
    let path = root_path(global)?;
    directory_of_all(&path, false).map_err(|error| match error.errno() {
        Some(crate::error::Errno::ENOENT) => crate::state::missing(),
        _ => error,
    })
}

/// Looks a container up. As long as the lock is held no other command changes it.
fn locked(global: &Global, id: &str) -> Result<(Container, nix::fcntl::Flock<std::fs::File>)> {
    let directory = open_root(global)?.directory(&Id::new(id)?)?;
    let lock = directory.lock()?;
    let record = directory.load()?.ok_or_else(missing)?;
    Ok((Container::of(directory, record), lock))
}

/// Opens the directory of all containers, made when missing.
fn make_root(global: &Global) -> Result<Root> {
    let path = root_path(global)?;
    let root = directory_of_all(&path, true)?;
    // Who tidies up XDG_RUNTIME_DIR leaves what has the sticky bit (XDG Base Directory Specification).
    if global.root.is_none() && path != Path::new(ROOT_OF_HOST) {
        root.keep()?;
    }
    Ok(root)
}
