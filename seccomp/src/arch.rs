//! Architectures: their OCI names, the constants the kernel filters by, and system call names to numbers.
//!
//! One [`Arch`] is one calling convention (ABI) as libseccomp counts them, so x86_64 and x32 are two although
//! the kernel reports one audit architecture for both. Names are resolved by the kernel's own tables first
//! ([`crate::tables`]) and by libseccomp second: a name that a new kernel and a new profile know must not
//! depend on the age of a library.

use std::fmt;
use std::ops::Range;

use libseccomp::{ScmpArch, ScmpSyscall};

use crate::tables;

/// One calling convention for system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Arch {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Mips,
    Mips64,
    Mips64N32,
    Mipsel,
    Mipsel64,
    Mipsel64N32,
    Ppc,
    Ppc64,
    Ppc64Le,
    S390,
    S390X,
    Parisc,
    Parisc64,
    Riscv64,
    Loongarch64,
    M68k,
    Sh,
    Sheb,
}

/// How a system call name is reached on one architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// By its own number.
    Number(u32),
    /// As function `call` of the multiplexer `parent` (socketcall or ipc), and on newer kernels by a number of its own.
    Multiplexed {
        /// Number of socketcall or ipc.
        parent: u32,
        /// First argument that selects the function.
        call: u32,
        /// Bits of the first argument that the kernel looks at: ipc keeps a version in the upper half.
        call_mask: u32,
        /// Number of the direct call, if the architecture has one.
        direct: Option<u32>,
    },
}

impl Target {
    /// Numbers under which a filter may see the call.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        let (first, second) = match self {
            Target::Number(nr) => (Some(nr), None),
            Target::Multiplexed { parent, direct, .. } => (direct, Some(parent)),
        };
        first.into_iter().chain(second)
    }

    /// Numbers with the first argument that selects the call there, where one does.
    pub fn calls(self) -> impl Iterator<Item = (u32, Option<u64>)> {
        let (first, second) = match self {
            Target::Number(nr) => (Some(nr), None),
            Target::Multiplexed { parent, call, direct, .. } => {
                (direct, Some((parent, Some(u64::from(call)))))
            }
        };
        first.map(|nr| (nr, None)).into_iter().chain(second)
    }

    /// The call's own number, which it lacks where a multiplexer is the only way.
    pub fn own_number(self) -> Option<u32> {
        match self {
            Target::Number(nr) => Some(nr),
            Target::Multiplexed { direct, .. } => direct,
        }
    }
}

/// Bit that tells an x32 call from an x86_64 call, which share [`Arch::audit`].
pub const X32_BIT: u32 = 0x4000_0000;

const AUDIT_64BIT: u32 = 0x8000_0000;
const AUDIT_LITTLE_ENDIAN: u32 = 0x4000_0000;
const AUDIT_MIPS_N32: u32 = 0x2000_0000;

impl Arch {
    /// All architectures that the runtime specification names.
    pub const ALL: [Arch; 23] = [
        Arch::X86,
        Arch::X86_64,
        Arch::X32,
        Arch::Arm,
        Arch::Aarch64,
        Arch::Mips,
        Arch::Mips64,
        Arch::Mips64N32,
        Arch::Mipsel,
        Arch::Mipsel64,
        Arch::Mipsel64N32,
        Arch::Ppc,
        Arch::Ppc64,
        Arch::Ppc64Le,
        Arch::S390,
        Arch::S390X,
        Arch::Parisc,
        Arch::Parisc64,
        Arch::Riscv64,
        Arch::Loongarch64,
        Arch::M68k,
        Arch::Sh,
        Arch::Sheb,
    ];

    /// The architecture this crate was built for.
    pub const NATIVE: Arch = NATIVE;

    /// Name in an OCI profile, `SCMP_ARCH_X86_64`.
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// Architecture of an OCI name.
    pub fn from_name(name: &str) -> Option<Arch> {
        Self::ALL.into_iter().find(|arch| arch.name() == name)
    }

    /// Value of `seccomp_data.arch`.
    ///
    /// Source: `AUDIT_ARCH_*` of linux/audit.h, which are ELF machine numbers with bits for width and byte order.
    pub fn audit(self) -> u32 {
        self.facts().1
    }

    /// Architecture of a call as the kernel reports it: audit architecture and number.
    pub fn of_call(audit: u32, nr: u32) -> Option<Arch> {
        match Self::ALL.into_iter().find(|arch| arch.audit() == audit)? {
            // -1 is a tracer's "skip this call" and belongs to no table.
            Arch::X86_64 if nr >= X32_BIT && nr != u32::MAX => Some(Arch::X32),
            arch => Some(arch),
        }
    }

    /// Whether arguments are compared in full: false where registers are 32 bits wide, and on x32.
    pub fn is_64_bit(self) -> bool {
        self.audit() & AUDIT_64BIT != 0 && !matches!(self, Arch::X32 | Arch::Mips64N32 | Arch::Mipsel64N32)
    }

    /// Whether the upper half of a 64-bit argument comes first in `seccomp_data`.
    pub fn is_big_endian(self) -> bool {
        self.audit() & AUDIT_LITTLE_ENDIAN == 0
    }

    /// Whether a call of an unknown number reaches the filter as number 0 (s390: `setup`, from `svc 0`).
    pub fn reports_unknown_calls_as_zero(self) -> bool {
        matches!(self, Arch::S390 | Arch::S390X)
    }

    /// Numbers apart from the kernel's common tables, which do not tell how new a call or a profile is.
    ///
    /// x32 has its own variants of old calls from 512 on, arm five calls of its own (`set_tls` and others).
    pub fn private_numbers(self) -> Range<u32> {
        match self {
            Arch::X32 => X32_BIT + 512..X32_BIT + 548,
            Arch::Arm => 0xf_0000..0x10_0000,
            _ => 0..0,
        }
    }

    /// Whether a kernel whose own architecture is `native` can run calls of this one.
    pub fn runs_on(self, native: Arch) -> bool {
        self.family() == native.family() && self.is_big_endian() == native.is_big_endian()
    }

    /// Whether the linked libseccomp knows the architecture.
    pub fn is_in_library(self) -> bool {
        self.library_answer("read").is_some()
    }

    /// First number of the architecture's own range: 4000 for MIPS o32, bit 30 for x32, 0 for most.
    pub fn first_number(self) -> u32 {
        match self {
            Arch::X32 => X32_BIT,
            Arch::Mips | Arch::Mipsel => 4000,
            Arch::Mips64 | Arch::Mipsel64 => 5000,
            Arch::Mips64N32 | Arch::Mipsel64N32 => 6000,
            _ => 0,
        }
    }

    /// How the call `name` is reached here; `None` when the architecture has no such call, or nobody knows the name.
    pub fn resolve(self, name: &str) -> Option<Target> {
        if let Some(own) = tables::number(self, name) {
            return own.map(|nr| Target::Number(self.first_number() + nr));
        }
        let answer = self.library_answer(name)?;
        match u32::try_from(answer) {
            Ok(nr) => Some(Target::Number(nr)),
            Err(_) => self.resolve_multiplexed(name, answer),
        }
    }

    /// Whether anybody knows a call of this name, on whatever architecture.
    pub fn is_name_known(self, name: &str) -> bool {
        tables::number(self, name).is_some() || self.library_answer(name).is_some()
    }

    /// Name of call number `nr`, which carries the x32 bit or the MIPS offset as the kernel reports it.
    pub fn name_of(self, nr: u32) -> Option<String> {
        if let Some(name) = tables::name(self, nr.checked_sub(self.first_number())?) {
            return Some(name.to_owned());
        }
        ScmpSyscall::from(i32::try_from(nr).ok()?).get_name_by_arch(self.library()).ok()
    }

    /// Name of a call; for socketcall and ipc that of the function the first argument selects.
    pub fn name_of_call(self, nr: u32, first_argument: u64) -> Option<String> {
        let name = self.name_of(nr)?;
        // socketcall 1 is the pseudo number -101, ipc 21 with whatever version is -221.
        let function = |base: i32, mask: u64| {
            let call = i32::try_from(first_argument & mask).ok()?;
            ScmpSyscall::from(base.checked_sub(call)?).get_name_by_arch(self.library()).ok()
        };
        let function = match name.as_str() {
            "socketcall" => function(-100, 0xffff_ffff),
            "ipc" => function(-200, 0xffff),
            _ => None,
        };
        // A function that resolves to something else is a number out of range.
        let is_function = |function: &String| matches!(self.resolve(function), Some(Target::Multiplexed { parent, .. }) if parent == nr);
        function.filter(is_function).or(Some(name))
    }

    /// Resolves libseccomp's pseudo numbers: -101 is function 1 of socketcall, -202 function 2 of ipc.
    ///
    /// Other negative answers mean "known, but not on this architecture".
    fn resolve_multiplexed(self, name: &str, pseudo: i32) -> Option<Target> {
        let (multiplexer, call, call_mask) = match pseudo {
            -120..=-101 => ("socketcall", -pseudo - 100, u32::MAX),
            -224..=-201 => ("ipc", -pseudo - 200, 0xffff),
            _ => return None,
        };
        let Some(Target::Number(parent)) = self.resolve(multiplexer) else { return None };
        let direct = tables::direct_number(self, name).map(|nr| self.first_number() + nr);
        Some(Target::Multiplexed { parent, call: u32::try_from(call).ok()?, call_mask, direct })
    }

    /// Members of one family share a kernel.
    fn family(self) -> u8 {
        match self {
            Arch::X86 | Arch::X86_64 | Arch::X32 => 0,
            Arch::Arm | Arch::Aarch64 => 1,
            Arch::Mips | Arch::Mips64 | Arch::Mips64N32 => 2,
            Arch::Mipsel | Arch::Mipsel64 | Arch::Mipsel64N32 => 3,
            Arch::Ppc | Arch::Ppc64 | Arch::Ppc64Le => 4,
            Arch::S390 | Arch::S390X => 5,
            Arch::Parisc | Arch::Parisc64 => 6,
            Arch::Riscv64 => 7,
            Arch::Loongarch64 => 8,
            Arch::M68k => 9,
            Arch::Sh | Arch::Sheb => 10,
        }
    }

    /// libseccomp's answer for a name: a number, or a negative pseudo number when this architecture has none.
    pub(crate) fn library_answer(self, name: &str) -> Option<i32> {
        Some(ScmpSyscall::from_name_by_arch(name, self.library()).ok()?.as_raw_syscall())
    }

    fn library(self) -> ScmpArch {
        self.facts().2
    }

    /// OCI name, audit value and libseccomp's own token.
    fn facts(self) -> (&'static str, u32, ScmpArch) {
        const LE: u32 = AUDIT_LITTLE_ENDIAN;
        const LE64: u32 = AUDIT_LITTLE_ENDIAN | AUDIT_64BIT;
        match self {
            Arch::X86 => ("SCMP_ARCH_X86", 3 | LE, ScmpArch::X86),
            Arch::X86_64 => ("SCMP_ARCH_X86_64", 62 | LE64, ScmpArch::X8664),
            Arch::X32 => ("SCMP_ARCH_X32", 62 | LE64, ScmpArch::X32),
            Arch::Arm => ("SCMP_ARCH_ARM", 40 | LE, ScmpArch::Arm),
            Arch::Aarch64 => ("SCMP_ARCH_AARCH64", 183 | LE64, ScmpArch::Aarch64),
            Arch::Mips => ("SCMP_ARCH_MIPS", 8, ScmpArch::Mips),
            Arch::Mips64 => ("SCMP_ARCH_MIPS64", 8 | AUDIT_64BIT, ScmpArch::Mips64),
            Arch::Mips64N32 => ("SCMP_ARCH_MIPS64N32", 8 | AUDIT_64BIT | AUDIT_MIPS_N32, ScmpArch::Mips64N32),
            Arch::Mipsel => ("SCMP_ARCH_MIPSEL", 8 | LE, ScmpArch::Mipsel),
            Arch::Mipsel64 => ("SCMP_ARCH_MIPSEL64", 8 | LE64, ScmpArch::Mipsel64),
            Arch::Mipsel64N32 => ("SCMP_ARCH_MIPSEL64N32", 8 | LE64 | AUDIT_MIPS_N32, ScmpArch::Mipsel64N32),
            Arch::Ppc => ("SCMP_ARCH_PPC", 20, ScmpArch::Ppc),
            Arch::Ppc64 => ("SCMP_ARCH_PPC64", 21 | AUDIT_64BIT, ScmpArch::Ppc64),
            Arch::Ppc64Le => ("SCMP_ARCH_PPC64LE", 21 | LE64, ScmpArch::Ppc64Le),
            Arch::S390 => ("SCMP_ARCH_S390", 22, ScmpArch::S390),
            Arch::S390X => ("SCMP_ARCH_S390X", 22 | AUDIT_64BIT, ScmpArch::S390X),
            Arch::Parisc => ("SCMP_ARCH_PARISC", 15, ScmpArch::Parisc),
            Arch::Parisc64 => ("SCMP_ARCH_PARISC64", 15 | AUDIT_64BIT, ScmpArch::Parisc64),
            Arch::Riscv64 => ("SCMP_ARCH_RISCV64", 243 | LE64, ScmpArch::Riscv64),
            Arch::Loongarch64 => ("SCMP_ARCH_LOONGARCH64", 258 | LE64, ScmpArch::Loongarch64),
            Arch::M68k => ("SCMP_ARCH_M68K", 4, ScmpArch::M68k),
            Arch::Sh => ("SCMP_ARCH_SH", 42 | LE, ScmpArch::Sh),
            Arch::Sheb => ("SCMP_ARCH_SHEB", 42, ScmpArch::Sheb),
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(target_arch = "x86_64")]
const NATIVE: Arch = Arch::X86_64;
#[cfg(target_arch = "aarch64")]
const NATIVE: Arch = Arch::Aarch64;
#[cfg(target_arch = "riscv64")]
const NATIVE: Arch = Arch::Riscv64;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
compile_error!("name the native architecture of this target in seccomp/src/arch.rs");
