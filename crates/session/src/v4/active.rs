//! DHCPv4 active leasequery (RFC 7724): what a DHCPACTIVELEASEQUERY starts, and how bindings are told on its stream.

use crate::counters::CloseReason;
use crate::query::{Opened, QueryContext};

/// Judges a DHCPACTIVELEASEQUERY.
pub(crate) fn start(_cx: &QueryContext<'_>, _octets: &[u8]) -> Opened {
    Opened::Close(CloseReason::UnsupportedMessage)
}

/// Refuses a query that came beside an active one, or an active one that came beside others: with NotAllowed, in the kind
/// of message that ends such a query.
pub(crate) fn beside(_cx: &QueryContext<'_>, _octets: &[u8]) -> Opened {
    Opened::Close(CloseReason::BesideActive)
}
