//! A systemd of the test: a bus and a manager on a socket, which do what they are told to.
//!
//! It writes down what it is asked, makes the cgroups of a unit and moves the process there, as systemd does. And it
//! can misbehave.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use serde_json::{Value, json};

use super::dbus::{self, Arg, Call, Kind};
use super::{Cmd, Test, View, cgroup};

/// What the peer does instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Nothing: it behaves well.
    None,
    /// It takes connections and never says a word.
    Silent,
    /// It refuses the caller.
    Rejects,
    /// It sends what is no message.
    Garbage,
    /// It claims a message of 4 GiB.
    Huge,
    /// It does not answer this call.
    NoAnswer(&'static str),
    /// It answers this call with an error: name and text.
    Refuses(&'static str, &'static str, &'static str),
    /// It closes the connection instead of answering this call.
    HangsUp(&'static str),
    /// It does so once, as a bus that is started again.
    HangsUpOnce(&'static str),
    /// Jobs end with this result.
    Job(&'static str),
    /// Jobs never end.
    NoEnd,
    /// Somebody else says that the job is done; systemd never does.
    Forged,
    /// It says that the unit is there and moves nothing.
    DoesNotMove,
    /// The name of systemd is owned by another user.
    Foreign,
    /// systemd is not on the bus until something was sent to its name.
    Late,
    /// The bus sees the caller under another pid.
    OtherPid,
}

/// The peer. Its cgroups are removed with it.
pub struct Systemd {
    address: PathBuf,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    fault: Fault,
    view: View,
    version: String,
    /// The cgroup of the manager, below the root.
    root: String,
    calls: Vec<Call>,
    /// Units that are there, and the directories made for them.
    units: BTreeMap<String, Vec<PathBuf>>,
    failed: Vec<String>,
    made: Vec<PathBuf>,
    jobs: u32,
}

/// Names on the bus.
const SYSTEMD: &str = ":1.1";
const CLIENT: &str = ":1.7";
const STRANGER: &str = ":1.66";

impl Systemd {
    /// Starts the peer in the directory of the test.
    pub fn start(t: &Test) -> Systemd {
        let address = t.dir().join(format!("bus-{}", t.next_number()));
        let listener = UnixListener::bind(&address).expect("a socket can be made");
        let shared = Arc::new(Mutex::new(Shared {
            fault: Fault::None,
            view: t.view(),
            version: "252.38-1~deb12u1".to_owned(),
            root: String::new(),
            calls: Vec::new(),
            units: BTreeMap::new(),
            failed: Vec::new(),
            made: Vec::new(),
            jobs: 0,
        }));
        let for_thread = shared.clone();
        // The thread ends with the run.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = for_thread.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Systemd { address, shared }
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("no thread has panicked")
    }

    /// Makes it misbehave from now on.
    pub fn fault(&self, fault: Fault) {
        self.shared().fault = fault;
    }

    /// Another version than 252.
    pub fn version(self, version: &str) -> Self {
        self.shared().version = version.to_owned();
        self
    }

    /// The manager itself is in this cgroup, such as `/a/b`.
    pub fn root(self, root: &str) -> Self {
        self.shared().root = root.to_owned();
        self
    }

    /// A unit of this name has failed and was not forgotten.
    pub fn has_failed(&self, unit: &str) {
        self.shared().failed.push(unit.to_owned());
    }

    /// The call, with this peer as its bus.
    pub fn serves<'t>(&self, cmd: Cmd<'t>) -> Cmd<'t> {
        cmd.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", self.address.display()))
    }

    /// The methods that were called, in order, without those of the greeting.
    pub fn methods(&self) -> Vec<String> {
        let greeting =
            ["Hello", "AddMatch", "GetNameOwner", "GetConnectionUnixUser", "GetConnectionUnixProcessID"];
        let calls = &self.shared().calls;
        let names = calls.iter().map(|call| call.member.as_str());
        names
            .filter(|name| !greeting.contains(name) && !["Get", "Subscribe", "Ping"].contains(name))
            .map(str::to_owned)
            .collect()
    }

    /// How often a method was called.
    pub fn count(&self, method: &str) -> usize {
        self.shared().calls.iter().filter(|call| call.member == method).count()
    }

    /// The arguments of the last call of a method.
    pub fn asked(&self, method: &str) -> Vec<Value> {
        let shared = self.shared();
        let call = shared.calls.iter().rev().find(|call| call.member == method);
        call.unwrap_or_else(|| panic!("{method} was not called")).body.clone()
    }

    /// The properties of the last call of a method that sets some.
    pub fn properties(&self, method: &str) -> Value {
        let body = self.asked(method);
        let index = if method == "StartTransientUnit" { 2 } else { 2.min(body.len() - 1) };
        let pairs = body[index].as_array().expect("a list of properties");
        let mut properties = serde_json::Map::new();
        for pair in pairs {
            let name = pair[0].as_str().expect("a name").to_owned();
            assert!(properties.insert(name.clone(), pair[1].clone()).is_none(), "{name} is there twice");
        }
        Value::Object(properties)
    }

    /// The units that are there.
    pub fn units(&self) -> Vec<String> {
        self.shared().units.keys().cloned().collect()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.address);
        let Ok(shared) = self.shared.lock() else { return };
        for dir in shared.made.iter().rev() {
            let _ = fs::remove_dir(dir);
        }
    }
}

fn serve(mut stream: UnixStream, shared: &Mutex<Shared>) {
    let fault = || shared.lock().map(|shared| shared.fault).unwrap_or(Fault::None);
    let pid = getsockopt(&stream, sockopt::PeerCredentials).map(|peer| peer.pid()).unwrap_or(0);
    let mut bytes = Vec::new();
    if fault() == Fault::Silent {
        // Until the client gives up.
        let _ = stream.read_to_end(&mut bytes);
        return;
    }
    if greet(&mut stream, &mut bytes, fault()).is_none() {
        return;
    }
    match fault() {
        Fault::Garbage => drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        Fault::Huge => drop(stream.write_all(b"l\x02\0\x01\xff\xff\xff\xff\x01\0\0\0\xff\xff\xff\xff")),
        _ => {}
    }
    let mut serial = 0;
    loop {
        while let Some(call) = dbus::take(&mut bytes) {
            let Some(answers) = answer(&call, pid, shared) else { return };
            for (kind, sender, arguments) in answers {
                serial += 1;
                let arguments: Vec<Arg> = arguments.iter().map(Owned::borrow).collect();
                let kind = match &kind {
                    Reply::Return => Kind::Return(call.serial),
                    Reply::Error(name) => Kind::Error(call.serial, name),
                    Reply::Signal => Kind::Signal("JobRemoved"),
                };
                if stream.write_all(&dbus::message(serial, &kind, sender, &arguments)).is_err() {
                    return;
                }
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => bytes.extend(&buffer[..count]),
            _ => return,
        }
    }
}

/// The greeting of a server that learns from the kernel who the client is. `None` when it fails.
fn greet(stream: &mut UnixStream, bytes: &mut Vec<u8>, fault: Fault) -> Option<()> {
    let mut nul = [1];
    stream.read_exact(&mut nul).ok()?;
    assert_eq!(nul, [0], "the greeting starts with NUL");
    loop {
        let line = loop {
            if let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = bytes.drain(..end + 2).take(end).collect();
                break String::from_utf8(line).expect("a line of text");
            }
            let mut buffer = [0; 256];
            let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
            bytes.extend(&buffer[..count]);
        };
        let reply = match line.as_str() {
            _ if fault == Fault::Rejects => "REJECTED EXTERNAL\r\n",
            "AUTH EXTERNAL" => "DATA\r\n",
            "DATA" => "OK 0123456789abcdef0123456789abcdef\r\n",
            "BEGIN" => return Some(()),
            other => panic!("the client says {other:?}"),
        };
        stream.write_all(reply.as_bytes()).ok()?;
    }
}

enum Reply {
    Return,
    Error(&'static str),
    Signal,
}

enum Owned {
    Text(String),
    Path(String),
    Number(u32),
    Variant(String),
}

impl Owned {
    fn borrow(&self) -> Arg<'_> {
        match self {
            Owned::Text(text) => Arg::Text(text),
            Owned::Path(text) => Arg::Path(text),
            Owned::Number(number) => Arg::Number(*number),
            Owned::Variant(text) => Arg::Variant(text),
        }
    }
}

type Answers = Vec<(Reply, &'static str, Vec<Owned>)>;

/// What is sent after a call; `None` closes the connection.
fn answer(call: &Call, pid: i32, shared: &Mutex<Shared>) -> Option<Answers> {
    let mut shared = shared.lock().ok()?;
    shared.calls.push(call.clone());
    let member = call.member.as_str();
    match shared.fault {
        Fault::Silent | Fault::Garbage | Fault::Huge => return Some(Vec::new()),
        Fault::NoAnswer(method) if method == member => return Some(Vec::new()),
        Fault::HangsUp(method) if method == member => return None,
        Fault::HangsUpOnce(method) if method == member => {
            shared.fault = Fault::None;
            return None;
        }
        Fault::Refuses(method, name, text) if method == member => {
            return Some(vec![(Reply::Error(name), SYSTEMD, vec![Owned::Text(text.to_owned())])]);
        }
        _ => {}
    }
    let text = |index: usize| call.body.get(index).and_then(Value::as_str).unwrap_or_default();
    let one = |value| vec![(Reply::Return, SYSTEMD, vec![value])];
    let of_systemd = text(0) == "org.freedesktop.systemd1";
    Some(match member {
        "GetNameOwner" | "GetConnectionUnixUser" if shared.fault == Fault::Late && of_systemd => {
            let text = "Could not get owner of name 'org.freedesktop.systemd1': no such name";
            let name = "org.freedesktop.DBus.Error.NameHasNoOwner";
            vec![(Reply::Error(name), SYSTEMD, vec![Owned::Text(text.to_owned())])]
        }
        "Ping" => {
            shared.fault = Fault::None;
            vec![(Reply::Return, SYSTEMD, Vec::new())]
        }
        "Hello" => one(Owned::Text(CLIENT.to_owned())),
        "AddMatch" | "Subscribe" => vec![(Reply::Return, SYSTEMD, Vec::new())],
        "GetNameOwner" => one(Owned::Text(SYSTEMD.to_owned())),
        "GetConnectionUnixUser" => {
            one(Owned::Number(if shared.fault == Fault::Foreign && of_systemd { 1000 } else { 0 }))
        }
        "GetConnectionUnixProcessID" => {
            one(Owned::Number(if shared.fault == Fault::OtherPid { 1 } else { pid as u32 }))
        }
        "Get" if text(1) == "Version" => one(Owned::Variant(shared.version.clone())),
        "Get" => one(Owned::Variant(shared.root.clone())),
        "StartTransientUnit" => shared.start(call),
        "StopUnit" => shared.stop(text(0)),
        "ResetFailedUnit" => {
            let unit = text(0).to_owned();
            shared.failed.retain(|failed| *failed != unit);
            vec![(Reply::Return, SYSTEMD, Vec::new())]
        }
        "SetUnitProperties" => vec![(Reply::Return, SYSTEMD, Vec::new())],
        other => panic!("{other} is not known here"),
    })
}

impl Shared {
    fn start(&mut self, call: &Call) -> Answers {
        let unit = call.body[0].as_str().expect("the name of the unit").to_owned();
        if self.units.contains_key(&unit) || self.failed.contains(&unit) {
            let text = Owned::Text(format!("Unit {unit} was already loaded or has a fragment file."));
            return vec![(Reply::Error("org.freedesktop.systemd1.UnitExists"), SYSTEMD, vec![text])];
        }
        let property = |name: &str| {
            let pairs = call.body[2].as_array().expect("a list of properties");
            pairs.iter().find(|pair| pair[0] == name).map(|pair| pair[1].clone())
        };
        let started =
            !matches!(self.fault, Fault::Job(_) | Fault::NoEnd | Fault::Forged | Fault::DoesNotMove);
        if started {
            let slice = property("Slice").unwrap_or(json!(""));
            let dirs = self.make(&unit, slice.as_str().unwrap_or_default());
            for pid in property("PIDs").iter().flat_map(|pids| pids.as_array().cloned().unwrap_or_default()) {
                for dir in &dirs {
                    let done = fs::write(dir.join("cgroup.procs"), pid.to_string());
                    assert!(done.is_ok(), "{} takes {pid}: {done:?}", dir.display());
                }
            }
            self.units.insert(unit.clone(), dirs);
        }
        self.job(&unit)
    }

    fn stop(&mut self, unit: &str) -> Answers {
        let Some(dirs) = self.units.remove(unit) else {
            let text = Owned::Text(format!("Unit {unit} not loaded."));
            return vec![(Reply::Error("org.freedesktop.systemd1.NoSuchUnit"), SYSTEMD, vec![text])];
        };
        for dir in dirs {
            // The last process may still be on its way out.
            for _ in 0..100 {
                match fs::remove_dir(&dir) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    _ => break,
                }
            }
        }
        self.job(unit)
    }

    fn job(&mut self, unit: &str) -> Answers {
        self.jobs += 1;
        let path = format!("/org/freedesktop/systemd1/job/{}", self.jobs);
        let removed = |path: &str, result: &str| {
            let (path, unit, result) = (path.to_owned(), unit.to_owned(), result.to_owned());
            vec![Owned::Number(7), Owned::Path(path), Owned::Text(unit), Owned::Text(result)]
        };
        let result = match self.fault {
            Fault::Job(result) => result,
            _ => "done",
        };
        let mut answers = vec![(Reply::Return, SYSTEMD, vec![Owned::Path(path.clone())])];
        // The end of another job comes first.
        answers.push((Reply::Signal, SYSTEMD, removed("/org/freedesktop/systemd1/job/999", "failed")));
        match self.fault {
            Fault::NoEnd => {}
            Fault::Forged => answers.push((Reply::Signal, STRANGER, removed(&path, result))),
            _ => answers.push((Reply::Signal, SYSTEMD, removed(&path, result))),
        }
        answers
    }

    /// Makes the directories of a unit in the hierarchies that systemd manages.
    fn make(&mut self, unit: &str, slice: &str) -> Vec<PathBuf> {
        let managed = ["name=systemd", "memory", "pids"];
        let hierarchies = cgroup::hierarchies();
        let managed = hierarchies.iter().filter(|hierarchy| {
            hierarchy.v2 || hierarchy.controllers.iter().any(|name| managed.contains(&name.as_str()))
        });
        let mut dirs = Vec::new();
        for hierarchy in managed {
            assert!(self.view == View::V2 || !hierarchy.v2 || hierarchy.point != Path::new("/sys/fs/cgroup"));
            let mut dir = hierarchy.point.clone();
            let names = self.root.split('/').filter(|name| !name.is_empty()).map(str::to_owned);
            let names: Vec<String> = names
                .chain(way(slice))
                .chain(if unit.ends_with(".slice") { way(unit) } else { vec![unit.to_owned()] })
                .collect();
            for name in names {
                dir.push(name);
                if fs::create_dir(&dir).is_ok() {
                    self.made.push(dir.clone());
                }
            }
            dirs.push(dir);
        }
        dirs
    }
}

/// The directories of a slice: that of `a-b.slice` is in that of `a.slice`.
fn way(slice: &str) -> Vec<String> {
    let stem = slice.trim_end_matches(".slice");
    let parts: Vec<&str> = stem.split('-').filter(|part| !part.is_empty()).collect();
    (1..=parts.len()).map(|count| format!("{}.slice", parts[..count].join("-"))).collect()
}
