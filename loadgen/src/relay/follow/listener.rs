//! What a follower hears and what becomes of it: counted, measured, checked. No connection, so that it can be tested with
//! octets alone.

use std::time::Instant;

use leaseq_requestor::client::now as unix_now;
use leaseq_requestor::follow::{Action, Cause, Filling, FollowEvent, Follower, Line};
use leaseq_requestor::{ActiveEvent, ActiveStatusKind, Frames, ProtocolFault, Query};
use leaseq_wire::time::UnixSeconds;

use crate::check::{BulkCheck, Expected, Picture, StreamCheck};
use crate::fault::{FaultKind, KEPT_OCTETS};
use crate::measure::Count;
use crate::measure::clock::now_ns;
use crate::net::channel::LinkError;
use crate::relay::context::Context;
use crate::relay::words::QueryWords;
use crate::result::State;
use crate::scenario::By;

/// Connections in a row that a server may end without a word before it is taken not to do active leasequery at all.
const REFUSALS: u32 = 5;

/// A follower with what it heard.
pub(super) struct Listener<'a> {
    context: &'a Context,
    relay: u32,
    query: Query,
    follower: Follower,
    expected: Expected,
    check: StreamCheck,
    /// Of the bulk answer that fills a gap, if one alone is to tell all that the stream is about.
    fill: Option<Box<BulkCheck>>,
    lines: [Heard; 2],
    /// When the next thing is to be done.
    due: Instant,
    /// When the active query was sent that asked for the past.
    asked: Option<Instant>,
    /// What is heard was told as it happened.
    is_live: bool,
    /// The server has answered an active query at some time.
    is_answered: bool,
    /// Since when there is no stream.
    without: Option<Instant>,
    /// Streams in a row that the server ended without a word.
    refusals: u32,
    is_hopeless: bool,
}

/// What was heard on one connection.
#[derive(Default)]
struct Heard {
    frames: Frames,
    xid: u32,
    is_connected: bool,
    octets: u64,
    /// The message with which the server broke the protocol, or ended the query.
    last: Vec<u8>,
}

impl<'a> Listener<'a> {
    pub(super) fn new(
        context: &'a Context,
        relay: u32,
        query: Query,
        follower: Follower,
        starts_with: &Picture,
    ) -> Self {
        let now = Instant::now();
        let expected = context.expected(relay);
        let check = StreamCheck::new(&expected, starts_with);
        Self {
            context,
            relay,
            query,
            follower,
            expected,
            check,
            fill: None,
            lines: [Heard::default(), Heard::default()],
            due: now,
            asked: None,
            is_live: false,
            is_answered: false,
            without: Some(now),
            refusals: 0,
            is_hopeless: false,
        }
    }

    pub(super) fn step(&mut self) -> Action<'_> {
        self.follower.step(Instant::now())
    }

    pub(super) fn wait_until(&mut self, until: Instant) {
        self.due = until;
    }

    /// When the next thing is to be done.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// What the relay is at.
    pub(super) fn state(&self) -> State {
        let stream = &self.lines[Line::Stream as usize];
        match (stream.is_connected, self.asked.is_some()) {
            _ if self.follower.has_gap() => State::Recovering,
            (false, _) if self.without.is_some() && self.refusals > 0 => State::Pausing,
            (false, _) => State::Connecting,
            (true, true) => State::CatchingUp,
            (true, false) => State::Following,
        }
    }

    /// Nothing that should have been told is missing.
    pub(super) fn is_complete(&mut self) -> bool {
        self.asked.is_none() && !self.follower.has_gap() && self.check.is_complete()
    }

    /// There is no use in following any longer, and it is told why.
    pub(super) fn is_hopeless(&self) -> bool {
        self.is_hopeless
    }

    /// The last of it: what is missing is told.
    pub(super) fn end(&mut self) {
        let words = words("active", &self.query, &self.lines[Line::Stream as usize]);
        let (report, relay) = (&self.context.report, self.relay);
        // Where there is a connection, a DHCPv4 server need not have said anything yet.
        let is_connected = self.lines[Line::Stream as usize].is_connected;
        if let (Some(since), false, false) = (self.without, self.is_answered, is_connected) {
            let text = format!("no connection to follow on for {:?}", since.elapsed());
            report.fault(FaultKind::NotConnected, relay, words, text, &[]);
            return;
        }
        self.check.end(&mut |kind, text, octets| {
            report.fault(kind, relay, &words, text, octets);
        });
    }

    pub(super) fn connected(&mut self, line: Line) {
        self.lines[line as usize] = Heard {
            is_connected: true,
            ..Heard::default()
        };
        self.follower.connected(line, Instant::now());
    }

    /// A message has been sent.
    pub(super) fn sent(&mut self, line: Line, framed: &[u8]) {
        let number = match self.query {
            Query::V4(_) => framed.get(6..10),
            Query::V6(_) => framed.get(2..6),
        };
        let number = number.and_then(|octets| octets.try_into().ok());
        let xid = number.map_or(0, u32::from_be_bytes);
        self.lines[line as usize].xid = self.query.xid(xid);
        if line == Line::Fill {
            // One query alone tells what the stream is about, unless that is everything.
            let is_whole = self.context.by() != By::All;
            let check = || Box::new(BulkCheck::new(&self.expected, unix_now()));
            self.fill = is_whole.then(check);
        }
        self.follower.sent(line);
    }

    /// The active query is on its way.
    pub(super) fn asked(&mut self, since: Option<UnixSeconds>) {
        self.asked = since.map(|_| Instant::now());
        self.is_live = since.is_none();
        self.check.resumed(since.is_some());
    }

    /// A connection could not be made, or has ended.
    pub(super) fn lost(&mut self, line: Line, error: LinkError) {
        let heard = std::mem::take(&mut self.lines[line as usize]);
        let count = match heard.octets {
            0 => Count::Refused,
            _ => Count::LostConnections,
        };
        self.context.report.count(count, 1);
        if line == Line::Stream {
            let is_silent = heard.is_connected && heard.octets == 0;
            self.refusals = match heard.octets {
                0 => self.refusals + 1,
                _ => 0,
            };
            self.without.get_or_insert_with(Instant::now);
            if is_silent && !self.is_answered && self.refusals >= REFUSALS {
                let text = format!(
                    "the server ended {REFUSALS} connections without an answer, as one does that knows no active leasequery"
                );
                self.give_up(FaultKind::Status, &text, &[]);
            }
        }
        if !error.is_end()
            && let Some(kind) = error.kind()
        {
            let text = error.to_string();
            match error {
                LinkError::Tls(_) => self.give_up(kind, &text, &[]),
                error => self.fault(line, kind, &text, error.octets()),
            }
        }
        self.follower.closed(line, None, Instant::now());
    }

    /// The follower has given a connection up.
    pub(super) fn down(&mut self, line: Line, cause: Cause) {
        let last = std::mem::take(&mut self.lines[line as usize].last);
        let text = cause.to_string();
        if line == Line::Stream {
            self.without.get_or_insert_with(Instant::now);
        }
        match cause {
            // `lost` has told of it.
            Cause::NotConnected(_) | Cause::Closed(_) | Cause::ClosedBeforeTls(_) => {}
            Cause::ConnectTimeout | Cause::Silent | Cause::Blocked | Cause::NoTls => {
                self.ended();
                self.fault(line, FaultKind::Late, &text, &[]);
            }
            Cause::Ended(_) if last.is_empty() => self.ended(),
            // Asked again, the same would be refused again.
            Cause::Ended(_) => self.give_up(FaultKind::Status, &text, &last),
            Cause::Tls(_) => self.give_up(FaultKind::Protocol, &text, &last),
            Cause::Protocol(error) => {
                self.ended();
                let kind = match error.fault {
                    ProtocolFault::UnknownXid(_) => FaultKind::UnknownXid,
                    _ => FaultKind::Protocol,
                };
                self.fault(line, kind, &text, &last);
            }
        }
        let without = self.without.map(|since| since.elapsed());
        if let Some(without) = without.filter(|without| *without > self.context.patience) {
            let text = format!("no stream for {without:?}: {text}");
            self.give_up(FaultKind::NotConnected, &text, &[]);
        }
    }

    fn ended(&self) {
        self.context.report.count(Count::LostConnections, 1);
    }

    fn give_up(&mut self, kind: FaultKind, text: &str, octets: &[u8]) {
        if !self.is_hopeless {
            self.is_hopeless = true;
            self.fault(Line::Stream, kind, text, octets);
        }
    }

    fn fault(&self, line: Line, kind: FaultKind, text: &str, octets: &[u8]) {
        let words = match line {
            Line::Stream => words("active", &self.query, &self.lines[0]),
            Line::Fill => words("bulk for a gap of active", &self.query, &self.lines[1]),
        };
        self.context
            .report
            .fault(kind, self.relay, words, text, octets);
    }

    /// Octets have come.
    pub(super) fn hear(&mut self, line: Line, octets: &[u8]) -> Result<(), LinkError> {
        let (now, now_ns, unix) = (Instant::now(), now_ns(), unix_now());
        let mut frames = std::mem::take(&mut self.lines[line as usize].frames);
        let pushed = frames.push(octets, |frame| {
            self.hear_frame(line, frame.octets, now, now_ns, unix);
            Ok(())
        });
        let heard = &mut self.lines[line as usize];
        heard.frames = frames;
        heard.octets += octets.len() as u64;
        Ok(pushed?)
    }

    fn hear_frame(
        &mut self,
        line: Line,
        frame: &[u8],
        now: Instant,
        now_ns: u64,
        unix: UnixSeconds,
    ) {
        let Self {
            context,
            relay,
            query,
            follower,
            check,
            fill,
            lines,
            asked,
            is_live,
            is_answered,
            without,
            refusals,
            ..
        } = self;
        let (report, heard) = (&context.report, &mut lines[line as usize]);
        let mut is_understood = false;
        let mut is_refusal = false;
        let words = words("active", query, heard);
        let mut fault = |kind: FaultKind, text: String, octets: &[u8]| {
            report.fault(kind, *relay, &words, text, octets);
        };
        follower.received(line, frame, now, &mut |event| {
            is_understood = true;
            match event {
                FollowEvent::Stream(event) => {
                    (*is_answered, *without, *refusals) = (true, None, 0);
                    let live = *is_live;
                    match &event {
                        ActiveEvent::Status(status) => {
                            report.count(Count::StreamStatuses, 1);
                            is_refusal = status.kind == ActiveStatusKind::Failed;
                            let is_live_now = matches!(
                                status.kind,
                                ActiveStatusKind::CatchUpComplete | ActiveStatusKind::DataMissing
                            );
                            if is_live_now {
                                *is_live = true;
                                if let Some(asked) = asked.take() {
                                    report.measure(|measures| {
                                        measures.catch_up.record(now - asked);
                                    });
                                }
                            }
                        }
                        _ => report.count(Count::StreamMessages, 1),
                    }
                    let changes = check.told(&event, unix, &mut fault);
                    if live {
                        // The first message of a stream without a past shows that it is one.
                        check.live();
                        changes
                            .into_iter()
                            .for_each(|number| propagated(context, number, now_ns));
                    }
                }
                FollowEvent::Fill(event) => {
                    if let Some(fill) = fill {
                        fill.told(&event, unix, &mut fault);
                    }
                }
                FollowEvent::Gap(gap) => {
                    report.count(Count::Gaps, 1);
                    if gap.filling == Filling::Impossible {
                        let text = "something is missing, and there is no bulk query about it";
                        fault(FaultKind::Missing, text.into(), frame);
                    }
                }
                FollowEvent::Filled(_) => {
                    if let Some(fill) = fill.take() {
                        fill.end(unix, &mut fault);
                    }
                }
            }
        });
        if (!is_understood || is_refusal) && heard.last.is_empty() {
            let message = frame.get(2..).unwrap_or_default();
            heard.last = message[..message.len().min(KEPT_OCTETS)].to_vec();
        }
    }
}

/// A change was told as it happened.
fn propagated(context: &Context, number: u64, received: u64) {
    let Some((submitted, acknowledged)) = context.board.times(context.family, number) else {
        return;
    };
    if submitted == 0 {
        return;
    }
    context.report.measure(|measures| {
        // Not acknowledged yet: this relay was told first.
        let since = match acknowledged {
            0 => received,
            acknowledged => acknowledged,
        };
        measures
            .propagation
            .record_ns(received.saturating_sub(since));
        let since = received.saturating_sub(submitted);
        measures.submitted_to_relay.record_ns(since);
    });
}

fn words<'a>(kind: &'static str, query: &'a Query, heard: &Heard) -> QueryWords<'a> {
    QueryWords {
        kind,
        query,
        xid: heard.xid,
    }
}
