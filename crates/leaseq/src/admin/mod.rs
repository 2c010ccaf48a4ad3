//! The admin HTTP: `/`, `/healthz`, `/readyz`, `/metrics` and `/api/status`, on a thread of its own.
//!
//! It only reads, and it is there before the store is: while that is opened, it tells how far that has come. Connections are
//! bounded in number, in what a header may have, and in how long a request may take to arrive and an answer to be taken, so that
//! a client that stalls keeps its place for seconds.

mod connections;
mod impatient;
mod metrics;
mod page;
mod process;
mod server;
mod status;
mod watched;

pub use server::Admin;
pub use watched::{Recovery, Served};
