//! Who makes the cgroups of the containers: the runtime by itself, or the systemd of the machine for it.
//!
//! The tests write `cgroupsPath` as one of directories. For systemd the same place is written as a unit, by
//! [`Driver::place`] and [`Driver::path`]: `/ID` is `teu-ID.scope` in the usual slice, `/PARENT/ID` is in
//! `PARENT.slice`. Paths that are longer have no such form.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Caller, patience, session};

/// Where systemd and its buses listen. The rest of the fresh /run is empty.
const SOCKETS: &[&str] = &["/run/systemd", "/run/dbus"];

/// How long systemd may take to forget a unit whose processes have ended.
const GRACE: Duration = Duration::from_secs(5);

/// Who makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// The runtime, as directories.
    Cgroupfs,
    /// systemd, as units.
    Systemd,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Driver::Cgroupfs => "the runtime",
            Driver::Systemd => "systemd",
        })
    }
}

impl Driver {
    /// The one that `TEU_DRIVER` names.
    ///
    /// Errors: a sentence; also when no systemd runs here.
    pub fn named() -> Result<Driver, String> {
        match std::env::var("TEU_DRIVER").as_deref() {
            Err(_) | Ok("" | "cgroupfs") => Ok(Driver::Cgroupfs),
            Ok("systemd") if Path::new("/run/systemd/private").exists() => Ok(Driver::Systemd),
            Ok("systemd") => Err("TEU_DRIVER is `systemd`, and no systemd runs here".into()),
            Ok(other) => Err(format!("TEU_DRIVER is `{other}`, not cgroupfs or systemd")),
        }
    }

    /// The sockets of this machine that the runtime needs, where they are.
    pub fn sockets(self, caller: Caller) -> Vec<PathBuf> {
        if self == Driver::Cgroupfs {
            return Vec::new();
        }
        let of_user = caller.user().into_iter();
        let of_user =
            of_user.flat_map(|uid| ["bus", "systemd"].map(|name| format!("/run/user/{uid}/{name}")));
        SOCKETS.iter().map(PathBuf::from).chain(of_user.map(PathBuf::from)).collect()
    }

    /// Where a `cgroupsPath` of the tests leads, below the root of a hierarchy.
    pub fn place(self, path: &str, caller: Caller) -> PathBuf {
        let Some((slice, name)) = self.unit(path, caller) else {
            return PathBuf::from(path.trim_start_matches('/'));
        };
        manager(caller).join(expanded(&slice)).join(format!("teu-{name}.scope"))
    }

    /// A `cgroupsPath` of the tests as the driver reads it.
    pub fn path(self, path: &str, caller: Caller) -> String {
        match self.unit(path, caller) {
            Some((slice, name)) => format!("{slice}:teu:{name}"),
            None => path.to_owned(),
        }
    }

    /// The slice of a path, and the name of the unit without what is around it.
    fn unit(self, path: &str, caller: Caller) -> Option<(String, String)> {
        let names: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let slice = if caller == Caller::User { "user" } else { "system" };
        match (self, &names[..]) {
            (Driver::Systemd, [name]) => Some((format!("{slice}.slice"), (*name).to_owned())),
            (Driver::Systemd, [parent, name]) => Some((format!("{parent}.slice"), (*name).to_owned())),
            _ => None,
        }
    }
}

/// The cgroup of the manager whose units the containers are.
pub fn manager(caller: Caller) -> PathBuf {
    match caller.user() {
        Some(uid) => format!("user.slice/user-{uid}.slice/user@{uid}.service").into(),
        None => PathBuf::new(),
    }
}

/// systemd.slice(5): `a-b.slice` is below `a.slice`.
fn expanded(slice: &str) -> PathBuf {
    let name = slice.trim_end_matches(".slice");
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    ends.map(|end| format!("{}.slice", &name[..end])).collect()
}

/// A call of systemctl for the manager of the containers; what it prints.
pub fn systemctl(arguments: &[&str]) -> String {
    let mut command = Command::new("systemctl");
    if let Some(uid) = session().caller.user() {
        use std::os::unix::process::CommandExt;
        command.uid(uid).gid(uid).arg("--user").env("XDG_RUNTIME_DIR", format!("/run/user/{uid}"));
    }
    let out = command.args(arguments).output().expect("systemctl is where systemd is");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Units of a test that systemd still knows after a moment.
pub fn units_left(word: &str) -> Vec<String> {
    if session().driver == Driver::Cgroupfs {
        return Vec::new();
    }
    let pattern = format!("*{word}*");
    let start = Instant::now();
    loop {
        let listed = systemctl(&["list-units", "--all", "--plain", "--no-legend", &pattern]);
        let units: Vec<String> = listed.lines().map(str::to_owned).collect();
        if units.is_empty() || start.elapsed() > patience(GRACE) {
            return units;
        }
        if units.iter().any(|unit| unit.contains(".slice")) {
            stop_slices(word);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Stops the slices of a test. systemd leaves the slice of a unit that has ended where it is.
pub fn stop_slices(word: &str) {
    if session().driver == Driver::Systemd {
        systemctl(&["stop", &format!("*{word}*.slice")]);
    }
}
