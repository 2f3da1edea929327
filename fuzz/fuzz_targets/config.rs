//! Any text as a config.json: see README.md.
//!
//! The first byte chooses the host, the rest is the text.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use teu::config;
use teu::error::Error;
use teu::host::Host;
use teu::plan::cgroup::settings::Controller;
use teu::plan::cgroup::{Driver, Mode};
use teu::plan::{self, Request, show};
use teu::report::{MOST, Report, Severity};

fuzz_target!(|input: &[u8]| {
    let Some((choice, text)) = input.split_first() else { return };
    let (host, request) = (host(*choice), request(*choice));
    let first = config::load(text).and_then(|config| plan::plan(&config, &request, &host));

    let mut report = Report::of_everything();
    let rest = config::load_into(text, &mut report)
        .and_then(|config| plan::plan_into(&config, &request, &host, &mut report));
    if let Err(error) = rest {
        report.refuse(error).expect("a report of everything takes every error");
    }
    let findings = report.findings();
    assert!(findings.len() <= 3 * MOST);
    assert!(findings.iter().all(|finding| is_one_harmless_line(&finding.to_string())));
    let refuses = findings.iter().any(|finding| finding.severity == Severity::Error);

    match first {
        Ok(plan) => {
            assert!(!refuses, "create accepts what check refuses: {findings:?}");
            assert!(show::show(&plan).lines().all(is_one_harmless_line));
        }
        Err(error) => {
            assert!(is_one_harmless_line(&error.to_string()) && error.pointer().is_some(), "{error}");
            assert!(refuses, "check does not find: {error}");
            assert!(is_found(&error, &report), "check does not find: {error} in {findings:?}");
        }
    }
});

/// What create says first is among what check says, unless there is too much to say.
///
/// Of a key that comes twice create names the object, check the key.
fn is_found(error: &Error, report: &Report) -> bool {
    let at = error.pointer().unwrap_or_default();
    let is_key = |other: &str| error.doing().contains("duplicate key") && other.starts_with(at);
    let mut others = report.parts().0.iter().filter_map(Error::pointer);
    report.left_out() > 0 || others.any(|other| other == at || is_key(other))
}

fn is_one_harmless_line(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c))
}

fn host(choice: u8) -> Host {
    let mode = [Mode::V2, Mode::V1, Mode::Hybrid][usize::from(choice % 3)];
    let bit = |number: u8| choice & 1 << number != 0;
    Host {
        uid: if bit(3) { 1000 } else { 0 },
        gid: 0,
        in_user_namespace: bit(4),
        cgroup_mode: mode,
        unified_controllers: if mode == Mode::Hybrid { vec![Controller::Hugetlb] } else { Vec::new() },
        last_capability: if bit(5) { 37 } else { 40 },
        permitted: if bit(5) { 0xa804_25fb } else { u64::MAX >> (63 - 40) },
        apparmor: bit(6),
        selinux: bit(7),
    }
}

fn request(choice: u8) -> Request {
    Request {
        id: "c1".to_owned(),
        bundle: PathBuf::from("/b"),
        cgroup_driver: if choice & 4 != 0 { Driver::Systemd } else { Driver::Cgroupfs },
        ..Request::default()
    }
}
