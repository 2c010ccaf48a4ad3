//! The indexes against simple models, under threads, and their appetite for memory.

mod expiry;
mod groups;
mod keys;
mod lists;
mod memory;
mod ranges;
mod slots;
mod threads;

use super::*;

/// A hash that is made to collide: some values share all its bits, others the shard and the tag.
fn poor_hash(value: u32) -> u64 {
    match value % 5 {
        0 => 0,
        1 => u64::from(value / 10),
        2 => u64::MAX - u64::from(value / 5),
        _ => Hasher::with_seeds([1, 2, 3, 4]).hash(0, &[&value.to_le_bytes()]),
    }
}

/// What a checkpoint makes of an index.
macro_rules! reloaded {
    ($type:ty, $index:expr) => {{
        let mut octets = Vec::new();
        $index.save(&mut octets).unwrap();
        let cut = &octets[..octets.len() - 1];
        assert!(
            <$type>::load(&mut &cut[..]).is_err(),
            "a checkpoint that is cut short is refused"
        );
        let mut input = &octets[..];
        let index = <$type>::load(&mut input).unwrap();
        assert!(input.is_empty(), "{} octets are left over", input.len());
        index
    }};
}
use reloaded;
