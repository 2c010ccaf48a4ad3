//! DHCPv6: bulk leasequery over TCP (RFC 5460, and the times of RFC 7653) and leasequery over UDP (RFC 5007).
//!
//! Both read a query in the same way ([`request`]), find the clients that it asks for through the same [`source`], leave
//! out what the requestor may not see ([`permission`]) and tell each client in the same form ([`client_data`]). They
//! differ in what they make of several clients: [`bulk`] tells them all, [`udp`] names their links.

mod answer;
pub(crate) mod bulk;
mod client_data;
mod permission;
mod request;
mod source;
pub(crate) mod udp;
mod wanted;
