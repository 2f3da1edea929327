//! `teu seccomp explain`: what a profile does with one call, before anything runs.

use serde_json::Value;
use teu_seccomp::{Arch, SeccompData};

use super::super::state::print;
use super::profile::Profile;
use super::shown::Shown;
use crate::cli::seccomp::Explain;
use crate::error::{Error, Kind, Result};

/// Prints the decision.
pub fn explain(args: &Explain) -> Result<i32> {
    let as_json = match args.format.as_str() {
        "json" => true,
        "text" => false,
        other => return Err(Error::usage(format!("invalid format {other:?}")).hint("text or json")),
    };
    let profile = Profile::read(&args.profile)?;
    let arch = architecture(args.arch.as_deref())?;
    let given = args.args.iter().map(|text| number(text)).collect::<Result<Vec<u64>>>()?;
    if given.len() > 6 {
        return Err(Error::usage("a system call has at most six arguments"));
    }
    let mut all = [0; 6];
    all[..given.len()].copy_from_slice(&given);
    let calls = calls(arch, &args.syscall, all)?;
    let shown: Vec<Shown> = calls.into_iter().map(|data| Shown::of(&profile, data)).collect();
    if as_json {
        let documents: Vec<Value> = shown.iter().map(|shown| shown.document(&profile)).collect();
        // A call that is reached in two ways is two.
        let document = if documents.len() == 1 { documents[0].clone() } else { Value::Array(documents) };
        let text = serde_json::to_string_pretty(&document);
        return print(&text.map_err(|e| Error::new(Kind::Bug, format!("print the decision: {e}")))?);
    }
    let text: Vec<String> = shown.iter().map(|shown| shown.text(&profile, given.len(), None)).collect();
    print(&text.join("\n\n"))
}

fn architecture(name: Option<&str>) -> Result<Arch> {
    let Some(name) = name else { return Ok(Arch::NATIVE) };
    let full = format!("SCMP_ARCH_{}", name.to_ascii_uppercase());
    Arch::from_name(name).or_else(|| Arch::from_name(&full)).ok_or_else(|| {
        Error::usage(format!("no architecture is named {name:?}"))
            .hint(format!("the one of this host is {}", Arch::NATIVE))
    })
}

/// A number as C programmers write it; a negative one is what a C program would pass.
fn number(text: &str) -> Result<u64> {
    let wrong =
        || Error::usage(format!("{text:?} is no number")).hint("arguments are decimal or 0x hexadecimal");
    let (digits, negative) = text.strip_prefix('-').map_or((text, false), |digits| (digits, true));
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => digits.parse(),
    };
    let value = value.map_err(|_| wrong())?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// The call as the kernel may report it: one way, or two where a multiplexer leads to it as well.
fn calls(arch: Arch, name: &str, args: [u64; 6]) -> Result<Vec<SeccompData>> {
    let data = |nr, args| SeccompData { nr, arch: arch.audit(), instruction_pointer: 0, args };
    if let Ok(nr) = name.parse() {
        return Ok(vec![data(nr, args)]);
    }
    match arch.resolve(name) {
        Some(target) => Ok(target
            .calls()
            .map(|(nr, first)| {
                data(
                    nr,
                    match first {
                        Some(function) => [function, 0, 0, 0, 0, 0],
                        None => args,
                    },
                )
            })
            .collect()),
        None if arch.is_name_known(name) => {
            Err(Error::usage(format!("{arch} has no system call {name}")).hint("--arch chooses another one"))
        }
        None => Err(Error::usage(format!("no system call is named {name:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_what_a_c_program_would_pass() {
        for (text, value) in [("0", 0), ("10", 10), ("0x10", 16), ("-1", u64::MAX), ("-100", u64::MAX - 99)] {
            assert_eq!(number(text).unwrap(), value, "{text}");
        }
        for text in ["", "-", "0x", "1k", "O_RDONLY", "18446744073709551616"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
