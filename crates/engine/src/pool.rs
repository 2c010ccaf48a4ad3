//! A core's memory for replies: large buffers, small chunks, and how much a turn may use.
//!
//! A pending write owns its buffer until the kernel has taken it, so a relay that stops reading keeps one. Two rules
//! bound that. A chunk may take at most an eighth of what is left of the core's budget, so chunks shrink for all before
//! the budget is gone. And a chunk of [`OWN_OCTETS`] or less is offered to the kernel from the core's own buffer, which
//! takes all of it as a rule; what it does not take is copied into memory of just its size. So a stream that keeps up
//! holds nothing, and a slow relay, which is given small chunks, holds a few KiB and not a large buffer.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::FRAME_OCTETS;
use crate::stats::EngineStats;

/// The chunk that every connection gets whatever the pressure on memory is, in octets.
pub const SMALL_CHUNK_OCTETS: usize = 4_096;
/// The largest chunk that is offered to the kernel at once, and else copied out; larger ones keep a buffer of the pool.
pub(crate) const OWN_OCTETS: usize = 32 << 10;
/// Small chunks whose memory is kept for the next ones, so that short answers do not allocate.
const OWN_KEPT: usize = 128;

/// Encoded octets on their way to a peer.
pub(crate) struct Chunk {
    /// The memory, all of it initialised.
    pub buffer: Vec<u8>,
    /// How many octets of it are to be sent.
    pub length: usize,
    /// Whether it goes back to the pool rather than to the allocator.
    pooled: bool,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// What became of what was encoded.
#[derive(Default)]
pub(crate) struct Filled {
    /// Octets that are done with.
    pub gone: usize,
    /// The octets after them.
    pub rest: Option<Chunk>,
}

/// The buffers of one core.
pub(crate) struct Pool {
    chunk_octets: usize,
    budget_octets: usize,
    out_octets: Cell<usize>,
    stats: Arc<EngineStats>,
    free: RefCell<Vec<Vec<u8>>>,
    own_free: RefCell<Vec<Vec<u8>>>,
    /// Fewest free buffers since the last [`Pool::trim`]: that many were not needed.
    spare: Cell<usize>,
    scratch: RefCell<Vec<u8>>,
}

impl Pool {
    /// A pool for chunks of up to `chunk_octets`, that has at most about `budget_octets` out.
    pub fn new(chunk_octets: usize, budget_octets: usize, stats: Arc<EngineStats>) -> Pool {
        Pool {
            chunk_octets: chunk_octets.max(SMALL_CHUNK_OCTETS),
            budget_octets,
            out_octets: Cell::new(0),
            stats,
            free: RefCell::new(Vec::new()),
            own_free: RefCell::new(Vec::with_capacity(OWN_KEPT)),
            spare: Cell::new(0),
            scratch: RefCell::new(vec![0; OWN_OCTETS + FRAME_OCTETS]),
        }
    }

    /// Octets that a chunk may have now.
    pub fn allowance(&self) -> usize {
        (self.budget_octets.saturating_sub(self.out_octets.get()) / 8)
            .clamp(SMALL_CHUNK_OCTETS, self.chunk_octets)
    }

    /// Octets in chunks that have not come back.
    #[cfg(test)]
    pub fn out_octets(&self) -> usize {
        self.out_octets.get()
    }

    /// Has `encode` fill a buffer up to about `target` octets (it is given room for a whole frame more). What it wrote is
    /// kept for an operation of the ring; but if it is little, `offer` is given it first, and says how much of it is
    /// done with: memory is taken for the rest only.
    pub fn fill<E>(
        &self,
        target: usize,
        encode: impl FnOnce(&mut [u8], usize) -> usize,
        offer: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<Filled, E> {
        let target = target.min(self.allowance());
        if target <= OWN_OCTETS {
            let mut scratch = self.scratch.borrow_mut();
            let length = encode(&mut scratch, target).min(scratch.len());
            return self.keep_rest(&scratch[..length], offer);
        }
        let mut buffer = self.take_free();
        let length = encode(&mut buffer, target).min(buffer.len());
        if length <= OWN_OCTETS {
            // There was less to say than hoped for: a short answer must not hold a large buffer.
            let kept = self.keep_rest(&buffer[..length], offer);
            self.free.borrow_mut().push(buffer);
            return kept;
        }
        Ok(Filled {
            gone: 0,
            rest: Some(self.take_out(Chunk {
                buffer,
                length,
                pooled: true,
            })),
        })
    }

    /// Has a chunk encoded of which nothing is sent yet.
    #[cfg(test)]
    pub fn chunk(
        &self,
        target: usize,
        encode: impl FnOnce(&mut [u8], usize) -> usize,
    ) -> Option<Chunk> {
        let filled = self.fill(target, encode, |_| Ok::<_, std::convert::Infallible>(0));
        filled.map_or(None, |filled| filled.rest)
    }

    fn keep_rest<E>(
        &self,
        octets: &[u8],
        offer: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<Filled, E> {
        if octets.is_empty() {
            return Ok(Filled::default());
        }
        let gone = offer(octets)?.min(octets.len());
        let rest = octets.get(gone..).filter(|rest| !rest.is_empty());
        Ok(Filled {
            gone,
            rest: rest.map(|rest| self.copy_out(rest)),
        })
    }

    /// The largest chunk.
    pub fn chunk_octets(&self) -> usize {
        self.chunk_octets
    }

    /// Moves the little that is left of a large chunk after `taken` octets into memory of its size; gives the chunk and
    /// how many of its octets are taken.
    pub fn shrink(&self, chunk: Chunk, taken: usize) -> (Chunk, usize) {
        let left = chunk.as_ref().get(taken..).unwrap_or_default();
        if !chunk.pooled || left.len() > OWN_OCTETS {
            return (chunk, taken);
        }
        let own = self.copy_out(left);
        self.give_back(chunk);
        (own, 0)
    }

    /// Takes back a chunk that the kernel has taken, or that nobody will send any more.
    pub fn give_back(&self, chunk: Chunk) {
        self.write_off(chunk.buffer.len());
        if chunk.pooled {
            self.free.borrow_mut().push(chunk.buffer);
        } else if chunk.buffer.capacity() <= 2 * SMALL_CHUNK_OCTETS {
            let mut kept = self.own_free.borrow_mut();
            if kept.len() < OWN_KEPT {
                kept.push(chunk.buffer);
            }
        }
    }

    /// Counts `octets` of memory as free that will not come back: the kernel has it still, and frees it by itself.
    pub fn write_off(&self, octets: usize) {
        self.out_octets.set(self.out_octets.get() - octets);
        self.stats
            .waiting_octets
            .fetch_sub(octets as u64, Ordering::Relaxed);
    }

    /// Frees the buffers that were not needed since the last call, all but one.
    pub fn trim(&self) {
        let mut free = self.free.borrow_mut();
        let unneeded = self.spare.get().saturating_sub(1).min(free.len());
        free.drain(..unneeded);
        self.spare.set(free.len());
    }

    /// Whether [`Pool::trim`] may find something to free.
    pub fn has_spare(&self) -> bool {
        self.free.borrow().len() > 1
    }

    fn take_free(&self) -> Vec<u8> {
        // The last one given back is the one most likely still in the CPU's cache.
        let mut free = self.free.borrow_mut();
        let buffer = free
            .pop()
            .unwrap_or_else(|| vec![0; self.chunk_octets + FRAME_OCTETS]);
        self.spare.set(self.spare.get().min(free.len()));
        buffer
    }

    fn copy_out(&self, octets: &[u8]) -> Chunk {
        let mut buffer = self.own_free.borrow_mut().pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(octets);
        self.take_out(Chunk {
            buffer,
            length: octets.len(),
            pooled: false,
        })
    }

    fn take_out(&self, chunk: Chunk) -> Chunk {
        let octets = chunk.buffer.len();
        self.out_octets.set(self.out_octets.get() + octets);
        self.stats
            .waiting_octets
            .fetch_add(octets as u64, Ordering::Relaxed);
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn full(pool: &Pool) -> Chunk {
        pool.chunk(usize::MAX, |out, target| out.len().min(target))
            .expect("something was written")
    }

    #[test]
    fn chunks_shrink_as_the_budget_goes_and_recover() {
        let pool = Pool::new(MIB, 16 * MIB, Arc::default());
        let mut chunks: Vec<Chunk> = Vec::new();
        while pool.allowance() > SMALL_CHUNK_OCTETS {
            let before = pool.allowance();
            chunks.push(full(&pool));
            assert!(pool.allowance() <= before);
            assert!(chunks.len() < 1_000, "the allowance does not shrink");
        }
        assert!(
            pool.out_octets() <= 17 * MIB + FRAME_OCTETS,
            "{}",
            pool.out_octets()
        );
        assert_eq!(
            full(&pool).length,
            SMALL_CHUNK_OCTETS,
            "progress is always possible"
        );
        chunks.drain(..).for_each(|chunk| pool.give_back(chunk));
        assert_eq!(pool.allowance(), MIB);
    }

    #[test]
    fn a_short_answer_holds_no_large_buffer() {
        let pool = Pool::new(MIB, 64 * MIB, Arc::default());
        let chunk = pool.chunk(MIB, |_, _| 100).unwrap();
        assert_eq!((chunk.buffer.len(), chunk.length), (100, 100));
        assert_eq!(pool.out_octets(), 100);
        pool.give_back(chunk);
        assert!(pool.chunk(MIB, |_, _| 0).is_none());
        assert_eq!(pool.out_octets(), 0);
    }

    #[test]
    fn memory_is_taken_for_what_was_not_sent_at_once_only() {
        let pool = Pool::new(MIB, 64 * MIB, Arc::default());
        for target in [OWN_OCTETS, MIB] {
            let encode = |out: &mut [u8], _| {
                out[..10].copy_from_slice(b"a decision");
                10
            };
            let offer = |taken: usize| {
                move |octets: &[u8]| {
                    assert_eq!(octets, b"a decision");
                    Ok::<_, ()>(taken)
                }
            };
            let all = pool.fill(target, encode, offer(10)).unwrap();
            assert!(all.gone == 10 && all.rest.is_none() && pool.out_octets() == 0);
            let some = pool.fill(target, encode, offer(2)).unwrap();
            let rest = some.rest.unwrap();
            assert_eq!((some.gone, rest.as_ref()), (2, &b"decision"[..]));
            assert_eq!(pool.out_octets(), 8);
            pool.give_back(rest);
            assert!(pool.fill(target, encode, |_| Err(())).is_err());
            assert_eq!(pool.out_octets(), 0);
        }
        let long = pool.fill(MIB, |_, target| target, |_| Err(())).unwrap();
        assert_eq!(long.gone, 0, "much is sent through the ring");
        pool.give_back(long.rest.unwrap());
    }

    #[test]
    fn every_buffer_holds_a_whole_frame() {
        let pool = Pool::new(MIB, 64 * MIB, Arc::default());
        for target in [1, SMALL_CHUNK_OCTETS, OWN_OCTETS, OWN_OCTETS + 1, MIB] {
            let mut room = 0;
            pool.chunk(target, |out, target| {
                room = out.len() - target;
                0
            });
            assert!(room >= FRAME_OCTETS, "{target}: {room}");
        }
    }

    #[test]
    fn unneeded_buffers_are_freed_after_a_while() {
        let pool = Pool::new(MIB, 64 * MIB, Arc::default());
        let chunks: Vec<Chunk> = (0..8).map(|_| full(&pool)).collect();
        chunks.into_iter().for_each(|chunk| pool.give_back(chunk));
        assert!(pool.has_spare());
        pool.trim();
        pool.trim();
        assert!(!pool.has_spare());
    }
}
