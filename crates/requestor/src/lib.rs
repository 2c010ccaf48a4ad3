//! The other side of leasequery: asks servers and reads their answers.
//!
//! The cores know no socket and no clock. A [`Query`] becomes the octets of a request; [`Bulk`] takes the octets that come
//! back over TCP, in pieces of any size, and tells of bindings, of the end of each query and of every breach of the
//! protocol; [`Active`] does the same for the one active query of a connection, [`follow`] keeps one running across lost
//! connections, and [`tls`] is secure mode; [`UdpExchange`] says when to send a datagram again and which reply is the answer.
//! [`client`] drives them over blocking sockets, for the command line and for tests. What was told of a binding is kept in
//! [`Lease4`] and [`Client6Leases`], printed by [`render`], and made one of what several servers told by [`merge`].
//!
//! A server may tell of an address twice, which it must not; whoever keeps the addresses finds that out, the cores do not.

#![forbid(unsafe_code)]

mod active;
mod active4;
mod active6;
mod bulk;
mod bulk4;
mod bulk6;
pub mod client;
mod error;
mod event;
pub mod follow;
mod frames;
mod hex;
mod lease4;
mod lease6;
pub mod merge;
mod query;
mod random;
pub mod render;
pub mod tls;
mod udp;
mod vpn;

pub use active::{Active, ActiveEvent, ActiveStatus, ActiveStatusKind};
pub use active4::Active4;
pub use active6::Active6;
pub use bulk::Bulk;
pub use bulk4::Bulk4;
pub use bulk6::Bulk6;
pub use error::{ProtocolError, ProtocolFault, ValueError, ValueProblem};
pub use event::{Binding4, Client6, Done, Event, Status};
pub use frames::{Frame, FrameError, Frames};
pub use lease4::Lease4;
pub use lease6::{Client6Leases, Lease6, Relay6};
pub use query::{
    DEFAULT_OPTIONS4, DEFAULT_OPTIONS6, Family, Query, Query4, Query6, QueryError, Selector4,
    Selector6,
};
pub use udp::{Answer, Jitter, Step, Timers, UdpExchange};
pub use vpn::Vpn;
