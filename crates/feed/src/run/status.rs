//! What a feed tells about itself while it runs: what it does, what it has counted, how far it lags, and its last trouble.
//!
//! A feed's threads write it, the admin side reads it. Every trouble is also a log line with a message id; lines that a source
//! keeps sending wrong are counted all, and logged as long as they are few.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use leaseq_store::Stamp;

/// Rejected lines that are logged in each [`WINDOW`], and as many faults; the others are counted only.
const LOGGED: u32 = 10;
/// See [`LOGGED`].
const WINDOW: Duration = Duration::from_secs(60);

/// What a feed is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not looked at its source yet.
    Starting,
    /// It reads all that its source holds.
    Loading,
    /// It has read everything, and waits for what changes.
    Following,
    /// Its source cannot be reached or read; it tries again after a while.
    Waiting,
    /// It was told to end.
    Stopped,
}

impl Phase {
    /// All phases.
    pub const ALL: [Phase; 5] = [
        Phase::Starting,
        Phase::Loading,
        Phase::Following,
        Phase::Waiting,
        Phase::Stopped,
    ];

    /// Its name on the status page and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Loading => "loading",
            Phase::Following => "following",
            Phase::Waiting => "waiting",
            Phase::Stopped => "stopped",
        }
    }
}

/// A fault that a feed met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// When.
    pub at: SystemTime,
    /// What was expected and what came.
    pub text: String,
}

/// The live state of a feed.
#[derive(Debug)]
pub struct Status {
    name: String,
    kind: &'static str,
    family: Option<u8>,
    source: String,
    events: AtomicU64,
    changed: AtomicU64,
    rejected: AtomicU64,
    troubles: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: SystemTime,
    /// Since when its source could not be read, tries included.
    waiting_since: Option<SystemTime>,
    loaded: Option<SystemTime>,
    read_up_to: Stamp,
    backlog_octets: u64,
    writers: Option<u64>,
    remarks: Vec<(&'static str, String)>,
    trouble: Option<Trouble>,
    rejections: Few,
    faults: Few,
}

/// Lets few lines into the log in each [`WINDOW`].
#[derive(Debug, Default)]
struct Few {
    began: Option<Instant>,
    met: u32,
}

/// What is logged.
#[derive(Debug, PartialEq, Eq)]
enum Logged {
    It,
    /// That there is too much of it.
    TooMuch,
    Nothing,
}

impl Few {
    fn meet(&mut self, now: Instant) -> Logged {
        let is_over = |began| now.saturating_duration_since(began) >= WINDOW;
        if self.began.is_none_or(is_over) {
            *self = Few {
                began: Some(now),
                met: 0,
            };
        }
        self.met = self.met.saturating_add(1);
        match self.met {
            ..=LOGGED => Logged::It,
            met if met == LOGGED + 1 => Logged::TooMuch,
            _ => Logged::Nothing,
        }
    }
}

/// A feed as it was at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its name, under which the store keeps its position.
    pub name: String,
    /// Its kind, as the configuration names it.
    pub kind: &'static str,
    /// 4 or 6, if it tells of one family only.
    pub family: Option<u8>,
    /// Where it reads: a path or an address.
    pub source: String,
    /// What it is doing.
    pub phase: Phase,
    /// Since when; while it waits, since its source could not be read.
    pub since: SystemTime,
    /// When it had read everything for the first time since this server started.
    pub loaded: Option<SystemTime>,
    /// Nothing that the source did before this is unknown; zero: not known, or the feed has no such time.
    pub read_up_to: Stamp,
    /// Octets that are there to be read and were not yet.
    pub backlog_octets: u64,
    /// Writers that are connected, if it listens for them.
    pub writers: Option<u64>,
    /// Events that were stored, those that changed nothing included.
    pub events: u64,
    /// Events that changed something.
    pub changed: u64,
    /// Lines, rows or messages that were not taken.
    pub rejected: u64,
    /// Faults of the source as a whole: it went away, could not be read, refused.
    pub troubles: u64,
    /// What the operator should know, though nothing has failed.
    pub remark: Option<String>,
    /// The last fault.
    pub trouble: Option<Trouble>,
}

impl Snapshot {
    /// How far behind its source the feed may be at `now`; `None` where it has no such time.
    pub fn lag(&self, now: Stamp) -> Option<Duration> {
        (self.read_up_to > Stamp::ZERO)
            .then(|| Duration::from_millis(now.millis().saturating_sub(self.read_up_to.millis())))
    }
}

impl Status {
    /// A feed that is about to start. `kind` is the configuration's word for it, `source` a path or an address.
    pub fn new(
        name: impl Into<String>,
        kind: &'static str,
        family: Option<u8>,
        source: impl Into<String>,
    ) -> Status {
        Status {
            name: name.into(),
            kind,
            family,
            source: source.into(),
            events: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            troubles: AtomicU64::new(0),
            state: Mutex::new(State {
                phase: Phase::Starting,
                since: SystemTime::now(),
                waiting_since: None,
                loaded: None,
                read_up_to: Stamp::ZERO,
                backlog_octets: 0,
                writers: None,
                remarks: Vec::new(),
                trouble: None,
                rejections: Few::default(),
                faults: Few::default(),
            }),
        }
    }

    /// The feed's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything, as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        Snapshot {
            name: self.name.clone(),
            kind: self.kind,
            family: self.family,
            source: self.source.clone(),
            phase: state.phase,
            since: state.since,
            loaded: state.loaded,
            read_up_to: state.read_up_to,
            backlog_octets: state.backlog_octets,
            writers: state.writers,
            events: self.events.load(Relaxed),
            changed: self.changed.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            troubles: self.troubles.load(Relaxed),
            remark: (!state.remarks.is_empty()).then(|| {
                let texts: Vec<&str> = state.remarks.iter().map(|(_, text)| &**text).collect();
                texts.join("; ")
            }),
            trouble: state.trouble.clone(),
        }
    }

    /// The feed goes over to another phase. The first [`Phase::Following`] is when it has loaded.
    pub fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        if phase == Phase::Following && state.loaded.is_none() {
            state.loaded = Some(SystemTime::now());
        }
        let now = SystemTime::now();
        // A try that comes to nothing does not end the waiting: what matters is since when nothing has been told.
        let since = match phase {
            Phase::Waiting => *state.waiting_since.get_or_insert(now),
            Phase::Following => {
                state.waiting_since = None;
                now
            }
            _ => now,
        };
        if state.phase != phase {
            (state.phase, state.since) = (phase, since);
            tracing::debug!(id = "feed-phase", feed = %self.name, phase = phase.name(), "a feed goes on");
        }
    }

    /// What the feed is doing.
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Octets of the source that are there and were not read yet.
    pub fn set_backlog(&self, octets: u64) {
        self.lock().backlog_octets = octets;
    }

    /// Writers that are connected.
    pub fn set_writers(&self, writers: u64) {
        self.lock().writers = Some(writers);
    }

    /// Says what the operator should know, or that it no longer holds; logged once each time it changes. Remarks with
    /// different ids stand beside each other.
    pub fn remark(&self, id: &'static str, remark: Option<String>) {
        let mut state = self.lock();
        let at = state.remarks.iter().position(|(known, _)| *known == id);
        match (at, remark) {
            (None, None) => {}
            (Some(at), Some(text)) if state.remarks[at].1 == text => {}
            (at, Some(text)) => {
                tracing::warn!(id, feed = %self.name, "{text}");
                match at {
                    Some(at) => state.remarks[at].1 = text,
                    None => state.remarks.push((id, text)),
                }
            }
            (Some(at), None) => {
                let (_, text) = state.remarks.remove(at);
                tracing::info!(id, feed = %self.name, "no longer so: {text}");
            }
        }
    }

    /// Counts a fault of the source as a whole, keeps it as the last trouble, and logs it unless there were many.
    pub fn trouble(&self, id: &'static str, fault: impl Display) {
        self.troubles.fetch_add(1, Relaxed);
        let text = fault.to_string();
        let mut state = self.lock();
        match state.faults.meet(Instant::now()) {
            Logged::It => tracing::warn!(id, feed = %self.name, "{text}"),
            Logged::TooMuch => tracing::warn!(
                id = "feed-troubled",
                feed = %self.name,
                "there is much trouble: for a minute it is counted without being told"
            ),
            Logged::Nothing => {}
        }
        state.trouble = Some(Trouble {
            at: SystemTime::now(),
            text,
        });
    }

    /// Says that the feed waits for its source, for this fault of it: counted and logged once as long as it waits.
    pub fn wait_for_source(&self, id: &'static str, fault: impl Display) {
        if self.phase() != Phase::Waiting {
            self.enter(Phase::Waiting);
            self.trouble(id, fault);
        }
    }

    /// Counts a line, row or message that was not taken, keeps it as the last trouble, and logs it unless many were.
    pub fn reject(&self, what: impl Display) {
        self.rejected.fetch_add(1, Relaxed);
        let text = what.to_string();
        let mut state = self.lock();
        match state.rejections.meet(Instant::now()) {
            Logged::It => tracing::warn!(id = "feed-rejected", feed = %self.name, "{text}"),
            Logged::TooMuch => tracing::warn!(
                id = "feed-rejecting",
                feed = %self.name,
                "much is rejected: for a minute it is counted without being told"
            ),
            Logged::Nothing => {}
        }
        state.trouble = Some(Trouble {
            at: SystemTime::now(),
            text,
        });
    }

    /// Counts events that are durable.
    pub fn count(&self, events: u64, changed: u64) {
        self.events.fetch_add(events, Relaxed);
        self.changed.fetch_add(changed, Relaxed);
    }

    /// Nothing that the source did before this is unknown.
    pub fn set_read_up_to(&self, read_up_to: Stamp) {
        let mut state = self.lock();
        state.read_up_to = state.read_up_to.max(read_up_to);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_has_loaded_when_it_follows_for_the_first_time() {
        let status = Status::new("leases", "ndjson", None, "unix:/run/feed.sock");
        status.enter(Phase::Loading);
        assert_eq!(status.snapshot().loaded, None);
        status.enter(Phase::Following);
        let loaded = status.snapshot().loaded;
        assert!(loaded.is_some());
        status.enter(Phase::Waiting);
        status.enter(Phase::Following);
        assert_eq!(status.snapshot().loaded, loaded);
    }

    #[test]
    fn a_try_that_comes_to_nothing_does_not_end_the_waiting() {
        let status = Status::new("kea4", "kea-memfile", Some(4), "/leases4.csv");
        status.enter(Phase::Waiting);
        let first = status.snapshot().since;
        status.enter(Phase::Loading);
        assert!(status.snapshot().since > first);
        status.enter(Phase::Waiting);
        assert_eq!(status.snapshot().since, first);
        status.enter(Phase::Following);
        let followed = status.snapshot().since;
        status.enter(Phase::Waiting);
        assert!(status.snapshot().since >= followed);
    }

    #[test]
    fn troubles_and_rejections_are_counted_and_the_last_is_kept() {
        let status = Status::new("leases", "kea-memfile", Some(4), "/leases4.csv");
        for line in 1..=20 {
            status.reject(format_args!("/leases4.csv:{line}: rubbish"));
        }
        status.trouble("feed-lost", "the file is gone");
        let told = status.snapshot();
        assert_eq!((told.rejected, told.troubles), (20, 1));
        assert_eq!(told.trouble.unwrap().text, "the file is gone");
    }

    #[test]
    fn few_are_logged_in_a_minute_and_as_many_in_the_next() {
        let (mut few, now) = (Few::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(few.meet(now), Logged::It);
        }
        assert_eq!(few.meet(now), Logged::TooMuch);
        assert_eq!(few.meet(now + WINDOW / 2), Logged::Nothing);
        assert_eq!(few.meet(now + WINDOW), Logged::It);
    }

    #[test]
    fn remarks_stand_beside_each_other_until_they_no_longer_hold() {
        let status = Status::new("leases", "kea-ha", None, "127.0.0.1:8068");
        status.remark("feed-no-relay-data", Some("no relay data".into()));
        status.remark("feed-no-control", Some("no control".into()));
        status.remark("feed-no-control", Some("no control channel".into()));
        let told = status.snapshot().remark;
        assert_eq!(told.as_deref(), Some("no relay data; no control channel"));
        status.remark("feed-no-relay-data", None);
        status.remark("feed-no-relay-data", None);
        let told = status.snapshot().remark;
        assert_eq!(told.as_deref(), Some("no control channel"));
        status.remark("feed-no-control", None);
        assert_eq!(status.snapshot().remark, None);
    }

    #[test]
    fn lag_is_known_once_the_source_was_read() {
        let status = Status::new("leases", "kea-memfile", Some(4), "/leases4.csv");
        let now = Stamp::from_millis(20_000);
        assert_eq!(status.snapshot().lag(now), None);
        status.set_read_up_to(Stamp::from_millis(15_000));
        status.set_read_up_to(Stamp::from_millis(14_000));
        assert_eq!(status.snapshot().lag(now), Some(Duration::from_secs(5)));
    }
}
