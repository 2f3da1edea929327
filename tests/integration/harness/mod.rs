//! The test harness: builds bundles, drives a runtime, looks for leftovers.

pub mod bundle;
pub mod caller;
pub mod cgroup;
pub mod checklist;
pub mod command;
pub mod console;
pub mod container;
pub mod containment;
pub mod dbus;
pub mod delegation;
pub mod driver;
pub mod leaks;
pub mod mountinfo;
pub mod pattern;
mod reachable;
pub mod report;
pub mod rootfs;
pub mod runtime;
pub mod supervisor;
pub mod sys;
pub mod systemd;
pub mod test;
pub mod view;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libtest_mimic::{Arguments, Trial};

pub use bundle::Bundle;
pub use caller::Caller;
pub use command::{Cmd, Out};
pub use container::Container;
pub use driver::Driver;
pub use systemd::{Fault, Systemd};
pub use test::Test;
pub use view::View;

use runtime::Runtime;

/// Why a test is skipped for every runtime but `teu`. Old runtimes follow what they should refuse; they are not
/// given such input even where they can do no harm.
pub const HOSTILE: &str = "hostile input is given to teu alone";

/// One test: its name and its body.
pub struct Case {
    /// `file::function`, with the name of this crate in front.
    pub name: &'static str,
    /// The body. It panics when the behaviour is not the one it names.
    pub run: fn(&Test),
}

/// A test that does not apply to old versions of another runtime.
pub struct Peer {
    /// The name of the runtime.
    pub runtime: &'static str,
    /// The first version, major and minor, that the test applies to.
    pub below: (u32, u32),
    /// The test, as `file::function`.
    pub test: &'static str,
    /// What the runtime does instead.
    pub reason: &'static str,
}

/// To whom a [`Need`] applies.
pub enum Of {
    /// To containers with a user namespace, whoever calls.
    UserNamespaces,
    /// To an unprivileged caller.
    User,
    /// To an unprivileged caller on a host with cgroups of version 1.
    UserOnVersion1,
    /// To containers whose cgroups are units of systemd.
    Units,
}

/// A test that does not apply without some privilege.
pub struct Need {
    /// Where it does not apply.
    pub of: Of,
    /// The test, `file::function`, or all of a file, `file::`.
    pub test: &'static str,
    /// Why.
    pub reason: &'static str,
}

impl Need {
    /// Whether the test is skipped in this session.
    pub fn lacks(&self, name: &str) -> bool {
        let session = session();
        let applies = match self.of {
            Of::UserNamespaces => session.caller != Caller::Root,
            Of::User => session.caller == Caller::User,
            Of::Units => session.driver == Driver::Systemd,
            Of::UserOnVersion1 => session.caller == Caller::User && session.view != View::V2,
        };
        applies && self.names(name)
    }

    fn names(&self, name: &str) -> bool {
        self.test == name || self.test.ends_with("::") && name.starts_with(self.test)
    }
}

/// Lists the tests of a file. Every test function must be named, otherwise it is dead code.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        /// The tests of this file.
        pub const CASES: &[crate::harness::Case] = &[
            $(crate::harness::Case { name: concat!(module_path!(), "::", stringify!($name)), run: $name }),*
        ];
    };
}

/// What all tests of one run share.
pub struct Session {
    /// The runtime under test.
    pub runtime: Runtime,
    /// How /sys/fs/cgroup looks.
    pub view: View,
    /// As whom the runtime is called.
    pub caller: Caller,
    /// Who makes the cgroups.
    pub driver: Driver,
    /// Where this run makes everything: a directory of the fresh /tmp.
    pub dir: PathBuf,
    /// Prefix of everything that the tests of this run name.
    pub prefix: String,
    /// How much slower than usual this machine is; `TEU_TEST_PATIENCE`, 1 unless that is set.
    pub patience: u32,
}

static SESSION: OnceLock<Session> = OnceLock::new();

/// The session of this run; set before the first test starts.
pub fn session() -> &'static Session {
    SESSION.get().expect("the session is set up first")
}

/// A time within which something must have happened, made longer on a machine that is said to be slow.
pub fn patience(usual: Duration) -> Duration {
    usual * session().patience
}

/// Copies a program that is executed next. By a process of its own: a test beside this one may fork while the copy is
/// open for writing, and until its child executes something the copy would be busy (ETXTBSY).
pub fn copy_program(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp").arg("--").args([from, to]).status().expect("cp is in PATH");
    assert!(done.success(), "cp {} {}: {done}", from.display(), to.display());
}

/// The nice value of these tests, which what they start inherits.
pub fn own_nice() -> i32 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs is mounted");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    fields[16].parse().expect("field 19 is a number")
}

/// Pages that a run can be measured by.
pub struct Pages {
    /// Printed row by row.
    pub promises: &'static checklist::Page,
    /// Only the tests that it names are run, and its rows are counted.
    pub cases: &'static checklist::Page,
}

/// Runs the suites as cargo's own harness would, and ends with its summary line.
pub fn main(
    suites: &'static [&'static [Case]],
    peers: &'static [Peer],
    needs: &'static [Need],
    pages: Pages,
) -> ExitCode {
    sys::heed_interrupts();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(2);
    let wanted = std::env::var("TEU_CHECKLIST").unwrap_or_default();
    let named: Option<Vec<&str>> =
        (wanted == pages.cases.path).then(|| pages.cases.rows().iter().flat_map(|row| row.tests()).collect());
    let cases = suites.iter().copied().flatten();
    if !arguments.list {
        match containment::enter() {
            Ok(None) => {}
            Ok(Some(end_of_the_run)) => return end_of_the_run,
            Err(error) => {
                eprintln!("integration tests cannot start: {error}");
                return ExitCode::FAILURE;
            }
        }
        match set_up() {
            Ok(session) => {
                println!(
                    "runtime: {}, called by {}; cgroup view: {}; cgroups are made by {}",
                    session.runtime, session.caller, session.view, session.driver
                );
                SESSION.set(session).ok().expect("main runs once");
            }
            Err(error) => {
                eprintln!("integration tests cannot start: {error}");
                return ExitCode::FAILURE;
            }
        }
        test::report_panics_through_the_test();
    }
    let mut known = 0;
    let trials = cases
        .map(|case| {
            let name = case.name.split_once("::").map_or(case.name, |(_, name)| name);
            let peers: Vec<&Peer> = peers.iter().filter(|peer| peer.test == name).collect();
            known += peers.len();
            let needs: Vec<&Need> = needs.iter().filter(|need| need.names(name)).collect();
            (name, Trial::ignorable_test(name, || test::run(case, peers, needs)))
        })
        .filter(|(name, _)| named.as_ref().is_none_or(|named| named.contains(name)))
        .map(|(_, trial)| trial)
        .collect();
    if known != peers.len() {
        eprintln!("integration tests cannot start: a name in the list of peers is none of a test");
        return ExitCode::FAILURE;
    }
    let names: Vec<&str> = suites
        .iter()
        .copied()
        .flatten()
        .map(|c| c.name.split_once("::").map_or(c.name, |(_, n)| n))
        .collect();
    if let Some(need) = needs.iter().find(|need| !names.iter().any(|name| need.names(name))) {
        eprintln!("integration tests cannot start: {} in the list of needs is no test", need.test);
        return ExitCode::FAILURE;
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if arguments.list {
        return ExitCode::SUCCESS;
    }
    if named.is_some() {
        checklist::summarize(pages.cases);
    } else if !wanted.is_empty() {
        checklist::print(pages.promises);
    }
    match leaks::after_all() {
        Ok(()) => conclusion.exit_code(),
        Err(left) => {
            eprintln!("error: left behind by the whole run: {left}");
            ExitCode::FAILURE
        }
    }
}

fn set_up() -> Result<Session, String> {
    let mut runtime = Runtime::detect()?;
    let view = View::now()?;
    let caller = Caller::named()?;
    let driver = Driver::named()?;
    // The pid namespace is new, so the own pid would be the same in every run; cgroups are the machine's.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let prefix = format!("teuit{:x}", now.as_micros() & 0xff_ffff_ffff);
    let dir = Path::new("/tmp").join(&prefix);
    std::fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    rootfs::build_base(&dir)?;
    let given = if caller == Caller::Mapped { dir.join("base") } else { dir.clone() };
    caller.own(&given, None).map_err(|error| format!("{}: {error}", dir.display()))?;
    if let Some(user) = caller.user() {
        runtime.make_reachable(&dir)?;
        caller::make_runtime_directory(user)?;
    }
    let patience = match std::env::var("TEU_TEST_PATIENCE") {
        Err(_) => 1,
        Ok(factor) => match factor.parse() {
            Ok(factor @ 1..=100) => factor,
            _ => return Err(format!("TEU_TEST_PATIENCE is `{factor}`, not a factor from 1 to 100")),
        },
    };
    Ok(Session { runtime, view, caller, driver, dir, prefix, patience })
}
