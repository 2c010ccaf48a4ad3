//! Addresses that relays connect from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A network whose addresses relays take in turn: `127.1.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceNetwork {
    first: IpAddr,
    prefix_len: u8,
}

impl SourceNetwork {
    /// How many addresses it has for relays.
    #[must_use]
    pub fn hosts(&self) -> u32 {
        let (bits, reserved) = match self.first {
            IpAddr::V4(_) => (32, 2),
            IpAddr::V6(_) => (128, 1),
        };
        let free = bits - u32::from(self.prefix_len).min(bits);
        let all = 1_u64.checked_shl(free).unwrap_or(u64::MAX);
        match all.checked_sub(reserved) {
            None | Some(0) => all as u32,
            Some(hosts) => u32::try_from(hosts).unwrap_or(u32::MAX),
        }
    }

    /// The address of a relay, any port. Neither the network's first address nor an IPv4 network's last one is used,
    /// unless there are no others.
    #[must_use]
    pub fn of(&self, relay: u32) -> SocketAddr {
        let ip = match self.first {
            IpAddr::V4(first) => {
                let hosts = 1_u64 << (32 - u32::from(self.prefix_len.min(32)));
                let offset = offset(u128::from(hosts), 2, relay) as u32;
                IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() + offset))
            }
            IpAddr::V6(first) => {
                let hosts = 1_u128
                    .checked_shl(128 - u32::from(self.prefix_len.min(128)))
                    .unwrap_or(u128::MAX);
                let offset = offset(hosts, 1, relay);
                IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() + offset))
            }
        };
        SocketAddr::new(ip, 0)
    }
}

/// Where a relay's address lies in a network of so many, of which so many are no hosts'.
fn offset(all: u128, reserved: u128, relay: u32) -> u128 {
    match all.checked_sub(reserved) {
        None | Some(0) => u128::from(relay) % all,
        Some(hosts) => 1 + u128::from(relay) % hosts,
    }
}

impl FromStr for SourceNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a network such as \"127.1.0.0/16\", found {text:?}");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix_len: u8 = length.parse().map_err(|_| wrong())?;
        let rest = match address {
            IpAddr::V4(address) if prefix_len <= 32 => {
                let mask = u32::MAX.checked_shr(prefix_len.into()).unwrap_or_default();
                u128::from(address.to_bits() & mask)
            }
            IpAddr::V6(address) if prefix_len <= 128 => {
                let mask = u128::MAX.checked_shr(prefix_len.into()).unwrap_or_default();
                address.to_bits() & mask
            }
            _ => return Err(wrong()),
        };
        match rest {
            0 => Ok(Self {
                first: address,
                prefix_len,
            }),
            _ => Err(format!("{text:?} has bits beyond its prefix length")),
        }
    }
}

impl fmt::Display for SourceNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_take_addresses_in_turn() {
        let of = |network: &str, relay| {
            let network: SourceNetwork = network.parse().unwrap();
            network.of(relay).ip().to_string()
        };
        assert_eq!(of("127.1.0.0/30", 0), "127.1.0.1");
        assert_eq!(of("127.1.0.0/30", 1), "127.1.0.2");
        assert_eq!(of("127.1.0.0/30", 2), "127.1.0.1");
        assert_eq!(of("127.0.0.0/8", 65_535), "127.1.0.0");
        assert_eq!(of("192.0.2.7/32", 9), "192.0.2.7");
        assert_eq!(of("0.0.0.0/0", 4), "0.0.0.5");
        assert_eq!(of("::1/128", 3), "::1");
        assert_eq!(of("fd00::/64", 3), "fd00::4");
        assert_eq!(of("::/0", u32::MAX), "::1:0:0");
    }

    #[test]
    fn a_network_has_so_many_addresses() {
        for (network, hosts) in [
            ("127.0.0.0/8", (1 << 24) - 2),
            ("127.1.0.0/30", 2),
            ("127.1.0.0/31", 2),
            ("192.0.2.7/32", 1),
            ("0.0.0.0/0", u32::MAX - 1),
            ("::1/128", 1),
            ("fd00::/112", 0xffff),
            ("fd00::/64", u32::MAX),
            ("::/0", u32::MAX),
        ] {
            let network: SourceNetwork = network.parse().unwrap();
            assert_eq!(network.hosts(), hosts, "{network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "127.0.0.1",
            "127.0.0.1/8",
            "127.0.0.0/33",
            "::/129",
            "fe80::1/64",
            "x/8",
            "10.0.0.0/",
        ] {
            assert!(text.parse::<SourceNetwork>().is_err(), "{text}");
        }
    }
}
