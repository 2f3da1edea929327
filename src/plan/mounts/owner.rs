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
    for (owner, member) in unmapped_owners(kind, uids, gids) {
        report.refuse(
            Error::config(at, format!("{owner} is not mapped in the user namespace"))
                .hint(format!("add the id to {member}, or leave the option out")),
        )?;
    }
    Ok(())
}

/// The owners that a file system is to have and the maps lack, such as `gid=5`, each with the field of the
/// configuration that would map it.
pub fn unmapped_owners<'a>(
    kind: &'a Kind,
    uids: &'a IdMap,
    gids: &'a IdMap,
) -> impl Iterator<Item = (String, &'static str)> + 'a {
    let parameters = match kind {
        Kind::FileSystem { parameters, .. } => parameters.as_slice(),
        _ => &[],
    };
    [(c"uid", uids, "uidMappings"), (c"gid", gids, "gidMappings")].into_iter().filter_map(
        move |(key, map, member)| {
            let id = unmapped(parameters, key, map)?;
            Some((format!("{}={id}", key.to_string_lossy()), member))
        },
    )
}

/// What is no number is left to the kernel.
fn unmapped(parameters: &[Parameter], key: &CStr, map: &IdMap) -> Option<u32> {
    let id = parameters.iter().find_map(|parameter| match parameter {
        Parameter::String(name, value) if name.as_c_str() == key => value.to_str().ok()?.parse().ok(),
        _ => None,
    })?;
    map.outside(id).is_none().then_some(id)
}
