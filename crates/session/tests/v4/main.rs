//! The server's side of DHCPv4 leasequery, rule by rule, on virtual time and a real store.

mod active;
mod active_ends;
mod active_history;
mod arbitrary;
mod bulk;
mod connection;
mod fixture;
mod kea;
mod message;
mod permissions;
mod qualifiers;
mod simulation;
mod stream_simulation;
mod udp;
