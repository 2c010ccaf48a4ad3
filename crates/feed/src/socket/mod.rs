//! NDJSON on a Unix or TCP socket: writers send lease events, and each line is answered once it is durable.
//!
//! A connection has two threads: one reads lines and hands them to the store in batches, the other waits for the
//! commits and answers in the order of the lines. `{"ok":N}` says that all lines up to the N-th are done, but for
//! those told otherwise by `{"line":N,"error":"..."}`. A line is bounded in length ([`crate::lines::MAX_LINE`]), and
//! so are the batches under way: a writer that reads no answers is not read from any further, after a while its
//! connection is closed, and no other writer notices.

mod address;
mod batch;
mod connection;
mod listener;

pub use address::{Address, AddressError};
pub use listener::{MAX_WRITERS, NdjsonListener};
