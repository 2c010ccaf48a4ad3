//! What a requestor may ask for and see of active leasequery: `queries`, `vpns`, `relay-ids`, `links` of its rule.

use leaseq_session::{CloseReason, Family, Fate, LinkRule, QueryEnd, QueryKind, RequestorRule};

use crate::family::{FAMILIES, Heard, Status, active, hear, heard, lease, link, rule, settings};
use crate::fixture::{Server, relay_id};

fn restricted(change: impl FnOnce(&mut RequestorRule)) -> Server {
    let mut settings = settings();
    settings.requestors = vec![rule(change)];
    Server::with(settings, vec![])
}

/// What a stream is told of three leases: client 1 behind relay agent 5, client 2 behind relay agent 6, client 3 behind 5 in
/// the VPN red; and then, of their ends.
fn told(server: &Server, family: Family) -> Vec<Heard> {
    let mut stream = server.stream_as(family, 1);
    server.store_all(vec![
        lease(family, 1, 5, ""),
        lease(family, 2, 6, ""),
        lease(family, 3, 5, "red"),
    ]);
    server.committed();
    hear(&mut stream, server)
}

fn vpns(told: &[Heard]) -> Vec<Option<Vec<u8>>> {
    told.iter().map(|heard| heard.vpn.clone()).collect()
}

fn red() -> Option<Vec<u8>> {
    Some(b"\0red".to_vec())
}

#[test]
fn without_restrictions_everything_is_told() {
    for family in FAMILIES {
        let server = restricted(|_| {});
        assert_eq!(
            vpns(&told(&server, family)),
            [None, None, red()],
            "{family:?}"
        );
    }
}

#[test]
fn an_active_query_that_is_not_permitted_is_refused_and_closes() {
    for family in FAMILIES {
        let others = QueryKind::ALL
            .into_iter()
            .filter(|kind| *kind != QueryKind::Active);
        let server = restricted(|rule| rule.queries = others.collect());
        let mut requestor = server.connect_as(family);
        requestor.to_server.extend(active(family, 1));
        let told = hear(&mut requestor, &server);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].status, Some(Status::NotAllowed), "{family:?}");
        assert!(matches!(
            requestor.connection.fate(),
            Fate::CloseWhenWritten(CloseReason::QueryFailed)
        ));
        assert_eq!(server.count(family).ended.of(QueryEnd::NotAllowed).get(), 1);
        assert_eq!(server.count(family).streams_opened.get(), 0);
    }
}

#[test]
fn only_the_vpns_of_the_rule_are_told() {
    for family in FAMILIES {
        let server = restricted(|rule| rule.vpns = vec![b"\0red".to_vec()]);
        assert_eq!(vpns(&told(&server, family)), [red()], "{family:?}");
        let server = restricted(|rule| rule.vpns = vec![vec![]]);
        assert_eq!(vpns(&told(&server, family)), [None, None], "{family:?}");
    }
}

#[test]
fn only_clients_behind_the_relay_agents_of_the_rule_are_told() {
    for family in FAMILIES {
        let server = restricted(|rule| rule.relay_ids = vec![relay_id(6).to_vec()]);
        assert_eq!(vpns(&told(&server, family)), [None], "{family:?}");
        let server = restricted(|rule| rule.relay_ids = vec![relay_id(5).to_vec()]);
        assert_eq!(vpns(&told(&server, family)), [None, red()], "{family:?}");
    }
}

#[test]
fn a_client_that_moves_to_a_relay_agent_out_of_sight_has_ended() {
    for family in FAMILIES {
        let server = restricted(|rule| rule.relay_ids = vec![relay_id(5).to_vec()]);
        let mut stream = server.stream_as(family, 1);
        server.store_all(vec![lease(family, 1, 5, "")]);
        server.committed();
        assert_eq!(hear(&mut stream, &server).len(), 1);
        let mut moved = lease(family, 1, 6, "");
        // The same lease: in DHCPv6 the link stays, only the relay agent is another.
        if let (leaseq_store::Event::V6(moved), leaseq_store::Event::V6(before)) =
            (&mut moved, lease(family, 1, 5, ""))
        {
            moved.address = before.address;
            moved.link = Some(leaseq_store::Link6::Address(link(5)));
        }
        server.store_all(vec![moved]);
        server.committed();
        let told = hear(&mut stream, &server);
        assert_eq!(
            told.iter().filter(|heard| heard.tells).count(),
            1,
            "{family:?}"
        );
        server.store_all(vec![lease(family, 2, 6, "")]);
        server.committed();
        assert_eq!(hear(&mut stream, &server), [], "{family:?}");
        assert_eq!(heard(&mut stream), []);
    }
}

#[test]
fn only_clients_on_the_links_of_the_rule_are_told() {
    let name = "pop-6".to_owned();
    let prefixes = vec![format!("{}/48", link(6)).parse().expect("a network")];
    let server = restricted(|rule| rule.links = vec![LinkRule { name, prefixes }]);
    let told = told(&server, Family::V6);
    assert_eq!(vpns(&told), [None], "client 2 alone");
}
