//! How an active query ends (RFC 7724 §8.2 to §8.4): refused, beside another query, with the server, with its requestor.

use std::time::Duration;

use leaseq_session::{CloseReason, Fate, QueryEnd, Settings};
use leaseq_store::{Event4, State};

use crate::fixture::{Requestor, START, Server, active_settings, lease, relay_id, settings};
use crate::message::{Message4, Query4};

const SECOND: Duration = Duration::from_secs(1);

const DONE: u8 = 15;
const STATUS: u8 = 17;

const QUERY_TERMINATED: u8 = 2;
const MALFORMED_QUERY: u8 = 3;
const NOT_ALLOWED: u8 = 4;

/// 900 leases behind relay agent 0.
fn server() -> Server {
    server_with(active_settings())
}

fn server_with(settings: Settings) -> Server {
    let server = Server::with(settings, vec![]);
    server.store((0..900_u32).map(|client| {
        let [_, _, high, low] = client.to_be_bytes();
        lease([100, 64, high, low], client)
    }));
    server
}

/// 900 bindings to be told take a while.
fn long_bulk(xid: u32) -> Query4 {
    Query4::bulk(xid).relay_id(&relay_id(0))
}

fn stream(server: &Server, xid: u32) -> Requestor {
    let mut requestor = server.connect();
    requestor.ask(&Query4::active(xid));
    requestor.run(server);
    assert!(requestor.connection.is_stream());
    requestor
}

/// Transaction id, message type and status of each message that has a status.
fn statuses(messages: &[Message4]) -> Vec<(u32, u8, u8)> {
    let status = |message: &Message4| Some((message.xid, message.message_type, message.status()?));
    messages.iter().filter_map(status).collect()
}

fn closed(server: &Server, reason: CloseReason) -> u64 {
    server.counters.v4.closed.of(reason).get()
}

/// QueryTerminated is the last message and carries base-time; the connection is closed.
fn assert_terminated(requestor: &Requestor, messages: &[Message4], base: u32, reason: CloseReason) {
    let last = messages.last().expect("a message");
    assert_eq!(
        (last.message_type, last.status()),
        (STATUS, Some(QUERY_TERMINATED))
    );
    assert_eq!(last.number(152), Some(base));
    assert!(last.options[&151].len() > 1, "with a reason in words");
    assert_eq!(requestor.connection.fate(), Fate::CloseWhenWritten(reason));
}

#[test]
fn what_is_wrong_with_a_query_is_said_and_the_connection_is_closed() {
    let server = server();
    for query in [
        Query4::active(7).address([100, 64, 0, 1]),
        Query4::active(7).hwaddr(1, &[2, 0x5e, 0x10, 0, 0, 1]),
        Query4::active(7).client_id(&[1, 2, 3]),
        Query4::active(7).until(START),
        Query4::active(7).since(START).until(START),
        Query4::active(7).option(154, &[1]),
        Query4::active(7).vpn(b"\0blue"),
    ] {
        let mut requestor = server.connect();
        requestor.ask(&query);
        let told = requestor.hear(&server);
        assert_eq!(statuses(&told), [(7, STATUS, MALFORMED_QUERY)]);
        assert_eq!((told.len(), told[0].number(152)), (1, Some(START)));
        assert_eq!(
            requestor.connection.fate(),
            Fate::CloseWhenWritten(CloseReason::QueryFailed)
        );
    }
    assert_eq!(
        server.counters.v4.ended.of(QueryEnd::MalformedQuery).get(),
        7
    );
    assert_eq!(server.counters.v4.streams_opened.get(), 0);
}

#[test]
fn a_query_of_a_relay_agent_is_not_allowed_where_that_is_not_switched_on() {
    let server = server();
    let mut requestor = server.connect();
    requestor.ask(&Query4::active(7).relay_id(&relay_id(0)));
    let told = requestor.hear(&server);
    assert_eq!(statuses(&told), [(7, STATUS, NOT_ALLOWED)]);
    assert_eq!(closed(&server, CloseReason::QueryFailed), 1);
}

#[test]
fn where_active_leasequery_is_not_enabled_it_closes_the_connection() {
    let server = server_with(settings());
    let mut requestor = server.connect();
    requestor.ask(&Query4::active(7));
    assert_eq!(requestor.hear(&server), []);
    assert_eq!(
        requestor.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::UnsupportedMessage)
    );
}

#[test]
fn a_second_active_query_is_refused_and_ends_the_first() {
    let server = server();
    let mut requestor = stream(&server, 1);
    requestor.ask(&Query4::active(2));
    let told = requestor.hear(&server);
    assert_eq!(
        statuses(&told),
        [(2, STATUS, NOT_ALLOWED), (1, STATUS, QUERY_TERMINATED)]
    );
    assert_terminated(&requestor, &told, START, CloseReason::BesideActive);
    assert_eq!(closed(&server, CloseReason::BesideActive), 1);
    assert_eq!(server.hub.streams(), 0);
    assert_eq!(server.counters.v4.streams_closed.get(), 1);
}

#[test]
fn a_second_active_query_of_the_same_transaction_id_ends_the_first_too() {
    let server = server();
    let mut requestor = stream(&server, 1);
    requestor.ask(&Query4::active(1));
    let told = requestor.hear(&server);
    assert_eq!(
        statuses(&told),
        [(1, STATUS, MALFORMED_QUERY), (1, STATUS, QUERY_TERMINATED)]
    );
    assert_terminated(&requestor, &told, START, CloseReason::DuplicateXid);
}

#[test]
fn a_bulk_query_beside_an_active_one_is_refused_and_ends_it() {
    let server = server();
    let mut requestor = stream(&server, 1);
    requestor.ask(&long_bulk(2));
    let told = requestor.hear(&server);
    assert_eq!(
        statuses(&told),
        [(2, DONE, NOT_ALLOWED), (1, STATUS, QUERY_TERMINATED)]
    );
    assert_eq!(told.len(), 2, "no binding is told");
    assert_terminated(&requestor, &told, START, CloseReason::BesideActive);
}

#[test]
fn an_active_query_beside_a_bulk_one_is_refused_and_ends_it() {
    let server = server();
    let mut requestor = server.connect();
    requestor.ask(&long_bulk(1));
    requestor.deliver(&server);
    requestor.transmit(&server, 4_000);
    requestor.messages();
    requestor.ask(&Query4::active(2));
    let told = requestor.hear(&server);
    assert_eq!(
        statuses(&told),
        [(2, STATUS, NOT_ALLOWED), (1, DONE, QUERY_TERMINATED)]
    );
    assert_eq!(
        requestor.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::BesideActive)
    );
    assert_eq!(server.counters.v4.streams_opened.get(), 0);
}

#[test]
fn an_active_query_after_a_bulk_one_has_the_connection_to_itself() {
    let server = server();
    let mut requestor = server.connect();
    requestor.ask(&long_bulk(1));
    assert_eq!(requestor.hear(&server).len(), 901);
    requestor.ask(&Query4::active(2));
    requestor.run(&server);
    assert!(requestor.connection.is_stream());
    assert_eq!(requestor.connection.fate(), Fate::Open);
}

#[test]
fn a_message_that_is_no_query_beside_a_stream_ends_it() {
    let server = server();
    for message_type in [1, 10, 13, 17] {
        let mut requestor = stream(&server, 1);
        requestor.ask(&Query4 {
            message_type,
            ..Query4::active(2)
        });
        let told = requestor.hear(&server);
        assert_eq!(statuses(&told), [(1, STATUS, QUERY_TERMINATED)]);
        assert_terminated(&requestor, &told, START, CloseReason::UnsupportedMessage);
    }
}

#[test]
fn the_server_stops_with_query_terminated_as_the_last_message() {
    let mut server = server();
    let mut requestor = stream(&server, 1);
    server.change([lease([100, 65, 0, 1], 1)]);
    requestor.hear(&server);
    server.advance(30 * SECOND);
    requestor.connection.terminate();
    assert!(!requestor.connection.wants_input());
    assert!(requestor.connection.has_output());
    assert_eq!(
        requestor.connection.fate(),
        Fate::Open,
        "not before it is said"
    );
    let told = requestor.hear(&server);
    assert_eq!(told.len(), 1);
    assert_terminated(&requestor, &told, START + 30, CloseReason::Shutdown);
    assert!(!requestor.connection.has_output());
    assert_eq!(
        server.counters.v4.ended.of(QueryEnd::QueryTerminated).get(),
        1
    );
    assert_eq!(server.hub.streams(), 0);
    // Changes from now on are not told.
    assert_eq!(server.change([lease([100, 65, 0, 2], 2)]), [0; 0]);
}

#[test]
fn a_stream_that_stops_while_it_catches_up_does_not_claim_more_than_it_told() {
    let mut server = server();
    for second in 1..=50 {
        server.advance(SECOND);
        server.store([Event4 {
            cltt: Some(START + second),
            ..lease([100, 65, 0, second as u8], second)
        }]);
    }
    let mut requestor = server.connect();
    requestor.ask(&Query4::active(1).since(START + 1));
    requestor.deliver(&server);
    for _ in 0..20 {
        requestor.transmit(&server, 1);
    }
    requestor.connection.terminate();
    let told = requestor.hear(&server);
    assert_eq!(told.len(), 21);
    let last_told = told[19].number(152).expect("base-time");
    assert_eq!(last_told, START + 20);
    assert_terminated(&requestor, &told, last_told, CloseReason::Shutdown);
}

#[test]
fn a_stream_that_stops_before_it_has_told_what_waits_does_not_claim_it() {
    let mut server = server();
    let mut requestor = stream(&server, 1);
    server.change([lease([100, 65, 0, 1], 1)]);
    requestor.hear(&server);
    server.advance(10 * SECOND);
    server.change([lease([100, 65, 0, 2], 2)]);
    server.advance(10 * SECOND);
    requestor.connection.terminate();
    let told = requestor.hear(&server);
    let base = told
        .last()
        .and_then(|last| last.number(152))
        .expect("base-time");
    assert!(base <= START + 10, "{}", base - START);
    // Whoever resumes from there is told what waited.
    let mut again = server.connect();
    again.ask(&Query4::active(2).since(base));
    let told = again.hear(&server);
    assert!(
        told.iter()
            .any(|message| message.ciaddr.octets() == [100, 65, 0, 2])
    );
}

#[test]
fn a_replaced_stream_is_told_so_last_of_all() {
    let server = server();
    let mut requestor = stream(&server, 1);
    requestor.connection.replaced();
    let told = requestor.hear(&server);
    assert_eq!(told.len(), 1);
    assert_terminated(&requestor, &told, START, CloseReason::Replaced);
}

#[test]
fn a_requestor_that_closes_its_side_has_its_stream_closed() {
    let server = server();
    let mut requestor = stream(&server, 1);
    requestor.connection.peer_closed(server.now);
    assert_eq!(
        requestor.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::PeerClosed)
    );
    assert!(!requestor.connection.has_output());
    assert_eq!(server.change([lease([100, 65, 0, 1], 1)]), [0; 0]);
    assert_eq!(
        (
            server.hub.streams(),
            closed(&server, CloseReason::PeerClosed)
        ),
        (0, 1)
    );
}

#[test]
fn a_connection_that_is_dropped_takes_its_stream_along() {
    let server = server();
    let (first, second) = (stream(&server, 1), stream(&server, 2));
    let key = second.key;
    drop(first);
    assert_eq!(server.hub.streams(), 1);
    assert_eq!(
        server.change([Event4::new([100, 65, 0, 1].into(), State::Reset)]),
        [key]
    );
    drop(second);
    assert_eq!(server.hub.streams(), 0);
    assert_eq!(server.counters.v4.streams_closed.get(), 2);
    assert_eq!(
        server.change([Event4::new([100, 65, 0, 2].into(), State::Reset)]),
        [0; 0]
    );
}
