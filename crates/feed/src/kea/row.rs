//! One row of a lease file as an event.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use leaseq_store::{Event, Event4, Event6, HwAddr, LeaseKind, State, Vpn};
use smallvec::SmallVec;

use super::context;
use super::escape::unescape;
use super::file::Family;
use super::meaning::{self, HTYPE_ETHERNET, Held, OPTION_HOST_NAME};
use crate::hex;

/// Infinity as a lifetime, in v4 and v6.
const INFINITE: u32 = u32::MAX;
const MAX_COLUMNS: usize = 64;

/// The columns that are read.
#[derive(Clone, Copy)]
enum Column {
    Address,
    HwAddr,
    HwType,
    ClientId,
    Duid,
    ValidLifetime,
    Expire,
    SubnetId,
    PreferredLifetime,
    LeaseType,
    Iaid,
    PrefixLength,
    HostName,
    State,
    UserContext,
}

const COLUMNS: usize = Column::UserContext as usize + 1;

const NAMES: [(&str, Column); COLUMNS] = [
    ("address", Column::Address),
    ("hwaddr", Column::HwAddr),
    ("hwtype", Column::HwType),
    ("client_id", Column::ClientId),
    ("duid", Column::Duid),
    ("valid_lifetime", Column::ValidLifetime),
    ("expire", Column::Expire),
    ("subnet_id", Column::SubnetId),
    ("pref_lifetime", Column::PreferredLifetime),
    ("lease_type", Column::LeaseType),
    ("iaid", Column::Iaid),
    ("prefix_len", Column::PrefixLength),
    ("hostname", Column::HostName),
    ("state", Column::State),
    ("user_context", Column::UserContext),
];

const REQUIRED4: [Column; 4] = [
    Column::Address,
    Column::HwAddr,
    Column::ValidLifetime,
    Column::Expire,
];
const REQUIRED6: [Column; 6] = [
    Column::Address,
    Column::Duid,
    Column::ValidLifetime,
    Column::Expire,
    Column::LeaseType,
    Column::PrefixLength,
];

fn name_of(column: Column) -> &'static str {
    NAMES[column as usize].0
}

/// Turns rows into events. Holds the place of each column and memory that is used again for each row.
pub(super) struct Rows {
    family: Family,
    /// Index of each column in a row.
    places: [Option<usize>; COLUMNS],
    /// Columns that the header names.
    header_columns: usize,
    /// Columns without which a row says too little.
    least_columns: usize,
    feed: u16,
    scratch: Vec<u8>,
    with_relay_data: u64,
}

impl Rows {
    /// Rows under this header (its line without the line end).
    pub(super) fn new(family: Family, header: &[u8], feed: u16) -> Result<Self, String> {
        let mut places = [None; COLUMNS];
        let mut header_columns = 0;
        for (index, found) in header.split(|octet| *octet == b',').enumerate() {
            if let Some((_, column)) = NAMES.iter().find(|(name, _)| name.as_bytes() == found) {
                places[*column as usize] = Some(index);
            }
            header_columns = index + 1;
        }
        if header_columns > MAX_COLUMNS {
            return Err(format!(
                "expected at most {MAX_COLUMNS} columns, found {header_columns}"
            ));
        }
        let required: &[Column] = if family == Family::V4 {
            &REQUIRED4
        } else {
            &REQUIRED6
        };
        let mut least_columns = 0;
        for column in required {
            match places[*column as usize] {
                Some(place) => least_columns = least_columns.max(place + 1),
                None => {
                    return Err(format!(
                        "expected a column {:?} in the header",
                        name_of(*column)
                    ));
                }
            }
        }
        if let Some(place) = places[Column::State as usize] {
            least_columns = least_columns.max(place + 1);
        }
        Ok(Self {
            family,
            places,
            header_columns,
            least_columns,
            feed,
            scratch: Vec::new(),
            with_relay_data: 0,
        })
    }

    /// Rows so far that told a relay.
    pub(super) fn with_relay_data(&self) -> u64 {
        self.with_relay_data
    }

    /// The event of a row. `cut`: no line end followed it, so its last field may be half written.
    pub(super) fn event(&mut self, line: &[u8], cut: bool) -> Result<Event, String> {
        let mut fields = [&b""[..]; MAX_COLUMNS];
        let mut count = 0;
        for field in line.split(|octet| *octet == b',') {
            if count == self.header_columns {
                return Err(format!(
                    "expected {} columns, found more",
                    self.header_columns
                ));
            }
            fields[count] = field;
            count += 1;
        }
        let least = if cut {
            self.header_columns
        } else {
            self.least_columns
        };
        if count < least {
            return Err(format!(
                "expected {} columns, found {count}",
                self.header_columns
            ));
        }
        let row = Row {
            fields: &fields,
            places: &self.places,
        };
        let event = match self.family {
            Family::V4 => row.event4(self.feed, &mut self.scratch).map(Event::V4),
            Family::V6 => row.event6(self.feed, &mut self.scratch).map(Event::V6),
        }?;
        let has_relay_data = match &event {
            Event::V4(event) => event.relay_agent_info.is_some(),
            Event::V6(event) => event.relay.is_some(),
            Event::Feed(_) => false,
        };
        self.with_relay_data += u64::from(has_relay_data);
        Ok(event)
    }
}

struct Row<'a> {
    fields: &'a [&'a [u8]; MAX_COLUMNS],
    places: &'a [Option<usize>; COLUMNS],
}

/// When a lease was last touched and for how long it holds.
struct Times {
    state: State,
    cltt: Option<u32>,
    state_since: Option<u32>,
    valid_lifetime: Option<u32>,
}

impl<'a> Row<'a> {
    fn field(&self, column: Column) -> &'a [u8] {
        self.places[column as usize].map_or(b"", |place| self.fields[place])
    }

    fn parse<T: FromStr>(&self, column: Column, expected: &str) -> Result<T, String> {
        let field = self.field(column);
        let parsed = std::str::from_utf8(field)
            .ok()
            .and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| {
            let found = String::from_utf8_lossy(&field[..field.len().min(80)]);
            format!("{}: expected {expected}, found {found:?}", name_of(column))
        })
    }

    fn parse_or<T: FromStr>(
        &self,
        column: Column,
        default: T,
        expected: &str,
    ) -> Result<T, String> {
        if self.field(column).is_empty() {
            Ok(default)
        } else {
            self.parse(column, expected)
        }
    }

    fn octets(&self, column: Column) -> Result<Vec<u8>, String> {
        let field = self.field(column);
        let mut out = Vec::with_capacity(field.len().div_ceil(3));
        hex::decode_colons(field, |octet| out.push(octet))
            .map_err(|error| format!("{}: {error}", name_of(column)))?;
        Ok(out)
    }

    fn times(&self) -> Result<Times, String> {
        let valid: u32 = self.parse(Column::ValidLifetime, "seconds")?;
        let expire: u64 = self.parse(Column::Expire, "Unix seconds")?;
        if valid == 0 {
            // The row takes the lease away; when that was, it does not tell.
            return Ok(Times {
                state: State::Available,
                cltt: None,
                state_since: None,
                valid_lifetime: None,
            });
        }
        // Some versions write the cltt itself as the end of an infinite lease.
        let start = match expire.checked_sub(u64::from(valid)) {
            None if valid == INFINITE => Some(expire),
            start => start,
        };
        let cltt = start.and_then(|seconds| u32::try_from(seconds).ok()).ok_or_else(|| {
            format!("expire: expected valid_lifetime {valid} and a time from 1970 to 2106, found {expire}")
        })?;
        let number: u32 = self.parse_or(Column::State, 0, "a state from 0 to 4")?;
        let Held { state, state_since } =
            meaning::state(u64::from(number), expire).map_err(|error| format!("state: {error}"))?;
        Ok(Times {
            state,
            cltt: Some(cltt),
            state_since,
            valid_lifetime: Some(valid),
        })
    }

    fn event4(&self, feed: u16, scratch: &mut Vec<u8>) -> Result<Event4, String> {
        let address: Ipv4Addr = self.parse(Column::Address, "an IPv4 address")?;
        let times = self.times()?;
        let mut octets = SmallVec::new();
        hex::decode_colons(self.field(Column::HwAddr), |octet| octets.push(octet))
            .map_err(|error| format!("hwaddr: {error}"))?;
        let htype = self.parse_or(
            Column::HwType,
            HTYPE_ETHERNET,
            "a hardware type from 0 to 255",
        )?;
        let client_id = self.octets(Column::ClientId)?;
        let host_name = unescape(self.field(Column::HostName), scratch);
        let options = (!host_name.is_empty()).then(|| vec![(OPTION_HOST_NAME, host_name.to_vec())]);
        let json = unescape(self.field(Column::UserContext), scratch);
        let relay_agent_info = if json.is_empty() {
            None
        } else {
            context::relay_agent_info(json)?
        };
        Ok(Event4 {
            vpn: Vpn::GLOBAL,
            address,
            state: times.state,
            hwaddr: (!octets.is_empty()).then_some(HwAddr { htype, octets }),
            client_id: (!client_id.is_empty()).then_some(client_id),
            cltt: times.cltt,
            state_since: times.state_since,
            lease_time: times.valid_lifetime,
            t1: None,
            t2: None,
            relay_agent_info,
            options,
            remote: false,
            feed,
        })
    }

    fn event6(&self, feed: u16, scratch: &mut Vec<u8>) -> Result<Event6, String> {
        let address: Ipv6Addr = self.parse(Column::Address, "an IPv6 address")?;
        let times = self.times()?;
        let duid = self.octets(Column::Duid)?;
        let kind = match self.parse::<u8>(Column::LeaseType, "a lease type from 0 to 2")? {
            0 => LeaseKind::Na,
            1 => LeaseKind::Ta,
            2 => LeaseKind::Pd,
            other => {
                return Err(format!(
                    "lease_type: expected a lease type from 0 to 2, found {other}"
                ));
            }
        };
        let prefix_len = match kind {
            LeaseKind::Pd => self.parse(Column::PrefixLength, "a prefix length from 1 to 128")?,
            LeaseKind::Na | LeaseKind::Ta => 128,
        };
        let iaid = self.parse_or(Column::Iaid, 0, "an IAID")?;
        let subnet_id = self.parse_or(Column::SubnetId, 0, "a subnet number")?;
        let preferred = self.parse_or(Column::PreferredLifetime, 0, "seconds")?;
        let json = unescape(self.field(Column::UserContext), scratch);
        let relay = if json.is_empty() {
            None
        } else {
            context::relay_chain(json)?
        };
        let duid = meaning::client(duid);
        Ok(Event6 {
            vpn: Vpn::GLOBAL,
            address,
            prefix_len,
            kind,
            link: meaning::link(relay.as_deref(), duid.is_some(), subnet_id),
            duid,
            iaid: Some(iaid),
            state: times.state,
            cltt: times.cltt,
            state_since: times.state_since,
            preferred_lifetime: times.valid_lifetime.map(|_| preferred),
            valid_lifetime: times.valid_lifetime,
            relay,
            options: None,
            remote: false,
            feed,
        })
    }
}
