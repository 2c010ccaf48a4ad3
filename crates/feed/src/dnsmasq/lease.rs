//! Lines of a lease file, and what they mean at a point in time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use leaseq_store::{Event, Event4, Event6, HwAddr, INFINITE, LeaseKind, State};
use smallvec::SmallVec;

use crate::hex;

const OPTION_HOST_NAME: u8 = 12;
const OPTION_VENDOR_CLASS: u8 = 60;
const HTYPE_ETHERNET: u8 = 1;
/// An end before this is no time of this century: it is the length of a lease. A dnsmasq built for machines without a clock
/// (`HAVE_BROKEN_RTC`) writes these.
const EARLIEST: u64 = 1_000_000_000;

/// A lease as its line tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When it ends, Unix seconds; `None`: never.
    pub expires: Option<u64>,
    /// Everything else: an ACTIVE event without times.
    pub event: Event,
}

/// The leases of a file, and line and reason of each line that was not taken. `feed` is put into each event.
///
/// A last line without a line end is not taken: it may be half written.
pub fn parse(text: &[u8], feed: u16) -> (Vec<Lease>, Vec<(u64, String)>) {
    let mut leases: Vec<Lease> = Vec::new();
    let mut places: HashMap<IpAddr, usize> = HashMap::new();
    let mut rejected = Vec::new();
    for (index, line) in text.split_inclusive(|octet| *octet == b'\n').enumerate() {
        let number = index as u64 + 1;
        let Some(line) = line.strip_suffix(b"\n") else {
            rejected.push((
                number,
                "expected a line end, found the end of the file".into(),
            ));
            break;
        };
        let fields = Fields::of(line);
        match fields.lease(feed) {
            Ok(Some((address, lease))) => {
                places.insert(address, leases.len());
                leases.push(lease);
            }
            Ok(None) => {
                if let Err(reason) = fields.extra(&places, &mut leases) {
                    rejected.push((number, reason));
                }
            }
            Err(reason) => rejected.push((number, reason)),
        }
    }
    (leases, rejected)
}

/// The fields of a line, which dnsmasq separates by spaces.
pub(super) struct Fields<'a> {
    fields: [&'a [u8]; 5],
    count: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn of(line: &'a [u8]) -> Self {
        let mut fields = [&b""[..]; 5];
        let mut count = 0;
        let found = line.split(u8::is_ascii_whitespace);
        for field in found.filter(|field| !field.is_empty()) {
            if let Some(place) = fields.get_mut(count) {
                *place = field;
            }
            count += 1;
        }
        Self { fields, count }
    }

    /// Whether the line looks like one of a lease file.
    pub(super) fn is_known(&self) -> bool {
        match self.fields[0] {
            b"duid" => self.count == 2,
            _ => {
                self.count == 5
                    && parse_as::<u64>(self.fields[0]).is_some()
                    && parse_as::<IpAddr>(self.fields[2]).is_some()
            }
        }
    }

    /// The lease of the line; `None` if the line is of another sort.
    fn lease(&self, feed: u16) -> Result<Option<(IpAddr, Lease)>, String> {
        let [expires, client, address, name, id] = self.fields;
        if self.count == 0 || matches!(expires, b"duid" | b"agent-info" | b"vendorclass") {
            return Ok(None);
        }
        if self.count != 5 {
            return Err(format!("expected 5 fields, found {}", self.count));
        }
        let expires = match parse_as::<u64>(expires) {
            Some(0) => None,
            Some(expires) if expires >= EARLIEST => Some(expires),
            Some(length) => {
                return Err(format!(
                    "expected the end of the lease in Unix seconds, found {length}, which is a length: this dnsmasq was built for \
                     machines without a clock, and does not tell when leases end"
                ));
            }
            None => return Err(expected("the end of the lease in Unix seconds", expires)),
        };
        let id = match id {
            b"*" => None,
            _ => {
                let mut octets = Vec::new();
                hex::decode_colons(id, |octet| octets.push(octet))
                    .map_err(|error| format!("client identifier: {error}"))?;
                Some(octets)
            }
        };
        let address: IpAddr =
            parse_as(address).ok_or_else(|| expected("an IP address", address))?;
        let event = match address {
            IpAddr::V4(address) => Event::V4(event4(address, client, name, id, feed)?),
            IpAddr::V6(address) => Event::V6(event6(address, client, id, feed)?),
        };
        event.check().map_err(|error| error.to_string())?;
        Ok(Some((address, Lease { expires, event })))
    }

    /// Puts what the line tells beside a lease into that lease.
    fn extra(&self, places: &HashMap<IpAddr, usize>, leases: &mut [Lease]) -> Result<(), String> {
        let [sort, address, value, ..] = self.fields;
        if self.count == 0 || sort == b"duid" {
            return Ok(());
        }
        if self.count != 3 {
            return Err(format!("expected 3 fields, found {}", self.count));
        }
        let address: IpAddr =
            parse_as(address).ok_or_else(|| expected("an IP address", address))?;
        let mut octets = Vec::new();
        hex::decode_colons(value, |octet| octets.push(octet))
            .map_err(|error| format!("{}: {error}", String::from_utf8_lossy(sort)))?;
        // What dnsmasq keeps of an IPv6 relay agent is not the options that leasequery tells.
        let lease = places.get(&address).and_then(|at| leases.get_mut(*at));
        let Some(Event::V4(event)) = lease.map(|lease| &mut lease.event) else {
            return Ok(());
        };
        let before = event.clone();
        if sort == b"agent-info" {
            event.relay_agent_info = Some(octets);
        } else {
            let options = event.options.get_or_insert_default();
            options.retain(|(code, _)| *code != OPTION_VENDOR_CLASS);
            options.push((OPTION_VENDOR_CLASS, octets));
        }
        event.check().map_err(|error| {
            let reason = error.to_string();
            *event = before;
            reason
        })
    }
}

fn event4(
    address: Ipv4Addr,
    client: &[u8],
    name: &[u8],
    id: Option<Vec<u8>>,
    feed: u16,
) -> Result<Event4, String> {
    let mut event = Event4::new(address, State::Active);
    let dash = client.iter().position(|octet| *octet == b'-');
    let (htype, octets) = match dash {
        Some(at) => {
            let digits = std::str::from_utf8(&client[..at]).ok();
            let htype = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let htype = htype.ok_or_else(|| expected("a hardware type in hex", client))?;
            (htype, &client[at + 1..])
        }
        None => (HTYPE_ETHERNET, client),
    };
    let mut hwaddr = SmallVec::new();
    hex::decode_colons(octets, |octet| hwaddr.push(octet))
        .map_err(|error| format!("hardware address: {error}"))?;
    event.hwaddr = (!hwaddr.is_empty()).then_some(HwAddr {
        htype,
        octets: hwaddr,
    });
    event.client_id = id;
    event.options = (name != b"*").then(|| vec![(OPTION_HOST_NAME, name.to_vec())]);
    event.feed = feed;
    Ok(event)
}

fn event6(
    address: Ipv6Addr,
    client: &[u8],
    id: Option<Vec<u8>>,
    feed: u16,
) -> Result<Event6, String> {
    let mut event = Event6::new(address, State::Active);
    let iaid = match client.strip_prefix(b"T") {
        Some(iaid) => {
            event.kind = LeaseKind::Ta;
            iaid
        }
        None => client,
    };
    event.iaid = Some(parse_as(iaid).ok_or_else(|| expected("an IAID", client))?);
    event.duid = id;
    event.feed = feed;
    Ok(event)
}

impl Lease {
    /// The event of this lease if it was first seen like this at `now`, in Unix seconds.
    pub fn seen_at(mut self, now: u32) -> Event {
        let left = match self.expires {
            None => Some(INFINITE),
            Some(end) => end
                .checked_sub(u64::from(now))
                .filter(|left| *left > 0)
                .map(|left| u32::try_from(left).unwrap_or(INFINITE).min(INFINITE - 1)),
        };
        let ended = self.expires.and_then(|end| u32::try_from(end).ok());
        match (&mut self.event, left) {
            (Event::V4(event), Some(left)) => {
                (event.cltt, event.lease_time) = (Some(now), Some(left));
            }
            (Event::V6(event), Some(left)) => {
                (event.cltt, event.valid_lifetime) = (Some(now), Some(left));
                event.preferred_lifetime = Some(left);
            }
            // It has run out, and the file was not written since.
            (Event::V4(event), None) => {
                (event.state, event.state_since) = (State::Expired, ended);
            }
            (Event::V6(event), None) => {
                (event.state, event.state_since) = (State::Expired, ended);
            }
            (Event::Feed(_), _) => {}
        }
        self.event
    }
}

fn parse_as<T: FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn expected(what: &str, found: &[u8]) -> String {
    let found = String::from_utf8_lossy(&found[..found.len().min(60)]);
    format!("expected {what}, found {found:?}")
}
