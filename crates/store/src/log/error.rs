//! What can go wrong with the log's files, and where.

use std::io;
use std::path::{Path, PathBuf};

use super::format::{BatchFlaw, HeaderFlaw, RecordFlaw, SegmentName, VERSION};

/// Why a store's files could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has the store open.
    #[error("{} is in use{}", .dir.display(), holder(.pid))]
    Locked {
        /// The store's directory.
        dir: PathBuf,
        /// Process id of the holder, if its lock file told one.
        pid: Option<u32>,
    },
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no store, and none was to be made.
    #[error("{} holds no lease store: it has no file STORE", .dir.display())]
    NoStore {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds segments, but not the file that says whose they are.
    #[error("{} holds segments of a log but no file STORE; put it back from where the store was copied from", .dir.display())]
    NoIdentity {
        /// The directory.
        dir: PathBuf,
    },
    /// Written by a version of the program with another format.
    #[error("{} is of version {found}, this program reads version {VERSION}", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: u32,
    },
    /// The file STORE is damaged.
    #[error("{} is damaged: {what}", .path.display())]
    BadIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The segment size asked for is not one.
    #[error(
        "a segment size of {found} octets is not possible: a multiple of 4,096 from 65,536 to 2,147,483,648 is needed"
    )]
    SegmentSize {
        /// What was asked for.
        found: u64,
    },
    /// Records that were durable are damaged or gone.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(
        || " by another process".to_owned(),
        |pid| format!(" by process {pid}"),
    )
}

impl OpenError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.to_owned();
        move |source| OpenError::Io {
            action,
            path,
            source,
        }
    }
}

/// A place where the log is damaged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("segment {segment} is damaged at offset {offset}: {damage}")]
pub struct Corruption {
    /// The segment's file name.
    pub segment: SegmentName,
    /// Octets from its start.
    pub offset: u64,
    /// What is wrong there.
    pub damage: Damage,
}

/// What is wrong with a place in the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    /// The segment's header.
    #[error("{0}")]
    Header(HeaderFlaw),
    /// A batch that had been synced.
    #[error("{0}, though a later batch shows that one was synced here")]
    Batch(BatchFlaw),
    /// A record within a batch whose checksum is right.
    #[error("{0}, in a batch whose checksum is right")]
    Record(RecordFlaw),
    /// A record that the caller cannot read.
    #[error("{0}")]
    Content(String),
    /// The segment ends too early, or the one after it is another's.
    #[error(
        "the segment ends before sequence {reached}, but the following one starts at {following}"
    )]
    Gap {
        /// Next sequence after what could be read.
        reached: u64,
        /// First sequence of the following segment.
        following: u64,
    },
    /// Segments before this one are missing.
    #[error("segment {expected:016x} should come before it and is missing")]
    Missing {
        /// The first id that is missing.
        expected: u64,
    },
    /// The newest segment is one that compaction wrote, so the one that was appended to is missing.
    #[error("it is the last segment there is, but a compacted one is always followed by another")]
    NoActive,
    /// Two files claim the same ids.
    #[error("it overlaps with segment {0}")]
    Overlap(SegmentName),
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The next segment cannot be made for want of space. Nothing is appended; try again once there is room.
    #[error("the disk is full: no space for the next segment of the log: {0}")]
    Full(#[source] io::Error),
    /// The next segment cannot be made for another reason. Nothing is appended.
    #[error("the next segment of the log cannot be made: {0}")]
    Segment(#[source] io::Error),
    /// Writing failed twice, or the store was opened for reading: nothing will ever be appended.
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
    /// The batch is longer than a segment.
    #[error(
        "a batch of {octets} octets of records is too long, at most {limit} fit into a segment"
    )]
    TooLarge {
        /// Octets of the records.
        octets: usize,
        /// Octets that fit.
        limit: usize,
    },
    /// The batch does not continue the log, or its records contradict what was said of them: an error of the caller.
    #[error("the batch does not continue the log: {0}")]
    Disorder(String),
}

/// Why a compaction was given up. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A source is damaged.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// The sources are no longer what they were when the plan was made.
    #[error("the segments to merge are no longer adjacent parts of the log")]
    Stale,
}
