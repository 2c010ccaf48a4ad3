//! Reading everything that a Kea holds: the result of its last clean-up, what has been written since, and an end for those
//! leases of the store that are in none of these files.

use leaseq_store::{Event, State, View, Vpn};

use super::fault::Fault;
use super::last::LastRows;
use super::place::{Place, Relays};
use super::reader::{Reader, Row};
use super::{BATCH, Live};
use crate::follow::{self, Tail, Watch};
use crate::held::{self, Held};
use crate::kea::cleanup::{OpenedFile, lease_files, with_suffix};
use crate::run::{Intake, Phase, Progress, Status, Stop};

/// What became of a load.
pub(super) enum Loaded {
    /// Everything was read; the live file is read up to where the first reading found its end.
    Live(Box<Reader>, Relays),
    /// Kea's live file is not there, or just being made.
    Missing,
    /// The signal to end was given.
    Stopped,
}

/// Octets read of those to be read, in two readings.
struct Octets {
    all: u64,
    read: u64,
}

impl Octets {
    fn tell(&self, status: &Status) {
        status.set_backlog(self.all.saturating_sub(self.read / 2));
    }
}

impl Live {
    /// Reads all files. A load that does not come to its end begins anew the next time.
    pub(super) fn load(
        &self,
        intake: &mut Intake,
        watch: &mut Watch,
        stop: &Stop,
    ) -> Result<Loaded, Fault> {
        let Some(mut files) = self.files(intake, watch)? else {
            return Ok(Loaded::Missing);
        };
        let status = intake.status().clone();
        status.enter(Phase::Loading);
        let mut octets = Octets { all: 0, read: 0 };
        for file in &files {
            octets.all += file.tail().size()?;
        }
        let mut rows = LastRows::default();
        let mut number = 0u32;
        let mut ends = Vec::with_capacity(files.len());
        let live = files.len() - 1;
        for (at, file) in files.iter_mut().enumerate() {
            let mut rest = false;
            loop {
                let row = match file.next(Some(&status))? {
                    None if at < live && !rest => {
                        rest = true;
                        file.rest(Some(&status))?
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
                    let now = Octets {
                        read: octets.read + file.tail().octets(),
                        ..octets
                    };
                    now.tell(&status);
                    if stop.is_given() {
                        return Ok(Loaded::Stopped);
                    }
                }
            }
            octets.read += file.tail().octets();
            ends.push(file.tail().octets());
        }
        if !files[live].has_columns() {
            // Kea has made the file and not yet written the first line.
            return Ok(Loaded::Missing);
        }
        // From here on the store changes: it must not be believed to be at an old place if this does not come to its end.
        let read_up_to = intake.progress().read_up_to;
        let nowhere = Progress {
            position: Vec::new(),
            read_up_to,
        };
        intake.submit(Vec::new(), Some(nowhere))?;
        let headless = files.iter().any(Reader::is_headless);
        let mut relays = Relays::Unknown;
        let mut handing = Handing {
            intake,
            rows: &rows,
            number: 0,
            events: Vec::with_capacity(BATCH),
            relays: &mut relays,
        };
        let mut reading = None;
        for (at, file) in files.into_iter().enumerate() {
            let mut again = file.again()?;
            drop(file);
            while again.tail().octets() < ends[at] {
                let Some(row) = again.next(None)? else {
                    return Err(Fault::Cut(again.tail().path().into()));
                };
                if handing.row(row)? {
                    let now = Octets {
                        read: octets.read + again.tail().octets(),
                        ..octets
                    };
                    now.tell(&status);
                    if stop.is_given() {
                        return Ok(Loaded::Stopped);
                    }
                }
            }
            if at < live {
                // The first reading found no further line end; what is behind the last one is there by a read past it.
                if let (None, Some(row)) = (again.next(None)?, again.rest(None)?) {
                    handing.row(row)?;
                }
            }
            octets.read += again.tail().octets();
            reading = Some(again);
        }
        handing.flush()?;
        let Some(reader) = reading else {
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

    /// The files that hold the leases, oldest first, the live one last; none if there is no live one.
    fn files(&self, intake: &Intake, watch: &mut Watch) -> Result<Option<Vec<Reader>>, Fault> {
        // What happens to the live file from now on wakes.
        watch.file()?;
        for suffix in ["", ".1", ".2", ".completed"] {
            match follow::open(&with_suffix(&self.path, suffix)) {
                Err(error) if !error.is_missing() => return Err(error.into()),
                Err(_) if suffix.is_empty() => return Ok(None),
                _ => {}
            }
        }
        let opened = lease_files(&self.path).map_err(|source| Fault::Open {
            path: self.path.clone(),
            source,
        })?;
        if opened.last().is_none_or(|last| last.path != self.path) {
            return Ok(None);
        }
        let reader = |OpenedFile { path, file }| {
            Reader::new(Tail::of(&path, file)?, self.family, intake.number())
        };
        opened
            .into_iter()
            .map(reader)
            .collect::<Result<_, _>>()
            .map(Some)
    }
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
