//! Groups of relays that do the same, and what they do.

use serde::{Deserialize, Serialize};

use super::{Amount, CatchUp, Rounds, Span};

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
    /// `udp` with a rate: queries that may wait for their answers at a time; one that is due while so many wait is not
    /// asked, and told of.
    #[serde(default)]
    pub in_flight: Option<u32>,
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

impl Group {
    /// Its relays are told of changes.
    #[must_use]
    pub fn follows(&self) -> bool {
        matches!(
            self.behaviour,
            Behaviour::Follow | Behaviour::RecoverThenFollow
        )
    }
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
