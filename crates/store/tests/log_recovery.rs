//! Damaged and torn logs: what was never synced is cut off, what was synced is never silently lost.

mod log_support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use leaseq_store::log::testing::FaultDisk;
use leaseq_store::log::{BatchFlaw, Corruption, Damage, HeaderFlaw, Home, OpenError, SegmentName};
use leaseq_store::log::{LogOptions, verify};
use log_support::*;

/// File names and contents.
type Files = Vec<(String, Vec<u8>)>;

/// A store as it was closed, to be damaged again and again.
struct Base {
    files: Files,
    batches: Vec<Batch>,
    /// Of each batch: name of its segment and offset.
    places: Vec<(SegmentName, usize)>,
    dir: tempfile::TempDir,
}

impl Base {
    /// One batch for each list of payloads.
    fn new(payloads: &[&[usize]]) -> Base {
        let dir = scratch();
        let disk = Arc::new(FaultDisk::new(dir.path()).unwrap());
        let mut log = open(disk, dir.path()).log;
        let (mut batches, mut places) = (Vec::new(), Vec::new());
        let (mut id, mut at) = (1, 4096);
        for payloads in payloads {
            let batch = Batch::next(&log, payloads);
            if batch.append(&mut log).unwrap().new_segment {
                id += 1;
                at = 4096;
            }
            places.push((SegmentName { id, generation: 0 }, at));
            at += 40 + batch.octets.len();
            batches.push(batch);
        }
        drop(log);
        let names = std::fs::read_dir(dir.path()).unwrap();
        let files = names
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    std::fs::read(entry.path()).unwrap(),
                )
            })
            .filter(|(name, _)| name != "LOCK")
            .collect();
        Base {
            files,
            batches,
            places,
            dir,
        }
    }

    fn end(&self, batch: usize) -> usize {
        self.places[batch].1 + 40 + self.batches[batch].octets.len()
    }

    /// Writes the store anew, changed by `damage`, and opens it.
    fn open(&self, damage: impl FnOnce(&mut Files)) -> Result<Opened, OpenError> {
        self.restore(damage);
        let disk = FaultDisk::new(self.dir.path()).unwrap();
        try_open(Arc::new(disk), self.dir.path(), options())
    }

    fn restore(&self, damage: impl FnOnce(&mut Files)) {
        let mut files = self.files.clone();
        damage(&mut files);
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (name, octets) in files {
            std::fs::write(self.dir.path().join(name), octets).unwrap();
        }
    }

    fn records(&self, batches: usize) -> Vec<Known> {
        self.batches[..batches]
            .iter()
            .flat_map(|b| b.records.clone())
            .collect()
    }

    fn corruption(&self, damage: impl FnOnce(&mut Files)) -> Corruption {
        match self.open(damage) {
            Err(OpenError::Corrupt(corruption)) => corruption,
            Err(error) => panic!("another error: {error}"),
            Ok(_) => panic!("the damage was not seen"),
        }
    }
}

/// The octets of a segment.
fn segment(files: &mut Files, name: SegmentName) -> &mut Vec<u8> {
    let name = name.to_string();
    let found = files.iter_mut().find(|(file, _)| *file == name);
    &mut found.expect("the segment is there").1
}

const SEG1: SegmentName = SegmentName {
    id: 1,
    generation: 0,
};
const SEG2: SegmentName = SegmentName {
    id: 2,
    generation: 0,
};

/// Several small batches in one segment, one of them without records.
fn small() -> Base {
    Base::new(&[&[9, 30], &[1, 2, 3], &[64], &[], &[17, 0, 40], &[33]])
}

#[test]
fn a_log_cut_at_any_octet_keeps_all_whole_batches() {
    let base = small();
    let last = base.batches.len() - 1;
    let intact = segment(&mut base.files.clone(), SEG1).clone();
    for at in base.places[2].1..=base.end(last) {
        let opened = base
            .open(|files| segment(files, SEG1)[at..].fill(0))
            .unwrap();
        // A batch may end in zeros, which a cut leaves as they are.
        let untouched = |n: &usize| {
            intact[at.min(base.end(*n))..base.end(*n)]
                .iter()
                .all(|&o| o == 0)
        };
        let whole = (0..=last).take_while(untouched).count();
        assert_eq!(opened.records, base.records(whole), "cut at {at}");
        let torn = whole <= last && at > base.places[whole].1;
        let cut = opened.recovered.cut.map(|cut| cut.offset as usize);
        assert_eq!(cut, torn.then(|| base.places[whole].1), "cut at {at}");

        let mut log = opened.log;
        let more = Batch::next(&log, &[5]);
        more.append(&mut log).unwrap();
        drop(log);
        let disk = FaultDisk::new(base.dir.path()).unwrap();
        let again = open(Arc::new(disk), base.dir.path());
        let mut expected = base.records(whole);
        expected.extend(more.records);
        assert_eq!(again.records, expected, "cut at {at}, then gone on");
        assert_eq!(again.recovered.cut, None);
    }
}

#[test]
fn a_flipped_bit_is_corruption_before_a_valid_batch_and_torn_at_the_end() {
    let base = small();
    let last = base.batches.len() - 1;
    for n in 1..=last {
        let start = base.places[n].1;
        for bit in 8 * start..8 * base.end(n) {
            let flip = |files: &mut Files| segment(files, SEG1)[bit / 8] ^= 1 << (bit % 8);
            if n == last {
                let opened = base.open(flip).unwrap();
                assert_eq!(opened.records, base.records(last), "bit {bit}");
                let cut = opened.recovered.cut.expect("a torn batch");
                assert_eq!((cut.segment, cut.offset), (SEG1, start as u64));
            } else {
                let found = base.corruption(flip);
                assert_eq!(
                    (found.segment, found.offset),
                    (SEG1, start as u64),
                    "bit {bit}"
                );
                assert!(matches!(found.damage, Damage::Batch(_)), "{found}");
            }
        }
    }
}

#[test]
fn rubbish_behind_the_last_batch_is_cut() {
    let base = small();
    let end = base.end(base.batches.len() - 1);
    let opened = base
        .open(|files| segment(files, SEG1)[end + 100] = 1)
        .unwrap();
    assert_eq!(opened.records, base.records(base.batches.len()));
    let cut = opened.recovered.cut.clone().unwrap();
    assert_eq!(
        (cut.offset, cut.octets, cut.flaw),
        (end as u64, 101, BatchFlaw::Magic)
    );
    drop(opened);
    let content = std::fs::read(base.dir.path().join(SEG1.to_string())).unwrap();
    assert!(
        content[end..].iter().all(|&octet| octet == 0),
        "cleared for what comes next"
    );
}

/// Two batches in the first segment, two in the second.
fn two_segments() -> Base {
    Base::new(&[&[20_000], &[20_000], &[30_000], &[10]])
}

#[test]
fn damage_in_a_sealed_segment_is_corruption() {
    let base = two_segments();
    assert_eq!(base.places[2], (SEG2, 4096));
    let end = base.end(1);
    for at in [
        base.places[1].1,
        base.places[1].1 + 3,
        base.places[1].1 + 77,
        end - 1,
    ] {
        let found = base.corruption(|files| segment(files, SEG1)[at] ^= 0x10);
        assert_eq!(
            (found.segment, found.offset),
            (SEG1, base.places[1].1 as u64)
        );
    }
    let found = base.corruption(|files| segment(files, SEG1)[base.places[1].1..].fill(0));
    let gap = Damage::Gap {
        reached: 2,
        following: 3,
    };
    assert_eq!((found.offset, found.damage), (base.places[1].1 as u64, gap));
}

#[test]
fn the_first_batch_of_a_later_segment_had_been_synced() {
    let base = Base::new(&[&[20_000], &[20_000], &[30_000]]);
    assert_eq!(base.places[2], (SEG2, 4096));
    let found = base.corruption(|files| segment(files, SEG2)[5000] ^= 1);
    assert_eq!((found.segment, found.offset), (SEG2, 4096));
    let found = base.corruption(|files| segment(files, SEG2)[4096..].fill(0));
    assert_eq!((found.segment, found.offset), (SEG2, 4096));
}

#[test]
fn a_damaged_header_is_corruption() {
    let base = two_segments();
    for at in 0..96 {
        let error = base
            .open(|files| segment(files, SEG2)[at] ^= 1)
            .err()
            .expect("refused");
        match error {
            OpenError::Version { found, .. } => assert!((8..12).contains(&at), "{found}"),
            OpenError::Corrupt(found) => assert_eq!((found.segment, found.offset), (SEG2, 0)),
            error => panic!("octet {at}: {error}"),
        }
    }
    let found = base.corruption(|files| segment(files, SEG2).truncate(65_535));
    let short = HeaderFlaw::Field {
        field: "the size of the file",
        found: 65_536,
        expected: 65_535,
    };
    assert_eq!(found.damage, Damage::Header(short));
    let found = base.corruption(|files| segment(files, SEG2).truncate(10));
    assert_eq!(found.damage, Damage::Header(HeaderFlaw::Short(10)));
    let found = base.corruption(|files| segment(files, SEG2).clear());
    assert_eq!(found.damage, Damage::Header(HeaderFlaw::Short(0)));
}

#[test]
fn a_missing_segment_is_told() {
    let base = Base::new(&[&[40_000], &[40_000], &[40_000]]);
    let without = |files: &mut Files, id| {
        files.retain(|(name, _)| *name != SegmentName { id, generation: 0 }.to_string());
    };
    let found = base.corruption(|files| without(files, 1));
    assert_eq!(found.damage, Damage::Missing { expected: 1 });
    let found = base.corruption(|files| without(files, 2));
    assert_eq!(
        (found.segment.id, found.damage),
        (3, Damage::Missing { expected: 2 })
    );
    let found = base.corruption(|files| files.retain(|(name, _)| name == "STORE"));
    assert_eq!(found.damage, Damage::Missing { expected: 1 });
    let error = base
        .open(|files| files.retain(|(name, _)| name != "STORE"))
        .err()
        .unwrap();
    assert!(matches!(error, OpenError::NoIdentity { .. }), "{error}");
}

#[test]
fn a_damaged_identity_is_told() {
    let base = small();
    let store = |files: &mut Files, at: usize| {
        files
            .iter_mut()
            .find(|(name, _)| name == "STORE")
            .unwrap()
            .1[at] ^= 4;
    };
    for at in 0..64 {
        let error = base.open(|files| store(files, at)).err().expect("refused");
        match error {
            OpenError::Version { .. } => assert!((8..12).contains(&at)),
            OpenError::BadIdentity { .. } => assert!(!(8..12).contains(&at)),
            error => panic!("octet {at}: {error}"),
        }
    }
}

#[test]
fn an_interrupted_making_of_a_store_is_begun_anew() {
    let dir = scratch();
    let mut operations = 0;
    for seed in 1.. {
        let disk = Arc::new(FaultDisk::new(dir.path()).unwrap());
        disk.die_after(operations);
        let made = try_open(disk.clone(), dir.path(), options()).is_ok();
        let mut rng = Rng(seed);
        disk.crash(&mut || rng.next()).unwrap();
        if made {
            break;
        }
        if seed % 4 == 0 {
            operations += 1;
        }
    }
    assert!(operations > 5);
    let disk = Arc::new(FaultDisk::new(dir.path()).unwrap());
    assert_eq!(open(disk, dir.path()).recovered.next_sequence, 1);
}

#[test]
fn a_record_that_the_caller_cannot_read_is_told_with_its_place() {
    let base = small();
    base.restore(|_| ());
    let home = Home::open(
        Arc::new(leaseq_store::log::RealDisk),
        base.dir.path(),
        options(),
    )
    .unwrap();
    let refuse = &mut |_, octets: &[u8]| match sequence_of(octets) {
        4 => Err("kind 77 is unknown".to_owned()),
        _ => Ok(()),
    };
    let error = leaseq_store::log::Log::open(home, refuse).err().unwrap();
    let at = base.places[1].1 + 40 + 32;
    assert_eq!(
        error.to_string(),
        format!(
            "segment 0000000000000001-00000000.seg is damaged at offset {at}: kind 77 is unknown"
        )
    );
}

fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("LOCK"))
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn opened_for_reading_a_torn_store_is_left_as_it_is() {
    let base = small();
    let last = base.batches.len() - 1;
    base.restore(|files| {
        segment(files, SEG1)[base.end(last) - 1] ^= 1;
        files.push(("checkpoint.tmp".to_owned(), vec![1, 2, 3]));
    });
    let before = snapshot(base.dir.path());
    let reading = LogOptions {
        read_only: true,
        ..options()
    };
    let disk = Arc::new(FaultDisk::new(base.dir.path()).unwrap());
    let mut opened = try_open(disk, base.dir.path(), reading).unwrap();
    assert_eq!(opened.records, base.records(last));
    assert!(opened.recovered.cut.is_some());
    let refused = Batch::next(&opened.log, &[1]).append(&mut opened.log);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the store is read-only: it was opened for reading"
    );
    assert_eq!(snapshot(base.dir.path()), before);
    drop(opened);

    let disk = Arc::new(FaultDisk::new(base.dir.path()).unwrap());
    open(disk, base.dir.path());
    assert!(!base.dir.path().join("checkpoint.tmp").exists());
}

#[test]
fn verify_reports_the_first_damage_of_each_segment() {
    let base = Base::new(&[
        &[20_000],
        &[20_000],
        &[30_000],
        &[10],
        &[40_000],
        &[40_000],
        &[7],
    ]);
    let check = |damage: &dyn Fn(&mut Files)| {
        base.restore(damage);
        let reading = LogOptions {
            read_only: true,
            ..options()
        };
        let disk = Arc::new(FaultDisk::new(base.dir.path()).unwrap());
        let home = Home::open(disk, base.dir.path(), reading).unwrap();
        verify::verify(&home, &mut |_, _| Ok(())).unwrap()
    };
    let whole = check(&|_| ());
    assert_eq!(whole.damage().count(), 0);
    assert_eq!(
        (whole.segments.len(), whole.batches(), whole.records()),
        (4, 7, 7)
    );
    let octets: usize = base.batches.iter().map(|b| 40 + b.octets.len()).sum();
    assert_eq!(whole.octets(), octets as u64);

    let report = check(&|files| {
        segment(files, SEG1)[base.places[1].1 + 50] ^= 1;
        segment(files, SEG2)[base.places[3].1 + 50] ^= 1;
    });
    let found: Vec<_> = report
        .damage()
        .map(|d| (d.segment, d.offset as usize))
        .collect();
    assert_eq!(found, [(SEG1, base.places[1].1), (SEG2, base.places[3].1)]);
    let batches: Vec<_> = report.segments.iter().map(|s| s.batches).collect();
    assert_eq!(batches, [1, 1, 1, 2]);

    let report = check(&|files| segment(files, SEG2)[20] ^= 1);
    let found: Vec<_> = report.damage().map(|d| (d.segment, d.offset)).collect();
    assert_eq!(found, [(SEG2, 0)]);

    let report = check(&|files| files.retain(|(name, _)| *name != SEG2.to_string()));
    assert_eq!(
        report.order.as_ref().unwrap().damage,
        Damage::Missing { expected: 2 }
    );

    let last = base.places[6];
    let report = check(&|files| segment(files, last.0)[last.1 + 45] ^= 1);
    assert_eq!(report.damage().count(), 0);
    assert_eq!(report.cut.unwrap().offset as usize, last.1);
}
