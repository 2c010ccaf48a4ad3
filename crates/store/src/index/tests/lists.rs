//! `Postings` and `IdList` against sets.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::StdRng};

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Insert(u32, u32),
    Remove(u32, u32),
    InsertMany(u32, u32, u32),
    RemoveMany(u32, u32, u32),
    Reload,
}

fn op() -> impl Strategy<Value = Op> {
    let (value, id) = (0..25_u32, 0..400_u32);
    prop_oneof![
        100 => (value.clone(), id.clone()).prop_map(|(value, id)| Op::Insert(value, id)),
        100 => (value.clone(), id.clone()).prop_map(|(value, id)| Op::Remove(value, id)),
        20 => (value.clone(), id.clone(), 0..60_u32).prop_map(|(value, id, n)| Op::InsertMany(value, id, id + n)),
        20 => (value, id, 0..90_u32).prop_map(|(value, id, n)| Op::RemoveMany(value, id, id + n)),
        1 => Just(Op::Reload),
    ]
}

type Model = BTreeMap<u32, BTreeSet<u32>>;

fn insert(index: &mut PostingsWriter, model: &mut Model, value: u32, id: u32) {
    if model.entry(value).or_default().insert(id) {
        // As with records: an id may have several values, as a group has several relays.
        let records: &Model = model;
        index.insert(poor_hash(value), id, |other| {
            records[&value].contains(&other)
        });
    }
}

fn remove(index: &mut PostingsWriter, model: &mut Model, value: u32, id: u32) -> bool {
    // Where all bits of the hash are equal and the value is in entries, the index cannot tell whose the id is; the
    // store removes what is there, and nothing else.
    !model.entry(value).or_default().remove(&id) || index.remove(poor_hash(value), id)
}

fn check(found: &Candidates, value: u32, model: &Model) -> Result<(), TestCaseError> {
    let ids: Vec<u32> = (0..found.len())
        .filter_map(|place| found.get(place))
        .collect();
    let once: BTreeSet<u32> = ids.iter().copied().collect();
    prop_assert_eq!(once.len(), ids.len(), "an id twice: {:?}", ids);
    let verified: BTreeSet<u32> = once
        .into_iter()
        .filter(|id| model.get(&value).is_some_and(|ids| ids.contains(id)))
        .collect();
    prop_assert_eq!(
        verified,
        model.get(&value).cloned().unwrap_or_default(),
        "value {}",
        value
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn postings_find_what_sets_hold(ops in prop::collection::vec(op(), 1..400)) {
        let mut index = PostingsWriter::with_capacity(0);
        let mut model = Model::new();
        for op in ops {
            match op {
                // Ids of values with equal hashes are kept apart, since a group or a slot stands under a hash once.
                Op::Insert(value, id) => insert(&mut index, &mut model, value, id * 25 + value),
                Op::Remove(value, id) => prop_assert!(remove(&mut index, &mut model, value, id * 25 + value)),
                Op::InsertMany(value, from, to) => (from..to).for_each(|id| insert(&mut index, &mut model, value, id * 25 + value)),
                Op::RemoveMany(value, from, to) => {
                    for id in from..to {
                        prop_assert!(remove(&mut index, &mut model, value, id * 25 + value));
                    }
                }
                Op::Reload => index = reloaded!(PostingsWriter, index),
            }
        }
        prop_assert_eq!(index.len(), model.values().map(BTreeSet::len).sum::<usize>() as u64);
        for value in 0..25 {
            check(&index.find(poor_hash(value)), value, &model)?;
        }
    }

    #[test]
    fn a_walk_keeps_what_it_began_with(
        before in prop::collection::btree_set(0..60_u32, 0..60),
        changes in prop::collection::vec((any::<bool>(), 0..60_u32), 0..200),
    ) {
        let mut index = PostingsWriter::with_capacity(0);
        let mut now = before.clone();
        for &id in &before {
            index.insert(9, id, |_| true);
        }
        let walk = index.find(9);
        let mut stayed = before.clone();
        for (come, id) in changes {
            if come && now.insert(id) {
                index.insert(9, id, |_| true);
            } else if !come && now.remove(&id) {
                prop_assert!(index.remove(9, id));
                stayed.remove(&id);
            }
        }
        let met: Vec<u32> = (0..walk.len()).filter_map(|place| walk.get(place)).collect();
        let once: BTreeSet<u32> = met.iter().copied().collect();
        prop_assert_eq!(once.len(), met.len());
        prop_assert!(stayed.is_subset(&once), "stayed {:?}, met {:?}", stayed, met);
        prop_assert!(once.is_subset(&before), "began with {:?}, met {:?}", before, met);
    }

    #[test]
    fn id_lists_hold_what_sets_hold(changes in prop::collection::vec((any::<bool>(), 0..90_u32), 0..500)) {
        let mut list = IdListWriter::new();
        let mut model = BTreeSet::new();
        for (at, (come, id)) in changes.into_iter().enumerate() {
            if come {
                if model.insert(id) {
                    list.insert(id);
                }
            } else {
                prop_assert_eq!(list.remove(id), model.remove(&id));
            }
            if at % 97 == 96 {
                list = reloaded!(IdListWriter, list);
            }
            let snapshot = list.shared().snapshot();
            let count = (0..snapshot.len()).filter(|&place| snapshot.get(place).is_some()).count();
            prop_assert_eq!(count, model.len());
        }
        let walk = list.shared().snapshot();
        let mut ids: Vec<u32> = (0..walk.len()).filter_map(|place| walk.get(place)).collect();
        ids.sort_unstable();
        prop_assert_eq!(ids, model.into_iter().collect::<Vec<u32>>());
    }
}

#[test]
fn an_id_added_twice_in_a_row_stands_once() {
    for count in [1, 3, 40] {
        let mut index = PostingsWriter::with_capacity(0);
        for id in 0..count {
            index.insert(9, id, |_| true);
            index.insert(9, id, |_| true);
        }
        assert_eq!(index.len(), u64::from(count));
        assert_eq!(index.find(9).len(), count as usize);
    }
}

#[test]
fn only_an_abundant_value_asks_for_records() {
    let mut index = PostingsWriter::with_capacity(0);
    let mut asked = 0;
    for id in 0..6 {
        index.insert(9, id, |_| {
            asked += 1;
            true
        });
    }
    assert_eq!(asked, 0);
    for id in 6..1000 {
        index.insert(9, id, |_| {
            asked += 1;
            true
        });
    }
    assert_eq!(asked, 6, "once, when the list was made");
}

#[test]
fn lists_that_empty_leave_nothing_behind() {
    let mut index = PostingsWriter::with_capacity(0);
    let round = |index: &mut PostingsWriter, hash: u64| {
        (0..50).for_each(|id| index.insert(hash, id, |_| true));
        (0..50).for_each(|id| assert!(index.remove(hash, id)));
    };
    for value in 0..1000 {
        round(&mut index, poor_hash(value * 5 + 3));
    }
    let before = index.shared().memory();
    for value in 1000..3000 {
        round(&mut index, poor_hash(value * 5 + 3));
    }
    assert_eq!(index.shared().memory(), before);
    assert!(index.find(poor_hash(3)).len() == 0 && index.len() == 0);
}

/// Two hundred thousand ids, removed in an order that no hint foresees: quadratic work would take minutes.
#[test]
fn a_long_list_is_left_in_any_order() {
    const IDS: u32 = 200_000;
    let mut order: Vec<u32> = (0..IDS).collect();
    for (name, seed) in [("in order", None), ("shuffled", Some(7))] {
        if let Some(seed) = seed {
            order.shuffle(&mut StdRng::seed_from_u64(seed));
        }
        let mut index = PostingsWriter::with_capacity(0);
        (0..IDS).for_each(|id| index.insert(9, id, |_| true));
        let (leaving, staying) = order.split_at(order.len() - 1000);
        for (count, &id) in leaving.iter().enumerate() {
            assert!(index.remove(9, id), "{name}: {id}");
            assert!(!index.remove(9, id), "{name}: {id} again");
            if count % 1000 == 0 {
                index.insert(9, IDS + id, |_| true);
                assert!(index.remove(9, IDS + id));
            }
        }
        let walk = index.find(9);
        let mut left: Vec<u32> = (0..walk.len())
            .filter_map(|place| walk.get(place))
            .collect();
        left.sort_unstable();
        let mut expected = staying.to_vec();
        expected.sort_unstable();
        assert_eq!(left, expected, "{name}");
        assert!(
            walk.len() < 4 * staying.len(),
            "{name}: a list that has shrunk was rebuilt"
        );
    }
}
