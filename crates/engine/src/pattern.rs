//! A protocol for the engine's own tests, with none of DHCP in it: a peer sends numbers, and is sent that many octets
//! of a pattern for each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use leaseq_session::{Family, Mono};

use crate::service::{Admission, Answer, Gate, Outcome, Service};

/// Octets of a request: a number in network order.
pub(crate) const REQUEST: usize = 8;
/// A request that has the connection reset.
pub(crate) const RESET: u64 = u64::MAX;
/// A request that makes the session panic.
pub(crate) const PANIC: u64 = u64::MAX - 1;
/// A request after which each commit is worth an octet.
pub(crate) const SUBSCRIBE: u64 = u64::MAX - 2;
/// Keys of subscribers told of in one call.
const WAKES: usize = 7;
/// What is sent last when the server stops.
pub(crate) const FAREWELL: &[u8] = b"farewell";

/// Octet `at` of a reply.
pub(crate) fn octet(at: u64) -> u8 {
    (at % 251) as u8
}

/// The protocol, with its timeouts.
#[derive(Clone)]
pub(crate) struct Pattern {
    pub timeout: Duration,
    /// Turns that find nothing to send before each reply.
    pub idle_turns: u32,
    /// A session whose peer is blocked panics, rather than ask for a reset.
    pub panics_when_blocked: bool,
    /// Sessions that are open.
    pub open: Arc<AtomicUsize>,
    /// Commits so far.
    pub commits: Arc<AtomicU64>,
    /// Keys of subscribers, each with the commits that were looked at for it.
    pub subscribers: RefCell<BTreeMap<usize, u64>>,
}

pub(crate) struct Session {
    key: usize,
    /// It is owed an octet for each commit beyond those, if it has subscribed.
    heard: Option<u64>,
    partial: Vec<u8>,
    wanted: u64,
    at: u64,
    turns_left: u32,
    farewell: bool,
    ended: bool,
    outcome: Outcome,
    outstanding: usize,
    progress: Mono,
    unacknowledged: usize,
    open: Arc<AtomicUsize>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service for Pattern {
    type Pass = ();
    type Session = Session;

    fn open(&self, (): (), key: usize, _: Family, _: SocketAddr, now: Mono) -> Session {
        self.open.fetch_add(1, Ordering::SeqCst);
        Session {
            key,
            heard: None,
            partial: Vec::new(),
            wanted: 0,
            at: 0,
            turns_left: 0,
            farewell: false,
            ended: false,
            outcome: Outcome::Open,
            outstanding: 0,
            progress: now,
            unacknowledged: 0,
            open: self.open.clone(),
        }
    }

    fn receive(&self, session: &mut Session, input: &[u8], now: Mono) -> usize {
        let taken = input.len().min(REQUEST - session.partial.len());
        session.partial.extend_from_slice(&input[..taken]);
        session.progress = now;
        if let Ok(request) = <[u8; REQUEST]>::try_from(&session.partial[..]) {
            session.partial.clear();
            match u64::from_be_bytes(request) {
                RESET => session.outcome = Outcome::Abort,
                PANIC => panic!("a session that panics"),
                SUBSCRIBE => {
                    let heard = self.commits.load(Ordering::SeqCst);
                    session.heard = Some(heard);
                    self.subscribers.borrow_mut().insert(session.key, heard);
                }
                wanted => {
                    session.wanted = wanted;
                    session.at = 0;
                    session.turns_left = self.idle_turns;
                }
            }
        }
        taken
    }

    fn wants_input(&self, session: &Session) -> bool {
        session.at == session.wanted && !session.ended && session.outcome == Outcome::Open
    }

    fn peer_closed(&self, session: &mut Session, _: Mono) {
        session.ended = true;
        if !self.has_output(session) {
            session.outcome = Outcome::CloseWhenWritten;
        }
    }

    fn transmit(&self, session: &mut Session, out: &mut [u8], target: usize, _: Mono) -> usize {
        if session.turns_left > 0 {
            session.turns_left -= 1;
            return 0;
        }
        if std::mem::take(&mut session.farewell) {
            out[..FAREWELL.len()].copy_from_slice(FAREWELL);
            return FAREWELL.len();
        }
        if let Some(heard) = &mut session.heard {
            // Asked for by the engine only if it was woken: nothing else moves `wanted` on.
            let commits = self.commits.load(Ordering::SeqCst);
            session.wanted += commits - *heard;
            *heard = commits;
        }
        // A little more than asked for, as a whole frame may be.
        let length = (session.wanted - session.at).min(target as u64 + 100) as usize;
        out[..length]
            .iter_mut()
            .zip(session.at..)
            .for_each(|(out, at)| *out = octet(at));
        session.at += length as u64;
        session.outstanding += length;
        if session.ended && session.at == session.wanted {
            session.outcome = Outcome::CloseWhenWritten;
        }
        length
    }

    fn has_output(&self, session: &Session) -> bool {
        session.outcome != Outcome::Abort
            && (session.farewell
                || session.at < session.wanted
                || session
                    .heard
                    .is_some_and(|heard| heard < self.commits.load(Ordering::SeqCst)))
    }

    fn written(&self, session: &mut Session, octets: usize, now: Mono) {
        session.outstanding = session.outstanding.saturating_sub(octets);
        session.progress = now;
    }

    fn deadline(&self, session: &Session) -> Option<Mono> {
        Some(session.progress + self.timeout)
    }

    fn tick(&self, session: &mut Session, now: Mono, unacknowledged: usize) {
        if unacknowledged < session.unacknowledged {
            session.progress = now;
        } else {
            assert!(!self.panics_when_blocked, "a session that panics");
            session.outcome = Outcome::Abort;
        }
        session.unacknowledged = unacknowledged;
    }

    fn outcome(&self, session: &Session) -> Outcome {
        session.outcome
    }

    fn terminate(&self, session: &mut Session) {
        session.wanted = session.at;
        session.farewell = true;
        session.outcome = Outcome::CloseWhenWritten;
    }

    fn replaced(&self, session: &mut Session) {
        self.terminate(session);
    }

    fn stream_timeout(&self, session: &Session) -> Option<Duration> {
        session.heard.map(|_| self.timeout)
    }

    fn committed(&self, _: Mono, wake: &mut dyn FnMut(usize)) -> bool {
        let commits = self.commits.load(Ordering::SeqCst);
        let mut subscribers = self.subscribers.borrow_mut();
        let mut behind = subscribers.iter_mut().filter(|(_, seen)| **seen < commits);
        for (key, seen) in behind.by_ref().take(WAKES) {
            *seen = commits;
            wake(*key);
        }
        behind.next().is_some()
    }

    fn answer(&self, _: Mono, batch: &mut dyn FnMut(&mut Answer<'_>)) {
        batch(&mut |_, from, request, out| {
            out[..request.len()].copy_from_slice(request);
            Some((request.len(), from))
        });
    }
}

/// Lets in a number of connections in all.
pub(crate) struct FirstFew(pub AtomicUsize);

impl Gate for FirstFew {
    type Pass = ();

    fn admit(&self, _: Family, _: IpAddr) -> Option<Admission<()>> {
        let left = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .ok()?;
        Some(Admission {
            pass: (),
            id: left as u64,
            replaces: None,
        })
    }

    fn data_timeout(&self) -> Duration {
        Duration::from_secs(300)
    }
}
