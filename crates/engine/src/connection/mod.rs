//! One TCP connection: a session, a socket, and the requests that are under way between them.
//!
//! There is at most one wait for input, one send and one pause under way. None of them is ever dropped before it has
//! completed: what ends them early is `shutdown` on the socket, done when the session's fate, the peer or the engine
//! ask for it. A turn offers the session what has come, has it encode one bounded chunk, and ends by waiting for the
//! kernel, so connections of a core take turns chunk by chunk.

mod transfer;

use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use leaseq_session::Mono;

use crate::core::{Core, Signals};
use crate::drain::Turn;
use crate::pool::Chunk;
use crate::registry::{ConnectionState, Entry};
use crate::ring::{self, Pending};
use crate::service::{Outcome, Service};
use crate::socket;

/// The first chunk of a connection; it grows from there.
const FIRST_CHUNK_OCTETS: usize = 64 << 10;
/// How long a connection that was closed by us waits for the peer's end, so that no reset destroys what it has not read.
const LINGER: Duration = Duration::from_secs(2);

enum Phase {
    Open,
    /// Everything was sent, and the peer was told so.
    Lingering {
        until: Mono,
        discarded: usize,
    },
    /// The socket is shut down; requests under way are about to complete.
    Ending,
}

enum Receiving {
    No,
    /// Until there is something to read.
    Waiting(Pending<()>),
    /// The peer has closed its side.
    Ended,
}

struct Sending {
    pending: Pending<Chunk>,
    /// Octets of memory the chunk holds.
    memory: usize,
    /// Octets of the chunk that were taken before.
    taken: usize,
    begun: Mono,
    /// When the kernel last took something of it, or it was begun.
    moved: Mono,
}

/// The task of one connection.
pub(crate) struct Connection<S: Service> {
    core: Rc<Core<S>>,
    key: usize,
    socket: Rc<OwnedFd>,
    entry: Arc<Entry>,
    session: S::Session,
    phase: Phase,
    receiving: Receiving,
    /// What was received and not taken by the session yet.
    input: Vec<u8>,
    sending: Option<Sending>,
    /// A turn that ended without anything to send although there is more to say.
    pause: Option<Pending<()>>,
    chunk_octets: usize,
    scheduled: Option<Mono>,
    /// When it is reset if it has not ended by then: another connection has its place, and it must not be held for long by
    /// a peer that is dead.
    ends_by: Option<Mono>,
    /// When it ends, once the server is drained.
    turn_to_end: Option<Turn>,
    /// It is an active stream, and its socket is set up for that.
    is_stream: bool,
    /// Declared after the session, so dropped after it.
    _place: Place<S>,
}

/// A connection's place on its core. When it is given up, the session is gone: what that made ready for others is told.
struct Place<S: Service> {
    core: Rc<Core<S>>,
    key: usize,
}

impl<S: Service> Drop for Place<S> {
    fn drop(&mut self) {
        self.core.remove(self.key);
        self.core.wake_ready();
    }
}

impl<S: Service> Connection<S> {
    /// A connection that was accepted and admitted; it is to be spawned on the core.
    pub fn new(
        core: Rc<Core<S>>,
        socket: OwnedFd,
        entry: Arc<Entry>,
        pass: S::Pass,
    ) -> Connection<S> {
        let key = core.links.add(entry.id, entry.family);
        entry.key.store(key, std::sync::atomic::Ordering::Relaxed);
        let session = core
            .service
            .open(pass, key, entry.family, entry.peer, core.now());
        let place = Place {
            core: core.clone(),
            key,
        };
        Connection {
            core,
            key,
            socket: Rc::new(socket),
            entry,
            session,
            phase: Phase::Open,
            receiving: Receiving::No,
            input: Vec::new(),
            sending: None,
            pause: None,
            chunk_octets: FIRST_CHUNK_OCTETS,
            scheduled: None,
            ends_by: None,
            turn_to_end: None,
            is_stream: false,
            _place: place,
        }
    }

    /// Does what was asked for from outside: timers, the engine's shutdown, the admin side.
    fn obey(&mut self, signals: Signals, now: Mono) {
        if signals.contains(Signals::ABORT) {
            self.abort();
        }
        if signals.contains(Signals::REPLACED) || signals.contains(Signals::END) {
            self.ends_by = Some(now + self.core.ending_timeout.get());
        }
        if signals.contains(Signals::DRAIN) {
            let spread = self.core.spread.get();
            self.turn_to_end = spread.map(|spread| spread.turn(self.entry.id));
        }
        if matches!(self.phase, Phase::Open) {
            if signals.contains(Signals::REPLACED) {
                self.core.service.replaced(&mut self.session);
            }
            if signals.contains(Signals::TERMINATE) || signals.contains(Signals::END) {
                self.core.service.terminate(&mut self.session);
            }
        }
        if signals.contains(Signals::TIMER) {
            self.scheduled = None;
            self.look_at_timers(now);
        }
    }

    fn look_at_timers(&mut self, now: Mono) {
        if matches!(self.phase, Phase::Ending) {
            return;
        }
        if self.ends_by.is_some_and(|at| at <= now) {
            return self.abort();
        }
        let unacknowledged = socket::unacknowledged(self.socket.as_fd());
        if self
            .core
            .service
            .deadline(&self.session)
            .is_some_and(|at| at <= now)
        {
            self.core
                .service
                .tick(&mut self.session, now, unacknowledged);
        }
        let Phase::Lingering { until, .. } = &mut self.phase else {
            return;
        };
        if self.core.service.outcome(&self.session) == Outcome::Abort {
            self.abort();
        } else if *until <= now && unacknowledged > 0 {
            // The peer still takes the rest; whether it takes too long about it is for the session to say.
            *until = now + LINGER;
        } else if *until <= now {
            socket::end(self.socket.as_fd());
            self.phase = Phase::Ending;
        }
    }

    /// One turn: input, one chunk of output, what the session has decided, the next requests.
    fn turn(&mut self, now: Mono) {
        if matches!(self.phase, Phase::Open) {
            self.offer_input(now);
            self.become_stream();
            self.end_at_its_turn(now);
            if self.sending.is_none() && self.pause.is_none() {
                self.produce(now);
                self.offer_input(now);
                // The work of a turn is done and there is more: let others have theirs.
                if self.sending.is_none() && self.core.service.has_output(&self.session) {
                    self.pause = Some(ring::turn());
                }
            }
            match self.core.service.outcome(&self.session) {
                Outcome::Open => {}
                Outcome::CloseWhenWritten if self.has_more_to_say() => {}
                Outcome::CloseWhenWritten => self.close(now),
                Outcome::Abort => self.abort(),
            }
        }
        self.core.wake_ready();
        self.receive_more();
        self.schedule(now);
        let state = match self.phase {
            Phase::Open if self.has_more_to_say() => ConnectionState::Sending,
            Phase::Open => ConnectionState::Idle,
            Phase::Lingering { .. } | Phase::Ending => ConnectionState::Closing,
        };
        let unsent_since = self.sending.as_ref().map(|sending| sending.moved);
        let activity = self.core.service.activity(&self.session);
        self.entry.note(state, &activity, unsent_since);
    }

    fn become_stream(&mut self) {
        if !self.is_stream
            && let Some(timeout) = self.core.service.stream_timeout(&self.session)
        {
            self.is_stream = true;
            self.chunk_octets = self.chunk_octets.min(self.largest_chunk());
            self.entry.set_stream();
            // Fails only if the peer has gone, which the next read tells.
            let _ = socket::prepare_stream(self.socket.as_fd(), timeout);
        }
    }

    /// At the end of a turn, when whatever the session has to say has led to one or the other.
    fn has_more_to_say(&self) -> bool {
        self.sending.is_some() || self.pause.is_some()
    }

    /// Of a server that is drained: a stream is told of its end when its turn has come; whoever is being answered may be
    /// told the rest before, while there is time.
    fn end_at_its_turn(&mut self, now: Mono) {
        let Some(turn) = self.turn_to_end else { return };
        let is_answering = !self.is_stream
            && (self.sending.is_some() || self.core.service.has_output(&self.session));
        if turn.by <= now || (turn.at <= now && !is_answering) {
            self.turn_to_end = None;
            self.core.service.terminate(&mut self.session);
            self.ends_by = Some(now + self.core.ending_timeout.get());
        }
    }

    fn schedule(&mut self, now: Mono) {
        let wanted = match self.phase {
            Phase::Open => {
                let deadline = self.core.service.deadline(&self.session);
                let turn = self.turn_to_end.map(|turn| turn.next(now));
                deadline.into_iter().chain(turn).min()
            }
            Phase::Lingering { until, .. } => {
                let deadline = self.core.service.deadline(&self.session);
                Some(deadline.map_or(until, |at| at.min(until)))
            }
            Phase::Ending => None,
        };
        let wanted = match (wanted, self.ends_by) {
            (Some(at), Some(end)) => Some(at.min(end)),
            (at, end) => at.or(end),
        };
        // A deadline that moved later is looked at when the earlier one comes.
        if let Some(at) = wanted
            && self.scheduled.is_none_or(|scheduled| at < scheduled)
        {
            self.scheduled = Some(at);
            self.core.schedule(self.key, at);
        }
    }

    /// Everything was written: end our side, and wait for the peer's.
    fn close(&mut self, now: Mono) {
        let peer_ended = matches!(self.receiving, Receiving::Ended);
        if socket::end_sending(self.socket.as_fd()).is_err() || peer_ended {
            self.phase = Phase::Ending;
            return;
        }
        self.input = Vec::new();
        self.phase = Phase::Lingering {
            until: now + LINGER,
            discarded: 0,
        };
    }

    fn abort(&mut self) {
        if !matches!(self.phase, Phase::Ending) {
            socket::abort(self.socket.as_fd());
            self.phase = Phase::Ending;
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ending)
            && !matches!(self.receiving, Receiving::Waiting(_))
            && self.sending.is_none()
            && self.pause.is_none()
    }
}

impl<S: Service> Future for Connection<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut signals = this.core.links.listen(this.key, cx.waker());
        let now = this.core.now();
        loop {
            // Requests made in a turn are polled once more, so that the kernel's answer wakes this task.
            if !this.collect(cx, now) && signals.is_empty() {
                return Poll::Pending;
            }
            this.obey(std::mem::replace(&mut signals, Signals::NONE), now);
            this.turn(now);
            if this.is_over() {
                return Poll::Ready(());
            }
        }
    }
}

impl<S: Service> Drop for Connection<S> {
    fn drop(&mut self) {
        // Only when the core ends, or when a session has panicked: requests under way keep the socket, so it is shut
        // down for them to complete.
        if !self.is_over() {
            socket::abort(self.socket.as_fd());
        }
        if let Some(sending) = &self.sending {
            self.core.pool.write_off(sending.memory);
        }
    }
}
