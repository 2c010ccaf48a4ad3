//! `leaseq store`: looks at a store, through the server that has it open if there is one.

mod as_leasequery;
mod backup;

use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use leaseq_feed::ndjson;
use leaseq_requestor::client::now;
use leaseq_store::{
    FamilyStats, Options, Record, State, Stats, Store, Topology, VerifyReport, View,
};
use serde_json::{Value, json};

use crate::cli::{StatFormat, StoreCommand, StoreExport};
use crate::config::{Config, Overrides};
use crate::control::Request;
use crate::ctl::Client;
use crate::exit::Done;
use crate::progress;

pub use as_leasequery::write as write_as_leasequery;

/// Octets of export text gathered before they are written.
const WRITE_SIZE: usize = 256 * 1024;

/// Runs a subcommand.
pub fn run(command: &StoreCommand) -> anyhow::Result<Done> {
    match command {
        StoreCommand::Stat(arguments) => stat(&arguments.dir.data_dir, arguments.format),
        StoreCommand::Verify(arguments) => verify(&arguments.data_dir),
        StoreCommand::Export(arguments) => export(arguments),
        StoreCommand::Compact(arguments) => compact(&arguments.data_dir),
        StoreCommand::Backup(arguments) => backup::run(arguments),
    }
}

fn open(dir: &Path, read_only: bool) -> anyhow::Result<Store> {
    open_with(dir, read_only, Topology::default())
}

fn open_with(dir: &Path, read_only: bool, topology: Topology) -> anyhow::Result<Store> {
    expect_store(dir)?;
    let options = Options {
        read_only,
        progress: Some(progress::of_opening()),
        ..Options::default()
    };
    Ok(Store::open(dir, options, topology)?)
}

/// A store is made where it is missing, but not to be looked at.
fn expect_store(dir: &Path) -> anyhow::Result<()> {
    if !dir.join("STORE").is_file() {
        anyhow::bail!("{} holds no store", dir.display());
    }
    Ok(())
}

/// The server that has the store in the directory open, if there is one; tells that it is asked.
fn server_of(dir: &Path) -> Option<Client> {
    let client = Client::of_open_store(dir)?;
    let server = client
        .server()
        .map_or_else(|| "a server".to_owned(), |pid| format!("process {pid}"));
    eprintln!(
        "{}: open in {server}, which is asked through its control socket",
        dir.display()
    );
    Some(client)
}

fn stat(dir: &Path, format: StatFormat) -> anyhow::Result<Done> {
    let stats = match server_of(dir) {
        Some(mut server) => {
            let mut told = Value::Null;
            server.ask(&Request::Stat {}, |line| {
                told = serde_json::from_str::<Value>(line)?["stat"].take();
                Ok(())
            })?;
            told
        }
        None => stats_json(&open(dir, true)?.reader().stats()),
    };
    let text = match format {
        StatFormat::Table => table(&stats),
        StatFormat::Json => format!("{stats:#}"),
    };
    println!("{text}");
    Ok(Done::All)
}

/// The figures of a store as JSON, also for the admin HTTP.
pub fn stats_json(stats: &Stats) -> Value {
    let family = |family: &FamilyStats| {
        let states: serde_json::Map<_, _> = State::ALL
            .iter()
            .map(|state| {
                (
                    ndjson::state_name(*state).to_owned(),
                    family.in_state(*state).into(),
                )
            })
            .collect();
        json!({ "bindings": family.bindings(), "states": states, "clients": family.clients })
    };
    let indexes: serde_json::Map<_, _> = stats
        .indexes
        .iter()
        .map(|(name, octets)| ((*name).to_owned(), (*octets).into()))
        .collect();
    json!({
        "v4": family(&stats.v4),
        "v6": family(&stats.v6),
        "sequence": stats.sequence,
        "stamp_ms": stats.stamp.millis(),
        "segments": stats.segments,
        "log_octets": stats.log_octets,
        "dead_octets": stats.dead_octets,
        "dead_records": stats.dead_records,
        "index_octets": stats.index_octets(),
        "indexes": indexes,
        "recovery_ms": stats.recovery_ms,
        "from_checkpoint": stats.from_checkpoint,
        "dropped_until_ms": stats.dropped_until.millis(),
        "held": stats.held,
        "feed_stale": stats.feed_stale,
    })
}

/// The figures that [`stats_json`] gives, for people.
fn table(stats: &Value) -> String {
    let mut states = new_table(["state", "IPv4", "IPv6"]);
    for state in State::ALL {
        let name = ndjson::state_name(state);
        let counts = ["v4", "v6"].map(|family| stats[family]["states"][name].as_u64());
        if counts.iter().flatten().any(|&count| count > 0) {
            let [v4, v6] = counts.map(|count| count.unwrap_or(0).to_string());
            states.add_row([name.to_owned(), v4, v6]);
        }
    }
    let bindings = |family: &str| stats[family]["bindings"].to_string();
    states.add_row(["all".to_owned(), bindings("v4"), bindings("v6")]);
    let mut sizes = new_table(["what", "octets"]);
    sizes.add_row(["log".to_owned(), stats["log_octets"].to_string()]);
    sizes.add_row([
        format!("{} superseded records in it", stats["dead_records"]),
        stats["dead_octets"].to_string(),
    ]);
    for (name, octets) in stats["indexes"].as_object().into_iter().flatten() {
        sizes.add_row([format!("index {name}"), octets.to_string()]);
    }
    let source = if stats["from_checkpoint"] == true {
        "the checkpoint"
    } else {
        "the log"
    };
    let opened = format!(
        "{} records in {} segments; indexes from {source} in {} ms",
        stats["sequence"], stats["segments"], stats["recovery_ms"]
    );
    format!("{states}\n\n{sizes}\n\n{opened}")
}

fn new_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn verify(dir: &Path) -> anyhow::Result<Done> {
    if let Some(server) = server_of(dir) {
        return verify_live(dir, server);
    }
    expect_store(dir)?;
    // Octet by octet first: all damage is told, where the opening would stop at the first.
    tell_problems(dir, &leaseq_store::verify_files(dir)?)?;
    let report = open(dir, true)?.verify();
    tell_problems(dir, &report)?;
    tell_good(dir, report.records, report.bindings);
    Ok(Done::All)
}

fn verify_live(dir: &Path, mut server: Client) -> anyhow::Result<Done> {
    let mut report = VerifyReport::default();
    let result = server.ask(&Request::Verify {}, |line| {
        let told: Value = serde_json::from_str(line)?;
        let problem = told["problem"].as_str().unwrap_or(line);
        report.problems.push(problem.to_owned());
        Ok(())
    })?;
    tell_problems(dir, &report)?;
    let figure = |name: &str| result.get(name).and_then(Value::as_u64).unwrap_or(0);
    tell_good(dir, figure("records"), figure("bindings"));
    Ok(Done::All)
}

fn tell_good(dir: &Path, records: u64, bindings: u64) {
    println!(
        "{}: good, {records} records, {bindings} bindings",
        dir.display()
    );
}

fn tell_problems(dir: &Path, report: &VerifyReport) -> anyhow::Result<()> {
    for problem in &report.problems {
        eprintln!("{problem}");
    }
    match report.problems.len() {
        0 => Ok(()),
        1 => anyhow::bail!("{}: a problem was found", dir.display()),
        problems => anyhow::bail!("{}: {problems} problems were found", dir.display()),
    }
}

fn export(arguments: &StoreExport) -> anyhow::Result<Done> {
    let dir = arguments.dir.data_dir.as_path();
    let mut out = BufWriter::with_capacity(WRITE_SIZE, io::stdout().lock());
    let written = match server_of(dir) {
        Some(mut server) => return export_live(&mut server, &live_export(arguments)?, out),
        None if arguments.as_leasequery => {
            let topology = match &arguments.config {
                Some(file) => Config::load(file, Overrides::default())?.topology,
                None => Topology::default(),
            };
            let store = open_with(dir, true, topology)?;
            let at = arguments.at.map_or(now(), |time| time.at(now()));
            write_as_leasequery(&store.reader().view(), at.0, &mut out)
        }
        None => write_leases(&open(dir, true)?.reader().view(), &mut out),
    };
    match written {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Done::All),
        written => written
            .map(|()| Done::All)
            .context("the leases cannot be written"),
    }
}

/// What the server that has the store open is asked for.
fn live_export(arguments: &StoreExport) -> anyhow::Result<Request> {
    if arguments.config.is_some() {
        anyhow::bail!(
            "--config: expected a store that no server has open; one that has tells the links of its own configuration"
        );
    }
    Ok(match arguments.as_leasequery {
        true => Request::ExportAsLeasequery {
            at: arguments.at.map(|time| time.at(now()).0),
        },
        false => Request::Export {},
    })
}

fn export_live(
    server: &mut Client,
    request: &Request,
    mut out: impl Write,
) -> anyhow::Result<Done> {
    let written = server.ask(request, |line| Ok(writeln!(out, "{line}")?));
    match written.and_then(|_| Ok(out.flush()?)) {
        // Whoever reads has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(Done::All),
        written => written
            .map(|()| Done::All)
            .context("the leases cannot be written"),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes all leases as they are in the view, each on a line.
pub fn write_leases(view: &View, mut out: impl Write) -> io::Result<()> {
    let mut line = String::new();
    view.bindings(|record| {
        line.clear();
        match record {
            Record::Bind4(lease) => ndjson::write4(&lease.to_event(), &mut line),
            Record::Bind6(lease) => ndjson::write6(&lease.to_event(), &mut line),
            _ => {}
        }
        out.write_all(line.as_bytes())
    })?;
    out.flush()
}

fn compact(dir: &Path) -> anyhow::Result<Done> {
    let [before, after] = match server_of(dir) {
        Some(mut server) => {
            let result = server.ask(&Request::Compact {}, |_| Ok(()))?;
            ["before", "after"].map(|name| result.get(name).and_then(Value::as_u64).unwrap_or(0))
        }
        None => {
            let store = open(dir, false)?;
            let before = store.reader().stats().log_octets;
            store.compact_now()?;
            let after = store.reader().stats().log_octets;
            store.stop().context("the store cannot be closed")?;
            [before, after]
        }
    };
    println!("{}: {before} octets before, {after} after", dir.display());
    Ok(Done::All)
}
