//! The writer's side of the log: appending batches, changing segments, and what to do when the disk fails.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::ahead::{Ahead, Prepared};
use super::disk::{Access, DiskFile};
use super::error::{AppendError, OpenError};
use super::format::{BATCH_HEADER, BatchHeader, Records, SEGMENT_HEADER, SegmentHeader};
use super::home::{Home, Identity};
use super::pos::Pos;
use super::segments::{LogView, Segment, Segments};
use super::walk::Reached;

/// The log as its one writer holds it.
#[derive(Debug)]
pub struct Log {
    pub(super) home: Home,
    pub(super) shared: Arc<ArcSwap<Segments>>,
    pub(super) compacting: Arc<AtomicBool>,
    next_number: u32,
    active: Active,
    reached: Reached,
    ahead: Ahead,
    /// Why nothing can be appended any more.
    read_only: Option<String>,
    /// The batch being written, kept for its allocation.
    buffer: Vec<u8>,
}

/// The segment that batches are appended to.
#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    /// `None`: the store was opened for reading.
    file: Option<Box<dyn DiskFile>>,
    /// Nothing more may be written here: a write or a sync failed.
    sealed: bool,
}

/// A batch that has become durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Position of the first record; where it would be, if the batch has none.
    pub base: Pos,
    /// Whether it went into a new segment: readers' tables have changed.
    pub new_segment: bool,
}

impl Appended {
    /// Position of the record that starts at `offset` (octets, a multiple of 8) of the records given.
    pub fn pos_of(&self, offset: usize) -> Pos {
        self.base.plus(offset as u64)
    }
}

/// What the log takes, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogStats {
    /// Segments in the log.
    pub segments: usize,
    /// Octets of their files.
    pub octets: u64,
    /// Octets of batches in them.
    pub used: u64,
    /// Octets of records counted as dead.
    pub dead: u64,
    /// How many records these are.
    pub dead_records: u64,
    /// Octets free in the active segment.
    pub free: u64,
    /// Whether the next segment is ready.
    pub next_ready: bool,
    /// Whether a failed disk has made the log read-only, or it was opened so.
    pub read_only: bool,
}

impl Log {
    /// Opens a log and gives every record in it to `on_record`: [`Recovery`](super::Recovery) in one call.
    pub fn open(
        home: Home,
        on_record: super::OnRecord<'_, '_>,
    ) -> Result<(Log, super::Recovered), OpenError> {
        super::Recovery::begin(home)?.replay(on_record)
    }

    /// Takes over after recovery. The table has at least one segment.
    pub(super) fn start(
        home: Home,
        segments: Arc<Segments>,
        reached: Reached,
    ) -> Result<Log, OpenError> {
        let Some(segment) = segments.chain().last().map(Arc::clone) else {
            return Err(OpenError::NoStore { dir: home.dir });
        };
        let read_only = home
            .options
            .read_only
            .then(|| "it was opened for reading".to_owned());
        let path = &*segment.path;
        let file = if read_only.is_none() {
            let opened = home.disk.open(path, Access::Write);
            Some(opened.map_err(OpenError::io("open", path))?)
        } else {
            None
        };
        let ahead = Ahead::start(&home, segment.header.covers_to + 1)
            .map_err(OpenError::io("start a thread for", &home.dir))?;
        Ok(Log {
            next_number: segment.number + 1,
            active: Active {
                segment,
                file,
                sealed: false,
            },
            shared: Arc::new(ArcSwap::new(segments)),
            compacting: Arc::new(AtomicBool::new(false)),
            reached,
            ahead,
            read_only,
            buffer: Vec::new(),
            home,
        })
    }

    /// Appends one batch; once this returns `Ok` it is durable, and in every table that [`shared`](Self::shared) gives.
    ///
    /// `first_sequence` is [`next_sequence`](Self::next_sequence), `next_sequence` that plus `count`, `stamp` not below
    /// the one before. `records` holds `count` whole records with these sequences and this stamp; none at all is allowed.
    ///
    /// After an error nothing of the batch can be read. Only if the error was of writing, a crash before the next
    /// successful append may bring the whole batch back.
    pub fn append(
        &mut self,
        first_sequence: u64,
        next_sequence: u64,
        stamp: u64,
        records: &[u8],
        count: u32,
    ) -> Result<Appended, AppendError> {
        if let Some(reason) = &self.read_only {
            return Err(AppendError::ReadOnly(reason.clone()));
        }
        let limit = self.max_records();
        if records.len() > limit {
            let octets = records.len();
            return Err(AppendError::TooLarge { octets, limit });
        }
        let batch = BatchHeader {
            first_sequence,
            next_sequence,
            stamp,
            octets: records.len() as u32,
            count,
        };
        self.check(&batch, records)?;
        let mut failure = None;
        if !self.active.sealed && batch.total() <= self.free() {
            match self.append_here(&batch, records) {
                Ok(base) => {
                    return Ok(Appended {
                        base,
                        new_segment: false,
                    });
                }
                Err(error) => {
                    tracing::error!(id = "log-write-failed", %error, segment = %self.active.segment.header.name,
                        "writing the log failed; the batch goes to a new segment");
                    // The kernel may have dropped what it could not write, and a later sync would not tell.
                    self.active.sealed = true;
                    failure = Some(error);
                }
            }
        }
        loop {
            let prepared = self.next_segment(failure.as_ref())?;
            match self.append_to(prepared, &batch, records) {
                Ok(base) => {
                    return Ok(Appended {
                        base,
                        new_segment: true,
                    });
                }
                Err(error) => match failure {
                    None => failure = Some(error),
                    Some(first) => return Err(self.give_up(&format!("{first}; then {error}"))),
                },
            }
        }
    }

    fn check(&self, batch: &BatchHeader, records: &[u8]) -> Result<(), AppendError> {
        let disorder = |what: String| Err(AppendError::Disorder(what));
        if batch.first_sequence != self.reached.next_sequence {
            return disorder(format!(
                "it starts at sequence {}, expected {}",
                batch.first_sequence, self.reached.next_sequence
            ));
        }
        if batch.stamp < self.reached.stamp {
            return disorder(format!(
                "its stamp {} is before {}, the one before it",
                batch.stamp, self.reached.stamp
            ));
        }
        if let Err(flaw) = batch.check_count(0) {
            return disorder(flaw.to_string());
        }
        let mut checked = Records::new(*batch, 0, records);
        loop {
            match checked.next() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(flaw) => return disorder(flaw.to_string()),
            }
        }
    }

    /// Writes the batch behind the last one.
    fn append_here(&mut self, batch: &BatchHeader, records: &[u8]) -> io::Result<Pos> {
        let Active { segment, file, .. } = &self.active;
        let file = file.as_deref().ok_or(io::ErrorKind::ReadOnlyFilesystem)?;
        let offset = segment.map.published();
        self.buffer.clear();
        batch.encode(segment.header.name, records, &mut self.buffer);
        file.write_at(&self.buffer, offset)?;
        if self.home.options.sync {
            file.sync()?;
        }
        segment.publish(offset + batch.total(), batch.next_sequence, batch.stamp);
        segment.note(offset, batch, Some(records));
        let base = Pos::new(segment.number, offset + BATCH_HEADER);
        self.advance(batch);
        Ok(base)
    }

    fn advance(&mut self, batch: &BatchHeader) {
        self.reached = Reached {
            next_sequence: batch.next_sequence,
            stamp: batch.stamp,
        };
    }

    fn next_segment(&mut self, failure: Option<&io::Error>) -> Result<Prepared, AppendError> {
        let id = self.active.segment.header.covers_to + 1;
        self.ahead.take(id).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => AppendError::Full(error),
            _ => match failure {
                Some(first) => self.give_up(&format!("{first}; then {error}")),
                None => AppendError::Segment(error),
            },
        })
    }

    /// Writes the batch as the first one of a new segment, which gets its name only once that is durable.
    fn append_to(
        &mut self,
        prepared: Prepared,
        batch: &BatchHeader,
        records: &[u8],
    ) -> io::Result<Pos> {
        let Prepared {
            name,
            path: unfinished,
            file,
            map,
        } = prepared;
        let header = SegmentHeader {
            name,
            size: map.len(),
            first_sequence: batch.first_sequence,
            covers_to: name.id,
            dropped_until: 0,
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(&header.encode());
        batch.encode(name, records, &mut self.buffer);
        let path = self.home.dir.join(name.to_string());
        self.write_first(&*file, &unfinished, &path)?;

        let segment = Arc::new(Segment::new(self.next_number, header, path, map));
        segment.publish(
            SEGMENT_HEADER + batch.total(),
            batch.next_sequence,
            batch.stamp,
        );
        segment.note(SEGMENT_HEADER, batch, Some(records));
        self.next_number += 1;
        let mut segments = Segments::clone(&self.shared.load());
        segments.append(Arc::clone(&segment));
        self.shared.store(Arc::new(segments));
        let base = Pos::new(segment.number, SEGMENT_HEADER + BATCH_HEADER);
        self.active = Active {
            segment,
            file: Some(file),
            sealed: false,
        };
        self.advance(batch);
        self.ahead.request(name.id + 1);
        Ok(base)
    }

    fn write_first(
        &self,
        file: &dyn DiskFile,
        unfinished: &std::path::Path,
        path: &std::path::Path,
    ) -> io::Result<()> {
        let disk = &*self.home.disk;
        let written = file.write_at(&self.buffer, 0).and_then(|()| {
            if self.home.options.sync {
                file.sync()
            } else {
                Ok(())
            }
        });
        if let Err(error) = written.and_then(|()| disk.rename(unfinished, path)) {
            let _ = disk.remove(unfinished);
            return Err(error);
        }
        // If this fails the name stays, with the batch in it: the next attempt takes the same id and replaces the file.
        if self.home.options.sync {
            disk.sync_dir(&self.home.dir)?;
        }
        Ok(())
    }

    fn give_up(&mut self, reason: &str) -> AppendError {
        tracing::error!(
            id = "store-read-only",
            reason,
            "the log cannot be written; the store is read-only"
        );
        self.read_only = Some(reason.to_owned());
        AppendError::ReadOnly(reason.to_owned())
    }

    /// Sequence of the next record.
    pub fn next_sequence(&self) -> u64 {
        self.reached.next_sequence
    }

    /// Stamp of the last batch; 0 before the first.
    pub fn last_stamp(&self) -> u64 {
        self.reached.stamp
    }

    /// Octets of records that a batch can have at most.
    pub fn max_records(&self) -> usize {
        (self.home.options.segment_size - SEGMENT_HEADER - BATCH_HEADER) as usize
    }

    /// Why nothing can be appended any more, if that is so.
    pub fn read_only(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    /// The store's directory and lock.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Who the store is.
    pub fn identity(&self) -> &Identity {
        self.home.identity()
    }

    /// The table as it is now.
    pub fn view(&self) -> LogView {
        LogView::new(self.shared.load_full())
    }

    /// Where readers find the newest table.
    pub fn shared(&self) -> Arc<ArcSwap<Segments>> {
        Arc::clone(&self.shared)
    }

    /// Counts a record as dead, as [`Segments::dead`].
    pub fn dead(&self, pos: Pos, octets: usize) {
        self.shared.load().dead(pos, octets);
    }

    /// Dead octets and records of each segment that has any, with a position in it.
    pub fn dead_by_segment(&self) -> Vec<(Pos, u64, u64)> {
        let segments = self.shared.load();
        let dead = segments.chain().iter().map(|s| {
            let pos = Pos::new(s.number, SEGMENT_HEADER);
            (pos, s.dead(), s.dead_records())
        });
        dead.filter(|&(_, octets, _)| octets > 0).collect()
    }

    /// How positions change when the store is closed now and opened again.
    pub fn renumbering(&self) -> Renumbering {
        let segments = self.shared.load();
        let chain = segments.chain();
        let highest = chain.iter().map(|s| s.number).max().unwrap_or(0);
        let mut numbers = vec![0; highest as usize + 1];
        for (new, segment) in (1..).zip(chain) {
            numbers[segment.number as usize] = new;
        }
        Renumbering { numbers }
    }

    /// What the log takes.
    pub fn stats(&mut self) -> LogStats {
        let next_ready = self.ahead.is_ready();
        let segments = self.shared.load();
        let chain = segments.chain();
        LogStats {
            segments: chain.len(),
            octets: chain.iter().map(|s| s.header.size).sum(),
            used: chain.iter().map(|s| s.used()).sum(),
            dead: chain.iter().map(|s| s.dead()).sum(),
            dead_records: chain.iter().map(|s| s.dead_records()).sum(),
            free: self.free(),
            next_ready,
            read_only: self.read_only.is_some(),
        }
    }

    /// Octets left in the active segment.
    fn free(&self) -> u64 {
        let segment = &self.active.segment;
        segment.header.size - segment.map.published()
    }

    pub(super) fn take_number(&mut self) -> u32 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// Whether a compaction may begin; marks it as begun.
    pub(super) fn begin_compaction(&self) -> bool {
        !self.home.options.read_only && !self.compacting.swap(true, Ordering::AcqRel)
    }
}

/// Translates positions into those that they will have when the store is next opened, for a checkpoint.
#[derive(Clone, Debug)]
pub struct Renumbering {
    /// New number by old one; 0: not part of the log.
    numbers: Vec<u32>,
}

impl Renumbering {
    /// The position after reopening; [`Pos::NONE`] if `pos` names no segment of the log.
    pub fn after_reopening(&self, pos: Pos) -> Pos {
        match self.numbers.get(pos.number() as usize) {
            Some(&new) if new > 0 => Pos::new(new, pos.offset()),
            _ => Pos::NONE,
        }
    }
}
