//! Whether the server is ready, and what it is doing.

use std::time::{SystemTime, UNIX_EPOCH};

use leaseq_engine::{ConnectionState, Listeners};
use leaseq_feed::run::Snapshot;
use leaseq_session::Family;
use leaseq_store::Stamp;
use serde_json::{Value, json};

use super::Served;
use crate::store;

/// Why queries should not be sent here, if so.
pub fn unready(served: &Served) -> Option<&'static str> {
    served
        .reader
        .stats()
        .feed_stale
        .then_some("a feed is stale: leases past their end are held until it goes on")
}

/// `/api/status`.
pub fn json(served: &Served) -> Value {
    let stats = served.reader.stats();
    let unready = unready(served);
    let connections: Vec<Value> = served.engine.connections().iter().map(connection).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ready": unready.is_none(),
        "unready_because": unready,
        "recovered_ms": served.recovered_ms as u64,
        "listening": listening(served.engine.addresses()),
        "store": store::stats_json(&stats),
        "feeds": feeds(served),
        "connections": connections,
    })
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

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn connection(connection: &leaseq_engine::ConnectionInfo) -> Value {
    json!({
        "id": connection.id,
        "peer": connection.peer.to_string(),
        "family": match connection.family {
            Family::V4 => 4,
            Family::V6 => 6,
        },
        "core": connection.core,
        "state": match connection.state {
            ConnectionState::Idle => "idle",
            ConnectionState::Sending => "sending",
            ConnectionState::Closing => "closing",
        },
        "sent_octets": connection.sent_octets,
        "received_octets": connection.received_octets,
        "since": unix_seconds(connection.since),
    })
}
