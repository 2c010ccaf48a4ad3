//! One active stream: catching up, lagging, or at the log's tail.

mod tail;

use std::rc::Rc;
use std::sync::Arc;

use leaseq_store::{LogCursor, Record, ScanFrom, Stamp};
use leaseq_wire::frame::{self, Split};
use leaseq_wire::{Full, OutBuf};

use super::hub::{Hub, Joining};
use super::{Say, StreamPlace, StreamRequest, Teller, Told};
use crate::Mono;
use crate::counters::{Counters, FamilyCounters, QueryEnd};
use crate::query::{QueryContext, Quota, RunningQuery, StepEnd};
use crate::settings::{Family, RequestorRule, Settings};

/// Where the times of DHCPv6 begin, 2000-01-01. There is no bulk query for everything there, so a requestor that has been
/// told nothing yet asks from the beginning: it cannot miss the end of what it was never told.
const BEGINNING6: u32 = 946_684_800;

/// Octets that what one record means may take at most, where it does not fit into one buffer.
const MOST_SPILLED: usize = 64 << 20;

/// An active stream. It runs until it is terminated, or dropped with its connection.
pub(crate) struct Stream {
    hub: Rc<Hub>,
    /// Its number at the hub.
    member: usize,
    family: Family,
    settings: Arc<Settings>,
    rule: Arc<RequestorRule>,
    counters: Arc<Counters>,
    xid: u32,
    teller: Box<dyn Teller>,
    since: Option<u32>,
    begun: bool,
    /// Its own teller has said something: the first message of a stream is like no other.
    said: bool,
    can_share: bool,
    /// It reads the log by itself; else it is at the tail.
    reading: Option<Reading>,
    /// What precedes the tail is being told because a time was asked for.
    catching_up: bool,
    /// The newest time that was given as base-time.
    base: Stamp,
    /// Frames that did not fit into a buffer together.
    spill: Vec<u8>,
    /// When something was said last.
    said_at: Mono,
    keepalive_due: bool,
    /// Something was said in the last step.
    wrote: bool,
    ending: Option<&'static str>,
}

/// A stream's own reading of the log.
struct Reading {
    cursor: LogCursor,
    /// Records before this sequence have been told.
    from: u64,
    /// Every record that was committed before has been read.
    read: Stamp,
    /// What compaction had dropped when the reading began.
    dropped: Stamp,
    /// Records that it may still read before it joins others that catch up.
    alone: u32,
}

/// What was said in a step.
#[derive(Default)]
struct Sent {
    messages: u64,
    bindings: u64,
    /// Records that were looked at beside those read.
    examined: u64,
}

impl Sent {
    fn add(&mut self, told: Told) {
        self.messages += u64::from(told.messages);
        self.bindings += u64::from(told.bindings);
        self.examined += u64::from(told.examined);
    }
}

/// Whether there is more to tell.
#[derive(PartialEq, Eq)]
enum Next {
    Told,
    Nothing,
}

impl Stream {
    /// Begins a stream for the connection of that key.
    #[expect(
        clippy::too_many_arguments,
        reason = "called in one place, with what a connection is made of"
    )]
    pub(crate) fn new(
        hub: Rc<Hub>,
        key: usize,
        family: Family,
        settings: Arc<Settings>,
        rule: Arc<RequestorRule>,
        counters: Arc<Counters>,
        request: StreamRequest,
        now: Mono,
    ) -> Stream {
        let member = hub.lock().add(key);
        counters.of(family).streams_opened.increment();
        Stream {
            hub,
            member,
            family,
            settings,
            rule,
            counters,
            xid: request.xid,
            can_share: request.teller.shared_form().is_some(),
            teller: request.teller,
            since: request.since,
            begun: false,
            said: false,
            reading: None,
            catching_up: false,
            base: Stamp::default(),
            spill: Vec::new(),
            said_at: now,
            keepalive_due: false,
            wrote: false,
            ending: None,
        }
    }

    fn count(&self) -> &FamilyCounters {
        self.counters.of(self.family)
    }

    fn run(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
        sent: &mut Sent,
    ) -> Result<StepEnd, Full> {
        self.unspill(out)?;
        if !self.begun {
            self.begin(cx, out, sent)?;
        }
        if let Some(text) = self.ending {
            let base = self.base_time(cx);
            self.say(cx, Say::Terminated(text), base, out, sent)?;
            let ended = &self.count().ended;
            ended.of(QueryEnd::QueryTerminated).increment();
            return Ok(StepEnd::Done {
                empty: false,
                close: None,
            });
        }
        while !quota.is_spent() {
            let before = (out.len(), sent.bindings, sent.examined);
            let next = match self.reading.take() {
                Some(reading) => self.read(cx, reading, out, quota, sent)?,
                None => self.tell_tail(cx, out, quota, sent)?,
            };
            quota.octets = quota.octets.saturating_sub(out.len() - before.0);
            let bindings = usize::try_from(sent.bindings - before.1).unwrap_or(usize::MAX);
            quota.bindings = quota.bindings.saturating_sub(bindings);
            let examined = usize::try_from(sent.examined - before.2).unwrap_or(usize::MAX);
            quota.examined = quota.examined.saturating_sub(examined);
            self.unspill(out)?;
            if next == Next::Nothing {
                return Ok(StepEnd::Waiting);
            }
        }
        Ok(StepEnd::More)
    }

    /// Says what a stream begins with, and finds the place to tell from.
    fn begin(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        sent: &mut Sent,
    ) -> Result<(), Full> {
        let dropped = cx.view.dropped_until();
        let data_missing = self.since.is_some_and(|since| {
            let knows_nothing = self.family == Family::V6 && since <= BEGINNING6;
            !knows_nothing && dropped > Stamp::default() && since <= dropped.seconds()
        });
        let since = self.since.filter(|_| !data_missing);
        let from_stamp = since.map(|since| Stamp::from_millis(u64::from(since) * 1_000));
        let base = from_stamp.map_or(cx.server_time, |stamp| stamp.min(cx.server_time));
        self.say(cx, Say::Begin { data_missing }, base, out, sent)?;
        self.begun = true;
        if data_missing {
            self.count().data_missing.increment();
        }
        match from_stamp {
            Some(stamp) => {
                self.catching_up = true;
                self.reading = Some(Reading {
                    cursor: LogCursor::new(ScanFrom::Stamp(stamp)),
                    from: 0,
                    read: base,
                    dropped,
                    alone: self.hub.read_alone(),
                });
            }
            None => self.join(cx),
        }
        Ok(())
    }

    /// Reads the next record of the log, or goes on at its tail.
    fn read(
        &mut self,
        cx: &QueryContext<'_>,
        mut reading: Reading,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
        sent: &mut Sent,
    ) -> Result<Next, Full> {
        let dropped = cx.view.dropped_until();
        if dropped > reading.dropped && dropped >= reading.read {
            let said = self.miss(cx, out, sent);
            if said.is_err() {
                self.reading = Some(reading);
            }
            return said.map(|()| Next::Told);
        }
        let here = reading.cursor.clone();
        let Some(record) = cx.view.next_record(&mut reading.cursor) else {
            if let Err(full) = self.caught_up(cx, cx.server_time, out, sent) {
                self.reading = Some(reading);
                return Err(full);
            }
            self.join(cx);
            return Ok(Next::Told);
        };
        quota.examined = quota.examined.saturating_sub(1);
        let (sequence, stamp) = (record.sequence(), record.stamp());
        if sequence >= reading.from
            && self.teller.may_concern(&record)
            && cx.view.is_newest(&record)
            && let Err(full) = self.tell(cx, &record, out, sent)
        {
            reading.cursor = here;
            self.reading = Some(reading);
            return Err(full);
        }
        reading.read = stamp;
        reading.alone = reading.alone.saturating_sub(1);
        // What was dropped so far is of no concern to what is to come.
        if reading.alone == 0 && dropped < stamp && self.teller.scope().is_narrow() {
            let (scope, from) = (self.teller.scope(), reading.from.max(sequence + 1));
            let mut hub = self.hub.lock();
            hub.catch_up(self.member, scope, reading.cursor, stamp, from);
            return Ok(Next::Told);
        }
        self.reading = Some(reading);
        Ok(Next::Told)
    }

    /// Says that everything up to `base` has been told, if a time was asked for.
    fn caught_up(
        &mut self,
        cx: &QueryContext<'_>,
        base: Stamp,
        out: &mut OutBuf<'_>,
        sent: &mut Sent,
    ) -> Result<(), Full> {
        if self.catching_up {
            self.say(cx, Say::CatchUpComplete, base, out, sent)?;
            self.catching_up = false;
            self.count().caught_up.increment();
        }
        Ok(())
    }

    /// Says that not everything can be told any more, and goes on at the tail.
    fn miss(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        sent: &mut Sent,
    ) -> Result<(), Full> {
        self.say(cx, Say::DataMissing, cx.server_time, out, sent)?;
        self.catching_up = false;
        self.count().data_missing.increment();
        self.hub.lock().leave(self.member);
        self.join(cx);
        Ok(())
    }

    /// Goes on at the tail, with what was not visible yet when the view was taken.
    fn join(&mut self, cx: &QueryContext<'_>) {
        let from = cx.view.published().sequence.saturating_add(1);
        self.join_from(cx, from, self.base);
    }

    /// Goes on at the tail from this sequence on; nothing that was committed before `read` is left to be told.
    fn join_from(&mut self, cx: &QueryContext<'_>, from: u64, read: Stamp) {
        let joining = joining(self, from);
        if !self.hub.lock().join(self.member, cx.view, &joining) {
            self.reading = Some(Reading {
                cursor: LogCursor::new(ScanFrom::Sequence(from)),
                from,
                read,
                dropped: cx.view.dropped_until(),
                alone: self.hub.read_alone(),
            });
        }
    }

    fn tell(
        &mut self,
        cx: &QueryContext<'_>,
        record: &Record<'_>,
        out: &mut OutBuf<'_>,
        sent: &mut Sent,
    ) -> Result<(), Full> {
        let base = record.stamp();
        let told = match self.teller.record(cx, record, base, out) {
            Err(_) if out.is_empty() => self.tell_at_length(cx, record)?,
            told => told?,
        };
        if told.messages > 0 {
            self.said = true;
            self.base = self.base.max(base);
        }
        sent.add(told);
        Ok(())
    }

    /// Tells a record in as many octets as it takes, to be handed out piece by piece.
    fn tell_at_length(&mut self, cx: &QueryContext<'_>, record: &Record<'_>) -> Result<Told, Full> {
        let mut room = 4 * frame::MAX_MESSAGE;
        loop {
            let mut octets = vec![0; room];
            let mut out = OutBuf::new(&mut octets);
            match self.teller.record(cx, record, record.stamp(), &mut out) {
                Ok(told) => {
                    let length = out.len();
                    octets.truncate(length);
                    self.spill = octets;
                    return Ok(told);
                }
                Err(full) if room >= MOST_SPILLED => return Err(full),
                Err(_) => room *= 4,
            }
        }
    }

    /// Hands out frames that did not fit before.
    fn unspill(&mut self, out: &mut OutBuf<'_>) -> Result<(), Full> {
        let mut done = 0;
        let result = loop {
            let Split::Frame { consumed, .. } = frame::split(&self.spill[done..]) else {
                done = self.spill.len();
                break Ok(());
            };
            if let Err(full) = out.put(&self.spill[done..done + consumed]) {
                break Err(full);
            }
            done += consumed;
        };
        if done == self.spill.len() {
            self.spill = Vec::new();
        } else {
            self.spill.drain(..done);
        }
        result
    }

    fn say(
        &mut self,
        cx: &QueryContext<'_>,
        say: Say,
        base: Stamp,
        out: &mut OutBuf<'_>,
        sent: &mut Sent,
    ) -> Result<(), Full> {
        let base = base.max(self.base);
        let messages = self.teller.say(cx, say, base, out)?;
        if messages > 0 {
            self.said = true;
            self.base = base;
            sent.messages += u64::from(messages);
        }
        Ok(())
    }

    /// A time before which nothing lies that was not told.
    pub(in crate::active) fn base_time(&self, cx: &QueryContext<'_>) -> Stamp {
        match &self.reading {
            Some(reading) => reading.read.min(cx.server_time),
            None => self
                .hub
                .lock()
                .base_time(self.member, cx.view, cx.server_time),
        }
    }
}

fn joining(stream: &Stream, from: u64) -> Joining<'_> {
    Joining {
        settings: &stream.settings,
        rule: &stream.rule,
        counters: &stream.counters,
        teller: &*stream.teller,
        share: stream.can_share && stream.said,
        from,
    }
}

impl RunningQuery for Stream {
    fn xid(&self) -> u32 {
        self.xid
    }

    fn step(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
    ) -> Result<StepEnd, Full> {
        let before = out.len();
        let mut sent = Sent::default();
        let mut result = self.run(cx, out, quota, &mut sent);
        if self.keepalive_due && out.len() == before && !matches!(result, Ok(StepEnd::Done { .. }))
        {
            let base = self.base_time(cx);
            match self.say(cx, Say::Keepalive, base, out, &mut sent) {
                Ok(()) => self.count().keepalives.increment(),
                Err(full) => result = Err(full),
            }
        }
        self.wrote |= out.len() > before;
        self.count().sent_messages.add(sent.messages);
        self.count().bindings.add(sent.bindings);
        result
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn place(&self) -> Option<StreamPlace> {
        let next = match &self.reading {
            Some(reading) => {
                let sequence = reading.cursor.next_sequence().max(reading.from);
                Some((sequence, reading.read))
            }
            None => self.hub.lock().waits(self.member, self.base),
        };
        Some(StreamPlace {
            catching_up: self.catching_up,
            next,
        })
    }

    fn is_waiting(&self) -> bool {
        self.begun
            && self.ending.is_none()
            && !self.keepalive_due
            && self.reading.is_none()
            && self.spill.is_empty()
            && self.hub.lock().is_told(self.member)
    }

    fn stepped(&mut self, now: Mono) {
        if std::mem::take(&mut self.wrote) {
            self.said_at = now;
            self.keepalive_due = false;
        }
    }

    fn deadline(&self) -> Option<Mono> {
        (!self.keepalive_due).then(|| self.said_at + self.settings.active.idle_timeout)
    }

    fn tick(&mut self, now: Mono) {
        self.keepalive_due |= now >= self.said_at + self.settings.active.idle_timeout;
    }

    fn terminate(&mut self, text: &'static str) {
        self.ending = self.ending.or(Some(text));
    }

    /// Its own transaction id is no reason to end: the newcomer is refused.
    fn refuse_duplicate(&mut self) {}
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.count().streams_closed.increment();
        self.hub.lock().remove(self.member);
    }
}
