//! The sans-I/O core of the server: one TCP connection, one UDP exchange.
//!
//! Octets and time come in; octets, deadlines and "close" come out. There is no socket, no clock and no thread
//! here, so the engine, the simulator and the fuzzers run the very same code.
//!
//! - [`Connection`] is everything that one requestor's TCP connection does: frames, parallel queries, limits, timers.
//! - [`Responder`] answers UDP queries, one datagram at a time.
//! - [`Admission`] decides which connections are served at all, exactly, for all cores together.
//! - [`Settings`] is an immutable snapshot of the configuration; [`Counters`] is what one core has counted.

mod active;
mod admission;
mod connection;
mod counters;
mod mono;
mod query;
mod rate;
mod responder;
mod settings;
mod tls;
mod v4;
mod v6;

pub use active::{Hub, StreamPlace};
pub use admission::{Admission, Admitted, ConnectionId, Refused};
pub use connection::{Activity, Connection, Fate, Turn};
pub use counters::{
    CloseReason, Counter, Counters, Discard, FamilyCounters, Label, QueryEnd, Refusal, Sample,
    Tally, UdpAnswer,
};
pub use mono::Mono;
pub use responder::{Reply, Responder};
pub use settings::{
    ActiveSettings, Dhcp4Settings, Dhcp6Settings, Family, Limits, LinkRule, Network, NetworkError,
    OnLimit, OptionSet, QueryKind, QueryKinds, ReplyTo, RequestorRule, Settings, TlsSettings,
};
