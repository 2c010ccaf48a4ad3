//! Follows the lease file of a running dhcpd.
//!
//! dhcpd appends a declaration at each change, and about once an hour, and when it starts, puts a new file in the place of the
//! old one. A file that is begun is read twice: first to find the last declaration of each lease, then to hand over just these;
//! so a lease that was given out, given back and given out again does not flicker in the store. Leases of this feed that are
//! not in the new file have ended: dhcpd has forgotten them. What is appended later is handed over as it comes.
//!
//! The position is kept at ends of declarations only, and for a file that was begun not before all of it is read.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use leaseq_store::{Event, Stamp, State, Store};
use serde::{Deserialize, Serialize};

use super::file::{Declarations, Leases};
use super::ia::ByteOrder;
use crate::follow::source::{self, BATCH, Fault, QUIET, Settings};
use crate::follow::{FollowError, Followed, Identity, Position, Step, Way, Why, Woken, open};
use crate::held::{Held, Key, sweep};
use crate::run::{Feed, Intake, Phase, Progress, Status, Stop};
use crate::{ReadError, Rejection};

/// Starts the feed.
///
/// # Errors
/// There is no thread or no open file to be had.
pub fn start(settings: &Settings, store: Arc<Store>) -> io::Result<Feed> {
    let settings = settings.clone();
    source::start(settings, "isc-dhcpd", None, store, |path, intake, stop| {
        Live::new(path, intake)?.follow(intake, stop)
    })
}

/// The position that is kept in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    at: Position,
    /// Whether IAIDs have their most significant octet first in this file.
    big_endian: bool,
}

/// How far a file that was begun has been handed over.
enum Reading {
    /// All of it: what comes now was appended.
    Appended,
    /// Some of it.
    Begun(Begun),
    /// It has been replaced meanwhile. What it says is of the past.
    Outdated,
}

/// A file between its begin and its end.
#[derive(Default)]
struct Begun {
    /// The number of the last event of each lease.
    last: HashMap<Key, u64>,
    /// Events of the file when it was read for the first time.
    events: u64,
    /// Events handed over or passed over.
    taken: u64,
    rejected: bool,
}

struct Live {
    path: PathBuf,
    followed: Followed,
    declarations: Declarations,
    reading: Reading,
    batch: Vec<Event>,
    /// The last place at which no declaration was open.
    kept: Option<Kept>,
}

impl Live {
    fn new(path: &Path, intake: &Intake) -> Result<Self, Fault> {
        let kept: Option<Kept> = serde_json::from_slice(&intake.progress().position).ok();
        let at = kept.as_ref().map(|kept| &kept.at);
        let followed = Followed::new(path, Way::Appends, at)?;
        let kept = kept.filter(|_| followed.is_resumed());
        let mut declarations = Declarations::new(intake.number());
        if let Some(kept) = &kept {
            let order = ByteOrder::of(kept.big_endian);
            declarations.begin(kept.at.lines, order);
        }
        Ok(Self {
            path: path.into(),
            followed,
            declarations,
            reading: Reading::Appended,
            batch: Vec::new(),
            kept,
        })
    }

    /// Follows until told to end.
    fn follow(&mut self, intake: &mut Intake, stop: &Stop) -> Result<(), Fault> {
        let status = Arc::clone(intake.status());
        loop {
            let now = intake.now();
            match self.followed.step()? {
                Step::Begin(why) => self.begin(why, &status)?,
                Step::Line(line) => {
                    self.declarations.take(&line);
                    self.take_events(&status);
                    if self.batch.len() >= BATCH {
                        self.note_place();
                        self.submit(intake, None)?;
                        status.set_backlog(self.followed.backlog()?);
                        if stop.is_given() {
                            return Ok(intake.settle()?);
                        }
                    }
                }
                Step::End => {
                    self.end_what_is_gone(intake)?;
                    self.note_place();
                    self.submit(intake, Some(now))?;
                    intake.confirm(now)?;
                    status.set_backlog(self.followed.backlog()?);
                    status.enter(Phase::Following);
                    let remark = self.declarations.relay_data().remark();
                    status.remark("feed-no-relay-data", remark.map(str::to_owned));
                    if self.followed.wait(stop, QUIET)? == Woken::Stopped {
                        return Ok(());
                    }
                }
                Step::Missing => {
                    self.submit(intake, None)?;
                    intake.settle()?;
                    self.tell_missing(&status);
                    if self.followed.wait(stop, QUIET)? == Woken::Stopped {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// A file is read from its start.
    fn begin(&mut self, why: Why, status: &Status) -> Result<(), Fault> {
        if matches!(why, Why::Truncated | Why::Rewritten) {
            status.trouble(
                "feed-source-changed",
                format_args!(
                    "{}: expected dhcpd to append to its file, found it written anew in place: all leases are read again",
                    self.path.display()
                ),
            );
        }
        status.enter(Phase::Loading);
        self.declarations.begin(0, ByteOrder::NATIVE);
        self.kept = None;
        let file = match open(&self.path) {
            Ok(file) => file,
            Err(error) if error.is_missing() => {
                self.reading = Reading::Outdated;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata().map_err(|source| FollowError::Open {
            path: self.path.clone(),
            source,
        })?;
        let begun = self.followed.position().map(|position| position.file);
        if begun != Some(Identity::of(&found)) {
            self.reading = Reading::Outdated;
            return Ok(());
        }
        let mut begun = Begun::default();
        for item in Leases::read(self.path.clone(), file, 0) {
            match item {
                Ok(event) => {
                    begun.events += 1;
                    if let Some(key) = Key::of(&event) {
                        begun.last.insert(key, begun.events);
                    }
                }
                Err(ReadError::Rejected(_)) => {}
                Err(ReadError::Io { file: path, source }) => {
                    return Err(FollowError::Read { path, source }.into());
                }
            }
        }
        self.reading = Reading::Begun(begun);
        Ok(())
    }

    /// Takes the events of the lines so far.
    fn take_events(&mut self, status: &Status) {
        while let Some(item) = self.declarations.next_event() {
            match item {
                Ok(event) => {
                    if self.reading.wants(&event) {
                        self.batch.push(event);
                    }
                }
                Err((line, reason)) => {
                    if let Reading::Begun(begun) = &mut self.reading {
                        begun.rejected = true;
                    }
                    let file = self.path.clone();
                    status.reject(Rejection { file, line, reason });
                }
            }
        }
    }

    /// At the end of a file that was begun: leases of this feed that are not in it have ended.
    fn end_what_is_gone(&mut self, intake: &mut Intake) -> Result<(), Fault> {
        let Reading::Begun(begun) = std::mem::replace(&mut self.reading, Reading::Appended) else {
            return Ok(());
        };
        if begun.rejected {
            intake.status().trouble(
                "feed-no-sweep",
                format_args!(
                    "{}: not all of the file was understood: leases that are missing from it are not ended",
                    self.path.display()
                ),
            );
            return Ok(());
        }
        intake.submit(std::mem::take(&mut self.batch), None)?;
        intake.settle()?;
        let reader = intake.store().reader();
        let is_gone = |lease: &Held<'_>| !begun.last.contains_key(&lease.key());
        sweep(
            &reader,
            intake.number(),
            State::Available,
            is_gone,
            |ends| intake.submit(ends, None),
        )?;
        Ok(())
    }

    /// Notes the place behind the last line, if no declaration is open there.
    fn note_place(&mut self) {
        if self.declarations.unfinished().is_none() && matches!(self.reading, Reading::Appended) {
            let big_endian = self.declarations.order() == ByteOrder::Big;
            let at = self.followed.position();
            self.kept = at.map(|at| Kept { at, big_endian });
        }
    }

    /// Hands over what was read, with the place where to go on.
    fn submit(&mut self, intake: &mut Intake, read_up_to: Option<Stamp>) -> Result<(), Fault> {
        let events = std::mem::take(&mut self.batch);
        // Nothing is kept of a file that was begun: it would be begun again.
        let kept = self.kept.as_ref();
        let position = kept.map_or(Vec::new(), |kept| {
            serde_json::to_vec(kept).unwrap_or_default()
        });
        let is_news = !events.is_empty() || position != intake.progress().position;
        if is_news {
            let read_up_to = read_up_to.unwrap_or(intake.progress().read_up_to);
            let progress = Progress {
                position,
                read_up_to,
            };
            intake.submit(events, Some(progress))?;
        }
        Ok(())
    }

    fn tell_missing(&self, status: &Status) {
        status.wait_for_source(
            "feed-source-missing",
            format_args!(
                "{}: expected the lease file of a running dhcpd, found none: is this the file of its option -lf, or its \
                 \"lease-file-name\"?",
                self.path.display()
            ),
        );
    }
}

impl Reading {
    /// Whether an event is to be handed over: it is the last one of its lease, or was appended.
    fn wants(&mut self, event: &Event) -> bool {
        let begun = match self {
            Reading::Appended => return true,
            Reading::Outdated => return false,
            Reading::Begun(begun) => begun,
        };
        begun.taken += 1;
        let Some(key) = Key::of(event) else {
            return false;
        };
        if begun.taken > begun.events {
            begun.last.insert(key, begun.taken);
            return true;
        }
        begun.last.get(&key) == Some(&begun.taken)
    }
}
