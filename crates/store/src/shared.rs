//! What readers share with the thread that writes: the readers' side of each index, the log's segments, what is published.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::event::State;
use crate::hooks::Hooks;
use crate::index::{Hasher, KeyIndex, Postings, SlotTable, Walks};
use crate::log::{Identity, Segments};
use crate::meter::CommitMeters;
use crate::places::Places;
use crate::record::Record;
use crate::stats::{FamilyStats, FeedState, Stats};
use crate::time::{ServerClock, Stamp};
use crate::view::Published;
use crate::vpn::{Vpn, VpnRef};

/// No batch is open.
const NO_BATCH: u64 = u64::MAX;

/// The readers' side of the store.
pub(crate) struct Shared {
    pub(crate) clock: ServerClock,
    pub(crate) identity: Identity,
    pub(crate) created: Stamp,
    /// Seconds that a lease of a live feed is given after its end.
    pub(crate) grace: AtomicU32,
    pub(crate) segments: Arc<ArcSwap<Segments>>,
    pub(crate) hasher: Hasher,
    pub(crate) slots: Arc<SlotTable>,
    pub(crate) keys: Arc<KeyIndex>,
    /// Made anew when ranges or links are configured otherwise.
    pub(crate) places: ArcSwap<Places>,
    pub(crate) hwaddr: Arc<Postings>,
    pub(crate) client_id: Arc<Postings>,
    pub(crate) remote_id4: Arc<Postings>,
    pub(crate) relay_id4: Arc<Postings>,
    pub(crate) walks: Walks,
    /// Which lengths delegated prefixes have, a bit for each.
    pub(crate) prefix_lengths: Arc<PrefixLengths>,
    pub(crate) vpns: ArcSwap<Vec<Vpn>>,
    pub(crate) published: ArcSwap<Published>,
    open_batch: AtomicU64,
    /// What is called after each commit.
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) feeds: ArcSwap<Vec<FeedState>>,
    /// Expiry waits for a feed to confirm the time: the clock jumped forward across a restart.
    pub(crate) time_unconfirmed: AtomicBool,
}

/// Numbers for [`Stats`], kept by the thread that writes.
#[derive(Default)]
pub(crate) struct Counts {
    states4: [AtomicU64; 8],
    states6: [AtomicU64; 8],
    pub(crate) clients4: AtomicU64,
    pub(crate) log_octets: AtomicU64,
    pub(crate) dead_octets: AtomicU64,
    pub(crate) dead_records: AtomicU64,
    pub(crate) segments: AtomicU64,
    pub(crate) recovery_ms: AtomicU64,
    pub(crate) from_checkpoint: AtomicBool,
    pub(crate) held: AtomicU64,
    pub(crate) feed_stale: AtomicBool,
    pub(crate) batches: AtomicU64,
    pub(crate) failed_batches: AtomicU64,
    /// Why the last batch could not be committed.
    pub(crate) fault: ArcSwapOption<String>,
    pub(crate) commits: CommitMeters,
    pub(crate) events: AtomicU64,
    pub(crate) unchanged: AtomicU64,
    pub(crate) outdated: AtomicU64,
    pub(crate) slots_octets: AtomicU64,
    /// Octets of what only the thread that writes has: expiry, links.
    pub(crate) writer_octets: AtomicU64,
}

impl Counts {
    /// Bindings by state, first of IPv4, then of IPv6, and clients of IPv4; for the checkpoint.
    pub(crate) fn states(&self) -> impl Iterator<Item = u64> + '_ {
        self.all().map(|count| count.load(Ordering::Relaxed))
    }

    fn all(&self) -> impl Iterator<Item = &AtomicU64> {
        self.states4
            .iter()
            .chain(&self.states6)
            .chain([&self.clients4])
    }

    /// Sets what [`Counts::states`] gave in this place.
    pub(crate) fn set_state(&self, at: usize, count: u64) {
        if let Some(state) = self.all().nth(at) {
            state.store(count, Ordering::Relaxed);
        }
    }

    /// Counts a binding that went from one state to another; `None`: it was or is not there.
    pub(crate) fn moved(&self, v6: bool, from: Option<State>, to: Option<State>) {
        let states = if v6 { &self.states6 } else { &self.states4 };
        if from == to {
            return;
        }
        if let Some(from) = from {
            states[from as usize - 1].fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(to) = to {
            states[to as usize - 1].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A set of prefix lengths that only grows.
#[derive(Default)]
pub(crate) struct PrefixLengths([AtomicU64; 3]);

impl PrefixLengths {
    /// The set in words, for the checkpoint.
    pub(crate) fn words(&self) -> [u64; 3] {
        std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed))
    }

    /// Sets what [`PrefixLengths::words`] gave in this place.
    pub(crate) fn set_word(&self, at: usize, word: u64) {
        self.0[at].store(word, Ordering::Release);
    }

    pub(crate) fn add(&self, length: u8) {
        let bit = 1 << (length % 64);
        let word = &self.0[usize::from(length / 64)];
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Release);
        }
    }

    /// The lengths in the set, the longest first.
    pub(crate) fn longest_first(&self) -> impl Iterator<Item = u8> + '_ {
        (1..=128u8).rev().filter(|length| {
            self.0[usize::from(length / 64)].load(Ordering::Acquire) & (1 << (length % 64)) != 0
        })
    }
}

impl Shared {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, with the parts of an opened store"
    )]
    pub(crate) fn new(
        clock: ServerClock,
        identity: Identity,
        grace: u32,
        segments: Arc<ArcSwap<Segments>>,
        indexes: &crate::apply::Indexes,
        published: Published,
        vpns: Vec<Vpn>,
        feeds: Vec<FeedState>,
    ) -> Shared {
        Shared {
            clock,
            created: Stamp::from_millis(identity.created),
            identity,
            grace: AtomicU32::new(grace),
            segments,
            hasher: indexes.hasher.clone(),
            slots: indexes.slots.shared(),
            keys: indexes.keys.shared(),
            places: ArcSwap::from_pointee(Places::of(indexes)),
            hwaddr: indexes.hwaddr.shared(),
            client_id: indexes.client_id.shared(),
            remote_id4: indexes.remote_id4.shared(),
            relay_id4: indexes.relay_id4.shared(),
            walks: indexes.walks.shared(),
            prefix_lengths: Arc::clone(&indexes.prefix_lengths),
            vpns: ArcSwap::from_pointee(vpns),
            published: ArcSwap::from_pointee(published),
            open_batch: AtomicU64::new(NO_BATCH),
            hooks: Arc::default(),
            counts: Arc::clone(&indexes.counts),
            feeds: ArcSwap::from_pointee(feeds),
            time_unconfirmed: AtomicBool::new(false),
        }
    }

    /// Opens a batch and gives its stamp, which is not below `last`. Whoever reads the time from now on, and the open batch
    /// after it, is told of this batch: a lower bound of the stamp is stored before the time is read.
    pub(crate) fn open_batch(&self, last: Stamp) -> Stamp {
        self.open_batch.store(last.millis(), Ordering::SeqCst);
        let stamp = self.clock.now().max(last);
        self.open_batch.store(stamp.millis(), Ordering::SeqCst);
        stamp
    }

    /// The batch is published, or failed.
    pub(crate) fn close_batch(&self) {
        self.open_batch.store(NO_BATCH, Ordering::SeqCst);
    }

    /// Server time up to which all that was committed is visible.
    pub(crate) fn settled(&self) -> Stamp {
        let now = self.clock.now();
        now.min(Stamp::from_millis(self.open_batch.load(Ordering::SeqCst)))
    }

    /// The grace of a record: only a lease that a feed or an unconfirmed time holds has one.
    #[inline]
    pub(crate) fn grace_of(&self, feed: u16) -> u32 {
        if feed != 0 || self.time_unconfirmed.load(Ordering::Relaxed) {
            self.grace.load(Ordering::Relaxed)
        } else {
            0
        }
    }

    /// The same record with the grace that it has.
    pub(crate) fn graced<'v>(&self, record: Record<'v>) -> Record<'v> {
        match record {
            Record::Bind4(bind) => Record::Bind4(bind.with_grace(self.grace_of(bind.feed()))),
            Record::Bind6(bind) => Record::Bind6(bind.with_grace(self.grace_of(bind.feed()))),
            other => other,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let family = |states: &[AtomicU64; 8], clients| FamilyStats {
            clients,
            by_state: std::array::from_fn(|at| states[at].load(Ordering::Relaxed)),
        };
        let counts = &self.counts;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let published = **self.published.load();
        Stats {
            v4: family(&counts.states4, load(&counts.clients4)),
            v6: family(&counts.states6, u64::from(self.places.load().groups.len())),
            indexes: self.index_octets(),
            log_octets: load(&counts.log_octets),
            dead_octets: load(&counts.dead_octets),
            dead_records: load(&counts.dead_records),
            segments: load(&counts.segments),
            sequence: published.sequence,
            stamp: published.stamp,
            recovery_ms: load(&counts.recovery_ms),
            from_checkpoint: counts.from_checkpoint.load(Ordering::Relaxed),
            dropped_until: Stamp::from_millis(self.segments.load().dropped_until()),
            held: load(&counts.held),
            feed_stale: counts.feed_stale.load(Ordering::Relaxed),
            batches: load(&counts.batches),
            failed_batches: load(&counts.failed_batches),
            fault: counts.fault.load().as_deref().cloned(),
            commit_micros: counts.commits.micros.read(),
            batch_records: counts.commits.records.read(),
            clock_steps: self.clock.steps(),
            clock_ahead_ms: self.clock.ahead_ms(),
            events: load(&counts.events),
            unchanged: load(&counts.unchanged),
            outdated: load(&counts.outdated),
        }
    }

    fn index_octets(&self) -> Vec<(&'static str, u64)> {
        let places = self.places.load();
        [
            (
                "slots",
                self.counts.slots_octets.load(Ordering::Relaxed) as usize,
            ),
            ("keys", self.keys.memory()),
            ("ranges", places.ranges.memory()),
            ("outside-ranges", places.outside.memory()),
            ("hwaddr", self.hwaddr.memory()),
            ("client-id", self.client_id.memory()),
            ("remote-id4", self.remote_id4.memory()),
            ("relay-id4", self.relay_id4.memory()),
            ("clients6", places.groups.memory()),
            ("duid", places.duid.memory()),
            ("remote-id6", places.remote_id6.memory()),
            ("relay-id6", places.relay_id6.memory()),
            (
                "expiry-and-links",
                self.counts.writer_octets.load(Ordering::Relaxed) as usize,
            ),
        ]
        .map(|(name, octets)| (name, octets as u64))
        .to_vec()
    }
}

/// The number that the ranges know a VPN by.
#[inline]
pub(crate) fn range_vpn(vpns: &[Vpn], vpn: VpnRef<'_>) -> Option<u32> {
    vpns.iter()
        .position(|known| vpn == *known)
        .map(|at| at as u32)
}
