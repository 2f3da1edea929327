//! Moves network devices into the namespace of the container, and back when `create` fails.
//!
//! A device brings its name, hardware address and MTU along and loses its addresses, which it is given again.
//! Routes, neighbours and queueing disciplines are lost.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use super::undo::Undo;
use crate::error::{Errno, Error, Result};
use crate::plan::net_devices::{NetDevice, is_template};
use crate::sys::netlink::{Address, Answer, Destination, Link, Network, Refused, own_namespace};

/// A device before its move, for the way back.
struct Before {
    link: Link,
    addresses: Vec<Address>,
    /// Its number in the container.
    inside: Cell<u32>,
}

/// Moves every device into `namespace`. What was begun is undone with the rest of a failed `create`.
pub fn move_all(devices: &[NetDevice], namespace: &Rc<OwnedFd>, undo: &mut Undo<'_>) -> Result<()> {
    for device in devices {
        let refused = |refused: Refused| error(device, refused);
        let mut outside = Network::own().map_err(refused)?;
        let mut inside = Network::of(namespace.as_fd()).map_err(refused)?;
        let link = outside.link(&device.name).map_err(refused)?;
        if !is_template(device.target()) && inside.link(device.target()).is_ok() {
            return Err(error(device, Errno::EEXIST.into()));
        }
        let addresses = outside.addresses(link.index).map_err(refused)?;
        let before = Rc::new(Before { inside: Cell::new(link.index), link, addresses });
        let (kept, held) = (Rc::clone(&before), Rc::clone(namespace));
        let doing = format!("move the network device {} back", device.name);
        undo.push(move || {
            move_back(&kept, &held).map_err(|r| Error::kernel(doing, "rtnetlink(7)", r.errno).detail(r.text))
        });
        move_one(&before, device, &mut outside, &mut inside, namespace.as_fd()).map_err(refused)?;
    }
    Ok(())
}

/// Whether a device is where it is looked for.
pub(super) fn find(device: &NetDevice) -> Result<()> {
    Network::own().and_then(|mut network| network.link(&device.name)).map(drop).map_err(|r| error(device, r))
}

fn move_one(
    before: &Before,
    device: &NetDevice,
    outside: &mut Network,
    inside: &mut Network,
    namespace: BorrowedFd,
) -> Answer<()> {
    outside.set_up(before.link.index, false)?;
    // The kernel chooses another number when this one is taken there, and does not tell which.
    let index = match inside.link_at(before.link.index) {
        Ok(_) => Some(inside.highest_index()? + 1),
        Err(Refused { errno: Errno::ENODEV, .. }) => None,
        Err(refused) => return Err(refused),
    };
    before.inside.set(index.unwrap_or(before.link.index));
    // An alternative name may have led to it.
    let name = device.new_name.as_deref().unwrap_or(&before.link.name);
    outside.move_link(before.link.index, &Destination { namespace, name, index })?;
    let index = inside.link_at(before.inside.get())?.index;
    let lasting = |address: &&Address| address.is_permanent() && address.is_universal();
    give(inside, index, before.addresses.iter().filter(lasting))?;
    inside.set_up(index, true)
}

/// Restores a device, wherever it got to.
fn move_back(before: &Before, namespace: &OwnedFd) -> Answer<()> {
    let mut outside = Network::own()?;
    // The kernel does not use a number again soon, so what has this one is the device.
    let index = match outside.link_at(before.link.index) {
        Ok(link) => link.index,
        Err(_) => {
            let own = own_namespace()?;
            let to = Destination { namespace: own.as_fd(), name: &before.link.name, index: None };
            let mut inside = Network::of(namespace.as_fd())?;
            inside.set_up(before.inside.get(), false)?;
            inside.move_link(before.inside.get(), &to)?;
            outside.link(&before.link.name)?.index
        }
    };
    give(&mut outside, index, before.addresses.iter().filter(|address| address.is_permanent()))?;
    if before.link.up { outside.set_up(index, true) } else { Ok(()) }
}

/// Gives a device these addresses, those that it has already excepted.
fn give<'a>(network: &mut Network, index: u32, addresses: impl Iterator<Item = &'a Address>) -> Answer<()> {
    for address in addresses {
        match network.add_address(index, address) {
            Ok(()) | Err(Refused { errno: Errno::EEXIST, .. }) => {}
            Err(refused) => return Err(refused),
        }
    }
    Ok(())
}

fn error(device: &NetDevice, refused: Refused) -> Error {
    let renamed = device.new_name.as_ref().map_or(String::new(), |new| format!(" as {new}"));
    let doing = format!("move the network device {}{renamed} into the container", device.name);
    let error = Error::kernel(doing, "rtnetlink(7)", refused.errno).detail(refused.text).at(&device.at);
    match refused.errno {
        Errno::ENODEV => error.hint("the device must be in the network namespace of the caller of teu"),
        Errno::EEXIST => error.hint("the name is taken in the network namespace of the container"),
        Errno::EINVAL => error.hint("loopback devices, bridges and some others cannot be moved"),
        _ => error,
    }
}
