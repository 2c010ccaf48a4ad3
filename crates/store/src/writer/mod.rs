//! The thread that writes: it alone changes the log and the indexes.
//!
//! For each batch: resolve the events that wait, append, wait until that is durable, apply to the indexes, publish, call the
//! commit hooks, acknowledge. What arrives meanwhile is the next batch.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::apply::Indexes;
use crate::checkpoint;
use crate::error::{CommitError, StopError};
use crate::event::{Event, EventError, FeedEvent};
use crate::feeds::Feeds;
use crate::log::{AppendError, Appended, Log, LogView, Pos};
use crate::queue::{Answer, Command, FeedError, Queue};
use crate::record::Record;
use crate::shared::Shared;
use crate::store::Committed;
use crate::time::Stamp;
use crate::topology::Topology;
use crate::verify;
use crate::view::{Published, Reader};
use crate::vpn::Vpn;
use crate::warm::TOGETHER;

mod batch;
mod client6;
mod compaction;
mod expiry;
mod merge;
mod rival;
mod topology;

use batch::{Batch, Context, Outcome};
pub(crate) use expiry::jumped;

/// The thread looks at the clock this often.
const TICK: Duration = Duration::from_secs(1);

/// What the thread that writes shares with the handle of the store.
pub(crate) struct Control {
    pub(crate) queue: Queue,
}

/// State of the thread that writes.
pub(crate) struct Writer {
    pub(crate) log: Log,
    pub(crate) view: LogView,
    pub(crate) indexes: Indexes,
    pub(crate) feeds: Feeds,
    pub(crate) shared: Arc<Shared>,
    pub(crate) control: Arc<Control>,
    pub(crate) group_interval: Duration,
    /// Of what the indexes were made; for the checkpoint.
    pub(crate) fingerprint: u64,
    topology: Topology,
    /// Slots of leases that ran out while the time was in doubt. A set: renewals may make a slot due any number of times.
    unconfirmed: BTreeSet<u32>,
    /// Pairs of feeds of which it was told that they claim the same bindings.
    conflicts: BTreeSet<(u16, u16)>,
    batch: Batch,
    batch_open: bool,
    answers: Vec<(Answer, Committed)>,
    compaction: compaction::State,
    topology_change: topology::State,
}

/// A submission whose events are being resolved.
#[derive(Default)]
struct Submission {
    changed: u32,
    rejected: Vec<(usize, EventError)>,
}

/// How the thread came to its end.
pub(crate) type Ended = Result<(), StopError>;

impl Writer {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, with the parts of an opened store"
    )]
    pub(crate) fn new(
        log: Log,
        indexes: Indexes,
        feeds: Feeds,
        shared: Arc<Shared>,
        control: Arc<Control>,
        group_interval: Duration,
        fingerprint: u64,
        topology: Topology,
    ) -> Writer {
        Writer {
            view: log.view(),
            log,
            indexes,
            feeds,
            shared,
            control,
            group_interval,
            fingerprint,
            topology,
            unconfirmed: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            batch: Batch::default(),
            batch_open: false,
            answers: Vec::new(),
            compaction: compaction::State::default(),
            topology_change: topology::State::default(),
        }
    }

    /// Works until told to stop.
    pub(crate) fn run(mut self) -> Ended {
        let mut commands = VecDeque::new();
        let mut next_tick = Instant::now();
        loop {
            let control = Arc::clone(&self.control);
            // With something to go on with, what has come is taken and nothing is waited for.
            let until = match self.is_changing_topology() {
                true => Instant::now(),
                false => next_tick,
            };
            control.queue.take(until, &mut commands);
            if !self.group_interval.is_zero() && !commands.is_empty() {
                std::thread::sleep(self.group_interval);
                control.queue.take(Instant::now(), &mut commands);
            }
            while let Some(command) = commands.pop_front() {
                if let Command::Stop(checkpoint) = command {
                    commands.append(&mut control.queue.close());
                    return self.stop(commands, checkpoint);
                }
                self.obey(command);
            }
            let _ = self.commit();
            self.go_on_changing_topology();
            if Instant::now() >= next_tick {
                let _ = self.tick();
                next_tick = Instant::now() + TICK;
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Submit(events, answer) => self.submit(events, answer),
            Command::Feed(name, answer) => answer(self.name_feed(&name)),
            Command::Tick(done) => {
                let result = self.commit().and_then(|()| self.tick());
                done(result);
            }
            Command::Compact(done) => {
                let _ = self.commit();
                self.compact_all(done);
            }
            Command::Compacted => {
                let _ = self.commit();
                self.compacted();
            }
            Command::Verify(done) => {
                let _ = self.commit();
                let shared = Arc::clone(&self.shared);
                done(verify::verify(&Reader { shared }));
            }
            Command::Topology(topology, done) => self.change_topology(*topology, done),
            Command::Times {
                history,
                grace,
                done,
            } => {
                self.change_times(history, grace);
                done(Ok(()));
            }
            Command::Stop(_) => {}
        }
    }

    /// Opens a batch if none is open.
    fn open_batch(&mut self) {
        if self.batch_open {
            return;
        }
        let stamp = self
            .shared
            .open_batch(Stamp::from_millis(self.log.last_stamp()));
        self.batch
            .begin(self.log.next_sequence(), stamp, self.log.max_records());
        self.batch_open = true;
    }

    fn context(&mut self) -> (&mut Batch, Context<'_>) {
        let context = Context {
            indexes: &self.indexes,
            feeds: &mut self.feeds,
            log: &self.view,
            grace: self.shared.grace.load(Relaxed),
            unconfirmed: self.shared.time_unconfirmed.load(Relaxed),
        };
        (&mut self.batch, context)
    }

    fn submit(&mut self, events: Vec<Event>, answer: Answer) {
        let mut submission = Submission::default();
        self.shared
            .counts
            .events
            .fetch_add(events.len() as u64, Relaxed);
        let mut at = 0;
        let mut events = events.into_iter();
        while !events.as_slice().is_empty() {
            let together = events.len().min(TOGETHER);
            self.indexes
                .warm_events(&self.view, &events.as_slice()[..together]);
            for event in events.by_ref().take(together) {
                if let Err(error) = self.submit_one(at, event, &mut submission) {
                    return answer(Err(error));
                }
                at += 1;
            }
        }
        let Submission { changed, rejected } = submission;
        self.answers.push((
            answer,
            Committed {
                sequence: 0,
                changed,
                rejected,
            },
        ));
        if self.batch.is_full() {
            let _ = self.commit();
        }
    }

    fn submit_one(
        &mut self,
        at: usize,
        event: Event,
        submission: &mut Submission,
    ) -> Result<(), CommitError> {
        if let Err(error) = event.check() {
            submission.rejected.push((at, error));
            return Ok(());
        }
        // How far a feed has come is written as well, but is no change of what it tells.
        let is_of_binding = !matches!(event, Event::Feed(_));
        match self.resolve(event)? {
            Outcome::Changed => submission.changed += u32::from(is_of_binding),
            Outcome::Rejected(error) => submission.rejected.push((at, error)),
            Outcome::Outdated => {
                self.shared.counts.outdated.fetch_add(1, Relaxed);
            }
            Outcome::Unchanged | Outcome::Full => {
                self.shared.counts.unchanged.fetch_add(1, Relaxed);
            }
        }
        Ok(())
    }

    /// Resolves an event into the batch; commits the batch first if it is full.
    fn resolve(&mut self, mut event: Event) -> Result<Outcome, CommitError> {
        if self.batch_open && self.batch.is_full() {
            self.commit()?;
        }
        match self.try_resolve(&mut event) {
            Outcome::Full => {}
            outcome => return Ok(outcome),
        }
        self.commit()?;
        Ok(self.try_resolve(&mut event))
    }

    fn try_resolve(&mut self, event: &mut Event) -> Outcome {
        self.open_batch();
        if let Event::Feed(event) = event {
            self.confirm_time(event);
        }
        let (batch, mut context) = self.context();
        let outcome = match event {
            Event::V4(event) => batch.add4(event, &context),
            Event::V6(event) => batch.add6(event, &context),
            Event::Feed(event) => batch.add_feed(event, &mut context),
        };
        if let Some((feed, stored)) = self.batch.take_conflict() {
            self.tell_conflict(feed, stored);
        }
        outcome
    }

    /// Says of two feeds, once, that they claim the same bindings.
    fn tell_conflict(&mut self, feed: u16, stored: u16) {
        if !self.conflicts.insert((feed.min(stored), feed.max(stored))) {
            return;
        }
        let name = |number| self.feeds.name(number).unwrap_or_default();
        tracing::warn!(
            id = "feed-conflict",
            feed = name(feed),
            other = name(stored),
            "both feeds tell of one binding: the newer transaction with its client counts"
        );
    }

    fn name_feed(&mut self, name: &str) -> Result<u16, FeedError> {
        let number = self.feeds.number(name).map_err(FeedError::Event)?;
        if self.feeds.is_recorded(number) {
            return Ok(number);
        }
        let event = FeedEvent {
            name: name.to_owned(),
            position: Vec::new(),
            read_up_to: Stamp::ZERO,
            live: false,
        };
        event.check().map_err(FeedError::Event)?;
        if let Outcome::Rejected(error) = self
            .resolve(Event::Feed(event))
            .map_err(FeedError::Commit)?
        {
            return Err(FeedError::Event(error));
        }
        self.commit().map_err(FeedError::Commit)?;
        Ok(number)
    }

    /// Commits the open batch and answers those whose events are in it.
    pub(crate) fn commit(&mut self) -> Result<(), CommitError> {
        let result = if self.batch_open {
            self.commit_batch()
        } else {
            Ok(())
        };
        let sequence = self.shared.published.load().sequence;
        for (answer, committed) in self.answers.drain(..) {
            match &result {
                Ok(()) => answer(Ok(Committed {
                    sequence,
                    ..committed
                })),
                Err(error) => answer(Err(error.clone())),
            }
        }
        result
    }

    fn commit_batch(&mut self) -> Result<(), CommitError> {
        self.batch_open = false;
        if self.batch.is_empty() {
            self.shared.close_batch();
            return Ok(());
        }
        let (first, count) = (self.batch.first_sequence, self.batch.count);
        let next = first + u64::from(count);
        let begun = Instant::now();
        let appended = self.log.append(
            first,
            next,
            self.batch.stamp.millis(),
            &self.batch.records,
            count,
        );
        match appended {
            Ok(appended) => {
                self.shared.counts.commits.add(count, begun.elapsed());
                if appended.new_segment {
                    self.view = self.log.view();
                }
                self.apply_batch(&appended);
                let published = Published {
                    sequence: next - 1,
                    stamp: self.batch.stamp,
                };
                self.publish(published);
                Ok(())
            }
            Err(error) => {
                self.shared.close_batch();
                self.batch_failed();
                let error = commit_error(&error);
                self.note_fault(Some(&error));
                Err(error)
            }
        }
    }

    fn publish(&mut self, published: Published) {
        self.shared.published.store(Arc::new(published));
        self.shared.close_batch();
        self.shared.counts.batches.fetch_add(1, Relaxed);
        self.note_fault(None);
        self.refresh_counts();
        self.shared.hooks.call(published);
        self.indexes.reclaim();
    }

    /// Keeps why the last batch could not be committed, or that it could.
    fn note_fault(&self, error: Option<&CommitError>) {
        let counts = &self.shared.counts;
        if let Some(error) = error {
            counts.failed_batches.fetch_add(1, Relaxed);
            let before = counts.fault.swap(Some(Arc::new(error.to_string())));
            if before.is_none() {
                tracing::error!(id = "changes-refused", %error,
                    "changes are refused until the log can be appended to; queries are answered from what is stored");
            }
        } else if counts.fault.load().is_some() {
            counts.fault.store(None);
            tracing::info!(id = "changes-taken", "changes are taken again");
        }
    }

    fn apply_batch(&mut self, appended: &Appended) {
        let batch = std::mem::take(&mut self.batch);
        let mut slots: Vec<Option<u32>> = Vec::with_capacity(batch.entries.len());
        for (at, entry) in batch.entries.iter().enumerate() {
            if at % TOGETHER == 0 {
                self.warm(&batch, at);
            }
            let slot = entry.slot.or_else(|| {
                entry
                    .earlier
                    .and_then(|earlier| slots.get(earlier).copied().flatten())
            });
            let pos = appended.pos_of(entry.offset);
            let applied = batch
                .record(at)
                .and_then(|record| self.apply(record, slot, pos));
            slots.push(applied);
        }
        self.batch = batch;
    }

    /// Asks for the lists that the bindings of the next entries will come into. A renewal stays where it is.
    fn warm(&self, batch: &Batch, from: usize) {
        let next = batch.entries.iter().enumerate().skip(from).take(TOGETHER);
        for (at, _) in next.filter(|(_, entry)| entry.slot.is_none()) {
            if let Some(record) = batch.record(at) {
                self.indexes.warm_lists(&record);
            }
        }
    }

    /// Applies a record of the batch; gives the slot of its key.
    fn apply(&mut self, record: Record<'_>, slot: Option<u32>, pos: Pos) -> Option<u32> {
        let applied = match record {
            Record::Bind4(bind) => {
                if slot.is_none() {
                    self.note_vpn(bind.vpn());
                }
                self.indexes.apply4(&self.view, slot, pos, &bind)
            }
            Record::Bind6(lease) => {
                if slot.is_none() {
                    self.note_vpn(lease.vpn());
                }
                self.indexes.apply6(&self.view, slot, pos, &lease)
            }
            Record::Feed(feed) => {
                match self.feeds.apply(&feed, pos) {
                    Ok(Some((old, octets))) => self.view.dead(old, octets),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(id = "feed-order", error, "a feed's record was not applied")
                    }
                }
                self.shared.feeds.store(Arc::new(self.feeds.states()));
                return None;
            }
            Record::Departed4(_) | Record::Departed6(_) => return None,
        };
        match applied {
            Ok(slot) => Some(slot),
            Err(error) => {
                tracing::error!(id = "store-exhausted", %error, "a binding is in the log but not in the indexes");
                None
            }
        }
    }

    fn note_vpn(&self, vpn: crate::vpn::VpnRef<'_>) {
        let known = self.shared.vpns.load();
        if known.iter().any(|other| vpn == *other) {
            return;
        }
        let mut more: Vec<Vpn> = Vec::clone(&known);
        more.push(vpn.to_vpn());
        self.shared.vpns.store(Arc::new(more));
    }

    pub(crate) fn refresh_counts(&mut self) {
        let stats = self.log.stats();
        let counts = &self.shared.counts;
        counts.log_octets.store(stats.used, Relaxed);
        counts.dead_octets.store(stats.dead, Relaxed);
        counts.dead_records.store(stats.dead_records, Relaxed);
        counts.segments.store(stats.segments as u64, Relaxed);
        counts
            .slots_octets
            .store(self.indexes.slots.memory() as u64, Relaxed);
        counts
            .writer_octets
            .store(self.indexes.writer_octets(), Relaxed);
    }

    /// Stores what waits, appends an empty batch, and writes the checkpoint if asked to.
    fn stop(mut self, commands: VecDeque<Command>, checkpoint: bool) -> Ended {
        for command in commands {
            match command {
                Command::Submit(events, answer) => self.submit(events, answer),
                Command::Feed(name, answer) => answer(self.name_feed(&name)),
                Command::Tick(done) | Command::Compact(done) | Command::Times { done, .. } => {
                    done(Err(CommitError::Stopped));
                }
                Command::Topology(_, done) => done(Err(CommitError::Stopped.into())),
                Command::Verify(_) | Command::Compacted | Command::Stop(_) => {}
            }
        }
        let stored = self.commit();
        self.end_topology_changes();
        let compacted = self.end_compaction();
        if !checkpoint || self.log.read_only().is_some() {
            return Ok(());
        }
        stored.map_err(|error| StopError::Log(error.to_string()))?;
        let stamp = self
            .shared
            .clock
            .now()
            .max(Stamp::from_millis(self.log.last_stamp()));
        let next = self.log.next_sequence();
        self.log
            .append(next, next, stamp.millis(), &[], 0)
            .map_err(|error| StopError::Log(error.to_string()))?;
        if !compacted {
            // A merged segment may lie there that takes the place of others at the next start, so positions may not last.
            return Ok(());
        }
        self.look_again_at_unconfirmed();
        for (slot, end) in self.feeds.waiting() {
            self.indexes.expiry.schedule(slot, end);
        }
        checkpoint::write(&self).map_err(|error| StopError::Checkpoint(error.to_string()))
    }
}

fn commit_error(error: &AppendError) -> CommitError {
    let reason = error.to_string();
    match error {
        AppendError::ReadOnly(_) => CommitError::ReadOnly { reason },
        _ => CommitError::Append { reason },
    }
}
