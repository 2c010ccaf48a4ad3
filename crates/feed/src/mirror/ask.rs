//! What is asked of the server.

use std::collections::HashSet;
use std::net::Ipv6Addr;

use leaseq_requestor::{
    DEFAULT_OPTIONS4, DEFAULT_OPTIONS6, Query, Query4, Query6, Selector4, Selector6, Vpn,
};
use leaseq_wire::time::UnixSeconds;

use super::settings::{Family, Settings};

/// DHCPv4 options that are no property of a client: requested address, overload, message type, server identifier, parameter
/// request list, message, maximum size, associated-ip, authentication, status-code, and the times of a query.
const NO_CLIENTS4: [u8; 12] = [50, 52, 53, 54, 55, 56, 57, 90, 92, 151, 154, 155];
/// DHCPv6 options likewise: those that a reply places itself, and those between client and server alone.
const NO_CLIENTS6: [u16; 20] = [
    1, 2, 3, 4, 5, 6, 8, 9, 11, 13, 14, 19, 20, 25, 26, 44, 45, 46, 48, 68,
];
/// The last option code that is asked for in DHCPv6; beyond lies nothing that clients are given.
const LAST_OPTION6: u16 = 255;
/// The times of a query and of its answer, in DHCPv6.
const QUERY_TIMES6: std::ops::RangeInclusive<u16> = 100..=102;

/// The bulk queries that tell as much as can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bulk {
    pub(super) queries: Vec<Query>,
    /// Whether the answers tell what has ended, or only what lives.
    pub(super) tells_ends: bool,
    /// Whether they tell everything that the server has.
    pub(super) is_everything: bool,
}

/// The active query for everything.
pub(super) fn active(family: Family, requestor: &[u8]) -> Query {
    match family {
        // It is about all VPNs without saying so (RFC 7724 §8.2).
        Family::V4 => Query::V4(query4(Selector4::All, false)),
        Family::V6 => Query::V6(query6(Selector6::All, requestor)),
    }
}

/// Bulk queries for DHCPv4: what changed since then, or everything. `all_vpns`: not the global one alone.
pub(super) fn bulk4(settings: &Settings, since: Option<UnixSeconds>, all_vpns: bool) -> Bulk {
    let query = |selector| {
        Query::V4(Query4 {
            since,
            ..query4(selector, all_vpns)
        })
    };
    let is_everything = settings.relay_ids.is_empty();
    let queries = match is_everything {
        true => vec![query(Selector4::All)],
        false => {
            let ids = settings.relay_ids.iter().cloned();
            ids.map(|id| query(Selector4::RelayId(id))).collect()
        }
    };
    Bulk {
        queries,
        tells_ends: is_everything,
        is_everything,
    }
}

/// Bulk queries for DHCPv6, by link and by relay agent.
pub(super) fn bulk6(
    links: &HashSet<Ipv6Addr>,
    relay_ids: &HashSet<Vec<u8>>,
    requestor: &[u8],
) -> Bulk {
    let by_link = links.iter().map(|link| {
        Query::V6(Query6 {
            link: *link,
            ..query6(Selector6::Link, requestor)
        })
    });
    let by_relay = relay_ids
        .iter()
        .map(|id| Query::V6(query6(Selector6::RelayId(id.clone()), requestor)));
    Bulk {
        queries: by_link.chain(by_relay).collect(),
        tells_ends: false,
        is_everything: false,
    }
}

fn query4(selector: Selector4, all_vpns: bool) -> Query4 {
    let mut query = Query4::new(selector);
    let leasequery = DEFAULT_OPTIONS4;
    let others = (1..=254).filter(|code| !NO_CLIENTS4.contains(code) && !leasequery.contains(code));
    query.options = leasequery.into_iter().chain(others).collect();
    query.vpn = all_vpns.then(|| Vpn::new(&leaseq_wire::vss::Vss::All));
    query
}

fn query6(selector: Selector6, requestor: &[u8]) -> Query6 {
    let mut query = Query6::new(selector, requestor);
    let leasequery = DEFAULT_OPTIONS6;
    let is_clients = |code: &u16| {
        !NO_CLIENTS6.contains(code) && !QUERY_TIMES6.contains(code) && !leasequery.contains(code)
    };
    let others = (1..=LAST_OPTION6).filter(is_clients);
    query.options = leasequery.into_iter().chain(others).collect();
    query
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use leaseq_wire::{v4, v6};

    use super::*;

    fn settings(relay_ids: Vec<Vec<u8>>) -> Settings {
        Settings {
            name: "mirror".into(),
            family: Family::V4,
            server: "192.0.2.1".into(),
            tls: None,
            interval: Duration::from_secs(900),
            retry: Duration::from_secs(60),
            data_timeout: Duration::from_secs(300),
            receive_timeout: Duration::from_secs(120),
            links: Vec::new(),
            relay_ids,
        }
    }

    #[test]
    fn v4_asks_for_all_addresses_of_all_vpns_and_their_options() {
        let bulk = bulk4(&settings(Vec::new()), None, true);
        assert!(bulk.is_everything && bulk.tells_ends);
        let request = bulk.queries[0].bulk_request(1).unwrap();
        let message = v4::Message::parse(&request[2..]).unwrap();
        let vss: Vec<u8> = message.option(221).unwrap().bytes().collect();
        assert_eq!(vss, [254]);
        let asked: Vec<u8> = message.option(55).unwrap().bytes().collect();
        for code in [12, 51, 60, 61, 82, 91, 125, 152, 153, 156, 157] {
            assert!(asked.contains(&code), "{code}");
        }
        assert!(!asked.contains(&53) && asked.len() < 255);
    }

    #[test]
    fn v4_by_relay_agents_tells_only_what_lives() {
        let bulk = bulk4(
            &settings(vec![vec![1], vec![2]]),
            Some(UnixSeconds(9)),
            false,
        );
        assert!(!bulk.is_everything && !bulk.tells_ends);
        assert_eq!(bulk.queries.len(), 2);
    }

    #[test]
    fn v6_asks_by_each_link_and_relay_agent() {
        let links = HashSet::from(["2001:db8::1".parse().unwrap()]);
        let relays = HashSet::from([vec![0, 3, 1]]);
        let bulk = bulk6(&links, &relays, &[0, 4, 9]);
        assert_eq!(bulk.queries.len(), 2);
        for query in &bulk.queries {
            let request = query.bulk_request(1).unwrap();
            let message = v6::Message::parse(&request[2..]).unwrap();
            assert!(message.option(44).is_some());
        }
        let request = active(Family::V6, &[0, 4, 9])
            .active_request(1, None)
            .unwrap();
        let message = v6::Message::parse(&request[2..]).unwrap();
        assert!(message.option(44).is_none());
        assert!(message.options().requests(47) && message.options().requests(23));
    }
}
