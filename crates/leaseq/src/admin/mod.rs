//! The admin HTTP: `/`, `/healthz`, `/readyz`, `/metrics` and `/api/status`, on a thread of its own.
//!
//! It only reads, and it is there before the store is: while that is opened, it tells how far that has come. Connections are
//! bounded in number and in how long a request may take to arrive, so that a scraper that stalls costs nobody anything.

mod connections;
mod metrics;
mod page;
mod process;
mod server;
mod status;
mod watched;

pub use server::Admin;
pub use watched::{Recovery, Served};
