//! A machine for seccomp programs: what the kernel would answer, without loading anything.
//!
//! It runs the part of classic BPF that the kernel accepts in a seccomp filter, and refuses what the kernel
//! refuses at load time. Nothing here knows policies, so tests can hold it against the reading of one.
//!
//! Source: kernel/seccomp.c (`seccomp_check_filter`, `populate_seccomp_data`) and net/core/filter.c (`bpf_check_classic`).

use crate::compile::Instruction;

/// What a filter sees of one system call (`struct seccomp_data`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeccompData {
    /// Number of the call, with the x32 bit where it applies.
    pub nr: u32,
    /// `AUDIT_ARCH_*` of the call.
    pub arch: u32,
    /// Address of the instruction that made the call.
    pub instruction_pointer: u64,
    /// The six arguments, zero-extended on 32-bit architectures.
    pub args: [u64; 6],
}

/// What `program` returns for a call: `SECCOMP_RET_*` with its data.
///
/// Where the run meets an instruction the kernel would not have loaded, or the end of the program, the answer is 0,
/// `SECCOMP_RET_KILL_THREAD`. Jumps only go forward, so every run ends.
pub fn run(program: &[Instruction], data: &SeccompData) -> u32 {
    evaluate(program, data).unwrap_or(0)
}

/// Whether the kernel would accept the program.
pub fn is_loadable(program: &[Instruction]) -> bool {
    let Ok(length) = u32::try_from(program.len()) else { return false };
    let ends_in_return = program.last().is_some_and(|last| last.code & CLASS == RET);
    length <= MAX_LENGTH
        && ends_in_return
        && program.iter().zip(0..).all(|(instruction, at)| is_allowed(instruction, at, length))
}

/// Most instructions of one filter (`BPF_MAXINSNS`).
pub const MAX_LENGTH: u32 = 4096;
/// Bytes of `struct seccomp_data`.
const DATA_LENGTH: u32 = 64;
const SCRATCH_WORDS: u32 = 16;

// Instruction classes and modes, as linux/bpf_common.h names them.
pub(crate) const CLASS: u16 = 0x07;
pub(crate) const LD: u16 = 0x00;
pub(crate) const LDX: u16 = 0x01;
pub(crate) const ST: u16 = 0x02;
pub(crate) const STX: u16 = 0x03;
pub(crate) const ALU: u16 = 0x04;
pub(crate) const JMP: u16 = 0x05;
pub(crate) const RET: u16 = 0x06;
pub(crate) const MISC: u16 = 0x07;
pub(crate) const ABS: u16 = 0x20;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
pub(crate) const X: u16 = 0x08;
const A: u16 = 0x10;
pub(crate) const AND: u16 = 0x50;
pub(crate) const JA: u16 = 0x00;
pub(crate) const JEQ: u16 = 0x10;
pub(crate) const JGT: u16 = 0x20;
pub(crate) const JGE: u16 = 0x30;
const JSET: u16 = 0x40;
const TAX: u16 = 0x00;
const TXA: u16 = 0x80;
const NEG: u16 = 0x80;
/// Bits that select the operation of an ALU or jump instruction.
const OPERATION: u16 = 0xf0;

fn is_allowed(instruction: &Instruction, at: u32, length: u32) -> bool {
    let Instruction { code, jt, jf, k } = *instruction;
    // `at` is below `length`; a jump must land on an instruction.
    let lands = |offset: u32| offset < length - at - 1;
    match code & CLASS {
        LD if code == LD | ABS => k < DATA_LENGTH && k % 4 == 0,
        LD | LDX if code & !CLASS == MEM => k < SCRATCH_WORDS,
        LD | LDX => matches!(code & !CLASS, 0 | LEN),
        ST | STX => code & !CLASS == 0 && k < SCRATCH_WORDS,
        ALU => match code & OPERATION {
            NEG => code == ALU | NEG,
            0x30 | 0x90 => false,
            0x60 | 0x70 => code & X != 0 || k < 32,
            operation => operation <= 0xa0,
        },
        JMP if code == JMP | JA => lands(k),
        JMP => {
            matches!(code & OPERATION, JEQ | JGT | JGE | JSET) && lands(u32::from(jt)) && lands(u32::from(jf))
        }
        RET => matches!(code & !CLASS, 0 | A),
        MISC => matches!(code & !CLASS, TAX | TXA),
        _ => false,
    }
}

/// The run itself; `None` where an accepted program cannot come.
fn evaluate(program: &[Instruction], data: &SeccompData) -> Option<u32> {
    let (mut a, mut x, mut at) = (0_u32, 0_u32, 0_usize);
    let mut scratch = [0_u32; SCRATCH_WORDS as usize];
    let length = u32::try_from(program.len()).ok().filter(|length| *length <= MAX_LENGTH)?;
    loop {
        let instruction = program.get(at)?;
        if !is_allowed(instruction, u32::try_from(at).ok()?, length) {
            return None;
        }
        let Instruction { code, jt, jf, k } = *instruction;
        at += 1;
        let operand = if code & X != 0 { x } else { k };
        let word = usize::try_from(k).ok()?;
        match code & CLASS {
            LD | LDX => {
                let value = match code & !CLASS {
                    ABS => load(data, k)?,
                    MEM => *scratch.get(word)?,
                    LEN => DATA_LENGTH,
                    _ => k,
                };
                *(if code & CLASS == LD { &mut a } else { &mut x }) = value;
            }
            ST => *scratch.get_mut(word)? = a,
            STX => *scratch.get_mut(word)? = x,
            ALU => a = calculate(code & OPERATION, a, operand),
            JMP if code & OPERATION == JA => at = at.checked_add(word)?,
            JMP => {
                let holds = match code & OPERATION {
                    JEQ => a == operand,
                    JGT => a > operand,
                    JGE => a >= operand,
                    _ => a & operand != 0,
                };
                at += usize::from(if holds { jt } else { jf });
            }
            RET => return Some(if code & !CLASS == A { a } else { k }),
            _ if code & !CLASS == TAX => x = a,
            _ => a = x,
        }
    }
}

/// One 32-bit word of the data, in the byte order of the call's architecture.
fn load(data: &SeccompData, offset: u32) -> Option<u32> {
    let halves = |value: u64| ((value & 0xffff_ffff) as u32, (value >> 32) as u32);
    let little_endian = data.arch & 0x4000_0000 != 0;
    let half = |value: u64, first: bool| {
        let (low, high) = halves(value);
        if first == little_endian { low } else { high }
    };
    match offset {
        0 => Some(data.nr),
        4 => Some(data.arch),
        8 | 12 => Some(half(data.instruction_pointer, offset == 8)),
        _ => {
            let word = offset.checked_sub(16)? / 4;
            Some(half(*data.args.get(usize::try_from(word / 2).ok()?)?, word % 2 == 0))
        }
    }
}

fn calculate(operation: u16, a: u32, operand: u32) -> u32 {
    match operation {
        0x00 => a.wrapping_add(operand),
        0x10 => a.wrapping_sub(operand),
        0x20 => a.wrapping_mul(operand),
        0x40 => a | operand,
        AND => a & operand,
        0x60 => a.wrapping_shl(operand),
        0x70 => a.wrapping_shr(operand),
        NEG => a.wrapping_neg(),
        _ => a ^ operand,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    fn run_on(program: &[Instruction], nr: u32) -> u32 {
        run(program, &SeccompData { nr, arch: 0xc000_003e, ..Default::default() })
    }

    #[test]
    fn a_jump_takes_the_branch_of_its_condition() {
        for (operation, taken) in
            [(JEQ, [false, true, false]), (JGT, [false, false, true]), (JGE, [false, true, true])]
        {
            let program = [
                instruction(LD | ABS, 0, 0, 0),
                instruction(JMP | operation, 0, 1, 5),
                instruction(RET, 0, 0, 111),
                instruction(RET, 0, 0, 222),
            ];
            for (nr, taken) in [4, 5, 6].into_iter().zip(taken) {
                assert_eq!(run_on(&program, nr), if taken { 111 } else { 222 }, "{operation:#x} {nr}");
            }
        }
    }

    #[test]
    fn halves_of_arguments_come_in_the_byte_order_of_the_architecture() {
        let first_half_of_argument_1 = [instruction(LD | ABS, 0, 0, 24), instruction(RET | A, 0, 0, 0)];
        let data =
            |arch| SeccompData { arch, args: [0, 0x1111_2222_3333_4444, 0, 0, 0, 0], ..Default::default() };
        assert_eq!(run(&first_half_of_argument_1, &data(0xc000_003e)), 0x3333_4444);
        assert_eq!(run(&first_half_of_argument_1, &data(0x8000_0016)), 0x1111_2222);
    }

    /// The rules of `seccomp_check_filter`: what the kernel would not load is not run.
    #[test]
    fn programs_the_kernel_refuses_kill() {
        let ret = instruction(RET, 0, 0, 0x7fff_0000);
        assert_eq!(run_on(&[ret], 0), 0x7fff_0000);
        let refused: [&[Instruction]; 8] = [
            &[],
            &[instruction(LD | ABS, 0, 0, 0)],
            &[instruction(LD | ABS, 0, 0, 64), ret],
            &[instruction(LD | ABS, 0, 0, 2), ret],
            &[instruction(JMP | JA, 0, 0, 1), ret],
            &[instruction(JMP | JEQ, 1, 0, 0), ret],
            &[instruction(LD | 0x40, 0, 0, 0), ret],
            &[instruction(ALU | 0x30, 0, 0, 0), ret],
        ];
        for program in refused {
            assert!(!is_loadable(program), "{program:?}");
            assert_eq!(run_on(program, 0), 0, "{program:?}");
        }
        assert!(!is_loadable(&vec![ret; 4097]));
        assert!(is_loadable(&vec![ret; 4096]));
    }

    #[test]
    fn scratch_memory_and_arithmetic_work() {
        let program = [
            instruction(LD | ABS, 0, 0, 0),
            instruction(ST, 0, 0, 3),
            instruction(LDX | MEM, 0, 0, 3),
            instruction(ALU | X, 0, 0, 0),
            instruction(ALU | AND, 0, 0, 0xff),
            instruction(MISC | TAX, 0, 0, 0),
            instruction(LD, 0, 0, 0),
            instruction(MISC | TXA, 0, 0, 0),
            instruction(RET | A, 0, 0, 0),
        ];
        assert_eq!(run_on(&program, 0x181), 0x02);
    }
}
