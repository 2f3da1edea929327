//! Takes a normalized command line apart, and says what is wrong with one in the words that callers search for.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, Parser};

use super::{CommandLine, before_the_verb};
use crate::error::Error;

/// Help begins with the name, where scripts look for it.
pub const HELP: &str = "NAME:\n   {name} - {about}\n\nUSAGE:\n   {usage}\n\n{all-args}{after-help}";

/// How parsing ended without a command line.
#[derive(Debug)]
pub enum Stopped {
    /// Help was asked for: the text for standard output.
    Help(String),
    /// The command line is wrong.
    Wrong(Error),
}

/// Parses normalized arguments.
pub fn parse(arguments: Vec<OsString>) -> std::result::Result<CommandLine, Stopped> {
    CommandLine::try_parse_from(&arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Stopped::Help(help(&arguments, &error))
        }
        _ => Stopped::Wrong(Error::usage(wording(&arguments, &error))),
    })
}

/// The help that was asked for. That of a verb has the same form as that of the program, which the parser does not
/// do by itself, and which nobody should wait for who does not want help.
fn help(arguments: &[OsString], error: &clap::Error) -> String {
    let command = in_full(CommandLine::command()).mut_subcommands(|verb| titled(verb, "teu"));
    match command.try_get_matches_from(arguments) {
        Err(same) => same.to_string(),
        Ok(_) => error.to_string(),
    }
}

/// Gives a verb, and those below it, the form of help that names it in full.
fn titled(verb: Command, above: &str) -> Command {
    let name = format!("{above} {}", verb.get_name());
    verb.help_template(HELP.replace("{name}", &name)).mut_subcommands(|below| titled(below, &name))
}

/// The whole command line, with every verb in full, for who reads it. The verb `help` is not part of it: it says what
/// `--help` says.
pub fn definition() -> Command {
    in_full(CommandLine::command().disable_help_subcommand(true))
}

/// What a verb takes is added when the verb is used, and with it a sentence about its options. That about the verb is
/// put back.
fn in_full(mut command: Command) -> Command {
    let told = |verb: &Command| Some((verb.get_name().to_owned(), verb.get_about()?.clone()));
    let abouts: Vec<_> = command.get_subcommands().filter_map(told).collect();
    command.build();
    command.mut_subcommands(|verb| match abouts.iter().find(|(name, _)| name == verb.get_name()) {
        Some((_, about)) => verb.about(about.clone()),
        None => verb,
    })
}

/// What is wrong with a command line, in one line.
fn wording(arguments: &[OsString], error: &clap::Error) -> String {
    let named = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let argument = named(ContextKind::InvalidArg);
    match error.kind() {
        // The wording that podman searches for.
        ErrorKind::InvalidValue if named(ContextKind::InvalidValue).is_empty() => {
            format!("flag needs an argument: {argument}")
        }
        ErrorKind::MissingRequiredArgument => count_of_arguments(arguments, false)
            .unwrap_or_else(|| format!("required argument is missing: {argument}")),
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            count_of_arguments(arguments, true).unwrap_or_else(|| format!("unexpected argument: {argument}"))
        }
        ErrorKind::UnknownArgument => format!("unexpected argument: {argument}"),
        ErrorKind::InvalidSubcommand => {
            format!("no such command: {}", named(ContextKind::InvalidSubcommand))
        }
        _ => {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    }
}

/// How many arguments a verb takes, when there are too many or too few, in the words of runc.
fn count_of_arguments(arguments: &[OsString], too_many: bool) -> Option<String> {
    let verb = arguments.get(before_the_verb(arguments).len())?.to_str()?;
    let (least, most) = match verb {
        "list" | "features" | "spec" | "version" => (0, 0),
        "exec" | "ps" => (1, usize::MAX),
        "kill" => (1, 2),
        "plan" => (0, 1),
        // It has verbs of its own.
        "seccomp" => return None,
        _ => (1, 1),
    };
    Some(match (least == most, too_many) {
        (true, _) => format!("\"{verb}\" requires exactly {least} argument(s)"),
        (false, false) => format!("\"{verb}\" requires a minimum of {least} argument(s)"),
        (false, true) => format!("\"{verb}\" requires a maximum of {most} argument(s)"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::seccomp::Seccomp;
    use crate::cli::{Verb, normalize};
    use std::path::PathBuf;

    fn words(line: &str) -> Vec<OsString> {
        normalize(line.split(' ').map(OsString::from))
    }

    fn wrong(line: &str) -> String {
        match parse(words(line)) {
            Err(Stopped::Wrong(error)) => error.to_string(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_follows_the_id_of_ps_is_for_the_ps_of_the_host() {
        let line = parse(words("teu ps -f table c1 -e --format x"));
        let Some(Verb::Ps(ps)) = line.unwrap().verb else { panic!("another verb") };
        assert_eq!((ps.format.as_str(), ps.id.as_str()), ("table", "c1"));
        assert_eq!(ps.options, ["-e", "--format", "x"]);
    }

    #[test]
    fn values_of_update_may_be_negative_or_a_dash() {
        let update = |text: &str| {
            let line = parse(words(text)).unwrap();
            let Some(Verb::Update(update)) = line.verb else { panic!("another verb") };
            *update
        };
        let args = update("teu update --cpu-quota -1 -memory -1 --pids-limit=-1 c1");
        assert_eq!(
            (args.cpu_quota, args.memory.as_deref(), args.pids_limit),
            (Some(-1), Some("-1"), Some(-1))
        );
        for text in ["teu update -r - c1", "teu update --resources=- c1", "teu update c1 --resources -"] {
            let args = update(text);
            assert_eq!((args.resources, args.id.as_str()), (Some(PathBuf::from("-")), "c1"), "{text}");
        }
    }

    #[test]
    fn options_of_unsupported_verbs_are_understood() {
        for text in [
            "teu restore --image-path /i --work-path /w --detach --pid-file /p -no-subreaper --bundle /b c1",
            "teu checkpoint --image-path /i --status-fd -1 --empty-ns a --empty-ns b --tcp-close --help",
        ] {
            let line = parse(words(text));
            assert!(matches!(line.unwrap().verb, Some(Verb::Restore(_) | Verb::Checkpoint(_))), "{text}");
        }
    }

    #[test]
    fn arguments_of_explain_may_be_negative() {
        let line = parse(words("teu seccomp explain p.json openat -100 0x5 --format json")).unwrap();
        let Some(Verb::Seccomp(Seccomp::Explain(explain))) = line.verb else { panic!("another verb") };
        assert_eq!(
            (explain.args, explain.format.as_str()),
            (vec!["-100".to_owned(), "0x5".to_owned()], "json")
        );
    }

    #[test]
    fn a_command_to_record_is_taken_as_it_is() {
        let line = parse(words("teu seccomp record -- ls -all --debug=true -- -b")).unwrap();
        let Some(Verb::Seccomp(Seccomp::Record(record))) = line.verb else { panic!("another verb") };
        assert_eq!(record.command, ["ls", "-all", "--debug=true", "--", "-b"]);
        assert!(record.bundle.is_none());
    }

    #[test]
    fn the_last_of_repeated_options_wins() {
        let line = parse(words("teu --root /a --root /b --debug --debug state c1"));
        assert_eq!(line.unwrap().global.root, Some(PathBuf::from("/b")));
    }

    #[test]
    fn a_missing_value_is_told_in_the_words_that_podman_searches() {
        assert!(wrong("teu list --format").starts_with("flag needs an argument: "));
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_wrong_number_of_arguments_is_told_in_the_words_of_runc() {
        assert_eq!(wrong("teu --root /x create"), "\"create\" requires exactly 1 argument(s)");
        assert_eq!(wrong("teu start a b"), "\"start\" requires exactly 1 argument(s)");
        assert_eq!(wrong("teu kill"), "\"kill\" requires a minimum of 1 argument(s)");
        assert_eq!(wrong("teu kill a 9 b"), "\"kill\" requires a maximum of 2 argument(s)");
        assert_eq!(wrong("teu exec --tty"), "\"exec\" requires a minimum of 1 argument(s)");
        assert_eq!(wrong("teu list x"), "\"list\" requires exactly 0 argument(s)");
        assert_eq!(wrong("teu create --nonsense a"), "unexpected argument: --nonsense");
    }

    #[test]
    fn help_of_every_verb_begins_with_its_name() {
        for (line, name) in [
            ("teu -h", "teu - run containers"),
            ("teu create --help", "teu create - Create a container\n"),
            ("teu ps -h", "teu ps - List the processes of a container\n"),
            ("teu state -h", "teu state - Print the state of a container\n"),
            ("teu seccomp explain -h", "teu seccomp explain - Say what a profile does"),
            ("teu help", "teu - run containers"),
            ("teu help create", "teu create - Create a container\n"),
        ] {
            let Err(Stopped::Help(text)) = parse(words(line)) else { panic!("no help: {line}") };
            assert!(text.starts_with(&format!("NAME:\n   {name}")), "{text}");
            assert!(text.contains("\nUSAGE:\n"), "{text}");
        }
    }

    #[test]
    fn an_empty_path_is_accepted() {
        let line = parse(words("teu --log= --root /x create --pid-file= --console-socket= c1")).unwrap();
        assert_eq!(line.global.log, Some(PathBuf::new()));
        let Some(Verb::Create(create)) = line.verb else { panic!("another verb") };
        assert_eq!((create.pid_file, create.console_socket), (Some(PathBuf::new()), Some(PathBuf::new())));
    }
}
