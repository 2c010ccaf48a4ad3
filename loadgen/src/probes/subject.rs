//! The server under test, of one family, and what it can be asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use leaseq_requestor::client::random_duid;
use leaseq_requestor::tls::TlsClient;
use leaseq_requestor::{Family, Query, Query4, Query6, Selector4, Selector6};

use super::Servers;
use super::probe::How;
use crate::data::Inventory;
use crate::fault::family_name;
use crate::net::source::SourceNetwork;
use crate::scenario::{By, Scenario};

/// Answers that are longer than what the kernels of both sides hold for a connection, in octets: Linux lets the buffer of a
/// sender grow to 4 MiB.
const FLOOD_OCTETS: u64 = 8 << 20;
/// What a binding takes at least in an answer.
const BINDING_OCTETS: u64 = 128;
/// The most queries that are sent at a time.
const FLOOD_QUERIES: u64 = 64;
/// Bindings of an answer that is long enough to be told in turns with others, and not much longer.
const LONG: u32 = 2_000;
/// The fewest of them.
const LONG_ENOUGH: u32 = 200;
/// Relays of a store that are looked at for the one with the most bindings.
const LOOKED_AT: u32 = 100_000;

/// The server under test, of one family.
pub(super) struct Subject<'a> {
    pub family: Family,
    pub server: SocketAddr,
    pub tls: Option<TlsClient>,
    pub sources: Sources,
    /// How long anything that should happen may take.
    pub patience: Duration,
    inventory: Option<&'a Inventory>,
    requestor: Vec<u8>,
    /// Requestors so far.
    requestors: AtomicU32,
    stop: &'a AtomicBool,
}

impl<'a> Subject<'a> {
    /// The servers of a scenario.
    pub fn of(scenario: &Scenario, servers: &'a Servers, stop: &'a AtomicBool) -> Vec<Self> {
        let families = [
            (Family::V4, servers.v4, &servers.inventory4),
            (Family::V6, servers.v6, &servers.inventory6),
        ];
        let given = families
            .into_iter()
            .filter_map(|(family, server, inventory)| Some((family, server?, inventory)));
        given
            .map(|(family, server, inventory)| Self {
                family,
                server,
                tls: servers.tls.clone(),
                sources: Sources::of(scenario, family, server),
                patience: scenario.patience.get(),
                inventory: inventory.as_deref(),
                requestor: random_duid(),
                requestors: AtomicU32::new(0),
                stop,
            })
            .collect()
    }

    /// `v4` or `v6`.
    pub fn name(&self) -> &'static str {
        family_name(self.family)
    }

    /// Everything is to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// How another requestor connects, as far as there are addresses: so that no limit of one is in the way.
    pub fn another(&self) -> How {
        let number = self.requestors.fetch_add(1, Ordering::Relaxed);
        How {
            source: self.sources.address(number),
            receive_buffer: None,
        }
    }

    /// A bulk query with a short answer: of relay `number`, or of one that nobody has.
    pub fn small(&self, number: u32) -> Query {
        let known = self
            .inventory
            .filter(|inventory| inventory.targets(By::RelayId) > 0)
            .and_then(|inventory| inventory.query(By::RelayId, number, &self.requestor));
        known.unwrap_or_else(|| {
            let nobody = [&[0, 3, 0, 1, 2, 0x6c, 0xff][..], &number.to_be_bytes()].concat();
            match self.family {
                Family::V4 => Query4::new(Selector4::RelayId(nobody)).into(),
                Family::V6 => Query6::new(Selector6::RelayId(nobody), &self.requestor).into(),
            }
        })
    }

    /// A bulk query whose answer is long enough to be told in turns with others, if one is known.
    pub fn long(&self) -> Option<Query> {
        let Some(inventory) = self.inventory else {
            return self.all();
        };
        let fitting = self
            .relays(inventory)
            .min_by_key(|&(_, rows)| (rows < LONG_ENOUGH, rows < LONG, rows.abs_diff(LONG)));
        match fitting {
            Some((relay, rows)) if rows >= LONG_ENOUGH => {
                inventory.query(By::RelayId, relay, &self.requestor)
            }
            _ => self.all().filter(|_| inventory.len() >= LONG_ENOUGH),
        }
    }

    /// Bulk queries whose answers are together longer than all buffers, as far as what the store holds suffices.
    pub fn flood(&self) -> Vec<Query> {
        let Some(inventory) = self.inventory else {
            return self.all().into_iter().collect();
        };
        let largest = self.relays(inventory).max_by_key(|&(_, rows)| rows);
        let query = match (self.family, largest) {
            (Family::V4, _) => self.all().map(|query| (query, inventory.len())),
            (Family::V6, None) => None,
            (Family::V6, Some((relay, rows))) => inventory
                .query(By::RelayId, relay, &self.requestor)
                .map(|query| (query, rows)),
        };
        let Some((query, rows)) = query else {
            return Vec::new();
        };
        let octets = (u64::from(rows) * BINDING_OCTETS).max(1);
        let count = FLOOD_OCTETS.div_ceil(octets).min(FLOOD_QUERIES);
        vec![query; count as usize]
    }

    /// An active query for everything.
    pub fn active(&self) -> Query {
        match self.family {
            Family::V4 => Query4::new(Selector4::All).into(),
            Family::V6 => Query6::new(Selector6::All, &self.requestor).into(),
        }
    }

    /// The bulk query for everything, which DHCPv6 does not have.
    fn all(&self) -> Option<Query> {
        match self.family {
            Family::V4 => Some(Query4::new(Selector4::All).into()),
            Family::V6 => None,
        }
    }

    /// Relays and how many bindings each has.
    fn relays(&self, inventory: &'a Inventory) -> impl Iterator<Item = (u32, u32)> + 'a {
        let relays = inventory.targets(By::RelayId).min(LOOKED_AT);
        (0..relays).map(|relay| (relay, inventory.rows(By::RelayId, relay).len() as u32))
    }
}

/// Addresses of our own, each of which a server takes for another requestor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources(Option<SourceNetwork>);

impl Sources {
    /// Those that a group of the family names, else, where the server is on IPv4 loopback, some of 127.0.0.0/8; else the one
    /// that the system chooses.
    fn of(scenario: &Scenario, family: Family, server: SocketAddr) -> Self {
        let groups = scenario.group.iter();
        let named = groups
            .filter(|group| Family::from(group.family) == family)
            .find_map(|group| group.source.as_deref());
        let network = match server.ip() {
            IpAddr::V4(address) if address.is_loopback() => named.or(Some("127.64.0.0/10")),
            _ => named,
        };
        Self(network.and_then(|network| network.parse().ok()))
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.0.map_or(1, |network| network.hosts())
    }

    /// One of them; `None`: the one that the system chooses.
    pub fn address(self, number: u32) -> Option<IpAddr> {
        self.0.map(|network| network.of(number).ip())
    }
}
