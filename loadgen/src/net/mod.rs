//! Connections of relays, on tokio-uring.

pub mod channel;
pub mod connection;
pub mod frames;
pub mod source;
