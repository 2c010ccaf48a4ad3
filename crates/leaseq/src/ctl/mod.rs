//! `leaseq ctl`: looks at a running server, and tells it what to do, through its control socket.

mod client;
mod show;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::StatFormat;
use crate::control::Request;
use crate::exit::{Done, Usage};

pub use client::Client;

/// What is asked of which server.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The control socket [default: the one in --data-dir]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Directory of the server's store [default: ./leaseq-data, then /var/lib/leaseq]
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "socket")]
    data_dir: Option<PathBuf>,
    /// How answers are printed
    #[arg(long, global = true, value_enum, default_value_t = StatFormat::Table)]
    format: StatFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What the server does, in a few lines
    Status,
    /// Active streams: who follows, and how far behind
    Streams,
    /// All connections of requestors
    Connections,
    /// Reset a connection
    Close {
        /// Its number in the lists
        #[arg(value_name = "ID")]
        id: u64,
    },
    /// Take no new connections, and end those that are open one after another
    Drain {
        /// How long that may take: spread over it, relays do not all come back at once
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
        over: Duration,
        /// Have the server stop when no connection is left
        #[arg(long)]
        exit: bool,
    },
    /// Drop superseded records from the log
    Compact,
    /// Read the configuration again, as SIGHUP does
    Reload,
}

/// Asks, and prints what is answered.
pub fn run(arguments: &Arguments) -> anyhow::Result<Done> {
    let mut client = match (&arguments.socket, &arguments.data_dir) {
        (Some(socket), _) => Client::connect(&without_scheme(socket))?,
        (None, Some(dir)) => Client::of_store(dir)?,
        (None, None) => Client::of_default_store()?,
    };
    let request = match arguments.command {
        Command::Status => Request::Status {},
        Command::Streams => Request::Streams {},
        Command::Connections => Request::Connections {},
        Command::Close { id } => Request::Close { id },
        Command::Drain { over, exit } => Request::Drain {
            over_ms: u64::try_from(over.as_millis()).unwrap_or(u64::MAX),
            exit,
        },
        Command::Compact => Request::Compact {},
        Command::Reload => Request::Reload {},
    };
    let mut objects: Vec<Value> = Vec::new();
    let result = client.ask(&request, |line| {
        let object = serde_json::from_str(line)?;
        match arguments.format {
            StatFormat::Json => println!("{object}"),
            StatFormat::Table if matches!(request, Request::Drain { .. }) => {
                eprintln!("{}", show::progress(&object));
            }
            StatFormat::Table => objects.push(object),
        }
        Ok(())
    })?;
    match arguments.format {
        StatFormat::Json if !result.is_empty() => println!("{}", Value::Object(result)),
        StatFormat::Json => {}
        StatFormat::Table => println!("{}", show::text(&request, &objects, &result)?),
    }
    Ok(Done::All)
}

/// The path of a socket, which may be written as the configuration writes it: `unix:PATH`.
fn without_scheme(socket: &std::path::Path) -> PathBuf {
    let text = socket.to_str().and_then(|text| text.strip_prefix("unix:"));
    text.map_or_else(|| socket.to_owned(), PathBuf::from)
}

/// No server's control socket is where it was looked for.
fn nowhere(places: &[PathBuf]) -> anyhow::Error {
    let places: Vec<String> = places
        .iter()
        .map(|place| place.display().to_string())
        .collect();
    let reason = format!(
        "no server listens on {}; name its control socket with --socket, or its store with --data-dir",
        places.join(" or ")
    );
    Usage(reason).into()
}
