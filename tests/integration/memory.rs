//! Too little memory: what still runs, and what is told about what does not.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::caller::FIRST;
use crate::harness::{Bundle, Caller, Out, Test, cgroup};

cases![
    half_a_megabyte_is_enough_for_a_program,
    init_that_is_killed_during_create_is_explained,
    limit_above_the_container_is_named,
    limit_of_the_container_is_named_below_one_that_is_not_hit,
    program_that_is_killed_is_explained,
    program_that_ends_by_another_signal_is_not_explained,
];

/// Enough to grow beyond any limit of these tests.
const EATER: &str = "x=$(head -c 64m /dev/zero | tr '\\0' x)";

/// A container with so many bytes of memory and no swap.
fn limited(t: &Test, bytes: u64) -> Bundle<'_> {
    if cgroup::hierarchy("memory").is_none() {
        t.skip("no hierarchy here has the memory controller");
    }
    t.bundle().set("/linux/resources/memory", json!({ "limit": bytes, "swap": bytes }))
}

/// The directory of the container in the hierarchy of the memory controller.
fn dir(name: &str) -> PathBuf {
    cgroup::hierarchy("memory").expect("looked for before").of(name)
}

/// A cgroup with a limit that no runtime has made; removed at the end.
struct Above {
    path: PathBuf,
}

impl Above {
    fn new(t: &Test, bytes: u64) -> Above {
        let hierarchy = cgroup::hierarchy("memory").expect("looked for before");
        if hierarchy.v2 {
            fs::write(hierarchy.point.join("cgroup.subtree_control"), "+memory").unwrap();
        }
        let path = hierarchy.point.join(format!("{}-above", t.token()));
        fs::create_dir(&path).unwrap();
        let files: &[&str] = match hierarchy.v2 {
            true => &["memory.max"],
            false => &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"],
        };
        for file in files {
            fs::write(path.join(file), bytes.to_string()).unwrap();
        }
        if t.caller() == Caller::User {
            for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
                chown(path.join(file), Some(FIRST), Some(FIRST)).unwrap();
            }
        }
        Above { path }
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        for dir in cgroup::find(self.path.file_name().unwrap().to_str().unwrap()).iter().rev() {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// A program as small as they come must not need a limit that is made for the runtime.
fn half_a_megabyte_is_enough_for_a_program(t: &Test) {
    t.skip_for("runc", "needs some megabytes for itself");
    for _ in 0..5 {
        limited(t, 512 << 10).args(["true"]).run().ok().silent();
    }
}

const INIT: &str = "container init was";

#[track_caller]
fn names_the_limit(out: Out, killed: &str, limit: u64, path: &Path) {
    let out = out.fails(&[
        &format!("{killed} OOM-killed (memory limit too low?)"),
        &format!("limit {limit} bytes"),
        "peak ",
        &format!("the limit of {} was hit", path.display()),
        "/linux/resources/memory/limit",
    ]);
    let peak = out.stderr.split("peak ").nth(1).unwrap().split(' ').next().unwrap().parse::<u64>().unwrap();
    // A process that is being killed may exceed the limit a little, on its way out.
    assert!((4096..=limit + (64 << 10)).contains(&peak), "{}", out.report());
}

/// The errno of what failed would be a riddle.
fn init_that_is_killed_during_create_is_explained(t: &Test) {
    t.only_teu("others need more memory and have other words");
    for limit in [4 << 10, 16 << 10, 32 << 10] {
        let bundle = limited(t, limit);
        let path = dir(bundle.id());
        names_the_limit(bundle.try_create(), INIT, limit, &path);
        names_the_limit(bundle.run(), INIT, limit, &path);
        assert!(!path.exists());
    }
}

/// The limit that was hit may be one that the container's owner does not know of.
fn limit_above_the_container_is_named(t: &Test) {
    t.only_teu("others do not look for it");
    let bundle = limited(t, 1 << 20);
    let above = Above::new(t, 32 << 10);
    let name = above.path.file_name().unwrap().to_str().unwrap();
    let below = format!("/{name}/{}", bundle.id());
    names_the_limit(bundle.set("/linux/cgroupsPath", below).run(), INIT, 1 << 20, &above.path);
}

/// One above is not blamed for what it did not do.
fn limit_of_the_container_is_named_below_one_that_is_not_hit(t: &Test) {
    t.only_teu("others do not look for it");
    let bundle = limited(t, 32 << 10);
    let above = Above::new(t, 4 << 20);
    let name = above.path.file_name().unwrap().to_str().unwrap();
    let path = above.path.join(bundle.id());
    let below = format!("/{name}/{}", bundle.id());
    names_the_limit(bundle.set("/linux/cgroupsPath", below).run(), INIT, 32 << 10, &path);
}

/// Whoever runs it by hand sees why, and the exit status stays that of the program.
fn program_that_is_killed_is_explained(t: &Test) {
    t.only_teu("others leave it at the exit status");
    let limit = 8 << 20;
    let bundle = limited(t, limit).sh(EATER);
    let path = dir(bundle.id());
    names_the_limit(bundle.run().exits(137), "the container had a process", limit, &path);
}

/// A SIGKILL alone says nothing about memory.
fn program_that_ends_by_another_signal_is_not_explained(t: &Test) {
    let bundle = limited(t, 8 << 20).sh("echo up; sleep 1000");
    let running = bundle.spawn();
    running.wait_for_stdout("up");
    t.cmd(["kill", bundle.id(), "KILL"]).run().ok();
    let out = running.wait().exits(137);
    assert_eq!(out.stderr, "", "{}", out.report());
}
