//! Walking a segment from batch to batch, and telling a torn tail from corruption.

use super::format::{
    BATCH_HEADER, BatchFlaw, BatchHeader, RECORD_HEADER, SEGMENT_HEADER, SegmentHeader, SegmentName,
};

/// Octets of batches that the search for a later batch checksums at most, in segments. Only content made to look like
/// batches gets there.
const SEARCH_BUDGET: u64 = 16;

/// How far a log has been read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reached {
    /// Sequence of the next record.
    pub next_sequence: u64,
    /// Stamp of the last batch; 0 before the first.
    pub stamp: u64,
}

/// A batch and where it starts in its segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundBatch {
    pub offset: u64,
    pub header: BatchHeader,
}

impl FoundBatch {
    /// Offset of its first record.
    pub(super) fn records_at(&self) -> u64 {
        self.offset + BATCH_HEADER
    }

    /// Offset of what follows it.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.header.total()
    }

    /// Its records within the octets of its segment.
    pub(super) fn records<'a>(&self, segment: &'a [u8]) -> &'a [u8] {
        &segment[self.records_at() as usize..self.end() as usize]
    }
}

/// Why a walk ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// Only zeros from here on.
    Zeros,
    /// The following segment starts with the sequence expected here: whatever lies here was abandoned.
    Void,
    /// No valid batch, and no zeros.
    Flaw(BatchFlaw),
}

/// A walk over one segment.
pub(super) struct Walk<'a> {
    octets: &'a [u8],
    name: SegmentName,
    /// First sequence of the following segment.
    following: Option<u64>,
    checksums: bool,
    at: u64,
    reached: Reached,
}

impl<'a> Walk<'a> {
    /// `octets`: the whole file. `stamp`: that of the last batch before the segment. `checksums`: whether batches are
    /// checked against theirs; without, only their headers are read.
    pub(super) fn new(
        octets: &'a [u8],
        header: &SegmentHeader,
        following: Option<u64>,
        stamp: u64,
        checksums: bool,
    ) -> Walk<'a> {
        Walk {
            octets,
            name: header.name,
            following,
            checksums,
            at: SEGMENT_HEADER,
            reached: Reached {
                next_sequence: header.first_sequence,
                stamp,
            },
        }
    }

    /// Where the next batch would start.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn reached(&self) -> Reached {
        self.reached
    }

    /// The next valid batch, or why there is none.
    pub(super) fn next(&mut self) -> Result<FoundBatch, Stop> {
        if self.following == Some(self.reached.next_sequence) {
            return Err(Stop::Void);
        }
        let rest = self.octets.get(self.at as usize..).unwrap_or_default();
        match self.check(rest) {
            Ok(header) => {
                let found = FoundBatch {
                    offset: self.at,
                    header,
                };
                self.at = found.end();
                self.reached = Reached {
                    next_sequence: header.next_sequence,
                    stamp: header.stamp,
                };
                Ok(found)
            }
            Err(_) if only_zeros(rest) => Err(Stop::Zeros),
            Err(flaw) => Err(Stop::Flaw(flaw)),
        }
    }

    fn check(&self, rest: &[u8]) -> Result<BatchHeader, BatchFlaw> {
        let header = BatchHeader::parse(rest)?;
        if header.first_sequence != self.reached.next_sequence {
            return Err(BatchFlaw::Sequence {
                found: header.first_sequence,
                expected: self.reached.next_sequence,
            });
        }
        if header.stamp < self.reached.stamp {
            return Err(BatchFlaw::Stamp {
                found: header.stamp,
                expected: self.reached.stamp,
            });
        }
        header.check_count(self.name.generation)?;
        if self.checksums {
            header.check(self.name, rest)?;
        }
        Ok(header)
    }

    /// Whether a valid batch lies anywhere behind the place where the walk stopped, which shows that a batch there had
    /// been synced. Costly content made to look like batches counts as one: refusing is safer than cutting.
    pub(super) fn later_batch(&self) -> bool {
        let Some(rest) = self.octets.get(self.at as usize..) else {
            return false;
        };
        // No sequence can be further ahead than the records that fit between.
        let between = (rest.len() / RECORD_HEADER) as u64 + 1;
        let last = self.reached.next_sequence.saturating_add(between);
        let mut budget = SEARCH_BUDGET * self.octets.len() as u64;
        for at in (8..rest.len()).step_by(8) {
            if !BatchHeader::looks_like(&rest[at..]) {
                continue;
            }
            let Ok(header) = BatchHeader::parse(&rest[at..]) else {
                continue;
            };
            let follows = (self.reached.next_sequence..=last).contains(&header.first_sequence)
                && header.stamp >= self.reached.stamp
                && header.check_count(self.name.generation).is_ok();
            if !follows {
                continue;
            }
            let Some(left) = budget.checked_sub(header.total()) else {
                return true;
            };
            budget = left;
            if header.check(self.name, &rest[at..]).is_ok() {
                return true;
            }
        }
        false
    }
}

impl Walk<'_> {
    /// Octets from where the walk stopped to the last one that is not zero.
    pub(super) fn rest_used(&self) -> u64 {
        let rest = self.octets.get(self.at as usize..).unwrap_or_default();
        rest.iter()
            .rposition(|&octet| octet != 0)
            .map_or(0, |last| last as u64 + 1)
    }
}

/// Whether these octets are all zero.
pub(super) fn only_zeros(octets: &[u8]) -> bool {
    octets
        .chunks(4096)
        .all(|chunk| chunk.iter().fold(0, |all, &octet| all | octet) == 0)
}
