//! Lease files of ISC dhcpd, `dhcpd.leases(5)`.
//!
//! A lease file is a log of declarations in dhcpd's own configuration language: `lease A { .. }` for an IPv4 address,
//! `ia-na "IAID+DUID" { .. }` (also `ia-ta`, `ia-pd`) for the leases of an IPv6 client. dhcpd appends the whole declaration at
//! each change, so the last one of an address wins, and now and then replaces the file by one with the newest of each.
//!
//! - `blocks`: the input cut into declarations, each bounded; a broken one does not spoil the next one;
//! - `token`: the words of a declaration;
//! - `lease4`, `ia`: what a declaration says, as events;
//! - [`Leases`]: a file as an iterator of events;
//! - [`start`]: follows the file of a running dhcpd.
//!
//! What dhcpd does not write can not be told: an IPv6 lease has no relay agents and no link, an IPv4 lease has the relay
//! agent's options (`option agent.*`) only if its client's message came through a relay agent that added them.

mod blocks;
mod date;
mod file;
mod ia;
mod lease4;
mod live;
mod state;
mod token;

pub use file::{Leases, OpenError, RelayData, is_lease_file, open};
pub use live::start;

pub use crate::follow::source::Settings;
