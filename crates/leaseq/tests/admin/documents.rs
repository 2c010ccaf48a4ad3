//! The dashboard and the alerts of `docs/` ask for metrics that are there, and the pages of `docs/` name all of them and no others.

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

/// Names of metrics in the pages of `docs/`; file names of packages are none.
fn documented(text: &str) -> BTreeSet<&str> {
    let is_name = |name: &str| !name.ends_with('_') && !name.contains(char::is_uppercase);
    let found = names(text).into_iter();
    found.filter(|name| is_name(name)).collect()
}

#[test]
fn every_metric_is_documented_and_no_other_one() {
    let setup = Setup::start();
    let metrics = get(setup.admin(), "/metrics").body;
    let mut told: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    assert!(told.len() > 50, "{} metrics", told.len());
    // Of feeds whose source has a time of its own.
    told.insert("leaseq_feed_lag_seconds");
    let status = fs::read_to_string(document("status.md")).unwrap();
    let reference = documented(&status);
    let missing: Vec<_> = told.difference(&reference).collect();
    assert!(missing.is_empty(), "status.md does not have {missing:?}");
    for page in fs::read_dir(document("")).unwrap() {
        let page = page.unwrap().path();
        if page.extension().is_some_and(|kind| kind == "md") {
            let text = fs::read_to_string(&page).unwrap();
            let named = documented(&text);
            let unknown: Vec<_> = named.difference(&told).collect();
            assert!(unknown.is_empty(), "{} has {unknown:?}", page.display());
        }
    }
}

#[test]
fn every_alarm_is_explained() {
    let alerts = fs::read_to_string(document("alerts.yml")).unwrap();
    let operations = fs::read_to_string(document("operations.md")).unwrap();
    let alarms: Vec<&str> = alerts
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- alert: "))
        .collect();
    assert!(alarms.len() > 15, "{alarms:?}");
    for alarm in alarms {
        let is_explained = operations
            .lines()
            .filter_map(|line| line.strip_prefix("| "))
            .filter_map(|line| line.split(" |").next())
            .any(|names| names.split(", ").any(|name| name == alarm));
        assert!(is_explained, "operations.md does not explain {alarm}");
    }
}

/// A panel's place on the grid of 24 columns: left, top, right, bottom.
fn place(panel: &Value) -> [u64; 4] {
    let of = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
    [of("x"), of("y"), of("x") + of("w"), of("y") + of("h")]
}

#[test]
fn the_panels_of_the_dashboard_lie_beside_each_other_and_say_what_they_show() {
    let text = fs::read_to_string(document("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for (at, panel) in panels.iter().enumerate() {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64()), "{title}: the id is taken");
        let [left, top, right, bottom] = place(panel);
        assert!(right <= 24, "{title} is too wide");
        for other in &panels[..at] {
            let [x, y, to_x, to_y] = place(other);
            let apart = right <= x || to_x <= left || bottom <= y || to_y <= top;
            assert!(apart, "{title} lies on {}", other["title"]);
        }
        if panel["type"] == "row" {
            continue;
        }
        let description = panel["description"].as_str();
        assert!(description.is_some_and(|text| !text.is_empty()), "{title}");
        for target in panel["targets"].as_array().unwrap() {
            let asked = target["expr"].as_str().unwrap();
            assert!(asked.contains("instance=~\"$instance\""), "{asked}");
            // A counter is of use only as a rate, or to know whether anything has happened at all.
            let counted = asked.matches("_total{").count();
            let used = ["rate(", "increase("].map(|of| asked.matches(of).count());
            let seen = asked.matches("} > 0").count();
            let whole = used.iter().sum::<usize>() + seen;
            assert!(counted <= whole, "{asked}");
        }
    }
    // All servers are those that there are: `.*` would be every process that Prometheus knows.
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let instance = variables.iter().find(|of| of["name"] == "instance");
    assert!(instance.is_some_and(|of| of["includeAll"] == true && of["allValue"].is_null()));
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
