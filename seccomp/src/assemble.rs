//! Writing classic BPF from its end to its start.
//!
//! Jumps of classic BPF only go forward, so when the end is written first every target is known and a jump needs
//! no second pass. A [`Label`] is the distance of an instruction from the end. A conditional jump reaches 255
//! instructions; for a farther target the assembler puts an unconditional jump, or another return, in between.

use crate::arch::Arch;
use crate::compile::Instruction;
use crate::policy::{Condition, Error, Operator};
use crate::simulate::{ABS, ALU, AND, JA, JEQ, JGE, JGT, JMP, LD, MAX_LENGTH, RET};

/// A place in the program that jumps can aim at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label(u32);

/// The program so far, last instruction first.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    reversed: Vec<Instruction>,
    /// For each returned value the place of its newest return instruction.
    returns: Vec<(u32, Label)>,
}

/// Offsets in `struct seccomp_data`.
pub(crate) const OFFSET_NR: u32 = 0;
pub(crate) const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

/// Distance up to which a return instruction is shared; below 255 so that a few instructions fit in between.
const SHARE_REACH: u32 = 240;

impl Assembler {
    /// The finished program.
    ///
    /// Errors: more than 4096 instructions, which the kernel would refuse.
    pub fn finish(mut self) -> Result<Vec<Instruction>, Error> {
        self.check_length()?;
        self.reversed.reverse();
        Ok(self.reversed)
    }

    /// Fails as soon as the program is too long for the kernel, so that hostile input does not grow it further.
    pub fn check_length(&self) -> Result<(), Error> {
        if self.reversed.len() > MAX_LENGTH as usize {
            let message =
                format!("the compiled program is longer than the {MAX_LENGTH} instructions the kernel takes");
            return Err(Error { pointer: "/syscalls".to_owned(), message });
        }
        Ok(())
    }

    /// Loads a 32-bit word of the call's data and goes on at `next`.
    pub fn load(&mut self, offset: u32, next: Label) -> Label {
        self.fall_into(next);
        self.push(LD | ABS, 0, 0, offset)
    }

    /// Returns `value`, sharing a return that is near enough.
    pub fn ret(&mut self, value: u32) -> Label {
        if let Some((_, label)) = self.returns.iter().find(|(known, _)| *known == value)
            && self.distance(*label) < SHARE_REACH
        {
            return *label;
        }
        let label = self.push(RET, 0, 0, value);
        self.returns.retain(|(known, _)| *known != value);
        self.returns.push((value, label));
        label
    }

    /// Jumps to `yes` when the loaded word is `value`, else to `no`.
    pub fn jump_equal(&mut self, value: u32, yes: Label, no: Label) -> Label {
        self.branch(JEQ, value, yes, no)
    }

    /// Jumps to `yes` when the loaded word is at least `value`, else to `no`.
    pub fn jump_at_least(&mut self, value: u32, yes: Label, no: Label) -> Label {
        self.branch(JGE, value, yes, no)
    }

    /// Tests one argument: to `yes` when the condition holds, else to `no`.
    pub fn test(&mut self, arch: Arch, condition: &Condition, yes: Label, no: Label) -> Label {
        let argument = Argument::of(arch, condition);
        let value = condition.value;
        match condition.operator {
            Operator::Equal => self.test_equal(argument, u64::MAX, value, yes, no),
            Operator::NotEqual => self.test_equal(argument, u64::MAX, value, no, yes),
            Operator::MaskedEqual => self.test_equal(argument, value, condition.masked_value(), yes, no),
            Operator::GreaterOrEqual => self.test_order(argument, JGE, value, yes, no),
            Operator::Greater => self.test_order(argument, JGT, value, yes, no),
            Operator::Less => self.test_order(argument, JGE, value, no, yes),
            Operator::LessOrEqual => self.test_order(argument, JGT, value, no, yes),
        }
    }

    fn test_equal(&mut self, argument: Argument, mask: u64, value: u64, yes: Label, no: Label) -> Label {
        let low = self.test_half(argument.low, low_half(mask), low_half(value), yes, no);
        match argument.high {
            Some(high) => self.test_half(high, high_half(mask), high_half(value), low, no),
            None => low,
        }
    }

    fn test_half(&mut self, offset: u32, mask: u32, value: u32, yes: Label, no: Label) -> Label {
        if mask == 0 {
            // Both sides are masked, so 0 == 0 holds.
            return yes;
        }
        let mut next = self.branch(JEQ, value, yes, no);
        if mask != u32::MAX {
            self.fall_into(next);
            next = self.push(ALU | AND, 0, 0, mask);
        }
        self.load(offset, next)
    }

    /// The upper half decides unless it is equal; then the lower half does.
    fn test_order(&mut self, argument: Argument, operation: u16, value: u64, yes: Label, no: Label) -> Label {
        let low = self.branch(operation, low_half(value), yes, no);
        let low = self.load(argument.low, low);
        let Some(offset) = argument.high else { return low };
        let high = self.branch(JEQ, high_half(value), low, no);
        let high = self.branch(JGT, high_half(value), yes, high);
        self.load(offset, high)
    }

    fn branch(&mut self, operation: u16, value: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        // A bridge moves the other target one instruction away; the second look covers that.
        let no = self.within_reach(no, 254);
        let yes = self.within_reach(yes, 255);
        let no = self.within_reach(no, 255);
        let offset = |label| u8::try_from(self.distance(label)).unwrap_or(u8::MAX);
        let (jt, jf) = (offset(yes), offset(no));
        self.push(JMP | operation, jt, jf, value)
    }

    /// Makes the instruction to be pushed next go on at `label`.
    fn fall_into(&mut self, label: Label) {
        let distance = self.distance(label);
        if distance > 0 {
            self.push(JMP | JA, 0, 0, distance);
        }
    }

    /// The label itself, or that of a bridge to it when it is more than `reach` instructions away.
    fn within_reach(&mut self, label: Label, reach: u32) -> Label {
        let distance = self.distance(label);
        if distance <= reach { label } else { self.push(JMP | JA, 0, 0, distance) }
    }

    /// Jump offset from the instruction to be pushed next.
    fn distance(&self, label: Label) -> u32 {
        self.next().0 - label.0 - 1
    }

    fn next(&self) -> Label {
        // The length is checked against 4096 long before it could leave 32 bits.
        Label(u32::try_from(self.reversed.len()).unwrap_or(u32::MAX))
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        let label = self.next();
        self.reversed.push(Instruction { code, jt, jf, k });
        label
    }
}

/// Where the halves of an argument are; no upper half when only the lower one is compared.
#[derive(Clone, Copy)]
struct Argument {
    low: u32,
    high: Option<u32>,
}

impl Argument {
    fn of(arch: Arch, condition: &Condition) -> Argument {
        let first = OFFSET_ARGS + 8 * u32::from(condition.index);
        let (low, high) = if arch.is_big_endian() { (first + 4, first) } else { (first, first + 4) };
        Argument { low, high: condition.is_wide(arch).then_some(high) }
    }
}

fn low_half(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

fn high_half(value: u64) -> u32 {
    (value >> 32) as u32
}
