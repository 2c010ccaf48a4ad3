//! Active leasequery (RFC 7653) end to end: what a stream tells as it happens, of everything and by each kind of query.

use crate::support::*;
use leaseq_session::{CloseReason, Fate};
use leaseq_store::{Event6, State};

/// A lease as [`address`] has it, of which the client has spoken now.
fn renewed(event: Event6, site: &Site) -> Event6 {
    let now = site.store.reader().now().seconds();
    Event6 {
        cltt: Some(now),
        ..event
    }
}

fn state(text: &str, state: State) -> Event6 {
    Event6::new(ip(text), state)
}

const A: &str = "2001:db8:1::a";
const B: &str = "2001:db8:1::b";

#[test]
fn a_stream_begins_with_a_reply_at_once_and_tells_what_changes_from_then_on() {
    let site = Site::active();
    site.add([address(A, 1, 1)]);
    let mut stream = site.stream(&Request::all_updates());
    assert!(stream.connection.is_stream() && !stream.connection.has_output());
    assert_eq!(site.change([address(B, 2, 1)]), [stream.key]);
    assert_eq!(stream.hear(), ["data 2: 2001:db8:1::b 3500"]);
    assert_eq!(stream.connection.fate(), Fate::Open);
    assert_eq!(site.counters.v6.streams_opened.get(), 1);
    assert_eq!(site.counters.v6.bindings.get(), 1);
}

#[test]
fn each_kind_of_change_is_told_as_what_it_is() {
    let site = Site::active();
    let mut stream = site.stream(&Request::all_updates());
    let mut told = |events: Vec<Event6>| {
        site.change(events);
        stream.hear()
    };
    let pd = "3fff:101::";
    assert_eq!(
        told(vec![address(A, 1, 1), delegation(pd, 48, 1, 1)]),
        ["data 1: 2001:db8:1::a 3500, 3fff:101::/48 3500"],
        "new"
    );
    assert_eq!(
        told(vec![renewed(address(A, 1, 1), &site)]),
        ["data 1: 2001:db8:1::a 3600, 3fff:101::/48 3500"],
        "renewed"
    );
    assert_eq!(
        told(vec![renewed(address(A, 1, 1), &site)]),
        Vec::<String>::new(),
        "nothing new"
    );
    assert_eq!(
        told(vec![Event6 {
            relay: Some(vec![relay(1, 77)]),
            ..renewed(address(A, 1, 1), &site)
        }]),
        ["data 1: 2001:db8:1::a 3600, 3fff:101::/48 3500"],
        "another circuit"
    );
    assert_eq!(
        told(vec![state(A, State::Released)]),
        ["data 1: 2001:db8:1::a over, 3fff:101::/48 3500"],
        "released"
    );
    assert_eq!(
        told(vec![state(A, State::Abandoned)]),
        ["data 1: 2001:db8:1::a over, 3fff:101::/48 3500"],
        "declined"
    );
    assert_eq!(
        told(vec![state(A, State::Available)]),
        ["data 1: 2001:db8:1::a over, 3fff:101::/48 3500"],
        "deleted"
    );
    assert_eq!(
        told(vec![address(A, 2, 1)]),
        [
            "data 1: 2001:db8:1::a over, 3fff:101::/48 3500",
            "data 2: 2001:db8:1::a 3500"
        ],
        "another client's"
    );
}

#[test]
fn a_lease_that_runs_out_is_told_when_it_does() {
    let site = Site::active();
    site.add([Event6 {
        valid_lifetime: Some(130),
        preferred_lifetime: Some(130),
        ..address(A, 1, 1)
    }]);
    let mut stream = site.stream(&Request::all_updates().asking(&[100]));
    let heard = stream.live(40);
    let lines: Vec<_> = heard
        .iter()
        .map(|(second, reply)| (*second, reply.line(), reply.base_time))
        .collect();
    let expired = "data 1: 2001:db8:1::a over".to_owned();
    assert_eq!(lines, [(30, expired, Some(NOW_2000 + 30))]);
}

#[test]
fn a_lease_that_moves_to_another_link_is_told_on_both() {
    let site = Site::active();
    let outside = "2001:db8:77::a";
    site.add([address(outside, 1, 1), address(A, 1, 1)]);
    let mut all = site.stream(&Request::all_updates());
    let mut first = site.stream(&by_link("2001:db8:1::1"));
    let mut second = site.stream(&by_link("2001:db8:2::1"));
    let keys = [all.key, first.key, second.key];
    assert_eq!(site.change([address(outside, 1, 2)]), keys);
    let over = "data 1: 2001:db8:1::a 3500, 2001:db8:77::a over";
    let live = "data 1: 2001:db8:77::a 3500";
    assert_eq!(all.hear(), [over, live]);
    assert_eq!(first.hear(), [over]);
    assert_eq!(second.hear(), [live]);
}

#[test]
fn each_kind_of_query_is_a_filter() {
    let site = Site::active();
    site.add([address(A, 1, 1), address("2001:db8:2::b", 2, 2)]);
    let queries = [
        by_address(A),
        by_client_id(1),
        by_relay_id(1),
        by_link("2001:db8:1::"),
        by_remote_id(1),
    ];
    for query in queries {
        let mut stream = site.stream(&query);
        site.change([renewed(address("2001:db8:2::b", 2, 2), &site)]);
        assert_eq!(stream.hear(), Vec::<String>::new(), "{query:?}");
        site.change([renewed(address(A, 1, 1), &site)]);
        assert_eq!(stream.hear(), ["data 1: 2001:db8:1::a 3600"], "{query:?}");
        site.change([state(A, State::Released)]);
        assert_eq!(stream.hear(), ["data 1: 2001:db8:1::a over"], "{query:?}");
        site.add([address(A, 1, 1)]);
        stream.advance(1);
        site.committed();
    }
}

#[test]
fn only_streams_that_a_change_concerns_are_woken() {
    let site = Site::active();
    let there = site.stream(&by_relay_id(1));
    let elsewhere = site.stream(&by_relay_id(2));
    assert_eq!(site.change([address(A, 1, 1)]), [there.key]);
    assert_eq!(
        site.change([address("2001:db8:2::a", 2, 2)]),
        [elsewhere.key]
    );
}

#[test]
fn a_link_address_narrows_a_query() {
    let site = Site::active();
    let mut stream = site.stream(&by_client_id(1).on_link("2001:db8:2::"));
    site.change([address(A, 1, 1)]);
    assert_eq!(stream.hear(), Vec::<String>::new());
    site.change([address("2001:db8:2::a", 1, 2)]);
    assert_eq!(stream.hear(), ["data 1: 2001:db8:2::a 3500"]);
}

#[test]
fn a_client_that_leaves_a_relay_agent_has_ended_there() {
    let site = Site::active();
    site.add([address(A, 1, 1), address(B, 1, 1)]);
    let mut stream = site.stream(&by_relay_id(1));
    let other_relay = |text| Event6 {
        relay: address(text, 1, 2).relay,
        link: Some(leaseq_store::Link6::Address(ip("2001:db8:1::1"))),
        ..address(text, 1, 1)
    };
    site.change([other_relay(A)]);
    // It is still the client of this relay agent by its other lease.
    assert_eq!(stream.hear().len(), 1);
    site.change([other_relay(B)]);
    // Each of the two departs from what the client has lost.
    let over = "data 1: 2001:db8:1::a over, 2001:db8:1::b over";
    assert_eq!(stream.hear(), [over, over]);
    site.change([renewed(other_relay(B), &site), state(A, State::Released)]);
    assert_eq!(stream.hear(), Vec::<String>::new());
}

#[test]
fn what_is_asked_for_is_told_and_base_time_is_in_every_message() {
    let mut site = Site::active();
    site.settings.dhcp6.withhold_options = vec![24];
    let event = |seconds| Event6 {
        options: Some(vec![(23, vec![1; 16]), (24, vec![2, 0])]),
        cltt: Some(NOW + seconds),
        ..address(A, 1, 1)
    };
    let wanted = [23, 24, 47, 100];
    let queries = [
        Request::all_updates().asking(&wanted),
        by_relay_id(1).oro(&wanted),
    ];
    for (query, seconds) in queries.into_iter().zip(1..) {
        let mut stream = site.stream(&query);
        site.change([event(seconds)]);
        let told = stream.replies();
        let client = told[0].client.as_ref().unwrap();
        assert_eq!(client.options, [(23, vec![1; 16])]);
        assert!(client.relay_data.is_some());
        assert_eq!(told[0].base_time, Some(NOW_2000));
        assert_eq!((&told[0].server_id, &told[0].client_id), (&None, &None));
    }
}

#[test]
fn a_keepalive_comes_each_idle_timeout_and_only_when_there_is_nothing_to_tell() {
    let site = Site::active();
    let mut stream = site.stream(&by_relay_id(1).oro(&[100]));
    let mut heard = stream.live(130);
    site.change([address(A, 1, 1)]);
    heard.extend(stream.live(100));
    let told: Vec<_> = heard
        .iter()
        .map(|(second, reply)| (*second, reply.line(), reply.base_time))
        .collect();
    let keepalive = |second, now| (second, "data".to_owned(), Some(NOW_2000 + now));
    let change = "data 1: 2001:db8:1::a 3370".to_owned();
    assert_eq!(
        told,
        [
            keepalive(60, 60),
            keepalive(120, 120),
            (1, change, Some(NOW_2000 + 130)),
            keepalive(61, 191),
        ]
    );
    assert_eq!(site.counters.v6.keepalives.get(), 3);
}

#[test]
fn streams_of_one_form_are_told_the_same_but_for_the_transaction_id() {
    let site = Site::active();
    let mut streams: Vec<_> = (1..=5)
        .map(|xid| site.stream(&Request::all_updates().asking(&[47, 100]).xid(xid)))
        .collect();
    for round in 0..10 {
        site.change([Event6 {
            cltt: Some(NOW + round),
            ..address(A, 1, 1)
        }]);
        let mut told: Vec<_> = streams.iter_mut().map(|stream| stream.messages()).collect();
        for (messages, xid) in told.iter_mut().zip(1..) {
            assert_eq!(messages.len(), 1);
            assert_eq!(messages[0][1..4], [0, 0, xid]);
            messages[0][3] = 0;
        }
        told.dedup();
        assert_eq!(told.len(), 1, "round {round}");
    }
}

#[test]
fn a_restricted_requestor_is_told_of_what_it_may_see() {
    let mut site = Site::active();
    site.add([address(A, 1, 1), address("2001:db8:2::a", 2, 2)]);
    site.restrict_to_link(1);
    let mut stream = site.stream(&Request::all_updates());
    site.change([
        renewed(address(A, 1, 1), &site),
        renewed(address("2001:db8:2::a", 2, 2), &site),
    ]);
    assert_eq!(stream.hear(), ["data 1: 2001:db8:1::a 3600"]);
    // A lease that leaves the link is over there, and not to be seen elsewhere.
    let outside = "2001:db8:77::a";
    site.change([address(outside, 3, 1)]);
    assert_eq!(stream.hear(), ["data 3: 2001:db8:77::a 3500"]);
    site.change([address(outside, 3, 2)]);
    assert_eq!(stream.hear(), ["data 3: 2001:db8:77::a over"]);
    drop(stream);
    site.restrict(|rule| {
        rule.links = Vec::new();
        rule.relay_ids = vec![relay_id(2)];
    });
    let mut stream = site.stream(&Request::all_updates());
    site.change([address(A, 1, 1), address("2001:db8:2::a", 2, 2)]);
    assert_eq!(stream.hear(), ["data 2: 2001:db8:2::a 3500"]);
}

#[test]
fn in_secure_mode_a_query_without_tls_closes_the_connection() {
    let mut site = Site::active();
    site.settings.active.insecure = false;
    let mut pair = site.connect();
    pair.send(&Request::all_updates());
    assert_eq!(pair.messages(), Vec::<Vec<u8>>::new());
    assert_eq!(
        pair.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::TlsRequired)
    );
}
