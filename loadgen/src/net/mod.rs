//! Connections of relays, on tokio-uring.

pub mod connection;
