//! Where a record lies, in 64 bits: what the slot table stores and the hottest read takes.

/// The place of a record: number of its segment in the running process's table, and its offset.
///
/// A segment's number is given when the segment is opened or made and never used again in the same process, so a `Pos`
/// that has become stale is told from a valid one. Numbers do not outlive the process; see
/// [`Log::renumbering`](super::Log::renumbering) for positions that have to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Pos(u64);

impl Pos {
    /// No record.
    pub const NONE: Pos = Pos(0);

    /// The position that [`raw`](Self::raw) gave. Any value is safe to look up: what is no record is not found.
    pub const fn from_raw(raw: u64) -> Pos {
        Pos(raw)
    }

    /// The position as 64 bits, for an atomic; 0 is [`NONE`](Self::NONE).
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Whether this is [`NONE`](Self::NONE).
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The record at `offset` octets (a multiple of 8, below 2 GiB) of segment `number` (from 1).
    pub(super) const fn new(number: u32, offset: u64) -> Pos {
        Pos((number as u64) << 32 | offset >> 3)
    }

    pub(super) const fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) const fn offset(self) -> u64 {
        (self.0 & 0xffff_ffff) << 3
    }

    /// The position `octets` (a multiple of 8) further on in the same segment.
    pub(super) const fn plus(self, octets: u64) -> Pos {
        Pos(self.0 + (octets >> 3))
    }
}
