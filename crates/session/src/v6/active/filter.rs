//! Which clients a stream is told: what its query asks for, and of that what its requestor may see.
//!
//! A client on a link matches as a whole: its VPN and link are its own, and of its live leases one has to be what is asked
//! for, and one behind a relay agent that the requestor may see, as in the answer to a bulk query.

use std::net::Ipv6Addr;

use leaseq_store::{Bind6, Departed6, Hops, LinkId, Record, View, VpnRef, VpnSelect};

use crate::active::Scope;
use crate::settings::RequestorRule;
use crate::v6::permission;

/// What an active query asks for.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) by: By,
    /// Only clients on this link.
    pub(super) link: Option<LinkId>,
    pub(super) vpn: VpnSelect,
}

/// What selects clients, beside their link and VPN.
#[derive(Clone, Debug)]
pub(super) enum By {
    Anything,
    /// This address, or a delegated prefix that contains it.
    Address(Ipv6Addr),
    /// The client's DUID.
    Duid(Box<[u8]>),
    /// A relay agent on the way.
    RelayId(Box<[u8]>),
    /// A circuit on the way.
    RemoteId(Box<[u8]>),
}

/// What of a lease decides whether it is selected: as it is, or as it was until it departed.
#[derive(Clone)]
pub(super) struct Member<'v> {
    address: Ipv6Addr,
    prefix_len: u8,
    hops: Hops<'v>,
}

impl<'v> From<&Bind6<'v>> for Member<'v> {
    fn from(lease: &Bind6<'v>) -> Self {
        Self {
            address: lease.address(),
            prefix_len: lease.prefix_len(),
            hops: lease.hops(),
        }
    }
}

impl<'v> From<&Departed6<'v>> for Member<'v> {
    fn from(departed: &Departed6<'v>) -> Self {
        Self {
            address: departed.address(),
            prefix_len: departed.prefix_len(),
            hops: departed.hops(),
        }
    }
}

impl Filter {
    /// Where a stream at the log's tail finds what it has to look at.
    pub(super) fn scope(&self) -> Scope<'_> {
        match (&self.by, self.link) {
            (By::Duid(duid), _) => Scope::Duid(duid),
            (By::RelayId(id), _) => Scope::RelayId6(id),
            (By::RemoteId(id), _) => Scope::RemoteId6(id),
            (By::Anything | By::Address(_), Some(link)) => Scope::Link(link),
            (By::Anything | By::Address(_), None) => Scope::V6,
        }
    }

    /// Whether it narrows nothing but the VPN.
    pub(super) fn is_whole_family(&self) -> bool {
        matches!(self.by, By::Anything) && self.link.is_none()
    }

    /// Whether a record may be about a client that is asked for, told from the record alone.
    pub(super) fn may_concern(&self, record: &Record<'_>) -> bool {
        let (duid, vpn) = match record {
            Record::Bind6(lease) => (lease.duid(), lease.vpn()),
            Record::Departed6(departed) => (departed.duid(), departed.vpn()),
            _ => return false,
        };
        !duid.is_empty() && self.asks_for(duid, vpn)
    }

    fn asks_for(&self, duid: &[u8], vpn: VpnRef<'_>) -> bool {
        let is_client = match &self.by {
            By::Duid(wanted) => **wanted == *duid,
            _ => true,
        };
        is_client && self.vpn.admits(vpn)
    }

    /// Whether a client on a link may match at all, whatever its leases.
    pub(super) fn admits_client(
        &self,
        rule: &RequestorRule,
        view: &View,
        link: LinkId,
        duid: &[u8],
        vpn: VpnRef<'_>,
    ) -> bool {
        self.link.is_none_or(|wanted| wanted == link)
            && self.asks_for(duid, vpn)
            && permission::place_allowed(rule, view, link, vpn)
    }

    /// Whether a client that may match does so with these leases.
    pub(super) fn admits_leases<'v>(
        &self,
        rule: &RequestorRule,
        leases: impl Iterator<Item = Member<'v>> + Clone,
    ) -> bool {
        let asked_for = match &self.by {
            By::Anything | By::Duid(_) => true,
            By::Address(address) => leases.clone().any(|lease| lease.contains(*address)),
            By::RelayId(id) => {
                let id = Some(&**id);
                leases
                    .clone()
                    .any(|mut lease| lease.hops.any(|hop| hop.relay_id == id))
            }
            By::RemoteId(id) => {
                let id = Some(&**id);
                leases
                    .clone()
                    .any(|mut lease| lease.hops.any(|hop| hop.remote_id == id))
            }
        };
        asked_for && (rule.relay_ids.is_empty() || leases.clone().any(|lease| lease.allowed(rule)))
    }
}

impl Member<'_> {
    fn contains(&self, address: Ipv6Addr) -> bool {
        let differing = self.address.to_bits() ^ address.to_bits();
        differing.leading_zeros() >= u32::from(self.prefix_len)
    }

    fn allowed(&self, rule: &RequestorRule) -> bool {
        self.hops
            .clone()
            .any(|hop| rule.allows_relay_id(hop.relay_id))
    }
}
