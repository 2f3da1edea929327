//! Writes id maps, and makes user namespaces whose only purpose is to map the ids of a mount.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Errno, Error, Result};
use crate::plan::identity::{Groups, Identity};
use crate::plan::mounts::Mount;
use crate::plan::mounts::owner::unmapped_owners;
use crate::plan::namespaces::{IdMap, IdRange, User, flag};
use crate::sys::clone::{Child, Parentage, Side, clone_child, exit_now};
use crate::sys::{fd, identity, path};

use super::birth::pid_of;
use super::id_helpers;

/// How the maps of a user namespace can be written (user_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The caller has CAP_SETUID and CAP_SETGID over its own user namespace.
    Privileged,
    /// Anybody may map the own ids, if setgroups(2) is denied before.
    OwnIds,
    /// The programs of the host that know who has which subordinate ids.
    Helpers,
}

fn way(uids: &IdMap, gids: &IdMap, effective: u64, (uid, gid): (u32, u32)) -> Way {
    const CAP_SETGID: u64 = 1 << 6;
    const CAP_SETUID: u64 = 1 << 7;
    if effective & (CAP_SETUID | CAP_SETGID) == CAP_SETUID | CAP_SETGID {
        Way::Privileged
    } else if uids.is_only(uid) && gids.is_only(gid) {
        Way::OwnIds
    } else {
        Way::Helpers
    }
}

/// Writes uid_map and gid_map of `pid`, each at once.
///
/// Errors: EPERM when the caller may not map these ids; EINVAL for what the kernel cannot map.
pub fn write(pid: i32, user: &User) -> Result<()> {
    let User::New { uids, gids } = user else { return Ok(()) };
    let (effective, ..) =
        identity::capabilities().map_err(|e| Error::kernel("read own capabilities", "capget(2)", e))?;
    match way(uids, gids, effective, (identity::effective_uid(), identity::effective_gid())) {
        Way::Helpers => {
            id_helpers::UIDS.write(pid, uids)?;
            return id_helpers::GIDS.write(pid, gids);
        }
        Way::OwnIds => write_file(pid, "setgroups", "deny", "/linux/gidMappings")?,
        Way::Privileged => {}
    }
    write_file(pid, "uid_map", &uids.text(), "/linux/uidMappings")?;
    write_file(pid, "gid_map", &gids.text(), "/linux/gidMappings")
}

/// The id that user `uid` of the user namespace of process `pid` has here.
///
/// Errors: EOVERFLOW when it is not mapped.
pub fn outer_uid(pid: i32, uid: u32) -> Result<u32> {
    let doing = "read the id map of the container";
    let text = std::fs::read_to_string(format!("/proc/{pid}/uid_map"))
        .map_err(|error| Error::io(doing, "read(2)", &error))?;
    outer_id(&text, uid)
        .ok_or_else(|| Error::kernel(doing, "read(2)", Errno::EOVERFLOW).at("/process/user/uid"))
}

/// The maps of the user namespace of a process that has ended at most, and nobody has waited for.
pub fn of_process(process: &Child) -> Option<(IdMap, IdMap)> {
    let read = |file: &str| path::read_text(format!("/proc/{}/{file}", process.pid)).ok();
    let maps = (map_of(&read("uid_map")?), map_of(&read("gid_map")?));
    // The number has not come to mean another process.
    (pid_of(&process.pidfd) == Some(process.pid)).then_some(maps)
}

/// The ranges of a map, without those of ids that nobody has here.
fn map_of(text: &str) -> IdMap {
    let range = |line: &str| {
        let mut fields = line.split_ascii_whitespace().map(|field| field.parse::<u32>().ok());
        let range = IdRange { inside: fields.next()??, outside: fields.next()??, count: fields.next()?? };
        let fits = |first: u32| first.checked_add(range.count).is_some();
        (fits(range.inside) && fits(range.outside)).then_some(range)
    };
    IdMap(text.lines().filter_map(range).collect())
}

/// Refuses ids that the joined user namespace of a process does not have: the kernel says EINVAL or EPERM alone.
///
/// Errors: an id of the process is not mapped; setgroups(2) is denied, and groups are asked for.
pub fn refuse_unmapped(process: &Child, identity: &Identity, at: &str) -> Result<()> {
    let Some((uids, gids)) = of_process(process) else { return Ok(()) };
    let ranges = |map: &IdMap| map.text().trim_end().replace('\n', ", ");
    for (map, file) in [(&uids, "uid_map"), (&gids, "gid_map")] {
        if map.outside(0).is_none() {
            let problem =
                "id 0 is not mapped in the user namespace that is joined, as which the container is set up";
            return Err(Error::config(at, problem)
                .hint(format!("its {file} is \"{}\": join a user namespace that maps it", ranges(map))));
        }
    }
    let groups: &[u32] = match &identity.groups {
        Groups::Set(groups) => groups,
        Groups::Keep => &[],
    };
    let groups =
        groups.iter().enumerate().map(|(i, gid)| (format!("additionalGids/{i}"), *gid, &gids, "gid_map"));
    let ids = [
        ("uid".to_owned(), identity.uid, &uids, "uid_map"),
        ("gid".to_owned(), identity.gid, &gids, "gid_map"),
    ];
    for (member, id, map, file) in ids.into_iter().chain(groups) {
        if map.outside(id).is_none() {
            let problem = format!("{id} is not mapped in the user namespace that is joined");
            return Err(Error::config(format!("{}/user/{member}", identity.base), problem).hint(format!(
                "its {file} is \"{}\" (first id inside, first id outside, how many): choose an id that it maps, or join \
                 another user namespace",
                ranges(map)
            )));
        }
    }
    let is_denied = || {
        path::read_text(format!("/proc/{}/setgroups", process.pid)).is_ok_and(|text| text.trim() == "deny")
    };
    if matches!(&identity.groups, Groups::Set(groups) if !groups.is_empty()) && is_denied() {
        let problem = "setgroups(2) is denied in the user namespace that is joined";
        return Err(Error::config(format!("{}/user/additionalGids", identity.base), problem).hint(
            "leave additionalGids out, or join a user namespace whose ranges of groups newgidmap or root has written",
        ));
    }
    Ok(())
}

/// The same for the owners of the file systems that are made: the kernel says EINVAL about any option.
///
/// Errors: `uid=` or `gid=` of a mount is not mapped.
pub fn refuse_unmapped_owners(process: &Child, mounts: &[Mount]) -> Result<()> {
    let Some((uids, gids)) = of_process(process) else { return Ok(()) };
    for mount in mounts {
        if let Some((owner, _)) = unmapped_owners(&mount.kind, &uids, &gids).next() {
            let problem = format!("{owner} is not mapped in the user namespace that is joined");
            return Err(Error::config(format!("{}/options", mount.at), problem)
                .hint("choose an id that it maps, or leave the option out"));
        }
    }
    Ok(())
}

fn outer_id(map: &str, id: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().map(|field| field.parse::<u32>().ok());
        let (inside, outside, count) = (fields.next()??, fields.next()??, fields.next()??);
        let offset = id.checked_sub(inside).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    })
}

/// In bytes. Where pages are larger, more is permitted.
const SMALLEST_PAGE: usize = 4096;

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
        Err(error) if text.len() >= SMALLEST_PAGE && error.raw_os_error() == Some(libc::EINVAL) => {
            Err(failed("write(2)", &error)
                .hint("all lines of a mapping together must be less than a page of memory; join neighbouring ranges"))
        }
        Err(error) if is_map_of_root(name, text) && error.raw_os_error() == Some(libc::EPERM) => {
            Err(failed("write(2)", &error)
                .hint("since Linux 5.12 a mapping of id 0 of the host needs CAP_SETFCAP"))
        }
        Err(error) if error.raw_os_error() == Some(libc::ERANGE) => {
            Err(failed("write(2)", &error).hint(crate::hints::OFFSET))
        }
        Err(error) if name.ends_with("_map") && error.raw_os_error() == Some(libc::EPERM) => {
            Err(failed("write(2)", &error).hint(format!(
                "each range must be within one line of /proc/self/{name} of the caller, whose ids it may give away"
            )))
        }
        Ok(_) => Err(Error::kernel(format!("write {name}"), "write(2)", Errno::EIO).at(at)),
        Err(error) => Err(failed("write(2)", &error)),
    }
}

/// Whether a map hands out the id 0 of a caller who may do nothing about file capabilities. Source: user_namespaces(7).
fn is_map_of_root(name: &str, text: &str) -> bool {
    let is_zero = |line: &str| line.split(' ').nth(1) == Some("0");
    let may = || identity::capabilities().is_ok_and(|(effective, ..)| effective & CAP_SETFCAP != 0);
    name == "uid_map" && text.lines().any(is_zero) && !may()
}

/// capabilities(7).
const CAP_SETFCAP: identity::CapabilitySet = 1 << 31;

/// A user namespace with these maps that nobody lives in.
pub fn namespace_with(uids: &IdMap, gids: &IdMap) -> Result<OwnedFd> {
    namespace_of(&User::New { uids: uids.clone(), gids: gids.clone() })
}

/// The same for the maps of a container, which `check` tries.
pub fn namespace_of(maps: &User) -> Result<OwnedFd> {
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
    let opened = write(child.pid, maps).and_then(|()| open_namespace(child.pid, "user"));
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

    fn map(inside: u32, outside: u32, count: u32) -> IdMap {
        IdMap(vec![IdRange { inside, outside, count }])
    }

    #[test]
    fn setgroups_is_denied_for_the_own_ids_of_an_unprivileged_caller_only() {
        let own = (map(0, 1000, 1), map(0, 100, 1));
        let ids = (1000, 100);
        assert_eq!(way(&own.0, &own.1, 0, ids), Way::OwnIds);
        assert_eq!(way(&own.0, &own.1, u64::MAX, ids), Way::Privileged);
        assert_eq!(way(&own.0, &own.1, 1 << 7, ids), Way::OwnIds);
    }

    #[test]
    fn an_id_is_found_in_the_map_of_a_process() {
        let map = "         0       1000          1\n         1     100000      65535\n";
        assert_eq!(outer_id(map, 0), Some(1000));
        assert_eq!(outer_id(map, 7), Some(100_006));
        assert_eq!(outer_id(map, 65536), None);
        assert_eq!(outer_id("0 0 4294967295\n", 5), Some(5));
    }

    #[test]
    fn a_map_of_a_process_is_read() {
        let text = "         0       1000          1\n         1     100000      65535\n";
        assert_eq!(map_of(text).text(), "0 1000 1\n1 100000 65535\n");
        // Ids that are not mapped here, and what is no map.
        assert_eq!(map_of("0 4294967295 1\n1 5 1\nx y z\n").text(), "1 5 1\n");
        assert_eq!(map_of("0 0 4294967295\n").outside(7), Some(7));
    }

    #[test]
    fn whatever_is_more_than_the_own_ids_needs_the_helpers() {
        let ids = (1000, 1000);
        let own = map(0, 1000, 1);
        for other in [map(0, 1000, 2), map(0, 1001, 1)] {
            assert_eq!(way(&other, &own, 0, ids), Way::Helpers);
            assert_eq!(way(&own, &other, 0, ids), Way::Helpers);
        }
        let two = IdMap([map(0, 1000, 1).0, map(1, 100_000, 10).0].concat());
        assert_eq!(way(&two, &two, 0, ids), Way::Helpers);
    }

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
