//! Brings a command line into the form that the parser takes.
//!
//! Go programs accept `-bundle` for `--bundle`, `--flag=true` for a switch and the last of repeated options, and
//! engines use all three.

use std::ffi::OsString;

use super::{limits, migrate, seccomp, watch};

/// Long options that take a value.
const VALUED: [&str; 23] = [
    "root",
    "log",
    "log-format",
    "log-level",
    "cgroup-manager",
    "rootless",
    "criu",
    "bundle",
    "config",
    "console-socket",
    "pidfd-socket",
    "pid-file",
    "preserve-fds",
    "format",
    "process",
    "cwd",
    "env",
    "user",
    "additional-gids",
    "process-label",
    "apparmor",
    "cap",
    "cgroup",
];

/// Long options that are switches.
const SWITCHES: [&str; 15] = [
    "debug",
    "systemd-cgroup",
    "version",
    "help",
    "no-pivot",
    "no-new-keyring",
    "no-subreaper",
    "detach",
    "keep",
    "all",
    "force",
    "quiet",
    "tty",
    "no-new-privs",
    "ignore-paused",
];

/// Brings the arguments into the form of the parser; the first one is the program and stays.
pub fn normalize(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut out = Words::default();
    let mut arguments = arguments.peekable();
    out.extend(arguments.next());
    let mut verb: Option<OsString> = None;
    while let Some(argument) = arguments.next() {
        let Some(text) = argument.to_str() else {
            out.push(argument);
            continue;
        };
        let stripped = text.strip_prefix('-').filter(|rest| !rest.is_empty() && *rest != "-");
        let Some(option) = stripped else {
            // The words after the id belong to `kill`'s signal, the ps of the host and the program of `exec`.
            let is = |name: &str| verb.as_deref().is_some_and(|verb| verb == name);
            let takes_the_rest = is("ps") || is("exec");
            let ends = is("kill") && text != "--" || takes_the_rest || is("seccomp") && text == "--";
            if takes_the_rest && text != "--" {
                out.push("--".into());
            }
            verb.get_or_insert_with(|| argument.clone());
            out.push(argument);
            if ends {
                out.extend(arguments);
                break;
            }
            continue;
        };
        let (name, value) = match option.trim_start_matches('-').split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option.trim_start_matches('-'), None),
        };
        let short = |verb_of: &str, options: &[&str]| {
            verb.as_deref().is_some_and(|v| v == verb_of) && options.contains(&name)
        };
        if is_listed(&[&SWITCHES, watch::SWITCHES, migrate::SWITCHES], name) {
            out.switch(format!("--{name}"), value, &argument);
        } else if short("exec", &["t", "d"]) || short("run", &["d"]) {
            out.switch(format!("-{name}"), value, &argument);
        } else if is_listed(&[&VALUED, watch::VALUED, limits::VALUED, migrate::VALUED, seccomp::VALUED], name)
        {
            match value {
                Some(value) => out.push(format!("--{name}={value}").into()),
                None => {
                    out.push(format!("--{name}").into());
                    out.extend(arguments.next());
                }
            }
        } else {
            // A short option with a value of its own.
            let takes_next = matches!(text, "-b")
                || value.is_none() && short("list", &["f"])
                || value.is_none() && short("check", &["f"])
                || value.is_none() && short("ps", &["f"])
                || value.is_none() && short("update", &["r"])
                || value.is_none() && short("exec", &["p", "e", "u", "g", "c"]);
            out.push(argument);
            if takes_next {
                out.extend(arguments.next());
            }
        }
    }
    out.0.into_iter().map(|(word, _)| word).collect()
}

/// The words so far; the second value tells that one is a switch, and not the value of an option.
#[derive(Default)]
struct Words(Vec<(OsString, bool)>);

impl Words {
    fn push(&mut self, word: OsString) {
        self.0.push((word, false));
    }

    fn extend(&mut self, words: impl IntoIterator<Item = OsString>) {
        self.0.extend(words.into_iter().map(|word| (word, false)));
    }

    /// Adds a switch, or takes it back: the last value wins. What is no value of a switch is for the parser to refuse.
    fn switch(&mut self, word: String, value: Option<&str>, argument: &OsString) {
        match value.map_or(Some(true), go_bool) {
            Some(true) => self.0.push((word.into(), true)),
            Some(false) => self.0.retain(|(other, is_switch)| !is_switch || *other != *word),
            None => self.push(argument.clone()),
        }
    }
}

/// The program and the global options of normalized arguments: all that comes in front of the verb.
pub fn before_the_verb(arguments: &[OsString]) -> &[OsString] {
    let mut index = 1;
    while let Some(option) = arguments.get(index).and_then(|word| word.to_str()?.strip_prefix('-')) {
        let takes_next = VALUED.iter().any(|name| option.strip_prefix('-') == Some(name));
        index += if takes_next { 2 } else { 1 };
    }
    &arguments[..index.min(arguments.len())]
}

fn is_listed(lists: &[&[&str]], name: &str) -> bool {
    lists.iter().any(|list| list.contains(&name))
}

/// Go's idea of a boolean.
pub fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> String {
        let arguments = line.split(' ').map(OsString::from);
        let words: Vec<String> = normalize(arguments).into_iter().map(|a| a.into_string().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn go_spellings_become_ours() {
        assert_eq!(words("teu -root /x create -bundle /b c1"), "teu --root /x create --bundle /b c1");
        assert_eq!(words("teu --debug=true --systemd-cgroup=false list"), "teu --debug list");
        assert_eq!(words("teu run -no-subreaper c1"), "teu run --no-subreaper c1");
    }

    #[test]
    fn the_last_value_of_a_switch_wins() {
        assert_eq!(words("teu --debug --debug=false list"), "teu list");
        assert_eq!(words("teu exec --tty=false --tty c1 sh --tty"), "teu exec --tty -- c1 sh --tty");
        // A value that looks like a switch is none.
        assert_eq!(words("teu exec --cwd --tty --tty --tty=0 c1"), "teu exec --cwd --tty -- c1");
    }

    #[test]
    fn what_follows_the_id_of_kill_is_left_alone() {
        assert_eq!(words("teu kill --all=1 c1 -all"), "teu kill --all c1 -all");
    }

    #[test]
    fn what_follows_the_dashes_of_record_is_the_command() {
        let line = "teu seccomp record -output=x -- ls -all --debug=true -- -b";
        assert_eq!(words(line), "teu seccomp record --output=x -- ls -all --debug=true -- -b");
    }

    #[test]
    fn global_options_end_at_the_verb() {
        let before = |line: &str| before_the_verb(&normalize(line.split(' ').map(OsString::from))).len();
        assert_eq!(before("teu --root /x -debug create --log y"), 4);
        assert_eq!((before("teu"), before("teu create"), before("teu --log=z state")), (1, 1, 2));
    }
}
