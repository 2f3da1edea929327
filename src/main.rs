//! The `teu` command.
fn main() {}
