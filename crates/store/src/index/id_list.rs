//! A bare list of ids, for what belongs to no value: the addresses outside every range, the groups of one link.

use std::io::{self, Read, Write};
use std::sync::Arc;

use super::chunks::MAX_IDS;
use super::list::{Finder, List, Removal, Snapshot, append, remove};
use super::persist::{Saver, odd, read_u32s};
use super::sync::{AtomicU64, Ordering, Swap};

/// What readers see of the list.
pub struct IdList {
    list: Swap<List>,
    octets: AtomicU64,
}

/// The ids of an [`IdList`] when a walk began: each once, less those that left since.
#[derive(Clone)]
pub struct IdSnapshot(Snapshot);

impl IdSnapshot {
    /// Number of places.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The id in a place below the length; none if it has left.
    #[inline]
    #[must_use]
    pub fn get(&self, place: usize) -> Option<u32> {
        self.0.get(place)
    }
}

impl IdList {
    /// The ids from now on.
    #[must_use]
    pub fn snapshot(&self) -> IdSnapshot {
        IdSnapshot(Snapshot::of(self.list.load_full()))
    }

    /// Octets taken.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.octets.load(Ordering::Relaxed) as usize
    }
}

/// The writer's side of [`IdList`].
pub struct IdListWriter {
    shared: Arc<IdList>,
    list: Arc<List>,
    finder: Option<Finder>,
}

impl IdListWriter {
    /// An empty list.
    #[must_use]
    pub fn new() -> IdListWriter {
        IdListWriter::of(List::new(0, &[]))
    }

    fn of(list: List) -> IdListWriter {
        let list = Arc::new(list);
        let shared = Arc::new(IdList {
            list: Swap::new(Arc::clone(&list)),
            octets: AtomicU64::new(0),
        });
        let writer = IdListWriter {
            shared,
            list,
            finder: None,
        };
        writer.count();
        writer
    }

    /// The readers' side.
    #[must_use]
    pub fn shared(&self) -> Arc<IdList> {
        Arc::clone(&self.shared)
    }

    fn count(&self) {
        let octets = self.list.memory() + self.finder.as_ref().map_or(0, Finder::memory);
        self.shared.octets.store(octets as u64, Ordering::Relaxed);
    }

    fn replace(&mut self, list: List) {
        self.list = Arc::new(list);
        self.shared.list.store(Arc::clone(&self.list));
    }

    /// Appends an id that is not in the list. (One that was appended just now is let pass without effect.)
    pub fn insert(&mut self, id: u32) {
        if let Some(list) = append(&self.list, &mut self.finder, id) {
            self.replace(list);
        }
        self.count();
    }

    /// Removes an id; whether it was there.
    pub fn remove(&mut self, id: u32) -> bool {
        match remove(&self.list, &mut self.finder, id) {
            Removal::Absent => return false,
            Removal::Done => {}
            Removal::Replace(list) => self.replace(list),
            Removal::Empty => self.replace(List::new(0, &[])),
        }
        self.count();
        true
    }

    /// Octets taken.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.shared.memory()
    }

    /// Writes the list for a checkpoint.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn save(&self, out: &mut impl Write) -> io::Result<()> {
        let mut saver = Saver::new(out);
        let ids: Vec<u32> = self.list.iter().collect();
        saver.u32s(ids.into_iter())?;
        saver.finish()
    }

    /// Reads what [`IdListWriter::save`] wrote.
    ///
    /// # Errors
    /// Those of `input`; `InvalidData` if no list looks like this.
    pub fn load(input: &mut impl Read) -> io::Result<IdListWriter> {
        let ids = read_u32s(input)?;
        if ids.iter().any(|&id| id >= MAX_IDS) {
            return Err(odd("an id that cannot be"));
        }
        Ok(IdListWriter::of(List::new(0, &ids)))
    }
}
