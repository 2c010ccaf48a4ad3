//! An array that grows without moving: chunks in a fixed directory, each made once.
//!
//! Each octave of the index space is cut into eight chunks of equal size, so that the directory is small and fixed, a
//! small array takes little, and a large one has at most an eighth to spare.

use std::sync::OnceLock;

const FIRST_OCTAVE: u32 = if cfg!(loom) { 4 } else { 10 };
const STEP_BITS: u32 = 3;
const LAST_OCTAVE: u32 = 31;
const CHUNKS: usize = ((LAST_OCTAVE - FIRST_OCTAVE + 1) << STEP_BITS) as usize;

/// Most elements that any array of the indexes holds; ids are below it. (Bit 31 of an entry marks a list, and the values
/// next to 2^31 are marks of their own.)
pub(super) const MAX_IDS: u32 = (1 << 31) - (1 << FIRST_OCTAVE) - 2;

/// Elements stay where they are while the array grows, so readers hold no lock.
pub(super) struct Chunks<T> {
    directory: Box<[OnceLock<Box<[T]>>]>,
}

fn locate(index: u32) -> (usize, usize) {
    let shifted = index.saturating_add(1 << FIRST_OCTAVE);
    let octave = u32::BITS - 1 - shifted.leading_zeros();
    let shift = octave - STEP_BITS;
    let step = (shifted >> shift) & ((1 << STEP_BITS) - 1);
    let chunk = ((octave - FIRST_OCTAVE) << STEP_BITS) + step;
    (chunk as usize, (shifted & ((1 << shift) - 1)) as usize)
}

fn chunk_len(chunk: usize) -> usize {
    1 << ((chunk >> STEP_BITS) + (FIRST_OCTAVE - STEP_BITS) as usize)
}

impl<T> Chunks<T> {
    pub(super) fn new() -> Chunks<T> {
        Chunks {
            directory: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The element, if its chunk has been made.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let (chunk, offset) = locate(index);
        self.directory.get(chunk)?.get()?.get(offset)
    }

    /// Makes the chunks for elements up to and with `index`. Chunks come in order, so those below exist.
    pub(super) fn reach(&self, index: u32, make: impl Fn() -> T) {
        let (last, _) = locate(index.min(MAX_IDS));
        let missing = self.directory[..=last]
            .iter()
            .rev()
            .take_while(|chunk| chunk.get().is_none())
            .count();
        for (chunk, place) in self
            .directory
            .iter()
            .enumerate()
            .take(last + 1)
            .skip(last + 1 - missing)
        {
            place.get_or_init(|| (0..chunk_len(chunk)).map(|_| make()).collect());
        }
    }

    /// The elements in order, as far as chunks exist.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.directory.iter().map_while(OnceLock::get).flatten()
    }

    pub(super) fn memory(&self) -> usize {
        let elements: usize = self
            .directory
            .iter()
            .map_while(OnceLock::get)
            .map(|chunk| chunk.len())
            .sum();
        elements * size_of::<T>() + CHUNKS * size_of::<OnceLock<Box<[T]>>>()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other_without_gap_or_overlap() {
        let mut expected = (0, 0);
        for index in 0..300_000 {
            assert_eq!(locate(index), expected, "index {index}");
            expected.1 += 1;
            if expected.1 == chunk_len(expected.0) {
                expected = (expected.0 + 1, 0);
            }
        }
        let (chunk, offset) = locate(MAX_IDS);
        assert!(chunk < CHUNKS && offset < chunk_len(chunk));
        let (chunk, _) = locate(u32::MAX);
        assert!(
            chunk < CHUNKS + (1 << STEP_BITS),
            "an id out of range has a place out of range or none"
        );
    }

    #[test]
    fn an_element_exists_once_reached_and_stays() {
        let chunks: Chunks<u32> = Chunks::new();
        assert_eq!(chunks.get(0), None);
        chunks.reach(5_000, || 7);
        let before: *const u32 = chunks.get(5_000).unwrap();
        assert_eq!(chunks.get(0), Some(&7));
        chunks.reach(100_000, || 8);
        assert!(std::ptr::eq(before, chunks.get(5_000).unwrap()));
        assert_eq!(chunks.get(100_000), Some(&8));
        assert_eq!(chunks.get(u32::MAX), None);
        assert!(chunks.iter().count() > 100_000);
    }

    #[test]
    fn at_most_an_eighth_is_to_spare() {
        for count in [20_000_u32, 1_000_000, 1_048_577] {
            let chunks: Chunks<u8> = Chunks::new();
            chunks.reach(count - 1, || 0);
            let made = chunks.iter().count();
            assert!(
                made <= count as usize * 9 / 8 + 1024,
                "{made} made for {count}"
            );
        }
    }
}
