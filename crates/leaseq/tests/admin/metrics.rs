//! `/metrics` as Prometheus reads it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::common::{stderr, stdout};
use crate::http::{get, get_as};
use crate::peer;
use crate::setup::Setup;

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let Some(promtool) = peer::find("promtool", "prometheus") else {
        return;
    };
    let setup = Setup::start();
    let metrics = get(setup.admin(), "/metrics");
    assert!(
        metrics
            .field("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(metrics.body.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let said = stdout(&output) + &stderr(&output);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn openmetrics_is_served_to_whom_asks_for_it() {
    let setup = Setup::start();
    let accept = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
        text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let metrics = get_as(setup.admin(), "/metrics", accept);
    assert!(
        metrics
            .field("content-type")
            .starts_with("application/openmetrics-text")
    );
    assert!(metrics.body.ends_with("# EOF\n"));
    assert!(metrics.body.contains("# TYPE leaseq_queries counter\n"));
}

#[test]
fn what_happened_is_counted() {
    let setup = Setup::start();
    let metrics = get(setup.admin(), "/metrics").body;
    for line in [
        "leaseq_ready 1",
        "leaseq_bindings{family=\"4\",state=\"active\"} 2",
        "leaseq_queries_total{family=\"4\",kind=\"active\"} 1",
        "leaseq_connections{family=\"4\",kind=\"active\",tls=\"no\"} 1",
        "leaseq_connections_limit 50",
        "leaseq_streams{family=\"4\"} 1",
        "leaseq_streams_lagging{family=\"4\"} 0",
        "leaseq_streams_caught_up_total{family=\"4\"} 1",
        "leaseq_feed_phase{feed=\"leases <b>&\\\"1\",kind=\"ndjson\",phase=\"following\"} 1",
        "leaseq_feed_loaded{feed=\"leases <b>&\\\"1\"} 1",
        "leaseq_feed_events_total{feed=\"leases <b>&\\\"1\"} 3",
        "leaseq_feed_rejected_total{feed=\"leases <b>&\\\"1\"} 1",
        "leaseq_store_fault 0",
        "leaseq_clock_steps_total 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|value| value.trim().parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
    };
    assert!(value("process_resident_memory_bytes ") > 1e6);
    assert!(value("process_open_fds ") < value("process_max_fds "));
    assert!(value("leaseq_store_disk_free_octets ") > 0.0);
    assert!(value("leaseq_store_dead_records ") <= value("leaseq_store_dead_octets "));
    let batches = value("leaseq_store_batches_total ");
    assert!(batches > 0.0);
    assert_eq!(value("leaseq_store_commit_seconds_count "), batches);
    assert_eq!(
        value("leaseq_store_commit_seconds_bucket{le=\"+Inf\"} "),
        batches
    );
}

/// Names and labels of all samples.
fn series(setup: &Setup) -> BTreeSet<String> {
    let metrics = get(setup.admin(), "/metrics").body;
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, _)| series.to_owned())
        .collect()
}

#[test]
fn what_requestors_send_makes_no_series() {
    let setup = Setup::start();
    let before = series(&setup);
    for to in ["dhcp4-tcp", "dhcp6-tcp"] {
        // Every message type there can be, none of them a whole message, and frames of nothing.
        for kind in 0..=u8::MAX {
            let mut stream = TcpStream::connect(setup.server.address(to)).unwrap();
            let mut message = vec![kind; 300];
            message[236..243].copy_from_slice(&[99, 130, 83, 99, 53, 1, kind]);
            let length = if kind == 0 { 0 } else { 300_u16 };
            let _ = stream.write_all(&[&length.to_be_bytes()[..], &message].concat());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    assert_eq!(series(&setup), before);
}

#[test]
fn bounds_of_histograms_are_what_they_seem() {
    let setup = Setup::start();
    let metrics = get(setup.admin(), "/metrics").body;
    for bound in ["0.0005", "0.025", "0.1", "10.0"] {
        let start = format!("leaseq_store_commit_seconds_bucket{{le=\"{bound}\"}} ");
        let is_there = metrics.lines().any(|line| line.starts_with(&start));
        assert!(is_there, "no {start}in\n{metrics}");
    }
}
