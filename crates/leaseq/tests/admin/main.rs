//! What can be watched of the real server: health, metrics as Prometheus reads them, the status page in a browser, and the
//! dashboard and alerts of `docs/` against what is there and against what should ring.

mod alerts;
#[path = "../common/mod.rs"]
mod common;
mod documents;
mod health;
mod http;
mod metrics;
mod page;
mod peer;
mod setup;
