//! A bundle for one command: the file system of the host, read-only, in a container that is gone afterwards.
//!
//! The command should do what it does on the host, except that it cannot change it. So it has the arguments, the
//! environment, the working directory, the network and the standard streams of the caller; its processes, mounts
//! and System V objects are its own. /tmp, /var/tmp and /run are empty and writable, /proc, /dev and /sys those of a
//! container. Capabilities are those that engines give.

use std::fs::{self, FileType};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::spec;
use crate::error::{Error, Result};
use crate::sys::{fd, identity, tty};

/// Directories of the host that the container has of its own.
const OWN: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];
/// Those that are empty and can be written to.
const WRITABLE: [&str; 3] = ["/tmp", "/run", "/var/tmp"];

/// What engines give to a container by default.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The bundle. It is removed when this is dropped.
pub struct ThrowAway(PathBuf);

impl ThrowAway {
    /// Makes the bundle in the directory for temporary files.
    pub fn new(command: &[String]) -> Result<ThrowAway> {
        let path = std::env::temp_dir().join(format!("teu-record-{}", std::process::id()));
        let failed = |call: &'static str, e: &std::io::Error| {
            Error::io(format!("make the bundle {}", path.display()), call, e)
        };
        let config = config(command)?;
        // Nobody else may have prepared it.
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(|e| failed("mkdir(2)", &e))?;
        let made = ThrowAway(path.clone());
        fs::create_dir(path.join("rootfs")).map_err(|e| failed("mkdir(2)", &e))?;
        fs::write(path.join("config.json"), config.to_string()).map_err(|e| failed("write(2)", &e))?;
        Ok(made)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ThrowAway {
    /// Removes what was made and the empty mount points. Nothing is ever followed or emptied: a mount that should
    /// still be there is the host itself.
    fn drop(&mut self) {
        let rootfs = self.0.join("rootfs");
        for entry in fs::read_dir(&rootfs).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = match entry.file_type() {
                Ok(kind) if kind.is_dir() => fs::remove_dir(path),
                _ => fs::remove_file(path),
            };
        }
        let _ = fs::remove_dir(rootfs);
        let _ = fs::remove_file(self.0.join("config.json"));
        let _ = fs::remove_dir(&self.0);
    }
}

fn config(command: &[String]) -> Result<Value> {
    let mut config = spec::document(identity::effective_uid() != 0)?;
    let cwd =
        std::env::current_dir().map_err(|e| Error::io("find the working directory", "getcwd(2)", &e))?;
    let text = |path: &Path| match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Error::usage(format!("the path {} is not UTF-8", path.display()))),
    };
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        Some(format!("{}={}", name.into_string().ok()?, value.into_string().ok()?))
    });
    let process = &mut config["process"];
    process["args"] = json!(command);
    process["env"] = variables.collect();
    process["cwd"] = text(&cwd)?.into();
    process["terminal"] = (tty::is_terminal(fd::stdio(0)) && tty::is_terminal(fd::stdio(1))).into();
    process["capabilities"] =
        json!({"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES});
    if let Some(process) = process.as_object_mut() {
        process.remove("rlimits");
    }
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
    let mut mounts = host_mounts()?;
    mounts.extend(config["mounts"].as_array().into_iter().flatten().cloned());
    for path in WRITABLE.into_iter().filter(|path| Path::new(path).is_dir()) {
        let options = json!(["nosuid", "nodev", "mode=1777"]);
        mounts.push(json!({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options}));
    }
    // What lies below those is shown all the same where the command will look for it.
    let resolver = fs::canonicalize("/etc/resolv.conf").ok();
    for path in [Some(cwd), resolver].into_iter().flatten() {
        if WRITABLE.iter().any(|hidden| path.starts_with(hidden) && path != Path::new(hidden)) {
            mounts.push(bind(&text(&path)?, &["rbind", "rro"]));
        }
    }
    config["mounts"] = Value::Array(mounts);
    Ok(config)
}

/// Every entry of the root directory of the host, read-only with all that is mounted below it.
fn host_mounts() -> Result<Vec<Value>> {
    let failed = |e: &std::io::Error| Error::io("list the root directory", "getdents64(2)", e);
    let mut mounts = Vec::new();
    for entry in fs::read_dir("/").map_err(|e| failed(&e))? {
        let entry = entry.map_err(|e| failed(&e))?;
        let kind: FileType = entry.file_type().map_err(|e| failed(&e))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !OWN.contains(name)) else { continue };
        let path = format!("/{name}");
        if kind.is_symlink() {
            mounts.push(bind(&path, &["bind", "copy-symlink"]));
        } else if kind.is_dir() || kind.is_file() {
            mounts.push(bind(&path, &["rbind", "rro", "rprivate"]));
        }
    }
    mounts.sort_by_key(|mount| mount["destination"].to_string());
    Ok(mounts)
}

fn bind(path: &str, options: &[&str]) -> Value {
    json!({"destination": path, "type": "none", "source": path, "options": options})
}
