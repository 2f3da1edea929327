//! The default profile: every decision has a reason, and every call of the kernel a decision.

mod against_reading;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use teu_seccomp::arch::Target;
use teu_seccomp::{Arch, DEFAULT_PROFILE, SeccompData, compile, simulate, tables};

const REASONS: &str = include_str!("../profiles/README.md");
const ARCHES: [Arch; 4] = [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm];

fn profile() -> Value {
    serde_json::from_str(DEFAULT_PROFILE).expect("a JSON file")
}

/// A section of the companion page: what stands in its text and in its block of names.
struct Section {
    reason: String,
    names: BTreeSet<String>,
}

/// Sections below the given part, by heading.
fn sections(part: &str) -> BTreeMap<String, Section> {
    let (_, rest) = REASONS.split_once(&format!("\n# {part}\n")).expect("the part");
    let rest = rest.split("\n# ").next().expect("text");
    let mut sections = BTreeMap::new();
    for section in rest.split("\n## ").skip(1) {
        let (heading, body) = section.split_once('\n').expect("a heading");
        let mut pieces = body.split("```");
        let reason = pieces.next().expect("a reason").trim().to_owned();
        let names = pieces.next().expect("names").split_whitespace().map(str::to_owned).collect();
        assert!(sections.insert(heading.to_owned(), Section { reason, names }).is_none(), "{heading} twice");
    }
    sections
}

#[test]
fn every_rule_has_a_section_with_its_names_and_a_reason() {
    let mut sections = sections("Allowed");
    for rule in profile()["syscalls"].as_array().expect("rules") {
        let comment = rule["comment"].as_str().expect("a comment");
        let section = sections.remove(comment).unwrap_or_else(|| panic!("no section for {comment}"));
        assert!(section.reason.len() > 15, "{comment}: no reason");
        let names: Vec<&str> =
            rule["names"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
        assert!(names.is_sorted(), "{comment} is not sorted");
        assert_eq!(names.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), section.names, "{comment}");
    }
    assert!(sections.is_empty(), "sections without a rule: {:?}", sections.keys());
}

/// A call that a new kernel brings fails this test until somebody decides about it.
#[test]
fn every_call_is_either_allowed_or_refused() {
    let mut decided = BTreeSet::new();
    for (heading, section) in sections("Allowed").into_iter().chain(sections("Refused")) {
        assert!(section.reason.len() > 15, "{heading}: no reason");
        for name in section.names {
            assert!(Arch::NATIVE.is_name_known(&name), "{heading}: nobody knows {name}");
            assert!(decided.insert(name.clone()), "{name} is decided twice");
        }
    }
    let mut known = BTreeSet::new();
    for arch in ARCHES {
        known.extend((0..600).filter_map(|nr| arch.name_of(nr)));
        known.extend(tables::names().filter(|name| arch.resolve(name).is_some()).map(str::to_owned));
    }
    let undecided: Vec<_> = known.difference(&decided).collect();
    assert!(known.len() > 450 && undecided.is_empty(), "no decision about {undecided:?}");
}

#[test]
fn programs_answer_as_the_profile_reads() {
    for native in [Arch::X86_64, Arch::Aarch64] {
        let policy = against_reading::policy(&profile(), native);
        assert!(policy.warnings().is_empty(), "{:?}", policy.warnings());
        let (program, compared) = against_reading::check(&profile(), native);
        println!("{native}: {} instructions, {compared} calls compared", program.instructions.len());
        assert!(program.instructions.len() < 400, "{} instructions", program.instructions.len());
    }
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn answer(native: Arch, arch: Arch, nr: u32, args: [u64; 6]) -> u32 {
    let program = compile(&against_reading::policy(&profile(), native)).expect("a program");
    simulate::run(
        &program.instructions,
        &SeccompData { nr, arch: arch.audit(), instruction_pointer: 0, args },
    )
}

fn number(arch: Arch, name: &str) -> u32 {
    match arch.resolve(name) {
        Some(Target::Number(nr) | Target::Multiplexed { direct: Some(nr), .. }) => nr,
        other => panic!("{name} on {arch}: {other:?}"),
    }
}

#[test]
fn what_changes_the_machine_is_refused() {
    for native in [Arch::X86_64, Arch::Aarch64] {
        for arch in ARCHES.into_iter().filter(|arch| arch.runs_on(native)) {
            let check = |name: &str, first: u64, expected: u32| {
                let found = answer(native, arch, number(arch, name), [first, 0, 0, 0, 0, 0]);
                assert_eq!(found, expected, "{name}({first:#x}) on {arch}");
            };
            for name in
                ["mount", "umount2", "pivot_root", "fsopen", "open_tree", "mount_setattr", "unshare", "setns"]
            {
                check(name, 0, EPERM);
            }
            for name in
                ["init_module", "kexec_load", "reboot", "bpf", "perf_event_open", "io_uring_setup", "keyctl"]
            {
                check(name, 0, EPERM);
            }
            for name in [
                "userfaultfd",
                "settimeofday",
                "syslog",
                "swapon",
                "acct",
                "open_by_handle_at",
                "pidfd_getfd",
            ] {
                check(name, 0, EPERM);
            }
            check("clone3", 0, ENOSYS);
            check("clone", 0x003d_0f00, ALLOW);
            for namespace in
                [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
            {
                check("clone", namespace | 17, EPERM);
            }
            for (family, expected) in [
                (1, ALLOW),
                (2, ALLOW),
                (10, ALLOW),
                (16, ALLOW),
                (17, ALLOW),
                (38, EPERM),
                (40, EPERM),
                (29, EPERM),
            ] {
                check("socket", family, expected);
            }
            check("socketpair", 1, ALLOW);
            check("socketpair", 38, EPERM);
            check("personality", 0xffff_ffff, ALLOW);
            check("personality", 0x0004_0000, EPERM);
            for name in [
                "read",
                "execve",
                "exit_group",
                "futex",
                "mmap2",
                "openat",
                "connect",
                "getrandom",
                "mseal",
                "file_getattr",
            ] {
                if arch.resolve(name).is_some() {
                    check(name, 0, ALLOW);
                }
            }
            for newer in [470, 471, 480, 600, 1000] {
                assert_eq!(answer(native, arch, newer, [0; 6]), ENOSYS, "{newer} on {arch}");
            }
        }
    }
}

/// On i386 a socket of any family could be made through socketcall, whose arguments a filter cannot see.
#[test]
fn socketcall_is_no_way_around_the_families() {
    let socketcall = number(Arch::X86, "socketcall");
    let function = |function| answer(Arch::X86_64, Arch::X86, socketcall, [function, 0, 0, 0, 0, 0]);
    assert_eq!(function(1), EPERM, "socket");
    assert_eq!(function(8), EPERM, "socketpair");
    for other in [2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20] {
        assert_eq!(function(other), ALLOW, "function {other}");
    }
    assert_eq!(function(21), EPERM);
    assert_eq!(
        answer(Arch::X86_64, Arch::X86, number(Arch::X86, "ipc"), [0x1_0015, 0, 0, 0, 0, 0]),
        ALLOW,
        "shmat"
    );
}

#[test]
fn x32_is_hidden() {
    for nr in [0, 1, 39, 512, 547] {
        assert_eq!(answer(Arch::X86_64, Arch::X86_64, 0x4000_0000 | nr, [0; 6]), ENOSYS, "{nr}");
    }
}
