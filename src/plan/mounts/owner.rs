//! `uid=` and `gid=` of a new file system: ids of the container, which its user namespace must map.
//!
//! The kernel says EINVAL, which could be about any option. Source: mount(8); user_namespaces(7).

use std::ffi::CStr;

use super::{Kind, Parameter};
use crate::error::{Error, Result};
use crate::plan::namespaces::{IdMap, Namespaces, User};
use crate::report::Report;

/// Refuses the ids that a new user namespace does not map. `at` is the pointer of the options.
pub(super) fn check(kind: &Kind, namespaces: &Namespaces, at: &str, report: &mut Report) -> Result<()> {
    let User::New { uids, gids } = &namespaces.user else { return Ok(()) };
    let Kind::FileSystem { parameters, .. } = kind else { return Ok(()) };
    for (key, map, member) in [(c"uid", uids, "uidMappings"), (c"gid", gids, "gidMappings")] {
        if let Some(id) = unmapped(parameters, key, map) {
            let key = key.to_string_lossy();
            report.refuse(
                Error::config(at, format!("{key}={id} is not mapped in the user namespace"))
                    .hint(format!("add the id to {member}, or leave the option out")),
            )?;
        }
    }
    Ok(())
}

/// What is no number is left to the kernel.
fn unmapped(parameters: &[Parameter], key: &CStr, map: &IdMap) -> Option<u32> {
    let id = parameters.iter().find_map(|parameter| match parameter {
        Parameter::String(name, value) if name.as_c_str() == key => value.to_str().ok()?.parse().ok(),
        _ => None,
    })?;
    map.outside(id).is_none().then_some(id)
}
