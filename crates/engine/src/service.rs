//! What the engine needs of the protocol: octets and time in, octets and a fate out.
//!
//! The engine knows no RFC. It runs whatever implements [`Service`]: sessions of leaseq-session over a store, or, in
//! the tests of how octets are moved, a protocol of ten lines.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use leaseq_session::{Activity, Family, Mono};

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It goes on.
    Open,
    /// It is closed once everything was written.
    CloseWhenWritten,
    /// It is reset now.
    Abort,
}

/// Answers one datagram: family, sender, request, room for the answer; gives the answer's length and where it goes.
pub(crate) type Answer<'a> =
    dyn FnMut(Family, SocketAddr, &[u8], &mut [u8]) -> Option<(usize, SocketAddr)> + 'a;

/// The protocol of one core. Each call looks at the store anew and holds nothing of it afterwards.
pub(crate) trait Service: 'static {
    /// The permission to open a connection, held by its session.
    type Pass: Send + 'static;
    /// One connection's protocol.
    type Session: Unpin + 'static;

    /// Begins a connection that was admitted; `key` is what it is woken by.
    fn open(
        &self,
        pass: Self::Pass,
        key: usize,
        family: Family,
        peer: SocketAddr,
        now: Mono,
    ) -> Self::Session;
    /// Takes octets from the peer, and says how many.
    fn receive(&self, session: &mut Self::Session, input: &[u8], now: Mono) -> usize;
    /// Whether the session would take octets.
    fn wants_input(&self, session: &Self::Session) -> bool;
    /// The peer will send no more.
    fn peer_closed(&self, session: &mut Self::Session, now: Mono);
    /// Writes whole frames until about `target` octets are written; 0 if there is nothing to say in this turn.
    fn transmit(
        &self,
        session: &mut Self::Session,
        out: &mut [u8],
        target: usize,
        now: Mono,
    ) -> usize;
    /// Whether there is more to say, in this turn or a later one.
    fn has_output(&self, session: &Self::Session) -> bool;
    /// The kernel took octets that were transmitted.
    fn written(&self, session: &mut Self::Session, octets: usize, now: Mono);
    /// The session's next timer.
    fn deadline(&self, session: &Self::Session) -> Option<Mono>;
    /// A timer is due; `unacknowledged` octets are with the kernel.
    fn tick(&self, session: &mut Self::Session, now: Mono, unacknowledged: usize);
    /// What is to become of the connection.
    fn outcome(&self, session: &Self::Session) -> Outcome;
    /// The server stops: end what runs.
    fn terminate(&self, session: &mut Self::Session);
    /// Another connection of the same peer has taken this one's place: end what runs.
    fn replaced(&self, session: &mut Self::Session);
    /// If the session is an active stream: how long its peer may acknowledge nothing.
    fn stream_timeout(&self, _session: &Self::Session) -> Option<Duration> {
        None
    }

    /// What the session is doing, for those who watch.
    fn activity(&self, _session: &Self::Session) -> Activity {
        Activity::default()
    }
    /// Something was committed: looks at a bounded amount of it and calls `wake` with the key of each connection that has
    /// something to do now. Says whether there is more to look at, in another turn.
    fn committed(&self, _now: Mono, _wake: &mut dyn FnMut(usize)) -> bool {
        false
    }
    /// Whether there is something for [`committed`](Self::committed) to look at though nothing was committed.
    fn is_behind(&self) -> bool {
        false
    }
    /// Calls `wake` with the key of each connection that other connections' calls have made ready since the last time.
    fn ready(&self, _wake: &mut dyn FnMut(usize)) {}

    /// Has `batch` answer datagrams with one look at the store.
    fn answer(&self, now: Mono, batch: &mut dyn FnMut(&mut Answer<'_>));
}

/// A connection that may be opened.
pub(crate) struct Admission<P> {
    /// Held by the session until the connection has ended.
    pub pass: P,
    /// The connection's name.
    pub id: u64,
    /// Another connection, whose place this one takes.
    pub replaces: Option<u64>,
}

/// Decides about connections, on the accept thread.
pub(crate) trait Gate: Send + 'static {
    /// The permission it gives.
    type Pass: Send + 'static;

    /// Lets a connection in, or has counted why not.
    fn admit(&self, family: Family, peer: IpAddr) -> Option<Admission<Self::Pass>>;
    /// How long a peer may be blocked before the protocol gives up on it.
    fn data_timeout(&self) -> Duration;
}
