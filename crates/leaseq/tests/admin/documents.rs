//! The dashboard and the alerts of `docs/` ask for metrics that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{stderr, stdout};
use crate::http::get;
use crate::peer;
use crate::setup::Setup;

fn document(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name)
}

/// Names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("leaseq_") || word.starts_with("process_"))
        .collect()
}

/// All expressions of panels and of the dashboard's variables.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "expr" || name == "definition" => {
                        found.push(text.clone());
                    }
                    value => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_are_there() {
    let setup = Setup::start();
    let metrics = get(setup.admin(), "/metrics").body;
    let samples: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let mut found = dashboard();
    assert!(found.len() > 30, "{} expressions", found.len());
    found.push(fs::read_to_string(document("alerts.yml")).unwrap());
    for text in &found {
        for name in names(text) {
            // A feed without a time of its own has no lag.
            let is_there = samples.contains(name) || name == "leaseq_feed_lag_seconds";
            assert!(is_there, "{name} of {text} is not told");
        }
    }
}

/// All expressions of the dashboard.
fn dashboard() -> Vec<String> {
    let text = fs::read_to_string(document("dashboard.json")).unwrap();
    let mut found = Vec::new();
    expressions(&serde_json::from_str(&text).unwrap(), &mut found);
    found
}

/// Has promtool look at a file of rules.
fn check(rules: &Path) {
    let Some(promtool) = peer::find("promtool", "prometheus") else {
        return;
    };
    let output = Command::new(promtool)
        .args(["check", "rules", "--lint-fatal"])
        .arg(rules)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
}

#[test]
fn promtool_takes_the_alerts() {
    check(&document("alerts.yml"));
}

#[test]
fn promtool_takes_every_expression_of_the_dashboard() {
    let rules: Vec<Value> = (0..)
        .zip(dashboard())
        .filter(|(_, text)| !text.starts_with("label_values"))
        .map(|(number, text)| {
            // What Grafana puts in for its variables.
            let text = text
                .replace("$__rate_interval", "5m")
                .replace("$instance", ".*");
            json!({ "record": format!("panel:{number}"), "expr": text })
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.yml");
    // JSON is YAML.
    let groups = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(&file, groups.to_string()).unwrap();
    check(&file);
}
