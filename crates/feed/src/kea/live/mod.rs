//! The feed `kea-memfile`: follows the lease file of a running Kea.
//!
//! The live file is read line by line as Kea appends to it. When Kea begins a clean-up it renames the live file to `.1` and makes a
//! new one; the old one is read to its end, by the descriptor that is open, then the new one from its start. Nothing can be
//! missed that way as long as the old file still is `.1` once the new one is open: Kea renames no second one before the first is
//! gone. If it is gone already, or the place of an earlier run cannot be found any more, everything is loaded again, from the
//! clean-up's result on; leases that are in no file then are ended.
//!
//! The place is stored with the leases, in one submission. So after a loss of power or a kill each row is read that was not
//! stored, and rows that are read again change nothing in the end.

mod fault;
mod last;
mod load;
mod place;
mod reader;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use leaseq_store::{Event, Stamp, Store};

use self::fault::Fault;
use self::load::{Loaded, Older};
use self::place::{Place, Relays};
use self::reader::{Reader, Row};
use super::Family;
use super::cleanup::{name_in_kea, with_suffix};
use crate::follow::source::{self, BATCH, QUIET};
use crate::follow::{Condition, Tail, Watch, Woken, identity_of};
use crate::run::{Feed, Intake, Phase, Progress, Status, Stop};

/// What a feed of kind `kea-memfile` is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// The protocol.
    pub family: Family,
    /// Kea's live lease file: `name` of its `lease-database`.
    pub path: PathBuf,
}

/// Starts the feed. Kea need not run, nor its file be there.
///
/// # Errors
/// There is no thread or no open file to be had.
pub fn start(settings: &Settings, store: Arc<Store>) -> io::Result<Feed> {
    let family = settings.family;
    let number = family.number();
    let settings = source::Settings {
        name: settings.name.clone(),
        path: settings.path.clone(),
    };
    source::start(
        settings,
        "kea-memfile",
        Some(number),
        store,
        move |path, intake, stop| {
            let path = path.into();
            Live { path, family }.follow(intake, stop)
        },
    )
}

/// The live file of a Kea.
struct Live {
    path: PathBuf,
    family: Family,
}

/// How the file that is read stands to the name of the live one.
enum Standing {
    /// It is the live one.
    Live,
    /// No file has the name.
    Nameless,
    /// Another file has the name.
    Other,
}

impl Live {
    /// Follows until told to end.
    fn follow(&self, intake: &mut Intake, stop: &Stop) -> Result<(), Fault> {
        let mut watch = Watch::new(&self.path)?;
        let mut reading = self.resume(intake, &mut watch)?;
        let mut older = Older::default();
        loop {
            let ended = match reading {
                Some((reader, relays)) => self.read(reader, relays, intake, &mut watch, stop)?,
                None => match self.load(&mut older, intake, &mut watch, stop)? {
                    Loaded::Live(reader, relays) => {
                        self.read(*reader, relays, intake, &mut watch, stop)?
                    }
                    Loaded::Missing => self.await_file(&older, intake, &mut watch, stop)?,
                    Loaded::Stopped => Ended::Stopped,
                },
            };
            match ended {
                Ended::Stopped => return Ok(()),
                Ended::LoadAgain => reading = None,
            }
        }
    }

    /// The file and place where an earlier run was, if they are still to be found.
    fn resume(
        &self,
        intake: &Intake,
        watch: &mut Watch,
    ) -> Result<Option<(Reader, Relays)>, Fault> {
        let Some(place) = Place::decode(&intake.progress().position) else {
            return Ok(None);
        };
        watch.file()?;
        let Some(tail) = place.find(&self.path)? else {
            return Ok(None);
        };
        let reader = Reader::new(tail, self.family, intake.number())?;
        Ok(Some((reader, place.relays)))
    }

    /// Waits for a live file to be made.
    fn await_file(
        &self,
        older: &Older,
        intake: &mut Intake,
        watch: &mut Watch,
        stop: &Stop,
    ) -> Result<Ended, Fault> {
        let status = Arc::clone(intake.status());
        loop {
            match watch.wait(stop, QUIET)? {
                Woken::Stopped => return Ok(Ended::Stopped),
                Woken::Changed => return Ok(Ended::LoadAgain),
                Woken::Quiet => self.tell_missing(&status, older.files()),
            }
        }
    }

    /// Tells once that Kea's live file is not there; what `older` files hold was read.
    fn tell_missing(&self, status: &Status, older: usize) {
        let read = match older {
            0 => String::new(),
            1 => "what an older file of it holds is read; ".into(),
            _ => format!("what {older} older files of it hold is read; "),
        };
        status.wait_for_source(
            "feed-source-missing",
            format_args!(
                "{}: expected the lease file of a running Kea, found none, or one without a header; {read}\
                 is this the \"name\" of its \"lease-database\" of type \"memfile\", with \"persist\": true?",
                self.path.display()
            ),
        );
    }

    /// Reads and follows a file and those that come after it, as long as nothing can be missed by that.
    fn read(
        &self,
        reader: Reader,
        relays: Relays,
        intake: &mut Intake,
        watch: &mut Watch,
        stop: &Stop,
    ) -> Result<Ended, Fault> {
        let status = Arc::clone(intake.status());
        let mut reading = Reading {
            reader,
            relays,
            events: Vec::new(),
        };
        loop {
            if stop.is_given() {
                intake.settle()?;
                return Ok(Ended::Stopped);
            }
            // What the file holds by now is read below, if it is the live one even after that.
            let now = intake.now();
            if let Some(what) = reading.harm()? {
                status.trouble(
                    "feed-source-changed",
                    format_args!(
                        "{}: {what}: all leases are read again",
                        reading.reader.tail().path().display()
                    ),
                );
                return Ok(Ended::LoadAgain);
            }
            let is_end = reading.fill(&status)?;
            if !is_end {
                reading.submit(intake, None)?;
                continue;
            }
            match self.standing(&reading.reader)? {
                Standing::Live => {
                    reading.submit(intake, Some(now))?;
                    intake.confirm(now)?;
                    if reading.reader.has_columns() {
                        status.enter(Phase::Following);
                    }
                    self.remark(&status, reading.relays);
                    if watch.wait(stop, QUIET)? == Woken::Stopped {
                        return Ok(Ended::Stopped);
                    }
                }
                Standing::Nameless => {
                    // Between the two steps of Kea's renaming, or somebody has removed it: Kea goes on writing to it then.
                    reading.submit(intake, None)?;
                    intake.settle()?;
                    match watch.wait(stop, QUIET)? {
                        Woken::Stopped => return Ok(Ended::Stopped),
                        Woken::Changed => {}
                        Woken::Quiet => self.tell_missing(&status, 1),
                    }
                }
                Standing::Other => {
                    // Nothing more is written to it: Kea closes a file before it renames it. This reads what came before that.
                    while !reading.fill(&status)? {
                        reading.submit(intake, None)?;
                    }
                    reading.rest(&status)?;
                    reading.submit(intake, None)?;
                    let Some(next) = self.next(&reading.reader, intake.number(), watch)? else {
                        return Ok(Ended::LoadAgain);
                    };
                    reading.reader = next;
                }
            }
        }
    }

    fn standing(&self, reader: &Reader) -> Result<Standing, Fault> {
        let named = identity_of(&self.path)?;
        Ok(match named {
            None => Standing::Nameless,
            Some(named) if named == *reader.tail().identity() => Standing::Live,
            Some(_) => Standing::Other,
        })
    }

    /// The live file, if it certainly is the one that Kea made when it renamed `old`.
    fn next(&self, old: &Reader, feed: u16, watch: &mut Watch) -> Result<Option<Reader>, Fault> {
        let tail = match Tail::open(&self.path) {
            Err(error) if error.is_missing() => return Ok(None),
            opened => opened?,
        };
        watch.file()?;
        // After the opening: while the old file is the input of a clean-up no other live file can have come and gone.
        let input = with_suffix(&name_in_kea(&self.path), ".1");
        if identity_of(&input)?.as_ref() != Some(old.tail().identity()) {
            return Ok(None);
        }
        Reader::new(tail, self.family, feed).map(Some)
    }

    /// Says whether relay data is there.
    fn remark(&self, status: &Status, relays: Relays) {
        let remark = (relays == Relays::Never).then(|| {
            let server = match self.family {
                Family::V4 => "Dhcp4",
                Family::V6 => "Dhcp6",
            };
            format!(
                "no lease of {} has relay data, so none is found by relay-id, remote-id or link: \
                 set \"store-extended-info\": true in \"{server}\" of Kea's configuration",
                self.path.display()
            )
        });
        if relays != Relays::Unknown {
            status.remark("feed-no-relay-data", remark);
        }
    }
}

/// Why reading ended.
enum Ended {
    Stopped,
    LoadAgain,
}

/// A file that is being read.
struct Reading {
    reader: Reader,
    relays: Relays,
    /// Rows that were read and not handed over.
    events: Vec<Event>,
}

impl Reading {
    /// What somebody other than Kea did to the file, if anything.
    fn harm(&self) -> Result<Option<&'static str>, Fault> {
        let tail = self.reader.tail();
        if tail.is_ready() {
            return Ok(None);
        }
        Ok(match tail.condition()? {
            Condition::Intact => None,
            Condition::Truncated => Some("it was cut"),
            Condition::Rewritten => Some("it was written anew in place"),
        })
    }

    /// Reads a batch. True: the end was met.
    fn fill(&mut self, status: &Status) -> Result<bool, Fault> {
        while self.events.len() < BATCH {
            match self.reader.next(Some(status))? {
                None => return Ok(true),
                Some(row) => self.take(row),
            }
        }
        Ok(false)
    }

    /// Takes the row without a line end at the end of a file that nobody writes to.
    fn rest(&mut self, status: &Status) -> Result<(), Fault> {
        if let Some(row) = self.reader.rest(Some(status))? {
            self.take(row);
        }
        Ok(())
    }

    fn take(&mut self, row: Row) {
        if let Row::Lease(event) = row {
            self.relays.see(&event);
            self.events.push(event);
        }
    }

    /// Hands over what was read, with the place behind it; `read_up_to` if all was read that was written before.
    fn submit(&mut self, intake: &mut Intake, read_up_to: Option<Stamp>) -> Result<(), Fault> {
        let tail = self.reader.tail();
        let unread = tail.size()?.saturating_sub(tail.octets());
        intake.status().set_backlog(unread);
        let place = Place {
            at: tail.position(),
            relays: self.relays,
        };
        let position = place.encode();
        if self.events.is_empty() && position == intake.progress().position {
            return Ok(());
        }
        let progress = Progress {
            position,
            read_up_to: read_up_to.unwrap_or(intake.progress().read_up_to),
        };
        Ok(intake.submit(std::mem::take(&mut self.events), Some(progress))?)
    }
}
