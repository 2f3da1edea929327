//! The pages that promise something name the tests that prove it, and these tests exist.

use std::collections::BTreeSet;

use crate::harness::checklist::Page;
use crate::harness::{Pages, Test};

cases![
    rows_name_tests_that_exist,
    every_row_of_the_command_line_is_proved,
    every_case_is_counted_and_proved,
    every_field_has_a_row,
];

/// The commands and files that engines rely on.
pub const COMMAND_LINE: Page =
    Page { path: "docs/cli.md", text: include_str!("../../docs/cli.md"), strict: true };

const DIFFERENCES: Page =
    Page { path: "docs/differences.md", text: include_str!("../../docs/differences.md"), strict: false };

/// What the specification demands, case by case.
const ACCEPTANCE: Page =
    Page { path: "docs/acceptance.md", text: include_str!("../../docs/acceptance.md"), strict: true };

/// What becomes of each field of the configuration.
const SPECIFICATION: Page =
    Page { path: "docs/specification.md", text: include_str!("../../docs/specification.md"), strict: true };

/// Pages that a run can be measured by.
pub const PAGES: Pages = Pages { promises: &COMMAND_LINE, cases: &ACCEPTANCE };

/// Every field of the specification, as the code knows them.
const FIELDS: &str = include_str!("../../src/config/fields.txt");

const MAKEFILE: &str = include_str!("../../Makefile");

fn names() -> BTreeSet<&'static str> {
    let cases = crate::SUITES.iter().copied().flatten();
    cases.map(|case| case.name.split_once("::").map_or(case.name, |(_, name)| name)).collect()
}

/// A test that was renamed leaves a promise without a proof.
fn rows_name_tests_that_exist(_: &Test) {
    let names = names();
    let exists = |name: &str| match name.strip_suffix('*') {
        Some(file) => names.iter().any(|other| other.starts_with(file)),
        None => names.contains(name),
    };
    for page in [COMMAND_LINE, DIFFERENCES, ACCEPTANCE, SPECIFICATION] {
        let rows = page.rows();
        assert!(rows.len() > 20, "{}: only {} rows were found", page.path, rows.len());
        for row in rows {
            let missing: Vec<&str> = row.tests().into_iter().filter(|name| !exists(name)).collect();
            assert!(missing.is_empty(), "{}: no test has the name {missing:?}", page.path);
            for target in row.targets() {
                let line = format!("\n{target}: ");
                assert!(MAKEFILE.contains(&line), "{}: no target has the name {target}", page.path);
            }
        }
    }
}

/// What nothing proves is only hoped for.
fn every_row_of_the_command_line_is_proved(_: &Test) {
    for page in [COMMAND_LINE, DIFFERENCES].iter().filter(|page| page.strict) {
        for row in page.rows() {
            assert!(row.says.len() == 3, "{}: a row has another form: {:?}", page.path, row.says);
            assert!(["must", "should"].contains(&row.says[2]), "{}: no level: {:?}", page.path, row.says);
            let proofs = row.tests().len() + row.targets().len();
            assert!(proofs > 0, "{}: nothing proves {:?}", page.path, row.says);
        }
    }
}

/// A case that nobody numbers is one that nobody misses.
fn every_case_is_counted_and_proved(_: &Test) {
    const CASES: usize = 147;
    let names = names();
    let rows = ACCEPTANCE.rows();
    let numbers: Vec<&str> = rows.iter().map(|row| row.says[0]).collect();
    let expected: Vec<String> = (1..=CASES).map(|number| number.to_string()).collect();
    assert_eq!(numbers, expected, "cases are numbered from 1 to {CASES}");
    for row in rows {
        assert!(row.says.len() == 3, "a case has another form: {:?}", row.says);
        let is_section = row.says[2].contains(".md") || row.says[2].ends_with(')') || row.says[2] == "runc";
        assert!(is_section, "no section: {:?}", row.says);
        assert!(!(row.tests().is_empty() && row.pending().is_empty()), "nothing proves {:?}", row.says);
        let written: Vec<&str> = row.pending().into_iter().filter(|name| names.contains(name)).collect();
        assert!(written.is_empty(), "{written:?} exists, so it is not pending: {:?}", row.says);
    }
}

/// A field that is forgotten here was perhaps forgotten in the code.
fn every_field_has_a_row(_: &Test) {
    let rows = SPECIFICATION.rows();
    let told: BTreeSet<String> = rows.iter().map(|row| row.says[0].trim_matches('`').to_owned()).collect();
    // Elements of lists and keys that are data are told with the list or the object; the six kinds of hooks are alike.
    let fields: BTreeSet<String> = FIELDS.lines().filter(|field| !field.ends_with('*')).map(row_of).collect();
    let missing: Vec<&String> = fields.difference(&told).collect();
    let unknown: Vec<&String> = told.difference(&fields).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "no row: {missing:?}; no field: {unknown:?}");
    for row in rows {
        assert!(row.says.len() == 4, "a row has another form: {:?}", row.says);
        let is_shown = row.proof.starts_with("unit tests of") || !row.tests().is_empty();
        assert!(is_shown, "nothing proves {:?}", row.says);
    }
}

fn row_of(field: &str) -> String {
    let mut parts: Vec<&str> = field.split('/').collect();
    if parts.len() > 3 && parts[1] == "hooks" {
        parts[2] = "KIND";
    }
    parts.join("/")
}
