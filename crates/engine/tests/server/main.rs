//! The whole server over real sockets: engine, sessions and a small store.

mod blocked;
mod bulk;
mod drain;
mod limits;
mod listeners;
mod streams;
mod support;
