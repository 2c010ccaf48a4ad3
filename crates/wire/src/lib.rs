//! DHCPv4 and DHCPv6 leasequery messages, options and framing, without I/O or allocation.
//!
//! Server, requestor and load generator all speak through this crate, so that what one of them writes is what the other
//! ones read. Reading borrows from the octets received and never panics, whatever they are: [`v4::Message::parse`] and
//! [`v6::Message::parse`] walk the options once and refuse what overruns; afterwards every access is plain. Writing goes
//! into the caller's buffer through an [`OutBuf`], which says [`Full`] instead of growing.
//!
//! What is here: the messages and options of RFC 4388, 6148, 6926 and 7724 ([`v4`]) and of RFC 5007, 5460 and 7653
//! ([`v6`]), the frames of leasequery over TCP ([`mod@frame`]), the two epochs of absolute times ([`time`]), VPN identifiers
//! ([`vss`]) and the timers and limits that the RFCs name ([`parameters`]).

#![forbid(unsafe_code)]

mod buffer;
mod error;
pub mod frame;
pub mod parameters;
pub mod time;
pub mod v4;
pub mod v6;
pub mod vss;

pub use buffer::{Full, OutBuf};
pub use error::{Fault, ParseError};

/// A lifetime without end (RFC 2131 §3.3, RFC 8415 §7.7): sent as it is, never counted down.
pub const INFINITY: u32 = u32::MAX;
