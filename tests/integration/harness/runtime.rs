//! The runtime under test.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Path, name and version of the runtime under test.
pub struct Runtime {
    /// Absolute path of the binary.
    pub path: PathBuf,
    /// First word of its version line: `teu`, `runc`, `crun`.
    pub name: String,
    /// Version as three numbers; what is missing is 0.
    pub version: (u32, u32, u32),
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (major, minor, patch) = self.version;
        write!(f, "{} ({} {major}.{minor}.{patch})", self.path.display(), self.name)
    }
}

impl Runtime {
    /// The runtime that `RUNTIME` names, else the `teu` that cargo built for this test.
    pub fn detect() -> Result<Runtime, String> {
        let path = match std::env::var("RUNTIME") {
            Ok(name) if !name.is_empty() => find(&name)?,
            _ => PathBuf::from(env!("CARGO_BIN_EXE_teu")),
        };
        let output = Command::new(&path)
            .arg("--version")
            .output()
            .map_err(|error| format!("{} --version: {error}", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text.split_whitespace();
        let (name, second, version) = (words.next(), words.next(), words.next());
        match (name, second, version) {
            (Some(name), Some("version"), Some(version)) => {
                Ok(Runtime { path, name: name.to_owned(), version: numbers(version) })
            }
            _ => Err(format!("{} --version says {text:?}, not `NAME version X.Y.Z`", path.display())),
        }
    }

    /// Copies the program to where an unprivileged user can execute it: a checkout may lie in a private directory.
    pub fn make_reachable(&mut self, dir: &Path) -> Result<(), String> {
        let copy = dir.join("base").join(&self.name);
        std::fs::copy(&self.path, &copy).map_err(|error| format!("copy {}: {error}", self.path.display()))?;
        self.path = copy;
        Ok(())
    }

    /// Whether the runtime has this name.
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Whether it is the named runtime in a version below `major.minor`.
    pub fn is_older(&self, name: &str, major: u32, minor: u32) -> bool {
        self.is(name) && (self.version.0, self.version.1) < (major, minor)
    }
}

/// The path of a program that is named or given by its path.
pub fn find(name: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        return std::path::absolute(name).map_err(|error| format!("{name}: {error}"));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([Path::new("/usr/sbin").to_owned(), Path::new("/sbin").to_owned()])
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| format!("RUNTIME={name} is not in PATH"))
}

fn numbers(version: &str) -> (u32, u32, u32) {
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}
