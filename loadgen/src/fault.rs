//! What a server did wrong, told so that it can be found: which relay, which query, which octets.

use std::fmt;

use leaseq_requestor::Family;
use serde::{Deserialize, Serialize};

/// Octets of a message that are kept with a fault; of a longer one the beginning.
pub const KEPT_OCTETS: usize = 512;

/// What kind of wrong it is. Each kind is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// No connection, although one should have been accepted.
    NotConnected,
    /// The connection was lost, or closed too early: a query has no end.
    Lost,
    /// Nothing came for longer than the scenario's patience.
    Late,
    /// Octets that are no message, or a message that has no place there.
    Protocol,
    /// A message for no query that runs: unknown transaction id.
    UnknownXid,
    /// A query ended with a status of failure, or was refused.
    Status,
    /// A binding was told twice in one answer.
    Repeated,
    /// A binding that the store holds was not told.
    Missing,
    /// A binding was told that the store does not hold, or that the query does not ask for.
    Unexpected,
    /// A binding was told with another content than the store's.
    Different,
    /// A binding was told as it was before a change that had been acknowledged before the query was sent.
    Stale,
    /// Times that cannot be: in the future, or not those of the store.
    Times,
    /// Messages in an order that the RFCs forbid: base-time going back, a change told after a newer one of its binding.
    Order,
    /// A follower's picture at the end is not the store's.
    EndState,
    /// A limit or a timeout is not what it should be.
    Limit,
}

impl FaultKind {
    /// Its name, as in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotConnected => "not-connected",
            Self::Lost => "lost",
            Self::Late => "late",
            Self::Protocol => "protocol",
            Self::UnknownXid => "unknown-xid",
            Self::Status => "status",
            Self::Repeated => "repeated",
            Self::Missing => "missing",
            Self::Unexpected => "unexpected",
            Self::Different => "different",
            Self::Stale => "stale",
            Self::Times => "times",
            Self::Order => "order",
            Self::EndState => "end-state",
            Self::Limit => "limit",
        }
    }
}

/// One thing that a server did wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fault {
    /// What kind of wrong.
    pub kind: FaultKind,
    /// Group of the scenario.
    pub group: String,
    /// Number of the relay, counted from 0 over the scenario's relays.
    pub relay: u32,
    /// The query in words: `bulk v4 by relay-id 0003... xid 0x1f`.
    pub query: String,
    /// What was expected and what came.
    pub text: String,
    /// The message in hex, without its frame; empty if it is not about one. See [`KEPT_OCTETS`].
    pub octets: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            group,
            relay,
            query,
            text,
            octets,
        } = self;
        write!(f, "{}: {group} relay {relay}, {query}: {text}", kind.name())?;
        match octets.is_empty() {
            true => Ok(()),
            false => write!(f, "; octets {octets}"),
        }
    }
}

/// What a query is, in words for a [`Fault`].
#[must_use]
pub fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}
