//! RFC 4388 and RFC 6148: leasequery over UDP.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use leaseq_session::{Discard, ReplyTo, UdpAnswer};
use leaseq_store::{Event4, State, Vpn};

use crate::fixture::{SERVER, START, Server, lease, limits, range, relay_id, remote_id, settings};
use crate::message::Query4;

const CLIENT_1: [u8; 6] = [0x02, 0x5e, 0x10, 0, 0, 1];

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(100, 64, 0, last)
}

/// 100.64.0.1-10 configured: 1 leased to client 1, 2 released.
fn server() -> Server {
    let server = Server::new(vec![range([100, 64, 0, 1], [100, 64, 0, 10], "")]);
    server.store([lease([100, 64, 0, 1], 1), lease([100, 64, 0, 2], 2)]);
    server.store([Event4::new(address(2), State::Released)]);
    server
}

fn discarded(server: &Server, reason: Discard) -> u64 {
    server.counters.v4.udp_discarded.of(reason).get()
}

#[test]
fn a_leased_address_is_active() {
    let server = server();
    let reply = server
        .udp(
            &Query4::udp(9)
                .address([100, 64, 0, 1])
                .want(&[51, 61, 82, 91]),
        )
        .expect("an answer");
    assert_eq!(
        (reply.message_type, reply.xid, reply.ciaddr),
        (13, 9, address(1))
    );
    assert_eq!((reply.htype, &reply.chaddr[..]), (1, &CLIENT_1[..]));
    assert_eq!(reply.codes(), [51, 54, 61, 82, 91]);
    assert_eq!(reply.options[&54], SERVER.octets());
    assert_eq!(
        server.counters.v4.udp_answers.of(UdpAnswer::Active).get(),
        1
    );
}

#[test]
fn a_managed_address_without_a_lease_is_unassigned_and_carries_no_other_option() {
    let server = server();
    for last in [2, 3] {
        let reply = server
            .udp(
                &Query4::udp(9)
                    .address([100, 64, 0, last])
                    .want(&[51, 61, 82, 91, 152, 156]),
            )
            .expect("an answer");
        assert_eq!(
            (reply.message_type, reply.ciaddr, reply.codes()),
            (11, address(last), vec![54])
        );
        assert_eq!((reply.htype, &reply.chaddr[..]), (0, &[][..]));
    }
}

#[test]
fn an_address_that_is_not_managed_is_unknown_and_is_repeated() {
    let server = server();
    let reply = server
        .udp(&Query4::udp(9).address([198, 51, 100, 7]).want(&[51, 82]))
        .expect("an answer");
    assert_eq!(
        (reply.message_type, reply.ciaddr, reply.codes()),
        (12, Ipv4Addr::new(198, 51, 100, 7), vec![54])
    );
}

#[test]
fn by_mac_and_by_client_identifier_the_client_s_binding_is_told() {
    let server = server();
    let by_mac = server
        .udp(&Query4::udp(9).hwaddr(1, &CLIENT_1))
        .expect("an answer");
    let by_client_id = server
        .udp(&Query4::udp(9).client_id(&[&[1], &CLIENT_1[..]].concat()))
        .expect("an answer");
    assert_eq!((by_mac.message_type, by_mac.ciaddr), (13, address(1)));
    assert_eq!(by_mac, by_client_id);
}

#[test]
fn a_client_without_a_lease_is_unknown_never_unassigned() {
    let server = server();
    for query in [
        Query4::udp(9).hwaddr(1, &[2, 0x5e, 0x10, 0, 0, 2]),
        Query4::udp(9).client_id(b"nobody"),
    ] {
        let reply = server.udp(&query).expect("an answer");
        assert_eq!(
            (reply.message_type, reply.ciaddr, reply.codes()),
            (12, Ipv4Addr::UNSPECIFIED, vec![54])
        );
    }
}

#[test]
fn of_several_addresses_the_latest_transaction_is_told_and_all_are_listed() {
    let server = server();
    let mut events = [
        lease([100, 64, 0, 5], 1),
        lease([100, 64, 0, 6], 1),
        lease([100, 64, 0, 7], 1),
    ];
    for (event, cltt) in events.iter_mut().zip([START - 20, START - 5, START - 30]) {
        event.cltt = Some(cltt);
        event.lease_time = Some(7_200);
    }
    server.store(events);
    server.store([Event4 {
        cltt: Some(START - 40),
        ..lease([100, 64, 0, 1], 1)
    }]);
    for query in [
        Query4::udp(9).hwaddr(1, &CLIENT_1).want(&[51]),
        Query4::udp(9).remote_id(&remote_id(1)).want(&[51, 92]),
    ] {
        let reply = server.udp(&query).expect("an answer");
        assert_eq!((reply.ciaddr, reply.number(51)), (address(6), Some(7_195)));
        let mut listed: Vec<_> = reply.options[&92]
            .chunks(4)
            .map(|octets| octets[3])
            .collect();
        listed.sort();
        assert_eq!(listed, [1, 5, 6, 7], "requested or not");
    }
}

#[test]
fn a_single_address_is_listed_only_if_that_was_requested() {
    let server = server();
    let listed = |list: &[u8]| {
        server
            .udp(&Query4::udp(9).hwaddr(1, &CLIENT_1).want(list))
            .expect("an answer")
            .options
            .get(&92)
            .cloned()
    };
    assert_eq!(listed(&[51]), None);
    assert_eq!(listed(&[51, 92]), Some(vec![100, 64, 0, 1]));
}

#[test]
fn more_addresses_than_an_option_holds_are_split() {
    let server = server();
    server.store((0..200).map(|n| lease([100, 64, 1, n], 1)));
    let reply = server
        .udp(&Query4::udp(9).hwaddr(1, &CLIENT_1))
        .expect("an answer");
    assert_eq!(reply.options[&92].len(), 4 * 201);
}

#[test]
fn by_remote_id_the_circuit_s_binding_is_told() {
    let server = server();
    let reply = server
        .udp(&Query4::udp(9).remote_id(&remote_id(1)).want(&[82]))
        .expect("an answer");
    assert_eq!(
        (reply.message_type, reply.ciaddr, reply.codes()),
        (13, address(1), vec![54, 82])
    );
    assert_eq!(
        reply.options[&82],
        crate::fixture::relay_info(0, 1),
        "as last received, not as in the query"
    );
}

#[test]
fn an_unknown_remote_id_echoes_option_82_and_nothing_else() {
    let server = server();
    let reply = server
        .udp(&Query4::udp(9).remote_id(b"nobody").want(&[51, 91]))
        .expect("an answer");
    assert_eq!((reply.message_type, reply.codes()), (12, vec![54, 82]));
    assert_eq!(reply.options[&82], b"\x02\x06nobody");
}

#[test]
fn option_82_beside_another_key_is_ignored() {
    let server = server();
    for query in [
        Query4::udp(9).address([100, 64, 0, 1]).remote_id(b"nobody"),
        Query4::udp(9).hwaddr(1, &CLIENT_1).remote_id(b"nobody"),
        Query4::udp(9).hwaddr(1, &CLIENT_1).relay_id(&relay_id(7)),
        Query4::udp(9)
            .client_id(&[&[1], &CLIENT_1[..]].concat())
            .option(82, &[1, 1, 9]),
    ] {
        let reply = server.udp(&query).expect("an answer");
        assert_eq!((reply.message_type, reply.ciaddr), (13, address(1)));
    }
}

#[test]
fn option_82_with_more_than_a_remote_id_is_no_key() {
    let server = server();
    let both = [&[2, 8][..], &remote_id(1), &[1, 1, 9]].concat();
    for query in [
        Query4::udp(9).option(82, &both),
        Query4::udp(9).relay_id(&relay_id(0)),
        Query4::udp(9).option(82, &[]),
    ] {
        assert_eq!(server.udp(&query), None);
    }
    assert_eq!(discarded(&server, Discard::NotOneKey), 3);
}

#[test]
fn not_exactly_one_key_is_discarded() {
    let server = server();
    for query in [
        Query4::udp(9),
        Query4::udp(9).address([100, 64, 0, 1]).hwaddr(1, &CLIENT_1),
        Query4::udp(9).address([100, 64, 0, 1]).client_id(b"c"),
        Query4::udp(9).hwaddr(1, &CLIENT_1).client_id(b"c"),
    ] {
        assert_eq!(server.udp(&query), None);
    }
    assert_eq!(discarded(&server, Discard::NotOneKey), 4);
}

#[test]
fn without_giaddr_there_is_no_reply() {
    let server = server();
    let mut query = Query4::udp(9).address([100, 64, 0, 1]);
    query.header.giaddr = Ipv4Addr::UNSPECIFIED;
    assert_eq!(server.udp(&query), None);
    assert_eq!(discarded(&server, Discard::NoGiaddr), 1);
}

#[test]
fn the_reply_goes_to_port_67_of_giaddr_or_to_the_source_if_configured() {
    let mut server = server();
    let mut query = Query4::udp(9).address([100, 64, 0, 1]);
    query.header.giaddr = Ipv4Addr::new(10, 7, 7, 7);
    let (reply, to) = server.udp_to(&query.message()).expect("an answer");
    assert_eq!(
        (reply.giaddr, to),
        (query.header.giaddr, SocketAddr::from(([10, 7, 7, 7], 67)))
    );
    let mut to_source = settings();
    to_source.dhcp4.reply_to = ReplyTo::Source;
    server.set(to_source);
    let (_, to) = server.udp_to(&query.message()).expect("an answer");
    assert_eq!(to, SocketAddr::from(([10, 0, 0, 1], 6_767)));
}

#[test]
fn giaddr_is_never_a_key() {
    let server = server();
    let mut query = Query4::udp(9).address([100, 64, 0, 1]);
    query.header.giaddr = Ipv4Addr::new(203, 0, 113, 1);
    assert_eq!(server.udp(&query).map(|reply| reply.message_type), Some(13));
}

#[test]
fn without_a_parameter_request_list_a_lease_s_times_and_identity_are_sent() {
    let server = server();
    let mut event = lease([100, 64, 0, 1], 1);
    (event.t1, event.t2) = (Some(1_800), Some(3_000));
    server.store([event]);
    let reply = server
        .udp(&Query4::udp(9).address([100, 64, 0, 1]))
        .expect("an answer");
    assert_eq!(reply.codes(), [51, 54, 58, 59, 61, 82, 91]);
}

#[test]
fn lease_time_t1_and_t2_are_what_is_left_of_them() {
    let mut server = server();
    let mut event = lease([100, 64, 0, 1], 1);
    (event.t1, event.t2) = (Some(1_800), Some(3_000));
    server.store([event]);
    server.advance(Duration::from_secs(2_000));
    let reply = server
        .udp(
            &Query4::udp(9)
                .address([100, 64, 0, 1])
                .want(&[51, 58, 59, 91]),
        )
        .expect("an answer");
    assert_eq!(
        (reply.number(51), reply.number(58), reply.number(59)),
        (Some(1_600), None, Some(1_000))
    );
    assert_eq!(reply.number(91), Some(2_000));
}

#[test]
fn an_expired_lease_is_unassigned() {
    let mut server = server();
    server.advance(Duration::from_secs(3_601));
    let reply = server
        .udp(&Query4::udp(9).address([100, 64, 0, 1]))
        .expect("an answer");
    assert_eq!(reply.message_type, 11);
    let reply = server
        .udp(&Query4::udp(9).hwaddr(1, &CLIENT_1))
        .expect("an answer");
    assert_eq!(reply.message_type, 12);
}

#[test]
fn only_non_sensitive_options_are_returned() {
    let mut server = server();
    let mut event = lease([100, 64, 0, 1], 1);
    event.options = Some(vec![
        (12, b"host".to_vec()),
        (60, b"docsis".to_vec()),
        (90, vec![1; 11]),
    ]);
    server.store([event]);
    let query = Query4::udp(9)
        .address([100, 64, 0, 1])
        .want(&[12, 60, 90, 61, 53, 55]);
    assert_eq!(
        server.udp(&query).expect("an answer").codes(),
        [12, 54, 60, 61]
    );
    let mut withholding = settings();
    withholding.dhcp4.withhold_options = [12].into_iter().collect();
    server.set(withholding);
    assert_eq!(server.udp(&query).expect("an answer").codes(), [54, 60, 61]);
}

#[test]
fn a_query_for_a_vpn_is_answered_with_the_vpn() {
    let server = server();
    let mut event = lease([100, 64, 0, 1], 77);
    event.vpn = Vpn::named("blue");
    server.store([event]);
    let query = |last| {
        Query4::udp(9)
            .address([100, 64, 0, last])
            .want(&[51])
            .vpn(b"\0blue")
    };
    let reply = server.udp(&query(1)).expect("an answer");
    assert_eq!(
        (reply.message_type, &reply.chaddr[..], reply.codes()),
        (13, &[2, 0x5e, 0x10, 0, 0, 77][..], vec![51, 54, 221])
    );
    let reply = server.udp(&query(3)).expect("an answer");
    assert_eq!(
        (reply.message_type, reply.codes()),
        (12, vec![54, 221]),
        "the range is of the global VPN"
    );
    assert_eq!(
        server.udp(&Query4::udp(9).address([100, 64, 0, 1]).vpn(&[254])),
        None,
        "the wildcard is for bulk alone"
    );
}

#[test]
fn a_message_of_another_type_is_discarded() {
    let server = server();
    for message_type in [1, 11, 13, 14, 16, 18] {
        let query = Query4 {
            message_type,
            ..Query4::udp(9).address([100, 64, 0, 1])
        };
        assert_eq!(server.udp(&query), None, "message type {message_type}");
    }
    let mut reply = Query4::udp(9).address([100, 64, 0, 1]);
    reply.header.op = 2;
    assert_eq!(server.udp(&reply), None);
    assert_eq!(discarded(&server, Discard::MessageType), 7);
    assert_eq!(server.udp_to(b"short"), None);
    assert_eq!(discarded(&server, Discard::Malformed), 1);
}

#[test]
fn each_requestor_has_its_own_rate() {
    let mut server = Server::with(limits(|limits| limits.udp_queries_per_second = 3), vec![]);
    let request = Query4::udp(9).address([100, 64, 0, 1]).message();
    let answered = |server: &Server, from| {
        (0..10)
            .filter(|_| server.udp_from(from, &request).is_some())
            .count()
    };
    assert_eq!(answered(&server, [10, 0, 0, 1]), 3);
    assert_eq!(answered(&server, [10, 0, 0, 2]), 3);
    assert_eq!(discarded(&server, Discard::RateLimit), 14);
    server.advance(Duration::from_secs(1));
    assert_eq!(answered(&server, [10, 0, 0, 1]), 3);
}

#[test]
fn an_answer_that_does_not_fit_is_not_sent_in_part() {
    let server = server();
    let request = Query4::udp(9).address([100, 64, 0, 1]).message();
    let mut out = [0; 300];
    assert_eq!(server.datagram([10, 0, 0, 1], &request, &mut out), None);
    assert_eq!(discarded(&server, Discard::TooLong), 1);
}

#[test]
fn an_overloaded_query_is_read_whole() {
    let server = server();
    let mut octets = Query4::udp(9).option(52, &[1]).message();
    let client_id = [&[61, 7, 1], &CLIENT_1[..], &[255]].concat();
    octets[108..108 + client_id.len()].copy_from_slice(&client_id);
    let (reply, _) = server.udp_to(&octets).expect("an answer");
    assert_eq!((reply.message_type, reply.ciaddr), (13, address(1)));
}
