//! What is expected of a server's limits and timeouts, and of the figures of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Span, defaults};

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
