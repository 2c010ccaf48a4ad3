//! The bulk answers that come on a connection, message by message.

use std::fmt;

use leaseq_requestor::{Bulk, Event, Frames, Query};

use crate::net::channel::LinkError;

/// The queries that run on a connection and what has come for them.
pub struct Answers {
    core: Bulk,
    frames: Frames,
}

impl Answers {
    /// A connection without queries, for queries like this one.
    #[must_use]
    pub fn like(query: &Query) -> Self {
        Self {
            core: Bulk::like(query),
            frames: Frames::default(),
        }
    }

    /// A query with this transaction id is sent.
    pub fn add(&mut self, xid: u32) {
        self.core.add(xid);
    }

    /// Queries that have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        self.core.running()
    }

    /// Takes octets of the connection and tells what is in them.
    ///
    /// # Errors
    /// At the first breach of the protocol; a message for a query that has ended is one.
    pub fn push(
        &mut self,
        octets: &[u8],
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), LinkError> {
        let Self { core, frames } = self;
        frames.push(octets, |frame| {
            core.push(frame.octets, on_event)
                .map_err(|error| error.fault)
        })?;
        Ok(())
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (queries, octets) = (self.running(), self.frames.unfinished().len());
        write!(
            f,
            "{queries} queries unanswered, {octets} octets of an unfinished message"
        )
    }
}
