//! rtnetlink(7): the links and addresses of one network namespace, over a netlink(7) socket made in it.
//!
//! Framing is done by the `netlink-packet-core` crate. Of the answers only what is needed is read, so that what
//! newer kernels add to them does no harm.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NlasIterator,
};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::clone::{ns, setns};
use super::{Errno, check, path};

/// What the kernel refused, and its own words when it had any (NETLINK_EXT_ACK).
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub errno: Errno,
    /// The kernel's message, or nothing.
    pub text: String,
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Refused {
        Refused { errno, text: String::new() }
    }
}

/// What a request returns.
pub type Answer<T> = std::result::Result<T, Refused>;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name; it may be found by others.
    pub name: String,
    /// It is up, as far as its administrator says.
    pub up: bool,
}

/// An address of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix_length: u8,
    scope: u8,
    flags: u32,
    /// Local address, peer, broadcast address and priority of its route, as they are on the wire.
    parts: Vec<DefaultNla>,
}

impl Address {
    /// It stays until somebody removes it, unlike one that the kernel or a router lent.
    pub fn is_permanent(&self) -> bool {
        self.flags & libc::IFA_F_PERMANENT != 0
    }

    /// It is valid beyond the link.
    pub fn is_universal(&self) -> bool {
        self.scope == libc::RT_SCOPE_UNIVERSE
    }
}

/// Where a device goes.
pub struct Destination<'a> {
    /// The network namespace.
    pub namespace: BorrowedFd<'a>,
    /// Its name there, which may be a template such as `eth%d`.
    pub name: &'a str,
    /// Its number there; that of here when it is free there, by default.
    pub index: Option<u32>,
}

/// A socket that asks about one network namespace, and keeps it alive.
#[derive(Debug)]
pub struct Network {
    socket: OwnedFd,
    sequence: u32,
}

/// More than one answer of the kernel, in bytes.
const BUFFER: usize = 64 * 1024;

/// Flags of an address that somebody has chosen; all others say how it fares.
const CHOSEN: u32 = libc::IFA_F_NODAD
    | libc::IFA_F_OPTIMISTIC
    | libc::IFA_F_HOMEADDRESS
    | libc::IFA_F_MANAGETEMPADDR
    | libc::IFA_F_NOPREFIXROUTE
    | libc::IFA_F_MCAUTOJOIN;

impl Network {
    /// The network namespace of the caller.
    pub fn own() -> Answer<Network> {
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            enable(socket.as_fd(), option)?;
        }
        Ok(Network { socket, sequence: 0 })
    }

    /// Another network namespace. The caller, which has one thread, is in it for a moment.
    pub fn of(namespace: BorrowedFd) -> Answer<Network> {
        let own = own_namespace()?;
        setns(namespace, ns::NETWORK)?;
        let network = Network::own();
        setns(own.as_fd(), ns::NETWORK)?;
        network
    }

    /// The device of this name or alternative name. Errors: ENODEV.
    pub fn link(&mut self, name: &str) -> Answer<Link> {
        self.one_link(0, &[text(libc::IFLA_IFNAME, name)])
    }

    /// The device with this number. Errors: ENODEV.
    pub fn link_at(&mut self, index: u32) -> Answer<Link> {
        self.one_link(index, &[])
    }

    fn one_link(&mut self, index: u32, attributes: &[DefaultNla]) -> Answer<Link> {
        let body = [link_header(index, 0, 0), emitted(attributes)].concat();
        let answers = self.ask(libc::RTM_GETLINK, 0, &body)?;
        answers.iter().find_map(|answer| link_of(answer)).ok_or_else(|| Errno::EBADMSG.into())
    }

    /// The highest number of a device.
    pub fn highest_index(&mut self) -> Answer<u32> {
        let answers = self.dump(libc::RTM_GETLINK, &link_header(0, 0, 0))?;
        Ok(answers.iter().filter_map(|answer| link_of(answer)).map(|link| link.index).max().unwrap_or(0))
    }

    /// The addresses of a device, of all families.
    pub fn addresses(&mut self, index: u32) -> Answer<Vec<Address>> {
        let answers = self.dump(libc::RTM_GETADDR, &[0; ADDRESS_HEADER])?;
        Ok(answers.iter().filter_map(|answer| address_of(answer, index)).collect())
    }

    /// Gives a device an address. Errors: EEXIST.
    pub fn add_address(&mut self, index: u32, address: &Address) -> Answer<()> {
        let mut header = [address.family, address.prefix_length, 0, address.scope, 0, 0, 0, 0];
        header[4..].copy_from_slice(&index.to_ne_bytes());
        let flags = (address.flags & CHOSEN).to_ne_bytes().to_vec();
        let mut attributes = address.parts.clone();
        attributes.push(DefaultNla::new(libc::IFA_FLAGS, flags));
        let body = [&header[..], &emitted(&attributes)].concat();
        self.ask(libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body).map(drop)
    }

    /// Takes a device up or down.
    pub fn set_up(&mut self, index: u32, up: bool) -> Answer<()> {
        const UP: u32 = libc::IFF_UP as u32;
        self.ask(libc::RTM_NEWLINK, 0, &link_header(index, if up { UP } else { 0 }, UP)).map(drop)
    }

    /// Moves a device to another namespace and names it there, with one request. It may fail halfway: the device
    /// is there then, under its old name.
    pub fn move_link(&mut self, index: u32, to: &Destination) -> Answer<()> {
        let namespace = to.namespace.as_raw_fd().to_ne_bytes().to_vec();
        let mut attributes =
            vec![DefaultNla::new(libc::IFLA_NET_NS_FD, namespace), text(libc::IFLA_IFNAME, to.name)];
        if let Some(index) = to.index {
            attributes.push(DefaultNla::new(libc::IFLA_NEW_IFINDEX, index.to_ne_bytes().to_vec()));
        }
        let body = [link_header(index, 0, 0), emitted(&attributes)].concat();
        self.ask(libc::RTM_NEWLINK, 0, &body).map(drop)
    }

    /// A list. One that changed while it was told is asked for again.
    fn dump(&mut self, kind: u16, body: &[u8]) -> Answer<Vec<Vec<u8>>> {
        const ATTEMPTS: usize = 16;
        for _ in 0..ATTEMPTS {
            match self.ask(kind, NLM_F_DUMP, body) {
                Err(Refused { errno: Errno::EINTR, .. }) => {}
                other => return other,
            }
        }
        Err(Errno::EAGAIN.into())
    }

    /// Sends a request and collects the payloads of the answers up to the last one.
    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> Answer<Vec<Vec<u8>>> {
        self.sequence += 1;
        let flags = flags | NLM_F_REQUEST | if flags & NLM_F_DUMP == NLM_F_DUMP { 0 } else { NLM_F_ACK };
        send(self.socket.as_raw_fd(), &request(kind, flags, self.sequence, body), MsgFlags::empty())?;
        let mut answers = Vec::new();
        let mut buffer = vec![0u8; BUFFER];
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            if length == 0 || length > BUFFER {
                return Err(Errno::EMSGSIZE.into());
            }
            if read_answers(&buffer[..length], self.sequence, &mut answers)? {
                return Ok(answers);
            }
        }
    }
}

/// The network namespace of the caller.
pub fn own_namespace() -> Answer<OwnedFd> {
    Ok(path::openat2(path::cwd_fd(), c"/proc/self/ns/net", libc::O_RDONLY, 0, 0)?)
}

fn enable(socket: BorrowedFd, option: libc::c_int) -> Answer<()> {
    let one: libc::c_int = 1;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `one` lives through the call and has the size that is given.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const one).cast(), size)
    };
    Ok(check(done.into()).map(drop)?)
}

/// Takes the payloads out of one datagram. True when the answer is complete.
fn read_answers(mut rest: &[u8], sequence: u32, answers: &mut Vec<Vec<u8>>) -> Answer<bool> {
    while !rest.is_empty() {
        let message = NetlinkBuffer::new_checked(rest).map_err(|_| Errno::EBADMSG)?;
        let (kind, flags, payload) = (message.message_type(), message.flags(), message.payload());
        let length = (message.length() as usize).next_multiple_of(4).min(rest.len());
        let is_ours = message.sequence_number() == sequence;
        rest = &rest[length..];
        if !is_ours {
            continue;
        }
        if flags & NLM_F_DUMP_INTR != 0 {
            return Err(Errno::EINTR.into());
        }
        match kind {
            NLMSG_ERROR => return refusal(payload).map_or(Ok(true), Err),
            NLMSG_DONE => return Ok(true),
            _ => answers.push(payload.to_vec()),
        }
    }
    Ok(false)
}

/// What an error message says; `None` for one that reports success.
fn refusal(payload: &[u8]) -> Option<Refused> {
    /// Size of the errno and of the header of the request, which is all of it that comes back.
    const HEAD: usize = 20;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let code = payload.first_chunk().map_or(-libc::EBADMSG, |code| i32::from_ne_bytes(*code));
    if code == 0 {
        return None;
    }
    let attributes = NlasIterator::new(payload.get(HEAD..).unwrap_or_default());
    let said = attributes.flatten().find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG);
    let text = said.map_or(String::new(), |said| string(said.value()));
    Some(Refused { errno: Errno::from_raw(-code), text })
}

fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    let start = header.buffer_len();
    header.message_type = kind;
    header.flags = flags;
    header.sequence_number = sequence;
    header.length = (start + body.len()) as u32;
    let mut message = vec![0; start];
    header.emit(&mut message);
    message.extend_from_slice(body);
    message
}

fn emitted(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    bytes
}

fn text(kind: u16, text: &str) -> DefaultNla {
    DefaultNla::new(kind, [text.as_bytes(), &[0]].concat())
}

/// A string of the kernel, which ends in NUL.
fn string(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// Size of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;

/// Size of `struct ifaddrmsg`.
const ADDRESS_HEADER: usize = 8;

/// `struct ifinfomsg` of any family and type.
fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [0, index, flags, change].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Reads `struct ifinfomsg` and the name.
fn link_of(answer: &[u8]) -> Option<Link> {
    let word = |at: usize| Some(u32::from_ne_bytes(*answer.get(at..)?.first_chunk()?));
    let name =
        NlasIterator::new(answer.get(LINK_HEADER..)?).flatten().find(|a| a.kind() == libc::IFLA_IFNAME);
    Some(Link { index: word(4)?, name: string(name?.value()), up: word(8)? & libc::IFF_UP as u32 != 0 })
}

/// Reads `struct ifaddrmsg` and its attributes, when it is of this device.
fn address_of(answer: &[u8], index: u32) -> Option<Address> {
    const IFA_RT_PRIORITY: u16 = 9;
    const PARTS: [u16; 4] = [libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST, IFA_RT_PRIORITY];
    let header: &[u8; ADDRESS_HEADER] = answer.first_chunk()?;
    if u32::from_ne_bytes(*header.last_chunk()?) != index {
        return None;
    }
    let mut address = Address {
        family: header[0],
        prefix_length: header[1],
        flags: header[2].into(),
        scope: header[3],
        parts: Vec::new(),
    };
    for attribute in NlasIterator::new(&answer[ADDRESS_HEADER..]).flatten() {
        match (attribute.kind(), attribute.value()) {
            (libc::IFA_FLAGS, value) => address.flags = u32::from_ne_bytes(*value.first_chunk()?),
            (kind, value) if PARTS.contains(&kind) => {
                address.parts.push(DefaultNla::new(kind, value.to_vec()));
            }
            _ => {}
        }
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_found_by_name_and_by_number() {
        let mut network = Network::own().unwrap();
        let link = network.link("lo").unwrap();
        assert_eq!((link.index, link.name.as_str()), (1, "lo"));
        assert_eq!(network.link_at(1).unwrap(), link);
        assert!(network.highest_index().unwrap() >= 1);
    }

    #[test]
    fn its_address_is_permanent_and_stays_on_the_host() {
        let mut network = Network::own().unwrap();
        if !network.link("lo").unwrap().up {
            eprintln!("skipped: the loopback device is down");
            return;
        }
        let addresses = network.addresses(1).unwrap();
        let first = &addresses[0];
        assert_eq!((first.family, first.prefix_length), (libc::AF_INET as u8, 8));
        assert!(first.is_permanent() && !first.is_universal());
        assert!(first.parts.contains(&DefaultNla::new(libc::IFA_LOCAL, vec![127, 0, 0, 1])));
    }

    #[test]
    fn a_device_that_is_missing_is_said_to_be() {
        let refused = Network::own().unwrap().link("no-such-device").unwrap_err();
        assert_eq!(refused.errno, Errno::ENODEV);
    }

    #[test]
    fn an_error_carries_the_words_of_the_kernel() {
        let words = [&(-libc::EINVAL).to_ne_bytes()[..], &[0; 16], &emitted(&[text(1, "no way")])].concat();
        let refused = refusal(&words).unwrap();
        assert_eq!((refused.errno, refused.text.as_str()), (Errno::EINVAL, "no way"));
        assert!(refusal(&[0; 20]).is_none());
    }

    #[test]
    fn a_broken_answer_is_an_error() {
        let mut answers = Vec::new();
        assert_eq!(read_answers(&[1, 0, 0], 1, &mut answers).unwrap_err().errno, Errno::EBADMSG);
        let longer_than_it_is = request(16, 0, 1, &[0; 16]);
        assert!(read_answers(&longer_than_it_is[..20], 1, &mut answers).is_err());
        assert!(link_of(&[0; 15]).is_none() && address_of(&[0; 7], 0).is_none());
    }
}
