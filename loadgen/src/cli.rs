//! The command line: which scenario, what is different from how it is written, and where results go.
//!
//! Exit status: 0 all validated; 1 a fault was found; 2 bad usage, a bad scenario, or nothing to run it with.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::live::{View, summary};
use crate::report;
use crate::run::{self, Interrupt};
use crate::scenario::built_in;
use crate::scenario::read::{self, Named, Override};

/// Something that was validated is not right.
const FAULT: u8 = 1;
/// Bad usage, or nothing to run.
const BAD_USAGE: u8 = 2;

/// Thousands of simulated relays against a DHCP leasequery server: load, validation, capacity reports
#[derive(Debug, Parser)]
#[command(
    name = "leaseq-loadgen",
    version,
    max_term_width = 100,
    after_help = "Examples:
  leaseq-loadgen list                      the built-in scenarios
  leaseq-loadgen run storm                 starts a server, fills it, lets 500 relays recover at once
  leaseq-loadgen run storm --relays 5000 --bindings-per-relay 1000 --json storm.json
  leaseq-loadgen report storm.json --html storm.html

Exit status: 0 all validated; 1 a fault was found; 2 bad usage, a bad scenario, or nothing to run it with."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario, against a server of its own or one that runs already
    Run(Box<RunArguments>),
    /// Make a capacity report of results: one HTML page
    Report(ReportArguments),
    /// List the built-in scenarios
    List,
    /// Write manual pages or shell completions, for packages
    #[command(hide = true)]
    Generate(leaseq_manual::Generate),
}

/// Runs a scenario. Every answer is checked: its form, and that it tells what the server's store holds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  leaseq-loadgen run steady --relays 2000 --changes-per-second 1000 --duration 60s
  leaseq-loadgen run storm --set group.recovering.window=10s --set group.recovering.tls=true
  leaseq-loadgen run storm --set server.config.limits.max-connections=100
  leaseq-loadgen run limits --server4 192.0.2.53:67 --set limits.max-connections=10
  leaseq store export --data-dir /var/lib/leaseq > export.ndjson
  leaseq-loadgen run storm --server4 127.0.0.1:6767 --expect export.ndjson

Interrupted (Ctrl-C), it writes what was measured until then; interrupted again, it ends at once.
Exit status: 0 all validated; 1 a fault was found; 2 bad usage, a bad scenario, or nothing to run it with.")]
struct RunArguments {
    /// A built-in scenario (see `list`), or a TOML file
    scenario: String,
    /// A DHCPv4 server that runs already, in place of one of our own
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        help_heading = "A server that runs already"
    )]
    server4: Option<SocketAddr>,
    /// A DHCPv6 server that runs already, in place of one of our own
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        help_heading = "A server that runs already"
    )]
    server6: Option<SocketAddr>,
    /// UNIX socket of its NDJSON feed, for changes
    #[arg(
        long,
        value_name = "SOCKET",
        help_heading = "A server that runs already"
    )]
    feed: Option<PathBuf>,
    /// What it holds (`leaseq store export`); without it only the form of answers is checked
    #[arg(
        long,
        value_name = "EXPORT.ndjson",
        help_heading = "A server that runs already"
    )]
    expect: Option<PathBuf>,
    /// Its process, if it is on this machine, to measure its CPU and memory
    #[arg(long, value_name = "PID", help_heading = "A server that runs already")]
    pid: Option<u32>,
    /// Relays whose bindings are made up (data.relays)
    #[arg(long, value_name = "N")]
    relays: Option<u32>,
    /// Bindings of each (data.bindings-per-relay)
    #[arg(long, value_name = "N")]
    bindings_per_relay: Option<u32>,
    /// Changes a second (changes.per-second)
    #[arg(long, value_name = "N")]
    changes_per_second: Option<f64>,
    /// How long relays without an end of their own go on: 60s, 15m, 4h (duration)
    #[arg(long, value_name = "T")]
    duration: Option<String>,
    /// Set any key of the scenario, groups by name: group.recovering.at-once=10%
    #[arg(long, value_name = "KEY=VALUE", value_parser = Override::read)]
    set: Vec<Override>,
    /// Write the result to this file
    #[arg(long, value_name = "RESULT.json")]
    json: Option<PathBuf>,
    /// Show nothing while it runs
    #[arg(long, short)]
    quiet: bool,
}

/// Makes one self-contained HTML page of results: plots, a fitted model, tables for other sizes, and a comparison of two or
/// more results.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  leaseq-loadgen run sweep --json sweep.json
  leaseq-loadgen report sweep.json --html sweep.html
  leaseq-loadgen report before.json after.json --html compared.html")]
struct ReportArguments {
    /// Results of runs, as written by `run --json`
    #[arg(required = true, value_name = "RESULT.json")]
    results: Vec<PathBuf>,
    /// The page
    #[arg(long, value_name = "REPORT.html", default_value = "report.html")]
    html: PathBuf,
}

/// Runs the program with these arguments, its own name first.
pub fn main<I>(arguments: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, everything else to standard error.
            let _ = error.print();
            return match error.use_stderr() {
                true => ExitCode::from(BAD_USAGE),
                false => ExitCode::SUCCESS,
            };
        }
    };
    let done = match cli.command {
        Command::Run(arguments) => run(&arguments),
        Command::Report(arguments) => make_report(&arguments),
        Command::List => list(),
        Command::Generate(arguments) => leaseq_manual::generate(Cli::command(), &[], &arguments)
            .map(|()| true)
            .context("the manual cannot be written"),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAULT),
        Err(error) => {
            eprintln!("leaseq-loadgen: {}", with_causes(&error));
            ExitCode::from(BAD_USAGE)
        }
    }
}

/// An error with its causes, but for those that it tells itself.
fn with_causes(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

impl RunArguments {
    /// What the options put into the scenario: those that stand for one key first, so that `--set` has the last word.
    fn overrides(&self) -> Vec<Override> {
        let address = |address: SocketAddr| address.to_string();
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let whole = |number: u32| toml::Value::Integer(number.into());
        let keys = [
            (
                "--server4",
                "target.server4",
                self.server4.map(|at| address(at).into()),
            ),
            (
                "--server6",
                "target.server6",
                self.server6.map(|at| address(at).into()),
            ),
            (
                "--feed",
                "target.feed",
                self.feed.as_ref().map(|at| path(at).into()),
            ),
            (
                "--expect",
                "target.expect",
                self.expect.as_ref().map(|at| path(at).into()),
            ),
            ("--pid", "target.pid", self.pid.map(whole)),
            ("--relays", "data.relays", self.relays.map(whole)),
            (
                "--bindings-per-relay",
                "data.bindings-per-relay",
                self.bindings_per_relay.map(whole),
            ),
            (
                "--changes-per-second",
                "changes.per-second",
                self.changes_per_second.map(toml::Value::Float),
            ),
            (
                "--duration",
                "duration",
                self.duration.clone().map(toml::Value::String),
            ),
        ];
        let given = keys
            .into_iter()
            .filter_map(|(option, key, value)| Some(Override::of_option(option, key, value?)));
        given.chain(self.set.iter().cloned()).collect()
    }

    fn read(&self) -> anyhow::Result<Named> {
        Ok(read::read(&self.scenario, &self.overrides())?)
    }
}

fn run(arguments: &RunArguments) -> anyhow::Result<bool> {
    let named = arguments.read()?;
    if let Some(path) = &arguments.json {
        // Before hours are spent on it.
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        anyhow::ensure!(
            directory.is_dir(),
            "--json {}: expected a directory {}, found none",
            path.display(),
            directory.display()
        );
    }
    let interrupt = Interrupt::on_signals().context("signals")?;
    let mut view = match arguments.quiet {
        true => View::nowhere(),
        false => View::on_standard_error(),
    };
    let result = run::run(&named, &mut view, &interrupt)?;
    if let Some(path) = &arguments.json {
        let text = serde_json::to_vec_pretty(&result).context("the result")?;
        fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    print(&summary::of(&result));
    Ok(result.is_valid())
}

fn make_report(arguments: &ReportArguments) -> anyhow::Result<bool> {
    let results = report::read_all(&arguments.results)?;
    report::write(&results, &arguments.html)?;
    Ok(true)
}

fn list() -> anyhow::Result<bool> {
    let names = built_in::names();
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for built_in in built_in::ALL {
        let about = read::read(built_in.name, &[])?.scenario.about;
        out += &format!("{:<width$}  {about}\n", built_in.name);
    }
    print(&out);
    Ok(true)
}

/// On standard output; who closes it does not want it.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_before_what_is_set() {
        let cli = Cli::try_parse_from([
            "leaseq-loadgen",
            "run",
            "steady",
            "--set",
            "data.relays=7",
            "--relays",
            "5",
            "--changes-per-second",
            "20",
            "--duration",
            "3s",
        ])
        .unwrap();
        let Command::Run(arguments) = cli.command else {
            panic!("{cli:?}");
        };
        let scenario = arguments.read().unwrap().scenario;
        assert_eq!(scenario.data.relays, 7);
        assert_eq!(scenario.changes.unwrap().per_second, 20.0);
        assert_eq!(scenario.duration.to_string(), "3s");
    }

    #[test]
    fn a_bad_option_is_named() {
        let told = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["leaseq-loadgen", "run"], arguments].concat());
            match cli.unwrap().command {
                Command::Run(arguments) => arguments.read().unwrap_err().to_string(),
                command => panic!("{command:?}"),
            }
        };
        assert_eq!(
            told(&["storm", "--relays", "0"]),
            "--relays 0: expected at least 1, found 0"
        );
        assert_eq!(
            told(&["storm", "--duration", "soon"]),
            "--duration soon: expected a time such as \"60s\", \"1500ms\" or \"2h\", found \"soon\""
        );
        assert_eq!(
            told(&["storm", "--feed", "/run/feed"]),
            "--feed /run/feed: `feed` is about a server that runs already; say which with server4 or server6"
        );
        assert_eq!(
            told(&["storm", "--set", "group.recovering.rte=5"]),
            "--set group.recovering.rte=5: unknown key `rte`; did you mean `rate`?"
        );
    }
}
