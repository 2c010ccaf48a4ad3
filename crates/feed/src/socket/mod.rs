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

use std::io;
use std::sync::Arc;

use leaseq_store::Store;

use crate::run::{Feed, Status};

pub use address::{Address, AddressError};
pub use listener::{MAX_WRITERS, NdjsonListener};

/// What a feed of kind `ndjson` is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// Where writers connect to.
    pub listen: Address,
}

/// Starts the feed.
///
/// # Errors
/// The address cannot be listened on, or there is no thread to be had.
pub fn start(settings: &Settings, store: Arc<Store>) -> io::Result<Feed> {
    let source = settings.listen.to_string();
    let status = Arc::new(Status::new(&settings.name, "ndjson", None, source));
    let listener = NdjsonListener::start(&settings.listen, store, Arc::clone(&status))?;
    let address = listener.address().clone();
    Ok(Feed::new(status, Some(address), Box::new(listener)))
}
