//! The kernel as judge: filters loaded for real in a forked child answer as the simulator does.
//!
//! So that any call can be tried with any arguments, the loaded copy returns a numbered errno in place of each
//! answer: nothing runs, and errno tells which answer the kernel came to. Such a child cannot even exit, so it
//! reports through shared memory and dies by an illegal instruction.
#![allow(unsafe_code)] // Loading a filter, forking and raw system calls are what this test is about.

mod against_reading;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use teu_seccomp::{Action, Arch, Instruction, Program, SeccompData, compile, simulate};

/// Class and source of "return a constant".
const RETURN: u16 = 0x06;

/// What a child found: for each call the errno, 0 when it succeeded.
fn errnos_in_child(program: &[Instruction], calls: &[SeccompData]) -> Vec<i32> {
    let bytes = size_of::<i32>() * (calls.len() + 1);
    // SAFETY: a fresh anonymous mapping; mmap(2) picks the place.
    let shared = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(shared, libc::MAP_FAILED);
    // SAFETY: the mapping is zeroed, large enough, aligned to a page, and lives until the end of the test process.
    let found = unsafe { std::slice::from_raw_parts_mut(shared.cast::<i32>(), calls.len() + 1) };
    // SAFETY: the child allocates nothing, takes no locks and never returns.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        if load(program) {
            for (call, errno) in calls.iter().zip(&mut *found) {
                *errno = make(call);
            }
            found[calls.len()] = 1;
        }
        die();
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(found[calls.len()], 1, "the child did not finish: status {status:#x}");
    found[..calls.len()].to_vec()
}

fn load(program: &[Instruction]) -> bool {
    #[repr(C)]
    struct Filter {
        length: u16,
        instructions: *const Instruction,
    }
    let filter = Filter { length: program.len() as u16, instructions: program.as_ptr() };
    // SAFETY: prctl(2) with constants; seccomp(2) copies the program during the call, and both outlive it.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) == 0
    }
}

/// Ends the process without a system call.
fn die() -> ! {
    // SAFETY: an illegal instruction raises SIGILL and does nothing else.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("ud2", options(noreturn))
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("udf #0", options(noreturn))
    }
}

/// Makes a call of the native architecture, of x32 (same entry, other numbers) or of i386 (int 0x80).
fn make(call: &SeccompData) -> i32 {
    #[cfg(target_arch = "x86_64")]
    if call.arch == Arch::X86.audit() {
        return make_32_bit(call);
    }
    let [a, b, c, d, e, f] = call.args;
    // SAFETY: every call that reaches this point is refused by the filter or is harmless (tests choose them).
    let result = unsafe { libc::syscall(call.nr as libc::c_long, a, b, c, d, e, f) };
    // SAFETY: errno is a thread-local.
    if result == -1 { unsafe { *libc::__errno_location() } } else { 0 }
}

#[cfg(target_arch = "x86_64")]
fn make_32_bit(call: &SeccompData) -> i32 {
    let args = call.args.map(|arg| arg as u32);
    let mut result = call.nr;
    // SAFETY: int 0x80 clobbers rax and, on older kernels, r8 to r11; rbx and rbp, which the compiler keeps to
    // itself, are saved around it on the stack, which is switched to no other place.
    unsafe {
        std::arch::asm!(
            "push rbx", "push rbp",
            "mov ebx, [r12]", "mov ecx, [r12 + 4]", "mov edx, [r12 + 8]",
            "mov esi, [r12 + 12]", "mov edi, [r12 + 16]", "mov ebp, [r12 + 20]",
            "int 0x80",
            "pop rbp", "pop rbx",
            in("r12") args.as_ptr(),
            inout("eax") result,
            out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let result = result.cast_signed();
    if (-4095..0).contains(&result) { -result } else { 0 }
}

/// A copy of the program that answers every call with an errno, and the errno of each answer.
fn numbered(program: &Program) -> (Vec<Instruction>, BTreeMap<u32, i32>) {
    let mut numbers = BTreeMap::new();
    let renumber = |instruction: &Instruction| {
        if instruction.code != RETURN {
            return *instruction;
        }
        let next = numbers.len() as u16 + 1;
        let number = *numbers.entry(instruction.k).or_insert(i32::from(next));
        Instruction { k: Action::Errno(number as u16).value(), ..*instruction }
    };
    let copy = program.instructions.iter().map(renumber).collect();
    (copy, numbers)
}

/// 200 calls on the architectures this machine runs, drawn by a fixed sequence.
fn samples() -> Vec<SeccompData> {
    let values =
        [0, 1, 2, 8, 9, 16, 40, 0x2_0000, 0x7e02_0000, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0028, u64::MAX];
    let archs: &[Arch] =
        if cfg!(target_arch = "x86_64") { &[Arch::X86_64, Arch::X86, Arch::X32] } else { &[Arch::NATIVE] };
    let interesting =
        ["personality", "clone", "socket", "socketcall", "ipc", "clone3", "mseal", "kill", "mount"];
    let mut state = 7_u64;
    let mut draw = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    let mut calls = Vec::new();
    while calls.len() < 200 {
        let arch = archs[draw(archs.len())];
        let name = interesting[draw(interesting.len())];
        let nr = match arch.resolve(name) {
            Some(teu_seccomp::arch::Target::Number(nr)) if draw(2) == 0 => nr,
            _ => arch.first_number() + draw(520) as u32,
        };
        let args = std::array::from_fn(|_| values[draw(values.len())]);
        let args = if arch == Arch::X86 { args.map(|arg| arg & 0xffff_ffff) } else { args };
        calls.push(SeccompData { nr, arch: arch.audit(), instruction_pointer: 0, args });
    }
    calls
}

fn sections() -> Vec<Value> {
    let condition = |index: u8, op: &str, value: u64, two: u64| json!({"index": index, "op": op, "value": value, "valueTwo": two});
    let own = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": ["kill", "personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [condition(0, "SCMP_CMP_GT", 0xffff_ffff, 0)]},
            {"names": ["kill", "socket"], "action": "SCMP_ACT_TRAP", "args": [condition(0, "SCMP_CMP_LE", 9, 0), condition(2, "SCMP_CMP_NE", 1, 0)]},
            {"names": ["clone", "kill"], "action": "SCMP_ACT_LOG", "args": [condition(1, "SCMP_CMP_MASKED_EQ", 0xff, 8)]},
            {"names": ["mount", "kill"], "action": "SCMP_ACT_KILL_PROCESS", "args": [condition(3, "SCMP_CMP_GE", 0x1_0000_0028, 0)]},
            {"names": ["socket", "shmat"], "action": "SCMP_ACT_ERRNO"},
        ],
    });
    let docker = serde_json::from_str(include_str!("../testdata/docker-28.json")).expect("a JSON file");
    let podman = serde_json::from_str(include_str!("../testdata/podman-4.3.json")).expect("a JSON file");
    vec![docker, podman, own]
}

#[test]
fn the_kernel_answers_as_the_simulator_does() {
    let calls = samples();
    for section in sections() {
        let program = compile(&against_reading::policy(&section, Arch::NATIVE)).expect("a program");
        let (copy, numbers) = numbered(&program);
        let errnos = errnos_in_child(&copy, &calls);
        let mut seen = BTreeMap::new();
        for (call, errno) in calls.iter().zip(errnos) {
            let answer = simulate::run(&program.instructions, call);
            assert_eq!(Some(&errno), numbers.get(&answer), "{call:x?}: the simulator says {answer:#x}");
            *seen.entry(answer).or_insert(0) += 1;
        }
        assert!(seen.len() >= 3, "the sample knows few answers only: {seen:?}");
    }
}

/// Unchanged programs, with calls that may really run: the kernel's cache of allowed calls is in use here.
#[test]
fn programs_work_when_loaded_unchanged() {
    let section: Value =
        serde_json::from_str(include_str!("../testdata/docker-28.json")).expect("a JSON file");
    let program = compile(&against_reading::policy(&section, Arch::NATIVE)).expect("a program");
    let call =
        |nr: libc::c_long| SeccompData { nr: nr as u32, arch: Arch::NATIVE.audit(), ..Default::default() };
    let calls = [
        (call(libc::SYS_getpid), 0),
        (call(libc::SYS_getppid), 0),
        (call(libc::SYS_gettid), 0),
        (call(libc::SYS_mount), libc::EPERM),
        (call(libc::SYS_bpf), libc::EPERM),
        (call(libc::SYS_clone3), libc::ENOSYS),
        (call(500), libc::ENOSYS),
        (SeccompData { args: [40, 1, 0, 0, 0, 0], ..call(libc::SYS_socket) }, libc::EPERM),
        (SeccompData { args: [3, 0, 0, 0, 0, 0], ..call(libc::SYS_personality) }, libc::EPERM),
        (SeccompData { args: [0xffff_ffff, 0, 0, 0, 0, 0], ..call(libc::SYS_personality) }, 0),
    ];
    let errnos = errnos_in_child(&program.instructions, &calls.map(|(call, _)| call));
    assert_eq!(errnos, calls.map(|(_, errno)| errno));
}

/// i386 and x32 are no way around a list of refused calls (security: a filter for x86_64 alone).
#[cfg(target_arch = "x86_64")]
#[test]
fn other_entries_to_the_kernel_are_filtered_too() {
    let section = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}],
    });
    let program = compile(&against_reading::policy(&section, Arch::NATIVE)).expect("a program");
    let call = |arch: Arch, nr: u32| SeccompData { nr, arch: arch.audit(), ..Default::default() };
    let calls = [
        (call(Arch::X86_64, 110), 77),
        (call(Arch::X32, 0x4000_0000 | 110), 77),
        (call(Arch::X86, 64), 77),
        (call(Arch::X86_64, 39), 0),
        (call(Arch::X86, 20), 0),
    ];
    let errnos = errnos_in_child(&program.instructions, &calls.map(|(call, _)| call));
    assert_eq!(errnos, calls.map(|(_, errno)| errno));
}
