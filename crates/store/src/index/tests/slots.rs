//! `SlotTable` and `Walks`: a freed slot waits for the walks that had begun.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Alloc,
    Free(usize),
    Begin,
    End(usize),
    Advance,
    Reload,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => Just(Op::Alloc),
        8 => any::<usize>().prop_map(Op::Free),
        6 => Just(Op::Begin),
        6 => any::<usize>().prop_map(Op::End),
        6 => Just(Op::Advance),
        1 => Just(Op::Reload),
    ]
}

proptest! {
    #[test]
    fn a_freed_slot_waits_for_every_walk_that_had_begun(ops in prop::collection::vec(op(), 1..600)) {
        let mut slots = SlotTableWriter::new();
        let mut writer = WalksWriter::new();
        let walks = writer.shared();
        // Walks by number, and for each free slot the walks that had begun.
        let mut running: BTreeMap<u32, WalkGuard> = BTreeMap::new();
        let mut begun = 0;
        let mut used: Vec<u32> = Vec::new();
        let mut freed: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Alloc => {
                    let slot = slots.alloc().unwrap();
                    prop_assert!(!used.contains(&slot));
                    prop_assert_eq!(slots.pos(slot), 0);
                    if let Some(waited_for) = freed.remove(&slot) {
                        prop_assert!(waited_for.iter().all(|walk| !running.contains_key(walk)), "slot {} reused", slot);
                    }
                    slots.set_pos(slot, 1000 + u64::from(slot));
                    used.push(slot);
                }
                Op::Free(at) if !used.is_empty() => {
                    let slot = used.swap_remove(at % used.len());
                    prop_assert_eq!(slots.pos(slot), 1000 + u64::from(slot));
                    slots.free(slot);
                    prop_assert_eq!(slots.pos(slot), 0);
                    freed.insert(slot, running.keys().copied().collect());
                }
                Op::Begin => {
                    running.insert(begun, walks.begin());
                    begun += 1;
                }
                Op::End(at) if !running.is_empty() => {
                    let walk = *running.keys().nth(at % running.len()).unwrap();
                    running.remove(&walk);
                }
                Op::Advance => slots.reclaim(writer.advance()),
                Op::Reload => {
                    slots = reloaded!(SlotTableWriter, slots);
                    running.clear();
                }
                Op::Free(_) | Op::End(_) => {}
            }
            prop_assert_eq!(slots.len() as usize, used.len());
            prop_assert_eq!(walks.running() as usize, running.len());
        }
        running.clear();
        slots.reclaim(writer.advance());
        slots.reclaim(writer.advance());
        prop_assert!(!slots.is_waiting(), "all walks are over and slots still wait");
        let high = slots.high();
        for _ in 0..freed.len() {
            let slot = slots.alloc().unwrap();
            prop_assert!(freed.remove(&slot).is_some());
        }
        prop_assert_eq!(slots.high(), high, "a new slot was made while free ones were there");
    }
}

#[test]
fn a_walk_of_minutes_only_delays_reuse() {
    let mut slots = SlotTableWriter::new();
    let mut writer = WalksWriter::new();
    let walks = writer.shared();
    let first = slots.alloc().unwrap();
    let long = walks.begin();
    slots.free(first);
    for _ in 0..10_000 {
        // Many more epochs than the ring has places, each with walks of its own.
        let short = walks.begin();
        slots.reclaim(writer.advance());
        let other = slots.alloc().unwrap();
        assert_ne!(other, first);
        slots.free(other);
        drop(short);
    }
    drop(long);
    for _ in 0..4 {
        slots.reclaim(writer.advance());
    }
    assert!(!slots.is_waiting());
    let many: Vec<WalkGuard> = (0..5_000).map(|_| walks.begin()).collect();
    assert_eq!(walks.running(), 5_000);
    drop(many);
    assert_eq!(walks.running(), 0);
}

#[test]
fn a_slot_that_was_never_given_out_has_no_position() {
    let mut slots = SlotTableWriter::new();
    assert_eq!(slots.pos(0), 0);
    assert_eq!(slots.pos(u32::MAX), 0);
    let slot = slots.alloc().unwrap();
    slots.set_pos(slot, 9);
    assert_eq!((slots.pos(slot), slots.pos(slot + 1)), (9, 0));
}

#[test]
fn a_checkpoint_with_impossible_free_slots_is_refused() {
    let mut slots = SlotTableWriter::new();
    let slot = slots.alloc().unwrap();
    slots.set_pos(slot, 9);
    let mut octets = Vec::new();
    slots.save(&mut octets).unwrap();
    // One slot at position 9, none free: now slot 0 is said to be free.
    let tail = octets.len() - 4;
    octets[tail] = 1;
    octets.extend([0; 4]);
    let Err(error) = SlotTableWriter::load(&mut &octets[..]) else {
        panic!("it was accepted")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}
