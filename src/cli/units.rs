//! Values of options as Go programs spell them: durations and amounts of memory.

use std::time::Duration;

/// Units of a duration with their nanoseconds. Longer names first, since `m` begins `ms`.
const TIME_UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A duration such as `1s`, `100ms` or `1m30s`; zero for one that is not positive.
///
/// `None` when it is none. Source: the flag types of Go, which scripts and engines write for.
pub fn duration(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanoseconds = 0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, tail) = decimal(rest)?;
        let (unit, factor) = TIME_UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        nanoseconds += number * *factor as f64;
        rest = &tail[unit.len()..];
    }
    // Go's durations end at 2^63 nanoseconds too.
    if nanoseconds >= i64::MAX as f64 {
        return None;
    }
    Some(if negative { Duration::ZERO } else { Duration::from_nanos(nanoseconds as u64) })
}

/// An amount of memory in bytes: `-1`, a number, or a number with one of the suffixes b, k, m, g, t and p in
/// powers of 1024, such as `512m`, `1.5g` or `64KiB`.
pub fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let (number, unit) = decimal(text)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let factor = 1_i64 << (10 * power);
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    if !text[digits.len()..].starts_with('.') {
        // Exact, also where a floating point number is not.
        return digits.parse::<i64>().ok()?.checked_mul(factor);
    }
    let bytes = number * factor as f64;
    (bytes < i64::MAX as f64).then_some(bytes as i64)
}

/// The decimal number at the start of a text, and what follows.
fn decimal(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_does() {
        for (text, milliseconds) in
            [("1s", 1_000), ("100ms", 100), ("1m30s", 90_000), ("1.5h", 5_400_000), ("+2s", 2_000)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(duration("250us"), Some(Duration::from_micros(250)));
        for text in ["0", "0s", "-5s", "-1h2m"] {
            assert_eq!(duration(text), Some(Duration::ZERO), "{text}");
        }
        for text in ["", "-", "5", "s", "1x", "1s2", "1..5s", "1 s", "9999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn amounts_of_memory_have_binary_suffixes() {
        for (text, expected) in [
            ("0", 0),
            ("-1", -1),
            ("67108864", 67_108_864),
            ("64m", 64 << 20),
            ("64M", 64 << 20),
            ("64MB", 64 << 20),
            ("64MiB", 64 << 20),
            ("2Ki", 2048),
            ("5b", 5),
            ("1.5g", 3 << 29),
            ("3 k", 3072),
            ("1t", 1 << 40),
            ("1P", 1 << 50),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for text in ["", "m", "-2", "1x", "1mm", "1.2.3k", "9223372036854775808", "8192p", "0x10", "1e3"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
