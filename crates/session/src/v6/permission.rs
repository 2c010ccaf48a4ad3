//! What a requestor may ask and see (RFC 5007 §4.4.1, RFC 5460 §7.1). A query that names something the requestor may not
//! see is refused with NotAllowed; from one that names nothing forbidden it gets the clients it may see, and does not learn
//! of others.

use std::net::IpAddr;

use leaseq_store::{LinkId, View, VpnRef, VpnSelect};
use leaseq_wire::v6::StatusCode;

use super::client_data::Client;
use super::request::{Ask, Query, Refusal};
use crate::settings::{QueryKind, RequestorRule};

const fn not_allowed(text: &'static str) -> Refusal {
    Refusal::new(StatusCode::NotAllowed, text)
}

/// Refuses queries of a kind that the rule does not allow.
pub(super) fn permit_kind(rule: &RequestorRule, kind: QueryKind) -> Result<(), Refusal> {
    if rule.queries.contains(kind) {
        Ok(())
    } else {
        Err(not_allowed(
            "this kind of query is not allowed to this requestor",
        ))
    }
}

/// Refuses a query in a VPN or by a relay-id that the rule does not allow.
pub(super) fn permit_values(rule: &RequestorRule, query: &Query<'_>) -> Result<(), Refusal> {
    permit_vpn(rule, &query.vpn)?;
    if let Ask::RelayId(duid) = query.ask
        && !rule.allows_relay_id(Some(duid))
    {
        return Err(not_allowed(
            "this relay-id is not allowed to this requestor",
        ));
    }
    Ok(())
}

/// Refuses a query in a VPN that the rule does not allow.
pub(super) fn permit_vpn(rule: &RequestorRule, vpn: &VpnSelect) -> Result<(), Refusal> {
    match vpn {
        VpnSelect::One(vpn) if !rule.allows_vpn(vpn.vss()) => {
            Err(not_allowed("this VPN is not allowed to this requestor"))
        }
        _ => Ok(()),
    }
}

/// Refuses a query by a link that the rule does not allow.
pub(super) fn permit_link(rule: &RequestorRule, view: &View, link: LinkId) -> Result<(), Refusal> {
    if link_allowed(rule, view, link) {
        Ok(())
    } else {
        Err(not_allowed("this link is not allowed to this requestor"))
    }
}

/// Whether the requestor may see this client.
#[inline]
pub(super) fn visible(
    rule: &RequestorRule,
    view: &View,
    link: LinkId,
    client: &Client<'_, '_>,
) -> bool {
    place_allowed(rule, view, link, client.newest().vpn())
        && (rule.relay_ids.is_empty() || behind_allowed_relay(rule, client))
}

fn behind_allowed_relay(rule: &RequestorRule, client: &Client<'_, '_>) -> bool {
    client
        .live()
        .flat_map(|lease| lease.hops())
        .any(|hop| rule.allows_relay_id(hop.relay_id))
}

/// Whether the requestor may see clients of this VPN on this link, as far as it does not depend on their relay agents.
pub(super) fn place_allowed(
    rule: &RequestorRule,
    view: &View,
    link: LinkId,
    vpn: VpnRef<'_>,
) -> bool {
    rule.allows_vpn(vpn.vss()) && link_allowed(rule, view, link)
}

/// A link that has no address known to the store is nobody's who is limited to some links.
fn link_allowed(rule: &RequestorRule, view: &View, link: LinkId) -> bool {
    rule.links.is_empty()
        || view.link_address(link).is_some_and(|address| {
            let address = IpAddr::V6(address);
            rule.links
                .iter()
                .flat_map(|allowed| &allowed.prefixes)
                .any(|prefix| prefix.contains(address))
        })
}
