//! What the store of a server holds: the bindings that answers are compared with, and what can be asked about them.
//!
//! They are [made up](Source::MadeUp), and then computed instead of kept, or read from what the server
//! [exported](Source::Export). A *row* is the number of a lease: in DHCPv4 an address, in DHCPv6 an address or a delegated
//! prefix of a client.

mod export;
mod line;
mod lists;
mod made_up;
mod parse;
mod rows;
mod seen;
mod table;
pub mod topology;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use leaseq_requestor::{DEFAULT_OPTIONS6, Family, Query, Query4, Query6, Selector4, Selector6};
use leaseq_wire::v4::option_code as code4;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::changes::Change;
use crate::changes::mark::{CLIENT_FQDN, HOST_NAME};
use crate::scenario::By;
use export::Export;
pub(crate) use line::Content;
use made_up::MadeUp;
pub use rows::Rows;
pub(crate) use seen::{RelayData, Seen4};

/// Most rows that an inventory can have.
pub const MOST_ROWS: u32 = 1 << 31;
/// Most DHCPv4 rows that can be made up: the addresses of 10.0.0.0/8.
pub const MOST_MADE_UP4: u32 = 1 << 24;

/// Where the bindings come from. Cheap to send to another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// They are made up.
    MadeUp {
        /// Relays.
        relays: u32,
        /// Rows of each relay.
        bindings_per_relay: u32,
        /// The last transaction of every client, in Unix seconds.
        cltt: u32,
        /// Valid lifetime, in seconds from the last transaction.
        valid: u32,
    },
    /// A server's store, as `leaseq store export` writes it: NDJSON.
    Export {
        /// The file.
        path: PathBuf,
    },
}

/// Why there is no inventory.
#[derive(Debug, Error)]
pub enum DataError {
    /// More rows than can be made up or numbered.
    #[error(
        "{relays} relays with {bindings_per_relay} {family} bindings each are more than the {most} that are possible"
    )]
    TooMany {
        /// `DHCPv4` or `DHCPv6`.
        family: &'static str,
        /// Relays asked for.
        relays: u32,
        /// Bindings of each.
        bindings_per_relay: u32,
        /// How many there may be.
        most: u32,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of an export is no lease.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1 on.
        line: u64,
        /// What was expected.
        reason: String,
    },
    /// No relays or no bindings.
    #[error("expected relays with bindings, found none")]
    Empty,
}

/// What names a lease in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseKey<'a> {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, or a delegated prefix.
    V6 {
        /// The address, or the prefix's.
        address: Ipv6Addr,
        /// Length of a delegated prefix; an address has none.
        prefix_len: Option<u8>,
        /// VSS information of its VPN, type included; empty: the global one.
        vpn: &'a [u8],
    },
}

/// A binding as it was before any change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct First {
    /// It is leased, whether or not the lease has run out.
    pub(crate) is_active: bool,
    /// The client's last transaction, in Unix seconds, if it is known.
    pub(crate) cltt: Option<u32>,
    /// Preferred lifetime, in seconds from the last transaction; DHCPv6 only.
    pub(crate) preferred: u32,
    /// Valid lifetime, likewise, if it is known.
    pub(crate) valid: Option<u32>,
}

/// What the store of one family holds.
#[derive(Debug)]
pub struct Inventory {
    family: Family,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    MadeUp(MadeUp),
    Export(Box<Export>),
}

impl Inventory {
    /// Makes the bindings up, or reads those of one family from an export.
    ///
    /// # Errors
    /// If there are too many or none; of a file, if it cannot be read or a line is no lease.
    pub fn load(family: Family, source: &Source) -> Result<Self, DataError> {
        let kind = match source {
            &Source::MadeUp {
                relays,
                bindings_per_relay,
                cltt,
                valid,
            } => Kind::MadeUp(MadeUp::new(
                family,
                relays,
                bindings_per_relay,
                cltt,
                valid,
            )?),
            Source::Export { path } => Kind::Export(Box::new(Export::load(family, path)?)),
        };
        Ok(Self { family, kind })
    }

    /// Its family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> u32 {
        match &self.kind {
            Kind::MadeUp(made_up) => made_up.len(),
            Kind::Export(export) => export.len(),
        }
    }

    /// Rows that can be changed: the first so many. A lease that was not active may have no client any more, to whom it could be
    /// given again.
    #[must_use]
    pub fn changeable(&self) -> u32 {
        match &self.kind {
            Kind::MadeUp(made_up) => made_up.len(),
            Kind::Export(export) => export.active(),
        }
    }

    /// There are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Relays: distinct relay-ids.
    #[must_use]
    pub fn relays(&self) -> u32 {
        self.targets(By::RelayId)
    }

    /// How many different things a bulk or active query of this kind can be about; 0: there is no such query.
    #[must_use]
    pub fn targets(&self, by: By) -> u32 {
        match (&self.kind, by) {
            (_, By::All) => 1,
            (_, By::Address | By::Hwaddr | By::ClientId) => 0,
            (_, By::Link) if self.family == Family::V4 => 0,
            (Kind::MadeUp(made_up), _) => made_up.relays(),
            (Kind::Export(export), by) => export.targets(by),
        }
    }

    /// The bulk or active query about a relay (modulo the [`targets`](Self::targets)), asking for the options that the checks
    /// need. In DHCPv6 `requestor` is our DUID. `None`: there is no such query.
    #[must_use]
    pub fn query(&self, by: By, relay: u32, requestor: &[u8]) -> Option<Query> {
        let target = relay.checked_rem(self.targets(by))?;
        Some(match self.family {
            Family::V4 => {
                let selector = match by {
                    By::RelayId => Selector4::RelayId(self.target_id(by, target)?),
                    By::RemoteId => Selector4::RemoteId(self.target_id(by, target)?),
                    _ => Selector4::All,
                };
                query4(selector).into()
            }
            Family::V6 => {
                let (selector, link) = match by {
                    By::RelayId => (Selector6::RelayId(self.target_id(by, target)?), None),
                    By::RemoteId => (Selector6::RemoteId(self.target_id(by, target)?), None),
                    By::Link => (Selector6::Link, self.link(target)),
                    _ => (Selector6::All, None),
                };
                let mut query = query6(selector, requestor);
                query.link = link.unwrap_or(query.link);
                query.into()
            }
        })
    }

    /// The rows that such a query is about.
    #[must_use]
    pub fn rows(&self, by: By, relay: u32) -> Rows<'_> {
        let Some(target) = relay.checked_rem(self.targets(by)) else {
            return Rows::range(0, 0);
        };
        match (&self.kind, by) {
            (_, By::All) => Rows::range(0, self.len()),
            (Kind::MadeUp(made_up), _) => made_up.rows_of(target),
            (Kind::Export(export), by) => export.rows_of(by, target),
        }
    }

    /// The query over UDP that a row answers; its giaddr is loopback. `None`: there is no such query, or the row has nothing
    /// to be asked by.
    #[must_use]
    pub fn udp_query(&self, by: By, row: u32, requestor: &[u8]) -> Option<Query> {
        let content = self.content(row)?;
        match (self.family, content.address) {
            (Family::V4, IpAddr::V4(address)) => {
                let selector = match by {
                    By::Address => Selector4::Ip(address),
                    By::Hwaddr => {
                        let (htype, octets) = content.hwaddr?;
                        Selector4::HwAddr { htype, octets }
                    }
                    By::ClientId => Selector4::ClientId(content.client_id?),
                    By::RemoteId => Selector4::RemoteId(content.remote_id4()?),
                    By::RelayId | By::Link | By::All => return None,
                };
                let mut query = query4(selector);
                query.giaddr = Ipv4Addr::LOCALHOST;
                Some(query.into())
            }
            (Family::V6, IpAddr::V6(address)) => {
                let selector = match by {
                    By::Address => Selector6::Address(address),
                    By::ClientId => Selector6::Duid(content.duid?),
                    By::Hwaddr | By::RemoteId | By::RelayId | By::Link | By::All => return None,
                };
                Some(query6(selector, requestor).into())
            }
            _ => None,
        }
    }

    /// The row of a lease.
    #[must_use]
    pub fn find(&self, key: LeaseKey<'_>) -> Option<u32> {
        match &self.kind {
            Kind::MadeUp(made_up) => made_up.find(key),
            Kind::Export(export) => export.find(key),
        }
    }

    /// The row of an IPv4 address of a VPN (VSS information, type included).
    pub(crate) fn find4_in(&self, address: Ipv4Addr, vpn: &[u8]) -> Option<u32> {
        match vpn {
            [] | [255] => self.find(LeaseKey::V4(address)),
            vpn => match &self.kind {
                Kind::MadeUp(_) => None,
                Kind::Export(export) => export.find_in(IpAddr::V4(address), None, vpn),
            },
        }
    }

    /// Appends the NDJSON line, with its line end, that puts a row into a store: as it was at first, or as a change makes it.
    /// Nothing, if there is no such row.
    pub fn line(&self, row: u32, change: Option<Change>, out: &mut String) {
        match &self.kind {
            Kind::MadeUp(made_up) => {
                if let Some(content) = made_up.content(row) {
                    content.write(made_up.first(row), change, out);
                }
            }
            Kind::Export(export) => export.write(row, change, out),
        }
    }

    /// A row's address or prefix, for people.
    #[must_use]
    pub fn name(&self, row: u32) -> String {
        self.content(row)
            .map_or_else(|| format!("row {row}"), |content| content.to_string())
    }

    /// What of a row does not change.
    pub(crate) fn content(&self, row: u32) -> Option<Content> {
        match &self.kind {
            Kind::MadeUp(made_up) => made_up.content(row),
            Kind::Export(export) => export.content(row),
        }
    }

    /// A row before any change.
    pub(crate) fn first(&self, row: u32) -> First {
        match &self.kind {
            Kind::MadeUp(made_up) => made_up.first(row),
            Kind::Export(export) => export.first(row),
        }
    }

    /// What a message tells of a DHCPv4 row is what does not change of it.
    #[inline]
    pub(crate) fn is_same4(&self, row: u32, seen: &Seen4<'_>) -> bool {
        match &self.kind {
            Kind::MadeUp(made_up) => made_up.is_same4(row, seen),
            Kind::Export(export) => export.is_same4(row, seen),
        }
    }

    /// A DHCPv6 row is this client's.
    #[inline]
    pub(crate) fn is_duid(&self, row: u32, duid: &[u8]) -> bool {
        match &self.kind {
            Kind::MadeUp(made_up) => made_up.is_duid(row, duid),
            Kind::Export(export) => export.is_duid(row, duid),
        }
    }

    /// The relay agents of a DHCPv6 row are these.
    #[inline]
    pub(crate) fn is_relay_data(&self, row: u32, relay_data: &RelayData<'_>) -> bool {
        match &self.kind {
            Kind::MadeUp(made_up) => made_up.is_relay_data(row, relay_data),
            Kind::Export(export) => export.is_relay_data(row, relay_data),
        }
    }

    /// All rows of the client and link of a DHCPv6 row.
    #[inline]
    pub(crate) fn client(&self, row: u32) -> Rows<'_> {
        match &self.kind {
            Kind::MadeUp(made_up) => made_up.client(row),
            Kind::Export(export) => export.client(row),
        }
    }

    /// The row is in the global VPN, which bulk queries ask about.
    pub(crate) fn is_global(&self, row: u32) -> bool {
        match &self.kind {
            Kind::MadeUp(_) => true,
            Kind::Export(export) => export.is_global(row),
        }
    }

    /// Rows may have names of their own, where the mark of a change is otherwise.
    pub(crate) fn has_names(&self) -> bool {
        match &self.kind {
            Kind::MadeUp(_) => false,
            Kind::Export(_) => true,
        }
    }

    /// A query for all configured addresses has to tell this row in any state.
    pub(crate) fn is_configured(&self, _row: u32) -> bool {
        match &self.kind {
            Kind::MadeUp(_) => true,
            Kind::Export(_) => false,
        }
    }

    fn target_id(&self, by: By, target: u32) -> Option<Vec<u8>> {
        match &self.kind {
            Kind::MadeUp(made_up) => made_up.target_id(by, target),
            Kind::Export(export) => export.target_id(by, target).map(<[u8]>::to_vec),
        }
    }

    fn link(&self, target: u32) -> Option<Ipv6Addr> {
        match &self.kind {
            Kind::MadeUp(_) => Some(made_up::link(target)),
            Kind::Export(export) => {
                let octets = export.target_id(By::Link, target)?;
                octets
                    .first_chunk::<16>()
                    .map(|octets| Ipv6Addr::from(*octets))
            }
        }
    }
}

/// Everything that the checks look at, and the mark of a change.
fn query4(selector: Selector4) -> Query4 {
    let mut query = Query4::new(selector);
    query.options = vec![
        code4::IP_ADDRESS_LEASE_TIME,
        code4::CLIENT_IDENTIFIER,
        code4::RELAY_AGENT_INFORMATION,
        code4::CLIENT_LAST_TRANSACTION_TIME,
        code4::BASE_TIME,
        code4::DHCP_STATE,
        code4::VSS,
        HOST_NAME,
    ];
    query
}

fn query6(selector: Selector6, requestor: &[u8]) -> Query6 {
    let mut query = Query6::new(selector, requestor);
    query.options = DEFAULT_OPTIONS6.to_vec();
    query.options.push(CLIENT_FQDN);
    query
}

/// Octets in hex, for people.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("nothing"),
            octets => octets.iter().try_for_each(|octet| write!(f, "{octet:02x}")),
        }
    }
}
