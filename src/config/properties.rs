//! Names that are no property of the specification.
//!
//! They must be ignored, so that configurations of later versions work. One that differs from a property in capitals
//! only is told in any case: Go's decoder takes such a name for the property, so an engine's test may have passed
//! with it; here it means nothing, and a restriction would be lost without a word.

use std::sync::LazyLock;

use serde_json::Value;

use super::strict::push_key;
use crate::report::{Report, Severity};

/// Every field of specification 1.3.0 as a pointer, sorted; `*` stands for each element of a list and for each key
/// that is data. Sections of other systems are one field each.
pub static FIELDS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("fields.txt").lines().collect());

/// Sections and fields for other systems.
pub const FOREIGN: [&str; 7] =
    ["/freebsd", "/process/commandLine", "/process/user/username", "/solaris", "/vm", "/windows", "/zos"];

/// Names that the specification had before 1.3.0; what becomes of them is told where they are read.
const REMOVED: [&str; 2] = ["/linux/intelRdt/enableCMT", "/linux/intelRdt/enableMBM"];

/// Tells each such name in `document`, whose place in a configuration is `base`.
pub fn tell_unknown(document: &Value, base: &str, report: &mut Report) {
    walk(document, &mut String::new(), &mut base.to_owned(), report);
}

fn walk(value: &Value, at: &mut String, field: &mut String, report: &mut Report) {
    let (at_length, field_length) = (at.len(), field.len());
    match value {
        Value::Object(object) => {
            field.push_str("/*");
            let keys_are_data = is_field(field);
            field.truncate(field_length);
            for (key, member) in object {
                push_key(at, key);
                if keys_are_data {
                    field.push_str("/*");
                } else {
                    push_key(field, key);
                }
                if FOREIGN.contains(&field.as_str()) {
                    report.advise(Severity::Note, at.as_str(), "for another operating system, ignored");
                } else if is_field(field) {
                    walk(member, at, field, report);
                } else if !REMOVED.contains(&field.as_str()) {
                    tell(key, at, &field[..field_length], report);
                }
                at.truncate(at_length);
                field.truncate(field_length);
            }
        }
        Value::Array(list) => {
            field.push_str("/*");
            for (index, element) in list.iter().enumerate().filter(|(_, element)| element.is_object()) {
                at.push('/');
                at.push_str(&index.to_string());
                walk(element, at, field, report);
                at.truncate(at_length);
            }
            field.truncate(field_length);
        }
        _ => {}
    }
}

fn is_field(field: &str) -> bool {
    FIELDS.binary_search(&field).is_ok()
}

/// The names of the properties of an object.
fn properties(object: &str) -> impl Iterator<Item = &'static str> {
    let start = FIELDS.partition_point(|field| *field < object);
    let below = FIELDS[start..].iter().take_while(move |field| field.starts_with(object));
    below.filter_map(move |field| field[object.len()..].strip_prefix('/')).filter(|name| !name.contains('/'))
}

fn tell(key: &str, at: &str, object: &str, report: &mut Report) {
    if let Some(meant) = properties(object).find(|name| name.eq_ignore_ascii_case(key)) {
        return report.warn(at, format!("\"{key}\" is ignored; the property is spelled \"{meant}\""));
    }
    if !report.goes_on() {
        return;
    }
    let near = properties(object).map(|name| (distance(key, name), name)).min();
    let advice = match near.filter(|(distance, name)| *distance <= 2 && *distance < name.len()) {
        Some((_, name)) => format!("; did you mean \"{name}\"?"),
        None => match elsewhere(key) {
            Some(place) => format!("; it belongs to {place}"),
            None => String::new(),
        },
    };
    report.advise(Severity::Warning, at, format!("\"{key}\" is no property here and ignored{advice}"));
}

/// The object that has a property of this name, when it is the only one.
fn elsewhere(key: &str) -> Option<&'static str> {
    let mut places =
        FIELDS.iter().filter_map(|field| field.rsplit_once('/').filter(|(_, name)| *name == key));
    let (place, _) = places.next().filter(|_| places.next().is_none())?;
    Some(if place.is_empty() { "/" } else { place })
}

/// How many letters must be changed, added, taken away or exchanged with the next one; a large number when the words
/// are of quite different length.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().take(64).collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > 2 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=other.len() {
            rows[i][j] = match (i, j) {
                (0, n) | (n, 0) => n,
                _ => {
                    let changed = usize::from(one[i - 1] != other[j - 1]);
                    let mut least =
                        (rows[i - 1][j - 1] + changed).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                        least = least.min(rows[i - 2][j - 2] + 1);
                    }
                    least
                }
            };
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_near_when_few_letters_differ() {
        for (one, other, expected) in
            [("args", "args", 0), ("arsg", "args", 1), ("agrs", "args", 1), ("arg", "args", 1), ("", "ab", 2)]
        {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
        assert!(distance("readonlyPath", "readonlyPaths") == 1 && distance("a", "readonly") > 2);
    }

    #[test]
    fn an_object_has_its_own_properties() {
        assert_eq!(properties("/root").collect::<Vec<_>>(), ["path", "readonly"]);
        assert!(
            properties("").any(|name| name == "ociVersion") && !properties("").any(|name| name == "path")
        );
        assert_eq!(properties("/mounts/*/uidMappings/*").count(), 3);
    }

    #[test]
    fn the_list_is_sorted_for_the_search() {
        assert!(FIELDS.is_sorted() && FIELDS.len() > 250);
    }
}
