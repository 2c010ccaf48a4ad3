//! Value of a selector to ids: many ids a value, many values.
//!
//! The first few ids of a value are entries of the hash table, side by side under the same tag; a value with more has one
//! entry, with bit 31 set, that names a list. So the many values with one or two ids cost an entry for each id, and no
//! allocation. A list knows the full hash of its value.
//!
//! Turning entries into a list: the list, complete, takes the place of the entry that comes last on the search path;
//! then the others become tombstones. A reader goes along the same path: if it came too late for one of the others, it
//! saw a tombstone that was stored (Release) after the list, so further along it sees the list, and in it the id that it
//! missed. If it saw some of the ids on the way and then the list, [`Candidates`] leaves them out of the list.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::chunks::{Chunks, MAX_IDS};
use super::list::{Finder, List, Removal, Snapshot, append, remove};
use super::persist::{Saver, odd, read_u32, read_u32s, read_u64};
use super::sync::{AtomicU64, Ordering, SwapOption};
use super::table::{Place, Table, TableWriter};

/// Ids of a value that are entries of their own.
pub(super) const INLINE_MAX: usize = if cfg!(loom) { 2 } else { 6 };

/// Set in an entry that is the number of a list.
const LIST: u32 = 1 << 31;

/// What readers see of the index.
pub struct Postings {
    table: Arc<Table>,
    lists: Chunks<SwapOption<List>>,
    len: AtomicU64,
    /// Octets of lists and of what helps to find ids in them.
    octets: AtomicU64,
}

/// What a lookup found: at most one candidate a place, each id once, strangers among them now and then (the consumer
/// verifies). Owned, so that a walk can keep it from turn to turn; its length never changes.
#[derive(Clone, Default)]
pub struct Candidates {
    inline: SmallVec<[u32; 8]>,
    list: Option<Snapshot>,
}

impl Candidates {
    /// Number of places.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inline.len() + self.list.as_ref().map_or(0, Snapshot::len)
    }

    /// The id in a place below the length; none if it has left since, or stands in another place too.
    #[inline]
    #[must_use]
    pub fn get(&self, place: usize) -> Option<u32> {
        if let Some(&id) = self.inline.get(place) {
            return Some(id);
        }
        let id = self.list.as_ref()?.get(place - self.inline.len())?;
        (!self.inline.contains(&id)).then_some(id)
    }
}

impl Postings {
    /// The ids under the hash, as of now.
    #[must_use]
    pub fn find(&self, hash: u64) -> Candidates {
        let mut found = Candidates::default();
        self.table.search(hash, |_, entry| -> ControlFlow<()> {
            if entry & LIST == 0 {
                // An id that left and came back during the search may be met twice.
                if !found.inline.contains(&entry) {
                    found.inline.push(entry);
                }
            } else if let Some(list) = self
                .lists
                .get(entry & !LIST)
                .and_then(SwapOption::load_full)
                && list.hash() == hash
            {
                // Likewise the list of a value that lost all its ids and got new ones: the later one counts.
                found.list = Some(Snapshot::of(list));
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// Number of pairs of value and id.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Octets taken.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.table.memory() + self.lists.memory() + self.octets.load(Ordering::Relaxed) as usize
    }
}

/// The writer's side of [`Postings`].
pub struct PostingsWriter {
    shared: Arc<Postings>,
    table: TableWriter,
    finders: HashMap<u32, Finder>,
    /// Numbers of lists from here on were never used.
    next_list: u32,
    /// Numbers of lists that were dropped. Used again at once: a reader that still has the old number finds a list of
    /// another hash, and the value that it sought had no id at that moment.
    free_lists: Vec<u32>,
}

/// What the writer found under a hash.
struct Found {
    list: Option<(u32, Place, Arc<List>)>,
    /// Entries under the tag: of the value, or strangers.
    inline: SmallVec<[(Place, u32); 8]>,
}

impl PostingsWriter {
    /// An index with room for so many entries (pairs of value and id, as long as a value has few), so that filling it
    /// need not grow it.
    #[must_use]
    pub fn with_capacity(entries: usize) -> PostingsWriter {
        PostingsWriter::from_table(TableWriter::with_capacity(entries))
    }

    fn from_table(table: TableWriter) -> PostingsWriter {
        let shared = Postings {
            table: table.shared(),
            lists: Chunks::new(),
            len: AtomicU64::new(0),
            octets: AtomicU64::new(0),
        };
        PostingsWriter {
            shared: Arc::new(shared),
            table,
            finders: HashMap::new(),
            next_list: 0,
            free_lists: Vec::new(),
        }
    }

    /// The readers' side.
    #[must_use]
    pub fn shared(&self) -> Arc<Postings> {
        Arc::clone(&self.shared)
    }

    /// As [`Postings::find`].
    #[must_use]
    pub fn find(&self, hash: u64) -> Candidates {
        self.shared.find(hash)
    }

    /// As [`Postings::prefetch`].
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    fn look(&self, hash: u64) -> Found {
        let mut found = Found {
            list: None,
            inline: SmallVec::new(),
        };
        self.table.search(hash, |place, entry| -> ControlFlow<()> {
            if entry & LIST == 0 {
                found.inline.push((place, entry));
            } else if let Some(list) = self.list(entry & !LIST)
                && list.hash() == hash
            {
                found.list = Some((entry & !LIST, place, list));
            }
            ControlFlow::Continue(())
        });
        found
    }

    fn list(&self, number: u32) -> Option<Arc<List>> {
        self.shared
            .lists
            .get(number)
            .and_then(SwapOption::load_full)
    }

    /// Adds an id that is not under the hash yet. (One that was added just now is let pass without effect.)
    ///
    /// `same` tells of an id found under the hash whether it has the very value; it is asked only when the value may be
    /// about to have more ids than are kept as entries.
    pub fn insert(&mut self, hash: u64, id: u32, mut same: impl FnMut(u32) -> bool) {
        debug_assert!(id < MAX_IDS, "id {id}");
        let found = self.look(hash);
        if found.inline.iter().any(|&(_, entry)| entry == id) {
            return;
        }
        if let Some((number, _, list)) = found.list {
            let before = list.live();
            match self.with_finder(number, |finder| append(&list, finder, id)) {
                None => self.count(list.live() - before, 0, 0),
                Some(new) => {
                    self.count(new.live() - before, new.memory(), list.memory());
                    self.set_list(number, Some(new));
                }
            }
            return;
        }
        self.count(1, 0, 0);
        if found.inline.len() >= INLINE_MAX {
            let own: SmallVec<[(Place, u32); 8]> = found
                .inline
                .into_iter()
                .filter(|&(_, entry)| same(entry))
                .collect();
            if own.len() >= INLINE_MAX && self.convert(hash, &own, id) {
                return;
            }
        }
        self.table.insert(hash, id);
    }

    /// Makes a list of a value's entries, which come in the order of the search path, and one more id.
    /// False if there are too many lists.
    fn convert(&mut self, hash: u64, entries: &[(Place, u32)], id: u32) -> bool {
        let Some((&(last, _), others)) = entries.split_last() else {
            return false;
        };
        let Some(number) = self
            .free_lists
            .pop()
            .or_else(|| (self.next_list < MAX_IDS).then_some(self.next_list))
        else {
            return false;
        };
        self.next_list = self.next_list.max(number + 1);
        let ids: SmallVec<[u32; 8]> = entries
            .iter()
            .map(|&(_, entry)| entry)
            .chain([id])
            .collect();
        let list = List::new(hash, &ids);
        self.count(0, list.memory(), 0);
        self.shared.lists.reach(number, SwapOption::empty);
        self.set_list(number, Some(list));
        self.table.replace(hash, last, LIST | number);
        for &(place, _) in others {
            self.table.remove(hash, place);
        }
        true
    }

    /// Removes an id from under the hash; whether it was there.
    pub fn remove(&mut self, hash: u64, id: u32) -> bool {
        let found = self.look(hash);
        // A list and an entry for the id: the hash is that of two values, and only one of them has the list.
        if let Some(&(place, _)) = found.inline.iter().find(|&&(_, entry)| entry == id) {
            self.table.remove(hash, place);
        } else if let Some((number, place, list)) = found.list {
            match self.with_finder(number, |finder| remove(&list, finder, id)) {
                Removal::Absent => return false,
                Removal::Done => {}
                Removal::Replace(new) => {
                    self.count(0, new.memory(), list.memory());
                    self.set_list(number, Some(new));
                }
                Removal::Empty => {
                    self.table.remove(hash, place);
                    self.count(0, 0, list.memory());
                    self.set_list(number, None);
                    self.free_lists.push(number);
                }
            }
        } else {
            return false;
        }
        self.shared
            .len
            .store(self.shared.len().saturating_sub(1), Ordering::Relaxed);
        true
    }

    fn set_list(&self, number: u32, list: Option<List>) {
        if let Some(place) = self.shared.lists.get(number) {
            place.store(list.map(Arc::new));
        }
    }

    /// Lets `act` use and change the list's finder, if it has one, and counts the octets.
    fn with_finder<T>(&mut self, number: u32, act: impl FnOnce(&mut Option<Finder>) -> T) -> T {
        let mut finder = if self.finders.is_empty() {
            None
        } else {
            self.finders.remove(&number)
        };
        let before = finder.as_ref().map_or(0, Finder::memory);
        let result = act(&mut finder);
        self.count(0, finder.as_ref().map_or(0, Finder::memory), before);
        if let Some(finder) = finder {
            self.finders.insert(number, finder);
        }
        result
    }

    fn count(&self, more: usize, taken: usize, given_back: usize) {
        if more > 0 {
            self.shared
                .len
                .store(self.shared.len() + more as u64, Ordering::Relaxed);
        }
        if taken != given_back {
            let octets = self.shared.octets.load(Ordering::Relaxed) + taken as u64;
            self.shared
                .octets
                .store(octets.saturating_sub(given_back as u64), Ordering::Relaxed);
        }
    }

    /// Number of pairs of value and id.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shared.len()
    }

    /// Writes the index for a checkpoint.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn save(&self, out: &mut impl Write) -> io::Result<()> {
        let mut saver = Saver::new(out);
        self.table.save(&mut saver)?;
        saver.u64(self.len())?;
        saver.u32(self.next_list)?;
        for list in self.shared.lists.iter().take(self.next_list as usize) {
            match list.load_full() {
                Some(list) => {
                    saver.u64(list.hash())?;
                    let ids: Vec<u32> = list.iter().collect();
                    saver.u32s(ids.into_iter())?;
                }
                None => {
                    saver.u64(0)?;
                    saver.u32(0)?;
                }
            }
        }
        saver.finish()
    }

    /// Reads what [`PostingsWriter::save`] wrote.
    ///
    /// # Errors
    /// Those of `input`; `InvalidData` if no index looks like this.
    pub fn load(input: &mut impl Read) -> io::Result<PostingsWriter> {
        let mut index = PostingsWriter::from_table(TableWriter::load(input)?);
        index.shared.len.store(read_u64(input)?, Ordering::Relaxed);
        let lists = read_u32(input)?;
        if lists > MAX_IDS {
            return Err(odd("more lists than there can be"));
        }
        for number in 0..lists {
            let hash = read_u64(input)?;
            let ids = read_u32s(input)?;
            index.shared.lists.reach(number, SwapOption::empty);
            if ids.is_empty() {
                index.free_lists.push(number);
                continue;
            }
            if ids.iter().any(|&id| id >= MAX_IDS) {
                return Err(odd("an id that cannot be"));
            }
            let list = List::new(hash, &ids);
            index.count(0, list.memory(), 0);
            index.set_list(number, Some(list));
        }
        index.next_list = lists;
        Ok(index)
    }
}
