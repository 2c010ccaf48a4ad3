//! What requestors may ask for and see.

use std::net::Ipv4Addr;
use std::sync::Arc;

use leaseq_session::{Discard, QueryKind, Refused, RequestorRule, Settings};
use leaseq_store::Vpn;

use crate::fixture::{Server, lease, range, relay_id, remote_id, settings};
use crate::message::Query4;

fn server(change: impl FnOnce(&mut RequestorRule)) -> Server {
    let server = Server::with(
        restricted(change),
        vec![range([100, 64, 0, 1], [100, 64, 0, 4], "")],
    );
    server.store([lease([100, 64, 0, 1], 1), lease([100, 64, 0, 2], 5_001)]);
    let mut blue = lease([100, 64, 9, 1], 1);
    blue.vpn = Vpn::named("blue");
    server.store([blue]);
    server
}

fn restricted(change: impl FnOnce(&mut RequestorRule)) -> Settings {
    let mut rule = RequestorRule::all("10.0.0.0/8".parse().expect("a network"));
    change(&mut rule);
    Settings {
        requestors: vec![Arc::new(rule)],
        ..settings()
    }
}

fn keys(query: Query4) -> [(QueryKind, Query4); 4] {
    [
        (
            QueryKind::HwAddr,
            query.clone().hwaddr(1, &[2, 0x5e, 0x10, 0, 0, 1]),
        ),
        (
            QueryKind::ClientId,
            query.clone().client_id(&[1, 2, 0x5e, 0x10, 0, 0, 1]),
        ),
        (QueryKind::RemoteId, query.clone().remote_id(&remote_id(1))),
        (QueryKind::RelayId, query.relay_id(&relay_id(0))),
    ]
}

#[test]
fn a_query_of_a_forbidden_kind_is_not_allowed() {
    let bulk = keys(Query4::bulk(1))
        .into_iter()
        .chain([(QueryKind::All, Query4::bulk(1))]);
    for (kind, query) in bulk {
        let only = server(|rule| rule.queries = [kind].into_iter().collect());
        assert_eq!(
            only.bulk(&query).last().expect("a message").status(),
            None,
            "{kind:?} alone is permitted"
        );
        let others = QueryKind::ALL.into_iter().filter(|other| *other != kind);
        let without = server(|rule| rule.queries = others.collect());
        let answer = without.bulk(&query);
        assert_eq!(
            (answer.len(), answer[0].message_type, answer[0].status()),
            (1, 15, Some(4)),
            "{kind:?}"
        );
    }
}

#[test]
fn a_forbidden_udp_query_is_discarded() {
    let udp = keys(Query4::udp(1))
        .into_iter()
        .take(3)
        .chain([(QueryKind::Ip, Query4::udp(1).address([100, 64, 0, 1]))]);
    for (kind, query) in udp {
        let only = server(|rule| rule.queries = [kind].into_iter().collect());
        assert!(only.udp(&query).is_some(), "{kind:?} alone is permitted");
        let others = QueryKind::ALL.into_iter().filter(|other| *other != kind);
        let without = server(|rule| rule.queries = others.collect());
        assert_eq!(without.udp(&query), None, "{kind:?}");
        assert_eq!(
            without
                .counters
                .v4
                .udp_discarded
                .of(Discard::NotPermitted)
                .get(),
            1
        );
    }
}

#[test]
fn a_requestor_without_a_rule_is_not_served() {
    let server = server(|_| {});
    assert_eq!(
        server.try_connect([192, 0, 2, 7]).err(),
        Some(Refused::NotPermitted)
    );
    assert!(server.try_connect([10, 0, 0, 7]).is_ok());
    let request = Query4::udp(1).address([100, 64, 0, 1]).message();
    assert_eq!(server.udp_from([192, 0, 2, 7], &request), None);
    assert_eq!(
        server
            .counters
            .v4
            .udp_discarded
            .of(Discard::NotPermitted)
            .get(),
        1
    );
    assert!(server.udp_from([10, 0, 0, 7], &request).is_some());
}

#[test]
fn a_requestor_of_one_vpn_is_told_of_no_other() {
    let server = server(|rule| rule.vpns = vec![Vec::new()]);
    assert_eq!(
        server.bulk(&Query4::bulk(1).vpn(b"\0blue"))[0].status(),
        Some(4)
    );
    assert_eq!(
        server.udp(&Query4::udp(1).address([100, 64, 9, 1]).vpn(b"\0blue")),
        None
    );
    let replies = server.bulk_replies(&Query4::bulk(1).vpn(&[254]));
    assert_eq!(replies.len(), 4);
    assert!(
        replies
            .iter()
            .all(|reply| !reply.options.contains_key(&221))
    );
    let blue = server_of_blue();
    let told: Vec<_> = blue.bulk_addresses(&Query4::bulk(1).vpn(&[254]));
    assert_eq!(told, [Ipv4Addr::new(100, 64, 9, 1)]);
    assert_eq!(
        blue.bulk(&Query4::bulk(1))[0].status(),
        Some(4),
        "the global VPN is one like others"
    );
}

fn server_of_blue() -> Server {
    server(|rule| rule.vpns = vec![b"\0blue".to_vec()])
}

#[test]
fn a_requestor_of_one_relay_agent_is_told_of_no_other() {
    let server = server(|rule| rule.relay_ids = vec![relay_id(5).to_vec()]);
    let theirs = Ipv4Addr::new(100, 64, 0, 2);
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).relay_id(&relay_id(5))),
        [theirs]
    );
    assert_eq!(
        server.bulk(&Query4::bulk(1).relay_id(&relay_id(0)))[0].status(),
        Some(4)
    );
    assert_eq!(
        server.bulk_addresses(&Query4::bulk(1).remote_id(&remote_id(1))),
        [] as [Ipv4Addr; 0]
    );
    let all: Vec<_> = server.bulk_addresses(&Query4::bulk(1));
    assert_eq!(
        all,
        [2, 3, 4].map(|last| Ipv4Addr::new(100, 64, 0, last)),
        "theirs, and those that are nobody's"
    );
    let types = [1, 2, 3].map(|last| {
        server
            .udp(&Query4::udp(1).address([100, 64, 0, last]))
            .map(|reply| reply.message_type)
    });
    assert_eq!(types, [Some(12), Some(13), Some(11)]);
}
