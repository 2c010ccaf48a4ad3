//! NDJSON: one lease event a line.
//!
//! | field | v4 | v6 | |
//! |---|---|---|---|
//! | `family` | 4 | 6 | |
//! | `address` | x | x | or, in v6, |
//! | `prefix` | | x | a delegated prefix with its length |
//! | `state` | x | x | `available` `active` `expired` `released` `abandoned` `reset` `remote` `transitioning` |
//! | `hwaddr` | x | | hex with colons, hardware type first |
//! | `client_id` | x | | hex |
//! | `duid`, `iaid` | | x | hex; a number |
//! | `lease_type` | | x | `na` (default), `ta` |
//! | `link` | | x | an IPv6 address, or `subnet:N`: the source's number of it |
//! | `cltt`, `state_since` | x | x | Unix seconds |
//! | `valid_lifetime` | x | x | seconds from `cltt`; 4294967295 is infinite |
//! | `preferred_lifetime` | | x | likewise |
//! | `t1`, `t2` | x | | likewise |
//! | `relay_agent_info` | x | | payload of option 82, hex |
//! | `relay` | | x | the relays, the one nearest to the server first: `link`, `peer`, `options` in hex |
//! | `options` | x | x | option code -> value in hex |
//! | `vpn` | x | x | see [`crate::vpn`] |
//! | `source` | x | x | `remote`, or absent |
//!
//! [`parse`] reads a line, [`Events`] a file of them; [`write4`] and [`write6`] write a binding so that reading it
//! into an empty store gives the same binding.

mod events;
mod parse;
mod write;

pub use events::Events;
pub use parse::{LineError, parse};
pub use write::{state_name, write4, write6};
