//! What the operator configured: IPv4 ranges and IPv6 links. Addresses outside are served too; these give them a place.

use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use crate::event::mask;
use crate::vpn::Vpn;

/// An IPv6 prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix6 {
    /// Its address; bits after the length count as zero.
    pub address: Ipv6Addr,
    /// Its length, 0 to 128.
    pub len: u8,
}

impl Prefix6 {
    /// Whether the prefix contains the address.
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        mask(address, self.len) == mask(self.address, self.len)
    }
}

/// Configured IPv4 addresses, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range4 {
    /// VPN of the addresses.
    pub vpn: Vpn,
    /// First address.
    pub first: Ipv4Addr,
    /// Last address.
    pub last: Ipv4Addr,
}

/// A configured IPv6 link.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LinkConfig {
    /// Its name in the configuration.
    pub name: String,
    /// A link-address or an address inside one of them means this link.
    pub prefixes: Vec<Prefix6>,
    /// Prefixes delegated to clients of this link lie inside one of them.
    pub delegated: Vec<Prefix6>,
}

/// The configured ranges and links of a store.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Topology {
    /// IPv4 ranges; they may touch, but not overlap within a VPN.
    pub ranges4: Vec<Range4>,
    /// IPv6 links.
    pub links6: Vec<LinkConfig>,
}

/// Most configured IPv4 addresses in all ranges together.
pub const MAX_CONFIGURED4: u64 = 1 << 26;

/// Why a topology cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TopologyError {
    /// A range whose last address lies before its first one.
    #[error("range {first}-{last} ends before it begins")]
    Reversed {
        /// First address.
        first: Ipv4Addr,
        /// Last address.
        last: Ipv4Addr,
    },
    /// Two ranges of a VPN have addresses in common.
    #[error("ranges {first} and {second} of one VPN overlap")]
    Overlap {
        /// First address of one range.
        first: Ipv4Addr,
        /// First address of the other.
        second: Ipv4Addr,
    },
    /// More configured addresses than the store keeps arrays for.
    #[error("{found} configured IPv4 addresses, at most {MAX_CONFIGURED4} are possible")]
    TooLarge {
        /// How many.
        found: u64,
    },
    /// A prefix length over 128.
    #[error("link {link:?} has a prefix of length {len}, at most 128 is possible")]
    PrefixLength {
        /// Name of the link.
        link: String,
        /// The length.
        len: u8,
    },
}

impl Topology {
    /// Checks ranges and prefixes.
    pub fn check(&self) -> Result<(), TopologyError> {
        let mut ranges: Vec<&Range4> = self.ranges4.iter().collect();
        ranges.sort_by(|a, b| (&a.vpn, a.first).cmp(&(&b.vpn, b.first)));
        let mut found = 0u64;
        for range in &ranges {
            if range.last < range.first {
                return Err(TopologyError::Reversed {
                    first: range.first,
                    last: range.last,
                });
            }
            found += u64::from(range.last.to_bits() - range.first.to_bits()) + 1;
        }
        if found > MAX_CONFIGURED4 {
            return Err(TopologyError::TooLarge { found });
        }
        for pair in ranges.windows(2) {
            if pair[0].vpn == pair[1].vpn && pair[1].first <= pair[0].last {
                return Err(TopologyError::Overlap {
                    first: pair[0].first,
                    second: pair[1].first,
                });
            }
        }
        for link in &self.links6 {
            for prefix in link.prefixes.iter().chain(&link.delegated) {
                if prefix.len > 128 {
                    return Err(TopologyError::PrefixLength {
                        link: link.name.clone(),
                        len: prefix.len,
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: [u8; 4], last: [u8; 4]) -> Range4 {
        Range4 {
            vpn: Vpn::GLOBAL,
            first: first.into(),
            last: last.into(),
        }
    }

    #[test]
    fn ranges_must_not_overlap() {
        let mut topology = Topology {
            ranges4: vec![
                range([10, 0, 1, 0], [10, 0, 1, 255]),
                range([10, 0, 0, 0], [10, 0, 0, 255]),
            ],
            links6: Vec::new(),
        };
        assert_eq!(topology.check(), Ok(()));
        topology
            .ranges4
            .push(range([10, 0, 0, 255], [10, 0, 0, 255]));
        assert!(matches!(
            topology.check(),
            Err(TopologyError::Overlap { .. })
        ));
        topology.ranges4[2].vpn = Vpn::named("red");
        assert_eq!(topology.check(), Ok(()));
        topology.ranges4.push(range([10, 0, 0, 2], [10, 0, 0, 1]));
        assert!(matches!(
            topology.check(),
            Err(TopologyError::Reversed { .. })
        ));
    }

    #[test]
    fn a_prefix_contains_its_addresses() {
        let prefix = Prefix6 {
            address: "2001:db8:7::".parse().unwrap(),
            len: 48,
        };
        assert!(prefix.contains("2001:db8:7:1::2".parse().unwrap()));
        assert!(!prefix.contains("2001:db8:8::".parse().unwrap()));
        assert!(
            Prefix6 {
                address: Ipv6Addr::UNSPECIFIED,
                len: 0
            }
            .contains(Ipv6Addr::LOCALHOST)
        );
    }
}
