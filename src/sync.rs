//! What the parent and the child say to each other: fixed-size messages, both directions on this page.
//!
//! ```text
//! parent: Go                                                                               Go
//! child:      TimeOffsets?      BoundInstead*  Mounted?     Printed*   Schedule?  Limits?    Listener?  Ready
//! parent:                  Go              Go            Go (hooks)            Go         Go         Go
//! ```
//!
//! What is marked is said only when there is something to do, because each exchange makes both sides wait: `Mounted`
//! when there are hooks of the host, `Schedule` and `Limits` when the child may not set them itself. The first Go is
//! awaited at the beginning, or, when nothing before depends on the parent, ahead of the first device node.
//!
//! The child may send a `Failure` in place of any message and is gone then. A closed socket means that the other
//! side has died. Numbers travel, not sentences: the parent has the same plan and makes the sentence.
#![forbid(unsafe_code)]

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::error::Errno;
use crate::sys::fd;

/// Declares an enum whose variants travel as their number.
macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The text of the variant.
            pub fn text(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            fn from_number(number: u16) -> Option<$name> {
                Self::ALL.get(usize::from(number)).copied()
            }
        }
    };
}

numbered! {
    /// What the child was doing, in the order in which it does it.
    Phase {
        /// First steps.
        Setup = "prepare the process",
        /// Joining and unsharing; the item counts in `namespaces.joined`.
        Namespaces = "enter the namespaces",
        /// OOM score, where only the process itself may set it.
        OomScore = "set the OOM score",
        /// Offsets of the time namespace.
        TimeOffsets = "enter the time namespace",
        /// Session keyring.
        Keyring = "join a session keyring",
        /// Loopback device.
        Loopback = "bring up the loopback device",
        /// Host name.
        HostName = "set the host name",
        /// Domain name.
        DomainName = "set the domain name",
        /// Private procfs.
        Procfs = "mount a private procfs",
        /// Propagation of the host's mounts.
        Propagation = "set the propagation of the mounts",
        /// Root file system.
        Rootfs = "attach the root file system",
        /// The item counts in `mounts`.
        Mounts = "mount",
        /// The item counts in `devices.nodes`.
        Devices = "make the device",
        /// Links in /dev.
        DeviceLinks = "populate /dev",
        /// The item counts in `hooks.create_container`.
        CreateContainerHooks = "run the createContainer hooks",
        /// pivot_root.
        Pivot = "change the root directory",
        /// The item counts in `sysctls`.
        Sysctls = "set the sysctl",
        /// The item counts in `rootfs.read_only_paths`.
        ReadOnlyPaths = "make read-only",
        /// The item counts in `rootfs.masked`.
        MaskedPaths = "mask",
        /// Read-only root and tmpfs.
        ReadOnlyRoot = "make the root file system read-only",
        /// Terminal.
        Terminal = "set up the terminal",
        /// Standard streams.
        Stdio = "set up the standard streams",
        /// Scheduler, I/O priority, personality, memory policy.
        Scheduling = "set the scheduling attributes",
        /// LSM labels.
        Labels = "set the security label",
        /// Working directory.
        Cwd = "change to the working directory",
        /// The item counts in `limits.rlimits`.
        Limits = "set the resource limits",
        /// Bounding set, ids, groups, capabilities.
        Identity = "set the identity of the process",
        /// Home directory.
        Home = "look up the home directory",
        /// Program lookup.
        Program = "find the program",
        /// Seccomp.
        Seccomp = "load the seccomp filter",
        /// Waiting for `start`.
        Gate = "wait for start",
        /// The item counts in `hooks.start_container`.
        StartContainerHooks = "run the startContainer hooks",
        /// execve.
        Execve = "execute the program",
    }
}

numbered! {
    /// The call that failed.
    #[allow(missing_docs)] // each is named after the call
    Call {
        /// No call: the finding is ours.
        None = "",
        Setns = "setns(2)",
        Unshare = "unshare(2)",
        Clone = "clone3(2)",
        Prctl = "prctl(2)",
        Setsid = "setsid(2)",
        Keyctl = "keyctl(2)",
        Sethostname = "sethostname(2)",
        Setdomainname = "setdomainname(2)",
        Ioctl = "ioctl(2)",
        OpenTree = "open_tree(2)",
        MoveMount = "move_mount(2)",
        MountSetattr = "mount_setattr(2)",
        Fsopen = "fsopen(2)",
        Fsconfig = "fsconfig(2)",
        Fsmount = "fsmount(2)",
        PivotRoot = "pivot_root(2)",
        Umount = "umount2(2)",
        Mount = "mount(2)",
        Chroot = "chroot(2)",
        Openat = "openat2(2)",
        Mkdirat = "mkdirat(2)",
        Mknodat = "mknodat(2)",
        Symlinkat = "symlinkat(2)",
        Unlinkat = "unlinkat(2)",
        Readlinkat = "readlinkat(2)",
        Chmod = "fchmodat2(2)",
        Chown = "fchownat(2)",
        Statx = "statx(2)",
        Statfs = "statfs(2)",
        Read = "read(2)",
        Write = "write(2)",
        Chdir = "fchdir(2)",
        Getcwd = "getcwd(2)",
        Dup = "dup2(2)",
        CloseRange = "close_range(2)",
        Send = "sendmsg(2)",
        Receive = "recvmsg(2)",
        Accept = "accept4(2)",
        Setgroups = "setgroups(2)",
        Setresgid = "setresgid(2)",
        Setresuid = "setresuid(2)",
        Capset = "capset(2)",
        Seccomp = "seccomp(2)",
        Prlimit = "prlimit(2)",
        SchedSetattr = "sched_setattr(2)",
        IoprioSet = "ioprio_set(2)",
        Personality = "personality(2)",
        SetMempolicy = "set_mempolicy(2)",
        Execve = "execve(2)",
        Faccessat = "faccessat2(2)",
        Listxattr = "listxattr(2)",
        Fsetxattr = "fsetxattr(2)",
    }
}

/// Room for the words of the kernel, a hook or a path in a failure, in bytes.
pub const TEXT: usize = 2048;

/// What went wrong in the child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// During which phase.
    pub phase: Phase,
    /// With which item of the phase.
    pub item: u32,
    /// In which call.
    pub call: Call,
    /// errno, 0 when there is none.
    pub errno: i32,
    /// A path component, a program, the kernel's message, the output of a hook.
    pub text: Vec<u8>,
}

impl Failure {
    /// A failed call; phase and item are filled in by whoever knows them.
    pub fn of(call: Call, errno: Errno) -> Failure {
        Failure { phase: Phase::Setup, item: 0, call, errno: errno as i32, text: Vec::new() }
    }

    /// A finding without a call.
    pub fn found(text: &str) -> Failure {
        Failure { phase: Phase::Setup, item: 0, call: Call::None, errno: 0, text: text.as_bytes().to_vec() }
    }

    /// Adds words.
    pub fn with(mut self, text: &[u8]) -> Failure {
        self.text = text[..text.len().min(TEXT)].to_vec();
        self
    }
}

/// Names the call of a kernel result.
pub trait In<T> {
    /// Turns an errno into a failure of `call`.
    fn call(self, call: Call) -> Result<T, Failure>;
}

impl<T> In<T> for Result<T, Errno> {
    fn call(self, call: Call) -> Result<T, Failure> {
        self.map_err(|errno| Failure::of(call, errno))
    }
}

/// Names the phase of a failure.
pub trait During<T> {
    /// Fills in the phase.
    fn during(self, phase: Phase) -> Result<T, Failure>;
    /// Fills in the phase and the item.
    fn item(self, phase: Phase, item: usize) -> Result<T, Failure>;
}

impl<T> During<T> for Result<T, Failure> {
    fn during(self, phase: Phase) -> Result<T, Failure> {
        self.item(phase, 0)
    }

    fn item(self, phase: Phase, item: usize) -> Result<T, Failure> {
        self.map_err(|failure| Failure { phase, item: item as u32, ..failure })
    }
}

/// A standard stream of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// From the child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromChild {
    /// The process in between has joined its namespaces and made the init process, whose pidfd comes along.
    Cloned,
    /// The time namespace waits for its offsets.
    TimeOffsets,
    /// In place of the file system of this mount, which the user namespace may not make, the one of the host is bound.
    BoundInstead(u32),
    /// Mounts and devices are there.
    Mounted,
    /// The scheduler and the priority of I/O are to be set now.
    Schedule,
    /// The resource limits are to be set now.
    Limits,
    /// The seccomp listener comes along.
    Listener,
    /// A hook that runs in the container has printed something.
    Printed(Stream, Vec<u8>),
    /// Everything is set up; the child waits for `start`, or goes on in `run`.
    Ready,
    /// The child is about to execute the program.
    Executing,
    /// The filter that records is loaded; its listener comes along, and the child waits for whoever has it.
    Recording,
    /// Something failed, the child is gone.
    Failure(Failure),
}

const CLONED: u8 = 1;
const TIME_OFFSETS: u8 = 2;
const MOUNTED: u8 = 3;
const LISTENER: u8 = 4;
const READY: u8 = 5;
const FAILURE: u8 = 6;
const EXECUTING: u8 = 7;
const LIMITS: u8 = 8;
const RECORDING: u8 = 9;
const BOUND_INSTEAD: u8 = 10;
const PRINTED: u8 = 11;
const SCHEDULE: u8 = 12;
const GO: u8 = 0x67;
const HANDLE: u8 = 0x68;
const NAMESPACES: u8 = 0x69;

/// The largest message.
const LARGEST: usize = 16 + TEXT;

impl FromChild {
    /// Sends the message, with a descriptor when given.
    pub fn send(&self, socket: BorrowedFd, passed: Option<BorrowedFd>) -> Result<(), Errno> {
        let mut bytes = [0u8; LARGEST];
        let length = self.encode(&mut bytes);
        fd::send(socket, &bytes[..length], passed)
    }

    /// Sends the message with write(2), which every filter permits that lets a program say anything.
    pub fn write(&self, socket: BorrowedFd) -> Result<(), Errno> {
        let mut bytes = [0u8; LARGEST];
        let length = self.encode(&mut bytes);
        fd::write_once(socket, &bytes[..length])
    }

    /// Sends the message past the filter that records, see [`fd::send_with_key`].
    pub fn send_with_key(&self, socket: BorrowedFd, passed: BorrowedFd, key: u64) -> Result<(), Errno> {
        let mut bytes = [0u8; LARGEST];
        let length = self.encode(&mut bytes);
        fd::send_with_key(socket, &bytes[..length], passed, key)
    }

    fn encode(&self, bytes: &mut [u8; LARGEST]) -> usize {
        bytes[0] = match self {
            FromChild::Cloned => CLONED,
            FromChild::TimeOffsets => TIME_OFFSETS,
            FromChild::BoundInstead(_) => BOUND_INSTEAD,
            FromChild::Mounted => MOUNTED,
            FromChild::Schedule => SCHEDULE,
            FromChild::Limits => LIMITS,
            FromChild::Listener => LISTENER,
            FromChild::Printed(..) => PRINTED,
            FromChild::Ready => READY,
            FromChild::Executing => EXECUTING,
            FromChild::Recording => RECORDING,
            FromChild::Failure(_) => FAILURE,
        };
        match self {
            FromChild::BoundInstead(mount) => bytes[4..8].copy_from_slice(&mount.to_le_bytes()),
            FromChild::Printed(stream, text) => {
                bytes[2] = (*stream == Stream::Err).into();
                return 16 + put(text, bytes);
            }
            FromChild::Failure(failure) => {
                bytes[2..4].copy_from_slice(&(failure.phase as u16).to_le_bytes());
                bytes[4..8].copy_from_slice(&failure.errno.to_le_bytes());
                bytes[8..12].copy_from_slice(&failure.item.to_le_bytes());
                bytes[12..14].copy_from_slice(&(failure.call as u16).to_le_bytes());
                return 16 + put(&failure.text, bytes);
            }
            _ => {}
        }
        16
    }

    fn decode(bytes: &[u8]) -> Option<FromChild> {
        let head: &[u8; 16] = bytes.first_chunk()?;
        let u16_at = |i: usize| u16::from_le_bytes([head[i], head[i + 1]]);
        let u32_at = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        Some(match head[0] {
            CLONED => FromChild::Cloned,
            TIME_OFFSETS => FromChild::TimeOffsets,
            BOUND_INSTEAD => FromChild::BoundInstead(u32_at(4)),
            MOUNTED => FromChild::Mounted,
            SCHEDULE => FromChild::Schedule,
            LIMITS => FromChild::Limits,
            LISTENER => FromChild::Listener,
            PRINTED => {
                let stream = if head[2] == 0 { Stream::Out } else { Stream::Err };
                FromChild::Printed(stream, bytes[16..].to_vec())
            }
            READY => FromChild::Ready,
            EXECUTING => FromChild::Executing,
            RECORDING => FromChild::Recording,
            FAILURE => FromChild::Failure(Failure {
                phase: Phase::from_number(u16_at(2))?,
                errno: u32_at(4) as i32,
                item: u32_at(8),
                call: Call::from_number(u16_at(12))?,
                text: bytes[16..].to_vec(),
            }),
            _ => return None,
        })
    }
}

/// Puts words behind the head of a message, as many as fit. Returns how many bytes.
fn put(text: &[u8], bytes: &mut [u8; LARGEST]) -> usize {
    let length = text.len().min(TEXT);
    bytes[16..16 + length].copy_from_slice(&text[..length]);
    length
}

/// Waits for the next message of the child. `None` when the child is gone without one.
///
/// Errors: EBADMSG for anything that is no message.
pub fn receive(socket: BorrowedFd) -> Result<Option<(FromChild, Option<OwnedFd>)>, Errno> {
    let mut bytes = [0u8; LARGEST];
    // The reset tells that the child went with something unread; what it said before is told after that.
    let received = match fd::receive(socket, &mut bytes) {
        Err(Errno::ECONNRESET) => fd::receive(socket, &mut bytes),
        other => other,
    };
    let (length, passed) = match received {
        Err(Errno::ECONNRESET) => return Ok(None),
        other => other?,
    };
    if length == 0 {
        return Ok(None);
    }
    match FromChild::decode(&bytes[..length]) {
        Some(message) => Ok(Some((message, passed))),
        None => Err(Errno::EBADMSG),
    }
}

/// How the execution went.
pub enum Outcome {
    /// The program runs, or has run.
    Executed,
    /// It does not.
    Failed(Failure),
    /// The init process ended without a word.
    Gone,
}

/// What was heard on the way to the execution.
pub enum Heard {
    /// More will follow.
    Progress,
    /// A startContainer hook has printed this; more will follow.
    Printed(Stream, Vec<u8>),
    /// The listener of a filter that records; more will follow.
    Listener(OwnedFd),
    /// The last word.
    Last(Outcome),
}

/// Waits for one message. `about_to` remembers whether the child has announced the execution.
pub fn hear(channel: BorrowedFd, about_to: &mut bool) -> Heard {
    match receive(channel) {
        Ok(Some((FromChild::Executing, _))) => {
            *about_to = true;
            Heard::Progress
        }
        Ok(Some((FromChild::Printed(stream, text), _))) => Heard::Printed(stream, text),
        Ok(Some((FromChild::Recording, Some(listener)))) => Heard::Listener(listener),
        Ok(Some((FromChild::Failure(failure), _))) => Heard::Last(Outcome::Failed(failure)),
        Ok(None) if *about_to => Heard::Last(Outcome::Executed),
        Ok(_) | Err(_) => Heard::Last(Outcome::Gone),
    }
}

/// Listens until the channel closes, which execve(2) does. `printed` takes what hooks print meanwhile.
pub fn executed(channel: BorrowedFd, printed: impl Fn(Stream, &[u8])) -> Outcome {
    let mut about_to = false;
    loop {
        match hear(channel, &mut about_to) {
            Heard::Printed(stream, text) => printed(stream, &text),
            Heard::Progress | Heard::Listener(_) => {}
            Heard::Last(outcome) => return outcome,
        }
    }
}

/// Lets the child go on.
pub fn send_go(socket: BorrowedFd) -> Result<(), Errno> {
    fd::send(socket, &[GO], None)
}

/// Gives the child a descriptor that could not be opened before it existed, before it is let go on.
pub fn send_handle(socket: BorrowedFd, index: u8, handle: BorrowedFd) -> Result<(), Errno> {
    fd::send(socket, &[HANDLE, index], Some(handle))
}

/// As [`wait_for_go`], taking descriptors from [`send_handle`] before.
pub fn wait_for_go_with(socket: BorrowedFd, mut take: impl FnMut(u8, OwnedFd)) -> Result<(), Errno> {
    loop {
        let mut bytes = [0u8; 2];
        match fd::receive(socket, &mut bytes)? {
            (1, None) if bytes[0] == GO => return Ok(()),
            (2, Some(handle)) if bytes[0] == HANDLE => take(bytes[1], handle),
            (0, _) => return Err(Errno::EPIPE),
            _ => return Err(Errno::EBADMSG),
        }
    }
}

/// What somebody at the start gate wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The container is to go on.
    Start,
    /// The namespaces: a handle of each, by the place of its kind in the list of kinds, and a go after the last.
    Namespaces,
}

/// Asks for the namespaces at the start gate.
pub fn ask_for_namespaces(gate: BorrowedFd) -> Result<(), Errno> {
    fd::send(gate, &[NAMESPACES], None)
}

/// Waits for what somebody at the start gate wants. EPIPE when it is gone without a word.
pub fn wanted_at_gate(caller: BorrowedFd) -> Result<Wanted, Errno> {
    let mut bytes = [0u8; 2];
    match fd::receive(caller, &mut bytes)? {
        (1, None) if bytes[0] == GO => Ok(Wanted::Start),
        (1, None) if bytes[0] == NAMESPACES => Ok(Wanted::Namespaces),
        (0, _) => Err(Errno::EPIPE),
        _ => Err(Errno::EBADMSG),
    }
}

/// Waits until the parent lets the child go on. EPIPE when the parent is gone.
pub fn wait_for_go(socket: BorrowedFd) -> Result<(), Errno> {
    let mut passed = false;
    wait_for_go_with(socket, |_, _| passed = true)?;
    if passed { Err(Errno::EBADMSG) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_failure_arrives_as_it_was_sent() {
        let (parent, child) = fd::seqpacket_pair().unwrap();
        let sent = Failure::of(Call::Fsconfig, Errno::EPERM).with(b"no such option");
        let sent = Err::<(), _>(sent).item(Phase::Mounts, 7).unwrap_err();
        FromChild::Failure(sent.clone()).send(child.as_fd(), None).unwrap();
        let (message, passed) = receive(parent.as_fd()).unwrap().unwrap();
        assert_eq!(message, FromChild::Failure(sent));
        assert!(passed.is_none());
        drop(child);
        assert_eq!(receive(parent.as_fd()).unwrap().map(|(m, _)| m), None);
    }

    #[test]
    fn what_a_hook_prints_arrives_as_it_was_sent() {
        let (parent, child) = fd::seqpacket_pair().unwrap();
        for sent in [(Stream::Out, vec![0, 1, 255]), (Stream::Err, vec![b'x'; TEXT]), (Stream::Out, vec![])] {
            let sent = FromChild::Printed(sent.0, sent.1);
            sent.send(child.as_fd(), None).unwrap();
            assert_eq!(receive(parent.as_fd()).unwrap().map(|(message, _)| message), Some(sent));
        }
    }

    #[test]
    fn a_failure_arrives_from_a_child_that_went_without_listening() {
        let (parent, child) = fd::seqpacket_pair().unwrap();
        send_go(parent.as_fd()).unwrap();
        let sent = Failure::of(Call::Fsconfig, Errno::EPERM);
        FromChild::Failure(sent.clone()).send(child.as_fd(), None).unwrap();
        drop(child);
        assert_eq!(receive(parent.as_fd()).unwrap().map(|(m, _)| m), Some(FromChild::Failure(sent)));
        assert_eq!(receive(parent.as_fd()).unwrap().map(|(m, _)| m), None);
    }

    #[test]
    fn handles_arrive_before_the_go() {
        let (parent, child) = fd::seqpacket_pair().unwrap();
        let send = || {
            send_handle(parent.as_fd(), 3, parent.as_fd()).unwrap();
            send_go(parent.as_fd()).unwrap();
        };
        send();
        let mut indices = Vec::new();
        wait_for_go_with(child.as_fd(), |index, _| indices.push(index)).unwrap();
        assert_eq!(indices, [3]);
        send();
        assert_eq!(wait_for_go(child.as_fd()), Err(Errno::EBADMSG), "nobody waits for a handle");
    }

    #[test]
    fn words_at_the_gate_are_told_apart() {
        let (caller, init) = fd::seqpacket_pair().unwrap();
        ask_for_namespaces(caller.as_fd()).unwrap();
        send_go(caller.as_fd()).unwrap();
        fd::send(caller.as_fd(), &[GO, GO], None).unwrap();
        assert_eq!(wanted_at_gate(init.as_fd()), Ok(Wanted::Namespaces));
        assert_eq!(wanted_at_gate(init.as_fd()), Ok(Wanted::Start));
        assert_eq!(wanted_at_gate(init.as_fd()), Err(Errno::EBADMSG));
        drop(caller);
        assert_eq!(wanted_at_gate(init.as_fd()), Err(Errno::EPIPE));
    }

    #[test]
    fn garbage_is_refused() {
        let (parent, child) = fd::seqpacket_pair().unwrap();
        fd::send(child.as_fd(), &[9, 9, 9], None).unwrap();
        assert_eq!(receive(parent.as_fd()).map(|_| ()), Err(Errno::EBADMSG));
    }
}
