//! As whom the runtime is called, and whether the containers get a user namespace for it.
//!
//! `TEU_AS` names one of the three. The tests themselves stay root: they look from outside, and they make what an
//! engine would make. So that what they have made belongs to the root of the container, ids are shifted by
//! [`FIRST`] in the directory of a test before each call.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use super::sys;

/// The outer id of user 0 of a container, and the id of the unprivileged caller.
pub const FIRST: u32 = 100_000;

/// How many ids are mapped.
pub const COUNT: u32 = 65_536;

/// As whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Root, and containers without a user namespace, unless a test asks for one.
    Root,
    /// Root, and every container gets a user namespace.
    Mapped,
    /// A user without privileges who has subordinate ids.
    User,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Caller::Root => "root",
            Caller::Mapped => "root with user namespaces",
            Caller::User => "an unprivileged user",
        })
    }
}

impl Caller {
    /// The one that `TEU_AS` names.
    pub fn named() -> Result<Caller, String> {
        match std::env::var("TEU_AS").as_deref() {
            Err(_) | Ok("" | "root") => Ok(Caller::Root),
            Ok("userns") => Ok(Caller::Mapped),
            Ok("user") => Ok(Caller::User),
            Ok(other) => Err(format!("TEU_AS is `{other}`, not root, userns or user")),
        }
    }

    /// The outer id of an id of the usual container.
    pub fn outside(self, inside: u32) -> u32 {
        if self == Caller::Root { inside } else { FIRST + inside }
    }

    /// The id as which the runtime runs, when it is not root.
    pub fn user(self) -> Option<u32> {
        (self == Caller::User).then_some(FIRST)
    }

    /// The name of the account that calls the runtime.
    pub fn name(self) -> &'static str {
        if self == Caller::User { "teutest" } else { "root" }
    }

    /// Adds the user namespace to a config that has none.
    ///
    /// A config that is broken in such a way that there is no place for it stays as it is.
    pub fn complete(self, config: &mut Value) {
        if self == Caller::Root || !config.is_object() {
            return;
        }
        let linux = &mut config["linux"];
        let mapped = linux.get("uidMappings").is_some() || linux.get("gidMappings").is_some();
        if !(linux.is_object() || linux.is_null()) || mapped {
            return;
        }
        match &mut linux["namespaces"] {
            Value::Array(list) if list.iter().any(|namespace| namespace["type"] == "user") => return,
            Value::Array(list) => list.push(json!({ "type": "user" })),
            list @ Value::Null => *list = json!([{ "type": "user" }]),
            _ => return,
        }
        for member in ["uidMappings", "gidMappings"] {
            linux[member] = mapping();
        }
    }

    /// Gives a tree that a test has made to the root of the container: shifts every id that is below [`FIRST`].
    ///
    /// Other file systems below it are left alone.
    pub fn own(self, path: &Path, except: Option<&Path>) -> io::Result<()> {
        if self == Caller::Root {
            return Ok(());
        }
        let device = fs::symlink_metadata(path)?.dev();
        shift(path, device, except)
    }
}

/// The mapping as engines write it for an unprivileged user: the own id, then the subordinate ones.
fn mapping() -> Value {
    json!([
        { "containerID": 0, "hostID": FIRST, "size": 1 },
        { "containerID": 1, "hostID": FIRST + 1, "size": COUNT - 1 },
    ])
}

fn shift(path: &Path, device: u64, except: Option<&Path>) -> io::Result<()> {
    // Programs that run now may remove files.
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if metadata.dev() != device || except == Some(path) {
        return Ok(());
    }
    let shifted = |id: u32| if id < FIRST { id + FIRST } else { id };
    let (uid, gid) = (shifted(metadata.uid()), shifted(metadata.gid()));
    if (uid, gid) != (metadata.uid(), metadata.gid()) {
        lchown(path, Some(uid), Some(gid))?;
        // A change of the owner clears these bits.
        let mode = metadata.permissions().mode();
        if mode & 0o6000 != 0 && !metadata.is_symlink() {
            fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))?;
        }
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)?.flatten() {
            shift(&entry.path(), device, except)?;
        }
    }
    Ok(())
}

/// Makes the user known: in this mount namespace the account and its subordinate ids are in files that cover those
/// of the machine.
pub fn add_user() -> Result<(), String> {
    let entries = [
        ("/etc/passwd", format!("teutest:x:{FIRST}:{FIRST}:teu tests:/nonexistent:/bin/sh\n")),
        ("/etc/group", format!("teutest:x:{FIRST}:\n")),
        ("/etc/subuid", format!("teutest:{FIRST}:{COUNT}\n")),
        ("/etc/subgid", format!("teutest:{FIRST}:{COUNT}\n")),
    ];
    let dir = "/run";
    mount(Some("covering"), dir, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .map_err(|error| format!("mount a tmpfs for the account of the test user: {error}"))?;
    for (path, entry) in entries {
        let told = |error: &dyn fmt::Display| format!("{path} with a test user: {error}");
        let text = fs::read_to_string(path).map_err(|error| told(&error))?;
        // A machine in which the user has a manager knows it.
        let entry = if text.contains("teutest:") { "" } else { &entry };
        let file = Path::new(dir).join(path.rsplit('/').next().unwrap_or_default());
        fs::write(&file, format!("{text}{entry}")).map_err(|error| told(&error))?;
        mount(Some(&file), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|error| told(&error))?;
        sys::make_tree_read_only(Path::new(path)).map_err(|error| told(&error))?;
    }
    // The files stay where they are mounted.
    umount2(dir, MntFlags::MNT_DETACH).map_err(|error| format!("umount {dir}: {error}"))
}

/// The directory that a login of the user would have made.
pub fn make_runtime_directory(user: u32) -> Result<(), String> {
    let path = format!("/run/user/{user}");
    let made = fs::create_dir_all(&path).and_then(|()| lchown(&path, Some(user), Some(user)));
    let made = made.and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)));
    made.map_err(|error| format!("{path}: {error}"))
}
