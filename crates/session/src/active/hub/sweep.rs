//! Catching up together: one reading of the log for all narrowed streams that have far to go.
//!
//! A stream that is narrowed to few bindings would read a log of millions to find them, and thousands of streams do so at once
//! when a site comes back. So a stream that has read a while by itself and is not at the tail joins the sweep, which reads the log
//! once for all of them and finds whom a record concerns as the tail does. A sweep begins where the first of those begins
//! that wait for it; who comes later joins it if it has not passed the place yet, and waits for the next one otherwise.
//!
//! The sweep waits for nobody. A stream that has as much as it may hold leaves it, and waits for the next one when it has told
//! that: those that are as slow as each other go on together, and one that takes nothing costs nothing. A sweep reads nothing
//! that lies before the first of its streams or behind where the last of them has left, so it reads less than they would by
//! themselves.

use std::collections::VecDeque;

use leaseq_store::{LogCursor, Record, Stamp};
use slab::Slab;

use super::index::{Index, Key};
use super::tail::family;
use super::{FEW_SCOPES, Inner, MAX_PENDING, Member, Pending, Place};
use crate::connection::Turn;

/// Records that a sweep looks at in one call: less than the tail, which goes before.
const RECORDS: usize = 4_096;
/// Records that are found for a stream before it is woken: what is told together is sent together.
const TOGETHER: u32 = MAX_PENDING as u32 / 2;
/// Calls after which those are woken too for which fewer were found.
const CALLS_TO_WAKE: u32 = 64;

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
    /// A stream has left: perhaps what comes next is for nobody.
    is_thinner: bool,
    /// Calls since all were woken for which something was found.
    calls: u32,
    /// Streams that a record may concern.
    found: Vec<usize>,
}

/// A stream that catches up with others.
pub(super) struct Swept {
    pub(super) key: Key,
    /// Stands where the sweep begins for it, or goes on.
    start: LogCursor,
    /// Every record that was committed before and concerns it has been told, or waits to be.
    since: Stamp,
    /// Records before this sequence have been told.
    pub(super) from: u64,
    /// What waits to be told, oldest first.
    pub(super) pending: VecDeque<Pending>,
    /// Records that were found since it was woken.
    found: u32,
    pub(super) stage: Stage,
    /// Its position in the list of those that wait, or for which the sweep reads.
    position: usize,
}

/// How far the sweep is for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits for the next sweep.
    Waiting,
    /// The sweep reads for it.
    Running,
    /// It has as much as it may hold, and waits for the next sweep when it has told that.
    Full,
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
            is_thinner: false,
            calls: 0,
            found: Vec::new(),
        }
    }

    fn has_passed(&self, start: &LogCursor) -> bool {
        self.cursor
            .as_ref()
            .is_none_or(|cursor| cursor.next_sequence() > start.next_sequence())
    }

    /// Forgets a stream that was in this stage, under this key, at this position.
    pub(super) fn leave(
        &mut self,
        members: &mut Slab<Member>,
        (stage, key, position): (Stage, Key, usize),
    ) {
        let list = match stage {
            Stage::Waiting => &mut self.waiting,
            Stage::Running => &mut self.running,
            Stage::Full | Stage::Done(..) | Stage::Missed => return,
        };
        let member = list.swap_remove(position);
        if let Some(&moved) = list.get(position)
            && let Some(swept) = swept(members, moved)
        {
            swept.position = position;
        }
        if stage == Stage::Running {
            self.index.remove(key, member);
            self.is_thinner = true;
        }
        if self.running.is_empty() {
            self.cursor = None;
        }
    }

    /// Has the sweep read for a stream.
    fn enter(&mut self, number: usize, swept: &mut Swept) {
        swept.stage = Stage::Running;
        swept.position = self.running.len();
        self.running.push(number);
        self.index.insert(swept.key, number);
    }

    /// Has a stream wait for the next sweep.
    fn wait(&mut self, number: usize, swept: &mut Swept) {
        swept.stage = Stage::Waiting;
        swept.position = self.waiting.len();
        self.waiting.push(number);
    }
}

impl Swept {
    /// Stage, key and position: what [`Sweep::leave`] has to know.
    pub(super) fn whereabouts(&self) -> (Stage, Key, usize) {
        (self.stage, self.key, self.position)
    }

    /// The lowest sequence of a record that the stream may have to be told, and a time before which there is none.
    pub(super) fn next(&self, sweep: &Sweep) -> (u64, Stamp) {
        let next = match (self.pending.front(), self.stage) {
            (Some(pending), _) => pending.cursor.next_sequence(),
            (None, Stage::Done(next, _)) => next,
            (None, Stage::Running) => {
                let read = sweep.cursor.as_ref().map_or(0, LogCursor::next_sequence);
                read.max(self.start.next_sequence())
            }
            (None, _) => self.start.next_sequence(),
        };
        (next.max(self.from), self.read(sweep))
    }

    /// A time before which nothing was committed that the stream has not been told, as far as the sweep is.
    pub(super) fn read(&self, sweep: &Sweep) -> Stamp {
        if let Some(pending) = self.pending.front() {
            return pending.stamp;
        }
        match self.stage {
            Stage::Waiting | Stage::Full => self.since,
            Stage::Running => sweep.read.max(self.since),
            Stage::Done(_, read) => read,
            Stage::Missed => Stamp::ZERO,
        }
    }

    /// Takes in a record that may concern the stream; false if it has as much as it may hold.
    fn take_in(&mut self, record: &Record<'_>, here: &LogCursor, looked: u64) -> bool {
        let sequence = record.sequence();
        if sequence < self.from.max(self.start.next_sequence()) {
            return true;
        }
        if !self
            .pending
            .back_mut()
            .is_some_and(|last| last.take_in(sequence, looked))
        {
            if self.pending.len() >= MAX_PENDING {
                return false;
            }
            if self.pending.capacity() == 0 {
                self.pending.reserve_exact(MAX_PENDING);
            }
            self.pending.push_back(Pending::new(record, here, looked));
        }
        self.found += 1;
        true
    }
}

impl Inner {
    /// Has a stream that reads by itself catch up with others: it has come to `start`, has been told what has a lower sequence
    /// than `from`, and no record that was committed before `since` lies behind.
    pub(in crate::active) fn catch_up(
        &mut self,
        member: usize,
        scope: crate::active::Scope<'_>,
        start: LogCursor,
        since: Stamp,
        from: u64,
    ) {
        self.leave(member);
        let sweep = &mut self.sweep;
        let has_passed = sweep.has_passed(&start);
        let mut swept = Swept {
            key: sweep.index.key(scope),
            start,
            since,
            from,
            pending: VecDeque::new(),
            found: 0,
            stage: Stage::Waiting,
            position: 0,
        };
        if has_passed {
            sweep.wait(member, &mut swept);
        } else {
            sweep.enter(member, &mut swept);
        }
        self.members[member].place = Place::Swept(swept);
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

    /// A stream that catches up has told something of what waits. One that had as much as it may hold and has told all of it
    /// waits for the next sweep.
    pub(super) fn told_of_sweep(&mut self, number: usize, last: u64) {
        let Inner { sweep, members, .. } = self;
        let Some(swept) = swept(members, number) else {
            return;
        };
        swept.from = last + 1;
        if swept.pending.is_empty() && swept.stage == Stage::Full {
            if swept.since <= sweep.dropped {
                swept.stage = Stage::Missed;
            } else {
                sweep.wait(number, swept);
            }
        }
    }

    /// Reads on for all that catch up, a bounded amount. Gives whether there is more to do.
    pub(super) fn sweep(&mut self, turn: &Turn<'_>, wake: &mut dyn FnMut(usize)) -> bool {
        if !self.is_sweeping() {
            return false;
        }
        self.miss_dropped(turn, wake);
        self.begin_sweep();
        self.skip_to_first();
        let mut left = RECORDS;
        // Nobody is left to read for when all have as much as they may hold.
        while left > 0
            && let Some(mut cursor) = self.sweep.cursor.take()
        {
            left -= 1;
            let here = cursor.clone();
            let Some(record) = turn.view.next_record(&mut cursor) else {
                self.end_sweep(turn, wake);
                return self.is_sweeping();
            };
            self.looked += 1;
            self.sweep.read = record.stamp();
            self.sweep.cursor = Some(cursor);
            let scopes = self.find_swept(turn, &record, &here, wake);
            left = left.saturating_sub(scopes / FEW_SCOPES);
        }
        self.wake_some(wake);
        self.is_sweeping()
    }

    /// Finds the streams of the sweep that a record may concern. Gives how many scopes were looked for.
    fn find_swept(
        &mut self,
        turn: &Turn<'_>,
        record: &Record<'_>,
        here: &LogCursor,
        wake: &mut dyn FnMut(usize),
    ) -> usize {
        let Inner {
            sweep,
            members,
            looked,
            ..
        } = self;
        let Some(family) = family(record) else {
            return 0;
        };
        let mut found = std::mem::take(&mut sweep.found);
        let scopes = sweep
            .index
            .find(turn.view, family, record, &mut |number| found.push(number));
        // Most records concern nobody; whether one is the newest is dearer to know.
        if !found.is_empty() && turn.view.is_newest(record) {
            for &number in &found {
                let Some(swept) = swept(members, number) else {
                    continue;
                };
                // Some are found more than once.
                if swept.stage != Stage::Running {
                    continue;
                }
                let has_room = swept.take_in(record, here, *looked);
                let whereabouts = swept.whereabouts();
                if !has_room {
                    swept.stage = Stage::Full;
                    swept.start = here.clone();
                    swept.since = record.stamp();
                }
                if !has_room || swept.found >= TOGETHER {
                    swept.found = 0;
                    wake(members[number].key);
                }
                if !has_room {
                    sweep.leave(members, whereabouts);
                }
            }
        }
        found.clear();
        sweep.found = found;
        scopes
    }

    /// Wakes those for which little was found, now and then.
    fn wake_some(&mut self, wake: &mut dyn FnMut(usize)) {
        let Inner { sweep, members, .. } = self;
        sweep.calls += 1;
        if sweep.calls < CALLS_TO_WAKE {
            return;
        }
        sweep.calls = 0;
        for &number in &sweep.running {
            if let Some(swept) = swept(members, number)
                && std::mem::take(&mut swept.found) > 0
            {
                wake(members[number].key);
            }
        }
    }

    /// Begins a sweep for those that wait, if none is under way.
    fn begin_sweep(&mut self) {
        let Inner { sweep, members, .. } = self;
        if sweep.cursor.is_some() {
            return;
        }
        for number in std::mem::take(&mut sweep.waiting) {
            if let Some(swept) = swept(members, number) {
                sweep.enter(number, swept);
            }
        }
        sweep.read = Stamp::ZERO;
        sweep.is_thinner = true;
    }

    /// Goes on where the first of the streams begins, if that lies ahead.
    fn skip_to_first(&mut self) {
        let Inner { sweep, members, .. } = self;
        if !std::mem::take(&mut sweep.is_thinner) {
            return;
        }
        let first = sweep
            .running
            .iter()
            .filter_map(|&number| match &members[number].place {
                Place::Swept(swept) => Some(swept),
                _ => None,
            })
            .min_by_key(|swept| swept.start.next_sequence());
        let at = sweep.cursor.as_ref().map(LogCursor::next_sequence);
        if let Some(first) = first
            && at.is_none_or(|at| at < first.start.next_sequence())
        {
            sweep.cursor = Some(first.start.clone());
            sweep.read = sweep.read.max(first.since);
        }
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
        for is_running in [true, false] {
            let mut position = 0;
            loop {
                let list = if is_running {
                    &sweep.running
                } else {
                    &sweep.waiting
                };
                let Some(&number) = list.get(position) else {
                    break;
                };
                let Some(swept) = swept(members, number) else {
                    break;
                };
                let Some(stage) = stage(swept) else {
                    position += 1;
                    continue;
                };
                let whereabouts = swept.whereabouts();
                swept.stage = stage;
                wake(members[number].key);
                // Another takes its position.
                sweep.leave(members, whereabouts);
            }
        }
    }
}

fn swept(members: &mut Slab<Member>, number: usize) -> Option<&mut Swept> {
    match &mut members.get_mut(number)?.place {
        Place::Swept(swept) => Some(swept),
        _ => None,
    }
}
