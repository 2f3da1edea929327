//! Lines of /proc/self/mountinfo (proc_pid_mountinfo(5)).
#![forbid(unsafe_code)]

use std::path::PathBuf;

/// One mount. Texts are as in the file, where blanks are escaped.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Number of the mount, that of statx(2).
    pub id: u64,
    root: &'a str,
    mount_point: &'a str,
    /// Type of the file system.
    pub fstype: &'a str,
    /// Options of the file system.
    pub super_options: &'a str,
}

impl<'a> Line<'a> {
    /// Reads a line. `None` for what is none.
    pub fn parse(line: &'a str) -> Option<Line<'a>> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let fstype = after.next()?;
        let super_options = after.nth(1).unwrap_or_default();
        let mut before = before.split(' ');
        let id = before.next()?.parse().ok()?;
        let mut before = before.skip(2);
        let (root, mount_point) = (before.next()?, before.next()?);
        Some(Line { id, root, mount_point, fstype, super_options })
    }

    /// Which directory of the file system is mounted.
    pub fn root(&self) -> String {
        unescape(self.root)
    }

    /// Where it is mounted.
    pub fn mount_point(&self) -> PathBuf {
        PathBuf::from(unescape(self.mount_point))
    }
}

/// Turns `\040` and its like back into characters.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_escaped() {
        let line = Line::parse(
            "36 35 98:0 /a\\040b /c\\134d rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
        );
        let line = line.unwrap();
        assert_eq!((line.root().as_str(), line.mount_point().to_str().unwrap()), ("/a b", "/c\\d"));
        assert_eq!((line.fstype, line.super_options), ("ext3", "rw,errors=continue"));
        assert_eq!(unescape("/a\\9"), "/a\\9");
        assert!(Line::parse("36 35 98:0 / /").is_none());
    }
}
