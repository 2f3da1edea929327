//! The `teu` command: entry, dispatch, and the only place that prints an error and picks the exit status.
#![no_main]

use std::ffi::OsString;
use std::io::Write;
use std::process::exit;

use teu::cli::{self, CommandLine, Stopped};
use teu::error::{Error, Result, one_line};
use teu::log::{self, Format, Settings};
use teu::parent::access::{self, Use, Who};
use teu::sys::{fd, process, self_exe};
use teu::{commands, error::Kind};

teu::main_function!(begin);

fn begin() -> ! {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Err(error) = guard(&arguments) {
        fail("", error, 1);
    }
    match cli::parse(cli::normalize(arguments.iter().cloned())) {
        Ok(line) => exit(run(line)),
        Err(Stopped::Help(text)) => {
            let _ = write!(std::io::stdout(), "{text}");
            exit(0)
        }
        Err(Stopped::Wrong(error)) => {
            // The log that the caller reads must have its line even when the rest is not understood.
            open_log_of(&arguments);
            fail("", error, 1)
        }
    }
}

/// What must come before everything else: no missing stream, no foreign privilege, no writable executable, no
/// descriptor that leaks.
fn guard(arguments: &[OsString]) -> Result<()> {
    fd::open_missing_stdio().map_err(|e| Error::kernel("open /dev/null", "open(2)", e))?;
    if process::is_set_user_id() {
        return Err(Error::new(
            Kind::Usage,
            "teu must not be installed with set-user-id or file capabilities",
        ));
    }
    let enters =
        arguments.iter().skip(1).any(|argument| self_exe::ENTERING.iter().any(|verb| argument == verb));
    if enters {
        self_exe::seal().map_err(|e| Error::kernel("protect the own executable", "execveat(2)", e))?;
    }
    fd::close_range_on_exec(3).map_err(|e| {
        Error::kernel("mark inherited descriptors", "close_range(2)", e).hint("Linux 5.12 or later is needed")
    })
}

fn run(line: CommandLine) -> i32 {
    let global = &line.global;
    let opened = global.log_format().and_then(|format| {
        let file = cli::given(&global.log);
        let settings = Settings { file: file.map(Into::into), format, debug: global.debug_level() };
        log::open(settings).map_err(|error| match file {
            Some(path) => access::explain(error, Some(&Who::caller()), path, Use::Write),
            None => error,
        })
    });
    if let Err(error) = opened {
        fail("", error, 1);
    }
    let (context, failed, done) = match line.verb {
        _ if global.version => (String::new(), 1, commands::print_version()),
        Some(verb) => {
            let (name, failed) = (commands::name_of(&verb), commands::failure_status(&verb));
            (name, failed, commands::execute(global, verb))
        }
        None => (String::new(), 1, Err(Error::usage("a command is missing").hint("`teu --help` lists them"))),
    };
    match done {
        Ok(status) => {
            log::flush_warnings();
            status
        }
        Err(error) => fail(&context, error, failed),
    }
}

/// Tells an error once to the log and once to standard error, and ends.
fn fail(context: &str, error: Error, status: i32) -> ! {
    let text = match context {
        "" => format!("teu: {error}"),
        // The id is as the caller wrote it.
        context => format!("teu: {}: {error}", one_line(context)),
    };
    if !log::error(&text) {
        // Nobody may be reading any more; the exit status still tells.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    exit(status)
}

/// Finds `--log` and `--log-format` without a parser. What follows the verb may be for somebody else.
fn open_log_of(arguments: &[OsString]) {
    let normal = cli::normalize(arguments.iter().cloned());
    let words: Vec<&str> =
        cli::before_the_verb(&normal).iter().filter_map(|argument| argument.to_str()).collect();
    let value = |name: &str| {
        words.iter().enumerate().rev().find_map(|(index, word)| match word.strip_prefix(name) {
            Some("") => words.get(index + 1).copied(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        })
    };
    let format = if value("--log-format") == Some("json") { Format::Json } else { Format::Text };
    let file = value("--log").filter(|path| !path.is_empty()).map(Into::into);
    let _ = log::open(Settings { file, format, debug: false });
}
