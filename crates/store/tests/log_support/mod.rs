//! A small writer of records and batches, and a model to compare the log with, for the tests of the log.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::Path;
use std::sync::Arc;

use leaseq_store::log::{
    AppendError, Appended, Disk, Home, Identity, Log, LogOptions, LogView, OpenError, Pos,
    Recovered, Recovery, Scan, ScanFrom,
};

/// A directory for a store; in memory where there is one, for thousands of stores are made.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// One record as the model knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Known {
    pub sequence: u64,
    pub stamp: u64,
    pub octets: Vec<u8>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.sequence, self.stamp)
    }
}

/// A pseudo-random generator: xorshift, seeded.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A record of kind 1 with `payload` octets that depend on its sequence.
pub fn record(sequence: u64, stamp: u64, payload: usize) -> Vec<u8> {
    let length = (24 + payload).next_multiple_of(8);
    let mut octets = Vec::with_capacity(length);
    octets.extend_from_slice(&(length as u32).to_le_bytes());
    octets.extend_from_slice(&[1, 0, 0, 0]);
    octets.extend_from_slice(&sequence.to_le_bytes());
    octets.extend_from_slice(&stamp.to_le_bytes());
    octets.resize(length, (sequence % 251) as u8 | 1);
    octets
}

pub fn sequence_of(record: &[u8]) -> u64 {
    u64::from_le_bytes(record[8..16].try_into().unwrap())
}

pub fn known(record: &[u8]) -> Known {
    Known {
        sequence: sequence_of(record),
        stamp: u64::from_le_bytes(record[16..24].try_into().unwrap()),
        octets: record.to_vec(),
    }
}

/// A batch to append.
#[derive(Clone, Debug)]
pub struct Batch {
    pub first: u64,
    pub stamp: u64,
    pub octets: Vec<u8>,
    pub records: Vec<Known>,
}

impl Batch {
    /// `payloads`: octets of each record behind its header.
    pub fn new(first: u64, stamp: u64, payloads: &[usize]) -> Batch {
        let records: Vec<_> = (first..)
            .zip(payloads)
            .map(|(sequence, &payload)| known(&record(sequence, stamp, payload)))
            .collect();
        Batch {
            first,
            stamp,
            octets: records.iter().flat_map(|r| r.octets.clone()).collect(),
            records,
        }
    }

    /// The batch that continues the log.
    pub fn next(log: &Log, payloads: &[usize]) -> Batch {
        Batch::new(log.next_sequence(), log.last_stamp() + 1, payloads)
    }

    pub fn append(&self, log: &mut Log) -> Result<Appended, AppendError> {
        let count = self.records.len() as u32;
        let next = self.first + u64::from(count);
        log.append(self.first, next, self.stamp, &self.octets, count)
    }
}

pub fn identity() -> Identity {
    Identity {
        created: 1_700_000_000_000,
        seeds: [1, 2, 3, 4],
    }
}

/// Small segments, made when they are needed, so that a run is the same each time.
pub fn options() -> LogOptions {
    LogOptions {
        segment_size: 64 << 10,
        ahead: false,
        create: Some(identity()),
        ..LogOptions::default()
    }
}

/// A log just opened, and what was in it.
pub struct Opened {
    pub log: Log,
    pub recovered: Recovered,
    pub records: Vec<Known>,
}

pub fn try_open(disk: Arc<dyn Disk>, dir: &Path, options: LogOptions) -> Result<Opened, OpenError> {
    let mut records = Vec::new();
    let recovery = Recovery::begin(Home::open(disk, dir, options)?)?;
    let view = recovery.view();
    let (log, recovered) = recovery.replay(&mut |pos: Pos, octets: &[u8]| {
        assert_eq!(view.record(pos), Some(octets), "readable while it is given");
        records.push(known(octets));
        Ok(())
    })?;
    assert_eq!(recovered.records, records.len() as u64);
    Ok(Opened {
        log,
        recovered,
        records,
    })
}

pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Opened {
    try_open(disk, dir, options()).expect("the store opens")
}

/// Everything a scan of the view gives.
pub fn scan(view: &LogView, from: ScanFrom) -> Vec<Known> {
    let mut cursor = Scan::new(from);
    let mut found = Vec::new();
    while let Some((pos, octets)) = cursor.next(view, u64::MAX) {
        assert_eq!(view.record(pos), Some(octets));
        found.push(known(octets));
    }
    found
}
