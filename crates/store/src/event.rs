//! Events: what a feed tells about a binding, and the check that an event must pass before it is stored.

use std::net::{Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;
use thiserror::Error;

use crate::time::Stamp;
use crate::vpn::Vpn;

/// Most octets of a record, header and padding included.
pub const MAX_RECORD: usize = 61_440;
/// Most octets of a DUID: type and 128 more (RFC 8415 §11.1).
pub const MAX_DUID: usize = 130;
/// Most octets of a DHCPv4 client identifier, split over several options if need be (RFC 3396).
pub const MAX_CLIENT_ID: usize = 1_024;
/// Most relay agents between a client and its server (RFC 8415: HOP_COUNT_LIMIT is 8; RFC 3315 had 32).
pub const MAX_HOPS: usize = 32;
/// A lifetime that never ends.
pub const INFINITE: u32 = u32::MAX;
/// Most octets of a feed's name and of its position.
pub const MAX_FEED_TEXT: usize = 4_096;

/// State of a binding, numbered as in the dhcp-state option (RFC 6926 §6.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// Free to be leased.
    Available = 1,
    /// Leased.
    Active = 2,
    /// The lease ran out.
    Expired = 3,
    /// The client gave it back.
    Released = 4,
    /// In use by somebody unknown, or declined.
    Abandoned = 5,
    /// Freed by an administrator.
    Reset = 6,
    /// Handled by another server.
    Remote = 7,
    /// Between two states, known to the source alone.
    Transitioning = 8,
}

impl State {
    /// All states, in the order of their numbers.
    pub const ALL: [State; 8] = [
        State::Available,
        State::Active,
        State::Expired,
        State::Released,
        State::Abandoned,
        State::Reset,
        State::Remote,
        State::Transitioning,
    ];

    /// The state of a number of the dhcp-state option.
    pub fn from_u8(number: u8) -> Option<State> {
        State::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Whether the binding is over, so that compaction forgets it when `history` has passed: any state but
    /// ACTIVE and ABANDONED.
    pub fn is_end(self) -> bool {
        !matches!(self, State::Active | State::Abandoned)
    }
}

/// What a DHCPv6 lease is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LeaseKind {
    /// An address, IA_NA.
    Na = 0,
    /// A temporary address, IA_TA.
    Ta = 1,
    /// A delegated prefix, IA_PD.
    Pd = 2,
}

impl LeaseKind {
    /// The kind of a record's number.
    pub fn from_u8(number: u8) -> Option<LeaseKind> {
        [LeaseKind::Na, LeaseKind::Ta, LeaseKind::Pd]
            .get(usize::from(number))
            .copied()
    }
}

/// The link of a DHCPv6 client, as its source knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link6 {
    /// Not told.
    Unknown,
    /// The link that has this address (a relay agent's link-address).
    Address(Ipv6Addr),
    /// The subnet number of the source.
    Subnet(u32),
}

/// A link-layer address with its hardware type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HwAddr {
    /// Hardware type; 1 is Ethernet.
    pub htype: u8,
    /// At most 16 octets.
    pub octets: SmallVec<[u8; 16]>,
}

/// A change of something that the store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An IPv4 binding.
    V4(Event4),
    /// An IPv6 address or delegated prefix.
    V6(Event6),
    /// How far a feed has been read.
    Feed(FeedEvent),
}

impl From<Event4> for Event {
    fn from(event: Event4) -> Event {
        Event::V4(event)
    }
}

impl From<Event6> for Event {
    fn from(event: Event6) -> Event {
        Event::V6(event)
    }
}

impl Event {
    /// Whether the event can be stored; see [`Event4::check`] and [`Event6::check`].
    pub fn check(&self) -> Result<(), EventError> {
        match self {
            Event::V4(event) => event.check(),
            Event::V6(event) => event.check(),
            Event::Feed(event) => event.check(),
        }
    }
}

/// State of an IPv4 binding. An ACTIVE one replaces the binding whole; another state keeps what is absent (`None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event4 {
    /// VPN of the address.
    pub vpn: Vpn,
    /// The address.
    pub address: Ipv4Addr,
    /// Its state from now on.
    pub state: State,
    /// Hardware address of the client.
    pub hwaddr: Option<HwAddr>,
    /// Value of option 61.
    pub client_id: Option<Vec<u8>>,
    /// Client's last transaction, Unix seconds; absent from an ACTIVE event, the time of arrival counts.
    pub cltt: Option<u32>,
    /// Start of the state, Unix seconds.
    pub state_since: Option<u32>,
    /// Seconds from the last transaction; [`INFINITE`] never ends.
    pub lease_time: Option<u32>,
    /// T1, seconds from the last transaction.
    pub t1: Option<u32>,
    /// T2, seconds from the last transaction.
    pub t2: Option<u32>,
    /// Value of option 82, as received.
    pub relay_agent_info: Option<Vec<u8>>,
    /// Other options worth returning: code and value.
    pub options: Option<Vec<(u8, Vec<u8>)>>,
    /// Whether the source itself has it from another server (data-source REMOTE).
    pub remote: bool,
    /// Number of the feed; 0: none.
    pub feed: u16,
}

impl Event4 {
    /// An event with nothing known but the address and its state.
    pub fn new(address: Ipv4Addr, state: State) -> Self {
        Event4 {
            vpn: Vpn::GLOBAL,
            address,
            state,
            hwaddr: None,
            client_id: None,
            cltt: None,
            state_since: None,
            lease_time: None,
            t1: None,
            t2: None,
            relay_agent_info: None,
            options: None,
            remote: false,
            feed: 0,
        }
    }

    /// Whether the event can be stored: lengths of each field, and of the record that they make.
    pub fn check(&self) -> Result<(), EventError> {
        check_vpn(&self.vpn)?;
        if let Some(hwaddr) = &self.hwaddr {
            limit("hardware address", hwaddr.octets.len(), 16)?;
        }
        let client_id = self.client_id.as_deref().unwrap_or_default().len();
        limit("client identifier", client_id, MAX_CLIENT_ID)?;
        let relay = self.relay_agent_info.as_deref().unwrap_or_default().len();
        limit("relay agent information", relay, MAX_RECORD / 4)?;
        let mut options = 0;
        for (code, value) in self.options.iter().flatten() {
            if matches!(code, 0 | 61 | 82 | 255) {
                return Err(EventError::ReservedOption {
                    code: u16::from(*code),
                });
            }
            options += split_len(value.len());
        }
        limit("options", options, MAX_RECORD / 2)
    }
}

impl Event4 {
    /// Octets of its record at most, what is taken over from a stored one left out.
    pub(crate) fn most_octets(&self) -> usize {
        let values = [&self.client_id, &self.relay_agent_info]
            .map(|value| value.as_ref().map_or(0, Vec::len));
        let options: usize = self
            .options
            .iter()
            .flatten()
            .map(|(_, value)| split_len(value.len()))
            .sum();
        128 + self.vpn.vss().len()
            + options
            + 510
            + values.into_iter().map(split_len).sum::<usize>()
    }
}

/// Octets on the wire of a DHCPv4 option of this length, split as RFC 3396 says.
pub(crate) fn split_len(value: usize) -> usize {
    value + 2 * value.div_ceil(255).max(1)
}

/// One relay agent on the way of a client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay6 {
    /// link-address of its RELAY-FORW.
    pub link: Ipv6Addr,
    /// peer-address of its RELAY-FORW.
    pub peer: Ipv6Addr,
    /// Its options as on the wire, without the Relay Message option.
    pub options: Vec<u8>,
}

/// State of an IPv6 address or delegated prefix. An ACTIVE one replaces the binding whole; another state keeps what is
/// absent (`None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event6 {
    /// VPN of the address.
    pub vpn: Vpn,
    /// The address, or the prefix with all bits after its length zero.
    pub address: Ipv6Addr,
    /// Length of the prefix; 128 for an address.
    pub prefix_len: u8,
    /// What the lease is of.
    pub kind: LeaseKind,
    /// DUID of the client.
    pub duid: Option<Vec<u8>>,
    /// IAID; absent: 0.
    pub iaid: Option<u32>,
    /// Link of the client; absent: the link-address of the relay agent nearest to it, if there is one.
    pub link: Option<Link6>,
    /// State from now on.
    pub state: State,
    /// Client's last transaction, Unix seconds; absent from an ACTIVE event, the time of arrival counts.
    pub cltt: Option<u32>,
    /// Start of the state, Unix seconds.
    pub state_since: Option<u32>,
    /// Seconds from the last transaction; absent: as the valid lifetime.
    pub preferred_lifetime: Option<u32>,
    /// Seconds from the last transaction; absent from an ACTIVE event: it never ends.
    pub valid_lifetime: Option<u32>,
    /// Relay agents, the nearest to the server first.
    pub relay: Option<Vec<Relay6>>,
    /// Other options worth returning: code and value.
    pub options: Option<Vec<(u16, Vec<u8>)>>,
    /// Whether the source itself has it from another server.
    pub remote: bool,
    /// Number of the feed; 0: none.
    pub feed: u16,
}

impl Event6 {
    /// An event of a single address with nothing known but its state.
    pub fn new(address: Ipv6Addr, state: State) -> Self {
        Event6 {
            vpn: Vpn::GLOBAL,
            address,
            prefix_len: 128,
            kind: LeaseKind::Na,
            duid: None,
            iaid: None,
            link: None,
            state,
            cltt: None,
            state_since: None,
            preferred_lifetime: None,
            valid_lifetime: None,
            relay: None,
            options: None,
            remote: false,
            feed: 0,
        }
    }

    /// Whether the event can be stored: the prefix, lengths of each field, well-formed relay agents' options, and the
    /// length of the record.
    pub fn check(&self) -> Result<(), EventError> {
        check_vpn(&self.vpn)?;
        if self.prefix_len > 128 || self.prefix_len == 0 {
            return Err(EventError::PrefixLength {
                found: self.prefix_len,
            });
        }
        if self.kind != LeaseKind::Pd && self.prefix_len != 128 {
            return Err(EventError::PrefixLength {
                found: self.prefix_len,
            });
        }
        if mask(self.address, self.prefix_len) != self.address {
            return Err(EventError::HostBits {
                address: self.address,
                prefix_len: self.prefix_len,
            });
        }
        match &self.duid {
            Some(duid) => limit("DUID", duid.len(), MAX_DUID)?,
            None if self.state == State::Active => return Err(EventError::MissingDuid),
            None => {}
        }
        if self.state == State::Active && self.duid.as_ref().is_some_and(Vec::is_empty) {
            return Err(EventError::MissingDuid);
        }
        let mut relay_octets = 0;
        let hops = self.relay.as_deref().unwrap_or_default();
        limit_count("relay agents", hops.len(), MAX_HOPS)?;
        for (hop, relay) in hops.iter().enumerate() {
            check_relay_options(hop, &relay.options)?;
            relay_octets += relay.options.len() + 38;
        }
        limit("relay data", relay_octets, MAX_RECORD / 2)?;
        let options: usize = self
            .options
            .iter()
            .flatten()
            .map(|(_, value)| value.len() + 4)
            .sum();
        for (code, _) in self.options.iter().flatten() {
            if matches!(code, 1 | 9 | 47) {
                return Err(EventError::ReservedOption { code: *code });
            }
        }
        limit("options", options, MAX_RECORD / 4)
    }
}

impl Event6 {
    /// Octets of its record at most, what is taken over from a stored one left out.
    pub(crate) fn most_octets(&self) -> usize {
        let duid = self.duid.as_ref().map_or(0, Vec::len);
        let relays: usize = self
            .relay
            .iter()
            .flatten()
            .map(|relay| relay.options.len() + 46)
            .sum();
        let options: usize = self
            .options
            .iter()
            .flatten()
            .map(|(_, value)| value.len() + 4)
            .sum();
        160 + self.vpn.vss().len() + duid + relays + options
    }
}

/// How far a feed has been read. Leases of a live feed expire only when it has been read past their end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEvent {
    /// Name of the feed, as [`crate::Store::feed_id`] knows it.
    pub name: String,
    /// Where to go on reading, in the feed's own format.
    pub position: Vec<u8>,
    /// Nothing that the source did before this is unknown.
    pub read_up_to: Stamp,
    /// Whether the feed is followed.
    pub live: bool,
}

impl FeedEvent {
    /// Whether the event can be stored: a name, and lengths of at most 4,096 octets each.
    pub fn check(&self) -> Result<(), EventError> {
        if self.name.is_empty() {
            return Err(EventError::FeedName);
        }
        limit("feed name", self.name.len(), MAX_FEED_TEXT)?;
        limit("feed position", self.position.len(), MAX_FEED_TEXT)
    }
}

/// Why an event cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventError {
    /// A field has more octets than a record can hold.
    #[error("{field} of {found} octets, at most {most} can be stored")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Its octets.
        found: usize,
        /// Most octets.
        most: usize,
    },
    /// A list has more members than a record can hold.
    #[error("{found} {field}, at most {most} can be stored")]
    TooMany {
        /// What of.
        field: &'static str,
        /// How many.
        found: usize,
        /// Most members.
        most: usize,
    },
    /// A prefix length that no prefix, or no address, can have.
    #[error(
        "prefix length {found}, expected 128 for an address and 1 to 128 for a delegated prefix"
    )]
    PrefixLength {
        /// The prefix length.
        found: u8,
    },
    /// A prefix with bits set after its length.
    #[error("prefix {address}/{prefix_len} has bits set after its length")]
    HostBits {
        /// The address of the prefix.
        address: Ipv6Addr,
        /// The prefix length.
        prefix_len: u8,
    },
    /// An ACTIVE IPv6 lease of nobody.
    #[error("an active IPv6 lease needs the DUID of its client")]
    MissingDuid,
    /// An option that has its own field in an event, or that is no option.
    #[error("option {code} cannot be one of the other options")]
    ReservedOption {
        /// The code.
        code: u16,
    },
    /// A relay agent's options that cannot be read.
    #[error("options of relay agent {hop} are malformed at octet {offset}")]
    RelayOptions {
        /// Which relay agent, counted from the one nearest to the server.
        hop: usize,
        /// Where.
        offset: usize,
    },
    /// A feed without a name.
    #[error("a feed needs a name")]
    FeedName,
    /// A feed number that no feed has.
    #[error("feed number {number} is not known to the store")]
    UnknownFeed {
        /// The number.
        number: u16,
    },
    /// More feeds than numbers.
    #[error("the store cannot hold another feed")]
    TooManyFeeds,
}

/// The address with all bits after `prefix_len` zero.
pub(crate) fn mask(address: Ipv6Addr, prefix_len: u8) -> Ipv6Addr {
    let bits = 128 - u32::from(prefix_len.min(128));
    let kept = u128::MAX.checked_shl(bits).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & kept)
}

fn limit(field: &'static str, found: usize, most: usize) -> Result<(), EventError> {
    if found > most {
        Err(EventError::TooLong { field, found, most })
    } else {
        Ok(())
    }
}

fn limit_count(field: &'static str, found: usize, most: usize) -> Result<(), EventError> {
    if found > most {
        Err(EventError::TooMany { field, found, most })
    } else {
        Ok(())
    }
}

fn check_vpn(vpn: &Vpn) -> Result<(), EventError> {
    limit("VSS information", vpn.vss().len(), 255)
}

fn check_relay_options(hop: usize, options: &[u8]) -> Result<(), EventError> {
    let mut offset = 0;
    while offset < options.len() {
        let bad = EventError::RelayOptions { hop, offset };
        let Some(&[c0, c1, l0, l1]) = options[offset..].first_chunk::<4>() else {
            return Err(bad);
        };
        let end = offset + 4 + usize::from(u16::from_be_bytes([l0, l1]));
        if end > options.len() || u16::from_be_bytes([c0, c1]) == 9 {
            return Err(bad);
        }
        offset = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        let mut event = Event4::new(Ipv4Addr::new(192, 0, 2, 1), State::Active);
        assert_eq!(event.check(), Ok(()));
        event.client_id = Some(vec![0; MAX_CLIENT_ID + 1]);
        assert!(matches!(
            event.check(),
            Err(EventError::TooLong {
                field: "client identifier",
                ..
            })
        ));
        event.client_id = None;
        event.options = Some(vec![(82, vec![])]);
        assert_eq!(event.check(), Err(EventError::ReservedOption { code: 82 }));
    }

    #[test]
    fn a_prefix_has_no_host_bits() {
        let mut event = Event6::new("2001:db8:1::1".parse().unwrap(), State::Released);
        event.kind = LeaseKind::Pd;
        event.prefix_len = 56;
        assert!(matches!(event.check(), Err(EventError::HostBits { .. })));
        event.address = "2001:db8:1::".parse().unwrap();
        assert_eq!(event.check(), Ok(()));
        event.state = State::Active;
        assert_eq!(event.check(), Err(EventError::MissingDuid));
        event.kind = LeaseKind::Na;
        assert!(matches!(
            event.check(),
            Err(EventError::PrefixLength { .. })
        ));
    }

    #[test]
    fn relay_options_must_be_whole() {
        let mut event = Event6::new("2001:db8:1::1".parse().unwrap(), State::Released);
        let relay = |options: &[u8]| Relay6 {
            link: Ipv6Addr::UNSPECIFIED,
            peer: Ipv6Addr::UNSPECIFIED,
            options: options.to_vec(),
        };
        event.relay = Some(vec![relay(&[0, 37, 0, 4, 0, 0, 0, 1])]);
        assert_eq!(event.check(), Ok(()));
        event.relay = Some(vec![relay(&[0, 37, 0, 5, 0, 0, 0, 1])]);
        assert_eq!(
            event.check(),
            Err(EventError::RelayOptions { hop: 0, offset: 0 })
        );
        event.relay = Some(vec![relay(&[0, 9, 0, 0])]);
        assert_eq!(
            event.check(),
            Err(EventError::RelayOptions { hop: 0, offset: 0 })
        );
    }
}
