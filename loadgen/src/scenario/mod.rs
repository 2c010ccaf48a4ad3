//! What is to be done: which relays there are, what each of them does, against which server and which bindings.
//!
//! A scenario is a TOML file or one of the built-in ones, which are TOML too.

pub mod built_in;
mod extent;
pub mod read;
mod rules;
mod set;
pub mod span;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use rules::count_of_name;
pub use span::Span;

/// A scenario as it is written. Keys are in kebab-case; unknown ones are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// What it is for, in a sentence; `leaseq-loadgen list` shows it.
    #[serde(default)]
    pub about: String,
    /// Where everything random comes from; the same seed does the same.
    #[serde(default = "defaults::seed")]
    pub seed: u64,
    /// What it does.
    #[serde(default)]
    pub kind: Kind,
    /// How long relays with no end of their own go on, and changes are made. Relays that have an end (one recovery each)
    /// may need longer or less.
    #[serde(default = "defaults::duration")]
    pub duration: Span,
    /// How long anything that should happen may take: a connection, an answer, the last change at the end.
    #[serde(default = "defaults::patience")]
    pub patience: Span,
    /// Time between two lines of progress, and between two samples of CPU and memory.
    #[serde(default = "defaults::interval")]
    pub interval: Span,
    /// Processes that the relays are spread over; default: as many as open files ask for.
    #[serde(default)]
    pub processes: Option<u32>,
    /// The leaseq that is started, where no server is given.
    #[serde(default)]
    pub server: OwnServer,
    /// A server that runs already.
    #[serde(default)]
    pub target: Target,
    /// How relays show who they are, where they use TLS with a given server; with its own server the generator makes
    /// certificates.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// The bindings that are made up for a server of its own.
    #[serde(default)]
    pub data: MadeUp,
    /// Changes that are driven into the store while it runs.
    #[serde(default)]
    pub changes: Option<Changes>,
    /// Who does what.
    #[serde(default)]
    pub group: Vec<Group>,
    /// The scenario is run once for each combination of these.
    #[serde(default)]
    pub sweep: Option<Sweep>,
    /// What [`Kind::Limits`] expects.
    #[serde(default)]
    pub limits: Limits,
    /// What [`Kind::Timeouts`] expects.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What must hold of the figures; what does not is a fault.
    #[serde(default)]
    pub require: Require,
}

/// What a scenario does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Runs its groups of relays.
    #[default]
    Load,
    /// Finds the limits of connections, and compares them with those expected.
    Limits,
    /// Measures the timeouts, and compares them with those expected.
    Timeouts,
}

/// A leaseq started for the run, on loopback with free ports, in a directory of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OwnServer {
    /// The program; default: `leaseq` beside this one, or in PATH.
    #[serde(default)]
    pub binary: Option<PathBuf>,
    /// Its store; default: a temporary directory. One that holds this scenario's bindings already is used as it is.
    #[serde(default)]
    pub data_dir: Option<PathBuf>,
    /// Sections of leaseq's configuration, put over those that the generator writes itself.
    #[serde(default)]
    pub config: toml::Table,
}

/// A server that runs already; each of these has an option of the command line too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Target {
    /// Its address and port for DHCPv4, TCP and UDP.
    #[serde(default)]
    pub server4: Option<SocketAddr>,
    /// Its address and port for DHCPv6, TCP and UDP.
    #[serde(default)]
    pub server6: Option<SocketAddr>,
    /// The UNIX socket of its NDJSON feed, for changes.
    #[serde(default)]
    pub feed: Option<PathBuf>,
    /// What it holds: `leaseq store export` of it. Without it answers are checked for form only.
    #[serde(default)]
    pub expect: Option<PathBuf>,
    /// Its process, if it is on this machine, to measure CPU and memory.
    #[serde(default)]
    pub pid: Option<u32>,
}

impl Target {
    /// A server is given.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.server4.is_some() || self.server6.is_some()
    }
}

/// PEM files of a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TlsFiles {
    /// Authorities whose servers are trusted.
    pub ca: PathBuf,
    /// The relays' certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Name in the server's certificate.
    pub server_name: String,
}

/// Bindings that are made up: the same number of each family that a group or the changes use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MadeUp {
    /// Relays, each with a relay-id, a remote-id and, in DHCPv6, a link of its own.
    #[serde(default = "defaults::relays")]
    pub relays: u32,
    /// DHCPv4 addresses, and DHCPv6 leases, of each relay.
    #[serde(default = "defaults::bindings")]
    pub bindings_per_relay: u32,
}

/// Changes of bindings, driven through the feed at a fixed rate, each acknowledged when it is durable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Changes {
    /// Changes a second, both families together.
    pub per_second: f64,
    /// How many different bindings of each family change, in turn; default: all.
    #[serde(default)]
    pub bindings: Option<u32>,
    /// Of a hundred changes, how many end the lease; all others renew it, or begin it again.
    #[serde(default = "defaults::releases")]
    pub release_percent: u32,
}

/// Relays that do the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Group {
    /// What it is called in results.
    pub name: String,
    /// 4 or 6.
    pub family: FamilyNumber,
    /// What its relays do.
    pub behaviour: Behaviour,
    /// How many relays take part: a number, or a share of the data's relays.
    #[serde(default)]
    pub relays: Amount,
    /// How many of them at a time (a number, or a share of the group's): when one is done, the next one begins.
    #[serde(default)]
    pub at_once: Amount,
    /// Its relays begin spread evenly over this time.
    #[serde(default)]
    pub window: Span,
    /// How often each of the places of `at-once` does its work.
    #[serde(default)]
    pub rounds: Rounds,
    /// Time between two rounds.
    #[serde(default)]
    pub pause: Span,
    /// What it asks by.
    #[serde(default)]
    pub by: Option<By>,
    /// How far back `follow` starts.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// `parallel`: queries on one connection.
    #[serde(default)]
    pub queries: Option<u32>,
    /// `udp`: queries a second of the whole group; without it each of the group's places asks, waits and asks again.
    #[serde(default)]
    pub rate: Option<f64>,
    /// `read-slowly`: octets a second.
    #[serde(default)]
    pub octets_per_second: Option<u64>,
    /// `stop-reading`, `reset`: octets of the answer after which.
    #[serde(default)]
    pub after: Option<u64>,
    /// `stop-reading`, `read-slowly`: octets of the kernel's receive buffer, so that the server is blocked and not only the kernel.
    #[serde(default)]
    pub receive_buffer: Option<u32>,
    /// On TLS.
    #[serde(default)]
    pub tls: bool,
    /// Relays take source addresses of this network in turn (Linux has all of 127.0.0.0/8).
    #[serde(default)]
    pub source: Option<String>,
}

/// What a relay does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// Connects, asks one bulk query, reads the answer, closes.
    Recover,
    /// Connects and follows with an active query, again whenever the connection is lost.
    Follow,
    /// Recovers, then follows from the first base-time of the bulk answer.
    RecoverThenFollow,
    /// Asks several bulk queries at a time on one connection.
    Parallel,
    /// Asks single queries over UDP.
    Udp,
    /// Recovers, reading less than the server could send.
    ReadSlowly,
    /// Asks and stops reading; waits for the server to end the connection.
    StopReading,
    /// Sends half a request; waits for the server to end the connection.
    HalfQuery,
    /// Sends octets that are no message; waits for the server to end the connection.
    Rubbish,
    /// Resets the connection in the middle of an answer.
    Reset,
    /// Connects and says nothing; waits for the server to end the connection.
    Silent,
    /// Connects, closes, and connects again at once, for ever.
    Reconnect,
    /// Opens connections beyond the limit, and again as soon as they are refused.
    IgnoreLimit,
}

impl Behaviour {
    /// Such a relay keeps to the rules, and what it is told is checked; the others test what the server bears.
    #[must_use]
    pub fn is_polite(self) -> bool {
        matches!(
            self,
            Self::Recover | Self::Follow | Self::RecoverThenFollow | Self::Parallel | Self::Udp
        )
    }
}

/// What a query is by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The relay's relay-id.
    RelayId,
    /// The relay's remote-id.
    RemoteId,
    /// DHCPv6: the relay's link.
    Link,
    /// Everything: DHCPv4 bulk, and unfiltered active queries.
    All,
    /// UDP: an address.
    Address,
    /// UDP, DHCPv4: a hardware address.
    Hwaddr,
    /// UDP: a client identifier, or DUID.
    ClientId,
}

/// Which DHCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum FamilyNumber {
    /// DHCPv4.
    V4,
    /// DHCPv6.
    V6,
}

impl TryFrom<u8> for FamilyNumber {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            4 => Ok(Self::V4),
            6 => Ok(Self::V6),
            _ => Err(format!("expected 4 or 6, found {number}")),
        }
    }
}

impl From<FamilyNumber> for u8 {
    fn from(family: FamilyNumber) -> Self {
        match family {
            FamilyNumber::V4 => 4,
            FamilyNumber::V6 => 6,
        }
    }
}

impl From<FamilyNumber> for leaseq_requestor::Family {
    fn from(family: FamilyNumber) -> Self {
        match family {
            FamilyNumber::V4 => Self::V4,
            FamilyNumber::V6 => Self::V6,
        }
    }
}

/// A number, or a share of what there is: `100`, `"10%"`, `"all"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "amount::Written", into = "amount::Written")]
pub enum Amount {
    /// All there are.
    #[default]
    All,
    /// So many, at most all.
    Number(u32),
    /// So many of a hundred, at least one.
    Percent(f64),
}

impl Amount {
    /// How many of so many.
    #[must_use]
    pub fn of(self, all: u32) -> u32 {
        match self {
            Self::All => all,
            Self::Number(number) => number.min(all),
            Self::Percent(percent) => {
                ((f64::from(all) * percent / 100.0).round() as u32).clamp(1.min(all), all)
            }
        }
    }
}

mod amount {
    use super::{Amount, Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    #[serde(
        untagged,
        expecting = "expected a number from 0 on, a share such as \"10%\", or \"all\""
    )]
    pub enum Written {
        Number(u32),
        Text(String),
    }

    impl TryFrom<Written> for Amount {
        type Error = String;

        fn try_from(written: Written) -> Result<Self, String> {
            match written {
                Written::Number(number) => Ok(Self::Number(number)),
                Written::Text(text) if text == "all" => Ok(Self::All),
                Written::Text(text) => text
                    .strip_suffix('%')
                    .and_then(|percent| percent.parse().ok())
                    .filter(|percent| (0.0..=100.0).contains(percent))
                    .map(Self::Percent)
                    .ok_or_else(|| {
                        format!(
                            "expected a number, a share such as \"10%\", or \"all\", found {text:?}"
                        )
                    }),
            }
        }
    }

    impl From<Amount> for Written {
        fn from(amount: Amount) -> Self {
            match amount {
                Amount::All => Self::Text("all".into()),
                Amount::Number(number) => Self::Number(number),
                Amount::Percent(percent) => Self::Text(format!("{percent}%")),
            }
        }
    }
}

/// How often: a number, or `"until-end"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "rounds::Written", into = "rounds::Written")]
pub enum Rounds {
    /// So often; each of the group's relays at least once.
    Times(u32),
    /// Until the scenario's duration is over.
    UntilEnd,
}

impl Default for Rounds {
    fn default() -> Self {
        Self::Times(1)
    }
}

mod rounds {
    use super::{Deserialize, Rounds, Serialize};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged, expecting = "expected a number from 1 on, or \"until-end\"")]
    pub enum Written {
        Number(u32),
        Text(String),
    }

    impl TryFrom<Written> for Rounds {
        type Error = String;

        fn try_from(written: Written) -> Result<Self, String> {
            match written {
                Written::Number(number) if number > 0 => Ok(Self::Times(number)),
                Written::Text(text) if text == "until-end" => Ok(Self::UntilEnd),
                _ => Err("expected a number from 1 on, or \"until-end\"".into()),
            }
        }
    }

    impl From<Rounds> for Written {
        fn from(rounds: Rounds) -> Self {
            match rounds {
                Rounds::Times(number) => Self::Number(number),
                Rounds::UntilEnd => Self::Text("until-end".into()),
            }
        }
    }
}

/// How far back an active query starts: `"none"`, `"all"`, or a time such as `"15m"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CatchUp {
    /// With what changes from now on.
    #[default]
    None,
    /// With everything that the store knows.
    All,
    /// With what changed since so long.
    Since(Span),
}

impl TryFrom<String> for CatchUp {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            _ => text.parse().map(Self::Since).map_err(|_| {
                format!("expected \"none\", \"all\" or a time such as \"15m\", found {text:?}")
            }),
        }
    }
}

impl From<CatchUp> for String {
    fn from(catch_up: CatchUp) -> Self {
        match catch_up {
            CatchUp::None => "none".into(),
            CatchUp::All => "all".into(),
            CatchUp::Since(span) => span.to_string(),
        }
    }
}

/// Values that the scenario is run with, each combination once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sweep {
    /// Of `data.relays`.
    #[serde(default)]
    pub relays: Vec<u32>,
    /// Of `data.bindings-per-relay`.
    #[serde(default)]
    pub bindings_per_relay: Vec<u32>,
    /// Of `changes.per-second`.
    #[serde(default)]
    pub changes_per_second: Vec<f64>,
    /// Of the `rate` of the groups that ask over UDP.
    #[serde(default)]
    pub udp_rate: Vec<f64>,
}

/// What is expected of a server's limits; what is absent, or 0, is not tested.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limits {
    /// Connections of a family, bulk and active together.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// Connections of one requestor.
    #[serde(default)]
    pub max_connections_per_requestor: Option<u32>,
    /// Queries that run at a time on a connection; further ones wait.
    #[serde(default)]
    pub max_queries_per_connection: Option<u32>,
    /// How soon a connection too many must be closed.
    #[serde(default = "defaults::refused_within")]
    pub refused_within: Span,
}

/// What is expected of a server's timeouts; what is absent is not tested.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Timeouts {
    /// Bulk: a connection without a query, and one with half a query, is closed after this time.
    #[serde(default)]
    pub bulk_idle: Option<Span>,
    /// Bulk: a requestor that reads nothing is given up after this time.
    #[serde(default)]
    pub bulk_send: Option<Span>,
    /// Active: a keepalive is sent after this time without any message.
    #[serde(default)]
    pub active_idle: Option<Span>,
    /// Active: a requestor that reads nothing is given up after this time.
    #[serde(default)]
    pub active_send: Option<Span>,
    /// How much later than that is still right; a server that must look whether a requestor takes anything, as nothing
    /// tells it, has a quarter of the timeout more.
    #[serde(default = "defaults::tolerance")]
    pub tolerance: Span,
    /// Polite relays that recover again and again beside the tests of timeouts, and must not suffer.
    #[serde(default = "defaults::innocent")]
    pub innocent: u32,
    /// The longest recovery of theirs, as a multiple of their longest one before the tests.
    #[serde(default = "defaults::innocent_factor")]
    pub innocent_factor: u32,
}

/// What must hold of the figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Require {
    /// The slowest recovery of each group takes at most so many times its median; a median below 50 ms counts as 50 ms.
    #[serde(default)]
    pub slowest_to_median: Option<f64>,
    /// 99 of 100 messages of changes are there within this time from their acknowledgement.
    #[serde(default)]
    pub propagation_p99: Option<Span>,
    /// UDP queries given up, of a hundred.
    #[serde(default)]
    pub udp_lost_percent: Option<f64>,
    /// Growth of the server's memory from the first quarter of the run to the last, of a hundred.
    #[serde(default)]
    pub memory_growth_percent: Option<f64>,
    /// Growth of the median recovery or propagation from the first quarter of the run to the last, of a hundred.
    #[serde(default)]
    pub latency_growth_percent: Option<f64>,
    /// Least number of things by their names in [`crate::measure::Count`], of all groups together.
    #[serde(default)]
    pub at_least: BTreeMap<String, u64>,
}

macro_rules! default_by_serde {
    ($($name:ident),*) => {$(
        impl Default for $name {
            fn default() -> Self {
                toml::from_str("").unwrap_or_else(|_| unreachable!("every key has a default"))
            }
        }
    )*};
}
default_by_serde!(Scenario, MadeUp);

mod defaults {
    use super::Span;

    pub fn seed() -> u64 {
        1
    }
    pub fn duration() -> Span {
        Span::from_secs(30)
    }
    pub fn patience() -> Span {
        Span::from_secs(120)
    }
    pub fn interval() -> Span {
        Span::from_secs(1)
    }
    pub fn relays() -> u32 {
        100
    }
    pub fn bindings() -> u32 {
        1_000
    }
    pub fn releases() -> u32 {
        10
    }
    pub fn refused_within() -> Span {
        Span::from_secs(1)
    }
    pub fn tolerance() -> Span {
        Span::from_secs(1)
    }
    pub fn innocent() -> u32 {
        8
    }
    pub fn innocent_factor() -> u32 {
        20
    }
}
