//! What the engine does without a protocol: the measure for what it does with one.
//!
//! The same threads, rings, buffers and datagram batches as in [`crate::Engine`], with the plainest service there is:
//! over TCP a peer sends a number (8 octets, network order) and gets that many octets, copied from memory; over UDP it
//! gets its datagram back. Benches compare the server with it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leaseq_session::{Family, Mono};

use crate::config::{EngineConfig, Listeners};
use crate::error::StartError;
use crate::placement::Placement;
use crate::running::Running;
use crate::service::{Admission, Answer, Gate, Outcome, Service};

pub use crate::mmsg::{BATCH, Inbox, Local, Outbox};

/// Octets of a request over TCP.
const REQUEST: usize = 8;

/// An engine without a protocol; stops when it is dropped.
pub struct Limit {
    running: Running<Plain>,
}

impl Limit {
    /// Starts it with every connection let in.
    ///
    /// # Errors
    /// As [`crate::Engine::start`].
    pub fn start(
        config: &EngineConfig,
        listeners: &Listeners,
        source: &'static [u8],
    ) -> Result<Limit, StartError> {
        let placement = Placement::of(config.cores.as_deref())?;
        let running = Running::start(
            config,
            &placement,
            listeners,
            Open(AtomicU64::new(0)),
            move |_| Plain { source },
        )?;
        Ok(Limit { running })
    }

    /// The addresses that were bound.
    pub fn addresses(&self) -> Listeners {
        self.running.addresses()
    }
}

struct Plain {
    /// What is copied to peers, over and over.
    source: &'static [u8],
}

struct Session {
    partial: Vec<u8>,
    left: u64,
    at: usize,
    ended: bool,
}

impl Service for Plain {
    type Pass = ();
    type Session = Session;

    fn open(&self, (): (), _: usize, _: Family, _: SocketAddr, _: Mono) -> Session {
        Session {
            partial: Vec::with_capacity(REQUEST),
            left: 0,
            at: 0,
            ended: false,
        }
    }

    fn receive(&self, session: &mut Session, input: &[u8], _: Mono) -> usize {
        let taken = input.len().min(REQUEST - session.partial.len());
        session.partial.extend_from_slice(&input[..taken]);
        if let Ok(request) = <[u8; REQUEST]>::try_from(&session.partial[..]) {
            session.partial.clear();
            session.left = u64::from_be_bytes(request);
        }
        taken
    }

    fn wants_input(&self, session: &Session) -> bool {
        session.left == 0 && !session.ended
    }

    fn peer_closed(&self, session: &mut Session, _: Mono) {
        session.ended = true;
    }

    fn transmit(&self, session: &mut Session, out: &mut [u8], target: usize, _: Mono) -> usize {
        let wanted = usize::try_from(session.left)
            .unwrap_or(usize::MAX)
            .min(target);
        let mut written = 0;
        while written < wanted {
            let piece = &self.source[session.at..];
            let length = piece.len().min(wanted - written);
            out[written..written + length].copy_from_slice(&piece[..length]);
            written += length;
            session.at = (session.at + length) % self.source.len();
        }
        session.left -= written as u64;
        written
    }

    fn has_output(&self, session: &Session) -> bool {
        session.left > 0
    }

    fn written(&self, _: &mut Session, _: usize, _: Mono) {}

    fn deadline(&self, _: &Session) -> Option<Mono> {
        None
    }

    fn tick(&self, _: &mut Session, _: Mono, _: usize) {}

    fn outcome(&self, session: &Session) -> Outcome {
        if session.ended {
            Outcome::CloseWhenWritten
        } else {
            Outcome::Open
        }
    }

    fn terminate(&self, session: &mut Session) {
        session.left = 0;
        session.ended = true;
    }

    fn replaced(&self, session: &mut Session) {
        self.terminate(session);
    }

    fn answer(&self, _: Mono, batch: &mut dyn FnMut(&mut Answer<'_>)) {
        batch(&mut |_, from, request, out| {
            out.get_mut(..request.len())?.copy_from_slice(request);
            Some((request.len(), from))
        });
    }
}

struct Open(AtomicU64);

impl Gate for Open {
    type Pass = ();

    fn admit(&self, _: Family, _: IpAddr) -> Option<Admission<()>> {
        Some(Admission {
            pass: (),
            id: self.0.fetch_add(1, Ordering::Relaxed),
            replaces: None,
        })
    }

    fn data_timeout(&self) -> Duration {
        Duration::from_secs(300)
    }
}
