//! The hash of all indexes, and how its bits are used.

use std::hash::{BuildHasher, Hasher as _};

use ahash::RandomState;

#[cfg(not(loom))]
const SHARD_BITS: u32 = 10;
#[cfg(loom)]
const SHARD_BITS: u32 = 0;

/// Number of shards of each index.
pub(super) const SHARDS: usize = 1 << SHARD_BITS;

/// A keyed hash: whoever does not know the store's seeds cannot choose values that collide.
#[derive(Clone)]
pub struct Hasher(RandomState);

impl Hasher {
    /// The hash of a store with these seeds.
    #[must_use]
    pub fn with_seeds(seeds: [u64; 4]) -> Hasher {
        Hasher(RandomState::with_seeds(
            seeds[0], seeds[1], seeds[2], seeds[3],
        ))
    }

    /// The hash of a value of the given kind; kinds keep values of different meaning apart.
    #[must_use]
    pub fn hash(&self, kind: u8, parts: &[&[u8]]) -> u64 {
        let mut state = self.0.build_hasher();
        state.write_u8(kind);
        for part in parts {
            state.write(part);
        }
        state.finish()
    }

    /// A value that differs if the algorithm differs: ahash has one for processors with AES instructions and one without,
    /// and may change both between its versions. A checkpoint of another fingerprint is of no use.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.hash(u8::MAX, &[b"leaseq index", &[0; 3], &[1; 40]])
    }
}

/// The shard of a hash: its top bits.
pub(super) fn shard_of(hash: u64) -> usize {
    hash.unbounded_shr(u64::BITS - SHARD_BITS) as usize
}

/// The tag of a place that does not exist: those that fill up the last word of a line's tags.
pub(super) const NO_PLACE: u16 = u16::MAX;

/// The 16 bits below the shard's, kept beside the entry. 0 marks a place that was never used, so it is not a tag.
pub(super) fn tag_of(hash: u64) -> u16 {
    ((hash >> (u64::BITS - SHARD_BITS - 16)) as u16).clamp(1, NO_PLACE - 1)
}
