//! `teu create`: everything but the program.

use super::creation::Creation;
use super::setup;
use crate::cli::{Create, Global};
use crate::error::Result;
use crate::parent::create;

/// Creates a container that waits for `start`.
pub fn create(global: &Global, args: &Create) -> Result<i32> {
    let creation = Creation::read(global, args, true)?;
    let (prepared, _) = creation.prepare()?;
    create::create(creation.plan(), prepared, creation.options(true))?;
    setup::report_warnings(creation.plan());
    Ok(0)
}
