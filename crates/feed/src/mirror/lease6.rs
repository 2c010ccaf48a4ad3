//! Leases of a DHCPv6 client as a server tells them, as events of the store.

use std::net::Ipv6Addr;

use leaseq_requestor::{Client6Leases, Lease6};
use leaseq_store::{Bind6, Event6, LeaseKind, Link6, Relay6, State};

use super::lease4::vpn;

/// A lease with nothing known but what it is of.
fn bare(client: &Client6Leases, lease: &Lease6, state: State, feed: u16) -> Event6 {
    Event6 {
        vpn: vpn(client.vpn.as_ref()),
        prefix_len: lease.prefix_len.unwrap_or(128),
        kind: match lease.prefix_len {
            Some(_) => LeaseKind::Pd,
            None => LeaseKind::Na,
        },
        remote: true,
        feed,
        ..Event6::new(lease.address, state)
    }
}

/// The event of a lease that lives. `link`: the link that was asked for, which counts if relay data tell no other.
pub(super) fn live(
    client: &Client6Leases,
    lease: &Lease6,
    link: Option<Ipv6Addr>,
    feed: u16,
) -> Event6 {
    let relays = client.relays.iter().map(|relay| Relay6 {
        link: relay.link,
        peer: relay.peer,
        options: relay.options.clone(),
    });
    let has_link = client
        .relays
        .iter()
        .any(|relay| !relay.link.is_unspecified());
    Event6 {
        duid: client.duid.clone(),
        link: link.filter(|_| !has_link).map(Link6::Address),
        // Without it the times are counted from when they were told.
        cltt: Some(client.cltt().unwrap_or(client.as_of).0),
        preferred_lifetime: Some(client.from_last_transaction(lease.preferred)),
        valid_lifetime: Some(client.from_last_transaction(lease.valid)),
        relay: (!client.relays.is_empty()).then(|| relays.collect()),
        options: (!client.options.is_empty()).then(|| client.options.clone()),
        ..bare(client, lease, State::Active, feed)
    }
}

/// The event of a lease that is over, beside what the store holds of it; none if that is not the client's, or over already.
pub(super) fn over(
    client: &Client6Leases,
    lease: &Lease6,
    stored: Option<&Bind6<'_>>,
    feed: u16,
) -> Option<Event6> {
    let stored = stored.filter(|stored| {
        stored.state() == State::Active && Some(stored.duid()) == client.duid.as_deref()
    })?;
    let (state, since) = end(stored.end(), client.as_of.0);
    Some(Event6 {
        state_since: Some(since),
        ..bare(client, lease, state, feed)
    })
}

/// State and start of a lease that is over by `now`, though nobody has told how: it ran out at its end, or was given up.
pub(super) fn end(end: Option<u64>, now: u32) -> (State, u32) {
    match end.and_then(|end| u32::try_from(end).ok()) {
        Some(end) if end <= now => (State::Expired, end),
        _ => (State::Released, now),
    }
}
