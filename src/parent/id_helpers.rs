//! newuidmap and newgidmap, which map subordinate ids for an unprivileged caller.
//!
//! They come with shadow (Debian: package `uidmap`), are set-user-id, and permit what /etc/subuid and /etc/subgid
//! give to the user. Source: newuidmap(1), subuid(5).

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Errno, Error, Result};
use crate::plan::namespaces::IdMap;

/// Where distributions put them. PATH is the caller's and is not asked.
const DIRECTORIES: &[&str] =
    &["/usr/bin", "/usr/sbin", "/bin", "/usr/local/bin", "/run/wrappers/bin", "/run/current-system/sw/bin"];

/// One of the two.
pub struct Helper {
    name: &'static str,
    /// The file with the ranges of each user.
    ranges: &'static str,
    /// JSON pointer of the mappings.
    at: &'static str,
}

/// For user ids.
pub const UIDS: Helper = Helper { name: "newuidmap", ranges: "/etc/subuid", at: "/linux/uidMappings" };
/// For group ids.
pub const GIDS: Helper = Helper { name: "newgidmap", ranges: "/etc/subgid", at: "/linux/gidMappings" };

impl Helper {
    /// Writes the map of process `pid`.
    ///
    /// Errors: the program is missing, lacks its privilege, or does not permit the ranges; the hint is the cure.
    pub fn write(&self, pid: i32, map: &IdMap) -> Result<()> {
        let doing = format!("map ids with {}", self.name);
        let program = DIRECTORIES
            .iter()
            .map(|dir| Path::new(dir).join(self.name))
            .find(|path| path.is_file())
            .ok_or_else(|| {
                Error::kernel(doing.clone(), "execve(2)", Errno::ENOENT).at(self.at).hint(format!(
                    "an unprivileged user needs {} for more than its own id: install the package uidmap or \
                     shadow-utils, or map one id (`teu spec --rootless`)",
                    self.name
                ))
            })?;
        let failed = |error: &std::io::Error| Error::io(doing.clone(), "execve(2)", error).at(self.at);
        let metadata = std::fs::metadata(&program).map_err(|error| failed(&error))?;
        if !crate::host::is_root(metadata.uid()) || metadata.mode() & 0o022 != 0 {
            return Err(Error::kernel(doing, "execve(2)", Errno::EACCES)
                .at(self.at)
                .hint(format!("{} must belong to root and be writable by root alone", program.display())));
        }
        let mut command = Command::new(&program);
        command.arg(pid.to_string());
        for range in &map.0 {
            command.args([range.inside, range.outside, range.count].map(|number| number.to_string()));
        }
        let output = command
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed(&error))?;
        if output.status.success() {
            return Ok(());
        }
        Err(self.refused(doing, &program, &metadata, &String::from_utf8_lossy(&output.stderr)))
    }

    fn refused(&self, doing: String, program: &Path, metadata: &std::fs::Metadata, said: &str) -> Error {
        const SET_USER_ID: u32 = 0o4000;
        let said = said.lines().next().unwrap_or("no reason given");
        let error = Error::new(crate::error::Kind::Kernel, doing).at(self.at).detail(said.to_owned());
        let has_capability = || crate::sys::xattr::has(program, c"security.capability");
        if metadata.mode() & SET_USER_ID == 0 && !has_capability() {
            return error.hint(format!("{} has lost its privilege: chmod u+s {0}", program.display()));
        }
        if said.contains("user name") {
            return error.hint(format!(
                "{} needs an account: add a line for the user id {} to /etc/passwd, or map the own id alone \
                 (`teu spec --rootless`)",
                self.name,
                crate::sys::identity::effective_uid()
            ));
        }
        if said.contains("not allowed") || said.contains("subuid") || said.contains("subgid") {
            return error.hint(format!(
                "the ranges of the user are in {}: add a line USER:FIRST:COUNT that covers them, for instance with \
                 usermod --add-{}s FIRST-LAST USER",
                self.ranges,
                self.ranges.trim_start_matches("/etc/"),
            ));
        }
        error.hint(format!(
            "{} must be set-user-id root, on a file system that is not mounted nosuid, and the caller must be \
             permitted to gain privileges",
            program.display()
        ))
    }
}
