//! The way to the state directory, name by name.
//!
//! Who can exchange a directory or a link on the way chooses which records a command reads, and where it makes new
//! ones. So each is opened once, judged by its descriptor, and the next name is looked up below that.

use std::collections::VecDeque;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::error::{Errno, Error, Kind, Result};
use crate::sys::path::{self, Stat};

/// As many as the kernel follows, see path_resolution(7).
const MOST_LINKS: u32 = 40;

const DIRECTORY: i32 = libc::O_PATH | libc::O_DIRECTORY;

/// Opens the directory `path`, which is absolute; made with mode 0700, as what is missing above it, when `create`.
/// Links are followed but for the last name.
///
/// Errors: a directory above it, or a link on the way, belongs to neither the caller nor root, or everybody may exchange
/// what is in it. A group that may write was let in by the owner, who is one of these two.
pub fn open(path: &Path, create: bool) -> Result<OwnedFd> {
    let failed = |call: &'static str, e| {
        Error::kernel(format!("open the state directory {}", path.display()), call, e)
    };
    let root = || path::openat2(path::cwd_fd(), c"/", DIRECTORY, 0, 0).map_err(|e| failed("openat2(2)", e));
    let mut left = names(path);
    let last = left.pop_back().ok_or_else(|| failed("openat2(2)", Errno::EINVAL))?;
    let (mut here, mut shown) = (root()?, PathBuf::from("/"));
    let mut links = 0;
    loop {
        let stat = path::stat_fd(here.as_fd()).map_err(|e| failed("statx(2)", e))?;
        judge(path, &shown, &stat)?;
        let Some(name) = left.pop_front() else { break };
        let c_name = CString::new(name.as_bytes()).map_err(|_| failed("openat2(2)", Errno::EINVAL))?;
        shown.push(&name);
        match step(here.as_fd(), &c_name, create).map_err(|(call, e)| failed(call, e))? {
            Step::Directory(directory) => {
                here = directory;
                if name == ".." {
                    shown.pop();
                    shown.pop();
                }
            }
            Step::Link(stat, target) => {
                judge(path, &shown, &stat)?;
                links += 1;
                if links > MOST_LINKS {
                    return Err(failed("openat2(2)", Errno::ELOOP));
                }
                shown.pop();
                if target.is_absolute() {
                    (here, shown) = (root()?, PathBuf::from("/"));
                }
                let rest = std::mem::replace(&mut left, names(&target));
                left.extend(rest);
            }
        }
    }
    let last = CString::new(last.into_vec()).map_err(|_| failed("openat2(2)", Errno::EINVAL))?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    open_or_make(here.as_fd(), &last, flags, create).map_err(|(call, e)| failed(call, e))
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

enum Step {
    Directory(OwnedFd),
    Link(Stat, PathBuf),
}

type Failed = (&'static str, Errno);

/// One name further.
fn step(here: BorrowedFd, name: &CString, create: bool) -> std::result::Result<Step, Failed> {
    let errno = match open_or_make(here, name, DIRECTORY | libc::O_NOFOLLOW, create) {
        Ok(directory) => return Ok(Step::Directory(directory)),
        Err(("openat2(2)", errno @ (Errno::ENOTDIR | Errno::ELOOP))) => errno,
        Err(failed) => return Err(failed),
    };
    let link =
        path::openat2(here, name, libc::O_PATH | libc::O_NOFOLLOW, 0, 0).map_err(|e| ("openat2(2)", e))?;
    let stat = path::stat_fd(link.as_fd()).map_err(|e| ("statx(2)", e))?;
    if !stat.is_symlink() {
        return Err(("openat2(2)", errno));
    }
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    let target = path::readlinkat(link.as_fd(), c"", &mut buffer).map_err(|e| ("readlinkat(2)", e))?;
    Ok(Step::Link(stat, PathBuf::from(OsStr::from_bytes(target))))
}

fn open_or_make(
    here: BorrowedFd,
    name: &CString,
    flags: i32,
    create: bool,
) -> std::result::Result<OwnedFd, Failed> {
    let open = || path::openat2(here, name, flags, 0, 0).map_err(|e| ("openat2(2)", e));
    match open() {
        Err((_, Errno::ENOENT)) if create => match path::mkdirat(here, name, 0o700) {
            // Another command was faster.
            Ok(()) | Err(Errno::EEXIST) => open(),
            Err(e) => Err(("mkdirat(2)", e)),
        },
        opened => opened,
    }
}

/// Whether nobody but the caller and root can exchange what is in a directory, or where a link leads.
///
/// In a sticky directory everybody keeps what is their own. In a user namespace, root of the host and every other user
/// outside have the same number, and can only be trusted together: the owners of /, /run and /tmp are among them.
fn judge(path: &Path, at: &Path, stat: &Stat) -> Result<()> {
    let writable = !stat.is_symlink() && stat.mode & (libc::S_IWOTH | libc::S_ISVTX) == libc::S_IWOTH;
    let owned = stat.uid == crate::sys::identity::effective_uid() || crate::host::is_root(stat.uid);
    if owned && !writable {
        return Ok(());
    }
    let (shown, at, mode) = (path.display(), at.display(), stat.mode & 0o7777);
    let text = format!(
        "the state directory {shown} can be exchanged by another user: {at} belongs to user {} and has mode {mode:04o}",
        stat.uid
    );
    let error = Error::new(Kind::State, text).call("statx(2)", Errno::EACCES);
    Err(if owned {
        error.hint(format!("chmod o-w {at}, or chmod +t {at}, or choose another directory with --root"))
    } else {
        error.hint(format!(
            "{at} must belong to root or to the caller: change its owner, or choose another directory with --root"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions, create_dir, create_dir_all};
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A new directory, removed at the end. The resolved name: that of the temporary directory may have links.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = fs::canonicalize(std::env::temp_dir()).unwrap();
            let path = path.join(format!("teu-place-{name}-{}", std::process::id()));
            create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_missing_is_made_for_the_caller_alone() {
        let scratch = Scratch::new("made");
        let path = scratch.0.join("a/b");
        assert_eq!(open(&path, false).unwrap_err().errno(), Some(Errno::ENOENT));
        open(&path, true).unwrap();
        for made in [&path, path.parent().unwrap()] {
            assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn links_lead_on_and_are_not_the_last_name() {
        let scratch = Scratch::new("links");
        create_dir_all(scratch.0.join("run/state")).unwrap();
        create_dir(scratch.0.join("var")).unwrap();
        symlink("../run", scratch.0.join("var/run")).unwrap();
        symlink(scratch.0.join("run"), scratch.0.join("absolute")).unwrap();
        symlink("run/state", scratch.0.join("last")).unwrap();
        symlink("loop", scratch.0.join("loop")).unwrap();
        let wanted = path::statx(path::cwd_fd(), &c_path(&scratch.0.join("run/state")), 0).unwrap();
        for name in ["var/run/state", "absolute/state", "var/../run/state", "absolute/../var/run/state"] {
            let opened = open(&scratch.0.join(name), false).unwrap();
            assert!(path::stat_fd(opened.as_fd()).unwrap().same_inode(&wanted), "{name}");
        }
        assert_eq!(open(&scratch.0.join("last"), true).unwrap_err().errno(), Some(Errno::ENOTDIR));
        assert_eq!(open(&scratch.0.join("loop/state"), true).unwrap_err().errno(), Some(Errno::ELOOP));
        fs::write(scratch.0.join("file"), "").unwrap();
        assert_eq!(open(&scratch.0.join("file/state"), true).unwrap_err().errno(), Some(Errno::ENOTDIR));
    }

    fn c_path(path: &Path) -> CString {
        CString::new(path.as_os_str().as_bytes()).unwrap()
    }

    #[test]
    fn only_a_sticky_directory_may_be_open_to_everybody() {
        let scratch = Scratch::new("modes");
        let above = scratch.0.join("above");
        create_dir(&above).unwrap();
        for (mode, fits) in
            [(0o755, true), (0o711, true), (0o2775, true), (0o1777, true), (0o777, false), (0o702, false)]
        {
            fs::set_permissions(&above, Permissions::from_mode(mode)).unwrap();
            let opened = open(&above.join("state"), true);
            assert_eq!(opened.is_ok(), fits, "{mode:o}: {opened:?}");
        }
        let text = open(&above.join("inner/state"), true).unwrap_err().to_string();
        assert!(text.contains(&format!("{} belongs to user", above.display())), "{text}");
        assert!(text.contains("has mode 0702") && text.contains("hint: chmod o-w"), "{text}");
        assert!(!above.join("inner").exists());
    }
}
