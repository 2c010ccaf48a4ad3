//! When to look at a slot again because its lease may be over. Writer only.
//!
//! A wheel of four levels with 256 buckets each: of a second, of 256 seconds, of 18 hours and of 194 days. A bucket holds
//! slots and no times: when its time begins, its slots are given out, and the caller, who has the record, schedules
//! those anew whose lease lasts longer. So a distant end costs a look or two on the way, and a renewal costs nothing: the
//! slot stays where it is until its old time. Only an end that comes closer moves a slot; then it leaves its entry
//! behind in the old bucket. Two octets a slot say in which bucket its entry counts; others are passed over, and
//! swept out when they outnumber those that count.

use std::io::{self, Read, Write};

use super::chunks::MAX_IDS;
use super::persist::{Saver, odd, read_u32, read_u64, words};

const BUCKETS_PER_LEVEL: usize = 256;
const LEVELS: usize = 4;
/// The bucket of what is to be looked at at once.
const NOW: u16 = (LEVELS * BUCKETS_PER_LEVEL) as u16;
const BUCKETS: usize = NOW as usize + 1;
/// The mark of a slot that is in no bucket.
const NOWHERE: u16 = u16::MAX;

/// Slots of a link of a bucket's chain: 512 octets.
const LINK_SLOTS: usize = 126;
const NO_LINK: u32 = u32::MAX;

/// Links are taken from the allocator so many at a time, and marks likewise.
const PAGE_LINKS: usize = 64;
const PAGE_MARKS: usize = 8192;

/// Below this many entries nothing is swept.
const SWEEP_MIN: u64 = 4096;

struct Link {
    slots: [u32; LINK_SLOTS],
    used: u32,
    /// The link filled before this one.
    below: u32,
}

/// The slots of all bindings whose state has an end.
pub struct ExpiryQueue {
    /// Seconds up to which everything was given out.
    reached: u32,
    /// The newest link of each bucket.
    buckets: Box<[u32]>,
    /// Per level, which buckets have a link.
    filled: [[u64; BUCKETS_PER_LEVEL / 64]; LEVELS],
    links: Vec<Box<[Link]>>,
    spare: Vec<u32>,
    marks: Vec<Box<[u16]>>,
    /// Slots that are in a bucket.
    pub(super) live: u64,
    /// Entries in buckets, those that do not count any more included.
    entries: u64,
}

fn bucket_of(level: usize, at: u32) -> usize {
    level * BUCKETS_PER_LEVEL + (at >> (8 * level)) as usize % BUCKETS_PER_LEVEL
}

impl ExpiryQueue {
    /// An empty queue at a time in Unix seconds: what ends then or earlier is due at once.
    #[must_use]
    pub fn new(now: u32) -> ExpiryQueue {
        ExpiryQueue {
            reached: now,
            buckets: vec![NO_LINK; BUCKETS].into_boxed_slice(),
            filled: [[0; BUCKETS_PER_LEVEL / 64]; LEVELS],
            links: Vec::new(),
            spare: Vec::new(),
            marks: Vec::new(),
            live: 0,
            entries: 0,
        }
    }

    /// Sees to it that [`ExpiryQueue::due`] gives the slot out at this time (Unix seconds) or some time before.
    pub fn schedule(&mut self, slot: u32, at: u32) {
        debug_assert!(slot < MAX_IDS, "slot {slot}");
        let bucket = self.bucket_for(at);
        let mark = self.mark(slot);
        if mark != NOWHERE && self.start(mark) <= self.start(bucket) {
            return;
        }
        self.live += u64::from(mark == NOWHERE);
        self.set_mark(slot, bucket);
        self.push(bucket, slot);
        if self.entries > SWEEP_MIN.max(2 * self.live) {
            self.sweep();
        }
    }

    /// The slot will not be given out: it is free, or its state has no end.
    pub fn forget(&mut self, slot: u32) {
        if self.mark(slot) != NOWHERE {
            self.set_mark(slot, NOWHERE);
            self.live -= 1;
        }
    }

    /// Puts slots that may be due at `now` into `slots`, at most `limit` of them, and forgets them. The caller looks at
    /// each, and schedules those anew that are not over, at a time after `now`. Whether there may be more.
    pub fn due(&mut self, now: u32, limit: usize, slots: &mut Vec<u32>) -> bool {
        let end = slots.len().saturating_add(limit);
        while let Some(bucket) = self.next_bucket(now) {
            while let Some(slot) = self.peek(bucket) {
                if slots.len() == end {
                    return true;
                }
                self.pop(bucket);
                if self.mark(slot) == bucket {
                    self.forget(slot);
                    slots.push(slot);
                }
            }
        }
        self.reached = self.reached.max(now);
        false
    }

    /// The bucket for a time: the level is that of the highest octet in which the time differs from the time reached.
    fn bucket_for(&self, at: u32) -> u16 {
        if at <= self.reached {
            return NOW;
        }
        let level = (u32::BITS - 1 - (at ^ self.reached).leading_zeros()) as usize / 8;
        bucket_of(level, at) as u16
    }

    /// The first second of a bucket, as seen from the time reached.
    fn start(&self, bucket: u16) -> u32 {
        if bucket == NOW {
            return 0;
        }
        let (level, number) = (
            usize::from(bucket) / BUCKETS_PER_LEVEL,
            u32::from(bucket) % BUCKETS_PER_LEVEL as u32,
        );
        let above = self.reached & !(u32::MAX >> (u32::BITS as usize - 8 * (level + 1)));
        above | (number << (8 * level))
    }

    /// The bucket that is to be given out next, if its time has come by `now`; the time reached is its start then.
    fn next_bucket(&mut self, now: u32) -> Option<u16> {
        if self.buckets[usize::from(NOW)] != NO_LINK {
            return Some(NOW);
        }
        let bucket = self.first_filled()?;
        let start = self.start(bucket);
        if start > now {
            return None;
        }
        // What is in the levels below begins earlier, so they are empty by now, and no bucket changes its meaning.
        self.reached = self.reached.max(start);
        Some(bucket)
    }

    /// The filled bucket that begins first. Of each level all come after the time reached, but for one that may be
    /// under way: what was put into lower levels since it began comes after its start.
    fn first_filled(&self) -> Option<u16> {
        let first_of_level = |(level, words): (usize, &[u64; BUCKETS_PER_LEVEL / 64])| {
            let (at, word) = words.iter().enumerate().find(|(_, word)| **word != 0)?;
            Some((level * BUCKETS_PER_LEVEL + at * 64 + word.trailing_zeros() as usize) as u16)
        };
        self.filled
            .iter()
            .enumerate()
            .filter_map(first_of_level)
            .min_by_key(|&bucket| self.start(bucket))
    }

    fn set_filled(&mut self, bucket: u16, filled: bool) {
        let (level, number) = (
            usize::from(bucket) / BUCKETS_PER_LEVEL,
            usize::from(bucket) % BUCKETS_PER_LEVEL,
        );
        if let Some(words) = self.filled.get_mut(level) {
            let bit = 1 << (number % 64);
            if filled {
                words[number / 64] |= bit;
            } else {
                words[number / 64] &= !bit;
            }
        }
    }

    fn link(&self, number: u32) -> Option<&Link> {
        self.links
            .get(number as usize / PAGE_LINKS)?
            .get(number as usize % PAGE_LINKS)
    }

    fn link_mut(&mut self, number: u32) -> Option<&mut Link> {
        self.links
            .get_mut(number as usize / PAGE_LINKS)?
            .get_mut(number as usize % PAGE_LINKS)
    }

    fn push(&mut self, bucket: u16, slot: u32) {
        let newest = self.buckets[usize::from(bucket)];
        if self
            .link(newest)
            .is_none_or(|link| link.used as usize == LINK_SLOTS)
        {
            let number = self.take_link(newest);
            self.buckets[usize::from(bucket)] = number;
            self.set_filled(bucket, true);
        }
        if let Some(link) = self.link_mut(self.buckets[usize::from(bucket)]) {
            link.slots[link.used as usize] = slot;
            link.used += 1;
            self.entries += 1;
        }
    }

    /// An empty link above the given one.
    fn take_link(&mut self, below: u32) -> u32 {
        if self.spare.is_empty() {
            let first = (self.links.len() * PAGE_LINKS) as u32;
            let make = |_| Link {
                slots: [0; LINK_SLOTS],
                used: 0,
                below: NO_LINK,
            };
            self.links.push((0..PAGE_LINKS).map(make).collect());
            self.spare.extend((first..first + PAGE_LINKS as u32).rev());
        }
        let number = self.spare.pop().unwrap_or(NO_LINK);
        if let Some(link) = self.link_mut(number) {
            link.used = 0;
            link.below = below;
        }
        number
    }

    fn peek(&self, bucket: u16) -> Option<u32> {
        let link = self.link(self.buckets[usize::from(bucket)])?;
        link.slots
            .get((link.used as usize).checked_sub(1)?)
            .copied()
    }

    fn pop(&mut self, bucket: u16) {
        let newest = self.buckets[usize::from(bucket)];
        let Some(link) = self.link_mut(newest) else {
            return;
        };
        link.used -= 1;
        let (empty, below) = (link.used == 0, link.below);
        self.entries -= 1;
        if empty {
            self.buckets[usize::from(bucket)] = below;
            self.spare.push(newest);
            self.set_filled(bucket, below != NO_LINK);
        }
    }

    /// Makes all buckets anew from the marks.
    fn sweep(&mut self) {
        self.spare.clear();
        self.spare
            .extend((0..(self.links.len() * PAGE_LINKS) as u32).rev());
        self.buckets.fill(NO_LINK);
        self.filled = [[0; BUCKETS_PER_LEVEL / 64]; LEVELS];
        self.entries = 0;
        for slot in 0..(self.marks.len() * PAGE_MARKS) as u32 {
            let mark = self.mark(slot);
            if mark != NOWHERE {
                self.push(mark, slot);
            }
        }
    }

    fn mark(&self, slot: u32) -> u16 {
        self.marks
            .get(slot as usize / PAGE_MARKS)
            .map_or(NOWHERE, |page| page[slot as usize % PAGE_MARKS])
    }

    fn set_mark(&mut self, slot: u32, mark: u16) {
        let page = slot as usize / PAGE_MARKS;
        while self.marks.len() <= page {
            self.marks
                .push(vec![NOWHERE; PAGE_MARKS].into_boxed_slice());
        }
        self.marks[page][slot as usize % PAGE_MARKS] = mark;
    }

    /// Octets taken.
    #[must_use]
    pub fn memory(&self) -> usize {
        let marks = self.marks.len() * (PAGE_MARKS * size_of::<u16>() + size_of::<Box<[u16]>>());
        let links = self.links.len() * (PAGE_LINKS * size_of::<Link>() + size_of::<Box<[Link]>>());
        marks
            + links
            + self.spare.capacity() * size_of::<u32>()
            + BUCKETS * size_of::<u32>()
            + size_of::<ExpiryQueue>()
    }

    /// Writes the queue for a checkpoint.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn save(&self, out: &mut impl Write) -> io::Result<()> {
        let mut saver = Saver::new(out);
        saver.u32(self.reached)?;
        saver.u64((self.marks.len() * PAGE_MARKS) as u64)?;
        for mark in self.marks.iter().flatten() {
            saver.u16(*mark)?;
        }
        saver.finish()
    }

    /// Reads what [`ExpiryQueue::save`] wrote.
    ///
    /// # Errors
    /// Those of `input`; `InvalidData` if no queue looks like this.
    pub fn load(input: &mut impl Read) -> io::Result<ExpiryQueue> {
        let mut queue = ExpiryQueue::new(read_u32(input)?);
        let slots = read_u64(input)?;
        if slots > u64::from(MAX_IDS) + PAGE_MARKS as u64 {
            return Err(odd("more slots than there can be"));
        }
        let mut slot = 0;
        words(input, slots as usize, |word| {
            let mark = u16::from_le_bytes(word);
            if mark != NOWHERE {
                if mark > NOW {
                    return Err(odd("a bucket that does not exist"));
                }
                queue.set_mark(slot, mark);
                queue.push(mark, slot);
                queue.live += 1;
            }
            slot += 1;
            Ok(())
        })?;
        Ok(queue)
    }
}
