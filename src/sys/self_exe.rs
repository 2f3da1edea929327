//! Runs the program from a copy that no container can write or execute.
//!
//! A process in the container can reach the executable of a process that enters it, through /proc/PID/exe.
//! So a command that enters a container first executes itself again from a detached, read-only mount of its own
//! file, sets NOEXEC on that mount and closes the last descriptor to it: from then on nobody can change the
//! mount, writing gives EROFS and executing EACCES. CVE-2019-5736.
//!
//! Whether this has happened is read off the kernel (mount flags, dissolved mount, file seals), never off the
//! environment alone.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use super::exec::execve_fd;
use super::mount::{Change, attr, mount_setattr, open_tree_clone};
use super::{Errno, Result, check, fd, path, process};
use crate::abi::StringList;

/// Commands whose process, or a child of it, enters a container.
pub const ENTERING: [&str; 5] = ["create", "run", "exec", "record", "why"];

/// The variable that carries the descriptor of the mount from the first image to the second.
pub const VARIABLE: &str = "_TEU_EXE_FD";

const ST_RDONLY: u64 = 1;
const ST_NOEXEC: u64 = 8;
const ALL_SEALS: i32 = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// Returns when this process runs from a sealed copy; executes the program again when it does not yet.
///
/// Errors: what the last method, a sealed memfd, failed with; the caller must not go on then.
pub fn seal() -> Result<()> {
    let exe = own_exe()?;
    let inherited = take_variable().and_then(fd::adopt);
    let is_second = inherited.is_some();
    if let Some(mount) = inherited {
        finish(exe.as_fd(), mount)?;
    }
    if is_sealed()? {
        return process::set_name(c"teu");
    }
    if is_second {
        return Err(Errno::ELOOP);
    }
    match from_detached_mount(exe.as_fd()) {
        // No privilege over the mount, or no such call: the copy in memory needs neither.
        Err(Errno::EPERM | Errno::ENOSYS | Errno::EINVAL) => from_memory(),
        other => other,
    }
}

/// True when the executable of this process can be neither written nor executed by anybody any more.
pub fn is_sealed() -> Result<bool> {
    let exe = own_exe()?;
    let flags = path::mount_flags(exe.as_fd())?;
    if flags & ST_RDONLY != 0 && flags & ST_NOEXEC != 0 {
        // The flags could be cleared again while the mount is reachable; EINVAL says that it is not.
        let probe = Change { set: attr::NOEXEC, ..Change::default() };
        return Ok(mount_setattr(exe.as_fd(), false, probe) == Err(Errno::EINVAL));
    }
    let readable = path::openat2(path::cwd_fd(), c"/proc/self/exe", libc::O_RDONLY, 0, 0)?;
    // SAFETY: only numbers are passed.
    let seals = unsafe { libc::fcntl(readable.as_raw_fd(), libc::F_GET_SEALS) };
    Ok(seals >= 0 && seals & ALL_SEALS == ALL_SEALS)
}

fn own_exe() -> Result<OwnedFd> {
    path::open_host_path(c"/proc/self/exe", 0)
}

/// Reads the variable and removes it, so that nothing started from here sees it.
fn take_variable() -> Option<i32> {
    let value = std::env::var(VARIABLE).ok();
    // SAFETY: the process has one thread.
    unsafe { std::env::remove_var(VARIABLE) };
    value?.parse().ok().filter(|&number| number > 2)
}

/// In the second image: no execution through this mount any more, then the last way to it is closed.
fn finish(exe: BorrowedFd, mount: OwnedFd) -> Result<()> {
    let (running, handed) = (path::stat_fd(exe)?, path::stat_fd(mount.as_fd())?);
    if running != handed {
        // Not ours: whoever started us set the variable. Its descriptor stays open, it may be one to preserve.
        std::mem::forget(mount);
        return Ok(());
    }
    // A memfd is no mount; it is protected by its seals.
    match mount_setattr(mount.as_fd(), false, Change { set: attr::NOEXEC, ..Change::default() }) {
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn from_detached_mount(exe: BorrowedFd) -> Result<()> {
    let tree = open_tree_clone(exe, c"", false, 0)?;
    let set = attr::RDONLY | attr::NODEV | attr::NOSUID;
    mount_setattr(tree.as_fd(), false, Change { set, ..Change::default() })?;
    execute_again(tree)
}

fn from_memory() -> Result<()> {
    const MFD_EXEC: u32 = 0x10;
    let mut original = std::fs::File::open("/proc/self/exe").map_err(io_errno)?;
    let create = |flags: u32| {
        // SAFETY: the name is a constant.
        check(unsafe { libc::memfd_create(c"teu".as_ptr(), flags) }.into())
    };
    // Linux 6.3 wants to be told that the file is for execution; older kernels do not know the flag.
    let number = match create(libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | MFD_EXEC) {
        Err(Errno::EINVAL) => create(libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)?,
        other => other?,
    };
    let copy = fd::adopt(number as i32).ok_or(Errno::EBADF)?;
    let mut file = std::fs::File::from(copy);
    std::io::copy(&mut original, &mut file).map_err(io_errno)?;
    let copy = OwnedFd::from(file);
    // SAFETY: only numbers are passed.
    check(unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_ADD_SEALS, ALL_SEALS) }.into())?;
    execute_again(copy)
}

fn execute_again(executable: OwnedFd) -> Result<()> {
    let executable = fd::move_to_at_least(executable, 3)?;
    fd::keep_on_exec(executable.as_raw_fd())?;
    let string = |text: OsString| CString::new(text.into_vec()).map_err(|_| Errno::EINVAL);
    let arguments = std::env::args_os().map(string).collect::<Result<Vec<_>>>()?;
    let mut environment = Vec::new();
    for (name, value) in std::env::vars_os() {
        let mut entry = name;
        entry.push("=");
        entry.push(value);
        environment.push(string(entry)?);
    }
    environment.push(string(OsString::from(format!("{VARIABLE}={}", executable.as_raw_fd())))?);
    Err(execve_fd(executable.as_fd(), &StringList::new(arguments), &StringList::new(environment)))
}

fn io_errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
