//! The course of a mirror: what is there, then what changes; and what there is once more where something was missed.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use leaseq_requestor::client::{Client, ClientError, random_duid};
use leaseq_requestor::follow::FollowSettings;
use leaseq_requestor::tls::TlsClient;
use leaseq_requestor::{Query, QueryError, Selector4, Selector6, Status};
use leaseq_wire::parameters::BULK_LQ_MAX_RETRY;
use leaseq_wire::time::UnixSeconds;

use super::ask::{self, Bulk};
use super::bulk::{self, Told};
use super::keeper::{Keeper, Scope};
use super::position::{Position, beginning};
use super::settings::{Family, Settings, SetupError};
use super::stream::{self, Outcome, Stream};
use super::wake::Wake;
use crate::run::{Intake, IntakeError, Phase, Stop};

/// Bulk queries of one connection that run at once.
const PARALLEL: usize = 4;
/// Of a server without active leasequery everything is read each time after so many times that only changes were.
const WINDOWS: u32 = 12;
/// How much earlier than our clock a bulk answer without base-time is taken to be.
const MARGIN: u32 = 60;

/// Why a mirror does not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum MirrorError {
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error("{}", told(.0))]
    Bulk(#[from] ClientError),
    #[error("the server refused a bulk query: {0}")]
    Refused(Status),
    #[error("the server cannot be asked: {0}")]
    Query(#[from] QueryError),
    #[error(
        "the server tells neither everything nor changes, and no `links` or `relay-ids` are configured to ask for"
    )]
    NothingToAsk,
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A server being mirrored, across faults.
pub(super) struct Mirror {
    settings: Settings,
    wake: Arc<Wake>,
    /// Our DUID.
    requestor: Vec<u8>,
    /// Bulk queries for all VPNs are understood, as far as is known.
    all_vpns: bool,
    /// An active query from the beginning of time is answered in full, as far as is known.
    tells_beginning: bool,
    /// Everything must be read: something was missed.
    must_load: bool,
    /// When everything, or what changed, was read in bulk last.
    loaded: Option<Instant>,
    /// Times that only what changed was read in bulk since everything was.
    windows: u32,
    /// The server has answered an active query.
    has_active: bool,
    /// Times in a row that it did not.
    refusals: u32,
    limits: Limits,
}

/// What cannot be told of the server's leases, and why.
#[derive(Default)]
pub(super) struct Limits {
    pub(super) no_active: Option<String>,
    pub(super) incomplete: Option<String>,
    pub(super) vpns: Option<String>,
    pub(super) clock: Option<String>,
}

impl Limits {
    /// Says it as the feed's remark.
    pub(super) fn tell(&self, keeper: &Keeper<'_>) {
        let all = [&self.incomplete, &self.no_active, &self.vpns, &self.clock];
        let text: Vec<&str> = all.into_iter().flatten().map(String::as_str).collect();
        let text = (!text.is_empty()).then(|| text.join("; "));
        keeper.status().remark("mirror-limits", text);
    }
}

/// One attempt at the server.
struct Attempt {
    server: SocketAddr,
    tls: Option<TlsClient>,
}

impl Mirror {
    pub(super) fn new(settings: Settings, wake: Arc<Wake>) -> Self {
        Self {
            settings,
            wake,
            requestor: random_duid(),
            all_vpns: true,
            tells_beginning: true,
            must_load: false,
            loaded: None,
            windows: WINDOWS,
            has_active: false,
            refusals: 0,
            limits: Limits::default(),
        }
    }

    /// Mirrors until the feed is to end.
    pub(super) fn run(&mut self, intake: &mut Intake, stop: &Stop) -> Result<(), MirrorError> {
        let attempt = Attempt {
            server: self.settings.address()?,
            tls: self.settings.tls_client()?,
        };
        let mut base_time = Position::read(&intake.progress().position, &self.settings.server);
        let mut keeper = Keeper::new(intake);
        self.must_load |= base_time.is_none();
        while !self.wake.is_given() {
            if self.must_load && self.loads_in_bulk() {
                keeper.status().enter(Phase::Loading);
                match self.load(&attempt, &mut keeper, None)? {
                    None => return Ok(()),
                    loaded => base_time = loaded,
                }
            }
            let since = match base_time {
                Some(time) if !self.must_load => time,
                _ => beginning(),
            };
            match self.follow(&attempt, &mut keeper, stop, since)? {
                Outcome::Stopped => return Ok(()),
                Outcome::Gap { since, until } => {
                    self.missed(since, until, &mut base_time, &mut keeper)?;
                }
                Outcome::SteppedBack { from, to } => {
                    step_back(&mut keeper, from, to)?;
                    self.must_load = true;
                }
                Outcome::NoActive { why } => {
                    if self.pass_interval(&attempt, &mut keeper, stop, &mut base_time, why)? {
                        return Ok(());
                    }
                }
            }
            // A server that misses something again and again is not asked for everything all the time.
            if self.must_load
                && let Some(loaded) = self.loaded
            {
                stop.wait(self.settings.retry.saturating_sub(loaded.elapsed()));
            }
        }
        Ok(())
    }

    /// Whether everything is read in bulk, not by an active query from the beginning of time.
    fn loads_in_bulk(&self) -> bool {
        match self.settings.family {
            Family::V4 => true,
            Family::V6 => !self.tells_beginning || self.limits.no_active.is_some(),
        }
    }

    /// The stream could not tell everything since this time; what happens from `until` on was told.
    fn missed(
        &mut self,
        since: UnixSeconds,
        until: UnixSeconds,
        base_time: &mut Option<UnixSeconds>,
        keeper: &mut Keeper<'_>,
    ) -> Result<(), MirrorError> {
        keeper.give_up_full();
        keeper.settle()?;
        tracing::warn!(
            id = "mirror-gap",
            feed = keeper.status().name(),
            since = since.0,
            until = until.0,
            "the server cannot tell all changes any more: everything is read again"
        );
        self.must_load = true;
        if since > beginning() {
            return Ok(());
        }
        self.tells_beginning = false;
        if self.bulk(keeper, None).queries.is_empty() {
            // All that is left is what changes from now on.
            self.must_load = false;
            *base_time = Some(until);
            self.limits.incomplete = Some(
                "the server cannot tell what was leased before it was followed; \
                 configure `links` or `relay-ids` to ask for"
                    .into(),
            );
            self.limits.tell(keeper);
        }
        Ok(())
    }

    /// The bulk queries that tell most.
    fn bulk(&self, keeper: &Keeper<'_>, since: Option<UnixSeconds>) -> Bulk {
        match self.settings.family {
            Family::V4 => ask::bulk4(&self.settings, since, self.all_vpns),
            Family::V6 => {
                let (mut links, mut relay_ids) = keeper.known_relays();
                links.extend(&self.settings.links);
                relay_ids.extend(self.settings.relay_ids.iter().cloned());
                ask::bulk6(&links, &relay_ids, &self.requestor)
            }
        }
    }

    /// Reads everything that can be asked for, or what changed since a time. Gives the first base-time; none: the feed is to
    /// end.
    fn load(
        &mut self,
        attempt: &Attempt,
        keeper: &mut Keeper<'_>,
        since: Option<UnixSeconds>,
    ) -> Result<Option<UnixSeconds>, MirrorError> {
        let bulk = self.bulk(keeper, since);
        if bulk.queries.is_empty() {
            return Err(MirrorError::NothingToAsk);
        }
        self.loaded = Some(Instant::now());
        keeper.give_up_full();
        if since.is_none() {
            keeper.begin_full();
        }
        let began = keeper.now();
        let client = Client {
            tls: attempt.tls.clone(),
            parallel: PARALLEL,
            read_timeout: self.settings.data_timeout,
            ..Client::default()
        };
        let links: Vec<_> = bulk.queries.iter().map(link_of).collect();
        let answer = bulk::ask(
            client,
            attempt.server,
            bulk.queries.clone(),
            &self.wake,
            &mut |query, told| take(keeper, told, links.get(query).copied().flatten()),
        )?;
        let Some(answer) = answer else {
            return Ok(None);
        };
        if let Some((_, status)) = answer.failed.first() {
            let is_v4 = self.settings.family == Family::V4;
            if is_v4 && self.all_vpns && answer.told == 0 && is_not_for_us(status) {
                // Perhaps it knows nothing of VPNs.
                self.all_vpns = false;
                return self.load(attempt, keeper, since);
            }
            if answer.failed.len() == bulk.queries.len() {
                // It was not for the VPNs.
                self.all_vpns = true;
                return Err(MirrorError::Refused(status.clone()));
            }
            let failed = answer.failed.len();
            let text =
                format!("the server refused {failed} bulk queries, the first with: {status}");
            keeper.status().trouble("mirror-refused", text);
        }
        let margin = UnixSeconds(began.0.saturating_sub(MARGIN));
        let base_time = answer.base_time.unwrap_or(margin);
        if let (Some(from), Some(to)) = (since, answer.base_time)
            && stream::is_step_back(from, to)
        {
            // What it takes for older than the time that was asked for was not told.
            step_back(keeper, from, to)?;
            return self.load(attempt, keeper, None);
        }
        self.limits.vpns = (self.settings.family == Family::V4 && !self.all_vpns)
            .then(|| "the server refuses to tell of all VPNs: only the global one is known".into());
        if since.is_none() {
            let swept = keeper.sweep(&scope(&bulk, &answer.failed), base_time)?;
            tell_swept(keeper, swept);
        }
        self.limits.incomplete = (!bulk.is_everything).then(|| {
            let count = bulk.queries.len();
            format!("only what is asked for is known: {count} links and relay agents")
        });
        self.limits.tell(keeper);
        let position = Position::new(&self.settings.server, base_time);
        keeper.save(&position, base_time)?;
        (self.must_load, self.windows) = match since {
            None => (false, 0),
            Some(_) => (false, self.windows + 1),
        };
        Ok(Some(base_time))
    }

    /// Follows the server's changes from a time on.
    fn follow(
        &mut self,
        attempt: &Attempt,
        keeper: &mut Keeper<'_>,
        stop: &Stop,
        since: UnixSeconds,
    ) -> Result<Outcome, MirrorError> {
        let follow = FollowSettings {
            retry_interval: self.settings.retry,
            max_backoff: self.settings.retry.min(BULK_LQ_MAX_RETRY),
            tls: attempt.tls.clone(),
            receive_timeout: self.settings.receive_timeout,
            ..FollowSettings::default()
        };
        let query = ask::active(self.settings.family, &self.requestor);
        let from = stream::From {
            server: attempt.server,
            since,
            follow,
            query,
            settings: &self.settings,
        };
        let name = &self.settings.server;
        let mut stream = Stream::new(keeper, &mut self.limits, name, self.has_active);
        let outcome = stream.follow(from, &self.wake, stop)?;
        self.has_active = stream.has_active();
        if self.has_active {
            self.refusals = 0;
        }
        if stream.has_loaded() {
            self.must_load = false;
        }
        Ok(outcome)
    }

    /// There is no active leasequery: asks in bulk if it is time to, and waits until an active query is worth another try: a
    /// closed connection may have had another cause, so the first ones come soon. Gives whether the feed is to end.
    fn pass_interval(
        &mut self,
        attempt: &Attempt,
        keeper: &mut Keeper<'_>,
        stop: &Stop,
        base_time: &mut Option<UnixSeconds>,
        why: String,
    ) -> Result<bool, MirrorError> {
        keeper.give_up_full();
        let interval = self.settings.interval;
        self.limits.no_active = Some(format!(
            "no active leasequery ({why}): asked in bulk every {interval:?}"
        ));
        self.limits.tell(keeper);
        self.has_active = false;
        self.refusals = self.refusals.saturating_add(1);
        if !self.must_load && self.loaded.is_some() {
            keeper.status().enter(Phase::Following);
            let doubled = self
                .settings
                .retry
                .saturating_mul(1 << (self.refusals - 1).min(16));
            if stop.wait(doubled.min(interval)) {
                return Ok(true);
            }
            if self
                .loaded
                .is_some_and(|loaded| loaded.elapsed() < interval)
            {
                return Ok(false);
            }
        }
        let tells_ends = self.bulk(keeper, None).tells_ends;
        let is_window = tells_ends && !self.must_load && self.windows < WINDOWS;
        let since = base_time.filter(|_| is_window);
        if since.is_none() {
            keeper.status().enter(Phase::Loading);
        }
        match self.load(attempt, keeper, since)? {
            None => return Ok(true),
            loaded => *base_time = loaded,
        }
        keeper.status().enter(Phase::Following);
        Ok(false)
    }
}

/// Takes what a bulk answer tells.
pub(super) fn take(
    keeper: &mut Keeper<'_>,
    told: Told,
    link: Option<std::net::Ipv6Addr>,
) -> Result<(), MirrorError> {
    match told {
        Told::V4(lease) => keeper.lease4(lease)?,
        Told::V6(client) => keeper.client6(&client, link)?,
        Told::Rubbish(what) => keeper.status().reject(what),
    }
    Ok(())
}

/// Says how many leases are no longer told.
pub(super) fn tell_swept(keeper: &Keeper<'_>, swept: u64) {
    if swept > 0 {
        tracing::info!(
            id = "mirror-swept",
            feed = keeper.status().name(),
            leases = swept,
            "the server no longer tells of these leases: they have ended"
        );
    }
}

/// The server's clock was put back: says so, and that everything is to be read again from then on.
fn step_back(
    keeper: &mut Keeper<'_>,
    from: UnixSeconds,
    to: UnixSeconds,
) -> Result<(), IntakeError> {
    let text = format!(
        "the server's clock went back by {} s: everything is read again",
        from.0.saturating_sub(to.0)
    );
    keeper.status().trouble("mirror-clock", text);
    keeper.give_up_full();
    keeper.forget_position(to)
}

/// Whether a query was refused for what it asks, and not because the server could not answer.
fn is_not_for_us(status: &Status) -> bool {
    matches!(status.name, Some("MalformedQuery" | "NotAllowed"))
}

fn link_of(query: &Query) -> Option<std::net::Ipv6Addr> {
    match query {
        Query::V6(query) if query.selector == Selector6::Link => Some(query.link),
        _ => None,
    }
}

/// What the queries that were answered are about.
fn scope(bulk: &Bulk, failed: &[(usize, Status)]) -> Scope {
    if bulk.is_everything {
        return Scope::All;
    }
    let (mut links, mut relay_ids) = (HashSet::new(), HashSet::new());
    for (index, query) in bulk.queries.iter().enumerate() {
        if failed.iter().any(|(failed, _)| *failed == index) {
            continue;
        }
        match query {
            Query::V4(query) => {
                if let Selector4::RelayId(id) = &query.selector {
                    relay_ids.insert(id.clone());
                }
            }
            Query::V6(query) => match &query.selector {
                Selector6::Link => {
                    links.insert(query.link);
                }
                Selector6::RelayId(id) => {
                    relay_ids.insert(id.clone());
                }
                _ => {}
            },
        }
    }
    Scope::Asked { links, relay_ids }
}
