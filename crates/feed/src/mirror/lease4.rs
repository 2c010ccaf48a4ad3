//! An IPv4 address as a server tells it, as an event of the store.

use leaseq_requestor::Lease4;
use leaseq_store::{Bind4, Event4, HwAddr, State, Vpn};

/// The VPN of the store that a server names.
pub(super) fn vpn(told: Option<&leaseq_requestor::Vpn>) -> Vpn {
    let Some(told) = told else {
        return Vpn::GLOBAL;
    };
    let vss = told.vss();
    let octets: Vec<u8> = std::iter::once(vss.type_octet())
        .chain(vss.information().iter().copied())
        .collect();
    Vpn::from_vss(&octets)
}

/// Whether nobody is told whom the address is or was leased to: it never was, or that was forgotten.
pub(super) fn is_bare(lease: &Lease4) -> bool {
    State::from_u8(lease.state as u8) == Some(State::Available)
        && lease.hwaddr.is_none()
        && lease.client_id.is_none()
        && lease.relay_agent_info.is_none()
        && lease.options.is_empty()
}

/// Whether a stored binding tells of nobody either.
pub(super) fn is_stored_bare(lease: &Bind4<'_>) -> bool {
    lease.state() == State::Available
        && lease.hlen() == 0
        && lease.client_id_and_relay_info().is_empty()
        && lease.other_options().is_empty()
}

/// The event of an address that the server has forgotten.
pub(super) fn forgotten(lease: &Bind4<'_>, since: u32, feed: u16) -> Event4 {
    Event4 {
        vpn: lease.vpn().to_vpn(),
        hwaddr: Some(nobody()),
        client_id: Some(Vec::new()),
        relay_agent_info: Some(Vec::new()),
        options: Some(Vec::new()),
        state_since: Some(since),
        remote: true,
        feed,
        ..Event4::new(lease.address(), State::Available)
    }
}

fn nobody() -> HwAddr {
    HwAddr {
        htype: 0,
        octets: Default::default(),
    }
}

/// The event that makes the store tell what the server told.
///
/// What was not told of an ended binding is not there: the store would keep what it had from the client before. Only times
/// that are not told of ends may stay.
pub(super) fn event(lease: Lease4, feed: u16) -> Event4 {
    let state = State::from_u8(lease.state as u8).unwrap_or(State::Available);
    let is_active = state == State::Active;
    // Without it the times are counted from when they were told.
    let cltt = lease.cltt().or(is_active.then_some(lease.as_of));
    let after = |left: Option<u32>| {
        let left = left.filter(|_| is_active)?;
        Some(lease.from_last_transaction(left).max(1))
    };
    let (lease_time, t1, t2) = (
        after(lease.lease_time),
        after(lease.renewal),
        after(lease.rebinding),
    );
    let hwaddr = lease.hwaddr.as_ref().map(|(htype, octets)| HwAddr {
        htype: *htype,
        octets: octets.as_slice().into(),
    });
    Event4 {
        vpn: vpn(lease.vpn.as_ref()),
        address: lease.address,
        state,
        hwaddr: Some(hwaddr.unwrap_or_else(nobody)),
        cltt: cltt.map(|time| time.0),
        state_since: lease.state_since().map(|time| time.0),
        lease_time,
        t1,
        t2,
        client_id: Some(lease.client_id.unwrap_or_default()),
        relay_agent_info: Some(lease.relay_agent_info.unwrap_or_default()),
        options: Some(lease.options),
        remote: true,
        feed,
    }
}
