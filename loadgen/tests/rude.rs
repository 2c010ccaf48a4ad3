//! Relays that do not keep to the rules, against a real server, beside polite ones.

mod common;

use std::time::Duration;

use common::Setup;
use leaseq_loadgen::measure::{Count, Measures};
use leaseq_loadgen::work::plan::Outcome;
use leaseq_session::Limits;

/// Seconds that rude relays go on.
const DURATION: u64 = 3;
/// Polite recoveries beside them.
const POLITE: u64 = 10 * 40;
/// What a requestor may have.
const OF_REQUESTOR: u32 = 40;

fn start() -> common::Server {
    Setup {
        relays: 50,
        bindings_per_relay: 100,
        limits: Limits {
            max_connections: 5_000,
            max_connections_per_requestor: OF_REQUESTOR,
            data_timeout: Duration::from_millis(700),
            ..Limits::default()
        },
        is_secure: true,
        ..Setup::default()
    }
    .start()
}

/// A group of rude relays of DHCPv4, each another requestor.
fn group(name: &str, keys: &str) -> String {
    format!(
        "[[group]]\nname = \"{name}\"\nfamily = 4\nbehaviour = \"{name}\"\nat-once = 4\nrounds = \"until-end\"\nsource = \"127.66.0.0/16\"\n{keys}\n"
    )
}

/// Rude relays beside polite ones, who must not notice.
fn run(groups: &[String]) -> Outcome {
    let polite = "duration = \"3s\"\npatience = \"60s\"\n[[group]]\nname = \"polite\"\nfamily = 4\nbehaviour = \"recover\"\nat-once = 10\nrounds = 8\nsource = \"127.65.0.0/16\"\n";
    let server = start();
    let outcome = server
        .run(&format!("{polite}{}", groups.concat()))
        .finish(&mut |_| {});
    assert_eq!(outcome.first_faults, []);
    let measures = of(&outcome, "polite");
    assert_eq!(measures.counted(Count::Recoveries), POLITE);
    assert_eq!(measures.counted(Count::Bindings), POLITE * 100);
    assert_eq!(measures.counted(Count::Refused), 0);
    assert_eq!(measures.counted(Count::LostConnections), 0);
    outcome
}

fn of<'o>(outcome: &'o Outcome, name: &str) -> &'o Measures {
    let mut groups = outcome.groups.iter();
    &groups.find(|group| group.name == name).unwrap().measures
}

#[test]
fn those_that_say_nothing_or_nonsense_are_ended_by_the_server() {
    let tls = "tls = true";
    let outcome = run(&[
        group("silent", ""),
        group("half-query", tls),
        group("rubbish", ""),
    ]);
    for name in ["silent", "half-query", "rubbish"] {
        let measures = of(&outcome, name);
        assert_eq!(measures.counted(Count::Recoveries), 0, "{name}");
        let connections = measures.counted(Count::Connections);
        let ended = measures.counted(Count::EndedByServer) + measures.counted(Count::Refused);
        assert!(
            4 <= ended && ended <= connections,
            "{name}: {:?}",
            measures.counts
        );
        // Each of the four connects again when it is ended.
        assert!(4 < connections && connections <= ended + 4, "{name}");
    }
}

/// So many octets were read on each connection, but for the last one of each of the four places, which the end of the run may
/// have come between.
fn assert_read(measures: &Measures, octets: u64) {
    let connections = measures.counted(Count::Connections);
    let read = measures.counted(Count::Octets);
    let (least, most) = ((connections - 4) * octets, connections * octets);
    assert!(least <= read && read <= most, "{:?}", measures.counts);
}

#[test]
fn those_that_do_not_read_are_ended_and_those_that_read_slowly_are_not() {
    let outcome = run(&[
        group("stop-reading", "by = \"all\"\nafter = 1000"),
        group("read-slowly", "octets-per-second = 60000"),
        group("reset", "after = 500\npause = \"10ms\""),
        group(
            "read-slowly",
            "octets-per-second = 40000\nby = \"all\"\ntls = true",
        )
        .replacen("read-slowly", "for-ever", 1),
    ]);
    let deaf = of(&outcome, "stop-reading");
    assert!(deaf.counted(Count::EndedByServer) >= 4, "{:?}", deaf.counts);
    // Each of them reads what it is to read, and no more.
    assert_read(deaf, 1_000);
    let slow = of(&outcome, "read-slowly");
    assert_eq!(slow.counted(Count::EndedByServer), 0, "{:?}", slow.counts);
    let recoveries = slow.counted(Count::Recoveries);
    assert!(recoveries >= 4 && slow.counted(Count::Bindings) == recoveries * 100);
    // What is read at a time is the most by which it is more.
    let most = 4 * (DURATION * 60_000 + 6_000 * (recoveries + 4));
    assert!(slow.counted(Count::Octets) <= most, "{:?}", slow.counts);
    let endless = of(&outcome, "for-ever");
    assert_eq!(
        endless.counted(Count::EndedByServer),
        0,
        "{:?}",
        endless.counts
    );
    assert_eq!(endless.counted(Count::Connections), 4);
    let reset = of(&outcome, "reset");
    assert!(reset.counted(Count::Connections) > 4, "{:?}", reset.counts);
    assert_read(reset, 500);
    assert_eq!(reset.counted(Count::EndedByServer), 0, "{:?}", reset.counts);
}

#[test]
fn those_that_connect_for_ever_do_so_at_a_bounded_rate() {
    let one = "source = \"127.67.0.1/32\"";
    let from_one = |name| group(name, "").replace("source = \"127.66.0.0/16\"", one);
    let outcome = run(&[group("reconnect", ""), from_one("ignore-limit")]);
    let most = 4 * (DURATION * 100 + 1);
    let reconnecting = of(&outcome, "reconnect").counted(Count::Connections);
    assert!(4 < reconnecting && reconnecting <= most, "{reconnecting}");
    let beyond = of(&outcome, "ignore-limit");
    let connections = beyond.counted(Count::Connections);
    assert!(u64::from(OF_REQUESTOR) < connections && connections <= most);
    assert!(beyond.counted(Count::Refused) > 0, "{:?}", beyond.counts);
}
