//! Values of the configuration that are written as text: with a unit, in hex, as a range.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use leaseq_feed::{hex, kea_ha, socket, vpn};
use leaseq_session::{Network, QueryKind};
use leaseq_store::{Prefix6, Vpn};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::tls::AllowedName;

/// A value that the configuration holds as text.
pub trait Value: Sized {
    /// What a user is to write, for errors.
    const EXPECTED: &'static str;

    /// Reads the text; the error says what is wrong with it, or nothing if [`Value::EXPECTED`] says it all.
    fn read(text: &str) -> Result<Self, String>;
}

/// A [`Value`] within a section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text<T>(pub T);

impl<'de, T: Value> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads<T>(PhantomData<T>);
        impl<T: Value> Visitor<'_> for Reads<T> {
            type Value = T;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(T::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
                T::read(text).map_err(|reason| {
                    let colon = if reason.is_empty() { "" } else { ": " };
                    E::custom(format!(
                        "expected {}, found {text:?}{colon}{reason}",
                        T::EXPECTED
                    ))
                })
            }
        }
        deserializer.deserialize_str(Reads(PhantomData)).map(Text)
    }
}

fn parse<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| String::new())
}

impl Value for Duration {
    const EXPECTED: &'static str = "a time such as \"300s\", \"24h\" or \"0ms\"";

    fn read(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map_err(|_| String::new())
    }
}

impl Value for AllowedName {
    const EXPECTED: &'static str =
        "a domain name such as \"pe1.example.net\" or \"*.bng.example.net\", or an IP address";

    fn read(text: &str) -> Result<Self, String> {
        AllowedName::read(text).ok_or_else(String::new)
    }
}

/// A number of octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

const SIZE_UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl Value for Size {
    const EXPECTED: &'static str = "a size such as \"64MiB\"";

    fn read(text: &str) -> Result<Self, String> {
        let unit = SIZE_UNITS
            .iter()
            .find_map(|(name, octets)| text.strip_suffix(name).map(|number| (number, octets)));
        let (number, octets) =
            unit.ok_or("one of the units B, kB, KiB, MB, MiB, GB, GiB is needed")?;
        let number: u64 = parse(number.trim_end())?;
        number
            .checked_mul(*octets)
            .map(Size)
            .ok_or_else(|| "too large".into())
    }
}

impl Value for SocketAddr {
    const EXPECTED: &'static str = "an address and port such as \"0.0.0.0:67\" or \"[::]:547\"";

    fn read(text: &str) -> Result<Self, String> {
        parse(text)
    }
}

impl Value for Ipv4Addr {
    const EXPECTED: &'static str = "an IPv4 address";

    fn read(text: &str) -> Result<Self, String> {
        parse(text)
    }
}

impl Value for Ipv6Addr {
    const EXPECTED: &'static str = "an IPv6 address";

    fn read(text: &str) -> Result<Self, String> {
        parse(text)
    }
}

impl Value for Network {
    const EXPECTED: &'static str = "a network such as \"10.0.0.0/8\" or \"2001:db8::/32\"";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|error: leaseq_session::NetworkError| error.to_string())
    }
}

impl Value for QueryKind {
    const EXPECTED: &'static str =
        "a kind of query: ip, hwaddr, client-id, remote-id, relay-id, link, all or active";

    fn read(text: &str) -> Result<Self, String> {
        QueryKind::from_name(text).ok_or_else(String::new)
    }
}

/// Octets that a person wrote in hex, or as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Octets(pub Vec<u8>);

impl Value for Octets {
    const EXPECTED: &'static str = "octets in hex such as \"00:03:00:01:02\", or \"text:...\"";

    fn read(text: &str) -> Result<Self, String> {
        hex::decode_any(text)
            .map(Octets)
            .map_err(|error| error.to_string())
    }
}

impl Value for Vpn {
    const EXPECTED: &'static str = "a VPN: empty, a name, or oui:index in hex";

    fn read(text: &str) -> Result<Self, String> {
        vpn::parse(text)
    }
}

impl Value for socket::Address {
    const EXPECTED: &'static str = "\"unix:PATH\" or \"ADDRESS:PORT\"";

    fn read(text: &str) -> Result<Self, String> {
        parse(text)
    }
}

impl Value for kea_ha::ControlAddress {
    const EXPECTED: &'static str = "\"unix:PATH\", \"http://HOST:PORT/\" or \"https://HOST:PORT/\"";

    fn read(text: &str) -> Result<Self, String> {
        parse(text)
    }
}

/// Where the admin HTTP listens, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdminListen(pub Option<SocketAddr>);

impl Value for AdminListen {
    const EXPECTED: &'static str = "an address and port such as \"127.0.0.1:8067\", or \"off\"";

    fn read(text: &str) -> Result<Self, String> {
        if text == "off" {
            Ok(AdminListen(None))
        } else {
            parse(text).map(|address| AdminListen(Some(address)))
        }
    }
}

/// Path of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixPath(pub PathBuf);

impl Value for UnixPath {
    const EXPECTED: &'static str = "\"unix:PATH\"";

    fn read(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            None | Some("") => Err(String::new()),
            Some(path) => Ok(UnixPath(path.into())),
        }
    }
}

/// An IPv4 prefix whose host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix4 {
    first: u32,
    len: u8,
}

impl Prefix4 {
    /// First and last address.
    pub fn bounds(self) -> (Ipv4Addr, Ipv4Addr) {
        let hosts = u32::MAX.checked_shr(self.len.into()).unwrap_or(0);
        (self.first.into(), (self.first | hosts).into())
    }

    /// First and last address that a host can have: without the network's and the broadcast address.
    pub fn hosts(self) -> (Ipv4Addr, Ipv4Addr) {
        let (first, last) = self.bounds();
        if self.len >= 31 {
            return (first, last);
        }
        ((first.to_bits() + 1).into(), (last.to_bits() - 1).into())
    }
}

impl fmt::Display for Prefix4 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", Ipv4Addr::from(self.first), self.len)
    }
}

impl Value for Prefix4 {
    const EXPECTED: &'static str = "an IPv4 prefix such as \"198.51.100.0/24\"";

    fn read(text: &str) -> Result<Self, String> {
        let (address, len) = text.split_once('/').ok_or_else(String::new)?;
        let (address, len): (Ipv4Addr, u8) = (parse(address)?, parse(len)?);
        if len > 32 {
            return Err("the length is above 32".into());
        }
        let prefix = Prefix4 {
            first: address.to_bits(),
            len,
        };
        if prefix.first & u32::MAX.checked_shr(len.into()).unwrap_or(0) != 0 {
            return Err(format!("bits after the first {len} are set"));
        }
        Ok(prefix)
    }
}

/// A range of IPv4 addresses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// First address.
    pub first: Ipv4Addr,
    /// Last address, not below the first.
    pub last: Ipv4Addr,
}

impl Value for Pool {
    const EXPECTED: &'static str = "a range such as \"198.51.100.10-198.51.100.250\"";

    fn read(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').ok_or_else(String::new)?;
        let (first, last): (Ipv4Addr, Ipv4Addr) = (parse(first.trim())?, parse(last.trim())?);
        if last < first {
            Err("it ends before it begins".into())
        } else {
            Ok(Pool { first, last })
        }
    }
}

impl Value for Prefix6 {
    const EXPECTED: &'static str = "an IPv6 prefix such as \"2001:db8:7::/48\"";

    fn read(text: &str) -> Result<Self, String> {
        let (address, len) = text.split_once('/').ok_or_else(String::new)?;
        let (address, len): (Ipv6Addr, u8) = (parse(address)?, parse(len)?);
        if len > 128 {
            return Err("the length is above 128".into());
        }
        if address.to_bits() & u128::MAX.checked_shr(len.into()).unwrap_or(0) != 0 {
            return Err(format!("bits after the first {len} are set"));
        }
        Ok(Prefix6 { address, len })
    }
}

/// The network of a prefix, as a requestor's rule names links.
pub fn network_of(prefix: Prefix6) -> Network {
    // The length of a Prefix6 that was read is at most 128, which is all that is refused.
    Network::new(IpAddr::V6(prefix.address), prefix.len.min(128))
        .expect("an IPv6 prefix length of at most 128")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit_and_fit() {
        assert_eq!(Size::read("64MiB"), Ok(Size(64 << 20)));
        assert_eq!(Size::read("10 kB"), Ok(Size(10_000)));
        assert_eq!(Size::read("512B"), Ok(Size(512)));
        assert_eq!(Size::read("99999999999GiB"), Err("too large".into()));
        assert!(Size::read("64").is_err());
        assert_eq!(Size::read("x MiB"), Err(String::new()));
    }

    #[test]
    fn prefixes_have_hosts_and_no_stray_bits() {
        let hosts = |text| Prefix4::read(text).map(|prefix| prefix.hosts());
        assert_eq!(
            hosts("192.0.2.0/30"),
            Ok(([192, 0, 2, 1].into(), [192, 0, 2, 2].into()))
        );
        assert_eq!(
            hosts("192.0.2.0/31"),
            Ok(([192, 0, 2, 0].into(), [192, 0, 2, 1].into()))
        );
        assert_eq!(
            hosts("192.0.2.7/32"),
            Ok(([192, 0, 2, 7].into(), [192, 0, 2, 7].into()))
        );
        assert_eq!(
            hosts("0.0.0.0/0"),
            Ok(([0, 0, 0, 1].into(), [255, 255, 255, 254].into()))
        );
        assert_eq!(
            hosts("192.0.2.1/24"),
            Err("bits after the first 24 are set".into())
        );
        assert_eq!(hosts("192.0.2.0/33"), Err("the length is above 32".into()));
        assert!(Prefix6::read("2001:db8::1/32").is_err());
        assert_eq!(Prefix6::read("::/0").map(|prefix| prefix.len), Ok(0));
        assert_eq!(
            Prefix6::read("::/129"),
            Err("the length is above 128".into())
        );
    }

    #[test]
    fn pools_do_not_run_backwards() {
        assert!(Pool::read("192.0.2.1 - 192.0.2.1").is_ok());
        assert_eq!(
            Pool::read("192.0.2.2-192.0.2.1"),
            Err("it ends before it begins".into())
        );
        assert_eq!(Pool::read("192.0.2.2"), Err(String::new()));
    }
}
