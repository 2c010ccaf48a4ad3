//! RFC 6926: the qualifiers of a bulk query: times, and VPNs.

use std::net::Ipv4Addr;
use std::time::Duration;

use leaseq_store::Vpn;

use crate::fixture::{START, Server, lease, range, relay_id, remote_id};
use crate::message::Query4;

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(100, 64, 0, last)
}

/// 100.64.0.1-10 configured, 1 to 4 of them leased to clients 1 to 4 of relay 0.
fn leases() -> Server {
    let server = Server::new(vec![range([100, 64, 0, 1], [100, 64, 0, 10], "")]);
    server.store((1..=4).map(|n| lease([100, 64, 0, n], u32::from(n))));
    server
}

#[test]
fn a_window_includes_both_its_ends() {
    let mut server = Server::new(vec![]);
    server.advance(Duration::from_secs(1_000));
    let mut event = lease([100, 64, 0, 1], 1);
    (event.cltt, event.state_since) = (Some(START + 10), Some(START + 20));
    server.store([event]);
    // Changed at the last transaction, at the start of its state, and when it was stored.
    for time in [START + 10, START + 20, START + 1_000] {
        let told = |query: Query4| server.bulk_replies(&query).len();
        assert_eq!(
            told(Query4::bulk(1).since(time).until(time)),
            1,
            "at {time}"
        );
        assert_eq!(
            told(Query4::bulk(1).since(time + 1).until(time + 5)),
            0,
            "after {time}"
        );
        assert_eq!(
            told(Query4::bulk(1).since(time - 5).until(time - 1)),
            0,
            "before {time}"
        );
    }
    assert_eq!(
        server
            .bulk_replies(&Query4::bulk(1).since(START + 1_000))
            .len(),
        1
    );
    assert_eq!(
        server
            .bulk_replies(&Query4::bulk(1).since(START + 1_001))
            .len(),
        0
    );
    assert_eq!(
        server
            .bulk_replies(&Query4::bulk(1).until(START + 10))
            .len(),
        1
    );
    assert_eq!(
        server.bulk_replies(&Query4::bulk(1).until(START + 9)).len(),
        0
    );
}

#[test]
fn a_window_that_ends_before_it_starts_matches_nothing() {
    let server = leases();
    assert_eq!(
        server
            .bulk_replies(&Query4::bulk(1).since(START + 1).until(START))
            .len(),
        0
    );
}

#[test]
fn a_window_qualifies_every_primary_query() {
    let mut server = leases();
    server.advance(Duration::from_secs(100));
    let mut new = lease([100, 64, 0, 30], 3);
    (new.cltt, new.state_since) = (Some(START + 100), Some(START + 100));
    // The first one says what is known already, and so changes nothing.
    server.store([lease([100, 64, 0, 3], 3), new]);
    let since = START + 50;
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).since(since)),
        [address(30)]
    );
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).relay_id(&relay_id(0)).since(since)),
        [address(30)]
    );
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).remote_id(&remote_id(3)).since(since)),
        [address(30)]
    );
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).remote_id(&remote_id(3)).until(START)),
        [address(3)]
    );
}

fn vpn_server() -> Server {
    let server = Server::new(vec![
        range([100, 64, 0, 1], [100, 64, 0, 2], ""),
        range([100, 64, 0, 1], [100, 64, 0, 3], "blue"),
    ]);
    for vpn in ["", "blue", "red"] {
        let mut event = lease([100, 64, 0, 1], 1);
        event.vpn = Vpn::named(vpn);
        server.store([event]);
    }
    server
}

#[test]
fn without_a_vpn_id_the_global_vpn_is_searched() {
    let server = vpn_server();
    for query in [Query4::bulk(1), Query4::bulk(1).vpn(&[255])] {
        let replies = server.bulk_replies(&query);
        assert_eq!(replies.len(), 2);
        assert!(
            replies
                .iter()
                .all(|reply| !reply.options.contains_key(&221))
        );
    }
}

#[test]
fn a_vpn_id_selects_its_vpn_and_is_in_every_reply() {
    let server = vpn_server();
    let replies = server.bulk_replies(&Query4::bulk(1).vpn(b"\0blue"));
    assert_eq!(replies.len(), 3);
    assert!(replies.iter().all(|reply| reply.options[&221] == b"\0blue"));
    let replies = server.bulk_replies(&Query4::bulk(1).vpn(b"\0red").remote_id(&remote_id(1)));
    assert_eq!(
        (replies.len(), &replies[0].options[&221][..]),
        (1, &b"\0red"[..])
    );
    assert_eq!(
        server.bulk_replies(&Query4::bulk(1).vpn(b"\0green")).len(),
        0,
        "a VPN that nobody knows"
    );
}

#[test]
fn the_wildcard_searches_every_vpn() {
    let server = vpn_server();
    let vpns = |query: Query4| {
        let mut vpns: Vec<_> = server
            .bulk_replies(&query)
            .iter()
            .map(|reply| reply.options.get(&221).cloned())
            .collect();
        vpns.sort();
        vpns
    };
    let blue = Some(b"\0blue".to_vec());
    let red = Some(b"\0red".to_vec());
    assert_eq!(
        vpns(Query4::bulk(1).vpn(&[254])),
        [
            None,
            None,
            blue.clone(),
            blue.clone(),
            blue.clone(),
            red.clone()
        ]
    );
    assert_eq!(
        vpns(Query4::bulk(1).vpn(&[254]).remote_id(&remote_id(1))),
        [None, blue, red]
    );
}
