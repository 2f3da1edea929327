//! File systems whose options are longer than fsconfig(2) takes: overlays of many layers.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::Errno;
use crate::plan::mounts::{Mount, Parameter};
use crate::sync::{Call, Failure, In};
use crate::sys::mount::{
    LONGEST_OPTIONS, LONGEST_VALUE, detach_here, fsconfig_create, fsconfig_fd, fsconfig_flag,
    fsconfig_string, fsmount, fsopen, mount_here, open_tree_clone,
};
use crate::sys::{path, process};

use super::mounts::explained;
use super::root::Root;

/// The first kernel whose overlay takes its layers one by one.
const LAYER_BY_LAYER: (u32, u32) = (6, 5);

/// True when fsconfig(2) does not take one of the strings.
pub fn is_long(source: &CStr, parameters: &[Parameter]) -> bool {
    let is_long = |text: &CStr| text.count_bytes() > LONGEST_VALUE;
    is_long(source)
        || parameters.iter().any(|p| matches!(p, Parameter::String(_, value) if is_long(value.as_c_str())))
}

/// As [`super::mounts::file_system`], with longer strings.
pub fn file_system(
    root: &Root,
    mount: &Mount,
    target: &OwnedFd,
    (fstype, source): (&CStr, &CStr),
    parameters: &[Parameter],
    attributes: u64,
) -> Result<OwnedFd, Failure> {
    let options = joined(parameters)?;
    if options.count_bytes() <= LONGEST_OPTIONS {
        return at_once(root, mount, target, (fstype, source), attributes, &options);
    }
    let too_long = |hint: &str| {
        let length = options.count_bytes();
        Failure::found(&format!("the options have {length} bytes, mount(2) takes {LONGEST_OPTIONS}{hint}"))
    };
    if fstype != c"overlay" {
        return Err(too_long(""));
    }
    let (major, minor) = LAYER_BY_LAYER;
    match process::kernel_version() {
        Some(version) if version < LAYER_BY_LAYER => {
            Err(too_long(&format!("; Linux {major}.{minor} takes the layers of an overlay one by one")))
        }
        _ => layer_by_layer(source, parameters, attributes),
    }
}

/// Made by mount(2) at its destination, copied from there, and taken away again.
fn at_once(
    root: &Root,
    mount: &Mount,
    target: &OwnedFd,
    (fstype, source): (&CStr, &CStr),
    attributes: u64,
    options: &CStr,
) -> Result<OwnedFd, Failure> {
    let here = path::openat2(path::cwd_fd(), c".", libc::O_PATH, 0, 0).call(Call::Openat)?;
    path::fchdir(target.as_fd()).call(Call::Chdir)?;
    mount_here(source, fstype, attributes, options).call(Call::Mount)?;
    let top = root.open(&mount.destination, libc::O_DIRECTORY).call(Call::Openat)?;
    let below = path::stat_fd(target.as_fd()).call(Call::Statx)?;
    if path::stat_fd(top.as_fd()).call(Call::Statx)?.mount_id == below.mount_id {
        return Err(Failure::found("the new mount is not at its destination"));
    }
    let copy = open_tree_clone(top.as_fd(), c"", false, 0).call(Call::OpenTree)?;
    path::fchdir(top.as_fd()).call(Call::Chdir)?;
    detach_here().call(Call::Umount)?;
    path::fchdir(here.as_fd()).call(Call::Chdir)?;
    Ok(copy)
}

/// Parameters as mount(2) takes them.
fn joined(parameters: &[Parameter]) -> Result<CString, Failure> {
    let mut text: Vec<u8> = Vec::new();
    for parameter in parameters {
        if !text.is_empty() {
            text.push(b',');
        }
        match parameter {
            Parameter::Flag(name) => text.extend_from_slice(name.to_bytes()),
            Parameter::String(name, value) => {
                // A comma in a label would end the option.
                let quote: &[u8] = if name.to_bytes().ends_with(b"context") { b"\"" } else { b"" };
                text.extend([name.to_bytes(), b"=", quote, value.to_bytes(), quote].concat());
            }
        }
    }
    CString::new(text).map_err(|_| Failure::of(Call::Mount, Errno::EINVAL))
}

/// An overlay whose layers are given one by one, `lowerdir+` and `datadir+`, so that only each name is limited.
fn layer_by_layer(source: &CStr, parameters: &[Parameter], attributes: u64) -> Result<OwnedFd, Failure> {
    let context = fsopen(c"overlay").call(Call::Fsopen)?;
    let context = context.as_fd();
    explained(context, fsconfig_string(context, c"source", source))?;
    for parameter in parameters {
        match parameter {
            Parameter::Flag(name) => explained(context, fsconfig_flag(context, name))?,
            Parameter::String(name, value) if name.as_c_str() == c"lowerdir" => {
                for layer in layers(value.to_bytes()) {
                    let key = if layer.is_data { c"datadir+" } else { c"lowerdir+" };
                    set_directory(context, key, &layer.path)?;
                }
            }
            Parameter::String(name, value) if value.count_bytes() > LONGEST_VALUE => {
                set_directory(context, name, value)?;
            }
            Parameter::String(name, value) => explained(context, fsconfig_string(context, name, value))?,
        }
    }
    explained(context, fsconfig_create(context))?;
    fsmount(context, attributes).call(Call::Fsmount)
}

/// A directory by its name. When that is too long, open, or as `.` for Linux before 6.13, which takes names alone.
fn set_directory(context: BorrowedFd, key: &CStr, name: &CStr) -> Result<(), Failure> {
    let named = |failure: Failure| match failure.text.is_empty() {
        true => failure.with(name.to_bytes()),
        false => failure,
    };
    if name.count_bytes() <= LONGEST_VALUE {
        return explained(context, fsconfig_string(context, key, name)).map_err(named);
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let directory = path::openat2(path::cwd_fd(), name, flags, 0, 0).call(Call::Openat).map_err(named)?;
    match fsconfig_fd(context, key, directory.as_fd()) {
        Err(Errno::EINVAL) => {}
        set => return explained(context, set).map_err(named),
    }
    let here = path::openat2(path::cwd_fd(), c".", libc::O_PATH, 0, 0).call(Call::Openat)?;
    path::fchdir(directory.as_fd()).call(Call::Chdir)?;
    let set = explained(context, fsconfig_string(context, key, c".")).map_err(named);
    path::fchdir(here.as_fd()).call(Call::Chdir)?;
    set
}

/// One layer of an overlay.
#[derive(Debug, PartialEq, Eq)]
struct Layer {
    path: CString,
    /// It has the content of files alone, which a layer above redirects to.
    is_data: bool,
}

/// The layers of `lowerdir=`: separated by colons, those that only hold data by two. A backslash takes the meaning
/// from the next character. Source: the kernel's Documentation/filesystems/overlayfs.rst.
fn layers(value: &[u8]) -> Vec<Layer> {
    let mut layers = Vec::new();
    let mut path = Vec::new();
    let mut is_data = false;
    let mut end = |path: &mut Vec<u8>, is_data| {
        if let Ok(path) = CString::new(std::mem::take(path)) {
            layers.push(Layer { path, is_data });
        }
    };
    let mut bytes = value.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => path.extend(bytes.next()),
            b':' => {
                end(&mut path, is_data);
                is_data = bytes.next_if_eq(&b':').is_some();
            }
            _ => path.push(byte),
        }
    }
    end(&mut path, is_data);
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(value: &str) -> Vec<(String, bool)> {
        layers(value.as_bytes())
            .into_iter()
            .map(|layer| (layer.path.into_string().unwrap(), layer.is_data))
            .collect()
    }

    #[test]
    fn layers_are_told_apart() {
        let plain = |path: &str| (path.to_owned(), false);
        let data = |path: &str| (path.to_owned(), true);
        assert_eq!(split("/a"), [plain("/a")]);
        assert_eq!(split("/a:/b c:/d"), [plain("/a"), plain("/b c"), plain("/d")]);
        assert_eq!(split(r"/a\:b:/c\\d:/e\,f"), [plain("/a:b"), plain(r"/c\d"), plain("/e,f")]);
        assert_eq!(split("/a:/b::/c::/d"), [plain("/a"), plain("/b"), data("/c"), data("/d")]);
        // The kernel says what is wrong with an empty name.
        assert_eq!(split(":/a"), [plain(""), plain("/a")]);
        assert_eq!(split(r"/a\"), [plain("/a")]);
    }
}
