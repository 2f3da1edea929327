//! Whoever supervises a service: the socket that NOTIFY_SOCKET names. Source: sd_notify(3).

use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::Test;
use super::console::{Received, receive};

/// A supervisor, as systemd is one.
pub struct Supervisor {
    socket: UnixDatagram,
    /// What NOTIFY_SOCKET says.
    pub address: String,
}

impl Supervisor {
    /// With a socket in the directory of the test.
    pub fn new(t: &Test) -> Supervisor {
        let path = t.dir().join("supervisor.sock");
        let socket = UnixDatagram::bind(&path).expect("a socket can be made in the test directory");
        Supervisor::with(socket, path.to_string_lossy().into_owned())
    }

    /// With a socket that has no file.
    pub fn without_file(t: &Test) -> Supervisor {
        let name = format!("{}/supervisor", t.token());
        let address = SocketAddr::from_abstract_name(&name).expect("the name is short");
        let socket = UnixDatagram::bind_addr(&address).expect("nobody else has this name");
        Supervisor::with(socket, format!("@{name}"))
    }

    fn with(socket: UnixDatagram, address: String) -> Supervisor {
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket has a timeout");
        Supervisor { socket, address }
    }

    /// The next message. The descriptors that came along are open until it is dropped.
    #[track_caller]
    pub fn next(&self) -> Received {
        receive(self.socket.as_raw_fd()).expect("the supervisor hears something within ten seconds")
    }

    /// The text of the next message.
    #[track_caller]
    pub fn hear(&self) -> String {
        String::from_utf8_lossy(&self.next().payload).trim_end().to_owned()
    }

    /// Whether nothing has been said that was not heard.
    pub fn heard_all(&self) -> bool {
        self.socket.set_nonblocking(true).expect("a socket can be non-blocking");
        let silent = receive(self.socket.as_raw_fd()).is_err();
        self.socket.set_nonblocking(false).expect("a socket can be blocking");
        silent
    }
}
