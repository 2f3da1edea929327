//! Tables in Markdown whose rows name the tests that prove them.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// A page with such a table.
pub struct Page {
    /// Its path in the project.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Every row names a test; elsewhere one may say in words where the proof is.
    pub strict: bool,
}

/// One row: what it says, and what proves it.
pub struct Row<'p> {
    /// Its cells, without the last.
    pub says: Vec<&'p str>,
    /// The last cell.
    pub proof: &'p str,
}

impl Page {
    /// The rows of all tables, without their heads.
    pub fn rows(&self) -> Vec<Row<'static>> {
        let lines: Vec<&str> = self.text.lines().collect();
        let is_row = |line: &str| line.starts_with('|') && !line.starts_with("|--");
        let is_head = |index: usize| lines.get(index + 1).is_some_and(|next| next.starts_with("|--"));
        let rows = lines.iter().enumerate().filter(|(index, line)| is_row(line) && !is_head(*index));
        rows.map(|(_, line)| {
            let mut cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let proof = cells.pop().unwrap_or_default();
            Row { says: cells, proof }
        })
        .collect()
    }
}

impl<'p> Row<'p> {
    /// The names of tests, `file::function`; an asterisk stands for all functions of a file.
    pub fn tests(&self) -> Vec<&'p str> {
        if self.proof.starts_with("unit tests of") {
            return Vec::new();
        }
        self.words().filter(|word| word.contains("::") && !word.starts_with(PENDING)).collect()
    }

    /// The names of tests that will prove it, which are not written yet.
    pub fn pending(&self) -> Vec<&'p str> {
        self.words().filter_map(|word| word.strip_prefix(PENDING)).collect()
    }

    /// The names of targets of the Makefile, for what takes more than this machine.
    pub fn targets(&self) -> Vec<&'p str> {
        self.words().filter_map(|word| word.strip_prefix("make ")).collect()
    }

    fn words(&self) -> impl Iterator<Item = &'p str> {
        self.proof.split('`').skip(1).step_by(2)
    }
}

/// In front of the name of a test that does not exist yet.
const PENDING: &str = "pending ";

/// How a test ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It proves what it says.
    Passed,
    /// It does not apply here.
    Skipped,
    /// It does not hold.
    Failed,
}

/// How each test of this run ended, and why it was skipped.
static ENDS: Mutex<BTreeMap<&'static str, (End, String)>> = Mutex::new(BTreeMap::new());

/// Notes how a test of this run has ended; `reason` says why it was skipped.
pub fn note(test: &'static str, end: End, reason: &str) {
    ENDS.lock().expect("nobody panics while noting").insert(test, (end, reason.to_owned()));
}

/// Prints how many rows of a page are proved by this run, and what is missing of the others.
pub fn summarize(page: &Page) {
    let ends = ENDS.lock().expect("nobody panics while noting");
    let (mut whole, mut partly, mut skipped, mut failed) = (0, 0, 0, 0);
    println!("{}:", page.path);
    for row in page.rows() {
        let named = row.tests();
        let count =
            |end: End| named.iter().filter(|name| ends.get(**name).is_some_and(|e| e.0 == end)).count();
        let (sum, word) = match (count(End::Passed), count(End::Failed)) {
            (_, 1..) => (&mut failed, "FAILED"),
            (passed, _) if passed == named.len() && row.pending().is_empty() => {
                whole += 1;
                continue;
            }
            (1.., _) => (&mut partly, "in part"),
            (0, _) => (&mut skipped, "skipped"),
        };
        *sum += 1;
        println!("  {word}: {}", row.says.join(" | "));
        for name in named {
            match ends.get(name) {
                Some((End::Passed, _)) => {}
                Some((End::Skipped, reason)) => println!("    {name}: {reason}"),
                Some((End::Failed, _)) => println!("    {name}: FAILED"),
                None => println!("    {name}: did not run"),
            }
        }
        row.pending().iter().for_each(|name| println!("    {name}: is still to be written"));
    }
    let all = whole + partly + skipped + failed;
    println!("{all} cases: {whole} passed, {partly} passed in part, {skipped} skipped, {failed} failed");
}

/// Prints the rows of a page with what this run says about them.
pub fn print(page: &Page) {
    let ends = ENDS.lock().expect("nobody panics while noting");
    println!("{}: passed/named, then skipped and failed ones", page.path);
    for row in page.rows() {
        let named = row.tests();
        let with =
            |end: End| named.iter().filter(|name| ends.get(**name).is_some_and(|e| e.0 == end)).count();
        let (passed, skipped, failed) = (with(End::Passed), with(End::Skipped), with(End::Failed));
        let more = match (skipped, failed) {
            (0, 0) => String::new(),
            (skipped, 0) => format!(" ({skipped} skipped)"),
            (0, failed) => format!(" ({failed} FAILED)"),
            (skipped, failed) => format!(" ({skipped} skipped, {failed} FAILED)"),
        };
        let targets: String = row.targets().iter().map(|target| format!(" [make {target}]")).collect();
        println!("{:>3}/{:<3} {}{more}{targets}", passed, named.len(), row.says.join(" | "));
    }
}
