//! `/api/status`: everything that the status page shows, as JSON.

mod connections;
mod limits;
mod traffic;

use std::time::{SystemTime, UNIX_EPOCH};

use leaseq_engine::Listeners;
use leaseq_feed::run::Snapshot;
use leaseq_store::{Stamp, Stats};
use serde_json::{Value, json};

use super::process;
use super::watched::{Served, Watched};
use crate::store;

pub use connections::Listed;

/// The status; of the connections as many as `listed` says.
pub fn json(watched: &Watched, listed: Listed) -> Value {
    let unready = watched.unready();
    let mut status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now_ms": millis(SystemTime::now()),
        "ready": unready.is_empty(),
        "unready_because": unready,
        "process": process(),
    });
    match watched.served() {
        None => {
            let (done, total) = watched.recovery().octets();
            status["recovering"] = json!({ "done_octets": done, "total_octets": total });
        }
        Some(served) => add_served(&mut status, served, listed),
    }
    status
}

fn add_served(status: &mut Value, served: &Served, listed: Listed) {
    let connections = served.engine.connections();
    let stats = served.reader.stats();
    status["recovered_ms"] = json!(u64::try_from(served.recovered_ms).unwrap_or(u64::MAX));
    status["listening"] = listening(&served.engine.addresses());
    status["store"] = store(served, &stats);
    status["feeds"] = feeds(served).into();
    status["traffic"] = traffic::json(&served.engine);
    status["limits"] = limits::json(served, &stats, &connections);
    status["connections"] = connections::json(connections, listed);
}

fn store(served: &Served, stats: &Stats) -> Value {
    let mut told = store::stats_json(stats);
    let more = json!({
        "dir": served.data_dir.display().to_string(),
        "now_ms": served.reader.now().millis(),
        "fault": stats.fault,
        "batches": stats.batches,
        "failed_batches": stats.failed_batches,
        "events": stats.events,
        "unchanged": stats.unchanged,
        "commit_micros": stats.commit_micros.sum,
        "clock_steps": stats.clock_steps,
        "clock_ahead_ms": stats.clock_ahead_ms,
    });
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.extend(more);
    }
    told
}

fn listening(listeners: &Listeners) -> Value {
    let texts = |addresses: &[std::net::SocketAddr]| {
        addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    json!({
        "dhcp4-tcp": texts(&listeners.dhcp4_tcp),
        "dhcp4-udp": texts(&listeners.dhcp4_udp),
        "dhcp6-tcp": texts(&listeners.dhcp6_tcp),
        "dhcp6-udp": texts(&listeners.dhcp6_udp),
    })
}

fn feeds(served: &Served) -> Vec<Value> {
    let now = served.reader.now();
    let statuses = served.feeds.statuses();
    statuses
        .iter()
        .map(|status| feed(&status.snapshot(), now))
        .collect()
}

fn feed(feed: &Snapshot, now: Stamp) -> Value {
    json!({
        "name": feed.name,
        "kind": feed.kind,
        "family": feed.family,
        "source": feed.source,
        "phase": feed.phase.name(),
        "since": unix_seconds(feed.since),
        "loaded": feed.loaded.map(unix_seconds),
        "lag_ms": feed.lag(now).map(|lag| lag.as_millis() as u64),
        "backlog_octets": feed.backlog_octets,
        "writers": feed.writers,
        "events": feed.events,
        "changed": feed.changed,
        "rejected": feed.rejected,
        "troubles": feed.troubles,
        "remark": feed.remark,
        "last_trouble": feed.trouble.as_ref().map(|trouble| json!({
            "at": unix_seconds(trouble.at),
            "text": trouble.text,
        })),
    })
}

fn process() -> Value {
    process::read().map_or(Value::Null, |process| {
        json!({
            "id": std::process::id(),
            "started": process.start_seconds as u64,
            "cpu_ms": (process.cpu_seconds * 1e3) as u64,
            "resident_octets": process.resident_octets,
            "threads": process.threads,
            "major_faults": process.major_faults,
        })
    })
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn unix_seconds(time: SystemTime) -> u64 {
    millis(time) / 1_000
}
