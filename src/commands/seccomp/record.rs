//! `teu seccomp record`: from what a container did to a profile that allows it.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use teu_seccomp::record::Recording;

use super::super::run::{self, Watch};
use super::profile::Profile;
use super::throw_away::ThrowAway;
use super::words::counted;
use crate::cli::seccomp::Record;
use crate::cli::{Create, Global, Run};
use crate::config;
use crate::error::{Error, Kind, Result};

/// Runs the container and writes the profile. The exit status is that of its program.
pub fn record(global: &Global, args: &Record) -> Result<i32> {
    let mut recording = match &args.merge {
        Some(path) => {
            let profile = Profile::read(path)?;
            Recording::over(&profile.section)
                .map_err(|e| Error::config(format!("{}{}", profile.base, e.pointer), e.message))?
        }
        None => Recording::new(),
    };
    // A profile that cannot be written is found out before anything runs.
    let output = Output::new(args.output.as_deref())?;
    let status = match (&args.bundle, args.command.as_slice()) {
        (Some(bundle), []) => run_bundle(global, bundle, &mut recording)?,
        (None, [_, ..]) => {
            let made = ThrowAway::new(&args.command)?;
            let create = Create {
                bundle: Some(made.path().to_owned()),
                id: format!("record-{}", std::process::id()),
                ..Create::default()
            };
            run::run_watched(global, &Run { create, ..Run::default() }, Watch::Calls(&mut recording))?
        }
        _ => {
            return Err(Error::usage("a bundle or a command is wanted")
                .hint("teu seccomp record BUNDLE, or teu seccomp record -- COMMAND"));
        }
    };
    let mut text = serde_json::to_string_pretty(&recording.profile())
        .map_err(|e| Error::new(Kind::Bug, format!("print the profile: {e}")))?;
    text.push('\n');
    output.write(text.as_bytes())?;
    report(&recording, args.output.as_deref());
    Ok(status)
}

fn run_bundle(global: &Global, bundle: &Path, recording: &mut Recording) -> Result<i32> {
    let document = config::parse(&config::read(bundle)?, "config.json")?;
    if document.pointer(super::profile::IN_CONFIG).is_some_and(|section| !matches!(section, Value::Null)) {
        say("the profile of the bundle is not in force while it is recorded");
    }
    // Written with a slash it is a bundle, and its name becomes the id.
    let create = Create { id: format!("{}/", bundle.display()), ..Create::default() };
    let args = Run { create: run::bundle_as_id(&create), ..Run::default() };
    run::run_watched(global, &args, Watch::Calls(recording))
}

fn report(recording: &Recording, output: Option<&Path>) {
    let (seen, kinds) =
        (counted(recording.observations(), "call"), counted(recording.calls() as u64, "kind"));
    let profile = output.map_or_else(|| "the profile".to_owned(), |path| path.display().to_string());
    say(&format!(
        "{seen} of {kinds} were seen; {profile} allows them, and may lack what this run did not do"
    ));
    let unnamed: Vec<&str> = recording.unnamed().take(20).collect();
    if !unnamed.is_empty() {
        say(&format!("calls without a name, which no profile can allow: {}", unnamed.join(", ")));
    }
}

/// A sentence for the person in front of the screen; standard output belongs to the program.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "teu: seccomp record: {}", crate::error::one_line(text));
}

/// Where the profile goes.
enum Output {
    Standard,
    /// A file that appears when it is complete.
    New {
        target: PathBuf,
        temporary: PathBuf,
    },
    /// Something that cannot be replaced, such as a pipe.
    Existing(PathBuf),
}

impl Output {
    fn new(target: Option<&Path>) -> Result<Output> {
        let Some(target) = target else { return Ok(Output::Standard) };
        let failed = |e: &std::io::Error| {
            Error::io(format!("write the profile to {}", target.display()), "openat(2)", e)
        };
        if std::fs::metadata(target).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            std::fs::OpenOptions::new().write(true).open(target).map_err(|e| failed(&e))?;
            return Ok(Output::Existing(target.to_owned()));
        }
        // A link stays one.
        let target = std::fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let name = target.file_name().filter(|_| !target.is_dir());
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name.ok_or_else(|| Error::usage(format!("{} is no file", target.display())))?);
        temporary.push(format!(".{}", std::process::id()));
        let temporary = target.with_file_name(temporary);
        std::fs::File::create_new(&temporary).map_err(|e| failed(&e))?;
        Ok(Output::New { target, temporary })
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Output::Standard => {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes)
                    .and_then(|()| out.flush())
                    .map_err(|e| Error::io("print", "write(2)", &e))
            }
            Output::Existing(path) => std::fs::write(path, bytes)
                .map_err(|e| Error::io(format!("write the profile to {}", path.display()), "write(2)", &e)),
            Output::New { target, temporary } => std::fs::write(temporary, bytes)
                .and_then(|()| std::fs::rename(temporary, target))
                .map_err(|e| Error::io(format!("write the profile to {}", target.display()), "write(2)", &e)),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Output::New { temporary, .. } = self {
            let _ = std::fs::remove_file(temporary);
        }
    }
}
