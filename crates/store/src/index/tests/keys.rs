//! `KeyIndex` against a map.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Put(u32),
    Remove(u32),
    Reload,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        120 => (0..600_u32).prop_map(Op::Put),
        80 => (0..600_u32).prop_map(Op::Remove),
        1 => Just(Op::Reload),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn finds_what_a_map_finds(ops in prop::collection::vec(op(), 1..1500)) {
        let mut index = KeyIndexWriter::with_capacity(0);
        let mut slots: HashMap<u32, u32> = HashMap::new();
        // The "records": which key a slot has.
        let mut keys = Vec::new();
        for op in ops {
            match op {
                Op::Put(key) => {
                    let found = index.find(poor_hash(key), |slot| keys[slot as usize] == key);
                    prop_assert_eq!(found, slots.get(&key).copied());
                    if found.is_none() {
                        let slot = keys.len() as u32;
                        keys.push(key);
                        index.insert(poor_hash(key), slot);
                        slots.insert(key, slot);
                    }
                }
                Op::Remove(key) => {
                    let slot = slots.remove(&key);
                    prop_assert_eq!(index.remove(poor_hash(key), slot.unwrap_or(5_000)), slot.is_some());
                }
                Op::Reload => index = reloaded!(KeyIndexWriter, index),
            }
            prop_assert_eq!(index.shared().len(), slots.len() as u64);
        }
        let shared = index.shared();
        for key in 0..600 {
            let found = shared.find(poor_hash(key), |slot| keys[slot as usize] == key);
            prop_assert_eq!(found, slots.get(&key).copied(), "key {}", key);
        }
    }
}

#[test]
fn a_table_that_always_changes_does_not_grow() {
    let hasher = Hasher::with_seeds([5; 4]);
    let hash = |key: u32| hasher.hash(1, &[&key.to_be_bytes()]);
    let mut index = KeyIndexWriter::with_capacity(200_000);
    for key in 0..200_000 {
        index.insert(hash(key), key);
    }
    let before = index.memory();
    for key in 200_000..1_000_000 {
        assert!(index.remove(hash(key - 200_000), key - 200_000));
        index.insert(hash(key), key);
    }
    assert!(
        index.memory() <= before + before / 4,
        "{} from {before}",
        index.memory()
    );
    assert_eq!(index.shared().len(), 200_000);
}

#[test]
fn the_hash_tells_kinds_seeds_and_values_apart() {
    let hasher = Hasher::with_seeds([1, 2, 3, 4]);
    let hash = hasher.hash(1, &[b"a", b"b"]);
    assert_eq!(
        hash,
        Hasher::with_seeds([1, 2, 3, 4]).hash(1, &[b"a", b"b"])
    );
    assert_ne!(hash, hasher.hash(2, &[b"a", b"b"]));
    assert_ne!(hash, hasher.hash(1, &[b"a", b"c"]));
    assert_ne!(
        hash,
        Hasher::with_seeds([1, 2, 3, 5]).hash(1, &[b"a", b"b"])
    );
    assert_ne!(
        hasher.fingerprint(),
        Hasher::with_seeds([0; 4]).fingerprint()
    );
}
