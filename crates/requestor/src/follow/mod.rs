//! Following one server: an active query that is asked again whenever its connection is lost, from where it had come to,
//! and bulk queries for what the server could not tell any more (RFC 7724 §7, RFC 7653 §8). No socket, no clock.
//!
//! The caller asks [`Follower::step`] what is to be done, does it, and reports what happened: a connection that stands
//! ([`connected`](Follower::connected)) or is gone ([`closed`](Follower::closed)), octets that were sent
//! ([`sent`](Follower::sent)) or have come ([`received`](Follower::received)). What the server tells goes to the caller as
//! [`FollowEvent`]s and is kept nowhere: of bindings only the [base-time](BaseTime) is remembered here. Who keeps them
//! and has to make one picture of stream and fill uses [`Known`].

mod base_time;
mod connection;
mod gap;
mod known;
mod settings;
mod told;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leaseq_wire::time::UnixSeconds;

pub use base_time::BaseTime;
pub use gap::{Filling, Gap};
pub use known::{Key, Known};
pub use settings::FollowSettings;
pub use told::{Action, Cause, FollowEvent, Line, Notice};

use crate::random::Random;
use crate::tls::TlsClient;
use crate::{Active, ActiveEvent, ActiveStatusKind, Bulk, Event, Query, QueryError, Status};
use connection::{Connection, Do};
use settings::Retry;

/// Follows one server with one active query.
#[derive(Debug)]
pub struct Follower {
    query: Query,
    settings: Arc<FollowSettings>,
    random: Random,
    base_time: BaseTime,
    stream: Stream,
    fill: Option<Fill>,
    /// A fill's connection that is still to be closed.
    leaving: Option<Connection>,
    notices: VecDeque<Notice>,
}

/// The active query and its connection.
#[derive(Debug)]
struct Stream {
    connection: Option<Connection>,
    answer: Option<Active>,
    retry: Retry,
}

/// Bulk queries and their connection.
#[derive(Debug)]
struct Fill {
    gap: Gap,
    /// The ones not answered yet; the last one is asked first.
    queries: Vec<Query>,
    connection: Option<Connection>,
    answer: Option<Bulk>,
    retry: Retry,
}

impl Follower {
    /// Follows a server from `now` on with this query, whose own times are not used: from the base-time remembered from
    /// before, or else only what changes from now on. `random` is where jitter and transaction ids come from.
    ///
    /// # Errors
    /// If an active query cannot ask this.
    pub fn new(
        query: Query,
        base_time: Option<UnixSeconds>,
        settings: impl Into<Arc<FollowSettings>>,
        random: u64,
        now: Instant,
    ) -> Result<Self, QueryError> {
        query.active_request(0, None)?;
        Ok(Self {
            query,
            settings: settings.into(),
            random: Random::new(random),
            base_time: BaseTime::new(base_time),
            stream: Stream {
                connection: None,
                answer: None,
                retry: Retry::now(now),
            },
            fill: None,
            leaving: None,
            notices: VecDeque::new(),
        })
    }

    /// The base-time up to which everything has been told: where another follower can go on.
    #[must_use]
    pub fn base_time(&self) -> Option<UnixSeconds> {
        self.base_time.remembered()
    }

    /// How the server is followed.
    #[must_use]
    pub fn settings(&self) -> &FollowSettings {
        &self.settings
    }

    /// Changes who we are to the server and whom we trust, from the next connection on.
    pub fn secure(&mut self, tls: TlsClient) {
        Arc::make_mut(&mut self.settings).tls = Some(tls);
    }

    /// A gap is open.
    #[must_use]
    pub fn has_gap(&self) -> bool {
        self.fill.is_some()
    }

    /// What is to be done at this time.
    pub fn step(&mut self, now: Instant) -> Action<'_> {
        let (line, todo) = loop {
            if let Some(notice) = self.notices.pop_front() {
                return Action::Notice(notice);
            }
            if let Some(leaving) = &mut self.leaving {
                // Its close is all that is left of it.
                let todo = leaving.step(now, &self.settings, Duration::ZERO);
                if let Ok(todo @ Do::Send) = todo {
                    break (Line::Fill, todo);
                }
                self.leaving = None;
                return Action::Close(Line::Fill);
            }
            let stream = match self.step_stream(now) {
                Ok(Do::Wait(until)) => until,
                Ok(todo) => break (Line::Stream, todo),
                Err(cause) => {
                    self.fail(Line::Stream, cause, now);
                    continue;
                }
            };
            match self.step_fill(now) {
                Ok(Some(Do::Wait(until))) => return Action::WaitUntil(until.min(stream)),
                Ok(None) => return Action::WaitUntil(stream),
                Ok(Some(todo)) => break (Line::Fill, todo),
                Err(cause) => self.fail(Line::Fill, cause, now),
            }
        };
        match todo {
            Do::Connect => Action::Connect(line),
            Do::Close => {
                *self.connection(line) = None;
                Action::Close(line)
            }
            Do::Wait(until) => Action::WaitUntil(until),
            Do::Send => {
                let connection = match line {
                    Line::Fill if self.leaving.is_some() => self.leaving.as_ref(),
                    Line::Fill => self.fill.as_ref().and_then(|fill| fill.connection.as_ref()),
                    Line::Stream => self.stream.connection.as_ref(),
                };
                Action::Send(
                    line,
                    connection.map_or(&[], |connection| &connection.handed_out),
                )
            }
        }
    }

    fn step_stream(&mut self, now: Instant) -> Result<Do, Cause> {
        let stream = &mut self.stream;
        if stream.connection.is_none() {
            if now < stream.retry.at {
                return Ok(Do::Wait(stream.retry.at));
            }
            stream.retry.at = now;
            let xid = self.query.xid(self.random.next() as u32);
            let connection = Connection::new(&self.settings, self.query.family(), xid);
            stream.connection = Some(connection);
        }
        match &mut stream.connection {
            Some(connection) => connection.step(now, &self.settings, self.settings.receive_timeout),
            None => Ok(Do::Wait(stream.retry.at)),
        }
    }

    fn step_fill(&mut self, now: Instant) -> Result<Option<Do>, Cause> {
        let Some(fill) = &mut self.fill else {
            return Ok(None);
        };
        if fill.connection.is_none() {
            if now < fill.retry.at {
                return Ok(Some(Do::Wait(fill.retry.at)));
            }
            fill.retry.at = now;
            let xid = self.query.xid(self.random.next() as u32);
            let connection = Connection::new(&self.settings, self.query.family(), xid);
            fill.connection = Some(connection);
        }
        match &mut fill.connection {
            Some(connection) => connection
                .step(now, &self.settings, self.settings.data_timeout)
                .map(Some),
            None => Ok(None),
        }
    }

    /// The connection is made.
    pub fn connected(&mut self, line: Line, now: Instant) {
        let settings = Arc::clone(&self.settings);
        let is_open = self
            .connection(line)
            .as_mut()
            .is_some_and(|connection| connection.connected(now, &settings));
        if is_open {
            self.opened(line);
        }
    }

    /// The octets handed out last have been sent.
    pub fn sent(&mut self, line: Line) {
        if let Some(connection) = self.connection(line) {
            connection.sent();
        }
    }

    /// The connection could not be made, or it has ended: by the server, or by an error.
    pub fn closed(&mut self, line: Line, error: Option<io::Error>, now: Instant) {
        let Some(connection) = self.connection(line).take() else {
            return;
        };
        if let Some(cause) = connection.lost(error) {
            self.fail(line, cause, now);
        }
    }

    /// Takes octets of the server and tells what is in them.
    pub fn received(
        &mut self,
        line: Line,
        octets: &[u8],
        now: Instant,
        on_event: &mut dyn FnMut(FollowEvent<'_>),
    ) {
        let result = match line {
            Line::Stream => self.receive_stream(octets, now, on_event),
            Line::Fill => self.receive_fill(octets, now, on_event),
        };
        match result {
            Ok(true) => self.opened(line),
            Ok(false) => {}
            Err(cause) => self.fail(line, cause, now),
        }
    }

    fn receive_stream(
        &mut self,
        octets: &[u8],
        now: Instant,
        on_event: &mut dyn FnMut(FollowEvent<'_>),
    ) -> Result<bool, Cause> {
        let Self {
            query,
            settings,
            base_time,
            stream,
            fill,
            leaving,
            ..
        } = self;
        let Stream {
            connection: Some(connection),
            answer,
            retry,
        } = stream
        else {
            return Ok(false);
        };
        let mut end = None;
        let opened = connection.receive(octets, now, &mut |octets| {
            let Some(active) = answer else {
                return Ok(());
            };
            active.push(octets, &mut |event| {
                let missing = note(base_time, &event, &mut end);
                if end.is_none() {
                    retry.failures = 0;
                }
                on_event(FollowEvent::Stream(event));
                let Some((since, until)) = missing else {
                    return;
                };
                let (gap, mut queries) = Gap::of(query, &settings.fill_queries, since, until);
                on_event(FollowEvent::Gap(gap));
                // A server that says so again and again is not asked more often than any other.
                let retry = match fill.as_ref().map(|fill| fill.retry) {
                    Some(Retry { at, failures }) => Retry {
                        at: at + settings.retry_interval,
                        failures,
                    },
                    None => Retry::now(now),
                };
                leave(fill, leaving);
                if gap.filling == Filling::Impossible {
                    base_time.filled();
                    return;
                }
                queries.reverse();
                *fill = Some(Fill {
                    gap,
                    queries,
                    connection: None,
                    answer: None,
                    retry,
                });
            })?;
            Ok(())
        })?;
        match end {
            Some(status) => Err(Cause::Ended(status)),
            None => Ok(opened),
        }
    }

    fn receive_fill(
        &mut self,
        octets: &[u8],
        now: Instant,
        on_event: &mut dyn FnMut(FollowEvent<'_>),
    ) -> Result<bool, Cause> {
        let Some(Fill {
            connection: Some(connection),
            answer,
            queries,
            ..
        }) = &mut self.fill
        else {
            return Ok(false);
        };
        let mut failure = None;
        let mut has_ended = false;
        let opened = connection.receive(octets, now, &mut |octets| {
            let Some(bulk) = answer else {
                return Ok(());
            };
            bulk.push(octets, &mut |event| match event {
                Event::Done(done) => {
                    has_ended = true;
                    failure = done.failure().cloned();
                }
                event => on_event(FollowEvent::Fill(event)),
            })?;
            Ok(())
        })?;
        if let Some(status) = failure {
            return Err(Cause::Ended(Some(status)));
        }
        if has_ended {
            queries.pop();
            if !queries.is_empty() {
                return Ok(true);
            }
            self.base_time.filled();
            let gap = self.fill.as_ref().map(|fill| fill.gap);
            leave(&mut self.fill, &mut self.leaving);
            if let Some(gap) = gap {
                on_event(FollowEvent::Filled(gap));
            }
        }
        Ok(opened)
    }

    /// Messages can be sent on it: the next query is.
    fn opened(&mut self, line: Line) {
        let xid = self.query.xid(self.random.next() as u32);
        match (line, &mut self.fill) {
            (Line::Stream, _) => {
                let since = self.base_time.remembered();
                // It could be written when the follower was made, and a time fits into every message.
                let request = self.query.active_request(xid, since).unwrap_or_default();
                self.base_time.begin(since.is_some());
                self.stream.answer = Some(Active::new(&self.query, xid, since.is_some()));
                if let Some(connection) = &mut self.stream.connection {
                    connection.channel.send(&request);
                }
                self.notices.push_back(Notice::Asked(since));
            }
            (Line::Fill, Some(fill)) => {
                let (Some(query), Some(connection)) =
                    (fill.queries.last(), fill.connection.as_mut())
                else {
                    return;
                };
                let mut bulk = Bulk::like(query);
                bulk.add(xid);
                fill.answer = Some(bulk);
                connection
                    .channel
                    .send(&query.bulk_request(xid).unwrap_or_default());
            }
            (Line::Fill, None) => {}
        }
    }

    /// A connection is not to be used any more, and its work to be done once more later.
    fn fail(&mut self, line: Line, cause: Cause, now: Instant) {
        let retry = match (line, &mut self.fill) {
            (Line::Stream, fill) => {
                // What the fill brings would have to wait for a stream that goes on from it.
                leave(fill, &mut self.leaving);
                self.stream.answer = None;
                &mut self.stream.retry
            }
            (Line::Fill, Some(fill)) => {
                fill.answer = None;
                &mut fill.retry
            }
            (Line::Fill, None) => return,
        };
        retry.failed(now, &self.settings, &mut self.random);
        let retry_at = retry.at;
        if let Some(connection) = self.connection(line) {
            connection.close();
        }
        self.notices.push_back(Notice::Down {
            line,
            cause,
            retry_at,
        });
    }

    fn connection(&mut self, line: Line) -> &mut Option<Connection> {
        match (line, &mut self.fill) {
            (Line::Stream, _) => &mut self.stream.connection,
            (Line::Fill, Some(fill)) => &mut fill.connection,
            (Line::Fill, None) => &mut self.leaving,
        }
    }
}

/// Takes note of what an event means for the base-time. Gives the ends of a gap that it opens, and into `end` the status
/// with which it ends the query.
fn note(
    base_time: &mut BaseTime,
    event: &ActiveEvent<'_>,
    end: &mut Option<Option<Status>>,
) -> Option<(UnixSeconds, UnixSeconds)> {
    let mut missing = None;
    if let ActiveEvent::Status(status) = event {
        match status.kind {
            ActiveStatusKind::ConnectionActive => {}
            ActiveStatusKind::CatchUpComplete => base_time.caught_up(),
            ActiveStatusKind::DataMissing => {
                // Who asked for no past and has heard nothing misses nothing.
                missing = base_time.remembered().zip(status.base_time);
                match missing {
                    Some(_) => base_time.missing(),
                    None => base_time.caught_up(),
                }
            }
            ActiveStatusKind::Terminated | ActiveStatusKind::Failed => {
                *end = Some(status.status.clone());
            }
        }
    }
    if let Some(time) = event.base_time() {
        base_time.hear(time);
    }
    missing
}

/// Gives up filling a gap. Its connection is closed before there is another one.
fn leave(fill: &mut Option<Fill>, leaving: &mut Option<Connection>) {
    if let Some(mut connection) = fill.take().and_then(|fill| fill.connection) {
        connection.close();
        *leaving = Some(connection);
    }
}
