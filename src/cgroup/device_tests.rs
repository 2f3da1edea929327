//! The device filter against a simulator of its machine, and against the kernel.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::stat::{Mode as Permissions, SFlag, makedev, mknod};
use serde_json::json;

use super::devices::{Access, DeviceType, Exception, Policy, program, read_list, transition};
use super::tests::Trial;
use crate::error::Errno;
use crate::plan::cgroup::device_table::lists;
use crate::plan::cgroup::devices::plan_devices;
use crate::plan::cgroup::devices::tests::for_every_access;
use crate::report::Report;
use crate::sys::bpf::Instruction;

/// Runs a program of the kernel's machine as far as device programs use it.
///
/// Every way through the program must be of finite length and read registers only after they were written.
fn simulate(program: &[Instruction], context: [u32; 3]) -> u64 {
    const CONTEXT: u64 = 0x1000;
    let mut registers: [Option<u64>; 11] = [None; 11];
    registers[1] = Some(CONTEXT);
    let mut at = 0_usize;
    for _ in 0..=program.len() {
        let Instruction { code, registers: pair, offset, immediate } = program[at];
        let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
        let immediate = i64::from(immediate).cast_unsigned();
        let mut jump = 0;
        match code {
            0x61 => {
                let address = registers[from].unwrap() - CONTEXT + u64::from(offset.unsigned_abs());
                registers[to] = Some(u64::from(context[address as usize / 4]));
            }
            0xb7 => registers[to] = Some(immediate),
            0xbf => registers[to] = registers[from],
            0x57 => registers[to] = Some(registers[to].unwrap() & immediate),
            0x77 => registers[to] = Some(registers[to].unwrap() >> immediate),
            0x16 if registers[to].unwrap() as u32 == immediate as u32 => jump = offset,
            0x56 if registers[to].unwrap() as u32 != immediate as u32 => jump = offset,
            0x16 | 0x56 => {}
            0x95 => return registers[0].unwrap(),
            other => panic!("operation {other:#x}"),
        }
        assert!(jump >= 0, "a device program has no loops");
        at += 1 + usize::from(jump.unsigned_abs());
    }
    panic!("no end");
}

#[test]
fn programs_do_what_the_policies_say() {
    for list in lists().iter().filter(|list| !list.is_refused) {
        let policy = plan_devices(&list.rules, &[], &mut Report::of_first_error()).unwrap();
        let program = program(&policy);
        for_every_access(|kind, major, minor, access| {
            let context = [kind as u32 | u32::from(access.bits()) << 16, major, minor];
            let result = simulate(&program, context);
            let expected = u64::from(policy.permits(kind, major, minor, access));
            assert_eq!(result, expected, "{}: {kind:?} {major}:{minor} {access}", list.text);
        });
    }
}

/// What the files of version 1 hold after these lines were written: the rules of the kernel, without its limits.
fn write_lines(mut policy: Policy, lines: &[(&str, String)]) -> Policy {
    for (file, line) in lines {
        let allow = *file == "devices.allow";
        if line == "a" {
            policy = Policy { allow_by_default: allow, exceptions: Vec::new() };
            continue;
        }
        let rule = read_list(line).exceptions[0];
        let same = |e: &Exception| (e.kind, e.major, e.minor) == (rule.kind, rule.major, rule.minor);
        let old = policy.exceptions.iter().find(|e| same(e)).map_or(0, |e| e.access.bits());
        let new = if allow == policy.allow_by_default {
            old & !rule.access.bits()
        } else {
            old | rule.access.bits()
        };
        policy.exceptions.retain(|e| !same(e));
        if new != 0 {
            policy.exceptions.push(Exception { access: Access::from_bits(new), ..rule });
        }
    }
    policy.exceptions.sort_unstable();
    policy
}

#[test]
fn a_transition_leads_from_any_policy_to_any_other() {
    let policies: Vec<Policy> = lists()
        .iter()
        .filter(|list| !list.is_refused)
        .map(|list| plan_devices(&list.rules, &[], &mut Report::of_first_error()).unwrap())
        .collect();
    for from in &policies {
        for to in &policies {
            let mut expected = to.clone();
            expected.exceptions.sort_unstable();
            assert_eq!(write_lines(from.clone(), &transition(from, to)), expected);
        }
        if !from.allow_by_default {
            assert_eq!(transition(from, from), [], "nothing is written when nothing changes");
        }
    }
}

#[test]
fn a_list_of_the_kernel_is_read_back() {
    let exception = |kind, major, minor, access: &str| Exception {
        kind,
        major,
        minor,
        access: Access::parse(access).unwrap(),
    };
    let policy = read_list("c *:* m\nb 8:* rw\nc 1:3 rwm\n");
    assert!(!policy.allow_by_default);
    let expected = [
        exception(DeviceType::Char, None, None, "m"),
        exception(DeviceType::Block, Some(8), None, "rw"),
        exception(DeviceType::Char, Some(1), Some(3), "rwm"),
    ];
    assert_eq!(policy.exceptions, expected);
    assert!(read_list("a *:* rwm\n").allow_by_default);
}

/// Devices that are opened for the test. Numbers without a driver do: the filter is asked before.
const NODES: &[(DeviceType, u32, u32)] = &[
    (DeviceType::Char, 1, 3),
    (DeviceType::Char, 1, 11),
    (DeviceType::Char, 240, 1),
    (DeviceType::Char, 240, 2),
    (DeviceType::Char, 241, 1),
    (DeviceType::Char, 136, 4_000),
    (DeviceType::Block, 240, 1),
    (DeviceType::Block, 241, 1),
    (DeviceType::Block, 241, 2),
];

const ACCESSES: &[&str] = &["r", "w", "rw", "m"];

fn make_node(path: &Path, (kind, major, minor): (DeviceType, u32, u32)) -> Result<(), Errno> {
    let kind = if kind == DeviceType::Block { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
    mknod(path, kind, Permissions::from_bits_truncate(0o600), makedev(u64::from(major), u64::from(minor)))
}

/// Tries every access to every node of `directory` and prints a letter for each: `+` permitted, `-` not.
fn try_everything(directory: &Path) -> String {
    let mut letters = String::new();
    for (index, node) in NODES.iter().enumerate() {
        for access in ACCESSES {
            let errno = if *access == "m" {
                let path = directory.join("new");
                let made = make_node(&path, *node);
                let _ = std::fs::remove_file(path);
                made.err().map(|errno| errno as i32)
            } else {
                let (read, write) = (access.contains('r'), access.contains('w'));
                let mut options = std::fs::OpenOptions::new();
                let options =
                    options.read(read).write(write).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
                options.open(directory.join(index.to_string())).err().and_then(|error| error.raw_os_error())
            };
            assert_ne!(errno, Some(Errno::EACCES as i32), "{} is mounted with nodev", directory.display());
            letters.push(if errno == Some(Errno::EPERM as i32) { '-' } else { '+' });
        }
    }
    letters
}

/// What [`try_everything`] should print.
fn expected(policy: &Policy) -> String {
    let permits = |node: &(DeviceType, u32, u32), access: &str| {
        policy.permits(node.0, node.1, node.2, Access::parse(access).unwrap())
    };
    NODES
        .iter()
        .flat_map(|node| ACCESSES.iter().map(move |access| if permits(node, access) { '+' } else { '-' }))
        .collect()
}

const DIRECTORY: &str = "TEU_TEST_DEVICE_NODES";

/// Not a test by itself: the process that is put into a cgroup by the test below.
#[test]
#[ignore = "runs within another test"]
fn device_probe() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let mut go = [0];
    std::io::stdin().read_exact(&mut go).unwrap();
    println!("\nresult {}", try_everything(Path::new(&directory)));
}

#[test]
#[ignore = "needs root and cgroups"]
fn the_kernel_permits_what_the_policy_permits() {
    let directory = std::env::temp_dir().join(format!("teu-test-nodes-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    for (index, node) in NODES.iter().enumerate() {
        make_node(&directory.join(index.to_string()), *node).unwrap();
    }
    let failures: Vec<String> = lists()
        .iter()
        .enumerate()
        .filter(|(_, list)| !list.is_refused)
        .filter_map(|(index, list)| {
            let policy = plan_devices(&list.rules, &[], &mut Report::of_first_error()).unwrap();
            let resources = json!({ "devices": list.rules }).to_string();
            let mut trial = Trial::new(&format!("devices{index}"), &resources).unwrap();
            let mut probe = Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "--nocapture", "cgroup::device_tests::device_probe"])
                .env(DIRECTORY, &directory)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            trial.attach(probe.id());
            probe.stdin.take().unwrap().write_all(b"x").unwrap();
            let output = String::from_utf8(probe.wait_with_output().unwrap().stdout).unwrap();
            let actual = output.lines().find_map(|line| line.strip_prefix("result ")).unwrap_or("nothing");
            let expected = expected(&policy);
            (actual != expected).then(|| format!("{}: {actual}, expected {expected}", list.text))
        })
        .collect();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(failures.is_empty(), "{failures:#?}");
}
