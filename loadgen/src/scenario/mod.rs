//! What is to be done: which relays there are, what each of them does, against which server and which bindings.
//!
//! A scenario is a TOML file or one of the built-in ones, which are TOML too.

mod amount;
pub mod built_in;
mod expected;
mod extent;
mod group;
pub mod read;
mod rules;
mod set;
pub mod span;
mod target;

use serde::{Deserialize, Serialize};

pub use amount::{Amount, CatchUp, Rounds};
pub use expected::{Limits, Require, Timeouts};
pub use group::{Behaviour, By, FamilyNumber, Group};
pub(crate) use rules::count_of_name;
pub use span::Span;
pub use target::{OwnServer, Target, TlsFiles};

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
