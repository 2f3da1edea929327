//! What one test sees: its directory, its runtime, and how it ends.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed};

use super::runtime::Runtime;
use super::view::View;
use super::{Bundle, Caller, Case, Cmd, Driver, Need, Peer, checklist, leaks, patience, session};

/// How long a test waits for something that should happen soon.
const PATIENCE: Duration = Duration::from_secs(10);

/// The reason of a test that cannot run here; the payload that ends it.
struct Skip(String);

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// One running test.
pub struct Test {
    token: String,
    dir: PathBuf,
    root: PathBuf,
    numbers: Cell<u32>,
    bundles: Cell<u32>,
}

impl Test {
    /// The runtime under test.
    pub fn runtime(&self) -> &'static Runtime {
        &session().runtime
    }

    /// Whether the runtime under test has this name.
    pub fn is(&self, name: &str) -> bool {
        self.runtime().is(name)
    }

    /// Whether it is the named runtime in a version below `major.minor`.
    pub fn is_older(&self, name: &str, major: u32, minor: u32) -> bool {
        self.runtime().is_older(name, major, minor)
    }

    /// The cgroup view of this run.
    pub fn view(&self) -> View {
        session().view
    }

    /// The directory of this test; its name is in every path that the test uses.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The state root of the runtime for this test.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A word that nobody else on the machine uses; every id of the test starts with it.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// As whom the runtime is called.
    pub fn caller(&self) -> Caller {
        session().caller
    }

    /// Whether containers have cgroups: version 1 cannot be delegated to an unprivileged caller.
    pub fn has_cgroups(&self) -> bool {
        self.caller() != Caller::User || self.view() == View::V2
    }

    /// Who makes the cgroups of the containers.
    pub fn driver(&self) -> Driver {
        session().driver
    }

    /// Where the cgroup of a container is, below the root of each hierarchy.
    pub fn place(&self, id: &str) -> String {
        self.driver().place(&format!("/{id}"), self.caller()).display().to_string()
    }

    /// Gives what the test has made to the root of the container. The state stays with who calls the runtime, and so
    /// does the directory that it is in, which nobody else may own.
    pub fn hand_over(&self) {
        let caller = self.caller();
        if caller != Caller::Mapped {
            return caller.own(&self.dir, None).expect("files can be given away");
        }
        for entry in fs::read_dir(&self.dir).expect("the test directory can be read").flatten() {
            caller.own(&entry.path(), Some(self.root())).expect("files can be given away");
        }
    }

    /// The next number for a file or call of this test.
    pub fn next_number(&self) -> u32 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    /// A new bundle, with an id of its own.
    pub fn bundle(&self) -> Bundle<'_> {
        self.bundles.set(self.bundles.get() + 1);
        Bundle::new(self, format!("{}-{}", self.token, self.bundles.get()))
    }

    /// A call of the runtime with these arguments.
    pub fn cmd<I, S>(&self, arguments: I) -> Cmd<'_>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Cmd::new(self, arguments)
    }

    /// Creates a directory below the one of the test.
    pub fn make_dir(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir_all(&path).expect("the test directory can be written to");
        path
    }

    /// Creates a file below the directory of the test.
    pub fn make_file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, content).expect("the test directory can be written to");
        path
    }

    /// Ends the test as not applicable, with the reason that is printed and counted.
    pub fn skip(&self, reason: impl Into<String>) -> ! {
        resume_unwind(Box::new(Skip(reason.into())))
    }

    /// Skips when the named runtime is older than a version.
    pub fn skip_older(&self, name: &str, (major, minor): (u32, u32), reason: &str) {
        if self.runtime().is_older(name, major, minor) {
            self.skip(format!("{name} below {major}.{minor} {reason}"));
        }
    }

    /// Skips for the named runtime in any version.
    pub fn skip_for(&self, name: &str, reason: &str) {
        if self.is(name) {
            self.skip(format!("{name} {reason}"));
        }
    }

    /// Skips for everything but `teu`.
    pub fn only_teu(&self, reason: &str) {
        if !self.is("teu") {
            self.skip(reason);
        }
    }

    /// Waits until something is true; fails the test when it does not become so.
    #[track_caller]
    pub fn until(&self, what: impl Display, done: impl FnMut() -> bool) {
        self.until_within(PATIENCE, what, done);
    }

    /// The same for something that may take longer.
    #[track_caller]
    pub fn until_within(&self, limit: Duration, what: impl Display, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        while !done() {
            assert!(start.elapsed() < patience(limit), "waited {:?} for: {what}", start.elapsed());
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

/// Runs one test, then cleans up and looks for what it left.
///
/// `peers` are the runtimes that this test does not apply to, `needs` the privileges without which it does not.
pub fn run(case: &Case, peers: Vec<&Peer>, needs: Vec<&Need>) -> Result<Completion, Failed> {
    let runtime = &session().runtime;
    if let Some(peer) = peers.iter().find(|p| runtime.is_older(p.runtime, p.below.0, p.below.1)) {
        let (major, minor) = peer.below;
        let reason = format!("{} below {major}.{minor} {}", peer.runtime, peer.reason);
        checklist::note(peer.test, checklist::End::Skipped, &reason);
        return Ok(Completion::ignored_with(reason));
    }
    let name = case.name.split_once("::").map_or(case.name, |(_, name)| name);
    if let Some(need) = needs.iter().find(|need| need.lacks(name)) {
        return Ok(Completion::ignored_with(need.reason));
    }
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let token = format!("{}x{:03}", session().prefix, COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = session().dir.join(&token);
    let test = Test { root: dir.join("state"), numbers: Cell::new(0), bundles: Cell::new(0), token, dir };
    fs::create_dir(&test.dir).map_err(|error| format!("{}: {error}", test.dir.display()))?;
    let outcome = catch_unwind(AssertUnwindSafe(|| (case.run)(&test)));
    let leftovers = leaks::after_test(&test);
    let mut problems = Vec::new();
    let mut skipped = None;
    match outcome {
        Ok(()) => {}
        Err(payload) => match payload.downcast::<Skip>() {
            Ok(skip) => skipped = Some(skip.0),
            Err(payload) => problems.push(describe(payload)),
        },
    }
    problems.extend(leftovers);
    problems.extend(leaks::remove_tree(&test.dir).err());
    let name = case.name.split_once("::").map_or(case.name, |(_, name)| name);
    checklist::note(
        name,
        match (problems.is_empty(), &skipped) {
            (false, _) => checklist::End::Failed,
            (true, Some(_)) => checklist::End::Skipped,
            (true, None) => checklist::End::Passed,
        },
        skipped.as_deref().unwrap_or_default(),
    );
    match (problems.is_empty(), skipped) {
        (false, _) => Err(problems.join("\n").into()),
        (true, Some(reason)) => Ok(Completion::ignored_with(reason)),
        (true, None) => Ok(Completion::Completed),
    }
}

/// Keeps the text and place of a panic for the report of the test instead of printing them at once.
pub fn report_panics_through_the_test() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        let text = text_of(info.payload());
        LAST_PANIC.set(Some(format!("{place}: {text}")));
    }));
}

fn text_of(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without text")
}

fn describe(payload: Box<dyn Any + Send>) -> String {
    LAST_PANIC.take().unwrap_or_else(|| format!("panic: {:?}", payload.downcast_ref::<&str>()))
}
