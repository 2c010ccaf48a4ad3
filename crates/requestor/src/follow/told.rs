//! What a follower has its caller do, and what it tells it.

use std::io;
use std::time::Instant;

use leaseq_wire::time::UnixSeconds;
use thiserror::Error;

use super::Gap;
use crate::tls::TlsError;
use crate::{ActiveEvent, Event, ProtocolError, Status};

/// One of the two connections of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    /// The active query's.
    Stream,
    /// That of the bulk queries that fill a gap.
    Fill,
}

/// What is to be done now.
#[derive(Debug)]
pub enum Action<'a> {
    /// Begin to connect; then report [`connected`](super::Follower::connected) or [`closed`](super::Follower::closed).
    Connect(Line),
    /// Send these octets; then report [`sent`](super::Follower::sent).
    Send(Line, &'a [u8]),
    /// Give the connection up; nothing need be reported of it any more.
    Close(Line),
    /// Nothing is to be done for it; the caller may want to know.
    Notice(Notice),
    /// Wait until then, or until there is something to report.
    WaitUntil(Instant),
}

/// Something about a follower's connections.
#[derive(Debug)]
pub enum Notice {
    /// The active query is on its way, with this start time.
    Asked(Option<UnixSeconds>),
    /// A connection has failed.
    Down {
        /// Which one.
        line: Line,
        /// Why.
        cause: Cause,
        /// When it is tried again.
        retry_at: Instant,
    },
}

/// Why a connection of a follower has ended.
#[derive(Debug, Error)]
pub enum Cause {
    /// It could not be made.
    #[error("cannot connect{}", because(.0))]
    NotConnected(Option<io::Error>),
    /// It could not be made in time.
    #[error("cannot connect in time")]
    ConnectTimeout,
    /// The server did not do its part of TLS in time (RFC 7724 §7.2, the first possibility).
    #[error("TLS was not negotiated in time")]
    NoTls,
    /// The server closed it before TLS was established (the second possibility).
    #[error("the server closed the connection before TLS was established{}", because(.0))]
    ClosedBeforeTls(Option<io::Error>),
    /// TLS was refused or failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It was closed or lost.
    #[error("the connection was lost{}", because(.0))]
    Closed(Option<io::Error>),
    /// Nothing came for too long.
    #[error("the server was silent for too long")]
    Silent,
    /// Nothing could be sent for too long.
    #[error("the server took nothing for too long")]
    Blocked,
    /// The server ended the query.
    #[error("the server ended the query{}", .0.as_ref().map_or(String::new(), |status| format!(": {status}")))]
    Ended(Option<Status>),
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
}

fn because(error: &Option<io::Error>) -> String {
    error
        .as_ref()
        .map_or(String::new(), |error| format!(": {error}"))
}

/// What a server tells a follower.
#[derive(Clone, Debug)]
pub enum FollowEvent<'a> {
    /// The stream tells it.
    Stream(ActiveEvent<'a>),
    /// A bulk query that fills a gap tells it: a [`Event::Binding4`] or [`Event::Client6`]. The stream may have told
    /// something newer already; see [`Known`](super::Known).
    Fill(Event<'a>),
    /// Something is missing. Comes behind the DataMissing that says so.
    Gap(Gap),
    /// What was missing has been told.
    Filled(Gap),
}
