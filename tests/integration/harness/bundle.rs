//! Builds a bundle: a root file system and a config.json.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::caller::{COUNT, FIRST};
use super::command::Running;
use super::{Caller, Cmd, Container, Out, Test, leaks, rootfs};

/// A bundle and the id of the container that is made from it.
pub struct Bundle<'t> {
    test: &'t Test,
    id: String,
    dir: PathBuf,
    config: Value,
}

impl<'t> Bundle<'t> {
    /// A bundle whose config is the usual one: own namespaces, the standard mounts, few capabilities, a cgroup
    /// named after the id, no terminal.
    pub fn new(test: &'t Test, id: String) -> Bundle<'t> {
        let dir = test.dir().join(format!("bundle-{id}"));
        let config = default_config(&id);
        let bundle = Bundle { test, id, dir, config };
        rootfs::populate(&bundle.rootfs()).expect("a root file system can be made");
        bundle.with_cgroups_if_permitted()
    }

    /// Asks for no cgroup and no limits where the caller cannot have any: version 1 cannot be delegated.
    pub fn with_cgroups_if_permitted(self) -> Self {
        match self.test.has_cgroups() {
            true => self,
            false => self.unset("/linux/cgroupsPath").unset("/linux/resources"),
        }
    }

    /// The id of the container.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bundle directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Uses another id; the cgroup follows.
    pub fn with_id(mut self, id: &str) -> Self {
        self.id = id.to_owned();
        self.set("/linux/cgroupsPath", format!("/{id}")).with_cgroups_if_permitted()
    }

    /// Sets the program and its arguments.
    pub fn args<S: AsRef<str>>(self, args: impl IntoIterator<Item = S>) -> Self {
        let args: Vec<String> = args.into_iter().map(|a| a.as_ref().to_owned()).collect();
        self.set("/process/args", json!(args))
    }

    /// Makes a shell script the program.
    pub fn sh(self, script: &str) -> Self {
        self.args(["sh", "-c", script])
    }

    /// Makes the probe the program: it prints JSON about itself.
    pub fn probe(self) -> Self {
        self.args(["probe", "report"])
    }

    /// Adds variables to the environment.
    pub fn env(mut self, variables: &[&str]) -> Self {
        for variable in variables {
            self = self.push("/process/env", *variable);
        }
        self
    }

    /// Adds a mount at the end of the list.
    pub fn mount(self, destination: &str, kind: &str, source: &str, options: &[&str]) -> Self {
        let mut mount = json!({ "destination": destination, "source": source, "options": options });
        if !kind.is_empty() {
            mount["type"] = kind.into();
        }
        self.push("/mounts", mount)
    }

    /// Adds a bind mount of a host path.
    pub fn bind(self, source: &Path, destination: &str, options: &[&str]) -> Self {
        self.mount(destination, "bind", &source.to_string_lossy(), options)
    }

    /// Adds a tmpfs.
    pub fn tmpfs(self, destination: &str, options: &[&str]) -> Self {
        self.mount(destination, "tmpfs", "tmpfs", options)
    }

    /// Removes every mount at or below a destination.
    pub fn without_mounts(mut self, destination: &str) -> Self {
        let below = format!("{destination}/");
        if let Some(mounts) = self.config["mounts"].as_array_mut() {
            mounts.retain(|mount| {
                let at = mount["destination"].as_str().unwrap_or_default();
                at != destination && !at.starts_with(&below)
            });
        }
        self
    }

    /// Adds a namespace, or sets the path of one that is listed.
    pub fn namespace(mut self, kind: &str, path: Option<&str>) -> Self {
        self = self.without_namespace(kind);
        let mut namespace = json!({ "type": kind });
        if let Some(path) = path {
            namespace["path"] = path.into();
        }
        self.push("/linux/namespaces", namespace)
    }

    /// Adds a user namespace whose root is the first subordinate id outside.
    pub fn in_user_namespace(self) -> Self {
        let map = json!([{ "containerID": 0, "hostID": FIRST, "size": COUNT }]);
        self.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// Puts the container into the user namespace of another one, where containers have one: a pod shares it.
    pub fn in_pod_of(self, first: &Container) -> Self {
        match self.test.caller() {
            Caller::Root => self,
            _ => self.namespace("user", Some(&format!("/proc/{}/ns/user", first.pid()))),
        }
    }

    /// Takes a namespace off the list.
    pub fn without_namespace(mut self, kind: &str) -> Self {
        if let Some(list) = self.config["linux"]["namespaces"].as_array_mut() {
            list.retain(|namespace| namespace["type"] != kind);
        }
        self
    }

    /// Adds a hook of some kind that runs a shell script; the state is on its stdin.
    pub fn hook(self, kind: &str, script: &str) -> Self {
        self.push(&format!("/hooks/{kind}"), json!({ "path": "/bin/sh", "args": ["sh", "-c", script] }))
    }

    /// Sets the value at a JSON pointer, making the objects on the way.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *slot(&mut self.config, pointer) = value.into();
        self
    }

    /// Appends to the list at a JSON pointer, making it when it is missing.
    pub fn push(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let slot = slot(&mut self.config, pointer);
        if !slot.is_array() {
            *slot = json!([]);
        }
        slot.as_array_mut().expect("made an array above").push(value.into());
        self
    }

    /// Removes the member that a JSON pointer names.
    pub fn unset(mut self, pointer: &str) -> Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
        if let Some(object) = self.config.pointer_mut(parent).and_then(Value::as_object_mut) {
            object.remove(name);
        }
        self
    }

    /// The config as it is now.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Replaces the whole config.
    pub fn with_config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// Writes a file into the root file system, with its parents.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.inside(path);
        fs::create_dir_all(path.parent().expect("it is below the rootfs"))
            .expect("the rootfs can be written to");
        fs::write(&path, content).expect("the rootfs can be written to");
        self
    }

    /// Writes an executable file into the root file system.
    pub fn script(self, path: &str, content: &str) -> Self {
        self.file(path, content).mode(path, 0o755)
    }

    /// Makes a directory in the root file system, with its parents.
    pub fn dir_inside(self, path: &str) -> Self {
        fs::create_dir_all(self.inside(path)).expect("the rootfs can be written to");
        self
    }

    /// Sets the mode of a file of the root file system.
    pub fn mode(self, path: &str, mode: u32) -> Self {
        fs::set_permissions(self.inside(path), fs::Permissions::from_mode(mode)).expect("modes can be set");
        self
    }

    /// Makes a symbolic link in the root file system in place of what is there.
    pub fn link(self, target: impl AsRef<Path>, path: &str) -> Self {
        let self_ = self.remove(path);
        let path = self_.inside(path);
        fs::create_dir_all(path.parent().expect("it is below the rootfs"))
            .expect("the rootfs can be written to");
        symlink(target, path).expect("the rootfs can be written to");
        self_
    }

    /// Removes a file or tree of the root file system.
    pub fn remove(self, path: &str) -> Self {
        let path = self.inside(path);
        leaks::remove_tree(&path).expect("it is a path of the rootfs");
        self
    }

    /// The host path of a path of the root file system.
    pub fn inside(&self, path: &str) -> PathBuf {
        self.rootfs().join(path.trim_start_matches('/'))
    }

    /// Writes config.json.
    pub fn write(&self) {
        let mut config = self.config.clone();
        self.test.caller().complete(&mut config);
        if let Some(Value::String(path)) = config.pointer_mut("/linux/cgroupsPath") {
            *path = self.test.driver().path(path, self.test.caller());
        }
        let text = serde_json::to_vec(&config).expect("a value is always JSON");
        fs::write(self.dir.join("config.json"), text).expect("the bundle can be written to");
    }

    /// The call that runs the container in the foreground.
    pub fn run_cmd(&self) -> Cmd<'t> {
        self.call("run", &[])
    }

    /// The call of a verb that takes a bundle, with options before the id.
    pub fn call(&self, verb: &str, options: &[&str]) -> Cmd<'t> {
        self.write();
        let mut cmd = self.test.cmd([verb, "--bundle"]).arg(&self.dir);
        for option in options {
            cmd = cmd.arg(option);
        }
        cmd.arg(&self.id)
    }

    /// Runs the container in the foreground and waits for its end.
    pub fn run(&self) -> Out {
        self.run_cmd().run()
    }

    /// Starts a foreground run without waiting.
    pub fn spawn(&self) -> Running<'t> {
        self.run_cmd().spawn()
    }

    /// Runs the probe in the foreground and returns what it printed.
    #[track_caller]
    pub fn report(self) -> Value {
        self.probe().run().ok().json()
    }

    /// Creates the container; the test fails when that fails.
    #[track_caller]
    pub fn create(&self) -> Container<'t> {
        let out = self.try_create().ok();
        Container::new(self.test, &self.id, &out)
    }

    /// A container that runs and does nothing.
    #[track_caller]
    pub fn idle(self) -> Container<'t> {
        self.args(["sleep", "1000"]).run_detached()
    }

    /// Tries to create the container.
    pub fn try_create(&self) -> Out {
        self.call("create", &[]).run()
    }

    /// Runs the container detached; the test fails when that fails.
    #[track_caller]
    pub fn run_detached(&self) -> Container<'t> {
        let out = self.call("run", &["--detach"]).run().ok();
        Container::new(self.test, &self.id, &out)
    }
}

/// The place of a JSON pointer, made when it is missing. `-` or an index past the end appends to a list.
fn slot<'v>(config: &'v mut Value, pointer: &str) -> &'v mut Value {
    let mut value = config;
    for name in pointer.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        if value.is_null() && name.parse::<usize>().is_ok() {
            *value = json!([]);
        }
        if let Value::Array(list) = value {
            let index = name.parse().unwrap_or(list.len()).min(list.len());
            if index == list.len() {
                list.push(Value::Null);
            }
            value = &mut list[index];
        } else {
            if !value.is_object() {
                *value = json!({});
            }
            value = value.as_object_mut().expect("made an object above").entry(name).or_insert(Value::Null);
        }
    }
    value
}

/// The config that tests start from.
fn default_config(id: &str) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["true"],
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
        },
        "root": { "path": "rootfs" },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
            ],
        },
    })
}
