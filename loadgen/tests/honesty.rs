//! The generator finds what is wrong: each fault of a deliberately broken server, and whose it is.

mod common;

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::thread;

use common::broken::{Break, Broken};
use common::{Run, Server, Setup, change};
use leaseq_loadgen::fault::FaultKind;
use leaseq_loadgen::result::State;
use leaseq_loadgen::work::board::Phase;
use leaseq_loadgen::work::plan::Outcome;
use leaseq_requestor::Family;

const RELAYS: u32 = 6;
const BINDINGS: u32 = 12;
/// What the relay-ids of made-up relays begin with; the number of the relay follows.
const RELAY_ID: [u8; 6] = [0, 3, 0, 1, 2, 0x6c];

/// What came of a run against a server that does one thing wrong.
struct Seen {
    outcome: Outcome,
    /// The relay that it was done to.
    victim: u32,
}

/// The third of six relays to connect is told one thing that is wrong while it recovers.
fn recover(family: Family, what: Break) -> Seen {
    let server = server();
    let (broken, number) = broken(&server, family, what, 5);
    let scenario = format!(
        r#"
        patience = "2s"
        [[group]]
        name = "recovering"
        family = {number}
        behaviour = "recover"
        by = "relay-id"
        "#
    );
    let outcome = through(&broken, server.run(&scenario)).finish(&mut |_| {});
    Seen {
        outcome,
        victim: victim(&broken),
    }
}

fn server() -> Server {
    Setup {
        relays: RELAYS,
        bindings_per_relay: BINDINGS,
        ..Setup::default()
    }
    .start()
}

/// What stands before a server and breaks one message, and the number of its family.
fn broken(server: &Server, family: Family, what: Break, message: u32) -> (Broken, u32) {
    let addresses = server.engine.addresses();
    let (upstream, number) = match family {
        Family::V4 => (addresses.dhcp4_tcp[0], 4),
        Family::V6 => (addresses.dhcp6_tcp[0], 6),
    };
    (Broken::before(upstream, family, what, 2, message), number)
}

/// The same run, whose relays connect to what is broken.
fn through(broken: &Broken, mut run: Run) -> Run {
    run.plan.server4 = Some(broken.address);
    run.plan.server6 = Some(broken.address);
    run
}

/// Number of the relay that the wrong thing was done to.
fn victim(broken: &Broken) -> u32 {
    assert!(broken.is_done(), "the wrong thing was not done");
    let request = broken.request();
    let at = request
        .windows(RELAY_ID.len())
        .position(|octets| octets == RELAY_ID)
        .expect("a query by relay-id");
    let number = &request[at + RELAY_ID.len()..][..4];
    u32::from_be_bytes(number.try_into().unwrap())
}

/// The third of six relays to connect is told one thing that is wrong while it follows: of the changes after what catch-up
/// tells.
fn follow(family: Family, what: Break) -> Seen {
    const SOME_CHANGE: u32 = 14;
    let server = server();
    let (broken, number) = broken(&server, family, what, SOME_CHANGE);
    let scenario = format!(
        r#"
        duration = "10m"
        patience = "2s"
        interval = "10ms"
        [changes]
        per-second = 1
        release-percent = 0
        [[group]]
        name = "following"
        family = {number}
        behaviour = "follow"
        by = "relay-id"
        catch-up = "all"
        "#
    );
    let run = through(&broken, server.run(&scenario));
    let (follow, followed) = channel();
    let outcome = thread::scope(|scope| {
        let (server, run) = (&server, &run);
        scope.spawn(move || {
            if followed.iter().any(|relays| relays >= RELAYS) {
                change(server, run, u64::from(RELAYS * BINDINGS));
            }
            run.board.set_phase(Phase::Settling);
        });
        run.finish(&mut move |progress| {
            let relays = progress.states.get(&State::Following).copied();
            // Who has seen enough listens no more.
            let _ = follow.send(relays.unwrap_or_default());
        })
    });
    Seen {
        outcome,
        victim: victim(&broken),
    }
}

/// Runs it in both families, and checks that these kinds of fault are found, at least one and no other, and nobody but the
/// victim is accused.
fn finds(what: Break, kinds: &[FaultKind], with_octets: bool) {
    finds_in(recover, what, kinds, with_octets);
}

fn finds_in(run: fn(Family, Break) -> Seen, what: Break, kinds: &[FaultKind], with_octets: bool) {
    for family in [Family::V4, Family::V6] {
        let Seen { outcome, victim } = run(family, what);
        let found: BTreeSet<FaultKind> = outcome.faults.keys().copied().collect();
        assert!(
            !found.is_empty() && found.iter().all(|kind| kinds.contains(kind)),
            "{family:?} {what:?}: {:?}",
            outcome.first_faults
        );
        assert!(found.contains(&kinds[0]), "{family:?} {what:?}: {found:?}");
        for fault in &outcome.first_faults {
            assert_eq!(fault.relay, victim, "{family:?} {what:?}: {fault}");
            assert!(fault.query.contains("relay-id"), "{fault}");
        }
        let first = outcome
            .first_faults
            .iter()
            .find(|fault| fault.kind == kinds[0]);
        let has_octets = first.is_some_and(|fault| !fault.octets.is_empty());
        assert_eq!(has_octets, with_octets, "{family:?} {what:?}: {first:?}");
    }
}

#[test]
fn a_binding_that_is_not_told() {
    finds(Break::Drop, &[FaultKind::Missing], false);
}

#[test]
fn a_binding_that_is_told_twice() {
    finds(Break::Repeat, &[FaultKind::Repeated], true);
}

#[test]
fn an_answer_that_is_cut() {
    finds(Break::Cut, &[FaultKind::Lost], false);
    finds(Break::NoEnd, &[FaultKind::Lost], false);
}

#[test]
fn an_answer_that_is_late() {
    finds(Break::Silence, &[FaultKind::Late], false);
}

#[test]
fn an_answer_to_nobody_s_question() {
    finds(Break::WrongXid, &[FaultKind::UnknownXid], true);
    finds(Break::SecondEnd, &[FaultKind::UnknownXid], true);
}

#[test]
fn a_binding_with_another_content() {
    finds(
        Break::OtherClient,
        &[
            FaultKind::Different,
            FaultKind::Unexpected,
            FaultKind::Missing,
        ],
        true,
    );
    finds(Break::OtherRelay, &[FaultKind::Different], true);
}

#[test]
fn a_binding_that_the_store_does_not_have() {
    finds(
        Break::OtherAddress,
        &[FaultKind::Unexpected, FaultKind::Missing],
        true,
    );
}

#[test]
fn times_that_are_not_the_store_s() {
    for what in [
        Break::LongerLease,
        Break::EarlierTransaction,
        Break::FutureBaseTime,
    ] {
        // What is told with lifetimes that never were is not told, and after a base-time ahead the right one goes back.
        let kinds = [FaultKind::Times, FaultKind::Missing, FaultKind::Order];
        finds(what, &kinds, true);
    }
}

#[test]
fn octets_that_are_no_message() {
    finds(Break::Overrun, &[FaultKind::Protocol], true);
    finds(Break::EmptyFrame, &[FaultKind::Protocol], true);
}

#[test]
fn a_failure() {
    finds(Break::Failure, &[FaultKind::Status], true);
}

#[test]
fn a_change_that_a_stream_does_not_tell() {
    finds_in(follow, Break::Drop, &[FaultKind::EndState], false);
}

#[test]
fn a_change_that_a_stream_tells_wrongly() {
    let others = [FaultKind::Different, FaultKind::EndState];
    finds_in(follow, Break::OtherClient, &others, true);
    finds_in(follow, Break::OtherRelay, &others, true);
    let times = [FaultKind::Times, FaultKind::Order, FaultKind::EndState];
    finds_in(follow, Break::FutureBaseTime, &times, true);
    finds_in(follow, Break::WrongXid, &[FaultKind::UnknownXid], true);
}
