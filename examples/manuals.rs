//! Writes the manual pages and the completions of shells, from the definition of the command line.
//!
//! They are made when teu is installed and not by teu itself, so that its program carries nothing for them.
//! usage: manuals DIRECTORY

use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;
use teu::cli;

/// The shells, each with the name under which it looks for the completions of a program.
const SHELLS: [(Shell, &str); 3] = [(Shell::Bash, "teu"), (Shell::Zsh, "_teu"), (Shell::Fish, "teu.fish")];

fn main() -> io::Result<()> {
    match std::env::args_os().skip(1).map(PathBuf::from).collect::<Vec<_>>().as_slice() {
        [directory] => write(directory),
        _ => Err(io::Error::other("usage: manuals DIRECTORY")),
    }
}

/// Writes `man1/*.1`, and `SHELL/*` for every shell.
fn write(directory: &Path) -> io::Result<()> {
    let pages = directory.join("man1");
    std::fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(definition(), &pages)?;
    for (shell, name) in SHELLS {
        let directory = directory.join(shell.to_string());
        std::fs::create_dir_all(&directory)?;
        let mut file = std::fs::File::create(directory.join(name))?;
        clap_complete::generate(shell, &mut definition(), "teu", &mut file);
    }
    Ok(())
}

/// The command line. What engines pass and nobody types is not part of it.
fn definition() -> Command {
    let version = env!("CARGO_PKG_VERSION");
    cli::definition().version(version).mut_subcommands(|verb| verb.version(version))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    /// A directory with everything, which is removed at the end.
    struct Written(PathBuf);

    impl Written {
        fn new(name: &str) -> Written {
            let directory = std::env::temp_dir().join(format!("teu-manuals-{name}-{}", std::process::id()));
            write(&directory).unwrap();
            Written(directory)
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Written {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Every command, by its words, with its long options and its help.
    fn commands() -> BTreeMap<Vec<String>, (Vec<String>, String)> {
        fn add(
            words: Vec<String>,
            command: &Command,
            found: &mut BTreeMap<Vec<String>, (Vec<String>, String)>,
        ) {
            let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
            let options = shown.filter_map(|argument| argument.get_long()).map(str::to_owned).collect();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
                add([words.as_slice(), &[verb.get_name().to_owned()]].concat(), verb, found);
            }
            found.insert(words, (options, about));
        }
        let mut found = BTreeMap::new();
        add(vec!["teu".to_owned()], &definition(), &mut found);
        found
    }

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let written = Written::new("pages");
        let pages = fs::read_dir(written.0.join("man1")).unwrap().count();
        assert_eq!(pages, commands().len());
        assert!(!commands().keys().any(|words| words.iter().any(|word| word == "help")));
        for (words, (options, about)) in commands() {
            let page = written.text(&format!("man1/{}.1", words.join("-"))).replace("\\-", "-");
            assert!(page.contains(&about), "{words:?}: {about}");
            for option in options {
                assert!(page.contains(&format!("--{option}")), "{words:?}: --{option}");
            }
        }
    }

    #[test]
    fn every_shell_knows_the_commands_and_options() {
        let written = Written::new("shells");
        for (shell, name) in SHELLS {
            let text = written.text(&format!("{shell}/{name}"));
            for (words, (options, _)) in commands() {
                let verb = words.last().unwrap();
                assert!(text.contains(verb.as_str()), "{shell}: {words:?}");
                for option in options {
                    let spelled =
                        if shell == Shell::Fish { format!("-l {option}") } else { format!("--{option}") };
                    assert!(text.contains(&spelled), "{shell}: {words:?}: --{option}");
                }
            }
        }
    }

    /// Bash itself is asked, as the Tab key asks it.
    #[test]
    fn bash_completes_commands_and_options() {
        let written = Written::new("bash");
        let file = written.0.join("bash/teu");
        for (words, (options, _)) in commands() {
            let line = format!("{} --", words.join(" "));
            let place = words.len();
            let script = format!(
                "source {}; COMP_WORDS=({line}); COMP_CWORD={place}; _teu teu -- {}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
                file.display(),
                words.last().unwrap(),
            );
            let out = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
            let offered = String::from_utf8(out.stdout).unwrap();
            for option in options {
                let wanted = format!("--{option}");
                assert!(offered.lines().any(|line| line == wanted), "{line}: {wanted}: {offered}");
            }
        }
    }

    #[test]
    fn what_is_hidden_is_not_told() {
        let written = Written::new("hidden");
        assert!(!written.text("man1/teu.1").contains("checkpoint"));
        assert!(!written.0.join("man1/teu-checkpoint.1").exists());
    }
}
