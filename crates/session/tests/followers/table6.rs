//! What a DHCPv6 follower asks for, what it knows, and what it should know.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use leaseq_requestor::{Client6, Client6Leases, Query6, Selector6, Vpn};
use leaseq_session::RequestorRule;
use leaseq_store::{Bind6, INFINITE, LinkId, Record, ScanFrom, State, View};
use leaseq_wire::time::UnixSeconds;

use crate::table4::{VpnOctets, vpn_octets};

const REQUESTOR: [u8; 6] = [0, 3, 0, 1, 9, 9];

/// What selects clients.
#[derive(Clone, Debug)]
pub enum By {
    All,
    Address(Ipv6Addr),
    Duid(Vec<u8>),
    RelayId(Vec<u8>),
    RemoteId(Vec<u8>),
    Link,
}

/// What a stream is narrowed to.
#[derive(Clone, Debug)]
pub struct Filter6 {
    pub by: By,
    /// Only clients on the link of this address.
    pub link: Option<Ipv6Addr>,
    /// Clients of all VPNs, not of the global one alone.
    pub all_vpns: bool,
}

impl Filter6 {
    pub fn query(&self) -> Query6 {
        let selector = match &self.by {
            By::All => Selector6::All,
            By::Address(address) => Selector6::Address(*address),
            By::Duid(duid) => Selector6::Duid(duid.clone()),
            By::RelayId(id) => Selector6::RelayId(id.clone()),
            By::RemoteId(id) => Selector6::RemoteId(id.clone()),
            By::Link => Selector6::Link,
        };
        let mut query = Query6::new(selector, &REQUESTOR);
        query.link = self.link.unwrap_or(Ipv6Addr::UNSPECIFIED);
        // Without a filter all VPNs are told anyway.
        if self.all_vpns && !matches!(self.by, By::All) {
            query.vpn = Some(Vpn::parse("all").expect("all VPNs"));
        }
        query.options.push(39);
        query
    }

    /// Whether a lease that is over may still be known: one that was told only because its client had the address asked for.
    fn may_keep(&self, (_, address, prefix_len): &(VpnOctets, Ipv6Addr, u8)) -> bool {
        match &self.by {
            By::Address(wanted) => {
                let differing = address.to_bits() ^ wanted.to_bits();
                differing.leading_zeros() < u32::from(*prefix_len)
            }
            _ => false,
        }
    }

    fn matches(&self, lease: &Bind6<'_>) -> bool {
        match &self.by {
            By::All | By::Link => true,
            By::Address(address) => {
                let differing = lease.address().to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(lease.prefix_len())
            }
            By::Duid(duid) => lease.duid() == duid,
            By::RelayId(id) => lease.hops().any(|hop| hop.relay_id == Some(id)),
            By::RemoteId(id) => lease.hops().any(|hop| hop.remote_id == Some(id)),
        }
    }
}

/// A live lease, times in Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live6 {
    duid: Vec<u8>,
    /// Link-address of the relay agent nearest to the client that the message told, if it did.
    link: Option<Ipv6Addr>,
    /// End of the valid lifetime.
    end: Option<u64>,
}

/// The live leases that a follower knows.
#[derive(Clone, Debug, Default)]
pub struct Table6(BTreeMap<(VpnOctets, Ipv6Addr, u8), Live6>);

/// A live lease of the store, and the link that it is on.
type Expected = BTreeMap<(VpnOctets, Ipv6Addr, u8), (Live6, LinkId)>;

impl Table6 {
    /// Takes in what a message tells; panics if the rule forbids it.
    pub fn hear(&mut self, filter: &Filter6, rule: &RequestorRule, client: &Client6<'_>) {
        let told =
            Client6Leases::read(&client.message, &client.client, UnixSeconds(0)).expect("a client");
        let vpn = vpn_octets(told.vpn.as_ref());
        assert!(rule.allows_vpn(&vpn), "a VPN that is forbidden: {told:?}");
        assert!(filter.all_vpns || vpn.is_empty(), "another VPN: {told:?}");
        let duid = told.duid.clone().expect("a DUID");
        if let By::Duid(wanted) = &filter.by {
            assert_eq!(*wanted, duid, "another client");
        }
        let mut relays = told.relays.iter().rev().map(|relay| relay.link);
        let link = relays.find(|link| !link.is_unspecified());
        for lease in &told.leases {
            let key = (vpn.clone(), lease.address, lease.prefix_len.unwrap_or(128));
            if lease.valid == 0 {
                self.0.remove(&key);
                continue;
            }
            let end =
                (lease.valid != INFINITE).then(|| u64::from(told.as_of.0) + u64::from(lease.valid));
            let duid = duid.clone();
            self.0.insert(key, Live6 { duid, link, end });
        }
    }

    /// The table that a bulk query and a sweep would leave.
    pub fn of_store(view: &View, filter: &Filter6, rule: &RequestorRule) -> Table6 {
        let known = expected(view, filter, rule);
        Table6(
            known
                .into_iter()
                .map(|(key, (live, _))| (key, live))
                .collect(),
        )
    }

    /// Panics unless the table is what the store has.
    pub fn check(&self, view: &View, filter: &Filter6, rule: &RequestorRule, name: &str) {
        let expected = expected(view, filter, rule);
        for (key, live) in &self.0 {
            assert!(
                expected.contains_key(key) || filter.may_keep(key),
                "{name}: {key:?} is known as {live:?} and is not"
            );
        }
        for (key, (live, on)) in &expected {
            let Some(known) = self.0.get(key) else {
                panic!("{name}: {key:?} is not known; {live:?}");
            };
            assert_eq!(
                (&known.duid, known.end),
                (&live.duid, live.end),
                "{name}: {key:?}"
            );
            if let Some(link) = known.link {
                assert_eq!(view.link_of(link), Some(*on), "{name}: {key:?}");
            }
        }
    }
}

/// What the store has, by a scan of the whole log: the live leases of each client on a link that matches as a whole.
fn expected(view: &View, filter: &Filter6, rule: &RequestorRule) -> Expected {
    let mut newest: BTreeMap<(VpnOctets, Ipv6Addr, u8), Bind6<'_>> = BTreeMap::new();
    for found in view.scan(ScanFrom::Start) {
        if let Record::Bind6(lease) = found.record {
            let vpn = lease.vpn().vss().to_vec();
            newest.insert((vpn, lease.address(), lease.prefix_len()), lease);
        }
    }
    let mut clients: BTreeMap<(VpnOctets, Vec<u8>, LinkId), Vec<Bind6<'_>>> = BTreeMap::new();
    for ((vpn, ..), lease) in newest {
        if lease.state() == State::Active
            && !lease.duid().is_empty()
            && let Some(link) = view.link_id(&lease)
        {
            let client = (vpn, lease.duid().to_vec(), link);
            clients.entry(client).or_default().push(lease);
        }
    }
    let wanted_link = filter.link.map(|link| view.link_of(link));
    clients.retain(|(vpn, _, link), leases| {
        wanted_link.is_none_or(|wanted| wanted == Some(*link))
            && (filter.all_vpns || vpn.is_empty())
            && rule.allows_vpn(vpn)
            && link_allowed(view, rule, *link)
            && leases.iter().any(|lease| filter.matches(lease))
            && (rule.relay_ids.is_empty()
                || leases
                    .iter()
                    .flat_map(Bind6::hops)
                    .any(|hop| rule.allows_relay_id(hop.relay_id)))
    });
    let live = |lease: &Bind6<'_>| Live6 {
        duid: lease.duid().to_vec(),
        link: None,
        end: lease.end(),
    };
    clients
        .into_iter()
        .flat_map(|((vpn, _, link), leases)| {
            leases.into_iter().map(move |lease| {
                let key = (vpn.clone(), lease.address(), lease.prefix_len());
                (key, (live(&lease), link))
            })
        })
        .collect()
}

fn link_allowed(view: &View, rule: &RequestorRule, link: LinkId) -> bool {
    rule.links.is_empty()
        || view.link_address(link).is_some_and(|address| {
            let mut prefixes = rule.links.iter().flat_map(|link| &link.prefixes);
            prefixes.any(|prefix| prefix.contains(IpAddr::V6(address)))
        })
}
