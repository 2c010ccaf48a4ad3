//! Catching up together: one reading of the log for all narrowed streams that have far to go.
//!
//! A stream that is narrowed to few bindings would read a log of millions to find them, and thousands of streams do so at once
//! when a site comes back. So a stream that has read a while by itself and is not at the tail joins the sweep, which reads the log
//! once for all of them and finds whom a record concerns as the tail does. A sweep begins where the first of those begins
//! that wait for it; who comes later joins it if it has not passed the place yet, and waits for the next one otherwise. So
//! whoever waits is served after one sweep at most, however many they are.

use leaseq_store::{LogCursor, ScanFrom, Stamp};

use super::index::{Index, Key};
use super::tail::family;
use super::{FEW_SCOPES, Inner, MAX_PENDING, Pending, Place};
use crate::connection::Turn;

/// Records that a sweep looks at in one call: less than the tail, which goes before.
const RECORDS: usize = 4_096;

/// Calls that a sweep waits for a stream that has as much as it may hold: those that send quickly have taken it by then.
/// In calls, not in time: each is a turn in which everybody else is served, and many streams that stand still cost little.
const PATIENCE: u32 = 16;

/// The sweep of a core.
pub(super) struct Sweep {
    index: Index,
    /// Where it reads; none while there is nobody to read for.
    cursor: Option<LogCursor>,
    /// Every record that was committed before has been looked at in this sweep.
    read: Stamp,
    /// What compaction had dropped when the sweep looked last.
    dropped: Stamp,
    /// Streams that it reads for.
    running: Vec<usize>,
    /// Streams that wait for the next one.
    waiting: Vec<usize>,
    /// Streams that were given as much as they may hold in the last call.
    full: Vec<usize>,
    /// Calls in which they may still take some of it before the sweep goes on.
    patience: u32,
}

/// A stream that catches up with others.
pub(super) struct Swept {
    pub(super) key: Key,
    /// Records committed before this time are not to be told.
    since: Stamp,
    /// Records before this sequence have been told.
    pub(super) from: u64,
    /// What waits to be told, oldest first.
    pub(super) pending: Vec<Pending>,
    pub(super) stage: Stage,
}

/// How far the sweep is for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits for the next sweep.
    Waiting,
    /// The sweep reads for it.
    Running,
    /// Records before this sequence have all been found, and none committed before this time is missing.
    Done(u64, Stamp),
    /// Compaction dropped what the sweep had not read yet.
    Missed,
}

/// What a stream that catches up has to do when nothing waits to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::active) enum Caught {
    /// Wait: it does not catch up with others, or the sweep goes on.
    No,
    /// Go on at this sequence: all before was told, and none committed before this time is missing.
    Up(u64, Stamp),
    /// Something was dropped before it was told.
    Missed,
}

impl Sweep {
    pub(super) fn new(index: Index) -> Sweep {
        Sweep {
            index,
            cursor: None,
            read: Stamp::ZERO,
            dropped: Stamp::ZERO,
            running: Vec::new(),
            waiting: Vec::new(),
            full: Vec::new(),
            patience: 0,
        }
    }

    /// Forgets a stream.
    pub(super) fn leave(&mut self, member: usize, swept: &Swept) {
        match swept.stage {
            Stage::Waiting => self.waiting.retain(|other| *other != member),
            Stage::Running => {
                self.running.retain(|other| *other != member);
                self.index.remove(swept.key, member);
            }
            Stage::Done(..) | Stage::Missed => {}
        }
        if self.running.is_empty() {
            self.cursor = None;
        }
    }

    fn has_passed(&self, since: Stamp) -> bool {
        self.cursor.is_none() || self.read >= since
    }
}

impl Swept {
    /// The lowest sequence of a record that the stream may have to be told, and a time before which there is none.
    pub(super) fn next(&self, sweep: &Sweep) -> (u64, Stamp) {
        if let Some(pending) = self.pending.first() {
            return (pending.sequence, pending.stamp);
        }
        let cursor = sweep
            .cursor
            .as_ref()
            .filter(|_| self.stage == Stage::Running);
        let found = match self.stage {
            Stage::Done(next, _) => next,
            _ => cursor.map_or(0, LogCursor::next_sequence),
        };
        (found.max(self.from), self.read(sweep))
    }

    /// A time before which nothing was committed that the stream has not been told, as far as the sweep is.
    pub(super) fn read(&self, sweep: &Sweep) -> Stamp {
        if let Some(pending) = self.pending.first() {
            return pending.stamp;
        }
        match self.stage {
            Stage::Waiting => self.since,
            Stage::Running => sweep.read.max(self.since),
            Stage::Done(_, read) => read,
            Stage::Missed => Stamp::ZERO,
        }
    }
}

impl Inner {
    /// Has a stream that reads by itself catch up with others: what was committed at `since` or later and has this sequence or
    /// a higher one.
    pub(in crate::active) fn catch_up(
        &mut self,
        member: usize,
        scope: crate::active::Scope<'_>,
        since: Stamp,
        from: u64,
    ) {
        self.leave(member);
        let sweep = &mut self.sweep;
        let key = sweep.index.key(scope);
        let stage = if sweep.has_passed(since) {
            sweep.waiting.push(member);
            Stage::Waiting
        } else {
            sweep.index.insert(key, member);
            sweep.running.push(member);
            Stage::Running
        };
        self.members[member].place = Place::Swept(Swept {
            key,
            since,
            from,
            pending: Vec::new(),
            stage,
        });
    }

    /// Whether there is something to sweep for.
    pub(super) fn is_sweeping(&self) -> bool {
        !self.sweep.running.is_empty() || !self.sweep.waiting.is_empty()
    }

    /// What a stream of which nothing waits has to do.
    pub(in crate::active) fn caught(&self, member: usize) -> Caught {
        match &self.members[member].place {
            Place::Swept(swept) => match swept.stage {
                Stage::Missed => Caught::Missed,
                Stage::Done(from, read) if swept.pending.is_empty() => Caught::Up(from, read),
                _ => Caught::No,
            },
            _ => Caught::No,
        }
    }

    /// Reads on for all that catch up, a bounded amount. Gives whether there is more to do.
    pub(super) fn sweep(&mut self, turn: &Turn<'_>, wake: &mut dyn FnMut(usize)) -> bool {
        if !self.is_sweeping() {
            return false;
        }
        self.miss_dropped(turn, wake);
        if self.sweep.patience > 0 && self.is_anybody_full() {
            self.sweep.patience -= 1;
            return true;
        }
        self.sweep.full.clear();
        let Some(mut cursor) = self.sweep.cursor.take().or_else(|| self.begin_sweep()) else {
            return self.is_sweeping();
        };
        let mut left = RECORDS;
        while left > 0 {
            left -= 1;
            let here = cursor.clone();
            let Some(record) = turn.view.next_record(&mut cursor) else {
                self.end_sweep(turn, wake);
                return self.is_sweeping();
            };
            self.sweep.read = record.stamp();
            let Some(family) = family(&record) else {
                continue;
            };
            if !turn.view.is_newest(&record) {
                continue;
            }
            let (sequence, stamp) = (record.sequence(), record.stamp());
            let Inner { sweep, members, .. } = &mut *self;
            let Sweep { index, full, .. } = sweep;
            let scopes = index.find(turn.view, family, &record, &mut |number| {
                let member = &mut members[number];
                let Place::Swept(swept) = &mut member.place else {
                    return;
                };
                let pending = &mut swept.pending;
                let known = pending.last().is_some_and(|last| last.sequence == sequence);
                let before = stamp < swept.since || sequence < swept.from;
                if known || before || pending.len() >= MAX_PENDING {
                    return;
                }
                if pending.is_empty() {
                    wake(member.key);
                }
                if pending.capacity() == 0 {
                    pending.reserve_exact(MAX_PENDING);
                }
                pending.push(Pending {
                    cursor: here.clone(),
                    sequence,
                    stamp,
                });
                if pending.len() == MAX_PENDING - 1 {
                    full.push(number);
                }
            });
            left = left.saturating_sub(scopes / FEW_SCOPES);
            if !self.sweep.full.is_empty() {
                self.sweep.patience = PATIENCE;
                break;
            }
        }
        self.sweep.cursor = Some(cursor);
        true
    }

    /// Whether a stream that was given as much as it may hold has taken nothing yet.
    fn is_anybody_full(&self) -> bool {
        self.sweep.full.iter().any(|&member| {
            let place = self.members.get(member).map(|member| &member.place);
            matches!(place, Some(Place::Swept(swept)) if swept.pending.len() >= MAX_PENDING - 1)
        })
    }

    /// Begins a sweep for those that wait.
    fn begin_sweep(&mut self) -> Option<LogCursor> {
        let Inner { sweep, members, .. } = self;
        sweep.running = std::mem::take(&mut sweep.waiting);
        let mut first: Option<Stamp> = None;
        for &member in &sweep.running {
            let Place::Swept(swept) = &mut members[member].place else {
                continue;
            };
            swept.stage = Stage::Running;
            sweep.index.insert(swept.key, member);
            first = Some(first.map_or(swept.since, |first| first.min(swept.since)));
        }
        sweep.read = first?;
        Some(LogCursor::new(ScanFrom::Stamp(sweep.read)))
    }

    /// The sweep has read everything that is visible.
    fn end_sweep(&mut self, turn: &Turn<'_>, wake: &mut dyn FnMut(usize)) {
        let next = turn.view.published().sequence.saturating_add(1);
        self.finish(
            |swept| (swept.stage == Stage::Running).then_some(Stage::Done(next, turn.server_time)),
            wake,
        );
    }

    /// Those that had not been told what compaction has dropped since the last call miss it.
    fn miss_dropped(&mut self, turn: &Turn<'_>, wake: &mut dyn FnMut(usize)) {
        let dropped = turn.view.dropped_until();
        if dropped <= self.sweep.dropped {
            return;
        }
        self.sweep.dropped = dropped;
        let read = self.sweep.read;
        self.finish(
            |swept| {
                let come = match swept.stage {
                    Stage::Running => read.max(swept.since),
                    _ => swept.since,
                };
                (come <= dropped).then_some(Stage::Missed)
            },
            wake,
        );
    }

    /// Takes those out of the sweep for which `stage` gives how it ends.
    fn finish(&mut self, stage: impl Fn(&Swept) -> Option<Stage>, wake: &mut dyn FnMut(usize)) {
        let Inner { sweep, members, .. } = self;
        let Sweep {
            index,
            running,
            waiting,
            ..
        } = sweep;
        for list in [running, waiting] {
            list.retain(|&member| {
                let at = &mut members[member];
                let Place::Swept(swept) = &mut at.place else {
                    return false;
                };
                let Some(stage) = stage(swept) else {
                    return true;
                };
                if swept.stage == Stage::Running {
                    index.remove(swept.key, member);
                }
                swept.stage = stage;
                wake(at.key);
                false
            });
        }
        if sweep.running.is_empty() {
            sweep.cursor = None;
        }
    }
}
