//! Where the bus is.
//!
//! Source: D-Bus specification, "Server Addresses"; environ of systemd(1).

use std::path::PathBuf;

use crate::error::{Error, Kind, Result};

const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
const SYSTEM_MANAGER: &str = "/run/systemd/private";

/// Sockets of one manager.
pub struct Places {
    /// The bus.
    pub bus: PathBuf,
    /// systemd itself, without a bus.
    pub direct: Option<PathBuf>,
}

/// The sockets of the system's manager, or of that of the user `uid`.
///
/// Errors: an address in the environment that is none of a socket in the file system.
pub fn places(of_user: bool, uid: u32) -> Result<Places> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let name = if of_user { "DBUS_SESSION_BUS_ADDRESS" } else { "DBUS_SYSTEM_BUS_ADDRESS" };
    if let Some(address) = variable(name) {
        let bus = socket_of(&address).ok_or_else(|| {
            Error::new(
                Kind::Systemd,
                format!("{name} is {address:?}, which names no socket in the file system"),
            )
            .hint("such as unix:path=/run/user/1000/bus")
        })?;
        return Ok(Places { bus, direct: None });
    }
    if !of_user {
        return Ok(Places { bus: SYSTEM_BUS.into(), direct: Some(SYSTEM_MANAGER.into()) });
    }
    let given = variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let runtime = given.unwrap_or_else(|| PathBuf::from(format!("/run/user/{uid}")));
    Ok(Places { bus: runtime.join("bus"), direct: Some(runtime.join("systemd/private")) })
}

/// The first socket of a list of addresses that has a path.
///
/// Abstract names are left out: they belong to nobody, and whoever comes first has them.
fn socket_of(addresses: &str) -> Option<PathBuf> {
    addresses.split(';').find_map(|address| {
        let pairs = address.strip_prefix("unix:")?;
        let path = pairs.split(',').find_map(|pair| pair.strip_prefix("path="))?;
        unescape(path).filter(|path| path.starts_with('/')).map(PathBuf::from)
    })
}

/// `%20` is a space.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok().filter(|byte| *byte != 0)?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_a_path_are_read() {
        let path = |text: &str| socket_of(text).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(path("unix:path=/run/bus"), Some("/run/bus".to_owned()));
        assert_eq!(path("unix:path=/run/bus,guid=12"), Some("/run/bus".to_owned()));
        assert_eq!(path("unix:guid=12,path=/a%20b"), Some("/a b".to_owned()));
        assert_eq!(path("tcp:host=a;unix:abstract=/x;unix:path=/b"), Some("/b".to_owned()));
        for none in [
            "",
            "unix:",
            "unix:abstract=/x",
            "tcp:host=a",
            "/run/bus",
            "unix:path=run",
            "unix:path=/a%0",
            "unix:path=/%00",
        ] {
            assert_eq!(path(none), None, "{none}");
        }
    }
}
