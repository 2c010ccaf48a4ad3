//! Connections of relays, on tokio-uring.

pub mod channel;
pub mod connection;
pub mod datagrams;
pub mod source;
pub mod timer;
