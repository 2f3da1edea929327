//! Which part of a path stops whom: the diagnosis for EACCES and EPERM, and of the mount flags that say it otherwise.
//!
//! The path is walked once more, after the failure and only to explain it: nothing is decided by what is found here.
//! Source: path_resolution(7), capabilities(7), user_namespaces(7).
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::id_maps;
use crate::error::{Errno, Error};
use crate::plan::identity::Identity;
use crate::plan::namespaces::{IdMap, User};
use crate::sys::clone::Child;
use crate::sys::path::{self, Stat, resolve};
use crate::sys::{identity, mount};

/// Whose way it is, with ids as the host counts them.
#[derive(Clone, Debug)]
pub struct Who {
    /// This process, about which the kernel itself can be asked.
    is_self: bool,
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
        let uid = identity::effective_uid();
        Who { is_self: true, uid, gids: Vec::new(), inside: None, overrides: false, maps: None }
    }

    /// The root of the container, as which it is set up. `None` when nothing is known of it: the maps of a user
    /// namespace that is joined are those of `init`.
    pub fn root_of(user: &User, init: Option<&Child>) -> Option<Who> {
        let mut who = Who::in_container(user, init, 0, &[0])?;
        who.overrides = true;
        Some(who)
    }

    /// The user of the process.
    pub fn user_of(user: &User, init: Option<&Child>, wanted: &Identity) -> Option<Who> {
        const CAP_DAC_OVERRIDE: u64 = 1 << 1;
        let mut gids = vec![wanted.gid];
        if let crate::plan::identity::Groups::Set(groups) = &wanted.groups {
            gids.extend(groups);
        }
        let mut who = Who::in_container(user, init, wanted.uid, &gids)?;
        who.overrides = wanted.capabilities.effective & CAP_DAC_OVERRIDE != 0;
        Some(who)
    }

    fn in_container(user: &User, init: Option<&Child>, uid: u32, gids: &[u32]) -> Option<Who> {
        let (users, groups) = match user {
            User::Inherited => {
                let gids = gids.to_vec();
                return Some(Who { is_self: false, uid, gids, inside: None, overrides: false, maps: None });
            }
            User::New { uids, gids } => (uids.clone(), gids.clone()),
            User::Joined => id_maps::of_process(init?)?,
        };
        Some(Who {
            is_self: false,
            uid: users.outside(uid)?,
            gids: gids.iter().filter_map(|gid| groups.outside(*gid)).collect(),
            inside: Some(uid),
            overrides: false,
            maps: Some((users, groups)),
        })
    }

    fn name(&self) -> String {
        match self.inside {
            Some(inside) => format!("user {inside} of the container, who is {} outside,", self.uid),
            None => format!("user {}", self.uid),
        }
    }

    /// Whether it may do what is `wanted` (4 read, 2 write, 1 search or execute) with something that was found.
    ///
    /// Of this process the kernel knows the supplementary groups, how far the capabilities reach in a user namespace,
    /// and what lists of access say.
    fn is_let(&self, found: &OwnedFd, stat: &Stat, wanted: u32) -> bool {
        match self.is_self {
            true => !is_denial(path::may(found.as_fd(), wanted as i32).err()),
            false => self.may(stat, wanted),
        }
    }

    /// Whether the permission bits let it through.
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
    /// It is read.
    Read,
    /// It is a socket that is connected to.
    Connect,
    /// It is written to, and made when it does not exist.
    Write,
    /// Something is made in the last directory that exists.
    Make,
}

/// Adds to an error of EACCES or EPERM which component of `path` on the host is at fault, when one is, and to one of
/// EROFS or ELOOP when a mount flag is.
pub fn explain(error: Error, who: Option<&Who>, path: &Path, purpose: Use) -> Error {
    if !matches!(error.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::ELOOP)) {
        return error;
    }
    explain_denied(error, who, path, purpose)
}

/// The same when the denial is known already, whether the error names the errno or not.
pub fn explain_denied(error: Error, who: Option<&Who>, path: &Path, purpose: Use) -> Error {
    let Ok(root) = path::open_host_path(c"/", libc::O_DIRECTORY) else { return error };
    let Ok(path) = std::path::absolute(path) else { return error };
    explain_below(error, who, &root, "", &path, purpose)
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
    if let Some(fault) = error.errno().and_then(|errno| flag_at_fault(root.as_fd(), path, errno)) {
        return error.hint(fault.text(who, place));
    }
    if matches!(error.errno(), Some(Errno::EROFS | Errno::ELOOP)) {
        return error;
    }
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
    Read,
    Connect,
    Write,
    Make,
    /// The flag of the mount.
    Mounted(&'static str),
}

impl Fault {
    fn text(&self, who: &Who, place: &str) -> String {
        let Fault { path, owner: (uid, gid), mode, why } = self;
        let shown = if path.is_empty() { "/" } else { path };
        if let Why::Mounted(flag) = why {
            return format!("{shown}{place} is on a file system that is mounted {flag}");
        }
        let what = match why {
            Why::Search => "pass through it",
            Why::Make => "make anything in it",
            Why::Read => "read it",
            Why::Connect => "connect to it",
            Why::Write => "write to it",
            Why::Execute | Why::Mounted(_) => "execute it",
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
            let (found, parent) = open(length.checked_sub(1)?)?;
            return if matches!(purpose, Use::Make | Use::Write) && !who.is_let(&found, &parent, 3) {
                at(length - 1, &parent, Why::Make)
            } else {
                None
            };
        };
        let last = length == names.len();
        let stops = |wanted: u32| !who.is_let(&found, &stat, wanted);
        let why = match purpose {
            _ if !last => (stat.is_dir() && stops(1)).then_some(Why::Search),
            Use::Enter => stops(1).then_some(Why::Search),
            // Asked for this process, the kernel answers for the mount too.
            Use::Execute if stat.mode & 0o111 != 0 && has(&found, mount::attr::NOEXEC) => {
                Some(Why::Mounted("noexec"))
            }
            Use::Execute => stops(1).then_some(Why::Execute),
            Use::Read | Use::Write if stat.is_device() && has(&found, mount::attr::NODEV) => {
                Some(Why::Mounted("nodev"))
            }
            Use::Read => stops(4).then_some(Why::Read),
            Use::Connect => stops(2).then_some(Why::Connect),
            Use::Write => stops(2).then_some(Why::Write),
            Use::Reach | Use::Make => None,
        };
        if let Some(why) = why {
            return at(length, &stat, why);
        }
    }
    None
}

/// Whether the mount has a flag, whose bit is the same for mount_setattr(2) and statvfs(3).
fn has(file: &OwnedFd, flag: u64) -> bool {
    path::mount_flags(file.as_fd()).is_ok_and(|flags| flags & flag != 0)
}

/// What stops whoever it is: a link where links are not followed (ELOOP), or a mount that is read-only (EROFS).
fn flag_at_fault(root: BorrowedFd, path: &Path, errno: Errno) -> Option<Fault> {
    const ST_NOSYMFOLLOW: u64 = 0x2000;
    let open = |path: &Path, flags: i32| {
        let name = CString::new(path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes()).ok()?;
        let name = if name.is_empty() { c".".to_owned() } else { name };
        path::openat2(root, &name, libc::O_PATH | flags, 0, resolve::IN_ROOT | resolve::NO_MAGICLINKS).ok()
    };
    let mut parts: Vec<&Path> = path.ancestors().collect();
    let (flag, at) = match errno {
        Errno::EROFS => {
            let (at, found) = parts.into_iter().find_map(|at| Some((at, open(at, 0)?)))?;
            has(&found, mount::attr::RDONLY).then_some(("ro", at))?
        }
        Errno::ELOOP => {
            parts.reverse();
            let is_barred = |at: &&Path| {
                let found = open(at, libc::O_NOFOLLOW);
                found.is_some_and(|found| {
                    path::stat_fd(found.as_fd()).is_ok_and(|stat| stat.is_symlink())
                        && has(&found, ST_NOSYMFOLLOW)
                })
            };
            ("nosymfollow", parts.into_iter().find(is_barred)?)
        }
        _ => return None,
    };
    let shown = at.to_string_lossy().trim_end_matches('/').to_owned();
    Some(Fault { path: shown, owner: (0, 0), mode: 0, why: Why::Mounted(flag) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::plan::namespaces::IdRange;

    fn user(uid: u32) -> Who {
        Who { is_self: false, uid, gids: vec![uid], inside: None, overrides: false, maps: None }
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
        assert_eq!((fault.path.as_str(), &fault.why), ("/a/b", &Why::Make));
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
            is_self: false,
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
