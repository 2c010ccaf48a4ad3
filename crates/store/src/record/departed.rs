//! Departed4 and Departed6: the selector values that a binding had until the record after this one, so that a stream
//! filtered by them tells the binding as ended.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    Bind4, Bind6, Hop, Hops, begin, check_hops, ipv6_at, kind, link_from, seal, u16_at, u32_at,
};
use crate::event::{LeaseKind, Link6, MAX_HOPS};
use crate::time::Stamp;
use crate::vpn::VpnRef;

const FIXED4: usize = 32;
const FIXED6: usize = 64;

/// Selector values that an IPv4 binding had.
#[derive(Clone, Copy, Debug)]
pub struct Departed4<'a> {
    octets: &'a [u8],
}

impl<'a> Departed4<'a> {
    pub(super) fn check(octets: &'a [u8]) -> Result<Self, String> {
        if octets.len() < FIXED4 {
            return Err(format!("an IPv4 departure of {} octets", octets.len()));
        }
        let used: usize = FIXED4
            + octets[28..31]
                .iter()
                .map(|&length| usize::from(length))
                .sum::<usize>();
        if used > octets.len() {
            return Err(format!(
                "an IPv4 departure of {} octets whose fields take {used}",
                octets.len()
            ));
        }
        Ok(Departed4 { octets })
    }

    pub(super) fn trusted(octets: &'a [u8]) -> Self {
        Departed4 { octets }
    }

    pub(super) fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The address.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32_at(self.octets, 24).swap_bytes())
    }

    /// The remote-id that it had.
    pub fn remote_id(&self) -> Option<&'a [u8]> {
        let value = &self.octets[FIXED4..FIXED4 + self.len(29)];
        (!value.is_empty()).then_some(value)
    }

    /// The relay-id that it had.
    pub fn relay_id(&self) -> Option<&'a [u8]> {
        let start = FIXED4 + self.len(29);
        let value = &self.octets[start..start + self.len(30)];
        (!value.is_empty()).then_some(value)
    }

    /// Its VPN.
    pub fn vpn(&self) -> VpnRef<'a> {
        let start = FIXED4 + self.len(29) + self.len(30);
        VpnRef(&self.octets[start..start + self.len(28)])
    }

    /// Sequence of the record.
    pub fn sequence(&self) -> u64 {
        super::sequence(self.octets)
    }

    /// When it was committed.
    pub fn stamp(&self) -> Stamp {
        super::stamp(self.octets)
    }

    fn len(&self, at: usize) -> usize {
        usize::from(self.octets[at])
    }
}

/// Selector values that an IPv6 lease had.
#[derive(Clone, Copy, Debug)]
pub struct Departed6<'a> {
    octets: &'a [u8],
}

impl<'a> Departed6<'a> {
    pub(super) fn check(octets: &'a [u8]) -> Result<Self, String> {
        if octets.len() < FIXED6 {
            return Err(format!("an IPv6 departure of {} octets", octets.len()));
        }
        let record = Departed6 { octets };
        let used = record.duid_at() + record.duid_len() + usize::from(octets[42]);
        if used > octets.len() || usize::from(octets[43]) > MAX_HOPS {
            return Err(format!(
                "an IPv6 departure of {} octets whose fields take {used}",
                octets.len()
            ));
        }
        if octets[46] > 2 || LeaseKind::from_u8(octets[41]).is_none() {
            return Err(format!(
                "an IPv6 departure of type {} with link kind {}",
                octets[41], octets[46]
            ));
        }
        check_hops(octets, FIXED6, usize::from(octets[43]))?;
        Ok(record)
    }

    pub(super) fn trusted(octets: &'a [u8]) -> Self {
        Departed6 { octets }
    }

    pub(super) fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The address or prefix.
    pub fn address(&self) -> Ipv6Addr {
        ipv6_at(self.octets, 24)
    }

    /// Length of the prefix; 128 for an address.
    pub fn prefix_len(&self) -> u8 {
        self.octets[40]
    }

    /// What the lease was of.
    pub fn kind(&self) -> LeaseKind {
        LeaseKind::from_u8(self.octets[41]).unwrap_or(LeaseKind::Na)
    }

    /// The link that it was on.
    pub fn link(&self) -> Link6 {
        link_from(self.octets[46], self.octets, 48)
    }

    /// The client's DUID.
    pub fn duid(&self) -> &'a [u8] {
        &self.octets[self.duid_at()..self.duid_at() + self.duid_len()]
    }

    /// Its VPN.
    pub fn vpn(&self) -> VpnRef<'a> {
        let start = self.duid_at() + self.duid_len();
        VpnRef(&self.octets[start..start + usize::from(self.octets[42])])
    }

    /// Identifiers of the relay agents that it had.
    pub fn hops(&self) -> Hops<'a> {
        Hops::new(self.octets, FIXED6, usize::from(self.octets[43]))
    }

    /// Sequence of the record.
    pub fn sequence(&self) -> u64 {
        super::sequence(self.octets)
    }

    /// When it was committed.
    pub fn stamp(&self) -> Stamp {
        super::stamp(self.octets)
    }

    fn duid_at(&self) -> usize {
        FIXED6 + 8 * usize::from(self.octets[43])
    }

    fn duid_len(&self) -> usize {
        usize::from(u16_at(self.octets, 44))
    }
}

/// Appends a departure of an IPv4 binding; `old` is its record until now. Gives its octets.
pub(crate) fn encode_departed4(
    out: &mut Vec<u8>,
    old: Bind4<'_>,
    sequence: u64,
    stamp: Stamp,
) -> usize {
    let start = begin(out, kind::DEPARTED4, 0, old.feed());
    let (remote_id, relay_id) = (
        old.remote_id().unwrap_or_default(),
        old.relay_id().unwrap_or_default(),
    );
    out.extend_from_slice(&old.address().octets());
    let lengths = [old.vpn().vss().len(), remote_id.len(), relay_id.len(), 0];
    out.extend(lengths.map(|length| length as u8));
    for value in [remote_id, relay_id, old.vpn().vss()] {
        out.extend_from_slice(value);
    }
    seal(out, start, sequence, stamp)
}

/// Appends a departure of an IPv6 lease from these hops, at most [`MAX_HOPS`]; `old` is its record until now. Gives its octets.
pub(crate) fn encode_departed6(
    out: &mut Vec<u8>,
    old: Bind6<'_>,
    hops: &[Hop<'_>],
    sequence: u64,
    stamp: Stamp,
) -> usize {
    let start = begin(out, kind::DEPARTED6, 0, old.feed());
    out.resize(start + FIXED6, 0);
    let (link_kind, link) = super::link_fields(old.link());
    let head = &mut out[start..];
    head[24..40].copy_from_slice(&old.address().octets());
    head[40] = old.prefix_len();
    head[41] = old.kind() as u8;
    head[42] = old.vpn().vss().len() as u8;
    head[43] = hops.len() as u8;
    head[44..46].copy_from_slice(&(old.duid().len() as u16).to_le_bytes());
    head[46] = link_kind;
    head[48..64].copy_from_slice(&link);
    let mut value_at = FIXED6 + 8 * hops.len() + old.duid().len() + old.vpn().vss().len();
    for hop in hops {
        for value in [hop.remote_id, hop.relay_id] {
            let (offset, length) = value.map_or((0, 0), |value| (value_at, value.len()));
            out.extend_from_slice(&(offset as u16).to_le_bytes());
            out.extend_from_slice(&(length as u16).to_le_bytes());
            value_at += length;
        }
    }
    out.extend_from_slice(old.duid());
    out.extend_from_slice(old.vpn().vss());
    for hop in hops {
        out.extend_from_slice(hop.remote_id.unwrap_or_default());
        out.extend_from_slice(hop.relay_id.unwrap_or_default());
    }
    seal(out, start, sequence, stamp)
}
