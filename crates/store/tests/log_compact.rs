//! Compaction: what is kept stays readable at every moment, and a process killed at any step leaves a good store.

mod log_support;

use std::collections::BTreeSet;
use std::sync::Arc;

use leaseq_store::log::compact::{Installed, Plan, Verdict};
use leaseq_store::log::testing::{EIO, FaultDisk, Op};
use leaseq_store::log::{Log, Pos, Scan, ScanFrom, SegmentName};
use log_support::*;

/// A record is an end if its sequence is a multiple of this.
const END: u64 = 10;

/// A log of seven segments and a bit, three batches of ten records each; where each record is.
struct Filled {
    log: Log,
    disk: Arc<FaultDisk>,
    dir: tempfile::TempDir,
    all: Vec<(Pos, Known)>,
}

fn filled() -> Filled {
    let dir = scratch();
    let disk = Arc::new(FaultDisk::new(dir.path()).unwrap());
    let mut log = open(disk.clone(), dir.path()).log;
    let mut all = Vec::new();
    for _ in 0..22 {
        append(&mut log, &mut all);
    }
    Filled {
        log,
        disk,
        dir,
        all,
    }
}

fn append(log: &mut Log, all: &mut Vec<(Pos, Known)>) {
    let batch = Batch::next(log, &[2000; 10]);
    let appended = batch.append(log).unwrap();
    let mut offset = 0;
    for known in batch.records {
        let pos = appended.pos_of(offset);
        offset += known.octets.len();
        all.push((pos, known));
    }
}

/// Keeps one record in twelve and the ends that are not multiples of 20.
fn verdict(sequence: u64) -> Verdict {
    match sequence {
        s if s % (2 * END) == 0 => Verdict::Ended,
        s if s % END == 0 || s % 12 == 1 => Verdict::Keep,
        _ => Verdict::Superseded,
    }
}

/// Counts as dead what the verdict drops, in the segments up to the one of record `to`.
fn count_dead(log: &Log, all: &[(Pos, Known)], to: u64) {
    for (pos, known) in all.iter().filter(|(_, k)| k.sequence <= to) {
        if verdict(known.sequence) != Verdict::Keep {
            log.dead(*pos, known.octets.len());
        }
    }
}

fn compact(log: &mut Log) -> Option<Installed> {
    let compacted = Plan::choose(log)?
        .run(|_, octets| verdict(sequence_of(octets)))
        .unwrap();
    Some(log.install(compacted).unwrap())
}

fn kept(all: &[(Pos, Known)], compacted_to: u64) -> Vec<Known> {
    let kept = all.iter().map(|(_, known)| known);
    kept.filter(|k| k.sequence > compacted_to || verdict(k.sequence) == Verdict::Keep)
        .cloned()
        .collect()
}

#[test]
fn kept_records_move_with_their_order_sequence_and_stamp() {
    let Filled {
        mut log,
        disk,
        dir,
        mut all,
    } = filled();
    count_dead(&log, &all, 210);
    let before = log.stats();
    assert_eq!((before.segments, before.dead > 0), (8, true));
    let old_view = log.view();
    let installed = compact(&mut log).expect("worth it");
    let view = log.view();
    let expected = kept(&all, 210);
    assert_eq!(scan(&view, ScanFrom::Start), expected);
    assert_eq!(
        scan(&old_view, ScanFrom::Start).len(),
        220,
        "the old table shows the old log"
    );

    let moved: Vec<_> = installed
        .moves
        .iter()
        .map(|&(old, new)| {
            let octets = view.record(new).expect("readable where it is now");
            assert_eq!(
                view.record(old),
                Some(octets),
                "and where it was, until the sources go"
            );
            sequence_of(octets)
        })
        .collect();
    let expected_moves: Vec<_> = (1..=210).filter(|&s| verdict(s) == Verdict::Keep).collect();
    assert_eq!(moved, expected_moves);
    let ended: Vec<_> = installed
        .ended
        .iter()
        .map(|&pos| sequence_of(view.record(pos).unwrap()))
        .collect();
    assert_eq!(ended, (1..=210).filter(|s| s % 20 == 0).collect::<Vec<_>>());
    let newest_end = all[199].1.stamp;
    assert_eq!(view.dropped_until(), newest_end);

    let reclaimed = installed.reclaimed;
    let old = installed.moves[0].0;
    log.remove_sources(installed);
    assert_eq!(log.view().record(old), None);
    assert!(
        old_view.record(old).is_some(),
        "a reader with the old table keeps it"
    );
    let after = log.stats();
    assert_eq!(
        (after.segments, after.octets),
        (2, before.octets - reclaimed)
    );
    assert_eq!(after.dead, 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);

    append(&mut log, &mut all);
    let expected = kept(&all, 210);
    drop(log);
    let opened = open(disk, dir.path());
    assert_eq!(opened.records, expected);
    assert_eq!(opened.log.view().dropped_until(), newest_end);
    assert_eq!(opened.recovered.next_sequence, 231);
}

#[test]
fn only_runs_worth_it_are_chosen_and_one_at_a_time() {
    let Filled {
        mut log,
        all,
        dir: _dir,
        ..
    } = filled();
    assert!(Plan::choose(&mut log).is_none(), "nothing is dead");
    for (pos, known) in all.iter().filter(|(_, k)| (31..=60).contains(&k.sequence)) {
        if known.sequence % 2 == 0 {
            log.dead(*pos, known.octets.len());
        }
    }
    let plan = Plan::choose(&mut log).expect("half of a segment is dead");
    assert_eq!(
        plan.sources(),
        [SegmentName {
            id: 2,
            generation: 0
        }]
    );
    assert!(Plan::choose(&mut log).is_none(), "one is under way");
    drop(plan);
    let plan = Plan::choose(&mut log).expect("it was given up");
    let compacted = plan.run(|_, _| Verdict::Keep).unwrap();
    assert!(Plan::choose(&mut log).is_none(), "still under way");
    let installed = log.install(compacted).unwrap();
    assert!(
        Plan::choose(&mut log).is_none(),
        "until the sources are gone"
    );
    log.remove_sources(installed);
    assert_eq!(scan(&log.view(), ScanFrom::Start).len(), all.len());
    assert!(Plan::choose(&mut log).is_none(), "nothing is dead any more");
}

#[test]
fn more_than_was_counted_on_may_be_kept() {
    let Filled {
        mut log,
        disk,
        dir,
        all,
    } = filled();
    count_dead(&log, &all, 210);
    let plan = Plan::choose(&mut log).unwrap();
    assert_eq!(plan.sources().len(), 7);
    let compacted = plan.run(|_, octets| match sequence_of(octets) % 2 {
        0 => Verdict::Keep,
        _ => Verdict::Superseded,
    });
    let installed = log.install(compacted.unwrap()).unwrap();
    assert_eq!(
        installed.moves.len(),
        30,
        "the halves of two segments fit into one"
    );
    log.remove_sources(installed);
    let expected: Vec<_> = all
        .iter()
        .map(|(_, k)| k.clone())
        .filter(|k| k.sequence > 60 || k.sequence % 2 == 0)
        .collect();
    assert_eq!(scan(&log.view(), ScanFrom::Start), expected);
    drop(log);
    assert_eq!(open(disk, dir.path()).records, expected);
}

#[test]
fn merged_segments_are_merged_again() {
    let Filled {
        mut log,
        disk,
        dir,
        mut all,
    } = filled();
    for generation in 1..=3 {
        let to = log.next_sequence() / 30 * 30;
        let kept = |sequence: u64| sequence > to || sequence % 12 == 1 && sequence + 150 > to;
        for (pos, known) in all.iter().filter(|(_, k)| !kept(k.sequence)) {
            log.dead(*pos, known.octets.len());
        }
        let plan = Plan::choose(&mut log).unwrap();
        let compacted = plan.run(|_, octets| match kept(sequence_of(octets)) {
            true => Verdict::Keep,
            false => Verdict::Superseded,
        });
        let installed = log.install(compacted.unwrap()).unwrap();
        all.retain(|(_, k)| kept(k.sequence));
        for (old, new) in &installed.moves {
            let known = all.iter_mut().find(|(pos, _)| pos == old);
            known.expect("a known position").0 = *new;
        }
        log.remove_sources(installed);
        assert!(
            dir.path()
                .join(SegmentName { id: 1, generation }.to_string())
                .exists()
        );
        let expected: Vec<_> = all.iter().map(|(_, k)| k.clone()).collect();
        assert_eq!(scan(&log.view(), ScanFrom::Start), expected);
        assert!(
            all.iter()
                .all(|(pos, k)| log.view().record(*pos) == Some(&k.octets[..]))
        );
        for _ in 0..9 {
            append(&mut log, &mut all);
        }
    }
    let expected: Vec<_> = all.iter().map(|(_, k)| k.clone()).collect();
    drop(log);
    assert_eq!(open(disk, dir.path()).records, expected);
}

#[test]
fn nothing_kept_leaves_an_empty_segment_and_the_numbering() {
    let Filled {
        mut log,
        disk,
        dir,
        all,
    } = filled();
    for (pos, known) in all.iter().filter(|(_, k)| k.sequence <= 210) {
        log.dead(*pos, known.octets.len());
    }
    let compacted = Plan::choose(&mut log)
        .unwrap()
        .run(|_, _| Verdict::Superseded)
        .unwrap();
    let installed = log.install(compacted).unwrap();
    assert_eq!(installed.moves, []);
    log.remove_sources(installed);
    let expected: Vec<_> = all[210..].iter().map(|(_, k)| k.clone()).collect();
    assert_eq!(scan(&log.view(), ScanFrom::Start), expected);
    assert_eq!(scan(&log.view(), ScanFrom::Sequence(5)), expected);
    drop(log);
    let opened = open(disk, dir.path());
    assert_eq!(opened.records, expected);
    assert_eq!(opened.log.next_sequence(), 221);
}

#[test]
fn cursors_go_on_over_a_compaction() {
    for stop in [0, 1, 15, 30, 31, 105, 209, 210, 215] {
        for remove_first in [false, true] {
            let Filled {
                mut log,
                all,
                dir: _dir,
                ..
            } = filled();
            count_dead(&log, &all, 210);
            let mut cursor = Scan::new(ScanFrom::Start);
            let view = log.view();
            for _ in 0..stop {
                cursor.next(&view, u64::MAX).unwrap();
            }
            let mut installed = compact(&mut log);
            if remove_first {
                log.remove_sources(installed.take().unwrap());
            }
            let mut rest = Vec::new();
            let view = log.view();
            while let Some((_, octets)) = cursor.next(&view, u64::MAX) {
                rest.push(sequence_of(octets));
            }
            let needed: Vec<_> = kept(&all, 210)
                .iter()
                .map(|k| k.sequence)
                .filter(|&s| s > stop)
                .collect();
            let given: BTreeSet<_> = rest.iter().copied().collect();
            assert!(
                rest.is_sorted() && given.len() == rest.len(),
                "in order, each once"
            );
            assert!(rest.first().is_none_or(|&s| s > stop));
            assert!(
                needed.iter().all(|s| given.contains(s)),
                "stopped after {stop}"
            );
            if remove_first {
                assert_eq!(rest, needed);
            }
        }
    }
}

#[test]
fn a_scan_by_stamp_works_on_merged_segments() {
    let Filled {
        mut log,
        all,
        dir: _dir,
        ..
    } = filled();
    count_dead(&log, &all, 210);
    let installed = compact(&mut log).unwrap();
    log.remove_sources(installed);
    let kept = kept(&all, 210);
    for stamp in 0..24 {
        let expected: Vec<_> = kept.iter().filter(|k| k.stamp >= stamp).cloned().collect();
        assert_eq!(
            scan(&log.view(), ScanFrom::Stamp(stamp)),
            expected,
            "from {stamp}"
        );
    }
}

#[test]
fn a_compaction_killed_at_any_step_leaves_a_good_store() {
    let mut steps = 0;
    loop {
        let mut finished = false;
        for seed in 1..=6 {
            let Filled {
                mut log,
                disk,
                dir,
                all,
            } = filled();
            count_dead(&log, &all, 210);
            let made = disk.operations().len();
            disk.die_after(steps);
            let plan = Plan::choose(&mut log).unwrap();
            if let Ok(compacted) = plan.run(|_, octets| verdict(sequence_of(octets))) {
                let installed = log.install(compacted).unwrap();
                log.remove_sources(installed);
            }
            finished |= disk.operations().len() < made + steps;
            drop(log);
            disk.heal();
            let mut rng = Rng(seed);
            disk.crash(&mut || rng.next()).unwrap();
            let opened = open(disk.clone(), dir.path());
            let whole: Vec<_> = all.iter().map(|(_, k)| k.clone()).collect();
            let good = opened.records == whole || opened.records == kept(&all, 210);
            assert!(good, "killed after {steps} steps, seed {seed}");
            assert_eq!(opened.recovered.next_sequence, 221);
            drop(opened);
            assert_eq!(
                open(disk, dir.path()).recovered.next_sequence,
                221,
                "and again"
            );
        }
        if finished {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 5 + 7);
}

#[test]
fn sources_are_not_deleted_before_the_merged_segment_is_there_for_good() {
    for (steps, seed) in (0..12).flat_map(|steps| (1..=8).map(move |seed| (steps, seed))) {
        let Filled {
            mut log,
            disk,
            dir,
            all,
        } = filled();
        count_dead(&log, &all, 210);
        // Created, written, synced and renamed, but the directory is not synced when the process ends.
        disk.die_after(4);
        let plan = Plan::choose(&mut log).unwrap();
        assert!(plan.run(|_, octets| verdict(sequence_of(octets))).is_err());
        drop(log);
        disk.heal();
        // The next process takes the merged segment up, and the power fails while it clears up.
        disk.die_after(steps);
        drop(try_open(disk.clone(), dir.path(), options()));
        disk.heal();
        let mut rng = Rng(seed);
        disk.crash(&mut || rng.next()).unwrap();
        let opened = open(disk, dir.path());
        let whole = opened.records.len() == all.len();
        assert!(
            whole || opened.records == kept(&all, 210),
            "{steps} steps, seed {seed}"
        );
        assert_eq!(opened.recovered.next_sequence, 221);
    }
}

#[test]
fn a_compaction_that_fails_leaves_the_log_as_it_was() {
    for op in [Op::Create, Op::Write, Op::Sync, Op::Rename, Op::SyncDir] {
        let Filled {
            mut log,
            disk,
            dir,
            all,
        } = filled();
        count_dead(&log, &all, 210);
        disk.fail(op, 1, 1, EIO);
        let plan = Plan::choose(&mut log).unwrap();
        let failed = plan.run(|_, octets| verdict(sequence_of(octets)));
        assert!(failed.is_err(), "{op:?}");
        assert_eq!(scan(&log.view(), ScanFrom::Start).len(), 220);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            10,
            "nothing of it is left"
        );

        let installed = compact(&mut log).expect("it can be tried again");
        log.remove_sources(installed);
        assert_eq!(
            scan(&log.view(), ScanFrom::Start),
            kept(&all, 210),
            "{op:?}"
        );
    }
}

#[test]
fn a_leftover_that_cannot_be_removed_ends_compaction_until_the_next_opening() {
    let Filled {
        mut log,
        disk,
        dir,
        all,
    } = filled();
    count_dead(&log, &all, 210);
    disk.fail(Op::SyncDir, 1, 2, EIO);
    let plan = Plan::choose(&mut log).unwrap();
    assert!(plan.run(|_, octets| verdict(sequence_of(octets))).is_err());
    assert!(Plan::choose(&mut log).is_none());
    drop(log);
    let mut rng = Rng(4);
    disk.crash(&mut || rng.next()).unwrap();
    let records = open(disk, dir.path()).records;
    assert!(records.len() == 220 || records == kept(&all, 210));
}

#[test]
fn damage_in_a_source_is_never_copied() {
    let Filled {
        mut log, dir, all, ..
    } = filled();
    count_dead(&log, &all, 210);
    let third = dir.path().join(
        SegmentName {
            id: 3,
            generation: 0,
        }
        .to_string(),
    );
    let file = std::fs::File::options().write(true).open(third).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"?", 30_000).unwrap();
    let error = Plan::choose(&mut log)
        .unwrap()
        .run(|_, octets| verdict(sequence_of(octets)))
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("segment 0000000000000003-00000000.seg is damaged at offset "),
        "{text}"
    );
}
