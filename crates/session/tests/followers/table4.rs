//! What a DHCPv4 follower asks for, what it knows, and what it should know.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use leaseq_requestor::{Binding4, Lease4, Query4, Selector4};
use leaseq_session::RequestorRule;
use leaseq_store::{Bind4, INFINITE, Record, ScanFrom, State, View};
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::{DhcpState, option_code as code, suboption};

/// VSS information octets; none: the global VPN.
pub type VpnOctets = Vec<u8>;

/// What a stream is narrowed to.
#[derive(Clone, Debug)]
pub enum Filter4 {
    All,
    RelayId(Vec<u8>),
    RemoteId(Vec<u8>),
}

impl Filter4 {
    pub fn query(&self) -> Query4 {
        let selector = match self {
            Filter4::All => Selector4::All,
            Filter4::RelayId(id) => Selector4::RelayId(id.clone()),
            Filter4::RemoteId(id) => Selector4::RemoteId(id.clone()),
        };
        let mut query = Query4::new(selector);
        query.options.push(12);
        query
    }

    fn matches(&self, relay_id: Option<&[u8]>, remote_id: Option<&[u8]>) -> bool {
        match self {
            Filter4::All => true,
            Filter4::RelayId(id) => relay_id == Some(id),
            Filter4::RemoteId(id) => remote_id == Some(id),
        }
    }
}

/// An ACTIVE binding, times in Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active4 {
    hwaddr: Option<(u8, Vec<u8>)>,
    client_id: Option<Vec<u8>>,
    relay_agent_info: Option<Vec<u8>>,
    options: Vec<(u8, Vec<u8>)>,
    cltt: Option<u32>,
    since: Option<u32>,
    /// End of the lease.
    end: Option<u64>,
}

/// The ACTIVE bindings that a follower knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table4(BTreeMap<(VpnOctets, Ipv4Addr), Active4>);

impl Table4 {
    /// Takes in what a message tells; panics if the rule forbids it.
    pub fn hear(&mut self, filter: &Filter4, rule: &RequestorRule, binding: &Binding4<'_>) {
        let lease = Lease4::read(&binding.message, UnixSeconds(0)).expect("a lease");
        let vpn = vpn_octets(lease.vpn.as_ref());
        assert!(rule.allows_vpn(&vpn), "a VPN that is forbidden: {lease:?}");
        let ids = lease.relay_agent_info.as_deref().unwrap_or_default();
        let (relay_id, remote_id) = (
            part(ids, suboption::RELAY_ID),
            part(ids, suboption::REMOTE_ID),
        );
        let told = binding.is_active()
            || binding
                .message
                .option(code::RELAY_AGENT_INFORMATION)
                .is_some();
        assert!(
            !told || rule.allows_relay_id(relay_id) && filter.matches(relay_id, remote_id),
            "not for this requestor: {lease:?}"
        );
        let key = (vpn, lease.address);
        if !binding.is_active() {
            assert_ne!(lease.state, DhcpState::Active);
            self.0.remove(&key);
            return;
        }
        assert_eq!(lease.state, DhcpState::Active);
        let end = lease
            .lease_time
            .filter(|left| *left != INFINITE)
            .map(|left| u64::from(lease.as_of.0) + u64::from(left));
        self.0.insert(
            key,
            Active4 {
                cltt: lease.cltt().map(|time| time.0),
                since: lease.state_since().map(|time| time.0),
                hwaddr: lease.hwaddr,
                client_id: lease.client_id,
                relay_agent_info: lease.relay_agent_info,
                options: lease.options,
                end,
            },
        );
    }

    /// What the store has, by a scan of the whole log.
    pub fn of_store(view: &View, filter: &Filter4, rule: &RequestorRule) -> Table4 {
        let mut newest: BTreeMap<(VpnOctets, Ipv4Addr), Bind4<'_>> = BTreeMap::new();
        for found in view.scan(ScanFrom::Start) {
            if let Record::Bind4(bind) = found.record {
                newest.insert((bind.vpn().vss().to_vec(), bind.address()), bind);
            }
        }
        newest.retain(|(vpn, _), bind| {
            bind.state() == State::Active
                && rule.allows_vpn(vpn)
                && rule.allows_relay_id(bind.relay_id())
                && filter.matches(bind.relay_id(), bind.remote_id())
        });
        let active = |bind: Bind4<'_>| {
            let event = bind.to_event();
            Active4 {
                hwaddr: event
                    .hwaddr
                    .map(|hwaddr| (hwaddr.htype, hwaddr.octets.to_vec())),
                client_id: event.client_id,
                relay_agent_info: event.relay_agent_info,
                options: event.options.unwrap_or_default(),
                cltt: event.cltt,
                since: event.state_since,
                end: bind.end(),
            }
        };
        Table4(
            newest
                .into_iter()
                .map(|(key, bind)| (key, active(bind)))
                .collect(),
        )
    }

    /// Panics unless the tables are equal.
    pub fn check(&self, expected: &Table4, name: &str) {
        for (key, binding) in &self.0 {
            assert!(
                expected.0.contains_key(key),
                "{name}: {key:?} is known as {binding:?} and is not"
            );
        }
        for (key, binding) in &expected.0 {
            assert_eq!(self.0.get(key), Some(binding), "{name}: {key:?}");
        }
    }
}

/// The octets of a VPN that a message told, as the store has them.
pub fn vpn_octets(vpn: Option<&leaseq_requestor::Vpn>) -> VpnOctets {
    vpn.map_or_else(Vec::new, |vpn| {
        let vss = vpn.vss();
        [&[vss.type_octet()], vss.information()].concat()
    })
}

/// A sub-option of option 82.
fn part(mut octets: &[u8], code: u8) -> Option<&[u8]> {
    while let [found, length, rest @ ..] = octets {
        let (value, rest) = rest.split_at(usize::from(*length));
        if *found == code {
            return Some(value);
        }
        octets = rest;
    }
    None
}
