//! Where the clients of an answer come from: one address, or a walk over the bindings of a selector.

use std::net::Ipv6Addr;

use leaseq_store::{Bind6, Group, LinkId, Selector6, Stamp, Step6, View, VpnSelect, Walk6};
use leaseq_wire::v6::StatusCode;
use smallvec::SmallVec;

use super::client_data::{Client, is_live};
use super::permission;
use super::request::{Ask, Query, Refusal};
use crate::settings::RequestorRule;

/// Yields each client on each link at most once; the last one can be put back.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every query walks, and a walk must not cost a datagram an allocation"
)]
pub(super) enum Source {
    /// The client that has an address.
    Address(ByAddress),
    /// Every client of a selector.
    Walk(Walk6, Behind),
}

/// The relay agent or circuit that a live lease of a client has to be behind. A walk also yields clients of which only a
/// lease that is over was there: told, they would look as if they still were.
#[derive(Debug)]
pub(super) enum Behind {
    Anything,
    RelayId(SmallVec<[u8; 64]>),
    RemoteId(SmallVec<[u8; 64]>),
}

/// A lookup of one address, in each of the VPNs asked for.
#[derive(Debug)]
pub(super) struct ByAddress {
    address: Ipv6Addr,
    /// Only a client on this link, if given.
    link: Option<LinkId>,
    vpns: VpnSelect,
    /// VPNs looked at.
    looked_at: usize,
}

/// Checks that the requestor may ask for the VPN, relay agent and link that the query names; gives the link, if it names
/// one.
///
/// # Errors
/// NotAllowed, or NotConfigured for a link or address that this server does not have (RFC 5007 §4.4.1, RFC 5460 §7.2).
pub(super) fn locate(
    view: &View,
    rule: &RequestorRule,
    query: &Query<'_>,
) -> Result<Option<LinkId>, Refusal> {
    permission::permit_values(rule, query)?;
    let not_configured = |text| Refusal::new(StatusCode::NotConfigured, text);
    let Some(address) = query.link else {
        if let Ask::Address(address) = query.ask
            && !view.knows_address6(address)
            && !ByAddress::new(address, None, &query.vpn).finds_any(view)
        {
            return Err(not_configured("no link with this address"));
        }
        return Ok(None);
    };
    let link = view
        .link_of(address)
        .ok_or(not_configured("no link with this link-address"))?;
    permission::permit_link(rule, view, link)?;
    Ok(Some(link))
}

impl Source {
    /// Finds the link that the query names, checks what the requestor may ask for, and begins.
    ///
    /// # Errors
    /// NotAllowed, or NotConfigured for a link or address that this server does not have (RFC 5007 §4.4.1, RFC 5460
    /// §7.2).
    pub(super) fn open(
        view: &View,
        rule: &RequestorRule,
        query: &Query<'_>,
    ) -> Result<Self, Refusal> {
        permission::permit_kind(rule, query.ask.kind())?;
        let link = locate(view, rule, query)?;
        let (selector, behind) = match query.ask {
            Ask::Address(address) => {
                return Ok(Self::Address(ByAddress::new(address, link, &query.vpn)));
            }
            Ask::ClientId(duid) => (Selector6::Duid(duid), Behind::Anything),
            Ask::RelayId(id) => (
                Selector6::RelayId(id),
                Behind::RelayId(SmallVec::from_slice(id)),
            ),
            Ask::RemoteId(id) => (
                Selector6::RemoteId(id),
                Behind::RemoteId(SmallVec::from_slice(id)),
            ),
            Ask::Link => {
                let link = link.ok_or(Refusal::malformed("no link-address to query by"))?;
                (Selector6::Link(link), Behind::Anything)
            }
        };
        let walk = view.walk6(&selector, &query.vpn, link);
        Ok(Self::Walk(walk, behind))
    }

    /// Collects the next client: all its leases on the link, whatever their state.
    #[inline]
    pub(super) fn next<'v>(&mut self, view: &'v View, now: Stamp, group: &mut Group<'v>) -> Step6 {
        match self {
            Self::Address(lookup) => lookup.next(view, now, group),
            Self::Walk(walk, _) => view.next_group6(walk, group),
        }
    }

    /// Whether a client that was collected is one of those asked for.
    #[inline]
    pub(super) fn admits(&self, client: &Client<'_, '_>) -> bool {
        match self {
            Self::Address(_) | Self::Walk(_, Behind::Anything) => true,
            Self::Walk(_, Behind::RelayId(id)) => client.live().any(|lease| lease.has_relay_id(id)),
            Self::Walk(_, Behind::RemoteId(id)) => {
                client.live().any(|lease| lease.has_remote_id(id))
            }
        }
    }

    /// Makes the client that was collected last the next one again.
    pub(super) fn go_back(&mut self) {
        match self {
            Self::Address(lookup) => lookup.looked_at = lookup.looked_at.saturating_sub(1),
            Self::Walk(walk, _) => walk.go_back(),
        }
    }
}

impl ByAddress {
    fn new(address: Ipv6Addr, link: Option<LinkId>, vpns: &VpnSelect) -> Self {
        Self {
            address,
            link,
            vpns: vpns.clone(),
            looked_at: 0,
        }
    }

    fn next<'v>(&mut self, view: &'v View, now: Stamp, group: &mut Group<'v>) -> Step6 {
        while let Some(lease) = self.lease(view, self.looked_at) {
            self.looked_at += 1;
            if let Some(lease) = lease.filter(|lease| is_live(lease, now))
                && view.group_of(&lease, group)
                && self.link.is_none_or(|link| group.link == link)
            {
                return Step6::Group;
            }
        }
        Step6::Done
    }

    /// Whether a lease with the address is known, be it over: its link is one of this server's, although no configured
    /// prefix contains the address.
    fn finds_any(&self, view: &View) -> bool {
        (0..)
            .map_while(|nth| self.lease(view, nth))
            .any(|lease| lease.is_some())
    }

    /// The lease in the nth of the VPNs asked for; nothing after the last of them.
    fn lease<'v>(&self, view: &'v View, nth: usize) -> Option<Option<Bind6<'v>>> {
        match &self.vpns {
            VpnSelect::One(vpn) => (nth == 0).then(|| view.lease6(vpn, self.address)),
            VpnSelect::All => {
                let vpns = view.vpns();
                let vpn = vpns.get(nth)?;
                Some(view.lease6(vpn, self.address))
            }
        }
    }
}
