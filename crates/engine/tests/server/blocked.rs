//! Requestors that take nothing: they are ended by the right timeout, cost a bounded amount of memory, and slow nobody.

use std::time::Duration;

use leaseq_session::{ActiveSettings, CloseReason, Limits};
use leaseq_store::State;
use leaseq_wire::v4;

use crate::support::{
    Heard4, Requestor, Server, Setup, active4, active4_of_relay, address4, changed4, until,
};

const LEASE_ACTIVE: u8 = v4::message_type::DHCPLEASEACTIVE;
/// Requestors beside the blocked one, each with a stream for its own relay.
const BESIDE: u32 = 1_000;
/// What may wait for one blocked requestor, in octets: a small chunk, and a frame that was begun.
const WAITING: u64 = 128 << 10;

fn plenty() -> Limits {
    Limits {
        max_connections: 5_000,
        ..Limits::default()
    }
}

fn start(send_timeout: Duration) -> Server {
    Setup {
        limits: plenty(),
        active: ActiveSettings {
            send_timeout,
            ..Setup::default().active
        },
        relays: 1,
        bindings: 1,
        ..Setup::default()
    }
    .start()
}

/// Streams for one relay each.
fn beside(server: &Server) -> Vec<Requestor> {
    let mut streams: Vec<Requestor> = (0..BESIDE).map(|_| server.connect4()).collect();
    for (relay, stream) in (0..).zip(&mut streams) {
        stream.send(&active4_of_relay(relay, relay));
    }
    server.until_streams(u64::from(BESIDE));
    streams
}

/// Changes binding `number` of every relay, and has every stream told so.
fn round(server: &Server, streams: &mut [Requestor], number: u32) {
    server.commit(
        (0..BESIDE)
            .map(|relay| changed4(relay, number, State::Active))
            .collect(),
    );
    for (relay, stream) in (0..).zip(streams) {
        let told = Heard4::lease(relay, LEASE_ACTIVE, address4(relay, number));
        assert_eq!(stream.hear4(), Some(told));
    }
}

#[test]
fn a_backlog_takes_no_memory_and_is_told_once_it_is_read() {
    let server = start(Duration::from_secs(600));
    let mut streams = beside(&server);
    let mut blocked = Requestor::connect_narrow(server.engine.addresses().dhcp4_tcp[0]);
    blocked.send(&active4(77, None));
    server.until_streams(u64::from(BESIDE) + 1);
    for number in 0..100 {
        round(&server, &mut streams, 500 + number);
        assert!(
            server.engine.stats().waiting_octets() <= WAITING,
            "{} octets wait after {number} rounds",
            server.engine.stats().waiting_octets()
        );
    }
    assert_eq!(server.closed(CloseReason::SendBlocked), (0, 0));
    // It was the last to connect.
    let info = || server.engine.connections().pop().unwrap();
    let stream = info().stream.unwrap();
    assert!(
        stream.behind_records > 50_000 && !stream.behind.is_zero() && !stream.catching_up,
        "{stream:?}"
    );
    assert!(info().blocked.is_some());
    assert_eq!(server.engine.connections()[0].blocked, None);
    // It reads at last: it is told each of the 100,000 bindings, in the order of the log.
    for number in 0..100 {
        for relay in 0..BESIDE {
            let told = Heard4::lease(77, LEASE_ACTIVE, address4(relay, 500 + number));
            assert_eq!(blocked.hear4(), Some(told));
        }
    }
    until("nothing waits", || {
        server.engine.stats().waiting_octets() == 0
    });
    until("it is told to be at the tail", || {
        info().stream.unwrap().behind_records == 0
    });
    assert_eq!(info().blocked, None);
}

#[test]
fn a_stream_that_takes_nothing_for_the_send_timeout_is_ended_beside_a_thousand_others() {
    let server = start(Duration::from_millis(500));
    let mut streams = beside(&server);
    let mut blocked = Requestor::connect_narrow(server.engine.addresses().dhcp4_tcp[0]);
    blocked.send(&active4(77, None));
    server.until_streams(u64::from(BESIDE) + 1);
    let mut number = 0;
    while server.closed(CloseReason::SendBlocked) == (0, 0) {
        number += 1;
        assert!(number < 1_000, "the blocked one is not ended");
        round(&server, &mut streams, number);
    }
    assert_eq!(server.closed(CloseReason::SendBlocked), (1, 0));
    until("its memory is free", || {
        server.engine.stats().waiting_octets() == 0
    });
    round(&server, &mut streams, number + 1);
}

#[test]
fn a_dead_requestor_is_found_by_what_it_does_not_acknowledge() {
    let server = start(Duration::from_millis(500));
    let mut living = server.connect4();
    living.send(&active4(5, None));
    let mut dead = server.connect4();
    dead.send(&active4(6, None));
    server.until_streams(2);
    dead.die();
    // One message, which the kernel takes: nothing but the missing acknowledgement tells that nobody reads it.
    server.commit(vec![changed4(0, 10, State::Active)]);
    let told = Heard4::lease(5, LEASE_ACTIVE, address4(0, 10));
    assert_eq!(living.hear4(), Some(told));
    until("the dead one is ended", || {
        server.closed(CloseReason::SendBlocked) == (1, 0)
    });
    until("it is gone", || server.engine.connections().len() == 1);
    server.commit(vec![changed4(0, 11, State::Active)]);
    let told = Heard4::lease(5, LEASE_ACTIVE, address4(0, 11));
    assert_eq!(living.hear4(), Some(told));
}
