//! HOME from /etc/passwd of the container, for an environment that does not set it.
//!
//! The file is the image's: it may be a device, a pipe or endless. Reading is bounded, and whatever is wrong with
//! it means `/`. CVE-2024-9676.

use std::ffi::CString;
use std::os::fd::AsFd;

use crate::abi::StringList;
use crate::plan::process::{Home, Process};
use crate::sync::Failure;
use crate::sys::{fd, path};

use super::procfs::Procfs;
use super::root::Root;

const LARGEST: usize = 1024 * 1024;
const LONGEST_LINE: usize = 4096;

/// The environment of the program that runs as `uid`.
pub fn environment(
    process: &Process,
    uid: u32,
    root: &Root,
    procfs: Option<&Procfs>,
) -> Result<StringList, Failure> {
    let mut environment = process.environment.clone();
    if process.home == Home::Lookup {
        let home = procfs.and_then(|procfs| look_up(root, procfs, uid));
        let mut entry = b"HOME=".to_vec();
        entry.extend_from_slice(home.as_deref().unwrap_or(b"/"));
        if let Ok(entry) = CString::new(entry) {
            environment.push(entry);
        }
    }
    Ok(environment)
}

fn look_up(root: &Root, procfs: &Procfs, uid: u32) -> Option<Vec<u8>> {
    let found = root.open(c"etc/passwd", 0).ok()?;
    if path::stat_fd(found.as_fd()).ok()?.kind() != libc::S_IFREG {
        return None;
    }
    let file = procfs.reopen(&found, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY).ok()?;
    let mut content = Vec::new();
    let mut buffer = [0u8; 16 * 1024];
    while content.len() < LARGEST {
        match fd::read(file.as_fd(), &mut buffer).ok()? {
            0 => break,
            length => content.extend_from_slice(&buffer[..length]),
        }
    }
    home_of(&content, uid)
}

fn home_of(passwd: &[u8], uid: u32) -> Option<Vec<u8>> {
    let uid = uid.to_string();
    passwd
        .split(|b| *b == b'\n')
        .filter(|line| line.len() <= LONGEST_LINE)
        .map(|line| line.split(|b| *b == b':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 6 && fields[2] == uid.as_bytes())
        .map(|fields| fields[5].to_vec())
        .filter(|home| !home.is_empty())
}

#[cfg(test)]
mod tests {
    use super::home_of;

    #[test]
    fn the_home_directory_is_that_of_the_numeric_id() {
        let passwd =
            b"root:x:0:0::/root:/bin/sh\n1000:x:0:0::/fake:/bin/sh\napp:x:1000:1000::/srv/app:/bin/sh\n";
        assert_eq!(home_of(passwd, 1000).as_deref(), Some(&b"/srv/app"[..]));
        assert_eq!(home_of(passwd, 0).as_deref(), Some(&b"/root"[..]));
        assert_eq!(home_of(passwd, 7), None);
        assert_eq!(home_of(b"broken\n\xff\xfe:::::", 0), None);
    }
}
