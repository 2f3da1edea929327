//! Any text as a `linux.seccomp` section: see README.md.
#![no_main]

use libfuzzer_sys::fuzz_target;
use teu_seccomp::{Arch, Policy};

#[path = "against_reading.rs"]
mod against_reading;

fuzz_target!(|text: &[u8]| {
    let Ok(section) = serde_json::from_slice(text) else { return };
    match Policy::from_value(&section) {
        Ok(None) => {}
        Ok(Some(policy)) => against_reading::check(&policy, Arch::NATIVE),
        Err(error) => {
            assert!(error.pointer.is_empty() || error.pointer.starts_with('/'));
            assert!(!error.message.contains('\n') && error.message.len() < 1000);
        }
    }
});
