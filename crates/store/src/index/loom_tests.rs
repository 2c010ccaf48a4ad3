//! Every interleaving of a writer and a reader, and every stale value that the memory model allows, for the protocols
//! that the readers rely on. Tables are tiny here: two entries a line, one shard, a list from the second id on.

use std::sync::Arc;

use loom::thread;
use smallvec::SmallVec;

use super::*;

fn ids(found: &Candidates) -> Vec<u32> {
    (0..found.len())
        .filter_map(|place| found.get(place))
        .collect()
}

fn assert_once(ids: &[u32]) {
    for (at, id) in ids.iter().enumerate() {
        assert!(!ids[..at].contains(id), "{id} twice in {ids:?}");
    }
}

/// Hashes of one home line and different tags.
const A: u64 = 0x0100 << 48;
const B: u64 = 0x0200 << 48;

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
        let slot = slots.alloc().unwrap();
        slots.set_pos(slot, 77);
        keys.insert(A, slot);
        reader.join().unwrap();
    });
}

#[test]
fn what_stays_is_found_while_a_neighbour_leaves_its_place_is_reused_and_the_shard_grows() {
    loom::model(|| {
        let mut keys = KeyIndexWriter::with_capacity(1);
        keys.insert(A, 1);
        keys.insert(B, 2);
        let index = keys.shared();
        let reader = thread::spawn(move || {
            assert_eq!(index.find(B, |slot| slot == 2), Some(2));
        });
        assert!(keys.remove(A, 1));
        keys.insert(B + (1 << 48), 3);
        keys.insert(A, 4);
        reader.join().unwrap();
    });
}
