//! Which part of a path stops whom: the diagnosis for EACCES and EPERM.
//!
//! The path is walked once more, after the failure and only to explain it: nothing is decided by what is found here.
//! Source: path_resolution(7), capabilities(7), user_namespaces(7).
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Errno, Error};
use crate::plan::identity::Identity;
use crate::plan::namespaces::{IdMap, Namespaces, User};
use crate::sys::path::{self, Stat, resolve};
use crate::sys::{identity, mount};

/// Whose way it is, with ids as the host counts them.
#[derive(Clone, Debug)]
pub struct Who {
    uid: u32,
    gids: Vec<u32>,
    /// The id in the container, when it differs.
    inside: Option<u32>,
    /// CAP_DAC_OVERRIDE over files of these users and groups; of all when there are no maps.
    overrides: bool,
    maps: Option<(IdMap, IdMap)>,
}

impl Who {
    /// The process that calls teu.
    pub fn caller() -> Who {
        const CAP_DAC_OVERRIDE: u64 = 1 << 1;
        let overrides = identity::capabilities().is_ok_and(|(set, ..)| set & CAP_DAC_OVERRIDE != 0);
        let (uid, gid) = (identity::effective_uid(), identity::effective_gid());
        Who { uid, gids: vec![gid], inside: None, overrides, maps: None }
    }

    /// The root of the container, as which it is set up. `None` when nothing is known of it.
    pub fn root_of(namespaces: &Namespaces) -> Option<Who> {
        let mut who = Who::in_container(namespaces, 0, &[0])?;
        who.overrides = true;
        Some(who)
    }

    /// The user of the process.
    pub fn user_of(namespaces: &Namespaces, wanted: &Identity) -> Option<Who> {
        const CAP_DAC_OVERRIDE: u64 = 1 << 1;
        let mut gids = vec![wanted.gid];
        if let crate::plan::identity::Groups::Set(groups) = &wanted.groups {
            gids.extend(groups);
        }
        let mut who = Who::in_container(namespaces, wanted.uid, &gids)?;
        who.overrides = wanted.capabilities.effective & CAP_DAC_OVERRIDE != 0;
        Some(who)
    }

    fn in_container(namespaces: &Namespaces, uid: u32, gids: &[u32]) -> Option<Who> {
        Some(match &namespaces.user {
            User::Inherited => Who { uid, gids: gids.to_vec(), inside: None, overrides: false, maps: None },
            User::New { uids: users, gids: groups } => Who {
                uid: users.outside(uid)?,
                gids: gids.iter().filter_map(|gid| groups.outside(*gid)).collect(),
                inside: Some(uid),
                overrides: false,
                maps: Some((users.clone(), groups.clone())),
            },
            User::Joined => return None,
        })
    }

    fn name(&self) -> String {
        match self.inside {
            Some(inside) => format!("user {inside} of the container, who is {} outside,", self.uid),
            None => format!("user {}", self.uid),
        }
    }

    /// Whether the permission bits let it through with `wanted` (4 read, 2 write, 1 search or execute).
    fn may(&self, stat: &Stat, wanted: u32) -> bool {
        let mapped = self
            .maps
            .as_ref()
            .is_none_or(|(uids, gids)| uids.inside(stat.uid).is_some() && gids.inside(stat.gid).is_some());
        // Nobody executes a file that has no execute permission at all.
        let executable = stat.is_dir() || wanted & 1 == 0 || stat.mode & 0o111 != 0;
        if self.overrides && mapped && executable {
            return true;
        }
        let shift = match () {
            () if stat.uid == self.uid => 6,
            () if self.gids.contains(&stat.gid) => 3,
            () => 0,
        };
        stat.mode >> shift & wanted == wanted
    }
}

/// What is done with the end of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Nothing that needs permission: it becomes a mount, or is only looked at.
    Reach,
    /// It becomes the working directory.
    Enter,
    /// It is executed.
    Execute,
    /// Something is made in the last directory that exists.
    Make,
}

/// Adds to an error of EACCES or EPERM which component of `path` on the host is at fault, when one is.
pub fn explain(error: Error, who: Option<&Who>, path: &Path, purpose: Use) -> Error {
    if !is_denial(error.errno()) {
        return error;
    }
    let Ok(root) = path::open_host_path(c"/", libc::O_DIRECTORY) else { return error };
    explain_below(error, who, &root, "", path, purpose)
}

/// True for what is explained here.
pub fn is_denial(errno: Option<Errno>) -> bool {
    matches!(errno, Some(Errno::EACCES | Errno::EPERM))
}

/// The same for a path of the container, as far as its root file system has it, when the denial is known already.
pub fn explain_inside(error: Error, who: Option<&Who>, rootfs: &Path, path: &Path, purpose: Use) -> Error {
    let Ok(name) = CString::new(rootfs.as_os_str().as_bytes()) else { return error };
    let Ok(root) = path::open_host_path(&name, libc::O_DIRECTORY) else { return error };
    explain_below(error, who, &root, " of the container", path, purpose)
}

fn explain_below(
    error: Error,
    who: Option<&Who>,
    root: &OwnedFd,
    place: &str,
    path: &Path,
    purpose: Use,
) -> Error {
    let Some(who) = who else { return error };
    match fault(who, root.as_fd(), path, purpose) {
        Some(fault) => error.hint(fault.text(who, place)),
        None => error,
    }
}

/// Where it ends.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    /// The path up to the component.
    path: String,
    owner: (u32, u32),
    mode: u32,
    why: Why,
}

#[derive(Debug, PartialEq, Eq)]
enum Why {
    Search,
    Execute,
    Write,
    NoExec,
}

impl Fault {
    fn text(&self, who: &Who, place: &str) -> String {
        let Fault { path, owner: (uid, gid), mode, why } = self;
        let shown = if path.is_empty() { "/" } else { path };
        if *why == Why::NoExec {
            return format!("{shown}{place} is on a file system that is mounted noexec");
        }
        let what = match why {
            Why::Search => "pass through it",
            Why::Write => "make anything in it",
            Why::Execute | Why::NoExec => "execute it",
        };
        let name = who.name();
        format!("{shown}{place} belongs to {uid}:{gid} and has mode {mode:04o}, so {name} may not {what}")
    }
}

/// Walks the path. Links are followed below `root`, as the kernel would.
fn fault(who: &Who, root: BorrowedFd, path: &Path, purpose: Use) -> Option<Fault> {
    let names: Vec<&[u8]> =
        path.as_os_str().as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    let open = |length: usize| {
        let text = if length == 0 { b".".to_vec() } else { names[..length].join(&b'/') };
        let text = CString::new(text).ok()?;
        let found =
            path::openat2(root, &text, libc::O_PATH, 0, resolve::IN_ROOT | resolve::NO_MAGICLINKS).ok()?;
        let stat = path::stat_fd(found.as_fd()).ok()?;
        Some((found, stat))
    };
    let at = |length: usize, stat: &Stat, why: Why| {
        let shown =
            names[..length].iter().map(|name| format!("/{}", String::from_utf8_lossy(name))).collect();
        Some(Fault { path: shown, owner: (stat.uid, stat.gid), mode: stat.mode & 0o7777, why })
    };
    for length in 0..=names.len() {
        let Some((found, stat)) = open(length) else {
            // It does not exist, so it would have been made in the one before.
            let (_, parent) = open(length.checked_sub(1)?)?;
            return if purpose == Use::Make && !who.may(&parent, 3) {
                at(length - 1, &parent, Why::Write)
            } else {
                None
            };
        };
        let last = length == names.len();
        match purpose {
            _ if !last && stat.is_dir() && !who.may(&stat, 1) => return at(length, &stat, Why::Search),
            Use::Enter if last && !who.may(&stat, 1) => return at(length, &stat, Why::Search),
            Use::Execute if last && !who.may(&stat, 1) => return at(length, &stat, Why::Execute),
            Use::Execute if last && is_noexec(&found) => return at(length, &stat, Why::NoExec),
            _ => {}
        }
    }
    None
}

fn is_noexec(file: &OwnedFd) -> bool {
    path::mount_flags(file.as_fd()).is_ok_and(|flags| flags & mount::attr::NOEXEC != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::plan::namespaces::IdRange;

    fn user(uid: u32) -> Who {
        Who { uid, gids: vec![uid], inside: None, overrides: false, maps: None }
    }

    /// A directory tree `a/b/file`, owned by whoever runs the test, with these modes.
    fn tree(modes: [u32; 3]) -> (std::path::PathBuf, OwnedFd) {
        let dir = std::env::temp_dir().join(format!("teu-access-{}-{modes:?}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("a/b")).unwrap();
        std::fs::write(dir.join("a/b/file"), "").unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        for (path, mode) in ["a/b/file", "a/b", "a"].into_iter().zip(modes.into_iter().rev()) {
            std::fs::set_permissions(dir.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let root = path::open_host_path(&CString::new(dir.as_os_str().as_bytes()).unwrap(), 0).unwrap();
        (dir, root)
    }

    fn found(modes: [u32; 3], purpose: Use) -> Option<(String, Why)> {
        let (dir, root) = tree(modes);
        let fault = fault(&user(77_777), root.as_fd(), Path::new("/a/b/file"), purpose);
        std::fs::set_permissions(dir.join("a"), std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        fault.map(|fault| (fault.path, fault.why))
    }

    #[test]
    fn the_first_component_that_stops_is_named() {
        assert_eq!(found([0o700, 0o755, 0o755], Use::Reach), Some(("/a".to_owned(), Why::Search)));
        assert_eq!(found([0o751, 0o750, 0o755], Use::Reach), Some(("/a/b".to_owned(), Why::Search)));
        assert_eq!(found([0o755, 0o755, 0o600], Use::Reach), None);
        assert_eq!(found([0o755, 0o755, 0o640], Use::Execute), Some(("/a/b/file".to_owned(), Why::Execute)));
        assert_eq!(found([0o755, 0o755, 0o755], Use::Enter), None);
    }

    #[test]
    fn what_is_missing_would_be_made_in_the_directory_before() {
        let (dir, root) = tree([0o755, 0o755, 0o644]);
        let fault = fault(&user(77_777), root.as_fd(), Path::new("/a/b/new/deeper"), Use::Make).unwrap();
        assert_eq!((fault.path.as_str(), &fault.why), ("/a/b", &Why::Write));
        let text = fault.text(&user(77_777), " of the container");
        assert!(text.ends_with("and has mode 0755, so user 77777 may not make anything in it"), "{text}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn links_are_followed_below_the_root() {
        let (dir, root) = tree([0o755, 0o700, 0o644]);
        symlink("/a/b", dir.join("link")).unwrap();
        let fault = fault(&user(77_777), root.as_fd(), Path::new("/link/file"), Use::Reach).unwrap();
        assert_eq!((fault.path.as_str(), fault.mode), ("/link", 0o700));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn root_of_a_user_namespace_overrides_for_mapped_owners_only() {
        let map = IdMap(vec![IdRange { inside: 0, outside: 1000, count: 1 }]);
        let who = Who {
            uid: 1000,
            gids: vec![1000],
            inside: Some(0),
            overrides: true,
            maps: Some((map.clone(), map)),
        };
        let stat = |uid| Stat {
            mode: libc::S_IFDIR | 0o700,
            uid,
            gid: uid,
            device: (0, 0),
            inode: 1,
            rdev: (0, 0),
            mount_id: 1,
            links: 1,
        };
        assert!(who.may(&stat(1000), 1));
        assert!(!who.may(&stat(0), 1));
        let open = Stat { mode: libc::S_IFDIR | 0o755, ..stat(0) };
        assert!(who.may(&open, 1) && !who.may(&open, 3));
        assert_eq!(who.name(), "user 0 of the container, who is 1000 outside,");
    }
}
