//! Lets the unprivileged caller reach a runtime in a private directory, such as that of a home.
//!
//! A runtime that is linked dynamically needs more than its own file, which the harness copies: its interpreter and
//! libraries have fixed paths.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::sys;

/// Covers every directory on the way to `path` that others may not pass with one that they may, with the same content.
///
/// To be called in a mount namespace in which the machine is read-only already.
pub fn open_the_way(path: &Path) -> Result<(), String> {
    let mut way: Vec<&Path> = path.ancestors().skip(1).filter(|dir| *dir != Path::new("/")).collect();
    way.reverse();
    for dir in way {
        let mode = fs::metadata(dir).map_err(|error| format!("{}: {error}", dir.display()))?.permissions();
        if mode.mode() & 0o001 == 0 {
            cover(dir).map_err(|error| format!("open {} to the test user: {error}", dir.display()))?;
        }
    }
    Ok(())
}

fn cover(dir: &Path) -> std::io::Result<()> {
    let entries = fs::read_dir(dir)?.collect::<std::io::Result<Vec<_>>>()?;
    let mut kept = Vec::new();
    for entry in entries.iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        kept.push((File::open(entry.path())?, entry.path()));
    }
    mount(Some("cover"), dir, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    for (opened, path) in kept {
        fs::create_dir(&path)?;
        let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
        mount(Some(source.as_str()), &path, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    }
    sys::make_tree_read_only(dir)
}
