//! What can go wrong with the log's files, and where.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::format::{BatchFlaw, HeaderFlaw, RecordFlaw, SegmentName, VERSION};

/// Why a store's files could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has the store open.
    #[error(
        "{} is in use{}: one process at a time has a store open; stop that one, or let `leaseq ctl` and `leaseq store` ask it",
        .dir.display(), holder(.pid)
    )]
    Locked {
        /// The store's directory.
        dir: PathBuf,
        /// Process id of the holder, if its lock file told one.
        pid: Option<u32>,
    },
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}{}", .path.display(), owner_hint(.path, .source))]
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
    #[error(
        "{} is of version {found}, this program reads version {VERSION}: use the version of leaseq that wrote it, or a backup \
         of before", .path.display()
    )]
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

/// Where something is not permitted: who owns it, or the nearest directory above that may be looked into, and who asks.
fn owner_hint(path: &Path, source: &io::Error) -> String {
    if source.kind() != io::ErrorKind::PermissionDenied {
        return String::new();
    }
    let mut above = path.ancestors().filter(|path| !path.as_os_str().is_empty());
    let found = above.find_map(|path| Some((path, std::fs::metadata(path).ok()?.uid())));
    let Some((path, owner)) = found else {
        return String::new();
    };
    let user = rustix::process::geteuid().as_raw();
    format!(
        "; {} belongs to user {owner}, and this process runs as user {user}: run it as the owner, or change that with chown -R",
        path.display()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_is_told_whose_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/STORE");
        let user = rustix::process::geteuid().as_raw();
        let denied = OpenError::io("read", &path)(io::ErrorKind::PermissionDenied.into());
        let told = format!("; {} belongs to user {user}, and", dir.path().display());
        assert!(denied.to_string().contains(&told), "{denied}");
        let missing = OpenError::io("read", &path)(io::ErrorKind::NotFound.into());
        assert!(!missing.to_string().contains("belongs"), "{missing}");
    }
}
