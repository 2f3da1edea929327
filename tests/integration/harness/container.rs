//! A container that exists: the verbs that act on it, and looks at it from outside.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{Cmd, Out, Test};

/// A container made by `create` or by a detached `run`.
pub struct Container<'t> {
    test: &'t Test,
    /// Its id.
    pub id: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl<'t> Container<'t> {
    /// The container that a successful call made.
    pub fn new(test: &'t Test, id: &str, made_by: &Out) -> Container<'t> {
        Container {
            test,
            id: id.to_owned(),
            stdout: made_by.stdout_path.clone(),
            stderr: made_by.stderr_path.clone(),
        }
    }

    /// Calls a verb on it, with options before the id.
    pub fn call(&self, verb: &str, options: &[&str]) -> Out {
        let mut cmd = self.test.cmd([verb]);
        for option in options {
            cmd = cmd.arg(option);
        }
        cmd.arg(&self.id).run()
    }

    /// The call that runs one more process in it.
    pub fn exec_cmd(&self, options: &[&str], command: &[&str]) -> Cmd<'t> {
        let cmd = options.iter().fold(self.test.cmd(["exec"]), |cmd, option| cmd.arg(option));
        command.iter().fold(cmd.arg(&self.id), |cmd, word| cmd.arg(word))
    }

    /// Runs one more process in it and waits for the end.
    pub fn exec(&self, options: &[&str], command: &[&str]) -> Out {
        self.exec_cmd(options, command).run()
    }

    /// Runs a shell script in it and waits for the end.
    pub fn exec_sh(&self, options: &[&str], script: &str) -> Out {
        self.exec(options, &["sh", "-c", script])
    }

    /// Runs the probe in it and returns what it printed.
    #[track_caller]
    pub fn exec_report(&self, options: &[&str]) -> Value {
        self.exec(options, &["probe", "report"]).ok().json()
    }

    /// Starts it; the test fails when that fails.
    #[track_caller]
    pub fn start(&self) {
        self.call("start", &[]).ok();
    }

    /// Sends a signal; the test fails when that fails.
    #[track_caller]
    pub fn kill(&self, signal: &str) {
        self.try_kill(signal).ok();
    }

    /// Tries to send a signal.
    pub fn try_kill(&self, signal: &str) -> Out {
        self.test.cmd(["kill", &self.id, signal]).run()
    }

    /// Deletes it; the test fails when that fails.
    #[track_caller]
    pub fn delete(&self) {
        self.call("delete", &[]).ok();
    }

    /// Deletes it by force; the test fails when that fails.
    #[track_caller]
    pub fn delete_force(&self) {
        self.call("delete", &["--force"]).ok();
    }

    /// Its state; the test fails when there is none.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.call("state", &[]).ok().json()
    }

    /// Its status.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_owned()
    }

    /// The pid of its init, as the host sees it.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().expect("the state has a pid") as i32
    }

    /// Waits until it has stopped.
    #[track_caller]
    pub fn wait_stopped(&self) {
        self.test.until(format!("{} stopped", self.id), || self.status() == "stopped");
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits until its stdout contains a text.
    #[track_caller]
    pub fn wait_for_stdout(&self, text: &str) {
        self.test.until(format!("`{text}` from {}", self.id), || self.stdout().contains(text));
    }

    /// A namespace of its init, as `pid:[4026531836]`.
    pub fn namespace(&self, kind: &str) -> String {
        namespace_of(&self.pid().to_string(), kind)
    }
}

/// A namespace of a process (`self`, or a pid).
pub fn namespace_of(pid: &str, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}"))
        .map(|link| link.to_string_lossy().into_owned())
        .unwrap_or_else(|error| format!("{kind} of {pid}: {error}"))
}
