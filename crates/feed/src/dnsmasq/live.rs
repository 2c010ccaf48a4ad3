//! Follows the lease file of a running dnsmasq.
//!
//! dnsmasq keeps the file open, and at each change truncates it and writes all of it, so a reader may meet it empty or half
//! written, and no closing tells when it is done. Leases that are in the file count at once. Leases that are missing have ended
//! only if the file has stayed as it is for a moment, or if several readings in a row lacked them; and an empty file that would
//! end several leases before their time is what a full disk leaves: dnsmasq tries again after a minute, and so long it waits.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use leaseq_store::{Event, Stamp, State, Store, View};

use super::file::read;
use super::lease::{Lease, parse};
use super::{MAX_FILE, NO_RELAY_DATA};
use crate::Rejection;
use crate::follow::source::{self, BATCH, QUIET, Settings};
use crate::follow::{FollowError, Watch, Woken, open};
use crate::held::{Held, Key, held};
use crate::run::{Feed, Intake, IntakeError, Phase, Status, Stop};

/// A file that has not changed for so long is written whole.
const WRITTEN: Duration = Duration::from_millis(100);
/// Readings in a row that lack a lease, with changes in between, after which it has ended whether or not there is a pause.
const READINGS: u32 = 16;
/// dnsmasq tries a write that failed again after a minute.
const RETRIED: Duration = Duration::from_secs(90);

/// Starts the feed.
///
/// # Errors
/// There is no thread or no open file to be had.
pub fn start(settings: &Settings, store: Arc<Store>) -> io::Result<Feed> {
    let settings = settings.clone();
    source::start(settings, "dnsmasq", None, store, |path, intake, stop| {
        Live::new(path, intake)?.follow(intake, stop)
    })
}

/// Why following broke off.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Source(#[from] source::Fault),
    #[error("{}: expected a file of at most {MAX_FILE} octets", .0.display())]
    TooLarge(PathBuf),
}

impl From<FollowError> for Fault {
    fn from(error: FollowError) -> Fault {
        Fault::Source(error.into())
    }
}

impl From<IntakeError> for Fault {
    fn from(error: IntakeError) -> Fault {
        Fault::Source(error.into())
    }
}

struct Live {
    path: PathBuf,
    watch: Watch,
    /// Leases that the store holds of this feed.
    known: HashSet<Key>,
    /// Leases that were in the file at the last reading.
    latest: HashSet<Key>,
    /// Leases that were in the file at any reading since missing ones were ended last.
    seen: HashSet<Key>,
    /// Readings since then.
    readings: u32,
    /// Lines that were rejected at the last reading.
    rejected: Vec<(u64, String)>,
    /// Those that were told of since missing leases were ended last, and still stood in the file then.
    told: HashSet<(u64, String)>,
    /// Since when the file is empty.
    empty_since: Option<Instant>,
}

/// What a reading of the file has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Missing,
    /// It ends within a line.
    Cut,
    Whole,
}

impl Live {
    fn new(path: &Path, intake: &Intake) -> Result<Self, Fault> {
        let watch = Watch::new(path)?;
        let view = intake.store().reader().view();
        let known = held(&view, intake.number())
            .map(|lease| lease.key())
            .collect();
        Ok(Self {
            path: path.into(),
            watch,
            known,
            latest: HashSet::new(),
            seen: HashSet::new(),
            readings: 0,
            rejected: Vec::new(),
            told: HashSet::new(),
            empty_since: None,
        })
    }

    /// Follows until told to end.
    fn follow(&mut self, intake: &mut Intake, stop: &Stop) -> Result<(), Fault> {
        let status = Arc::clone(intake.status());
        loop {
            let now = intake.now();
            let found = self.read(intake, &status)?;
            if found == Found::Whole && self.readings >= READINGS {
                let seen = std::mem::take(&mut self.seen);
                self.settle(seen, intake, now)?;
            }
            let mut settled = false;
            let mut pause = WRITTEN;
            loop {
                let now = intake.now();
                match self.watch.wait(stop, pause)? {
                    Woken::Stopped => return Ok(()),
                    Woken::Changed => break,
                    Woken::Quiet => pause = QUIET,
                }
                match found {
                    Found::Whole if settled => intake.confirm(now)?,
                    Found::Whole => settled = self.settle(self.latest.clone(), intake, now)?,
                    Found::Cut => self.tell_cut(&status),
                    Found::Missing => {}
                }
            }
        }
    }

    /// Reads the file, and hands over what is in it.
    fn read(&mut self, intake: &mut Intake, status: &Status) -> Result<Found, Fault> {
        // Before the file is opened: what happens to it later wakes.
        self.watch.take_changes()?;
        let file = match open(&self.path) {
            Ok(file) => file,
            Err(error) if error.is_missing() => {
                self.tell_missing(status);
                return Ok(Found::Missing);
            }
            Err(error) => return Err(error.into()),
        };
        self.watch.file()?;
        let text = read(file).map_err(|source| FollowError::Read {
            path: self.path.clone(),
            source,
        })?;
        let mut text = text.ok_or_else(|| Fault::TooLarge(self.path.clone()))?;
        let whole = text.iter().rposition(|octet| *octet == b'\n');
        let whole = whole.map_or(0, |at| at + 1);
        let is_cut = whole < text.len();
        text.truncate(whole);
        self.empty_since = match text.is_empty() {
            true => self.empty_since.or_else(|| Some(Instant::now())),
            false => None,
        };
        let (leases, rejected) = parse(&text, intake.number());
        self.reject(rejected, status);
        remark(&leases, status);
        self.readings += 1;
        self.hand_over(leases, intake)?;
        Ok(if is_cut { Found::Cut } else { Found::Whole })
    }

    fn hand_over(&mut self, leases: Vec<Lease>, intake: &mut Intake) -> Result<(), Fault> {
        self.latest.clear();
        let now = intake.now();
        let mut batch = Vec::with_capacity(leases.len().min(BATCH));
        // All submissions before have settled, so it shows what they stored.
        let view = intake.store().reader().view();
        let number = intake.number();
        for lease in leases {
            if let Some(key) = Key::of(&lease.event) {
                self.latest.insert(key);
                self.seen.insert(key);
                self.known.insert(key);
                batch.push(as_stored(&view, &key, lease, now, number));
            }
            if batch.len() >= BATCH {
                intake.submit(std::mem::take(&mut batch), None)?;
            }
        }
        drop(view);
        intake.submit(batch, None)?;
        Ok(intake.settle()?)
    }

    /// Ends the leases that are not `present` any more. Whether that is done, and all was read up to `then`: not if the file cannot
    /// be believed.
    fn settle(
        &mut self,
        present: HashSet<Key>,
        intake: &mut Intake,
        then: Stamp,
    ) -> Result<bool, Fault> {
        let status = Arc::clone(intake.status());
        let view = intake.store().reader().view();
        let now = intake.now();
        let number = intake.number();
        let mut before_time = 0_usize;
        let mut ends = Vec::new();
        for key in self.known.difference(&present) {
            if let Some(lease) = Held::find(&view, number, key) {
                let runs_out = lease.runs_out();
                before_time +=
                    usize::from(runs_out.is_none_or(|end| end > u64::from(now.seconds())));
                ends.push(lease.end(State::Released, now));
            }
        }
        drop(view);
        let doubtful = self
            .empty_since
            .is_some_and(|since| before_time > 1 && since.elapsed() < RETRIED);
        if doubtful {
            let seconds = RETRIED.as_secs();
            status.wait_for_source(
                "feed-source-emptied",
                format_args!(
                    "{}: expected leases, found an empty file: is the disk full? In {seconds} s they will count as released",
                    self.path.display()
                ),
            );
            return Ok(false);
        }
        if !self.rejected.is_empty() && !ends.is_empty() {
            status.trouble(
                "feed-no-sweep",
                format_args!(
                    "{}: not all of the file was understood: leases that are missing from it are not ended",
                    self.path.display()
                ),
            );
        } else {
            for events in ends.chunks(BATCH) {
                intake.submit(events.to_vec(), None)?;
            }
            self.known = present;
        }
        self.seen.clear();
        self.told = self.rejected.iter().cloned().collect();
        self.readings = 0;
        intake.confirm(then)?;
        status.enter(Phase::Following);
        Ok(true)
    }

    /// Counts lines that are rejected, each once though the file is read again.
    fn reject(&mut self, rejected: Vec<(u64, String)>, status: &Status) {
        for told in &rejected {
            if !self.told.contains(told) {
                self.told.insert(told.clone());
                let (line, reason) = told.clone();
                let file = self.path.clone();
                status.reject(Rejection { file, line, reason });
            }
        }
        self.rejected = rejected;
    }

    fn tell_cut(&self, status: &Status) {
        status.wait_for_source(
            "feed-source-cut",
            format_args!(
                "{}: expected a line end, found that of the file: leases that are missing from it are not ended before it is \
                 written whole",
                self.path.display()
            ),
        );
    }

    fn tell_missing(&self, status: &Status) {
        status.wait_for_source(
            "feed-source-missing",
            format_args!(
                "{}: expected the lease file of a running dnsmasq, found none: is this the file of its dhcp-leasefile?",
                self.path.display()
            ),
        );
    }
}

/// The event of a lease: with the times that are stored, by this feed or by an import, if it ends when the stored one does; else as
/// first seen now.
fn as_stored(view: &View, key: &Key, lease: Lease, now: Stamp, feed: u16) -> Event {
    let stored = Held::find(view, feed, key).or_else(|| Held::find(view, 0, key));
    let stored = stored.filter(|stored| stored.runs_out() == lease.expires);
    match (stored, lease.event) {
        (Some(Held::V4(stored)), Event::V4(mut event)) => {
            (event.cltt, event.lease_time) = (stored.cltt(), stored.lease_time());
            Event::V4(event)
        }
        (Some(Held::V6(stored)), Event::V6(mut event)) => {
            event.cltt = stored.cltt();
            event.valid_lifetime = Some(stored.valid_lifetime());
            event.preferred_lifetime = Some(stored.preferred_lifetime());
            Event::V6(event)
        }
        (_, event) => Lease {
            expires: lease.expires,
            event,
        }
        .seen_at(now.seconds()),
    }
}

fn remark(leases: &[Lease], status: &Status) {
    let mut of_v4 = leases.iter().filter_map(|lease| match &lease.event {
        Event::V4(event) => Some(event.relay_agent_info.is_some()),
        _ => None,
    });
    let any = of_v4.clone().next().is_some();
    let remark = (any && !of_v4.any(|told| told)).then(|| NO_RELAY_DATA.to_owned());
    status.remark("feed-no-relay-data", remark);
}
