//! `linux.cgroupsPath`: names of directories, or of a systemd unit.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Driver, Request, invalid};
use crate::error::Result;

/// Where `config.json` has the path.
pub const POINTER: &str = "/linux/cgroupsPath";

/// The start of scope names when the config gives none.
const SCOPE_PREFIX: &str = "teu";

/// The longest name of a directory and of a unit.
const NAME_MAX: usize = 255;

/// The place of a cgroup in each hierarchy, as components that contain neither `.` nor `..` nor a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupPath {
    /// Below the root of each hierarchy.
    Absolute(Vec<String>),
    /// Beside the caller's own cgroup on cgroup2, whose inner cgroups cannot hold processes, and below it on
    /// version 1.
    Relative(Vec<String>),
    /// A unit of systemd.
    Unit(Unit),
}

/// A scope or slice unit of systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The slice that holds the unit, such as `machine.slice`; `-.slice` is the root.
    pub slice: String,
    /// The unit itself, such as `libpod-1234.scope`.
    pub name: String,
}

impl Unit {
    /// Whether the unit is a slice, which cannot be given a first process.
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    /// The directories from the root of the hierarchy (or of the user manager's cgroup) to the unit.
    pub fn components(&self) -> Vec<String> {
        let mut components = expand_slice(&self.slice);
        if self.is_slice() {
            components = expand_slice(&self.name);
        } else {
            components.push(self.name.clone());
        }
        components
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CgroupPath::Absolute(names) => write!(f, "/{}", names.join("/")),
            CgroupPath::Relative(names) => {
                write!(f, "{} (relative to the cgroup of the caller)", names.join("/"))
            }
            CgroupPath::Unit(unit) => write!(f, "unit {} in {}", unit.name, unit.slice),
        }
    }
}

/// The place that the config asks for, or the default one.
pub(super) fn plan_path(request: &Request, configured: Option<&PathBuf>) -> Result<CgroupPath> {
    let text = match configured {
        None => "",
        Some(path) => path.to_str().ok_or_else(|| invalid(POINTER, "the path is not UTF-8"))?,
    };
    match request.driver {
        Driver::Systemd => plan_unit(text, request.id, request.rootless).map(CgroupPath::Unit),
        Driver::Cgroupfs | Driver::Disabled if text.is_empty() => {
            Ok(CgroupPath::Relative(vec![request.id.to_owned()]))
        }
        Driver::Cgroupfs | Driver::Disabled => {
            let names = components(text)?;
            Ok(if Path::new(text).is_absolute() {
                CgroupPath::Absolute(names)
            } else {
                CgroupPath::Relative(names)
            })
        }
    }
}

/// The names in a path. `..` is refused instead of resolved: no caller needs it, and whoever sends it is mistaken
/// about where the container will be.
fn components(text: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for name in text.split('/') {
        match name {
            "" | "." => {}
            ".." => return Err(invalid(POINTER, format!("the path {text:?} contains \"..\""))),
            name => names.push(checked_name(name)?.to_owned()),
        }
    }
    if names.is_empty() {
        return Err(invalid(POINTER, format!("the path {text:?} is the root of the hierarchy")));
    }
    Ok(names)
}

fn checked_name(name: &str) -> Result<&str> {
    if name.len() > NAME_MAX {
        return Err(invalid(POINTER, format!("a name in the path is longer than {NAME_MAX} bytes")));
    }
    if name.chars().any(char::is_control) {
        return Err(invalid(POINTER, "the path contains a control character"));
    }
    Ok(name)
}

/// Reads `slice:prefix:name`.
fn plan_unit(text: &str, id: &str, rootless: bool) -> Result<Unit> {
    let default_slice = if rootless { "user.slice" } else { "system.slice" };
    let (slice, prefix, name) = if text.is_empty() {
        ("", SCOPE_PREFIX, id)
    } else {
        let parts: Vec<&str> = text.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            return Err(invalid(
                POINTER,
                format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {text:?} \
                     instead"
                ),
            ));
        };
        (slice, prefix, name)
    };
    if name.is_empty() {
        return Err(invalid(POINTER, format!("the name of the unit is empty in {text:?}")));
    }
    let slice = if slice.is_empty() { default_slice } else { slice };
    check_slice(slice)?;
    let name = if name.ends_with(".slice") {
        check_slice(name)?;
        name.to_owned()
    } else if prefix.is_empty() {
        format!("{name}.scope")
    } else {
        format!("{prefix}-{name}.scope")
    };
    check_unit_name(&name)?;
    Ok(Unit { slice: slice.to_owned(), name })
}

/// The characters that systemd permits in the name of a unit; a slash would also be a directory.
fn check_unit_name(name: &str) -> Result<()> {
    let permitted = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if name.len() > NAME_MAX || !name.chars().all(permitted) || name.starts_with('.') {
        return Err(invalid(POINTER, format!("{name:?} is no name of a systemd unit")));
    }
    Ok(())
}

fn check_slice(slice: &str) -> Result<()> {
    check_unit_name(slice)?;
    if slice == "-.slice" {
        return Ok(());
    }
    let valid = slice
        .strip_suffix(".slice")
        .is_some_and(|stem| !stem.is_empty() && stem.split('-').all(|part| !part.is_empty()));
    if valid { Ok(()) } else { Err(invalid(POINTER, format!("invalid slice name: {slice:?}"))) }
}

/// `a-b.slice` lies in `a.slice`, and `-.slice` is the root.
fn expand_slice(slice: &str) -> Vec<String> {
    let stem = slice.strip_suffix(".slice").unwrap_or(slice);
    if stem == "-" {
        return Vec::new();
    }
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    ends.map(|end| format!("{}.slice", &stem[..end])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(driver: Driver, path: &str) -> std::result::Result<CgroupPath, String> {
        let request = Request { id: "c1", driver, ..Request::default() };
        plan_path(&request, Some(&PathBuf::from(path))).map_err(|error| error.to_string())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn directories_are_cleaned_and_never_climb() {
        assert_eq!(plan(Driver::Cgroupfs, "/a/b"), Ok(CgroupPath::Absolute(names(&["a", "b"]))));
        assert_eq!(plan(Driver::Cgroupfs, "//a/./b//"), Ok(CgroupPath::Absolute(names(&["a", "b"]))));
        assert_eq!(plan(Driver::Cgroupfs, "a/b"), Ok(CgroupPath::Relative(names(&["a", "b"]))));
        assert_eq!(plan(Driver::Cgroupfs, ""), Ok(CgroupPath::Relative(names(&["c1"]))));
        for bad in ["../../x", "/a/../../b", "/a/../b", "//", "/", ".", "a\nb"] {
            assert!(plan(Driver::Cgroupfs, bad).is_err(), "{bad:?}");
        }
        assert!(plan(Driver::Cgroupfs, &"x".repeat(256)).is_err());
    }

    #[test]
    fn units_follow_slice_prefix_name() {
        let unit = |slice: &str, name: &str| {
            Ok(CgroupPath::Unit(Unit { slice: slice.to_owned(), name: name.to_owned() }))
        };
        assert_eq!(plan(Driver::Systemd, ""), unit("system.slice", "teu-c1.scope"));
        assert_eq!(plan(Driver::Systemd, "machine.slice:libpod:1"), unit("machine.slice", "libpod-1.scope"));
        assert_eq!(plan(Driver::Systemd, "::x"), unit("system.slice", "x.scope"));
        assert_eq!(plan(Driver::Systemd, "-.slice:p:x"), unit("-.slice", "p-x.scope"));
        assert_eq!(plan(Driver::Systemd, ":p:a-b.slice"), unit("system.slice", "a-b.slice"));
        let error = plan(Driver::Systemd, "a:b").unwrap_err();
        assert!(
            error.starts_with(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"a:b\" instead"
            ),
            "{error}"
        );
        for bad in [
            "a:b:c:d",
            "/a",
            "s:p:",
            "-a.slice:p:n",
            "a--b.slice:p:n",
            "a-.slice:p:n",
            "a:p:n",
            "a/b.slice:p:n",
            "a.slice:p/q:n",
            "a.slice:p:n\n",
            "..slice:p:n",
        ] {
            assert!(plan(Driver::Systemd, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn slices_are_nested_by_their_dashes() {
        let components = |slice: &str, name: &str| {
            Unit { slice: slice.to_owned(), name: name.to_owned() }.components().join("/")
        };
        assert_eq!(components("a-b-c.slice", "x.scope"), "a.slice/a-b.slice/a-b-c.slice/x.scope");
        assert_eq!(components("-.slice", "x.scope"), "x.scope");
        assert_eq!(components("system.slice", "a-b.slice"), "a.slice/a-b.slice");
    }
}
