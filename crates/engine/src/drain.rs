//! Draining: the connections are ended one after another over a time, so that their requestors do not all come back, to
//! this server or to another one, at once.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use leaseq_session::Mono;

/// The golden ratio's part of 2^64: multiples of it fall evenly, whichever run of them is taken.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// When each connection of a drain is told to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    begun: Mono,
    over: Duration,
    /// Where the first of them falls: another place in each drain, so that servers drained together do not act in step.
    seed: u64,
}

/// When one connection of a drain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// From now on, as soon as it is not answering a query that has an end.
    pub at: Mono,
    /// Now, whatever it is doing.
    pub by: Mono,
}

impl Turn {
    /// When to look at the connection again.
    pub fn next(&self, now: Mono) -> Mono {
        if now < self.at { self.at } else { self.by }
    }
}

impl Spread {
    /// Over so much time from `begun` on.
    pub fn new(begun: Mono, over: Duration, seed: u64) -> Spread {
        Spread { begun, over, seed }
    }

    /// The turn of the connection of this id: somewhere in the time of the drain, far from those of its neighbours.
    pub fn turn(&self, id: u64) -> Turn {
        let fraction = self.seed.wrapping_add(id.wrapping_mul(GOLDEN));
        let over_ms = u64::try_from(self.over.as_millis()).unwrap_or(u64::MAX);
        let wait_ms = (u128::from(over_ms) * u128::from(fraction)) >> 64;
        // Less than what it is a fraction of.
        let wait = Duration::from_millis(wait_ms as u64);
        Turn {
            at: self.begun + wait,
            by: self.begun + self.over,
        }
    }
}

/// A seed that no other drain has.
pub(crate) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Held by each core until it has no connection left.
pub(crate) struct Undrained(
    #[expect(dead_code, reason = "it is dropped, never used")] Sender<Infallible>,
);

/// The end of a drain, to be waited for.
#[derive(Debug)]
pub struct Drained(Receiver<Infallible>);

impl Drained {
    /// The end, and what each of so many cores holds until it has come.
    pub(crate) fn of(cores: usize) -> (Drained, Vec<Undrained>) {
        let (held, drained) = channel();
        let held = (0..cores).map(|_| Undrained(held.clone())).collect();
        (Drained(drained), held)
    }

    /// Waits until no connection is left, or the engine is shut down.
    pub fn wait(&self) {
        // Nothing is ever sent: it ends when the last sender is dropped.
        let _ = self.0.recv();
    }

    /// Waits so, but no longer than `timeout`; whether it has come to that.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        matches!(
            self.0.recv_timeout(timeout),
            Err(RecvTimeoutError::Disconnected)
        )
    }
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainProgress {
    /// Connections that were open when it began.
    pub connections: u32,
    /// Those that are still open.
    pub left: u32,
    /// How long it takes.
    pub over: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_evenly_whatever_the_seed() {
        let begun = Mono::from_millis(5_000);
        let over = Duration::from_secs(60);
        for seed in [0, 1, u64::MAX / 3, 0xdead_beef] {
            let spread = Spread::new(begun, over, seed);
            let mut in_each_second = [0; 60];
            for id in 1_000..4_000 {
                let turn = spread.turn(id);
                assert_eq!(turn, spread.turn(id), "a connection keeps its turn");
                assert_eq!(turn.by, begun + over);
                let after = turn.at.as_millis() - begun.as_millis();
                in_each_second[(after / 1_000) as usize] += 1;
            }
            assert!(
                in_each_second
                    .iter()
                    .all(|&count| (48..=52).contains(&count)),
                "{in_each_second:?}"
            );
        }
    }

    #[test]
    fn another_seed_is_another_order() {
        let order = |seed| {
            let spread = Spread::new(Mono::from_millis(0), Duration::from_secs(60), seed);
            let mut ids: Vec<u64> = (0..50).collect();
            ids.sort_by_key(|&id| spread.turn(id).at);
            ids
        };
        assert_ne!(order(1), order(u64::MAX / 2));
    }

    #[test]
    fn no_time_is_at_once_and_a_very_long_one_does_not_overflow() {
        let begun = Mono::from_millis(7);
        let at_once = Spread::new(begun, Duration::ZERO, 3).turn(9);
        assert_eq!((at_once.at, at_once.by), (begun, begun));
        let long = Spread::new(begun, Duration::from_secs(1 << 40), u64::MAX).turn(0);
        assert!(long.at > begun && long.at < long.by);
    }

    #[test]
    fn it_is_drained_when_every_core_is() {
        let (drained, mut held) = Drained::of(2);
        assert!(!drained.wait_timeout(Duration::ZERO));
        held.pop();
        assert!(!drained.wait_timeout(Duration::ZERO));
        held.pop();
        assert!(drained.wait_timeout(Duration::ZERO));
        drained.wait();
    }
}
