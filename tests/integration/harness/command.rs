//! One call of the runtime: how it is built, run with a deadline, and judged.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fmt::{Display, Formatter};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Test, patience, sys};

/// How long a call may take before the test fails, on a machine of usual speed.
const DEADLINE: Duration = Duration::from_secs(30);

/// The PATH that every call gets; the rest of the environment is empty.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

enum Input {
    Null,
    Bytes(Vec<u8>),
    Fd(OwnedFd),
}

#[derive(PartialEq)]
enum Log {
    Json,
    Text,
    Off,
}

/// A call of the runtime that has not been made yet.
pub struct Cmd<'t> {
    test: &'t Test,
    program: OsString,
    arguments: Vec<OsString>,
    globals: bool,
    environment: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    input: Input,
    output: Option<(OwnedFd, OwnedFd)>,
    wrapper: Option<String>,
    new_session: bool,
    as_root: bool,
    log: Log,
}

impl<'t> Cmd<'t> {
    /// A call of the runtime under test with these arguments, after `--root` and the log options.
    pub fn new<I, S>(test: &'t Test, arguments: I) -> Cmd<'t>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Cmd {
            test,
            program: super::session().runtime.path.clone().into(),
            arguments: arguments.into_iter().map(|a| a.as_ref().to_owned()).collect(),
            globals: true,
            environment: vec![("PATH".into(), PATH.into())],
            dir: None,
            input: Input::Null,
            output: None,
            wrapper: None,
            new_session: false,
            as_root: false,
            log: Log::Json,
        }
    }

    /// Runs this copy of the runtime instead.
    pub fn program(mut self, path: &Path) -> Self {
        self.program = path.into();
        self
    }

    /// Adds an argument at the end.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Leaves out `--root` and the log options.
    pub fn bare(mut self) -> Self {
        self.globals = false;
        self.log = Log::Off;
        self
    }

    /// Leaves out the log options, so that stderr is the log.
    pub fn without_log(mut self) -> Self {
        self.log = Log::Off;
        self
    }

    /// Asks for a log in text form.
    pub fn text_log(mut self) -> Self {
        self.log = Log::Text;
        self
    }

    /// Sets a variable of the runtime's own environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Empties the runtime's environment, PATH included.
    pub fn empty_env(mut self) -> Self {
        self.environment.clear();
        self
    }

    /// Sets the working directory of the call.
    pub fn in_dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Feeds these bytes through a pipe on stdin.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Makes this descriptor stdin.
    pub fn stdin_fd(mut self, fd: OwnedFd) -> Self {
        self.input = Input::Fd(fd);
        self
    }

    /// Makes these descriptors stdout and stderr; the result then holds none of their text.
    pub fn output_to(mut self, stdout: OwnedFd, stderr: OwnedFd) -> Self {
        self.output = Some((stdout, stderr));
        self
    }

    /// Starts the call through a shell line that ends in `exec "$@"`, which may redirect descriptors or set
    /// limits before it.
    pub fn through(mut self, line: &str) -> Self {
        self.wrapper = Some(line.to_owned());
        self
    }

    /// Starts the wrapper of the call as root, whoever calls the runtime; it must drop the privilege itself.
    pub fn starting_as_root(mut self) -> Self {
        self.as_root = true;
        self
    }

    /// Makes stdin, a terminal, the controlling terminal of a new session.
    pub fn with_controlling_terminal(mut self) -> Self {
        self.new_session = true;
        self
    }

    /// Makes the call and waits for its end.
    pub fn run(self) -> Out {
        self.spawn().wait()
    }

    /// Makes the call without waiting.
    pub fn spawn(self) -> Running<'t> {
        let caller = super::session().caller;
        self.test.hand_over();
        let number = self.test.next_number();
        let file = |what: &str| self.test.dir().join(format!("{number:03}.{what}"));
        let (stdout, stderr, log) = (file("stdout"), file("stderr"), file("log"));
        let mut words: Vec<OsString> = Vec::new();
        if self.new_session {
            words.extend(["setsid", "--ctty"].map(Into::into));
        }
        if let Some(line) = &self.wrapper {
            words.extend(["sh", "-c", line, "sh"].map(Into::into));
        }
        words.push(self.program.clone());
        if self.globals {
            words.extend(["--root".into(), self.test.root().into()]);
            if self.test.driver() == super::Driver::Systemd {
                words.push("--systemd-cgroup".into());
            }
        }
        match self.log {
            Log::Off => {}
            Log::Json => {
                words.extend(["--log".into(), log.clone().into(), "--log-format".into(), "json".into()])
            }
            Log::Text => {
                words.extend(["--log".into(), log.clone().into(), "--log-format".into(), "text".into()])
            }
        }
        words.extend(self.arguments);
        let line = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");

        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().envs(self.environment);
        sys::keep_streams_only(&mut command);
        command.current_dir(self.dir.as_deref().unwrap_or(self.test.dir()));
        if let Some(user) = caller.user().filter(|_| !self.as_root) {
            command.uid(user).gid(user);
        }
        if !self.new_session {
            command.process_group(0);
        }
        match self.output {
            Some((out, err)) => {
                for stream in [&out, &err].into_iter().filter(|_| caller != super::Caller::Root) {
                    give_pipe(stream);
                }
                command.stdout(out).stderr(err);
            }
            None => {
                let create = |path: &Path| {
                    let file = File::create(path).expect("the test directory can be written to");
                    caller.own(path, None).expect("files can be given away");
                    file
                };
                command.stdout(create(&stdout)).stderr(create(&stderr));
            }
        }
        let mut feed: Option<File> = None;
        let bytes = match self.input {
            Input::Null => {
                command.stdin(Stdio::null());
                None
            }
            Input::Fd(fd) => {
                command.stdin(fd);
                None
            }
            Input::Bytes(bytes) => {
                let (reader, writer) = std::io::pipe().expect("pipes can be made");
                if caller != super::Caller::Root {
                    give_pipe(&reader);
                }
                command.stdin(reader);
                feed = Some(OwnedFd::from(writer).into());
                Some(bytes)
            }
        };
        let started = Instant::now();
        let child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        drop(command);
        if let (Some(bytes), Some(mut pipe)) = (bytes, feed) {
            // A thread, because the runtime may stop reading; it ends when the pipe does.
            std::thread::spawn(move || pipe.write_all(&bytes));
        }
        Running { test: self.test, child, line, stdout, stderr, log, started, ended: Cell::new(false) }
    }
}

/// Gives a pipe to the root of the container, as engines do, so that it can be opened again by name.
fn give_pipe(stream: impl AsFd) {
    use super::caller::FIRST;
    use std::os::unix::fs::FileTypeExt;
    let file = File::from(stream.as_fd().try_clone_to_owned().expect("descriptors can be copied"));
    if file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        std::os::unix::fs::fchown(&file, Some(FIRST), Some(FIRST)).expect("pipes can be given away");
    }
}

/// A call that was made and has not been waited for.
pub struct Running<'t> {
    test: &'t Test,
    child: Child,
    line: String,
    stdout: PathBuf,
    stderr: PathBuf,
    log: PathBuf,
    started: Instant,
    ended: Cell<bool>,
}

/// A text that a call has not written, and what it has written.
struct Missing<'r> {
    text: &'r str,
    of: &'r Running<'r>,
}

impl Display for Missing<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let (line, stdout, stderr) = (&self.of.line, self.of.stdout(), read(&self.of.stderr));
        write!(f, "`{}` on stdout of {line}\nstdout: {stdout}\nstderr: {stderr}", self.text)
    }
}

impl Running<'_> {
    /// The pid of the runtime, or of the shell that execs it.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends a signal to the runtime alone.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("the runtime can be signalled");
    }

    /// What has been written to stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Waits until stdout contains a text.
    #[track_caller]
    pub fn wait_for_stdout(&self, text: &str) {
        self.test.until(Missing { text, of: self }, || self.stdout().contains(text));
    }

    /// Whether the call has ended; used to show that it has not.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits for the end of the call; kills it and fails the test when that takes too long.
    pub fn wait(self) -> Out {
        self.wait_within(patience(DEADLINE))
    }

    /// The same with another limit.
    pub fn wait_within(mut self, limit: Duration) -> Out {
        let status = match self.poll(limit) {
            Some(status) => status,
            None => {
                let stacks = stacks_of_group(self.pid());
                self.kill_group();
                panic!(
                    "still running after {} s: {}\nstdout: {}\nstderr: {}\nprocesses: {stacks}",
                    limit.as_secs(),
                    self.line,
                    read(&self.stdout),
                    read(&self.stderr)
                );
            }
        };
        self.ended.set(true);
        let log_text = read(&self.log);
        Out {
            line: std::mem::take(&mut self.line),
            code: status.code(),
            signal: status.signal(),
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
            stdout_path: self.stdout.clone(),
            stderr_path: self.stderr.clone(),
            log: log_text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
            log_text,
            log_path: self.log.clone(),
            elapsed: self.started.elapsed(),
        }
    }

    fn poll(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut pause = Duration::from_millis(1);
        while self.started.elapsed() < limit {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Some(status);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        None
    }

    fn kill_group(&mut self) {
        let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.ended.set(true);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended.get() {
            self.kill_group();
        }
    }
}

/// The result of a call.
pub struct Out {
    line: String,
    /// Exit code, none when it died by a signal.
    pub code: Option<i32>,
    /// The signal it died by.
    pub signal: Option<i32>,
    /// Everything on stdout; invalid UTF-8 is replaced.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
    /// The file that is stdout; a container that outlives the call goes on writing to it.
    pub stdout_path: PathBuf,
    /// The file that is stderr.
    pub stderr_path: PathBuf,
    /// The records of a JSON log.
    pub log: Vec<Value>,
    /// The log file as it is.
    pub log_text: String,
    /// Where the log file is.
    pub log_path: PathBuf,
    /// How long the call took.
    pub elapsed: Duration,
}

impl Out {
    /// Fails the test unless the exit code is 0.
    #[track_caller]
    pub fn ok(self) -> Out {
        self.exits(0)
    }

    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Out {
        assert!(self.code == Some(code), "exit code {code} was expected\n{}", self.report());
        self
    }

    /// Fails the test unless the runtime refused, with every one of these words in its message.
    ///
    /// `teu` must also keep its error contract: one line, the same in the log, in the style of the project.
    /// crun has words of its own, so for it only the refusal counts.
    #[track_caller]
    pub fn fails(self, words: &[&str]) -> Out {
        assert!(self.code.is_some_and(|code| code != 0), "a refusal was expected\n{}", self.report());
        for word in words.iter().filter(|_| !super::session().runtime.is("crun")) {
            assert!(self.message().contains(word), "`{word}` is not in the message\n{}", self.report());
        }
        if super::session().runtime.is("teu") {
            self.keeps_error_contract();
        }
        self
    }

    #[track_caller]
    fn keeps_error_contract(&self) {
        let message = self.stderr.trim_end_matches('\n');
        assert!(!message.is_empty(), "stderr is empty\n{}", self.report());
        assert!(!message.contains('\n'), "more than one line on stderr\n{}", self.report());
        assert!(!message.ends_with('.'), "the message ends with a full stop\n{}", self.report());
        // runc: the one text with these words that others look for.
        let known = message.contains("failed to connect with seccomp agent");
        assert!(known || !message.contains("failed to"), "the message says `failed to`\n{}", self.report());
        if self.line.contains("--log-format json") {
            let errors = self.errors();
            assert!(errors.len() == 1, "one error record was expected in the log\n{}", self.report());
            assert!(
                message.ends_with(errors[0].as_str()),
                "log and stderr tell different things\n{}",
                self.report()
            );
        }
    }

    /// The messages of level error in the JSON log.
    pub fn errors(&self) -> Vec<String> {
        self.log
            .iter()
            .filter(|record| record["level"] == "error")
            .filter_map(|record| record["msg"].as_str().map(str::to_owned))
            .collect()
    }

    /// All that the runtime told: stderr, and stdout when it was merged.
    pub fn message(&self) -> String {
        format!("{}{}", self.stderr, self.stdout)
    }

    /// The lines of stdout.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not JSON: {error}\n{}", self.report()))
    }

    /// Fails the test when anything was printed.
    #[track_caller]
    pub fn silent(self) -> Out {
        assert!(self.stdout.is_empty() && self.stderr.is_empty(), "silence was expected\n{}", self.report());
        self
    }

    /// The whole result, for a failure message.
    pub fn report(&self) -> String {
        format!(
            "call: {}\ncode: {:?}, signal: {:?}, after {:?}\nstdout: {}\nstderr: {}\nlog: {}",
            self.line,
            self.code,
            self.signal,
            self.elapsed,
            shorten(&self.stdout),
            shorten(&self.stderr),
            shorten(&self.log_text)
        )
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(4000) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Where the processes of a group wait, for the report of a hang.
fn stacks_of_group(group: i32) -> String {
    let mut text = String::new();
    for pid in super::leaks::pids() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        if fields.get(2).is_some_and(|pgrp| *pgrp == group.to_string()) {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let waits = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
            text.push_str(&format!("\n  {pid} {waits} {}", command.replace('\0', " ")));
        }
    }
    text
}
