//! How a store is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::time::{Clock, SystemClock};

/// When an event counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// After an fdatasync of its batch; a batch is what arrived during the last sync.
    #[default]
    Group,
    /// When written. For tests: a loss of power loses what was acknowledged.
    Never,
}

/// What is being done while a store opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadPhase {
    /// The checkpoint of the indexes is read.
    Checkpoint,
    /// The log is scanned and the indexes are derived from it.
    Scan,
}

/// How far the opening of a store has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// What is being done.
    pub phase: LoadPhase,
    /// Octets done.
    pub done: u64,
    /// Octets in all.
    pub total: u64,
}

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// When an event counts as stored.
    pub sync: SyncMode,
    /// How long a batch waits for more events after its first one.
    pub group_interval: Duration,
    /// Octets of a segment, a multiple of 4,096 from 64 KiB to 2 GiB.
    pub segment_size: u64,
    /// How long ends and departures are kept for catch-up.
    pub history: Duration,
    /// How long after its end a lease of a live feed may still be confirmed.
    pub expiry_grace: Duration,
    /// The clocks of server time.
    pub clock: Arc<dyn Clock>,
    /// Open for reading only: no event is taken, nothing is repaired.
    pub read_only: bool,
    /// Called while the store opens.
    pub progress: Option<Arc<dyn Fn(LoadProgress) + Send + Sync>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            sync: SyncMode::Group,
            group_interval: Duration::ZERO,
            segment_size: 64 << 20,
            history: Duration::from_secs(24 * 3_600),
            expiry_grace: Duration::from_secs(30),
            clock: Arc::new(SystemClock),
            read_only: false,
            progress: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("sync", &self.sync)
            .field("group_interval", &self.group_interval)
            .field("segment_size", &self.segment_size)
            .field("history", &self.history)
            .field("expiry_grace", &self.expiry_grace)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}
