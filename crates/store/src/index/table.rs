//! The hash table under [`KeyIndex`](super::KeyIndex) and [`Postings`](super::Postings): open addressing, one writer,
//! readers without locks.
//!
//! A table is cut into shards by the top bits of the hash. A shard is an array of cache lines behind a swapped pointer;
//! each line holds ten entries and their tags. An entry is a u32 that means something to the index above. A tag is 16
//! bits of the hash: it tells most strangers from what is sought without reading a record, and it alone decides where an
//! entry's search begins, so that a growing shard never reads a record either.
//!
//! Why readers miss nothing that stays:
//! - An entry never moves within its array, and a place once used is never empty again: removal leaves a tombstone,
//!   which may be used anew. An entry was put at the first free place of its search path, so no empty place comes before
//!   it, then or later. Only an empty place ends a search.
//! - The writer stores the entry, then (Release) the word with its tag. A reader that loads the tag (Acquire) sees that entry or a
//!   later one. In a place used anew, a reader may pair the old tag with the new entry: a false candidate, which the
//!   consumer's check of the record throws out, as it does for two values with equal bits.
//! - Growth copies the live entries to a new array, which is complete before the pointer is swapped. The old one is
//!   never changed again; a search that began in it sees the shard as it was at the swap.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::chunks::MAX_IDS;
use super::hash::{NO_PLACE, SHARDS, shard_of, tag_of};
use super::persist::{Saver, odd, read_u32, words};
use super::sync::{AtomicU32, AtomicU64, Ordering, Swap};

/// Entries in a cache line of 64 octets.
const WAYS: usize = if cfg!(loom) { 2 } else { 10 };

/// Tags in a word, and words of tags in a line.
const LANES: usize = 4;
const WORDS: usize = WAYS.div_ceil(LANES);

/// Entry of a place whose entry was removed.
pub(super) const TOMBSTONE: u32 = u32::MAX;

/// Of 32 places, those that may have been used before the shard grows, and those that hold an entry after it has grown.
/// With ten entries a line few searches go on to a second line even at the upper bound.
const USED_MAX: usize = 27;
const USED_AFTER_GROWTH: usize = 20;

/// A place in a shard's array, valid until the writer's next insertion into that shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

#[repr(align(64))]
struct Line {
    entries: [AtomicU32; WAYS],
    /// Tags, the first in the low bits: four are compared at once.
    tags: [AtomicU64; WORDS],
}

impl Line {
    fn new() -> Line {
        Line::of([0; WAYS], [0; WAYS])
    }

    fn of(entries: [u32; WAYS], tags: [u16; WAYS]) -> Line {
        let word = |word: usize| {
            let tags =
                (0..LANES).map(|lane| tags.get(word * LANES + lane).copied().unwrap_or(NO_PLACE));
            tags.rev().fold(0, |word, tag| word << 16 | u64::from(tag))
        };
        Line {
            entries: std::array::from_fn(|way| AtomicU32::new(entries[way])),
            tags: std::array::from_fn(|at| AtomicU64::new(word(at))),
        }
    }

    /// The tag of a way. Writer only.
    fn tag(&self, way: usize) -> u16 {
        (self.tags[way / LANES].load(Ordering::Relaxed) >> (16 * (way % LANES))) as u16
    }

    fn entry(&self, way: usize) -> u32 {
        self.entries[way].load(Ordering::Relaxed)
    }

    /// Writer only. The other tags of the word are stored again as they are.
    fn put(&self, way: usize, tag: u16, entry: u32) {
        self.entries[way].store(entry, Ordering::Release);
        let (word, shift) = (&self.tags[way / LANES], 16 * (way % LANES));
        let others = word.load(Ordering::Relaxed) & !(u64::from(u16::MAX) << shift);
        word.store(others | u64::from(tag) << shift, Ordering::Release);
    }

    /// The first way that was never used. Writer only.
    fn first_empty(&self) -> Option<usize> {
        self.tags.iter().enumerate().find_map(|(at, word)| {
            let empty = lanes_with(word.load(Ordering::Relaxed), 0);
            (empty != 0).then(|| at * LANES + empty.trailing_zeros() as usize / 16)
        })
    }
}

/// The top bit of each lane that holds the tag.
#[inline]
fn lanes_with(word: u64, tag: u16) -> u64 {
    const LOW_15: u64 = 0x7fff_7fff_7fff_7fff;
    let differ = word ^ (u64::from(tag) * 0x0001_0001_0001_0001);
    // Adding carries into a lane's top bit if any other bit of the lane is set, and never beyond it.
    !(((differ & LOW_15) + LOW_15) | differ | LOW_15)
}

struct Array {
    lines: Box<[Line]>,
}

impl Array {
    fn new(lines: usize) -> Array {
        Array {
            lines: (0..lines).map(|_| Line::new()).collect(),
        }
    }

    fn home(&self, tag: u16) -> usize {
        (usize::from(tag) * self.lines.len()) >> 16
    }

    fn max_used(&self) -> usize {
        (self.lines.len() * WAYS * USED_MAX) / 32
    }

    /// Each line once, from the one where the search for the tag begins.
    #[inline]
    fn path(&self, tag: u16) -> impl Iterator<Item = (usize, &Line)> {
        let (before, from) = self.lines.split_at(self.home(tag));
        let first = before.len();
        let from = from
            .iter()
            .enumerate()
            .map(move |(at, line)| (first + at, line));
        from.chain(before.iter().enumerate())
    }

    /// Gives the entries under the tag to `visit`, in the order of the search path, until it breaks.
    #[inline]
    fn search<B>(
        &self,
        tag: u16,
        mut visit: impl FnMut(Place, u32) -> ControlFlow<B>,
    ) -> Option<B> {
        for (at, line) in self.path(tag) {
            for (number, word) in line.tags.iter().enumerate() {
                let word = word.load(Ordering::Acquire);
                let mut matching = lanes_with(word, tag);
                while matching != 0 {
                    let way = number * LANES + matching.trailing_zeros() as usize / 16;
                    matching &= matching - 1;
                    // Acquire: a list entry's list is there before the entry is, and so is a slot's position.
                    let entry = line.entries[way].load(Ordering::Acquire);
                    if entry != TOMBSTONE
                        && let ControlFlow::Break(value) = visit(Place(at * WAYS + way), entry)
                    {
                        return Some(value);
                    }
                }
                if lanes_with(word, 0) != 0 {
                    return None;
                }
            }
        }
        None
    }

    fn entry_at(&self, place: Place) -> &AtomicU32 {
        &self.lines[place.0 / WAYS].entries[place.0 % WAYS]
    }

    /// The first place on the search path that is empty, or a tombstone if there are any; whether it is empty.
    /// Writer only.
    fn vacancy(&self, tag: u16, tombstones: bool) -> Option<(Place, bool)> {
        self.path(tag).find_map(|(at, line)| {
            let empty = line.first_empty();
            let used = empty.unwrap_or(WAYS);
            let tombstone = if tombstones {
                (0..used).find(|&way| line.entry(way) == TOMBSTONE)
            } else {
                None
            };
            let way = tombstone.or(empty)?;
            Some((Place(at * WAYS + way), tombstone.is_none()))
        })
    }

    fn put(&self, place: Place, tag: u16, entry: u32) {
        self.lines[place.0 / WAYS].put(place.0 % WAYS, tag, entry);
    }

    /// Tag and entry of each place that is not empty. Writer only.
    fn used(&self) -> impl Iterator<Item = (u16, u32)> {
        self.lines.iter().flat_map(|line| {
            (0..line.first_empty().unwrap_or(WAYS)).map(|way| (line.tag(way), line.entry(way)))
        })
    }
}

fn lines_for(entries: usize) -> usize {
    entries * 32 / (USED_AFTER_GROWTH * WAYS) + 1
}

/// What readers see of the table.
pub(super) struct Table {
    shards: Box<[Swap<Array>]>,
    /// Lines of all shards.
    lines: AtomicU32,
}

impl Table {
    /// Gives each entry under the hash's shard and tag to `visit`, until it breaks.
    #[inline]
    pub(super) fn search<B>(
        &self,
        hash: u64,
        visit: impl FnMut(Place, u32) -> ControlFlow<B>,
    ) -> Option<B> {
        self.shards[shard_of(hash)]
            .load()
            .search(tag_of(hash), visit)
    }

    pub(super) fn memory(&self) -> usize {
        let shard = size_of::<Swap<Array>>()
            + size_of::<Shard>()
            + 2 * size_of::<usize>()
            + size_of::<Array>();
        self.lines.load(Ordering::Relaxed) as usize * size_of::<Line>() + self.shards.len() * shard
    }
}

/// Loads the line where the search begins. Nothing depends on the value, so the processor does not wait for it.
fn touch(array: &Array, hash: u64) {
    let tag = tag_of(hash);
    black_box(array.lines[array.home(tag)].tags[0].load(Ordering::Relaxed));
}

struct Shard {
    array: Arc<Array>,
    /// Entries.
    live: usize,
    /// Places that are not empty: entries and tombstones.
    used: usize,
}

/// The writer's side of [`Table`].
pub(super) struct TableWriter {
    shared: Arc<Table>,
    shards: Box<[Shard]>,
}

impl TableWriter {
    /// A table that takes `entries` without growing, if their hashes spread as they should.
    pub(super) fn with_capacity(entries: usize) -> TableWriter {
        TableWriter::from_arrays(
            (0..SHARDS)
                .map(|_| Array::new(lines_for(entries / SHARDS)))
                .collect(),
        )
    }

    fn from_arrays(arrays: Vec<Array>) -> TableWriter {
        let lines = arrays.iter().map(|array| array.lines.len()).sum::<usize>();
        let shards: Box<[Shard]> = arrays
            .into_iter()
            .map(|array| {
                let live = array
                    .used()
                    .filter(|&(_, entry)| entry != TOMBSTONE)
                    .count();
                Shard {
                    live,
                    used: array.used().count(),
                    array: Arc::new(array),
                }
            })
            .collect();
        let shared = Table {
            shards: shards
                .iter()
                .map(|shard| Swap::new(Arc::clone(&shard.array)))
                .collect(),
            lines: AtomicU32::new(u32::try_from(lines).unwrap_or(u32::MAX)),
        };
        TableWriter {
            shared: Arc::new(shared),
            shards,
        }
    }

    pub(super) fn shared(&self) -> Arc<Table> {
        Arc::clone(&self.shared)
    }

    pub(super) fn memory(&self) -> usize {
        self.shared.memory()
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.live).sum()
    }

    /// As [`Table::search`], without the cost of loading the pointer.
    #[inline]
    pub(super) fn search<B>(
        &self,
        hash: u64,
        visit: impl FnMut(Place, u32) -> ControlFlow<B>,
    ) -> Option<B> {
        self.shards[shard_of(hash)]
            .array
            .search(tag_of(hash), visit)
    }

    pub(super) fn prefetch(&self, hash: u64) {
        touch(&self.shards[shard_of(hash)].array, hash);
    }

    /// Adds an entry, without looking whether an equal one is there.
    pub(super) fn insert(&mut self, hash: u64, entry: u32) {
        let number = shard_of(hash);
        let tag = tag_of(hash);
        let shard = &mut self.shards[number];
        let (place, empty) = match shard.array.vacancy(tag, shard.used > shard.live) {
            Some((place, empty)) if !empty || shard.used < shard.array.max_used() => (place, empty),
            _ => {
                let before = shard.array.lines.len();
                shard.grow();
                let lines = self.shared.lines.load(Ordering::Relaxed) as usize
                    + shard.array.lines.len()
                    - before;
                self.shared
                    .lines
                    .store(u32::try_from(lines).unwrap_or(u32::MAX), Ordering::Relaxed);
                self.shared.shards[number].store(Arc::clone(&shard.array));
                // `grow` leaves empty places; none would mean a broken table, where losing the entry is the lesser harm.
                let Some(vacancy) = shard.array.vacancy(tag, false) else {
                    return;
                };
                vacancy
            }
        };
        shard.live += 1;
        shard.used += usize::from(empty);
        shard.array.put(place, tag, entry);
    }

    /// Replaces the entry in a place found by [`TableWriter::search`] for the same hash.
    pub(super) fn replace(&mut self, hash: u64, place: Place, entry: u32) {
        self.shards[shard_of(hash)]
            .array
            .entry_at(place)
            .store(entry, Ordering::Release);
    }

    /// Removes the entry in a place found by [`TableWriter::search`] for the same hash.
    pub(super) fn remove(&mut self, hash: u64, place: Place) {
        self.replace(hash, place, TOMBSTONE);
        self.shards[shard_of(hash)].live -= 1;
    }

    pub(super) fn save<W: Write>(&self, saver: &mut Saver<'_, W>) -> io::Result<()> {
        saver.u32(SHARDS as u32)?;
        for shard in &self.shards {
            saver.u32(
                u32::try_from(shard.array.lines.len())
                    .map_err(|_| odd("a shard of more than 2^32 lines"))?,
            )?;
            for line in &shard.array.lines {
                for entry in &line.entries {
                    saver.u32(entry.load(Ordering::Relaxed))?;
                }
                for way in 0..WAYS {
                    saver.u16(line.tag(way))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn load(input: &mut impl Read) -> io::Result<TableWriter> {
        if read_u32(input)? as usize != SHARDS {
            return Err(odd("another number of shards"));
        }
        let mut arrays = Vec::with_capacity(SHARDS);
        for _ in 0..SHARDS {
            let count = read_u32(input)? as usize;
            if count == 0 || count > MAX_IDS as usize / WAYS {
                return Err(odd("a shard of impossible size"));
            }
            let mut lines = Vec::with_capacity(count.min(1 << 16));
            words(input, count, |word: [u8; 6 * WAYS]| {
                let (entries, tags) = word.split_at(4 * WAYS);
                let (entries, tags) = (entries.as_chunks().0, tags.as_chunks().0);
                lines.push(Line::of(
                    std::array::from_fn(|way| u32::from_le_bytes(entries[way])),
                    std::array::from_fn(|way| u16::from_le_bytes(tags[way])),
                ));
                Ok(())
            })?;
            arrays.push(Array {
                lines: lines.into_boxed_slice(),
            });
        }
        Ok(TableWriter::from_arrays(arrays))
    }
}

impl Shard {
    /// A new array, with room for what is live and about a third more; tombstones are left behind.
    fn grow(&mut self) {
        let array = Array::new(lines_for(self.live + 1));
        // The old lines are in order of their homes, near enough, so the new ones are filled in order too.
        let mut filled = vec![0; array.lines.len()];
        for (tag, entry) in self.array.used().filter(|&(_, entry)| entry != TOMBSTONE) {
            let mut at = array.home(tag);
            // There are more places than entries, so a line with room comes.
            while filled[at] == WAYS {
                at = if at + 1 == filled.len() { 0 } else { at + 1 };
            }
            array.lines[at].put(filled[at], tag, entry);
            filled[at] += 1;
        }
        self.used = self.live;
        self.array = Arc::new(array);
    }
}
