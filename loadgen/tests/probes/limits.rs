//! Limits of connections and queries: found, and told when they are not those expected.

use std::sync::atomic::AtomicBool;
use std::thread;

use leaseq_loadgen::fault::FaultKind;
use leaseq_loadgen::probes::{self, Outcome};
use leaseq_loadgen::scenario::{self, Scenario};
use leaseq_session::{ActiveSettings, Limits};

use crate::server::{Server, active, found, wrong};

fn probe(server: &Server, expected: &str) -> Outcome {
    let text = format!("kind = \"limits\"\npatience = \"10s\"\n[limits]\n{expected}");
    let scenario: Scenario = toml::from_str(&text).unwrap();
    assert_eq!(scenario.kind, scenario::Kind::Limits);
    probes::limits(&scenario, &server.servers, &AtomicBool::new(false))
}

fn limited(max_connections: u32, of_requestor: u32, queries: u32) -> Limits {
    Limits {
        max_connections,
        max_connections_per_requestor: of_requestor,
        max_queries_per_connection: queries,
        ..Limits::default()
    }
}

#[test]
fn limits_that_are_as_expected_hold() {
    let server = Server::start(limited(12, 10, 8), active());
    let outcome = probe(
        &server,
        "max-connections = 12\nmax-connections-per-requestor = 10\nmax-queries-per-connection = 8",
    );
    assert_eq!(wrong(&outcome), [""; 0], "{outcome:#?}");
    assert_eq!(outcome.faults, []);
    let of = |what: &str| found(&outcome, what).0.to_owned();
    assert_eq!(
        of("max-connections v4"),
        "12 served, 1 of them active, the next one refused"
    );
    // The other addresses of loopback are no other requestors to DHCPv6, where there is but one.
    assert!(of("max-connections v6").starts_with("not tested: one requestor may have 10"));
    for family in ["v4", "v6"] {
        let what = format!("max-connections-per-requestor {family}");
        assert_eq!(
            of(&what),
            "10 served, 1 of them active, the next one refused"
        );
        assert!(of(&format!("{what}, one too many")).starts_with("closed before any octet after"));
        assert!(of(&format!("{what}, after one was closed")).ends_with("a second one refused"));
        let of_queries = of(&format!("max-queries-per-connection {family}"));
        assert!(of_queries.starts_with("8 at a time, all"), "{of_queries}");
    }
    assert_eq!(
        of("max-connections-per-requestor v4, another requestor"),
        "served beside them"
    );
    let other = of("max-connections-per-requestor v6, another requestor");
    assert!(other.starts_with("not tested"), "{other}");
}

/// Does it with what a limit really is and what is expected, in all cases at the same time.
fn in_each_case(cases: [(u32, u32); 2], test: impl Fn(u32, u32) + Sync) {
    thread::scope(|scope| {
        for (really, expected) in cases {
            let test = &test;
            scope.spawn(move || test(really, expected));
        }
    });
}

#[test]
fn every_limit_that_is_smaller_or_larger_is_found_and_is_a_fault() {
    in_each_case([(7, 10), (10, 7)], |really, expected| {
        let server = Server::start(limited(really, 0, really), active());
        let text = format!("max-connections = {expected}\nmax-queries-per-connection = {expected}");
        let outcome = probe(&server, &text);
        let whats = [
            "max-connections v4",
            "max-queries-per-connection v4",
            "max-connections v6",
            "max-queries-per-connection v6",
        ];
        assert_eq!(wrong(&outcome), whats, "{outcome:#?}");
        for what in ["max-connections v4", "max-connections v6"] {
            let served = format!("{really} served, 1 of them active, the next one refused");
            assert_eq!(found(&outcome, what), (served.as_str(), false));
        }
        let (of_queries, _) = found(&outcome, "max-queries-per-connection v6");
        let at_a_time = format!("{really} at a time, all ");
        assert!(of_queries.starts_with(&at_a_time), "{of_queries}");
        let faults = outcome.faults.iter();
        let told: Vec<_> = faults.map(|fault| (fault.kind, &*fault.query)).collect();
        assert_eq!(told, whats.map(|what| (FaultKind::Limit, what)));
    });
}

#[test]
fn a_wrong_limit_of_one_requestor_is_found() {
    in_each_case([(3, 5), (5, 3)], |really, expected| {
        let server = Server::start(limited(20, really, 8), ActiveSettings::default());
        let text = format!("max-connections-per-requestor = {expected}");
        let outcome = probe(&server, &text);
        let whats = [
            "max-connections-per-requestor v4",
            "max-connections-per-requestor v6",
        ];
        assert_eq!(wrong(&outcome), whats);
        for what in whats {
            let served = format!(
                "{really} served (bulk only: no active query was answered), the next one refused"
            );
            assert_eq!(found(&outcome, what), (served.as_str(), false));
        }
    });
}

#[test]
fn a_server_without_a_limit_within_reach_is_found() {
    let server = Server::start(limited(5_000, 0, 8), active());
    let outcome = probe(&server, "max-connections = 4");
    let (served, holds) = found(&outcome, "max-connections v4");
    assert_eq!(
        (served, holds),
        ("at least 80 served, 1 of them active", false)
    );
}

#[test]
fn a_connection_that_takes_the_place_of_another_is_no_limit() {
    let limits = Limits {
        on_limit: leaseq_session::OnLimit::ReplaceOldest,
        ..limited(20, 4, 8)
    };
    let server = Server::start(limits, active());
    let outcome = probe(&server, "max-connections-per-requestor = 4");
    let (served, holds) = found(&outcome, "max-connections-per-requestor v4");
    assert!(
        served.contains("ended by the server meanwhile") && !holds,
        "{served}"
    );
}

#[test]
fn an_interrupted_test_tells_nothing() {
    let server = Server::start(limited(5, 0, 8), active());
    let scenario: Scenario = toml::from_str("[limits]\nmax-connections = 5").unwrap();
    let outcome = probes::limits(&scenario, &server.servers, &AtomicBool::new(true));
    assert_eq!(outcome, Outcome::default());
}

#[test]
fn limits_are_found_on_tls_too() {
    let settings = ActiveSettings {
        insecure: false,
        ..active()
    };
    let server = Server::start_secure(limited(6, 0, 3), settings.clone());
    let expected = "max-connections = 6\nmax-queries-per-connection = 3";
    let outcome = probe(&server, expected);
    assert_eq!(wrong(&outcome), [""; 0], "{outcome:#?}");
    let (served, _) = found(&outcome, "max-connections v4");
    assert_eq!(served, "6 served, 1 of them active, the next one refused");
    // Another server: the first one may still see connections that have just been closed.
    let server = Server::start_secure(limited(6, 0, 3), settings);
    let expected = "max-connections = 5\nmax-queries-per-connection = 4";
    let outcome = probe(&server, expected);
    assert_eq!(wrong(&outcome).len(), 4, "{outcome:#?}");
}
