//! The first instructions of the program, before the C library.
//!
//! A command that enters a container executes itself again from a protected copy of its file ([`super::self_exe`]).
//! The first image does nothing else, so it need not start a C library, which on a virtual machine costs half a
//! millisecond: its start-up code asks the processor for its features some forty times, and each CPUID instruction
//! is answered by the hypervisor. [`execute_again`] therefore runs on the bare stack that execve(2) prepared, with
//! four system calls.
//!
//! This is a short cut and no protection of its own. Whenever anything is unusual it returns, the program starts as
//! every other does, and `self_exe::seal` does the same with all checks, fallbacks and errors. The second image
//! always goes through `seal`, which proves from the kernel's answers that the copy is sealed.
//!
//! The rules of this file, since no library is there yet: no allocation, no thread-local variable, and no loop that
//! a compiler may turn into a call of memcpy(3) or strlen(3), whose addresses are found out by the start-up code.
//! Memory is therefore read and written by volatile accesses only.

use std::ptr::null;

use super::mount::attr;
use super::self_exe::{ENTERING, VARIABLE};

/// Defines the C function `main` of a program in place of Rust's own start-up code, which would look up the stack
/// in /proc/self/maps, allocate a signal stack and check the standard streams: work that teu does itself, or not.
///
/// The function given never returns. SIGPIPE is ignored, as Rust's start-up code has it: writing to a closed pipe is
/// an error to handle, and children get the default back.
#[macro_export]
macro_rules! main_function {
    ($function:path) => {
        #[allow(unsafe_code)] // the name is the one that the C library calls, once
        #[unsafe(no_mangle)]
        extern "C" fn main() -> i32 {
            $crate::sys::signal::ignore_broken_pipes();
            $function()
        }
    };
}

// The entry point that the linker is told of (build.rs). It keeps what the kernel handed over, calls the function,
// and gives all of it to the entry point of the C library.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".globl teu_entry",
    "teu_entry:",
    "xor ebp, ebp", // the outermost frame
    "mov r12, rsp",
    "mov r13, rdx", // a function for atexit(3) when the program is dynamic
    "mov rdi, rsp",
    "and rsp, -16",
    "call {execute_again}",
    "mov rsp, r12",
    "mov rdx, r13",
    "jmp _start",
    execute_again = sym execute_again,
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".globl teu_entry",
    "teu_entry:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x19, sp",
    "mov x20, x0",
    "mov x0, sp",
    "bl {execute_again}",
    "mov sp, x19",
    "mov x0, x20",
    "mov x29, #0",
    "mov x30, #0",
    "b _start",
    execute_again = sym execute_again,
);

/// System calls without a C library: the result, or a negative errno.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: i64, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the arguments follow the manual page of the call; the kernel changes rcx, r11 and what they point to.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b,
            in("rdx") c, in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// System calls without a C library: the result, or a negative errno.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: i64, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the arguments follow the manual page of the call; the kernel changes only what they point to.
    unsafe {
        std::arch::asm!("svc 0", in("x8") number as usize, inlateout("x0") a => result, in("x1") b,
            in("x2") c, in("x3") d, in("x4") e, options(nostack));
    }
    result
}

/// How many variables the short cut can take over, the null pointer at the end included.
const MAX_VARIABLES: usize = 512;
/// The environment of the second image. Only the part that is written to becomes memory of the process.
static mut ENVIRONMENT: [*const u8; MAX_VARIABLES] = [null(); MAX_VARIABLES];
/// `_TEU_EXE_FD=` with one digit and a NUL: one more than the name, the equals sign and both of these.
static mut ENTRY: [u8; VARIABLE.len() + 3] = [0; VARIABLE.len() + 3];

/// Executes the program again from a detached read-only mount, when its arguments say that it will enter a
/// container, and returns whenever that is not clearly the thing to do.
///
/// `stack` is where execve(2) put the number of arguments, the arguments, the environment and the auxiliary vector.
///
/// # Safety
/// To be called once, from the entry point.
unsafe extern "C" fn execute_again(stack: *const usize) {
    // SAFETY: the kernel laid the stack out as the System V ABI says, and both lists end in a null pointer.
    unsafe {
        let arguments = stack.add(1).cast::<*const u8>();
        let count = stack.read_volatile();
        let variables = arguments.add(count + 1);
        let Some(number) = usable_environment(variables) else { return };
        if is_secure(variables.add(number + 1).cast()) || !enters_container(arguments, count) {
            return;
        }
        let Some(copy) = detached_copy() else { return };
        write_environment(variables, number, b'0' + copy);
        let environment = (&raw const ENVIRONMENT).addr();
        call(
            libc::SYS_execveat,
            copy.into(),
            c"".as_ptr().addr(),
            arguments.addr(),
            environment,
            libc::AT_EMPTY_PATH as usize,
        );
        call(libc::SYS_close, copy.into(), 0, 0, 0, 0);
    }
}

/// The number of variables; nothing when there are too many, or when the second image is running already.
unsafe fn usable_environment(variables: *const *const u8) -> Option<usize> {
    let mut number = 0;
    // SAFETY: the list ends in a null pointer and holds strings that end in NUL.
    unsafe {
        loop {
            let variable = variables.add(number).read_volatile();
            if variable.is_null() {
                return Some(number);
            }
            if begins_with(variable, VARIABLE.as_bytes()) || number + 2 >= MAX_VARIABLES {
                return None;
            }
            number += 1;
        }
    }
}

/// True when the program runs with more privileges than its caller has; it is refused later.
unsafe fn is_secure(mut auxiliary: *const [usize; 2]) -> bool {
    // SAFETY: the vector ends in an entry of type AT_NULL.
    unsafe {
        loop {
            match auxiliary.read_volatile() {
                [0, _] => return true, // an odd kernel, which has no such entry
                [kind, value] if kind == libc::AT_SECURE as usize => return value != 0,
                _ => auxiliary = auxiliary.add(1),
            }
        }
    }
}

unsafe fn enters_container(arguments: *const *const u8, count: usize) -> bool {
    // SAFETY: the list has `count` strings that end in NUL.
    unsafe {
        for number in 1..count {
            let argument = arguments.add(number).read_volatile();
            for verb in &ENTERING {
                if begins_with(argument, verb.as_bytes()) && argument.add(verb.len()).read_volatile() == 0 {
                    return true;
                }
            }
        }
    }
    false
}

unsafe fn begins_with(string: *const u8, prefix: &[u8]) -> bool {
    for (offset, expected) in prefix.iter().enumerate() {
        // SAFETY: every byte before this one was equal, so the string has not ended.
        if unsafe { string.add(offset).read_volatile() } != *expected {
            return false;
        }
    }
    true
}

/// A descriptor of a detached read-only mount of the own file, which survives execve(2): a number from 3 to 9, as
/// it is when the standard streams are open and few others.
unsafe fn detached_copy() -> Option<u8> {
    const OPEN_TREE_CLONE: usize = 1;
    let here = libc::AT_FDCWD as usize;
    let empty = c"".as_ptr().addr();
    let attributes: [u64; 4] = [attr::RDONLY | attr::NODEV | attr::NOSUID, 0, 0, 0];
    // SAFETY: the strings are constants that end in NUL; the attributes have the size that is told.
    unsafe {
        let exe = call(
            libc::SYS_openat,
            here,
            c"/proc/self/exe".as_ptr().addr(),
            (libc::O_PATH | libc::O_CLOEXEC) as usize,
            0,
            0,
        );
        if exe < 0 {
            return None;
        }
        let tree = call(
            libc::SYS_open_tree,
            exe as usize,
            empty,
            OPEN_TREE_CLONE | libc::AT_EMPTY_PATH as usize,
            0,
            0,
        );
        call(libc::SYS_close, exe as usize, 0, 0, 0, 0);
        if tree < 0 {
            return None;
        }
        let (pointer, size) = ((&raw const attributes).addr(), size_of_val(&attributes));
        let empty_path = libc::AT_EMPTY_PATH as usize;
        let set = call(libc::SYS_mount_setattr, tree as usize, empty, empty_path, pointer, size);
        if set == 0 && (3..=9).contains(&tree) {
            return Some(tree as u8);
        }
        call(libc::SYS_close, tree as usize, 0, 0, 0, 0);
    }
    None
}

/// Fills [`ENVIRONMENT`]: the variables as they are, and ours, whose value is one digit.
unsafe fn write_environment(variables: *const *const u8, number: usize, digit: u8) {
    let entry = (&raw mut ENTRY).cast::<u8>();
    let environment = (&raw mut ENVIRONMENT).cast::<*const u8>();
    // SAFETY: the entry point runs once and there is one thread; the sizes are those of the two variables, and
    // `number` was bounded when it was counted.
    unsafe {
        for (offset, byte) in VARIABLE.bytes().enumerate() {
            entry.add(offset).write_volatile(byte);
        }
        entry.add(VARIABLE.len()).write_volatile(b'=');
        entry.add(VARIABLE.len() + 1).write_volatile(digit);
        for index in 0..number {
            environment.add(index).write_volatile(variables.add(index).read_volatile());
        }
        environment.add(number).write_volatile(entry);
        environment.add(number + 1).write_volatile(null());
    }
}
