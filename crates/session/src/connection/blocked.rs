//! Whether the requestor still takes what is sent to it.
//!
//! Octets that the kernel has taken tell nothing: a dead peer's kernel buffer swallows the first ones all the same. What
//! counts is what the peer has acknowledged, which the engine tells whenever a look is due.

use std::time::Duration;

use crate::Mono;

/// Looks in the time that a connection may be blocked: so it is ended at most a sixteenth late, and what is told of it is at
/// most so old.
const LOOKS: u32 = 16;
/// The most between two looks: the kernel gives up a peer that takes nothing ten seconds after the timeout, and then it would
/// seem that this peer had closed the connection.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// The time between two looks.
fn between_looks(timeout: Duration) -> Duration {
    (timeout / LOOKS).min(LOOK_WITHIN)
}

/// Octets sent, written, and acknowledged.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    sent: u64,
    written: u64,
    watch: Option<Watch>,
}

#[derive(Debug)]
struct Watch {
    acknowledged: u64,
    /// The last look that found progress.
    since: Mono,
    look: Mono,
    /// The last look found none.
    stalled: bool,
}

impl Outgoing {
    /// Octets handed out to be written.
    pub(super) fn send(&mut self, octets: usize, now: Mono, timeout: Duration) {
        if octets == 0 {
            return;
        }
        // Without a watch the last look found everything acknowledged.
        let acknowledged = self.sent;
        self.sent += octets as u64;
        self.watch.get_or_insert(Watch {
            acknowledged,
            since: now,
            look: now + between_looks(timeout),
            stalled: false,
        });
    }

    /// Octets that the kernel took.
    pub(super) fn written(&mut self, octets: usize) {
        self.written = self.sent.min(self.written + octets as u64);
    }

    /// Whether the kernel has taken everything.
    pub(super) fn is_written(&self) -> bool {
        self.written == self.sent
    }

    /// When to look next.
    pub(super) fn look_at(&self) -> Option<Mono> {
        self.watch.as_ref().map(|watch| watch.look)
    }

    /// Since when nothing was acknowledged, if that is so since the look before the last one at least: the look that last found
    /// something, up to one interval after it was acknowledged.
    pub(super) fn stalled_since(&self) -> Option<Mono> {
        let stalled = self.watch.as_ref().filter(|watch| watch.stalled);
        stalled.map(|watch| watch.since)
    }

    /// Looks, if it is time. `unacknowledged`: octets in the kernel that the peer has not acknowledged. Returns whether
    /// octets are outstanding and none was acknowledged for the whole timeout.
    pub(super) fn is_blocked(
        &mut self,
        now: Mono,
        unacknowledged: usize,
        timeout: Duration,
    ) -> bool {
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.look <= now) else {
            return false;
        };
        let acknowledged = self.written.saturating_sub(unacknowledged as u64);
        if acknowledged == self.sent {
            self.watch = None;
            return false;
        }
        watch.stalled = acknowledged <= watch.acknowledged;
        if !watch.stalled {
            watch.acknowledged = acknowledged;
            watch.since = now;
        } else if now - watch.since >= timeout {
            return true;
        }
        watch.look = (now + between_looks(timeout))
            .min(watch.since + timeout)
            .max(now + Duration::from_millis(1));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(300);

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1_000)
    }

    /// Looks whenever one is due until `end`; the second at which it was found blocked.
    fn blocked_at(
        outgoing: &mut Outgoing,
        end: u64,
        unacknowledged: impl Fn(u64) -> usize,
    ) -> Option<u64> {
        while let Some(look) = outgoing.look_at().filter(|look| *look <= at(end)) {
            let second = look.as_millis() / 1_000;
            if outgoing.is_blocked(look, unacknowledged(second), TIMEOUT) {
                return Some(second);
            }
        }
        None
    }

    #[test]
    fn nothing_acknowledged_for_the_timeout_is_blocked_even_if_the_kernel_took_it() {
        let mut outgoing = Outgoing::default();
        outgoing.send(1_000, at(0), TIMEOUT);
        outgoing.written(1_000);
        assert_eq!(outgoing.stalled_since(), None);
        assert_eq!(blocked_at(&mut outgoing, 1_000, |_| 1_000), Some(300));
        assert_eq!(outgoing.stalled_since(), Some(at(0)));
    }

    #[test]
    fn a_slow_peer_is_not_blocked() {
        let mut outgoing = Outgoing::default();
        outgoing.send(1_000, at(0), TIMEOUT);
        outgoing.written(1_000);
        assert_eq!(
            blocked_at(&mut outgoing, 6_000, |second| 1_000 - second as usize / 10),
            None
        );
        assert_eq!(outgoing.stalled_since(), None);
        assert_eq!(blocked_at(&mut outgoing, 100_000, |_| 0), None);
        assert!(outgoing.look_at().is_none(), "nothing is outstanding");
    }

    #[test]
    fn a_peer_that_stops_is_found_before_the_kernel_gives_it_up() {
        let mut outgoing = Outgoing::default();
        outgoing.send(1_000, at(0), TIMEOUT);
        outgoing.written(600);
        let found = blocked_at(&mut outgoing, 10_000, |second| {
            if second < 160 {
                600 - second as usize
            } else {
                440
            }
        });
        assert!(
            found.is_some_and(|second| (460..=465).contains(&second)),
            "{found:?}"
        );
    }
}
