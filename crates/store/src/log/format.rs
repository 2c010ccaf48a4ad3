//! The fixed structures of `docs/store-format.md` that hold records: names, segment header, batch header, record header.

use std::fmt;

/// Octets of a segment before its first batch.
pub const SEGMENT_HEADER: u64 = 4096;
/// Octets of a batch before its first record.
pub const BATCH_HEADER: u64 = 40;
/// Octets of the header that all records have in common.
pub const RECORD_HEADER: usize = 24;
/// The longest record in octets: one that fits into the smallest segment.
pub const MAX_RECORD: usize = 61_400;
/// The smallest segment in octets.
pub const MIN_SEGMENT: u64 = 64 << 10;
/// The largest segment in octets.
pub const MAX_SEGMENT: u64 = 2 << 30;
/// The version of the format that this program writes and reads.
pub const VERSION: u32 = 1;

const SEGMENT_MAGIC: &[u8; 8] = b"LEASEQSG";
const BATCH_MAGIC: &[u8; 4] = b"LQB1";
/// Octets at the start of a segment that its checksum covers.
const CHECKED_HEADER: usize = 96;
/// All structures start at a multiple of this.
pub(super) const ALIGN: u64 = 8;

pub(super) fn u32_at<const N: usize>(octets: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| octets[at + i]))
}

pub(super) fn u64_at<const N: usize>(octets: &[u8; N], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| octets[at + i]))
}

/// Which segment file: its id, and how often its records have been compacted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentName {
    /// Id, counted from 1.
    pub id: u64,
    /// Generation: 0 as written by the store thread.
    pub generation: u32,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:08x}.seg", self.id, self.generation)
    }
}

impl SegmentName {
    /// The segment that a file of this name is; `None` if it is another kind of file.
    pub fn parse(name: &str) -> Option<SegmentName> {
        let (id, generation) = name.strip_suffix(".seg")?.split_once('-')?;
        let parsed = SegmentName {
            id: u64::from_str_radix(id, 16).ok()?,
            generation: u32::from_str_radix(generation, 16).ok()?,
        };
        (parsed.to_string() == name).then_some(parsed)
    }
}

/// What the first 4,096 octets of a segment say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Id and generation.
    pub name: SegmentName,
    /// Octets of the file.
    pub size: u64,
    /// Every record in the segment has this sequence or a later one.
    pub first_sequence: u64,
    /// Id of the last segment merged into this one.
    pub covers_to: u64,
    /// Stamp of the newest end or departure that compaction dropped from here; 0: none.
    pub dropped_until: u64,
}

/// Why a segment's header is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderFlaw {
    /// The file is shorter than a header.
    #[error("the file has {0} octets, fewer than a segment's header")]
    Short(u64),
    /// Not a segment.
    #[error("the file does not start with the mark of a segment")]
    Magic,
    /// Another version of the format.
    #[error("the segment is of version {0}, this program reads version {VERSION}")]
    Version(u32),
    /// Damaged.
    #[error("the header's checksum is {found:#010x}, its octets give {computed:#010x}")]
    Checksum {
        /// As stored.
        found: u32,
        /// As computed.
        computed: u32,
    },
    /// A field and the file contradict each other.
    #[error("{field} is {found}, expected {expected}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What the header says.
        found: u64,
        /// What it has to be.
        expected: u64,
    },
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER as usize] {
        let mut page = [0; SEGMENT_HEADER as usize];
        page[..8].copy_from_slice(SEGMENT_MAGIC);
        page[8..12].copy_from_slice(&VERSION.to_le_bytes());
        page[16..24].copy_from_slice(&self.name.id.to_le_bytes());
        page[24..28].copy_from_slice(&self.name.generation.to_le_bytes());
        page[32..40].copy_from_slice(&self.size.to_le_bytes());
        page[40..48].copy_from_slice(&self.first_sequence.to_le_bytes());
        page[48..56].copy_from_slice(&self.covers_to.to_le_bytes());
        page[56..64].copy_from_slice(&self.dropped_until.to_le_bytes());
        let crc = crc32fast::hash(&page[..CHECKED_HEADER]);
        page[12..16].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// Reads the header of the file `name`, whose octets are all of `file`.
    pub(super) fn parse(file: &[u8], name: SegmentName) -> Result<SegmentHeader, HeaderFlaw> {
        let octets = file.len() as u64;
        let page: &[u8; SEGMENT_HEADER as usize] =
            file.first_chunk().ok_or(HeaderFlaw::Short(octets))?;
        if page[..8] != SEGMENT_MAGIC[..] {
            return Err(HeaderFlaw::Magic);
        }
        let version = u32_at(page, 8);
        if version != VERSION {
            return Err(HeaderFlaw::Version(version));
        }
        let found = u32_at(page, 12);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&page[..12]);
        crc.update(&[0; 4]);
        crc.update(&page[16..CHECKED_HEADER]);
        let computed = crc.finalize();
        if found != computed {
            return Err(HeaderFlaw::Checksum { found, computed });
        }
        let header = SegmentHeader {
            name: SegmentName {
                id: u64_at(page, 16),
                generation: u32_at(page, 24),
            },
            size: u64_at(page, 32),
            first_sequence: u64_at(page, 40),
            covers_to: u64_at(page, 48),
            dropped_until: u64_at(page, 56),
        };
        let agree = |field, found, expected| {
            if found == expected {
                Ok(())
            } else {
                Err(HeaderFlaw::Field {
                    field,
                    found,
                    expected,
                })
            }
        };
        agree("the segment's id", header.name.id, name.id)?;
        agree(
            "the generation",
            header.name.generation.into(),
            name.generation.into(),
        )?;
        agree("the size of the file", header.size, octets)?;
        agree("the size modulo 4,096", header.size % 4096, 0)?;
        if header.size > MAX_SEGMENT {
            agree("the size of the file", header.size, MAX_SEGMENT)?;
        }
        if header.covers_to < header.name.id || header.name.generation == 0 {
            agree("covers-to", header.covers_to, header.name.id)?;
        }
        Ok(header)
    }

    /// Whether all that the other segment holds was merged into this one.
    pub(super) fn supersedes(&self, other: &SegmentHeader) -> bool {
        self.name.generation > other.name.generation
            && self.name.id <= other.name.id
            && other.covers_to <= self.covers_to
    }
}

/// What precedes a batch's records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Sequence that the first record may have at the lowest.
    pub first_sequence: u64,
    /// First sequence of the batch after this one.
    pub next_sequence: u64,
    /// Server time in milliseconds when the batch was opened.
    pub stamp: u64,
    /// Octets of the records.
    pub octets: u32,
    /// Number of records.
    pub count: u32,
}

/// Why no valid batch starts at a place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchFlaw {
    /// Nothing there, or something else.
    #[error("no batch starts here")]
    Magic,
    /// It does not fit.
    #[error("the batch's length of {octets} octets is not one that fits into {room}")]
    Length {
        /// As stored.
        octets: u64,
        /// Octets left in the segment.
        room: u64,
    },
    /// Damaged or torn.
    #[error("the batch's checksum is {found:#010x}, its octets give {computed:#010x}")]
    Checksum {
        /// As stored.
        found: u32,
        /// As computed.
        computed: u32,
    },
    /// Not the batch that belongs here.
    #[error("the batch starts at sequence {found}, expected {expected}")]
    Sequence {
        /// As stored.
        found: u64,
        /// What the batch before it says.
        expected: u64,
    },
    /// The number of records and the sequences contradict each other.
    #[error("the batch holds {count} records for sequences {first} to {next}")]
    Count {
        /// Number of records as stored.
        count: u32,
        /// First sequence.
        first: u64,
        /// Next sequence.
        next: u64,
    },
    /// Time runs backwards.
    #[error("the batch's stamp {found} is before {expected}, the stamp of the batch before it")]
    Stamp {
        /// As stored.
        found: u64,
        /// Stamp of the batch before it.
        expected: u64,
    },
}

impl BatchHeader {
    /// Octets of the whole batch.
    pub(super) fn total(&self) -> u64 {
        BATCH_HEADER + u64::from(self.octets)
    }

    /// Appends header and records to `out`, as they lie in segment `name`.
    pub(super) fn encode(&self, name: SegmentName, records: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(BATCH_MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.first_sequence.to_le_bytes());
        out.extend_from_slice(&self.next_sequence.to_le_bytes());
        out.extend_from_slice(&self.stamp.to_le_bytes());
        out.extend_from_slice(&self.octets.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(records);
        let crc = checksum(name, &out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the header at the start of `octets`, which reach to the end of the segment; its checksum is not looked at.
    pub(super) fn parse(octets: &[u8]) -> Result<BatchHeader, BatchFlaw> {
        let head: &[u8; BATCH_HEADER as usize] = octets.first_chunk().ok_or(BatchFlaw::Magic)?;
        if head[..4] != BATCH_MAGIC[..] {
            return Err(BatchFlaw::Magic);
        }
        let header = BatchHeader {
            first_sequence: u64_at(head, 8),
            next_sequence: u64_at(head, 16),
            stamp: u64_at(head, 24),
            octets: u32_at(head, 32),
            count: u32_at(head, 36),
        };
        let room = octets.len() as u64 - BATCH_HEADER;
        let length = u64::from(header.octets);
        if length > room || !length.is_multiple_of(ALIGN) {
            return Err(BatchFlaw::Length {
                octets: length,
                room,
            });
        }
        Ok(header)
    }

    /// Checks the batch at the start of `octets` against its checksum.
    pub(super) fn check(&self, name: SegmentName, octets: &[u8]) -> Result<(), BatchFlaw> {
        let batch = &octets[..self.total() as usize];
        let found = u32::from_le_bytes([batch[4], batch[5], batch[6], batch[7]]);
        let computed = checksum(name, &batch[8..]);
        if found != computed {
            return Err(BatchFlaw::Checksum { found, computed });
        }
        Ok(())
    }

    /// Checks that number of records, octets and sequences fit together in a segment of this generation.
    pub(super) fn check_count(&self, generation: u32) -> Result<(), BatchFlaw> {
        let span = self.next_sequence.checked_sub(self.first_sequence);
        let count = u64::from(self.count);
        let spans = match span {
            Some(span) if generation == 0 => span == count,
            Some(span) => span >= count,
            None => false,
        };
        let shortest = count * RECORD_HEADER as u64;
        if !spans || u64::from(self.octets) < shortest || (count == 0 && self.octets > 0) {
            return Err(BatchFlaw::Count {
                count: self.count,
                first: self.first_sequence,
                next: self.next_sequence,
            });
        }
        Ok(())
    }

    /// Whether a batch may start at these octets.
    pub(super) fn looks_like(octets: &[u8]) -> bool {
        octets.starts_with(BATCH_MAGIC)
    }
}

/// Seeded with the segment's identity, so that another segment's remains never look like a batch of this one.
fn checksum(name: SegmentName, octets: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&name.id.to_le_bytes());
    crc.update(&name.generation.to_le_bytes());
    crc.update(octets);
    crc.finalize()
}

/// The part of a record that this layer reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RecordHeader {
    /// Octets of the record.
    pub length: usize,
    pub sequence: u64,
    pub stamp: u64,
}

/// Why no record starts at a place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordFlaw {
    /// Its length is not one of a record, or leads out of its batch.
    #[error(
        "a record's length is {length}, expected a multiple of 8 from {RECORD_HEADER} to {}",
        MAX_RECORD.min(*.room)
    )]
    Length {
        /// As stored.
        length: u32,
        /// Octets left in the batch.
        room: usize,
    },
    /// Not in order.
    #[error("a record has sequence {found}, expected {expected}")]
    Sequence {
        /// As stored.
        found: u64,
        /// In generation 0 the exact one, else the lowest that may follow.
        expected: u64,
    },
    /// Not the time of its batch.
    #[error("a record's commit stamp is {found}, its batch has {batch}")]
    Stamp {
        /// As stored.
        found: u64,
        /// Stamp of the batch.
        batch: u64,
    },
    /// Too few or too many.
    #[error("the batch holds {found} records, its header says {count}")]
    Count {
        /// As counted.
        found: u32,
        /// As the header says.
        count: u32,
    },
}

impl RecordHeader {
    /// Reads the header of the record at the start of `octets`, which reach to the end of what it may take.
    #[inline]
    pub(super) fn parse(octets: &[u8]) -> Result<RecordHeader, RecordFlaw> {
        let room = octets.len();
        let head: &[u8; RECORD_HEADER] = octets
            .first_chunk()
            .ok_or(RecordFlaw::Length { length: 0, room })?;
        let length = u32_at(head, 0);
        if !valid_length(length as usize, room) {
            return Err(RecordFlaw::Length { length, room });
        }
        Ok(RecordHeader {
            length: length as usize,
            sequence: u64_at(head, 8),
            stamp: u64_at(head, 16),
        })
    }
}

#[inline]
pub(super) fn valid_length(length: usize, room: usize) -> bool {
    (RECORD_HEADER..=MAX_RECORD).contains(&length) && length.is_multiple_of(8) && length <= room
}

/// The records of one batch, checked one after the other against its header.
pub(super) struct Records<'a> {
    header: BatchHeader,
    generation: u32,
    octets: &'a [u8],
    at: usize,
    found: u32,
    expected: u64,
}

impl<'a> Records<'a> {
    /// `octets`: the batch's records, without its header.
    pub(super) fn new(header: BatchHeader, generation: u32, octets: &'a [u8]) -> Records<'a> {
        Records {
            header,
            generation,
            octets,
            at: 0,
            found: 0,
            expected: header.first_sequence,
        }
    }

    /// The offset of the next record from the first one.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// The next record with its header; `None` after the last.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(RecordHeader, &'a [u8])>, RecordFlaw> {
        let rest = &self.octets[self.at..];
        if rest.is_empty() {
            return if self.found == self.header.count {
                Ok(None)
            } else {
                Err(self.miscounted())
            };
        }
        if self.found == self.header.count {
            return Err(self.miscounted());
        }
        let record = RecordHeader::parse(rest)?;
        let (ordered, timely) = if self.generation == 0 {
            (
                record.sequence == self.expected,
                record.stamp == self.header.stamp,
            )
        } else {
            (
                (self.expected..self.header.next_sequence).contains(&record.sequence),
                record.stamp <= self.header.stamp,
            )
        };
        if !ordered {
            return Err(RecordFlaw::Sequence {
                found: record.sequence,
                expected: self.expected,
            });
        }
        if !timely {
            return Err(RecordFlaw::Stamp {
                found: record.stamp,
                batch: self.header.stamp,
            });
        }
        self.at += record.length;
        self.found += 1;
        self.expected = record.sequence + 1;
        Ok(Some((record, &rest[..record.length])))
    }

    fn miscounted(&self) -> RecordFlaw {
        let more = u32::from(self.found == self.header.count);
        RecordFlaw::Count {
            found: self.found + more,
            count: self.header.count,
        }
    }
}
