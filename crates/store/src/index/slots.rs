//! Slots: the small number of a binding, and where its newest record lies.

use std::io::{self, Read, Write};
use std::ops::Deref;
use std::sync::Arc;

use super::chunks::{Chunks, MAX_IDS};
use super::persist::{Saver, odd, read_u32, read_u32s, words};
use super::sync::{AtomicU32, AtomicU64, Ordering};
use super::walks::{Horizon, Retired};

/// Slot to log position (a non-zero number that only the log understands). Positions never move.
pub struct SlotTable {
    positions: Chunks<AtomicU64>,
    live: AtomicU32,
}

impl SlotTable {
    /// The position last set, or 0: a free slot, or one not yet published.
    #[inline]
    #[must_use]
    pub fn pos(&self, slot: u32) -> u64 {
        // Acquire pairs with the Release in `set_pos`: the record is in the log before its position is here.
        self.positions
            .get(slot)
            .map_or(0, |position| position.load(Ordering::Acquire))
    }

    /// Slots in use.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.live.load(Ordering::Relaxed)
    }

    /// The slots in use, in order.
    pub fn in_use(&self) -> impl Iterator<Item = u32> + '_ {
        let positions = (0..).zip(self.positions.iter());
        positions
            .filter(|(_, position)| position.load(Ordering::Acquire) != 0)
            .map(|(slot, _)| slot)
    }

    /// Touches the position, so that a later [`SlotTable::pos`] finds it in the cache.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        std::hint::black_box(
            self.positions
                .get(slot)
                .map(|position| position.load(Ordering::Relaxed)),
        );
    }
}

/// The writer's side of [`SlotTable`].
pub struct SlotTableWriter {
    shared: Arc<SlotTable>,
    /// Slots from here on were never given out.
    next: u32,
    retired: Retired,
}

impl Deref for SlotTableWriter {
    type Target = SlotTable;

    fn deref(&self) -> &SlotTable {
        &self.shared
    }
}

impl SlotTableWriter {
    /// An empty table.
    #[must_use]
    pub fn new() -> SlotTableWriter {
        let shared = Arc::new(SlotTable {
            positions: Chunks::new(),
            live: AtomicU32::new(0),
        });
        SlotTableWriter {
            shared,
            next: 0,
            retired: Retired::default(),
        }
    }

    /// The readers' side.
    #[must_use]
    pub fn shared(&self) -> Arc<SlotTable> {
        Arc::clone(&self.shared)
    }

    /// A slot with position 0, or none if about 2^31 are in use.
    pub fn alloc(&mut self) -> Option<u32> {
        let slot = match self.retired.take() {
            Some(slot) => slot,
            None if self.next < MAX_IDS => {
                self.shared.positions.reach(self.next, || AtomicU64::new(0));
                self.next += 1;
                self.next - 1
            }
            None => return None,
        };
        self.shared.live.store(self.len() + 1, Ordering::Relaxed);
        Some(slot)
    }

    /// Publishes the position of the slot's newest record, which readers must be able to read by now.
    #[inline]
    pub fn set_pos(&mut self, slot: u32, position: u64) {
        if let Some(place) = self.shared.positions.get(slot) {
            place.store(position, Ordering::Release);
        }
    }

    /// Gives back a slot in use. It must have left every index before; it is given out again once a
    /// [`SlotTableWriter::reclaim`] finds that every walk begun before has ended.
    pub fn free(&mut self, slot: u32) {
        debug_assert!(slot < self.next, "slot {slot} was never given out");
        self.set_pos(slot, 0);
        self.shared
            .live
            .store(self.len().saturating_sub(1), Ordering::Relaxed);
        self.retired.push(slot);
    }

    /// Makes slots available whose time has come.
    pub fn reclaim(&mut self, horizon: Horizon) {
        self.retired.reclaim(horizon);
    }

    /// Whether freed slots wait for walks to end.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.retired.is_waiting()
    }

    /// Slots ever given out: every slot in use is below it.
    #[must_use]
    pub fn high(&self) -> u32 {
        self.next
    }

    /// Octets taken.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.shared.positions.memory() + self.retired.memory()
    }

    /// Writes the table for a checkpoint; `after` says what a position will be when the log is next opened.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn save_with(&self, out: &mut impl Write, after: impl Fn(u64) -> u64) -> io::Result<()> {
        let mut saver = Saver::new(out);
        saver.u32(self.next)?;
        for position in self.shared.positions.iter().take(self.next as usize) {
            saver.u64(after(position.load(Ordering::Relaxed)))?;
        }
        let free: Vec<u32> = self.retired.iter().collect();
        saver.u32s(free.into_iter())?;
        saver.finish()
    }

    /// As [`SlotTableWriter::save_with`], positions as they are.
    ///
    /// # Errors
    /// Those of `out`.
    #[cfg(all(test, not(loom)))]
    pub fn save(&self, out: &mut impl Write) -> io::Result<()> {
        self.save_with(out, |position| position)
    }

    /// Reads what [`SlotTableWriter::save_with`] wrote.
    ///
    /// # Errors
    /// Those of `input`; `InvalidData` if no table looks like this.
    pub fn load(input: &mut impl Read) -> io::Result<SlotTableWriter> {
        let next = read_u32(input)?;
        if next > MAX_IDS {
            return Err(odd("more slots than there can be"));
        }
        let mut table = SlotTableWriter::new();
        let mut slot = 0;
        words(input, next as usize, |word| {
            table.shared.positions.reach(slot, || AtomicU64::new(0));
            table.set_pos(slot, u64::from_le_bytes(word));
            slot += 1;
            Ok(())
        })?;
        let free = read_u32s(input)?;
        if free.len() > next as usize
            || free
                .iter()
                .any(|&slot| slot >= next || table.pos(slot) != 0)
        {
            return Err(odd("a free slot that is in use or does not exist"));
        }
        table.next = next;
        table
            .shared
            .live
            .store(next - free.len() as u32, Ordering::Relaxed);
        table.retired = Retired::with_ready(free);
        Ok(table)
    }
}
