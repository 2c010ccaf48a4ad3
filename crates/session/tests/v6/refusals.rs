//! DHCPv6 over TCP: messages that are discarded or refused, requestors that may not ask or see everything, and answers
//! that end before they are complete.

use crate::bulk::{duids, site, status_of};
use crate::support::*;
use leaseq_session::{CloseReason, Discard, Fate, QueryEnd, QueryKind, QueryKinds};

#[test]
fn a_message_without_requestors_client_id_is_discarded_and_keeps_nothing_alive() {
    let site = site();
    let mut pair = site.connect();
    let idle = pair.connection.deadline();
    pair.advance(10);
    for client_id in [None, Some(Vec::new()), Some(vec![7; 131])] {
        pair.send(&Request {
            client_id,
            ..by_client_id(1)
        });
        assert_eq!(pair.messages(), Vec::<Vec<u8>>::new());
        assert_eq!(pair.connection.deadline(), idle);
        assert_eq!(pair.connection.fate(), Fate::Open);
    }
    assert_eq!(site.counters.v6.discarded.of(Discard::NoClientId).get(), 3);
}

#[test]
fn a_message_for_another_server_is_discarded() {
    let site = site();
    let ours = Request {
        server_id: Some(SERVER.to_vec()),
        ..by_client_id(1)
    };
    assert_eq!(site.clients(&ours).len(), 1);
    let other = Request {
        server_id: Some(vec![1, 2, 3]),
        ..by_client_id(1)
    };
    assert_eq!(site.bulk(&other), []);
    assert_eq!(site.counters.v6.discarded.of(Discard::OtherServer).get(), 1);
}

#[test]
fn a_message_without_query_option_is_discarded() {
    let site = site();
    assert_eq!(
        site.bulk(&Request {
            has_query: false,
            ..by_client_id(1)
        }),
        []
    );
    assert_eq!(site.counters.v6.discarded.of(Discard::NoQuery).get(), 1);
}

#[test]
fn a_query_without_its_query_option_is_malformed() {
    let site = site();
    for query_type in [1, 2, 3, 4, 5] {
        assert_eq!(
            status_of(&site, &Request::new(query_type, Vec::new())),
            8,
            "{query_type}"
        );
    }
}

#[test]
fn query_options_that_cannot_be_meant_are_malformed() {
    let site = site();
    for (query_type, options) in [
        (1, option(5, &[0; 23])),
        (2, option(1, &[])),
        (2, option(1, &[1; 131])),
        (3, option(53, &[])),
        (5, option(37, &[0, 0, 9])),
        (2, vec![0, 1, 0, 9, 1]),
    ] {
        assert_eq!(
            status_of(&site, &Request::new(query_type, options)),
            8,
            "{query_type}"
        );
    }
    assert_eq!(status_of(&site, &by_client_id(1).with(101, &[0; 3])), 8);
    assert_eq!(status_of(&site, &by_client_id(1).with(68, &[9, 9])), 8);
    assert_eq!(site.counters.v6.ended.of(QueryEnd::MalformedQuery).get(), 8);
}

#[test]
fn options_that_overrun_the_message_are_malformed() {
    let site = site();
    let mut pair = site.connect();
    let mut octets = by_client_id(1).octets();
    octets.truncate(octets.len() - 1);
    pair.send_message(&octets);
    let replies = pair.replies();
    assert_eq!(replies.len(), 1);
    assert_eq!((replies[0].message_type, replies[0].status), (15, Some(8)));
    assert_eq!(replies[0].client_id.as_deref(), Some(REQUESTOR));
    pair.send(&by_client_id(1));
    assert_eq!(told(&pair.replies()).len(), 1, "the connection goes on");
}

#[test]
fn an_unknown_query_type_is_named_so() {
    let site = site();
    for query_type in [0, 6, 255] {
        assert_eq!(status_of(&site, &Request::new(query_type, Vec::new())), 7);
    }
}

#[test]
fn queries_that_a_requestor_may_not_make_are_not_allowed() {
    let mut site = site();
    site.restrict(|rule| {
        rule.queries = QueryKinds::from_iter([QueryKind::Ip, QueryKind::Link]);
    });
    for request in [by_client_id(1), by_relay_id(1), by_remote_id(1)] {
        assert_eq!(status_of(&site, &request), 10);
    }
    assert_eq!(site.clients(&by_address("2001:db8:1::11")).len(), 1);
    assert_eq!(site.clients(&by_link("2001:db8:1::")).len(), 3);
    assert_eq!(site.counters.v6.ended.of(QueryEnd::NotAllowed).get(), 3);
}

#[test]
fn a_requestor_limited_to_relay_agents_sees_their_clients_alone() {
    let mut site = site();
    site.restrict(|rule| rule.relay_ids = vec![relay_id(2)]);
    assert_eq!(status_of(&site, &by_relay_id(1)), 10);
    assert_eq!(duids(&site.clients(&by_relay_id(2))), [duid(3), duid(4)]);
    assert_eq!(site.clients(&by_client_id(1)), []);
    assert_eq!(site.clients(&by_address("2001:db8:1::11")), []);
    assert_eq!(site.clients(&by_link("2001:db8:1::")), []);
    let third = site.clients(&by_client_id(3));
    assert_eq!(third[0].addresses(), ["2001:db8:2::13/128"]);
    assert_eq!(third.len(), 1);
}

#[test]
fn a_requestor_limited_to_links_sees_their_clients_alone() {
    let mut site = site();
    site.restrict_to_link(2);
    assert_eq!(status_of(&site, &by_link("2001:db8:1::1")), 10);
    assert_eq!(
        status_of(&site, &by_relay_id(1).on_link("2001:db8:1::1")),
        10
    );
    assert_eq!(site.clients(&by_relay_id(1)), []);
    assert_eq!(duids(&site.clients(&by_relay_id(2))), [duid(3), duid(4)]);
    assert_eq!(site.clients(&by_client_id(3)).len(), 1);
}

#[test]
fn an_active_query_is_not_supported_and_ends_the_connection() {
    let site = site();
    for has_query in [true, false] {
        let mut pair = site.connect();
        pair.send(&Request {
            message_type: 22,
            has_query,
            ..by_client_id(1)
        });
        let replies = pair.replies();
        assert_eq!(replies.len(), 1);
        assert_eq!((replies[0].message_type, replies[0].status), (15, Some(14)));
        assert_eq!(replies[0].server_id.as_deref(), Some(SERVER));
        assert_eq!(replies[0].client_id.as_deref(), Some(REQUESTOR));
        let fate = pair.connection.fate();
        assert_eq!(
            fate,
            Fate::CloseWhenWritten(CloseReason::UnsupportedMessage)
        );
    }
}

#[test]
fn starttls_is_refused_by_a_plain_reply_and_its_options_are_ignored() {
    let site = site();
    let mut pair = site.connect();
    pair.send_message(&[23, 0, 0, 9, 0, 1, 0, 99, 1]);
    let replies = pair.replies();
    assert_eq!(replies.len(), 1);
    assert_eq!(
        (replies[0].message_type, replies[0].status, replies[0].xid),
        (7, Some(15), 9)
    );
    assert_eq!(pair.connection.fate(), Fate::Open);
}

#[test]
fn messages_that_have_no_place_on_the_connection_close_it() {
    let site = site();
    for message_type in [1, 7, 12, 13, 15, 16, 17, 24, 255] {
        let mut pair = site.connect();
        pair.send(&Request {
            message_type,
            ..by_client_id(1)
        });
        assert_eq!(pair.messages(), Vec::<Vec<u8>>::new());
        assert!(
            matches!(
                pair.connection.fate(),
                Fate::CloseWhenWritten(CloseReason::UnsupportedMessage)
                    | Fate::Abort(CloseReason::UnsupportedMessage)
            ),
            "message type {message_type}"
        );
    }
}

#[test]
fn a_transaction_id_that_is_in_use_is_refused_and_closes() {
    let site = site();
    site.add((0..2_000).map(|n| address(&format!("2001:db8:3::{n:x}"), 10_000 + n, 3)));
    let mut pair = site.connect();
    pair.target = 1;
    pair.send(&by_link("2001:db8:3::").xid(5));
    assert!(!pair.turn().is_empty());
    pair.send(&by_client_id(1).xid(5));
    let replies = pair.replies();
    assert!(
        replies
            .iter()
            .any(|reply| (reply.message_type, reply.status) == (15, Some(8)))
    );
    assert_eq!(
        pair.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::DuplicateXid)
    );
}

#[test]
fn a_server_that_stops_before_any_reply_says_so_in_a_reply() {
    let site = site();
    let mut pair = site.connect();
    pair.send(&by_relay_id(1));
    let reader = site.store.reader();
    let view = reader.view();
    let turn = leaseq_session::Turn {
        view: &view,
        now: pair.now,
        server_time: reader.now(),
    };
    let frame = [
        &[0, by_relay_id(1).octets().len() as u8][..],
        &by_relay_id(1).octets(),
    ]
    .concat();
    pair = site.connect();
    assert_eq!(pair.connection.receive(&frame, &turn), frame.len());
    pair.connection.terminate();
    let replies = pair.replies();
    assert_eq!(replies.len(), 1);
    assert_eq!((replies[0].message_type, replies[0].status), (15, Some(11)));
    assert_eq!(replies[0].client_id.as_deref(), Some(REQUESTOR));
    assert_eq!(
        pair.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::Shutdown)
    );
}

#[test]
fn a_server_that_stops_midway_says_so_in_a_done() {
    let site = site();
    site.add((0..2_000).map(|n| address(&format!("2001:db8:3::{n:x}"), 10_000 + n, 3)));
    let mut pair = site.connect();
    pair.target = 1;
    pair.send(&by_link("2001:db8:3::").oro(&[100]));
    assert!(!pair.turn().is_empty());
    pair.connection.terminate();
    let replies = pair.replies();
    let done = replies.last().expect("a LEASEQUERY-DONE");
    assert_eq!(
        (done.message_type, done.status, done.base_time),
        (16, Some(11), Some(NOW_2000))
    );
    assert!(replies.len() < 2_000);
    assert_eq!(
        pair.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::Shutdown)
    );
    assert_eq!(
        site.counters.v6.ended.of(QueryEnd::QueryTerminated).get(),
        1
    );
}
