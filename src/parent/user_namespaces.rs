//! Why a user namespace could not be made: the settings of a host that forbid it, and the cure for each.
//!
//! Source: user_namespaces(7), namespaces(7); the settings of Debian and Ubuntu.

use std::path::Path;

use crate::error::{Errno, Error};

/// Where the settings are read.
const SETTINGS: &str = "/proc/sys";

/// Adds the setting that is at fault to an error of the clone that makes the user namespace.
pub fn explain_clone(error: Error, errno: Errno) -> Error {
    match cause(Path::new(SETTINGS), errno) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The same for what fails later: AppArmor lets the namespace be made and takes its privileges away.
pub fn explain_denial(error: Error) -> Error {
    let denied = matches!(error.errno(), Some(Errno::EPERM | Errno::EACCES));
    if denied && is(Path::new(SETTINGS), "kernel/apparmor_restrict_unprivileged_userns", "1") {
        return error.hint(APPARMOR);
    }
    error
}

const APPARMOR: &str = "kernel.apparmor_restrict_unprivileged_userns is 1, so that user namespaces of unprivileged \
                        programs have no privileges: give teu an AppArmor profile with the rule userns, or set it to 0 \
                        with sysctl";

fn cause(settings: &Path, errno: Errno) -> Option<String> {
    let setting = |name: &str| std::fs::read_to_string(settings.join(name)).ok().map(|v| v.trim().to_owned());
    match errno {
        Errno::ENOSPC | Errno::EUSERS => {
            let most = setting("user/max_user_namespaces")?;
            Some(format!(
                "user.max_user_namespaces is {most}, and so many exist, or they are nested 32 deep: raise it as root \
                 with sysctl user.max_user_namespaces=15000"
            ))
        }
        Errno::EPERM if is(settings, "kernel/unprivileged_userns_clone", "0") => Some(
            "kernel.unprivileged_userns_clone is 0, which forbids user namespaces to unprivileged users: set it to 1 as \
             root with sysctl"
                .to_owned(),
        ),
        Errno::EPERM if is(settings, "kernel/apparmor_restrict_unprivileged_userns", "1") => {
            Some(APPARMOR.to_owned())
        }
        Errno::EPERM => Some(
            "a user namespace can be made neither in a chroot nor under a seccomp filter that forbids it, such as that \
             of an outer container"
                .to_owned(),
        ),
        _ => None,
    }
}

fn is(settings: &Path, name: &str, value: &str) -> bool {
    std::fs::read_to_string(settings.join(name)).is_ok_and(|text| text.trim() == value)
}
