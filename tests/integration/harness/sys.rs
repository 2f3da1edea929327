//! The unsafe part of the tests, all of it: descriptors that arrive as numbers, and system calls that no crate
//! wraps.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// `MOUNT_ATTR_RDONLY` of mount_setattr(2).
const MOUNT_ATTR_RDONLY: u64 = 0x1;

/// Owns a descriptor that the kernel has just put into a control message.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the number comes from SCM_RIGHTS of a message that was received just now, and its receiver, the
    // only caller of this function, gives it to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Lets the keyboard's signal end this process and what it starts: a shell ignores it in what runs in the background,
/// and a program that starts with it ignored leaves it so.
pub fn heed_interrupts() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
}

/// Makes a system call without arguments and returns its errno, 0 when it succeeded.
pub fn raw_syscall(number: i64) -> i32 {
    // SAFETY: callers pass numbers that no kernel knows, or that take no arguments and touch no memory.
    let result = unsafe { libc::syscall(number) };
    if result == -1 { io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
}

/// Loads a seccomp filter that gives an errno to one call and allows all others. Returns 0, or the errno of that.
pub fn refuse_call(number: u32, errno: u32) -> i32 {
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // ld nr; jeq number; ret ERRNO; ret ALLOW
    let mut filter = [
        instruction(0x20, 0, 0, 0),
        instruction(0x15, 0, 1, number),
        instruction(0x06, 0, 0, 0x0005_0000 | errno),
        instruction(0x06, 0, 0, 0x7fff_0000),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which lives through the call; the other call takes numbers.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    if result == 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap_or(-1) }
}

/// Lets calls run that wait for the listener of a seccomp filter, until no process has the filter any more. Returns
/// how many there were.
pub fn let_calls_run(listener: std::os::fd::BorrowedFd) -> u32 {
    use std::os::fd::AsRawFd;
    const RECV: libc::c_ulong = 0xc050_2100;
    const SEND: libc::c_ulong = 0xc018_2101;
    let mut count = 0;
    loop {
        let mut waiting = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let mut call = [0u64; 10];
        // SAFETY: one element is announced, and lives through the call.
        let ready = unsafe { libc::poll(&raw mut waiting, 1, 10_000) };
        if ready != 1 || waiting.revents & libc::POLLIN == 0 {
            return count;
        }
        // SAFETY: both arguments have the size that is part of the request (80 and 24 bytes), and live through it.
        unsafe {
            if libc::ioctl(listener.as_raw_fd(), RECV, call.as_mut_ptr()) == 0 {
                count += 1;
                // The id, no value, SECCOMP_USER_NOTIF_FLAG_CONTINUE in the upper half.
                let answer = [call[0], 0, 1 << 32];
                libc::ioctl(listener.as_raw_fd(), SEND, answer.as_ptr());
            }
        }
    }
}

/// Makes the mount at `path`, and every mount below it, read-only.
pub fn make_tree_read_only(path: &Path) -> io::Result<()> {
    mount_setattr(path, libc::AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0)
}

/// Makes the one mount at `path` writable.
pub fn make_mount_writable(path: &Path) -> io::Result<()> {
    mount_setattr(path, 0, 0, MOUNT_ATTR_RDONLY)
}

/// Binds `source` on `target` with the ids that a user namespace maps, as engines do for a root file system.
pub fn bind_mapped(source: &Path, target: &Path, namespace: BorrowedFd) -> io::Result<()> {
    const OPEN_TREE_CLONE: i32 = 1;
    const MOVE_MOUNT_F_EMPTY_PATH: i32 = 4;
    const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
    let (source, target) =
        (CString::new(source.as_os_str().as_bytes())?, CString::new(target.as_os_str().as_bytes())?);
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC;
    // SAFETY: `source` is a C string, which the kernel reads during the call.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, source.as_ptr(), flags) };
    if tree < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has made the descriptor just now, for nobody else.
    let tree = unsafe { OwnedFd::from_raw_fd(tree as RawFd) };
    let attr = MountAttr { userns_fd: namespace.as_raw_fd() as u64, ..MountAttr::default() };
    let attr = MountAttr { attr_set: MOUNT_ATTR_IDMAP, ..attr };
    set_attributes(tree.as_raw_fd(), c"", libc::AT_EMPTY_PATH, &attr)?;
    // SAFETY: both paths are C strings, which the kernel reads during the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn mount_setattr(path: &Path, flags: i32, attr_set: u64, attr_clr: u64) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    set_attributes(libc::AT_FDCWD, &path, flags, &MountAttr { attr_set, attr_clr, ..MountAttr::default() })
}

fn set_attributes(directory: RawFd, path: &CStr, flags: i32, attr: &MountAttr) -> io::Result<()> {
    // SAFETY: `path` is a C string and `attr` a `struct mount_attr` of the size given; the kernel reads both
    // during the call and keeps neither.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory,
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Marks every descriptor but the standard ones as close-on-exec.
pub fn close_others_on_exec() -> io::Result<()> {
    // SAFETY: no pointer is passed; the call changes a flag of descriptors and closes none.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets a program have the standard descriptors only. A test in another thread may have just opened a descriptor
/// that is not close-on-exec, such as a terminal.
pub fn keep_streams_only(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(close_others_on_exec) };
}
