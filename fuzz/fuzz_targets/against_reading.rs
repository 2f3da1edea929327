//! Compiles a policy and holds the program against the reading of the policy on a sample of calls.

use teu_seccomp::explain::Reading;
use teu_seccomp::{Arch, Policy, SeccompData, compile, simulate};

/// Arguments at the edges of 32 and 64 bits, beside those that the conditions name themselves.
const EDGES: [u64; 6] = [0, 1, 0xffff_ffff, 0x1_0000_0000, 1 << 63, u64::MAX];

pub fn check(policy: &Policy, native: Arch) {
    assert!(policy.warnings().len() <= 101);
    let Ok(program) = compile(policy) else { return };
    assert!(simulate::is_loadable(&program.instructions));
    let reading = Reading::new(policy);
    let values: Vec<u64> =
        EDGES.into_iter().chain(policy.values().flat_map(|v| [v, v ^ 1, v << 32])).take(40).collect();
    for arch in Arch::ALL.into_iter().filter(|arch| arch.runs_on(native)) {
        let numbers = (0..480).step_by(7).map(|nr| arch.first_number() + nr);
        let named =
            policy.names().take(20).filter_map(|name| arch.resolve(name)).flat_map(|target| target.numbers());
        for nr in numbers.chain(named).chain([u32::MAX, 0x8000_0000]) {
            for (at, value) in values.iter().enumerate() {
                let next = values[(at * 7 + 3) % values.len()];
                let data = SeccompData {
                    nr,
                    arch: arch.audit(),
                    instruction_pointer: 0,
                    args: [*value, next, *value, next, *value, next],
                };
                let decision = reading.decide(&data);
                assert_eq!(
                    simulate::run(&program.instructions, &data),
                    decision.action.value(),
                    "{data:x?} {decision:?}"
                );
            }
        }
    }
}
