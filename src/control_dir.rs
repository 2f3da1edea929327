//! One directory of a file system of the kernel whose files are switches, held open.
//!
//! Everything goes through the descriptor: what is below a directory is looked up from it, and cannot leave it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::{Dir as Entries, Type};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode as Permissions;
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::UnlinkatFlags;

use crate::error::{Errno, Error, Result};

/// The longest file that is read; `memory.stat` has some 5 KiB, `cgroup.procs` may be long.
const LONGEST_FILE: usize = 64 << 20;

/// An open directory.
#[derive(Debug)]
pub struct ControlDir {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for ControlDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl ControlDir {
    /// Opens the root of a file system, and tells of which kind it is.
    pub fn open_root(path: &Path) -> std::result::Result<(ControlDir, FsType), Errno> {
        let how = OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let fd = nix::fcntl::openat2(nix::fcntl::AT_FDCWD, path, how)?;
        let kind = fstatfs(&fd)?.filesystem_type();
        Ok((ControlDir { fd, path: path.to_owned() }, kind))
    }

    /// Where the directory was when it was opened, for messages and for the state.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_beneath(&self, name: &OsStr, flags: OFlag) -> std::result::Result<OwnedFd, Errno> {
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
        loop {
            match nix::fcntl::openat2(&self.fd, name, how) {
                // EAGAIN: a rename elsewhere made the walk unsafe; EINTR: a signal.
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    /// Opens a directory below, given by one name or several.
    pub fn child(&self, name: impl AsRef<OsStr>) -> std::result::Result<ControlDir, Errno> {
        let name = name.as_ref();
        let fd = self.open_beneath(name, OFlag::O_DIRECTORY | OFlag::O_RDONLY)?;
        Ok(ControlDir { fd, path: self.path.join(name) })
    }

    /// Opens the directory once more, so that two holders can each close theirs.
    pub fn reopen(&self) -> std::result::Result<ControlDir, Errno> {
        let fd = self.open_beneath(OsStr::new("."), OFlag::O_DIRECTORY | OFlag::O_RDONLY)?;
        Ok(ControlDir { fd, path: self.path.clone() })
    }

    /// Opens a file of the directory, to wait for its events.
    pub fn open_file(&self, name: &str, flags: OFlag) -> std::result::Result<OwnedFd, Errno> {
        self.open_beneath(OsStr::new(name), flags)
    }

    /// Makes a directory. EEXIST when it is there.
    pub fn make_child(&self, name: &str) -> std::result::Result<(), Errno> {
        // The umask of the caller might hide it from the caller itself, when that is not root.
        let umask = nix::sys::stat::umask(Permissions::from_bits_truncate(0o022));
        let made = nix::sys::stat::mkdirat(&self.fd, name, Permissions::from_bits_truncate(0o755));
        nix::sys::stat::umask(umask);
        made
    }

    /// Removes an empty directory.
    pub fn remove_child(&self, name: impl AsRef<OsStr>) -> std::result::Result<(), Errno> {
        nix::unistd::unlinkat(&self.fd, name.as_ref(), UnlinkatFlags::RemoveDir)
    }

    /// The names of the directories directly below. They are of the container's choice, and any bytes.
    pub fn children(&self) -> std::result::Result<Vec<OsString>, Errno> {
        self.entries(Type::Directory)
    }

    /// The names of the files of the directory.
    pub fn files(&self) -> std::result::Result<Vec<String>, Errno> {
        let names = self.entries(Type::File)?;
        Ok(names.iter().map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn entries(&self, kind: Type) -> std::result::Result<Vec<OsString>, Errno> {
        let fd = self.open_beneath(OsStr::new("."), OFlag::O_DIRECTORY | OFlag::O_RDONLY)?;
        let mut names = Vec::new();
        for entry in Entries::from_fd(fd)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if entry.file_type() == Some(kind) && name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// The content of a file.
    pub fn read(&self, file: &str) -> std::result::Result<String, Errno> {
        let fd = self.open_beneath(OsStr::new(file), OFlag::O_RDONLY)?;
        read_all(&fd)
    }

    /// Writes one value in one write.
    pub fn write(&self, file: &str, value: &str) -> std::result::Result<(), Errno> {
        let fd = self.open_beneath(OsStr::new(file), OFlag::O_WRONLY)?;
        loop {
            match nix::unistd::write(&fd, value.as_bytes()) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(written) if written == value.len() => return Ok(()),
                // The kernel takes a value as a whole or not at all; half a value is not what was asked for.
                Ok(_) => return Err(Errno::EIO),
            }
        }
    }

    /// Whether the directory has a file of this name.
    pub fn has(&self, file: &str) -> bool {
        self.open_beneath(OsStr::new(file), OFlag::O_PATH).is_ok()
    }

    /// As [`Dir::read`], with an error that names the file.
    pub fn read_file(&self, file: &str) -> Result<String> {
        self.read(file).map_err(|errno| self.error("read", file, "read(2)", errno))
    }

    /// As [`Dir::write`], with an error that names file and value.
    pub fn write_file(&self, file: &str, value: &str) -> Result<()> {
        self.write(file, value).map_err(|errno| {
            let what = format!("write {:?} to", value.trim_end());
            self.error(&what, file, "write(2)", errno)
        })
    }

    /// An error of the kernel about one file of the directory.
    pub fn error(&self, what: &str, file: &str, call: &'static str, errno: Errno) -> Error {
        Error::kernel(format!("{what} {}", self.path.join(file).display()), call, errno)
    }

    /// Gives the directory or one of its files to another owner.
    pub fn change_owner(
        &self,
        file: Option<&str>,
        uid: u32,
        gid: Option<u32>,
    ) -> std::result::Result<(), Errno> {
        let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
        nix::unistd::fchownat(&self.fd, file.unwrap_or("."), Some(uid.into()), gid.map(Into::into), flags)
    }
}

/// Reads a file from where its descriptor stands to its end.
pub fn read_all(fd: &OwnedFd) -> std::result::Result<String, Errno> {
    let mut content = Vec::with_capacity(4096);
    let mut buffer = [0_u8; 4096];
    loop {
        match nix::unistd::read(fd, &mut buffer) {
            Ok(0) => break,
            Ok(count) => content.extend_from_slice(&buffer[..count]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        if content.len() > LONGEST_FILE {
            return Err(Errno::EFBIG);
        }
    }
    Ok(String::from_utf8_lossy(&content).into_owned())
}
