//! Moves octets between sockets and sessions on tokio-uring, a thread per core.
//!
//! An [`Engine`] is one accept thread and a data thread for each core. The accept thread takes connections, asks the
//! admission, and hands each to the core with the fewest. A data thread runs a current-thread runtime on a ring of its
//! own, with its own connections, buffers, timers and datagram sockets; it takes no lock that another thread may hold
//! for long. What the octets mean is not known here: sessions say what to send, when they want to be called again and
//! when to close.
//!
//! What holds it together, module by module:
//! - `connection`: one task a connection; one receive and one send under way; a turn is one bounded chunk.
//! - `pool`: what replies may take of a core's memory, so that slow peers hold little and the sum is bounded.
//! - `wheel`: the deadlines of all connections of a core.
//! - `drain`: when each connection ends, once the server is drained.
//! - `fan_out`: what a commit sets off: one wake a core, which has the streams that it concerns woken.
//! - `ring`: operations of io_uring, which own what the kernel may touch until they have completed.
//! - `udp`, `mmsg`: datagrams by the batch, one batch a turn.
//! - `service`: the seam to the protocol; `leasequery` is what runs behind it in a server.

mod accept;
mod config;
mod connection;
mod core;
mod drain;
mod engine;
mod error;
mod fan_out;
mod leasequery;
#[cfg(feature = "limit")]
pub mod limit;
mod limits;
mod listening;
mod mmsg;
mod placement;
mod pool;
mod registry;
mod ring;
mod running;
mod service;
mod socket;
mod stats;
mod udp;
mod wheel;

pub use config::{EngineConfig, Listeners};
pub use drain::{DrainProgress, Drained};
pub use engine::Engine;
pub use error::StartError;
pub use listening::ListenerChange;
pub use placement::Placement;
pub use pool::SMALL_CHUNK_OCTETS;
pub use registry::{ConnectionInfo, ConnectionKind, ConnectionState, StreamInfo};
pub use stats::EngineStats;

#[cfg(test)]
mod pattern;
#[cfg(test)]
mod running_tests;
