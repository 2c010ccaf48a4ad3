//! What all threads and processes of a run share: where the run is, and when each change was submitted and acknowledged.
//!
//! It is a file that each process maps. Every field is a number that is written by one and read by many, without locks.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use leaseq_requestor::Family;
use memmap2::MmapMut;
use rustix::io::Errno;
use rustix::thread::futex;

use crate::measure::clock::now_ns;

/// Numbers before the first change's.
const HEADER: usize = 16;
const PHASE: usize = 0;
const BEGIN: usize = 1;
const CAPACITY: usize = 2;
/// Of DHCPv4; the next two are DHCPv6's.
const SUBMITTED: usize = 3;
const ACKNOWLEDGED: usize = 4;
/// What those sleep on that wait for the run to go on: half of this number is a futex, which counts the steps so far.
const STEPS: usize = 7;
/// Numbers of a change: when it was submitted, when acknowledged.
const CHANGE: usize = 2;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Relays are made, none has begun.
    Preparing,
    /// They begin at [`Board::begin_ns`] and go on.
    Running,
    /// The duration is over and every change acknowledged or given up: nothing new is begun; followers wait for the last
    /// changes, compare, and end.
    Settling,
    /// Everything ends at once.
    Stopping,
}

/// The shared numbers. Changes of a family are numbered from 1 on in the order in which they are submitted; 0 stands for a
/// binding as it was at first.
#[derive(Debug)]
pub struct Board {
    map: MmapMut,
    capacity: usize,
}

impl Board {
    /// Makes the file, with room for so many changes of each family.
    ///
    /// # Errors
    /// If it cannot be made or mapped.
    pub fn create(path: &Path, capacity: u64) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        let numbers = HEADER as u64 + 2 * CHANGE as u64 * capacity;
        file.set_len(numbers * 8)?;
        let board = Self::map(&file, capacity as usize)?;
        board.numbers()[CAPACITY].store(capacity, Ordering::Release);
        Ok(board)
    }

    /// Maps a file that another process has made.
    ///
    /// # Errors
    /// If it cannot be mapped, or is none of ours.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let octets = file.metadata()?.len() as usize;
        let capacity = (octets / 8).saturating_sub(HEADER) / (2 * CHANGE);
        let board = Self::map(&file, capacity)?;
        match board.numbers()[CAPACITY].load(Ordering::Acquire) == capacity as u64 {
            true => Ok(board),
            false => Err(io::Error::other("the file is no board of a run")),
        }
    }

    fn map(file: &File, capacity: usize) -> io::Result<Self> {
        // SAFETY: the file is ours alone: made in a directory of this run, never cut short, and written by processes of the run
        // only, through atomics.
        let map = unsafe { MmapMut::map_mut(file)? };
        if map.len() < (HEADER + 2 * CHANGE * capacity) * 8 {
            return Err(io::Error::other("the file is too short for a board"));
        }
        Ok(Self { map, capacity })
    }

    fn numbers(&self) -> &[AtomicU64] {
        let numbers = HEADER + 2 * CHANGE * self.capacity;
        // SAFETY: a map begins at a page, so it is aligned, and it has at least so many octets: `map` looked. Everybody
        // uses them as atomics, for which any octets are a value.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), numbers) }
    }

    /// Where the run is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.numbers()[PHASE].load(Ordering::Acquire) {
            0 => Phase::Preparing,
            1 => Phase::Running,
            2 => Phase::Settling,
            _ => Phase::Stopping,
        }
    }

    /// The run goes on to a phase; it never goes back.
    pub fn set_phase(&self, phase: Phase) {
        self.numbers()[PHASE].fetch_max(phase as u64, Ordering::AcqRel);
        self.wake();
    }

    /// Relays begin at this time of [`now_ns`].
    pub fn set_begin_ns(&self, ns: u64) {
        self.numbers()[BEGIN].store(ns, Ordering::Release);
        self.wake();
    }

    /// Waits until relays are to begin, and gives when, by [`now_ns`]; 0: the run was over before.
    ///
    /// # Errors
    /// If the kernel does not let it wait.
    pub fn wait_for_begin(&self) -> io::Result<u64> {
        loop {
            let step = self.steps().load(Ordering::Acquire);
            let (phase, begin) = (self.phase(), self.begin_ns());
            if phase >= Phase::Settling || phase == Phase::Running && begin > 0 {
                return Ok(begin);
            }
            // Other processes wait on the same memory, so it is no private futex.
            match futex::wait(self.steps(), futex::Flags::empty(), step, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The run has gone on: wakes all that wait.
    fn wake(&self) {
        self.steps().fetch_add(1, Ordering::AcqRel);
        // It cannot fail for a word that exists; and nobody may wait.
        let _ = futex::wake(self.steps(), futex::Flags::empty(), i32::MAX as u32);
    }

    fn steps(&self) -> &AtomicU32 {
        // SAFETY: the number is within the map, whose length `map` looked at, and aligned; nobody uses it as anything else.
        unsafe { &*self.map.as_ptr().add(STEPS * 8).cast::<AtomicU32>() }
    }

    /// When relays begin; 0: not known yet.
    #[must_use]
    pub fn begin_ns(&self) -> u64 {
        self.numbers()[BEGIN].load(Ordering::Acquire)
    }

    /// Changes there is room for, of each family.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity as u64
    }

    /// Changes of a family that were submitted so far: numbers up to this one.
    #[must_use]
    pub fn submitted(&self, family: Family) -> u64 {
        self.numbers()[SUBMITTED + side(family) * 2].load(Ordering::Acquire)
    }

    /// Changes of a family that were acknowledged so far. Acknowledgements come in order.
    #[must_use]
    pub fn acknowledged(&self, family: Family) -> u64 {
        self.numbers()[ACKNOWLEDGED + side(family) * 2].load(Ordering::Acquire)
    }

    /// The next change of a family is about to be submitted: gives its number. `None`: there is no room for more.
    pub fn submit(&self, family: Family) -> Option<u64> {
        let number = self.submitted(family) + 1;
        self.change(family, number)?[0].store(now_ns(), Ordering::Release);
        self.numbers()[SUBMITTED + side(family) * 2].store(number, Ordering::Release);
        Some(number)
    }

    /// All changes of a family up to this one are acknowledged.
    pub fn acknowledge(&self, family: Family, upto: u64) {
        let now = now_ns();
        for number in self.acknowledged(family) + 1..=upto {
            if let Some(change) = self.change(family, number) {
                change[1].store(now, Ordering::Release);
            }
        }
        self.numbers()[ACKNOWLEDGED + side(family) * 2].fetch_max(upto, Ordering::AcqRel);
    }

    /// When a change was submitted and when it was acknowledged; 0: not yet. `None`: there is no such change.
    #[must_use]
    pub fn times(&self, family: Family, number: u64) -> Option<(u64, u64)> {
        let change = self.change(family, number)?;
        Some((
            change[0].load(Ordering::Acquire),
            change[1].load(Ordering::Acquire),
        ))
    }

    fn change(&self, family: Family, number: u64) -> Option<&[AtomicU64]> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        if index >= self.capacity {
            return None;
        }
        let at = HEADER + (side(family) * self.capacity + index) * CHANGE;
        self.numbers().get(at..at + CHANGE)
    }
}

fn side(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_sees_changes_and_phases() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("board");
        let ours = Board::create(&path, 3).unwrap();
        let theirs = Board::open(&path).unwrap();
        assert_eq!(theirs.phase(), Phase::Preparing);
        ours.set_phase(Phase::Settling);
        ours.set_phase(Phase::Running);
        assert_eq!(theirs.phase(), Phase::Settling);
        assert_eq!(ours.submit(Family::V6), Some(1));
        assert_eq!(ours.submit(Family::V6), Some(2));
        ours.acknowledge(Family::V6, 1);
        assert_eq!(
            (
                theirs.submitted(Family::V6),
                theirs.acknowledged(Family::V6)
            ),
            (2, 1)
        );
        let (submitted, acknowledged) = theirs.times(Family::V6, 1).unwrap();
        assert!(0 < submitted && submitted <= acknowledged);
        assert_eq!(theirs.times(Family::V6, 2).unwrap().1, 0);
        assert_eq!(theirs.times(Family::V4, 1), Some((0, 0)));
        assert_eq!(ours.submit(Family::V6), Some(3));
        assert_eq!(
            (
                ours.submit(Family::V6),
                ours.times(Family::V6, 4),
                ours.times(Family::V6, 0)
            ),
            (None, None, None)
        );
    }

    #[test]
    fn who_waits_is_woken_when_relays_begin_and_when_the_run_is_over() {
        let dir = tempfile::tempdir().unwrap();
        for (name, begins) in [("begins", true), ("is over", false)] {
            let path = dir.path().join(name);
            let ours = Board::create(&path, 1).unwrap();
            let waiting = std::thread::spawn(move || Board::open(&path)?.wait_for_begin());
            let expected = if begins { 77 } else { 0 };
            match begins {
                true => {
                    // The phase alone is not enough.
                    ours.set_phase(Phase::Running);
                    ours.set_begin_ns(77);
                }
                false => ours.set_phase(Phase::Settling),
            }
            assert_eq!(waiting.join().unwrap().unwrap(), expected);
        }
    }

    #[test]
    fn another_file_is_no_board() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other");
        std::fs::write(&path, [1; 4_096]).unwrap();
        assert!(Board::open(&path).is_err());
        std::fs::write(&path, [1; 3]).unwrap();
        assert!(Board::open(&path).is_err());
    }
}
