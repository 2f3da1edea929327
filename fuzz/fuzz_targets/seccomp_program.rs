//! Any bytes as a stored program: see README.md.
#![no_main]

use libfuzzer_sys::fuzz_target;
use teu_seccomp::{Instruction, Program, SeccompData, simulate};

fuzz_target!(|bytes: &[u8]| {
    let data =
        SeccompData { nr: 5, arch: 0xc000_003e, instruction_pointer: 7, args: [1, 2, 3, 4, 5, u64::MAX] };
    if let Some(program) = Program::from_bytes(bytes) {
        assert_eq!(program.to_bytes(), bytes);
        simulate::run(&program.instructions, &data);
    }
    // Programs that no check has passed must not do harm either.
    let instructions: Vec<Instruction> = bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| Instruction {
            code: u16::from_le_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        })
        .collect();
    simulate::run(&instructions, &data);
});
