//! ptrace(2), for looking at system calls and nothing else: no register or word of memory is ever written.
//!
//! All of it is about threads, by number. A thread that is traced stays what its number means until this process has
//! waited for its end. ESRCH says that it is being killed, or is not stopped.

use super::{Errno, Result, check};
use crate::sys::clone::Ended;
use crate::sys::seccomp::Instruction;

const SEIZE: libc::c_long = 0x4206;
const INTERRUPT: libc::c_long = 0x4207;
const LISTEN: libc::c_long = 0x4208;
const SETOPTIONS: libc::c_long = 0x4200;
const GETEVENTMSG: libc::c_long = 0x4201;
const GETSIGINFO: libc::c_long = 0x4202;
const SECCOMP_GET_FILTER: libc::c_long = 0x420c;
const GET_SYSCALL_INFO: libc::c_long = 0x420e;
const SYSCALL: libc::c_long = 24;
const DETACH: libc::c_long = 17;

const O_TRACESYSGOOD: u64 = 0x01;
const O_TRACEFORK: u64 = 0x02;
const O_TRACEVFORK: u64 = 0x04;
const O_TRACECLONE: u64 = 0x08;
const O_TRACEEXEC: u64 = 0x10;

/// What stops a thread besides its system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Options {
    /// The execution of a program.
    Execution,
    /// That, and new threads and processes, which are traced as well.
    Family,
}

impl Options {
    fn bits(self) -> u64 {
        match self {
            Options::Execution => O_TRACESYSGOOD | O_TRACEEXEC,
            Options::Family => O_TRACESYSGOOD | O_TRACEEXEC | O_TRACEFORK | O_TRACEVFORK | O_TRACECLONE,
        }
    }
}

fn ptrace(request: libc::c_long, thread: i32, address: u64, data: u64) -> Result<libc::c_long> {
    // SAFETY: the requests used through this function take numbers only.
    check(unsafe { libc::syscall(libc::SYS_ptrace, request, libc::c_long::from(thread), address, data) })
}

/// Traces a thread without stopping it. Errors: EPERM when it is traced already, or may not be.
pub fn seize(thread: i32, options: Options) -> Result<()> {
    ptrace(SEIZE, thread, 0, options.bits()).map(drop)
}

/// Changes what stops a stopped thread.
pub fn set_options(thread: i32, options: Options) -> Result<()> {
    ptrace(SETOPTIONS, thread, 0, options.bits()).map(drop)
}

/// Makes a running thread stop.
pub fn interrupt(thread: i32) -> Result<()> {
    ptrace(INTERRUPT, thread, 0, 0).map(drop)
}

/// Lets a stopped thread run to the next edge of a system call, with a signal unless it is 0.
pub fn resume(thread: i32, signal: i32) -> Result<()> {
    ptrace(SYSCALL, thread, 0, signal as u64).map(drop)
}

/// Leaves a thread stopped that a signal has stopped, and hears when that ends.
pub fn listen(thread: i32) -> Result<()> {
    ptrace(LISTEN, thread, 0, 0).map(drop)
}

/// Stops tracing a stopped thread, which goes on with a signal unless it is 0.
pub fn detach(thread: i32, signal: i32) -> Result<()> {
    ptrace(DETACH, thread, 0, signal as u64).map(drop)
}

/// What belongs to an event: the number of the new thread, or that a thread had before it executed a program.
pub fn event_message(thread: i32) -> Result<i32> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: the kernel writes one long, which lives through the call.
    check(unsafe {
        libc::syscall(libc::SYS_ptrace, GETEVENTMSG, libc::c_long::from(thread), 0, &raw mut message)
    })?;
    Ok(message as i32)
}

/// The edge of a system call at which a thread is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Before the call, which a filter has not seen yet.
    Entry {
        /// `AUDIT_ARCH_*`.
        arch: u32,
        /// Where the call was made.
        instruction_pointer: u64,
        /// Its number.
        nr: u64,
        /// Its arguments.
        args: [u64; 6],
    },
    /// After the call.
    Exit {
        /// It failed.
        is_error: bool,
    },
    /// Somewhere else.
    Neither,
}

/// Where a stopped thread is (`PTRACE_GET_SYSCALL_INFO`).
pub fn edge(thread: i32) -> Result<Edge> {
    /// `struct ptrace_syscall_info`, its union as words.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        operation: u8,
        padding: [u8; 3],
        arch: u32,
        instruction_pointer: u64,
        stack_pointer: u64,
        words: [u64; 8],
    }
    let mut info = Info::default();
    // SAFETY: the kernel writes at most as many bytes as are announced; `info` lives through the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            GET_SYSCALL_INFO,
            libc::c_long::from(thread),
            size_of::<Info>(),
            &raw mut info,
        )
    })?;
    Ok(match info.operation {
        1 => Edge::Entry {
            arch: info.arch,
            instruction_pointer: info.instruction_pointer,
            nr: info.words[0],
            args: [1, 2, 3, 4, 5, 6].map(|at| info.words[at]),
        },
        2 => Edge::Exit { is_error: info.words[1] as u8 != 0 },
        _ => Edge::Neither,
    })
}

/// Whether the signal that a stopped thread is about to get comes from the kernel, as for a fault (`si_code` above 0).
pub fn is_from_kernel(thread: i32) -> Result<bool> {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one of these, which lives through the call.
    check(unsafe {
        libc::syscall(libc::SYS_ptrace, GETSIGINFO, libc::c_long::from(thread), 0, &raw mut info)
    })?;
    Ok(info.si_code > 0)
}

/// The instructions of a filter of a stopped thread, the oldest at 0.
///
/// Errors: ENOENT after the last; EINVAL without any filter, or from a kernel without CONFIG_CHECKPOINT_RESTORE;
/// EACCES without CAP_SYS_ADMIN.
pub fn filter(thread: i32, index: usize) -> Result<Vec<Instruction>> {
    let request = |buffer: *mut Instruction| {
        // SAFETY: without a buffer the kernel only says how many instructions there are; with one it writes as many,
        // and a filter never changes.
        check(unsafe {
            libc::syscall(libc::SYS_ptrace, SECCOMP_GET_FILTER, libc::c_long::from(thread), index, buffer)
        })
    };
    let length = request(std::ptr::null_mut())? as usize;
    let mut instructions = vec![Instruction { code: 0, jt: 0, jf: 0, k: 0 }; length];
    let written = request(instructions.as_mut_ptr())? as usize;
    if written == length { Ok(instructions) } else { Err(Errno::EIO) }
}

/// Why a stopped thread is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At the edge of a system call.
    Call,
    /// It was made to stop, or is new.
    Interrupted,
    /// A signal has stopped its whole process.
    Group,
    /// It executed a program; [`event_message`] is its former number.
    Executed,
    /// It made a thread or process; [`event_message`] is its number.
    Cloned,
    /// A signal is about to be delivered.
    Signal(i32),
}

/// What became of a child or a traced thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is gone.
    Ended(Ended),
    /// It is stopped.
    Stopped(Stop),
}

/// The next change of any child or traced thread, if there is one already (waitpid(2) with __WALL and WNOHANG).
pub fn next_change() -> Result<Option<(i32, Change)>> {
    const EVENT_FORK: i32 = 1;
    const EVENT_VFORK: i32 = 2;
    const EVENT_CLONE: i32 = 3;
    const EVENT_EXEC: i32 = 4;
    const EVENT_STOP: i32 = 128;
    let mut status = 0;
    // SAFETY: `status` lives through the call.
    let thread = check(unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::WNOHANG) }.into());
    let thread = match thread {
        Ok(0) | Err(Errno::ECHILD) => return Ok(None),
        other => other? as i32,
    };
    let change = if libc::WIFEXITED(status) {
        Change::Ended(Ended::Exited(libc::WEXITSTATUS(status)))
    } else if libc::WIFSIGNALED(status) {
        Change::Ended(Ended::Signaled(libc::WTERMSIG(status)))
    } else {
        let signal = libc::WSTOPSIG(status);
        Change::Stopped(match status >> 16 {
            EVENT_FORK | EVENT_VFORK | EVENT_CLONE => Stop::Cloned,
            EVENT_EXEC => Stop::Executed,
            EVENT_STOP if signal == libc::SIGTRAP => Stop::Interrupted,
            EVENT_STOP => Stop::Group,
            _ if signal == libc::SIGTRAP | 0x80 => Stop::Call,
            _ => Stop::Signal(signal),
        })
    };
    Ok(Some((thread, change)))
}
