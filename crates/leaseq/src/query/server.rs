//! The server that is asked, as people write it.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use anyhow::Context;
use clap::ValueEnum;
use leaseq_wire::parameters::{DHCPV4_SERVER_PORT, DHCPV6_SERVER_PORT};

use crate::exit::Usage;

/// Which DHCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// DHCPv4
    V4,
    /// DHCPv6
    V6,
}

/// The address that a text names: an address or a name, with a port if it is not the family's.
pub fn resolve(text: &str, family: Family) -> anyhow::Result<SocketAddr> {
    let port = match family {
        Family::V4 => DHCPV4_SERVER_PORT,
        Family::V6 => DHCPV6_SERVER_PORT,
    };
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(address) = without_brackets(text).parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port));
    }
    let found = match text.rsplit_once(':') {
        Some((name, port)) => {
            let port = port
                .parse()
                .map_err(|_| Usage(format!("{text}: expected a port after the colon")))?;
            (name, port).to_socket_addrs()
        }
        None => (text, port).to_socket_addrs(),
    };
    let mut found = found.with_context(|| format!("cannot find {text}"))?;
    found
        .next()
        .with_context(|| format!("{text} has no address"))
}

/// The name or address in a text that [`resolve`] takes, without the port.
pub fn host(text: &str) -> &str {
    let bare = without_brackets(text);
    if bare.parse::<IpAddr>().is_ok() {
        return bare;
    }
    text.rsplit_once(':')
        .map_or(text, |(host, _)| without_brackets(host))
}

fn without_brackets(text: &str) -> &str {
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_without_their_ports() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:6767", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:547", "2001:db8::1"),
            ("dhcp.example.net", "dhcp.example.net"),
            ("dhcp.example.net:67", "dhcp.example.net"),
        ] {
            assert_eq!(host(text), expected);
        }
    }
}
