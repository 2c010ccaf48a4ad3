//! Bind4: the state of an IPv4 address, with client-id, option 82 and the other options as they go on the wire.

use std::fmt;
use std::net::Ipv4Addr;

use smallvec::SmallVec;

use super::{FLAG_CLTT, FLAG_REMOTE, HEADER, options, u16_at, u32_at};
use crate::event::{Event4, HwAddr, INFINITE, State};
use crate::time::Stamp;
use crate::vpn::VpnRef;

/// Octets before the first option.
pub(super) const FIXED: usize = 80;
const _: () = assert!(HEADER < FIXED);

/// A record of an IPv4 binding. Accessors only read; nothing is parsed or copied.
#[derive(Clone, Copy)]
pub struct Bind4<'a> {
    octets: &'a [u8],
    /// Seconds that the lease has left when it ran out and its feed has not confirmed that; 0: no feed holds it.
    grace: u32,
}

impl<'a> Bind4<'a> {
    pub(super) fn check(octets: &'a [u8]) -> Result<Self, String> {
        if octets.len() < FIXED {
            return Err(format!("an IPv4 binding of {} octets", octets.len()));
        }
        let record = Self::trusted(octets);
        let used = FIXED
            + record.client_len()
            + record.relay_len()
            + record.other_len()
            + usize::from(octets[29]);
        if used > octets.len() {
            return Err(format!(
                "an IPv4 binding of {} octets whose fields take {used}",
                octets.len()
            ));
        }
        if State::from_u8(octets[28]).is_none() {
            return Err(format!("an IPv4 binding in state {}", octets[28]));
        }
        if octets[31] > 16 {
            return Err(format!("a hardware address of {} octets", octets[31]));
        }
        for (name, offset, length) in [("remote-id", 58, 62), ("relay-id", 60, 63)] {
            let (offset, length) = (
                usize::from(u16_at(octets, offset)),
                usize::from(octets[length]),
            );
            if offset != 0 && offset + length > octets.len() {
                return Err(format!(
                    "a {name} at octets {offset} to {}",
                    offset + length
                ));
            }
        }
        if !options::check4(record.client_id_option(), Some(61))
            || !options::check4(record.relay_info_option(), Some(82))
            || !options::check4(record.other_options(), None)
        {
            return Err("an IPv4 binding with malformed options".to_owned());
        }
        Ok(record)
    }

    pub(crate) fn trusted(octets: &'a [u8]) -> Self {
        Bind4 { octets, grace: 0 }
    }

    /// The same record, with the grace that its feed gives it.
    pub(crate) fn with_grace(self, grace: u32) -> Self {
        Bind4 { grace, ..self }
    }

    pub(crate) fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The address.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32_at(self.octets, 24).swap_bytes())
    }

    /// Its state.
    pub fn state(&self) -> State {
        State::from_u8(self.octets[28]).unwrap_or(State::Available)
    }

    /// Its VPN.
    pub fn vpn(&self) -> VpnRef<'a> {
        let start = FIXED + self.client_len() + self.relay_len() + self.other_len();
        VpnRef(&self.octets[start..start + usize::from(self.octets[29])])
    }

    /// Hardware type of the client; 0 if not told.
    pub fn htype(&self) -> u8 {
        self.octets[30]
    }

    /// Octets of the hardware address.
    pub fn hlen(&self) -> u8 {
        self.octets[31]
    }

    /// Hardware address, padded with zeros.
    pub fn chaddr(&self) -> &'a [u8; 16] {
        self.octets[64..].first_chunk().unwrap_or(&[0; 16])
    }

    /// Hardware address without padding; empty if not told.
    pub fn hwaddr(&self) -> &'a [u8] {
        &self.octets[64..64 + usize::from(self.hlen())]
    }

    /// Client's last transaction, Unix seconds.
    pub fn cltt(&self) -> Option<u32> {
        (self.octets[5] & FLAG_CLTT != 0).then(|| u32_at(self.octets, 32))
    }

    /// Start of the state, Unix seconds.
    pub fn state_since(&self) -> u32 {
        u32_at(self.octets, 36)
    }

    /// Seconds of the lease from the last transaction; [`INFINITE`] never ends; absent: not told.
    pub fn lease_time(&self) -> Option<u32> {
        Some(u32_at(self.octets, 40)).filter(|&seconds| seconds != 0)
    }

    /// T1, seconds from the last transaction.
    pub fn t1(&self) -> Option<u32> {
        Some(u32_at(self.octets, 44)).filter(|&seconds| seconds != 0)
    }

    /// T2, seconds from the last transaction.
    pub fn t2(&self) -> Option<u32> {
        Some(u32_at(self.octets, 48)).filter(|&seconds| seconds != 0)
    }

    /// End of the lease, Unix seconds; absent: it never ends, or its length is not known.
    pub fn end(&self) -> Option<u64> {
        let seconds = self.lease_time().filter(|&seconds| seconds != INFINITE)?;
        Some(u64::from(self.cltt()?) + u64::from(seconds))
    }

    /// Seconds of the lease left: [`INFINITE`] if it never ends, the grace if expiry is held. Absent: not told.
    pub fn lease_left(&self, now: Stamp) -> Option<u32> {
        let seconds = self.lease_time()?;
        let Some(end) = self.end() else {
            return Some(if seconds == INFINITE {
                INFINITE
            } else {
                seconds
            });
        };
        Some(left(end, now, self.grace))
    }

    /// Whether the lease ran out and stays ACTIVE because its feed has not confirmed that yet.
    pub fn expiry_held(&self, now: Stamp) -> bool {
        self.state() == State::Active
            && self.grace > 0
            && self
                .end()
                .is_some_and(|end| end <= u64::from(now.seconds()))
    }

    /// Whether the source has it from another server (data-source REMOTE).
    pub fn is_remote(&self) -> bool {
        self.octets[5] & FLAG_REMOTE != 0
    }

    /// Number of the feed that told it; 0: none.
    pub fn feed(&self) -> u16 {
        u16_at(self.octets, 6)
    }

    /// Option 61 as on the wire; empty if the client sent none.
    pub fn client_id_option(&self) -> &'a [u8] {
        &self.octets[FIXED..FIXED + self.client_len()]
    }

    /// Option 82 as on the wire, in several parts if it is long (RFC 3396); empty if none is known.
    pub fn relay_info_option(&self) -> &'a [u8] {
        let start = FIXED + self.client_len();
        &self.octets[start..start + self.relay_len()]
    }

    /// Options 61 and 82, which lie side by side.
    pub fn client_id_and_relay_info(&self) -> &'a [u8] {
        &self.octets[FIXED..FIXED + self.client_len() + self.relay_len()]
    }

    /// Other options as on the wire, in order of their codes.
    pub fn other_options(&self) -> &'a [u8] {
        let start = FIXED + self.client_len() + self.relay_len();
        &self.octets[start..start + self.other_len()]
    }

    /// Value of the remote-id sub-option.
    pub fn remote_id(&self) -> Option<&'a [u8]> {
        self.value(58, 62)
    }

    /// Value of the relay-id sub-option (RFC 6925).
    pub fn relay_id(&self) -> Option<&'a [u8]> {
        self.value(60, 63)
    }

    /// Value of option 61, its parts joined; `None` if the client sent none.
    pub fn client_id(&self) -> Option<SmallVec<[u8; 64]>> {
        joined(self.client_id_option())
    }

    /// Whether the client identifier is this one. Nothing is copied.
    pub fn has_client_id(&self, id: &[u8]) -> bool {
        let mut wire = self.client_id_option();
        let mut rest = id;
        while let Some((&[_, length], after)) = wire.split_first_chunk() {
            let (part, after) = after.split_at(usize::from(length));
            let Some(tail) = rest.strip_prefix(part) else {
                return false;
            };
            (wire, rest) = (after, tail);
        }
        rest.is_empty() && !id.is_empty()
    }

    /// Value of option 82, its parts joined; `None` if none is known.
    pub fn relay_info(&self) -> Option<SmallVec<[u8; 64]>> {
        joined(self.relay_info_option())
    }

    /// Sequence of the record.
    pub fn sequence(&self) -> u64 {
        super::sequence(self.octets)
    }

    /// When it was committed.
    pub fn stamp(&self) -> Stamp {
        super::stamp(self.octets)
    }

    /// Whether the binding changed in a window of Unix seconds, both ends inclusive: committed, last transaction or start of
    /// the state (RFC 6926 §6.2.5).
    pub fn changed_in(&self, start: u32, end: u32) -> bool {
        let window = start..=end;
        window.contains(&self.stamp().seconds())
            || window.contains(&self.state_since())
            || self.cltt().is_some_and(|cltt| window.contains(&cltt))
    }

    /// The event that makes this binding in an empty store.
    pub fn to_event(&self) -> Event4 {
        let others = options::joined4(self.other_options());
        let known = self.hlen() > 0 || self.htype() > 0;
        Event4 {
            vpn: self.vpn().to_vpn(),
            address: self.address(),
            state: self.state(),
            hwaddr: known.then(|| HwAddr {
                htype: self.htype(),
                octets: SmallVec::from_slice(self.hwaddr()),
            }),
            client_id: self.client_id().map(SmallVec::into_vec),
            cltt: self.cltt(),
            state_since: Some(self.state_since()),
            lease_time: self.lease_time(),
            t1: self.t1(),
            t2: self.t2(),
            relay_agent_info: self.relay_info().map(SmallVec::into_vec),
            options: (!others.is_empty()).then_some(others),
            remote: self.is_remote(),
            feed: self.feed(),
        }
    }

    fn client_len(&self) -> usize {
        usize::from(u16_at(self.octets, 52))
    }

    fn relay_len(&self) -> usize {
        usize::from(u16_at(self.octets, 54))
    }

    fn other_len(&self) -> usize {
        usize::from(u16_at(self.octets, 56))
    }

    fn value(&self, offset_at: usize, length_at: usize) -> Option<&'a [u8]> {
        let offset = usize::from(u16_at(self.octets, offset_at));
        (offset != 0).then(|| &self.octets[offset..offset + usize::from(self.octets[length_at])])
    }
}

/// Seconds from `now` to `end`, or the grace if `end` has passed.
pub(super) fn left(end: u64, now: Stamp, grace: u32) -> u32 {
    match end.saturating_sub(u64::from(now.seconds())) {
        0 => grace,
        left => u32::try_from(left)
            .unwrap_or(INFINITE - 1)
            .min(INFINITE - 1),
    }
}

fn joined(mut wire: &[u8]) -> Option<SmallVec<[u8; 64]>> {
    if wire.is_empty() {
        return None;
    }
    let mut value = SmallVec::new();
    while let Some((&[_, length], rest)) = wire.split_first_chunk() {
        let (part, rest) = rest.split_at(usize::from(length));
        value.extend_from_slice(part);
        wire = rest;
    }
    Some(value)
}

impl fmt::Debug for Bind4<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bind4")
            .field("sequence", &self.sequence())
            .field("event", &self.to_event())
            .finish()
    }
}
