//! openat2(2), statx(2) and the calls that make one directory entry below an open directory.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, Result, check};

/// Resolve flags of openat2(2).
pub mod resolve {
    /// Do not cross mount points.
    pub const NO_XDEV: u64 = 0x01;
    /// Do not follow the links of procfs that jump (`/proc/PID/fd/N`).
    pub const NO_MAGICLINKS: u64 = 0x02;
    /// Do not follow symbolic links at all.
    pub const NO_SYMLINKS: u64 = 0x04;
    /// Refuse to leave the directory.
    pub const BENEATH: u64 = 0x08;
    /// Treat the directory as the root: absolute links and `..` stay inside.
    pub const IN_ROOT: u64 = 0x10;
}

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// openat2(2): opens `path` relative to `dirfd` under the given resolve flags. O_CLOEXEC is always added.
///
/// Errors: EAGAIN (a rename raced with `..`) is retried up to 128 times; ELOOP and EXDEV mean that the path
/// leaves what `resolve` permits.
pub fn openat2(dirfd: BorrowedFd, path: &CStr, flags: i32, mode: u32, resolve: u64) -> Result<OwnedFd> {
    let how = OpenHow { flags: (flags | libc::O_CLOEXEC) as u64, mode: mode.into(), resolve };
    let mut tries = 0;
    loop {
        // SAFETY: openat2(2) reads the path up to its NUL and `how` by its size during the call only.
        let returned = check(unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dirfd.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<OpenHow>(),
            )
        });
        match returned {
            // SAFETY: the kernel has just made this descriptor for us, nobody else owns it.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
            Err(Errno::EAGAIN) if tries < 128 => tries += 1,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The working directory as a `dirfd`.
pub fn cwd_fd() -> BorrowedFd<'static> {
    // SAFETY: AT_FDCWD is no descriptor that can be closed; the *at calls take it in the place of one.
    unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
}

/// Opens `path` of the host with O_PATH, links followed: for paths that the configuration names.
pub fn open_host_path(path: &CStr, flags: i32) -> Result<OwnedFd> {
    openat2(cwd_fd(), path, libc::O_PATH | flags, 0, 0)
}

/// What [`statx`] tells of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// File type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device that holds the inode: major, minor.
    pub device: (u32, u32),
    /// Inode number.
    pub inode: u64,
    /// For device nodes: major, minor.
    pub rdev: (u32, u32),
    /// Number of the mount.
    pub mount_id: u64,
    /// Number of hard links.
    pub links: u32,
}

impl Stat {
    /// The file type bits (S_IFMT).
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    /// True for a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    /// True for a device node.
    pub fn is_device(&self) -> bool {
        matches!(self.kind(), libc::S_IFCHR | libc::S_IFBLK)
    }

    /// True for a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind() == libc::S_IFLNK
    }

    /// True when this is the character device `major`:`minor`.
    pub fn is_char_device(&self, major: u32, minor: u32) -> bool {
        self.kind() == libc::S_IFCHR && self.rdev == (major, minor)
    }

    /// True when both are the same inode.
    pub fn same_inode(&self, other: &Stat) -> bool {
        self.device == other.device && self.inode == other.inode
    }
}

/// statx(2) of an open descriptor, O_PATH included.
pub fn stat_fd(fd: BorrowedFd) -> Result<Stat> {
    statx(fd, c"", libc::AT_EMPTY_PATH)
}

/// statx(2) of one name below `dirfd`; `flags` such as AT_SYMLINK_NOFOLLOW.
pub fn statx(dirfd: BorrowedFd, path: &CStr, flags: i32) -> Result<Stat> {
    const STATX_MNT_ID: u32 = 0x1000;
    let buffer = raw_statx(dirfd, path, flags, libc::STATX_BASIC_STATS | STATX_MNT_ID)?;
    Ok(Stat {
        mode: buffer.stx_mode.into(),
        uid: buffer.stx_uid,
        gid: buffer.stx_gid,
        device: (buffer.stx_dev_major, buffer.stx_dev_minor),
        inode: buffer.stx_ino,
        rdev: (buffer.stx_rdev_major, buffer.stx_rdev_minor),
        mount_id: buffer.stx_mnt_id,
        links: buffer.stx_nlink,
    })
}

/// The number of the mount of an open descriptor that no other mount gets until the next boot. Linux 6.8, `None`
/// before.
pub fn lasting_mount_id(fd: BorrowedFd) -> Result<Option<u64>> {
    const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
    let buffer = raw_statx(fd, c"", libc::AT_EMPTY_PATH, STATX_MNT_ID_UNIQUE)?;
    Ok((buffer.stx_mask & STATX_MNT_ID_UNIQUE != 0).then_some(buffer.stx_mnt_id))
}

fn raw_statx(dirfd: BorrowedFd, path: &CStr, flags: i32, mask: u32) -> Result<libc::statx> {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut buffer: libc::statx = unsafe { std::mem::zeroed() };
    // By number: std declares statx(2) as a weak symbol, and link-time optimisation makes this use of it weak too;
    // the static linker then leaves its address 0.
    // SAFETY: the path ends in NUL and the buffer is large enough and lives through the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_statx,
            dirfd.as_raw_fd(),
            path.as_ptr(),
            flags | libc::AT_NO_AUTOMOUNT,
            mask,
            &raw mut buffer,
        )
    })?;
    Ok(buffer)
}

/// Magic number of the file system that holds `fd` (fstatfs(2)).
pub fn file_system(fd: BorrowedFd) -> Result<i64> {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut buffer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the buffer lives through the call.
    check(unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut buffer) }.into())?;
    Ok(buffer.f_type as i64)
}

/// Flags of the mount that holds `fd` (fstatvfs(3), ST_*).
pub fn mount_flags(fd: BorrowedFd) -> Result<u64> {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut buffer: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the buffer lives through the call.
    check(unsafe { libc::fstatvfs(fd.as_raw_fd(), &raw mut buffer) }.into())?;
    Ok(buffer.f_flag as u64)
}

/// mkdirat(2) of one name.
pub fn mkdirat(dirfd: BorrowedFd, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: the name ends in NUL and is only read.
    check(unsafe { libc::mkdirat(dirfd.as_raw_fd(), name.as_ptr(), mode) }.into()).map(drop)
}

/// mknodat(2) of one name; `mode` with the file type, `rdev` as major and minor.
pub fn mknodat(dirfd: BorrowedFd, name: &CStr, mode: u32, rdev: (u32, u32)) -> Result<()> {
    let device = libc::makedev(rdev.0, rdev.1);
    // SAFETY: the name ends in NUL and is only read.
    check(unsafe { libc::mknodat(dirfd.as_raw_fd(), name.as_ptr(), mode, device) }.into()).map(drop)
}

/// symlinkat(2).
pub fn symlinkat(target: &CStr, dirfd: BorrowedFd, name: &CStr) -> Result<()> {
    // SAFETY: both strings end in NUL and are only read.
    check(unsafe { libc::symlinkat(target.as_ptr(), dirfd.as_raw_fd(), name.as_ptr()) }.into()).map(drop)
}

/// unlinkat(2); `flags` 0 or AT_REMOVEDIR.
pub fn unlinkat(dirfd: BorrowedFd, name: &CStr, flags: i32) -> Result<()> {
    // SAFETY: the name ends in NUL and is only read.
    check(unsafe { libc::unlinkat(dirfd.as_raw_fd(), name.as_ptr(), flags) }.into()).map(drop)
}

/// readlinkat(2) into `buffer`; returns the used part. An empty `name` reads the link that `dirfd` is.
pub fn readlinkat<'b>(dirfd: BorrowedFd, name: &CStr, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into the buffer.
    let length = check(unsafe {
        libc::readlinkat(dirfd.as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
    } as libc::c_long)?;
    if length as usize >= buffer.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    Ok(&buffer[..length as usize])
}

/// fchownat(2) of an open descriptor, O_PATH included. `u32::MAX` leaves an id as it is.
pub fn chown_fd(fd: BorrowedFd, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: the empty path is a constant; only numbers are passed besides.
    check(unsafe { libc::fchownat(fd.as_raw_fd(), c"".as_ptr(), uid, gid, libc::AT_EMPTY_PATH) }.into())
        .map(drop)
}

/// Changes the mode of one name below `dirfd`, which must not be a symbolic link.
///
/// fchmodat2(2) with AT_SYMLINK_NOFOLLOW came with Linux 6.6; before it the name is opened with O_NOFOLLOW and
/// only regular files and directories can be changed without going through procfs.
pub fn chmodat(dirfd: BorrowedFd, name: &CStr, mode: u32) -> Result<()> {
    const SYS_FCHMODAT2: libc::c_long = 452;
    // SAFETY: the name ends in NUL and is only read.
    let returned = check(unsafe {
        libc::syscall(SYS_FCHMODAT2, dirfd.as_raw_fd(), name.as_ptr(), mode, libc::AT_SYMLINK_NOFOLLOW)
    });
    if returned != Err(Errno::ENOSYS) {
        return returned.map(drop);
    }
    let before = statx(dirfd, name, libc::AT_SYMLINK_NOFOLLOW)?;
    if before.is_symlink() {
        return Err(Errno::ELOOP);
    }
    // SAFETY: the name ends in NUL and is only read.
    check(unsafe { libc::fchmodat(dirfd.as_raw_fd(), name.as_ptr(), mode, 0) }.into()).map(drop)
}

/// fchmod(2).
pub fn fchmod(fd: BorrowedFd, mode: u32) -> Result<()> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::fchmod(fd.as_raw_fd(), mode) }.into()).map(drop)
}

/// fchdir(2).
pub fn fchdir(fd: BorrowedFd) -> Result<()> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::fchdir(fd.as_raw_fd()) }.into()).map(drop)
}

/// chdir(2) to the root directory of the process.
pub fn chdir_root() -> Result<()> {
    // SAFETY: the path is a constant.
    check(unsafe { libc::chdir(c"/".as_ptr()) }.into()).map(drop)
}

/// chroot(2) to the working directory.
pub fn chroot_here() -> Result<()> {
    // SAFETY: the path is a constant.
    check(unsafe { libc::chroot(c".".as_ptr()) }.into()).map(drop)
}

/// getcwd(2) as the kernel says it: a directory outside the root starts with `(unreachable)`.
pub fn getcwd(buffer: &mut [u8]) -> Result<&[u8]> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into the buffer.
    let length =
        check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })? as usize;
    Ok(&buffer[..length.saturating_sub(1)])
}

/// faccessat(2) with AT_EACCESS: may the process with its effective ids execute this name?
pub fn may_execute(dirfd: BorrowedFd, path: &CStr) -> Result<()> {
    const SYS_FACCESSAT2: libc::c_long = 439;
    // SAFETY: the path ends in NUL and is only read.
    check(unsafe {
        libc::syscall(SYS_FACCESSAT2, dirfd.as_raw_fd(), path.as_ptr(), libc::X_OK, libc::AT_EACCESS)
    })
    .map(drop)
}

/// The same of an open descriptor, O_PATH included; `mode` is R_OK, W_OK, X_OK or a sum of them.
pub fn may(fd: BorrowedFd, mode: i32) -> Result<()> {
    const SYS_FACCESSAT2: libc::c_long = 439;
    // SAFETY: the empty path is a constant; only numbers are passed besides.
    check(unsafe {
        libc::syscall(
            SYS_FACCESSAT2,
            fd.as_raw_fd(),
            c"".as_ptr(),
            mode,
            libc::AT_EACCESS | libc::AT_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// The content of a file that does not tell its size, as those of procfs: one read(2) where it fits into a page, and
/// one that finds the end. What the standard library does for such files begins with 32 bytes.
pub fn read_unsized(path: impl AsRef<std::path::Path>) -> std::io::Result<Vec<u8>> {
    read_to_end(std::fs::File::open(path)?, u64::MAX)
}

/// The same for an open file, up to `most` bytes.
pub fn read_to_end(file: std::fs::File, most: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut content = Vec::with_capacity(4096);
    file.take(most).read_to_end(&mut content)?;
    Ok(content)
}

/// The same as text.
pub fn read_text(path: impl AsRef<std::path::Path>) -> std::io::Result<String> {
    use std::io::{Error, ErrorKind};
    String::from_utf8(read_unsized(path)?).map_err(|error| Error::new(ErrorKind::InvalidData, error))
}
