//! Replies about a binding: what stays the same within a query is made once, then copied and patched.
//!
//! The template holds header, message type and the fixed options of an ACTIVE binding that the requestor wants, base-time
//! first. For each binding it is copied whole, the times are patched at places known beforehand, and client identifier and
//! relay agent information are copied from the record as they lie there. Whatever is rare is appended behind.

use std::net::Ipv4Addr;

use leaseq_store::{Bind4, Stamp, State, VpnRef};
use leaseq_wire::v4::message_type::{DHCPLEASEACTIVE, DHCPLEASEUNASSIGNED};
use leaseq_wire::v4::option_code::{
    BASE_TIME, CLIENT_IDENTIFIER, CLIENT_LAST_TRANSACTION_TIME, DATA_SOURCE, DHCP_MESSAGE_TYPE,
    DHCP_STATE, END, IP_ADDRESS_LEASE_TIME, REBINDING_TIME, RELAY_AGENT_INFORMATION, RENEWAL_TIME,
    SERVER_IDENTIFIER, START_TIME_OF_STATE, VSS,
};
use leaseq_wire::v4::{DATA_SOURCE_REMOTE, HEADER_LEN, Header};
use leaseq_wire::{Full, INFINITY, OutBuf, frame};

use super::wanted::Wanted;
use crate::settings::OptionSet;

/// Octets of the template: header, option 53, four options of a time, dhcp-state; rounded up.
const TEMPLATE: usize = 272;
/// Most octets that are appended beside the record's: options 54, 58, 59, 157, END, and the head of option 221.
const APPENDED: usize = 32;

/// Where in the header the fields lie that differ between bindings.
mod at {
    pub(super) const HTYPE: usize = 1;
    pub(super) const HLEN: usize = 2;
    pub(super) const XID: usize = 4;
    pub(super) const CIADDR: usize = 12;
    pub(super) const CHADDR: usize = 28;
    pub(super) const MESSAGE_TYPE: usize = super::HEADER_LEN + 2;
    pub(super) const OPTIONS: usize = super::HEADER_LEN + 3;
}

/// The replies of one query.
#[derive(Clone, Debug)]
pub(super) struct Replies {
    template: [u8; TEMPLATE],
    /// Octets before the first option that depends on the binding: base-time is the same for all.
    common_len: usize,
    /// Octets of the template that an ACTIVE binding uses.
    active_len: usize,
    /// Offsets of values in the template, where they are wanted.
    lease_time_at: Option<usize>,
    cltt_at: Option<usize>,
    state_since_at: Option<usize>,
    identity: Identity,
    wants_base_time: bool,
    wants_state: bool,
    /// Something may have to be appended.
    wants_more: bool,
    wants_t1: bool,
    wants_t2: bool,
    wants_source: bool,
    wants_others: bool,
    others: OptionSet,
    server_identifier: [u8; 4],
}

/// Octets of a record that go into the reply about it as they are.
pub(super) struct Carried<'a> {
    identity: &'a [u8],
    others: &'a [u8],
    vpn: VpnRef<'a>,
}

impl Carried<'_> {
    /// Octets that hold the reply for certain.
    #[inline(always)]
    pub(super) fn room(&self) -> usize {
        TEMPLATE + APPENDED + self.identity.len() + self.others.len() + self.vpn.vss().len()
    }
}

/// An address of which nothing is told but its state.
pub(super) struct Free<'a> {
    pub(super) vpn: VpnRef<'a>,
    pub(super) address: Ipv4Addr,
    /// Any but ACTIVE.
    pub(super) state: State,
    /// Start of the state, Unix seconds.
    pub(super) since: u32,
}

/// Which of client identifier and relay agent information are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    Neither,
    ClientId,
    RelayInfo,
    Both,
}

impl Replies {
    /// The replies with this header; what differs between bindings is overwritten.
    pub(super) fn new(header: &Header, wanted: &Wanted, server_identifier: [u8; 4]) -> Replies {
        let mut template = [0; TEMPLATE];
        template[..HEADER_LEN].copy_from_slice(&header.encode());
        let mut tail = Tail {
            octets: &mut template,
            len: HEADER_LEN,
        };
        tail.option(DHCP_MESSAGE_TYPE, &[DHCPLEASEACTIVE]);
        let time = |code, tail: &mut Tail<'_>| {
            wanted.has(code).then(|| {
                tail.option(code, &[0; 4]);
                tail.len - 4
            })
        };
        let wants_base_time = time(BASE_TIME, &mut tail).is_some();
        let common_len = tail.len;
        let lease_time_at = time(IP_ADDRESS_LEASE_TIME, &mut tail);
        let cltt_at = time(CLIENT_LAST_TRANSACTION_TIME, &mut tail);
        let state_since_at = time(START_TIME_OF_STATE, &mut tail);
        let wants_state = wanted.has(DHCP_STATE);
        if wants_state {
            tail.option(DHCP_STATE, &[State::Active as u8]);
        }
        let active_len = tail.len;
        let identity = match (
            wanted.has(CLIENT_IDENTIFIER),
            wanted.has(RELAY_AGENT_INFORMATION),
        ) {
            (false, false) => Identity::Neither,
            (true, false) => Identity::ClientId,
            (false, true) => Identity::RelayInfo,
            (true, true) => Identity::Both,
        };
        let others = wanted.others();
        let (wants_t1, wants_t2) = (wanted.has(RENEWAL_TIME), wanted.has(REBINDING_TIME));
        let wants_source = wanted.has(DATA_SOURCE);
        Replies {
            template,
            common_len,
            active_len,
            lease_time_at,
            cltt_at,
            state_since_at,
            identity,
            wants_base_time,
            wants_state,
            wants_more: wants_t1 || wants_t2 || wants_source || !others.is_empty(),
            wants_t1,
            wants_t2,
            wants_source,
            wants_others: !others.is_empty(),
            others,
            server_identifier,
        }
    }

    /// Sets the transaction id of the replies from now on.
    pub(super) fn set_xid(&mut self, xid: u32) {
        self.template[at::XID..at::XID + 4].copy_from_slice(&xid.to_be_bytes());
    }

    /// Sets the time that the replies from now on are made at.
    pub(super) fn set_base_time(&mut self, now: Stamp) {
        if self.wants_base_time {
            self.template[at::OPTIONS + 2..at::OPTIONS + 6]
                .copy_from_slice(&now.seconds().to_be_bytes());
        }
    }

    /// Base-time as an option, if it is wanted.
    pub(super) fn base_time(&self) -> Option<&[u8]> {
        self.wants_base_time
            .then(|| &self.template[at::OPTIONS..at::OPTIONS + 6])
    }

    /// What a record carries for the reply about it.
    #[inline(always)]
    pub(super) fn carried<'a>(&self, bind: &Bind4<'a>) -> Carried<'a> {
        Carried {
            identity: match self.identity {
                Identity::Both => bind.client_id_and_relay_info(),
                Identity::ClientId => bind.client_id_option(),
                Identity::RelayInfo => bind.relay_info_option(),
                Identity::Neither => &[],
            },
            others: if self.wants_others {
                bind.other_options()
            } else {
                &[]
            },
            vpn: bind.vpn(),
        }
    }

    /// Octets that hold the reply about a free address for certain.
    pub(super) fn room_for_free(&self, vpn: VpnRef<'_>) -> usize {
        TEMPLATE + APPENDED + vpn.vss().len()
    }

    /// Writes the reply about a binding, without END. `out` holds at least as many octets as `carried` has
    /// [room](Carried::room) for. Returns its octets.
    #[inline(always)]
    pub(super) fn binding(
        &self,
        bind: &Bind4<'_>,
        carried: &Carried<'_>,
        now: Stamp,
        with_server_identifier: bool,
        out: &mut [u8],
    ) -> usize {
        let Some(head) = out.first_chunk_mut::<TEMPLATE>() else {
            return 0;
        };
        *head = self.template;
        head[at::HTYPE] = bind.htype();
        head[at::HLEN] = bind.hlen();
        head[at::CIADDR..at::CIADDR + 4].copy_from_slice(&bind.address().octets());
        head[at::CHADDR..at::CHADDR + 16].copy_from_slice(bind.chaddr());
        let seconds = now.seconds();
        let active = bind.state() == State::Active;
        let (lease_left, cltt) = (bind.lease_left(now), bind.cltt());
        let len = if let (true, Some(lease_left), Some(cltt)) = (active, lease_left, cltt) {
            patch(head, self.lease_time_at, lease_left);
            patch(head, self.cltt_at, seconds.saturating_sub(cltt));
            patch(
                head,
                self.state_since_at,
                seconds.saturating_sub(bind.state_since()),
            );
            self.active_len
        } else {
            self.unusual_times(
                bind.state(),
                bind.state_since(),
                lease_left,
                cltt,
                seconds,
                head,
            )
        };
        let mut tail = Tail { octets: out, len };
        tail.put(carried.identity);
        if self.wants_more {
            self.append_more(bind, carried, seconds, &mut tail);
        }
        self.append_rare(carried.vpn, with_server_identifier, &mut tail);
        tail.len
    }

    /// Writes the reply about an address without a binding to tell, without END, as [`binding`](Self::binding) does.
    pub(super) fn free(
        &self,
        free: &Free<'_>,
        now: Stamp,
        with_server_identifier: bool,
        out: &mut [u8],
    ) -> usize {
        let Some(head) = out.first_chunk_mut::<TEMPLATE>() else {
            return 0;
        };
        *head = self.template;
        head[at::HTYPE] = 0;
        head[at::HLEN] = 0;
        head[at::CIADDR..at::CIADDR + 4].copy_from_slice(&free.address.octets());
        head[at::CHADDR..at::CHADDR + 16].fill(0);
        let len = self.unusual_times(free.state, free.since, None, None, now.seconds(), head);
        let mut tail = Tail { octets: out, len };
        self.append_rare(free.vpn, with_server_identifier, &mut tail);
        tail.len
    }

    /// The times and the state of whatever is not an ACTIVE binding with all its times known. Returns the octets of the
    /// message so far.
    #[cold]
    fn unusual_times(
        &self,
        state: State,
        state_since: u32,
        lease_left: Option<u32>,
        cltt: Option<u32>,
        now: u32,
        head: &mut [u8; TEMPLATE],
    ) -> usize {
        let active = state == State::Active;
        head[at::MESSAGE_TYPE] = if active {
            DHCPLEASEACTIVE
        } else {
            DHCPLEASEUNASSIGNED
        };
        let mut tail = Tail {
            octets: head,
            len: self.common_len,
        };
        // Of all states only a lease has a timeout.
        if let (Some(_), true, Some(left)) = (self.lease_time_at, active, lease_left) {
            tail.time(IP_ADDRESS_LEASE_TIME, left);
        }
        if let (Some(_), Some(cltt)) = (self.cltt_at, cltt) {
            tail.time(CLIENT_LAST_TRANSACTION_TIME, now.saturating_sub(cltt));
        }
        if self.state_since_at.is_some() {
            tail.time(START_TIME_OF_STATE, now.saturating_sub(state_since));
        }
        if self.wants_state {
            tail.option(DHCP_STATE, &[state as u8]);
        }
        tail.len
    }

    /// Options that few requestors want.
    fn append_more(&self, bind: &Bind4<'_>, carried: &Carried<'_>, now: u32, tail: &mut Tail<'_>) {
        if bind.state() == State::Active {
            for (wants, code, after) in [
                (self.wants_t1, RENEWAL_TIME, bind.t1()),
                (self.wants_t2, REBINDING_TIME, bind.t2()),
            ] {
                let left = after
                    .filter(|_| wants)
                    .and_then(|after| time_left(bind.cltt()?, after, now));
                if let Some(left) = left {
                    tail.time(code, left);
                }
            }
        }
        if self.wants_source && bind.is_remote() {
            tail.option(DATA_SOURCE, &[DATA_SOURCE_REMOTE]);
        }
        let mut options = carried.others;
        while let [code, length, ref rest @ ..] = *options {
            let after = rest.get(usize::from(length)..).unwrap_or_default();
            if self.others.contains(code) {
                tail.put(&options[..options.len() - after.len()]);
            }
            options = after;
        }
    }

    /// The server identifier, where it has to be, and the VPN unless it is the global one.
    #[inline(always)]
    fn append_rare(&self, vpn: VpnRef<'_>, with_server_identifier: bool, tail: &mut Tail<'_>) {
        if with_server_identifier {
            tail.option(SERVER_IDENTIFIER, &self.server_identifier);
        }
        if !vpn.is_global() {
            tail.option(VSS, vpn.vss());
        }
    }
}

/// Seconds left of a T1 or T2 counted from the last transaction; nothing once it is past (RFC 4388 §6.4.2).
fn time_left(cltt: u32, after: u32, now: u32) -> Option<u32> {
    if after == INFINITY {
        return Some(INFINITY);
    }
    let left = (u64::from(cltt) + u64::from(after)).checked_sub(u64::from(now))?;
    // A client that renewed "in the future" of this clock still has no more than it was given.
    u32::try_from(left)
        .ok()
        .map(|left| left.min(after))
        .filter(|left| *left > 0)
}

#[inline(always)]
fn patch(head: &mut [u8; TEMPLATE], at: Option<usize>, value: u32) {
    if let Some(octets) = at.and_then(|at| head.get_mut(at..at + 4)) {
        octets.copy_from_slice(&value.to_be_bytes());
    }
}

/// Writes the frame of a reply that takes at most `room` octets; `write` leaves END out. Returns the octets of the frame.
///
/// # Errors
/// [`Full`] if there is not so much room; nothing is written then.
#[inline(always)]
pub(super) fn framed(
    out: &mut OutBuf<'_>,
    room: usize,
    write: impl FnOnce(&mut [u8]) -> usize,
) -> Result<usize, Full> {
    let at = out.len();
    let octets = out.reserve(frame::HEADER + room)?;
    let (header, message) = octets.split_at_mut(frame::HEADER);
    let len = write(message);
    let len = end(message, len);
    // A record is at most 61,440 octets, so the message's length fits.
    header.copy_from_slice(&(len as u16).to_be_bytes());
    out.truncate(at + frame::HEADER + len);
    Ok(frame::HEADER + len)
}

/// Writes END. Returns the octets of the message.
#[inline(always)]
pub(super) fn end(out: &mut [u8], len: usize) -> usize {
    out[len] = END;
    len + 1
}

/// Options being appended to a buffer that is known to have room for them.
struct Tail<'a> {
    octets: &'a mut [u8],
    len: usize,
}

impl Tail<'_> {
    #[inline(always)]
    fn put(&mut self, octets: &[u8]) {
        self.octets[self.len..self.len + octets.len()].copy_from_slice(octets);
        self.len += octets.len();
    }

    #[inline(always)]
    fn option(&mut self, code: u8, value: &[u8]) {
        self.put(&[code, value.len() as u8]);
        self.put(value);
    }

    fn time(&mut self, code: u8, seconds: u32) {
        self.option(code, &seconds.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t1_and_t2_count_down_and_vanish() {
        assert_eq!(time_left(1_000, 600, 1_100), Some(500));
        assert_eq!(time_left(1_000, 600, 1_599), Some(1));
        assert_eq!(time_left(1_000, 600, 1_600), None);
        assert_eq!(time_left(1_000, 600, 9_999), None);
        assert_eq!(
            time_left(1_000, 600, 900),
            Some(600),
            "never more than was given"
        );
        assert_eq!(time_left(1_000, INFINITY, 9_999), Some(INFINITY));
        assert_eq!(time_left(u32::MAX - 1, 600, u32::MAX), Some(599));
    }
}
