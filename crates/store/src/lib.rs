//! The lease store: a log of every change of a binding, indexes derived from it, and walks over them.
//!
//! Events go in through [`Store::submit`]; one thread resolves them against what is stored, appends them to the log, waits
//! until they are durable, applies them to the indexes, publishes them and only then acknowledges them. Readers on any
//! thread take a [`View`] for a turn, look bindings up or go on with a walk, and drop it; they take no lock. The store knows
//! bindings, not protocols: what a query may see, and in which message, is the business of `leaseq-session`.
//!
//! The files are described in `docs/store-format.md`.

mod anew;
mod apply;
mod apply6;
mod backup;
mod checkpoint;
mod error;
mod event;
mod feeds;
mod hooks;
mod index;
mod keys;
mod links;
#[doc(hidden)]
pub mod log;
mod meter;
mod open;
mod options;
mod places;
mod queue;
mod record;
mod scan;
mod shared;
mod snapshot;
mod stats;
mod store;
mod time;
mod topology;
mod verify;
mod view;
mod vpn;
mod walk4;
mod walk6;
mod warm;
mod writer;

pub use backup::image_of_files;
pub use error::{CommitError, OpenError, StopError, SubmitError};
pub use event::{
    Event, Event4, Event6, EventError, FeedEvent, HwAddr, INFINITE, LeaseKind, Link6,
    MAX_CLIENT_ID, MAX_DUID, MAX_HOPS, MAX_RECORD, Relay6, State,
};
pub use hooks::CommitHook;
pub use log::{CopyError, CopyTarget, IDENTITY, Image, ImageSegment};
pub use meter::Distribution;
pub use options::{LoadPhase, LoadProgress, Options, SyncMode};
pub use record::{Bind4, Bind6, Departed4, Departed6, FeedRecord, Hop, Hops, Record};
pub use scan::{LogCursor, Scan, ScanFrom, Scanned};
pub use stats::{FamilyStats, FeedState, Stats, VerifyReport};
pub use store::{Committed, FeedIdError, Store, Ticket, TopologyChange, TopologyChangeError};
pub use time::{Clock, ManualClock, ServerClock, Stamp, SystemClock};
pub use topology::{LinkConfig, MAX_CONFIGURED4, Prefix6, Range4, Topology, TopologyError};
pub use verify::verify_files;
pub use view::{LinkId, Published, Reader, View};
pub use vpn::{Vpn, VpnRef, VpnSelect};
pub use walk4::{
    BATCH, Batch4, BatchAll4, Configured4, Found4, FoundAll4, Place, Progress, Selector4, Walk4,
    WalkAll4,
};
pub use walk6::{Group, Selector6, Step6, Walk6};
