//! Reads the Test Anything Protocol (version 13) as the programs of the validation suite write it.
//!
//! Two habits of theirs go beyond the protocol. Some write no test points at all and report what is wrong as a
//! structured diagnostic with an `error`, followed by the plan `1..0`; and some print the output of the program
//! inside the container, which is a complete stream, in place of their own.

use serde_json::Value;

/// One line `ok` or `not ok`.
#[derive(Debug, PartialEq, Eq)]
pub struct Point {
    /// What it says without its number.
    pub text: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a test point ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `ok`.
    Passed,
    /// `not ok`, also for what did not get as far as a test point.
    Failed,
    /// `# SKIP`: the suite did not try.
    Skipped,
    /// `not ok` with `# TODO`: the suite itself does not expect it to pass.
    Todo,
}

/// What a stream that was cut short is reported as.
pub const NO_PLAN: &str = "the output ends without a plan";

/// Reads the standard output of one program. Violations of the protocol become failed points.
pub fn read(output: &str) -> Vec<Point> {
    let mut points = Vec::new();
    let mut stream = Stream::default();
    let mut lines = output.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("TAP version") {
            stream.close(&mut points);
            stream = Stream { open: true, ..Stream::default() };
        } else if let Some(point) = test_point(line) {
            stream.seen += 1;
            stream.after_point = true;
            points.push(point);
        } else if let Some(count) = line.strip_prefix("1..").and_then(|count| count.trim().parse().ok()) {
            stream.planned = Some(count);
        } else if line.trim() == "---" {
            let block: String = lines.by_ref().take_while(|line| line.trim() != "...").collect();
            // A diagnostic that follows a point explains that point; any other stands for itself.
            if !stream.after_point
                && let Some(error) = error_of(&block)
            {
                points.push(failed(error));
            }
            stream.after_point = false;
        }
    }
    stream.close(&mut points);
    points
}

/// What has been seen of one stream; a program can write several, one after the other.
#[derive(Default)]
struct Stream {
    open: bool,
    planned: Option<usize>,
    seen: usize,
    after_point: bool,
}

impl Stream {
    /// Checks the number of points against the plan.
    fn close(&self, points: &mut Vec<Point>) {
        match self.planned {
            Some(planned) if planned != self.seen => {
                points.push(failed(format!("{planned} points planned, {} written", self.seen)));
            }
            None if self.open => points.push(failed(NO_PLAN.to_owned())),
            _ => {}
        }
    }
}

fn failed(text: String) -> Point {
    Point { text, outcome: Outcome::Failed }
}

fn test_point(line: &str) -> Option<Point> {
    let (passed, rest) = match line.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok")?),
    };
    let rest = rest.strip_prefix(' ')?.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let directive = |word| rest.strip_prefix(word).map(|text: &str| text.trim().to_owned());
    Some(if let Some(text) = directive("# SKIP") {
        Point { text, outcome: Outcome::Skipped }
    } else if let Some(text) = directive("# TODO") {
        Point { text, outcome: if passed { Outcome::Passed } else { Outcome::Todo } }
    } else {
        let text = rest.trim_start_matches("- ").to_owned();
        Point { text, outcome: if passed { Outcome::Passed } else { Outcome::Failed } }
    })
}

/// The first line of the `error` in a diagnostic. The suite writes JSON, which is YAML.
fn error_of(block: &str) -> Option<String> {
    let value: Value = serde_json::from_str(block).ok()?;
    let error = value.get("error")?.as_str()?;
    Some(error.lines().next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Failed, Passed, Skipped, Todo};
    use super::*;

    fn outcomes(output: &str) -> Vec<Outcome> {
        read(output).into_iter().map(|point| point.outcome).collect()
    }

    #[test]
    fn points_have_four_outcomes() {
        let output = "TAP version 13\nok 1 - a\nnot ok 2 - b\nok 3 # SKIP c\nnot ok 4 # TODO d\n1..4\n";
        assert_eq!(outcomes(output), [Passed, Failed, Skipped, Todo]);
        let texts: Vec<String> = read(output).into_iter().map(|point| point.text).collect();
        assert_eq!(texts, ["a", "b", "c", "d"]);
    }

    #[test]
    fn the_diagnostic_of_a_point_is_not_a_point() {
        let output =
            "TAP version 13\nok 1 - refuses\n  ---\n  {\n  \"error\": \"exit status 1\"\n  }\n  ...\n1..1\n";
        assert_eq!(outcomes(output), [Passed]);
    }

    #[test]
    fn an_error_without_a_point_is_a_failure() {
        let output =
            "TAP version 13\n  ---\n  {\n  \"error\": \"hooks MUST run\\nRefer to\"\n  }\n  ...\n1..0\n";
        assert_eq!(read(output), [Point { text: "hooks MUST run".to_owned(), outcome: Failed }]);
    }

    #[test]
    fn text_inside_a_diagnostic_is_not_read() {
        let output =
            "TAP version 13\n  ---\n  {\n  \"stdout\": \"not ok 1 - inner\\n\"\n  }\n  ...\nok 1 - a\n1..1\n";
        assert_eq!(outcomes(output), [Passed]);
    }

    #[test]
    fn a_stream_cut_short_is_a_failure() {
        assert_eq!(outcomes("TAP version 13\nok 1 - a\n"), [Passed, Failed]);
        assert_eq!(outcomes("TAP version 13\nok 1 - a\n1..2\n"), [Passed, Failed]);
    }

    #[test]
    fn several_streams_are_counted_apart() {
        let stream = "TAP version 13\nok 1 - a\n1..1\n";
        assert_eq!(outcomes(&format!("{stream}{stream}")), [Passed, Passed]);
    }

    #[test]
    fn a_program_may_write_nothing() {
        assert_eq!(read(""), []);
    }
}
