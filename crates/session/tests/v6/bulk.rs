//! DHCPv6 bulk leasequery over TCP: what RFC 5460 asks of a server, rule by rule.

use crate::support::*;
use leaseq_session::{CloseReason, Fate, QueryEnd, QueryKind};
use leaseq_store::{Relay6, State};

/// Clients 1 to 3 on link 1, the first with an address and a prefix, the third on link 2 as well; client 4 on link 2.
pub(super) fn site() -> Site {
    Site::holding([
        address("2001:db8:1::11", 1, 1),
        delegation("3fff:101::", 48, 1, 1),
        address("2001:db8:1::12", 2, 1),
        address("2001:db8:1::13", 3, 1),
        address("2001:db8:2::13", 3, 2),
        delegation("3fff:204::", 48, 4, 2),
    ])
}

/// Whom these clients are, in order.
pub(super) fn duids(clients: &[Told]) -> Vec<Vec<u8>> {
    let mut duids: Vec<_> = clients.iter().map(|client| client.duid.clone()).collect();
    duids.sort();
    duids
}

/// The status of an answer that is one LEASEQUERY-REPLY.
pub(super) fn status_of(site: &Site, request: &Request) -> u16 {
    let replies = site.bulk(request);
    assert_eq!(
        replies.len(),
        1,
        "no LEASEQUERY-DONE follows a reply without data"
    );
    assert_eq!((replies[0].message_type, &replies[0].client), (15, &None));
    assert_eq!(replies[0].server_id.as_deref(), Some(SERVER));
    assert_eq!(replies[0].client_id, request.client_id);
    assert_eq!(replies[0].xid, request.xid);
    replies[0].status.expect("a status")
}

#[test]
fn an_answer_is_one_reply_then_data_then_done() {
    let replies = site().bulk(&by_relay_id(1));
    let types: Vec<u8> = replies.iter().map(|reply| reply.message_type).collect();
    assert_eq!(types, [15, 17, 17, 16]);
    assert_eq!(duids(&told(&replies)), [duid(1), duid(2), duid(3)]);
}

#[test]
fn each_message_has_the_transaction_id_of_the_query() {
    for reply in site().bulk(&by_relay_id(1).xid(0x00ab_cdef)) {
        assert_eq!(reply.xid, 0x00ab_cdef);
    }
}

#[test]
fn server_id_and_requestors_client_id_are_in_the_reply_alone() {
    let replies = site().bulk(&by_relay_id(1));
    assert_eq!(replies[0].server_id.as_deref(), Some(SERVER));
    assert_eq!(replies[0].client_id.as_deref(), Some(REQUESTOR));
    for later in &replies[1..] {
        assert_eq!(
            (&later.server_id, &later.client_id, later.status),
            (&None, &None, None)
        );
    }
}

#[test]
fn a_done_of_a_complete_answer_has_no_options() {
    let replies = site().bulk(&by_relay_id(1));
    assert_eq!(
        replies.last().map(|done| (done.message_type, done.octets)),
        Some((16, 4))
    );
}

#[test]
fn one_client_is_a_reply_and_a_done() {
    let replies = site().bulk(&by_client_id(2));
    assert_eq!(replies.len(), 2);
    assert_eq!(told(&replies)[0].addresses(), ["2001:db8:1::12/128"]);
}

#[test]
fn no_match_is_a_reply_with_neither_status_nor_data_and_no_done() {
    let site = site();
    for request in [
        by_client_id(77),
        by_relay_id(77),
        by_remote_id(77),
        by_link("2001:db8:4::"),
    ] {
        let replies = site.bulk(&request);
        assert_eq!(replies.len(), 1);
        assert_eq!(
            (
                replies[0].message_type,
                replies[0].status,
                &replies[0].client
            ),
            (15, None, &None)
        );
        assert_eq!(replies[0].server_id.as_deref(), Some(SERVER));
        assert_eq!(replies[0].client_id.as_deref(), Some(REQUESTOR));
    }
}

#[test]
fn a_message_holds_all_leases_of_one_client_on_one_link() {
    let clients = site().clients(&by_client_id(1));
    assert_eq!(clients.len(), 1);
    assert_eq!(
        clients[0].addresses(),
        ["2001:db8:1::11/128", "3fff:101::/48"]
    );
}

#[test]
fn all_leases_are_told_although_the_query_matches_one() {
    let site = site();
    let mut other = delegation("3fff:102::", 48, 1, 1);
    other.relay = Some(vec![Relay6 {
        options: option(37, &remote_id(9)),
        ..relay(1, 1)
    }]);
    site.add([other]);
    let clients = site.clients(&by_remote_id(9));
    assert_eq!(
        clients[0].addresses(),
        ["2001:db8:1::11/128", "3fff:101::/48", "3fff:102::/48"]
    );
    assert_eq!(clients.len(), 1);
}

#[test]
fn a_client_on_several_links_is_told_link_by_link_without_client_link_option() {
    let replies = site().bulk(&by_client_id(3));
    assert!(replies.iter().all(|reply| reply.links.is_none()));
    let mut addresses: Vec<_> = told(&replies).iter().map(Told::addresses).collect();
    addresses.sort();
    assert_eq!(addresses, [["2001:db8:1::13/128"], ["2001:db8:2::13/128"]]);
}

#[test]
fn by_address_finds_the_client_that_has_it() {
    let clients = site().clients(&by_address("2001:db8:1::11"));
    assert_eq!(duids(&clients), [duid(1)]);
    assert_eq!(clients[0].leases.len(), 2);
}

#[test]
fn by_address_finds_the_client_with_a_prefix_that_contains_it() {
    let clients = site().clients(&by_address("3fff:204:0:77::1"));
    assert_eq!(duids(&clients), [duid(4)]);
}

#[test]
fn by_address_not_leased_is_no_match() {
    assert_eq!(site().clients(&by_address("2001:db8:1::99")), []);
}

#[test]
fn by_address_of_no_link_is_not_configured() {
    assert_eq!(status_of(&site(), &by_address("2001:db8:99::1")), 9);
}

#[test]
fn by_relay_id_finds_any_relay_agent_on_the_way() {
    let site = site();
    let mut lease = address("2001:db8:3::1", 8, 3);
    let outer = Relay6 {
        link: ip("2001:db8:ffff::1"),
        peer: ip("2001:db8:3::1"),
        options: option(53, &relay_id(30)),
    };
    lease.relay = Some(vec![outer, relay(3, 8)]);
    site.add([lease]);
    for n in [3, 30] {
        assert_eq!(duids(&site.clients(&by_relay_id(n))), [duid(8)]);
    }
}

#[test]
fn by_relay_id_with_a_link_tells_that_link_alone() {
    let site = site();
    let mut roaming = address("2001:db8:2::15", 5, 2);
    roaming.relay = Some(vec![Relay6 {
        options: option(53, &relay_id(1)),
        ..relay(2, 5)
    }]);
    site.add([roaming]);
    let everywhere = site.clients(&by_relay_id(1));
    assert_eq!(duids(&everywhere), [duid(1), duid(2), duid(3), duid(5)]);
    let there = site.clients(&by_relay_id(1).on_link("2001:db8:2::77"));
    assert_eq!(duids(&there), [duid(5)]);
}

#[test]
fn by_link_address_finds_its_clients_whatever_address_of_the_link_is_given() {
    let site = site();
    for link in ["2001:db8:1::1", "2001:db8:1:ffff::"] {
        assert_eq!(
            duids(&site.clients(&by_link(link))),
            [duid(1), duid(2), duid(3)]
        );
    }
    assert_eq!(
        duids(&site.clients(&by_link("2001:db8:2::1"))),
        [duid(3), duid(4)]
    );
}

#[test]
fn by_remote_id_is_an_exact_match() {
    let site = site();
    assert_eq!(duids(&site.clients(&by_remote_id(2))), [duid(2)]);
    let mut shorter = by_remote_id(2);
    let value = remote_id(2);
    shorter.query_options = option(37, &value[..value.len() - 1]);
    assert_eq!(site.clients(&shorter), []);
}

#[test]
fn by_remote_id_with_a_link_tells_that_link_alone() {
    let clients = site().clients(&by_remote_id(3).on_link("2001:db8:2::1"));
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0].addresses(), ["2001:db8:2::13/128"]);
}

#[test]
fn by_client_id_and_by_address_with_a_link_tell_that_link_alone() {
    let site = site();
    let clients = site.clients(&by_client_id(3).on_link("2001:db8:1::1"));
    assert_eq!(clients[0].addresses(), ["2001:db8:1::13/128"]);
    assert_eq!(clients.len(), 1);
    assert_eq!(
        site.clients(&by_address("2001:db8:1::13").on_link("2001:db8:2::1")),
        []
    );
    let there = site.clients(&by_address("2001:db8:1::13").on_link("2001:db8:1::1"));
    assert_eq!(there.len(), 1);
}

#[test]
fn a_link_that_is_not_found_is_not_configured() {
    let site = site();
    for request in [
        by_address("2001:db8:1::11"),
        by_client_id(1),
        by_relay_id(1),
        by_link("::1"),
        by_remote_id(1),
    ] {
        assert_eq!(status_of(&site, &request.on_link("2001:db8:99::1")), 9);
    }
}

#[test]
fn a_link_known_from_relay_agents_alone_is_found_by_its_address() {
    let site = site();
    site.add([address("2001:db8:77::5", 6, 77)]);
    assert_eq!(duids(&site.clients(&by_link("2001:db8:77::1"))), [duid(6)]);
    assert_eq!(
        duids(&site.clients(&by_address("2001:db8:77::5"))),
        [duid(6)]
    );
}

#[test]
fn leases_that_are_over_are_not_told() {
    let site = site();
    site.add([
        ended(delegation("3fff:101::", 48, 1, 1), State::Released),
        ended(address("2001:db8:1::12", 2, 1), State::Expired),
        ended(address("2001:db8:2::13", 3, 2), State::Abandoned),
    ]);
    let clients = site.clients(&by_relay_id(1));
    assert_eq!(duids(&clients), [duid(1), duid(3)]);
    assert_eq!(
        site.clients(&by_client_id(1))[0].addresses(),
        ["2001:db8:1::11/128"]
    );
    assert_eq!(duids(&site.clients(&by_link("2001:db8:2::"))), [duid(4)]);
    assert_eq!(site.clients(&by_address("2001:db8:1::12")), []);
}

#[test]
fn a_lease_is_not_told_from_the_second_of_its_end() {
    let site = site();
    let mut pair = site.connect();
    pair.advance(3_499);
    pair.send(&by_client_id(2));
    assert_eq!(
        told(&pair.replies())[0].leases.values().next(),
        Some(&(0, 1))
    );
    pair.advance(1);
    pair.send(&by_client_id(2));
    assert_eq!(told(&pair.replies()), []);
}

#[test]
fn lifetimes_are_what_remains_and_clt_time_is_seconds_ago() {
    let site = site();
    let mut pair = site.connect();
    pair.send(&by_client_id(2));
    let client = told(&pair.replies()).remove(0);
    assert_eq!(client.leases[&(ip("2001:db8:1::12"), 128)], (1_700, 3_500));
    assert_eq!(client.clt_time, Some(100));
    pair.advance(250);
    pair.send(&by_client_id(2));
    let client = told(&pair.replies()).remove(0);
    assert_eq!(client.leases[&(ip("2001:db8:1::12"), 128)], (1_450, 3_250));
    assert_eq!(client.clt_time, Some(350));
}

#[test]
fn infinite_lifetimes_are_not_counted_down() {
    let site = Site::new();
    let mut lease = address("2001:db8:1::1", 1, 1);
    lease.preferred_lifetime = Some(u32::MAX);
    lease.valid_lifetime = Some(u32::MAX);
    site.add([lease]);
    let client = site.clients(&by_client_id(1)).remove(0);
    assert_eq!(
        client.leases[&(ip("2001:db8:1::1"), 128)],
        (u32::MAX, u32::MAX)
    );
}

#[test]
fn a_preferred_lifetime_is_never_told_longer_than_the_valid_one() {
    let site = Site::new();
    let mut lease = address("2001:db8:1::1", 1, 1);
    lease.preferred_lifetime = Some(9_000);
    site.add([lease]);
    let client = site.clients(&by_client_id(1)).remove(0);
    assert_eq!(client.leases[&(ip("2001:db8:1::1"), 128)], (3_500, 3_500));
}

#[test]
fn clt_time_is_that_of_the_clients_last_transaction_on_the_link() {
    let site = site();
    let mut renewed = delegation("3fff:101::", 48, 1, 1);
    renewed.cltt = Some(NOW - 7);
    site.add([renewed]);
    assert_eq!(site.clients(&by_client_id(1))[0].clt_time, Some(7));
}

#[test]
fn relay_data_is_told_if_the_query_options_ask_for_it() {
    let site = site();
    assert_eq!(site.clients(&by_client_id(1))[0].relay_data, None);
    let mut elsewhere = by_client_id(1);
    elsewhere.message_oro = vec![47];
    assert_eq!(site.clients(&elsewhere)[0].relay_data, None);

    let client = site.clients(&by_client_id(1).oro(&[47])).remove(0);
    let relay_forw = [
        &[12, 0][..],
        &ip("2001:db8:1::1").octets(),
        &ip("fe80::1").octets(),
        &relay(1, 1).options,
    ]
    .concat();
    let relay_data = client.relay_data.expect("relay data");
    assert_eq!(relay_data.len(), 16 + relay_forw.len());
    assert_eq!(relay_data[16..], relay_forw);
}

#[test]
fn relay_data_is_not_made_up_for_a_client_without_relay_agent() {
    let site = Site::new();
    let mut direct = address("2001:db8:1::1", 1, 1);
    direct.relay = None;
    site.add([direct]);
    let client = site
        .clients(&by_address("2001:db8:1::1").oro(&[47]))
        .remove(0);
    assert_eq!(client.relay_data, None);
}

#[test]
fn client_options_are_told_if_asked_for_and_not_withheld() {
    let mut site = Site::new();
    let mut lease = address("2001:db8:1::1", 1, 1);
    lease.options = Some(vec![
        (23, vec![1; 16]),
        (24, b"\x07example\0".to_vec()),
        (39, vec![0, 1]),
    ]);
    let mut prefix = delegation("3fff:101::", 48, 1, 1);
    prefix.cltt = Some(NOW - 50);
    prefix.options = Some(vec![(23, vec![2; 16])]);
    site.add([lease, prefix]);

    assert_eq!(site.clients(&by_client_id(1))[0].options, []);
    let asked = by_client_id(1).oro(&[23, 39, 24, 31]);
    let all = [
        (23, vec![2; 16]),
        (24, b"\x07example\0".to_vec()),
        (39, vec![0, 1]),
    ];
    // Option 23 as of the last transaction; what that did not tell, from the lease that has it.
    assert_eq!(site.clients(&asked)[0].options, all);

    site.settings.dhcp6.withhold_options = vec![24, 47];
    assert_eq!(
        site.clients(&asked)[0].options,
        [all[0].clone(), all[2].clone()]
    );
    assert_eq!(
        site.clients(&by_client_id(1).oro(&[47]))[0].relay_data,
        None
    );
}

#[test]
fn transaction_ids_can_be_used_again_after_the_answer() {
    let site = site();
    let mut pair = site.connect();
    for _ in 0..3 {
        pair.send(&by_client_id(1));
        assert_eq!(told(&pair.replies()).len(), 1);
    }
}

#[test]
fn answers_to_parallel_queries_are_told_apart_by_transaction_id() {
    let site = site();
    let mut pair = site.connect();
    pair.send(&by_relay_id(1).xid(1));
    pair.send(&by_link("2001:db8:2::").xid(2));
    pair.send(&by_client_id(99).xid(3));
    pair.send(&Request::new(9, Vec::new()).xid(4));
    let replies = pair.replies();
    let of = |xid| -> Vec<Reply> {
        replies
            .iter()
            .filter(|reply| reply.xid == xid)
            .cloned()
            .collect()
    };
    assert_eq!(duids(&told(&of(1))), [duid(1), duid(2), duid(3)]);
    assert_eq!(duids(&told(&of(2))), [duid(3), duid(4)]);
    assert_eq!(told(&of(3)), []);
    assert_eq!(of(4)[0].status, Some(7));
}

#[test]
fn a_half_closed_connection_gets_its_answers_and_is_closed_then() {
    let site = site();
    let mut pair = site.connect();
    pair.target = 1;
    pair.send(&by_relay_id(1));
    let first = pair.turn();
    pair.connection.peer_closed(pair.now);
    let mut octets: Vec<Vec<u8>> = messages(&first);
    octets.extend(pair.messages());
    let replies: Vec<_> = octets.iter().map(|octets| Reply::read(octets)).collect();
    assert_eq!(told(&replies).len(), 3);
    assert_eq!(
        pair.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::PeerClosed)
    );
}

#[test]
fn what_is_sent_is_counted() {
    let site = site();
    site.clients(&by_relay_id(1));
    let counters = &site.counters.v6;
    assert_eq!(counters.queries.of(QueryKind::RelayId).get(), 1);
    assert_eq!(counters.ended.of(QueryEnd::Success).get(), 1);
    assert_eq!(counters.bindings.get(), 4);
}

#[test]
fn a_client_that_has_left_a_relay_agent_is_not_told_there_for_a_past_lease() {
    let site = site();
    let mut moved = address("2001:db8:1::12", 2, 1);
    moved.relay = Some(vec![Relay6 {
        options: option(53, &relay_id(7)),
        ..relay(1, 2)
    }]);
    site.add([
        ended(delegation("3fff:105::", 48, 2, 1), State::Released),
        moved,
    ]);
    assert_eq!(duids(&site.clients(&by_relay_id(1))), [duid(1), duid(3)]);
    assert_eq!(duids(&site.clients(&by_relay_id(7))), [duid(2)]);
    assert_eq!(site.clients(&by_remote_id(2)), []);
}
