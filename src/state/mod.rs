//! The state directory: `<root>/<id>/` with `state.json`, a copy of `config.json`, and the start gate.
//!
//! The directory reserves the id; the record names every resource before it exists, so that whatever is killed
//! when, `delete --force` finds what to clean up.

mod place;
mod record;
#[cfg(test)]
mod tests;

pub use record::{HookLists, Namespace, Own, Record, RecordConfig, boot_id, start_time};

use std::ffi::{CStr, CString};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};

use crate::cgroup::Cgroup;
use crate::error::{Errno, Error, Result};
use crate::sys::clone::Child;
use crate::sys::path::{self, resolve};
use crate::sys::process;

/// Version of the state document.
pub const OCI_VERSION: &str = "1.3.0";

/// The start gate. It exists exactly while the container is `created`.
const GATE: &str = "exec.fifo";
/// The socket of `seccomp record`, as long as it records.
const RECORDER: &str = "recorder";
const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
const CGROUPS: &str = "cgroups.json";
const INIT: &str = "init.json";
/// The directory that the container sees as /run/notify, and the socket in it.
const NOTIFY: &CStr = c"notify";
const NOTIFY_SOCKET: &str = "notify.sock";
/// The record repeats what may be long in config.json, such as annotations, which it has twice, and the limits, with
/// every member that was left out.
const LARGEST: u64 = 4 * crate::config::LARGEST;

/// A validated container id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(String);

impl Id {
    /// `^[A-Za-z0-9_+-][A-Za-z0-9_+.-]{0,254}$`: what is safe as a file name, a cgroup and a unit.
    pub fn new(text: &str) -> Result<Id> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-');
        if text.is_empty() {
            return Err(Error::usage("container id cannot be empty"));
        }
        let fits = text.len() <= 255 && text.bytes().all(|b| plain(b) || b == b'.') && !text.starts_with('.');
        if fits {
            return Ok(Id(text.to_owned()));
        }
        Err(Error::usage(format!("invalid container ID format: {text:?}"))
            .hint("letters, digits and _ + . - are allowed, at most 255, not starting with a dot"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The lock of a container, released when dropped.
pub type Lock = nix::fcntl::Flock<std::fs::File>;

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `create` has not finished, or was killed.
    Creating,
    /// Waiting for `start`.
    Created,
    /// The program runs.
    Running,
    /// Frozen.
    Paused,
    /// The init process has ended.
    Stopped,
}

impl Status {
    /// The word of the specification.
    pub fn text(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// The directory that holds all containers.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

impl Root {
    /// Opens the root, made with mode 0700 when `create`.
    ///
    /// Errors: it belongs to another user, or others may write to it, or could exchange it.
    pub fn open(path: &Path, create: bool) -> Result<Root> {
        let fd = place::open(path, create)?;
        let stat = path::stat_fd(fd.as_fd()).map_err(|e| {
            Error::kernel(format!("open the state directory {}", path.display()), "statx(2)", e)
        })?;
        let refused = |why: &str| {
            Err(Error::state(format!("the state directory {} {why}", path.display()))
                .hint("choose another one with --root"))
        };
        if stat.uid != crate::sys::identity::effective_uid() {
            return refused("belongs to another user");
        }
        if stat.mode & 0o022 != 0 {
            return refused("can be written by other users");
        }
        Ok(Root { path: path.to_owned(), fd })
    }

    /// Sets the sticky bit.
    pub fn keep(&self) -> Result<()> {
        path::fchmod(self.fd.as_fd(), 0o1700).map_err(|e| {
            Error::kernel(format!("keep the state directory {}", self.path.display()), "fchmod(2)", e)
        })
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of its descriptor, which no child may keep.
    pub fn number(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }

    /// Reserves `id`. Errors: a container of that id exists.
    pub fn reserve(&self, id: &Id) -> Result<Directory> {
        let name = c_name(id.as_str());
        match path::mkdirat(self.fd.as_fd(), &name, 0o700) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Err(exists(id)),
            Err(e) => return Err(Error::kernel("reserve the container id", "mkdirat(2)", e)),
        }
        let directory = self.directory(id)?;
        // The umask of the caller must not decide.
        path::fchmod(directory.fd.as_fd(), 0o700)
            .map_err(|e| Error::kernel("reserve the container id", "fchmod(2)", e))?;
        Ok(directory)
    }

    /// Refuses an id that is taken, before anything is read or made.
    pub fn refuse_taken(&self, id: &Id) -> Result<()> {
        match path::statx(self.fd.as_fd(), &c_name(id.as_str()), libc::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Err(exists(id)),
            Err(_) => Ok(()),
        }
    }

    /// Where the directory of the readiness socket of a container is.
    pub fn notify_path(&self, id: &Id) -> PathBuf {
        self.path.join(id.as_str()).join(NOTIFY.to_string_lossy().as_ref())
    }

    /// Opens the directory of a container. Errors: `container does not exist`.
    pub fn directory(&self, id: &Id) -> Result<Directory> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let rules = resolve::BENEATH | resolve::NO_SYMLINKS | resolve::NO_MAGICLINKS | resolve::NO_XDEV;
        match path::openat2(self.fd.as_fd(), &c_name(id.as_str()), flags, 0, rules) {
            Ok(fd) => {
                let stat = path::stat_fd(fd.as_fd())
                    .map_err(|e| Error::kernel("open the state of the container", "statx(2)", e))?;
                if stat.uid != crate::sys::identity::effective_uid() || stat.mode & 0o022 != 0 {
                    let text = format!(
                        "the state of {} belongs to, or can be written by, another user",
                        id.as_str()
                    );
                    return Err(Error::new(crate::error::Kind::Kernel, text).call("statx(2)", Errno::EACCES));
                }
                Ok(Directory { id: id.clone(), path: self.path.join(id.as_str()), fd })
            }
            Err(Errno::ENOENT) => Err(missing()),
            Err(e) => Err(Error::kernel("open the state of the container", "openat2(2)", e)),
        }
    }

    /// The ids of all containers, sorted. Entries that cannot be one are left out.
    pub fn ids(&self) -> Result<Vec<Id>> {
        let failed = |call: &'static str, e| Error::kernel("list the state directory", call, e);
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let listed = path::openat2(self.fd.as_fd(), c".", flags, 0, resolve::BENEATH)
            .map_err(|e| failed("openat2(2)", e))?;
        let mut listed = nix::dir::Dir::from_fd(listed).map_err(|e| failed("getdents64(2)", e))?;
        let mut ids = Vec::new();
        for entry in listed.iter() {
            let entry = entry.map_err(|e| failed("getdents64(2)", e))?;
            let is_directory = match entry.file_type() {
                Some(kind) => kind == nix::dir::Type::Directory,
                // Not every file system tells.
                None => path::statx(self.fd.as_fd(), entry.file_name(), libc::AT_SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| stat.is_dir()),
            };
            if let (true, Some(Ok(id))) = (is_directory, entry.file_name().to_str().ok().map(Id::new)) {
                ids.push(id);
            }
        }
        ids.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(ids)
    }

    /// Removes what is left of a container in the state directory.
    pub fn remove(&self, id: &Id) -> Result<()> {
        let directory = match self.directory(id) {
            Err(error) if is_missing(&error) => return Ok(()),
            other => other?,
        };
        directory.empty()?;
        match path::unlinkat(self.fd.as_fd(), &c_name(id.as_str()), libc::AT_REMOVEDIR) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(Error::kernel("remove the state of the container", "unlinkat(2)", e)),
        }
    }
}

fn c_name(name: &str) -> CString {
    // An id and the names used here contain no NUL byte.
    CString::new(name).unwrap_or_default()
}

/// The address of a socket in an open directory, wherever that is by now. It fits at any length of the path.
fn address_below(directory: BorrowedFd, name: &str) -> std::result::Result<UnixAddr, Errno> {
    UnixAddr::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).as_str())
}

/// The refusal that engines take for "already gone".
pub fn missing() -> Error {
    Error::state("container does not exist")
}

/// True for the error of [`missing`].
pub fn is_missing(error: &Error) -> bool {
    error.kind() == crate::error::Kind::State && error.doing() == missing().doing()
}

fn exists(id: &Id) -> Error {
    Error::state("container with given ID already exists")
        .hint(format!("`teu delete {}` removes it once it has stopped", id.as_str()))
}

/// The directory of one container.
#[derive(Debug)]
pub struct Directory {
    id: Id,
    path: PathBuf,
    fd: OwnedFd,
}

impl Directory {
    /// The container's id.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of its descriptor, which no child may keep.
    pub fn number(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }

    /// Owner of the directory, which is the owner of the container.
    pub fn owner(&self) -> u32 {
        path::stat_fd(self.fd.as_fd()).map_or(0, |stat| stat.uid)
    }

    /// Writes a file as a whole: whoever reads sees the old or the new content.
    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let failed = |call: &'static str, e| {
            Error::kernel(format!("write {}", self.path.join(name).display()), call, e)
        };
        if content.len() as u64 > LARGEST {
            // It could never be read again.
            return Err(failed("write(2)", Errno::EFBIG));
        }
        let temporary = c_name(&format!(".{name}.{}", std::process::id()));
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let rules = resolve::BENEATH | resolve::NO_SYMLINKS;
        let open = || path::openat2(self.fd.as_fd(), &temporary, flags, 0o600, rules);
        let file = match open() {
            // Left by a command of the same number that was killed.
            Err(Errno::EEXIST) => {
                path::unlinkat(self.fd.as_fd(), &temporary, 0).map_err(|e| failed("unlinkat(2)", e))?;
                open()
            }
            other => other,
        };
        let file = file.map_err(|e| failed("openat2(2)", e))?;
        let mut file = std::fs::File::from(file);
        let written =
            file.write_all(content).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)));
        let renamed = written.map_err(|e| failed("write(2)", e)).and_then(|()| {
            let (from, to) = (temporary.as_c_str(), c_name(name));
            nix::fcntl::renameat(&self.fd, from, &self.fd, to.as_c_str())
                .map_err(|e| failed("renameat(2)", e))
        });
        if renamed.is_err() {
            let _ = path::unlinkat(self.fd.as_fd(), &temporary, 0);
        }
        renamed
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let failed = |call: &'static str, e| {
            Error::kernel(format!("read {}", self.path.join(name).display()), call, e)
        };
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let rules = resolve::BENEATH | resolve::NO_SYMLINKS;
        let file = match path::openat2(self.fd.as_fd(), &c_name(name), flags, 0, rules) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(None),
            Err(e) => return Err(failed("openat2(2)", e)),
        };
        path::read_to_end(std::fs::File::from(file), LARGEST)
            .map(Some)
            .map_err(|e| failed("read(2)", Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))))
    }

    /// Writes the record.
    pub fn save(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record)
            .map_err(|e| Error::new(crate::error::Kind::Bug, format!("write the state: {e}")))?;
        self.write(STATE, &text)
    }

    /// Reads the record. `None` when there is none: `create` was killed before it wrote one.
    ///
    /// Errors: it is damaged, or from a later version; nothing may be concluded from it then.
    pub fn load(&self) -> Result<Option<Record>> {
        let Some(text) = self.read(STATE)? else { return Ok(None) };
        let unreadable = |why: String| {
            Error::new(
                crate::error::Kind::State,
                format!("the state of {} cannot be read: {why}", self.id.as_str()),
            )
            .call("read(2)", Errno::EINVAL)
            .hint("`teu delete --force` kills what is in its cgroups and removes it")
        };
        let record: Record = serde_json::from_slice(&text).map_err(|e| unreadable(e.to_string()))?;
        if record.own.version > record::VERSION {
            return Err(unreadable(format!("version {} is later than this program's", record.own.version)));
        }
        Ok(Some(record))
    }

    /// Names the cgroups in a file of their own, so that a damaged record does not hide them.
    pub fn save_cgroups(&self, paths: &std::collections::BTreeMap<String, PathBuf>) -> Result<()> {
        let text = serde_json::to_vec(paths)
            .map_err(|e| Error::new(crate::error::Kind::Bug, format!("write the cgroups: {e}")))?;
        self.write(CGROUPS, &text)
    }

    /// The cgroups that the runtime has made for the container, as far as they are known.
    pub fn load_cgroups(&self) -> std::collections::BTreeMap<String, PathBuf> {
        let text = self.read(CGROUPS).ok().flatten().unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Names the init process in a file of its own, for a container that is not in a cgroup of its own: a damaged record
    /// must not hide it either.
    pub fn save_init(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(&record.identity())
            .map_err(|e| Error::new(crate::error::Kind::Bug, format!("write the init process: {e}")))?;
        self.write(INIT, &text)
    }

    /// That init process, if it is alive.
    pub fn load_init(&self) -> Option<Child> {
        serde_json::from_slice::<record::Identity>(&self.read(INIT).ok()??).ok()?.live()
    }

    /// Keeps a copy of `config.json`, since later changes of the bundle must have no effect.
    pub fn save_config(&self, bytes: &[u8]) -> Result<()> {
        self.write(CONFIG, bytes)
    }

    /// The copy of `config.json`.
    pub fn load_config(&self) -> Result<Option<Vec<u8>>> {
        self.read(CONFIG)
    }

    /// Opens the start gate: a listening socket that the init process inherits.
    pub fn open_gate(&self) -> Result<OwnedFd> {
        self.listen(GATE, 64, "make the start gate")
    }

    /// Opens the socket over which processes that are added to a recorded container are handed over.
    pub fn open_recorder(&self) -> Result<OwnedFd> {
        self.listen(RECORDER, 64, "make the socket of the recording")
    }

    fn listen(&self, name: &str, backlog: i32, doing: &'static str) -> Result<OwnedFd> {
        let failed = |call: &'static str, e| Error::kernel(doing, call, e);
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|e| failed("socket(2)", e))?;
        let address = address_below(self.fd.as_fd(), name).map_err(|e| failed("bind(2)", e))?;
        bind(listener.as_raw_fd(), &address).map_err(|e| failed("bind(2)", e))?;
        listen(&listener, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))
            .map_err(|e| failed("listen(2)", e))?;
        Ok(listener)
    }

    /// Makes the directory for the readiness socket, which users of the container may enter.
    pub fn make_notify(&self) -> Result<()> {
        let failed = |call: &'static str, e| Error::kernel("make the directory of NOTIFY_SOCKET", call, e);
        path::mkdirat(self.fd.as_fd(), NOTIFY, 0o755).map_err(|e| failed("mkdirat(2)", e))?;
        let made = self.open_notify().map_err(|e| failed("openat2(2)", e))?;
        path::fchmod(made.as_fd(), 0o755).map_err(|e| failed("fchmod(2)", e))
    }

    /// Makes the readiness socket, to which every user of the container may write. `None` without its directory.
    pub fn bind_notify(&self) -> Result<Option<OwnedFd>> {
        let failed = |call: &'static str, e| Error::kernel("make the readiness socket", call, e);
        let directory = match self.open_notify() {
            Ok(directory) => directory,
            Err(Errno::ENOENT) => return Ok(None),
            Err(e) => return Err(failed("openat2(2)", e)),
        };
        // One of a `start` that was killed.
        match path::unlinkat(directory.as_fd(), &c_name(NOTIFY_SOCKET), 0) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(failed("unlinkat(2)", e)),
        }
        let made = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|e| failed("socket(2)", e))?;
        let address = address_below(directory.as_fd(), NOTIFY_SOCKET).map_err(|e| failed("bind(2)", e))?;
        // Its mode comes from the umask: a change afterwards would follow a link.
        let before = process::umask(0);
        let bound = bind(made.as_raw_fd(), &address);
        process::umask(before);
        bound.map_err(|e| failed("bind(2)", e))?;
        Ok(Some(made))
    }

    fn open_notify(&self) -> std::result::Result<OwnedFd, Errno> {
        let rules = resolve::BENEATH | resolve::NO_SYMLINKS | resolve::NO_XDEV;
        path::openat2(self.fd.as_fd(), NOTIFY, libc::O_RDONLY | libc::O_DIRECTORY, 0, rules)
    }

    /// True while the container waits for `start`.
    pub fn has_gate(&self) -> bool {
        path::statx(self.fd.as_fd(), &c_name(GATE), libc::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Connects to the gate. Errors: ECONNREFUSED when nobody waits any more.
    pub fn connect_gate(&self) -> std::result::Result<OwnedFd, Errno> {
        self.connect(GATE)
    }

    /// Connects to the command that records the container. Errors: ENOENT, ECONNREFUSED when there is none.
    pub fn connect_recorder(&self) -> std::result::Result<OwnedFd, Errno> {
        self.connect(RECORDER)
    }

    fn connect(&self, name: &str) -> std::result::Result<OwnedFd, Errno> {
        let caller = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        let address = address_below(self.fd.as_fd(), name)?;
        nix::sys::socket::connect(caller.as_raw_fd(), &address)?;
        Ok(caller)
    }

    /// Removes the gate: the container has started.
    pub fn remove_gate(&self) -> Result<()> {
        match path::unlinkat(self.fd.as_fd(), &c_name(GATE), 0) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(Error::kernel("remove the start gate", "unlinkat(2)", e)),
        }
    }

    /// Takes the lock that start, delete, pause, resume and update hold.
    ///
    /// The lock belongs to the open file and ends with the process.
    pub fn lock(&self) -> Result<Lock> {
        self.lock_or(true, libc::O_CREAT)
    }

    /// The same without waiting: EAGAIN when somebody holds it.
    pub fn try_lock(&self) -> Result<Lock> {
        self.lock_or(false, libc::O_CREAT)
    }

    /// Waits for the lock of a container that was seen before: ENOENT when it is gone.
    pub fn lock_again(&self) -> Result<Lock> {
        self.lock_or(true, 0)
    }

    fn lock_or(&self, wait: bool, create: i32) -> Result<Lock> {
        let failed = |call: &'static str, e| Error::kernel("lock the container", call, e);
        let flags = libc::O_RDWR | create | libc::O_NOFOLLOW;
        let rules = resolve::BENEATH | resolve::NO_SYMLINKS;
        let mode = if create == 0 { 0 } else { 0o600 };
        let file = path::openat2(self.fd.as_fd(), c"lock", flags, mode, rules)
            .map_err(|e| failed("openat2(2)", e))?;
        let mut file = std::fs::File::from(file);
        let how = if wait {
            nix::fcntl::FlockArg::LockExclusive
        } else {
            nix::fcntl::FlockArg::LockExclusiveNonblock
        };
        loop {
            match nix::fcntl::Flock::lock(file, how) {
                Ok(lock) => return Ok(lock),
                Err((again, Errno::EINTR)) => file = again,
                Err((_, e)) => return Err(failed("flock(2)", e)),
            }
        }
    }

    /// Removes every file in the directory. Links are removed, not followed.
    fn empty(&self) -> Result<()> {
        let failed = |call: &'static str, e| Error::kernel("remove the state of the container", call, e);
        let listed =
            path::openat2(self.fd.as_fd(), c".", libc::O_RDONLY | libc::O_DIRECTORY, 0, resolve::BENEATH)
                .map_err(|e| failed("openat2(2)", e))?;
        let mut directory = nix::dir::Dir::from_fd(listed).map_err(|e| failed("getdents64(2)", e))?;
        let names: Vec<CString> =
            directory.iter().filter_map(|entry| Some(entry.ok()?.file_name().to_owned())).collect();
        for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
            match path::unlinkat(self.fd.as_fd(), name, 0) {
                Err(Errno::EISDIR) if name.as_c_str() == NOTIFY => self.remove_notify()?,
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(e) => return Err(failed("unlinkat(2)", e)),
            }
        }
        Ok(())
    }

    fn remove_notify(&self) -> Result<()> {
        let failed = |call: &'static str, e| Error::kernel("remove the readiness socket", call, e);
        let inner = self.open_notify().map_err(|e| failed("openat2(2)", e))?;
        match path::unlinkat(inner.as_fd(), &c_name(NOTIFY_SOCKET), 0) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(failed("unlinkat(2)", e)),
        }
        path::unlinkat(self.fd.as_fd(), NOTIFY, libc::AT_REMOVEDIR).map_err(|e| failed("unlinkat(2)", e))
    }
}

/// A container as it is now.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub directory: Directory,
    /// Its record.
    pub record: Record,
    /// The init process, when it lives; held, so that its number stays its own.
    pub init: Option<Child>,
    /// What it is doing.
    pub status: Status,
}

impl Container {
    /// Looks a container up. Errors: `container does not exist`.
    pub fn load(root: &Root, id: &Id) -> Result<Container> {
        let directory = root.directory(id)?;
        let Some(record) = directory.load()? else { return Err(missing()) };
        Ok(Container::of(directory, record))
    }

    /// Looks what a container is doing.
    pub fn of(directory: Directory, record: Record) -> Container {
        let init = record.live_init();
        let status = if record.own.creating {
            Status::Creating
        } else if init.is_none() {
            Status::Stopped
        } else if Cgroup::open(&record.cgroup_paths).is_frozen().unwrap_or(false) {
            Status::Paused
        } else if directory.has_gate() && !record.own.starting {
            Status::Created
        } else {
            Status::Running
        };
        Container { directory, record, init, status }
    }

    /// The cgroups of the container, as far as they exist.
    pub fn cgroup(&self) -> Cgroup {
        Cgroup::open(&self.record.cgroup_paths)
    }

    /// The pid of a living init process, else 0.
    pub fn pid(&self) -> i32 {
        self.init.as_ref().map_or(0, |init| init.pid)
    }
}
