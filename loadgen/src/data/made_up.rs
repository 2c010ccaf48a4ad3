//! Bindings that are made up: everything about a row follows from its number, so nothing is kept.
//!
//! | | |
//! |---|---|
//! | row r of DHCPv4 | 10.0.0.0 + r, of relay r / bindings per relay |
//! | rows of a DHCPv6 relay | in fives: four clients with an address each, and a prefix of the fourth one |
//! | DHCPv6 address | `2001:db8:RRRR:RRRR::1:NNNN:NNNN`, R the relay, N the row |
//! | delegated prefix | `3fff:NN:NNNN:NN00::/56` |
//! | link-address of relay R | `2001:db8:RRRR:RRRR::1` |
//! | relay-id | DUID-LL `0003 0001 026c RRRRRRRR` |
//! | remote-id | `lgre RRRRRRRR`, in DHCPv6 of the enterprise 32473, which is for documentation |
//! | MAC, client-id, DUID | `02:6c:NN:NN:NN:NN`, `01` and the MAC, DUID-LL of it; N the row of the client's address |
//! | circuit-id, interface-id | `0004` and `lgif` with N |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use leaseq_requestor::Family;
use leaseq_wire::v4::{OptionValue, suboption};
use leaseq_wire::v6::option_code as code6;

use super::line::Relay;
use super::{
    Content, DataError, First, LeaseKey, MOST_MADE_UP4, MOST_ROWS, RelayData, Rows, Seen4,
};
use crate::scenario::By;

/// Rows of a DHCPv6 relay that make a pattern, and those of them that are clients with an address.
const PATTERN: u32 = 5;
const CLIENTS: u32 = 4;
/// 2001:db8::/32, RFC 3849.
const DOCUMENTATION: u128 = 0x2001_0db8 << 96;
/// 3fff::/20, RFC 9637.
const DELEGATED: u128 = 0x3fff << 112;
/// Length of a delegated prefix.
const PREFIX_LEN: u8 = 56;
/// Of interface identifiers of clients, before the row.
const HOST: u128 = 1 << 32;
const FIRST4: u32 = 10 << 24;
/// Octets of option 82, and of the relay agent's options in DHCPv6.
const RELAY_INFO: usize = 30;
const RELAY_OPTIONS: usize = 12 + 16 + 14;

#[derive(Clone, Copy, Debug)]
pub(super) struct MadeUp {
    family: Family,
    relays: u32,
    per_relay: u32,
    first: First,
}

impl MadeUp {
    pub(super) fn new(
        family: Family,
        relays: u32,
        per_relay: u32,
        cltt: u32,
        valid: u32,
    ) -> Result<Self, DataError> {
        let (most, name) = match family {
            Family::V4 => (MOST_MADE_UP4, "DHCPv4"),
            Family::V6 => (MOST_ROWS, "DHCPv6"),
        };
        let first = First {
            is_active: true,
            cltt: Some(cltt),
            preferred: valid,
            valid: Some(valid),
        };
        match u64::from(relays) * u64::from(per_relay) {
            0 => Err(DataError::Empty),
            rows if rows > most.into() => Err(DataError::TooMany {
                family: name,
                relays,
                bindings_per_relay: per_relay,
                most,
            }),
            _ => Ok(Self {
                family,
                relays,
                per_relay,
                first,
            }),
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.relays * self.per_relay
    }

    pub(super) fn relays(&self) -> u32 {
        self.relays
    }

    pub(super) fn rows_of(&self, relay: u32) -> Rows<'static> {
        Rows::range(relay * self.per_relay, self.per_relay)
    }

    pub(super) fn first(&self, _row: u32) -> First {
        self.first
    }

    fn relay_of(&self, row: u32) -> u32 {
        row / self.per_relay
    }

    /// DHCPv6: the row is a delegated prefix; that of the row before it.
    fn is_prefix(&self, row: u32) -> bool {
        row % self.per_relay % PATTERN == CLIENTS
    }

    /// DHCPv6: the row of the address of a row's client.
    fn client_of(&self, row: u32) -> u32 {
        row - u32::from(self.is_prefix(row))
    }

    pub(super) fn client(&self, row: u32) -> Rows<'static> {
        let first = self.client_of(row);
        let is_last = (first + 1).is_multiple_of(self.per_relay);
        let has_prefix = !is_last && self.is_prefix(first + 1);
        Rows::range(first, 1 + u32::from(has_prefix))
    }

    pub(super) fn find(&self, key: LeaseKey<'_>) -> Option<u32> {
        let row = match key {
            LeaseKey::V4(address) if self.family == Family::V4 => {
                address.to_bits().checked_sub(FIRST4)?
            }
            LeaseKey::V6 {
                vpn: [],
                address,
                prefix_len,
            } if self.family == Family::V6 => {
                let row = match prefix_len {
                    None => address.to_bits() as u32,
                    Some(_) => (address.to_bits() >> 72) as u32,
                };
                // Whatever else is in the address has to be that row's.
                let is = row < self.len() && self.address6(row) == (address, prefix_len);
                return is.then_some(row);
            }
            _ => return None,
        };
        (row < self.len()).then_some(row)
    }

    fn address6(&self, row: u32) -> (Ipv6Addr, Option<u8>) {
        match self.is_prefix(row) {
            true => ((DELEGATED | u128::from(row) << 72).into(), Some(PREFIX_LEN)),
            false => {
                let relay = self.relay_of(row);
                let bits = DOCUMENTATION | u128::from(relay) << 64 | HOST | u128::from(row);
                (bits.into(), None)
            }
        }
    }

    pub(super) fn content(&self, row: u32) -> Option<Content> {
        if row >= self.len() {
            return None;
        }
        let relay = self.relay_of(row);
        Some(match self.family {
            Family::V4 => {
                let address = Ipv4Addr::from(FIRST4 + row);
                Content {
                    hwaddr: Some((1, mac(row).to_vec())),
                    client_id: Some(client_id(row).to_vec()),
                    relay_info: Some(relay_info(row, relay).to_vec()),
                    ..Content::new(IpAddr::V4(address), None)
                }
            }
            Family::V6 => {
                let (address, prefix_len) = self.address6(row);
                let client = self.client_of(row);
                Content {
                    duid: Some(duid(client).to_vec()),
                    iaid: Some(1 + u32::from(prefix_len.is_some())),
                    relays: vec![Relay {
                        link: link(relay),
                        peer: peer(client),
                        options: relay_options(client, relay).to_vec(),
                    }],
                    ..Content::new(IpAddr::V6(address), prefix_len)
                }
            }
        })
    }

    pub(super) fn is_same4(&self, row: u32, seen: &Seen4<'_>) -> bool {
        seen.htype == 1
            && seen.chaddr == mac(row)
            && is(seen.client_id.as_ref(), &client_id(row))
            && is(
                seen.relay_info.as_ref(),
                &relay_info(row, self.relay_of(row)),
            )
    }

    pub(super) fn is_duid(&self, row: u32, octets: &[u8]) -> bool {
        octets == duid(self.client_of(row))
    }

    pub(super) fn is_relay_data(&self, row: u32, relay_data: &RelayData<'_>) -> bool {
        let (client, relay) = (self.client_of(row), self.relay_of(row));
        let mut hops = relay_data.hops();
        let (Some(hop), None) = (hops.next(), hops.next()) else {
            return false;
        };
        hop.link == link(relay)
            && hop.peer == peer(client)
            && hop.octets() == Some(&relay_options(client, relay))
    }

    pub(super) fn target_id(&self, by: By, relay: u32) -> Option<Vec<u8>> {
        Some(match (by, self.family) {
            (By::RelayId, _) => relay_id(relay).to_vec(),
            (By::RemoteId, Family::V4) => remote_id(relay).to_vec(),
            (By::RemoteId, Family::V6) => remote_id6(relay).to_vec(),
            _ => return None,
        })
    }
}

fn is(seen: Option<&OptionValue<'_>>, expected: &[u8]) -> bool {
    seen.is_some_and(|seen| match seen.as_slice() {
        Some(seen) => seen == expected,
        None => seen == expected,
    })
}

/// A link-address of a relay.
pub(super) fn link(relay: u32) -> Ipv6Addr {
    (DOCUMENTATION | u128::from(relay) << 64 | 1).into()
}

fn peer(client: u32) -> Ipv6Addr {
    (0xfe80 << 112 | HOST | u128::from(client)).into()
}

fn mac(row: u32) -> [u8; 6] {
    let [a, b, c, d] = row.to_be_bytes();
    [0x02, b'l', a, b, c, d]
}

fn client_id(row: u32) -> [u8; 7] {
    let [a, b, c, d, e, f] = mac(row);
    [1, a, b, c, d, e, f]
}

fn duid(client: u32) -> [u8; 10] {
    let [a, b, c, d, e, f] = mac(client);
    [0, 3, 0, 1, a, b, c, d, e, f]
}

fn relay_id(relay: u32) -> [u8; 10] {
    duid(relay)
}

fn remote_id(relay: u32) -> [u8; 8] {
    let [a, b, c, d] = relay.to_be_bytes();
    [b'l', b'g', b'r', b'e', a, b, c, d]
}

fn remote_id6(relay: u32) -> [u8; 12] {
    let mut octets = [0; 12];
    octets[..4].copy_from_slice(&32_473_u32.to_be_bytes());
    octets[4..].copy_from_slice(&remote_id(relay));
    octets
}

/// The value of option 82.
fn relay_info(row: u32, relay: u32) -> [u8; RELAY_INFO] {
    let mut octets = [0; RELAY_INFO];
    octets[..4].copy_from_slice(&[suboption::CIRCUIT_ID, 6, 0, 4]);
    octets[4..8].copy_from_slice(&row.to_be_bytes());
    octets[8..10].copy_from_slice(&[suboption::REMOTE_ID, 8]);
    octets[10..18].copy_from_slice(&remote_id(relay));
    octets[18..20].copy_from_slice(&[suboption::RELAY_ID, 10]);
    octets[20..].copy_from_slice(&relay_id(relay));
    octets
}

/// What a relay agent adds in DHCPv6: interface-id, remote-id, relay-id.
fn relay_options(client: u32, relay: u32) -> [u8; RELAY_OPTIONS] {
    let mut octets = [0; RELAY_OPTIONS];
    let (interface, rest) = octets.split_at_mut(12);
    let (remote, own) = rest.split_at_mut(16);
    head(interface, code6::INTERFACE_ID);
    interface[4..8].copy_from_slice(b"lgif");
    interface[8..].copy_from_slice(&client.to_be_bytes());
    head(remote, code6::REMOTE_ID);
    remote[4..].copy_from_slice(&remote_id6(relay));
    head(own, code6::RELAY_ID);
    own[4..].copy_from_slice(&relay_id(relay));
    octets
}

/// Code and length of an option that fills these octets.
fn head(option: &mut [u8], code: u16) {
    let length = (option.len() - 4) as u16;
    option[..2].copy_from_slice(&code.to_be_bytes());
    option[2..4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
#[path = "made_up_tests.rs"]
mod tests;
