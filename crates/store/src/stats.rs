//! What a store says about itself, for `leaseq store stat` and the metrics.

use crate::event::State;
use crate::meter::Distribution;
use crate::time::Stamp;

/// Bindings of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyStats {
    /// Bindings by state, in the order of [`State::ALL`].
    pub by_state: [u64; 8],
    /// Distinct clients, in any state of their bindings: for IPv4 by client identifier, or by hardware address without one;
    /// for IPv6 by DUID and link.
    pub clients: u64,
}

impl FamilyStats {
    /// Bindings in all states.
    pub fn bindings(&self) -> u64 {
        self.by_state.iter().sum()
    }

    /// Bindings in one state.
    pub fn in_state(&self, state: State) -> u64 {
        self.by_state[state as usize - 1]
    }
}

/// Counts and sizes of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// IPv4 bindings.
    pub v4: FamilyStats,
    /// IPv6 leases.
    pub v6: FamilyStats,
    /// Octets of each index, by name.
    pub indexes: Vec<(&'static str, u64)>,
    /// Octets of the log in use.
    pub log_octets: u64,
    /// Of them, octets of records that a later one replaced.
    pub dead_octets: u64,
    /// How many records these are.
    pub dead_records: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Sequence of the last record.
    pub sequence: u64,
    /// Stamp of the last batch.
    pub stamp: Stamp,
    /// Milliseconds that the opening took.
    pub recovery_ms: u64,
    /// Whether the indexes came from a checkpoint.
    pub from_checkpoint: bool,
    /// Stamp of the newest end or departure that compaction dropped; zero: none.
    pub dropped_until: Stamp,
    /// Leases that ran out and are held until their feed confirms it.
    pub held: u64,
    /// Whether a live feed has not been read past the end of leases that it holds, for longer than the grace.
    pub feed_stale: bool,
    /// Batches committed since the opening.
    pub batches: u64,
    /// Batches that could not be committed since the opening.
    pub failed_batches: u64,
    /// Why the last batch could not be committed; none if it could. Nothing that was submitted meanwhile is stored.
    pub fault: Option<String>,
    /// How long the writing and syncing of batches took, in microseconds.
    pub commit_micros: Distribution,
    /// How many records batches had.
    pub batch_records: Distribution,
    /// Times that the wall clock was found stepped against server time.
    pub clock_steps: u64,
    /// Milliseconds that server time was ahead of the wall clock when they were last compared; negative: behind.
    pub clock_ahead_ms: i64,
    /// Events taken since the opening, those that changed nothing included.
    pub events: u64,
    /// Events since the opening that were equal to what was stored.
    pub unchanged: u64,
    /// Events since the opening that changed nothing because another feed had told something newer of their binding.
    pub outdated: u64,
}

impl Stats {
    /// Octets of all indexes together.
    pub fn index_octets(&self) -> u64 {
        self.indexes.iter().map(|(_, octets)| octets).sum()
    }
}

/// How far a feed has been read, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedState {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// Where to go on reading, in the feed's own format; empty at first.
    pub position: Vec<u8>,
    /// Nothing that the source did before this is unknown.
    pub read_up_to: Stamp,
    /// Whether it is followed.
    pub live: bool,
    /// Sequence of the record that says so.
    pub(crate) sequence: u64,
}

/// What the verification of a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Records read.
    pub records: u64,
    /// Bindings that are the newest of their key.
    pub bindings: u64,
    /// What is wrong, with segment and offset or with the binding's key; at most a thousand.
    pub problems: Vec<String>,
}
