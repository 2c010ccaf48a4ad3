//! The admin HTTP: `/healthz`, `/readyz`, `/metrics` and `/api/status`, on a thread of its own.
//!
//! It only reads. Connections are bounded in number and in how long a request may take to arrive, so that a scraper
//! that stalls costs nobody anything.

mod metrics;
mod server;
mod status;

use std::sync::Arc;

use leaseq_engine::Engine;
use leaseq_store::Reader;

use crate::serve::Feeds;

pub use server::Admin;

/// What is looked at.
#[derive(Clone)]
pub struct Served {
    /// The engine and its counters.
    pub engine: Arc<Engine>,
    /// The feeds.
    pub feeds: Arc<Feeds>,
    /// The store.
    pub reader: Reader,
    /// Milliseconds that the opening of the store took.
    pub recovered_ms: u128,
}
