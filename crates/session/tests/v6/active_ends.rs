//! Active leasequery (RFC 7653) end to end: queries that are refused, and how streams end.

use crate::support::*;
use leaseq_session::{CloseReason, Fate, QueryEnd, QueryKind};

const A: &str = "2001:db8:1::a";

fn closing(reason: CloseReason) -> Fate {
    Fate::CloseWhenWritten(reason)
}

#[test]
fn what_is_wrong_with_a_query_is_said_and_the_connection_is_closed() {
    let mut site = Site::active();
    site.restrict(|rule| rule.relay_ids = vec![relay_id(1)]);
    let mut no_option = by_client_id(1);
    no_option.query_options.clear();
    let queries = [
        (Request::all_updates().until(NOW_2000), 8),
        (by_client_id(1).until(NOW_2000), 8),
        (no_option, 8),
        (Request::new(9, Vec::new()), 7),
        (by_link("2001:db8:99::"), 9),
        (by_relay_id(2), 10),
    ];
    for (query, status) in queries {
        let mut pair = site.connect();
        pair.send(&query.clone().active());
        let replies = pair.replies();
        assert_eq!(replies.len(), 1, "{query:?}");
        assert_eq!(
            (replies[0].message_type, replies[0].status),
            (15, Some(status)),
            "{query:?}"
        );
        assert_eq!(pair.connection.fate(), closing(CloseReason::QueryFailed));
    }
    assert_eq!(site.counters.v6.queries.of(QueryKind::Active).get(), 6);
    assert_eq!(site.counters.v6.ended.total(), 6);
    assert_eq!(site.counters.v6.streams_opened.get(), 0);
}

#[test]
fn a_requestor_without_permission_is_not_allowed() {
    let mut site = Site::active();
    site.restrict(|rule| rule.queries = [QueryKind::RelayId].into_iter().collect());
    let mut pair = site.connect();
    pair.send(&by_relay_id(1).active());
    assert_eq!(pair.hear(), ["reply not allowed"]);
    assert_eq!(pair.connection.fate(), closing(CloseReason::QueryFailed));
}

#[test]
fn a_message_without_requestors_client_id_is_discarded() {
    let site = Site::active();
    let mut pair = site.connect();
    pair.send(&Request {
        client_id: None,
        ..Request::all_updates()
    });
    assert_eq!(pair.messages(), Vec::<Vec<u8>>::new());
    assert_eq!(pair.connection.fate(), Fate::Open);
    assert!(!pair.connection.is_stream());
    let discarded = &site.counters.v6.discarded;
    assert_eq!(discarded.of(leaseq_session::Discard::NoClientId).get(), 1);
}

#[test]
fn a_query_beside_a_stream_is_not_allowed_and_ends_it() {
    for second in [
        Request::all_updates(),
        by_relay_id(1),
        by_client_id(1).active(),
    ] {
        let site = Site::active();
        let mut stream = site.stream(&Request::all_updates().xid(1));
        stream.send(&second.clone().xid(2));
        let replies = stream.replies();
        let told: Vec<_> = replies
            .iter()
            .map(|reply| (reply.xid, reply.line()))
            .collect();
        let expected = [
            (2, "reply not allowed".to_owned()),
            (1, "done terminated".to_owned()),
        ];
        assert_eq!(told, expected, "{second:?}");
        assert_eq!(replies[1].base_time, Some(NOW_2000));
        assert_eq!(stream.connection.fate(), closing(CloseReason::BesideActive));
        assert_eq!(site.counters.v6.streams_closed.get(), 1);
    }
}

#[test]
fn an_active_query_beside_a_bulk_one_is_not_allowed_and_ends_it() {
    let site = Site::active();
    site.add((0..2_000).map(|n| address(&format!("2001:db8:3::{n:x}"), 10_000 + n, 3)));
    let mut pair = site.connect();
    pair.target = 1;
    pair.send(&by_link("2001:db8:3::").xid(1));
    assert!(!pair.turn().is_empty());
    pair.send(&Request::all_updates().xid(2));
    let replies = pair.replies();
    let refused = replies.iter().find(|reply| reply.xid == 2);
    assert_eq!(
        refused.map(Reply::line).as_deref(),
        Some("reply not allowed")
    );
    let last = replies.iter().rfind(|reply| reply.xid == 1);
    assert_eq!(last.map(Reply::line).as_deref(), Some("done terminated"));
    assert_eq!(pair.connection.fate(), closing(CloseReason::BesideActive));
}

#[test]
fn an_active_query_after_a_bulk_one_has_the_connection_to_itself() {
    let site = Site::active();
    let mut pair = site.connect();
    pair.send(&by_relay_id(1).xid(1));
    assert_eq!(pair.hear(), ["reply"]);
    pair.send(&Request::all_updates().xid(2));
    assert_eq!(pair.hear(), ["reply"]);
    assert!(pair.connection.is_stream());
}

#[test]
fn the_server_stops_with_a_done_as_the_last_message() {
    let site = Site::active();
    let mut stream = site.stream(&Request::all_updates());
    stream.advance(30);
    site.change([address(A, 1, 1)]);
    stream.connection.terminate();
    let replies = stream.replies();
    let last = replies.last().unwrap();
    assert_eq!(last.line(), "done terminated");
    assert_eq!(last.base_time, Some(NOW_2000 + 30), "asked for or not");
    assert_eq!(stream.connection.fate(), closing(CloseReason::Shutdown));
    assert_eq!(
        site.counters.v6.ended.of(QueryEnd::QueryTerminated).get(),
        1
    );
}

#[test]
fn a_stream_that_stops_while_it_catches_up_does_not_claim_more_than_it_told() {
    let site = Site::active();
    for n in 1..=100 {
        site.add([address(&format!("2001:db8:1::{n:x}"), n, 1)]);
        site.clock.advance(1_000);
    }
    let mut stream = site.stream(&Request::all_updates().since(NOW_2000));
    let told = stream.replies_of_one_turn();
    assert_eq!(told.len(), 1);
    stream.connection.terminate();
    let replies = stream.replies();
    assert_eq!(replies.len(), 1);
    let base_time = replies[0].base_time.unwrap();
    assert!(
        base_time <= NOW_2000 + 1,
        "the second change is not told: {base_time}"
    );
}

#[test]
fn a_requestor_that_closes_its_side_has_its_stream_closed() {
    let site = Site::active();
    let mut stream = site.stream(&Request::all_updates());
    stream.connection.peer_closed(stream.now);
    stream.messages();
    assert_eq!(stream.connection.fate(), closing(CloseReason::PeerClosed));
    assert_eq!(site.change([address(A, 1, 1)]), Vec::<usize>::new());
    assert_eq!(site.counters.v6.streams_closed.get(), 1);
    assert_eq!(site.hub.streams(), 0);
}
