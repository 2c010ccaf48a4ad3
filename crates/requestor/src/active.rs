//! The answer to an active query on a connection of either family, and what it tells.

use leaseq_wire::time::UnixSeconds;

use crate::{Active4, Active6, Binding4, Client6, ProtocolError, Query, Status};

/// The active core of one connection; see [`Active4`] and [`Active6`].
#[derive(Debug)]
pub enum Active {
    /// DHCPv4.
    V4(Active4),
    /// DHCPv6.
    V6(Active6),
}

/// One thing told by the answer to an active query. Views borrow from the octets received.
#[derive(Clone, Debug)]
pub enum ActiveEvent<'a> {
    /// DHCPv4: an address has this state now.
    Binding4(Binding4<'a>),
    /// DHCPv6: a client on a link has these leases now.
    Client6(Client6<'a>),
    /// Something about the stream itself.
    Status(ActiveStatus<'a>),
}

/// What an answer says about itself.
#[derive(Clone, Debug)]
pub struct ActiveStatus<'a> {
    /// What it means.
    pub kind: ActiveStatusKind,
    /// The status as told; a DHCPv6 keepalive has none.
    pub status: Option<Status>,
    /// The server's time, if told.
    pub base_time: Option<UnixSeconds>,
    /// The message that told it, without its frame.
    pub message: &'a [u8],
}

/// What a status in the answer to an active query means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActiveStatusKind {
    /// Nothing happened; the connection lives.
    ConnectionActive,
    /// What changed since the start time has been told; from here on changes are told as they happen.
    CatchUpComplete,
    /// What changed before is not known in full; from here on changes are told as they happen.
    DataMissing,
    /// The server ends the query (QueryTerminated); nothing follows.
    Terminated,
    /// The query failed or was refused; nothing follows.
    Failed,
}

impl ActiveStatusKind {
    /// Nothing follows on the connection.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Terminated | Self::Failed)
    }
}

impl<'a> ActiveEvent<'a> {
    /// The message that told it, without its frame.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        match self {
            Self::Binding4(binding) => binding.message.octets(),
            Self::Client6(client) => client.message.octets(),
            Self::Status(status) => status.message,
        }
    }

    /// The base-time that came with it.
    #[must_use]
    pub fn base_time(&self) -> Option<UnixSeconds> {
        match self {
            Self::Binding4(binding) => crate::active4::base_time(&binding.message),
            Self::Client6(client) => crate::active6::base_time(&client.message),
            Self::Status(status) => status.base_time,
        }
    }
}

impl Active {
    /// The answer to this query, sent with this transaction id as
    /// [`active_request`](Query::active_request) writes it; `catches_up`: with a start time.
    #[must_use]
    pub fn new(query: &Query, xid: u32, catches_up: bool) -> Self {
        match query {
            Query::V4(_) => Self::V4(Active4::new(xid, catches_up)),
            Query::V6(query) => Self::V6(Active6::new(&query.requestor, xid, catches_up)),
        }
    }

    /// The past is still being told.
    #[must_use]
    pub fn is_catching_up(&self) -> bool {
        match self {
            Self::V4(active) => active.is_catching_up(),
            Self::V6(active) => active.is_catching_up(),
        }
    }

    /// The server has ended the query.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        match self {
            Self::V4(active) => active.is_ended(),
            Self::V6(active) => active.is_ended(),
        }
    }

    /// Takes octets of the connection, in pieces of any size, and tells what is in them.
    ///
    /// # Errors
    /// At the first breach of the protocol; what was told before it stands.
    pub fn push(
        &mut self,
        octets: &[u8],
        on_event: &mut dyn FnMut(ActiveEvent<'_>),
    ) -> Result<(), ProtocolError> {
        match self {
            Self::V4(active) => active.push(octets, on_event),
            Self::V6(active) => active.push(octets, on_event),
        }
    }

    /// The server has closed the connection.
    ///
    /// # Errors
    /// If the query has not ended or a frame is not whole.
    pub fn closed(&self) -> Result<(), ProtocolError> {
        match self {
            Self::V4(active) => active.closed(),
            Self::V6(active) => active.closed(),
        }
    }
}

/// How far the answer to an active query has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The first message, which names the server, has come.
    pub(crate) begun: bool,
    pub(crate) catching_up: bool,
    pub(crate) ended: bool,
}

impl Progress {
    pub(crate) fn new(catches_up: bool) -> Self {
        Self {
            begun: false,
            catching_up: catches_up,
            ended: false,
        }
    }

    /// Takes note of a status. `None`: it has no place here.
    pub(crate) fn note(&mut self, kind: ActiveStatusKind) -> Option<()> {
        match kind {
            ActiveStatusKind::ConnectionActive => {}
            ActiveStatusKind::CatchUpComplete if !self.catching_up => return None,
            ActiveStatusKind::CatchUpComplete | ActiveStatusKind::DataMissing => {
                self.catching_up = false;
            }
            ActiveStatusKind::Terminated | ActiveStatusKind::Failed => self.ended = true,
        }
        Some(())
    }
}
