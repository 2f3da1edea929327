//! System call numbers as the kernel's own tables give them, for what the linked libseccomp may not know.
//!
//! Since Linux 5.1 a new call has one number on every architecture, counted from [`FIRST_SHARED`]; the exceptions
//! stand below. Older calls are left to libseccomp, whose oldest supported version (2.5) knows all of them.
//! Numbers are without the x32 bit and without the MIPS offsets.
//!
//! Source: `asm/unistd*.h` as Linux 7.2 generates them from `scripts/syscall.tbl` and `arch/*/kernel/syscalls`.

use crate::arch::Arch;

/// Number of the first call in [`SHARED`].
const FIRST_SHARED: u32 = 424;

/// Calls with one number everywhere, in the order of their numbers.
const SHARED: [&str; 48] = [
    "pidfd_send_signal",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "pidfd_open",
    "clone3",
    "close_range",
    "openat2",
    "pidfd_getfd",
    "faccessat2",
    "process_madvise",
    "epoll_pwait2",
    "mount_setattr",
    "quotactl_fd",
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
    "memfd_secret",
    "process_mrelease",
    "futex_waitv",
    "set_mempolicy_home_node",
    "cachestat",
    "fchmodat2",
    "map_shadow_stack",
    "futex_wake",
    "futex_wait",
    "futex_requeue",
    "statmount",
    "listmount",
    "lsm_get_self_attr",
    "lsm_set_self_attr",
    "lsm_list_modules",
    "mseal",
    "setxattrat",
    "getxattrat",
    "listxattrat",
    "removexattrat",
    "open_tree_attr",
    "file_getattr",
    "file_setattr",
    "listns",
    "rseq_slice_yield",
];

/// Newer calls of single architectures.
const OWN: &[(&[Arch], &str, u32)] = &[
    (&[Arch::X86_64, Arch::X32], "uretprobe", 335),
    (&[Arch::X86_64, Arch::X32], "uprobe", 336),
    (&[Arch::Riscv64], "riscv_hwprobe", 258),
    (&[Arch::Riscv64], "riscv_flush_icache", 259),
];

/// Whether the kernel leaves the number of a shared call empty on `arch`.
fn is_absent(arch: Arch, name: &str) -> bool {
    match name {
        "memfd_secret" => !matches!(
            arch,
            Arch::X86
                | Arch::X86_64
                | Arch::X32
                | Arch::Aarch64
                | Arch::S390X
                | Arch::Riscv64
                | Arch::Loongarch64
        ),
        "clone3" => matches!(arch, Arch::Sh | Arch::Sheb),
        _ => false,
    }
}

/// Number of the call `name` on `arch`.
///
/// The outer `None` says that these tables do not know the name, the inner one that `arch` lacks the call.
pub fn number(arch: Arch, name: &str) -> Option<Option<u32>> {
    let own = OWN.iter().filter(|(_, own_name, _)| *own_name == name);
    if own.clone().next().is_some() {
        return Some(own.clone().find(|(archs, ..)| archs.contains(&arch)).map(|(.., nr)| *nr));
    }
    let at = SHARED.iter().position(|shared| *shared == name)?;
    Some(u32::try_from(at).ok().filter(|_| !is_absent(arch, name)).map(|at| FIRST_SHARED + at))
}

/// Name of call `nr` on `arch`, when these tables know it.
pub fn name(arch: Arch, nr: u32) -> Option<&'static str> {
    if let Some((_, name, _)) = OWN.iter().find(|(archs, _, own)| *own == nr && archs.contains(&arch)) {
        return Some(name);
    }
    let at = usize::try_from(nr.checked_sub(FIRST_SHARED)?).ok()?;
    SHARED.get(at).copied().filter(|name| !is_absent(arch, name))
}

/// Names these tables know.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHARED.into_iter().chain(OWN.iter().map(|(_, name, _)| *name))
}

/// Direct numbers of socket calls that older programs reach through socketcall.
struct SocketNumbers {
    archs: &'static [Arch],
    numbers: &'static [(&'static str, u32)],
}

const SOCKETS: &[SocketNumbers] = &[
    SocketNumbers { archs: &[Arch::X86], numbers: &[("recvmmsg", 337), ("sendmmsg", 345)] },
    SocketNumbers { archs: &[Arch::S390, Arch::S390X], numbers: &[("recvmmsg", 357), ("sendmmsg", 358)] },
    SocketNumbers {
        archs: &[Arch::X86, Arch::S390, Arch::S390X],
        numbers: &[
            ("socket", 359),
            ("socketpair", 360),
            ("bind", 361),
            ("connect", 362),
            ("listen", 363),
            ("accept4", 364),
            ("getsockopt", 365),
            ("setsockopt", 366),
            ("getsockname", 367),
            ("getpeername", 368),
            ("sendto", 369),
            ("sendmsg", 370),
            ("recvfrom", 371),
            ("recvmsg", 372),
            ("shutdown", 373),
        ],
    },
    SocketNumbers {
        archs: &[Arch::Ppc, Arch::Ppc64, Arch::Ppc64Le],
        numbers: &[
            ("socket", 326),
            ("bind", 327),
            ("connect", 328),
            ("listen", 329),
            ("accept", 330),
            ("getsockname", 331),
            ("getpeername", 332),
            ("socketpair", 333),
            ("send", 334),
            ("sendto", 335),
            ("recv", 336),
            ("recvfrom", 337),
            ("shutdown", 338),
            ("setsockopt", 339),
            ("getsockopt", 340),
            ("sendmsg", 341),
            ("recvmsg", 342),
            ("recvmmsg", 343),
            ("accept4", 344),
            ("sendmmsg", 349),
        ],
    },
    SocketNumbers {
        archs: &[Arch::Mips, Arch::Mipsel],
        numbers: &[
            ("accept", 168),
            ("bind", 169),
            ("connect", 170),
            ("getpeername", 171),
            ("getsockname", 172),
            ("getsockopt", 173),
            ("listen", 174),
            ("recv", 175),
            ("recvfrom", 176),
            ("recvmsg", 177),
            ("send", 178),
            ("sendmsg", 179),
            ("sendto", 180),
            ("setsockopt", 181),
            ("shutdown", 182),
            ("socket", 183),
            ("socketpair", 184),
            ("accept4", 334),
            ("recvmmsg", 335),
            ("sendmmsg", 343),
        ],
    },
];

/// Direct numbers of the System V calls that older programs reach through ipc: the same on all these architectures.
const IPC: &[(&str, u32)] = &[
    ("semget", 393),
    ("semctl", 394),
    ("shmget", 395),
    ("shmctl", 396),
    ("shmat", 397),
    ("shmdt", 398),
    ("msgget", 399),
    ("msgsnd", 400),
    ("msgrcv", 401),
    ("msgctl", 402),
];

/// Number of the direct call beside a function of socketcall or ipc; `None` where the multiplexer is the only way.
pub fn direct_number(arch: Arch, name: &str) -> Option<u32> {
    let of = |numbers: &[(&str, u32)]| numbers.iter().find(|(own, _)| *own == name).map(|(_, nr)| *nr);
    // With 64-bit time there is no older variant to keep apart, so these have the direct call too.
    if name == "semtimedop" {
        return matches!(arch, Arch::Ppc64 | Arch::Ppc64Le | Arch::S390X).then_some(392);
    }
    of(IPC).or_else(|| SOCKETS.iter().filter(|group| group.archs.contains(&arch)).find_map(|g| of(g.numbers)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Target;

    #[test]
    fn shared_numbers_end_where_the_kernel_headers_end() {
        assert_eq!(number(Arch::NATIVE, "pidfd_send_signal"), Some(Some(424)));
        assert_eq!(number(Arch::NATIVE, "openat2"), Some(Some(437)));
        assert_eq!(number(Arch::NATIVE, "statmount"), Some(Some(457)));
        assert_eq!(number(Arch::NATIVE, "rseq_slice_yield"), Some(Some(471)));
    }

    /// Two sources, one truth: where libseccomp knows a call of these tables too, the numbers agree.
    #[test]
    fn the_library_agrees_where_it_knows_the_call() {
        let mut compared = 0;
        for arch in Arch::ALL.into_iter().filter(|arch| arch.is_in_library()) {
            for name in names() {
                let (Some(ours), Some(theirs)) = (arch.resolve(name), library_number(arch, name)) else {
                    continue;
                };
                assert_eq!(ours, Target::Number(theirs), "{name} on {arch}");
                compared += 1;
            }
        }
        assert!(compared > 300, "only {compared} numbers were compared");
    }

    /// The library hides direct numbers behind its pseudo numbers, but names them when asked by number.
    #[test]
    fn direct_numbers_of_multiplexed_calls_are_the_librarys() {
        let mut compared = 0;
        for arch in Arch::ALL.into_iter().filter(|arch| arch.is_in_library()) {
            for nr in 0..FIRST_SHARED {
                let Some(name) = arch.name_of(arch.first_number() + nr) else { continue };
                if let Some(Target::Multiplexed { direct, .. }) = arch.resolve(&name) {
                    assert_eq!(direct, Some(arch.first_number() + nr), "{name} on {arch}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 200, "only {compared} numbers were compared");
    }

    #[test]
    fn names_and_numbers_are_inverse() {
        for arch in Arch::ALL {
            for known in names() {
                if let Some(Some(nr)) = number(arch, known) {
                    assert_eq!(name(arch, nr), Some(known), "{arch}");
                }
            }
        }
    }

    fn library_number(arch: Arch, name: &str) -> Option<u32> {
        u32::try_from(arch.library_answer(name)?).ok()
    }
}
