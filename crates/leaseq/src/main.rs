//! The `leaseq` command: a DHCP leasequery server, and the tools around its store.

mod admin;
mod check_config;
mod cli;
mod config;
mod control;
mod ctl;
mod exit;
mod import;
mod logging;
mod manual;
mod progress;
mod query;
mod sample;
mod serve;
mod store;
mod tls;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.log_format, cli.log_level);
    let done = match cli.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Query(arguments) => query::run(&arguments),
        Command::Watch(arguments) => watch::run(&arguments),
        Command::Store(command) => store::run(&command),
        Command::CheckConfig(arguments) => check_config::run(&arguments),
        Command::Generate(arguments) => manual::run(Cli::command(), &arguments),
        Command::Ctl(arguments) => ctl::run(&arguments),
    };
    exit::report(done)
}
