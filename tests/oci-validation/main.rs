//! Runs the official validation suite (runtime-tools) against a runtime and judges what it says.
//!
//! `make oci-validation` builds the suite and calls the one test here that needs it; `RUNTIME=` names another
//! runtime than the `teu` that cargo built. The suite is from the time of runtime-spec 1.0.2, so a list of
//! exceptions says which of its test points a right runtime fails, and why. An exception that starts to pass
//! fails the run, so that the list stays true.
//!
//! The list and the verdict are about teu. Another runtime is measured: every point that it fails is printed and
//! counted as failed, and the run succeeds when every program of the suite could be run.

mod exceptions;
mod tap;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use exceptions::{Exception, Machine};
use tap::{Outcome, Point};

#[test]
#[ignore = "needs root and the suite: make oci-validation"]
fn the_runtime_passes_the_official_suite() -> Result<(), String> {
    let suite =
        PathBuf::from(std::env::var("OCI_SUITE").map_err(|_| "OCI_SUITE does not name the built suite")?);
    let runtime = runtime()?;
    let machine = this_machine()?;
    let version = version_line(&runtime)?;
    let is_teu = version.starts_with("teu ");
    let known = match is_teu {
        true => exceptions::read(include_str!("exceptions.txt"), &machine)?,
        false => Vec::new(),
    };

    println!("runtime: {} ({version})", runtime.display());
    println!("cgroups: {}", if machine.v2 { "v2" } else { "as the machine has them, with v1" });
    let mut verdict = Verdict::default();
    for program in programs(&suite)? {
        let points = run_program(&suite, &runtime, &program)?;
        verdict.add(&program, &points, &known);
    }
    verdict.close(&known, is_teu)
}

/// What the programs said, added up.
#[derive(Default)]
struct Verdict {
    programs: usize,
    clean_programs: usize,
    passed: usize,
    skipped: usize,
    excepted: usize,
    failed: usize,
    used: BTreeSet<usize>,
}

impl Verdict {
    /// Counts and prints one program.
    fn add(&mut self, program: &str, points: &[Point], known: &[Exception]) {
        let count = |outcome| points.iter().filter(|point| point.outcome == outcome).count();
        let (passed, skipped) = (count(Outcome::Passed), count(Outcome::Skipped) + count(Outcome::Todo));
        let mut failures = Vec::new();
        let mut excepted = 0;
        for point in points.iter().filter(|point| point.outcome == Outcome::Failed) {
            match known.iter().position(|exception| exception.covers(program, &point.text)) {
                Some(index) => {
                    excepted += 1;
                    self.used.insert(index);
                }
                None => failures.push(&point.text),
            }
        }
        let word = if failures.is_empty() { "ok" } else { "FAIL" };
        let failed = failures.len();
        println!(
            "{word:<5}{program:<33}{passed:>4} passed {skipped:>3} skipped {excepted:>3} excepted {failed:>3} failed"
        );
        for text in &failures {
            println!("         {text}");
        }
        self.programs += 1;
        self.clean_programs += usize::from(points.iter().all(|point| point.outcome != Outcome::Failed));
        self.passed += passed;
        self.skipped += skipped;
        self.excepted += excepted;
        self.failed += failed;
    }

    /// Prints the totals and what is known. Errors, for teu alone: unexpected failures, exceptions that pass now.
    fn close(self, known: &[Exception], is_teu: bool) -> Result<(), String> {
        if is_teu {
            println!("\nexceptions:");
        } else {
            println!("\nmeasured, not judged: failed points are no error of this run");
        }
        let mut stale = 0;
        for (index, exception) in known.iter().enumerate() {
            let used = self.used.contains(&index);
            stale += usize::from(!used);
            println!("  {}{exception}\n      {}", if used { "" } else { "PASSES NOW: " }, exception.reason);
        }
        println!(
            "\n{} programs, {} of them without any failure; points: {} passed, {} skipped, {} excepted, {} failed",
            self.programs, self.clean_programs, self.passed, self.skipped, self.excepted, self.failed
        );
        match (self.failed, stale) {
            (0, 0) => Ok(()),
            _ if !is_teu => Ok(()),
            (failed, stale) => Err(format!("{failed} points failed, {stale} exceptions pass now")),
        }
    }
}

/// Runs one program in its box and reads its output. An exit status that is not 0 is a failed point.
fn run_program(suite: &Path, runtime: &Path, program: &str) -> Result<Vec<Point>, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oci-validation/box.sh");
    let output = Command::new(script)
        .args([suite, runtime, Path::new(program)])
        .output()
        .map_err(|error| format!("{script}: {error}"))?;
    let mut points = tap::read(&String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        // That it did not get to its plan says nothing more.
        points.retain(|point| point.text != tap::NO_PLAN);
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors
            .lines()
            .rfind(|line| !line.starts_with("exit status") && !line.starts_with("Refer to"))
            .unwrap_or("no message");
        points.push(Point { text: format!("{}: {last}", output.status), outcome: Outcome::Failed });
    }
    Ok(points)
}

fn programs(suite: &Path) -> Result<Vec<String>, String> {
    let dir = suite.join("programs");
    let entries = std::fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    if names.is_empty() { Err(format!("{}: no programs", dir.display())) } else { Ok(names) }
}

/// The runtime under test, as an absolute path.
fn runtime() -> Result<PathBuf, String> {
    let name = match std::env::var("RUNTIME") {
        Ok(name) if !name.is_empty() => name,
        _ => env!("CARGO_BIN_EXE_teu").to_owned(),
    };
    if name.contains('/') {
        return std::path::absolute(&name).map_err(|error| format!("{name}: {error}"));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join(&name))
        .find(|candidate| candidate.is_file())
        .ok_or(format!("{name} is not in PATH"))
}

fn version_line(runtime: &Path) -> Result<String, String> {
    let output = Command::new(runtime).arg("--version").output();
    let output = output.map_err(|error| format!("{} --version: {error}", runtime.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned).ok_or(format!("{} --version says nothing", runtime.display()))
}

fn this_machine() -> Result<Machine, String> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let mounts = read("/proc/self/mountinfo")?;
    let v2 = mounts.lines().any(|line| line.contains(" /sys/fs/cgroup ") && line.contains(" - cgroup2 "));
    let status = read("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default().trim();
    let bounding_set = u64::from_str_radix(mask, 16).map_err(|error| format!("CapBnd `{mask}`: {error}"))?;
    Ok(Machine { v2, bounding_set })
}
