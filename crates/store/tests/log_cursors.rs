//! Cursors: wherever one starts, it gives what a walk from the log's start gives from there on; before compactions and after
//! them, and over a stop.

mod log_support;

use std::path::Path;
use std::sync::Arc;

use leaseq_store::log::compact::{Plan, Verdict};
use leaseq_store::log::{Home, Log, RealDisk, Recovery, Scan, ScanFrom};
use log_support::*;

/// A log that changes at random, and the records that it has.
struct Changing {
    log: Log,
    rng: Rng,
    known: Vec<Known>,
}

impl Changing {
    fn append(&mut self) {
        let batches = self.rng.below(60);
        // Single records, or batches far longer than landmarks are apart.
        let (most, payload) = [(1, 40), (3, 900), (300, 90)][self.rng.below(3) as usize];
        for _ in 0..batches {
            let payloads: Vec<usize> = (0..self.rng.below(most + 1))
                .map(|_| self.rng.below(payload) as usize)
                .collect();
            // Batches of one millisecond have equal stamps.
            let stamp = self.log.last_stamp() + self.rng.below(3);
            let batch = Batch::new(self.log.next_sequence(), stamp, &payloads);
            batch.append(&mut self.log).unwrap();
            self.known.extend(batch.records);
        }
    }

    /// Merges all sealed segments, dropping part of the records.
    fn compact(&mut self) {
        let dropped = 1 + self.rng.below(4);
        let salt = self.rng.next();
        let keeps = |known: &Known| (known.sequence ^ salt) % 4 >= dropped;
        let mut done_to = 0;
        let mut merged_to = 0;
        while let Some(plan) = Plan::next_run(&mut self.log, done_to) {
            let compacted = plan.run(|_, octets| {
                let record = known(octets);
                merged_to = record.sequence;
                if keeps(&record) {
                    Verdict::Keep
                } else {
                    Verdict::Superseded
                }
            });
            let installed = self.log.install(compacted.unwrap()).unwrap();
            done_to = installed.covers_to;
            self.log.remove_sources(installed);
        }
        self.known
            .retain(|record| record.sequence > merged_to || keeps(record));
    }

    /// Closes the log and opens it again, reading its records or only the headers of its batches.
    fn reopen(self, dir: &Path) -> Changing {
        let Changing {
            log,
            mut rng,
            known,
        } = self;
        drop(log);
        let home = Home::open(Arc::new(RealDisk), dir, options()).unwrap();
        let recovery = Recovery::begin(home).unwrap();
        let log = if rng.below(2) == 0 {
            recovery.end().unwrap();
            recovery.skip().unwrap().0
        } else {
            recovery.replay(&mut |_, _| Ok(())).unwrap().0
        };
        Changing { log, rng, known }
    }

    /// Compares starts from everywhere with what is known.
    fn check(&mut self) {
        let view = self.log.view();
        let is = |from, expected: Vec<&Known>| {
            let found = scan(&view, from);
            assert!(found.iter().eq(expected), "from {from:?}");
        };
        is(ScanFrom::Start, self.known.iter().collect());
        let (sequences, stamps) = (self.log.next_sequence() + 2, self.log.last_stamp() + 2);
        for _ in 0..12 {
            let from = self.rng.below(sequences);
            let rest = self.known.iter().filter(|known| known.sequence >= from);
            is(ScanFrom::Sequence(from), rest.collect());
            let from = self.rng.below(stamps);
            let rest = self.known.iter().filter(|known| known.stamp >= from);
            is(ScanFrom::Stamp(from), rest.collect());
        }
    }

    /// A cursor that begins somewhere, and what it is still to give if nothing is dropped.
    fn cursor(&mut self) -> Scan {
        let from = match self.rng.below(2) {
            0 => ScanFrom::Sequence(self.rng.below(self.log.next_sequence() + 1)),
            _ => ScanFrom::Stamp(self.rng.below(self.log.last_stamp() + 2)),
        };
        Scan::new(from)
    }
}

#[test]
fn every_start_gives_what_a_walk_from_the_beginning_gives() {
    for seed in 1..=40u64 {
        let dir = scratch();
        let mut changing = Changing {
            log: open(Arc::new(RealDisk), dir.path()).log,
            rng: Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            known: Vec::new(),
        };
        for _ in 0..12 {
            match changing.rng.below(6) {
                0 => changing.compact(),
                1 => changing = changing.reopen(dir.path()),
                _ => changing.append(),
            }
            changing.check();
        }
    }
}

#[test]
fn a_cursor_under_way_misses_nothing_that_is_kept() {
    for seed in 1..=40u64 {
        let dir = scratch();
        let mut changing = Changing {
            log: open(Arc::new(RealDisk), dir.path()).log,
            rng: Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            known: Vec::new(),
        };
        changing.append();
        let mut cursors: Vec<(Scan, Vec<Known>)> =
            (0..4).map(|_| (changing.cursor(), Vec::new())).collect();
        let first: Vec<Option<Known>> = cursors
            .iter_mut()
            .map(|(cursor, given)| {
                let view = changing.log.view();
                let (_, octets) = cursor.next(&view, u64::MAX)?;
                given.push(known(octets));
                Some(known(octets))
            })
            .collect();
        for _ in 0..8 {
            match changing.rng.below(3) {
                0 => changing.compact(),
                _ => changing.append(),
            }
            let view = changing.log.view();
            for (cursor, given) in &mut cursors {
                for _ in 0..changing.rng.below(400) {
                    let Some((_, octets)) = cursor.next(&view, u64::MAX) else {
                        break;
                    };
                    given.push(known(octets));
                }
            }
        }
        let view = changing.log.view();
        for ((mut cursor, mut given), first) in cursors.into_iter().zip(first) {
            while let Some((_, octets)) = cursor.next(&view, u64::MAX) {
                given.push(known(octets));
            }
            assert!(given.is_sorted_by_key(|known| known.sequence));
            let from = first.map_or(u64::MAX, |first| first.sequence);
            for record in changing.known.iter().filter(|known| known.sequence >= from) {
                assert!(given.contains(record), "{record:?} was not given");
            }
        }
    }
}
