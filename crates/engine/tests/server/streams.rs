//! Active queries: what is committed reaches every stream that it concerns, and streams end in good order.

use std::net::{IpAddr, Shutdown};
use std::time::Duration;

use leaseq_session::{ActiveSettings, CloseReason, Limits};
use leaseq_store::State;
use leaseq_wire::{v4, v6};

use crate::support::{
    Heard4, Heard6, Requestor, Setup, active4, active4_of_relay, active6, address4, address6,
    by_relay4, changed4, changed6, expected4,
};

const LEASE_ACTIVE: u8 = v4::message_type::DHCPLEASEACTIVE;
const LEASE_UNASSIGNED: u8 = v4::message_type::DHCPLEASEUNASSIGNED;
const TERMINATED6: u16 = v6::StatusCode::QueryTerminated as u16;

fn plenty() -> Limits {
    Limits {
        max_connections: 5_000,
        ..Limits::default()
    }
}

fn lease(message: Option<Heard4>) -> Option<(u8, std::net::Ipv4Addr)> {
    message.map(|heard| (heard.message_type, heard.address))
}

#[test]
fn a_committed_change_reaches_a_v4_stream() {
    let server = Setup::default().start();
    let mut stream = server.connect4();
    stream.send(&active4(5, None));
    server.until_streams(1);
    assert_eq!(server.engine.connections().len(), 1);
    server.commit(vec![changed4(3, 900, State::Active)]);
    assert_eq!(
        stream.hear4(),
        Some(Heard4::lease(5, LEASE_ACTIVE, address4(3, 900)))
    );
    server.commit(vec![changed4(3, 900, State::Released)]);
    assert_eq!(
        lease(stream.hear4()),
        Some((LEASE_UNASSIGNED, address4(3, 900)))
    );
}

#[test]
fn a_committed_change_reaches_a_v6_stream() {
    let server = Setup::default().start();
    let mut stream = server.connect6();
    stream.send(&active6(5));
    let reply = Heard6::new(5, v6::message_type::LEASEQUERY_REPLY);
    assert_eq!(stream.hear6(), Some(reply));
    let address = IpAddr::from(address6(3, 900));
    server.commit(vec![changed6(3, 900, State::Active)]);
    let heard = stream.hear6().unwrap();
    assert_eq!(heard.message_type, v6::message_type::LEASEQUERY_DATA);
    assert!(
        matches!(heard.leases[..], [(told, valid)] if told == address && valid > 0),
        "{heard:?}"
    );
    server.commit(vec![changed6(3, 900, State::Released)]);
    let heard = stream.hear6().unwrap();
    assert_eq!((heard.xid, heard.leases), (5, vec![(address, 0)]));
}

#[test]
fn a_thousand_streams_are_told_every_change_in_order() {
    let server = Setup {
        limits: plenty(),
        ..Setup::default()
    }
    .start();
    let mut wide: Vec<Requestor> = (0..700).map(|_| server.connect4()).collect();
    let mut scoped: Vec<Requestor> = (0..300).map(|_| server.connect4()).collect();
    for (xid, stream) in (1..).zip(&mut wide) {
        stream.send(&active4(xid, None));
    }
    for (xid, stream) in (1..).zip(&mut scoped) {
        stream.send(&active4_of_relay(xid, xid % 10));
    }
    server.until_streams(1_000);
    for number in 0..50 {
        server.commit(
            (0..10)
                .map(|relay| changed4(relay, 500 + number, State::Active))
                .collect(),
        );
    }
    for (xid, stream) in (1..).zip(&mut wide) {
        for number in 0..50 {
            for relay in 0..10 {
                let address = address4(relay, 500 + number);
                assert_eq!(
                    stream.hear4(),
                    Some(Heard4::lease(xid, LEASE_ACTIVE, address))
                );
            }
        }
    }
    for (xid, stream) in (1..).zip(&mut scoped) {
        for number in 0..50 {
            let address = address4(xid % 10, 500 + number);
            assert_eq!(
                stream.hear4(),
                Some(Heard4::lease(xid, LEASE_ACTIVE, address))
            );
        }
    }
}

#[test]
fn a_stream_catches_up_and_goes_on_live() {
    let server = Setup::default().start();
    let mut stream = server.connect4();
    stream.send(&active4(5, Some(1)));
    let mut told = 0;
    let last = loop {
        let heard = stream.hear4().unwrap();
        if heard.message_type != LEASE_ACTIVE {
            break heard;
        }
        told += 1;
    };
    assert_eq!(last, Heard4::status(5, v4::StatusCode::CatchUpComplete));
    assert_eq!(told, 200, "each binding once");
    server.commit(vec![changed4(1, 900, State::Active)]);
    assert_eq!(
        lease(stream.hear4()),
        Some((LEASE_ACTIVE, address4(1, 900)))
    );
}

#[test]
fn an_idle_stream_is_kept_alive() {
    let server = Setup {
        active: ActiveSettings {
            idle_timeout: Duration::from_millis(100),
            ..Setup::default().active
        },
        ..Setup::default()
    }
    .start();
    let mut fourth = server.connect4();
    fourth.send(&active4(5, None));
    let mut sixth = server.connect6();
    sixth.send(&active6(6));
    let reply = Heard6::new(6, v6::message_type::LEASEQUERY_REPLY);
    assert_eq!(sixth.hear6(), Some(reply));
    for _ in 0..3 {
        let alive = Heard4::status(5, v4::StatusCode::ConnectionActive);
        assert_eq!(fourth.hear4(), Some(alive));
        let alive = Heard6::new(6, v6::message_type::LEASEQUERY_DATA);
        assert_eq!(sixth.hear6(), Some(alive));
    }
}

#[test]
fn shutting_down_ends_streams_with_query_terminated() {
    let server = Setup::default().start();
    let mut fourth = server.connect4();
    fourth.send(&active4(5, None));
    let mut sixth = server.connect6();
    sixth.send(&active6(6));
    server.until_streams(2);
    server.commit(vec![
        changed4(1, 900, State::Active),
        changed6(1, 900, State::Active),
    ]);
    let readers = [
        std::thread::spawn(move || {
            let last = fourth.last4();
            assert_eq!(
                last,
                Some(Heard4::status(5, v4::StatusCode::QueryTerminated))
            );
        }),
        std::thread::spawn(move || {
            let last = sixth.last6().unwrap();
            assert_eq!((last.xid, last.status), (6, Some(TERMINATED6)));
        }),
    ];
    server.engine.shutdown();
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(server.closed(CloseReason::Shutdown), (1, 1));
    // Nobody is left to be told.
    server.commit(vec![changed4(1, 901, State::Active)]);
}

#[test]
fn a_query_beside_a_stream_ends_both_in_good_order() {
    let server = Setup::default().start();
    let mut stream = server.connect4();
    stream.send(&active4(5, None));
    server.until_streams(1);
    stream.send(&by_relay4(6, 1));
    let refusal = stream.message().unwrap();
    let refusal = v4::Message::parse(&refusal).unwrap();
    let status = refusal.option(v4::option_code::STATUS_CODE).unwrap();
    assert_eq!(
        (refusal.xid(), status.bytes().next()),
        (6, Some(v4::StatusCode::NotAllowed as u8))
    );
    let last = Heard4::status(5, v4::StatusCode::QueryTerminated);
    assert_eq!(stream.last4(), Some(last));
    assert_eq!(server.closed(CloseReason::BesideActive), (1, 0));
    let mut other = server.connect4();
    other.send(&by_relay4(6, 1));
    assert_eq!(other.recover4(), expected4(1, 20));
}

#[test]
fn where_active_leasequery_is_not_enabled_v4_is_closed_and_v6_told_so() {
    let server = Setup {
        active: ActiveSettings::default(),
        ..Setup::default()
    }
    .start();
    let mut fourth = server.connect4();
    fourth.send(&active4(5, None));
    assert!(fourth.is_closed());
    let mut sixth = server.connect6();
    sixth.send(&active6(6));
    let refusal = sixth.last6().unwrap();
    assert_eq!(
        (refusal.message_type, refusal.status),
        (
            v6::message_type::LEASEQUERY_REPLY,
            Some(v6::StatusCode::NotSupported as u16)
        )
    );
}

#[test]
fn streams_whose_requestors_close_their_side_are_ended() {
    let server = Setup::default().start();
    let mut fourth = server.connect4();
    fourth.send(&active4(5, None));
    let mut sixth = server.connect6();
    sixth.send(&active6(6));
    server.until_streams(2);
    fourth.stream.shutdown(Shutdown::Write).unwrap();
    sixth.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(fourth.last4(), None);
    let last = sixth.last6().unwrap();
    assert_eq!((last.xid, last.status), (6, Some(TERMINATED6)));
    server.until_streams(0);
    assert_eq!(server.closed(CloseReason::PeerClosed), (1, 1));
}
