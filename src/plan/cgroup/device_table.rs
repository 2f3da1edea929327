//! Lists of device rules for the tests of the policy, of the program and of the kernel.

use oci_spec::runtime::LinuxDeviceCgroup;
use serde_json::{Value, json};

/// One list of `devices.table`.
pub(crate) struct List {
    pub text: &'static str,
    pub rules: Vec<LinuxDeviceCgroup>,
    pub is_refused: bool,
}

/// Every list of the table.
pub(crate) fn lists() -> Vec<List> {
    let lines = include_str!("testdata/devices.table").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(list).collect()
}

fn list(text: &'static str) -> List {
    let (is_refused, rules) = match text.strip_prefix("! ") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    List { text, rules: rules.split(", ").map(rule).collect(), is_refused }
}

/// `allow c 1:* rw` as the config would have it: a star is sometimes absent and sometimes -1.
fn rule(text: &str) -> LinuxDeviceCgroup {
    let fields: Vec<&str> = text.split([' ', ':']).collect();
    let number = |text: &str| match text {
        "*" => Value::from(-1),
        text => Value::from(text.parse::<i64>().unwrap()),
    };
    let mut rule = json!({ "allow": fields[0] == "allow", "type": fields[1], "major": number(fields[2]) });
    if fields[3] != "*" {
        rule["minor"] = number(fields[3]);
    }
    if let Some(access) = fields.get(4) {
        rule["access"] = Value::from(*access);
    }
    serde_json::from_value(rule).unwrap()
}
