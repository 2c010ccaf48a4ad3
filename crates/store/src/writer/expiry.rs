//! Expiry as an event: a lease that ran out is appended to the log as EXPIRED since its end, so that queries, streams and
//! history agree.
//!
//! A lease of a live feed waits until the feed has been read to later than its end and the grace: it may have been renewed
//! without our knowing yet. Everything waits while no feed has confirmed a time that jumped forward across a restart.

use std::sync::atomic::Ordering::Relaxed;

use super::Writer;
use super::batch::Context;
use crate::error::CommitError;
use crate::event::{FeedEvent, State};
use crate::record::Record;
use crate::time::Stamp;

/// Slots taken from the queue at once.
const SLICE: usize = 4_096;
/// A feed counts as stale if it lags this many seconds behind what it should have confirmed.
const STALE_AFTER: u32 = 10;
/// A feed confirms the time if it has been read up to this many milliseconds before it, or later.
const CONFIRMS_MS: u64 = 600_000;

/// What is to be done with a lease that may have run out.
enum Fate {
    Expire,
    /// Look at it again at this time, in Unix seconds.
    Later(u32),
    /// Wait for its feed.
    Hold(u16, u32),
    /// Wait until the time is confirmed.
    HoldAll,
    /// It is none that ends.
    Nothing,
}

impl Writer {
    /// Corrects server time, expires what is due and marks what may be forgotten.
    pub(super) fn tick(&mut self) -> Result<(), CommitError> {
        self.shared.clock.correct();
        if let Some(reason) = self.log.read_only() {
            return Err(CommitError::ReadOnly {
                reason: reason.to_owned(),
            });
        }
        let now = self.shared.clock.now().seconds();
        if !self.shared.time_unconfirmed.load(Relaxed) {
            self.look_again_at_unconfirmed();
        }
        let mut slots = Vec::new();
        let mut failed = Ok(());
        loop {
            slots.clear();
            let more = self.indexes.expiry.due(now, SLICE, &mut slots);
            while slots.len() < SLICE
                && let Some(slot) = self.feeds.release(self.shared.grace.load(Relaxed))
            {
                slots.push(slot);
            }
            if slots.is_empty() && !more {
                break;
            }
            failed = self.expire(&slots, now);
            if failed.is_err() {
                break;
            }
        }
        self.forget_ended(now);
        let (held, stale) = self
            .feeds
            .held(now.saturating_sub(self.shared.grace.load(Relaxed).saturating_add(STALE_AFTER)));
        self.shared.counts.held.store(held, Relaxed);
        if self.shared.counts.feed_stale.swap(stale, Relaxed) != stale && stale {
            tracing::warn!(
                id = "feed-stale",
                held,
                "leases ran out and their feed has not told of it; they stay active"
            );
        }
        self.indexes.reclaim();
        self.maybe_compact();
        failed
    }

    /// What ran out while the time was in doubt is due.
    pub(super) fn look_again_at_unconfirmed(&mut self) {
        for slot in std::mem::take(&mut self.unconfirmed) {
            self.indexes.expiry.schedule(slot, 0);
        }
    }

    /// Expires those of the slots that are over, and puts the others where they are looked at again.
    fn expire(&mut self, slots: &[u32], now: u32) -> Result<(), CommitError> {
        for (at, &slot) in slots.iter().enumerate() {
            match self.fate(slot, now) {
                Fate::Expire => {
                    if let Err(error) = self.expire_one(slot) {
                        // Those that were in the batch are looked at again; so are the rest.
                        slots[at..]
                            .iter()
                            .for_each(|&slot| self.indexes.expiry.schedule(slot, now + 1));
                        return Err(error);
                    }
                }
                Fate::Later(at) => self.indexes.expiry.schedule(slot, at),
                Fate::Hold(feed, end) => self.feeds.hold(feed, end, slot),
                Fate::HoldAll => {
                    self.unconfirmed.insert(slot);
                }
                Fate::Nothing => {}
            }
        }
        self.commit()
    }

    fn expire_one(&mut self, slot: u32) -> Result<(), CommitError> {
        for _ in 0..2 {
            self.open_batch();
            let view = self.view.clone();
            let (batch, context) = self.context();
            let stored = context.indexes.stored(&view).record(slot);
            if stored.is_none_or(|record| batch.expire(slot, record, &context)) {
                return Ok(());
            }
            self.commit()?;
            if !matches!(
                self.fate(slot, self.shared.clock.now().seconds()),
                Fate::Expire
            ) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn fate(&mut self, slot: u32, now: u32) -> Fate {
        let view = self.view.clone();
        let (_, context) = self.context();
        let Some((state, end, feed)) = lease(&context, &view, slot) else {
            return Fate::Nothing;
        };
        let Some(end) = end.filter(|_| state == State::Active) else {
            return Fate::Nothing;
        };
        let end_seconds = u32::try_from(end).unwrap_or(u32::MAX);
        if end > u64::from(now) {
            Fate::Later(end_seconds)
        } else if context.is_over(feed, end, now) {
            Fate::Expire
        } else if context.feeds.live(feed).is_some() {
            Fate::Hold(feed, end_seconds)
        } else {
            Fate::HoldAll
        }
    }

    /// Leases of a batch that could not be committed are looked at again.
    pub(super) fn batch_failed(&mut self) {
        let again = self.shared.clock.now().seconds().saturating_add(1);
        let slots: Vec<u32> = self
            .batch
            .entries
            .iter()
            .filter_map(|entry| entry.slot)
            .collect();
        for slot in slots {
            let view = self.view.clone();
            let (_, context) = self.context();
            if let Some((State::Active, Some(end), _)) = lease(&context, &view, slot) {
                let end = u32::try_from(end).unwrap_or(u32::MAX);
                self.indexes.expiry.schedule(slot, end.max(again));
            }
        }
    }

    /// Ends older than the history are dead: compaction may drop them.
    fn forget_ended(&mut self, now: u32) {
        let mut slots = Vec::new();
        loop {
            slots.clear();
            let more = self.indexes.forget.due(now, SLICE, &mut slots);
            for &slot in &slots {
                self.mark_ended(slot, now);
            }
            if !more {
                return;
            }
        }
    }

    fn mark_ended(&mut self, slot: u32, now: u32) {
        let view = self.view.clone();
        let Some(record) = self.indexes.stored(&view).record(slot) else {
            return;
        };
        let (state, since) = match record {
            Record::Bind4(bind) => (bind.state(), bind.state_since()),
            Record::Bind6(lease) => (lease.state(), lease.state_since()),
            _ => return,
        };
        if !state.is_end() {
            return;
        }
        let forgotten =
            u64::from(since.max(record.stamp().seconds())) + u64::from(self.indexes.history);
        if forgotten >= u64::from(now) {
            let at = u32::try_from(forgotten + 1).unwrap_or(u32::MAX);
            self.indexes.forget.schedule(slot, at);
            return;
        }
        self.compaction.note_ended(record.octets().len() as u64);
    }

    /// A feed that has been read up to about now confirms that the clock is right.
    pub(super) fn confirm_time(&mut self, event: &FeedEvent) {
        if !self.shared.time_unconfirmed.load(Relaxed) {
            return;
        }
        let now = self.shared.clock.now();
        let since = now.minus_millis(CONFIRMS_MS);
        if event.live
            && event.read_up_to >= since
            && event.read_up_to <= now.plus_millis(CONFIRMS_MS)
        {
            self.shared.time_unconfirmed.store(false, Relaxed);
            tracing::info!(
                id = "time-confirmed",
                feed = event.name,
                "a feed confirms the time; leases expire again"
            );
        }
    }
}

fn lease(
    context: &Context<'_>,
    log: &crate::log::Segments,
    slot: u32,
) -> Option<(State, Option<u64>, u16)> {
    match context.indexes.stored(log).record(slot)? {
        Record::Bind4(bind) => Some((bind.state(), bind.end(), bind.feed())),
        Record::Bind6(lease) => Some((lease.state(), lease.end(), lease.feed())),
        _ => None,
    }
}

/// Whether the time has to be confirmed by a feed: it lies more than ten minutes after the last stamp in the log.
pub(crate) fn jumped(last: Stamp, now: Stamp) -> bool {
    last > Stamp::ZERO && now.millis().saturating_sub(last.millis()) > CONFIRMS_MS
}
