//! What is hashed for the indexes: a kind, so that values of different meaning stay apart, then the value.
//!
//! Selector values are hashed without their VPN, for a query may ask for all VPNs; the VPN is verified on the record.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::index::Hasher;

const KEY4: u8 = 1;
const KEY6: u8 = 2;
const HWADDR: u8 = 3;
const CLIENT_ID: u8 = 4;
const REMOTE_ID4: u8 = 5;
const RELAY_ID4: u8 = 6;
const DUID: u8 = 7;
const REMOTE_ID6: u8 = 8;
const RELAY_ID6: u8 = 9;
/// Links; see [`crate::links`].
pub(crate) const LINK: u8 = 10;

/// Hashes of keys and selector values.
pub(crate) trait Keys {
    /// Key of an IPv4 binding.
    fn key4(&self, vpn: &[u8], address: Ipv4Addr) -> u64;
    /// Key of an IPv6 lease.
    fn key6(&self, vpn: &[u8], address: Ipv6Addr, prefix_len: u8) -> u64;
    /// Hardware address, whatever its type: a query may leave the type open.
    fn hwaddr(&self, address: &[u8]) -> u64;
    /// DHCPv4 client identifier.
    fn client_id(&self, id: &[u8]) -> u64;
    /// Remote-id of option 82.
    fn remote_id4(&self, id: &[u8]) -> u64;
    /// Relay-id of option 82.
    fn relay_id4(&self, id: &[u8]) -> u64;
    /// DUID of a client.
    fn duid(&self, duid: &[u8]) -> u64;
    /// Remote-id of a DHCPv6 relay agent.
    fn remote_id6(&self, id: &[u8]) -> u64;
    /// Relay-id of a DHCPv6 relay agent.
    fn relay_id6(&self, id: &[u8]) -> u64;
}

impl Keys for Hasher {
    fn key4(&self, vpn: &[u8], address: Ipv4Addr) -> u64 {
        self.hash(KEY4, &[&address.octets(), vpn])
    }

    fn key6(&self, vpn: &[u8], address: Ipv6Addr, prefix_len: u8) -> u64 {
        self.hash(KEY6, &[&address.octets(), &[prefix_len], vpn])
    }

    fn hwaddr(&self, address: &[u8]) -> u64 {
        self.hash(HWADDR, &[address])
    }

    fn client_id(&self, id: &[u8]) -> u64 {
        self.hash(CLIENT_ID, &[id])
    }

    fn remote_id4(&self, id: &[u8]) -> u64 {
        self.hash(REMOTE_ID4, &[id])
    }

    fn relay_id4(&self, id: &[u8]) -> u64 {
        self.hash(RELAY_ID4, &[id])
    }

    fn duid(&self, duid: &[u8]) -> u64 {
        self.hash(DUID, &[duid])
    }

    fn remote_id6(&self, id: &[u8]) -> u64 {
        self.hash(REMOTE_ID6, &[id])
    }

    fn relay_id6(&self, id: &[u8]) -> u64 {
        self.hash(RELAY_ID6, &[id])
    }
}
