//! Epochs of walks: when may a freed slot be given out again?
//!
//! A walk carries ids from one turn to the next. If a slot that it has still to visit were freed and given to another
//! address, which the walk may have sent already under its old slot, that address would be sent twice. So a freed slot
//! waits until every walk that had begun by then is over. Walks are counted by the epoch they began in, in a ring of
//! counters: beginning and ending is one addition each, and nothing is allocated. The writer closes an epoch per batch
//! as long as the ring has room; while a walk lives for minutes, the ring fills and epochs only become longer.

use std::sync::Arc;

use super::sync::{AtomicU32, AtomicU64, Ordering, fence};

const RING: u64 = if cfg!(loom) { 4 } else { 256 };

struct Ring {
    epoch: AtomicU64,
    /// Walks of epoch `e` are counted at `e % RING`.
    running: Box<[AtomicU32]>,
}

impl Ring {
    fn at(&self, epoch: u64) -> &AtomicU32 {
        &self.running[(epoch % RING) as usize]
    }
}

/// Where walks begin. Clones count together.
#[derive(Clone)]
pub struct Walks {
    ring: Arc<Ring>,
}

impl Walks {
    /// Begins a walk; it ends when the guard is dropped. The indexes must be read after this returned.
    pub fn begin(&self) -> WalkGuard {
        // Repeated only when the writer closed an epoch in between, once per batch.
        loop {
            let epoch = self.ring.epoch.load(Ordering::Acquire);
            self.ring.at(epoch).fetch_add(1, Ordering::Relaxed);
            // Either the writer, having stored the next epoch before its own fence, is seen here to have done so, or it
            // sees this walk's count after that fence. So an epoch once seen closed and empty stays empty: whoever
            // comes too late takes its count back. (Until then a later epoch with the same counter just seems busy.)
            fence(Ordering::SeqCst);
            if self.ring.epoch.load(Ordering::Acquire) == epoch {
                return WalkGuard {
                    ring: Arc::clone(&self.ring),
                    epoch,
                };
            }
            self.ring.at(epoch).fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Walks that have begun and not ended.
    #[cfg(test)]
    pub fn running(&self) -> u64 {
        self.ring
            .running
            .iter()
            .map(|count| u64::from(count.load(Ordering::Relaxed)))
            .sum()
    }
}

/// A walk that has begun; dropping it ends the walk.
#[must_use]
pub struct WalkGuard {
    ring: Arc<Ring>,
    epoch: u64,
}

impl Drop for WalkGuard {
    fn drop(&mut self) {
        // Release: what the walk read happens before the reuse by a writer that sees it gone.
        self.ring.at(self.epoch).fetch_sub(1, Ordering::Release);
    }
}

/// The writer's side of [`Walks`].
pub struct WalksWriter {
    walks: Walks,
    epoch: u64,
    /// Every walk of an epoch below it is over.
    oldest: u64,
}

/// What is over, as of one call of [`WalksWriter::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// The epoch in which everything freed before the call was freed.
    freed_in: u64,
    /// Every walk of an epoch below it is over.
    ended_below: u64,
}

impl WalksWriter {
    /// No walk has begun.
    #[must_use]
    pub fn new() -> WalksWriter {
        let running = (0..RING).map(|_| AtomicU32::new(0)).collect();
        WalksWriter {
            walks: Walks {
                ring: Arc::new(Ring {
                    epoch: AtomicU64::new(0),
                    running,
                }),
            },
            epoch: 0,
            oldest: 0,
        }
    }

    /// The readers' side.
    #[must_use]
    pub fn shared(&self) -> Walks {
        self.walks.clone()
    }

    /// Closes the current epoch, if the ring has room, and finds what is over. To be called once per batch that freed
    /// something (or while something freed waits), before the writer hands the result to each `reclaim`.
    pub fn advance(&mut self) -> Horizon {
        let ring = &self.walks.ring;
        let freed_in = self.epoch;
        if self.epoch + 1 - self.oldest < RING {
            self.epoch += 1;
            // Release: a walk of the new epoch sees everything that was done to the indexes before.
            ring.epoch.store(self.epoch, Ordering::Release);
            fence(Ordering::SeqCst);
        }
        while self.oldest < self.epoch && ring.at(self.oldest).load(Ordering::Acquire) == 0 {
            self.oldest += 1;
        }
        Horizon {
            freed_in,
            ended_below: self.oldest,
        }
    }
}

/// Freed numbers on their way to reuse. Writer only.
#[derive(Default)]
pub(super) struct Retired {
    fresh: Vec<u32>,
    waiting: std::collections::VecDeque<(u64, Vec<u32>)>,
    ready: Vec<u32>,
}

impl Retired {
    pub(super) fn with_ready(ready: Vec<u32>) -> Retired {
        Retired {
            ready,
            ..Retired::default()
        }
    }

    pub(super) fn push(&mut self, number: u32) {
        self.fresh.push(number);
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        self.ready.pop()
    }

    pub(super) fn reclaim(&mut self, horizon: Horizon) {
        if !self.fresh.is_empty() {
            match self.waiting.back_mut() {
                Some((epoch, numbers)) if *epoch == horizon.freed_in => {
                    numbers.append(&mut self.fresh)
                }
                _ => self
                    .waiting
                    .push_back((horizon.freed_in, std::mem::take(&mut self.fresh))),
            }
        }
        while let Some((_, mut numbers)) = self
            .waiting
            .pop_front_if(|(epoch, _)| *epoch < horizon.ended_below)
        {
            self.ready.append(&mut numbers);
        }
    }

    /// Numbers not in use, waiting ones included.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let waiting = self.waiting.iter().flat_map(|(_, numbers)| numbers);
        self.ready.iter().chain(waiting).chain(&self.fresh).copied()
    }

    pub(super) fn is_waiting(&self) -> bool {
        !(self.fresh.is_empty() && self.waiting.is_empty())
    }

    pub(super) fn memory(&self) -> usize {
        let waiting: usize = self
            .waiting
            .iter()
            .map(|(_, numbers)| numbers.capacity() * 4 + 32)
            .sum();
        (self.fresh.capacity() + self.ready.capacity()) * 4 + waiting
    }
}
