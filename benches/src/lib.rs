//! Shared parts of leaseq's benches.
//!
//! The measures of the whole server are ratios taken in one run on one machine: the server against what the same runtime
//! and the same reader do with octets that need no encoding, or with datagrams that are only echoed.

pub mod catch_up;
pub mod clock;
pub mod counting;
pub mod datagram;
pub mod fixture;
pub mod plain_fan_out;
pub mod readers;
pub mod report;
pub mod session;
pub mod stream;
pub mod usage;
