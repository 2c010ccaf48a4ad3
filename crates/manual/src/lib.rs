//! Manual pages and shell completions, made of a program's command line when it is packaged.
//!
//! A program that wants them takes [`Generate`] as a hidden subcommand and calls [`generate`] with its [`Command`].

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The arguments of the hidden subcommand.
#[derive(Debug, Args)]
pub struct Generate {
    /// What to write
    #[arg(value_enum)]
    what: What,
    /// Directory to write to; made if it is missing
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// A manual page for the program and one for each subcommand
    Man,
    /// Completions for bash, zsh and fish, named as these shells look for them
    Completions,
}

/// A section of the program's own page that its command line does not tell: a heading, and terms with their explanations.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// The heading, in capitals.
    pub heading: &'a str,
    /// Terms and what they mean.
    pub terms: &'a [(&'a str, &'a str)],
}

/// Writes what is asked for.
///
/// # Errors
/// The directory or a file in it cannot be written.
pub fn generate(command: Command, sections: &[Section], arguments: &Generate) -> io::Result<()> {
    fs::create_dir_all(&arguments.to)?;
    match arguments.what {
        What::Man => pages(command, sections, &arguments.to),
        What::Completions => completions(command, &arguments.to),
    }
}

fn pages(command: Command, sections: &[Section], to: &Path) -> io::Result<()> {
    // A page for `help` would say nothing.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let manual = format!("{} manual", command.get_name());
    let version = command.get_version().unwrap_or_default().to_owned();
    let source = format!("{} {version}", command.get_name());
    let mut waiting = vec![(command, sections)];
    while let Some((command, sections)) = waiting.pop() {
        let shown = command.get_subcommands().filter(|each| !each.is_hide_set());
        waiting.extend(shown.map(|each| (each.clone(), &[][..])));
        let page = Man::new(command)
            .manual(manual.as_str())
            .source(source.as_str());
        let mut file = File::create(to.join(page.get_filename()))?;
        page.render(&mut file)?;
        file.write_all(rendered(sections).as_bytes())?;
    }
    Ok(())
}

fn rendered(sections: &[Section]) -> String {
    let mut roff = Roff::new();
    for section in sections {
        roff.control("SH", [section.heading]);
        for (term, meaning) in section.terms {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*meaning)]);
        }
    }
    roff.render()
}

fn completions(mut command: Command, to: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    for (shell, file) in [
        (Shell::Bash, name.clone()),
        (Shell::Zsh, format!("_{name}")),
        (Shell::Fish, format!("{name}.fish")),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command, &name, &mut text);
        fs::write(to.join(file), text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{Arg, CommandFactory, FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "generate")]
    struct Asked {
        #[command(flatten)]
        generate: Generate,
    }

    fn generated(what: &str) -> (tempfile::TempDir, Vec<String>) {
        let program = Command::new("tool")
            .version("1.2.3")
            .about("Does it")
            .subcommand(
                Command::new("store")
                    .about("Looks at it")
                    .subcommand(Command::new("stat").arg(Arg::new("dir").long("data-dir"))),
            )
            .subcommand(Command::new("generate").hide(true));
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("made/there");
        let matches =
            Asked::command().get_matches_from(["generate", what, "--to", to.to_str().unwrap()]);
        let asked = Asked::from_arg_matches(&matches).unwrap();
        let files = Section {
            heading: "FILES",
            terms: &[("/etc/tool.toml", "Its configuration.")],
        };
        generate(program, &[files], &asked.generate).unwrap();
        let mut names: Vec<String> = fs::read_dir(to)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        (dir, names)
    }

    fn text(dir: &tempfile::TempDir, name: &str) -> String {
        fs::read_to_string(dir.path().join("made/there").join(name)).unwrap()
    }

    #[test]
    fn each_command_that_is_shown_has_a_page() {
        let (dir, names) = generated("man");
        assert_eq!(names, ["tool-store-stat.1", "tool-store.1", "tool.1"]);
        let page = text(&dir, "tool.1");
        assert!(page.contains(".SH FILES") && page.contains("/etc/tool.toml"));
        assert!(page.contains("\"tool manual\"") && page.contains("tool 1.2.3"));
        let deepest = text(&dir, "tool-store-stat.1");
        assert!(deepest.contains(r"\-\-data\-dir") && !deepest.contains("FILES"));
    }

    #[test]
    fn each_shell_finds_its_completions() {
        let (dir, names) = generated("completions");
        assert_eq!(names, ["_tool", "tool", "tool.fish"]);
        for name in names {
            assert!(text(&dir, &name).contains("data-dir"), "{name}");
        }
    }
}
