//! Names that a requestor's certificate may carry (`tls.allowed-names`).

use std::fmt;
use std::net::IpAddr;

/// A name, or a pattern of names, of which a certificate needs one among its subject alternative names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedName {
    /// An IP address.
    Address(IpAddr),
    /// A domain name, in lower case.
    Domain(String),
    /// Every domain name of one label more than this one: `*.` before it (RFC 9525 §6.3).
    OneLabelUnder(String),
}

/// A subject alternative name, as far as it can be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// An IP address.
    Address(IpAddr),
    /// A domain name, in lower case.
    Domain(String),
}

impl fmt::Display for Presented {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Presented::Address(address) => address.fmt(out),
            Presented::Domain(name) => name.fmt(out),
        }
    }
}

impl AllowedName {
    /// Reads a name as it is configured; nothing if it is none.
    pub fn read(text: &str) -> Option<AllowedName> {
        if let Ok(address) = text.parse() {
            return Some(AllowedName::Address(address));
        }
        let name = normal(text);
        match name.strip_prefix("*.") {
            // `*.net` would be everybody.
            Some(parent) if is_domain(parent) && parent.contains('.') => {
                Some(AllowedName::OneLabelUnder(parent.to_owned()))
            }
            Some(_) => None,
            None => is_domain(&name).then_some(AllowedName::Domain(name)),
        }
    }

    /// Whether a certificate's name is allowed by this one.
    pub fn allows(&self, presented: &Presented) -> bool {
        match (self, presented) {
            (AllowedName::Address(allowed), Presented::Address(address)) => allowed == address,
            (AllowedName::Domain(allowed), Presented::Domain(name)) => allowed == name,
            (AllowedName::OneLabelUnder(parent), Presented::Domain(name)) => name
                .split_once('.')
                .is_some_and(|(label, rest)| is_label(label) && rest == parent),
            _ => false,
        }
    }
}

impl Presented {
    /// A domain name. One with a wildcard is no requestor's name: no allowed one is equal to it.
    pub fn domain(name: &str) -> Presented {
        Presented::Domain(normal(name))
    }

    /// An IP address, in 4 or 16 octets.
    pub fn address(octets: &[u8]) -> Option<Presented> {
        let address = match octets.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
            16 => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
            _ => return None,
        };
        Some(Presented::Address(address))
    }
}

/// Lower case, without the dot of the root.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn is_domain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let is_part = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    !label.is_empty() && label.len() <= 63 && label.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(allowed: &str, presented: &Presented) -> bool {
        AllowedName::read(allowed)
            .expect("a name")
            .allows(presented)
    }

    #[test]
    fn a_wildcard_stands_for_one_label_and_nothing_else() {
        let name = |text| Presented::domain(text);
        let pattern = "*.bng.example.net";
        assert!(allows(pattern, &name("pe1.bng.example.net")));
        assert!(allows(pattern, &name("PE1.BNG.example.net.")));
        for other in [
            "bng.example.net",
            "a.pe1.bng.example.net",
            "pe1.bng.example.org",
            "pe1xbng.example.net",
            ".bng.example.net",
            "*.bng.example.net",
            "pe1.bng.example.net.evil.test",
        ] {
            assert!(!allows(pattern, &name(other)), "{other}");
        }
        assert!(allows("Pe1.example.net", &name("pe1.example.NET")));
        assert!(!allows("pe1.example.net", &name("*.example.net")));
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        let address = |octets: &[u8]| Presented::address(octets).expect("an address");
        assert!(allows("192.0.2.7", &address(&[192, 0, 2, 7])));
        assert!(!allows("192.0.2.7", &address(&[192, 0, 2, 8])));
        assert!(!allows("192.0.2.7", &Presented::domain("192.0.2.7")));
        let mut octets = [0; 16];
        (octets[0], octets[1], octets[15]) = (0x20, 0x01, 1);
        assert!(allows("2001::1", &address(&octets)));
        assert_eq!(Presented::address(&[1, 2, 3]), None);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "*",
            "*.net",
            "a.*.net",
            "pe*.example.net",
            "*.*.example.net",
            "a..b",
            "exa mple.net",
            "*.",
            "bücher.example",
        ] {
            assert_eq!(AllowedName::read(text), None, "{text:?}");
        }
    }
}
