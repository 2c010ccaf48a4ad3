//! A row with all that is known of it, and the NDJSON line that puts it into a store.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr};

use leaseq_wire::v4::relay_info::SubOptions;
use leaseq_wire::v4::suboption;

use super::First;
use crate::changes::mark::{self, CLIENT_FQDN, Change, HOST_NAME};

/// What of a row does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The address, or the prefix's.
    pub(crate) address: IpAddr,
    /// Length of a delegated prefix.
    pub(crate) prefix_len: Option<u8>,
    /// Hardware type and address.
    pub(crate) hwaddr: Option<(u8, Vec<u8>)>,
    /// Client identifier.
    pub(crate) client_id: Option<Vec<u8>>,
    /// Value of option 82.
    pub(crate) relay_info: Option<Vec<u8>>,
    /// DUID of the client.
    pub(crate) duid: Option<Vec<u8>>,
    /// IAID of the lease.
    pub(crate) iaid: Option<u32>,
    /// Relay agents, the one nearest to the server first.
    pub(crate) relays: Vec<Relay>,
}

/// A relay agent on the way of a DHCPv6 client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relay {
    /// Its link-address.
    pub(crate) link: Ipv6Addr,
    /// Its peer-address.
    pub(crate) peer: Ipv6Addr,
    /// Its options, as on the wire, without RELAY_MSG.
    pub(crate) options: Vec<u8>,
}

impl Content {
    /// A row of which nothing is known but its address.
    pub(crate) fn new(address: IpAddr, prefix_len: Option<u8>) -> Self {
        Self {
            address,
            prefix_len,
            hwaddr: None,
            client_id: None,
            relay_info: None,
            duid: None,
            iaid: None,
            relays: Vec::new(),
        }
    }

    /// The remote-id in option 82.
    pub(crate) fn remote_id4(&self) -> Option<Vec<u8>> {
        self.suboption(suboption::REMOTE_ID).map(<[u8]>::to_vec)
    }

    /// A sub-option of option 82.
    pub(crate) fn suboption(&self, code: u8) -> Option<&[u8]> {
        let mut options = SubOptions::unchecked(self.relay_info.as_deref()?);
        let found = options.find(|(found, _)| *found == code);
        found.map(|(_, value)| value)
    }

    /// Appends the line, as it was at first or as a change makes it.
    pub(super) fn write(&self, first: First, change: Option<Change>, out: &mut String) {
        let is_v6 = self.address.is_ipv6();
        let _ = write!(out, "{{\"family\":{}", if is_v6 { 6 } else { 4 });
        match self.prefix_len {
            None => write!(out, ",\"address\":\"{}\"", self.address),
            Some(len) => write!(out, ",\"prefix\":\"{}/{len}\"", self.address),
        }
        .unwrap_or_default();
        let is_active = change.map_or(first.is_active, |change| !change.is_release);
        let state = if is_active { "active" } else { "released" };
        let _ = write!(out, ",\"state\":\"{state}\"");
        if let Some((htype, octets)) = &self.hwaddr {
            let _ = write!(out, ",\"hwaddr\":\"{htype:02x}");
            octets.iter().for_each(|octet| {
                let _ = write!(out, ":{octet:02x}");
            });
            out.push('"');
        }
        hex(out, "client_id", self.client_id.as_deref());
        hex(out, "duid", self.duid.as_deref());
        number(out, "iaid", self.iaid);
        number(
            out,
            "cltt",
            change.map_or(first.cltt, |change| Some(change.at)),
        );
        if is_v6 {
            let preferred = match (change, first.valid) {
                (Some(change), Some(valid)) => mark::preferred(change.number, valid),
                _ => first.preferred,
            };
            number(out, "preferred_lifetime", Some(preferred));
        }
        number(out, "valid_lifetime", first.valid);
        hex(out, "relay_agent_info", self.relay_info.as_deref());
        if !self.relays.is_empty() {
            out.push_str(",\"relay\":[");
            for (place, relay) in self.relays.iter().enumerate() {
                let comma = if place == 0 { "" } else { "," };
                let (link, peer) = (relay.link, relay.peer);
                let _ = write!(out, "{comma}{{\"link\":\"{link}\",\"peer\":\"{peer}\"");
                hex(out, "options", Some(&relay.options));
                out.push('}');
            }
            out.push(']');
        }
        if let Some(change) = change {
            let code = if is_v6 { CLIENT_FQDN } else { HOST_NAME.into() };
            let _ = write!(out, ",\"options\":{{\"{code}\":\"");
            change.write_hex(is_v6, out);
            out.push_str("\"}");
        }
        out.push_str("}\n");
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match self.prefix_len {
            Some(len) => write!(f, "/{len}"),
            None => Ok(()),
        }
    }
}

fn hex(out: &mut String, name: &str, octets: Option<&[u8]>) {
    let Some(octets) = octets else { return };
    let _ = write!(out, ",\"{name}\":\"");
    octets.iter().for_each(|octet| {
        let _ = write!(out, "{octet:02x}");
    });
    out.push('"');
}

fn number(out: &mut String, name: &str, number: Option<u32>) {
    if let Some(number) = number {
        let _ = write!(out, ",\"{name}\":{number}");
    }
}
