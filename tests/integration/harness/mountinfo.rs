//! Reads /proc/PID/mountinfo; proc_pid_mountinfo(5).

use std::fs;
use std::io;

/// One line of mountinfo.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Directory of the file system that is the root of this mount.
    pub root: String,
    /// Where it is mounted, as the owner of the file sees it.
    pub point: String,
    /// Per-mount options.
    pub options: Vec<String>,
    /// `shared:N`, `master:N`, `unbindable`.
    pub propagation: Vec<String>,
    /// File system type.
    pub fs: String,
    /// What was mounted.
    pub source: String,
    /// Options of the superblock.
    pub super_options: Vec<String>,
}

impl Mount {
    /// Whether the mount (not the superblock) has this option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }

    /// Whether the superblock has this option.
    pub fn super_has(&self, option: &str) -> bool {
        self.super_options.iter().any(|o| o == option)
    }

    /// Whether an optional field starts with this word, for example `shared`.
    pub fn propagates(&self, kind: &str) -> bool {
        self.propagation.iter().any(|field| field.split(':').next() == Some(kind))
    }
}

/// The mounts of a process (`self`, or a pid).
pub fn of(pid: &str) -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read_to_string(format!("/proc/{pid}/mountinfo"))?))
}

/// Parses the text of a mountinfo file; a line that is not understood is left out.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

/// The topmost mount at a path.
pub fn at<'m>(mounts: &'m [Mount], point: &str) -> Option<&'m Mount> {
    mounts.iter().rev().find(|mount| mount.point == point)
}

fn line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let list = |text: &str| text.split(',').map(str::to_owned).collect();
    Some(Mount {
        root: unescape(left.get(3)?),
        point: unescape(left.get(4)?),
        options: list(left.get(5)?),
        propagation: left.get(6..)?.iter().map(|field| (*field).to_owned()).collect(),
        fs: (*right.first()?).to_owned(),
        source: unescape(right.get(1)?),
        super_options: list(right.get(2)?),
    })
}

/// Undoes the octal escapes of blanks, newlines and backslashes.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}
