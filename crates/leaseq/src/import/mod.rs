//! `leaseq import`: leases from files into a store.
//!
//! Files are read in the order given, rows in the order of the file; the last row of an address wins. Rejected lines are
//! told on standard error with file, line and reason. With `--strict` all files are read twice: once to find what would be
//! rejected, and only if nothing is, to import.

mod source;

use std::collections::VecDeque;
use std::path::Path;

use anyhow::Context;
use indicatif::ProgressBar;
use leaseq_feed::{ReadError, Rejection};
use leaseq_store::{Event, Options, Store, Ticket, Topology};

use crate::cli;
use crate::exit::Done;
use crate::progress;
use source::Source;

/// Events handed to the store at a time.
const BATCH: usize = 4_096;
/// Batches that wait for their commit: the next ones are read meanwhile.
const MAX_BATCHES: usize = 8;

/// Imports the files.
pub fn run(arguments: &cli::Import) -> anyhow::Result<Done> {
    // What cannot be read at all is told before anything is done.
    let mut sources: Vec<Source> = open_sources(arguments)?;
    if arguments.strict {
        let mut rejected = 0;
        for source in sources {
            rejected += count_rejections(source)?;
        }
        if rejected > 0 {
            anyhow::bail!(
                "{rejected} lines were rejected: nothing is imported because of --strict"
            );
        }
        sources = open_sources(arguments)?;
    }
    let store = open_store(&arguments.data_dir)?;
    let mut rejected = 0;
    for mut source in sources {
        let counted = import(&store, &mut source)?;
        println!("{}: {counted}", source.path().display());
        source.tell_missing_relay_data();
        rejected += counted.rejected;
    }
    store.stop().context("the store cannot be closed")?;
    Ok(if rejected == 0 {
        Done::All
    } else {
        Done::Rejections
    })
}

fn open_sources(arguments: &cli::Import) -> anyhow::Result<Vec<Source>> {
    let files = arguments.files.iter();
    files
        .map(|file| Source::open(file, arguments.format))
        .collect()
}

fn open_store(dir: &Path) -> anyhow::Result<Store> {
    let options = Options {
        progress: Some(progress::of_opening()),
        ..Options::default()
    };
    Ok(Store::open(dir, options, Topology::default())?)
}

fn count_rejections(source: Source) -> anyhow::Result<u64> {
    let mut rejected = 0;
    for item in source {
        if let Some(told) = rejection_of(item)?.err() {
            eprintln!("{told}");
            rejected += 1;
        }
    }
    Ok(rejected)
}

fn rejection_of(item: Result<Event, ReadError>) -> anyhow::Result<Result<Event, Rejection>> {
    match item {
        Ok(event) => Ok(Ok(event)),
        Err(ReadError::Rejected(rejection)) => Ok(Err(rejection)),
        Err(error) => Err(error.into()),
    }
}

/// What became of the leases of a file.
#[derive(Debug, Default)]
struct Counted {
    leases: u64,
    changed: u64,
    rejected: u64,
}

impl std::fmt::Display for Counted {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counted {
            leases,
            changed,
            rejected,
        } = self;
        write!(
            out,
            "{leases} rows taken, {changed} of them changed something, {rejected} rejected"
        )
    }
}

fn import(store: &Store, source: &mut Source) -> anyhow::Result<Counted> {
    let bar = progress::bar("importing", source.octets(), progress::Unit::Octets);
    let mut counted = Counted::default();
    let mut waiting = VecDeque::with_capacity(MAX_BATCHES);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let item = source.next();
        let ended = item.is_none();
        match item.map(rejection_of).transpose()? {
            Some(Ok(event)) => batch.push(event),
            Some(Err(told)) => {
                bar.suspend(|| eprintln!("{told}"));
                counted.rejected += 1;
            }
            None => {}
        }
        if batch.len() >= BATCH || (ended && !batch.is_empty()) {
            counted.leases += batch.len() as u64;
            waiting
                .push_back(store.submit(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)))?);
            bar.set_position(source.octets_done());
        }
        while waiting.len() >= if ended { 1 } else { MAX_BATCHES } {
            wait(waiting.pop_front(), &mut counted, &bar)?;
        }
        if ended {
            bar.finish_and_clear();
            return Ok(counted);
        }
    }
}

fn wait(ticket: Option<Ticket>, counted: &mut Counted, bar: &ProgressBar) -> anyhow::Result<()> {
    let Some(ticket) = ticket else { return Ok(()) };
    let committed = ticket.wait()?;
    counted.changed += u64::from(committed.changed);
    // The events were checked with their lines, so this is for what only the store knows.
    for (_, error) in committed.rejected {
        bar.suspend(|| eprintln!("a lease was rejected by the store: {error}"));
        counted.leases -= 1;
        counted.rejected += 1;
    }
    Ok(())
}
