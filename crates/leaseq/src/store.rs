//! `leaseq store`: looks at a store that no server has open.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use leaseq_feed::ndjson;
use leaseq_store::{
    FamilyStats, Options, Record, ScanFrom, State, Stats, Store, Topology, VerifyReport, View,
};
use serde_json::json;

use crate::cli::{StatFormat, StoreCommand};
use crate::exit::Done;
use crate::progress;

/// Octets of export text gathered before they are written.
const WRITE_SIZE: usize = 256 * 1024;

/// Runs a subcommand.
pub fn run(command: &StoreCommand) -> anyhow::Result<Done> {
    match command {
        StoreCommand::Stat(arguments) => stat(&arguments.dir.data_dir, arguments.format),
        StoreCommand::Verify(arguments) => verify(&arguments.data_dir),
        StoreCommand::Export(arguments) => export(&arguments.data_dir),
        StoreCommand::Compact(arguments) => compact(&arguments.data_dir),
    }
}

fn open(dir: &Path, read_only: bool) -> anyhow::Result<Store> {
    expect_store(dir)?;
    let options = Options {
        read_only,
        progress: Some(progress::of_opening()),
        ..Options::default()
    };
    Ok(Store::open(dir, options, Topology::default())?)
}

/// A store is made where it is missing, but not to be looked at.
fn expect_store(dir: &Path) -> anyhow::Result<()> {
    if !dir.join("STORE").is_file() {
        anyhow::bail!("{} holds no store", dir.display());
    }
    Ok(())
}

fn stat(dir: &Path, format: StatFormat) -> anyhow::Result<Done> {
    let store = open(dir, true)?;
    let stats = store.reader().stats();
    let text = match format {
        StatFormat::Table => table(&stats),
        StatFormat::Json => format!("{:#}", stats_json(&stats)),
    };
    println!("{text}");
    Ok(Done::All)
}

/// The figures of a store as JSON, also for the admin HTTP.
pub fn stats_json(stats: &Stats) -> serde_json::Value {
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
        "index_octets": stats.index_octets(),
        "indexes": indexes,
        "recovery_ms": stats.recovery_ms,
        "from_checkpoint": stats.from_checkpoint,
        "dropped_until_ms": stats.dropped_until.millis(),
        "held": stats.held,
        "feed_stale": stats.feed_stale,
    })
}

fn table(stats: &Stats) -> String {
    let mut states = new_table(["state", "IPv4", "IPv6"]);
    for state in State::ALL {
        let counts = [stats.v4.in_state(state), stats.v6.in_state(state)];
        if counts != [0, 0] {
            states.add_row([
                ndjson::state_name(state).to_owned(),
                counts[0].to_string(),
                counts[1].to_string(),
            ]);
        }
    }
    states.add_row([
        "all".to_owned(),
        stats.v4.bindings().to_string(),
        stats.v6.bindings().to_string(),
    ]);
    let mut sizes = new_table(["what", "octets"]);
    sizes.add_row(["log".to_owned(), stats.log_octets.to_string()]);
    sizes.add_row([
        "superseded records in it".to_owned(),
        stats.dead_octets.to_string(),
    ]);
    for (name, octets) in &stats.indexes {
        sizes.add_row([format!("index {name}"), octets.to_string()]);
    }
    let (sequence, segments) = (stats.sequence, stats.segments);
    let source = if stats.from_checkpoint {
        "the checkpoint"
    } else {
        "the log"
    };
    let opened = format!(
        "{sequence} records in {segments} segments; indexes from {source} in {} ms",
        stats.recovery_ms
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
    expect_store(dir)?;
    // Octet by octet first: all damage is told, where the opening would stop at the first.
    tell_problems(dir, &leaseq_store::verify_files(dir)?)?;
    let report = open(dir, true)?.verify();
    tell_problems(dir, &report)?;
    println!(
        "{}: good, {} records, {} bindings",
        dir.display(),
        report.records,
        report.bindings
    );
    Ok(Done::All)
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

fn export(dir: &Path) -> anyhow::Result<Done> {
    let store = open(dir, true)?;
    let out = BufWriter::with_capacity(WRITE_SIZE, io::stdout().lock());
    match write_leases(&store.reader().view(), out) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Done::All),
        written => written
            .map(|()| Done::All)
            .context("the leases cannot be written"),
    }
}

fn write_leases(view: &View, mut out: impl Write) -> io::Result<()> {
    let mut line = String::new();
    for scanned in view.scan(ScanFrom::Start).filter(|scanned| scanned.newest) {
        line.clear();
        match scanned.record {
            Record::Bind4(lease) => ndjson::write4(&lease.to_event(), &mut line),
            Record::Bind6(lease) => ndjson::write6(&lease.to_event(), &mut line),
            _ => continue,
        }
        out.write_all(line.as_bytes())?;
    }
    out.flush()
}

fn compact(dir: &Path) -> anyhow::Result<Done> {
    let store = open(dir, false)?;
    let before = store.reader().stats().log_octets;
    store.compact_now()?;
    let after = store.reader().stats().log_octets;
    store.stop().context("the store cannot be closed")?;
    println!("{}: {before} octets before, {after} after", dir.display());
    Ok(Done::All)
}
