//! Key (VPN and address) to slot: at most one slot a key.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::chunks::MAX_IDS;
use super::persist::Saver;
use super::sync::{AtomicU64, Ordering};
use super::table::{Table, TableWriter};

/// What readers see: candidates for a hash, to be verified by their records.
pub struct KeyIndex {
    table: Arc<Table>,
    len: AtomicU64,
}

impl KeyIndex {
    /// The first slot under the hash that `verified` accepts. It is asked seldom for a slot of another key.
    #[inline]
    pub fn find(&self, hash: u64, mut verified: impl FnMut(u32) -> bool) -> Option<u32> {
        self.table.search(hash, |_, slot| {
            if verified(slot) {
                ControlFlow::Break(slot)
            } else {
                ControlFlow::Continue(())
            }
        })
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Octets taken.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.table.memory()
    }
}

/// The writer's side of [`KeyIndex`]; there is one, because it cannot be cloned.
pub struct KeyIndexWriter {
    shared: Arc<KeyIndex>,
    table: TableWriter,
}

impl KeyIndexWriter {
    /// An index with room for so many keys, so that filling it need not grow it.
    #[must_use]
    pub fn with_capacity(keys: usize) -> KeyIndexWriter {
        KeyIndexWriter::from_table(TableWriter::with_capacity(keys))
    }

    fn from_table(table: TableWriter) -> KeyIndexWriter {
        let len = AtomicU64::new(table.len() as u64);
        KeyIndexWriter {
            shared: Arc::new(KeyIndex {
                table: table.shared(),
                len,
            }),
            table,
        }
    }

    /// The readers' side.
    #[must_use]
    pub fn shared(&self) -> Arc<KeyIndex> {
        Arc::clone(&self.shared)
    }

    /// As [`KeyIndex::find`].
    #[inline]
    pub fn find(&self, hash: u64, mut verified: impl FnMut(u32) -> bool) -> Option<u32> {
        self.table.search(hash, |_, slot| {
            if verified(slot) {
                ControlFlow::Break(slot)
            } else {
                ControlFlow::Continue(())
            }
        })
    }

    /// As [`KeyIndex::prefetch`].
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    /// Adds a key that [`KeyIndexWriter::find`] did not find. Its slot's position must be set.
    pub fn insert(&mut self, hash: u64, slot: u32) {
        debug_assert!(slot < MAX_IDS, "slot {slot}");
        self.table.insert(hash, slot);
        self.shared
            .len
            .store(self.shared.len() + 1, Ordering::Relaxed);
    }

    /// Removes a key; whether it was there.
    pub fn remove(&mut self, hash: u64, slot: u32) -> bool {
        let place = self.table.search(hash, |place, found| {
            if found == slot {
                ControlFlow::Break(place)
            } else {
                ControlFlow::Continue(())
            }
        });
        let Some(place) = place else { return false };
        self.table.remove(hash, place);
        self.shared
            .len
            .store(self.shared.len().saturating_sub(1), Ordering::Relaxed);
        true
    }

    /// Octets taken.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.table.memory()
    }

    /// Writes the index for a checkpoint.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn save(&self, out: &mut impl Write) -> io::Result<()> {
        let mut saver = Saver::new(out);
        self.table.save(&mut saver)?;
        saver.finish()
    }

    /// Reads what [`KeyIndexWriter::save`] wrote.
    ///
    /// # Errors
    /// Those of `input`; `InvalidData` if no index looks like this.
    pub fn load(input: &mut impl Read) -> io::Result<KeyIndexWriter> {
        Ok(KeyIndexWriter::from_table(TableWriter::load(input)?))
    }
}
