//! Runs the program from a copy that no container can write or execute.
//!
//! A process in the container can reach the executable of a process that enters it, through /proc/PID/exe.
//! So a command that enters a container first executes itself again from a detached, read-only mount of its own
//! file, sets NOEXEC on that mount and closes the last descriptor to it: from then on nobody can change the
//! mount, writing gives EROFS and executing EACCES. CVE-2019-5736.
//!
//! Who may not copy mounts executes a copy in memory instead, whose content is sealed and whose permissions are taken
//! away.
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
/// The content of the copy in memory cannot be changed.
const CONTENT_SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
/// Nor its execute permission. Linux 6.3.
const F_SEAL_EXEC: i32 = 0x20;

/// Returns when this process runs from a sealed copy; executes the program again when it does not yet.
///
/// Errors: what the last method, a sealed memfd, failed with; the caller must not go on then.
pub fn seal() -> Result<()> {
    let exe = own_exe()?;
    let inherited = take_variable().and_then(fd::adopt);
    let is_second = inherited.is_some();
    let sealed = match inherited {
        Some(copy) => finish(exe.as_fd(), copy)?,
        None => is_detached_mount(exe.as_fd())?,
    };
    if sealed {
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

/// True when this executable can be neither written nor executed, and nobody can reach its mount to change that.
fn is_detached_mount(exe: BorrowedFd) -> Result<bool> {
    let flags = path::mount_flags(exe)?;
    if flags & ST_RDONLY == 0 || flags & ST_NOEXEC == 0 {
        return Ok(false);
    }
    // The flags could be cleared again while the mount is reachable; EINVAL says that it is not.
    let probe = Change { set: attr::NOEXEC, ..Change::default() };
    Ok(mount_setattr(exe, false, probe) == Err(Errno::EINVAL))
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

/// In the second image: no execution of the copy any more, then the last way to change that is closed. True when the
/// copy that was handed over is the one that runs, and is protected.
fn finish(exe: BorrowedFd, copy: OwnedFd) -> Result<bool> {
    let (running, handed) = (path::stat_fd(exe)?, path::stat_fd(copy.as_fd())?);
    if running != handed {
        // Not ours: whoever started us set the variable. Its descriptor stays open, it may be one to preserve.
        std::mem::forget(copy);
        return is_detached_mount(exe);
    }
    // SAFETY: only numbers are passed.
    let seals = unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_GET_SEALS) };
    if seals >= 0 && seals & CONTENT_SEALS == CONTENT_SEALS {
        return seal_permissions(copy.as_fd()).map(|()| true);
    }
    match mount_setattr(copy.as_fd(), false, Change { set: attr::NOEXEC, ..Change::default() }) {
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(errno),
    }
    drop(copy);
    is_detached_mount(exe)
}

/// The copy in memory has its content sealed already. Without any permission it can be neither read nor executed, by
/// root neither, and where the kernel knows that seal, its owner, who may be the root of a container, cannot give it
/// back.
fn seal_permissions(copy: BorrowedFd) -> Result<()> {
    path::fchmod(copy, 0)?;
    for seals in [F_SEAL_EXEC | libc::F_SEAL_SEAL, libc::F_SEAL_SEAL] {
        // SAFETY: only numbers are passed.
        match check(unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_ADD_SEALS, seals) }.into()) {
            Ok(_) => return Ok(()),
            // A kernel without F_SEAL_EXEC.
            Err(Errno::EINVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EINVAL)
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
    seal_content(copy.as_fd())?;
    execute_again(copy)
}

/// While the kernel itself looks at a page of the file, such as to move it, the seal against writing is refused.
fn seal_content(copy: BorrowedFd) -> Result<()> {
    const ATTEMPTS: u32 = 50;
    for _ in 0..ATTEMPTS {
        // SAFETY: only numbers are passed.
        match check(unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_ADD_SEALS, CONTENT_SEALS) }.into()) {
            Err(Errno::EBUSY) => std::thread::sleep(std::time::Duration::from_millis(10)),
            other => return other.map(drop),
        }
    }
    Err(Errno::EBUSY)
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
