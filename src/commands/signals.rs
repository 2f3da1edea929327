//! Signals by name and number.

use crate::error::{Error, Result};

/// The number of a signal written as a number, or as a name with or without `SIG`, in any case. 0 is the probe.
pub fn number(text: &str) -> Result<i32> {
    let unknown = || Error::usage(format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=libc::SIGRTMAX()).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = real_time(name) {
        return Ok(number);
    }
    let full = format!("SIG{name}");
    full.parse::<nix::sys::signal::Signal>().map(|signal| signal as i32).map_err(|_| unknown())
}

/// `RTMIN`, `RTMIN+n`, `RTMAX-n`, `RTMAX`.
fn real_time(name: &str) -> Option<i32> {
    let (base, rest) = match name.strip_prefix("RTMIN") {
        Some(rest) => (libc::SIGRTMIN(), rest),
        None => (libc::SIGRTMAX(), name.strip_prefix("RTMAX")?),
    };
    let offset: i32 = if rest.is_empty() { 0 } else { rest.parse().ok()? };
    let number = base.checked_add(offset)?;
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn signals_are_known_by_every_spelling() {
        for text in ["9", "KILL", "kill", "SIGKILL", "sigKill"] {
            assert_eq!(number(text).unwrap(), 9, "{text}");
        }
        assert_eq!(number("0").unwrap(), 0);
        assert_eq!(number("RTMIN+1").unwrap(), libc::SIGRTMIN() + 1);
        for text in ["", "FOO", "-1", "65", "SIG", "RTMIN+99", "9 "] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
