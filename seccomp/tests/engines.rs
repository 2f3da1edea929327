//! The default profiles of the engines: the compiled program answers as the profile reads, call by call.

mod against_reading;

use against_reading::check;
use serde_json::Value;
use teu_seccomp::{Arch, Policy};

const PROFILES: [(&str, &str); 3] = [
    ("docker-28", include_str!("../testdata/docker-28.json")),
    ("containerd-2.1", include_str!("../testdata/containerd-2.1.json")),
    ("podman-4.3", include_str!("../testdata/podman-4.3.json")),
];

fn profiles() -> impl Iterator<Item = (&'static str, Value)> {
    PROFILES.into_iter().map(|(name, text)| (name, serde_json::from_str(text).expect("a JSON file")))
}

#[test]
fn programs_of_engine_profiles_answer_as_the_profiles_read() {
    for (name, section) in profiles() {
        let (program, compared) = check(&section, Arch::X86_64);
        println!("{name}: {} instructions, {compared} calls compared", program.instructions.len());
        assert!(compared > 5_000, "{name}: only {compared} calls");
        assert!(program.instructions.len() < 400, "{name}: {} instructions", program.instructions.len());
    }
}

/// The same profiles as an engine writes them on other hosts.
#[test]
fn programs_answer_as_the_profiles_read_on_every_architecture() {
    for (name, mut section) in profiles() {
        for native in Arch::ALL.into_iter().filter(|arch| arch.is_in_library()) {
            let relatives = Arch::ALL.into_iter().filter(|arch| arch.runs_on(native) && arch.is_in_library());
            section["architectures"] = relatives.map(Arch::name).collect();
            let (_, compared) = check(&section, native);
            assert!(compared > 600, "{name} on {native}: only {compared} calls");
        }
    }
}

/// These are real profiles, so nobody should see warnings about them but for what is really odd in them.
#[test]
fn engine_profiles_name_known_calls_only() {
    for (name, section) in profiles() {
        let policy = Policy::from_value(&section).expect(name).expect(name);
        let unknown: Vec<_> = policy.warnings().iter().filter(|w| w.message.contains("unknown")).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
}

/// podman 4.3 lists setns among the allowed calls and, further down, among the refused ones.
#[test]
fn a_rule_that_another_overrules_is_reported() {
    let (_, section) = profiles().find(|(name, _)| *name == "podman-4.3").expect("the profile");
    let policy = Policy::from_value(&section).expect("good").expect("a policy");
    let warnings: Vec<_> =
        policy.warnings().iter().map(|w| (w.pointer.as_str(), w.message.as_str())).collect();
    assert_eq!(
        warnings,
        [("/syscalls/10/names/7", "without effect: /syscalls/1 gives \"setns\" SCMP_ACT_ALLOW in any case")]
    );
}
