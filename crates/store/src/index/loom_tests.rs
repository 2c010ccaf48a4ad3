//! Every interleaving of a writer and a reader, and every stale value that the memory model allows, for the protocols
//! that readers rely on. The tables are tiny here: two entries a line, one shard, a list from the third id on, lists
//! that are full at once, four epochs, one count of departures, and one repetition before the lock.

use std::sync::Arc;

use loom::thread;
use smallvec::SmallVec;

use super::*;

fn walk(found: &Candidates) -> Vec<u32> {
    let ids: Vec<u32> = (0..found.len())
        .filter_map(|place| found.get(place))
        .collect();
    assert_once(&ids);
    ids
}

fn assert_once(ids: &[u32]) {
    for (at, id) in ids.iter().enumerate() {
        assert!(!ids[..at].contains(id), "{id} twice in {ids:?}");
    }
}

/// Hashes of one line and different tags.
const A: u64 = 0x0100 << 48;
const B: u64 = 0x0200 << 48;
const C: u64 = 0x0300 << 48;

#[test]
fn an_entry_is_visible_with_its_position() {
    loom::model(|| {
        let mut slots = SlotTableWriter::new();
        let mut keys = KeyIndexWriter::with_capacity(1);
        let (positions, index) = (slots.shared(), keys.shared());
        let reader = thread::spawn(move || {
            if let Some(slot) = index.find(A, |_| true) {
                assert_eq!(positions.pos(slot), 77);
            }
        });
        // An entry of 0 in a place that is not filled yet would be taken for the first slot.
        let _first = slots.alloc().unwrap();
        let slot = slots.alloc().unwrap();
        slots.set_pos(slot, 77);
        keys.insert(A, slot);
        reader.join().unwrap();
    });
}

#[test]
fn a_key_that_stays_is_found_while_a_place_is_reused() {
    loom::model(|| {
        let mut keys = KeyIndexWriter::with_capacity(4);
        keys.insert(A, 1);
        keys.insert(B, 2);
        let index = keys.shared();
        let reader = thread::spawn(move || {
            assert_eq!(index.find(B, |slot| slot == 2), Some(2));
            assert_eq!(index.find(A, |slot| slot == 2), None);
        });
        assert!(keys.remove(A, 1));
        keys.insert(C, 3);
        reader.join().unwrap();
    });
}

#[test]
fn a_key_that_stays_is_found_while_the_shard_grows() {
    loom::model(|| {
        let mut keys = KeyIndexWriter::with_capacity(1);
        keys.insert(A, 1);
        let index = keys.shared();
        let reader = thread::spawn(move || {
            assert_eq!(index.find(A, |slot| slot == 1), Some(1));
        });
        keys.insert(B, 2);
        keys.insert(A, 3);
        reader.join().unwrap();
    });
}

#[test]
fn entries_that_become_a_list_are_all_found_once() {
    loom::model(|| {
        let mut index = PostingsWriter::with_capacity(8);
        index.insert(A, 1, |_| true);
        index.insert(A, 2, |_| true);
        let shared = index.shared();
        let reader = thread::spawn(move || {
            let ids = walk(&shared.find(A));
            assert!(ids.contains(&1) && ids.contains(&2), "{ids:?}");
        });
        index.insert(A, 3, |_| true);
        reader.join().unwrap();
    });
}

#[test]
fn an_id_that_leaves_a_list_and_returns_is_met_once() {
    loom::model(|| {
        let mut list = IdListWriter::new();
        for id in 1..=5 {
            list.insert(id);
        }
        list.insert(6);
        let shared = list.shared();
        let reader = thread::spawn(move || {
            let snapshot = shared.snapshot();
            let ids: Vec<u32> = (0..snapshot.len())
                .filter_map(|place| snapshot.get(place))
                .collect();
            assert_once(&ids);
            assert!([2, 3, 4, 5].iter().all(|id| ids.contains(id)), "{ids:?}");
        });
        assert!(list.remove(6));
        assert!(list.remove(1));
        list.insert(1);
        reader.join().unwrap();
    });
}

#[test]
fn what_stays_in_a_list_is_found_while_it_is_rebuilt_half_dead() {
    loom::model(|| {
        let mut index = PostingsWriter::with_capacity(8);
        for id in 1..=4 {
            index.insert(A, id, |_| true);
        }
        let shared = index.shared();
        let reader = thread::spawn(move || {
            let found = shared.find(A);
            let ids = walk(&found);
            assert!(ids.contains(&4), "{ids:?}");
            assert!(
                walk(&found).iter().all(|id| ids.contains(id)),
                "a walk may lose ids and never gains one"
            );
        });
        for id in 1..=3 {
            assert!(index.remove(A, id));
        }
        index.insert(A, 2, |_| true);
        reader.join().unwrap();
    });
}

#[test]
fn the_number_of_a_dropped_list_may_be_used_for_another_value() {
    loom::model(|| {
        let mut index = PostingsWriter::with_capacity(8);
        for id in 1..=3 {
            index.insert(A, id, |_| true);
        }
        let shared = index.shared();
        let reader = thread::spawn(move || {
            // 11 and 12 may turn up: entries for a moment, in places that had the tag of A. 13 was never one.
            let ids = walk(&shared.find(A));
            assert!(
                !ids.contains(&13),
                "the list of B was taken for that of A: {ids:?}"
            );
        });
        for id in 1..=3 {
            index.remove(A, id);
        }
        for id in 11..=13 {
            index.insert(B, id, |_| true);
        }
        reader.join().unwrap();
    });
}

fn members(groups: &Groups, group: u32) -> SmallVec<[u32; 8]> {
    let mut slots = SmallVec::new();
    groups.collect(group, &mut slots);
    assert_once(&slots);
    slots
}

fn two_groups(chain: &[u32]) -> (GroupsWriter, Arc<Groups>, u32, u32) {
    let mut groups = GroupsWriter::new();
    let (one, other) = (groups.create(0).unwrap(), groups.create(1).unwrap());
    for &slot in chain {
        groups.insert(one, slot);
    }
    let shared = groups.shared();
    (groups, shared, one, other)
}

#[test]
fn members_that_stay_are_collected_while_one_moves_to_another_group() {
    loom::model(|| {
        let (mut groups, shared, one, other) = two_groups(&[1, 2, 3]);
        let reader = thread::spawn(move || {
            let slots = members(&shared, one);
            assert!(slots.contains(&1) && slots.contains(&3), "{slots:?}");
        });
        assert_eq!(groups.remove(2), Some((one, false)));
        groups.insert(other, 2);
        reader.join().unwrap();
    });
}

#[test]
fn members_that_stay_are_collected_while_one_goes_and_comes_back() {
    loom::model(|| {
        let (mut groups, shared, one, other) = two_groups(&[1, 2]);
        let reader = thread::spawn(move || {
            let slots = members(&shared, one);
            assert!(slots.contains(&1), "{slots:?}");
        });
        for group in [other, one] {
            groups.remove(2);
            groups.insert(group, 2);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_slot_is_not_given_to_another_binding_while_a_walk_may_hold_it() {
    loom::model(|| {
        let mut slots = SlotTableWriter::new();
        let mut keys = KeyIndexWriter::with_capacity(1);
        let mut walks = WalksWriter::new();
        let slot = slots.alloc().unwrap();
        slots.set_pos(slot, 10);
        keys.insert(A, slot);

        let (positions, index, begin) = (slots.shared(), keys.shared(), walks.shared());
        let reader = thread::spawn(move || {
            let _walk = begin.begin();
            if let Some(slot) = index.find(A, |_| true) {
                let position = positions.pos(slot);
                assert!(
                    position == 10 || position == 0,
                    "the slot holds another binding: {position}"
                );
            }
        });
        // A walk that read the epoch before it was closed, and counts itself too late, must notice.
        walks.advance();
        keys.remove(A, slot);
        slots.free(slot);
        slots.reclaim(walks.advance());
        let next = slots.alloc().unwrap();
        slots.set_pos(next, 20);
        reader.join().unwrap();

        slots.free(next);
        for _ in 0..2 {
            slots.reclaim(walks.advance());
        }
        assert!(
            !slots.is_waiting(),
            "with no walk running all are given back"
        );
    });
}

#[test]
fn walks_that_begin_while_epochs_are_closed_are_counted() {
    loom::model(|| {
        let mut walks = WalksWriter::new();
        let begin = walks.shared();
        let reader = thread::spawn(move || drop(begin.begin()));
        walks.advance();
        walks.advance();
        reader.join().unwrap();
        assert_eq!(walks.shared().running(), 0);
    });
}
