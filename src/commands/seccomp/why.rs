//! `teu seccomp why`: which system calls a profile refuses while the container runs.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags};
use teu_seccomp::{Arch, Instruction, compile};

use super::super::open_root;
use super::super::run::{self, Watch};
use super::profile::{self, Profile};
use super::shown::Shown;
use super::words::counted;
use crate::cli::seccomp::Why;
use crate::cli::{Create, Global, Run};
use crate::config;
use crate::error::{Errno, Error, Result, one_line};
use crate::parent::foreground::{Companion, wait_with};
use crate::parent::tracer::{Refused, Tracer, Witness};
use crate::state::{Container, Id, Status};
use crate::sys::signal;

/// Most different calls that are reported: a program can make up as many as there are numbers.
const MOST: usize = 1000;

/// Runs the bundle, or watches the container, and reports. The exit status is that of the program, or 0.
pub fn why(global: &Global, args: &Why) -> Result<i32> {
    // An id cannot contain a slash.
    if args.target.contains('/') { run_bundle(global, &args.target) } else { attach(global, &args.target) }
}

fn run_bundle(global: &Global, bundle: &str) -> Result<i32> {
    let bytes = config::read(std::path::Path::new(bundle))?;
    let mut report = Report::new(Profile::of(config::parse(&bytes, "config.json")?)?)?;
    let create = run::bundle_as_id(&Create { id: bundle.to_owned(), ..Create::default() });
    let assumed = report.program.clone();
    let watch = Watch::Refusals { witness: &mut report, assumed };
    let status = run::run_watched(global, &Run { create, ..Run::default() }, watch)?;
    report.end();
    Ok(status)
}

/// Watches a container that somebody else has started, until it ends or this command gets a signal.
fn attach(global: &Global, id: &str) -> Result<i32> {
    let found = open_root(global).and_then(|root| Container::load(&root, &Id::new(id)?));
    let container = found.map_err(|error| match std::path::Path::new(id).join("config.json").exists() {
        true => error.hint(format!("a bundle is written with a slash: {id}/")),
        false => error,
    })?;
    let init = match (&container.status, &container.init) {
        (Status::Running | Status::Created, Some(init)) => init,
        (status, _) => {
            return Err(Error::state(format!("cannot watch a container that is {}", status.text())));
        }
    };
    if container.record.own.recording {
        return Err(Error::state("the container is being recorded, and no profile is in force"));
    }
    let bytes = container.directory.load_config()?;
    let bytes = bytes.ok_or_else(|| Error::state("the configuration of the container is gone"))?;
    let mut report = Report::new(Profile::of(config::parse(&bytes, "config.json")?)?)?;
    let signals = signal::block_all().map_err(|e| Error::kernel("block signals", "signalfd(2)", e))?;
    let assumed = report.program.clone();
    let mut tracer = Tracer::new(&mut report, assumed, container.cgroup(), init.pid)?;
    tracer.attach()?;
    say("watching; a signal such as that of Ctrl-C ends it, and the container runs on");
    let mut goes_on = true;
    while goes_on && tracer.ended().is_none() {
        let own = [signals.as_fd(), init.pidfd.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let (ready, traced) = wait_with(&tracer, own.into())?;
        while let Ok(Some(number)) = signal::next(&signals) {
            goes_on &= !matches!(number, libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT);
        }
        tracer.work();
        tracer.serve(&traced);
        // The end of a process that is not watched any more, or never was, is seen here.
        goes_on &= ready[1].is_empty();
    }
    tracer.detach();
    report.end();
    Ok(0)
}

/// What was refused so far.
struct Report {
    profile: Option<Profile>,
    program: Option<Vec<Instruction>>,
    /// How often a call was refused, by architecture, name, and what decided.
    seen: BTreeMap<(u32, String, String), u64>,
    said_unreadable: bool,
}

impl Report {
    fn new(profile: Option<Profile>) -> Result<Report> {
        let program = match &profile {
            Some(profile) => {
                let at = |pointer: &str| format!("{}{pointer}", profile::IN_CONFIG);
                Some(
                    compile(&profile.policy)
                        .map_err(|e| Error::config(at(&e.pointer), e.message))?
                        .instructions,
                )
            }
            None => {
                say(
                    "the container has no seccomp profile; only filters that its programs load refuse anything",
                );
                None
            }
        };
        Ok(Report { profile, program, seen: BTreeMap::new(), said_unreadable: false })
    }

    fn end(&self) {
        let calls: u64 = self.seen.values().sum();
        match calls {
            0 => say("no system call was refused by a seccomp filter"),
            _ => {
                let (calls, kinds) = (counted(calls, "call"), counted(self.seen.len() as u64, "kind"));
                say(&format!("{calls} of {kinds} refused"));
            }
        }
    }
}

impl Witness for Report {
    fn refused(&mut self, refused: &Refused) {
        let data = &refused.call;
        let by_profile = self.program.as_deref() == Some(refused.filter);
        let shown = self.profile.as_ref().filter(|_| by_profile).map(|profile| Shown::of(profile, *data));
        let name =
            Arch::of_call(data.arch, data.nr).and_then(|arch| arch.name_of_call(data.nr, data.args[0]));
        let name = name.unwrap_or_else(|| format!("call {}", data.nr));
        let decider = shown.as_ref().map_or_else(|| "/".to_owned(), |shown| shown.decision.pointer.clone());
        if self.seen.len() >= MOST && !self.seen.contains_key(&(data.arch, name.clone(), decider.clone())) {
            return;
        }
        let times = self.seen.entry((data.arch, name, decider)).or_insert(0);
        *times += 1;
        if *times > 1 {
            return;
        }
        let text = match (shown, &self.profile) {
            (Some(shown), Some(profile)) => shown.text(profile, 6, Some(&caller(refused.thread))),
            _ => other_filter(refused),
        };
        let _ = writeln!(std::io::stderr(), "{text}");
        if self.seen.len() == MOST {
            say(&format!("more than {MOST} different calls are not reported"));
        }
    }

    fn unreadable(&mut self, errno: Errno) {
        if !std::mem::replace(&mut self.said_unreadable, true) {
            say(&format!(
                "the filters of the processes cannot be read ({errno:?}), which takes CAP_SYS_ADMIN: the profile of \
                 the container is taken for them, and filters that its programs load are not seen"
            ));
        }
    }
}

/// A filter that is not the container's profile.
fn other_filter(refused: &Refused) -> String {
    let data = &refused.call;
    let arch = Arch::of_call(data.arch, data.nr);
    let name = arch.and_then(|arch| arch.name_of_call(data.nr, data.args[0]));
    let action = teu_seccomp::Action::of_value(refused.answer);
    format!(
        "{} ({}, call {}): {}\n  called by   {}\n  decided by  a filter that is not the profile of the container: \
         its program has loaded it\n  to allow    nothing in the profile changes that",
        name.as_deref().unwrap_or("a call without a name"),
        arch.map_or("an unknown architecture", Arch::name),
        data.nr,
        action.effect(),
        caller(refused.thread)
    )
}

/// Name and number of a thread. The name is the container's, and may be anything.
fn caller(thread: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{thread}/comm")).unwrap_or_default();
    format!("{}, process {thread}", one_line(name.trim_end_matches('\n')))
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "teu: seccomp why: {}", one_line(text));
}
