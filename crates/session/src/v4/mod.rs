//! DHCPv4 leasequery: over UDP (RFC 4388, RFC 6148) and in bulk over TCP (RFC 6926).

pub(crate) mod bulk;
mod reply;
mod request;
pub(crate) mod udp;
mod wanted;
