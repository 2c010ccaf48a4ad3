//! Compaction as seen from the thread that writes: when to begin one, what a record's fate is, and moving positions.
//!
//! The copying runs on a thread of its own. What it decided may be out of date when it is installed: a position is moved
//! only if the slot still leads to the old one, and an ended binding is removed only if nothing has happened to it since.
//!
//! An end may be dropped only if no older record of its key is left in the log: the next recovery would take that for the
//! newest. So ends are dropped only from a run of segments before which nothing superseded is left.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::Writer;
use crate::error::CommitError;
use crate::log::compact::{Compacted, Installed, Plan, Verdict};
use crate::log::{CompactError, Pos};
use crate::queue::{Command, Done};
use crate::record::{Record, trusted};
use crate::shared::Shared;
use crate::view::{Reader, View};

/// The log is compacted once this part of it (one in so many octets) is superseded.
const DEAD_PART: u64 = 5;
/// A pass over the whole log begins once this part of it is of ends older than the history.
const ENDED_PART: u64 = 10;
/// Fewer octets of old ends than this are left alone.
const ENDED_MIN: u64 = 1 << 20;
/// Stands for the slot of a record that has none.
const NO_SLOT: u32 = u32::MAX;

/// What the copying thread found out.
struct Decided {
    compacted: Result<Compacted, CompactError>,
    /// Slots of the records that were kept, in order; at least as many as there are moves.
    kept: Vec<u32>,
    /// Slots of the records dropped as ended, in order.
    ended: Vec<u32>,
}

/// Compaction under way.
#[derive(Default)]
pub(super) struct State {
    running: Option<(JoinHandle<()>, Receiver<Decided>)>,
    /// Who asked for a compaction of everything.
    waiting: Vec<Done>,
    sweep: Option<Sweep>,
    /// Octets of ends that may be dropped.
    ended: u64,
}

/// Where a pass over the whole log has come to.
#[derive(Clone, Copy)]
struct Sweep {
    /// Ends up to this sequence may be dropped: every run so far was decided on later, so no older record of their keys is
    /// left before the run that they are in.
    up_to: u64,
    /// Id of the last segment merged so far.
    done_to: u64,
}

impl State {
    /// An end has become older than the history.
    pub(super) fn note_ended(&mut self, octets: u64) {
        self.ended += octets;
    }
}

impl Writer {
    /// Begins a compaction if enough of the log is of no use and none is under way.
    pub(super) fn maybe_compact(&mut self) {
        if self.compaction.running.is_some() || self.log.read_only().is_some() {
            return;
        }
        let stats = self.log.stats();
        if self.compaction.ended > ENDED_MIN.max(stats.used / ENDED_PART) {
            self.begin_sweep();
        } else if stats.dead > stats.used / DEAD_PART
            && let Some(plan) = Plan::choose(&mut self.log)
        {
            let up_to = if plan.is_oldest() { u64::MAX } else { 0 };
            self.start_compaction(plan, up_to);
        }
    }

    /// Compacts every sealed segment, from the oldest on; `done` is told when that is over.
    pub(super) fn compact_all(&mut self, done: Done) {
        if let Some(reason) = self.log.read_only() {
            return done(Err(CommitError::ReadOnly {
                reason: reason.to_owned(),
            }));
        }
        self.compaction.waiting.push(done);
        if self.compaction.sweep.is_none() && self.compaction.running.is_none() {
            self.begin_sweep();
        }
    }

    fn begin_sweep(&mut self) {
        self.compaction.ended = 0;
        let up_to = self.shared.published.load().sequence;
        self.compaction.sweep = Some(Sweep { up_to, done_to: 0 });
        self.go_on_sweeping(Ok(()));
    }

    /// Starts the next run of the pass; at its end, tells those who wait.
    fn go_on_sweeping(&mut self, so_far: Result<(), CommitError>) {
        if let Some(sweep) = self.compaction.sweep
            && so_far.is_ok()
            && let Some(plan) = Plan::next_run(&mut self.log, sweep.done_to)
        {
            return self.start_compaction(plan, sweep.up_to);
        }
        self.compaction.sweep = None;
        self.compaction
            .waiting
            .drain(..)
            .for_each(|done| done(so_far.clone()));
    }

    fn start_compaction(&mut self, plan: Plan, ends_up_to: u64) {
        let (send, receive) = sync_channel(1);
        let shared = Arc::clone(&self.shared);
        let control = Arc::clone(&self.control);
        let history = self.indexes.history;
        let spawned = std::thread::Builder::new()
            .name("leaseq-compact".to_owned())
            .spawn(move || {
                let _ = send.send(decide(plan, shared, history, ends_up_to));
                let _ = control.queue.put(Command::Compacted, false);
            });
        match spawned {
            Ok(thread) => self.compaction.running = Some((thread, receive)),
            Err(error) => {
                tracing::error!(id = "compaction-thread", %error, "the log is not compacted");
                self.go_on_sweeping(Err(CommitError::Append {
                    reason: error.to_string(),
                }));
            }
        }
    }

    /// Takes over what the copying thread has done, and goes on.
    pub(super) fn compacted(&mut self) {
        let result = self.take_over();
        if self.compaction.sweep.is_none() && !self.compaction.waiting.is_empty() {
            return self.begin_sweep();
        }
        if self.compaction.sweep.is_some() {
            self.go_on_sweeping(result);
        }
        self.maybe_compact();
    }

    /// Waits for a compaction under way: what is merged must be installed before positions are saved. Whether it was.
    pub(super) fn end_compaction(&mut self) -> bool {
        let ended = self.take_over().is_ok();
        self.compaction.sweep = None;
        self.compaction
            .waiting
            .drain(..)
            .for_each(|done| done(Err(CommitError::Stopped)));
        ended
    }

    fn take_over(&mut self) -> Result<(), CommitError> {
        let Some((thread, receive)) = self.compaction.running.take() else {
            return Ok(());
        };
        let decided = receive.recv();
        let _ = thread.join();
        let Ok(decided) = decided else {
            return Err(CommitError::Append {
                reason: "the compaction was broken off".to_owned(),
            });
        };
        let installed = decided
            .compacted
            .and_then(|compacted| self.log.install(compacted));
        match installed {
            Ok(installed) => {
                self.view = self.log.view();
                self.move_positions(&installed, &decided.kept, &decided.ended);
                let reclaimed = installed.reclaimed;
                if let Some(sweep) = &mut self.compaction.sweep {
                    sweep.done_to = installed.covers_to;
                }
                self.log.remove_sources(installed);
                self.view = self.log.view();
                self.indexes.reclaim();
                self.refresh_counts();
                tracing::info!(id = "compacted", reclaimed, "segments were merged");
                Ok(())
            }
            Err(error) => {
                tracing::error!(id = "compaction-failed", %error, "the log is as it was");
                Err(CommitError::Append {
                    reason: error.to_string(),
                })
            }
        }
    }

    fn move_positions(&mut self, installed: &Installed, kept: &[u32], ended: &[u32]) {
        let view = self.view.clone();
        for (&(old, new), &slot) in installed.moves.iter().zip(kept) {
            if slot == NO_SLOT {
                if !self.feeds.moved(old, new)
                    && let Some(octets) = view.record(new)
                    && matches!(trusted(octets), Some(Record::Feed(_)))
                {
                    // Replaced while it was being copied.
                    view.dead(new, octets.len());
                }
            } else if self.indexes.slots.pos(slot) == old.raw() {
                self.indexes.slots.set_pos(slot, new.raw());
            } else if let Some(octets) = view.record(new) {
                // Superseded while it was being copied.
                view.dead(new, octets.len());
            }
        }
        for (&old, &slot) in installed.ended.iter().zip(ended) {
            if slot == NO_SLOT || self.indexes.slots.pos(slot) != old.raw() {
                continue;
            }
            match view.record(old).and_then(trusted) {
                Some(Record::Bind4(bind)) => self.indexes.drop4(&view, slot, &bind),
                Some(Record::Bind6(lease)) => self.indexes.drop6(&view, slot, &lease),
                _ => {}
            }
        }
    }
}

/// Copies what is still needed; runs on a thread of its own.
fn decide(plan: Plan, shared: Arc<Shared>, history: u32, ends_up_to: u64) -> Decided {
    let reader = Reader { shared };
    let view = reader.view();
    let now = view.now().seconds();
    let (mut kept, mut ended) = (Vec::new(), Vec::new());
    let is_old = |since: u32| u64::from(since) + u64::from(history) < u64::from(now);
    let compacted = plan.run(|pos, octets| {
        let Some(record) = trusted(octets) else {
            kept.push(NO_SLOT);
            return Verdict::Keep;
        };
        let committed = record.stamp().seconds();
        let (slot, end) = match record {
            Record::Bind4(bind) => {
                let end = bind
                    .state()
                    .is_end()
                    .then(|| bind.state_since().max(committed));
                (newest(&view, pos, &record), end)
            }
            Record::Bind6(lease) => {
                let end = lease
                    .state()
                    .is_end()
                    .then(|| lease.state_since().max(committed));
                (newest(&view, pos, &record), end)
            }
            Record::Departed4(_) | Record::Departed6(_) if is_old(committed) => {
                ended.push(NO_SLOT);
                return Verdict::Ended;
            }
            Record::Feed(feed) if is_replaced(&view, feed.number(), feed.sequence()) => {
                return Verdict::Superseded;
            }
            _ => (Newest::Unknown, None),
        };
        match slot {
            Newest::Superseded => Verdict::Superseded,
            Newest::Slot(slot) if end.is_some_and(is_old) && record.sequence() <= ends_up_to => {
                ended.push(slot);
                Verdict::Ended
            }
            Newest::Slot(slot) => {
                kept.push(slot);
                Verdict::Keep
            }
            Newest::Unknown => {
                kept.push(NO_SLOT);
                Verdict::Keep
            }
        }
    });
    Decided {
        compacted,
        kept,
        ended,
    }
}

/// What the indexes say of a record.
enum Newest {
    /// It is the newest of the binding in this slot.
    Slot(u32),
    /// A later one has taken its place.
    Superseded,
    /// They do not know its key.
    Unknown,
}

fn newest(view: &View, pos: Pos, record: &Record<'_>) -> Newest {
    let slot = match record {
        Record::Bind4(bind) => view.slot4(bind.vpn(), bind.address()),
        Record::Bind6(lease) => view.slot6(lease.vpn(), lease.address(), lease.prefix_len()),
        _ => None,
    };
    match slot {
        Some(slot) if view.shared().slots.pos(slot) == pos.raw() => Newest::Slot(slot),
        Some(_) => Newest::Superseded,
        None => Newest::Unknown,
    }
}

fn is_replaced(view: &View, number: u16, sequence: u64) -> bool {
    let feeds = view.shared().feeds.load();
    feeds
        .get(usize::from(number) - 1)
        .is_some_and(|state| sequence < state.sequence)
}
