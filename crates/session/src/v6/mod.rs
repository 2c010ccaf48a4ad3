//! DHCPv6: bulk leasequery over TCP (RFC 5460, and the times of RFC 7653), active leasequery (RFC 7653) and leasequery over
//! UDP (RFC 5007).
//!
//! All read a query in the same way ([`request`]), find the clients that it asks for through the same [`source`], leave
//! out what the requestor may not see ([`permission`]) and tell each client in the same form ([`client_data`]). They
//! differ in what they make of several clients: [`bulk`] tells them all, [`udp`] names their links.

mod active;
mod answer;
pub(crate) mod bulk;
mod client_data;
mod permission;
mod refused;
mod request;
mod source;
pub(crate) mod udp;
mod wanted;

pub(crate) use active::{beside, scopes};

use leaseq_wire::v6::message_type;

use crate::query::{Opened, QueryContext};

/// What a message that came over TCP leads to.
pub(crate) fn open(cx: &QueryContext<'_>, message: &[u8]) -> Opened {
    match message {
        [message_type::ACTIVELEASEQUERY, _, _, _, ..] => active::start(cx, message),
        [message_type::STARTTLS, x0, x1, x2, ..] => Opened::Tls {
            xid: u32::from_be_bytes([0, *x0, *x1, *x2]),
        },
        _ => bulk::start(cx, message).into(),
    }
}
