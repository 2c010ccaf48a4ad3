//! Compaction: merging adjacent sealed segments into one that holds only what is still needed.
//!
//! [`Plan::choose`] and [`Log::install`] belong to the writer's thread, [`Plan::run`] to any other. The order of steps is
//! that of `docs/store-format.md`: the merged segment is durable under its name before a position moves, and its sources
//! go last. If the process ends in between, opening the store removes them.

use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::disk::Disk;
use super::error::{CompactError, Corruption, Damage};
use super::format::{
    BATCH_HEADER, BatchFlaw, BatchHeader, Records, SEGMENT_HEADER, SegmentHeader, SegmentName,
};
use super::home::unfinished;
use super::map::SegmentMap;
use super::pos::Pos;
use super::segments::{LogView, Segment, Segments};
use super::walk::{FoundBatch, Stop, Walk};
use super::writer::Log;

/// A run of segments is merged if it gives back at least one part in this many of their files.
const WORTHWHILE: u64 = 5;
/// Segments merged at once, at most.
const MOST_SOURCES: usize = 64;
/// Octets of records after which a batch of the merged segment is closed.
const BATCH_TARGET: usize = 256 << 10;

/// What is to become of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is copied.
    Keep,
    /// It is dropped: a later record of the log has taken its place.
    Superseded,
    /// It is dropped though nothing has taken its place: an end or a departure older than the history kept.
    Ended,
}

/// The segments that are to be merged. While it exists, or what becomes of it, no other is chosen.
#[derive(Debug)]
pub struct Plan {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    view: LogView,
    sources: Vec<Arc<Segment>>,
    is_oldest: bool,
    number: u32,
    segment_size: u64,
    populate: bool,
    claim: Claim,
}

/// A merged segment, durable under its name, that no position leads to yet.
#[derive(Debug)]
pub struct Compacted {
    segment: Arc<Segment>,
    installed: Installed,
}

/// What an installed compaction leaves for its caller to do: move positions, then [`Log::remove_sources`].
#[derive(Debug)]
pub struct Installed {
    /// Each record that was kept: its old and its new position, in order of the log.
    pub moves: Vec<(Pos, Pos)>,
    /// Old positions of the records dropped as [`Verdict::Ended`].
    pub ended: Vec<Pos>,
    /// Id of the last segment merged.
    pub covers_to: u64,
    /// Octets of files that removing the sources gives back, net of the merged segment.
    pub reclaimed: u64,
    sources: Vec<u32>,
    _claim: Claim,
}

/// The right to compact, given back when dropped.
#[derive(Debug)]
struct Claim(Arc<AtomicBool>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Plan {
    /// The run of sealed segments whose merging gives back most, by their counts of dead octets; `None` if none is worth
    /// it, or a compaction is under way.
    pub fn choose(log: &mut Log) -> Option<Plan> {
        let segment_size = log.home.options.segment_size;
        let view = log.view();
        let run = best_run(sealed(&view), segment_size)?;
        Plan::of(log, view, run)
    }

    /// The segments that come after the one with id `after` (0: from the oldest on) and fit into one, by their counts of
    /// dead octets, whatever merging them gives back: for a pass over the whole log. `None` at its end, or if a compaction
    /// is under way.
    pub fn next_run(log: &mut Log, after: u64) -> Option<Plan> {
        let segment_size = log.home.options.segment_size;
        let view = log.view();
        let segments = sealed(&view);
        let start = segments.partition_point(|s| s.header.name.id <= after);
        let mut kept = SEGMENT_HEADER;
        let fitting = segments[start..]
            .iter()
            .take(MOST_SOURCES)
            .take_while(|segment| {
                kept += segment.used() - segment.dead();
                kept <= segment_size
            });
        let end = start + fitting.count().max(1);
        if end > segments.len() {
            return None;
        }
        Plan::of(log, view, start..end)
    }

    fn of(log: &mut Log, view: LogView, run: std::ops::Range<usize>) -> Option<Plan> {
        let segment_size = log.home.options.segment_size;
        if !log.begin_compaction() {
            return None;
        }
        Some(Plan {
            is_oldest: run.start == 0,
            disk: Arc::clone(&log.home.disk),
            dir: log.home.dir.clone(),
            sources: sealed(&view)[run].to_vec(),
            view,
            number: log.take_number(),
            segment_size,
            populate: log.home.options.populate,
            claim: Claim(Arc::clone(&log.compacting)),
        })
    }

    /// The table to look up what the verdicts depend on; the records given to them are in it.
    pub fn view(&self) -> &LogView {
        &self.view
    }

    /// Whether the log begins with the segments to be merged.
    pub fn is_oldest(&self) -> bool {
        self.is_oldest
    }

    /// Ids of the segments to be merged.
    pub fn sources(&self) -> Vec<SegmentName> {
        self.sources.iter().map(|s| s.header.name).collect()
    }

    /// Copies what `verdict` keeps into a new segment and makes it durable. Takes memory for the merged segment. If more
    /// is kept than fits into one, the last of the sources are left as they are.
    ///
    /// A verdict other than [`Verdict::Keep`] must hold for good: what supersedes a record must itself be durable.
    pub fn run(
        self,
        mut verdict: impl FnMut(Pos, &[u8]) -> Verdict,
    ) -> Result<Compacted, CompactError> {
        let first = &self.sources[0];
        let limit = self.segment_size.max(first.header.size) as usize;
        let generations = self.sources.iter().map(|s| s.header.name.generation);
        let name = SegmentName {
            id: first.header.name.id,
            generation: generations.max().unwrap_or(0) + 1,
        };
        let mut merge = Merge::new(name, self.number, first.header.first_sequence);
        let mut merged = 0;
        for source in &self.sources {
            let before = merge.mark();
            merge.add(source, &mut verdict)?;
            merge.close_batch();
            // Sequences without records at the end may take one more batch.
            if merge.file.len() + BATCH_HEADER as usize > limit && merged > 0 {
                merge.go_back(before);
                break;
            }
            merged += 1;
        }
        let sources = &self.sources[..merged];
        let segment = match self.write(&mut merge, sources) {
            Ok(segment) => segment,
            Err(Failed { error, cleared }) => {
                if !cleared {
                    // A leftover that may come back after a crash must not overlap with another merged segment.
                    mem::forget(self.claim);
                }
                return Err(error);
            }
        };
        let sizes: u64 = sources.iter().map(|s| s.header.size).sum();
        Ok(Compacted {
            installed: Installed {
                moves: merge.moves,
                ended: merge.ended,
                covers_to: segment.header.covers_to,
                reclaimed: sizes.saturating_sub(segment.header.size),
                sources: sources.iter().map(|s| s.number).collect(),
                _claim: self.claim,
            },
            segment,
        })
    }

    /// Writes the merged segment, syncs it, gives it its name and maps it.
    fn write(&self, merge: &mut Merge, sources: &[Arc<Segment>]) -> Result<Arc<Segment>, Failed> {
        let end = merge.finish();
        let last = &sources[sources.len() - 1];
        let header = SegmentHeader {
            name: merge.name,
            size: merge.file.len() as u64,
            first_sequence: sources[0].header.first_sequence,
            covers_to: last.header.covers_to,
            dropped_until: merge.dropped_until,
        };
        merge.file[..SEGMENT_HEADER as usize].copy_from_slice(&header.encode());
        let path = self.dir.join(merge.name.to_string());
        let unfinished = unfinished(&self.dir, &merge.name.to_string());
        let written = self.disk.create(&unfinished, 0).and_then(|file| {
            file.write_at(&merge.file, 0)?;
            file.sync()?;
            let map = SegmentMap::new(file.file(), self.populate)?;
            self.disk.rename(&unfinished, &path)?;
            Ok(map)
        });
        let map = written.map_err(|source| {
            let _ = self.disk.remove(&unfinished);
            Failed {
                error: refused("write", &unfinished)(source),
                cleared: true,
            }
        })?;
        merge.file = Vec::new();
        self.disk.sync_dir(&self.dir).map_err(|source| {
            let removed = self.disk.remove(&path);
            Failed {
                error: refused("make durable the name of", &path)(source),
                cleared: removed.and_then(|()| self.disk.sync_dir(&self.dir)).is_ok(),
            }
        })?;
        let segment = Segment::new(self.number, header, path, map);
        segment.publish(end, last.next_sequence(), last.last_stamp());
        segment.note_all();
        Ok(Arc::new(segment))
    }
}

impl Log {
    /// Puts a merged segment into the place of its sources, in the table that readers load from now on. The sources can
    /// be looked up until they are removed.
    pub fn install(&mut self, compacted: Compacted) -> Result<Installed, CompactError> {
        let Compacted { segment, installed } = compacted;
        let mut segments = Segments::clone(&self.shared.load());
        if !segments.replace(segment, &installed.sources) {
            return Err(CompactError::Stale);
        }
        self.shared.store(Arc::new(segments));
        Ok(installed)
    }

    /// Takes the sources of a compaction out of the table and deletes their files; readers that still hold an older table
    /// keep their maps. To be called once no position leads to them.
    pub fn remove_sources(&mut self, installed: Installed) {
        let mut segments = Segments::clone(&self.shared.load());
        let removed = segments.remove(&installed.sources);
        self.shared.store(Arc::new(segments));
        for segment in removed {
            if let Err(error) = self.home.disk.remove(&segment.path) {
                tracing::warn!(id = "segment-not-deleted", %error, path = %segment.path.display(),
                    "a compacted segment could not be deleted; it will be when the store is next opened");
            }
        }
    }
}

/// All segments but the one that is appended to.
fn sealed(segments: &Segments) -> &[Arc<Segment>] {
    let chain = segments.chain();
    &chain[..chain.len().saturating_sub(1)]
}

fn best_run(segments: &[Arc<Segment>], segment_size: u64) -> Option<std::ops::Range<usize>> {
    let mut best = None;
    let mut most = 0;
    for start in 0..segments.len() {
        let (mut kept, mut sizes) = (SEGMENT_HEADER, 0);
        for (at, segment) in segments.iter().enumerate().skip(start).take(MOST_SOURCES) {
            kept += segment.used() - segment.dead();
            sizes += segment.header.size;
            if kept > segment_size {
                break;
            }
            let reclaimed = sizes.saturating_sub(kept.next_multiple_of(4096));
            if reclaimed > most && reclaimed >= sizes / WORTHWHILE {
                most = reclaimed;
                best = Some(start..at + 1);
            }
        }
    }
    best
}

struct Failed {
    error: CompactError,
    /// Nothing of the merged segment is left.
    cleared: bool,
}

fn refused(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> CompactError {
    let path = path.to_owned();
    move |source| CompactError::Io {
        action,
        path,
        source,
    }
}

/// A merged segment being put together in memory.
struct Merge {
    name: SegmentName,
    number: u32,
    file: Vec<u8>,
    /// Records of the batch that is open.
    pending: Vec<u8>,
    pending_count: u32,
    /// First sequence of the batch that is open: where the last one ended.
    first_sequence: u64,
    next_sequence: u64,
    stamp: u64,
    dropped_until: u64,
    moves: Vec<(Pos, Pos)>,
    ended: Vec<Pos>,
}

/// A [`Merge`] between two sources.
struct Mark {
    file: usize,
    first_sequence: u64,
    next_sequence: u64,
    stamp: u64,
    dropped_until: u64,
    moves: usize,
    ended: usize,
}

impl Merge {
    fn new(name: SegmentName, number: u32, first_sequence: u64) -> Merge {
        Merge {
            name,
            number,
            file: vec![0; SEGMENT_HEADER as usize],
            pending: Vec::new(),
            pending_count: 0,
            first_sequence,
            next_sequence: first_sequence,
            stamp: 0,
            dropped_until: 0,
            moves: Vec::new(),
            ended: Vec::new(),
        }
    }

    fn add(
        &mut self,
        source: &Segment,
        verdict: &mut impl FnMut(Pos, &[u8]) -> Verdict,
    ) -> Result<(), Corruption> {
        let octets = source.map.octets();
        let damaged = |offset, damage| Corruption {
            segment: source.header.name,
            offset,
            damage,
        };
        self.dropped_until = self.dropped_until.max(source.header.dropped_until);
        let mut walk = Walk::new(octets, &source.header, None, self.stamp, true);
        loop {
            let batch = match walk.next() {
                Ok(batch) => batch,
                Err(_) if walk.at() == octets.len() as u64 => return Ok(()),
                Err(Stop::Flaw(flaw)) => return Err(damaged(walk.at(), Damage::Batch(flaw))),
                Err(_) => return Err(damaged(walk.at(), Damage::Batch(BatchFlaw::Magic))),
            };
            self.add_batch(source, octets, &batch, verdict)
                .map_err(|(offset, damage)| damaged(offset, damage))?;
        }
    }

    fn add_batch(
        &mut self,
        source: &Segment,
        octets: &[u8],
        batch: &FoundBatch,
        verdict: &mut impl FnMut(Pos, &[u8]) -> Verdict,
    ) -> Result<(), (u64, Damage)> {
        let generation = source.header.name.generation;
        let first = Pos::new(source.number, batch.records_at());
        let mut records = Records::new(batch.header, generation, batch.records(octets));
        loop {
            let at = records.offset() as u64;
            let (header, record) = match records.next() {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(flaw) => return Err((batch.records_at() + at, Damage::Record(flaw))),
            };
            let old = first.plus(at);
            match verdict(old, record) {
                Verdict::Keep => {
                    let offset = self.file.len() as u64 + BATCH_HEADER + self.pending.len() as u64;
                    self.moves.push((old, Pos::new(self.number, offset)));
                    self.pending.extend_from_slice(record);
                    self.pending_count += 1;
                }
                Verdict::Superseded => {}
                Verdict::Ended => {
                    self.ended.push(old);
                    self.dropped_until = self.dropped_until.max(header.stamp);
                }
            }
        }
        self.next_sequence = batch.header.next_sequence;
        self.stamp = batch.header.stamp;
        if self.pending.len() >= BATCH_TARGET {
            self.close_batch();
        }
        Ok(())
    }

    /// Ends the open batch where the last source batch ended. Without records in it, its sequences go to the next one.
    fn close_batch(&mut self) {
        if self.pending_count > 0 {
            self.write_batch();
        }
    }

    fn write_batch(&mut self) {
        let batch = BatchHeader {
            first_sequence: self.first_sequence,
            next_sequence: self.next_sequence,
            stamp: self.stamp,
            octets: self.pending.len() as u32,
            count: self.pending_count,
        };
        batch.encode(self.name, &self.pending, &mut self.file);
        self.pending.clear();
        self.pending_count = 0;
        self.first_sequence = self.next_sequence;
    }

    /// Accounts for sequences without records at the end, fills the last page and returns where the batches end.
    fn finish(&mut self) -> u64 {
        if self.first_sequence < self.next_sequence {
            self.write_batch();
        }
        let end = self.file.len();
        self.file.resize(end.next_multiple_of(4096), 0);
        end as u64
    }

    fn mark(&self) -> Mark {
        Mark {
            file: self.file.len(),
            first_sequence: self.first_sequence,
            next_sequence: self.next_sequence,
            stamp: self.stamp,
            dropped_until: self.dropped_until,
            moves: self.moves.len(),
            ended: self.ended.len(),
        }
    }

    fn go_back(&mut self, mark: Mark) {
        self.file.truncate(mark.file);
        self.first_sequence = mark.first_sequence;
        self.next_sequence = mark.next_sequence;
        self.stamp = mark.stamp;
        self.dropped_until = mark.dropped_until;
        self.moves.truncate(mark.moves);
        self.ended.truncate(mark.ended);
    }
}
