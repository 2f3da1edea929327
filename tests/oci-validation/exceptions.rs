//! The list of test points that fail although the runtime is right, each with its reason: exceptions.txt.

use std::path::Path;

/// One entry of the list.
#[derive(Debug)]
pub struct Exception {
    program: String,
    point: String,
    when: When,
    /// Why the point fails: a sentence for whoever reads the output.
    pub reason: String,
}

/// On which machines an exception holds.
#[derive(Debug, PartialEq, Eq)]
enum When {
    Always,
    /// cgroup v1 hierarchies are visible.
    V1,
    /// Only cgroup v2 is visible.
    V2,
    /// This file is missing.
    WithoutFile(String),
    /// The bounding set lacks this capability, given by number.
    WithoutCapability(u32),
}

/// What the conditions are judged by.
pub struct Machine {
    /// Only cgroup v2 is visible.
    pub v2: bool,
    /// The capability bounding set as a mask of bits.
    pub bounding_set: u64,
}

impl Exception {
    /// Whether this entry is about that failed point.
    pub fn covers(&self, program: &str, point: &str) -> bool {
        self.program == program && matches(&self.point, point)
    }

    fn holds_on(&self, machine: &Machine) -> bool {
        match &self.when {
            When::Always => true,
            When::V1 => !machine.v2,
            When::V2 => machine.v2,
            When::WithoutFile(path) => !Path::new(path).exists(),
            When::WithoutCapability(number) => machine.bounding_set & (1 << number) == 0,
        }
    }
}

impl std::fmt::Display for Exception {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}: {}", self.program, self.point)
    }
}

/// Reads the list and keeps what holds on this machine. Entries are four lines `key: value`, with an empty line
/// between them; `#` starts a comment line. Errors: a sentence with the number of the entry.
pub fn read(list: &str, machine: &Machine) -> Result<Vec<Exception>, String> {
    let text: String =
        list.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line.trim_end(), "\n"]).collect();
    let entries = text.split("\n\n").map(str::trim).filter(|entry| !entry.is_empty());
    let mut exceptions = Vec::new();
    for (index, entry) in entries.enumerate() {
        let exception = parse(entry).map_err(|error| format!("exception {}: {error}", index + 1))?;
        if exception.holds_on(machine) {
            exceptions.push(exception);
        }
    }
    Ok(exceptions)
}

fn parse(entry: &str) -> Result<Exception, String> {
    let mut lines = entry.lines();
    let mut value = |key: &str| {
        let line = lines.next().unwrap_or_default();
        let value = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(':')).map(str::trim);
        value
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .ok_or(format!("`{key}:` expected, not `{line}`"))
    };
    let exception = Exception {
        program: value("program")?,
        point: value("point")?,
        when: when(&value("when")?)?,
        reason: value("because")?,
    };
    match lines.next() {
        Some(line) => Err(format!("one line too many: `{line}`")),
        None => Ok(exception),
    }
}

fn when(text: &str) -> Result<When, String> {
    if let Some(path) = text.strip_prefix("without file ") {
        return Ok(When::WithoutFile(path.to_owned()));
    }
    match text {
        "always" => Ok(When::Always),
        "v1" => Ok(When::V1),
        "v2" => Ok(When::V2),
        "without CAP_SYS_RESOURCE" => Ok(When::WithoutCapability(24)),
        _ => Err(format!("unknown condition `{text}`")),
    }
}

/// Whether the text equals the pattern, in which a `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).filter_map(|skip| text.get(skip..)).any(|end| matches(rest, end))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "# a comment\nprogram: p\npoint: a * c\nwhen: v2\nbecause: the suite is older\n";

    fn machine(v2: bool) -> Machine {
        Machine { v2, bounding_set: 0 }
    }

    #[test]
    fn an_entry_holds_where_its_condition_does() {
        assert_eq!(read(ENTRY, &machine(true)).map(|list| list.len()), Ok(1));
        assert_eq!(read(ENTRY, &machine(false)).map(|list| list.len()), Ok(0));
    }

    #[test]
    fn an_entry_covers_points_by_program_and_pattern() {
        let list = read(ENTRY, &machine(true)).unwrap_or_default();
        assert!(list[0].covers("p", "a b c"));
        assert!(!list[0].covers("p", "a b"));
        assert!(!list[0].covers("q", "a b c"));
    }

    #[test]
    fn an_entry_without_a_reason_is_refused() {
        let entry = "program: p\npoint: x\nwhen: always\nbecause:\n";
        assert!(read(entry, &machine(true)).is_err_and(|error| error.contains("because")));
    }

    #[test]
    fn the_list_of_this_tree_can_be_read() {
        assert_eq!(read(include_str!("exceptions.txt"), &machine(true)).err(), None);
    }
}
