//! Bind6: the state of an IPv6 address or delegated prefix, with client-id, relay data and the other options as they go on
//! the wire, and a table of its relay agents' identifiers.

use std::fmt;
use std::net::Ipv6Addr;

use super::bind4::left;
use super::{
    FLAG_CLTT, FLAG_REMOTE, check_hops, ipv6_at, link_from, options, u16_at, u32_at, u64_at,
};
use crate::event::{Event6, INFINITE, LeaseKind, Link6, MAX_HOPS, Relay6, State};
use crate::time::Stamp;
use crate::vpn::VpnRef;

/// Octets before the first option.
pub(super) const FIXED: usize = 96;
/// Octets of RELAY-FORW before its options.
const RELAY_HEADER: usize = 34;
const OPTION_RELAY_MSG: u16 = 9;

/// A record of an IPv6 lease. Accessors only read; nothing is parsed or copied.
#[derive(Clone, Copy)]
pub struct Bind6<'a> {
    octets: &'a [u8],
    /// Seconds that the lease has left when it ran out and its feed has not confirmed that; 0: no feed holds it.
    grace: u32,
}

/// Identifiers of one relay agent on the way of a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop<'a> {
    /// Value of its remote-id option: enterprise number and identifier.
    pub remote_id: Option<&'a [u8]>,
    /// Value of its relay-id option: a DUID.
    pub relay_id: Option<&'a [u8]>,
}

/// The relay agents of a record that have an identifier, the nearest to the server first.
#[derive(Clone, Debug)]
pub struct Hops<'a> {
    octets: &'a [u8],
    at: usize,
    left: usize,
}

impl<'a> Hops<'a> {
    pub(super) fn new(octets: &'a [u8], at: usize, hops: usize) -> Self {
        Hops {
            octets,
            at,
            left: hops,
        }
    }
}

impl<'a> Iterator for Hops<'a> {
    type Item = Hop<'a>;

    fn next(&mut self) -> Option<Hop<'a>> {
        self.left = self.left.checked_sub(1)?;
        let value = |at: usize| {
            let offset = usize::from(u16_at(self.octets, at));
            let length = usize::from(u16_at(self.octets, at + 2));
            (offset != 0).then(|| &self.octets[offset..offset + length])
        };
        let hop = Hop {
            remote_id: value(self.at),
            relay_id: value(self.at + 4),
        };
        self.at += 8;
        Some(hop)
    }
}

impl<'a> Bind6<'a> {
    pub(super) fn check(octets: &'a [u8]) -> Result<Self, String> {
        if octets.len() < FIXED {
            return Err(format!("an IPv6 lease of {} octets", octets.len()));
        }
        let record = Self::trusted(octets);
        let used = record.vpn_at() + usize::from(octets[43]) + 8 * usize::from(octets[89]);
        if used > octets.len() {
            return Err(format!(
                "an IPv6 lease of {} octets whose fields take {used}",
                octets.len()
            ));
        }
        if State::from_u8(octets[42]).is_none() || LeaseKind::from_u8(octets[41]).is_none() {
            return Err(format!(
                "an IPv6 lease of type {} in state {}",
                octets[41], octets[42]
            ));
        }
        if octets[40] == 0
            || octets[40] > 128
            || octets[88] > 2
            || usize::from(octets[89]) > MAX_HOPS
        {
            return Err(format!(
                "an IPv6 lease with prefix length {}, link kind {} and {} hops",
                octets[40], octets[88], octets[89]
            ));
        }
        check_hops(octets, record.hops_at(), usize::from(octets[89]))?;
        if !options::check6(record.client_id_option(), Some(1))
            || !options::check6(record.relay_data_option(), Some(47))
            || !options::check6(record.other_options(), None)
        {
            return Err("an IPv6 lease with malformed options".to_owned());
        }
        Ok(record)
    }

    pub(crate) fn trusted(octets: &'a [u8]) -> Self {
        Bind6 { octets, grace: 0 }
    }

    /// The same record, with the grace that its feed gives it.
    pub(crate) fn with_grace(self, grace: u32) -> Self {
        Bind6 { grace, ..self }
    }

    pub(crate) fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The address, or the prefix with its host bits zero.
    pub fn address(&self) -> Ipv6Addr {
        ipv6_at(self.octets, 24)
    }

    /// Length of the prefix; 128 for an address.
    pub fn prefix_len(&self) -> u8 {
        self.octets[40]
    }

    /// What the lease is of.
    pub fn kind(&self) -> LeaseKind {
        LeaseKind::from_u8(self.octets[41]).unwrap_or(LeaseKind::Na)
    }

    /// Its state.
    pub fn state(&self) -> State {
        State::from_u8(self.octets[42]).unwrap_or(State::Available)
    }

    /// Its VPN.
    pub fn vpn(&self) -> VpnRef<'a> {
        let start = self.vpn_at();
        VpnRef(&self.octets[start..start + usize::from(self.octets[43])])
    }

    /// IAID of the client's identity association.
    pub fn iaid(&self) -> u32 {
        u32_at(self.octets, 44)
    }

    /// Client's last transaction, Unix seconds.
    pub fn cltt(&self) -> Option<u32> {
        (self.octets[5] & FLAG_CLTT != 0).then(|| u32_at(self.octets, 48))
    }

    /// Start of the state, Unix seconds.
    pub fn state_since(&self) -> u32 {
        u32_at(self.octets, 52)
    }

    /// Preferred lifetime, seconds from the last transaction.
    pub fn preferred_lifetime(&self) -> u32 {
        u32_at(self.octets, 56)
    }

    /// Valid lifetime, seconds from the last transaction.
    pub fn valid_lifetime(&self) -> u32 {
        u32_at(self.octets, 60)
    }

    /// End of the valid lifetime, Unix seconds; absent: it never ends, or is not known.
    pub fn end(&self) -> Option<u64> {
        let seconds = Some(self.valid_lifetime()).filter(|&seconds| seconds != INFINITE)?;
        Some(u64::from(self.cltt()?) + u64::from(seconds))
    }

    /// Seconds of the preferred lifetime left; 0 once past; [`INFINITE`] if it never ends.
    pub fn preferred_left(&self, now: Stamp) -> u32 {
        self.left(self.preferred_lifetime(), now, 0)
    }

    /// Seconds of the valid lifetime left: [`INFINITE`] if it never ends, the grace if expiry is held.
    pub fn valid_left(&self, now: Stamp) -> u32 {
        self.left(self.valid_lifetime(), now, self.grace)
    }

    /// Whether the lease ran out and stays ACTIVE because its feed has not confirmed that yet.
    pub fn expiry_held(&self, now: Stamp) -> bool {
        self.state() == State::Active
            && self.grace > 0
            && self
                .end()
                .is_some_and(|end| end <= u64::from(now.seconds()))
    }

    /// Whether the source has it from another server.
    pub fn is_remote(&self) -> bool {
        self.octets[5] & FLAG_REMOTE != 0
    }

    /// Number of the feed that told it; 0: none.
    pub fn feed(&self) -> u16 {
        u16_at(self.octets, 6)
    }

    /// Sequence of the record with which the lease came to its client and link; a renewal keeps it.
    pub fn joined(&self) -> u64 {
        u64_at(self.octets, 64)
    }

    /// The link as its source knows it; [`crate::View::link_id`] says which link of the store that is.
    pub fn link(&self) -> Link6 {
        link_from(self.octets[88], self.octets, 72)
    }

    /// OPTION_CLIENTID as on the wire; empty if the client is not known.
    pub fn client_id_option(&self) -> &'a [u8] {
        &self.octets[FIXED..FIXED + self.client_len()]
    }

    /// DUID of the client; empty if not known.
    pub fn duid(&self) -> &'a [u8] {
        self.client_id_option().get(4..).unwrap_or_default()
    }

    /// OPTION_LQ_RELAY_DATA as on the wire; empty if no relay agent is known.
    pub fn relay_data_option(&self) -> &'a [u8] {
        let start = FIXED + self.client_len();
        &self.octets[start..start + self.relay_len()]
    }

    /// Other options as on the wire, in order of their codes.
    pub fn other_options(&self) -> &'a [u8] {
        let start = FIXED + self.client_len() + self.relay_len();
        &self.octets[start..self.vpn_at()]
    }

    /// Identifiers of the relay agents that have one.
    pub fn hops(&self) -> Hops<'a> {
        Hops::new(self.octets, self.hops_at(), usize::from(self.octets[89]))
    }

    /// Whether a relay agent on the way has this relay-id.
    pub fn has_relay_id(&self, id: &[u8]) -> bool {
        self.hops().any(|hop| hop.relay_id == Some(id))
    }

    /// Whether a relay agent on the way has this remote-id.
    pub fn has_remote_id(&self, id: &[u8]) -> bool {
        self.hops().any(|hop| hop.remote_id == Some(id))
    }

    /// The relay agents, the nearest to the server first, as an event tells them.
    pub fn relays(&self) -> Vec<Relay6> {
        let mut relays = Vec::new();
        let mut message = self.relay_data_option().get(20..).unwrap_or_default();
        while message.len() >= RELAY_HEADER && relays.len() < MAX_HOPS {
            let (link, peer) = (ipv6_at(message, 2), ipv6_at(message, 18));
            let mut kept = Vec::new();
            let mut inner: &[u8] = &[];
            for (code, value) in options::each6(&message[RELAY_HEADER..]) {
                if code == OPTION_RELAY_MSG {
                    inner = value;
                } else {
                    options::put6(&mut kept, code, value);
                }
            }
            relays.push(Relay6 {
                link,
                peer,
                options: kept,
            });
            message = inner;
        }
        relays
    }

    /// Sequence of the record.
    pub fn sequence(&self) -> u64 {
        super::sequence(self.octets)
    }

    /// When it was committed.
    pub fn stamp(&self) -> Stamp {
        super::stamp(self.octets)
    }

    /// Whether the lease changed in a window of Unix seconds, both ends inclusive: committed, last transaction or start of
    /// the state.
    pub fn changed_in(&self, start: u32, end: u32) -> bool {
        let window = start..=end;
        window.contains(&self.stamp().seconds())
            || window.contains(&self.state_since())
            || self.cltt().is_some_and(|cltt| window.contains(&cltt))
    }

    /// The event that makes this lease in an empty store.
    pub fn to_event(&self) -> Event6 {
        let others: Vec<(u16, Vec<u8>)> = options::each6(self.other_options())
            .map(|(code, value)| (code, value.to_vec()))
            .collect();
        let relays = self.relays();
        Event6 {
            vpn: self.vpn().to_vpn(),
            address: self.address(),
            prefix_len: self.prefix_len(),
            kind: self.kind(),
            duid: (!self.duid().is_empty()).then(|| self.duid().to_vec()),
            iaid: Some(self.iaid()),
            link: Some(self.link()),
            state: self.state(),
            cltt: self.cltt(),
            state_since: Some(self.state_since()),
            preferred_lifetime: Some(self.preferred_lifetime()),
            valid_lifetime: Some(self.valid_lifetime()),
            relay: (!relays.is_empty()).then_some(relays),
            options: (!others.is_empty()).then_some(others),
            remote: self.is_remote(),
            feed: self.feed(),
        }
    }

    fn left(&self, lifetime: u32, now: Stamp, grace: u32) -> u32 {
        match (lifetime, self.cltt()) {
            (INFINITE, _) => INFINITE,
            (lifetime, None) => lifetime,
            (lifetime, Some(cltt)) => left(u64::from(cltt) + u64::from(lifetime), now, grace),
        }
    }

    fn client_len(&self) -> usize {
        usize::from(u16_at(self.octets, 90))
    }

    fn relay_len(&self) -> usize {
        usize::from(u16_at(self.octets, 92))
    }

    fn vpn_at(&self) -> usize {
        FIXED + self.client_len() + self.relay_len() + usize::from(u16_at(self.octets, 94))
    }

    fn hops_at(&self) -> usize {
        self.vpn_at() + usize::from(self.octets[43])
    }
}

impl fmt::Debug for Bind6<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bind6")
            .field("sequence", &self.sequence())
            .field("joined", &self.joined())
            .field("event", &self.to_event())
            .finish()
    }
}
