//! An append-only list of ids: the many side of an index.
//!
//! The writer stores an id, then (Release) the length; a reader that loads the length (Acquire) sees every id below it.
//! Removal puts a tombstone in the id's place; an id that comes back is appended anew. So whoever walks the list up to
//! the length that it had at the beginning meets each id once at most: its earlier place was a tombstone before the
//! length grew over the later one. And an id that stays keeps its place, so none is missed.
//!
//! A full list, or one that is half dead, is replaced by a copy of its live ids. A walk keeps the old one, which is
//! never changed again: it holds each id once, and every id that was there at the replacement.

use std::sync::Arc;

use super::chunks::MAX_IDS;
use super::sync::{AtomicU32, Ordering};

/// In the place of an id that was removed.
const GONE: u32 = u32::MAX;

/// Places that are looked through from the hint on before any costlier search.
const NEAR: usize = 64;

/// A list up to this length is searched from end to end; a longer one gets a [`Finder`] the first time that an id is
/// not near the hint.
const SCAN_MAX: usize = 4096;

/// Lists shorter than this are not rebuilt for being half dead.
const REBUILD_MIN: usize = if cfg!(loom) { 2 } else { 16 };

/// The last places that are looked through for an id that is about to be appended.
const TAIL: usize = 16;

pub(super) struct List {
    /// The full hash of the value that the list belongs to.
    hash: u64,
    len: AtomicU32,
    /// Tombstones below `len`. Only the writer looks at this and at the hint.
    dead: AtomicU32,
    /// Where the next removal begins its search: after the last one. Ids that leave in order are found at once.
    hint: AtomicU32,
    ids: Box<[AtomicU32]>,
}

/// A list and the length that it had when a walk began.
#[derive(Clone)]
pub(super) struct Snapshot {
    list: Arc<List>,
    len: u32,
}

impl Snapshot {
    pub(super) fn of(list: Arc<List>) -> Snapshot {
        let len = list.len.load(Ordering::Acquire);
        Snapshot { list, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// The id in the place, unless it has left; `None` from the length on.
    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<u32> {
        if place >= self.len() {
            return None;
        }
        // Acquire: what the consumer finds under the id is no older than the id's entry here.
        let id = self.list.ids.get(place)?.load(Ordering::Acquire);
        (id != GONE).then_some(id)
    }
}

impl List {
    /// A list of these ids, with some room to grow.
    pub(super) fn new(hash: u64, ids: &[u32]) -> List {
        List::filled(hash, ids.iter().copied(), ids.len())
    }

    fn filled(hash: u64, ids: impl Iterator<Item = u32>, count: usize) -> List {
        // The allocator rounds up anyway: 10, 14, 18 ... words. In loom's model a list is as short as possible.
        let capacity = if cfg!(loom) {
            count + 1
        } else {
            (count + count / 4).next_multiple_of(4) + 2
        };
        let mut places: Vec<AtomicU32> = ids.map(AtomicU32::new).collect();
        let len = places.len() as u32;
        places.resize_with(capacity, || AtomicU32::new(GONE));
        List {
            hash,
            len: AtomicU32::new(len),
            dead: AtomicU32::new(0),
            hint: AtomicU32::new(0),
            ids: places.into_boxed_slice(),
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    fn used(&self) -> usize {
        self.len.load(Ordering::Relaxed) as usize
    }

    /// Ids in the list; for the writer.
    pub(super) fn live(&self) -> usize {
        self.used() - self.dead.load(Ordering::Relaxed) as usize
    }

    /// The ids in the list, in order; for the writer.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.ids[..self.used()]
            .iter()
            .map(|id| id.load(Ordering::Relaxed))
            .filter(|&id| id != GONE)
    }

    pub(super) fn memory(&self) -> usize {
        // The counts of the `Arc` come before the list.
        2 * size_of::<usize>() + size_of::<List>() + self.ids.len() * size_of::<AtomicU32>()
    }

    fn holds(&self, place: usize, id: u32) -> bool {
        self.ids
            .get(place)
            .is_some_and(|found| found.load(Ordering::Relaxed) == id)
    }

    fn find_in(&self, range: std::ops::Range<usize>, id: u32) -> Option<usize> {
        let start = range.start;
        let found = self.ids[range]
            .iter()
            .position(|found| found.load(Ordering::Relaxed) == id)?;
        Some(start + found)
    }

    /// A copy of the live ids with room for more.
    fn rebuilt(&self) -> List {
        let list = List::filled(self.hash, self.iter(), self.live());
        let hint = self.hint.load(Ordering::Relaxed) as usize;
        let before = self.ids[..hint.min(self.used())]
            .iter()
            .filter(|id| id.load(Ordering::Relaxed) != GONE)
            .count();
        list.hint.store(before as u32, Ordering::Relaxed);
        list
    }
}

/// Where each id of a long list is: made when ids leave it out of order, so that each removal takes constant time.
/// Of a list that only grows, or is left in order, none is made.
pub(super) struct Finder {
    /// Place + 1, found by the id's hash; 0: empty. An id that left is recognised in the list.
    places: Box<[u32]>,
}

impl Finder {
    fn of(list: &List) -> Finder {
        let mut finder = Finder {
            places: vec![0; list.ids.len() * 3 / 2].into_boxed_slice(),
        };
        for place in 0..list.used() {
            let id = list.ids[place].load(Ordering::Relaxed);
            if id != GONE {
                finder.add(id, place);
            }
        }
        finder
    }

    fn home(&self, id: u32) -> usize {
        let scattered = u64::from(id.wrapping_mul(0x9e37_79b1));
        ((scattered * self.places.len() as u64) >> 32) as usize
    }

    fn path(&self, id: u32) -> impl Iterator<Item = usize> + use<> {
        let home = self.home(id);
        (home..self.places.len()).chain(0..home)
    }

    fn add(&mut self, id: u32, place: usize) {
        // There are half as many empty places as the list has room, so one is found.
        if let Some(at) = self.path(id).find(|&at| self.places[at] == 0) {
            self.places[at] = place as u32 + 1;
        }
    }

    fn find(&self, list: &List, id: u32) -> Option<usize> {
        self.path(id)
            .map(|at| self.places[at])
            .take_while(|&place| place != 0)
            .map(|place| place as usize - 1)
            .find(|&place| list.holds(place, id))
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Finder>() + self.places.len() * size_of::<u32>()
    }
}

/// What the writer has to do after a removal.
pub(super) enum Removal {
    /// The id was not in the list.
    Absent,
    /// Nothing.
    Done,
    /// To put this list in the place of the old one.
    Replace(List),
    /// To drop the list: its last id left.
    Empty,
}

/// Appends an id. Returns the list that is to take the place of this one, if this one was full.
///
/// The caller sees to it that the id is not in the list. One that was appended just now is recognised, though: a value
/// may come twice with the same binding.
pub(super) fn append(list: &List, finder: &mut Option<Finder>, id: u32) -> Option<List> {
    debug_assert!(id < MAX_IDS, "id {id}");
    let used = list.used();
    if list.find_in(used.saturating_sub(TAIL)..used, id).is_some() {
        return None;
    }
    debug_assert!(
        used > SCAN_MAX || list.find_in(0..used, id).is_none(),
        "id {id} is in the list already"
    );
    if used < list.ids.len() {
        list.push(finder, id);
        return None;
    }
    let new = list.rebuilt();
    *finder = finder.as_ref().map(|_| Finder::of(&new));
    new.push(finder, id);
    Some(new)
}

impl List {
    fn push(&self, finder: &mut Option<Finder>, id: u32) {
        let used = self.used();
        if let Some(finder) = finder {
            finder.add(id, used);
        }
        // The length publishes the id, so the id itself may be relaxed.
        self.ids[used].store(id, Ordering::Relaxed);
        self.len.store(used as u32 + 1, Ordering::Release);
    }
}

/// Removes an id.
pub(super) fn remove(list: &List, finder: &mut Option<Finder>, id: u32) -> Removal {
    let used = list.used();
    let hint = (list.hint.load(Ordering::Relaxed) as usize).min(used);
    let near = (hint + NEAR).min(used);
    let place = match list.find_in(hint..near, id) {
        Some(place) => Some(place),
        None if used <= SCAN_MAX => list
            .find_in(near..used, id)
            .or_else(|| list.find_in(0..hint, id)),
        None => finder
            .get_or_insert_with(|| Finder::of(list))
            .find(list, id),
    };
    let Some(place) = place else {
        return Removal::Absent;
    };
    // Release, so that a reader of a length stored later sees the tombstone; that store is a Release too.
    list.ids[place].store(GONE, Ordering::Release);
    list.hint.store(place as u32 + 1, Ordering::Relaxed);
    let dead = list.dead.load(Ordering::Relaxed) as usize + 1;
    list.dead.store(dead as u32, Ordering::Relaxed);
    if dead == used {
        *finder = None;
        Removal::Empty
    } else if used >= REBUILD_MIN && dead * 2 > used {
        let new = list.rebuilt();
        *finder = finder
            .as_ref()
            .filter(|_| new.used() > SCAN_MAX)
            .map(|_| Finder::of(&new));
        Removal::Replace(new)
    } else {
        Removal::Done
    }
}
