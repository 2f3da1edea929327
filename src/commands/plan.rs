//! `teu plan`: what `create` would do, without doing it.

use super::setup;
use super::state::print;
use crate::cli::{Global, Plan, given};
use crate::error::Result;
use crate::plan::{Request, show};

/// Prints the plan of a bundle.
pub fn plan(global: &Global, args: &Plan) -> Result<i32> {
    let bundle = setup::bundle(given(&args.bundle).or(given(&args.option)))?;
    let name = bundle.file_name().map_or_else(|| "bundle".to_owned(), |n| n.to_string_lossy().into_owned());
    let request = Request { id: name, bundle: bundle.clone(), ..Request::default() };
    let setup = setup::setup(global, &bundle, request)?;
    print(show::show(&setup.plan).trim_end())
}
