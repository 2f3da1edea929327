//! Tests against the real hierarchies of the machine they run on, as root: `cargo test -- --ignored cgroup`.
//!
//! They work in any mode. For a look at cgroup2 alone on a hybrid machine run them in a mount namespace with
//! cgroup2 on /sys/fs/cgroup.

use std::process::{Child, Command};

use oci_spec::runtime::{Linux, LinuxResources};

use super::*;
use crate::plan::cgroup::{Driver, Request, plan_cgroup};
use crate::report::Report;

/// The cgroup above those of one test, which may freeze it or change its type. Each test runs in a thread of its own.
fn parent() -> String {
    let thread = format!("{:?}", std::thread::current().id());
    let number: String = thread.chars().filter(char::is_ascii_digit).collect();
    format!("teu-test-{}-{number}", std::process::id())
}

/// A container's worth of cgroup with sleeping processes, removed at the end whatever happens.
pub(super) struct Trial {
    pub(super) cgroup: Cgroup,
    children: Vec<Child>,
}

impl Trial {
    pub(super) fn new(name: &str, resources: &str) -> Result<Trial> {
        let layout = Layout::read()?;
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let mut linux = Linux::default();
        linux.set_resources(Some(resources));
        linux.set_cgroups_path(Some(format!("/{}/{name}", parent()).into()));
        let request = Request {
            id: name,
            linux: Some(&linux),
            driver: Driver::Cgroupfs,
            mode: layout.mode(),
            unified: layout.unified_controllers(),
            ..Request::default()
        };
        let plan = plan_cgroup(&request, &mut Report::of_first_error())?;
        let cgroup = Cgroup::create(&plan, &layout)?;
        assert_eq!(Cgroup::planned(&plan, &layout, None).paths(), cgroup.paths());
        let trial = Trial { cgroup, children: Vec::new() };
        trial.cgroup.apply(&plan)?;
        Ok(trial)
    }

    pub(super) fn attach(&mut self, pid: u32) {
        self.cgroup.attach(pid.cast_signed(), false).unwrap();
    }

    fn add_process(&mut self) -> i32 {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().cast_signed();
        self.children.push(child);
        self.cgroup.attach(pid, false).unwrap();
        pid
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = self.cgroup.remove();
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for path in self.cgroup.paths().values() {
            let _ = std::fs::remove_dir(path.parent().unwrap());
        }
    }
}

#[test]
#[ignore = "needs root and cgroups"]
fn processes_are_listed_frozen_killed_and_the_cgroup_is_removed() {
    let mut trial = Trial::new("life", "{}").unwrap();
    let first = trial.add_process();
    let second = trial.add_process();
    let mut pids = vec![first, second];
    pids.sort_unstable();
    assert_eq!(trial.cgroup.pids().unwrap(), pids);
    assert!(!trial.cgroup.is_frozen().unwrap());
    trial.cgroup.freeze().unwrap();
    assert!(trial.cgroup.is_frozen().unwrap());
    let reopened = Cgroup::open(&trial.cgroup.paths());
    assert!(reopened.exists() && reopened.is_frozen().unwrap());
    assert_eq!(reopened.pids().unwrap(), pids);
    reopened.thaw().unwrap();
    assert!(!trial.cgroup.is_frozen().unwrap());
    trial.cgroup.freeze().unwrap();
    reopened.kill_all(9).unwrap();
    for child in &mut trial.children {
        assert!(!child.wait().unwrap().success());
    }
    assert_eq!(trial.cgroup.pids().unwrap(), Vec::<i32>::new());
    reopened.remove().unwrap();
    assert!(!trial.cgroup.exists());
    reopened.remove().unwrap();
}

#[test]
#[ignore = "needs root and cgroups"]
fn a_cgroup_in_use_or_frozen_is_refused() {
    let mut trial = Trial::new("used", "{}").unwrap();
    trial.add_process();
    let error = Trial::new("used", "{}").err().unwrap().to_string();
    assert!(error.contains("container's cgroup is not empty: 1 process(es) found"), "{error}");
    trial.cgroup.kill_all(9).unwrap();
    trial.children[0].wait().unwrap();
    trial.cgroup.freeze().unwrap();
    let error = Trial::new("used", "{}").err().unwrap().to_string();
    assert!(error.contains("container's cgroup unexpectedly frozen"), "{error}");
}

#[test]
#[ignore = "needs root and cgroups"]
fn nested_cgroups_are_removed_with_their_processes() {
    let mut trial = Trial::new("nested", "{}").unwrap();
    trial.add_process();
    for dir in trial.cgroup.dirs() {
        dir.make_child("a").unwrap();
        dir.child("a").unwrap().make_child("b").unwrap();
        dir.make_child("c").unwrap();
    }
    let pid = trial.children[0].id().cast_signed();
    for dir in trial.cgroup.dirs() {
        if !dir.path().to_string_lossy().contains("cpuset") {
            dir.child("a/b").unwrap().write("cgroup.procs", &pid.to_string()).unwrap();
        }
    }
    assert_eq!(trial.cgroup.pids().unwrap(), [pid]);
    trial.cgroup.remove().unwrap();
    assert!(!trial.cgroup.exists());
}

/// Not a test by itself: runs in a process of its own for the test below, because that enters a cgroup, and with it
/// all threads and whatever they start.
#[test]
#[ignore = "runs within another test"]
fn own_cgroup_part() {
    if std::env::var_os("TEU_TEST_OWN_CGROUP").is_none() {
        return;
    }
    let layout = Layout::read().unwrap();
    let mut trial = Trial::new("own", "{}").unwrap();
    trial.add_process();
    assert!(trial.cgroup.check_not_ours().is_ok());
    let own = std::process::id().cast_signed();
    let back: Vec<(PathBuf, String)> = layout
        .hierarchies()
        .iter()
        .map(|hierarchy| (hierarchy.mount_point.clone(), hierarchy.own.clone().unwrap_or_default().join("/")))
        .collect();
    trial.cgroup.attach(own, false).unwrap();
    let refused = (trial.cgroup.kill_all(9), trial.cgroup.remove());
    for (mount_point, path) in back {
        std::fs::write(mount_point.join(path).join("cgroup.procs"), own.to_string()).unwrap();
    }
    assert!(refused.0.unwrap_err().to_string().contains("contains this very command"));
    assert!(refused.1.is_err());
    assert!(trial.cgroup.exists());
    println!("\nown cgroup part done");
}

#[test]
#[ignore = "needs root and cgroups"]
fn the_commands_own_cgroup_is_neither_killed_nor_removed() {
    let layout = Layout::read().unwrap();
    let roots = layout
        .hierarchies()
        .iter()
        .map(|hierarchy| (hierarchy.keys().remove(0), hierarchy.mount_point.clone()));
    let cgroup = Cgroup::open(&roots.collect());
    assert!(cgroup.dirs().next().is_none(), "the root of a hierarchy is never opened");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "cgroup::tests::own_cgroup_part"])
        .env("TEU_TEST_OWN_CGROUP", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("own cgroup part done"), "{text}");
}

#[test]
#[ignore = "needs root and cgroups"]
fn a_process_can_be_added_below_the_container_but_not_beside_it() {
    let mut trial = Trial::new("exec", "{}").unwrap();
    let pid = trial.add_process();
    let only_v2 = trial.cgroup.dirs().count() == 1;
    let prefixed = |path: &str| {
        let prefix = if only_v2 { String::new() } else { "freezer,pids:".to_owned() };
        [prefix + path]
    };
    let error = |arguments: &[String]| trial.cgroup.sub_cgroups(arguments).unwrap_err().to_string();
    assert!(error(&prefixed("..")).contains("bad sub cgroup path"));
    assert!(error(&prefixed("/a/../../b")).contains("bad sub cgroup path"));
    assert!(error(&prefixed("a")).contains("missing cgroup"));
    assert!(error(&["nonsense:a".to_owned()]).contains("unknown controller nonsense"));
    if !only_v2 {
        assert!(error(&["a".to_owned()]).contains("missing <controller>: prefix"));
        assert!(error(&[":a".to_owned()]).contains("empty <controller> prefix"));
        assert!(error(&["pids:/".to_owned(), "pids:a".to_owned()]).contains("specified multiple times"));
    }
    for dir in trial.cgroup.dirs() {
        dir.make_child("a").unwrap();
    }
    let inner = trial.cgroup.sub_cgroups(&prefixed("a")).unwrap();
    assert_eq!(inner.dirs().count(), trial.cgroup.dirs().count());
    inner.attach(pid, false).unwrap();
    let current = trial.cgroup.of_process(pid).unwrap();
    assert_eq!(current.paths(), inner.paths());
    assert!(
        trial.cgroup.of_process(1).unwrap_err().to_string().contains("outside of the container's cgroup")
    );
    assert_eq!(trial.cgroup.sub_cgroups(&[]).unwrap().paths(), trial.cgroup.paths());
}

#[test]
#[ignore = "needs root and cgroups"]
fn names_of_any_bytes_and_deep_trees_are_removed() {
    use std::os::unix::ffi::OsStrExt;
    let trial = Trial::new("names", "{}").unwrap();
    let name = std::ffi::OsStr::from_bytes(b"a\xff b");
    for dir in trial.cgroup.dirs().filter(|dir| !dir.path().to_string_lossy().contains("cpuset")) {
        nix::sys::stat::mkdirat(dir, name, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut deep = dir.child(name).unwrap();
        for _ in 0..40 {
            deep.make_child("deeper").unwrap();
            deep = deep.child("deeper").unwrap();
        }
    }
    trial.cgroup.remove().unwrap();
    assert!(!trial.cgroup.exists());
}

#[test]
#[ignore = "needs root and cgroups"]
fn signals_reach_every_process_once() {
    let mut trial = Trial::new("signals", "{}").unwrap();
    for _ in 0..3 {
        trial.add_process();
    }
    trial.cgroup.kill_all(0).unwrap();
    assert_eq!(trial.cgroup.pids().unwrap().len(), 3);
    trial.cgroup.kill_all(15).unwrap();
    use std::os::unix::process::ExitStatusExt;
    for child in &mut trial.children {
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    }
    assert!(!trial.cgroup.is_frozen().unwrap());
}

#[test]
#[ignore = "needs root and cgroups"]
fn figures_are_read_in_every_layout() {
    let mut trial = Trial::new("stats", r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#)
        .unwrap_or_else(|_| {
            // A host of version 1 alone has no huge page controller here.
            Trial::new("stats", "{}").unwrap()
        });
    trial.add_process();
    let stats = trial.cgroup.stats().unwrap();
    assert_eq!(stats.pids.current, 1);
    let record: serde_json::Value = serde_json::from_str(&stats::stats_record("c", &stats)).unwrap();
    assert_eq!(record["type"], "stats");
    let has_memory = trial.cgroup.memory().is_some_and(|dir| dir.has("memory.stat"));
    assert_eq!(record["data"]["memory"]["usage"].is_object(), has_memory);
    if trial.cgroup.v1("cpuset").is_some() {
        assert_eq!(stats.cpuset.mems, [0]);
        assert!(!stats.cpuset.cpus.is_empty());
    }
    if trial.cgroup.v2().is_some_and(|dir| dir.has("hugetlb.2MB.max")) {
        assert!(stats.hugetlb.contains_key("2MB"));
    }
}

/// The command that eats memory until it is killed.
const EATER: &str = "x=$(head -c 64m /dev/zero | tr '\\0' x)";

#[test]
#[ignore = "needs root and cgroups"]
fn a_kill_for_lack_of_memory_is_counted_explained_and_reported() {
    let Ok(mut trial) = Trial::new("oom", r#"{"memory":{"limit":16777216,"swap":16777216}}"#) else {
        return; // this layout has no memory controller
    };
    let watch = trial.cgroup.watch_oom();
    assert_eq!(trial.cgroup.explain_oom(&watch), None);
    let mut child = Command::new("sh")
        .args(["-c", &format!("read go; {EATER}")])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    trial.attach(child.id());
    let keeper = trial.add_process();
    let mut events = trial.cgroup.events().unwrap();
    assert_eq!(events.wait(std::time::Duration::ZERO).unwrap(), Event::Nothing);
    drop(child.stdin.take());
    assert_eq!(events.wait(std::time::Duration::from_secs(20)).unwrap(), Event::Oom);
    child.wait().unwrap();
    let text = trial.cgroup.explain_oom(&watch).unwrap();
    assert!(
        text.starts_with("OOM-killed (memory limit too low?): limit 16777216 bytes, peak 1677"),
        "{text}"
    );
    assert!(text.contains("/oom was hit"), "{text}");
    drop(events);
    let mut events = trial.cgroup.events().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper), nix::sys::signal::Signal::SIGKILL).unwrap();
    trial.children[0].wait().unwrap();
    assert_eq!(events.wait(std::time::Duration::from_secs(20)).unwrap(), Event::Ended);
}

#[test]
#[ignore = "needs root and cgroups"]
fn an_update_writes_and_a_failed_one_brings_back_what_was_there() {
    use crate::plan::cgroup::update::{plan_update, read_change};
    let stored = r#"{"memory":{"limit":33554432,"swap":67108864},"pids":{"limit":10}}"#;
    let Ok(trial) = Trial::new("update", stored) else { return };
    let layout = Layout::read().unwrap();
    let stored: LinuxResources = serde_json::from_str(stored).unwrap();
    let update = |change: serde_json::Value| {
        let change = read_change(change).unwrap();
        let update =
            plan_update(Some(&stored), &change, layout.mode(), layout.unified_controllers()).unwrap();
        let before = trial.cgroup.before(&update)?;
        trial.cgroup.update(&update).inspect_err(|_| trial.cgroup.put_back(&before))
    };
    let limit = || trial.cgroup.memory_limit_and_peak().0;
    // Up and down, each time in the order that keeps the pair valid.
    update(serde_json::json!({"memory":{"limit":134217728,"swap":268435456}})).unwrap();
    assert_eq!(limit(), Some(134_217_728));
    update(serde_json::json!({"memory":{"limit":33554432,"swap":33554432}})).unwrap();
    assert_eq!(limit(), Some(33_554_432));
    let error = update(serde_json::json!({"memory":{"limit":41943040},"cpu":{"cpus":"9999"}})).unwrap_err();
    assert_eq!(error.pointer(), Some("/linux/resources/cpu/cpus"));
    assert_eq!(limit(), Some(33_554_432));
    update(serde_json::json!({"memory":{"limit":-1}})).unwrap();
    assert_eq!(limit(), None);
}

#[test]
#[ignore = "needs root and cgroups"]
fn below_a_threaded_cgroup_a_container_is_threaded_or_refused() {
    let layout = Layout::read().unwrap();
    let Some(unified) = layout.unified().filter(|_| layout.mode() == crate::plan::cgroup::Mode::V2) else {
        return;
    };
    let mut trial = Trial::new("sibling", "{}").unwrap();
    let parent = trial.cgroup.v2().unwrap().path().parent().unwrap().to_owned();
    assert!(parent.starts_with(&unified.mount_point));
    // Controllers of domains are enabled for the children of the parent; a threaded tree cannot have them.
    let enabled = std::fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap();
    for name in enabled.split_whitespace() {
        std::fs::write(parent.join("cgroup.subtree_control"), format!("-{name}")).unwrap();
    }
    trial.cgroup.v2().unwrap().write("cgroup.type", "threaded").unwrap();
    let pid = trial.add_process();
    let mut threaded = Trial::new("threaded", "{}").unwrap();
    assert_eq!(threaded.cgroup.v2().unwrap().read("cgroup.type").unwrap().trim(), "threaded");
    let inside = threaded.add_process();
    assert_eq!(threaded.cgroup.pids().unwrap(), [inside]);
    assert_eq!(trial.cgroup.pids().unwrap(), [pid]);
    threaded.cgroup.freeze().unwrap();
    threaded.cgroup.thaw().unwrap();
    let error = Trial::new("limited", r#"{"memory":{"limit":16777216}}"#).err().unwrap();
    assert!(error.to_string().contains("has no controller memory"), "{error}");
    assert_eq!(error.pointer(), Some("/linux/resources/memory/limit"));
}

#[test]
#[ignore = "needs root and cgroups"]
fn a_container_within_a_frozen_cgroup_is_refused() {
    let trial = Trial::new("above", "{}").unwrap();
    let freezer = trial.cgroup.v1("freezer").or_else(|| trial.cgroup.v2()).unwrap();
    let parent = freezer.path().parent().unwrap().to_owned();
    let (file, on, off) = match freezer.version() {
        Version::V1 => ("freezer.state", "FROZEN", "THAWED"),
        Version::V2 => ("cgroup.freeze", "1", "0"),
    };
    std::fs::write(parent.join(file), on).unwrap();
    let error = Trial::new("below", "{}").err().map(|error| error.to_string());
    std::fs::write(parent.join(file), off).unwrap();
    assert!(error.as_deref().is_some_and(|text| text.contains("cgroup unexpectedly frozen")), "{error:?}");
    assert!(Trial::new("below", "{}").is_ok());
}

/// What an unprivileged caller gets: the paths, or the error.
fn create_unprivileged(json: &str) -> std::result::Result<BTreeMap<String, PathBuf>, String> {
    let layout = Layout::read().unwrap();
    let linux: Linux = serde_json::from_str(json).unwrap();
    let request = Request {
        id: "teu-test-rootless",
        linux: Some(&linux),
        mode: layout.mode(),
        rootless: true,
        ..Request::default()
    };
    let plan = plan_cgroup(&request, &mut Report::of_first_error()).unwrap();
    let cgroup = Cgroup::create(&plan, &layout).map_err(|error| error.to_string())?;
    cgroup.apply(&plan).map_err(|error| error.to_string())?;
    Ok(cgroup.paths())
}

/// Not a test by itself: runs as another user for the test below.
#[test]
#[ignore = "runs within another test"]
fn unprivileged_part() {
    if std::env::var_os("TEU_TEST_UNPRIVILEGED").is_none() {
        return;
    }
    assert_eq!(create_unprivileged("{}"), Ok(BTreeMap::new()));
    let limits = create_unprivileged(r#"{"resources":{"pids":{"limit":5}}}"#).unwrap_err();
    assert!(
        limits.contains("rootless needs no limits + no cgrouppath when no permission is granted"),
        "{limits}"
    );
    let path = create_unprivileged(r#"{"cgroupsPath":"/teu-test-rootless"}"#).unwrap_err();
    assert!(path.starts_with("unable to apply cgroup configuration"), "{path}");
    assert!(path.contains("permission denied"), "{path}");
    println!("\nunprivileged part done");
}

#[test]
#[ignore = "needs root and cgroups"]
fn an_unprivileged_caller_goes_without_unless_it_asks_for_something() {
    use std::os::unix::process::CommandExt;
    // The binary may lie where another user cannot read it.
    let copy = std::env::temp_dir().join(format!("teu-test-binary-{}", std::process::id()));
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let output = Command::new(&copy)
        .args(["--ignored", "--exact", "--nocapture", "cgroup::tests::unprivileged_part"])
        .env("TEU_TEST_UNPRIVILEGED", "1")
        .current_dir("/")
        .gid(65534)
        .uid(65534)
        .output();
    std::fs::remove_file(&copy).unwrap();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("unprivileged part done"), "{text}");
}

#[test]
#[ignore = "needs root and cgroups"]
fn a_failed_create_takes_away_what_it_made() {
    let mut trial = Trial::new("half", "{}").unwrap();
    let paths: Vec<PathBuf> = trial.cgroup.paths().into_values().collect();
    let Some((last, others)) = paths.split_last().filter(|(_, others)| !others.is_empty()) else { return };
    for path in others {
        std::fs::remove_dir(path).unwrap();
    }
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    std::fs::write(last.join("cgroup.procs"), child.id().to_string()).unwrap();
    trial.children.push(child);
    assert!(Trial::new("half", "{}").is_err());
    for path in others {
        assert!(!path.exists(), "{} is left", path.display());
    }
    assert!(last.exists());
}

#[test]
#[ignore = "needs root and cgroups"]
fn five_hundred_containers_leave_no_cgroup() {
    let dying = || {
        let content = std::fs::read_to_string("/sys/fs/cgroup/cgroup.stat").unwrap_or_default();
        super::dir::keyed(&content, "nr_dying_descendants")
    };
    let before = dying();
    for _ in 0..500 {
        let trial = Trial::new("cycle", "{}").unwrap();
        trial.cgroup.remove().unwrap();
        assert!(trial.cgroup.paths().values().all(|path| !path.exists()));
    }
    // Removed cgroups are let go a little later, but all of them.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while let (Some(before), Some(after)) = (before, dying()) {
        if after <= before + 5 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{before} dying cgroups became {after}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
