//! DHCPv6 sessions from outside: a connection or a responder on virtual time, in front of a real store.

mod active;
mod active_ends;
mod active_history;
mod bulk;
mod differential;
mod kea;
mod octets;
mod refusals;
mod split;
mod support;
mod times;
mod udp;
