//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::query::time::Time;

/// A DHCP leasequery server with its own lease store.
#[derive(Debug, Parser)]
#[command(name = "leaseq", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// How logs are written
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// The least grave logs that are written [default: what LEASEQ_LOG says, else info]
    #[arg(long, global = true, value_enum, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people
    Text,
    /// A JSON object a line
    Json,
    /// To systemd's journal, with each value as a field
    Journald,
}

/// How grave a log is, as far as levels go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What is lost, refused or broken
    Error,
    /// What should be looked at
    Warn,
    /// What happens, in few words
    Info,
    /// What happens
    Debug,
    /// Everything
    Trace,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer leasequeries from the store
    Serve(Serve),
    /// Put leases from files into a store
    Import(Import),
    /// Ask a leasequery server, and print what it tells
    Query(Box<crate::query::Arguments>),
    /// Show a server's changes as they happen, until a signal ends it
    Watch(Box<crate::watch::Arguments>),
    /// Look at a store, check it, or write its leases out
    #[command(subcommand)]
    Store(StoreCommand),
    /// Check a configuration file
    CheckConfig(CheckConfig),
    /// Write manual pages or shell completions, for packages
    #[command(hide = true)]
    Generate(leaseq_manual::Generate),
    /// Look at a running server, or tell it what to do
    Ctl(crate::ctl::Arguments),
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Configuration file; without one everything is on loopback
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the store, in place of the configured one
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Fill an empty store with N made-up bindings
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=crate::sample::MOST))]
    pub sample: Option<u64>,
    /// Serve active leasequery without TLS, whatever mode is configured
    #[arg(long)]
    pub active_insecure: bool,
}

#[derive(Debug, Args)]
pub struct Import {
    /// Directory of the store; made if it is missing
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Format of the files [default: told by their first lines]
    #[arg(long, value_enum)]
    pub format: Option<ImportFormat>,
    /// Import nothing if any line is rejected
    #[arg(long)]
    pub strict: bool,
    /// Lease files; the files of Kea's clean-up beside them are read too
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Formats of lease files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// Kea's memfile, DHCPv4
    Kea4,
    /// Kea's memfile, DHCPv6
    Kea6,
    /// ISC dhcpd's lease file, of either family
    Isc,
    /// dnsmasq's lease file, of both families
    Dnsmasq,
    /// One JSON object a line, as `store export` writes
    Ndjson,
}

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Print counts and sizes
    Stat(StoreStat),
    /// Check the log and each index against it
    Verify(StoreDir),
    /// Write all leases to standard output as NDJSON
    Export(StoreExport),
    /// Drop superseded records from the log
    Compact(StoreDir),
    /// Copy a store into another directory, while a server has it open too
    Backup(StoreBackup),
}

#[derive(Debug, Args)]
pub struct StoreDir {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct StoreBackup {
    #[command(flatten)]
    pub dir: StoreDir,
    /// Directory of the copy; made if it is missing, and empty otherwise
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

#[derive(Debug, Args)]
pub struct StoreExport {
    #[command(flatten)]
    pub dir: StoreDir,
    /// Write only what leasequery can tell, in order of addresses: two servers that tell the same write the same
    #[arg(long)]
    pub as_leasequery: bool,
    /// With --as-leasequery, of a store that no server has open: the configuration whose links clients of DHCPv6 are told on
    #[arg(long, value_name = "FILE", requires = "as_leasequery")]
    pub config: Option<PathBuf>,
    /// With --as-leasequery: as it would be told at this time, if nothing changed until then [default: now]
    #[arg(
        long,
        value_name = "T",
        requires = "as_leasequery",
        allow_hyphen_values = true
    )]
    pub at: Option<Time>,
}

#[derive(Debug, Args)]
pub struct StoreStat {
    #[command(flatten)]
    pub dir: StoreDir,
    /// How the figures are printed
    #[arg(long, value_enum, default_value_t = StatFormat::Table)]
    pub format: StatFormat,
}

/// How figures are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatFormat {
    /// For people
    Table,
    /// One JSON object
    Json,
}

#[derive(Debug, Args)]
pub struct CheckConfig {
    /// The configuration file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}
