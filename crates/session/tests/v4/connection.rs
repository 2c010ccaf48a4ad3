//! One connection: frames, parallel queries, limits and timers, on virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use leaseq_session::{CloseReason, Fate};
use leaseq_store::Event4;

use crate::fixture::{Requestor, START, Server, lease, limits, relay_id, settings};
use crate::message::{Query4, framed};

const TIMEOUT: Duration = Duration::from_secs(300);
const SECOND: Duration = Duration::from_secs(1);

/// `relays` relay agents with `bindings` bindings each.
fn server_with(settings: leaseq_session::Settings, relays: u32, bindings: u32) -> Server {
    let server = Server::with(settings, vec![]);
    let clients = (0..relays).flat_map(|relay| (0..bindings).map(move |n| relay * 1_000 + n));
    let event = |client: u32| {
        let [_, b, c, d] = client.to_be_bytes();
        lease([100, 64 + b, c, d], client)
    };
    server.store(clients.map(event).collect::<Vec<Event4>>());
    server
}

fn relay_query(xid: u32, relay: u32) -> Query4 {
    Query4::bulk(xid).relay_id(&relay_id(relay))
}

fn closed(server: &Server, reason: CloseReason) -> u64 {
    server.counters.v4.closed.of(reason).get()
}

#[test]
fn octets_may_come_one_by_one() {
    let server = server_with(settings(), 2, 3);
    let mut requestor = server.connect();
    let octets = [relay_query(1, 0).frame(), relay_query(2, 1).frame()].concat();
    for octet in octets {
        requestor.to_server.push(octet);
        requestor.run(&server);
    }
    let messages = requestor.messages();
    assert_eq!(messages.len(), 8);
    assert_eq!(
        messages.iter().filter(|message| message.xid == 2).count(),
        4
    );
}

#[test]
fn a_connection_serves_one_query_after_another() {
    let server = server_with(settings(), 1, 3);
    let mut requestor = server.connect();
    for xid in 1..=50 {
        requestor.ask(&relay_query(xid, 0));
        requestor.run(&server);
        assert_eq!(requestor.messages().len(), 4);
    }
    assert_eq!(requestor.connection.fate(), Fate::Open);
}

#[test]
fn replies_of_parallel_queries_interleave_and_none_waits_for_an_older_one() {
    let server = server_with(settings(), 4, 900);
    let mut requestor = server.connect();
    for relay in 0..4 {
        requestor.ask(&relay_query(relay, relay));
    }
    requestor.ask(&Query4::bulk(99).client_id(&[1, 2, 0x5e, 0x10, 0, 0, 0]));
    requestor.deliver(&server);
    assert_eq!(requestor.connection.running_queries(), 5);
    let mut told: BTreeMap<u32, usize> = BTreeMap::new();
    let mut small_query_ended = None;
    while requestor.connection.has_output() {
        requestor.transmit(&server, 32 * 1_024);
        for message in requestor.messages() {
            if message.message_type == 15 && message.xid == 99 {
                small_query_ended = Some(told.values().sum::<usize>());
            }
            *told.entry(message.xid).or_default() += 1;
        }
        let running: Vec<_> = (0..4).filter_map(|xid| told.get(&xid)).collect();
        let (least, most) = (running.iter().min().copied(), running.iter().max().copied());
        assert!(
            most.zip(least)
                .is_none_or(|(most, least)| most - least <= 64),
            "{told:?}"
        );
    }
    assert!(
        small_query_ended.is_some_and(|others| others < 300),
        "{small_query_ended:?}"
    );
    assert_eq!(told.values().sum::<usize>(), 4 * 901 + 2);
}

#[test]
fn no_more_queries_are_read_than_may_run() {
    let server = server_with(
        limits(|limits| limits.max_queries_per_connection = 3),
        1,
        500,
    );
    let mut requestor = server.connect();
    for xid in 0..10 {
        requestor.ask(&relay_query(xid, 0));
    }
    let unread = requestor.to_server.len();
    requestor.deliver(&server);
    assert_eq!(requestor.connection.running_queries(), 3);
    assert!(!requestor.connection.wants_input());
    assert_eq!(
        unread - requestor.to_server.len(),
        3 * unread / 10,
        "not an octet of the fourth is taken"
    );
    requestor.run(&server);
    assert_eq!(requestor.messages().len(), 10 * 501);
}

#[test]
fn a_frame_is_never_cut_by_the_end_of_the_buffer() {
    let server = server_with(settings(), 1, 900);
    let mut requestor = server.connect();
    requestor.ask(&relay_query(1, 0));
    requestor.deliver(&server);
    let mut whole = 0;
    while requestor.connection.has_output() {
        let octets = requestor.transmit(&server, 1);
        assert!(octets > 0);
        whole += requestor.messages().len();
        assert!(requestor.from_server.is_empty(), "only whole frames");
    }
    assert_eq!(whole, 901);
}

#[test]
fn a_buffer_that_fills_up_loses_and_repeats_nothing() {
    let server = server_with(settings(), 1, 900);
    let mut requestor = server.connect();
    requestor.ask(&relay_query(1, 0));
    requestor.deliver(&server);
    let mut out = vec![0; 65_537];
    let mut received = Vec::new();
    while requestor.connection.has_output() {
        let octets = server.turn(|turn| requestor.connection.transmit(turn, &mut out, usize::MAX));
        received.extend_from_slice(&out[..octets]);
    }
    requestor.from_server = received;
    let mut addresses: Vec<_> = requestor
        .messages()
        .iter()
        .map(|message| message.ciaddr)
        .collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 901, "900 bindings and a DONE");
}

#[test]
fn an_idle_connection_is_closed_after_the_data_timeout() {
    let mut server = server_with(settings(), 1, 3);
    let mut fresh = server.connect();
    fresh.wait(&mut server, TIMEOUT - SECOND, 0);
    assert_eq!(fresh.connection.fate(), Fate::Open);
    fresh.wait(&mut server, SECOND, 0);
    assert_eq!(
        fresh.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::Idle)
    );

    let mut used = server.connect();
    used.wait(&mut server, TIMEOUT / 2, 0);
    used.ask(&relay_query(1, 0));
    used.run(&server);
    used.wait(&mut server, TIMEOUT - SECOND, 0);
    assert_eq!(
        used.connection.fate(),
        Fate::Open,
        "the timer runs from the DONE"
    );
    used.wait(&mut server, SECOND, 0);
    assert_eq!(
        used.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::Idle)
    );
    assert_eq!(closed(&server, CloseReason::Idle), 2);
}

#[test]
fn half_a_query_for_the_data_timeout_closes_the_connection() {
    let mut server = server_with(settings(), 1, 3);
    let mut requestor = server.connect();
    let frame = relay_query(1, 0).frame();
    requestor.wait(&mut server, TIMEOUT - SECOND, 0);
    requestor.to_server.extend(&frame[..100]);
    requestor.deliver(&server);
    requestor.wait(&mut server, TIMEOUT / 2, 0);
    assert_eq!(
        requestor.connection.fate(),
        Fate::Open,
        "a query has begun to arrive"
    );
    requestor.to_server.extend(&frame[100..101]);
    requestor.deliver(&server);
    requestor.wait(&mut server, TIMEOUT / 2, 0);
    assert_eq!(
        requestor.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::ReadBlocked)
    );
}

#[test]
fn a_requestor_that_takes_nothing_for_the_data_timeout_is_cut_off() {
    let mut server = server_with(settings(), 1, 900);
    let mut requestor = server.connect();
    requestor.ask(&relay_query(1, 0));
    requestor.deliver(&server);
    let octets = requestor.transmit(&server, 64 * 1_024);
    requestor.connection.written(octets / 2, server.now);
    requestor.wait(&mut server, TIMEOUT - SECOND, octets / 2);
    assert_eq!(requestor.connection.fate(), Fate::Open);
    requestor.wait(&mut server, SECOND, octets / 2);
    assert_eq!(
        requestor.connection.fate(),
        Fate::Abort(CloseReason::SendBlocked)
    );
    assert!(!requestor.connection.has_output());
    assert_eq!(requestor.transmit(&server, 1_000), 0);
    assert_eq!(requestor.connection.deadline(), None);
}

#[test]
fn a_requestor_that_takes_a_little_now_and_then_is_not_cut_off() {
    let mut server = server_with(settings(), 1, 900);
    let mut requestor = server.connect();
    requestor.ask(&relay_query(1, 0));
    requestor.deliver(&server);
    let octets = requestor.transmit(&server, 64 * 1_024);
    requestor.connection.written(octets, server.now);
    for minute in 0..100 {
        requestor.wait(&mut server, Duration::from_secs(60), octets - 100 * minute);
        assert_eq!(requestor.connection.fate(), Fate::Open);
    }
}

#[test]
fn a_dead_requestor_whose_kernel_took_everything_is_found() {
    let mut server = server_with(settings(), 1, 5);
    let mut requestor = server.connect();
    requestor.ask(&relay_query(1, 0));
    requestor.deliver(&server);
    let octets = requestor.transmit(&server, 64 * 1_024);
    requestor.connection.written(octets, server.now);
    requestor.wait(&mut server, TIMEOUT, octets);
    assert!(matches!(
        requestor.connection.fate(),
        Fate::Abort(CloseReason::SendBlocked)
    ));
}

#[test]
fn a_frame_without_octets_closes_the_connection() {
    let server = server_with(settings(), 1, 3);
    let mut requestor = server.connect();
    requestor.to_server.extend([0, 0]);
    requestor.run(&server);
    assert_eq!(
        requestor.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::EmptyFrame)
    );
    assert_eq!(closed(&server, CloseReason::EmptyFrame), 1);
}

#[test]
fn a_frame_shorter_than_a_message_header_closes_the_connection() {
    let server = server_with(settings(), 1, 3);
    for len in [1, 100, 235] {
        let mut requestor = server.connect();
        requestor
            .to_server
            .extend(framed(&relay_query(1, 0).message()[..len]));
        requestor.run(&server);
        assert_eq!(
            requestor.connection.fate(),
            Fate::CloseWhenWritten(CloseReason::ShortFrame),
            "{len} octets"
        );
        assert_eq!(requestor.messages(), []);
    }
}

#[test]
fn options_that_overrun_are_a_malformed_query() {
    let server = server_with(settings(), 1, 3);
    let mut requestor = server.connect();
    let mut message = relay_query(7, 0).message();
    message.truncate(message.len() - 4);
    requestor.to_server.extend(framed(&message));
    requestor.ask(&relay_query(8, 0));
    requestor.run(&server);
    let messages = requestor.messages();
    assert_eq!((messages[0].xid, messages[0].status()), (7, Some(3)));
    assert_eq!(
        (messages.len(), requestor.connection.fate()),
        (5, Fate::Open),
        "the next query is served"
    );
}

#[test]
fn tls_is_refused_where_there_is_none_and_the_connection_stays() {
    let server = server_with(settings(), 1, 3);
    let mut requestor = server.connect();
    requestor.ask(&Query4 {
        message_type: 18,
        ..Query4::bulk(9)
    });
    requestor.run(&server);
    let messages = requestor.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(
        (
            messages[0].message_type,
            messages[0].xid,
            messages[0].status()
        ),
        (18, 9, Some(8))
    );
    assert_eq!(requestor.connection.fate(), Fate::Open);
}

#[test]
fn an_unsupported_message_type_closes_the_connection() {
    let server = server_with(settings(), 1, 3);
    for message_type in [1, 3, 10, 13, 15, 16, 200] {
        let mut requestor = server.connect();
        requestor.ask(&Query4 {
            message_type,
            ..relay_query(1, 0)
        });
        requestor.run(&server);
        assert_eq!(
            requestor.connection.fate(),
            Fate::CloseWhenWritten(CloseReason::UnsupportedMessage),
            "{message_type}"
        );
        assert_eq!(requestor.messages(), []);
    }
    let mut bootp = relay_query(1, 0).message();
    bootp[240..243].fill(0);
    let mut requestor = server.connect();
    requestor.to_server.extend(framed(&bootp));
    requestor.run(&server);
    assert_eq!(
        requestor.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::UnsupportedMessage)
    );
}

#[test]
fn queries_still_running_are_told_when_the_connection_is_closed_for_another_message() {
    let server = server_with(settings(), 1, 900);
    let mut requestor = server.connect();
    requestor.ask(&relay_query(1, 0));
    requestor.deliver(&server);
    requestor.transmit(&server, 1_000);
    requestor.ask(&Query4 {
        message_type: 1,
        ..relay_query(2, 0)
    });
    requestor.deliver(&server);
    assert_eq!(
        requestor.connection.fate(),
        Fate::Open,
        "not before the query is ended"
    );
    requestor.run(&server);
    let messages = requestor.messages();
    let last = messages.last().expect("a message");
    assert_eq!(
        (last.xid, last.message_type, last.status()),
        (1, 15, Some(2))
    );
    assert_eq!(
        requestor.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::UnsupportedMessage)
    );
}

#[test]
fn the_transaction_id_of_a_running_query_is_malformed_and_closes() {
    let server = server_with(settings(), 2, 900);
    let mut requestor = server.connect();
    requestor.ask(&relay_query(1, 0));
    requestor.ask(&relay_query(2, 0));
    requestor.ask(&relay_query(1, 1));
    requestor.run(&server);
    let messages = requestor.messages();
    assert_eq!(
        (messages[0].xid, messages[0].status()),
        (1, Some(3)),
        "at once"
    );
    let mut ended: Vec<_> = messages
        .iter()
        .filter(|message| message.message_type == 15)
        .map(|message| (message.xid, message.status()))
        .collect();
    ended.sort();
    assert_eq!(ended, [(1, Some(2)), (1, Some(3)), (2, Some(2))]);
    assert_eq!(
        requestor.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::DuplicateXid)
    );
}

#[test]
fn a_transaction_id_may_be_used_again_after_its_done() {
    let server = server_with(settings(), 1, 3);
    let mut requestor = server.connect();
    for _ in 0..3 {
        requestor.ask(&relay_query(1, 0));
        requestor.run(&server);
    }
    assert_eq!(
        (requestor.messages().len(), requestor.connection.fate()),
        (12, Fate::Open)
    );
}

#[test]
fn the_server_stops_with_query_terminated_for_each_running_query() {
    let server = server_with(settings(), 3, 900);
    let mut requestor = server.connect();
    (0..3).for_each(|relay| requestor.ask(&relay_query(relay, relay)));
    requestor.deliver(&server);
    requestor.transmit(&server, 40_000);
    requestor.connection.terminate();
    assert!(!requestor.connection.wants_input());
    assert_eq!(requestor.connection.fate(), Fate::Open);
    requestor.run(&server);
    assert_eq!(
        requestor.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::Shutdown)
    );
    let messages = requestor.messages();
    let ended: Vec<_> = messages
        .iter()
        .filter(|message| message.message_type == 15)
        .collect();
    assert_eq!(ended.len(), 3);
    assert!(
        ended
            .iter()
            .all(|done| done.status() == Some(2) && done.options[&151].len() > 1),
        "with a reason in words"
    );

    let mut idle = server.connect();
    idle.connection.terminate();
    assert_eq!(
        idle.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::Shutdown)
    );
}

#[test]
fn a_requestor_that_closes_its_side_is_closed() {
    let server = server_with(settings(), 1, 900);
    let mut requestor = server.connect();
    requestor.ask(&relay_query(1, 0));
    requestor.deliver(&server);
    requestor.transmit(&server, 1_000);
    requestor.connection.peer_closed(server.now);
    assert_eq!(
        requestor.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::PeerClosed)
    );
    assert!(!requestor.connection.has_output());
}

#[test]
fn a_replaced_connection_ends_its_queries_and_closes() {
    let server = server_with(settings(), 1, 900);
    let mut requestor = server.connect();
    requestor.ask(&relay_query(1, 0));
    requestor.deliver(&server);
    requestor.connection.replaced();
    requestor.run(&server);
    assert_eq!(
        requestor
            .messages()
            .last()
            .and_then(|message| message.status()),
        Some(2)
    );
    assert_eq!(
        requestor.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::Replaced)
    );
}

#[test]
fn too_many_queries_in_a_row_that_find_nothing_close_the_connection() {
    let server = server_with(limits(|limits| limits.max_empty_replies = 3), 1, 2);
    let mut requestor = server.connect();
    for relay in [7, 8, 0, 7, 8] {
        requestor.ask(&relay_query(relay, relay));
        requestor.run(&server);
        assert_eq!(requestor.connection.fate(), Fate::Open);
    }
    requestor.ask(&relay_query(9, 9));
    requestor.run(&server);
    assert_eq!(
        requestor.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::EmptyReplies)
    );
    assert_eq!(
        requestor
            .messages()
            .last()
            .map(|message| message.message_type),
        Some(15)
    );
}

#[test]
fn queries_above_a_requestor_s_rate_wait_their_turn() {
    let mut server = server_with(limits(|limits| limits.queries_per_second = 2), 1, 2);
    let mut requestors = [server.connect(), server.connect()];
    let mut other = server.try_connect([10, 0, 0, 2]).expect("admitted");
    for requestor in requestors.iter_mut().chain([&mut other]) {
        (0..2).for_each(|xid| requestor.ask(&relay_query(xid, 0)));
        requestor.run(&server);
    }
    let answered = |requestor: &mut Requestor| {
        requestor
            .messages()
            .iter()
            .filter(|message| message.message_type == 15)
            .count()
    };
    let [first, second] = &mut requestors;
    assert_eq!(
        (answered(first), answered(second), answered(&mut other)),
        (2, 0, 2),
        "each requestor for itself"
    );
    assert!(!second.connection.wants_input());
    for _ in 0..2 {
        let deadline = second.connection.deadline().expect("the next query's time");
        assert_eq!(deadline - server.now, SECOND / 2);
        second.wait(&mut server, SECOND / 2, 0);
        assert!(second.connection.has_output());
        second.run(&server);
        assert_eq!(answered(second), 1);
    }
    assert_eq!(server.counters.v4.delayed.get(), 2);
}

#[test]
fn a_query_that_matches_nothing_of_much_lets_others_have_their_turn() {
    let server = Server::new(vec![crate::fixture::range(
        [100, 64, 0, 0],
        [100, 64, 255, 255],
        "",
    )]);
    let mut requestor = server.connect();
    requestor.ask(&Query4::bulk(1).since(START + 10));
    requestor.deliver(&server);
    let mut turns = 0;
    while requestor.connection.has_output() {
        requestor.transmit(&server, 64 * 1_024);
        turns += 1;
    }
    assert_eq!(requestor.messages().len(), 1);
    assert!(
        (4..=16).contains(&turns),
        "65,536 addresses in {turns} turns"
    );
}

#[test]
fn an_idle_connection_is_small() {
    assert!(
        size_of::<leaseq_session::Connection>() <= 512,
        "{}",
        size_of::<leaseq_session::Connection>()
    );
}
