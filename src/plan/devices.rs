//! Device nodes: the default ones, `linux.devices`, and the links in /dev.
//!
//! Source: config-linux.md#default-devices, #devices, #dev-symbolic-links.

use std::ffi::{CStr, CString};

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType, Process};

use super::mounts::{Mount, attr, normalize};
use super::namespaces::Namespaces;
use super::{c_string, item};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::report::Report;

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Path inside the root, without leading slash.
    pub path: CString,
    /// As written.
    pub shown: String,
    /// File type (S_IFCHR, S_IFBLK, S_IFIFO) and permission bits.
    pub mode: u32,
    /// Major and minor number.
    pub numbers: (u32, u32),
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
    /// JSON pointer.
    pub at: String,
    /// From `linux.devices`, not one of the defaults.
    pub configured: bool,
}

/// What is made in /dev.
#[derive(Clone, Debug)]
pub struct Devices {
    /// False when /dev is a bind mount: then it is somebody else's and nothing is made in it.
    pub populate: bool,
    /// Nodes, configured ones in place of defaults.
    pub nodes: Vec<Node>,
    /// Nodes are bound from the host, because the user namespace forbids mknod(2).
    pub bind_nodes: bool,
    /// /dev/console is made.
    pub console: bool,
}

impl Devices {
    /// Paths of `linux.devices`, with leading slash.
    pub fn configured_paths(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter(|n| n.configured).map(|n| n.shown.as_str())
    }
}

/// Links in /dev: name, target, and whether the target must exist.
pub const LINKS: [(&CStr, &CStr); 5] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"core", c"/proc/kcore"),
];

/// The default nodes: all character devices of mode 0666.
pub const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Plans /dev and `linux.devices`.
pub fn plan(
    linux: Option<&Linux>,
    process: &Process,
    mounts: &[Mount],
    namespaces: &Namespaces,
    host: &Host,
    report: &mut Report,
) -> Result<Devices> {
    let mut nodes: Vec<Node> = Vec::new();
    for (path, major, minor) in DEFAULTS {
        nodes.push(Node {
            path: c_string(&path[1..], "")?,
            shown: path.to_owned(),
            mode: libc::S_IFCHR | 0o666,
            numbers: (major, minor),
            uid: 0,
            gid: 0,
            at: "/linux/devices".to_owned(),
            configured: false,
        });
    }
    for (index, device) in linux.and_then(|l| l.devices().as_deref()).unwrap_or_default().iter().enumerate() {
        let at = item("/linux/devices", index);
        let Some(node) = configured(device, at, report)? else { continue };
        // Always a link to pts/ptmx.
        if node.shown == "/dev/ptmx" {
            continue;
        }
        // Only defaults are replaced: two configured nodes at one path must agree, which mknod will tell.
        let defaults = nodes.iter_mut().take(DEFAULTS.len());
        match defaults.into_iter().find(|known| known.path == node.path && !known.configured) {
            Some(known) => *known = node,
            None => nodes.push(node),
        }
    }
    // The caller's own user namespace forbids mknod(2), too.
    let bind_nodes = namespaces.has_user() || host.in_user_namespace;
    if !bind_nodes {
        warn_of_nodev(mounts, report);
    }
    Ok(Devices {
        populate: !mounts.iter().any(|m| m.is_bind() && m.is_at("dev")),
        nodes,
        bind_nodes,
        console: process.terminal().unwrap_or(false),
    })
}

/// Nodes that are made on a file system without devices cannot be used; those that are bound bring their own mount.
fn warn_of_nodev(mounts: &[Mount], report: &mut Report) {
    let dev = mounts.iter().rev().find(|mount| mount.is_at("dev") && !mount.is_bind());
    if let Some(dev) = dev.filter(|dev| dev.attributes.set & attr::NODEV != 0) {
        report.warn(&dev.at, "the devices in /dev cannot be used, since it is mounted with nodev");
    }
}

fn configured(device: &LinuxDevice, at: String, report: &mut Report) -> Result<Option<Node>> {
    const LARGEST_MAJOR: i64 = (1 << 12) - 1;
    const LARGEST_MINOR: i64 = (1 << 20) - 1;
    let shown = device.path().to_string_lossy();
    let is_absolute = match shown.starts_with('/') {
        true => Ok(()),
        false => Err(Error::config(format!("{at}/path"), "the path of a device must be absolute")),
    };
    let is_absolute = report.keep(is_absolute)?.is_some();
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => Some(libc::S_IFCHR),
        LinuxDeviceType::B => Some(libc::S_IFBLK),
        LinuxDeviceType::P => Some(libc::S_IFIFO),
        LinuxDeviceType::A => {
            let problem = "\"a\" is no type of a device node: c, u, b or p";
            report.refuse(Error::config(format!("{at}/type"), problem))?;
            None
        }
    };
    let number = |name: &str, value: i64, largest: i64| {
        u32::try_from(value)
            .ok()
            .filter(|_| value <= largest)
            .ok_or_else(|| Error::config(format!("{at}/{name}"), format!("must be from 0 to {largest}")))
    };
    let numbers = if kind == Some(libc::S_IFIFO) {
        Some((0, 0))
    } else {
        let major = report.keep(number("major", device.major(), LARGEST_MAJOR))?;
        major.zip(report.keep(number("minor", device.minor(), LARGEST_MINOR))?)
    };
    let path = match is_absolute {
        true => report.keep(path_of(&shown, &format!("{at}/path")))?,
        false => None,
    };
    let (Some(kind), Some(numbers), Some((path, shown))) = (kind, numbers, path) else { return Ok(None) };
    Ok(Some(Node {
        path,
        shown,
        mode: kind | device.file_mode().unwrap_or(0o666) & 0o7777,
        numbers,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        at,
        configured: true,
    }))
}

/// The path without leading slash, and as it is shown.
fn path_of(written: &str, at: &str) -> Result<(CString, String)> {
    let path = normalize(written);
    if path.is_empty() {
        return Err(Error::config(at, "the root directory cannot be a device"));
    }
    Ok((c_string(&path, at)?, format!("/{path}")))
}
