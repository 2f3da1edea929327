//! `teu version`, also `--version`.

use super::state::print;
use crate::error::Result;

/// Prints the version. Engines take the last line with the word "version" apart, so there is only one.
pub fn version() -> Result<i32> {
    let (major, minor, micro) = teu_seccomp::library_version();
    print(&format!(
        "teu version {}\ncommit: {}\nspec: {}\nlibseccomp: {major}.{minor}.{micro}",
        env!("CARGO_PKG_VERSION"),
        option_env!("TEU_COMMIT").unwrap_or("unknown"),
        crate::state::OCI_VERSION,
    ))
}
