//! The pages that promise something name the tests that prove it, and these tests exist.

use std::collections::BTreeSet;

use crate::harness::Test;
use crate::harness::checklist::Page;

cases![rows_name_tests_that_exist, every_row_of_the_command_line_is_proved];

/// The commands and files that engines rely on.
pub const COMMAND_LINE: Page =
    Page { path: "docs/cli.md", text: include_str!("../../docs/cli.md"), strict: true };

const DIFFERENCES: Page =
    Page { path: "docs/differences.md", text: include_str!("../../docs/differences.md"), strict: false };

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
    for page in [COMMAND_LINE, DIFFERENCES] {
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
