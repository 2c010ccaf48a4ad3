//! What the server does, as `leaseq ctl` is told it.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use leaseq_engine::{ConnectionInfo, ConnectionKind, ConnectionState};
use leaseq_session::Family;
use serde_json::{Value, json};

use super::Controlled;
use crate::store;

/// The server as a whole.
pub fn status(controlled: &Controlled) -> Value {
    let stats = controlled.store.reader().stats();
    let draining = controlled.served.engine.draining();
    let unready = controlled.served.unready();
    let listeners = controlled.served.engine.addresses();
    let connections = controlled.served.engine.connections();
    let streams = connections.iter().filter(|one| one.is_stream).count();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "process": std::process::id(),
        "ready": unready.is_empty(),
        "unready_because": unready,
        "draining": draining.map(|drain| json!({
            "connections": drain.connections,
            "left": drain.left,
            "over_ms": u64::try_from(drain.over.as_millis()).unwrap_or(u64::MAX),
        })),
        "listening": {
            "dhcp4-tcp": texts(&listeners.dhcp4_tcp),
            "dhcp4-udp": texts(&listeners.dhcp4_udp),
            "dhcp6-tcp": texts(&listeners.dhcp6_tcp),
            "dhcp6-udp": texts(&listeners.dhcp6_udp),
        },
        "connections": connections.len(),
        "streams": streams,
        "feeds": feeds(controlled),
        "store": store::stats_json(&stats),
    })
}

fn texts(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

fn feeds(controlled: &Controlled) -> Vec<Value> {
    let now = controlled.store.reader().now();
    let statuses = controlled.served.feeds.statuses();
    let one = |status: &std::sync::Arc<leaseq_feed::run::Status>| {
        let feed = status.snapshot();
        json!({
            "name": feed.name,
            "kind": feed.kind,
            "source": feed.source,
            "phase": feed.phase.name(),
            "lag_ms": feed.lag(now).map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
            "events": feed.events,
            "rejected": feed.rejected,
            "troubles": feed.troubles,
        })
    };
    statuses.iter().map(one).collect()
}

/// One connection.
pub fn connection(connection: &ConnectionInfo) -> Value {
    json!({
        "id": connection.id,
        "peer": connection.peer.to_string(),
        "family": match connection.family {
            Family::V4 => 4,
            Family::V6 => 6,
        },
        "core": connection.core,
        "kind": match connection.kind() {
            ConnectionKind::Idle => "idle",
            ConnectionKind::Bulk => "bulk",
            ConnectionKind::Active => "active",
        },
        "state": match connection.state {
            ConnectionState::Idle => "idle",
            ConnectionState::Sending => "sending",
            ConnectionState::Closing => "closing",
        },
        "tls": connection.is_tls,
        "queries_running": connection.queries_running,
        "queries_asked": connection.queries_asked,
        "stream": connection.stream.map(|stream| json!({
            "catching_up": stream.catching_up,
            "behind_records": stream.behind_records,
            "behind_ms": u64::try_from(stream.behind.as_millis()).unwrap_or(u64::MAX),
        })),
        "blocked_ms": connection
            .blocked
            .map(|blocked| u64::try_from(blocked.as_millis()).unwrap_or(u64::MAX)),
        "sent_octets": connection.sent_octets,
        "received_octets": connection.received_octets,
        "since": connection
            .since
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since: Duration| since.as_secs()),
    })
}
