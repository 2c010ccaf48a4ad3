//! Landmarks of a segment: a sparse table of places in it, so that a cursor finds its start without walking the segment.
//!
//! The one thread that appends to a segment, or has merged it, adds landmarks; readers look them up without a lock. They are
//! derived from the segment and are in no file. They are a help only: a cursor that starts from any of them that lies before
//! what it wants, or from the segment's start, gives the same records.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Most and least octets between two landmarks, but for the batches and records that lie across: about 1,000 fit into a
/// segment of the usual size.
const MOST_APART: u64 = 64 << 10;
const LEAST_APART: u64 = 4 << 10;
const MARKS: u64 = 1_024;

/// Where a record starts, or a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Landmark {
    /// Octets from the start of the segment.
    pub(super) offset: u64,
    /// End of the batch that it lies in; the offset itself: a batch starts there.
    pub(super) batch_end: u64,
}

/// A landmark and what is known of the records before it.
#[derive(Debug, Default)]
struct Mark {
    /// Offset and end of the batch, 32 bits each: a segment has at most 2 GiB.
    place: AtomicU64,
    /// All records before it have lower sequences.
    sequence: AtomicU64,
    /// All records before it have this stamp or a lower one.
    stamp: AtomicU64,
}

/// The landmarks of one segment, in order.
#[derive(Debug)]
pub(super) struct Landmarks {
    apart: u64,
    marks: Box<[Mark]>,
    len: AtomicUsize,
}

impl Landmarks {
    /// None yet, for a segment of this many octets.
    pub(super) fn new(segment: u64) -> Landmarks {
        let apart = (segment / MARKS).clamp(LEAST_APART, MOST_APART);
        Landmarks {
            apart,
            marks: (0..segment / apart).map(|_| Mark::default()).collect(),
            len: AtomicUsize::new(0),
        }
    }

    /// Octets that a batch must have for landmarks inside it to be of use.
    pub(super) fn apart(&self) -> u64 {
        self.apart
    }

    /// Adds a landmark, if the last one is far enough. What lies before it must be published. To be called by one thread,
    /// with rising offsets.
    pub(super) fn add(&self, at: Landmark, sequence: u64, stamp: u64) {
        let len = self.len.load(Ordering::Relaxed);
        let last = match len.checked_sub(1) {
            Some(last) => self.marks[last].get().offset,
            None => 0,
        };
        let Some(mark) = self.marks.get(len) else {
            return;
        };
        if at.offset < last + self.apart {
            return;
        }
        mark.place
            .store(at.offset << 32 | at.batch_end, Ordering::Relaxed);
        mark.sequence.store(sequence, Ordering::Relaxed);
        mark.stamp.store(stamp, Ordering::Relaxed);
        self.len.store(len + 1, Ordering::Release);
    }

    /// The last landmark before which there is nothing that a cursor wants: no record from this sequence on with this stamp
    /// or a later one.
    pub(super) fn before(&self, sequence: u64, stamp: u64) -> Option<Landmark> {
        let len = self.len.load(Ordering::Acquire);
        let marks = self.marks.get(..len)?;
        let by_sequence =
            marks.partition_point(|mark| mark.sequence.load(Ordering::Relaxed) <= sequence);
        let by_stamp = marks.partition_point(|mark| mark.stamp.load(Ordering::Relaxed) < stamp);
        let last = by_sequence.max(by_stamp).checked_sub(1)?;
        Some(marks[last].get())
    }
}

impl Mark {
    fn get(&self) -> Landmark {
        let place = self.place.load(Ordering::Relaxed);
        Landmark {
            offset: place >> 32,
            batch_end: place & u64::from(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Landmark {
        Landmark {
            offset,
            batch_end: offset,
        }
    }

    #[test]
    fn the_last_one_with_nothing_wanted_before_it_is_found() {
        let marks = Landmarks::new(1 << 20);
        assert_eq!(marks.apart(), 4_096);
        for (offset, sequence, stamp) in [
            (4_096, 1, 10),
            (8_000, 5, 10),
            (8_192, 6, 10),
            (20_000, 9, 20),
        ] {
            marks.add(at(offset), sequence, stamp);
        }
        let cases = [
            ((0, 0), None),
            ((1, 0), Some(4_096)),
            ((5, 0), Some(4_096)),
            ((6, 0), Some(8_192)),
            ((u64::MAX, 0), Some(20_000)),
            ((0, 10), None),
            ((0, 11), Some(8_192)),
            ((0, 20), Some(8_192)),
            ((0, 21), Some(20_000)),
            ((1, 11), Some(8_192)),
            ((9, 11), Some(20_000)),
        ];
        for ((sequence, stamp), expected) in cases {
            let found = marks.before(sequence, stamp);
            assert_eq!(found, expected.map(at), "{sequence}, {stamp}");
        }
    }

    #[test]
    fn their_number_is_bounded() {
        let segment = 64 << 10;
        let marks = Landmarks::new(segment);
        for offset in (0..2 * segment).step_by(8) {
            marks.add(at(offset), offset, offset);
        }
        assert_eq!(marks.before(u64::MAX, 0), Some(at(segment)));
        let widest = Landmarks::new(2 << 30);
        assert_eq!(widest.apart(), MOST_APART);
        let end = Landmark {
            offset: (2 << 30) - 8,
            batch_end: 2 << 30,
        };
        widest.add(end, 1, 1);
        assert_eq!(widest.before(1, 0), Some(end));
    }
}
