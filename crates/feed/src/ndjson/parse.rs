//! A line as an event.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use leaseq_store::{Event, Event4, Event6, HwAddr, LeaseKind, Link6, Relay6, State, Vpn};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use smallvec::SmallVec;

use crate::rejection::json_reason;
use crate::{hex, vpn};

/// Why a line is no lease event: the field, what was expected and what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LineError(String);

/// Reads a line.
pub fn parse(line: &[u8]) -> Result<Event, LineError> {
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(LineError("expected a JSON object".into()));
    }
    let fields: Fields<'_> =
        serde_json::from_slice(line).map_err(|error| LineError(json_reason(&error)))?;
    fields.event().map_err(LineError)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
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
    lease_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    link: Option<Cow<'a, str>>,
    cltt: Option<u32>,
    state_since: Option<u32>,
    valid_lifetime: Option<u32>,
    preferred_lifetime: Option<u32>,
    t1: Option<u32>,
    t2: Option<u32>,
    #[serde(borrow)]
    relay_agent_info: Option<Cow<'a, str>>,
    #[serde(borrow)]
    relay: Option<Vec<Hop<'a>>>,
    #[serde(borrow)]
    options: Option<Options<'a>>,
    #[serde(borrow)]
    vpn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hop<'a> {
    link: Ipv6Addr,
    peer: Ipv6Addr,
    #[serde(borrow, default)]
    options: Cow<'a, str>,
}

/// Option codes with their values in hex, in the order of the line.
struct Options<'a>(Vec<(u16, Cow<'a, str>)>);

/// A key or value of an object, borrowed where the line allows it.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Options<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Codes;
        impl<'de> Visitor<'de> for Codes {
            type Value = Options<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object of option codes and values in hex")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut options: Vec<(u16, Cow<'de, str>)> = Vec::new();
                while let Some((Text(key), Text(value))) =
                    map.next_entry::<Text<'de>, Text<'de>>()?
                {
                    let Ok(code) = key.parse() else {
                        return Err(A::Error::custom(format!(
                            "options: expected an option code, found {key:?}"
                        )));
                    };
                    options.push((code, value));
                }
                Ok(Options(options))
            }
        }
        deserializer.deserialize_map(Codes)
    }
}

impl Fields<'_> {
    fn event(self) -> Result<Event, String> {
        match self.family {
            4 => self.event4().map(Event::V4),
            6 => self.event6().map(Event::V6),
            other => Err(format!("family: expected 4 or 6, found {other}")),
        }
    }

    fn event4(self) -> Result<Event4, String> {
        let foreign = [
            ("prefix", self.prefix.is_some()),
            ("duid", self.duid.is_some()),
            ("iaid", self.iaid.is_some()),
            ("lease_type", self.lease_type.is_some()),
            ("link", self.link.is_some()),
            ("preferred_lifetime", self.preferred_lifetime.is_some()),
            ("relay", self.relay.is_some()),
        ];
        refuse_foreign(&foreign, "an IPv4 lease")?;
        Ok(Event4 {
            vpn: self.vpn()?,
            address: parsed::<Ipv4Addr>("address", self.address.as_deref(), "an IPv4 address")?,
            state: self.state()?,
            hwaddr: self.hwaddr.as_deref().map(hardware_address).transpose()?,
            client_id: octets("client_id", self.client_id.as_deref())?,
            cltt: self.cltt,
            state_since: self.state_since,
            lease_time: self.valid_lifetime,
            t1: self.t1,
            t2: self.t2,
            relay_agent_info: octets("relay_agent_info", self.relay_agent_info.as_deref())?,
            remote: self.remote()?,
            options: self
                .options
                .map(|options| options.decode(u8::MAX.into()))
                .transpose()?
                .map(narrow),
            feed: 0,
        })
    }

    fn event6(self) -> Result<Event6, String> {
        let foreign = [
            ("hwaddr", self.hwaddr.is_some()),
            ("client_id", self.client_id.is_some()),
            ("t1", self.t1.is_some()),
            ("t2", self.t2.is_some()),
            ("relay_agent_info", self.relay_agent_info.is_some()),
        ];
        refuse_foreign(&foreign, "an IPv6 lease")?;
        let (address, prefix_len, kind) = self.key6()?;
        let relay = self
            .relay
            .as_ref()
            .map(|hops| hops.iter().map(Hop::relay).collect())
            .transpose()?;
        Ok(Event6 {
            vpn: self.vpn()?,
            address,
            prefix_len,
            kind,
            duid: octets("duid", self.duid.as_deref())?,
            iaid: self.iaid,
            link: self.link.as_deref().map(link).transpose()?,
            state: self.state()?,
            cltt: self.cltt,
            state_since: self.state_since,
            preferred_lifetime: self.preferred_lifetime,
            valid_lifetime: self.valid_lifetime,
            relay,
            remote: self.remote()?,
            options: self
                .options
                .map(|options| options.decode(u16::MAX))
                .transpose()?,
            feed: 0,
        })
    }

    fn key6(&self) -> Result<(Ipv6Addr, u8, LeaseKind), String> {
        let kind = match self.lease_type.as_deref() {
            None => None,
            Some("na") => Some(LeaseKind::Na),
            Some("ta") => Some(LeaseKind::Ta),
            Some("pd") => Some(LeaseKind::Pd),
            Some(other) => {
                return Err(format!(
                    "lease_type: expected na, ta or pd, found {other:?}"
                ));
            }
        };
        match (self.address.as_deref(), self.prefix.as_deref(), kind) {
            (None, Some(text), None | Some(LeaseKind::Pd)) => {
                let expected = "an IPv6 prefix with its length";
                let (address, length) = text
                    .split_once('/')
                    .ok_or_else(|| told("prefix", expected, text))?;
                let length = parsed("prefix", Some(length), "a prefix length from 0 to 128")?;
                Ok((
                    parsed("prefix", Some(address), expected)?,
                    length,
                    LeaseKind::Pd,
                ))
            }
            (None, Some(_), _) => Err("lease_type: expected pd or nothing beside prefix".into()),
            (Some(_), Some(_), _) => Err("expected address or prefix, found both".into()),
            (Some(_), None, Some(LeaseKind::Pd)) => {
                Err("lease_type: expected na or ta beside address".into())
            }
            (address, None, kind) => {
                let address = parsed("address", address, "an IPv6 address")?;
                Ok((address, 128, kind.unwrap_or(LeaseKind::Na)))
            }
        }
    }

    fn state(&self) -> Result<State, String> {
        Ok(match self.state.as_ref() {
            "available" => State::Available,
            "active" => State::Active,
            "expired" => State::Expired,
            "released" => State::Released,
            "abandoned" => State::Abandoned,
            "reset" => State::Reset,
            "remote" => State::Remote,
            "transitioning" => State::Transitioning,
            other => {
                let expected = "available, active, expired, released, abandoned, reset, remote or transitioning";
                return Err(told("state", expected, other));
            }
        })
    }

    fn vpn(&self) -> Result<Vpn, String> {
        match self.vpn.as_deref() {
            None => Ok(Vpn::GLOBAL),
            Some(text) => vpn::parse(text).map_err(|reason| format!("vpn: {reason}")),
        }
    }

    fn remote(&self) -> Result<bool, String> {
        match self.source.as_deref() {
            None => Ok(false),
            Some("remote") => Ok(true),
            Some(other) => Err(told("source", "\"remote\" or nothing", other)),
        }
    }
}

impl Hop<'_> {
    fn relay(&self) -> Result<Relay6, String> {
        let options = octets("options of relay", Some(&self.options))?.unwrap_or_default();
        Ok(Relay6 {
            link: self.link,
            peer: self.peer,
            options,
        })
    }
}

impl Options<'_> {
    fn decode(self, highest: u16) -> Result<Vec<(u16, Vec<u8>)>, String> {
        let mut options = Vec::with_capacity(self.0.len());
        for (code, text) in &self.0 {
            if *code > highest {
                return Err(format!(
                    "options: expected an option code up to {highest}, found {code}"
                ));
            }
            if options.iter().any(|(known, _)| known == code) {
                return Err(format!(
                    "options: expected option {code} once, found it again"
                ));
            }
            let value =
                hex::decode(text.as_bytes()).map_err(|error| format!("option {code}: {error}"))?;
            options.push((*code, value));
        }
        Ok(options)
    }
}

fn narrow(options: Vec<(u16, Vec<u8>)>) -> Vec<(u8, Vec<u8>)> {
    // Codes above 255 have been refused.
    options
        .into_iter()
        .map(|(code, value)| (code as u8, value))
        .collect()
}

fn refuse_foreign(fields: &[(&str, bool)], of: &str) -> Result<(), String> {
    match fields.iter().find(|(_, is_there)| *is_there) {
        Some((name, _)) => Err(format!("{name}: not a field of {of}")),
        None => Ok(()),
    }
}

fn told(field: &str, expected: &str, found: &str) -> String {
    let found: String = found.chars().take(80).collect();
    format!("{field}: expected {expected}, found {found:?}")
}

fn parsed<T: FromStr>(field: &str, text: Option<&str>, expected: &str) -> Result<T, String> {
    let text = text.ok_or_else(|| format!("{field}: expected {expected}, found no such field"))?;
    text.parse().map_err(|_| told(field, expected, text))
}

fn octets(field: &str, text: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    let octets = text.map(|text| hex::decode(text.as_bytes())).transpose();
    octets.map_err(|error| format!("{field}: {error}"))
}

fn hardware_address(text: &str) -> Result<HwAddr, String> {
    let mut htype = None;
    let mut octets = SmallVec::new();
    hex::decode_colons(text.as_bytes(), |octet| match htype {
        None => htype = Some(octet),
        Some(_) => octets.push(octet),
    })
    .map_err(|error| format!("hwaddr: {error}"))?;
    let htype = htype.ok_or("hwaddr: expected the hardware type and an address, found nothing")?;
    Ok(HwAddr { htype, octets })
}

fn link(text: &str) -> Result<Link6, String> {
    let expected = "an IPv6 address or \"subnet:N\"";
    match text.strip_prefix("subnet:") {
        Some(number) => Ok(Link6::Subnet(parsed("link", Some(number), expected)?)),
        None => Ok(Link6::Address(parsed("link", Some(text), expected)?)),
    }
}
