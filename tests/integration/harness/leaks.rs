//! What a test may leave behind: nothing.
//!
//! Everything a test makes has its token in a name: ids, cgroups, paths, mount points, environments. So a
//! leftover is found by looking for the token in processes, cgroups, mounts and state directories, and tests
//! that run at the same time do not disturb each other.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cmd, Test, cgroup, driver, mountinfo, patience, session};

/// How long processes that were killed may take to disappear.
const GRACE: Duration = Duration::from_millis(1500);

/// Directories where runtimes keep state when they are not told where.
const DEFAULT_ROOTS: &[&str] = &["/run/runc", "/run/crun", "/run/teu", "/run/user/100000/teu"];

/// Deletes the containers of a test as an engine would, then lists what is still there and removes it by force.
pub fn after_test(test: &Test) -> Vec<String> {
    let mut problems = delete_containers(test);
    let start = Instant::now();
    let mut processes = find_processes(test.token());
    while !processes.is_empty() && start.elapsed() < patience(GRACE) {
        std::thread::sleep(Duration::from_millis(5));
        processes = find_processes(test.token());
    }
    for (pid, command) in &processes {
        problems.push(format!("leaked process {pid}: {command}"));
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    if test.next_number() > 1 {
        problems.extend(driver::units_left(test.token()).iter().map(|unit| format!("leaked unit {unit}")));
    }
    for dir in cgroup::find(test.token()).iter().rev() {
        problems.push(format!("leaked cgroup {}", dir.display()));
        remove_cgroup(dir);
    }
    for point in find_mounts(test.token()) {
        problems.push(format!("leaked mount {point}"));
        let _ = umount2(point.as_str(), MntFlags::MNT_DETACH);
    }
    for path in find_state(test) {
        problems.push(format!("leaked state {}", path.display()));
        problems.extend(remove_tree(&path).err());
    }
    problems
}

/// Looks for anything of any test once all have ended, and removes the work directory.
pub fn after_all() -> Result<(), String> {
    let prefix = &session().prefix;
    let mut left: Vec<String> = find_processes(prefix)
        .into_iter()
        .map(|(pid, command)| format!("process {pid}: {command}"))
        .collect();
    left.extend(cgroup::find(prefix).iter().map(|dir| format!("cgroup {}", dir.display())));
    left.extend(remove_tree(&session().dir).err());
    if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
}

fn delete_containers(test: &Test) -> Vec<String> {
    let mut problems = Vec::new();
    for path in containers(test.root()) {
        if !path.is_dir() {
            continue;
        }
        let id = path.file_name().unwrap_or_default();
        let out = Cmd::new(test, ["delete", "--force"]).arg(id).run();
        if out.code != Some(0) {
            problems.push(format!("delete --force of {} fails\n{}", id.display(), out.report()));
        }
    }
    problems
}

/// Processes whose command line, environment, cgroups, mounts or links contain a word.
pub fn find_processes(word: &str) -> Vec<(i32, String)> {
    let own = std::process::id() as i32;
    pids().into_iter().filter(|pid| *pid != own).filter_map(|pid| matches(pid, word)).collect()
}

fn matches(pid: i32, word: &str) -> Option<(i32, String)> {
    let file = |name: &str| {
        String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/{name}")).ok()?).into_owned().into()
    };
    let file = |name: &str| -> Option<String> { file(name) };
    let stat = file("stat")?;
    // A zombie is its parent's to reap, not something that still runs.
    if stat.rsplit(") ").next()?.starts_with('Z') {
        return None;
    }
    let command = file("cmdline").unwrap_or_default().replace('\0', " ");
    let own_mounts = fs::read_link("/proc/self/ns/mnt").ok();
    let elsewhere = fs::read_link(format!("/proc/{pid}/ns/mnt")).ok() != own_mounts;
    let found = command.contains(word)
        || file("environ").is_some_and(|text| text.contains(word))
        || file("cgroup").is_some_and(|text| text.contains(word))
        || (elsewhere && file("mountinfo").is_some_and(|text| text.contains(word)))
        || ["cwd", "root", "exe"].iter().any(|link| {
            fs::read_link(format!("/proc/{pid}/{link}")).is_ok_and(|to| to.to_string_lossy().contains(word))
        });
    found.then_some((pid, if command.is_empty() { stat } else { command }))
}

/// All pids of the machine.
pub fn pids() -> Vec<i32> {
    entries(Path::new("/proc")).iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

fn find_mounts(word: &str) -> Vec<String> {
    let mounts = mountinfo::of("self").expect("own mountinfo can be read");
    let in_word =
        |m: &&mountinfo::Mount| m.point.contains(word) || m.root.contains(word) || m.source.contains(word);
    mounts.iter().rev().filter(in_word).map(|m| m.point.clone()).collect()
}

fn find_state(test: &Test) -> Vec<PathBuf> {
    let mut found = containers(test.root());
    for root in DEFAULT_ROOTS {
        let ours = |path: &PathBuf| path.to_string_lossy().contains(test.token());
        found.extend(entries(Path::new(root)).into_iter().filter(ours));
    }
    found
}

/// Removes a file or tree that this run has made.
///
/// Errors: a sentence. Refused are paths outside the fresh /tmp and /run, and trees with a mount in them: what
/// is mounted there is not ours to delete. Links are removed, not followed.
pub fn remove_tree(path: &Path) -> Result<(), String> {
    let clean = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let ours = path.starts_with(&session().dir) || DEFAULT_ROOTS.iter().any(|root| path.starts_with(root));
    if !clean || !ours {
        return Err(format!("{} is outside the directories of this run, so it stays", path.display()));
    }
    let mounts = mountinfo::of("self").map_err(|error| format!("mountinfo: {error}"))?;
    if let Some(mount) = mounts.iter().find(|mount| Path::new(&mount.point).starts_with(path)) {
        return Err(format!("{} is mounted below {}, so that stays", mount.point, path.display()));
    }
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(|error| format!("remove {}: {error}", path.display()))
}

fn remove_cgroup(dir: &Path) {
    let start = Instant::now();
    while dir.exists() && start.elapsed() < patience(GRACE) {
        for pid in cgroup::procs(dir) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = fs::write(dir.join("freezer.state"), "THAWED");
        let _ = fs::remove_dir(dir);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What is in a state root. No id starts with a dot; under such a name a runtime may keep a cache.
fn containers(root: &Path) -> Vec<PathBuf> {
    let hidden =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    entries(root).into_iter().filter(|path| !hidden(path)).collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}
