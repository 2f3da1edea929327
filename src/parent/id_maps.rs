//! Writes id maps, and makes user namespaces whose only purpose is to map the ids of a mount.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Errno, Error, Result};
use crate::plan::namespaces::{IdMap, User, flag};
use crate::sys::clone::{Parentage, Side, clone_child, exit_now};
use crate::sys::{fd, path};

/// Writes uid_map and gid_map of `pid`, each with one write(2).
///
/// Errors: EPERM when the caller may not map these ids; EINVAL for what the kernel cannot map.
pub fn write(pid: i32, user: &User, rootless: bool) -> Result<()> {
    let User::New { uids, gids } = user else { return Ok(()) };
    if rootless {
        // Without privilege over groups the kernel wants this first (user_namespaces(7)).
        write_file(pid, "setgroups", "deny", "/linux/gidMappings")?;
    }
    write_file(pid, "uid_map", &uids.text(), "/linux/uidMappings")?;
    write_file(pid, "gid_map", &gids.text(), "/linux/gidMappings")
}

/// Compares the maps of a process, which has joined its user namespace, with those that it must have.
pub fn compare(pid: i32, expected: Option<&(IdMap, IdMap)>) -> Result<()> {
    let Some((uids, gids)) = expected else { return Ok(()) };
    for (map, file, at) in [(uids, "uid_map", "/linux/uidMappings"), (gids, "gid_map", "/linux/gidMappings")]
    {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}"))
            .map_err(|e| Error::io(format!("read {file} of the user namespace"), "read(2)", &e).at(at))?;
        if !map.0.is_empty() && !is_same_map(&text, map) {
            let found = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            let found = found.collect::<Vec<_>>().join(", ");
            return Err(Error::config(
                at,
                format!("the user namespace that is joined has another map: {found}"),
            ));
        }
    }
    Ok(())
}

/// Whether the text of a uid_map has the ranges of a map, in any order.
fn is_same_map(text: &str, map: &IdMap) -> bool {
    let numbers =
        |line: &str| line.split_whitespace().map(str::parse).collect::<std::result::Result<Vec<u32>, _>>();
    let mut found: Vec<_> = text.lines().map(numbers).collect();
    let mut wanted: Vec<_> = map.0.iter().map(|r| Ok(vec![r.inside, r.outside, r.count])).collect();
    let key = |line: &std::result::Result<Vec<u32>, _>| line.clone().ok();
    found.sort_by_key(key);
    wanted.sort_by_key(key);
    found == wanted
}

/// One write(2) to a file of /proc/PID.
pub fn write_file(pid: i32, name: &str, text: &str, at: &str) -> Result<()> {
    let failed = |call: &'static str, e: &std::io::Error| Error::io(format!("write {name}"), call, e).at(at);
    let mut file = OpenOptions::new()
        .write(true)
        .open(format!("/proc/{pid}/{name}"))
        .map_err(|e| failed("openat(2)", &e))?;
    match file.write(text.as_bytes()) {
        Ok(length) if length == text.len() => Ok(()),
        Ok(_) => Err(Error::kernel(format!("write {name}"), "write(2)", Errno::EIO).at(at)),
        Err(error) => Err(failed("write(2)", &error)),
    }
}

/// A user namespace with these maps that nobody lives in.
pub fn namespace_with(uids: &IdMap, gids: &IdMap) -> Result<OwnedFd> {
    namespace_of(&User::New { uids: uids.clone(), gids: gids.clone() }, false)
}

/// The same for the maps of a container, which `check` tries.
pub fn namespace_of(maps: &User, rootless: bool) -> Result<OwnedFd> {
    let failed = |call: &'static str, e| Error::kernel("make a user namespace", call, e);
    let (reading, writing) = fd::pipe().map_err(|e| failed("pipe2(2)", e))?;
    let child = match clone_child(flag::USER, None, Parentage::Mine).map_err(|e| failed("clone3(2)", e))? {
        Side::Child => {
            drop(writing);
            // Until the parent has what it needs and closes its end.
            let _ = fd::read(reading.as_fd(), &mut [0u8; 1]);
            exit_now(0)
        }
        Side::Parent(child) => child,
    };
    let opened = write(child.pid, maps, rootless).and_then(|()| open_namespace(child.pid, "user"));
    drop(writing);
    let _ = child.wait();
    opened
}

/// The namespace of a process, by the name of its file in /proc/PID/ns.
pub fn open_namespace(pid: i32, file: &str) -> Result<OwnedFd> {
    let failed = |e| Error::kernel(format!("open the {file} namespace of the container"), "openat2(2)", e);
    let path = CString::new(format!("/proc/{pid}/ns/{file}")).map_err(|_| failed(Errno::EINVAL))?;
    path::openat2(path::cwd_fd(), &path, libc::O_RDONLY, 0, 0).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::namespaces::IdRange;

    #[test]
    fn maps_are_compared_range_by_range() {
        let range = |inside, outside, count| IdRange { inside, outside, count };
        let map = IdMap(vec![range(1, 100_000, 65535), range(0, 1000, 1)]);
        assert!(is_same_map("         0       1000          1\n         1     100000      65535\n", &map));
        assert!(!is_same_map("0 1000 1\n", &map));
        assert!(!is_same_map("0 1000 1\n1 100000 65534\n", &map));
        assert!(!is_same_map("0 1000 1\n1 100000 65535\nx y z\n", &map));
    }
}
