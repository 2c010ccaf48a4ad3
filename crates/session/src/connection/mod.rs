//! One requestor's TCP connection: frames in, parallel queries, frames out, limits and timers.
//!
//! The engine gives it octets and time and asks what to write, when to come back and whether to close. Queries take
//! turns of a bounded length, so that replies interleave and none waits for an older query (RFC 6926 §8.4); no more
//! messages are read than queries may run. An idle connection holds no buffer.

mod activity;
mod blocked;
mod input;
mod secure;
mod tls_answer;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use leaseq_store::{Stamp, View};
use leaseq_wire::{OutBuf, frame};

use crate::active::{Hub, Stream};
use crate::admission::{Admitted, ConnectionId};
use crate::counters::{CloseReason, Counters, FamilyCounters};
use crate::query::{Opened, QueryContext, Quota, RunningQuery, StepEnd};
use crate::settings::{Family, Settings};
use crate::{Mono, v4, v6};
pub use activity::Activity;
use blocked::Outgoing;
use input::{Input, Next};
use secure::{Channel, Secure};

/// What one query may spend before another query of the connection has its turn.
const TURN: Quota = Quota {
    bindings: 32,
    octets: 16 * 1_024,
    examined: usize::MAX,
};
/// Records that a connection looks at before another connection has its turn, if few of them match.
const TURN_EXAMINED: usize = 8_192;

/// What a connection sees of the world while the engine calls it.
#[derive(Clone, Copy)]
pub struct Turn<'t> {
    /// The store as it is now; taken once a turn.
    pub view: &'t View,
    /// The engine's clock.
    pub now: Mono,
    /// The server's time, for base-time and everything counted from it: [`Reader::settled`](leaseq_store::Reader::settled),
    /// asked before the view is taken. A base-time after a change that the view does not hold would make a requestor that
    /// resumes from it miss that change.
    pub server_time: Stamp,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Open,
    /// Everything is said: close it once what was handed out is written.
    CloseWhenWritten(CloseReason),
    /// Close it at once; the requestor takes nothing any more.
    Abort(CloseReason),
}

/// One TCP connection of a requestor, from its first octet to its end.
pub struct Connection {
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    hub: Rc<Hub>,
    key: usize,
    admitted: Admitted,
    peer: SocketAddr,
    family: Family,
    /// The requestor has closed its side.
    peer_closed: bool,
    /// It is not to be waited for.
    aborted: bool,
    closing: Option<CloseReason>,
    /// Position in `queries` of the one whose turn it is.
    next: usize,
    /// What it may still spend in this turn.
    turn: Quota,
    /// Queries in a row that found nothing.
    empty_replies: u32,
    /// Since when no query has been running.
    idle_since: Mono,
    queries: Vec<Box<dyn RunningQuery>>,
    /// Queries that were taken up, those that have ended among them.
    asked: u64,
    input: Input,
    outgoing: Outgoing,
    channel: Channel,
    /// There from the answer to DHCPTLS or STARTTLS on; taken out while it is at work.
    secure: Option<Box<Secure>>,
}

impl Connection {
    /// A connection that has just been accepted. `key` is what the core's [`Hub`] calls it by when it has something to say.
    #[expect(
        clippy::too_many_arguments,
        reason = "called in one place, with what a core has and what a connection is"
    )]
    pub fn new(
        settings: Arc<Settings>,
        counters: Arc<Counters>,
        hub: Rc<Hub>,
        key: usize,
        family: Family,
        admitted: Admitted,
        peer: SocketAddr,
        now: Mono,
    ) -> Connection {
        counters.of(family).opened.increment();
        Connection {
            settings,
            counters,
            hub,
            key,
            admitted,
            peer,
            family,
            peer_closed: false,
            aborted: false,
            closing: None,
            next: 0,
            turn: TURN,
            empty_replies: 0,
            idle_since: now,
            queries: Vec::new(),
            asked: 0,
            input: Input::default(),
            outgoing: Outgoing::default(),
            channel: Channel::Fresh,
            secure: None,
        }
    }

    /// Its name.
    pub fn id(&self) -> ConnectionId {
        self.admitted.id()
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The family that it serves.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Queries that are running.
    pub fn running_queries(&self) -> usize {
        self.queries.len()
    }

    /// Whether octets may be given to [`receive`](Self::receive). If not, they are to be kept (and no more read) until
    /// a transmit or a tick has changed that.
    pub fn wants_input(&self) -> bool {
        match self.channel {
            Channel::Fresh | Channel::Plain => self.takes_messages(),
            Channel::Secured => self.wants_ciphertext(),
        }
    }

    /// Whether one more message may be taken.
    fn takes_messages(&self) -> bool {
        let most = self.settings.limits.max_queries_per_connection.max(1) as usize;
        // Beside a stream one more message is read, which is refused; and so its requestor's end is seen.
        let most = if self.is_stream() { 2 } else { most };
        self.closing.is_none()
            && !self.aborted
            && !self.peer_closed
            && !self.input.is_delayed()
            && self.queries.len() < most
    }

    /// Whether it has become an active stream.
    pub fn is_stream(&self) -> bool {
        self.queries.iter().any(|query| query.is_stream())
    }

    /// How long the requestor may acknowledge nothing of what is sent to it.
    pub fn send_timeout(&self) -> Duration {
        if self.is_stream() {
            self.settings.active.send_timeout
        } else {
            self.settings.limits.data_timeout
        }
    }

    /// Takes octets from the requestor and starts the queries in them. Returns how many were taken; what is left is to
    /// be offered again once [`wants_input`](Self::wants_input) says so.
    pub fn receive(&mut self, octets: &[u8], turn: &Turn<'_>) -> usize {
        let mut consumed = match self.channel {
            Channel::Fresh | Channel::Plain => self.take(octets, turn),
            Channel::Secured => 0,
        };
        // What follows DHCPTLS or STARTTLS belongs to TLS.
        if self.channel == Channel::Secured {
            let rest = octets.get(consumed..).unwrap_or_default();
            consumed += self.receive_secured(rest, turn);
        }
        self.count().received_octets.add(consumed as u64);
        consumed
    }

    /// Takes messages out of octets; all of them, or as many as are to be taken now, or up to the one that TLS follows.
    fn take(&mut self, octets: &[u8], turn: &Turn<'_>) -> usize {
        let mut consumed = 0;
        while self.takes_messages() && self.secure.is_none() {
            let Some(rest) = octets.get(consumed..).filter(|rest| !rest.is_empty()) else {
                break;
            };
            let (taken, next) = self.input.take(rest, turn.now);
            consumed += taken;
            match next {
                Next::Direct(message) => self.message(message, None, turn),
                Next::Assembled(frame) => self.message(&frame[frame::HEADER..], Some(&frame), turn),
                Next::Empty => self.close(CloseReason::EmptyFrame),
                Next::Incomplete => break,
            }
        }
        consumed
    }

    /// The requestor has closed its side: a read returned nothing. To be told once everything read before it is taken.
    ///
    /// A DHCPv4 connection is closed then (RFC 6926 §8.5); a DHCPv6 one when its queries are finished (RFC 5460 §5.4). An
    /// active query would never be: it ends then (RFC 7653 §9.5).
    pub fn peer_closed(&mut self, _now: Mono) {
        if self.handshake_until().is_some() {
            self.close(CloseReason::TlsHandshake);
        }
        self.requestor_ended();
    }

    /// No more messages come.
    fn requestor_ended(&mut self) {
        self.peer_closed = true;
        if self.family == Family::V4 {
            self.queries.clear();
            self.input.release();
        } else if self.is_stream() {
            self.close(CloseReason::PeerClosed);
        }
        self.close_if_drained();
    }

    /// Whether [`transmit`](Self::transmit) has something to do.
    pub fn has_output(&self) -> bool {
        !self.aborted
            && (self.input.is_due()
                || self.queries.iter().any(|query| !query.is_waiting())
                || self.tls_has_output())
    }

    /// Writes replies, as whole frames, until about `target` octets are written or there is nothing left to say.
    /// Returns the octets written, which are to be sent as they are.
    ///
    /// `out` must hold at least 65,537 octets, the longest frame. Nothing written while [`has_output`](Self::has_output)
    /// stays true means that many bindings were looked at and none matched yet: come back in the next turn.
    pub fn transmit(&mut self, turn: &Turn<'_>, out: &mut [u8], target: usize) -> usize {
        if self.aborted {
            return 0;
        }
        if let Some(frame) = self.input.take_due() {
            self.message(&frame[frame::HEADER..], Some(&frame), turn);
            self.close_if_drained();
        }
        let octets = match self.channel {
            Channel::Fresh | Channel::Plain => self.say(turn, out, target),
            Channel::Secured => self.transmit_secured(turn, out, target),
        };
        self.outgoing.send(octets, turn.now, self.send_timeout());
        self.count().sent_octets.add(octets as u64);
        octets
    }

    /// Has the queries write whole frames, in turns.
    fn say(&mut self, turn: &Turn<'_>, out: &mut [u8], target: usize) -> usize {
        let mut out = OutBuf::new(out);
        let mut examined = TURN_EXAMINED;
        let mut waiting = 0;
        while !self.queries.is_empty() && out.len() < target && examined > 0 {
            self.next %= self.queries.len();
            let room = target - out.len();
            let mut quota = Quota {
                examined,
                ..self.turn
            };
            quota.octets = quota.octets.min(room);
            if self.queries.len() == 1 {
                (quota.bindings, quota.octets) = (usize::MAX, room);
            }
            let given = quota;
            let cx = QueryContext {
                view: turn.view,
                server_time: turn.server_time,
                settings: &self.settings,
                rule: self.admitted.rule(),
                counters: &self.counters,
            };
            match self.queries[self.next].step(&cx, &mut out, &mut quota) {
                Ok(StepEnd::More) => {
                    self.turn.bindings = self
                        .turn
                        .bindings
                        .saturating_sub(given.bindings - quota.bindings);
                    self.turn.octets = self.turn.octets.saturating_sub(given.octets - quota.octets);
                    // A turn that the end of the room has cut short goes on when there is room again.
                    if self.turn.is_spent() {
                        self.next += 1;
                        self.turn = TURN;
                    }
                }
                Ok(StepEnd::Done { empty, close }) => {
                    self.queries.remove(self.next);
                    self.turn = TURN;
                    self.query_done(empty, close, turn.now);
                }
                Ok(StepEnd::Waiting) => {
                    waiting += 1;
                    self.next += 1;
                    if waiting >= self.queries.len() {
                        break;
                    }
                }
                // A message that does not fit into an empty buffer never will.
                Err(_) if out.is_empty() => {
                    self.queries.remove(self.next);
                    self.close(CloseReason::QueryFailed);
                }
                Err(_) => break,
            }
            // Each step counts, so that this loop is bounded whatever a step does.
            examined = quota.examined.min(examined - 1);
        }
        let octets = out.len();
        for query in &mut self.queries {
            query.stepped(turn.now);
        }
        octets
    }

    /// The kernel has taken octets that [`transmit`](Self::transmit) wrote.
    pub fn written(&mut self, octets: usize, now: Mono) {
        self.outgoing.written(octets);
        if self.queries.is_empty() {
            self.idle_since = now;
        }
    }

    /// When [`tick`](Self::tick) is to be called next.
    pub fn deadline(&self) -> Option<Mono> {
        if self.aborted {
            return None;
        }
        let waiting = match self.closing {
            Some(_) => None,
            None => self
                .handshake_until()
                .or_else(|| self.input.delayed_until())
                .or_else(|| self.waits_for_query_until()),
        };
        let queries = self.queries.iter().filter_map(|query| query.deadline());
        [waiting, self.outgoing.look_at()]
            .into_iter()
            .flatten()
            .chain(queries)
            .min()
    }

    /// A deadline has come. `unacknowledged`: octets in the kernel that the requestor has not acknowledged yet.
    pub fn tick(&mut self, now: Mono, unacknowledged: usize) {
        let timeout = self.send_timeout();
        if !self.aborted && self.outgoing.is_blocked(now, unacknowledged, timeout) {
            return self.abort(CloseReason::SendBlocked);
        }
        if self.closing.is_some() {
            return;
        }
        if let Some(until) = self.handshake_until() {
            if until <= now {
                self.close(CloseReason::TlsTimeout);
            }
            return;
        }
        self.input.pass_delay(now);
        for query in &mut self.queries {
            query.tick(now);
        }
        if self
            .waits_for_query_until()
            .is_some_and(|until| until <= now)
        {
            self.close(match self.input.partial_since() {
                Some(_) => CloseReason::ReadBlocked,
                None => CloseReason::Idle,
            });
        }
    }

    /// What is to become of the connection; to be asked after each call that changes something.
    pub fn fate(&self) -> Fate {
        match self.closing {
            Some(reason) if self.aborted => Fate::Abort(reason),
            Some(reason) if self.queries.is_empty() && !self.tls_has_output() => {
                Fate::CloseWhenWritten(reason)
            }
            _ => Fate::Open,
        }
    }

    /// The server stops: each running query ends with QueryTerminated, then the connection is closed.
    pub fn terminate(&mut self) {
        self.close(CloseReason::Shutdown);
    }

    /// A newer connection of the requestor has taken this one's place: as [`terminate`](Self::terminate).
    pub fn replaced(&mut self) {
        self.close(CloseReason::Replaced);
    }

    /// Until when the connection waits for a query, or for the rest of one. While queries run it does not wait.
    fn waits_for_query_until(&self) -> Option<Mono> {
        let timeout = self.settings.limits.data_timeout;
        match self.input.partial_since() {
            Some(since) => Some(since + timeout),
            None if self.queries.is_empty() && self.outgoing.is_written() => {
                Some(self.idle_since + timeout)
            }
            None => None,
        }
    }

    /// Starts the query in a message, or keeps its frame back if the requestor is over its rate.
    fn message(&mut self, message: &[u8], frame: Option<&[u8]>, turn: &Turn<'_>) {
        let rate = self.settings.limits.queries_per_second;
        if let Err(ready) =
            self.admitted
                .admission()
                .tcp_rates
                .take(self.admitted.requestor(), rate, turn.now)
        {
            let frame = frame.map_or_else(|| framed(message), <[u8]>::to_vec);
            self.count().delayed.increment();
            return self.input.delay(frame, ready);
        }
        self.count().received_messages.increment();
        let is_first = self.channel == Channel::Fresh;
        if is_first {
            self.channel = Channel::Plain;
        }
        let cx = QueryContext {
            view: turn.view,
            server_time: turn.server_time,
            settings: &self.settings,
            rule: self.admitted.rule(),
            counters: &self.counters,
        };
        let opened = match self.family {
            Family::V4 => v4::open(&cx, message),
            Family::V6 => v6::open(&cx, message),
        };
        // An active query has a connection to itself (RFC 7724 §7.1, RFC 7653 §9.4).
        let beside = match &opened {
            Opened::Stream(_) => !self.queries.is_empty(),
            Opened::Query(_) => self.is_stream(),
            _ => false,
        };
        let opened = match self.family {
            _ if !beside => opened,
            Family::V4 => v4::beside(&cx, message),
            Family::V6 => v6::beside(&cx, message),
        };
        let opened = self.permit(opened);
        self.asked += u64::from(matches!(opened, Opened::Query(_) | Opened::Stream(_)));
        match opened {
            Opened::Query(mut query) => {
                let xid = query.xid();
                let duplicate = self.queries.iter().any(|other| other.xid() == xid);
                if duplicate {
                    query.refuse_duplicate();
                }
                if duplicate || beside {
                    // The refusal is the next thing said.
                    self.next = self.queries.len();
                }
                self.queries.push(query);
            }
            Opened::Stream(request) => self.queries.push(Box::new(Stream::new(
                Rc::clone(&self.hub),
                self.key,
                self.family,
                Arc::clone(&self.settings),
                Arc::clone(self.admitted.rule()),
                Arc::clone(&self.counters),
                request,
                turn.now,
            ))),
            Opened::Tls { xid } => {
                let answer = self.answer_tls(xid, is_first, turn.now);
                self.queries.push(Box::new(answer));
            }
            Opened::Discarded => {}
            Opened::Close(reason) => self.close(reason),
        }
    }

    /// A query's last message has been written.
    fn query_done(&mut self, empty: bool, close: Option<CloseReason>, now: Mono) {
        self.empty_replies = if empty {
            self.empty_replies.saturating_add(1)
        } else {
            0
        };
        if self.queries.is_empty() {
            self.queries = Vec::new();
            self.idle_since = now;
        }
        let most_empty = self.settings.limits.max_empty_replies;
        if let Some(reason) = close {
            self.close(reason);
        } else if most_empty != 0 && self.empty_replies >= most_empty {
            self.close(CloseReason::EmptyReplies);
        }
        self.close_if_drained();
    }

    /// Closes a connection whose requestor has closed its side and waits for nothing more.
    fn close_if_drained(&mut self) {
        if self.peer_closed && self.queries.is_empty() && !self.input.is_delayed() {
            self.close(CloseReason::PeerClosed);
        }
    }

    /// Ends the connection in good order: running queries end with QueryTerminated (RFC 6926 §8.5).
    fn close(&mut self, reason: CloseReason) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(reason);
        self.count().closed.of(reason).increment();
        self.input.release();
        self.leave_handshakes();
        for query in &mut self.queries {
            query.terminate(why_terminated(reason));
        }
    }

    /// Ends the connection at once.
    fn abort(&mut self, reason: CloseReason) {
        if self.closing.is_none() {
            self.count().closed.of(reason).increment();
        }
        self.closing = Some(reason);
        self.aborted = true;
        self.queries = Vec::new();
        self.secure = None;
        self.input.release();
    }

    fn count(&self) -> &FamilyCounters {
        self.counters.of(self.family)
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), message].concat()
}

/// The text that goes with QueryTerminated.
fn why_terminated(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Shutdown => "server is shutting down",
        CloseReason::Replaced => "a newer connection of this requestor took its place",
        CloseReason::DuplicateXid => "another query came with a transaction id in use",
        CloseReason::EmptyReplies => "too many queries found nothing",
        CloseReason::EmptyFrame | CloseReason::ShortFrame => "a frame came that is not a message",
        CloseReason::UnsupportedMessage => "a message came that is not served over TCP",
        CloseReason::BesideActive => "an active query has a connection to itself",
        CloseReason::TlsRequired => "this query is answered on TLS only",
        CloseReason::ReadBlocked => "a query was not completed in time",
        CloseReason::PeerClosed
        | CloseReason::Idle
        | CloseReason::SendBlocked
        | CloseReason::TlsHandshake
        | CloseReason::TlsTimeout
        | CloseReason::TlsBroken
        | CloseReason::QueryFailed => "connection is closing",
    }
}
