//! What a report keeps, and where it says it is.

use serde_json::json;

use super::*;
use crate::error::Error;

fn refused(report: &mut Report, at: &str) {
    report.refuse(Error::config(at, "wrong")).unwrap();
}

fn places(report: &Report) -> Vec<String> {
    report.findings().into_iter().map(|finding| finding.pointer).collect()
}

#[test]
fn the_first_error_ends_the_work_unless_all_are_wanted() {
    let mut first = Report::of_first_error();
    assert!(first.refuse(Error::config("/a", "wrong")).is_err());
    assert!(first.keep::<()>(Err(Error::config("/a", "wrong"))).is_err());
    first.warn("/b", "told");
    first.advise(Severity::Note, "/c", "not told");
    assert_eq!(first.into_warnings().len(), 1);

    let mut all = Report::of_everything();
    assert!(all.keep::<()>(Err(Error::config("/a", "wrong"))).unwrap().is_none());
    refused(&mut all, "/a");
    all.warn("/b", "told");
    all.advise(Severity::Note, "/c", "told");
    all.advise(Severity::Note, "/a", "less than the error says");
    assert_eq!(places(&all), ["/a", "/b", "/c"]);
}

#[test]
fn findings_are_in_the_order_of_their_places() {
    let mut report = Report::of_everything();
    for place in ["/b/10", "/b/9", "/a/x", "/b", "/b/9/c"] {
        refused(&mut report, place);
    }
    assert_eq!(places(&report), ["/a/x", "/b", "/b/9", "/b/9/c", "/b/10"]);
}

#[test]
fn places_behind_what_was_taken_out_are_those_of_the_file() {
    let mut document = json!({ "list": [0, 1, 2, 3, 4, { "x": [0, 1, 2] }], "a/b": { "c": 1 } });
    let mut report = Report::of_everything();
    for place in ["/list/1", "/list/0", "/list/2", "/list/2/x/1", "/a~1b/c/no/such/place"] {
        assert!(report.take_out(&mut document, "", place));
    }
    assert_eq!(document, json!({ "list": [2, 3, { "x": [0, 2] }], "a/b": {} }));
    for place in ["/list/0", "/list/1", "/list/2/x/1"] {
        refused(&mut report, place);
    }
    assert_eq!(places(&report), ["/list/2", "/list/3", "/list/5/x/2"]);
    assert!(!report.take_out(&mut document, "", ""), "the document itself stays");
}

#[test]
fn nothing_is_said_about_what_was_taken_out_or_is_missing() {
    let mut document = json!({ "a": { "b": 1 }, "c": 1 });
    let mut report = Report::of_everything();
    assert!(report.take_out(&mut document, "", "/a/b"));
    report.refuse_missing(Error::config("/d/e", "missing")).unwrap();
    for place in ["/a/b", "/a", "/d", "/d/e", "/c", "/a/bc"] {
        refused(&mut report, place);
    }
    assert_eq!(places(&report), ["/a/bc", "/c", "/d/e"]);
    assert!(report.is_incomplete("/a") && report.is_incomplete("/a/b/x") && !report.is_incomplete("/c"));
}

#[test]
fn a_report_is_bounded() {
    let mut report = Report::of_everything();
    for number in 0..10_000 {
        refused(&mut report, &format!("/{number}/{}", "x".repeat(1000)));
        report.warn(format!("/w{number}"), "w");
        report.advise(Severity::Note, format!("/n{number}"), "n");
    }
    let findings = report.findings();
    assert_eq!((findings.len(), report.left_out()), (3 * MOST, 30_000 - 3 * MOST));
    assert!(report.is_full() && findings.iter().all(|finding| finding.to_string().len() < 1200));
}
