//! Bindings by state, the store's size, and how long commits take.

use leaseq_feed::ndjson::state_name;
use leaseq_store::{State, Stats};

use super::{FAMILIES, Metric, family};
use crate::admin::process;
use crate::admin::watched::Served;

const MICROSECONDS_A_SECOND: f64 = 1e6;

/// The metrics of the store.
pub fn metrics(served: &Served) -> Vec<Metric> {
    let stats = served.reader.stats();
    let mut metrics = bindings(&stats);
    metrics.extend(size(&stats));
    metrics.extend(work(&stats));
    if let Some(disk) = process::disk(&served.data_dir) {
        metrics.push(
            Metric::gauge(
                "store_disk_free_octets",
                "octets that can still be taken of the disk of the store",
            )
            .with(disk.free),
        );
        metrics.push(
            Metric::gauge("store_disk_octets", "octets of the disk of the store").with(disk.total),
        );
    }
    metrics
}

fn bindings(stats: &Stats) -> Vec<Metric> {
    let mut bindings = Metric::gauge("bindings", "bindings by state");
    let mut clients = Metric::gauge(
        "clients",
        "distinct clients, in any state of their bindings; of DHCPv6, on a link",
    );
    for ((_, number), of) in FAMILIES.into_iter().zip([&stats.v4, &stats.v6]) {
        for state in State::ALL {
            let labels = vec![family(number), ("state", state_name(state).to_owned())];
            bindings.add(labels, of.in_state(state));
        }
        clients.add(vec![family(number)], of.clients);
    }
    let held = Metric::gauge(
        "store_held_leases",
        "leases past their end that wait for their feed",
    );
    vec![bindings, clients, held.with(stats.held)]
}

fn size(stats: &Stats) -> Vec<Metric> {
    let mut indexes = Metric::gauge("store_index_octets", "octets of each index");
    for (name, octets) in &stats.indexes {
        indexes.add(vec![("index", (*name).to_owned())], *octets);
    }
    vec![
        indexes,
        Metric::gauge("store_log_octets", "octets of the log").with(stats.log_octets),
        Metric::gauge(
            "store_dead_octets",
            "octets of superseded records in the log",
        )
        .with(stats.dead_octets),
        Metric::gauge("store_dead_records", "superseded records in the log")
            .with(stats.dead_records),
        Metric::gauge("store_segments", "segments of the log").with(stats.segments),
    ]
}

fn work(stats: &Stats) -> Vec<Metric> {
    vec![
        Metric::gauge(
            "store_recovery_seconds",
            "seconds that the opening of the store took",
        )
        .with(stats.recovery_ms as f64 / 1e3),
        Metric::gauge(
            "store_recovered_from_checkpoint",
            "1 if the indexes came from a checkpoint, 0 if the log was read for them",
        )
        .with(u64::from(stats.from_checkpoint)),
        Metric::gauge("feed_stale", "1 while a live feed is stale")
            .with(u64::from(stats.feed_stale)),
        Metric::gauge(
            "store_fault",
            "1 if the last batch could not be committed: the disk is full, or fails",
        )
        .with(u64::from(stats.fault.is_some())),
        Metric::gauge(
            "store_commit_timestamp_seconds",
            "server time of the last batch, in seconds of Unix time",
        )
        .with(stats.stamp.millis() as f64 / 1e3),
        Metric::counter("store_records", "records ever appended to the log").with(stats.sequence),
        Metric::counter("store_batches", "batches committed").with(stats.batches),
        Metric::counter(
            "store_batches_failed",
            "batches that could not be committed",
        )
        .with(stats.failed_batches),
        Metric::counter("store_events", "events taken from feeds").with(stats.events),
        Metric::counter(
            "store_events_unchanged",
            "events that were equal to what was stored",
        )
        .with(stats.unchanged),
        Metric::counter(
            "store_events_outdated",
            "events that changed nothing because another feed had told something newer",
        )
        .with(stats.outdated),
        Metric::histogram(
            "store_commit_seconds",
            "how long the writing and syncing of a batch took",
            stats.commit_micros.clone(),
            MICROSECONDS_A_SECOND,
        ),
        Metric::histogram(
            "store_batch_records",
            "records of a batch",
            stats.batch_records.clone(),
            1.0,
        ),
        Metric::counter(
            "clock_steps",
            "times that the wall clock was found stepped against server time",
        )
        .with(stats.clock_steps),
        Metric::gauge(
            "clock_ahead_seconds",
            "seconds that server time is ahead of the wall clock",
        )
        .with(stats.clock_ahead_ms as f64 / 1e3),
    ]
}
