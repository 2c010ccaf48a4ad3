//! The alerts of `docs/` ring when they should, by Prometheus' own rule engine.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{stderr, stdout};
use crate::peer;

const SERVER: &str = r#"job="leaseq",instance="dhcp1:8067""#;

/// A series of one server: name, labels beside the server's, and its values, one each 15 s for ten minutes.
fn series(name: &str, labels: &str, value: impl Fn(usize) -> u64) -> Value {
    let values: Vec<String> = (0..=40).map(|at| value(at).to_string()).collect();
    json!({ "series": format!("{name}{{{SERVER},{labels}}}"), "values": values.join(" ") })
}

/// What is expected of an alert after ten minutes: its labels and its summary, or that it is silent.
fn expected(alert: &str, rings: Option<(Value, &str)>) -> Value {
    let alerts: Vec<Value> = rings
        .into_iter()
        .map(|(labels, summary)| {
            let mut all =
                json!({ "job": "leaseq", "instance": "dhcp1:8067", "severity": "warning" });
            if let (Value::Object(all), Value::Object(labels)) = (&mut all, labels) {
                all.extend(labels);
            }
            json!({ "exp_labels": all, "exp_annotations": { "summary": summary } })
        })
        .collect();
    json!({ "eval_time": "10m", "alertname": alert, "exp_alerts": alerts })
}

/// Has promtool run the rules over these series.
fn run(series: &[Value], expected: &[Value]) {
    let Some(promtool) = peer::find("promtool", "prometheus") else {
        return;
    };
    let rules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/alerts.yml");
    let test = json!({
        "rule_files": [rules.canonicalize().unwrap()],
        "evaluation_interval": "15s",
        "tests": [{ "interval": "15s", "input_series": series, "alert_rule_test": expected }],
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.yml");
    // JSON is YAML.
    fs::write(&file, test.to_string()).unwrap();
    let output = Command::new(promtool)
        .args(["test", "rules"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
}

/// The phases of a feed that waits at these samples, follows at those, and tries at all others.
fn feed(name: &str, waits: fn(usize) -> bool, follows: fn(usize) -> bool) -> [Value; 2] {
    let phase = |phase: &str, is: fn(usize) -> bool| {
        let labels = format!(r#"feed="{name}",kind="kea-memfile",phase="{phase}""#);
        series("leaseq_feed_phase", &labels, |at| u64::from(is(at)))
    };
    [phase("waiting", waits), phase("following", follows)]
}

#[test]
fn a_feed_is_down_though_it_is_tried_again_and_again() {
    // Of four samples one meets it waiting and three a try: it is down. The other one was for a minute, and is back.
    let down = feed("kea4", |at| at % 4 == 0, |_| false);
    let back = feed(
        "kea6",
        |at| (20..24).contains(&at),
        |at| !(20..24).contains(&at),
    );
    let labels = json!({ "feed": "kea4", "kind": "kea-memfile", "phase": "waiting" });
    let summary = "feed kea4 of dhcp1:8067 cannot reach or read its source";
    run(
        &[down, back].concat(),
        &[expected("LeaseqFeedDown", Some((labels, summary)))],
    );
}

#[test]
fn the_limit_of_connections_is_each_familys_own() {
    let open = |family: &str, count| {
        let labels = format!("family=\"{family}\"");
        series("leaseq_connections_open", &labels, |_| count)
    };
    let limit =
        json!({ "series": format!("leaseq_connections_limit{{{SERVER}}}"), "values": "100x40" });
    let summary = "DHCPv4 on dhcp1:8067 has 95% of its connections";
    run(
        &[open("4", 95), open("6", 60), limit],
        &[expected(
            "LeaseqConnectionsNearLimit",
            Some((json!({ "family": "4" }), summary)),
        )],
    );
}

#[test]
fn requestors_that_close_their_connections_ring_nothing() {
    let closed = |reason: &str, a_sample: u64| {
        let labels = format!("family=\"4\",reason=\"{reason}\"");
        series("leaseq_connections_closed_total", &labels, |at| {
            a_sample * at as u64
        })
    };
    run(
        &[
            closed("peer-closed", 100),
            closed("send-blocked", 0),
            closed("tls-handshake", 0),
        ],
        &[
            expected("LeaseqRequestorsBlocked", None),
            expected("LeaseqTlsFailing", None),
        ],
    );
}
