//! `ExpiryQueue` against a map of ends.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    /// The lease of a slot ends so many seconds from now.
    End(u32, u32),
    Forget(u32),
    /// So many seconds go by.
    Pass(u32),
    Reload,
}

fn seconds() -> impl Strategy<Value = u32> {
    prop_oneof![
        0..5_u32,
        0..400_u32,
        0..4_000_u32,
        0..200_000_u32,
        0..200_000_000_u32,
        Just(u32::MAX)
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..80_u32, seconds()).prop_map(|(slot, after)| Op::End(slot, after)),
        2 => (0..80_u32).prop_map(Op::Forget),
        6 => seconds().prop_map(|after| Op::Pass(after / 4)),
        1 => Just(Op::Reload),
    ]
}

proptest! {
    #[test]
    fn nothing_over_is_left_and_nothing_forgotten_comes(
        start in any::<u32>(),
        limit in 1..20_usize,
        ops in prop::collection::vec(op(), 1..500),
    ) {
        let mut now = start;
        let mut queue = ExpiryQueue::new(start);
        let mut ends: BTreeMap<u32, u32> = BTreeMap::new();
        for op in ops {
            match op {
                Op::End(slot, after) => {
                    ends.insert(slot, now.saturating_add(after));
                    queue.schedule(slot, now.saturating_add(after));
                }
                Op::Forget(slot) => {
                    ends.remove(&slot);
                    queue.forget(slot);
                }
                Op::Pass(after) => {
                    now = now.saturating_add(after);
                    let mut looks: BTreeMap<u32, u32> = BTreeMap::new();
                    loop {
                        let mut slots = Vec::new();
                        let more = queue.due(now, limit, &mut slots);
                        prop_assert!(slots.len() <= limit);
                        prop_assert!(more || slots.len() <= limit);
                        for slot in slots {
                            let end = ends.get(&slot).copied();
                            prop_assert!(end.is_some(), "slot {} was forgotten", slot);
                            *looks.entry(slot).or_default() += 1;
                            if end.is_some_and(|end| end > now) {
                                queue.schedule(slot, end.unwrap_or_default());
                            } else {
                                ends.remove(&slot);
                            }
                        }
                        if !more {
                            break;
                        }
                    }
                    prop_assert!(ends.values().all(|&end| end > now), "left over at {}: {:?}", now, ends);
                    prop_assert!(looks.values().all(|&count| count <= 4), "one look a level: {:?}", looks);
                }
                Op::Reload => queue = reloaded!(ExpiryQueue, queue),
            }
            prop_assert_eq!(queue.live as usize, ends.len());
        }
    }
}

#[test]
fn leases_end_in_their_second_and_not_before() {
    let mut queue = ExpiryQueue::new(1_000_000);
    for slot in 0..100 {
        queue.schedule(slot, 1_000_050 + slot);
    }
    let mut ended = Vec::new();
    for now in 1_000_000..1_000_200 {
        let mut slots = Vec::new();
        assert!(!queue.due(now, 1000, &mut slots));
        for slot in slots {
            if 1_000_050 + slot > now {
                queue.schedule(slot, 1_000_050 + slot);
            } else {
                assert_eq!(1_000_050 + slot, now);
                ended.push(slot);
            }
        }
    }
    assert_eq!(ended, (0..100).collect::<Vec<u32>>());
    assert_eq!(queue.live, 0);
}

#[test]
fn renewals_take_no_memory_and_no_looks() {
    let mut queue = ExpiryQueue::new(0);
    for slot in 0..10_000 {
        queue.schedule(slot, 3_600);
    }
    let before = queue.memory();
    for renewal in 1..100 {
        for slot in 0..10_000 {
            queue.schedule(slot, 3_600 + renewal * 10);
        }
    }
    assert_eq!(queue.memory(), before);
    let mut slots = Vec::new();
    assert!(!queue.due(3_000, usize::MAX, &mut slots));
    assert!(slots.is_empty());
}

/// Ends that jump to and fro leave entries behind; these are swept out.
#[test]
fn ends_that_jump_take_bounded_memory() {
    let mut queue = ExpiryQueue::new(0);
    let mut now = 0;
    let mut slots = Vec::new();
    for slot in 0..1_000 {
        queue.schedule(slot, 1 << 25);
    }
    let mut most = 0;
    for _ in 0..200 {
        for slot in 0..1_000 {
            queue.schedule(slot, now + 1);
        }
        now += 1;
        queue.due(now, usize::MAX, &mut slots);
        assert_eq!(slots.len(), 1_000);
        for slot in slots.drain(..) {
            queue.schedule(slot, 1 << 25);
        }
        most = most.max(queue.memory());
    }
    assert!(most < 200_000, "{most} octets for a thousand slots");
    assert_eq!(queue.live, 1_000);
}

#[test]
fn a_checkpoint_with_impossible_buckets_is_refused() {
    let mut queue = ExpiryQueue::new(0);
    queue.schedule(0, 77);
    let mut octets = Vec::new();
    queue.save(&mut octets).unwrap();
    octets[12..14].copy_from_slice(&5_000_u16.to_le_bytes());
    let Err(error) = ExpiryQueue::load(&mut &octets[..]) else {
        panic!("it was accepted")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}
