//! `Ranges4` against a map.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::ranges::RangeStep;
use super::*;

fn range(vpn: u32, first: u32, last: u32) -> IndexRange4 {
    IndexRange4 {
        vpn,
        first: Ipv4Addr::from(first),
        last: Ipv4Addr::from(last),
    }
}

fn walk(ranges: &Ranges4, vpn: Option<u32>) -> Vec<(u32, u32, Option<u32>)> {
    let mut cursor = RangeCursor::default();
    std::iter::from_fn(|| ranges.next(&mut cursor, vpn))
        .map(|step| (step.vpn, u32::from(step.address), step.slot))
        .collect()
}

proptest! {
    #[test]
    fn ranges_hold_what_a_map_holds(
        sizes in prop::collection::vec((0..3_u32, 1..30_u32, 1..50_u32), 0..8),
        changes in prop::collection::vec((0..3_u32, 0..900_u32, prop::option::of(0..99_u32)), 0..200),
    ) {
        // Gaps and sizes laid one after the other: ranges that do not overlap, given in no order.
        let mut at = 0;
        let mut ranges: Vec<IndexRange4> = sizes
            .into_iter()
            .map(|(vpn, gap, size)| {
                at += gap + size;
                range(vpn, at - size, at - 1)
            })
            .collect();
        ranges.reverse();
        let mut model: BTreeMap<(u32, u32), Option<u32>> = ranges
            .iter()
            .flat_map(|range| (u32::from(range.first)..=u32::from(range.last)).map(|address| ((range.vpn, address), None)))
            .collect();
        let mut index = Ranges4Writer::new(ranges.clone()).unwrap();
        for (vpn, address, slot) in changes {
            let configured = model.get_mut(&(vpn, address));
            prop_assert_eq!(index.set(vpn, Ipv4Addr::from(address), slot), configured.is_some());
            if let Some(place) = configured {
                *place = slot;
            }
        }
        let mut octets = Vec::new();
        index.save(&mut octets).unwrap();
        let mut again = Ranges4Writer::new(ranges).unwrap();
        again.load(&mut &octets[..]).unwrap();
        for index in [index, again] {
            prop_assert_eq!(index.len(), model.values().flatten().count() as u64);
            for vpn in 0..3 {
                for address in 0..900 {
                    let expected = model.get(&(vpn, address));
                    prop_assert_eq!(index.contains(vpn, Ipv4Addr::from(address)), expected.is_some());
                    prop_assert_eq!(index.slot_of(vpn, Ipv4Addr::from(address)), expected.copied().flatten());
                }
                let expected: Vec<_> = model.iter().filter(|(key, _)| key.0 == vpn).map(|(key, slot)| (key.0, key.1, *slot)).collect();
                prop_assert_eq!(walk(&index, Some(vpn)), expected);
            }
            let expected: Vec<_> = model.iter().map(|(key, slot)| (key.0, key.1, *slot)).collect();
            prop_assert_eq!(walk(&index, None), expected);
        }
    }
}

#[test]
fn a_walk_set_back_comes_to_the_same_address() {
    let mut index = Ranges4Writer::new(vec![range(0, 10, 12), range(0, 20, 21)]).unwrap();
    assert!(index.set(0, Ipv4Addr::from(12), Some(4)));
    let mut cursor = RangeCursor::default();
    let steps: Vec<RangeStep> = std::iter::from_fn(|| index.next(&mut cursor, None)).collect();
    assert_eq!(steps.len(), 5);
    for (at, step) in steps.iter().enumerate() {
        let mut cursor = step.place;
        let again: Vec<RangeStep> = std::iter::from_fn(|| index.next(&mut cursor, None)).collect();
        assert_eq!(again, steps[at..]);
    }
}

#[test]
fn the_edges_of_the_address_space_are_configurable() {
    let mut index =
        Ranges4Writer::new(vec![range(1, u32::MAX - 1, u32::MAX), range(0, 0, 0)]).unwrap();
    assert!(index.set(1, Ipv4Addr::BROADCAST, Some(0)));
    assert!(!index.set(0, Ipv4Addr::BROADCAST, Some(0)));
    assert_eq!(
        walk(&index, None),
        [
            (0, 0, None),
            (1, u32::MAX - 1, None),
            (1, u32::MAX, Some(0))
        ]
    );
}

#[test]
fn ranges_that_cannot_be_are_refused() {
    let refused = |ranges: &[IndexRange4]| match Ranges4Writer::new(ranges.to_vec()) {
        Ok(_) => panic!("{ranges:?} were accepted"),
        Err(error) => error.to_string(),
    };
    assert_eq!(
        refused(&[range(0, 5, 4)]),
        "range 0.0.0.5-0.0.0.4: expected the lower address first"
    );
    assert_eq!(
        refused(&[range(0, 8, 9), range(0, 1, 8)]),
        "ranges 0.0.0.1-0.0.0.8 and 0.0.0.8-0.0.0.9 overlap"
    );
    assert_eq!(
        refused(&[range(0, 0, 1 << 25), range(1, 1, 1 << 25)]),
        "the ranges have 67108865 addresses, expected at most 67108864"
    );
    assert!(
        Ranges4Writer::new(vec![range(0, 1, 8), range(1, 1, 8)]).is_ok(),
        "VPNs may use the same addresses"
    );
}

#[test]
fn arrays_of_other_ranges_are_refused() {
    let mut octets = Vec::new();
    Ranges4Writer::new(vec![range(0, 1, 8)])
        .unwrap()
        .save(&mut octets)
        .unwrap();
    let mut other = Ranges4Writer::new(vec![range(0, 1, 9)]).unwrap();
    assert_eq!(
        other.load(&mut &octets[..]).unwrap_err().kind(),
        std::io::ErrorKind::InvalidData
    );
}
