//! Where the tests run: in namespaces of their own in which the machine cannot be damaged.
//!
//! A container runtime that has a defect, or one that is old, may delete and overwrite what it should not. So
//! no runtime is started before this is done, and there is no way to leave it out:
//!
//! 1. The test program starts itself again in new mount, pid, ipc and uts namespaces.
//! 2. There nothing propagates to the machine, and every mount is read-only but these: a fresh /tmp, which
//!    holds all that the tests make, and a fresh /run; a fresh /dev/pts and /dev/shm; a fresh /proc; and the
//!    cgroup hierarchies.
//! 3. A canary tries to create files all over the machine. One that appears ends the run before the first test.
//!
//! Process 1 of the pid namespace waits for the tests and reaps what they orphan. When it ends, the kernel
//! kills what is left and the mounts are gone.
//!
//! With `TEU_DRIVER=systemd` there is no pid namespace, because systemd must know the processes by the same numbers,
//! and its sockets are in the fresh /run. A subreaper takes the place of process 1.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::wait::{WaitStatus, waitpid};

use super::caller::{self, Caller};
use super::driver::Driver;
use super::view::View;
use super::{delegation, mountinfo, reachable, runtime, sys};

/// Names the stage that the program is in. It is no switch: a stage that was not prepared fails at the canary.
const STAGE: &str = "TEU_TESTS_STAGE";

/// Names the delegated cgroup to process 1, which has another pid for the outer one.
const DELEGATED: &str = "TEU_TESTS_DELEGATED";

/// Directories of the machine that must refuse a new file.
const CANARY_DIRS: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/mnt",
    "/opt",
    "/root",
    "/sbin",
    "/srv",
    "/sys",
    "/usr",
    "/usr/bin",
    "/usr/sbin",
    "/var",
    "/var/lib",
    "/var/tmp",
];

/// Mounts that may be written to, all but the cgroup hierarchies.
const WRITABLE: &[&str] = &["/tmp", "/run", "/proc", "/dev/pts", "/dev/shm"];

/// Continues inside. In the process that was started by a person this returns the end of the whole run.
///
/// Errors: a sentence about what could not be prepared or is not as safe as it must be.
pub fn enter() -> Result<Option<ExitCode>, String> {
    match std::env::var(STAGE).as_deref() {
        Err(_) => outside().map(Some),
        Ok("init") => init().map(Some),
        Ok("tests") => {
            prove()?;
            // Real hosts have a shared `/`, so that a mount that gets out of a container shows. The peer group
            // is new, and all its members are inside.
            propagation(MsFlags::MS_SHARED)?;
            Ok(None)
        }
        Ok(other) => Err(format!("{STAGE} is `{other}`, which is none of the stages")),
    }
}

/// On the machine itself: makes the namespaces and starts process 1 in them.
fn outside() -> Result<ExitCode, String> {
    sys::close_others_on_exec().map_err(|error| format!("close_range: {error}"))?;
    let driver = Driver::named()?;
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    flags.set(CloneFlags::CLONE_NEWPID, driver == Driver::Cgroupfs);
    unshare(flags).map_err(|errno| format!("unshare: {errno}"))?;
    propagation(MsFlags::MS_PRIVATE)?;
    let name = delegation::name(std::process::id());
    let status =
        again("init")?.env(DELEGATED, &name).status().map_err(|error| format!("start again: {error}"))?;
    match (Caller::named()?, driver) {
        (Caller::User, Driver::Cgroupfs) => delegation::remove(&name)?,
        (caller @ Caller::User, Driver::Systemd) => delegation::leave_manager(caller, &name)?,
        _ => {}
    }
    Ok(exit_code(status))
}

/// Process 1: prepares the mounts, starts the tests, waits for them and for every orphan.
fn init() -> Result<ExitCode, String> {
    let (caller, driver) = (Caller::named()?, Driver::named()?);
    match driver {
        Driver::Systemd => {
            nix::sys::prctl::set_child_subreaper(true).map_err(|errno| format!("prctl: {errno}"))?
        }
        Driver::Cgroupfs if std::process::id() != 1 => {
            return Err("the second stage is not process 1 of a pid namespace".into());
        }
        Driver::Cgroupfs => {}
    }
    // With the outer process gone nobody waits for the result.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| format!("prctl: {errno}"))?;
    require_private()?;
    let view = View::enter()?;
    // Version 1 cannot be delegated.
    if view == View::V2 && caller == Caller::User {
        let name = std::env::var(DELEGATED).map_err(|error| format!("{DELEGATED}: {error}"))?;
        match driver {
            Driver::Cgroupfs => delegation::enter(&name)?,
            Driver::Systemd => delegation::enter_manager(caller, &name)?,
        }
    }
    contain()?;
    let tests = again("tests")?.spawn().map_err(|error| format!("start again: {error}"))?;
    let pid = tests.id() as i32;
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(of, code)) if of.as_raw() == pid => return Ok(ExitCode::from(code as u8)),
            Ok(WaitStatus::Signaled(of, signal, _)) if of.as_raw() == pid => {
                return Err(format!("the tests were ended by {signal}"));
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(format!("wait: {errno}")),
        }
    }
}

fn again(stage: &str) -> Result<Command, String> {
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(own);
    command.arg0(arguments.next().unwrap_or_default()).args(arguments).env(STAGE, stage);
    Ok(command)
}

fn exit_code(status: ExitStatus) -> ExitCode {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitCode::from(code as u8),
        (None, signal) => {
            eprintln!("integration tests: process 1 was ended by signal {signal:?}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the whole tree read-only, then puts fresh file systems where the tests write.
fn contain() -> Result<(), String> {
    sys::make_tree_read_only(Path::new("/")).map_err(|error| format!("make / read-only: {error}"))?;
    // Not covered but gone: a container must not reach the processes of the machine by an unmount.
    umount2("/proc", MntFlags::MNT_DETACH).map_err(|errno| format!("umount /proc: {errno}"))?;
    fresh("/proc", "proc", "")?;
    let open = |path: &Path| nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    let kept = needed_below_fresh()?.into_iter().map(|path| Ok((open(&path)?, path)));
    let kept: Vec<(OwnedFd, PathBuf)> =
        kept.collect::<std::io::Result<_>>().map_err(|error| format!("keep: {error}"))?;
    fresh("/tmp", "tmpfs", "mode=1777")?;
    fresh("/run", "tmpfs", "mode=755")?;
    if Caller::named()? == Caller::User {
        caller::add_user()?;
        if let Some(name) = std::env::var("RUNTIME").ok().filter(|name| !name.is_empty()) {
            reachable::open_the_way(&runtime::find(&name)?)?;
        }
    }
    for (opened, dir) in kept {
        show_again(&opened, &dir)?;
    }
    if Path::new("/dev/shm").is_dir() {
        detach("/dev/shm")?;
        fresh("/dev/shm", "tmpfs", "mode=1777")?;
    }
    detach("/dev/pts")?;
    fresh("/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    for mount in mounts()?.iter().filter(|mount| is_cgroup(mount)) {
        let point = Path::new(&mount.point);
        sys::make_mount_writable(point).map_err(|error| format!("{}: {error}", mount.point))?;
    }
    Ok(())
}

/// What the tests need and a fresh mount would cover: a checkout may lie in /tmp.
fn needed_below_fresh() -> Result<Vec<PathBuf>, String> {
    let own = std::env::current_exe().ok();
    let named = ["TEU_DEBIAN", "RUNTIME"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let checkout = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_BIN_EXE_teu")).parent().map(Path::to_owned);
    let own = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let sockets = Driver::named()?.sockets(Caller::named()?);
    let mut all: Vec<PathBuf> = named
        .map(|path| if path.is_file() { path.parent().map(Path::to_owned).unwrap_or_default() } else { path })
        .chain([checkout])
        .chain(target)
        .chain(own)
        .filter(|dir| dir.is_dir())
        .chain(sockets.into_iter().filter(|path| path.exists()))
        .filter(|path| ["/tmp", "/run"].iter().any(|fresh| path.starts_with(fresh)))
        .collect();
    all.sort();
    // A directory brings those below it along.
    let covering = |dir: &PathBuf| all.iter().any(|other| other != dir && dir.starts_with(other));
    let outermost: Vec<PathBuf> = all.iter().filter(|dir| !covering(dir)).cloned().collect();
    let mut outermost = outermost;
    outermost.dedup();
    Ok(outermost)
}

/// Puts a directory or socket that is covered now back at its place, read-only as the tree it was opened in.
fn show_again(opened: &OwnedFd, dir: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("keep {}: {error}", dir.display());
    let kind = SFlag::from_bits_truncate(fstat(opened).map_err(|errno| told(errno.into()))?.st_mode);
    if kind & SFlag::S_IFMT == SFlag::S_IFDIR {
        fs::create_dir_all(dir).map_err(told)?;
    } else {
        fs::create_dir_all(dir.parent().unwrap_or(dir)).and_then(|()| File::create(dir)).map_err(told)?;
    }
    let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
    mount(Some(source.as_str()), dir, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|errno| format!("keep {}: {errno}", dir.display()))
}

fn fresh(path: &str, kind: &str, options: &str) -> Result<(), String> {
    mount(Some(kind), path, Some(kind), MsFlags::empty(), Some(options))
        .map_err(|errno| format!("mount {kind} on {path}: {errno}"))
}

/// Unmounts everything at a path, so that a fresh mount does not cover one that could be reached again.
fn detach(path: &str) -> Result<(), String> {
    while mounts()?.iter().any(|mount| mount.point == path) {
        umount2(path, MntFlags::MNT_DETACH).map_err(|errno| format!("umount {path}: {errno}"))?;
    }
    Ok(())
}

/// Shows that the machine is out of reach; an error is the reason not to run any test.
fn prove() -> Result<(), String> {
    require_private()?;
    require_read_only()?;
    let checkout = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_BIN_EXE_teu")).parent().map(Path::to_owned);
    let mut refused = Vec::new();
    let mut missing = Vec::new();
    for dir in CANARY_DIRS.iter().map(PathBuf::from).chain([checkout]).chain(target) {
        if dir.is_dir() {
            canary(&dir)?;
            refused.push(dir.display().to_string());
        } else {
            missing.push(dir.display().to_string());
        }
    }
    for needed in ["/etc", "/usr", "/root", "/var"] {
        if !refused.iter().any(|dir| dir == needed) {
            return Err(format!("{needed} is no directory, so the canary proves nothing"));
        }
    }
    println!("canary: no file can be created (EROFS) in {}", refused.join(" "));
    if !missing.is_empty() {
        println!("canary: not there: {}", missing.join(" "));
    }
    let written = mounts()?.into_iter().filter(|mount| mount.has("rw")).map(|mount| mount.point);
    println!("canary: writable mounts: {}", written.collect::<Vec<_>>().join(" "));
    Ok(())
}

fn canary(dir: &Path) -> Result<(), String> {
    let path = dir.join(format!("teu-canary-{}", std::process::id()));
    match File::create_new(&path) {
        Err(error) if error.raw_os_error() == Some(libc::EROFS) => Ok(()),
        Err(error) => Err(format!("canary: {} gives `{error}`, not EROFS", path.display())),
        Ok(_) => {
            // The name is new and was made on the line above.
            let removed = fs::remove_file(&path);
            Err(format!("canary: {} could be created (removed again: {removed:?})", path.display()))
        }
    }
}

fn require_private() -> Result<(), String> {
    match mounts()?.into_iter().find(|mount| !mount.propagation.is_empty()) {
        Some(mount) => Err(format!("{} propagates: {:?}", mount.point, mount.propagation)),
        None => Ok(()),
    }
}

fn require_read_only() -> Result<(), String> {
    let mounts = mounts()?;
    let allowed = |mount: &mountinfo::Mount| is_cgroup(mount) || WRITABLE.contains(&mount.point.as_str());
    if let Some(mount) = mounts.iter().find(|mount| mount.has("rw") && !allowed(mount)) {
        return Err(format!("{} can be written to", mount.point));
    }
    // What is allowed must be the fresh mount, not the one of the machine.
    for (point, fs) in [("/tmp", "tmpfs"), ("/run", "tmpfs"), ("/proc", "proc")] {
        match mountinfo::at(&mounts, point) {
            Some(mount) if mount.fs == fs && mount.root == "/" => {}
            other => return Err(format!("{point} is no fresh {fs}: {other:?}")),
        }
    }
    let kept = needed_below_fresh()?;
    let is_kept = |entry: PathBuf| kept.iter().any(|dir| dir.starts_with(&entry));
    let is_empty = |dir: &str| {
        fs::read_dir(dir).is_ok_and(|entries| entries.flatten().all(|entry| is_kept(entry.path())))
    };
    match ["/tmp", "/run"].into_iter().find(|dir| !is_empty(dir)) {
        Some(dir) => Err(format!("{dir} is not empty, so it is not the one of this run")),
        None => Ok(()),
    }
}

fn is_cgroup(mount: &mountinfo::Mount) -> bool {
    matches!(mount.fs.as_str(), "cgroup" | "cgroup2") && mount.point.starts_with("/sys/fs/cgroup")
}

fn mounts() -> Result<Vec<mountinfo::Mount>, String> {
    mountinfo::of("self").map_err(|error| format!("mountinfo: {error}"))
}

fn propagation(flag: MsFlags) -> Result<(), String> {
    mount(None::<&str>, "/", None::<&str>, flag | MsFlags::MS_REC, None::<&str>)
        .map_err(|errno| format!("propagation of /: {errno}"))
}
