//! The table of mapped segments that readers look records up in.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::{
    BATCH_HEADER, BatchHeader, RecordHeader, SEGMENT_HEADER, SegmentHeader, valid_length,
};
use super::landmarks::{Landmark, Landmarks};
use super::map::SegmentMap;
use super::pos::Pos;
use super::prefetch::prefetch;

/// Cache lines that [`Segments::prefetch`] asks for: a usual record, header and options.
const PREFETCH_LINES: usize = 4;

/// One mapped segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) map: SegmentMap,
    pub(super) number: u32,
    pub(super) header: SegmentHeader,
    pub(super) path: PathBuf,
    /// Stamp of the last published batch; 0 before the first.
    last_stamp: AtomicU64,
    /// Sequence after the last published batch.
    next_sequence: AtomicU64,
    /// Octets of records that nothing refers to any more.
    dead: AtomicU64,
    /// How many records these are.
    dead_records: AtomicU64,
    landmarks: Landmarks,
}

impl Segment {
    pub(super) fn new(
        number: u32,
        header: SegmentHeader,
        path: PathBuf,
        map: SegmentMap,
    ) -> Segment {
        map.publish(SEGMENT_HEADER);
        Segment {
            number,
            path,
            landmarks: Landmarks::new(map.len()),
            map,
            last_stamp: AtomicU64::new(0),
            next_sequence: AtomicU64::new(header.first_sequence),
            dead: AtomicU64::new(0),
            dead_records: AtomicU64::new(0),
            header,
        }
    }

    /// Publishes everything before `end`, the end of the batch with this next sequence and stamp.
    pub(super) fn publish(&self, end: u64, next_sequence: u64, stamp: u64) {
        self.last_stamp.store(stamp, Ordering::Relaxed);
        self.next_sequence.store(next_sequence, Ordering::Relaxed);
        self.map.publish(end);
    }

    /// Notes where a published batch ends and, given its records, where some of them start. To be called for each batch in
    /// turn.
    pub(super) fn note(&self, offset: u64, batch: &BatchHeader, records: Option<&[u8]>) {
        let end = offset + batch.total();
        let long = u64::from(batch.octets) >= self.landmarks.apart();
        let mut rest = records.filter(|_| long).unwrap_or_default();
        let mut before = None;
        while let Ok(record) = RecordHeader::parse(rest) {
            if let Some(before) = before {
                let at = Landmark {
                    offset: end - rest.len() as u64,
                    batch_end: end,
                };
                self.landmarks.add(at, record.sequence, before);
            }
            before = Some(record.stamp);
            rest = &rest[record.length..];
        }
        let at = Landmark {
            offset: end,
            batch_end: end,
        };
        self.landmarks.add(at, batch.next_sequence, batch.stamp);
    }

    /// Notes all that is published of a segment whose batches have not been noted.
    pub(super) fn note_all(&self) {
        let octets = self.map.octets();
        let mut offset = SEGMENT_HEADER;
        while let Some(rest) = octets.get(offset as usize..)
            && let Ok(batch) = BatchHeader::parse(rest)
        {
            let records = &rest[BATCH_HEADER as usize..batch.total() as usize];
            self.note(offset, &batch, Some(records));
            offset += batch.total();
        }
    }

    /// A place before which there is nothing that a cursor wants: as [`Landmarks::before`], else the segment's start.
    pub(super) fn start_for(&self, sequence: u64, stamp: u64) -> Landmark {
        self.landmarks.before(sequence, stamp).unwrap_or(Landmark {
            offset: SEGMENT_HEADER,
            batch_end: SEGMENT_HEADER,
        })
    }

    pub(super) fn last_stamp(&self) -> u64 {
        self.last_stamp.load(Ordering::Relaxed)
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence.load(Ordering::Relaxed)
    }

    /// Octets of batches, their headers included.
    pub(super) fn used(&self) -> u64 {
        self.map.published() - SEGMENT_HEADER
    }

    pub(super) fn dead(&self) -> u64 {
        self.dead.load(Ordering::Relaxed).min(self.used())
    }

    pub(super) fn dead_records(&self) -> u64 {
        self.dead_records.load(Ordering::Relaxed)
    }

    /// The record that starts at `offset`.
    #[inline]
    fn record(&self, offset: u64) -> Option<&[u8]> {
        if offset < SEGMENT_HEADER {
            return None;
        }
        let octets = self.map.octets().get(offset as usize..)?;
        let length = u32::from_le_bytes(*octets.first_chunk::<4>()?) as usize;
        if !valid_length(length, octets.len()) {
            return None;
        }
        octets.get(..length)
    }
}

/// An immutable table of the segments that existed at some moment. What is appended to them later shows in it too;
/// what is appended to a later segment does not.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    /// By number.
    table: Vec<Option<Arc<Segment>>>,
    /// The log in order.
    chain: Vec<Arc<Segment>>,
}

impl Segments {
    pub(super) fn from_chain(chain: Vec<Arc<Segment>>) -> Segments {
        let mut segments = Segments::default();
        for segment in chain {
            segments.append(segment);
        }
        segments
    }

    /// Adds the newest segment.
    pub(super) fn append(&mut self, segment: Arc<Segment>) {
        self.tabulate(&segment);
        self.chain.push(segment);
    }

    /// Puts a merged segment into the place of its sources, which can still be looked up until [`remove`](Self::remove).
    /// Changes nothing and returns false if the sources are not adjacent parts of the log.
    pub(super) fn replace(&mut self, merged: Arc<Segment>, sources: &[u32]) -> bool {
        let Some(start) = self
            .chain
            .iter()
            .position(|s| Some(&s.number) == sources.first())
        else {
            return false;
        };
        let end = start + sources.len();
        let adjacent = self
            .chain
            .get(start..end)
            .is_some_and(|run| run.iter().map(|s| s.number).eq(sources.iter().copied()));
        if adjacent {
            self.tabulate(&merged);
            self.chain.splice(start..end, [merged]);
        }
        adjacent
    }

    /// Takes segments out of the table and returns them.
    pub(super) fn remove(&mut self, numbers: &[u32]) -> Vec<Arc<Segment>> {
        numbers
            .iter()
            .filter_map(|&number| self.table.get_mut(number as usize)?.take())
            .collect()
    }

    fn tabulate(&mut self, segment: &Arc<Segment>) {
        let at = segment.number as usize;
        if self.table.len() <= at {
            self.table.resize(at + 1, None);
        }
        self.table[at] = Some(Arc::clone(segment));
    }

    pub(super) fn chain(&self) -> &[Arc<Segment>] {
        &self.chain
    }

    pub(super) fn segment(&self, number: u32) -> Option<&Arc<Segment>> {
        self.table.get(number as usize)?.as_ref()
    }

    /// The whole record at `pos`, header included. `None` if `pos` names no record of this table: then it was taken from
    /// a newer table, or its segment has been compacted away, and both table and position have to be loaded again.
    #[inline]
    pub fn record(&self, pos: Pos) -> Option<&[u8]> {
        self.segment(pos.number())?.record(pos.offset())
    }

    /// Asks for the record at `pos` to be loaded into the cache; of no effect otherwise, whatever `pos` is.
    #[inline]
    pub fn prefetch(&self, pos: Pos) {
        if let Some(segment) = self.segment(pos.number()) {
            prefetch(segment.map.address(pos.offset()), PREFETCH_LINES);
        }
    }

    /// Whether the segment of `pos` is in this table.
    #[inline]
    pub fn contains(&self, pos: Pos) -> bool {
        self.segment(pos.number()).is_some()
    }

    /// Counts a record as dead: nothing refers to it any more, compaction may drop it.
    pub fn dead(&self, pos: Pos, octets: usize) {
        self.add_dead(pos, octets as u64, 1);
    }

    /// Counts several records of the segment that `pos` is in as dead, as [`dead`](Self::dead).
    pub fn add_dead(&self, pos: Pos, octets: u64, records: u64) {
        if let Some(segment) = self.segment(pos.number()) {
            segment.dead.fetch_add(octets, Ordering::Relaxed);
            segment.dead_records.fetch_add(records, Ordering::Relaxed);
        }
    }

    /// The newest stamp of an end or departure that compaction has dropped anywhere in the log; 0: none.
    pub fn dropped_until(&self) -> u64 {
        let stamps = self.chain.iter().map(|s| s.header.dropped_until);
        stamps.max().unwrap_or(0)
    }

    /// First sequence that is not yet in this table's log.
    pub fn next_sequence(&self) -> u64 {
        self.chain.last().map_or(1, |s| s.next_sequence())
    }
}

/// A cheap handle on a [`Segments`] table that keeps its maps alive.
#[derive(Clone, Debug)]
pub struct LogView(Arc<Segments>);

impl LogView {
    /// A view of this table.
    pub fn new(segments: Arc<Segments>) -> LogView {
        LogView(segments)
    }
}

impl Deref for LogView {
    type Target = Segments;

    #[inline]
    fn deref(&self) -> &Segments {
        &self.0
    }
}
