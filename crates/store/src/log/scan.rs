//! Cursors: reading the log's records in order, from a place in it to its tail.

use super::format::{BATCH_HEADER, BatchHeader, RecordHeader};
use super::pos::Pos;
use super::segments::{Segment, Segments};

/// Where a scan begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScanFrom {
    /// The oldest record that there is.
    Start,
    /// The first record with this sequence or a later one.
    Sequence(u64),
    /// The first record with this commit stamp (milliseconds) or a later one.
    Stamp(u64),
}

/// A cursor on the log. It holds no map and no lock: each step is given the table to read from, so a cursor may wait for
/// as long as it likes, over changes of segments and over compactions, and goes on behind the last record it gave.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Records before this sequence have been given or are not wanted.
    next_sequence: u64,
    /// Records before this stamp are not wanted.
    from_stamp: u64,
    place: Option<Place>,
}

/// Where the cursor stands in a segment.
#[derive(Clone, Copy, Debug)]
struct Place {
    number: u32,
    /// Start of the next record; at `batch_end`, of the next batch.
    offset: u64,
    batch_end: u64,
}

impl Scan {
    /// A cursor that has given nothing yet.
    pub fn new(from: ScanFrom) -> Scan {
        let (next_sequence, from_stamp) = match from {
            ScanFrom::Start => (0, 0),
            ScanFrom::Sequence(sequence) => (sequence, 0),
            ScanFrom::Stamp(stamp) => (0, stamp),
        };
        Scan {
            next_sequence,
            from_stamp,
            place: None,
        }
    }

    /// The lowest sequence that the next record can have. A new cursor from here gives the same records.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The next record with a sequence below `below`; `None`: there is none yet. With a later table there may be one.
    pub fn next<'v>(&mut self, segments: &'v Segments, below: u64) -> Option<(Pos, &'v [u8])> {
        let mut left = None;
        loop {
            let mut place = self.place(segments)?;
            if left == Some(place.number) {
                return None;
            }
            let segment = segments.segment(place.number)?;
            if let Some((at, record)) = self.step(&mut place, segment)? {
                if at.sequence >= below {
                    return None;
                }
                let pos = Pos::new(place.number, place.offset);
                place.offset += record.len() as u64;
                self.place = Some(place);
                self.next_sequence = at.sequence + 1;
                return Some((pos, record));
            }
            self.place = Some(place);
            // The table was taken before the segment's end was seen, so a segment that is not the last has ended for good.
            if segments
                .chain()
                .last()
                .is_none_or(|last| last.number == place.number)
            {
                return None;
            }
            self.next_sequence = self.next_sequence.max(segment.next_sequence());
            self.place = None;
            left = Some(place.number);
        }
    }

    /// Moves to the next wanted record of the segment: `Some(None)` at its end.
    fn step<'s>(
        &self,
        place: &mut Place,
        segment: &'s Segment,
    ) -> Option<Option<(RecordHeader, &'s [u8])>> {
        let octets = segment.map.octets();
        loop {
            if place.offset == place.batch_end {
                let rest = octets.get(place.offset as usize..)?;
                if rest.is_empty() {
                    return Some(None);
                }
                let batch = BatchHeader::parse(rest).ok()?;
                if batch.next_sequence <= self.next_sequence || batch.stamp < self.from_stamp {
                    place.offset += batch.total();
                    place.batch_end = place.offset;
                    continue;
                }
                place.batch_end = place.offset + batch.total();
                place.offset += BATCH_HEADER;
                continue;
            }
            let rest = octets.get(place.offset as usize..place.batch_end as usize)?;
            let header = RecordHeader::parse(rest).ok()?;
            if header.sequence >= self.next_sequence && header.stamp >= self.from_stamp {
                return Some(Some((header, &rest[..header.length])));
            }
            place.offset += header.length as u64;
        }
    }

    /// Where the cursor stands; if nowhere, or in a segment that is gone, the last landmark before what is wanted.
    fn place(&self, segments: &Segments) -> Option<Place> {
        if let Some(place) = self.place
            && segments.contains(Pos::new(place.number, 0))
        {
            return Some(place);
        }
        let chain = segments.chain();
        let by_sequence = chain
            .partition_point(|s| s.header.first_sequence <= self.next_sequence)
            .saturating_sub(1);
        let by_stamp = chain.partition_point(|s| s.last_stamp() < self.from_stamp);
        let segment = chain.get(by_sequence.max(by_stamp))?;
        let start = segment.start_for(self.next_sequence, self.from_stamp);
        Some(Place {
            number: segment.number,
            offset: start.offset,
            batch_end: start.batch_end,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::FaultDisk;
    use super::super::{Home, Identity, Log, LogOptions, LogView, Recovery};
    use super::*;

    fn opened(dir: &std::path::Path) -> Recovery {
        let options = LogOptions {
            segment_size: 1 << 20,
            sync: false,
            ahead: false,
            create: Some(Identity {
                created: 1,
                seeds: [1, 2, 3, 4],
            }),
            ..LogOptions::default()
        };
        let disk = Arc::new(FaultDisk::new(dir).unwrap());
        Recovery::begin(Home::open(disk, dir, options).unwrap()).unwrap()
    }

    /// A batch of records of 64 octets.
    fn append(log: &mut Log, records: u64) {
        let (first, stamp) = (log.next_sequence(), log.last_stamp() + 1);
        let mut octets = Vec::new();
        for sequence in first..first + records {
            octets.extend_from_slice(&64u32.to_le_bytes());
            octets.extend_from_slice(&[1, 0, 0, 0]);
            octets.extend_from_slice(&sequence.to_le_bytes());
            octets.extend_from_slice(&stamp.to_le_bytes());
            octets.resize(octets.len() + 40, 0);
        }
        log.append(first, first + records, stamp, &octets, records as u32)
            .unwrap();
    }

    /// Octets that a new cursor skips over, record by record or batch by batch, to its first record.
    fn skipped(view: &LogView, from: ScanFrom) -> u64 {
        let mut scan = Scan::new(from);
        let place = scan.place(view).unwrap();
        let (pos, _) = scan.next(view, u64::MAX).unwrap();
        assert_eq!(pos.number(), place.number);
        pos.offset() - place.offset
    }

    #[test]
    fn a_start_is_found_from_near_by() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = opened(dir.path()).replay(&mut |_, _| Ok(())).unwrap();
        for round in 0..3_000 {
            append(&mut log, if round % 500 == 7 { 2_000 } else { 1 });
        }
        assert!(log.stats().segments > 1);
        // Two distances between landmarks, and the headers.
        let near = 2 * 4_096 + 256;
        let (sequences, stamps) = (log.next_sequence(), log.last_stamp());
        let check = |view: &LogView, near: u64| {
            for sequence in (1..sequences).step_by(37) {
                assert!(skipped(view, ScanFrom::Sequence(sequence)) < near);
            }
            for stamp in (1..=stamps).step_by(7) {
                assert!(skipped(view, ScanFrom::Stamp(stamp)) < near);
            }
        };
        check(&log.view(), near);
        drop(log);
        let (log, _) = opened(dir.path()).replay(&mut |_, _| Ok(())).unwrap();
        check(&log.view(), near);
        drop(log);
        // Where only headers of batches were read, a batch may have to be walked too.
        let (log, _) = opened(dir.path()).skip().unwrap();
        check(&log.view(), near + 2_000 * 64);
    }
}
