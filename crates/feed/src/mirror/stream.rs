//! Following a server's changes by active leasequery.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Instant;

use leaseq_requestor::client::{Heard, follow, now, random};
use leaseq_requestor::follow::{Cause, FollowEvent, FollowSettings, Follower, Line, Notice};
use leaseq_requestor::{ActiveEvent, ActiveStatus, ActiveStatusKind, Client6Leases, Lease4, Query};
use leaseq_wire::time::UnixSeconds;

use super::bulk::{Told, rubbish};
use super::keeper::{Keeper, Scope};
use super::position::{Position, beginning};
use super::run::{Limits, MirrorError, take, tell_swept};
use super::settings::Settings;
use super::wake::Wake;
use crate::run::{Phase, Stop};

/// Connections closed without an answer after which a server that has answered before is taken to do so no more.
const CLOSURES: u32 = 5;
/// Seconds by which the server's clock may differ from ours, or go back, before the operator is told.
const MAX_SKEW: u32 = 10;

/// How following ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The feed is to end.
    Stopped,
    /// Not everything is told any more that happened between these times.
    Gap {
        since: UnixSeconds,
        until: UnixSeconds,
    },
    /// The server's clock was put back.
    SteppedBack { from: UnixSeconds, to: UnixSeconds },
    /// The server has no active leasequery, or not for us.
    NoActive { why: String },
}

/// What is followed, and from when on.
pub(super) struct From<'s> {
    pub(super) server: SocketAddr,
    pub(super) since: UnixSeconds,
    pub(super) follow: FollowSettings,
    pub(super) query: Query,
    /// Those of the feed: names of the files that secure mode needs.
    pub(super) settings: &'s Settings,
}

/// A server's changes on their way to the store.
pub(super) struct Stream<'k, 'i> {
    keeper: &'k mut Keeper<'i>,
    limits: &'k mut Limits,
    name: String,
    /// Messages go over TLS.
    is_secure: bool,
    /// The server has answered an active query before, be it on another connection.
    has_active: bool,
    /// It has said something on this connection.
    has_answered: bool,
    /// Connections since then that it closed without a word.
    closures: u32,
    /// What happened before is being told.
    is_catching_up: bool,
    /// Everything there is has been told from the beginning of time.
    has_loaded: bool,
    /// The latest time up to which the server has told everything.
    latest: UnixSeconds,
    /// A connection of secure mode has failed: when there may be another one.
    retry_at: Option<Instant>,
    end: Option<Result<Outcome, MirrorError>>,
}

impl<'k, 'i> Stream<'k, 'i> {
    /// `has_active`: the server is known to answer active queries.
    pub(super) fn new(
        keeper: &'k mut Keeper<'i>,
        limits: &'k mut Limits,
        name: &str,
        has_active: bool,
    ) -> Self {
        Self {
            keeper,
            limits,
            name: name.to_owned(),
            is_secure: false,
            has_active,
            has_answered: false,
            closures: 0,
            is_catching_up: true,
            has_loaded: false,
            latest: beginning(),
            retry_at: None,
            end: None,
        }
    }

    /// Whether the server answers active queries.
    pub(super) fn has_active(&self) -> bool {
        self.has_active
    }

    /// Whether everything there is has been told.
    pub(super) fn has_loaded(&self) -> bool {
        self.has_loaded
    }

    /// Follows until something ends it. Lost connections are made again; those of secure mode with what the files say then.
    pub(super) fn follow(
        &mut self,
        from: From<'_>,
        wake: &Wake,
        stop: &Stop,
    ) -> Result<Outcome, MirrorError> {
        let since = Some(from.since);
        self.is_secure = from.follow.tls.is_some();
        self.latest = from.since;
        let mut follower = Follower::new(from.query, since, from.follow, random(), Instant::now())?;
        loop {
            follow(from.server, &mut follower, wake.stream(), &mut |heard| {
                let is_idle = matches!(heard, Heard::Idle { .. });
                self.end = self.hear(heard).transpose();
                // Once nothing is to be done, the server has been told why a connection failed.
                let is_lost = is_idle && self.retry_at.is_some();
                match self.end.is_some() || is_lost {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            match (self.end.take(), self.retry_at.take()) {
                (Some(end), _) => return end,
                (None, Some(retry_at)) if !wake.is_given() => {
                    stop.wait(retry_at.saturating_duration_since(Instant::now()));
                    match from.settings.tls_client() {
                        Ok(Some(tls)) => follower.secure(tls),
                        Ok(None) => {}
                        Err(error) => self.keeper.status().trouble("mirror-tls", error),
                    }
                }
                (None, _) => {
                    // What was told is kept; that it was told counts from the next start on.
                    self.idle(follower.base_time())?;
                    return Ok(Outcome::Stopped);
                }
            }
        }
    }

    fn hear(&mut self, heard: Heard<'_>) -> Result<Option<Outcome>, MirrorError> {
        match heard {
            Heard::Event(FollowEvent::Stream(event)) => {
                if !is_refusal(&event) {
                    (self.has_active, self.has_answered, self.closures) = (true, true, 0);
                }
                if let Some(outcome) = self.stepped_back(&event) {
                    return Ok(Some(outcome));
                }
                self.event(&event)?;
            }
            Heard::Event(FollowEvent::Gap(gap)) => {
                let (since, until) = (gap.since, gap.until);
                return Ok(Some(Outcome::Gap { since, until }));
            }
            // A gap ends this stream, so nothing fills it here.
            Heard::Event(FollowEvent::Fill(_) | FollowEvent::Filled(_)) => {}
            Heard::Notice(Notice::Asked(since)) => self.asked(since),
            Heard::Notice(Notice::Down {
                line,
                cause,
                retry_at,
            }) => {
                if line == Line::Stream {
                    self.retry_at = self.is_secure.then_some(retry_at);
                    return Ok(self.down(&cause));
                }
            }
            Heard::Idle { base_time } => self.idle(base_time)?,
        }
        Ok(None)
    }

    /// An active query is on its way.
    fn asked(&mut self, since: Option<UnixSeconds>) {
        (self.is_catching_up, self.has_answered) = (true, false);
        self.keeper.give_up_full();
        if since.is_none_or(|since| since <= beginning()) {
            self.keeper.begin_full();
        }
        if self.limits.no_active.is_none() {
            self.keeper.status().enter(Phase::Loading);
        }
    }

    fn event(&mut self, event: &ActiveEvent<'_>) -> Result<(), MirrorError> {
        let told = match event {
            ActiveEvent::Binding4(binding) => Lease4::read(&binding.message, now())
                .map_or_else(|error| rubbish(&binding.address(), &error), Told::V4),
            ActiveEvent::Client6(client) => {
                Client6Leases::read(&client.message, &client.client, now())
                    .map_or_else(|error| rubbish(&"a client", &error), Told::V6)
            }
            ActiveEvent::Status(status) => return self.status(status),
        };
        take(self.keeper, told, None)
    }

    fn status(&mut self, status: &ActiveStatus<'_>) -> Result<(), MirrorError> {
        match status.kind {
            ActiveStatusKind::CatchUpComplete => {
                self.is_catching_up = false;
                if self.limits.no_active.take().is_some() {
                    self.limits.tell(self.keeper);
                }
                if self.keeper.is_full() {
                    let as_of = status.base_time.unwrap_or_else(|| self.keeper.now());
                    let swept = self.keeper.sweep(&Scope::All, as_of)?;
                    tell_swept(self.keeper, swept);
                    self.has_loaded = true;
                    self.limits.incomplete = None;
                    self.limits.tell(self.keeper);
                }
                self.keeper.status().enter(Phase::Following);
                self.compare_clocks(status.base_time);
            }
            ActiveStatusKind::ConnectionActive if !self.is_catching_up => {
                self.compare_clocks(status.base_time);
            }
            // The follower tells of gaps and ends by itself.
            ActiveStatusKind::ConnectionActive
            | ActiveStatusKind::DataMissing
            | ActiveStatusKind::Terminated
            | ActiveStatusKind::Failed => {}
        }
        Ok(())
    }

    /// That the server's clock was put back: from its times it cannot be known any more what was told.
    fn stepped_back(&mut self, event: &ActiveEvent<'_>) -> Option<Outcome> {
        let ends_catching_up = matches!(
            event,
            ActiveEvent::Status(status) if status.kind == ActiveStatusKind::CatchUpComplete
        );
        // Before it the past is told, in no order of time.
        let is_live = ends_catching_up || !self.is_catching_up;
        let told = event.base_time().filter(|_| is_live)?;
        self.latest = self.latest.max(told);
        let (from, to) = (self.latest, told);
        is_step_back(from, to).then_some(Outcome::SteppedBack { from, to })
    }

    /// A server that has nothing to say tells its time.
    fn compare_clocks(&mut self, base_time: Option<UnixSeconds>) {
        let Some(theirs) = base_time else { return };
        let ours = self.keeper.now();
        let skew = ours.0.abs_diff(theirs.0);
        self.limits.clock = (skew > MAX_SKEW).then(|| {
            let which = if theirs > ours { "ahead of" } else { "behind" };
            // To the minute, so that it is not said anew at every second.
            let about = if skew < 90 { "a minute".to_owned() } else { format!("{} minutes", skew.div_ceil(60)) };
            format!("the server's clock is about {about} {which} ours, and so are the times that it tells")
        });
        self.limits.tell(self.keeper);
    }

    /// The connection has failed. Gives that there is no active leasequery, if that is why.
    fn down(&mut self, cause: &Cause) -> Option<Outcome> {
        let refused = match cause {
            Cause::Ended(Some(status)) => is_final(status.name).then(|| status.to_string()),
            // An unsupported message has the connection closed (RFC 7724 §8.1.1).
            // But so does a cut, and a server that ends at that moment. One that does not accept our certificate may be heard
            // by a reset alone, for we learn that after the handshake.
            Cause::Closed(error) if !self.has_answered && (!self.is_secure || error.is_none()) => {
                self.closures += 1;
                let is_enough = !self.has_active || self.closures >= CLOSURES;
                is_enough.then(|| "the server closed the connection".to_owned())
            }
            _ => None,
        };
        if let Some(why) = refused {
            return Some(Outcome::NoActive { why });
        }
        self.is_catching_up = true;
        self.keeper.status().enter(Phase::Waiting);
        self.keeper.status().trouble("mirror-down", cause);
        None
    }

    /// Everything that has come was told: up to the base-time nothing is missing.
    fn idle(&mut self, base_time: Option<UnixSeconds>) -> Result<(), MirrorError> {
        match base_time {
            Some(time) if time > beginning() => {
                let position = Position::new(&self.name, time);
                self.keeper.save(&position, time)?;
            }
            _ => self.keeper.settle()?,
        }
        Ok(())
    }
}

/// Whether another try will fare no better: the server answers no such query, or not to us.
fn is_final(status: Option<&str>) -> bool {
    let passing = ["QueryTerminated", "UnspecFail", "Success"];
    status.is_some_and(|name| !passing.contains(&name))
}

/// Whether base-times that follow each other like this are of a clock that was put back.
pub(super) fn is_step_back(from: UnixSeconds, to: UnixSeconds) -> bool {
    from.0.saturating_sub(to.0) > MAX_SKEW
}

fn is_refusal(event: &ActiveEvent<'_>) -> bool {
    matches!(event, ActiveEvent::Status(status) if status.kind == ActiveStatusKind::Failed)
}
