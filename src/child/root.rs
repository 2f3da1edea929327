//! The root of the container by descriptor, and paths below it that the image may have made hostile.
//!
//! A path is resolved once, with openat2(2) and RESOLVE_IN_ROOT: absolute links and `..` stay inside. What is
//! missing is made one component at a time. CVE-2021-30465, CVE-2024-45310.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::abi::procfs;
use crate::error::Errno;
use crate::sync::{Call, Failure, In};
use crate::sys::path::{self, Stat, resolve};

/// How many links may be followed in one path, as the kernel counts.
const MOST_LINKS: usize = 40;

/// The root of the container.
pub struct Root {
    /// O_PATH or mount descriptor of the root directory.
    pub fd: OwnedFd,
    /// What it is.
    pub stat: Stat,
}

/// Where a path leads that need not exist yet: an existing directory and what is missing below it.
struct Missing {
    /// Resolved components, without links.
    base: Vec<u8>,
    /// Components that do not exist.
    rest: Vec<Vec<u8>>,
}

impl Root {
    /// Takes the descriptor of the root directory.
    pub fn new(fd: OwnedFd) -> Result<Root, Failure> {
        let stat = path::stat_fd(fd.as_fd()).call(Call::Statx)?;
        Ok(Root { fd, stat })
    }

    /// Opens an existing path with O_PATH; links are resolved inside the root.
    pub fn open(&self, path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { c"." } else { path };
        path::openat2(
            self.fd.as_fd(),
            path,
            libc::O_PATH | flags,
            0,
            resolve::IN_ROOT | resolve::NO_MAGICLINKS,
        )
    }

    /// Opens an existing directory without following any link.
    pub fn open_real_directory(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        path::openat2(
            self.fd.as_fd(),
            path,
            libc::O_PATH | libc::O_DIRECTORY,
            0,
            resolve::IN_ROOT | resolve::NO_MAGICLINKS | resolve::NO_SYMLINKS,
        )
    }

    /// Opens a directory, made with its parents (mode 0755) when missing.
    pub fn make_directories(&self, path: &CStr) -> Result<OwnedFd, Failure> {
        match self.open(path, libc::O_DIRECTORY) {
            Err(Errno::ENOENT) => {}
            other => return other.call(Call::Openat).map_err(|f| f.with(path.to_bytes())),
        }
        let missing = self.find_missing(path)?;
        self.make_missing(&missing.base, &missing.rest)
    }

    /// Opens a mount point, made as a directory or an empty file when missing.
    pub fn make_mount_point(&self, path: &CStr, directory: bool) -> Result<OwnedFd, Failure> {
        if directory {
            return self.make_directories(path);
        }
        match self.open(path, 0) {
            Err(Errno::ENOENT) => {}
            other => return other.call(Call::Openat).map_err(|f| f.with(path.to_bytes())),
        }
        let missing = self.find_missing(path)?;
        let Some((name, parents)) = missing.rest.split_last() else {
            return self.open(path, 0).call(Call::Openat);
        };
        let parent = self.make_missing(&missing.base, parents)?;
        let name = component(name)?;
        match path::mknodat(parent.as_fd(), &name, libc::S_IFREG | 0o644, (0, 0)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(Failure::of(Call::Mknodat, errno).with(name.to_bytes())),
        }
        open_child(parent.as_fd(), &name, 0)
    }

    /// Opens the directory that holds the last component of `path`, made when missing, and that component.
    pub fn parent_of(&self, path: &CStr) -> Result<(OwnedFd, CString), Failure> {
        let bytes = path.to_bytes();
        let (parent, name) = match bytes.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&bytes[..slash], &bytes[slash + 1..]),
            None => (&b"."[..], bytes),
        };
        if matches!(name, b"" | b"." | b"..") {
            return Err(Failure::of(Call::Openat, Errno::EINVAL).with(bytes));
        }
        Ok((self.make_directories(&component(parent)?)?, component(name)?))
    }

    /// Follows `path` by hand as far as it exists.
    fn find_missing(&self, path: &CStr) -> Result<Missing, Failure> {
        let mut base: Vec<u8> = Vec::new();
        let mut todo: Vec<Vec<u8>> = components(path.to_bytes());
        let mut links = 0;
        let mut target = [0u8; libc::PATH_MAX as usize];
        while let Some(name) = todo.pop() {
            if name == b".." {
                base.truncate(base.iter().rposition(|b| *b == b'/').unwrap_or(0));
                continue;
            }
            let directory = self.open_plain(&base)?;
            let c_name = component(&name)?;
            let stat = match path::statx(directory.as_fd(), &c_name, libc::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) => {
                    todo.push(name);
                    todo.reverse();
                    if todo.iter().any(|name| name == b"..") {
                        return Err(Failure::of(Call::Openat, Errno::ENOENT).with(path.to_bytes()));
                    }
                    return Ok(Missing { base, rest: todo });
                }
                other => other.call(Call::Statx).map_err(|f| f.with(&name))?,
            };
            if stat.is_symlink() {
                links += 1;
                // The text of a magic link is no path to follow; `self` and `thread-self` are ordinary links.
                let plain = matches!(name.as_slice(), b"self" | b"thread-self");
                let magic =
                    !plain && path::file_system(directory.as_fd()).call(Call::Statfs)? == procfs::MAGIC;
                if magic || links > MOST_LINKS {
                    return Err(Failure::of(Call::Openat, Errno::ELOOP).with(path.to_bytes()));
                }
                let link =
                    path::readlinkat(directory.as_fd(), &c_name, &mut target).call(Call::Readlinkat)?;
                if link.first() == Some(&b'/') {
                    base.clear();
                }
                todo.extend(components(link));
            } else if !stat.is_dir() && !todo.is_empty() {
                return Err(Failure::of(Call::Openat, Errno::ENOTDIR).with(&name));
            } else {
                if !base.is_empty() {
                    base.push(b'/');
                }
                base.extend_from_slice(&name);
            }
        }
        Ok(Missing { base, rest: Vec::new() })
    }

    /// Opens a path that was just found to have no links. One that has some now is an attack.
    fn open_plain(&self, base: &[u8]) -> Result<OwnedFd, Failure> {
        let path = if base.is_empty() { c".".to_owned() } else { component(base)? };
        self.open_real_directory(&path).call(Call::Openat).map_err(|f| f.with(base))
    }

    /// Makes directories below `base`, which others may read.
    fn make_missing(&self, base: &[u8], rest: &[Vec<u8>]) -> Result<OwnedFd, Failure> {
        const MODE: u32 = 0o755;
        let mut directory = self.open_plain(base)?;
        for name in rest {
            let name = component(name)?;
            let made = match path::mkdirat(directory.as_fd(), &name, MODE) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(errno) => return Err(Failure::of(Call::Mkdirat, errno).with(name.to_bytes())),
            };
            let child = open_child(directory.as_fd(), &name, libc::O_DIRECTORY)?;
            // A directory inherits the set-group-id bit of the one around it.
            if made && path::stat_fd(child.as_fd()).call(Call::Statx)?.mode & 0o7777 != MODE {
                path::chmodat(directory.as_fd(), &name, MODE).call(Call::Chmod)?;
            }
            directory = child;
        }
        Ok(directory)
    }
}

/// Opens an entry that was just made; a link in its place is refused.
pub fn open_child(parent: BorrowedFd, name: &CStr, flags: i32) -> Result<OwnedFd, Failure> {
    path::openat2(
        parent,
        name,
        libc::O_PATH | libc::O_NOFOLLOW | flags,
        0,
        resolve::BENEATH | resolve::NO_SYMLINKS | resolve::NO_MAGICLINKS,
    )
    .call(Call::Openat)
    .map_err(|failure| failure.with(name.to_bytes()))
}

/// The components of a path in reverse, so that the first is popped first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec).rev().collect()
}

fn component(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| Failure::of(Call::Openat, Errno::EINVAL))
}
