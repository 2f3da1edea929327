//! The one error type and its text form.
//!
//! An error is made where the errno is seen, gets its JSON pointer from the plan item, travels by `?` and is
//! printed once, by `main`. The text is one line because callers keep only the last error line of the log.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt::{self, Write as _};

pub use nix::errno::Errno;

/// What an operation of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of thing went wrong. Decides the exit status and the wording, never the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line is wrong.
    Usage,
    /// `config.json` asks for something invalid or unsupported.
    Config,
    /// The container is in a state that does not permit the operation, or does not exist.
    State,
    /// The kernel refused a call.
    Kernel,
    /// systemd, or the bus to it, refused something or did not answer.
    Systemd,
    /// A hook could not be run, failed, or took too long.
    Hook,
    /// The program of the container (or its working directory) cannot be executed.
    ///
    /// Engines derive exit codes 126 and 127 from these texts, so the usual sentences of errno are kept here.
    Program,
    /// teu contradicts itself.
    Bug,
}

/// One failed operation: what was being done, where the config asked for it, what the kernel said, what to do.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    doing: Cow<'static, str>,
    at: Option<String>,
    call: Option<Cow<'static, str>>,
    errno: Option<Errno>,
    detail: Option<String>,
    hint: Option<Cow<'static, str>>,
    kind: Kind,
}

impl Error {
    /// An error of `kind`; `doing` is in the operator's words, lower case, without full stop.
    pub fn new(kind: Kind, doing: impl Into<Cow<'static, str>>) -> Error {
        Error(Box::new(Inner {
            doing: doing.into(),
            at: None,
            call: None,
            errno: None,
            detail: None,
            hint: None,
            kind,
        }))
    }

    /// An invalid or unsupported value at `pointer` (RFC 6901) of `config.json`.
    pub fn config(pointer: impl Into<String>, problem: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Kind::Config, problem).at(pointer)
    }

    /// A refusal because of the container's state.
    pub fn state(text: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Kind::State, text)
    }

    /// A wrong command line.
    pub fn usage(text: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Kind::Usage, text)
    }

    /// A call that the kernel refused; `call` is written as in the manual: `fsconfig(2)`.
    pub fn kernel(
        doing: impl Into<Cow<'static, str>>,
        call: impl Into<Cow<'static, str>>,
        errno: Errno,
    ) -> Error {
        Error::new(Kind::Kernel, doing).call(call, errno)
    }

    /// An input or output error of the standard library, `call` as in [`Error::kernel`].
    pub fn io(
        doing: impl Into<Cow<'static, str>>,
        call: impl Into<Cow<'static, str>>,
        error: &std::io::Error,
    ) -> Error {
        match error.raw_os_error() {
            Some(code) => Error::kernel(doing, call, Errno::from_raw(code)),
            None => {
                let mut made = Error::new(Kind::Kernel, doing).detail(error.to_string());
                made.0.call = Some(call.into());
                made
            }
        }
    }

    /// Adds the JSON pointer, unless a more precise one is there already. An empty pointer is the whole document.
    pub fn at(mut self, pointer: impl Into<String>) -> Error {
        self.0.at.get_or_insert_with(|| pointer.into());
        self
    }

    /// Replaces the JSON pointer.
    pub fn moved_to(mut self, pointer: String) -> Error {
        self.0.at = Some(pointer);
        self
    }

    /// Adds the kernel call and what it returned.
    pub fn call(mut self, call: impl Into<Cow<'static, str>>, errno: Errno) -> Error {
        self.0.call = Some(call.into());
        self.0.errno = Some(errno);
        self
    }

    /// Adds what the kernel or a program said in its own words, such as the message of a file system context.
    pub fn detail(mut self, detail: impl Into<String>) -> Error {
        let detail = detail.into();
        if !detail.is_empty() {
            self.0.detail = Some(detail);
        }
        self
    }

    /// Adds to what was said in other words.
    pub fn detail_also(mut self, more: &str) -> Error {
        let detail = match self.0.detail.take() {
            Some(detail) => format!("{detail}: {more}"),
            None => more.to_owned(),
        };
        self.0.detail = Some(detail);
        self
    }

    /// Adds what to look at, unless a more precise hint is there already.
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Error {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Changes the kind.
    pub fn kind_of(mut self, kind: Kind) -> Error {
        self.0.kind = kind;
        self
    }

    /// Puts `context` and a colon in front of what was being done.
    pub fn within(mut self, context: impl fmt::Display) -> Error {
        self.0.doing = format!("{context}: {}", self.0.doing).into();
        self
    }

    /// The sort of the error.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The errno, when the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// The pointer into `config.json`, when a field is at fault.
    pub fn pointer(&self) -> Option<&str> {
        self.0.at.as_deref()
    }

    /// The kernel call, when one failed.
    pub fn failed_call(&self) -> Option<&str> {
        self.0.call.as_deref()
    }

    /// The problem without pointer, call and hint.
    pub fn doing(&self) -> &str {
        &self.0.doing
    }

    /// The problem with the call and what the kernel said, without pointer and hint.
    pub fn problem(&self) -> String {
        let mut text = self.0.doing.to_string();
        self.push_cause(&mut text);
        text
    }

    fn push_cause(&self, line: &mut String) {
        let e = &*self.0;
        if let Some(call) = &e.call {
            let _ = write!(line, ": {call}");
        }
        if let Some(errno) = e.errno {
            let _ = write!(line, ": {errno:?}: {}", sentence(errno, e.kind));
        }
        if let Some(detail) = &e.detail {
            let _ = write!(line, ": {}", shortened(&one_line(detail), LONGEST));
        }
    }

    /// The hint, when there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    /// `doing (pointer): call(2): ERRNO: sentence: detail; hint: …`, on one line whatever the parts contain. Each part
    /// is bounded, so that a long text of a configuration does not push the others off the line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &*self.0;
        f.write_str(&shortened(&one_line(&e.doing), LONGEST))?;
        if let Some(at) = &e.at {
            let at = if at.is_empty() { "/" } else { at };
            write!(f, " ({})", shortened(&one_line(at), LONGEST_POINTER))?;
        }
        let mut cause = String::new();
        self.push_cause(&mut cause);
        f.write_str(&cause)?;
        if let Some(hint) = &e.hint {
            write!(f, "; hint: {}", shortened(&one_line(hint), LONGEST))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The sentence of `errno`, in the lower-case wording that engines match.
///
/// Engines take `no such file or directory` anywhere in the text to mean that the container's program is missing
/// and report exit code 127, so other missing files are worded differently.
pub fn sentence(errno: Errno, kind: Kind) -> &'static str {
    match errno {
        Errno::ENOENT if kind == Kind::Program => "no such file or directory",
        Errno::ENOENT => "nothing at that path",
        Errno::EACCES => "permission denied",
        Errno::EPERM => "operation not permitted",
        // Dockers before 24 take only the second half for "cannot be invoked", exit code 126.
        Errno::EISDIR if kind == Kind::Program => "is a directory: permission denied",
        Errno::EISDIR => "is a directory",
        Errno::ENOTDIR if kind == Kind::Program => "not a directory",
        Errno::ENOTDIR => "a component of the path is no directory",
        Errno::EBUSY => "device or resource busy",
        Errno::ESRCH => "no such process",
        Errno::EEXIST => "file exists",
        Errno::EINVAL => "invalid argument",
        Errno::ENOEXEC => "exec format error",
        Errno::E2BIG => "argument list too long",
        Errno::ETXTBSY => "text file busy",
        Errno::ELOOP => "too many levels of symbolic links",
        Errno::EROFS => "read-only file system",
        Errno::ENOSPC => "no space left on device",
        Errno::ENOMEM => "cannot allocate memory",
        Errno::ENODEV => "no such device",
        Errno::ENOSYS => "function not implemented",
        Errno::EMFILE => "too many open files",
        Errno::ENFILE => "too many open files in system",
        Errno::EAGAIN => "resource temporarily unavailable",
        Errno::ENXIO => "no such device or address",
        Errno::EOPNOTSUPP => "operation not supported",
        Errno::EXDEV => "invalid cross-device link",
        Errno::ERANGE => "numerical result out of range",
        Errno::ENAMETOOLONG => "file name too long",
        Errno::ECONNREFUSED => "connection refused",
        Errno::EPIPE => "broken pipe",
        Errno::EDQUOT => "disk quota exceeded",
        Errno::EFAULT => "bad address",
        Errno::EIO => "input/output error",
        Errno::EBADF => "bad file descriptor",
        Errno::EUSERS => "too many users",
        Errno::ETIMEDOUT => "connection timed out",
        Errno::EINTR => "interrupted system call",
        Errno::ENOTTY => "inappropriate ioctl for device",
        Errno::EOVERFLOW => "value too large for defined data type",
        Errno::ENOTEMPTY => "directory not empty",
        Errno::ELIBBAD => "accessing a corrupted shared library",
        other => other.desc(),
    }
}

/// The longest part of a line, in bytes.
const LONGEST: usize = 4 * 1024;

/// The longest pointer in a line, in bytes.
const LONGEST_POINTER: usize = 1024;

/// A text of at most `most` bytes and three dots in the middle: its start and its end, which say what it is.
fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let start = text.floor_char_boundary(most / 2);
    let end = text.ceil_char_boundary(text.len() - most / 2);
    Cow::Owned(format!("{}...{}", &text[..start], &text[end..]))
}

/// Escapes everything that could break the line or a terminal: control characters and bidirectional overrides.
pub fn one_line(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    const LONGEST: usize = 16 * 1024;
    if text.len() <= LONGEST && !text.chars().any(harmful) {
        return Cow::Borrowed(text);
    }
    let text = shortened(text, LONGEST);
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if harmful(c) => {
                let _ = write!(line, "\\u{{{:x}}}", c as u32);
            }
            c => line.push(c),
        }
    }
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_pointer_call_errno_and_hint() {
        let error = Error::kernel("mount proc at /proc", "fsconfig(2)", Errno::EPERM)
            .at("/mounts/0")
            .hint("in a user namespace proc needs a visible /proc");
        assert_eq!(
            error.to_string(),
            "mount proc at /proc (/mounts/0): fsconfig(2): EPERM: operation not permitted; hint: in a user \
             namespace proc needs a visible /proc"
        );
    }

    #[test]
    fn text_from_outside_cannot_break_the_line() {
        let error = Error::config("/hostname", "bad name \"a\nb\u{1b}[31m\u{202e}\"");
        assert_eq!(error.to_string(), "bad name \"a\\nb\\u{1b}[31m\\u{202e}\" (/hostname)");
    }

    #[test]
    fn a_long_text_leaves_the_rest_of_the_line_alone() {
        let long = "ä\n".repeat(100_000);
        let error = Error::config(format!("/annotations/{long}"), format!("\"{long}\" is bad"))
            .call("open(2)", Errno::EPERM)
            .detail(long.clone())
            .hint("less");
        let line = error.to_string();
        assert!(line.len() < 11_000, "{}", line.len());
        assert!(line.starts_with("\"ä\\nä") && line.contains("\" is bad (/annotations/ä"), "{line}");
        assert!(line.contains("): open(2): EPERM: operation not permitted: ä"), "{line}");
        assert!(line.ends_with("; hint: less"), "{line}");
    }

    #[test]
    fn a_missing_file_is_only_called_so_when_the_program_is_meant() {
        let other = Error::kernel("open the source", "open_tree(2)", Errno::ENOENT).to_string();
        assert!(!other.contains("no such file"), "{other}");
        let program = Error::new(Kind::Program, "exec: \"/x\": stat /x").call("execve(2)", Errno::ENOENT);
        assert!(program.to_string().contains("no such file or directory"));
    }
}
