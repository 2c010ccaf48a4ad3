//! `Groups` against a map of sets.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use smallvec::SmallVec;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Create(u32),
    /// Slot, and which of the groups there are.
    Move(u32, usize),
    Leave(u32),
    Reload,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..9_u32).prop_map(Op::Create),
        12 => (0..50_u32, any::<usize>()).prop_map(|(slot, group)| Op::Move(slot, group)),
        6 => (0..50_u32).prop_map(Op::Leave),
        1 => Just(Op::Reload),
    ]
}

fn leave(
    groups: &mut GroupsWriter,
    model: &mut BTreeMap<u32, (u32, BTreeSet<u32>)>,
    slot: u32,
) -> Result<(), TestCaseError> {
    let at = model
        .iter()
        .find(|(_, (_, slots))| slots.contains(&slot))
        .map(|(&group, _)| group);
    prop_assert_eq!(groups.group_of(slot), at);
    let left = groups.remove(slot);
    let Some(group) = at else {
        prop_assert_eq!(left, None);
        return Ok(());
    };
    let slots = &mut model.get_mut(&group).unwrap().1;
    slots.remove(&slot);
    prop_assert_eq!(left, Some((group, slots.is_empty())));
    if slots.is_empty() {
        model.remove(&group);
        groups.free(group);
        prop_assert_eq!(groups.link(group), None);
    }
    Ok(())
}

proptest! {
    #[test]
    fn groups_hold_what_sets_hold(ops in prop::collection::vec(op(), 1..400)) {
        let mut groups = GroupsWriter::new();
        let mut walks = WalksWriter::new();
        let mut model = BTreeMap::new();
        for op in ops {
            match op {
                Op::Create(link) => {
                    let group = groups.create(link).unwrap();
                    prop_assert!(model.insert(group, (link, BTreeSet::new())).is_none(), "group {} is in use", group);
                }
                Op::Move(slot, group) => {
                    leave(&mut groups, &mut model, slot)?;
                    if !model.is_empty() {
                        let number = *model.keys().nth(group % model.len()).unwrap();
                        groups.insert(number, slot);
                        model.get_mut(&number).unwrap().1.insert(slot);
                    }
                }
                Op::Leave(slot) => leave(&mut groups, &mut model, slot)?,
                Op::Reload => groups = reloaded!(GroupsWriter, groups),
            }
            groups.reclaim(walks.advance());
            prop_assert_eq!(groups.len() as usize, model.len());
        }
        let mut slots = SmallVec::new();
        for (&group, (link, members)) in &model {
            prop_assert_eq!(groups.link(group), Some(*link));
            groups.collect(group, &mut slots);
            prop_assert_eq!(slots.len(), members.len());
            prop_assert_eq!(&slots.iter().copied().collect::<BTreeSet<u32>>(), members);
        }
    }
}

#[test]
fn a_group_that_does_not_exist_has_no_members() {
    let groups = GroupsWriter::new();
    let mut slots = SmallVec::from_slice(&[1, 2]);
    groups.collect(7, &mut slots);
    assert!(slots.is_empty());
    assert_eq!(groups.link(7), None);
    assert_eq!(groups.group_of(u32::MAX), None);
}

#[test]
fn a_checkpoint_whose_chain_runs_in_a_circle_is_refused() {
    let mut groups = GroupsWriter::new();
    let group = groups.create(3).unwrap();
    groups.insert(group, 0);
    groups.insert(group, 1);
    let mut octets = Vec::new();
    groups.save(&mut octets).unwrap();
    // Next group, one head (first, link), number of members, then group and next of slot 0.
    let next_of_slot_0 = 4 + 8 + 4 + 4;
    assert_eq!(octets[next_of_slot_0], 0, "slot 0 is the last of its chain");
    octets[next_of_slot_0] = 2;
    let Err(error) = GroupsWriter::load(&mut &octets[..]) else {
        panic!("it was accepted")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}
