//! RFC 6926: bulk leasequery.

use std::net::Ipv4Addr;
use std::time::Duration;

use leaseq_store::{Event4, State};

use crate::fixture::{SERVER, START, Server, lease, range, relay_id, remote_id, settings};
use crate::message::{Message4, Query4};

const ALL_TIMES: [u8; 9] = [51, 58, 59, 91, 152, 153, 156, 157, 61];

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(100, 64, 0, last)
}

fn ended(last: u8, state: State) -> Event4 {
    let mut event = Event4::new(address(last), state);
    event.state_since = Some(START);
    event
}

/// 100.64.0.1-10 configured: 1-4 leased to clients 1-4 of relay 0, 5 to client 1 as well, 6 released, 7 abandoned.
/// 100.64.0.99, outside of the range, leased to client 5,001 of relay 5.
fn server() -> Server {
    let server = Server::new(vec![range([100, 64, 0, 1], [100, 64, 0, 10], "")]);
    server.store((1..=4).map(|n| lease([100, 64, 0, n], u32::from(n))));
    server.store([
        lease([100, 64, 0, 5], 1),
        lease([100, 64, 0, 6], 6),
        lease([100, 64, 0, 99], 5_001),
    ]);
    server.store([ended(6, State::Released), ended(7, State::Abandoned)]);
    server
}

fn one(server: &Server, query: Query4) -> Message4 {
    let mut replies = server.bulk_replies(&query);
    assert_eq!(replies.len(), 1);
    replies.remove(0)
}

#[test]
fn by_mac_every_active_binding_of_the_client_is_told() {
    let server = server();
    let mac = [0x02, 0x5e, 0x10, 0, 0, 1];
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).hwaddr(1, &mac)),
        [address(1), address(5)]
    );
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).hwaddr(6, &mac)),
        [] as [Ipv4Addr; 0],
        "another hardware type"
    );
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).hwaddr(1, &mac[..5])),
        [] as [Ipv4Addr; 0],
        "another length"
    );
}

#[test]
fn by_client_identifier_every_active_binding_of_the_client_is_told() {
    let server = server();
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).client_id(&[1, 2, 0x5e, 0x10, 0, 0, 1])),
        [address(1), address(5)]
    );
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).client_id(&[1, 2, 0x5e, 0x10, 0, 0, 9])),
        [] as [Ipv4Addr; 0]
    );
}

#[test]
fn by_remote_id_every_active_binding_of_the_circuit_is_told() {
    let server = server();
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).remote_id(&remote_id(2))),
        [address(2)]
    );
}

#[test]
fn by_relay_id_every_active_binding_of_the_relay_agent_is_told() {
    let server = server();
    let expected: Vec<_> = (1..=5).map(address).collect();
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).relay_id(&relay_id(0))),
        expected
    );
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).relay_id(&relay_id(5))),
        [address(99)]
    );
}

#[test]
fn all_configured_addresses_are_told_once_each_free_ones_as_unassigned() {
    let server = server();
    let replies = server.bulk_replies(&Query4::bulk(1).want(&[156]));
    let mut told: Vec<_> = replies
        .iter()
        .map(|reply| (reply.ciaddr, reply.message_type, reply.octet(156)))
        .collect();
    told.sort();
    let active = |last| (address(last), 13, Some(2));
    let other = |last, state| (address(last), 11, Some(state));
    assert_eq!(
        told,
        [
            active(1),
            active(2),
            active(3),
            active(4),
            active(5),
            other(6, 4),
            other(7, 5),
            other(8, 1),
            other(9, 1),
            other(10, 1),
            active(99)
        ]
    );
}

#[test]
fn option_82_without_remote_id_or_relay_id_leaves_the_query_for_all() {
    let server = server();
    assert_eq!(
        server
            .bulk_replies(&Query4::bulk(1).option(82, &[1, 2, 9, 9]))
            .len(),
        11
    );
    assert_eq!(
        server.bulk_replies(&Query4::bulk(1).option(82, &[])).len(),
        11
    );
}

#[test]
fn a_hardware_type_without_an_address_is_not_a_key() {
    let server = server();
    let mut query = Query4::bulk(1).relay_id(&relay_id(5));
    query.header.htype = 1;
    assert_eq!(server.bulk_addresses(&query), [address(99)]);
    query.header.chaddr[3] = 1;
    assert_eq!(server.bulk(&query)[0].status(), Some(3));
}

#[test]
fn ciaddr_yiaddr_or_siaddr_set_is_malformed() {
    let server = server();
    type Set = fn(&mut Query4);
    let fields: [Set; 3] = [
        |query| query.header.ciaddr = address(1),
        |query| query.header.yiaddr = address(1),
        |query| query.header.siaddr = address(1),
    ];
    for set in fields {
        let mut query = Query4::bulk(77);
        set(&mut query);
        let answer = server.bulk(&query);
        assert_eq!(answer.len(), 1);
        assert_eq!(
            (answer[0].message_type, answer[0].xid, answer[0].status()),
            (15, 77, Some(3))
        );
        assert_eq!(
            answer[0].options[&54],
            SERVER.octets(),
            "the first message names the server"
        );
    }
}

#[test]
fn giaddr_does_not_matter() {
    let server = server();
    let mut query = Query4::bulk(1).relay_id(&relay_id(5));
    query.header.giaddr = Ipv4Addr::new(10, 9, 9, 9);
    assert_eq!(server.bulk_addresses(&query), [address(99)]);
}

#[test]
fn two_primary_queries_are_not_allowed() {
    let server = server();
    let mac = [2, 0x5e, 0x10, 0, 0, 1];
    let both_ids = [&[2, 8][..], &remote_id(1), &[12, 8], &relay_id(0)].concat();
    for query in [
        Query4::bulk(5).hwaddr(1, &mac).client_id(&[1, 2, 3]),
        Query4::bulk(5).client_id(&[1, 2, 3]).relay_id(&relay_id(0)),
        Query4::bulk(5).hwaddr(1, &mac).remote_id(&remote_id(0)),
        Query4::bulk(5).option(82, &both_ids),
    ] {
        let answer = server.bulk(&query);
        assert_eq!(
            (answer.len(), answer[0].message_type, answer[0].status()),
            (1, 15, Some(4))
        );
    }
}

#[test]
fn malformed_values_are_malformed_queries() {
    let server = server();
    for (code, value) in [
        (61, &[][..]),
        (82, &[2, 9, 1]),
        (82, &[2, 0]),
        (82, &[12, 0]),
        (82, &[2, 1, 1, 2, 1, 1]),
        (154, &[1, 2, 3]),
        (155, &[1, 2, 3, 4, 5]),
        (221, &[]),
        (221, &[1, 2]),
        (221, &[77]),
    ] {
        let answer = server.bulk(&Query4::bulk(5).option(code, value));
        assert_eq!(
            (answer.len(), answer[0].status()),
            (1, Some(3)),
            "option {code} {value:?}"
        );
    }
    let mut reply = Query4::bulk(5);
    reply.header.op = 2;
    assert_eq!(server.bulk(&reply)[0].status(), Some(3));
}

#[test]
fn only_one_of_each_qualifier_is_understood() {
    let server = server();
    let twice = Query4::bulk(5).since(START).since(START);
    assert_eq!(server.bulk(&twice)[0].status(), Some(3));
}

#[test]
fn every_query_ends_with_one_done_and_a_status_only_on_failure() {
    let server = server();
    for query in [
        Query4::bulk(3),
        Query4::bulk(3).relay_id(&relay_id(0)),
        Query4::bulk(3).relay_id(b"nobody"),
    ] {
        let messages = server.bulk(&query);
        let done: Vec<_> = messages
            .iter()
            .filter(|message| message.message_type == 15)
            .collect();
        assert_eq!(done.len(), 1);
        assert_eq!(messages.last(), Some(done[0]));
        assert_eq!(done[0].status(), None);
    }
}

#[test]
fn no_match_is_success() {
    let server = server();
    let messages = server.bulk(&Query4::bulk(3).relay_id(b"nobody"));
    assert_eq!(messages.len(), 1);
    assert_eq!((messages[0].message_type, messages[0].status()), (15, None));
}

#[test]
fn the_server_identifier_is_in_the_first_message_only() {
    let server = server();
    let messages = server.bulk(&Query4::bulk(3));
    assert_eq!(messages[0].options[&54], SERVER.octets());
    assert!(
        messages[1..]
            .iter()
            .all(|message| !message.options.contains_key(&54))
    );
    let empty = server.bulk(&Query4::bulk(3).relay_id(b"nobody"));
    assert_eq!(empty[0].options[&54], SERVER.octets());
}

#[test]
fn without_a_parameter_request_list_five_options_are_sent() {
    let server = server();
    let reply = one(&server, Query4::bulk(3).remote_id(&remote_id(2)));
    assert_eq!(reply.codes(), [51, 54, 61, 82, 91, 152]);
    assert_eq!(reply.number(152), Some(START));
    assert_eq!(reply.options[&61], [1, 2, 0x5e, 0x10, 0, 0, 2]);
    assert_eq!(
        (reply.htype, &reply.chaddr[..]),
        (1, &[2, 0x5e, 0x10, 0, 0, 2][..])
    );
}

#[test]
fn only_what_is_requested_is_sent() {
    let server = server();
    for list in [
        &[][..],
        &[152],
        &[61],
        &[82],
        &[82, 61, 51],
        &[156, 153],
        &[92, 151, 53, 54, 255, 0],
    ] {
        let reply = one(&server, Query4::bulk(3).remote_id(&remote_id(2)).want(list));
        let mut expected: Vec<u8> = list
            .iter()
            .copied()
            .filter(|code| ALL_TIMES.contains(code) || *code == 82)
            .collect();
        expected.push(54);
        expected.sort();
        assert_eq!(reply.codes(), expected, "asked for {list:?}");
    }
}

#[test]
fn times_are_relative_to_base_time() {
    let mut server = server();
    let mut event = lease([100, 64, 0, 20], 20);
    event.cltt = Some(START - 100);
    event.state_since = Some(START - 5_000);
    event.t1 = Some(1_800);
    event.t2 = Some(3_150);
    server.store([event]);
    server.advance(Duration::from_secs(60));
    let query = Query4::bulk(3).remote_id(&remote_id(20)).want(&ALL_TIMES);
    let reply = one(&server, query.clone());
    assert_eq!(reply.number(152), Some(START + 60));
    assert_eq!(reply.number(51), Some(3_600 - 160));
    assert_eq!(reply.number(58), Some(1_800 - 160));
    assert_eq!(reply.number(59), Some(3_150 - 160));
    assert_eq!(reply.number(91), Some(160));
    assert_eq!(reply.number(153), Some(5_060));
    assert_eq!(reply.octet(156), Some(2));
    server.advance(Duration::from_secs(1_640));
    let reply = one(&server, query.clone());
    assert_eq!(
        (reply.number(58), reply.number(59)),
        (None, Some(1_350)),
        "T1 is past"
    );
    server.advance(Duration::from_secs(1_400));
    let reply = one(&server, query);
    assert_eq!(
        (reply.number(51), reply.number(58), reply.number(59)),
        (Some(400), None, None),
        "T2 too"
    );
}

#[test]
fn infinity_is_sent_as_it_is() {
    let mut server = server();
    let mut event = lease([100, 64, 0, 20], 20);
    (event.lease_time, event.t1, event.t2) = (Some(u32::MAX), Some(u32::MAX), Some(u32::MAX));
    server.store([event]);
    server.advance(Duration::from_secs(100_000));
    let reply = one(
        &server,
        Query4::bulk(3).remote_id(&remote_id(20)).want(&ALL_TIMES),
    );
    assert_eq!(
        [51, 58, 59].map(|code| reply.number(code)),
        [Some(u32::MAX); 3]
    );
}

#[test]
fn the_message_type_follows_the_state_and_only_a_lease_has_a_lease_time() {
    let server = Server::new(vec![]);
    let states = [
        State::Available,
        State::Active,
        State::Expired,
        State::Released,
        State::Abandoned,
        State::Reset,
    ];
    for (n, state) in states
        .into_iter()
        .chain([State::Remote, State::Transitioning])
        .enumerate()
    {
        let mut event = lease([100, 64, 0, n as u8], n as u32);
        event.state = state;
        server.store([event]);
    }
    let replies = server.bulk_replies(&Query4::bulk(3).want(&ALL_TIMES));
    assert_eq!(replies.len(), 8);
    for reply in replies {
        let state = reply.octet(156).expect("dhcp-state");
        assert_eq!(
            usize::from(state),
            usize::from(reply.ciaddr.octets()[3]) + 1
        );
        assert_eq!(reply.message_type, if state == 2 { 13 } else { 11 });
        assert_eq!(reply.number(51).is_some(), state == 2);
        assert_eq!(reply.number(153), Some(0));
    }
}

#[test]
fn all_queries_but_all_tell_active_bindings_only() {
    let server = server();
    server.store([ended(2, State::Released)]);
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(3).remote_id(&remote_id(2))),
        [] as [Ipv4Addr; 0]
    );
    let since = Query4::bulk(3).relay_id(&relay_id(0)).since(START);
    assert!(
        !server.bulk_addresses(&since).contains(&address(2)),
        "not even with a start time"
    );
}

#[test]
fn a_never_leased_address_is_available_since_the_store_was_made() {
    let mut server = server();
    server.advance(Duration::from_secs(500));
    let replies = server.bulk_replies(&Query4::bulk(3).want(&[152, 153, 156, 91, 51]));
    let free = replies
        .iter()
        .find(|reply| reply.ciaddr == address(9))
        .expect("told");
    assert_eq!(
        (free.number(152), free.number(153), free.octet(156)),
        (Some(START + 500), Some(500), Some(1))
    );
    assert_eq!((free.number(91), free.number(51)), (None, None));
    assert_eq!((free.htype, &free.chaddr[..]), (0, &[][..]));
}

#[test]
fn data_source_is_sent_only_for_remote_bindings() {
    let server = server();
    let mut event = lease([100, 64, 0, 20], 20);
    event.remote = true;
    server.store([event]);
    let reply = one(
        &server,
        Query4::bulk(3).remote_id(&remote_id(20)).want(&[157]),
    );
    assert_eq!(reply.octet(157), Some(1));
    let reply = one(
        &server,
        Query4::bulk(3).remote_id(&remote_id(2)).want(&[157]),
    );
    assert_eq!(reply.octet(157), None);
}

#[test]
fn options_that_the_client_sent_are_returned_if_requested() {
    let server = server();
    let mut event = lease([100, 64, 0, 20], 20);
    let long: Vec<u8> = (0..600).map(|n| n as u8).collect();
    event.options = Some(vec![
        (12, b"host".to_vec()),
        (60, b"docsis3.0".to_vec()),
        (125, long.clone()),
    ]);
    server.store([event]);
    let query = Query4::bulk(3).remote_id(&remote_id(20));
    assert_eq!(
        one(&server, query.clone()).codes(),
        [51, 54, 61, 82, 91, 152],
        "only if requested"
    );
    let reply = one(&server, query.clone().want(&[125, 12, 51]));
    assert_eq!(reply.codes(), [12, 51, 54, 125]);
    assert_eq!(
        (&reply.options[&12][..], &reply.options[&125]),
        (&b"host"[..], &long),
        "split as RFC 3396 says"
    );
}

#[test]
fn withheld_options_are_never_sent() {
    let mut server = server();
    let mut event = lease([100, 64, 0, 20], 20);
    event.options = Some(vec![(12, b"host".to_vec()), (60, b"docsis3.0".to_vec())]);
    server.store([event]);
    let mut withholding = settings();
    withholding.dhcp4.withhold_options = [12, 61, 153].into_iter().collect();
    server.set(withholding);
    let query = Query4::bulk(3).remote_id(&remote_id(20));
    let reply = one(
        &server,
        query.clone().want(&[12, 60, 61, 82, 51, 91, 152, 153]),
    );
    assert_eq!(reply.codes(), [51, 54, 60, 82, 91, 152]);
    assert_eq!(one(&server, query).codes(), [51, 54, 82, 91, 152]);
}

#[test]
fn associated_ip_never_appears() {
    let server = server();
    let mac = [0x02, 0x5e, 0x10, 0, 0, 1];
    let replies = server.bulk_replies(&Query4::bulk(1).hwaddr(1, &mac).want(&[92, 51]));
    assert_eq!(replies.len(), 2);
    assert!(replies.iter().all(|reply| !reply.options.contains_key(&92)));
}

#[test]
fn a_client_identifier_longer_than_an_option_is_found_and_told() {
    let server = server();
    let long: Vec<u8> = (0..700).map(|n| n as u8).collect();
    let mut event = lease([100, 64, 0, 20], 20);
    event.client_id = Some(long.clone());
    server.store([event]);
    let reply = one(&server, Query4::bulk(1).client_id(&long));
    assert_eq!((reply.ciaddr, &reply.options[&61]), (address(20), &long));
}

#[test]
fn base_time_is_in_the_done_if_it_was_requested() {
    let server = server();
    let done = |query: Query4| server.bulk(&query).pop().expect("a message").number(152);
    assert_eq!(
        done(Query4::bulk(1).relay_id(b"nobody").want(&[152])),
        Some(START)
    );
    assert_eq!(done(Query4::bulk(1).relay_id(b"nobody").want(&[51])), None);
}

#[test]
fn an_address_is_told_at_most_once_even_if_it_changes_meanwhile() {
    let mut server = Server::new(vec![range([100, 64, 0, 0], [100, 64, 3, 255], "")]);
    let event = |n: u32| lease(Ipv4Addr::from_bits(0x6440_0000 + n).octets(), n);
    server.store((0..1_024).map(event));
    for query in [Query4::bulk(1), Query4::bulk(1).relay_id(&relay_id(0))] {
        let mut requestor = server.connect();
        requestor.ask(&query);
        requestor.deliver(&server);
        let mut told = Vec::new();
        let mut round = 0;
        while requestor.connection.has_output() {
            requestor.transmit(&server, 8_192);
            told.extend(
                requestor
                    .messages()
                    .into_iter()
                    .filter(|message| message.message_type != 15)
                    .map(|message| message.ciaddr),
            );
            // Everything changes again and again while it is told.
            round += 1;
            server.advance(Duration::from_secs(1));
            server.store((0..1_024).filter(|n| n % 7 == round % 7).map(|n| Event4 {
                cltt: Some(START + round),
                ..event(n)
            }));
        }
        let expected = if query.options.is_empty() {
            1_024
        } else {
            1_000
        };
        let count = told.len();
        told.sort();
        told.dedup();
        assert_eq!((told.len(), count), (expected, expected));
    }
}
