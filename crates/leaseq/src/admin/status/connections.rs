//! The connections in the status: summed up, and as many of them one by one as are asked for.

use leaseq_engine::{ConnectionInfo, ConnectionState};
use serde_json::{Value, json};

use super::unix_seconds;
use crate::admin::connections::{self, KINDS, Overview, most_notable};

/// Connections that are listed where nothing else is asked for.
const FEW: usize = 200;

/// How many connections are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed(usize);

impl Listed {
    /// As the query of a URL asks: `connections=all`, or a number.
    pub fn asked(query: Option<&str>) -> Listed {
        let mut parameters = query.unwrap_or_default().split('&');
        let value = parameters.find_map(|parameter| parameter.strip_prefix("connections="));
        Listed(match value {
            Some("all") => usize::MAX,
            Some(number) => number.parse().unwrap_or(FEW),
            None => FEW,
        })
    }
}

/// The connections.
pub fn json(connections: Vec<ConnectionInfo>, Listed(most): Listed) -> Value {
    let total = connections.len();
    let [v4, v6] = Overview::of(&connections).map(|overview| overview_json(&overview));
    let list: Vec<Value> = most_notable(connections, most).iter().map(one).collect();
    json!({ "total": total, "v4": v4, "v6": v6, "list": list })
}

fn overview_json(overview: &Overview) -> Value {
    let kinds: serde_json::Map<_, _> = KINDS
        .iter()
        .map(|(kind, name)| ((*name).to_owned(), overview.of_kind(*kind).into()))
        .collect();
    let tls: u64 = overview.kinds.iter().map(|[_, tls]| tls).sum();
    json!({
        "kinds": kinds,
        "tls": tls,
        "catching_up": overview.catching_up,
        "lagging": overview.lagging,
        "most_behind_ms": overview.most_behind.as_millis() as u64,
        "most_behind_records": overview.most_behind_records,
        "blocked": overview.blocked,
        "longest_blocked_ms": overview.longest_blocked.as_millis() as u64,
    })
}

fn one(connection: &ConnectionInfo) -> Value {
    let kind = KINDS.iter().find(|(kind, _)| *kind == connection.kind());
    json!({
        "id": connection.id,
        "peer": connection.peer.to_string(),
        "family": connections::number(connection.family),
        "core": connection.core,
        "kind": kind.map(|(_, name)| name),
        "state": match connection.state {
            ConnectionState::Idle => "idle",
            ConnectionState::Sending => "sending",
            ConnectionState::Closing => "closing",
        },
        "tls": connection.is_tls,
        "since": unix_seconds(connection.since),
        "queries_running": connection.queries_running,
        "queries_asked": connection.queries_asked,
        "stream": connection.stream.map(|stream| json!({
            "catching_up": stream.catching_up,
            "behind_records": stream.behind_records,
            "behind_ms": stream.behind.as_millis() as u64,
        })),
        "blocked_ms": connections::blocked(connection).map(|blocked| blocked.as_millis() as u64),
        "sent_octets": connection.sent_octets,
        "received_octets": connection.received_octets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_listed_unless_more_are_asked_for() {
        for (query, most) in [
            (None, FEW),
            (Some(""), FEW),
            (Some("connections=all"), usize::MAX),
            (Some("x=1&connections=7"), 7),
            (Some("connections=-1"), FEW),
        ] {
            assert_eq!(Listed::asked(query), Listed(most), "{query:?}");
        }
    }
}
