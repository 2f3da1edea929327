//! From root to the user of the process, in order: limits, identity, working directory, and the program as that user
//! finds it. The first process of a container and every later one do the same.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use crate::plan::identity::Identity;
use crate::plan::limits::Limits;
use crate::plan::process::Process;
use crate::sync::{Call, During, Failure, FromChild, In, Phase, wait_for_go};
use crate::sys::process;

use super::{identity, program, rootfs};

/// Whom to become.
pub struct User<'a> {
    /// What runs and where.
    pub process: &'a Process,
    /// Its limits.
    pub limits: &'a Limits,
    /// Its ids and capabilities.
    pub identity: &'a Identity,
    /// The ids are those of a user namespace.
    pub in_user_namespace: bool,
    /// One capability stays for loading the filter.
    pub keep_for_filter: bool,
    /// Others may see this process already.
    pub watched: bool,
}

/// Becomes the user, and returns the path of the program. `in_cwd`: root could enter the working directory already;
/// otherwise the user enters it.
pub fn become_user(user: &User, parent: BorrowedFd, in_cwd: bool) -> Result<CString, Failure> {
    // While the ids are still those of the runtime. In a user namespace only the parent may raise limits.
    if !user.in_user_namespace {
        identity::set_limits(user.limits)?;
    } else if !user.limits.rlimits.is_empty() {
        FromChild::Limits.send(parent, None).call(Call::Send).during(Phase::Identity)?;
        wait_for_go(parent).call(Call::Receive).during(Phase::Identity)?;
    }
    identity::assume(user).during(Phase::Identity)?;
    if !in_cwd {
        rootfs::enter_cwd_again(&user.process.cwd).during(Phase::Cwd)?;
    }
    rootfs::verify_cwd().during(Phase::Cwd)?;
    process::umask(user.identity.umask);
    // As the user, so that a program that is missing or not permitted is found to be so here.
    program::find(user.process).during(Phase::Program)
}
