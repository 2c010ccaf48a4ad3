//! TLS on connections of both families, on virtual time: rustls as the requestor's end, certificates made on the spot.

mod active;
mod certificates;
mod handshake;
mod negotiation;
mod records;
mod rude;
mod site;
