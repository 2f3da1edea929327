//! The mount API of file descriptors: open_tree(2), fsopen(2), fsconfig(2), fsmount(2), mount_setattr(2),
//! move_mount(2), and pivot_root(2), umount2(2).

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, Result, check};

pub use crate::abi::{attr, propagation};

const AT_RECURSIVE: u32 = 0x8000;
const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC as u32;

/// open_tree(2) with OPEN_TREE_CLONE: a detached copy of the mount at `path`, with everything below it when
/// `recursive`. An empty path copies the mount of `dirfd` itself. `flags`: 0 or AT_SYMLINK_NOFOLLOW.
pub fn open_tree_clone(dirfd: BorrowedFd, path: &CStr, recursive: bool, flags: i32) -> Result<OwnedFd> {
    let empty = if path.is_empty() { libc::AT_EMPTY_PATH as u32 } else { 0 };
    let all =
        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | empty | flags as u32 | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path ends in NUL and is only read.
    let fd = check(unsafe { libc::syscall(libc::SYS_open_tree, dirfd.as_raw_fd(), path.as_ptr(), all) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// move_mount(2): attaches the detached mount `tree` onto the inode that `target` is.
pub fn move_mount(tree: BorrowedFd, target: BorrowedFd) -> Result<()> {
    const F_EMPTY_PATH: u32 = 0x4;
    const T_EMPTY_PATH: u32 = 0x40;
    // SAFETY: both paths are constants.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            F_EMPTY_PATH | T_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// What mount_setattr(2) is to change. All zero changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear first.
    pub clear: u64,
    /// One of [`propagation`], or 0.
    pub propagation: u64,
}

impl Change {
    /// True when nothing is to be done.
    pub fn is_empty(&self) -> bool {
        *self == Change::default()
    }
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// mount_setattr(2) on the mount that `mount` is, and on everything below it when `recursive`.
///
/// Errors: EPERM when an attribute is locked by the user namespace that owns the mount; EINVAL when `mount` is
/// not the root of a mount or the kernel does not know an attribute.
pub fn mount_setattr(mount: BorrowedFd, recursive: bool, change: Change) -> Result<()> {
    set_attributes(mount, recursive, change, 0)
}

/// mount_setattr(2) that maps ids through the user namespace `userns`. Linux 5.12, per file system.
pub fn mount_setattr_idmap(mount: BorrowedFd, recursive: bool, userns: BorrowedFd) -> Result<()> {
    let change = Change { set: attr::IDMAP, ..Change::default() };
    set_attributes(mount, recursive, change, userns.as_raw_fd() as u64)
}

fn set_attributes(mount: BorrowedFd, recursive: bool, change: Change, userns_fd: u64) -> Result<()> {
    let attr = MountAttr { set: change.set, clear: change.clear, propagation: change.propagation, userns_fd };
    let flags = libc::AT_EMPTY_PATH as u32 | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the struct is read by its size during the call only; the path is a constant.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// fsopen(2): a context to configure a new file system instance of `fstype`.
pub fn fsopen(fstype: &CStr) -> Result<OwnedFd> {
    const FSOPEN_CLOEXEC: u32 = 1;
    // SAFETY: the string ends in NUL and is only read.
    let fd = check(unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), FSOPEN_CLOEXEC) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn fsconfig(
    context: BorrowedFd,
    command: u32,
    key: Option<&CStr>,
    value: Option<&CStr>,
    number: i32,
) -> Result<()> {
    let pointer = |s: Option<&CStr>| s.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: the strings end in NUL and are only read; null where the command takes none.
    check(unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, pointer(key), pointer(value), number)
    })
    .map(drop)
}

/// fsconfig(2) with FSCONFIG_SET_FLAG.
pub fn fsconfig_flag(context: BorrowedFd, key: &CStr) -> Result<()> {
    fsconfig(context, 0, Some(key), None, 0)
}

/// fsconfig(2) with FSCONFIG_SET_STRING.
pub fn fsconfig_string(context: BorrowedFd, key: &CStr, value: &CStr) -> Result<()> {
    fsconfig(context, 1, Some(key), Some(value), 0)
}

/// fsconfig(2) with FSCONFIG_SET_FD: a parameter that is an open file.
pub fn fsconfig_fd(context: BorrowedFd, key: &CStr, file: BorrowedFd) -> Result<()> {
    fsconfig(context, 5, Some(key), None, file.as_raw_fd())
}

/// fsconfig(2) with FSCONFIG_CMD_CREATE.
pub fn fsconfig_create(context: BorrowedFd) -> Result<()> {
    fsconfig(context, 6, None, None, 0)
}

/// fsmount(2): a detached mount of the configured instance with these attributes.
pub fn fsmount(context: BorrowedFd, attributes: u64) -> Result<OwnedFd> {
    const FSMOUNT_CLOEXEC: u32 = 1;
    // SAFETY: only numbers are passed.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes as u32)
    })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The longest string that fsconfig(2) takes, in bytes.
pub const LONGEST_VALUE: usize = 255;

/// The longest text of options that mount(2) takes, in bytes.
pub const LONGEST_OPTIONS: usize = 4095;

/// mount(2) of a new instance of `fstype` onto the working directory, which stays where it is, below the mount.
/// `attributes` are those of fsmount(2).
pub fn mount_here(source: &CStr, fstype: &CStr, attributes: u64, options: &CStr) -> Result<()> {
    let flags = [
        (attr::RDONLY, libc::MS_RDONLY),
        (attr::NOSUID, libc::MS_NOSUID),
        (attr::NODEV, libc::MS_NODEV),
        (attr::NOEXEC, libc::MS_NOEXEC),
        (attr::NOATIME, libc::MS_NOATIME),
        (attr::STRICTATIME, libc::MS_STRICTATIME),
        (attr::NODIRATIME, libc::MS_NODIRATIME),
    ];
    let set = flags.into_iter().filter(|(bit, _)| attributes & bit != 0).fold(0, |all, (_, flag)| all | flag);
    // SAFETY: all strings end in NUL and are only read.
    check(
        unsafe { libc::mount(source.as_ptr(), c".".as_ptr(), fstype.as_ptr(), set, options.as_ptr().cast()) }
            .into(),
    )
    .map(drop)
}

/// The kernel's own explanation of the last failure of a file system context: read(2) on it.
///
/// Messages start with a letter for the severity and a blank; the last one of severity `e` is returned, or the
/// last of any. Empty when the kernel said nothing.
pub fn context_message<'b>(context: BorrowedFd, buffer: &'b mut [u8]) -> &'b [u8] {
    let half = buffer.len() / 2;
    let (kept, incoming) = buffer.split_at_mut(half);
    let mut length = 0;
    let mut found_error = false;
    loop {
        // SAFETY: the kernel writes at most `incoming.len()` bytes into the buffer.
        let got = unsafe { libc::read(context.as_raw_fd(), incoming.as_mut_ptr().cast(), incoming.len()) };
        if got <= 2 {
            break;
        }
        let is_error = incoming[0] == b'e';
        if is_error || !found_error {
            let text = &incoming[2..got as usize];
            kept[..text.len()].copy_from_slice(text);
            length = text.len();
            found_error |= is_error;
        }
    }
    while length > 0 && kept[length - 1].is_ascii_whitespace() {
        length -= 1;
    }
    &buffer[..length]
}

/// pivot_root(".", "."): the mount at the working directory becomes the root, the old root lies on top of it.
pub fn pivot_root_here() -> Result<()> {
    // SAFETY: both paths are constants.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}

/// umount2(".", MNT_DETACH).
pub fn detach_here() -> Result<()> {
    // SAFETY: the path is a constant.
    check(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }.into()).map(drop)
}

/// umount2(2) with MNT_DETACH of the mount that `mount` is, and of everything on it.
///
/// Errors: EINVAL when it is not mounted in this namespace.
pub fn detach(mount: BorrowedFd) -> Result<()> {
    let path = CString::new(format!("/proc/self/fd/{}", mount.as_raw_fd())).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the path ends in NUL and is only read.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }.into()).map(drop)
}

/// statmount(2): whether a mount with this lasting number is in the mount namespace of the caller. Linux 6.8.
pub fn exists(lasting_mount_id: u64) -> Result<bool> {
    const SYS_STATMOUNT: libc::c_long = 457;
    const STATMOUNT_SB_BASIC: u64 = 1;
    /// `struct mnt_id_req`, version 0.
    #[repr(C)]
    struct Request {
        size: u32,
        spare: u32,
        mount_id: u64,
        parameter: u64,
    }
    let request = Request {
        size: size_of::<Request>() as u32,
        spare: 0,
        mount_id: lasting_mount_id,
        parameter: STATMOUNT_SB_BASIC,
    };
    let mut buffer = [0u64; 128];
    // SAFETY: the request is read by its size and the buffer written up to its length, both during the call only.
    let done = unsafe {
        libc::syscall(SYS_STATMOUNT, &raw const request, buffer.as_mut_ptr(), size_of_val(&buffer), 0)
    };
    match check(done) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// mount(2) with MS_MOVE of the working directory onto the root directory, for --no-pivot.
pub fn move_here_onto_root() -> Result<()> {
    // SAFETY: all strings are constants.
    check(
        unsafe {
            libc::mount(c".".as_ptr(), c"/".as_ptr(), std::ptr::null(), libc::MS_MOVE, std::ptr::null())
        }
        .into(),
    )
    .map(drop)
}

/// True when the errno says that the kernel lacks the call, not that it refused this one.
pub fn is_missing(errno: Errno) -> bool {
    errno == Errno::ENOSYS
}
