//! Errors of the store as a whole.

use std::path::PathBuf;

use thiserror::Error;

use crate::topology::TopologyError;

/// Why a store did not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The configured ranges or links cannot be used.
    #[error("the configured addresses cannot be used: {0}")]
    Topology(#[from] TopologyError),
    /// The log did not open.
    #[error("the store in {dir} does not open: {reason}")]
    Log {
        /// Directory of the store.
        dir: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// The log is larger than the memory that is available for it.
    #[error(
        "the log of {log_octets} octets does not fit into the {available_octets} octets of memory \
         available: give the machine more memory, or compact the store"
    )]
    Memory {
        /// Octets of the log.
        log_octets: u64,
        /// Octets of memory available.
        available_octets: u64,
    },
    /// The thread that writes could not be started.
    #[error("the store's thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// Why events were not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// The store is stopping or was stopped.
    #[error("the store is stopped")]
    Stopped,
    /// The queue is full, and the caller did not want to wait.
    #[error("the store's queue is full")]
    Full,
    /// The store was opened for reading.
    #[error("the store is open for reading only")]
    ReadOnly,
}

/// Why events that were taken are not stored. Nothing of the batch that failed is applied; of a submission of many thousand
/// events, earlier batches may be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommitError {
    /// The disk is full, or does not take what is written; the next events may succeed.
    #[error("the log cannot be appended to: {reason}")]
    Append {
        /// What the log says.
        reason: String,
    },
    /// The log went read-only after failures that cannot be repaired while it runs.
    #[error("the store is read-only since {reason}; restart it when the disk is repaired")]
    ReadOnly {
        /// What the log says.
        reason: String,
    },
    /// The store was stopped before the events were stored.
    #[error("the store was stopped before the events were stored")]
    Stopped,
}

/// Why a store did not stop cleanly. What was acknowledged is durable all the same.
#[derive(Debug, Error)]
pub enum StopError {
    /// The last batch or its sync failed.
    #[error("the log cannot be closed: {0}")]
    Log(String),
    /// The checkpoint could not be written; the next start derives the indexes from the log.
    #[error("the checkpoint cannot be written: {0}")]
    Checkpoint(String),
}
