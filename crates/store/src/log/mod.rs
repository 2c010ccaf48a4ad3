//! The log's files: segments of checksummed batches, their recovery, compaction and the cursors on them.
//!
//! This layer knows the headers of records, not what they mean, and nothing of indexes. The layout of each file is in
//! `docs/store-format.md`, and so are the assumptions about the disk that make "durable before visible" hold.
//!
//! [`Home`] locks a store's directory, [`Recovery`] reads the log in it and leaves a [`Log`], to which one writer appends
//! batches. Readers look records up by [`Pos`] in a [`Segments`] table, which the writer replaces when a segment is added
//! or compacted away.

mod ahead;
mod chain;
pub mod compact;
mod copy;
mod disk;
mod error;
mod format;
mod home;
mod image;
mod landmarks;
mod map;
mod pos;
mod prefetch;
mod recovery;
mod scan;
mod segments;
pub mod testing;
pub mod verify;
mod walk;
mod writer;

pub use copy::{CopyError, CopyTarget};
pub use disk::{Access, Disk, DiskFile, LockError, LockFile, RealDisk};
pub use error::{AppendError, CompactError, Corruption, Damage, OpenError};
pub use format::{
    BATCH_HEADER, BatchFlaw, HeaderFlaw, MAX_RECORD, MAX_SEGMENT, MIN_SEGMENT, RECORD_HEADER,
    RecordFlaw, SEGMENT_HEADER, SegmentHeader, SegmentName,
};
pub use home::{Home, IDENTITY, Identity, LogOptions};
pub use image::{Image, ImageSegment};
pub use pos::Pos;
pub use recovery::{Cut, OnRecord, Recovered, Recovery};
pub use scan::{Scan, ScanFrom};
pub use segments::{LogView, Segments};
pub use writer::{Appended, Log, LogStats, Renumbering};
