//! Configured IPv4 ranges: for each an array, address to slot.
//!
//! A leased address of a range needs no other key index, and "all configured addresses" is a walk along the arrays in
//! order: each address once by construction, leased or not.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;

use thiserror::Error;

use super::chunks::MAX_IDS;
use super::persist::{Saver, odd, read_u32, words};
use super::sync::{AtomicU32, AtomicU64, Ordering};

/// Most addresses that all ranges together may have. Each takes 4 octets, leased or not.
pub const MAX_RANGE_ADDRESSES: u64 = 1 << 26;

/// Addresses from `first` to `last`, both included, of a VPN known to the store by a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexRange4 {
    /// Number of the VPN.
    pub vpn: u32,
    /// Lowest address.
    pub first: Ipv4Addr,
    /// Highest address.
    pub last: Ipv4Addr,
}

/// Why ranges were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RangeError {
    /// The lowest address is above the highest.
    #[error("range {}-{}: expected the lower address first", .0.first, .0.last)]
    Reversed(IndexRange4),
    /// Two ranges of one VPN have addresses in common.
    #[error("ranges {}-{} and {}-{} overlap", .0.first, .0.last, .1.first, .1.last)]
    Overlap(IndexRange4, IndexRange4),
    /// The arrays would take too much memory.
    #[error("the ranges have {0} addresses, expected at most {MAX_RANGE_ADDRESSES}")]
    TooLarge(u64),
}

struct Block {
    range: IndexRange4,
    /// Slot + 1; 0: none.
    slots: Box<[AtomicU32]>,
}

/// What readers see of the ranges.
pub struct Ranges4 {
    /// In order of VPN and address.
    blocks: Box<[Block]>,
    leased: AtomicU64,
}

/// Where a walk along the ranges stands: the next address. Copy it to come back to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RangeCursor {
    block: u32,
    offset: u32,
}

/// An address that a walk along the ranges came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeStep {
    /// Number of the VPN.
    pub vpn: u32,
    /// The address.
    pub address: Ipv4Addr,
    /// The slot of its binding, to be verified; none if it has no binding.
    pub slot: Option<u32>,
    /// A walk that is set back to here comes to this address again.
    pub place: RangeCursor,
}

impl Ranges4 {
    fn place(&self, vpn: u32, address: Ipv4Addr) -> Option<&AtomicU32> {
        let after = self
            .blocks
            .partition_point(|block| (block.range.vpn, block.range.first) <= (vpn, address));
        let block = &self.blocks[after.checked_sub(1)?];
        if block.range.vpn != vpn || address > block.range.last {
            return None;
        }
        block
            .slots
            .get((u32::from(address) - u32::from(block.range.first)) as usize)
    }

    /// The slot of a configured address, to be verified by its record; none if it has no binding, or is in no range.
    #[inline]
    #[must_use]
    pub fn slot_of(&self, vpn: u32, address: Ipv4Addr) -> Option<u32> {
        // Acquire: the slot's position was set before.
        self.place(vpn, address)?
            .load(Ordering::Acquire)
            .checked_sub(1)
    }

    /// Whether the address is in a range.
    #[must_use]
    pub fn contains(&self, vpn: u32, address: Ipv4Addr) -> bool {
        self.place(vpn, address).is_some()
    }

    /// Touches the place of the address, so that a later [`Ranges4::slot_of`] finds it in the cache.
    #[inline]
    pub fn prefetch(&self, vpn: u32, address: Ipv4Addr) {
        std::hint::black_box(
            self.place(vpn, address)
                .map(|place| place.load(Ordering::Relaxed)),
        );
    }

    /// The next address of a walk over the ranges of one VPN, or of all; none at the end.
    #[must_use]
    pub fn next(&self, cursor: &mut RangeCursor, vpn: Option<u32>) -> Option<RangeStep> {
        loop {
            let block = self.blocks.get(cursor.block as usize)?;
            if vpn.is_none_or(|vpn| vpn == block.range.vpn)
                && let Some(slot) = block.slots.get(cursor.offset as usize)
            {
                let place = *cursor;
                cursor.offset += 1;
                return Some(RangeStep {
                    vpn: block.range.vpn,
                    address: Ipv4Addr::from(u32::from(block.range.first) + place.offset),
                    slot: slot.load(Ordering::Acquire).checked_sub(1),
                    place,
                });
            }
            *cursor = RangeCursor {
                block: cursor.block + 1,
                offset: 0,
            };
        }
    }

    /// Addresses of the ranges that have a slot.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.leased.load(Ordering::Relaxed)
    }

    /// Octets taken.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.blocks
            .iter()
            .map(|block| size_of::<Block>() + block.slots.len() * size_of::<AtomicU32>())
            .sum()
    }
}

/// The writer's side of [`Ranges4`].
pub struct Ranges4Writer {
    shared: Arc<Ranges4>,
}

impl std::ops::Deref for Ranges4Writer {
    type Target = Ranges4;

    fn deref(&self) -> &Ranges4 {
        &self.shared
    }
}

impl Ranges4Writer {
    /// Arrays for the ranges, given in any order.
    ///
    /// # Errors
    /// A range that is reversed, two that overlap in one VPN, or more than [`MAX_RANGE_ADDRESSES`] in all.
    pub fn new(mut ranges: Vec<IndexRange4>) -> Result<Ranges4Writer, RangeError> {
        ranges.sort_unstable();
        let mut total = 0;
        for range in &ranges {
            if range.first > range.last {
                return Err(RangeError::Reversed(*range));
            }
            total += u64::from(u32::from(range.last) - u32::from(range.first)) + 1;
        }
        if let Some(pair) = ranges
            .windows(2)
            .find(|pair| pair[0].vpn == pair[1].vpn && pair[1].first <= pair[0].last)
        {
            return Err(RangeError::Overlap(pair[0], pair[1]));
        }
        if total > MAX_RANGE_ADDRESSES {
            return Err(RangeError::TooLarge(total));
        }
        let blocks = ranges
            .into_iter()
            .map(|range| {
                let count = u32::from(range.last) - u32::from(range.first);
                Block {
                    range,
                    slots: (0..=count).map(|_| AtomicU32::new(0)).collect(),
                }
            })
            .collect();
        Ok(Ranges4Writer {
            shared: Arc::new(Ranges4 {
                blocks,
                leased: AtomicU64::new(0),
            }),
        })
    }

    /// The readers' side.
    #[must_use]
    pub fn shared(&self) -> Arc<Ranges4> {
        Arc::clone(&self.shared)
    }

    /// Sets or clears the slot of an address; false if it is in no range.
    pub fn set(&mut self, vpn: u32, address: Ipv4Addr, slot: Option<u32>) -> bool {
        debug_assert!(slot.is_none_or(|slot| slot < MAX_IDS), "slot {slot:?}");
        let Some(place) = self.place(vpn, address) else {
            return false;
        };
        let before = place.load(Ordering::Relaxed);
        place.store(slot.map_or(0, |slot| slot + 1), Ordering::Release);
        let leased = self.len() + u64::from(slot.is_some()) - u64::from(before != 0);
        self.leased.store(leased, Ordering::Relaxed);
        true
    }

    /// Writes the arrays for a checkpoint.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn save(&self, out: &mut impl Write) -> io::Result<()> {
        let mut saver = Saver::new(out);
        for block in &self.blocks {
            saver.u32s(block.slots.iter().map(|slot| slot.load(Ordering::Relaxed)))?;
        }
        saver.finish()
    }

    /// Reads what [`Ranges4Writer::save`] of the same ranges wrote into arrays that are still empty.
    ///
    /// # Errors
    /// Those of `input`; `InvalidData` if the arrays do not fit the ranges.
    pub fn load(&mut self, input: &mut impl Read) -> io::Result<()> {
        let mut leased = 0;
        for block in &self.shared.blocks {
            if read_u32(input)? as usize != block.slots.len() {
                return Err(odd("a range of another size"));
            }
            let mut places = block.slots.iter();
            words(input, block.slots.len(), |word| {
                let slot = u32::from_le_bytes(word);
                if slot > MAX_IDS {
                    return Err(odd("a slot that cannot be"));
                }
                if let Some(place) = places.next() {
                    place.store(slot, Ordering::Release);
                }
                leased += u64::from(slot != 0);
                Ok(())
            })?;
        }
        self.shared.leased.store(leased, Ordering::Relaxed);
        Ok(())
    }
}
