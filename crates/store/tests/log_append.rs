//! Appending to the log, reading it back, and its cursors.

mod log_support;

use std::sync::Arc;

use leaseq_store::log::{AppendError, OpenError, Pos, RealDisk, Recovery, Scan, ScanFrom};
use leaseq_store::log::{Home, LogOptions};
use log_support::*;

fn disk() -> Arc<RealDisk> {
    Arc::new(RealDisk)
}

/// Appends batches of several sizes over several segments and returns all records.
fn fill(log: &mut leaseq_store::log::Log, batches: usize) -> Vec<Known> {
    let mut rng = Rng(7);
    let mut all = Vec::new();
    for _ in 0..batches {
        let payloads: Vec<usize> = (0..rng.below(20))
            .map(|_| rng.below(900) as usize)
            .collect();
        let batch = Batch::next(log, &payloads);
        let appended = batch.append(log).unwrap();
        let view = log.view();
        let mut offset = 0;
        for known in &batch.records {
            assert_eq!(
                view.record(appended.pos_of(offset)),
                Some(&known.octets[..])
            );
            offset += known.octets.len();
        }
        all.extend(batch.records);
    }
    all
}

#[test]
fn what_was_appended_is_there_after_reopening() {
    let dir = scratch();
    let Opened {
        mut log, recovered, ..
    } = open(disk(), dir.path());
    assert_eq!((recovered.next_sequence, recovered.last_stamp), (1, 0));
    assert_eq!(*log.identity(), identity());
    let all = fill(&mut log, 100);
    let (next, stamp) = (log.next_sequence(), log.last_stamp());
    assert!(log.stats().segments > 5);
    assert_eq!(scan(&log.view(), ScanFrom::Start), all);
    drop(log);

    let opened = open(disk(), dir.path());
    assert_eq!(opened.records, all);
    assert_eq!(opened.recovered.next_sequence, next);
    assert_eq!(opened.recovered.last_stamp, stamp);
    assert_eq!(opened.recovered.batches, 100);
    assert_eq!(opened.recovered.cut, None);
    assert_eq!(scan(&opened.log.view(), ScanFrom::Start), all);
}

#[test]
fn a_scan_starts_at_a_sequence_or_a_stamp() {
    let dir = scratch();
    let mut log = open(disk(), dir.path()).log;
    let all = fill(&mut log, 60);
    let view = log.view();
    for wanted in [
        0,
        1,
        2,
        17,
        100,
        log.next_sequence() - 1,
        log.next_sequence(),
        u64::MAX,
    ] {
        let expected: Vec<_> = all
            .iter()
            .filter(|r| r.sequence >= wanted)
            .cloned()
            .collect();
        assert_eq!(
            scan(&view, ScanFrom::Sequence(wanted)),
            expected,
            "{wanted}"
        );
    }
    for wanted in [0, 1, 2, 30, 59, 60, 61, u64::MAX] {
        let expected: Vec<_> = all.iter().filter(|r| r.stamp >= wanted).cloned().collect();
        assert_eq!(scan(&view, ScanFrom::Stamp(wanted)), expected, "{wanted}");
    }
}

#[test]
fn a_cursor_follows_the_tail_over_segments_and_stops_below_a_limit() {
    let dir = scratch();
    let mut log = open(disk(), dir.path()).log;
    let mut cursor = Scan::new(ScanFrom::Start);
    let mut late = Scan::new(ScanFrom::Stamp(40));
    let mut expected = 1;
    assert_eq!(cursor.next(&log.view(), u64::MAX), None);
    for _ in 0..60 {
        let batch = Batch::next(&log, &[800, 1600, 400]);
        batch.append(&mut log).unwrap();
        let view = log.view();
        for known in &batch.records {
            assert_eq!(
                cursor.next(&view, known.sequence),
                None,
                "nothing below the limit"
            );
            let (_, octets) = cursor.next(&view, known.sequence + 1).unwrap();
            assert_eq!(octets, known.octets);
            assert_eq!(sequence_of(octets), expected);
            expected += 1;
            let late_one = late
                .next(&view, u64::MAX)
                .map(|(_, octets)| sequence_of(octets));
            assert_eq!(late_one, (batch.stamp >= 40).then_some(known.sequence));
        }
        assert_eq!(cursor.next(&view, u64::MAX), None);
    }
    assert!(log.stats().segments > 2);
}

#[test]
fn positions_that_name_no_record_are_not_found() {
    let dir = scratch();
    let mut log = open(disk(), dir.path()).log;
    let appended = Batch::next(&log, &[100]).append(&mut log).unwrap();
    let view = log.view();
    assert_eq!(view.record(Pos::NONE), None);
    let mut rng = Rng(3);
    for _ in 0..10_000 {
        let near = appended.base.raw() ^ (1 << rng.below(64));
        for raw in [near, rng.next()] {
            let pos = Pos::from_raw(raw);
            view.prefetch(pos);
            if let Some(octets) = view.record(pos) {
                assert!(octets.len() >= 24 && octets.len() % 8 == 0);
            }
        }
    }
    let behind = appended.pos_of(128);
    assert_eq!(
        view.record(behind),
        None,
        "nothing is read that is not published"
    );
}

#[test]
fn batches_that_do_not_continue_the_log_are_refused() {
    let dir = scratch();
    let mut log = open(disk(), dir.path()).log;
    Batch::new(1, 50, &[10, 20]).append(&mut log).unwrap();
    let good = Batch::new(3, 51, &[10]);
    let disorder = |result| matches!(result, Err(AppendError::Disorder(_)));
    assert!(disorder(Batch::new(2, 51, &[10]).append(&mut log)));
    assert!(disorder(Batch::new(4, 51, &[10]).append(&mut log)));
    assert!(disorder(Batch::new(3, 49, &[10]).append(&mut log)));
    assert!(disorder(log.append(3, 5, 51, &good.octets, 1)));
    assert!(disorder(log.append(3, 5, 51, &good.octets, 2)));
    assert!(disorder(log.append(3, 4, 52, &good.octets, 1)));
    assert!(disorder(log.append(3, 4, 51, &good.octets[..32], 1)));
    assert!(disorder(log.append(3, 4, 51, &good.octets[..4], 1)));
    let long = vec![0; log.max_records() + 8];
    let refused = log.append(3, 4, 51, &long, 1);
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })));
    good.append(&mut log).unwrap();
    assert_eq!(log.next_sequence(), 4);
}

#[test]
fn a_batch_may_fill_a_segment_to_its_last_octet() {
    let dir = scratch();
    let mut log = open(disk(), dir.path()).log;
    let full = log.max_records();
    let half = full / 16 * 8;
    let payloads = [half - 24, full - half - 24];
    for _ in 0..3 {
        Batch::next(&log, &payloads).append(&mut log).unwrap();
        assert_eq!(log.stats().free, 0);
    }
    drop(log);
    assert_eq!(open(disk(), dir.path()).records.len(), 6);
}

#[test]
fn a_batch_without_records_carries_its_stamp() {
    let dir = scratch();
    let mut log = open(disk(), dir.path()).log;
    Batch::new(1, 50, &[10]).append(&mut log).unwrap();
    log.append(2, 2, 90, &[], 0).unwrap();
    drop(log);
    let opened = open(disk(), dir.path());
    assert_eq!(opened.recovered.last_stamp, 90);
    assert_eq!(opened.recovered.next_sequence, 2);
}

#[test]
fn a_second_opener_is_told_who_holds_the_store() {
    let dir = scratch();
    let first = open(disk(), dir.path());
    let second = try_open(disk(), dir.path(), options());
    let error = second.err().expect("refused");
    let mine = std::process::id();
    assert!(
        matches!(error, OpenError::Locked { pid: Some(pid), .. } if pid == mine),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains(&format!("is in use by process {mine}: "))
    );
    drop(first);
    open(disk(), dir.path());
}

#[test]
fn the_next_segment_is_made_on_a_helper_thread() {
    let dir = scratch();
    let ahead = LogOptions {
        ahead: true,
        ..options()
    };
    let mut log = try_open(disk(), dir.path(), ahead.clone()).unwrap().log;
    let all = fill(&mut log, 100);
    drop(log);
    let names = std::fs::read_dir(dir.path()).unwrap();
    let left = names.filter(|n| {
        n.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(".tmp")
    });
    assert_eq!(
        left.count(),
        0,
        "a segment made ahead does not outlive the log"
    );
    assert_eq!(try_open(disk(), dir.path(), ahead).unwrap().records, all);
}

#[test]
fn positions_can_be_translated_for_the_next_opening() {
    let dir = scratch();
    let mut log = open(disk(), dir.path()).log;
    let mut places = Vec::new();
    for _ in 0..40 {
        let batch = Batch::next(&log, &[3000]);
        let pos = batch.append(&mut log).unwrap().base;
        places.push((pos, batch.records[0].clone()));
    }
    let renumbering = log.renumbering();
    assert_eq!(renumbering.after_reopening(Pos::NONE), Pos::NONE);
    drop(log);

    let home = Home::open(disk(), dir.path(), options()).unwrap();
    let recovery = Recovery::begin(home).unwrap();
    assert_eq!(recovery.end().unwrap(), (41, 40));
    let (log, recovered) = recovery.skip().unwrap();
    assert_eq!((recovered.next_sequence, recovered.last_stamp), (41, 40));
    for (pos, known) in places {
        let pos = renumbering.after_reopening(pos);
        assert_eq!(log.view().record(pos), Some(&known.octets[..]));
    }
}
