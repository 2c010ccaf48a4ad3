//! What a connection moves between its session and its socket, and how much at a time.
//!
//! An idle connection waits with a poll, not with a read that would own a buffer all the time. And little is sent at
//! once from the core's buffer: through the ring it would cost a copy, memory, and a second run of the task, for a message
//! of a few hundred octets. Only what the kernel does not take at once becomes an operation.
//!
//! The size of a chunk follows the peer: about what it takes in [`PATIENCE`]. A peer that keeps up gets chunks that
//! double to the largest size; one that stalls is left with small ones, so it holds little memory while it is waited for.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use leaseq_session::Mono;

use super::{Connection, Phase, Receiving, Sending};
use crate::pool::{Chunk, Filled, OWN_OCTETS, SMALL_CHUNK_OCTETS};
use crate::ring;
use crate::service::Service;
use crate::socket;

/// How long a chunk should be on its way into the kernel.
const PATIENCE: Duration = Duration::from_millis(25);
/// Octets that are read and thrown away while lingering.
const LINGER_OCTETS: usize = 1 << 20;

impl<S: Service> Connection<S> {
    /// Takes in what the kernel has completed; `false` if nothing has.
    pub(super) fn collect(&mut self, cx: &mut Context<'_>, now: Mono) -> bool {
        let mut any = false;
        if let Receiving::Waiting(pending) = &mut self.receiving
            && Pin::new(pending).poll(cx).is_ready()
        {
            any = true;
            self.receiving = Receiving::No;
            self.receive(now);
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

    fn receive(&mut self, now: Mono) {
        let core = self.core.clone();
        let mut inbox = core.inbox.borrow_mut();
        match socket::receive(self.socket.as_fd(), &mut inbox) {
            Ok(0) => {
                self.receiving = Receiving::Ended;
                match self.phase {
                    Phase::Open => core.service.peer_closed(&mut self.session, now),
                    Phase::Lingering { .. } | Phase::Ending => self.phase = Phase::Ending,
                }
            }
            Ok(octets) => match &mut self.phase {
                Phase::Open => {
                    self.entry.add_received(octets);
                    let octets = &inbox[..octets];
                    let taken = offer(&core.service, &mut self.session, octets, now);
                    self.input = octets[taken..].to_vec();
                }
                Phase::Lingering { discarded, .. } => {
                    *discarded += octets;
                    if *discarded > LINGER_OCTETS {
                        self.abort();
                    }
                }
                Phase::Ending => {}
            },
            // There is nothing to read after all.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) => {}
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
        self.taken(octets, now);
        let taken = before + octets;
        if taken < chunk.length && !matches!(self.phase, Phase::Ending) {
            let (chunk, taken) = self.core.pool.shrink(chunk, taken);
            return self.send(chunk, taken, begun, now);
        }
        self.core.pool.give_back(chunk);
        self.chunk_octets = next_chunk(self.chunk_octets, now - begun, self.largest_chunk());
    }

    pub(super) fn offer_input(&mut self, now: Mono) {
        if self.input.is_empty() {
            return;
        }
        let taken = offer(&self.core.service, &mut self.session, &self.input, now);
        if taken == self.input.len() {
            self.input = Vec::new();
        } else {
            self.input.drain(..taken);
        }
    }

    pub(super) fn produce(&mut self, now: Mono) {
        let Connection {
            core,
            session,
            socket,
            ..
        } = self;
        if !core.service.has_output(session) {
            return;
        }
        let filled = core.pool.fill(
            self.chunk_octets,
            |out, target| core.service.transmit(session, out, target, now),
            |octets| match socket::send(socket.as_fd(), octets) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) =>
                {
                    Ok(0)
                }
                result => result,
            },
        );
        let Ok(Filled { gone, rest }) = filled else {
            return self.abort();
        };
        if gone > 0 {
            self.taken(gone, now);
        }
        if let Some(chunk) = rest {
            return self.send(chunk, 0, now, now);
        }
        if gone > 0 {
            self.chunk_octets = next_chunk(self.chunk_octets, Duration::ZERO, self.largest_chunk());
        }
    }

    /// A stream's chunks stay small: what is encoded cannot be overtaken by a newer record any more, and it is what a
    /// peer that stops reading holds.
    pub(super) fn largest_chunk(&self) -> usize {
        if self.is_stream {
            OWN_OCTETS
        } else {
            self.core.pool.chunk_octets()
        }
    }

    /// The kernel has taken octets.
    fn taken(&mut self, octets: usize, now: Mono) {
        self.entry.add_sent(octets);
        self.core.service.written(&mut self.session, octets, now);
    }

    fn send(&mut self, chunk: Chunk, taken: usize, begun: Mono, moved: Mono) {
        let memory = chunk.buffer.len();
        let pending = ring::send(&self.socket, chunk, taken);
        self.sending = Some(Sending {
            pending,
            memory,
            taken,
            begun,
            moved,
        });
    }

    pub(super) fn receive_more(&mut self) {
        let wanted = match self.phase {
            Phase::Open => self.input.is_empty() && self.core.service.wants_input(&self.session),
            Phase::Lingering { .. } => true,
            Phase::Ending => false,
        };
        if wanted && matches!(self.receiving, Receiving::No) {
            self.receiving = Receiving::Waiting(ring::readable(&self.socket));
        }
    }
}

/// Gives a session octets until it wants no more; says how many it has taken.
fn offer<S: Service>(service: &S, session: &mut S::Session, octets: &[u8], now: Mono) -> usize {
    let mut taken = 0;
    while let Some(rest) = octets.get(taken..).filter(|rest| !rest.is_empty())
        && service.wants_input(session)
    {
        let more = service.receive(session, rest, now).min(rest.len());
        taken += more;
        if more == 0 {
            break;
        }
    }
    taken
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
