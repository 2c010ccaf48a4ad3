//! Limits on connections and queries, and what waits for a requestor that says nothing: each with its counter.

use std::net::{Shutdown, UdpSocket};
use std::time::Duration;

use leaseq_session::{CloseReason, Discard, Family, Limits, OnLimit, Refusal};
use leaseq_store::State;
use leaseq_wire::v4;

use crate::support::{
    Heard4, PATIENCE, Requestor, Setup, active4, address4, all4, by_relay4, by_relay6, changed4,
    expected4, expected6, udp4, until,
};

/// A second connection takes the place of the first.
fn one_each() -> Limits {
    Limits {
        max_connections_per_requestor: 1,
        on_limit: OnLimit::ReplaceOldest,
        ..Limits::default()
    }
}

#[test]
fn a_new_connection_takes_the_place_of_the_oldest() {
    let server = Setup {
        limits: one_each(),
        ..Setup::default()
    }
    .start();
    let mut first = server.connect4();
    first.send(&active4(5, None));
    server.until_streams(1);
    let mut second = server.connect4();
    second.send(&by_relay4(6, 1));
    assert_eq!(second.recover4(), expected4(1, 20));
    let last = Heard4::status(5, v4::StatusCode::QueryTerminated);
    assert_eq!(first.last4(), Some(last));
    assert_eq!(server.closed(CloseReason::Replaced), (1, 0));
    assert_eq!(server.engine.open_connections(Family::V4), 1);
    second.send(&by_relay4(7, 2));
    assert_eq!(second.recover4(), expected4(2, 20));
}

#[test]
fn a_dead_predecessor_is_not_waited_for() {
    let server = Setup {
        limits: one_each(),
        relays: 100,
        bindings: 200,
        shutdown_timeout: Duration::from_millis(300),
        ..Setup::default()
    }
    .start();
    let mut dead = Requestor::connect_narrow(server.engine.addresses().dhcp4_tcp[0]);
    dead.send(&all4(5));
    dead.message().expect("the query has begun");
    dead.die();
    let mut next = server.connect4();
    next.send(&active4(6, None));
    server.until_streams(1);
    server.commit(vec![changed4(1, 900, State::Active)]);
    let told = Heard4::lease(6, v4::message_type::DHCPLEASEACTIVE, address4(1, 900));
    assert_eq!(next.hear4(), Some(told));
    // The data-timeout is five minutes; the one that is dead goes long before.
    until("the dead one is gone", || {
        server.engine.connections().len() == 1 && server.engine.stats().waiting_octets() == 0
    });
    assert_eq!(server.closed(CloseReason::Replaced), (1, 0));
}

#[test]
fn a_requestor_has_its_own_maximum_for_bulk_and_active_together() {
    let server = Setup {
        limits: Limits {
            max_connections_per_requestor: 2,
            ..Limits::default()
        },
        ..Setup::default()
    }
    .start();
    let mut stream = server.connect4();
    stream.send(&active4(5, None));
    server.until_streams(1);
    let mut bulk = server.connect4();
    bulk.send(&by_relay4(6, 1));
    assert_eq!(bulk.recover4(), expected4(1, 20));
    assert!(server.connect4().is_closed());
    assert_eq!(server.refused4(Refusal::MaxConnectionsPerRequestor), 1);
    // Another requestor has its own two, and so has the other family.
    let address = server.engine.addresses().dhcp4_tcp[0];
    let mut other = Requestor::connect_from("127.0.0.2".parse().unwrap(), address);
    other.send(&by_relay4(7, 2));
    assert_eq!(other.recover4(), expected4(2, 20));
    let mut sixth = server.connect6();
    sixth.send(&by_relay6(8, 3));
    assert_eq!(sixth.recover6(), expected6(3, 20));
    // A stream that goes makes room.
    stream.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.last4(), None);
    until("its place is free", || {
        server.engine.open_connections(Family::V4) == 2
    });
    let mut next = server.connect4();
    next.send(&by_relay4(9, 4));
    assert_eq!(next.recover4(), expected4(4, 20));
}

#[test]
fn streams_count_among_all_connections() {
    let server = Setup {
        limits: Limits {
            max_connections: 2,
            ..Limits::default()
        },
        ..Setup::default()
    }
    .start();
    let mut stream = server.connect4();
    stream.send(&active4(5, None));
    server.until_streams(1);
    let _idle = server.connect4();
    assert!(server.connect4().is_closed());
    assert_eq!(server.refused4(Refusal::MaxConnections), 1);
}

#[test]
fn queries_above_the_rate_are_read_later_and_all_answered() {
    let server = Setup {
        limits: Limits {
            queries_per_second: 20,
            ..Limits::default()
        },
        ..Setup::default()
    }
    .start();
    let mut requestor = server.connect4();
    let queries: Vec<Vec<u8>> = (0..30).map(|xid| by_relay4(xid, xid % 10)).collect();
    requestor.send(&queries.concat());
    let mut addresses = 0;
    for _ in 0..30 {
        addresses += requestor.recover4().addresses.len();
    }
    // Replies of queries that run at a time interleave, so an answer may hold what belongs to others.
    assert_eq!(addresses, 30 * 20);
    assert!(server.delayed4() > 0, "some were kept back");
}

#[test]
fn datagrams_above_the_rate_are_discarded_and_counted() {
    let server = Setup {
        limits: Limits {
            udp_queries_per_second: 5,
            ..Limits::default()
        },
        ..Setup::default()
    }
    .start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = server.engine.addresses().dhcp4_udp[0];
    let mut sent = 0;
    // However fast they come, a second's worth of them is answered at once.
    while server.discarded_datagrams4(Discard::RateLimit) == 0 {
        sent += 1;
        socket
            .send_to(&udp4(sent, address4(3, 4)), address)
            .unwrap();
    }
    for _ in 0..5 {
        let length = socket.recv(&mut [0; 2_000]).unwrap();
        assert!(length > 0);
    }
}

#[test]
fn queries_of_a_connection_run_one_after_another_where_one_at_a_time_is_allowed() {
    let server = Setup {
        limits: Limits {
            max_queries_per_connection: 1,
            ..Limits::default()
        },
        bindings: 200,
        ..Setup::default()
    }
    .start();
    let mut requestor = server.connect4();
    let queries: Vec<Vec<u8>> = (0..10).map(|relay| by_relay4(relay, relay)).collect();
    requestor.send(&queries.concat());
    for relay in 0..10 {
        // Were two of them to run at a time, their messages would interleave.
        assert_eq!(requestor.recover4(), expected4(relay, 200));
    }
}

#[test]
fn queries_that_find_nothing_end_their_connection() {
    let server = Setup {
        limits: Limits {
            max_empty_replies: 3,
            ..Limits::default()
        },
        ..Setup::default()
    }
    .start();
    let mut requestor = server.connect4();
    for xid in 0..2 {
        requestor.send(&by_relay4(xid, 4_711));
        assert!(requestor.recover4().addresses.is_empty());
    }
    // One that finds something begins the count anew.
    requestor.send(&by_relay4(2, 1));
    assert_eq!(requestor.recover4(), expected4(1, 20));
    for xid in 3..6 {
        requestor.send(&by_relay4(xid, 4_711));
        let told = requestor.recover4();
        assert!(told.addresses.is_empty() && !told.ended);
    }
    assert!(requestor.is_closed());
    assert_eq!(server.closed(CloseReason::EmptyReplies), (1, 0));
}

#[test]
fn half_a_query_on_a_stream_times_out_and_the_stream_ends_in_good_order() {
    let server = Setup {
        limits: Limits {
            data_timeout: Duration::from_millis(300),
            ..Limits::default()
        },
        ..Setup::default()
    }
    .start();
    let mut stream = server.connect4();
    stream.send(&active4(5, None));
    server.until_streams(1);
    let mut whole = server.connect4();
    whole.send(&active4(6, None));
    server.until_streams(2);
    let query = by_relay4(6, 1);
    stream.send(&query[..query.len() / 2]);
    let last = Heard4::status(5, v4::StatusCode::QueryTerminated);
    assert_eq!(stream.last4(), Some(last));
    assert_eq!(server.closed(CloseReason::ReadBlocked), (1, 0));
    // A stream that only listens is not idle, however long it says nothing.
    server.commit(vec![changed4(1, 900, State::Active)]);
    let told = Heard4::lease(6, v4::message_type::DHCPLEASEACTIVE, address4(1, 900));
    assert_eq!(whole.hear4(), Some(told));
    assert_eq!(server.closed(CloseReason::Idle), (0, 0));
}

#[test]
fn a_half_closed_v6_connection_is_closed_when_its_queries_are_done() {
    let server = Setup::default().start();
    let mut requestor = server.connect6();
    requestor.send(&by_relay6(1, 1));
    requestor.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(requestor.recover6(), expected6(1, 20));
    assert!(requestor.is_closed());
    until("it is counted", || {
        server.closed(CloseReason::PeerClosed) == (0, 1)
    });
}

#[test]
fn the_data_threads_answer_until_they_have_ended() {
    let server = Setup::default().start();
    assert!(server.engine.answers(PATIENCE));
    server.engine.shutdown();
    assert!(!server.engine.answers(PATIENCE));
}
