//! One TCP connection: a session, a socket, and the requests that are under way between them.
//!
//! There is at most one receive, one send and one pause under way. None of them is ever dropped before it has
//! completed: what ends them early is `shutdown` on the socket, done when the session's fate, the peer or the engine
//! ask for it. A turn offers the session what has come, has it encode one bounded chunk, and ends by waiting for the
//! kernel, so connections of a core take turns chunk by chunk.
//!
//! The size of a chunk follows the peer: about what it takes in [`PATIENCE`]. A peer that keeps up gets chunks that
//! double to the largest size; one that stalls is left with small ones, so it holds little memory while it is waited for.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use leaseq_session::Mono;

use crate::core::{Core, Signals};
use crate::pool::{Chunk, SMALL_CHUNK_OCTETS};
use crate::registry::{ConnectionState, Entry};
use crate::ring::{self, Pending};
use crate::service::{Outcome, Service};
use crate::socket;

/// Octets of the buffer a connection receives into. The session keeps what is not a whole message yet.
const RECEIVE_OCTETS: usize = 2_048;
/// The first chunk of a connection; it grows from there.
const FIRST_CHUNK_OCTETS: usize = 64 << 10;
/// How long a chunk should be on its way into the kernel.
const PATIENCE: Duration = Duration::from_millis(25);
/// How long a connection that was closed by us waits for the peer's end, so that no reset destroys what it has not read.
const LINGER: Duration = Duration::from_secs(2);
/// Octets that are read and thrown away while lingering.
const LINGER_OCTETS: usize = 1 << 20;

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
    No(Vec<u8>),
    UnderWay(Pending<Vec<u8>>),
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
    /// What was received and not taken by the session yet: a range of the receive buffer.
    input: std::ops::Range<usize>,
    sending: Option<Sending>,
    /// A turn that ended without anything to send although there is more to say.
    pause: Option<Pending<()>>,
    chunk_octets: usize,
    scheduled: Option<Mono>,
}

impl<S: Service> Connection<S> {
    /// A connection that was accepted and admitted; it is to be spawned on the core.
    pub fn new(
        core: Rc<Core<S>>,
        socket: OwnedFd,
        entry: Arc<Entry>,
        pass: S::Pass,
    ) -> Connection<S> {
        let key = core.links.add(entry.id);
        entry.key.store(key, std::sync::atomic::Ordering::Relaxed);
        let session = core
            .service
            .open(pass, key, entry.family, entry.peer, core.now());
        Connection {
            core,
            key,
            socket: Rc::new(socket),
            entry,
            session,
            phase: Phase::Open,
            receiving: Receiving::No(vec![0; RECEIVE_OCTETS]),
            input: 0..0,
            sending: None,
            pause: None,
            chunk_octets: FIRST_CHUNK_OCTETS,
            scheduled: None,
        }
    }

    /// Takes in what the kernel has completed; `false` if nothing has.
    fn collect(&mut self, cx: &mut Context<'_>, now: Mono) -> bool {
        let mut any = false;
        if let Receiving::UnderWay(pending) = &mut self.receiving
            && let Poll::Ready((result, buffer)) = Pin::new(pending).poll(cx)
        {
            any = true;
            self.received(result, buffer, now);
        }
        if let Some(sending) = &mut self.sending
            && let Poll::Ready((result, chunk)) = Pin::new(&mut sending.pending).poll(cx)
        {
            any = true;
            let (taken, begun) = (sending.taken, sending.begun);
            self.sending = None;
            self.sent(result, chunk, taken, begun, now);
        }
        if let Some(pause) = &mut self.pause
            && Pin::new(pause).poll(cx).is_ready()
        {
            any = true;
            self.pause = None;
        }
        any
    }

    fn received(&mut self, result: io::Result<usize>, buffer: Vec<u8>, now: Mono) {
        match result {
            Ok(0) => {
                self.receiving = Receiving::Ended;
                match self.phase {
                    Phase::Open => self.core.service.peer_closed(&mut self.session, now),
                    Phase::Lingering { .. } | Phase::Ending => self.phase = Phase::Ending,
                }
            }
            Ok(octets) => {
                let octets = octets.min(buffer.len());
                self.receiving = Receiving::No(buffer);
                match &mut self.phase {
                    Phase::Open => {
                        self.input = 0..octets;
                        self.entry.add_received(octets);
                    }
                    Phase::Lingering { discarded, .. } => {
                        *discarded += octets;
                        if *discarded > LINGER_OCTETS {
                            self.abort();
                        }
                    }
                    Phase::Ending => {}
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.receiving = Receiving::No(buffer)
            }
            Err(_) => {
                self.receiving = Receiving::Ended;
                self.abort();
            }
        }
    }

    fn sent(
        &mut self,
        result: io::Result<usize>,
        chunk: Chunk,
        before: usize,
        begun: Mono,
        now: Mono,
    ) {
        let octets = match result {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(_) => {
                self.core.pool.give_back(chunk);
                return self.abort();
            }
        };
        self.entry.add_sent(octets);
        self.core.service.written(&mut self.session, octets, now);
        let taken = before + octets;
        if taken < chunk.length && !matches!(self.phase, Phase::Ending) {
            let (chunk, taken) = self.core.pool.shrink(chunk, taken);
            return self.send(chunk, taken, begun);
        }
        self.core.pool.give_back(chunk);
        self.chunk_octets = next_chunk(
            self.chunk_octets,
            now - begun,
            self.core.pool.chunk_octets(),
        );
    }

    /// Does what was asked for from outside: timers, the engine's shutdown, the admin side.
    fn obey(&mut self, signals: Signals, now: Mono) {
        if signals.contains(Signals::ABORT) {
            self.abort();
        }
        if matches!(self.phase, Phase::Open) {
            if signals.contains(Signals::REPLACED) {
                self.core.service.replaced(&mut self.session);
            }
            if signals.contains(Signals::TERMINATE) {
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
            if self.sending.is_none() && self.pause.is_none() {
                self.produce(now);
                self.offer_input(now);
            }
            match self.core.service.outcome(&self.session) {
                Outcome::Open => {}
                Outcome::CloseWhenWritten if self.has_more_to_say() => {}
                Outcome::CloseWhenWritten => self.close(now),
                Outcome::Abort => self.abort(),
            }
        }
        self.receive_more();
        self.schedule();
        self.entry.set_state(match self.phase {
            Phase::Open if self.has_more_to_say() => ConnectionState::Sending,
            Phase::Open => ConnectionState::Idle,
            Phase::Lingering { .. } | Phase::Ending => ConnectionState::Closing,
        });
    }

    fn has_more_to_say(&self) -> bool {
        self.sending.is_some()
            || self.pause.is_some()
            || self.core.service.has_output(&self.session)
    }

    fn offer_input(&mut self, now: Mono) {
        let Receiving::No(buffer) = &self.receiving else {
            return;
        };
        while !self.input.is_empty() && self.core.service.wants_input(&self.session) {
            let octets = &buffer[self.input.clone()];
            let taken = self
                .core
                .service
                .receive(&mut self.session, octets, now)
                .min(octets.len());
            self.input.start += taken;
            if taken == 0 {
                break;
            }
        }
    }

    fn produce(&mut self, now: Mono) {
        let Connection { core, session, .. } = self;
        if !core.service.has_output(session) {
            return;
        }
        match core.pool.fill(self.chunk_octets, |out, target| {
            core.service.transmit(session, out, target, now)
        }) {
            Some(chunk) => self.send(chunk, 0, now),
            // The work of a turn was done without anything found to send: let others have theirs.
            None if core.service.has_output(session) => self.pause = Some(ring::turn()),
            None => {}
        }
    }

    fn send(&mut self, chunk: Chunk, taken: usize, begun: Mono) {
        let memory = chunk.buffer.len();
        let pending = ring::send(&self.socket, chunk, taken);
        self.sending = Some(Sending {
            pending,
            memory,
            taken,
            begun,
        });
    }

    fn receive_more(&mut self) {
        let wanted = match self.phase {
            Phase::Open => self.input.is_empty() && self.core.service.wants_input(&self.session),
            Phase::Lingering { .. } => true,
            Phase::Ending => false,
        };
        if wanted && let Receiving::No(buffer) = &mut self.receiving {
            self.receiving =
                Receiving::UnderWay(ring::receive(&self.socket, std::mem::take(buffer)));
        }
    }

    fn schedule(&mut self) {
        let wanted = match self.phase {
            Phase::Open => self.core.service.deadline(&self.session),
            Phase::Lingering { until, .. } => {
                let deadline = self.core.service.deadline(&self.session);
                Some(deadline.map_or(until, |at| at.min(until)))
            }
            Phase::Ending => None,
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
        self.input = 0..0;
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
            && !matches!(self.receiving, Receiving::UnderWay(_))
            && self.sending.is_none()
            && self.pause.is_none()
    }
}

impl<S: Service> Future for Connection<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut signals = this.core.links.listen(this.key, cx.waker());
        loop {
            let now = this.core.now();
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
        self.core.remove(self.key);
    }
}

/// The size of the next chunk, after one that took `elapsed` to be taken by the kernel.
fn next_chunk(chunk: usize, elapsed: Duration, largest: usize) -> usize {
    let next = if elapsed <= PATIENCE {
        chunk.saturating_mul(2)
    } else {
        let scaled = chunk as u128 * PATIENCE.as_millis() / elapsed.as_millis();
        usize::try_from(scaled).unwrap_or(chunk)
    };
    next.clamp(SMALL_CHUNK_OCTETS, largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_follows_the_peer() {
        let mib = 1 << 20;
        assert_eq!(next_chunk(64 << 10, Duration::ZERO, mib), 128 << 10);
        assert_eq!(next_chunk(mib, Duration::from_millis(1), mib), mib);
        assert_eq!(next_chunk(mib, Duration::from_millis(100), mib), mib / 4);
        assert_eq!(
            next_chunk(mib, Duration::from_secs(60), mib),
            SMALL_CHUNK_OCTETS
        );
        assert_eq!(
            next_chunk(SMALL_CHUNK_OCTETS, Duration::from_secs(3_600), mib),
            SMALL_CHUNK_OCTETS
        );
    }
}
