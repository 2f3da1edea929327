//! The device filter: files on version 1, a program of the kernel's own machine on cgroup2.

use std::os::fd::AsFd;

use super::Cgroup;
use super::dir::Dir;
use crate::error::{Errno, Error, Result};
pub use crate::plan::cgroup::devices::{Access, DeviceType, Exception, POINTER, Policy, Rule};
use crate::sys::bpf::{self, Instruction};

/// The name of our programs, by which they are told from those of systemd.
const PROGRAM_NAME: &str = "teu_devices";

/// Sets what the container may open and make.
///
/// Within a user namespace the kernel permits neither way, and there the host's permissions are what protects it:
/// `rootless` makes a refusal no error.
pub(super) fn apply(cgroup: &Cgroup, policy: &Policy, rootless: bool) -> Result<()> {
    let result = match (cgroup.v1("devices"), cgroup.v2()) {
        (Some(dir), _) => apply_v1(dir, policy),
        (None, Some(dir)) => apply_v2(dir, policy),
        (None, None) if rootless => Ok(()),
        (None, None) => Err(Error::state("no cgroup of the container can filter devices")),
    };
    match result {
        Err(error) if rootless && matches!(error.errno(), Some(Errno::EPERM | Errno::EACCES)) => Ok(()),
        result => result.map_err(|error| error.at(POINTER)),
    }
}

/// What has to be written to get from one policy to another: the file and the line.
///
/// Nobody is in the cgroup yet, so a change of the default may close and open everything in between.
pub fn transition(from: &Policy, to: &Policy) -> Vec<(&'static str, String)> {
    let (add, take) = if to.allow_by_default {
        ("devices.deny", "devices.allow")
    } else {
        ("devices.allow", "devices.deny")
    };
    let mut lines = Vec::new();
    // The list of a cgroup that permits by default does not show its exceptions, so it is always made anew.
    let from_exceptions: &[Exception] = if from.allow_by_default != to.allow_by_default || to.allow_by_default
    {
        lines.push((take, "a".to_owned()));
        &[]
    } else {
        &from.exceptions
    };
    for old in from_exceptions {
        let kept = to.exceptions.iter().find(|new| same_devices(old, new)).map_or(0, |new| new.access.bits());
        let surplus = Access::from_bits(old.access.bits() & !kept);
        if !surplus.is_empty() {
            lines.push((take, Exception { access: surplus, ..*old }.to_string()));
        }
    }
    for new in &to.exceptions {
        let had =
            from_exceptions.iter().find(|old| same_devices(old, new)).map_or(0, |old| old.access.bits());
        let lacking = Access::from_bits(new.access.bits() & !had);
        if !lacking.is_empty() {
            lines.push((add, Exception { access: lacking, ..*new }.to_string()));
        }
    }
    lines
}

fn same_devices(one: &Exception, other: &Exception) -> bool {
    (one.kind, one.major, one.minor) == (other.kind, other.major, other.minor)
}

fn apply_v1(dir: &Dir, policy: &Policy) -> Result<()> {
    let current = read_list(&dir.read_file("devices.list")?);
    for (file, line) in transition(&current, policy) {
        dir.write_file(file, &line)?;
    }
    let mut now = read_list(&dir.read_file("devices.list")?);
    let mut wanted = policy.clone();
    now.exceptions.sort_unstable();
    wanted.exceptions.sort_unstable();
    let as_wanted = now.allow_by_default == wanted.allow_by_default
        && (wanted.allow_by_default || now.exceptions == wanted.exceptions);
    if as_wanted {
        Ok(())
    } else {
        let path = dir.path().join("devices.list");
        Err(Error::state(format!("{} does not show what was written", path.display())))
    }
}

/// Reads `devices.list`. Exceptions of a cgroup that permits by default are not shown by the kernel.
pub fn read_list(content: &str) -> Policy {
    let mut policy = Policy::default();
    for line in content.lines() {
        let mut fields = line.split([' ', ':']);
        let (Some(kind), Some(major), Some(minor), Some(access)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let kind = match kind {
            "a" => {
                policy.allow_by_default = true;
                continue;
            }
            "b" => DeviceType::Block,
            "c" => DeviceType::Char,
            _ => continue,
        };
        let access = Access::parse(access).unwrap_or_default();
        policy.exceptions.push(Exception {
            kind,
            major: major.parse().ok(),
            minor: minor.parse().ok(),
            access,
        });
    }
    policy
}

/// Puts our program into the cgroup, in one step in the place of an older one of ours.
fn apply_v2(dir: &Dir, policy: &Policy) -> Result<()> {
    let failed = |what: &'static str| {
        move |errno| {
            Error::kernel(what, "bpf(2)", errno).hint("a device filter needs CAP_SYS_ADMIN on the host")
        }
    };
    let program = bpf::prog_load_cgroup_device(PROGRAM_NAME, &program(policy))
        .map_err(failed("load the device filter"))?;
    let ids = bpf::prog_query_cgroup_device(dir.as_fd()).map_err(failed("list the device filters"))?;
    let mut ours = Vec::new();
    for id in ids {
        let Ok(fd) = bpf::prog_get_fd_by_id(id) else { continue };
        if bpf::prog_name(&fd).is_ok_and(|name| name == PROGRAM_NAME) {
            ours.push(fd);
        }
    }
    let mut ours = ours.iter();
    match ours.next() {
        Some(old) => bpf::prog_replace_cgroup_device(dir.as_fd(), program.as_fd(), old.as_fd())
            .map_err(failed("replace the device filter"))?,
        None => bpf::prog_attach_cgroup_device(dir.as_fd(), program.as_fd())
            .map_err(failed("attach the device filter"))?,
    }
    // More than one of ours is left by a command that was killed here; the new one is in force by now.
    for old in ours {
        bpf::prog_detach_cgroup_device(dir.as_fd(), old.as_fd())
            .map_err(failed("detach the old device filter"))?;
    }
    Ok(())
}

/// Operation codes of the machine: class, source of the operand, operation.
mod code {
    pub const LOAD_WORD: u8 = 0x61; // LDX | MEM | W
    pub const MOVE_IMMEDIATE: u8 = 0xb7; // ALU64 | MOV | K
    pub const MOVE_REGISTER: u8 = 0xbf; // ALU64 | MOV | X
    pub const AND_IMMEDIATE: u8 = 0x57; // ALU64 | AND | K
    pub const SHIFT_RIGHT: u8 = 0x77; // ALU64 | RSH | K
    pub const JUMP_IF_EQUAL: u8 = 0x16; // JMP32 | JEQ | K
    pub const JUMP_UNLESS_EQUAL: u8 = 0x56; // JMP32 | JNE | K
    pub const EXIT: u8 = 0x95;
}

/// What each register holds.
mod register {
    pub const RESULT: u8 = 0;
    /// The context on entry, later the accesses in question.
    pub const SCRATCH: u8 = 1;
    pub const KIND: u8 = 2;
    pub const ACCESS: u8 = 3;
    pub const MAJOR: u8 = 4;
    pub const MINOR: u8 = 5;
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: from << 4 | to, offset, immediate }
}

/// The policy as a program: one block for each exception, then the default.
///
/// Its context is three words: sort of node and accesses, major number, minor number. It returns 1 to permit.
pub fn program(policy: &Policy) -> Vec<Instruction> {
    use register::{ACCESS, KIND, MAJOR, MINOR, RESULT, SCRATCH};
    let mut program = vec![
        instruction(code::LOAD_WORD, KIND, SCRATCH, 0, 0),
        instruction(code::MOVE_REGISTER, ACCESS, KIND, 0, 0),
        instruction(code::AND_IMMEDIATE, KIND, 0, 0, 0xffff),
        instruction(code::SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(code::LOAD_WORD, MAJOR, SCRATCH, 4, 0),
        instruction(code::LOAD_WORD, MINOR, SCRATCH, 8, 0),
    ];
    for exception in &policy.exceptions {
        program.extend(block(exception, policy.allow_by_default));
    }
    program.push(instruction(code::MOVE_IMMEDIATE, RESULT, 0, 0, i32::from(policy.allow_by_default)));
    program.push(instruction(code::EXIT, 0, 0, 0, 0));
    program
}

fn block(exception: &Exception, allow_by_default: bool) -> Vec<Instruction> {
    use register::{ACCESS, KIND, MAJOR, MINOR, RESULT, SCRATCH};
    let mut block = vec![instruction(code::JUMP_UNLESS_EQUAL, KIND, 0, 0, exception.kind as i32)];
    // A permission must cover every access in question, a prohibition strikes when it concerns one of them.
    let (mask, skip) = if allow_by_default {
        (exception.access.bits(), code::JUMP_IF_EQUAL)
    } else {
        (!exception.access.bits() & Access::ALL.bits(), code::JUMP_UNLESS_EQUAL)
    };
    // No access is outside of a permission of them all.
    if mask != 0 {
        block.push(instruction(code::MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
        block.push(instruction(code::AND_IMMEDIATE, SCRATCH, 0, 0, i32::from(mask)));
        block.push(instruction(skip, SCRATCH, 0, 0, 0));
    }
    for (register, number) in [(MAJOR, exception.major), (MINOR, exception.minor)] {
        if let Some(number) = number {
            block.push(instruction(code::JUMP_UNLESS_EQUAL, register, 0, 0, number.cast_signed()));
        }
    }
    block.push(instruction(code::MOVE_IMMEDIATE, RESULT, 0, 0, i32::from(!allow_by_default)));
    block.push(instruction(code::EXIT, 0, 0, 0, 0));
    // Every jump so far leads behind the block.
    let length = block.len() as i16;
    for (index, instruction) in block.iter_mut().enumerate() {
        if matches!(instruction.code, code::JUMP_IF_EQUAL | code::JUMP_UNLESS_EQUAL) {
            instruction.offset = length - index as i16 - 1;
        }
    }
    block
}
