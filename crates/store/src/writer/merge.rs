//! What an event means beside what is stored: which fields it keeps, and since when its state holds.
//!
//! An ACTIVE event replaces the binding whole; another state keeps the fields that are absent from it.

use std::net::Ipv6Addr;

use crate::event::{Event4, Event6, INFINITE, Link6, Relay6, State};
use crate::record::{Bind4, Bind6};

/// Completes an event of an IPv4 binding. `arrival` is the time of arrival, in Unix seconds; `over` says whether a lease
/// with this end would be expired by now.
pub(super) fn complete4(
    event: &mut Event4,
    stored: Option<&Bind4<'_>>,
    arrival: u32,
    over: impl Fn(u64) -> bool,
) {
    if event.state == State::Active {
        let cltt = *event.cltt.get_or_insert(arrival);
        let end = event
            .lease_time
            .filter(|&seconds| seconds != INFINITE && seconds != 0);
        let end = end.map(|seconds| u64::from(cltt) + u64::from(seconds));
        if let Some(end) = end.filter(|&end| over(end)) {
            event.state = State::Expired;
            event.state_since = Some(seconds(end));
        } else if event.state_since.is_none() {
            let renewed =
                stored.filter(|old| old.state() == State::Active && same_client(event, old));
            event.state_since = Some(renewed.map_or(cltt, |old| old.state_since()));
        }
        return;
    }
    if event.state_since.is_none() {
        let same = stored.filter(|old| old.state() == event.state);
        event.state_since =
            Some(same.map_or(event.cltt.unwrap_or(arrival), |old| old.state_since()));
    }
    let Some(old) = stored else { return };
    let old = old.to_event();
    event.hwaddr = event.hwaddr.take().or(old.hwaddr);
    event.client_id = event.client_id.take().or(old.client_id);
    event.cltt = event.cltt.or(old.cltt);
    event.lease_time = event.lease_time.or(old.lease_time);
    event.t1 = event.t1.or(old.t1);
    event.t2 = event.t2.or(old.t2);
    event.relay_agent_info = event.relay_agent_info.take().or(old.relay_agent_info);
    event.options = event.options.take().or(old.options);
}

/// Completes an event of an IPv6 lease, as [`complete4`].
pub(super) fn complete6(
    event: &mut Event6,
    stored: Option<&Bind6<'_>>,
    arrival: u32,
    over: impl Fn(u64) -> bool,
) {
    if event.link.is_none() {
        event.link = event.relay.as_deref().and_then(link_of_client);
    }
    if event.state == State::Active {
        let cltt = *event.cltt.get_or_insert(arrival);
        let valid = *event.valid_lifetime.get_or_insert(INFINITE);
        event.preferred_lifetime.get_or_insert(valid);
        let end = (valid != INFINITE).then_some(u64::from(cltt) + u64::from(valid));
        if let Some(end) = end.filter(|&end| over(end)) {
            event.state = State::Expired;
            event.state_since = Some(seconds(end));
        } else if event.state_since.is_none() {
            let renewed = stored.filter(|old| {
                old.state() == State::Active && Some(old.duid()) == event.duid.as_deref()
            });
            event.state_since = Some(renewed.map_or(cltt, |old| old.state_since()));
        }
        return;
    }
    if event.state_since.is_none() {
        let same = stored.filter(|old| old.state() == event.state);
        event.state_since =
            Some(same.map_or(event.cltt.unwrap_or(arrival), |old| old.state_since()));
    }
    let Some(old) = stored else { return };
    let old = old.to_event();
    event.duid = event.duid.take().or(old.duid);
    event.iaid = event.iaid.or(old.iaid);
    event.link = event.link.or(old.link);
    event.cltt = event.cltt.or(old.cltt);
    event.preferred_lifetime = event.preferred_lifetime.or(old.preferred_lifetime);
    event.valid_lifetime = event.valid_lifetime.or(old.valid_lifetime);
    event.relay = event.relay.take().or(old.relay);
    event.options = event.options.take().or(old.options);
}

/// The link-address of the relay agent nearest to the client that has one (a relay agent on the client's own link need not,
/// RFC 6221 §5.3.2).
fn link_of_client(relays: &[Relay6]) -> Option<Link6> {
    let told = relays.iter().rev().map(|relay| relay.link);
    told.into_iter()
        .find(|link| *link != Ipv6Addr::UNSPECIFIED)
        .map(Link6::Address)
}

/// Whether an event is of the client that a record is of: by client identifier where both have one, else by hardware address.
fn same_client(event: &Event4, old: &Bind4<'_>) -> bool {
    let id = event.client_id.as_deref().filter(|id| !id.is_empty());
    match (id, old.client_id_option().is_empty()) {
        (Some(id), false) => old.has_client_id(id),
        (None, true) => {
            let octets = event
                .hwaddr
                .as_ref()
                .map_or(&[][..], |hwaddr| &hwaddr.octets);
            octets == old.hwaddr()
        }
        _ => false,
    }
}

fn seconds(end: u64) -> u32 {
    u32::try_from(end).unwrap_or(u32::MAX)
}
