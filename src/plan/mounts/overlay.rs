//! The directories of an overlay, which are relative to the bundle as all sources of mounts are.
//!
//! The kernel would look for them from the working directory of whoever mounts, which a runtime must not leave to
//! chance. Source: config.md#mounts; the kernel's Documentation/filesystems/overlayfs.rst.

use std::ffi::CString;
use std::path::Path;

use super::Parameter;
use crate::error::Result;
use crate::plan::c_string;

/// Makes the relative ones absolute.
pub fn resolve(parameters: &mut [Parameter], bundle: &Path, at: &str) -> Result<()> {
    for parameter in parameters {
        let Parameter::String(name, value) = parameter else { continue };
        let resolved = match name.to_bytes() {
            b"lowerdir" => layers(value, bundle),
            b"upperdir" | b"workdir" => join(&value.to_string_lossy(), &escaped(bundle)),
            b"lowerdir+" | b"datadir+" => join(&value.to_string_lossy(), &bundle.to_string_lossy()),
            _ => continue,
        };
        *value = c_string(&resolved, at)?;
    }
    Ok(())
}

/// Each layer, between colons that no backslash takes the meaning from.
fn layers(value: &CString, bundle: &Path) -> String {
    let bundle = escaped(bundle);
    let text = value.to_string_lossy();
    let mut all = String::new();
    let mut layer = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => {
                all.push_str(&join(&layer, &bundle));
                all.push(':');
                layer.clear();
            }
            '\\' => {
                layer.push('\\');
                layer.extend(characters.next());
            }
            _ => layer.push(character),
        }
    }
    all.push_str(&join(&layer, &bundle));
    all
}

/// What stands for nothing stays that.
fn join(path: &str, bundle: &str) -> String {
    if path.is_empty() || path.starts_with('/') { path.to_owned() } else { format!("{bundle}/{path}") }
}

/// With a backslash before what separates layers.
fn escaped(bundle: &Path) -> String {
    bundle.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(name: &str, value: &str, bundle: &str) -> String {
        let text = |text: &str| CString::new(text).unwrap();
        let mut parameters = [Parameter::String(text(name), text(value))];
        resolve(&mut parameters, Path::new(bundle), "/mounts/0").unwrap();
        match &parameters[0] {
            Parameter::String(_, value) => value.to_string_lossy().into_owned(),
            Parameter::Flag(_) => unreachable!(),
        }
    }

    #[test]
    fn relative_directories_are_in_the_bundle() {
        assert_eq!(resolved("lowerdir", "/a:b:c/d", "/x"), "/a:/x/b:/x/c/d");
        assert_eq!(resolved("lowerdir", r"a\:b::c", "/x:y"), r"/x\:y/a\:b::/x\:y/c");
        assert_eq!(resolved("upperdir", "up", "/x"), "/x/up");
        assert_eq!(resolved("workdir", "/w", "/x"), "/w");
        assert_eq!(resolved("lowerdir+", "a", "/x:y"), "/x:y/a");
        assert_eq!(resolved("redirect_dir", "on", "/x"), "on");
    }
}
