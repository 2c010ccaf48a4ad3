//! A line of an export, as far as answers to queries can be compared with it.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use leaseq_requestor::Family;
use serde::Deserialize;

use super::Content;
use super::line::Relay;

/// A lease.
pub(super) struct Parsed<'a> {
    fields: Fields<'a>,
    pub(super) family: Family,
    pub(super) is_active: bool,
    pub(super) cltt: Option<u32>,
    pub(super) valid: Option<u32>,
    pub(super) preferred: Option<u32>,
    /// VSS information, type included; empty: the global VPN.
    pub(super) vpn: Vec<u8>,
    /// An address of the client's link.
    pub(super) link: Option<IpAddr>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    family: u8,
    #[serde(borrow)]
    address: Option<Cow<'a, str>>,
    #[serde(borrow)]
    prefix: Option<Cow<'a, str>>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow)]
    hwaddr: Option<Cow<'a, str>>,
    #[serde(borrow)]
    client_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    duid: Option<Cow<'a, str>>,
    iaid: Option<u32>,
    #[serde(borrow)]
    link: Option<Cow<'a, str>>,
    cltt: Option<u32>,
    valid_lifetime: Option<u32>,
    preferred_lifetime: Option<u32>,
    #[serde(borrow)]
    relay_agent_info: Option<Cow<'a, str>>,
    #[serde(borrow)]
    relay: Option<Vec<Hop<'a>>>,
    #[serde(borrow)]
    vpn: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Hop<'a> {
    link: Ipv6Addr,
    peer: Ipv6Addr,
    #[serde(borrow, default)]
    options: Cow<'a, str>,
}

impl<'a> Parsed<'a> {
    /// Reads a line; the error says what was expected.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, String> {
        let fields: Fields<'a> =
            serde_json::from_slice(line.trim_ascii_end()).map_err(|error| {
                // There is but one line.
                let (text, column) = (error.to_string(), error.column());
                let reason = text.split(" at line").next().unwrap_or_default();
                format!("column {column}: {reason}")
            })?;
        let family = match fields.family {
            4 => Family::V4,
            6 => Family::V6,
            other => return Err(format!("family: expected 4 or 6, found {other}")),
        };
        let hops = fields.relay.iter().flatten().rev();
        let link = match fields.link.as_deref() {
            // A source's own number of a link is no address to ask by.
            Some(text) => text.parse().ok(),
            None => hops.map(|hop| hop.link).find(|link| !link.is_unspecified()),
        };
        // Of a DHCPv6 lease without one there is no end.
        let valid = fields.valid_lifetime;
        let valid = if family == Family::V6 {
            valid.or(Some(u32::MAX))
        } else {
            valid
        };
        Ok(Self {
            family,
            is_active: fields.state == "active",
            cltt: fields.cltt,
            valid,
            preferred: fields.preferred_lifetime,
            vpn: vpn(fields.vpn.as_deref().unwrap_or_default())?,
            link: link.map(IpAddr::V6),
            fields,
        })
    }

    /// What of it does not change.
    pub(super) fn content(&self) -> Result<Content, String> {
        let fields = &self.fields;
        let (address, prefix_len) = match (self.family, &fields.address, &fields.prefix) {
            (Family::V4, Some(text), None) => {
                (IpAddr::V4(parse::<Ipv4Addr>("address", text)?), None)
            }
            (Family::V6, Some(text), None) => {
                (IpAddr::V6(parse::<Ipv6Addr>("address", text)?), None)
            }
            (Family::V6, None, Some(text)) => {
                let (address, len) = text.split_once('/').unwrap_or((text, ""));
                let address = parse::<Ipv6Addr>("prefix", address)?;
                (IpAddr::V6(address), Some(parse::<u8>("prefix", len)?))
            }
            _ => return Err("expected one address, or in DHCPv6 one prefix".into()),
        };
        let hwaddr = hex("hwaddr", fields.hwaddr.as_deref())?;
        let mut relays = Vec::new();
        for hop in fields.relay.iter().flatten() {
            relays.push(Relay {
                link: hop.link,
                peer: hop.peer,
                options: hex("relay", Some(&hop.options))?.unwrap_or_default(),
            });
        }
        Ok(Content {
            hwaddr: hwaddr.and_then(|octets| {
                let (htype, octets) = octets.split_first()?;
                Some((*htype, octets.to_vec()))
            }),
            client_id: hex("client_id", fields.client_id.as_deref())?,
            relay_info: hex("relay_agent_info", fields.relay_agent_info.as_deref())?,
            duid: hex("duid", fields.duid.as_deref())?,
            iaid: fields.iaid,
            relays,
            ..Content::new(address, prefix_len)
        })
    }
}

fn parse<T: FromStr>(field: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{field}: cannot read {text:?}"))
}

/// Hex, with or without colons.
fn hex(field: &str, text: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    let Some(text) = text else { return Ok(None) };
    let mut digits = text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16));
    let mut octets = Vec::with_capacity(text.len() / 2);
    while let Some(high) = digits.next() {
        match (high, digits.next().flatten()) {
            (Some(high), Some(low)) => octets.push((high << 4 | low) as u8),
            _ => return Err(format!("{field}: expected hex, found {text:?}")),
        }
    }
    Ok(Some(octets))
}

/// VSS information of a VPN's name: `oui:index` in hex, `hex:...`, `text:NAME` or any other text.
fn vpn(name: &str) -> Result<Vec<u8>, String> {
    if name.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(digits) = name.strip_prefix("hex:") {
        return Ok(hex("vpn", Some(digits))?.unwrap_or_default());
    }
    let is_hex = |text: &str| text.bytes().all(|octet| octet.is_ascii_hexdigit());
    let (kind, information) = match name.split_once(':') {
        Some((oui, index))
            if (oui.len(), index.len()) == (6, 8) && is_hex(oui) && is_hex(index) =>
        {
            (1, hex("vpn", Some(name))?.unwrap_or_default())
        }
        _ => {
            let text = name.strip_prefix("text:").unwrap_or(name);
            (0, text.as_bytes().to_vec())
        }
    };
    Ok([&[kind], &information[..]].concat())
}
