//! Answers as people read them.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value};

use crate::control::Request;

/// What was answered to a request.
pub fn text(
    request: &Request,
    objects: &[Value],
    result: &Map<String, Value>,
) -> anyhow::Result<String> {
    Ok(match request {
        Request::Status {} => match objects.first().map(|object| &object["status"]) {
            Some(status) => status_text(status),
            None => anyhow::bail!("the server has not told its status"),
        },
        Request::Connections {} => table(objects, &CONNECTIONS),
        Request::Streams {} => table(objects, &STREAMS),
        Request::Close { id } => format!("connection {id} was reset"),
        Request::Drain { .. } => format!(
            "drained: {} connections were ended",
            plain(&result["connections"])
        ),
        Request::Reload {} => reload_text(objects),
        Request::Compact {} => format!(
            "{} octets before, {} after",
            plain(&result["before"]),
            plain(&result["after"])
        ),
        Request::Verify {}
        | Request::Stat {}
        | Request::Export {}
        | Request::ExportAsLeasequery { .. }
        | Request::Backup {} => {
            anyhow::bail!("`leaseq store` prints this")
        }
    })
}

/// A column: its header, and the member of a connection that it shows.
type Column = (&'static str, &'static str);

const CONNECTIONS: [Column; 10] = [
    ("id", "id"),
    ("requestor", "peer"),
    ("family", "family"),
    ("kind", "kind"),
    ("tls", "tls"),
    ("queries", "queries_running"),
    ("sent", "sent_octets"),
    ("received", "received_octets"),
    ("blocked", "blocked_ms"),
    ("since", "since"),
];

const STREAMS: [Column; 9] = [
    ("id", "id"),
    ("requestor", "peer"),
    ("family", "family"),
    ("tls", "tls"),
    ("behind", "behind_ms"),
    ("records", "behind_records"),
    ("blocked", "blocked_ms"),
    ("sent", "sent_octets"),
    ("since", "since"),
];

fn table(objects: &[Value], columns: &[Column]) -> String {
    let mut table = new_table(columns.iter().map(|(header, _)| *header));
    for object in objects {
        let connection = &object["connection"];
        table.add_row(columns.iter().map(|(_, member)| {
            match *member {
                "since" => since(&connection["since"]),
                "tls" => if connection["tls"] == true {
                    "yes"
                } else {
                    "no"
                }
                .to_owned(),
                "blocked_ms" => seconds(&connection["blocked_ms"]),
                "behind_ms" => behind(&connection["stream"]),
                "behind_records" => plain(&connection["stream"]["behind_records"]),
                member => plain(&connection[member]),
            }
        }));
    }
    let many = match objects.len() {
        0 => "none".to_owned(),
        many => format!("{many} in all"),
    };
    if objects.is_empty() {
        return many;
    }
    format!("{table}\n{many}")
}

fn new_table<'h>(headers: impl Iterator<Item = &'h str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headers);
    for (at, column) in table.column_iter_mut().enumerate() {
        if at != 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A value without the quotes of JSON; a dash for none.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Unix seconds as a date and a time.
fn since(value: &Value) -> String {
    let seconds = value
        .as_i64()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    seconds.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

/// Milliseconds as seconds.
fn seconds(value: &Value) -> String {
    value.as_u64().map_or_else(
        || "-".to_owned(),
        |millis| format!("{}.{:01} s", millis / 1_000, millis % 1_000 / 100),
    )
}

/// How far a stream is behind.
fn behind(stream: &Value) -> String {
    let behind = seconds(&stream["behind_ms"]);
    if stream["catching_up"] == true {
        format!("{behind}, catching up")
    } else {
        behind
    }
}

fn status_text(status: &Value) -> String {
    let mut text = format!("leaseq {}, ", plain(&status["version"]));
    if let Value::Object(_) = &status["draining"] {
        let draining = &status["draining"];
        let phase = if draining["left"] == 0 {
            "drained"
        } else {
            "draining"
        };
        let _ = write!(
            text,
            "{phase} ({} of {} connections left), ",
            plain(&draining["left"]),
            plain(&draining["connections"])
        );
    }
    let reasons = status["unready_because"].as_array();
    let reasons: Vec<String> = reasons.into_iter().flatten().map(plain).collect();
    if reasons.is_empty() {
        text.push_str("ready");
    } else {
        let _ = write!(text, "not ready: {}", reasons.join("; "));
    }
    let store = &status["store"];
    let _ = write!(
        text,
        "\nbindings     IPv4 {}, IPv6 {}",
        plain(&store["v4"]["bindings"]),
        plain(&store["v6"]["bindings"])
    );
    let _ = write!(
        text,
        "\nlog          {} octets in {} segments, {} octets of {} records superseded",
        plain(&store["log_octets"]),
        plain(&store["segments"]),
        plain(&store["dead_octets"]),
        plain(&store["dead_records"])
    );
    if let Value::Object(listening) = &status["listening"] {
        for (kind, addresses) in listening {
            let addresses: Vec<String> = addresses
                .as_array()
                .into_iter()
                .flatten()
                .map(plain)
                .collect();
            if !addresses.is_empty() {
                let _ = write!(text, "\n{kind:<12} {}", addresses.join(" "));
            }
        }
    }
    for feed in status["feeds"].as_array().into_iter().flatten() {
        let _ = write!(
            text,
            "\nfeed         {} ({}): {}",
            plain(&feed["name"]),
            plain(&feed["kind"]),
            plain(&feed["phase"])
        );
    }
    let _ = write!(
        text,
        "\nconnections  {}, {} of them active streams",
        plain(&status["connections"]),
        plain(&status["streams"])
    );
    text
}

/// How far a drain has come.
pub fn progress(object: &Value) -> String {
    let drain = &object["drain"];
    format!(
        "{} of {} connections are left",
        plain(&drain["left"]),
        plain(&drain["connections"])
    )
}

fn reload_text(objects: &[Value]) -> String {
    let mut text = "the configuration was read again".to_owned();
    let told = |member: &'static str| {
        objects
            .iter()
            .filter_map(move |object| object[member].as_str())
    };
    for key in told("needs_restart") {
        let _ = write!(
            text,
            "\n{key} has changed, but needs a restart to take effect"
        );
    }
    for error in told("failed") {
        let _ = write!(text, "\nnot done: {error}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn connections_are_a_table() {
        let connection = json!({"connection": {
            "id": 7, "peer": "192.0.2.1:5000", "family": 4, "kind": "active", "tls": true,
            "queries_running": 1, "sent_octets": 12, "received_octets": 3, "since": 1_790_000_000,
            "stream": {"catching_up": true, "behind_ms": 61_540, "behind_records": 999}, "blocked_ms": null,
        }});
        let shown = table(std::slice::from_ref(&connection), &STREAMS);
        assert!(shown.contains("61.5 s, catching up"), "{shown}");
        assert!(shown.contains(" 999 "), "{shown}");
        let shown = table(&[connection], &CONNECTIONS);
        assert!(shown.contains("192.0.2.1:5000"), "{shown}");
        assert!(shown.contains("2026-09-21T14:13:20Z"), "{shown}");
        assert!(shown.ends_with("1 in all"), "{shown}");
        assert_eq!(table(&[], &STREAMS), "none");
    }

    #[test]
    fn what_is_missing_is_a_dash() {
        let shown = table(&[json!({"connection": {"id": 7}})], &STREAMS);
        assert!(shown.contains(" - "), "{shown}");
    }

    #[test]
    fn a_reload_names_what_needs_a_restart() {
        let told = reload_text(&[json!({"needs_restart": "engine.cores"})]);
        assert!(told.ends_with("\nengine.cores has changed, but needs a restart to take effect"));
        let told = reload_text(&[json!({"failed": "cannot listen"})]);
        assert!(told.ends_with("again\nnot done: cannot listen"), "{told}");
    }
}
