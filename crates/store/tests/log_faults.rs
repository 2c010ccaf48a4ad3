//! Failing writes and syncs, full disks and losses of power: whatever was acknowledged is there, nothing is torn.

mod log_support;

use std::path::Path;
use std::sync::Arc;

use leaseq_store::log::testing::{EIO, ENOSPC, FaultDisk, Op};
use leaseq_store::log::{AppendError, Log, LogOptions, ScanFrom};
use log_support::*;

fn fault_disk(dir: &Path) -> Arc<FaultDisk> {
    Arc::new(FaultDisk::new(dir).unwrap())
}

/// Cuts the power and opens the store again.
fn after_crash(disk: &Arc<FaultDisk>, dir: &Path, rng: &mut Rng) -> Opened {
    disk.heal();
    disk.crash(&mut || rng.next()).unwrap();
    open(disk.clone(), dir)
}

/// Appends a batch again and again until it is taken; at most twice is it refused.
fn append_stubbornly(batch: &Batch, log: &mut Log) {
    for _ in 0..2 {
        match batch.append(log) {
            Ok(_) => return,
            Err(AppendError::Segment(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    batch.append(log).unwrap();
}

/// Batches that fill three segments and a bit.
fn script() -> Vec<Vec<usize>> {
    let mut rng = Rng(11);
    (0..16)
        .map(|_| vec![rng.below(9000) as usize, 7000, rng.below(5000) as usize])
        .collect()
}

/// Runs the script with the `nth` operation of a kind failing; returns whether one did.
fn run_with_failure(op: Op, nth: u64, ahead: bool) -> bool {
    let dir = scratch();
    let disk = fault_disk(dir.path());
    let options = LogOptions { ahead, ..options() };
    let mut log = try_open(disk.clone(), dir.path(), options).unwrap().log;
    let before = disk.operations().iter().filter(|&&done| done == op).count();
    disk.fail(op, nth, 1, EIO);
    let mut all = Vec::new();
    for payloads in script() {
        let batch = Batch::next(&log, &payloads);
        append_stubbornly(&batch, &mut log);
        all.extend(batch.records);
        assert_eq!(scan(&log.view(), ScanFrom::Start), all);
    }
    let after = disk.operations().iter().filter(|&&done| done == op).count();
    assert!(log.read_only().is_none());
    drop(log);
    let opened = after_crash(&disk, dir.path(), &mut Rng(nth + 1));
    assert_eq!(opened.records, all, "after {op:?} {nth} failed");
    after - before >= nth as usize
}

fn each_in_turn(op: Op, least: u64) {
    for ahead in [false, true] {
        let mut nth = 1;
        while run_with_failure(op, nth, ahead) {
            nth += 1;
        }
        assert!(
            nth > least,
            "only {nth} operations of kind {op:?} were seen"
        );
    }
}

#[test]
fn any_sync_may_fail_once() {
    each_in_turn(Op::Sync, 18);
}

#[test]
fn any_write_may_fail_once() {
    each_in_turn(Op::Write, 16);
}

#[test]
fn any_creation_renaming_or_directory_sync_may_fail_once() {
    each_in_turn(Op::Create, 2);
    each_in_turn(Op::Rename, 2);
    each_in_turn(Op::SyncDir, 2);
}

#[test]
fn a_second_failure_makes_the_store_read_only() {
    for op in [Op::Write, Op::Sync, Op::SyncDir, Op::Rename] {
        let dir = scratch();
        let disk = fault_disk(dir.path());
        let mut log = open(disk.clone(), dir.path()).log;
        let mut all = Vec::new();
        for payloads in [[100, 200], [300, 400]] {
            let batch = Batch::next(&log, &payloads);
            batch.append(&mut log).unwrap();
            all.extend(batch.records);
        }
        // Directory and names matter only when the segment changes.
        let payload = if matches!(op, Op::Write | Op::Sync) {
            10
        } else {
            61_000
        };
        let refused = Batch::next(&log, &[payload]);
        disk.fail(op, 1, 2, EIO);
        let error = refused.append(&mut log).unwrap_err();
        assert!(matches!(error, AppendError::ReadOnly(_)), "{op:?}: {error}");
        assert!(log.read_only().is_some() && log.stats().read_only);
        let again = refused.append(&mut log).unwrap_err();
        assert!(
            matches!(again, AppendError::ReadOnly(_)),
            "the disk works again, but it stays so"
        );
        assert_eq!(scan(&log.view(), ScanFrom::Start), all, "and can be read");
        drop(log);
        for seed in 1..20 {
            let opened = after_crash(&disk, dir.path(), &mut Rng(seed));
            let rest = opened
                .records
                .strip_prefix(&all[..])
                .expect("what was acknowledged");
            assert!(
                rest.is_empty() || rest == refused.records,
                "whole or absent"
            );
            all = opened.records;
            drop(opened.log);
        }
    }
}

#[test]
fn an_abandoned_batch_is_not_read_twice() {
    for fail in [Op::Sync, Op::Write] {
        let dir = scratch();
        let disk = fault_disk(dir.path());
        let mut log = open(disk.clone(), dir.path()).log;
        let mut all = Vec::new();
        for n in 0..6 {
            let batch = Batch::next(&log, &[100, 200]);
            if n % 2 == 0 {
                disk.fail(fail, 1, 1, EIO);
            }
            let new_segment = batch.append(&mut log).unwrap().new_segment;
            assert_eq!(new_segment, n % 2 == 0);
            all.extend(batch.records);
        }
        drop(log);
        assert_eq!(open(disk.clone(), dir.path()).records, all);
        assert_eq!(after_crash(&disk, dir.path(), &mut Rng(5)).records, all);
    }
}

#[test]
fn a_batch_refused_after_a_failed_write_gives_way_to_another() {
    let dir = scratch();
    let disk = fault_disk(dir.path());
    let mut log = open(disk.clone(), dir.path()).log;
    let first = Batch::next(&log, &[100]);
    first.append(&mut log).unwrap();
    disk.fail(Op::Sync, 1, 1, EIO);
    disk.set_room(Some(0));
    let refused = Batch::next(&log, &[50, 60]);
    let error = refused.append(&mut log).unwrap_err();
    assert!(matches!(error, AppendError::Full(_)), "{error}");
    disk.set_room(None);
    let other = Batch::next(&log, &[70, 80, 90]);
    let appended = other.append(&mut log).unwrap();
    assert!(
        appended.new_segment,
        "what failed to be written is left alone"
    );
    let expected = [first.records, other.records].concat();
    assert_eq!(scan(&log.view(), ScanFrom::Start), expected);
    drop(log);
    assert_eq!(
        after_crash(&disk, dir.path(), &mut Rng(9)).records,
        expected
    );
}

#[test]
fn what_was_only_in_the_kernels_memory_is_made_durable_at_the_next_opening() {
    for seed in 1..=10 {
        let dir = scratch();
        let disk = fault_disk(dir.path());
        let mut log = open(disk.clone(), dir.path()).log;
        disk.fail(Op::Sync, 1, 2, EIO);
        let unsynced = Batch::next(&log, &[50, 5000]);
        assert!(unsynced.append(&mut log).is_err());
        drop(log);

        // The process starts again on the same kernel, which still shows what it failed to write.
        let mut opened = open(disk.clone(), dir.path());
        assert_eq!(opened.records, unsynced.records);
        let more = Batch::next(&opened.log, &[20]);
        more.append(&mut opened.log).unwrap();
        drop(opened);
        let expected = [unsynced.records, more.records].concat();
        let found = after_crash(&disk, dir.path(), &mut Rng(seed)).records;
        assert_eq!(found, expected, "seed {seed}");
    }
}

#[test]
fn a_full_disk_refuses_and_the_log_goes_on_once_there_is_room() {
    for ahead in [false, true] {
        let dir = scratch();
        let disk = fault_disk(dir.path());
        disk.set_room(Some(3 * 65_536 + 64));
        let options = LogOptions { ahead, ..options() };
        let mut log = try_open(disk.clone(), dir.path(), options).unwrap().log;
        let mut all = Vec::new();
        let refused = loop {
            let batch = Batch::next(&log, &[9000, 9000]);
            match batch.append(&mut log) {
                Ok(_) => all.extend(batch.records),
                Err(error) => break error,
            }
        };
        assert_eq!(all.len(), 18, "three segments of three batches");
        assert!(
            refused.to_string().starts_with("the disk is full: "),
            "{refused}"
        );
        for _ in 0..3 {
            let again = Batch::next(&log, &[9000, 9000])
                .append(&mut log)
                .unwrap_err();
            assert!(matches!(again, AppendError::Full(_)));
        }
        assert_eq!(scan(&log.view(), ScanFrom::Start), all);
        let small = Batch::next(&log, &[10]);
        small
            .append(&mut log)
            .expect("what fits into the segment is still taken");
        all.extend(small.records);
        disk.set_room(Some(5 * 65_536 + 64));
        for _ in 0..4 {
            let batch = Batch::next(&log, &[9000, 9000]);
            batch.append(&mut log).unwrap();
            all.extend(batch.records);
        }
        assert!(log.read_only().is_none());
        drop(log);
        assert_eq!(after_crash(&disk, dir.path(), &mut Rng(3)).records, all);
    }
}

#[test]
fn a_segment_that_cannot_be_made_for_another_reason_is_no_full_disk() {
    let dir = scratch();
    let disk = fault_disk(dir.path());
    let mut log = open(disk.clone(), dir.path()).log;
    Batch::next(&log, &[30_000]).append(&mut log).unwrap();
    let batch = Batch::next(&log, &[50_000]);
    disk.fail(Op::Create, 1, 1, EIO);
    disk.fail(Op::Create, 2, 1, ENOSPC);
    assert!(matches!(
        batch.append(&mut log),
        Err(AppendError::Segment(_))
    ));
    assert!(matches!(batch.append(&mut log), Err(AppendError::Full(_))));
    batch.append(&mut log).unwrap();
}

/// Appends random batches on a disk with random failures until the power fails; then checks what is left.
fn crash_run(seed: u64) {
    let dir = scratch();
    let disk = fault_disk(dir.path());
    let mut rng = Rng(seed);
    let mut acknowledged: Vec<Known> = Vec::new();
    for _ in 0..4 {
        let Opened {
            mut log, records, ..
        } = open(disk.clone(), dir.path());
        assert_eq!(records, acknowledged, "seed {seed}");
        // Batches that were refused since the last one that was taken: one of them may have got through.
        let mut refused: Vec<Batch> = Vec::new();
        disk.die_after(rng.below(90) as usize);
        if rng.below(3) == 0 {
            let op = [Op::Sync, Op::Write, Op::SyncDir][rng.below(3) as usize];
            disk.fail(op, 1 + rng.below(15), 1 + rng.below(2), EIO);
        }
        for _ in 0..60 {
            let payloads: Vec<_> = (0..rng.below(6))
                .map(|_| rng.below(4500) as usize)
                .collect();
            let batch = Batch::next(&log, &payloads);
            match batch.append(&mut log) {
                Ok(_) => {
                    acknowledged.extend(batch.records);
                    refused.clear();
                }
                Err(AppendError::ReadOnly(_)) => {
                    refused.push(batch);
                    break;
                }
                Err(_) => refused.push(batch),
            }
        }
        assert_eq!(
            scan(&log.view(), ScanFrom::Start),
            acknowledged,
            "seed {seed}"
        );
        drop(log);
        let opened = after_crash(&disk, dir.path(), &mut rng);
        let found = opened.records;
        let rest = found.strip_prefix(&acknowledged[..]);
        let rest = rest.unwrap_or_else(|| panic!("seed {seed}: an acknowledged batch is gone"));
        let whole = rest.is_empty() || refused.iter().any(|batch| rest == batch.records);
        assert!(whole, "seed {seed}: a torn batch came back");
        acknowledged = found;
    }
}

#[test]
fn a_loss_of_power_at_any_moment_loses_nothing_acknowledged() {
    for seed in 1..=150 {
        crash_run(seed);
    }
}
