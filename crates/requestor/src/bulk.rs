//! Answers on a connection of either family.

use crate::{Bulk4, Bulk6, Event, ProtocolError, Query};

/// The bulk core of one connection; see [`Bulk4`] and [`Bulk6`].
#[derive(Debug)]
pub enum Bulk {
    /// DHCPv4.
    V4(Bulk4),
    /// DHCPv6.
    V6(Bulk6),
}

impl Bulk {
    /// A connection without queries, for queries like this one: of its family and, in DHCPv6, of its requestor.
    #[must_use]
    pub fn like(query: &Query) -> Self {
        match query {
            Query::V4(_) => Self::V4(Bulk4::new()),
            Query::V6(query) => Self::V6(Bulk6::new(&query.requestor)),
        }
    }

    /// A query with this transaction id has been sent. It must differ from those of the queries still running.
    pub fn add(&mut self, xid: u32) {
        match self {
            Self::V4(bulk) => bulk.add(xid),
            Self::V6(bulk) => bulk.add(xid),
        }
    }

    /// Queries that have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        match self {
            Self::V4(bulk) => bulk.running(),
            Self::V6(bulk) => bulk.running(),
        }
    }

    /// Takes octets of the connection and tells what is in them.
    ///
    /// # Errors
    /// At the first breach of the protocol; what was told before it stands.
    pub fn push(
        &mut self,
        octets: &[u8],
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        match self {
            Self::V4(bulk) => bulk.push(octets, on_event),
            Self::V6(bulk) => bulk.push(octets, on_event),
        }
    }

    /// The server has closed the connection.
    ///
    /// # Errors
    /// If a query has not ended or a frame is not whole.
    pub fn closed(&self) -> Result<(), ProtocolError> {
        match self {
            Self::V4(bulk) => bulk.closed(),
            Self::V6(bulk) => bulk.closed(),
        }
    }
}
