//! DHCPv6 leasequery over UDP: what RFC 5007 asks of a server, rule by rule, and RFC 5460 §4 for its query types.

use crate::support::*;
use leaseq_session::{Discard, QueryKind, QueryKinds, UdpAnswer};
use leaseq_store::{Event6, LinkConfig, Prefix6, State, Topology, Vpn};
use leaseq_wire::v6::{RelayMessage, message_type};

/// Client 1 with an address and a prefix on link 1; client 2 with addresses on links 1 and 2; client 3 with a prefix.
fn site() -> Site {
    Site::holding([
        address("2001:db8:1::11", 1, 1),
        delegation("3fff:101::", 48, 1, 1),
        address("2001:db8:1::12", 2, 1),
        address("2001:db8:2::12", 2, 2),
        delegation("3fff:303::", 48, 3, 3),
    ])
}

fn reply(site: &Site, request: &Request) -> Reply {
    let reply = site.udp(request).expect("a reply");
    assert_eq!((reply.message_type, reply.xid), (15, request.xid));
    assert_eq!(reply.server_id.as_deref(), Some(SERVER));
    assert_eq!(reply.client_id, request.client_id);
    reply
}

fn client(site: &Site, request: &Request) -> Told {
    let reply = reply(site, request);
    assert_eq!((reply.status, &reply.links), (None, &None));
    reply.client.expect("CLIENT_DATA")
}

fn status(site: &Site, request: &Request) -> u16 {
    let reply = reply(site, request);
    assert_eq!((&reply.client, &reply.links), (&None, &None));
    reply.status.expect("a status")
}

/// Neither data, nor links, nor a status.
fn finds_nothing(site: &Site, request: &Request) {
    let reply = reply(site, request);
    assert_eq!(
        (reply.status, reply.client, reply.links),
        (None, None, None)
    );
}

#[test]
fn by_address_tells_the_client_with_all_its_leases_on_the_link() {
    let told = client(&site(), &by_address("2001:db8:1::11"));
    assert_eq!(told.duid, duid(1));
    assert_eq!(told.addresses(), ["2001:db8:1::11/128", "3fff:101::/48"]);
    assert_eq!(told.leases[&(ip("3fff:101::"), 48)], (1_700, 3_500));
    assert_eq!(told.clt_time, Some(100));
}

#[test]
fn by_address_finds_the_delegated_prefix_that_contains_it() {
    assert_eq!(
        client(&site(), &by_address("3fff:303:0:5::9")).duid,
        duid(3)
    );
}

#[test]
fn by_address_that_is_not_leased_finds_nothing() {
    finds_nothing(&site(), &by_address("2001:db8:1::99"));
    finds_nothing(&site(), &by_address("3fff:3ff::1"));
}

#[test]
fn an_address_of_no_link_is_not_configured() {
    assert_eq!(status(&site(), &by_address("2001:db8:99::1")), 9);
}

#[test]
fn a_link_address_of_no_link_is_not_configured() {
    let site = site();
    for request in [by_address("2001:db8:1::11"), by_client_id(1)] {
        assert_eq!(status(&site, &request.on_link("2001:db8:99::1")), 9);
    }
}

#[test]
fn a_link_address_narrows_the_query_to_its_link() {
    let site = site();
    assert_eq!(
        client(&site, &by_client_id(2).on_link("2001:db8:2::1")).addresses(),
        ["2001:db8:2::12/128"]
    );
    finds_nothing(&site, &by_client_id(1).on_link("2001:db8:2::1"));
    finds_nothing(
        &site,
        &by_address("2001:db8:1::11").on_link("2001:db8:2::1"),
    );
    let there = by_address("2001:db8:1::11").on_link("2001:db8:1::1");
    assert_eq!(client(&site, &there).duid, duid(1));
}

#[test]
fn by_client_id_of_a_client_on_one_link_tells_it() {
    assert_eq!(client(&site(), &by_client_id(1)).leases.len(), 2);
    finds_nothing(&site(), &by_client_id(9));
}

#[test]
fn by_client_id_of_a_client_on_several_links_names_them_and_tells_no_data() {
    let site = site();
    let reply = reply(&site, &by_client_id(2));
    assert_eq!((reply.status, &reply.client), (None, &None));
    let mut links = reply.links.expect("LQ_CLIENT_LINK");
    links.sort();
    assert_eq!(links.len(), 2);
    for (link, leased) in links
        .iter()
        .zip(["2001:db8:1::12/128", "2001:db8:2::12/128"])
    {
        let again = by_client_id(2).on_link(&link.to_string());
        assert_eq!(client(&site, &again).addresses(), [leased]);
    }
}

#[test]
fn a_client_on_many_links_gets_each_of_them_named_once() {
    let site = Site::new();
    site.add((1..=40).map(|n| address(&format!("2001:db8:{n}::5"), 7, n)));
    let mut links = reply(&site, &by_client_id(7))
        .links
        .expect("LQ_CLIENT_LINK");
    links.sort();
    links.dedup();
    assert_eq!(links.len(), 40);
}

#[test]
fn leases_that_are_over_count_for_nothing() {
    let site = site();
    site.add([ended(address("2001:db8:2::12", 2, 2), State::Released)]);
    assert_eq!(
        client(&site, &by_client_id(2)).addresses(),
        ["2001:db8:1::12/128"]
    );
    site.add([
        ended(address("2001:db8:1::11", 1, 1), State::Expired),
        ended(delegation("3fff:101::", 48, 1, 1), State::Expired),
    ]);
    finds_nothing(&site, &by_client_id(1));
    finds_nothing(&site, &by_address("2001:db8:1::11"));
}

#[test]
fn a_live_prefix_is_found_under_one_that_is_over() {
    let site = site();
    site.add([ended(
        delegation("3fff:303:0:100::", 56, 8, 3),
        State::Expired,
    )]);
    assert_eq!(
        client(&site, &by_address("3fff:303:0:100::1")).duid,
        duid(3)
    );
}

#[test]
fn query_types_of_bulk_are_not_allowed() {
    let site = site();
    for request in [by_relay_id(1), by_link("2001:db8:1::"), by_remote_id(1)] {
        assert_eq!(status(&site, &request), 10);
    }
    for query_type in [3, 4, 5] {
        assert_eq!(status(&site, &Request::new(query_type, Vec::new())), 10);
    }
}

#[test]
fn an_unknown_query_type_is_named_so() {
    assert_eq!(status(&site(), &Request::new(6, Vec::new())), 7);
}

#[test]
fn a_query_without_its_query_option_is_malformed() {
    let site = site();
    for query_type in [1, 2] {
        assert_eq!(status(&site, &Request::new(query_type, Vec::new())), 8);
    }
    assert_eq!(status(&site, &Request::new(1, option(5, &[1; 20]))), 8);
}

#[test]
fn options_that_overrun_are_malformed() {
    let mut octets = by_client_id(1).octets();
    octets.truncate(octets.len() - 2);
    let reply = Reply::read(&site().datagram(&octets).expect("a reply"));
    assert_eq!((reply.message_type, reply.status), (15, Some(8)));
}

#[test]
fn a_message_without_client_id_is_discarded() {
    let site = site();
    for client_id in [None, Some(Vec::new())] {
        assert_eq!(
            site.udp(&Request {
                client_id,
                ..by_client_id(1)
            }),
            None
        );
    }
    assert_eq!(
        site.counters.v6.udp_discarded.of(Discard::NoClientId).get(),
        2
    );
}

#[test]
fn a_message_for_another_server_is_discarded() {
    let site = site();
    let other = Request {
        server_id: Some(vec![0, 3, 9]),
        ..by_client_id(1)
    };
    assert_eq!(site.udp(&other), None);
    assert_eq!(
        site.counters
            .v6
            .udp_discarded
            .of(Discard::OtherServer)
            .get(),
        1
    );
    let ours = Request {
        server_id: Some(SERVER.to_vec()),
        ..by_client_id(1)
    };
    assert_eq!(client(&site, &ours).duid, duid(1));
}

#[test]
fn a_message_without_query_option_is_discarded() {
    let site = site();
    assert_eq!(
        site.udp(&Request {
            has_query: false,
            ..by_client_id(1)
        }),
        None
    );
    assert_eq!(site.counters.v6.udp_discarded.of(Discard::NoQuery).get(), 1);
}

#[test]
fn a_leasequery_reply_and_other_messages_are_discarded() {
    let site = site();
    for message_type in [1, 7, 13, 15, 17, 22, 23, 255] {
        assert_eq!(
            site.udp(&Request {
                message_type,
                ..by_client_id(1)
            }),
            None
        );
    }
    assert_eq!(site.datagram(&[]), None);
    assert_eq!(site.datagram(&[14, 0, 0]), None);
}

#[test]
fn queries_that_a_requestor_may_not_make_are_not_allowed() {
    let mut site = site();
    site.restrict(|rule| rule.queries = QueryKinds::from_iter([QueryKind::Ip]));
    assert_eq!(status(&site, &by_client_id(1)), 10);
    assert_eq!(client(&site, &by_address("2001:db8:1::11")).duid, duid(1));
}

#[test]
fn a_requestor_limited_to_a_link_does_not_learn_of_others() {
    let mut site = site();
    site.restrict_to_link(1);
    assert_eq!(
        client(&site, &by_client_id(2)).addresses(),
        ["2001:db8:1::12/128"]
    );
    finds_nothing(&site, &by_address("2001:db8:2::12"));
    assert_eq!(status(&site, &by_client_id(2).on_link("2001:db8:2::1")), 10);
}

#[test]
fn a_requestor_limited_to_relay_agents_does_not_learn_of_others() {
    let mut site = site();
    site.restrict(|rule| rule.relay_ids = vec![relay_id(2)]);
    assert_eq!(
        client(&site, &by_client_id(2)).addresses(),
        ["2001:db8:2::12/128"]
    );
    finds_nothing(&site, &by_client_id(1));
}

#[test]
fn relay_data_and_options_are_told_if_asked_for_and_not_withheld() {
    let mut site = Site::new();
    let mut lease = address("2001:db8:1::1", 1, 1);
    lease.options = Some(vec![(23, vec![1; 16]), (39, vec![0, 1])]);
    site.add([lease]);
    let plain = client(&site, &by_client_id(1));
    assert_eq!((plain.relay_data, plain.options), (None, Vec::new()));
    let asked = by_client_id(1).oro(&[47, 23, 39]);
    let told = client(&site, &asked);
    assert!(told.relay_data.is_some());
    assert_eq!(told.options, [(23, vec![1; 16]), (39, vec![0, 1])]);
    site.settings.dhcp6.withhold_options = vec![39];
    assert_eq!(client(&site, &asked).options, [(23, vec![1; 16])]);
}

#[test]
fn a_vpn_is_honoured_and_told() {
    let red = Event6 {
        vpn: Vpn::named("red"),
        ..address("2001:db8:1::11", 5, 1)
    };
    let site = site();
    site.add([red]);
    let asked = reply(&site, &by_address("2001:db8:1::11").with(68, b"\0red"));
    assert_eq!(asked.client.unwrap().duid, duid(5));
    assert_eq!(asked.vss.as_deref(), Some(&b"\0red"[..]));
    assert_eq!(client(&site, &by_address("2001:db8:1::11")).duid, duid(1));
}

#[test]
fn more_leases_than_a_datagram_holds_are_refused_rather_than_cut_short() {
    let site = Site::new();
    site.add((0..3_000).map(|n| address(&format!("2001:db8:1::{n:x}"), 1, 1)));
    assert_eq!(status(&site, &by_client_id(1)), 1);
}

#[test]
fn a_small_buffer_is_no_harm() {
    let site = site();
    let settings = std::sync::Arc::new(site.settings.clone());
    let admission = leaseq_session::Admission::new(settings.clone());
    let mut responder = leaseq_session::Responder::new(settings, site.counters.clone(), admission);
    let reader = site.store.reader();
    let view = reader.view();
    let turn = leaseq_session::Turn {
        view: &view,
        now: leaseq_session::Mono::from_millis(1),
        server_time: reader.now(),
    };
    for size in 0..200 {
        let mut out = vec![0; size];
        let request = by_client_id(1).octets();
        let family = leaseq_session::Family::V6;
        if let Some(reply) = responder.answer(&turn, family, requestor(), &request, &mut out) {
            let reply = Reply::read(&out[..reply.octets]);
            assert!(
                reply.status == Some(1) || reply.client.is_some_and(|told| told.leases.len() == 2)
            );
        }
    }
}

#[test]
fn answers_are_counted_by_what_they_say() {
    let site = site();
    for request in [
        by_client_id(1),
        by_client_id(2),
        by_client_id(9),
        by_relay_id(1),
    ] {
        site.udp(&request);
    }
    for answer in [
        UdpAnswer::Active,
        UdpAnswer::Links,
        UdpAnswer::Unknown,
        UdpAnswer::Error,
    ] {
        assert_eq!(
            site.counters.v6.udp_answers.of(answer).get(),
            1,
            "{answer:?}"
        );
    }
    assert_eq!(
        site.counters.v6.udp_queries.of(QueryKind::ClientId).get(),
        3
    );
}

/// A message as relay agent number `hop` forwards it.
fn forwarded(message: &[u8], hop: u8, options: &[u8]) -> Vec<u8> {
    [
        &[message_type::RELAY_FORW, hop][..],
        &ip(&format!("2001:db8:{hop}::1")).octets(),
        &ip(&format!("fe80::{hop}")).octets(),
        options,
        &option(9, message),
    ]
    .concat()
}

/// Takes a RELAY-REPL apart that answers [`forwarded`], and returns the relayed message.
fn unwrap_reply(octets: &[u8], hop: u8) -> (RelayMessage<'_>, &[u8]) {
    let relay = RelayMessage::parse(octets).expect("RELAY-REPL");
    assert_eq!(
        (relay.msg_type, relay.hop_count),
        (message_type::RELAY_REPL, hop)
    );
    assert_eq!(relay.link_address, ip(&format!("2001:db8:{hop}::1")));
    assert_eq!(relay.peer_address, ip(&format!("fe80::{hop}")));
    (relay, relay.options.find(9).expect("RELAY_MSG"))
}

#[test]
fn a_forwarded_query_is_answered_through_its_relay_agents() {
    let site = site();
    let query = by_client_id(1);
    let inner = forwarded(&query.octets(), 0, &option(18, b"eth0"));
    let outer = forwarded(&inner, 1, &[]);
    let octets = site.datagram(&outer).expect("a reply");
    let (relay, middle) = unwrap_reply(&octets, 1);
    assert_eq!(relay.options.find(18), None);
    let (relay, innermost) = unwrap_reply(middle, 0);
    assert_eq!(relay.options.find(18), Some(&b"eth0"[..]));
    assert_eq!(Reply::read(innermost), site.udp(&query).unwrap());
}

#[test]
fn the_vpn_of_the_relay_agent_nearest_to_the_server_counts() {
    let site = site();
    let red = Event6 {
        vpn: Vpn::named("red"),
        ..address("2001:db8:1::11", 5, 1)
    };
    site.add([red]);
    let query = by_address("2001:db8:1::11").with(68, b"\0green").octets();
    let inner = forwarded(&query, 0, &option(68, b"\0blue"));
    let outer = forwarded(&inner, 1, &option(68, b"\0red"));
    let octets = site.datagram(&outer).expect("a reply");
    let (relay, middle) = unwrap_reply(&octets, 1);
    assert_eq!(relay.options.find(68), Some(&b"\0red"[..]));
    let (relay, innermost) = unwrap_reply(middle, 0);
    assert_eq!(relay.options.find(68), Some(&b"\0red"[..]));
    let reply = Reply::read(innermost);
    assert_eq!(reply.vss.as_deref(), Some(&b"\0red"[..]));
    assert_eq!(reply.client.unwrap().duid, duid(5));
}

#[test]
fn forwarded_queries_are_discarded_if_so_configured() {
    let mut site = Site::holding([address("2001:db8:1::a", 1, 1)]);
    let query = by_client_id(1);
    let once = forwarded(&query.octets(), 0, &[]);
    let twice = forwarded(&once, 1, &[]);
    site.settings.dhcp6.relayed_queries = false;
    assert_eq!(site.datagram(&once), None);
    assert_eq!(site.datagram(&twice), None);
    let discarded = &site.counters.v6.udp_discarded;
    assert_eq!(discarded.of(Discard::Relayed).get(), 2);
    assert_eq!(discarded.total(), 2);
    assert!(site.udp(&query).is_some(), "the requestor's own");
}

#[test]
fn what_no_relay_agent_forwards_is_discarded() {
    let site = site();
    let query = by_client_id(1).octets();
    let mut endless = query.clone();
    for _ in 0..40 {
        endless = forwarded(&endless, 0, &[]);
    }
    assert_eq!(site.datagram(&endless), None);
    let empty = forwarded(&[], 0, &[]);
    assert_eq!(site.datagram(&empty), None);
    assert_eq!(site.datagram(&empty[..34]), None);
    assert_eq!(site.datagram(&forwarded(&query, 0, &[0, 18, 0, 9])), None);
}

#[test]
fn a_link_that_only_a_lease_can_name_is_named_by_it() {
    // Configured links without a relay agent: their prefixes name them.
    let link = |n: u16| LinkConfig {
        name: format!("direct-{n}"),
        prefixes: vec![Prefix6 {
            address: ip(&format!("2001:db8:{n}::")),
            len: 48,
        }],
        delegated: Vec::new(),
    };
    let site = Site::with_topology(Topology {
        links6: vec![link(1), link(2)],
        ..Topology::default()
    });
    let direct = |text| Event6 {
        relay: None,
        link: Some(leaseq_store::Link6::Address(ip(text))),
        ..address(text, 1, 1)
    };
    site.add([direct("2001:db8:1::5"), direct("2001:db8:2::5")]);
    let links = reply(&site, &by_client_id(1))
        .links
        .expect("LQ_CLIENT_LINK");
    assert_eq!(links.len(), 2);
    for link in links {
        let again = by_client_id(1).on_link(&link.to_string());
        assert_eq!(client(&site, &again).leases.len(), 1);
    }
}
