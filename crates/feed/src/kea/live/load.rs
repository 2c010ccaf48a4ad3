//! Reading everything that a Kea holds: the result of its last clean-up, what has been written since, and an end for those
//! leases of the store that are in none of these files.
//!
//! Kea may be between the steps of a clean-up, or have died there: then there is no live file, or an empty one. What the other
//! files hold is loaded all the same, and nothing ends; once Kea has its live file, that is read too.

use std::path::Path;

use leaseq_store::{Event, State, View, Vpn};

use super::Live;
use super::fault::Fault;
use super::last::LastRows;
use super::place::{Place, Relays};
use super::reader::{Reader, Row};
use crate::follow::source::BATCH;
use crate::follow::{Position, Tail, Watch};
use crate::held::{self, Held};
use crate::kea::cleanup::{name_in_kea, settled};
use crate::run::{Intake, Phase, Progress, Status, Stop};

/// What became of a load.
pub(super) enum Loaded {
    /// Everything was read; the live file is read up to where the first reading found its end.
    Live(Box<Reader>, Relays),
    /// Kea's live file is not there, or just being made. What else is there was handed over.
    Missing,
    /// The signal to end was given.
    Stopped,
}

/// What was handed over of a Kea without a live file.
#[derive(Default)]
pub(super) struct Older {
    /// The ends of the files, in the order of their rows.
    ends: Vec<Position>,
    relays: Relays,
}

impl Older {
    /// How many files, from the oldest on, are those that were handed over, as they were then.
    fn known(&self, ends: &[End]) -> usize {
        let same = ends.iter().map(|end| &end.at).take(self.ends.len());
        match self.ends.iter().eq(same) {
            true => self.ends.len(),
            false => 0,
        }
    }

    /// How many files there were.
    pub(super) fn files(&self) -> usize {
        self.ends.len()
    }
}

/// The files of a Kea, oldest first.
struct Files {
    readers: Vec<Reader>,
    /// Whether the last one is the live one: Kea writes to no other.
    has_live: bool,
}

impl Files {
    /// How many of them nobody writes to.
    fn older(&self) -> usize {
        self.readers.len() - usize::from(self.has_live)
    }
}

/// Where the first reading found the end of a file.
struct End {
    at: Position,
    /// The number of the row that comes next.
    number: u32,
}

/// Octets read of those to be read, in two readings.
struct Octets {
    all: u64,
    read: u64,
}

impl Octets {
    /// Tells what is left, with what was read of the file under way.
    fn tell(&self, file: &Reader, status: &Status) {
        let read = self.read + file.tail().octets();
        status.set_backlog(self.all.saturating_sub(read / 2));
    }
}

impl Live {
    /// Reads all files, those of `older` no second time if they are as they were. A load that does not come to its end begins anew
    /// the next time.
    pub(super) fn load(
        &self,
        older: &mut Older,
        intake: &mut Intake,
        watch: &mut Watch,
        stop: &Stop,
    ) -> Result<Loaded, Fault> {
        let mut files = self.files(intake, watch)?;
        if files.readers.is_empty() {
            return Ok(Loaded::Missing);
        }
        let status = intake.status().clone();
        status.enter(Phase::Loading);
        let mut octets = Octets { all: 0, read: 0 };
        for file in &files.readers {
            octets.all += file.tail().size()?;
        }
        let mut rows = LastRows::default();
        let Some(mut ends) = first_reading(&mut files, &mut rows, &mut octets, &status, stop)?
        else {
            return Ok(Loaded::Stopped);
        };
        if files.has_live && !files.readers.last().is_some_and(Reader::has_columns) {
            // Kea has made the file and not yet written the first line.
            files.readers.pop();
            ends.pop();
            files.has_live = false;
        }
        let known = older.known(&ends);
        if known == ends.len() {
            return Ok(Loaded::Missing);
        }
        // From here on the store changes: it must not be believed to be at an old place if this does not come to its end.
        let read_up_to = intake.progress().read_up_to;
        let nowhere = Progress {
            position: Vec::new(),
            read_up_to,
        };
        intake.submit(Vec::new(), Some(nowhere))?;
        intake.settle()?;
        let headless = files.readers.iter().any(Reader::is_headless);
        let mut relays = match known {
            0 => Relays::Unknown,
            _ => older.relays,
        };
        let nobody_writes = files.older();
        let mut handing = Handing {
            intake,
            rows: &rows,
            number: 0,
            events: Vec::with_capacity(BATCH),
            relays: &mut relays,
        };
        let mut reading = None;
        for (at, (file, end)) in files.readers.into_iter().zip(&ends).enumerate() {
            if at < known {
                octets.read += end.at.octets;
                handing.number = end.number;
                continue;
            }
            let again = file.again()?;
            drop(file);
            let is_older = at < nobody_writes;
            match handing.file(again, end, is_older, &mut octets, stop)? {
                Some(read) => reading = Some(read),
                None => return Ok(Loaded::Stopped),
            }
        }
        handing.flush()?;
        let Some(reader) = reading.filter(|_| files.has_live) else {
            intake.settle()?;
            let ends = ends.into_iter().map(|end| end.at).collect();
            *older = Older { ends, relays };
            return Ok(Loaded::Missing);
        };
        if headless {
            let file = self.path.display();
            status.trouble(
                "feed-no-sweep",
                format_args!("{file}: a file without a header was read: leases that are missing from it are not ended"),
            );
        } else {
            sweep(intake, &rows)?;
        }
        let place = Place {
            at: reader.tail().position(),
            relays,
        };
        let progress = Progress {
            position: place.encode(),
            read_up_to,
        };
        intake.submit(Vec::new(), Some(progress))?;
        intake.settle()?;
        Ok(Loaded::Live(Box::new(reader), relays))
    }

    /// The files that hold the leases, as they are at one moment.
    fn files(&self, intake: &Intake, watch: &mut Watch) -> Result<Files, Fault> {
        // What happens to the live file from now on wakes.
        watch.file()?;
        let open = |path: &Path| match Tail::open(path) {
            Err(error) if error.is_missing() => Ok(None),
            opened => opened.map(Some),
        };
        let live = name_in_kea(&self.path);
        let opened = settled(&live, open, |tail| *tail.identity())?;
        let has_live = opened.last().is_some_and(|last| last.path() == live);
        let readers = opened
            .into_iter()
            .map(|tail| Reader::new(tail, self.family, intake.number()))
            .collect::<Result<_, _>>()?;
        Ok(Files { readers, has_live })
    }
}

/// Finds the last row of each lease, and where the files end; none if the signal to end was given.
fn first_reading(
    files: &mut Files,
    rows: &mut LastRows,
    octets: &mut Octets,
    status: &Status,
    stop: &Stop,
) -> Result<Option<Vec<End>>, Fault> {
    let mut number = 0u32;
    let older = files.older();
    let mut ends = Vec::with_capacity(files.readers.len());
    for (at, file) in files.readers.iter_mut().enumerate() {
        let mut rest = false;
        loop {
            let row = match file.next(Some(status))? {
                None if at < older && !rest => {
                    rest = true;
                    file.rest(Some(status))?
                }
                row => row,
            };
            match row {
                None => break,
                Some(Row::Lease(event)) => rows.note(&event, number),
                Some(Row::Rejected(Some(address))) => rows.doubt(address),
                Some(Row::Rejected(None) | Row::Blank) => {}
            }
            number = number.wrapping_add(1);
            if (number as usize).is_multiple_of(BATCH) {
                octets.tell(file, status);
                if stop.is_given() {
                    return Ok(None);
                }
            }
        }
        octets.read += file.tail().octets();
        let at = file.tail().position();
        ends.push(End { at, number });
    }
    Ok(Some(ends))
}

/// The second reading: hands over the last rows.
struct Handing<'l> {
    intake: &'l mut Intake,
    rows: &'l LastRows,
    number: u32,
    events: Vec<Event>,
    relays: &'l mut Relays,
}

impl Handing<'_> {
    /// Takes the rows of a file up to its end; nobody writes to an older one. None: the signal to end was given.
    fn file(
        &mut self,
        mut file: Reader,
        end: &End,
        is_older: bool,
        octets: &mut Octets,
        stop: &Stop,
    ) -> Result<Option<Reader>, Fault> {
        while file.tail().octets() < end.at.octets {
            let Some(row) = file.next(None)? else {
                return Err(Fault::Cut(file.tail().path().into()));
            };
            if self.row(row)? {
                octets.tell(&file, self.intake.status());
                if stop.is_given() {
                    return Ok(None);
                }
            }
        }
        if is_older {
            // The first reading found no further line end; what is behind the last one is there by a read past it.
            if let (None, Some(row)) = (file.next(None)?, file.rest(None)?) {
                self.row(row)?;
            }
        }
        octets.read += file.tail().octets();
        Ok(Some(file))
    }

    /// Takes the row of the next line. True: a batch is full and was handed over.
    fn row(&mut self, row: Row) -> Result<bool, Fault> {
        let number = self.number;
        self.number = number.wrapping_add(1);
        let Row::Lease(event) = row else {
            return Ok(false);
        };
        self.relays.see(&event);
        if self.rows.is_last(&event, number) {
            self.events.push(event);
        }
        if self.events.len() < BATCH {
            return Ok(false);
        }
        self.flush()?;
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), Fault> {
        let mut events = std::mem::replace(&mut self.events, Vec::with_capacity(BATCH));
        let view = self.intake.store().reader().view();
        // Of a lease that is not held its removal tells nothing.
        events.retain(|event| !is_removal(event) || is_held(&view, event));
        drop(view);
        Ok(self.intake.submit(events, None)?)
    }
}

fn is_removal(event: &Event) -> bool {
    match event {
        Event::V4(event) => event.state == State::Available,
        Event::V6(event) => event.state == State::Available,
        Event::Feed(_) => false,
    }
}

/// Whether the store may hold what the event is of as in use.
fn is_held(view: &View, event: &Event) -> bool {
    match event {
        Event::V4(event) => view
            .binding4(&Vpn::GLOBAL, event.address)
            .is_some_and(|held| !held.state().is_end()),
        Event::V6(event) => view
            .binding6(&Vpn::GLOBAL, event.address, event.prefix_len)
            .is_some_and(|held| !held.state().is_end()),
        Event::Feed(_) => true,
    }
}

/// Ends what the store holds from this feed and no row tells of: it was removed by rows that a clean-up has dropped since.
fn sweep(intake: &mut Intake, rows: &LastRows) -> Result<(), Fault> {
    intake.settle()?;
    let reader = intake.store().reader();
    let is_gone = |lease: &Held<'_>| match lease {
        Held::V4(lease) => rows.lacks4(lease),
        Held::V6(lease) => rows.lacks6(lease),
    };
    held::sweep(&reader, intake.number(), State::Released, is_gone, |ends| {
        intake.submit(ends, None)
    })?;
    Ok(())
}
