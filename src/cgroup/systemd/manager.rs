//! The manager of systemd: starting, changing and stopping units.
//!
//! Signals and answers count only when they come from the process that owns the name of systemd on the bus, and that
//! is root's, or for a user's manager the caller's own.
//! Source: org.freedesktop.systemd1(5).

use std::path::Path;
use std::time::{Duration, Instant};

use super::address;
use super::bus::{Answer, BUS, Bus, Call, Refusal};
use crate::error::{Errno, Error, Kind, Result};
use crate::plan::cgroup::systemd::Property;
use crate::plan::cgroup::systemd::value::Value;
use crate::sys::identity;

/// How long systemd may take to carry out one job.
pub const PATIENCE: Duration = Duration::from_secs(30);

const NAME: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const MANAGER: (&str, &str, &str) = (NAME, OBJECT, INTERFACE);
const PEER: (&str, &str, &str) = (NAME, OBJECT, "org.freedesktop.DBus.Peer");
const PROPERTIES: (&str, &str, &str) = (NAME, OBJECT, "org.freedesktop.DBus.Properties");

/// The end of a job, sent by the manager and nobody else.
const MATCH: &str = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
                     interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// Errors that mean something here.
mod refused {
    pub const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
    pub const NO_OWNER: &str = "org.freedesktop.DBus.Error.NameHasNoOwner";
    pub const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
}

/// A connection to the manager.
#[derive(Debug)]
pub struct Manager {
    bus: Bus,
    /// The unique name of systemd on the bus; nothing on a connection without a bus.
    owner: Option<String>,
    /// Version of systemd.
    version: u32,
    /// The manager's own cgroup, which contains the units, as names below the root of the hierarchy.
    root: Vec<String>,
    /// The manager is that of the calling user.
    of_user: bool,
    /// It did not answer in time or went away: nothing more can be asked of it.
    lost: bool,
    /// It has taken a unit of ours on. Before that a unit of the name is somebody else's.
    has_started: bool,
}

impl Manager {
    /// Connects to the manager of the system, or to that of the calling user.
    ///
    /// Errors: no bus, a bus that does not answer or refuses, a systemd that is not there or belongs to somebody else.
    pub fn connect(of_user: bool) -> Result<Manager> {
        let uid = identity::effective_uid();
        let owners = [if of_user { uid } else { 0 }];
        let places = address::places(of_user, uid)?;
        let absent = |error: &Error| matches!(error.errno(), Some(Errno::ENOENT | Errno::ECONNREFUSED));
        match Bus::connect(&places.bus, &owners) {
            Ok(bus) => Manager::on_bus(bus, of_user),
            Err(error) if absent(&error) => {
                match places.direct.map(|path| (Bus::connect(&path, &owners), path)) {
                    Some((Ok(bus), path)) => Manager::direct(bus, &path, of_user),
                    Some((Err(other), _)) if !absent(&other) => Err(other),
                    _ => Err(no_bus(error, of_user)),
                }
            }
            Err(error) => Err(error.within("the systemd cgroup driver")),
        }
    }

    fn on_bus(mut bus: Bus, of_user: bool) -> Result<Manager> {
        let ask = |method, arguments| Call { to: BUS, method, arguments };
        let own_name = text(&bus.call(ask("Hello", Vec::new()))?, "greeting")?;
        let questions = |bus: &mut Bus| {
            bus.call_all(vec![
                ask("AddMatch", vec![Value::string(MATCH)]),
                ask("GetNameOwner", vec![Value::string(NAME)]),
                ask("GetConnectionUnixUser", vec![Value::string(NAME)]),
                ask("GetConnectionUnixUser", vec![Value::string(own_name.as_str())]),
                ask("GetConnectionUnixProcessID", vec![Value::string(own_name.as_str())]),
            ])
        };
        let mut answers = questions(&mut bus)?;
        if answers.iter().any(|answer| is(answer, refused::NO_OWNER)) {
            // A bus that has just been started by this very connection does not know systemd yet. What is sent to
            // the name waits there until somebody owns it.
            let _ = bus.call(Call { to: PEER, method: "Ping", arguments: Vec::new() })?;
            answers = questions(&mut bus)?;
        }
        let [matched, owner, user, own_user, own_pid] = &answers[..] else {
            return Err(bus.trouble("gave too few answers"));
        };
        matched.as_ref().map_err(|refusal| told("the bus refuses to pass signals on", refusal))?;
        let owner = text(owner, "systemd is not on the bus")?;
        let user = number(user, "the bus does not tell whose systemd it is")?;
        let own_user = number(own_user, "the bus does not tell who the caller is")?;
        if user != if of_user { own_user } else { 0 } {
            let doing = format!("systemd on the bus belongs to user {user}, who is not trusted");
            return Err(Error::new(Kind::Systemd, doing));
        }
        if number(own_pid, "the bus does not tell which process the caller is")? != std::process::id() {
            return Err(other_pid_namespace());
        }
        Manager::ask(bus, Some(owner), of_user)
    }

    /// systemd itself listens, for root and for when there is no bus.
    fn direct(bus: Bus, path: &Path, of_user: bool) -> Result<Manager> {
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let peer = bus.peer_pid().filter(|pid| *pid > 0).and_then(|pid| namespace(&pid.to_string()));
        if peer.is_none() || peer != namespace("self") {
            return Err(other_pid_namespace().detail(path.display().to_string()));
        }
        Manager::ask(bus, None, of_user)
    }

    fn ask(mut bus: Bus, owner: Option<String>, of_user: bool) -> Result<Manager> {
        let get = |name: &str| {
            let arguments = vec![Value::string(INTERFACE), Value::string(name)];
            Call { to: PROPERTIES, method: "Get", arguments }
        };
        let subscribe = Call { to: MANAGER, method: "Subscribe", arguments: Vec::new() };
        let answers = bus.call_all(vec![get("Version"), get("ControlGroup"), subscribe])?;
        let [version, root, subscribed] = &answers[..] else {
            return Err(bus.trouble("gave too few answers"));
        };
        subscribed.as_ref().map_err(|refusal| told("systemd refuses to tell about jobs", refusal))?;
        let version = text(version, "systemd does not tell its version")?;
        let root = text(root, "systemd does not tell its cgroup")?;
        let names: Vec<String> = root.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if names.iter().any(|name| matches!(name.as_str(), "." | "..")) {
            return Err(bus.trouble("names a cgroup that is no path"));
        }
        Ok(Manager {
            bus,
            owner,
            version: version_number(&version),
            root: names,
            of_user,
            lost: false,
            has_started: false,
        })
    }

    /// The manager's own cgroup, as names below the root of the hierarchy.
    pub fn root(&self) -> &[String] {
        &self.root
    }

    /// The descriptor of the connection.
    pub fn number(&self) -> i32 {
        self.bus.number()
    }

    /// Whether the connection has failed.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether a unit was started over this connection, and not yet seen to its end.
    pub fn has_started(&self) -> bool {
        self.has_started
    }

    /// Starts a transient unit and waits until it is there. A unit of this name that has failed is forgotten first.
    ///
    /// Errors: systemd refuses, the job fails, or it takes too long.
    pub fn start(&mut self, unit: &str, properties: &[Property], pid: Option<u32>) -> Result<()> {
        let mut values = self.values(properties);
        if let Some(pid) = pid {
            let pids = Value::Array("u".to_owned(), vec![Value::Uint32(pid)]);
            values.push(member("PIDs", pids));
        }
        let arguments = vec![
            Value::string(unit),
            Value::string("replace"),
            Value::Array("(sv)".to_owned(), values),
            Value::Array("(sa(sv))".to_owned(), Vec::new()),
        ];
        let mut answer = self.call("StartTransientUnit", arguments.clone())?;
        if is(&answer, refused::EXISTS) {
            // A slice may be there already. Any other one is in use, or is left from a failure.
            if unit.ends_with(".slice") {
                return Ok(());
            }
            let _ = self.call("ResetFailedUnit", vec![Value::string(unit)])?;
            answer = self.call("StartTransientUnit", arguments)?;
        }
        let doing = format!("systemd refuses to start the unit {unit}");
        let job = answer.map_err(|refusal| told(doing, &refusal).at(pointer(properties, &refusal)))?;
        self.has_started = true;
        match self.wait_for(unit, &job, PATIENCE)?.as_str() {
            "done" => Ok(()),
            result => {
                let doing = format!("systemd could not start the unit {unit}: the job ended as {result:?}");
                Err(Error::new(Kind::Systemd, doing)
                    .hint(format!("`{} --unit={unit}` tells why it failed", of("journalctl", self.of_user))))
            }
        }
    }

    /// Changes properties of a unit that runs, until it ends. When this returns, systemd has written its files.
    pub fn set(&mut self, unit: &str, properties: &[Property]) -> Result<()> {
        let values = self.values(properties);
        if values.is_empty() {
            return Ok(());
        }
        let values = Value::Array("(sv)".to_owned(), values);
        let arguments = vec![Value::string(unit), Value::Bool(true), values];
        let change = Call { to: MANAGER, method: "SetUnitProperties", arguments };
        // systemd answers first and writes the files then, before it looks at the next message. Without the second
        // answer its rounded quota could come after the exact one.
        let written = Call { to: PEER, method: "Ping", arguments: Vec::new() };
        let answers = self.bus.call_all(vec![change, written]).inspect_err(|_| self.lost = true)?;
        let answer = answers.into_iter().next().ok_or_else(|| self.bus.trouble("gave too few answers"))?;
        let doing = format!("systemd refuses to change the unit {unit}");
        answer.map(drop).map_err(|refusal| told(doing, &refusal).at(pointer(properties, &refusal)))
    }

    /// Puts a process into a unit that is delegated, at a path below its cgroup that starts with a slash.
    pub fn attach(&mut self, unit: &str, below: &str, pid: u32) -> Result<()> {
        let pids = Value::Array("u".to_owned(), vec![Value::Uint32(pid)]);
        let arguments = vec![Value::string(unit), Value::string(below), pids];
        let answer = self.call("AttachProcessesToUnit", arguments)?;
        let doing = format!("systemd refuses to put the process into the unit {unit}");
        answer.map(drop).map_err(|refusal| told(doing, &refusal))
    }

    /// Stops a unit and forgets that it has failed. One that is not there is fine.
    pub fn stop(&mut self, unit: &str, patience: Duration) -> Result<()> {
        let answer = self.call("StopUnit", vec![Value::string(unit), Value::string("replace")])?;
        match answer {
            Ok(job) => drop(self.wait_for(unit, &job, patience)?),
            Err(refusal) if refusal.name == refused::NO_SUCH_UNIT => {}
            Err(refusal) => return Err(told(format!("systemd refuses to stop the unit {unit}"), &refusal)),
        }
        let _ = self.call("ResetFailedUnit", vec![Value::string(unit)])?;
        Ok(())
    }

    /// Waits for the end of a job and returns its result.
    fn wait_for(&mut self, unit: &str, started: &[Value], patience: Duration) -> Result<String> {
        let [Value::ObjectPath(job)] = started else {
            return Err(self.bus.trouble("did not name the job"));
        };
        let deadline = Instant::now() + patience;
        loop {
            let signal = self.bus.signal(deadline).inspect_err(|_| self.lost = true)?;
            let Some(signal) = signal else {
                let doing = format!(
                    "systemd did not finish the job of the unit {unit} within {} seconds",
                    patience.as_secs()
                );
                return Err(Error::new(Kind::Systemd, doing)
                    .hint(format!("{} list-jobs shows what it waits for", of("systemctl", self.of_user))));
            };
            let of_manager = signal.interface.as_deref() == Some(INTERFACE)
                && signal.path.as_deref() == Some(OBJECT)
                && signal.member.as_deref() == Some("JobRemoved")
                && (self.owner.is_none() || signal.sender == self.owner);
            if let [_, Value::ObjectPath(ended), _, Value::String(result)] = &signal.body[..]
                && of_manager
                && ended == job
            {
                return Ok(result.clone());
            }
        }
    }

    fn call(&mut self, method: &str, arguments: Vec<Value>) -> Result<Answer> {
        self.bus.call(Call { to: MANAGER, method, arguments }).inspect_err(|_| self.lost = true)
    }

    /// The properties that this version knows, as a method takes them.
    fn values(&self, properties: &[Property]) -> Vec<Value> {
        let (known, unknown): (Vec<_>, Vec<_>) =
            properties.iter().partition(|property| property.since <= self.version);
        for property in unknown {
            crate::log::debug(|| format!("systemd {} does not know {}", self.version, property.name));
        }
        known.into_iter().map(|property| member(&property.name, property.value.clone())).collect()
    }
}

/// The command that asks this manager.
pub fn of(command: &str, of_user: bool) -> String {
    format!("{command}{}", if of_user { " --user" } else { "" })
}

fn member(name: &str, value: Value) -> Value {
    Value::Struct(vec![Value::string(name), Value::Variant(Box::new(value))])
}

fn is(answer: &Answer, name: &str) -> bool {
    answer.as_ref().is_err_and(|refusal| refusal.name == name)
}

/// The error of a refusal, in systemd's own words.
fn told(doing: impl Into<std::borrow::Cow<'static, str>>, refusal: &Refusal) -> Error {
    Error::new(Kind::Systemd, doing).detail(format!("{}: {}", refusal.name, refusal.text))
}

/// The property that a refusal names, else the unit.
fn pointer(properties: &[Property], refusal: &Refusal) -> String {
    let names = |property: &&Property| {
        refusal.text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == property.name)
    };
    let found = properties.iter().find(names).map(|property| property.pointer.as_str());
    found.unwrap_or(crate::plan::cgroup::path::POINTER).to_owned()
}

/// The one text of an answer, bare or in a variant.
fn text(answer: &Answer, doing: &'static str) -> Result<String> {
    let values = answer.as_ref().map_err(|refusal| told(doing, refusal))?;
    let value = match values.first() {
        Some(Value::Variant(inner)) => inner.as_text(),
        Some(value) => value.as_text(),
        None => None,
    };
    value
        .map(str::to_owned)
        .ok_or_else(|| Error::new(Kind::Systemd, doing).detail("the answer has another type"))
}

fn number(answer: &Answer, doing: &'static str) -> Result<u32> {
    let values = answer.as_ref().map_err(|refusal| told(doing, refusal))?;
    let value = values.first().and_then(Value::as_u32);
    value.ok_or_else(|| Error::new(Kind::Systemd, doing).detail("the answer has another type"))
}

/// 252 of `252.38-1~deb12u1` and of `v252`.
fn version_number(text: &str) -> u32 {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

fn no_bus(error: Error, of_user: bool) -> Error {
    error.within("the systemd cgroup driver").hint(if of_user {
        "is the user manager running? XDG_RUNTIME_DIR or DBUS_SESSION_BUS_ADDRESS tells where its bus is"
    } else {
        "is systemd running? without it leave out --systemd-cgroup"
    })
}

/// A number of a process would mean another one there.
fn other_pid_namespace() -> Error {
    Error::new(Kind::Systemd, "systemd is in another pid namespace")
        .hint("it cannot be told which process to put into a unit; run teu where systemd runs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        for (text, number) in
            [("252.38-1~deb12u1", 252), ("v257", 257), ("260~rc1-2", 260), ("", 0), ("x", 0)]
        {
            assert_eq!(version_number(text), number, "{text}");
        }
    }

    #[test]
    fn a_refusal_points_at_the_property_that_it_names() {
        let property = |name: &str, pointer: &str| Property {
            name: name.to_owned(),
            value: Value::Bool(true),
            pointer: pointer.to_owned(),
            since: 0,
        };
        let properties = [property("CPUWeight", "/a"), property("CPU", "/b")];
        let refusal = |text: &str| Refusal { name: String::new(), text: text.to_owned() };
        assert_eq!(pointer(&properties, &refusal("Cannot set property CPU, or unknown property.")), "/b");
        assert_eq!(pointer(&properties, &refusal("no")), "/linux/cgroupsPath");
    }
}
