//! Crashes and crowds: nothing is lost when the runtime is killed, nothing is mixed up when it runs many times.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Test, cgroup, driver, leaks, patience};

cases![
    create_killed_at_any_moment_can_be_deleted,
    delete_killed_at_any_moment_can_be_repeated,
    run_killed_at_any_moment_can_be_deleted,
    start_killed_at_any_moment_can_be_deleted,
    exec_killed_at_any_moment_leaves_no_half_process,
    id_can_be_used_again_after_a_crash,
    containers_made_at_the_same_time_do_not_disturb_each_other,
    one_of_many_creates_with_one_id_wins,
    any_commands_at_once_leave_a_whole_container_or_none,
    deletes_at_the_same_time_do_no_harm,
    many_containers_leave_nothing,
];

/// How many moments are tried; each costs about as long as a create.
const MOMENTS: u32 = 50;

fn nothing_left(t: &Test, id: &str, when: &str) {
    let start = Instant::now();
    while !leaks::find_processes(id).is_empty() && start.elapsed() < patience(Duration::from_secs(2)) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(leaks::find_processes(id).is_empty(), "{when}: {:?}", leaks::find_processes(id));
    assert!(cgroup::find(id).is_empty(), "{when}: {:?}", cgroup::find(id));
    assert!(!t.root().join(id).exists(), "{when}: the state directory is still there");
}

/// The time that a call takes here, so that the moments are spread over all of it.
fn duration(call: impl Fn()) -> Duration {
    let start = Instant::now();
    call();
    start.elapsed()
}

/// `delete --force` finds everything, because it was written down before it was made.
fn create_killed_at_any_moment_can_be_deleted(t: &Test) {
    t.only_teu("other runtimes leave cgroups behind");
    let whole = duration(|| t.bundle().create().delete());
    for moment in 0..MOMENTS {
        let bundle = t.bundle().args(["sleep", "1000"]);
        let running = bundle.call("create", &[]).spawn();
        std::thread::sleep(whole * moment / MOMENTS);
        running.signal(Signal::SIGKILL);
        let _ = running.wait();
        t.cmd(["delete", "--force", bundle.id()]).run().ok();
        nothing_left(t, bundle.id(), &format!("killed after {:?}", whole * moment / MOMENTS));
    }
}

/// The state goes last.
fn delete_killed_at_any_moment_can_be_repeated(t: &Test) {
    t.only_teu("other runtimes leave cgroups behind");
    let c = t.bundle().args(["sleep", "1000"]).run_detached();
    let whole = duration(|| c.delete_force());
    for moment in 0..MOMENTS / 2 {
        let c = t.bundle().args(["sleep", "1000"]).run_detached();
        let running = t.cmd(["delete", "--force", &c.id]).spawn();
        std::thread::sleep(whole * moment / (MOMENTS / 2));
        running.signal(Signal::SIGKILL);
        let _ = running.wait();
        c.delete_force();
        nothing_left(t, &c.id, &format!("moment {moment}"));
    }
}

/// The container was there before, and is deleted as one that runs or waits.
fn start_killed_at_any_moment_can_be_deleted(t: &Test) {
    t.only_teu("other runtimes leave cgroups behind");
    let first = t.bundle().args(["sleep", "1000"]).create();
    let whole = duration(|| first.start());
    first.delete_force();
    for moment in 0..MOMENTS {
        let c = t.bundle().args(["sleep", "1000"]).create();
        let running = t.cmd(["start", &c.id]).spawn();
        std::thread::sleep(whole * moment / MOMENTS);
        running.signal(Signal::SIGKILL);
        let _ = running.wait();
        let status = c.status();
        assert!(["created", "running"].contains(&status.as_str()), "moment {moment}: {status}");
        c.delete_force();
        nothing_left(t, &c.id, &format!("moment {moment}"));
    }
}

/// A client that is gone wants nothing any more: either the program runs, or there is no process.
fn exec_killed_at_any_moment_leaves_no_half_process(t: &Test) {
    let c = t.bundle().idle();
    let whole = duration(|| {
        c.exec(&[], &["true"]).ok();
    });
    for moment in 0..MOMENTS {
        let running = c.exec_cmd(&[], &["true"]).spawn();
        std::thread::sleep(whole * moment / MOMENTS);
        running.signal(Signal::SIGKILL);
        let _ = running.wait();
    }
    t.until("the end of all that was started", || leaks::find_processes(&c.id).len() <= 1);
    if t.has_cgroups() {
        t.until("init to be alone", || {
            c.call("ps", &["--format", "json"]).ok().json().as_array().is_some_and(|p| p.len() == 1)
        });
    }
    c.exec(&[], &["true"]).ok();
    c.delete_force();
    nothing_left(t, &c.id, "after all");
}

/// As a person who closes the window.
fn run_killed_at_any_moment_can_be_deleted(t: &Test) {
    t.only_teu("other runtimes leave cgroups behind");
    let whole = duration(|| {
        t.bundle().run().ok();
    });
    for moment in 0..MOMENTS / 2 {
        let bundle = t.bundle().args(["sleep", "1000"]);
        let running = bundle.spawn();
        std::thread::sleep(whole * moment / (MOMENTS / 2));
        running.signal(Signal::SIGKILL);
        let _ = running.wait();
        t.cmd(["delete", "--force", bundle.id()]).run().ok();
        nothing_left(t, bundle.id(), &format!("moment {moment}"));
    }
}

/// An engine tries again with the same id.
fn id_can_be_used_again_after_a_crash(t: &Test) {
    t.only_teu("other runtimes leave cgroups behind");
    let bundle = t.bundle().args(["sleep", "1000"]);
    for milliseconds in [1, 3, 6, 9, 12, 15] {
        let running = bundle.call("create", &[]).spawn();
        std::thread::sleep(Duration::from_millis(milliseconds));
        running.signal(Signal::SIGKILL);
        let _ = running.wait();
        t.cmd(["delete", "--force", bundle.id()]).run().ok();
        let c = bundle.create();
        c.start();
        assert_eq!(c.status(), "running");
        c.delete_force();
    }
}

/// kubelet starts dozens at a time.
fn containers_made_at_the_same_time_do_not_disturb_each_other(t: &Test) {
    let bundles: Vec<_> = (0..50).map(|n| t.bundle().sh(&format!("echo {n} >/proof; sleep 1000"))).collect();
    let calls: Vec<_> = bundles.iter().map(|bundle| bundle.call("run", &["--detach"]).spawn()).collect();
    for call in calls {
        call.wait().ok();
    }
    for (n, bundle) in bundles.iter().enumerate() {
        t.until("the proof", || {
            std::fs::read_to_string(bundle.inside("/proof")).is_ok_and(|text| text == format!("{n}\n"))
        });
    }
    let calls: Vec<_> =
        bundles.iter().map(|bundle| t.cmd(["delete", "--force", bundle.id()]).spawn()).collect();
    for call in calls {
        call.wait().ok();
    }
    for bundle in &bundles {
        nothing_left(t, bundle.id(), "after delete");
    }
}

/// An id is reserved before anything is made.
fn one_of_many_creates_with_one_id_wins(t: &Test) {
    t.skip_for("crun", "lets two of them fail each other");
    t.skip_older("runc", (1, 2), "lets two of them fail each other");
    let bundle = t.bundle().args(["sleep", "1000"]);
    for _ in 0..5 {
        let calls: Vec<_> = (0..8).map(|_| bundle.call("create", &[]).spawn()).collect();
        let ended: Vec<_> = calls.into_iter().map(|call| call.wait()).collect();
        let won = ended.iter().filter(|out| out.code == Some(0)).count();
        assert_eq!(won, 1, "{}", ended.iter().map(|out| out.report()).collect::<String>());
        assert_eq!(t.cmd(["state", bundle.id()]).run().ok().json()["status"], "created");
        t.cmd(["delete", "--force", bundle.id()]).run().ok();
        nothing_left(t, bundle.id(), "after delete");
    }
}

/// Whatever is called at the same time: each call ends and says what it could not do, and there is one whole container
/// or none.
fn any_commands_at_once_leave_a_whole_container_or_none(t: &Test) {
    t.only_teu("others fail on what another command has removed, in words of their own");
    let bundle = t.bundle().args(["sleep", "1000"]);
    let id = bundle.id().to_owned();
    let verbs: [&[&str]; 14] = [
        &["create"],
        &["run", "--detach"],
        &["start"],
        &["start"],
        &["exec"],
        &["exec"],
        &["state"],
        &["kill"],
        &["pause"],
        &["resume"],
        &["ps"],
        &["update", "--pids-limit", "100"],
        &["delete"],
        &["delete", "--force"],
    ];
    let mut ended_well = 0;
    for round in 0..20usize {
        let mut calls = Vec::new();
        for n in 0..8 {
            // Steps without a common divisor: other neighbours in each round.
            let verb = verbs[(round * 5 + n * 3 + round / 14) % verbs.len()];
            calls.push(match verb[0] {
                "create" | "run" => bundle.call(verb[0], &verb[1..]).spawn(),
                "exec" => t.cmd(["exec", &id, "true"]).spawn(),
                "kill" => t.cmd(["kill", &id, "KILL"]).spawn(),
                _ => verb.iter().fold(t.cmd([] as [&str; 0]), |cmd, word| cmd.arg(word)).arg(&id).spawn(),
            });
        }
        let start = Instant::now();
        while calls.iter_mut().any(|call| !call.has_ended()) && start.elapsed() < patience(LONG) {
            // A process that was added to a container which was then paused waits.
            let _ = t.cmd(["resume", &id]).run();
            std::thread::sleep(Duration::from_millis(10));
        }
        for call in calls {
            let out = call.wait();
            let is_error = matches!(out.code, Some(1 | 255)) && out.stderr.starts_with("teu: ");
            assert!(out.code == Some(0) || is_error || out.code == Some(137), "{}", out.report());
            assert!(!out.stderr.contains("panicked") && !out.stderr.contains("bug"), "{}", out.report());
            ended_well += usize::from(out.code == Some(0));
        }
        let out = t.cmd(["state", &id]).run();
        let status =
            if out.code == Some(0) { out.json()["status"].as_str().map(str::to_owned) } else { None };
        if let Some(status) = status {
            assert!(["created", "running", "stopped", "paused"].contains(&&*status), "{}", out.report());
        }
    }
    assert!(ended_well > 40, "{ended_well} calls did what they should");
    t.cmd(["delete", "--force", &id]).run().ok();
    nothing_left(t, &id, "after delete");
}

/// How long calls that disturb each other may take.
const LONG: Duration = Duration::from_secs(20);

/// Two parts of an engine clean up.
fn deletes_at_the_same_time_do_no_harm(t: &Test) {
    t.only_teu("other runtimes fail one of them on what the other has removed");
    for _ in 0..5 {
        let c = t.bundle().args(["sleep", "1000"]).run_detached();
        let calls: Vec<_> = (0..4).map(|_| t.cmd(["delete", "--force", &c.id]).spawn()).collect();
        for call in calls {
            call.wait().ok();
        }
        nothing_left(t, &c.id, "after delete");
    }
}

/// How many containers come and go one after the other; `TEU_TEST_CYCLES`, 60 unless that is set.
fn cycles() -> u64 {
    std::env::var("TEU_TEST_CYCLES")
        .ok()
        .map_or(60, |text| text.parse().expect("TEU_TEST_CYCLES is a number"))
}

/// Cgroups that are removed and that the kernel still keeps, beside one of version 2.
fn dying(path: &str) -> Option<u64> {
    let hierarchy = cgroup::hierarchies().into_iter().find(|hierarchy| hierarchy.v2)?;
    let text = std::fs::read_to_string(hierarchy.at(path).parent()?.join("cgroup.stat")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("nr_dying_descendants ")?.parse().ok())
}

/// All cgroups of the machine with a controller, those too that are removed and kept. Source: cgroups(7).
fn known_to_the_kernel(controller: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/cgroups").ok()?;
    let line = text.lines().find(|line| line.split('\t').next() == Some(controller))?;
    line.split('\t').nth(2)?.parse().ok()
}

/// A day of a host. What the kernel keeps of a cgroup, it lets go a little later.
fn many_containers_leave_nothing(t: &Test) {
    let bundle = t.bundle();
    let parent = format!("{}day", t.token());
    let path = format!("/{parent}/{}", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", path.as_str()).with_cgroups_if_permitted();
    bundle.run().ok();
    let before = (dying(&path), known_to_the_kernel("memory"));
    for cycle in 0..cycles() {
        if cycle % 2 == 0 {
            bundle.run().ok();
        } else {
            bundle.try_create().ok();
            t.cmd(["delete", "--force", bundle.id()]).run().ok();
        }
    }
    assert_eq!(std::fs::read_dir(t.root()).unwrap().count(), 0);
    assert_eq!(cgroup::find(bundle.id()), [] as [std::path::PathBuf; 0]);
    t.until("the kernel to let the cgroups go", || match (dying(&path), before.0) {
        (Some(after), Some(before)) => after <= before + 5,
        _ => true,
    });
    // Others on the machine have cgroups too.
    t.until("the kernel to forget the cgroups", || match (known_to_the_kernel("memory"), before.1) {
        (Some(after), Some(before)) => after < before + cycles() / 2 + 5,
        _ => true,
    });
    println!(
        "dying cgroups: {:?} before, {:?} after; cgroups with memory: {:?} before, {:?} after",
        before.0,
        dying(&path),
        before.1,
        known_to_the_kernel("memory")
    );
    driver::stop_slices(&parent);
    for dir in cgroup::find(&parent).iter().rev() {
        std::fs::remove_dir(dir).unwrap();
    }
}
