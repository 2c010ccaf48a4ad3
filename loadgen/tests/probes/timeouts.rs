//! Timeouts: measured, and told when they are not those expected.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use leaseq_loadgen::probes::{self, Outcome};
use leaseq_loadgen::scenario::Scenario;
use leaseq_session::{ActiveSettings, Limits};

use crate::server::{Server, active, found, wrong};

const FAMILIES: [&str; 2] = ["v4", "v6"];

fn scenario(expected: &str) -> Scenario {
    let text = format!("kind = \"timeouts\"\npatience = \"20s\"\n[timeouts]\n{expected}");
    toml::from_str(&text).unwrap()
}

fn probe(server: &Server, expected: &str) -> Outcome {
    let stop = AtomicBool::new(false);
    probes::timeouts(&scenario(expected), &server.servers, &stop)
}

fn start(data_ms: u64, active_send_ms: u64, active_idle_ms: u64) -> Server {
    let limits = Limits {
        max_connections: 100,
        data_timeout: Duration::from_millis(data_ms),
        ..Limits::default()
    };
    Server::start(
        limits,
        ActiveSettings {
            send_timeout: Duration::from_millis(active_send_ms),
            idle_timeout: Duration::from_millis(active_idle_ms),
            ..active()
        },
    )
}

/// What is tested of both families.
fn of_both(whats: &[&str]) -> Vec<String> {
    let of = |family: &str| -> Vec<String> {
        let whats = whats.iter();
        whats.map(|what| what.replace("v?", family)).collect()
    };
    FAMILIES.into_iter().flat_map(of).collect()
}

const IDLE: [&str; 3] = [
    "bulk-idle v?, without a query",
    "bulk-idle v?, with half a query",
    "bulk-idle v?, after an answered query",
];
const KEPT: &str = "bulk-idle v?, not on an active connection";
const BULK: [&str; 2] = ["bulk-send v?, nothing read", "bulk-send v?, read slowly"];
const ACTIVE: [&str; 2] = [
    "active-send v?, nothing read",
    "active-send v?, read slowly",
];
const KEEPALIVE: [&str; 2] = [
    "active-idle v?, keepalive",
    "active-idle v?, keepalive again",
];

#[test]
fn timeouts_that_are_as_expected_hold_and_nobody_suffers() {
    let server = start(1_000, 1_400, 1_200);
    let outcome = probe(
        &server,
        "bulk-idle = \"1s\"\nbulk-send = \"1s\"\nactive-send = \"1400ms\"\nactive-idle = \"1200ms\"\ninnocent = 4",
    );
    assert_eq!(wrong(&outcome), [""; 0], "{outcome:#?}");
    assert_eq!(outcome.faults, []);
    let mut expected =
        of_both(&[&IDLE[..], &BULK[..], &ACTIVE[..], &KEEPALIVE[..], &[KEPT]].concat());
    expected.extend(FAMILIES.map(|family| format!("innocent relays {family}")));
    let whats: Vec<_> = outcome
        .findings
        .iter()
        .map(|finding| &*finding.what)
        .collect();
    assert_eq!(whats, expected);
    for finding in &outcome.findings {
        assert!(!finding.found.contains("not tested"), "{finding:?}");
    }
    for family in FAMILIES {
        let of = |what: &str| found(&outcome, &what.replace("v?", family)).0.to_owned();
        assert!(of(IDLE[0]).starts_with("closed after 1"));
        assert!(of(BULK[0]).starts_with("reset after "));
        assert!(of(ACTIVE[0]).starts_with("reset after "));
        assert!(of(BULK[1]).starts_with("kept for "));
        assert!(of(KEEPALIVE[1]).starts_with("sent after 1"));
    }
}

#[test]
fn timeouts_hold_on_tls_too() {
    let limits = Limits {
        max_connections: 100,
        data_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let settings = ActiveSettings {
        insecure: false,
        send_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        ..active()
    };
    let server = Server::start_secure(limits, settings);
    let outcome = probe(
        &server,
        "bulk-idle = \"1s\"\nbulk-send = \"1s\"\nactive-send = \"1s\"\nactive-idle = \"1s\"\ninnocent = 2",
    );
    assert_eq!(wrong(&outcome), [""; 0], "{outcome:#?}");
    let all = IDLE.len() + BULK.len() + ACTIVE.len() + KEEPALIVE.len() + 2;
    assert_eq!(outcome.findings.len(), 2 * all);
}

#[test]
fn a_server_that_waits_longer_than_expected_is_found() {
    let server = start(4_000, 4_000, 4_000);
    let outcome = probe(
        &server,
        "bulk-idle = \"1s\"\nbulk-send = \"1s\"\nactive-send = \"1s\"\nactive-idle = \"1s\"\ninnocent = 0\ntolerance = \"500ms\"",
    );
    let whats = of_both(&[&IDLE[..], &BULK[..1], &ACTIVE[..1], &KEEPALIVE[..]].concat());
    assert_eq!(wrong(&outcome), whats, "{outcome:#?}");
    for (what, found) in [
        (IDLE[0], "not closed within 3.5s"),
        (BULK[0], "not ended within 1.75s"),
        (KEEPALIVE[0], "not sent within 3.5s"),
    ] {
        for family in FAMILIES {
            let what = what.replace("v?", family);
            assert_eq!(crate::server::found(&outcome, &what), (found, false));
        }
    }
    assert_eq!(outcome.faults.len(), whats.len());
}

#[test]
fn a_server_that_waits_shorter_than_expected_is_found() {
    let server = start(500, 500, 500);
    let outcome = probe(
        &server,
        "bulk-idle = \"2s\"\nbulk-send = \"2s\"\nactive-send = \"2s\"\nactive-idle = \"2s\"\ninnocent = 0",
    );
    let whats = of_both(&[&IDLE[..], &BULK[..1], &ACTIVE[..1], &KEEPALIVE[..]].concat());
    // Reading slowly enough for two seconds may or may not be too slowly for half a second.
    let mut wrong = wrong(&outcome);
    wrong.retain(|what| !what.ends_with("read slowly"));
    assert_eq!(wrong, whats, "{outcome:#?}");
    let (idle, _) = found(&outcome, "bulk-idle v4, without a query");
    assert!(idle.starts_with("closed after 0."), "{idle}");
    let (blocked, _) = found(&outcome, "bulk-send v4, nothing read");
    assert!(blocked.starts_with("reset after 0."), "{blocked}");
}

#[test]
fn each_timeout_is_judged_by_itself() {
    // Only one of the four is other than expected, each in turn.
    let expected = "bulk-idle = \"1s\"\nbulk-send = \"1s\"\nactive-send = \"1s\"\nactive-idle = \"1s\"\ninnocent = 0";
    let cases: [([u64; 3], Vec<&str>); 3] = [
        ([4_500, 1_000, 1_000], [&IDLE[..], &BULK[..1]].concat()),
        ([1_000, 4_500, 1_000], vec![ACTIVE[0]]),
        ([1_000, 1_000, 4_500], KEEPALIVE.to_vec()),
    ];
    thread::scope(|scope| {
        for (milliseconds, whats) in cases {
            scope.spawn(move || {
                let [data, send, idle] = milliseconds;
                let outcome = probe(&start(data, send, idle), expected);
                assert_eq!(wrong(&outcome), of_both(&whats), "{outcome:#?}");
            });
        }
    });
}

#[test]
fn what_is_not_expected_is_not_tested() {
    let server = start(60_000, 60_000, 500);
    let outcome = probe(&server, "active-idle = \"500ms\"\ninnocent = 1");
    let mut whats = of_both(&KEEPALIVE);
    whats.extend(FAMILIES.map(|family| format!("innocent relays {family}")));
    let found: Vec<_> = outcome
        .findings
        .iter()
        .map(|finding| &*finding.what)
        .collect();
    assert_eq!(
        (found, wrong(&outcome)),
        (whats.iter().map(|what| &**what).collect(), vec![])
    );
}

#[test]
fn a_server_that_has_no_active_query_does_not_pass_for_one_that_keeps_it_alive() {
    let limits = Limits {
        data_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let server = Server::start(limits, ActiveSettings::default());
    let outcome = probe(
        &server,
        "active-idle = \"1s\"\nactive-send = \"1s\"\ninnocent = 0",
    );
    let whats = of_both(&[&ACTIVE[..], &KEEPALIVE[..]].concat());
    assert_eq!(wrong(&outcome), whats, "{outcome:#?}");
}

#[test]
fn an_interruption_ends_it_at_once() {
    let server = start(3_600_000, 3_600_000, 3_600_000);
    let stop = AtomicBool::new(false);
    let scenario = scenario(
        "bulk-idle = \"1h\"\nbulk-send = \"1h\"\nactive-send = \"1h\"\nactive-idle = \"1h\"\ninnocent = 2",
    );
    thread::scope(|scope| {
        let running = scope.spawn(|| probes::timeouts(&scenario, &server.servers, &stop));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(running.join().unwrap(), Outcome::default());
    });
}
