//! DHCPv4 leasequery: over UDP (RFC 4388, RFC 6148), in bulk over TCP (RFC 6926), and active (RFC 7724).

mod active;
pub(crate) mod bulk;
mod reply;
mod request;
pub(crate) mod udp;
mod wanted;

pub(crate) use active::{beside, scopes};

use leaseq_wire::v4::Message;
use leaseq_wire::v4::message_type::{DHCPACTIVELEASEQUERY, DHCPTLS};

use crate::query::{Opened, QueryContext};

/// What a message that came over TCP leads to.
pub(crate) fn open(cx: &QueryContext<'_>, octets: &[u8]) -> Opened {
    let (message_type, xid) = match Message::parse(octets) {
        Ok(message) => (message.message_type(), message.xid()),
        Err(error) => (error.message_type, error.xid.unwrap_or_default()),
    };
    match message_type {
        Some(DHCPACTIVELEASEQUERY) => active::start(cx, octets),
        Some(DHCPTLS) => Opened::Tls { xid },
        _ => bulk::start(cx, octets).into(),
    }
}
